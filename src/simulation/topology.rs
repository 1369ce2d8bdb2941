//! Topologies: small text files that describe routers, links, faults and scripted changes.
//!
//! Knows the format and what it means as plain data. Must not know packets or addresses: a simulated network
//! and a laboratory of kernel routers are both built from it.
//!
//! Line based; `#` begins a comment. `a1..a16` names sixteen nodes wherever a list of nodes is allowed.
//!
//! ```text
//! source s                    the node that sends; default `s`
//! destination d e             the nodes that are traced; default `d`
//! s -> r1 -> a b delay=2ms    edges, many to many and in chains; one-way delay, default 100us
//! r1 -> c weight=8            unequal shares; weight 1 to 1000000, default 1
//! node a silent               attributes of a node, any number, see below
//! network loss=0.02 burst=3 duplicate=0.01 reorder=0.05:5ms
//! at 60s remove r1 -> a       scripted changes, at a time of the network's clock:
//! at 60s add r1 -> a weight=2
//! at 60s node a plain loss=0.1
//! at 60s network plain
//! at 60s rehash r1            the node gets another hash seed
//! repeat 2m                   every 2 minutes everything is as in the beginning, and the script begins anew
//! ```
//!
//! Attributes of a node are documented at the fields of [`Attributes`], faults of the network at those of
//! [`Faults`]. `plain` takes back whatever was set before it.

mod parser;
#[cfg(test)]
mod tests;
mod values;

use std::{str::FromStr, time::Duration};

use crate::time::Time;

/// One-way delay of a link that names none.
pub const DEFAULT_DELAY: Duration = Duration::from_micros(100);

/// A network as its file describes it. Nodes keep the order in which the file first mentions them.
#[derive(Clone, Debug, PartialEq)]
pub struct Topology {
    nodes: Vec<Node>,
    edges: Vec<Edge>,
    source: usize,
    destinations: Vec<usize>,
    faults: Faults,
    events: Vec<Event>,
    period: Option<Duration>,
}

impl Topology {
    /// All nodes, source and destinations included, in the order of their first mention.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// All edges in the order of the file. No two have the same ends.
    #[must_use]
    pub fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// The node that sends, as a place in [`nodes`](Self::nodes).
    #[must_use]
    pub fn source(&self) -> usize {
        self.source
    }

    /// The first destination, as a place in [`nodes`](Self::nodes).
    #[must_use]
    pub fn destination(&self) -> usize {
        self.destinations.first().copied().unwrap_or_default()
    }

    /// All destinations, at least one, as places in [`nodes`](Self::nodes).
    #[must_use]
    pub fn destinations(&self) -> &[usize] {
        &self.destinations
    }

    /// Faults of the network as a whole, before any event.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Scripted changes in order of time, those of the same time in the order of the file.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// After which time the network is as in the beginning and the script begins anew, above that of all events; `None` where it is
    /// played once.
    #[must_use]
    pub fn period(&self) -> Option<Duration> {
        self.period
    }

    /// The name of the node at this place; empty where there is none.
    #[must_use]
    pub fn name(&self, node: usize) -> &str {
        self.nodes.get(node).map_or("", |node| node.name.as_str())
    }

    /// The place of the node of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == name)
    }
}

impl FromStr for Topology {
    type Err = TopologyError;

    /// Reads a topology file.
    ///
    /// # Errors
    /// The first line that is wrong, with what is wrong and what is allowed.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parser::parse(text)
    }
}

/// What is wrong with a topology file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct TopologyError {
    /// Line of the file, counted from 1.
    pub line: usize,
    /// What is wrong and what is allowed, in one line.
    pub message: String,
}

/// A router or a host.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Letters, digits, `-` and `_`, beginning with a letter.
    pub name: String,
    /// What is special about it before any event.
    pub attributes: Attributes,
}

