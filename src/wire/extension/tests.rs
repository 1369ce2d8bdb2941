use super::*;
use crate::wire::{decode_v4, decode_v6, tests::hex};

/// Label 16004, traffic class 5, bottom, TTL 1; and label 24 above it, TTL 254.
const STACK: &str = "000c 0101 000180fe 03e84b01";

fn stack() -> Vec<MplsLabel> {
    vec![
        MplsLabel { label: 24, traffic_class: 0, bottom: false, ttl: 254 },
        MplsLabel { label: 16_004, traffic_class: 5, bottom: true, ttl: 1 },
    ]
}

/// A quote padded to `datagram` bytes, and an extension behind it.
fn body(datagram: usize, extension: &str) -> Vec<u8> {
    let mut body =
        hex("45080026 12344000 0111 7b4f c0000201 c6336407  9c4082ac 00124adf deadbeef 0c24 00000000");
    body.resize(datagram, 0);
    body.extend(hex(extension));
    body
}

#[test]
fn labels_of_a_known_message() {
    // Checksum: 2000 + 000c + 0101 + 0001 + 80fe + 03e8 + 4b01 = f0f5, complemented 0f0a.
    let body = body(128, &format!("2000 0f0a {STACK}"));
    for declared in [128, 0] {
        assert_eq!(divide(&body, declared), (&body[..128], stack()), "declared {declared}");
    }
}

#[test]
fn where_the_extension_is() {
    let (good, zero, bad) = ("2000 0f0a", "2000 0000", "2000 0f0b");
    let none = Vec::new();
    for (name, datagram, declared, header, end, labels) in [
        ("declared", 160, 160, good, 160, stack()),
        ("declared, without checksum", 160, 160, zero, 160, stack()),
        ("declared, wrong checksum", 160, 160, bad, 176, none.clone()),
        ("declared behind the end", 128, 400, good, 144, none.clone()),
        ("garbage where a length would be", 128, 4, good, 144, none.clone()),
        ("legacy", 128, 0, good, 128, stack()),
        ("legacy, without checksum", 128, 0, zero, 128, stack()),
        ("legacy, wrong checksum", 128, 0, bad, 144, none.clone()),
        ("legacy elsewhere", 132, 0, good, 148, none.clone()),
        ("version 1", 128, 0, "1000 1f0a", 144, none),
    ] {
        let body = body(datagram, &format!("{header} {STACK}"));
        assert_eq!(divide(&body, declared), (&body[..end], labels), "{name}");
    }
    for (name, length) in [("at the edge", 128), ("a piece of a header", 131), ("no extension", 38)] {
        let mut body = body(128, "20000000");
        body.truncate(length);
        assert_eq!(divide(&body, 0), (&body[..], Vec::new()), "{name}");
    }
}

#[test]
fn objects() {
    let top = vec![stack()[0]];
    // RFC 5837: class 2, with index, IPv4 address, name and MTU of the incoming interface.
    let interface = "001c 020f 00000007 00010000 cb007109 08 6574683000 0000 000005dc";
    for (name, text, expected) in [
        ("none", String::new(), vec![]),
        ("interface information before", format!("{interface} {STACK}"), stack()),
        ("interface information behind", format!("{STACK} {interface}"), stack()),
        ("unknown class before", format!("0005 f701 ff {STACK}"), stack()),
        ("other type of class 1", "0008 0102 000180fe".to_owned(), vec![]),
        ("empty object before", format!("0004 f701 {STACK}"), stack()),
        ("two stacks", "0008 0101 000180fe 0008 0101 03e84b01".to_owned(), stack()),
        ("entry cut by its object", "000a 0101 000180fe 03e8".to_owned(), top.clone()),
        ("length below its header", format!("0008 0101 000180fe 0003 0101 {STACK}"), top.clone()),
        ("length 0", format!("0008 0101 000180fe 0000 0101 {STACK}"), top.clone()),
        ("length behind the end", "0008 0101 000180fe 000c 0101 03e84b01".to_owned(), top.clone()),
        ("piece of an object header", "0008 0101 000180fe 0008 01".to_owned(), top),
        (
            "no stack is so deep",
            format!("0104 0101 {}", "000180fe".repeat(64)),
            vec![stack()[0]; DEEPEST_STACK],
        ),
    ] {
        let body = body(128, &format!("20000000 {text}"));
        assert_eq!(divide(&body, 128), (&body[..128], expected), "{name}");
    }
}

/// The length field is in another byte and another unit in each family.
#[test]
fn length_fields() {
    let body_v4 = body(160, &format!("20000000 {STACK}"));
    let mut packet = hex("45000000 0007 0000 3f01 0000 cb007109 c0000201  0b00 0000 00 28 0000");
    packet.extend(&body_v4);
    assert_eq!(decode_v4(&packet).unwrap().mpls, stack());

    let addresses = "20010db8000000000000000000000001 20010db8ffff00000000000000000007";
    let mut packet =
        hex(&format!("0300 0000 14 000000 608fa3dc 0012 1101 {addresses} 9c4082ac 00121234 deadbeef d591"));
    packet.resize(8 + 160, 0);
    packet.extend(hex(&format!("20000000 {STACK}")));
    let message = decode_v6(std::net::Ipv6Addr::LOCALHOST, &packet, crate::flow::Protocol::Icmp).unwrap();
    assert_eq!(message.mpls, stack());
    assert_eq!(message.quote.tag, Some(0xdead_beef));
}
