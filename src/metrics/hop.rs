//! What concerns single hops, nodes and links, within the number of series that a target may have.
//!
//! Nearest hops come first. The graph of nodes and links appears whole or not at all: half of it is an error in every program
//! that draws it.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use super::{exposition::Exposition, names, target::Target};
use crate::{
    probe::Ttl,
    route::{Hop, Node, Route},
    store::Tally,
};

/// What is shown of a route.
#[derive(Default)]
pub(super) struct Detail<'a> {
    hops: Vec<HopSeries<'a>>,
    topology: Topology<'a>,
    /// Series that did not fit.
    pub(super) dropped: usize,
}

/// One hop.
struct HopSeries<'a> {
    hop: &'a Hop,
    /// Median round-trip times by address.
    rtts: Vec<(IpAddr, Duration)>,
}

/// All nodes and links by name.
#[derive(Default)]
struct Topology<'a> {
    nodes: BTreeMap<(Ttl, String), &'a Node>,
    /// Flows by the TTL of the nearer end and the names of both.
    links: BTreeMap<(Ttl, String, String), u32>,
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
    /// Series of a hop besides those of its nodes; see `write`.
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

pub(super) fn write(out: &mut Exposition, targets: &[Target<'_>]) {
    write_hops(out, targets);
    write_topology(out, targets);
}

fn write_hops(out: &mut Exposition, targets: &[Target<'_>]) {
    let hops =
        || targets.iter().flat_map(|target| target.detail.hops.iter().map(move |series| (target, series)));
    let labels = |target: &Target<'_>, hop: &Hop| target.labels().with("ttl", hop.ttl.to_string());
    let tally = |target: &Target<'_>, hop: &Hop| -> Tally {
        let hops = &target.snapshot.counters.hops;
        hops.get(&hop.ttl).copied().unwrap_or_default()
    };

    out.gauge(
        "traceflow_hop_nodes",
        "Nodes at this hop, silent ones included, as of the last round.",
        hops().map(|(target, HopSeries { hop, .. })| (labels(target, hop), hop.nodes.len() as f64)),
    );
    out.counter(
        "traceflow_hop_probes_sent_total",
        "Packets sent with this TTL, retries included.",
        hops().map(|(target, HopSeries { hop, .. })| (labels(target, hop), tally(target, hop).sent)),
    );
    out.counter(
        "traceflow_hop_replies_received_total",
        "Answers to the packets of traceflow_hop_probes_sent_total.",
        hops().map(|(target, HopSeries { hop, .. })| (labels(target, hop), tally(target, hop).received)),
    );
    out.gauge(
        "traceflow_hop_rate_limited",
        "1 when a node at this hop limits its answers, so that loss at this hop is no loss of traffic, as of the last round.",
        hops().map(|(target, HopSeries { hop, .. })| {
            let limited = hop.nodes.iter().any(|node| node.rate_limited);
            (labels(target, hop), f64::from(u8::from(limited)))
        }),
    );
    out.gauge(
        "traceflow_hop_rtt_seconds",
        "Median round-trip time to this address at this hop, as of the last round.",
        hops().flat_map(|(target, HopSeries { hop, rtts })| {
            rtts.iter().map(move |(address, rtt)| {
                let labels = labels(target, hop).with("address", address.to_string());
                (labels, rtt.as_secs_f64())
            })
        }),
    );
}

fn write_topology(out: &mut Exposition, targets: &[Target<'_>]) {
    let nodes = targets.iter().flat_map(|target| {
        target.detail.topology.nodes.iter().map(move |((ttl, name), node)| {
            let labels = target
                .labels()
                .with("ttl", ttl.to_string())
                .with("address", name)
                .with("hostname", "")
                .with("asn", "")
                .with("mpls", mpls(node))
                .with("balancing", node.balancing.name());
            (labels, 1.0)
        })
    });
    out.gauge(
        "traceflow_node_info",
        "A node of the route, as of the last round; always 1. The address of a silent node is that of the last answering node \
         before it behind as many stars as there are silent hops up to here; the label stack is written top first.",
        nodes,
    );
    let links = targets.iter().flat_map(|target| {
        target.detail.topology.links.iter().map(move |((ttl, from, to), &flows)| {
            let labels = target.labels().with("ttl", ttl.to_string()).with("from", from).with("to", to);
            (labels, f64::from(flows))
        })
    });
    out.gauge(
        "traceflow_link_flows",
        "Flows seen on the link from a node at this hop to a node at the next, as of the last round; 0 where packets are \
         balanced one by one and no flow has a path. Both ends are addresses of traceflow_node_info.",
        links,
    );
}

/// The labels of a stack without what changes from packet to packet.
fn mpls(node: &Node) -> String {
    let labels: Vec<_> = node.mpls.iter().map(|entry| entry.label.to_string()).collect();
    labels.join(",")
}
