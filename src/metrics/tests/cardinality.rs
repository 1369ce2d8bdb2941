//! How many series there are, and that an independent reader finds each of them once.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use super::*;

/// Reads an exposition with the parser of the Python client, and prints its samples.
const READER: &str = "
import json, sys
from prometheus_client.parser import text_string_to_metric_families as families
samples = [[s.name, s.labels, s.value] for f in families(sys.stdin.read()) for s in f.samples]
json.dump(samples, sys.stdout)
";

/// The series of an exposition as the Python client reads them, each once.
fn series_of(text: &str) -> BTreeSet<(String, BTreeMap<String, String>)> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".test-tools/bin/python3");
    let mut reader = Command::new(python)
        .args(["-c", READER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("prometheus_client; scripts/install-test-tools installs it");
    reader.stdin.take().expect("an input").write_all(text.as_bytes()).expect("it reads");
    let output = reader.wait_with_output().expect("it ends");
    assert!(output.status.success(), "the client refuses\n{text}");
    let samples: Vec<(String, BTreeMap<String, String>, f64)> =
        serde_json::from_slice(&output.stdout).expect("JSON");
    let count = samples.len();
    let series: BTreeSet<_> = samples.into_iter().map(|(name, labels, _)| (name, labels)).collect();
    assert_eq!(series.len(), count, "a series twice in\n{text}");
    series
}

/// As [`series_of`], from our own parser.
fn own_series_of(text: &str) -> BTreeSet<(String, BTreeMap<String, String>)> {
    parser::parse(text).into_iter().map(|sample| (sample.name, sample.labels.into_iter().collect())).collect()
}

#[test]
fn no_series_comes_twice_for_the_python_client() {
    let pictures = [
        // An address at several hops, and twice in a row.
        "1 192.0.2.1@1 192.0.2.2@1 192.0.2.1@1 192.0.2.2@1 203.0.113.9@9!
         2 192.0.2.1@1 192.0.2.1@1 192.0.2.1@1 203.0.113.9@9!",
        // A loop that never ends.
        "1 192.0.2.1@1 192.0.2.2@1 192.0.2.3@1 192.0.2.2@1 192.0.2.3@1 192.0.2.2@1 192.0.2.3@1
         2 192.0.2.1@1 192.0.2.3@1 192.0.2.2@1 192.0.2.3@1 192.0.2.2@1 192.0.2.3@1 192.0.2.2@1",
        // Silent nodes behind several predecessors, silent ones among them, and in rows.
        "1 192.0.2.1@1 *           *           192.0.2.31@1 203.0.113.9@9!
         2 192.0.2.2@1 *           192.0.2.21@1 *           203.0.113.9@9!
         3 192.0.2.3@1 192.0.2.11@1 *          *            203.0.113.9@9!
         4 *           *           *           *            203.0.113.9@9!
         5 *           192.0.2.11@1 *          192.0.2.31@1 203.0.113.9@9!",
        // The destination at several hops, and its address as a router's.
        "1 192.0.2.1@1 203.0.113.9@9!
         2 192.0.2.1@1 203.0.113.9@9 203.0.113.9@9!
         3 192.0.2.1@1 192.0.2.2@1 * 203.0.113.9@9!",
        // The same router for two packets of a flow and another, as packet by packet.
        "1 192.0.2.1@1 192.0.2.2@1 203.0.113.9@9!\n1 192.0.2.1@1 192.0.2.3@1 203.0.113.9@9!
         2 192.0.2.1@1 * 203.0.113.9@9!",
        "",
        "1 * * *",
    ];
    // All side by side: another target is another series.
    let targets = pictures.iter().enumerate().map(|(place, picture)| {
        sample::traced(&format!("t{place}"), sample::trace(&sample::evidence(picture)))
    });
    let store = sample::store(targets.chain([sample::failed("gone", "no such \"host\"\\\n")]));
    let text = show(&store, Limits::default());
    let series = series_of(&text);
    assert_eq!(series, own_series_of(&text));
    let nodes = series.iter().filter(|(name, _)| name == "traceflow_node_info").count();
    let all: usize =
        store.targets().iter().filter_map(|target| Some(target.trace()?.route.node_count())).sum();
    assert_eq!(nodes, all);
}

/// 120 nodes and 750 links: 1, 40, 40, 38 routers and the destination. Each of the second stage is linked to ten of the third, each of
/// those to six or seven of the fourth.
fn wide() -> String {
    let mut picture = String::new();
    for (flow, (a, place)) in (0..40).flat_map(|a| (0..10).map(move |place| (a, place))).enumerate() {
        let b = (a + place) % 40;
        let next = if b < 32 { 7 } else { 6 };
        let c = (7 * b + place % next) % 38;
        picture += &format!(
            "{} 192.0.2.1@1 198.51.100.{a}@2 203.0.113.{}@3 192.0.2.{}@4 203.0.113.9@5!\n",
            flow + 1,
            100 + b,
            100 + c
        );
    }
    picture
}

#[test]
fn a_wide_mesh_keeps_to_the_cap_and_is_whole_above_it() {
    let trace = sample::trace(&sample::evidence(&wide()));
    assert_eq!((trace.route.node_count(), trace.route.links.len()), (120, 750));
    let store = sample::store([sample::traced("a", trace)]);
    let shown = |series_per_target: usize| {
        let text = show(&store, Limits { series_per_target, topology: true });
        assert_eq!(series_of(&text), own_series_of(&text));
        let samples: Vec<_> =
            parser::parse(&text).into_iter().filter(|sample| sample.label("target").is_some()).collect();
        let dropped = value(&samples, "traceflow_series_dropped", "a").expect("a number");
        (samples.len(), count(&samples, &HOP_LEVEL), count(&samples, &TOPOLOGY), dropped)
    };
    let target_level = {
        let (all, hops, topology, _) = shown(usize::MAX);
        all - hops - topology
    };
    // Five hops with four series each, and the round-trip times of 120 nodes.
    let (hops, topology) = (140, 870);
    let whole = target_level + hops + topology;
    for (cap, expected) in [
        (500, (target_level + hops, hops, 0, 870.0)),
        (whole - 1, (target_level + hops, hops, 0, 870.0)),
        (whole, (whole, hops, topology, 0.0)),
        (2000, (whole, hops, topology, 0.0)),
    ] {
        assert_eq!(shown(cap), expected, "cap {cap}");
        assert!(shown(cap).0 <= cap, "cap {cap}");
    }
}

#[test]
fn every_public_metric_has_its_labels() {
    let store = sample::store([sample::changed(sample::traced("a", sample::diamond()))]);
    let text = render(&Scrape {
        store: &store,
        engine: &Counters::default(),
        process: Some(&Process::this()),
        limits: Limits::default(),
        reload: Some(Reload { successful: true, last_success: sample::STARTED, target_files_failing: 0 }),
    });
    let kinds: BTreeMap<_, _> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let samples = parser::parse(&text);
    let target = ["target"];
    let table: [(&str, &str, &[&str]); 42] = [
        ("build_info", "gauge", &["version", "revision"]),
        ("target_info", "gauge", &["target", "host", "address", "protocol", "strategy"]),
        ("target_up", "gauge", &target),
        ("flows", "gauge", &target),
        ("flows_reached", "gauge", &target),
        ("paths", "gauge", &target),
        ("flow_paths", "gauge", &target),
        ("discovery_confidence_ratio", "gauge", &target),
        ("hops_min", "gauge", &target),
        ("hops_max", "gauge", &target),
        ("nodes", "gauge", &target),
        ("links", "gauge", &target),
        ("width_max", "gauge", &target),
        ("diamonds", "gauge", &target),
        ("hop_nodes", "gauge", &["target", "ttl"]),
        ("hop_rtt_seconds", "gauge", &["target", "ttl", "address"]),
        ("hop_probes_sent_total", "counter", &["target", "ttl"]),
        ("hop_replies_received_total", "counter", &["target", "ttl"]),
        ("hop_rate_limited", "gauge", &["target", "ttl"]),
        ("path_changes_total", "counter", &target),
        ("flow_moves_total", "counter", &target),
        ("late_discoveries_total", "counter", &target),
        ("address_changes_total", "counter", &target),
        ("length_changes_total", "counter", &target),
        ("reachability_changes_total", "counter", &target),
        ("destination_probes_sent_total", "counter", &target),
        ("destination_replies_received_total", "counter", &target),
        ("last_path_change_timestamp_seconds", "gauge", &target),
        ("rounds_total", "counter", &target),
        ("rounds_failed_total", "counter", &target),
        ("target_interval_seconds", "gauge", &target),
        ("last_round_timestamp_seconds", "gauge", &target),
        ("round_duration_seconds", "gauge", &target),
        ("round_probes", "gauge", &target),
        ("node_info", "gauge", &["target", "ttl", "address", "hostname", "asn", "mpls", "balancing"]),
        ("link_flows", "gauge", &["target", "ttl", "from", "to"]),
        ("series_dropped", "gauge", &target),
        ("probes_sent_total", "counter", &["protocol", "family"]),
        ("replies_received_total", "counter", &["protocol", "family"]),
        ("replies_discarded_total", "counter", &["reason"]),
        ("config_last_reload_successful", "gauge", &[]),
        ("config_last_reload_success_timestamp_seconds", "gauge", &[]),
    ];
    for (name, kind, labels) in table {
        let name = format!("traceflow_{name}");
        assert_eq!(kinds.get(name.as_str()), Some(&kind), "{name}");
        let sample = samples.iter().find(|sample| sample.name == name).expect(&name);
        let shown: Vec<_> = sample.labels.iter().map(|(label, _)| label.as_str()).collect();
        assert_eq!(shown, labels, "{name}");
    }
    for name in ["send_errors_total", "receive_drops_total", "rounds_delayed_total", "rounds_in_progress"] {
        assert_eq!(count(&samples, &[&format!("traceflow_{name}")]), 1, "{name}");
    }
    assert_eq!(kinds.get("traceflow_rtt_seconds"), Some(&"histogram"));
    for part in ["bucket", "sum", "count"] {
        assert!(count(&samples, &[&format!("traceflow_rtt_seconds_{part}")]) > 0, "{part}");
    }
}
