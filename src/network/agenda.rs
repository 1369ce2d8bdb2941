//! Which trace has something to do, and when.
//!
//! Holds one deadline a trace, so that a wake costs what is due and not what is in progress. Knows nothing of what is done.

use std::collections::{BTreeMap, BTreeSet};

use super::demux::RoundId;
use crate::{
    time::Time,
    tracer::{Deadline, Reason},
};

/// What a trace waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// Its turn to send.
    Turn,
    /// Its own pace to let it send.
    Pace(Time),
    /// Anything else that is due at a time.
    Due(Time),
}

/// The deadlines of all traces in progress.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    waits: BTreeMap<RoundId, Wait>,
    ready: BTreeSet<RoundId>,
    paced: BTreeSet<(Time, RoundId)>,
    due: BTreeSet<(Time, RoundId)>,
    /// Where turns go on.
    turn: u64,
}

impl Agenda {
    /// Replaces the deadline of a trace.
    pub(super) fn set(&mut self, id: RoundId, deadline: Option<Deadline>) {
        self.remove(id);
        if let Some(Deadline { at, reason }) = deadline {
            self.add(
                id,
                match reason {
                    Reason::Pace | Reason::RateLimit => Wait::Pace(at),
                    Reason::Silence { .. } | Reason::TimeLimit => Wait::Due(at),
                },
            );
        }
    }

    /// Forgets a trace.
    pub(super) fn remove(&mut self, id: RoundId) {
        match self.waits.remove(&id) {
            Some(Wait::Turn) => self.ready.remove(&id),
            Some(Wait::Pace(at)) => self.paced.remove(&(at, id)),
            Some(Wait::Due(at)) => self.due.remove(&(at, id)),
            None => false,
        };
    }

    /// Lets those take turns whose own pace allows it now.
    pub(super) fn release(&mut self, now: Time) {
        while let Some(&(_, id)) = self.paced.first().filter(|(at, _)| *at <= now) {
            self.remove(id);
            self.add(id, Wait::Turn);
        }
    }

    /// How many wait for their turn to send.
    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// The trace whose turn to send it is; the turn passes to the one behind it.
    pub(super) fn take_turn(&mut self) -> Option<RoundId> {
        let behind = self.ready.range(RoundId(self.turn)..).next();
        let id = *behind.or_else(|| self.ready.first())?;
        self.turn = id.0 + 1;
        Some(id)
    }

    /// Takes out all with something other than sending to do.
    pub(super) fn take_due(&mut self, now: Time) -> Vec<RoundId> {
        let due: Vec<_> = self.due.iter().take_while(|(at, _)| *at <= now).map(|&(_, id)| id).collect();
        for &id in &due {
            self.remove(id);
        }
        due
    }

    /// When the first may send as far as its own pace goes; the origin of time where one may already.
    pub(super) fn next_pace(&self) -> Option<Time> {
        let ready = self.ready.first().map(|_| Time::ZERO);
        ready.or_else(|| self.paced.first().map(|&(at, _)| at))
    }

    /// When the first has something other than sending to do.
    pub(super) fn next_due(&self) -> Option<Time> {
        self.due.first().map(|&(at, _)| at)
    }

    fn add(&mut self, id: RoundId, wait: Wait) {
        match wait {
            Wait::Turn => self.ready.insert(id),
            Wait::Pace(at) => self.paced.insert((at, id)),
            Wait::Due(at) => self.due.insert((at, id)),
        };
        self.waits.insert(id, wait);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    fn deadline(millis: u64, reason: Reason) -> Option<Deadline> {
        Some(Deadline { at: at(millis), reason })
    }

    #[test]
    fn only_what_is_due_is_taken_out() {
        let mut agenda = Agenda::default();
        for number in 0..1000 {
            agenda.set(RoundId(number), deadline(10 * number, Reason::TimeLimit));
        }
        assert_eq!(agenda.next_due(), Some(at(0)));
        assert_eq!(agenda.take_due(at(15)), [RoundId(0), RoundId(1)]);
        assert_eq!(agenda.next_due(), Some(at(20)));
        agenda.set(RoundId(2), deadline(5000, Reason::TimeLimit));
        agenda.set(RoundId(3), None);
        agenda.remove(RoundId(4));
        assert_eq!(agenda.take_due(at(50)), [RoundId(5)], "moved and removed ones are not due");
    }

    #[test]
    fn turns_go_round_among_those_that_may_send() {
        let mut agenda = Agenda::default();
        for (number, pace) in [(0, 0), (1, 5), (2, 0), (3, 90)] {
            agenda.set(RoundId(number), deadline(pace, Reason::Pace));
        }
        agenda.release(at(10));
        assert_eq!((agenda.ready(), agenda.next_pace()), (3, Some(Time::ZERO)));
        let turns: Vec<_> = std::iter::from_fn(|| agenda.take_turn()).take(4).map(|id| id.0).collect();
        assert_eq!(turns, [0, 1, 2, 0]);
        for number in 0..3 {
            agenda.set(RoundId(number), deadline(100, Reason::TimeLimit));
        }
        assert_eq!((agenda.take_turn(), agenda.next_pace()), (None, Some(at(90))));
    }
}
