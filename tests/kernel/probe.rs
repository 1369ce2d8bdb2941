//! `/probe` of the whole program on kernel routers, asked by curl and by a Prometheus as it asks blackbox_exporter.

use std::{collections::BTreeMap, net::IpAddr, thread};

use serde_json::Value;
use traceflow_exporter::flow::Family;

use crate::{
    exporter::{Running, get, promtool_accepts, scrape, value, wait_for},
    lab::{self, Lab, Options, topology},
    names::{NameServer, SERVER},
};

const PROBE: &str = "http://127.0.0.1:10659/probe";

/// Status and body of a probe; `000` where there is none in time.
fn probe(lab: &Lab, query: &str, options: &[&str]) -> (String, String) {
    let output = lab
        .command("s", "curl")
        .args(["--silent", "--globoff", "--max-time", "60", "--write-out", "%{http_code}"])
        .args(options)
        .arg(format!("{PROBE}{query}"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.split_at(text.len() - 3);
    (status.to_owned(), body.to_owned())
}

fn sent(lab: &Lab) -> f64 {
    let exposition = scrape(lab).unwrap();
    ["udp", "icmp", "tcp"]
        .iter()
        .flat_map(|protocol| ["ipv4", "ipv6"].map(|family| (protocol, family)))
        .map(|(protocol, family)| {
            let labels = format!("protocol=\"{protocol}\",family=\"{family}\"");
            value(&exposition, &format!("traceflow_probes_sent_total{{{labels}}}")).unwrap()
        })
        .sum()
}

fn start(lab: &Lab, config: &str) -> Running {
    let exporter = Running::exporter(lab, config);
    serving(lab, &exporter);
    exporter
}

fn serving(lab: &Lab, exporter: &Running) {
    wait_for("the server", exporter, || get(lab, "http://127.0.0.1:10659/-/ready"));
}

#[test]
fn what_is_listed_is_probed_and_nothing_else() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("line"), Options::routers());
    let [v4, v6] = [Family::V4, Family::V6].map(|family| lab.destination(family));
    let near = lab.address("r5", Family::V4);
    let names: BTreeMap<IpAddr, String> = [
        (v4, "d.example.net".to_owned()),
        // Addresses of this machine and of the networks around it, which no network lists.
        (SERVER, "loop.example.net".to_owned()),
        (near, "near.example.net".to_owned()),
        ("169.254.169.254".parse().unwrap(), "meta.example.net".to_owned()),
    ]
    .into();
    let _server = NameServer::start(&lab, Some(&names));
    let config = |probe: &str| {
        format!(
            "modules: {{ icmp: {{ protocol: icmp }}, tcp: {{ protocol: tcp, destination_port: 80 }} }}\nprobe: {{ {probe} }}\n"
        )
    };
    let open = config(&format!("enabled: true, allow: [{v4}, \"{v6}\", \"*.example.net\"]"));
    let exporter = Running::exporter_with_resolver(&lab, &open, SERVER);
    serving(&lab, &exporter);
    let refused = [
        ("", "400"),
        ("?target=", "400"),
        (&*format!("?target={v4}&target={v4}"), "400"),
        (&format!("?target={v4}&module=nothing"), "400"),
        (&format!("?target={v4}:80"), "400"),
        (&format!("?target={near}"), "403"),
        ("?target=127.0.0.1", "403"),
        ("?target=::1", "403"),
        ("?target=localhost", "403"),
        ("?target=example.net", "403"),
        ("?target=loop.example.net", "403"),
        ("?target=near.example.net", "403"),
        ("?target=meta.example.net", "403"),
    ];
    for (query, status) in refused {
        let (code, body) = probe(&lab, query, &[]);
        assert_eq!((code.as_str(), body.lines().count()), (status, 1), "{query}: {body}");
    }
    assert_eq!(probe(&lab, &format!("?target={v4}"), &["--request", "POST"]).0, "405");
    assert_eq!(sent(&lab), 0.0, "none of them sent a packet");

    let hosts = [v4.to_string(), v6.to_string(), "d.example.net".to_owned()];
    for host in &hosts {
        for module in ["", "&module=default", "&module=icmp", "&module=tcp"] {
            let (status, body) = probe(&lab, &format!("?target={host}{module}"), &[]);
            assert_eq!(status, "200", "{host}{module}: {body}");
            let read = |name: &str| value(&body, name).unwrap_or_else(|| panic!("no {name} in\n{body}"));
            assert_eq!(read("probe_success"), 1.0, "{host}{module}: {body}");
            assert!(read("probe_duration_seconds") > 0.0);
            let labelled = |name: &str| read(&format!("{name}{{target=\"{host}\"}}"));
            assert_eq!(
                (labelled("traceflow_paths"), labelled("traceflow_hops_max")),
                (1.0, 6.0),
                "{host}{module}"
            );
            assert!(
                !body.contains("_total") && !body.contains("traceflow_build_info"),
                "its own metrics only: {body}"
            );
        }
    }
    let (status, body) = probe(&lab, "?target=nobody.example.net", &[]);
    assert_eq!((status.as_str(), value(&body, "probe_success")), ("200", Some(0.0)), "{body}");
    assert!(!scrape(&lab).unwrap().contains("target=\""), "nothing is left of them");

    // Loopback is a host like any other where a network lists it.
    exporter.write("config.yaml", &config("enabled: true, allow: [127.0.0.0/8, \"*.example.net\"]"));
    let reload = || {
        let url = "http://127.0.0.1:10659/-/reload";
        assert!(
            lab.command("s", "curl")
                .args(["--silent", "--fail", "--request", "POST", url])
                .status()
                .unwrap()
                .success()
        );
    };
    reload();
    for query in ["?target=127.0.0.1", "?target=loop.example.net"] {
        let (status, body) = probe(&lab, query, &[]);
        assert_eq!((status.as_str(), value(&body, "probe_success")), ("200", Some(1.0)), "{query}: {body}");
    }

    // A reload counts at once.
    let query = format!("?target={v4}");
    for (text, status) in [
        (config(&format!("enabled: true, allow: [\"{v6}\"]")), "403"),
        (
            config(&format!("enabled: false, allow: [{v4}]")) + "targets: [{ name: a, host: 127.0.0.1 }]\n",
            "404",
        ),
        (open, "200"),
    ] {
        exporter.write("config.yaml", &text);
        reload();
        assert_eq!(probe(&lab, &query, &[]).0, status, "{text}");
    }
    assert!(!exporter.log().contains("does not do what the key asks for"), "{}", exporter.log());
    assert_eq!(exporter.terminate(), Some(0));
}

