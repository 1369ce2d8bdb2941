//! Hosts that do not answer, from the start or no longer, and what an operator is told of lasting trouble.

use traceflow_exporter::flow::Family;

use crate::{
    exporter::{Running, ready, rounds, scrape, wait_for},
    lab::{self, Lab, Options, topology},
    monitor::{TARGETS, config, read},
    reload::post,
};

/// Rounds in which a host is surely told from one that lost a few packets.
const ROUNDS: f64 = 6.0;

/// Has a node answer nothing, or again.
fn set_silent(lab: &Lab, node: &str, silent: bool) {
    let table = "inet silence";
    let script = if silent {
        format!(
            "nft 'table {table} {{ chain c {{ type filter hook input priority 0; meta l4proto {{ udp, tcp }} drop; }}; }}'"
        )
    } else {
        format!("nft delete table {table}")
    };
    assert!(lab.command(node, "sh").args(["-ec", &script]).status().unwrap().success());
}

/// Waits until all targets are up, or none is; returns the rounds that it took each.
fn wait_until_up(lab: &Lab, exporter: &Running, up: bool) -> Vec<f64> {
    let before = scrape(lab).unwrap();
    let expected = f64::from(u8::from(up));
    let now = wait_for(&format!("traceflow_target_up {expected}"), exporter, || {
        let is_so = |now: &String, target: &&str| {
            (read(now, "traceflow_flows_reached", target) > 0.0) == up
                && read(now, "traceflow_target_up", target) == expected
        };
        scrape(lab).filter(|now| TARGETS.iter().all(|target| is_so(now, target)))
    });
    TARGETS.iter().map(|target| rounds(&now, target) - rounds(&before, target)).collect()
}

/// The nearest of all hosts: where it is silent nobody answers at all.
#[test]
fn a_host_that_falls_silent_is_down_and_up_again() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&"s -> d".parse().unwrap(), Options::routers());
    // The default of 2 s makes the round in which it falls silent last twice as long.
    let config = config(&lab).replace("targets:", "modules: { default: { timeout: 500ms } }\ntargets:");
    let exporter = Running::exporter(&lab, &config);
    ready(&lab, &exporter);
    wait_for("some healthy rounds", &exporter, || {
        scrape(&lab).filter(|now| TARGETS.iter().all(|target| rounds(now, target) >= 3.0))
    });
    wait_until_up(&lab, &exporter, true);
    for (silent, up) in [(true, false), (false, true)] {
        set_silent(&lab, "d", silent);
        let took = wait_until_up(&lab, &exporter, up);
        assert!(took.iter().all(|took| *took <= ROUNDS), "up {up} after {took:?}:\n{}", exporter.log());
    }
    assert_eq!(exporter.terminate(), Some(0));
}

/// With one round at a time each waits for the others.
#[test]
fn a_host_that_never_answered_holds_up_nobody() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&"s -> d".parse().unwrap(), Options::routers());
    set_silent(&lab, "d", true);
    let config = config(&lab).replace("interval: 1s", "interval: 1s, max_rounds_in_progress: 1")
        + "- { name: healthy, host: 127.0.0.1 }\n";
    let config =
        config.replace("targets: [", "targets:\n- ").replace(" }, { ", " }\n- { ").replace(" }]", " }");
    let exporter = Running::exporter(&lab, &config);
    let all = ["v4", "v6", "healthy"];
    let now = wait_for("two rounds of each", &exporter, || {
        scrape(&lab).filter(|now| all.iter().all(|target| rounds(now, target) >= 2.0))
    });
    assert_eq!(all.map(|target| read(&now, "traceflow_target_up", target)), [0.0, 0.0, 1.0]);
    for target in TARGETS {
        let took = read(&now, "traceflow_round_duration_seconds", target);
        assert!(took < 10.0, "{target}: {took} s");
    }
    set_silent(&lab, "d", false);
    wait_until_up(&lab, &exporter, true);
    assert_eq!(exporter.terminate(), Some(0));
}

/// A bound that is too small for the route makes each round fail alike.
#[test]
fn rounds_that_are_cut_short_again_and_again_are_told_once() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("diamond4"), Options::routers());
    let host = lab.destination(Family::V4);
    let config = |max_probes: u32| {
        format!(
            "global: {{ interval: 1s }}\nmodules: {{ default: {{ max_probes: {max_probes} }} }}\n\
             targets: [{{ name: d, host: {host} }}]\n"
        )
    };
    let exporter = Running::exporter(&lab, &config(20));
    wait_for("rounds", &exporter, || scrape(&lab).filter(|now| rounds(now, "d") >= 10.0));
    let of = |words: &str| -> Vec<String> {
        exporter.log().lines().filter(|line| line.contains(words)).map(ToOwned::to_owned).collect()
    };
    let log = exporter.log();
    let told = of("rounds are cut short");
    assert!(matches!(&told[..], [line] if line.contains("stop_reason=probe_limit")), "{log}");

    exporter.write("config.yaml", &config(50_000));
    assert_eq!(post(&lab, "POST").0, "200");
    let over = wait_for("the end of it", &exporter, || of("no longer: rounds are cut short").pop());
    let count = over.split_once(" rounds=").and_then(|(_, rest)| rest.split(' ').next()?.parse::<u32>().ok());
    assert!(count.is_some_and(|count| count >= 9), "{over}");
    assert_eq!(exporter.terminate(), Some(0));
}
