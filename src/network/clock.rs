//! The one place that reads the machine's clocks.
//!
//! Everything is timed on the monotonic clock. The kernel stamps arrivals with the wall clock; they are translated
//! here, and not believed when the wall clock was set meanwhile.

#![allow(clippy::disallowed_methods, reason = "this is the file that the rule makes room for")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::time::Time;

/// Slack in comparing the clocks: reading both takes a moment, and the system may be slewing one against the other.
const SLACK: Duration = Duration::from_millis(1);

/// The machine's clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    last: Sample,
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    time: Time,
    wall: Duration,
}

impl Clock {
    /// A clock that begins now.
    #[must_use]
    pub fn start() -> Self {
        // An origin in the past leaves room before the first moment.
        let origin = Instant::now().checked_sub(Duration::from_secs(1)).unwrap_or_else(Instant::now);
        let time = Time::ZERO + origin.elapsed();
        Self { origin, last: Sample { time, wall: wall_clock() } }
    }

    /// Now, on the monotonic clock.
    #[must_use]
    pub fn now(&self) -> Time {
        Time::ZERO + self.origin.elapsed()
    }

    /// This point in time as tokio's timers want it.
    #[must_use]
    pub fn instant(&self, time: Time) -> tokio::time::Instant {
        (self.origin + time.since(Time::ZERO)).into()
    }

    /// Begins the translation of stamps of messages that are being read now.
    pub fn arrivals(&mut self) -> Arrivals {
        let sample = Sample { time: self.now(), wall: wall_clock() };
        let arrivals = Arrivals::between(self.last, sample);
        self.last = sample;
        arrivals
    }
}

/// Translates the kernel's arrival stamps (wall clock, since the epoch) of one batch of messages.
#[derive(Clone, Copy, Debug)]
pub struct Arrivals {
    now: Time,
    wall: Duration,
    trusted: bool,
}

impl Arrivals {
    fn between(before: Sample, now: Sample) -> Self {
        let elapsed = now.time.since(before.time);
        let shown = now.wall.saturating_sub(before.wall);
        // Slewing changes the wall clock's pace by at most 500 parts in a million, and 100 times that in an emergency.
        let trusted = now.wall >= before.wall && elapsed.abs_diff(shown) <= SLACK + elapsed / 1000;
        Self { now: now.time, wall: now.wall, trusted }
    }

    /// When a message arrived: by its stamp, or now where it has none or the wall clock was set since the last batch.
    #[must_use]
    pub fn at(&self, stamp: Option<Duration>) -> Time {
        let age = stamp.filter(|_| self.trusted).and_then(|stamp| self.wall.checked_sub(stamp));
        self.now - age.unwrap_or_default()
    }

    /// When the batch was read.
    #[must_use]
    pub const fn read_at(&self) -> Time {
        self.now
    }
}

/// The wall clock: time since the epoch.
#[must_use]
pub fn wall_clock() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The wall clock as a timestamp.
#[must_use]
pub fn timestamp() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(time_ms: u64, wall_ms: u64) -> Sample {
        Sample { time: Time::from_nanos(time_ms * 1_000_000), wall: Duration::from_millis(wall_ms) }
    }

    #[test]
    fn stamps_are_believed_while_both_clocks_agree() {
        // before (time, wall), now (time, wall), stamp -> arrival, all in ms
        let cases = [
            ("agree", (1000, 500_000), (2000, 501_000), Some(500_990), 1990),
            ("no stamp", (1000, 500_000), (2000, 501_000), None, 2000),
            ("slewed a little", (1000, 500_000), (11_000, 510_005), Some(510_000), 10_995),
            ("stepped ahead", (1000, 500_000), (2000, 561_000), Some(500_990), 2000),
            ("stepped back", (1000, 500_000), (2000, 441_000), Some(500_990), 2000),
            ("stamp from the future", (1000, 500_000), (2000, 501_000), Some(502_000), 2000),
        ];
        for (name, before, now, stamp, arrival) in cases {
            let arrivals = Arrivals::between(sample(before.0, before.1), sample(now.0, now.1));
            let at = arrivals.at(stamp.map(Duration::from_millis));
            assert_eq!(at, Time::from_nanos(arrival * 1_000_000), "{name}");
        }
    }
}
