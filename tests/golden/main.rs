//! Packets of real programs and answers of kernel routers, captured by tcpdump, with what the decoder has to make of each:
//! `NAME.pcap` and beside it `NAME.txt`, a line a packet.
//!
//! `scripts/make-goldens` makes the captures anew and has tshark, as a second reader, check every line. With
//! UPDATE_GOLDENS=1 in the environment the texts are written in place of being compared.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test says what is wrong by panicking, its helpers too"
)]

mod ip;
/// The kernel lab of the tests in `tests/kernel`, of which only the captures need a part.
#[path = "../kernel"]
#[allow(dead_code, unused_imports, reason = "a part of the lab is enough here")]
mod kernel {
    pub(crate) mod lab;
}
mod make;
mod paris;
mod pcap;
mod seeds;
mod tshark;

use std::{
    env,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use ip::{Packet, describe};
// The lab calls itself by this path.
use kernel::lab;
use pcap::Pcap;

/// Where the captures are.
fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// All captures by name.
fn captures() -> Vec<(String, Pcap)> {
    let mut paths: Vec<_> = fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "pcap"));
    paths.sort();
    let name = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
    paths.iter().map(|path| (name(path), Pcap::load(path))).collect()
}

/// The golden text of a capture: a number and a description for each packet.
fn text(pcap: &Pcap) -> String {
    let mut text = String::new();
    for (index, packet) in pcap.packets().into_iter().enumerate() {
        let line = Packet::new(packet).map_or_else(|| "not IP".to_owned(), |packet| describe(&packet));
        writeln!(text, "{} {line}", index + 1).unwrap();
    }
    text
}

#[test]
fn captures_decode_to_their_texts() {
    let captures = captures();
    assert!(captures.len() >= 30, "captures are gone");
    let mut wrong = Vec::new();
    for (name, pcap) in captures {
        let path = directory().join(format!("{name}.txt"));
        let found = text(&pcap);
        if env::var_os("UPDATE_GOLDENS").is_some() {
            fs::write(&path, &found).unwrap();
            continue;
        }
        let expected =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let [found, expected] = [&found, &expected].map(|text| text.lines().collect::<Vec<_>>());
        if found.len() != expected.len() {
            wrong.push(format!("{name}: {} packets, {} lines of text", found.len(), expected.len()));
        }
        let pairs = found.into_iter().zip(expected).filter(|(found, expected)| found != expected);
        wrong.extend(
            pairs.map(|(found, expected)| format!("{name}:\n  found    {found}\n  expected {expected}")),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A capture that lost what it was made for would still decode to its text.
#[test]
fn captures_hold_what_they_are_for() {
    for (name, wanted) in [
        (
            "traceflow-filtered-v4",
            "unreachable/0 unreachable/1 unreachable/2 unreachable/3 unreachable/9 unreachable/10 unreachable/13 port-unreachable reset",
        ),
        (
            "traceflow-filtered-v6",
            "unreachable/0 unreachable/1 unreachable/3 unreachable/4 unreachable/5 unreachable/6 port-unreachable reset",
        ),
        ("traceflow-unrouted-v4", "unreachable/0 unreachable/1 unreachable/13"),
        ("traceflow-unrouted-v6", "unreachable/0 unreachable/1 unreachable/3"),
        ("traceflow-translated-v4", "time-exceeded port-unreachable echo-reply syn-ack"),
        ("traceflow-translated-v6", "time-exceeded port-unreachable echo-reply syn-ack"),
        ("traceflow-loopback-v4", "port-unreachable echo-reply reset"),
        ("traceflow-loopback-v6", "port-unreachable echo-reply reset"),
        ("ping-too-long-v4", "unreachable/4"),
        ("ping-record-route-v4", "time-exceeded echo-reply"),
        ("ping-fragments-v6", "time-exceeded"),
        ("dublin-traceroute-v4", "time-exceeded port-unreachable"),
        ("trippy-tcp-v6", "time-exceeded reset"),
        ("scamper-icmp-paris-v4", "time-exceeded echo-reply"),
    ] {
        let text = fs::read_to_string(directory().join(format!("{name}.txt"))).unwrap();
        for kind in wanted.split(' ') {
            assert!(text.contains(&format!(" kind={kind} ")), "{name} has no {kind}");
        }
    }
}
