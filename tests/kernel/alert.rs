//! An alert's whole way: a kernel router loses a next hop, the exporter counts one path less, Prometheus fires, Alertmanager tells a webhook.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
};

use serde_json::Value;
use traceflow_exporter::flow::Family;

use crate::{
    exporter::{Running, get, ready, wait_for},
    lab::{self, Lab, Options, topology},
};

const RULES: &str = include_str!("../../deploy/prometheus/traceflow.rules.yaml");
const ALERTMANAGER: &str = include_str!("../../deploy/prometheus/alertmanager.yaml");

/// Takes one POST, answers it and prints what it said.
const RECEIVER: &str = "
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        print(self.rfile.read(int(self.headers['Content-Length'])).decode(), flush=True)
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(('127.0.0.1', 9099), Handler).serve_forever()
";

/// The rules as they are, but for their waiting times: rounds come each second here.
fn hasty(rules: &str) -> String {
    let lines = rules.lines().map(|line| match line.trim_start().split_once(": ") {
        Some(("for", _)) => line.replace(line.trim_start(), "for: 3s"),
        Some(("interval", _)) => line.replace(line.trim_start(), "interval: 1s"),
        _ => line.to_owned(),
    });
    lines.map(|line| line + "\n").collect()
}

#[test]
fn a_next_hop_that_is_withdrawn_reaches_whoever_is_on_call() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("three-targets"), Options::routers());
    let host = lab.address("d1", Family::V4);
    let config = format!("global: {{ interval: 1s }}\ntargets: [{{ name: shop, host: {host} }}]\n");
    let exporter = Running::exporter(&lab, &config);
    ready(&lab, &exporter);

    let receiver = lab.command("s", "python3").args(["-c", RECEIVER]).stdout(Stdio::piped()).spawn().unwrap();
    let mut receiver = Ended(receiver);
    let mut told = BufReader::new(receiver.0.stdout.take().unwrap()).lines();

    let routes = ALERTMANAGER
        .replace("group_wait: 30s", "group_wait: 1s")
        .replace("http://pager.example:8080/", "http://127.0.0.1:9099/");
    assert!(routes.contains("127.0.0.1:9099"), "{routes}");
    let alertmanager = Running::start(
        &lab,
        "prometheus-alertmanager",
        &[
            "--config.file=alertmanager.yaml",
            "--storage.path=data",
            "--web.listen-address=127.0.0.1:9093",
            // No cluster: it would look for an address of its own.
            "--cluster.listen-address=",
        ],
        &[("alertmanager.yaml", &routes)],
    );
    wait_for("Alertmanager", &alertmanager, || get(&lab, "http://127.0.0.1:9093/-/ready"));

    let prometheus = "global: { scrape_interval: 1s, evaluation_interval: 1s, external_labels: { site: lab } }\n\
                      rule_files: [rules.yaml]\n\
                      alerting: { alertmanagers: [{ static_configs: [{ targets: ['127.0.0.1:9093'] }] }] }\n\
                      scrape_configs: [{ job_name: traceflow, static_configs: [{ targets: ['127.0.0.1:10659'] }] }]\n";
    let prometheus = Running::start(
        &lab,
        "prometheus",
        &["--config.file=prometheus.yaml", "--storage.tsdb.path=data", "--web.listen-address=127.0.0.1:9090"],
        &[("prometheus.yaml", prometheus), ("rules.yaml", &hasty(RULES))],
    );
    let ask = |query: &str| -> Option<f64> {
        let answer = get(&lab, &format!("http://127.0.0.1:9090/api/v1/query?query={query}"))?;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        answer.pointer("/data/result/0/value/1")?.as_str()?.parse().ok()
    };
    // The longer four paths are usual, the longer a median stays there: what follows has as many seconds.
    for samples in [20, 40] {
        let usual = format!(
            "target:traceflow_paths:median1d%20and%20count_over_time(traceflow_paths%5B1d%5D)%3E{samples}"
        );
        assert_eq!(wait_for("what is usual", &prometheus, || ask(&usual)), 4.0);
    }
    let alerts = || -> Vec<Value> {
        let alerts = get(&lab, "http://127.0.0.1:9093/api/v2/alerts").unwrap_or_else(|| "[]".to_owned());
        serde_json::from_str(&alerts).unwrap()
    };
    assert_eq!(alerts(), Vec::<Value>::new(), "before anything happened");

    lab.replace_next_hops("r1", &["a1", "b1", "c1"]);
    let alert = wait_for("the alert at Alertmanager", &alertmanager, || {
        alerts().into_iter().find(|alert| alert["labels"]["alertname"] == "TraceflowPathsLost")
    });
    for (label, value) in
        [("target", "shop"), ("instance", "127.0.0.1:10659"), ("severity", "warning"), ("site", "lab")]
    {
        assert_eq!(alert["labels"][label], value, "{alert}");
    }
    let description = alert["annotations"]["description"].as_str().unwrap();
    assert!(
        description
            .starts_with("3 paths lead from 127.0.0.1:10659 to shop; half of the last day there were 4"),
        "{description}"
    );

    // The change itself is `info`, and wakes nobody.
    let message: Value = serde_json::from_str(&told.next().unwrap().unwrap()).unwrap();
    let names: Vec<_> =
        message["alerts"].as_array().unwrap().iter().map(|alert| &alert["labels"]["alertname"]).collect();
    assert_eq!(names, ["TraceflowPathsLost"], "{message}");
    assert_eq!(message["status"], "firing");
    drop(receiver);
}

/// A process that ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
