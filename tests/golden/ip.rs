//! IP packets of a capture by their header.
//!
//! Knows where a header has what, by other code than the program's own.

use std::net::IpAddr;

use traceflow_exporter::{
    flow::{FlowId, Protocol},
    probe::ReplyKind,
    wire::{DecodeError, Fingerprint, Message, decode_v4, decode_v6},
};

/// A packet. IPv6 extension headers count as payload.
#[derive(Clone, Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) ttl: u8,
    /// The protocol number, or next header.
    pub(crate) protocol: u8,
    /// The IPv6 flow label; 0 for IPv4.
    pub(crate) label: u32,
    pub(crate) payload: &'a [u8],
    whole: &'a [u8],
}

impl<'a> Packet<'a> {
    /// `None` for an empty slice, which stands for a frame that holds no IP packet.
    pub(crate) fn new(whole: &'a [u8]) -> Option<Self> {
        let v4 = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&whole[at..at + 4]).unwrap());
        let v6 = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&whole[at..at + 16]).unwrap());
        let (source, destination, ttl, protocol, label, header) = match whole.first()? >> 4 {
            4 => (v4(12), v4(16), whole[8], whole[9], 0, usize::from(whole[0] & 0xf) * 4),
            _ => (v6(8), v6(24), whole[7], whole[6], number(&whole[1..4]) & 0xf_ffff, 40),
        };
        Some(Self { source, destination, ttl, protocol, label, payload: &whole[header..], whole })
    }

    /// What the program makes of it when it comes from a raw socket; `None` where no raw socket of its yields it.
    pub(crate) fn decode(&self) -> Option<Result<Message, DecodeError>> {
        match (self.source, self.protocol) {
            (IpAddr::V4(_), 1 | 6) => Some(decode_v4(self.whole)),
            (IpAddr::V6(from), 58) => Some(decode_v6(from, self.payload, Protocol::Icmp)),
            (IpAddr::V6(from), 6) => Some(decode_v6(from, self.payload, Protocol::Tcp)),
            _ => None,
        }
    }

    /// The protocol, where this is a probe: a UDP datagram, an echo request or a SYN.
    pub(crate) fn probe(&self) -> Option<Protocol> {
        match (self.protocol, self.payload.first()?) {
            (17, _) => Some(Protocol::Udp),
            (1, 8) | (58, 128) => Some(Protocol::Icmp),
            (6, _) if self.payload.get(13)? & 0x3f == 0x02 => Some(Protocol::Tcp),
            _ => None,
        }
    }

    /// What the program, had it sent this probe, would remember of it.
    pub(crate) fn fingerprint(&self) -> Option<Fingerprint> {
        let protocol = self.probe()?;
        let field = |at: usize| u16::try_from(number(self.payload.get(at..at + 2)?)).ok();
        let (ident, checksum, tag) = match protocol {
            Protocol::Udp if self.source.is_ipv4() => {
                (u16::try_from(number(&self.whole[4..6])).ok()?, field(6)?, 8..12)
            }
            Protocol::Udp => (field(6)?, field(6)?, 8..12),
            Protocol::Icmp => (field(6)?, field(2)?, 8..12),
            Protocol::Tcp => (field(4)?, field(16)?, 6..8),
        };
        Some(Fingerprint {
            source: self.source,
            destination: self.destination,
            protocol,
            flow: FlowId(field(if protocol == Protocol::Icmp { 2 } else { 0 })?),
            destination_port: field(2)?,
            ident,
            checksum,
            tag: number(self.payload.get(tag)?),
            echo_id: field(4)?,
        })
    }
}

/// The golden text of one packet: what the program makes of it, absent fields left out.
pub(crate) fn describe(packet: &Packet<'_>) -> String {
    let message = match packet.decode() {
        None => return format!("from={} not read", packet.source),
        Some(Err(error)) => return format!("from={} {error}", packet.source),
        Some(Ok(message)) => message,
    };
    let Message { from, kind, quote, mpls } = message;
    let kind = match kind {
        ReplyKind::TimeExceeded => "time-exceeded".to_owned(),
        ReplyKind::PortUnreachable => "port-unreachable".to_owned(),
        ReplyKind::Unreachable { code } => format!("unreachable/{code}"),
        ReplyKind::EchoReply => "echo-reply".to_owned(),
        ReplyKind::SynAck => "syn-ack".to_owned(),
        ReplyKind::Reset => "reset".to_owned(),
    };
    let labels: Vec<_> = mpls
        .iter()
        .map(|label| {
            format!("{}/{}/{}/{}", label.label, label.traffic_class, u8::from(label.bottom), label.ttl)
        })
        .collect();
    let mut line = format!("from={from} kind={kind} protocol={}", quote.protocol);
    for (key, value) in [
        ("source", quote.source.map(|source| source.to_string())),
        ("destination", Some(quote.destination.to_string())),
        ("ident", Some(format!("{:#06x}", quote.ident))),
        ("flow", quote.flow.map(|flow| flow.to_string())),
        ("port", quote.destination_port.map(|port| port.to_string())),
        ("echo-id", quote.echo_id.map(|id| format!("{id:#06x}"))),
        ("checksum", quote.checksum.map(|checksum| format!("{checksum:#06x}"))),
        ("tag", quote.tag.map(|tag| format!("{tag:#010x}"))),
        ("ttl", quote.ttl.map(|ttl| ttl.to_string())),
        ("mpls", (!labels.is_empty()).then(|| labels.join(","))),
    ] {
        if let Some(value) = value {
            line = format!("{line} {key}={value}");
        }
    }
    line
}

/// A number of up to four bytes in network order.
pub(crate) fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}
