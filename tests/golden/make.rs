//! Makes the captures: real programs run at the source of a kernel lab, tcpdump beside them.
//!
//! Knows how the programs are called and how Linux routers are made to refuse; knows nothing of what the answers mean.
//! Programs that are not installed are left out, and their captures stay as they are. GOLDENS=NAME in the environment makes
//! only the captures whose names begin so.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use traceflow_exporter::flow::Family;

use crate::{
    directory,
    lab::{self, Lab, Options, topology},
    pcap::Pcap,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_traceflow_exporter");
const PROTOCOLS: [&str; 3] = ["udp", "icmp", "tcp"];
const FAMILIES: [(Family, &str); 2] = [(Family::V4, "v4"), (Family::V6, "v6")];

/// Most packets kept of a capture, unless all are needed.
const MOST: usize = 40;

/// Whatever IP but multicast and neighbour discovery, which come at any time.
const FILTER: &str =
    "(ip or ip6) and not ip6 multicast and not (ip6[6] = 58 and ip6[40] >= 130 and ip6[40] <= 137)";

/// What runs on four branches, in both families: a name, most packets kept, and a command, in which `$TO` is the destination
/// and `$PROGRAM` our own.
const ON_DIAMOND: [(&str, usize, &str); 19] = [
    ("traceflow-udp", usize::MAX, "$PROGRAM trace --strategy fixed --paths 4 --protocol udp $TO"),
    ("traceflow-icmp", usize::MAX, "$PROGRAM trace --strategy fixed --paths 4 --protocol icmp $TO"),
    ("traceflow-tcp", usize::MAX, "$PROGRAM trace --strategy fixed --paths 4 --protocol tcp $TO"),
    ("traceroute-udp", MOST, "traceroute -n -q 1 -w 1 $TO"),
    ("traceroute-udp-53", MOST, "traceroute -n -q 1 -w 1 -U $TO"),
    ("traceroute-icmp", MOST, "traceroute -n -q 1 -w 1 -I $TO"),
    ("traceroute-tcp", MOST, "traceroute -n -q 1 -w 1 -T $TO"),
    ("traceroute-udplite", MOST, "traceroute -n -q 1 -w 1 -m 3 -UL $TO"),
    ("traceroute-gre", MOST, "traceroute -n -q 1 -w 1 -m 7 -P 47 $TO"),
    ("scamper-udp-paris", MOST, "scamper -I \"trace -P udp-paris -q 1 $TO\""),
    ("scamper-icmp-paris", MOST, "scamper -I \"trace -P icmp-paris -q 1 $TO\""),
    ("scamper-tcp", MOST, "scamper -I \"trace -P tcp -q 1 $TO\""),
    ("scamper-tcp-ack", MOST, "scamper -I \"trace -P tcp-ack -q 1 $TO\""),
    ("scamper-lb-udp-sport", MOST, "scamper -I \"tracelb -P udp-sport -W 15 $TO\""),
    ("scamper-lb-icmp-echo", MOST, "scamper -I \"tracelb -P icmp-echo -W 15 $TO\""),
    ("scamper-lb-tcp-sport", MOST, "scamper -I \"tracelb -P tcp-sport -W 15 $TO\""),
    (
        "trippy-udp-paris",
        MOST,
        "trip --mode silent -C 1 --udp -R paris -P 33500 --dns-resolve-method system $TO",
    ),
    ("trippy-icmp", MOST, "trip --mode silent -C 1 --icmp --dns-resolve-method system $TO"),
    ("trippy-tcp", MOST, "trip --mode silent -C 1 --tcp --dns-resolve-method system $TO"),
];

/// What runs over routers in a row, of which the third refuses as [`REFUSALS`] has it, and behind which links are narrow.
const ON_LINE: [(&str, &str, &str); 5] = [
    ("ping-record-route", "v4", "ping -n -c 2 -i 0.2 -t 2 -R $TO; ping -n -c 1 -R $TO"),
    ("ping-timestamps", "v4", "ping -n -c 2 -i 0.2 -t 3 -T tsandaddr $TO"),
    (
        "ping-fragments",
        "v4 v6",
        "ip -4 route flush cache; ip -6 route flush cache; ping -n -c 1 -W 1 -t 2 -M dont -s 3000 $TO; ping -n -c 1 -W 1 -s 3000 $TO",
    ),
    (
        "ping-long",
        "v4 v6",
        "ip -4 route flush cache; ip -6 route flush cache; ping -n -c 2 -i 0.2 -W 1 -t 3 -M dont -s 1100 $TO",
    ),
    (
        "ping-too-long",
        "v4 v6",
        "ip -4 route flush cache; ip -6 route flush cache; ping -n -c 3 -i 0.2 -W 1 -M do -s 1400 $TO",
    ),
];

/// Refusals of the packet filter by destination port, and of the routing table by destination.
const REFUSALS: &str = "
table inet refusals {
    chain forward {
        type filter hook forward priority 0;
        meta nfproto ipv4 udp dport 40000 reject with icmp type net-unreachable
        meta nfproto ipv4 udp dport 40001 reject with icmp type host-unreachable
        meta nfproto ipv4 udp dport 40002 reject with icmp type prot-unreachable
        meta nfproto ipv4 udp dport 40003 reject with icmp type port-unreachable
        meta nfproto ipv4 udp dport 40004 reject with icmp type net-prohibited
        meta nfproto ipv4 udp dport 40005 reject with icmp type host-prohibited
        meta nfproto ipv4 udp dport 40006 reject with icmp type admin-prohibited
        meta nfproto ipv6 udp dport 40000 reject with icmpv6 type no-route
        meta nfproto ipv6 udp dport 40001 reject with icmpv6 type admin-prohibited
        meta nfproto ipv6 udp dport 40002 reject with icmpv6 type addr-unreachable
        meta nfproto ipv6 udp dport 40003 reject with icmpv6 type port-unreachable
        meta nfproto ipv6 udp dport 40004 reject with icmpv6 type policy-fail
        meta nfproto ipv6 udp dport 40005 reject with icmpv6 type reject-route
        meta nfproto ipv6 udp dport 40006 reject with icmpv6 type admin-prohibited
        tcp dport 40003 reject with icmpx type port-unreachable
        tcp dport 40006 reject with icmpx type admin-prohibited
        tcp dport 40007 reject with tcp reset
        icmp type echo-request reject with icmp type admin-prohibited
        icmpv6 type echo-request reject with icmpv6 type admin-prohibited
    }
}";

/// Destinations that no router has, for [`REFUSALS`] of the routing table.
const NOWHERE: [(Family, &str); 2] = [(Family::V4, "198.51.100."), (Family::V6, "2001:db8:ffff::")];

#[test]
#[ignore = "writes tests/golden/*.pcap; run by scripts/make-goldens"]
fn make_captures() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("diamond4"), Options::routers());
    for (name, most, command) in ON_DIAMOND {
        for (family, suffix) in FAMILIES {
            let to = lab.destination(family).to_string();
            record(&lab, "s", &format!("{name}-{suffix}"), ETHERNET, most, &[(command, &to)]);
        }
    }
    on_loopback(&lab);
    dublin(&lab);
    drop(lab);
    on_line();
    refused();
    translated();
}

