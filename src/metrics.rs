//! The text exposition, built fresh from the latest snapshots at each scrape: what vanished from a route vanishes at once.
//!
//! Knows the names, labels and meanings of the metrics (docs/metrics.md) and how many series a target may have. Knows nothing
//! of sockets, of HTTP, or of the time: whatever is shown was put into the snapshots by others.

mod detail;
mod engine;
mod exposition;
mod hop;
mod names;
mod target;

#[cfg(test)]
mod tests;

use std::fmt;

use prometheus::{core::Collector, process_collector::ProcessCollector};

pub use self::exposition::CONTENT_TYPE;
use self::{exposition::Exposition, target::Target};
use crate::{
    counters::Counters,
    store::{Snapshot, Store},
};

/// All that one scrape shows.
#[derive(Clone, Copy, Debug)]
pub struct Scrape<'a> {
    /// The targets.
    pub store: &'a Store,
    /// What the driver of the sockets counted.
    pub engine: &'a Counters,
    /// This process; `None` leaves `process_*` out.
    pub process: Option<&'a Process>,
    /// How many series a target may have.
    pub limits: Limits,
    /// The configuration last read; `None` leaves its metrics out, where there is no configuration file.
    pub reload: Option<Reload>,
}

/// How many series a target may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most series of one target. Those of the target as a whole always appear, also where they alone are more.
    pub series_per_target: usize,
    /// Whether nodes and links have series.
    pub topology: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { series_per_target: 500, topology: true }
    }
}

/// How reading the configuration went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reload {
    /// Whether the last attempt succeeded.
    pub successful: bool,
    /// When an attempt succeeded last.
    pub last_success: jiff::Timestamp,
    /// Files of targets that cannot be used at the moment.
    pub target_files_failing: usize,
}

/// The figures of this process under the names that all Prometheus clients use.
pub struct Process(ProcessCollector);

impl Process {
    /// The calling process.
    #[must_use]
    pub fn this() -> Self {
        Self(ProcessCollector::for_self())
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Process")
    }
}

/// The exposition in the text format, version 0.0.4 ([`CONTENT_TYPE`]).
///
/// No two series in it are the same, whatever the routes look like: Prometheus would refuse the whole scrape.
#[must_use]
pub fn render(scrape: &Scrape<'_>) -> String {
    let snapshots = scrape.store.targets();
    let targets: Vec<_> = snapshots.iter().map(|snapshot| Target::new(snapshot, scrape.limits)).collect();

    let mut out = Exposition::default();
    engine::build_info(&mut out);
    target::write_found(&mut out, &targets);
    target::write_kept(&mut out, &targets);
    hop::write(&mut out, &targets, true);
    engine::write(&mut out, scrape.engine, scrape.store);
    if let Some(reload) = scrape.reload {
        engine::write_reload(&mut out, reload);
    }
    if let Some(Process(collector)) = scrape.process {
        out.families(&collector.collect());
    }
    out.into_text()
}

/// What one trace that was asked for found, in the same format: the gauges of a target, without what is counted over rounds.
#[must_use]
pub fn render_probed(snapshot: &Snapshot, limits: Limits) -> String {
    let targets = [Target::new(snapshot, limits)];
    let mut out = Exposition::default();
    engine::write_probe(&mut out, snapshot);
    target::write_found(&mut out, &targets);
    hop::write(&mut out, &targets, false);
    out.into_text()
}
