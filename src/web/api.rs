//! The JSON of the API: a target's state and its changes, and the trace that `trace --format json` would print.

use std::{collections::BTreeMap, net::IpAddr};

use serde::Serialize;

use crate::{
    change::{Change, Part},
    flow::FlowId,
    render::{Document, Report, seconds, timestamp},
    store::{LastRound, Snapshot, Store, TargetCounters},
};

#[derive(Serialize)]
struct Targets<'a> {
    targets: Vec<TargetState<'a>>,
}

/// A target without its trace.
#[derive(Serialize)]
struct TargetState<'a> {
    name: &'a str,
    host: &'a str,
    address: Option<IpAddr>,
    protocol: &'static str,
    strategy: &'static str,
    labels: &'a BTreeMap<String, String>,
    up: bool,
    counters: Counters,
    last_round: Option<Round>,
    /// Why nothing could be asked in the last round.
    error: Option<&'a str>,
}

/// What was counted over all rounds, those of earlier processes too where states are kept.
#[derive(Serialize)]
struct Counters {
    rounds: u64,
    rounds_failed: u64,
    path_changes: u64,
    as_path_changes: u64,
    flow_moves: u64,
    late_discoveries: u64,
    length_changes: u64,
    reachability_changes: u64,
    address_changes: u64,
}

#[derive(Serialize)]
struct Round {
    started: String,
    duration_seconds: f64,
}

#[derive(Serialize)]
struct ChangeEntry<'a> {
    at: String,
    kind: &'static str,
    came: &'a [Part],
    went: &'a [Part],
    flows: &'a [FlowId],
    detail: Option<&'a str>,
}

/// A target's last trace, as docs/trace.schema.json describes it, with its state and its changes beside it, which
/// docs/target.schema.json describes. Before the first round, and after one in which nothing could be asked, there is no trace.
#[derive(Serialize)]
struct Target<'a> {
    #[serde(flatten)]
    trace: Option<Document<'a>>,
    state: TargetState<'a>,
    /// The newest first.
    changes: Vec<ChangeEntry<'a>>,
}

pub(super) fn targets(store: &Store) -> String {
    let snapshots = store.targets();
    let targets = snapshots.iter().map(|snapshot| TargetState::of(snapshot)).collect();
    text(&Targets { targets })
}

pub(super) fn target(snapshot: &Snapshot) -> String {
    let trace = report(snapshot).map(|report| Document::of(&report));
    let changes = snapshot.changes.iter().rev().map(|change| ChangeEntry::of(change)).collect();
    text(&Target { trace, state: TargetState::of(snapshot), changes })
}

/// The trace of a target's last round; `None` where there was none, or nothing could be asked.
pub(super) fn report(snapshot: &Snapshot) -> Option<Report<'_>> {
    let round = snapshot.last_round.as_ref()?;
    Some(Report { host: &snapshot.host, started: round.started, trace: round.outcome.as_ref().ok()? })
}

impl<'a> TargetState<'a> {
    fn of(snapshot: &'a Snapshot) -> Self {
        let last_round = snapshot.last_round.as_ref();
        Self {
            name: &snapshot.name,
            host: &snapshot.host,
            address: snapshot.address,
            protocol: snapshot.protocol.name(),
            strategy: snapshot.strategy.name(),
            labels: &snapshot.labels,
            up: snapshot.is_up(),
            counters: Counters::of(&snapshot.counters),
            last_round: last_round.map(Round::of),
            error: last_round.and_then(|round| round.outcome.as_ref().err()).map(|why| &**why),
        }
    }
}

impl Counters {
    const fn of(counters: &TargetCounters) -> Self {
        Self {
            rounds: counters.rounds,
            rounds_failed: counters.rounds_failed,
            path_changes: counters.path_changes,
            as_path_changes: counters.as_path_changes,
            flow_moves: counters.flow_moves,
            late_discoveries: counters.late_discoveries,
            length_changes: counters.length_changes,
            reachability_changes: counters.reachability_changes,
            address_changes: counters.address_changes,
        }
    }
}

impl<'a> ChangeEntry<'a> {
    fn of(change: &'a Change) -> Self {
        Self {
            at: timestamp(change.at),
            kind: change.kind.name(),
            came: &change.came,
            went: &change.went,
            flows: &change.flows,
            detail: Some(change.detail.as_str()).filter(|detail| !detail.is_empty()),
        }
    }
}

impl Round {
    fn of(round: &LastRound) -> Self {
        Self { started: timestamp(round.started), duration_seconds: seconds(round.duration) }
    }
}

fn text(value: &impl Serialize) -> String {
    // Serialising plain structs into a string cannot fail.
    let mut text = serde_json::to_string(value).unwrap_or_default();
    text.push('\n');
    text
}
