//! Many runs of one strategy over one topology, counted.

use std::{collections::BTreeSet, fmt, path::Path, thread, time::Duration};

use traceflow_exporter::{
    config::Module,
    flow::{Family, Protocol},
    request,
    simulation::{Bench, Network, Seen, Topology, Truth},
    strategy::Strategy,
    time::Time,
    trace::Trace,
};

use crate::variables::variable;

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Campaign {
    pub(crate) name: String,
    pub(crate) text: String,
    /// What is wrong with the network, as tables name it.
    pub(crate) conditions: Vec<String>,
    pub(crate) strategy: Strategy,
    pub(crate) protocol: Protocol,
    pub(crate) runs: u32,
    pub(crate) max_probes: u32,
}

impl Campaign {
    pub(crate) fn new(text: &str, strategy: Strategy) -> Self {
        Self {
            name: "inline".to_owned(),
            text: text.to_owned(),
            conditions: Vec::new(),
            strategy,
            protocol: Protocol::Udp,
            runs: 100,
            max_probes: 50_000,
        }
    }

    /// Over a topology file.
    pub(crate) fn of(name: &str, strategy: Strategy) -> Self {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/topologies").join(format!("{name}.topo"));
        let text = std::fs::read_to_string(path).unwrap();
        Self { name: name.to_owned(), ..Self::new(&text, strategy) }
    }

    /// With this share of packets lost in each direction, in bursts of two on average.
    pub(crate) fn with_loss(mut self, share: f64) -> Self {
        if share > 0.0 {
            self.text.push_str(&format!("\nnetwork loss={share} burst=2\n"));
            self.conditions.push(format!("loss {:.0} %", share * 100.0));
        }
        self
    }

    /// With every node, the destination too, answering this many probes a second behind a burst of six, as Linux does.
    pub(crate) fn with_limits(mut self, per_second: u32) -> Self {
        let topology: Topology = self.text.parse().unwrap();
        let nodes = topology.nodes().iter().enumerate().filter(|&(place, _)| place != topology.source());
        for (_, node) in nodes {
            self.text.push_str(&format!("\nnode {} rate={per_second} burst=6", node.name));
        }
        self.conditions.push(format!("{per_second} answers/s"));
        self
    }

    /// Runs with the seeds 0, 1, 2, …, half of them over each family.
    pub(crate) fn run(&self) -> Row {
        let topology: Topology = self.text.parse().unwrap();
        let workers =
            thread::available_parallelism().map_or(1, |workers| u32::try_from(workers.get()).unwrap());
        let parts: Vec<Row> = thread::scope(|scope| {
            let parts: Vec<_> = (0..workers)
                .map(|worker| {
                    let topology = &topology;
                    let seeds = (worker..self.runs).step_by(usize::try_from(workers).unwrap());
                    scope.spawn(move || {
                        let mut row = Row::new(self);
                        for seed in seeds {
                            let (trace, truth) = self.discover(topology, seed);
                            row.add(seed, &trace, &truth);
                        }
                        row
                    })
                })
                .collect();
            parts.into_iter().map(|part| part.join().unwrap()).collect()
        });
        let mut row = Row::new(self);
        for part in parts {
            row.take(part);
        }
        row
    }

    /// One run, and what it should have found.
    pub(crate) fn one(&self, seed: u32) -> (Trace, Truth) {
        self.discover(&self.text.parse().unwrap(), seed)
    }

    fn discover(&self, topology: &Topology, seed: u32) -> (Trace, Truth) {
        let module = Module { strategy: self.strategy, max_probes: self.max_probes, ..Module::default() };
        let family = if seed.is_multiple_of(2) { Family::V4 } else { Family::V6 };
        let network = Network::new(topology, family, seed.into());
        let truth = network.truth(Time::ZERO);
        let mut bench = Bench::new(network, 1, 1_000_000, seed.into());
        let settings = request::settings(&module, seed.into(), None);
        (bench.trace(self.protocol, settings).unwrap(), truth)
    }
}

/// Runs with which the upper bound of the miss rate can come below 0.05, if but few are missed.
const FEW: u32 = 100;

/// What came of it.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    name: String,
    conditions: Vec<String>,
    strategy: Strategy,
    protocol: Protocol,
    pub(crate) runs: u32,
    pub(crate) missed: u32,
    pub(crate) false_nodes: usize,
    pub(crate) false_links: usize,
    /// Seeds of the runs that found what is not there.
    suspects: Vec<u32>,
    probes: u64,
    pub(crate) most_probes: u32,
    time: Duration,
    longest: Duration,
}

impl Row {
    pub(crate) const HEADER: &str = "| topology | strategy | faults | runs | missed | at most (95 %) | false links | probes | at most | seconds | at most |\n\
                                     |---|---|---|---|---|---|---|---|---|---|---|";

    fn new(campaign: &Campaign) -> Self {
        Self {
            name: campaign.name.clone(),
            conditions: campaign.conditions.clone(),
            strategy: campaign.strategy,
            protocol: campaign.protocol,
            runs: campaign.runs,
            missed: 0,
            false_nodes: 0,
            false_links: 0,
            suspects: Vec::new(),
            probes: 0,
            most_probes: 0,
            time: Duration::ZERO,
            longest: Duration::ZERO,
        }
    }

