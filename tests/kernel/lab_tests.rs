//! The lab checked against itself: what a plain prober sees in the kernel is what [`lab::Truth`] computes.

use std::{collections::BTreeSet, fs, net::IpAddr, panic::catch_unwind, process::Command, time::Instant};

use traceflow_exporter::flow::Family;

use crate::{
    lab::{self, Lab, Options, topology},
    prober::{Observed, probe},
};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

fn build(name: &str, options: Options) -> Lab {
    #[expect(clippy::disallowed_methods, reason = "tells how long a lab takes; nothing depends on it")]
    let begin = Instant::now();
    let lab = Lab::build(&topology(name), options);
    println!("{name}: {} namespaces in {:?}", lab.namespaces().len(), begin.elapsed());
    lab
}

fn assert_truth(lab: &Lab, observed: &Observed, family: Family) {
    let truth = lab.truth(family);
    assert_eq!(observed.nodes(), truth.nodes, "nodes, {family:?}");
    assert_eq!(observed.links(), truth.links, "links, {family:?}");
    assert_eq!(observed.gaps(), truth.silent.keys().copied().collect::<BTreeSet<_>>(), "silence, {family:?}");
}

/// In these all flows end at the destination, or all do not. Flows that a swallowing branch takes end early.
fn check(name: &str, options: Options, flows: u16, reached: u16) {
    if lab::skipped() {
        return;
    }
    let lab = build(name, options);
    for family in FAMILIES {
        // Beyond the end, where nothing may answer; a loop answers for ever.
        let last = lab.truth(family).nodes.last().map_or(1, |(ttl, _)| *ttl);
        let max_ttl = (last + 2).min(30);
        let observed = probe(&lab, "s", lab.destination(family), flows, max_ttl);
        assert_truth(&lab, &observed, family);
        assert!(
            observed.reached() >= usize::from(reached.min(1)) && observed.reached() <= usize::from(reached),
            "{} of {flows} flows reached the destination, {family:?}",
            observed.reached()
        );
    }
}

macro_rules! truths {
    ($($test:ident: $topology:literal, $mode:ident, $flows:literal flows, at most $reached:literal reach;)*) => {
        $(#[test]
        fn $test() {
            check($topology, Options::$mode(), $flows, $reached);
        })*
    };
}

truths! {
    line_by_links: "line", links, 64 flows, at most 64 reach;
    line_by_routers: "line", routers, 64 flows, at most 64 reach;
    diamond2_by_links: "diamond2", links, 64 flows, at most 64 reach;
    diamond2_by_routers: "diamond2", routers, 64 flows, at most 64 reach;
    diamond4_by_links: "diamond4", links, 64 flows, at most 64 reach;
    diamond4_by_routers: "diamond4", routers, 64 flows, at most 64 reach;
    three_diamonds_by_links: "three-diamonds", links, 64 flows, at most 64 reach;
    three_diamonds_by_routers: "three-diamonds", routers, 64 flows, at most 64 reach;
    unequal_by_links: "unequal", links, 64 flows, at most 64 reach;
    unequal_by_routers: "unequal", routers, 64 flows, at most 64 reach;
    weights_by_routers: "weights8421", routers, 128 flows, at most 128 reach;
    asymmetric_by_routers: "asymmetric", routers, 256 flows, at most 256 reach;
    mesh_by_links: "mesh4x4", links, 256 flows, at most 256 reach;
    mesh_by_routers: "mesh4x4", routers, 256 flows, at most 256 reach;
    wide16_by_links: "wide16", links, 256 flows, at most 256 reach;
    wide16_by_routers: "wide16", routers, 256 flows, at most 256 reach;
    cascade_by_links: "cascade2x3x4", links, 256 flows, at most 256 reach;
    cascade_by_routers: "cascade2x3x4", routers, 256 flows, at most 256 reach;
    silent_by_links: "silent", links, 64 flows, at most 64 reach;
    silent_by_routers: "silent", routers, 64 flows, at most 64 reach;
    silent_hops_by_links: "silent-hops", links, 64 flows, at most 64 reach;
    silent_hops_by_routers: "silent-hops", routers, 64 flows, at most 64 reach;
    silent_destination_by_routers: "silent-destination", routers, 64 flows, at most 0 reach;
    swallow_by_links: "swallow", links, 64 flows, at most 63 reach;
    swallow_by_routers: "swallow", routers, 64 flows, at most 63 reach;
    unreachable_by_links: "unreachable", links, 64 flows, at most 63 reach;
    unreachable_by_routers: "unreachable", routers, 64 flows, at most 63 reach;
    blackhole_by_routers: "blackhole", routers, 16 flows, at most 0 reach;
    loop_by_links: "loop", links, 16 flows, at most 0 reach;
    loop_by_routers: "loop", routers, 16 flows, at most 0 reach;
}

