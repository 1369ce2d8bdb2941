mod cardinality;
mod parser;
mod properties;

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use self::parser::Sample;
use super::*;
use crate::{
    counters::Discard,
    flow::{Family, Protocol},
    probe::Ttl,
    render::sample,
    route::Balancing,
    store::{Snapshot, Tally},
};

const GOLDEN: &str = include_str!("tests/exposition.txt");

fn show(store: &Store, limits: Limits) -> String {
    render(&Scrape { store, engine: &Counters::default(), process: None, limits, reload: None })
}

/// All samples of targets made with the usual limits.
fn samples(snapshots: impl IntoIterator<Item = Snapshot>) -> Vec<Sample> {
    parser::parse(&show(&sample::store(snapshots), Limits::default()))
}

fn value(samples: &[Sample], name: &str, target: &str) -> Option<f64> {
    let mut found =
        samples.iter().filter(|sample| sample.name == name && sample.label("target") == Some(target));
    let value = found.next()?.value;
    assert!(found.next().is_none(), "{name} has several series");
    Some(value)
}

fn count(samples: &[Sample], names: &[&str]) -> usize {
    samples.iter().filter(|sample| names.contains(&sample.name.as_str())).count()
}

const HOP_LEVEL: [&str; 5] = [
    "traceflow_hop_nodes",
    "traceflow_hop_rtt_seconds",
    "traceflow_hop_probes_sent_total",
    "traceflow_hop_replies_received_total",
    "traceflow_hop_rate_limited",
];
const TOPOLOGY: [&str; 2] = ["traceflow_node_info", "traceflow_link_flows"];

#[test]
fn the_whole_exposition() {
    let mut shop = sample::changed(sample::traced("shop", sample::diamond()));
    shop.labels = BTreeMap::from([("site".to_owned(), "ams".to_owned())]);
    shop.interval = Duration::from_millis(10_800_500);
    let store = sample::store([
        shop,
        sample::fresh("new", "new.example.net"),
        sample::failed("gone", "no such host"),
    ]);
    store.note_delay();
    let _round = store.begin_round();
    let engine = Counters {
        probes_sent: BTreeMap::from([((Protocol::Udp, Family::V4), 1000)]),
        replies_received: BTreeMap::from([((Protocol::Udp, Family::V4), 990)]),
        discarded: BTreeMap::from([(Discard::Late, 3)]),
        send_errors: 4,
        receive_drops: 5,
    };
    let text = render(&Scrape {
        store: &store,
        engine: &engine,
        process: None,
        limits: Limits::default(),
        reload: Some(Reload { successful: false, last_success: sample::STARTED, target_files_failing: 2 }),
    });
    // The build is not the same everywhere.
    let text: Vec<_> = text.lines().filter(|line| !line.starts_with("traceflow_build_info{")).collect();
    let golden: Vec<_> = GOLDEN.lines().collect();
    for (number, (line, expected)) in text.iter().zip(&golden).enumerate() {
        assert_eq!(line, expected, "line {}", number + 1);
    }
    assert_eq!(text.len(), golden.len());
}

#[test]
fn the_reference_names_every_metric() {
    let reference = include_str!("../../docs/metrics.md");
    for name in GOLDEN.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
        let named = [format!("`{name}`"), format!("`{name}{{")];
        assert!(named.iter().any(|text| reference.contains(text)), "{name}");
    }
    let samples = samples([sample::changed(sample::traced("a", sample::diamond()))]);
    let of_target = samples.iter().filter(|sample| sample.label("target").is_some()).count();
    let own = of_target - count(&samples, &HOP_LEVEL) - count(&samples, &TOPOLOGY);
    assert!(reference.contains(&format!("({own}, of which 17 are the histogram)")), "{own}");
}

