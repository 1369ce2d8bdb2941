//! How many requests are answered: a token bucket.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::{config::RateLimit, network::clock::Clock, time::Time};

/// Lets requests through at a rate.
#[derive(Debug)]
pub(super) struct Limiter {
    interval: Duration,
    /// How far ahead of its time the last request may be.
    slack: Duration,
    clock: Clock,
    /// When the bucket is full.
    full: Mutex<Time>,
}

impl Limiter {
    pub(super) fn new(RateLimit { interval, burst }: RateLimit) -> Self {
        let slack = interval.saturating_mul(burst.saturating_sub(1));
        Self { interval, slack, clock: Clock::start(), full: Mutex::new(Time::ZERO) }
    }

    /// Whether a request that comes now is answered.
    pub(super) fn allows(&self) -> bool {
        self.allows_at(self.clock.now())
    }

    fn allows_at(&self, now: Time) -> bool {
        let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = full.since(now);
        let allowed = missing <= self.slack;
        if allowed {
            *full = now + missing + self.interval;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_let_through_and_then_one_an_interval() {
        let limiter = Limiter::new(RateLimit { interval: Duration::from_millis(100), burst: 3 });
        let at = |millis: u64| limiter.allows_at(Time::from_nanos(millis * 1_000_000));
        let cases = [
            (1000, true),
            (1000, true),
            (1000, true),
            (1000, false),
            (1099, false),
            (1100, true),
            (1101, false),
            (9000, true),
            (9000, true),
            (9000, true),
            (9000, false),
        ];
        for (millis, allowed) in cases {
            assert_eq!(at(millis), allowed, "{millis}");
        }
    }
}
