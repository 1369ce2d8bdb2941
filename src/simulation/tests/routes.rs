//! Where packets go: hop by hop, over time, and the truth about it.

use super::*;

#[test]
fn each_ttl_is_answered_by_its_hop_after_twice_the_delay() {
    let text = "s -> r1 delay=1ms\nr1 -> r2 delay=20ms\nr2 -> r3 delay=300us\nr3 -> d delay=0s";
    for family in FAMILIES {
        let mut network = network(text, family);
        for (ttl, name, micros) in [
            (1, "r1", 2_000),
            (2, "r2", 42_000),
            (3, "r3", 42_600),
            (4, "d", 42_600),
            (5, "d", 42_600),
            (255, "d", 42_600),
        ] {
            let probe = Probe::udp(&network, 5000, ttl);
            let deliveries = ask(&mut network, seconds(7.0), &probe);
            let [delivery] = deliveries.as_slice() else { panic!("{deliveries:?}") };
            assert_eq!(delivery.at.since(seconds(7.0)), Duration::from_micros(micros), "{family:?} {ttl}");
            let answer = read(&delivery.packet);
            assert_eq!(Some(answer.from), network.address(name), "{family:?} {ttl}");
            assert_eq!(answer.to, network.source());
        }
    }
}

#[test]
fn deliveries_come_in_order_of_time_and_not_before() {
    let mut network = network("s -> r1 -> d delay=3ms", Family::V4);
    for (micros, ttl) in [(0, 2), (10, 1), (20, 2), (20, 1)] {
        let probe = Probe::udp(&network, 5000, ttl).bytes(&network);
        network.send(Time::from_nanos(micros * 1000), &probe);
    }
    let mut seen = Vec::new();
    while let Some(at) = network.next_delivery() {
        let just_before = Time::from_nanos(at.as_nanos() - 1);
        assert_eq!(network.poll_delivery(just_before), None);
        let delivery = network.poll_delivery(at).unwrap();
        assert_eq!(delivery.at, at);
        seen.push((at.as_nanos() / 1000, network.name(read(&delivery.packet).from).unwrap().to_owned()));
    }
    let expected = [(6_010, "r1"), (6_020, "r1"), (12_000, "d"), (12_020, "d")];
    assert_eq!(seen, expected.map(|(at, name)| (at, name.to_owned())));
}

#[test]
fn scripted_changes_hold_for_packets_that_pass_after_them() {
    let text = "s -> r1 -> a b -> d\nat 60s remove r1 -> a\nat 120s node b silent\nat 180s add r1 -> a\n\
                at 180s remove r1 -> b";
    for family in FAMILIES {
        let mut network = network(text, family);
        // Each hop takes 100 us, so that a packet is at r1 and leaves it 100 us after it was sent.
        for (at, expected) in [
            (0.0, "ab"),
            (59.9997, "ab"),
            (59.99991, "b"),
            (60.0, "b"),
            (119.9, "b"),
            (120.0, ""),
            (179.9, ""),
            (180.0, "a"),
        ] {
            let mut names: Vec<_> =
                (0..64).map(|port| who(&mut network, seconds(at), 5000 + port, 2)).collect();
            names.sort();
            names.dedup();
            assert_eq!(names.concat(), expected, "{family:?} at {at}");
        }
    }
}

#[test]
fn a_packet_under_way_meets_the_change_at_the_node_it_has_come_to() {
    let mut network = network("s -> r1 delay=10ms\nr1 -> d delay=10ms\nat 1s node d silent", Family::V4);
    assert_eq!(who(&mut network, seconds(0.979), 5000, 9), "d");
    assert_eq!(who(&mut network, seconds(0.981), 5000, 9), "");
    assert_eq!(who(&mut network, seconds(0.981), 5000, 1), "r1");
}

#[test]
fn a_hash_seed_may_change_and_then_stays() {
    let mut network = network("s -> r1 -> a b c e -> d\nat 1s rehash r1", Family::V4);
    let mut choices = |at| (0..256).map(|port| who(&mut network, seconds(at), port, 2)).collect::<Vec<_>>();
    let [before, still, after, later] = [0.0, 0.5, 1.0, 2.0].map(&mut choices);
    assert_eq!(before, still);
    assert_eq!(after, later);
    let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
    assert!((160..224).contains(&moved), "{moved} of 256 flows moved, expected are 192");
}

