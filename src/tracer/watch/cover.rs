//! Which of the pinned probes a round asks again: enough of them to pass every node and link known, others each time.
//!
//! A node is covered by a flow that met it, a link by a flow that met both its ends and is asked at the farther one. Of the flows that
//! would do, the one asked longest ago is taken, so that all of them have their turn: a next hop that was added shows only to
//! flows that go there now.

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
    let farthest = evidence.flows().filter_map(|(flow, _)| evidence.last_answer(flow)).max();
    for (flow, cells) in evidence.flows() {
        if let Some(turn) = end_in_vain(evidence, flow, farthest) {
            let heard = evidence.last_answer(flow);
            let heard = heard.and_then(|ttl| Some((ttl, evidence.cell(flow, ttl)?.met().next()?)));
            lost.entry(heard).or_default().push(turn);
        }
        for (&ttl, cell) in cells {
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
    for turns in links.iter().filter(|((ttl, ..), _)| is_wide(*ttl)).map(|(_, turns)| turns) {
        take(turns, 1, &mut chosen);
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
