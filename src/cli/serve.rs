//! The exporter: puts the parts together and runs them until a signal ends it.

use std::{fs::File, net::TcpListener, path::PathBuf, sync::Arc};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
    task::{JoinError, JoinHandle},
};

use super::{ExitError, ServeArgs, log, print, reload::Reloader, systemd};
use crate::{
    config::Config,
    metrics::Reload,
    network::{Network, Sockets, clock, echo_id, random_secret},
    privilege,
    prober::Prober,
    request::wanted_by,
    scheduler::{Fleet, Scheduler},
    storage::Storage,
    store::Store,
    target_files::TargetFiles,
    web,
    whois::Whois,
    words::plural,
};

/// Requests to reload that wait for their turn; further ones wait to be heard.
const RELOADS: usize = 8;

/// What an exporter is made of, besides the network that it traces on.
pub(super) struct Parts {
    pub(super) config: Config,
    pub(super) files: TargetFiles,
    /// Where the configuration is read again; `None` where it is built in.
    pub(super) config_file: Option<PathBuf>,
    pub(super) secret: [u8; 16],
    pub(super) storage: Option<Storage>,
    pub(super) whois: Whois,
    pub(super) listeners: Vec<TcpListener>,
    pub(super) telemetry_path: String,
    pub(super) external_url: web::ExternalUrl,
    pub(super) security: web::Security,
}

/// Runs the exporter.
pub(super) fn run(arguments: &ServeArgs) -> Result<(), ExitError> {
    check(arguments)?;
    let config_file = &arguments.config_file;
    let config = Config::load(config_file)?;
    let whois = Whois::open(config_file, &config.global, &Whois::default())?;
    let security = web::Security::load(arguments.web_config_file.as_deref())?;
    let files = TargetFiles::read(config_file, &config);
    if arguments.config_check {
        return report(arguments, &config, &files);
    }
    log::start(arguments.log);

    privilege::raise();
    let secret = random_secret().map_err(ExitError::failed)?;
    let sockets = Sockets::open(&wanted_by(&config, echo_id(secret))).map_err(ExitError::failed)?;
    let listeners = web::bind(&arguments.listen_address).map_err(ExitError::failed)?;
    give_up_privileges(arguments, &security)?;
    let storage =
        arguments.storage_path.as_deref().map(Storage::open).transpose().map_err(ExitError::failed)?;

    let max_pps = config.global.max_pps;
    let parts = Parts {
        config,
        files,
        config_file: Some(config_file.clone()),
        secret,
        storage,
        whois,
        listeners,
        telemetry_path: arguments.telemetry_path.clone(),
        external_url: arguments.external_url.clone(),
        security,
    };
    operate(parts, || Network::start(sockets, secret, max_pps).map_err(ExitError::failed))
}

/// Puts the parts together over a network and runs them until a signal ends it.
pub(super) fn operate(
    parts: Parts,
    start: impl FnOnce() -> Result<(Network, JoinHandle<()>), ExitError>,
) -> Result<(), ExitError> {
    let Parts { config, files, config_file, secret, storage, whois, listeners, .. } = parts;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(ExitError::failed)?;
    let result = runtime.block_on(async {
        let (network, driver) = start()?;
        let hangup = catch(SignalKind::hangup())?;
        let signal = stop_signal()?;
        let store = Store::default();
        let rounds_max = config.global.max_rounds_in_progress;
        let config = watch::channel(Arc::new(config)).0;
        let asked = watch::channel(Whois::default()).0;
        let prober = Prober::new(network.clone(), config.subscribe(), asked.subscribe());
        let scheduler =
            Scheduler::new(network.clone(), store.clone(), storage, rounds_max).with_whois(asked.subscribe());
        let counted = network.clone();
        let engine = Arc::new(move || counted.counters());
        let (reloads, requests) = mpsc::channel(RELOADS);
        let tls = parts.security.is_encrypted();
        let mut state = web::State::new(store, engine, parts.telemetry_path, secret, web::Bounds::default())
            .with_external_url(parts.external_url)
            .with_security(parts.security)
            .with_prober(prober);
        if config_file.is_some() {
            state = state.with_reload(reloads);
        }
        let state = Arc::new(state);
        let mut reloader = Reloader {
            config_file,
            config,
            whois: asked,
            files,
            echo_id: echo_id(secret),
            network: network.clone(),
            fleet: Fleet::new(scheduler, rounds_max),
            web: Arc::clone(&state),
            reload: Reload { successful: true, last_success: clock::timestamp(), target_files_failing: 0 },
        };
        let targets = reloader.start(whois).map_err(ExitError::failed)?;
        for address in listeners.iter().filter_map(|listener| listener.local_addr().ok()) {
            tracing::info!(%address, tls, targets, "listening");
        }
        let listeners = listeners.into_iter().map(tokio::net::TcpListener::from_std);
        let listeners = listeners.collect::<Result<_, _>>().map_err(ExitError::failed)?;
        systemd::ready(targets);
        tokio::spawn(systemd::watch(network));
        let targets = tokio::spawn(reloader.run(requests, hangup));
        let mut result = Ok(());
        let ended = async {
            result = end(signal, driver, targets).await;
            systemd::stopping();
        };
        web::serve(listeners, state, ended).await;
        result
    });
    // A lookup that the system's resolver does not let go of is no reason to stay.
    runtime.shutdown_background();
    result
}

