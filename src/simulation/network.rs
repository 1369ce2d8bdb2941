//! The simulated network: packets in at the source host, answers out at the time at which they arrive there.
//!
//! Knows how packets travel and end. Each is followed to its end when it is sent, with the time at which it
//! passes every node, so that nothing happens between calls. Must not know probes, nor any clock.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{
    answer::{End, Envelope, answer},
    fabric::Fabric,
    fault::{Bucket, Direction, happens},
    packet::{Packet, address_key},
    topology::Topology,
    truth::Truth,
};
use crate::{
    flow::{Family, mix},
    time::Time,
};

/// A network in process, in one address family. The same calls on a network of the same topology, family and
/// seed have the same results, to the byte.
///
/// What is simplified: the way back is the way out, taken back with the delays of the way out and nothing but
/// the network's faults on it; packets have no size that a link would refuse; a router without a next hop drops
/// packets silently; each fault of the network is drawn once for the whole way in each direction.
#[derive(Clone, Debug)]
pub struct Network {
    family: Family,
    /// The address of the first node.
    first: IpAddr,
    names: Vec<String>,
    source: usize,
    destinations: Vec<usize>,
    fabric: Fabric,
    states: Vec<State>,
    rng: fastrand::Rng,
    outward: Direction,
    homeward: Direction,
    deliveries: BinaryHeap<Reverse<Delivery>>,
    /// Number of deliveries so far, by which those of the same time keep their order.
    sequence: u64,
    counters: Counters,
    /// The packet under way, kept for its memory.
    packet: Packet,
}

/// A packet that arrives at the source host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Delivery {
    /// When it arrives.
    pub at: Time,
    sequence: u64,
    /// The whole IP packet, addressed to the source.
    pub packet: Vec<u8>,
}

/// What became of packets, since the network was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets handed to [`Network::send`].
    pub sent: u64,
    /// Packets among them that are no packet of the family, have another source or TTL 0; they are not sent.
    pub malformed: u64,
    /// Packets to an address that nobody has.
    pub unroutable: u64,
    /// Packets that the destination discards because of their transport checksum.
    pub bad_checksums: u64,
    /// Probes and replies lost to chance, on the network or at a node.
    pub lost: u64,
    /// Probes swallowed, or stuck at a node without a next hop.
    pub stranded: u64,
    /// Answers withheld by a rate limit.
    pub rate_limited: u64,
    /// Answers withheld by silent and half-silent nodes.
    pub withheld: u64,
    /// Replies delivered or under way, duplicates included.
    pub replies: u64,
}

/// What a node remembers between packets.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    bucket: Bucket,
    /// The IPv4 identification of its last answer.
    id: u16,
}

/// Where and how a packet ended.
struct Stop {
    node: usize,
    at: Time,
    era: usize,
    /// Number of nodes passed, this one included.
    hops: u8,
    end: End,
}

