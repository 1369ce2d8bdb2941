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
    trace_to(lab, "s", lab.destination(family), options)
}

/// The same at any node, to any destination.
pub(crate) fn trace_to(lab: &Lab, node: &str, destination: IpAddr, options: &[&str]) -> Value {
    let strategy: &[&str] = if options.contains(&"--strategy") { &[] } else { &["--strategy", "fixed"] };
    let output = lab
        .command(node, PROGRAM)
        .args(["trace", "--seed", "1", "--format", "json"])
        .args(strategy)
        .args(options)
        .arg(destination.to_string())
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

/// Traces a lab over both families with each protocol and compares everything that the ground truth knows.
fn check(name: &str, options: Options, protocols: &[&str], flows: usize, reached: Reached) {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology(name), options);
    for (family, protocol) in cases(protocols) {
        let trace = trace(&lab, family, &["--protocol", protocol, "--paths", &flows.to_string()]);
        let case = format!("{name}, {protocol}, {family:?}");
        if protocol == "icmp" && lab.truth(family).paths > 1 {
            assert_one_path(&trace, &lab, family, &case);
        } else {
            assert_truth(&trace, &lab, family, &case);
        }
        assert_eq!(trace["reached"], reached != Reached::None, "{case}");
        let arrived = arrived(&trace);
        match reached {
            Reached::All => assert_eq!(arrived, flows, "{case}"),
            Reached::Some => assert!((1..flows).contains(&arrived), "{arrived} of {flows} of {case}"),
            Reached::None => assert_eq!(arrived, 0, "{case}"),
        }
        let seconds = trace["duration_seconds"].as_f64().unwrap();
        assert!(seconds < 3.0, "{case}: {seconds} s");
    }
}

/// Both families with each protocol.
pub(crate) fn cases<'a>(protocols: &'a [&'a str]) -> impl Iterator<Item = (Family, &'a str)> {
    FAMILIES.into_iter().flat_map(move |family| protocols.iter().map(move |&protocol| (family, protocol)))
}

/// How many flows reached the destination.
pub(crate) fn arrived(trace: &Value) -> usize {
    trace["flows"].as_array().unwrap().iter().filter(|flow| flow["reached"] == true).count()
}

/// The trace found everything there is, and nothing else.
pub(crate) fn assert_truth(trace: &Value, lab: &Lab, family: Family, case: &str) {
    let known = lab.truth(family);
    assert_eq!(found(trace), truth(lab, family), "{case}");
    if trace["reached"] == true {
        let expected = [u64::try_from(known.paths).unwrap(), known.hops.0.into(), known.hops.1.into()];
        assert_eq!(counts(trace), expected, "paths and hops of {case}");
    }
}

/// The trace found one of the ways there are, from end to end. That is all that echo requests can find here: hash policy 1
/// sees neither checksum nor flow label, so that all of them are one flow.
pub(crate) fn assert_one_path(trace: &Value, lab: &Lab, family: Family, case: &str) {
    let (found, truth) = (found(trace), truth(lab, family));
    let [paths, shortest, longest] = counts(trace);
    assert_eq!((paths, shortest), (1, longest), "{case}");
    assert_eq!(trace["flow_paths"], 1, "{case}");
    let ttls: Vec<u64> = found.nodes.iter().map(|(ttl, _)| u64::from(*ttl)).collect();
    assert_eq!(ttls, (1..=longest).collect::<Vec<_>>(), "one node a hop: {case}");
    assert_eq!(found.links.len(), found.nodes.len() - 1, "{case}");
    assert!(found.nodes.is_subset(&truth.nodes) && found.links.is_subset(&truth.links), "{case}: {found:?}");
}

