//! What must hold for any input, however hostile: one function a fuzz target, which panics where it does not hold.
//!
//! Knows the public interface of the decoder and the parsers, and the offsets of plain headers to hold answers against.
//! The fuzz targets call these functions; `tests/corpora.rs` replays the corpora through them without a fuzzer.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use traceflow_exporter::{
    config::{Config, Module},
    flow::{Family, FlowId, Protocol},
    probe::{MplsLabel, ReplyKind, Template, Ttl},
    request,
    simulation::topology::{Change, Topology},
    time::Time,
    wire::{self, DecodeError, Fingerprint, Identity, Message, Verdict, checksum},
};

/// A check of one input.
pub type Check = fn(&[u8]);

/// All checks by the name of their fuzz target, which is that of their corpus.
pub const ALL: [(&str, Check); 6] = [
    ("decode_v4", decode_v4),
    ("decode_v6", decode_v6),
    ("quote", quote),
    ("extension", extension),
    ("config", config),
    ("topology", topology),
];

/// An IPv4 packet as a raw socket yields it.
///
/// # Panics
/// Where the message contradicts itself or the packet.
pub fn decode_v4(packet: &[u8]) {
    let Ok(message) = wire::decode_v4(packet) else { return };
    let from = packet.get(12..16).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
    assert_eq!(from.map(IpAddr::from), Some(message.from));
    check_message(&message);
}

/// A message as a raw ICMPv6 or TCP socket yields it.
///
/// # Panics
/// Where the message contradicts itself or its sender.
pub fn decode_v6(bytes: &[u8]) {
    for protocol in Protocol::ALL {
        let Ok(message) = wire::decode_v6(ROUTER_V6, bytes, protocol) else { continue };
        assert_ne!(protocol, Protocol::Udp, "nothing that a UDP socket reads answers a probe");
        assert_eq!(message.from, IpAddr::from(ROUTER_V6));
        check_message(&message);
    }
}

/// An ICMP error that quotes a damaged probe of ours, compared with the probe: its first bytes choose the probe and how much
/// of it is quoted, the rest is what the damage adds to the quote (exclusive or).
///
/// # Panics
/// Where damage that routers do costs the reply, or a probe is recognised in spite of damage to what names it.
pub fn quote(input: &[u8]) {
    let Some((&choice, damage)) = input.split_first_chunk::<11>() else { return };
    let [kind, a, b, c, d, e, f, g, h, cut, ttl] = choice;
    let family = if kind & 1 == 0 { Family::V4 } else { Family::V6 };
    let protocol = Protocol::ALL.get(usize::from(kind >> 1)).copied();
    let (Some(protocol), Some(ttl)) = (protocol, Ttl::new(ttl)) else { return };
    let ident = u16::from_be_bytes([a, b]);
    let flow = FlowId(u16::from_be_bytes([c, d]));
    let identity = Identity { ident, tag: u32::from_be_bytes([e, f, g, h]), echo_id: ident.rotate_left(5) };
    let mut packet = Vec::new();
    let Ok(sent) = wire::encode(&template(family, protocol), flow, ttl, identity, &mut packet) else {
        return;
    };
    let pristine = packet.clone();
    for (byte, damage) in packet.iter_mut().zip(damage) {
        *byte ^= damage;
    }
    packet.truncate(usize::from(cut));
    let Ok(message) = decode_error(family, &packet, 0) else {
        return assert!(!is_tolerable(family, &pristine, &packet), "a sound quote is refused: {packet:02x?}");
    };
    check_message(&message);
    let verdict = message.quote.compare(&sent);
    if is_tolerable(family, &pristine, &packet) {
        assert_eq!(verdict, Verdict::Ours, "{packet:02x?} quotes {pristine:02x?}");
    }
    if verdict == Verdict::Ours {
        assert_names_the_probe(family, protocol, &pristine, &packet);
    }
}

/// What follows 128 bytes of quote in an ICMP error.
///
/// # Panics
/// Where an extension costs the reply, or is not read the same at all places where it may be.
pub fn extension(extension: &[u8]) {
    let read = |family, declared| {
        let identity = Identity { ident: 0x1234, tag: 0xdead_beef, echo_id: 0 };
        let mut packet = Vec::new();
        let template = template(family, Protocol::Udp);
        let sent = wire::encode(&template, FlowId(40_000), Ttl::MIN, identity, &mut packet);
        packet.resize(128, 0);
        packet.extend(extension);
        let message = decode_error(family, &packet, declared);
        let (Ok(sent), Ok(message)) = (sent, message) else { panic!("an extension costs the reply") };
        check_message(&message);
        assert_eq!(message.quote.compare(&sent), Verdict::Ours);
        message.mpls
    };
    let labels = read(Family::V4, 128);
    for (family, declared) in [(Family::V4, 0), (Family::V6, 128), (Family::V6, 0)] {
        assert_eq!(read(family, declared), labels, "{family:?}, {declared} bytes declared");
    }
    let version_2 = extension.first().is_some_and(|first| first >> 4 == 2);
    // Header, object header, and four bytes a label.
    assert!(labels.is_empty() || version_2 && extension.len() >= 8 + 4 * labels.len());
}

