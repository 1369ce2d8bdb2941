//! The route as vis-network reads it: what the viewers of the traceflow family draw.

use serde::Serialize;

use super::{Report, graph::Graph};

#[derive(Serialize)]
struct Network {
    nodes: Vec<Node>,
    edges: Vec<Edge>,
}

#[derive(Serialize)]
struct Node {
    id: usize,
    label: String,
    level: u8,
}

#[derive(Serialize)]
struct Edge {
    from: usize,
    to: usize,
}

pub(super) fn text(report: &Report<'_>) -> String {
    let Graph { vertices, edges, .. } = Graph::of(report);
    let node =
        |(id, vertex): (usize, super::graph::Vertex<'_>)| Node { id, label: vertex.name, level: vertex.ttl };
    let network = Network {
        nodes: vertices.into_iter().enumerate().map(node).collect(),
        edges: edges.into_iter().map(|edge| Edge { from: edge.from, to: edge.to }).collect(),
    };
    // Serialising plain structs into a string cannot fail.
    let mut text = serde_json::to_string_pretty(&network).unwrap_or_default();
    text.push('\n');
    text
}
