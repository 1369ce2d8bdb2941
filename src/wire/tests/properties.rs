use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use proptest::prelude::*;

use super::*;

fn any_template() -> impl Strategy<Value = Template> {
    let addresses = prop_oneof![
        any::<[[u8; 4]; 2]>().prop_map(|addresses| addresses.map(IpAddr::from)),
        any::<[[u8; 16]; 2]>().prop_map(|addresses| addresses.map(IpAddr::from)),
    ];
    let protocol = prop::sample::select(&Protocol::ALL[..]);
    (addresses, protocol, any::<(u16, u8, bool)>(), 0..200_u16).prop_map(
        |(addresses, protocol, rest, payload)| {
            let [source, destination] = addresses;
            let (destination_port, tos, dont_fragment) = rest;
            Template { source, destination, protocol, destination_port, tos, dont_fragment, payload }
        },
    )
}

fn any_identity() -> impl Strategy<Value = Identity> {
    (1..=0xfffe_u16, any::<(u32, u16)>()).prop_map(|(ident, (tag, echo_id))| Identity { ident, tag, echo_id })
}

/// The header fields that per-flow load balancers hash.
fn hashed(family: Family, packet: &[u8]) -> Vec<u8> {
    match family {
        Family::V4 => [&packet[9..10], &packet[12..24]].concat(),
        // Flow label, next header, addresses, first four bytes.
        Family::V6 => [&[packet[1] & 0xf], &packet[2..4], &packet[6..7], &packet[8..44]].concat(),
    }
}

