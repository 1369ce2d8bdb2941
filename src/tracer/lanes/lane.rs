//! The lane of a hop that limits its answers: how fast it asks, when a control is due, and when a question is given up.

use std::time::Duration;

use crate::time::Time;

/// Packets a second of a lane, at least and at most.
const RATE: (f64, f64) = (0.5, 500.0);
/// How much faster than answers come a lane asks: enough to notice that more get through.
const GAIN: f64 = 1.25;
/// The same, where everything asked was answered.
const GAIN_FREE: f64 = 2.0;
/// How much slower it becomes at once where some are missing, and nobody knows whether they can be answered.
const CAUTION: f64 = 0.7;
/// Questions missed in a row from which on a control is sent.
const STREAK: u32 = 2;
/// Share of its pace from which on a lane is said to be busy.
const BUSY: f64 = 0.5;
/// Share of answers from which on nothing seems to be limited.
const FREE: f64 = 0.85;
/// Packets that a lane's pace is judged by, at least.
const EPOCH: u32 = 4;
/// Seconds over which the answers of a test are counted, at least.
const TESTED_MIN: f64 = 0.1;
/// For how long, and for how many packets, a lane stays without any answer until nothing more is waited for: a limit that lets so little
/// through is not worth it, and who answers nothing at all has gone.
const BARREN: (Duration, u32) = (Duration::from_secs(10), 8);
/// Packets a second to whom nothing is waited for.
const BARREN_RATE: f64 = 50.0;
/// Chance that a flow whose node answers is given up in a lane.
const FALSE_SILENCE: f64 = 1e-3;
/// Controls answered, with no question answered between them, after which what else is asked in a lane is taken for dead.
pub(super) const PROOFS: u32 = 4;
/// Share of answers of a node, at most, in a lane in which something was missed that can be answered.
const SHARE_MAX: f64 = 0.7;
/// Packets for one flow in a lane, at least and at most.
pub(super) const TRIES: (u32, u32) = (3, 20);

/// What waits at one hop, and what came of what was asked so far.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    /// Packets a second.
    rate: f64,
    next: Time,
    epoch: Epoch,
    /// Answers a second in the epoch before.
    before: f64,
    /// Over the whole life of the lane.
    all: Score,
    /// Questions missed since one was answered or a control was sent.
    streak: u32,
    /// Whether a control is due: is what was missed a matter of pace?
    check: bool,
    /// Controls answered since a question was.
    proofs: u32,
    /// Packets since anything was answered, and when the first of them was sent.
    unanswered: u32,
    unanswered_since: Time,
    /// Whether so many stayed unanswered for so long that there is nothing to wait for.
    barren: bool,
}

/// What came of a pace.
#[derive(Clone, Copy, Debug)]
struct Epoch {
    since: Time,
    asked: u32,
    score: Score,
    /// Questions missed: nobody knows yet whether they can be answered.
    doubts: u32,
    /// Whether a control was answered.
    vouched: bool,
}

/// What became of packets to flows whose node answers: controls, and questions that were answered in the end. What is missing
/// of others tells nothing of a limit, for there may be nobody.
#[derive(Clone, Copy, Debug, Default)]
struct Score {
    hits: u32,
    misses: u32,
}

/// Whose turn it is in a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::tracer) enum Turn {
    /// The question that waits longest.
    Question,
    /// A control.
    Control,
}

impl Lane {
    /// None of the controls of a test that started then was answered, while this many answers of all kinds came from the hop.
    pub(super) fn new(started: Time, answers: u32, now: Time) -> Self {
        let tested = now.since(started).as_secs_f64().max(TESTED_MIN);
        let rate = f64::from(answers.max(1)) * GAIN_FREE / tested;
        let rate = rate.clamp(RATE.0, RATE.1);
        Self {
            rate,
            next: now,
            epoch: Epoch::new(now),
            before: 0.0,
            all: Score::default(),
            streak: 0,
            check: false,
            proofs: 0,
            unanswered: 0,
            unanswered_since: now,
            barren: false,
        }
    }

    /// When it may ask next.
    pub(super) const fn due(&self) -> Time {
        self.next
    }

