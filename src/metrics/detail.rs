//! What is shown of a target's hops, nodes and links within the number of series that it may have.
//!
//! Nearest hops come first. The graph of nodes and links appears whole or not at all: half of it is an error in every program
//! that draws it.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use super::names;
use crate::{
    probe::Ttl,
    route::{Hop, Node, Route},
};

/// What is shown of a route.
#[derive(Default)]
pub(super) struct Detail<'a> {
    pub(super) hops: Vec<HopSeries<'a>>,
    pub(super) topology: Topology<'a>,
    /// Series that did not fit.
    pub(super) dropped: usize,
}

/// One hop.
pub(super) struct HopSeries<'a> {
    pub(super) hop: &'a Hop,
    /// Median round-trip times by address.
    pub(super) rtts: Vec<(IpAddr, Duration)>,
}

/// All nodes and links by name.
#[derive(Default)]
pub(super) struct Topology<'a> {
    pub(super) nodes: BTreeMap<(Ttl, String), &'a Node>,
    /// Flows by the TTL of the nearer end and the names of both.
    pub(super) links: BTreeMap<(Ttl, String, String), u32>,
}

impl<'a> Detail<'a> {
    /// What fits into `budget` series.
    pub(super) fn new(route: Option<&'a Route>, topology: bool, budget: usize) -> Self {
        let Some(route) = route else {
            return Self::default();
        };
        let mut left = budget;
        let (hops, mut dropped) = HopSeries::fitting(route, &mut left);
        let mut detail = Self { hops, ..Self::default() };
        if topology {
            let topology = Topology::of(route);
            let wanted = topology.nodes.len() + topology.links.len();
            if dropped == 0 && wanted <= left {
                detail.topology = topology;
            } else {
                dropped += wanted;
            }
        }
        detail.dropped = dropped;
        detail
    }
}

impl<'a> HopSeries<'a> {
    /// Series of a hop besides those of its nodes; see `hop`.
    const OWN: usize = 4;

    /// The nearest hops that fit, and how many series did not. Behind the first series that does not fit there are no more.
    fn fitting(route: &'a Route, left: &mut usize) -> (Vec<Self>, usize) {
        let mut fitting = Vec::new();
        let mut dropped = 0;
        for hop in &route.hops {
            let mut rtts: Vec<_> = medians(hop).into_iter().collect();
            if dropped > 0 || *left < Self::OWN {
                dropped += Self::OWN + rtts.len();
                continue;
            }
            *left -= Self::OWN;
            dropped += rtts.len().saturating_sub(*left);
            rtts.truncate(*left);
            *left -= rtts.len();
            fitting.push(Self { hop, rtts });
        }
        (fitting, dropped)
    }
}

fn medians(hop: &Hop) -> BTreeMap<IpAddr, Duration> {
    let nodes = hop.nodes.iter();
    nodes.filter_map(|node| Some((node.address?, node.rtt?.median))).collect()
}

impl<'a> Topology<'a> {
    fn of(route: &'a Route) -> Self {
        let names = names::of(route);
        let mut topology = Self::default();
        for (hop, names) in route.hops.iter().zip(&names) {
            for (node, name) in hop.nodes.iter().zip(names) {
                topology.nodes.insert((hop.ttl, name.clone()), node);
            }
        }
        let by_ttl: BTreeMap<_, _> = route.hops.iter().map(|hop| hop.ttl).zip(&names).collect();
        for link in &route.links {
            let from = by_ttl.get(&link.ttl).and_then(|names| names.get(link.from));
            let to = by_ttl.get(&link.ttl.next()).and_then(|names| names.get(link.to));
            if let (Some(from), Some(to)) = (from, to) {
                let ends = (link.ttl, from.clone(), to.clone());
                let flows = topology.links.entry(ends).or_default();
                *flows = flows.saturating_add(link.flows);
            }
        }
        topology
    }
}
