//! When the rounds of one target are due.

use std::time::Duration;

use crate::time::Time;

/// When the rounds of a target are due.
#[derive(Debug)]
pub(super) struct Slots {
    interval: Duration,
    due: Time,
    first: bool,
    seed: u64,
}

impl Slots {
    /// The first round is due now, the others at a place in the interval that belongs to the seed.
    pub(super) const fn new(now: Time, interval: Duration, seed: u64) -> Self {
        Self { interval, due: now, first: true, seed }
    }

    pub(super) const fn due(&self) -> Time {
        self.due
    }

    pub(super) const fn is_first(&self) -> bool {
        self.first
    }

    pub(super) const fn interval(&self) -> Duration {
        self.interval
    }

    /// Goes on with another interval. The next round is due at its place in the interval that begins now, so that many targets
    /// whose interval changes do not come all at once; a first round stays due.
    pub(super) fn change(&mut self, now: Time, interval: Duration) {
        self.interval = interval;
        if !self.first {
            self.due = now + self.place();
        }
    }

    /// Moves on to the next round that can still be made in time. Returns how many were left out.
    pub(super) fn advance(&mut self, now: Time) -> u32 {
        if std::mem::take(&mut self.first) {
            // Half an interval to a whole and a half behind the first: never at once again, never long without.
            self.due = self.due + self.interval / 2 + self.place();
        } else {
            self.due = self.due + self.interval;
        }
        let mut left_out = 0;
        while self.due < now {
            self.due = self.due + self.interval;
            left_out += 1;
        }
        left_out
    }

    /// Where in the interval this target has its place.
    fn place(&self) -> Duration {
        let nanos = u64::try_from(self.interval.as_nanos()).unwrap_or(u64::MAX).max(1);
        Duration::from_nanos(self.seed % nanos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::FlowSequence;

    const INTERVAL: Duration = Duration::from_secs(60);

    #[test]
    fn rounds_are_one_interval_apart_and_none_is_made_up_for() {
        let start = Time::ZERO + Duration::from_secs(100);
        let mut slots = Slots::new(start, INTERVAL, FlowSequence::seed_of("a"));
        assert_eq!(slots.due(), start);
        assert_eq!(slots.advance(start + Duration::from_secs(1)), 0);
        let second = slots.due();
        assert!(second >= start + INTERVAL / 2 && second <= start + INTERVAL * 3 / 2, "{second}");
        assert_eq!(slots.advance(second + Duration::from_secs(1)), 0);
        assert_eq!(slots.due(), second + INTERVAL);
        // A round of two and a half intervals leaves two out and keeps its place.
        assert_eq!(slots.advance(slots.due() + INTERVAL * 5 / 2), 2);
        assert_eq!(slots.due(), second + INTERVAL * 4);
    }

    #[test]
    fn targets_are_spread_over_the_interval() {
        let mut quarters = [0; 4];
        for number in 0..1000 {
            let mut slots =
                Slots::new(Time::ZERO, INTERVAL, FlowSequence::seed_of(&format!("target-{number}")));
            slots.advance(Time::ZERO);
            let offset = slots.due().since(Time::ZERO + INTERVAL / 2);
            quarters[usize::try_from(offset.as_secs() / 15).unwrap()] += 1;
        }
        assert!(quarters.iter().all(|&count| count > 200), "{quarters:?}");
    }

    #[test]
    fn another_interval_spreads_targets_from_now_on() {
        let later = Time::ZERO + Duration::from_secs(1000);
        let mut quarters = [0; 4];
        for number in 0..1000 {
            let seed = FlowSequence::seed_of(&format!("target-{number}"));
            let mut slots = Slots::new(Time::ZERO, Duration::from_secs(3600), seed);
            slots.change(Time::ZERO, INTERVAL);
            assert_eq!((slots.due(), slots.is_first()), (Time::ZERO, true), "a first round stays due");
            slots.advance(Time::ZERO);
            slots.change(later, INTERVAL);
            let wait = slots.due().since(later);
            assert!(slots.due() >= later && wait < INTERVAL, "{wait:?}");
            quarters[usize::try_from(wait.as_secs() / 15).unwrap()] += 1;
            let due = slots.due();
            slots.advance(due);
            assert_eq!(slots.due(), due + INTERVAL);
        }
        assert!(quarters.iter().all(|&count| count > 200), "{quarters:?}");
    }
}
