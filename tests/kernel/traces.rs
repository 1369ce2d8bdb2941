//! `trace HOST` on kernel routers, held against the ground truth of the topology.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use serde_json::Value;
use traceflow_exporter::flow::Family;

use crate::lab::{self, Lab, Options, topology};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_traceflow_exporter");
const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// Runs `trace --format json` at the source of a lab. The seed makes the flows the same in every run.
pub(crate) fn trace(lab: &Lab, family: Family, options: &[&str]) -> Value {
    let destination = lab.destination(family).to_string();
    let output = lab
        .command("s", PROGRAM)
        .args(["trace", "--strategy", "fixed", "--seed", "1", "--format", "json"])
        .args(options)
        .arg(destination)
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaint.is_empty(), "{}: {complaint}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The nodes and links of a trace in the shape of the ground truth.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    nodes: BTreeSet<(u8, IpAddr)>,
    links: BTreeSet<(u8, IpAddr, IpAddr)>,
    silent: BTreeMap<u8, usize>,
    silent_links: BTreeSet<(u8, Option<IpAddr>, Option<IpAddr>)>,
}

fn address(value: &Value) -> Option<IpAddr> {
    value.as_str().map(|text| text.parse().unwrap())
}

fn number(value: &Value) -> u8 {
    value.as_u64().unwrap().try_into().unwrap()
}

fn found(trace: &Value) -> Found {
    let mut found = Found::default();
    for hop in trace["hops"].as_array().unwrap() {
        let ttl = number(&hop["ttl"]);
        for node in hop["nodes"].as_array().unwrap() {
            match address(&node["address"]) {
                Some(address) => drop(found.nodes.insert((ttl, address))),
                None => *found.silent.entry(ttl).or_default() += 1,
            }
        }
    }
    for link in trace["links"].as_array().unwrap() {
        let ttl = number(&link["ttl"]);
        match (address(&link["from"]), address(&link["to"])) {
            (Some(from), Some(to)) => drop(found.links.insert((ttl, from, to))),
            (from, to) => drop(found.silent_links.insert((ttl, from, to))),
        }
    }
    found
}

fn truth(lab: &Lab, family: Family) -> Found {
    let lab::Truth { nodes, links, silent, silent_links, .. } = lab.truth(family);
    Found { nodes, links, silent, silent_links }
}

/// Traces a lab over both families and compares everything that the ground truth knows.
fn check(name: &str, options: Options, paths: &str, reached: Reached) {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology(name), options);
    for family in FAMILIES {
        let trace = trace(&lab, family, &["--paths", paths]);
        assert_eq!(found(&trace), truth(&lab, family), "{name}, {family:?}");
        let known = lab.truth(family);
        assert_eq!(trace["reached"], reached != Reached::None, "{name}, {family:?}");
        if reached != Reached::None {
            let counts = [&trace["paths"], &trace["hops_min"], &trace["hops_max"]]
                .map(|count| count.as_u64().unwrap());
            let expected = [u64::try_from(known.paths).unwrap(), known.hops.0.into(), known.hops.1.into()];
            assert_eq!(counts, expected, "paths and hops of {name}, {family:?}");
        }
        let arrived =
            trace["flows"].as_array().unwrap().iter().filter(|flow| flow["reached"] == true).count();
        let asked: usize = paths.parse().unwrap();
        match reached {
            Reached::All => assert_eq!(arrived, asked, "{name}, {family:?}"),
            Reached::Some => {
                assert!((1..asked).contains(&arrived), "{arrived} of {asked} of {name}, {family:?}");
            }
            Reached::None => assert_eq!(arrived, 0, "{name}, {family:?}"),
        }
        let seconds = trace["duration_seconds"].as_f64().unwrap();
        assert!(seconds < 3.0, "{name}, {family:?}: {seconds} s");
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reached {
    All,
    Some,
    None,
}

macro_rules! traces {
    ($($test:ident: $topology:literal, $mode:ident, $flows:literal flows, $reached:ident reach;)*) => {
        $(#[test]
        fn $test() {
            check($topology, Options::$mode(), $flows, Reached::$reached);
        })*
    };
}

traces! {
    line_by_links: "line", links, "16" flows, All reach;
    line_by_routers: "line", routers, "16" flows, All reach;
    diamond2_by_links: "diamond2", links, "32" flows, All reach;
    diamond2_by_routers: "diamond2", routers, "32" flows, All reach;
    diamond4_by_links: "diamond4", links, "32" flows, All reach;
    diamond4_by_routers: "diamond4", routers, "32" flows, All reach;
    three_diamonds_by_links: "three-diamonds", links, "64" flows, All reach;
    three_diamonds_by_routers: "three-diamonds", routers, "64" flows, All reach;
    unequal_by_links: "unequal", links, "32" flows, All reach;
    unequal_by_routers: "unequal", routers, "32" flows, All reach;
    silent_by_routers: "silent", routers, "32" flows, All reach;
    swallow_by_routers: "swallow", routers, "32" flows, Some reach;
    blackhole_by_routers: "blackhole", routers, "8" flows, None reach;
    mesh_by_routers: "mesh4x4", routers, "128" flows, All reach;
}

#[test]
fn a_silent_router_costs_less_than_two_seconds() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("silent"), Options::routers());
    for family in FAMILIES {
        let trace = trace(&lab, family, &["--paths", "32"]);
        assert!(trace["duration_seconds"].as_f64().unwrap() < 2.0, "{family:?}");
        assert_eq!(trace["stop_reason"], "complete", "{family:?}");
    }
}

