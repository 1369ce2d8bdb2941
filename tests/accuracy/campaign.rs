//! Many runs of one strategy over one topology, counted.

use std::{collections::BTreeSet, fmt, path::Path, thread};

use traceflow_exporter::{
    config::Module,
    flow::{Family, Protocol},
    request,
    simulation::{Bench, Network, Seen, Topology, Truth},
    strategy::Strategy,
    time::Time,
    trace::Trace,
};

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Campaign {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) strategy: Strategy,
    /// Share of packets lost in each direction, in bursts of two on average.
    pub(crate) loss: f64,
    pub(crate) runs: u32,
}

impl Campaign {
    pub(crate) fn new(text: &str, strategy: Strategy) -> Self {
        Self { name: "inline".to_owned(), text: text.to_owned(), strategy, loss: 0.0, runs: 100 }
    }

    /// Over a topology file.
    pub(crate) fn of(name: &str, strategy: Strategy) -> Self {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/topologies").join(format!("{name}.topo"));
        let text = std::fs::read_to_string(path).unwrap();
        Self { name: name.to_owned(), ..Self::new(&text, strategy) }
    }

    /// Runs with the seeds 0, 1, 2, …, half of them over each family.
    pub(crate) fn run(&self) -> Row {
        let mut text = self.text.clone();
        if self.loss > 0.0 {
            text.push_str(&format!("\nnetwork loss={} burst=2\n", self.loss));
        }
        let topology: Topology = text.parse().unwrap();
        let workers =
            thread::available_parallelism().map_or(1, |workers| u32::try_from(workers.get()).unwrap());
        let parts: Vec<Row> = thread::scope(|scope| {
            let parts: Vec<_> = (0..workers)
                .map(|worker| {
                    let topology = &topology;
                    let seeds = (worker..self.runs).step_by(usize::try_from(workers).unwrap());
                    scope.spawn(move || self.some(topology, seeds))
                })
                .collect();
            parts.into_iter().map(|part| part.join().unwrap()).collect()
        });
        let mut row = Row::new(self);
        for part in &parts {
            row.missed += part.missed;
            row.false_nodes += part.false_nodes;
            row.false_links += part.false_links;
            row.probes += part.probes / f64::from(self.runs);
            row.seconds += part.seconds / f64::from(self.runs);
        }
        row
    }

    fn some(&self, topology: &Topology, seeds: impl Iterator<Item = u32>) -> Row {
        let mut row = Row::new(self);
        let module = Module { strategy: self.strategy, ..Module::default() };
        for seed in seeds {
            let family = if seed % 2 == 0 { Family::V4 } else { Family::V6 };
            let network = Network::new(topology, family, seed.into());
            let truth = network.truth(Time::ZERO);
            let mut bench = Bench::new(network, 1, 1_000_000, seed.into());
            let trace = bench.trace(Protocol::Udp, request::settings(&module, seed.into(), None)).unwrap();
            row.add(&trace, &truth);
        }
        row
    }
}

/// What came of it. Probes and seconds are means over the runs.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    name: String,
    strategy: Strategy,
    loss: f64,
    pub(crate) runs: u32,
    pub(crate) missed: u32,
    pub(crate) false_nodes: usize,
    pub(crate) false_links: usize,
    pub(crate) probes: f64,
    pub(crate) seconds: f64,
}

impl Row {
    pub(crate) const HEADER: &str = "| topology | strategy | loss | runs | missed | at most (95 %) | false links | probes | seconds |\n\
                                     |---|---|---|---|---|---|---|---|---|";

    fn new(campaign: &Campaign) -> Self {
        Self {
            name: campaign.name.clone(),
            strategy: campaign.strategy,
            loss: campaign.loss,
            runs: campaign.runs,
            missed: 0,
            false_nodes: 0,
            false_links: 0,
            probes: 0.0,
            seconds: 0.0,
        }
    }

    fn add(&mut self, trace: &Trace, truth: &Truth) {
        let (seen, there) = (Seen::by(trace), Seen::of(truth));
        let whole = there.nodes.is_subset(&seen.nodes) && there.links.is_subset(&seen.links);
        self.missed += u32::from(!whole);
        self.false_nodes += seen.nodes.difference(&there.nodes).count() + made_up(trace, truth);
        self.false_links += seen.links.difference(&there.links).count();
        self.probes += f64::from(trace.probes_sent);
        self.seconds += trace.duration.as_secs_f64();
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
        let Self { name, strategy, loss, runs, missed, false_links, probes, seconds, .. } = self;
        let (percent, bound) = (loss * 100.0, self.upper_bound());
        write!(
            f,
            "| {name} | {strategy} | {percent:.0} % | {runs} | {missed} | {bound:.4} | {false_links} | {probes:.0} | {seconds:.3} |"
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

/// Runs a row of the long version: 1000, or what the environment variable ACCURACY_RUNS says.
pub(crate) fn long_runs() -> u32 {
    std::env::var("ACCURACY_RUNS").map_or(1000, |runs| runs.parse().unwrap())
}
