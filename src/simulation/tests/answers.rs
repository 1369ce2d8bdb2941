//! The bytes of answers. [`read`] verifies every checksum on the way.

use super::*;

/// The only answer to a probe.
fn answer(network: &mut Network, probe: &Probe) -> Answer {
    let deliveries = ask(network, Time::ZERO, probe);
    let [delivery] = deliveries.as_slice() else { panic!("{probe:?} gives {deliveries:?}") };
    read(&delivery.packet)
}

/// The only answer to a UDP probe of this TTL.
fn answer_at(network: &mut Network, ttl: u8) -> Answer {
    let probe = Probe::udp(network, 5000, ttl);
    answer(network, &probe)
}

#[test]
fn errors_quote_the_packet_as_it_arrived() {
    for family in FAMILIES {
        let mut network = network("s -> r1 -> r2 -> r3 -> d\nnode r3 unreachable=13", family);
        let r2 = network.address("r2").unwrap();
        let v4 = family == Family::V4;
        for protocol in Protocol::ALL {
            for (ttl, destination, kind, quoted_ttl) in [
                (1, network.destination(), if v4 { (11, 0) } else { (3, 0) }, 1),
                (2, network.destination(), if v4 { (11, 0) } else { (3, 0) }, 1),
                (3, network.destination(), if v4 { (11, 0) } else { (3, 0) }, 1),
                (9, network.destination(), if v4 { (3, 13) } else { (1, 13) }, 7),
                (4, r2, if v4 { (3, 3) } else { (1, 4) }, 3),
            ] {
                if destination == r2 && protocol != Protocol::Udp {
                    continue;
                }
                let probe = Probe { protocol, ttl, destination, ..Probe::udp(&network, 5000, ttl) };
                let answer = answer(&mut network, &probe);
                let case = format!("{family:?} {protocol} TTL {ttl} to {destination}");
                let (number, code, rest, body) = answer.icmp();
                assert_eq!((number, code), kind, "{case}");
                assert_eq!(rest, [0; 4], "{case}");
                let sent = probe.bytes(&network);
                assert_eq!(body.len(), sent.len(), "{case}");
                let (at, source, transport) = answer.quoted();
                assert_eq!((at, source), (quoted_ttl, network.source()), "{case}");
                assert_eq!(transport, &sent[if v4 { 20 } else { 40 }..], "{case}");
                if v4 {
                    assert_eq!(body[4..6], [0x12, 0x34], "identification");
                }
            }
        }
    }
}

#[test]
fn quotes_are_as_long_as_allowed_and_asked_for() {
    // Node, bytes sent, bytes quoted; IPv4 then IPv6.
    for (attributes, sent, expected) in [
        ("plain", 28, [28, 48]),
        ("plain", 100, [100, 100]),
        ("plain", 1500, [548, 1232]),
        ("quote=28", 100, [28, 48]),
        ("quote=48", 100, [48, 48]),
        ("quote=60", 100, [60, 60]),
        ("quote=60", 50, [50, 50]),
        ("quote=1000", 1500, [548, 1000]),
    ] {
        for (family, expected) in FAMILIES.into_iter().zip(expected) {
            let mut network = network(&format!("s -> r1 -> d\nnode r1 {attributes}"), family);
            let headers = if family == Family::V4 { 28 } else { 48 };
            let payload = vec![0xAB; usize::saturating_sub(sent, headers)];
            let probe = Probe { payload, ..Probe::udp(&network, 5000, 1) };
            let answer = answer(&mut network, &probe);
            let (.., body) = answer.icmp();
            assert_eq!(body.len(), expected, "{family:?} {attributes} {sent}");
            let mut bytes = probe.bytes(&network);
            if family == Family::V4 {
                bytes[10..12].copy_from_slice(&body[10..12]);
            }
            assert_eq!(body, &bytes[..expected], "{family:?} {attributes} {sent}");
        }
    }
}

