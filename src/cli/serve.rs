//! The exporter: puts the parts together and runs them until a signal ends it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    task::{JoinError, JoinHandle, JoinSet},
};

use super::{ExitError, ServeArgs, log, print, systemd};
use crate::{
    asn::DatabaseFile,
    config::Config,
    metrics::{Limits, Reload},
    names::Names,
    network::{Network, Sockets, clock, echo_id, random_secret},
    privilege,
    request::wanted_by,
    scheduler::{Scheduler, Whois},
    storage::Storage,
    store::Store,
    web,
};

/// Runs the exporter.
pub(super) fn run(arguments: &ServeArgs) -> Result<(), ExitError> {
    check(arguments)?;
    let config = Config::load(&arguments.config_file)?;
    let loaded = clock::timestamp();
    let whois = whois(&arguments.config_file, &config)?;
    let security = web::Security::load(arguments.web_config_file.as_deref())?;
    let tls = security.is_encrypted();
    if arguments.config_check {
        let (file, targets) = (arguments.config_file.display(), config.targets.len());
        return print(&format!("{file}: ok, {targets} target{}\n", if targets == 1 { "" } else { "s" }));
    }
    log::start(arguments.log);
    for key in without_effect(&config) {
        tracing::warn!(key, "this version does not do what the key asks for");
    }

    privilege::raise();
    let secret = random_secret().map_err(ExitError::failed)?;
    let sockets = Sockets::open(&wanted_by(&config, echo_id(secret))).map_err(ExitError::failed)?;
    let listeners = web::bind(&arguments.listen_address).map_err(ExitError::failed)?;
    give_up_privileges(arguments)?;
    let storage =
        arguments.storage_path.as_deref().map(Storage::open).transpose().map_err(ExitError::failed)?;

    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(ExitError::failed)?;
    let result = runtime.block_on(async {
        let (network, driver) =
            Network::start(sockets, secret, config.global.max_pps).map_err(ExitError::failed)?;
        let store = Store::default();
        let scheduler = Scheduler::new(network.clone(), store.clone(), storage, &config).with_whois(whois);
        let targets = scheduler.start(&config).map_err(ExitError::failed)?;
        let engine = Arc::new({
            let network = network.clone();
            move || network.counters()
        });
        let state = web::State::new(store, engine, &arguments.telemetry_path, secret, web::Bounds::default())
            .with_external_url(arguments.external_url.clone())
            .with_security(security);
        state.set_limits(Limits {
            series_per_target: usize::try_from(config.global.series_per_target).unwrap_or(usize::MAX),
            topology: config.global.topology_metrics,
        });
        state.set_reload(Reload { successful: true, last_success: loaded });
        for address in listeners.iter().filter_map(|listener| listener.local_addr().ok()) {
            tracing::info!(%address, tls, targets = config.targets.len(), "listening");
        }
        let listeners = listeners.into_iter().map(tokio::net::TcpListener::from_std);
        let listeners = listeners.collect::<Result<_, _>>().map_err(ExitError::failed)?;
        let signal = stop_signal()?;
        systemd::ready(config.targets.len());
        tokio::spawn(systemd::watch(network));
        let mut result = Ok(());
        let ended = async {
            result = end(signal, driver, targets).await;
            systemd::stopping();
        };
        web::serve(listeners, Arc::new(state), ended).await;
        result
    });
    // A lookup that the system's resolver does not let go of is no reason to stay.
    runtime.shutdown_background();
    result
}

/// Gives up what is no longer needed, and says what will be missed.
fn give_up_privileges(arguments: &ServeArgs) -> Result<(), ExitError> {
    let storage = arguments.storage_path.as_deref();
    // Made by those who may, owned by those who use it.
    if let Some(path) = storage
        && Storage::make(path).map_err(ExitError::failed)?
        && let Some(user) = &arguments.user
    {
        user.own(path).map_err(ExitError::failed)?;
    }
    let confinement = privilege::drop_all(arguments.user.as_ref(), storage).map_err(ExitError::failed)?;
    tracing::debug!(landlock = confinement.name(), "privileges are given up");
    if let Err(error) = privilege::check_readable(&arguments.config_file) {
        let file = arguments.config_file.display();
        tracing::warn!(%file, %error, "the user that is left cannot read the configuration: it cannot be reloaded");
    }
    Ok(())
}