/// Paths, hops of the shortest, hops of the longest.
fn counts(trace: &Value) -> [u64; 3] {
    [&trace["paths"], &trace["hops_min"], &trace["hops_max"]].map(|count| count.as_u64().unwrap())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reached {
    All,
    Some,
    None,
}

macro_rules! traces {
    ($($test:ident: $topology:literal, $mode:ident, $($protocol:ident)+, $flows:literal flows, $reached:ident reach;)*) => {
        $(#[test]
        fn $test() {
            check($topology, Options::$mode(), &[$(stringify!($protocol)),+], $flows, Reached::$reached);
        })*
    };
}

traces! {
    line_by_links: "line", links, udp icmp tcp, 16 flows, All reach;
    line_by_routers: "line", routers, udp icmp tcp, 16 flows, All reach;
    diamond2_by_links: "diamond2", links, udp, 32 flows, All reach;
    diamond2_by_routers: "diamond2", routers, udp, 32 flows, All reach;
    diamond4_by_links: "diamond4", links, udp icmp tcp, 32 flows, All reach;
    diamond4_by_routers: "diamond4", routers, udp icmp tcp, 32 flows, All reach;
    three_diamonds_by_links: "three-diamonds", links, udp, 64 flows, All reach;
    three_diamonds_by_routers: "three-diamonds", routers, udp, 64 flows, All reach;
    unequal_by_links: "unequal", links, udp, 32 flows, All reach;
    unequal_by_routers: "unequal", routers, udp tcp, 32 flows, All reach;
    weights_by_routers: "weights8421", routers, udp, 128 flows, All reach;
    wide16_by_links: "wide16", links, udp, 128 flows, All reach;
    wide16_by_routers: "wide16", routers, udp tcp, 128 flows, All reach;
    cascade_by_routers: "cascade2x3x4", routers, udp, 256 flows, All reach;
    asymmetric_by_routers: "asymmetric", routers, udp, 256 flows, All reach;
    mesh_by_routers: "mesh4x4", routers, udp, 128 flows, All reach;
    silent_by_routers: "silent", routers, udp tcp, 32 flows, All reach;
    silent_hops_by_links: "silent-hops", links, udp, 64 flows, All reach;
    silent_hops_by_routers: "silent-hops", routers, udp, 64 flows, All reach;
    swallow_by_routers: "swallow", routers, udp tcp, 32 flows, Some reach;
    unreachable_by_links: "unreachable", links, udp, 32 flows, Some reach;
    unreachable_by_routers: "unreachable", routers, udp tcp, 32 flows, Some reach;
    blackhole_by_routers: "blackhole", routers, udp, 8 flows, None reach;
}

/// Which way an answer comes does not change who sent it.
#[test]
fn balanced_answers_show_the_same_route() {
    let options = Options { return_ecmp: true, ..Options::routers() };
    check("diamond4", options, &["udp", "icmp", "tcp"], 32, Reached::All);
    check("mesh4x4", options, &["udp"], 128, Reached::All);
    check("unequal", options, &["udp"], 32, Reached::All);
}

/// Every way that flows can take is closed.
#[test]
fn a_refusal_ends_the_trace_and_is_named() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&"s -> r1 -> r2 -> d\nnode r2 unreachable=13".parse().unwrap(), Options::routers());
    for (family, protocol) in cases(&["udp", "icmp", "tcp"]) {
        let trace = trace(&lab, family, &["--protocol", protocol, "--paths", "8"]);
        assert_truth(&trace, &lab, family, protocol);
        assert_eq!(trace["stop_reason"], "destination_unreachable", "{protocol}, {family:?}");
        let code = if family == Family::V4 { 13 } else { 1 };
        let who = lab.address("r2", family);
        let expected = format!("{who} said administratively prohibited (ICMP code {code})");
        assert_eq!(trace["detail"], expected, "{protocol}, {family:?}");
    }
}

/// Behind a per-packet balancer only nodes are promised.
#[test]
fn nodes_behind_a_per_packet_balancer_are_right() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("per-packet"), Options::routers());
    for (family, protocol) in cases(&["udp", "icmp", "tcp"]) {
        let trace = trace(&lab, family, &["--protocol", protocol, "--paths", "32"]);
        assert_eq!(found(&trace).nodes, lab.truth(family).nodes, "{protocol}, {family:?}");
        assert_eq!(arrived(&trace), 32, "{protocol}, {family:?}");
    }
}

