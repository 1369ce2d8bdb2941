//! Path changes of which some are changes of autonomous systems, too.

use traceflow_exporter::{config::Module, simulation::Topology};

use crate::watched::{Watched, faults};

/// Rounds from one change to the next: each is found within twenty.
const SPACING: u32 = 30;

/// Changes, with whether another system comes or goes by them: the nodes named a are in one, those named b in another.
const STEPS: [(&str, bool); 8] = [
    ("remove r1 -> a3", false),
    ("remove r1 -> b1", true),
    ("add r1 -> a3", false),
    ("add r1 -> b1", true),
    ("remove r1 -> b1;remove r1 -> a1", true),
    ("add r1 -> a1", false),
    ("rehash r1", false),
    ("add r1 -> b1", true),
];

fn topology(loss: f64) -> Topology {
    let mut text =
        "s -> r1 -> a1 a2 a3 b1 -> x -> y -> d\nnode y rate=20 burst=6\n".to_owned() + &faults(loss);
    for (number, (change, _)) in (1..).zip(STEPS) {
        for line in change.split(';') {
            text.push_str(&format!("at {}s {line}\n", 60 * SPACING * number - 30));
        }
    }
    text.parse().unwrap()
}

/// The system of a node, by a database of this number.
fn system(name: &str, database: u32) -> Option<u32> {
    match name.chars().next() {
        Some('a') => Some(10 + 100 * database),
        Some('b') => Some(20 + 100 * database),
        // As exchanges do, it stands in no system.
        Some('x') => None,
        _ => Some(30 + 100 * database),
    }
}

#[test]
fn changes_of_systems_are_told_once_and_others_are_none() {
    for loss in [0.0, 0.05] {
        for seed in 0..4 {
            let topology = topology(loss);
            let mut watched = Watched::new(&topology, Module::default(), seed);
            let (mut told, mut paths) = (0, 0);
            for round in 0..SPACING * (1 + u32::try_from(STEPS.len()).unwrap()) {
                // A restart now and then, and another database: neither is a change.
                if round % 7 == 3 {
                    watched.restart();
                }
                watched.set_systems(&topology, |name| system(name, round / 10));
                let counters = watched.round().counters;
                let changes = watched.monitor.snapshot().changes;
                let news = counters.as_path_changes - told;
                assert!(news <= counters.path_changes - paths, "seed {seed}, round {round}: {changes:?}");
                (told, paths) = (counters.as_path_changes, counters.path_changes);
                if (round + 1) % SPACING == 0 {
                    let steps = STEPS.iter().take(usize::try_from(round / SPACING).unwrap());
                    let expected = steps.filter(|(_, is_other)| *is_other).count();
                    assert_eq!(
                        usize::try_from(told).unwrap(),
                        expected,
                        "loss {loss}, seed {seed}, round {round}: {changes:?}"
                    );
                }
            }
            assert_eq!((told, paths), (4, 7), "loss {loss}, seed {seed}");
        }
    }
}
