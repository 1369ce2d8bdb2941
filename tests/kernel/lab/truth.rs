//! What a perfect trace through a lab would print.
//!
//! Computed from the plan alone, by walking every way a packet can take; no packet is sent for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use traceflow_exporter::flow::Family;

use super::{Mode, plan::Plan};

/// Where walks end, as traces do by default: a topology may have a loop.
const MAX_TTL: u8 = 30;

/// What a trace from the source to the destination finds when it misses nothing.
///
/// Every next hop counts as one that flows take. Of those of a per-destination balancer they take one, so that a
/// trace finds a part of this; behind a per-packet balancer a trace finds more links than packets take.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Truth {
    /// Every TTL at which an address answers. The destination is among them.
    pub(crate) nodes: BTreeSet<(u8, IpAddr)>,
    /// Every pair of addresses that answer at consecutive TTLs of one flow, with the TTL of the first.
    pub(crate) links: BTreeSet<(u8, IpAddr, IpAddr)>,
    /// Silent nodes at each TTL that has any: one per predecessor, and only where something answers behind.
    pub(crate) silent: BTreeMap<u8, usize>,
    /// The links with a silent node (`None`) at one end or both, as the JSON output shows them.
    pub(crate) silent_links: BTreeSet<(u8, Option<IpAddr>, Option<IpAddr>)>,
    /// Distinct ways from the first hop to the destination on nodes and links; 0 when none leads there.
    pub(crate) paths: u128,
    /// The TTLs of the destination on the shortest and the longest way; 0 when none leads there.
    pub(crate) hops: (u8, u8),
}

/// A node as a trace sees it. Silent siblings behind one predecessor are one node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Seen {
    Address(IpAddr),
    Silent(Option<Box<Seen>>),
}

impl Seen {
    fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(*address),
            Self::Silent(_) => None,
        }
    }
}

type Links = BTreeMap<(u8, Seen), BTreeSet<Seen>>;

impl Truth {
    pub(crate) fn new(plan: &Plan, mode: Mode, family: Family, target: usize) -> Self {
        let (first, links) = walk(plan, mode, family, target);
        let destination = (!plan.nodes[target].silent).then(|| Seen::Address(Plan::own(target, family)));

        // From the last TTL to the first: how many ways lead on to the destination, and whether anything
        // answers from here on.
        let mut ways: BTreeMap<(u8, Seen), u128> = BTreeMap::new();
        let mut observed: BTreeSet<(u8, Seen)> = BTreeSet::new();
        let mut truth = Self::default();
        for ((ttl, from), next) in links.iter().rev() {
            let behind = |to: &Seen| (ttl + 1, to.clone());
            if destination.as_ref() == Some(from) {
                truth.hops = (*ttl, truth.hops.1.max(*ttl));
                ways.insert((*ttl, from.clone()), 1);
            } else {
                let count = next.iter().filter_map(|to| ways.get(&behind(to))).sum();
                ways.insert((*ttl, from.clone()), count);
            }
            let answers = from.address().is_some();
            if answers || next.iter().any(|to| observed.contains(&behind(to))) {
                observed.insert((*ttl, from.clone()));
            }
        }
        truth.paths = first.iter().filter_map(|node| ways.get(&(1, node.clone()))).sum();

        for (ttl, node) in &observed {
            match node {
                Seen::Address(address) => drop(truth.nodes.insert((*ttl, *address))),
                Seen::Silent(_) => *truth.silent.entry(*ttl).or_default() += 1,
            }
            for to in &links[&(*ttl, node.clone())] {
                if !observed.contains(&(ttl + 1, to.clone())) {
                    continue;
                }
                match (node.address(), to.address()) {
                    (Some(from), Some(to)) => drop(truth.links.insert((*ttl, from, to))),
                    (from, to) => drop(truth.silent_links.insert((*ttl, from, to))),
                }
            }
        }
        truth
    }
}

