//! Strategies `mda` and `mda-lite`: multipath detection that goes on until the budget is met at every node.
//!
//! Everything is event-driven and all TTLs progress in parallel: each answer shows at once which flows are wanted where.
//! Nothing is asked that the final answer would not need, but for the first look ahead.
//!
//! `mda` (Veitch, Augustin, Friedman, Teixeira: Failure Control in Multipath Route Tracing, INFOCOM 2009) wants the full
//! stopping rule at each node for itself, and follows the same flows in order through both hops of a link.
//! `mda-lite` (after Vermeulen, Strowes, Fourmaux, Friedman: Multilevel MDA-Lite Paris Traceroute, IMC 2018) chooses
//! among the flows known at a hop those that are wanted behind it, and judges nodes that look alike together, until one of
//! them looks different.

mod judge;
mod recall;
mod silence;
mod zones;

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Settings,
    budget::{Budget, count_of, hidden_second},
    ending::Ending,
    graph::{Graph, Named, NodeId, Star},
    policy::{Plan, Policy},
};
use crate::{
    flow::FlowId,
    probe::Ttl,
    route::{Cell, FlowEnd},
};

/// TTLs that the first flow asks at once: most routes of the Internet end within them.
const SCOUT_WINDOW: u8 = 8;
/// Flows that look for life beyond a silent stretch. The first alone might be in a dead branch.
const SCOUTS: usize = 3;

/// How a discovery judges and chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// `mda`
    Full,
    /// `mda-lite`
    Lite,
}

/// The policy of `mda` and `mda-lite`.
pub(super) struct Discovery {
    style: Style,
    first: u8,
    graph: Graph,
    budget: Budget,
    /// The flows drawn so far, in their order, and the place of each.
    flows: Vec<FlowId>,
    places: BTreeMap<FlowId, usize>,
    /// Flows asked at each TTL, numbered in the order of asking, and those of them without an answer or a final silence yet.
    asked: BTreeMap<u8, BTreeMap<FlowId, u32>>,
    open: BTreeMap<u8, BTreeSet<FlowId>>,
    /// Those open that are supposed to be silent: what that would make necessary is asked before it is certain.
    supposed: BTreeMap<u8, BTreeSet<FlowId>>,
    /// Where in the order of flows each TTL looks for its next new one.
    next: BTreeMap<u8, usize>,
    /// TTLs at which one flow was asked repeatedly.
    repeated: BTreeSet<u8>,
    /// Nodes from which on flows are known to be lost.
    dead: BTreeSet<NodeId>,
    questions: u32,
    answers: u32,
    lost: u32,
}

impl Discovery {
    pub(super) fn new(style: Style, settings: &Settings) -> Self {
        Self {
            style,
            first: settings.first_ttl.get(),
            graph: Graph::new(settings.first_ttl),
            budget: Budget::new(settings.confidence.get()),
            flows: Vec::new(),
            places: BTreeMap::new(),
            asked: BTreeMap::new(),
            open: BTreeMap::new(),
            supposed: BTreeMap::new(),
            next: BTreeMap::new(),
            repeated: BTreeSet::new(),
            dead: BTreeSet::new(),
            questions: 0,
            answers: 0,
            lost: 0,
        }
    }

    /// The flow at a place in the order.
    fn flow(&mut self, place: usize, plan: &Plan<'_>) -> Option<FlowId> {
        while self.flows.len() <= place {
            let flow = plan.settings.flow_sequence.get(self.flows.len())?;
            self.places.insert(flow, self.flows.len());
            self.flows.push(flow);
        }
        self.flows.get(place).copied()
    }

    /// Asks a flow at a TTL, unless that was done or the flow ends before it.
    fn ask(&mut self, flow: FlowId, ttl: u8, plan: &mut Plan<'_>) -> bool {
        let Some(ttl) = Ttl::new(ttl).filter(|ttl| *ttl <= plan.settings.max_ttl && ttl.get() >= self.first)
        else {
            return false;
        };
        if self.was_asked(flow, ttl.get()) || plan.evidence.end(flow).is_some_and(|end| end.ttl() < ttl) {
            return false;
        }
        self.graph.asked_behind(flow, ttl.get() - 1);
        self.asked.entry(ttl.get()).or_default().insert(flow, self.questions);
        self.questions += 1;
        self.open.entry(ttl.get()).or_default().insert(flow);
        plan.ask(flow, ttl);
        true
    }

