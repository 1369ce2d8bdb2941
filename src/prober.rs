//! `/probe`: one trace of one host now, for whoever asks.
//!
//! Knows what may be asked for, who waits for the same trace, and how many there are at a time. Knows nothing of HTTP, nor of how a
//! trace is made or shown.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    config::{Config, Host, Module, ModuleName, Target},
    flow::FlowSequence,
    monitor::Monitor,
    network::{
        Network, Running,
        clock::{self, Clock},
    },
    request::request,
    resolve::Resolver,
    store::Snapshot,
    time::Time,
    trace::{StopReason, Trace},
    whois::Whois,
};

/// The longest time that a probe may take.
pub const PATIENCE_MAX: Duration = Duration::from_secs(600);
/// Of those who wait for a trace, how many can be about to get what is known so far; further ones wait a moment more.
const LOOKS: usize = 16;

/// Why there is no probe. Each is one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There are none at all.
    #[error("/probe is off; `probe: {{ enabled: true, allow: [...] }}` in the configuration switches it on")]
    Disabled,
    /// The target is no host.
    #[error("target: {0}")]
    NoHost(String),
    /// There is no such module.
    #[error("module: {0}")]
    NoModule(String),
    /// Nobody may ask for this host.
    #[error("target: {0} may not be asked for; allowed is what probe.allow lists")]
    Forbidden(Host),
    /// The name means an address that nobody may ask for by that name.
    #[error(
        "target: {host} is {address}, which may not be asked for by a name; allowed is what a network of probe.allow lists"
    )]
    Smuggled {
        /// The name.
        host: Host,
        /// The address.
        address: IpAddr,
    },
    /// There are as many as there may be.
    #[error("{0} probes are in progress, and max_rounds_in_progress allows no more; ask again later")]
    Busy(usize),
    /// The exporter is about to end.
    #[error("stopping")]
    Stopped,
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq)]
pub struct Probed {
    /// The target as it was asked for, with the one round that was made of it.
    pub snapshot: Arc<Snapshot>,
    /// How it was traced.
    pub module: ModuleName,
}

/// Makes probes. All clones are the same one.
#[derive(Clone, Debug)]
pub struct Prober {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    network: Network,
    resolver: Resolver,
    config: watch::Receiver<Arc<Config>>,
    whois: watch::Receiver<Whois>,
    clock: Clock,
    underway: Mutex<Underway>,
}

#[derive(Debug, Default)]
struct Underway {
    /// All probes in progress, those too that are about to end since nobody waits any more.
    count: usize,
    next: u64,
    /// Those that others may join.
    probes: BTreeMap<Key, Entry>,
}

/// The target and the name of the module as they were asked for.
type Key = (String, ModuleName);

#[derive(Debug)]
struct Entry {
    id: u64,
    /// A module that a reload changed is another.
    module: Arc<Module>,
    looks: mpsc::WeakSender<Look>,
    outcome: watch::Receiver<Option<Outcome>>,
}

type Outcome = Result<Arc<Snapshot>, Refused>;
/// Wants to have what is known so far.
type Look = oneshot::Sender<Outcome>;

/// Somebody who waits for a probe. When the last one goes, the probe ends.
struct Waiter {
    looks: mpsc::Sender<Look>,
    outcome: watch::Receiver<Option<Outcome>>,
}

