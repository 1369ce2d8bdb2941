//! What `/probe` may be asked for: networks and patterns of names.
//!
//! Knows their syntax and what they match, nothing of requests.

use std::{fmt, net::IpAddr};

use super::{
    field::{FromText, quote},
    name::{Host, HostName},
};

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
        ] {
            assert_eq!(Allow::from_text(text), Err(wrong.to_owned()), "{text}");
        }
    }
}
