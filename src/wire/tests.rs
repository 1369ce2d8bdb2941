mod properties;

use std::net::Ipv6Addr;

use super::*;
use crate::{
    flow::Family,
    probe::{Template, Ttl},
};

/// Bytes from hexadecimal digits; anything else is skipped.
pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap()).collect()
}

/// An ICMP error as a raw socket yields it: for IPv4 with an IP header, for IPv6 without.
fn error(family: Family, [kind, code, length]: [u8; 3], body: &[u8]) -> Vec<u8> {
    match family {
        Family::V4 => {
            // From 203.0.113.9 to 192.0.2.1.
            let mut packet = hex("45000000 0007 0000 3f01 0000 cb007109 c0000201");
            packet.extend([kind, code, 0, 0, 0, length, 0, 0]);
            packet.extend(body);
            packet
        }
        Family::V6 => [&[kind, code, 0, 0, length, 0, 0, 0], body].concat(),
    }
}

const ROUTER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9);

fn time_exceeded(family: Family, body: &[u8]) -> Vec<u8> {
    let kind = if family == Family::V4 { 11 } else { 3 };
    error(family, [kind, 0, 0], body)
}

fn decode(family: Family, bytes: &[u8]) -> Result<Message, DecodeError> {
    match family {
        Family::V4 => decode_v4(bytes),
        Family::V6 => decode_v6(ROUTER_V6, bytes, Protocol::Icmp),
    }
}

const HEADER: fn(Family) -> usize = |family| if family == Family::V4 { 20 } else { 40 };

fn template(family: Family, protocol: Protocol) -> Template {
    let [source, destination] = match family {
        Family::V4 => ["192.0.2.1", "198.51.100.7"],
        Family::V6 => ["2001:db8::1", "2001:db8:ffff::7"],
    }
    .map(|address| address.parse().unwrap());
    let destination_port = 33_452;
    Template { source, destination, protocol, destination_port, tos: 8, dont_fragment: true, payload: 4 }
}

const IDENTITY: Identity = Identity { ident: 0x1234, tag: 0xdead_beef, echo_id: 0x0456 };

fn encoded(template: &Template, flow: u16, ttl: u8, identity: Identity) -> (Vec<u8>, Fingerprint) {
    let mut buffer = vec![0xaa; 3];
    let sent = encode(template, FlowId(flow), Ttl::new(ttl).unwrap(), identity, &mut buffer).unwrap();
    (buffer, sent)
}

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

fn kinds() -> impl Iterator<Item = (Family, Protocol)> {
    FAMILIES.into_iter().flat_map(|family| Protocol::ALL.map(|protocol| (family, protocol)))
}

#[test]
fn golden_packets() {
    // Computed by a second implementation, which finds the tweaks by trying all of them.
    let v6 = "20010db8000000000000000000000001 20010db8ffff00000000000000000007";
    let golden = [
        "45080026123440000511774f c0000201 c6336407  9c4082ac 00124adf deadbeef 0c24 00000000".to_owned(),
        "45080026123440000501775f c0000201 c6336407  08009c40 04561234 deadbeef a797 00000000".to_owned(),
        "450800281234400005067758 c0000201 c6336407  9c4082ac 1234beef 00000000 5002faf0 d8a40000".to_owned(),
        format!("608fa3dc 0012 1105 {v6}  9c4082ac 00121234 deadbeef d591 00000000"),
        format!("608fa3dc 0012 3a05 {v6}  80009c40 04561234 deadbeef d3d0 00000000"),
        format!("608fa3dc 0014 0605 {v6}  9c4082ac 1234beef 00000000 5002faf0 69670000"),
    ];
    for ((family, protocol), golden) in kinds().zip(golden) {
        let (packet, _) = encoded(&template(family, protocol), 40_000, 5, IDENTITY);
        assert_eq!(packet, hex(&golden), "{protocol} over {family:?}");
    }
}

#[test]
fn fragmentation_is_allowed_where_the_template_allows_it() {
    let template = Template { dont_fragment: false, ..template(Family::V4, Protocol::Udp) };
    let (packet, _) = encoded(&template, 40_000, 5, IDENTITY);
    assert_eq!(packet[6..8], [0, 0]);
}

