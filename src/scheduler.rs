//! When targets are traced: one task a target, round after round.
//!
//! First rounds start at once, as far as the bound on rounds at once lets them; later ones are spread over the interval, each
//! target at a place of its own. Which targets there are is the fleet's business, what a round finds the monitor's.

mod fleet;
mod slots;
mod turns;

use std::{collections::BTreeMap, future::pending, net::IpAddr, sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

pub use self::fleet::{Fleet, Plan};
use self::{fleet::Order, slots::Slots, turns::Turns};
use crate::{
    config::Target,
    monitor::{Monitor, State},
    names::Names,
    network::{
        Network,
        clock::{self, Clock},
    },
    request::request,
    resolve::{ResolveError, Resolved, Resolver},
    storage::{Storage, StorageError},
    store::{RoundGuard, Store},
    time::Time,
    trace::{StopReason, Trace},
    whois::Whois,
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

/// What all targets share.
#[derive(Clone, Debug)]
pub struct Scheduler {
    network: Network,
    store: Store,
    storage: Option<Storage>,
    clock: Clock,
    turns: Turns,
    writes: Arc<Semaphore>,
    resolver: Resolver,
    whois: watch::Receiver<Whois>,
}

impl Scheduler {
    /// A scheduler that makes at most so many rounds at once. Without a storage nothing outlasts the process.
    #[must_use]
    pub fn new(network: Network, store: Store, storage: Option<Storage>, rounds_max: u32) -> Self {
        Self {
            network,
            store,
            storage,
            clock: Clock::start(),
            turns: Turns::new(rounds_max),
            writes: Arc::new(Semaphore::new(WRITES_MAX)),
            resolver: Resolver::default(),
            whois: watch::channel(Whois::default()).1,
        }
    }

    /// Has the nodes of routes told by names and autonomous systems, as whoever is asked at the moment knows them.
    #[must_use]
    pub fn with_whois(mut self, whois: watch::Receiver<Whois>) -> Self {
        self.whois = whois;
        self
    }

    fn kept(&self, target: &Target) -> Result<Option<State>, StorageError> {
        self.storage.as_ref().map_or(Ok(None), |storage| storage.load(target.name.as_str()))
    }

    /// Traces one target until it is ordered to stop.
    async fn watch(self, mut monitor: Monitor, mut orders: watch::Receiver<Order>) {
        let mut slots = Slots::new(self.clock.now(), monitor.target().interval, monitor.seed());
        let mut trouble = Trouble::new("target cannot be traced");
        let mut whois = self.whois.clone();
        let mut name_trouble = Trouble::new("the address known before is traced");
        let mut storage_trouble = Trouble::new("the state is not kept: a restart falls back to an older one");
        loop {
            if !self.obey(&mut monitor, &mut slots, &mut orders) {
                return;
            }
            // What arrives is seen here, and obeyed above.
            let mut later = orders.clone();
            tokio::select! {
                biased;
                _ = later.changed() => continue,
                () = self.wait(&mut monitor, &orders, &mut whois, slots.due()) => {}
            }
            let asked = Arc::clone(monitor.target());
            let Attempt { outcome, duration, turn, in_progress } = tokio::select! {
                biased;
                () = fleet::void(&mut later, &asked) => continue,
                attempt = self.attempt(&mut monitor, &slots, &mut name_trouble) => attempt,
            };
            let ended = clock::timestamp();
            trouble.report(monitor.target(), self.clock.now(), failure(outcome.as_ref()));
            let knowing = whois.borrow_and_update().clone();
            monitor.set_systems(knowing.current_systems());
            monitor.absorb(self.clock.now(), ended.checked_sub(duration).unwrap_or(ended), duration, outcome);
            if let Some(names) = &knowing.names {
                name(&mut monitor, names);
            }
            // The disk is nothing that others have to wait for.
            drop((turn, in_progress));
            // Before anyone can see it: what a scrape has shown is never taken back.
            let kept = self.keep(&monitor).await.err();
            storage_trouble.report(monitor.target(), self.clock.now(), kept.as_ref());
            self.show(&monitor, &orders);
            for _ in 0..slots.advance(self.clock.now()) {
                self.store.note_delay();
            }
        }
    }

    /// Waits until the next round is due. Names of nodes that come in meanwhile are shown at once, and so is what others say when they
    /// are asked in place of those before.
    async fn wait(
        &self,
        monitor: &mut Monitor,
        orders: &watch::Receiver<Order>,
        whois: &mut watch::Receiver<Whois>,
        due: Time,
    ) {
        let telling = async {
            loop {
                let names = whois.borrow().names.clone();
                tokio::select! {
                    Ok(()) = whois.changed() => {
                        monitor.set_systems(whois.borrow_and_update().current_systems());
                        if monitor.retell_systems() {
                            self.show(monitor, orders);
                        }
                    }
                    () = self.tell_names(monitor, orders, names.as_ref()) => {}
                }
            }
        };
        tokio::select! {
            () = tokio::time::sleep_until(self.clock.instant(due)) => {}
            () = telling => {}
        }
    }

    /// Shows the names of the last round's nodes as they come in. Does not end.
    async fn tell_names(
        &self,
        monitor: &mut Monitor,
        orders: &watch::Receiver<Order>,
        names: Option<&Names>,
    ) {
        let Some(names) = names else {
            // Those that are shown were told by somebody who is not asked any more.
            if monitor.set_names(BTreeMap::new()) {
                self.show(monitor, orders);
            }
            return pending().await;
        };
        let mut answers = names.answers();
        names.look_up(&monitor.addresses());
        loop {
            // What is answered from here on is seen in the next turn.
            answers.mark_unchanged();
            let Naming { news, settled } = name(monitor, names);
            if news {
                self.show(monitor, orders);
            }
            if settled || answers.changed().await.is_err() {
                return pending().await;
            }
            tokio::time::sleep(NAMES_PAUSE).await;
        }
    }

    /// Does what was ordered since the last time. Returns whether the target is to be traced any longer.
    fn obey(&self, monitor: &mut Monitor, slots: &mut Slots, orders: &mut watch::Receiver<Order>) -> bool {
        match orders.has_changed() {
            Ok(false) => return true,
            Ok(true) => {}
            Err(_) => return false,
        }
        let order = orders.borrow_and_update().clone();
        let Order::Trace { target, rediscover_interval } = order else { return false };
        let interval = target.interval;
        if !monitor.follow(target, rediscover_interval) {
            *slots = Slots::new(self.clock.now(), interval, monitor.seed());
        } else if slots.interval() != interval {
            slots.change(self.clock.now(), interval);
        }
        self.show(monitor, orders);
        true
    }

    /// Shows what is known now, unless another order has come meanwhile: a target that was taken out must not come back.
    fn show(&self, monitor: &Monitor, orders: &watch::Receiver<Order>) {
        // Who gives an order waits as long as this one is held.
        let order = orders.borrow();
        if matches!(&*order, Order::Trace { target, .. } if Arc::ptr_eq(target, monitor.target())) {
            self.store.publish(monitor.snapshot());
        }
    }

    /// Makes a round that is due: looks up the address, waits for a turn, traces.
    async fn attempt(&self, monitor: &mut Monitor, slots: &Slots, name_trouble: &mut Trouble) -> Attempt {
        // Before a turn is taken: a resolver that does not answer holds up nobody else.
        let asked = self.clock.now();
        let resolved = self.resolve(monitor).await;
        let lookup = self.clock.now().since(asked);
        let turn = self.turns.take().await;
        let began = self.clock.now();
        if began.since(slots.due()) > slots.interval() / DELAY_SHARE && !slots.is_first() {
            self.store.note_delay();
        }
        let in_progress = self.store.begin_round();
        let outcome = match resolved {
            Ok(Resolved { address, trouble }) => {
                let trouble = trouble.map(|error| error.to_string());
                name_trouble.report(monitor.target(), began, trouble.as_ref());
                self.round(monitor, address).await
            }
            Err(error) => Err(error.to_string()),
        };
        Attempt { outcome, duration: lookup + self.clock.now().since(began), turn, in_progress }
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

/// Gives the nodes of the last round the names that are known.
fn name(monitor: &mut Monitor, names: &Names) -> Naming {
    let (known, settled) = names.known(&monitor.addresses());
    Naming { news: monitor.set_names(known), settled }
}

/// Whether there are other names than before, and whether none is missing.
struct Naming {
    news: bool,
    settled: bool,
}

/// A round that was made, and what it held for as long as it took.
struct Attempt {
    outcome: Result<Trace, String>,
    duration: Duration,
    turn: Option<OwnedSemaphorePermit>,
    in_progress: RoundGuard,
}

/// Why a target could not be traced.
fn failure<'a>(outcome: Result<&'a Trace, &'a String>) -> Option<&'a String> {
    match outcome {
        Ok(trace) if trace.stop_reason == StopReason::SendFailed => trace.detail.as_ref(),
        Ok(_) => None,
        Err(error) => Some(error),
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
            let rounds = std::mem::take(&mut self.rounds);
            let ended = self.last.take();
            if let Some(error) = &ended {
                tracing::info!(target = %name, %error, rounds, "no longer: {what}");
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
    use crate::config::Config;

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
