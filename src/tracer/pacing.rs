//! A token bucket: how fast packets may go out.
//!
//! One limits each trace, another all traces together. Knows nothing of what is sent.

use std::time::Duration;

use crate::time::Time;

/// Lets `burst` packets go at once and `rate` packets a second in the long run.
#[derive(Clone, Debug)]
pub struct Pacer {
    /// Time that one packet costs.
    cost: Duration,
    /// Most time that may be saved up.
    savings: Duration,
    /// Time saved up at `updated`.
    credit: Duration,
    updated: Time,
}

impl Pacer {
    /// A full bucket. A rate or burst of 0 counts as 1.
    #[must_use]
    pub fn new(rate: u32, burst: u32, now: Time) -> Self {
        let cost = Duration::from_secs(1) / rate.max(1);
        let savings = cost * burst.max(1);
        Self { cost, savings, credit: savings, updated: now }
    }

    /// Goes on at another rate. Nothing is saved up by it. A rate or burst of 0 counts as 1.
    pub fn set_rate(&mut self, rate: u32, burst: u32) {
        self.cost = Duration::from_secs(1) / rate.max(1);
        self.savings = self.cost * burst.max(1);
        self.credit = self.credit.min(self.savings);
    }

    /// When the next packet may go; `now` or earlier when it may go at once.
    #[must_use]
    pub fn next(&self) -> Time {
        self.updated + self.cost.saturating_sub(self.credit)
    }

    /// Whether a packet may go now.
    #[must_use]
    pub fn ready(&self, now: Time) -> bool {
        self.next() <= now
    }

    /// Takes a token for a packet that goes now; to be called when it is `ready`.
    pub fn take(&mut self, now: Time) {
        let credit = (self.credit + now.since(self.updated)).min(self.savings);
        self.credit = credit.saturating_sub(self.cost);
        self.updated = self.updated.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends whenever allowed over `duration` and returns how many packets went.
    fn sent_in(pacer: &mut Pacer, start: Time, duration: Duration) -> u32 {
        let mut now = start;
        let mut sent = 0;
        while now <= start + duration {
            while pacer.ready(now) {
                pacer.take(now);
                sent += 1;
            }
            now = pacer.next();
        }
        sent
    }

    #[test]
    fn a_burst_then_the_rate() {
        let start = Time::ZERO;
        for (rate, burst, seconds, expected) in
            [(1000, 64, 0, 64), (1000, 64, 1, 1064), (10, 1, 2, 21), (5000, 100, 3, 15_100)]
        {
            let mut pacer = Pacer::new(rate, burst, start);
            assert_eq!(
                sent_in(&mut pacer, start, Duration::from_secs(seconds)),
                expected,
                "{rate} pps, burst {burst}"
            );
        }
    }

    #[test]
    fn savings_are_bounded_by_the_burst() {
        let start = Time::ZERO;
        let mut pacer = Pacer::new(100, 5, start);
        assert_eq!(sent_in(&mut pacer, start, Duration::ZERO), 5);
        let later = start + Duration::from_secs(60);
        assert_eq!(sent_in(&mut pacer, later, Duration::ZERO), 5);
    }
}
