//! What a target remembers between its rounds, and what it makes of what they find.
//!
//! Keeps the flows that were placed, has each round ask them again, and tells a change of the route from everything that only
//! looks like one. Takes in the outcome of each round and yields the snapshot that views read. Knows nothing of when rounds
//! happen or how they are made.

mod dead_ends;
mod judge;
mod round;
mod state;
mod systems;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

pub use self::state::{State, asks_alike};
use self::{
    dead_ends::DeadEnds,
    judge::{Verdict, around, judge},
};
use crate::{
    asn::Systems,
    change::{self, Change, ChangeKind, Part},
    config::Target,
    flow::FlowSequence,
    probe::Ttl,
    route::Evidence,
    store::{LastRound, Snapshot, TargetCounters},
    strategy::{Confidence, Strategy},
    time::Time,
    trace::{StopReason, Trace},
    tracer::{Baseline, Settings},
    words::plural,
};

/// Changes kept.
const CHANGES_MAX: usize = 100;
/// Path changes of which it is kept what stayed.
const PICTURES_MAX: usize = 20;
/// Rounds of which the number of paths is kept.
const HISTORY_MAX: usize = 60;
/// Rounds over which confidence grows from what the strategy promises to [`Confidence::PROVEN`].
const GROWTH: u32 = 10;

/// Most packets of a round that goes on from what is known: some, and these for each pinned probe. A route that is another altogether takes
/// less; what takes more has lost its way.
const ROUND_PROBES: u32 = 2000;
const ROUND_PROBES_A_PIN: u32 = 8;

/// The memory of one target.
#[derive(Debug)]
pub struct Monitor {
    target: Arc<Target>,
    seed: u64,
    rediscover_interval: Duration,
    address: Option<IpAddr>,
    /// Destination and source of the last trace.
    ends: Option<(IpAddr, IpAddr)>,
    counters: TargetCounters,
    last_round: Option<LastRound>,
    changes: VecDeque<Arc<Change>>,
    /// How many paths the last rounds found; `None` where nothing could be asked.
    history: VecDeque<Option<u64>>,
    /// Whom the pinned flows met.
    pinned: Evidence,
    /// Answers that showed the members of a per-packet zone and nobody else, by hop.
    samples: BTreeMap<Ttl, u32>,
    /// Rounds since the baseline was made.
    age: u32,
    /// Rounds in a row that did not come to their end.
    cut_short: u32,
    /// Before which round it was told that rounds are cut short; `None` where that is not so, or no longer.
    short_since: Option<u64>,
    /// When all pinned flows were asked last; `None` where that is due.
    full: Option<Time>,
    /// What was told of flows that are out of reach.
    told: DeadEnds,
    /// In which round a change of nodes and links was told last, and the hops at which flows met others by it.
    rerouted: Option<(u64, BTreeSet<Ttl>)>,
    /// Knows the autonomous systems of addresses.
    systems: Option<Arc<dyn Systems>>,
}

impl Monitor {
    /// A target of which nothing is known.
    #[must_use]
    pub fn new(target: Arc<Target>, rediscover_interval: Duration) -> Self {
        let seed = FlowSequence::seed_of(target.name.as_str());
        Self {
            target,
            seed,
            rediscover_interval,
            address: None,
            ends: None,
            counters: TargetCounters::default(),
            last_round: None,
            changes: VecDeque::new(),
            history: VecDeque::new(),
            pinned: Evidence::default(),
            samples: BTreeMap::new(),
            age: 0,
            cut_short: 0,
            short_since: None,
            full: None,
            told: DeadEnds::default(),
            rerouted: None,
            systems: None,
        }
    }

    /// Sets who knows the autonomous systems of addresses, from the next round on. Others are a new baseline: what a route was before
    /// and is now is told by the same.
    pub fn set_systems(&mut self, systems: Option<Arc<dyn Systems>>) {
        self.systems = systems;
    }

    /// Has the autonomous systems of the last trace told by those who know them now. Returns whether they are others than before.
    pub fn retell_systems(&mut self) -> bool {
        let trace = self.last_round.as_mut().and_then(|round| round.outcome.as_mut().ok());
        let Some(trace) = trace else { return false };
        let told = systems_of(trace, self.systems.as_deref());
        let is_other = trace.annotations.systems != told;
        if is_other {
            Arc::make_mut(trace).annotations.systems = told;
        }
        is_other
    }

    /// Sets the names of nodes of the last trace. Returns whether they are others than before.
    pub fn set_names(&mut self, names: BTreeMap<IpAddr, Arc<str>>) -> bool {
        let trace = self.last_round.as_mut().and_then(|round| round.outcome.as_mut().ok());
        let Some(trace) = trace.filter(|trace| trace.annotations.names != names) else { return false };
        Arc::make_mut(trace).annotations.names = names;
        true
    }

