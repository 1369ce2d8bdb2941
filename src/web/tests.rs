mod api;
mod bounds;
mod pages;
mod probe;
mod secure;

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::mpsc,
};

use tokio::{runtime::Runtime, sync::oneshot, task::JoinHandle};

use super::*;
use crate::render::sample;

/// Longest wait for what has to happen.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server on a free port of the loopback interface.
struct Server {
    address: SocketAddr,
    state: Arc<State>,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<JoinHandle<()>>,
    runtime: Runtime,
}

struct Response {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Server {
    fn start(store: &Store) -> Self {
        Self::with(store, Arc::new(Counters::default), Bounds::default())
    }

    fn with(store: &Store, engine: EngineCounters, bounds: Bounds) -> Self {
        Self::of(State::new(store.clone(), engine, "/metrics", [7; 16], bounds))
    }

    fn of(state: State) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let state = Arc::new(state);
        let listeners = bind(&["127.0.0.1:0"]).expect("a free port");
        let address = listeners[0].local_addr().expect("an address");
        let (stop, stopped) = oneshot::channel();
        let serving = {
            let _context = runtime.enter();
            let listeners = listeners.into_iter().map(tokio::net::TcpListener::from_std);
            let listeners = listeners.collect::<Result<_, _>>().expect("listeners");
            tokio::spawn(serve(listeners, Arc::clone(&state), async {
                let _ = stopped.await;
            }))
        };
        Self { address, state, stop: Some(stop), serving: Some(serving), runtime }
    }

    /// Ends it and starts one with another state.
    fn restart(&mut self, change: impl FnOnce(State) -> State) {
        self.stop();
        self.ended();
        let other = Arc::new(State::new(
            Store::default(),
            Arc::new(Counters::default),
            "",
            [7; 16],
            self.state.bounds,
        ));
        let state = std::mem::replace(&mut self.state, other);
        let state = Arc::into_inner(state).expect("nobody else has it");
        *self = Self::of(change(state));
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        stream
    }

    fn ask(&self, method: &str, path: &str) -> Response {
        let mut stream = self.connect();
        request(&mut stream, method, path, "close");
        respond(&mut stream)
    }

    fn stop(&mut self) {
        self.stop.take().expect("it runs").send(()).expect("it runs");
    }

    /// Waits until the server has ended.
    fn ended(&mut self) {
        let serving = self.serving.take().expect("it runs");
        let ended = async { tokio::time::timeout(PATIENCE, serving).await };
        self.runtime.block_on(ended).expect("it ends in time").expect("it ends well");
    }
}

fn request(stream: &mut TcpStream, method: &str, path: &str, connection: &str) {
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: {connection}\r\n\r\n")
        .expect("a request");
}

/// Reads until the server closes the connection.
fn respond(stream: &mut TcpStream) -> Response {
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("a response");
    parse(&text)
}

fn parse(text: &str) -> Response {
    let (head, body) = text.split_once("\r\n\r\n").expect("a header");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    Response {
        status: status.expect("a status"),
        headers: lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect(),
        body: body.to_owned(),
    }
}

fn targets() -> Store {
    sample::store([
        sample::traced("shop", sample::diamond()),
        sample::failed("gone", "no such host"),
        sample::traced("lost", sample::trace(&sample::evidence("1 192.0.2.1@500 *"))),
    ])
}

const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

