//! What a service manager is told: readiness, and that the exporter is alive. Without one nothing happens.

use std::{io, time::Duration};

use sd_notify::NotifyState;
use tokio::time::MissedTickBehavior;

use crate::{network::Network, words::plural};

/// Pings in the time after which the service manager would end the exporter.
const PINGS: u32 = 3;

/// Says that the exporter serves.
pub(super) fn ready(targets: usize) {
    let status = format!("tracing {}", plural(targets as u128, "target"));
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// Says that the configuration is being read again; [`ready`] says that it is done.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the service manager cannot be told"),
    }
}

/// Says that it is about to end.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Says again and again that the exporter is alive, where a watchdog wants to know, and only as long as the driver of the
/// network answers: a process that no longer traces is as good as dead.
pub(super) async fn watch(network: Network) {
    let Some(patience) = sd_notify::watchdog_enabled().filter(|patience| *patience > Duration::ZERO) else {
        return;
    };
    let mut ticks = tokio::time::interval(patience / PINGS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if network.ping().await.is_err() {
            return;
        }
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    match sd_notify::notify(states) {
        Ok(()) => {}
        // A socket that is gone, as after a restart of the service manager, comes back.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(%error, "the service manager cannot be told"),
    }
}