const ETHERNET: &[&str] = &["-i", "link0"];
const LOOPBACK: &[&str] = &["-i", "lo"];
const COOKED: &[&str] = &["-i", "any", "-y", "LINUX_SLL"];

/// Our own program, with further options.
fn ours(protocol: &str, options: &str) -> String {
    format!("$PROGRAM trace --protocol {protocol} --strategy fixed --wait 5s {options} $TO")
}

fn on_loopback(lab: &Lab) {
    for (suffix, to) in [("v4", "127.0.0.1"), ("v6", "::1")] {
        let runs = PROTOCOLS.map(|protocol| ours(protocol, "--paths 2 --max-ttl 2"));
        let runs: Vec<_> = runs.iter().map(|run| (run.as_str(), to)).collect();
        record(lab, "d", &format!("traceflow-loopback-{suffix}"), LOOPBACK, usize::MAX, &runs);
    }
}

/// dublin-traceroute sends by the interface of the default route, with that interface's first address.
fn dublin(lab: &Lab) {
    let (to, source) = (lab.destination(Family::V4).to_string(), lab.address("s", Family::V4));
    let onwards = towards(lab, Family::V4, "ip -4", "default");
    shell(
        lab,
        "s",
        &format!("{onwards}; ip address add {source}/32 dev link0; ip address delete 10.0.0.1/30 dev link0"),
    );
    // It has no IPv6.
    let command = "dublin-traceroute --npaths 3 --max-ttl 7 $TO";
    record(lab, "s", "dublin-traceroute-v4", ETHERNET, usize::MAX, &[(command, &to)]);
}

