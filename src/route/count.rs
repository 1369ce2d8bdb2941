//! Counting paths on the graph, without listing them.

use std::collections::{BTreeMap, BTreeSet};

use super::Route;
use crate::probe::Ttl;

/// How many ways lead through a route, and how long they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paths {
    /// Distinct ways from the first hop to the destination; saturates. 0 when no node is known.
    pub count: u128,
    /// Hops of the shortest; 0 when no node is known.
    pub hops_min: u8,
    /// Hops of the longest; 0 when no node is known.
    pub hops_max: u8,
}

impl Paths {
    pub(super) fn of(route: &Route) -> Self {
        let ends = ends(route);
        // Ways to each node of the hop at hand; a dead branch counts here and drops out because it has no end.
        let mut ways: BTreeMap<usize, u128> = BTreeMap::new();
        let mut count = 0_u128;
        for (place, hop) in route.hops.iter().enumerate() {
            let mut here: BTreeMap<usize, u128> = BTreeMap::new();
            if place == 0 {
                here.extend((0..hop.nodes.len()).map(|node| (node, 1)));
            }
            for link in route.links.iter().filter(|link| link.ttl.next() == hop.ttl) {
                let onto = here.entry(link.to).or_default();
                *onto = onto.saturating_add(ways.get(&link.from).copied().unwrap_or(0));
            }
            for (_, node) in ends.range((hop.ttl, 0)..=(hop.ttl, usize::MAX)) {
                count = count.saturating_add(here.get(node).copied().unwrap_or(0));
            }
            ways = here;
        }
        Self {
            count,
            hops_min: ends.first().map_or(0, |(ttl, _)| ttl.get()),
            hops_max: ends.last().map_or(0, |(ttl, _)| ttl.get()),
        }
    }
}

/// The nodes at which paths end: the destination, or the last answering nodes where none reached it.
pub(super) fn ends(route: &Route) -> BTreeSet<(Ttl, usize)> {
    let nodes = || {
        route
            .hops
            .iter()
            .flat_map(|hop| hop.nodes.iter().enumerate().map(|(index, node)| (hop.ttl, index, node)))
    };
    let reached: BTreeSet<_> =
        nodes().filter(|(_, _, node)| node.destination).map(|(ttl, index, _)| (ttl, index)).collect();
    if !reached.is_empty() {
        return reached;
    }
    let last = nodes().filter(|(_, _, node)| node.address.is_some()).map(|(ttl, _, _)| ttl).max();
    nodes()
        .filter(|&(ttl, _, node)| Some(ttl) == last && node.address.is_some())
        .map(|(ttl, index, _)| (ttl, index))
        .collect()
}
