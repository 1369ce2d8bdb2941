//! A change of a route as a small picture: what came, what went, and what stayed around it, in one graph.
//!
//! Knows the parts of a change and how they are drawn. Knows nothing of the rounds that found it. The classes are those of a route
//! and of the style sheet beside this file.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write},
    net::IpAddr,
};

use super::{
    Text,
    label::SILENT,
    layout::{self, Layer, Layout, Place, Span},
};
use crate::{
    change::{Change, Part},
    words::plural,
};

const MARGIN: f64 = 14.0;
/// Room above for the numbers of the hops.
const HEADER: f64 = 26.0;
const TTL_LINE: f64 = 14.0;
const RADIUS: f64 = 5.0;
const PITCH: f64 = 32.0;
/// Distance from the centre of a node to its label.
const LABEL: f64 = 16.0;
/// Widths of a letter, and of a node without a label.
const LETTER: f64 = 5.6;
const BARE: f64 = 30.0;
/// Nodes at a hop up to which each has its label; of more, only those that the change concerns.
const LABELLED: usize = 3;
/// Parts up to which a change is drawn: of more one would see nothing, and pages would grow heavy.
const PARTS_MAX: usize = 800;

/// What became of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Stayed,
    Came,
    Went,
}

impl Fate {
    const fn class(self) -> &'static str {
        match self {
            Self::Stayed => "stayed",
            Self::Came => "came",
            Self::Went => "went",
        }
    }

    /// What tells it without colour.
    const fn sign(self) -> &'static str {
        match self {
            Self::Stayed => "",
            Self::Came => "+ ",
            Self::Went => "\u{2212} ",
        }
    }
}

/// A node by its hop; one without address stands for a hop of which no node is a part.
type Key = (u8, Option<IpAddr>);

#[derive(Debug, Default)]
struct Union {
    nodes: BTreeMap<Key, Fate>,
    links: BTreeMap<(Key, Key), Fate>,
}

/// The picture, to be an element of a page; `None` where no part of a route came or went, or too many.
pub(super) fn inline(change: &Change) -> Option<String> {
    let parts = change.came.len() + change.went.len();
    if parts == 0 || parts + change.stayed.len() > PARTS_MAX {
        return None;
    }
    let union = Union::of(change);
    let mut out = String::new();
    // Writing into a string cannot fail.
    let _ = write(&mut out, &union, &told(change));
    Some(out)
}

fn told(change: &Change) -> String {
    let count = |parts: &[Part], word: &str| {
        let [nodes, links] = Part::counts(parts);
        format!("{} and {} {word}", plural(nodes as u128, "node"), plural(links as u128, "link"))
    };
    format!("The route around the change: {}, {}", count(&change.came, "came"), count(&change.went, "went"))
}

impl Union {
    fn of(change: &Change) -> Self {
        let mut union = Self::default();
        let all = [(&change.stayed, Fate::Stayed), (&change.came, Fate::Came), (&change.went, Fate::Went)];
        for (part, fate) in
            all.into_iter().flat_map(|(parts, fate)| parts.iter().map(move |part| (part, fate)))
        {
            match *part {
                Part::Node { ttl, address } => {
                    union.nodes.insert((ttl.get(), Some(address)), fate);
                }
                Part::Link { ttl, from, to } => {
                    let ends = ((ttl.get(), Some(from)), (ttl.next().get(), Some(to)));
                    union.links.insert(ends, fate);
                }
            }
        }
        let ends: Vec<Key> = union.links.keys().flat_map(|&(from, to)| [from, to]).collect();
        for end in ends {
            union.nodes.entry(end).or_insert(Fate::Stayed);
        }
        union.bridge();
        union
    }

    /// Silent nodes are no parts of a change. A hop that has no others would tear the picture apart: one node stands for them.
    fn bridge(&mut self) {
        let hops: BTreeSet<u8> = self.nodes.keys().map(|&(ttl, _)| ttl).collect();
        let (Some(&first), Some(&last)) = (hops.first(), hops.last()) else { return };
        for ttl in (first..=last).filter(|ttl| !hops.contains(ttl)) {
            let silent = (ttl, None);
            self.nodes.insert(silent, Fate::Stayed);
            let at = |ttl: u8| self.nodes.keys().copied().filter(move |node| node.0 == ttl);
            let before = at(ttl - 1).filter(|node| !self.links.keys().any(|(from, _)| from == node));
            let behind = at(ttl + 1).filter(|node| !self.links.keys().any(|(_, to)| to == node));
            let links: Vec<_> =
                before.map(|node| (node, silent)).chain(behind.map(|node| (silent, node))).collect();
            self.links.extend(links.into_iter().map(|ends| (ends, Fate::Stayed)));
        }
    }

