//! Two saved traces held against each other: before and after a maintenance.
//!
//! Knows what differs between two documents. Knows nothing of files, nor of what made the difference.

mod saved;
mod text;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use serde::Serialize;

use self::saved::{Flow, Rtt};
pub use self::{
    saved::{Saved, SavedError},
    text::text,
};

/// Version of the JSON object's shape; a new field does not change it.
const VERSION: u8 = 1;
/// Answers of a node in each trace without which nothing is said about its round-trip time.
const ANSWERS: u32 = 5;
/// Least difference of two medians that is told, in seconds and as a share of the smaller one.
const LEAST_SECONDS: f64 = 0.001;
const LEAST_SHARE: f64 = 0.1;

/// What differs between two traces. The order of the fields is the order in JSON.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    version: u8,
    /// Whether the routes are the same: nodes, links and whether the destination is reached. Times do not count.
    pub same: bool,
    /// Why the comparison may mislead, a line each.
    pub cautions: Vec<String>,
    /// Whether the destination was reached, before and after.
    pub reached: Both<bool>,
    /// Paths that the links allow.
    pub paths: Both<u64>,
    /// Paths that flows were seen to take.
    pub flow_paths: Both<u32>,
    /// Hops of the shortest and the longest path.
    pub hops_min: Both<Option<u8>>,
    /// See `hops_min`.
    pub hops_max: Both<Option<u8>>,
    /// Nodes of the first trace that the second has nowhere.
    pub nodes_went: Vec<Place>,
    /// Nodes of the second trace that the first has nowhere.
    pub nodes_came: Vec<Place>,
    /// Nodes that stand at other hops than before.
    pub nodes_shifted: Vec<Shift>,
    /// Hops with more or fewer silent nodes than before.
    pub silent: Vec<Silent>,
    /// Links of the first trace that the second does not have, without those of per-packet zones.
    pub links_went: Vec<Link>,
    /// Links of the second trace that the first does not have, without those of per-packet zones.
    pub links_came: Vec<Link>,
    /// Flows asked by both traces.
    pub flows_compared: usize,
    /// Those of them that met somebody else than before, or are no longer or only now answered by the destination.
    pub flows_moved: Vec<Move>,
    /// Nodes whose round-trip time differs by more than chance explains.
    pub rtt_changed: Vec<RttChange>,
    /// AS paths of the flows; `null` where one of the traces knows none.
    pub as_paths: Option<Both<BTreeSet<Vec<u32>>>>,
}

/// A value before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Both<T> {
    /// In the first trace.
    pub before: T,
    /// In the second.
    pub after: T,
}

impl<T: PartialEq> Both<T> {
    /// Whether there is a difference.
    pub fn differs(&self) -> bool {
        self.before != self.after
    }
}

/// A node at a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The hop.
    pub ttl: u8,
    /// The address.
    pub address: IpAddr,
}

/// A node that stands at other hops than before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shift {
    /// The node.
    pub address: IpAddr,
    /// Its hops in the first trace.
    pub before: BTreeSet<u8>,
    /// Its hops in the second.
    pub after: BTreeSet<u8>,
}

/// Silent nodes of a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Silent {
    /// The hop.
    pub ttl: u8,
    /// How many there were.
    pub before: usize,
    /// How many there are.
    pub after: usize,
}

/// A link by its ends; `None` for a silent one. A link between two addresses is the same link at whichever hop it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Link {
    /// The hop of `from` where it is nearest.
    pub ttl: u8,
    /// The nearer end.
    pub from: Option<IpAddr>,
    /// The farther end.
    pub to: Option<IpAddr>,
}

/// A flow that goes another way, at the first hop that shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Move {
    /// The flow.
    pub id: u16,
    /// The hop; `None` where all hops that both traces know are the same and only the end differs.
    pub ttl: Option<u8>,
    /// Whom it met there before.
    pub before: Option<IpAddr>,
    /// Whom it met there after.
    pub after: Option<IpAddr>,
    /// Whether the destination answered it, before and after; `None` where it was not followed that far.
    pub reached: Both<Option<bool>>,
}

/// A node whose round-trip time differs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RttChange {
    /// The node.
    pub address: IpAddr,
    /// Its hop.
    pub ttl: u8,
    /// Its medians in seconds.
    pub median_seconds: Both<f64>,
}

