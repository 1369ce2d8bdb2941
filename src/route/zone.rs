//! Per-packet zones: what lies behind a balancer that deals out packet by packet, up to where its ways meet again.
//!
//! No flow has a path in there: two answers to one flow at consecutive TTLs came over two ways. Links are therefore the product of the
//! nodes seen, and marked.

use std::collections::{BTreeMap, BTreeSet};

use super::{Balancing, Link, Route};
use crate::probe::Ttl;

/// Replaces the links of each zone by the product of its nodes. The balancers are marked already.
pub(super) fn mark(route: &mut Route) {
    let balancers: Vec<(Ttl, usize)> = route
        .hops
        .iter()
        .flat_map(|hop| hop.nodes.iter().enumerate().map(move |(index, node)| (hop.ttl, index, node)))
        .filter(|(_, _, node)| node.balancing == Balancing::PerPacket)
        .map(|(ttl, index, _)| (ttl, index))
        .collect();
    for (ttl, node) in balancers {
        mark_behind(route, ttl, node);
    }
}

fn mark_behind(route: &mut Route, ttl: Ttl, balancer: usize) {
    let mut from = BTreeSet::from([balancer]);
    let mut ttl = ttl;
    loop {
        let (inside, outside): (Vec<Link>, Vec<Link>) =
            route.links.iter().partition(|link| link.ttl == ttl && from.contains(&link.from));
        let to: BTreeSet<usize> = inside.iter().map(|link| link.to).collect();
        if to.is_empty() {
            return;
        }
        let seen: BTreeMap<(usize, usize), u32> =
            inside.iter().map(|link| ((link.from, link.to), link.flows)).collect();
        let product = from.iter().flat_map(|&from| to.iter().map(move |&to| (from, to)));
        route.links = outside;
        route.links.extend(product.map(|(from, to)| Link {
            ttl,
            from,
            to,
            flows: seen.get(&(from, to)).copied().unwrap_or(0),
            per_packet: true,
        }));
        route.links.sort_unstable();
        if to.len() == 1 || ttl == Ttl::MAX {
            return;
        }
        (from, ttl) = (to, ttl.next());
    }
}
