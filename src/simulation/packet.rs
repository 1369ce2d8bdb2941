//! IP packets as routers and hosts see them: the fields they look at and the few that they rewrite.
//!
//! Knows IPv4 (RFC 791), IPv6 without extension headers (RFC 8200) and the checksums of UDP, TCP and ICMP.
//! Must not know what a probe is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::flow::{Family, mix};

/// Protocol numbers of the IP header.
pub(super) const ICMP: u8 = 1;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ICMPV6: u8 = 58;

/// What the source host puts in the place of an IPv4 identification of 0, so that nobody relies on sending it.
const IDENTIFICATION: [u8; 2] = [0x5E, 0x1F];

/// A whole packet of one family, with the places of what is in it.
#[derive(Clone, Debug)]
pub(super) struct Packet {
    bytes: Vec<u8>,
    family: Family,
    /// Where the transport header begins.
    transport: usize,
    protocol: u8,
    source: IpAddr,
    destination: IpAddr,
}

impl Packet {
    /// A place to [`load`](Self::load) packets into.
    pub(super) fn empty(family: Family) -> Self {
        let unspecified = match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Self {
            bytes: Vec::new(),
            family,
            transport: 0,
            protocol: 0,
            source: unspecified,
            destination: unspecified,
        }
    }

    /// Takes over the bytes as a host does that is handed a packet by a raw socket: for IPv4 it fills in total
    /// length, header checksum and an identification where that is 0 (Linux, raw(7)); IPv6 is taken as it is. `None` where they are no packet of
    /// this family or their lengths do not fit.
    pub(super) fn load(&mut self, bytes: &[u8]) -> Option<()> {
        self.bytes.clear();
        self.bytes.extend_from_slice(bytes);
        let first = *bytes.first()?;
        match (self.family, first >> 4) {
            (Family::V4, 4) => {
                self.transport = usize::from(first & 0xF) * 4;
                if self.transport < 20 || bytes.len() < self.transport {
                    return None;
                }
                let length = u16::try_from(bytes.len()).ok()?;
                put(&mut self.bytes, 2, &length.to_be_bytes());
                if array(bytes, 4)? == [0, 0] {
                    put(&mut self.bytes, 4, &IDENTIFICATION);
                }
                self.protocol = *bytes.get(9)?;
                self.source = IpAddr::V4(Ipv4Addr::from(array::<4>(bytes, 12)?));
                self.destination = IpAddr::V4(Ipv4Addr::from(array::<4>(bytes, 16)?));
                self.set_ttl(*bytes.get(8)?);
            }
            (Family::V6, 6) => {
                self.transport = 40;
                if usize::from(u16::from_be_bytes(array(bytes, 4)?)) + 40 != bytes.len() {
                    return None;
                }
                self.protocol = *bytes.get(6)?;
                self.source = IpAddr::V6(Ipv6Addr::from(array::<16>(bytes, 8)?));
                self.destination = IpAddr::V6(Ipv6Addr::from(array::<16>(bytes, 24)?));
            }
            _ => return None,
        }
        Some(())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn family(&self) -> Family {
        self.family
    }

    pub(super) fn protocol(&self) -> u8 {
        self.protocol
    }

    pub(super) fn source(&self) -> IpAddr {
        self.source
    }

    pub(super) fn destination(&self) -> IpAddr {
        self.destination
    }

    /// Transport header and payload.
    pub(super) fn transport(&self) -> &[u8] {
        self.bytes.get(self.transport..).unwrap_or_default()
    }

    /// Time to live or hop limit.
    pub(super) fn ttl(&self) -> u8 {
        let place = if self.family == Family::V4 { 8 } else { 7 };
        self.bytes.get(place).copied().unwrap_or_default()
    }

    /// Sets time to live or hop limit, and the IPv4 header checksum with it.
    pub(super) fn set_ttl(&mut self, ttl: u8) {
        match self.family {
            Family::V4 => {
                put(&mut self.bytes, 8, &[ttl]);
                self.seal_header();
            }
            Family::V6 => put(&mut self.bytes, 7, &[ttl]),
        }
    }

    /// What balancers per flow hash: addresses, protocol, the first four transport bytes, the IPv6 flow label.
    pub(super) fn flow_key(&self) -> u64 {
        let ports = array::<4>(self.transport(), 0).map_or(0, u32::from_be_bytes);
        let label = match self.family {
            Family::V4 => 0,
            Family::V6 => array::<4>(&self.bytes, 0).map_or(0, u32::from_be_bytes) & 0xF_FFFF,
        };
        let key = mix(u64::from(ports) << 32 | u64::from(label) << 8 | u64::from(self.protocol));
        let key = mix(key ^ address_key(self.source));
        mix(key ^ address_key(self.destination).rotate_left(32))
    }

    /// Whether this is a fragment other than the first, or an ICMP error: no ICMP error is sent about either
    /// (RFC 1122 section 3.2.2, RFC 4443 section 2.4).
    pub(super) fn forbids_errors(&self) -> bool {
        let kind = self.transport().first().copied().unwrap_or_default();
        match (self.family, self.protocol) {
            (Family::V4, protocol) => {
                let fragment = array::<2>(&self.bytes, 6).map_or(0, u16::from_be_bytes) & 0x1FFF;
                fragment != 0 || (protocol == ICMP && matches!(kind, 3 | 4 | 5 | 11 | 12))
            }
            (Family::V6, ICMPV6) => kind < 128,
            (Family::V6, _) => false,
        }
    }

    /// Whether the receiver would accept the transport checksum. IPv4 allows UDP to have none (RFC 768), IPv6
    /// does not (RFC 8200 section 8.1).
    pub(super) fn has_valid_checksum(&self) -> bool {
        let Some(place) = self.checksum_place() else {
            return true;
        };
        match array::<2>(self.transport(), place) {
            None => false,
            Some([0, 0]) if self.protocol == UDP => self.family == Family::V4,
            Some(_) => {
                let pseudo = if self.covers_addresses() {
                    pseudo_header(self.source, self.destination, self.protocol, self.transport().len())
                } else {
                    0
                };
                checksum(pseudo + sum(self.transport())) == 0
            }
        }
    }

    /// Rewrites the source address as a NAT does, and the transport checksum by the difference (RFC 3022
    /// section 4.2, RFC 1624): what was wrong before stays wrong.
    pub(super) fn rewrite_source(&mut self, source: IpAddr) {
        let old = address_sum(self.source);
        self.write_source(source);
        self.source = source;
        if !self.covers_addresses() {
            return;
        }
        let Some(place) = self.checksum_place().map(|place| place + self.transport) else {
            return;
        };
        match array::<2>(&self.bytes, place).map(u16::from_be_bytes) {
            None => {}
            Some(0) if self.protocol == UDP => {}
            Some(before) => {
                let difference = u64::from(!before) + u64::from(!fold(old)) + address_sum(source);
                let after = match checksum(difference) {
                    0 if self.protocol == UDP => 0xFFFF,
                    after => after,
                };
                put(&mut self.bytes, place, &after.to_be_bytes());
            }
        }
    }

    /// Rewrites the source address alone, as a NAT does on the way back with the packet that an ICMP error
    /// quotes: the transport checksum stays as it was rewritten on the way out.
    pub(super) fn restore_source(&mut self, source: IpAddr) {
        self.write_source(source);
        self.source = source;
    }

    fn write_source(&mut self, source: IpAddr) {
        match source {
            IpAddr::V4(source) => {
                put(&mut self.bytes, 12, &source.octets());
                self.seal_header();
            }
            IpAddr::V6(source) => put(&mut self.bytes, 8, &source.octets()),
        }
    }

    fn seal_header(&mut self) {
        put(&mut self.bytes, 10, &[0, 0]);
        let header = checksum(sum(self.bytes.get(..self.transport).unwrap_or_default()));
        put(&mut self.bytes, 10, &header.to_be_bytes());
    }

    /// Where in the transport header the checksum is.
    fn checksum_place(&self) -> Option<usize> {
        match self.protocol {
            UDP => Some(6),
            TCP => Some(16),
            ICMP | ICMPV6 => Some(2),
            _ => None,
        }
    }

    /// Whether the transport checksum covers the pseudo header.
    fn covers_addresses(&self) -> bool {
        self.protocol != ICMP
    }
}

/// Mixed bits of an address; the same for the same address in every network.
pub(super) fn address_key(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => mix(u64::from(address.to_bits())),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            let [high, low] =
                [bits >> 64, bits & u128::from(u64::MAX)].map(|half| u64::try_from(half).unwrap_or(0));
            mix(mix(high) ^ low)
        }
    }
}