    /// The addresses of the last trace's nodes.
    #[must_use]
    pub fn addresses(&self) -> BTreeSet<IpAddr> {
        let trace = self.last_round.as_ref().and_then(|round| round.outcome.as_ref().ok());
        trace.map(|trace| trace.addresses()).unwrap_or_default()
    }

    /// The target.
    #[must_use]
    pub const fn target(&self) -> &Arc<Target> {
        &self.target
    }

    /// What its flows are drawn with.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// The address traced last.
    #[must_use]
    pub const fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Notes the address that the host resolved to.
    pub const fn resolved(&mut self, address: IpAddr) {
        self.address = Some(address);
    }

    /// Makes a trace between these two, destination and source, one that goes on from what is known.
    #[must_use]
    pub fn prepare(&self, settings: Settings, ends: (IpAddr, IpAddr), now: Time) -> Settings {
        if self.ends != Some(ends) {
            return settings;
        }
        let is_due = self.full.is_none_or(|full| now.since(full) >= self.rediscover_interval);
        let full = is_due || settings.strategy == Strategy::Fixed;
        let cells: usize = self.pinned.flows().map(|(_, cells)| cells.len()).sum();
        let most = ROUND_PROBES + ROUND_PROBES_A_PIN * u32::try_from(cells).unwrap_or(u32::MAX / 64);
        Settings {
            max_probes: settings.max_probes.min(most),
            baseline: Some(Baseline {
                evidence: self.pinned.clone(),
                full,
                confidence: grown(settings.confidence, self.age),
            }),
            ..settings
        }
    }

    /// Takes in a round that ended now: what it found, or one line that says why nothing could be asked.
    pub fn absorb(
        &mut self,
        now: Time,
        started: jiff::Timestamp,
        duration: Duration,
        outcome: Result<Trace, String>,
    ) {
        self.counters.rounds += 1;
        let outcome = match outcome {
            Ok(mut trace) => {
                let evidence = std::mem::take(&mut trace.evidence);
                self.count(&trace);
                let ended = started.checked_add(duration).unwrap_or(started);
                self.compare(now, ended, &trace, &evidence);
                trace.annotations.systems = systems_of(&trace, self.systems.as_deref());
                Ok(Arc::new(trace))
            }
            Err(error) => {
                self.counters.rounds_failed += 1;
                Err(Arc::from(error))
            }
        };
        let paths = outcome.as_ref().map(|trace| u64::try_from(trace.route.paths.count).unwrap_or(u64::MAX));
        if self.history.len() >= HISTORY_MAX {
            self.history.pop_front();
        }
        self.history.push_back(paths.ok());
        self.last_round = Some(LastRound { started, duration, outcome });
    }

