//! What an ICMP error quotes of the packet it answers.
//!
//! Knows the headers of our packets as routers give them back: cut after eight bytes, padded, and with lengths, TOS,
//! TTL and fragment fields altered, so that none of those steers the reading.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    DecodeError, ECHO_REQUEST, ECHO_REQUEST_V6, ICMP, ICMP_V6, IDENTIFIED, Quote, TCP, UDP, flow_of_checksum,
    reader::Reader,
};
use crate::flow::{FlowId, Protocol};

/// Reads the IPv4 packet that an ICMP error quotes.
///
/// # Errors
/// Malformed where fewer than eight bytes of transport header are quoted; irrelevant where we send no such packet.
pub(super) fn read_v4(datagram: &[u8]) -> Result<Quote, DecodeError> {
    let mut reader = Reader::new(datagram);
    let header = Ipv4::read(&mut reader).ok_or(DecodeError::Malformed("quoted IPv4 header"))?;
    let protocol = match header.protocol {
        UDP => Protocol::Udp,
        TCP => Protocol::Tcp,
        ICMP => Protocol::Icmp,
        _ => return Err(DecodeError::Irrelevant),
    };
    let network = Network {
        source: header.source.into(),
        destination: header.destination.into(),
        ttl: header.ttl,
        ident: Some(header.ident),
        echo_request: u16::from_be_bytes([ECHO_REQUEST, 0]),
    };
    transport(network, protocol, reader)
}

/// Reads the IPv6 packet that an ICMPv6 error quotes.
///
/// # Errors
/// As [`read_v4`].
pub(super) fn read_v6(datagram: &[u8]) -> Result<Quote, DecodeError> {
    let mut reader = Reader::new(datagram);
    let header = Ipv6::read(&mut reader).ok_or(DecodeError::Malformed("quoted IPv6 header"))?;
    let protocol = match skip_extension_headers(header.next, &mut reader)? {
        UDP => Protocol::Udp,
        TCP => Protocol::Tcp,
        ICMP_V6 => Protocol::Icmp,
        _ => return Err(DecodeError::Irrelevant),
    };
    let network = Network {
        source: header.source.into(),
        destination: header.destination.into(),
        ttl: header.hop_limit,
        ident: None,
        echo_request: u16::from_be_bytes([ECHO_REQUEST_V6, 0]),
    };
    transport(network, protocol, reader)
}

/// What the transport header needs to know of the quoted IP header.
#[derive(Clone, Copy)]
struct Network {
    source: IpAddr,
    destination: IpAddr,
    ttl: u8,
    /// The identification, which only IPv4 has.
    ident: Option<u16>,
    /// Type and code of our echo requests in this family.
    echo_request: u16,
}

/// The fields of an IPv4 header that can be relied on in a quote.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ipv4 {
    pub(super) ident: u16,
    pub(super) ttl: u8,
    pub(super) protocol: u8,
    pub(super) source: Ipv4Addr,
    pub(super) destination: Ipv4Addr,
}

impl Ipv4 {
    /// Reads the header and skips its options; `None` where it is cut short or of another version.
    ///
    /// The fragment offset is not looked at: in quotes of hosts that swap its bytes, "don't fragment" reads as an
    /// offset. A later fragment shows data where the ports should be, and so does not fit any packet sent.
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let [version_and_length, _tos] = reader.array()?;
        let _total_length = reader.u16()?;
        let ident = reader.u16()?;
        let [_, _, ttl, protocol, _, _] = reader.array()?;
        let [source, destination] = [reader.u32()?, reader.u32()?].map(Ipv4Addr::from_bits);
        let options = (usize::from(version_and_length & 0xf) * 4).checked_sub(20)?;
        reader.slice(options)?;
        let header = Self { ident, ttl, protocol, source, destination };
        (version_and_length >> 4 == 4).then_some(header)
    }
}

struct Ipv6 {
    next: u8,
    hop_limit: u8,
    source: Ipv6Addr,
    destination: Ipv6Addr,
}

impl Ipv6 {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let [version, ..]: [u8; 6] = reader.array()?;
        let [next, hop_limit] = reader.array()?;
        let [source, destination] = [reader.array::<16>()?, reader.array()?].map(Ipv6Addr::from);
        (version >> 4 == 6).then_some(Self { next, hop_limit, source, destination })
    }
}

/// Skips the extension headers that may stand between IPv6 and transport header (RFC 8200 section 4), whoever put
/// them in, and gives the protocol behind them.
fn skip_extension_headers(mut next: u8, reader: &mut Reader<'_>) -> Result<u8, DecodeError> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const DESTINATION_OPTIONS: u8 = 60;
    let malformed = DecodeError::Malformed("quoted IPv6 extension header");
    loop {
        match next {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => {
                let [following, units]: [u8; 2] = reader.array().ok_or(malformed)?;
                // Units of eight bytes behind the first eight, of which two are read.
                reader.slice(usize::from(units) * 8 + 6).ok_or(malformed)?;
                next = following;
            }
            FRAGMENT => {
                let [following, _, upper, lower, ..]: [u8; 8] = reader.array().ok_or(malformed)?;
                if u16::from_be_bytes([upper, lower]) >> 3 != 0 {
                    return Err(DecodeError::Irrelevant);
                }
                next = following;
            }
            protocol => return Ok(protocol),
        }
    }
}

/// Reads the quoted transport header and what follows it.
fn transport(network: Network, protocol: Protocol, mut reader: Reader<'_>) -> Result<Quote, DecodeError> {
    let short = DecodeError::Malformed("quoted transport header");
    let [first, second, third, fourth] = reader.words().ok_or(short)?;
    let blank = Quote {
        source: Some(network.source),
        destination: network.destination,
        protocol,
        ident: 0,
        flow: None,
        destination_port: None,
        echo_id: None,
        checksum: None,
        tag: None,
        ttl: Some(network.ttl),
    };
    match protocol {
        Protocol::Udp => Ok(Quote {
            flow: Some(FlowId(first)),
            destination_port: Some(second),
            // A shorter datagram has no tag: what follows it is padding.
            tag: if third < IDENTIFIED { None } else { tag(reader) },
            ident: network.ident.unwrap_or(fourth),
            checksum: Some(fourth),
            ..blank
        }),
        Protocol::Icmp if first == network.echo_request => Ok(Quote {
            flow: Some(flow_of_checksum(second)),
            checksum: Some(second),
            echo_id: Some(third),
            ident: fourth,
            tag: tag(reader),
            ..blank
        }),
        Protocol::Icmp => Err(DecodeError::Irrelevant),
        Protocol::Tcp => Ok(Quote {
            flow: Some(FlowId(first)),
            destination_port: Some(second),
            ident: third,
            tag: Some(u32::from(fourth)),
            checksum: segment_checksum(reader),
            ..blank
        }),
    }
}

/// The tag at the beginning of a quoted payload. A router that cut the datagram before it may have padded it with
/// zeros since (RFC 4884 section 3), so zeros are no tag.
fn tag(mut reader: Reader<'_>) -> Option<u32> {
    reader.u32().filter(|&tag| tag != 0)
}

/// The checksum behind acknowledgement number, flags and window of TCP; padding zeros are none, as with [`tag`].
fn segment_checksum(mut reader: Reader<'_>) -> Option<u16> {
    reader.slice(8)?;
    reader.u16().filter(|&checksum| checksum != 0)
}

#[cfg(test)]
mod tests;
