//! Whose reply is this? One table for all traces in progress.
//!
//! Knows every packet under way by what a router will quote of it, and a secret of this process that no other
//! process's packets carry. What fits nothing is given a reason; nothing is credited on suspicion.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
    time::Duration,
};

use siphasher::sip::SipHasher24;

use crate::{
    counters::Discard,
    flow::{FlowId, Protocol},
    probe::{ProbeId, Reply, Template, Ttl},
    time::Time,
    wire::{self, EncodeError, Fingerprint, Identity, Message, Verdict},
};

/// How long a packet is remembered after its reply would no longer be accepted: a reply in that time is late, not unknown.
const MEMORY: Duration = Duration::from_secs(5);
/// Most replies that wait for a second witness. Whoever guesses can only fill this, and every guess held is one that two
/// alike would confirm.
const HELD_MAX: usize = 256;
/// Most changes by NATs that are remembered.
const PROVEN_MAX: usize = 4096;
/// How long a change by a NAT is believed after it was last seen: some rounds.
const PROVEN_FOR: Duration = Duration::from_secs(300);
/// Identities tried before one is taken from another packet.
const TRIES: usize = 1024;

/// Names a trace in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoundId(pub(super) u64);

type Key = (IpAddr, Protocol, u16);

#[derive(Debug)]
struct Entry {
    round: RoundId,
    probe: ProbeId,
    fingerprint: Fingerprint,
    sent_at: Time,
    accepted_until: Time,
    answered: bool,
}

impl Entry {
    fn expires(&self) -> Time {
        self.accepted_until + MEMORY
    }
}

/// What a NAT makes of the checksums of one flow.
type Difference = (IpAddr, FlowId, u16);

/// A reply that fits but for its checksum. A NAT changes the checksum of all packets of a flow by the same difference, a
/// stranger's packets differ by chance: a second reply with the same difference proves both.
#[derive(Debug)]
struct Held {
    key: Key,
    difference: Difference,
    arrived: Time,
    message: Message,
}

/// The table.
#[derive(Debug)]
pub(super) struct Demux {
    secret: [u8; 16],
    echo_id: u16,
    next_ident: u16,
    entries: BTreeMap<Key, Entry>,
    /// When entries expire. Time-outs differ, so this is not the order in which they were made.
    expiry: BTreeSet<(Time, Key)>,
    /// The same, per destination.
    expiry_to: BTreeSet<(IpAddr, Protocol, Time, u16)>,
    held: VecDeque<Held>,
    /// Differences that a NAT was proven to make, and how long that is believed.
    proven: BTreeMap<Difference, Time>,
}

/// The identifier of the ICMP echo requests of the process with this secret.
#[must_use]
pub const fn echo_id(secret: [u8; 16]) -> u16 {
    let [a, b, ..] = secret;
    u16::from_be_bytes([a, b])
}

/// What a message was found to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Match {
    /// The reply to a probe of this round.
    Reply(RoundId, Reply),
    /// Nobody's.
    Dropped(Discard),
    /// Not decided before a second one like it comes.
    Held,
}

impl Demux {
    /// An empty table of a process with this secret.
    pub(super) fn new(secret: [u8; 16]) -> Self {
        let [_, _, c, d, ..] = secret;
        Self {
            secret,
            echo_id: echo_id(secret),
            next_ident: u16::from_be_bytes([c, d]),
            entries: BTreeMap::new(),
            expiry: BTreeSet::new(),
            expiry_to: BTreeSet::new(),
            held: VecDeque::new(),
            proven: BTreeMap::new(),
        }
    }

    /// Writes the packet of a probe into `buffer` and remembers it. Returns its identity, by which it can be forgotten.
    pub(super) fn register(
        &mut self,
        (round, probe): (RoundId, ProbeId),
        template: &Template,
        (flow, ttl): (FlowId, Ttl),
        (now, timeout): (Time, Duration),
        buffer: &mut Vec<u8>,
    ) -> Result<u16, EncodeError> {
        self.forget_old(now);
        let ident = self.free_ident(template);
        let tag = self.tag(template, flow, ttl, ident);
        let identity = Identity { ident, tag, echo_id: self.echo_id };
        let fingerprint = wire::encode(template, flow, ttl, identity, buffer)?;
        let key = (template.destination, template.protocol, ident);
        let accepted_until = now + timeout;
        let entry = Entry { round, probe, fingerprint, sent_at: now, accepted_until, answered: false };
        self.insert(key, entry);
        Ok(ident)
    }

    /// Forgets a packet that was not sent after all.
    pub(super) fn forget(&mut self, template: &Template, ident: u16) {
        self.remove((template.destination, template.protocol, ident));
    }

