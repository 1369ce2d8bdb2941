//! The engine that traces one target: sans-IO and deterministic.
//!
//! Knows no socket, no clock and no byte of wire format: probes come out as values, replies and the time come in as
//! arguments. The same engine runs on raw sockets and in the simulation. How probes are chosen is the policy's business
//! (`fixed`, and what follows it); sending them at a bounded rate, repeating and giving them up is mechanism, and here.
//!
//! Five verbs drive it. After each call of another verb, call [`Tracer::poll_transmit`] until it returns `None`, then
//! ask [`Tracer::poll_timeout`] when to come back. Spurious calls do nothing.

mod budget;
mod discovery;
mod ending;
mod fixed;
mod graph;
mod lanes;
mod pacing;
mod policy;
mod queries;
mod verdict;
mod watch;

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, time::Duration};

use self::{
    discovery::{Discovery, Style},
    ending::Ending,
    fixed::Fixed,
    lanes::{Lanes, Turn},
    policy::{Plan, Policy},
    queries::{Expired, Patience, Queries, Query, QueryId},
    watch::Watch,
};
pub use self::{pacing::Pacer, queries::Reason};
use crate::{
    annotations::Annotations,
    flow::FlowSequence,
    probe::{Probe, ProbeId, Reply, Template, Ttl},
    route::{Answer, Evidence, Route},
    strategy::{Confidence, Strategy},
    time::Time,
    trace::{StopReason, Trace},
};

/// Shortest time after which a probe is repeated: replies of slow control planes come late, and a repeat of an
/// answered probe is a wasted packet.
const RETRY_MIN: Duration = Duration::from_millis(220);
/// Shortest time between further repeats.
const REPEAT_MIN: Duration = Duration::from_millis(50);
/// What a retry allows on top of twice the slowest answer seen.
const RETRY_MARGIN: Duration = Duration::from_millis(100);
/// Shortest time after which a node is called silent although nodes beyond it answer.
const VERDICT_MIN: Duration = Duration::from_millis(650);

/// What a trace is to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How probes are chosen.
    pub strategy: Strategy,
    /// Confidence that the route found is whole; `fixed` only reports what it reached.
    pub confidence: Confidence,
    /// Nearest TTL asked.
    pub first_ttl: Ttl,
    /// Farthest TTL asked.
    pub max_ttl: Ttl,
    /// How long a reply is accepted.
    pub timeout: Duration,
    /// Packets sent for one question before it counts as unanswered, at least 1.
    pub attempts: u8,
    /// Silent hops in a row after which a flow is given up, at least 1.
    pub gap_limit: u8,
    /// Most packets sent.
    pub max_probes: u32,
    /// Flows of strategy `fixed`.
    pub flows: u16,
    /// Packets a second.
    pub pps: u32,
    /// Packets sent at once after a pause.
    pub burst: u32,
    /// Longest duration; `None` for no bound.
    pub time_limit: Option<Duration>,
    /// The flows of this target in the order in which they are used.
    pub flow_sequence: FlowSequence,
    /// What earlier rounds know, where the target is watched.
    pub baseline: Option<Baseline>,
}

/// What earlier rounds know of a target, and how much of that a trace is to ask again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Baseline {
    /// Whom each pinned flow met: [`Evidence::remember`].
    pub evidence: Evidence,
    /// Whether every pinned probe is asked, not only as many as pass every node and link.
    pub full: bool,
    /// Confidence that the route is whole when the trace is over, beyond the one that its settings promise.
    pub confidence: Confidence,
}

/// A point in time at which something is due, and what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    /// When.
    pub at: Time,
    /// Why.
    pub reason: Reason,
}

/// Why a packet could not be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendFailure {
    /// No room for it at the moment: it is to be tried again.
    Busy,
    /// The kernel will not send to this destination; the text says why.
    Refused(String),
}

/// What happens in a trace that its owner may want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The trace is over: [`Tracer::into_trace`] has the result.
    Finished(StopReason),
}

