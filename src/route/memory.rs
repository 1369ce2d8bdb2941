//! From one round to the next: what the observations of a round leave to be known, and what new answers say of it.
//!
//! Flows are pinned: each is asked again where it was, and whom it meets now is held against whom it met before. Behind a balancer
//! that deals out packet by packet no flow has a place: there the hop has a set of nodes, and what counts is who is in it.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    cell::{Answer, Cell, Met, OUT_OF_REACH, Past, Standing},
    evidence::Evidence,
};
use crate::{flow::FlowId, probe::Ttl};

/// Most flows kept at a hop: those asked longest ago go first.
const FLOWS_MAX: usize = 1024;
/// Chance that a flow which does reach the destination leaves so many packets unanswered as count for a loss.
const FALSE_LOSS: f64 = 1e-6;
/// Packets that count for one, since loss comes in bursts.
const BURST: f64 = 3.0;
/// Chance of not meeting a node behind a per-packet balancer that is there, at which it is said to be gone.
const FALSE_ABSENCE: f64 = 1e-9;

impl Evidence {
    /// What the next round knows: whom each flow met, without single answers. `round` is the number of the round that ends.
    #[must_use]
    pub fn remember(&self, round: u64) -> Self {
        let mut memory = Self::default();
        let mut ages: BTreeMap<Ttl, Vec<(u64, FlowId)>> = BTreeMap::new();
        let zones = self.zones();
        let absent: BTreeMap<Ttl, BTreeSet<Met>> = zones.keys().map(|&ttl| (ttl, self.absent(ttl))).collect();
        for (flow, cells) in self.flows() {
            for (&ttl, cell) in cells.range(..=self.end_ttl(flow)) {
                let Some(mut past) =
                    cell.remember(flow, round, zones.get(&ttl).is_some_and(|zone| cell.is_dealt_out(zone)))
                else {
                    continue;
                };
                // Flows too that never met anyone else: they would bring back who is gone.
                if past.is_zone() || cell.answers.is_empty() {
                    past.met.retain(|met| !absent.get(&ttl).is_some_and(|absent| absent.contains(met)));
                }
                if past.met.is_empty() {
                    continue;
                }
                ages.entry(ttl).or_default().push((past.round, flow));
                *memory.cell_mut(flow, ttl) = Cell { past, ..Cell::default() };
            }
        }
        for (ttl, mut ages) in ages {
            ages.sort_unstable();
            let surplus = ages.len().saturating_sub(FLOWS_MAX);
            for (_, flow) in ages.into_iter().take(surplus) {
                memory.forget(flow, ttl);
            }
        }
        memory
    }

    /// The same with what is out of reach, as if it were not: nodes beyond a branch that swallows packets are not gone.
    #[must_use]
    pub fn within_reach(mut self) -> Self {
        for cell in self.cells_mut().filter(|cell| cell.past.standing == Standing::OutOfReach) {
            cell.past.standing = Standing::Believed;
        }
        self
    }

    /// Whether earlier rounds met anyone: where nobody ever answered there is nothing to hold a round against.
    #[must_use]
    pub fn has_past(&self) -> bool {
        self.flows().any(|(_, cells)| cells.values().any(|cell| cell.past.has_address()))
    }

    /// Whether a flow now meets another at a TTL than before, and that is no matter of a per-packet balancer.
    #[must_use]
    pub fn has_moved_at(&self, flow: FlowId, ttl: Ttl) -> bool {
        let now = self.cell(flow, ttl).filter(|cell| !cell.answers.is_empty() && !cell.varies());
        now.filter(|cell| cell.met().any(|met| cell.contradicts(met)))
            .is_some_and(|cell| !self.deals_out(ttl, cell.ever_met()))
    }

    /// Whether a flow takes another way than before.
    #[must_use]
    pub fn has_moved(&self, flow: FlowId) -> bool {
        let Some(cells) = self.cells(flow) else { return false };
        cells.range(..=self.end_ttl(flow)).any(|(&ttl, _)| self.has_moved_at(flow, ttl))
    }

