use super::*;
use crate::wire::tests::hex;

const UDP_V4: &str =
    "45080026 12344000 0111 7b4f c0000201 c6336407  9c4082ac 00124adf deadbeef 0c24 00000000";
const V6_ADDRESSES: &str = "20010db8000000000000000000000001 20010db8ffff00000000000000000007";

fn v4(text: &str) -> Result<Quote, DecodeError> {
    read_v4(&hex(text))
}

#[test]
fn what_routers_alter_in_ipv4_quotes() {
    let plain = v4(UDP_V4).unwrap();
    assert_eq!((plain.ident, plain.ttl, plain.tag), (0x1234, Some(1), Some(0xdead_beef)));
    for (name, text) in [
        ("lengths swapped", "45082600 12344000 0111 7b4f c0000201 c6336407 9c4082ac 00124adf deadbeef 0c24"),
        (
            "length less header",
            "45080012 12344000 0111 7b4f c0000201 c6336407 9c4082ac 00124adf deadbeef 0c24",
        ),
        ("length 0", "45080000 12344000 0111 7b4f c0000201 c6336407 9c4082ac 00124adf deadbeef 0c24"),
        ("offset swapped", "45080026 12340040 0111 7b4f c0000201 c6336407 9c4082ac 00124adf deadbeef 0c24"),
        ("TOS and checksum", "45c00026 12344000 0111 0000 c0000201 c6336407 9c4082ac 00124adf deadbeef 0c24"),
        (
            "options",
            "47080026 12344000 0111 7b4f c0000201 c6336407 83070400 00000000 9c4082ac 00124adf deadbeef 0c24",
        ),
    ] {
        assert_eq!(v4(text), Ok(plain), "{name}");
    }
}

#[test]
fn padding_is_no_tag() {
    let tags = |text: &str, quoted: usize| {
        let mut datagram = hex(text);
        datagram.truncate(quoted);
        datagram.resize(128, 0);
        read_v4(&datagram).unwrap()
    };
    let udp = UDP_V4;
    let icmp = "45080026 12344000 0101 7b5f c0000201 c6336407  08009c40 04561234 deadbeef a797 00000000";
    let tcp = "45080028 12344000 0106 7b58 c0000201 c6336407  9c4082ac 1234beef 00000000 5002faf0 d8a40000";
    for (text, quoted, tag, checksum) in [
        (udp, 28, None, Some(0x4adf)),
        (udp, 128, Some(0xdead_beef), Some(0x4adf)),
        (icmp, 28, None, Some(0x9c40)),
        (icmp, 128, Some(0xdead_beef), Some(0x9c40)),
        (tcp, 28, Some(0xbeef), None),
        (tcp, 128, Some(0xbeef), Some(0xd8a4)),
    ] {
        let quote = tags(text, quoted);
        assert_eq!((quote.tag, quote.checksum), (tag, checksum), "{quoted} bytes of {text}");
    }
    // Another's datagram that ends before our tag, and whatever lies behind it.
    let short = "45080020 12344000 0111 7b4f c0000201 c6336407  9c4082ac 000c4adf 11111111 11111111";
    assert_eq!(v4(short).unwrap().tag, None);
}

#[test]
fn ipv6_extension_headers_are_skipped() {
    let udp = "9c4082ac 00121234 deadbeef d591 00000000";
    let v6 = |next: &str, headers: &str| {
        read_v6(&hex(&format!("608fa3dc 0012 {next}01 {V6_ADDRESSES} {headers} {udp}")))
    };
    let plain = v6("11", "").unwrap();
    assert_eq!((plain.ident, plain.tag), (0x1234, Some(0xdead_beef)));
    for (name, next, headers) in [
        ("hop-by-hop", "00", "1100010400000000"),
        ("routing of 24 bytes", "2b", "1102040001000000 20010db8ffff00000000000000000007"),
        ("destination options", "3c", "1100010400000000"),
        ("atomic fragment", "2c", "1100000100000007"),
        ("all in turn", "00", "3c00010400000000 2c00010400000000 1100000100000007"),
    ] {
        assert_eq!(v6(next, headers), Ok(plain), "{name}");
    }
    let extension = Err(DecodeError::Malformed("quoted IPv6 extension header"));
    for (name, next, headers, expected) in [
        ("later fragment", "2c", "1100001000000007", Err(DecodeError::Irrelevant)),
        ("longer than the quote", "00", "11ff010400000000", extension),
        ("no next header", "3b", "", Err(DecodeError::Irrelevant)),
    ] {
        assert_eq!(v6(next, headers), expected, "{name}");
    }
    let cut = format!("608fa3dc 0012 0001 {V6_ADDRESSES} 11");
    assert_eq!(read_v6(&hex(&cut)), extension);
}

#[test]
fn what_is_no_quote_of_a_probe() {
    use DecodeError::{Irrelevant, Malformed};
    for (name, text, expected) in [
        ("nothing", "", Malformed("quoted IPv4 header")),
        ("19 bytes", "45080026 12344000 0111 7b4f c0000201 c63364", Malformed("quoted IPv4 header")),
        (
            "version 6",
            "65080026 12344000 0111 7b4f c0000201 c6336407 9c4082ac 00124adf",
            Malformed("quoted IPv4 header"),
        ),
        (
            "header of 16",
            "44080026 12344000 0111 7b4f c0000201 c6336407 9c4082ac 00124adf",
            Malformed("quoted IPv4 header"),
        ),
        (
            "options cut",
            "46080026 12344000 0111 7b4f c0000201 c6336407 0000",
            Malformed("quoted IPv4 header"),
        ),
        (
            "seven bytes",
            "45080026 12344000 0111 7b4f c0000201 c6336407 9c4082ac 00124a",
            Malformed("quoted transport header"),
        ),
        ("GRE", "45080026 12344000 012f 7b4f c0000201 c6336407 9c4082ac 00124adf", Irrelevant),
        ("ICMPv6 in IPv4", "45080026 12344000 013a 7b4f c0000201 c6336407 80009c40 04561234", Irrelevant),
        ("echo reply", "45080026 12344000 0101 7b4f c0000201 c6336407 00009c40 04561234", Irrelevant),
    ] {
        assert_eq!(v4(text), Err(expected), "{name}");
    }
    let v4_in_v6 = format!("408fa3dc 0012 1101 {V6_ADDRESSES} 9c4082ac 00121234");
    assert_eq!(read_v6(&hex(&v4_in_v6)), Err(Malformed("quoted IPv6 header")));
    let icmp_in_v6 = format!("608fa3dc 0012 0101 {V6_ADDRESSES} 08009c40 04561234");
    assert_eq!(read_v6(&hex(&icmp_in_v6)), Err(Irrelevant));
}