fn on_line() {
    let lab = Lab::build(&topology("line"), Options::routers());
    // The lab's link 3 leads from the third router to the fourth.
    shell(&lab, "r3", "ip link set link3 mtu 1280");
    for (name, families, command) in ON_LINE {
        for (family, suffix) in FAMILIES {
            if families.contains(suffix) {
                let to = lab.destination(family).to_string();
                record(&lab, "s", &format!("{name}-{suffix}"), ETHERNET, MOST, &[(command, &to)]);
            }
        }
    }
}

fn refused() {
    let lab = Lab::build(&topology("line"), Options::routers());
    let nft = format!("nft -f - <<'END'\n{REFUSALS}\nEND\n");
    shell(&lab, "r3", &nft);
    for ((family, nowhere), ip) in NOWHERE.into_iter().zip(["ip -4", "ip -6"]) {
        let source = lab.address("s", family);
        let (net, length) = match family {
            Family::V4 => (format!("{nowhere}0/24"), 32),
            Family::V6 => (format!("{nowhere}/64"), 128),
        };
        let onwards = towards(&lab, family, ip, &net);
        shell(&lab, "s", &format!("{onwards} src {source}"));
        shell(&lab, "r1", &onwards);
        shell(&lab, "r2", &onwards);
        // 1: refused, 2: prohibited, 3: a neighbour that does not answer; all else: no route.
        shell(
            &lab,
            "r3",
            &format!(
                "{ip} route add unreachable {nowhere}1/{length}; {ip} route add prohibit {nowhere}2/{length}; \
                 {ip} route add {nowhere}3/{length} dev link3"
            ),
        );
    }
    for (family, suffix) in FAMILIES {
        let to = lab.destination(family).to_string();
        let once = |protocol: &str, port: u16| {
            ours(protocol, &format!("--paths 1 --first-ttl 10 --max-ttl 10 --destination-port {port}"))
        };
        let filtered = (40_000..=40_006).map(|port| once("udp", port));
        let filtered = filtered.chain([40_003, 40_006, 40_007].map(|port| once("tcp", port)));
        let runs: Vec<_> = filtered.chain([once("icmp", 1)]).collect();
        let runs: Vec<_> = runs.iter().map(|run| (run.as_str(), to.as_str())).collect();
        record(&lab, "s", &format!("traceflow-filtered-{suffix}"), COOKED, usize::MAX, &runs);

        let nowhere = NOWHERE.iter().find(|(of, _)| *of == family).unwrap().1;
        let [refused, prohibited, dumb, no_route] = [1, 2, 3, 4].map(|end| format!("{nowhere}{end}"));
        // Linux refuses one source one route a second, and no option of a namespace changes that.
        let rarely = |protocol, port| format!("sleep 1; {}", once(protocol, port));
        let (udp, icmp, tcp) = (rarely("udp", 33_452), rarely("icmp", 1), rarely("tcp", 443));
        let runs = [&refused, &prohibited, &dumb, &no_route]
            .map(|to| [&udp, &icmp, &tcp].map(|run| (run.as_str(), to.as_str())));
        record(&lab, "s", &format!("traceflow-unrouted-{suffix}"), COOKED, usize::MAX, runs.as_flattened());
    }
}

