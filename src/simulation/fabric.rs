//! The forwarding graph over time: which next hops a router has towards a destination, and which one it takes.
//!
//! Knows edges, weights, hash seeds and scripted changes. Must not know packets or chance.

use std::time::Duration;

use super::topology::{Attributes, Balance, Change, Edge, Faults, Topology};
use crate::{flow::mix, time::Time};

/// The graph in all its states, in order of time.
#[derive(Clone, Debug)]
pub(super) struct Fabric {
    eras: Vec<Era>,
    /// After which they begin anew.
    period: Option<Duration>,
}

/// The graph between two changes.
#[derive(Clone, Debug)]
pub(super) struct Era {
    from: Time,
    nodes: Vec<Attributes>,
    pub(super) faults: Faults,
    seeds: Vec<u64>,
    edges: Vec<Edge>,
    /// Nodes from which any destination can be reached.
    leading: Vec<bool>,
    /// By target; filled when first needed.
    tables: Vec<Option<Table>>,
}

/// The next hops of every node towards one target.
#[derive(Clone, Debug)]
pub(super) struct Table {
    hops: Vec<Vec<Hop>>,
}

/// A next hop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hop {
    pub(super) to: usize,
    pub(super) delay: Duration,
    /// Sum of the weights of the node's hops up to and including this one.
    bound: u64,
}

impl Fabric {
    pub(super) fn new(topology: &Topology, seed: u64) -> Self {
        let count = topology.nodes().len();
        let seed_of = |node: usize, generation: u64| {
            mix(mix(seed) ^ mix(u64::try_from(node).unwrap_or(0)) ^ mix(generation).rotate_left(17))
        };
        let mut era = Era {
            from: Time::ZERO,
            nodes: topology.nodes().iter().map(|node| node.attributes.clone()).collect(),
            faults: *topology.faults(),
            seeds: (0..count).map(|node| seed_of(node, 0)).collect(),
            edges: topology.edges().to_vec(),
            leading: Vec::new(),
            tables: vec![None; count],
        };
        let mut eras = Vec::new();
        for (generation, event) in (1..).zip(topology.events()) {
            if event.at > era.from {
                eras.push(era.clone());
                era.from = event.at;
            }
            match &event.change {
                Change::Add(edge) => era.edges.push(*edge),
                Change::Remove(gone) => {
                    era.edges.retain(|edge| (edge.from, edge.to) != (gone.from, gone.to));
                }
                Change::Node { node, attributes } => {
                    if let Some(node) = era.nodes.get_mut(*node) {
                        node.clone_from(attributes);
                    }
                }
                Change::Network(faults) => era.faults = *faults,
                Change::Rehash(node) => {
                    if let Some(seed) = era.seeds.get_mut(*node) {
                        *seed = seed_of(*node, generation);
                    }
                }
            }
        }
        eras.push(era);
        for era in &mut eras {
            era.leading = era.reaching(topology.destinations());
        }
        Self { eras, period: topology.period() }
    }

    /// The place of the era that this time belongs to.
    pub(super) fn place(&self, at: Time) -> usize {
        let (_, at) = self.cycle(at);
        self.eras.partition_point(|era| era.from <= at).saturating_sub(1)
    }

    /// The era at this place.
    pub(super) fn era(&self, place: usize) -> Option<&Era> {
        self.eras.get(place)
    }

    /// When the era ends that this time belongs to; `None` where it is the last.
    pub(super) fn end(&self, at: Time) -> Option<Time> {
        let (start, _) = self.cycle(at);
        let next = self.eras.get(self.place(at) + 1).map(|era| era.from.since(Time::ZERO));
        next.or(self.period).map(|end| start + end)
    }

    /// When the script began last by this time, and the time since then as a time of the script.
    fn cycle(&self, at: Time) -> (Time, Time) {
        let Some(period) = self.period.map(|period| period.as_nanos()).filter(|&period| period > 0) else {
            return (Time::ZERO, at);
        };
        let within = at.since(Time::ZERO).as_nanos() % period;
        let within = Duration::from_nanos(u64::try_from(within).unwrap_or(u64::MAX));
        (at - within, Time::ZERO + within)
    }

    /// Makes sure that the era at this place knows its next hops towards the target.
    pub(super) fn prepare(&mut self, place: usize, target: usize) {
        let Some(era) = self.eras.get_mut(place) else {
            return;
        };
        if era.tables.get(target).is_some_and(Option::is_none) {
            let table = era.table(target);
            if let Some(place) = era.tables.get_mut(target) {
                *place = Some(table);
            }
        }
    }
}

