//! What a discovery knows so far: which flows pass which node, and where they go from there.
//!
//! Kept up to date flow by flow while answers come in. The route is built from the evidence by its own rules when the
//! trace is over; this is what policies decide by.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use crate::{
    flow::FlowId,
    probe::Ttl,
    route::{Arrival, Evidence},
};

/// Names a node of the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodeId(usize);

/// The source: where all flows begin.
pub(super) const SOURCE: NodeId = NodeId(0);

/// What tells nodes at one TTL apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Address(IpAddr),
    /// Silent, behind this node.
    Silent(NodeId),
}

/// What a missing answer stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Star {
    /// Nothing yet.
    Open,
    /// As it seems a silent node, by which more is asked. It is no evidence of where that leads to.
    Supposed,
    /// A silent node.
    Silent,
}

/// A flow and its place in the order of flows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named {
    pub(super) flow: FlowId,
    pub(super) place: usize,
}

/// A node, and the flows seen at it.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    /// The flows that pass it.
    pub(super) flows: BTreeSet<FlowId>,
    /// Those of them that were not asked one hop further.
    pub(super) unasked: BTreeSet<FlowId>,
    /// The places of all of them in the order of flows, the first first.
    pub(super) places: Vec<usize>,
    /// The nodes that those of them went on to which are known one hop further, with their numbers.
    pub(super) next: BTreeMap<NodeId, u32>,
    /// The nodes that flows known here and one hop nearer came from, with their numbers.
    pub(super) previous: BTreeMap<NodeId, u32>,
    /// Whether flows end here.
    pub(super) terminal: bool,
    pub(super) silent: bool,
}

/// All nodes and what is known of every flow.
#[derive(Clone, Debug)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    names: BTreeMap<(u8, Key), NodeId>,
    /// Nodes with flows, by TTL; the source stands at the TTL before the first.
    layers: BTreeMap<u8, BTreeSet<NodeId>>,
    trails: BTreeMap<FlowId, BTreeMap<u8, NodeId>>,
    /// Where the destination is known to stand.
    arrivals: BTreeSet<Arrival>,
    branches: usize,
    first: u8,
}

impl Graph {
    /// Nothing but the source, one hop before `first`.
    pub(super) fn new(first: Ttl) -> Self {
        let before = first.get() - 1;
        Self {
            nodes: vec![Node::default()],
            names: BTreeMap::new(),
            layers: BTreeMap::from([(before, BTreeSet::from([SOURCE]))]),
            trails: BTreeMap::new(),
            arrivals: BTreeSet::new(),
            branches: 0,
            first: first.get(),
        }
    }

    /// The nodes at a TTL; the source at the one before the first.
    pub(super) fn layer(&self, ttl: u8) -> impl Iterator<Item = NodeId> {
        self.layers.get(&ttl).into_iter().flatten().copied()
    }

    /// How many nodes are known at a TTL.
    pub(super) fn width(&self, ttl: u8) -> usize {
        self.layers.get(&ttl).map_or(0, BTreeSet::len)
    }

    /// The farthest TTL with a node.
    pub(super) fn farthest(&self) -> u8 {
        self.layers.iter().rev().find(|(_, nodes)| !nodes.is_empty()).map_or(self.first - 1, |(&ttl, _)| ttl)
    }

