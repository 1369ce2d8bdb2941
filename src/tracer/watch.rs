//! The rounds of a target whose route is known: ask the pinned flows again, look closer at what differs, and look for more.
//!
//! A round *replays* a choice of pinned probes. Where a flow meets another than before, all flows of that hop are asked again, the flow at
//! all its hops, and some of the differing ones repeatedly, which tells a move from a balancer that deals out packet by packet. Where
//! a flow falls silent it is asked at its end, and again, before it counts as lost. When nothing is in doubt any more the
//! strategy goes on from what is known: in a quiet round it adds the few flows that its confidence wants, after a move it
//! discovers anew what moved.

mod cover;

use std::collections::{BTreeMap, BTreeSet};

use self::cover::{cover, everything};
use super::{
    Settings,
    ending::Ending,
    policy::{Plan, Policy},
};
use crate::{
    flow::FlowId,
    probe::Ttl,
    route::{Cell, Met, OUT_OF_REACH, Standing},
    strategy::Confidence,
};

/// Packets at a hop that differs: a per-packet balancer of two next hops would answer all alike in one of 2^24 cases.
const REPEATS: usize = 24;
/// Flows over which they are spread.
const REPEATED_FLOWS: usize = 6;
/// Flows that look, beside those that fell silent, whether the destination answers.
const CONTROLS: usize = 2;
/// Packets for each member of a zone in one round, at most: twice as many as say that one is gone.
const ZONE_MAX: usize = 48;
/// Packets to a lost flow in one go: loss comes in bursts, and the next go comes later.
const WAVE: u8 = 3;

/// Flows asked for one that is silent where its node answers others, at most.
const STAND_INS: u8 = 3;
/// Goes until a flow counts as lost.
const WAVES: u8 = 12;
/// The part of all packets that looking for more leaves to what it puts in doubt: a quarter.
const RESERVE: u32 = 4;

/// Where a flow that fell silent is asked for its end, and in how many goes it was.
#[derive(Clone, Copy, Debug)]
struct Suspect {
    end: Ttl,
    waves: u8,
}

/// A strategy over flows that are known already.
pub(super) struct Watch {
    make: fn(&Settings) -> Box<dyn Policy>,
    /// The strategy, once nothing is in doubt.
    inner: Option<Box<dyn Policy>>,
    /// Whether every pinned probe is asked.
    full: bool,
    /// What the strategy is to reach where nothing has moved.
    confidence: Confidence,
    /// Hops at which all pinned flows were asked, and flows that were asked at all their hops.
    checked: BTreeSet<Ttl>,
    retraced: BTreeSet<FlowId>,
    /// Hops at which what differs was repeated.
    repeated: BTreeSet<Ttl>,
    /// Packets to what is dealt out packet by packet, by hop.
    dealt: BTreeMap<Ttl, usize>,
    /// Flows that were asked for others of the same node.
    stand_ins: BTreeMap<(Ttl, Met), u8>,
    /// Flows that fell silent, and where they are asked for their end.
    suspects: BTreeMap<FlowId, Suspect>,
    /// Flows that were out of reach when the round began.
    lost: BTreeSet<FlowId>,
    /// Whether one of them has come back.
    is_back: bool,
    /// Whether a flow has moved.
    moved: bool,
    /// Whether no packet is left to look for more.
    spent: bool,
    /// Whether nothing is in doubt any more, and nothing that was found puts more in doubt.
    settled: bool,
}

impl Watch {
    pub(super) fn new(make: fn(&Settings) -> Box<dyn Policy>, full: bool, confidence: Confidence) -> Self {
        Self {
            make,
            inner: None,
            full,
            confidence,
            checked: BTreeSet::new(),
            retraced: BTreeSet::new(),
            repeated: BTreeSet::new(),
            dealt: BTreeMap::new(),
            stand_ins: BTreeMap::new(),
            suspects: BTreeMap::new(),
            lost: BTreeSet::new(),
            is_back: false,
            moved: false,
            spent: false,
            settled: false,
        }
    }