#[test]
fn every_destination_has_its_own_routes() {
    let mut network = Network::new(&file("many"), Family::V6, 3);
    let destinations: Vec<_> = network.destinations().collect();
    assert_eq!(destinations.len(), 100);
    for (index, destination) in destinations.into_iter().enumerate() {
        let edge = format!("e{}", index / 10 + 1);
        for (ttl, expected) in [(4, edge), (5, format!("d{}", index + 1))] {
            let probe = Probe { destination, ..Probe::udp(&network, 6000, ttl) };
            let deliveries = ask(&mut network, Time::ZERO, &probe);
            let from = read(&deliveries[0].packet).from;
            assert_eq!(network.name(from), Some(expected.as_str()));
        }
        let truth = network.truth_to(Time::ZERO, destination);
        assert_eq!((truth.nodes.len(), truth.links.len(), truth.paths), (10, 20, 12));
    }
}

#[test]
fn routers_answer_for_their_own_addresses_and_nobody_for_others() {
    let mut network = network("s -> r1 -> r2 -> d", Family::V4);
    let stranger: IpAddr = [10, 9, 9, 9].into();
    for (destination, ttl, expected) in [
        (network.address("r2").unwrap(), 9, Some("r2")),
        (network.address("r2").unwrap(), 1, Some("r1")),
        (network.source(), 9, None),
        (stranger, 9, None),
        (stranger, 1, None),
    ] {
        let probe = Probe { destination, ..Probe::udp(&network, 6000, ttl) };
        let deliveries = ask(&mut network, Time::ZERO, &probe);
        let from = deliveries.first().map(|delivery| read(&delivery.packet).from);
        assert_eq!(from.and_then(|from| network.name(from)), expected, "{destination} {ttl}");
    }
    assert_eq!(network.counters().unroutable, 3);
}

#[test]
fn probes_that_found_everything_found_the_truth() {
    for name in ["unequal", "mesh4x4", "three-diamonds", "asymmetric", "per-packet"] {
        for family in FAMILIES {
            let mut network = Network::new(&file(name), family, 5);
            let truth = network.truth(Time::ZERO);
            let last = truth.hops_max.unwrap();
            let mut nodes = std::collections::BTreeSet::new();
            let mut links = std::collections::BTreeSet::new();
            for port in 0..600 {
                let mut before = None;
                for ttl in 1..=last {
                    let probe = Probe::udp(&network, port, ttl);
                    let from = read(&ask(&mut network, Time::ZERO, &probe)[0].packet).from;
                    if before != Some(network.destination()) {
                        nodes.insert((ttl, from));
                        links.extend(before.map(|before| (ttl - 1, before, from)));
                    }
                    before = Some(from);
                }
            }
            assert_eq!(nodes, truth.nodes, "{name}");
            match name {
                "per-packet" => assert!(links.is_superset(&truth.links) && links.len() > truth.links.len()),
                _ => assert_eq!(links, truth.links, "{name}"),
            }
        }
    }
}