#[test]
fn every_path_shows_what_it_names() {
    let server = Server::start(&targets());
    let cases = [
        ("/", 200, HTML, r#"<a href="./metrics">"#),
        ("/?theme=dark", 200, HTML, "1 of 3 up"),
        ("/style.css", 200, "text/css; charset=utf-8", "color-scheme: light dark"),
        ("/script.js", 200, "text/javascript; charset=utf-8", "\"use strict\";"),
        ("/icon.svg", 200, "image/svg+xml", "<svg "),
        ("/targets/shop", 200, HTML, "<bdi>shop</bdi>"),
        ("/targets/nobody", 404, HTML, "<bdi>nobody</bdi> is no target"),
        ("/targets/", 404, TEXT, "not found\n"),
        (
            "/metrics",
            200,
            "text/plain; version=0.0.4; charset=utf-8",
            "traceflow_target_up{target=\"shop\"} 1\n",
        ),
        ("/metrics", 200, "text/plain; version=0.0.4; charset=utf-8", "process_start_time_seconds "),
        ("/-/healthy", 200, TEXT, "ok\n"),
        ("/-/ready", 200, TEXT, "ready\n"),
        ("/api/v1/targets", 200, "application/json", r#"{"targets":[{"name":"gone","#),
        ("/api/v1/targets/shop", 200, "application/json", r#"{"version":1,"#),
        ("/api/v1/targets/nobody", 404, TEXT, "no such target\n"),
        ("/nowhere", 404, TEXT, "not found\n"),
        ("/metrics/", 404, TEXT, "not found\n"),
    ];
    for (path, status, content_type, part) in cases {
        let response = server.ask("GET", path);
        assert_eq!(response.status, status, "{path}");
        assert_eq!(response.headers["content-type"], content_type, "{path}");
        assert!(response.body.contains(part), "{path}: {}", response.body);
        assert_eq!(response.headers["content-length"], response.body.len().to_string(), "{path}");
        let policy = &response.headers["content-security-policy"];
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(response.headers["x-content-type-options"], "nosniff", "{path}");
    }
}

#[test]
fn head_is_get_without_the_body() {
    let server = Server::start(&targets());
    for path in
        ["/", "/style.css", "/-/healthy", "/-/ready", "/api/v1/targets", "/api/v1/targets/shop", "/nowhere"]
    {
        let (get, head) = (server.ask("GET", path), server.ask("HEAD", path));
        assert_eq!(head.body, "", "{path}");
        assert_eq!(head.status, get.status, "{path}");
        for name in ["content-type", "content-length"] {
            assert_eq!(head.headers[name], get.headers[name], "{path}: {name}");
        }
    }
    // The process's own figures change from one to the next.
    let head = server.ask("HEAD", "/metrics");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn other_methods_are_refused() {
    let server = Server::start(&targets());
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        for path in [
            "/",
            "/metrics",
            "/-/healthy",
            "/-/ready",
            "/api/v1/targets",
            "/api/v1/targets/shop",
            "/style.css",
        ] {
            let response = server.ask(method, path);
            assert_eq!(response.status, 405, "{method} {path}");
            assert_eq!(response.headers["allow"], "GET, HEAD", "{method} {path}");
        }
        assert_eq!(server.ask(method, "/nowhere").status, 404, "{method}");
    }
}

#[test]
fn ready_when_every_target_was_tried() {
    let store = sample::store([sample::fresh("shop", "www.example.net"), sample::failed("gone", "no route")]);
    let server = Server::start(&store);
    assert_eq!(server.ask("GET", "/-/ready").status, 503);
    assert_eq!(server.ask("GET", "/-/healthy").status, 200);
    store.publish(sample::traced("shop", sample::diamond()));
    assert_eq!(server.ask("GET", "/-/ready").status, 200);
}

#[test]
fn metrics_follow_the_configuration_and_the_engine() {
    let engine = Arc::new(|| Counters { send_errors: 42, ..Counters::default() });
    let server = Server::with(&targets(), engine, Bounds::default());
    let before = server.ask("GET", "/metrics").body;
    assert!(before.contains("\ntraceflow_send_errors_total 42\n"));
    assert!(before.contains("\ntraceflow_node_info{") && !before.contains("traceflow_config_last_reload"));
    server.state.set_limits(Limits { topology: false, ..Limits::default() });
    server.state.set_reload(Reload {
        successful: true,
        last_success: sample::STARTED,
        target_files_failing: 2,
    });
    let after = server.ask("GET", "/metrics").body;
    assert!(!after.contains("\ntraceflow_node_info{"));
    assert!(after.contains("\ntraceflow_config_last_reload_successful 1\n"));
}

#[test]
fn a_reload_is_answered_when_it_is_done() {
    let server = Server::start(&targets());
    assert_eq!(server.ask("POST", "/-/reload").status, 404, "nobody reloads");

    let (requests, mut inbox) = tokio::sync::mpsc::channel::<ReloadRequest>(1);
    let state = State::new(targets(), Arc::new(Counters::default), "/metrics", [7; 16], Bounds::default());
    let server = Server::of(state.with_reload(requests));
    let (outcomes, outcome) = mpsc::channel();
    server.runtime.spawn(async move {
        while let Some(answer) = inbox.recv().await {
            answer.send(outcome.recv().unwrap()).unwrap();
        }
    });
    for (outcome, status, body) in [
        (Ok(()), 200, "reloaded\n"),
        (Err("f:1:1: a: b; allowed is c".to_owned()), 500, "f:1:1: a: b; allowed is c\n"),
        (Ok(()), 200, "reloaded\n"),
    ] {
        outcomes.send(outcome).unwrap();
        let response = server.ask("POST", "/-/reload");
        assert_eq!((response.status, response.body.as_str()), (status, body));
    }
    for method in ["GET", "HEAD", "PUT", "DELETE"] {
        let response = server.ask(method, "/-/reload");
        assert_eq!((response.status, response.headers["allow"].as_str()), (405, "POST"), "{method}");
    }
}

#[test]
fn a_connection_serves_several_requests() {
    let server = Server::start(&targets());
    let mut stream = server.connect();
    request(&mut stream, "GET", "/-/healthy", "keep-alive");
    request(&mut stream, "GET", "/-/ready", "close");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("two responses");
    assert_eq!(text.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{text}");
}

#[test]
fn slow_clients_are_let_go() {
    let bounds = Bounds { header_timeout: Duration::from_millis(50), ..Bounds::default() };
    let server = Server::with(&targets(), Arc::new(Counters::default), bounds);
    for part in ["", "GET /metr", "GET / HTTP/1.1\r\nHost: local"] {
        let mut stream = server.connect();
        stream.write_all(part.as_bytes()).expect("a part of a request");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("the end of the connection");
        assert!(!text.contains("200 OK"), "{part:?}: {text}");
    }
    // A request whose header came may have come long after the one before it.
    assert_eq!(server.ask("GET", "/-/healthy").status, 200);
}

#[test]
fn connections_beyond_the_bound_wait() {
    let bounds = Bounds { connections: 2, ..Bounds::default() };
    let server = Server::with(&targets(), Arc::new(Counters::default), bounds);
    // Two connections that stay open and have been served, so that they surely hold their places.
    let held = [(); 2].map(|()| {
        let mut stream = server.connect();
        request(&mut stream, "GET", "/-/healthy", "keep-alive");
        let mut start = [0; 12];
        stream.read_exact(&mut start).expect("a response");
        assert_eq!(&start, b"HTTP/1.1 200");
        stream
    });
    let mut waiting = server.connect();
    request(&mut waiting, "GET", "/-/healthy", "close");
    waiting.set_read_timeout(Some(Duration::from_millis(100))).expect("a time-out");
    let error = waiting.read(&mut [0]).expect_err("no place yet");
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    drop(held);
    waiting.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    assert_eq!(respond(&mut waiting).status, 200);
}

/// An engine whose counters come when they are let; tells when it is asked.
fn held_engine() -> (EngineCounters, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (asked, is_asked) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let engine = move || {
        asked.send(()).expect("the test runs");
        let _ = released.lock().expect("one at a time").recv();
        Counters::default()
    };
    (Arc::new(engine), is_asked, release)
}

#[test]
fn few_responses_are_computed_at_once() {
    let (engine, asked, release) = held_engine();
    let server = Server::with(&targets(), engine, Bounds { renderings: 2, ..Bounds::default() });
    let mut scrapes: Vec<_> = (0..3).map(|_| server.connect()).collect();
    for stream in &mut scrapes {
        request(stream, "GET", "/metrics", "close");
    }
    for _ in 0..2 {
        asked.recv_timeout(PATIENCE).expect("two are in progress");
    }
    let third = asked.recv_timeout(Duration::from_millis(200));
    assert!(third.is_err(), "the third waits");
    assert_eq!(server.ask("GET", "/-/healthy").status, 200, "what costs nothing does not");
    for _ in 0..3 {
        release.send(()).expect("the requests wait");
    }
    for stream in &mut scrapes {
        assert_eq!(respond(stream).status, 200);
    }
}

#[test]
fn requests_in_progress_end_before_the_server_does() {
    let (engine, asked, release) = held_engine();
    let bounds = Bounds { grace: PATIENCE, ..Bounds::default() };
    let mut server = Server::with(&targets(), engine, bounds);
    let mut stream = server.connect();
    request(&mut stream, "GET", "/metrics", "keep-alive");
    asked.recv_timeout(PATIENCE).expect("the request is in progress");
    server.stop();
    // The listener goes first: from then on nobody is accepted.
    while TcpStream::connect(server.address).is_ok() {
        std::thread::yield_now();
    }
    release.send(()).expect("the request waits");
    let response = respond(&mut stream);
    assert_eq!(response.status, 200);
    assert_eq!(response.headers["content-length"], response.body.len().to_string(), "it is whole");
    server.ended();
}

#[test]
fn requests_that_do_not_end_are_cut_off() {
    let (engine, asked, release) = held_engine();
    let bounds = Bounds { grace: Duration::from_millis(50), ..Bounds::default() };
    let mut server = Server::with(&targets(), engine, bounds);
    let mut stream = server.connect();
    request(&mut stream, "GET", "/metrics", "close");
    asked.recv_timeout(PATIENCE).expect("the request is in progress");
    server.stop();
    server.ended();
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    assert_eq!(text, "");
    drop(release);
}

#[test]
fn idle_connections_do_not_hold_up_the_end() {
    let mut server = Server::with(
        &targets(),
        Arc::new(Counters::default),
        Bounds { grace: PATIENCE * 10, ..Bounds::default() },
    );
    // Accepted in turn: the one that never asked anything is before the one that was served.
    let _silent = server.connect();
    let mut stream = server.connect();
    request(&mut stream, "GET", "/-/healthy", "keep-alive");
    stream.read_exact(&mut [0; 12]).expect("a response");
    server.stop();
    server.ended();
}

#[test]
fn a_failure_is_answered() {
    let server = Server::with(&targets(), Arc::new(|| panic!("a defect")), Bounds::default());
    assert_eq!(server.ask("GET", "/metrics").status, 500);
    assert_eq!(server.ask("GET", "/-/healthy").status, 200);
}
