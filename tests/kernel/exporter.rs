//! The whole program on kernel routers: a configuration in, `/metrics` out, read by `promtool` and by a Prometheus.

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;
use traceflow_exporter::flow::Family;

use crate::{
    lab::{self, Lab, Options, topology},
    names::{NameServer, SERVER},
    protocols::Listener,
    traces::{PROGRAM, cases},
};

/// How often to look for something that has to happen, [`PAUSE`] apart, before the test fails: 30 seconds.
const LOOKS: usize = 300;
const PAUSE: Duration = Duration::from_millis(100);
pub(crate) const ARGUMENTS: [&str; 2] = ["--config.file=config.yaml", "--web.listen-address=127.0.0.1:10659"];

/// A running program at the source of a lab, with its files. It is ended when it is dropped.
pub(crate) struct Running {
    process: Child,
    directory: tempfile::TempDir,
}

impl Running {
    pub(crate) fn start(lab: &Lab, program: &str, arguments: &[&str], files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let process = lab
            .command("s", program)
            .args(arguments)
            .current_dir(directory.path())
            .stdout(Stdio::null())
            .stderr(fs::File::create(directory.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Self { process, directory }
    }

    pub(crate) fn exporter(lab: &Lab, config: &str) -> Self {
        Self::start(lab, PROGRAM, &ARGUMENTS, &[("config.yaml", config)])
    }

    /// An exporter whose targets' states outlast it in a directory.
    pub(crate) fn exporter_keeping(lab: &Lab, config: &str, storage: &Path) -> Self {
        let storage = format!("--storage.path={}", storage.display());
        Self::start(lab, PROGRAM, &[&ARGUMENTS[..], &[&storage]].concat(), &[("config.yaml", config)])
    }

    /// An exporter that asks this name server.
    pub(crate) fn exporter_with_resolver(lab: &Lab, config: &str, server: IpAddr) -> Self {
        let resolver = format!("nameserver {server}\noptions timeout:30\n");
        // In a mount namespace of its own, the file is this process's alone.
        let script = "mount --bind resolv.conf /etc/resolv.conf && exec \"$0\" \"$@\"";
        let arguments = [&["--mount", "sh", "-e", "-c", script, PROGRAM][..], &ARGUMENTS].concat();
        Self::start(lab, "unshare", &arguments, &[("config.yaml", config), ("resolv.conf", &resolver)])
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A file of its working directory, as the program sees it: it may have a mount of its own there.
    pub(crate) fn own_file(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.process.id()));
        root.join(self.file(name).strip_prefix("/").unwrap())
    }

    /// Writes a file of its working directory, under another name first: it is there as a whole or not at all.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let new = self.file(".new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.file(name)).unwrap();
    }

    /// Sends a signal, such as `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }

    /// Sends SIGTERM; the exit code where it ends in this time.
    pub(crate) fn terminate_within(mut self, time: Duration) -> Option<i32> {
        self.signal("TERM");
        for _ in 0..time.as_millis() / PAUSE.as_millis() {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status.code();
            }
            thread::sleep(PAUSE);
        }
        None
    }

    /// Sends SIGTERM and waits for the end; its exit code.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        self.signal("TERM");
        self.process.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The body at a URL as seen from the source of the lab; `None` while nobody answers or the status is an error.
pub(crate) fn get(lab: &Lab, url: &str) -> Option<String> {
    let output =
        lab.command("s", "curl").args(["--silent", "--fail", "--max-time", "10", url]).output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

/// Has an exposition judged by Prometheus' own tool, which must find nothing.
pub(crate) fn promtool_accepts(exposition: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(exposition.as_bytes()).unwrap();
    let verdict = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&verdict.stderr);
    assert!(verdict.status.success() && said.is_empty(), "{said}");
}

/// Waits until every target was tried.
pub(crate) fn ready(lab: &Lab, exporter: &Running) {
    wait_for("the first rounds", exporter, || get(lab, "http://127.0.0.1:10659/-/ready"));
}

