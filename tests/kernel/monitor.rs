//! What the exporter tells of a route that changes: kernel routers whose next hops come and go between its rounds.

use traceflow_exporter::flow::Family;

use crate::{
    exporter::{Running, ready, rounds, scrape, value, wait_for},
    lab::{self, Lab, Options, topology},
    variables::variable,
};

/// Rounds from one change to the next.
const SPACING: f64 = 10.0;

/// The names of the targets that [`config`] has.
pub(crate) const TARGETS: [&str; 2] = ["v4", "v6"];

/// The destination of a lab over both families, a round each second.
pub(crate) fn config(lab: &Lab) -> String {
    let [v4, v6] = [Family::V4, Family::V6].map(|family| lab.destination(family));
    format!(
        "global: {{ interval: 1s }}\ntargets: [{{ name: v4, host: {v4} }}, {{ name: v6, host: \"{v6}\" }}]\n"
    )
}

/// The value of a target's series that has no other labels.
pub(crate) fn read(exposition: &str, metric: &str, target: &str) -> f64 {
    let series = format!("{metric}{{target=\"{target}\"}}");
    value(exposition, &series).unwrap_or_else(|| panic!("no {series} in\n{exposition}"))
}

/// The metrics after this many more rounds of every target.
pub(crate) fn after_rounds(lab: &Lab, exporter: &Running, count: f64) -> String {
    let before = wait_for("a scrape", exporter, || scrape(lab));
    wait_for("more rounds", exporter, || {
        let rounds_of = |exposition: &str| TARGETS.map(|target| rounds(exposition, target));
        scrape(lab).filter(|now| {
            rounds_of(now).iter().zip(rounds_of(&before)).all(|(now, before)| *now >= before + count)
        })
    })
}

/// Holds the counters of changes of all targets against these path changes and no other.
pub(crate) fn assert_changes(exposition: &str, path_changes: f64, exporter: &Running) {
    for target in TARGETS {
        let of = |metric: &str| read(exposition, metric, target);
        let found = [
            "traceflow_path_changes_total",
            "traceflow_length_changes_total",
            "traceflow_reachability_changes_total",
            "traceflow_address_changes_total",
        ]
        .map(of);
        assert_eq!(
            found,
            [path_changes, 0.0, 0.0, 0.0],
            "changes of path, length, reach and address of {target}:\n{}",
            exporter.log()
        );
    }
}

/// `LAB_CHANGES=40` has more of them.
#[test]
fn next_hops_that_come_and_go_are_told_once_each() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("diamond4"), Options::routers());
    let exporter = Running::exporter(&lab, &config(&lab));
    ready(&lab, &exporter);
    assert_changes(&after_rounds(&lab, &exporter, SPACING), 0.0, &exporter);

    let all = ["a1", "b1", "c1", "e1"];
    let steps = [&["a1", "b1", "c1"], &all[..], &["b1", "c1", "e1"], &all[..]];
    let changes = variable("LAB_CHANGES", 4);
    for (next_hops, told) in steps.into_iter().cycle().take(changes).zip(1_u8..) {
        lab.replace_next_hops("r1", next_hops);
        let exposition = after_rounds(&lab, &exporter, SPACING);
        assert_changes(&exposition, told.into(), &exporter);
        for target in TARGETS {
            let paths = read(&exposition, "traceflow_paths", target);
            assert_eq!(paths, next_hops.len() as f64, "{target} after change {told}:\n{}", exporter.log());
        }
    }
    assert_eq!(exporter.terminate(), Some(0));
}

/// The same next hops, and flows spread over them anew.
#[test]
fn a_new_hash_seed_moves_flows_and_changes_no_path() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("diamond4"), Options::routers());
    let exporter = Running::exporter(&lab, &config(&lab));
    ready(&lab, &exporter);
    let mut moves = TARGETS.map(|_| 0.0);
    for seed in 1..=variable("LAB_SEEDS", 2) {
        lab.set_hash_seed("r1", seed);
        let exposition = after_rounds(&lab, &exporter, SPACING);
        assert_changes(&exposition, 0.0, &exporter);
        for (target, before) in TARGETS.into_iter().zip(&mut moves) {
            let now = read(&exposition, "traceflow_flow_moves_total", target);
            // Each flow stays where it was in one of four cases: that all asked in ten rounds do is no matter of chance.
            assert!(
                now > *before,
                "{target} with seed {seed}: {now} flow moves, as before:\n{}",
                exporter.log()
            );
            *before = now;
            assert_eq!(read(&exposition, "traceflow_paths", target), 4.0, "{target} with seed {seed}");
        }
    }
    assert_eq!(exporter.terminate(), Some(0));
}
