//! What was asked and what was answered, per flow and TTL: the raw material of a route.
//!
//! Knows single observations. That a star may be a silent router or a lost reply is for the builder to weigh.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::cell::{Answer, Cell, Met, Standing};
use crate::{flow::FlowId, probe::Ttl};

/// Where and how a flow ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowEnd {
    /// The destination answered at this TTL, and at none before.
    Reached(Ttl),
    /// A router refused to carry it further; it was first refused at this TTL.
    Refused(Ttl),
    /// It came back to a node it had passed; the TTL at which it did.
    Loop(Ttl),
}

impl FlowEnd {
    /// The last TTL at which the flow says anything about the route.
    #[must_use]
    pub const fn ttl(self) -> Ttl {
        match self {
            Self::Reached(ttl) | Self::Refused(ttl) | Self::Loop(ttl) => ttl,
        }
    }
}

/// Where the destination is known to stand: its TTL, and the node before it (`None` is the source).
pub type Arrival = (Ttl, Option<IpAddr>);

/// All observations of one trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    flows: BTreeMap<FlowId, BTreeMap<Ttl, Cell>>,
    /// What became of the packets of answered flows, by hop and node.
    counts: BTreeMap<Ttl, BTreeMap<IpAddr, Count>>,
    rate_limited: BTreeSet<(Ttl, IpAddr)>,
    hidden: BTreeSet<Ttl>,
}

impl Evidence {
    /// Notes that a packet was sent.
    pub fn sent(&mut self, flow: FlowId, ttl: Ttl) {
        self.cell_mut(flow, ttl).sent += 1;
    }

    /// Takes back that a packet was sent: the kernel refused it. What was never asked leaves no trace.
    pub fn unsent(&mut self, flow: FlowId, ttl: Ttl) {
        let Some(cells) = self.flows.get_mut(&flow) else { return };
        if let Some(cell) = cells.get_mut(&ttl) {
            cell.sent = cell.sent.saturating_sub(1);
            if cell.sent == 0 && cell.answers.is_empty() && cell.past.met.is_empty() {
                self.forget(flow, ttl);
            }
        }
    }

    /// Notes an answer. A flow and TTL that has one is no longer silent. Where it is not whom the flow met before, what is remembered of
    /// the flow at other TTLs is not believed any more: it goes another way now.
    pub fn answered(&mut self, flow: FlowId, ttl: Ttl, answer: Answer) {
        let met = Met::from(&answer);
        let past = self.cell(flow, ttl).filter(|cell| cell.contradicts(met) && !cell.varies());
        if past.is_some_and(|cell| !self.deals_out(ttl, cell.past.met.iter().copied().chain([met]))) {
            self.doubt(flow, Ttl::MIN, Standing::Moved);
        } else if matches!(met, Met::Destination(_)) {
            self.trust(flow);
        }
        let cell = self.cell_mut(flow, ttl);
        cell.silent = false;
        cell.answers.push(answer);
        let before = if cell.answers.len() == 1 { cell.sent.saturating_sub(1) } else { 0 };
        if let Some(address) = cell.address() {
            let count = self.counts.entry(ttl).or_default().entry(address).or_default();
            count.answered += 1;
            count.missed += before;
        }
    }

    /// Notes that a packet of a flow that was answered before stayed unanswered.
    pub fn missed(&mut self, flow: FlowId, ttl: Ttl) {
        if let Some(address) = self.cell(flow, ttl).and_then(Cell::address) {
            self.counts.entry(ttl).or_default().entry(address).or_default().missed += 1;
        }
    }

    /// Notes that a flow got no answer at a TTL in all its attempts. Where that is its end, the destination may be out of its reach.
    pub fn silent(&mut self, flow: FlowId, ttl: Ttl) {
        let cell = self.cell_mut(flow, ttl);
        cell.silent = cell.answers.is_empty();
        if cell.silent && self.is_due(flow, ttl) {
            self.miss_destination(flow, ttl);
        }
    }

