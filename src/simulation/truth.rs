//! The ground truth: what packets can do in a network, whoever answers about it.
//!
//! Knows the forwarding graph. Must not know what a probe would find out.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::fabric::Era;

/// Everything that packets from the source to one destination can pass, as of one moment.
///
/// Silent nodes are in it like others. Behind nodes that swallow or refuse packets nothing follows. Each
/// visit to a node counts as a choice of its own, so in a graph where a packet can come by twice `paths`
/// and `links` are upper bounds for balancing per flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Truth {
    /// Nodes with the TTL, 1 to 255, at which packets pass them, the destination included, the source not.
    pub nodes: BTreeSet<(u8, IpAddr)>,
    /// Links with the TTL of their first node, 1 to 254: from, to. The link from the source is not among them.
    pub links: BTreeSet<(u8, IpAddr, IpAddr)>,
    /// The nodes among `nodes` that answer no expired packet: silent, or forwarding with TTL 0.
    pub silent: BTreeSet<(u8, IpAddr)>,
    /// The nodes that balance per packet over more than one next hop, with their TTL; 0 is the source.
    pub per_packet: BTreeSet<(u8, IpAddr)>,
    /// Number of ways from the source to the destination; 0 where none reaches it. Stays at the largest value.
    pub paths: u128,
    /// The least TTL that reaches the destination.
    pub hops_min: Option<u8>,
    /// The TTL that reaches the destination on its longest path.
    pub hops_max: Option<u8>,
}

impl Truth {
    /// Whether any path reaches the destination.
    #[must_use]
    pub fn reached(&self) -> bool {
        self.paths > 0
    }

    /// Walks the graph hop by hop. `destination` is the hash key of the target's address.
    pub(super) fn walk(
        era: &Era,
        source: usize,
        target: usize,
        destination: u64,
        address: impl Fn(usize) -> IpAddr,
    ) -> Self {
        let table = era.table(target);
        let mut truth = Self::default();
        let mut ways = BTreeMap::from([(source, 1_u128)]);
        for ttl in 1..=u8::MAX {
            let mut next: BTreeMap<usize, u128> = BTreeMap::new();
            for (&node, &count) in &ways {
                let choices = era.choices(&table, node, destination);
                if choices.len() > 1 && era.is_per_packet(node) {
                    truth.per_packet.insert((ttl - 1, address(node)));
                }
                for hop in choices {
                    let there = address(hop.to);
                    truth.nodes.insert((ttl, there));
                    if ttl > 1 {
                        truth.links.insert((ttl - 1, address(node), there));
                    }
                    if era.is_silent(hop.to, hop.to == target) {
                        truth.silent.insert((ttl, there));
                    }
                    if hop.to == target {
                        truth.paths = truth.paths.saturating_add(count);
                        truth.hops_min.get_or_insert(ttl);
                        truth.hops_max = Some(ttl);
                    } else if era.forwards(hop.to) {
                        let ways = next.entry(hop.to).or_default();
                        *ways = ways.saturating_add(count);
                    }
                }
            }
            ways = next;
        }
        truth
    }
}