    /// Whether the change concerns a node: it came or went, or a link of it did.
    fn is_concerned(&self, node: &Key) -> bool {
        let has =
            |((from, to), fate): (&(Key, Key), &Fate)| *fate != Fate::Stayed && (from == node || to == node);
        self.nodes.get(node).is_some_and(|fate| *fate != Fate::Stayed) || self.links.iter().any(has)
    }
}

/// A node with what is written at it.
struct Mark {
    key: Key,
    fate: Fate,
    name: String,
    label: Option<String>,
}

fn columns(union: &Union) -> Vec<Vec<Mark>> {
    let mut columns: Vec<Vec<Mark>> = Vec::new();
    for (&key, &fate) in &union.nodes {
        let name = key.1.map_or_else(|| SILENT.to_owned(), |address| address.to_string());
        let label = union.is_concerned(&key).then(|| format!("{}{name}", fate.sign()));
        let mark = Mark { key, fate, name, label };
        match columns.last_mut() {
            Some(column) if column.first().is_some_and(|first| first.key.0 == key.0) => column.push(mark),
            _ => columns.push(vec![mark]),
        }
    }
    for column in columns.iter_mut().filter(|column| column.len() <= LABELLED) {
        for mark in column {
            mark.label.get_or_insert_with(|| mark.name.clone());
        }
    }
    columns
}

fn lay_out(columns: &[Vec<Mark>], union: &Union) -> Layout {
    let layers: Vec<_> = columns
        .iter()
        .map(|column| {
            let letters = column.iter().filter_map(|mark| Some(mark.label.as_ref()?.chars().count() as f64));
            Layer {
                nodes: column.len(),
                width: letters.map(|letters| letters * LETTER).fold(BARE, f64::max),
                pitch: PITCH,
            }
        })
        .collect();
    let find = |key: Key| {
        let at = |column: &Vec<Mark>| column.iter().position(|mark| mark.key == key);
        columns.iter().enumerate().find_map(|(layer, column)| Some((layer, at(column)?)))
    };
    let spans = union.links.keys().filter_map(|&(from, to)| {
        let ((layer, from), (_, to)) = (find(from)?, find(to)?);
        Some(Span { layer, from, to })
    });
    layout::lay_out(&layers, &spans.collect::<Vec<_>>())
}

fn write(out: &mut String, union: &Union, told: &str) -> fmt::Result {
    let columns = columns(union);
    let layout = lay_out(&columns, union);
    let mut places: BTreeMap<Key, Place> = BTreeMap::new();
    for (column, layer) in columns.iter().zip(&layout.places) {
        for (mark, place) in column.iter().zip(layer) {
            places.insert(mark.key, Place { x: place.x + MARGIN, y: place.y + HEADER });
        }
    }
    let (width, height) = (layout.width + 2.0 * MARGIN, layout.height + HEADER + LABEL / 2.0);
    writeln!(
        out,
        "<svg class=\"route difference\" role=\"img\" aria-label=\"{}\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\">",
        Text(told)
    )?;
    for column in &columns {
        if let Some((mark, place)) = column.first().and_then(|mark| Some((mark, places.get(&mark.key)?))) {
            writeln!(out, "<text class=\"ttl\" x=\"{:.1}\" y=\"{TTL_LINE}\">{}</text>", place.x, mark.key.0)?;
        }
    }
    // What changed lies above what stayed.
    let mut links: Vec<_> = union.links.iter().collect();
    links.sort_by_key(|(_, fate)| **fate);
    for ((from, to), fate) in links {
        if let (Some(from), Some(to)) = (places.get(from), places.get(to)) {
            let (Place { x, y }, middle) = (*from, (from.x + to.x) / 2.0);
            writeln!(
                out,
                "<path class=\"link {}\" d=\"M{x:.1} {y:.1}C{middle:.1} {y:.1} {middle:.1} {:.1} {:.1} {:.1}\"/>",
                fate.class(),
                to.y,
                to.x,
                to.y
            )?;
        }
    }
    for mark in columns.iter().flatten() {
        if let Some(place) = places.get(&mark.key) {
            write_mark(out, mark, *place)?;
        }
    }
    out.push_str("</svg>\n");
    Ok(())
}