    /// Notes that a node at a hop limits its answers.
    pub fn limits(&mut self, ttl: Ttl, address: IpAddr) {
        self.rate_limited.insert((ttl, address));
    }

    /// Whether the node at this hop is known to limit its answers.
    #[must_use]
    pub fn is_limited(&self, ttl: Ttl, address: IpAddr) -> bool {
        self.rate_limited.contains(&(ttl, address))
    }

    /// Notes that a hop limits its answers: what is silent there may be a node that answers others.
    pub fn hides(&mut self, ttl: Ttl) {
        self.hidden.insert(ttl);
    }

    /// Whether silence at a hop may be a rate limit's.
    #[must_use]
    pub fn has_limit(&self, ttl: Ttl) -> bool {
        self.hidden.contains(&ttl)
    }

    /// The nodes of a hop that leave more unanswered than loss explains, judged by the best of the other hops; and whether the hop as a
    /// whole does. Only flows that were answered at all count: others may be dead.
    #[must_use]
    pub fn shortfall(&self, ttl: Ttl) -> (Vec<IpAddr>, bool) {
        let hops = self.counts.iter().map(|(&at, nodes)| (at, Count::total(nodes)));
        let others = hops.filter(|&(at, count)| at != ttl && count.packets() >= Count::ENOUGH);
        let loss = others.map(|(_, count)| count.loss()).fold(Count::LOSS, f64::min);
        let Some(nodes) = self.counts.get(&ttl) else { return (Vec::new(), false) };
        let short = nodes.iter().filter(|(_, count)| count.is_short(loss)).map(|(&address, _)| address);
        (short.collect(), Count::total(nodes).is_short(loss))
    }

    /// Share of packets of answered flows at a hop that stayed unanswered, 0 to 1; 0 where so few did that it is no trait of the hop.
    #[must_use]
    pub fn loss(&self, ttl: Ttl) -> f64 {
        let total = self.counts.get(&ttl).map(Count::total);
        total.filter(|total| total.missed >= Count::TELLING).map_or(0.0, Count::loss)
    }

    /// Share of packets of answered flows that were answered: at a hop, or over all of them where that has had few. A half where none has
    /// had any.
    pub(super) fn answered_share(&self, ttl: Ttl) -> f64 {
        let here = self.counts.get(&ttl).map(Count::total).filter(|count| count.packets() >= Count::ENOUGH);
        let all = || {
            self.counts.values().map(Count::total).fold(Count::default(), |all, count| Count {
                answered: all.answered + count.answered,
                missed: all.missed + count.missed,
            })
        };
        match here.unwrap_or_else(all) {
            count if count.packets() == 0 => 0.5,
            count => f64::from(count.answered) / f64::from(count.packets() + 1),
        }
    }

    /// Flows answered at a hop, at most `most`, of as many nodes as possible.
    #[must_use]
    pub fn witnesses(&self, ttl: Ttl, most: usize) -> Vec<FlowId> {
        let mut flows: BTreeMap<IpAddr, Vec<FlowId>> = BTreeMap::new();
        for (flow, cell) in self.at(ttl) {
            if let Some(address) = cell.answers.first().map(|answer| answer.from)
                && self.end(flow).is_none_or(|end| end.ttl() >= ttl)
            {
                flows.entry(address).or_default().push(flow);
            }
        }
        let rounds = flows.values().map(Vec::len).max().unwrap_or(0);
        let in_turn = (0..rounds).flat_map(|round| flows.values().filter_map(move |flows| flows.get(round)));
        in_turn.copied().take(most).collect()
    }

    /// What is known of a flow at a TTL.
    #[must_use]
    pub fn cell(&self, flow: FlowId, ttl: Ttl) -> Option<&Cell> {
        self.flows.get(&flow)?.get(&ttl)
    }

