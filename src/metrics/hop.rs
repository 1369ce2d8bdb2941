//! The series of single hops, nodes and links.

use super::{detail::HopSeries, exposition::Exposition, target::Target};
use crate::{
    route::{Hop, Node},
    store::Tally,
};

/// What the last round found of hops, nodes and links, with the counters of hops where there are any.
pub(super) fn write(out: &mut Exposition, targets: &[Target<'_>], counted: bool) {
    write_hops(out, targets, counted);
    write_topology(out, targets);
}

fn write_hops(out: &mut Exposition, targets: &[Target<'_>], counted: bool) {
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
    let counted = || hops().filter(|_| counted);
    out.counter(
        "traceflow_hop_probes_sent_total",
        "Packets sent with this TTL, retries included.",
        counted().map(|(target, HopSeries { hop, .. })| (labels(target, hop), tally(target, hop).sent)),
    );
    out.counter(
        "traceflow_hop_replies_received_total",
        "Answers to the packets of traceflow_hop_probes_sent_total.",
        counted().map(|(target, HopSeries { hop, .. })| (labels(target, hop), tally(target, hop).received)),
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
        let annotations = target.snapshot.trace().map(|trace| &trace.annotations);
        target.detail.topology.nodes.iter().map(move |((ttl, name), node)| {
            let (hostname, asn) = annotations.map(|known| known.of(node)).unwrap_or_default();
            let labels = target
                .labels()
                .with("ttl", ttl.to_string())
                .with("address", name)
                .with("hostname", hostname.unwrap_or_default())
                .with("asn", asn.map(|asn| asn.to_string()).unwrap_or_default())
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
