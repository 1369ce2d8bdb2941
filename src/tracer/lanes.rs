//! Rate limits: telling them from silence and loss, and asking no faster than they let answers through.
//!
//! Where questions at a hop stay open although others were answered there, *controls* ask again what was answered: behind a
//! silent sibling or a dead branch they are answered as before, behind a limit they are not. Then what is open at that hop waits in a
//! lane of its own, from which it is asked one by one, at the pace at which answers come. Knows counts and times, no packets.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{flow::FlowId, probe::Ttl, time::Time};

/// Questions at one hop that are late together, from which on a limit is suspected before their attempts are used up.
const SUSPICIOUS: usize = 3;
/// Controls of one test.
pub(super) const CONTROLS: usize = 3;
/// Packets without an answer from which on every second one in a lane is a control: is the rest asked in vain?
const SILENCE: f64 = 3.0;
/// Packets a second of a lane, at least and at most.
const RATE: (f64, f64) = (0.5, 500.0);
/// How much faster than answers come a lane asks: enough to notice that more get through.
const GAIN: f64 = 1.25;
/// The same, where everything asked was answered.
const GAIN_FREE: f64 = 2.0;
/// Packets that a lane's pace is judged by, at least.
const EPOCH: f64 = 4.0;
/// Seconds over which the answers of a test are counted, at least.
const TESTED_MIN: f64 = 0.1;
/// Chance that a flow whose node answers is given up in a lane.
const FALSE_SILENCE: f64 = 1e-3;
/// Controls answered, with no question answered between them, after which what else is asked in a lane is taken for dead.
const PROOFS: u32 = 3;
/// How much faster a lane becomes with each of them.
const GAIN_PROOF: f64 = 2.0;
/// Packets for one flow in a lane, at least and at most.
const TRIES: (u32, u32) = (3, 20);

/// What is known of the limits of each hop.
#[derive(Clone, Debug, Default)]
pub(super) struct Lanes {
    hops: BTreeMap<Ttl, Hop>,
    /// Flows whose answers are late.
    late: BTreeMap<Ttl, BTreeSet<FlowId>>,
}

#[derive(Clone, Debug)]
enum Hop {
    /// Controls are on their way.
    Testing(Test),
    /// They were answered.
    Clear(Time),
    Limited(Lane),
}

#[derive(Clone, Debug, Default)]
struct Test {
    started: Time,
    pending: usize,
    answered: usize,
    /// Answers of all kinds meanwhile.
    answers: u32,
}

#[derive(Clone, Debug)]
struct Lane {
    /// Packets a second.
    rate: f64,
    next: Time,
    turns: u32,
    /// When a question was answered last.
    heard: Time,
    /// Since when the pace is what it is, and what came of it.
    since: Time,
    asked: u32,
    answered: u32,
    /// Over the whole life of the lane: packets of questions that can be answered, and how many were.
    tried: u32,
    hits: u32,
    /// Controls answered since a question was.
    proofs: u32,
}

/// Whose turn it is in a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The question that waits longest.
    Question,
    /// A control.
    Control,
}

impl Lanes {
    /// Whether a hop limits its answers.
    pub(super) fn is_limited(&self, ttl: Ttl) -> bool {
        matches!(self.hops.get(&ttl), Some(Hop::Limited(_)))
    }

    /// Whether a hop is suspected or known to limit its answers: what is late there is not lost yet.
    pub(super) fn is_held(&self, ttl: Ttl) -> bool {
        matches!(self.hops.get(&ttl), Some(Hop::Limited(_) | Hop::Testing(_)))
    }

    /// Whether controls that were sent after `since` were answered.
    pub(super) fn is_clear(&self, ttl: Ttl, since: Time) -> bool {
        matches!(self.hops.get(&ttl), Some(Hop::Clear(at)) if *at >= since)
    }

    /// Takes in that the answer to a flow is late. Returns whether so many are that a limit is to be suspected.
    pub(super) fn late(&mut self, ttl: Ttl, flow: FlowId) -> bool {
        let late = self.late.entry(ttl).or_default();
        late.insert(flow);
        late.len() >= SUSPICIOUS
    }

    /// Begins a test with this many controls at a hop that is not held.
    pub(super) fn test(&mut self, ttl: Ttl, controls: usize, now: Time) {
        if controls > 0 {
            self.hops.insert(ttl, Hop::Testing(Test { started: now, pending: controls, ..Test::default() }));
        }
    }

