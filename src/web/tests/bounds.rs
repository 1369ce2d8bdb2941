//! What clients are held to.

use super::*;

/// The status of the response to a request as it is written.
fn status(server: &Server, text: &str) -> u16 {
    let mut stream = server.connect();
    stream.write_all(text.as_bytes()).expect("a request");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("{answer:?} to {:?}", &text[..text.len().min(80)]))
}

#[test]
fn requests_out_of_bounds_are_refused() {
    let server = Server::start(&targets());
    let long = |length: usize| "a".repeat(length);
    let many: String = (0..60).map(|n| format!("X-{n}: 1\r\n")).collect();
    let end = "Connection: close\r\n\r\n";
    let cases = [
        ("fits", format!("GET / HTTP/1.1\r\nHost: h\r\n{end}"), 200),
        ("HTTP/1.0 has no host", "GET / HTTP/1.0\r\n\r\n".to_owned(), 200),
        ("no host", format!("GET / HTTP/1.1\r\n{end}"), 400),
        ("two hosts", format!("GET / HTTP/1.1\r\nHost: h\r\nHost: i\r\n{end}"), 400),
        ("no HTTP", "hello\r\n\r\n".to_owned(), 400),
        ("long path", format!("GET /{} HTTP/1.1\r\nHost: h\r\n{end}", long(9000)), 414),
        ("long query", format!("GET /?{} HTTP/1.1\r\nHost: h\r\n{end}", long(9000)), 414),
        ("large header", format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n{end}", long(17_000)), 431),
        ("many headers", format!("GET / HTTP/1.1\r\nHost: h\r\n{many}{end}"), 200),
        (
            "too many headers",
            format!("GET / HTTP/1.1\r\nHost: h\r\n{many}A: 1\r\nB: 1\r\nC: 1\r\nD: 1\r\n{end}"),
            431,
        ),
        ("small body", format!("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n{end}body"), 200),
        ("large body", format!("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 65537\r\n{end}"), 413),
        ("options of all", format!("OPTIONS * HTTP/1.1\r\nHost: h\r\n{end}"), 405),
        ("tunnel", format!("CONNECT h:80 HTTP/1.1\r\nHost: h\r\n{end}"), 405),
        ("unknown method", format!("BREW /metrics HTTP/1.1\r\nHost: h\r\n{end}"), 405),
        ("absolute", format!("GET http://h/-/healthy HTTP/1.1\r\nHost: h\r\n{end}"), 200),
    ];
    for (name, text, expected) in cases {
        assert_eq!(status(&server, &text), expected, "{name}");
    }
}

#[test]
fn a_body_that_does_not_come_does_not_keep_its_connection() {
    let bounds = Bounds { header_timeout: Duration::from_millis(200), ..Bounds::default() };
    let server = Server::with(&targets(), Arc::new(Counters::default), bounds);
    for framing in ["Content-Length: 1000", "Transfer-Encoding: chunked"] {
        let mut stream = server.connect();
        write!(stream, "GET /-/healthy HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n").expect("a request");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("the end of the connection");
        assert!(text.starts_with("HTTP/1.1 200"), "{framing}: {text}");
    }
}

#[test]
fn dribbling_clients_are_cut_while_others_are_served() {
    let bounds = Bounds { header_timeout: Duration::from_secs(2), connections: 3, ..Bounds::default() };
    let server = Server::with(&targets(), Arc::new(Counters::default), bounds);
    let dribbling: Vec<_> = (0..2)
        .map(|_| {
            let mut stream = server.connect();
            std::thread::spawn(move || {
                let text = format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}", "a".repeat(1000));
                text.bytes()
                    .take_while(|&byte| {
                        std::thread::sleep(Duration::from_millis(10));
                        stream.write_all(&[byte]).is_ok()
                    })
                    .count()
            })
        })
        .collect();
    assert_eq!(server.ask("GET", "/metrics").status, 200);
    assert!(dribbling.iter().all(|thread| !thread.is_finished()), "it was served meanwhile");
    for thread in dribbling {
        let written = thread.join().expect("it ends");
        assert!(written < 1000, "{written} bytes were taken");
    }
}

#[test]
fn idle_connections_make_room_when_others_wait() {
    let bounds = Bounds {
        connections: 2,
        header_timeout: PATIENCE * 10,
        crowded_timeout: Duration::from_millis(50),
        ..Bounds::default()
    };
    let server = Server::with(&targets(), Arc::new(Counters::default), bounds);
    let mut asked = server.connect();
    request(&mut asked, "GET", "/-/healthy", "keep-alive");
    asked.read_exact(&mut [0; 12]).expect("a response");
    let silent = server.connect();
    assert_eq!(server.ask("GET", "/metrics").status, 200, "one of the others had to go");
    assert_eq!(server.ask("GET", "/metrics").status, 200);
    let gone = [asked, silent].map(|mut stream| {
        stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a time-out");
        stream.read_to_end(&mut Vec::new()).is_ok()
    });
    assert_ne!(gone, [false; 2], "they saw the end of the connection");
}