#[test]
fn label_stacks_come_in_extensions() {
    // RFC 4884 header and checksum, object of length 12, class 1, type 1; labels 16004 and 16005 of RFC 4950.
    let stack =
        [0x20, 0x00, 0x46, 0x20, 0x00, 0x0C, 0x01, 0x01, 0x03, 0xE8, 0x40, 0x01, 0x03, 0xE8, 0x51, 0x01];
    // Attributes, bytes sent, length field, length of the quote; IPv4 then IPv6.
    for (attributes, sent, expected) in [
        ("mpls=16004,16005", 60, [(32, 128), (16, 128)]),
        ("mpls=16004,16005 quote=28", 60, [(32, 128), (16, 128)]),
        ("mpls=16004,16005", 130, [(33, 132), (17, 136)]),
        ("mpls=16004,16005", 1500, [(133, 532), (152, 1216)]),
        ("mpls=16004,16005 legacy", 60, [(0, 128), (0, 128)]),
        ("mpls=16004,16005 legacy", 300, [(0, 128), (0, 128)]),
    ] {
        for (family, (words, length)) in FAMILIES.into_iter().zip(expected) {
            let mut network = network(&format!("s -> r1 -> d\nnode r1 {attributes}"), family);
            let headers = if family == Family::V4 { 28 } else { 48 };
            let probe = Probe { payload: vec![0xAB; sent - headers], ..Probe::udp(&network, 5000, 1) };
            let answer = answer(&mut network, &probe);
            let case = format!("{family:?} {attributes} {sent}");
            let (_, _, rest, body) = answer.icmp();
            let field = if family == Family::V4 { [0, words, 0, 0] } else { [words, 0, 0, 0] };
            assert_eq!(rest, field, "{case}");
            assert_eq!(body.len(), length + stack.len(), "{case}");
            assert_eq!(body[length..], stack, "{case}");
            assert_eq!(Sum16BitWords::new().add_slice(&body[length..]).ones_complement(), 0);
            let quoted = length.min(if attributes.contains("quote") { headers } else { sent });
            assert!(body[headers..quoted].iter().all(|&byte| byte == 0xAB), "{case}");
            assert!(body[quoted..length].iter().all(|&byte| byte == 0), "{case}");
            assert_eq!(answer.quoted().0, 1, "{case}");
        }
    }
}

#[test]
fn destinations_answer_every_protocol_whatever_the_ttl() {
    for family in FAMILIES {
        for (open, flags) in [("", "RA"), ("\nnode d open", "SA")] {
            let mut network = network(&format!("s -> r1 -> d{open}"), family);
            for ttl in [2, 3, 64, 255] {
                let udp = answer_at(&mut network, ttl);
                let (kind, code, ..) = udp.icmp();
                assert_eq!((kind, code), if family == Family::V4 { (3, 3) } else { (1, 4) });
                assert_eq!(udp.quoted().0, ttl - 1);

                let echo = Probe { protocol: Protocol::Icmp, ..Probe::udp(&network, 5000, ttl) };
                let answer_to_echo = answer(&mut network, &echo);
                let (kind, code, rest, body) = answer_to_echo.icmp();
                assert_eq!((kind, code), if family == Family::V4 { (0, 0) } else { (129, 0) });
                assert_eq!(rest, [0, 77, 0x13, 0x88], "identifier 77, sequence number 5000");
                assert_eq!(body, echo.payload);

                for (payload, acknowledgement) in
                    [(0, 1_000_001), (3, if open.is_empty() { 1_000_004 } else { 1_000_001 })]
                {
                    let payload = vec![1; payload];
                    let syn = Probe { protocol: Protocol::Tcp, payload, ..Probe::udp(&network, 5000, ttl) };
                    let Message::Tcp(tcp) = answer(&mut network, &syn).message else { panic!("no TCP") };
                    let seen = [(tcp.syn, "S"), (tcp.rst, "R"), (tcp.ack, "A"), (tcp.fin, "F")];
                    assert_eq!(seen.map(|(set, name)| if set { name } else { "" }).concat(), flags);
                    assert_eq!((tcp.source_port, tcp.destination_port), (33_452, 5000));
                    assert_eq!(tcp.acknowledgment_number, acknowledgement);
                }
            }
        }
    }
}

