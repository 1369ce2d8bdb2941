use super::*;

fn parse(text: &str) -> Topology {
    text.parse().unwrap_or_else(|error| panic!("{error} in\n{text}"))
}

/// Edges as `a-b`, in order.
fn edges(topology: &Topology) -> String {
    let edge = |edge: &Edge| format!("{}-{}", topology.name(edge.from), topology.name(edge.to));
    topology.edges().iter().map(edge).collect::<Vec<_>>().join(" ")
}

fn attributes(words: &str) -> Attributes {
    let topology = parse(&format!("s -> r -> d\nnode r {words}"));
    topology.nodes()[1].attributes.clone()
}

#[test]
fn edges_go_from_every_node_of_a_group_to_every_node_of_the_next() {
    for (text, expected) in [
        ("s -> d", "s-d"),
        ("  s   ->\td # not a fault", "s-d"),
        ("s -> a b\na b -> d", "s-a s-b a-d b-d"),
        ("s -> a b -> d", "s-a s-b a-d b-d"),
        ("s -> a1..a3 -> d", "s-a1 s-a2 s-a3 a1-d a2-d a3-d"),
        ("s -> r9..r10 -> d", "s-r9 s-r10 r9-d r10-d"),
        ("s -> a -> b\nb -> a d", "s-a a-b b-a b-d"),
    ] {
        assert_eq!(edges(&parse(text)), expected, "{text}");
    }
}

#[test]
fn nodes_keep_the_order_of_their_first_mention() {
    let topology = parse("node z silent\ndestination e d\ns -> z -> b a -> d e\nat 1s add c -> d");
    let names: Vec<_> = topology.nodes().iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["z", "e", "d", "s", "b", "a", "c"]);
    assert_eq!(topology.name(topology.source()), "s");
    assert_eq!(topology.destination(), 1);
    assert_eq!(topology.destinations(), [1, 2]);
    assert_eq!(topology.find("a"), Some(5));
    assert_eq!(topology.find("q"), None);
    assert_eq!(topology.name(99), "");
}

#[test]
fn edges_carry_weight_and_delay() {
    for (text, weight, delay) in [
        ("s -> d", 1, DEFAULT_DELAY),
        ("s -> d weight=8", 8, DEFAULT_DELAY),
        ("s -> d delay=2ms weight=3", 3, Duration::from_millis(2)),
        ("s -> d delay=0s", 1, Duration::ZERO),
    ] {
        assert_eq!(parse(text).edges(), [Edge { from: 0, to: 1, weight, delay }], "{text}");
    }
}

#[test]
fn attributes_of_a_node() {
    let plain = Attributes::default();
    let mpls = |labels: &[u32], legacy| Some(Mpls { labels: labels.to_vec(), legacy });
    for (words, expected) in [
        ("silent", Attributes { silent: true, ..plain.clone() }),
        ("swallow", Attributes { swallow: true, ..plain.clone() }),
        ("nat", Attributes { nat: true, ..plain.clone() }),
        ("open", Attributes { open: true, ..plain.clone() }),
        ("zero-ttl", Attributes { zero_ttl: true, ..plain.clone() }),
        ("loss=0.05", Attributes { loss: 0.05, ..plain.clone() }),
        ("half-silent=0.5", Attributes { answers: 0.5, ..plain.clone() }),
        ("balance=per-packet", Attributes { balance: Balance::PerPacket, ..plain.clone() }),
        ("balance=per-destination", Attributes { balance: Balance::PerDestination, ..plain.clone() }),
        ("balance=per-flow", plain.clone()),
        ("rate=10", Attributes { rate: Some(Rate { per_second: 10.0, burst: 1 }), ..plain.clone() }),
        ("burst=6 rate=0.5", Attributes { rate: Some(Rate { per_second: 0.5, burst: 6 }), ..plain.clone() }),
        ("quote=28", Attributes { quote: Some(28), ..plain.clone() }),
        ("slow=500ms", Attributes { slow: Duration::from_millis(500), ..plain.clone() }),
        ("unreachable=13", Attributes { unreachable: Some(13), ..plain.clone() }),
        ("mpls=16004,16005", Attributes { mpls: mpls(&[16_004, 16_005], false), ..plain }),
        ("mpls=1048575 legacy", Attributes { mpls: mpls(&[1_048_575], true), ..Attributes::default() }),
        ("silent nat plain open", Attributes { open: true, ..Attributes::default() }),
    ] {
        assert_eq!(attributes(words), expected, "{words}");
    }
    assert_eq!(parse("s -> a1..a2 -> d\nnode a1..a2 silent").nodes()[2].attributes, attributes("silent"));
}

