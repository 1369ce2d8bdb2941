//! Probes into bytes.
//!
//! Knows in which header field each part of a probe's identity travels, and why there. Must not know how a reply
//! is read.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    ECHO_REQUEST, ECHO_REQUEST_V6, EncodeError, Fingerprint, ICMP, ICMP_V6, IDENTIFIED, Identity, SYN, TCP,
    UDP, checksum::Sum, checksum_of_flow,
};
use crate::{
    flow::{Family, FlowId, Protocol, mix},
    probe::{Template, Ttl},
};

/// TCP: a header without options.
const SEGMENT: u16 = 20;
/// What Linux offers on an Ethernet.
const WINDOW: u16 = 64_240;

/// Writes the probe of `flow` to hop `ttl` as a whole IP packet, IP header included, into `buffer`, whose content
/// is replaced. All packets of a trace are of the same length.
///
/// What routers hash is constant over the TTLs and identities of a flow: addresses, protocol, the first four bytes
/// behind the IP header, and the IPv6 flow label. The flow is the source port of UDP and TCP and the checksum of
/// ICMP. No ICMP packet can have the checksum 0xffff, so ICMP flow 65535 has checksum 0 and flow 0 is the same flow.
///
/// TCP probes carry no data: [`Template::payload`] applies to UDP and ICMP.
///
/// # Errors
/// Where `identity.ident` is out of range, the template's addresses are of different families, or its payload is too
/// long. The buffer is then empty or incomplete.
pub fn encode(
    template: &Template,
    flow: FlowId,
    ttl: Ttl,
    identity: Identity,
    buffer: &mut Vec<u8>,
) -> Result<Fingerprint, EncodeError> {
    buffer.clear();
    if matches!(identity.ident, 0 | u16::MAX) {
        return Err(EncodeError::Ident(identity.ident));
    }
    let protocol = template.protocol;
    let payload = if protocol == Protocol::Tcp { 0 } else { template.payload };
    let too_long = EncodeError::TooLong { payload };
    let header = if protocol == Protocol::Tcp { SEGMENT } else { IDENTIFIED };
    let length = header.checked_add(payload).ok_or(too_long)?;
    match (template.source, template.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let total = length.checked_add(20).ok_or(too_long)?;
            ipv4_header(template, [source, destination], total, ttl, identity.ident, buffer);
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            ipv6_header(template, [source, destination], length, ttl, flow, buffer);
        }
        (from, to) => return Err(EncodeError::FamilyMismatch { from, to }),
    }
    let checksum = match protocol {
        Protocol::Udp => datagram(template, length, flow, identity, buffer),
        Protocol::Icmp => echo_request(template, length, flow, identity, buffer),
        Protocol::Tcp => segment(template, length, flow, identity, buffer),
    };
    buffer.resize(buffer.len() + usize::from(payload), 0);
    Ok(Fingerprint {
        source: template.source,
        destination: template.destination,
        protocol,
        flow,
        destination_port: template.destination_port,
        ident: identity.ident,
        checksum,
        tag: if protocol == Protocol::Tcp { identity.tag & 0xffff } else { identity.tag },
        echo_id: identity.echo_id,
    })
}

/// A UDP header, tag and tweak; gives the checksum.
fn datagram(t: &Template, length: u16, flow: FlowId, identity: Identity, buffer: &mut Vec<u8>) -> u16 {
    let checksum = match t.family() {
        // IPv4 quotes bring back the identification, which leaves the checksum as a second witness: it follows from
        // the tag, so that the packets of two processes differ in the eight bytes that every router quotes.
        Family::V4 => witness(identity.tag),
        // IPv6 has no identification, so here the checksum itself is the identity.
        Family::V6 => identity.ident,
    };
    let before = [flow.0, t.destination_port, length];
    let tag = halves(identity.tag);
    let sum = Sum::pseudo_header(t.source, t.destination, UDP, length).words(before).words(tag);
    put(buffer, before);
    put(buffer, [checksum]);
    put(buffer, tag);
    put(buffer, [sum.tweak(checksum)]);
    checksum
}

