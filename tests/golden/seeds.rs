//! What the fuzzers start from: packets of the captures, probes of the encoder as routers quote them, and the files of the
//! repository.
//!
//! Knows what each target's input means (`fuzz/checks.rs`).

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv6Addr},
    path::Path,
};

use traceflow_exporter::{
    config::Module,
    flow::{FlowId, Protocol},
    probe::Ttl,
    request,
    wire::{Identity, checksum::Sum, encode},
};

use crate::{captures, ip::Packet};

#[test]
#[ignore = "writes fuzz/seeds; run by scripts/fuzz"]
fn make_seeds() {
    let [mut v4, mut v6] = [BTreeSet::new(), BTreeSet::new()];
    for (_, pcap) in captures() {
        for packet in pcap.packets() {
            match Packet::new(packet) {
                Some(header) if header.source.is_ipv4() => drop(v4.insert(packet.to_vec())),
                Some(header) => drop(v6.insert(header.payload.to_vec())),
                None => {}
            }
        }
    }
    for (errors, family) in [(&mut v4, 4), (&mut v6, 6)] {
        errors.extend(probes(family).into_iter().flat_map(|probe| {
            let ip = if family == 4 { 20 } else { 40 };
            let extended = padded(&probe).into_iter().chain(labelled(&[16_004, 24])).collect();
            [probe[..ip + 8].to_vec(), probe, extended].map(|quote| error(family, &quote))
        }));
    }
    write("decode_v4", v4);
    write("decode_v6", v6);
    // Family and protocol, ident, flow, tag, length quoted, TTL; no damage.
    let probe = |kind| [kind, 0x12, 0x34, 0x9c, 0x40, 0xde, 0xad, 0xbe, 0xef];
    let quotes =
        (0..6).flat_map(|kind| [28, 48, 255].map(|cut| [&probe(kind)[..], &[cut, 5], &[0; 64]].concat()));
    write("quote", quotes.collect());
    let stacks = [&[16_004][..], &[16_004, 24], &[1; 40], &[]];
    let interface = [0x20, 0, 0, 0, 0, 12, 2, 0x0a, 0, 0, 0, 1, 10, 0, 0, 1].to_vec();
    write("extension", stacks.map(labelled).into_iter().chain([interface]).collect());
    write("config", files(Path::new("."), &["yaml", "yml"]).chain(blocks("src/config/tests.rs")).collect());
    write("topology", files(Path::new("tests/topologies"), &["topo"]).collect());
}

fn write(target: &str, seeds: BTreeSet<Vec<u8>>) {
    let directory = Path::new("fuzz/seeds").join(target);
    // What an older capture left would stay.
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    println!("{}: {} seeds", directory.display(), seeds.len());
    for (index, seed) in seeds.into_iter().enumerate() {
        fs::write(directory.join(format!("{index:04}")), seed).unwrap();
    }
}

fn files(directory: &Path, extensions: &[&str]) -> impl Iterator<Item = Vec<u8>> {
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let wanted = paths
        .filter(|path| path.extension().is_some_and(|end| extensions.iter().any(|wanted| end == *wanted)));
    wanted.map(|path| fs::read(path).unwrap()).collect::<Vec<_>>().into_iter()
}

/// String literals of a test, many of which are small configurations.
fn blocks(source: &str) -> impl Iterator<Item = Vec<u8>> {
    let text = fs::read_to_string(source).unwrap();
    let literals = text.split('"').skip(1).step_by(2).filter(|literal| literal.contains(": "));
    literals.map(|literal| literal.replace("\\n", "\n").into_bytes()).collect::<Vec<_>>().into_iter()
}

/// A probe of each protocol.
fn probes(family: u8) -> [Vec<u8>; 3] {
    let [source, destination]: [IpAddr; 2] = match family {
        4 => [[192, 0, 2, 1], [198, 51, 100, 7]].map(IpAddr::from),
        _ => [1, 7].map(|end| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, end).into()),
    };
    Protocol::ALL.map(|protocol| {
        let template = request::template(&Module { protocol, ..Module::default() }, source, destination);
        let mut packet = Vec::new();
        let identity = Identity { ident: 0x1234, tag: 0xdead_beef, echo_id: 0x0456 };
        encode(&template, FlowId(40_000), Ttl::MIN, identity, &mut packet).unwrap();
        packet
    })
}

/// A time exceeded, as a raw socket of the family yields it.
fn error(family: u8, quote: &[u8]) -> Vec<u8> {
    let ip = [0x45, 0, 0, 0, 0, 7, 0, 0, 63, 1, 0, 0, 203, 0, 113, 9, 192, 0, 2, 1];
    match family {
        4 => [&ip[..], &[11, 0, 0, 0, 0, 0, 0, 0], quote].concat(),
        _ => [&[3, 0, 0, 0, 0, 0, 0, 0], quote].concat(),
    }
}

fn padded(quote: &[u8]) -> Vec<u8> {
    let mut padded = quote.to_vec();
    padded.resize(128, 0);
    padded
}

/// An extension with a label stack (RFC 4950).
fn labelled(labels: &[u32]) -> Vec<u8> {
    let entries = labels.iter().flat_map(|label| (label << 12 | 0x101).to_be_bytes());
    let length = u16::try_from(4 + 4 * labels.len()).unwrap().to_be_bytes();
    let object: Vec<u8> = length.into_iter().chain([1, 1]).chain(entries).collect();
    let checksum = Sum::default().words([0x2000]).bytes(&object).checksum().to_be_bytes();
    [&[0x20, 0][..], &checksum, &object].concat()
}
