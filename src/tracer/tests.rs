//! Tests of the engine on the simulated network: virtual time, real bytes, fixed seeds.

use std::time::Duration;

use super::Settings;
use crate::{
    config::Module,
    flow::{Family, Protocol},
    probe::Ttl,
    request,
    route::Balancing,
    simulation::{Bench, Network, Seen, Topology, Truth, tests::file},
    strategy::{Confidence, Strategy},
    time::Time,
    trace::{StopReason, Trace},
};

fn settings(flows: u16) -> Settings {
    request::settings(&Module { strategy: Strategy::Fixed, flows, ..Module::default() }, 1, None)
}

fn bench(topology: &Topology, family: Family, seed: u64) -> Bench {
    Bench::new(Network::new(topology, family, seed), 1, 100_000, seed)
}

fn trace(name: &str, family: Family, settings: Settings) -> (Trace, Truth) {
    let mut bench = bench(&file(name), family, 7);
    let truth = bench.network().truth(Time::ZERO);
    let trace = bench.trace(Protocol::Udp, settings).unwrap();
    (trace, truth)
}

#[test]
fn fixed_finds_every_node_and_link_where_flows_are_enough() {
    // topology, flows, diamonds
    let cases = [
        ("line", 8, 0),
        ("diamond2", 32, 1),
        ("diamond4", 48, 1),
        ("three-diamonds", 64, 3),
        ("unequal", 32, 1),
        ("silent", 48, 1),
    ];
    for (name, flows, diamonds) in cases {
        for family in [Family::V4, Family::V6] {
            let (trace, truth) = trace(name, family, settings(flows));
            let paths = &trace.route.paths;
            let hops = (Some(paths.hops_min), Some(paths.hops_max));
            assert_eq!(Seen::by(&trace), Seen::of(&truth), "{name} {family:?}");
            assert_eq!(paths.count, truth.paths, "{name} {family:?}");
            assert_eq!(hops, (truth.hops_min, truth.hops_max), "{name} {family:?}");
            assert_eq!(trace.route.diamonds.len(), diamonds, "{name} {family:?}: {:?}", trace.route.diamonds);
            assert_eq!(trace.stop_reason, StopReason::Complete, "{name} {family:?}");
            assert_eq!(trace.route.flows_reached(), usize::from(flows), "{name} {family:?}");
        }
    }
}

#[test]
fn a_trace_ends_for_the_right_reason_and_soon() {
    // topology, reason, what the detail says, whether the destination is reached, hops found, longest duration in ms
    let cases = [
        ("line", StopReason::Complete, "", true, 6, 100),
        ("blackhole", StopReason::GapLimit, "no answer from beyond TTL 3", false, 3, 3000),
        ("silent-destination", StopReason::GapLimit, "no answer from beyond TTL 3", false, 3, 3000),
        ("loop", StopReason::Loop, "for the third time", false, 6, 1000),
    ];
    for (name, reason, detail, reached, hops, millis) in cases {
        for family in [Family::V4, Family::V6] {
            let (trace, _) = trace(name, family, settings(16));
            let told = trace.detail.clone().unwrap_or_default();
            assert_eq!(trace.stop_reason, reason, "{name} {family:?}: {told}");
            assert!(told.contains(detail), "{name} {family:?}: {told}");
            assert_eq!(trace.route.reached(), reached, "{name} {family:?}");
            assert_eq!(trace.route.hops.len(), hops, "{name} {family:?}");
            assert!(
                trace.duration <= Duration::from_millis(millis),
                "{name} {family:?}: {:?}",
                trace.duration
            );
        }
    }
}

#[test]
fn a_branch_that_swallows_packets_is_no_path_and_its_flows_do_not_reach() {
    for family in [Family::V4, Family::V6] {
        let (trace, truth) = trace("swallow", family, settings(48));
        assert_eq!(Seen::by(&trace), Seen::of(&truth), "{family:?}");
        assert_eq!(trace.route.paths.count, 3, "{family:?}");
        assert_eq!(trace.route.flow_paths, 3, "{family:?}");
        let reached = trace.route.flows_reached();
        assert!((30..=42).contains(&reached), "{family:?}: about three quarters of 48 flows, not {reached}");
        assert!(trace.route.reached(), "{family:?}");
        assert!(limited(&trace).is_empty(), "{family:?}: a dead branch is no rate limit");
    }
}

