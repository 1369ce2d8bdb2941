//! How much of each node is written out, and the room that this takes.

use crate::render::{
    graph::{Graph, Vertex},
    label,
    layout::{self, Layer, Layout, Span},
};

/// Radius of a node.
pub(super) const RADIUS: f64 = 7.0;
/// Radius where nodes stand close.
pub(super) const SMALL_RADIUS: f64 = 5.0;
/// Distance between the lines of a label.
pub(super) const LINE: f64 = 13.0;
pub(super) const SMALL_LINE: f64 = 10.0;
/// Widths of a letter: of the address in a fixed-width font, and of other text on average.
const LETTER: f64 = 6.7;
const SMALL_LETTER: f64 = 5.5;
const NOTE_LETTER: f64 = 5.6;
/// Nodes at a hop up to which all is written, and up to which there is room for addresses.
const FULL: usize = 8;
const ADDRESSES: usize = 24;
/// Letters of an address that stand in one line; a longer one is broken.
const LINE_LETTERS: usize = 20;
/// Letters of a host's name that are shown; the whole name is among the details.
const HOSTNAME_LETTERS: usize = 2 * LINE_LETTERS;

/// How much is written at the nodes of a hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Detail {
    /// Address, round-trip time and peculiarities.
    Full,
    /// The address, small.
    Address,
    /// Nothing but what is shown under the pointer.
    Bare,
}

/// A line of a label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    /// The class of the style sheet.
    pub(super) class: &'static str,
}

/// The class of names; all else are notes.
const NAME: &str = "name";

/// A layer as it is drawn.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) ttl: u8,
    pub(super) detail: Detail,
    /// How far the labels reach below the centres of the nodes.
    pub(super) below: f64,
    /// Indices of the vertices.
    pub(super) vertices: Vec<usize>,
}

/// Columns with a place for each node.
#[derive(Debug)]
pub(super) struct Sheet {
    pub(super) columns: Vec<Column>,
    pub(super) layout: Layout,
}

impl Sheet {
    pub(super) fn of(graph: &Graph<'_>) -> Self {
        let mut columns: Vec<Column> = Vec::new();
        let mut places = Vec::new();
        for (index, vertex) in graph.vertices.iter().enumerate() {
            match columns.last_mut() {
                Some(column) if column.ttl == vertex.ttl => column.vertices.push(index),
                _ => columns.push(Column {
                    ttl: vertex.ttl,
                    detail: Detail::Full,
                    below: 0.0,
                    vertices: vec![index],
                }),
            }
            let place = columns.last().map_or(0, |column| column.vertices.len() - 1);
            places.push((columns.len() - 1, place));
        }
        for column in &mut columns {
            column.detail = match column.vertices.len() {
                count if count <= FULL => Detail::Full,
                count if count <= ADDRESSES => Detail::Address,
                _ => Detail::Bare,
            };
        }
        let layers: Vec<_> = columns.iter_mut().map(|column| layer(column, graph)).collect();
        let spans = graph.edges.iter().filter_map(|edge| {
            let (&(layer, from), &(_, to)) = (places.get(edge.from)?, places.get(edge.to)?);
            Some(Span { layer, from, to })
        });
        let layout = layout::lay_out(&layers, &spans.collect::<Vec<_>>());
        Self { columns, layout }
    }
}

fn layer(column: &mut Column, graph: &Graph<'_>) -> Layer {
    let labels: Vec<_> = column
        .vertices
        .iter()
        .filter_map(|index| graph.vertices.get(*index))
        .map(|vertex| lines(vertex, column.detail))
        .collect();
    let width = |line: &Line| {
        let letters = line.text.chars().count() as f64;
        match (line.class == NAME, column.detail) {
            (true, Detail::Address) => letters * SMALL_LETTER,
            (true, _) => letters * LETTER,
            _ => letters * NOTE_LETTER,
        }
    };
    let widest = labels.iter().flatten().map(width).fold(3.0 * RADIUS, f64::max);
    let most = labels.iter().map(Vec::len).max().unwrap_or(0) as f64;
    let (radius, line, gap) = match column.detail {
        Detail::Full => (RADIUS, LINE, 16.0),
        Detail::Address => (SMALL_RADIUS, SMALL_LINE, 7.0),
        Detail::Bare => (SMALL_RADIUS, 0.0, 3.0),
    };
    column.below = radius + most * line;
    let pitch = radius + column.below + gap;
    Layer { nodes: column.vertices.len(), width: widest, pitch }
}

/// What is written below a node.
pub(super) fn lines(vertex: &Vertex<'_>, detail: Detail) -> Vec<Line> {
    let name = |text: String| Line { text, class: NAME };
    let note = |text: String| Line { text, class: "note" };
    if detail == Detail::Bare {
        return Vec::new();
    }
    let mut lines: Vec<_> = broken(&vertex.name).into_iter().map(name).collect();
    let Some(node) = vertex.node.filter(|_| detail == Detail::Full) else {
        return lines;
    };
    lines.extend(vertex.hostname.map(shortened).iter().flat_map(|name| broken(name)).map(note));
    lines.extend(vertex.asn.map(label::asn).map(note));
    lines.extend(node.rtt.map(|rtt| note(label::milliseconds(rtt.median))));
    lines.extend(vertex.loss.clone().map(|text| Line { text, class: "note bad" }));
    lines.extend(label::mpls(&node.mpls).map(note));
    let warning = |text: &str| Line { text: text.to_owned(), class: "note warn" };
    lines.extend(label::peculiarities(node).map(warning));
    lines
}

/// The beginning of a long name, which is what tells routers apart.
fn shortened(name: &str) -> String {
    match name.char_indices().nth(HOSTNAME_LETTERS) {
        Some((end, _)) => format!("{}\u{2026}", name.get(..end).unwrap_or_default()),
        None => name.to_owned(),
    }
}

/// A name in lines of bearable length, broken behind a separator.
fn broken(name: &str) -> Vec<String> {
    let letters: Vec<char> = name.chars().collect();
    if letters.len() <= LINE_LETTERS {
        return vec![name.to_owned()];
    }
    let count = letters.len().div_ceil(LINE_LETTERS);
    let mut lines = Vec::new();
    let mut rest = letters.as_slice();
    for left in (1..=count).rev() {
        let even = rest.len().div_ceil(left);
        let is_break = |at: &usize| rest.get(at - 1).is_some_and(|letter| matches!(letter, ':' | '.' | '-'));
        let nearest = (0..even).flat_map(|off| [even - off, even + off]).find(is_break);
        let cut = if left == 1 { rest.len() } else { nearest.unwrap_or(even) };
        let (line, others) = rest.split_at(cut.min(rest.len()));
        lines.push(line.iter().collect());
        rest = others;
    }
    lines.retain(|line: &String| !line.is_empty());
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_broken_behind_separators() {
        assert_eq!(broken("192.0.2.1"), ["192.0.2.1"]);
        assert_eq!(
            broken("2001:db8:100:2222:3333:4444:5555:6666"),
            ["2001:db8:100:2222:", "3333:4444:5555:6666"]
        );
        assert_eq!(broken(&"x".repeat(41)), ["x".repeat(14), "x".repeat(14), "x".repeat(13)]);
    }
}
