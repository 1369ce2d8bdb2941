//! The autonomous systems of a route on kernel routers: shown, and counted where they change.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde_json::{Value, json};
use traceflow_exporter::flow::Family;

use crate::{
    exporter::{Running, get, ready, scrape, wait_for},
    lab::{self, Lab, Options},
    mmdb,
    monitor::{TARGETS, after_rounds, config, read},
};

/// Rounds in which a change is surely found.
const ROUNDS: f64 = 4.0;

/// The systems of the routers; r2 stands at an exchange and is in none.
const SYSTEMS: [(&str, u32); 6] =
    [("r1", 64_496), ("a1", 64_500), ("a2", 64_500), ("b1", 64_501), ("x", 64_510), ("d", 64_510)];

/// The networks of a database in which each system's number is greater by `more`.
fn networks(lab: &Lab, more: u32) -> BTreeMap<String, u32> {
    let of_node = |&(node, asn): &(&str, u32)| {
        [(Family::V4, 32), (Family::V6, 128)]
            .map(|(family, length)| (format!("{}/{length}", lab.address(node, family)), asn + more))
    };
    SYSTEMS.iter().flat_map(of_node).collect()
}

fn target(lab: &Lab, name: &str) -> Value {
    let body = get(lab, &format!("http://127.0.0.1:10659/api/v1/targets/{name}")).unwrap();
    serde_json::from_str(&body).unwrap()
}

/// The AS paths of all flows that were followed to the destination.
fn as_paths(document: &Value) -> Vec<Value> {
    let flows = document["flows"].as_array().unwrap().iter().filter(|flow| flow["reached"] == true);
    let mut paths: Vec<Value> = flows.map(|flow| flow["as_path"].clone()).collect();
    paths.dedup();
    paths
}

fn assert_counted(exposition: &str, path: f64, systems: f64, exporter: &Running) {
    for target in TARGETS {
        let found = ["traceflow_path_changes_total", "traceflow_as_path_changes_total"]
            .map(|metric| read(exposition, metric, target));
        assert_eq!(found, [path, systems], "changes of path and of systems of {target}:\n{}", exporter.log());
    }
}

#[test]
fn another_provider_is_told_from_another_router() {
    if lab::skipped() {
        return;
    }
    let topology = "s -> r1 -> r2 -> a1 a2 b1 -> x -> d".parse().unwrap();
    let lab = Lab::build(&topology, Options::routers());
    lab.replace_next_hops("r2", &["a1"]);
    let directory = tempfile::tempdir().unwrap();
    let database: PathBuf = directory.path().join("asn.mmdb");
    mmdb::write(&database, "GeoLite2", &networks(&lab, 0));
    let config = config(&lab)
        .replace("interval: 1s", &format!("interval: 1s, asn_database: \"{}\"", database.display()));
    let exporter = Running::exporter(&lab, &config);
    ready(&lab, &exporter);
    let exposition = after_rounds(&lab, &exporter, ROUNDS);
    assert_counted(&exposition, 0.0, 0.0, &exporter);
    for (name, family) in TARGETS.into_iter().zip([Family::V4, Family::V6]) {
        let asn_of = |node: &str| {
            let address = format!("address=\"{}\"", lab.address(node, family));
            let target = format!("target=\"{name}\"");
            let is_node = |line: &&str| {
                line.starts_with("traceflow_node_info{") && line.contains(&address) && line.contains(&target)
            };
            let line = exposition.lines().find(is_node).unwrap_or_else(|| panic!("{node} in\n{exposition}"));
            line.split_once("asn=\"").unwrap().1.split('"').next().unwrap().to_owned()
        };
        assert_eq!(["r1", "r2", "a1", "x", "d"].map(asn_of), ["64496", "", "64500", "64510", "64510"]);
        let document = target(&lab, name);
        assert_eq!(as_paths(&document), [json!([64_496, 64_500, 64_510])]);
        let asns: Vec<&Value> =
            document["hops"].as_array().unwrap().iter().map(|hop| &hop["nodes"][0]["asn"]).collect();
        assert_eq!(json!(asns), json!([64_496, null, 64_500, 64_510, 64_510]));
    }

    lab.replace_next_hops("r2", &["a2"]);
    assert_counted(&after_rounds(&lab, &exporter, ROUNDS), 1.0, 0.0, &exporter);
    lab.replace_next_hops("r2", &["b1"]);
    assert_counted(&after_rounds(&lab, &exporter, ROUNDS), 2.0, 1.0, &exporter);
    for name in TARGETS {
        let document = target(&lab, name);
        assert_eq!(as_paths(&document), [json!([64_496, 64_501, 64_510])]);
        assert_eq!(document["state"]["counters"]["as_path_changes"], 1);
        let changes = document["changes"].as_array().unwrap();
        let told: Vec<_> = changes.iter().filter(|change| change["kind"] == "as_path").collect();
        let expected =
            "AS64501,AS64496>AS64501,AS64501>AS64510 came; AS64500,AS64496>AS64500,AS64500>AS64510 went";
        assert!(matches!(*told, [change] if change["detail"] == expected), "{told:?}");
    }

    // Another database is another baseline, one that cannot be used is none.
    mmdb::write(&database, "IPinfo", &networks(&lab, 1000));
    let shown =
        |asn: &str| scrape(&lab).filter(|exposition| exposition.matches(asn).count() >= TARGETS.len());
    wait_for("the new numbers", &exporter, || shown("asn=\"65501\""));
    fs::write(&database, "no database").unwrap();
    let kept = || exporter.log().matches("the AS database read before stays in use").count();
    wait_for("a word of the broken file", &exporter, || (kept() > 0).then_some(()));
    let exposition = after_rounds(&lab, &exporter, 2.0 * ROUNDS);
    assert_counted(&exposition, 2.0, 1.0, &exporter);
    assert_eq!(exposition.matches("asn=\"65501\"").count(), TARGETS.len());
    assert_eq!(kept(), 1, "{}", exporter.log());

    lab.replace_next_hops("r2", &["a1"]);
    assert_counted(&after_rounds(&lab, &exporter, ROUNDS), 3.0, 2.0, &exporter);
    assert_eq!(exporter.terminate(), Some(0));
}
