//! The route as a picture: hops from left to right, links as thick as the flows seen on them, nodes coloured by round-trip time.
//!
//! It serves as a file of its own and as a part of a page whose policy allows no inline styles: what is not a plain attribute is
//! a class of the style sheet. Everything that came from outside is escaped.

mod sheet;

use std::fmt::{self, Write};

use self::sheet::{Column, Detail, LINE, RADIUS, SMALL_LINE, SMALL_RADIUS, Sheet, lines};
use super::{
    Report, Text,
    graph::{Edge, Graph, Vertex},
    layout::Place,
    verdict::verdict,
};
use crate::{
    route::{Balancing, Diamond, RttSummary},
    words::plural,
};

/// Room around the picture, above it for the hops, below it for the key.
const MARGIN: f64 = 20.0;
const HEADER: f64 = 44.0;
const KEY: f64 = 40.0;
/// Distance from the top of the picture to the numbers of the hops, and to what is said of a hop as a whole.
const TTL_LINE: f64 = 20.0;
const LOSS_LINE: f64 = 33.0;
/// Links at a hop from which on they are drawn fainter.
const DENSE: usize = 30;
/// Round-trip times in milliseconds at which the colour changes.
const STEPS: [u32; 5] = [1, 5, 20, 60, 150];

/// The rules that the classes of a picture need. All are below `.route`.
#[must_use]
pub const fn svg_style() -> &'static str {
    include_str!("svg/route.css")
}

/// The picture as a file.
pub(super) fn alone(report: &Report<'_>) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Writing into a string cannot fail.
    let _ = Picture::of(report, false).write(&mut out, true);
    out
}

/// The picture as an element of a page. With `keyed` nodes and links say in attributes who they are, so that a script can tell them from
/// others in a later picture: `data-key` is hop and address, `data-node` a number that links have as `data-from` and `data-to`.
pub(super) fn inline(report: &Report<'_>, keyed: bool) -> String {
    let mut out = String::new();
    // Writing into a string cannot fail.
    let _ = Picture::of(report, keyed).write(&mut out, false);
    out
}

struct Picture<'a> {
    report: &'a Report<'a>,
    graph: Graph<'a>,
    sheet: Sheet,
    /// The centre of each vertex.
    places: Vec<Place>,
    width: f64,
    height: f64,
    keyed: bool,
}

impl<'a> Picture<'a> {
    fn of(report: &'a Report<'a>, keyed: bool) -> Self {
        let graph = Graph::of(report);
        let sheet = Sheet::of(&graph);
        let mut places = vec![Place::default(); graph.vertices.len()];
        for (column, layer) in sheet.columns.iter().zip(&sheet.layout.places) {
            for (&vertex, place) in column.vertices.iter().zip(layer) {
                if let Some(there) = places.get_mut(vertex) {
                    *there = Place { x: place.x + MARGIN, y: place.y + HEADER };
                }
            }
        }
        let width = sheet.layout.width.max(key_width(&graph)) + 2.0 * MARGIN;
        // Labels hang below their nodes.
        let hanging = sheet.columns.iter().map(|column| column.below).fold(0.0, f64::max);
        let height = sheet.layout.height + HEADER + hanging / 2.0 + KEY;
        Self { report, graph, sheet, places, width, height, keyed }
    }

    fn write(&self, out: &mut String, alone: bool) -> fmt::Result {
        let Self { width, height, .. } = self;
        let told = format!("Route to {}: {}", self.report.host, verdict(self.report.trace));
        let xmlns = if alone { " xmlns=\"http://www.w3.org/2000/svg\"" } else { "" };
        writeln!(
            out,
            "<svg{xmlns} class=\"route\" role=\"group\" aria-label=\"{}\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\">",
            Text(&told)
        )?;
        if alone {
            writeln!(out, "<title>{}</title>", Text(&told))?;
            writeln!(out, "<style>\n{}</style>", svg_style())?;
        }
        writeln!(out, "<rect class=\"paper\" width=\"{width:.0}\" height=\"{height:.0}\"/>")?;
        self.write_regions(out)?;
        self.write_axis(out)?;
        self.write_links(out)?;
        for column in &self.sheet.columns {
            for &vertex in &column.vertices {
                self.write_node(out, vertex, column)?;
            }
        }
        self.write_key(out)?;
        out.push_str("</svg>\n");
        Ok(())
    }

