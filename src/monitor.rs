//! What a target remembers between its rounds.
//!
//! Takes in the outcome of each round and yields the snapshot that views read. Knows nothing of when rounds happen or how
//! they are made.

use std::{net::IpAddr, sync::Arc, time::Duration};

use crate::{
    config::Target,
    flow::FlowSequence,
    store::{LastRound, Snapshot, TargetCounters},
    strategy::Strategy,
    trace::{StopReason, Trace},
};

/// The memory of one target.
#[derive(Debug)]
pub struct Monitor {
    target: Arc<Target>,
    seed: u64,
    address: Option<IpAddr>,
    /// Destination and source of the last trace.
    ends: Option<(IpAddr, IpAddr)>,
    counters: TargetCounters,
    last_round: Option<LastRound>,
}

impl Monitor {
    /// A target of which nothing is known.
    #[must_use]
    pub fn new(target: Arc<Target>) -> Self {
        let seed = FlowSequence::seed_of(target.name.as_str());
        Self {
            target,
            seed,
            address: None,
            ends: None,
            counters: TargetCounters::default(),
            last_round: None,
        }
    }

    /// The target.
    #[must_use]
    pub const fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// What its flows are drawn with.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// The address traced last.
    #[must_use]
    pub const fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Notes the address that the host resolved to.
    pub const fn resolved(&mut self, address: IpAddr) {
        self.address = Some(address);
    }

    /// Takes in a round: what it found, or one line that says why nothing could be asked.
    pub fn absorb(&mut self, started: jiff::Timestamp, duration: Duration, outcome: Result<Trace, String>) {
        self.counters.rounds += 1;
        match &outcome {
            Ok(trace) => self.count(trace),
            Err(_) => self.counters.rounds_failed += 1,
        }
        let outcome = outcome.map(Arc::new).map_err(Arc::from);
        self.last_round = Some(LastRound { started, duration, outcome });
    }

    /// What views may see now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            name: self.target.name.as_str().into(),
            host: self.target.host.to_string().into(),
            labels: self.target.labels.clone(),
            protocol: self.target.module.protocol,
            strategy: self.target.module.strategy,
            address: self.address,
            flows: self.flows(),
            counters: self.counters.clone(),
            last_round: self.last_round.clone(),
        }
    }

    /// Flows whose outcome the target wants to know: as many as are configured, or as many as the last round followed to their end.
    fn flows(&self) -> usize {
        let module = &self.target.module;
        let trace = self.last_round.as_ref().and_then(|round| round.outcome.as_ref().ok());
        match module.strategy {
            Strategy::Fixed => module.flows.into(),
            Strategy::Mda | Strategy::MdaLite => trace.map_or(0, |trace| trace.route.flows_followed()),
        }
    }

    fn count(&mut self, trace: &Trace) {
        let ends = (trace.destination, trace.source);
        if self.ends.replace(ends).is_some_and(|before| before != ends) {
            self.counters.address_changes += 1;
        }
        if trace.stop_reason == StopReason::SendFailed {
            self.counters.rounds_failed += 1;
        }
        for hop in &trace.route.hops {
            let tally = self.counters.hops.entry(hop.ttl).or_default();
            tally.sent += u64::from(hop.probes_sent);
            tally.received += u64::from(hop.replies_received);
        }
        let arrivals = &trace.route.arrivals;
        self.counters.destination.sent += u64::from(arrivals.probes_sent);
        self.counters.destination.received += u64::try_from(arrivals.rtts.len()).unwrap_or(u64::MAX);
        for &rtt in &arrivals.rtts {
            self.counters.rtt.observe(rtt);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Config, render::sample};

    #[test]
    fn a_change_of_either_end_is_counted_once() {
        let config = Config::parse("test", "targets: [{ name: a, host: www.example.net }]").unwrap();
        let mut monitor = Monitor::new(Arc::new(config.targets[0].clone()));
        let cases = [
            ("first", Ok(("192.0.2.9", "192.0.2.1")), 0),
            ("same", Ok(("192.0.2.9", "192.0.2.1")), 0),
            ("destination", Ok(("192.0.2.8", "192.0.2.1")), 1),
            ("source", Ok(("192.0.2.8", "192.0.2.2")), 2),
            ("no answer", Err("no route"), 2),
            ("same after that", Ok(("192.0.2.8", "192.0.2.2")), 2),
            ("both", Ok(("2001:db8::9", "2001:db8::1")), 3),
        ];
        for (name, ends, expected) in cases {
            let outcome = ends.map_err(ToOwned::to_owned).map(|(destination, source)| Trace {
                destination: destination.parse().unwrap(),
                source: source.parse().unwrap(),
                ..sample::diamond()
            });
            monitor.absorb(sample::STARTED, Duration::ZERO, outcome);
            assert_eq!(monitor.snapshot().counters.address_changes, expected, "{name}");
        }
    }
}
