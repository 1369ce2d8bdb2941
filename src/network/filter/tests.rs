//! The programs run on packets that the simulated network makes, in a small interpreter.

use std::time::Duration;

use super::*;
use crate::{
    flow::{FlowId, Protocol},
    probe::{Template, Ttl},
    simulation::{Network, Topology},
    time::Time,
    wire::{self, Identity},
};

/// Runs a program (RFC-less, but `Documentation/networking/filter.rst` of Linux) on a message. Reads outside it reject it.
fn accepts(program: &Program, message: &[u8]) -> bool {
    let instructions = program.instructions();
    let (mut accumulator, mut index, mut memory) = (0_u32, 0_u32, 0_u32);
    let byte = |at: u32| message.get(usize::try_from(at).unwrap()).copied().map(u32::from);
    let half = |at: u32| Some(byte(at)? << 8 | byte(at + 1)?);
    let mut at = 0;
    loop {
        let (code, yes, no, k) = instructions[at];
        let jump = |condition: bool| 1 + usize::from(if condition { yes } else { no });
        let (before, mut load) =
            (accumulator, |value: Option<u32>| value.map(|value| accumulator = value).is_some());
        let mut step = 1;
        let readable = match code {
            LOAD_BYTE => load(byte(k)),
            LOAD_BYTE_AT_X => load(byte(index + k)),
            LOAD_HALF => load(half(k)),
            LOAD_HALF_AT_X => load(half(index + k)),
            LOAD_X_HEADER_LENGTH => byte(k).map(|value| index = 4 * (value & 15)).is_some(),
            LOAD_MEMORY => load(Some(memory)),
            STORE_MEMORY => {
                memory = before;
                true
            }
            AND => load(Some(before & k)),
            SHIFT_LEFT => load(Some(before << k)),
            ADD_X => load(Some(before + index)),
            COPY_TO_X => {
                index = before;
                true
            }
            JUMP_EQUAL => {
                step = jump(before == k);
                true
            }
            JUMP_GREATER_EQUAL => {
                step = jump(before >= k);
                true
            }
            JUMP_SET => {
                step = jump(before & k != 0);
                true
            }
            RETURN => return k != 0,
            other => panic!("opcode {other:#x}"),
        };
        if !readable {
            return false;
        }
        at += step;
    }
}

/// The message of a received IP packet as the socket of its family shows it.
fn shown(family: Family, packet: &[u8]) -> &[u8] {
    match family {
        Family::V4 => packet,
        Family::V6 => &packet[40..],
    }
}

/// A probe as it goes out.
fn probe(network: &Network, protocol: Protocol, flow: u16, port: u16, ttl: u8, echo_id: u16) -> Vec<u8> {
    let template = Template {
        source: network.source(),
        destination: network.destination(),
        protocol,
        destination_port: port,
        tos: 0,
        dont_fragment: true,
        payload: 0,
    };
    let mut packet = Vec::new();
    let identity = Identity { ident: 77, tag: 0x0102_0304, echo_id };
    wire::encode(&template, FlowId(flow), Ttl::new(ttl).unwrap(), identity, &mut packet).unwrap();
    packet
}

/// What comes back for a probe of this flow to this port, expiring at the first router or reaching the destination.
fn answer(family: Family, protocol: Protocol, flow: u16, port: u16, ttl: u8, echo_id: u16) -> Vec<u8> {
    let topology: Topology = "s -> r1 -> d".parse().unwrap();
    let mut network = Network::new(&topology, family, 1);
    let packet = probe(&network, protocol, flow, port, ttl, echo_id);
    network.send(Time::ZERO, &packet);
    network.poll_delivery(Time::ZERO + Duration::from_secs(1)).unwrap().packet
}