#[test]
fn truth_of_every_topology() {
    // Nodes, links, silent nodes, paths, hops of the shortest and the longest path, all counted by hand.
    let mut table = vec![
        ("line", 6, 5, 0, 1, 6, 6),
        ("diamond2", 9, 9, 0, 2, 6, 6),
        ("diamond4", 15, 17, 0, 4, 6, 6),
        ("three-diamonds", 15, 20, 0, 24, 9, 9),
        ("three-targets", 15, 17, 0, 4, 6, 6),
        ("twelve", 19, 22, 0, 8, 12, 12),
        ("twelve-silent", 19, 22, 3, 8, 12, 12),
        ("unequal", 10, 9, 0, 2, 5, 6),
        ("silent", 7, 9, 1, 4, 4, 4),
        ("silent-hops", 12, 14, 4, 6, 7, 7),
        ("swallow", 7, 8, 0, 3, 4, 4),
        ("wide16", 19, 33, 0, 16, 4, 4),
        ("wide28", 31, 57, 0, 28, 4, 4),
        ("wide56", 59, 113, 0, 56, 4, 4),
        ("mesh4x4", 11, 25, 0, 16, 5, 5),
        ("mesh8x8", 19, 81, 0, 64, 5, 5),
        ("cascade2x3x4", 35, 57, 0, 24, 6, 6),
        ("asymmetric", 17, 26, 0, 11, 5, 5),
        ("rate-limited", 8, 10, 0, 4, 5, 5),
        ("per-packet", 11, 12, 0, 3, 7, 7),
        ("per-destination", 4, 3, 0, 1, 4, 4),
        ("multihomed", 6, 5, 0, 4, 3, 3),
        ("loop", 255, 254, 0, 0, 0, 0),
        ("blackhole", 3, 2, 0, 0, 0, 0),
        ("silent-destination", 5, 5, 1, 2, 4, 4),
        ("weights8421", 7, 9, 0, 4, 4, 4),
        ("unreachable", 5, 4, 0, 1, 4, 4),
        ("faults", 10, 9, 1, 1, 10, 10),
        ("changes", 5, 5, 0, 2, 4, 4),
        ("many", 10, 20, 0, 12, 5, 5),
        ("mesh70", 116, 734, 0, 25_200, 9, 9),
    ];
    for family in FAMILIES {
        for &(name, nodes, links, silent, paths, hops_min, hops_max) in &table {
            let truth = Network::new(&file(name), family, 9).truth(Time::ZERO);
            let hops = (truth.hops_min.unwrap_or(0), truth.hops_max.unwrap_or(0));
            let found = (truth.nodes.len(), truth.links.len(), truth.silent.len(), truth.paths, hops);
            assert_eq!(found, (nodes, links, silent, paths, (hops_min, hops_max)), "{name}");
            assert_eq!(truth.reached(), paths > 0);
            assert!(truth.silent.is_subset(&truth.nodes));
        }
    }
    // No file is left out.
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/topologies");
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    files.sort();
    table.sort_unstable();
    assert_eq!(files, table.iter().map(|row| row.0).collect::<Vec<_>>());
}

#[test]
fn a_script_that_is_repeated_begins_anew_for_ever() {
    let text =
        "s -> r -> a -> d\nat 20s remove r -> a\nat 20s add r -> b\nat 20s add b -> d delay=2s\nrepeat 60s";
    let mut network = network(text, Family::V4);
    for days in [0_u32, 1, 1000] {
        let day = Duration::from_secs(86_400) * days;
        for (at, expected) in
            [(0.0, "a"), (19.9, "a"), (20.0, "b"), (59.9, "b"), (60.0, "a"), (79.9, "a"), (80.0, "b")]
        {
            let at = seconds(at) + day;
            assert_eq!(who(&mut network, at, 1, 2), expected, "at {at}");
            let nodes = network.truth(at).nodes;
            assert!(nodes.contains(&(2, network.address(expected).unwrap())), "at {at}");
        }
        // A packet that is under way when the script begins anew arrives all the same.
        assert_eq!(who(&mut network, seconds(58.5) + day, 1, 4), "d");
    }
}

#[test]
fn nodes_are_numbered_from_any_address_on() {
    for (first, last) in [("192.0.2.129", "192.0.2.131"), ("2001:db8::ff", "2001:db8::101")] {
        let topology = "s -> r -> d".parse().unwrap();
        let mut network = Network::numbered(&topology, first.parse().unwrap(), 1);
        assert_eq!(network.source().to_string(), first);
        assert_eq!(network.destination().to_string(), last);
        assert_eq!(who(&mut network, Time::ZERO, 1, 1), "r");
    }
}

#[test]
fn truth_knows_the_time_and_what_is_special_about_nodes() {
    let changes = Network::new(&file("changes"), Family::V4, 1);
    for (at, nodes, silent, paths) in
        [(0.0, 5, 0, 2), (60.0, 4, 0, 1), (120.0, 5, 0, 2), (240.0, 5, 1, 2), (300.0, 5, 0, 2)]
    {
        let truth = changes.truth(seconds(at));
        assert_eq!((truth.nodes.len(), truth.silent.len(), truth.paths), (nodes, silent, paths), "at {at}");
    }
    let per_packet = Network::new(&file("per-packet"), Family::V4, 1);
    let expected = [(2, per_packet.address("r2").unwrap())];
    assert!(per_packet.truth(Time::ZERO).per_packet.iter().eq(&expected));
    // Per destination there is one way, and it is the one that packets take.
    let text = "s -> r1 -> a b c -> d\nnode r1 balance=per-destination";
    let mut per_destination = network(text, Family::V4);
    let truth = per_destination.truth(Time::ZERO);
    assert_eq!((truth.nodes.len(), truth.paths), (3, 1));
    let name = who(&mut per_destination, Time::ZERO, 1, 2);
    assert!(truth.nodes.contains(&(2, per_destination.address(&name).unwrap())));
}
