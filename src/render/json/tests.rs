use serde_json::{Value, json};

use super::*;
use crate::{
    config::Module,
    flow::{Family, Protocol},
    render::{
        json as show,
        sample::{
            self,
            schema::{check, refused},
        },
    },
    request::settings,
    route::Paths,
    simulation::{Bench, Network, tests::file},
    strategy::Strategy,
    trace::{StopReason, Trace},
};

const SCHEMA: &str = include_str!("../../../docs/trace.schema.json");

fn shown(trace: &Trace) -> String {
    show(&Report { host: "www.example.net", started: sample::STARTED, trace })
}

fn parsed(trace: &Trace) -> Value {
    serde_json::from_str(&shown(trace)).expect("JSON")
}

#[test]
fn one_object_field_by_field() {
    let document = parsed(&sample::diamond());
    let cases = [
        ("/version", json!(1)),
        ("/host", json!("www.example.net")),
        ("/destination", json!("203.0.113.9")),
        ("/source", json!("192.0.2.100")),
        ("/protocol", json!("udp")),
        ("/strategy", json!("fixed")),
        ("/confidence", json!(0.95)),
        ("/started", json!("2026-01-02T03:04:05.678Z")),
        ("/duration_seconds", json!(0.31)),
        ("/reached", json!(true)),
        ("/stop_reason", json!("complete")),
        ("/detail", json!(null)),
        ("/probes_sent", json!(12)),
        ("/replies_received", json!(11)),
        ("/paths", json!(2)),
        ("/flow_paths", json!(2)),
        ("/hops_min", json!(4)),
        ("/hops_max", json!(4)),
        (
            "/hops/0",
            json!({ "ttl": 1, "probes_sent": 3, "replies_received": 3, "nodes": [ {
                "address": "192.0.2.1", "hostname": null, "asn": null, "replies": 3,
                "rtt_seconds": { "min": 0.0011, "median": 0.0012, "max": 0.0019 },
                "balancing": "per_flow", "rate_limited": true, "nat": false, "mpls": [] } ] }),
        ),
        (
            "/hops/2/nodes/0/mpls",
            json!([
                { "label": 16004, "traffic_class": 0, "bottom": false, "ttl": 1 },
                { "label": 24001, "traffic_class": 0, "bottom": true, "ttl": 1 }
            ]),
        ),
        ("/hops/2/nodes/1/address", json!(null)),
        ("/hops/2/nodes/1/rtt_seconds", json!(null)),
        ("/links/2", json!({ "ttl": 2, "from": "198.51.100.1", "to": null, "per_packet": false })),
        (
            "/flows/0",
            json!({ "id": 33460, "reached": true, "as_path": null, "hops": [
                { "ttl": 1, "address": "192.0.2.1" }, { "ttl": 2, "address": "198.51.100.1" },
                { "ttl": 3, "address": null }, { "ttl": 4, "address": "203.0.113.9" } ] }),
        ),
        (
            "/diamonds",
            json!([ { "divergence_ttl": 1, "divergence": "192.0.2.1", "convergence_ttl": 4,
                "convergence": "203.0.113.9", "width": 2, "length": 3 } ]),
        ),
    ];
    for (place, expected) in cases {
        assert_eq!(document.pointer(place), Some(&expected), "{place}");
    }
}

#[test]
fn fields_come_in_the_order_of_the_contract() {
    let text = shown(&sample::diamond());
    let order = [
        "version",
        "host",
        "destination",
        "source",
        "protocol",
        "strategy",
        "confidence",
        "confidence_reached",
        "started",
        "duration_seconds",
        "reached",
        "stop_reason",
        "detail",
        "probes_sent",
        "replies_received",
        "paths",
        "flow_paths",
        "hops_min",
        "hops_max",
        "hops",
        "links",
        "flows",
        "diamonds",
    ];
    let found: Vec<_> =
        text.lines().filter_map(|line| line.strip_prefix("  \"")?.split('"').next()).collect();
    assert_eq!(found, order);
    assert!(text.ends_with("}\n"), "one line feed at the end");
}

#[test]
fn unknown_is_null() {
    let nothing = Trace {
        stop_reason: StopReason::GapLimit,
        detail: Some("nothing answered".to_owned()),
        ..sample::trace(&sample::evidence("1 * *"))
    };
    let document = parsed(&nothing);
    for field in ["confidence_reached", "hops_min", "hops_max"] {
        assert_eq!(document[field], Value::Null, "{field}");
    }
    for (field, expected) in [
        ("paths", json!(0)),
        ("stop_reason", json!("gap_limit")),
        ("detail", json!("nothing answered")),
        ("reached", json!(false)),
    ] {
        assert_eq!(document[field], expected, "{field}");
    }
}

