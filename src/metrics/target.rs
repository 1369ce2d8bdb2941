//! What concerns a target as a whole. These series are always there, also for a target that never resolved.

use jiff::SignedDuration;

use super::{
    Limits,
    detail::Detail,
    exposition::{Exposition, Labels},
};
use crate::{
    route::Route,
    store::{Histogram, Snapshot},
};

/// A target at the moment of the scrape.
pub(super) struct Target<'a> {
    pub(super) snapshot: &'a Snapshot,
    /// What the last round found; `None` before the first round and after one in which nothing could be asked.
    route: Option<&'a Route>,
    /// What is shown of its hops, nodes and links.
    pub(super) detail: Detail<'a>,
}

impl<'a> Target<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, limits: Limits) -> Self {
        let route = snapshot.trace().map(|trace| &trace.route);
        Self {
            snapshot,
            route,
            detail: Detail::new(
                route,
                limits.topology,
                limits.series_per_target.saturating_sub(series(snapshot)),
            ),
        }
    }

    pub(super) fn labels(&self) -> Labels {
        Labels::default().with("target", &*self.snapshot.name)
    }

    /// A number read off the route; 0 where none is known.
    fn of_route(&self, read: impl FnOnce(&Route) -> f64) -> f64 {
        self.route.map_or(0.0, read)
    }
}