    fn was_asked(&self, flow: FlowId, ttl: u8) -> bool {
        self.asked.get(&ttl).is_some_and(|flows| flows.contains_key(&flow))
    }

    fn is_open(&self, flow: FlowId, ttl: u8) -> bool {
        self.open.get(&ttl).is_some_and(|flows| flows.contains(&flow))
    }

    /// The flows open at a TTL of which it is not even supposed where they are there.
    fn under_way(&self, ttl: u8) -> impl Iterator<Item = FlowId> {
        let open = self.open.get(&ttl).into_iter().flatten().copied();
        open.filter(move |&flow| self.graph.at(flow, ttl).is_none())
    }

    fn close(&mut self, flow: FlowId, ttl: u8) {
        for books in [&mut self.open, &mut self.supposed] {
            if let Some(flows) = books.get_mut(&ttl) {
                flows.remove(&flow);
            }
        }
    }

    /// Asks new flows at a TTL.
    fn ask_new(&mut self, count: usize, ttl: u8, plan: &mut Plan<'_>) {
        let mut wanted = count;
        while wanted > 0 {
            let place = self.next.get(&ttl).copied().unwrap_or(0);
            let Some(flow) = self.flow(place, plan) else { return };
            self.next.insert(ttl, place + 1);
            wanted -= usize::from(self.ask(flow, ttl, plan));
        }
    }

    /// The flow's window beyond its last answer.
    fn look_ahead(&mut self, flow: FlowId, window: u8, plan: &mut Plan<'_>) {
        let last = plan.evidence.last_answer(flow).map_or(self.first - 1, Ttl::get);
        for ttl in last.saturating_add(1)..=last.saturating_add(window) {
            self.ask(flow, ttl, plan);
        }
    }

    /// Takes in what the evidence has on a flow, and asks what that makes necessary.
    fn digest(&mut self, flow: FlowId, ttl: u8, plan: &mut Plan<'_>) {
        self.update(flow, plan);
        if self.budget.split(self.graph.branches()) {
            self.consider_all(plan);
        } else {
            for hop in [ttl.saturating_sub(2), ttl - 1, ttl] {
                self.consider(hop, plan);
            }
        }
    }

    /// Gives a flow its place in the graph.
    fn update(&mut self, flow: FlowId, plan: &Plan<'_>) {
        let (open, supposed, evidence) = (&self.open, &self.supposed, plan.evidence);
        let has = |books: &BTreeMap<u8, BTreeSet<FlowId>>, ttl: Ttl| {
            books.get(&ttl.get()).is_some_and(|flows| flows.contains(&flow))
        };
        let star = |ttl: Ttl| match evidence.cell(flow, ttl) {
            _ if has(supposed, ttl) => Star::Supposed,
            Some(cell) if cell.is_silent() && !has(open, ttl) => Star::Silent,
            _ => Star::Open,
        };
        let asked = &self.asked;
        let was_asked = |ttl: u8| asked.get(&ttl).is_some_and(|flows| flows.contains_key(&flow));
        let place = self.place(flow).unwrap_or(usize::MAX);
        self.graph.update(Named { flow, place }, evidence, star, was_asked);
    }

    fn consider_all(&mut self, plan: &mut Plan<'_>) {
        for ttl in self.first - 1..=self.graph.farthest() {
            self.consider(ttl, plan);
        }
    }

    /// Asks what is wanted of the nodes at a TTL about the hop behind them.
    fn consider(&mut self, ttl: u8, plan: &mut Plan<'_>) {
        if ttl + 1 < self.first || ttl > self.graph.farthest() || self.is_busy(ttl) {
            return;
        }
        self.tie(ttl, plan);
        let nodes: Vec<_> = self.graph.layer(ttl).filter(|&id| self.goes_on(id)).collect();
        let wants: Vec<_> = nodes.iter().map(|&id| (id, self.wanted(id, ttl, nodes.len()))).collect();
        if wants.iter().all(|&(id, wanted)| wanted > 0 && self.graph.answered(id) >= wanted) {
            return;
        }
        match self.style {
            _ if self.graph.width(ttl) == 1 => self.ask_behind_single(&wants, ttl, plan),
            Style::Lite if !self.is_meshed(ttl) => self.ask_chosen(&wants, ttl, plan),
            Style::Full | Style::Lite => self.ask_in_order(&wants, ttl, plan),
        }
    }

