//! Names of addresses, from the system's resolver: asked in the background and remembered for a while.
//!
//! Nobody waits for a resolver: who asks gets what is known. What a resolver says is others' text, and is believed only where it reads as
//! a host's name.

mod cache;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use dns_lookup::LookupErrorKind;
use nix::libc::{NI_NAMEREQD, NI_NUMERICSERV};
use tokio::sync::watch;

use self::cache::{Answer, Cache};
use crate::{lookups::Lookups, network::clock::Clock};

/// Lookups at the same time: few, for those of targets go first.
const LOOKUPS: usize = 16;
/// Longest name in bytes (RFC 1035, section 2.3.4, without the dots at both ends).
const LENGTH_MAX: usize = 253;

/// Asks for names and remembers them. All clones are the same one.
#[derive(Clone, Debug)]
pub struct Names {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    clock: Clock,
    cache: Mutex<Cache>,
    lookups: Lookups,
    /// Marked with each answer.
    answers: watch::Sender<()>,
    /// Who is asked.
    ask: fn(IpAddr) -> Answer,
}

impl PartialEq for Names {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl Default for Names {
    fn default() -> Self {
        Self::asking(ask)
    }
}

impl Names {
    fn asking(ask: fn(IpAddr) -> Answer) -> Self {
        Self {
            inner: Arc::new(Inner {
                clock: Clock::start(),
                cache: Mutex::default(),
                lookups: Lookups::new(LOOKUPS),
                answers: watch::Sender::default(),
                ask,
            }),
        }
    }

    /// Has the names looked up that are not known, or not any more. Returns at once.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn look_up(&self, addresses: &BTreeSet<IpAddr>) {
        let due = self.cache().due(self.inner.clock.now(), addresses);
        for address in due {
            tokio::spawn(self.clone().answer(address));
        }
    }

    /// The names of these addresses, as far as they are known, and whether no answer is missing.
    #[must_use]
    pub fn known(&self, addresses: &BTreeSet<IpAddr>) -> (BTreeMap<IpAddr, Arc<str>>, bool) {
        let cache = self.cache();
        let names = addresses.iter().filter_map(|&address| Some((address, cache.name(address)?)));
        (names.collect(), !addresses.iter().any(|&address| cache.is_asked(address)))
    }

    /// Is marked as changed with each answer, whatever its address.
    #[must_use]
    pub fn answers(&self) -> watch::Receiver<()> {
        self.inner.answers.subscribe()
    }

    /// Looks up names and waits for the answers, but no longer than this.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn resolve(
        &self,
        addresses: &BTreeSet<IpAddr>,
        patience: Duration,
    ) -> BTreeMap<IpAddr, Arc<str>> {
        let mut answers = self.answers();
        self.look_up(addresses);
        // The sender lives as long as we do.
        let settled = async { while !self.known(addresses).1 && answers.changed().await.is_ok() {} };
        let _ = tokio::time::timeout(patience, settled).await;
        self.known(addresses).0
    }

    async fn answer(self, address: IpAddr) {
        let Inner { clock, lookups, answers, ask, .. } = &*self.inner;
        let ask = *ask;
        let answer = lookups.make(move || ask(address)).await.unwrap_or(Answer::Trouble);
        self.cache().note(clock.now(), address, answer);
        answers.send_replace(());
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.inner.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the system's resolver.
fn ask(address: IpAddr) -> Answer {
    match dns_lookup::getnameinfo(&SocketAddr::new(address, 0), NI_NAMEREQD | NI_NUMERICSERV) {
        Ok((name, _)) => host_name(&name).map_or(Answer::Nameless, |name| Answer::Name(name.into())),
        Err(error) => match error.kind() {
            LookupErrorKind::NoName | LookupErrorKind::NoData => Answer::Nameless,
            _ => Answer::Trouble,
        },
    }
}

/// The name, where it can be one of a host: whoever owns an address may have his resolver say anything. What reads as an address is none.
fn host_name(text: &str) -> Option<&str> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_name = !name.is_empty() && name.len() <= LENGTH_MAX && name.bytes().all(is_plain);
    (is_name && name.parse::<IpAddr>().is_err()).then_some(name)
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        thread,
    };

    use super::*;

    fn addresses(count: u8) -> BTreeSet<IpAddr> {
        (0..count).map(|last| IpAddr::from([192, 0, 2, last])).collect()
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn only_what_reads_as_a_host_is_a_name() {
        let long = format!("{}.example.net", "a".repeat(241));
        let cases = [
            ("r1.example.net", Some("r1.example.net")),
            ("r1.example.net.", Some("r1.example.net")),
            ("ae-1_2.R1.xn--bcher-kva.example", Some("ae-1_2.R1.xn--bcher-kva.example")),
            (&long, Some(long.as_str())),
            (&format!("a{long}"), None),
            ("", None),
            (".", None),
            ("192.0.2.1", None),
            ("2001:db8::1", None),
            ("<script>", None),
            ("a\"b", None),
            ("a b", None),
            ("a\nb", None),
            ("a\u{1b}[31m", None),
            ("b\u{fc}cher.example", None),
        ];
        for (text, expected) in cases {
            assert_eq!(host_name(text), expected, "{text:?}");
        }
    }

    #[test]
    fn names_are_waited_for_as_long_as_one_has_patience() {
        let names = Names::asking(|address| match address {
            IpAddr::V4(v4) if v4.octets()[3] == 1 => Answer::Nameless,
            IpAddr::V4(v4) if v4.octets()[3] == 2 => {
                thread::sleep(Duration::from_secs(2));
                Answer::Name("late".into())
            }
            _ => Answer::Name(format!("host-of-{address}").into()),
        });
        let runtime = runtime();
        let found = runtime.block_on(names.resolve(&addresses(3), Duration::from_millis(300)));
        let expected = [(IpAddr::from([192, 0, 2, 0]), "host-of-192.0.2.0".into())];
        assert_eq!(found, expected.into());
        assert!(!names.known(&addresses(3)).1, "one answer is missing");
        let found = runtime.block_on(names.resolve(&addresses(3), Duration::from_secs(30)));
        assert_eq!(found.len(), 2);
        assert!(names.known(&addresses(3)).1);
    }

    #[test]
    fn lookups_at_once_are_bounded() {
        static RUNNING: AtomicUsize = AtomicUsize::new(0);
        static MOST: AtomicUsize = AtomicUsize::new(0);
        let names = Names::asking(|_| {
            MOST.fetch_max(RUNNING.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(20));
            RUNNING.fetch_sub(1, Ordering::SeqCst);
            Answer::Nameless
        });
        let all = addresses(100);
        runtime().block_on(names.resolve(&all, Duration::from_secs(60)));
        assert!(names.known(&all).1);
        assert_eq!(MOST.load(Ordering::SeqCst), LOOKUPS);
    }

    #[test]
    fn the_system_knows_the_name_of_this_host() {
        let loopback = BTreeSet::from([IpAddr::from([127, 0, 0, 1])]);
        let found = runtime().block_on(Names::default().resolve(&loopback, Duration::from_secs(30)));
        assert_eq!(found.values().map(|name| &**name).collect::<Vec<_>>(), ["localhost"]);
    }
}
