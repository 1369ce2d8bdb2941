//! What was asked and is not yet settled: attempts, waits, and the deadlines that go with them.
//!
//! A query is one flow at one TTL, asked until it is answered or its attempts are used up. Mechanism only: which
//! queries there are is the policy's business.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    time::Duration,
};

use crate::{
    flow::FlowId,
    probe::{ProbeId, Ttl},
    time::Time,
};

/// Names a query within one trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct QueryId(u32);

#[derive(Clone, Debug)]
pub(super) struct Query {
    pub(super) flow: FlowId,
    pub(super) ttl: Ttl,
    state: State,
    attempts_left: u8,
    /// Whether the same was asked before: then the least patience was had already.
    repeats: bool,
    /// Whether others had the least patience for it.
    hastened: bool,
    /// Whether no answer is expected: its silence says nothing of limits, and no limit holds it up.
    in_vain: bool,
    until: Until,
    first_sent: Option<Time>,
    last_sent: Time,
    /// Whether its lane let it go, and how many packets it was let go for.
    released: bool,
    tries: u32,
    /// Whether the last of them is still awaited.
    tried: bool,
}

/// What ends a query before its attempts are used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// An answer to any packet of the same flow and TTL.
    Answered,
    /// An answer to its own packet: it counts answers.
    Sent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Waiting for its turn to be sent.
    Queued,
    /// Waiting for its turn in the lane of a hop that limits its answers.
    Held,
    /// Sent; the deadline says what happens if no answer comes.
    Waiting(Time),
    /// Answered, given up or withdrawn.
    Settled,
}

/// A packet that was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) query: QueryId,
    pub(super) flow: FlowId,
    pub(super) ttl: Ttl,
    pub(super) answered: bool,
    /// Whether it repeats what was answered before.
    pub(super) control: bool,
}

/// What a deadline is for: a debug log can say what a trace waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The rate bound lets the next packet go.
    Pace,
    /// A hop that limits its answers may be asked again.
    RateLimit,
    /// A probe was not answered for long enough to be repeated, or to be given up.
    Silence {
        /// The flow asked.
        flow: FlowId,
        /// The TTL asked.
        ttl: Ttl,
    },
    /// The trace has to end.
    TimeLimit,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pace => f.write_str("the rate bound"),
            Self::RateLimit => f.write_str("a hop that limits its answers"),
            Self::Silence { flow, ttl } => write!(f, "an answer to flow {flow} at TTL {ttl}"),
            Self::TimeLimit => f.write_str("the time limit"),
        }
    }
}

/// How long to wait for an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// From the first attempt to the second, and from the last to giving up, at least.
    pub(super) retry: Duration,
    /// Between further attempts.
    pub(super) repeat: Duration,
    /// From the first attempt to giving up, at least.
    pub(super) verdict: Duration,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Queries {
    all: Vec<Query>,
    queue: VecDeque<QueryId>,
    lanes: BTreeMap<Ttl, VecDeque<QueryId>>,
    deadlines: BTreeSet<(Time, QueryId)>,
    by_cell: BTreeMap<(FlowId, Ttl), Vec<QueryId>>,
    packets: Vec<Sent>,
}

impl Queries {
    /// Adds a query to the end of the queue.
    pub(super) fn ask(&mut self, flow: FlowId, ttl: Ttl, attempts: u8, until: Until) {
        let Ok(id) = u32::try_from(self.all.len()).map(QueryId) else {
            return;
        };
        self.all.push(Query {
            flow,
            ttl,
            state: State::Queued,
            attempts_left: attempts.max(1),
            repeats: self.knows(flow, ttl),
            hastened: false,
            in_vain: false,
            until,
            first_sent: None,
            last_sent: Time::ZERO,
            released: false,
            tries: 0,
            tried: false,
        });
        self.queue.push_back(id);
        self.by_cell.entry((flow, ttl)).or_default().push(id);
    }

