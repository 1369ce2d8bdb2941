//! The kernel lab: a topology as network namespaces joined by veth pairs, with the kernel's own ECMP.
//!
//! Knows iproute2, nftables and the kernel's switches; knows nothing of the tracer. Delays of the topology are
//! ignored: the lab is about forwarding and answering.
//!
//! Every node, source and destination included, is a namespace; its own address is on `lo`. Answers go
//! back by a single way, each router through its first predecessor, so that they never depend on a hash.
//!
//! Three things of Linux to know when a truth is not met (measured on 6.18):
//! - A raw socket's packets always take the same next hop of their own host, whatever their ports: give the
//!   source of a topology one next hop.
//! - A connected socket's packets carry a hash of the socket through every veth, and all routers balance by it
//!   instead of by the packet: probes must come from unconnected sockets.
//! - The same goes for packets whose flow label the kernel chose; the lab switches that off.

mod capture;
mod namespaces;
mod plan;
mod truth;

use std::{
    fmt::Write,
    net::IpAddr,
    os::unix::fs::MetadataExt,
    path::Path,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use traceflow_exporter::{flow::Family, simulation::topology::Topology};

pub(crate) use capture::Capture;
pub(crate) use truth::Truth;

use namespaces::Script;
use plan::{Node, Plan};

/// Which address a router answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// That of the interface the probe came in by: nodes of the route are links of the topology.
    Links,
    /// Its own, whichever way the probe came: nodes of the route are routers.
    Routers,
}

/// How a lab is built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) mode: Mode,
    /// Leave the kernel's default limits on ICMP errors in place; otherwise there is none.
    pub(crate) icmp_rate_limit: bool,
    /// Hash seeds of all routers are derived from this. The same seed and topology balance the same flows
    /// the same way.
    pub(crate) hash_seed: u32,
}

impl Options {
    /// Nodes are inbound interfaces, no limit on answers.
    pub(crate) fn links() -> Self {
        Self { mode: Mode::Links, icmp_rate_limit: false, hash_seed: 1 }
    }

    /// Nodes are routers, no limit on answers.
    pub(crate) fn routers() -> Self {
        Self { mode: Mode::Routers, ..Self::links() }
    }
}

/// Whether the lab cannot be built here; if so, says it.
pub(crate) fn skipped() -> bool {
    let root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if !root {
        eprintln!("skipped: needs root");
    }
    !root
}

