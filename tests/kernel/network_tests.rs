//! What only real sockets show: which way packets leave, that a full load loses nothing, and that a dead resolver holds
//! nobody up.

use std::{net::IpAddr, time::Duration};

use traceflow_exporter::{flow::Family, simulation::topology::Topology};

use crate::{
    exporter::{Running, ready, rounds, scrape, value, wait_for},
    lab::{self, Lab, Options},
};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
/// Longest time in which the exporter has to end after SIGTERM.
const END: Duration = Duration::from_secs(5);

fn build(topology: &str) -> Lab {
    Lab::build(&topology.parse::<Topology>().unwrap(), Options::routers())
}

/// Runs a shell script at the source, which has to succeed.
fn shell(lab: &Lab, node: &str, script: &str) {
    let output = lab.command(node, "sh").args(["-e", "-c", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn interface_and_source_choose_the_way_in_both_families() {
    if lab::skipped() {
        return;
    }
    // Two ways from the source: link0 to a, link1 to b.
    let lab = build("s -> a b\na b -> x\nx -> d");
    let own = lab.command("b", "ip").args(["-oneline", "address", "show"]).output().unwrap();
    let own = String::from_utf8(own.stdout).unwrap();
    for family in FAMILIES {
        // Another address of the source, which a rule sends by b.
        let (ip, source) = match family {
            Family::V4 => ("ip -4", "10.99.0.1/32"),
            Family::V6 => ("ip -6", "fd99::1/128"),
        };
        let destination = lab.destination(family);
        let route = format!("{ip} route show {destination}; {ip} route get {destination} oif link1");
        shell(&lab, "s", &route);
        let via = lab.command("s", "sh").args(["-c", &route]).output().unwrap();
        let via = String::from_utf8(via.stdout).unwrap();
        let via = via.split_whitespace().skip_while(|word| *word != "via").collect::<Vec<_>>();
        // The neighbour at link1, as the routing table has it.
        let words: Vec<_> =
            via.windows(4).find(|words| words[0] == "via" && words[3] == "link1").unwrap().to_vec();
        let neighbour = words[1];
        shell(
            &lab,
            "s",
            &format!(
                "ip address add {source} dev lo
                 {ip} route add {destination} via {neighbour} dev link1 onlink table 99
                 {ip} rule add from {source} table 99"
            ),
        );
        let source = source.split('/').next().unwrap();
        for node in ["b", "x", "d"] {
            // Answers to the new address go back the way they came.
            shell(
                &lab,
                node,
                &format!(
                    "{ip} route replace {source} $({ip} route show {} | head -1 | cut -d' ' -f2-)",
                    lab.address("s", family)
                ),
            );
        }
        let config = format!(
            "global: {{ interval: 2s }}\n\
             modules: {{ through: {{ interface: link1 }}, from: {{ source: \"{source}\" }} }}\n\
             targets:\n\
             - {{ name: through, host: \"{destination}\", module: through }}\n\
             - {{ name: from, host: \"{destination}\", module: from }}\n"
        );
        let exporter = Running::exporter(&lab, &config);
        ready(&lab, &exporter);
        let exposition = scrape(&lab).unwrap();
        for target in ["through", "from"] {
            let nodes: Vec<_> = exposition
                .lines()
                .filter(|line| {
                    line.starts_with(&format!("traceflow_hop_rtt_seconds{{target=\"{target}\",ttl=\"1\","))
                })
                .collect();
            let is_b = |line: &str| {
                let address = line.split("address=\"").nth(1).and_then(|rest| rest.split('"').next());
                address.is_some_and(|address| own.split(['/', ' ']).any(|word| word == address))
            };
            assert!(nodes.len() == 1 && is_b(nodes[0]), "{family:?} {target}: {nodes:?} is not of b: {own}");
        }
    }
}

#[test]
fn a_full_load_loses_nothing_and_invents_nothing() {
    const TARGETS: u32 = 1000;
    if lab::skipped() {
        return;
    }
    let lab = build("s -> r1 -> d");
    let targets: String = (0..TARGETS)
        .map(|number| {
            let address = IpAddr::from([
                127,
                1,
                u8::try_from(number / 250).unwrap(),
                u8::try_from(number % 250 + 1).unwrap(),
            ]);
            format!("- {{ name: t{number}, host: {address} }}\n")
        })
        .collect();
    let config = format!(
        "global: {{ interval: 10s, max_pps: 100000, max_rounds_in_progress: {TARGETS} }}\n\
         modules: {{ default: {{ strategy: fixed, flows: 32, first_ttl: 1, max_ttl: 10 }} }}\n\
         targets:\n{targets}"
    );
    let exporter = Running::exporter(&lab, &config);
    ready(&lab, &exporter);
    let exposition = scrape(&lab).unwrap();
    let sum = |name: &str| -> f64 {
        let lines = exposition.lines().filter(|line| line.starts_with(&format!("{name}{{")));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    };
    assert_eq!(sum("traceflow_target_up"), f64::from(TARGETS));
    assert_eq!(value(&exposition, "traceflow_receive_drops_total"), Some(0.0));
    assert_eq!(sum("traceflow_hop_rate_limited"), 0.0);
    assert_eq!(sum("traceflow_hop_nodes"), f64::from(TARGETS), "one hop each");
    assert_eq!(sum("traceflow_flows_reached"), 32.0 * f64::from(TARGETS));
    assert_eq!(exporter.terminate_within(END), Some(0));
}

#[test]
fn a_dead_resolver_holds_up_neither_other_targets_nor_the_end() {
    if lab::skipped() {
        return;
    }
    let lab = build("s -> r1 -> d");
    let (server, address) = (lab.address("d", Family::V4), lab.destination(Family::V4));
    // A name server that never answers.
    shell(
        &lab,
        "d",
        "nft 'add table ip dead; add chain ip dead in { type filter hook input priority 0; }; add rule ip dead in udp dport 53 drop'",
    );
    let names: String =
        (0..200).map(|number| format!("- {{ name: n{number}, host: n{number}.example.net }}\n")).collect();
    let config = format!(
        "global: {{ interval: 1s, max_rounds_in_progress: 1 }}\ntargets:\n{names}- {{ name: alive, host: {address} }}\n"
    );
    let exporter = Running::exporter_with_resolver(&lab, &config, server);
    wait_for("the first round", &exporter, || {
        scrape(&lab).filter(|exposition| rounds(exposition, "alive") >= 3.0)
    });
    assert_eq!(value(&scrape(&lab).unwrap(), "traceflow_target_up{target=\"alive\"}"), Some(1.0));
    assert_eq!(exporter.terminate_within(END), Some(0), "the resolver is not waited for");
}