    /// The same where no answer is expected.
    pub(super) fn ask_in_vain(&mut self, flow: FlowId, ttl: Ttl, attempts: u8) {
        self.ask(flow, ttl, attempts, Until::Answered);
        if let Some(query) = self.all.last_mut() {
            query.in_vain = true;
        }
    }

    /// Adds a query that counts one answer more to what was answered before.
    pub(super) fn repeat(&mut self, flow: FlowId, ttl: Ttl) {
        self.ask(flow, ttl, 1, Until::Sent);
    }

    /// Whether this flow was, or is about to be, asked at this TTL.
    pub(super) fn knows(&self, flow: FlowId, ttl: Ttl) -> bool {
        self.by_cell.get(&(flow, ttl)).is_some_and(|queries| !queries.is_empty())
    }

    /// Adds attempts to what a flow is asked at a TTL, or asks it anew.
    pub(super) fn insist(&mut self, flow: FlowId, ttl: Ttl, attempts: u8) {
        let queries = self.by_cell.get(&(flow, ttl)).into_iter().flatten().copied();
        let live = queries.filter(|&id| {
            self.get(id).is_some_and(|query| query.state != State::Settled && query.until == Until::Answered)
        });
        match live.max().and_then(|id| self.get_mut(id)) {
            Some(query) => {
                query.attempts_left = query.attempts_left.saturating_add(attempts);
                query.in_vain = false;
            }
            None => self.ask(flow, ttl, attempts, Until::Answered),
        }
    }

    /// Asks a flow at a TTL at most this many times more, and waits no longer for it than answers take: whether something silent is
    /// there is known from others.
    pub(super) fn hasten(&mut self, flow: FlowId, ttl: Ttl, attempts: u8) {
        for id in self.by_cell.get(&(flow, ttl)).cloned().unwrap_or_default() {
            let Some(query) = self.get_mut(id).filter(|query| query.until == Until::Answered) else {
                continue;
            };
            query.hastened = true;
            query.attempts_left = query.attempts_left.min(attempts);
            let (over, last_sent) = (query.attempts_left == 0, query.last_sent);
            if over && matches!(query.state, State::Waiting(_)) {
                // It is judged anew at once.
                self.unschedule(id);
                self.wait_until(id, last_sent);
            }
        }
    }

    /// Whether a flow is still being asked at a TTL.
    pub(super) fn is_asked(&self, flow: FlowId, ttl: Ttl) -> bool {
        let queries = self.by_cell.get(&(flow, ttl)).into_iter().flatten();
        queries.filter_map(|&id| self.get(id)).any(|query| query.state != State::Settled)
    }

    /// Stops asking a flow beyond a TTL, as if it had never been asked there. What was sent may still be answered.
    pub(super) fn withdraw_beyond(&mut self, flow: FlowId, ttl: Ttl) {
        let beyond: Vec<_> =
            self.by_cell.range((flow, ttl.next())..=(flow, Ttl::MAX)).map(|(&cell, _)| cell).collect();
        for cell in beyond.into_iter().filter(|&(_, at)| at > ttl) {
            for id in self.by_cell.remove(&cell).unwrap_or_default() {
                self.settle(id);
            }
        }
    }

    /// Withdraws everything that still waits for its turn. What was never sent was never asked.
    pub(super) fn withdraw_unsent(&mut self) {
        let held = std::mem::take(&mut self.lanes).into_values().flatten();
        for id in std::mem::take(&mut self.queue).into_iter().chain(held) {
            self.settle(id);
            let cell =
                self.get(id).filter(|query| query.first_sent.is_none()).map(|query| (query.flow, query.ttl));
            if let Some(queries) = cell.and_then(|cell| self.by_cell.get_mut(&cell)) {
                queries.retain(|&query| query != id);
            }
        }
    }

    /// Puts a query into the lane of its hop.
    pub(super) fn hold(&mut self, id: QueryId) {
        self.unschedule(id);
        if let Some(query) = self.get_mut(id) {
            query.state = State::Held;
            let ttl = query.ttl;
            self.lanes.entry(ttl).or_default().push_back(id);
        }
    }