    /// Members of the zones at a hop that were not met this round, each with the number of answers still missing until it is said to be
    /// gone: 0 where it is.
    #[must_use]
    pub fn unmet(&self, ttl: Ttl) -> BTreeMap<Met, u32> {
        let zone: Vec<&Cell> = self.zone(ttl).map(|(_, cell)| cell).collect();
        let met: BTreeSet<Met> = zone.iter().flat_map(|cell| &cell.answers).map(Met::from).collect();
        // The answers of flows that may meet a member, and how many they may meet at most.
        let mut asked: BTreeMap<Met, (usize, usize)> = BTreeMap::new();
        for cell in zone {
            for &member in cell.past.met.iter().filter(|member| !met.contains(member)) {
                let (answers, members) = asked.entry(member).or_default();
                *answers += cell.answers.len();
                *members = cell.past.met.len().max(*members);
            }
        }
        let missing = |(answers, members)| answers_to_miss(members).saturating_sub(count(answers));
        asked.into_iter().map(|(member, asked)| (member, missing(asked))).collect()
    }

    /// Whether all that was met was met there before, and nothing was asked that had not been.
    #[must_use]
    pub fn is_as_before(&self) -> bool {
        let mut cells = self.flows().flat_map(|(_, cells)| cells.values());
        cells.all(|cell| cell.answers.iter().map(Met::from).all(|met| cell.past.met.contains(&met)))
    }

    /// Members of the zones at a hop that are gone.
    #[must_use]
    pub fn absent(&self, ttl: Ttl) -> BTreeSet<Met> {
        self.unmet(ttl).into_iter().filter(|&(_, missing)| missing == 0).map(|(met, _)| met).collect()
    }

    /// Whom flows meet in turn, at each hop where they do.
    fn zones(&self) -> BTreeMap<Ttl, BTreeSet<Met>> {
        let mut zones: BTreeMap<Ttl, BTreeSet<Met>> = BTreeMap::new();
        let cells = self.flows().flat_map(|(_, cells)| cells);
        for (&ttl, cell) in cells.filter(|(_, cell)| cell.varies()) {
            zones.entry(ttl).or_default().extend(cell.ever_met());
        }
        zones
    }

    /// Whether flows at a TTL meet all of these in turn.
    pub(super) fn deals_out(&self, ttl: Ttl, mut met: impl Iterator<Item = Met>) -> bool {
        let varying = self.at(ttl).map(|(_, cell)| cell).filter(|cell| cell.varies());
        let zone: BTreeSet<Met> = varying.flat_map(Cell::ever_met).collect();
        !zone.is_empty() && met.all(|met| zone.contains(&met))
    }

    /// A pinned flow got no answer where the destination was due. It is out of reach if so many packets to it, or to it and all that were
    /// heard of last from the same node, would hardly all have stayed unanswered otherwise; or if that is known of others from that
    /// node, or of others where nobody arrives. Then what is remembered behind it is not believed any more.
    pub(super) fn miss_destination(&mut self, flow: FlowId, ttl: Ttl) {
        let heard = self.heard(flow);
        // Who is heard of nowhere is lost with others only where nobody is heard of.
        let alike: BTreeMap<FlowId, u32> = match heard.is_some() || !self.has_answers(|_| true) {
            true => {
                self.flows().filter_map(|(flow, _)| Some((flow, self.sent_in_vain(flow, heard)?))).collect()
            }
            false => BTreeMap::new(),
        };
        let own = self.cell(flow, ttl).map_or(0, |cell| cell.sent);
        let missing = 1.0 - self.answered_share(ttl);
        let rules_out = |packets: u32, least: u32, chance: f64| {
            packets >= least && missing.powf(f64::from(packets) / BURST) < chance
        };
        let is_shown = rules_out(own, OUT_OF_REACH, FALSE_LOSS)
            || rules_out(alike.values().sum(), 2 * OUT_OF_REACH, FALSE_LOSS * FALSE_LOSS);
        let is_known = || {
            let others = self.flows().map(|(other, _)| other).filter(|&other| self.is_out_of_reach(other));
            let mut ends = others.map(|other| self.last_met(other));
            // With the destination nobody arrives, wherever the others end.
            let is_last = own >= OUT_OF_REACH && !self.has_answers(|answer| answer.kind.is_destination());
            heard.is_some() && ends.any(|end| is_last || end == heard && self.is_asked_beyond(flow, heard))
        };
        let lost: Vec<FlowId> = if is_shown {
            alike.into_keys().chain([flow]).collect()
        } else if is_known() {
            vec![flow]
        } else {
            return;
        };
        let from = heard.map_or(Ttl::MIN, |(ttl, _)| ttl.next());
        for flow in lost {
            self.doubt(flow, from, Standing::OutOfReach);
        }
    }

