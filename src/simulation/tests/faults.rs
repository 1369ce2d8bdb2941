//! What goes wrong on purpose: silence, limits, loss, copies, delays. And that it goes wrong repeatably.

use super::*;

/// How many of so many UDP probes with this TTL, one a millisecond, are answered.
fn answered(network: &mut Network, probes: u16, ttl: u8) -> usize {
    for port in 0..probes {
        let probe = Probe::udp(network, port, ttl).bytes(network);
        network.send(seconds(f64::from(port) / 1000.0), &probe);
    }
    drain(network).len()
}

#[test]
fn nodes_that_do_not_answer_or_not_forward() {
    // Attributes of r2 in s -> r1 -> r2 -> r3 -> d, and who answers at TTL 1 to 4.
    for (attributes, expected) in [
        ("plain", ["r1", "r2", "r3", "d"]),
        ("silent", ["r1", "", "r3", "d"]),
        ("swallow", ["r1", "r2", "", ""]),
        ("silent swallow", ["r1", "", "", ""]),
        ("unreachable=1", ["r1", "r2", "r2", "r2"]),
        ("loss=1", ["r1", "", "", ""]),
        ("half-silent=0", ["r1", "", "r3", "d"]),
        ("half-silent=1", ["r1", "r2", "r3", "d"]),
    ] {
        for family in FAMILIES {
            let mut network = network(&format!("s -> r1 -> r2 -> r3 -> d\nnode r2 {attributes}"), family);
            let seen = [1, 2, 3, 4].map(|ttl| who(&mut network, Time::ZERO, 5000, ttl));
            assert_eq!(seen, expected, "{family:?} {attributes}");
        }
    }
    let mut network = network("s -> r1 -> r2 -> d\nnode d silent", Family::V4);
    let names = Protocol::ALL.map(|protocol| {
        let probe = Probe { protocol, ..Probe::udp(&network, 5000, 9) };
        ask(&mut network, Time::ZERO, &probe).len()
    });
    assert_eq!(names, [0, 0, 0]);
}

#[test]
fn black_holes_and_loops() {
    let mut hole = Network::new(&file("blackhole"), Family::V4, 1);
    assert_eq!([3, 4, 5].map(|ttl| who(&mut hole, Time::ZERO, 5000, ttl)), ["r3", "", ""]);
    let mut circle = Network::new(&file("loop"), Family::V6, 1);
    assert_eq!(
        [3, 4, 5, 254, 255].map(|ttl| who(&mut circle, Time::ZERO, 5000, ttl)),
        ["r3", "r2", "r3", "r2", "r3"]
    );
}

#[test]
fn slow_nodes_are_slow_for_themselves_alone() {
    let mut network = network("s -> r1 -> r2 -> d\nnode r1 slow=500ms", Family::V4);
    let rtts = [1, 2, 3].map(|ttl| {
        let probe = Probe::udp(&network, 5000, ttl);
        ask(&mut network, Time::ZERO, &probe)[0].at.as_nanos() / 1000
    });
    assert_eq!(rtts, [500_200, 400, 600]);
}

#[test]
fn shares_of_loss_and_silence() {
    // Attributes of r1, expected share of 10000 answered at its TTL and behind it; five standard deviations.
    for (attributes, at, behind) in [
        ("half-silent=0.5", 0.5, 1.0),
        ("half-silent=0.9", 0.9, 1.0),
        ("loss=0.05", 0.95, 0.95),
        ("loss=0.5 half-silent=0.5", 0.25, 0.5),
    ] {
        for (ttl, share) in [(1, at), (2, behind)] {
            let mut network = network(&format!("s -> r1 -> d\nnode r1 {attributes}"), Family::V4);
            let count = f64::from(u32::try_from(answered(&mut network, 10_000, ttl)).unwrap());
            let tolerance = 5.0 * f64::sqrt(10_000.0 * share * (1.0 - share));
            assert!((count - 10_000.0 * share).abs() <= tolerance, "{attributes} TTL {ttl}: {count}");
        }
    }
}

#[test]
fn token_buckets_count_exactly() {
    // Rate and burst, time between probes in microseconds, number of probes, number answered.
    for (limit, step, probes, expected) in [
        ("rate=1 burst=6", 0, 20, 6),
        ("rate=1 burst=6", 1_000_000, 20, 20),
        ("rate=1 burst=6", 500_000, 20, 15),
        ("rate=1 burst=6", 999_999, 20, 20),
        ("rate=10 burst=1", 1000, 1000, 10),
        ("rate=10 burst=6", 1000, 1000, 15),
        ("rate=10 burst=6", 1000, 1001, 16),
        ("rate=1000 burst=1", 1000, 500, 500),
        ("rate=1000 burst=1", 999, 500, 250),
        ("rate=0.1 burst=2", 1_000_000, 21, 4),
    ] {
        for protocol in [Protocol::Udp, Protocol::Icmp] {
            for (node, ttl) in [("r1", 1), ("d", 2)] {
                for family in FAMILIES {
                    let mut network = network(&format!("s -> r1 -> d\nnode {node} {limit}"), family);
                    for number in 0..probes {
                        let probe = Probe { protocol, ..Probe::udp(&network, number, ttl) }.bytes(&network);
                        network.send(Time::from_nanos(u64::from(number) * step * 1000), &probe);
                    }
                    let answered = drain(&mut network).len();
                    assert_eq!(answered, expected, "{limit} every {step} us, {protocol} at {node}");
                    let limited = network.counters().rate_limited;
                    assert_eq!(limited, u64::from(probes) - u64::try_from(expected).unwrap());
                }
            }
        }
    }
}