/// Holds two traces against each other.
#[must_use]
pub fn compare(before: &Saved, after: &Saved) -> Difference {
    let reached = Both { before: before.reached, after: after.reached };
    let [hops_before, hops_after] = [before, after].map(hops_of_nodes);
    let shifted = shifts(&hops_before, &hops_after);
    let silent = silent(before, after);
    let [nodes_went, nodes_came] = [missing(&hops_before, &hops_after), missing(&hops_after, &hops_before)];
    let [links_before, links_after] = [before, after].map(links);
    // Which links of a per-packet zone were seen is chance, in either trace.
    let unsure: BTreeSet<_> = [before, after].into_iter().flat_map(zones).collect();
    let gone = |here: &Links, there: &Links| -> Vec<Link> {
        let gone = here.iter().filter(|(key, _)| !there.contains_key(*key) && !unsure.contains(*key));
        gone.map(|(_, link)| *link).collect::<BTreeSet<_>>().into_iter().collect()
    };
    let [links_went, links_came] = [gone(&links_before, &links_after), gone(&links_after, &links_before)];
    let lists =
        [nodes_went.len(), nodes_came.len(), shifted.len(), silent.len(), links_went.len(), links_came.len()];
    let (flows_compared, flows_moved) = flows(before, after);
    Difference {
        version: VERSION,
        same: lists.iter().all(|count| *count == 0) && !reached.differs(),
        cautions: cautions(before, after, flows_compared),
        reached,
        paths: Both { before: before.paths, after: after.paths },
        flow_paths: Both { before: before.flow_paths, after: after.flow_paths },
        hops_min: Both { before: before.hops_min, after: after.hops_min },
        hops_max: Both { before: before.hops_max, after: after.hops_max },
        nodes_went,
        nodes_came,
        nodes_shifted: shifted,
        silent,
        links_went,
        links_came,
        flows_compared,
        flows_moved,
        rtt_changed: rtt_changes(before, after),
        as_paths: as_paths(before, after),
    }
}

type Hops = BTreeMap<IpAddr, BTreeSet<u8>>;

fn hops_of_nodes(saved: &Saved) -> Hops {
    let mut hops = Hops::new();
    for hop in &saved.hops {
        for address in hop.nodes.iter().filter_map(|node| node.address) {
            hops.entry(address).or_default().insert(hop.ttl);
        }
    }
    hops
}

fn missing(here: &Hops, there: &Hops) -> Vec<Place> {
    let missing = here.iter().filter(|(address, _)| !there.contains_key(address));
    let places: BTreeSet<_> =
        missing.flat_map(|(&address, hops)| hops.iter().map(move |&ttl| Place { ttl, address })).collect();
    places.into_iter().collect()
}

fn shifts(before: &Hops, after: &Hops) -> Vec<Shift> {
    let both = before.iter().filter_map(|(address, hops)| Some((*address, hops, after.get(address)?)));
    both.filter(|(_, before, after)| before != after)
        .map(|(address, before, after)| Shift { address, before: before.clone(), after: after.clone() })
        .collect()
}

fn silent(before: &Saved, after: &Saved) -> Vec<Silent> {
    let count = |saved: &Saved| -> BTreeMap<u8, usize> {
        let count = |hop: &saved::Hop| hop.nodes.iter().filter(|node| node.address.is_none()).count();
        saved.hops.iter().map(|hop| (hop.ttl, count(hop))).collect()
    };
    let [before, after] = [before, after].map(count);
    let ttls: BTreeSet<_> = before.keys().chain(after.keys()).copied().collect();
    let at = |counts: &BTreeMap<u8, usize>, ttl| counts.get(&ttl).copied().unwrap_or(0);
    let both = ttls.into_iter().map(|ttl| Silent { ttl, before: at(&before, ttl), after: at(&after, ttl) });
    both.filter(|silent| silent.before != silent.after).collect()
}

/// What makes a link the same: its ends, and its hop where one of them is silent.
type LinkKey = (Option<IpAddr>, Option<IpAddr>, Option<u8>);

type Links = BTreeMap<LinkKey, Link>;

fn key(link: &Link) -> LinkKey {
    let is_known = link.from.is_some() && link.to.is_some();
    (link.from, link.to, (!is_known).then_some(link.ttl))
}

fn links(saved: &Saved) -> Links {
    let mut links = Links::new();
    for link in &saved.links {
        let link = Link { ttl: link.ttl, from: link.from, to: link.to };
        links.entry(key(&link)).or_insert(link);
    }
    links
}

/// The links of all pairs of nodes in per-packet zones.
fn zones(saved: &Saved) -> Vec<LinkKey> {
    let zones = saved.links.iter().filter(|link| link.per_packet);
    zones.map(|zone| key(&Link { ttl: zone.ttl, from: zone.from, to: zone.to })).collect()
}

