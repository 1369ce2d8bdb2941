//! When targets are traced: one task a target, round after round.
//!
//! First rounds start at once, as far as the bound on rounds at once lets them; later ones are spread over the interval, each
//! target at a place of its own. Knows when, not what: what a round finds is the monitor's business.

use std::{net::IpAddr, sync::Arc, time::Duration};

use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    asn::{DatabaseFile, Systems},
    config::{Config, Target},
    monitor::{Monitor, State},
    names::Names,
    network::{
        Network,
        clock::{self, Clock},
    },
    request::request,
    resolve::{ResolveError, Resolved, Resolver},
    storage::{Storage, StorageError},
    store::Store,
    time::Time,
    trace::{StopReason, Trace},
};

/// Share of the interval that a round may wait for its turn before it counts as delayed.
const DELAY_SHARE: u32 = 10;

/// A round is ended after an interval, but not before it had the time that slow hops take, nor much later.
const ROUND_TIME: (Duration, Duration) = (Duration::from_secs(300), Duration::from_secs(3600));
/// How often a target may say that it is in another kind of trouble.
const TROUBLE_PAUSE: Duration = Duration::from_secs(60);

/// States written at the same time. The threads that wait for the disk are the same that look up names and answer scrapes: a disk
/// that hangs must not take them all.
const WRITES_MAX: usize = 16;

/// How long names that come in are gathered before they are shown.
const NAMES_PAUSE: Duration = Duration::from_secs(1);

/// What tells whom addresses belong to.
#[derive(Clone, Debug, Default)]
pub struct Whois {
    /// Their names.
    pub names: Option<Names>,
    /// Their autonomous systems.
    pub systems: Option<DatabaseFile>,
}

/// What all targets share.
#[derive(Clone, Debug)]
pub struct Scheduler {
    network: Network,
    store: Store,
    storage: Option<Storage>,
    clock: Clock,
    turns: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    resolver: Resolver,
    whois: Whois,
}

impl Scheduler {
    /// A scheduler that makes at most as many rounds at once as the configuration allows. Without a storage nothing outlasts the
    /// process.
    #[must_use]
    pub fn new(network: Network, store: Store, storage: Option<Storage>, config: &Config) -> Self {
        let turns = usize::try_from(config.global.max_rounds_in_progress).unwrap_or(usize::MAX);
        let turns = Arc::new(Semaphore::new(turns.min(Semaphore::MAX_PERMITS)));
        Self {
            network,
            store,
            storage,
            clock: Clock::start(),
            turns,
            writes: Arc::new(Semaphore::new(WRITES_MAX)),
            resolver: Resolver::default(),
            whois: Whois::default(),
        }
    }

    /// Has the nodes of routes told by names and autonomous systems.
    #[must_use]
    pub fn with_whois(mut self, whois: Whois) -> Self {
        self.whois = whois;
        self
    }

    /// Starts to trace all targets of a configuration, each from where it was before. Dropping the set ends it.
    ///
    /// # Errors
    /// When what was kept of a target cannot be read.
    pub fn start(&self, config: &Config) -> Result<JoinSet<()>, StorageError> {
        let monitors = config.targets.iter().map(|target| {
            let mut monitor = Monitor::new(Arc::new(target.clone()), config.global.rediscover_interval);
            if let Some(state) = self.kept(target)? {
                monitor.restore(state);
            }
            Ok(monitor)
        });
        let monitors = monitors.collect::<Result<Vec<_>, StorageError>>()?;
        let mut tasks = JoinSet::new();
        if let Some(systems) = self.whois.systems.clone() {
            tasks.spawn(systems.follow());
        }
        for monitor in monitors {
            // A configured target is visible before its first round.
            self.store.publish(monitor.snapshot());
            tasks.spawn(self.clone().watch(monitor));
        }
        Ok(tasks)
    }

    fn kept(&self, target: &Target) -> Result<Option<State>, StorageError> {
        self.storage.as_ref().map_or(Ok(None), |storage| storage.load(target.name.as_str()))
    }