    /// What is known of a flow, by TTL.
    #[must_use]
    pub fn cells(&self, flow: FlowId) -> Option<&BTreeMap<Ttl, Cell>> {
        self.flows.get(&flow)
    }

    /// The flows in the order of their ids, each with its cells by TTL.
    pub fn flows(&self) -> impl Iterator<Item = (FlowId, &BTreeMap<Ttl, Cell>)> {
        self.flows.iter().map(|(&flow, cells)| (flow, cells))
    }

    /// The cells of one TTL, in the order of the flows.
    pub fn at(&self, ttl: Ttl) -> impl Iterator<Item = (FlowId, &Cell)> {
        self.flows.iter().filter_map(move |(&flow, cells)| Some((flow, cells.get(&ttl)?)))
    }

    /// The nearest TTL asked.
    #[must_use]
    pub fn first_ttl(&self) -> Option<Ttl> {
        self.flows.values().filter_map(|cells| cells.keys().next().copied()).min()
    }

    /// Where a flow ended, as far as its answers tell.
    #[must_use]
    pub fn end(&self, flow: FlowId) -> Option<FlowEnd> {
        let cells = self.flows.get(&flow)?;
        for (&ttl, cell) in cells {
            if cell.reached() {
                return Some(FlowEnd::Reached(ttl));
            }
            if cell.refusal().is_some() {
                return Some(FlowEnd::Refused(ttl));
            }
        }
        looping(cells).map(FlowEnd::Loop)
    }

    /// The last TTL at which a flow can say anything of the route: its end, or the greatest there is where it has none.
    #[must_use]
    pub fn end_ttl(&self, flow: FlowId) -> Ttl {
        self.end(flow).map_or(Ttl::MAX, FlowEnd::ttl)
    }

    /// The farthest TTL at which a flow was answered.
    #[must_use]
    pub fn last_answer(&self, flow: FlowId) -> Option<Ttl> {
        let cells = self.flows.get(&flow)?;
        cells.iter().rev().find(|(_, cell)| cell.address().is_some()).map(|(&ttl, _)| ttl)
    }

    /// The last TTL at which a flow shows a node: its end, or its farthest answer where it has none.
    #[must_use]
    pub fn last_node(&self, flow: FlowId) -> Option<Ttl> {
        let Some(end) = self.end(flow) else { return self.last_answer(flow) };
        let FlowEnd::Refused(ttl) = end else { return Some(end.ttl()) };
        // A router that let the probe expire one hop nearer refuses it here from that same place.
        let refuser = self.cell(flow, ttl).and_then(Cell::refusal).map(|(from, _)| from);
        let address = |ttl: Ttl| self.cell(flow, ttl).and_then(Cell::address);
        ttl.previous().filter(|&before| address(before) == refuser).or(Some(ttl))
    }

    /// Where a flow met the destination, if that is certain: the hop before it answered too. The destination answers every probe
    /// that gets to it, so that an answer behind a silent or unasked hop says only that it is there or nearer.
    #[must_use]
    pub fn arrival(&self, flow: FlowId) -> Option<Arrival> {
        let Some(FlowEnd::Reached(ttl)) = self.end(flow) else { return None };
        match ttl.previous() {
            None => Some((ttl, None)),
            Some(before) => Some((ttl, Some(self.cell(flow, before)?.address()?))),
        }
    }

    /// Where a flow came to the destination although that answered it only farther on: at a hop where it stayed unanswered and
    /// others, from the same node, met the destination. What is missing there is the destination's answer, not a router.
    #[must_use]
    pub fn landing(&self, flow: FlowId, arrivals: &BTreeSet<Arrival>) -> Option<Ttl> {
        let Some(FlowEnd::Reached(reached)) = self.end(flow) else { return None };
        let cells = self.flows.get(&flow)?;
        let is_known = |ttl: Ttl| {
            let from = ttl.previous().and_then(|before| cells.get(&before)).and_then(Cell::address);
            arrivals
                .range((ttl, None)..)
                .take_while(|&&(at, _)| at == ttl)
                .any(|&(_, before)| from.is_none() || before == from)
        };
        let unanswered = cells.range(..reached).rev().take_while(|(_, cell)| cell.address().is_none());
        unanswered.map(|(&ttl, _)| ttl).filter(|&ttl| is_known(ttl)).last()
    }