#[test]
fn the_readme_has_metrics_as_they_are() {
    let readme = include_str!("../../README.md");
    let types: BTreeMap<_, _> =
        GOLDEN.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let (_, table) =
        readme.split_once("| metric | labels | type | says |\n|---|---|---|---|\n").expect("a table");
    let mut rows = 0;
    for row in table.lines().take_while(|line| !line.is_empty()) {
        let [_, names, labels, kind, ..] = row.split('|').map(str::trim).collect::<Vec<_>>()[..] else {
            panic!("{row}");
        };
        for name in names.split(", ").map(|name| name.trim_matches('`')) {
            assert_eq!(types.get(name), Some(&kind), "{name}");
            let series = if kind == "histogram" { format!("{name}_count") } else { name.to_owned() };
            let sample = parser::parse(GOLDEN).into_iter().find(|sample| sample.name == series).expect(name);
            let shown: Vec<_> = sample.labels.iter().map(|(label, _)| label.as_str()).collect();
            assert_eq!(shown.join(", "), labels, "{name}");
        }
        rows += 1;
    }
    assert!(rows > 10);
    let word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    for name in readme.split(|letter| !word(letter)).filter(|name| name.starts_with("traceflow_")) {
        // The program's own name, and what a shell's pattern begins with.
        let known = types.contains_key(name) || ["traceflow_exporter", "traceflow_"].contains(&name);
        assert!(known, "there is no {name}");
    }
}

#[test]
fn the_build_is_named() {
    let samples = samples([]);
    let build = samples.iter().find(|sample| sample.name == "traceflow_build_info");
    let build = build.expect("a build");
    assert_eq!(build.label("version"), Some(env!("CARGO_PKG_VERSION")));
    assert!(build.label("revision").is_some_and(|revision| !revision.is_empty()));
}

#[test]
fn the_process_is_shown() {
    let text = render(&Scrape {
        store: &Store::default(),
        engine: &Counters::default(),
        process: Some(&Process::this()),
        limits: Limits::default(),
        reload: None,
    });
    let samples = parser::parse(&text);
    for name in ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"] {
        assert_eq!(count(&samples, &[name]), 1, "{name}");
    }
}

#[test]
fn every_target_has_its_target_level_series() {
    let target_level = |snapshot: Snapshot| {
        let samples = samples([snapshot]);
        let names = samples.iter().filter(|sample| sample.label("target").is_some());
        let names = names.map(|sample| sample.name.clone());
        names
            .filter(|name| !HOP_LEVEL.contains(&name.as_str()) && !TOPOLOGY.contains(&name.as_str()))
            .collect::<Vec<_>>()
    };
    let whole = target_level(sample::changed(sample::traced("a", sample::diamond())));
    let without = |missing: &[&str]| -> Vec<_> {
        whole.iter().filter(|name| !missing.contains(&name.as_str())).cloned().collect()
    };
    let (round, change) =
        ("traceflow_last_round_timestamp_seconds", "traceflow_last_path_change_timestamp_seconds");
    assert_eq!(without(&[round, change]).len(), whole.len() - 2);
    assert_eq!(target_level(sample::changed(sample::failed("a", "no such host"))), whole);
    assert_eq!(
        target_level(sample::failed("a", "no such host")),
        without(&[change]),
        "without a path change"
    );
    assert_eq!(target_level(sample::fresh("a", "host")), without(&[round, change]), "before the first round");
}

#[test]
fn what_vanished_vanishes_at_once() {
    let mut snapshot = sample::traced("a", sample::diamond());
    let before = samples([snapshot.clone()]);
    assert_eq!(value(&before, "traceflow_target_up", "a"), Some(1.0));
    assert_eq!(value(&before, "traceflow_paths", "a"), Some(2.0));
    assert_eq!(count(&before, &["traceflow_hop_nodes"]), 4);

    let gone = sample::failed("a", "no route");
    snapshot.last_round = gone.last_round;
    let after = samples([snapshot]);
    for name in [
        "traceflow_target_up",
        "traceflow_paths",
        "traceflow_flow_paths",
        "traceflow_discovery_confidence_ratio",
        "traceflow_flows_reached",
        "traceflow_hops_min",
        "traceflow_hops_max",
        "traceflow_nodes",
        "traceflow_links",
        "traceflow_width_max",
        "traceflow_diamonds",
        "traceflow_round_probes",
        "traceflow_series_dropped",
    ] {
        assert_eq!(value(&after, name, "a"), Some(0.0), "{name}");
    }
    assert_eq!(count(&after, &HOP_LEVEL) + count(&after, &TOPOLOGY), 0);
    assert_eq!(value(&after, "traceflow_rtt_seconds_count", "a"), Some(3.0), "counters stay");
}

