//! Whether a path change is one of the autonomous systems, too.
//!
//! Compares what the systems of all pinned flows are before and after, both by the same database, so that another database is no
//! change. Believes only what moved flows show: a system or a link of two comes where such a flow is answered now and is known to have
//! been elsewhere; it goes where such a flow has left it and does not fall silent where it could still be. Who is silent may be in any
//! system, who is in no system is passed over.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::judge::{Verdict, zone_news};
use crate::{
    asn::Systems,
    change::{self, Part},
    flow::FlowId,
    probe::Ttl,
    route::{Cell, Evidence, Met, Route},
};

/// A part of the route as far as autonomous systems go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum AsPart {
    System(u32),
    /// Two systems in a row, with nobody in between but those that are in none.
    Link(u32, u32),
}

impl fmt::Display for AsPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(asn) => write!(f, "AS{asn}"),
            Self::Link(from, to) => write!(f, "AS{from}>AS{to}"),
        }
    }
}

/// Where a flow is at a TTL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    System(u32),
    /// With someone who is in no system.
    Nowhere,
    /// Not known: nobody answers, or several do in turn.
    Unknown,
}

/// A flow's places, without a gap in the TTLs.
type Trail = BTreeMap<Ttl, Place>;

/// What came and what went, in words; `None` where the systems are what they were.
pub(super) fn changes(
    before: &Evidence,
    after: &Evidence,
    verdict: &Verdict,
    samples: &BTreeMap<Ttl, u32>,
    systems: &dyn Systems,
) -> Option<String> {
    let [before, within_reach] = [before, after].map(|evidence| evidence.clone().within_reach());
    let known = parts(&before, systems);
    let seen = parts(&within_reach, systems);
    let (mut came, mut went) = (BTreeSet::new(), BTreeSet::new());
    for &flow in &verdict.moved {
        let then = trail(after, flow, systems, |cell| cell.past.met.clone());
        let now = trail(after, flow, systems, |cell| cell.met().collect());
        let arrived = after.cells(flow).into_iter().flatten().find(|(_, cell)| cell.past.has_destination());
        let was_elsewhere = |ttl: Ttl| {
            let is_behind = arrived.is_some_and(|(&end, _)| ttl > end);
            is_behind || then.get(&ttl).is_some_and(|&place| place != Place::Unknown)
        };
        for (part, (first, last)) in spans(&now) {
            if !known.contains(&part) && first.to(last).all(was_elsewhere) {
                came.insert(part);
            }
        }
        let fell_silent = now.iter().any(|(&ttl, &place)| {
            let was_silent = after.cell(flow, ttl).is_some_and(Cell::was_silent);
            place == Place::Unknown && !was_silent
        });
        if !fell_silent && now.keys().next_back() >= then.keys().next_back().min(Some(&after.end_ttl(flow))) {
            went.extend(spans(&then).into_keys().filter(|part| known.contains(part) && !seen.contains(part)));
        }
    }
    // Behind per-packet balancers no flow has a place: there the members tell.
    let of_node = |part: &Part| match part {
        Part::Node { address, .. } => systems.asn(*address).map(AsPart::System),
        Part::Link { .. } => None,
    };
    let proved = zone_news(after, samples).into_iter().filter(|(_, proved)| *proved);
    came.extend(proved.filter_map(|(part, _)| of_node(&part)).filter(|part| !known.contains(part)));
    let absent = after.ttls().into_iter().flat_map(|ttl| after.absent(ttl)).filter_map(Met::address);
    let absent = absent.filter_map(|address| systems.asn(address)).map(AsPart::System);
    went.extend(absent.filter(|part| known.contains(part) && !seen.contains(part)));
    in_words(&came, &went)
}

fn in_words(came: &BTreeSet<AsPart>, went: &BTreeSet<AsPart>) -> Option<String> {
    let told = [(came, "came"), (went, "went")].map(|(parts, verb)| {
        let parts: Vec<_> = parts.iter().copied().collect();
        (!parts.is_empty()).then(|| format!("{} {verb}", change::list(&parts)))
    });
    let told: Vec<String> = told.into_iter().flatten().collect();
    (!told.is_empty()).then(|| told.join("; "))
}

/// All systems, and all links of two that the graph allows: more than there are where those in between are shared, so that a flow shows
/// none as new that may have been there.
fn parts(evidence: &Evidence, systems: &dyn Systems) -> BTreeSet<AsPart> {
    let route = Route::build(evidence);
    let mut parts = BTreeSet::new();
    // The systems that one may come from, by node of the hop before.
    let mut before: Vec<BTreeSet<u32>> = Vec::new();
    for hop in &route.hops {
        let absent = evidence.absent(hop.ttl);
        let is_absent = |address| absent.iter().any(|met| met.address() == Some(address));
        let mut here: Vec<BTreeSet<u32>> = Vec::with_capacity(hop.nodes.len());
        for (index, node) in hop.nodes.iter().enumerate() {
            let Some(address) = node.address else {
                here.push(BTreeSet::new());
                continue;
            };
            let into = route.links.iter().filter(|link| link.ttl.next() == hop.ttl && link.to == index);
            let from: BTreeSet<u32> =
                into.filter_map(|link| before.get(link.from)).flatten().copied().collect();
            let Some(asn) = systems.asn(address) else {
                here.push(from);
                continue;
            };
            if !is_absent(address) {
                parts.insert(AsPart::System(asn));
                parts
                    .extend(from.into_iter().filter(|&from| from != asn).map(|from| AsPart::Link(from, asn)));
            }
            here.push([asn].into());
        }
        before = here;
    }
    parts
}

/// Where a flow is at each TTL up to its end, by what is read of each of its cells.
fn trail(
    evidence: &Evidence,
    flow: FlowId,
    systems: &dyn Systems,
    read: impl Fn(&Cell) -> Vec<Met>,
) -> Trail {
    let place = |met: &Met| match met.address() {
        Some(address) => systems.asn(address).map_or(Place::Nowhere, Place::System),
        None => Place::Unknown,
    };
    let places = evidence.cells(flow).into_iter().flatten().map(|(&ttl, cell)| {
        let mut places = read(cell).iter().map(place).collect::<Vec<_>>().into_iter();
        let first = places.next().unwrap_or(Place::Unknown);
        (ttl, if places.all(|other| other == first) { first } else { Place::Unknown })
    });
    let known: Trail = places.collect();
    // Behind the last who answers there is nothing to compare.
    let last = known.iter().rev().find(|(_, place)| **place != Place::Unknown).map(|(&ttl, _)| ttl);
    match (known.keys().next(), last) {
        (Some(&first), Some(last)) => {
            first.to(last).map(|ttl| (ttl, known.get(&ttl).copied().unwrap_or(Place::Unknown))).collect()
        }
        _ => Trail::new(),
    }
}

/// The parts that a trail shows, each with the TTLs over which it does.
fn spans(trail: &Trail) -> BTreeMap<AsPart, (Ttl, Ttl)> {
    let mut spans = BTreeMap::new();
    let mut last = None;
    for (&ttl, &place) in trail {
        match place {
            Place::Unknown => last = None,
            Place::Nowhere => {}
            Place::System(asn) => {
                spans.entry(AsPart::System(asn)).or_insert((ttl, ttl));
                if let Some((at, from)) = last.filter(|&(_, from)| from != asn) {
                    spans.entry(AsPart::Link(from, asn)).or_insert((at, ttl));
                }
                last = Some((ttl, asn));
            }
        }
    }
    spans
}

#[cfg(test)]
mod tests;
