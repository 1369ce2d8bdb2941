//! A route as one graph with the source as its first node: what all pictures draw.

use std::collections::BTreeMap;

use super::{
    Report,
    label::{self, Losses},
};
use crate::{probe::Ttl, route::Node};

/// A node of the picture.
#[derive(Debug)]
pub(super) struct Vertex<'a> {
    /// The hop; for the source the one before the first asked.
    pub(super) ttl: u8,
    /// The node of the route; `None` for the source.
    pub(super) node: Option<&'a Node>,
    /// What it is called: an address, or a star.
    pub(super) name: String,
    /// The name that its address has, where one is known.
    pub(super) hostname: Option<&'a str>,
    /// The autonomous system that its address belongs to, where that is known.
    pub(super) asn: Option<u32>,
    /// What of the probes to it was lost, in words.
    pub(super) loss: Option<String>,
}

/// Two vertices at consecutive hops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    /// Index of the nearer vertex.
    pub(super) from: usize,
    /// Index of the farther vertex.
    pub(super) to: usize,
    /// Flows seen on it.
    pub(super) flows: u32,
    /// Whether it lies in a per-packet zone.
    pub(super) per_packet: bool,
    /// Whether there are hops between its ends that were not asked.
    pub(super) skips: bool,
}

/// Vertices by hop, nearest first, and the edges between them.
#[derive(Debug)]
pub(super) struct Graph<'a> {
    pub(super) vertices: Vec<Vertex<'a>>,
    pub(super) edges: Vec<Edge>,
    /// What was lost at each hop.
    pub(super) losses: BTreeMap<Ttl, Losses>,
}

impl<'a> Graph<'a> {
    pub(super) fn of(report: &Report<'a>) -> Self {
        let trace = report.trace;
        let hops = &trace.route.hops;
        let first = hops.first().map_or(1, |hop| hop.ttl.get());
        let source = Vertex {
            ttl: first.saturating_sub(1),
            node: None,
            name: trace.source.to_string(),
            hostname: None,
            asn: None,
            loss: None,
        };
        let mut graph = Self { vertices: vec![source], edges: Vec::new(), losses: Losses::of(trace) };
        let mut starts = Vec::new();
        for hop in hops {
            starts.push(graph.vertices.len());
            let losses = graph.losses.get(&hop.ttl);
            graph.vertices.extend(hop.nodes.iter().map(|node| {
                let (hostname, asn) = trace.annotations.of(node);
                let loss = losses.and_then(|losses| losses.node(node)).map(str::to_owned);
                let (ttl, name) = (hop.ttl.get(), label::address(node));
                Vertex { ttl, node: Some(node), name, hostname, asn, loss }
            }));
        }
        for (place, node) in hops.first().into_iter().flat_map(|hop| hop.nodes.iter().enumerate()) {
            let to = place + 1;
            graph.edges.push(Edge { from: 0, to, flows: node.flows, per_packet: false, skips: first > 1 });
        }
        for link in &trace.route.links {
            let hop = usize::from(link.ttl.get().saturating_sub(first));
            let (Some(from), Some(to)) = (starts.get(hop), starts.get(hop + 1)) else { continue };
            let (from, to) = (from + link.from, to + link.to);
            graph.edges.push(Edge { from, to, flows: link.flows, per_packet: link.per_packet, skips: false });
        }
        graph
    }
}

impl Vertex<'_> {
    /// What is known of the node, most important first; the address or name is not part of it.
    pub(super) fn details(&self) -> Vec<String> {
        let Some(node) = self.node else {
            return vec!["source".to_owned()];
        };
        let rtt = node.rtt.map(|rtt| {
            let [min, median, max] = [rtt.min, rtt.median, rtt.max].map(label::milliseconds);
            format!("RTT {median} ({min} to {max})")
        });
        let hostname = self.hostname.map(str::to_owned);
        let asn = self.asn.map(label::asn);
        let loss = self.loss.clone();
        hostname.into_iter().chain(asn).chain(rtt).chain(loss).chain(label::remarks(node)).collect()
    }
}
