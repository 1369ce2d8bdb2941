//! What the configuration says, applied while the exporter runs: at the start, on SIGHUP, on `POST /-/reload`, and when files of
//! targets change.
//!
//! One task does all of it, one after the other. All that can fail comes first: what cannot be applied as a whole is not applied.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::{
    signal::unix::Signal,
    sync::{mpsc, watch},
    task::{JoinError, block_in_place},
    time::{MissedTickBehavior, interval},
};

use super::systemd;
use crate::{
    config::{Config, ConfigError},
    metrics::{Limits, Reload},
    network::{ConfigureError, Network, clock},
    request::wanted_by,
    scheduler::Fleet,
    storage::StorageError,
    target_files::{PAUSE, TargetFiles},
    web,
    whois::Whois,
};

/// Why another configuration is not in force. Each is one line.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReloadError {
    /// The file is wrong, or what it names cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file of targets contradicts it.
    #[error(transparent)]
    TargetFile(#[from] Arc<ConfigError>),
    /// What was kept of a target that comes cannot be read.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The sockets cannot be set up for it.
    #[error(transparent)]
    Network(#[from] ConfigureError),
}

/// Holds what runs against what the configuration says.
pub(super) struct Reloader {
    /// `None` where the configuration is built in: then there is nothing to reload.
    pub(super) config_file: Option<PathBuf>,
    /// The configuration in force.
    pub(super) config: watch::Sender<Arc<Config>>,
    /// Who is asked whom addresses belong to.
    pub(super) whois: watch::Sender<Whois>,
    pub(super) files: TargetFiles,
    /// What the sockets let through.
    pub(super) echo_id: u16,
    pub(super) network: Network,
    pub(super) fleet: Fleet,
    pub(super) web: Arc<web::State>,
    pub(super) reload: Reload,
}

impl Reloader {
    /// Begins to trace what the configuration says; returns how many targets. Blocks while files are read.
    pub(super) fn start(&mut self, whois: Whois) -> Result<usize, StorageError> {
        let config = Arc::clone(&self.config.borrow());
        warn_of(&config, &self.files);
        self.files.tell(&TargetFiles::none(self.config_file.as_deref().unwrap_or(Path::new(""))));
        let plan = self.fleet.plan(&config.global, self.files.targets(&config))?;
        self.ask(whois);
        self.fleet.apply(plan);
        self.show(&config);
        Ok(self.fleet.targets())
    }

    /// Follows the configuration until a task of a target breaks, which it tells.
    pub(super) async fn run(
        mut self,
        mut requests: mpsc::Receiver<web::ReloadRequest>,
        mut hangup: Signal,
    ) -> JoinError {
        let mut looks = interval(PAUSE);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(answer) = requests.recv() => {
                    let outcome = self.reload().await.map_err(|error| error.to_string());
                    // Whoever asked may be gone.
                    let _ = answer.send(outcome);
                }
                // What went wrong is in the log.
                Some(()) = hangup.recv() => drop(self.reload().await),
                _ = looks.tick() => self.look(),
                broken = self.fleet.broken() => return broken,
            }
        }
    }

    /// Rereads the configuration and all files of targets.
    async fn reload(&mut self) -> Result<(), ReloadError> {
        let Some(file) = self.config_file.clone() else { return Ok(()) };
        systemd::reloading();
        let outcome = self.replace(&file).await;
        self.reload.successful = outcome.is_ok();
        let targets = self.fleet.targets();
        match &outcome {
            Ok(()) => {
                self.reload.last_success = clock::timestamp();
                let target_files_failing = self.files.problems().count();
                tracing::info!(targets, target_files_failing, "the configuration was reloaded");
            }
            Err(error) => {
                tracing::error!(%error, "the configuration was not reloaded: the one before stays in force");
            }
        }
        let config = Arc::clone(&self.config.borrow());
        self.show(&config);
        systemd::ready(targets);
        outcome
    }

    /// Puts what the files say now in force.
    async fn replace(&mut self, file: &Path) -> Result<(), ReloadError> {
        let (config, files, whois, plan) = block_in_place(|| {
            let config = Config::load(file)?;
            let files = self.files.reread(&config)?;
            let whois = Whois::open(file, &config.global, &self.whois.borrow())?;
            let plan = self.fleet.plan(&config.global, files.targets(&config))?;
            Ok::<_, ReloadError>((config, files, whois, plan))
        })?;
        self.network.configure(config.global.max_pps, wanted_by(&config, self.echo_id)).await?;
        self.fleet.apply(plan);
        files.tell(&self.files);
        self.ask(whois);
        warn_of(&config, &files);
        self.files = files;
        self.config.send_replace(Arc::new(config));
        Ok(())
    }

    /// Takes in files of targets that have changed.
    fn look(&mut self) {
        let config = Arc::clone(&self.config.borrow());
        if config.target_files.is_empty() {
            return;
        }
        let before = self.files.clone();
        let planned = block_in_place(|| {
            let is_new = self.files.poll(&config);
            is_new.then(|| self.fleet.plan(&config.global, self.files.targets(&config)))
        });
        match planned {
            None => {}
            Some(Ok(plan)) => {
                self.fleet.apply(plan);
                self.files.tell(&before);
                self.show(&config);
            }
            Some(Err(error)) => {
                tracing::error!(%error, "files of targets are not taken in");
                self.files = before;
            }
        }
    }

    /// Has others asked whom addresses belong to, where they are others.
    fn ask(&self, whois: Whois) {
        let before = self.whois.borrow().systems.clone();
        if let Some(systems) = whois.systems.clone().filter(|systems| before.as_ref() != Some(systems)) {
            tokio::spawn(systems.follow());
        }
        self.whois.send_if_modified(|asked| {
            let is_other = *asked != whois;
            *asked = whois;
            is_other
        });
    }

    /// Has the metrics follow.
    fn show(&mut self, config: &Config) {
        self.reload.target_files_failing = self.files.problems().count();
        if self.config_file.is_some() {
            self.web.set_reload(self.reload);
        }
        self.web.set_limits(Limits {
            series_per_target: usize::try_from(config.global.series_per_target).unwrap_or(usize::MAX),
            topology: config.global.topology_metrics,
        });
    }
}

/// Says what an operator may have meant in another way.
fn warn_of(config: &Config, files: &TargetFiles) {
    if config.probe.enabled && config.probe.allow.is_empty() {
        tracing::warn!("probe.enabled is set, but probe.allow lists nothing: no probe is made");
    }
    for pattern in files.unmatched(config) {
        tracing::warn!(%pattern, "there is no such file of targets yet");
    }
}