#[test]
fn who_asks_the_same_at_once_shares_the_packets() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("blackhole"), Options::routers());
    let [v4, v6] = [Family::V4, Family::V6].map(|family| lab.destination(family));
    let exporter = start(&lab, &format!("probe: {{ enabled: true, allow: [{v4}, \"{v6}\"] }}\n"));
    for (family, host) in [("ip", v4), ("ip6", v6)] {
        let capture = lab.capture("s", &format!("{family} and dst host {host}"));
        let query = format!("?target={host}");
        let bodies: Vec<_> = thread::scope(|scope| {
            let all: Vec<_> = (0..5).map(|_| scope.spawn(|| probe(&lab, &query, &[]))).collect();
            all.into_iter().map(|asked| asked.join().unwrap()).collect()
        });
        for (status, body) in &bodies {
            assert_eq!((status.as_str(), body), ("200", &bodies[0].1), "all have the same trace");
        }
        let probes = value(&bodies[0].1, &format!("traceflow_round_probes{{target=\"{host}\"}}")).unwrap();
        assert_eq!(value(&bodies[0].1, "probe_success"), Some(0.0));
        assert_eq!(capture.stop().len() as f64, probes, "{}", exporter.log());
    }
    assert_eq!(exporter.terminate(), Some(0));
}

