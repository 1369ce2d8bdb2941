//! Traces and stores for tests of the views, made from evidence as the tracer makes them.

pub(crate) mod schema;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use jiff::SignedDuration;

use crate::{
    annotations::Annotations,
    change::{Change, ChangeKind, Part},
    flow::{FlowId, Protocol},
    probe::{MplsLabel, ReplyKind, Ttl},
    route::{Answer, Evidence, Route},
    store::{LastRound, Snapshot, Store, Tally, TargetCounters},
    strategy::Strategy,
    trace::{StopReason, Trace},
};

/// 2026-01-02T03:04:05.678Z
pub(crate) const STARTED: jiff::Timestamp = jiff::Timestamp::constant(1_767_323_045, 678_000_000);

pub(crate) fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Evidence from a picture: a line a flow, its id, then a word a hop from TTL 1: an address with its round-trip time in
/// microseconds behind `@`, `!` behind it for the destination, `*` for silence, `.` where it was not asked.
pub(crate) fn evidence(picture: &str) -> Evidence {
    let mut evidence = Evidence::default();
    observe(&mut evidence, picture);
    evidence
}

/// Adds what a picture shows to what is known.
pub(crate) fn observe(evidence: &mut Evidence, picture: &str) {
    for line in picture.lines().filter(|line| !line.trim().is_empty()) {
        let mut words = line.split_whitespace();
        let flow = FlowId(words.next().and_then(|id| id.parse().ok()).expect("a flow's id"));
        for (word, ttl) in words.zip(Ttl::MIN.to(Ttl::MAX)) {
            if word == "." {
                continue;
            }
            evidence.sent(flow, ttl);
            if word == "*" {
                evidence.silent(flow, ttl);
                continue;
            }
            let (from, rtt) = word.trim_end_matches('!').split_once('@').expect("ADDRESS@MICROS");
            let kind = if word.ends_with('!') { ReplyKind::PortUnreachable } else { ReplyKind::TimeExceeded };
            let answer = Answer {
                from: address(from),
                kind,
                rtt: Duration::from_micros(rtt.parse().expect("microseconds")),
                nat: false,
                mpls: Vec::new(),
            };
            evidence.answered(flow, ttl, answer);
        }
    }
}

/// A trace of www.example.net with this route.
pub(crate) fn trace(evidence: &Evidence) -> Trace {
    let cells = || evidence.flows().flat_map(|(_, cells)| cells.values());
    let route = Route::build(evidence);
    let answers: usize = cells().map(|cell| cell.answers.len()).sum();
    Trace {
        destination: address("203.0.113.9"),
        source: address("192.0.2.100"),
        protocol: Protocol::Udp,
        strategy: Strategy::Fixed,
        confidence: 0.95,
        duration: Duration::from_millis(310),
        stop_reason: StopReason::Complete,
        detail: None,
        probes_sent: cells().map(|cell| cell.sent).sum(),
        replies_received: u32::try_from(answers).expect("few answers"),
        route,
        evidence: Evidence::default(),
        settled: true,
        annotations: Annotations::default(),
    }
}

/// Two ways behind the first hop, one of them with a silent node; a label stack at one hop, a rate limit at another.
pub(crate) fn diamond() -> Trace {
    let mut evidence = evidence(
        "33460  192.0.2.1@1100  198.51.100.1@2000  *                   203.0.113.9@9000!
         33471  192.0.2.1@1200  198.51.100.2@2500  198.51.100.20@4000  203.0.113.9@9500!
         33482  192.0.2.1@1900  198.51.100.2@2600  198.51.100.20@4500  203.0.113.9@8000!",
    );
    evidence.limits(Ttl::MIN, address("192.0.2.1"));
    let mut trace = trace(&evidence);
    for node in trace.route.hops.iter_mut().flat_map(|hop| &mut hop.nodes) {
        if node.address == Some(address("198.51.100.20")) {
            node.mpls = [(16_004, false), (24_001, true)]
                .map(|(label, bottom)| MplsLabel { label, traffic_class: 0, bottom, ttl: 1 })
                .into();
        }
    }
    trace
}

/// The same with names and autonomous systems for some of its nodes.
pub(crate) fn annotated() -> Trace {
    let names = [("192.0.2.1", "r1.example.net"), ("203.0.113.9", "www.example.net")];
    let systems = [("192.0.2.1", 64_496), ("198.51.100.2", 64_500), ("198.51.100.20", 64_500)];
    let annotations = Annotations {
        names: names.map(|(text, name)| (address(text), name.into())).into(),
        systems: Some(systems.map(|(text, asn)| (address(text), asn)).into()),
    };
    Trace { annotations, ..diamond() }
}