    /// What views may see now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            name: self.target.name.as_str().into(),
            host: self.target.host.to_string().into(),
            labels: self.target.labels.clone(),
            protocol: self.target.module.protocol,
            strategy: self.target.module.strategy,
            interval: self.target.interval,
            address: self.address,
            flows: self.flows(),
            counters: self.counters.clone(),
            changes: self.changes.iter().cloned().collect(),
            history: self.history.iter().copied().collect(),
            last_round: self.last_round.clone(),
        }
    }

    /// Flows whose outcome the target wants to know: as many as are configured, or as many as were followed to their end.
    fn flows(&self) -> usize {
        let module = &self.target.module;
        let trace = self.last_round.as_ref().and_then(|round| round.outcome.as_ref().ok());
        match module.strategy {
            Strategy::Fixed => module.flows.into(),
            Strategy::Mda | Strategy::MdaLite => trace.map_or(0, |trace| trace.route.flows_followed()),
        }
    }

    /// Adds up what was sent and answered.
    fn count(&mut self, trace: &Trace) {
        if trace.stop_reason == StopReason::SendFailed {
            self.counters.rounds_failed += 1;
        }
        for hop in &trace.route.hops {
            let tally = self.counters.hops.entry(hop.ttl).or_default();
            tally.sent += u64::from(hop.probes_sent);
            tally.received += u64::from(hop.replies_received);
        }
        let arrivals = &trace.route.arrivals;
        self.counters.destination.sent += u64::from(arrivals.probes_sent);
        self.counters.destination.received += u64::try_from(arrivals.rtts.len()).unwrap_or(u64::MAX);
        for &rtt in &arrivals.rtts {
            self.counters.rtt.observe(rtt);
        }
    }

    /// Holds what was found against what was known, and keeps it. A round that was cut short says nothing of what it did not come to:
    /// what was known before it stays.
    fn compare(&mut self, now: Time, at: jiff::Timestamp, trace: &Trace, evidence: &Evidence) {
        let ends = (trace.destination, trace.source);
        if let Some(before) = self.ends.replace(ends).filter(|before| *before != ends) {
            self.start_over();
            self.counters.address_changes += 1;
            let detail =
                format!("from {} to {} before, from {} to {} now", before.1, before.0, ends.1, ends.0);
            self.note(Change { kind: ChangeKind::Address, detail, ..Change::at(at) });
        }
        let is_first = !self.pinned.has_past();
        if !is_first && self.is_cut_short(trace, evidence) {
            return;
        }
        self.cut_short = 0;
        let is_full = is_first || self.is_full_round(evidence);
        if is_first {
            self.full = Some(now);
        } else {
            let mut verdict = judge(&self.pinned, evidence, &self.samples, &self.told);
            if verdict.is_path_change() {
                self.rerouted = Some((self.counters.rounds, verdict.changed_hops()));
            } else {
                verdict.moved.retain(|&flow| !self.is_straggler(flow, evidence));
            }
            let systems = self.systems.as_deref().filter(|_| verdict.is_path_change());
            let systems = systems.and_then(|systems| {
                systems::changes(&self.pinned, evidence, &verdict, &self.samples, systems)
            });
            self.keep_samples(evidence, &verdict);
            self.told.note(&self.pinned, evidence, &verdict, self.counters.rounds);
            self.full = match verdict.is_path_change() {
                true => None,
                false if is_full => Some(now),
                false => self.full,
            };
            self.count_changes(at, verdict, systems);
        }
        self.pinned = evidence.remember(self.counters.rounds);
        self.age = self.age.saturating_add(1);
    }

    /// Counts how many answers showed nobody new behind per-packet balancers.
    fn keep_samples(&mut self, evidence: &Evidence, verdict: &Verdict) {
        for ttl in evidence.ttls() {
            let answers: usize = evidence.zone(ttl).map(|(_, cell)| cell.answers.len()).sum();
            let answers = u32::try_from(answers).unwrap_or(u32::MAX);
            let samples = self.samples.entry(ttl).or_default();
            let is_news = |part: &Part| matches!(part, Part::Node { ttl: at, .. } if *at == ttl);
            let parts = verdict.came.iter().chain(&verdict.went).chain(&verdict.late);
            *samples = if parts.clone().any(is_news) { 0 } else { samples.saturating_add(answers) };
        }
        self.samples.retain(|_, samples| *samples > 0);
    }

    /// Counts what a round found. `systems` says which autonomous systems came and went by it.
    fn count_changes(&mut self, at: jiff::Timestamp, verdict: Verdict, systems: Option<String>) {
        let name = self.target.name.as_str();
        if !verdict.late.is_empty() {
            self.counters.late_discoveries += u64::try_from(verdict.late.len()).unwrap_or(u64::MAX);
            tracing::info!(target = name, found = change::list(&verdict.late), "late discovery");
        }
        let is_path_change = verdict.is_path_change();
        let is_reachability_change = verdict.is_reachability_change();
        let Verdict { came, went, stayed, moved, lost, found, reached, lengths, .. } = verdict;
        if let Some([before, now]) = lengths.filter(|_| is_path_change || !moved.is_empty()) {
            self.counters.length_changes += 1;
            let detail = format!(
                "{} before, {} now",
                span(before, &plural(before.1.into(), "hop")),
                span(now, &now.1.to_string())
            );
            self.note(Change { kind: ChangeKind::Length, flows: moved.clone(), detail, ..Change::at(at) });
        }
        if let Some(detail) = systems {
            self.counters.as_path_changes += 1;
            self.note(Change { kind: ChangeKind::AsPath, flows: moved.clone(), detail, ..Change::at(at) });
        }
        if is_path_change {
            self.counters.path_changes += 1;
            self.counters.last_path_change = Some(at);
            let stayed = around(stayed, &came, &went);
            self.note(Change { came, went, stayed, flows: moved, ..Change::at(at) });
        } else if !moved.is_empty() {
            self.counters.flow_moves += u64::try_from(moved.len()).unwrap_or(u64::MAX);
            self.note(Change { kind: ChangeKind::FlowMove, flows: moved, ..Change::at(at) });
        }
        if is_reachability_change {
            self.counters.reachability_changes += 1;
            let detail = match reached {
                [true, false] => "the destination is out of reach".to_owned(),
                [false, true] => "the destination is in reach".to_owned(),
                _ => {
                    let parts = [(lost.len(), "lost"), (found.len(), "back")].into_iter();
                    let parts = parts.filter(|(count, _)| *count > 0);
                    let parts: Vec<_> = parts
                        .map(|(count, word)| format!("{} {word}", plural(count as u128, "flow")))
                        .collect();
                    format!("{}, others reach the destination", parts.join(", "))
                }
            };
            let flows = lost.into_iter().chain(found).collect();
            self.note(Change { kind: ChangeKind::Reachability, flows, detail, ..Change::at(at) });
        }
    }

    fn note(&mut self, change: Change) {
        change.tell(self.target.name.as_str());
        if self.changes.len() >= CHANGES_MAX {
            self.changes.pop_front();
        }
        self.changes.push_back(Arc::new(change));
        let pictures = self.changes.iter_mut().rev().filter(|change| !change.stayed.is_empty());
        for change in pictures.skip(PICTURES_MAX) {
            Arc::make_mut(change).stayed = Vec::new();
        }
    }

    fn start_over(&mut self) {
        self.pinned = Evidence::default();
        self.samples.clear();
        self.told = DeadEnds::default();
        self.rerouted = None;
        self.age = 0;
        self.cut_short = 0;
        self.full = None;
    }
}

