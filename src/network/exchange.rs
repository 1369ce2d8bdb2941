//! All traces in progress, between their engines and the bytes on the wire.
//!
//! Sans-IO like the engines it holds: bytes and the time come in as arguments, bytes come out. The driver runs it on
//! raw sockets, the simulation on virtual time. Traces take turns, so that no one of them starves the others.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use super::demux::{Demux, Discard, Match};
use crate::{
    flow::{Family, Protocol},
    probe::{ProbeId, Template},
    time::Time,
    trace::Trace,
    tracer::{Event, Pacer, Reason, SendFailure, Settings, Tracer},
    wire::{self, DecodeError, Message},
};

/// Names a trace in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoundId(u64);

/// A packet to be sent: its bytes are in [`Exchange::packet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where it goes.
    pub destination: IpAddr,
    /// The interface it has to leave through (its index); `None` for the one the routes say.
    pub interface: Option<u32>,
    round: RoundId,
    probe: ProbeId,
    ident: u16,
}

/// A received message as the sockets yield it.
#[derive(Clone, Copy, Debug)]
pub enum Datagram<'a> {
    /// A whole IPv4 packet.
    V4(&'a [u8]),
    /// What follows the IPv6 header, and who sent it.
    V6 {
        /// The sender.
        from: Ipv6Addr,
        /// The protocol of `message`.
        protocol: Protocol,
        /// From the ICMPv6 or TCP header on.
        message: &'a [u8],
    },
}

/// What happened so far, in numbers that only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets sent.
    pub probes_sent: BTreeMap<(Protocol, Family), u64>,
    /// Replies credited to a trace.
    pub replies_received: BTreeMap<(Protocol, Family), u64>,
    /// Messages dropped.
    pub discarded: BTreeMap<Discard, u64>,
    /// Packets that the kernel refused.
    pub send_errors: u64,
    /// Messages that the kernel dropped because our queue was full.
    pub receive_drops: u64,
}

struct Round {
    tracer: Tracer,
    template: Template,
    timeout: Duration,
    interface: Option<u32>,
}

/// All traces in progress.
pub struct Exchange {
    demux: Demux,
    rounds: BTreeMap<RoundId, Round>,
    next_round: u64,
    /// The round whose turn it is.
    turn: RoundId,
    pacer: Pacer,
    packet: Vec<u8>,
    finished: VecDeque<(RoundId, Trace)>,
    counters: Counters,
}

