//! The parser of topology files: lines to statements, names to places, scripts replayed once to check them.
//!
//! Knows the syntax and its limits. Errors are sentences without the line; [`parse`] adds it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    Attributes, Change, DEFAULT_DELAY, Edge, Event, Faults, Node, Topology, TopologyError,
    values::{ATTRIBUTES, duration, number, set_attributes, set_faults},
};
use crate::time::Time;

/// A range or a mesh beyond this is a slip of the pen.
const MAX_NODES: usize = 10_000;
const MAX_WEIGHT: u32 = 1_000_000;
const KEYWORDS: [&str; 9] =
    ["source", "destination", "node", "network", "at", "add", "remove", "rehash", "repeat"];

/// Reads a whole file.
pub(super) fn parse(text: &str) -> Result<Topology, TopologyError> {
    let mut parser = Parser::default();
    for (index, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        parser.statement(index + 1, &words).map_err(at_line(index + 1))?;
    }
    parser.finish(text.lines().count())
}

fn at_line(line: usize) -> impl Fn(String) -> TopologyError {
    move |message| TopologyError { line, message }
}

#[derive(Default)]
struct Parser<'a> {
    nodes: Vec<Node>,
    places: BTreeMap<String, usize>,
    /// Nodes that an edge or a `source` or `destination` line names, by which slips in other lines are found.
    linked: BTreeSet<usize>,
    /// Edges by their ends, so that a second of the same ends is found.
    ends: BTreeSet<(usize, usize)>,
    edges: Vec<Edge>,
    source: Option<usize>,
    destinations: Vec<usize>,
    faults: Faults,
    /// Nodes named by lines that do not bring them into being.
    mentions: Vec<(usize, usize)>,
    script: Vec<(usize, Time, Step<'a>)>,
    /// With the line that says so.
    period: Option<(usize, Duration)>,
}