    /// Whether it matters where a flow is that was not answered, and it was not asked often enough: of a flow that was seen elsewhere a
    /// lost reply would be remembered as a silent node; at a hop that is in doubt, or where flows come back, the rest of a change would
    /// be found a round late.
    fn is_unplaced(&self, flow: FlowId, ttl: Ttl, plan: &Plan<'_>) -> bool {
        let cell = plan.evidence.cell(flow, ttl).filter(|cell| cell.sent < OUT_OF_REACH);
        let Some(cell) = cell else { return false };
        let is_doubtful =
            self.checked.contains(&ttl) && cell.address().is_some() && !cell.past.has_destination();
        let is_back = self.is_back && cell.past.standing == Standing::OutOfReach;
        let matters = is_doubtful || is_back || cell.past.standing == Standing::Moved;
        matters && plan.evidence.is_answered(ttl) && !plan.is_held(ttl)
    }

    /// Compares an answer with what is known.
    fn compare(&mut self, flow: FlowId, ttl: Ttl, plan: &mut Plan<'_>) {
        let evidence = plan.evidence;
        if let Some(end) = evidence.end(flow) {
            plan.withdraw_beyond(flow, end.ttl());
        }
        if self
            .suspects
            .get(&flow)
            .is_some_and(|suspect| evidence.cell(flow, suspect.end).is_some_and(is_answered))
        {
            self.suspects.remove(&flow);
        }
        let Some(cell) = evidence.cell(flow, ttl) else { return };
        if cell.was_silent() {
            // Who was silent answers: all who met nobody here may meet it now.
            self.ask_at(ttl, plan, Cell::was_silent);
            // What held it up here may have held it up before: it would stay a silent node on the way.
            for (&before, cell) in
                evidence.cells(flow).into_iter().flatten().filter(|&(&other, _)| other < ttl)
            {
                if cell.was_silent() {
                    plan.ask(flow, before);
                }
            }
        } else if evidence.has_moved_at(flow, ttl) {
            self.moved = true;
            self.check(ttl, plan);
            self.retrace(flow, plan);
        }
        if evidence.end(flow).is_some() && self.lost.contains(&flow) {
            // What it came back from may have held up others.
            self.is_back = true;
            for flow in self.lost.clone() {
                self.retrace(flow, plan);
            }
        }
    }

    /// Asks all pinned flows of a hop, those too that were asked before it became doubtful.
    fn check(&mut self, ttl: Ttl, plan: &mut Plan<'_>) {
        if !self.checked.insert(ttl) {
            return;
        }
        let flows: Vec<(FlowId, bool)> = plan
            .evidence
            .at(ttl)
            .filter(|(_, cell)| !cell.past.met.is_empty())
            .map(|(flow, cell)| (flow, is_answered(cell)))
            .collect();
        for (flow, is_answered) in flows {
            if is_answered && !plan.evidence.has_moved_at(flow, ttl) {
                plan.repeat(flow, ttl);
            } else {
                plan.ask(flow, ttl);
            }
        }
    }

    /// Asks flows of a hop.
    fn ask_at(&self, ttl: Ttl, plan: &mut Plan<'_>, wanted: impl Fn(&Cell) -> bool) {
        let flows: Vec<_> =
            plan.evidence.at(ttl).filter(|(_, cell)| wanted(cell)).map(|(flow, _)| flow).collect();
        for flow in flows {
            plan.ask(flow, ttl);
        }
    }

    /// Asks a flow at all hops at which it is known.
    fn retrace(&mut self, flow: FlowId, plan: &mut Plan<'_>) {
        if !self.retraced.insert(flow) {
            return;
        }
        let end = plan.evidence.end_ttl(flow);
        let was_lost = self.lost.contains(&flow);
        let known = plan.evidence.cells(flow).into_iter().flatten();
        let known = known.filter(|(_, cell)| cell.past.has_address() || was_lost && cell.was_silent());
        let ttls: Vec<_> = known.map(|(&ttl, _)| ttl).filter(|&ttl| ttl <= end).collect();
        for ttl in ttls {
            plan.ask(flow, ttl);
        }
    }

