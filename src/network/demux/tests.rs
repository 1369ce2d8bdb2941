use super::*;
use crate::{
    probe::ReplyKind,
    wire::{Quote, checksum},
};

const TIMEOUT: Duration = Duration::from_secs(2);
const FLOW: FlowId = FlowId(40_000);

fn template() -> Template {
    Template {
        source: "192.0.2.1".parse().unwrap(),
        destination: "198.51.100.7".parse().unwrap(),
        protocol: Protocol::Udp,
        destination_port: 33_452,
        tos: 0,
        dont_fragment: true,
        payload: 0,
    }
}

fn at(millis: u64) -> Time {
    Time::ZERO + Duration::from_millis(millis)
}

fn register(demux: &mut Demux, number: u32, flow: FlowId, now: Time, timeout: Duration) -> u16 {
    let names = (RoundId(0), ProbeId(number));
    demux.register(names, &template(), (flow, Ttl::MIN), (now, timeout), &mut Vec::new()).unwrap()
}

/// An eight-byte quote of a registered packet whose checksum a NAT changed by `delta`.
fn translated(demux: &Demux, ident: u16, delta: u16) -> Message {
    let Template { destination, protocol, .. } = template();
    let sent = demux.entries[&(destination, protocol, ident)].fingerprint;
    let (sum, carry) = sent.checksum.overflowing_add(delta);
    let quoted = sum + u16::from(carry);
    assert_eq!(checksum::difference(quoted, sent.checksum), delta);
    let quote = Quote {
        source: Some(sent.source),
        destination,
        protocol,
        ident,
        flow: Some(sent.flow),
        destination_port: Some(sent.destination_port),
        echo_id: None,
        checksum: Some(quoted),
        tag: None,
        ttl: Some(1),
    };
    Message { from: "203.0.113.1".parse().unwrap(), kind: ReplyKind::TimeExceeded, quote, mpls: Vec::new() }
}

/// What became of a message, in a word.
fn outcome(matches: &[Match]) -> Vec<&'static str> {
    let word = |found: &Match| match found {
        Match::Reply(_, reply) if reply.nat => "nat",
        Match::Reply(..) => "reply",
        Match::Dropped(reason) => reason.name(),
        Match::Held => "held",
    };
    matches.iter().map(word).collect()
}

#[test]
fn packets_are_forgotten_in_the_order_in_which_they_expire() {
    let mut demux = Demux::new([1; 16]);
    let slow = register(&mut demux, 0, FLOW, at(0), Duration::from_secs(60));
    let fast = register(&mut demux, 1, FLOW, at(0), TIMEOUT);
    demux.forget_old(at(7000));
    let known = |demux: &Demux, ident| {
        let Template { destination, protocol, .. } = template();
        demux.entries.contains_key(&(destination, protocol, ident))
    };
    assert_eq!((known(&demux, slow), known(&demux, fast)), (true, false), "the fast one had its time");
    demux.forget_old(at(65_000));
    assert_eq!((demux.entries.len(), demux.expiry.len(), demux.expiry_to.len()), (0, 0, 0));
}

#[test]
fn when_identities_run_out_the_one_that_expires_first_is_used_again() {
    let mut demux = Demux::new([1; 16]);
    let mut idents: Vec<u16> = Vec::new();
    for number in 0..65_534 {
        idents.push(register(
            &mut demux,
            number,
            FLOW,
            Time::from_nanos(1000 * u64::from(number)),
            Duration::from_secs(60),
        ));
    }
    let (first, last) = (idents[0], idents[65_533]);
    let lost = {
        let used: BTreeSet<_> = idents.iter().collect();
        65_534 - used.len()
    };
    // One is taken from another only when a thousand others were tried in vain: of the last ones only.
    assert!(lost < 3000, "{lost} of 65534 were taken from another");
    let before: Vec<_> = demux.entries.iter().map(|(key, entry)| (*key, entry.probe)).collect();
    let taken = register(&mut demux, 99_999, FLOW, at(1000), Duration::from_secs(60));
    let probe = before.iter().find(|((.., ident), _)| *ident == taken).map(|(_, probe)| *probe);
    let oldest = before.iter().map(|(_, probe)| *probe).min();
    assert!(probe.is_none() || probe == oldest, "{probe:?} went, {oldest:?} is the oldest");
    assert_ne!(taken, last, "the newest keeps its identity");
    assert!(demux.entries.len() <= 65_534 && first != 0);
}

#[test]
fn a_nat_is_proven_for_one_flow_and_for_a_while() {
    let other = FlowId(40_001);
    let mut demux = Demux::new([1; 16]);
    let mut ask = |number: u32, flow: FlowId, now: Time| {
        let ident = register(&mut demux, number, flow, now, TIMEOUT);
        demux.forget_old(now);
        let message = translated(&demux, ident, 0x0101);
        outcome(&demux.resolve(now, message))
    };
    assert_eq!(ask(0, FLOW, at(0)), ["held"]);
    assert_eq!(ask(1, other, at(1)), ["held"], "a stranger's guess for another flow is no witness");
    assert_eq!(ask(2, FLOW, at(2)), ["nat", "nat"]);
    assert_eq!(ask(3, FLOW, at(3)), ["nat"], "known by now");
    assert_eq!(ask(4, FLOW, at(200_000)), ["nat"], "and still");
    assert_eq!(ask(5, FLOW, at(499_000)), ["nat"], "every sight of it counts");
    assert_eq!(ask(6, FLOW, at(900_000)), ["held"], "but not for ever");
}

#[test]
fn few_replies_wait_for_a_witness() {
    let mut demux = Demux::new([1; 16]);
    let mut dropped = 0;
    for number in 0..300 {
        let flow = FlowId(40_000 + u16::try_from(number).unwrap());
        let ident = register(&mut demux, number, flow, at(0), TIMEOUT);
        let message = translated(&demux, ident, 0x0101);
        dropped += outcome(&demux.resolve(at(0), message)).iter().filter(|word| **word == "spoofed").count();
    }
    assert_eq!((demux.held.len(), dropped), (HELD_MAX, 300 - HELD_MAX));
}
