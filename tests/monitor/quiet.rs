//! Days on which nothing changes: no alarm, no path lost, and few probes.

use std::fmt;

use traceflow_exporter::{
    config::Module,
    simulation::Topology,
    strategy::{Confidence, Strategy},
};

use crate::{
    variables::variable,
    watched::{Watched, alarms, faults, in_parallel, is_logged, is_wanted, topology},
};

/// Twenty networks of different shape: plain, wide, meshed, unequal, silent, limited, dealt out packet by packet.
const NETWORKS: [&str; 20] = [
    "line",
    "diamond2",
    "diamond4",
    "three-diamonds",
    "twelve",
    "unequal",
    "wide16",
    "wide28",
    "wide56",
    "mesh4x4",
    "mesh8x8",
    "cascade2x3x4",
    "asymmetric",
    "silent",
    "silent-hops",
    "swallow",
    "per-packet",
    "per-destination",
    "weights8421",
    "rate-limited",
];

/// Rounds in which confidence grows to 99.9 %.
const GROWTH: u32 = 10;
/// Networks on which a quiet round may cost a quarter of a first one: those of which the first round does not stop too early.
const CHEAP: [&str; 7] = ["line", "diamond2", "diamond4", "three-diamonds", "twelve", "unequal", "mesh4x4"];

/// A day on one network.
#[derive(Clone, Debug)]
struct Day {
    network: &'static str,
    loss: f64,
    rounds: u32,
    seed: u32,
}

/// What it came to.
#[derive(Clone, Debug, Default)]
struct Outcome {
    alarms: u64,
    late: u64,
    /// Rounds in which the number of paths fell.
    falls: u32,
    /// Packets of the first round; and on average of a round while confidence grows, and of all but the first.
    first: f64,
    growing: f64,
    quiet: f64,
    /// Whether the route was whole after the first ten quiet rounds.
    whole: bool,
    changes: String,
}

impl Day {
    fn run(&self) -> Outcome {
        let topology = topology(self.network, &faults(self.loss));
        let mut watched = Watched::new(&topology, Module::default(), self.seed);
        // Each node in a system of its own: none may come or go either.
        watched.set_systems(&topology, |name| {
            let node = topology.find(name).and_then(|node| u32::try_from(node).ok());
            node.map(|node| node + 1)
        });
        let mut outcome = Outcome::default();
        let mut paths = 0;
        for round in 0..self.rounds {
            let snapshot = watched.round();
            let trace = snapshot.trace().unwrap();
            let probes = f64::from(trace.probes_sent);
            match round {
                0 => outcome.first = probes,
                _ => outcome.quiet += probes / f64::from(self.rounds - 1),
            }
            if (1..=GROWTH).contains(&round) {
                outcome.growing += probes / f64::from(GROWTH);
            }
            if round == GROWTH {
                outcome.whole = watched.is_whole();
            }
            let now = trace.route.paths.count;
            outcome.falls += u32::from(now < paths);
            paths = now;
            if is_logged() {
                println!("round {round}: {probes} probes, {now} paths, {:?}", trace.route.confidence);
            }
            outcome.alarms = alarms(&snapshot.counters);
            outcome.late = snapshot.counters.late_discoveries;
            outcome.changes = format!("{:?}", snapshot.changes);
        }
        outcome
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} | {:.0} % | {}", self.network, self.loss * 100.0, self.rounds)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { alarms, late, falls, first, growing, quiet, .. } = self;
        let whole = if self.whole { "yes" } else { "no" };
        let share = quiet / first;
        write!(
            f,
            "{alarms} | {late} | {falls} | {first:.0} | {growing:.1} | {quiet:.1} | {share:.2} | {whole}"
        )
    }
}

