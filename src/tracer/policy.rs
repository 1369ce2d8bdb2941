//! What a strategy sees and may ask for: the seam between policy and mechanism.
//!
//! A policy decides which flows to ask at which TTL. It never sees packets, retries, pacing or time-outs: it is told
//! when an answer came and when all attempts stayed without one.

use super::{
    Settings,
    ending::Ending,
    lanes::Lanes,
    queries::{Queries, Until},
};
use crate::{flow::FlowId, probe::Ttl, route::Evidence};

/// A way of choosing probes. All calls see the same evidence as the route will be built from.
pub(super) trait Policy: Send {
    /// Asks the first questions.
    fn start(&mut self, plan: &mut Plan<'_>);

    /// An answer came for this flow at this TTL; the evidence has it already.
    fn on_answer(&mut self, flow: FlowId, ttl: Ttl, plan: &mut Plan<'_>);

    /// An attempt of this flow at this TTL was not answered in the time in which answers came so far, and is repeated.
    fn on_retry(&mut self, _flow: FlowId, _ttl: Ttl, _plan: &mut Plan<'_>) {}

    /// All attempts of this flow at this TTL stayed without an answer.
    fn on_silence(&mut self, flow: FlowId, ttl: Ttl, plan: &mut Plan<'_>);

    /// Nothing is left to send or to wait for. Unless more is asked now, the trace ends; the answer says why.
    fn on_idle(&mut self, plan: &mut Plan<'_>) -> Ending;

    /// The confidence that what was asked supports, by the policy's own rules; `None` to have it read off the route.
    fn confidence(&self) -> Option<f64> {
        None
    }

    /// Whether it is known of every pinned flow what became of it.
    fn is_settled(&self) -> bool {
        true
    }
}

/// What a policy can read and order.
pub(super) struct Plan<'a> {
    pub(super) settings: &'a Settings,
    pub(super) evidence: &'a Evidence,
    pub(super) queries: &'a mut Queries,
    pub(super) lanes: &'a Lanes,
    pub(super) probes_sent: u32,
}

impl Plan<'_> {
    /// Asks a flow at a TTL, with all attempts, unless that is being asked or was answered before.
    pub(super) fn ask(&mut self, flow: FlowId, ttl: Ttl) {
        let answered = self.evidence.cell(flow, ttl).is_some_and(|cell| !cell.answers.is_empty());
        if !answered && !self.queries.knows(flow, ttl) {
            self.queries.ask(flow, ttl, self.settings.attempts, Until::Answered);
        }
    }

    /// Asks a flow at a TTL, with all attempts, where it was not answered before and is not expected to be.
    pub(super) fn ask_in_vain(&mut self, flow: FlowId, ttl: Ttl) {
        self.queries.ask_in_vain(flow, ttl, self.settings.attempts);
    }

    /// Asks a flow at a TTL once more, whatever was answered before.
    pub(super) fn repeat(&mut self, flow: FlowId, ttl: Ttl) {
        self.queries.repeat(flow, ttl);
    }

    /// Asks a flow at a TTL this many times more, or until it is answered.
    pub(super) fn insist(&mut self, flow: FlowId, ttl: Ttl, attempts: u8) {
        self.queries.insist(flow, ttl, attempts);
    }

    /// Whether a flow is still being asked at a TTL.
    pub(super) fn is_asked(&self, flow: FlowId, ttl: Ttl) -> bool {
        self.queries.is_asked(flow, ttl)
    }

    /// Whether nothing is left to send or to wait for.
    pub(super) fn is_idle(&mut self) -> bool {
        self.queries.is_idle()
    }

    /// Stops asking a flow beyond a TTL.
    pub(super) fn withdraw_beyond(&mut self, flow: FlowId, ttl: Ttl) {
        self.queries.withdraw_beyond(flow, ttl);
    }

    /// Withdraws everything that still waits for its turn.
    pub(super) fn withdraw_unsent(&mut self) {
        self.queries.withdraw_unsent();
    }

    /// How many packets may still be sent.
    pub(super) const fn packets_left(&self) -> u32 {
        self.settings.max_probes.saturating_sub(self.probes_sent)
    }

    /// Whether a hop is suspected or known to limit its answers: what is late there is being waited for.
    pub(super) fn is_held(&self, ttl: Ttl) -> bool {
        self.lanes.is_held(ttl)
    }
}