/// How far a trace has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Packets sent.
    pub probes_sent: u32,
    /// Answers received.
    pub replies_received: u32,
    /// TTL of the farthest hop that answered; 0 when none did.
    pub hops: u8,
    /// Addresses that answered, each counted at every hop.
    pub nodes: usize,
}

/// One trace in progress.
pub struct Tracer {
    settings: Settings,
    policy: Box<dyn Policy>,
    evidence: Evidence,
    queries: Queries,
    lanes: Lanes,
    /// Controls drawn so far: each asks another flow.
    controls: usize,
    pacer: Pacer,
    started: Time,
    now: Time,
    slowest: Option<Duration>,
    /// Farthest TTL that anything answered at.
    farthest: Option<Ttl>,
    /// Whether the destination has answered: nothing is farther away than what was seen.
    arrived: bool,
    probes_sent: u32,
    replies_received: u32,
    /// A limit was met: nothing new is sent, what is in flight is awaited.
    closing: Option<Ending>,
    finished: Option<Ending>,
    reported: bool,
}

/// The policy of a strategy.
fn strategy(settings: &Settings) -> Box<dyn Policy> {
    match settings.strategy {
        Strategy::Fixed => Box::new(Fixed::new()),
        Strategy::Mda => Box::new(Discovery::new(Style::Full, settings)),
        Strategy::MdaLite => Box::new(Discovery::new(Style::Lite, settings)),
    }
}

impl Tracer {
    /// Begins a trace. Nothing is sent before [`Tracer::poll_transmit`] is called.
    #[must_use]
    pub fn new(mut settings: Settings, now: Time) -> Self {
        let known = settings.baseline.take().filter(|baseline| baseline.evidence.has_past());
        let (policy, evidence) = match known {
            Some(Baseline { evidence, full, confidence }) => {
                (Box::new(Watch::new(strategy, full, confidence)) as Box<dyn Policy>, evidence)
            }
            None => (strategy(&settings), Evidence::default()),
        };
        let mut tracer = Self {
            pacer: Pacer::new(settings.pps, settings.burst, now),
            policy,
            evidence,
            queries: Queries::default(),
            lanes: Lanes::default(),
            controls: 0,
            started: now,
            now,
            slowest: None,
            farthest: None,
            arrived: false,
            probes_sent: 0,
            replies_received: 0,
            closing: None,
            finished: None,
            reported: false,
            settings,
        };
        tracer.consult(|policy, plan| policy.start(plan));
        // Where nothing was known to ask again, there is more to look for.
        tracer.settle();
        tracer
    }

    /// The next probe to put on the wire now; `None` when there is nothing to send yet.
    ///
    /// Every probe that comes out counts as sent, until [`Tracer::handle_send_failure`] takes it back.
    pub fn poll_transmit(&mut self, now: Time) -> Option<Probe> {
        self.now = now;
        if self.finished.is_some() || !self.pacer.ready(now) {
            return None;
        }
        let query = self.next_query(now)?;
        if self.probes_sent >= self.settings.max_probes {
            let detail = format!("max_probes {} were sent", self.settings.max_probes);
            self.close(Ending { reason: StopReason::ProbeLimit, detail: Some(detail) });
            return None;
        }
        let (flow, ttl) = self.queries.get(query).map(|query| (query.flow, query.ttl))?;
        let id = self.queries.sent(query, now, self.patience())?;
        self.pacer.take(now);
        self.evidence.sent(flow, ttl);
        self.probes_sent += 1;
        Some(Probe { id, flow, ttl })
    }

    /// Takes back a probe that could not be sent.
    pub fn handle_send_failure(&mut self, probe: ProbeId, failure: SendFailure) {
        let Some(sent) = self.queries.refused(probe) else {
            return;
        };
        self.evidence.unsent(sent.flow, sent.ttl);
        self.probes_sent = self.probes_sent.saturating_sub(1);
        if let SendFailure::Refused(detail) = failure {
            self.finish(Ending { reason: StopReason::SendFailed, detail: Some(detail) });
        }
    }