/// Waits until `look` finds something.
pub(crate) fn wait_for<T>(what: &str, exporter: &Running, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..LOOKS {
        if let Some(found) = look() {
            return found;
        }
        thread::sleep(PAUSE);
    }
    panic!("waited in vain for {what}; the log says:\n{}", exporter.log());
}

pub(crate) fn scrape(lab: &Lab) -> Option<String> {
    get(lab, "http://127.0.0.1:10659/metrics")
}

/// The value of a series in an exposition.
pub(crate) fn value(exposition: &str, series: &str) -> Option<f64> {
    let line = exposition.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(line.parse().unwrap())
}

pub(crate) fn rounds(exposition: &str, target: &str) -> f64 {
    value(exposition, &format!("traceflow_rounds_total{{target=\"{target}\"}}")).unwrap()
}

/// The values of target-level gauges in this many rounds of a target, each round seen once and none left out.
fn watch(lab: &Lab, exporter: &Running, target: &str, count: usize, gauges: &[&str]) -> Vec<Vec<f64>> {
    let mut seen = Vec::new();
    let mut last = rounds(&scrape(lab).unwrap(), target);
    while seen.len() < count {
        let exposition = wait_for("the next round", exporter, || {
            scrape(lab).filter(|exposition| rounds(exposition, target) > last)
        });
        let round = rounds(&exposition, target);
        assert!(round < last + 1.5, "a round was missed: the test is too slow for its interval");
        last = round;
        let read = |name: &&str| value(&exposition, &format!("{name}{{target=\"{target}\"}}")).unwrap();
        seen.push(gauges.iter().map(read).collect());
    }
    seen
}

fn config(lab: &Lab, family: Family) -> String {
    let targets: String = ["d1", "d2", "d3"]
        .iter()
        .map(|name| format!("  - {{ name: {name}, host: \"{}\" }}\n", lab.address(name, family)))
        .collect();
    format!(
        "global: {{ interval: 2s }}\nmodules:\n  default: {{ strategy: fixed, flows: 32 }}\ntargets:\n{targets}"
    )
}

/// Over both families at the same time, each in a lab of its own: these tests wait for rounds.
fn over_both_families(check: impl Fn(Family) + Sync) {
    if lab::skipped() {
        return;
    }
    thread::scope(|scope| {
        for family in [Family::V4, Family::V6] {
            let check = &check;
            scope.spawn(move || check(family));
        }
    });
}

#[test]
fn paths_are_counted_right_round_after_round() {
    over_both_families(|family| {
        let lab = Lab::build(&topology("three-targets"), Options::routers());
        let exporter = Running::exporter(&lab, &config(&lab, family));
        ready(&lab, &exporter);

        let gauges =
            ["traceflow_paths", "traceflow_flow_paths", "traceflow_target_up", "traceflow_flows_reached"];
        let quiet = watch(&lab, &exporter, "d1", 10, &gauges);
        assert_eq!(quiet, vec![vec![4.0, 4.0, 1.0, 32.0]; 10], "{family:?}");
        let others = scrape(&lab).unwrap();
        for target in ["d2", "d3"] {
            let paths = value(&others, &format!("traceflow_paths{{target=\"{target}\"}}"));
            assert_eq!(paths, Some(4.0), "{target}, {family:?}");
        }

        lab.replace_next_hops("r1", &["a1", "b1", "c1"]);
        // The round in progress may have seen both.
        watch(&lab, &exporter, "d1", 1, &gauges);
        let fewer = watch(&lab, &exporter, "d1", 3, &gauges);
        assert_eq!(fewer, vec![vec![3.0, 3.0, 1.0, 32.0]; 3], "one of four next hops is gone, {family:?}");
        assert_eq!(exporter.terminate(), Some(0), "{family:?}");
    });
}

