//! The web configuration as it is now: read again when it or a file that it names has changed.
//!
//! What is wrong with a new one is told once, and the one before stays: a slip while a certificate is replaced must not end
//! the monitoring.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use hyper::header::{HeaderName, HeaderValue};
use rustls::ServerConfig;
use tokio::task::spawn_blocking;

use super::{auth::Users, limit::Limiter, tls};
use crate::{
    config::{ConfigError, Pem, WebConfig},
    stamp::Stamp,
};

/// How connections are encrypted, who may ask and how often, as of a web configuration.
#[derive(Debug, Default)]
pub struct Security {
    file: Option<PathBuf>,
    current: Mutex<Current>,
}

#[derive(Debug, Default)]
struct Current {
    policy: Arc<Policy>,
    files: Files,
}

/// The files that a policy was read from, as they were then; `None` where there was none.
type Files = Vec<(PathBuf, Option<Stamp>)>;

/// What one reading says.
#[derive(Debug, Default)]
pub(super) struct Policy {
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// Headers of every response; `None` for one that is not sent.
    pub(super) headers: Vec<(HeaderName, Option<HeaderValue>)>,
    pub(super) users: Users,
    pub(super) limiter: Option<Limiter>,
}

impl Security {
    /// Reads a web configuration and the files that it names; without one, everyone may ask in plain HTTP.
    ///
    /// # Errors
    ///
    /// As [`WebConfig::load`], and [`ConfigError::Invalid`] where a certificate or a key cannot be used.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(file) = file else {
            return Ok(Self::default());
        };
        let (files, policy) = read(file);
        let current = Current { policy: Arc::new(policy?), files };
        Ok(Self { file: Some(file.to_owned()), current: Mutex::new(current) })
    }

    /// Whether connections are encrypted.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).policy.tls.is_some()
    }

    /// Those of its files that this process cannot read, each with the reason: changes of them would not be taken over.
    #[must_use]
    pub fn unreadable(&self) -> Vec<(PathBuf, io::Error)> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let files = current.files.iter().map(|(file, _)| file);
        files.filter_map(|file| Some((file.clone(), File::open(file).err()?))).collect()
    }

    /// What holds now.
    pub(super) async fn now(self: &Arc<Self>) -> Arc<Policy> {
        if self.file.is_some() {
            let this = Arc::clone(self);
            // It may be on a disk that takes its time. A panic in there leaves what held before.
            let _ = spawn_blocking(move || this.follow()).await;
        }
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner).policy)
    }

    /// Reads the files again where they have changed.
    fn follow(&self) {
        let Some(file) = &self.file else {
            return;
        };
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.files.iter().all(|(file, seen)| Stamp::of(file).ok() == *seen) {
            return;
        }
        let (files, policy) = read(file);
        current.files = files;
        let kept = "the new web configuration is not used, the one before stays";
        match policy {
            Ok(policy) if policy.tls.is_some() != current.policy.tls.is_some() => {
                let error = "TLS cannot be switched on or off without a restart";
                tracing::error!(file = %file.display(), error, "{kept}");
            }
            Ok(policy) => {
                tracing::info!(file = %file.display(), "the web configuration was read again");
                current.policy = Arc::new(policy);
            }
            Err(error) => tracing::error!(%error, "{kept}"),
        }
    }
}

/// What a web configuration says, and the files that it took for that.
fn read(file: &Path) -> (Files, Result<Policy, ConfigError>) {
    // Stamps come first: what changes while it is read is read again.
    let mut files = vec![(file.to_owned(), Stamp::of(file).ok())];
    let policy = WebConfig::load(file).and_then(|config| {
        let pems = config
            .tls
            .iter()
            .flat_map(|tls| [Some(&tls.certificate), Some(&tls.key), tls.client_ca.as_ref()]);
        let named = pems.flatten().filter_map(Pem::file);
        files.extend(named.map(|file| (file.to_owned(), Stamp::of(file).ok())));
        Policy::of(&config)
    });
    (files, policy)
}

impl Policy {
    fn of(config: &WebConfig) -> Result<Self, ConfigError> {
        let headers = config.headers.iter().filter_map(|(name, value)| {
            let set = if value.is_empty() { None } else { Some(HeaderValue::from_str(value).ok()?) };
            Some((HeaderName::from_static(name), set))
        });
        Ok(Self {
            tls: config.tls.as_ref().map(|settings| tls::server(config, settings)).transpose()?,
            headers: headers.collect(),
            users: config.users.clone(),
            limiter: config.rate_limit.map(Limiter::new),
        })
    }
}
