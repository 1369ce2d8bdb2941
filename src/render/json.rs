//! The JSON object of a trace. The order of the fields here is the order in the output.
//!
//! Absent knowledge is `null`, never a made-up zero; times are in seconds.

use std::{net::IpAddr, time::Duration};

use serde::Serialize;

use super::Report;
use crate::{
    annotations::Annotations,
    probe::MplsLabel,
    route::{Diamond, FlowPath, Hop, Link, Node, Route, RttSummary},
};

/// Version of the object's shape; a new field does not change it.
const VERSION: u8 = 1;

/// A trace as it is written to JSON.
#[derive(Debug, Serialize)]
pub struct Document<'a> {
    version: u8,
    host: &'a str,
    destination: IpAddr,
    source: IpAddr,
    protocol: &'static str,
    strategy: &'static str,
    confidence: f64,
    confidence_reached: Option<f64>,
    started: String,
    duration_seconds: f64,
    reached: bool,
    stop_reason: &'static str,
    detail: Option<&'a str>,
    probes_sent: u32,
    replies_received: u32,
    paths: u64,
    flow_paths: u32,
    hops_min: Option<u8>,
    hops_max: Option<u8>,
    hops: Vec<HopEntry<'a>>,
    links: Vec<LinkEntry>,
    flows: Vec<FlowEntry>,
    diamonds: Vec<DiamondEntry>,
}

#[derive(Debug, Serialize)]
struct HopEntry<'a> {
    ttl: u8,
    probes_sent: u32,
    replies_received: u32,
    nodes: Vec<NodeEntry<'a>>,
}

#[derive(Debug, Serialize)]
struct NodeEntry<'a> {
    address: Option<IpAddr>,
    hostname: Option<&'a str>,
    asn: Option<u32>,
    replies: u32,
    rtt_seconds: Option<RttEntry>,
    balancing: &'static str,
    rate_limited: bool,
    nat: bool,
    mpls: &'a [MplsLabel],
}

#[derive(Debug, Serialize)]
struct RttEntry {
    min: f64,
    median: f64,
    max: f64,
}

#[derive(Debug, Serialize)]
struct LinkEntry {
    ttl: u8,
    from: Option<IpAddr>,
    to: Option<IpAddr>,
    per_packet: bool,
}

#[derive(Debug, Serialize)]
struct FlowEntry {
    id: u16,
    reached: Option<bool>,
    as_path: Option<Vec<u32>>,
    hops: Vec<FlowHopEntry>,
}

#[derive(Debug, Serialize)]
struct FlowHopEntry {
    ttl: u8,
    address: Option<IpAddr>,
}

#[derive(Debug, Serialize)]
struct DiamondEntry {
    divergence_ttl: u8,
    divergence: Option<IpAddr>,
    convergence_ttl: Option<u8>,
    convergence: Option<IpAddr>,
    width: usize,
    length: Option<u8>,
}

pub(super) fn text(report: &Report<'_>) -> String {
    // Serialising plain structs into a string cannot fail.
    let mut text = serde_json::to_string_pretty(&Document::of(report)).unwrap_or_default();
    text.push('\n');
    text
}

impl<'a> Document<'a> {
    /// The document of a trace.
    #[must_use]
    pub fn of(report: &Report<'a>) -> Self {
        let Report { host, started, trace } = *report;
        let route = &trace.route;
        let known = route.paths.count > 0;
        Self {
            version: VERSION,
            host,
            destination: trace.destination,
            source: trace.source,
            protocol: trace.protocol.name(),
            strategy: trace.strategy.name(),
            confidence: trace.confidence,
            confidence_reached: route.confidence,
            started: timestamp(started),
            duration_seconds: seconds(trace.duration),
            reached: route.reached(),
            stop_reason: trace.stop_reason.name(),
            detail: trace.detail.as_deref(),
            probes_sent: trace.probes_sent,
            replies_received: trace.replies_received,
            paths: u64::try_from(route.paths.count).unwrap_or(u64::MAX),
            flow_paths: route.flow_paths,
            hops_min: known.then_some(route.paths.hops_min),
            hops_max: known.then_some(route.paths.hops_max),
            hops: route.hops.iter().map(|hop| HopEntry::of(hop, &trace.annotations)).collect(),
            links: route.links.iter().filter_map(|link| LinkEntry::of(link, route)).collect(),
            flows: route.flows.iter().map(|flow| FlowEntry::of(flow, &trace.annotations)).collect(),
            diamonds: route.diamonds.iter().map(DiamondEntry::of).collect(),
        }
    }
}

impl<'a> HopEntry<'a> {
    fn of(hop: &'a Hop, annotations: &'a Annotations) -> Self {
        Self {
            ttl: hop.ttl.get(),
            probes_sent: hop.probes_sent,
            replies_received: hop.replies_received,
            nodes: hop.nodes.iter().map(|node| NodeEntry::of(node, annotations)).collect(),
        }
    }
}

impl<'a> NodeEntry<'a> {
    fn of(node: &'a Node, annotations: &'a Annotations) -> Self {
        let (hostname, asn) = annotations.of(node);
        Self {
            address: node.address,
            hostname,
            asn,
            replies: node.replies,
            rtt_seconds: node.rtt.map(RttEntry::of),
            balancing: node.balancing.name(),
            rate_limited: node.rate_limited,
            nat: node.nat,
            mpls: &node.mpls,
        }
    }
}

impl RttEntry {
    fn of(rtt: RttSummary) -> Self {
        Self { min: seconds(rtt.min), median: seconds(rtt.median), max: seconds(rtt.max) }
    }
}

impl LinkEntry {
    fn of(link: &Link, route: &Route) -> Option<Self> {
        let (from, to) = route.ends(link)?;
        Some(Self { ttl: link.ttl.get(), from: from.address, to: to.address, per_packet: link.per_packet })
    }
}

impl FlowEntry {
    fn of(flow: &FlowPath, annotations: &Annotations) -> Self {
        let hops = flow.hops.iter().map(|hop| FlowHopEntry { ttl: hop.ttl.get(), address: hop.address });
        let as_path = annotations.as_path(&flow.hops);
        Self { id: flow.id.0, reached: flow.reached, as_path, hops: hops.collect() }
    }
}

impl DiamondEntry {
    fn of(diamond: &Diamond) -> Self {
        Self {
            divergence_ttl: diamond.divergence_ttl,
            divergence: diamond.divergence,
            convergence_ttl: diamond.convergence_ttl,
            convergence: diamond.convergence,
            width: diamond.width,
            length: diamond.length(),
        }
    }
}

/// RFC 3339 in UTC with milliseconds.
pub(crate) fn timestamp(at: jiff::Timestamp) -> String {
    format!("{at:.3}")
}

/// Rounded once, so that 1.1 ms reads 0.0011. Exact for durations up to 104 days.
pub(crate) fn seconds(duration: Duration) -> f64 {
    duration.as_nanos() as f64 / 1e9
}

#[cfg(test)]
mod tests;