impl Era {
    pub(super) fn node(&self, node: usize) -> Option<&Attributes> {
        self.nodes.get(node)
    }

    pub(super) fn is_per_packet(&self, node: usize) -> bool {
        self.nodes.get(node).is_some_and(|node| node.balance == Balance::PerPacket)
    }

    /// Whether a node answers no expired packet, or as target nothing.
    pub(super) fn is_silent(&self, node: usize, is_target: bool) -> bool {
        self.nodes
            .get(node)
            .is_some_and(|node| node.silent || node.answers == 0.0 || (node.zero_ttl && !is_target))
    }

    pub(super) fn forwards(&self, node: usize) -> bool {
        self.nodes.get(node).is_some_and(|node| !node.swallow && node.unreachable.is_none())
    }

    /// The next hop of a packet at `node`; `None` where the node has none. `flow` and `destination` are the
    /// packet's hash keys.
    pub(super) fn choose(
        &self,
        target: usize,
        node: usize,
        flow: u64,
        destination: u64,
        rng: &mut fastrand::Rng,
    ) -> Option<Hop> {
        let hops = self.tables.get(target)?.as_ref()?.hops.get(node)?;
        match hops.as_slice() {
            [] => None,
            [hop] => Some(*hop),
            hops => match self.nodes.get(node)?.balance {
                Balance::PerFlow => pick(hops, self.hash(node, flow)),
                Balance::PerPacket => pick(hops, rng.u64(..)),
                Balance::PerDestination => pick(hops, self.hash(node, destination)),
            },
        }
    }

    /// All next hops that packets to this destination may take from `node`.
    pub(super) fn choices<'t>(&self, table: &'t Table, node: usize, destination: u64) -> Vec<&'t Hop> {
        let hops = table.hops.get(node).map(Vec::as_slice).unwrap_or_default();
        match self.nodes.get(node).map(|node| node.balance) {
            Some(Balance::PerDestination) => {
                let chosen = pick(hops, self.hash(node, destination)).map(|hop| hop.to);
                hops.iter().filter(|hop| Some(hop.to) == chosen).collect()
            }
            _ => hops.iter().collect(),
        }
    }

    /// The next hops of all nodes towards a target: edges from whose end it can be reached, and edges that
    /// reach no destination at all, which are the black holes and loops that the file asks for.
    pub(super) fn table(&self, target: usize) -> Table {
        let reaching = self.reaching(&[target]);
        let is = |set: &[bool], node: usize| set.get(node).copied().unwrap_or_default();
        let mut hops: Vec<Vec<Hop>> = vec![Vec::new(); self.nodes.len()];
        for edge in &self.edges {
            if !is(&reaching, edge.to) && is(&self.leading, edge.to) {
                continue;
            }
            if let Some(hops) = hops.get_mut(edge.from) {
                let bound = hops.last().map_or(0, |hop| hop.bound) + u64::from(edge.weight);
                hops.push(Hop { to: edge.to, delay: edge.delay, bound });
            }
        }
        Table { hops }
    }

    /// For every node, whether one of the targets can be reached from it. The targets reach themselves.
    fn reaching(&self, targets: &[usize]) -> Vec<bool> {
        let mut before: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len()];
        for edge in &self.edges {
            if let Some(before) = before.get_mut(edge.to) {
                before.push(edge.from);
            }
        }
        let mut reaching = vec![false; self.nodes.len()];
        let mut open = targets.to_vec();
        while let Some(node) = open.pop() {
            match reaching.get_mut(node) {
                Some(reached) if !*reached => *reached = true,
                _ => continue,
            }
            open.extend(before.get(node).into_iter().flatten());
        }
        reaching
    }

    /// Two rounds of mixing: two nodes whose seeds differ in any way choose independently.
    fn hash(&self, node: usize, key: u64) -> u64 {
        mix(mix(key ^ self.seeds.get(node).copied().unwrap_or_default()))
    }
}

/// The hop into whose share of the range of hashes this one falls.
fn pick(hops: &[Hop], hash: u64) -> Option<Hop> {
    let total = hops.last()?.bound;
    let point = u64::try_from((u128::from(hash) * u128::from(total)) >> 64).ok()?;
    hops.get(hops.partition_point(|hop| hop.bound <= point)).copied()
}
