//! Which of several next hops packets take.

use std::collections::BTreeMap;

use super::*;

/// How often each name comes.
fn counts(names: impl Iterator<Item = String>) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    counts
}

/// Pearson's statistic of counts against shares.
fn chi_square(counts: &BTreeMap<String, u32>, shares: &[(&str, f64)]) -> f64 {
    let total: u32 = counts.values().sum();
    let weight: f64 = shares.iter().map(|(_, share)| share).sum();
    shares
        .iter()
        .map(|(name, share)| {
            let expected = f64::from(total) * share / weight;
            (f64::from(counts.get(*name).copied().unwrap_or(0)) - expected).powi(2) / expected
        })
        .sum()
}

/// The value that the statistic exceeds in one of a thousand fair cases, by degrees of freedom.
fn limit(freedom: usize) -> f64 {
    match freedom {
        1 => 10.83,
        3 => 16.27,
        15 => 37.70,
        _ => panic!("{freedom}"),
    }
}

#[test]
fn a_flow_keeps_its_path() {
    for family in FAMILIES {
        let mut network = Network::new(&file("mesh8x8"), family, 2);
        for port in 0..200 {
            for ttl in 1..=5 {
                let names = counts((0..5).map(|at| who(&mut network, seconds(f64::from(at)), port, ttl)));
                assert_eq!(names.len(), 1, "{family:?} {port} {ttl} {names:?}");
            }
        }
    }
}

#[test]
fn what_makes_a_flow() {
    let mut network = network("destination d e\ns -> r1 -> a1..a64 -> x -> d e", Family::V6);
    let other = network.address("e").unwrap();
    let base = Probe::udp(&network, 5000, 2);
    // Whether these probes are spread over next hops when they differ in one thing.
    let mut spread = |probes: &mut dyn Iterator<Item = Probe>| {
        let names = probes.map(|probe| read(&ask(&mut network, Time::ZERO, &probe)[0].packet).from);
        names.collect::<std::collections::BTreeSet<_>>().len() > 1
    };
    let range = || 0..20_u16;
    assert!(spread(&mut range().map(|port| Probe { port, ..base.clone() })), "ports");
    assert!(spread(&mut range().map(|label| Probe { label: label.into(), ..base.clone() })), "flow label");
    assert!(spread(
        &mut [base.destination, other].map(|destination| Probe { destination, ..base.clone() }).into_iter()
    ));
    assert!(
        spread(
            &mut [Protocol::Udp, Protocol::Tcp]
                .map(|protocol| Probe { protocol, ..base.clone() })
                .into_iter()
        ),
        "protocol"
    );
    let payload = |length: u16| vec![1; length.into()];
    assert!(
        !spread(&mut range().map(|length| Probe { payload: payload(length), ..base.clone() })),
        "payload"
    );
    let tcp = Probe { protocol: Protocol::Tcp, ..base.clone() };
    assert!(
        !spread(&mut range().map(|length| Probe { payload: payload(length), ..tcp.clone() })),
        "TCP payload"
    );
    // An echo request's flow is its checksum, which the payload changes.
    let icmp = Probe { protocol: Protocol::Icmp, ..base.clone() };
    assert!(
        spread(&mut range().map(|length| Probe { payload: payload(length), ..icmp.clone() })),
        "ICMP checksum"
    );
}

#[test]
fn shares_are_as_weighted() {
    for (text, shares) in [
        ("s -> r1 -> a b -> d", vec![("a", 1.0), ("b", 1.0)]),
        ("s -> r1 -> a b c e -> d", vec![("a", 1.0), ("b", 1.0), ("c", 1.0), ("e", 1.0)]),
        (
            "s -> r1\nr1 -> a weight=8\nr1 -> b weight=4\nr1 -> c weight=2\nr1 -> e\na b c e -> d",
            vec![("a", 8.0), ("b", 4.0), ("c", 2.0), ("e", 1.0)],
        ),
        (
            "s -> r1\nr1 -> a weight=999\nr1 -> b\na b -> d\nnode r1 balance=per-packet",
            vec![("a", 999.0), ("b", 1.0)],
        ),
    ] {
        for family in FAMILIES {
            let mut network = network(text, family);
            // Consecutive ports: a hash of any worth makes no difference between them and random ones.
            let names = counts((0..20_000).map(|port| who(&mut network, Time::ZERO, port, 2)));
            let statistic = chi_square(&names, &shares);
            assert!(statistic < limit(shares.len() - 1), "{family:?} {statistic} {names:?}");
        }
    }
}

#[test]
fn routers_in_a_row_choose_independently() {
    let mut network = Network::new(&file("mesh4x4"), Family::V4, 11);
    let pairs = counts((0..16_000).map(|port| {
        let [a, b] = [2, 3].map(|ttl| who(&mut network, Time::ZERO, port, ttl));
        a + &b
    }));
    let cells: Vec<_> = (1..=4).flat_map(|a| (1..=4).map(move |b| format!("a{a}b{b}"))).collect();
    let shares: Vec<_> = cells.iter().map(|cell| (cell.as_str(), 1.0)).collect();
    let statistic = chi_square(&pairs, &shares);
    assert!(statistic < limit(15), "{statistic} {pairs:?}");
}

#[test]
fn seeds_choose_independently() {
    let topology = file("diamond4");
    let pairs = counts((0..16_000).map(|port| {
        let [a, b] =
            [1, 2].map(|seed| who(&mut Network::new(&topology, Family::V6, seed), Time::ZERO, port, 2));
        a + &b
    }));
    let cells: Vec<_> =
        "abce".chars().flat_map(|a| "abce".chars().map(move |b| format!("{a}1{b}1"))).collect();
    let shares: Vec<_> = cells.iter().map(|cell| (cell.as_str(), 1.0)).collect();
    let statistic = chi_square(&pairs, &shares);
    assert!(statistic < limit(15), "{statistic} {pairs:?}");
}

#[test]
fn balancing_per_packet_and_per_destination() {
    let text = "destination d1..d40\ns -> r1 -> a b -> d1..d40\nnode r1 balance=";
    for family in FAMILIES {
        let mut packets = network(&format!("{text}per-packet"), family);
        let names = counts((0..2000).map(|_| who(&mut packets, Time::ZERO, 5000, 2)));
        let statistic = chi_square(&names, &[("a", 1.0), ("b", 1.0)]);
        assert!(statistic < limit(1), "{statistic} {names:?}");

        let mut destinations = network(&format!("{text}per-destination"), family);
        let names = counts((0..200).map(|port| who(&mut destinations, Time::ZERO, port, 2)));
        assert_eq!(names.len(), 1, "{names:?}");
        let all: Vec<_> = destinations.destinations().collect();
        let first_hops = counts(all.into_iter().map(|destination| {
            let probe = Probe { destination, ..Probe::udp(&destinations, 5000, 2) };
            read(&ask(&mut destinations, Time::ZERO, &probe)[0].packet).from.to_string()
        }));
        assert_eq!(first_hops.len(), 2, "{first_hops:?}");
    }
}