    /// Takes in the reply to one of this trace's probes. A second reply to the same probe, or one that comes later than
    /// `timeout`, does nothing.
    pub fn handle_reply(&mut self, now: Time, reply: Reply) {
        self.now = now;
        if self.finished.is_some() || reply.rtt > self.settings.timeout {
            return;
        }
        let Some(sent) = self.queries.answered(reply.probe) else {
            return;
        };
        let Reply { from, kind, rtt, nat, mpls, .. } = reply;
        self.replies_received += 1;
        self.slowest = self.slowest.max(Some(rtt));
        self.farthest = self.farthest.max(Some(sent.ttl));
        self.arrived |= kind.is_destination();
        self.evidence.answered(sent.flow, sent.ttl, Answer { from, kind, rtt, nat, mpls });
        if sent.control {
            self.lanes.control(sent.ttl, true, now);
        } else {
            let tries = self.queries.get(sent.query).map_or(0, Query::tries);
            self.lanes.answered(sent.ttl, sent.flow, tries);
        }
        if self.evidence.cell(sent.flow, sent.ttl).is_some_and(|cell| cell.sent > 1) {
            self.note_limits(sent.ttl, now);
        }
        self.consult(|policy, plan| policy.on_answer(sent.flow, sent.ttl, plan));
        self.settle();
    }

    /// Does what is due: repeats and gives up what was not answered, ends a trace at its time limit.
    pub fn handle_timeout(&mut self, now: Time) {
        self.now = now;
        if self.finished.is_some() {
            return;
        }
        if self.time_limit().is_some_and(|limit| limit <= now) {
            self.finish(Ending { reason: StopReason::TimeLimit, detail: None });
            return;
        }
        let mut repeated = Vec::new();
        while let Some(expired) = self.queries.expired(now, self.closing.is_some()) {
            if let Some(ttl) = self.queries.missed(expired.query()) {
                self.lanes.missed(ttl);
            }
            match expired {
                Expired::OutOfAttempts(query) => self.judge(query, now),
                Expired::Repeated(id) => match self.queries.get(id) {
                    Some(query) if self.lanes.is_hopeless(query.ttl, query.tries()) => self.judge(id, now),
                    query => repeated.extend(query.cloned()),
                },
            }
        }
        for query in repeated.iter().filter(|query| !query.is_in_vain()) {
            if self.lanes.late(query.ttl, query.flow) {
                self.test(query.ttl, now);
            }
        }
        for query in repeated.into_iter().filter(|query| query.tries() == 0) {
            self.consult(|policy, plan| policy.on_retry(query.flow, query.ttl, plan));
        }
        self.settle();
    }

    /// When [`Tracer::handle_timeout`] or [`Tracer::poll_transmit`] has to be called next, and why; `None` when the trace
    /// is over.
    #[must_use]
    pub fn poll_timeout(&mut self) -> Option<Deadline> {
        if self.finished.is_some() {
            return None;
        }
        let pace = self.queries.next().map(|_| Deadline { at: self.pacer.next(), reason: Reason::Pace });
        let silence = self.queries.next_deadline().and_then(|(at, query)| {
            let query = self.queries.get(query)?;
            Some(Deadline { at, reason: Reason::Silence { flow: query.flow, ttl: query.ttl } })
        });
        let lane = self.lanes.due(self.queries.lanes().into_iter());
        let lane = lane.map(|at| Deadline { at: at.max(self.pacer.next()), reason: Reason::RateLimit });
        let limit = self.time_limit().map(|at| Deadline { at, reason: Reason::TimeLimit });
        [pace, lane, silence, limit].into_iter().flatten().min()
    }

    /// The next event; `None` when there is none.
    pub fn poll_event(&mut self) -> Option<Event> {
        let reason = self.finished.as_ref()?.reason;
        (!std::mem::replace(&mut self.reported, true)).then_some(Event::Finished(reason))
    }

