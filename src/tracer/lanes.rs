//! Rate limits: telling them from silence and loss, and asking no faster than they let answers through.
//!
//! Where questions at a hop stay open although others were answered there, *controls* ask again what was answered: behind a
//! silent sibling or a dead branch they are answered as before, behind a limit they are not. Then what is open at that hop waits in a
//! lane of its own, from which it is asked one by one, at the pace at which answers come. What stays silent there may be dead, and says
//! nothing of the pace; controls and what is answered in the end do. Knows counts and times, no packets.

mod lane;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use self::lane::Lane;
pub(super) use self::lane::Turn;
use crate::{flow::FlowId, probe::Ttl, time::Time};

/// Questions at one hop that are late together, from which on a limit is suspected before their attempts are used up.
const SUSPICIOUS: usize = 3;
/// Controls of one test.
pub(super) const CONTROLS: usize = 3;

/// What is known of the limits of each hop.
#[derive(Clone, Debug, Default)]
pub(super) struct Lanes {
    hops: BTreeMap<Ttl, Hop>,
    /// Hops found clear since they last failed a test.
    cleared: BTreeSet<Ttl>,
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

impl Lanes {
    /// Whether a hop limits its answers.
    pub(super) fn is_limited(&self, ttl: Ttl) -> bool {
        matches!(self.hops.get(&ttl), Some(Hop::Limited(_)))
    }

    /// Whether any hop limits its answers.
    pub(super) fn is_any_limited(&self) -> bool {
        self.hops.values().any(|hop| matches!(hop, Hop::Limited(_)))
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
            self.hops.insert(ttl, Hop::Limited(Lane::new(now, 0, now)));
        }
    }

    /// Closes the lane of a hop at which there is no more control: all flows answered there ended nearer.
    pub(super) fn close(&mut self, ttl: Ttl) {
        self.hops.remove(&ttl);
    }

    /// Takes in what became of a control. Returns whether the hop is to be tested once more: it failed, but was found clear before,
    /// so that all its controls may just have been lost.
    pub(super) fn control(&mut self, ttl: Ttl, answered: bool, now: Time) -> bool {
        match self.hops.get_mut(&ttl) {
            Some(Hop::Testing(test)) => {
                test.pending = test.pending.saturating_sub(1);
                test.answered += usize::from(answered);
                if test.pending == 0 {
                    let verdict = if test.answered > 0 {
                        self.cleared.insert(ttl);
                        Hop::Clear(test.started)
                    } else if self.cleared.remove(&ttl) {
                        self.hops.remove(&ttl);
                        return true;
                    } else {
                        Hop::Limited(Lane::new(test.started, test.answers, now))
                    };
                    self.hops.insert(ttl, verdict);
                }
            }
            Some(Hop::Limited(lane)) => lane.control(answered),
            Some(Hop::Clear(_)) | None => {}
        }
        false
    }

    /// Takes in that a question was answered, after so many packets in its lane.
    pub(super) fn answered(&mut self, ttl: Ttl, flow: FlowId, tries: u32) {
        self.settled(ttl, flow);
        match self.hops.get_mut(&ttl) {
            Some(Hop::Testing(test)) => test.answers += 1,
            Some(Hop::Limited(lane)) if tries > 0 => lane.answered(tries),
            _ => {}
        }
    }

    /// Takes in that a packet that a lane let go was not answered in time.
    pub(super) fn missed(&mut self, ttl: Ttl) {
        if let Some(Hop::Limited(lane)) = self.hops.get_mut(&ttl) {
            lane.missed();
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
        matches!(self.hops.get(&ttl), Some(Hop::Limited(lane)) if lane.is_hopeless(tries))
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
            if lane.due() <= now {
                return Some((ttl, lane.take(now, retry)));
            }
        }
        None
    }

