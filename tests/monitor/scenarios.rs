//! What happens to networks, change by change, and what has to be told of each.

use traceflow_exporter::simulation::Topology;

use crate::watched::topology;

/// What a change counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// A node or link goes; every flow that passed it meets that.
    Loss,
    /// The way becomes longer or shorter by it.
    Detour,
    /// A next hop is added: some flows go there now.
    Addition,
    /// The same, and the way through it is longer or shorter.
    Fork,
    /// Flows are spread anew over the same next hops.
    Rehash,
    /// A branch, or the destination, goes out of reach or comes back.
    Reach,
}

impl Kind {
    /// Path changes, whether flow moves, length changes and reachability changes that are told of it.
    pub(crate) const fn expected(self) -> (u64, bool, u64, u64) {
        match self {
            Self::Loss | Self::Addition => (1, false, 0, 0),
            Self::Detour | Self::Fork => (1, false, 1, 0),
            Self::Rehash => (0, true, 0, 0),
            Self::Reach => (0, false, 0, 1),
        }
    }
}

/// A network and what happens to it.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// Its text; empty where it is the topology of that name.
    base: &'static str,
    pub(crate) steps: &'static [(Kind, &'static str)],
}

pub(crate) const SCENARIOS: [Scenario; 21] = [
    Scenario {
        name: "line",
        base: "s -> r1 -> r2 -> r3 -> d\nr1 -> q1 -> r3\nr1 -> p1 -> p2 -> r3\n\
               at 1ms remove r1 -> q1\nat 1ms remove r1 -> p1\n",
        steps: &[
            (Kind::Loss, "add r1 -> q1;remove r1 -> r2"),
            (Kind::Addition, "add r1 -> r2"),
            (Kind::Loss, "remove r1 -> q1"),
            (Kind::Detour, "add r1 -> p1;remove r1 -> r2"),
            (Kind::Detour, "add r1 -> r2;remove r1 -> p1"),
            (Kind::Reach, "node r3 swallow"),
            (Kind::Reach, "node r3 plain"),
            (Kind::Reach, "node d silent"),
            (Kind::Reach, "node d plain"),
        ],
    },
    Scenario {
        name: "twelve",
        base: "s -> r1 -> r2 -> r3 delay=2500us\nr3 -> a1 -> a2 -> x delay=2500us\nr3 -> b1 -> b2 -> x delay=2500us\n\
               r3 -> c1 -> c2 -> x delay=2500us\nr3 -> e1 -> e2 -> x delay=2500us\nx -> y delay=2500us\n\
               y -> f g -> z -> u -> v -> d delay=2500us\ny -> h -> z delay=2500us\nx -> p -> q -> y delay=2500us\n\
               at 1ms remove y -> h\nat 1ms remove x -> p\n",
        steps: &[
            (Kind::Loss, "remove r3 -> e1"),
            (Kind::Addition, "add r3 -> e1"),
            (Kind::Loss, "remove y -> f;add y -> h"),
            (Kind::Loss, "remove y -> h;add y -> f"),
            (Kind::Rehash, "rehash r3"),
            (Kind::Detour, "remove x -> y;add x -> p"),
            (Kind::Detour, "remove x -> p;add x -> y"),
            (Kind::Reach, "node c1 swallow"),
            (Kind::Reach, "node c1 plain"),
            (Kind::Rehash, "rehash y"),
            (Kind::Reach, "node d silent"),
            (Kind::Reach, "node d plain"),
        ],
    },
    Scenario {
        name: "wide16",
        base: "s -> r1 -> a1..a16 -> x -> d\n",
        steps: &[
            (Kind::Loss, "remove r1 -> a16"),
            (Kind::Addition, "add r1 -> a16"),
            (Kind::Rehash, "rehash r1"),
            (Kind::Reach, "node a7 swallow"),
            (Kind::Reach, "node a7 plain"),
        ],
    },
    Scenario {
        name: "mesh4x4",
        base: "s -> r1 -> a1..a4 -> b1..b4 -> x -> d\n",
        steps: &[
            (Kind::Loss, "remove a1 -> b4"),
            (Kind::Addition, "add a1 -> b4"),
            (Kind::Loss, "remove r1 -> a4"),
            (Kind::Addition, "add r1 -> a4"),
            (Kind::Rehash, "rehash r1"),
            (Kind::Rehash, "rehash a2"),
            (Kind::Reach, "node b2 swallow"),
            (Kind::Reach, "node b2 plain"),
        ],
    },
    Scenario {
        name: "unequal",
        base: "s -> r1\nr1 -> a1 -> x\nr1 -> b1 -> b2 -> x\nx -> y -> d\n",
        steps: &[
            (Kind::Detour, "remove r1 -> b1"),
            (Kind::Fork, "add r1 -> b1"),
            (Kind::Detour, "remove r1 -> a1"),
            (Kind::Fork, "add r1 -> a1"),
            (Kind::Rehash, "rehash r1"),
        ],
    },
    Scenario {
        name: "cascade",
        base: "s -> r1 -> a1..a2\na1 -> b1..b3\na2 -> b4..b6\nb1..b6 -> x -> d\n",
        steps: &[
            (Kind::Loss, "remove a1 -> b3"),
            (Kind::Addition, "add a1 -> b3"),
            (Kind::Rehash, "rehash a2"),
            (Kind::Loss, "remove r1 -> a2"),
            (Kind::Addition, "add r1 -> a2"),
            (Kind::Reach, "node b5 swallow"),
            (Kind::Reach, "node b5 plain"),
            (Kind::Reach, "node d silent"),
            (Kind::Reach, "node d plain"),
        ],
    },
    Scenario {
        name: "silent",
        base: "s -> r1 -> a1..a4 -> x -> y z -> d\nnode a2 silent\nnode z silent\n",
        steps: &[
            (Kind::Loss, "remove r1 -> a4"),
            (Kind::Addition, "add r1 -> a4"),
            (Kind::Rehash, "rehash r1"),
            (Kind::Reach, "node a3 swallow"),
            (Kind::Reach, "node a3 plain"),
            (Kind::Reach, "node d silent"),
            (Kind::Reach, "node d plain"),
        ],
    },
    Scenario {
        name: "per-packet",
        base: "s -> r1 -> r2 -> a1..a3 -> x -> y1..y3 -> z -> d\nnode r2 balance=per-packet\n",
        steps: &[
            (Kind::Loss, "remove r2 -> a3"),
            (Kind::Addition, "add r2 -> a3"),
            (Kind::Loss, "remove x -> y3"),
            (Kind::Addition, "add x -> y3"),
            (Kind::Rehash, "rehash x"),
            (Kind::Reach, "node y2 swallow"),
            (Kind::Reach, "node y2 plain"),
            (Kind::Reach, "node d silent"),
            (Kind::Reach, "node d plain"),
        ],
    },
    Scenario {
        name: "rate-limited",
        base: "s -> r1 -> r2 -> a1..a4 -> x -> d\nnode r1 rate=1 burst=6\nnode x rate=10 burst=6\n",
        steps: &[
            (Kind::Loss, "remove r2 -> a4"),
            (Kind::Addition, "add r2 -> a4"),
            (Kind::Rehash, "rehash r2"),
            (Kind::Reach, "node a2 swallow"),
            (Kind::Reach, "node a2 plain"),
            (Kind::Reach, "node d silent"),
            (Kind::Reach, "node d plain"),
        ],
    },
    Scenario {
        name: "diamond2",
        base: "",
        steps: &[
            (Kind::Loss, "remove r1 -> b1"),
            (Kind::Addition, "add r1 -> b1"),
            (Kind::Rehash, "rehash r1"),
            (Kind::Reach, "node a2 swallow"),
            (Kind::Reach, "node a2 plain"),
            (Kind::Reach, "node d silent"),
            (Kind::Reach, "node d plain"),
        ],
    },
    Scenario {
        name: "diamond4",
        base: "",
        steps: &[
            (Kind::Loss, "remove r1 -> e1"),
            (Kind::Addition, "add r1 -> e1"),
            (Kind::Detour, "remove a3 -> x;add a3 -> b3"),
            (Kind::Detour, "remove a3 -> b3;add a3 -> x"),
            (Kind::Rehash, "rehash r1"),
            (Kind::Reach, "node c2 swallow"),
            (Kind::Reach, "node c2 plain"),
        ],
    },
    Scenario {
        name: "three-diamonds",
        base: "",
        steps: &[
            (Kind::Loss, "remove r3 -> b4"),
            (Kind::Addition, "add r3 -> b4"),
            (Kind::Rehash, "rehash r1"),
            (Kind::Rehash, "rehash r4"),
            (Kind::Reach, "node c2 swallow"),
            (Kind::Reach, "node c2 plain"),
        ],
    },
    Scenario {
        name: "wide28",
        base: "",
        steps: &[
            (Kind::Loss, "remove r1 -> a28"),
            (Kind::Addition, "add r1 -> a28"),
            (Kind::Rehash, "rehash r1"),
            (Kind::Reach, "node a7 swallow"),
            (Kind::Reach, "node a7 plain"),
        ],
    },
    Scenario {
        name: "wide56",
        base: "",
        steps: &[
            (Kind::Loss, "remove r1 -> a56"),
            (Kind::Addition, "add r1 -> a56"),
            (Kind::Rehash, "rehash r1"),
            (Kind::Reach, "node a7 swallow"),
            (Kind::Reach, "node a7 plain"),
        ],
    },
    Scenario {
        name: "mesh8x8",
        base: "",
        steps: &[
            (Kind::Loss, "remove a1 -> b8"),
            (Kind::Addition, "add a1 -> b8"),
            (Kind::Loss, "remove r1 -> a8"),
            (Kind::Addition, "add r1 -> a8"),
            (Kind::Rehash, "rehash a2"),
            (Kind::Reach, "node b2 swallow"),
            (Kind::Reach, "node b2 plain"),
        ],
    },
    Scenario {
        name: "cascade2x3x4",
        base: "",
        steps: &[
            (Kind::Loss, "remove b1 -> c4"),
            (Kind::Addition, "add b1 -> c4"),
            (Kind::Loss, "remove a1 -> b3"),
            (Kind::Addition, "add a1 -> b3"),
            (Kind::Rehash, "rehash a2"),
            (Kind::Reach, "node c5 swallow"),
            (Kind::Reach, "node c5 plain"),
        ],
    },
    Scenario {
        name: "asymmetric",
        base: "",
        steps: &[
            (Kind::Loss, "remove a -> a9"),
            (Kind::Addition, "add a -> a9"),
            (Kind::Loss, "remove r1 -> c"),
            (Kind::Addition, "add r1 -> c"),
            (Kind::Rehash, "rehash a"),
            (Kind::Reach, "node b1 swallow"),
            (Kind::Reach, "node b1 plain"),
        ],
    },
    Scenario {
        name: "silent-hops",
        base: "",
        steps: &[
            (Kind::Loss, "remove r1 -> a1"),
            (Kind::Addition, "add r1 -> a1"),
            (Kind::Rehash, "rehash r1"),
            (Kind::Reach, "node d silent"),
            (Kind::Reach, "node d plain"),
        ],
    },
    Scenario {
        name: "swallow",
        base: "",
        steps: &[
            (Kind::Loss, "remove r1 -> e"),
            (Kind::Addition, "add r1 -> e"),
            (Kind::Rehash, "rehash r1"),
            (Kind::Reach, "node c swallow"),
            (Kind::Reach, "node c plain"),
        ],
    },
    Scenario {
        name: "per-destination",
        base: "",
        steps: &[(Kind::Reach, "node x swallow"), (Kind::Reach, "node x plain")],
    },
    Scenario {
        name: "weights8421",
        base: "",
        steps: &[
            (Kind::Loss, "remove r1 -> e"),
            (Kind::Addition, "add r1 -> e weight=1"),
            (Kind::Loss, "remove r1 -> a"),
            (Kind::Addition, "add r1 -> a weight=8"),
            (Kind::Rehash, "rehash r1"),
            (Kind::Reach, "node b swallow"),
            (Kind::Reach, "node b plain"),
        ],
    },
];

impl Scenario {
    /// The network as it is at first, with more lines.
    pub(crate) fn text(&self, more: &str) -> Topology {
        match self.base {
            "" => topology(self.name, more),
            base => (base.to_owned() + more).parse().unwrap(),
        }
    }
}
