//! Where flows end that are out of reach, and what was told of that: one that comes late to what was told is no news.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use serde::{Deserialize, Serialize};

use super::judge::Verdict;
use crate::{flow::FlowId, probe::Ttl, route::Evidence};

/// Where flows that are out of reach are heard of last; `None` where nobody on their way answers.
pub(super) type DeadEnd = Option<(Ttl, Option<IpAddr>)>;

/// Where a flow is heard of last.
pub(super) fn dead_end(evidence: &Evidence, flow: FlowId) -> DeadEnd {
    evidence.last_met(flow).map(|(ttl, met)| (ttl, met.address()))
}

/// What was told last of a dead end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    round: u64,
    /// Whether flows came back, or went out of reach.
    back: bool,
}

/// The dead ends of which something was told, as long as any flow is out of reach that may lead there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(DeadEnd, Told)>", into = "Vec<(DeadEnd, Told)>")]
pub(super) struct DeadEnds(BTreeMap<DeadEnd, Told>);

impl DeadEnds {
    /// Whether it was told already that a flow went out of reach, or came `back`: the same was told of an end that it may lead to, and it
    /// was not asked since.
    pub(super) fn include(&self, before: &Evidence, flow: FlowId, back: bool) -> bool {
        let known = before.cells(flow).into_iter().flat_map(BTreeMap::values);
        let end = known.filter(|cell| cell.past.has_destination());
        let asked = end.map(|cell| cell.past.round).max().unwrap_or(0);
        let mut told = self.0.iter().filter(|(_, told)| told.back == back && asked <= told.round);
        told.any(|(&end, _)| may_lead_to(before, flow, end))
    }

    /// Notes what a round tells.
    pub(super) fn note(&mut self, before: &Evidence, after: &Evidence, verdict: &Verdict, round: u64) {
        let back = verdict.found.iter().map(|&flow| (dead_end(before, flow), true));
        let lost = verdict.lost.iter().map(|&flow| (dead_end(after, flow), false));
        self.0.extend(back.chain(lost).map(|(end, back)| (end, Told { round, back })));
        let flows = after.flows().map(|(flow, _)| flow);
        let dead: BTreeSet<FlowId> = flows.filter(|&flow| after.is_out_of_reach(flow)).collect();
        self.0.retain(|&end, _| dead.iter().any(|&flow| may_lead_to(after, flow, end)));
    }
}

/// Whether a flow is on its way to a dead end, as far as it is known.
fn may_lead_to(evidence: &Evidence, flow: FlowId, end: DeadEnd) -> bool {
    let here = end.and_then(|(ttl, address)| Some((evidence.cell(flow, ttl)?, address)));
    here.is_none_or(|(cell, address)| {
        cell.past.met.iter().copied().chain(cell.met()).any(|met| met.address() == address)
    })
}

impl From<Vec<(DeadEnd, Told)>> for DeadEnds {
    fn from(told: Vec<(DeadEnd, Told)>) -> Self {
        Self(told.into_iter().collect())
    }
}

impl From<DeadEnds> for Vec<(DeadEnd, Told)> {
    fn from(ends: DeadEnds) -> Self {
        ends.0.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::judge::judge;
    use crate::render::sample::{address, evidence, observe};

    const HEALTHY: &str = "40001 10.0.0.1@1000 10.0.0.2@1000 203.0.113.9@1000!
                           40002 10.0.0.1@1000 10.0.0.2@1000 203.0.113.9@1000!";

    #[test]
    fn who_comes_late_to_what_was_told_is_no_news() {
        let end = |last: &str| Some((Ttl::new(2).unwrap(), Some(address(last))));
        // Of which end it was told in round 5 that flows went out of reach there or came back, in which round these were asked last
        // -> whether it is told when they go, and when they come back.
        let cases = [
            (end("10.0.0.2"), false, 4, [false, true]),
            (end("10.0.0.2"), false, 5, [false, true]),
            (end("10.0.0.2"), false, 6, [true, true]),
            (end("10.0.0.9"), false, 4, [true, true]),
            (end("10.0.0.2"), true, 5, [true, false]),
            (end("10.0.0.2"), true, 6, [true, true]),
            (None, false, 4, [false, true]),
        ];
        for (end, back, seen, expected) in cases {
            let case = format!("{end:?}, back {back}, asked in {seen}");
            let told = DeadEnds(BTreeMap::from([(end, Told { round: 5, back })]));
            let judged = |before: &Evidence, after: &Evidence| judge(before, after, &BTreeMap::new(), &told);
            let before = evidence(HEALTHY).remember(seen);
            let mut after = before.clone();
            observe(&mut after, "40001 10.0.0.1@1000 10.0.0.2@1000\n40002 10.0.0.1@1000 10.0.0.2@1000");
            for flow in [40_001, 40_002].map(FlowId) {
                for _ in 0..100 {
                    after.sent(flow, Ttl::new(3).unwrap());
                }
                after.silent(flow, Ttl::new(3).unwrap());
            }
            let verdict = judged(&before, &after);
            assert_eq!(verdict.reached, [true, false], "{case}");
            assert_eq!(verdict.lost.len(), if expected[0] { 2 } else { 0 }, "{case}");
            assert_eq!(verdict.is_reachability_change(), expected[0], "{case}");

            let before = after.remember(seen);
            let mut after = before.clone();
            observe(&mut after, HEALTHY);
            let verdict = judged(&before, &after);
            assert_eq!(verdict.reached, [false, true], "{case}");
            assert_eq!(verdict.found.len(), if expected[1] { 2 } else { 0 }, "{case}");
            assert_eq!(verdict.is_reachability_change(), expected[1], "{case}");
        }
    }
}
