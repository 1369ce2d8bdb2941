use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::{
    render::{json as show, sample},
    route::Paths,
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
    for (place, value) in spoilt {
        let mut document = good.clone();
        *document.pointer_mut(place).expect("a place") = value;
        let accepted = std::panic::catch_unwind(|| check(&document, &schema, &schema, "")).is_ok();
        assert!(!accepted, "{place} should be refused");
    }
}

/// As much of JSON Schema as the schema uses. Panics where the value does not fit, and at keywords that it does not know.
fn check(value: &Value, schema: &Value, root: &Value, place: &str) {
    for (keyword, rule) in schema.as_object().expect("a schema is an object") {
        match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "format" => {}
            "$ref" => {
                let target = rule.as_str().and_then(|target| target.strip_prefix('#'));
                let target = target.and_then(|target| root.pointer(target));
                check(value, target.expect("a definition"), root, place);
            }
            "const" => assert_eq!(value, rule, "{place}"),
            "enum" => assert!(list(rule).contains(value), "{place}: {value}"),
            "type" => {
                let single = [rule.clone()];
                let types = rule.as_array().map_or(&single[..], Vec::as_slice);
                assert!(types.iter().any(|kind| is_of_type(value, kind)), "{place}: {value} is no {rule}");
            }
            "minimum" => assert!(value.is_null() || value.as_f64() >= rule.as_f64(), "{place}: {value}"),
            "maximum" => assert!(value.is_null() || value.as_f64() <= rule.as_f64(), "{place}: {value}"),
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(item, rule, root, &format!("{place}/{index}"));
                }
            }
            "properties" => {
                for (name, rule) in rule.as_object().expect("properties") {
                    if let Some(value) = value.get(name) {
                        check(value, rule, root, &format!("{place}/{name}"));
                    }
                }
            }
            "additionalProperties" => assert_eq!(rule, &json!(false), "{place}"),
            "required" => {
                let Some(object) = value.as_object() else { continue };
                let required: BTreeSet<_> = list(rule).iter().filter_map(Value::as_str).collect();
                let known: BTreeSet<_> = keys(&schema["properties"]);
                assert_eq!(required, known, "{place}: every property is required");
                assert_eq!(object.keys().map(String::as_str).collect::<BTreeSet<_>>(), known, "{place}");
                assert_eq!(schema["additionalProperties"], json!(false), "{place}");
            }
            other => panic!("{place}: unknown keyword {other}"),
        }
    }
}

fn list(rule: &Value) -> &[Value] {
    rule.as_array().expect("a list")
}

fn keys(object: &Value) -> BTreeSet<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

fn is_of_type(value: &Value, kind: &Value) -> bool {
    match kind.as_str().expect("a type") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        other => panic!("unknown type {other}"),
    }
}