/// A target before its first round.
pub(crate) fn fresh(name: &str, host: &str) -> Snapshot {
    Snapshot {
        name: name.into(),
        host: host.into(),
        labels: BTreeMap::new(),
        protocol: Protocol::Udp,
        strategy: Strategy::Fixed,
        interval: Duration::from_secs(60),
        address: None,
        flows: 3,
        counters: TargetCounters::default(),
        changes: Vec::new(),
        history: Vec::new(),
        last_round: None,
    }
}

/// A target whose last round made this trace.
pub(crate) fn traced(name: &str, trace: Trace) -> Snapshot {
    let hops = trace.route.hops.iter().map(|hop| {
        let tally = Tally { sent: u64::from(hop.probes_sent), received: u64::from(hop.replies_received) };
        (hop.ttl, tally)
    });
    let mut counters = TargetCounters {
        rounds: 7,
        rounds_failed: 2,
        hops: hops.collect(),
        destination: Tally { sent: 21, received: 20 },
        ..TargetCounters::default()
    };
    for &rtt in &trace.route.arrivals.rtts {
        counters.rtt.observe(rtt);
    }
    Snapshot {
        address: Some(trace.destination),
        counters,
        changes: Vec::new(),
        history: vec![Some(1), Some(2), None, Some(2)],
        last_round: Some(LastRound {
            started: STARTED,
            duration: Duration::from_millis(322),
            outcome: Ok(Arc::new(trace)),
        }),
        ..fresh(name, "www.example.net")
    }
}

/// The target after changes of every kind. Its counters tell of more than are kept, and differ all.
pub(crate) fn changed(mut snapshot: Snapshot) -> Snapshot {
    let ago = |minutes| Change::at(STARTED - SignedDuration::from_mins(minutes));
    let node = |text| Part::Node { ttl: Ttl::MIN.next(), address: address(text) };
    let link = |to| Part::Link { ttl: Ttl::MIN, from: address("192.0.2.1"), to: address(to) };
    let counters = &mut snapshot.counters;
    counters.path_changes = 11;
    counters.last_path_change = Some(STARTED - SignedDuration::from_mins(3));
    counters.flow_moves = 12;
    counters.late_discoveries = 13;
    counters.length_changes = 14;
    counters.reachability_changes = 15;
    counters.address_changes = 16;
    counters.as_path_changes = 17;
    let changes = [
        Change {
            kind: ChangeKind::Address,
            detail: "from 192.0.2.100 to 203.0.113.8 before, from 192.0.2.100 to 203.0.113.9 now".to_owned(),
            ..ago(5)
        },
        Change { came: vec![node("198.51.100.2")], flows: vec![FlowId(33_482)], ..ago(4) },
        Change {
            kind: ChangeKind::Length,
            flows: vec![FlowId(33_460)],
            detail: "4 hops before, 4 to 5 now".to_owned(),
            ..ago(3)
        },
        Change {
            kind: ChangeKind::AsPath,
            flows: vec![FlowId(33_460)],
            detail: "AS64500 came".to_owned(),
            ..ago(3)
        },
        Change {
            came: vec![node("198.51.100.1"), link("198.51.100.1")],
            went: vec![node("2001:db8::7"), link("2001:db8::7")],
            stayed: vec![Part::Node { ttl: Ttl::MIN, address: address("192.0.2.1") }],
            flows: vec![FlowId(33_460), FlowId(33_471)],
            ..ago(3)
        },
        Change {
            kind: ChangeKind::Reachability,
            detail: "the destination is reached again".to_owned(),
            ..ago(2)
        },
        Change { kind: ChangeKind::FlowMove, flows: vec![FlowId(33_471)], ..ago(1) },
    ];
    snapshot.changes = changes.map(Arc::new).into();
    snapshot
}

/// A target whose last round could ask nothing.
pub(crate) fn failed(name: &str, why: &str) -> Snapshot {
    let mut snapshot = fresh(name, "nowhere.example.net");
    snapshot.counters.rounds = 3;
    snapshot.counters.rounds_failed = 3;
    snapshot.last_round =
        Some(LastRound { started: STARTED, duration: Duration::from_millis(5), outcome: Err(why.into()) });
    snapshot
}

/// A store of these targets.
pub(crate) fn store(snapshots: impl IntoIterator<Item = Snapshot>) -> Store {
    let store = Store::default();
    for snapshot in snapshots {
        store.publish(snapshot);
    }
    store
}