    /// Takes in what became of a control.
    pub(super) fn control(&mut self, answered: bool) {
        self.learn(u32::from(answered), u32::from(!answered));
        self.proofs = if answered { self.proofs + 1 } else { 0 };
        self.epoch.vouched |= answered;
    }

    /// Takes in that a question was answered, after so many packets.
    pub(super) fn answered(&mut self, tries: u32) {
        self.learn(1, tries.saturating_sub(1));
        (self.proofs, self.streak) = (0, 0);
    }

    /// Takes in that a packet was not answered in time.
    pub(super) const fn missed(&mut self) {
        self.epoch.doubts += 1;
        self.streak += 1;
    }

    /// Whether a question was asked often enough to be given up.
    pub(super) fn is_hopeless(&self, tries: u32) -> bool {
        let share = if self.all.misses == 0 { self.all.share() } else { self.all.share().min(SHARE_MAX) };
        let missed = (1.0 - share).max(1e-6).powi(i32::try_from(tries).unwrap_or(i32::MAX));
        match tries {
            _ if tries >= TRIES.1 => true,
            _ if self.barren || self.proofs >= PROOFS => tries > 0,
            _ => tries >= TRIES.0 && missed < FALSE_SILENCE,
        }
    }

    fn learn(&mut self, hits: u32, misses: u32) {
        for score in [&mut self.epoch.score, &mut self.all] {
            score.hits += hits;
            score.misses += misses;
        }
        if hits > 0 {
            (self.unanswered, self.barren) = (0, false);
        }
    }

    /// Whose turn it is now that it may ask.
    pub(super) fn take(&mut self, now: Time, retry: Duration) -> Turn {
        let elapsed = now.since(self.epoch.since);
        if elapsed >= retry && self.epoch.asked >= EPOCH {
            self.rate = (self.rate * self.factor(elapsed)).clamp(RATE.0, RATE.1);
            self.before = f64::from(self.epoch.score.hits) / elapsed.as_secs_f64();
            self.check = self.epoch.score.misses == 0 && self.epoch.doubts > 0;
            self.epoch = Epoch::new(now);
        }
        if self.unanswered == 0 {
            self.unanswered_since = now;
        }
        self.unanswered += 1;
        self.barren = self.unanswered > BARREN.1 && now.since(self.unanswered_since) >= BARREN.0;
        if self.barren {
            self.rate = self.rate.max(BARREN_RATE);
        }
        self.next = now + Duration::from_secs_f64(1.0 / self.rate);
        self.epoch.asked += 1;
        if (self.check || self.streak >= STREAK) && self.proofs < PROOFS {
            (self.check, self.streak) = (false, 0);
            Turn::Control
        } else {
            Turn::Question
        }
    }

    /// How much faster the lane is to become after what came of its pace in this time.
    fn factor(&self, elapsed: Duration) -> f64 {
        let Epoch { asked, score, doubts, vouched, .. } = self.epoch;
        let part = f64::from(score.hits) / f64::from(asked);
        // Where little waited, nobody knows whether more would have been answered.
        let is_busy = f64::from(asked) / elapsed.as_secs_f64() >= self.rate * BUSY;
        let is_free = self.all.share() >= FREE || score.hits >= 2 && vouched;
        match score {
            Score { hits: 0, .. } if self.proofs >= PROOFS => 1.0,
            Score { hits: 0, .. } => 0.5,
            Score { misses: 0, .. } if !is_busy => 1.0,
            Score { misses: 0, hits } if (hits >= asked || vouched) && is_free => GAIN_FREE,
            Score { misses: 0, .. } if vouched || doubts == 0 => GAIN,
            Score { misses: 0, .. } => (part * GAIN).clamp(CAUTION, 1.0),
            // Some were missed at a pace of before: no slower than answers come now, or came a moment ago.
            score => (score.share().max(part) * GAIN).max((self.before / self.rate).min(1.0)),
        }
    }
}

impl Epoch {
    fn new(now: Time) -> Self {
        Self { since: now, asked: 0, score: Score::default(), doubts: 0, vouched: false }
    }
}

impl Score {
    /// The share that is answered, as far as so few can tell.
    fn share(self) -> f64 {
        (f64::from(self.hits) + 0.5) / (f64::from(self.hits + self.misses) + 1.0)
    }
}