#[test]
fn what_is_known_of_addresses_stands_with_them() {
    let document = parsed(&sample::annotated());
    let nodes = document["hops"].as_array().into_iter().flatten().flat_map(|hop| hop["nodes"].as_array());
    let told: Vec<_> =
        nodes.flatten().map(|node| [&node["address"], &node["hostname"], &node["asn"]]).collect();
    let expected = json!([
        ["192.0.2.1", "r1.example.net", 64_496],
        ["198.51.100.1", null, null],
        ["198.51.100.2", null, 64_500],
        ["198.51.100.20", null, 64_500],
        [null, null, null],
        ["203.0.113.9", "www.example.net", null],
    ]);
    assert_eq!(json!(told), expected);
    let paths: Vec<_> =
        document["flows"].as_array().into_iter().flatten().map(|flow| &flow["as_path"]).collect();
    assert_eq!(json!(paths), json!([[64_496], [64_496, 64_500], [64_496, 64_500]]));
}

#[test]
fn paths_saturate_and_open_diamonds_have_no_length() {
    let mut trace = sample::trace(&sample::evidence("1 192.0.2.1@1\n2 192.0.2.2@1"));
    trace.route.paths = Paths { count: u128::MAX, ..trace.route.paths };
    let document = parsed(&trace);
    assert_eq!(document["paths"], json!(u64::MAX));
    assert_eq!(document["diamonds"][0]["divergence_ttl"], json!(0));
    for field in ["divergence", "convergence_ttl", "convergence", "length"] {
        assert_eq!(document["diamonds"][0][field], Value::Null, "{field}");
    }
}

#[test]
fn output_keeps_to_the_schema() {
    let schema: Value = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    let traces = [
        sample::diamond(),
        sample::annotated(),
        sample::trace(&sample::evidence("")),
        sample::trace(&sample::evidence("1 * *")),
        sample::trace(&sample::evidence("1 192.0.2.1@1\n2 192.0.2.2@1 * 2001:db8::1@5!")),
    ];
    for trace in traces {
        check(&parsed(&trace), &schema, &schema, "");
    }
}

#[test]
fn the_schema_is_strict() {
    let schema: Value = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    let good = parsed(&sample::diamond());
    let spoilt: [(&str, Value); 9] = [
        ("", json!({})),
        ("/version", json!(2)),
        ("/paths", json!(-1)),
        ("/confidence", json!(1.5)),
        ("/hops/0/ttl", json!(0)),
        ("/hops/0/nodes/0/rtt_seconds", json!({ "min": 1 })),
        ("/links/0", json!({ "ttl": 1, "from": null, "to": null, "per_packet": false, "extra": 1 })),
        ("/stop_reason", json!("bored")),
        ("/flows/0/hops/0/address", json!(7)),
    ];
    let mut documents = Vec::new();
    for (place, value) in spoilt {
        let mut document = good.clone();
        *document.pointer_mut(place).expect("a place") = value;
        let accepted = std::panic::catch_unwind(|| check(&document, &schema, &schema, "")).is_ok();
        assert!(!accepted, "{place} should be refused");
        documents.push(document.to_string());
    }
    let told = refused("docs/trace.schema.json", &documents, "json");
    assert!(
        told.iter().copied().eq(0..documents.len()),
        "an independent validator accepts others than {told:?}"
    );
}

/// What is traced over simulated networks with every peculiarity fits, as an independent validator sees it, and so do the samples.
#[test]
fn an_independent_validator_accepts_the_output() {
    let samples = ["", "1 * *", "1 192.0.2.1@1\n2 192.0.2.2@1 * 2001:db8::1@5!"];
    let mut documents: Vec<String> =
        samples.map(|picture| parsed(&sample::trace(&sample::evidence(picture))).to_string()).into();
    documents.push(parsed(&sample::diamond()).to_string());
    for name in [
        "faults",
        "per-packet",
        "silent-hops",
        "unreachable",
        "loop",
        "blackhole",
        "silent-destination",
        "unequal",
    ] {
        for (family, protocol) in
            [(Family::V4, Protocol::Udp), (Family::V6, Protocol::Tcp), (Family::V4, Protocol::Icmp)]
        {
            for strategy in Strategy::ALL {
                let module = Module { strategy, ..Module::default() };
                let network = Network::new(&file(name), family, 3);
                let mut bench = Bench::new(network, 1, 1_000_000, 3);
                let trace = bench.trace(protocol, settings(&module, 3, None)).expect("a process");
                documents.push(parsed(&trace).to_string());
            }
        }
    }
    let told = refused("docs/trace.schema.json", &documents, "json");
    assert!(told.is_empty(), "{} does not fit", documents[told[0]]);
}