/// The topology of this name under `tests/topologies`.
pub(crate) fn topology(name: &str) -> Topology {
    let path = format!("{}/tests/topologies/{name}.topo", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    text.parse().unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A running lab. Dropping it ends every process in its namespaces and removes them.
pub(crate) struct Lab {
    plan: Plan,
    mode: Mode,
    prefix: String,
}

static LABS: AtomicU32 = AtomicU32::new(0);

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

impl Lab {
    /// Builds the namespaces, links, addresses and routes of a topology.
    ///
    /// # Panics
    /// Without root, without the tools, or when the kernel refuses; the message says which.
    pub(crate) fn build(topology: &Topology, options: Options) -> Self {
        namespaces::require_tools();
        namespaces::sweep();
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{}{}-{number}-", namespaces::PREFIX, std::process::id());
        // From here on Drop cleans up, whatever goes wrong.
        let lab = Self { plan: Plan::new(topology), mode: options.mode, prefix };
        lab.set_up(options);
        lab
    }

    /// A command that runs `program` in the namespace of `node`.
    pub(crate) fn command(&self, node: &str, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(self.plan.node(node))]).arg(program.as_ref());
        command
    }

    /// The own address of a node; in mode `Routers` that is what it answers with.
    pub(crate) fn address(&self, node: &str, family: Family) -> IpAddr {
        Plan::own(self.plan.node(node), family)
    }

    /// The address to trace to: the own address of the topology's first destination.
    pub(crate) fn destination(&self, family: Family) -> IpAddr {
        Plan::own(self.plan.destinations[0], family)
    }

    /// What a perfect trace to the first destination would print while all next hops are in use.
    pub(crate) fn truth(&self, family: Family) -> Truth {
        Truth::new(&self.plan, self.mode, family, self.plan.destinations[0])
    }

    /// The same for any destination.
    pub(crate) fn truth_to(&self, destination: &str, family: Family) -> Truth {
        Truth::new(&self.plan, self.mode, family, self.plan.node(destination))
    }

    /// Makes `node` balance over these of its next hops only, for all destinations behind them, in both
    /// families. Each route is replaced at once; flows move as in any kernel whose next hops change.
    ///
    /// # Panics
    /// When one of them is no next hop of the node in the topology, or none is given.
    pub(crate) fn replace_next_hops(&self, node: &str, next_hops: &[&str]) {
        assert!(!next_hops.is_empty(), "`{node}` has to keep one next hop");
        let from = self.plan.node(node);
        let outbound = self.plan.outbound(from);
        let link_to = |name: &&str| {
            let to = self.plan.node(name);
            let link = outbound.iter().copied().find(|&link| self.plan.links[link].to == to);
            link.unwrap_or_else(|| panic!("`{name}` is no next hop of `{node}`"))
        };
        let allowed: Vec<usize> = next_hops.iter().map(link_to).collect();
        let script = format!("ip -batch - <<'END'\n{}END\n", self.forward_routes(from, &allowed));
        Script::shell(&self.namespace(from), &script)
            .finish()
            .unwrap_or_else(|error| panic!("cannot replace the next hops of `{node}`: {error}"));
    }

    /// Captures the packets that match a pcap filter at a node's uplink: the interface by which the source
    /// sends its probes, and by which every other node sends its answers. A source with several next hops
    /// has no such interface: there it captures at all of them.
    pub(crate) fn capture(&self, node: &str, filter: &str) -> Capture {
        let index = self.plan.node(node);
        let uplink = match (self.plan.way_back(index), self.plan.outbound(index).as_slice()) {
            (Some(link), _) => interface(link),
            (None, &[link]) => interface(link),
            (None, _) => "any".to_owned(),
        };
        Capture::start(self.command(node, "tcpdump"), &uplink, filter)
    }

    /// The names of its namespaces.
    pub(crate) fn namespaces(&self) -> Vec<String> {
        (0..self.plan.nodes.len()).map(|node| self.namespace(node)).collect()
    }

    fn namespace(&self, node: usize) -> String {
        format!("{}{}", self.prefix, self.plan.nodes[node].name)
    }

    fn set_up(&self, options: Options) {
        let mut batch: String =
            self.namespaces().iter().map(|namespace| format!("netns add {namespace}\n")).collect();
        for (index, link) in self.plan.links.iter().enumerate() {
            let name = interface(index);
            let (from, to) = (self.namespace(link.from), self.namespace(link.to));
            let [near, far] = [1, 2].map(|end| mac(index, end));
            // Both ends at their place at once: names need only be unique within a namespace.
            writeln!(
                batch,
                "link add {name} netns {from} address {near} type veth peer name {name} netns {to} address {far}"
            )
            .unwrap();
        }
        Script::ip(&batch)
            .finish()
            .unwrap_or_else(|error| panic!("cannot make the lab's namespaces: {error}"));

        let scripts: Vec<(&str, Script)> = (self.plan.nodes.iter().enumerate())
            .map(|(index, node)| {
                let script = format!(
                    "{}ip -batch - <<'END'\n{}END\n{}",
                    self.switches(index, options),
                    self.addresses_and_routes(index),
                    self.filter(index)
                );
                (node.name.as_str(), Script::shell(&self.namespace(index), &script))
            })
            .collect();
        for (node, script) in scripts {
            script.finish().unwrap_or_else(|error| panic!("cannot set up the lab's node `{node}`: {error}"));
        }
    }

    /// The kernel's switches of a node, as a shell script.
    fn switches(&self, node: usize, options: Options) -> String {
        let seed = hash_seed(options.hash_seed, node);
        let inbound = u8::from(options.mode == Mode::Links);
        let mut switches = vec![
            ("ipv4/ip_forward", "1".to_owned()),
            ("ipv6/conf/all/forwarding", "1".to_owned()),
            ("ipv4/fib_multipath_hash_policy", "1".to_owned()),
            ("ipv6/fib_multipath_hash_policy", "1".to_owned()),
            // Drives both families. Without it all namespaces share one key and balance in step.
            ("ipv4/fib_multipath_hash_seed", seed.to_string()),
            // A packet that gets its flow label from the kernel takes the sender's hash of it through every
            // veth, and all routers balance by that instead of their own.
            ("ipv6/auto_flowlabels", "0".to_owned()),
            ("ipv4/icmp_errors_use_inbound_ifaddr", inbound.to_string()),
        ];
        if !options.icmp_rate_limit {
            switches.extend([
                ("ipv4/icmp_ratelimit", "0".to_owned()),
                ("ipv4/icmp_msgs_per_sec", "1000000".to_owned()),
                ("ipv4/icmp_msgs_burst", "1000000".to_owned()),
                ("ipv6/icmp/ratelimit", "0".to_owned()),
            ]);
        }
        let mut script = String::new();
        for (name, value) in switches {
            writeln!(script, "echo {value} >/proc/sys/net/{name}").unwrap();
        }
        // By interface as well: they exist already and took over what `default` was.
        for (name, value) in
            [("ipv4/conf/*/rp_filter", 0), ("ipv6/conf/*/disable_ipv6", 0), ("ipv6/conf/*/accept_dad", 0)]
        {
            writeln!(script, "for file in /proc/sys/net/{name}; do echo {value} >$file; done").unwrap();
        }
        script
    }

    /// Addresses and routes of a node, as lines of `ip -batch`.
    fn addresses_and_routes(&self, node: usize) -> String {
        let mut batch = String::from("link set lo up\n");
        for (index, link) in self.plan.links.iter().enumerate() {
            if link.from == node || link.to == node {
                writeln!(batch, "link set {} up", interface(index)).unwrap();
            }
        }
        if self.plan.outbound(node).is_empty() && self.plan.nodes[node].swallow {
            // A route there has to be, or the kernel says so; the packet filter keeps packets off it.
            batch.push_str("link add sink type veth peer name drain\nlink set sink up\n");
            batch.push_str("route add 0.0.0.0/0 dev sink\nroute add ::/0 dev sink\n");
        }
        for family in FAMILIES {
            writeln!(batch, "address add {} dev lo{}", Plan::own(node, family), no_dad(family)).unwrap();
            for (index, link) in self.plan.links.iter().enumerate() {
                let (near, far) = (Plan::near(index, family), Plan::far(index, family));
                let (address, neighbour, mac) = match node {
                    _ if link.from == node => (near, far, mac(index, 2)),
                    _ if link.to == node => (far, near, mac(index, 1)),
                    _ => continue,
                };
                let (length, name) = (link_prefix(family), interface(index));
                writeln!(batch, "address add {address}/{length} dev {name}{}", no_dad(family)).unwrap();
                // Known from the start, or the first probes of a burst get lost waiting for it.
                writeln!(batch, "neighbour add {neighbour} lladdr {mac} dev {name}").unwrap();
            }
            if let Some(link) = self.plan.way_back(node) {
                let (source, via) = (Plan::own(self.plan.source, family), Plan::near(link, family));
                let (dev, own) = (interface(link), Plan::own(node, family));
                let preferred = match self.mode {
                    // Without a preferred source the kernel answers from the inbound interface.
                    Mode::Links if !self.plan.destinations.contains(&node) => String::new(),
                    _ => format!(" src {own}"),
                };
                writeln!(batch, "route add {source} via {via} dev {dev} onlink{preferred}").unwrap();
            }
        }
        batch.push_str(&self.forward_routes(node, &self.plan.outbound(node)));
        batch
    }

    /// A node's routes to all destinations over these of its links, as lines of `ip -batch`.
    fn forward_routes(&self, node: usize, allowed: &[usize]) -> String {
        let mut batch = String::new();
        for &destination in self.plan.destinations.iter().filter(|&&destination| destination != node) {
            let mut links = self.plan.towards(node, destination);
            links.retain(|link| allowed.contains(link));
            for family in FAMILIES.into_iter().filter(|_| !links.is_empty()) {
                write!(batch, "route replace {}", Plan::own(destination, family)).unwrap();
                if node == self.plan.source {
                    write!(batch, " src {}", Plan::own(node, family)).unwrap();
                }
                for &link in &links {
                    let (via, dev) = (Plan::far(link, family), interface(link));
                    match links.len() {
                        1 => write!(batch, " via {via} dev {dev} onlink").unwrap(),
                        _ => {
                            let weight = self.plan.links[link].weight;
                            write!(batch, " nexthop via {via} dev {dev} weight {weight} onlink").unwrap();
                        }
                    }
                }
                batch.push('\n');
            }
        }
        batch
    }

    /// The packet filter of a silent or swallowing node, as a shell script.
    fn filter(&self, node: usize) -> String {
        let Node { silent, swallow, .. } = self.plan.nodes[node];
        if !silent && !swallow {
            return String::new();
        }
        let mut table = String::from("table inet lab {\n");
        if silent {
            // Only what answers a probe: neighbour discovery is ICMPv6, too.
            table.push_str(
                "chain silent { type filter hook output priority 0;
                 icmp type { destination-unreachable, time-exceeded, echo-reply } drop;
                 icmpv6 type { destination-unreachable, time-exceeded, echo-reply } drop;
                 meta l4proto tcp drop; }\n",
            );
        }
        if swallow {
            // Behind the check of the TTL, and away from the source only: answers of others pass.
            let [v4, v6] = FAMILIES.map(|family| Plan::own(self.plan.source, family));
            writeln!(
                table,
                "chain swallow {{ type filter hook forward priority 0; ip daddr != {v4} drop; ip6 daddr != {v6} drop; }}"
            )
            .unwrap();
        }
        format!("nft -f - <<'END'\n{table}}}\nEND\n")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        namespaces::remove(&self.namespaces());
    }
}

/// The interfaces of a link, the same name at both ends.
fn interface(link: usize) -> String {
    format!("link{link}")
}

/// The hardware address of a link's end.
fn mac(link: usize, end: u8) -> String {
    let [high, low] = u16::try_from(link).unwrap().to_be_bytes();
    format!("02:00:00:{high:02x}:{low:02x}:{end:02x}")
}

fn link_prefix(family: Family) -> u8 {
    match family {
        Family::V4 => 30,
        Family::V6 => 64,
    }
}

/// IPv6 addresses are to work at once, not after a search for duplicates.
fn no_dad(family: Family) -> &'static str {
    match family {
        Family::V4 => "",
        Family::V6 => " nodad",
    }
}

/// Another seed for every router; 0 would mean the key that all namespaces share.
fn hash_seed(seed: u32, node: usize) -> u32 {
    let node = u32::try_from(node).unwrap();
    let mixed = (seed.wrapping_mul(0x9E37_79B1) ^ node.wrapping_mul(0x85EB_CA6B)).wrapping_mul(0xC2B2_AE35);
    (mixed ^ (mixed >> 15)).max(1)
}
