//! The scrape configurations under `deploy/prometheus`: judged by promtool, and asked of a Prometheus what they make of targets.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

use serde_json::Value;

use crate::{
    path, read,
    rules::{RULES, minutes, recorded},
    servers::{Running, get, unused, wait_for},
    succeed, yaml,
};

const CONFIGURATIONS: [&str; 4] = ["prometheus", "probe", "federation", "remote-write"];
const EXPORTERS: usize = 3;

fn file_of(name: &str) -> String {
    format!("deploy/prometheus/{name}.yaml")
}

#[test]
fn promtool_finds_all_configurations_right() {
    for name in CONFIGURATIONS {
        let said =
            succeed(Command::new("promtool").args(["check", "config", "--lint-fatal", &file_of(name)]));
        assert!(said.contains("SUCCESS") || said.contains("is valid"), "{name}: {said}");
        // An alert that is evaluated is sent to somebody.
        let config = yaml(&read(&file_of(name)));
        let alertmanager = config.pointer("/alerting/alertmanagers/0/static_configs/0/targets/0");
        assert_eq!(config.get("rule_files").is_some(), alertmanager.is_some(), "{name}");
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
        read(&file_of("prometheus")).replace("# - targets", "- targets").replace("#   labels", "  labels");
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
    let found = scraped(&read(&file_of("probe")), Some(&read("deploy/prometheus/targets/example.yaml")));
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

/// Wherever a whole trace is a scrape: what Prometheus looks back for is 5 minutes, and one scrape may be missed.
#[test]
fn probes_come_often_enough_for_alerts_to_last() {
    let probe = yaml(&read(&file_of("probe")));
    let manifest = yaml(&read("deploy/kubernetes/base/probe.yaml"));
    let readme = read("README.md");
    let example = readme.split_once("scrape_interval: ").unwrap().1;
    let places = [
        probe["global"]["scrape_interval"].as_str().unwrap(),
        manifest["spec"]["interval"].as_str().unwrap(),
        example.split_whitespace().next().unwrap(),
    ];
    for interval in places {
        assert!(minutes(interval) <= 2.0, "{interval}");
    }
    assert!(read("docs/scaling.md").contains("at most 2m apart"));
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
    let alone = read(&file_of("probe"));
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
    let federation = yaml(&read(&file_of("federation")));
    let selectors = federation["scrape_configs"][0]["params"]["match[]"].as_array().unwrap().clone();
    let remote = yaml(&read(&file_of("remote-write")));
    let dropped = remote["remote_write"][0]["write_relabel_configs"][0]["regex"].as_str().unwrap();
    let mut names = alternatives(dropped);
    for selector in &selectors {
        let pattern = selector.as_str().unwrap().split('"').nth(1).unwrap();
        if pattern.starts_with("traceflow_") {
            names.extend(alternatives(pattern));
        }
    }
    assert!(names.len() > 10, "{names:?}");
    let exported = names.len() - alternatives(dropped).len();
    let recorded = recorded();
    let of_target = recorded.iter().filter(|record| record.starts_with("target:traceflow_")).count();
    let said = format!("{} series a target, of which {of_target} are recorded", exported + of_target);
    assert!(read("docs/scaling.md").contains(&said), "{said}");
    for name in names {
        assert!(metrics.contains(&format!("`{name}{{")), "there is no {name}");
    }
    assert!(rules.contains("record: target:traceflow_"));
    assert!(path("deploy/prometheus/targets/example.yaml").exists());
}

/// Into another Prometheus, which takes what Mimir and Thanos take.
#[test]
fn what_is_written_elsewhere_arrives_without_the_pictures() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let (exporter, sender, receiver) = (unused(), unused(), unused());
    let arguments = ["demo".to_owned(), format!("--web.listen-address={exporter}")];
    let demo = Running::start(env!("CARGO_BIN_EXE_traceflow_exporter"), &arguments, file("exporter.log"));
    wait_for("the first rounds", &demo, || get(&format!("http://{exporter}/-/ready")).is_some());

    let config = read(&file_of("remote-write"))
        .replace("traceflow-exporter:10659", &exporter.to_string())
        .replace("http://mimir:9009/api/v1/push", &format!("http://{receiver}/api/v1/write"))
        .replace("scrape_interval: 15s", "scrape_interval: 1s");
    assert_eq!(config.matches("127.0.0.1").count(), 2, "{config}");
    fs::write(file("sender.yaml"), config).unwrap();
    fs::write(file("receiver.yaml"), "").unwrap();
    let start = |name: &str, address, further: &[&str]| {
        let mut arguments = vec![
            format!("--config.file={}", file(&format!("{name}.yaml")).display()),
            format!("--web.listen-address={address}"),
        ];
        arguments.extend(further.iter().map(|&word| word.to_owned()));
        Running::start("prometheus", &arguments, file(&format!("{name}.log")))
    };
    let data = ["receiver", "sender"].map(|name| file(name).display().to_string());
    let stored = format!("--storage.tsdb.path={}", data[0]);
    let receiving = start("receiver", receiver, &["--web.enable-remote-write-receiver", &stored]);
    let agent = format!("--storage.agent.path={}", data[1]);
    let sending = start("sender", sender, &["--enable-feature=agent", &agent]);
    let found = |query: &str| {
        let answer = get(&format!("http://{receiver}/api/v1/query?query={query}")).unwrap_or_default();
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        answer.pointer("/data/result").and_then(Value::as_array).map_or(0, Vec::len)
    };
    wait_for("the receiver", &receiving, || get(&format!("http://{receiver}/-/ready")).is_some());
    wait_for("five targets", &sending, || found("traceflow_target_up%7Bsite=%22ams%22%7D") == 5);
    wait_for("their hops", &sending, || found("traceflow_hop_nodes") > 10);
    // What is dropped is exported.
    assert!(get(&format!("http://{exporter}/metrics")).unwrap().contains("\ntraceflow_link_flows{"));
    assert_eq!(found("%7B__name__=~%22traceflow_(node_info%7Clink_flows)%22%7D"), 0);
}

/// By a running Alertmanager: of two alerts of the same exporter or target the second says nothing new.
#[test]
fn what_follows_from_another_alert_is_not_told() {
    let directory = tempfile::tempdir().unwrap();
    let address = unused();
    let arguments = [
        format!("--config.file={}", path(&file_of("alertmanager")).display()),
        format!("--storage.path={}", directory.path().display()),
        format!("--web.listen-address={address}"),
        "--cluster.listen-address=".to_owned(),
    ];
    let server = Running::start("prometheus-alertmanager", &arguments, directory.path().join("log"));
    wait_for("Alertmanager", &server, || get(&format!("http://{address}/-/ready")).is_some());
    let alert = |name: &str, instance: &str, target: &str| {
        // With a severity that is sent to nobody.
        serde_json::json!({ "labels": {
            "alertname": format!("Traceflow{name}"), "instance": instance, "target": target, "severity": "info" } })
    };
    let alerts = serde_json::json!([
        alert("ExporterDown", "dead", ""),
        alert("TargetUnreachable", "dead", "shop"),
        alert("TargetUnreachable", "a", "shop"),
        alert("HopLoss", "a", "shop"),
        alert("HopLoss", "a", "other"),
        alert("PathBlackholed", "b", "shop"),
        alert("HopLoss", "b", "shop"),
        alert("PathFlapping", "c", "shop"),
        alert("PathChanged", "c", "shop"),
        alert("PathsLost", "c", "other"),
    ]);
    let url = format!("http://{address}/api/v2/alerts");
    let mut post = Command::new("curl");
    post.args(["-sSf", "-H", "Content-Type: application/json", "-d", &alerts.to_string(), &url]);
    succeed(&mut post);
    let mut inhibited = BTreeSet::new();
    wait_for("what is inhibited", &server, || {
        let answer = get(&url).unwrap_or_default();
        let answer: Vec<Value> = serde_json::from_str(&answer).unwrap_or_default();
        let silent =
            answer.iter().filter(|alert| !alert["status"]["inhibitedBy"].as_array().unwrap().is_empty());
        inhibited = silent
            .map(|alert| {
                ["alertname", "instance", "target"].map(|name| label(alert, "labels", name).to_owned())
            })
            .collect();
        answer.len() == alerts.as_array().unwrap().len() && inhibited.len() >= 4
    });
    let expected = [
        ["TraceflowTargetUnreachable", "dead", "shop"],
        ["TraceflowHopLoss", "a", "shop"],
        ["TraceflowHopLoss", "b", "shop"],
        ["TraceflowPathChanged", "c", "shop"],
    ];
    assert_eq!(inhibited, expected.map(|alert| alert.map(str::to_owned)).into());

    // The runbook's way to silence one.
    let runbook = read("docs/runbook.md");
    let silence = runbook.split('`').find(|code| code.starts_with("amtool ")).unwrap();
    let silence = silence.replace("http://alertmanager:9093", &format!("http://{address}"));
    succeed(Command::new("sh").args(["-c", &silence]));
    let silences = get(&format!("http://{address}/api/v2/silences")).unwrap();
    assert!(silences.contains("TraceflowPathsLost"), "{silences}");
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