/// Every node at every TTL with its successors, and the nodes of the first hop.
fn walk(plan: &Plan, mode: Mode, family: Family, target: usize) -> (BTreeSet<Seen>, Links) {
    let mut links = Links::new();
    let mut layer: BTreeSet<(usize, Option<Seen>)> = BTreeSet::from([(plan.source, None)]);
    let mut first = BTreeSet::new();
    for ttl in 0..=MAX_TTL {
        let mut next_layer = BTreeSet::new();
        for (node, seen) in layer {
            let here = seen.clone().map(|seen| links.entry((ttl, seen)).or_default());
            let mut successors = BTreeSet::new();
            if node != target && plan.nodes[node].forwards() {
                for link in plan.towards(node, target) {
                    let to = plan.links[link].to;
                    let answer = match mode {
                        _ if plan.nodes[to].silent => Seen::Silent(seen.clone().map(Box::new)),
                        _ if to == target => Seen::Address(Plan::own(to, family)),
                        Mode::Links => Seen::Address(Plan::far(link, family)),
                        Mode::Routers => Seen::Address(Plan::own(to, family)),
                    };
                    next_layer.insert((to, Some(answer.clone())));
                    successors.insert(answer);
                }
            }
            match here {
                Some(here) => here.extend(successors),
                None => first = successors,
            }
        }
        layer = next_layer;
    }
    (first, links)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::topology;

    #[test]
    fn counts_are_those_of_a_pencil() {
        type Counts = (usize, usize, usize, usize, u128, (u8, u8));
        // Topology, mode, nodes, links, silent nodes, links of silent nodes, paths, hops.
        let cases: [(&str, Mode, Counts); 19] = [
            ("line", Mode::Links, (6, 5, 0, 0, 1, (6, 6))),
            ("diamond4", Mode::Routers, (1 + 3 * 4 + 2, 4 * 4 + 1, 0, 0, 4, (6, 6))),
            // The convergence has four inbound links and is four nodes; only the destination is one.
            ("diamond4", Mode::Links, (1 + 4 * 4 + 1, 4 * 4 + 4, 0, 0, 4, (6, 6))),
            ("three-diamonds", Mode::Routers, (5 + 2 + 4 + 3 + 1, 4 + 1 + 8 + 6 + 1, 0, 0, 24, (9, 9))),
            ("mesh4x4", Mode::Routers, (11, 4 + 16 + 4 + 1, 0, 0, 16, (5, 5))),
            ("mesh4x4", Mode::Links, (1 + 4 + 16 + 4 + 1, 4 + 16 + 16 + 4, 0, 0, 16, (5, 5))),
            // Behind the branches the same routers stand at two TTLs.
            ("unequal", Mode::Routers, (1 + 2 + 2 + 2 + 2 + 1, 2 + 2 + 2 + 2 + 1, 0, 0, 2, (5, 6))),
            ("silent", Mode::Routers, (1 + 3 + 2, 3 + 3 + 1, 1, 2, 4, (4, 4))),
            ("silent", Mode::Links, (1 + 3 + 4 + 1, 3 + 3 + 4, 1, 2, 4, (4, 4))),
            ("silent-destination", Mode::Routers, (4, 4, 0, 0, 0, (0, 0))),
            ("swallow", Mode::Routers, (7, 4 + 3 + 1, 0, 0, 3, (4, 4))),
            ("swallow", Mode::Links, (1 + 4 + 3 + 1, 4 + 3 + 3, 0, 0, 3, (4, 4))),
            ("blackhole", Mode::Routers, (3, 2, 0, 0, 0, (0, 0))),
            ("loop", Mode::Routers, (30, 29, 0, 0, 0, (0, 0))),
            ("cascade2x3x4", Mode::Routers, (1 + 2 + 6 + 24 + 2, 2 + 6 + 24 + 24 + 1, 0, 0, 24, (6, 6))),
            ("asymmetric", Mode::Routers, (1 + 3 + 11 + 2, 3 + 11 + 11 + 1, 0, 0, 11, (5, 5))),
            ("unreachable", Mode::Routers, (5, 2 + 1 + 1, 0, 0, 1, (4, 4))),
            ("per-packet", Mode::Routers, (2 + 3 + 3 + 3, 1 + 3 + 3 + 3 + 2, 0, 0, 3, (7, 7))),
            // Silent nodes behind silent nodes: m is three of them, c1 one behind each of those.
            ("silent-hops", Mode::Routers, (1 + 2 + 2 + 1 + 2, 2 + 1 + 2, 8, 9, 6, (7, 7))),
        ];
        for (name, mode, expected) in cases {
            for family in [Family::V4, Family::V6] {
                let plan = Plan::new(&topology(name));
                let truth = Truth::new(&plan, mode, family, plan.destinations[0]);
                let found: Counts = (
                    truth.nodes.len(),
                    truth.links.len(),
                    truth.silent.values().sum(),
                    truth.silent_links.len(),
                    truth.paths,
                    truth.hops,
                );
                assert_eq!(found, expected, "{name}, {mode:?}, {family:?}");
            }
        }
    }

    #[test]
    fn silent_siblings_are_one_node_for_each_predecessor() {
        let topology = "s -> r1 -> a b\na -> c e\nb -> f g\nc e f g -> x -> d\nnode c silent\nnode e silent\nnode f silent\nnode g silent";
        let plan = Plan::new(&topology.parse().unwrap());
        let truth = Truth::new(&plan, Mode::Routers, Family::V4, plan.destinations[0]);
        assert_eq!(truth.silent, BTreeMap::from([(3, 2)]));
        assert_eq!(truth.paths, 2);
        let address = |name: &str| Some(Plan::own(plan.node(name), Family::V4));
        let expected = [(2, address("a"), None), (2, address("b"), None), (3, None, address("x"))];
        assert_eq!(truth.silent_links, BTreeSet::from(expected));
    }
}