impl Prober {
    /// A prober that goes by the configuration and the databases of the moment.
    #[must_use]
    pub fn new(
        network: Network,
        config: watch::Receiver<Arc<Config>>,
        whois: watch::Receiver<Whois>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                network,
                resolver: Resolver::default(),
                config,
                whois,
                clock: Clock::start(),
                underway: Mutex::default(),
            }),
        }
    }

    /// Whether there are probes at all.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.inner.config.borrow().probe.enabled
    }

    /// Traces a host as a module says, or waits for a trace of the same that is in progress. When the patience is over, the result is
    /// what is known by then. Dropping the future ends the trace where nobody else waits for it.
    ///
    /// # Errors
    /// Where it may not or cannot be asked for. A host that has no address, or no way to it, is a result.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn probe(
        &self,
        target: &str,
        module: Option<&str>,
        patience: Duration,
    ) -> Result<Probed, Refused> {
        let config = Arc::clone(&self.inner.config.borrow());
        if !config.probe.enabled {
            return Err(Refused::Disabled);
        }
        let host: Host = target.parse().map_err(Refused::NoHost)?;
        let name = module.map_or_else(
            || Ok(ModuleName::default_module()),
            |name| name.parse().map_err(Refused::NoModule),
        )?;
        let module = config.modules.get(&name).ok_or_else(|| no_module(&config, &name))?;
        if !config.probe.admits_host(&host) {
            return Err(Refused::Forbidden(host));
        }
        let target = Arc::new(Target {
            name: target.parse().map_err(Refused::NoHost)?,
            host,
            module: Arc::clone(module),
            module_name: name,
            interval: config.global.interval,
            labels: BTreeMap::new(),
        });
        let most = usize::try_from(config.global.max_rounds_in_progress).unwrap_or(usize::MAX);
        let mut waiter = self.join(&target, most)?;
        let snapshot = waiter.wait(patience.min(PATIENCE_MAX)).await?;
        // What is allowed may be less than it was when others began to wait for this trace.
        if let Some(address) = snapshot.address {
            self.inner.admit(&target.host, address)?;
        }
        Ok(Probed { snapshot, module: target.module_name.clone() })
    }

    /// Begins to wait for a probe, which is begun where there is none like it.
    fn join(&self, target: &Arc<Target>, most: usize) -> Result<Waiter, Refused> {
        let key = (target.name.as_str().to_owned(), target.module_name.clone());
        let mut underway = self.inner.underway();
        if let Some(probe) = underway.probes.get(&key).filter(|probe| probe.module == target.module)
            && let Some(looks) = probe.looks.upgrade()
        {
            return Ok(Waiter { looks, outcome: probe.outcome.clone() });
        }
        if underway.count >= most {
            return Err(Refused::Busy(underway.count));
        }
        underway.count += 1;
        underway.next += 1;
        let id = underway.next;
        let (looks, asked) = mpsc::channel(LOOKS);
        let (found, outcome) = watch::channel(None);
        let probe = Entry {
            id,
            module: Arc::clone(&target.module),
            looks: looks.downgrade(),
            outcome: outcome.clone(),
        };
        underway.probes.insert(key.clone(), probe);
        drop(underway);
        let place = Place { inner: Arc::clone(&self.inner), key, id };
        tokio::spawn(make(place, Arc::clone(target), asked, found));
        Ok(Waiter { looks, outcome })
    }
}

impl Waiter {
    async fn wait(&mut self, patience: Duration) -> Outcome {
        let ended = async { self.outcome.wait_for(Option::is_some).await.map(|outcome| outcome.clone()) };
        match tokio::time::timeout(patience, ended).await {
            Ok(Ok(outcome)) => return outcome.unwrap_or(Err(Refused::Stopped)),
            // It came to grief, which the log has, or the runtime ends.
            Ok(Err(_)) => return Err(Refused::Stopped),
            Err(_) => {}
        }
        let (answer, told) = oneshot::channel();
        let so_far = match self.looks.send(answer).await {
            Ok(()) => told.await.ok(),
            Err(_) => None,
        };
        // It has ended just now.
        so_far.or_else(|| self.outcome.borrow().clone()).unwrap_or(Err(Refused::Stopped))
    }
}

/// The place of a probe among those in progress, until it is dropped.
struct Place {
    inner: Arc<Inner>,
    key: Key,
    id: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut underway = self.inner.underway();
        underway.count = underway.count.saturating_sub(1);
        // Another may have taken its name since the last one who waited has gone.
        if underway.probes.get(&self.key).is_some_and(|probe| probe.id == self.id) {
            underway.probes.remove(&self.key);
        }
    }
}

/// Makes a probe and tells those who wait for it.
async fn make(
    place: Place,
    target: Arc<Target>,
    mut looks: mpsc::Receiver<Look>,
    found: watch::Sender<Option<Outcome>>,
) {
    let round = Round { inner: &place.inner, target, started: place.inner.clock.now() };
    if let Some(outcome) = round.run(&mut looks).await {
        found.send_replace(Some(outcome));
    }
}

