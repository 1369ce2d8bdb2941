//! Strategy `fixed`: a given number of flows, each asked at every TTL up to its own end.
//!
//! All flows run in parallel. The first scouts ahead in small steps and the others follow as far as anything has
//! answered: probes beyond the destination would use up what it is willing to answer. One silent router holds nobody up.

use std::collections::BTreeMap;

use super::{
    ending::Ending,
    policy::{Plan, Policy},
};
use crate::{
    flow::FlowId,
    probe::Ttl,
    route::{Cell, FlowEnd},
};

/// TTLs that the scout asks beyond its last answer.
const SCOUT_WINDOW: u8 = 3;

/// The policy of `fixed`.
pub(super) struct Fixed {
    /// Every flow, and the last TTL it was asked at.
    flows: BTreeMap<FlowId, Option<Ttl>>,
    scout: Option<FlowId>,
    /// Farthest TTL at which anyone was answered.
    farthest: Option<Ttl>,
    /// Nearest TTL at which the destination answered anyone.
    destination: Option<Ttl>,
}

impl Fixed {
    pub(super) fn new() -> Self {
        Self { flows: BTreeMap::new(), scout: None, farthest: None, destination: None }
    }

    /// Asks a flow as far as its last answer justifies.
    fn extend(&mut self, flow: FlowId, plan: &mut Plan<'_>) {
        if plan.evidence.end(flow).is_some() {
            return;
        }
        let settings = plan.settings;
        let next = plan.evidence.last_answer(flow).map_or(settings.first_ttl, Ttl::next);
        let ahead = if plan.evidence.cell(flow, next).is_some_and(Cell::is_late) {
            before_first(next, settings.gap_limit)
        } else if self.scout == Some(flow) {
            before_first(next, SCOUT_WINDOW)
        } else {
            self.farthest.map_or(next, |farthest| farthest.max(next))
        };
        let bound = self.bound(flow, plan).min(settings.max_ttl);
        self.ask_to(flow, ahead.min(bound), plan);
    }

    /// How far it makes sense to ask a flow, given where others reached the destination: to there, and farther where that stays
    /// silent, or where an answer from a router as far away shows that this flow's way is longer.
    fn bound(&self, flow: FlowId, plan: &Plan<'_>) -> Ttl {
        let Some(destination) = self.destination else {
            return Ttl::MAX;
        };
        if plan.evidence.last_answer(flow).is_some_and(|last| last >= destination) {
            return Ttl::MAX;
        }
        let silent = plan.evidence.cell(flow, destination).is_some_and(Cell::is_silent);
        if silent { Ttl::MAX } else { destination }
    }

    fn ask_to(&mut self, flow: FlowId, last: Ttl, plan: &mut Plan<'_>) {
        let asked = self.flows.entry(flow).or_default();
        let from = asked.map_or(plan.settings.first_ttl, Ttl::next);
        if from > last || *asked == Some(Ttl::MAX) {
            return;
        }
        for ttl in from.to(last) {
            plan.ask(flow, ttl);
        }
        *asked = Some(last);
    }

    /// Takes back what was planned beyond a TTL.
    fn cut(&mut self, flow: FlowId, last: Ttl, plan: &mut Plan<'_>) {
        plan.withdraw_beyond(flow, last);
        if let Some(asked) = self.flows.get_mut(&flow) {
            *asked = (*asked).map(|asked| asked.min(last));
        }
    }

    fn extend_all(&mut self, plan: &mut Plan<'_>) {
        let flows: Vec<_> = self.flows.keys().copied().collect();
        for flow in flows {
            self.extend(flow, plan);
        }
    }

    /// The destination is nearer than known so far: nobody needs to look beyond it before having been there.
    fn rein_in(&mut self, plan: &mut Plan<'_>) {
        let flows: Vec<_> = self.flows.keys().copied().collect();
        for flow in flows {
            let bound = self.bound(flow, plan);
            self.cut(flow, bound, plan);
        }
        self.extend_all(plan);
    }
}

impl Policy for Fixed {
    fn start(&mut self, plan: &mut Plan<'_>) {
        let settings = plan.settings;
        let flows: Vec<_> =
            (0..usize::from(settings.flows)).map_while(|index| settings.flow_sequence.get(index)).collect();
        self.scout = flows.first().copied();
        for flow in flows {
            self.flows.insert(flow, None);
            self.extend(flow, plan);
        }
    }

    fn on_answer(&mut self, flow: FlowId, ttl: Ttl, plan: &mut Plan<'_>) {
        if let Some(end) = plan.evidence.end(flow) {
            self.cut(flow, end.ttl(), plan);
            if let FlowEnd::Reached(reached) = end
                && self.destination.is_none_or(|known| reached < known)
            {
                self.destination = Some(reached);
                self.farthest = self.farthest.max(Some(reached));
                self.rein_in(plan);
            }
            return;
        }
        if self.farthest.is_none_or(|farthest| ttl > farthest) {
            self.farthest = Some(ttl);
            self.extend_all(plan);
        } else {
            self.extend(flow, plan);
        }
    }

    fn on_retry(&mut self, flow: FlowId, _ttl: Ttl, plan: &mut Plan<'_>) {
        self.extend(flow, plan);
    }

    fn on_silence(&mut self, flow: FlowId, _ttl: Ttl, plan: &mut Plan<'_>) {
        self.extend(flow, plan);
    }

    fn on_idle(&mut self, plan: &mut Plan<'_>) -> Ending {
        Ending::of(plan.evidence, plan.settings)
    }
}

/// The TTL `count` hops behind the one before the first.
fn before_first(first: Ttl, count: u8) -> Ttl {
    first.plus(count.saturating_sub(1))
}
