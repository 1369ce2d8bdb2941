//! What routers hash, in the probes that were captured: constant over the TTLs of a flow, different between flows. And
//! whose answers the captures hold: each is an answer to one probe of its own program, and to none of another.

use std::collections::{BTreeMap, BTreeSet};

use traceflow_exporter::{
    flow::{FlowId, Protocol},
    wire::{Message, Verdict},
};

use crate::{captures, ip::Packet, pcap::Pcap};

/// The fields that per-flow load balancers hash, but for the addresses: protocol number, first four bytes behind the IP
/// header, IPv6 flow label.
type Hashed = (u8, [u8; 4], u32);

fn packets(pcap: &Pcap) -> Vec<Packet<'_>> {
    pcap.packets().into_iter().filter_map(Packet::new).collect()
}

/// The TTLs of the probes by what routers hash of them.
fn flows(pcap: &Pcap) -> BTreeMap<Hashed, BTreeSet<u8>> {
    let mut flows: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for packet in packets(pcap).into_iter().filter(|packet| packet.probe().is_some()) {
        let hashed = (packet.protocol, packet.payload[..4].try_into().unwrap(), packet.label);
        flows.entry(hashed).or_default().insert(packet.ttl);
    }
    flows
}

fn capture(name: &str) -> Pcap {
    captures().into_iter().find(|(found, _)| found == name).unwrap_or_else(|| panic!("no capture {name}")).1
}

/// Six hops lead to the destination.
#[test]
fn each_flow_is_constant_over_the_ttls_and_differs_from_the_others() {
    for protocol in Protocol::ALL {
        for family in ["v4", "v6"] {
            let name = format!("traceflow-{protocol}-{family}");
            let flows = flows(&capture(&name));
            assert_eq!(flows.len(), 4, "{name}: {flows:?}");
            for ((_, bytes, label), ttls) in &flows {
                assert!((1..=6).all(|ttl| ttls.contains(&ttl)), "{name}: {flows:?}");
                let [first, second, third, fourth] = *bytes;
                let (flow, rest) = match protocol {
                    Protocol::Icmp => ([third, fourth], [first, second]),
                    _ => ([first, second], [third, fourth]),
                };
                let expected = match (protocol, family) {
                    (Protocol::Icmp, "v4") => [8, 0],
                    (Protocol::Icmp, _) => [128, 0],
                    _ => 33_452_u16.to_be_bytes(),
                };
                assert_eq!(rest, expected, "{name}");
                let label_of_flow = if family == "v4" { 0 } else { FlowId(u16::from_be_bytes(flow)).label() };
                assert_eq!(*label, label_of_flow, "{name}");
            }
            let labels: BTreeSet<_> = flows.keys().map(|(_, _, label)| label).collect();
            assert_eq!(labels.len(), if family == "v4" { 1 } else { 4 }, "{name}: {flows:?}");
        }
    }
}

/// The measure itself, on programs known to keep their flows constant, and on some known not to.
#[test]
fn others_are_told_apart() {
    for (name, constant) in [
        ("scamper-udp-paris-v4", true),
        ("scamper-icmp-paris-v4", true),
        ("scamper-icmp-paris-v6", true),
        ("scamper-tcp-v4", true),
        ("trippy-udp-paris-v4", true),
        ("traceroute-udp-v4", false),
        ("traceroute-udp-v6", false),
        ("traceroute-icmp-v4", false),
        ("traceroute-tcp-v4", false),
        ("trippy-icmp-v4", false),
    ] {
        let flows = flows(&capture(name));
        let ttls: usize = flows.values().map(BTreeSet::len).sum();
        let expected = if constant { 1 } else { ttls };
        assert!(ttls >= 6, "{name}");
        assert_eq!(flows.len(), expected, "{name}: {flows:?}");
    }
}

/// Per-flow balancing routers answer a flow at one address a hop.
#[test]
fn the_answers_to_a_flow_are_a_path() {
    for protocol in Protocol::ALL {
        for family in ["v4", "v6"] {
            let name = format!("traceflow-{protocol}-{family}");
            let pcap = capture(&name);
            let packets = packets(&pcap);
            let sent: BTreeMap<_, _> = packets
                .iter()
                .filter_map(|packet| {
                    Some((packet.fingerprint()?.ident, (packet.fingerprint()?.flow, packet.ttl)))
                })
                .collect();
            let mut path: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
            for Message { from, quote, .. } in messages(&packets) {
                path.entry(sent[&quote.ident]).or_default().insert(from);
            }
            assert!(path.len() >= 4 * 6, "{name}: {path:?}");
            assert!(path.values().all(|answers| answers.len() == 1), "{name}: {path:?}");
        }
    }
}

fn messages(packets: &[Packet<'_>]) -> Vec<Message> {
    packets.iter().filter_map(|packet| packet.decode()?.ok()).collect()
}

#[test]
fn each_answer_is_to_one_probe() {
    let ours = captures().into_iter().filter(|(name, _)| name.starts_with("traceflow-"));
    for (name, pcap) in ours {
        let packets = packets(&pcap);
        let sent: Vec<_> = packets.iter().filter_map(Packet::fingerprint).collect();
        let answers = messages(&packets);
        assert!(!sent.is_empty() && !answers.is_empty(), "{name}");
        for Message { quote, .. } in answers {
            let fitting: Vec<_> = sent
                .iter()
                .map(|sent| quote.compare(sent))
                .filter(|verdict| *verdict != Verdict::Foreign)
                .collect();
            assert_eq!(fitting, [Verdict::Ours], "{name}: {quote:?}");
        }
    }
}

#[test]
fn no_answer_to_another_program_is_taken_for_ours() {
    let (ours, others): (Vec<_>, Vec<_>) =
        captures().into_iter().partition(|(name, _)| name.starts_with("traceflow-"));
    let sent: Vec<_> =
        ours.iter().flat_map(|(_, pcap)| packets(pcap)).filter_map(|packet| packet.fingerprint()).collect();
    let strangers = others.iter().flat_map(|(name, pcap)| {
        messages(&packets(pcap)).into_iter().map(move |message| (name, message.quote))
    });
    let mut compared = 0;
    for (name, quote) in strangers {
        compared += 1;
        let taken = sent.iter().find(|sent| matches!(quote.compare(sent), Verdict::Ours | Verdict::Nat));
        assert_eq!(taken, None, "{name}: {quote:?}");
    }
    assert!(compared > 300, "{compared}");
    assert!(sent.len() > 200, "{}", sent.len());
}
