//! Control probes: telling a rate limit from silence.
//!
//! Where some flows got no answer at a hop whose nodes answer others, ask again what *was* answered. A silent
//! sibling or a dead branch leaves those answers as they were; a node that limits its answers goes quiet there too.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::policy::Plan;
use crate::{flow::FlowId, probe::Ttl, route::Answer};

/// Probes of one look, all at once: more than the bursts that limiters let pass (Linux: 6). Where half of them or fewer are
/// answered it is a limit; loss of one in ten does that in one look of ten thousand.
const LOOK: usize = 16;

/// The controls of one trace.
#[derive(Debug, Default)]
pub(super) struct Controls {
    /// Nodes under test, with the number of their answers before it.
    tests: BTreeMap<(Ttl, IpAddr), usize>,
    tested: BTreeSet<Ttl>,
}

impl Controls {
    /// Judges what was asked before and asks about the hops still in doubt; to be called when nothing is in flight.
    pub(super) fn look(&mut self, flows: impl Iterator<Item = FlowId>, plan: &mut Plan<'_>) {
        self.judge(plan);
        let doubtful: Vec<_> = doubtful_hops(flows, plan).difference(&self.tested).copied().collect();
        for ttl in doubtful {
            self.tested.insert(ttl);
            for (address, answers) in answers_by_node(ttl, plan) {
                self.tests.insert((ttl, address), answers);
                let answered = flows_answered_by(address, ttl, plan);
                for flow in answered.into_iter().cycle().take(LOOK) {
                    plan.repeat(flow, ttl);
                }
            }
        }
    }

    fn judge(&mut self, plan: &mut Plan<'_>) {
        for ((ttl, address), before) in std::mem::take(&mut self.tests) {
            let now = answers_by_node(ttl, plan).get(&address).copied().unwrap_or(0);
            if now.saturating_sub(before) * 2 <= LOOK {
                plan.limits(ttl, address);
            }
        }
    }
}

/// Hops at which a flow got no answer although a node there answers other flows.
///
/// A flow that is never heard of again is in doubt only where its silence begins: a dead branch is silent to its end, and one
/// look tells. Where that hop limits its answers, so may those behind it.
fn doubtful_hops(flows: impl Iterator<Item = FlowId>, plan: &Plan<'_>) -> BTreeSet<Ttl> {
    let mut silent = BTreeSet::new();
    for flow in flows {
        let heard = plan.evidence.end(flow).map(|end| end.ttl()).or_else(|| plan.evidence.last_answer(flow));
        let mut dead = false;
        for ttl in plan.evidence.silent_at(flow) {
            if heard.is_some_and(|heard| ttl < heard) {
                silent.insert(ttl);
            } else if plan.evidence.end(flow).is_none() && !dead {
                silent.insert(ttl);
                dead = !plan.evidence.has_limit(ttl);
            }
        }
    }
    silent.retain(|&ttl| !answers_by_node(ttl, plan).is_empty());
    silent
}

fn answers_by_node(ttl: Ttl, plan: &Plan<'_>) -> BTreeMap<IpAddr, usize> {
    let mut counts = BTreeMap::new();
    for Answer { from, .. } in plan.evidence.at(ttl).flat_map(|(_, cell)| &cell.answers) {
        *counts.entry(*from).or_default() += 1;
    }
    counts
}

fn flows_answered_by(address: IpAddr, ttl: Ttl, plan: &Plan<'_>) -> Vec<FlowId> {
    plan.evidence.at(ttl).filter(|(_, cell)| cell.address() == Some(address)).map(|(flow, _)| flow).collect()
}
