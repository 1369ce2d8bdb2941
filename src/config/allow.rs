//! What `/probe` may be asked for: networks and patterns of names.
//!
//! Knows their syntax, what they match and what they admit, nothing of requests.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{
    ProbePolicy,
    field::{FromText, quote},
    name::{Host, HostName},
};

impl ProbePolicy {
    /// Whether a host may be asked for: an address that a network lists, or a name that a pattern matches. What a name means is
    /// judged by [`Self::admits_address`] once that is known.
    #[must_use]
    pub fn admits_host(&self, host: &Host) -> bool {
        match host {
            Host::Address(address) => self.lists(*address),
            Host::Name(name) => self.allow.iter().any(|entry| match entry {
                Allow::Name(pattern) => pattern.matches(name),
                Allow::Network(_) => false,
            }),
        }
    }

    /// Whether an address may be traced that an admitted host has. Whoever answers for a name may have it mean any address: one that
    /// leads into this machine or the networks around it has to be listed by a network, too.
    #[must_use]
    pub fn admits_address(&self, host: &Host, address: IpAddr) -> bool {
        self.lists(address) || matches!(host, Host::Name(_)) && is_public(address)
    }

    fn lists(&self, address: IpAddr) -> bool {
        self.allow.iter().any(|entry| match entry {
            Allow::Network(network) => network.contains(address),
            Allow::Name(_) => false,
        })
    }
}

/// Whether an address is one of the network of all, and not one that means another host to each (the registries of RFC 6890, and
/// multicast). Those that are for documentation and benchmarks lead nowhere and are no danger.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    match address.octets() {
        // This network, loopback, private use (RFC 1918), link-local; from 224 on multicast, reserved ones and broadcast.
        [0 | 10 | 127 | 224.., ..] | [169, 254, ..] | [172, 16..=31, ..] | [192, 168, ..] => false,
        // Between a carrier and its customers (RFC 6598), and between protocols (RFC 6890).
        [100, 64..=127, ..] | [192, 0, 0, _] => false,
        _ => true,
    }
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match address.segments() {
        // Unspecified, loopback, and IPv4 addresses as sockets write them (RFC 4291, section 2.5.5).
        [0, 0, 0, 0, 0, ..] => false,
        // Through a translator (RFC 6052) or a relay (RFC 3056) to an IPv4 address; a translator's own (RFC 8215).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => embedded(high, low),
        [0x64, 0xff9b, ..] => false,
        // Unique local (RFC 4193), link-local, site-local (RFC 3879), multicast.
        [0xfc00..=0xfdff | 0xfe80..=0xfeff | 0xff00.., ..] => false,
        _ => true,
    }
}

/// One entry of `probe.allow`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Allow {
    /// Every address of a network.
    Network(Network),
    /// Every name that the pattern matches.
    Name(NamePattern),
}

/// An address block (RFC 4632, RFC 4291 section 2.3): an address whose bits behind the prefix are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// The first address of the block.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// The length of the prefix: 0 to 32 for IPv4, 0 to 128 for IPv6.
    #[must_use]
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether the address lies in the block; never across families.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        masked(address, self.prefix) == self.address
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// A pattern of names: a host name, `*.` before a host name, which stands for every name below it at any depth but
/// not for that name itself, or `*` for every name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NamePattern {
    /// `*`
    Any,
    /// `*.example.net`
    Below(HostName),
    /// `www.example.net`
    Exactly(HostName),
}

impl NamePattern {
    /// Whether the pattern matches; upper and lower case are the same (RFC 4343), and so is a name with and
    /// without its final dot.
    #[must_use]
    pub fn matches(&self, name: &HostName) -> bool {
        let name = comparable(name);
        match self {
            Self::Any => true,
            Self::Below(parent) => name
                .strip_suffix(&comparable(parent))
                .is_some_and(|child| child.len() > 1 && child.ends_with('.')),
            Self::Exactly(same) => name == comparable(same),
        }
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Below(parent) => write!(f, "*.{parent}"),
            Self::Exactly(name) => name.fmt(f),
        }
    }
}

impl FromText for Allow {
    const ALLOWED: &'static str =
        "a network such as 192.0.2.0/24, an address, a host name, *.example.net or *";

    fn from_text(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Name(NamePattern::Any));
        }
        if let Some(parent) = text.strip_prefix("*.") {
            return HostName::from_text(parent)
                .map(|parent| Self::Name(NamePattern::Below(parent)))
                .map_err(|_| format!("{} is no pattern of names", quote(text)));
        }
        if let Some((address, prefix)) = text.split_once('/') {
            return network(address, prefix).unwrap_or_else(|| Err(format!("{} is no network", quote(text))));
        }
        Ok(match Host::from_text(text)? {
            Host::Address(address) => Self::Network(Network { address, prefix: bits(address) }),
            Host::Name(name) => Self::Name(NamePattern::Exactly(name)),
        })
    }
}

/// `None` where the text is not of the form `ADDRESS/PREFIX` at all.
fn network(address: &str, prefix: &str) -> Option<Result<Allow, String>> {
    let address: IpAddr = address.parse().ok()?;
    // `parse` alone would take "+8".
    if !prefix.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let prefix: u8 = prefix.parse().ok().filter(|&prefix| prefix <= bits(address))?;
    let network = Network { address: masked(address, prefix), prefix };
    if network.address == address {
        Some(Ok(Allow::Network(network)))
    } else {
        Some(Err(format!("`{address}/{prefix}` has bits set behind its prefix (the network is {network})")))
    }
}

