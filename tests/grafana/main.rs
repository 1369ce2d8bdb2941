//! The dashboards under `grafana/`, executed: their queries by a Prometheus that scrapes the exporter, what is made of the answers by
//! Grafana's own code, in node. Knows processes and ports; what a dashboard is stands in the scripts beside this file.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers here are tests as well")]

#[path = "../support/events.rs"]
mod events;
#[path = "../support/servers.rs"]
mod servers;

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, Output},
};

use servers::{Running, get, unused, wait_for};

/// The node that Grafana's code wants; that of a distribution may be too old for it.
const NODE: &str = ".test-tools/grafana/node_modules/.bin/node";

/// Runs a script's tests; all must pass, and there must be some.
fn run(script: &str, environment: &[(&str, &str)]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let Output { status, stdout, stderr } = Command::new(root.join(NODE))
        .args(["--test", "--test-reporter=tap", script])
        .envs(environment.iter().copied())
        .current_dir(root.join("tests/grafana"))
        .output()
        .unwrap_or_else(|error| panic!("{NODE}: {error}; scripts/install-test-tools installs it"));
    let said = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    let passed = said.lines().find_map(|line| line.strip_prefix("# pass ")?.parse::<u32>().ok());
    assert!(status.success() && passed > Some(1), "{said}");
}

/// How many series a query finds.
fn found(prometheus: SocketAddr, query: &str) -> usize {
    let answer = get(&format!("http://{prometheus}/api/v1/query?query={query}")).unwrap_or_default();
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap_or_default();
    answer.pointer("/data/result").and_then(serde_json::Value::as_array).map_or(0, Vec::len)
}

#[test]
fn the_rules_hold_and_each_is_broken_by_its_copy() {
    run("lint.test.mjs", &[]);
}

#[test]
fn numbers_look_as_they_should() {
    run("looks.test.mjs", &[]);
}

#[test]
fn the_dashboards_have_the_shape_of_grafanas_types() {
    run("types.test.mjs", &[]);
}

#[test]
fn grafana_is_told_where_dashboards_and_data_are() {
    run("provisioning.test.mjs", &[]);
}

/// Three jobs: the exporter over simulated networks, a recorded exposition whose counters grow, for what is rare, and Prometheus itself, which is
/// none of ours.
#[test]
fn every_query_finds_data_and_the_route_is_a_graph() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let (exporter, prometheus) = (unused(), unused());
    let events = events::serve();
    let demo = Running::start(
        env!("CARGO_BIN_EXE_traceflow_exporter"),
        &["demo".to_owned(), format!("--web.listen-address={exporter}")],
        file("exporter.log"),
    );
    let ready = format!("http://{exporter}/-/ready");
    wait_for("the first rounds", &demo, || get(&ready).is_some());

    let scrapes = format!(
        "global: {{ scrape_interval: 1s }}\n\
         scrape_configs:\n\
         - {{ job_name: traceflow, static_configs: [{{ targets: ['{exporter}'] }}] }}\n\
         - {{ job_name: events, static_configs: [{{ targets: ['{events}'] }}] }}\n\
         - {{ job_name: other, static_configs: [{{ targets: ['{prometheus}'] }}] }}\n"
    );
    fs::write(file("prometheus.yml"), scrapes).unwrap();
    let arguments = [
        format!("--config.file={}", file("prometheus.yml").display()),
        format!("--storage.tsdb.path={}", file("data").display()),
        format!("--web.listen-address={prometheus}"),
    ];
    let server = Running::start("prometheus", &arguments, file("prometheus.log"));
    // Counters of rounds move with the second round that is scraped.
    let moving = "min(increase(traceflow_rounds_total%7Bjob=%22traceflow%22%7D%5B1m%5D))%3E0";
    wait_for("another round of all targets", &server, || found(prometheus, moving) > 0);
    wait_for("events", &server, || {
        found(prometheus, "increase(traceflow_send_errors_total%5B1m%5D)%3E0") > 0
    });
    run("queries.test.mjs", &[("PROMETHEUS_URL", &format!("http://{prometheus}"))]);
}
