//! The history of a target: what changed when, each with a picture of what came and went.

use std::sync::Arc;

use super::Moment;
use crate::{
    change::{Change, ChangeKind, Part},
    render,
    words::plural,
};

/// Parts that are named of each change; further ones are counted.
const NAMED: usize = 12;
/// Changes that are drawn, the newest.
const DRAWN: usize = 20;

/// All that one round found to be different.
pub(super) struct Event {
    pub(super) at: Moment,
    pub(super) entries: Vec<Entry>,
}

pub(super) struct Entry {
    /// The kind in a word, and what happened in a few.
    pub(super) kind: &'static str,
    pub(super) told: String,
    /// SVG made here; empty where there is nothing to draw.
    pub(super) picture: String,
    pub(super) came: Parts,
    pub(super) went: Parts,
}

/// Parts in words, and how many more there are.
#[derive(Default)]
pub(super) struct Parts {
    pub(super) named: Vec<String>,
    pub(super) further: usize,
}

/// The changes, the newest first, those of a round together.
pub(super) fn events(changes: &[Arc<Change>]) -> Vec<Event> {
    let mut left = DRAWN;
    let rounds = changes.chunk_by(|one, other| one.at == other.at).rev();
    let event = move |round: &[Arc<Change>]| {
        let mut changes: Vec<_> = round.iter().collect();
        // What was seen first, then what it means.
        changes.sort_by_key(|change| change.kind);
        let mut draw = |change: &Change| {
            let picture = if left > 0 { render::difference(change) } else { None };
            left -= usize::from(picture.is_some());
            picture.unwrap_or_default()
        };
        Some(Event {
            at: Moment(changes.first()?.at),
            entries: changes.into_iter().map(|change| Entry::of(change, draw(change))).collect(),
        })
    };
    rounds.filter_map(event).collect()
}

impl Entry {
    fn of(change: &Change, picture: String) -> Self {
        Self {
            kind: kind(change.kind),
            told: told(change),
            picture,
            came: Parts::of(&change.came),
            went: Parts::of(&change.went),
        }
    }
}

const fn kind(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Path => "Path",
        ChangeKind::FlowMove => "Flows",
        ChangeKind::AsPath => "AS path",
        ChangeKind::Length => "Length",
        ChangeKind::Reachability => "Reachability",
        ChangeKind::Address => "Address",
    }
}

fn told(change: &Change) -> String {
    let flows = plural(change.flows.len() as u128, "flow");
    match change.kind {
        ChangeKind::Path => {
            let parts = [("went", &change.went), ("came", &change.came)];
            let parts = parts.iter().filter(|(_, parts)| !parts.is_empty());
            let parts: Vec<_> = parts.map(|(word, parts)| format!("{} {word}", count(parts))).collect();
            format!("{}; {flows} moved", parts.join(", "))
        }
        ChangeKind::FlowMove => format!("{flows} moved to another way that was known"),
        _ => change.detail.clone(),
    }
}

fn count(parts: &[Part]) -> String {
    let counts = Part::counts(parts).into_iter().zip(["node", "link"]).filter(|(count, _)| *count > 0);
    counts.map(|(count, noun)| plural(count as u128, noun)).collect::<Vec<_>>().join(" and ")
}

impl Parts {
    fn of(parts: &[Part]) -> Self {
        let word = |part: &Part| match part {
            Part::Node { ttl, address } => format!("hop {ttl}: {address}"),
            Part::Link { ttl, from, to } => format!("hop {ttl}: {from} \u{2192} {to}"),
        };
        Self {
            named: parts.iter().take(NAMED).map(word).collect(),
            further: parts.len().saturating_sub(NAMED),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{probe::Ttl, render::sample};

    #[test]
    fn the_newest_changes_are_drawn() {
        let node = |number: u8| Part::Node { ttl: Ttl::MIN, address: [192, 0, 2, number].into() };
        let second = |number: u8| sample::STARTED + jiff::SignedDuration::from_secs(i64::from(number));
        let change = |number: u8| Arc::new(Change { came: vec![node(number)], ..Change::at(second(number)) });
        let events = events(&(0..30).map(change).collect::<Vec<_>>());
        let drawn: Vec<_> =
            events.iter().map(|event| !event.entries.iter().all(|entry| entry.picture.is_empty())).collect();
        assert_eq!(drawn, [[true; 20].as_slice(), &[false; 10]].concat());
        assert_eq!(events.first().map(|event| event.at.0), Some(second(29)));
        assert_eq!(
            events.last().map(|event| event.entries[0].came.named.clone()),
            Some(vec!["hop 1: 192.0.2.0".to_owned()])
        );
    }
}
