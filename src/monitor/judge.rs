//! What the observations of a round say of the route that was known before it.
//!
//! Compares two states of knowledge, and believes only what pinned flows prove: what merely was not seen is not gone, and what was
//! merely not seen before is not new.

use std::collections::{BTreeMap, BTreeSet};

use super::dead_ends::{DeadEnd, DeadEnds, dead_end};
use crate::{
    change::Part,
    flow::FlowId,
    probe::Ttl,
    route::{Cell, Evidence, FlowEnd, Met, Paths, Route, answers_to_miss},
};

/// Most parts of a route that are kept of what stayed beside a change.
const STAYED_MAX: usize = 200;

/// What a round found out.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Verdict {
    /// Parts that moved flows proved to be new.
    pub(super) came: Vec<Part>,
    /// Parts that moved flows left and that nothing was found at any more.
    pub(super) went: Vec<Part>,
    /// Parts that were there before and are there now. With them are the links of per-packet zones, of which none is proved.
    pub(super) stayed: Vec<Part>,
    /// Parts found late: they may have been there all along.
    pub(super) late: Vec<Part>,
    /// Flows that take another way.
    pub(super) moved: Vec<FlowId>,
    /// Flows that do not reach the destination any more where they did, and that do again.
    pub(super) lost: Vec<FlowId>,
    pub(super) found: Vec<FlowId>,
    /// Whether the destination was reached before and is reached now.
    pub(super) reached: [bool; 2],
    /// Whether that was told before: all who went out of reach, or came back, belong to what was told of where they end.
    pub(super) is_told: bool,
    /// Whether a flow that was known before reaches it: what only new flows reach may have been in reach all along.
    pub(super) is_back: bool,
    /// Shortest and longest path before and now, where they are not the same.
    pub(super) lengths: Option<[(u8, u8); 2]>,
}

impl Verdict {
    /// Whether the set of nodes and links is another.
    pub(super) fn is_path_change(&self) -> bool {
        !self.came.is_empty() || !self.went.is_empty()
    }

    /// The hops at which flows meet others by a change of nodes and links.
    pub(super) fn changed_hops(&self) -> BTreeSet<Ttl> {
        let parts = self.came.iter().chain(&self.went);
        let hops = parts.map(|part| match *part {
            Part::Node { ttl, .. } => ttl,
            Part::Link { ttl, .. } => ttl.next(),
        });
        hops.collect()
    }

    /// Whether the destination, or a branch, went out of reach or came back.
    pub(super) fn is_reachability_change(&self) -> bool {
        let is_other = match self.reached {
            [true, false] => !self.is_told,
            [false, true] => self.is_back && !self.is_told,
            _ => false,
        };
        is_other || !self.lost.is_empty() || !self.found.is_empty()
    }
}

/// Holds the observations of a round against what was known before. `samples` says how many answers of the zone at a hop are known
/// to have come from the members known; `told` what was told of dead ends.
pub(super) fn judge(
    before: &Evidence,
    after: &Evidence,
    samples: &BTreeMap<Ttl, u32>,
    told: &DeadEnds,
) -> Verdict {
    let moved: Vec<FlowId> =
        after.flows().map(|(flow, _)| flow).filter(|&flow| after.has_moved(flow)).collect();
    let movers: BTreeSet<FlowId> = moved.iter().copied().collect();
    let reached = [before, after].map(is_reached);
    let is_back = before.flows().any(|(flow, _)| is_alive(after, flow));
    let Reach { lost, found, is_told } = reach(before, after, &movers, told);
    let absent = after.ttls().into_iter().flat_map(|ttl| {
        after.absent(ttl).into_iter().filter_map(move |met| Some(Part::Node { ttl, address: met.address()? }))
    });
    let absent: BTreeSet<Part> = absent.collect();
    if absent.is_empty() && after.is_as_before() {
        return Verdict { lost, found, reached, is_told, is_back, ..Verdict::default() };
    }
    let [then, now] = [before, after].map(|evidence| Route::build(&evidence.clone().within_reach()));
    let [known, seen] = [&then, &now].map(parts);
    let [left, taken] = [
        trails(after, &movers, |cell| cell.past.met.clone()),
        trails(after, &movers, |cell| cell.met().collect()),
    ];
    let zones: Vec<(Part, bool)> = zone_news(after, samples);
    let is_proved =
        |part: &Part| taken.contains(part) || zones.iter().any(|&(news, proved)| news == *part && proved);
    let news: Vec<Part> = seen.difference(&known).copied().collect();
    let went = known.difference(&seen).copied().filter(|part| left.contains(part) || absent.contains(part));
    let mut went: Vec<Part> = went.chain(absent.iter().copied()).collect();
    went.sort_unstable();
    went.dedup();
    // What shows up together with a change belongs to it.
    let is_change = !went.is_empty() || news.iter().any(is_proved);
    let (came, late) = if is_change { (news, Vec::new()) } else { (Vec::new(), news) };

    let stayed = if is_change { beside(&[came.as_slice(), &went], [&then, &now]) } else { Vec::new() };
    let lengths = [Route::build(before), Route::build(after)].map(|route| span(&route.paths));
    let differs = reached == [true, true] && lengths[0] != lengths[1];
    let lengths = differs.then_some(lengths);
    Verdict { came, went, stayed, late, moved, lost, found, reached, is_told, is_back, lengths }
}