    fn add(&mut self, seed: u32, trace: &Trace, truth: &Truth) {
        let (seen, there) = (Seen::by(trace), Seen::of(truth));
        let whole = there.nodes.is_subset(&seen.nodes) && there.links.is_subset(&seen.links);
        let false_nodes = seen.nodes.difference(&there.nodes).count() + made_up(trace, truth);
        let false_links = seen.links.difference(&there.links).count();
        if false_nodes + false_links > 0 {
            self.suspects.push(seed);
        }
        self.missed += u32::from(!whole);
        self.false_nodes += false_nodes;
        self.false_links += false_links;
        self.probes += u64::from(trace.probes_sent);
        self.most_probes = self.most_probes.max(trace.probes_sent);
        self.time += trace.duration;
        self.longest = self.longest.max(trace.duration);
    }

    fn take(&mut self, part: Self) {
        self.missed += part.missed;
        self.false_nodes += part.false_nodes;
        self.false_links += part.false_links;
        self.suspects.extend(part.suspects);
        self.probes += part.probes;
        self.most_probes = self.most_probes.max(part.most_probes);
        self.time += part.time;
        self.longest = self.longest.max(part.longest);
    }

    /// Mean of the probes sent in a run.
    pub(crate) fn probes(&self) -> f64 {
        // A campaign sends far fewer than 2^32 times its runs.
        f64::from(u32::try_from(self.probes).unwrap()) / f64::from(self.runs)
    }

    /// Mean of the seconds, in virtual time, that a run took.
    pub(crate) fn seconds(&self) -> f64 {
        self.time.as_secs_f64() / f64::from(self.runs)
    }

    /// What is wrong, if the route was to be whole with this confidence. That is to be shown; fewer runs than [`FEW`] only must not
    /// contradict it.
    pub(crate) fn fault(&self, confidence: f64) -> Option<String> {
        const OUTLIER: f64 = 6.0;
        let rate = 1.0 - confidence;
        let too_many = if self.runs < FEW {
            self.missed > most_misses(self.runs, rate)
        } else {
            self.upper_bound() > rate
        };
        let wrong = if self.false_nodes + self.false_links > 0 {
            format!("{} false nodes; see the seeds {:?}", self.false_nodes, self.suspects)
        } else if too_many {
            "more misses than promised".to_owned()
        } else if f64::from(self.most_probes) > OUTLIER * self.probes() {
            "one run went astray".to_owned()
        } else {
            return None;
        };
        Some(format!("{self} {wrong}"))
    }

    pub(crate) fn miss_rate(&self) -> f64 {
        f64::from(self.missed) / f64::from(self.runs)
    }

    /// Upper bound of the miss rate at one-sided 95 % (Wilson, 1927).
    pub(crate) fn upper_bound(&self) -> f64 {
        const Z: f64 = 1.645;
        let (runs, rate) = (f64::from(self.runs), self.miss_rate());
        let middle = rate + Z * Z / (2.0 * runs);
        let spread = Z * (rate * (1.0 - rate) / runs + Z * Z / (4.0 * runs * runs)).sqrt();
        (middle + spread) / (1.0 + Z * Z / runs)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, conditions, strategy, protocol, runs, missed, false_links, most_probes, .. } = self;
        let protocol = if *protocol == Protocol::Udp { String::new() } else { format!(" {protocol}") };
        let conditions = if conditions.is_empty() { "none".to_owned() } else { conditions.join(", ") };
        let (bound, probes, seconds) = (self.upper_bound(), self.probes(), self.seconds());
        let longest = self.longest.as_secs_f64();
        write!(
            f,
            "| {name} | {strategy}{protocol} | {conditions} | {runs} | {missed} | {bound:.4} | {false_links} | {probes:.0} | {most_probes} | {seconds:.3} | {longest:.2} |"
        )
    }
}

/// The most misses of `runs` that chance allows in 999 of 1000 campaigns if each is missed with this probability.
pub(crate) fn most_misses(runs: u32, rate: f64) -> u32 {
    let mut probability = (1.0 - rate).powi(i32::try_from(runs).unwrap());
    let (mut sum, mut misses) = (probability, 0);
    while sum < 0.999 {
        probability *= f64::from(runs - misses) / f64::from(misses + 1) * rate / (1.0 - rate);
        misses += 1;
        sum += probability;
    }
    misses
}

/// Silent nodes at hops at which no node is silent.
fn made_up(trace: &Trace, truth: &Truth) -> usize {
    let silent: BTreeSet<u8> = truth.silent.iter().map(|&(ttl, _)| ttl).collect();
    let hops = trace.route.hops.iter().filter(|hop| !silent.contains(&hop.ttl.get()));
    hops.flat_map(|hop| &hop.nodes).filter(|node| node.address.is_none()).count()
}

/// Runs a row of the long version, or what the environment variable ACCURACY_RUNS says.
pub(crate) fn long_runs(runs: u32) -> u32 {
    variable("ACCURACY_RUNS", runs)
}

/// Whether the environment variable ACCURACY_ONLY, a list with commas, names this topology, or is not set.
pub(crate) fn is_wanted(name: &str) -> bool {
    std::env::var("ACCURACY_ONLY").map_or(true, |names| names.split(',').any(|wanted| wanted == name))
}
