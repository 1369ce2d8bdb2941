//! What makes a namespace the node that it stands for: switches, addresses, routes and packet filters, as scripts.
//!
//! Knows the kernel's switches, iproute2 and nftables; knows nothing of how and when scripts are run.

use std::{fmt::Write, net::IpAddr};

use traceflow_exporter::{flow::Family, simulation::topology::Balance};

use super::{
    FAMILIES, Lab, Mode, interface, mac,
    plan::{Node, Plan},
};

/// Routing tables of per-packet balancers: this and the mark.
const FIRST_TABLE: usize = 100;

impl Lab {
    /// All of a node, as a shell script to be run in its namespace.
    pub(super) fn script(&self, node: usize) -> String {
        format!(
            "{}ip -batch - <<'END'\n{}END\n{}{}",
            self.switches(node),
            self.addresses_and_routes(node),
            self.rules(node),
            self.filter(node)
        )
    }

    /// The kernel's switches of a node, as a shell script.
    fn switches(&self, node: usize) -> String {
        let seed = hash_seed(self.options.hash_seed, node);
        let inbound = u8::from(self.options.mode == Mode::Links);
        let (policy_v4, policy_v6) = match self.plan.nodes[node].balance {
            Balance::PerDestination => ("3", "3"),
            Balance::PerFlow | Balance::PerPacket if self.options.flow_label => ("1", "0"),
            Balance::PerFlow | Balance::PerPacket => ("1", "1"),
        };
        let mut switches = vec![
            ("ipv4/ip_forward", "1".to_owned()),
            ("ipv6/conf/all/forwarding", "1".to_owned()),
            ("ipv4/fib_multipath_hash_policy", policy_v4.to_owned()),
            ("ipv6/fib_multipath_hash_policy", policy_v6.to_owned()),
            // What policy 3 looks at: the destination address.
            ("ipv4/fib_multipath_hash_fields", "2".to_owned()),
            ("ipv6/fib_multipath_hash_fields", "2".to_owned()),
            // Drives both families. Without it all namespaces share one key and balance in step.
            ("ipv4/fib_multipath_hash_seed", seed.to_string()),
            // A packet that gets its flow label from the kernel takes the sender's hash of it through every
            // veth, and all routers balance by that instead of their own.
            ("ipv6/auto_flowlabels", "0".to_owned()),
            ("ipv4/icmp_errors_use_inbound_ifaddr", inbound.to_string()),
        ];
        if !self.options.icmp_rate_limit {
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
            let back = self.back(node);
            if !back.is_empty() {
                let (source, own) = (Plan::own(self.plan.source, family), Plan::own(node, family));
                let preferred = match self.options.mode {
                    // Without a preferred source the kernel answers from the inbound interface.
                    Mode::Links if !self.plan.destinations.contains(&node) => String::new(),
                    _ => format!(" src {own}"),
                };
                let next_hops: Vec<_> =
                    back.iter().map(|&link| (link, Plan::near(link, family), 1)).collect();
                writeln!(batch, "route add {source}{preferred}{}", by(&next_hops)).unwrap();
            }
        }
        batch.push_str(&self.forward_routes(node, &self.plan.outbound(node)));
        batch
    }

    /// Looks at each link of a node, as lines of `ip -batch`, once both ends of all are up: until a work queue of the kernel
    /// has run, or somebody looks, they may still drop what is sent.
    pub(super) fn look_at_links(&self, node: usize) -> String {
        let links = self.plan.links.iter().enumerate();
        links
            .filter(|(_, link)| link.from == node || link.to == node)
            .map(|(index, _)| format!("link show dev {}\n", interface(index)))
            .collect()
    }

