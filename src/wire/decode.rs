//! Received bytes into messages.
//!
//! Knows which ICMP messages and TCP segments answer a probe, and what the answers of a destination hand back. What
//! ICMP errors quote, and what is appended to them, is read by `quote` and `extension`. Must not know who asked.

use std::net::{IpAddr, Ipv6Addr};

use super::{
    ACK, DecodeError, ICMP, Message, Quote, RST, SYN, TCP, extension,
    quote::{self, Ipv4},
    reader::Reader,
};
use crate::{
    flow::{Family, FlowId, Protocol},
    probe::ReplyKind,
};

/// Reads an IPv4 packet, from its IP header on, as a raw ICMP or TCP socket yields it: whole, and without trailing
/// bytes.
///
/// Checksums are not verified: the kernel has verified the IP header's, and those of segments that never left this
/// machine are not filled in. What identifies the probe protects itself.
///
/// # Errors
/// [`DecodeError::Irrelevant`] for what answers no probe, [`DecodeError::Malformed`] for what is cut short: an ICMP
/// error has to quote the IP header and eight bytes behind it.
pub fn decode_v4(packet: &[u8]) -> Result<Message, DecodeError> {
    let mut reader = Reader::new(packet);
    let header = Ipv4::read(&mut reader).ok_or(DecodeError::Malformed("IPv4 header"))?;
    let [from, to] = [header.source, header.destination].map(IpAddr::V4);
    match header.protocol {
        ICMP => icmp(from, Some(to), reader),
        TCP => segment(from, Some(to), reader),
        _ => Err(DecodeError::Irrelevant),
    }
}

/// Reads what a raw IPv6 socket yields, which is the message behind the IPv6 header; `from` is the address that the
/// socket tells. `protocol` is that of the socket: [`Protocol::Icmp`] for ICMPv6, where probes of all protocols are
/// answered, or [`Protocol::Tcp`].
///
/// # Errors
/// As [`decode_v4`]; all of UDP is irrelevant.
pub fn decode_v6(from: Ipv6Addr, message: &[u8], protocol: Protocol) -> Result<Message, DecodeError> {
    let reader = Reader::new(message);
    match protocol {
        Protocol::Icmp => icmp(from.into(), None, reader),
        Protocol::Tcp => segment(from.into(), None, reader),
        Protocol::Udp => Err(DecodeError::Irrelevant),
    }
}

/// An ICMP message (RFC 792) or ICMPv6 message (RFC 4443). Of `to` only IPv4 knows.
fn icmp(from: IpAddr, to: Option<IpAddr>, mut reader: Reader<'_>) -> Result<Message, DecodeError> {
    let family = Family::of(from);
    let malformed = DecodeError::Malformed("ICMP header");
    let [kind, code, _, _] = reader.array().ok_or(malformed)?;
    let [a, b, c, d] = reader.array().ok_or(malformed)?;
    let kind = match (family, kind, code) {
        (Family::V4, 0, 0) | (Family::V6, 129, 0) => {
            let [echo_id, ident] = [[a, b], [c, d]].map(u16::from_be_bytes);
            return Ok(echo_reply(from, to, echo_id, ident, reader));
        }
        // The other code is a time-out of reassembly.
        (Family::V4, 11, 0) | (Family::V6, 3, 0) => ReplyKind::TimeExceeded,
        (Family::V4, 3, code) | (Family::V6, 1, code) => ReplyKind::Unreachable { code },
        _ => return Err(DecodeError::Irrelevant),
    };
    // The length field of RFC 4884 section 4 counts words of 32 and 64 bits.
    let declared = match family {
        Family::V4 => usize::from(b) * 4,
        Family::V6 => usize::from(a) * 8,
    };
    let (datagram, mpls) = extension::divide(reader.rest(), declared);
    let quote = match family {
        Family::V4 => quote::read_v4(datagram)?,
        Family::V6 => quote::read_v6(datagram)?,
    };
    let kind = match (family, kind, quote.protocol) {
        // Only UDP has ports that answer so at the destination. To anything else it is the word of a firewall.
        (Family::V4, ReplyKind::Unreachable { code: 3 }, Protocol::Udp)
        | (Family::V6, ReplyKind::Unreachable { code: 4 }, Protocol::Udp) => ReplyKind::PortUnreachable,
        _ => kind,
    };
    Ok(Message { from, kind, quote, mpls })
}

/// An echo reply: identifier, sequence number and payload as sent, the checksum its own.
fn echo_reply(
    from: IpAddr,
    to: Option<IpAddr>,
    echo_id: u16,
    ident: u16,
    mut payload: Reader<'_>,
) -> Message {
    let quote =
        Quote { echo_id: Some(echo_id), tag: payload.u32(), ..answered(from, to, Protocol::Icmp, ident) };
    Message { from, kind: ReplyKind::EchoReply, quote, mpls: Vec::new() }
}

/// A TCP segment (RFC 9293): SYN-ACK and RST acknowledge the sequence number behind ours.
///
/// A RST that acknowledges nothing is irrelevant: section 3.10.7.1 has every RST to a SYN carry ACK, so it is for
/// another connection, and it tells nothing of the probe.
fn segment(from: IpAddr, to: Option<IpAddr>, mut reader: Reader<'_>) -> Result<Message, DecodeError> {
    let malformed = DecodeError::Malformed("TCP header");
    let [their_port, our_port, _, _] = reader.words().ok_or(malformed)?;
    let acknowledgement = reader.u32().ok_or(malformed)?;
    let [_, flags, ..]: [u8; 8] = reader.array().ok_or(malformed)?;
    let kind = match flags & (SYN | RST | ACK) {
        flags if flags == SYN | ACK => ReplyKind::SynAck,
        flags if flags == RST | ACK => ReplyKind::Reset,
        _ => return Err(DecodeError::Irrelevant),
    };
    let [a, b, c, d] = acknowledgement.wrapping_sub(1).to_be_bytes();
    let quote = Quote {
        flow: Some(FlowId(our_port)),
        destination_port: Some(their_port),
        tag: Some(u16::from_be_bytes([c, d]).into()),
        ..answered(from, to, Protocol::Tcp, u16::from_be_bytes([a, b]))
    };
    Ok(Message { from, kind, quote, mpls: Vec::new() })
}

/// What every answer of a destination tells: the probe went the other way.
const fn answered(from: IpAddr, to: Option<IpAddr>, protocol: Protocol, ident: u16) -> Quote {
    Quote {
        source: to,
        destination: from,
        protocol,
        ident,
        flow: None,
        destination_port: None,
        echo_id: None,
        checksum: None,
        tag: None,
        ttl: None,
    }
}