/// A configuration file.
///
/// # Panics
/// Where an error is no line that leads to its place, or what is accepted breaks its own promises.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let config = match Config::parse("FILE", text) {
        Ok(config) => config,
        Err(error) => {
            let line = error.to_string();
            let place = line.strip_prefix("FILE:").and_then(|rest| rest.split_once(": "));
            let place = place.and_then(|(place, _)| place.split_once(':'));
            let [row, column] = place
                .map(|(row, column)| [row, column].map(str::parse::<usize>))
                .unwrap_or_else(|| panic!("no place: {line}"));
            // YAML ends lines at more characters than one.
            let rows = text.chars().filter(|c| "\n\r\u{85}\u{2028}\u{2029}".contains(*c)).count() + 1;
            assert!(row.is_ok_and(|row| (1..=rows + 1).contains(&row)), "{line}");
            assert!(column.is_ok_and(|column| column >= 1), "{line}");
            return assert!(!line.contains(char::is_control), "{line:?}");
        }
    };
    let names: BTreeSet<_> = config.targets.iter().map(|target| target.name.to_string()).collect();
    assert_eq!(names.len(), config.targets.len(), "names are unique");
    for module in config.targets.iter().map(|target| &target.module) {
        assert!(module.first_ttl <= module.max_ttl);
        assert!(u32::from(module.flows) + u32::from(module.source_port) <= 1 << 16);
    }
}

/// A topology file.
///
/// # Panics
/// Where an error is no line that leads to its place, or what is accepted breaks its own promises.
pub fn topology(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let topology: Topology = match text.parse() {
        Ok(topology) => topology,
        Err(error) => {
            assert!((1..=text.lines().count().max(1)).contains(&error.line), "{error}");
            return assert!(!error.message.contains('\n'), "{error}");
        }
    };
    let nodes = topology.nodes().len();
    let names: BTreeSet<_> = topology.nodes().iter().map(|node| &node.name).collect();
    assert_eq!(names.len(), nodes, "names are unique");
    let ends: BTreeSet<_> = topology.edges().iter().map(|edge| (edge.from, edge.to)).collect();
    assert_eq!(ends.len(), topology.edges().len(), "edges are unique");
    assert!(!topology.destinations().is_empty());
    let is_node = |node: usize| node < nodes;
    assert!(is_node(topology.source()) && topology.destinations().iter().copied().all(is_node));
    let changes = topology.events().iter().map(|event| &event.change);
    let changed = changes.filter_map(|change| match change {
        Change::Add(edge) | Change::Remove(edge) => Some(*edge),
        _ => None,
    });
    for edge in topology.edges().iter().copied().chain(changed) {
        assert!(is_node(edge.from) && is_node(edge.to) && edge.from != edge.to && edge.weight >= 1);
    }
    assert!(topology.events().is_sorted_by_key(|event| event.at));
    if let Some(period) = topology.period() {
        assert!(topology.events().last().is_some_and(|event| event.at.since(Time::ZERO) < period));
    }
}

const ROUTER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9);

fn template(family: Family, protocol: Protocol) -> Template {
    let [source, destination] = match family {
        Family::V4 => [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 7)].map(IpAddr::from),
        Family::V6 => [1, 7].map(|end| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, end)).map(IpAddr::from),
    };
    request::template(&Module { protocol, ..Module::default() }, source, destination)
}

/// Decodes a time exceeded with this body, of which `declared` bytes are said to be quote.
fn decode_error(family: Family, body: &[u8], declared: u8) -> Result<Message, DecodeError> {
    match family {
        Family::V4 => {
            let ip = [0x45, 0, 0, 0, 0, 7, 0, 0, 63, 1, 0, 0, 203, 0, 113, 9, 192, 0, 2, 1];
            wire::decode_v4(&[&ip[..], &[11, 0, 0, 0, 0, declared / 4, 0, 0], body].concat())
        }
        Family::V6 => wire::decode_v6(
            ROUTER_V6,
            &[&[3, 0, 0, 0, declared / 8, 0, 0, 0][..], body].concat(),
            Protocol::Icmp,
        ),
    }
}

/// What holds for any message.
fn check_message(message: &Message) {
    let Message { from, kind, quote, mpls } = message;
    let family = Family::of(*from);
    let fits = |address: &IpAddr| Family::of(*address) == family;
    assert!(fits(&quote.destination) && quote.source.as_ref().is_none_or(fits), "{message:?}");
    assert_eq!(quote.destination_port.is_some(), quote.protocol != Protocol::Icmp, "{message:?}");
    assert_eq!(quote.echo_id.is_some(), quote.protocol == Protocol::Icmp, "{message:?}");
    let answering = match kind {
        ReplyKind::TimeExceeded | ReplyKind::Unreachable { .. } => None,
        ReplyKind::PortUnreachable => {
            assert_eq!(quote.protocol, Protocol::Udp);
            None
        }
        ReplyKind::EchoReply => Some(Protocol::Icmp),
        ReplyKind::SynAck | ReplyKind::Reset => Some(Protocol::Tcp),
    };
    match answering {
        None => {
            assert!(quote.source.is_some() && quote.flow.is_some() && quote.ttl.is_some(), "{message:?}");
            assert!(quote.checksum.is_some() || quote.protocol == Protocol::Tcp, "{message:?}");
        }
        Some(protocol) => {
            assert_eq!((quote.protocol, quote.destination), (protocol, *from));
            assert_eq!((quote.ttl, quote.checksum), (None, None), "{message:?}");
            assert!(mpls.is_empty(), "{message:?}");
        }
    }
    let fits = |&MplsLabel { label, traffic_class, .. }: &MplsLabel| label < 1 << 20 && traffic_class < 8;
    assert!(mpls.len() <= 32 && mpls.iter().all(fits), "{message:?}");
    check_comparison(message);
}