    /// Grounds behind diamonds and per-packet zones.
    fn write_regions(&self, out: &mut String) -> fmt::Result {
        for diamond in &self.report.trace.route.diamonds {
            let Diamond { divergence_ttl, convergence_ttl, width, .. } = *diamond;
            let last = self.sheet.columns.last().map_or(0, |column| column.ttl);
            let caption = format!("{width} wide");
            self.write_region(out, "diamond", (divergence_ttl, convergence_ttl.unwrap_or(last)), &caption)?;
        }
        let links = self.report.trace.route.links.iter().filter(|link| link.per_packet);
        let mut hops: Vec<u8> = links.map(|link| link.ttl.get()).collect();
        hops.dedup();
        for zone in hops.chunk_by(|one, next| one + 1 == *next) {
            if let (Some(first), Some(last)) = (zone.first(), zone.last()) {
                self.write_region(out, "zone", (*first, last + 1), "per packet")?;
            }
        }
        Ok(())
    }

    fn write_region(
        &self,
        out: &mut String,
        class: &str,
        (first, last): (u8, u8),
        caption: &str,
    ) -> fmt::Result {
        let mut bounds: Option<[f64; 4]> = None;
        for column in self.sheet.columns.iter().filter(|column| (first..=last).contains(&column.ttl)) {
            for Place { x, y } in column.vertices.iter().filter_map(|vertex| self.places.get(*vertex)) {
                let [left, right, top, bottom] = bounds.unwrap_or([*x, *x, *y, *y]);
                let (above, below) = (y - RADIUS - 14.0, y + column.below + 6.0);
                bounds = Some([left.min(*x), right.max(*x), top.min(above), bottom.max(below)]);
            }
        }
        let Some([left, right, top, bottom]) = bounds else { return Ok(()) };
        writeln!(
            out,
            "<rect class=\"{class}\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"14\"/>",
            right - left,
            bottom - top
        )?;
        writeln!(
            out,
            "<text class=\"caption\" x=\"{:.1}\" y=\"{:.1}\">{caption}</text>",
            left + 14.0,
            top + 12.0
        )
    }

    /// The number of each hop, with what was lost there and cannot be told of a node.
    fn write_axis(&self, out: &mut String) -> fmt::Result {
        for column in &self.sheet.columns {
            let Some(Place { x, .. }) = column.vertices.first().and_then(|vertex| self.places.get(*vertex))
            else {
                continue;
            };
            let hop = self.report.trace.route.hops.iter().find(|hop| hop.ttl.get() == column.ttl);
            let Some(hop) = hop else { continue };
            writeln!(out, "<text class=\"ttl\" x=\"{x:.1}\" y=\"{TTL_LINE}\">{}</text>", hop.ttl)?;
            let losses = self.graph.losses.get(&hop.ttl);
            if let Some(loss) = losses.and_then(|losses| losses.hop.as_deref()) {
                writeln!(
                    out,
                    "<text class=\"note bad\" x=\"{x:.1}\" y=\"{LOSS_LINE}\">{}</text>",
                    Text(loss)
                )?;
            }
        }
        Ok(())
    }

    fn write_links(&self, out: &mut String) -> fmt::Result {
        for edges in self.graph.edges.chunk_by(|one, other| self.ttl(one.from) == self.ttl(other.from)) {
            let dense = if edges.len() >= DENSE { " class=\"dense\"" } else { "" };
            writeln!(out, "<g{dense}>")?;
            for edge in edges {
                self.write_link(out, edge)?;
            }
            out.push_str("</g>\n");
        }
        Ok(())
    }