#[test]
fn faults_of_the_network() {
    let topology = parse("s -> d\nnetwork loss=0.02 burst=3 duplicate=0.01 reorder=0.05:5ms");
    let faults = Faults {
        loss: 0.02,
        burst: Some(3.0),
        duplicate: 0.01,
        reorder: 0.05,
        reorder_delay: Duration::from_millis(5),
    };
    assert_eq!(topology.faults(), &faults);
    assert_eq!(parse("s -> d\nnetwork loss=1 plain").faults(), &Faults::default());
}

#[test]
fn scripts_are_put_in_order_of_time_and_build_on_each_other() {
    let topology = parse(
        "s -> a -> d\n\
         at 3s node a plain\n\
         at 2s node a nat\n\
         at 1s remove s -> a\n\
         at 2s add s -> a b weight=2\n\
         at 2s rehash s\n\
         at 4s network loss=0.5",
    );
    let plain = Attributes::default();
    let edge = |from, to, weight| Edge { from, to, weight, delay: DEFAULT_DELAY };
    let nat = Attributes { nat: true, ..plain.clone() };
    let expected = [
        (1, Change::Remove(edge(0, 1, 1))),
        (2, Change::Node { node: 1, attributes: nat }),
        (2, Change::Add(edge(0, 1, 2))),
        (2, Change::Add(edge(0, 3, 2))),
        (2, Change::Rehash(0)),
        (3, Change::Node { node: 1, attributes: plain }),
        (4, Change::Network(Faults { loss: 0.5, ..Faults::default() })),
    ]
    .map(|(at, change)| Event { at: Time::ZERO + Duration::from_secs(at), change });
    assert_eq!(topology.events(), expected);
    assert_eq!(topology.period(), None);
    let repeated = parse("s -> d\nat 1s rehash s\nrepeat 2m");
    assert_eq!(repeated.period(), Some(Duration::from_secs(120)));
}

