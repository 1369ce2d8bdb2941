//! What was answered, for how long it holds, and what is being asked.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use crate::time::Time;

/// Most addresses remembered. Those beyond have no name.
const ENTRIES_MAX: usize = 100_000;
/// How long a name holds.
const NAMED: Duration = Duration::from_secs(3600);
/// How long it holds that there is none, or that nobody could be asked.
const NAMELESS: Duration = Duration::from_secs(600);

/// What a resolver said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The name.
    Name(Arc<str>),
    /// There is none.
    Nameless,
    /// Nothing: it failed, or took too long.
    Trouble,
}

#[derive(Debug, Default)]
pub(super) struct Cache {
    entries: BTreeMap<IpAddr, Entry>,
}

#[derive(Debug)]
struct Entry {
    /// Shown also while it is looked up again.
    name: Option<Arc<str>>,
    /// Until when it holds; `None` while it is being asked.
    until: Option<Time>,
}

impl Entry {
    fn is_due(&self, now: Time) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

impl Cache {
    /// Those of these addresses that have to be asked now. They count as being asked from then on.
    pub(super) fn due(&mut self, now: Time, addresses: &BTreeSet<IpAddr>) -> Vec<IpAddr> {
        let mut due = Vec::new();
        let mut is_swept = false;
        for &address in addresses {
            let is_full = self.entries.len() >= ENTRIES_MAX;
            match self.entries.get_mut(&address) {
                Some(entry) if !entry.is_due(now) => continue,
                Some(entry) => entry.until = None,
                None => {
                    if is_full && !std::mem::replace(&mut is_swept, true) {
                        self.entries.retain(|_, entry| !entry.is_due(now));
                    }
                    if self.entries.len() >= ENTRIES_MAX {
                        continue;
                    }
                    self.entries.insert(address, Entry { name: None, until: None });
                }
            }
            due.push(address);
        }
        due
    }

    /// Notes an answer. Trouble takes no name away.
    pub(super) fn note(&mut self, now: Time, address: IpAddr, answer: Answer) {
        let Some(entry) = self.entries.get_mut(&address) else { return };
        let (name, holds) = match answer {
            Answer::Name(name) => (Some(name), NAMED),
            Answer::Nameless => (None, NAMELESS),
            Answer::Trouble => (entry.name.take(), NAMELESS),
        };
        *entry = Entry { name, until: Some(now + holds) };
    }

    pub(super) fn name(&self, address: IpAddr) -> Option<Arc<str>> {
        self.entries.get(&address)?.name.clone()
    }

    /// Whether an answer is missing.
    pub(super) fn is_asked(&self, address: IpAddr) -> bool {
        self.entries.get(&address).is_some_and(|entry| entry.until.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn only() -> BTreeSet<IpAddr> {
        [ADDRESS].into()
    }

    #[test]
    fn an_answer_holds_for_a_while_and_is_shown_until_the_next() {
        let name = || Answer::Name("r1".into());
        // The answers, each with how long it holds and whether there is a name then.
        let cases = [
            (name(), NAMED, true),
            (Answer::Trouble, NAMELESS, true),
            (name(), NAMED, true),
            (Answer::Nameless, NAMELESS, false),
            (Answer::Trouble, NAMELESS, false),
            (name(), NAMED, true),
        ];
        let mut cache = Cache::default();
        let mut now = Time::ZERO;
        let mut had_name = false;
        for (answer, holds, has_name) in cases {
            assert_eq!(cache.due(now, &only()), [ADDRESS], "{answer:?}");
            assert!(cache.due(now, &only()).is_empty() && cache.is_asked(ADDRESS), "it is asked once");
            assert_eq!(cache.name(ADDRESS).is_some(), had_name, "{answer:?}");
            cache.note(now, ADDRESS, answer.clone());
            assert!(!cache.is_asked(ADDRESS));
            assert_eq!(cache.name(ADDRESS).is_some(), has_name, "{answer:?}");
            assert!(cache.due(now + holds - Duration::from_nanos(1), &only()).is_empty(), "{answer:?}");
            now = now + holds;
            had_name = has_name;
        }
    }

    #[test]
    fn no_more_is_remembered_than_fits() {
        let number = |number: usize| IpAddr::from(u128::try_from(number).unwrap().to_be_bytes());
        let mut cache = Cache::default();
        let all: BTreeSet<IpAddr> = (0..ENTRIES_MAX + 10).map(number).collect();
        assert_eq!(cache.due(Time::ZERO, &all).len(), ENTRIES_MAX);
        for &address in &all {
            cache.note(Time::ZERO, address, Answer::Nameless);
        }
        assert!(cache.due(Time::ZERO, &only()).is_empty(), "it is full");
        assert_eq!(cache.name(ADDRESS), None);
        // What does not hold any more makes room.
        assert_eq!(cache.due(Time::ZERO + NAMELESS, &only()), [ADDRESS]);
        assert_eq!(cache.entries.len(), 1);
    }
}
