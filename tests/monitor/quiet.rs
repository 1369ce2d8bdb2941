//! Days on which nothing changes.

use std::{env, fmt, fs, path::Path, thread};

use traceflow_exporter::{simulation::Topology, strategy::Strategy};

use crate::watched::{Watched, alarms};

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

/// A day on one network.
struct Day {
    network: String,
    conditions: String,
    text: String,
    strategy: Strategy,
    rounds: u32,
    seed: u32,
}

/// What it came to.
#[derive(Debug)]
struct Outcome {
    alarms: u64,
    late: u64,
    /// Rounds in which the number of paths fell.
    falls: u32,
    first: f64,
    probes: f64,
    growing: f64,
    whole: bool,
    changes: Vec<String>,
}

impl Day {
    fn on(network: &str, loss: f64, rounds: u32, seed: u32) -> Self {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/topologies").join(format!("{network}.topo"));
        let mut text = fs::read_to_string(path).unwrap();
        let mut conditions = "none".to_owned();
        if loss > 0.0 {
            text.push_str(&format!("\nnetwork loss={loss} burst=2 duplicate=0.01 reorder=0.05:5ms\n"));
            conditions = format!("loss {:.0} %", loss * 100.0);
        }
        Self { network: network.to_owned(), conditions, text, strategy: Strategy::MdaLite, rounds, seed }
    }

    fn run(&self) -> Outcome {
        let topology: Topology = self.text.parse().unwrap();
        let mut watched = Watched::new(&topology, self.strategy, self.seed);
        let mut outcome = Outcome {
            alarms: 0,
            late: 0,
            falls: 0,
            first: 0.0,
            probes: 0.0,
            growing: 0.0,
            whole: false,
            changes: Vec::new(),
        };
        let mut paths = 0;
        for round in 0..self.rounds {
            let snapshot = watched.round();
            let trace = snapshot.trace().unwrap();
            let probes = f64::from(trace.probes_sent);
            match round {
                0 => outcome.first = probes,
                1..=10 => {
                    outcome.growing += probes / 10.0;
                    outcome.probes += probes / f64::from(self.rounds - 1);
                }
                _ => outcome.probes += probes / f64::from(self.rounds - 1),
            }
            if round == 10 {
                outcome.whole = watched.is_whole();
            }
            let now = trace.route.paths.count;
            if env::var("MONITOR_LOG").is_ok() {
                println!(
                    "round {round}: {probes} probes, {now} paths, {:?}, {} flows {} reached, {:?} {:?}",
                    trace.duration,
                    snapshot.flows,
                    trace.route.flows_reached(),
                    trace.route.confidence,
                    trace.stop_reason
                );
            }
            outcome.falls += u32::from(now < paths);
            paths = now;
            outcome.alarms = alarms(&snapshot.counters);
            outcome.late = snapshot.counters.late_discoveries;
            outcome.changes =
                snapshot.changes.iter().map(|change| format!("round {round}: {change:?}")).collect();
        }
        outcome
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| {} | {} | {} |", self.network, self.conditions, self.rounds)
    }
}

#[test]
#[ignore = "long: make accuracy"]
fn quiet_days() {
    if env::var("MONITOR_LOG").is_ok() {
        tracing_subscriber::fmt().with_target(false).without_time().init();
    }
    let rounds: u32 = env::var("MONITOR_ROUNDS").ok().map_or(1440, |text| text.parse().unwrap());
    let seeds: u32 = env::var("MONITOR_SEEDS").ok().map_or(1, |text| text.parse().unwrap());
    let only = env::var("ACCURACY_ONLY").unwrap_or_default();
    let wanted = |name: &str| only.is_empty() || only.split(',').any(|wanted| wanted == name);
    let losses: Vec<f64> =
        env::var("MONITOR_LOSS").map_or(vec![0.0, 0.02, 0.05, 0.1], |text| vec![text.parse().unwrap()]);
    for network in NETWORKS.into_iter().filter(|name| wanted(name)) {
        for &loss in &losses {
            let days: Vec<Day> = (0..seeds).map(|seed| Day::on(network, loss, rounds, seed)).collect();
            let outcomes: Vec<Outcome> = thread::scope(|scope| {
                let runs: Vec<_> = days.iter().map(|day| scope.spawn(|| day.run())).collect();
                runs.into_iter().map(|run| run.join().unwrap()).collect()
            });
            for (day, outcome) in days.iter().zip(outcomes) {
                println!(
                    "{day} {} alarms, {} late, {} falls, {:.0} first, {:.1} growing, {:.1} a round, {:.2}, whole {}",
                    outcome.alarms,
                    outcome.late,
                    outcome.falls,
                    outcome.first,
                    outcome.growing,
                    outcome.probes,
                    outcome.probes / outcome.first,
                    outcome.whole
                );
                for change in outcome.changes.iter().take(3) {
                    println!("    {change}");
                }
            }
        }
    }
}