#[test]
fn clients_that_do_not_read_are_cut() {
    let targets: Vec<_> =
        (0..2000).map(|n| sample::traced(&format!("{n}{}", "x".repeat(200)), sample::diamond())).collect();
    let store = sample::store([]);
    for target in targets {
        store.publish(target);
    }
    let bounds = Bounds {
        connections: 1,
        response_timeout: Duration::from_secs(3),
        header_timeout: PATIENCE * 10,
        ..Bounds::default()
    };
    let server = Server::with(&store, Arc::new(Counters::default), bounds);
    let mut stream = server.connect();
    request(&mut stream, "GET", "/metrics", "keep-alive");
    stream.read_exact(&mut [0; 12]).expect("the response begins");
    assert_eq!(server.ask("GET", "/-/healthy").status, 200, "the place is free again");
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    let text = String::from_utf8_lossy(&rest);
    assert!(!text.contains("process_start_time_seconds "), "it was cut before its end");
}

#[test]
fn responses_are_packed_for_who_asks() {
    let server = Server::start(&targets());
    let ask = |method: &str, coding: &str| {
        let mut stream = server.connect();
        write!(
            stream,
            "{method} /metrics HTTP/1.1\r\nHost: h\r\nAccept-Encoding: {coding}\r\nConnection: close\r\n\r\n"
        )
        .expect("a request");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("a response");
        let at = bytes.windows(4).position(|end| end == b"\r\n\r\n").expect("a header") + 4;
        let body = bytes.split_off(at);
        (parse(&String::from_utf8(bytes).expect("text")).headers, body)
    };
    let (headers, plain) = ask("GET", "gzip;q=0");
    assert!(!headers.contains_key("content-encoding") && headers["vary"] == "accept-encoding");
    assert!(plain.starts_with(b"# HELP"));
    let (headers, packed) = ask("GET", "gzip");
    assert_eq!(headers["content-encoding"], "gzip");
    assert_eq!(headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(headers["content-length"], packed.len().to_string());
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).expect("it is whole");
    assert!(packed.len() * 3 < text.len() && text.contains("traceflow_target_up{target=\"shop\"} 1\n"));
    let (headers, body) = ask("HEAD", "gzip");
    assert_eq!((headers["content-encoding"].as_str(), body.len()), ("gzip", 0));
}

#[test]
fn pages_may_be_under_a_path() {
    let url = "https://example.net/tf/".parse().expect("a URL");
    let mut server = Server::start(&targets());
    server.restart(|state| state.with_external_url(url));
    for (path, status) in
        [("/tf/metrics", 200), ("/tf/", 200), ("/tf/-/healthy", 200), ("/metrics", 404), ("/-/healthy", 404)]
    {
        assert_eq!(server.ask("GET", path).status, status, "{path}");
    }
    for path in ["/", "/tf"] {
        let response = server.ask("GET", path);
        assert_eq!(
            (response.status, &*response.headers["location"]),
            (302, "https://example.net/tf/"),
            "{path}"
        );
        assert_eq!(server.ask("POST", path).status, 405, "{path}");
    }
}

#[test]
fn busy_connections_make_room_when_others_wait() {
    // No time-out is what makes room.
    let bounds = Bounds {
        connections: 2,
        header_timeout: PATIENCE * 10,
        crowded_timeout: PATIENCE * 10,
        ..Bounds::default()
    };
    let server = Server::with(&targets(), Arc::new(Counters::default), bounds);
    let served = std::sync::atomic::AtomicBool::new(false);
    let is_served = || served.load(std::sync::atomic::Ordering::Relaxed);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            // Asks without a pause, and again on another connection where one is ended.
            scope.spawn(|| {
                while !is_served() {
                    let mut stream = server.connect();
                    let mut bytes = [0; 4096];
                    let ask = b"GET /-/healthy HTTP/1.1\r\nHost: h\r\n\r\n";
                    while !is_served() && stream.write_all(ask).is_ok() {
                        let Ok(1..) = stream.read(&mut bytes) else { break };
                    }
                }
            });
        }
        // As many as are there already have no place for us.
        std::thread::sleep(Duration::from_millis(200));
        for _ in 0..3 {
            let mut stream = server.connect();
            request(&mut stream, "GET", "/-/ready", "close");
            let mut text = String::new();
            let ended = stream.read_to_string(&mut text);
            served.fetch_or(ended.is_err(), std::sync::atomic::Ordering::Relaxed);
            assert!(ended.is_ok() && text.starts_with("HTTP/1.1 200"), "{ended:?}: {text}");
        }
        served.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