/// What is special about a node. The default is a router that forwards and answers everything.
#[derive(Clone, Debug, PartialEq)]
pub struct Attributes {
    /// `silent`: never answers, still forwards.
    pub silent: bool,
    /// `swallow`: drops everything it should forward, still answers expired packets.
    pub swallow: bool,
    /// `unreachable=CODE`: answers what it should forward with destination unreachable of this code, in the
    /// code space of the family.
    pub unreachable: Option<u8>,
    /// `half-silent=SHARE`: answers only this share of the packets that it should answer, 0 to 1.
    pub answers: f64,
    /// `loss=SHARE`: drops this share of what it should forward and of its own answers, 0 to 1.
    pub loss: f64,
    /// `balance=per-flow|per-packet|per-destination`: what its choice of the next hop depends on.
    pub balance: Balance,
    /// `rate=N burst=M`: token bucket on its ICMP answers.
    pub rate: Option<Rate>,
    /// `slow=DELAY`: delays its own answers by this much.
    pub slow: Duration,
    /// `quote=BYTES`: quotes at most so many bytes of the offending packet, counted from its IP header, at
    /// least 28, and in IPv6 at least 48. Without it as many as the RFCs allow (IPv4: 576 byte messages, IPv6: 1280).
    pub quote: Option<u16>,
    /// `mpls=LABEL,LABEL…` and `legacy`: the label stack that its ICMP errors report.
    pub mpls: Option<Mpls>,
    /// `nat`: rewrites the source address and transport checksum of what it forwards. On the way back quoted
    /// packets get their source address back, but not their transport checksum.
    pub nat: bool,
    /// `zero-ttl`: forwards packets that arrive with TTL 1 with TTL 0 instead of answering them.
    pub zero_ttl: bool,
    /// `open`: as destination, answers TCP SYN with SYN-ACK instead of RST.
    pub open: bool,
}

impl Default for Attributes {
    fn default() -> Self {
        Self {
            silent: false,
            swallow: false,
            unreachable: None,
            answers: 1.0,
            loss: 0.0,
            balance: Balance::default(),
            rate: None,
            slow: Duration::ZERO,
            quote: None,
            mpls: None,
            nat: false,
            zero_ttl: false,
            open: false,
        }
    }
}

/// What the choice among several next hops depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// Addresses, protocol, the first four transport bytes, and for IPv6 the flow label.
    #[default]
    PerFlow,
    /// Chance, anew for each packet.
    PerPacket,
    /// The destination address alone.
    PerDestination,
}

/// A token bucket: begins full, holds at most `burst` tokens, one answer takes one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Tokens a second; above 0.
    pub per_second: f64,
    /// Size of the bucket, at least 1; default 1.
    pub burst: u32,
}

/// A label stack in an ICMP extension (RFC 4884, RFC 4950).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mpls {
    /// Labels from the top of the stack to its bottom, 20 bits each; at least one.
    pub labels: Vec<u32>,
    /// `legacy`: the length field is 0 and the extension follows 128 bytes of quote (RFC 4884 section 5.5).
    pub legacy: bool,
}

/// A link, usable in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    /// The node that sends, as a place in [`Topology::nodes`].
    pub from: usize,
    /// The node that receives, as a place in [`Topology::nodes`].
    pub to: usize,
    /// Share of the sender's flows in proportion to its other edges, 1 to 1000000.
    pub weight: u32,
    /// One-way delay; answers take the same on their way back.
    pub delay: Duration,
}

/// Faults that befall all probes and replies, each direction by itself. The default is none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// `loss=SHARE`: share of the packets lost, 0 to 1.
    pub loss: f64,
    /// `burst=LENGTH`: mean number of packets lost in a row (Gilbert's model); without it each is lost by itself.
    pub burst: Option<f64>,
    /// `duplicate=SHARE`: share of the packets that arrive twice, 0 to 1.
    pub duplicate: f64,
    /// `reorder=SHARE:DELAY`: share of the packets that are late, 0 to 1.
    pub reorder: f64,
    /// How late those are.
    pub reorder_delay: Duration,
}

/// A scripted change.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When, on the clock of the network; packets that pass at this time already see it.
    pub at: Time,
    /// What changes.
    pub change: Change,
}

/// What a scripted change does.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A new edge.
    Add(Edge),
    /// An edge goes; it exists up to this time.
    Remove(Edge),
    /// A node behaves differently.
    Node {
        /// Its place in [`Topology::nodes`].
        node: usize,
        /// All its attributes after the change.
        attributes: Attributes,
    },
    /// The network's faults are these from now on.
    Network(Faults),
    /// The node at this place hashes with another seed.
    Rehash(usize),
}
