//! Days with a true change every fifty rounds: each has to be told once, as what it is.

use std::{collections::BTreeMap, fmt, time::Duration};

use traceflow_exporter::{config::Module, simulation::Topology, store::TargetCounters, trace::StopReason};

use crate::{
    scenarios::{Kind, SCENARIOS, Scenario},
    variables::variable,
    watched::{INTERVAL, Watched, alarms, faults, in_parallel, is_logged, is_wanted},
};

/// Rounds from one change to the next.
const SPACING: u32 = 50;
/// When a change comes: shortly before a round, or while it is under way, with the first answers, some answers later, or in its last.
const BETWEEN: Duration = Duration::from_secs(59);
const UNDER_WAY: [Duration; 5] = [
    Duration::from_micros(60_000_700),
    Duration::from_micros(60_001_500),
    Duration::from_micros(60_004_000),
    Duration::from_millis(60_030),
    Duration::from_millis(60_300),
];
/// Rounds after which a change has to be known even where only a share of the flows meets it.
const SOON: u32 = 20;

/// What became of the changes of a kind.
#[derive(Clone, Copy, Debug, Default)]
struct Score {
    changes: u32,
    /// Told in the round after, within twenty rounds, ever; and told more than once or as something else as well.
    at_once: u32,
    soon: u32,
    ever: u32,
    twice: u32,
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { changes, at_once, soon, ever, twice } = self;
        write!(f, "{changes} | {at_once} | {soon} | {} | {twice}", changes - ever)
    }
}

impl Score {
    fn add(&mut self, other: &Self) {
        self.changes += other.changes;
        self.at_once += other.at_once;
        self.soon += other.soon;
        self.ever += other.ever;
        self.twice += other.twice;
    }

    /// What is wrong, if anything. What every flow meets has to be told at once, all else within twenty rounds, in 99.9 % each; nothing
    /// may be missed or told twice. What comes in the midst of a round may be told by the next.
    fn fault(&self, kind: Kind, after: Duration) -> Option<&'static str> {
        let is_met = |told: u32| f64::from(told) >= 0.999 * f64::from(self.changes);
        match kind {
            _ if self.ever < self.changes => Some("missed"),
            _ if self.twice > 0 => Some("told twice"),
            Kind::Loss | Kind::Detour | Kind::Reach if after < INTERVAL && !is_met(self.at_once) => {
                Some("told late")
            }
            _ if !is_met(self.soon) => Some("told late"),
            _ => None,
        }
    }
}

impl Scenario {
    /// All steps in turn, `days` times over.
    fn run(&self, loss: f64, days: usize, seed: u32, after: Duration) -> BTreeMap<Kind, Score> {
        let steps: Vec<(Kind, &str)> = self.steps.repeat(days);
        let mut watched = Watched::new(&self.topology(loss, &steps, after), Module::default(), seed);
        // Past what the file sets up at its beginning.
        watched.sleep(Duration::from_millis(2));
        let mut before = TargetCounters::default();
        for _ in 0..SPACING {
            before = watched.round().counters;
        }
        assert_eq!(counts(&before), (0, 0, 0, 0), "{} seed {seed} before any change", self.name);
        let mut scores: BTreeMap<Kind, Score> = BTreeMap::new();
        for (kind, change) in steps {
            let mut told = None;
            let mut now = before.clone();
            for round in 1..=SPACING {
                let snapshot = watched.round();
                if told.is_none() && is_told(kind, &before, &snapshot.counters) {
                    told = Some(round);
                }
                if is_logged() && round == SPACING {
                    let last: Vec<_> = snapshot.changes.iter().rev().take(3).collect();
                    println!("{} seed {seed} loss {loss} {change}: told {told:?}; {last:?}", self.name);
                }
                now = snapshot.counters;
            }
            let score = Score {
                changes: 1,
                at_once: u32::from(told == Some(1)),
                soon: u32::from(told.is_some_and(|round| round <= SOON)),
                ever: u32::from(told.is_some()),
                twice: u32::from(told.is_some() && !is_told_once(kind, &before, &now)),
            };
            scores.entry(kind).or_default().add(&score);
            before = now;
        }
        scores
    }

    /// The network with its script: each change comes so long after the last round but one began.
    fn topology(&self, loss: f64, steps: &[(Kind, &str)], after: Duration) -> Topology {
        let mut script = faults(loss);
        for (number, (_, change)) in (1..).zip(steps) {
            let at = INTERVAL * (SPACING * number - 1) + after;
            for line in change.split(';') {
                script.push_str(&format!("at {}us {line}\n", at.as_micros()));
            }
        }
        self.text(&script)
    }

