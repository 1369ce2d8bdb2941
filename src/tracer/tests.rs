//! Tests of the engine on the simulated network: virtual time, real bytes, fixed seeds.

use std::{collections::BTreeSet, net::IpAddr, path::Path, time::Duration};

use super::Settings;
use crate::{
    flow::{Family, FlowSequence, Protocol},
    probe::Ttl,
    simulation::{Bench, Network, Topology, Truth},
    strategy::Strategy,
    time::Time,
    trace::{StopReason, Trace},
};

fn settings(flows: u16) -> Settings {
    Settings {
        strategy: Strategy::Fixed,
        confidence: 0.95,
        first_ttl: Ttl::MIN,
        max_ttl: Ttl::MIN.plus(29),
        timeout: Duration::from_secs(2),
        attempts: 3,
        gap_limit: 5,
        max_probes: 50_000,
        flows,
        pps: 1000,
        burst: 64,
        time_limit: None,
        flow_sequence: FlowSequence::new(33_453, 1),
    }
}

fn topology(name: &str) -> Topology {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/topologies")
        .join(format!("{name}.topo"));
    std::fs::read_to_string(path).unwrap().parse().unwrap()
}

fn bench(topology: &Topology, family: Family, seed: u64) -> Bench {
    Bench::new(Network::new(topology, family, seed), 1, 100_000, seed)
}

fn trace(name: &str, family: Family, settings: Settings) -> (Trace, Truth) {
    let mut bench = bench(&topology(name), family, 7);
    let truth = bench.network().truth(Time::ZERO);
    let trace = bench.trace(Protocol::Udp, settings).unwrap();
    (trace, truth)
}

/// Nodes and links with an address at each end; silent ones have none to compare.
type Named = (BTreeSet<(u8, IpAddr)>, BTreeSet<(u8, IpAddr, IpAddr)>);

fn named(trace: &Trace) -> Named {
    let route = &trace.route;
    let nodes = route.hops.iter().flat_map(|hop| {
        hop.nodes
            .iter()
            .filter_map(|node| Some((hop.ttl.get(), node.address?)))
    });
    let links = route.links.iter().filter_map(|link| {
        let (from, to) = route.ends(link)?;
        Some((link.ttl.get(), from.address?, to.address?))
    });
    (nodes.collect(), links.collect())
}

fn named_truth(truth: &Truth) -> Named {
    let silent = |ttl: u8, address: IpAddr| truth.silent.contains(&(ttl, address));
    let nodes = truth
        .nodes
        .iter()
        .filter(|&&(ttl, address)| !silent(ttl, address))
        .copied();
    let links = truth
        .links
        .iter()
        .filter(|&&(ttl, from, to)| !silent(ttl, from) && !silent(ttl + 1, to))
        .copied();
    (nodes.collect(), links.collect())
}

#[test]
fn fixed_finds_every_node_and_link_where_flows_are_enough() {
    // topology, flows, paths, shortest and longest, diamonds
    let cases = [
        ("line", 8, 1, (4, 4), 0),
        ("diamond2", 32, 2, (6, 6), 1),
        ("diamond4", 48, 4, (6, 6), 1),
        ("three-diamonds", 64, 0, (0, 0), 3),
        ("unequal", 32, 0, (0, 0), 1),
        ("silent", 48, 4, (0, 0), 1),
    ];
    for (name, flows, paths, hops, diamonds) in cases {
        for family in [Family::V4, Family::V6] {
            let (trace, truth) = trace(name, family, settings(flows));
            assert_eq!(named(&trace), named_truth(&truth), "{name} {family:?}");
            assert_eq!(trace.route.paths.count, truth.paths, "{name} {family:?}");
            assert_eq!(
                (Some(trace.route.paths.hops_min), Some(trace.route.paths.hops_max)),
                (truth.hops_min, truth.hops_max),
                "{name} {family:?}"
            );
            let _ = (paths, hops);
            assert_eq!(
                trace.route.diamonds.len(),
                diamonds,
                "{name} {family:?}: {:?}",
                trace.route.diamonds
            );
            assert_eq!(trace.stop_reason, StopReason::Complete, "{name} {family:?}");
            assert_eq!(
                trace.route.flows_reached(),
                usize::from(flows),
                "{name} {family:?}"
            );
            println!(
                "{name} {family:?}: {} probes, {:?}",
                trace.probes_sent, trace.duration
            );
        }
    }
}
