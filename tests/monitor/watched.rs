//! A target watched over a simulated network, round after round in virtual time.

use std::{collections::BTreeMap, env, fs, net::IpAddr, path::Path, sync::Arc, thread, time::Duration};

use jiff::Timestamp;
use traceflow_exporter::{
    config::{Config, Module, Target},
    flow::{Family, Protocol},
    monitor::Monitor,
    request,
    simulation::{Bench, Network, Seen, Topology},
    store::{Snapshot, TargetCounters},
    time::Time,
};

use crate::variables::variable;

/// From one round to the next.
pub(crate) const INTERVAL: Duration = Duration::from_secs(60);

const REDISCOVER_INTERVAL: Duration = Duration::from_secs(3600);

/// A monitor, and the network that its target is on.
pub(crate) struct Watched {
    bench: Bench,
    pub(crate) monitor: Monitor,
    rounds: u32,
}

impl Watched {
    /// The destination of a topology, watched as a module says. All chance comes from the seed, which has the family too.
    pub(crate) fn new(topology: &Topology, module: Module, seed: u32) -> Self {
        let family = if seed.is_multiple_of(2) { Family::V4 } else { Family::V6 };
        let network = Network::new(topology, family, seed.into());
        let target = target(&format!("seed-{seed}"), module);
        let monitor = Monitor::new(Arc::new(target), REDISCOVER_INTERVAL);
        Self { bench: Bench::new(network, 1, 1_000_000, seed.into()), monitor, rounds: 0 }
    }

    /// Lets time pass before the first round.
    pub(crate) fn sleep(&mut self, duration: Duration) {
        self.bench.sleep(duration);
    }

    /// Makes the next round, at its place in time.
    pub(crate) fn round(&mut self) -> Snapshot {
        let due = Time::ZERO + INTERVAL * self.rounds;
        self.bench.sleep(due.since(self.bench.now()));
        self.rounds += 1;
        let started = self.bench.now();
        let network = self.bench.network();
        let ends = (network.destination(), network.source());
        let module = Arc::clone(&self.monitor.target().module);
        let settings = request::settings(&module, self.monitor.seed(), None);
        let settings = self.monitor.prepare(settings, ends, started);
        let trace = self.bench.trace(Protocol::Udp, settings).unwrap();
        let now = self.bench.now();
        let stamp = Timestamp::UNIX_EPOCH + started.since(Time::ZERO);
        self.monitor.absorb(now, stamp, now.since(started), Ok(trace));
        self.monitor.snapshot()
    }

    /// Sets the autonomous systems of the nodes, by their names.
    pub(crate) fn set_systems(&mut self, topology: &Topology, of: impl Fn(&str) -> Option<u32>) {
        let network = self.bench.network();
        let named = topology.nodes().iter().map(|node| node.name.as_str());
        let known: BTreeMap<IpAddr, u32> =
            named.filter_map(|name| Some((network.address(name)?, of(name)?))).collect();
        self.monitor.set_systems(Some(Arc::new(known)));
    }

    /// Goes on with what a new process would know.
    pub(crate) fn restart(&mut self) {
        let kept = serde_json::to_string(&self.monitor.state()).unwrap();
        let mut monitor = Monitor::new(Arc::clone(self.monitor.target()), REDISCOVER_INTERVAL);
        monitor.restore(serde_json::from_str(&kept).unwrap());
        self.monitor = monitor;
    }

    /// Whether the route known has everything that there is now.
    pub(crate) fn is_whole(&self) -> bool {
        let there = Seen::of(&self.bench.network().truth(self.bench.now()));
        let snapshot = self.monitor.snapshot();
        let seen = snapshot.trace().map(|trace| Seen::by(trace)).unwrap_or_default();
        there.nodes.is_subset(&seen.nodes) && there.links.is_subset(&seen.links)
    }
}

/// A topology of the files, and more lines of it.
pub(crate) fn topology(name: &str, more: &str) -> Topology {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/topologies").join(format!("{name}.topo"));
    (fs::read_to_string(path).unwrap() + more).parse().unwrap()
}

/// The lines of a network that loses this share of the packets in each direction, and now and then doubles or delays one.
pub(crate) fn faults(loss: f64) -> String {
    if loss > 0.0 {
        format!("\nnetwork loss={loss} burst=2 duplicate=0.01 reorder=0.05:5ms\n")
    } else {
        String::new()
    }
}

/// Changes that a day without changes must not show.
pub(crate) fn alarms(counters: &TargetCounters) -> u64 {
    counters.path_changes
        + counters.flow_moves
        + counters.as_path_changes
        + counters.length_changes
        + counters.reachability_changes
        + counters.address_changes
}

/// Whether a run is to be told round by round, and the monitor's log with it: MONITOR_LOG=1.
pub(crate) fn is_logged() -> bool {
    let is_logged = env::var("MONITOR_LOG").is_ok();
    if is_logged {
        // Once is enough.
        tracing_subscriber::fmt().with_target(false).without_time().with_ansi(false).try_init().ok();
    }
    is_logged
}

/// Whether ACCURACY_ONLY, a list with commas, has a network; without it all are wanted.
pub(crate) fn is_wanted(network: &str) -> bool {
    let only = variable("ACCURACY_ONLY", String::new());
    only.is_empty() || only.split(',').any(|wanted| wanted == network)
}

/// Runs everything on as many threads as the machine has processors. Results are in the order of what they belong to.
pub(crate) fn in_parallel<T: Sync, R: Send>(all: Vec<T>, run: impl Fn(&T) -> R + Sync) -> Vec<(T, R)> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let mut results: Vec<(usize, R)> = thread::scope(|scope| {
        let parts: Vec<_> = (0..workers)
            .map(|worker| {
                let (all, run) = (&all, &run);
                let places = (worker..all.len()).step_by(workers);
                scope.spawn(move || places.map(|place| (place, run(&all[place]))).collect::<Vec<_>>())
            })
            .collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    });
    results.sort_by_key(|(place, _)| *place);
    all.into_iter().zip(results.into_iter().map(|(_, result)| result)).collect()
}

fn target(name: &str, module: Module) -> Target {
    let text = format!("targets: [{{ name: {name}, host: 192.0.2.1 }}]");
    let target = Config::parse("test", &text).unwrap().targets.remove(0);
    Target { module: Arc::new(module), ..target }
}
