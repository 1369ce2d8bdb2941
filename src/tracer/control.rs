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

/// Probes of the first look: a limiter that has just been asked for more than it gives rarely answers all of them.
const FIRST_LOOK: usize = 4;
/// Probes of the second look, where the first left a doubt.
const SECOND_LOOK: usize = 8;

/// What came of a look at the doubtful hops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Control {
    /// Control probes were asked for; look again when they are settled.
    Asked,
    /// Nothing is in doubt any more.
    Done,
}

/// The controls of one trace.
#[derive(Debug, Default)]
pub(super) struct Controls {
    tests: BTreeMap<(Ttl, IpAddr), Test>,
    begun: bool,
}

#[derive(Clone, Copy, Debug)]
struct Test {
    /// Answers of the node before the first control probe.
    before: usize,
    asked: usize,
    settled: bool,
}

impl Controls {
    /// Looks at the hops in doubt; to be called when nothing is in flight.
    pub(super) fn next(&mut self, flows: &BTreeSet<FlowId>, plan: &mut Plan<'_>) -> Control {
        if !self.begun {
            self.begun = true;
            for ttl in doubtful_hops(flows, plan) {
                for (address, answers) in answers_by_node(ttl, plan) {
                    self.tests.insert((ttl, address), Test { before: answers, asked: 0, settled: false });
                }
            }
        } else {
            self.judge(plan);
        }

        let mut asked = Control::Done;
        for (&(ttl, address), test) in self.tests.iter_mut().filter(|(_, test)| !test.settled) {
            let count = if test.asked == 0 { FIRST_LOOK } else { SECOND_LOOK };
            let answered = flows_answered_by(address, ttl, plan);
            for flow in answered.into_iter().cycle().take(count) {
                plan.repeat(flow, ttl);
                asked = Control::Asked;
            }
            test.asked += count;
        }
        asked
    }

    /// All answered at the first look: no limit. Half or fewer answered at both: a limit. In between it is loss, which
    /// at one in ten leaves more than half unanswered in fewer than one case of ten thousand.
    fn judge(&mut self, plan: &mut Plan<'_>) {
        for (&(ttl, address), test) in self.tests.iter_mut().filter(|(_, test)| !test.settled) {
            let now = answers_by_node(ttl, plan).get(&address).copied().unwrap_or(0);
            let answered = now.saturating_sub(test.before);
            let last_look = test.asked > FIRST_LOOK;
            test.settled = last_look || answered >= test.asked;
            if last_look && answered * 2 <= test.asked {
                plan.limits(ttl, address);
            }
        }
    }
}

/// Hops at which a flow got no answer although a node there answers other flows.
fn doubtful_hops(flows: &BTreeSet<FlowId>, plan: &Plan<'_>) -> BTreeSet<Ttl> {
    let silent: BTreeSet<_> = flows
        .iter()
        .flat_map(|&flow| {
            let end = plan.evidence.end(flow).map(|end| end.ttl());
            plan.evidence.silent_at(flow).filter(move |&ttl| end.is_none_or(|end| ttl < end))
        })
        .collect();
    silent.into_iter().filter(|&ttl| !answers_by_node(ttl, plan).is_empty()).collect()
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
