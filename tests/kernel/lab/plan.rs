//! The plan of a lab: which address every router and every end of every link has, and which way answers take.
//!
//! Knows the topology; knows nothing of namespaces or commands.

use std::{
    collections::{BTreeSet, VecDeque},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use traceflow_exporter::{
    flow::Family,
    simulation::topology::{Attributes, Balance, Topology},
};

/// A namespace: the source, a router, or a destination.
pub(crate) struct Node {
    pub(crate) name: String,
    /// Forwards, but sends no ICMP errors.
    pub(crate) silent: bool,
    /// Answers, but forwards nothing towards the destination.
    pub(crate) swallow: bool,
    /// Answers what it should forward towards the destination with "administratively prohibited".
    pub(crate) refuse: bool,
    /// What its choice of the next hop depends on.
    pub(crate) balance: Balance,
}

impl Node {
    /// Whether anything passes it towards the destination.
    pub(crate) fn forwards(&self) -> bool {
        !self.swallow && !self.refuse
    }
}

/// A veth pair, directed from the source towards the destination.
pub(crate) struct Link {
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// 1 to 256, as many as a kernel's next hop can weigh.
    pub(crate) weight: u32,
}

/// Nodes and links by index; a link's index makes its addresses, a node's index its own address.
pub(crate) struct Plan {
    pub(crate) nodes: Vec<Node>,
    pub(crate) links: Vec<Link>,
    pub(crate) source: usize,
    pub(crate) destinations: Vec<usize>,
    /// For every node but the source the link to its first predecessor: the way answers take. It is the tree
    /// of a breadth-first walk in the order of the file, so the way back is single, shortest and without loops.
    way_back: Vec<Option<usize>>,
    /// For every node how far it is from the source, in links; `None` where nothing leads from there.
    distance: Vec<Option<u16>>,
}

/// The code of ICMP's "communication administratively prohibited", the one refusal that exists in both families.
const PROHIBITED: u8 = 13;

impl Plan {
    /// # Panics
    /// When the topology asks for what the kernel lab cannot do: a weight above 256, a script, more than 4096 nodes,
    /// or an attribute of a node other than `silent`, `swallow`, `unreachable=13` and `balance=`.
    pub(crate) fn new(topology: &Topology) -> Self {
        assert!(topology.nodes().len() <= 0x1000, "the address plan holds 4096 nodes");
        assert!(topology.edges().len() <= 0x10000, "the address plan holds 65536 links");
        assert!(topology.events().is_empty(), "the kernel lab plays no script: call `replace_next_hops`");
        assert_eq!(topology.faults(), &Default::default(), "the kernel lab has no faulty network");
        let source = topology.source();
        let destinations = topology.destinations().to_vec();
        let links: Vec<Link> = (topology.edges().iter())
            .map(|edge| Link { from: edge.from, to: edge.to, weight: edge.weight })
            .collect();
        assert!(links.iter().all(|link| link.weight <= 256), "a kernel's next hop has a weight of 1 to 256");
        let nodes = (topology.nodes().iter().enumerate())
            .map(|(index, node)| {
                let Attributes { silent, swallow, balance, unreachable, .. } = node.attributes;
                let unreachable = unreachable.filter(|&code| code == PROHIBITED);
                let known = Attributes { silent, swallow, balance, unreachable, ..Attributes::default() };
                assert_eq!(node.attributes, known, "the kernel lab cannot make `{}` behave so", node.name);
                assert!(
                    balance == Balance::PerFlow || index != source,
                    "the source sends as its kernel will, not per packet or per destination"
                );
                let leads_on = links.iter().any(|link| link.from == index);
                let swallow = swallow || (!leads_on && !destinations.contains(&index));
                let refuse = unreachable.is_some();
                Node { name: node.name.clone(), silent, swallow, refuse, balance }
            })
            .collect();
        let (way_back, distance) = way_back(topology.nodes().len(), &links, source);
        Self { nodes, links, source, destinations, way_back, distance }
    }

    pub(crate) fn node(&self, name: &str) -> usize {
        self.nodes
            .iter()
            .position(|node| node.name == name)
            .unwrap_or_else(|| panic!("the topology has no node `{name}`"))
    }

    /// The links that leave `node`.
    pub(crate) fn outbound(&self, node: usize) -> Vec<usize> {
        (0..self.links.len()).filter(|&link| self.links[link].from == node).collect()
    }

    /// The links over which `node` sends to `destination`: those behind which it lies, and dead ends, which
    /// take a share of everything.
    pub(crate) fn towards(&self, node: usize, destination: usize) -> Vec<usize> {
        let mut links = self.outbound(node);
        if self.destinations.len() > 1 {
            links.retain(|&link| {
                let behind = self.behind(self.links[link].to);
                behind.contains(&destination) || self.destinations.iter().all(|other| !behind.contains(other))
            });
        }
        links
    }

    /// A node and all nodes behind it.
    fn behind(&self, node: usize) -> BTreeSet<usize> {
        let mut seen = BTreeSet::from([node]);
        let mut queue = vec![node];
        while let Some(node) = queue.pop() {
            let next = self.links.iter().filter(|link| link.from == node).map(|link| link.to);
            queue.extend(next.filter(|&to| seen.insert(to)));
        }
        seen
    }

    /// The link by which `node` sends towards the source; `None` for the source itself and for nodes that it
    /// cannot reach.
    pub(crate) fn way_back(&self, node: usize) -> Option<usize> {
        self.way_back[node]
    }

    /// All links by which `node` can send towards the source: those from nodes nearer to it, so that there is no
    /// loop whichever a packet takes.
    pub(crate) fn ways_back(&self, node: usize) -> Vec<usize> {
        let nearer = |link: &Link| {
            link.to == node && self.distance[link.from].is_some_and(|far| Some(far) < self.distance[node])
        };
        (0..self.links.len()).filter(|&link| nearer(&self.links[link])).collect()
    }

    /// The address of a link's end at the side of the source: 10.0.LINK.1 or fd00:0:0:LINK::1.
    pub(crate) fn near(link: usize, family: Family) -> IpAddr {
        link_address(link, family, 1)
    }

    /// The address of a link's end at the side of the destination: 10.0.LINK.2 or fd00:0:0:LINK::2.
    pub(crate) fn far(link: usize, family: Family) -> IpAddr {
        link_address(link, family, 2)
    }

    /// A node's own address, on its loopback interface: 172.16.NODE.1 or fd00:0:1:NODE::1.
    pub(crate) fn own(node: usize, family: Family) -> IpAddr {
        match family {
            Family::V4 => Ipv4Addr::from(0xac10_0001 + (u32::try_from(node).unwrap() << 8)).into(),
            Family::V6 => Ipv6Addr::new(0xfd00, 0, 1, u16::try_from(node).unwrap(), 0, 0, 0, 1).into(),
        }
    }
}

fn link_address(link: usize, family: Family, end: u8) -> IpAddr {
    let link = u16::try_from(link).unwrap();
    match family {
        Family::V4 => {
            let [high, low] = link.to_be_bytes();
            Ipv4Addr::new(10, high, low, end).into()
        }
        Family::V6 => Ipv6Addr::new(0xfd00, 0, 0, link, 0, 0, 0, end.into()).into(),
    }
}

/// The links of a breadth-first walk, and the distances it found.
fn way_back(nodes: usize, links: &[Link], source: usize) -> (Vec<Option<usize>>, Vec<Option<u16>>) {
    let (mut way_back, mut distance) = (vec![None; nodes], vec![None; nodes]);
    distance[source] = Some(0);
    let mut queue = VecDeque::from([source]);
    while let Some(node) = queue.pop_front() {
        for (index, link) in links.iter().enumerate().filter(|(_, link)| link.from == node) {
            if distance[link.to].is_none() {
                way_back[link.to] = Some(index);
                distance[link.to] = distance[node].map(|far| far + 1);
                queue.push_back(link.to);
            }
        }
    }
    (way_back, distance)
}