    /// Whether anyone was answered at a TTL.
    #[must_use]
    pub fn is_answered(&self, ttl: Ttl) -> bool {
        self.at(ttl).any(|(_, cell)| cell.address().is_some())
    }

    /// The flows at a TTL that met several there in turn in earlier rounds.
    pub fn zone(&self, ttl: Ttl) -> impl Iterator<Item = (FlowId, &Cell)> {
        self.at(ttl).filter(|(_, cell)| cell.past.is_zone())
    }

    /// The TTLs at which anything was asked or is known.
    #[must_use]
    pub fn ttls(&self) -> BTreeSet<Ttl> {
        self.flows.values().flat_map(BTreeMap::keys).copied().collect()
    }

    pub(super) fn cells_of(&mut self, flow: FlowId) -> Option<&mut BTreeMap<Ttl, Cell>> {
        self.flows.get_mut(&flow)
    }

    pub(super) fn cells_mut(&mut self) -> impl Iterator<Item = &mut Cell> {
        self.flows.values_mut().flat_map(BTreeMap::values_mut)
    }

    /// Leaves no trace of a flow at a TTL.
    pub(super) fn forget(&mut self, flow: FlowId, ttl: Ttl) {
        let Some(cells) = self.flows.get_mut(&flow) else { return };
        cells.remove(&ttl);
        if cells.is_empty() {
            self.flows.remove(&flow);
        }
    }

    pub(super) fn cell_mut(&mut self, flow: FlowId, ttl: Ttl) -> &mut Cell {
        self.flows.entry(flow).or_default().entry(ttl).or_default()
    }
}

/// Packets of answered flows: those that were answered, and those given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    answered: u32,
    missed: u32,
}

impl Count {
    /// Packets from which on a hop tells how much is lost on the way.
    const ENOUGH: u32 = 6;
    /// Packets given up from which on a hop is said to lose some of its own.
    const TELLING: u32 = 3;
    /// Loss assumed where no hop tells.
    const LOSS: f64 = 0.1;

    fn total(nodes: &BTreeMap<IpAddr, Self>) -> Self {
        nodes.values().fold(Self::default(), |total, count| Self {
            answered: total.answered + count.answered,
            missed: total.missed + count.missed,
        })
    }

    const fn packets(self) -> u32 {
        self.answered + self.missed
    }

    /// Share that went unanswered, estimated with some belief in a fifth.
    fn loss(self) -> f64 {
        f64::from(self.missed + 1) / f64::from(self.packets() + 5)
    }

    /// Loss comes in bursts: twice its share and some more of it is nothing strange.
    fn is_short(self, loss: f64) -> bool {
        const SOME: f64 = 5.0;
        const LEAST: f64 = 0.2;
        let (missed, packets) = (f64::from(self.missed), f64::from(self.packets()));
        missed > SOME + 2.0 * loss * packets && missed >= LEAST * packets
    }
}

/// Times an address may answer along one flow before the flow is said to go round in circles. Twice is no proof: a router that
/// forwards packets of TTL 0, or a route that changed meanwhile, shows an address twice.
const LOOP_SIGHTINGS: usize = 3;

/// The TTL at which a flow saw one address for the third time.
fn looping(cells: &BTreeMap<Ttl, Cell>) -> Option<Ttl> {
    let mut seen: BTreeMap<IpAddr, usize> = BTreeMap::new();
    cells.iter().find_map(|(&ttl, cell)| {
        let sightings = seen.entry(cell.address()?).or_default();
        *sightings += 1;
        (*sightings >= LOOP_SIGHTINGS).then_some(ttl)
    })
}
