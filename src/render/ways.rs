//! The ways that the links of a route allow: all of them, where they are few, and what there is only one choice for on the way of a flow
//! that was asked here and there.
//!
//! Knows nodes and links, and nothing of how a way is shown.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use crate::{
    probe::Ttl,
    route::{FlowHop, Route},
};

/// The links of a route by where they begin, and where its paths end.
pub(super) struct Ways<'a> {
    route: &'a Route,
    /// The nodes that a node leads to, by hop and node; hops are counted from the first.
    onwards: BTreeMap<(usize, usize), Vec<usize>>,
    ends: BTreeSet<(usize, usize)>,
}

impl<'a> Ways<'a> {
    pub(super) fn of(route: &'a Route) -> Self {
        let first = route.hops.first().map_or(0, |hop| hop.ttl.get());
        let mut onwards: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for link in &route.links {
            let hop = usize::from(link.ttl.get().saturating_sub(first));
            onwards.entry((hop, link.from)).or_default().push(link.to);
        }
        let ends = route.path_ends().into_iter();
        let ends = ends.map(|(ttl, node)| (usize::from(ttl.get().saturating_sub(first)), node)).collect();
        Self { route, onwards, ends }
    }

    /// All paths, hop by hop. `None` where there are more than so many.
    pub(super) fn all(&self, most: usize) -> Option<Vec<Vec<FlowHop>>> {
        if self.route.paths.count > most as u128 {
            return None;
        }
        let useful = self.useful(&|_, _| true);
        let mut found = Vec::new();
        let starts = useful.first().into_iter().flatten().rev();
        let mut open: Vec<Vec<usize>> = starts.map(|&node| vec![node]).collect();
        // As many paths end as are counted: no branch that is gone into is dead.
        while let Some(way) = open.pop() {
            let (hop, node) = (way.len().saturating_sub(1), way.last().copied().unwrap_or(0));
            if self.ends.contains(&(hop, node)) {
                found.push(self.steps(&way));
            }
            for &next in self.onwards(hop, node).iter().rev() {
                if useful.get(hop + 1).is_some_and(|useful| useful.contains(&next)) {
                    open.push(way.iter().copied().chain([next]).collect());
                }
            }
        }
        Some(found)
    }

    /// What a flow met, with what it must have met where it was not asked: there only one node leads from where it was to where it came.
    pub(super) fn filled(&self, met: &[FlowHop]) -> Vec<FlowHop> {
        let Some(first) = self.route.hops.first().map(|hop| hop.ttl) else { return met.to_vec() };
        let known: BTreeMap<Ttl, Option<IpAddr>> = met.iter().map(|hop| (hop.ttl, hop.address)).collect();
        let at = |hop: usize| self.route.hops.get(hop);
        let last = met.last().map_or(0, |hop| usize::from(hop.ttl.get().saturating_sub(first.get())));
        let useful = self.useful(&|hop, node| {
            let Some((hop, node)) = at(hop).and_then(|hop| Some((hop, hop.nodes.get(node)?))) else {
                return false;
            };
            match known.get(&hop.ttl) {
                Some(None) if is_answering(self.route, hop.ttl) => true,
                Some(address) => *address == node.address,
                None => true,
            }
        });
        let may_end = |hop: usize| {
            let nodes = useful.get(hop).into_iter().flatten();
            nodes.filter(|&&node| self.ends.contains(&(hop, node))).count() > 0
        };
        let end = (last..self.route.hops.len()).find(|&hop| may_end(hop));
        let Some(end) = end else { return met.to_vec() };
        let mut hops = Vec::new();
        for (place, hop) in self.route.hops.iter().enumerate().take(end + 1) {
            let nodes = useful.get(place).map(|nodes| nodes.iter().copied().collect::<Vec<_>>());
            let only = match nodes.as_deref() {
                Some([node]) => hop.nodes.get(*node),
                _ => None,
            };
            let address = only.map(|node| node.address).or_else(|| known.get(&hop.ttl).copied());
            hops.extend(address.map(|address| FlowHop { ttl: hop.ttl, address }));
        }
        hops
    }