    /// Whether so much is under way about a hop that one answer changes little: then it is looked at only now and then.
    fn is_busy(&self, ttl: u8) -> bool {
        const MUCH: usize = 32;
        const NOW_AND_THEN: u32 = 8;
        let under_way = [ttl, ttl + 1].map(|ttl| self.open.get(&ttl).map_or(0, BTreeSet::len));
        under_way.iter().sum::<usize>() > MUCH && !self.answers.is_multiple_of(NOW_AND_THEN)
    }

    fn goes_on(&self, id: NodeId) -> bool {
        self.graph.node(id).is_some_and(|node| !node.terminal)
    }

    /// Every node needs the link that leads to it: a flow known there is asked one hop nearer.
    fn tie(&mut self, ttl: u8, plan: &mut Plan<'_>) {
        if ttl < self.first {
            return;
        }
        let loose = self.graph.layer(ttl + 1).filter_map(|id| self.graph.node(id));
        let loose = loose.filter(|node| {
            node.previous.is_empty() && node.flows.iter().all(|&flow| !self.was_asked(flow, ttl))
        });
        let flows: Vec<_> = loose.filter_map(|node| node.flows.first().copied()).collect();
        for flow in flows {
            self.ask(flow, ttl, plan);
        }
    }

    /// Behind a hop with one node: any flow passes it, so that new ones are asked behind it alone.
    fn ask_behind_single(&mut self, wants: &[(NodeId, usize)], ttl: u8, plan: &mut Plan<'_>) {
        let Some(&(id, wanted)) = wants.first() else { return };
        let asked = self.asked.get(&(ttl + 1)).map_or(0, BTreeMap::len);
        let useless = self.useless(id, ttl + 1, plan);
        let missing = wanted.saturating_sub(asked.saturating_sub(useless));
        // Of those asked now as many will be useless again, if it was not by chance.
        let vain =
            if useless > 1 { (missing * useless).div_ceil(asked.saturating_sub(useless).max(1)) } else { 0 };
        self.ask_new(missing + vain, ttl + 1, plan);
    }

    /// `mda`: the flows known at a hop are followed in their order, as far as the neediest node wants.
    fn ask_in_order(&mut self, wants: &[(NodeId, usize)], ttl: u8, plan: &mut Plan<'_>) {
        let mut missing = 0_f64;
        let mut last = None;
        let total: usize = wants.iter().map(|&(id, _)| self.flows_at(id)).sum();
        let mut under_way: BTreeMap<NodeId, usize> = BTreeMap::new();
        for id in self.under_way(ttl + 1).filter_map(|flow| self.graph.at(flow, ttl)) {
            *under_way.entry(id).or_default() += 1;
        }
        for &(id, wanted) in wants {
            let Some(node) = self.graph.node(id) else { continue };
            let useless =
                node.flows.len().min(self.barren(id, ttl, under_way.get(&id).copied().unwrap_or(0)));
            last = last.max(node.places.get(wanted + useless - 1).copied());
            let short = (wanted + useless).saturating_sub(node.flows.len());
            if self.may_widen(id, ttl, plan) {
                missing = missing.max(per_share(short, node.flows.len(), wants.len(), total));
            }
            if short > 0 {
                last = Some(usize::MAX);
            }
        }
        self.widen(missing * self.haste(ttl, plan), ttl, plan);
        let known: Vec<_> = wants
            .iter()
            .filter_map(|&(id, _)| self.graph.node(id))
            .flat_map(|node| &node.unasked)
            .copied()
            .collect();
        for flow in known {
            if self.place(flow) <= last {
                self.ask(flow, ttl + 1, plan);
            }
        }
    }

