//! The route as a flow chart of Mermaid, for documents that draw such charts.

use std::fmt::{self, Write};

use super::{
    Report,
    graph::{Graph, Vertex},
};

pub(super) fn text(report: &Report<'_>) -> String {
    let mut out = String::new();
    // Writing into a string cannot fail.
    let _ = write_chart(&mut out, report);
    out
}

fn write_chart(out: &mut String, report: &Report<'_>) -> fmt::Result {
    let Graph { vertices, edges, .. } = Graph::of(report);
    writeln!(out, "flowchart LR")?;
    for (id, vertex) in vertices.iter().enumerate() {
        let (open, close) = match vertex.node {
            None => ("([", "])"),
            Some(node) if node.destination => ("[[", "]]"),
            Some(node) if node.address.is_none() => ("(", ")"),
            Some(_) => ("[", "]"),
        };
        writeln!(out, "  n{id}{open}\"{}\"{close}", Entities(&label(vertex)))?;
    }
    for edge in &edges {
        let arrow = if edge.per_packet || edge.skips { "-.->" } else { "-->" };
        writeln!(out, "  n{} {arrow} n{}", edge.from, edge.to)?;
    }
    let silent = vertices
        .iter()
        .enumerate()
        .filter(|(_, vertex)| vertex.node.is_some_and(|node| node.address.is_none()));
    let silent: Vec<_> = silent.map(|(id, _)| format!("n{id}")).collect();
    if !silent.is_empty() {
        writeln!(out, "  classDef silent stroke-dasharray: 4")?;
        writeln!(out, "  class {} silent", silent.join(","))?;
    }
    Ok(())
}

/// Name and median round-trip time: charts have little room.
fn label(vertex: &Vertex<'_>) -> String {
    let rtt = vertex.node.and_then(|node| node.rtt);
    match rtt {
        Some(rtt) => format!("{}\n{}", vertex.name, super::milliseconds(rtt.median)),
        None => vertex.name.clone(),
    }
}

/// Text in quotes: whatever could end it, or mean something in Markdown or HTML, is an entity. Mermaid writes them `#35;`.
struct Entities<'a>(&'a str);

impl fmt::Display for Entities<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '\n' => f.write_str("<br>")?,
                ' ' | '.' | ':' | '-' => f.write_char(letter)?,
                letter if letter.is_alphanumeric() => f.write_char(letter)?,
                letter if letter.is_control() => f.write_char(char::REPLACEMENT_CHARACTER)?,
                letter => write!(f, "#{};", u32::from(letter))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_end_where_they_should() {
        assert_eq!(Entities("a\"]\n*<b>").to_string(), "a#34;#93;<br>#42;#60;b#62;");
    }
}
