//! What concerns the process as a whole: its build, its packets, its configuration.

use super::{
    Reload,
    exposition::{Exposition, Labels},
};
use crate::{
    counters::{Counters, Discard},
    flow::{Family, Protocol},
    store::{Snapshot, Store},
};

pub(super) fn build_info(out: &mut Exposition) {
    let labels = Labels::default()
        .with("version", env!("CARGO_PKG_VERSION"))
        .with("revision", env!("TRACEFLOW_REVISION"));
    out.gauge("traceflow_build_info", "What this exporter was built from; always 1.", [(labels, 1.0)]);
}

pub(super) fn write(out: &mut Exposition, engine: &Counters, store: &Store) {
    let by_kind = |counts: &std::collections::BTreeMap<(Protocol, Family), u64>| -> Vec<_> {
        let kinds = Protocol::ALL
            .into_iter()
            .flat_map(|protocol| [Family::V4, Family::V6].map(|family| (protocol, family)));
        kinds
            .map(|(protocol, family)| {
                let labels =
                    Labels::default().with("protocol", protocol.name()).with("family", family.label());
                (labels, counts.get(&(protocol, family)).copied().unwrap_or(0))
            })
            .collect()
    };
    out.counter(
        "traceflow_probes_sent_total",
        "Packets put on the wire for all targets, retries included.",
        by_kind(&engine.probes_sent),
    );
    out.counter(
        "traceflow_replies_received_total",
        "Replies that were matched to one of our probes.",
        by_kind(&engine.replies_received),
    );
    out.counter(
        "traceflow_replies_discarded_total",
        "Received messages that were dropped, by reason: unmatched fits no probe of ours, spoofed lacks the marks that our \
         probes carry, late came after the time-out, malformed cannot be decoded, duplicate was answered before.",
        Discard::ALL.map(|reason| {
            let labels = Labels::default().with("reason", reason.name());
            (labels, engine.discarded.get(&reason).copied().unwrap_or(0))
        }),
    );
    let alone = [
        ("traceflow_send_errors_total", "Packets that the kernel refused to send.", engine.send_errors),
        (
            "traceflow_receive_drops_total",
            "Messages that the kernel dropped because the receive buffer was full: they count as lost although they came.",
            engine.receive_drops,
        ),
        (
            "traceflow_rounds_delayed_total",
            "Rounds that began later than their interval wanted, because of the limits on rounds and packets.",
            store.rounds_delayed(),
        ),
    ];
    for (name, help, value) in alone {
        out.counter(name, help, [(Labels::default(), value)]);
    }
    out.gauge(
        "traceflow_rounds_in_progress",
        "Rounds in progress at the moment.",
        [(Labels::default(), store.rounds_in_progress() as f64)],
    );
}

/// As those who probe with other exporters know it.
pub(super) fn write_probe(out: &mut Exposition, snapshot: &Snapshot) {
    let took = snapshot.last_round.as_ref().map_or(0.0, |round| round.duration.as_secs_f64());
    for (name, help, value) in [
        (
            "probe_success",
            "1 when at least one flow reached the destination.",
            f64::from(u8::from(snapshot.is_up())),
        ),
        ("probe_duration_seconds", "How long the probe took, name resolution included.", took),
    ] {
        out.gauge(name, help, [(Labels::default(), value)]);
    }
}

pub(super) fn write_reload(out: &mut Exposition, reload: Reload) {
    out.gauge(
        "traceflow_config_last_reload_successful",
        "1 when the configuration was read without an error the last time it was read.",
        [(Labels::default(), f64::from(u8::from(reload.successful)))],
    );
    out.gauge(
        "traceflow_config_last_reload_success_timestamp_seconds",
        "When the configuration in force was read, in seconds since the epoch.",
        [(Labels::default(), reload.last_success.as_duration().as_secs_f64())],
    );
    out.gauge(
        "traceflow_target_files_failing",
        "Files of targets that cannot be read or say something that is not allowed: their former targets stay.",
        [(Labels::default(), reload.target_files_failing as f64)],
    );
}