    fn write_link(&self, out: &mut String, edge: &Edge) -> fmt::Result {
        let (Some(from), Some(to)) = (self.places.get(edge.from), self.places.get(edge.to)) else {
            return Ok(());
        };
        let class = match (edge.per_packet, edge.skips) {
            (true, _) => "link packet",
            (_, true) => "link skip",
            _ => "link",
        };
        let (Place { x, y }, middle) = (*from, (from.x + to.x) / 2.0);
        let width = 1.0 + 0.6 * f64::from(edge.flows.max(1)).log2();
        let name = |vertex: usize| self.graph.vertices.get(vertex).map_or("", |vertex| &vertex.name);
        let flows = plural(edge.flows.into(), "flow");
        write!(out, "<path class=\"{class}\"")?;
        if self.keyed {
            write!(out, " data-from=\"{}\" data-to=\"{}\"", edge.from, edge.to)?;
        }
        write!(out, " stroke-width=\"{width:.1}\" d=\"M{x:.1} {y:.1}")?;
        match (y - to.y).abs() < 0.5 {
            true => write!(out, "H{:.1}", to.x)?,
            false => write!(out, "C{middle:.1} {y:.1} {middle:.1} {:.1} {:.1} {:.1}", to.y, to.x, to.y)?,
        }
        writeln!(
            out,
            "\"><title>{} \u{2192} {}, {flows}</title></path>",
            Text(name(edge.from)),
            Text(name(edge.to))
        )
    }

    fn ttl(&self, vertex: usize) -> Option<u8> {
        self.graph.vertices.get(vertex).map(|vertex| vertex.ttl)
    }

    fn write_node(&self, out: &mut String, index: usize, column: &Column) -> fmt::Result {
        let (Some(vertex), Some(Place { x, y })) = (self.graph.vertices.get(index), self.places.get(index))
        else {
            return Ok(());
        };
        let details = vertex.details();
        let told: Vec<_> =
            std::iter::once(vertex.name.as_str()).chain(details.iter().map(String::as_str)).collect();
        out.push_str("<g class=\"node\"");
        if self.keyed {
            let place = column.vertices.iter().filter(|own| **own < index).count();
            write!(out, " data-node=\"{index}\" data-key=\"{} {}", vertex.ttl, Text(&vertex.name))?;
            // Silent nodes have no name of their own.
            let is_silent = vertex.node.is_some_and(|node| node.address.is_none());
            write!(out, "{}\"", if is_silent { format!(" {place}") } else { String::new() })?;
        }
        writeln!(
            out,
            " tabindex=\"0\" role=\"img\" aria-label=\"{}\"><title>{}</title>",
            Text(&told.join(", ")),
            Text(&told.join("\n"))
        )?;
        write_dot(out, vertex, column.detail, *x, *y)?;
        let (radius, line, size) = match column.detail {
            Detail::Full => (RADIUS, LINE, ""),
            _ => (SMALL_RADIUS, SMALL_LINE, " small"),
        };
        let mut at = y + radius + line;
        for text in lines(vertex, column.detail) {
            let class = text.class;
            writeln!(
                out,
                "<text class=\"{class}{size}\" x=\"{x:.1}\" y=\"{at:.1}\">{}</text>",
                Text(&text.text)
            )?;
            at += line;
        }
        if column.detail == Detail::Bare {
            writeln!(
                out,
                "<text class=\"name more\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
                y - radius - 4.0,
                Text(&vertex.name)
            )?;
        }
        out.push_str("</g>\n");
        Ok(())
    }

    /// What colours and marks mean, as far as they occur.
    fn write_key(&self, out: &mut String) -> fmt::Result {
        let y = self.height - KEY / 2.0 + 4.0;
        let mut x = MARGIN + 4.0;
        for entry in key(&self.graph) {
            entry.write_mark(out, x, y - 4.0)?;
            writeln!(
                out,
                "<text class=\"key\" x=\"{:.1}\" y=\"{y:.1}\">{}</text>",
                x + 10.0,
                Text(&entry.text)
            )?;
            x += entry.width();
        }
        Ok(())
    }
}

