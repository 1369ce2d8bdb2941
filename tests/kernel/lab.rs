//! The kernel lab: a topology as network namespaces joined by veth pairs, with the kernel's own ECMP.
//!
//! Knows iproute2, nftables and the kernel's switches; knows nothing of the tracer. Delays of the topology are
//! ignored: the lab is about forwarding and answering.
//!
//! Every node, source and destination included, is a namespace; its own address is on `lo`. Answers go
//! back by a single way, each router through its first predecessor, so that they never depend on a hash;
//! with [`Options::return_ecmp`] routers balance them as well.
//!
//! A router balances per flow by the kernel's hash policy 1 (addresses, protocol, ports). `balance=per-destination`
//! is hash policy 3 over the destination address; `balance=per-packet` draws a mark for each packet, and each mark has a
//! routing table with one next hop. `unreachable=13` is a packet filter that rejects ("admin-prohibited": code 13 over
//! IPv4, code 1 over IPv6).
//!
//! Three things of Linux to know when a truth is not met (measured on 6.18):
//! - A raw socket's packets always take the same next hop of their own host, whatever their ports: give the
//!   source of a topology one next hop, or name the interface with each packet.
//! - A connected socket's packets carry a hash of the socket through every veth, and all routers balance by it
//!   instead of by the packet: probes must come from unconnected sockets.
//! - The same goes for packets whose flow label the kernel chose; the lab switches that off.

mod capture;
mod namespaces;
mod plan;
mod scripts;
mod truth;

use std::{
    fmt::Write,
    net::IpAddr,
    os::unix::fs::MetadataExt,
    path::Path,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use traceflow_exporter::{
    flow::Family,
    simulation::topology::{Balance, Topology},
};

pub(crate) use capture::Capture;
pub(crate) use truth::Truth;

use namespaces::Script;
use plan::Plan;

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
    /// Over IPv6 routers hash addresses and flow label, as the kernel does unless told otherwise (policy 0), in place of
    /// addresses and ports (policy 1).
    pub(crate) flow_label: bool,
    /// Routers balance what goes back to the source over all shortest ways. What a trace finds does not depend on it.
    pub(crate) return_ecmp: bool,
    /// Hash seeds of all routers are derived from this. The same seed and topology balance the same flows
    /// the same way.
    pub(crate) hash_seed: u32,
}

impl Options {
    /// Nodes are inbound interfaces, no limit on answers.
    pub(crate) fn links() -> Self {
        Self {
            mode: Mode::Links,
            icmp_rate_limit: false,
            flow_label: false,
            return_ecmp: false,
            hash_seed: 1,
        }
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
    options: Options,
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
        let lab = Self { plan: Plan::new(topology), options, prefix };
        lab.set_up();
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
        Truth::new(&self.plan, self.options.mode, family, self.plan.destinations[0])
    }

    /// The same for any destination.
    pub(crate) fn truth_to(&self, destination: &str, family: Family) -> Truth {
        Truth::new(&self.plan, self.options.mode, family, self.plan.node(destination))
    }

    /// Makes `node` balance over these of its next hops only, for all destinations behind them, in both
    /// families. Each route is replaced at once; flows move as in any kernel whose next hops change.
    ///
    /// # Panics
    /// When one of them is no next hop of the node in the topology, none is given, or the node balances per packet.
    pub(crate) fn replace_next_hops(&self, node: &str, next_hops: &[&str]) {
        assert!(!next_hops.is_empty(), "`{node}` has to keep one next hop");
        let from = self.plan.node(node);
        assert_ne!(self.plan.nodes[from].balance, Balance::PerPacket, "the marks of `{node}` are fixed");
        let allowed: Vec<usize> = next_hops.iter().map(|to| self.link(from, to)).collect();
        let script = format!("ip -batch - <<'END'\n{}END\n", self.forward_routes(from, &allowed));
        Script::shell(&self.namespace(from), &script)
            .finish()
            .unwrap_or_else(|error| panic!("cannot replace the next hops of `{node}`: {error}"));
    }

    /// Makes `node` spread flows by another hash seed, in both families.
    pub(crate) fn set_hash_seed(&self, node: &str, seed: u64) {
        let script = format!("echo {seed} >/proc/sys/net/ipv4/fib_multipath_hash_seed\n");
        Script::shell(&self.namespace(self.plan.node(node)), &script)
            .finish()
            .unwrap_or_else(|error| panic!("cannot set the hash seed of `{node}`: {error}"));
    }

    /// Captures the packets that match a pcap filter at a node's uplink: the interface by which the source
    /// sends its probes, and by which every other node sends its answers. Where there are several, it captures at
    /// all interfaces.
    pub(crate) fn capture(&self, node: &str, filter: &str) -> Capture {
        let index = self.plan.node(node);
        let links = if index == self.plan.source { self.plan.outbound(index) } else { self.back(index) };
        let uplink = match *links {
            [link] => interface(link),
            _ => "any".to_owned(),
        };
        Capture::start(self.command(node, "tcpdump"), &uplink, filter)
    }

    /// The interface by which `node` sends to a next hop.
    pub(crate) fn interface(&self, node: &str, next_hop: &str) -> String {
        interface(self.link(self.plan.node(node), next_hop))
    }

    /// The names of its namespaces.
    pub(crate) fn namespaces(&self) -> Vec<String> {
        (0..self.plan.nodes.len()).map(|node| self.namespace(node)).collect()
    }

    fn link(&self, from: usize, to: &str) -> usize {
        let next_hop = self.plan.node(to);
        let mut outbound = self.plan.outbound(from).into_iter();
        let link = outbound.find(|&link| self.plan.links[link].to == next_hop);
        link.unwrap_or_else(|| panic!("`{to}` is no next hop of `{}`", self.plan.nodes[from].name))
    }

    fn namespace(&self, node: usize) -> String {
        format!("{}{}", self.prefix, self.plan.nodes[node].name)
    }

    /// The links by which a node sends towards the source.
    fn back(&self, node: usize) -> Vec<usize> {
        if self.options.return_ecmp {
            self.plan.ways_back(node)
        } else {
            self.plan.way_back(node).into_iter().collect()
        }
    }

    fn set_up(&self) {
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

        self.run_everywhere(|node| Script::shell(&self.namespace(node), &self.script(node)));
        self.run_everywhere(|node| Script::ip_in(&self.namespace(node), &self.look_at_links(node)));
    }

    /// Runs a script for each node, all at the same time.
    fn run_everywhere(&self, start: impl Fn(usize) -> Script) {
        let scripts: Vec<Script> = (0..self.plan.nodes.len()).map(start).collect();
        for (script, node) in scripts.into_iter().zip(&self.plan.nodes) {
            script
                .finish()
                .unwrap_or_else(|error| panic!("cannot set up the lab's node `{}`: {error}", node.name));
        }
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
