//! The JSON of the API: a target's state, and the trace that `trace --format json` would print.

use std::{collections::BTreeMap, net::IpAddr};

use serde::Serialize;

use crate::{
    render::{Document, Report, seconds, timestamp},
    store::{LastRound, Snapshot, Store},
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
    rounds: u64,
    rounds_failed: u64,
    last_round: Option<Round>,
    /// Why nothing could be asked in the last round.
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct Round {
    started: String,
    duration_seconds: f64,
}

/// A target's last trace, as docs/trace.schema.json describes it, and its state beside it. Before the first round, and after
/// one in which nothing could be asked, there is the state alone.
#[derive(Serialize)]
struct Target<'a> {
    #[serde(flatten)]
    trace: Option<Document<'a>>,
    state: TargetState<'a>,
}

pub(super) fn targets(store: &Store) -> String {
    let snapshots = store.targets();
    let targets = snapshots.iter().map(|snapshot| TargetState::of(snapshot)).collect();
    text(&Targets { targets })
}

pub(super) fn target(snapshot: &Snapshot) -> String {
    let trace = snapshot.last_round.as_ref().and_then(|round| {
        let report =
            Report { host: &snapshot.host, started: round.started, trace: round.outcome.as_ref().ok()? };
        Some(Document::of(&report))
    });
    text(&Target { state: TargetState::of(snapshot), trace })
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
            rounds: snapshot.counters.rounds,
            rounds_failed: snapshot.counters.rounds_failed,
            last_round: last_round.map(Round::of),
            error: last_round.and_then(|round| round.outcome.as_ref().err()).map(|why| &**why),
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
