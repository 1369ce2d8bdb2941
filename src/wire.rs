//! The only translator between probes and replies as values and as bytes on the wire: UDP, ICMP echo and TCP SYN
//! over IPv4 and IPv6.
//!
//! Knows packet formats and which header field carries which part of a probe's identity. Must not know sockets,
//! the clock, or which probes are under way: whose reply a message is, the caller finds out with [`Quote::compare`].

pub mod checksum;
mod decode;
mod encode;
mod extension;
mod quote;
mod reader;

use std::net::IpAddr;

pub use decode::{decode_v4, decode_v6};
pub use encode::encode;

use crate::{
    flow::{FlowId, Protocol},
    probe::{MplsLabel, ReplyKind},
};

/// Who a packet is: chosen by the sender for each packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Tells the packets under way to one destination apart: 1 to 0xfffe.
    ///
    /// The kernel replaces an IPv4 identification of 0, and 0 and 0xffff are the same number to the Internet
    /// checksum, so neither end of the range can be told apart from the other.
    pub ident: u16,
    /// Tells this process's packets from those of any other, so derived from a secret of the process. 0 is sent
    /// like any other but is not recognised in ICMP errors, where it looks like padding; TCP has room for the lower
    /// 16 bits only.
    pub tag: u32,
    /// The identifier of all ICMP echo requests of this process.
    pub echo_id: u16,
}

/// What a router will quote of a packet; kept by the sender until the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// The source address.
    pub source: IpAddr,
    /// The destination address.
    pub destination: IpAddr,
    /// The protocol.
    pub protocol: Protocol,
    /// The flow.
    pub flow: FlowId,
    /// The destination port; without meaning for ICMP.
    pub destination_port: u16,
    /// [`Identity::ident`]
    pub ident: u16,
    /// The transport checksum.
    pub checksum: u16,
    /// What the packet carries of [`Identity::tag`]: for TCP the lower 16 bits.
    pub tag: u32,
    /// The identifier; without meaning but for ICMP.
    pub echo_id: u16,
}

/// A received message that may be the answer to a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who sent it.
    pub from: IpAddr,
    /// What it says.
    pub kind: ReplyKind,
    /// What it tells of the probe it answers.
    pub quote: Quote,
    /// The label stack the probe arrived with, top first; empty where none was reported.
    pub mpls: Vec<MplsLabel>,
}

/// What a message tells of the probe it answers: for ICMP errors the quoted headers, for the answers of a
/// destination the fields that it hands back. `None` is what the message does not tell.
///
/// Look it up by `destination`, `protocol` and `ident`, then [`compare`](Self::compare).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quote {
    /// The probe's source address; unknown where an IPv6 destination answers.
    pub source: Option<IpAddr>,
    /// The probe's destination address.
    pub destination: IpAddr,
    /// The probe's protocol.
    pub protocol: Protocol,
    /// [`Identity::ident`]: for UDP the IPv4 identification or the IPv6 checksum, for ICMP the sequence number, for
    /// TCP the upper half of the sequence number.
    pub ident: u16,
    /// The flow; an echo reply does not tell it.
    pub flow: Option<FlowId>,
    /// The destination port (UDP, TCP).
    pub destination_port: Option<u16>,
    /// The identifier (ICMP).
    pub echo_id: Option<u16>,
    /// The transport checksum; answers of a destination do not tell it, and TCP's lies behind the eight bytes that
    /// every router quotes.
    pub checksum: Option<u16>,
    /// What was quoted of [`Identity::tag`]; for TCP its lower 16 bits.
    pub tag: Option<u32>,
    /// The TTL or hop limit that the probe arrived with. Ordinarily 1; 0 shows zero-TTL forwarding before the
    /// responder, more than 1 points to an MPLS tunnel. Answers of a destination do not tell it.
    pub ttl: Option<u8>,
}

/// Whose packet a quote shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The packet as it was sent.
    Ours,
    /// Proven ours by its tag, but rewritten on its way.
    Nat,
    /// Everything fits but the checksum, and no tag was quoted to prove it.
    Unproven {
        /// Quoted minus sent checksum in one's complement arithmetic. A NAT that rewrites the source in the same way
        /// for each packet of a flow yields the same difference for each; a stranger's packets do not.
        delta: u16,
    },
    /// Fits a probe of ours in all but the marks that nobody can guess.
    Forged,
    /// Another's packet, whose 16 bits of identity happen to be those of a probe of ours.
    Foreign,
}

