//! What the engine costs a probe, and the exchange around it, which adds what a packet needs: identity, bytes, demultiplexer.
//!
//! Who answers is computed from flow and TTL, so that next to nothing but the engine runs. Every probe is answered at
//! once, and no pace holds it back.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a benchmark says what is wrong by panicking")]

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use traceflow_exporter::{
    config::Module,
    flow::FlowId,
    network::exchange::{Datagram, Exchange},
    probe::{Probe, Reply, ReplyKind, Template},
    request,
    strategy::Strategy,
    time::Time,
    trace::{StopReason, Trace},
    tracer::{Settings, Tracer},
};

const SOURCE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const DESTINATION: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const RTT: Duration = Duration::from_millis(1);
const NOW: Time = Time::from_nanos(1_000_000_000);

/// A route whose hops balance independently of each other; the last hop is the destination.
struct Shape {
    name: &'static str,
    widths: &'static [u8],
}

const LINE: &str = "line of 12";
const SHAPES: [Shape; 3] = [
    Shape { name: LINE, widths: &[1; 12] },
    Shape { name: "wide16", widths: &[1, 16, 1, 1] },
    Shape { name: "mesh4x4", widths: &[1, 4, 4, 1, 1] },
];

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .sample_size(20)
        .configure_from_args();
    engine(&mut criterion);
    exchange(&mut criterion);
    criterion.final_summary();
}

/// Every shape with every strategy, and `fixed` over the line with more and more flows: what a probe costs is to stay what it is.
fn cases() -> impl Iterator<Item = (&'static Shape, String, Module)> {
    SHAPES.iter().flat_map(|shape| {
        let flows: &[u16] = if shape.name == LINE { &[16, 256, 2048] } else { &[16] };
        let fixed = flows.iter().map(|&flows| (format!("fixed {flows}"), Strategy::Fixed, flows));
        let found = [Strategy::MdaLite, Strategy::Mda].map(|strategy| (strategy.to_string(), strategy, 16));
        fixed.chain(found).map(move |(name, strategy, flows)| {
            let module = Module { strategy, flows, pps: 1_000_000, burst: 100_000, ..Module::default() };
            (shape, name, module)
        })
    })
}

/// Beginning a trace, choosing and answering all its probes; then, apart from it, making the route of what was seen.
fn engine(criterion: &mut Criterion) {
    for (shape, name, module) in cases() {
        let settings = request::settings(&module, 1, None);
        let template = request::template(&module, SOURCE.into(), DESTINATION.into());
        let trace = run(shape, settings.clone()).into_trace(&template);
        check(&trace);
        let mut group = criterion.benchmark_group("engine");
        group.throughput(Throughput::Elements(trace.probes_sent.into()));
        group.bench_function(BenchmarkId::new(shape.name, &name), |bencher| {
            bencher.iter_with_large_drop(|| run(shape, settings.clone()));
        });
        group.finish();
        let mut group = criterion.benchmark_group("route");
        group.throughput(Throughput::Elements(trace.probes_sent.into()));
        group.bench_function(BenchmarkId::new(shape.name, &name), |bencher| {
            let tracer = || run(shape, settings.clone());
            bencher.iter_batched(tracer, |tracer| tracer.into_trace(&template), BatchSize::SmallInput);
        });
        group.finish();
    }
}

/// The same traces with packets as bytes, over IPv4: all that the program does for a probe but for system calls.
fn exchange(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("exchange");
    for (shape, name, module) in cases() {
        let settings = request::settings(&module, 1, None);
        let template = request::template(&module, SOURCE.into(), DESTINATION.into());
        let trace = exchanged(shape, &template, settings.clone());
        check(&trace);
        group.throughput(Throughput::Elements(trace.probes_sent.into()));
        group.bench_function(BenchmarkId::new(shape.name, &name), |bencher| {
            bencher.iter_with_large_drop(|| exchanged(shape, &template, settings.clone()));
        });
    }
    group.finish();
}

fn check(trace: &Trace) {
    assert_eq!(trace.stop_reason, StopReason::Complete);
    assert_eq!(trace.probes_sent, trace.replies_received);
    assert!(trace.route.reached());
}

/// A trace to its end, driven as its owner drives it: what is answered, then what is sent, then when to come back.
fn run(shape: &Shape, settings: Settings) -> Tracer {
    let mut tracer = Tracer::new(settings, NOW);
    let mut under_way = VecDeque::new();
    loop {
        while let Some(probe) = tracer.poll_transmit(NOW) {
            under_way.push_back(probe);
        }
        if tracer.poll_timeout().is_none() {
            return tracer;
        }
        let Some(probe) = under_way.pop_front() else {
            // Nothing is to be sent and nothing comes back: never, as long as everything is answered.
            return tracer;
        };
        tracer.handle_reply(NOW, shape.reply(probe));
    }
}

fn exchanged(shape: &Shape, template: &Template, settings: Settings) -> Trace {
    let mut exchange = Exchange::new([7; 16], 1_000_000, NOW);
    exchange.start(NOW, template.clone(), None, settings);
    let mut now = NOW;
    let mut answers = VecDeque::new();
    loop {
        while exchange.poll_transmit(now).is_some() {
            answers.push_back(shape.answer(exchange.packet()));
        }
        if let Some((_, trace)) = exchange.poll_finished() {
            return trace;
        }
        // The pace of all traces together lets out a share of them at a time.
        match answers.pop_front() {
            Some(answer) => exchange.handle_datagram(now, now, Datagram::V4(&answer)),
            None => now = now + RTT,
        }
    }
}

impl Shape {
    /// Who stands where a flow's TTL runs out, and what it says. Hops beyond the destination are the destination.
    fn node(&self, flow: FlowId, ttl: u8) -> (Ipv4Addr, ReplyKind) {
        let hop = usize::from(ttl);
        match self.widths.get(hop - 1) {
            Some(width) if hop < self.widths.len() => {
                // Any hash will do that mixes all of flow and TTL (a multiplier of SplitMix64).
                let hash = (u64::from(flow.0) << 8 | u64::from(ttl)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                let [.., branch] = (hash >> 56).to_be_bytes();
                (Ipv4Addr::new(10, ttl, 0, branch % width), ReplyKind::TimeExceeded)
            }
            _ => (DESTINATION, ReplyKind::PortUnreachable),
        }
    }

    fn reply(&self, probe: Probe) -> Reply {
        let (from, kind) = self.node(probe.flow, probe.ttl.get());
        Reply { probe: probe.id, from: IpAddr::V4(from), kind, rtt: RTT, nat: false, mpls: Vec::new() }
    }

    /// The answer to a packet as a raw socket yields it: an IPv4 header, the ICMP header, the packet.
    fn answer(&self, packet: &[u8]) -> Vec<u8> {
        let ttl = *packet.get(8).unwrap();
        let port = u16::from_be_bytes(*packet.get(20..).unwrap().first_chunk().unwrap());
        let (from, kind) = self.node(FlowId(port), ttl);
        let mut answer = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 60, 1, 0, 0];
        answer.extend(from.octets());
        answer.extend(SOURCE.octets());
        let said = if kind == ReplyKind::TimeExceeded { [11, 0] } else { [3, 3] };
        answer.extend(said);
        answer.extend([0; 6]);
        answer.extend(packet);
        answer
    }
}
