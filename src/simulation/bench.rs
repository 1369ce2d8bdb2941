//! Traces over a simulated network in virtual time: the exchange as the driver runs it, without sockets or a clock.
//!
//! A day of rounds takes as long as its packets take to compute. Several processes can share a network, each with an
//! exchange and a secret of its own.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use super::Network;
use crate::{
    flow::{Family, Protocol},
    network::exchange::{Datagram, Exchange, RoundId},
    probe::Template,
    time::Time,
    trace::Trace,
    tracer::Settings,
};

/// Bytes of an IPv6 header, which raw sockets do not show.
const V6_HEADER: usize = 40;

/// Processes that trace over one network.
pub struct Bench {
    network: Network,
    processes: Vec<Exchange>,
    now: Time,
}

impl Bench {
    /// `processes` exchanges side by side at the source of a network, each bounded to `max_pps` packets a second. What
    /// they draw at random comes from `seed`.
    #[must_use]
    pub fn new(network: Network, processes: usize, max_pps: u32, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let processes = (0..processes).map(|_| {
            let mut secret = [0; 16];
            rng.fill(&mut secret);
            Exchange::new(secret, max_pps, Time::ZERO)
        });
        Self { processes: processes.collect(), network, now: Time::ZERO }
    }

    /// The network.
    #[must_use]
    pub const fn network(&self) -> &Network {
        &self.network
    }

    /// The exchange of a process.
    #[must_use]
    pub fn process(&self, process: usize) -> Option<&Exchange> {
        self.processes.get(process)
    }

    /// The present of the bench.
    #[must_use]
    pub const fn now(&self) -> Time {
        self.now
    }

    /// A template for probes from the network's source.
    #[must_use]
    pub fn template(&self, destination: IpAddr, protocol: Protocol) -> Template {
        Template {
            source: self.network.source(),
            destination,
            protocol,
            destination_port: 33_452,
            tos: 0,
            dont_fragment: true,
            payload: 0,
        }
    }

    /// Begins a trace in a process; `None` where there is no such process.
    pub fn start(&mut self, process: usize, template: Template, settings: Settings) -> Option<RoundId> {
        Some(self.processes.get_mut(process)?.start(self.now, template, None, settings))
    }

    /// Lets time pass until no trace is in progress. Returns the results with their processes.
    pub fn run(&mut self) -> Vec<(usize, RoundId, Trace)> {
        let mut results = Vec::new();
        loop {
            self.send();
            for (index, process) in self.processes.iter_mut().enumerate() {
                results.extend(
                    std::iter::from_fn(|| process.poll_finished())
                        .map(|(round, trace)| (index, round, trace)),
                );
            }
            if self.processes.iter().all(|process| process.in_progress() == 0) {
                return results;
            }
            self.advance();
        }
    }

    /// Makes one trace to the network's destination with the first process.
    ///
    /// # Panics
    /// Never on a bench with a process: a trace always ends.
    pub fn trace(&mut self, protocol: Protocol, settings: Settings) -> Option<Trace> {
        let template = self.template(self.network.destination(), protocol);
        let round = self.start(0, template, settings)?;
        self.run().into_iter().find(|(_, id, _)| *id == round).map(|(_, _, trace)| trace)
    }

    /// Lets time pass without traces.
    pub fn sleep(&mut self, duration: Duration) {
        self.now = self.now + duration;
    }

    fn send(&mut self) {
        for process in &mut self.processes {
            while process.poll_transmit(self.now).is_some() {
                self.network.send(self.now, process.packet());
            }
        }
    }

    /// Moves on to the next thing that happens.
    fn advance(&mut self) {
        let deadlines = self.processes.iter().filter_map(Exchange::poll_timeout);
        let next = deadlines.chain(self.network.next_delivery()).min();
        self.now = self.now.max(next.unwrap_or(self.now + Duration::from_secs(1)));
        while let Some(delivery) = self.network.poll_delivery(self.now) {
            for process in &mut self.processes {
                if let Some(datagram) = datagram(&delivery.packet) {
                    process.handle_datagram(self.now, delivery.at, datagram);
                }
            }
        }
        for process in &mut self.processes {
            process.handle_timeout(self.now);
        }
    }
}

/// A packet as a raw socket would show it.
pub(super) fn datagram(packet: &[u8]) -> Option<Datagram<'_>> {
    let family = if packet.first()? >> 4 == 4 { Family::V4 } else { Family::V6 };
    match family {
        Family::V4 => Some(Datagram::V4(packet)),
        Family::V6 => {
            let from: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
            let protocol = if *packet.get(6)? == 6 { Protocol::Tcp } else { Protocol::Icmp };
            Some(Datagram::V6 { from: Ipv6Addr::from(from), protocol, message: packet.get(V6_HEADER..)? })
        }
    }
}