    pub(super) fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.0)
    }

    /// The successors of a node, each with the flows seen to go on to it.
    pub(super) fn onward(&self, id: NodeId) -> impl Iterator<Item = (&Node, u32)> {
        let next = self.node(id).into_iter().flat_map(|node| &node.next);
        next.filter_map(|(&next, &flows)| Some((self.node(next)?, flows)))
    }

    /// The flows seen to go on to each successor that answers.
    pub(super) fn answering(&self, id: NodeId) -> impl Iterator<Item = u32> {
        self.onward(id).filter(|(next, _)| !next.silent).map(|(_, flows)| flows)
    }

    /// How many flows were seen to go on from a node to one that answers.
    pub(super) fn answered(&self, id: NodeId) -> usize {
        usize::try_from(self.answering(id).sum::<u32>()).unwrap_or(usize::MAX)
    }

    /// Where a flow is known to be at a TTL.
    pub(super) fn at(&self, flow: FlowId, ttl: u8) -> Option<NodeId> {
        if ttl < self.first {
            return Some(SOURCE);
        }
        self.trails.get(&flow)?.get(&ttl).copied()
    }

    /// Nodes with more than one successor.
    pub(super) const fn branches(&self) -> usize {
        self.branches
    }

    /// Takes in what the evidence has on a flow, and where it was asked. `star` tells what a missing answer at a TTL stands for.
    pub(super) fn update(
        &mut self,
        flow: Named,
        evidence: &Evidence,
        star: impl Fn(Ttl) -> Star,
        was_asked: impl Fn(u8) -> bool,
    ) {
        let Named { flow, place } = flow;
        let mut trail = self.trail(flow, evidence, &star);
        if self.trails.get(&flow) == Some(&trail) {
            return;
        }
        let old = self.trails.remove(&flow).unwrap_or_default();
        self.remove(flow, place, &old);
        let astray: Vec<_> =
            trail.keys().copied().filter(|&ttl| self.goes_astray(&trail, ttl, &star)).collect();
        trail.retain(|ttl, _| !astray.contains(ttl));
        self.add(flow, place, &trail, was_asked);
        self.trails.insert(flow, trail.clone());
        if let (Some(end), Some((_, &last))) = (evidence.end(flow), trail.last_key_value())
            && trail.last_key_value().is_some_and(|(&ttl, _)| ttl <= end.ttl().get())
            && let Some(node) = self.nodes.get_mut(last.0)
        {
            node.terminal = true;
        }
    }

    /// Notes that a flow is asked one hop behind a TTL.
    pub(super) fn asked_behind(&mut self, flow: FlowId, ttl: u8) {
        if let Some(node) = self.at(flow, ttl).and_then(|id| self.nodes.get_mut(id.0)) {
            node.unasked.remove(&flow);
        }
    }

    fn trail(
        &mut self,
        flow: FlowId,
        evidence: &Evidence,
        star: impl Fn(Ttl) -> Star,
    ) -> BTreeMap<u8, NodeId> {
        let mut trail = BTreeMap::new();
        let Some(last) = evidence.last_node(flow) else { return trail };
        self.arrivals.extend(evidence.arrival(flow));
        let destination = evidence.cell(flow, last).and_then(|cell| cell.address());
        let landing = evidence.landing(flow, &self.arrivals);
        let mut before = Some(SOURCE);
        for ttl in (self.first..=last.get()).filter_map(Ttl::new) {
            let Some(cell) = evidence.cell(flow, ttl) else {
                before = None;
                continue;
            };
            let landed = landing == Some(ttl);
            let key = match (cell.address(), before) {
                (Some(address), _) => Some(Key::Address(address)),
                (None, _) if landed => destination.map(Key::Address),
                (None, Some(before)) if star(ttl) != Star::Open => Some(Key::Silent(before)),
                _ => None,
            };
            before = key.map(|key| self.name(ttl.get(), key));
            if let Some(node) = before {
                trail.insert(ttl.get(), node);
            }
            if landed {
                break;
            }
        }
        trail
    }

    /// Whether a flow supposed to be at a silent node goes on to where nothing is known to lead from there: it is likelier that a reply
    /// was lost.
    fn goes_astray(&self, trail: &BTreeMap<u8, NodeId>, ttl: u8, star: impl Fn(Ttl) -> Star) -> bool {
        let node =
            trail.get(&ttl).and_then(|&id| self.node(id)).filter(|node| node.silent && !node.next.is_empty());
        let (Some(node), Some(next)) = (node, trail.get(&(ttl + 1))) else { return false };
        !node.next.contains_key(next) && Ttl::new(ttl).is_some_and(|ttl| star(ttl) == Star::Supposed)
    }

    fn name(&mut self, ttl: u8, key: Key) -> NodeId {
        if let Some(&id) = self.names.get(&(ttl, key)) {
            return id;
        }
        let id = NodeId(self.nodes.len());
        self.nodes.push(Node { silent: matches!(key, Key::Silent(_)), ..Node::default() });
        self.names.insert((ttl, key), id);
        id
    }

    fn remove(&mut self, flow: FlowId, place: usize, trail: &BTreeMap<u8, NodeId>) {
        for (from, to) in self.steps(trail) {
            let Some(node) = self.nodes.get_mut(from.0) else { continue };
            let many = node.next.len() > 1;
            take_one(&mut node.next, to);
            self.branches -= usize::from(many && node.next.len() <= 1);
            if let Some(node) = self.nodes.get_mut(to.0) {
                take_one(&mut node.previous, from);
            }
        }
        for (&ttl, &id) in trail {
            if let Some(node) = self.nodes.get_mut(id.0) {
                node.flows.remove(&flow);
                node.unasked.remove(&flow);
                if let Ok(at) = node.places.binary_search(&place) {
                    node.places.remove(at);
                }
                if node.flows.is_empty()
                    && let Some(layer) = self.layers.get_mut(&ttl)
                {
                    layer.remove(&id);
                }
            }
        }
    }

    fn add(
        &mut self,
        flow: FlowId,
        place: usize,
        trail: &BTreeMap<u8, NodeId>,
        was_asked: impl Fn(u8) -> bool,
    ) {
        for (&ttl, &id) in trail {
            if let Some(node) = self.nodes.get_mut(id.0) {
                node.flows.insert(flow);
                if !was_asked(ttl + 1) {
                    node.unasked.insert(flow);
                }
                if let Err(at) = node.places.binary_search(&place) {
                    node.places.insert(at, place);
                }
                self.layers.entry(ttl).or_default().insert(id);
            }
        }
        for (from, to) in self.steps(trail) {
            let Some(node) = self.nodes.get_mut(from.0) else { continue };
            let many = node.next.len() > 1;
            *node.next.entry(to).or_default() += 1;
            self.branches += usize::from(!many && node.next.len() > 1);
            if let Some(node) = self.nodes.get_mut(to.0) {
                *node.previous.entry(from).or_default() += 1;
            }
        }
    }

    /// Pairs of nodes at consecutive TTLs, the source included.
    fn steps(&self, trail: &BTreeMap<u8, NodeId>) -> Vec<(NodeId, NodeId)> {
        let from_source = trail.get(&self.first).map(|&to| (SOURCE, to));
        let inner = trail.iter().filter_map(|(&ttl, &to)| Some((*trail.get(&(ttl - 1))?, to)));
        from_source.into_iter().chain(inner).collect()
    }
}

fn take_one(counts: &mut BTreeMap<NodeId, u32>, key: NodeId) {
    if let Some(count) = counts.get_mut(&key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&key);
        }
    }
}
