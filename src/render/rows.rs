//! The ways that flows were seen to take, in the order in which tables show them.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use crate::{
    flow::FlowId,
    probe::Ttl,
    route::{FlowHop, Route},
};

/// Rows that a table has at most: a person reads no more.
const MOST_ROWS: usize = 40;

/// Flows that share a row.
#[derive(Debug)]
pub(super) struct Row<'a> {
    /// The flows, in the order of their ids.
    pub(super) flows: Vec<FlowId>,
    /// Whether they reached the destination; `None` where they were not followed that far.
    pub(super) reached: Option<bool>,
    /// Whom they met.
    pub(super) hops: &'a [FlowHop],
}

impl Row<'_> {
    /// Who answered at a TTL: `None` where it was not asked, `Some(None)` where nobody did.
    pub(super) fn at(&self, ttl: Ttl) -> Option<Option<IpAddr>> {
        self.hops.iter().find(|hop| hop.ttl == ttl).map(|hop| hop.address)
    }
}

/// The rows of a table.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    /// The rows shown.
    pub(super) rows: Vec<Row<'a>>,
    /// How many more there are.
    pub(super) hidden: usize,
    /// The TTLs at which any of them was asked, without a gap.
    pub(super) ttls: Vec<Ttl>,
}

impl<'a> Rows<'a> {
    /// The flows in rows: with `dedup` flows that took the same way share one. Rows that begin alike stand together, the most
    /// travelled first, those that did not arrive last. Flows that were not followed to their end are shown where they met a
    /// node or link that no other row has. Where there are too many rows, those stay that together show the most nodes.
    pub(super) fn of(route: &'a Route, dedup: bool) -> Self {
        let mut rows = grouped(route, dedup);
        rows.sort_by_key(|row| (rank(row.reached), Reverse((row.hops.len(), row.flows.len()))));
        if dedup {
            let mut shown = BTreeSet::new();
            rows.retain(|row| news(row, &mut shown) > 0 || row.reached.is_some());
        }
        let hidden = rows.len().saturating_sub(MOST_ROWS);
        if hidden > 0 {
            shorten(&mut rows);
        }
        arrange(&mut rows);
        let asked = || rows.iter().flat_map(|row| row.hops).map(|hop| hop.ttl);
        let ttls = match (asked().min(), asked().max()) {
            (Some(first), Some(last)) => first.to(last).collect(),
            _ => Vec::new(),
        };
        Self { rows, hidden, ttls }
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

fn grouped(route: &Route, dedup: bool) -> Vec<Row<'_>> {
    let mut groups: BTreeMap<_, Row<'_>> = BTreeMap::new();
    for flow in &route.flows {
        // A flow that is silent up to its end says so once.
        let answered = flow.hops.iter().rposition(|hop| hop.address.is_some()).map_or(0, |last| last + 1);
        let hops = flow.hops.get(..=answered).unwrap_or(&flow.hops);
        let path: Vec<_> = hops.iter().map(|hop| (hop.ttl, hop.address)).collect();
        let alone = if dedup { None } else { Some(flow.id) };
        let row = Row { flows: Vec::new(), reached: flow.reached, hops };
        groups.entry((path, flow.reached, alone)).or_insert(row).flows.push(flow.id);
    }
    groups.into_values().filter(|row| !row.hops.is_empty()).collect()
}

const fn rank(reached: Option<bool>) -> u8 {
    match reached {
        Some(true) => 0,
        None => 1,
        Some(false) => 2,
    }
}

/// How many nodes and links a row shows that were not shown yet.
fn news(row: &Row<'_>, shown: &mut BTreeSet<(Ttl, Option<IpAddr>, Option<IpAddr>)>) -> usize {
    let nodes = row.hops.iter().map(|hop| (hop.ttl, hop.address, None));
    let pairs = row.hops.iter().zip(row.hops.iter().skip(1)).filter(|(from, to)| from.ttl.next() == to.ttl);
    let steps = nodes.chain(pairs.map(|(from, to)| (from.ttl, from.address, to.address)));
    steps.filter(|&step| shown.insert(step)).count()
}

/// Leaves as many rows as are shown: one after the other the one that shows most nodes that were not shown yet.
fn shorten(rows: &mut Vec<Row<'_>>) {
    let mut kept = Vec::new();
    let mut shown = BTreeSet::new();
    while kept.len() < MOST_ROWS && !rows.is_empty() {
        let fresh =
            |row: &Row<'_>| row.hops.iter().filter(|hop| !shown.contains(&(hop.ttl, hop.address))).count();
        // Of equals the first.
        let best = rows.iter().enumerate().max_by_key(|(place, row)| (fresh(row), Reverse(*place)));
        let row = rows.remove(best.map_or(0, |(place, _)| place));
        shown.extend(row.hops.iter().map(|hop| (hop.ttl, hop.address)));
        kept.push(row);
    }
    *rows = kept;
}

/// Puts rows that begin alike next to each other: at each TTL the node that most flows pass comes first.
fn arrange(rows: &mut [Row<'_>]) {
    let mut flows: BTreeMap<(Ttl, Option<IpAddr>), usize> = BTreeMap::new();
    for row in rows.iter() {
        for hop in row.hops {
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
