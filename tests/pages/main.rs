//! The pages as a browser shows them: a headless Chromium, driven by the scripts beside this file. Knows processes, ports and simulated
//! routes; what a page has to look like and to do stands in the scripts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers here are tests as well"
)]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use jiff::Timestamp;
use tokio::runtime::Runtime;
use traceflow_exporter::{
    config::Config,
    counters::Counters,
    flow::{Family, Protocol},
    monitor::Monitor,
    request,
    simulation::{Bench, Network, Topology},
    store::{Snapshot, Store},
    time::Time,
    web::{self, Bounds, State},
};

/// How often to look for something that has to happen, [`PAUSE`] apart, before the test fails: two minutes.
const LOOKS: usize = 600;
const PAUSE: Duration = Duration::from_millis(200);

/// What reverse names may hold at worst.
const HOSTILE: &str = "</title><script>window.taken=1</script><img src=x onerror='window.taken=2'>\"'&";

/// Two ways, then one that is longer; a minute between rounds.
const CHANGING: &str = "s -> r1 -> a b -> r2 -> d\nat 150s remove r1 -> a\nat 150s remove r1 -> b\nat 150s add r1 -> c\nc -> e -> r2\n";

/// A process that is ended when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A script of tests, at work against a server.
fn script(name: &str, address: &str) -> Child {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let screenshots = root.join("target/screenshots");
    Command::new("python3")
        .args(["-B", name, "-v"])
        .env("PAGES_URL", format!("http://{address}"))
        .env("SCREENSHOTS", screenshots)
        .current_dir(root.join("tests/pages"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3, which scripts/install-test-tools installs")
}

/// Waits for a script's end: all its tests passed, and there were some. `next` is called for each line that it prints.
fn judge(mut script: Child, mut next: impl FnMut(&str)) {
    let mut stderr = script.stderr.take().unwrap();
    let said = thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).unwrap();
        text
    });
    for line in BufReader::new(script.stdout.take().unwrap()).lines() {
        next(&line.unwrap());
    }
    let status = script.wait().unwrap();
    let said = said.join().unwrap();
    assert!(status.success() && said.contains(" ... ok\n") && !said.contains("skipped"), "{said}");
}

/// The demo, as anyone sees it first.
#[test]
fn the_demo_in_a_browser() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let demo = Command::new(env!("CARGO_BIN_EXE_traceflow_exporter"))
        .args(["demo", "--web.listen-address=127.0.0.1:0"])
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let _demo = Running(demo);
    let address = (0..LOOKS).find_map(|_| {
        thread::sleep(PAUSE);
        let log = fs::read_to_string(&log).unwrap();
        let (_, behind) = log.split_once(" address=")?;
        Some(behind.split_once(' ')?.0.to_owned())
    });
    judge(script("demo.py", &address.expect("it listens")), |_| {});
}

/// A target on a simulated network, watched in virtual time.
struct Watched {
    bench: Bench,
    monitor: Monitor,
    rounds: u32,
}

impl Watched {
    fn new(topology: &str) -> Self {
        let topology: Topology = topology.parse().unwrap();
        let bench = Bench::new(Network::new(&topology, Family::V4, 7), 1, 1_000_000, 7);
        let config = Config::parse("test", "targets: [{ name: changing, host: www.example.net }]").unwrap();
        let monitor = Monitor::new(Arc::new(config.targets[0].clone()), Duration::from_secs(3600));
        Self { bench, monitor, rounds: 0 }
    }

    fn round(&mut self) -> Snapshot {
        let due = Time::ZERO + Duration::from_secs(60) * self.rounds;
        self.bench.sleep(due.since(self.bench.now()));
        self.rounds += 1;
        let started = self.bench.now();
        let ends = (self.bench.network().destination(), self.bench.network().source());
        let settings = request::settings(&self.monitor.target().module.clone(), self.monitor.seed(), None);
        let settings = self.monitor.prepare(settings, ends, started);
        let trace = self.bench.trace(Protocol::Udp, settings).unwrap();
        let now = self.bench.now();
        let stamp = Timestamp::UNIX_EPOCH + started.since(Time::ZERO);
        self.monitor.resolved(ends.0);
        self.monitor.absorb(now, stamp, now.since(started), Ok(trace));
        let names: BTreeMap<_, Arc<str>> =
            self.monitor.addresses().into_iter().map(|address| (address, HOSTILE.into())).collect();
        self.monitor.set_names(names);
        self.monitor.snapshot()
    }
}

/// Serves a store for as long as the runtime lives.
fn serve(runtime: &Runtime, store: &Store) -> SocketAddr {
    let listeners = web::bind(&["127.0.0.1:0"]).unwrap();
    let address = listeners[0].local_addr().unwrap();
    let _context = runtime.enter();
    let listeners = listeners.into_iter().map(tokio::net::TcpListener::from_std);
    let listeners = listeners.collect::<Result<_, _>>().unwrap();
    let engine = Arc::new(Counters::default);
    let state = State::new(store.clone(), engine, "/metrics", [7; 16], Bounds::default());
    runtime.spawn(web::serve(listeners, Arc::new(state), std::future::pending()));
    address
}

/// A route that changes when the browser is ready for it, with names and words in it that nobody may believe.
#[test]
fn what_changes_while_somebody_looks() {
    let runtime = Runtime::new().unwrap();
    let store = Store::default();
    let mut watched = Watched::new(CHANGING);
    store.publish(watched.round());
    let hostile = Snapshot { name: HOSTILE.into(), host: HOSTILE.into(), ..watched.round() };
    let address = serve(&runtime, &store);
    store.publish(hostile);
    judge(script("live.py", &address.to_string()), |line| match line {
        "round" => store.publish(watched.round()),
        "change" => {
            let before = watched.monitor.snapshot().counters.path_changes;
            let changed =
                (0..20).map(|_| watched.round()).find(|snapshot| snapshot.counters.path_changes > before);
            store.publish(changed.expect("the route changes"));
        }
        "thousand" => {
            let snapshot = watched.monitor.snapshot();
            for number in 0..1000 {
                let name = format!("target-{number}").as_str().into();
                store.publish(Snapshot { name, ..snapshot.clone() });
            }
        }
        "remove" => store.remove("changing"),
        other => panic!("{other}"),
    });
}