/// An hour and a half, with a full round in it; `make accuracy` watches twenty networks for a day.
#[test]
fn nothing_is_told_where_nothing_changed() {
    let networks =
        ["line", "twelve", "unequal", "mesh4x4", "silent", "swallow", "per-packet", "rate-limited"];
    let days = networks
        .into_iter()
        .flat_map(|network| [0.0, 0.1].map(|loss| Day { network, loss, rounds: 90, seed: 0 }));
    for (day, outcome) in in_parallel(days.collect(), Day::run) {
        println!("| {day} | {outcome} |");
        assert_eq!((outcome.alarms, outcome.falls), (0, 0), "{day}: {}", outcome.changes);
        assert!(outcome.whole, "{day}");
        if CHEAP.contains(&day.network) {
            assert!(outcome.quiet <= outcome.first / 4.0, "{day}: {outcome}");
        }
    }
}

/// Discoveries that promise little miss much, and later rounds find it.
#[test]
fn what_is_found_late_is_no_change() {
    let topology: Topology = "s -> r1 -> a1..a6 -> x -> d".parse().unwrap();
    let (mut late, mut whole) = (0, 0);
    for seed in 0..20 {
        let confidence = Confidence::new(0.2).unwrap();
        let mut watched = Watched::new(&topology, Module { confidence, ..Module::default() }, seed);
        let counters = (0..=GROWTH).map(|_| watched.round().counters).last().unwrap();
        assert_eq!(alarms(&counters), 0, "seed {seed}");
        late += counters.late_discoveries;
        whole += u32::from(watched.is_whole());
    }
    assert!(late > 0, "every first round was whole");
    assert_eq!(whole, 20);
}

/// At first all flows go where they are refused; later ones find the branch that was open all along.
#[test]
fn a_destination_found_late_did_not_come_back() {
    let text = "s -> r1\nr1 -> a weight=30\nr1 -> b\na -> d\nb -> d\nnode a unreachable=1";
    let topology: Topology = text.parse().unwrap();
    let mut late = 0;
    for seed in 0..40 {
        let mut watched = Watched::new(&topology, Module::default(), seed);
        let first = watched.round().trace().is_some_and(|trace| trace.route.reached());
        let last = (0..GROWTH).map(|_| watched.round()).last().unwrap();
        assert_eq!(alarms(&last.counters), 0, "seed {seed}: {:?}", last.changes);
        late += u32::from(!first && last.is_up());
    }
    assert!(late > 0, "no seed shows it");
}

/// The flows of `fixed` are all asked in each round, and no lost reply of theirs is a change.
#[test]
fn fixed_flows_raise_no_alarm_either() {
    let text = "s -> r1 -> a1..a4 -> x -> d\nnetwork loss=0.1 burst=2";
    let module = Module { strategy: Strategy::Fixed, ..Module::default() };
    let mut watched = Watched::new(&text.parse().unwrap(), module, 1);
    for round in 0..60 {
        let snapshot = watched.round();
        assert_eq!(alarms(&snapshot.counters), 0, "round {round}: {:?}", snapshot.changes);
        assert_eq!(snapshot.flows, 16);
    }
}

#[test]
#[ignore = "long: make accuracy"]
fn quiet_days() {
    const HEADER: &str = "| network | loss | rounds | alarms | late | paths fell | first round | growing | quiet round | share | whole after 10 |\n\
                          |---|---|---|---|---|---|---|---|---|---|---|";
    println!("{HEADER}");
    let (rounds, seed) = (variable("MONITOR_ROUNDS", 1440), variable("SEED", 0));
    let mut broken = Vec::new();
    for network in NETWORKS.into_iter().filter(|name| is_wanted(name)) {
        let days = [0.0, 0.02, 0.05, 0.1].map(|loss| Day { network, loss, rounds, seed });
        for (day, outcome) in in_parallel(days.to_vec(), Day::run) {
            println!("| {day} | {outcome} |");
            if outcome.alarms > 0 || outcome.falls > 0 {
                broken.push(format!("{day}: {outcome} {}", outcome.changes));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}