/// The packet that the message tells of is its own; any other is not.
fn check_comparison(message: &Message) {
    let quote = message.quote;
    let source = quote.source.unwrap_or(quote.destination);
    let own = Fingerprint {
        source,
        destination: quote.destination,
        protocol: quote.protocol,
        flow: quote.flow.unwrap_or(FlowId(0)),
        destination_port: quote.destination_port.unwrap_or(0),
        ident: quote.ident,
        checksum: quote.checksum.unwrap_or(0),
        tag: quote.tag.unwrap_or(0),
        echo_id: quote.echo_id.unwrap_or(0),
    };
    // Over IPv6 the checksum of UDP is the key that led here, and proves nothing more.
    let is_key = quote.protocol == Protocol::Udp && quote.destination.is_ipv6();
    let proven = quote.tag.is_some() || (quote.checksum.is_some() && !is_key);
    assert_eq!(quote.compare(&own), if proven { Verdict::Ours } else { Verdict::Forged }, "{message:?}");
    let elsewhere: IpAddr = match source {
        IpAddr::V4(_) => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv4Addr::LOCALHOST.into(),
    };
    let others = [
        Fingerprint { ident: own.ident ^ 1, ..own },
        Fingerprint { destination: elsewhere, ..own },
        Fingerprint {
            protocol: if own.protocol == Protocol::Udp { Protocol::Tcp } else { Protocol::Udp },
            ..own
        },
    ];
    if quote.tag.is_some() {
        let forged = Fingerprint { tag: own.tag ^ 1, ..own };
        assert_eq!(quote.compare(&forged), Verdict::Forged, "{message:?} {forged:?}");
    }
    for other in others {
        assert_eq!(quote.compare(&other), Verdict::Foreign, "{message:?} {other:?}");
    }
}

const fn ip_header(family: Family) -> usize {
    match family {
        Family::V4 => 20,
        Family::V6 => 40,
    }
}

/// Whether this is the packet with no more changed than what routers change, and with eight bytes behind its IP header.
fn is_tolerable(family: Family, sent: &[u8], quoted: &[u8]) -> bool {
    let changed = |place: &usize| sent.get(*place) != quoted.get(*place);
    // Type of service, lengths, fragment field, TTL, header checksum; traffic class and flow label.
    let altered: &[usize] = match family {
        Family::V4 => &[1, 2, 3, 6, 7, 8, 10, 11],
        Family::V6 => &[1, 2, 3, 4, 5, 7],
    };
    quoted.len() >= ip_header(family) + 8
        && (0..quoted.len()).filter(changed).all(|place| altered.contains(&place))
}

/// Where a quoted packet was recognised, the fields that name it are those of the packet sent.
fn assert_names_the_probe(family: Family, protocol: Protocol, sent: &[u8], quoted: &[u8]) {
    let header = ip_header(family);
    let (next, plain) = match family {
        Family::V4 => (9, 0x45),
        Family::V6 => (6, 0x60),
    };
    // Options and extension headers move the transport header; those need a reader, not offsets.
    let first = quoted.first().copied().unwrap_or_default();
    let is_plain = if family == Family::V4 { first == plain } else { first & 0xf0 == plain };
    if !is_plain || quoted.get(next) != sent.get(next) {
        return;
    }
    let addresses = header - if family == Family::V4 { 8 } else { 32 }..header;
    let mut named = vec![addresses];
    if family == Family::V4 && protocol == Protocol::Udp {
        named.push(4..6);
    }
    let checksum = match protocol {
        Protocol::Udp => {
            named.push(header..header + 4);
            Some(header + 6)
        }
        Protocol::Icmp => {
            named.extend([header..header + 2, header + 4..header + 8]);
            Some(header + 2)
        }
        Protocol::Tcp => {
            named.push(header..header + 8);
            None
        }
    };
    for field in named {
        assert_eq!(quoted.get(field.clone()), sent.get(field), "{quoted:02x?} quotes {sent:02x?}");
    }
    // 0 and 0xffff are one checksum.
    let word = |packet: &[u8], place| {
        packet
            .get(place..place + 2)
            .map_or(0, |bytes| bytes.iter().fold(0, |word, byte| word << 8 | u16::from(*byte)))
    };
    if let Some(place) = checksum {
        assert_eq!(
            checksum::difference(word(quoted, place), word(sent, place)),
            0,
            "{quoted:02x?} quotes {sent:02x?}"
        );
    }
}
