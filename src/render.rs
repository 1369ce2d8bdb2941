//! One trace, shown: as JSON for programs, as tables and pictures for people, as graphs for other tools.
//!
//! Knows traces and how they read. Knows nothing of where a trace came from, nor of where the text goes.

mod difference;
mod dot;
mod graph;
mod grid;
mod html;
mod json;
mod label;
pub mod layout;
mod mermaid;
mod rows;
mod svg;
mod table;
mod verdict;
mod vis;
mod ways;

#[cfg(test)]
pub(crate) mod sample;

pub use self::{json::Document, svg::svg_style};
pub(crate) use self::{
    json::{seconds, timestamp},
    label::{Text, address, asn, loss, milliseconds, oddities, printable, stack, standing},
    verdict::{percent, verdict},
};
use crate::{change::Change, trace::Trace};

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

/// How tables look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableOptions {
    /// One row for flows that took the same path. Those of a discovery always share one: most are not followed to their end.
    pub dedup: bool,
    /// Characters that fit in a line; `None` for no bound.
    pub width: Option<usize>,
    /// Whether there are colours (ANSI escape sequences).
    pub colour: bool,
}

/// The trace as one JSON object, indented, with a line feed at its end. docs/trace.schema.json describes it.
#[must_use]
pub fn json(report: &Report<'_>) -> String {
    json::text(report)
}

/// The trace as a table: a verdict in one line, then a row a path and a column a hop, with what is known of each node below its
/// address. Where that is wider than a line, paths stand in columns, or one below the other. At most 40 paths are shown.
#[must_use]
pub fn table(report: &Report<'_>, options: TableOptions) -> String {
    table::table(report, options)
}

/// The table turned: a row a hop and a column a path. Columns that do not fit in a line go on below.
#[must_use]
pub fn wide(report: &Report<'_>, options: TableOptions) -> String {
    table::wide(report, options)
}

/// The route as a graph in the language of Graphviz.
#[must_use]
pub fn dot(report: &Report<'_>) -> String {
    dot::text(report)
}

/// The route as a flow chart of Mermaid.
#[must_use]
pub fn mermaid(report: &Report<'_>) -> String {
    mermaid::text(report)
}

/// The route as an object of vis-network: `{"nodes":[{"id","label","level"}],"edges":[{"from","to"}]}`.
#[must_use]
pub fn vis(report: &Report<'_>) -> String {
    vis::text(report)
}

/// The route as a picture that stands alone: SVG with its style sheet, light or dark as the reader wants it.
#[must_use]
pub fn svg(report: &Report<'_>) -> String {
    svg::alone(report)
}

/// The same picture to be part of a page: without a style sheet, which is [`svg_style`]. It has no ids, inline styles or scripts; nodes and
/// links say in data attributes who they are.
#[must_use]
pub fn svg_inline(report: &Report<'_>) -> String {
    svg::inline(report, true)
}

/// A change of a route as a small picture to be part of a page, under that style sheet and `difference.css`: what came, what went, and what stayed around it
/// as far as that is known. `None` where no node or link came or went, or more than one could see.
#[must_use]
pub fn difference(change: &Change) -> Option<String> {
    difference::inline(change)
}

/// One page that needs nothing else: the picture, the verdict, the hops, the flow paths and the diamonds.
#[must_use]
pub fn html(report: &Report<'_>) -> String {
    html::text(report)
}
