//! The route in the language of Graphviz: left to right, a rank a hop.

use std::fmt::{self, Write};

use super::{
    Report,
    graph::{Edge, Graph, Vertex},
    label::printable,
    verdict::verdict,
};

pub(super) fn text(report: &Report<'_>) -> String {
    let mut out = String::new();
    // Writing into a string cannot fail.
    let _ = write_graph(&mut out, report);
    out
}

fn write_graph(out: &mut String, report: &Report<'_>) -> fmt::Result {
    let Graph { vertices, edges, .. } = Graph::of(report);
    let title = format!("{}: {}", report.host, verdict(report.trace));
    writeln!(out, "digraph route {{")?;
    writeln!(out, "  graph [rankdir=LR, label={}, labelloc=t, fontname=\"sans-serif\"];", Quoted(&title))?;
    writeln!(out, "  node [shape=box, style=rounded, fontname=\"sans-serif\", fontsize=10];")?;
    writeln!(out, "  edge [arrowsize=0.5];")?;
    for (id, vertex) in vertices.iter().enumerate() {
        writeln!(out, "  n{id} [label={}{}];", Quoted(&label(vertex)), style(vertex))?;
    }
    let mut ids: Vec<_> = (0..vertices.len()).collect();
    let ttl = |id: &usize| vertices.get(*id).map(|vertex| vertex.ttl);
    ids.sort_by_key(ttl);
    for rank in ids.chunk_by(|one, other| ttl(one) == ttl(other)).filter(|rank| rank.len() > 1) {
        let rank: Vec<_> = rank.iter().map(|id| format!("n{id}")).collect();
        writeln!(out, "  {{ rank=same; {}; }}", rank.join("; "))?;
    }
    for edge in &edges {
        writeln!(out, "  n{} -> n{} [{}];", edge.from, edge.to, line(edge))?;
    }
    writeln!(out, "}}")
}

fn label(vertex: &Vertex<'_>) -> String {
    let lines = std::iter::once(vertex.name.clone()).chain(vertex.details());
    lines.collect::<Vec<_>>().join("\n")
}

fn style(vertex: &Vertex<'_>) -> &'static str {
    match vertex.node {
        None => ", shape=oval",
        Some(node) if node.destination => ", penwidth=2",
        Some(node) if node.address.is_none() => ", style=\"rounded,dashed\"",
        Some(node) if node.rate_limited => ", color=orange",
        Some(_) => "",
    }
}

/// As thick as its flows.
fn line(edge: &Edge) -> String {
    let width = 1.0 + f64::from(edge.flows.max(1)).log2() / 2.0;
    let style = match (edge.per_packet, edge.skips) {
        (true, _) => ", style=dashed, color=orange",
        (_, true) => ", style=dotted",
        _ => "",
    };
    format!("penwidth={width:.1}{style}, tooltip=\"{} flows\"", edge.flows)
}

/// A string of the language: quotes and backslashes are escaped, lines broken.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for (index, line) in self.0.split('\n').enumerate() {
            if index > 0 {
                f.write_str("\\n")?;
            }
            f.write_str(&printable(line).replace('\\', "\\\\").replace('"', "\\\""))?;
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_end_where_they_should() {
        assert_eq!(Quoted("a\"];\\n\u{1b}\nb").to_string(), "\"a\\\"];\\\\n\u{fffd}\\nb\"");
    }
}