/// The checksum that etherparse computes for a packet and the one it has; the length that its headers tell.
pub(super) fn witness_of(packet: &[u8]) -> (u16, u16, usize) {
    let sliced = SlicedPacket::from_ip(packet).unwrap();
    let transport = sliced.transport.unwrap();
    match sliced.net.unwrap() {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            let length = usize::from(header.total_len);
            match transport {
                TransportSlice::Udp(udp) => {
                    assert_eq!(usize::from(udp.length()), length - 20);
                    let computed = udp.to_header().calc_checksum_ipv4(&header, udp.payload()).unwrap();
                    (computed, udp.checksum(), length)
                }
                TransportSlice::Tcp(tcp) => {
                    let computed = tcp.to_header().calc_checksum_ipv4(&header, tcp.payload()).unwrap();
                    (computed, tcp.checksum(), length)
                }
                TransportSlice::Icmpv4(icmp) => {
                    (icmp.icmp_type().calc_checksum(icmp.payload()), icmp.checksum(), length)
                }
                other => panic!("{other:?}"),
            }
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header().to_header();
            let length = usize::from(header.payload_length) + 40;
            match transport {
                TransportSlice::Udp(udp) => {
                    assert_eq!(usize::from(udp.length()), length - 40);
                    let computed = udp.to_header().calc_checksum_ipv6(&header, udp.payload()).unwrap();
                    (computed, udp.checksum(), length)
                }
                TransportSlice::Tcp(tcp) => {
                    let computed = tcp.to_header().calc_checksum_ipv6(&header, tcp.payload()).unwrap();
                    (computed, tcp.checksum(), length)
                }
                TransportSlice::Icmpv6(icmp) => {
                    let kind = icmp.icmp_type();
                    let computed = kind.calc_checksum(header.source, header.destination, icmp.payload());
                    (computed.unwrap(), icmp.checksum(), length)
                }
                other => panic!("{other:?}"),
            }
        }
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn etherparse_verifies(
        template in any_template(), flow: u16, ttl in 1_u8.., identity in any_identity(),
    ) {
        let (packet, sent) = encoded(&template, flow, ttl, identity);
        let (computed, checksum, length) = witness_of(&packet);
        prop_assert_eq!(checksum::difference(computed, checksum), 0);
        prop_assert_eq!(checksum, sent.checksum);
        prop_assert_eq!(length, packet.len());
    }

    #[test]
    fn what_routers_hash_is_constant_within_a_flow_and_differs_between_flows(
        template in any_template(), flow in 1_u16.., other in 1_u16..,
        ttls in [1_u8.., 1_u8..], identities in [any_identity(), any_identity()],
    ) {
        let family = template.family();
        let [(one, _), (two, _)] = [0, 1].map(|i| encoded(&template, flow, ttls[i], identities[i]));
        prop_assert_eq!(hashed(family, &one), hashed(family, &two));
        prop_assert_eq!(one.len(), two.len());
        let (three, _) = encoded(&template, other, ttls[0], identities[0]);
        prop_assert_eq!(hashed(family, &one) == hashed(family, &three), flow == other);
    }

    /// From the eight bytes that every router quotes up to the whole packet, at any TTL it may have left.
    #[test]
    fn quotes_are_recognised(
        template in any_template(), flow: u16, ttl in 1_u8.., identity in any_identity(), left: u8, cut in 8..300_usize,
    ) {
        let family = template.family();
        let (mut packet, sent) = encoded(&template, flow, ttl, identity);
        packet[if family == Family::V4 { 8 } else { 7 }] = left;
        for transport in [8, cut, 28, usize::MAX] {
            let length = packet.len().min(HEADER(family).saturating_add(transport));
            let message = decode(family, &time_exceeded(family, &packet[..length])).unwrap();
            let quote = message.quote;
            prop_assert_eq!((quote.ident, quote.ttl), (identity.ident, Some(left)));
            let tagged = template.protocol == Protocol::Tcp || transport >= 12 && identity.tag != 0;
            let needs_tag = (family, template.protocol) == (Family::V6, Protocol::Udp);
            let verdict = if needs_tag && !tagged { Verdict::Forged } else { Verdict::Ours };
            prop_assert_eq!(quote.compare(&sent), verdict, "{} bytes", length);
            prop_assert_eq!(quote.tag, tagged.then_some(sent.tag), "{} bytes", length);
            if (template.protocol, flow) != (Protocol::Icmp, 0) {
                prop_assert_eq!(quote.flow, Some(FlowId(flow)));
            }
        }
        let length = HEADER(family) + 7;
        prop_assert_eq!(
            decode(family, &time_exceeded(family, &packet[..length])),
            Err(DecodeError::Malformed("quoted transport header"))
        );
    }

    #[test]
    fn another_process_is_another(
        template in any_template(), flow: u16, identity in any_identity(), tag: u32, ident in 1..=0xfffe_u16,
    ) {
        prop_assume!(tag & 0xffff != identity.tag & 0xffff && tag != 0);
        let family = template.family();
        let (_, sent) = encoded(&template, flow, 5, identity);
        let (packet, _) = encoded(&template, flow, 5, Identity { tag, ..identity });
        let quote = decode(family, &time_exceeded(family, &packet)).unwrap().quote;
        prop_assert_eq!(quote.compare(&sent), Verdict::Forged);

        prop_assume!(ident != identity.ident);
        let (packet, _) = encoded(&template, flow, 5, Identity { ident, ..identity });
        let quote = decode(family, &time_exceeded(family, &packet)).unwrap().quote;
        prop_assert_eq!(quote.compare(&sent), Verdict::Foreign);
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes: Vec<u8>, from: [u8; 16]) {
        let _ = decode_v4(&bytes);
        for protocol in Protocol::ALL {
            let _ = decode_v6(from.into(), &bytes, protocol);
        }
    }

    /// As above, but near enough to the truth to get behind the first checks.
    #[test]
    fn damaged_errors_do_no_harm(
        template in any_template(), identity in any_identity(), length: u8, behind: Vec<u8>,
        damage in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 0..4), cut: prop::sample::Index,
    ) {
        let family = template.family();
        let (mut quoted, _) = encoded(&template, 40_000, 5, identity);
        quoted.resize(128, 0);
        quoted.extend(hex("2000 0000"));
        quoted.extend(behind);
        let kind = if family == Family::V4 { 11 } else { 3 };
        let mut message = error(family, [kind, 0, length], &quoted);
        for (place, value) in damage {
            *place.get_mut(&mut message) = value;
        }
        message.truncate(cut.index(message.len()) + 1);
        let _ = decode(family, &message);
    }
}
