//! Chance and limits: what befalls packets that no router decides.
//!
//! Knows shares, bursts and token buckets. Must not know packets.

use std::time::Duration;

use super::topology::{Faults, Rate};
use crate::time::Time;

/// Whether something of this share, 0 to 1, happens. Draws nothing where it cannot.
pub(super) fn happens(share: f64, rng: &mut fastrand::Rng) -> bool {
    share > 0.0 && rng.f64() < share
}

/// One direction of the network, probes or replies.
#[derive(Clone, Debug, Default)]
pub(super) struct Direction {
    /// Whether a burst of losses is going on.
    burst: bool,
}

impl Direction {
    /// How much later than without faults each copy of a packet comes through; none where it is lost.
    pub(super) fn pass(&mut self, faults: &Faults, rng: &mut fastrand::Rng) -> [Option<Duration>; 2] {
        if self.loses(faults, rng) {
            return [None, None];
        }
        let mut delay =
            || Some(if happens(faults.reorder, rng) { faults.reorder_delay } else { Duration::ZERO });
        let first = delay();
        let second = if happens(faults.duplicate, rng) { first } else { None };
        [first, second]
    }

    /// Gilbert's model (Capacity of a Burst-Noise Channel, 1960) with everything lost in the bad state: leaving
    /// it with probability 1 / burst and entering it so that `loss` is the share of time spent there.
    fn loses(&mut self, faults: &Faults, rng: &mut fastrand::Rng) -> bool {
        match faults.burst {
            None => happens(faults.loss, rng),
            Some(burst) => {
                self.burst = if self.burst {
                    !happens(1.0 / burst, rng)
                } else {
                    happens(faults.loss / (burst * (1.0 - faults.loss)), rng)
                };
                self.burst
            }
        }
    }
}

/// A token bucket, kept as the time at which it is full again (the generic cell rate algorithm, ITU-T I.371):
/// exact in nanoseconds, whatever the rate.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bucket {
    full: Time,
}

impl Bucket {
    /// Takes a token if there is one. Calls need not be in order of time: one for an earlier time finds the
    /// bucket as the calls before it left it.
    pub(super) fn take(&mut self, rate: Rate, at: Time) -> bool {
        let interval = Duration::from_secs_f64(1.0 / rate.per_second);
        let slack = interval * rate.burst.saturating_sub(1);
        if self.full.since(at) > slack {
            return false;
        }
        self.full = self.full.max(at) + interval;
        true
    }
}