    /// Lets the query that waits longest in a lane go next.
    pub(super) fn release(&mut self, ttl: Ttl) {
        if let Some(id) = self.lanes.get_mut(&ttl).and_then(VecDeque::pop_front)
            && let Some(query) = self.get_mut(id).filter(|query| query.state == State::Held)
        {
            query.state = State::Queued;
            query.released = true;
            self.queue.push_front(id);
        }
    }

    /// The hops in whose lanes queries wait.
    pub(super) fn lanes(&mut self) -> Vec<Ttl> {
        let all = &self.all;
        let is_held = |id: &QueryId| {
            let query = usize::try_from(id.0).ok().and_then(|place| all.get(place));
            query.is_some_and(|query| query.state == State::Held)
        };
        self.lanes.retain(|_, lane| {
            while lane.front().is_some_and(|id| !is_held(id)) {
                lane.pop_front();
            }
            !lane.is_empty()
        });
        self.lanes.keys().copied().collect()
    }

    /// Whether nothing is left to send or to wait for.
    pub(super) fn is_idle(&mut self) -> bool {
        self.deadlines.is_empty() && self.next().is_none() && self.lanes().is_empty()
    }

    /// The query whose turn it is.
    pub(super) fn next(&mut self) -> Option<QueryId> {
        while let Some(&id) = self.queue.front() {
            if self.is_queued(id) {
                return Some(id);
            }
            self.queue.pop_front();
        }
        None
    }

    pub(super) fn get(&self, id: QueryId) -> Option<&Query> {
        self.all.get(usize::try_from(id.0).ok()?)
    }

    fn get_mut(&mut self, id: QueryId) -> Option<&mut Query> {
        self.all.get_mut(usize::try_from(id.0).ok()?)
    }

    /// Notes that the query whose turn it was has been sent, and names the packet.
    pub(super) fn sent(&mut self, id: QueryId, now: Time, patience: Patience) -> Option<ProbeId> {
        if self.queue.front() == Some(&id) {
            self.queue.pop_front();
        }
        let packet = ProbeId(u32::try_from(self.packets.len()).ok()?);
        let query = self.get_mut(id)?;
        query.first_sent.get_or_insert(now);
        query.last_sent = now;
        query.attempts_left = query.attempts_left.saturating_sub(1);
        let released = std::mem::take(&mut query.released);
        query.tries += u32::from(released);
        query.tried = released;
        // The first wait tells that an answer is late; after that only chance is to be given. In a lane each packet counts.
        let wait = if released || query.first_sent == Some(now) { patience.retry } else { patience.repeat };
        let deadline = now + wait;
        query.state = State::Waiting(deadline);
        let (flow, ttl, control) = (query.flow, query.ttl, query.is_control());
        self.packets.push(Sent { query: id, flow, ttl, answered: false, control });
        self.deadlines.insert((deadline, id));
        Some(packet)
    }

    /// Takes a packet back that the kernel refused for want of room: its query gets its turn again.
    pub(super) fn refused(&mut self, packet: ProbeId) -> Option<Sent> {
        let sent = self.packet(packet)?;
        self.unschedule(sent.query);
        let query = self.get_mut(sent.query)?;
        query.attempts_left = query.attempts_left.saturating_add(1);
        query.state = State::Queued;
        self.queue.push_front(sent.query);
        Some(sent)
    }

    /// A packet by its name.
    pub(super) fn packet(&self, packet: ProbeId) -> Option<Sent> {
        self.packets.get(usize::try_from(packet.0).ok()?).copied()
    }

    /// Settles the query of a packet that was answered; `None` when the packet is unknown or was answered before.
    pub(super) fn answered(&mut self, packet: ProbeId) -> Option<Sent> {
        let sent = self.packets.get_mut(usize::try_from(packet.0).ok()?)?;
        if std::mem::replace(&mut sent.answered, true) {
            return None;
        }
        let sent = *sent;
        self.settle(sent.query);
        for id in self.by_cell.get(&(sent.flow, sent.ttl)).cloned().unwrap_or_default() {
            if self.get(id).is_some_and(|query| query.until == Until::Answered) {
                self.settle(id);
            }
        }
        Some(sent)
    }

