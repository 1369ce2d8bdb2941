//! `demo` as its user starts it: the whole program, without privilege, over simulated networks in real time.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers here are tests as well"
)]

use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

#[path = "support/copies.rs"]
mod copies;

use copies::copy_program;
use traceflow_exporter::{
    simulation::{Network, Topology, Truth},
    time::Time,
};

/// How often to look for something that has to happen, [`PAUSE`] apart, before the test fails: two minutes.
const LOOKS: usize = 600;
const PAUSE: Duration = Duration::from_millis(200);

/// A running demo. It is ended when it is dropped.
struct Demo {
    process: Child,
    directory: tempfile::TempDir,
}

impl Demo {
    /// Starts it as a user without privilege: nobody where the test is root, ourselves otherwise.
    fn start(address: &str) -> Self {
        let mut setpriv = Command::new("setpriv");
        setpriv.arg("--no-new-privs");
        if is_root() {
            setpriv.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        }
        Self::run(setpriv, address)
    }

    /// Starts it by another command.
    fn run(mut by: Command, address: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        // Where anyone may read it.
        let program = directory.path().join("traceflow_exporter");
        copy_program(env!("CARGO_BIN_EXE_traceflow_exporter"), &program);
        let process = by
            .arg(program)
            .args(["demo", "--web.listen-address", address])
            .stdout(Stdio::null())
            .stderr(fs::File::create(directory.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Self { process, directory }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    /// What it listens on, as its log says.
    fn address(&mut self) -> String {
        until("it listens", || {
            let log = self.log();
            assert!(self.process.try_wait().unwrap().is_none(), "it ended: {log}");
            let (_, behind) = log.split_once(" address=")?;
            Some(behind.split_once(' ')?.0.to_owned())
        })
    }

    /// The numbers at /metrics by series.
    fn metrics(&self, address: &str) -> BTreeMap<String, f64> {
        let text = get(address, "/metrics").unwrap();
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples
            .map(|line| {
                let (series, value) = line.rsplit_once(' ').unwrap();
                (series.to_owned(), value.parse().unwrap())
            })
            .collect()
    }

    fn raw_sockets(&self) -> Vec<String> {
        let process = Path::new("/proc").join(self.process.id().to_string());
        let links = fs::read_dir(process.join("fd")).unwrap().filter_map(|entry| {
            let link = fs::read_link(entry.unwrap().path()).ok()?;
            let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned();
            Some(inode)
        });
        let ours: Vec<_> = links.collect();
        assert!(!ours.is_empty(), "it has the socket that it listens on");
        let of_kind = |(kind, column): (&str, usize)| {
            let table = fs::read_to_string(process.join("net").join(kind)).unwrap_or_default();
            let lines = table.lines().skip(1).filter(|line| {
                line.split_whitespace().nth(column).is_some_and(|inode| ours.iter().any(|own| own == inode))
            });
            lines.map(|line| format!("{kind}: {line}")).collect::<Vec<_>>()
        };
        [("raw", 9), ("raw6", 9), ("packet", 8)].into_iter().flat_map(of_kind).collect()
    }

    /// Sends SIGTERM and waits for the end; its exit code.
    fn terminate(&mut self) -> Option<i32> {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        self.process.wait().unwrap().code()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn is_root() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| status.contains("\nUid:\t0\t0"))
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..LOOKS {
        if let Some(found) = look() {
            return found;
        }
        thread::sleep(PAUSE);
    }
    panic!("waited in vain until {what}")
}

/// The body at a path; `None` while nobody answers or the status is an error.
fn get(address: &str, path: &str) -> Option<String> {
    let url = format!("http://{address}{path}");
    let output =
        Command::new("curl").args(["--silent", "--fail", "--max-time", "10", &url]).output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

fn truth(topology: &str, first: &str) -> Truth {
    let topology: Topology = topology.parse().unwrap();
    Network::numbered(&topology, first.parse::<IpAddr>().unwrap(), 1).truth(Time::ZERO)
}

#[test]
fn the_demo_runs_without_privilege_and_shows_its_networks() {
    let mut demo = Demo::start("127.0.0.1:0");
    let address = demo.address();
    until("it is ready", || get(&address, "/-/ready"));

    let of = |metrics: &BTreeMap<String, f64>, name: &str, target: &str| {
        metrics[&format!("traceflow_{name}{{target=\"{target}\"}}")]
    };
    let metrics = demo.metrics(&address);
    let targets = metrics.keys().filter(|series| series.starts_with("traceflow_target_info{")).count();
    assert_eq!(targets, 5, "{metrics:?}");
    for target in ["line", "diamond", "mesh", "lossy", "changing"] {
        assert_eq!(of(&metrics, "target_up", target), 1.0, "{target}");
    }
    // A discovery may miss a part, rarely; the rounds behind it find it.
    for (target, topology, first) in [
        ("line", include_str!("../src/cli/demo/line.topo"), "192.0.2.1"),
        ("diamond", include_str!("../src/cli/demo/diamond.topo"), "198.51.100.1"),
        ("mesh", include_str!("../src/cli/demo/mesh.topo"), "203.0.113.1"),
    ] {
        let truth = truth(topology, first);
        let [nodes, links] = [truth.nodes.len() as f64, truth.links.len() as f64];
        until("the whole route is found", || {
            let metrics = demo.metrics(&address);
            let found = ["nodes", "links", "paths"].map(|name| of(&metrics, name, target));
            (found == [nodes, links, truth.paths as f64]).then_some(())
        });
    }
    assert_eq!(of(&demo.metrics(&address), "paths", "diamond"), 4.0);
    until("a hop of the lossy target is seen to limit its answers", || {
        let metrics = demo.metrics(&address);
        let limited = metrics.iter().filter(|(series, value)| {
            series.starts_with("traceflow_hop_rate_limited{target=\"lossy\"") && **value == 1.0
        });
        (limited.count() > 0).then_some(())
    });
    let metrics = demo.metrics(&address);
    assert!(
        !metrics.keys().any(|series| series.contains("config_last_reload")),
        "there is no configuration file"
    );
    assert_eq!(metrics["traceflow_send_errors_total"], 0.0);
    assert!(get(&address, "/api/v1/targets/diamond").is_some() && get(&address, "/").is_some());

    let (_, host) =
        *truth(include_str!("../src/cli/demo/diamond.topo"), "198.51.100.1").nodes.last().unwrap();
    let probed = get(&address, &format!("/probe?target={host}")).unwrap();
    assert!(probed.contains("\nprobe_success 1\n"), "{probed}");

    assert_eq!(demo.raw_sockets(), Vec::<String>::new());
    assert_eq!(demo.terminate(), Some(0));
    assert!(!demo.log().contains("level=warn") && !demo.log().contains("level=error"), "{}", demo.log());
}

#[test]
fn the_demo_keeps_no_privilege_that_it_is_given() {
    if !is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let mut demo = Demo::run(Command::new("env"), "127.0.0.1:0");
    let address = demo.address();
    until("it serves", || get(&address, "/-/healthy"));
    for thread in fs::read_dir(format!("/proc/{}/task", demo.process.id())).unwrap() {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        for line in ["CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"] {
            assert!(status.lines().any(|own| own == line), "{line} in\n{status}");
        }
    }
    assert_eq!(demo.terminate(), Some(0));
}

#[test]
fn an_address_that_is_taken_is_told_in_one_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut demo = Demo::start(&taken.local_addr().unwrap().to_string());
    assert_eq!(demo.process.wait().unwrap().code(), Some(1));
    let log = demo.log();
    let told: Vec<_> = log.lines().filter(|line| !line.starts_with("ts=")).collect();
    assert!(matches!(told[..], [line] if line.starts_with("traceflow_exporter: ")), "{log}");
}