    /// When the first of these lanes is due.
    pub(super) fn due(&self, waiting: impl Iterator<Item = Ttl>) -> Option<Time> {
        let due = waiting.map(|ttl| match self.hops.get(&ttl) {
            Some(Hop::Limited(lane)) => lane.due(),
            _ => Time::ZERO,
        });
        due.min()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::{
        lane::{PROOFS, TRIES},
        *,
    };

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
    fn a_hop_that_was_clear_has_to_fail_twice() {
        let mut lanes = Lanes::default();
        let mut fails = |at_first: [bool; CONTROLS]| {
            lanes.test(HERE, CONTROLS, at(1));
            let again = at_first.map(|answered| lanes.control(HERE, answered, at(220)));
            assert!(!again[0] && !again[1], "the last of them decides");
            (again[CONTROLS - 1], lanes.is_limited(HERE))
        };
        assert_eq!(fails([true; CONTROLS]), (false, false));
        assert_eq!(fails([false; CONTROLS]), (true, false), "three packets may just be lost");
        assert_eq!(fails([false; CONTROLS]), (false, true));
    }

    #[test]
    fn flows_that_are_late_together_are_suspicious() {
        let mut lanes = Lanes::default();
        let suspicions = [1, 2, 2, 3].map(|flow| lanes.late(HERE, FlowId(flow)));
        assert_eq!(suspicions, [false, false, false, true]);
        lanes.answered(HERE, FlowId(1), 0);
        assert!(!lanes.late(HERE, FlowId(2)), "one of them is answered by now");
    }

    /// Against a bucket that refills at these rates, questions without end, those that are missed asked again: answers come nearly as
    /// fast as they are let through, for not many more packets.
    #[test]
    fn a_lane_finds_the_pace_of_its_limit() {
        for rate in [1.0, 10.0, 100.0] {
            let mut lanes = limited();
            let (mut tokens, mut filled) = (0.0_f64, at(220));
            let (mut now, mut asked, mut answered) = (at(220), 0.0, 0.0);
            // How often each of those that wait was asked.
            let mut waiting = VecDeque::from([0; 10]);
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
                    Turn::Control => {
                        lanes.control(HERE, passes, now);
                    }
                    Turn::Question => {
                        let tries = waiting.pop_front().unwrap() + 1;
                        if passes {
                            lanes.answered(HERE, FlowId(1), tries);
                            waiting.push_back(0);
                        } else {
                            lanes.missed(HERE);
                            waiting.push_back(tries);
                        }
                    }
                }
            }
            let seconds = now.since(at(220)).as_secs_f64();
            assert!(seconds < 40.0 / rate + 2.0, "{rate} a second: {seconds} s");
            assert!(asked < 100.0, "{rate} a second: {asked} packets");
        }
    }

    /// One of two flows is dead, nothing is limited: the other's answers and the controls keep the pace up.
    #[test]
    fn the_dead_do_not_slow_a_lane_down() {
        let mut lanes = limited();
        let (mut now, mut answered) = (at(220), 0);
        for number in 0_u32.. {
            now = now.max(lanes.due([HERE].into_iter()).unwrap());
            match lanes.turn([HERE].into_iter(), now, RETRY).unwrap().1 {
                Turn::Control => {
                    lanes.control(HERE, true, now);
                }
                Turn::Question if number.is_multiple_of(2) => lanes.missed(HERE),
                Turn::Question => {
                    lanes.answered(HERE, FlowId(1), 1);
                    answered += 1;
                }
            }
            if answered == 100 {
                break;
            }
        }
        assert!(now.since(at(220)) < Duration::from_secs(4), "{now:?}");
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
        lanes.answered(HERE, FlowId(1), 1);
        assert!(!lanes.is_hopeless(HERE, 1), "a question is answered after all");
    }

    /// Who answered once and never again is no limit that lets one answer through in ten seconds.
    #[test]
    fn a_lane_in_which_nobody_answers_is_given_up() {
        let mut lanes = limited();
        let mut now = at(220);
        while !lanes.is_hopeless(HERE, 1) {
            now = now.max(lanes.due([HERE].into_iter()).unwrap());
            assert!(now < at(20_000), "it waits for ever");
            match lanes.turn([HERE].into_iter(), now, RETRY).unwrap().1 {
                Turn::Control => {
                    lanes.control(HERE, false, now);
                }
                Turn::Question => lanes.missed(HERE),
            }
        }
        assert!(now >= at(10_000), "{now:?} is no time to wait for a limit");
        let next = lanes.due([HERE].into_iter()).unwrap();
        assert!(next.since(now) < Duration::from_millis(50), "what waits is asked once more, soon");
        lanes.control(HERE, true, now);
        assert!(!lanes.is_hopeless(HERE, 1), "somebody answers after all");
    }
}