#[test]
fn a_refusal_is_an_outcome_of_its_own() {
    let topology: Topology = "s -> r1 -> r2 -> d\nnode r2 unreachable=13".parse().unwrap();
    for (family, detail) in
        [(Family::V4, "administratively prohibited (ICMP code 13)"), (Family::V6, "(ICMP code 13)")]
    {
        let trace = bench(&topology, family, 1).trace(Protocol::Udp, settings(4)).unwrap();
        assert_eq!(trace.stop_reason, StopReason::DestinationUnreachable, "{family:?}");
        assert!(
            trace.detail.as_ref().is_some_and(|told| told.ends_with(detail)),
            "{family:?}: {:?}",
            trace.detail
        );
        assert!(!trace.route.reached(), "{family:?}");
        assert_eq!(trace.route.hops.len(), 2, "{family:?}: the refuser stands where it let probes expire");
    }
    let (trace, _) = trace("unreachable", Family::V4, settings(32));
    assert_eq!(trace.stop_reason, StopReason::Complete, "one branch of two reaches the destination");
    assert!(trace.route.flows_reached() < 32);
}

/// Hops with a node that is said to limit its answers.
fn limited(trace: &Trace) -> Vec<u8> {
    let limited = trace.route.hops.iter().filter(|hop| hop.nodes.iter().any(|node| node.rate_limited));
    limited.map(|hop| hop.ttl.get()).collect()
}

#[test]
fn what_a_rate_limit_hides_is_waited_for_and_reported() {
    for family in [Family::V4, Family::V6] {
        let topology: Topology =
            "s -> r1 -> r2 -> r3 -> d\nnode r1 rate=1 burst=6\nnode r3 rate=10 burst=6\nnode d rate=5 burst=6".parse().unwrap();
        let trace = bench(&topology, family, 3).trace(Protocol::Udp, settings(24)).unwrap();
        assert_eq!(limited(&trace), [1, 3, 4], "{family:?}");
        assert_eq!(trace.route.paths.count, 1, "{family:?}: no silent sibling is made up");
        assert_eq!(trace.route.node_count(), 4, "{family:?}");
        assert_eq!(trace.route.flow_paths, 1, "{family:?}");
        assert_eq!(trace.route.flows_reached(), 24, "{family:?}: no answer is lost for good");
        // 18 answers beyond the first 6 come in 18 seconds, and not all of them are asked for at once.
        assert!(trace.duration < Duration::from_secs(20), "{family:?}: {:?}", trace.duration);
        assert!(trace.probes_sent < 24 * 4 * 4, "{family:?}: {} probes", trace.probes_sent);
    }
}

#[test]
fn loss_is_no_rate_limit_and_no_node() {
    let topology: Topology = "s -> r1\nr1 -> a b -> x -> d\nnetwork loss=0.05".parse().unwrap();
    for seed in 0..100 {
        let trace = bench(&topology, Family::V4, seed).trace(Protocol::Udp, settings(16)).unwrap();
        let hops =
            trace.route.hops.iter().map(|hop| (hop.probes_sent, hop.replies_received)).collect::<Vec<_>>();
        assert!(limited(&trace).is_empty(), "seed {seed}: {hops:?}");
        assert!(trace.route.reached(), "seed {seed}");
    }
}

#[test]
fn per_packet_balancers_are_told_from_meshes() {
    let discovery = |strategy| {
        let confidence = Confidence::new(0.999).unwrap();
        request::settings(&Module { strategy, confidence, ..Module::default() }, 1, None)
    };
    for (family, strategy) in [(Family::V4, Strategy::MdaLite), (Family::V6, Strategy::Mda)] {
        let (found, truth) = trace("per-packet", family, discovery(strategy));
        let (seen, there) = (Seen::by(&found), Seen::of(&truth));
        assert_eq!(seen.nodes, there.nodes, "{strategy}");
        assert!(there.links.is_subset(&seen.links), "{strategy}");
        let balancers: Vec<_> = found
            .route
            .hops
            .iter()
            .flat_map(|hop| hop.nodes.iter().map(|node| (hop.ttl.get(), node)))
            .filter(|(_, node)| node.balancing == Balancing::PerPacket)
            .map(|(ttl, _)| ttl)
            .collect();
        assert_eq!(balancers, [2], "{strategy}");
        for link in &found.route.links {
            assert_eq!(link.per_packet, (2..=4).contains(&link.ttl.get()), "{strategy}: {link:?}");
        }

        let (found, truth) = trace("mesh4x4", family, discovery(strategy));
        assert_eq!(Seen::by(&found), Seen::of(&truth), "{strategy}");
        assert!(found.route.links.iter().all(|link| !link.per_packet), "{strategy}: a mesh is no zone");
    }
}

#[test]
fn a_silent_router_holds_up_nothing() {
    let (trace, _) = trace("silent", Family::V4, settings(32));
    assert!(trace.route.hops.iter().any(|hop| hop.nodes.iter().any(|node| node.address.is_none())));
    assert!(trace.duration < Duration::from_secs(1), "{:?}", trace.duration);
}

