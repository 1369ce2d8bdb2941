//! Names for the nodes of a hop that are unique, and the same in the next round if the route is.
//!
//! An answering node is named by its address. A silent one has none: it is named by the last answering node before it, with one
//! star for each silent hop in between, its own included. `*` is silent at the first hop, `**` follows it; `*192.0.2.1` follows
//! 192.0.2.1, `**192.0.2.1` follows that one.

use std::collections::BTreeSet;

use crate::route::{Hop, Link, Route};

/// The names of all nodes, in the order of the hops and of the nodes in them.
pub(super) fn of(route: &Route) -> Vec<Vec<String>> {
    let mut names: Vec<Vec<String>> = Vec::with_capacity(route.hops.len());
    for hop in &route.hops {
        let before = names.last().map_or(&[][..], Vec::as_slice);
        names.push(of_hop(hop, before, route));
    }
    names
}

fn of_hop(hop: &Hop, before: &[String], route: &Route) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let mut next_predecessor = 0;
    hop.nodes
        .iter()
        .enumerate()
        .map(|(index, node)| {
            let name = match node.address {
                Some(address) => address.to_string(),
                None => {
                    let into =
                        route.links.iter().filter(|link| link.ttl.next() == hop.ttl && link.to == index);
                    let predecessor = predecessor(into, next_predecessor);
                    next_predecessor = predecessor.map_or(next_predecessor, |found| found + 1);
                    let behind = predecessor.and_then(|found| before.get(found));
                    format!("*{}", behind.map_or("", String::as_str))
                }
            };
            unique(&name, &mut taken)
        })
        .collect()
}

/// The node that a silent node stands behind. There is one silent node a predecessor, in their order, and the links that flows
/// were seen on tell which it is; in a per-packet zone, where every node is linked to every other, the order alone does.
fn predecessor<'a>(into: impl Iterator<Item = &'a Link> + Clone, least: usize) -> Option<usize> {
    let observed = into.clone().find(|link| !link.per_packet);
    let possible = || into.filter(|link| link.from >= least).map(|link| link.from).min();
    observed.map(|link| link.from).or_else(possible)
}

/// The name itself, or with a number behind it where it is taken.
fn unique(name: &str, taken: &mut BTreeSet<String>) -> String {
    let mut candidate = name.to_owned();
    let mut number = 2;
    while !taken.insert(candidate.clone()) {
        candidate = format!("{name}#{number}");
        number += 1;
    }
    candidate
}
