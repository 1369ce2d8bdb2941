//! `/probe` over simulated networks in real time.

use tokio::sync::watch;

use super::*;
use crate::{
    config::Config,
    network::Network,
    simulation::{self, Live},
    whois::Whois,
};

const SILENT: &str = "s -> r1 -> r2 -> d\nnode r2 silent\nnode d silent";
const OPEN: &str = "probe: { enabled: true, allow: [192.0.2.0/24] }";

/// A server with a prober over a network whose destination is 192.0.2.4, and what runs the network.
fn server(topology: &str, config: &str, bounds: Bounds) -> (Server, Network, Runtime) {
    let runtime = Runtime::new().unwrap();
    let context = runtime.enter();
    let topology = topology.parse().unwrap();
    let simulated = simulation::Network::numbered(&topology, "192.0.2.1".parse().unwrap(), 1);
    assert_eq!(simulated.destination().to_string(), "192.0.2.4");
    let (network, _) = Network::over(Live::new(vec![simulated]), [7; 16], 5000);
    let config = watch::channel(Arc::new(Config::parse("test", config).unwrap())).1;
    let prober = Prober::new(network.clone(), config, watch::channel(Whois::default()).1);
    let state = State::new(targets(), Arc::new(Counters::default), "/metrics", [7; 16], bounds);
    drop(context);
    (Server::of(state.with_prober(prober)), network, runtime)
}

fn sent(network: &Network) -> u64 {
    network.counters().probes_sent.values().sum()
}

/// Asks as a Prometheus that waits for so many seconds.
fn scrape(server: &Server, path: &str, timeout: &str) -> Response {
    let mut stream = server.connect();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: h\r\nX-Prometheus-Scrape-Timeout-Seconds: {timeout}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    respond(&mut stream)
}

#[test]
fn a_probe_is_made_for_whom_it_is_allowed() {
    let (server, network, _runtime) = server("s -> r1 -> r2 -> d", OPEN, Bounds::default());
    for (path, status, part) in [
        ("/probe", 400, "target: it is missing; "),
        ("/probe?target=192.0.2.4&target=192.0.2.4", 400, "target: it is there twice; "),
        ("/probe?target=%ff", 400, "target: "),
        (
            "/probe?target=192.0.2.4&module=web",
            400,
            "module: there is no module `web`; allowed are default\n",
        ),
        ("/probe?target=192.0.3.4", 403, "target: 192.0.3.4 may not be asked for; "),
        ("/probe?target=www.example.net", 403, "target: www.example.net may not be asked for; "),
        ("/probe?target=127.0.0.1", 403, "target: 127.0.0.1 may not be asked for; "),
    ] {
        let response = server.ask("GET", path);
        assert_eq!((response.status, response.headers["content-type"].as_str()), (status, TEXT), "{path}");
        assert!(
            response.body.starts_with(part) && response.body.ends_with('\n'),
            "{path}: {}",
            response.body
        );
    }
    assert_eq!(scrape(&server, "/probe?target=192.0.2.4", "soon").status, 400);
    assert_eq!(server.ask("POST", "/probe?target=192.0.2.4").status, 405);
    assert_eq!(sent(&network), 0);

    let response = server.ask("GET", "/probe?target=192.0.2.4&module=default");
    assert_eq!(response.status, 200);
    assert_eq!(response.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert!(response.body.contains("\nprobe_success 1\n"), "{}", response.body);
    assert!(response.body.contains("\ntraceflow_paths{target=\"192.0.2.4\"} 1\n"), "{}", response.body);
    assert!(!response.body.contains("target=\"shop\""), "the probe's own metrics only");
    let after = sent(&network);
    assert!(after > 0);
    let head = server.ask("HEAD", "/probe?target=192.0.2.4");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(sent(&network), 2 * after, "as GET does");

    let debug = server.ask("GET", "/probe?target=192.0.2.4&debug=true");
    assert_eq!((debug.status, debug.headers["content-type"].as_str()), (200, TEXT));
    let parts = [
        "Probe of 192.0.2.4 with module default (udp, mda-lite), from 192.0.2.1 to 192.0.2.4:\n\n1 path, 3 hops, ",
        "\nMetrics that would have been returned:\n\n# HELP probe_success ",
    ];
    assert!(parts.iter().all(|part| debug.body.contains(part)), "{}", debug.body);
    let metrics = server.ask("GET", "/metrics").body;
    assert!(!metrics.contains("probe_success") && !metrics.contains("192.0.2.4"), "nothing is left of them");
}

#[test]
fn there_is_none_unless_it_is_switched_on() {
    let off = "{ targets: [{ name: a, host: b }], probe: { allow: ['*'] } }";
    let (off, network, _runtime) = server("s -> r1 -> r2 -> d", off, Bounds::default());
    for server in [&off, &Server::start(&targets())] {
        for path in ["/probe", "/probe?target=192.0.2.4"] {
            let response = server.ask("GET", path);
            assert_eq!(response.status, 404, "{path}");
            assert!(response.body.starts_with("/probe is off; "), "{}", response.body);
        }
    }
    assert_eq!(sent(&network), 0);
}

#[test]
fn a_probe_takes_as_long_as_the_scrape_lets_it() {
    // Shorter than the probe: what is waited for is not the client's fault.
    let bounds = Bounds { response_timeout: Duration::from_millis(100), ..Bounds::default() };
    let patient = format!("{{ modules: {{ default: {{ timeout: 20s }} }}, {OPEN} }}");
    let (server, _network, _runtime) = server(SILENT, &patient, bounds);
    let response = scrape(&server, "/probe?target=192.0.2.4&debug=true", "3");
    assert_eq!(response.status, 200);
    for part in ["destination not reached (no time left)", "\nprobe_success 0\n", "traceflow_hop_nodes{"] {
        assert!(response.body.contains(part), "{part}: {}", response.body);
    }
    let line = response.body.lines().find_map(|line| line.strip_prefix("probe_duration_seconds "));
    let took: f64 = line.unwrap().parse().unwrap();
    assert!((2.5..3.0).contains(&took), "{took}");
}

#[test]
fn a_client_that_goes_takes_its_probe_along() {
    let (server, network, _runtime) = server(SILENT, OPEN, Bounds::default());
    let mut stream = server.connect();
    request(&mut stream, "GET", "/probe?target=192.0.2.4", "close");
    while sent(&network) == 0 {
        std::thread::yield_now();
    }
    drop(stream);
    // Without it, the trace goes on for seconds.
    std::thread::sleep(Duration::from_millis(100));
    let after = sent(&network);
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(sent(&network), after, "no retry goes out any more");
}

#[test]
fn probes_leave_room_for_those_who_do_not_wait() {
    let (server, network, _runtime) = server(SILENT, OPEN, Bounds { probes: 1, ..Bounds::default() });
    let mut stream = server.connect();
    request(&mut stream, "GET", "/probe?target=192.0.2.4", "close");
    while sent(&network) == 0 {
        std::thread::yield_now();
    }
    let second = server.ask("GET", "/probe?target=192.0.2.4");
    assert_eq!(
        (second.status, second.body.as_str()),
        (503, "too many requests wait for probes; ask again later\n")
    );
    assert_eq!(server.ask("GET", "/metrics").status, 200);
    assert_eq!(respond(&mut stream).status, 200);
    assert_eq!(scrape(&server, "/probe?target=192.0.2.4", "0.6").status, 200);
}