    /// Finds the probe that a message answers. A match can bring an earlier message with it that had been held.
    pub(super) fn resolve(&mut self, arrived: Time, message: Message) -> Vec<Match> {
        let key = (message.quote.destination, message.quote.protocol, message.quote.ident);
        let Some(entry) = self.entries.get(&key) else {
            return vec![Match::Dropped(Discard::Unmatched)];
        };
        match message.quote.compare(&entry.fingerprint) {
            Verdict::Forged => vec![Match::Dropped(Discard::Spoofed)],
            // A connection of another program acknowledges any number: with hundreds of probes of 65,534 identities under
            // way, one of a hundred of its answers hits one.
            Verdict::Foreign => vec![Match::Dropped(Discard::Unmatched)],
            Verdict::Ours => vec![self.credit(key, arrived, message, false)],
            Verdict::Nat => vec![self.credit(key, arrived, message, true)],
            Verdict::Unproven { delta } => self.hold(key, delta, arrived, message),
        }
    }

    /// Drops what can no longer be answered. Returns how many held replies never found their witness.
    pub(super) fn forget_old(&mut self, now: Time) -> usize {
        while let Some(&(_, key)) = self.expiry.first().filter(|(at, _)| *at <= now) {
            self.remove(key);
        }
        self.proven.retain(|_, until| *until > now);
        let before = self.held.len();
        self.held.retain(|held| held.arrived + MEMORY > now);
        before - self.held.len()
    }

    fn credit(&mut self, key: Key, arrived: Time, message: Message, nat: bool) -> Match {
        let Some(entry) = self.entries.get_mut(&key) else {
            return Match::Dropped(Discard::Unmatched);
        };
        if arrived > entry.accepted_until {
            return Match::Dropped(Discard::Late);
        }
        if std::mem::replace(&mut entry.answered, true) {
            return Match::Dropped(Discard::Duplicate);
        }
        let Message { from, kind, mpls, .. } = message;
        let rtt = arrived.since(entry.sent_at);
        Match::Reply(entry.round, Reply { probe: entry.probe, from, kind, rtt, nat, mpls })
    }

    fn hold(&mut self, key: Key, delta: u16, arrived: Time, message: Message) -> Vec<Match> {
        let Some(entry) = self.entries.get(&key) else {
            return vec![Match::Dropped(Discard::Unmatched)];
        };
        let difference = (key.0, entry.fingerprint.flow, delta);
        if let Some(until) = self.proven.get_mut(&difference) {
            *until = arrived + PROVEN_FOR;
            return vec![self.credit(key, arrived, message, true)];
        }
        let witness = self.held.iter().position(|held| held.difference == difference && held.key != key);
        if let Some(first) = witness.and_then(|index| self.held.remove(index)) {
            if self.proven.len() < PROVEN_MAX {
                self.proven.insert(difference, arrived + PROVEN_FOR);
            }
            return vec![
                self.credit(first.key, first.arrived, first.message, true),
                self.credit(key, arrived, message, true),
            ];
        }
        self.held.push_back(Held { key, difference, arrived, message });
        if self.held.len() > HELD_MAX {
            self.held.pop_front();
            return vec![Match::Held, Match::Dropped(Discard::Spoofed)];
        }
        vec![Match::Held]
    }

    /// An identity that no packet to this destination has at the moment, 1 to 0xfffe.
    fn free_ident(&mut self, template: &Template) -> u16 {
        // An odd step visits all 65536 values; idents of neighbouring packets have nothing in common.
        const STEP: u16 = 0x6A45;
        for _ in 0..TRIES {
            self.next_ident = self.next_ident.wrapping_add(STEP);
            let ident = self.next_ident;
            let taken = self.entries.contains_key(&(template.destination, template.protocol, ident));
            if ident != 0 && ident != u16::MAX && !taken {
                return ident;
            }
        }
        // Nearly 65534 packets to one destination are remembered: the one that would be forgotten first has had its chance.
        let first = (template.destination, template.protocol, Time::ZERO, 0);
        let last = (template.destination, template.protocol, Time::from_nanos(u64::MAX), u16::MAX);
        let ident = self.expiry_to.range(first..=last).next().map_or(1, |&(.., ident)| ident);
        self.remove((template.destination, template.protocol, ident));
        ident
    }

    fn insert(&mut self, key: Key, entry: Entry) {
        self.remove(key);
        let (destination, protocol, ident) = key;
        self.expiry.insert((entry.expires(), key));
        self.expiry_to.insert((destination, protocol, entry.expires(), ident));
        self.entries.insert(key, entry);
    }

    fn remove(&mut self, key: Key) {
        if let Some(entry) = self.entries.remove(&key) {
            let (destination, protocol, ident) = key;
            self.expiry.remove(&(entry.expires(), key));
            self.expiry_to.remove(&(destination, protocol, entry.expires(), ident));
        }
    }

    /// The mark of a packet: nobody without the secret can make it. Never 0, in neither half.
    fn tag(&self, template: &Template, flow: FlowId, ttl: Ttl, ident: u16) -> u32 {
        use std::hash::{Hash, Hasher};
        let mut hasher = SipHasher24::new_with_key(&self.secret);
        (template.destination, template.protocol.name(), flow, ttl, ident).hash(&mut hasher);
        let [a, b, c, d, ..] = hasher.finish().to_be_bytes();
        u32::from_be_bytes([a, b, c, d | 1])
    }
}

#[cfg(test)]
mod tests;
