//! The exporter: puts the parts together and runs them until a signal ends it.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use super::{ExitError, ServeArgs, log, print};
use crate::{
    config::Config,
    metrics::{Limits, Reload},
    network::{Network, Sockets, clock, echo_id, random_secret},
    request::wanted_by,
    scheduler::Scheduler,
    store::Store,
    web,
};

/// Runs the exporter.
pub(super) fn run(arguments: &ServeArgs) -> Result<(), ExitError> {
    let config = Config::load(&arguments.config_file)?;
    let loaded = clock::timestamp();
    if arguments.config_check {
        let (file, targets) = (arguments.config_file.display(), config.targets.len());
        return print(&format!("{file}: ok, {targets} target{}\n", if targets == 1 { "" } else { "s" }));
    }
    log::start(arguments.log);

    let failed = |error: &dyn std::fmt::Display| ExitError::Failed(error.to_string());
    let secret = random_secret().map_err(|error| failed(&error))?;
    let sockets = Sockets::open(&wanted_by(&config, echo_id(secret))).map_err(|error| failed(&error))?;
    let listeners = web::bind(&arguments.listen_address).map_err(|error| failed(&error))?;

    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| failed(&error))?;
    runtime.block_on(async {
        let (network, _driver) =
            Network::start(sockets, secret, config.global.max_pps).map_err(|error| failed(&error))?;
        let store = Store::default();
        let _targets = Scheduler::new(network.clone(), store.clone(), &config).start(&config);
        let engine = Arc::new(move || network.counters());
        let state = web::State::new(store, engine, &arguments.telemetry_path, web::Bounds::default());
        state.set_limits(Limits {
            series_per_target: usize::try_from(config.global.series_per_target).unwrap_or(usize::MAX),
            topology: config.global.topology_metrics,
        });
        state.set_reload(Reload { successful: true, last_success: loaded });
        for address in listeners.iter().filter_map(|listener| listener.local_addr().ok()) {
            tracing::info!(%address, targets = config.targets.len(), "listening");
        }
        let listeners = listeners.into_iter().map(tokio::net::TcpListener::from_std);
        let listeners = listeners.collect::<Result<_, _>>().map_err(|error| failed(&error))?;
        web::serve(listeners, Arc::new(state), stop_signal()?).await;
        Ok(())
    })
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