/// The kernel answers six probes at once and then one a second (IPv6: four a second).
#[test]
fn the_rate_limit_of_the_kernel_is_reported_and_makes_no_node() {
    if lab::skipped() {
        return;
    }
    let options = Options { icmp_rate_limit: true, ..Options::routers() };
    let lab = Lab::build(&topology("line"), options);
    for family in FAMILIES {
        let trace = trace(&lab, family, &["--paths", "32"]);
        assert_eq!(found(&trace), truth(&lab, family), "{family:?}");
        let limited: Vec<_> = trace["hops"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|hop| hop["nodes"].as_array().unwrap().iter().any(|node| node["rate_limited"] == true))
            .map(|hop| number(&hop["ttl"]))
            .collect();
        let hops = trace["hops"].as_array().unwrap().len();
        assert_eq!(limited.len(), hops, "{family:?}: every router limits: {limited:?}");
        assert_eq!(trace["paths"], 1, "{family:?}");
        let seconds = trace["duration_seconds"].as_f64().unwrap();
        assert!(seconds < 5.0, "{family:?}: reported, not waited for: {seconds} s");
    }
}

/// Round-trip times are those of the wire: probe and answer paired by the identification of the probe.
#[test]
fn round_trip_times_are_those_of_the_wire() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("line"), Options::routers());
    let capture = lab.capture("s", "udp or icmp");
    let trace = trace(&lab, Family::V4, &["--paths", "16"]);
    let wire = wire_rtts(&capture.stop());
    assert!(!wire.is_empty());
    for hop in trace["hops"].as_array().unwrap() {
        for node in hop["nodes"].as_array().unwrap() {
            let address = address(&node["address"]).unwrap();
            // The fastest of each: a busy machine delays some packets between our clock and the wire.
            let measured = node["rtt_seconds"]["min"].as_f64().unwrap();
            let fastest = wire[&address].iter().copied().fold(f64::INFINITY, f64::min);
            assert!((measured - fastest).abs() < 0.0003, "{address}: {measured} s, on the wire {fastest} s");
        }
    }
}

/// Round-trip times in seconds by who answered, from the lines of `tcpdump -tt -n -v`.
fn wire_rtts(lines: &[String]) -> BTreeMap<IpAddr, Vec<f64>> {
    let mut sent: BTreeMap<&str, f64> = BTreeMap::new();
    let mut rtts: BTreeMap<IpAddr, Vec<f64>> = BTreeMap::new();
    for line in lines {
        let at: f64 = line.split(' ').next().unwrap().parse().unwrap();
        let ids: Vec<&str> = line
            .match_indices(", id ")
            .filter_map(|(place, found)| line[place + found.len()..].split(',').next())
            .collect();
        match (line.contains("proto ICMP"), ids.as_slice()) {
            (false, [id]) => drop(sent.insert(id, at)),
            (true, [_, quoted]) => {
                let from = line.split(" > ").next().unwrap().rsplit(' ').next().unwrap();
                rtts.entry(from.parse().unwrap()).or_default().push(at - sent[quoted]);
            }
            _ => {}
        }
    }
    rtts
}

/// Runs side by side, with the same ports and flows, towards the same destination.
#[test]
fn two_processes_with_the_same_ports_do_not_mix_replies() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("diamond4"), Options::routers());
    for family in FAMILIES {
        let destination = lab.destination(family).to_string();
        let runs: Vec<_> = (0..4)
            .map(|_| {
                lab.command("s", PROGRAM)
                    .args(["trace", "--seed", "1", "--paths", "32", "--format", "json", &destination])
                    .stdout(std::process::Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        for run in runs {
            let trace: Value = serde_json::from_slice(&run.wait_with_output().unwrap().stdout).unwrap();
            assert_eq!(found(&trace), truth(&lab, family), "{family:?}");
            let counts = trace["hops"].as_array().unwrap().iter();
            let counts: Vec<_> = counts.map(|hop| (&hop["probes_sent"], &hop["replies_received"])).collect();
            assert!(counts.iter().all(|(sent, received)| sent == received), "{family:?}: {counts:?}");
        }
    }
}
