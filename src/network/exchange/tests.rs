//! Many traces at once, and two processes side by side with the same ports.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use super::*;
use crate::{
    config::Module,
    flow::Family,
    request,
    simulation::{Bench, Network, Topology, tests::file},
    strategy::Strategy,
};

fn settings(flows: u16, seed: u64) -> Settings {
    request::settings(&Module { strategy: Strategy::Fixed, flows, ..Module::default() }, seed, None)
}

/// Traces every destination of a network from every process at once, all with the same flows. Returns what of each trace is not in the
/// ground truth of its destination.
fn false_credits(bench: &mut Bench, processes: usize) -> Vec<String> {
    let destinations: Vec<IpAddr> = bench.network().destinations().collect();
    let mut asked = BTreeMap::new();
    for process in 0..processes {
        for &destination in &destinations {
            let template = bench.template(destination, Protocol::Udp);
            let round = bench.start(process, template, settings(16, 1)).unwrap();
            asked.insert((process, round), destination);
        }
    }
    let results = bench.run();
    assert_eq!(results.len(), asked.len(), "every trace ends");
    let mut wrong = Vec::new();
    for (process, round, trace) in results {
        let destination = asked[&(process, round)];
        let truth = bench.network().truth_to(Time::ZERO, destination);
        let place = format!("process {process}, {destination}");
        if trace.destination != destination || trace.route.flows_reached() != 16 {
            wrong.push(format!(
                "{place}: {} flows reached {}",
                trace.route.flows_reached(),
                trace.destination
            ));
        }
        for hop in &trace.route.hops {
            for address in hop.nodes.iter().filter_map(|node| node.address) {
                if !truth.nodes.contains(&(hop.ttl.get(), address)) {
                    wrong.push(format!("{place}: {address} at TTL {}", hop.ttl));
                }
            }
        }
        for link in &trace.route.links {
            let Some((Some(from), Some(to))) =
                trace.route.ends(link).map(|(from, to)| (from.address, to.address))
            else {
                wrong.push(format!("{place}: a silent node on a network without"));
                continue;
            };
            if !truth.links.contains(&(link.ttl.get(), from, to)) {
                wrong.push(format!("{place}: link {from} - {to} at TTL {}", link.ttl));
            }
        }
    }
    wrong
}

#[test]
fn a_hundred_targets_at_once_get_their_own_replies() {
    for family in [Family::V4, Family::V6] {
        let mut bench = Bench::new(Network::new(&file("many"), family, 3), 1, 100_000, 3);
        assert_eq!(false_credits(&mut bench, 1), Vec::<String>::new(), "{family:?}");
        assert_eq!(bench.process(0).unwrap().counters().discarded, BTreeMap::new(), "{family:?}");
    }
}

#[test]
fn two_processes_with_the_same_ports_get_their_own_replies() {
    for family in [Family::V4, Family::V6] {
        let mut bench = Bench::new(Network::new(&file("many"), family, 4), 2, 100_000, 4);
        assert_eq!(false_credits(&mut bench, 2), Vec::<String>::new(), "{family:?}");
        let counters = [0, 1].map(|process| bench.process(process).unwrap().counters().clone());
        for (one, other) in [(0, 1), (1, 0)] {
            let foreign: u64 = counters[one].discarded.values().sum();
            let theirs: u64 = counters[other].replies_received.values().sum();
            assert_eq!(
                foreign, theirs,
                "{family:?}: each sees the replies of the other and takes none of them"
            );
        }
    }
}

#[test]
fn a_target_configured_twice_is_two_traces() {
    let topology: Topology = "s -> r1\nr1 -> a b -> x -> d".parse().unwrap();
    let mut bench = Bench::new(Network::new(&topology, Family::V4, 1), 1, 100_000, 1);
    let template = bench.template(bench.network().destination(), Protocol::Udp);
    for _ in 0..2 {
        bench.start(0, template.clone(), settings(16, 9)).unwrap();
    }
    let traces: Vec<_> = bench.run().into_iter().map(|(_, _, trace)| trace).collect();
    assert_eq!(traces.iter().map(|trace| trace.route.flows_reached()).collect::<Vec<_>>(), [16, 16]);
    assert!(
        traces.iter().all(|trace| trace.probes_sent == trace.replies_received),
        "no reply went to the other"
    );
}

