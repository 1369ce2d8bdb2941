//! Who may ask: HTTP's basic authentication (RFC 7617) against passwords that bcrypt hashed.
//!
//! A hash is made to cost time, so it is compared off the event loop, few at once, and once a password.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::Hash as _,
    num::NonZero,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hyper::header::HeaderValue;
use siphasher::sip128::{Hasher128 as _, SipHasher24};
use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::config::PasswordHash;

/// The users and their passwords.
pub(super) type Users = BTreeMap<String, PasswordHash>;

/// Most results of each kind that are remembered. A client that guesses must not use up memory, nor push out the results of
/// those that know.
const REMEMBERED: usize = 1024;

/// Compares passwords.
#[derive(Debug)]
pub(super) struct Authenticator {
    /// Passwords are remembered under a keyed hash, so that they are not kept, and nobody can find two with the same.
    secret: [u8; 16],
    room: Arc<Semaphore>,
    right: Mutex<BTreeSet<u128>>,
    wrong: Mutex<BTreeSet<u128>>,
}

/// What a client says of itself.
struct Credentials {
    user: String,
    password: Vec<u8>,
}

impl Authenticator {
    /// One that remembers under a secret.
    pub(super) fn new(secret: [u8; 16]) -> Self {
        // Comparing takes a whole core, and the rest of the exporter needs one too.
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let room = Arc::new(Semaphore::new((cores / 2).max(1)));
        Self { secret, room, right: Mutex::default(), wrong: Mutex::default() }
    }

    /// Whether the value of an `Authorization` header names one of the users and its password.
    pub(super) async fn admits(&self, users: &Users, authorization: Option<&HeaderValue>) -> bool {
        let Some(Credentials { user, password }) = authorization.and_then(Credentials::of) else {
            return false;
        };
        let known = users.get(&user);
        // A name that is not known costs what some user's costs, always the same one's: the time tells nothing.
        let stand_in = || {
            let users_ahead =
                self.key(false, &user, "", b"") % u128::try_from(users.len().max(1)).unwrap_or(1);
            users.values().nth(usize::try_from(users_ahead).unwrap_or_default())
        };
        let Some(hash) = known.or_else(stand_in).cloned() else {
            return false;
        };
        // Two users may have the same hash: what was right for one that is gone must not be right for a name that is not known.
        let key = self.key(known.is_some(), &user, hash.as_str(), &password);
        if let Some(right) = self.remembered(key) {
            return right;
        }
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&self.room).acquire_owned().await else {
            return false;
        };
        // Another request of the same client may have been compared meanwhile.
        if let Some(right) = self.remembered(key) {
            return right;
        }
        let compared = spawn_blocking(move || {
            // Held until it is compared, also where the client has gone.
            let _permit = permit;
            bcrypt::verify(password, hash.as_str()).unwrap_or_default()
        });
        let right = compared.await.unwrap_or_default() && known.is_some();
        let results = if right { &self.right } else { &self.wrong };
        let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
        if results.len() >= REMEMBERED {
            // Keys are as good as random: so is which one goes.
            results.pop_first();
        }
        results.insert(key);
        right
    }

    fn remembered(&self, key: u128) -> Option<bool> {
        let has = |results: &Mutex<BTreeSet<u128>>| {
            results.lock().unwrap_or_else(PoisonError::into_inner).contains(&key)
        };
        if has(&self.right) { Some(true) } else { has(&self.wrong).then_some(false) }
    }

    /// What a comparison is remembered under.
    fn key(&self, is_known: bool, user: &str, hash: &str, password: &[u8]) -> u128 {
        let mut hasher = SipHasher24::new_with_key(&self.secret);
        (is_known, user, hash, password).hash(&mut hasher);
        hasher.finish128().as_u128()
    }
}

impl Credentials {
    fn of(value: &HeaderValue) -> Option<Self> {
        let (scheme, text) = value.to_str().ok()?.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("Basic") {
            return None;
        }
        let bytes = BASE64_STANDARD.decode(text.trim()).ok()?;
        let colon = bytes.iter().position(|&byte| byte == b':')?;
        let (user, password) = bytes.split_at_checked(colon)?;
        let user = String::from_utf8(user.to_vec()).ok()?;
        Some(Self { user, password: password.get(1..)?.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::WebConfig;

    /// The password `secret`, hashed at the least cost.
    fn users() -> Users {
        let hash = bcrypt::hash("secret", 4).expect("a hash");
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("web.yaml");
        let text = format!("basic_auth_users: {{ alice: {hash}, 'b\u{e9}a': {hash} }}");
        std::fs::write(&file, text).expect("a file");
        WebConfig::load(&file).expect("it is valid").users
    }

    fn header(credentials: &str) -> HeaderValue {
        format!("Basic {}", BASE64_STANDARD.encode(credentials)).parse().expect("a value")
    }

    #[tokio::test]
    async fn who_knows_a_password_is_admitted() {
        let users = users();
        let authenticator = Authenticator::new([7; 16]);
        let mut cases = vec![
            (Some(header("alice:secret")), true),
            (Some(header("b\u{e9}a:secret")), true),
            (Some(header("alice:Secret")), false),
            (Some(header("alice:")), false),
            (Some(header("mallory:secret")), false),
            (Some(header(":secret")), false),
            (Some(header("alice")), false),
            (Some(HeaderValue::from_static("Basic")), false),
            (Some(HeaderValue::from_static("Basic !!!!")), false),
            (Some(HeaderValue::from_static("Bearer YWxpY2U6c2VjcmV0")), false),
            (Some(HeaderValue::from_static("bASIC YWxpY2U6c2VjcmV0")), true),
            (None, false),
        ];
        // The second time they are remembered.
        cases.extend(cases.clone());
        for (header, admitted) in cases {
            assert_eq!(authenticator.admits(&users, header.as_ref()).await, admitted, "{header:?}");
        }
        assert_eq!(authenticator.right.lock().expect("its lock").len(), 2);
        assert_eq!(authenticator.wrong.lock().expect("its lock").len(), 4);
    }

    #[tokio::test]
    async fn what_was_right_for_a_user_is_not_without_it() {
        let authenticator = Authenticator::new([7; 16]);
        let before = users();
        assert!(authenticator.admits(&before, Some(&header("alice:secret"))).await);
        let mut after = before.clone();
        after.remove("alice");
        assert!(!authenticator.admits(&after, Some(&header("alice:secret"))).await);
        assert!(authenticator.admits(&before, Some(&header("alice:secret"))).await, "nor does it stay wrong");
    }

    #[tokio::test]
    async fn guesses_do_not_use_up_memory() {
        let users = users();
        let authenticator = Authenticator::new([7; 16]);
        assert!(authenticator.admits(&users, Some(&header("alice:secret"))).await);
        for guess in 0..REMEMBERED + 10 {
            let key = authenticator.key(true, "alice", "", guess.to_string().as_bytes());
            authenticator.wrong.lock().expect("its lock").insert(key);
        }
        let full = authenticator.wrong.lock().expect("its lock").len();
        assert!(!authenticator.admits(&users, Some(&header("alice:guess"))).await);
        assert_eq!(authenticator.wrong.lock().expect("its lock").len(), full, "one came, one went");
        assert_eq!(authenticator.right.lock().expect("its lock").len(), 1);
    }
}