impl Exchange {
    /// No traces yet. `secret` tells this process's packets from all others; `max_pps` bounds all traces together.
    #[must_use]
    pub fn new(secret: [u8; 16], max_pps: u32, now: Time) -> Self {
        Self {
            demux: Demux::new(secret),
            rounds: BTreeMap::new(),
            next_round: 0,
            turn: RoundId(0),
            pacer: Self::pacer(max_pps, now),
            packet: Vec::new(),
            finished: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Begins a trace.
    pub fn start(
        &mut self,
        now: Time,
        template: Template,
        interface: Option<u32>,
        settings: Settings,
    ) -> RoundId {
        let id = RoundId(self.next_round);
        self.next_round += 1;
        let timeout = settings.timeout;
        self.rounds.insert(id, Round { tracer: Tracer::new(settings, now), template, timeout, interface });
        id
    }

    /// Ends a trace early. It is reported with what it knows.
    pub fn stop(&mut self, id: RoundId) {
        if let Some(round) = self.rounds.remove(&id) {
            self.finished.push_back((id, round.tracer.into_trace(&round.template)));
        }
    }

    /// Changes the bound on all traces together.
    pub fn set_max_pps(&mut self, max_pps: u32, now: Time) {
        self.pacer = Self::pacer(max_pps, now);
    }

    /// The next packet to send now; `None` when there is nothing to send yet. Its bytes are in [`Self::packet`] until the
    /// next call.
    pub fn poll_transmit(&mut self, now: Time) -> Option<Transmit> {
        if !self.pacer.ready(now) {
            return None;
        }
        for _ in 0..self.rounds.len() {
            let id = self.take_turn()?;
            let round = self.rounds.get_mut(&id)?;
            let Some(probe) = round.tracer.poll_transmit(now) else {
                self.collect(id);
                continue;
            };
            let registered = self.demux.register(
                (id, probe.id),
                &round.template,
                (probe.flow, probe.ttl),
                (now, round.timeout),
                &mut self.packet,
            );
            match registered {
                Ok(ident) => {
                    self.pacer.take(now);
                    let path = (round.template.protocol, round.template.family());
                    *self.counters.probes_sent.entry(path).or_default() += 1;
                    return Some(Transmit {
                        destination: round.template.destination,
                        interface: round.interface,
                        round: id,
                        probe: probe.id,
                        ident,
                    });
                }
                Err(error) => {
                    round.tracer.handle_send_failure(probe.id, SendFailure::Refused(error.to_string()));
                    self.collect(id);
                }
            }
        }
        None
    }

    /// The bytes of the packet that [`Self::poll_transmit`] named last: a whole IP packet.
    #[must_use]
    pub fn packet(&self) -> &[u8] {
        &self.packet
    }

    /// Takes back a packet that could not be sent.
    pub fn handle_send_failure(&mut self, transmit: Transmit, failure: SendFailure) {
        if failure != SendFailure::Busy {
            self.counters.send_errors += 1;
        }
        let Some(round) = self.rounds.get_mut(&transmit.round) else {
            return;
        };
        let path = (round.template.protocol, round.template.family());
        if let Some(sent) = self.counters.probes_sent.get_mut(&path) {
            *sent = sent.saturating_sub(1);
        }
        self.demux.forget(&round.template, transmit.ident);
        round.tracer.handle_send_failure(transmit.probe, failure);
        self.collect(transmit.round);
    }

    /// Takes in a received message; `arrived` is when the kernel had it, `now` when it was read.
    pub fn handle_datagram(&mut self, now: Time, arrived: Time, datagram: Datagram<'_>) {
        let decoded = match datagram {
            Datagram::V4(packet) => wire::decode_v4(packet),
            Datagram::V6 { from, protocol, message } => wire::decode_v6(from, message, protocol),
        };
        match decoded {
            Ok(message) => self.handle_message(now, arrived, message),
            Err(DecodeError::Malformed(_)) => self.discard(Discard::Malformed),
            Err(DecodeError::Irrelevant) => self.discard(Discard::Unmatched),
        }
    }

    /// Counts messages that never reached us.
    pub fn handle_receive_drops(&mut self, count: u64) {
        self.counters.receive_drops += count;
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Time) {
        for _ in 0..self.demux.forget_old(now) {
            self.discard(Discard::Spoofed);
        }
        let ids: Vec<_> = self.rounds.keys().copied().collect();
        for id in ids {
            if let Some(round) = self.rounds.get_mut(&id) {
                round.tracer.handle_timeout(now);
                self.collect(id);
            }
        }
    }

    /// When to call [`Self::handle_timeout`] and [`Self::poll_transmit`] next; `None` when no trace is in progress.
    #[must_use]
    pub fn poll_timeout(&mut self) -> Option<Time> {
        let gate = self.pacer.next();
        let deadlines = self.rounds.values_mut().filter_map(|round| round.tracer.poll_timeout());
        deadlines
            .map(|deadline| match deadline.reason {
                // Its own bound may let it go while the common one does not.
                Reason::Pace => deadline.at.max(gate),
                Reason::Silence { .. } | Reason::TimeLimit => deadline.at,
            })
            .min()
    }

    /// The next trace that is over.
    pub fn poll_finished(&mut self) -> Option<(RoundId, Trace)> {
        self.finished.pop_front()
    }

    /// Traces in progress.
    #[must_use]
    pub fn in_progress(&self) -> usize {
        self.rounds.len()
    }

    /// What happened so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The trace whose turn it is; the turn passes to the one behind it.
    fn take_turn(&mut self) -> Option<RoundId> {
        let behind = self.rounds.range(self.turn..).next();
        let (&id, _) = behind.or_else(|| self.rounds.iter().next())?;
        self.turn = RoundId(id.0 + 1);
        Some(id)
    }

    fn handle_message(&mut self, now: Time, arrived: Time, message: Message) {
        for found in self.demux.resolve(arrived, message) {
            match found {
                Match::Held => {}
                Match::Dropped(reason) => self.discard(reason),
                Match::Reply(id, reply) => {
                    let Some(round) = self.rounds.get_mut(&id) else {
                        self.discard(Discard::Late);
                        continue;
                    };
                    let path = (round.template.protocol, round.template.family());
                    *self.counters.replies_received.entry(path).or_default() += 1;
                    round.tracer.handle_reply(now, reply);
                    self.collect(id);
                }
            }
        }
    }

    fn discard(&mut self, reason: Discard) {
        *self.counters.discarded.entry(reason).or_default() += 1;
    }

    /// Takes a trace out if it is over.
    fn collect(&mut self, id: RoundId) {
        let over = self.rounds.get_mut(&id).and_then(|round| round.tracer.poll_event());
        if let Some(Event::Finished(_)) = over {
            self.stop(id);
        }
    }

    /// A tenth of a second's packets may go at once, so that traces starting together do not queue behind a timer.
    fn pacer(max_pps: u32, now: Time) -> Pacer {
        Pacer::new(max_pps, (max_pps / 10).max(1), now)
    }
}

#[cfg(test)]
mod tests;