impl Network {
    /// The network of a topology, with all hash seeds and all chance derived from `seed`. Its addresses are 10.0.0.1 and
    /// fd00::1 and those behind them.
    #[must_use]
    pub fn new(topology: &Topology, family: Family, seed: u64) -> Self {
        let first = match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
            Family::V6 => IpAddr::V6(Ipv6Addr::new(0xFD00, 0, 0, 0, 0, 0, 0, 1)),
        };
        Self::numbered(topology, first, seed)
    }

    /// The same with another address for the first node of the file; the others follow it in their order.
    #[must_use]
    pub fn numbered(topology: &Topology, first: IpAddr, seed: u64) -> Self {
        let family = Family::of(first);
        Self {
            family,
            first,
            names: topology.nodes().iter().map(|node| node.name.clone()).collect(),
            source: topology.source(),
            destinations: topology.destinations().to_vec(),
            fabric: Fabric::new(topology, seed),
            states: vec![State::default(); topology.nodes().len()],
            // Mixed, so that a prober with the same seed does not draw the same numbers.
            rng: fastrand::Rng::with_seed(mix(!seed)),
            outward: Direction::default(),
            homeward: Direction::default(),
            deliveries: BinaryHeap::new(),
            sequence: 0,
            counters: Counters::default(),
            packet: Packet::empty(family),
        }
    }

    /// The address of the host that sends.
    #[must_use]
    pub fn source(&self) -> IpAddr {
        self.address_at(self.source)
    }

    /// The address of the first destination.
    #[must_use]
    pub fn destination(&self) -> IpAddr {
        self.address_at(self.destinations.first().copied().unwrap_or_default())
    }

    /// The addresses of all destinations, in the order of the topology.
    pub fn destinations(&self) -> impl Iterator<Item = IpAddr> {
        self.destinations.iter().map(|&node| self.address_at(node))
    }

    /// The address of the node of this name.
    #[must_use]
    pub fn address(&self, name: &str) -> Option<IpAddr> {
        self.names.iter().position(|known| known == name).map(|node| self.address_at(node))
    }

    /// The name of the node of this address.
    #[must_use]
    pub fn name(&self, address: IpAddr) -> Option<&str> {
        self.names.get(self.node_of(address)?).map(String::as_str)
    }

    /// What became of the packets so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Sends a whole IP packet from the source host at this time. Calls should come in order of time: token
    /// buckets and loss bursts serve packets in the order in which they are sent.
    ///
    /// As on a raw socket of Linux, total length and header checksum of IPv4 are filled in. What is no packet
    /// of the source host, or is addressed to nobody, is counted and dropped.
    pub fn send(&mut self, now: Time, packet: &[u8]) {
        self.counters.sent += 1;
        let mut under_way = std::mem::replace(&mut self.packet, Packet::empty(self.family));
        if let Some(target) = self.admit(&mut under_way, packet) {
            let faults = self.fabric.era(self.fabric.place(now)).map(|era| era.faults).unwrap_or_default();
            let copies = self.outward.pass(&faults, &mut self.rng);
            self.counters.lost += u64::from(copies == [None, None]);
            for delay in copies.into_iter().flatten() {
                // The copy before may have been rewritten on its way.
                if under_way.load(packet).is_some() {
                    self.carry(&mut under_way, target, now + delay);
                }
            }
        }
        self.packet = under_way;
    }

    /// When the next packet arrives at the source, if nothing more is sent before.
    #[must_use]
    pub fn next_delivery(&self) -> Option<Time> {
        self.deliveries.peek().map(|Reverse(delivery)| delivery.at)
    }

    /// The next packet that has arrived at the source by now. Call it until it gives `None`.
    pub fn poll_delivery(&mut self, now: Time) -> Option<Delivery> {
        if self.next_delivery()? > now {
            return None;
        }
        self.deliveries.pop().map(|Reverse(delivery)| delivery)
    }

    /// The truth about the first destination for packets that are under way at this time.
    #[must_use]
    pub fn truth(&self, at: Time) -> Truth {
        self.truth_to(at, self.destination())
    }

    /// The truth about any destination; nothing where nobody has the address.
    #[must_use]
    pub fn truth_to(&self, at: Time, destination: IpAddr) -> Truth {
        match (self.fabric.era(self.fabric.place(at)), self.node_of(destination)) {
            (Some(era), Some(target)) => {
                Truth::walk(era, self.source, target, address_key(destination), |node| self.address_at(node))
            }
            _ => Truth::default(),
        }
    }

    /// The node that a packet of the source host is addressed to.
    fn admit(&mut self, under_way: &mut Packet, packet: &[u8]) -> Option<usize> {
        if under_way.load(packet).is_none() || under_way.source() != self.source() || under_way.ttl() == 0 {
            self.counters.malformed += 1;
            return None;
        }
        let target = self.node_of(under_way.destination()).filter(|&target| target != self.source);
        self.counters.unroutable += u64::from(target.is_none());
        target
    }

    /// Follows one copy of a packet to its end and brings its answer back.
    fn carry(&mut self, packet: &mut Packet, target: usize, start: Time) {
        let Some(stop) = self.forward(packet, target, start) else {
            return;
        };
        let Some(era) = self.fabric.era(stop.era) else {
            return;
        };
        let (Some(node), Some(state)) = (era.node(stop.node), self.states.get_mut(stop.node)) else {
            return;
        };
        let is_host = stop.end == End::Arrived;
        if is_host && !packet.has_valid_checksum() {
            self.counters.bad_checksums += 1;
            return;
        }
        if node.silent || (node.answers < 1.0 && !happens(node.answers, &mut self.rng)) {
            self.counters.withheld += 1;
            return;
        }
        state.id = state.id.wrapping_add(1);
        let initial: u8 = if is_host { 64 } else { 255 };
        let envelope = Envelope {
            from: address(self.first, stop.node),
            to: address(self.first, self.source),
            id: state.id,
            ttl: initial.saturating_sub(stop.hops - 1).max(1),
        };
        let Some((bytes, is_icmp)) = answer(stop.end, envelope, node, packet) else {
            return;
        };
        if is_icmp && node.rate.is_some_and(|rate| !state.bucket.take(rate, stop.at)) {
            self.counters.rate_limited += 1;
            return;
        }
        if happens(node.loss, &mut self.rng) {
            self.counters.lost += 1;
            return;
        }
        let copies = self.homeward.pass(&era.faults, &mut self.rng);
        self.counters.lost += u64::from(copies == [None, None]);
        let arrival = stop.at + node.slow + stop.at.since(start);
        for delay in copies.into_iter().flatten() {
            self.counters.replies += 1;
            self.sequence += 1;
            let (at, sequence) = (arrival + delay, self.sequence);
            self.deliveries.push(Reverse(Delivery { at, sequence, packet: bytes.clone() }));
        }
    }

    /// Forwards a packet until it ends somewhere; `None` where it just vanishes. Leaves it as it arrived there.
    fn forward(&mut self, packet: &mut Packet, target: usize, start: Time) -> Option<Stop> {
        let destination = address_key(packet.destination());
        let mut flow = packet.flow_key();
        let mut ttl = packet.ttl();
        let mut node = self.source;
        let mut at = start;
        let mut place = self.fabric.place(at);
        let mut end_of_era = self.fabric.end(at);
        let mut hops = 0;
        self.fabric.prepare(place, target);
        loop {
            let Some(hop) = self.fabric.era(place)?.choose(target, node, flow, destination, &mut self.rng)
            else {
                self.counters.stranded += 1;
                return None;
            };
            node = hop.to;
            at = at + hop.delay;
            hops = u8::saturating_add(hops, 1);
            if end_of_era.is_some_and(|end| end <= at) {
                place = self.fabric.place(at);
                end_of_era = self.fabric.end(at);
                self.fabric.prepare(place, target);
            }
            let here = self.fabric.era(place)?.node(node)?;
            let end = if node == target {
                Some(End::Arrived)
            } else if ttl == 0 || (ttl == 1 && !here.zero_ttl) {
                Some(End::Expired)
            } else {
                here.unreachable.map(End::Unreachable)
            };
            if let Some(end) = end {
                packet.set_ttl(ttl);
                return Some(Stop { node, at, era: place, hops, end });
            }
            if here.swallow {
                self.counters.stranded += 1;
                return None;
            }
            if happens(here.loss, &mut self.rng) {
                self.counters.lost += 1;
                return None;
            }
            ttl -= 1;
            if here.nat {
                packet.rewrite_source(self.address_at(node));
                flow = packet.flow_key();
            }
        }
    }

    fn address_at(&self, node: usize) -> IpAddr {
        address(self.first, node)
    }

    /// The node of an address, which says its place: the inverse of [`address`].
    fn node_of(&self, address: IpAddr) -> Option<usize> {
        let number = match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => address.to_bits().checked_sub(first.to_bits())?,
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                u32::try_from(address.to_bits().checked_sub(first.to_bits())?).ok()?
            }
            _ => return None,
        };
        usize::try_from(number).ok().filter(|&node| node < self.names.len())
    }
}

/// The address of the node at this place. Behind the last address of all there are no more.
fn address(first: IpAddr, node: usize) -> IpAddr {
    // A topology has at most 10000 nodes.
    let number = u32::try_from(node).unwrap_or(0);
    match first {
        IpAddr::V4(first) => IpAddr::V4(Ipv4Addr::from_bits(first.to_bits().saturating_add(number))),
        IpAddr::V6(first) => {
            IpAddr::V6(Ipv6Addr::from_bits(first.to_bits().saturating_add(u128::from(number))))
        }
    }
}
