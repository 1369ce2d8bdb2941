//! The rules under `deploy/prometheus`: judged by promtool, and evaluated by a Prometheus that scrapes an exporter.

use std::{collections::BTreeSet, fs, process::Command, thread};

use serde_json::Value;

use crate::{
    events, outcome, read, runbook,
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

#[test]
fn promtool_finds_the_rules_right() {
    let said = succeed(Command::new("promtool").args(["check", "rules", "--lint-fatal", RULES]));
    assert!(said.contains("SUCCESS"), "{said}");
}

/// The names of all that is recorded.
pub(crate) fn recorded() -> Vec<String> {
    rules().iter().filter_map(|rule| Some(rule.get("record")?.as_str()?.to_owned())).collect()
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

/// Whether the scenarios whose names have one of these words in them are right about rules, and what promtool says of them.
fn judged(rules: &str, words: &[&str]) -> (bool, String) {
    let scenarios = read(SCENARIOS);
    let mut parts = scenarios.split("\n  - name: ");
    let mut chosen = parts.next().unwrap().to_owned();
    let mut count = 0;
    for part in parts.filter(|part| words.iter().any(|word| part.lines().next().unwrap().contains(word))) {
        chosen += "\n  - name: ";
        chosen += part;
        count += 1;
    }
    assert_eq!(count, words.len(), "{words:?}");
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    fs::write(file("traceflow.rules.yaml"), rules).unwrap();
    fs::write(file("test.yaml"), chosen).unwrap();
    outcome(Command::new("promtool").args(["test", "rules"]).arg(file("test.yaml")))
}

/// Changes of the rules, each with the scenario that would notice. What it breaks is a threshold, a window or an exception.
const BREAKS: &[(&str, &str, &str)] = &[
    ("out of reach", " and traceflow_target_up == 1\n        for: 5m", "\n        for: 5m"),
    ("out of reach", "traceflow_target_up == 0", "traceflow_target_up == 1"),
    ("loss", "unless traceflow_hop_rate_limited == 1", ""),
    ("loss", ":ratio15m > 0.05\n", ":ratio15m > 0.03\n"),
    ("loss", "unless on (job, instance, target) min by", "unless on (job, instance, target) max by"),
    ("loss", "} > 0.05 < 1\"", "} > 0.05\""),
    (
        "swallows",
        "traceflow_flows_reached < traceflow_flows",
        "traceflow_flows_reached + 4 < traceflow_flows",
    ),
    ("withdrawn", "traceflow_paths < target", "traceflow_paths != target"),
    ("withdrawn", "quantile_over_time(0.5, ", "quantile_over_time(1, "),
    ("flap and", "[1h]) > 5.5", "[1h]) > 5"),
    ("flap and", "[1h]) > 5.5", "[1h]) > 6.5"),
    (
        "flap and",
        "increase(traceflow_length_changes_total[15m])",
        "increase(traceflow_path_changes_total[15m])",
    ),
    ("slow drift", "> 1.33 *", "> 1.05 *"),
    ("slow drift", "> 0.005", "> 0.001"),
    ("do not come", "> 3 * traceflow_target_interval_seconds", "> 2 * traceflow_target_interval_seconds"),
    (
        "do not come",
        "traceflow_last_round_timestamp_seconds > 600",
        "traceflow_last_round_timestamp_seconds > 200",
    ),
    (
        "first round does not",
        "unless (traceflow_rounds_total unless traceflow_last_round_timestamp_seconds)",
        "",
    ),
    ("first round does not", "traceflow_rounds_total offset 10m", "traceflow_rounds_total offset 20m"),
    (
        "first round does not",
        "(traceflow_rounds_total unless traceflow_last_round_timestamp_seconds)\n            and\n",
        "",
    ),
    ("troubles", "increase(traceflow_rounds_delayed_total[15m])", "traceflow_rounds_delayed_total"),
    ("troubles", "increase(traceflow_send_errors_total[15m])", "traceflow_send_errors_total"),
    ("troubles", "increase(traceflow_receive_drops_total[15m])", "traceflow_receive_drops_total"),
    ("cannot be scraped", "up == 0 and on (job, instance) last", "up == 0 or on (job, instance) last"),
    ("cannot be scraped", "and on (job, instance) last_over_time(traceflow_build_info[14d])", ""),
    (
        "cannot be scraped",
        "on (job, instance) last_over_time(traceflow_build_info[14d])",
        "on (job, instance) traceflow_build_info",
    ),
    ("no answer", "max_over_time(up[5m]) == 0", "up == 0"),
    ("no answer", "and on (job) last_over_time(job:traceflow_target_up:count[14d])", ""),
    ("no answer", "job:traceflow_target_up:count[14d]", "job:traceflow_target_up:count[1d]"),
    ("no answer", "unless on (job) last_over_time(traceflow_build_info[14d])", ""),
];

#[test]
fn scenarios_notice_what_breaks_a_rule() {
    let rules = read(RULES);
    let check = |breaks: &[(&str, &str, &str)]| {
        for (scenario, right, wrong) in breaks {
            assert!(rules.contains(right), "{right}");
            let (success, said) = judged(&rules.replace(right, wrong), &[scenario]);
            assert!(!success, "not noticed: {wrong} in place of {right}");
            assert!(said.contains("got:") || said.contains("got ["), "{wrong} in place of {right}: {said}");
        }
    };
    let (one, other) = BREAKS.split_at(BREAKS.len() / 2);
    thread::scope(|scope| {
        scope.spawn(|| check(one));
        check(other);
    });
}

/// Each `for` a minute longer, and each that is no moment a minute shorter: every alert is missed where it should be, and is where it should not.
#[test]
fn scenarios_notice_a_minute_more_or_less_of_every_alert() {
    let rules = read(RULES);
    for change in [1.0, -1.0] {
        let other = rules.lines().map(|line| {
            let duration = line.strip_prefix("        for: ").map(minutes);
            duration.map_or(format!("{line}\n"), |minutes| {
                format!("        for: {}m\n", (minutes + change).max(0.0))
            })
        });
        let (_, said) = judged(&other.collect::<String>(), &["minute too early", "slow drift"]);
        for rule in self::rules().iter().filter(|rule| rule.get("alert").is_some()) {
            let seen = said.contains(&format!(
                "expr: \"count(ALERTS{{alertname=\\\"{}\\\",",
                rule["alert"].as_str().unwrap()
            ));
            assert_eq!(seen, change > 0.0 || rule["for"] != "0s", "{}: {change}\n{said}", rule["alert"]);
        }
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
    let records = recorded();
    for record in records.iter().filter(|record| !record.ends_with("_yesterday")) {
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