/// Three silent routers beside answering ones on a route that takes 0.2 s without them. Certainty of the first takes most of a second,
/// and that of the others has to come with it.
#[test]
fn silent_siblings_are_certain_within_a_second() {
    const RUNS: u32 = 40;
    let topology = file("twelve-silent");
    let module = Module { strategy: Strategy::MdaLite, ..Module::default() };
    let mut durations = Vec::new();
    for seed in 0..u64::from(RUNS) {
        let family = if seed.is_multiple_of(2) { Family::V4 } else { Family::V6 };
        let mut bench = bench(&topology, family, seed);
        let truth = bench.network().truth(Time::ZERO);
        let trace = bench.trace(Protocol::Udp, request::settings(&module, seed, None)).unwrap();
        assert_eq!(Seen::by(&trace), Seen::of(&truth), "seed {seed}");
        durations.push(trace.duration);
    }
    let mean = durations.iter().sum::<Duration>() / RUNS;
    assert!(mean < Duration::from_secs(1), "{mean:?} on average");
    assert!(durations.iter().all(|duration| *duration < Duration::from_millis(1500)), "{durations:?}");
}

#[test]
fn a_slow_hop_is_not_called_silent() {
    // A hop of 600 ms behind one of 10 ms, both as a slow control plane and as a long link.
    let cases = [
        "s -> r1 delay=5ms\nr1 -> r2 -> r3 -> d\nnode r2 slow=600ms",
        "s -> r1 delay=5ms\nr1 -> r2 delay=300ms\nr2 -> r3 -> d",
    ];
    for text in cases {
        let trace = bench(&text.parse().unwrap(), Family::V4, 1).trace(Protocol::Udp, settings(16)).unwrap();
        assert_eq!(trace.route.node_count(), 4, "{text}");
        assert!(
            trace.route.hops.iter().all(|hop| hop.nodes.iter().all(|node| node.address.is_some())),
            "{text}"
        );
    }
}

#[test]
fn probes_keep_to_the_rate() {
    let topology: Topology = "s -> r1 -> r2 -> r3 -> d".parse().unwrap();
    let slow = Settings { pps: 100, burst: 1, ..settings(20) };
    let trace = bench(&topology, Family::V4, 1).trace(Protocol::Udp, slow).unwrap();
    let least = Duration::from_millis(10) * (trace.probes_sent - 1);
    assert!(trace.duration >= least, "{} probes in {:?}", trace.probes_sent, trace.duration);
}

#[test]
fn limits_end_a_trace_with_what_is_known() {
    let topology: Topology = "s -> r1 -> r2 -> r3 -> r4 -> r5 -> d".parse().unwrap();
    let few = Settings { max_probes: 3, ..settings(16) };
    let trace = bench(&topology, Family::V4, 1).trace(Protocol::Udp, few).unwrap();
    assert_eq!(
        (trace.stop_reason, trace.probes_sent, trace.replies_received),
        (StopReason::ProbeLimit, 3, 3)
    );
    assert_eq!(trace.route.node_count(), 3);

    let (silent, limit) = (file("silent-destination"), Some(Duration::from_millis(500)));
    let short = Settings { time_limit: limit, ..settings(16) };
    let trace = bench(&silent, Family::V4, 1).trace(Protocol::Udp, short).unwrap();
    assert_eq!(trace.stop_reason, StopReason::TimeLimit);
    assert_eq!(trace.duration, Duration::from_millis(500));
    assert!(trace.route.node_count() >= 3);

    let near = Settings { max_ttl: Ttl::MIN.plus(2), ..settings(16) };
    let trace = bench(&topology, Family::V4, 1).trace(Protocol::Udp, near).unwrap();
    assert_eq!((trace.stop_reason, trace.route.hops.len()), (StopReason::Complete, 3));
    assert!(trace.detail.is_some_and(|told| told.contains("max_ttl 3")));
}

#[test]
fn a_trace_can_begin_behind_the_first_hop() {
    let topology: Topology = "s -> r1\nr1 -> a b -> x -> d".parse().unwrap();
    let far = Settings { first_ttl: Ttl::MIN.next(), ..settings(16) };
    let trace = bench(&topology, Family::V4, 1).trace(Protocol::Udp, far).unwrap();
    assert_eq!(trace.route.hops.first().map(|hop| (hop.ttl.get(), hop.nodes.len())), Some((2, 2)));
    assert_eq!(trace.route.paths.count, 2);
    assert!(trace.route.links.iter().all(|link| link.ttl.get() >= 2));
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let run = |seed| bench(&file("faults"), Family::V4, seed).trace(Protocol::Udp, settings(16)).unwrap();
    assert_eq!(run(5), run(5));
    assert_ne!(run(5), run(6));
}
