//! ICMP echo and TCP SYN where they differ from UDP: who answers at the destination, and what else the raw sockets see.

use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    process::{Child, Stdio},
};

use serde_json::Value;
use traceflow_exporter::flow::Family;

use crate::{
    lab::{self, Lab, Options, topology},
    traces::{PROGRAM, arrived, assert_one_path, assert_truth, cases, trace, trace_to},
};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
/// The default destination port.
const PORT: u16 = 33_452;

/// A process that listens on a TCP port of a node, in both families, until it is dropped. It accepts nothing: the kernel
/// does as much of that as connections need.
pub(crate) struct Listener(Child);

const TASK: &str = "KERNEL_LAB_LISTENER";
const READY: &str = "listening";

impl Listener {
    pub(crate) fn start(lab: &Lab, node: &str, port: u16) -> Self {
        let mut process = lab
            .command(node, std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "protocols::in_the_namespace", "--nocapture"])
            .env(TASK, port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(said.any(|line| line == READY), "no listener on port {port} of {node}");
        Self(process)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "runs only where `Listener` starts it"]
fn in_the_namespace() {
    let Ok(port) = std::env::var(TASK) else { return };
    let _listener = TcpListener::bind(format!("[::]:{port}")).unwrap();
    println!("\n{READY}");
    // Until whoever started this is gone.
    let _ = std::io::stdin().read_line(&mut String::new());
}

/// A closed port answers with RST, an open one with SYN-ACK; the source's kernel resets what it did not ask for.
#[test]
fn open_and_closed_ports_are_both_the_destination() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("diamond4"), Options::routers());
    for open in [false, true] {
        let _listener = open.then(|| Listener::start(&lab, "d", PORT));
        for family in FAMILIES {
            let capture = lab.capture("s", "tcp");
            let trace = trace(&lab, family, &["--protocol", "tcp", "--paths", "32"]);
            let case = format!("open: {open}, {family:?}");
            assert_truth(&trace, &lab, family, &case);
            assert_eq!(arrived(&trace), 32, "{case}");
            let last = trace["hops"].as_array().unwrap().last().unwrap();
            assert_eq!(last["probes_sent"], last["replies_received"], "{case}: nothing was asked twice");
            let packets = capture.stop();
            let count = |flags: &str| packets.iter().filter(|packet| packet.contains(flags)).count();
            let (answers, others) =
                if open { ("Flags [S.]", "Flags [R.]") } else { ("Flags [R.]", "Flags [S.]") };
            assert!(count(answers) >= 32, "{case}: {packets:#?}");
            assert_eq!(count(others), 0, "{case}: {packets:#?}");
        }
    }
}

/// Routers and a TCP destination answer to different sockets. Were one read only when the other is empty, flows would be
/// asked far beyond their end.
#[test]
fn answers_of_the_destination_are_read_as_early_as_those_of_routers() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("diamond4"), Options::routers());
    for family in FAMILIES {
        let sent = ["udp", "tcp"].map(|protocol| {
            let options = ["--protocol", protocol, "--paths", "64", "--pps", "1000000"];
            trace(&lab, family, &options)["probes_sent"].as_u64().unwrap()
        });
        assert!(sent[1] * 4 < sent[0] * 5, "{sent:?} of UDP and TCP, {family:?}");
    }
}

/// There the raw sockets see our own probes as well, and the kernel's resets.
#[test]
fn loopback_is_traced_like_any_host() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&"s -> d".parse().unwrap(), Options::routers());
    let check = |protocol: &str, port: u16| {
        for host in ["127.0.0.1", "::1"] {
            let port = port.to_string();
            let options = ["--protocol", protocol, "--destination-port", &port, "--paths", "16"];
            let trace = trace_to(&lab, "s", host.parse().unwrap(), &options);
            let case = format!("{protocol}, {host}, port {port}");
            assert_eq!(arrived(&trace), 16, "{case}");
            assert_eq!(trace["paths"], 1, "{case}");
            let hops = trace["hops"].as_array().unwrap();
            assert_eq!(hops.len(), 1, "{case}: {hops:?}");
            assert_eq!(hops[0]["nodes"].as_array().unwrap().len(), 1, "{case}: {hops:?}");
            assert_eq!(hops[0]["nodes"][0]["address"], host, "{case}");
            assert_eq!(
                (&hops[0]["probes_sent"], &hops[0]["replies_received"]),
                (&16.into(), &16.into()),
                "{case}"
            );
        }
    };
    for protocol in ["udp", "icmp", "tcp"] {
        check(protocol, PORT);
        // A port among those that flows are drawn from.
        check(protocol, 40_000);
    }
    let _listener = Listener::start(&lab, "s", PORT);
    check("tcp", PORT);
}

/// Runs side by side, with the same ports and flows, towards the same destination.
#[test]
fn two_processes_with_the_same_ports_do_not_mix_replies() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("diamond4"), Options::routers());
    for (family, protocol) in cases(&["udp", "icmp", "tcp"]) {
        let destination = lab.destination(family).to_string();
        let runs: Vec<_> = (0..4)
            .map(|_| {
                lab.command("s", PROGRAM)
                    .args([
                        "trace",
                        "--strategy",
                        "fixed",
                        "--seed",
                        "1",
                        "--paths",
                        "32",
                        "--format",
                        "json",
                    ])
                    .args(["--protocol", protocol, &destination])
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        for run in runs {
            let trace: Value = serde_json::from_slice(&run.wait_with_output().unwrap().stdout).unwrap();
            let case = format!("{protocol}, {family:?}");
            match protocol {
                "icmp" => assert_one_path(&trace, &lab, family, &case),
                _ => assert_truth(&trace, &lab, family, &case),
            }
            let counts = trace["hops"].as_array().unwrap().iter();
            let counts: Vec<_> = counts.map(|hop| (&hop["probes_sent"], &hop["replies_received"])).collect();
            assert!(counts.iter().all(|(sent, received)| sent == received), "{case}: {counts:?}");
        }
    }
}

/// IPv6 carries the flow in its label as well, so that echo requests are balanced where routers look at that.
#[test]
fn flow_labels_balance_every_protocol() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("diamond4"), Options { flow_label: true, ..Options::routers() });
    for protocol in ["udp", "icmp", "tcp"] {
        let trace = trace(&lab, Family::V6, &["--protocol", protocol, "--paths", "32"]);
        assert_truth(&trace, &lab, Family::V6, protocol);
    }
}

/// Resets of one flow each go back over all ways there are, and the trace does not notice.
#[test]
fn answers_are_balanced_where_the_lab_says_so() {
    if lab::skipped() {
        return;
    }
    for (return_ecmp, ways) in [(false, 1), (true, 4)] {
        let lab = Lab::build(&topology("diamond4"), Options { return_ecmp, ..Options::routers() });
        for family in FAMILIES {
            let captures = ["a3", "b3", "c3", "e3"].map(|node| lab.capture(node, "tcp"));
            let trace = trace(&lab, family, &["--protocol", "tcp", "--paths", "32"]);
            assert_truth(&trace, &lab, family, "tcp");
            let used = captures.map(|capture| {
                let packets = capture.stop();
                packets.iter().filter(|packet| packet.contains("Flags [R.]")).count()
            });
            assert_eq!(used.iter().filter(|&&count| count > 0).count(), ways, "{used:?}, {family:?}");
        }
    }
}
