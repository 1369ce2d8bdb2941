//! The scrape configurations under `deploy/prometheus`: judged by promtool, and asked of a Prometheus what they make of targets.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use serde_json::Value;

use crate::{
    path, read,
    rules::RULES,
    servers::{Running, get, unused, wait_for},
    succeed, yaml,
};

const CONFIGURATIONS: [&str; 4] = ["prometheus", "probe", "federation", "remote-write"];
const EXPORTERS: usize = 3;

fn file(name: &str) -> String {
    format!("deploy/prometheus/{name}.yaml")
}

#[test]
fn promtool_finds_all_configurations_right() {
    for name in CONFIGURATIONS {
        let said = succeed(Command::new("promtool").args(["check", "config", "--lint-fatal", &file(name)]));
        assert!(said.contains("SUCCESS") || said.contains("is valid"), "{name}: {said}");
    }
}

/// What a Prometheus with this configuration scrapes. No packet goes further than loopback: a proxy that nobody is behind stands between.
fn scraped(configuration: &str, targets: Option<&str>) -> Vec<Value> {
    let mut config = yaml(configuration);
    let object = config.as_object_mut().unwrap();
    object.retain(|key, _| key == "global" || key == "scrape_configs");
    for job in object["scrape_configs"].as_array_mut().unwrap() {
        job["proxy_url"] = "http://127.0.0.1:9".into();
    }
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    fs::write(file("prometheus.yaml"), config.to_string()).unwrap();
    fs::create_dir(file("targets")).unwrap();
    if let Some(targets) = targets {
        fs::write(file("targets/all.yaml"), targets).unwrap();
    }
    let address = unused();
    let arguments = [
        format!("--config.file={}", file("prometheus.yaml").display()),
        format!("--storage.tsdb.path={}", file("data").display()),
        format!("--web.listen-address={address}"),
    ];
    let server = Running::start("prometheus", &arguments, file("log"));
    let mut found = Vec::new();
    let mut last = usize::MAX;
    // Targets of files come a moment after those that the configuration has itself; they are all there when two looks agree.
    wait_for("targets", &server, || {
        let answer = get(&format!("http://{address}/api/v1/targets")).unwrap_or_default();
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        found = answer.pointer("/data/activeTargets").and_then(Value::as_array).cloned().unwrap_or_default();
        let wanted =
            targets.is_none() || found.iter().any(|target| target["labels"]["job"] == "traceflow-probe");
        let settled = wanted && !found.is_empty() && found.len() == last;
        last = found.len();
        settled
    });
    found
}

fn label<'a>(target: &'a Value, set: &str, name: &str) -> &'a str {
    target[set][name].as_str().unwrap_or_else(|| panic!("no {name} in {set} of {target}"))
}

#[test]
fn vantage_points_are_told_apart() {
    let further =
        read(&file("prometheus")).replace("# - targets", "- targets").replace("#   labels", "  labels");
    let found = scraped(&further, None);
    let points: BTreeSet<_> = found
        .iter()
        .map(|target| (label(target, "labels", "instance"), label(target, "labels", "site")))
        .collect();
    let expected = [
        ("ams.example.net:10659", "ams"),
        ("fra.example.net:10659", "fra"),
        ("traceflow-exporter:10659", "here"),
    ];
    assert_eq!(points, BTreeSet::from(expected));
}

/// The example's targets as the exporter is asked for them.
#[test]
fn each_target_is_asked_for_by_name_and_module() {
    let found = scraped(&read(&file("probe")), Some(&read("deploy/prometheus/targets/example.yaml")));
    let probes: BTreeMap<_, _> = found
        .iter()
        .filter(|target| target["labels"]["job"] == "traceflow-probe")
        .map(|target| (label(target, "labels", "target"), target))
        .collect();
    let names: Vec<_> = probes.keys().copied().collect();
    assert_eq!(names, ["192.0.2.1", "2001:db8::1", "shop.example.net", "www.example.net"]);
    for (name, target) in &probes {
        assert_eq!(label(target, "discoveredLabels", "__address__"), *name);
        let url = target["scrapeUrl"].as_str().unwrap();
        let instance = label(target, "labels", "instance");
        let asked = name.replace(':', "%3A");
        let module = if *name == "shop.example.net" { "module=web&" } else { "" };
        assert_eq!(url, format!("http://{instance}/probe?{module}target={asked}"));
        assert!(instance.starts_with("traceflow-exporter-") && instance.ends_with(":10659"), "{instance}");
        assert!(target["labels"].get("module").is_none(), "{target}");
    }
    assert_eq!(label(probes["shop.example.net"], "labels", "site"), "fra");
}