#[test]
fn tcp_states() {
    const FIN: u8 = 1;
    const SYN: u8 = 2;
    const RST: u8 = 4;
    const ACK: u8 = 16;
    // Flags sent with sequence number 1000000 and acknowledgement number 555; flags, sequence and
    // acknowledgement number that come back (RFC 9293 section 3.10.7.1 and 3.10.7.2).
    for (attribute, sent, expected) in [
        ("plain", RST, None),
        ("plain", RST | ACK, None),
        ("plain", ACK, Some((RST, 555, 0))),
        ("plain", SYN | ACK, Some((RST, 555, 0))),
        ("plain", FIN, Some((RST | ACK, 0, 1_000_001))),
        ("plain", 0, Some((RST | ACK, 0, 1_000_000))),
        ("open", RST, None),
        ("open", ACK, Some((RST, 555, 0))),
        ("open", FIN, None),
        ("open", SYN, Some((SYN | ACK, !1_000_000, 1_000_001))),
    ] {
        let mut network = network(&format!("s -> r1 -> d\nnode d {attribute}"), Family::V4);
        let mut header = TcpHeader::new(5000, 443, 1_000_000, 1024);
        header.acknowledgment_number = 555;
        let flags =
            [(FIN, &mut header.fin), (SYN, &mut header.syn), (RST, &mut header.rst), (ACK, &mut header.ack)];
        for (flag, field) in flags {
            *field = sent & flag != 0;
        }
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (network.source(), network.destination()) else {
            panic!("IPv6")
        };
        let mut bytes = Vec::new();
        let builder = PacketBuilder::ipv4(source.octets(), destination.octets(), 9).tcp_header(header);
        builder.write(&mut bytes, &[]).unwrap();
        network.send(Time::ZERO, &bytes);
        let seen = drain(&mut network).first().map(|delivery| match read(&delivery.packet).message {
            Message::Tcp(tcp) => {
                let flags = [(FIN, tcp.fin), (SYN, tcp.syn), (RST, tcp.rst), (ACK, tcp.ack)];
                let flags = flags.iter().map(|(flag, set)| if *set { *flag } else { 0 }).sum::<u8>();
                (flags, tcp.sequence_number, tcp.acknowledgment_number)
            }
            other => panic!("{other:?}"),
        });
        assert_eq!(seen, expected, "{attribute} {sent:#x}");
    }
}

#[test]
fn a_nat_shows_in_the_quoted_checksum_alone() {
    for family in FAMILIES {
        let mut network = network("s -> r1 -> n -> r2 -> m -> r3 -> d\nnode n nat\nnode m nat", family);
        for protocol in Protocol::ALL {
            let place = match protocol {
                Protocol::Udp => 6,
                Protocol::Tcp => 16,
                Protocol::Icmp => 2,
            };
            // The checksum of ICMP covers no address.
            let touched = family == Family::V6 || protocol != Protocol::Icmp;
            let mut checksums = Vec::new();
            for ttl in 1..=5 {
                let probe = Probe { protocol, ..Probe::udp(&network, 5000, ttl) };
                let answer = answer(&mut network, &probe);
                assert_eq!(answer.to, network.source());
                let (_, source, transport) = answer.quoted();
                assert_eq!(source, network.source(), "{family:?} {protocol} {ttl}");
                let sent = probe.bytes(&network);
                let mut expected = sent[sent.len() - transport.len()..].to_vec();
                let original = u16::from_be_bytes([expected[place], expected[place + 1]]);
                let quoted = u16::from_be_bytes([transport[place], transport[place + 1]]);
                checksums.push(quoted);
                assert_eq!(quoted != original, touched && ttl > 2, "{family:?} {protocol} {ttl}");
                expected[place..place + 2].copy_from_slice(&quoted.to_be_bytes());
                assert_eq!(transport, expected);
                // Expired at the NAT itself, the packet is as it arrived there.
                let name = network.name(answer.from).unwrap();
                assert_eq!(name, ["r1", "n", "r2", "m", "r3"][usize::from(ttl) - 1]);
            }
            assert_eq!(checksums[4] != checksums[3], touched, "the second NAT");
            // The destination, which verifies the rewritten checksum, takes the packet.
            let probe = Probe { protocol, ..Probe::udp(&network, 5000, 9) };
            answer(&mut network, &probe);
        }
        assert_eq!(network.counters().bad_checksums, 0);
    }
}

#[test]
fn a_nat_leaves_absent_udp_checksums_alone() {
    let mut network = network("s -> n -> r -> d\nnode n nat", Family::V4);
    for ttl in [2, 3] {
        let mut bytes = Probe::udp(&network, 5000, ttl).bytes(&network);
        bytes[26..28].copy_from_slice(&[0, 0]);
        network.send(Time::ZERO, &bytes);
        let deliveries = drain(&mut network);
        assert_eq!(read(&deliveries[0].packet).quoted().2[6..8], [0, 0]);
    }
}

#[test]
fn every_udp_checksum_survives_two_nats() {
    // Every value of two payload bytes makes every checksum, 0xffff for 0 included.
    for family in FAMILIES {
        let mut network = network("s -> n -> m -> d\nnode n nat\nnode m nat", family);
        let probe = Probe { payload: vec![0, 0], ..Probe::udp(&network, 5000, 9) };
        for value in 0..=u16::MAX {
            let bytes = Probe { payload: value.to_be_bytes().to_vec(), ..probe.clone() }.bytes(&network);
            network.send(Time::ZERO, &bytes);
        }
        let counters = network.counters();
        assert_eq!((counters.bad_checksums, counters.replies), (0, 65_536), "{family:?}");
    }
}

