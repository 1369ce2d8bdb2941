//! What one probe costs as bytes: encoding it, and decoding the answer of a router.
//!
//! Answers are those of each family's raw socket, made here by the RFCs from a probe that was really encoded.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a benchmark says what is wrong by panicking")]

use std::{
    hint::black_box,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use criterion::{BenchmarkId, Criterion};
use traceflow_exporter::{
    config::Module,
    flow::{Family, FlowId, Protocol},
    probe::{ReplyKind, Template, Ttl},
    request,
    wire::{self, DecodeError, Identity, Message, checksum::Sum},
};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
const IDENTITY: Identity = Identity { ident: 0x1234, tag: 0xdead_beef, echo_id: 0x0456 };
const ROUTER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9);

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    encode(&mut criterion);
    decode(&mut criterion);
    criterion.final_summary();
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    for family in FAMILIES {
        for protocol in Protocol::ALL {
            let template = template(family, protocol);
            let mut buffer = Vec::new();
            group.bench_function(BenchmarkId::new(protocol.name(), family.label()), |bencher| {
                bencher.iter(|| {
                    let template = black_box(&template);
                    wire::encode(template, FlowId(40_000), Ttl::MIN, black_box(IDENTITY), &mut buffer)
                });
            });
        }
    }
    group.finish();
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decode");
    for family in FAMILIES {
        let probe = probe(family);
        // All that a router of RFC 792 has to quote: the IP header and eight bytes.
        let short = probe.get(..header(family) + 8).unwrap();
        for (name, labels, answer) in [
            ("whole quote", 0, time_exceeded(family, 0, &[&probe])),
            ("short quote", 0, time_exceeded(family, 0, &[short])),
            ("two MPLS labels", 2, labelled(family, &probe)),
        ] {
            let message = read(family, &answer).unwrap();
            assert_eq!((message.kind, message.quote.ident), (ReplyKind::TimeExceeded, IDENTITY.ident));
            assert_eq!(message.mpls.len(), labels, "{name} over {family:?}");
            group.bench_function(BenchmarkId::new(name, family.label()), |bencher| {
                bencher.iter(|| read(family, black_box(&answer)));
            });
        }
    }
    group.finish();
}

fn read(family: Family, answer: &[u8]) -> Result<Message, DecodeError> {
    match family {
        Family::V4 => wire::decode_v4(answer),
        Family::V6 => wire::decode_v6(ROUTER_V6, answer, Protocol::Icmp),
    }
}

fn template(family: Family, protocol: Protocol) -> Template {
    let [source, destination] = match family {
        Family::V4 => ["192.0.2.1", "198.51.100.7"],
        Family::V6 => ["2001:db8::1", "2001:db8:ffff::7"],
    }
    .map(|address| address.parse::<IpAddr>().unwrap());
    request::template(&Module { protocol, ..Module::default() }, source, destination)
}

/// A UDP probe as it arrives where its TTL runs out.
fn probe(family: Family) -> Vec<u8> {
    let mut packet = Vec::new();
    let template = template(family, Protocol::Udp);
    wire::encode(&template, FlowId(40_000), Ttl::MIN, IDENTITY, &mut packet).unwrap();
    packet
}

/// Length of the IP header.
fn header(family: Family) -> usize {
    if family == Family::V4 { 20 } else { 40 }
}

/// A time exceeded as a raw socket yields it: for IPv4 with an IP header, for IPv6 without. `words` is the length field of
/// RFC 4884.
fn time_exceeded(family: Family, words: u8, body: &[&[u8]]) -> Vec<u8> {
    let mut packet = match family {
        Family::V4 => {
            // From 203.0.113.9 to 192.0.2.1. The checksums are the kernel's business.
            let mut packet = vec![0x45, 0, 0, 0, 0, 7, 0, 0, 63, 1, 0, 0, 203, 0, 113, 9, 192, 0, 2, 1];
            packet.extend([11, 0, 0, 0, 0, words, 0, 0]);
            packet
        }
        Family::V6 => vec![3, 0, 0, 0, words, 0, 0, 0],
    };
    packet.extend(body.concat());
    packet
}

/// The same with the label stack that the probe arrived with (RFC 4950), behind a quote padded to 128 bytes.
fn labelled(family: Family, probe: &[u8]) -> Vec<u8> {
    let mut quote = probe.to_vec();
    quote.resize(128, 0);
    let words = if family == Family::V4 { 128 / 4 } else { 128 / 8 };
    let extension = |[high, low]: [u8; 2]| {
        // Version 2; an object of twelve bytes, class 1, type 1; labels 16004 and 24001, the second at the bottom.
        [[0x20, 0, high, low], [0, 12, 1, 1], [0x03, 0xe8, 0x40, 1], [0x05, 0xdc, 0x11, 1]].concat()
    };
    let checksum = Sum::default().bytes(&extension([0, 0])).checksum();
    time_exceeded(family, words, &[&quote, &extension(checksum.to_be_bytes())])
}