/// Three hundred targets: each at one exporter, all exporters about as many; each at one of two servers, which agree about the exporter.
#[test]
fn shards_are_disjoint_and_complete() {
    let names: BTreeSet<String> = (0..300).map(|number| format!("host-{number}.example.net")).collect();
    let targets = serde_json::json!([{ "targets": names }]).to_string();
    let exporters_of = |configuration: &str| -> BTreeMap<String, String> {
        let found = scraped(configuration, Some(&targets));
        let probes = found.iter().filter(|target| target["labels"]["job"] == "traceflow-probe");
        let pairs: Vec<_> = probes
            .map(|target| ["target", "instance"].map(|name| label(target, "labels", name).to_owned()))
            .collect();
        let count = pairs.len();
        let map: BTreeMap<_, _> = pairs.into_iter().map(|[target, instance]| (target, instance)).collect();
        assert_eq!(map.len(), count, "a target is scraped twice");
        map
    };
    let alone = read(&file("probe"));
    let all = exporters_of(&alone);
    assert_eq!(all.keys().cloned().collect::<BTreeSet<_>>(), names);
    let mut shares = BTreeMap::<_, usize>::new();
    for exporter in all.values() {
        *shares.entry(exporter).or_default() += 1;
    }
    assert_eq!(shares.len(), EXPORTERS, "{shares:?}");
    assert!(shares.values().all(|share| (60..=140).contains(share)), "{shares:?}");

    let split = alone.replace("# - { source_labels", "- { source_labels");
    assert_ne!(split, alone);
    let mut together = BTreeMap::new();
    for server in ["0", "1"] {
        let part = exporters_of(
            &split.replace("regex: \"0\", action: keep", &format!("regex: \"{server}\", action: keep")),
        );
        assert!((100..=200).contains(&part.len()), "server {server} has {} targets", part.len());
        for (target, exporter) in part {
            assert_eq!(together.insert(target.clone(), exporter), None, "{target} is at both servers");
        }
    }
    assert_eq!(together, all, "both servers together have all targets, at the same exporters");
}

/// Names of metrics in a regular expression such as `traceflow_(node_info|link_flows)`.
fn alternatives(pattern: &str) -> Vec<String> {
    match pattern.split_once('(') {
        None => vec![pattern.to_owned()],
        Some((head, rest)) => {
            let (list, tail) = rest.split_once(')').unwrap();
            list.split('|').map(|word| format!("{head}{word}{tail}")).collect()
        }
    }
}

/// What is taken over or left out by name is there.
#[test]
fn what_goes_further_has_names_that_exist() {
    let metrics = read("docs/metrics.md");
    let rules = read(RULES);
    let federation = yaml(&read(&file("federation")));
    let selectors = federation["scrape_configs"][0]["params"]["match[]"].as_array().unwrap().clone();
    let remote = yaml(&read(&file("remote-write")));
    let dropped = remote["remote_write"][0]["write_relabel_configs"][0]["regex"].as_str().unwrap();
    let mut names = alternatives(dropped);
    for selector in &selectors {
        let pattern = selector.as_str().unwrap().split('"').nth(1).unwrap();
        if pattern.starts_with("traceflow_") {
            names.extend(alternatives(pattern));
        }
    }
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        assert!(metrics.contains(&format!("`{name}{{")), "there is no {name}");
    }
    assert!(rules.contains("record: target:traceflow_"));
    assert!(path("deploy/prometheus/targets/example.yaml").exists());
}

/// A message each to who has to know, and none where the cause is told already.
#[test]
fn alertmanager_sends_each_alert_where_it_belongs() {
    let config = "deploy/prometheus/alertmanager.yaml";
    succeed(Command::new("amtool").args(["check-config", config]));
    for (severity, receiver) in [("critical", "pager"), ("warning", "pager"), ("info", "nobody")] {
        let route = |labels: &[&str]| {
            let mut amtool = Command::new("amtool");
            amtool.args(["config", "routes", "test", "--config.file", config]).args(labels);
            succeed(&mut amtool)
        };
        let severity = format!("severity={severity}");
        assert_eq!(route(&["alertname=TraceflowPathChanged", &severity]).lines().next(), Some(receiver));
    }
    let inhibited = read(config);
    for name in inhibited
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| word.len() > 9 && word.starts_with("Traceflow"))
    {
        assert!(crate::rules::alerts().iter().any(|alert| alert == name), "there is no {name}");
    }
}