#[test]
fn what_has_no_bytes() {
    let v4 = template(Family::V4, Protocol::Udp);
    let v6 = template(Family::V6, Protocol::Icmp);
    let mixed = Template { source: v6.source, ..v4 };
    let mismatch = EncodeError::FamilyMismatch { from: mixed.source, to: mixed.destination };
    let long = |template: &Template, payload| Template { payload, ..template.clone() };
    let ident = |ident| Identity { ident, ..IDENTITY };
    for (template, identity, expected) in [
        (&mixed, IDENTITY, Err(mismatch)),
        (&v4, ident(0), Err(EncodeError::Ident(0))),
        (&v4, ident(0xffff), Err(EncodeError::Ident(0xffff))),
        (&v4, ident(1), Ok(38)),
        (&v4, ident(0xfffe), Ok(38)),
        (&long(&v4, 65_501), IDENTITY, Ok(65_535)),
        (&long(&v4, 65_502), IDENTITY, Err(EncodeError::TooLong { payload: 65_502 })),
        (&long(&v6, 65_521), IDENTITY, Ok(65_575)),
        (&long(&v6, 65_522), IDENTITY, Err(EncodeError::TooLong { payload: 65_522 })),
        (&long(&template(Family::V4, Protocol::Tcp), 65_535), IDENTITY, Ok(40)),
    ] {
        let mut buffer = Vec::new();
        let length = encode(template, FlowId(1), Ttl::MIN, identity, &mut buffer).map(|_| buffer.len());
        assert_eq!(length, expected, "{template:?} {identity:?}");
    }
}

#[test]
fn errors_say_what_they_are() {
    use DecodeError::Irrelevant;
    use ReplyKind::{PortUnreachable, TimeExceeded, Unreachable};
    for (family, kind, code, udp, tcp) in [
        (Family::V4, 11, 0, Ok(TimeExceeded), Ok(TimeExceeded)),
        (Family::V4, 11, 1, Err(Irrelevant), Err(Irrelevant)),
        (Family::V4, 3, 3, Ok(PortUnreachable), Ok(Unreachable { code: 3 })),
        (Family::V4, 3, 4, Ok(Unreachable { code: 4 }), Ok(Unreachable { code: 4 })),
        (Family::V4, 3, 13, Ok(Unreachable { code: 13 }), Ok(Unreachable { code: 13 })),
        (Family::V4, 5, 0, Err(Irrelevant), Err(Irrelevant)),
        (Family::V4, 12, 0, Err(Irrelevant), Err(Irrelevant)),
        (Family::V4, 8, 0, Err(Irrelevant), Err(Irrelevant)),
        (Family::V6, 3, 0, Ok(TimeExceeded), Ok(TimeExceeded)),
        (Family::V6, 3, 1, Err(Irrelevant), Err(Irrelevant)),
        (Family::V6, 1, 4, Ok(PortUnreachable), Ok(Unreachable { code: 4 })),
        (Family::V6, 1, 3, Ok(Unreachable { code: 3 }), Ok(Unreachable { code: 3 })),
        (Family::V6, 2, 0, Err(Irrelevant), Err(Irrelevant)),
        (Family::V6, 4, 0, Err(Irrelevant), Err(Irrelevant)),
        (Family::V6, 11, 0, Err(Irrelevant), Err(Irrelevant)),
        (Family::V6, 135, 0, Err(Irrelevant), Err(Irrelevant)),
    ] {
        for (protocol, expected) in [(Protocol::Udp, udp), (Protocol::Tcp, tcp)] {
            let (packet, _) = encoded(&template(family, protocol), 40_000, 5, IDENTITY);
            let decoded = decode(family, &error(family, [kind, code, 0], &packet));
            assert_eq!(decoded.map(|message| message.kind), expected, "{family:?} {kind}/{code} {protocol}");
        }
    }
}