#[test]
fn a_branch_that_swallows_packets_shows_in_the_flows_that_reach() {
    over_both_families(|family| {
        let lab = Lab::build(&topology("swallow"), Options::routers());
        let host = lab.destination(family);
        for module in ["strategy: fixed, flows: 32", "strategy: mda-lite, confidence: 0.9999"] {
            let config = format!(
                "global: {{ interval: 2s }}\nmodules: {{ default: {{ {module} }} }}\ntargets: [{{ name: d, host: \"{host}\" }}]\n"
            );
            let exporter = Running::exporter(&lab, &config);
            wait_for("the first round", &exporter, || get(&lab, "http://127.0.0.1:10659/-/ready"));
            let gauges =
                ["traceflow_target_up", "traceflow_paths", "traceflow_flows", "traceflow_flows_reached"];
            for round in watch(&lab, &exporter, "d", 2, &gauges) {
                let [up, paths, flows, reached] = round[..] else { panic!("{round:?}") };
                assert_eq!([up, paths], [1.0, 3.0], "{module}, {family:?}");
                if module.contains("fixed") {
                    assert_eq!(flows, 32.0, "{family:?}");
                    assert!(
                        (16.0..30.0).contains(&reached),
                        "about three quarters of 32, not {reached}, {family:?}"
                    );
                }
                assert!(reached < flows, "{module}, {family:?}: {reached} of {flows}");
            }
            assert_eq!(exporter.terminate(), Some(0), "{module}, {family:?}");
        }
    });
}

/// All protocols towards one destination and towards ourselves at the same time, while another program of the machine
/// connects to the very port that is traced.
#[test]
fn all_protocols_are_traced_side_by_side() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("diamond4"), Options::routers());
    let _listener = Listener::start(&lab, "d", 33_452);
    let protocols = ["udp", "icmp", "tcp"];
    let mut config = "global: { interval: 2s }\nmodules:\n".to_owned();
    for protocol in protocols {
        writeln!(config, "  {protocol}: {{ protocol: {protocol}, strategy: fixed, flows: 32 }}").unwrap();
    }
    config.push_str("targets:\n");
    let hosts =
        [lab.destination(Family::V4), lab.destination(Family::V6)].map(|address| (address.to_string(), 4));
    let hosts = hosts.into_iter().chain([("127.0.0.1".to_owned(), 1), ("::1".to_owned(), 1)]);
    let mut expected = Vec::new();
    for (host, paths) in hosts {
        for protocol in protocols {
            writeln!(config, "- {{ name: \"{protocol} {host}\", host: \"{host}\", module: {protocol} }}")
                .unwrap();
            // To the kernel's hash all echo requests are one flow.
            expected.push((
                format!("{protocol} {host}"),
                if protocol == "icmp" { 1.0 } else { f64::from(paths) },
            ));
        }
    }
    let exporter = Running::exporter(&lab, &config);
    ready(&lab, &exporter);
    let destination = lab.destination(Family::V4);
    let connect = format!("for i in 1 2 3 4 5 6 7 8; do : </dev/tcp/{destination}/33452; done");
    for _ in 0..3 {
        assert!(lab.command("s", "bash").args(["-ec", &connect]).status().unwrap().success());
        let before = scrape(&lab).unwrap();
        let exposition = wait_for("another round of all", &exporter, || {
            scrape(&lab).filter(|now| {
                expected.iter().all(|(target, _)| rounds(now, target) > rounds(&before, target))
            })
        });
        for (target, paths) in &expected {
            let read = |name: &str| value(&exposition, &format!("{name}{{target=\"{target}\"}}")).unwrap();
            let found = ["traceflow_target_up", "traceflow_flows_reached", "traceflow_paths"].map(read);
            assert_eq!(found, [1.0, 32.0, *paths], "{target}");
        }
    }
    let exposition = scrape(&lab).unwrap();
    let discarded = |reason: &str| {
        value(&exposition, &format!("traceflow_replies_discarded_total{{reason=\"{reason}\"}}")).unwrap()
    };
    // Of the connections the socket shows the SYN-ACKs, which answer nothing of ours; of our own probes on loopback nothing.
    let unmatched = discarded("unmatched");
    assert!((1.0..=24.0).contains(&unmatched), "{unmatched} of 24 SYN-ACKs");
    for reason in ["spoofed", "malformed", "duplicate"] {
        assert_eq!(discarded(reason), 0.0, "{reason}");
    }
}

