//! Which of the pinned probes a round asks again: enough of them to pass every node and link known, others each time.
//!
//! A node is covered by a flow that met it, a link by a flow that met both its ends and is asked at the farther one. Of the flows that
//! would do, the one asked longest ago is taken, so that all of them have their turn: a next hop that was added shows only to
//! flows that go there now. At a hop with a silent node a flow that goes there by now looks like one whose node does not answer at the
//! moment: there a link is covered by a flow that is asked at both ends.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    flow::FlowId,
    probe::Ttl,
    route::{Cell, Evidence, Met},
};

/// Flows that ask each round whether what is out of reach has come back.
const SENTINELS: usize = 3;

/// A pinned probe and how long ago it was asked, the longest first.
type Turn = (u64, FlowId, Ttl);

/// What a quiet round asks.
pub(super) fn cover(evidence: &Evidence) -> Vec<(FlowId, Ttl)> {
    let mut places: BTreeMap<(Ttl, Met), Vec<Turn>> = BTreeMap::new();
    let mut links: BTreeMap<(Ttl, Met, Met), Vec<Turn>> = BTreeMap::new();
    // By where they were heard last: each dead branch has its own.
    let mut lost: BTreeMap<Option<(Ttl, Met)>, Vec<Turn>> = BTreeMap::new();
    // Hops with a node that does not answer.
    let mut hiding: BTreeSet<Ttl> = BTreeSet::new();
    let farthest = evidence.flows().filter_map(|(flow, _)| evidence.last_answer(flow)).max();
    for (flow, cells) in evidence.flows() {
        if let Some(turn) = end_in_vain(evidence, flow, farthest) {
            lost.entry(evidence.last_met(flow)).or_default().push(turn);
        }
        for (&ttl, cell) in cells {
            if cell.was_silent() {
                hiding.insert(ttl);
            }
            let turn = (cell.past.round, flow, ttl);
            for met in cell.met().filter(|met| met.address().is_some()) {
                places.entry((ttl, met)).or_default().push(turn);
                let before = ttl.previous().and_then(|before| cells.get(&before));
                if let Some(from) = before.and_then(single).filter(|_| single(cell).is_some()) {
                    links.entry((ttl, from, met)).or_default().push(turn);
                }
            }
        }
    }
    let mut widths: BTreeMap<Ttl, usize> = BTreeMap::new();
    for (ttl, _) in places.keys() {
        *widths.entry(*ttl).or_default() += 1;
    }
    let mut chosen: BTreeSet<(FlowId, Ttl)> = BTreeSet::new();
    // Behind a lone node every flow comes from there: its links are as good as the nodes behind it.
    let is_wide =
        |ttl: Ttl| ttl.previous().and_then(|before| widths.get(&before)).is_some_and(|&width| width > 1);
    for ((ttl, ..), turns) in links.iter().filter(|((ttl, ..), _)| is_wide(*ttl)) {
        take(turns, 1, &mut chosen);
        if let Some(before) = ttl.previous().filter(|before| hiding.contains(before)) {
            let taken = turns.iter().filter(|&&(_, flow, ttl)| chosen.contains(&(flow, ttl)));
            let near_ends: Vec<_> = taken.map(|&(_, flow, _)| (flow, before)).collect();
            chosen.extend(near_ends);
        }
    }
    for turns in places.values() {
        take(turns, 1, &mut chosen);
    }
    for turns in lost.values() {
        take(turns, SENTINELS, &mut chosen);
    }
    chosen.into_iter().collect()
}

/// Every probe that is pinned.
pub(super) fn everything(evidence: &Evidence) -> Vec<(FlowId, Ttl)> {
    let cells =
        evidence.flows().flat_map(|(flow, cells)| cells.iter().map(move |(&ttl, cell)| (flow, ttl, cell)));
    cells.filter(|(_, _, cell)| !cell.past.met.is_empty()).map(|(flow, ttl, _)| (flow, ttl)).collect()
}

/// Adds the turns that waited longest, `count` of them, unless as many of these are chosen already.
fn take(turns: &[Turn], count: usize, chosen: &mut BTreeSet<(FlowId, Ttl)>) {
    let mut turns = turns.to_vec();
    turns.sort_unstable();
    let there = turns.iter().filter(|&&(_, flow, ttl)| chosen.contains(&(flow, ttl))).count();
    let wanted = count.saturating_sub(there);
    let free: Vec<_> =
        turns.into_iter().map(|(_, flow, ttl)| (flow, ttl)).filter(|turn| !chosen.contains(turn)).collect();
    chosen.extend(free.into_iter().take(wanted));
}

/// Whom a flow meets, where that is one.
fn single(cell: &Cell) -> Option<Met> {
    let mut met = cell.met();
    met.next().filter(|_| met.next().is_none())
}

