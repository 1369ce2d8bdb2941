//! From a host to the address that is traced.
//!
//! Asks the system's resolver, whose order is that of RFC 6724, and stays with an address while it is in the answer: a
//! name with several addresses is no route that changes every minute.

use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use crate::{
    config::{FamilyChoice, Host},
    flow::Family,
};

/// How long the resolver may take: longer than its own time-out for one server that does not answer.
const PATIENCE: Duration = Duration::from_secs(12);

/// Why a host has no address to trace.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The resolver has no answer.
    #[error("cannot resolve {host}: {reason}")]
    Failed {
        /// The host.
        host: String,
        /// What the resolver said.
        reason: std::io::Error,
    },
    /// The resolver did not answer in time.
    #[error("cannot resolve {host}: no answer within {} s", PATIENCE.as_secs())]
    Slow {
        /// The host.
        host: String,
    },
    /// There are addresses, but none of the family asked for.
    #[error("{host} has no {family} address")]
    NoAddress {
        /// The host.
        host: String,
        /// The family: `IPv4` or `IPv6`.
        family: &'static str,
    },
    /// The address cannot be traced.
    #[error("{host} is {address}, {kind}; only addresses of one host can be traced")]
    NotOneHost {
        /// The host.
        host: String,
        /// The address.
        address: IpAddr,
        /// What it is instead.
        kind: &'static str,
    },
}

/// The address of a host: `keep` while it is among the answers, otherwise the first of the family.
///
/// # Errors
/// When there is none, or it is not the address of one host.
pub async fn resolve(
    host: &Host,
    family: FamilyChoice,
    keep: Option<IpAddr>,
) -> Result<IpAddr, ResolveError> {
    let answers = match host {
        Host::Address(address) => vec![*address],
        Host::Name(name) => lookup(name.as_str()).await?,
    };
    let address = choose(&answers, family, keep)
        .ok_or_else(|| ResolveError::NoAddress { host: host.to_string(), family: family_word(family) })?;
    match not_one_host(address) {
        Some(kind) => Err(ResolveError::NotOneHost { host: host.to_string(), address, kind }),
        None => Ok(address),
    }
}

async fn lookup(name: &str) -> Result<Vec<IpAddr>, ResolveError> {
    match tokio::time::timeout(PATIENCE, tokio::net::lookup_host((name, 0))).await {
        Ok(Ok(answers)) => Ok(answers.map(|answer| answer.ip()).collect()),
        Ok(Err(reason)) => Err(ResolveError::Failed { host: name.to_owned(), reason }),
        Err(_) => Err(ResolveError::Slow { host: name.to_owned() }),
    }
}

fn choose(answers: &[IpAddr], family: FamilyChoice, keep: Option<IpAddr>) -> Option<IpAddr> {
    let allowed = |address: &IpAddr| family.only().is_none_or(|only| Family::of(*address) == only);
    keep.filter(|keep| allowed(keep) && answers.contains(keep))
        .or_else(|| answers.iter().copied().find(allowed))
}

/// What an address is that is not one host's.
fn not_one_host(address: IpAddr) -> Option<&'static str> {
    if address.is_unspecified() {
        Some("the unspecified address")
    } else if address.is_multicast() {
        Some("a multicast address")
    } else if address == IpAddr::V4(Ipv4Addr::BROADCAST) {
        Some("the broadcast address")
    } else {
        None
    }
}

const fn family_word(family: FamilyChoice) -> &'static str {
    match family {
        FamilyChoice::Any => "IP",
        FamilyChoice::V4 => "IPv4",
        FamilyChoice::V6 => "IPv6",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn an_address_is_kept_while_it_is_in_the_answer() {
        let both = &["2001:db8::1", "192.0.2.1", "192.0.2.2"][..];
        let cases = [
            (both, FamilyChoice::Any, None, Some("2001:db8::1")),
            (both, FamilyChoice::V4, None, Some("192.0.2.1")),
            (both, FamilyChoice::Any, Some("192.0.2.2"), Some("192.0.2.2")),
            (both, FamilyChoice::V6, Some("192.0.2.2"), Some("2001:db8::1")),
            (both, FamilyChoice::V4, Some("192.0.2.9"), Some("192.0.2.1")),
            (&["192.0.2.1"][..], FamilyChoice::V6, None, None),
            (&[][..], FamilyChoice::Any, Some("192.0.2.1"), None),
        ];
        for (answers, family, keep, expected) in cases {
            let keep = keep.map(|text| text.parse().unwrap());
            let expected = expected.map(|text| text.parse().unwrap());
            assert_eq!(
                choose(&addresses(answers), family, keep),
                expected,
                "{answers:?} {family} keep {keep:?}"
            );
        }
    }

    #[test]
    fn addresses_of_no_one_host_are_refused() {
        let cases = [
            ("0.0.0.0", true),
            ("::", true),
            ("224.0.0.1", true),
            ("ff02::1", true),
            ("255.255.255.255", true),
            ("127.0.0.1", false),
            ("::1", false),
            ("192.0.2.1", false),
        ];
        for (address, refused) in cases {
            assert_eq!(not_one_host(address.parse().unwrap()).is_some(), refused, "{address}");
        }
    }
}
