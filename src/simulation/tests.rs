//! Tests of the network as a whole. Probes are built and answers read with etherparse, as a third opinion on
//! the bytes.

mod answers;
mod balancing;
mod faults;
mod routes;

use std::{net::IpAddr, time::Duration};

use etherparse::{
    IpFragOffset, IpHeaders, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, NetSlice, PacketBuilder,
    SlicedPacket, TcpHeader, TransportSlice, checksum::Sum16BitWords,
};

use super::{Delivery, Network, Topology};
use crate::{
    flow::{Family, Protocol},
    time::Time,
};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
/// A time at which everything has arrived.
const LATE: Time = Time::from_nanos(u64::MAX);

fn topology(text: &str) -> Topology {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}

/// A topology of tests/topologies.
pub(crate) fn file(name: &str) -> Topology {
    let path = format!("{}/tests/topologies/{name}.topo", env!("CARGO_MANIFEST_DIR"));
    topology(&std::fs::read_to_string(path).unwrap())
}

fn network(text: &str, family: Family) -> Network {
    Network::new(&topology(text), family, 1)
}

fn seconds(seconds: f64) -> Time {
    Time::ZERO + Duration::from_secs_f64(seconds)
}

/// A probe and what can be chosen about it.
#[derive(Clone, Debug)]
struct Probe {
    protocol: Protocol,
    destination: IpAddr,
    /// Source port, or sequence number of an echo request.
    port: u16,
    ttl: u8,
    label: u32,
    payload: Vec<u8>,
}

impl Probe {
    fn udp(network: &Network, port: u16, ttl: u8) -> Self {
        let destination = network.destination();
        Self { protocol: Protocol::Udp, destination, port, ttl, label: 7, payload: vec![0xAB; 12] }
    }

    fn bytes(&self, network: &Network) -> Vec<u8> {
        let header = match (network.source(), self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let (source, destination) = (source.octets(), destination.octets());
                let mut header = Ipv4Header::new(0, self.ttl, IpNumber(0), source, destination).unwrap();
                header.identification = 0x1234;
                IpHeaders::Ipv4(header, Default::default())
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => IpHeaders::Ipv6(
                Ipv6Header {
                    hop_limit: self.ttl,
                    flow_label: Ipv6FlowLabel::try_new(self.label).unwrap(),
                    source: source.octets(),
                    destination: destination.octets(),
                    ..Default::default()
                },
                Default::default(),
            ),
            mixed => panic!("{mixed:?}"),
        };
        let builder = PacketBuilder::ip(header);
        let mut bytes = Vec::new();
        match self.protocol {
            Protocol::Udp => builder.udp(self.port, 33_452).write(&mut bytes, &self.payload),
            Protocol::Tcp => {
                builder.tcp(self.port, 33_452, 1_000_000, 1024).syn().write(&mut bytes, &self.payload)
            }
            Protocol::Icmp if self.destination.is_ipv4() => {
                builder.icmpv4_echo_request(77, self.port).write(&mut bytes, &self.payload)
            }
            Protocol::Icmp => builder.icmpv6_echo_request(77, self.port).write(&mut bytes, &self.payload),
        }
        .unwrap();
        bytes
    }
}

/// Sends a probe and waits for all that comes back.
fn ask(network: &mut Network, at: Time, probe: &Probe) -> Vec<Delivery> {
    let bytes = probe.bytes(network);
    network.send(at, &bytes);
    drain(network)
}

fn drain(network: &mut Network) -> Vec<Delivery> {
    std::iter::from_fn(|| network.poll_delivery(LATE)).collect()
}

/// Who answers a UDP probe, by name; empty where nobody does.
fn who(network: &mut Network, at: Time, port: u16, ttl: u8) -> String {
    let probe = Probe::udp(network, port, ttl);
    let deliveries = ask(network, at, &probe);
    let from = deliveries.first().map(|delivery| read(&delivery.packet).from);
    from.map(|from| network.name(from).unwrap().to_owned()).unwrap_or_default()
}

/// An answer, all of its checksums verified.
#[derive(Clone, Debug, PartialEq)]
struct Answer {
    from: IpAddr,
    to: IpAddr,
    ttl: u8,
    message: Message,
}

#[derive(Clone, Debug, PartialEq)]
enum Message {
    Icmp { kind: u8, code: u8, rest: [u8; 4], body: Vec<u8> },
    Tcp(Box<TcpHeader>),
}

impl Answer {
    fn icmp(&self) -> (u8, u8, [u8; 4], &[u8]) {
        match &self.message {
            Message::Icmp { kind, code, rest, body } => (*kind, *code, *rest, body),
            Message::Tcp(_) => panic!("{self:?} is no ICMP"),
        }
    }

    /// The quoted packet: TTL, source address, transport bytes. Its IPv4 header checksum is verified.
    fn quoted(&self) -> (u8, IpAddr, &[u8]) {
        let (.., body) = self.icmp();
        match self.from {
            IpAddr::V4(_) => {
                let (header, rest) = Ipv4Header::from_slice(body).unwrap();
                assert_eq!(header.header_checksum, header.calc_header_checksum(), "quoted header");
                (header.time_to_live, header.source.into(), rest)
            }
            IpAddr::V6(_) => {
                let (header, rest) = Ipv6Header::from_slice(body).unwrap();
                (header.hop_limit, header.source.into(), rest)
            }
        }
    }
}

fn read(packet: &[u8]) -> Answer {
    let sliced = SlicedPacket::from_ip(packet).unwrap();
    let (from, to, ttl, sum) = match sliced.net.as_ref().unwrap() {
        NetSlice::Ipv4(slice) => {
            let header = slice.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum(), "header checksum");
            assert_eq!(usize::from(header.total_len), packet.len());
            assert_eq!(header.fragment_offset, IpFragOffset::ZERO);
            let sum = Sum16BitWords::new().add_4bytes(header.source).add_4bytes(header.destination);
            (header.source.into(), header.destination.into(), header.time_to_live, sum)
        }
        NetSlice::Ipv6(slice) => {
            let header = slice.header().to_header();
            assert_eq!(usize::from(header.payload_length) + 40, packet.len());
            let sum = Sum16BitWords::new().add_16bytes(header.source).add_16bytes(header.destination);
            (header.source.into(), header.destination.into(), header.hop_limit, sum)
        }
        NetSlice::Arp(_) => panic!("ARP"),
    };
    let valid = |mut sum: Sum16BitWords, number: u8, slice: &[u8]| {
        let length = u16::try_from(slice.len()).unwrap();
        sum = sum.add_2bytes([0, number]).add_2bytes(length.to_be_bytes()).add_slice(slice);
        assert_eq!(sum.ones_complement(), 0, "transport checksum");
    };
    let message = match sliced.transport.unwrap() {
        TransportSlice::Icmpv4(slice) => {
            assert_eq!(Sum16BitWords::new().add_slice(slice.slice()).ones_complement(), 0, "ICMP checksum");
            let body = slice.slice()[8..].to_vec();
            Message::Icmp { kind: slice.type_u8(), code: slice.code_u8(), rest: slice.bytes5to8(), body }
        }
        TransportSlice::Icmpv6(slice) => {
            valid(sum, 58, slice.slice());
            let body = slice.slice()[8..].to_vec();
            Message::Icmp { kind: slice.type_u8(), code: slice.code_u8(), rest: slice.bytes5to8(), body }
        }
        TransportSlice::Tcp(slice) => {
            valid(sum, 6, slice.slice());
            Message::Tcp(Box::new(slice.to_header()))
        }
        other => panic!("{other:?}"),
    };
    Answer { from, to, ttl, message }
}
