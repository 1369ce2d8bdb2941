//! The ways that flows were seen to take, in the order in which tables show them.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::ways::{Ways, is_answering};
use crate::{
    flow::FlowId,
    probe::Ttl,
    route::{FlowHop, FlowPath, Route},
};

/// Rows that a table has at most: a person reads no more.
const MOST_ROWS: usize = 40;

/// Flows that share a row.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// The flows, in the order of their ids.
    pub(super) flows: Vec<FlowId>,
    /// Whether they reached the destination; `None` where they were not followed that far.
    pub(super) reached: Option<bool>,
    /// Whom they met, or must have met.
    pub(super) hops: Vec<FlowHop>,
}

impl Row {
    /// Who answered at a TTL: `None` where it was not asked, `Some(None)` where nobody did.
    pub(super) fn at(&self, ttl: Ttl) -> Option<Option<IpAddr>> {
        self.hops.iter().find(|hop| hop.ttl == ttl).map(|hop| hop.address)
    }
}

/// The rows of a table.
#[derive(Debug)]
pub(super) struct Rows {
    /// The rows shown.
    pub(super) rows: Vec<Row>,
    /// How many more there are.
    pub(super) hidden: usize,
    /// Flows that may have taken several of the ways, by where they were asked: they are in no row.
    pub(super) undecided: usize,
    /// The TTLs at which any of them was asked, without a gap.
    pub(super) ttls: Vec<Ttl>,
}

impl Rows {
    /// The flows in rows: a row a flow, or with `dedup` a row a path. Rows that begin alike stand together, the most travelled first,
    /// those that did not arrive last. Where there are too many rows, those stay that together show the most nodes.
    ///
    /// A path has one row, however many flows were asked at some of its hops alone. Where paths are few all have theirs, also one that
    /// the links allow and no flow was seen to take. What flows met beside the paths is shown as far as no other row has it.
    pub(super) fn of(route: &Route, dedup: bool) -> Self {
        let (mut rows, undecided) =
            if dedup { merged(route) } else { (route.flows.iter().map(alone).collect(), 0) };
        rows.retain(|row| !row.hops.is_empty());
        let hidden = rows.len().saturating_sub(MOST_ROWS);
        if hidden > 0 {
            rows.sort_by_key(by_length);
            shorten(&mut rows);
        }
        arrange(&mut rows);
        let asked = || rows.iter().flat_map(|row| &row.hops).map(|hop| hop.ttl);
        let ttls = match (asked().min(), asked().max()) {
            (Some(first), Some(last)) => first.to(last).collect(),
            _ => Vec::new(),
        };
        Self { rows, hidden, undecided, ttls }
    }

    /// The addresses at a TTL in the order in which rows show them; `None` for a silent one.
    pub(super) fn addresses(&self, ttl: Ttl) -> Vec<Option<IpAddr>> {
        let mut addresses = Vec::new();
        for address in self.rows.iter().filter_map(|row| row.at(ttl)) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses
    }
}

/// A row of a single flow.
fn alone(flow: &FlowPath) -> Row {
    // A flow that is silent up to its end says so once.
    let answered = flow.hops.iter().rposition(|hop| hop.address.is_some()).map_or(0, |last| last + 1);
    let hops = flow.hops.get(..=answered).unwrap_or(&flow.hops).to_vec();
    Row { flows: vec![flow.id], reached: flow.reached, hops }
}

const fn by_length(row: &Row) -> (u8, Reverse<(usize, usize)>) {
    (rank(row.reached), Reverse((row.hops.len(), row.flows.len())))
}