#[test]
fn errors_say_the_line_and_what_is_allowed() {
    for (text, expected) in [
        ("", "line 1: there is no source; name a node `s` or write `source NAME`"),
        ("s -> r", "line 1: there is no destination; name a node `d` or write `destination NAME`"),
        ("a -> d", "line 1: there is no source; name a node `s` or write `source NAME`"),
        ("s -> d\nsource d", "line 2: `d` is source and destination; allowed is one of them"),
        ("source s\nsource s", "line 2: there is a source already; allowed is one"),
        ("source a b", "line 1: `source` takes one name"),
        ("destination", "line 1: `destination` takes one name or more"),
        ("destination d d", "line 1: `d` is a destination already"),
        ("s => d", "line 1: `s => d` is no statement; allowed are source, destination"),
        ("hello", "line 1: `hello` is no statement"),
        ("s -> ", "line 1: a name is missing; an edge has a node on both sides of `->`"),
        ("s -> -> d", "line 1: a name is missing"),
        ("s->d", "line 1: `s->d` is no statement"),
        ("s -> 1d", "line 1: `1d` is no name of a node; allowed are letters, digits"),
        ("s -> node -> d", "line 1: `node` is no name of a node"),
        ("s -> d.e", "line 1: `d.e` is no name of a node"),
        ("s -> a9..a1 -> d", "line 1: `a9..a1` is no range of nodes; allowed is one as `a1..a16`, rising"),
        ("s -> a1..b3 -> d", "line 1: `a1..b3` is no range"),
        ("s -> a1..a99999999 -> d", "line 1: `a1..a99999999` is no range"),
        ("s -> s", "line 1: `s` cannot be its own neighbour"),
        ("\n\ns -> d\ns -> d", "line 4: there is an edge s -> d already"),
        (
            "s -> d wait=3",
            "line 1: `wait=3` is nothing an edge has; allowed behind its nodes are weight=, delay=",
        ),
        ("s -> d weight=2 e", "line 1: `e` is nothing an edge has"),
        ("s -> d weight=0", "line 1: weight=0: allowed are numbers from 1 to 1000000"),
        ("s -> d delay=2", "line 1: delay 2: allowed are times as 100us, 5ms, 60s, 10m"),
        ("s -> d\nnode x silent", "line 2: no edge leads from or to `x`"),
        ("s -> d\nnode d", "line 2: `node` takes a name and attributes; allowed are silent, swallow"),
        ("s -> d\nnode d mute", "line 2: `mute` is no attribute of a node; allowed are silent, swallow"),
        ("s -> d\nnode d mute=1", "line 2: `mute=1` is no attribute of a node; allowed are"),
        ("s -> d\nnode d loss=1.5", "line 2: loss=1.5: allowed are numbers from 0 to 1"),
        ("s -> d\nnode d loss=NaN", "line 2: loss=NaN: allowed are numbers from 0 to 1"),
        (
            "s -> d\nnode d balance=round",
            "line 2: balance=round: allowed are per-flow, per-packet, per-destination",
        ),
        ("s -> d\nnode d burst=6", "line 2: `burst=` goes with `rate=`"),
        ("s -> d\nnode d rate=0", "line 2: rate=0: allowed are numbers from 0.000001 to"),
        ("s -> d\nnode d quote=27", "line 2: quote=27: allowed are numbers from 28 to 65535"),
        ("s -> d\nnode d mpls=1048576", "line 2: mpls=1048576: allowed are numbers from 0 to 1048575"),
        ("s -> d\nnode d mpls=", "line 2: mpls=: allowed are numbers"),
        ("s -> d\nnode d legacy", "line 2: `legacy` goes behind `mpls=`"),
        ("s -> d\nnode d unreachable=256", "line 2: unreachable=256: allowed are numbers from 0 to 255"),
        ("s -> d\nnetwork", "line 2: `network` takes faults; allowed are loss=, burst="),
        ("s -> d\nnetwork silent", "line 2: `silent` is no fault of a network; allowed are loss="),
        ("s -> d\nnetwork reorder=0.1", "line 2: reorder=0.1: allowed is SHARE:DELAY as 0.05:5ms"),
        (
            "s -> d\nnetwork loss=0.9 burst=2",
            "line 2: burst=2 is too short for loss=0.9; allowed is loss / (1",
        ),
        ("s -> d\nat 60 rehash s", "line 2: at 60: allowed are times as 100us, 5ms, 60s, 10m"),
        ("s -> d\nat 60s", "line 2: after `at TIME` allowed are add EDGE, remove EDGE"),
        ("s -> d\nat 60s destroy s", "line 2: after `at TIME` allowed are add EDGE"),
        ("s -> d\nat 1s remove d -> s", "line 2: there is no edge d -> s at this time"),
        ("s -> d\nat 2s remove s -> d\nat 1s remove s -> d", "line 2: there is no edge s -> d at this time"),
        (
            "s -> d\nat 1s remove s -> d weight=1",
            "line 2: `weight=1`: `remove` takes the ends of an edge alone",
        ),
        ("s -> d\nat 1s add s -> d", "line 2: there is an edge s -> d already at this time"),
        ("s -> d\nat 1s rehash x", "line 2: no edge leads from or to `x`"),
        ("s -> d\nrepeat 2m", "line 2: `repeat` takes a time behind the last change of the script"),
        ("s -> d\nrepeat 1s\nat 1s rehash s", "line 2: `repeat` takes a time behind the last change"),
        ("s -> d\nrepeat 2", "line 2: repeat 2: allowed are times as 100us, 5ms, 60s, 10m"),
        ("s -> d\nrepeat", "line 2: `repeat` takes one time"),
        ("s -> d\nat 1s rehash s\nrepeat 2s\nrepeat 3s", "line 4: the script is repeated already"),
        ("s -> d\nat 1s node d mute", "line 2: `mute` is no attribute of a node"),
    ] {
        let error = text.parse::<Topology>().expect_err(text).to_string();
        assert!(error.starts_with(expected), "{text:?} gives\n{error}, not\n{expected}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn every_topology_file_is_read() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/topologies");
    let mut files = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        if let Err(error) = text.parse::<Topology>() {
            panic!("{}: {error}", path.display());
        }
        files += 1;
    }
    assert!(files > 20, "{files} files");
}
