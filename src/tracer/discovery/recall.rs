//! Going on from what earlier rounds know: flows pinned then are flows asked now.

use std::collections::BTreeSet;

use super::Discovery;
use crate::{flow::FlowId, tracer::policy::Plan};

impl Discovery {
    /// Takes in all that the evidence has before the first question. Hops known are not searched for per-packet balancers
    /// again: flows that differ from round to round show those.
    pub(super) fn recall(&mut self, plan: &Plan<'_>) {
        let evidence = plan.evidence;
        let mut missing: BTreeSet<FlowId> = evidence.flows().map(|(flow, _)| flow).collect();
        let known: Vec<FlowId> = missing.iter().copied().collect();
        for place in 0.. {
            if missing.is_empty() {
                break;
            }
            let Some(flow) = self.flow(place, plan) else { break };
            missing.remove(&flow);
        }
        for (flow, cells) in evidence.flows() {
            for (&ttl, cell) in cells {
                if cell.address().is_some() || cell.is_silent() {
                    self.asked.entry(ttl.get()).or_default().insert(flow, self.questions);
                    self.repeated.insert(ttl.get());
                }
            }
        }
        // Once more: where the destination stands shows only when all flows are known.
        for &flow in known.iter().chain(&known) {
            self.update(flow, plan);
        }
        let lost = known.iter().filter(|&&flow| evidence.is_out_of_reach(flow));
        let ends = lost.filter_map(|&flow| self.graph.at(flow, evidence.last_answer(flow)?.get()));
        self.dead = ends.collect();
        self.budget.split(self.graph.branches());
    }
}