fn write_dot(out: &mut String, vertex: &Vertex<'_>, detail: Detail, x: f64, y: f64) -> fmt::Result {
    let radius = if detail == Detail::Full { RADIUS } else { SMALL_RADIUS };
    let Some(node) = vertex.node else {
        let (left, top, side) = (x - radius, y - radius, 2.0 * radius);
        return writeln!(
            out,
            "<rect class=\"dot source\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{side}\" height=\"{side}\" rx=\"2\"/>"
        );
    };
    let class = match node.rtt {
        _ if node.address.is_none() => "silent".to_owned(),
        rtt => rtt.map_or_else(|| "silent".to_owned(), |rtt| format!("rtt{}", step(rtt))),
    };
    if node.balancing == Balancing::PerPacket {
        write_diamond(out, &format!("dot {class}"), x, y, radius + 2.0)?;
    } else {
        writeln!(out, "<circle class=\"dot {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\"/>")?;
    }
    let mut ring = |class: &str, distance: f64| {
        writeln!(out, "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{}\"/>", radius + distance)
    };
    if node.destination {
        ring("ring", 3.0)?;
    }
    if node.rate_limited {
        ring("limited", if node.destination { 6.0 } else { 3.0 })?;
    }
    Ok(())
}

/// The mark of a balancer that deals out packet by packet.
fn write_diamond(out: &mut String, class: &str, x: f64, y: f64, reach: f64) -> fmt::Result {
    let (left, top) = (x - reach, y - reach);
    writeln!(
        out,
        "<path class=\"{class}\" d=\"M{left:.1} {y:.1}L{x:.1} {top:.1} {:.1} {y:.1} {x:.1} {:.1}Z\"/>",
        x + reach,
        y + reach
    )
}

/// Which of the colours a round-trip time has.
fn step(rtt: RttSummary) -> usize {
    let millis = rtt.median.as_secs_f64() * 1000.0;
    STEPS.iter().take_while(|step| millis >= f64::from(**step)).count()
}

/// An entry of the key.
struct Entry {
    mark: Mark,
    text: String,
}

enum Mark {
    Dot(String),
    Diamond,
    Line,
}

impl Entry {
    fn width(&self) -> f64 {
        self.text.chars().count() as f64 * 5.8 + 30.0
    }

    fn write_mark(&self, out: &mut String, x: f64, y: f64) -> fmt::Result {
        match &self.mark {
            Mark::Dot(class) => {
                writeln!(out, "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\"/>")
            }
            Mark::Diamond => write_diamond(out, "dot source", x, y, 6.0),
            Mark::Line => writeln!(
                out,
                "<path class=\"link packet\" stroke-width=\"2\" d=\"M{:.1} {y:.1}H{:.1}\"/>",
                x - 8.0,
                x + 6.0
            ),
        }
    }
}

fn key(graph: &Graph<'_>) -> Vec<Entry> {
    let nodes = || graph.vertices.iter().filter_map(|vertex| vertex.node);
    let dot = |class: &str, text: &str| Entry { mark: Mark::Dot(class.to_owned()), text: text.to_owned() };
    let mut key = Vec::new();
    for colour in 0..=STEPS.len() {
        let text = match (STEPS.get(colour), STEPS.last()) {
            (Some(below), _) => format!("< {below} ms"),
            (None, last) => format!("\u{2265} {} ms", last.copied().unwrap_or(0)),
        };
        if nodes().filter_map(|node| node.rtt).any(|rtt| step(rtt) == colour) {
            key.push(dot(&format!("dot rtt{colour}"), &text));
        }
    }
    if nodes().any(|node| node.destination) {
        key.push(dot("ring", "destination"));
    }
    if nodes().any(|node| node.address.is_none()) {
        key.push(dot("dot silent", "never answered"));
    }
    if nodes().any(|node| node.rate_limited) {
        key.push(dot("limited", "limits its answers"));
    }
    if nodes().any(|node| node.balancing == Balancing::PerPacket) {
        key.push(Entry { mark: Mark::Diamond, text: "balances per packet".to_owned() });
    }
    if graph.edges.iter().any(|edge| edge.per_packet) {
        key.push(Entry { mark: Mark::Line, text: "balanced per packet".to_owned() });
    }
    key
}

fn key_width(graph: &Graph<'_>) -> f64 {
    key(graph).iter().map(Entry::width).sum()
}

#[cfg(test)]
mod tests;