fn write_mark(out: &mut String, mark: &Mark, Place { x, y }: Place) -> fmt::Result {
    let class = if mark.key.1.is_none() { "silent" } else { mark.fate.class() };
    let name = Text(&mark.name);
    writeln!(out, "<g class=\"node\"><title>{}{name}</title>", mark.fate.sign())?;
    writeln!(out, "<circle class=\"dot {class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{RADIUS}\"/>")?;
    if let Some(label) = &mark.label {
        let class = mark.fate.class();
        writeln!(
            out,
            "<text class=\"name small {class}\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
            y + LABEL,
            Text(label)
        )?;
    }
    out.push_str("</g>\n");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{probe::Ttl, render::sample};

    fn node(ttl: u8, text: &str) -> Part {
        Part::Node { ttl: Ttl::new(ttl).unwrap(), address: sample::address(text) }
    }

    fn link(ttl: u8, from: &str, to: &str) -> Part {
        Part::Link { ttl: Ttl::new(ttl).unwrap(), from: sample::address(from), to: sample::address(to) }
    }

    #[test]
    fn a_change_is_drawn_in_its_place() {
        let change = Change {
            came: vec![
                node(2, "192.0.2.3"),
                link(1, "192.0.2.1", "192.0.2.3"),
                link(2, "192.0.2.3", "192.0.2.4"),
            ],
            went: vec![
                node(2, "192.0.2.2"),
                link(1, "192.0.2.1", "192.0.2.2"),
                link(2, "192.0.2.2", "192.0.2.4"),
            ],
            stayed: vec![node(1, "192.0.2.1"), node(3, "192.0.2.4"), node(5, "192.0.2.9")],
            ..Change::at(sample::STARTED)
        };
        let svg = inline(&change).unwrap();
        let document = roxmltree::Document::parse(&svg).unwrap();
        let count = |name: &str, class: &str| {
            let has = |node: &roxmltree::Node<'_, '_>| {
                node.has_tag_name(name)
                    && node.attribute("class").is_some_and(|own| own.split(' ').any(|own| own == class))
            };
            document.descendants().filter(has).count()
        };
        for (name, class, expected) in [
            ("path", "came", 2),
            ("path", "went", 2),
            // To the silent fourth hop and from it.
            ("path", "stayed", 2),
            ("circle", "came", 1),
            ("circle", "went", 1),
            ("circle", "stayed", 3),
            ("circle", "silent", 1),
        ] {
            assert_eq!(count(name, class), expected, "{name} {class}: {svg}");
        }
        for told in [
            "1 node and 2 links came, 1 node and 2 links went",
            ">+ 192.0.2.3<",
            ">\u{2212} 192.0.2.2<",
            ">192.0.2.9<",
        ] {
            assert!(svg.contains(told), "{told}: {svg}");
        }
        let classes =
            document.descendants().filter_map(|node| node.attribute("class")).flat_map(|own| own.split(' '));
        for class in classes {
            let rules = concat!(include_str!("svg/route.css"), include_str!("difference.css"));
            assert!(rules.contains(&format!(".{class}")), "{class}");
        }
    }

    #[test]
    fn a_change_without_parts_or_with_too_many_has_no_picture() {
        let stayed = vec![node(1, "192.0.2.1")];
        assert_eq!(inline(&Change { stayed, ..Change::at(sample::STARTED) }), None);
        let many = |count: usize| vec![node(1, "192.0.2.1"); count];
        for (count, drawn) in [(PARTS_MAX / 2, true), (PARTS_MAX / 2 + 1, false)] {
            let change =
                Change { came: many(count), stayed: many(PARTS_MAX / 2), ..Change::at(sample::STARTED) };
            assert_eq!(inline(&change).is_some(), drawn, "{count}");
        }
    }

    #[test]
    fn only_what_is_concerned_has_a_label_in_a_crowd() {
        let stayed = (1..=9).map(|place| node(1, &format!("192.0.2.{place}"))).collect();
        let change = Change { came: vec![node(1, "192.0.2.20")], stayed, ..Change::at(sample::STARTED) };
        let svg = inline(&change).unwrap();
        assert_eq!(svg.matches("<text class=\"name").count(), 1, "{svg}");
        assert_eq!(svg.matches("<circle").count(), 10);
    }
}
