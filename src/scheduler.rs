//! When targets are traced: one task a target, round after round.
//!
//! First rounds start at once, as far as the bound on rounds at once lets them; later ones are spread over the interval, each
//! target at a place of its own. Knows when, not what: what a round finds is the monitor's business.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    config::{Config, Target},
    monitor::Monitor,
    network::{
        Network,
        clock::{self, Clock},
    },
    request::request,
    resolve::resolve,
    store::Store,
    time::Time,
    trace::{StopReason, Trace},
};

/// Share of the interval that a round may wait for its turn before it counts as delayed.
const DELAY_SHARE: u32 = 10;

/// What all targets share.
#[derive(Clone, Debug)]
pub struct Scheduler {
    network: Network,
    store: Store,
    clock: Clock,
    turns: Arc<Semaphore>,
}

impl Scheduler {
    /// A scheduler that makes at most as many rounds at once as the configuration allows.
    #[must_use]
    pub fn new(network: Network, store: Store, config: &Config) -> Self {
        let turns = usize::try_from(config.global.max_rounds_in_progress).unwrap_or(usize::MAX);
        let turns = Arc::new(Semaphore::new(turns.min(Semaphore::MAX_PERMITS)));
        Self { network, store, clock: Clock::start(), turns }
    }

    /// Starts to trace all targets of a configuration. Dropping the set ends it.
    #[must_use]
    pub fn start(&self, config: &Config) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for target in &config.targets {
            let monitor = Monitor::new(Arc::new(target.clone()));
            // A configured target is visible before its first round.
            self.store.publish(monitor.snapshot());
            tasks.spawn(self.clone().watch(monitor));
        }
        tasks
    }

    /// Traces one target for as long as it lives.
    async fn watch(self, mut monitor: Monitor) {
        let interval = monitor.target().interval;
        let mut slots = Slots::new(self.clock.now(), interval, monitor.target().name.as_str());
        let mut trouble = Trouble::default();
        loop {
            let due = slots.due();
            tokio::time::sleep_until(self.clock.instant(due)).await;
            // The semaphore is never closed.
            let Ok(_turn) = self.turns.acquire().await else {
                return;
            };
            if self.clock.now().since(due) > interval / DELAY_SHARE && !slots.is_first() {
                self.store.note_delay();
            }
            let _in_progress = self.store.begin_round();
            let started = clock::timestamp();
            let began = self.clock.now();
            let outcome = self.round(&mut monitor).await;
            let duration = self.clock.now().since(began);
            trouble.report(monitor.target(), outcome.as_ref());
            monitor.absorb(started, duration, outcome);
            self.store.publish(monitor.snapshot());
            for _ in 0..slots.advance(self.clock.now()) {
                self.store.note_delay();
            }
        }
    }

    async fn round(&self, monitor: &mut Monitor) -> Result<Trace, String> {
        let target = Arc::clone(monitor.target());
        let address = resolve(&target.host, target.module.family, monitor.address())
            .await
            .map_err(|error| error.to_string())?;
        monitor.resolved(address);
        let request =
            request(&target.module, address, monitor.seed(), None).map_err(|error| error.to_string())?;
        self.network.trace(request).await.map_err(|error| error.to_string())
    }
}

/// When the rounds of a target are due.
#[derive(Debug)]
struct Slots {
    interval: Duration,
    due: Time,
    first: bool,
    /// Where in the interval this target has its place.
    place: Duration,
}

impl Slots {
    /// The first round is due now, the others at a place in the interval that belongs to the name.
    fn new(now: Time, interval: Duration, name: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).max(1);
        Self { interval, due: now, first: true, place: Duration::from_nanos(hasher.finish() % nanos) }
    }

    const fn due(&self) -> Time {
        self.due
    }

    const fn is_first(&self) -> bool {
        self.first
    }

    /// Moves on to the next round that can still be made in time. Returns how many were left out.
    fn advance(&mut self, now: Time) -> u32 {
        if std::mem::take(&mut self.first) {
            // Half an interval to a whole and a half behind the first: never at once again, never long without.
            self.due = self.due + self.interval / 2 + self.place;
        } else {
            self.due = self.due + self.interval;
        }
        let mut left_out = 0;
        while self.due < now {
            self.due = self.due + self.interval;
            left_out += 1;
        }
        left_out
    }
}

/// Says once that a target is in trouble, and once that it no longer is.
#[derive(Debug, Default)]
struct Trouble {
    last: Option<String>,
    rounds: u64,
}

impl Trouble {
    fn report(&mut self, target: &Target, outcome: Result<&Trace, &String>) {
        if let Ok(trace) = outcome {
            tracing::debug!(
                target = %target.name,
                address = %trace.destination,
                stop_reason = trace.stop_reason.name(),
                probes = trace.probes_sent,
                paths = %trace.route.paths.count,
                reached = trace.route.reached(),
                "round"
            );
        }
        let error = match outcome {
            Ok(trace) if trace.stop_reason == StopReason::SendFailed => trace.detail.as_ref(),
            Ok(_) => None,
            Err(error) => Some(error),
        };
        match error {
            Some(error) => {
                self.rounds += 1;
                if self.last.as_ref() != Some(error) {
                    tracing::warn!(target = %target.name, %error, "target cannot be traced");
                    self.last = Some(error.clone());
                }
            }
            None => {
                if let Some(error) = self.last.take() {
                    tracing::info!(target = %target.name, rounds = self.rounds, %error, "target can be traced again");
                }
                self.rounds = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(60);

    #[test]
    fn rounds_are_one_interval_apart_and_none_is_made_up_for() {
        let start = Time::ZERO + Duration::from_secs(100);
        let mut slots = Slots::new(start, INTERVAL, "a");
        assert_eq!(slots.due(), start);
        assert_eq!(slots.advance(start + Duration::from_secs(1)), 0);
        let second = slots.due();
        assert!(second >= start + INTERVAL / 2 && second <= start + INTERVAL * 3 / 2, "{second}");
        assert_eq!(slots.advance(second + Duration::from_secs(1)), 0);
        assert_eq!(slots.due(), second + INTERVAL);
        // A round of two and a half intervals leaves two out and keeps its place.
        assert_eq!(slots.advance(slots.due() + INTERVAL * 5 / 2), 2);
        assert_eq!(slots.due(), second + INTERVAL * 4);
    }

    #[test]
    fn targets_are_spread_over_the_interval() {
        let mut quarters = [0; 4];
        for number in 0..1000 {
            let mut slots = Slots::new(Time::ZERO, INTERVAL, &format!("target-{number}"));
            slots.advance(Time::ZERO);
            let offset = slots.due().since(Time::ZERO + INTERVAL / 2);
            quarters[usize::try_from(offset.as_secs() / 15).unwrap()] += 1;
        }
        assert!(quarters.iter().all(|&count| count > 200), "{quarters:?}");
    }
}