    /// Ends a test whose controls came to nothing: their flows ended nearer.
    pub(super) fn expire(&mut self, ttl: Ttl, started_before: Time) {
        if let Some(Hop::Testing(test)) = self.hops.get(&ttl)
            && test.started < started_before
        {
            self.hops.insert(ttl, Hop::Clear(started_before));
        }
    }

    /// Opens a lane for a hop that is known to limit its answers.
    pub(super) fn limit(&mut self, ttl: Ttl, now: Time) {
        if !self.is_limited(ttl) {
            let test = Test { started: now, ..Test::default() };
            self.hops.insert(ttl, Hop::Limited(Lane::new(&test, now)));
        }
    }

    /// Takes in what became of a control.
    pub(super) fn control(&mut self, ttl: Ttl, answered: bool, now: Time) {
        match self.hops.get_mut(&ttl) {
            Some(Hop::Testing(test)) => {
                test.pending = test.pending.saturating_sub(1);
                test.answered += usize::from(answered);
                if test.pending == 0 {
                    let verdict = if test.answered == 0 {
                        Hop::Limited(Lane::new(test, now))
                    } else {
                        Hop::Clear(test.started)
                    };
                    self.hops.insert(ttl, verdict);
                }
            }
            Some(Hop::Limited(lane)) => {
                lane.learn(1, answered);
                lane.proofs = if answered { lane.proofs + 1 } else { 0 };
                if answered {
                    lane.rate = (lane.rate * GAIN_PROOF).min(RATE.1);
                }
            }
            Some(Hop::Clear(_)) | None => {}
        }
    }

    /// Takes in that a question was answered, after so many packets in its lane.
    pub(super) fn answered(&mut self, ttl: Ttl, flow: FlowId, tries: u32, now: Time) {
        self.settled(ttl, flow);
        match self.hops.get_mut(&ttl) {
            Some(Hop::Testing(test)) => test.answers += 1,
            Some(Hop::Limited(lane)) if tries > 0 => {
                lane.learn(tries, true);
                lane.proofs = 0;
                lane.heard = now;
            }
            _ => {}
        }
    }

    /// Takes in that a flow is not asked any more.
    pub(super) fn settled(&mut self, ttl: Ttl, flow: FlowId) {
        if let Some(late) = self.late.get_mut(&ttl) {
            late.remove(&flow);
        }
    }

    /// Whether a question was asked often enough in its lane to be given up.
    pub(super) fn is_hopeless(&self, ttl: Ttl, tries: u32) -> bool {
        let Some(Hop::Limited(lane)) = self.hops.get(&ttl) else { return false };
        let share = (f64::from(lane.hits) + 0.5) / (f64::from(lane.tried) + 1.0);
        let missed = (1.0 - share).max(1e-6).powi(i32::try_from(tries).unwrap_or(i32::MAX));
        match tries {
            _ if tries >= TRIES.1 => true,
            _ if lane.proofs >= PROOFS => tries > 0,
            _ => tries >= TRIES.0 && missed < FALSE_SILENCE,
        }
    }

    /// Whose turn it is, in the first of these lanes that is due.
    pub(super) fn turn(
        &mut self,
        waiting: impl Iterator<Item = Ttl>,
        now: Time,
        retry: Duration,
    ) -> Option<(Ttl, Turn)> {
        for ttl in waiting {
            let Some(Hop::Limited(lane)) = self.hops.get_mut(&ttl) else {
                return Some((ttl, Turn::Question));
            };
            if lane.next <= now {
                return Some((ttl, lane.take(now, retry)));
            }
        }
        None
    }

    /// When the first of these lanes is due.
    pub(super) fn due(&self, waiting: impl Iterator<Item = Ttl>) -> Option<Time> {
        let due = waiting.map(|ttl| match self.hops.get(&ttl) {
            Some(Hop::Limited(lane)) => lane.next,
            _ => Time::ZERO,
        });
        due.min()
    }
}

impl Lane {
    /// None of a test's controls was answered.
    fn new(test: &Test, now: Time) -> Self {
        let tested = now.since(test.started).as_secs_f64().max(TESTED_MIN);
        let rate = f64::from(test.answers.max(1)) * GAIN_FREE / tested;
        let rate = rate.clamp(RATE.0, RATE.1);
        Self {
            rate,
            next: now,
            turns: 0,
            heard: now,
            since: now,
            asked: 0,
            answered: 0,
            tried: 0,
            hits: 0,
            proofs: 0,
        }
    }

    fn learn(&mut self, tries: u32, answered: bool) {
        self.tried += tries;
        if answered {
            self.hits += 1;
            self.answered += 1;
        }
    }

