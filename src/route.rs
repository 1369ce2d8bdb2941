//! The route towards a target as plain data: hops, nodes, links, and the flows that were seen to take them.
//!
//! Knows how observations become a graph and what can be read off it (paths, diamonds, confidence); knows
//! nothing of packets, sockets or the time at which anything was sent.

mod builder;
mod cell;
mod count;
mod diamond;
mod evidence;
mod memory;
pub(crate) mod pinned;
mod stopping;
mod zone;

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

pub(crate) use self::stopping::stopping_points;
pub use self::{
    cell::{Answer, Cell, Met, OUT_OF_REACH, Past, Standing},
    count::Paths,
    diamond::Diamond,
    evidence::{Arrival, Evidence, FlowEnd},
    memory::answers_to_miss,
    stopping::{miss_probability, probes_to_rule_out},
};
use crate::{
    flow::FlowId,
    probe::{MplsLabel, Ttl},
};

/// Silent flows that are fewer than this part of what equal shares would give a node are no witnesses of one: replies were lost.
pub(crate) const SILENT_SHARE: usize = 8;

/// All nodes and links found towards a destination.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Route {
    /// The hops from the first TTL asked to the last at which a node is known, without a gap in the TTLs.
    pub hops: Vec<Hop>,
    /// The links, in the order of their TTL, then of their ends.
    pub links: Vec<Link>,
    /// What each flow met, in the order of their ids.
    pub flows: Vec<FlowPath>,
    /// Where the route divides and joins again, in the order of their TTL.
    pub diamonds: Vec<Diamond>,
    /// Paths on the graph and hop counts.
    pub paths: Paths,
    /// How many distinct ways flows were seen to take from the first hop to the destination.
    pub flow_paths: u32,
    /// Probes to where the destination is, and its answers.
    pub arrivals: Arrivals,
    /// Probability that no node or link is missing, as far as the probes sent support it; 0 to 1.
    /// `None` when nothing answered.
    pub confidence: Option<f64>,
}

/// How well the destination answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// Packets sent to where each flow met the destination; for a flow that did not meet it, to where it would be expected.
    pub probes_sent: u32,
    /// Round-trip times of the destination's answers.
    pub rtts: Vec<Duration>,
}

/// Everything at one TTL.
#[derive(Clone, Debug, PartialEq)]
pub struct Hop {
    /// The TTL.
    pub ttl: Ttl,
    /// Packets sent with this TTL, retries included, without those that went past the end of their flow.
    pub probes_sent: u32,
    /// Answers to them.
    pub replies_received: u32,
    /// Answering nodes by address, then silent nodes in the order of their predecessors.
    pub nodes: Vec<Node>,
}

/// A router (or the destination) at a hop.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its address; `None` for a node that forwards but never answers.
    pub address: Option<IpAddr>,
    /// Whether it answered as the destination.
    pub destination: bool,
    /// Answers received from it at this hop.
    pub replies: u32,
    /// Flows known to pass it at this hop.
    pub flows: u32,
    /// Round-trip times to it; `None` where it never answered.
    pub rtt: Option<RttSummary>,
    /// How it spreads what it forwards.
    pub balancing: Balancing,
    /// Whether it limits its answers so that some of ours went missing.
    pub rate_limited: bool,
    /// Whether what it quoted shows that a NAT rewrote the probe before it came here.
    pub nat: bool,
    /// The MPLS label stack it reported last.
    pub mpls: Vec<MplsLabel>,
}

/// Round-trip times: the fastest, the median and the slowest answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RttSummary {
    /// The fastest.
    pub min: Duration,
    /// The median; of an even number the lower of the two in the middle.
    pub median: Duration,
    /// The slowest.
    pub max: Duration,
}

impl RttSummary {
    /// Sums up round-trip times in any order; `None` for an empty list.
    #[must_use]
    pub fn of(mut rtts: Vec<Duration>) -> Option<Self> {
        rtts.sort_unstable();
        Some(Self { min: *rtts.first()?, median: *rtts.get((rtts.len() - 1) / 2)?, max: *rtts.last()? })
    }
}

/// How a node spreads what it forwards over its successors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Balancing {
    /// One successor, and enough flows asked to rule out a second at 95 %.
    None,
    /// Several successors; each flow keeps to one.
    PerFlow,
    /// Several successors for one flow.
    PerPacket,
    /// Not enough is known.
    Unknown,
}

impl Balancing {
    /// The name in JSON and metric labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::PerFlow => "per_flow",
            Self::PerPacket => "per_packet",
            Self::Unknown => "unknown",
        }
    }
}

/// Two nodes at consecutive TTLs that one flow passed in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// The TTL of `from`.
    pub ttl: Ttl,
    /// Index of the nearer node among the nodes of its hop.
    pub from: usize,
    /// Index of the farther node among the nodes of the next hop.
    pub to: usize,
    /// Flows seen to be answered at both its ends in turn. Inside a per-packet zone, where no flow has a path, that is chance.
    pub flows: u32,
    /// Whether it lies in a per-packet zone: one of the product of the nodes seen, whether any flow seemed to pass it or not.
    pub per_packet: bool,
}

/// What one flow met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowPath {
    /// The flow.
    pub id: FlowId,
    /// Whether the destination answered it; `None` where it was not followed that far.
    pub reached: Option<bool>,
    /// The hops at which it was asked, nearest first, up to its end.
    pub hops: Vec<FlowHop>,
}

/// One step of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowHop {
    /// The TTL asked.
    pub ttl: Ttl,
    /// Who answered; `None` where nobody did.
    pub address: Option<IpAddr>,
}

impl Route {
    /// The route that the evidence shows.
    #[must_use]
    pub fn build(evidence: &Evidence) -> Self {
        builder::build(evidence)
    }

    /// The hop at a TTL, if the route has it.
    #[must_use]
    pub fn hop(&self, ttl: Ttl) -> Option<&Hop> {
        let first = self.hops.first()?.ttl.get();
        self.hops.get(usize::from(ttl.get().checked_sub(first)?))
    }

    /// The two ends of a link.
    #[must_use]
    pub fn ends(&self, link: &Link) -> Option<(&Node, &Node)> {
        let from = self.hop(link.ttl)?.nodes.get(link.from)?;
        let to = self.hop(link.ttl.next())?.nodes.get(link.to)?;
        Some((from, to))
    }

    /// Nodes over all hops, silent ones included.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.hops.iter().map(|hop| hop.nodes.len()).sum()
    }

    /// Most nodes at one hop; 0 for an empty route.
    #[must_use]
    pub fn width(&self) -> usize {
        self.hops.iter().map(|hop| hop.nodes.len()).max().unwrap_or(0)
    }

    /// Whether any flow reached the destination.
    #[must_use]
    pub fn reached(&self) -> bool {
        self.flows.iter().any(|flow| flow.reached == Some(true))
    }

    /// The nodes at which paths end, by TTL and place in the hop: the destination, or the last answering nodes where none reached it.
    #[must_use]
    pub fn path_ends(&self) -> BTreeSet<(Ttl, usize)> {
        count::ends(self)
    }

    /// How many flows reached the destination.
    #[must_use]
    pub fn flows_reached(&self) -> usize {
        self.flows.iter().filter(|flow| flow.reached == Some(true)).count()
    }

    /// How many flows were followed to the destination, or to where they end without reaching it.
    #[must_use]
    pub fn flows_followed(&self) -> usize {
        self.flows.iter().filter(|flow| flow.reached.is_some()).count()
    }
}