#[test]
fn an_error_tells_who_and_what() {
    // Captured form: time exceeded of 203.0.113.9, quoting 28 bytes of the golden UDP packet at TTL 1.
    let packet = hex("45c00038 00070000 3f01 0000 cb007109 c0000201  0b00 0000 00000000 \
                      45080026 12344000 0111 7b4f c0000201 c6336407  9c4082ac 00124adf");
    let message = decode_v4(&packet).unwrap();
    assert_eq!(
        message,
        Message {
            from: "203.0.113.9".parse().unwrap(),
            kind: ReplyKind::TimeExceeded,
            quote: Quote {
                source: Some("192.0.2.1".parse().unwrap()),
                destination: "198.51.100.7".parse().unwrap(),
                protocol: Protocol::Udp,
                ident: 0x1234,
                flow: Some(FlowId(40_000)),
                destination_port: Some(33_452),
                echo_id: None,
                checksum: Some(0x4adf),
                tag: None,
                ttl: Some(1),
            },
            mpls: Vec::new(),
        }
    );
}

#[test]
fn destinations_answer_echo_requests() {
    let v4 = hex("45000026 00000000 3f01 0000 c6336407 c0000201  0000 1111 04561234 deadbeef a797 00000000");
    let v6 = hex("8100 1111 04561234 deadbeef d3d0 00000000");
    let from = "2001:db8:ffff::7".parse().unwrap();
    for (family, reply) in [(Family::V4, decode_v4(&v4)), (Family::V6, decode_v6(from, &v6, Protocol::Icmp))]
    {
        let Message { from, kind, quote, .. } = reply.unwrap();
        let (_, sent) = encoded(&template(family, Protocol::Icmp), 40_000, 5, IDENTITY);
        assert_eq!((from, kind), (sent.destination, ReplyKind::EchoReply));
        assert_eq!((quote.flow, quote.checksum, quote.ttl), (None, None, None));
        assert_eq!(quote.compare(&sent), Verdict::Ours);
        let others = [
            (Quote { tag: Some(0xdead_beee), ..quote }, Verdict::Forged),
            // Another program's echo whose sequence number is that of a probe.
            (Quote { tag: Some(0xdead_beee), echo_id: Some(0x0457), ..quote }, Verdict::Foreign),
            // Without the payload that every reply brings back, nothing tells it from a guess.
            (Quote { tag: None, ..quote }, Verdict::Forged),
            (Quote { echo_id: Some(0x0457), ..quote }, Verdict::Nat),
            (Quote { destination: sent.source, ..quote }, Verdict::Foreign),
        ];
        for (quote, verdict) in others {
            assert_eq!(quote.compare(&sent), verdict, "{quote:?}");
        }
    }
    assert_eq!(decode_v4(&v4[..28]).unwrap().quote.tag, None);
    assert_eq!(decode_v4(&v4[..27]), Err(DecodeError::Malformed("ICMP header")));
}

#[test]
fn destinations_answer_segments() {
    use DecodeError::{Irrelevant, Malformed};
    // From port 33452 to 40000, acknowledging 0x1234beef + 1.
    let segment = |flags: u8| hex(&format!("82ac9c40 00000777 1234bef0 50{flags:02x}ffff 00000000"));
    let v4 = hex("45000028 00000000 3f06 0000 c6336407 c0000201");
    let from = "2001:db8:ffff::7".parse().unwrap();
    for (flags, expected) in [
        (0x12, Ok(ReplyKind::SynAck)),
        (0x52, Ok(ReplyKind::SynAck)),
        (0x14, Ok(ReplyKind::Reset)),
        // Ours on loopback, RST without ACK, ACK alone, data, nonsense.
        (0x02, Err(Irrelevant)),
        (0x04, Err(Irrelevant)),
        (0x10, Err(Irrelevant)),
        (0x18, Err(Irrelevant)),
        (0x16, Err(Irrelevant)),
    ] {
        let v4 = decode_v4(&[&v4[..], &segment(flags)].concat());
        let v6 = decode_v6(from, &segment(flags), Protocol::Tcp);
        for (family, decoded) in FAMILIES.into_iter().zip([v4, v6]) {
            assert_eq!(decoded.as_ref().map(|message| message.kind).map_err(|&error| error), expected);
            if let Ok(Message { from, quote, .. }) = decoded {
                let (_, sent) = encoded(&template(family, Protocol::Tcp), 40_000, 5, IDENTITY);
                assert_eq!((from, quote.destination), (sent.destination, sent.destination));
                assert_eq!(quote.compare(&sent), Verdict::Ours);
                // Another program's connection to the same port, from another of its own.
                let other = Quote { flow: Some(FlowId(40_001)), tag: Some(0xdead_0001), ..quote };
                assert_eq!(other.compare(&sent), Verdict::Foreign);
            }
        }
    }
    assert_eq!(decode_v6(from, &segment(0x12)[..19], Protocol::Tcp), Err(Malformed("TCP header")));
    assert_eq!(decode_v6(from, &segment(0x12), Protocol::Udp), Err(Irrelevant));
    let udp = hex("45000028 00000000 3f11 0000 c6336407 c0000201 0000000000000000");
    assert_eq!(decode_v4(&udp), Err(Irrelevant));
}

