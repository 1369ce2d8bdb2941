//! From a host to the address that is traced.
//!
//! Asks the system's resolver, whose order is that of RFC 6724, and stays with an address while it is in the answer: a
//! name with several addresses is no route that changes every minute. A resolver that gives no answer at all is no reason to
//! stop tracing the address that a name had: only an answer without it is.

use std::net::{IpAddr, Ipv4Addr, ToSocketAddrs as _};

use crate::{
    config::{FamilyChoice, Host},
    flow::Family,
    lookups::{Lookups, NoOutcome, PATIENCE},
};

/// Lookups at the same time.
const LOOKUPS: usize = 64;

/// What to do about a name that has no answer.
const LOOK: &str = "check how it is written, and the name servers in /etc/resolv.conf";

/// Why a host has no address to trace.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The resolver has no answer.
    #[error("cannot resolve {host}: {reason}; {LOOK}")]
    Failed {
        /// The host.
        host: String,
        /// What the resolver said.
        reason: std::io::Error,
    },
    /// The resolver did not answer in time.
    #[error("cannot resolve {host}: no answer within {} s; {LOOK}", PATIENCE.as_secs())]
    Slow {
        /// The host.
        host: String,
    },
    /// There are addresses, but none of the family asked for.
    #[error("{host} has no {family} address; name another family, or a host that has one")]
    NoAddress {
        /// The host.
        host: String,
        /// The family: `IPv4` or `IPv6`.
        family: &'static str,
    },
    /// The address cannot be traced.
    #[error("{}{kind}; only addresses of one host can be traced", what_is(host, *.address))]
    NotOneHost {
        /// The host.
        host: String,
        /// The address.
        address: IpAddr,
        /// What it is instead.
        kind: &'static str,
    },
}

impl ResolveError {
    /// Whether the resolver failed, so that nothing is known of what the name means now. False where it answered.
    #[must_use]
    pub fn is_trouble(&self) -> bool {
        match self {
            Self::Failed { reason, .. } => !is_answer(reason),
            Self::Slow { .. } => true,
            Self::NoAddress { .. } | Self::NotOneHost { .. } => false,
        }
    }
}

/// An address to trace.
#[derive(Debug)]
pub struct Resolved {
    /// The address.
    pub address: IpAddr,
    /// Why the resolver could not be asked, where the address is the one that the name had before.
    pub trouble: Option<ResolveError>,
}

/// Asks the system's resolver, with a bound on how often at once. All clones share it.
#[derive(Clone, Debug)]
pub struct Resolver {
    lookups: Lookups,
}

impl Default for Resolver {
    fn default() -> Self {
        Self { lookups: Lookups::new(LOOKUPS) }
    }
}

impl Resolver {
    /// The address of a host: `keep` while it is among the answers or the resolver is in trouble, otherwise the first of the
    /// family.
    ///
    /// # Errors
    /// When there is none, or it is not the address of one host.
    pub async fn resolve(
        &self,
        host: &Host,
        family: FamilyChoice,
        keep: Option<IpAddr>,
    ) -> Result<Resolved, ResolveError> {
        let answers = match host {
            Host::Address(address) => Ok(vec![*address]),
            Host::Name(name) => self.lookup(name.as_str()).await,
        };
        pick(host, family, keep, answers)
    }

    async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let host = name.to_owned();
        let answers = self.lookups.make(move || (host.as_str(), 0).to_socket_addrs()).await;
        let host = name.to_owned();
        match answers {
            Ok(Ok(answers)) => Ok(answers.map(|answer| answer.ip()).collect()),
            Ok(Err(reason)) => Err(ResolveError::Failed { host, reason }),
            Err(NoOutcome::Broken(ended)) => Err(ResolveError::Failed { host, reason: ended.into() }),
            Err(NoOutcome::Slow) => Err(ResolveError::Slow { host }),
        }
    }
}