    /// Traces one target for as long as it lives.
    async fn watch(self, mut monitor: Monitor) {
        let interval = monitor.target().interval;
        let mut slots = Slots::new(self.clock.now(), interval, monitor.seed());
        let mut trouble = Trouble::new("target cannot be traced");
        let mut name_trouble = Trouble::new("the address known before is traced");
        let mut storage_trouble = Trouble::new("the state is not kept: a restart falls back to an older one");
        loop {
            let due = slots.due();
            self.wait(&mut monitor, due).await;
            // Before a turn is taken: a resolver that does not answer holds up nobody else.
            let asked = self.clock.now();
            let resolved = self.resolve(&monitor).await;
            let lookup = self.clock.now().since(asked);
            // The semaphore is never closed.
            let Ok(turn) = self.turns.acquire().await else {
                return;
            };
            let began = self.clock.now();
            if began.since(due) > interval / DELAY_SHARE && !slots.is_first() {
                self.store.note_delay();
            }
            let in_progress = self.store.begin_round();
            let outcome = match resolved {
                Ok(Resolved { address, trouble }) => {
                    let trouble = trouble.map(|error| error.to_string());
                    name_trouble.report(monitor.target(), began, trouble.as_ref());
                    self.round(&mut monitor, address).await
                }
                Err(error) => Err(error.to_string()),
            };
            let duration = lookup + self.clock.now().since(began);
            let ended = clock::timestamp();
            trouble.report(monitor.target(), self.clock.now(), failure(outcome.as_ref()));
            let systems = self.whois.systems.as_ref().map(|file| -> Arc<dyn Systems> { file.current() });
            monitor.set_systems(systems);
            monitor.absorb(self.clock.now(), ended.checked_sub(duration).unwrap_or(ended), duration, outcome);
            self.name(&mut monitor);
            // The disk is nothing that others have to wait for.
            drop((turn, in_progress));
            // Before anyone can see it: what a scrape has shown is never taken back.
            let kept = self.keep(&monitor).await.err();
            storage_trouble.report(monitor.target(), self.clock.now(), kept.as_ref());
            self.store.publish(monitor.snapshot());
            for _ in 0..slots.advance(self.clock.now()) {
                self.store.note_delay();
            }
        }
    }