/// A row a path, and how many flows could have taken several.
fn merged(route: &Route) -> (Vec<Row>, usize) {
    let ways = Ways::of(route);
    let all = ways.all(MOST_ROWS);
    let mut groups: BTreeMap<_, Vec<FlowId>> = BTreeMap::new();
    for flow in &route.flows {
        let Row { hops, reached, .. } = alone(flow);
        let path: Vec<_> = hops.iter().map(|hop| (hop.ttl, hop.address)).collect();
        groups.entry((path, reached)).or_default().push(flow.id);
    }
    let mut groups: Vec<Row> = groups
        .into_iter()
        .map(|((path, reached), flows)| {
            let hops: Vec<_> = path.into_iter().map(|(ttl, address)| FlowHop { ttl, address }).collect();
            Row { flows, reached, hops }
        })
        .collect();
    if all.is_none() {
        for row in groups.iter_mut().filter(|row| row.reached != Some(false)) {
            row.hops = ways.filled(&row.hops);
            let is_whole = row.hops.last().is_some_and(|last| ways.is_end(last)) && has_no_gap(route, row);
            row.reached = row.reached.or((is_whole && route.reached()).then_some(true));
        }
    }
    groups.sort_by_key(by_length);

    let reached = route.reached().then_some(true);
    let listed = all.iter().flatten();
    let mut rows: Vec<Row> =
        listed.map(|hops| Row { flows: Vec::new(), reached, hops: hops.clone() }).collect();
    let paths = rows.len();
    let mut undecided = 0;
    for group in groups {
        let fits = |strict: bool| {
            // A star that is no silent node on any path was lost on one of them.
            let may_be_lost = |place: usize, ttl: Ttl| !strict && (place < paths || is_answering(route, ttl));
            let fits = rows
                .iter()
                .enumerate()
                .filter(|&(place, row)| is_part(&group, row, route.reached(), |ttl| may_be_lost(place, ttl)));
            fits.map(|(place, _)| place).take(2).collect::<Vec<_>>()
        };
        let (exactly, perhaps) = (fits(true), fits(false));
        let places = if exactly.is_empty() { perhaps } else { exactly };
        match places.as_slice() {
            [] => rows.push(group),
            [place] => {
                if let Some(row) = rows.get_mut(*place) {
                    add(row, &group, route);
                }
            }
            _ => undecided += group.flows.len(),
        }
    }
    // A path stands in any case; beside it what shows something new, or where a flow ended.
    let mut shown = BTreeSet::new();
    let mut place = 0;
    rows.retain(|row| {
        place += 1;
        let is_kept = news(row, &mut shown) > 0 || row.reached.is_some() || place <= paths;
        undecided += if is_kept { 0 } else { row.flows.len() };
        is_kept
    });
    (rows, undecided)
}

fn has_no_gap(route: &Route, row: &Row) -> bool {
    let first = route.hops.first().map(|hop| hop.ttl);
    first == row.hops.first().map(|hop| hop.ttl)
        && row.hops.iter().zip(row.hops.iter().skip(1)).all(|(hop, next)| hop.ttl.next() == next.ttl)
}

/// Whether flows that were asked here and there may have taken the way of a row. Where an answer may have been lost its lack says nothing.
fn is_part(part: &Row, row: &Row, reached: bool, may_be_lost: impl Fn(Ttl) -> bool) -> bool {
    let may_end = match (part.reached, row.reached) {
        (None, _) => true,
        // The paths of a route whose destination was not reached end where flows were lost.
        (Some(false), None) => !reached,
        (ended, there) => ended == there,
    };
    let end = row.hops.last().map(|hop| hop.ttl);
    may_end
        && part.hops.iter().all(|hop| match (row.at(hop.ttl), hop.address) {
            (Some(there), address) if there == address => true,
            (Some(_), None) => may_be_lost(hop.ttl),
            // Behind the last node nobody answers.
            (None, None) => !reached && end < Some(hop.ttl),
            _ => false,
        })
}

/// Adds flows to the row that has their way.
fn add(row: &mut Row, part: &Row, route: &Route) {
    row.flows.extend(&part.flows);
    row.flows.sort_unstable();
    if !route.reached() {
        row.reached = row.reached.or(part.reached);
        let silent = part.hops.last().filter(|hop| hop.address.is_none() && row.at(hop.ttl).is_none());
        row.hops.extend(silent);
    }
}

const fn rank(reached: Option<bool>) -> u8 {
    match reached {
        Some(true) => 0,
        None => 1,
        Some(false) => 2,
    }
}

/// How many nodes and links a row shows that were not shown yet.
fn news(row: &Row, shown: &mut BTreeSet<(Ttl, Option<IpAddr>, Option<IpAddr>)>) -> usize {
    let nodes = row.hops.iter().map(|hop| (hop.ttl, hop.address, None));
    let pairs = row.hops.iter().zip(row.hops.iter().skip(1)).filter(|(from, to)| from.ttl.next() == to.ttl);
    let steps = nodes.chain(pairs.map(|(from, to)| (from.ttl, from.address, to.address)));
    steps.filter(|&step| shown.insert(step)).count()
}

