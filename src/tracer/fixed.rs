//! Strategy `fixed`: a given number of flows, each asked at every TTL up to its own end.
//!
//! All flows run in parallel, each with a window ahead of its last answer, so that one lost reply or one silent
//! router holds nobody up. The first flow looks far ahead and finds the distance for the others.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    control::{Control, Controls},
    ending::Ending,
    policy::{Plan, Policy},
};
use crate::{flow::FlowId, probe::Ttl, route::FlowEnd};

/// TTLs that the first flow asks at once: most routes of the Internet end within them.
const SCOUT_WINDOW: u8 = 16;
/// TTLs that every other flow asks at once.
const WINDOW: u8 = 8;

/// The policy of `fixed`.
pub(super) struct Fixed {
    /// Every flow, and the last TTL it was asked at.
    flows: BTreeMap<FlowId, Option<Ttl>>,
    /// Nearest TTL at which the destination answered anyone.
    destination: Option<Ttl>,
    controls: Controls,
}

impl Fixed {
    pub(super) fn new() -> Self {
        Self { flows: BTreeMap::new(), destination: None, controls: Controls::default() }
    }

    /// Asks a flow as far as its last answer justifies.
    fn extend(&mut self, flow: FlowId, plan: &mut Plan<'_>) {
        if plan.evidence.end(flow).is_some() {
            return;
        }
        let settings = plan.settings;
        let answered = plan.evidence.last_answer(flow);
        let ahead = match answered {
            Some(last) => last.plus(settings.gap_limit),
            None => before_first(settings.first_ttl, settings.gap_limit),
        };
        let bound = self.bound(flow, plan).min(settings.max_ttl);
        self.ask_to(flow, ahead.min(bound), plan);
    }

    /// How far it makes sense to ask a flow, given where others reached the destination: to there, and one further where
    /// that stays silent. Only an answer from a router as far away as the destination shows that this flow's way is longer.
    fn bound(&self, flow: FlowId, plan: &Plan<'_>) -> Ttl {
        let Some(destination) = self.destination else {
            return Ttl::MAX;
        };
        if plan.evidence.last_answer(flow).is_some_and(|last| last >= destination) {
            return Ttl::MAX;
        }
        let silent = plan.evidence.cell(flow, destination).is_some_and(|cell| cell.silent);
        if silent { destination.next() } else { destination }
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

    /// The destination is nearer than known so far: nobody needs to look beyond it before having been there.
    fn rein_in(&mut self, plan: &mut Plan<'_>) {
        let flows: Vec<_> = self.flows.keys().copied().collect();
        for flow in flows {
            let bound = self.bound(flow, plan);
            self.cut(flow, bound, plan);
            self.extend(flow, plan);
        }
    }
}

impl Policy for Fixed {
    fn start(&mut self, plan: &mut Plan<'_>) {
        let settings = plan.settings;
        let flows: Vec<_> =
            (0..usize::from(settings.flows)).map_while(|index| settings.flow_sequence.get(index)).collect();
        for (index, flow) in flows.into_iter().enumerate() {
            let window = if index == 0 { SCOUT_WINDOW } else { WINDOW };
            let last = before_first(settings.first_ttl, window.max(settings.gap_limit)).min(settings.max_ttl);
            self.ask_to(flow, last, plan);
        }
    }

    fn on_answer(&mut self, flow: FlowId, ttl: Ttl, plan: &mut Plan<'_>) {
        if let Some(end) = plan.evidence.end(flow) {
            self.cut(flow, end.ttl(), plan);
            if let FlowEnd::Reached(reached) = end
                && self.destination.is_none_or(|known| reached < known)
            {
                self.destination = Some(reached);
                self.rein_in(plan);
            }
            return;
        }
        // The scout has asked farther ahead than its answers so far justify: only a farther answer moves the window.
        if plan.evidence.last_answer(flow) == Some(ttl) {
            self.extend(flow, plan);
        }
    }

    fn on_silence(&mut self, flow: FlowId, _ttl: Ttl, plan: &mut Plan<'_>) {
        self.extend(flow, plan);
    }

    fn on_idle(&mut self, plan: &mut Plan<'_>) -> Ending {
        let flows: BTreeSet<_> = self.flows.keys().copied().collect();
        match self.controls.next(&flows, plan) {
            Control::Asked | Control::Done => Ending::of(plan.evidence, plan.settings),
        }
    }
}

/// The TTL `count` hops behind the one before the first.
fn before_first(first: Ttl, count: u8) -> Ttl {
    first.plus(count.saturating_sub(1))
}
