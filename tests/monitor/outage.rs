//! Faults that last: told once when they come and once when they go, and never in between.

use traceflow_exporter::{config::Module, simulation::Topology};

use crate::{
    variables::variable,
    watched::{INTERVAL, Watched, alarms, faults, in_parallel, is_wanted, topology},
};

/// Rounds before the fault.
const BEFORE: u32 = 12;
/// Rounds after it.
const AFTER: u32 = 12;

/// Networks, and who fails in them: a branch, or the destination.
const FAULTS: [(&str, &str, &str); 8] = [
    ("diamond4", "node e2 swallow", "node e2 plain"),
    ("mesh4x4", "node b2 swallow", "node b2 plain"),
    ("wide16", "node a7 swallow", "node a7 plain"),
    ("twelve", "node c1 swallow", "node c1 plain"),
    ("silent", "node c swallow", "node c plain"),
    ("rate-limited", "node b swallow", "node b plain"),
    ("mesh4x4", "node d silent", "node d plain"),
    ("rate-limited", "node d silent", "node d plain"),
];

/// A fault of some rounds.
#[derive(Clone, Debug)]
struct Outage {
    network: &'static str,
    fault: &'static str,
    end: &'static str,
    loss: f64,
    rounds: u32,
    seed: u32,
}

impl Outage {
    /// What is told that should not be, or the other way round.
    fn run(&self) -> Vec<String> {
        let &Self { network, fault, end, loss, rounds, seed } = self;
        let at = |round: u32| (INTERVAL * round - INTERVAL / 2).as_secs();
        let (from, to) = (at(BEFORE), at(BEFORE + rounds));
        let more = format!("{}\nat {from}s {fault}\nat {to}s {end}\n", faults(loss));
        let topology: Topology = topology(network, &more);
        let mut watched = Watched::new(&topology, Module::default(), seed);
        let mut wrong = Vec::new();
        for round in 0..BEFORE + rounds + AFTER {
            let snapshot = watched.round();
            let expected = u64::from(round >= BEFORE) + u64::from(round >= BEFORE + rounds);
            let counters = &snapshot.counters;
            let told = (counters.reachability_changes, alarms(counters));
            let is_late =
                [BEFORE, BEFORE + rounds].iter().any(|&change| (change..change + 3).contains(&round));
            if told != (expected, expected) && !is_late {
                let changes: Vec<_> = snapshot.changes.iter().map(|change| &change.detail).collect();
                wrong.push(format!(
                    "{self:?}, round {round}: {told:?} told, {expected} to be told: {changes:?}"
                ));
                break;
            }
        }
        wrong
    }
}

/// All faults under loss, with many seeds.
fn outages(rounds: u32, seeds: u32) -> Vec<String> {
    let faults = FAULTS.into_iter().filter(|(network, ..)| is_wanted(network));
    let outages = faults.flat_map(|(network, fault, end)| {
        [0.0, 0.05, 0.1].into_iter().flat_map(move |loss| {
            (0..seeds).map(move |seed| Outage { network, fault, end, loss, rounds, seed })
        })
    });
    let all: Vec<Outage> = outages.collect();
    println!("{} outages of {rounds} rounds", all.len());
    in_parallel(all, Outage::run).into_iter().flat_map(|(_, wrong)| wrong).collect()
}

#[test]
fn what_lasts_is_told_once() {
    let wrong = outages(30, 1);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A host on our own link, and one behind a router, of which nothing is heard for ten rounds: from the first on, or later.
#[test]
fn who_says_nothing_is_down_until_it_does() {
    const SILENT: u32 = 10;
    for (text, nodes) in [("s -> h1\ndestination h1", "h1"), ("s -> h1 -> h2\ndestination h2", "h1..h2")] {
        for (begin, events) in [(0, 0), (10, 2)] {
            let silence = begin..begin + SILENT;
            let at = |round: u32| (INTERVAL * round).as_secs().saturating_sub(1);
            let (from, to) = (at(silence.start), at(silence.end));
            let text = format!("{text}\nat {from}s node {nodes} silent\nat {to}s node {nodes} plain");
            let mut watched = Watched::new(&text.parse().unwrap(), Module::default(), 1);
            for round in 0..30 {
                let snapshot = watched.round();
                let trace = snapshot.trace().unwrap();
                let case =
                    format!("{text}: round {round}, {:?}, {} probes", trace.duration, trace.probes_sent);
                assert_eq!(snapshot.is_up(), !silence.contains(&round), "{case}");
                assert!(trace.duration < INTERVAL / 2 && trace.probes_sent > 0, "{case}");
                assert_eq!(alarms(&snapshot.counters), snapshot.counters.reachability_changes, "{case}");
            }
            let counters = watched.monitor.snapshot().counters;
            assert_eq!(counters.reachability_changes, events, "{text}");
        }
    }
}

#[test]
#[ignore = "long: make accuracy"]
fn long_outages() {
    let wrong = outages(variable("MONITOR_ROUNDS", 360), variable("MONITOR_SEEDS", 20));
    assert!(wrong.is_empty(), "{wrong:#?}");
}