    /// Whether there was such an answer in this round.
    fn has_answers(&self, wanted: impl Fn(&Answer) -> bool) -> bool {
        self.flows().flat_map(|(_, cells)| cells.values()).flat_map(|cell| &cell.answers).any(wanted)
    }

    /// Whether a flow was asked behind where it was heard of last: only then it may end there.
    fn is_asked_beyond(&self, flow: FlowId, heard: Option<(Ttl, Met)>) -> bool {
        heard.is_none_or(|(ttl, _)| self.cell(flow, ttl.next()).is_some_and(|cell| cell.sent > 0))
    }

    /// Packets that a flow which was heard of last at this node left unanswered where the destination was due; `None` where it is another's.
    fn sent_in_vain(&self, flow: FlowId, heard: Option<(Ttl, Met)>) -> Option<u32> {
        let cells = self.cells(flow)?.iter().filter(|(_, cell)| cell.silent);
        let due = cells.filter(|&(&ttl, _)| self.is_due(flow, ttl)).map(|(_, cell)| cell.sent).max();
        due.filter(|_| self.heard(flow) == heard && self.is_asked_beyond(flow, heard))
    }

    /// Where a flow was answered last in this round, and by whom.
    #[must_use]
    pub fn heard(&self, flow: FlowId) -> Option<(Ttl, Met)> {
        let cells = self.cells(flow)?.iter().rev();
        let (&ttl, cell) = cells.into_iter().find(|(_, cell)| !cell.answers.is_empty())?;
        Some((ttl, cell.met().next()?))
    }

    /// The last node that a flow is known to come to.
    #[must_use]
    pub fn last_met(&self, flow: FlowId) -> Option<(Ttl, Met)> {
        let ttl = self.last_answer(flow)?;
        Some((ttl, self.cell(flow, ttl)?.met().next()?))
    }

    /// Whether the destination is to be expected where a pinned flow is asked at a TTL: it was met there, or others met it no farther.
    pub(super) fn is_due(&self, flow: FlowId, ttl: Ttl) -> bool {
        let is_pinned = |cell: &Cell| cell.past.has_address();
        let Some(cells) = self.cells(flow).filter(|cells| cells.values().any(is_pinned)) else {
            return false;
        };
        match cells.get(&ttl).filter(|cell| is_pinned(cell)) {
            Some(cell) => cell.past.has_destination(),
            None => self.farthest_destination().is_some_and(|farthest| ttl >= farthest),
        }
    }

    /// The farthest TTL at which the destination was met in earlier rounds.
    #[must_use]
    pub fn farthest_destination(&self) -> Option<Ttl> {
        let cells = self.flows().flat_map(|(_, cells)| cells);
        cells.filter(|(_, cell)| cell.past.has_destination()).map(|(&ttl, _)| ttl).max()
    }

    /// Whether a flow did not come as far any more as it once did.
    #[must_use]
    pub fn is_out_of_reach(&self, flow: FlowId) -> bool {
        let mut cells = self.cells(flow).into_iter().flatten();
        cells.any(|(_, cell)| cell.past.standing == Standing::OutOfReach && !cell.past.met.is_empty())
    }

    /// Whether a flow is known not to come to the destination, though it may never have.
    #[must_use]
    pub fn is_in_vain(&self, flow: FlowId) -> bool {
        let cells = self.cells(flow).into_iter().flatten();
        let mut silent = cells.filter(|(_, cell)| cell.was_silent());
        self.is_out_of_reach(flow) || silent.any(|(&ttl, _)| self.is_due(flow, ttl))
    }

    /// Believes nothing of the past of a flow from a TTL on.
    pub(super) fn doubt(&mut self, flow: FlowId, from: Ttl, standing: Standing) {
        for (_, cell) in self.cells_of(flow).into_iter().flat_map(|cells| cells.range_mut(from..)) {
            cell.past.standing = standing;
        }
    }

    /// The destination is in reach of the flow again.
    pub(super) fn trust(&mut self, flow: FlowId) {
        for (_, cell) in self.cells_of(flow).into_iter().flatten() {
            if cell.past.standing == Standing::OutOfReach {
                cell.past.standing = Standing::Believed;
            }
        }
    }
}

impl Cell {
    /// Whether whom the flow meets now, and whom it met before, belong to a zone.
    fn is_dealt_out(&self, zone: &BTreeSet<Met>) -> bool {
        !self.answers.is_empty() && self.ever_met().all(|met| zone.contains(&met))
    }

