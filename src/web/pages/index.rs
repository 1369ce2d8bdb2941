//! The landing page: the targets in a table.

use std::sync::Arc;

use askama::Template;

use super::{Figures, Frame, Href, Moment, State, or_none, page, spark};
use crate::store::{Snapshot, Store};

#[derive(Template)]
#[template(path = "index.html")]
struct Index<'a> {
    frame: Frame<'a>,
    up: usize,
    rows: Vec<Row<'a>>,
}

struct Row<'a> {
    snapshot: &'a Snapshot,
    href: Href<'a>,
    address: String,
    state: State<'a>,
    figures: Figures,
    /// The route at a glance, and how many paths it had; both SVG made here.
    shape: String,
    spark: String,
    last_path_change: Option<Moment>,
    last_round: Option<Moment>,
}

/// The page. `telemetry_path` is where the metrics are.
pub(in crate::web) fn index(store: &Store, telemetry_path: &str) -> String {
    let targets = store.targets();
    page(&Index {
        frame: Frame::new("./", telemetry_path),
        up: targets.iter().filter(|snapshot| snapshot.is_up()).count(),
        rows: targets.iter().map(Row::of).collect(),
    })
}

impl<'a> Row<'a> {
    fn of(snapshot: &'a Arc<Snapshot>) -> Self {
        Self {
            snapshot,
            href: Href(&snapshot.name),
            address: or_none(snapshot.address.map(|address| address.to_string())),
            state: State::of(snapshot),
            figures: Figures::of(snapshot),
            shape: snapshot.trace().map(|trace| spark::shape(&trace.route)).unwrap_or_default(),
            spark: spark::history(&snapshot.history),
            last_path_change: snapshot.counters.last_path_change.map(Moment),
            last_round: snapshot.last_round.as_ref().map(|round| Moment(round.started)),
        }
    }
}