impl Quote {
    /// Whether this is a quote of the packet `sent`.
    ///
    /// A router that quotes eight bytes of transport header quotes no tag of UDP and ICMP. Then the checksum
    /// (IPv4 UDP) or the identifier (ICMP) has to tell processes apart. For UDP over IPv6 nothing does: the checksum is
    /// the identity already, 16 bits that anyone can guess. So a quote without tag is not believed there; routers
    /// quote whole packets (RFC 4443 section 2.4 c).
    #[must_use]
    pub fn compare(&self, sent: &Fingerprint) -> Verdict {
        let key = (self.destination, self.protocol, self.ident);
        if key != (sent.destination, sent.protocol, sent.ident) {
            return Verdict::Foreign;
        }
        let rewritten = self.source.is_some_and(|source| source != sent.source)
            || self.destination_port.is_some_and(|port| port != sent.destination_port)
            || self.echo_id.is_some_and(|id| id != sent.echo_id)
            // The flow of ICMP is the checksum, which has its own rule below.
            || self.protocol != Protocol::Icmp && self.flow.is_some_and(|flow| flow != sent.flow);
        let delta = self.checksum.map(|quoted| checksum::difference(quoted, sent.checksum));
        match (self.tag, delta) {
            (Some(tag), _) if tag != sent.tag && !rewritten => Verdict::Forged,
            (Some(tag), _) if tag != sent.tag => Verdict::Foreign,
            (Some(_), None | Some(0)) if !rewritten => Verdict::Ours,
            (Some(_), _) => Verdict::Nat,
            (None, _) if rewritten => Verdict::Foreign,
            (None, _) if self.protocol == Protocol::Udp && self.destination.is_ipv6() => Verdict::Forged,
            (None, Some(0)) => Verdict::Ours,
            (None, Some(delta)) => Verdict::Unproven { delta },
            // An echo reply that does not bring our payload back: RFC 792 demands it, so it is no answer to us.
            (None, None) => Verdict::Forged,
        }
    }
}

/// Why a probe has no bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Source and destination are of different families.
    #[error("no packet leads from {from} to {to}: one is IPv4, the other IPv6")]
    FamilyMismatch {
        /// The template's source.
        from: IpAddr,
        /// The template's destination.
        to: IpAddr,
    },
    /// The payload makes the packet longer than the 65535 bytes an IP header can tell.
    #[error("a payload of {payload} bytes does not fit into an IP packet")]
    TooLong {
        /// The template's payload.
        payload: u16,
    },
    /// [`Identity::ident`] is 0 or 0xffff.
    #[error("{0} is outside the packet identities 1 to 65534")]
    Ident(u16),
}

/// Why received bytes are no [`Message`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Sound as far as read, but no answer to a probe: another type, or a quote of something we never send.
    #[error("no answer to a probe")]
    Irrelevant,
    /// Cut short or in contradiction to its format; names the part.
    #[error("malformed {0}")]
    Malformed(&'static str),
}

/// Protocol numbers (IANA).
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP_V6: u8 = 58;

/// ICMP types of our requests (RFC 792, RFC 4443 section 4.1).
const ECHO_REQUEST: u8 = 8;
const ECHO_REQUEST_V6: u8 = 128;

/// The least length of our UDP datagrams and ICMP messages: eight bytes of header, four of tag, two of tweak.
const IDENTIFIED: u16 = 14;

/// TCP flags (RFC 9293 section 3.1).
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// The checksum of the echo requests of `flow`: its number, but for the one number that no checksum can be.
const fn checksum_of_flow(flow: FlowId) -> u16 {
    if flow.0 == u16::MAX { 0 } else { flow.0 }
}

/// The flow of the echo requests with this checksum.
const fn flow_of_checksum(checksum: u16) -> FlowId {
    FlowId(if checksum == 0 { u16::MAX } else { checksum })
}

#[cfg(test)]
mod tests;