/// What of the arguments can be checked without the system.
fn check(arguments: &ServeArgs) -> Result<(), ExitError> {
    for address in &arguments.listen_address {
        web::check_address(address).map_err(|error| ExitError::Usage(error.to_string()))?;
    }
    let path = &arguments.telemetry_path;
    let is_plain = |letter: char| letter.is_ascii_graphic() && !"?#".contains(letter);
    if path.starts_with('/') && path.chars().all(is_plain) {
        return Ok(());
    }
    Err(ExitError::Usage(format!(
        "--web.telemetry-path: `{}` is no path; allowed is one that begins with / and has no spaces, ? or #",
        path.escape_debug()
    )))
}

/// Keys of the configuration that were set and do nothing yet.
fn without_effect(config: &Config) -> Vec<&'static str> {
    let keys = [("target_files", !config.target_files.is_empty()), ("probe.enabled", config.probe.enabled)];
    keys.into_iter().filter(|(_, is_set)| *is_set).map(|(key, _)| key).collect()
}

/// Who is asked whom addresses belong to. A database stands relative to the configuration file.
fn whois(file: &Path, config: &Config) -> Result<Whois, ExitError> {
    let open = |database: &PathBuf| {
        let path = file.parent().unwrap_or(Path::new("")).join(database);
        DatabaseFile::open(path)
            .map_err(|error| ExitError::Usage(format!("{}: global.asn_database: {error}", file.display())))
    };
    Ok(Whois {
        names: config.global.reverse_dns.then(Names::default),
        systems: config.global.asn_database.as_ref().map(open).transpose()?,
    })
}

/// Waits for the signal that ends the exporter, or for a part of it that ends before.
async fn end(
    signal: impl Future<Output = ()>,
    driver: JoinHandle<()>,
    mut targets: JoinSet<()>,
) -> Result<(), ExitError> {
    let broken = |what: &str, ended: Result<(), JoinError>| {
        let why = ended.map_or_else(|error| error.to_string(), |()| "it returned".to_owned());
        // A payload of a panic may have lines; the log has had them.
        let why = why.lines().next().unwrap_or_default();
        Err(ExitError::Failed(format!("{what} ended: {why}; please report it, and start the exporter again")))
    };
    tokio::select! {
        () = signal => Ok(()),
        ended = driver => broken("the network driver", ended),
        Some(ended) = targets.join_next() => broken("the task of a target", ended),
    }
}

/// Ends with the first SIGTERM or SIGINT.
fn stop_signal() -> Result<impl Future<Output = ()>, ExitError> {
    let catch =
        |kind| signal(kind).map_err(|error| ExitError::Failed(format!("cannot catch signals: {error}")));
    let (mut terminate, mut interrupt) = (catch(SignalKind::terminate())?, catch(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!(signal = "SIGTERM", "stopping"),
            _ = interrupt.recv() => tracing::info!(signal = "SIGINT", "stopping"),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        process::ExitCode,
    };

    use super::*;

    #[test]
    fn keys_that_do_nothing_yet_are_named() {
        let cases = [
            ("targets: [{ name: a, host: h }]", &[][..]),
            (
                "{ target_files: [a.yaml], probe: { enabled: true }, \
                 global: { reverse_dns: true, asn_database: a.mmdb, rediscover_interval: 2h } }",
                &["target_files", "probe.enabled"][..],
            ),
        ];
        for (text, expected) in cases {
            let config = Config::parse("test", text).unwrap();
            assert_eq!(without_effect(&config), expected, "{text}");
        }
    }

    #[test]
    fn the_exporter_ends_with_its_parts() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let task = |defect: bool, lasts: bool| async move {
            assert!(!defect, "a defect");
            if lasts {
                pending::<()>().await;
            }
        };
        // signal, driver (defect, lasts), target (defect, lasts) -> what is told
        let cases = [
            (true, (false, true), (false, true), None),
            (false, (true, false), (false, true), Some("the network driver ended: ")),
            (false, (false, false), (false, true), Some("the network driver ended: it returned")),
            (false, (false, true), (true, false), Some("the task of a target ended: ")),
        ];
        for (signal, driver, target, expected) in cases {
            let ended = runtime.block_on(async {
                let mut targets = JoinSet::new();
                targets.spawn(task(target.0, target.1));
                let driver = tokio::spawn(task(driver.0, driver.1));
                if signal {
                    end(ready(()), driver, targets).await
                } else {
                    end(pending(), driver, targets).await
                }
            });
            match (ended, expected) {
                (Ok(()), None) => {}
                (Err(error), Some(expected)) => {
                    let text = error.to_string();
                    assert!(text.starts_with(expected) && !text.contains('\n'), "{text}");
                    assert_eq!(error.report(), ExitCode::FAILURE);
                }
                (ended, expected) => panic!("{ended:?} in place of {expected:?}"),
            }
        }
    }
}
