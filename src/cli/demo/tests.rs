//! The demo's networks, watched in virtual time as the scheduler watches them in real time.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::*;
use crate::{
    flow::Protocol,
    monitor::Monitor,
    request,
    simulation::{Bench, Seen},
    store::Snapshot,
    time::Time,
};

/// A target of the demo.
struct Watched {
    bench: Bench,
    monitor: Monitor,
    interval: Duration,
    rounds: u32,
}

impl Watched {
    fn new(name: &str) -> Self {
        let place = SCENES.iter().position(|scene| scene.name == name).unwrap();
        let mut networks = networks().unwrap();
        let config = config(&networks).unwrap();
        let target = Arc::new(config.targets[place].clone());
        let interval = target.interval;
        let monitor = Monitor::new(target, config.global.rediscover_interval);
        let bench = Bench::new(networks.swap_remove(place), 1, config.global.max_pps, 7);
        Self { bench, monitor, interval, rounds: 0 }
    }

    fn round(&mut self) -> Snapshot {
        let due = Time::ZERO + self.interval * self.rounds;
        self.bench.sleep(due.since(self.bench.now()));
        self.rounds += 1;
        let started = self.bench.now();
        let ends = (self.bench.network().destination(), self.bench.network().source());
        let module = Arc::clone(&self.monitor.target().module);
        let settings = request::settings(&module, self.monitor.seed(), None);
        let settings = self.monitor.prepare(settings, ends, started);
        let trace = self.bench.trace(Protocol::Udp, settings).unwrap();
        let now = self.bench.now();
        let stamp = Timestamp::UNIX_EPOCH + started.since(Time::ZERO);
        self.monitor.absorb(now, stamp, now.since(started), Ok(trace));
        self.monitor.snapshot()
    }

    /// Makes rounds until the clock of the network shows this.
    fn until(&mut self, time: Duration) -> Snapshot {
        loop {
            let snapshot = self.round();
            if self.bench.now() + self.interval >= Time::ZERO + time {
                return snapshot;
            }
        }
    }
}

#[test]
fn the_targets_are_the_destinations_of_networks_that_do_not_overlap() {
    let networks = networks().unwrap();
    let config = config(&networks).unwrap();
    let mut addresses = BTreeSet::new();
    for (target, network) in config.targets.iter().zip(&networks) {
        assert_eq!(target.host.to_string(), network.destination().to_string());
        let nodes = network.truth(Time::ZERO).nodes.into_iter().map(|(_, address)| address);
        for address in nodes.chain([network.source()]) {
            assert!(addresses.insert(address), "{address} is on two networks");
            let documented = match address {
                IpAddr::V4(address) => address.is_documentation(),
                IpAddr::V6(address) => address.segments()[..2] == [0x2001, 0xdb8],
            };
            assert!(documented, "{address}");
        }
    }
    assert_eq!(config.targets.len(), 5);
}

#[test]
fn each_network_shows_what_it_is_there_for() {
    // Paths, hops and round-trip time to the destination in ms.
    for (name, paths, hops, rtt) in [
        ("line", 1, 7, 27..=28),
        ("diamond", 4, 6, 40..=50),
        ("mesh", 192, 6, 13..=14),
        ("lossy", 5, 8, 80..=81),
        ("changing", 2, 6, 23..=24),
    ] {
        let mut watched = Watched::new(name);
        for _ in 0..4 {
            watched.round();
        }
        let snapshot = watched.round();
        let trace = snapshot.trace().unwrap();
        assert!(snapshot.is_up(), "{name}");
        let truth = watched.bench.network().truth(watched.bench.now());
        assert_eq!(Seen::by(trace), Seen::of(&truth), "{name}");
        assert_eq!((trace.route.paths.count, truth.paths), (paths, paths), "{name}");
        assert_eq!(truth.hops_max, Some(hops), "{name}");
        assert_eq!(trace.route.node_count(), truth.nodes.len(), "{name}");
        for arrival in &trace.route.arrivals.rtts {
            assert!(rtt.contains(&arrival.as_millis()), "{name}: {arrival:?}");
        }
        let limited: Vec<_> =
            trace.route.hops.iter().filter(|hop| hop.nodes.iter().any(|node| node.rate_limited)).collect();
        assert_eq!(limited.len(), usize::from(name == "lossy"), "{name}");
        assert_eq!(snapshot.counters.path_changes, 0, "{name}");
    }
}

#[test]
fn the_changing_route_changes_for_ever_and_what_is_known_of_it_does_not_grow() {
    const CYCLE: Duration = Duration::from_secs(12 * 60);
    let mut watched = Watched::new("changing");
    let mut sizes = Vec::new();
    for cycle in 0..250_u32 {
        for (minutes, paths, hops, reached) in
            [(4, 2, 6, true), (8, 1, 7, true), (10, 2, 6, true), (12, 1, 6, false)]
        {
            let snapshot = watched.until(CYCLE * cycle + Duration::from_secs(60 * minutes));
            let trace = snapshot.trace().unwrap();
            assert!(snapshot.is_up(), "cycle {cycle}, minute {minutes}");
            let known = (trace.route.paths.count, trace.route.paths.hops_max);
            assert_eq!(known, (paths, hops), "cycle {cycle}, minute {minutes}");
            assert_eq!(
                trace.route.flows_reached() == snapshot.flows,
                reached,
                "cycle {cycle}, minute {minutes}"
            );
        }
        let state = serde_json::to_vec(&watched.monitor.state()).unwrap();
        sizes.push(state.len());
    }
    let counters = watched.monitor.snapshot().counters;
    // Away and back; a way lost and, from the second cycle on, found again.
    assert_eq!(
        (counters.path_changes, counters.length_changes, counters.reachability_changes),
        (500, 500, 499)
    );
    // What is kept is bounded: 250 cycles, two days, know no more than fifty.
    let most = |part: &[usize]| part.iter().copied().max().unwrap();
    assert!(most(&sizes[200..]) <= most(&sizes[..50]) * 11 / 10, "{sizes:?}");
}