const fn bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The address with all bits behind the prefix 0.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(prefix)).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(prefix)).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    }
}

fn comparable(name: &HostName) -> String {
    let name = name.as_str();
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        match Allow::from_text(text) {
            Ok(Allow::Network(network)) => network,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn pattern(text: &str) -> NamePattern {
        match Allow::from_text(text) {
            Ok(Allow::Name(pattern)) => pattern,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn networks_hold_their_addresses() {
        for (block, address, inside) in [
            ("192.0.2.0/24", "192.0.2.0", true),
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.0/24", "::ffff:192.0.2.1", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "::", false),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::", false),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::1/128", "2001:db8::1", true),
        ] {
            assert_eq!(network(block).contains(address.parse().unwrap()), inside, "{block} {address}");
        }
        assert_eq!(network("192.0.2.7").to_string(), "192.0.2.7/32");
    }

    #[test]
    fn patterns_match_names() {
        for (text, name, matches) in [
            ("*", "www.example.net", true),
            ("*.example.net", "www.example.net", true),
            ("*.example.net", "a.b.EXAMPLE.net.", true),
            ("*.example.net", "example.net", false),
            ("*.example.net", "badexample.net", false),
            ("*.example.net", "example.net.evil.example", false),
            ("www.Example.net", "WWW.example.net.", true),
            ("www.example.net", "a.www.example.net", false),
        ] {
            assert_eq!(pattern(text).matches(&name.parse().unwrap()), matches, "{text} {name}");
            assert_eq!(pattern(text).to_string(), text);
        }
    }

    #[test]
    fn what_may_be_asked_for_is_what_is_listed() {
        let policy = |allow: &[&str]| ProbePolicy {
            enabled: true,
            allow: allow.iter().map(|text| Allow::from_text(text).unwrap()).collect(),
        };
        let names = policy(&["*.example.net", "one.example.org"]);
        let networks = policy(&["192.0.2.0/24", "2001:db8::/32", "127.0.0.1"]);
        let both = policy(&["*", "10.1.0.0/16", "fd00:1::/32", "::1"]);
        // Policy, host, whether it may be asked for, and whether these addresses may be traced for it.
        let cases = [
            (&names, "www.example.net", true, &[("192.0.2.1", true), ("10.1.0.1", false)][..]),
            (&names, "WWW.Example.NET.", true, &[("2001:db8::1", true), ("::1", false)]),
            (&names, "example.net", false, &[]),
            (&names, "two.example.org", false, &[]),
            (&names, "192.0.2.1", false, &[("192.0.2.1", false)]),
            (&networks, "192.0.2.1", true, &[("192.0.2.1", true)]),
            (&networks, "192.0.3.1", false, &[("192.0.3.1", false)]),
            (&networks, "127.0.0.1", true, &[("127.0.0.1", true)]),
            (&networks, "127.0.0.2", false, &[("127.0.0.2", false)]),
            (&networks, "www.example.net", false, &[]),
            (&both, "localhost", true, &[("127.0.0.1", false), ("::1", true)]),
            (&both, "db.internal", true, &[("10.1.2.3", true), ("10.2.0.1", false), ("fd00:1::9", true)]),
            (&both, "10.1.2.3", true, &[("10.1.2.3", true)]),
            (&both, "203.0.113.9", false, &[("203.0.113.9", false)]),
            (&policy(&[]), "192.0.2.1", false, &[]),
            (&policy(&[]), "www.example.net", false, &[]),
        ];
        for (policy, host, admitted, addresses) in cases {
            let host: Host = host.parse().unwrap();
            assert_eq!(policy.admits_host(&host), admitted, "{host}");
            for (address, admitted) in addresses {
                assert_eq!(
                    policy.admits_address(&host, address.parse().unwrap()),
                    *admitted,
                    "{host} {address}"
                );
            }
        }
    }

    #[test]
    fn a_name_leads_to_no_address_of_ours() {
        let ours = [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.168.0.1",
            "224.0.0.1",
            "239.1.2.3",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:192.0.2.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:c0a8:1::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
        ];
        let others = [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.0.0.1",
            "128.0.0.1",
            "169.253.0.1",
            "169.255.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.0.2.1",
            "192.167.0.1",
            "192.169.0.1",
            "223.255.255.255",
            "2001:db8::1",
            "2606:4700::1111",
            "64:ff9b::192.0.2.1",
            "2002:c000:201::1",
            "fbff::1",
        ];
        for (addresses, public) in [(&ours[..], false), (&others[..], true)] {
            for address in addresses {
                assert_eq!(is_public(address.parse().unwrap()), public, "{address}");
            }
        }
    }

    #[test]
    fn refuses_what_is_neither() {
        for (text, wrong) in [
            ("192.0.2.1/24", "`192.0.2.1/24` has bits set behind its prefix (the network is 192.0.2.0/24)"),
            ("192.0.2.0/33", "`192.0.2.0/33` is no network"),
            ("192.0.2.0/+8", "`192.0.2.0/+8` is no network"),
            ("192.0.2.0/", "`192.0.2.0/` is no network"),
            ("::/129", "`::/129` is no network"),
            ("www.*.net", "`www.*.net` is no host"),
            ("**.net", "`**.net` is no host"),
            ("*.", "`*.` is no pattern of names"),
            ("", "`` is no host"),
            (
                "::ffff:192.0.2.1",
                "`::ffff:192.0.2.1` is an IPv4 address in the form of an IPv6 one (write 192.0.2.1)",
            ),
        ] {
            assert_eq!(Allow::from_text(text), Err(wrong.to_owned()), "{text}");
        }
    }
}
