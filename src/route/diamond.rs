//! Diamonds: where a route divides and joins again.

use std::net::IpAddr;

use super::{Route, count::ends};

/// Two hops with a single node each, and wider hops between them (Augustin, Friedman, Teixeira: Measuring
/// Multipath Routing in the Internet, 2011). Smaller diamonds inside a wide one are part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Diamond {
    /// TTL of the node at which the route divides; 0 when it divides before the first hop.
    pub divergence_ttl: u8,
    /// That node; `None` when it is silent or the source itself.
    pub divergence: Option<IpAddr>,
    /// TTL of the node at which it joins; `None` when it never joins again.
    pub convergence_ttl: Option<u8>,
    /// That node; `None` when it is silent or the route never joins again.
    pub convergence: Option<IpAddr>,
    /// Most nodes at one hop between them.
    pub width: usize,
}

impl Diamond {
    /// TTL of the convergence minus TTL of the divergence; `None` when it never joins again.
    #[must_use]
    pub fn length(&self) -> Option<u8> {
        Some(self.convergence_ttl? - self.divergence_ttl)
    }
}

pub(super) fn find(route: &Route) -> Vec<Diamond> {
    let ends = ends(route);
    let Some(first) = route.hops.first() else {
        return Vec::new();
    };
    let (Some(&(nearest_end, _)), Some(&(farthest_end, _))) = (ends.first(), ends.last()) else {
        return Vec::new();
    };

    let mut diamonds = Vec::new();
    let mut divergence = (first.ttl.get() - 1, None);
    let mut width = 0;
    for hop in &route.hops {
        match hop.nodes.as_slice() {
            // Behind the nearest end a lone node is no meeting place: some paths have ended before it.
            [node] if hop.ttl <= nearest_end => {
                if width > 1 {
                    diamonds.push(Diamond {
                        divergence_ttl: divergence.0,
                        divergence: divergence.1,
                        convergence_ttl: Some(hop.ttl.get()),
                        convergence: node.address,
                        width,
                    });
                }
                divergence = (hop.ttl.get(), node.address);
                width = 0;
            }
            nodes => width = width.max(nodes.len()),
        }
    }
    if width > 1 {
        // Paths of different lengths meet only in the destination, each at its own TTL.
        let destination = ends.iter().filter_map(|&(ttl, node)| route.hop(ttl)?.nodes.get(node));
        let destination = destination.filter(|node| node.destination).find_map(|node| node.address);
        diamonds.push(Diamond {
            divergence_ttl: divergence.0,
            divergence: divergence.1,
            convergence_ttl: destination.map(|_| farthest_end.get()),
            convergence: destination,
            width,
        });
    }
    diamonds
}