type Gauge = (&'static str, &'static str, fn(&Target<'_>) -> f64);
type Counter = (&'static str, &'static str, fn(&Target<'_>) -> u64);

const GAUGES: [Gauge; 15] = [
    (
        "traceflow_target_up",
        "1 when at least one flow reached the destination, as of the last round.",
        |target| f64::from(u8::from(target.snapshot.is_up())),
    ),
    (
        "traceflow_flows",
        "Pinned flows that were followed to the destination or to where they end, as of the last round; with fixed as many as \
         are configured.",
        |target| target.snapshot.flows as f64,
    ),
    (
        "traceflow_flows_reached",
        "Flows whose probes reached the destination, as of the last round. Fewer than traceflow_flows: a member of a \
         load-balanced group may be swallowing packets.",
        |target| target.of_route(|route| route.flows_reached() as f64),
    ),
    (
        "traceflow_paths",
        "Distinct paths to the destination that the links found allow, counted on the graph, as of the last round: an upper \
         bound where the choices of balancers in a row are correlated. 0 when nothing is known.",
        |target| target.of_route(|route| route.paths.count as f64),
    ),
    (
        "traceflow_flow_paths",
        "Distinct paths that flows were seen to take from end to end, as of the last round: a lower bound. 0 when nothing is \
         known.",
        |target| target.of_route(|route| f64::from(route.flow_paths)),
    ),
    (
        "traceflow_discovery_confidence_ratio",
        "Confidence that no node or link of the route is missing, 0 to 1, as of the last round.",
        |target| target.of_route(|route| route.confidence.unwrap_or(0.0)),
    ),
    (
        "traceflow_hops_min",
        "Hops of the shortest path, as of the last round; up to the last answering node when the destination was not \
         reached. 0 when nothing is known.",
        |target| target.of_route(|route| f64::from(route.paths.hops_min)),
    ),
    (
        "traceflow_hops_max",
        "Hops of the longest path, as of the last round; up to the last answering node when the destination was not \
         reached. 0 when nothing is known.",
        |target| target.of_route(|route| f64::from(route.paths.hops_max)),
    ),
    (
        "traceflow_nodes",
        "Nodes of the route over all hops, silent ones included, as of the last round.",
        |target| target.of_route(|route| route.node_count() as f64),
    ),
    ("traceflow_links", "Links of the route, as of the last round.", |target| {
        target.of_route(|route| route.links.len() as f64)
    }),
    ("traceflow_width_max", "Most nodes at one hop, as of the last round.", |target| {
        target.of_route(|route| route.width() as f64)
    }),
    (
        "traceflow_diamonds",
        "Places where the route divides and joins again, as of the last round.",
        |target| target.of_route(|route| route.diamonds.len() as f64),
    ),
    (
        "traceflow_round_duration_seconds",
        "How long the last round took, name resolution included. 0 before the first one.",
        |target| {
            let last = target.snapshot.last_round.as_ref();
            last.map_or(0.0, |round| round.duration.as_secs_f64())
        },
    ),
    ("traceflow_round_probes", "Packets sent in the last round, retries included.", |target| {
        let trace = target.snapshot.trace();
        trace.map_or(0.0, |trace| f64::from(trace.probes_sent))
    }),
    (
        "traceflow_series_dropped",
        "Series of this target that are left out because it would have more than series_per_target, as of the last round.",
        |target| target.detail.dropped as f64,
    ),
];

const COUNTERS: [Counter; 11] = [
    ("traceflow_rounds_total", "Rounds that ended.", |target| target.snapshot.counters.rounds),
    (
        "traceflow_rounds_failed_total",
        "Rounds in which nothing could be asked: no address, no route, not permitted.",
        |target| target.snapshot.counters.rounds_failed,
    ),
    (
        "traceflow_destination_probes_sent_total",
        "Packets sent to where each flow meets the destination, or would be expected to.",
        |target| target.snapshot.counters.destination.sent,
    ),
    (
        "traceflow_destination_replies_received_total",
        "Answers of the destination to the packets of traceflow_destination_probes_sent_total.",
        |target| target.snapshot.counters.destination.received,
    ),
    (
        "traceflow_path_changes_total",
        "Rounds in which nodes or links came or went, proved by flows that were there before.",
        |target| target.snapshot.counters.path_changes,
    ),
    (
        "traceflow_as_path_changes_total",
        "Path changes with which autonomous systems, or links of two, came or went; 0 without asn_database.",
        |target| target.snapshot.counters.as_path_changes,
    ),
    (
        "traceflow_flow_moves_total",
        "Flows that took another way that was known, in rounds without a path change.",
        |target| target.snapshot.counters.flow_moves,
    ),
    (
        "traceflow_late_discoveries_total",
        "Nodes and links found late: they may have been there all along, so that they are no path change.",
        |target| target.snapshot.counters.late_discoveries,
    ),
    (
        "traceflow_length_changes_total",
        "Rounds in which flows took another way and the shortest or the longest path came to have another number of hops.",
        |target| target.snapshot.counters.length_changes,
    ),
    (
        "traceflow_reachability_changes_total",
        "Rounds in which the destination, or the flows of a branch, went out of reach or came back.",
        |target| target.snapshot.counters.reachability_changes,
    ),
    (
        "traceflow_address_changes_total",
        "How often the name came to mean another address, or our source address changed: a new baseline, no path change.",
        |target| target.snapshot.counters.address_changes,
    ),
];

/// Labels of `traceflow_target_info` that the configuration cannot set.
const OWN_LABELS: [&str; 5] = ["target", "host", "address", "protocol", "strategy"];

/// What the last round found of each target.
pub(super) fn write_found(out: &mut Exposition, targets: &[Target<'_>]) {
    out.gauge(
        "traceflow_target_info",
        "What is traced and how, with the labels that the configuration adds; always 1. The address is that of the last \
         round, empty as long as the host did not resolve.",
        targets.iter().map(|target| (info(target), 1.0)),
    );
    for (name, help, value) in GAUGES {
        out.gauge(name, help, targets.iter().map(|target| (target.labels(), value(target))));
    }
}

/// What makes sense over several rounds only.
pub(super) fn write_kept(out: &mut Exposition, targets: &[Target<'_>]) {
    out.gauge(
        "traceflow_target_interval_seconds",
        "Configured time between the starts of two rounds.",
        targets.iter().map(|target| (target.labels(), target.snapshot.interval.as_secs_f64())),
    );
    out.gauge(
        "traceflow_last_round_timestamp_seconds",
        "When the last round ended, in seconds since the epoch; absent before the first one.",
        targets.iter().filter_map(|target| {
            let round = target.snapshot.last_round.as_ref()?;
            let took = SignedDuration::try_from(round.duration).unwrap_or(SignedDuration::MAX);
            let ended = round.started.as_duration().saturating_add(took);
            Some((target.labels(), ended.as_secs_f64()))
        }),
    );
    out.gauge(
        "traceflow_last_path_change_timestamp_seconds",
        "When the round ended that found the last path change, in seconds since the epoch; absent as long as there was none.",
        targets.iter().filter_map(|target| {
            let changed = target.snapshot.counters.last_path_change?;
            Some((target.labels(), changed.as_duration().as_secs_f64()))
        }),
    );
    for (name, help, value) in COUNTERS {
        out.counter(name, help, targets.iter().map(|target| (target.labels(), value(target))));
    }
    out.histogram(
        "traceflow_rtt_seconds",
        "Round-trip times to the destination, of all its answers.",
        targets.iter().map(|target| (target.labels(), &target.snapshot.counters.rtt)),
    );
}

fn info(target: &Target<'_>) -> Labels {
    let snapshot = target.snapshot;
    let address = snapshot.address.map(|address| address.to_string());
    let own = target
        .labels()
        .with("host", &*snapshot.host)
        .with("address", address.unwrap_or_default())
        .with("protocol", snapshot.protocol.name())
        .with("strategy", snapshot.strategy.name());
    snapshot
        .labels
        .iter()
        .filter(|(name, _)| is_free(name))
        .fold(own, |labels, (name, value)| labels.with(name, value))
}

/// Whether a configured label can be shown. The configuration refuses others; one that slipped through would cost the whole
/// scrape.
fn is_free(name: &str) -> bool {
    let starts_well = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    let is_word = name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    starts_well && is_word && !name.starts_with("__") && !OWN_LABELS.contains(&name)
}

/// How many series the functions above make of a target.
fn series(snapshot: &Snapshot) -> usize {
    // A histogram has its bounds, +Inf, the sum and the count.
    let histogram = Histogram::BOUNDS.len() + 3;
    let timestamps = usize::from(snapshot.last_round.is_some())
        + usize::from(snapshot.counters.last_path_change.is_some());
    // What is traced, and how often.
    2 + GAUGES.len() + timestamps + COUNTERS.len() + histogram
}