#[test]
fn zero_ttl_forwarding_shows_the_next_router_twice() {
    for family in FAMILIES {
        let mut network = network("s -> r1 -> z -> r2 -> d\nnode z zero-ttl", family);
        for (ttl, name, quoted) in [(1, "r1", 1), (2, "r2", 0), (3, "r2", 1), (4, "d", 1)] {
            let answer = answer_at(&mut network, ttl);
            let seen = (network.name(answer.from).unwrap(), answer.quoted().0);
            assert_eq!(seen, (name, quoted), "{family:?} {ttl}");
        }
    }
}

#[test]
fn answers_lose_a_ttl_at_each_hop_back() {
    let mut network = network("s -> r1 -> r2 -> r3 -> d", Family::V6);
    let ttls = [1, 2, 3, 4].map(|ttl| answer_at(&mut network, ttl).ttl);
    assert_eq!(ttls, [255, 254, 253, 61]);
}

#[test]
fn nobody_answers_broken_packets_and_errors() {
    for family in FAMILIES {
        let mut network = network("s -> r1 -> d", family);
        let v4 = family == Family::V4;
        let start = if v4 { 20 } else { 40 };
        let sender = network.clone();
        let good = |ttl| Probe::udp(&sender, 5000, ttl).bytes(&sender);
        let with = |mut bytes: Vec<u8>, place: usize, value: u8| {
            bytes[place] = value;
            bytes
        };
        let error = |ttl| {
            let (kind, protocol) = if v4 { (11, 1) } else { (3, 58) };
            with(with(good(ttl), start, kind), if v4 { 9 } else { 6 }, protocol)
        };
        let short = good(9)[..start - 1].to_vec();
        let ttl_place = if v4 { 8 } else { 7 };
        // Packets, then how many count as malformed and as discarded by the destination.
        let cases = [
            (vec![], (1, 0)),
            (short, (1, 0)),
            (with(good(9), 0, 0x10), (1, 0)),
            (with(good(9), ttl_place, 0), (1, 0)),
            (with(good(9), start - 17, 0xEE), (1, 0)),
            (with(good(9), start + 6, 0xEE), (0, 1)),
            (with(good(1), start + 6, 0xEE), (0, 0)),
            (error(1), (0, 0)),
        ];
        for (index, (bytes, expected)) in cases.into_iter().enumerate() {
            // The place 17 before the transport header is in the source address of IPv6; IPv4's ends 4 before it.
            let bytes = if index == 4 && v4 { with(good(9), 15, 0xEE) } else { bytes };
            let before = network.counters();
            network.send(Time::ZERO, &bytes);
            let after = network.counters();
            let counted = (after.malformed - before.malformed, after.bad_checksums - before.bad_checksums);
            assert_eq!(counted, expected, "{family:?} case {index}");
            let answers = usize::from(index == 6);
            assert_eq!(drain(&mut network).len(), answers, "{family:?} case {index}");
        }
        let wrong_family = if v4 { Family::V6 } else { Family::V4 };
        let other = Network::new(&topology("s -> r1 -> d"), wrong_family, 1);
        network.send(Time::ZERO, &Probe::udp(&other, 5000, 9).bytes(&other));
        assert_eq!(network.counters().malformed, 6);
    }
}

#[test]
fn udp_over_ipv6_needs_a_checksum() {
    for (family, answers) in [(Family::V4, 1), (Family::V6, 0)] {
        let mut network = network("s -> r1 -> d", family);
        let mut bytes = Probe::udp(&network, 5000, 9).bytes(&network);
        let start = if family == Family::V4 { 26 } else { 46 };
        bytes[start..start + 2].copy_from_slice(&[0, 0]);
        network.send(Time::ZERO, &bytes);
        assert_eq!(drain(&mut network).len(), answers, "{family:?}");
    }
}

#[test]
fn the_source_host_completes_ipv4_headers() {
    let mut network = network("s -> r1 -> d", Family::V4);
    let mut bytes = Probe::udp(&network, 5000, 1).bytes(&network);
    let length = bytes[2..4].to_vec();
    for place in [2, 3, 4, 5, 10, 11] {
        bytes[place] = 0;
    }
    network.send(Time::ZERO, &bytes);
    let answer = read(&drain(&mut network)[0].packet);
    let (.., body) = answer.icmp();
    assert_eq!(body[2..4], length);
    assert_ne!(body[4..6], [0, 0], "identification");
    answer.quoted();
}
