//! What a discovery judges by: how many flows a node wants, how many serve it, what that promises.
//!
//! Reads the graph and the books of what was asked; orders nothing.

use std::collections::BTreeMap;

use super::{Discovery, Style, is_late};
use crate::{
    probe::Ttl,
    route::{SILENT_SHARE, miss_probability},
    tracer::{budget::flows_for_unequal, graph::NodeId, policy::Plan},
};

impl Discovery {
    /// Flows wanted through a node, known at it and at the hop behind it.
    pub(super) fn wanted(&mut self, id: NodeId, ttl: u8, width: usize) -> usize {
        // Silence is no evidence: what is ruled out is a further successor that answers.
        let counts = self.shares(id, ttl);
        let alike = self.style == Style::Lite && width > 1 && counts.len() <= 1 && self.looks_alike(ttl);
        if alike {
            // Judged together with its likes: see `ask_chosen`.
            return 0;
        }
        let wanted = self.budget.flows(counts.len());
        // Counts are judged when they would be enough for equal shares, since chance rejects the more, the oftener few are judged. What
        // goes on from a silent node in another way than most may be a flow whose reply was lost: no sign of unequal shares.
        let answered = usize::try_from(counts.iter().sum::<u32>()).unwrap_or(usize::MAX);
        if answered < wanted || self.graph.node(id).is_some_and(|node| node.silent) {
            return wanted;
        }
        // They are judged again when they have doubled: what chance rejected it will seldom reject then.
        let unequal = flows_for_unequal(&counts, self.budget.share());
        unequal.map_or(wanted, |flows| flows.min(2 * answered).max(wanted))
    }

    /// Flows seen at each successor of a node that answers. Behind a lone node that is everyone, whether asked there too or not.
    fn shares(&self, id: NodeId, ttl: u8) -> Vec<u32> {
        if self.graph.width(ttl) > 1 {
            return self.graph.answering(id).collect();
        }
        let behind = self.graph.layer(ttl + 1).filter_map(|id| self.graph.node(id));
        let answering = behind.filter(|node| !node.silent).map(|node| node.flows.len());
        answering.map(|flows| u32::try_from(flows).unwrap_or(u32::MAX)).collect()
    }

    /// Whether no node at a hop has shown more than one successor: what is known of one may then count for its likes.
    pub(super) fn looks_alike(&self, ttl: u8) -> bool {
        self.graph.layer(ttl).filter_map(|id| self.graph.node(id)).all(|node| node.next.len() <= 1)
    }

    /// Whether a node behind a hop can be come to from several nodes of it, and one of these has several successors.
    pub(super) fn is_meshed(&self, ttl: u8) -> bool {
        let behind = self.graph.layer(ttl + 1).filter_map(|id| self.graph.node(id));
        !self.looks_alike(ttl) && behind.into_iter().any(|node| node.previous.len() > 1)
    }

    /// Flows of a node whose next hop is known, or was asked and may still become known. Where nothing answers behind it, its
    /// silent flows count: silence is then all there is to find.
    pub(super) fn served(&self, id: NodeId, ttl: u8) -> usize {
        let Some(node) = self.graph.node(id) else { return 0 };
        self.served_with(id, ttl, self.under_way(ttl + 1).filter(|flow| node.flows.contains(flow)).count())
    }

    /// The same, where so many of its flows are under way behind it.
    fn served_with(&self, id: NodeId, ttl: u8, under_way: usize) -> usize {
        let Some(node) = self.graph.node(id) else { return 0 };
        let answered = self.graph.answered(id);
        if answered > 0 {
            return answered + under_way;
        }
        let known: u32 = node.next.values().sum();
        let known = usize::try_from(known).unwrap_or(usize::MAX);
        let dead = node.flows.iter().filter(|&&flow| {
            self.was_asked(flow, ttl + 1)
                && self.graph.at(flow, ttl + 1).is_none()
                && !self.is_open(flow, ttl + 1)
        });
        known + under_way + dead.count()
    }

