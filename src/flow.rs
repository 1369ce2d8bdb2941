//! Flows: what per-flow load balancers hash, and how the sequence of flows of a target is drawn.
//!
//! Knows the header fields that make a flow, nothing of their bytes on the wire.

use std::{fmt, hash::Hasher as _, net::IpAddr, str::FromStr};

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;

/// The address family of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

impl Family {
    /// The family of an address. An IPv4-mapped IPv6 address is IPv6.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// The name used in metric labels: `ipv4` or `ipv6`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }
}

/// The protocol of the probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// UDP datagrams; the flow is the source port.
    #[default]
    Udp,
    /// ICMP or ICMPv6 echo requests; the flow is the checksum, held constant through the payload.
    Icmp,
    /// TCP SYN segments; the flow is the source port.
    Tcp,
}

impl Protocol {
    /// All protocols, in the order in which they are shown.
    pub const ALL: [Self; 3] = [Self::Udp, Self::Icmp, Self::Tcp];

    /// The name in configuration, JSON and metric labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Icmp => "icmp",
            Self::Tcp => "tcp",
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|protocol| protocol.name() == text)
            .ok_or_else(|| format!("`{text}` is no protocol; allowed are udp, icmp, tcp"))
    }
}

/// A flow of one target: the 16 bits that vary between its flows and stay the same over the TTLs of each.
/// The source port for UDP and TCP, the ICMP checksum for ICMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FlowId(pub u16);

impl FlowId {
    /// The IPv6 flow label that goes with this flow (RFC 6437): 20 bits, never 0, the same for every TTL.
    ///
    /// Routers hash the label, the ports, or both (Linux: hash policy 0 the label, policy 1 the ports), so both
    /// vary together. Computed from the flow alone, so that a flow pinned over a restart keeps its label.
    #[must_use]
    pub const fn label(self) -> u32 {
        // Odd multiplier (2^32 / golden ratio): a bijection on 32 bits whose upper bits depend on all input bits.
        let mixed = (self.0 as u32 + 1).wrapping_mul(0x9E37_79B1);
        let label = mixed >> 12;
        if label == 0 { 1 } else { label }
    }
}

impl fmt::Display for FlowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The sequence in which a target's flows are drawn: a seeded permutation of the range
/// `first ..= 65535`, so that no flow comes twice and neighbours in the sequence are not neighbours in value.
///
/// Routers with linear hashes send consecutive ports round-robin; drawn in order, they would break the
/// independence that stopping rules assume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowSequence {
    first: u16,
    seed: u64,
}

impl FlowSequence {
    /// The sequence over `first ..= 65535` that belongs to `seed`.
    #[must_use]
    pub const fn new(first: u16, seed: u64) -> Self {
        Self { first, seed }
    }

    /// The seed that belongs to a name: the same on every machine and in every version, so that a target keeps its flows over
    /// restarts.
    #[must_use]
    pub fn seed_of(name: &str) -> u64 {
        let mut hasher = SipHasher24::new_with_keys(0, 0);
        hasher.write(name.as_bytes());
        hasher.finish()
    }

    /// How many flows there are before the sequence is used up: 65536 − first.
    #[must_use]
    pub const fn len(&self) -> usize {
        65_536 - self.first as usize
    }

    /// Never true: a range up to and including 65535 has at least one flow.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// The flow at place `index`, counted from 0; `None` behind the end.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<FlowId> {
        if index >= self.len() {
            return None;
        }
        // Cycle walking: apply the permutation of 16 bits until it lands inside the range. Starting inside
        // the range it always returns there, at the latest at the start of its cycle.
        let mut offset = u16::try_from(index).ok()?;
        loop {
            offset = self.permute(offset);
            if usize::from(offset) < self.len() {
                return Some(FlowId(self.first + offset));
            }
        }
    }

    /// A four-round Feistel network over two bytes, keyed by the seed: a bijection on 16 bits.
    fn permute(&self, value: u16) -> u16 {
        let [mut left, mut right] = value.to_be_bytes();
        for round in 0..4_u64 {
            let mixed = mix(self.seed ^ (round << 56) ^ u64::from(right));
            (left, right) = (right, left ^ mixed.to_be_bytes()[0]);
        }
        u16::from_be_bytes([left, right])
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
pub(crate) const fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_flow_of_the_range_comes_once() {
        for (first, seed) in [(33_453, 0), (33_453, 7), (1, 99), (65_000, 3), (65_535, 3)] {
            let sequence = FlowSequence::new(first, seed);
            let flows: BTreeSet<_> = (0..sequence.len()).filter_map(|index| sequence.get(index)).collect();
            assert_eq!(flows.len(), sequence.len(), "first {first} seed {seed}");
            assert_eq!(flows.first(), Some(&FlowId(first)));
            assert_eq!(flows.last(), Some(&FlowId(65_535)));
            assert_eq!(sequence.get(sequence.len()), None);
        }
    }

    #[test]
    fn neighbours_in_the_sequence_are_not_neighbours_in_value() {
        let sequence = FlowSequence::new(33_453, 42);
        let steps = (0..1000)
            .filter_map(|index| Some((sequence.get(index)?, sequence.get(index + 1)?)))
            .filter(|(one, other)| one.0.abs_diff(other.0) <= 1)
            .count();
        assert!(steps < 5, "{steps} of 1000 flows are followed by their neighbour");
    }

    #[test]
    fn seeds_give_different_sequences() {
        let [one, other] = [1, 2].map(|seed| FlowSequence::new(33_453, seed));
        let same = (0..1000).filter(|&index| one.get(index) == other.get(index)).count();
        assert!(same < 10, "{same} of 1000 places are the same");
    }

    #[test]
    fn the_seed_of_a_name_never_changes() {
        assert_eq!(FlowSequence::seed_of("telia"), 6_520_825_048_993_255_888);
        assert_ne!(FlowSequence::seed_of("telia"), FlowSequence::seed_of("shop"));
    }

    #[test]
    fn labels_fit_and_differ() {
        let labels: BTreeSet<_> = (0..=u16::MAX).map(|id| FlowId(id).label()).collect();
        assert_eq!(labels.len(), 65_536);
        assert!(labels.iter().all(|&label| label > 0 && label < 1 << 20));
    }
}