/// The parts of both routes but for those that changed, and the links of their zones.
fn beside(changed: &[&[Part]], routes: [&Route; 2]) -> Vec<Part> {
    let all: BTreeSet<Part> =
        routes.into_iter().flat_map(|route| parts(route).into_iter().chain(links(route, true))).collect();
    all.into_iter().filter(|part| !changed.iter().any(|changed| changed.contains(part))).collect()
}

/// As much of what stayed as may be kept: all, or that of the hops at which something came or went and of their neighbours, or nothing.
pub(super) fn around(mut stayed: Vec<Part>, came: &[Part], went: &[Part]) -> Vec<Part> {
    let changed: BTreeSet<Ttl> = came.iter().chain(went).map(Part::ttl).collect();
    if let (true, Some(first), Some(last)) = (stayed.len() > STAYED_MAX, changed.first(), changed.last()) {
        let hops = first.get().saturating_sub(1)..=last.get().saturating_add(1);
        stayed.retain(|part| hops.contains(&part.ttl().get()));
    }
    if stayed.len() > STAYED_MAX { Vec::new() } else { stayed }
}

/// Hop counts of the shortest and the longest path.
const fn span(paths: &Paths) -> (u8, u8) {
    (paths.hops_min, paths.hops_max)
}

fn is_reached(evidence: &Evidence) -> bool {
    evidence.flows().any(|(flow, _)| is_alive(evidence, flow))
}

fn is_alive(evidence: &Evidence, flow: FlowId) -> bool {
    matches!(evidence.end(flow), Some(FlowEnd::Reached(_)))
}

/// What changed for flows that did not move.
struct Reach {
    lost: Vec<FlowId>,
    found: Vec<FlowId>,
    /// Whether there are flows of which that was told already, and no others.
    is_told: bool,
}

/// Flows that went out of reach without having moved into a branch that was known to be dead, and flows that came back. A flow that
/// was not seen since something was told of where it ends belongs to that, and only comes late.
fn reach(before: &Evidence, after: &Evidence, movers: &BTreeSet<FlowId>, told: &DeadEnds) -> Reach {
    let flows = || before.flows().map(|(flow, _)| flow);
    let dead = flows().filter(|&flow| before.is_in_vain(flow));
    let dead_ends: BTreeSet<DeadEnd> = dead.map(|flow| dead_end(before, flow)).collect();
    // Of flows that were not followed to the destination it is not known whether they came there. They tell where nothing else does.
    let tell = is_reached(before) && dead_ends.is_empty();
    let lost = flows().filter(|&flow| {
        let is_news = is_alive(before, flow) && !movers.contains(&flow)
            || !dead_ends.contains(&dead_end(after, flow)) && (tell || is_alive(before, flow));
        !before.is_in_vain(flow) && after.is_out_of_reach(flow) && is_news
    });
    let found = flows()
        .filter(|flow| before.is_out_of_reach(*flow) && is_alive(after, *flow) && !movers.contains(flow));
    let (late, lost): (Vec<_>, Vec<_>) = lost.partition(|&flow| told.include(before, flow, false));
    let (late_back, found): (Vec<_>, Vec<_>) = found.partition(|&flow| told.include(before, flow, true));
    let is_told = lost.is_empty() && found.is_empty() && !(late.is_empty() && late_back.is_empty());
    Reach { lost, found, is_told }
}