    /// `mda-lite`: of the flows known at a hop, those of nodes that want more.
    fn ask_chosen(&mut self, wants: &[(NodeId, usize)], ttl: u8, plan: &mut Plan<'_>) {
        let total: usize = wants.iter().map(|&(id, _)| self.flows_at(id)).sum();
        let mut missing = 0_f64;
        let alike = wants.iter().filter(|(_, wanted)| *wanted == 0).map(|&(id, _)| id);
        let alike: Vec<_> = alike.filter(|&id| self.may_widen(id, ttl, plan)).collect();
        for &(id, wanted) in wants.iter().filter(|(_, wanted)| *wanted > 0) {
            let short = self.ask_of(id, wanted, ttl, plan);
            if self.may_widen(id, ttl, plan) {
                missing = missing.max(per_share(short, self.flows_at(id), wants.len(), total));
            }
        }
        missing = (missing * self.haste(ttl, plan)).max(self.ask_alike(&alike, total, ttl, plan));
        self.widen(missing, ttl, plan);
    }

    /// Nodes that look alike are one question: which of them hides a second successor is as good as drawn by lot, so the mean of
    /// their risks is what may go wrong. Each gets two flows at least (the meshing test). Returns new flows wanted at the hop.
    fn ask_alike(&mut self, nodes: &[NodeId], total: usize, ttl: u8, plan: &mut Plan<'_>) -> f64 {
        const MESHING_TEST: usize = 2;
        let Some(count) = u32::try_from(nodes.len()).ok().filter(|&count| count > 0) else { return 0.0 };
        let mut missing = 0_f64;
        for level in MESHING_TEST..=self.budget.flows(1) {
            for &id in nodes {
                let short = self.ask_of(id, level, ttl, plan);
                if level == MESHING_TEST {
                    missing = missing.max(per_share(short, self.flows_at(id), nodes.len(), total));
                }
            }
            let risks = nodes.iter().map(|&id| hidden_second(self.served(id, ttl)).min(1.0));
            if risks.sum::<f64>() / f64::from(count) <= self.budget.whole() {
                return missing;
            }
        }
        // What is known at the hop is used up: half a flow more for each node; where it may take long to see that a flow came to a silent
        // one, more of them at once.
        let silent = nodes.iter().filter_map(|&id| self.graph.node(id)).any(|node| node.silent);
        missing.max(f64::from(count) * if silent { 1.5 } else { 0.5 })
    }

    /// Asks flows of a node behind it until this many are known or under way. Returns how many it has not got.
    fn ask_of(&mut self, id: NodeId, wanted: usize, ttl: u8, plan: &mut Plan<'_>) -> usize {
        let mut lacks = wanted.saturating_sub(self.served(id, ttl));
        if lacks == 0 {
            return 0;
        }
        let flows: Vec<_> =
            self.graph.node(id).map(|node| node.flows.iter().copied().collect()).unwrap_or_default();
        for flow in flows {
            if lacks == 0 {
                break;
            }
            if self.ask(flow, ttl + 1, plan) {
                lacks -= 1;
                self.ask_through(flow, ttl + 1, plan);
            }
        }
        lacks
    }

    /// What a flow is asked for inside a diamond, it will be wanted for up to its end: that saves a round trip a hop.
    fn ask_through(&mut self, flow: FlowId, from: u8, plan: &mut Plan<'_>) {
        let mut ttl = from;
        while self.graph.width(ttl) > 1 && ttl < self.graph.farthest() {
            ttl += 1;
            self.ask(flow, ttl, plan);
        }
    }

    fn flows_at(&self, id: NodeId) -> usize {
        self.graph.node(id).map_or(0, |node| node.flows.len())
    }

    fn flows_in(&self, ttl: u8) -> usize {
        self.graph.layer(ttl).map(|id| self.flows_at(id)).sum()
    }

    fn place(&self, flow: FlowId) -> Option<usize> {
        self.places.get(&flow).copied()
    }

    /// Asks new flows at a hop, as far as those under way will not do.
    fn widen(&mut self, missing: f64, ttl: u8, plan: &mut Plan<'_>) {
        let missing = count_of(missing, 10_000);
        if missing == 0 || ttl < self.first {
            return;
        }
        let under_way: Vec<_> = self.under_way(ttl).collect();
        // What stays silent there may be just what is missing: first see what it comes to.
        if !under_way.iter().any(|&flow| is_late(flow, ttl, plan)) {
            self.ask_new(missing.saturating_sub(under_way.len()), ttl, plan);
        }
    }
}