#[test]
fn a_probe_ends_before_its_scrape_and_with_its_client() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("blackhole"), Options::routers());
    let host = lab.destination(Family::V4);
    let config = format!(
        "modules: {{ default: {{ timeout: 20s, gap_limit: 20 }} }}\nprobe: {{ enabled: true, allow: [{host}] }}\n"
    );
    let exporter = start(&lab, &config);
    let query = format!("?target={host}&debug=true");
    // The trace alone would take a minute.
    let options = ["--max-time", "3", "--header", "X-Prometheus-Scrape-Timeout-Seconds: 3"];
    let (status, body) = probe(&lab, &query, &options);
    assert_eq!((status.as_str(), value(&body, "probe_success")), ("200", Some(0.0)), "{body}");
    assert!(body.contains("destination not reached (no time left)"), "{body}");
    let router = lab.address("r3", Family::V4);
    assert!(
        body.contains(&format!(
            "traceflow_hop_rtt_seconds{{target=\"{host}\",ttl=\"3\",address=\"{router}\"}}"
        )),
        "{body}"
    );
    // Without the time that is left to it, the client hears nothing, and the probe ends.
    assert_eq!(probe(&lab, &query, &["--max-time", "1"]).0, "000");
    let before = sent(&lab);
    thread::sleep(std::time::Duration::from_secs(2));
    assert_eq!(sent(&lab), before, "no retry goes out any more");
    assert_eq!(exporter.terminate(), Some(0));
}

#[test]
fn a_stock_prometheus_probes_many_hosts() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("three-targets"), Options::routers());
    let hosts: Vec<_> =
        ["d1", "d2", "d3"].iter().map(|name| lab.address(name, Family::V4).to_string()).collect();
    let config = format!("probe: {{ enabled: true, allow: [{}, 203.0.113.0/24] }}\n", hosts.join(", "));
    let exporter = start(&lab, &config);

    let (_, body) = probe(&lab, &format!("?target={}", hosts[0]), &[]);
    promtool_accepts(&body);
    let (status, debug) = probe(&lab, &format!("?target={}&debug=true", hosts[0]), &[]);
    assert_eq!(status, "200");
    let parts = [
        format!(
            "Probe of {0} with module default (udp, mda-lite), from {1} to {0}:\n",
            hosts[0],
            lab.address("s", Family::V4)
        ),
        "4 paths, 6 hops, complete at 95 %, ".to_owned(),
        format!("{}\n", hosts[0]),
        "\nMetrics that would have been returned:\n\n# HELP probe_success ".to_owned(),
    ];
    assert!(parts.iter().all(|part| debug.contains(part)), "{debug}");

    let targets = [&hosts[..], &["203.0.113.7".to_owned(), "198.51.100.1".to_owned()]].concat().join(", ");
    let scrapes = format!(
        "global: {{ scrape_interval: 2s, scrape_timeout: 2s }}\n\
         scrape_configs:\n\
         - job_name: probe\n  metrics_path: /probe\n  params: {{ module: [default] }}\n  \
         static_configs: [{{ targets: [{targets}] }}]\n  relabel_configs:\n  \
         - {{ source_labels: [__address__], target_label: __param_target }}\n  \
         - {{ source_labels: [__param_target], target_label: instance }}\n  \
         - {{ target_label: __address__, replacement: '127.0.0.1:10659' }}\n"
    );
    let arguments =
        ["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address=127.0.0.1:9090"];
    let prometheus = Running::start(&lab, "prometheus", &arguments, &[("prometheus.yml", &scrapes)]);
    let ask = |query: &str| -> Option<BTreeMap<String, f64>> {
        let answer = get(&lab, &format!("http://127.0.0.1:9090/api/v1/query?query={query}"))?;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let samples = answer["data"]["result"].as_array().unwrap().iter().map(|sample| {
            let instance = sample["metric"]["instance"].as_str().unwrap().to_owned();
            (instance, sample["value"][1].as_str().unwrap().parse().unwrap())
        });
        Some(samples.collect())
    };
    let each = |of_hosts: f64, others: &[(&str, f64)]| -> BTreeMap<String, f64> {
        let others = others.iter().map(|(host, value)| ((*host).to_owned(), *value));
        hosts.iter().map(|host| (host.clone(), of_hosts)).chain(others).collect()
    };
    // What there is no way to is a probe that fails, what is forbidden no probe.
    for (query, expected) in [
        ("up", each(1.0, &[("203.0.113.7", 1.0), ("198.51.100.1", 0.0)])),
        ("probe_success", each(1.0, &[("203.0.113.7", 0.0)])),
        ("traceflow_paths", each(4.0, &[("203.0.113.7", 0.0)])),
    ] {
        wait_for(query, &prometheus, || ask(query).filter(|found| *found == expected));
    }
    assert_eq!(exporter.terminate(), Some(0));
}