    /// The scores of many days, and what is wrong with them.
    fn score(&self, loss: f64, days: usize, seeds: u32, after: Duration) -> Vec<String> {
        let mut total: BTreeMap<Kind, Score> = BTreeMap::new();
        let first = variable("MONITOR_SEED", 0);
        let runs = in_parallel((first..first + seeds).collect(), |&seed| self.run(loss, days, seed, after));
        for (kind, score) in runs.iter().flat_map(|(_, scores)| scores) {
            total.entry(*kind).or_default().add(score);
        }
        let mut faults = Vec::new();
        for (kind, score) in total {
            let row = format!("| {} | {:.0} % | {kind:?} | {score} |", self.name, loss * 100.0);
            println!("{row}");
            faults.extend(score.fault(kind, after).map(|fault| format!("{row} {fault}")));
        }
        faults
    }
}

fn counts(counters: &TargetCounters) -> (u64, u64, u64, u64) {
    (counters.path_changes, counters.flow_moves, counters.length_changes, counters.reachability_changes)
}

/// Whether all that has to be told of a change was, at least once.
fn is_told(kind: Kind, before: &TargetCounters, now: &TargetCounters) -> bool {
    let ((path, moves, length, reach), (old_path, old_moves, old_length, old_reach)) =
        (counts(now), counts(before));
    let expected = kind.expected();
    path - old_path >= expected.0
        && (moves > old_moves || !expected.1)
        && length - old_length >= expected.2
        && reach - old_reach >= expected.3
}

/// Whether nothing else was.
fn is_told_once(kind: Kind, before: &TargetCounters, now: &TargetCounters) -> bool {
    let ((path, moves, length, reach), (old_path, old_moves, old_length, old_reach)) =
        (counts(now), counts(before));
    let expected = kind.expected();
    path - old_path == expected.0
        && (moves > old_moves) == expected.1
        && length - old_length == expected.2
        && reach - old_reach == expected.3
}

/// One day each, where that does not take long; `make accuracy` has many.
#[test]
fn changes_are_told_once_and_as_what_they_are() {
    const LONG: [&str; 5] = ["wide28", "wide56", "mesh8x8", "cascade2x3x4", "silent-hops"];
    let scenarios = SCENARIOS.iter().filter(|scenario| !LONG.contains(&scenario.name));
    let faults: Vec<String> = scenarios.flat_map(|scenario| scenario.score(0.02, 1, 2, BETWEEN)).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn changes_in_the_midst_of_a_round_are_told_once() {
    let scenarios = SCENARIOS.iter().filter(|scenario| ["twelve", "unequal"].contains(&scenario.name));
    let faults: Vec<String> = scenarios
        .flat_map(|scenario| UNDER_WAY.map(|after| scenario.score(0.0, 1, 1, after)))
        .flatten()
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
#[ignore = "long: make accuracy"]
fn changes_under_way() {
    let (days, seeds) = (variable("MONITOR_DAYS", 1), variable("MONITOR_SEEDS", 20));
    let scenarios = SCENARIOS.iter().filter(|scenario| is_wanted(scenario.name));
    let mut faults = Vec::new();
    for scenario in scenarios {
        for loss in [0.0, 0.02, 0.05] {
            faults.extend(UNDER_WAY.map(|after| scenario.score(loss, days, seeds, after)).concat());
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// Rounds that have too few probes to look for more as long as they want, the more so after a change: they tell it by what they found.
#[test]
fn few_probes_hide_no_change() {
    const CHANGES: [u32; 2] = [11, 31];
    // They come before these rounds.
    let text = "s -> r1 -> a1..a4 -> x -> d\nat 570s remove r1 -> a4\nat 1770s add r1 -> a4";
    let mut cut_short = 0;
    for seed in 0..10 {
        let module = Module { max_probes: 140, ..Module::default() };
        let mut watched = Watched::new(&text.parse().unwrap(), module, seed);
        let mut told = Vec::new();
        for round in 1..=50 {
            let snapshot = watched.round();
            cut_short += u32::from(snapshot.trace().unwrap().stop_reason == StopReason::ProbeLimit);
            assert_eq!(alarms(&snapshot.counters), snapshot.counters.path_changes, "seed {seed}");
            told.resize(usize::try_from(snapshot.counters.path_changes).unwrap(), round);
        }
        let late: Vec<u32> = told.iter().zip(CHANGES).map(|(told, change)| told - change).collect();
        assert!(told.len() == 2 && late.iter().all(|&late| late < 4), "seed {seed}: told in rounds {told:?}");
    }
    assert!(cut_short > 50, "only {cut_short} rounds were cut short");
}

#[test]
#[ignore = "long: make accuracy"]
fn changes() {
    println!(
        "| network | loss | change | changes | at once | within 20 | missed | told twice |\n|---|---|---|---|---|---|---|---|"
    );
    let (days, seeds) = (variable("MONITOR_DAYS", 2), variable("MONITOR_SEEDS", 40));
    let mut faults = Vec::new();
    for scenario in SCENARIOS.iter().filter(|scenario| is_wanted(scenario.name)) {
        for loss in [0.0, 0.02, 0.05, 0.1] {
            faults.extend(scenario.score(loss, days, seeds, BETWEEN));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}
