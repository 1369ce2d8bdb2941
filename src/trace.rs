//! The result of one trace: the route and how it was found.
//!
//! Plain data, immutable once made: what the store keeps and every view reads.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use crate::{
    annotations::Annotations,
    flow::{Family, Protocol},
    route::{Evidence, Route},
    strategy::Strategy,
};

/// One finished trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// Where it led.
    pub destination: IpAddr,
    /// Our own address.
    pub source: IpAddr,
    /// The protocol of its probes.
    pub protocol: Protocol,
    /// How its probes were chosen.
    pub strategy: Strategy,
    /// The confidence asked for, between 0 and 1.
    pub confidence: f64,
    /// From the first probe to the end.
    pub duration: Duration,
    /// Why it ended.
    pub stop_reason: StopReason,
    /// More about why it ended, in one line.
    pub detail: Option<String>,
    /// Whether it is known of every flow of earlier rounds what became of it; true where there was none.
    pub settled: bool,
    /// Every packet put on the wire, retries included.
    pub probes_sent: u32,
    /// Answers received to them.
    pub replies_received: u32,
    /// What was found.
    pub route: Route,
    /// The observations that it was found by; a monitor takes them over.
    pub evidence: Evidence,
    /// What is known of its addresses from elsewhere; nothing as it comes out of the tracer.
    pub annotations: Annotations,
}

impl Trace {
    /// The family of the trace.
    #[must_use]
    pub const fn family(&self) -> Family {
        Family::of(self.destination)
    }

    /// The addresses of its nodes.
    #[must_use]
    pub fn addresses(&self) -> BTreeSet<IpAddr> {
        self.route.hops.iter().flat_map(|hop| hop.nodes.iter().filter_map(|node| node.address)).collect()
    }
}

/// Why a trace ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StopReason {
    /// Everything that the strategy wanted to know was asked.
    Complete,
    /// A router said that it cannot or may not deliver.
    DestinationUnreachable,
    /// Too many hops in a row stayed silent.
    GapLimit,
    /// The bound on probes was met.
    ProbeLimit,
    /// The bound on time was met.
    TimeLimit,
    /// Probes went round in circles.
    Loop,
    /// The kernel refused to send.
    SendFailed,
}

impl StopReason {
    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::DestinationUnreachable => "destination_unreachable",
            Self::GapLimit => "gap_limit",
            Self::ProbeLimit => "probe_limit",
            Self::TimeLimit => "time_limit",
            Self::Loop => "loop",
            Self::SendFailed => "send_failed",
        }
    }
}