/// How many flows both have, and those that moved. Flows are the same where everything else in their headers is.
fn flows(before: &Saved, after: &Saved) -> (usize, Vec<Move>) {
    if headers(before) != headers(after) {
        return (0, Vec::new());
    }
    let later: BTreeMap<u16, &Flow> = after.flows.iter().map(|flow| (flow.id, flow)).collect();
    let both: Vec<_> = before.flows.iter().filter_map(|flow| Some((flow, *later.get(&flow.id)?))).collect();
    let moved = both.iter().filter_map(|(before, after)| moved(before, after)).collect();
    (both.len(), moved)
}

fn headers(saved: &Saved) -> (IpAddr, IpAddr, &str) {
    (saved.source, saved.destination, &saved.protocol)
}

fn moved(before: &Flow, after: &Flow) -> Option<Move> {
    let later: BTreeMap<u8, IpAddr> =
        after.hops.iter().filter_map(|hop| Some((hop.ttl, hop.address?))).collect();
    // Silence is no evidence of another way.
    let differing = before.hops.iter().find_map(|hop| {
        let (before, after) = (hop.address?, *later.get(&hop.ttl)?);
        (before != after).then_some((hop.ttl, before, after))
    });
    let reached = Both { before: before.reached, after: after.reached };
    let ends_differ = reached.before.is_some() && reached.after.is_some() && reached.differs();
    (differing.is_some() || ends_differ).then_some(Move {
        id: before.id,
        ttl: differing.map(|(ttl, ..)| ttl),
        before: differing.map(|(_, before, _)| before),
        after: differing.map(|(_, _, after)| after),
        reached,
    })
}

/// Nodes at the same hop in both traces whose answers are slower or faster than chance explains: the fastest answer of the slower
/// trace took longer than the median of the faster one.
fn rtt_changes(before: &Saved, after: &Saved) -> Vec<RttChange> {
    let times = |saved: &Saved| -> BTreeMap<(u8, IpAddr), Rtt> {
        let nodes = saved.hops.iter().flat_map(|hop| hop.nodes.iter().map(move |node| (hop.ttl, node)));
        let known = nodes.filter(|(_, node)| node.replies >= ANSWERS);
        known.filter_map(|(ttl, node)| Some(((ttl, node.address?), node.rtt_seconds?))).collect()
    };
    let after = times(after);
    let both =
        times(before).into_iter().filter_map(|(place, before)| Some((place, before, *after.get(&place)?)));
    both.filter(|(_, before, after)| is_beyond_chance(*before, *after))
        .map(|((ttl, address), before, after)| RttChange {
            address,
            ttl,
            median_seconds: Both { before: before.median, after: after.median },
        })
        .collect()
}

fn is_beyond_chance(before: Rtt, after: Rtt) -> bool {
    let (fast, slow) = if before.median <= after.median { (before, after) } else { (after, before) };
    let difference = slow.median - fast.median;
    slow.min > fast.median && difference >= LEAST_SECONDS && difference >= LEAST_SHARE * fast.median
}

fn as_paths(before: &Saved, after: &Saved) -> Option<Both<BTreeSet<Vec<u32>>>> {
    let paths = |saved: &Saved| {
        let whole = saved.flows.iter().filter(|flow| flow.reached == Some(true));
        let paths: BTreeSet<_> = whole.filter_map(|flow| flow.as_path.clone()).collect();
        (!paths.is_empty()).then_some(paths)
    };
    Some(Both { before: paths(before)?, after: paths(after)? })
}

/// Why absence may be no proof, and what makes the traces hard to compare.
fn cautions(before: &Saved, after: &Saved, flows_compared: usize) -> Vec<String> {
    let mut cautions = Vec::new();
    let mut differ = |what: &str, before: &str, after: &str| {
        if before != after {
            cautions.push(format!("the traces differ in {what}: {before} before, {after} after"));
        }
    };
    let [destination, source] = [|saved: &Saved| saved.destination, |saved: &Saved| saved.source]
        .map(|of| (of(before).to_string(), of(after).to_string()));
    differ("destination", &destination.0, &destination.1);
    differ("source", &source.0, &source.1);
    differ("protocol", &before.protocol, &after.protocol);
    if flows_compared == 0 {
        cautions.push("no flow was asked by both traces; `trace --seed` asks the same ones again".to_owned());
    }
    for (saved, when, consequence) in [
        (before, "first", "what seems to have come may have been there"),
        (after, "second", "what seems to have gone may still be there"),
    ] {
        if let Some(why) = saved.is_incomplete() {
            cautions.push(format!("the {when} trace {why}: {consequence}"));
        }
    }
    cautions
}

#[cfg(test)]
mod tests;
