//! How often a discovery finds the whole route: many seeded runs over each topology, held against the ground truth.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test says what is wrong by panicking, its helpers too"
)]

use std::{collections::BTreeSet, net::IpAddr, path::Path, time::Duration};

use traceflow_exporter::{
    flow::{Family, FlowSequence, Protocol},
    probe::Ttl,
    simulation::{Bench, Network, Topology, Truth},
    strategy::{Confidence, Strategy},
    time::Time,
    trace::Trace,
    tracer::Settings,
};

fn settings(strategy: Strategy, seed: u64) -> Settings {
    Settings {
        strategy,
        confidence: Confidence::DEFAULT,
        first_ttl: Ttl::MIN,
        max_ttl: Ttl::new(30).unwrap(),
        timeout: Duration::from_secs(2),
        attempts: 3,
        gap_limit: 5,
        max_probes: std::env::var("MAX").map_or(50_000, |max| max.parse().unwrap()),
        flows: 16,
        pps: 1000,
        burst: 64,
        time_limit: None,
        flow_sequence: FlowSequence::new(33_453, seed),
    }
}

fn topology(name: &str) -> Topology {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/topologies").join(format!("{name}.topo"));
    std::fs::read_to_string(path).unwrap().parse().unwrap()
}

type Named = (BTreeSet<(u8, IpAddr)>, BTreeSet<(u8, IpAddr, IpAddr)>);

fn found(trace: &Trace) -> Named {
    let route = &trace.route;
    let nodes = route
        .hops
        .iter()
        .flat_map(|hop| hop.nodes.iter().filter_map(|node| Some((hop.ttl.get(), node.address?))));
    let links = route.links.iter().filter_map(|link| {
        let (from, to) = route.ends(link)?;
        Some((link.ttl.get(), from.address?, to.address?))
    });
    (nodes.collect(), links.collect())
}

fn truth_named(truth: &Truth) -> Named {
    let silent = |ttl: u8, address: IpAddr| truth.silent.contains(&(ttl, address));
    let nodes = truth.nodes.iter().filter(|&&(ttl, address)| !silent(ttl, address)).copied();
    let links =
        truth.links.iter().filter(|&&(ttl, from, to)| !silent(ttl, from) && !silent(ttl + 1, to)).copied();
    (nodes.collect(), links.collect())
}

#[test]
fn explore() {
    let runs: u64 = std::env::var("RUNS").map_or(50, |runs| runs.parse().unwrap());
    let only = std::env::var("ONLY").unwrap_or_default();
    for name in [
        "line",
        "diamond2",
        "diamond4",
        "three-diamonds",
        "unequal",
        "silent",
        "swallow",
        "wide16",
        "mesh4x4",
        "mesh8x8",
        "cascade2x3x4",
        "asymmetric",
        "weights8421",
        "mesh70",
        "twelve",
        "blackhole",
        "silent-destination",
        "loop",
    ] {
        if !only.is_empty() && only != name {
            continue;
        }
        for strategy in [Strategy::MdaLite, Strategy::Mda] {
            let runs = if name == "mesh70" { (runs / 50).max(1) } else { runs };
            let (mut missed, mut false_nodes, mut false_links, mut probes, mut time, mut slowest) =
                (0, 0, 0, 0_u64, 0.0, 0.0_f64);
            let mut silent = 0;
            let mut reasons = BTreeSet::new();
            for seed in 0..runs {
                let mut text = std::fs::read_to_string(format!("tests/topologies/{name}.topo")).unwrap();
                if let Ok(loss) = std::env::var("LOSS") {
                    text += &format!("\nnetwork loss={loss} burst=2\n");
                }
                let topology: Topology = text.parse().unwrap();
                let network = Network::new(&topology, Family::V4, seed);
                let truth = truth_named(&network.truth(Time::ZERO));
                let mut bench = Bench::new(network, 1, 100_000, seed);
                let trace = bench.trace(Protocol::Udp, settings(strategy, seed)).unwrap();
                let (nodes, links) = found(&trace);
                let whole = truth.0.is_subset(&nodes) && truth.1.is_subset(&links);
                missed += u64::from(!whole);
                false_nodes += nodes.difference(&truth.0).count();
                false_links += links.difference(&truth.1).count();
                silent +=
                    trace.route.hops.iter().flat_map(|h| &h.nodes).filter(|n| n.address.is_none()).count();
                probes += u64::from(trace.probes_sent);
                time += trace.duration.as_secs_f64();
                slowest = slowest.max(trace.duration.as_secs_f64());
                reasons.insert(trace.stop_reason);
                if std::env::var("STARS").is_ok() {
                    for hop in &trace.route.hops {
                        for n in &hop.nodes {
                            if n.address.is_none() {
                                println!("silent at {} flows {}", hop.ttl, n.flows);
                            }
                        }
                    }
                    for f in &trace.route.flows {
                        for h in &f.hops {
                            if h.address.is_none() {
                                println!(
                                    "   flow {} star at {} of {:?}",
                                    f.id,
                                    h.ttl,
                                    f.hops
                                        .iter()
                                        .map(|h| (h.ttl.get(), h.address.map(|a| a.to_string())))
                                        .collect::<Vec<_>>()
                                );
                            }
                        }
                    }
                }
                if std::env::var("SHOW").is_ok() {
                    let sent: Vec<_> = trace.route.hops.iter().map(|h| h.probes_sent).collect();
                    println!(
                        "  {sent:?} conf {:?} {:?} missing {:?} {:?}",
                        trace.route.confidence,
                        trace.duration,
                        truth.0.difference(&nodes).count(),
                        truth.1.difference(&links).count()
                    );
                }
            }
            let n = runs as f64;
            println!(
                "{name:20} {strategy:9} missed {:.4} false {false_nodes}/{false_links} silent {silent} probes {:.0} time {:.3} max {:.3} {reasons:?}",
                missed as f64 / n,
                probes as f64 / n,
                time / n,
                slowest
            );
        }
    }
}