#[test]
fn only_what_could_be_ours_passes() {
    let wanted =
        Wanted { first_source_port: 33_453, destination_ports: BTreeSet::from([33_452, 443]), echo_id: 99 };
    // protocol, source port, destination port, echo id, passes
    let cases = [
        (Protocol::Udp, 33_453, 33_452, 0, true),
        (Protocol::Udp, 65_535, 443, 0, true),
        (Protocol::Udp, 33_452, 33_452, 0, false),
        (Protocol::Udp, 40_000, 53, 0, false),
        (Protocol::Tcp, 40_000, 443, 0, true),
        (Protocol::Tcp, 40_000, 80, 0, false),
        (Protocol::Tcp, 1024, 443, 0, false),
        (Protocol::Icmp, 40_000, 0, 99, true),
        (Protocol::Icmp, 40_000, 0, 98, false),
    ];
    for family in [Family::V4, Family::V6] {
        for (protocol, source_port, port, echo_id, passes) in cases {
            for ttl in [1, 2] {
                let packet = answer(family, protocol, source_port, port, ttl, echo_id);
                let program = if protocol == Protocol::Tcp && ttl == 2 {
                    tcp_program(family, &wanted)
                } else {
                    icmp_program(family, &wanted)
                };
                assert_eq!(
                    accepts(&program, shown(family, &packet)),
                    passes,
                    "{family:?} {protocol} {source_port} to {port}, id {echo_id}, TTL {ttl}"
                );
            }
        }
    }
}

/// On loopback the sockets see what we send, and the reset with which the kernel answers a SYN-ACK that it did not ask for.
#[test]
fn our_own_packets_are_dropped() {
    let wanted =
        Wanted { first_source_port: 33_453, destination_ports: BTreeSet::from([33_452, 443]), echo_id: 99 };
    for family in [Family::V4, Family::V6] {
        let network = Network::new(&"s -> d".parse().unwrap(), family, 1);
        let echo_request = probe(&network, Protocol::Icmp, 40_000, 0, 1, 99);
        assert!(!accepts(&icmp_program(family, &wanted), shown(family, &echo_request)), "{family:?}");
        let mut segment = probe(&network, Protocol::Tcp, 40_000, 443, 1, 99);
        let flags = segment.len() - 7;
        for (name, value) in [("SYN", 0x02), ("RST", 0x04)] {
            segment[flags] = value;
            assert!(!accepts(&tcp_program(family, &wanted), shown(family, &segment)), "{name} {family:?}");
        }
    }
}

#[test]
fn options_in_both_headers_are_passed_over() {
    let wanted =
        Wanted { first_source_port: 33_453, destination_ports: BTreeSet::from([33_452]), echo_id: 0 };
    let packet = answer(Family::V4, Protocol::Udp, 40_000, 33_452, 1, 0);
    let mut with_options = packet[..20].to_vec();
    with_options[0] = 0x46;
    with_options.extend([1; 4]);
    with_options.extend(&packet[20..28]);
    with_options.push(0x47);
    with_options.extend(&packet[29..48]);
    with_options.extend([1; 8]);
    with_options.extend(&packet[48..]);
    let program = icmp_program(Family::V4, &wanted);
    assert!(accepts(&program, &packet));
    assert!(accepts(&program, &with_options));
}

#[test]
fn other_messages_and_stumps_are_dropped() {
    let wanted = Wanted { first_source_port: 1, destination_ports: BTreeSet::from([33_452]), echo_id: 5 };
    let whole = answer(Family::V4, Protocol::Udp, 40_000, 33_452, 1, 0);
    let program = icmp_program(Family::V4, &wanted);
    for length in 0..20 + 8 + 20 + 4 {
        assert!(!accepts(&program, &whole[..length]), "cut to {length}");
    }
    let mut redirect = whole;
    redirect[20] = 5;
    assert!(!accepts(&program, &redirect), "a redirect");
    assert!(
        !accepts(&icmp_program(Family::V6, &wanted), &[135, 0, 0, 0, 0, 0, 0, 0]),
        "a neighbour solicitation"
    );
}

#[test]
fn with_too_many_ports_every_port_passes() {
    let destination_ports = (1000..1100).collect();
    let wanted = Wanted { first_source_port: 33_453, destination_ports, echo_id: 0 };
    let packet = answer(Family::V4, Protocol::Udp, 40_000, 7, 1, 0);
    assert!(accepts(&icmp_program(Family::V4, &wanted), &packet));
}