#[test]
fn counters_of_a_hop_come_and_go_with_the_hop() {
    let far = Ttl::new(9).expect("a TTL");
    let mut snapshot = sample::traced("a", sample::diamond());
    let tally = Tally { sent: 50, received: 40 };
    snapshot.counters.hops.insert(far, tally);
    snapshot.counters.hops.insert(Ttl::MIN, tally);
    let hop = |ttl: &str| {
        samples([snapshot.clone()])
            .iter()
            .filter(|sample| sample.name.starts_with("traceflow_hop_") && sample.label("ttl") == Some(ttl))
            .map(|sample| (sample.name.clone(), sample.value))
            .collect::<BTreeMap<_, _>>()
    };
    assert_eq!(hop("1")["traceflow_hop_probes_sent_total"], 50.0);
    assert_eq!(hop("1")["traceflow_hop_replies_received_total"], 40.0);
    assert!(hop("9").is_empty());

    // The hop comes back: its counters go on where they were.
    let longer = sample::trace(&sample::evidence(&format!("1 {}203.0.113.9@9!", "* ".repeat(8))));
    let back = sample::traced("a", longer);
    snapshot.last_round = back.last_round;
    let shown = samples([snapshot]);
    let at_nine = |name: &str| {
        let mut found = shown.iter().filter(|sample| sample.name == name);
        found.find(|sample| sample.label("ttl") == Some("9")).map(|sample| sample.value)
    };
    assert_eq!(at_nine("traceflow_hop_probes_sent_total"), Some(50.0));
    assert_eq!(at_nine("traceflow_hop_replies_received_total"), Some(40.0));
}

