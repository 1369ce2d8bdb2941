//! What became of a route between two rounds, in the terms in which it is counted, told and kept.

use std::{fmt, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::{flow::FlowId, probe::Ttl};

/// What kind of change it is. Each has a counter of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// A node or link came or went, proved by flows that were there before.
    Path,
    /// Flows take another way that was known.
    FlowMove,
    /// Autonomous systems, or links of two, came or went with a path change.
    AsPath,
    /// The shortest or the longest path has another number of hops.
    Length,
    /// The destination, or the flows of a branch, cannot be reached any more, or can again.
    Reachability,
    /// The name means another address, or our own address is another: a new baseline.
    Address,
}

impl ChangeKind {
    /// The name in JSON and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::FlowMove => "flow_move",
            Self::AsPath => "as_path",
            Self::Length => "length",
            Self::Reachability => "reachability",
            Self::Address => "address",
        }
    }
}

/// A part of a route. Silent nodes have no identity over rounds and are no parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Part {
    /// A link, with the TTL of its nearer end.
    Link {
        /// The TTL of `from`.
        ttl: Ttl,
        /// The nearer end.
        from: IpAddr,
        /// The farther end.
        to: IpAddr,
    },
    /// A node at a TTL.
    Node {
        /// The TTL.
        ttl: Ttl,
        /// Its address.
        address: IpAddr,
    },
}

impl Part {
    /// How many of these are nodes, and how many links.
    #[must_use]
    pub fn counts(parts: &[Self]) -> [usize; 2] {
        let nodes = parts.iter().filter(|part| matches!(part, Self::Node { .. })).count();
        [nodes, parts.len() - nodes]
    }

    /// The TTL of a node, or of a link's nearer end.
    #[must_use]
    pub const fn ttl(&self) -> Ttl {
        match self {
            Self::Link { ttl, .. } | Self::Node { ttl, .. } => *ttl,
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link { ttl, from, to } => write!(f, "{ttl}:{from}>{to}"),
            Self::Node { ttl, address } => write!(f, "{ttl}:{address}"),
        }
    }
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The end of the round that found it, on the wall clock.
    pub at: jiff::Timestamp,
    /// Its kind.
    pub kind: ChangeKind,
    /// What came.
    pub came: Vec<Part>,
    /// What went.
    pub went: Vec<Part>,
    /// The flows that prove it.
    pub flows: Vec<FlowId>,
    /// What neither came nor went, so that the change can be drawn in its place: of the whole route, or of the hops around the change
    /// where that is too large. Known of the last path changes alone; empty otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stayed: Vec<Part>,
    /// What else there is to say, in a few words; empty where nothing is.
    pub detail: String,
}

impl Change {
    /// A change of which only the time is known.
    pub(crate) const fn at(at: jiff::Timestamp) -> Self {
        Self {
            at,
            kind: ChangeKind::Path,
            came: Vec::new(),
            went: Vec::new(),
            flows: Vec::new(),
            stayed: Vec::new(),
            detail: String::new(),
        }
    }

    /// Tells it in one line of the log.
    pub(crate) fn tell(&self, target: &str) {
        tracing::info!(
            target,
            kind = self.kind.name(),
            came = list(&self.came),
            went = list(&self.went),
            flows = list(&self.flows),
            detail = self.detail,
            "change"
        );
    }
}

/// Values in a row; the first few of many.
pub(crate) fn list<T: fmt::Display>(values: &[T]) -> String {
    const SHOWN: usize = 16;
    let mut text = values.iter().take(SHOWN).map(ToString::to_string).collect::<Vec<_>>().join(",");
    if values.len() > SHOWN {
        text.push_str(&format!(",… {} in all", values.len()));
    }
    text
}