#[test]
fn all_traces_together_keep_to_the_rate() {
    let mut bench = Bench::new(Network::new(&file("many"), Family::V4, 5), 1, 2000, 5);
    let destinations: Vec<IpAddr> = bench.network().destinations().collect();
    for &destination in &destinations {
        let template = bench.template(destination, Protocol::Udp);
        bench.start(0, template, settings(16, 1)).unwrap();
    }
    let results = bench.run();
    let sent: u64 = bench.process(0).unwrap().counters().probes_sent.values().sum();
    let least = Duration::from_secs_f64((f64::from(u32::try_from(sent).unwrap()) - 200.0) / 2000.0);
    assert!(bench.now().since(Time::ZERO) >= least, "{sent} packets in {}", bench.now());
    // Turns: nobody waits for all others to end.
    let mut durations: Vec<_> = results.iter().map(|(_, _, trace)| trace.duration).collect();
    durations.sort_unstable();
    assert!(durations[0] * 3 > durations[99], "{:?} to {:?}", durations[0], durations[99]);
}

#[test]
fn what_is_no_reply_is_dropped_with_its_reason() {
    let topology: Topology = "s -> r1 -> d\nnetwork duplicate=1.0".parse().unwrap();
    let mut bench = Bench::new(Network::new(&topology, Family::V4, 6), 1, 100_000, 6);
    let trace = bench.trace(Protocol::Udp, settings(2, 1)).unwrap();
    let discarded = &bench.process(0).unwrap().counters().discarded;
    assert!(trace.route.reached());
    assert!(
        discarded.keys().all(|reason| matches!(reason, Discard::Duplicate | Discard::Late)),
        "{discarded:?}"
    );
    assert!(discarded.values().sum::<u64>() > 0);

    let mut exchange = Exchange::new([7; 16], 1000, Time::ZERO);
    exchange.handle_datagram(Time::ZERO, Time::ZERO, Datagram::V4(&[0x45, 0, 0]));
    assert_eq!(exchange.counters().discarded, BTreeMap::from([(Discard::Malformed, 1)]));
}

#[test]
fn a_forged_reply_is_not_credited() {
    let topology: Topology = "s -> r1 -> d".parse().unwrap();
    let mut network = Network::new(&topology, Family::V4, 1);
    let mut exchange = Exchange::new([7; 16], 1000, Time::ZERO);
    let template = Bench::new(network.clone(), 0, 1, 1).template(network.destination(), Protocol::Udp);
    exchange.start(Time::ZERO, template, None, settings(1, 1));
    exchange.poll_transmit(Time::ZERO).unwrap();
    network.send(Time::ZERO, exchange.packet());
    let delivery = network.poll_delivery(Time::ZERO + Duration::from_secs(1)).unwrap();
    // The forger saw addresses, ports and identification, but knows no secret: it has to guess the tag, or quote none and
    // guess the checksum.
    let (checksum, tag) = (20 + 8 + 20 + 6, 20 + 8 + 20 + 8);
    let forge = |position: usize, length: usize| {
        let mut forged = delivery.packet.clone();
        forged[position] ^= 0x55;
        forged.truncate(length);
        forged
    };
    let whole = delivery.packet.len();
    for (position, length) in
        [(tag, whole), (tag + 1, whole), (tag + 2, whole), (tag + 3, whole), (checksum, tag)]
    {
        let arrived = delivery.at;
        exchange.handle_datagram(arrived, arrived, Datagram::V4(&forge(position, length)));
    }
    assert_eq!(
        exchange.counters().discarded,
        BTreeMap::from([(Discard::Spoofed, 4)]),
        "the fifth waits for a witness"
    );
    let before: u64 = exchange.counters().replies_received.values().sum();
    exchange.handle_datagram(delivery.at, delivery.at, Datagram::V4(&delivery.packet));
    let after: u64 = exchange.counters().replies_received.values().sum();
    assert_eq!((before, after), (0, 1), "the forgeries did not use up the probe");
}

#[test]
fn a_nat_is_believed_when_two_packets_show_the_same_change() {
    // Routers behind the NAT quote eight bytes: no tag, only the checksum that the NAT rewrote.
    let topology: Topology =
        "s -> n -> r1 -> r2 -> d\nnode n nat\nnode r1 quote=28\nnode r2 quote=28\nnode d quote=28"
            .parse()
            .unwrap();
    let mut bench = Bench::new(Network::new(&topology, Family::V4, 1), 1, 100_000, 1);
    let trace = bench.trace(Protocol::Udp, settings(4, 1)).unwrap();
    assert!(trace.route.reached());
    let counts = trace.route.hops.iter().map(|hop| (hop.probes_sent, hop.replies_received));
    assert_eq!(counts.collect::<Vec<_>>(), [(4, 4); 4], "nothing is lost by waiting for the witness");
    let nat: Vec<_> = trace.route.hops.iter().map(|hop| hop.nodes.iter().any(|node| node.nat)).collect();
    assert_eq!(nat, [false, true, true, true]);
}

