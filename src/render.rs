//! One trace, shown: as JSON for programs, as a table for people.
//!
//! Knows traces and how they read. Knows nothing of where a trace came from, nor of where the text goes.

mod json;
mod table;

#[cfg(test)]
pub(crate) mod sample;

pub use self::json::Document;
pub(crate) use self::{
    json::{seconds, timestamp},
    table::milliseconds,
};
use crate::trace::Trace;

/// A trace with what it does not know itself.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// The host as it was asked for: a name or an address.
    pub host: &'a str,
    /// When the trace began, on the wall clock.
    pub started: jiff::Timestamp,
    /// The trace.
    pub trace: &'a Trace,
}

/// The trace as one JSON object, indented, with a line feed at its end. docs/trace.schema.json describes it.
#[must_use]
pub fn json(report: &Report<'_>) -> String {
    json::text(report)
}

/// The trace as a table: a verdict in one line, then a row a path and a column a hop, with the name, where one is known, and
/// the median round-trip time below each address. With `dedup` flows that took the same path share a row; without, each flow has its own.
#[must_use]
pub fn table(report: &Report<'_>, dedup: bool) -> String {
    table::text(report, dedup)
}
