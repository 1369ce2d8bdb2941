//! The JSON of the API, field by field and against its schemas.

use serde_json::{Value, json};

use super::*;
use crate::render::{
    self, Report,
    sample::{self, schema::check},
};

#[test]
fn the_api_gives_the_state_and_the_trace() {
    let name = "a b/\u{e9}\"<";
    let store = targets();
    let mut special = sample::changed(sample::traced(name, sample::diamond()));
    special.labels = BTreeMap::from([("site".to_owned(), "ams".to_owned())]);
    store.publish(special);
    let server = Server::start(&store);
    let get = |path: &str| -> Value { serde_json::from_str(&server.ask("GET", path).body).expect("JSON") };

    let trace = render::json(&Report {
        host: "www.example.net",
        started: sample::STARTED,
        trace: &sample::diamond(),
    });
    let state = json!({
        "name": name, "host": "www.example.net", "address": "203.0.113.9", "protocol": "udp", "strategy": "fixed",
        "labels": { "site": "ams" }, "up": true,
        "counters": {
            "rounds": 7, "rounds_failed": 2, "path_changes": 11, "as_path_changes": 17, "flow_moves": 12,
            "late_discoveries": 13, "length_changes": 14, "reachability_changes": 15, "address_changes": 16,
        },
        "last_round": { "started": "2026-01-02T03:04:05.678Z", "duration_seconds": 0.322 }, "error": null,
    });
    assert_eq!(get("/api/v1/targets")["targets"][0], state, "without trace and changes");
    let mut expected: Value = serde_json::from_str(&trace).expect("JSON");
    expected["state"] = state;
    let mut shown = get("/api/v1/targets/a%20b%2F%C3%A9%22%3C");
    let changes = shown["changes"].take();
    expected["changes"] = Value::Null;
    assert_eq!(shown, expected);
    assert_eq!(changes.as_array().map(Vec::len), Some(7));

    let gone = get("/api/v1/targets/gone");
    assert_eq!(
        gone.as_object().map(|gone| gone.len()),
        Some(2),
        "without a trace there are state and changes"
    );
    assert_eq!(gone["changes"], json!([]));
    for (field, expected) in
        [("up", json!(false)), ("error", json!("no such host")), ("address", json!(null))]
    {
        assert_eq!(gone["state"][field], expected, "{field}");
    }
    let names: Vec<_> = get("/api/v1/targets")["targets"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|target| target["name"].clone())
        .collect();
    assert_eq!(names, [name, "gone", "lost", "shop"]);
}

#[test]
fn the_api_gives_the_changes_newest_first() {
    let shop = sample::changed(sample::traced("shop", sample::diamond()));
    let body = Server::start(&sample::store([shop])).ask("GET", "/api/v1/targets/shop").body;
    let document: Value = serde_json::from_str(&body).expect("JSON");
    let changes = document["changes"].as_array().expect("a list");
    let kinds: Vec<_> = changes.iter().filter_map(|change| change["kind"].as_str()).collect();
    assert_eq!(kinds, ["flow_move", "reachability", "path", "as_path", "length", "path", "address"]);
    assert_eq!(
        changes[0],
        json!({ "at": "2026-01-02T03:03:05.678Z", "kind": "flow_move", "came": [], "went": [], "flows": [33471],
            "detail": null })
    );
    assert_eq!(changes[1]["detail"], json!("the destination is reached again"));
    assert_eq!(
        changes[2],
        json!({ "at": "2026-01-02T03:01:05.678Z", "kind": "path", "flows": [33460, 33471], "detail": null,
            "came": [
                { "ttl": 2, "address": "198.51.100.1" },
                { "ttl": 1, "from": "192.0.2.1", "to": "198.51.100.1" },
            ],
            "went": [
                { "ttl": 2, "address": "2001:db8::7" },
                { "ttl": 1, "from": "192.0.2.1", "to": "2001:db8::7" },
            ] })
    );
}

#[test]
fn the_api_keeps_to_its_schemas() {
    let [trace, target]: [Value; 2] =
        [include_str!("../../../docs/trace.schema.json"), include_str!("../../../docs/target.schema.json")]
            .map(|schema| serde_json::from_str(schema).expect("a schema is JSON"));
    let store = targets();
    store.publish(sample::fresh("new", "new.example.net"));
    store.publish(sample::changed(sample::traced("moved", sample::annotated())));
    let server = Server::start(&store);
    let get = |path: &str| -> Value { serde_json::from_str(&server.ask("GET", path).body).expect("JSON") };
    let fields: Vec<_> = target["properties"].as_object().into_iter().flatten().collect();
    assert_eq!(fields.len(), 2);

    let states = get("/api/v1/targets")["targets"].take();
    let states = states.as_array().expect("a list");
    assert_eq!(states.len(), 5);
    for state in states {
        let name = state["name"].as_str().expect("a name");
        check(state, &target["properties"]["state"], &target, name);
        let mut document = get(&format!("/api/v1/targets/{name}"));
        let shown = document.as_object_mut().expect("an object");
        for (field, rule) in &fields {
            let value = shown.remove(*field).expect(field);
            check(&value, rule, &target, field);
        }
        if !shown.is_empty() {
            check(&document, &trace, &trace, name);
        }
    }
}

#[test]
fn a_route_is_drawn_in_the_format_that_is_asked_for() {
    let server = Server::start(&targets());
    let svg = "image/svg+xml";
    let dot = "text/vnd.graphviz; charset=utf-8";
    let cases = [
        ("shop/graph", 200, svg, "<?xml version=\"1.0\""),
        ("shop/graph?format=svg", 200, svg, ">198.51.100.20</text>"),
        ("shop/graph?x=y&format=d%6ft", 200, dot, "digraph route {"),
        ("shop/graph?format=mermaid", 200, TEXT, "flowchart LR"),
        ("shop/graph?format=vis", 200, "application/json", "\"nodes\": ["),
        ("shop/graph?format=png", 400, TEXT, "unknown format; allowed are svg, dot, mermaid, vis\n"),
        ("shop/graph?format=", 400, TEXT, "unknown format; allowed are svg, dot, mermaid, vis\n"),
        ("shop/graph?format=%3Cscript%3E", 400, TEXT, "unknown format; allowed are svg, dot, mermaid, vis\n"),
        ("gone/graph", 404, TEXT, "no trace of this target was made yet\n"),
        ("nobody/graph", 404, TEXT, "no such target\n"),
    ];
    for (path, status, content_type, part) in cases {
        let response = server.ask("GET", &format!("/api/v1/targets/{path}"));
        assert_eq!((response.status, &*response.headers["content-type"]), (status, content_type), "{path}");
        assert!(response.body.contains(part), "{path}: {}", response.body);
        let policy = &response.headers["content-security-policy"];
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
    }
}