/// A packet of each kind as a router behind a NAT quotes it, at both lengths.
#[test]
fn translated_packets() {
    const DELTA: u16 = 0x0101;
    for (family, protocol) in kinds() {
        let (packet, sent) = encoded(&template(family, protocol), 40_000, 5, IDENTITY);
        let header = HEADER(family);
        let [whole, short] = [packet.len(), header + 8]
            .map(|length| decode(family, &time_exceeded(family, &packet[..length])).unwrap().quote);
        let translate =
            |quote: Quote| Quote { checksum: quote.checksum.map(|checksum| checksum + DELTA), ..quote };
        // The checksum of TCP is not among the first eight bytes, its tag is.
        // Of UDP over IPv6 it is the identity, and nothing else tells whose packet it is.
        let unmarked = match (family, protocol) {
            (Family::V6, Protocol::Udp) => Verdict::Forged,
            _ => Verdict::Ours,
        };
        let unproven = match (family, protocol) {
            (_, Protocol::Tcp) => Verdict::Ours,
            (Family::V6, Protocol::Udp) => Verdict::Forged,
            _ => Verdict::Unproven { delta: DELTA },
        };
        let elsewhere = Quote { source: Some(ROUTER_V6.into()), ..whole };
        let elsewhere_short = Quote { source: Some(ROUTER_V6.into()), ..short };
        let unproven_elsewhere = match protocol {
            Protocol::Tcp => Verdict::Nat,
            _ => Verdict::Foreign,
        };
        let [port, port_short] = [whole, short].map(|quote| Quote {
            flow: quote.flow.map(|flow| FlowId(flow.0 + 1)),
            checksum: quote.checksum.map(|checksum| checksum - 1),
            ..quote
        });
        let unproven_port = match protocol {
            Protocol::Tcp => Verdict::Nat,
            Protocol::Icmp => Verdict::Unproven { delta: 0xfffe },
            Protocol::Udp => Verdict::Foreign,
        };
        for (name, quote, verdict) in [
            ("whole", whole, Verdict::Ours),
            ("short", short, unmarked),
            ("whole, checksum", translate(whole), Verdict::Nat),
            ("short, checksum", translate(short), unproven),
            ("whole, source", elsewhere, Verdict::Nat),
            ("short, source", elsewhere_short, unproven_elsewhere),
            ("whole, port", port, Verdict::Nat),
            ("short, port", port_short, unproven_port),
        ] {
            assert_eq!(quote.compare(&sent), verdict, "{protocol} over {family:?}: {name}");
        }
    }
}

#[test]
fn the_second_witness_of_short_udp_quotes() {
    let template = template(Family::V4, Protocol::Udp);
    let (packet, _) = encoded(&template, 40_000, 5, IDENTITY);
    let (_, sent) = encoded(&template, 40_000, 5, Identity { tag: 0xdead_beee, ..IDENTITY });
    let verdict = decode_v4(&time_exceeded(Family::V4, &packet[..28])).unwrap().quote.compare(&sent);
    assert!(matches!(verdict, Verdict::Unproven { delta: 1.. }), "{verdict:?}");
}

#[test]
fn the_flow_that_no_checksum_can_be() {
    for family in FAMILIES {
        let template = template(family, Protocol::Icmp);
        let (packet, sent) = encoded(&template, 65_535, 5, IDENTITY);
        let quote = decode(family, &time_exceeded(family, &packet)).unwrap().quote;
        assert_eq!((quote.checksum, quote.flow), (Some(0), Some(FlowId(65_535))));
        assert_eq!(properties::witness_of(&packet), (0, 0, packet.len()));
        assert_eq!(quote.compare(&sent), Verdict::Ours);
    }
}
