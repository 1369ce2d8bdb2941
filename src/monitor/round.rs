//! What a round is worth: whether it came to its end, whether it asked all, and which of its moves were told before.

use super::Monitor;
use crate::{
    flow::FlowId,
    route::Evidence,
    trace::{StopReason, Trace},
};

/// Rounds cut short in a row after which the last is taken for what it is, or the target begins anew: going on from what is known, they
/// may never come to their end.
const CUT_SHORT_MAX: u32 = 3;

impl Monitor {
    /// Whether a round ended before it could say what became of the route. Looking for more may be cut short where no flow has moved: what
    /// is not found this time is found another.
    pub(super) fn is_cut_short(&mut self, trace: &Trace, evidence: &Evidence) -> bool {
        let is_over = !matches!(
            trace.stop_reason,
            StopReason::SendFailed | StopReason::TimeLimit | StopReason::ProbeLimit
        );
        let (target, stop_reason) = (self.target.name.as_str(), trace.stop_reason.name());
        if is_over && let Some(since) = self.short_since.take() {
            let rounds = self.counters.rounds.saturating_sub(since + 1);
            tracing::info!(target, rounds, "no longer: rounds are cut short");
        }
        if is_over || trace.settled && !evidence.flows().any(|(flow, _)| evidence.has_moved(flow)) {
            return false;
        }
        self.cut_short += 1;
        if self.cut_short < CUT_SHORT_MAX {
            return true;
        }
        // Where a bound is too small for the target this comes again every few rounds: it is told once.
        if self.short_since.is_none() {
            tracing::warn!(
                target,
                stop_reason,
                rounds = self.cut_short,
                "rounds are cut short: what is known of the route is what they found"
            );
            self.short_since = Some(self.counters.rounds.saturating_sub(self.cut_short.into()));
        }
        if !trace.settled {
            self.start_over();
        }
        !trace.settled
    }

    /// Whether a flow moves by the last change of nodes and links, which was told already: it was not asked since. Where a change comes in
    /// the midst of a round, that finds it by flows that are asked later.
    pub(super) fn is_straggler(&self, flow: FlowId, evidence: &Evidence) -> bool {
        let Some((round, hops)) = &self.rerouted else { return false };
        let known = self.pinned.cells(flow).into_iter().flatten();
        let mut before = known.filter(|(ttl, cell)| cell.past.round <= *round && hops.contains(ttl));
        before.any(|(&ttl, _)| evidence.has_moved_at(flow, ttl))
    }

    /// Whether all that was pinned was asked.
    pub(super) fn is_full_round(&self, evidence: &Evidence) -> bool {
        self.pinned.flows().all(|(flow, cells)| {
            let mut known = cells.range(..=evidence.end_ttl(flow));
            known.all(|(&ttl, _)| evidence.cell(flow, ttl).is_some_and(|cell| cell.sent > 0))
        })
    }
}