    /// A flow is silent where it met someone, at a hop at which others meet a silent node: it may go there by now, and say nothing of the
    /// node that it was to pass. Another is asked for it.
    fn stand_in(&mut self, flow: FlowId, ttl: Ttl, plan: &mut Plan<'_>) {
        let evidence = plan.evidence;
        let met = evidence.cell(flow, ttl).and_then(|cell| match cell.past.met.as_slice() {
            [met] => met.address().map(|_| *met),
            _ => None,
        });
        let Some(met) = met.filter(|_| evidence.at(ttl).any(|(_, cell)| cell.was_silent())) else { return };
        let alike = evidence.at(ttl).filter(|(_, cell)| cell.sent == 0 && cell.past.met == [met]);
        let is_known_beyond =
            |flow| evidence.cell(flow, ttl.next()).is_some_and(|cell| cell.past.has_address());
        let other = alike.filter(|&(flow, _)| is_known_beyond(flow)).min_by_key(|(_, cell)| cell.past.round);
        let stand_ins = self.stand_ins.entry((ttl, met)).or_default();
        if let Some((other, _)) = other.filter(|_| *stand_ins < STAND_INS) {
            *stand_ins += 1;
            plan.ask(other, ttl);
            plan.ask(other, ttl.next());
        }
    }

    /// A flow fell silent at a hop: is it the hop, or does the flow end?
    fn suspect(&mut self, flow: FlowId, ttl: Ttl, plan: &mut Plan<'_>) {
        let evidence = plan.evidence;
        let Some(cells) = evidence.cells(flow) else { return };
        let was_silent = cells.get(&ttl).is_some_and(|cell| !cell.past.has_address());
        let was_lost = self.lost.contains(&flow);
        let heard_beyond = cells.range(ttl.next()..).any(|(_, cell)| is_answered(cell));
        if was_silent || was_lost || heard_beyond || self.suspects.contains_key(&flow) {
            return;
        }
        let known = cells.iter().filter(|(_, cell)| cell.past.has_destination()).map(|(&ttl, _)| ttl).max();
        let Some(end) = known.or_else(|| evidence.farthest_destination()) else { return };
        let end = end.max(ttl);
        if cells.get(&end).is_some_and(Cell::was_silent) {
            return;
        }
        self.suspects.insert(flow, Suspect { end, waves: 0 });
        plan.ask(flow, end);
    }

    /// Asks what the doubts of this round want. Returns whether that is anything.
    fn settle_doubts(&mut self, plan: &mut Plan<'_>) -> bool {
        self.tell_moves(plan);
        self.tell_losses(plan);
        self.tell_zones(plan);
        !plan.is_idle()
    }

    /// Repeats what differs, at each hop in turn.
    fn tell_moves(&mut self, plan: &mut Plan<'_>) {
        for &ttl in &self.checked {
            let flows = plan.evidence.at(ttl).map(|(flow, _)| flow);
            let differing = flows.filter(|&flow| plan.evidence.has_moved_at(flow, ttl));
            let differing: Vec<_> = differing.take(REPEATED_FLOWS).collect();
            if differing.is_empty() || !self.repeated.insert(ttl) {
                continue;
            }
            for &flow in differing.iter().cycle().take(REPEATS) {
                plan.repeat(flow, ttl);
            }
        }
    }