/// The one round of a probe.
struct Round<'a> {
    inner: &'a Inner,
    target: Arc<Target>,
    started: Time,
}

impl Round<'_> {
    /// `None` where nobody waits any more.
    async fn run(&self, looks: &mut mpsc::Receiver<Look>) -> Option<Outcome> {
        let Target { host, module, .. } = &*self.target;
        let mut resolving = pin!(self.inner.resolver.resolve(host, module.traced_family(), None));
        let resolved = loop {
            tokio::select! {
                resolved = &mut resolving => break resolved,
                look = looks.recv() => {
                    let so_far = self.found(None, Err(format!("cannot resolve {host}: no answer in time")));
                    // Whoever asked may be gone.
                    let _ = look?.send(so_far);
                }
            }
        };
        let address = match resolved {
            Ok(resolved) => resolved.address,
            Err(error) => return Some(self.found(None, Err(error.to_string()))),
        };
        if let Err(refused) = self.inner.admit(host, address) {
            return Some(Err(refused));
        }
        // Other flows than those of a target with the same name, and the same ones each time.
        let seed = FlowSequence::seed_of(&format!("/probe {}", self.target.name));
        let begun = request(self.inner.network.origins(), module, address, seed, Some(PATIENCE_MAX))
            .map_err(|error| error.to_string())
            .and_then(|request| self.inner.network.begin(request).map_err(|error| error.to_string()));
        let mut running = match begun {
            Ok(running) => running,
            Err(error) => return Some(self.found(Some(address), Err(error))),
        };
        loop {
            tokio::select! {
                trace = running.result() => {
                    let trace = trace.map_err(|error| error.to_string());
                    return Some(self.found(Some(address), trace));
                }
                look = looks.recv() => self.show(look?, &running, address).await,
            }
        }
    }

    /// Tells somebody what is known so far. Where it has just ended, the result will tell.
    async fn show(&self, look: Look, running: &Running, address: IpAddr) {
        if let Some(mut trace) = running.so_far().await {
            if trace.stop_reason == StopReason::TimeLimit {
                trace.detail = Some("no time left".to_owned());
            }
            // Whoever asked may be gone.
            let _ = look.send(self.found(Some(address), Ok(trace)));
        }
    }

    /// What the views show of it, as of a target in its first round.
    fn found(&self, address: Option<IpAddr>, outcome: Result<Trace, String>) -> Outcome {
        let now = self.inner.clock.now();
        let took = now.since(self.started);
        let began = clock::timestamp();
        let began = began.checked_sub(took).unwrap_or(began);
        let whois = self.inner.whois.borrow().clone();
        let mut monitor = Monitor::new(Arc::clone(&self.target), Duration::MAX);
        monitor.set_systems(whois.current_systems());
        if let Some(address) = address {
            monitor.resolved(address);
        }
        monitor.absorb(now, began, took, outcome);
        if let Some(names) = &whois.names {
            // Nobody waits for a name: those that are new are known to the next probe.
            let addresses = monitor.addresses();
            names.look_up(&addresses);
            monitor.set_names(names.known(&addresses).0);
        }
        let snapshot = monitor.snapshot();
        tracing::debug!(target = %self.target.name, module = %self.target.module_name, success = snapshot.is_up(), "probe");
        Ok(Arc::new(snapshot))
    }
}

impl Inner {
    fn admit(&self, host: &Host, address: IpAddr) -> Result<(), Refused> {
        match self.config.borrow().probe.admits_address(host, address) {
            true => Ok(()),
            false => Err(Refused::Smuggled { host: host.clone(), address }),
        }
    }

    fn underway(&self) -> MutexGuard<'_, Underway> {
        self.underway.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn no_module(config: &Config, name: &ModuleName) -> Refused {
    let known: Vec<_> = config.modules.keys().map(ModuleName::as_str).collect();
    Refused::NoModule(format!("there is no module `{name}`; allowed are {}", known.join(", ")))
}

#[cfg(test)]
mod tests;
