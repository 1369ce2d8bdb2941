//! All traces in progress, between their engines and the bytes on the wire.
//!
//! Sans-IO like the engines it holds: bytes and the time come in as arguments, bytes come out. The driver runs it on
//! raw sockets, the simulation on virtual time. Traces take turns, so that no one of them starves the others.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

pub use super::demux::RoundId;
use super::{
    agenda::Agenda,
    demux::{Demux, Match},
};
use crate::{
    counters::{Counters, Discard},
    flow::Protocol,
    probe::{ProbeId, Template},
    time::Time,
    trace::Trace,
    tracer::{Event, Pacer, Progress, SendFailure, Settings, Tracer},
    wire::{self, DecodeError, Message},
};

/// How long the kernel may have no room for any packet of a trace before the trace is given up.
const BUSY_PATIENCE: Duration = Duration::from_secs(5);

/// A packet to be sent: its bytes are in [`Exchange::packet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where it goes.
    pub destination: IpAddr,
    /// Where it comes from: routes may depend on it.
    pub source: IpAddr,
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

struct Round {
    tracer: Tracer,
    template: Template,
    timeout: Duration,
    interface: Option<u32>,
    last_sent: Time,
    /// Since when the kernel had no room for any packet.
    busy_since: Option<Time>,
    /// Whether the last packet was taken back.
    taken_back: bool,
}

/// All traces in progress.
pub struct Exchange {
    demux: Demux,
    rounds: BTreeMap<RoundId, Round>,
    next_round: u64,
    agenda: Agenda,
    /// Up to when everything that arrived has been taken in.
    heard: Time,
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
            agenda: Agenda::default(),
            heard: now,
            pacer: Pacer::new(max_pps, burst(max_pps), now),
            packet: Vec::new(),
            finished: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// Bounds all traces together from now on.
    pub fn set_max_pps(&mut self, max_pps: u32) {
        self.pacer.set_rate(max_pps, burst(max_pps));
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
        let round = Round {
            tracer: Tracer::new(settings, now),
            template,
            timeout,
            interface,
            last_sent: now,
            busy_since: None,
            taken_back: false,
        };
        self.rounds.insert(id, round);
        self.touched(id);
        id
    }

    /// Ends a trace early. It is reported with what it knows.
    pub fn stop(&mut self, id: RoundId) {
        if let Some(round) = self.rounds.remove(&id) {
            self.agenda.remove(id);
            self.finished.push_back((id, round.tracer.into_trace(&round.template)));
        }
    }

    /// How far a trace has come; `None` where it is over.
    #[must_use]
    pub fn progress(&self, id: RoundId) -> Option<Progress> {
        Some(self.rounds.get(&id)?.tracer.progress())
    }

    /// What a trace knows by now; it goes on. `None` where it is over.
    #[must_use]
    pub fn so_far(&self, id: RoundId) -> Option<Trace> {
        let round = self.rounds.get(&id)?;
        Some(round.tracer.so_far(&round.template))
    }

    /// The next packet to send now; `None` when there is nothing to send yet. Its bytes are in [`Self::packet`] until the
    /// next call.
    pub fn poll_transmit(&mut self, now: Time) -> Option<Transmit> {
        if !self.pacer.ready(now) {
            return None;
        }
        self.agenda.release(now);
        for _ in 0..self.agenda.ready() {
            let id = self.agenda.take_turn()?;
            let round = self.rounds.get_mut(&id)?;
            // A trace that waits for its turn to send has its silences looked at here.
            round.tracer.handle_timeout(self.heard);
            let Some(probe) = round.tracer.poll_transmit(now) else {
                self.touched(id);
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
                    round.last_sent = now;
                    if !std::mem::take(&mut round.taken_back) {
                        round.busy_since = None;
                    }
                    let path = (round.template.protocol, round.template.family());
                    *self.counters.probes_sent.entry(path).or_default() += 1;
                    let (flow, ttl) = (probe.flow, probe.ttl);
                    tracing::trace!(destination = %round.template.destination, %flow, %ttl, "probe");
                    let transmit = Transmit {
                        destination: round.template.destination,
                        source: round.template.source,
                        interface: round.interface,
                        round: id,
                        probe: probe.id,
                        ident,
                    };
                    self.touched(id);
                    return Some(transmit);
                }
                Err(error) => {
                    round.tracer.handle_send_failure(probe.id, SendFailure::Refused(error.to_string()));
                    self.touched(id);
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

    /// Takes back a packet that could not be sent. A kernel that has no room for any packet of a trace for five seconds will
    /// not have it later: an interface's queue that does not drain.
    pub fn handle_send_failure(&mut self, transmit: Transmit, mut failure: SendFailure) {
        if let (SendFailure::Busy, Some(round)) = (&failure, self.rounds.get_mut(&transmit.round)) {
            round.taken_back = true;
            let since = *round.busy_since.get_or_insert(round.last_sent);
            if round.last_sent.since(since) >= BUSY_PATIENCE {
                let (to, seconds) = (transmit.destination, BUSY_PATIENCE.as_secs());
                failure = SendFailure::Refused(format!("cannot send to {to}: no room for {seconds} s"));
            }
        }
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
        self.touched(transmit.round);
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

    /// Does what is due, given that every message that arrived up to `heard` has been taken in: what is still missing then
    /// did not come.
    pub fn handle_timeout(&mut self, heard: Time) {
        self.heard = self.heard.max(heard);
        for _ in 0..self.demux.forget_old(heard) {
            self.discard(Discard::Spoofed);
        }
        for id in self.agenda.take_due(heard) {
            if let Some(round) = self.rounds.get_mut(&id) {
                round.tracer.handle_timeout(heard);
                self.touched(id);
            }
        }
    }

    /// When to call [`Self::handle_timeout`] and [`Self::poll_transmit`] next; `None` when no trace is in progress.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        // A trace's own bound may let it go while the common one does not.
        let pace = self.agenda.next_pace().map(|at| at.max(self.pacer.next()));
        pace.into_iter().chain(self.agenda.next_due()).min()
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
                    let (destination, rtt) = (round.template.destination, reply.rtt);
                    tracing::trace!(%destination, from = %reply.from, kind = ?reply.kind, ?rtt, "reply");
                    round.tracer.handle_reply(now, reply);
                    self.touched(id);
                }
            }
        }
    }

    fn discard(&mut self, reason: Discard) {
        *self.counters.discarded.entry(reason).or_default() += 1;
    }

    /// To be called whenever a tracer was: takes the trace out if it is over, otherwise notes when it wants to be called next.
    fn touched(&mut self, id: RoundId) {
        let Some(round) = self.rounds.get_mut(&id) else {
            return;
        };
        match round.tracer.poll_event() {
            Some(Event::Finished(_)) => self.stop(id),
            None => self.agenda.set(id, round.tracer.poll_timeout()),
        }
    }
}

/// A tenth of a second's packets may go at once, so that traces starting together do not queue behind a timer.
fn burst(max_pps: u32) -> u32 {
    (max_pps / 10).max(1)
}

#[cfg(test)]
mod tests;