    fn take(&mut self, now: Time, retry: Duration) -> Turn {
        let elapsed = now.since(self.since).as_secs_f64();
        if elapsed >= retry.as_secs_f64().max(EPOCH / self.rate) {
            // What was asked in the last moments cannot have been answered yet: the pace errs by that to the slow side.
            let rate = match self.answered {
                0 if self.proofs >= PROOFS => self.rate,
                0 => self.rate / 2.0,
                all if all >= self.asked => f64::from(all) / elapsed * GAIN_FREE,
                // Where controls are answered the rest is not a matter of pace.
                _ if self.proofs > 0 => self.rate,
                some => f64::from(some) / elapsed * GAIN,
            };
            self.rate = rate.clamp(RATE.0, RATE.1);
            (self.since, self.asked, self.answered) = (now, 0, 0);
        }
        self.next = now + Duration::from_secs_f64(1.0 / self.rate);
        self.asked += 1;
        self.turns += 1;
        let silent = now.since(self.heard).as_secs_f64() >= retry.as_secs_f64().max(SILENCE / self.rate);
        if silent && self.proofs < PROOFS && self.turns.is_multiple_of(2) {
            Turn::Control
        } else {
            Turn::Question
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Duration = Duration::from_millis(220);
    const HERE: Ttl = Ttl::MIN;

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    /// A hop at which none of the controls was answered, as of 220 ms.
    fn limited() -> Lanes {
        let mut lanes = Lanes::default();
        lanes.test(HERE, CONTROLS, at(0));
        for _ in 0..CONTROLS {
            lanes.control(HERE, false, at(220));
        }
        assert!(lanes.is_limited(HERE));
        lanes
    }

    #[test]
    fn one_answered_control_clears_a_hop() {
        let mut lanes = Lanes::default();
        lanes.test(HERE, CONTROLS, at(1));
        assert!(lanes.is_held(HERE) && !lanes.is_limited(HERE));
        for answered in [false, true, false] {
            lanes.control(HERE, answered, at(220));
        }
        assert!(!lanes.is_held(HERE));
        assert!(lanes.is_clear(HERE, at(1)) && !lanes.is_clear(HERE, at(2)), "it was so when it was asked");
    }

    #[test]
    fn flows_that_are_late_together_are_suspicious() {
        let mut lanes = Lanes::default();
        let suspicions = [1, 2, 2, 3].map(|flow| lanes.late(HERE, FlowId(flow)));
        assert_eq!(suspicions, [false, false, false, true]);
        lanes.answered(HERE, FlowId(1), 0, at(1));
        assert!(!lanes.late(HERE, FlowId(2)), "one of them is answered by now");
    }

    /// Against a bucket that refills at these rates, questions without end: answers come nearly as fast as they are let through,
    /// for not many more packets.
    #[test]
    fn a_lane_finds_the_pace_of_its_limit() {
        for rate in [1.0, 10.0, 100.0] {
            let mut lanes = limited();
            let (mut tokens, mut filled) = (0.0_f64, at(220));
            let (mut now, mut asked, mut answered) = (at(220), 0.0, 0.0);
            while answered < 40.0 {
                now = now.max(lanes.due([HERE].into_iter()).unwrap());
                let (_, turn) = lanes.turn([HERE].into_iter(), now, RETRY).unwrap();
                tokens = (tokens + now.since(filled).as_secs_f64() * rate).min(6.0);
                filled = now;
                asked += 1.0;
                let passes = tokens >= 1.0;
                if passes {
                    tokens -= 1.0;
                    answered += 1.0;
                }
                match turn {
                    Turn::Control => lanes.control(HERE, passes, now),
                    Turn::Question if passes => lanes.answered(HERE, FlowId(1), 1, now),
                    Turn::Question => {}
                }
            }
            let seconds = now.since(at(220)).as_secs_f64();
            assert!(seconds < 40.0 / rate + 2.0, "{rate} a second: {seconds} s");
            assert!(asked < 100.0, "{rate} a second: {asked} packets");
        }
    }

    #[test]
    fn what_stays_silent_while_controls_are_answered_is_given_up() {
        let mut lanes = limited();
        assert!(!lanes.is_hopeless(HERE, 3), "nothing was answered at all");
        assert!(lanes.is_hopeless(HERE, TRIES.1));
        for _ in 0..PROOFS {
            lanes.control(HERE, true, at(500));
        }
        assert!(lanes.is_hopeless(HERE, 1));
        lanes.answered(HERE, FlowId(1), 1, at(501));
        assert!(!lanes.is_hopeless(HERE, 1), "a question is answered after all");
    }
}
