//! A second reader: what tshark makes of the same packets has to be what the texts say.
//!
//! Knows tshark's field names, and by its own rules what of a packet answers a probe; shares nothing with the decoder.

use std::{collections::BTreeMap, fs, process::Command};

use crate::{captures, directory};

const FIELDS: [&str; 30] = [
    "ip.src",
    "ip.dst",
    "ip.id",
    "ip.ttl",
    "ip.proto",
    "ipv6.src",
    "ipv6.dst",
    "ipv6.hlim",
    "ipv6.nxt",
    "icmp.type",
    "icmp.code",
    "icmp.checksum",
    "icmp.ident",
    "icmp.seq",
    "icmpv6.type",
    "icmpv6.code",
    "icmpv6.checksum",
    "icmpv6.echo.identifier",
    "icmpv6.echo.sequence_number",
    "udp.srcport",
    "udp.dstport",
    "udp.length",
    "udp.checksum",
    "udp.payload",
    "tcp.srcport",
    "tcp.dstport",
    "tcp.checksum",
    "tcp.flags",
    "data.data",
    TIME,
];

/// What tshark takes the first eight bytes of an echo's payload for when they could be a time; it then shows no bytes, so that
/// there is nothing to compare a tag with.
const TIME: &str = "icmp.data_time";

/// Fields that tshark names differently at the top and in a quote.
const NUMBERS: [&str; 4] = ["tcp.seq_raw", "tcp.seq", "tcp.ack_raw", "tcp.ack"];

/// The fields of a packet. One that occurs twice has a value for the packet and one for its quote.
struct Packet(BTreeMap<&'static str, Vec<String>>);

impl Packet {
    fn all(&self, field: &str) -> &[String] {
        self.0.get(field).map_or(&[], Vec::as_slice)
    }

    /// The value at a depth: 0 the packet itself, 1 its quote.
    fn text(&self, field: &str, depth: usize) -> Option<&str> {
        self.all(field).get(depth).map(String::as_str)
    }

    fn number(&self, field: &str, depth: usize) -> Option<u32> {
        self.text(field, depth).map(|text| match text.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16).unwrap(),
            None => text.parse().unwrap(),
        })
    }

    /// The first four bytes of a payload.
    fn head(&self, field: &str) -> Option<u32> {
        u32::from_str_radix(self.text(field, 0)?.get(..8)?, 16).ok()
    }
}

