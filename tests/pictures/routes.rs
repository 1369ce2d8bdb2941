//! Routes that never change: a number of flows of strategy `fixed` through simulated networks, with fixed seeds. What a discovery
//! would ask changes with every improvement of it.

use std::{fs, net::IpAddr, path::Path};

use traceflow_exporter::{
    annotations::Annotations,
    config::Module,
    flow::{Family, Protocol},
    request,
    route::Balancing,
    simulation::{Bench, Network, Topology},
    strategy::Strategy,
    trace::Trace,
};

/// A route and the formats in which it is kept.
pub(crate) struct Route {
    pub(crate) name: &'static str,
    /// The topology: the name of a file in tests/topologies, or its text.
    topology: &'static str,
    family: Family,
    flows: u16,
    pub(crate) formats: &'static [&'static str],
}

const ALL: &[&str] = &[
    "table.txt",
    "table80.txt",
    "colour.txt",
    "wide.txt",
    "wide80.txt",
    "json",
    "dot",
    "mmd",
    "vis.json",
    "svg",
    "html",
];
/// Colours, columns that go on below and every single flow are shown by a few.
const SHAPES: &[&str] =
    &["table.txt", "table80.txt", "wide.txt", "json", "dot", "mmd", "vis.json", "svg", "html"];
/// Of larger routes JSON says the same again, and at length.
const LARGE: &[&str] = &["table.txt", "table80.txt", "wide.txt", "dot", "mmd", "vis.json", "svg", "html"];
/// One picture of the widest route is enough.
const WIDEST: &[&str] = &["table.txt", "table80.txt", "wide80.txt", "dot", "mmd", "vis.json", "svg"];
/// What has a row a path.
const PATHS: &[&str] = &["table.txt", "table80.txt", "wide.txt", "html"];

/// The shape of the example with which the traceflow of 2017 is presented: a detour of one hop.
const DETOUR: &str = "s -> r1\nr1 -> a1 -> r2\nr1 -> b1 -> b2 -> r2\nr2 -> r3 -> d\n";
/// Whatever is peculiar about nodes, but nothing that chance decides.
const PECULIAR: &str = "s -> r1 -> n -> m -> p\np -> a1 b1 c1 -> q -> x -> d\n\
    node n nat\nnode m mpls=16004,16005\nnode p balance=per-packet\nnode q rate=10 burst=6\nnode x silent\n";

pub(crate) const ROUTES: [Route; 15] = [
    Route { name: "line", topology: "line", family: Family::V4, flows: 16, formats: SHAPES },
    Route { name: "detour", topology: DETOUR, family: Family::V4, flows: 32, formats: ALL },
    Route { name: "diamond4", topology: "diamond4", family: Family::V4, flows: 48, formats: SHAPES },
    Route { name: "diamond4-v6", topology: "diamond4", family: Family::V6, flows: 48, formats: SHAPES },
    Route {
        name: "three-diamonds",
        topology: "three-diamonds",
        family: Family::V4,
        flows: 96,
        formats: SHAPES,
    },
    Route { name: "mesh4x4", topology: "mesh4x4", family: Family::V4, flows: 128, formats: LARGE },
    Route { name: "unequal", topology: "unequal", family: Family::V6, flows: 48, formats: SHAPES },
    Route { name: "long", topology: "unequal", family: Family::V6, flows: 48, formats: ALL },
    Route { name: "silent", topology: "silent-hops", family: Family::V4, flows: 64, formats: SHAPES },
    Route { name: "swallow", topology: "swallow", family: Family::V4, flows: 48, formats: SHAPES },
    Route { name: "peculiar", topology: PECULIAR, family: Family::V4, flows: 24, formats: ALL },
    Route { name: "cascade", topology: "cascade2x3x4", family: Family::V4, flows: 256, formats: LARGE },
    Route { name: "partly", topology: DETOUR, family: Family::V4, flows: 32, formats: PATHS },
    Route { name: "partly-silent", topology: "silent-hops", family: Family::V4, flows: 64, formats: PATHS },
    Route { name: "mesh70", topology: "mesh70", family: Family::V4, flows: 1500, formats: WIDEST },
];

/// The trace of a route.
pub(crate) fn trace(name: &str) -> Trace {
    let route = ROUTES.iter().find(|route| route.name == name).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/topologies")
        .join(format!("{}.topo", route.topology));
    let text = fs::read_to_string(path).unwrap_or_else(|_| route.topology.to_owned());
    let topology: Topology = text.parse().unwrap();
    let module = Module { strategy: Strategy::Fixed, flows: route.flows, ..Module::default() };
    let mut bench = Bench::new(Network::new(&topology, route.family, 7), 1, 1_000_000, 7);
    let mut trace = bench.trace(Protocol::Udp, request::settings(&module, 7, None)).unwrap();
    if name == "peculiar" {
        // A fixed number of flows asks nothing twice, and does not find this out.
        let balancer = &mut trace.route.hops[3].nodes[0];
        balancer.balancing = Balancing::PerPacket;
        for link in trace.route.links.iter_mut().filter(|link| [4, 5].contains(&link.ttl.get())) {
            link.per_packet = true;
        }
    }
    if name == "peculiar" {
        annotate(&mut trace);
    }
    if name == "long" {
        lengthen(&mut trace);
    }
    if name.starts_with("partly") {
        thin(&mut trace);
    }
    trace
}

/// Leaves most flows with what they met at two hops, as a discovery asks them.
fn thin(trace: &mut Trace) {
    trace.strategy = Strategy::MdaLite;
    for (number, flow) in trace.route.flows.iter_mut().enumerate().filter(|(number, _)| number % 8 != 0) {
        let last = flow.hops.last().map(|hop| hop.ttl);
        flow.hops = flow.hops.iter().skip(number % flow.hops.len()).take(2).copied().collect();
        if flow.hops.last().map(|hop| hop.ttl) != last {
            flow.reached = None;
        }
    }
}

/// Gives nodes names, short and long, and autonomous systems.
fn annotate(trace: &mut Trace) {
    let first = |ttl: usize| trace.route.hops[ttl - 1].nodes[0].address.unwrap();
    let names =
        [(1, "r1.example.net"), (2, "ae-1-3502.edge7.frankfurt.example.net"), (5, "a1.<b>&.example.net")];
    let systems = [(1, 64_496), (2, 64_496), (3, 64_500), (4, 64_500)];
    trace.annotations = Annotations {
        names: names.map(|(ttl, name)| (first(ttl), name.into())).into(),
        systems: Some(systems.map(|(ttl, asn)| (first(ttl), asn)).into()),
    };
}

/// Gives all nodes addresses as long as can be.
fn lengthen(trace: &mut Trace) {
    let long = |address: &mut IpAddr| {
        if let IpAddr::V6(short) = *address {
            let mut segments = [0x2001, 0xdb8, 0x1111, 0x2222, 0x3333, 0x4444, 0x5555, 0x6660];
            segments[7] += short.segments()[7];
            *address = segments.into();
        }
    };
    long(&mut trace.destination);
    long(&mut trace.source);
    let route = &mut trace.route;
    let nodes = route.hops.iter_mut().flat_map(|hop| &mut hop.nodes).filter_map(|node| node.address.as_mut());
    nodes.for_each(long);
    let hops = route.flows.iter_mut().flat_map(|flow| &mut flow.hops).filter_map(|hop| hop.address.as_mut());
    hops.for_each(long);
    let ends =
        route.diamonds.iter_mut().flat_map(|diamond| [&mut diamond.divergence, &mut diamond.convergence]);
    ends.filter_map(Option::as_mut).for_each(long);
}