#[test]
fn limits_hold_for_icmp_alone_and_for_one_node_alone() {
    let text = "s -> r1 -> r2 -> d\nnode r1 rate=1 burst=2\nnode d rate=1 burst=2";
    let mut network = network(text, Family::V4);
    for (protocol, ttl, expected) in
        [(Protocol::Udp, 1, 2), (Protocol::Udp, 2, 10), (Protocol::Udp, 3, 2), (Protocol::Tcp, 3, 10)]
    {
        let mut answers = 0;
        for port in 0..10 {
            let probe = Probe { protocol, ..Probe::udp(&network, port, ttl) };
            answers += ask(&mut network, Time::ZERO, &probe).len();
        }
        assert_eq!(answers, expected, "{protocol} {ttl}");
    }
}

#[test]
fn loss_of_the_network_befalls_both_directions() {
    for family in FAMILIES {
        let mut network = network("s -> r1 -> d\nnetwork loss=0.1", family);
        let count = answered(&mut network, 20_000, 2);
        // 0.9 squared of 20000, five standard deviations.
        assert!(count.abs_diff(16_200) < 5 * 56, "{count}");
        assert_eq!(network.counters().lost, 20_000 - u64::try_from(count).unwrap());
    }
}

#[test]
fn losses_come_in_bursts() {
    for (text, share, mean) in [
        ("loss=0.1", 0.1, 1.11),
        ("loss=0.1 burst=3", 0.1, 3.0),
        ("loss=0.02 burst=10", 0.02, 10.0),
        ("loss=0.5 burst=1", 0.5, 1.0),
    ] {
        let faults = *topology(&format!("s -> d\nnetwork {text}")).faults();
        let mut rng = fastrand::Rng::with_seed(5);
        let mut direction = super::super::fault::Direction::default();
        let (mut lost, mut bursts, mut before) = (0.0, 0.0, false);
        for _ in 0..200_000 {
            let now = direction.pass(&faults, &mut rng) == [None, None];
            lost += f64::from(u8::from(now));
            bursts += f64::from(u8::from(now && !before));
            before = now;
        }
        let (found_share, found_mean) = (lost / 200_000.0, lost / bursts);
        assert!((found_share / share - 1.0_f64).abs() < 0.1, "{text}: share {found_share}");
        assert!((found_mean / mean - 1.0_f64).abs() < 0.1, "{text}: burst {found_mean}");
    }
}

#[test]
fn duplicates_come_of_probes_and_of_replies() {
    let mut network = network("s -> r1 -> d\nnetwork duplicate=0.2", Family::V4);
    let count = answered(&mut network, 20_000, 2);
    // Each direction multiplies by 1.2; the standard deviation is about 95.
    assert!(count.abs_diff(28_800) < 5 * 95, "{count}");
    // A duplicate is the same packet, but for a second answer's identification.
    let mut network = super::network("s -> n -> d\nnode n nat\nnetwork duplicate=1", Family::V6);
    let probe = Probe::udp(&network, 5000, 9);
    let deliveries = ask(&mut network, Time::ZERO, &probe);
    assert_eq!(deliveries.len(), 4);
    assert!(deliveries.iter().all(|delivery| delivery.packet == deliveries[0].packet));
}

#[test]
fn late_packets_are_overtaken() {
    let mut network = network("s -> d\nnetwork reorder=0.05:5ms", Family::V4);
    for number in 0..10_000 {
        let probe = Probe::udp(&network, number, 2).bytes(&network);
        network.send(Time::from_nanos(u64::from(number) * 1_000_000), &probe);
    }
    let deliveries = drain(&mut network);
    assert_eq!(deliveries.len(), 10_000);
    let ports = deliveries.iter().map(|delivery| {
        let answer = read(&delivery.packet);
        let (.., transport) = answer.quoted();
        u16::from_be_bytes([transport[0], transport[1]])
    });
    let mut overtaken = 0;
    let mut last = 0;
    for port in ports {
        overtaken += i32::from(port < last);
        last = last.max(port);
    }
    // 1 - 0.95 squared of 10000 are late, nearly all of them overtaken.
    assert!((850..1050).contains(&overtaken), "{overtaken}");
}

#[test]
fn faults_change_with_the_script() {
    let mut network =
        network("s -> d\nnetwork loss=1\nat 1s network plain\nat 2s network loss=1", Family::V4);
    let seen = [0.5, 1.5, 2.5].map(|at| who(&mut network, seconds(at), 5000, 9));
    assert_eq!(seen, ["", "d", ""]);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let run = |family, seed| {
        let mut network = Network::new(&file("faults"), family, seed);
        for number in 0..2000 {
            let ttl = u8::try_from(number % 12 + 1).unwrap();
            let probe = Probe {
                protocol: Protocol::ALL[usize::from(number % 3)],
                ..Probe::udp(&network, number, ttl)
            };
            let probe = probe.bytes(&network);
            network.send(Time::from_nanos(u64::from(number) * 1_000_000), &probe);
        }
        let deliveries = drain(&mut network);
        assert!(deliveries.iter().all(|delivery| read(&delivery.packet).to == network.source()));
        deliveries
    };
    for family in FAMILIES {
        assert_eq!(run(family, 1), run(family, 1));
        assert_ne!(run(family, 1), run(family, 2));
    }
}
