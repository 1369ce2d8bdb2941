//! What a missing answer stands for in a discovery: how long to ask for it, and what to do meanwhile.
//!
//! That a node is silent takes most of a second to be certain of. A flow that seems to be at one is supposed to be there long
//! before, and what that makes necessary is asked in parallel to the waiting: where an answer comes after all, no more than some
//! packets were in vain.

use std::collections::BTreeMap;

use super::{Discovery, SCOUTS};
use crate::{
    flow::FlowId,
    probe::Ttl,
    tracer::{budget::count_of, graph::NodeId, policy::Plan},
};

/// Smallest loss assumed, so that a quiet start is not taken for certainty.
const LOSS_MIN: f64 = 0.02;
/// Chance, over a whole trace, of taking lost replies for a silent node.
const FALSE_SILENCE: f64 = 1e-3;
/// Most packets for one flow at one TTL: at a loss of one half, one in four thousand stays unanswered.
const SENT_MAX: u32 = 12;

impl Discovery {
    /// Gives a missing answer its place: a silent node is known by the nodes before and behind it. Where the flow is not heard
    /// of from there on, a few flows of the same node look farther: is it the hop that is silent, or does the way end?
    pub(super) fn look_around(&mut self, flow: FlowId, ttl: u8, plan: &mut Plan<'_>) {
        self.ask(flow, ttl - 1, plan);
        if ttl < self.graph.farthest() {
            self.ask(flow, ttl + 1, plan);
        }
        let heard = plan.evidence.last_answer(flow).map_or(self.first - 1, Ttl::get);
        if heard + 1 != ttl || plan.evidence.end(flow).is_some() {
            return;
        }
        let at = self.graph.at(flow, heard);
        let farther = self.asked.get(&ttl.saturating_add(1)).into_iter().flat_map(BTreeMap::keys);
        let looking = farther.filter(|&&other| {
            other != flow && self.graph.at(other, heard) == at && self.graph.at(other, ttl).is_none()
        });
        if looking.count() < SCOUTS {
            self.look_ahead(flow, plan.settings.gap_limit, plan);
        }
    }

    /// Takes a flow for silent at a TTL until it is answered.
    pub(super) fn suppose(&mut self, flow: FlowId, ttl: u8, plan: &mut Plan<'_>) {
        if self.supposed.entry(ttl).or_default().insert(flow) {
            self.look_around(flow, ttl, plan);
            self.digest(flow, ttl, plan);
        }
    }

    /// At a hop with a silent node, flows asked earlier than one that is answered are supposed to have come to it.
    pub(super) fn suppose_overtaken(&mut self, flow: FlowId, ttl: Ttl, plan: &mut Plan<'_>) {
        let at_once = plan.evidence.cell(flow, ttl).is_some_and(|cell| cell.sent == 1);
        let likely = self.graph.layer(ttl.get()).any(|id| self.is_likely(id, ttl.get()));
        if !at_once || !likely || plan.is_held(ttl) {
            return;
        }
        let Some(asked) = self.asked.get(&ttl.get()) else { return };
        let open = self.open.get(&ttl.get()).into_iter().flatten().copied();
        let overtaken: Vec<_> = open.filter(|other| asked.get(other) < asked.get(&flow)).collect();
        for other in overtaken {
            self.suppose(other, ttl.get(), plan);
        }
    }

    /// Once one flow has shown a silent node, others supposed to be there need not be waited for as long.
    pub(super) fn hasten(&self, flow: FlowId, ttl: Ttl, plan: &mut Plan<'_>) {
        let sent = plan.evidence.cell(flow, ttl).map_or(0, |cell| cell.sent);
        if self.is_shown(flow, ttl) {
            let more = self.patience(flow, ttl, plan).saturating_sub(sent);
            plan.queries.hasten(flow, ttl, u8::try_from(more).unwrap_or(u8::MAX));
        }
    }

    /// Whether a silent node is known, or is supposed by too many flows for lost replies.
    pub(super) fn is_likely(&self, id: NodeId, ttl: u8) -> bool {
        const SHARE: usize = 8;
        let Some(node) = self.graph.node(id).filter(|node| node.silent) else { return false };
        node.flows.len() * SHARE >= self.flows_in(ttl) || self.is_certain(id, ttl)
    }

    /// How many of the new flows that look like what is missing at a hop are asked at once: where each try takes as long as silence
    /// takes to be believed, twice as many.
    pub(super) fn haste(&self, ttl: u8, plan: &Plan<'_>) -> f64 {
        let is_slow = |ttl| self.graph.layer(ttl).any(|id| self.is_likely(id, ttl));
        if !plan.lanes.is_any_limited() && (is_slow(ttl) || is_slow(ttl + 1)) { 2.0 } else { 1.0 }
    }

    /// Whether a flow is known to have come to a silent node at a hop.
    pub(super) fn is_silent(&self, ttl: u8) -> bool {
        self.graph.layer(ttl).any(|id| self.is_certain(id, ttl))
    }

    /// Whether a node is silent, and a flow is known to have come to it.
    fn is_certain(&self, id: NodeId, ttl: u8) -> bool {
        let node = self.graph.node(id).filter(|node| node.silent);
        node.is_some_and(|node| node.flows.iter().any(|&flow| !self.is_open(flow, ttl)))
    }

    /// Packets after which a star at a hop with answering nodes is believed. The first flow that shows a silent node has to be twice
    /// as sure as those that follow it there.
    pub(super) fn patience(&self, flow: FlowId, ttl: Ttl, plan: &Plan<'_>) -> u32 {
        self.packets(!self.is_shown(flow, ttl), ttl, plan)
    }

    /// Whether another flow has shown the silent node that this one would be at.
    pub(super) fn is_shown(&self, flow: FlowId, ttl: Ttl) -> bool {
        self.silent_with(flow, ttl).any(|other| !self.is_open(other, ttl.get()))
    }

    /// Packets to ask a flow with whose answer is late. What others may show before it, it need not show for itself.
    pub(super) fn attempts(&self, flow: FlowId, ttl: Ttl, plan: &Plan<'_>) -> u32 {
        let is_first = self.silent_with(flow, ttl).next().is_none();
        self.packets(is_first, ttl, plan)
    }

    /// Other flows at the silent node, supposed or known, that this one would be at.
    fn silent_with(&self, flow: FlowId, ttl: Ttl) -> impl Iterator<Item = FlowId> {
        let mut nearer = self.graph.layer(ttl.get() - 1);
        let only = nearer.next().filter(|_| nearer.next().is_none());
        let before = self.graph.at(flow, ttl.get() - 1).or(only);
        let onward = before.into_iter().flat_map(|before| self.graph.onward(before));
        let silent = onward.filter(|(next, _)| next.silent);
        silent.flat_map(|(next, _)| &next.flows).copied().filter(move |&other| other != flow)
    }

    fn packets(&self, is_first: bool, ttl: Ttl, plan: &Plan<'_>) -> u32 {
        let loss = f64::from(self.lost + 1) / f64::from(self.answers + self.lost + 20);
        let loss = loss.max(plan.evidence.loss(ttl)).clamp(LOSS_MIN, 0.5);
        let needed = (FALSE_SILENCE / f64::from(self.answers + 100)).ln() / loss.ln();
        let needed = u32::try_from(count_of(needed, SENT_MAX).max(1)).unwrap_or(SENT_MAX);
        let needed = if is_first { (needed * 2).min(SENT_MAX) } else { needed };
        needed.max(plan.settings.attempts.into())
    }
}
