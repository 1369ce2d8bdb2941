//! The rules under `deploy/prometheus`: judged by promtool, and evaluated by a Prometheus that scrapes an exporter.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use serde_json::Value;

use crate::{
    events, outcome, path, read, runbook,
    servers::{Running, get, unused, wait_for},
    succeed, yaml,
};

pub(crate) const RULES: &str = "deploy/prometheus/traceflow.rules.yaml";
const SCENARIOS: &str = "deploy/prometheus/traceflow.rules.test.yaml";

/// All rules, in their order.
pub(crate) fn rules() -> Vec<Value> {
    let groups = yaml(&read(RULES))["groups"].clone();
    groups.as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

/// The names of all alerts.
pub(crate) fn alerts() -> Vec<String> {
    rules().iter().filter_map(|rule| Some(rule.get("alert")?.as_str()?.to_owned())).collect()
}

fn promtool(arguments: &[&str], file: &Path) -> (bool, String) {
    outcome(Command::new("promtool").args(arguments).arg(file))
}

#[test]
fn promtool_finds_the_rules_right() {
    let said = succeed(Command::new("promtool").args(["check", "rules", "--lint-fatal", RULES]));
    assert!(said.contains("SUCCESS"), "{said}");
}

/// A duration such as `90s` or `2m`.
pub(crate) fn minutes(duration: &str) -> f64 {
    let (number, unit) = duration.split_at(duration.len() - 1);
    let unit = match unit {
        "s" => 1.0 / 60.0,
        "m" => 1.0,
        _ => panic!("{duration}"),
    };
    number.parse::<f64>().unwrap() * unit
}

/// What is recorded is there until it is recorded again, also where one run is missed: Prometheus looks back for 5 minutes.
#[test]
fn what_is_recorded_does_not_go_between_two_runs() {
    for group in yaml(&read(RULES))["groups"].as_array().unwrap() {
        let interval = group.get("interval").map_or("1m", |interval| interval.as_str().unwrap());
        assert!(minutes(interval) <= 2.0, "{}: {interval}", group["name"]);
    }
}

/// In each scenario the alerts that are listed fire, and no other does.
#[test]
fn alerts_fire_when_they_should_and_no_other_does() {
    succeed(Command::new("promtool").args(["test", "rules", SCENARIOS]));
    let scenarios = read(SCENARIOS);
    for alert in alerts() {
        let firing = format!("alertname=\"{alert}\",alertstate=\"firing\"");
        assert!(scenarios.contains(&firing), "{alert} fires in no scenario");
    }
}

/// That the scenarios would notice: what each of these changes breaks is a threshold, a duration or an exception.
#[test]
fn scenarios_notice_what_breaks_a_rule() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    fs::copy(path(SCENARIOS), file("test.yaml")).unwrap();
    let rules = read(RULES);
    for (right, wrong) in
        [("unless traceflow_hop_rate_limited == 1", ""), ("for: 10m", "for: 0s"), ("> 1.33 *", "> 1.05 *")]
    {
        assert!(rules.contains(right), "{right}");
        fs::write(file("traceflow.rules.yaml"), rules.replace(right, wrong)).unwrap();
        let (success, _) = promtool(&["test", "rules"], &file("test.yaml"));
        assert!(!success, "not noticed: {wrong} in place of {right}");
    }
}

#[test]
fn every_alert_says_all_that_somebody_needs_who_is_woken() {
    for rule in rules().iter().filter(|rule| rule.get("alert").is_some()) {
        let name = rule["alert"].as_str().unwrap();
        assert!(name.starts_with("Traceflow"), "{name}");
        assert!(rule["for"].is_string(), "{name} has no `for`");
        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(["critical", "warning", "info"].contains(&severity), "{name}: {severity}");
        for annotation in ["summary", "description"] {
            assert!(rule["annotations"][annotation].as_str().is_some_and(|text| text.len() > 10), "{name}");
        }
        let url = format!("{}#{}", runbook::URL, name.to_lowercase());
        assert_eq!(rule["annotations"]["runbook_url"], url.as_str(), "{name}");
    }
}