    /// Waits until the next round is due. Names of nodes that come in meanwhile are shown at once.
    async fn wait(&self, monitor: &mut Monitor, due: Time) {
        let naming = async {
            if let Some(names) = &self.whois.names {
                let mut answers = names.answers();
                names.look_up(&monitor.addresses());
                loop {
                    // What is answered from here on is seen in the next turn.
                    answers.mark_unchanged();
                    let Naming { news, settled } = self.name(monitor);
                    if news {
                        self.store.publish(monitor.snapshot());
                    }
                    if settled || answers.changed().await.is_err() {
                        break;
                    }
                    tokio::time::sleep(NAMES_PAUSE).await;
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = tokio::time::sleep_until(self.clock.instant(due)) => {}
            () = naming => {}
        }
    }

    /// Gives the nodes of the last round the names that are known.
    fn name(&self, monitor: &mut Monitor) -> Naming {
        let Some(names) = &self.whois.names else { return Naming { news: false, settled: true } };
        let (known, settled) = names.known(&monitor.addresses());
        Naming { news: monitor.set_names(known), settled }
    }

    /// Writes down what is to outlast the process. The error is one line.
    async fn keep(&self, monitor: &Monitor) -> Result<(), String> {
        let Some(storage) = self.storage.clone() else { return Ok(()) };
        let _write = self.writes.acquire().await;
        let (target, state) = (Arc::clone(monitor.target()), monitor.state());
        let written = tokio::task::spawn_blocking(move || storage.save(target.name.as_str(), &state));
        written.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    async fn resolve(&self, monitor: &Monitor) -> Result<Resolved, ResolveError> {
        let target = monitor.target();
        self.resolver.resolve(&target.host, target.module.traced_family(), monitor.address()).await
    }

    async fn round(&self, monitor: &mut Monitor, address: IpAddr) -> Result<Trace, String> {
        let target = Arc::clone(monitor.target());
        monitor.resolved(address);
        let (least, most) = ROUND_TIME;
        let limit = target.interval.clamp(least, most);
        let mut request =
            request(self.network.origins(), &target.module, address, monitor.seed(), Some(limit))
                .map_err(|error| error.to_string())?;
        let ends = (request.template.destination, request.template.source);
        request.settings = monitor.prepare(request.settings, ends, self.clock.now());
        let trace = self.network.trace(request).await.map_err(|error| error.to_string())?;
        tracing::debug!(
            target = %target.name,
            address = %trace.destination,
            stop_reason = trace.stop_reason.name(),
            probes = trace.probes_sent,
            paths = %trace.route.paths.count,
            reached = trace.route.reached(),
            "round"
        );
        Ok(trace)
    }
}

/// Whether there are other names than before, and whether none is missing.
struct Naming {
    news: bool,
    settled: bool,
}

/// Why a target could not be traced.
fn failure<'a>(outcome: Result<&'a Trace, &'a String>) -> Option<&'a String> {
    match outcome {
        Ok(trace) if trace.stop_reason == StopReason::SendFailed => trace.detail.as_ref(),
        Ok(_) => None,
        Err(error) => Some(error),
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
    /// The first round is due now, the others at a place in the interval that belongs to the seed.
    fn new(now: Time, interval: Duration, seed: u64) -> Self {
        let nanos = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).max(1);
        Self { interval, due: now, first: true, place: Duration::from_nanos(seed % nanos) }
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

/// Says once that a target is in trouble, and once that it no longer is. Where the trouble changes it says so, but not every
/// round: resolvers that fail in turn give other reasons in turn.
#[derive(Debug)]
struct Trouble {
    what: &'static str,
    last: Option<String>,
    told: Time,
    rounds: u64,
}

impl Trouble {
    const fn new(what: &'static str) -> Self {
        Self { what, last: None, told: Time::ZERO, rounds: 0 }
    }

    /// Takes in a round. Returns whether it was told.
    fn report(&mut self, target: &Target, now: Time, error: Option<&String>) -> bool {
        let (what, name) = (self.what, &target.name);
        let Some(error) = error else {
            self.rounds = 0;
            let ended = self.last.take();
            if let Some(error) = &ended {
                tracing::info!(target = %name, %error, "no longer: {what}");
            }
            return ended.is_some();
        };
        self.rounds += 1;
        let is_known = self.last.as_ref() == Some(error);
        if is_known || self.last.is_some() && now.since(self.told) < TROUBLE_PAUSE {
            return false;
        }
        tracing::warn!(target = %name, %error, rounds = self.rounds, "{what}");
        self.last = Some(error.clone());
        self.told = now;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::FlowSequence;

    const INTERVAL: Duration = Duration::from_secs(60);

    #[test]
    fn rounds_are_one_interval_apart_and_none_is_made_up_for() {
        let start = Time::ZERO + Duration::from_secs(100);
        let mut slots = Slots::new(start, INTERVAL, FlowSequence::seed_of("a"));
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
            let mut slots =
                Slots::new(Time::ZERO, INTERVAL, FlowSequence::seed_of(&format!("target-{number}")));
            slots.advance(Time::ZERO);
            let offset = slots.due().since(Time::ZERO + INTERVAL / 2);
            quarters[usize::try_from(offset.as_secs() / 15).unwrap()] += 1;
        }
        assert!(quarters.iter().all(|&count| count > 200), "{quarters:?}");
    }

    #[test]
    fn trouble_that_changes_its_words_is_not_told_every_round() {
        let config = Config::parse("test", "targets: [{ name: a, host: 192.0.2.1 }]").unwrap();
        let target = &config.targets[0];
        let mut trouble = Trouble::new("test");
        let mut told = Vec::new();
        for (second, error) in
            [(0, "x"), (1, "y"), (2, "x"), (3, "y"), (61, "x"), (62, "y"), (63, "y"), (122, "y"), (123, "y")]
        {
            let now = Time::ZERO + Duration::from_secs(second);
            if trouble.report(target, now, Some(&error.to_owned())) {
                told.push(second);
            }
        }
        assert_eq!(told, [0, 62], "the first, and another one after the pause");
        assert!(trouble.report(target, Time::ZERO + Duration::from_secs(124), None), "the end");
        assert!(!trouble.report(target, Time::ZERO + Duration::from_secs(125), None));
        let again = Time::ZERO + Duration::from_secs(126);
        assert!(trouble.report(target, again, Some(&"x".to_owned())), "new trouble is told at once");
    }
}