#[test]
fn every_destination_has_its_route() {
    if lab::skipped() {
        return;
    }
    let lab = build("many", Options::routers());
    for (destination, family) in [("d1", Family::V4), ("d55", Family::V6), ("d100", Family::V4)] {
        let truth = lab.truth_to(destination, family);
        let observed = probe(&lab, "s", lab.address(destination, family), 64, 5);
        assert_eq!(observed.nodes(), truth.nodes, "{destination}");
        assert_eq!(observed.links(), truth.links, "{destination}");
        assert_eq!(truth.paths, 12);
    }
}

#[test]
fn next_hops_go_and_come_back() {
    if lab::skipped() {
        return;
    }
    let lab = build("diamond4", Options::routers());
    for family in FAMILIES {
        let second_hop = || -> BTreeSet<IpAddr> {
            let observed = probe(&lab, "s", lab.destination(family), 64, 2);
            observed.nodes().into_iter().filter(|(ttl, _)| *ttl == 2).map(|(_, address)| address).collect()
        };
        let all = ["a1", "b1", "c1", "e1"];
        for next_hops in [&all[..], &["a1", "c1", "e1"], &["b1"], &all] {
            lab.replace_next_hops("r1", next_hops);
            let expected = next_hops.iter().map(|name| lab.address(name, family)).collect();
            assert_eq!(second_hop(), expected, "{next_hops:?}, {family:?}");
        }
    }
}

#[test]
fn captures_hold_every_packet() {
    if lab::skipped() {
        return;
    }
    let lab = build("line", Options::routers());
    for (family, version, errors) in [(Family::V4, "IP ", "icmp"), (Family::V6, "IP6 ", "icmp6")] {
        let source = lab.capture("s", "udp");
        let router = lab.capture("r2", errors);
        probe(&lab, "s", lab.destination(family), 8, 6);
        let (probes, answers) = (source.stop(), router.stop());
        assert_eq!(probes.len(), 8 * 6, "{probes:#?}");
        assert!(
            probes.iter().all(|packet| packet.contains(version) && packet.contains(".33452")),
            "{probes:#?}"
        );
        // Its own and those of the four hops behind it.
        assert_eq!(answers.len(), 8 * 5, "{answers:#?}");
        let times = probes.iter().map(|packet| packet.split(' ').next().unwrap().parse::<f64>().unwrap());
        assert!(times.is_sorted());
    }
}

#[test]
fn weights_give_shares() {
    if lab::skipped() {
        return;
    }
    let lab = build("weights8421", Options::routers());
    for family in FAMILIES {
        let observed = probe(&lab, "s", lab.destination(family), 300, 2);
        let share = |name: &str| {
            let address = lab.address(name, family);
            observed.flows.values().filter(|hops| hops.get(&2) == Some(&address)).count()
        };
        let shares = ["a", "b", "c", "e"].map(share);
        for (share, expected) in shares.into_iter().zip([160, 80, 40, 20]) {
            // Three standard deviations and more.
            assert!(share.abs_diff(expected) < 30, "{shares:?}, {family:?}");
        }
    }
}

/// Each packet of a flow goes its own way, so that neighbours along a flow come from any two branches, and as often as the
/// weights say.
#[test]
fn a_per_packet_balancer_deals_out_the_packets_of_a_flow() {
    if lab::skipped() {
        return;
    }
    let lab = build("per-packet", Options::routers());
    for family in FAMILIES {
        let (observed, truth) = (probe(&lab, "s", lab.destination(family), 64, 8), lab.truth(family));
        assert_eq!(observed.nodes(), truth.nodes, "{family:?}");
        let links = observed.links();
        assert!(
            links.is_superset(&truth.links) && links.len() > truth.links.len() + 3,
            "{links:?}, {family:?}"
        );
        assert_eq!(observed.reached(), 64, "{family:?}");
    }
    let weights = "s -> r1\nr1 -> a weight=3\nr1 -> b\na b -> d\nnode r1 balance=per-packet";
    let lab = Lab::build(&weights.parse().unwrap(), Options::routers());
    for family in FAMILIES {
        let a = lab.address("a", family);
        let observed = probe(&lab, "s", lab.destination(family), 300, 2);
        let share = observed.flows.values().filter(|hops| hops.get(&2) == Some(&a)).count();
        // Five standard deviations and more.
        assert!(share.abs_diff(225) < 40, "{share} of 300, {family:?}");
    }
}

