//! A plain tracer to check the lab with: every flow at every TTL, no strategy, independent of the program.
//!
//! It runs as a process of its own in the source's namespace: the test binary starts itself there with the one
//! ignored test of this file.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::ErrorKind,
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use traceflow_exporter::flow::Family;

use crate::lab::Lab;

const FIRST_PORT: u16 = 33_500;
const DESTINATION_PORT: u16 = 33_452;
/// Silence after which an answer is not waited for any more.
const QUIET: Duration = Duration::from_millis(200);
const TASK: &str = "KERNEL_LAB_PROBER";
const ANSWER: &str = "answer";

/// Who answered: by flow and TTL. A flow ends at the destination.
pub(crate) struct Observed {
    pub(crate) flows: BTreeMap<u16, BTreeMap<u8, IpAddr>>,
    destination: IpAddr,
}

impl Observed {
    /// Every TTL at which an address answered.
    pub(crate) fn nodes(&self) -> BTreeSet<(u8, IpAddr)> {
        self.flows.values().flatten().map(|(ttl, address)| (*ttl, *address)).collect()
    }

    /// Every pair of addresses that answered at consecutive TTLs of one flow.
    pub(crate) fn links(&self) -> BTreeSet<(u8, IpAddr, IpAddr)> {
        let of_flow = |hops: &BTreeMap<u8, IpAddr>| -> Vec<_> {
            hops.iter().filter_map(|(ttl, from)| Some((*ttl, *from, *hops.get(&(ttl + 1))?))).collect()
        };
        self.flows.values().flat_map(of_flow).collect()
    }

    /// How many flows reached the destination.
    pub(crate) fn reached(&self) -> usize {
        self.flows.values().filter(|hops| hops.values().any(|&address| address == self.destination)).count()
    }

    /// The TTLs at which a flow that was answered further on was not answered.
    pub(crate) fn gaps(&self) -> BTreeSet<u8> {
        let of_flow = |hops: &BTreeMap<u8, IpAddr>| -> Vec<u8> {
            let last = hops.last_key_value().map_or(0, |(ttl, _)| *ttl);
            (1..last).filter(|ttl| !hops.contains_key(ttl)).collect()
        };
        self.flows.values().flat_map(of_flow).collect()
    }
}

/// Sends one probe for each of `flows` flows at each TTL up to `max_ttl`.
pub(crate) fn probe(lab: &Lab, from: &str, destination: IpAddr, flows: u16, max_ttl: u8) -> Observed {
    let source = lab.address(from, Family::of(destination));
    let output = lab
        .command(from, std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "prober::in_the_namespace", "--nocapture"])
        .env(TASK, format!("{source} {destination} {flows} {max_ttl}"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "the prober failed: {text}{}", String::from_utf8_lossy(&output.stderr));
    let mut observed = Observed { flows: BTreeMap::new(), destination };
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [ANSWER, flow, ttl, address] = words[..] {
            let hops = observed.flows.entry(flow.parse().unwrap()).or_default();
            hops.insert(ttl.parse().unwrap(), address.parse().unwrap());
        }
    }
    for hops in observed.flows.values_mut() {
        if let Some(end) = hops.iter().find(|(_, address)| **address == destination).map(|(ttl, _)| *ttl) {
            hops.retain(|ttl, _| *ttl <= end);
        }
    }
    observed
}

#[test]
#[ignore = "runs only where `probe` starts it"]
fn in_the_namespace() {
    let Ok(task) = std::env::var(TASK) else { return };
    let words: Vec<&str> = task.split_whitespace().collect();
    let (source, destination): (IpAddr, IpAddr) = (words[0].parse().unwrap(), words[1].parse().unwrap());
    let (flows, max_ttl): (u16, u8) = (words[2].parse().unwrap(), words[3].parse().unwrap());
    let answers = answers(source);
    let senders: Vec<(u16, UdpSocket)> = (FIRST_PORT..FIRST_PORT + flows)
        .map(|port| (port, UdpSocket::bind(SocketAddr::new(source, port)).unwrap()))
        .collect();
    for ttl in 1..=max_ttl {
        // No more at once than the receive buffer holds answers to.
        for batch in senders.chunks(32) {
            let mut missing = BTreeSet::new();
            for (port, sender) in batch {
                send(sender, ttl, SocketAddr::new(destination, DESTINATION_PORT));
                missing.insert((*port, ttl));
            }
            while let Some((flow, address)) = (!missing.is_empty()).then(|| receive(&answers)).flatten() {
                println!("{ANSWER} {} {} {address}", flow.0, flow.1);
                missing.remove(&flow);
            }
        }
    }
}

fn send(sender: &UdpSocket, ttl: u8, destination: SocketAddr) {
    match destination {
        SocketAddr::V4(_) => sender.set_ttl(ttl.into()).unwrap(),
        SocketAddr::V6(_) => SockRef::from(sender).set_unicast_hops_v6(ttl.into()).unwrap(),
    }
    // The length says which TTL an answer belongs to: routers quote it, and none hashes it.
    sender.send_to(&vec![0; ttl.into()], destination).unwrap();
}

/// The next answer: source port and TTL of its probe, and who sent it; `None` after [`QUIET`].
fn receive(answers: &UdpSocket) -> Option<((u16, u8), IpAddr)> {
    let mut packet = [0; 1500];
    loop {
        match answers.recv_from(&mut packet) {
            Ok((length, from)) => {
                if let Some(probe) = quoted(&packet[..length], Family::of(from.ip())) {
                    return Some((probe, from.ip()));
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return None,
            Err(error) => panic!("cannot receive: {error}"),
        }
    }
}

/// A socket that receives ICMP messages.
fn answers(source: IpAddr) -> UdpSocket {
    let (domain, protocol) = match source {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::RAW, Some(protocol)).unwrap();
    socket.set_read_timeout(Some(QUIET)).unwrap();
    // Only for its `recv_from`, which works on any datagram socket and tells who sent.
    socket.into()
}

/// The source port and the TTL of the probe that an ICMP error quotes: an expired TTL or a closed port.
fn quoted(packet: &[u8], family: Family) -> Option<(u16, u8)> {
    // Raw IPv4 sockets deliver the IP header, raw IPv6 sockets do not.
    let (errors, icmp, inner_header) = match family {
        Family::V4 => ([[11, 0], [3, 3]], packet.get(20..)?, 20),
        Family::V6 => ([[3, 0], [1, 4]], packet, 40),
    };
    let udp = icmp.get(8 + inner_header..8 + inner_header + 8)?;
    let field = |at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
    let ours = errors.contains(&[icmp[0], icmp[1]]) && field(2) == DESTINATION_PORT;
    ours.then(|| Some((field(0), u8::try_from(field(4)).ok()?.checked_sub(8)?)))?
}