/// The line that the golden text of this packet should be.
fn line(packet: &Packet) -> String {
    let v4 = !packet.all("ip.src").is_empty();
    let [source, destination, ttl, protocol] = if v4 {
        ["ip.src", "ip.dst", "ip.ttl", "ip.proto"]
    } else {
        ["ipv6.src", "ipv6.dst", "ipv6.hlim", "ipv6.nxt"]
    };
    let icmp = if v4 {
        ["icmp.type", "icmp.code", "icmp.checksum", "icmp.ident", "icmp.seq"]
    } else {
        [
            "icmpv6.type",
            "icmpv6.code",
            "icmpv6.checksum",
            "icmpv6.echo.identifier",
            "icmpv6.echo.sequence_number",
        ]
    };
    let [icmp_type, icmp_code, icmp_checksum, echo_id, sequence] = icmp;
    let from = packet.text(source, 0).unwrap();
    let read = [if v4 { 1 } else { 58 }, 6].contains(&packet.number(protocol, 0).unwrap());
    if !read {
        return format!("from={from} not read");
    }
    let nothing = format!("from={from} no answer to a probe");
    let mut fields: Vec<(&str, Option<String>)> = Vec::new();
    let hex = |number: u32| format!("{number:#06x}");
    let tag = |tag: u32| format!("{tag:#010x}");
    let flags = packet.number("tcp.flags", 0).map(|flags| flags & 0x16);
    let (kind, protocol) = match (packet.number(icmp_type, 0), packet.number(icmp_code, 0), flags) {
        (Some(0), Some(0), _) if v4 => ("echo-reply".to_owned(), "icmp"),
        (Some(129), Some(0), _) => ("echo-reply".to_owned(), "icmp"),
        (None, _, Some(0x12)) => ("syn-ack".to_owned(), "tcp"),
        (None, _, Some(0x14)) => ("reset".to_owned(), "tcp"),
        (Some(kind), Some(code), _) => {
            // tshark reads UDP-Lite into the fields of UDP.
            if packet.number(protocol, 1) == Some(136) {
                return nothing;
            }
            let protocol = match (packet.all("udp.srcport").len(), packet.all("tcp.srcport").len()) {
                (1, _) => "udp",
                (_, 1) => "tcp",
                _ if packet.number(icmp_type, 1) == Some(if v4 { 8 } else { 128 }) => "icmp",
                _ => return nothing,
            };
            let kind = match (v4, kind, code, protocol) {
                (true, 11, 0, _) | (false, 3, 0, _) => "time-exceeded".to_owned(),
                (true, 3, 3, "udp") | (false, 1, 4, "udp") => "port-unreachable".to_owned(),
                (true, 3, code, _) | (false, 1, code, _) => format!("unreachable/{code}"),
                _ => return nothing,
            };
            (kind, protocol)
        }
        _ => return nothing,
    };
    let answer = !kind.contains("unreachable") && kind != "time-exceeded";
    let quoted = usize::from(!answer);
    let (asked, asker) = if answer { (source, destination) } else { (destination, source) };
    fields.push(("source", packet.text(asker, quoted).filter(|_| v4 || !answer).map(str::to_owned)));
    fields.push(("destination", packet.text(asked, quoted).map(str::to_owned)));
    match protocol {
        "udp" => {
            let checksum = packet.number("udp.checksum", 0).unwrap();
            let ident = if v4 { packet.number("ip.id", 1).unwrap() } else { checksum };
            let tagged = packet.number("udp.length", 0) >= Some(14);
            fields.extend([
                ("ident", Some(hex(ident))),
                ("flow", packet.text("udp.srcport", 0).map(str::to_owned)),
                ("port", packet.text("udp.dstport", 0).map(str::to_owned)),
                ("checksum", Some(hex(checksum))),
                ("tag", packet.head("udp.payload").filter(|tag| tagged && *tag != 0).map(tag)),
            ]);
        }
        "icmp" => {
            let checksum = packet.number(icmp_checksum, 1).unwrap_or_default();
            fields.extend([
                ("ident", packet.number(sequence, 0).map(hex)),
                ("flow", (!answer).then(|| if checksum == 0 { 0xffff } else { checksum }.to_string())),
                ("echo-id", packet.number(echo_id, 0).map(hex)),
                ("checksum", (!answer).then(|| hex(checksum))),
                ("tag", packet.head("data.data").filter(|tag| answer || *tag != 0).map(tag)),
            ]);
        }
        _ => {
            let number = if answer {
                let acknowledged = packet.number("tcp.ack_raw", 0).or_else(|| packet.number("tcp.ack", 0));
                acknowledged.unwrap().wrapping_sub(1)
            } else {
                packet.number("tcp.seq_raw", 0).or_else(|| packet.number("tcp.seq", 0)).unwrap()
            };
            let (flow, port) =
                if answer { ("tcp.dstport", "tcp.srcport") } else { ("tcp.srcport", "tcp.dstport") };
            let checksum = packet.number("tcp.checksum", 0).filter(|checksum| !answer && *checksum != 0);
            fields.extend([
                ("ident", Some(hex(number >> 16))),
                ("flow", packet.text(flow, 0).map(str::to_owned)),
                ("port", packet.text(port, 0).map(str::to_owned)),
                ("checksum", checksum.map(hex)),
                ("tag", Some(tag(number & 0xffff))),
            ]);
        }
    }
    fields.push(("ttl", packet.text(ttl, 1).map(str::to_owned)));
    let fields: String =
        fields.into_iter().filter_map(|(key, value)| Some(format!(" {key}={}", value?))).collect();
    format!("from={from} kind={kind} protocol={protocol}{fields}")
}

fn without_tag(line: &str) -> String {
    line.split(' ').filter(|word| !word.starts_with("tag=")).collect::<Vec<_>>().join(" ")
}

#[test]
#[ignore = "needs tshark; run by scripts/make-goldens"]
fn tshark_reads_the_same() {
    let mut wrong = Vec::new();
    let mut compared = 0;
    for (name, _) in captures() {
        let mut tshark = Command::new("tshark");
        tshark.args(["-n", "-T", "fields", "-E", "separator=|", "-E", "occurrence=a", "-E", "aggregator=,"]);
        // Each packet by itself, and none taken for DNS or else by its port.
        tshark.args(["-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE"]);
        tshark.args([
            "-o",
            "tcp.relative_sequence_numbers:FALSE",
            "-o",
            "tcp.analyze_sequence_numbers:FALSE",
        ]);
        tshark.arg("-r").arg(directory().join(format!("{name}.pcap")));
        let names = || FIELDS.into_iter().chain(NUMBERS);
        tshark.args(names().flat_map(|field| ["-e", field]));
        let output = tshark.output().unwrap_or_else(|error| panic!("tshark: {error}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let rows = String::from_utf8(output.stdout).unwrap();
        let text = fs::read_to_string(directory().join(format!("{name}.txt"))).unwrap();
        assert_eq!(rows.lines().count(), text.lines().count(), "{name}");
        for (index, (row, expected)) in rows.lines().zip(text.lines()).enumerate() {
            let values = row.split('|').map(|values| values.split(',').filter(|value| !value.is_empty()));
            let packet =
                Packet(names().zip(values.map(|values| values.map(str::to_owned).collect())).collect());
            let found = format!("{} {}", index + 1, line(&packet));
            compared += 1;
            let timed = !packet.all(TIME).is_empty();
            let [found, expected] =
                [&found, expected].map(|line| if timed { without_tag(line) } else { line.to_owned() });
            if found != expected {
                wrong.push(format!("{name}:\n  tshark {found}\n  text   {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {compared}:\n{}", wrong.len(), wrong.join("\n"));
    println!("{compared} packets read the same");
}