/// An ICMP or ICMPv6 header, tag and tweak; gives the checksum.
fn echo_request(t: &Template, length: u16, flow: FlowId, identity: Identity, buffer: &mut Vec<u8>) -> u16 {
    let (kind, sum) = match t.family() {
        Family::V4 => (ECHO_REQUEST, Sum::default()),
        Family::V6 => (ECHO_REQUEST_V6, Sum::pseudo_header(t.source, t.destination, ICMP_V6, length)),
    };
    let kind = u16::from_be_bytes([kind, 0]);
    // Routers hash type, code and checksum. So the checksum is the flow, and the tweak compensates for the sequence
    // number, which changes with each packet.
    let checksum = checksum_of_flow(flow);
    let behind = [identity.echo_id, identity.ident];
    let tag = halves(identity.tag);
    let sum = sum.words([kind]).words(behind).words(tag);
    put(buffer, [kind, checksum]);
    put(buffer, behind);
    put(buffer, tag);
    put(buffer, [sum.tweak(checksum)]);
    checksum
}

/// A TCP SYN; gives the checksum.
fn segment(t: &Template, length: u16, flow: FlowId, identity: Identity, buffer: &mut Vec<u8>) -> u16 {
    let ports = [flow.0, t.destination_port];
    // The sequence number is ours to choose, lies within the eight bytes that every router quotes, and comes back
    // with the destination's answer.
    let [_, tag] = halves(identity.tag);
    let sequence = [identity.ident, tag];
    let acknowledgement = [0, 0];
    let state = [u16::from_be_bytes([0x50, SYN]), WINDOW];
    let urgent = 0;
    let before = || [ports, sequence, acknowledgement, state].into_iter().flatten();
    let checksum = Sum::pseudo_header(t.source, t.destination, TCP, length).words(before()).checksum();
    put(buffer, before());
    put(buffer, [checksum, urgent]);
    checksum
}

/// RFC 791.
fn ipv4_header(
    t: &Template,
    addresses: [Ipv4Addr; 2],
    total_length: u16,
    ttl: Ttl,
    ident: u16,
    buffer: &mut Vec<u8>,
) {
    let number = match t.protocol {
        Protocol::Udp => UDP,
        Protocol::Icmp => ICMP,
        Protocol::Tcp => TCP,
    };
    let fragment = if t.dont_fragment { 0x4000 } else { 0 };
    let before = [
        u16::from_be_bytes([0x45, t.tos]),
        total_length,
        ident,
        fragment,
        u16::from_be_bytes([ttl.get(), number]),
    ];
    let addresses = addresses.map(|address| halves(address.to_bits()));
    let sum = Sum::default().words(before).words(addresses.into_iter().flatten());
    put(buffer, before);
    put(buffer, [sum.checksum()]);
    put(buffer, addresses.into_iter().flatten());
}

/// RFC 8200 section 3.
fn ipv6_header(
    t: &Template,
    addresses: [Ipv6Addr; 2],
    payload_length: u16,
    ttl: Ttl,
    flow: FlowId,
    buffer: &mut Vec<u8>,
) {
    let number = match t.protocol {
        Protocol::Udp => UDP,
        Protocol::Icmp => ICMP_V6,
        Protocol::Tcp => TCP,
    };
    put(buffer, halves((6 << 28) | (u32::from(t.tos) << 20) | flow.label()));
    put(buffer, [payload_length, u16::from_be_bytes([number, ttl.get()])]);
    put(buffer, addresses.into_iter().flat_map(|address| address.segments()));
}

/// The checksum of the IPv4 UDP packets with this tag. Never 0, which would mean that there is none (RFC 768), nor
/// 0xffff, which is the same number.
fn witness(tag: u32) -> u16 {
    let [upper, lower, ..] = mix(u64::from(tag)).to_be_bytes();
    u16::from_be_bytes([upper, lower]).clamp(1, 0xfffe)
}

const fn halves(word: u32) -> [u16; 2] {
    let [a, b, c, d] = word.to_be_bytes();
    [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]
}

fn put(buffer: &mut Vec<u8>, words: impl IntoIterator<Item = u16>) {
    buffer.extend(words.into_iter().flat_map(u16::to_be_bytes));
}
