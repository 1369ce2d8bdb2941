//! Days on which the exporter is restarted after every round.

use traceflow_exporter::config::Module;

use crate::watched::{Watched, alarms, topology};

#[test]
fn restarts_are_no_changes() {
    for (seed, name) in
        ["diamond4", "unequal", "silent", "swallow", "per-packet", "mesh4x4"].iter().enumerate()
    {
        let seed = u32::try_from(seed).unwrap();
        let mut watched = Watched::new(&topology(name, ""), Module::default(), seed);
        for round in 1..=40 {
            let before = watched.monitor.snapshot().counters;
            watched.restart();
            assert_eq!(watched.monitor.snapshot().counters, before, "{name}, seed {seed}, round {round}");
            let snapshot = watched.round();
            assert_eq!(snapshot.counters.rounds, round, "{name}, seed {seed}");
            let changes = snapshot.changes;
            assert_eq!(alarms(&snapshot.counters), 0, "{name}, seed {seed}, round {round}: {changes:?}");
        }
        assert!(watched.is_whole(), "{name}, seed {seed}");
    }
}

#[test]
fn what_changes_between_two_processes_is_told_once() {
    // Rounds are a minute apart: the changes come before the eleventh and the twenty-first.
    let changes = "\nat 570s remove r1 -> e1\nat 1170s add r1 -> e1\n";
    for seed in 0..4 {
        let mut watched = Watched::new(&topology("diamond4", changes), Module::default(), seed);
        for round in 1..=30 {
            watched.restart();
            let snapshot = watched.round();
            let expected = (round - 1) / 10;
            assert_eq!(snapshot.counters.path_changes, expected, "seed {seed}, round {round}");
            assert_eq!(u64::try_from(snapshot.changes.len()).unwrap(), expected, "{:?}", snapshot.changes);
        }
    }
}
