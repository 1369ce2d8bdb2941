//! The latest snapshot of every target: what the scheduler writes and every view reads.
//!
//! Snapshots are immutable and swapped in whole, so that no view ever sees half a round. Knows nothing of how they come
//! about or how they are shown.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{change::Change, flow::Protocol, probe::Ttl, strategy::Strategy, trace::Trace};

/// Everything known of one target.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The configured name, unique among the targets.
    pub name: Arc<str>,
    /// The configured host: a name or an address.
    pub host: Arc<str>,
    /// Labels that the configuration adds.
    pub labels: BTreeMap<String, String>,
    /// The protocol of its probes.
    pub protocol: Protocol,
    /// How its probes are chosen.
    pub strategy: Strategy,
    /// The configured time between the starts of two rounds.
    pub interval: Duration,
    /// The address traced last; `None` when the host never resolved.
    pub address: Option<IpAddr>,
    /// Flows whose outcome is wanted: as many as are configured, or as many as the last round followed to their end.
    pub flows: usize,
    /// Counters that only grow.
    pub counters: TargetCounters,
    /// The last changes, the newest last.
    pub changes: Vec<Arc<Change>>,
    /// How many paths each of the last rounds found, the newest last; `None` where nothing could be asked. Bounded.
    pub history: Vec<Option<u64>>,
    /// The last round; `None` before the first one ended.
    pub last_round: Option<LastRound>,
}

/// A target's last round.
#[derive(Clone, Debug, PartialEq)]
pub struct LastRound {
    /// When it began, on the wall clock.
    pub started: jiff::Timestamp,
    /// How long it took, name resolution included.
    pub duration: Duration,
    /// What it found, or why nothing could be asked: one line.
    pub outcome: Result<Arc<Trace>, Arc<str>>,
}

/// What happened over all rounds of a target. A counter that a kept state does not know yet begins at 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TargetCounters {
    /// Rounds that ended.
    pub rounds: u64,
    /// Rounds in which nothing could be asked: no address, no route, not permitted.
    pub rounds_failed: u64,
    /// Packets sent and answers received per hop.
    pub hops: BTreeMap<Ttl, Tally>,
    /// Packets sent to where the destination is, and its answers.
    pub destination: Tally,
    /// How often the name came to mean another address, or our source address changed.
    pub address_changes: u64,
    /// Confirmed changes of the set of nodes and links.
    pub path_changes: u64,
    /// When the last of them was found, on the wall clock; `None` where there was none.
    pub last_path_change: Option<jiff::Timestamp>,
    /// Path changes with which autonomous systems, or links of two, came or went.
    pub as_path_changes: u64,
    /// Flows that took another known way.
    pub flow_moves: u64,
    /// Nodes and links found late.
    pub late_discoveries: u64,
    /// Changes of the shortest or longest path.
    pub length_changes: u64,
    /// Times that the destination, or a branch, went out of reach or came back.
    pub reachability_changes: u64,
    /// Round-trip times to the destination.
    pub rtt: Histogram,
}

/// Packets sent and answers received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Packets sent.
    pub sent: u64,
    /// Answers received.
    pub received: u64,
}

/// How often which round-trip time was seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Observations up to each of [`Histogram::BOUNDS`], but above the bound before it.
    buckets: [u64; Histogram::BOUNDS.len()],
    count: u64,
    sum: Duration,
}

impl Histogram {
    /// Upper bounds of the buckets in seconds: from a neighbour in the same rack to a satellite link.
    pub const BOUNDS: [f64; 14] =
        [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

    /// Adds an observation.
    pub fn observe(&mut self, value: Duration) {
        self.count += 1;
        self.sum += value;
        let place = Self::BOUNDS.iter().position(|&bound| value.as_secs_f64() <= bound);
        if let Some(bucket) = place.and_then(|place| self.buckets.get_mut(place)) {
            *bucket += 1;
        }
    }

    /// Each bound with the number of observations up to it.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        Self::BOUNDS.into_iter().zip(self.buckets).scan(0, |total, (bound, count)| {
            *total += count;
            Some((bound, *total))
        })
    }

    /// Number of observations.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Sum of all observations.
    #[must_use]
    pub const fn sum(&self) -> Duration {
        self.sum
    }
}

impl Snapshot {
    /// The last trace, where the last round made one.
    #[must_use]
    pub fn trace(&self) -> Option<&Arc<Trace>> {
        self.last_round.as_ref()?.outcome.as_ref().ok()
    }

    /// Whether the last round reached the destination.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.trace().is_some_and(|trace| trace.route.reached())
    }
}

