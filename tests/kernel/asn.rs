//! The autonomous systems of a route on kernel routers: shown, and counted where they change.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use traceflow_exporter::flow::Family;

use crate::{
    exporter::{ARGUMENTS, Running, get, ready, rounds, scrape, wait_for},
    lab::{self, Lab, Options},
    mmdb,
    monitor::{TARGETS, after_rounds, config, read},
    reload::post,
    traces::PROGRAM,
};

/// Rounds in which a change is surely found.
const ROUNDS: f64 = 4.0;

/// The systems of the routers; r2 stands at an exchange and is in none.
const SYSTEMS: [(&str, u32); 6] =
    [("r1", 64_496), ("a1", 64_500), ("a2", 64_500), ("b1", 64_501), ("x", 64_510), ("d", 64_510)];

/// The networks of a database in which each system's number is greater by `more`, of these routers.
fn networks_of(lab: &Lab, routers: &[&str], more: u32) -> BTreeMap<String, u32> {
    let of_node = |&(node, asn): &(&str, u32)| {
        [(Family::V4, 32), (Family::V6, 128)]
            .map(|(family, length)| (format!("{}/{length}", lab.address(node, family)), asn + more))
    };
    SYSTEMS.iter().filter(|(node, _)| routers.contains(node)).flat_map(of_node).collect()
}

/// The same of all.
fn networks(lab: &Lab, more: u32) -> BTreeMap<String, u32> {
    networks_of(lab, &SYSTEMS.map(|(node, _)| node), more)
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

/// The systems of a line's routers, as metrics have them, once they are these.
fn wait_for_systems(lab: &Lab, exporter: &Running, expected: [&str; 3]) -> String {
    let shown = |exposition: &String| {
        TARGETS.iter().zip([Family::V4, Family::V6]).all(|(target, family)| {
            ["r1", "a1", "d"].iter().zip(expected).all(|(node, asn)| {
                let labels = format!("address=\"{}\",hostname=\"\",asn=\"{asn}\"", lab.address(node, family));
                let mut nodes = exposition.lines().filter(|line| line.starts_with("traceflow_node_info{"));
                nodes.any(|line| line.contains(&format!("target=\"{target}\"")) && line.contains(&labels))
            })
        })
    };
    wait_for(&format!("the systems {expected:?}"), exporter, || scrape(lab).filter(shown))
}

fn line() -> Lab {
    Lab::build(&"s -> r1 -> r2 -> a1 -> x -> d".parse().unwrap(), Options::routers())
}

fn networks_of_line(lab: &Lab, more: u32) -> BTreeMap<String, u32> {
    networks_of(lab, &["r1", "a1", "x", "d"], more)
}

/// No round is made for it: those that there were are told anew.
#[test]
fn another_database_is_asked_from_the_reload_on() {
    if lab::skipped() {
        return;
    }
    let lab = line();
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    mmdb::write(&file("a.mmdb"), "GeoLite2", &networks_of_line(&lab, 0));
    mmdb::write(&file("b.mmdb"), "IPinfo", &networks_of_line(&lab, 1000));
    fs::write(file("bad.mmdb"), "no database").unwrap();
    let without = config(&lab).replace("interval: 1s", "interval: 1h");
    let asking = |database: &Path| {
        without.replace("interval: 1h", &format!("interval: 1h, asn_database: \"{}\"", database.display()))
    };
    let exporter = Running::exporter(&lab, &without);
    ready(&lab, &exporter);
    wait_for_systems(&lab, &exporter, ["", "", ""]);
    let reload = |text: &str| {
        exporter.write("config.yaml", text);
        post(&lab, "POST")
    };
    for (text, expected) in [
        (asking(&file("a.mmdb")), ["64496", "64500", "64510"]),
        (asking(&file("b.mmdb")), ["65496", "65500", "65510"]),
        (without.clone(), ["", "", ""]),
        (asking(&file("a.mmdb")), ["64496", "64500", "64510"]),
    ] {
        assert_eq!(reload(&text).0, "200", "{}", exporter.log());
        wait_for_systems(&lab, &exporter, expected);
    }
    for name in ["bad.mmdb", "missing.mmdb"] {
        // With a target more, which does not come either.
        let text = asking(&file(name)).replace("targets: [", "targets: [{ name: more, host: 127.0.0.1 }, ");
        let (status, told) = reload(&text);
        let place = "config.yaml:1:39: global.asn_database: ";
        assert_eq!(
            (status.as_str(), told.starts_with(place), told.lines().count()),
            ("500", true, 1),
            "{told}"
        );
        assert!(told.contains(name), "{told}");
        let exposition = wait_for_systems(&lab, &exporter, ["64496", "64500", "64510"]);
        assert!(!exposition.contains("target=\"more\""), "the one before stays in force");
    }
    let exposition = scrape(&lab).unwrap();
    assert_eq!(TARGETS.map(|target| rounds(&exposition, target)), [1.0; 2], "no round was disturbed or made");

    // The file that is asked now is the one that is followed.
    let soon = asking(&file("b.mmdb")).replace("interval: 1h", "interval: 1s");
    assert_eq!(reload(&soon).0, "200");
    wait_for_systems(&lab, &exporter, ["65496", "65500", "65510"]);
    fs::write(file("a.mmdb"), "no database").unwrap();
    mmdb::write(&file("new.mmdb"), "DB-IP", &networks_of_line(&lab, 2000));
    fs::rename(file("new.mmdb"), file("b.mmdb")).unwrap();
    let exposition = wait_for_systems(&lab, &exporter, ["66496", "66500", "66510"]);
    assert_counted(&exposition, 0.0, 0.0, &exporter);
    assert!(!exporter.log().contains("the AS database read before stays in use"), "{}", exporter.log());
    assert_eq!(exporter.terminate(), Some(0));
}

#[test]
fn a_database_is_read_again_without_privileges() {
    if lab::skipped() {
        return;
    }
    let lab = line();
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let file = |name: &str| directory.path().join(name);
    mmdb::write(&file("asn.mmdb"), "GeoLite2", &networks_of_line(&lab, 0));
    let database = format!("interval: 1s, asn_database: \"{}\"", file("asn.mmdb").display());
    let config = config(&lab).replace("interval: 1s", &database);
    let storage = format!("--storage.path={}", file("storage").display());
    let options = ["--user=65534", &storage, "--log.level=debug"];
    let exporter =
        Running::start(&lab, PROGRAM, &[&ARGUMENTS[..], &options].concat(), &[("config.yaml", &config)]);
    ready(&lab, &exporter);
    wait_for_systems(&lab, &exporter, ["64496", "64500", "64510"]);
    let status = fs::read_to_string(format!("/proc/{}/status", exporter.id())).unwrap();
    assert!(status.contains("\nUid:\t65534\t65534\t65534\t65534\n"), "{status}");
    assert!(exporter.log().contains("landlock="), "{}", exporter.log());
    // Renamed into place, then written to.
    for (layout, more, expected) in
        [("IPinfo", 1000, ["65496", "65500", "65510"]), ("DB-IP", 2000, ["66496", "66500", "66510"])]
    {
        mmdb::write(&file("new.mmdb"), layout, &networks_of_line(&lab, more));
        match more {
            1000 => fs::rename(file("new.mmdb"), file("asn.mmdb")).unwrap(),
            _ => fs::write(file("asn.mmdb"), fs::read(file("new.mmdb")).unwrap()).unwrap(),
        }
        wait_for_systems(&lab, &exporter, expected);
    }
    assert_eq!(exporter.terminate(), Some(0));
}