/// New flows at a hop after which a node that got `flows` of `total` is about half way to having what it is short of: asking for all
/// at once, half of them would be on their way in vain. Its share is estimated with some belief in equal shares.
fn per_share(short: usize, flows: usize, width: usize, total: usize) -> f64 {
    const BELIEF: f64 = 5.0;
    let as_float = |count: usize| u32::try_from(count).map_or(f64::MAX, f64::from);
    if short == 0 {
        return 0.0;
    }
    let share = (as_float(flows) + BELIEF) / (as_float(total) + BELIEF * as_float(width));
    (as_float(short) / share / 2.0).max(1.0)
}

/// Whether an answer to a flow at a TTL is late.
fn is_late(flow: FlowId, ttl: u8, plan: &Plan<'_>) -> bool {
    Ttl::new(ttl).and_then(|ttl| plan.evidence.cell(flow, ttl)).is_some_and(Cell::is_late)
}

impl Policy for Discovery {
    fn start(&mut self, plan: &mut Plan<'_>) {
        self.recall(plan);
        if let Some(scout) = self.flow(0, plan) {
            self.look_ahead(scout, SCOUT_WINDOW.max(plan.settings.gap_limit), plan);
        }
        self.consider_all(plan);
    }

    fn on_answer(&mut self, flow: FlowId, ttl: Ttl, plan: &mut Plan<'_>) {
        self.close(flow, ttl.get());
        if let Some(cell) = plan.evidence.cell(flow, ttl).filter(|cell| cell.answers.len() == 1) {
            self.answers += 1;
            self.lost += cell.sent.saturating_sub(1);
        }
        if let Some(end) = plan.evidence.end(flow).map(FlowEnd::ttl) {
            plan.withdraw_beyond(flow, end);
            for beyond in end.get().saturating_add(1)..=plan.settings.max_ttl.get() {
                self.close(flow, beyond);
            }
        } else if self.flow(0, plan) == Some(flow) {
            self.look_ahead(flow, plan.settings.gap_limit, plan);
        }
        self.digest(flow, ttl.get(), plan);
        self.suppose_overtaken(flow, ttl, plan);
    }

    fn on_retry(&mut self, flow: FlowId, ttl: Ttl, plan: &mut Plan<'_>) {
        // The scout hears nothing from beyond the farthest answer: others look there too.
        if ttl.get() > self.graph.farthest() && self.flow(0, plan) == Some(flow) {
            for place in 1..SCOUTS {
                if let Some(other) = self.flow(place, plan) {
                    self.look_ahead(other, plan.settings.gap_limit, plan);
                }
            }
        }
        let sent = plan.evidence.cell(flow, ttl).map_or(0, |cell| cell.sent);
        let more = self.attempts(flow, ttl, plan).saturating_sub(plan.settings.attempts.into());
        if sent == 1 && more > 0 && plan.evidence.is_answered(ttl) {
            plan.insist(flow, ttl, u8::try_from(more).unwrap_or(u8::MAX));
        }
        if plan.is_held(ttl) {
            return;
        }
        self.look_around(flow, ttl.get(), plan);
        let is_likely = if plan.evidence.is_answered(ttl) { sent > 1 } else { self.is_silent(ttl.get()) };
        if is_likely && self.is_open(flow, ttl.get()) {
            self.suppose(flow, ttl.get(), plan);
            self.hasten(flow, ttl, plan);
            return;
        }
        // Whoever waits for this answer may ask for another meanwhile.
        self.consider(ttl.get() - 1, plan);
    }

    fn on_silence(&mut self, flow: FlowId, ttl: Ttl, plan: &mut Plan<'_>) {
        if plan.is_asked(flow, ttl) {
            return;
        }
        let sent = plan.evidence.cell(flow, ttl).map_or(0, |cell| cell.sent);
        if sent < self.patience(flow, ttl, plan) && plan.evidence.is_answered(ttl) && !plan.is_held(ttl) {
            plan.insist(flow, ttl, 1);
            return;
        }
        self.close(flow, ttl.get());
        self.look_around(flow, ttl.get(), plan);
        self.digest(flow, ttl.get(), plan);
        for &other in self.supposed.get(&ttl.get()).into_iter().flatten() {
            self.hasten(other, ttl, plan);
        }
    }

    fn on_idle(&mut self, plan: &mut Plan<'_>) -> Ending {
        self.consider_all(plan);
        self.tell_zones(plan);
        Ending::of(plan.evidence, plan.settings)
    }

    fn confidence(&self) -> Option<f64> {
        Some(self.supported())
    }
}
