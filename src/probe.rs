//! Probes and replies as plain values: what is asked and what was answered, without a byte of wire format.

use std::{fmt, net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::flow::{Family, FlowId, Protocol};

/// A time to live (IPv4) or hop limit (IPv6) of a probe: 1 to 255.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Ttl(u8);

impl Ttl {
    /// The first hop.
    pub const MIN: Self = Self(1);
    /// The largest value the header field holds.
    pub const MAX: Self = Self(255);

    /// The TTL of this value; `None` for 0, which no probe may carry.
    #[must_use]
    pub const fn new(value: u8) -> Option<Self> {
        if value == 0 { None } else { Some(Self(value)) }
    }

    /// The value, 1 to 255.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// The hop behind this one; stays at 255.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The hop before this one; `None` at 1.
    #[must_use]
    pub const fn previous(self) -> Option<Self> {
        Self::new(self.0 - 1)
    }

    /// The hop `count` behind this one; stays at 255.
    #[must_use]
    pub const fn plus(self, count: u8) -> Self {
        Self(self.0.saturating_add(count))
    }

    /// All TTLs from this one to `last`, both included.
    pub fn to(self, last: Self) -> impl DoubleEndedIterator<Item = Self> + Clone {
        (self.0..=last.0).map(Self)
    }
}

impl TryFrom<u8> for Ttl {
    type Error = &'static str;

    fn try_from(value: u8) -> Result<Self, Self::Error> {
        Self::new(value).ok_or("a TTL is 1 to 255")
    }
}

impl From<Ttl> for u8 {
    fn from(ttl: Ttl) -> Self {
        ttl.0
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one packet within one trace. Each retry has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeId(pub u32);

/// What all probes of a trace have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Our address, of the same family as `destination`.
    pub source: IpAddr,
    /// Where the trace leads.
    pub destination: IpAddr,
    /// The protocol of the probes.
    pub protocol: Protocol,
    /// Destination port (UDP, TCP); for ICMP the identifier is the process's own and this is unused.
    pub destination_port: u16,
    /// IPv4 type of service or IPv6 traffic class.
    pub tos: u8,
    /// Whether IPv4 probes forbid fragmentation; IPv6 routers never fragment.
    pub dont_fragment: bool,
    /// Bytes of zeros appended behind the bytes that carry the probe's identity.
    pub payload: u16,
}

impl Template {
    /// The family of the trace.
    #[must_use]
    pub const fn family(&self) -> Family {
        Family::of(self.destination)
    }
}

/// One packet to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Its name within the trace.
    pub id: ProbeId,
    /// The flow it belongs to.
    pub flow: FlowId,
    /// The hop it asks.
    pub ttl: Ttl,
}

/// What an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReplyKind {
    /// ICMP time exceeded in transit: a router on the way.
    TimeExceeded,
    /// ICMP port unreachable: the destination of a UDP probe.
    PortUnreachable,
    /// Any other destination unreachable, with its code in the code space of the family (RFC 792, RFC 1812
    /// section 5.2.7.1; RFC 4443 section 3.1).
    Unreachable {
        /// The ICMP code.
        code: u8,
    },
    /// An echo reply of the destination.
    EchoReply,
    /// A SYN-ACK of the destination: the port is open.
    SynAck,
    /// A RST of the destination: the port is closed.
    Reset,
}

impl ReplyKind {
    /// Whether this answer proves that the probe's flow reached the destination.
    #[must_use]
    pub const fn is_destination(self) -> bool {
        matches!(self, Self::PortUnreachable | Self::EchoReply | Self::SynAck | Self::Reset)
    }
}

/// What an ICMP destination-unreachable code means, in one word or two.
#[must_use]
pub const fn unreachable_meaning(family: Family, code: u8) -> &'static str {
    match (family, code) {
        (Family::V4, 0 | 6 | 11) => "network unreachable",
        (Family::V4, 1 | 5 | 7 | 8 | 12) => "host unreachable",
        (Family::V4, 2) => "protocol unreachable",
        (Family::V4, 3) | (Family::V6, 4) => "port unreachable",
        (Family::V4, 4) => "fragmentation needed",
        (Family::V4, 9 | 10 | 13) | (Family::V6, 1) => "administratively prohibited",
        (Family::V6, 0) => "no route to destination",
        (Family::V6, 2) => "beyond scope of source address",
        (Family::V6, 3) => "address unreachable",
        (Family::V6, 5) => "source address failed ingress policy",
        (Family::V6, 6) => "reject route",
        _ => "destination unreachable",
    }
}

/// One entry of an MPLS label stack as a router reported it (RFC 4950, RFC 3032).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MplsLabel {
    /// The label, 20 bits.
    pub label: u32,
    /// The traffic class (once "EXP"), 3 bits.
    pub traffic_class: u8,
    /// Whether this is the bottom of the stack.
    pub bottom: bool,
    /// The entry's time to live.
    pub ttl: u8,
}

/// The answer to one probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The probe that it answers.
    pub probe: ProbeId,
    /// Who answered.
    pub from: IpAddr,
    /// What the answer says.
    pub kind: ReplyKind,
    /// From sending the probe to the arrival of the reply in the kernel.
    pub rtt: Duration,
    /// Whether the quoted probe shows that a NAT rewrote it on its way.
    pub nat: bool,
    /// The label stack the probe arrived with, top first; empty where the router reports none.
    pub mpls: Vec<MplsLabel>,
}