    /// Asks flows that fell silent again, and others beside them; those too that went the same way.
    fn tell_losses(&mut self, plan: &mut Plan<'_>) {
        let suspects: Vec<_> = self.suspects.iter().map(|(&flow, &suspect)| (flow, suspect)).collect();
        let (mut doubtful, mut ends) = (BTreeSet::new(), BTreeSet::new());
        for (flow, Suspect { end, waves }) in suspects {
            self.retrace(flow, plan);
            if waves > 0 {
                let heard = plan.evidence.heard(flow);
                doubtful.extend(heard.map(|(ttl, _)| ttl.next()));
                doubtful.insert(end);
                // Where it is heard of last tells with whom it is lost: at a hop at which it was never asked, maybe.
                if let Some((ttl, _)) = heard {
                    plan.ask(flow, ttl.next());
                } else {
                    for ttl in (plan.settings.first_ttl.get()..end.get()).filter_map(Ttl::new) {
                        plan.ask(flow, ttl);
                    }
                }
            }
            let sent = plan.evidence.cell(flow, end).map_or(0, |cell| cell.sent);
            if waves >= WAVES || sent >= 3 * OUT_OF_REACH || plan.evidence.is_out_of_reach(flow) {
                continue;
            }
            self.suspects.insert(flow, Suspect { end, waves: waves + 1 });
            plan.insist(flow, end, WAVE);
            ends.insert(end);
        }
        for end in ends {
            for control in plan.evidence.witnesses(end, CONTROLS) {
                plan.repeat(control, end);
            }
        }
        for ttl in doubtful {
            self.check(ttl, plan);
        }
    }

    /// Asks behind per-packet balancers until all members were met, or one of them for so long in vain that it is gone.
    fn tell_zones(&mut self, plan: &mut Plan<'_>) {
        let ttls: BTreeSet<Ttl> = plan
            .evidence
            .flows()
            .flat_map(|(_, cells)| cells)
            .filter(|(_, cell)| cell.past.is_zone())
            .map(|(&ttl, _)| ttl)
            .collect();
        for ttl in ttls {
            let unmet = plan.evidence.unmet(ttl);
            let missing = unmet.values().copied().max().unwrap_or(0);
            // Only flows that may meet who is missing tell of it.
            let may_meet = |cell: &Cell| cell.past.met.iter().any(|met| unmet.contains_key(met));
            let zone: Vec<_> = plan.evidence.zone(ttl).filter(|(_, cell)| may_meet(cell)).collect();
            let members = zone.iter().map(|(_, cell)| cell.past.met.len()).max().unwrap_or(0);
            let batch = members.min(usize::try_from(missing).unwrap_or(usize::MAX));
            // Where nobody answers any more there is nothing to wait for.
            let dealt = self.dealt.entry(ttl).or_default();
            *dealt += batch;
            if *dealt > ZONE_MAX * members {
                continue;
            }
            let flows: Vec<_> = zone.into_iter().map(|(flow, _)| flow).collect();
            for &flow in flows.iter().cycle().take(batch) {
                plan.repeat(flow, ttl);
            }
        }
    }

    /// Whether it stayed open of a flow where it ends now. What is remembered of it may lie where nothing leads any more, and a search
    /// for more flows there would not end.
    fn is_undecided(&self, plan: &Plan<'_>) -> bool {
        self.suspects.keys().any(|&flow| !plan.evidence.is_out_of_reach(flow))
    }

    /// Goes on with the strategy from what is known now.
    fn explore(&mut self, plan: &mut Plan<'_>) {
        let mut settings = plan.settings.clone();
        settings.confidence =
            if self.moved { self.confidence.max(Confidence::PROVEN) } else { self.confidence };
        self.inner = Some((self.make)(&settings));
        self.search(plan, |inner, plan| inner.start(plan));
    }