#[test]
fn a_per_destination_balancer_sends_all_flows_one_way() {
    if lab::skipped() {
        return;
    }
    let lab = build("per-destination", Options::routers());
    for family in FAMILIES {
        let mut ways = BTreeSet::new();
        for destination in (1..=8).map(|number| lab.address(&format!("d{number}"), family)) {
            let observed = probe(&lab, "s", destination, 32, 4);
            assert_eq!(observed.reached(), 32, "{destination}");
            assert_eq!(observed.nodes().len(), 4, "{destination}: {:?}", observed.nodes());
            ways.extend(observed.nodes().into_iter().filter(|(ttl, _)| *ttl == 2));
        }
        assert!((2..=4).contains(&ways.len()), "{ways:?}");
    }
}

/// The truth is that of the way there, whichever ways back there are.
#[test]
fn balanced_answers_change_no_truth() {
    if lab::skipped() {
        return;
    }
    for (name, flows) in [("diamond4", 64), ("mesh4x4", 256), ("unequal", 64)] {
        let lab = build(name, Options { return_ecmp: true, ..Options::routers() });
        for family in FAMILIES {
            let observed = probe(&lab, "s", lab.destination(family), flows, 8);
            assert_truth(&lab, &observed, family);
            assert_eq!(observed.reached(), usize::from(flows), "{name}, {family:?}");
        }
    }
}

#[test]
fn the_seed_decides_which_way_flows_go() {
    if lab::skipped() {
        return;
    }
    let flows = |hash_seed, family| {
        let lab = build("diamond4", Options { hash_seed, ..Options::routers() });
        probe(&lab, "s", lab.destination(family), 64, 6).flows
    };
    for family in FAMILIES {
        let first = flows(1, family);
        assert_eq!(first, flows(1, family), "{family:?}");
        assert_ne!(first, flows(2, family), "{family:?}");
    }
}

#[test]
fn the_kernels_rate_limit_can_be_left_on() {
    if lab::skipped() {
        return;
    }
    for (icmp_rate_limit, limited) in [(true, true), (false, false)] {
        let lab = build("line", Options { icmp_rate_limit, ..Options::routers() });
        for family in FAMILIES {
            let observed = probe(&lab, "s", lab.destination(family), 64, 1);
            assert_eq!(observed.flows.len() < 64, limited, "{} answers, {family:?}", observed.flows.len());
        }
    }
}

/// Namespaces there are of these.
fn left(namespaces: &[String]) -> usize {
    namespaces.iter().filter(|name| fs::exists(format!("/run/netns/{name}")).unwrap()).count()
}

#[test]
fn nothing_is_left_behind() {
    if lab::skipped() {
        return;
    }
    let lab = build("line", Options::links());
    let namespaces = lab.namespaces();
    let mut inhabitant = lab.command("r3", "sleep").arg("600").spawn().unwrap();
    assert_eq!(left(&namespaces), 7);
    drop(lab);
    assert_eq!(left(&namespaces), 0);
    assert!(!inhabitant.wait().unwrap().success(), "a process in a namespace outlived it");

    let mut namespaces = Vec::new();
    let panicked = catch_unwind(std::panic::AssertUnwindSafe(|| {
        let lab = build("line", Options::links());
        namespaces = lab.namespaces();
        lab.replace_next_hops("r1", &["r5"]);
    }));
    assert!(panicked.is_err());
    assert_eq!((namespaces.len(), left(&namespaces)), (7, 0));
}

#[test]
fn labs_of_the_dead_are_swept_away() {
    if lab::skipped() {
        return;
    }
    let mut dead = Command::new("true").spawn().unwrap();
    let of = |process: u32| format!("tf-{process}-0-r1");
    let namespaces = [of(dead.id()), of(1)];
    dead.wait().unwrap();
    for namespace in &namespaces {
        assert!(Command::new("ip").args(["netns", "add", namespace]).status().unwrap().success());
    }
    drop(build("line", Options::links()));
    let left = namespaces.each_ref().map(|namespace| left(std::slice::from_ref(namespace)));
    Command::new("ip").args(["netns", "delete", &namespaces[1]]).status().unwrap();
    assert_eq!(left, [0, 1], "only that of the living may be left");
}