    /// How far the trace has come.
    #[must_use]
    pub fn progress(&self) -> Progress {
        // What lies beyond the end of its flow is the destination once more.
        let flows = self.evidence.flows();
        let cells = flows.flat_map(|(flow, cells)| cells.range(..=self.evidence.end_ttl(flow)));
        let nodes: BTreeSet<_> = cells.filter_map(|(ttl, cell)| Some((ttl, cell.address()?))).collect();
        Progress {
            probes_sent: self.probes_sent,
            replies_received: self.replies_received,
            hops: nodes.last().map_or(0, |(ttl, _)| ttl.get()),
            nodes: nodes.len(),
        }
    }

    /// The result, also of a trace that is not over yet. `template` names the addresses that the probes carried.
    #[must_use]
    pub fn into_trace(mut self, template: &Template) -> Trace {
        let evidence = std::mem::take(&mut self.evidence);
        self.result(template, evidence)
    }

    /// What the result would be if the trace ended now; it goes on.
    #[must_use]
    pub fn so_far(&self, template: &Template) -> Trace {
        self.result(template, self.evidence.clone())
    }

    fn result(&self, template: &Template, evidence: Evidence) -> Trace {
        let ending = self.finished.as_ref().or(self.closing.as_ref()).cloned();
        let ending =
            ending.unwrap_or(Ending { reason: StopReason::TimeLimit, detail: Some("interrupted".into()) });
        let mut route = Route::build(&evidence);
        route.confidence = self.policy.confidence().filter(|_| !route.hops.is_empty()).or(route.confidence);
        Trace {
            destination: template.destination,
            source: template.source,
            protocol: template.protocol,
            strategy: self.settings.strategy,
            confidence: self.settings.confidence.get(),
            duration: self.now.since(self.started),
            stop_reason: ending.reason,
            detail: ending.detail,
            settled: self.policy.is_settled(),
            probes_sent: self.probes_sent,
            replies_received: self.replies_received,
            route,
            evidence,
            annotations: Annotations::default(),
        }
    }

    /// The query whose turn it is. What would go to a hop that limits its answers waits in a lane instead.
    fn next_query(&mut self, now: Time) -> Option<QueryId> {
        let retry = self.patience().retry;
        if let Some((ttl, turn)) = self.lanes.turn(self.queries.lanes().into_iter(), now, retry) {
            match turn {
                Turn::Question => self.queries.release(ttl),
                Turn::Control => self.ask_control(ttl),
            }
        }
        loop {
            let id = self.queries.next()?;
            let query = self.queries.get(id)?;
            if query.may_pass() || !self.lanes.is_limited(query.ttl) {
                return Some(id);
            }
            self.queries.hold(id);
        }
    }

    /// Ends the trace if nothing is left to do.
    fn settle(&mut self) {
        if self.finished.is_some() || !self.queries.is_idle() {
            return;
        }
        if let Some(ending) = self.closing.take() {
            self.finish(ending);
            return;
        }
        let ending = self.consult(|policy, plan| policy.on_idle(plan));
        if self.queries.is_idle() {
            self.finish(ending);
        }
    }

    /// Sends nothing more; the trace ends when what is in flight is settled.
    fn close(&mut self, ending: Ending) {
        self.queries.withdraw_unsent();
        self.closing = Some(ending);
        self.settle();
    }

    fn finish(&mut self, ending: Ending) {
        self.finished = Some(ending);
    }

    fn consult<T>(&mut self, ask: impl FnOnce(&mut dyn Policy, &mut Plan<'_>) -> T) -> T {
        let mut plan = Plan {
            settings: &self.settings,
            evidence: &self.evidence,
            queries: &mut self.queries,
            lanes: &self.lanes,
            probes_sent: self.probes_sent,
        };
        let answer = ask(self.policy.as_mut(), &mut plan);
        if self.closing.is_some() {
            self.queries.withdraw_unsent();
        }
        answer
    }

    fn patience(&self) -> Patience {
        let adaptive = self.slowest.unwrap_or_default() * 2 + RETRY_MARGIN;
        let retry = adaptive.max(RETRY_MIN).min(self.settings.timeout);
        Patience { retry, repeat: (retry / 4).max(REPEAT_MIN), verdict: VERDICT_MIN.max(retry) }
    }

    fn time_limit(&self) -> Option<Time> {
        Some(self.started + self.settings.time_limit?)
    }
}
