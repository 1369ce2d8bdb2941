//! What routers and hosts answer: ICMP errors with their quotes and extensions, echo replies, TCP segments.
//!
//! Knows the bytes of answers (RFC 792, 4443, 4884, 4950, 9293). Must not know who answers when, nor whether
//! an answer gets through.

use std::net::IpAddr;

use super::{
    packet::{ICMP, ICMPV6, Packet, TCP, UDP, array, checksum, pseudo_header, put, sum},
    topology::{Attributes, Mpls},
};
use crate::flow::Family;

/// No IPv4 ICMP error is longer than this (RFC 1812 section 4.3.2.3).
const MAX_ERROR_V4: usize = 576;
/// No ICMPv6 error is longer than this (RFC 4443 section 2.4).
const MAX_ERROR_V6: usize = 1280;
/// The least bytes that are quoted before an extension (RFC 4884 section 3).
const EXTENDED_QUOTE: usize = 128;
/// The IPv6 header and eight bytes.
const MIN_QUOTE_V6: usize = 48;

/// The IP header of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Envelope {
    /// Who answers.
    pub(super) from: IpAddr,
    /// The host whose packet is answered, under its own address.
    pub(super) to: IpAddr,
    /// IPv4 identification.
    pub(super) id: u16,
    /// Time to live with which the answer arrives.
    pub(super) ttl: u8,
}

/// Why a packet came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its TTL ran out at a router.
    Expired,
    /// A router refuses to forward it, with this code.
    Unreachable(u8),
    /// It is where it was going.
    Arrived,
}

/// The answer of a node; `None` where the protocols answer nothing. `packet` is as it arrived at the node.
/// Tells also whether the answer is ICMP.
pub(super) fn answer(
    end: End,
    envelope: Envelope,
    node: &Attributes,
    packet: &mut Packet,
) -> Option<(Vec<u8>, bool)> {
    let v4 = packet.family() == Family::V4;
    let (kind, code) = match end {
        End::Expired => (if v4 { 11 } else { 3 }, 0),
        End::Unreachable(code) => (if v4 { 3 } else { 1 }, code),
        End::Arrived => match packet.protocol() {
            UDP => {
                if v4 {
                    (3, 3)
                } else {
                    (1, 4)
                }
            }
            TCP => return tcp_answer(envelope, node, packet.transport()).map(|bytes| (bytes, false)),
            ICMP if v4 => return echo_reply(envelope, 8, 0, packet.transport()).map(|bytes| (bytes, true)),
            ICMPV6 if !v4 => {
                return echo_reply(envelope, 128, 129, packet.transport()).map(|bytes| (bytes, true));
            }
            _ => return None,
        },
    };
    if packet.forbids_errors() {
        return None;
    }
    packet.restore_source(envelope.to);
    Some((icmp_error(envelope, kind, code, node, packet.bytes()), true))
}

fn icmp_error(envelope: Envelope, kind: u8, code: u8, node: &Attributes, packet: &[u8]) -> Vec<u8> {
    let v4 = envelope.from.is_ipv4();
    let extension = node.mpls.as_ref().map(extension).unwrap_or_default();
    let longest = if v4 { MAX_ERROR_V4 - 28 } else { MAX_ERROR_V6 - 48 } - extension.len();
    let wanted = node
        .quote
        .map_or(longest, |quote| if v4 { usize::from(quote) } else { usize::from(quote).max(MIN_QUOTE_V6) });
    // RFC 4884 section 5.1 and 5.2: with an extension the quote is padded to words of 32 or 64 bits, in which
    // its length is given.
    let word = if v4 { 4 } else { 8 };
    let legacy = node.mpls.as_ref().is_some_and(|mpls| mpls.legacy);
    let most = match (extension.is_empty(), legacy) {
        (true, _) => longest,
        (false, false) => longest - longest % word,
        (false, true) => EXTENDED_QUOTE,
    };
    let quote = packet.get(..wanted.min(most)).unwrap_or(packet);
    let padded = if extension.is_empty() {
        quote.len()
    } else {
        quote.len().next_multiple_of(word).max(EXTENDED_QUOTE)
    };
    let words = if extension.is_empty() || legacy { 0 } else { u8::try_from(padded / word).unwrap_or(0) };

    let protocol = if v4 { ICMP } else { ICMPV6 };
    let (mut bytes, start) = open(envelope, protocol, 8 + padded + extension.len());
    let rest = if v4 { [0, words, 0, 0] } else { [words, 0, 0, 0] };
    bytes.extend_from_slice(&[kind, code, 0, 0]);
    bytes.extend_from_slice(&rest);
    bytes.extend_from_slice(quote);
    bytes.resize(start + 8 + padded, 0);
    bytes.extend_from_slice(&extension);
    seal(envelope, protocol, bytes, start, 2)
}