/// The discovery repeats a flow and sees that it is dealt out packet by packet: links behind the balancer are marked, others are true.
#[test]
fn a_per_packet_zone_is_marked() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("per-packet"), Options::routers());
    for family in FAMILIES {
        let trace = trace(&lab, family, &["--strategy", "mda-lite", "--confidence", "0.999"]);
        let truth = lab.truth(family);
        assert_eq!(found(&trace).nodes, truth.nodes, "{family:?}");
        let nodes = trace["hops"].as_array().unwrap().iter().flat_map(|hop| hop["nodes"].as_array().unwrap());
        assert_eq!(nodes.filter(|node| node["balancing"] == "per_packet").count(), 1, "{family:?}");
        for link in trace["links"].as_array().unwrap() {
            let inside = (2..=4).contains(&number(&link["ttl"]));
            assert_eq!(link["per_packet"], inside, "{family:?}: {link}");
        }
        assert!(truth.links.is_subset(&found(&trace).links), "{family:?}");
    }
}

/// Towards one destination all flows are one; towards others they may go another way.
#[test]
fn a_per_destination_balancer_has_one_way_for_each_destination() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("per-destination"), Options::routers());
    for family in FAMILIES {
        let mut ways = BTreeSet::new();
        for number in 1..=8 {
            let destination = format!("d{number}");
            let trace = trace_to(&lab, "s", lab.address(&destination, family), &["--paths", "16"]);
            let (found, known) = (found(&trace), lab.truth_to(&destination, family));
            assert_eq!(counts(&trace), [1, 4, 4], "{destination}");
            assert_eq!(found.nodes.len(), 4, "{destination}: {found:?}");
            assert!(found.nodes.is_subset(&known.nodes) && found.links.is_subset(&known.links), "{found:?}");
            ways.extend(found.nodes.into_iter().filter(|(ttl, _)| *ttl == 2));
        }
        assert!(ways.len() > 1, "{ways:?}");
    }
}

/// The kernel gives all our packets the same one of its own next hops: half of the truth, but no false one.
#[test]
fn a_source_with_several_next_hops_uses_one() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("multihomed"), Options::routers());
    for (family, protocol) in cases(&["udp", "tcp"]) {
        let trace = trace(&lab, family, &["--protocol", protocol, "--paths", "32"]);
        assert_one_path(&trace, &lab, family, protocol);
    }
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
fn the_rate_limit_of_the_kernel_is_waited_for_and_reported() {
    if lab::skipped() {
        return;
    }
    let options = Options { icmp_rate_limit: true, ..Options::routers() };
    let lab = Lab::build(&topology("line"), options);
    for family in FAMILIES {
        let trace = trace(&lab, family, &["--paths", "12"]);
        assert_eq!(found(&trace), truth(&lab, family), "{family:?}");
        let hops = trace["hops"].as_array().unwrap();
        let limits =
            |hop: &&Value| hop["nodes"].as_array().unwrap().iter().any(|node| node["rate_limited"] == true);
        assert_eq!(hops.iter().filter(limits).count(), hops.len(), "{family:?}: every router limits");
        assert_eq!(trace["paths"], 1, "{family:?}");
        let reached =
            trace["flows"].as_array().unwrap().iter().filter(|flow| flow["reached"] == true).count();
        assert_eq!(reached, 12, "{family:?}: no answer is lost for good");
    }
    let lab = Lab::build(&topology("diamond2"), options);
    for family in FAMILIES {
        let trace = trace(&lab, family, &["--strategy", "mda-lite", "--confidence", "0.99"]);
        assert_eq!(found(&trace), truth(&lab, family), "{family:?}");
        assert_eq!(trace["stop_reason"], "complete", "{family:?}");
        println!("{family:?}: {} probes, {} s", trace["probes_sent"], trace["duration_seconds"]);
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

/// The detection algorithms find the whole route by themselves. At this confidence a run that misses something is a defect.
#[test]
fn the_detection_algorithms_find_the_whole_route() {
    if lab::skipped() {
        return;
    }
    for name in ["line", "diamond4", "three-diamonds", "unequal", "silent", "wide16", "mesh4x4"] {
        let lab = Lab::build(&topology(name), Options::routers());
        for family in FAMILIES {
            for strategy in ["mda-lite", "mda"] {
                let trace = trace(&lab, family, &["--strategy", strategy, "--confidence", "0.999"]);
                assert_eq!(found(&trace), truth(&lab, family), "{name}, {strategy}, {family:?}");
                assert_eq!(trace["stop_reason"], "complete", "{name}, {strategy}, {family:?}");
                let reached = trace["confidence_reached"].as_f64().unwrap();
                assert!(reached >= 0.998, "{name}, {strategy}, {family:?}: {reached}");
            }
        }
    }
}