    /// What the next round is to know of this; nothing where nothing is known. With `dealt_out` what the flow met before is
    /// still to be met here.
    fn remember(&self, flow: FlowId, round: u64, dealt_out: bool) -> Option<Past> {
        // Who left it open whether it still arrives is asked again soon.
        let is_open = self.answers.is_empty()
            && self.past.has_destination()
            && self.past.standing == Standing::Believed;
        let round = if self.sent > 0 && !is_open { round } else { self.past.round };
        let mut met: Vec<Met> = self.met().filter(|met| met.address().is_some()).collect();
        if self.varies() || dealt_out {
            met.extend(&self.past.met);
        }
        met.sort_unstable();
        met.dedup();
        // Where a flow has no place of its own it gets one that stays.
        let place = usize::from(flow.0) % met.len().max(1);
        met.rotate_left(place);
        let standing = Standing::Believed;
        match self.past.standing {
            _ if !met.is_empty() => Some(Past { met, round, standing }),
            Standing::OutOfReach if !self.past.met.is_empty() => Some(Past { round, ..self.past.clone() }),
            _ if self.is_silent() => Some(Past { met: vec![Met::Silence], round, standing }),
            _ => None,
        }
    }
}

/// Answers after which a node that is one of `members`, all met equally often, and not met is not there.
#[must_use]
pub fn answers_to_miss(members: usize) -> u32 {
    let share = 1.0 / f64::from(count(members));
    let answers = (1..u16::MAX).find(|&answers| (1.0 - share).powi(answers.into()) < FALSE_ABSENCE);
    answers.map_or(u32::MAX, u32::from)
}