/// The exporter over simulated networks, and a recorded exposition for what is rare: every rule is evaluated without an error, asks for metrics
/// that exist, and what is recorded has values. So do the queries of the runbook.
#[test]
fn a_prometheus_evaluates_every_rule_and_every_query_of_the_runbook() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let (exporter, prometheus, events) = (unused(), unused(), events::serve());
    let demo = ["demo".to_owned(), format!("--web.listen-address={exporter}")];
    let demo = Running::start(env!("CARGO_BIN_EXE_traceflow_exporter"), &demo, file("exporter.log"));
    wait_for("the first rounds", &demo, || get(&format!("http://{exporter}/-/ready")).is_some());

    fs::write(file("rules.yaml"), read(RULES).replace("interval: 2m", "interval: 1s")).unwrap();
    let config = format!(
        "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\n\
         rule_files: [rules.yaml]\n\
         scrape_configs:\n\
         - {{ job_name: traceflow, static_configs: [{{ targets: ['{exporter}', '{events}'] }}] }}\n"
    );
    fs::write(file("prometheus.yaml"), config).unwrap();
    let arguments = [
        format!("--config.file={}", file("prometheus.yaml").display()),
        format!("--storage.tsdb.path={}", file("data").display()),
        format!("--web.listen-address={prometheus}"),
    ];
    let server = Running::start("prometheus", &arguments, file("prometheus.log"));
    let ask = |what: &str| -> Option<Value> {
        serde_json::from_str(&get(&format!("http://{prometheus}/api/v1/{what}"))?).ok()
    };

    // Nothing is known of yesterday.
    let records: Vec<_> =
        rules().iter().filter_map(|rule| Some(rule.get("record")?.as_str()?.to_owned())).collect();
    let recorded = records.iter().filter(|record| !record.ends_with("_yesterday"));
    for record in recorded {
        wait_for(record, &server, || {
            let answer = ask(&format!("query?query={record}")).unwrap_or_default();
            answer.pointer("/data/result/0").is_some()
        });
    }
    let answer = ask("rules").unwrap();
    let groups = answer["data"]["groups"].as_array().unwrap();
    let evaluated: Vec<_> = groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    assert_eq!(evaluated.len(), rules().len());
    for rule in evaluated {
        assert_eq!(rule["health"], "ok", "{rule}");
    }

    let answer = ask("label/__name__/values").unwrap();
    let mut known: BTreeSet<String> = serde_json::from_value(answer["data"].clone()).unwrap();
    known.extend(records);
    for rule in rules() {
        for metric in metrics(rule["expr"].as_str().unwrap()) {
            assert!(known.contains(metric), "there is no {metric}: {}", rule["expr"]);
        }
    }
    let federation = yaml(&read("deploy/prometheus/federation.yaml"));
    for selector in federation["scrape_configs"][0]["params"]["match[]"].as_array().unwrap() {
        let url = format!("http://{prometheus}/federate");
        let selector = format!("match[]={}", selector.as_str().unwrap());
        let said = succeed(Command::new("curl").args(["-sSfG", "--data-urlencode", &selector, &url]));
        assert!(said.lines().any(|line| !line.starts_with('#')), "{selector} finds nothing");
    }

    let queries = runbook::queries();
    assert!(queries.len() > 20, "{queries:?}");
    for query in queries {
        for metric in metrics(&query) {
            assert!(known.contains(metric), "there is no {metric}: {query}");
        }
        let concrete = query.replace("TARGET", "changing").replace("EXPORTER", &exporter.to_string());
        let url = format!("http://{prometheus}/api/v1/query");
        let said = succeed(Command::new("curl").args([
            "-sS",
            "--data-urlencode",
            &format!("query={concrete}"),
            &url,
        ]));
        let answer: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(answer["status"], "success", "{query}: {said}");
    }
    let target = get(&format!("http://{exporter}/api/v1/targets/changing")).unwrap();
    let mut target: Value = serde_json::from_str(&target).unwrap();
    target["changes"] = serde_json::json!([{ "kind": "path" }]);
    fs::write(file("target.json"), target.to_string()).unwrap();
    for filter in runbook::filters() {
        let said = succeed(Command::new("jq").args(["-ec", &filter]).arg(file("target.json")));
        assert!(!said.contains(":null"), "{filter} finds nothing: {said}");
    }
}

/// Names of our metrics and of what is recorded in an expression.
fn metrics(expression: &str) -> impl Iterator<Item = &str> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = expression.split(move |c| !word(c));
    words.filter(|word| word.contains("traceflow_"))
}