    /// The earliest deadline.
    pub(super) fn next_deadline(&self) -> Option<(Time, QueryId)> {
        self.deadlines.first().copied()
    }

    /// The next query whose deadline has passed. One with attempts left is back in the queue already.
    /// With `closing` none has.
    pub(super) fn expired(&mut self, now: Time, closing: bool) -> Option<Expired> {
        let (at, id) = self.next_deadline().filter(|&(at, _)| at <= now)?;
        self.deadlines.remove(&(at, id));
        let query = self.get_mut(id)?;
        if query.attempts_left > 0 && !closing {
            query.state = State::Queued;
            self.queue.push_back(id);
            return Some(Expired::Repeated(id));
        }
        Some(Expired::OutOfAttempts(id))
    }

    /// The hop of a query that its lane let go, when that is not answered in time; once for each packet.
    pub(super) fn missed(&mut self, id: QueryId) -> Option<Ttl> {
        let query = self.get_mut(id)?;
        std::mem::take(&mut query.tried).then_some(query.ttl)
    }

    /// Waits on for a query out of attempts.
    pub(super) fn wait_until(&mut self, id: QueryId, deadline: Time) {
        if let Some(query) = self.get_mut(id) {
            query.state = State::Waiting(deadline);
            self.deadlines.insert((deadline, id));
        }
    }

    /// Ends a query.
    pub(super) fn settle(&mut self, id: QueryId) {
        self.unschedule(id);
        if let Some(query) = self.get_mut(id) {
            query.state = State::Settled;
        }
    }

    fn unschedule(&mut self, id: QueryId) {
        if let Some(Query { state: State::Waiting(deadline), .. }) = self.get(id) {
            let deadline = *deadline;
            self.deadlines.remove(&(deadline, id));
        }
    }

    fn is_queued(&self, id: QueryId) -> bool {
        self.get(id).is_some_and(|query| query.state == State::Queued)
    }
}

/// What became of a query whose deadline has passed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expired {
    /// It waits for its turn again.
    Repeated(QueryId),
    /// It is out of attempts.
    OutOfAttempts(QueryId),
}

impl Expired {
    /// Which query it is.
    pub(super) const fn query(self) -> QueryId {
        match self {
            Self::Repeated(id) | Self::OutOfAttempts(id) => id,
        }
    }
}

impl Query {
    /// Whether it counts answers to what was answered before.
    pub(super) fn is_control(&self) -> bool {
        self.until == Until::Sent
    }

    /// Whether it may be sent although its hop limits its answers.
    pub(super) fn may_pass(&self) -> bool {
        self.released || self.in_vain || self.is_control()
    }

    /// Whether no answer to it is expected.
    pub(super) const fn is_in_vain(&self) -> bool {
        self.in_vain
    }

    /// Packets for which its lane let it go.
    pub(super) const fn tries(&self) -> u32 {
        self.tries
    }

    /// When it was sent first, if it was.
    pub(super) const fn first_sent(&self) -> Option<Time> {
        self.first_sent
    }

    /// When waiting is over: `patience.retry` behind the last attempt and `patience.verdict` behind the first, but
    /// never more than `timeout` behind the last. Half a retry, which is more than the slowest answer took, where it was hastened.
    pub(super) fn verdict_at(&self, patience: Patience, timeout: Duration) -> Time {
        let first = self.first_sent.unwrap_or(self.last_sent);
        let least = if self.repeats || self.hastened { Duration::ZERO } else { patience.verdict };
        let last = if self.hastened { patience.retry / 2 } else { patience.retry };
        let adaptive = (self.last_sent + last).max(first + least);
        adaptive.min(self.last_sent + timeout)
    }

    /// When no answer is accepted any more.
    pub(super) fn timeout_at(&self, timeout: Duration) -> Time {
        self.last_sent + timeout
    }
}
