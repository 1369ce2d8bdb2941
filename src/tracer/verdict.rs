//! When a missing answer is believed: by time, and by controls that are answered meanwhile.
//!
//! Brings together what was asked (`queries`), what is known of limits (`lanes`) and the evidence. Mechanism: knows no strategy.

use super::{Tracer, lanes::CONTROLS, queries::QueryId};
use crate::{probe::Ttl, time::Time};

impl Tracer {
    /// Asks again what was answered at a hop.
    pub(super) fn ask_control(&mut self, ttl: Ttl) {
        let flows = self.evidence.witnesses(ttl, usize::MAX);
        let Some(&flow) = self.controls.checked_rem(flows.len()).and_then(|place| flows.get(place)) else {
            self.lanes.close(ttl);
            return;
        };
        self.queries.repeat(flow, ttl);
        self.controls += 1;
    }

    /// Finds out whether a hop limits its answers, unless that is known or being found out. Returns whether it is being found out.
    pub(super) fn test(&mut self, ttl: Ttl, now: Time) -> bool {
        let retry = self.patience().retry;
        self.lanes.expire(ttl, now - retry * 4);
        if self.lanes.is_held(ttl) || self.lanes.is_clear(ttl, now - retry) {
            return self.lanes.is_held(ttl);
        }
        let flows = self.evidence.witnesses(ttl, CONTROLS);
        self.lanes.test(ttl, flows.len(), now);
        for &flow in &flows {
            self.queries.repeat(flow, ttl);
        }
        !flows.is_empty()
    }

    /// Notes which nodes of a hop limit their answers, as far as the answers missing show.
    pub(super) fn note_limits(&mut self, ttl: Ttl, now: Time) {
        let (nodes, hop) = self.evidence.shortfall(ttl);
        for address in nodes {
            self.evidence.limits(ttl, address);
        }
        if hop && !self.evidence.witnesses(ttl, 1).is_empty() {
            self.evidence.hides(ttl);
            self.lanes.limit(ttl, now);
        }
    }

    /// Judges a query out of attempts. Where anything as far away has answered, the round-trip times seen tell how long
    /// to wait; where nothing has, what lies there may just be slow, and only the time-out decides. Silence beside answers is
    /// believed where a control is answered meanwhile.
    pub(super) fn judge(&mut self, id: QueryId, now: Time) {
        let patience = self.patience();
        let timeout = self.settings.timeout;
        let Some(query) = self.queries.get(id) else { return };
        let (flow, ttl, tries) = (query.flow, query.ttl, query.tries());
        if query.is_control() {
            self.queries.settle(id);
            self.evidence.missed(flow, ttl);
            let again = self.lanes.control(ttl, false, now);
            self.note_limits(ttl, now);
            if again {
                self.test(ttl, now);
            }
            return;
        }
        let may_be_limited = self.closing.is_none() && !query.is_in_vain();
        if may_be_limited && self.lanes.is_limited(ttl) && !self.lanes.is_hopeless(ttl, tries) {
            self.queries.hold(id);
            return;
        }
        let overtaken = self.arrived || self.farthest.is_some_and(|farthest| farthest >= ttl);
        let verdict = if overtaken { query.verdict_at(patience, timeout) } else { query.timeout_at(timeout) };
        if now < verdict {
            // Look again after a retry's time: an answer from farther away may have come meanwhile.
            let next = if overtaken { verdict } else { verdict.min(now + patience.retry) };
            self.queries.wait_until(id, next);
            return;
        }
        let suspected = query.first_sent().unwrap_or(now) + patience.retry;
        let known = self.lanes.is_clear(ttl, suspected) || self.lanes.is_limited(ttl);
        if may_be_limited && !known && self.test(ttl, now) {
            self.queries.wait_until(id, now + patience.repeat);
            return;
        }
        self.queries.settle(id);
        self.lanes.settled(ttl, flow);
        self.evidence.silent(flow, ttl);
        self.consult(|policy, plan| policy.on_silence(flow, ttl, plan));
    }
}
