//! What a whole discovery costs over the simulated network: engine, exchange, encode, decode and demultiplexer, and the
//! simulation itself, which parses every packet and builds every answer.
//!
//! Time is virtual, so nothing waits. Seeds are taken in turn, half of them over each family.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a benchmark says what is wrong by panicking")]

use std::{path::Path, time::Duration};

use criterion::{BenchmarkId, Criterion, Throughput};
use traceflow_exporter::{
    config::Module,
    flow::{Family, Protocol},
    request,
    simulation::{Bench, Network, Topology},
    strategy::Strategy,
    trace::{StopReason, Trace},
};

const SEEDS: u64 = 32;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5))
        .sample_size(50)
        .configure_from_args();
    let mut group = criterion.benchmark_group("discovery");
    for name in ["twelve", "wide16", "mesh4x4"] {
        let topology = topology(name);
        for strategy in [Strategy::MdaLite, Strategy::Mda] {
            // The rate is told in probes a second of processor time.
            group.throughput(Throughput::Elements(probes(&topology, strategy)));
            let mut seeds = (0..SEEDS).cycle();
            group.bench_function(BenchmarkId::new(name, strategy), |bencher| {
                bencher.iter(|| trace(&topology, strategy, seeds.next().unwrap()));
            });
        }
    }
    group.finish();
    criterion.final_summary();
}

fn topology(name: &str) -> Topology {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/topologies").join(format!("{name}.topo"));
    std::fs::read_to_string(path).unwrap().parse().unwrap()
}

/// Packets that a discovery sends, as the mean over all seeds.
fn probes(topology: &Topology, strategy: Strategy) -> u64 {
    let all = (0..SEEDS).map(|seed| {
        let trace = trace(topology, strategy, seed);
        assert_eq!(trace.stop_reason, StopReason::Complete);
        u64::from(trace.probes_sent)
    });
    all.sum::<u64>() / SEEDS
}

fn trace(topology: &Topology, strategy: Strategy, seed: u64) -> Trace {
    let family = if seed.is_multiple_of(2) { Family::V4 } else { Family::V6 };
    let module = Module { strategy, ..Module::default() };
    let mut bench = Bench::new(Network::new(topology, family, seed), 1, 1_000_000, seed);
    bench.trace(Protocol::Udp, request::settings(&module, seed, None)).unwrap()
}