/// Sum of the bytes as 16-bit words in network order, an odd last byte padded with zero (RFC 1071), not folded.
pub(super) fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<2>();
    let last = rest.first().map_or(0, |&byte| u64::from(byte) << 8);
    words.iter().map(|&word| u64::from(u16::from_be_bytes(word))).sum::<u64>() + last
}

/// The checksum that belongs to a sum.
pub(super) fn checksum(sum: u64) -> u16 {
    !fold(sum)
}

/// Sum over the pseudo header (RFC 793, RFC 8200 section 8.1).
pub(super) fn pseudo_header(source: IpAddr, destination: IpAddr, protocol: u8, length: usize) -> u64 {
    // A packet is at most 65575 bytes long, so its length always fits.
    let length = u64::try_from(length).unwrap_or(0);
    address_sum(source) + address_sum(destination) + u64::from(protocol) + (length >> 16) + (length & 0xFFFF)
}

fn address_sum(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => sum(&address.octets()),
        IpAddr::V6(address) => sum(&address.octets()),
    }
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xFFFF {
        sum = (sum >> 16) + (sum & 0xFFFF);
    }
    u16::try_from(sum).unwrap_or(0)
}

/// The `N` bytes at this place.
pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Overwrites the bytes at this place; does nothing where they do not fit.
pub(super) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.get_mut(..value.len())) {
        place.copy_from_slice(value);
    }
}