    /// A node's routes to all destinations over these of its links, as lines of `ip -batch`.
    pub(super) fn forward_routes(&self, node: usize, allowed: &[usize]) -> String {
        let mut batch = String::new();
        for &destination in self.plan.destinations.iter().filter(|&&destination| destination != node) {
            let mut links = self.plan.towards(node, destination);
            links.retain(|link| allowed.contains(link));
            for family in FAMILIES.into_iter().filter(|_| !links.is_empty()) {
                write!(batch, "route replace {}", Plan::own(destination, family)).unwrap();
                if node == self.plan.source {
                    write!(batch, " src {}", Plan::own(node, family)).unwrap();
                }
                let weight = |link: usize| self.plan.links[link].weight;
                let next_hops: Vec<_> =
                    links.iter().map(|&link| (link, Plan::far(link, family), weight(link))).collect();
                writeln!(batch, "{}", by(&next_hops)).unwrap();
            }
        }
        batch
    }

    /// One routing table for each next hop of a per-packet balancer, chosen by the mark that [`Self::filter`] sets, as a
    /// shell script.
    fn rules(&self, node: usize) -> String {
        if self.plan.nodes[node].balance != Balance::PerPacket {
            return String::new();
        }
        let links = self.plan.outbound(node);
        for &destination in &self.plan.destinations {
            let name = &self.plan.nodes[node].name;
            assert_eq!(self.plan.towards(node, destination), links, "`{name}` has next hops not for all");
        }
        let mut script = String::new();
        for (family, option) in [(Family::V4, "-4"), (Family::V6, "-6")] {
            writeln!(script, "ip {option} -batch - <<'END'").unwrap();
            for (mark, &link) in (1..).zip(&links) {
                let table = FIRST_TABLE + mark;
                writeln!(script, "rule add fwmark {mark} lookup {table}").unwrap();
                let next_hop = by(&[(link, Plan::far(link, family), 1)]);
                for &destination in &self.plan.destinations {
                    let destination = Plan::own(destination, family);
                    writeln!(script, "route add {destination}{next_hop} table {table}").unwrap();
                }
            }
            script.push_str("END\n");
        }
        script
    }

    /// The packet filter of a node that does more than forward and answer, as a shell script.
    fn filter(&self, node: usize) -> String {
        let Node { silent, swallow, refuse, balance, .. } = self.plan.nodes[node];
        let mut chains = String::new();
        if silent {
            // Only what answers a probe: neighbour discovery is ICMPv6, too.
            chains.push_str(
                "chain silent { type filter hook output priority 0;
                 icmp type { destination-unreachable, time-exceeded, echo-reply } drop;
                 icmpv6 type { destination-unreachable, time-exceeded, echo-reply } drop;
                 meta l4proto tcp drop; }\n",
            );
        }
        // Of what goes away from the source only: answers of others pass.
        let [v4, v6] = FAMILIES.map(|family| Plan::own(self.plan.source, family));
        let mut on_the_way_there = |hook: &str, verdict: &str| {
            writeln!(
                chains,
                "chain {hook} {{ type filter hook {hook} priority 0; ip daddr != {v4} {verdict}; ip6 daddr != {v6} {verdict}; }}"
            )
            .unwrap();
        };
        // Forwarding is behind the check of the TTL.
        if swallow {
            on_the_way_there("forward", "drop");
        } else if refuse {
            on_the_way_there("forward", "reject with icmpx type admin-prohibited");
        }
        if balance == Balance::PerPacket {
            let (mut shares, mut total) = (Vec::new(), 0);
            for (mark, link) in (1..).zip(self.plan.outbound(node)) {
                let weight = self.plan.links[link].weight;
                shares.push(format!("{total}-{} : {mark}", total + weight - 1));
                total += weight;
            }
            let shares = shares.join(", ");
            on_the_way_there(
                "prerouting",
                &format!("meta mark set numgen random mod {total} map {{ {shares} }}"),
            );
        }
        if chains.is_empty() {
            return String::new();
        }
        format!("nft -f - <<'END'\ntable inet lab {{\n{chains}}}\nEND\n")
    }
}

/// These next hops (link, gateway, weight), as the end of a line of `ip -batch`.
fn by(next_hops: &[(usize, IpAddr, u32)]) -> String {
    match *next_hops {
        [(link, via, _)] => format!(" via {via} dev {} onlink", interface(link)),
        _ => next_hops
            .iter()
            .map(|&(link, via, weight)| {
                format!(" nexthop via {via} dev {} weight {weight} onlink", interface(link))
            })
            .collect(),
    }
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