    /// Whether a path ends with this step.
    pub(super) fn is_end(&self, step: &FlowHop) -> bool {
        let first = self.route.hops.first().map_or(0, |hop| hop.ttl.get());
        let place = usize::from(step.ttl.get().saturating_sub(first));
        let node = |&(_, node): &(usize, usize)| {
            let hop = self.route.hops.get(place)?;
            hop.nodes.get(node).map(|node| node.address)
        };
        let mut ends = self.ends.range((place, 0)..=(place, usize::MAX));
        ends.any(|end| node(end) == Some(step.address))
    }

    fn onwards(&self, hop: usize, node: usize) -> &[usize] {
        self.onwards.get(&(hop, node)).map_or(&[], Vec::as_slice)
    }

    /// The nodes by hop, of those that may be, that lie on a way from the first hop to an end.
    fn useful(&self, may_be: &dyn Fn(usize, usize) -> bool) -> Vec<BTreeSet<usize>> {
        let mut useful: Vec<BTreeSet<usize>> = Vec::new();
        for (place, hop) in self.route.hops.iter().enumerate() {
            let here: BTreeSet<usize> = match place.checked_sub(1) {
                None => (0..hop.nodes.len()).collect(),
                Some(before) => {
                    let nodes = useful.last().into_iter().flatten();
                    nodes.flat_map(|&node| self.onwards(before, node)).copied().collect()
                }
            };
            useful.push(here.into_iter().filter(|&node| may_be(place, node)).collect());
        }
        let mut beyond = BTreeSet::new();
        for (place, here) in useful.iter_mut().enumerate().rev() {
            here.retain(|&node| {
                self.ends.contains(&(place, node))
                    || self.onwards(place, node).iter().any(|next| beyond.contains(next))
            });
            beyond.clone_from(here);
        }
        useful
    }

    fn steps(&self, way: &[usize]) -> Vec<FlowHop> {
        let hops = self.route.hops.iter().zip(way);
        let steps = hops.map(|(hop, &node)| {
            let address = hop.nodes.get(node).and_then(|node| node.address);
            FlowHop { ttl: hop.ttl, address }
        });
        steps.collect()
    }
}

/// Whether all nodes known at a hop answer, so that a missing answer tells of none.
pub(super) fn is_answering(route: &Route, ttl: Ttl) -> bool {
    route.hop(ttl).is_some_and(|hop| hop.nodes.iter().all(|node| node.address.is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;

    fn words(hops: &[FlowHop]) -> String {
        let word = |hop: &FlowHop| {
            let address = hop.address.map_or_else(|| "*".to_owned(), |address| address.to_string());
            format!("{}:{}", hop.ttl, address.rsplit('.').next().unwrap_or_default())
        };
        hops.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    /// A detour of one hop, asked whole by two flows and in parts by others; a branch that is dead.
    const DETOUR: &str = "1 192.0.2.1@1 192.0.2.2@1 192.0.2.4@1 192.0.2.9@1!
                          2 192.0.2.1@1 192.0.2.3@1 192.0.2.5@1 192.0.2.4@1 192.0.2.9@1!
                          3 192.0.2.1@1 192.0.2.6@1 *           *           *
                          4 .           192.0.2.2@1
                          5 .           .           192.0.2.5@1
                          6 192.0.2.1@1";

    #[test]
    fn all_paths_are_listed_where_they_are_few() {
        let trace = sample::trace(&sample::evidence(DETOUR));
        let ways = Ways::of(&trace.route);
        let all: Vec<_> = ways.all(2).unwrap().iter().map(|way| words(way)).collect();
        assert_eq!(all, ["1:1 2:2 3:4 4:9", "1:1 2:3 3:5 4:4 5:9"]);
        assert_eq!(ways.all(1), None);
    }

    #[test]
    fn gaps_are_filled_where_there_is_one_choice() {
        let trace = sample::trace(&sample::evidence(DETOUR));
        let ways = Ways::of(&trace.route);
        let filled: Vec<_> =
            trace.route.flows.iter().map(|flow| words(&ways.filled(&flow.hops))).skip(3).collect();
        assert_eq!(filled, ["1:1 2:2 3:4 4:9", "1:1 2:3 3:5 4:4 5:9", "1:1"]);
    }
}