/// The snapshots of all targets, and how the scheduler is doing. Cheap to clone: all clones are the same store.
#[derive(Clone, Debug, Default)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    targets: RwLock<BTreeMap<Arc<str>, Arc<Snapshot>>>,
    /// Whether every target had been tried at some time.
    was_complete: AtomicBool,
    rounds_in_progress: AtomicUsize,
    rounds_delayed: AtomicU64,
}

impl Store {
    /// Replaces a target's snapshot, or adds the target.
    pub fn publish(&self, snapshot: Snapshot) {
        let mut targets = self.inner.targets.write().unwrap_or_else(PoisonError::into_inner);
        targets.insert(Arc::clone(&snapshot.name), Arc::new(snapshot));
    }

    /// Takes a target out.
    pub fn remove(&self, name: &str) {
        self.inner.targets.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Gives a target other labels.
    pub fn relabel(&self, name: &str, labels: &BTreeMap<String, String>) {
        let mut targets = self.inner.targets.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(snapshot) = targets.get_mut(name) {
            Arc::make_mut(snapshot).labels.clone_from(labels);
        }
    }

    /// All snapshots by name.
    #[must_use]
    pub fn targets(&self) -> Vec<Arc<Snapshot>> {
        self.inner.targets.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// One target's snapshot.
    #[must_use]
    pub fn target(&self, name: &str) -> Option<Arc<Snapshot>> {
        self.inner.targets.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Whether every target was tried once. Stays so when targets come later: they are no reason to take the others for untried.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        if self.inner.was_complete.load(Ordering::Relaxed) {
            return true;
        }
        let targets = self.inner.targets.read().unwrap_or_else(PoisonError::into_inner);
        let is_complete = targets.values().all(|snapshot| snapshot.last_round.is_some());
        self.inner.was_complete.fetch_or(is_complete, Ordering::Relaxed);
        is_complete
    }

    /// Rounds in progress.
    #[must_use]
    pub fn rounds_in_progress(&self) -> usize {
        self.inner.rounds_in_progress.load(Ordering::Relaxed)
    }

    /// Rounds that began later than their interval wanted.
    #[must_use]
    pub fn rounds_delayed(&self) -> u64 {
        self.inner.rounds_delayed.load(Ordering::Relaxed)
    }

    /// Notes that a round began later than its interval wanted.
    pub fn note_delay(&self) {
        self.inner.rounds_delayed.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a round as in progress until the guard is dropped.
    #[must_use]
    pub fn begin_round(&self) -> RoundGuard {
        self.inner.rounds_in_progress.fetch_add(1, Ordering::Relaxed);
        RoundGuard(Arc::clone(&self.inner))
    }
}

/// A round in progress, as the store counts it.
#[derive(Debug)]
pub struct RoundGuard(Arc<Inner>);

impl Drop for RoundGuard {
    fn drop(&mut self) {
        self.0.rounds_in_progress.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;

    #[test]
    fn targets_come_and_go() {
        let store = sample::store([sample::traced("a", sample::diamond()), sample::fresh("b", "h")]);
        let names = || store.targets().iter().map(|target| target.name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(), ["a", "b"]);
        let seen = store.target("a").unwrap();
        let labels = BTreeMap::from([("site".to_owned(), "ams".to_owned())]);
        store.relabel("a", &labels);
        store.relabel("c", &labels);
        assert_eq!(store.target("a").unwrap().labels, labels);
        assert_eq!(store.target("a").unwrap().last_round, seen.last_round);
        assert_eq!(seen.labels, BTreeMap::new(), "what a view holds stays as it was");
        assert!(!store.is_complete());
        store.remove("b");
        assert_eq!(names(), ["a"]);
        assert!(store.is_complete());
        store.publish(sample::fresh("c", "h"));
        assert!(store.is_complete(), "a target that comes later is no reason to take it back");
    }

    #[test]
    fn buckets_are_cumulative_and_hold_their_bound() {
        let mut histogram = Histogram::default();
        for millis in [0.05, 0.1, 0.2, 30.0, 9000.0] {
            histogram.observe(Duration::from_secs_f64(millis / 1000.0));
        }
        let counts: BTreeMap<_, _> =
            histogram.cumulative().map(|(bound, count)| (bound.to_string(), count)).collect();
        for (bound, count) in [("0.0001", 2), ("0.00025", 3), ("0.025", 3), ("0.05", 4), ("2.5", 4)] {
            assert_eq!(counts[bound], count, "up to {bound}");
        }
        assert_eq!(histogram.count(), 5);
        assert_eq!(histogram.sum(), Duration::from_micros(9_030_350));
    }
}