    /// Flows asked behind a node that say nothing about its successors: those that stayed silent although others were answered.
    pub(super) fn useless(&self, id: NodeId, ttl: u8, plan: &Plan<'_>) -> usize {
        let Some(asked) = self.asked.get(&ttl) else { return 0 };
        let mut nodes = self.graph.layer(ttl).filter_map(|id| self.graph.node(id));
        let answered = nodes.any(|node| !node.silent);
        let held = Ttl::new(ttl).is_some_and(|ttl| plan.is_held(ttl));
        let useless = asked.keys().filter(|&&flow| {
            let here = self.graph.at(flow, ttl).and_then(|at| self.graph.node(at));
            if here.is_some_and(|node| !node.silent) {
                return false;
            }
            // One that had to be repeated is as good as silent: what it would have told is asked of another meanwhile.
            let waited = self.is_open(flow, ttl) && (held || here.is_none() && !is_late(flow, ttl, plan));
            answered && !waited
                || ttl > self.first && self.graph.at(flow, ttl - 1).is_some_and(|at| at != id)
                || plan.evidence.end(flow).is_some_and(|end| end.ttl().get() < ttl)
        });
        useless.count()
    }

    /// Flows of a node that were silent behind it while others were answered; `under_way` of them are not settled yet.
    pub(super) fn barren(&self, id: NodeId, ttl: u8, under_way: usize) -> usize {
        let Some(node) = self.graph.node(id) else { return 0 };
        let asked = node.flows.len() - node.unasked.len();
        asked.saturating_sub(self.served_with(id, ttl, under_way))
    }

    /// A silent node that one flow shows may be none, and so may one at a hop that limits its answers: no search for more of them. Nor
    /// for one that is only supposed, and by so few flows that their replies may just have been lost; nor behind a node of which most
    /// flows are not heard of any more, or of which that is known: something beyond it swallows them, and what is asked for will not come.
    pub(super) fn may_widen(&self, id: NodeId, ttl: u8, plan: &Plan<'_>) -> bool {
        const LOST: (usize, usize) = (64, 8);
        let answered = self.graph.answered(id);
        if self.dead.contains(&id) || answered > 0 && self.barren(id, ttl, 0) > LOST.0 + LOST.1 * answered {
            return false;
        }
        let Some(node) = self.graph.node(id) else { return false };
        let is_sure = || !self.is_hidden(id, ttl, plan) && self.is_likely(id, ttl) && self.has_share(id, ttl);
        !node.silent || node.flows.len() > 1 && is_sure()
    }

    /// Whether a node may seem silent since its hop limits its answers, or is known by coming from one that may.
    fn is_hidden(&self, id: NodeId, ttl: u8, plan: &Plan<'_>) -> bool {
        let Some(node) = self.graph.node(id).filter(|node| node.silent) else { return false };
        let is_limited = Ttl::new(ttl).is_some_and(|ttl| plan.evidence.has_limit(ttl));
        is_limited || node.previous.keys().any(|&before| self.is_hidden(before, ttl - 1, plan))
    }

    /// Whether a node has as many flows as make a silent one credible: of lost replies a search for more finds just as few.
    fn has_share(&self, id: NodeId, ttl: u8) -> bool {
        self.flows_at(id) * SILENT_SHARE * self.graph.width(ttl) >= self.flows_in(ttl)
    }

    /// One minus what may have gone wrong: a further successor of each branch point found, and one branch point more, hidden
    /// where that is likeliest.
    pub(super) fn supported(&self) -> f64 {
        let mut known = 0.0;
        let mut hidden = 0_f64;
        for ttl in self.first - 1..=self.graph.farthest() {
            let nodes: Vec<_> = self.graph.layer(ttl).filter(|&id| self.goes_on(id)).collect();
            let alike = self.style == Style::Lite && nodes.len() > 1 && self.looks_alike(ttl);
            for &id in &nodes {
                let found = self.graph.answering(id).count();
                let asked = match nodes.as_slice() {
                    [_] => self.asked.get(&(ttl + 1)).map_or(0, BTreeMap::len),
                    _ => self.served(id, ttl),
                };
                let missed = miss_probability(found.max(1), u32::try_from(asked).unwrap_or(u32::MAX));
                if found > 1 {
                    known += missed;
                } else if !alike {
                    hidden = hidden.max(missed);
                }
            }
        }
        (1.0 - known - hidden).max(0.0)
    }
}