fn count(items: usize) -> u32 {
    u32::try_from(items).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use super::*;
    use crate::{probe::ReplyKind, route::Answer};

    const FLOW: FlowId = FlowId(7);

    fn ttl(value: u8) -> Ttl {
        Ttl::new(value).unwrap()
    }

    fn router(last: u8) -> Met {
        Met::Router(Ipv4Addr::new(10, 0, 0, last).into())
    }

    fn destination() -> Met {
        Met::Destination(Ipv4Addr::new(192, 0, 2, 9).into())
    }

    /// One packet and its answer.
    fn answer(evidence: &mut Evidence, flow: FlowId, at: u8, met: Met) {
        let kind = match met {
            Met::Destination(_) => ReplyKind::PortUnreachable,
            _ => ReplyKind::TimeExceeded,
        };
        let rtt = Duration::from_millis(1);
        evidence.sent(flow, ttl(at));
        let from = met.address().unwrap();
        evidence.answered(flow, ttl(at), Answer { from, kind, rtt, nat: false, mpls: Vec::new() });
    }

    /// A number of packets without an answer.
    fn miss(evidence: &mut Evidence, flow: FlowId, at: u8, packets: u32) {
        for _ in 0..packets {
            evidence.sent(flow, ttl(at));
        }
        evidence.silent(flow, ttl(at));
    }

    /// What a round over three hops leaves.
    fn known() -> Evidence {
        let mut evidence = Evidence::default();
        for (at, met) in [(1, router(1)), (2, router(2)), (3, destination())] {
            answer(&mut evidence, FLOW, at, met);
        }
        evidence.remember(1)
    }

    fn met(evidence: &Evidence, at: u8) -> Vec<Met> {
        evidence.cell(FLOW, ttl(at)).map(|cell| cell.met().collect()).unwrap_or_default()
    }

    #[test]
    fn what_is_not_asked_is_as_it_was_and_an_address_that_stays_silent_too() {
        let mut evidence = known();
        miss(&mut evidence, FLOW, 2, 3);
        assert!(!evidence.has_moved(FLOW));
        let next = evidence.remember(2);
        assert_eq!(
            [1, 2, 3].map(|at| met(&next, at)),
            [vec![router(1)], vec![router(2)], vec![destination()]]
        );
        assert_eq!([1, 2].map(|at| next.cell(FLOW, ttl(at)).unwrap().past.round), [1, 2]);
    }

    #[test]
    fn a_flow_seen_elsewhere_is_nowhere_else_as_it_was() {
        let mut evidence = known();
        answer(&mut evidence, FLOW, 2, router(3));
        assert!(evidence.has_moved_at(FLOW, ttl(2)) && evidence.has_moved(FLOW));
        assert!(met(&evidence, 1).is_empty() && met(&evidence, 3).is_empty());
        assert_eq!(met(&evidence.remember(2), 2), [router(3)]);
    }

    #[test]
    fn who_is_met_in_turn_is_no_move_and_stays_in_the_set() {
        let mut evidence = known();
        for last in [3, 2, 3] {
            answer(&mut evidence, FLOW, 2, router(last));
        }
        assert!(evidence.cell(FLOW, ttl(2)).unwrap().varies() && !evidence.has_moved(FLOW));
        // Another flow never met but one of them.
        let other = FlowId(8);
        answer(&mut evidence, other, 2, router(2));
        let mut next = evidence.remember(2);
        assert_eq!(met(&next, 2).len(), 2);
        // One of two is missing for as long as chance allows, and then is gone.
        let missing = answers_to_miss(2);
        for answers in 1..=missing {
            answer(&mut next, FLOW, 2, router(3));
            assert_eq!(next.unmet(ttl(2))[&router(2)], missing - answers);
        }
        let last = next.remember(3);
        assert_eq!(met(&last, 2), [router(3)]);
        assert_eq!(last.cell(other, ttl(2)), None, "it would bring the one back that is gone");
    }

    #[test]
    fn a_flow_that_moves_while_it_is_asked_has_moved() {
        let mut evidence = known();
        for last in [2, 3, 3] {
            answer(&mut evidence, FLOW, 2, router(last));
        }
        assert!(!evidence.cell(FLOW, ttl(2)).unwrap().varies() && evidence.has_moved(FLOW));
        assert_eq!(met(&evidence, 2), [router(3), router(3)]);
    }

    #[test]
    fn the_destination_is_out_of_reach_only_after_many_packets_and_back_with_one_answer() {
        let mut evidence = known();
        for _ in 0..20 {
            answer(&mut evidence, FLOW, 1, router(1));
        }
        miss(&mut evidence, FLOW, 3, 3);
        assert!(!evidence.is_out_of_reach(FLOW), "three packets may be lost");
        miss(&mut evidence, FLOW, 3, 20);
        assert!(evidence.is_out_of_reach(FLOW));
        let mut next = evidence.remember(2);
        assert!(next.is_out_of_reach(FLOW) && met(&next, 3).is_empty() && met(&next, 2).is_empty());
        assert_eq!(met(&next.clone().within_reach(), 3), [destination()], "it is not gone");
        answer(&mut next, FLOW, 3, destination());
        assert!(!next.is_out_of_reach(FLOW) && !next.has_moved(FLOW));
        assert_eq!(met(&next.remember(3), 2), [router(2)]);
    }

    #[test]
    fn a_flow_is_lost_with_those_who_end_where_it_does_or_with_all() {
        const OTHER: FlowId = FlowId(8);
        // Whom the other flow meets at the second hop, if it is asked there, and whether a third flow still arrives; packets to the end of
        // the other -> whether it counts as lost.
        let cases = [
            (Some(router(2)), true, 3, true),
            (Some(router(4)), true, 3, false),
            (None, true, 3, false),
            (Some(router(4)), true, OUT_OF_REACH, false),
            (Some(router(4)), false, 3, false),
            (Some(router(4)), false, OUT_OF_REACH, true),
            (None, false, OUT_OF_REACH, true),
        ];
        for (met, arrives, packets, expected) in cases {
            let mut evidence = known();
            for (at, met) in [(1, router(1)), (2, met.unwrap_or(router(4))), (3, destination())] {
                answer(&mut evidence, OTHER, at, met);
                answer(&mut evidence, FlowId(9), at, met);
            }
            let mut evidence = evidence.remember(1);
            for flow in [FLOW, OTHER] {
                for _ in 0..10 {
                    answer(&mut evidence, flow, 1, router(1));
                }
            }
            answer(&mut evidence, FLOW, 2, router(2));
            if let Some(met) = met {
                answer(&mut evidence, OTHER, 2, met);
            }
            if arrives {
                answer(&mut evidence, FlowId(9), 3, destination());
            }
            miss(&mut evidence, FLOW, 3, 30);
            assert!(evidence.is_out_of_reach(FLOW) && !evidence.is_out_of_reach(OTHER));
            miss(&mut evidence, OTHER, 3, packets);
            let case = format!("{met:?}, {arrives}, {packets} packets");
            assert_eq!(evidence.is_out_of_reach(OTHER), expected, "{case}");
            assert!(!evidence.is_out_of_reach(FlowId(9)), "{case}");
        }
    }

    #[test]
    fn a_node_of_two_is_missed_thirty_times_in_a_row_once_in_a_billion() {
        assert_eq!([2, 4].map(answers_to_miss), [30, 73]);
    }
}
