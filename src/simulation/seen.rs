//! What of a trace can be held against the ground truth: everything with an address.
//!
//! Knows both sides, and that silent nodes have no address to compare.

use std::{collections::BTreeSet, net::IpAddr};

use super::Truth;
use crate::trace::Trace;

/// Answering nodes with their TTLs, and the links between answering nodes with the TTL of their nearer end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// TTL and address.
    pub nodes: BTreeSet<(u8, IpAddr)>,
    /// TTL of the first, and both addresses.
    pub links: BTreeSet<(u8, IpAddr, IpAddr)>,
}

impl Seen {
    /// What a trace shows.
    #[must_use]
    pub fn by(trace: &Trace) -> Self {
        let route = &trace.route;
        let nodes = route
            .hops
            .iter()
            .flat_map(|hop| hop.nodes.iter().filter_map(|node| Some((hop.ttl.get(), node.address?))));
        let links = route.links.iter().filter_map(|link| {
            let (from, to) = route.ends(link)?;
            Some((link.ttl.get(), from.address?, to.address?))
        });
        Self { nodes: nodes.collect(), links: links.collect() }
    }

    /// What there is to see.
    #[must_use]
    pub fn of(truth: &Truth) -> Self {
        let silent = |ttl: u8, address: IpAddr| truth.silent.contains(&(ttl, address));
        let nodes = truth.nodes.iter().filter(|&&(ttl, address)| !silent(ttl, address)).copied();
        let links = truth
            .links
            .iter()
            .filter(|&&(ttl, from, to)| !silent(ttl, from) && !silent(ttl + 1, to))
            .copied();
        Self { nodes: nodes.collect(), links: links.collect() }
    }
}
