//! Names of nodes from a name server of the test's own.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    net::{IpAddr, Ipv4Addr},
    process::{Child, Stdio},
};

use serde_json::Value;
use traceflow_exporter::flow::Family;

use crate::{
    exporter::{Running, get, ready, rounds, scrape, wait_for},
    lab::{self, Lab, Options},
    monitor::after_rounds,
    reload::post,
    traces::PROGRAM,
};

pub(crate) const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A name server at the source of a lab, on 127.0.0.1. It is ended when it is dropped.
pub(crate) struct NameServer(Child);

impl NameServer {
    /// One that knows these names; without any it never answers.
    pub(crate) fn start(lab: &Lab, names: Option<&BTreeMap<IpAddr, String>>) -> Self {
        let mut process = lab
            .command("s", "python3")
            .args(["-c", include_str!("name_server.py")])
            .args(names.map(|names| serde_json::to_string(names).unwrap()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(said.any(|line| line == "listening"), "no name server");
        Self(process)
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn build() -> Lab {
    Lab::build(&"s -> r1 -> r2 -> r3 -> d".parse().unwrap(), Options::routers())
}

/// The names of a route, the last of which nobody should believe.
fn names(lab: &Lab) -> BTreeMap<IpAddr, String> {
    let named =
        [("r1", "r1.example.net"), ("r2", "r2-ae1.example.net"), ("d", "<script>\u{1b}\u{ff}\".example")];
    named
        .into_iter()
        .flat_map(|(node, name)| {
            [Family::V4, Family::V6].map(|family| (lab.address(node, family), name.to_owned()))
        })
        .collect()
}

fn config(lab: &Lab) -> String {
    let [v4, v6] = [Family::V4, Family::V6].map(|family| lab.destination(family));
    format!(
        "global: {{ interval: 1s, reverse_dns: true }}\ntargets: [{{ name: v4, host: {v4} }}, {{ name: v6, host: \"{v6}\" }}]\n"
    )
}

/// Address and name of each answering node, in the order of the hops.
fn told(document: &Value) -> Vec<(IpAddr, Option<String>)> {
    let nodes = document["hops"].as_array().unwrap().iter().flat_map(|hop| hop["nodes"].as_array().unwrap());
    let named =
        nodes.filter_map(|node| Some((node["address"].as_str()?.parse().unwrap(), &node["hostname"])));
    named.map(|(address, name)| (address, name.as_str().map(ToOwned::to_owned))).collect()
}

/// What is to be told of the route.
fn expected(lab: &Lab, family: Family) -> Vec<(IpAddr, Option<String>)> {
    let nodes =
        [("r1", Some("r1.example.net")), ("r2", Some("r2-ae1.example.net")), ("r3", None), ("d", None)];
    nodes.map(|(node, name)| (lab.address(node, family), name.map(ToOwned::to_owned))).into()
}

#[test]
fn names_of_nodes_are_shown_once_they_are_known() {
    if lab::skipped() {
        return;
    }
    let lab = build();
    let _server = NameServer::start(&lab, Some(&names(&lab)));
    let exporter = Running::exporter_with_resolver(&lab, &config(&lab), SERVER);
    let families = [("v4", Family::V4), ("v6", Family::V6)];
    let shown = |name: &str| -> Option<Vec<(IpAddr, Option<String>)>> {
        let body = get(&lab, &format!("http://127.0.0.1:10659/api/v1/targets/{name}"))?;
        let document: Value = serde_json::from_str(&body).unwrap();
        document["hops"].is_array().then(|| told(&document))
    };
    for (name, family) in families {
        wait_for("names", &exporter, || shown(name).filter(|told| *told == expected(&lab, family)));
    }
    // What nobody should believe does not come later either.
    let exposition = after_rounds(&lab, &exporter, 3.0);
    assert!(!exposition.contains("<script"), "{exposition}");
    for (name, family) in families {
        assert_eq!(shown(name), Some(expected(&lab, family)), "{}", exporter.log());
        let label = format!("address=\"{}\",hostname=\"r2-ae1.example.net\"", lab.address("r2", family));
        let is_node = |line: &str| line.starts_with("traceflow_node_info{") && line.contains(&label);
        assert!(exposition.lines().any(is_node), "{label} in\n{exposition}");
    }
    assert_eq!(exporter.terminate(), Some(0));
}

#[test]
fn a_name_server_that_never_answers_delays_no_round() {
    if lab::skipped() {
        return;
    }
    let lab = build();
    let _server = NameServer::start(&lab, None);
    let config = config(&lab).replace("interval: 1s", "interval: 1s, max_rounds_in_progress: 1");
    // The resolver waits for half a minute.
    let exporter = Running::exporter_with_resolver(&lab, &config, SERVER);
    let exposition = wait_for("rounds", &exporter, || {
        scrape(&lab).filter(|now| ["v4", "v6"].iter().all(|target| rounds(now, target) >= 5.0))
    });
    assert!(exposition.contains("hostname=\"\"") && !exposition.contains("example.net"), "{exposition}");
    assert_eq!(exporter.terminate(), Some(0), "nor the end");
}

/// No round is made for it: those that there were are told anew.
#[test]
fn names_come_and_go_with_a_reload() {
    if lab::skipped() {
        return;
    }
    let lab = build();
    let _server = NameServer::start(&lab, Some(&names(&lab)));
    let config = |names: bool| {
        config(&lab)
            .replace("interval: 1s, reverse_dns: true", &format!("interval: 1h, reverse_dns: {names}"))
    };
    let exporter = Running::exporter_with_resolver(&lab, &config(false), SERVER);
    ready(&lab, &exporter);
    let named = |exposition: &str| exposition.matches("hostname=\"r1.example.net\"").count();
    assert_eq!(named(&scrape(&lab).unwrap()), 0);
    for (on, count) in [(true, 2), (false, 0), (true, 2)] {
        fs::write(exporter.own_file("config.yaml"), config(on)).unwrap();
        assert_eq!(post(&lab, "POST").0, "200", "{}", exporter.log());
        wait_for("the names", &exporter, || scrape(&lab).filter(|now| named(now) == count));
    }
    let exposition = scrape(&lab).unwrap();
    assert_eq!(
        ["v4", "v6"].map(|target| rounds(&exposition, target)),
        [1.0; 2],
        "no round was disturbed or made"
    );
    assert_eq!(exporter.terminate(), Some(0));
}

#[test]
fn one_trace_has_names_where_they_are_asked_for() {
    if lab::skipped() {
        return;
    }
    let lab = build();
    let directory = tempfile::tempdir().unwrap();
    let resolver = directory.path().join("resolv.conf");
    fs::write(&resolver, format!("nameserver {SERVER}\noptions timeout:30\n")).unwrap();
    let script = format!("mount --bind {} /etc/resolv.conf && exec \"$0\" \"$@\"", resolver.display());
    let trace = |options: &[&str]| {
        let output = lab
            .command("s", "unshare")
            .args(["--mount", "sh", "-e", "-c", &script, PROGRAM, "trace"])
            .args(options)
            .arg(lab.destination(Family::V4).to_string())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let document = |text: String| -> Value { serde_json::from_str(&text).unwrap() };
    {
        let _server = NameServer::start(&lab, Some(&names(&lab)));
        assert_eq!(told(&document(trace(&["--resolve", "--format", "json"]))), expected(&lab, Family::V4));
        let table = trace(&["--resolve", "--dedup"]);
        let line = table.lines().find(|line| line.contains("r1.example.net")).unwrap();
        assert!(line.contains("r2-ae1.example.net") && !table.contains("<script"), "{table}");
        assert!(!trace(&["--dedup"]).contains("example.net"), "nobody asked");
    }
    let _silent = NameServer::start(&lab, None);
    let nodes = told(&document(trace(&["--resolve", "--format", "json"])));
    assert_eq!(nodes.len(), 4);
    assert!(nodes.iter().all(|(_, name)| name.is_none()), "{nodes:?}");
}
