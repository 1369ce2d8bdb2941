//! The page of a target: its route drawn, the hops in a table, and what became of it.

use askama::Template;

use super::{
    Figures, Frame, Href, Moment, NONE, State,
    changes::{Event, events},
    page, spark,
};
use crate::{
    render::{self, milliseconds, percent},
    route::{Balancing, Hop, Node},
    store::Snapshot,
    trace::Trace,
    web::api,
};

#[derive(Template)]
#[template(path = "target.html")]
struct Page<'a> {
    frame: Frame<'a>,
    snapshot: &'a Snapshot,
    href: Href<'a>,
    state: State<'a>,
    figures: Figures,
    spark: String,
    route: Option<Drawn<'a>>,
    last_round: Option<(Moment, String)>,
    events: Vec<Event>,
}

/// The last trace.
struct Drawn<'a> {
    trace: &'a Trace,
    verdict: String,
    confidence: String,
    stop_reason: String,
    /// SVG made here.
    picture: String,
    has_names: bool,
    has_systems: bool,
    has_labels: bool,
    hops: Vec<HopRow<'a>>,
}

struct HopRow<'a> {
    ttl: u8,
    sent: u32,
    received: u32,
    /// In words; empty where nothing was lost.
    loss: String,
    nodes: Vec<NodeRow<'a>>,
}

struct NodeRow<'a> {
    /// Who it is, over rounds.
    key: String,
    address: String,
    name: &'a str,
    asn: String,
    flows: u32,
    rtts: [String; 3],
    balancing: &'static str,
    mpls: String,
    remarks: String,
}

/// The page. `telemetry_path` is where the metrics are.
pub(in crate::web) fn target(snapshot: &Snapshot, telemetry_path: &str) -> String {
    let last_round = snapshot.last_round.as_ref();
    page(&Page {
        frame: Frame::new("../", telemetry_path),
        snapshot,
        href: Href(&snapshot.name),
        state: State::of(snapshot),
        figures: Figures::of(snapshot),
        spark: spark::history(&snapshot.history),
        route: Drawn::of(snapshot),
        last_round: last_round.map(|round| (Moment(round.started), milliseconds(round.duration))),
        events: events(&snapshot.changes),
    })
}

impl<'a> Drawn<'a> {
    fn of(snapshot: &'a Snapshot) -> Option<Self> {
        let report = api::report(snapshot)?;
        let trace = report.trace;
        let reason = trace.stop_reason.name().replace('_', " ");
        Some(Self {
            trace,
            verdict: render::verdict(trace),
            confidence: trace.route.confidence.map_or_else(|| NONE.to_owned(), percent),
            stop_reason: trace.detail.as_ref().map_or(reason.clone(), |detail| format!("{reason}: {detail}")),
            picture: render::svg_inline(&report),
            has_names: trace.annotations.has_names(),
            has_systems: trace.annotations.has_systems(),
            has_labels: trace.route.hops.iter().flat_map(|hop| &hop.nodes).any(|node| !node.mpls.is_empty()),
            hops: trace.route.hops.iter().map(|hop| HopRow::of(hop, trace)).collect(),
        })
    }

    /// Round-trip times, and what is lost, of the answers of the destination.
    fn arrivals(&self) -> String {
        let arrivals = &self.trace.route.arrivals;
        format!("{} of {}", arrivals.rtts.len(), arrivals.probes_sent)
    }
}

impl<'a> HopRow<'a> {
    fn of(hop: &Hop, trace: &'a Trace) -> Self {
        let ttl = hop.ttl.get();
        let row = |(place, node): (usize, &Node)| NodeRow::of(node, format!("{ttl} {place}"), ttl, trace);
        Self {
            ttl,
            sent: hop.probes_sent,
            received: hop.replies_received,
            loss: render::loss(hop).unwrap_or_default(),
            nodes: hop.nodes.iter().enumerate().map(row).collect(),
        }
    }
}

impl<'a> NodeRow<'a> {
    fn of(node: &Node, place: String, ttl: u8, trace: &'a Trace) -> Self {
        let (name, asn) = trace.annotations.of(node);
        let rtts = node.rtt.map(|rtt| [rtt.min, rtt.median, rtt.max].map(milliseconds));
        // Labels and balancing have columns of their own.
        let remarks: Vec<_> = render::standing(node).chain(render::oddities(node)).collect();
        Self {
            key: node.address.map_or(place, |address| format!("{ttl} {address}")),
            address: render::address(node),
            name: name.unwrap_or_default(),
            asn: asn.map(render::asn).unwrap_or_default(),
            flows: node.flows,
            rtts: rtts.unwrap_or_else(|| [NONE; 3].map(str::to_owned)),
            balancing: match node.balancing {
                Balancing::PerFlow => "per flow",
                Balancing::PerPacket => "per packet",
                Balancing::None => "none",
                Balancing::Unknown => NONE,
            },
            mpls: render::stack(&node.mpls),
            remarks: remarks.join(", "),
        }
    }
}