#[test]
fn label_values_are_escaped() {
    let name = "a \"quoted\\ name\"\nof two lines";
    let mut snapshot = sample::traced(name, sample::diamond());
    snapshot.labels = BTreeMap::from([("note".to_owned(), "\\\"\n".to_owned())]);
    let text = show(&sample::store([snapshot]), Limits::default());
    assert!(text.contains(r#"traceflow_target_up{target="a \"quoted\\ name\"\nof two lines"} 1"#));
    let samples = parser::parse(&text);
    assert_eq!(value(&samples, "traceflow_target_up", name), Some(1.0));
    let info = samples.iter().find(|sample| sample.name == "traceflow_target_info");
    assert_eq!(info.and_then(|info| info.label("note")), Some("\\\"\n"));
}

#[test]
fn labels_that_would_spoil_the_scrape_are_left_out() {
    let mut snapshot = sample::fresh("a", "host.example.net");
    let labels = ["site", "_x1", "host", "target", "__name__", "bad-name", "1st", "", "größe"];
    snapshot.labels = labels.map(|name| (name.to_owned(), "v".to_owned())).into();
    let samples = samples([snapshot]);
    let info = samples.iter().find(|sample| sample.name == "traceflow_target_info");
    let names: Vec<_> =
        info.into_iter().flat_map(|info| &info.labels).map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["target", "host", "address", "protocol", "strategy", "_x1", "site"]);
}

#[test]
fn help_of_what_the_last_round_found_says_so() {
    let store = sample::store([sample::traced("a", sample::diamond())]);
    let text = show(&store, Limits::default());
    let lines: Vec<_> = text.lines().collect();
    let mut cached = 0;
    for pair in lines.windows(2) {
        let ([help, kind], true) = (pair, pair[0].starts_with("# HELP traceflow_")) else {
            continue;
        };
        let about_a_round = [
            "_target_up ",
            "_flows_reached ",
            "_paths ",
            "_confidence_",
            "_hops_",
            "_nodes ",
            "_links ",
            "_width_",
            "_diamonds ",
            "_hop_rtt_",
            "_hop_rate_",
            "_node_info ",
            "_link_flows ",
        ];
        if kind.ends_with(" gauge") && about_a_round.iter().any(|part| help.contains(part)) {
            assert!(help.contains("as of the last round"), "{help}");
            cached += 1;
        }
    }
    assert_eq!(cached, 16);
}

#[test]
fn nodes_have_the_names_and_systems_that_are_known() {
    let samples = samples([sample::traced("a", sample::annotated())]);
    let nodes = samples.iter().filter(|sample| sample.name == "traceflow_node_info");
    let told: Vec<_> =
        nodes.map(|node| ["address", "hostname", "asn"].map(|label| node.label(label).unwrap())).collect();
    let expected = [
        ["192.0.2.1", "r1.example.net", "64496"],
        ["198.51.100.1", "", ""],
        ["198.51.100.2", "", "64500"],
        ["*198.51.100.1", "", ""],
        ["198.51.100.20", "", "64500"],
        ["203.0.113.9", "www.example.net", ""],
    ];
    assert_eq!(told, expected);
}

#[test]
fn the_cap_takes_the_topology_first_then_the_farthest_hops() {
    let store = sample::store([sample::traced("a", sample::diamond())]);
    // 4 hops with 4 series each and 5 round-trip times; 6 nodes and 6 links.
    let all = |limit: usize| {
        let limits = Limits { series_per_target: limit, topology: true };
        let samples = parser::parse(&show(&store, limits));
        let per_target = samples.iter().filter(|sample| sample.label("target").is_some()).count();
        let dropped = value(&samples, "traceflow_series_dropped", "a").expect("a number");
        (per_target, count(&samples, &HOP_LEVEL), count(&samples, &TOPOLOGY), dropped, samples)
    };
    let (whole, hops, topology, dropped, _) = all(1000);
    assert_eq!((hops, topology, dropped), (21, 12, 0.0));
    let target_level = whole - hops - topology;

    // room besides the target's own series -> hop-level series, series of the topology, dropped
    let cases = [
        (33, 21, 12, 0.0),
        (32, 21, 0, 12.0),
        (21, 21, 0, 12.0),
        (20, 20, 0, 13.0),
        (16, 16, 0, 17.0),
        (15, 15, 0, 18.0),
        (14, 11, 0, 22.0),
        (10, 10, 0, 23.0),
        (5, 5, 0, 28.0),
        (3, 0, 0, 33.0),
        (0, 0, 0, 33.0),
    ];
    for (room, hops, topology, dropped) in cases {
        let limit = target_level + room;
        let (series, shown_hops, shown_topology, shown_dropped, samples) = all(limit);
        assert_eq!((shown_hops, shown_topology, shown_dropped), (hops, topology, dropped), "room {room}");
        assert!(series <= limit, "room {room}: {series} series");
        let farthest = samples
            .iter()
            .filter(|sample| HOP_LEVEL.contains(&sample.name.as_str()))
            .filter_map(|sample| sample.label("ttl")?.parse::<usize>().ok())
            .max();
        let hop_nodes = count(&samples, &["traceflow_hop_nodes"]);
        assert_eq!(farthest.unwrap_or(0), hop_nodes, "room {room}: nearest hops first");
    }
    let (series, ..) = all(1);
    assert_eq!(series, target_level, "the target's own series are always whole");
}

#[test]
fn topology_can_be_switched_off_and_is_not_dropped_then() {
    let store = sample::store([sample::traced("a", sample::diamond())]);
    let limits = Limits { topology: false, ..Limits::default() };
    let samples = parser::parse(&show(&store, limits));
    assert_eq!(count(&samples, &TOPOLOGY), 0);
    assert_eq!(value(&samples, "traceflow_series_dropped", "a"), Some(0.0));
}

#[test]
fn silent_nodes_have_names_of_their_own() {
    // Flow 1 is silent at the first two hops; flows 2 and 3 meet a silent node each behind their own first hop, flow 3 two.
    let trace = sample::trace(&sample::evidence(
        "1  *            *               192.0.2.31@1  203.0.113.9@9!
         2  192.0.2.11@1 *               192.0.2.32@1  203.0.113.9@9!
         3  192.0.2.12@1 *               *             203.0.113.9@9!",
    ));
    let samples = samples([sample::traced("a", trace)]);
    let of = |name: &str, labels: [&str; 3]| -> Vec<String> {
        let found = samples.iter().filter(|sample| sample.name == name);
        found
            .map(|sample| {
                let shown = labels.map(|label| sample.label(label).unwrap_or(""));
                shown.join(" ").trim_end().to_owned()
            })
            .collect()
    };
    assert_eq!(
        of("traceflow_node_info", ["ttl", "address", ""]),
        [
            "1 *",
            "1 192.0.2.11",
            "1 192.0.2.12",
            "2 **",
            "2 *192.0.2.11",
            "2 *192.0.2.12",
            "3 **192.0.2.12",
            "3 192.0.2.31",
            "3 192.0.2.32",
            "4 203.0.113.9",
        ]
    );
    assert_eq!(
        of("traceflow_link_flows", ["ttl", "from", "to"]),
        [
            "1 * **",
            "1 192.0.2.11 *192.0.2.11",
            "1 192.0.2.12 *192.0.2.12",
            "2 ** 192.0.2.31",
            "2 *192.0.2.11 192.0.2.32",
            "2 *192.0.2.12 **192.0.2.12",
            "3 **192.0.2.12 203.0.113.9",
            "3 192.0.2.31 203.0.113.9",
            "3 192.0.2.32 203.0.113.9",
        ]
    );
}

#[test]
fn balancing_and_labels_of_nodes() {
    let trace = sample::diamond();
    let divergence = trace.route.hops[0].nodes[0].balancing;
    assert_eq!(divergence, Balancing::PerFlow);
    let samples = samples([sample::traced("a", trace)]);
    let node = |address: &str| {
        let mut nodes = samples.iter().filter(|sample| sample.name == "traceflow_node_info");
        nodes.find(|sample| sample.label("address") == Some(address)).expect("a node")
    };
    assert_eq!(node("192.0.2.1").label("balancing"), Some("per_flow"));
    assert_eq!(node("192.0.2.1").label("mpls"), Some(""));
    assert_eq!(node("198.51.100.20").label("mpls"), Some("16004,24001"));
}

#[test]
fn the_last_path_change_is_told_for_as_long_as_its_counter() {
    let name = "traceflow_last_path_change_timestamp_seconds";
    let mut snapshot = sample::changed(sample::traced("a", sample::diamond()));
    let shown = |snapshot: &Snapshot| value(&samples([snapshot.clone()]), name, "a");
    let at: Timestamp = "2026-01-02T03:01:05.678Z".parse().expect("a time");
    snapshot.changes.clear();
    assert_eq!(shown(&snapshot), Some(at.as_duration().as_secs_f64()), "its history may be gone");
    snapshot.counters.last_path_change = None;
    assert_eq!(shown(&snapshot), None);
}

#[test]
fn the_last_round_ended_when_it_did() {
    let samples = samples([sample::traced("a", sample::diamond())]);
    let ended: Timestamp = "2026-01-02T03:04:06Z".parse().expect("a time");
    let ended = ended.as_duration().as_secs_f64();
    assert_eq!(value(&samples, "traceflow_last_round_timestamp_seconds", "a"), Some(ended));
}

#[test]
fn what_a_probe_found_is_shown_without_what_is_counted() {
    let snapshot = sample::changed(sample::traced("www.example.net", sample::diamond()));
    let text = render_probed(&snapshot, Limits::default());
    let probed = parser::parse(&text);
    let whole = show(&sample::store([snapshot.clone()]), Limits::default());
    let own = |sample: &&Sample| sample.name.starts_with("probe_");
    let [success, duration] = ["probe_success", "probe_duration_seconds"]
        .map(|name| probed.iter().find(|sample| sample.name == name).map(|sample| sample.value));
    assert_eq!(
        (success, duration),
        (Some(1.0), Some(snapshot.last_round.map_or(0.0, |round| round.duration.as_secs_f64())))
    );
    // The others are those of a target, word for word.
    for line in text.lines().filter(|line| !line.contains("probe_")) {
        assert!(whole.lines().any(|other| other == line), "{line}");
    }
    let others: Vec<_> = probed.iter().filter(|sample| !own(sample)).collect();
    let counted = |sample: &&&Sample| {
        ["_total", "_bucket", "_sum", "_count", "_timestamp_seconds"]
            .iter()
            .any(|end| sample.name.ends_with(end))
    };
    assert_eq!(others.iter().find(counted).map(|sample| &sample.name), None);
    for name in [
        "traceflow_target_up",
        "traceflow_paths",
        "traceflow_hop_rtt_seconds",
        "traceflow_node_info",
        "traceflow_link_flows",
    ] {
        assert!(others.iter().any(|sample| sample.name == name), "{name}");
    }
    let failed = parser::parse(&render_probed(&sample::failed("gone", "no such host"), Limits::default()));
    assert_eq!(
        failed.iter().find(|sample| sample.name == "probe_success").map(|sample| sample.value),
        Some(0.0)
    );
    let reference = include_str!("../../docs/metrics.md");
    for name in ["probe_success", "probe_duration_seconds"] {
        assert!(reference.contains(&format!("`{name}`")), "{name}");
    }
}