    /// Lets the search for more go on, where it has begun, as far as its packets go.
    fn search<T>(
        &mut self,
        plan: &mut Plan<'_>,
        go_on: impl FnOnce(&mut dyn Policy, &mut Plan<'_>) -> T,
    ) -> Option<T> {
        let told = go_on(self.inner.as_mut()?.as_mut(), plan);
        self.bound_search(plan);
        Some(told)
    }

    /// Ends the search for more where it has used up its packets: whatever it found has to be held against the pinned flows yet.
    fn bound_search(&mut self, plan: &mut Plan<'_>) {
        self.spent |= plan.packets_left() <= plan.settings.max_probes / RESERVE;
        if self.spent {
            plan.withdraw_unsent();
        }
    }

    /// The end of a round of which nothing is in doubt.
    fn end(&mut self, ending: Ending, plan: &Plan<'_>) -> Ending {
        self.settled = true;
        if self.spent { Ending::spent(plan.settings) } else { ending }
    }

    /// Where new flows found what is not known: was it there before? All pinned flows of the hop are asked.
    fn doubt_news(&mut self, plan: &mut Plan<'_>) -> bool {
        let mut known: BTreeSet<(Ttl, Met)> = BTreeSet::new();
        let mut found: BTreeSet<(Ttl, Met)> = BTreeSet::new();
        for (flow, cells) in plan.evidence.flows() {
            for (&ttl, cell) in cells.range(..=plan.evidence.end_ttl(flow)) {
                known.extend(cell.past.met.iter().map(|&met| (ttl, met)));
                found.extend(cell.met().filter(|met| met.address().is_some()).map(|met| (ttl, met)));
            }
        }
        let news: BTreeSet<Ttl> = found.difference(&known).map(|&(ttl, _)| ttl).collect();
        for ttl in news {
            self.check(ttl, plan);
        }
        !plan.is_idle()
    }
}

impl Policy for Watch {
    fn start(&mut self, plan: &mut Plan<'_>) {
        let flows = plan.evidence.flows().map(|(flow, _)| flow);
        self.lost = flows.filter(|&flow| plan.evidence.is_out_of_reach(flow)).collect();
        let probes = if self.full { everything(plan.evidence) } else { cover(plan.evidence) };
        for (flow, ttl) in probes {
            let is_silent = |cell: &Cell| cell.past.standing == Standing::OutOfReach || cell.was_silent();
            if plan.evidence.is_in_vain(flow) && plan.evidence.cell(flow, ttl).is_some_and(is_silent) {
                plan.ask_in_vain(flow, ttl);
            } else {
                plan.ask(flow, ttl);
            }
        }
    }

    fn on_answer(&mut self, flow: FlowId, ttl: Ttl, plan: &mut Plan<'_>) {
        if self.search(plan, |inner, plan| inner.on_answer(flow, ttl, plan)).is_none() {
            self.compare(flow, ttl, plan);
        }
    }

    fn on_retry(&mut self, flow: FlowId, ttl: Ttl, plan: &mut Plan<'_>) {
        self.search(plan, |inner, plan| inner.on_retry(flow, ttl, plan));
    }

    fn on_silence(&mut self, flow: FlowId, ttl: Ttl, plan: &mut Plan<'_>) {
        if self.search(plan, |inner, plan| inner.on_silence(flow, ttl, plan)).is_some() {
            return;
        }
        if self.is_unplaced(flow, ttl, plan) {
            plan.insist(flow, ttl, WAVE);
        } else {
            self.stand_in(flow, ttl, plan);
            self.suspect(flow, ttl, plan);
        }
    }

    fn on_idle(&mut self, plan: &mut Plan<'_>) -> Ending {
        if let Some(ending) = self.search(plan, |inner, plan| inner.on_idle(plan)) {
            if !plan.is_idle() {
                return ending;
            }
            if !self.doubt_news(plan) {
                return self.end(ending, plan);
            }
            self.inner = None;
            return ending;
        }
        if self.settle_doubts(plan) || !self.moved && self.is_undecided(plan) {
            return Ending::of(plan.evidence, plan.settings);
        }
        if self.spent {
            return self.end(Ending::spent(plan.settings), plan);
        }
        self.explore(plan);
        if plan.is_idle() { self.on_idle(plan) } else { Ending::of(plan.evidence, plan.settings) }
    }

    fn confidence(&self) -> Option<f64> {
        self.inner.as_ref()?.confidence()
    }

    fn is_settled(&self) -> bool {
        self.settled
    }
}

fn is_answered(cell: &Cell) -> bool {
    !cell.answers.is_empty()
}