/// A host with several next hops of its own reaches each through the interface of a module.
#[test]
fn probes_leave_through_the_interface_of_their_module() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("multihomed"), Options::routers());
    let routers = ["a", "b", "c", "e"];
    let mut config = "modules:\n".to_owned();
    for router in routers {
        writeln!(config, "  {router}: {{ interface: {}, flows: 8 }}", lab.interface("s", router)).unwrap();
    }
    config.push_str("targets:\n");
    for (family, router) in cases(&routers) {
        let host = lab.destination(family);
        writeln!(config, "- {{ name: {router} {family:?}, host: \"{host}\", module: {router} }}").unwrap();
    }
    let exporter = Running::exporter(&lab, &config);
    ready(&lab, &exporter);
    let exposition = scrape(&lab).unwrap();
    for (family, router) in cases(&routers) {
        let (target, address) = (format!("{router} {family:?}"), lab.address(router, family));
        let labels = format!("target=\"{target}\",ttl=\"1\",address=\"{address}\"");
        let rtt = value(&exposition, &format!("traceflow_hop_rtt_seconds{{{labels}}}"));
        assert!(rtt.is_some(), "{target} does not begin with {address}");
        assert_eq!(
            value(&exposition, &format!("traceflow_paths{{target=\"{target}\"}}")),
            Some(1.0),
            "{target}"
        );
    }
}

#[test]
fn promtool_and_prometheus_read_what_is_exported() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("three-targets"), Options::routers());
    let exporter = Running::exporter(&lab, &config(&lab, Family::V4));
    ready(&lab, &exporter);

    promtool_accepts(&scrape(&lab).unwrap());

    let scrapes = "global: { scrape_interval: 1s }\n\
                   scrape_configs: [{ job_name: traceflow, static_configs: [{ targets: ['127.0.0.1:10659'] }] }]\n";
    let arguments =
        ["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address=127.0.0.1:9090"];
    let prometheus = Running::start(&lab, "prometheus", &arguments, &[("prometheus.yml", scrapes)]);
    assert!(prometheus.file("prometheus.yml").exists());
    let ask = |query: &str| -> Option<Vec<f64>> {
        let answer = get(&lab, &format!("http://127.0.0.1:9090/api/v1/query?query={query}"))?;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let samples = answer["data"]["result"].as_array().unwrap();
        let values = samples.iter().map(|sample| sample["value"][1].as_str().unwrap().parse().unwrap());
        Some(values.collect()).filter(|values: &Vec<_>| !values.is_empty())
    };
    let paths = wait_for("an answer of Prometheus", &prometheus, || ask("traceflow_paths"));
    assert_eq!(paths, [4.0; 3]);
    let hops =
        wait_for("hops in Prometheus", &prometheus, || ask("count%20by%20(target)(traceflow_hop_nodes)"));
    assert_eq!(hops, [6.0; 3]);
}