/// A scripted change whose meaning depends on what came before it in time.
enum Step<'a> {
    Add(Edge),
    Remove(usize, usize),
    Node(usize, Vec<&'a str>),
    Network(Vec<&'a str>),
    Rehash(usize),
}

impl<'a> Parser<'a> {
    fn statement(&mut self, line: usize, words: &[&'a str]) -> Result<(), String> {
        match words {
            [] => Ok(()),
            ["source", name] => {
                if self.source.is_some() {
                    return Err("there is a source already; allowed is one".to_owned());
                }
                let source = self.place(name)?;
                self.linked.insert(source);
                self.source = Some(source);
                Ok(())
            }
            ["source", ..] => Err("`source` takes one name".to_owned()),
            ["destination"] => Err("`destination` takes one name or more".to_owned()),
            ["destination", names @ ..] => {
                for node in self.group(names)? {
                    if self.destinations.contains(&node) {
                        return Err(format!("`{}` is a destination already", self.name(node)));
                    }
                    self.linked.insert(node);
                    self.destinations.push(node);
                }
                Ok(())
            }
            ["node", words @ ..] => {
                let (names, attributes) = split_attributes(words)?;
                for node in self.group(names)? {
                    self.mentions.push((line, node));
                    if let Some(node) = self.nodes.get_mut(node) {
                        set_attributes(&mut node.attributes, attributes)?;
                    }
                }
                Ok(())
            }
            ["network", words @ ..] => set_faults(&mut self.faults, words),
            ["repeat", period] => {
                if self.period.is_some() {
                    return Err("the script is repeated already; allowed is one period".to_owned());
                }
                self.period = Some((line, duration("repeat", period)?));
                Ok(())
            }
            ["repeat", ..] => Err("`repeat` takes one time".to_owned()),
            ["at", time, words @ ..] => {
                let time = Time::ZERO + duration("at", time)?;
                self.scripted(line, time, words)
            }
            words => {
                for edge in self.edges_of(words)? {
                    if !self.ends.insert((edge.from, edge.to)) {
                        return Err(format!("there is an edge {} already", self.arrow(edge.from, edge.to)));
                    }
                    self.edges.push(edge);
                }
                Ok(())
            }
        }
    }

    fn scripted(&mut self, line: usize, time: Time, words: &[&'a str]) -> Result<(), String> {
        match words {
            ["add", words @ ..] => {
                let edges = self.edges_of(words)?;
                self.script.extend(edges.into_iter().map(|edge| (line, time, Step::Add(edge))));
            }
            ["remove", words @ ..] => {
                if let Some(word) = words.iter().find(|word| word.contains('=')) {
                    return Err(format!("`{word}`: `remove` takes the ends of an edge alone"));
                }
                let edges = self.edges_of(words)?;
                self.script
                    .extend(edges.into_iter().map(|edge| (line, time, Step::Remove(edge.from, edge.to))));
            }
            ["node", words @ ..] => {
                let (names, attributes) = split_attributes(words)?;
                for node in self.group(names)? {
                    self.mentions.push((line, node));
                    self.script.push((line, time, Step::Node(node, attributes.to_vec())));
                }
            }
            ["network", words @ ..] => self.script.push((line, time, Step::Network(words.to_vec()))),
            ["rehash", names @ ..] if !names.is_empty() => {
                for node in self.group(names)? {
                    self.mentions.push((line, node));
                    self.script.push((line, time, Step::Rehash(node)));
                }
            }
            _ => {
                return Err("after `at TIME` allowed are add EDGE, remove EDGE, node NAME ATTRIBUTE…, network FAULT…, \
                            rehash NAME…"
                    .to_owned());
            }
        }
        Ok(())
    }

    fn finish(mut self, last_line: usize) -> Result<Topology, TopologyError> {
        let whole = at_line(last_line.max(1));
        let Some(source) = self.source.or_else(|| self.linked_place("s")) else {
            return Err(whole("there is no source; name a node `s` or write `source NAME`".to_owned()));
        };
        if self.destinations.is_empty() {
            match self.linked_place("d") {
                Some(destination) => self.destinations.push(destination),
                None => {
                    return Err(whole(
                        "there is no destination; name a node `d` or write `destination NAME`".to_owned(),
                    ));
                }
            }
        }
        if self.destinations.contains(&source) {
            return Err(whole(format!(
                "`{}` is source and destination; allowed is one of them",
                self.name(source)
            )));
        }
        for &(line, node) in &self.mentions {
            if !self.linked.contains(&node) {
                return Err(at_line(line)(format!("no edge leads from or to `{}`", self.name(node))));
            }
        }
        let events = self.replay()?;
        let last = events.last().map(|event: &Event| event.at.since(Time::ZERO));
        if let Some((line, period)) = self.period
            && last.is_none_or(|last| period <= last)
        {
            let wrong = "`repeat` takes a time behind the last change of the script; without one there is nothing to repeat";
            return Err(at_line(line)(wrong.to_owned()));
        }
        Ok(Topology {
            nodes: self.nodes,
            edges: self.edges,
            source,
            destinations: self.destinations,
            faults: self.faults,
            events,
            period: self.period.map(|(_, period)| period),
        })
    }

    /// Goes through the script in order of time and gives each step the meaning it has then.
    fn replay(&mut self) -> Result<Vec<Event>, TopologyError> {
        let mut script = std::mem::take(&mut self.script);
        script.sort_by_key(|(_, time, _)| *time);
        let mut edges: BTreeMap<_, _> = self.edges.iter().map(|&edge| ((edge.from, edge.to), edge)).collect();
        let mut attributes: Vec<_> = self.nodes.iter().map(|node| node.attributes.clone()).collect();
        let mut faults = self.faults;
        let mut events = Vec::new();
        for (line, at, step) in script {
            let wrong = at_line(line);
            let change = match step {
                Step::Add(edge) => match edges.insert((edge.from, edge.to), edge) {
                    None => Change::Add(edge),
                    Some(_) => {
                        let arrow = self.arrow(edge.from, edge.to);
                        return Err(wrong(format!("there is an edge {arrow} already at this time")));
                    }
                },
                Step::Remove(from, to) => match edges.remove(&(from, to)) {
                    Some(edge) => Change::Remove(edge),
                    None => {
                        return Err(wrong(format!("there is no edge {} at this time", self.arrow(from, to))));
                    }
                },
                Step::Node(node, words) => {
                    let Some(current) = attributes.get_mut(node) else {
                        continue;
                    };
                    set_attributes(current, &words).map_err(wrong)?;
                    Change::Node { node, attributes: current.clone() }
                }
                Step::Network(words) => {
                    set_faults(&mut faults, &words).map_err(wrong)?;
                    Change::Network(faults)
                }
                Step::Rehash(node) => Change::Rehash(node),
            };
            events.push(Event { at, change });
        }
        Ok(events)
    }

    /// The edges of `a b -> c -> d e key=value…`, one group to the next.
    fn edges_of(&mut self, words: &[&str]) -> Result<Vec<Edge>, String> {
        let names = words.iter().position(|word| word.contains('=')).unwrap_or(words.len());
        let (names, options) = words.split_at(names);
        if !names.contains(&"->") {
            return Err(format!(
                "`{}` is no statement; allowed are source, destination, node, network, at, repeat and edges `a -> b`",
                words.join(" ")
            ));
        }
        let mut weight = 1;
        let mut delay = DEFAULT_DELAY;
        for option in options {
            match option.split_once('=') {
                Some(("weight", value)) => weight = number("weight", value, &(1..=MAX_WEIGHT))?,
                Some(("delay", value)) => delay = duration("delay", value)?,
                _ => {
                    return Err(format!(
                        "`{option}` is nothing an edge has; allowed behind its nodes are weight=, delay="
                    ));
                }
            }
        }
        let groups: Vec<_> =
            names.split(|&word| word == "->").map(|names| self.group(names)).collect::<Result<_, _>>()?;
        let mut edges = Vec::new();
        for (from_group, to_group) in groups.iter().zip(groups.iter().skip(1)) {
            for &from in from_group {
                for &to in to_group {
                    if from == to {
                        return Err(format!("`{}` cannot be its own neighbour", self.name(from)));
                    }
                    self.linked.extend([from, to]);
                    edges.push(Edge { from, to, weight, delay });
                }
            }
        }
        Ok(edges)
    }

    /// The nodes of a list of names and ranges; they come into being when first named.
    fn group(&mut self, names: &[&str]) -> Result<Vec<usize>, String> {
        if names.is_empty() {
            return Err("a name is missing; an edge has a node on both sides of `->`".to_owned());
        }
        let mut group = Vec::new();
        for name in names {
            match name.split_once("..") {
                None => group.push(self.place(name)?),
                Some((first, last)) => {
                    let (prefix, first, last) = range(first, last).ok_or_else(|| {
                        format!("`{name}` is no range of nodes; allowed is one as `a1..a16`, rising")
                    })?;
                    for number in first..=last {
                        group.push(self.place(&format!("{prefix}{number}"))?);
                    }
                }
            }
        }
        Ok(group)
    }

    fn place(&mut self, name: &str) -> Result<usize, String> {
        if let Some(&place) = self.places.get(name) {
            return Ok(place);
        }
        let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        if !plain || !name.starts_with(|c: char| c.is_ascii_alphabetic()) || KEYWORDS.contains(&name) {
            return Err(format!(
                "`{name}` is no name of a node; allowed are letters, digits, `-`, `_`, a letter first, no keyword"
            ));
        }
        if self.nodes.len() >= MAX_NODES {
            return Err(format!("there are more than {MAX_NODES} nodes"));
        }
        let place = self.nodes.len();
        self.nodes.push(Node { name: name.to_owned(), attributes: Attributes::default() });
        self.places.insert(name.to_owned(), place);
        Ok(place)
    }

    fn linked_place(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied().filter(|place| self.linked.contains(place))
    }

    fn name(&self, node: usize) -> &str {
        self.nodes.get(node).map_or("", |node| node.name.as_str())
    }

    fn arrow(&self, from: usize, to: usize) -> String {
        format!("{} -> {}", self.name(from), self.name(to))
    }
}

/// `a1` and `a16` as prefix, first and last number.
fn range<'b>(first: &'b str, last: &str) -> Option<(&'b str, usize, usize)> {
    let prefix = first.trim_end_matches(|c: char| c.is_ascii_digit());
    let from = first.strip_prefix(prefix)?.parse().ok()?;
    let to = last.strip_prefix(prefix)?.parse().ok()?;
    (from <= to && to - from < MAX_NODES).then_some((prefix, from, to))
}

/// `NAME ATTRIBUTE…`: one name or range, then at least one attribute.
fn split_attributes<'w, 'a>(words: &'w [&'a str]) -> Result<(&'w [&'a str], &'w [&'a str]), String> {
    match words.split_at_checked(1) {
        Some((name, attributes)) if !attributes.is_empty() => Ok((name, attributes)),
        _ => Err(format!("`node` takes a name and attributes; allowed are {ATTRIBUTES}")),
    }
}