/// Leaves as many rows as are shown: one after the other the one that shows most nodes that were not shown yet.
fn shorten(rows: &mut Vec<Row>) {
    let mut kept = Vec::new();
    let mut shown = BTreeSet::new();
    while kept.len() < MOST_ROWS && !rows.is_empty() {
        let fresh =
            |row: &Row| row.hops.iter().filter(|hop| !shown.contains(&(hop.ttl, hop.address))).count();
        // Of equals the first.
        let best = rows.iter().enumerate().max_by_key(|(place, row)| (fresh(row), Reverse(*place)));
        let row = rows.remove(best.map_or(0, |(place, _)| place));
        shown.extend(row.hops.iter().map(|hop| (hop.ttl, hop.address)));
        kept.push(row);
    }
    *rows = kept;
}

/// Puts rows that begin alike next to each other: at each TTL the node that most flows pass comes first.
fn arrange(rows: &mut [Row]) {
    let mut flows: BTreeMap<(Ttl, Option<IpAddr>), usize> = BTreeMap::new();
    for row in rows.iter() {
        for hop in &row.hops {
            *flows.entry((hop.ttl, hop.address)).or_default() += row.flows.len();
        }
    }
    rows.sort_by_cached_key(|row| {
        let place = |hop: &FlowHop| {
            let travelled = flows.get(&(hop.ttl, hop.address)).copied().unwrap_or(0);
            (hop.ttl, hop.address.is_none(), Reverse(travelled), hop.address)
        };
        let trail: Vec<_> = row.hops.iter().map(place).collect();
        (rank(row.reached), trail, row.flows.first().copied())
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;

    /// Ways through one node of the second hop and thirty of the third, but for the last flows: these pass two more of the second.
    fn wide(ways: u16) -> String {
        let line = |id: u16| {
            let second = if id < ways - 2 { 0 } else { id };
            format!(
                "{id} 192.0.2.1@1 10.0.1.{second}@2 10.0.2.{}@3 10.0.3.{}@4 192.0.2.9@5!\n",
                id % 30,
                id / 30
            )
        };
        (0..ways).map(line).collect()
    }

    #[test]
    fn too_many_rows_leave_those_that_show_most() {
        let few = sample::trace(&sample::evidence(&wide(40)));
        assert_eq!((Rows::of(&few.route, true).rows.len(), Rows::of(&few.route, true).hidden), (40, 0));
        let many = sample::trace(&sample::evidence(&wide(250)));
        let rows = Rows::of(&many.route, true);
        assert_eq!((rows.rows.len(), rows.hidden), (MOST_ROWS, 210));
        let ttls: Vec<_> = Ttl::MIN.to(Ttl::MAX).take(3).collect();
        assert_eq!(ttls.iter().map(|&ttl| rows.addresses(ttl).len()).collect::<Vec<_>>(), [1, 3, 30]);
    }

    #[test]
    fn rows_that_begin_alike_stand_together() {
        let trace = sample::trace(&sample::evidence(
            "1 192.0.2.1@1 192.0.2.2@2 192.0.2.4@3 192.0.2.9@4!
             2 192.0.2.1@1 192.0.2.3@2 192.0.2.4@3 192.0.2.9@4!
             3 192.0.2.1@1 192.0.2.2@2 192.0.2.5@3 192.0.2.9@4!
             4 192.0.2.1@1 192.0.2.3@2 192.0.2.5@3 192.0.2.9@4!
             5 192.0.2.1@1 192.0.2.3@2 192.0.2.5@3 192.0.2.9@4!
             6 192.0.2.1@1 *           *           *",
        ));
        let rows = Rows::of(&trace.route, true);
        let flows: Vec<_> =
            rows.rows.iter().map(|row| row.flows.iter().map(|flow| flow.0).collect::<Vec<_>>()).collect();
        assert_eq!(flows, [vec![4, 5], vec![2], vec![3], vec![1], vec![6]]);
    }
}