/// Where a flow that does not reach the destination is asked whether it does again: at its last hop known, if it once came farther than
/// now, or just beyond the farthest answer.
fn end_in_vain(evidence: &Evidence, flow: FlowId, farthest: Option<Ttl>) -> Option<Turn> {
    let cells = evidence.cells(flow)?;
    let (&ttl, cell) = match evidence.is_out_of_reach(flow) {
        true => cells.last_key_value()?,
        false => cells.get_key_value(&farthest?.next()).filter(|(_, cell)| cell.was_silent())?,
    };
    Some((cell.past.round, flow, ttl))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        config::Module,
        flow::Family,
        probe::ReplyKind,
        request,
        route::Answer,
        simulation::{Bench, Network, Topology},
        time::Time,
        trace::Trace,
    };

    /// The first round over a network, and what it leaves to be known.
    fn known(text: &str) -> Trace {
        let topology: Topology = text.parse().unwrap();
        let mut bench = Bench::new(Network::new(&topology, Family::V4, 3), 1, 1_000_000, 3);
        let mut trace =
            bench.trace(Default::default(), request::settings(&Module::default(), 3, None)).unwrap();
        assert!(bench.now() > Time::ZERO);
        trace.evidence = trace.evidence.remember(1);
        trace
    }

    #[test]
    fn every_node_and_every_link_out_of_a_wide_hop_is_covered() {
        for text in
            ["s -> r1 -> a1..a4 -> b1..b3 -> x -> d", "s -> r1\nr1 -> a -> x\nr1 -> b -> c -> x\nx -> d"]
        {
            let trace = known(text);
            let chosen = cover(&trace.evidence);
            let mut nodes = BTreeSet::new();
            let mut links = BTreeSet::new();
            for &(flow, ttl) in &chosen {
                let met = |ttl: Ttl| trace.evidence.cell(flow, ttl).and_then(Cell::address);
                nodes.insert((ttl, met(ttl)));
                links.insert((ttl, ttl.previous().and_then(met), met(ttl)));
            }
            for hop in &trace.route.hops {
                for node in &hop.nodes {
                    assert!(
                        nodes.contains(&(hop.ttl, node.address)),
                        "{text}: {} {:?}",
                        hop.ttl,
                        node.address
                    );
                }
            }
            for link in &trace.route.links {
                let (from, to) = trace.route.ends(link).unwrap();
                let is_wide = trace.route.hop(link.ttl).unwrap().nodes.len() > 1;
                let is_covered = links.contains(&(link.ttl.next(), from.address, to.address));
                assert!(!is_wide || is_covered, "{text}: {link:?}");
            }
            assert!(
                chosen.len() < usize::try_from(trace.probes_sent).unwrap() / 4,
                "{text}: {}",
                chosen.len()
            );
        }
    }

    #[test]
    fn beside_a_silent_node_a_link_is_covered_at_both_ends() {
        let mut evidence = known("s -> r1 -> a1..a4 -> x -> d\nnode a2 silent").evidence;
        let [near, far] = [2, 3].map(|ttl| Ttl::new(ttl).unwrap());
        for round in 2..30 {
            let chosen: BTreeSet<(FlowId, Ttl)> = cover(&evidence).into_iter().collect();
            let at = |flow| evidence.cell(flow, near).and_then(Cell::address);
            let beyond = chosen.iter().filter(|&&(flow, ttl)| ttl == far && at(flow).is_some());
            let nodes: BTreeSet<_> = beyond.clone().map(|&(flow, _)| at(flow)).collect();
            assert_eq!(nodes.len(), 3, "round {round}: {chosen:?}");
            for &(flow, _) in beyond {
                assert!(chosen.contains(&(flow, near)), "round {round}: {chosen:?}");
            }
            for &(flow, ttl) in &chosen {
                evidence.sent(flow, ttl);
            }
            evidence = evidence.remember(round);
        }
    }

    #[test]
    fn all_pinned_flows_have_their_turn() {
        let trace = known("s -> r1 -> a1..a4 -> x -> d");
        let mut evidence = trace.evidence;
        let mut asked = BTreeSet::new();
        for round in 2..30 {
            let chosen = cover(&evidence);
            asked.extend(chosen.iter().copied());
            for &(flow, ttl) in &chosen {
                evidence.sent(flow, ttl);
                let from = evidence.cell(flow, ttl).and_then(Cell::address).unwrap();
                let kind = if from == trace.destination {
                    ReplyKind::PortUnreachable
                } else {
                    ReplyKind::TimeExceeded
                };
                let answer =
                    Answer { from, kind, rtt: Duration::from_millis(1), nat: false, mpls: Vec::new() };
                evidence.answered(flow, ttl, answer);
            }
            evidence = evidence.remember(round);
        }
        assert_eq!(asked, everything(&evidence).into_iter().collect());
    }
}