fn pick(
    host: &Host,
    family: FamilyChoice,
    keep: Option<IpAddr>,
    answers: Result<Vec<IpAddr>, ResolveError>,
) -> Result<Resolved, ResolveError> {
    let (answers, trouble) = match (answers, keep) {
        (Ok(answers), _) => (answers, None),
        (Err(error), Some(kept)) if error.is_trouble() => (vec![kept], Some(error)),
        (Err(error), _) => return Err(error),
    };
    let address = choose(&answers, family, keep)
        .ok_or_else(|| ResolveError::NoAddress { host: host.to_string(), family: family_word(family) })?;
    match not_one_host(address) {
        Some(kind) => Err(ResolveError::NotOneHost { host: host.to_string(), address, kind }),
        None => Ok(Resolved { address, trouble }),
    }
}

/// Whether the resolver said that the name has no address (EAI_NONAME, EAI_NODATA). The standard library hands on only the
/// text of `gai_strerror`, in English as the program sets no locale: that of glibc, then that of musl.
fn is_answer(reason: &std::io::Error) -> bool {
    const ANSWERS: [&str; 4] = [
        "Name or service not known",
        "No address associated with hostname",
        "Name does not resolve",
        "Name has no usable address",
    ];
    let text = reason.to_string();
    ANSWERS.iter().any(|answer| text.contains(answer))
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

/// The beginning of what a host is: an address is not told twice.
fn what_is(host: &str, address: IpAddr) -> String {
    if host == address.to_string() { format!("{host} is ") } else { format!("{host} is {address}, ") }
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
    use std::{sync::Arc, time::Duration};

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
    fn an_address_is_traced_on_while_the_resolver_is_in_trouble() {
        let host: Host = "www.example.net".parse().unwrap();
        let kept: IpAddr = "192.0.2.1".parse().unwrap();
        let failed = |text: &str| {
            let reason = std::io::Error::other(format!("failed to lookup address information: {text}"));
            ResolveError::Failed { host: host.to_string(), reason }
        };
        let slow = || ResolveError::Slow { host: host.to_string() };
        for (name, error, keep, traced) in [
            ("no server", failed("Temporary failure in name resolution"), Some(kept), true),
            ("server fails", failed("Non-recoverable failure in name resolution"), Some(kept), true),
            ("slow", slow(), Some(kept), true),
            ("slow, never known", slow(), None, false),
            ("no such name", failed("Name or service not known"), Some(kept), false),
            ("no address", failed("No address associated with hostname"), Some(kept), false),
            ("no such name, musl", failed("Name does not resolve"), Some(kept), false),
        ] {
            let picked = pick(&host, FamilyChoice::Any, keep, Err(error));
            assert_eq!(picked.is_ok(), traced, "{name}: {picked:?}");
            if let Ok(Resolved { address, trouble }) = picked {
                assert_eq!((address, trouble.is_some()), (kept, true), "{name}");
            }
        }
        let other_family = pick(&host, FamilyChoice::V6, Some(kept), Err(slow()));
        assert!(matches!(other_family, Err(ResolveError::NoAddress { .. })), "{other_family:?}");
    }

    #[test]
    fn lookups_at_once_are_bounded() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let resolver = Resolver::default();
        let taken =
            Arc::clone(&resolver.lookups.room).try_acquire_many_owned(u32::try_from(LOOKUPS).unwrap());
        let ask = |wait: u64| {
            let host: Host = "localhost".parse().unwrap();
            let resolver = resolver.clone();
            runtime.block_on(async move {
                let asked = resolver.resolve(&host, FamilyChoice::Any, None);
                tokio::time::timeout(Duration::from_millis(wait), asked).await
            })
        };
        assert!(ask(50).is_err(), "it waits for its turn");
        drop(taken);
        assert!(ask(10_000).unwrap().unwrap().address.is_loopback());
        assert_eq!(resolver.lookups.room.available_permits(), LOOKUPS, "and gives it back");
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
        for (host, told) in
            [("224.0.0.1", "224.0.0.1 is a "), ("all.example.net", "all.example.net is 224.0.0.1, a ")]
        {
            let answers = Ok(addresses(&["224.0.0.1"]));
            let error =
                pick(&host.parse().unwrap(), FamilyChoice::Any, None, answers).unwrap_err().to_string();
            let rest = "multicast address; only addresses of one host can be traced";
            assert_eq!(error, format!("{told}{rest}"));
        }
    }
}