#[test]
fn what_cannot_be_traced_has_its_series_and_up_0() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("line"), Options::routers());
    let config = "global: { interval: 2s }\n\
                  modules: { foreign: { source: 192.0.2.77 } }\n\
                  targets:\n\
                  - { name: name, host: no-such-host.invalid }\n\
                  - { name: way, host: 203.0.113.1 }\n\
                  - { name: source, host: 127.0.0.1, module: foreign }\n\
                  - { name: directed, host: 10.9.9.255 }\n\
                  - { name: group, host: 224.0.0.1 }\n\
                  - { name: named group, host: group.example.net }\n\
                  - { name: named group v6, host: group6.example.net }\n\
                  - { name: named broadcast, host: all.example.net }\n\
                  - { name: named nobody, host: nobody.example.net }\n";
    let names =
        [("224.0.0.9", "group"), ("ff02::1", "group6"), ("255.255.255.255", "all"), ("0.0.0.0", "nobody")];
    let names = names.map(|(address, name)| (address.parse().unwrap(), format!("{name}.example.net")));
    let _server = NameServer::start(&lab, Some(&names.into()));
    // Packets to a neighbour's own address are refused by a rule: sending fails with EPERM.
    let forbidden = lab.destination(Family::V4);
    let config = format!("{config}- {{ name: forbidden, host: {forbidden} }}\n");
    let rule = format!(
        "table ip t {{\nchain o {{\ntype filter hook output priority 0\nip daddr {forbidden} drop\n}}\n}}\n"
    );
    let mut nft = lab.command("s", "nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    nft.stdin.take().unwrap().write_all(rule.as_bytes()).unwrap();
    assert!(nft.wait().unwrap().success());
    let ip = |arguments: &str| {
        let ip = lab.command("s", "ip").args(arguments.split(' ')).status();
        assert!(ip.unwrap().success(), "{arguments}");
    };
    ip("route add unreachable 203.0.113.0/24");
    ip(&format!("address add 10.9.9.1/24 broadcast 10.9.9.255 dev {}", lab.interface("s", "r1")));

    let exporter = Running::exporter_with_resolver(&lab, &config, SERVER);
    ready(&lab, &exporter);
    let exposition = scrape(&lab).unwrap();
    let reasons = [
        ("name", "cannot resolve no-such-host.invalid: "),
        ("way", "no way to 203.0.113.1: "),
        (
            "source",
            "no way to 127.0.0.1 from 192.0.2.77: 192.0.2.77 is no address of this machine; allowed is ",
        ),
        (
            "directed",
            "no way to 10.9.9.255: it is a broadcast address; only addresses of one host can be traced",
        ),
        ("group", "224.0.0.1 is a multicast address; only "),
        ("named group", "group.example.net is 224.0.0.9, a multicast address; only "),
        ("named group v6", "group6.example.net is ff02::1, a multicast address; only "),
        ("named broadcast", "all.example.net is 255.255.255.255, the broadcast address; only "),
        ("named nobody", "nobody.example.net is 0.0.0.0, the unspecified address; only "),
        ("forbidden", "cannot send to "),
    ];
    for (target, _) in reasons {
        let read = |name: &str| value(&exposition, &format!("{name}{{target=\"{target}\"}}"));
        assert_eq!(read("traceflow_target_up"), Some(0.0), "{target}");
        assert_eq!(read("traceflow_paths"), Some(0.0), "{target}");
        assert!(read("traceflow_rounds_failed_total") >= Some(1.0), "{target}");
    }
    assert!(value(&exposition, "traceflow_send_errors_total") >= Some(1.0));
    let log = exporter.log();
    for (target, reason) in reasons {
        let words = format!("error=\"{reason}");
        let told = log.lines().filter(|line| line.contains(&words)).count();
        assert_eq!(told, 1, "{target} is told once:\n{log}");
    }
    // Its end is told once, too, with a count.
    assert!(lab.command("s", "nft").args(["delete", "table", "ip", "t"]).status().unwrap().success());
    let over = wait_for("the end of a trouble", &exporter, || {
        let log = exporter.log();
        log.lines().find(|line| line.contains("no longer: target cannot be traced")).map(ToOwned::to_owned)
    });
    let failed =
        value(&scrape(&lab).unwrap(), "traceflow_rounds_failed_total{target=\"forbidden\"}").unwrap();
    assert!(
        over.contains("target=forbidden") && over.contains(&format!(" rounds={failed}")),
        "{failed}: {over}"
    );
}