/// Lengths from the shortest to the longest, of which the longest is told like this.
fn span((shortest, longest): (u8, u8), told: &str) -> String {
    if shortest == longest { told.to_owned() } else { format!("{shortest} to {told}") }
}

/// The autonomous systems of a trace's addresses, as far as they are known; `None` where nobody knows any.
fn systems_of(trace: &Trace, systems: Option<&dyn Systems>) -> Option<BTreeMap<IpAddr, u32>> {
    let systems = systems?;
    let known = trace.addresses().into_iter();
    Some(known.filter_map(|address| Some((address, systems.asn(address)?))).collect())
}

/// The confidence that a round wants: risk falls by the same factor from round to round, which costs as many flows in each.
fn grown(promised: Confidence, age: u32) -> Confidence {
    let share = f64::from(age.min(GROWTH)) / f64::from(GROWTH);
    let [from, to] =
        [promised, promised.max(Confidence::PROVEN)].map(|confidence| (1.0 - confidence.get()).ln());
    Confidence::new(1.0 - (from + (to - from) * share).exp()).unwrap_or(promised)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Config, render::sample};

    #[test]
    fn the_last_rounds_and_pictures_are_kept_and_no_more() {
        let config = Config::parse("test", "targets: [{ name: a, host: www.example.net }]").unwrap();
        let mut monitor = Monitor::new(Arc::new(config.targets[0].clone()), Duration::MAX);
        for round in 0..70 {
            let outcome = if round % 7 == 0 { Err("no route".to_owned()) } else { Ok(sample::diamond()) };
            monitor.absorb(Time::ZERO, sample::STARTED, Duration::ZERO, outcome);
            let stayed = vec![Part::Node { ttl: Ttl::MIN, address: sample::address("192.0.2.1") }];
            monitor.note(Change { stayed, ..Change::at(sample::STARTED) });
            monitor.note(Change { kind: ChangeKind::Length, ..Change::at(sample::STARTED) });
        }
        let Snapshot { history, changes, .. } = monitor.snapshot();
        assert_eq!(history.len(), HISTORY_MAX);
        assert_eq!(history[59], Some(2));
        assert_eq!((history.iter().flatten().count(), history[53]), (52, None));
        let drawn: Vec<_> = changes.iter().map(|change| !change.stayed.is_empty()).collect();
        assert_eq!(drawn.iter().filter(|drawn| **drawn).count(), PICTURES_MAX);
        assert!(drawn[98] && !drawn[99] && !drawn[58] && drawn[60]);
    }

    #[test]
    fn a_change_of_either_end_is_counted_once() {
        let config = Config::parse("test", "targets: [{ name: a, host: www.example.net }]").unwrap();
        let mut monitor = Monitor::new(Arc::new(config.targets[0].clone()), Duration::MAX);
        let cases = [
            ("first", Ok(("192.0.2.9", "192.0.2.1")), 0),
            ("same", Ok(("192.0.2.9", "192.0.2.1")), 0),
            ("destination", Ok(("192.0.2.8", "192.0.2.1")), 1),
            ("source", Ok(("192.0.2.8", "192.0.2.2")), 2),
            ("no answer", Err("no route"), 2),
            ("same after that", Ok(("192.0.2.8", "192.0.2.2")), 2),
            ("both", Ok(("2001:db8::9", "2001:db8::1")), 3),
        ];
        for (name, ends, expected) in cases {
            let outcome = ends.map_err(ToOwned::to_owned).map(|(destination, source)| Trace {
                destination: destination.parse().unwrap(),
                source: source.parse().unwrap(),
                ..sample::diamond()
            });
            monitor.absorb(Time::ZERO, sample::STARTED, Duration::ZERO, outcome);
            assert_eq!(monitor.snapshot().counters.address_changes, expected, "{name}");
        }
    }
}
