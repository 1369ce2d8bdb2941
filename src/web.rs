//! The HTTP server: pages, metrics and the API, read from the latest snapshots.
//!
//! Knows HTTP and which path shows what. Knows nothing of raw sockets or rounds: what it shows comes out of the store and out
//! of functions that it is given.

mod activity;
mod api;
mod auth;
mod connection;
mod encoding;
mod external;
mod gate;
mod graph;
mod limit;
mod listen;
mod message;
mod pages;
mod probe;
mod query;
mod respond;
mod security;
mod server;
mod tls;

#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{Semaphore, mpsc, oneshot};

use self::auth::Authenticator;
pub use self::{
    external::{ExternalUrl, NoExternalUrl},
    listen::{BindError, bind, check_address},
    security::Security,
    server::serve,
};
use crate::{
    counters::Counters,
    metrics::{self, Limits, Process, Reload, Scrape},
    prober::Prober,
    store::Store,
};

/// Tells what the driver of the raw sockets has counted so far.
pub type EngineCounters = Arc<dyn Fn() -> Counters + Send + Sync>;

/// Asks for the configuration to be read again. The answer comes when that is done, with what is wrong with it in one line.
pub type ReloadRequest = oneshot::Sender<Result<(), String>>;

/// What the server is bound to, so that no client can use it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Most connections that are served at a time; further ones wait, all but one of them in the kernel.
    pub connections: usize,
    /// Most responses computed at a time: each is as large as the store.
    pub renderings: usize,
    /// Most requests at a time that wait for probes; the other connections are for those who do not.
    pub probes: usize,
    /// How long a client may take to send a request's header, and how long a connection may be idle.
    pub header_timeout: Duration,
    /// How long that may take while further connections wait.
    pub crowded_timeout: Duration,
    /// How long it may take to make a response and hand it to the client.
    pub response_timeout: Duration,
    /// How long requests in progress may take once the server is to stop.
    pub grace: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 128,
            renderings: 4,
            probes: 96,
            header_timeout: Duration::from_secs(30),
            crowded_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(60),
            grace: Duration::from_secs(5),
        }
    }
}

/// What the server shows.
pub struct State {
    store: Store,
    engine: EngineCounters,
    telemetry_path: String,
    external_url: ExternalUrl,
    security: Arc<Security>,
    authenticator: Authenticator,
    bounds: Bounds,
    renderings: Arc<Semaphore>,
    probes: Semaphore,
    prober: Option<Prober>,
    process: Process,
    configured: Mutex<Configured>,
    reloads: Option<mpsc::Sender<ReloadRequest>>,
}

/// What a reload of the configuration changes.
#[derive(Clone, Copy, Debug, Default)]
struct Configured {
    limits: Limits,
    reload: Option<Reload>,
}

impl State {
    /// The state of a server with metrics at `telemetry_path`, which begins with a slash, and a secret of this process. Limits are the usual ones, and the
    /// configuration's metrics absent, until [`State::set_limits`] and [`State::set_reload`] are called.
    #[must_use]
    pub fn new(
        store: Store,
        engine: EngineCounters,
        telemetry_path: impl Into<String>,
        secret: [u8; 16],
        bounds: Bounds,
    ) -> Self {
        Self {
            store,
            engine,
            telemetry_path: telemetry_path.into(),
            external_url: ExternalUrl::default(),
            security: Arc::default(),
            authenticator: Authenticator::new(secret),
            bounds,
            renderings: Arc::new(Semaphore::new(bounds.renderings)),
            probes: Semaphore::new(bounds.probes),
            prober: None,
            process: Process::this(),
            configured: Mutex::default(),
            reloads: None,
        }
    }

    /// The same state for pages that are found under a URL.
    #[must_use]
    pub fn with_external_url(self, external_url: ExternalUrl) -> Self {
        Self { external_url, ..self }
    }

    /// The same state for connections that are secured.
    #[must_use]
    pub fn with_security(self, security: Security) -> Self {
        Self { security: Arc::new(security), ..self }
    }

    /// Has `POST /-/reload` ask there, which is not found otherwise.
    #[must_use]
    pub fn with_reload(mut self, requests: mpsc::Sender<ReloadRequest>) -> Self {
        self.reloads = Some(requests);
        self
    }

    /// Has `/probe` ask there, which is not found otherwise.
    #[must_use]
    pub fn with_prober(mut self, prober: Prober) -> Self {
        self.prober = Some(prober);
        self
    }

    /// Sets how many series a target may have.
    pub fn set_limits(&self, limits: Limits) {
        self.configured.lock().unwrap_or_else(PoisonError::into_inner).limits = limits;
    }

    /// Notes how reading the configuration went.
    pub fn set_reload(&self, reload: Reload) {
        self.configured.lock().unwrap_or_else(PoisonError::into_inner).reload = Some(reload);
    }

    fn configured(&self) -> Configured {
        *self.configured.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn metrics(&self) -> String {
        let Configured { limits, reload } = self.configured();
        metrics::render(&Scrape {
            store: &self.store,
            engine: &(self.engine)(),
            process: Some(&self.process),
            limits,
            reload,
        })
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("telemetry_path", &self.telemetry_path)
            .field("bounds", &self.bounds)
            .finish_non_exhaustive()
    }
}