#[test]
fn a_refused_packet_ends_its_trace_and_a_busy_kernel_does_not() {
    let topology: Topology = "s -> r1 -> d".parse().unwrap();
    let network = Network::new(&topology, Family::V4, 1);
    let template = Bench::new(network.clone(), 0, 1, 1).template(network.destination(), Protocol::Udp);
    let mut exchange = Exchange::new([7; 16], 1000, Time::ZERO);
    exchange.start(Time::ZERO, template, None, settings(1, 1));
    let first = exchange.poll_transmit(Time::ZERO).unwrap();
    exchange.handle_send_failure(first, SendFailure::Busy);
    assert_eq!(exchange.counters().probes_sent.values().sum::<u64>(), 0);
    assert_eq!(exchange.counters().send_errors, 0);
    let again = exchange.poll_transmit(Time::ZERO).unwrap();
    exchange.handle_send_failure(again, SendFailure::Refused("not permitted".to_owned()));
    let (_, trace) = exchange.poll_finished().unwrap();
    assert_eq!(trace.stop_reason.name(), "send_failed");
    assert_eq!(trace.detail.as_deref(), Some("not permitted"));
    assert_eq!((trace.probes_sent, exchange.counters().send_errors), (0, 1));
}

#[test]
fn a_kernel_that_stays_busy_ends_the_trace_and_no_other() {
    let topology: Topology = "s -> r1 -> d".parse().unwrap();
    let network = Network::new(&topology, Family::V4, 1);
    let template = Bench::new(network.clone(), 0, 1, 1).template(network.destination(), Protocol::Udp);
    let mut exchange = Exchange::new([7; 16], 1000, Time::ZERO);
    let stuck = exchange.start(Time::ZERO, template.clone(), None, settings(1, 1));
    let mut now = Time::ZERO;
    let mut fail = |exchange: &mut Exchange, for_millis: u64| {
        for _ in 0..for_millis {
            now = now + Duration::from_millis(1);
            exchange.handle_timeout(now);
            if let Some(transmit) = exchange.poll_transmit(now) {
                exchange.handle_send_failure(transmit, SendFailure::Busy);
            }
        }
        now
    };
    let later = fail(&mut exchange, 4000);
    assert!(exchange.poll_transmit(later + Duration::from_millis(1)).is_some(), "this one goes out");
    fail(&mut exchange, 4000);
    assert!(exchange.poll_finished().is_none(), "the time counts from the last packet that went out");
    let end = fail(&mut exchange, 2000);
    let (id, trace) = exchange.poll_finished().unwrap();
    assert_eq!((id, trace.stop_reason.name()), (stuck, "send_failed"));
    assert!(trace.detail.as_deref().is_some_and(|detail| detail.ends_with("no room for 5 s")), "{trace:?}");
    assert_eq!(exchange.counters().send_errors, 1);
    exchange.start(end, template, None, settings(1, 1));
    assert!(exchange.poll_transmit(end + Duration::from_secs(1)).is_some());
}

#[test]
fn what_is_known_so_far_is_what_an_end_now_would_tell() {
    let topology: Topology = "s -> r1 -> d".parse().unwrap();
    let network = Network::new(&topology, Family::V4, 1);
    let template = Bench::new(network.clone(), 0, 1, 1).template(network.destination(), Protocol::Udp);
    let mut exchange = Exchange::new([7; 16], 1000, Time::ZERO);
    let id = exchange.start(Time::ZERO, template, None, settings(2, 1));
    for sent in 1..=2 {
        assert!(exchange.poll_transmit(Time::ZERO).is_some());
        let trace = exchange.so_far(id).unwrap();
        assert_eq!((trace.probes_sent, trace.stop_reason.name()), (sent, "time_limit"));
    }
    let so_far = exchange.so_far(id);
    assert!(exchange.poll_finished().is_none() && exchange.poll_transmit(Time::ZERO).is_some(), "it goes on");
    let mut other = exchange.so_far(id);
    assert_ne!(other, so_far);
    exchange.stop(id);
    assert_eq!(exchange.poll_finished().map(|(_, trace)| trace), other.take());
    assert_eq!(exchange.so_far(id), None);
}
