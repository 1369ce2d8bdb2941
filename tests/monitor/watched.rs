//! A target watched over a simulated network, round after round in virtual time.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use traceflow_exporter::{
    config::{Config, Module, Target},
    flow::{Family, Protocol},
    monitor::Monitor,
    request,
    simulation::{Bench, Network, Seen, Topology},
    store::{Snapshot, TargetCounters},
    strategy::Strategy,
    time::Time,
};

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
    /// The destination of a topology, watched with a strategy. All chance comes from the seed, which has the family too.
    pub(crate) fn new(topology: &Topology, strategy: Strategy, seed: u32) -> Self {
        let family = if seed.is_multiple_of(2) { Family::V4 } else { Family::V6 };
        let network = Network::new(topology, family, seed.into());
        let target = target(&format!("seed-{seed}"), strategy);
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

/// Changes that a day without changes must not show.
pub(crate) fn alarms(counters: &TargetCounters) -> u64 {
    counters.path_changes
        + counters.flow_moves
        + counters.length_changes
        + counters.reachability_changes
        + counters.address_changes
}

fn target(name: &str, strategy: Strategy) -> Target {
    let text = format!("targets: [{{ name: {name}, host: 192.0.2.1 }}]");
    let target = Config::parse("test", &text).unwrap().targets.remove(0);
    Target { module: Arc::new(Module { strategy, ..Module::default() }), ..target }
}
