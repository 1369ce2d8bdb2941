//! Telling a balancer that deals out packet by packet from a mesh.

use super::Discovery;
use crate::{probe::Ttl, tracer::policy::Plan};

/// Times that a flow is repeated at a hop: a per-packet balancer of two next hops gives the same answer each time in one of 64 cases.
const REPEATS: usize = 6;

impl Discovery {
    /// A mesh may be none: behind a balancer that deals out packet by packet every node seems to lead to every other. In regions that
    /// look meshed one flow is repeated at each hop: where its answers differ, they come from a per-packet zone. A zone of one hop makes no
    /// link that is not there, and is not looked for.
    pub(super) fn tell_zones(&mut self, plan: &mut Plan<'_>) {
        let meshed: Vec<u8> =
            (self.first..self.graph.farthest()).filter(|&ttl| self.is_meshed(ttl)).collect();
        for ttl in meshed {
            let wide = |ttl: &u8| self.graph.width(*ttl) > 1;
            let start = (self.first..ttl).rev().take_while(wide).last().unwrap_or(ttl);
            let end = (ttl..=self.graph.farthest()).take_while(wide).last().unwrap_or(ttl);
            let region: Vec<u8> = (start..=end).filter(|&ttl| self.repeated.insert(ttl)).collect();
            if region.is_empty() {
                continue;
            }
            let Some(flow) = Ttl::new(ttl).and_then(|ttl| plan.evidence.witnesses(ttl, 1).first().copied())
            else {
                continue;
            };
            self.ask(flow, start.saturating_sub(1), plan);
            for ttl in region {
                self.ask(flow, ttl, plan);
                for ttl in std::iter::repeat_n(Ttl::new(ttl), REPEATS).flatten() {
                    plan.repeat(flow, ttl);
                }
            }
        }
    }
}