/// An extension structure with one object, a label stack (RFC 4884 section 7, RFC 4950 section 3).
fn extension(mpls: &Mpls) -> Vec<u8> {
    let entries = mpls.labels.len();
    let length = u16::try_from(4 + 4 * entries).unwrap_or(u16::MAX);
    let mut bytes = vec![0x20, 0, 0, 0];
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&[1, 1]);
    for (index, label) in mpls.labels.iter().enumerate() {
        let bottom = u32::from(index + 1 == entries);
        // Traffic class 0, and TTL 1 as where it is the label's TTL that ran out.
        let entry = label << 12 | bottom << 8 | 1;
        bytes.extend_from_slice(&entry.to_be_bytes());
    }
    let value = checksum(sum(&bytes));
    put(&mut bytes, 2, &value.to_be_bytes());
    bytes
}

/// Identifier, sequence number and payload come back as they were sent (RFC 792, RFC 4443 section 4.2).
fn echo_reply(envelope: Envelope, request: u8, reply: u8, message: &[u8]) -> Option<Vec<u8>> {
    if message.len() < 8 || array(message, 0)? != [request, 0] {
        return None;
    }
    let protocol = if envelope.from.is_ipv4() { ICMP } else { ICMPV6 };
    let (mut bytes, start) = open(envelope, protocol, message.len());
    bytes.extend_from_slice(&[reply, 0, 0, 0]);
    bytes.extend_from_slice(message.get(4..)?);
    Some(seal(envelope, protocol, bytes, start, 2))
}

/// A closed port resets, an open one accepts (RFC 9293 section 3.10.7.1 and 3.10.7.2).
fn tcp_answer(envelope: Envelope, node: &Attributes, segment: &[u8]) -> Option<Vec<u8>> {
    const FIN: u8 = 1;
    const SYN: u8 = 2;
    const RST: u8 = 4;
    const ACK: u8 = 16;

    let [source, destination] = [0, 2].map(|place| array::<2>(segment, place).unwrap_or_default());
    let sequence = array(segment, 4).map(u32::from_be_bytes)?;
    let acknowledged = array(segment, 8).map(u32::from_be_bytes)?;
    let [offset, flags] = array(segment, 12)?;
    let data = segment.len().checked_sub(usize::from(offset >> 4) * 4)?;
    let controls = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
    let (sequence, acknowledgement, answer) = if flags & RST != 0 {
        return None;
    } else if flags & ACK != 0 {
        (acknowledged, 0, RST)
    } else if node.open && flags & SYN != 0 {
        // The initial sequence number is arbitrary; derived, so that a run can be repeated.
        (!sequence, sequence.wrapping_add(1), SYN | ACK)
    } else if node.open {
        return None;
    } else {
        let length = u32::try_from(data).ok()?.wrapping_add(controls);
        (0, sequence.wrapping_add(length), RST | ACK)
    };
    let (mut bytes, start) = open(envelope, TCP, 20);
    bytes.extend_from_slice(&destination);
    bytes.extend_from_slice(&source);
    bytes.extend_from_slice(&sequence.to_be_bytes());
    bytes.extend_from_slice(&acknowledgement.to_be_bytes());
    let window: u16 = if answer & SYN != 0 { 64_240 } else { 0 };
    bytes.extend_from_slice(&[5 << 4, answer]);
    bytes.extend_from_slice(&window.to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    Some(seal(envelope, TCP, bytes, start, 16))
}

/// A packet with its IP header, and where the transport header is to begin.
fn open(envelope: Envelope, protocol: u8, length: usize) -> (Vec<u8>, usize) {
    let mut bytes = Vec::with_capacity(40 + length);
    match (envelope.from, envelope.to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let total = u16::try_from(20 + length).unwrap_or(u16::MAX);
            bytes.extend_from_slice(&[0x45, 0]);
            bytes.extend_from_slice(&total.to_be_bytes());
            bytes.extend_from_slice(&envelope.id.to_be_bytes());
            bytes.extend_from_slice(&[0, 0, envelope.ttl, protocol, 0, 0]);
            bytes.extend_from_slice(&from.octets());
            bytes.extend_from_slice(&to.octets());
            let header = checksum(sum(&bytes));
            put(&mut bytes, 10, &header.to_be_bytes());
        }
        (from, to) => {
            let payload = u16::try_from(length).unwrap_or(u16::MAX);
            bytes.extend_from_slice(&[0x60, 0, 0, 0]);
            bytes.extend_from_slice(&payload.to_be_bytes());
            bytes.extend_from_slice(&[protocol, envelope.ttl]);
            for address in [from, to] {
                if let IpAddr::V6(address) = address {
                    bytes.extend_from_slice(&address.octets());
                }
            }
        }
    }
    let start = bytes.len();
    (bytes, start)
}

/// Fills in the transport checksum, which is `place` bytes behind `start`.
fn seal(envelope: Envelope, protocol: u8, mut bytes: Vec<u8>, start: usize, place: usize) -> Vec<u8> {
    let transport = bytes.get(start..).unwrap_or_default();
    let pseudo = if protocol == ICMP {
        0
    } else {
        pseudo_header(envelope.from, envelope.to, protocol, transport.len())
    };
    let value = checksum(pseudo + sum(transport));
    put(&mut bytes, start + place, &value.to_be_bytes());
    bytes
}
