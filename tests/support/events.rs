//! An exporter's exposition, as the tests of the metrics recorded it, served with counters that grow by every scrape: changes, losses and
//! errors, which no exporter that is well has.

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread,
};

const RECORDED: &str = include_str!("../../src/metrics/tests/exposition.txt");

/// Answers on loopback until the process ends.
pub(crate) fn serve() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for (scrape, stream) in (0..).zip(listener.incoming()) {
            answer(stream.unwrap(), scrape);
        }
    });
    address
}

fn answer(mut stream: TcpStream, scrape: u32) {
    let lines = BufReader::new(stream.try_clone().unwrap()).lines();
    // The request does not matter, but a client wants it read.
    for line in lines.map_while(Result::ok) {
        if line.is_empty() {
            break;
        }
    }
    let body = exposition(scrape);
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    // A client that went away asks again.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
}

/// Counters by two a scrape, replies by one, so that half of all is lost; buckets of the histogram where they hold something. Of the flows that
/// arrive one does not.
fn exposition(scrape: u32) -> String {
    let mut grown = String::new();
    for line in RECORDED.lines() {
        let counter = line.split(['{', ' ']).next().unwrap();
        let (series, value) = line.rsplit_once(' ').unwrap();
        let step = match counter {
            "#" => None,
            _ if counter.ends_with("_replies_received_total") => Some(1.0),
            _ if counter.ends_with("_total") => Some(2.0),
            _ if counter.starts_with("traceflow_rtt_seconds_") && value != "0" => Some(2.0),
            _ => None,
        };
        match step {
            None if counter == "traceflow_flows_reached" && value != "0" => {
                writeln!(grown, "{series} {}", value.parse::<f64>().unwrap() - 1.0).unwrap();
            }
            Some(step) => {
                let value: f64 = value.parse().unwrap();
                writeln!(grown, "{series} {}", value + step * f64::from(scrape)).unwrap();
            }
            None => writeln!(grown, "{line}").unwrap(),
        }
    }
    grown
}