/// A router that translates our ports, and an open port behind it. The address stays, so that the others know the way back.
fn translated() {
    let lab = Lab::build(&topology("line"), Options::routers());
    let [v4, v6] = FAMILIES.map(|(family, _)| lab.address("s", family));
    shell(
        &lab,
        "r1",
        &format!(
            "nft -f - <<'END'
table inet translation {{
    chain out {{
        type nat hook postrouting priority 100;
        oifname link1 meta nfproto ipv4 meta l4proto {{ tcp, udp }} snat ip to {v4}:1024-2047
        oifname link1 meta nfproto ipv6 meta l4proto {{ tcp, udp }} snat ip6 to [{v6}]:1024-2047
    }}
}}
END
"
        ),
    );
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("config.yaml");
    fs::write(&config, "targets: [ { name: self, host: 127.0.0.1 } ]\n").unwrap();
    let server = lab
        .command("d", PROGRAM)
        .arg(format!("--config.file={}", config.display()))
        .args(["--web.listen-address=:10659", "--log.level=error"])
        .spawn()
        .unwrap();
    let server = Running(server);
    thread::sleep(Duration::from_secs(1));
    for (family, suffix) in FAMILIES {
        let to = lab.destination(family).to_string();
        let runs = PROTOCOLS.map(|protocol| ours(protocol, "--paths 1 --destination-port 10659"));
        let runs: Vec<_> = runs.iter().map(|run| (run.as_str(), to.as_str())).collect();
        record(&lab, "s", &format!("traceflow-translated-{suffix}"), ETHERNET, usize::MAX, &runs);
    }
    drop(server);
}

/// Runs commands at a node, one after the other, and writes what tcpdump saw there meanwhile.
fn record(lab: &Lab, node: &str, name: &str, place: &[&str], most: usize, commands: &[(&str, &str)]) {
    let program = commands[0].0.split_whitespace().next().unwrap();
    if !program.starts_with('$') && !installed(program) {
        println!("{name}: left out, {program} is not installed");
        return;
    }
    if env::var("GOLDENS").is_ok_and(|only| !name.starts_with(&only)) {
        return;
    }
    // Some write files where they stand.
    let scratch = tempfile::tempdir().unwrap();
    let raw = scratch.path().join("raw.pcap");
    fs::write(scratch.path().join("resolv.conf"), "nameserver 127.0.0.1\n").unwrap();
    let mut tcpdump = lab
        .command(node, "tcpdump")
        .args(place)
        .args(["-n", "-U", "--immediate-mode", "-s", "65535", "-B", "16384", "-Z", "root", "-w"])
        .arg(&raw)
        .arg(FILTER)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut remarks = BufReader::new(tcpdump.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(remarks.any(|line| line.contains("listening on")), "{name}: tcpdump does not start");
    let tcpdump = Running(tcpdump);
    for (command, to) in commands {
        // Whoever asks for names is refused at once; `ip netns exec` gives mounts of its own.
        let command = format!("mount --bind resolv.conf /etc/resolv.conf; {command}");
        let output = lab
            .command(node, "sh")
            .args(["-c", &command])
            .current_dir(scratch.path())
            .env("TO", to)
            .env("PROGRAM", PROGRAM)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        println!("{name}: {}: {}", output.status, said.lines().last().unwrap_or_default());
    }
    // Answers still on their way.
    thread::sleep(Duration::from_millis(500));
    drop(tcpdump);
    let pcap = Pcap::load(&raw);
    if pcap.packets().is_empty() {
        println!("{name}: left out, nothing was captured");
        return;
    }
    pcap.save(&directory().join(format!("{name}.pcap")), most);
}

fn installed(program: &str) -> bool {
    Command::new("sh").args(["-c", "command -v \"$0\"", program]).output().unwrap().status.success()
}

/// A shell script that adds a route like that to the lab's destination.
fn towards(lab: &Lab, family: Family, ip: &str, net: &str) -> String {
    let to = lab.destination(family);
    format!(
        "set -- $({ip} route get {to}); while [ \"$1\" != via ]; do shift; done; \
         {ip} route add {net} via $2 dev $4 onlink"
    )
}

/// Runs a shell script in a node's namespace.
fn shell(lab: &Lab, node: &str, script: &str) {
    let output = lab.command(node, "sh").args(["-e", "-c", script]).output().unwrap();
    assert!(output.status.success(), "{node}: {}\n{script}", String::from_utf8_lossy(&output.stderr));
}

/// A process that is ended, in its own time, when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}