/// The parts of a route outside per-packet zones, of which no link is proved; nodes of zones are in.
fn parts(route: &Route) -> BTreeSet<Part> {
    let nodes = route.hops.iter().flat_map(|hop| {
        hop.nodes.iter().filter_map(|node| Some(Part::Node { ttl: hop.ttl, address: node.address? }))
    });
    nodes.chain(links(route, false)).collect()
}

/// The links between answering nodes, in per-packet zones or outside of them.
fn links(route: &Route, per_packet: bool) -> impl Iterator<Item = Part> {
    route.links.iter().filter(move |link| link.per_packet == per_packet).filter_map(|link| {
        let (from, to) = route.ends(link)?;
        Some(Part::Link { ttl: link.ttl, from: from.address?, to: to.address? })
    })
}

/// The parts that some flows pass, by what is read of each of their cells.
fn trails(evidence: &Evidence, flows: &BTreeSet<FlowId>, read: impl Fn(&Cell) -> Vec<Met>) -> BTreeSet<Part> {
    let mut passed = BTreeSet::new();
    for &flow in flows {
        let mut before: Option<(Ttl, Vec<Met>)> = None;
        for (&ttl, cell) in evidence.cells(flow).into_iter().flatten() {
            let here = read(cell);
            for to in here.iter().filter_map(|met| met.address()) {
                passed.insert(Part::Node { ttl, address: to });
                for (at, from) in before.iter().filter(|(at, _)| at.next() == ttl) {
                    let from = from.iter().filter_map(|met| met.address());
                    passed.extend(from.map(|from| Part::Link { ttl: *at, from, to }));
                }
            }
            before = Some((ttl, here));
        }
    }
    passed
}

/// Nodes that showed up in per-packet zones, and whether so many answers came without them before that they must be new.
pub(super) fn zone_news(after: &Evidence, samples: &BTreeMap<Ttl, u32>) -> Vec<(Part, bool)> {
    let mut news = Vec::new();
    for ttl in after.ttls() {
        let zone: Vec<&Cell> = after.zone(ttl).map(|(_, cell)| cell).collect();
        let known: BTreeSet<Met> = zone.iter().flat_map(|cell| cell.past.met.iter().copied()).collect();
        let met: BTreeSet<Met> = zone.iter().flat_map(|cell| cell.met()).collect();
        let enough = answers_to_miss(known.len() + 1);
        let proved = samples.get(&ttl).is_some_and(|&samples| samples >= enough);
        for address in met.difference(&known).filter_map(|met| met.address()) {
            news.push((Part::Node { ttl, address }, proved));
        }
    }
    news
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn of_what_stayed_as_much_is_kept_as_may_be() {
        let node = |ttl: u8, place: u8| Part::Node {
            ttl: Ttl::new(ttl).unwrap(),
            address: IpAddr::from([10, 0, ttl, place]),
        };
        let route = |hops: u8, width: u8| -> Vec<Part> {
            (1..=hops).flat_map(|ttl| (1..=width).map(move |place| node(ttl, place))).collect()
        };
        let (came, went) = ([node(7, 201)], [node(8, 202)]);
        // Hops and width of what stayed -> how much is kept, and from which hop on.
        for (hops, width, kept, first) in
            [(20, 10, 200, 1), (20, 11, 44, 6), (20, 50, 200, 6), (20, 51, 0, 0)]
        {
            let left = around(route(hops, width), &came, &went);
            assert_eq!(left.len(), kept, "{hops} hops, {width} wide");
            assert_eq!(left.first().map_or(0, |part| part.ttl().get()), first, "{hops} hops, {width} wide");
        }
    }
}