/// Gives up what is no longer needed, and says what will be missed.
fn give_up_privileges(arguments: &ServeArgs, security: &web::Security) -> Result<(), ExitError> {
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
    if let Err(error) = File::open(&arguments.config_file) {
        let file = arguments.config_file.display();
        tracing::warn!(%file, %error, "the user that is left cannot read the configuration: it cannot be reloaded");
    }
    let unreadable = security.unreadable();
    if let Some((_, error)) = unreadable.first() {
        let files: Vec<_> = unreadable.iter().map(|(file, _)| file.display().to_string()).collect();
        let files = files.join(", ");
        tracing::warn!(
            %files, %error,
            "the user that is left cannot read files of the web configuration: changes of them are not taken over"
        );
    }
    Ok(())
}

/// What of the arguments can be checked without the system.
fn check(arguments: &ServeArgs) -> Result<(), ExitError> {
    check_addresses(&arguments.listen_address)?;
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

/// Whether these can be addresses to listen on.
pub(super) fn check_addresses(addresses: &[String]) -> Result<(), ExitError> {
    let check = |address: &String| web::check_address(address);
    addresses.iter().try_for_each(check).map_err(|error| ExitError::Usage(error.to_string()))
}

/// Says whether the configuration is fit for use, with all files of targets.
fn report(arguments: &ServeArgs, config: &Config, files: &TargetFiles) -> Result<(), ExitError> {
    if let Some(problem) = files.problems().next() {
        return Err(ExitError::Usage(problem.to_string()));
    }
    let (file, targets) = (arguments.config_file.display(), files.targets(config).len());
    let mut text = format!("{file}: ok, {}\n", plural(targets as u128, "target"));
    for pattern in files.unmatched(config) {
        text += &format!("{file}: target_files: there is no file {pattern} yet\n");
    }
    print(&text)
}

/// Waits for the signal that ends the exporter, or for a part of it that ends before.
async fn end(
    signal: impl Future<Output = ()>,
    driver: JoinHandle<()>,
    targets: JoinHandle<JoinError>,
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
        ended = targets => match ended {
            Ok(ended) => broken("the task of a target", Err(ended)),
            Err(ended) => broken("the task that follows the configuration", Err(ended)),
        },
    }
}

/// Ends with the first SIGTERM or SIGINT.
fn stop_signal() -> Result<impl Future<Output = ()>, ExitError> {
    let (mut terminate, mut interrupt) = (catch(SignalKind::terminate())?, catch(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!(signal = "SIGTERM", "stopping"),
            _ = interrupt.recv() => tracing::info!(signal = "SIGINT", "stopping"),
        }
    })
}

fn catch(kind: SignalKind) -> Result<Signal, ExitError> {
    signal(kind).map_err(|error| ExitError::Failed(format!("cannot catch signals: {error}")))
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        process::ExitCode,
    };

    use super::*;

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
            (false, (false, true), (false, false), Some("the task that follows the configuration ended: ")),
        ];
        for (signal, driver, target, expected) in cases {
            let ended = runtime.block_on(async {
                let target_task = tokio::spawn(task(target.0, target.1));
                // It returns with what broke, and breaks itself where nothing did.
                let targets = tokio::spawn(async { target_task.await.unwrap_err() });
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
