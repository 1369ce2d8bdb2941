//! Least privilege: what is needed to open sockets is had until they are open, and given up for good before anything else runs.
//!
//! Capabilities, `no_new_privs` and Landlock belong to threads, so both functions are to be called while there is one only. Knows the
//! operating system, nothing of what the sockets are for.

use std::{path::Path, str::FromStr};

use caps::{CapSet, Capability};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError, RulesetStatus,
};
use nix::{
    sys::prctl,
    unistd::{self, Gid, Uid},
};

/// The Landlock rights that are asked for; a kernel that knows fewer gives fewer.
const LANDLOCK: ABI = ABI::V5;

/// What could not be given up or taken.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// There is no such user.
    #[error("there is no user `{0}`; allowed is the name or the number of a user of this machine")]
    UnknownUser(String),
    /// Only root becomes somebody else.
    #[error(
        "--user: only root can become `{0}`; start it as root, or as that user with the capability CAP_NET_RAW"
    )]
    NotRoot(String),
    /// The system refuses.
    #[error("cannot {operation}: {error}")]
    Refused {
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        error: String,
    },
}

/// A user to go on as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    name: String,
    uid: Uid,
    gid: Gid,
}

impl FromStr for User {
    type Err = PrivilegeError;

    /// By name, or by number: an image without /etc/passwd has numbers only, and the group is that number too then.
    fn from_str(text: &str) -> Result<Self, PrivilegeError> {
        let number = text.parse().ok().map(Uid::from_raw);
        let known = match number {
            Some(uid) => unistd::User::from_uid(uid),
            None => unistd::User::from_name(text),
        };
        let (uid, gid) = match (known, number) {
            (Ok(Some(user)), _) => (user.uid, user.gid),
            (_, Some(uid)) => (uid, Gid::from_raw(uid.as_raw())),
            (_, None) => return Err(PrivilegeError::UnknownUser(text.to_owned())),
        };
        Ok(Self { name: text.to_owned(), uid, gid })
    }
}

impl User {
    /// Makes a file or directory theirs.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn own(&self, path: &Path) -> Result<(), PrivilegeError> {
        unistd::chown(path, Some(self.uid), Some(self.gid))
            .map_err(|error| refused("give the storage to the user of --user", &error))
    }
}

/// How far Landlock holds the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confinement {
    /// Nothing is written outside the storage, nothing is executed, no further port is listened on.
    Full,
    /// As much of that as the kernel knows.
    Partial,
    /// The kernel has no Landlock.
    None,
}

impl Confinement {
    /// The word in the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Partial => "partial",
            Self::None => "none",
        }
    }
}

/// Takes CAP_NET_RAW into effect where it is permitted, as a file capability `+p` does. Where it is not, opening the sockets
/// will say so.
pub fn raise() {
    let permitted = caps::has_cap(None, CapSet::Permitted, Capability::CAP_NET_RAW).unwrap_or(false);
    if permitted && let Err(error) = caps::raise(None, CapSet::Effective, Capability::CAP_NET_RAW) {
        tracing::debug!(%error, "CAP_NET_RAW cannot be raised");
    }
}

/// Gives up everything: becomes `user`, drops every capability from every set, forbids new ones, and leaves no right to write
/// but beneath `storage`. Files can be read as before, for configuration and certificates are read anew at run time.
///
/// # Errors
/// [`PrivilegeError`] when the process would keep more than it should.
pub fn drop_all(user: Option<&User>, storage: Option<&Path>) -> Result<Confinement, PrivilegeError> {
    // While CAP_SETPCAP is there. Without it nothing can come out of this set once new privileges are forbidden.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).unwrap_or(false) {
        caps::runtime::thread_all_supported()
            .into_iter()
            .try_for_each(|capability| caps::drop(None, CapSet::Bounding, capability))
            .map_err(|error| refused("empty the bounding set", &error))?;
    }
    if let Some(user) = user {
        become_user(user)?;
    }
    if caps::runtime::ambient_set_supported().is_ok() {
        caps::clear(None, CapSet::Ambient).map_err(|error| refused("drop ambient capabilities", &error))?;
    }
    for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        caps::clear(None, set).map_err(|error| refused("drop capabilities", &error))?;
    }
    prctl::set_no_new_privs().map_err(|error| refused("forbid new privileges", &error))?;
    // Whoever gained or changed privileges may no longer look into its own /proc, where process_* come from.
    prctl::set_dumpable(true).map_err(|error| refused("keep /proc/self readable", &error))?;
    confine(storage).map_err(|error| refused("confine itself with Landlock", &error))
}

fn become_user(user: &User) -> Result<(), PrivilegeError> {
    if Uid::effective() == user.uid && !user.uid.is_root() {
        return Ok(());
    }
    if !Uid::effective().is_root() {
        return Err(PrivilegeError::NotRoot(user.name.clone()));
    }
    unistd::setgroups(&[user.gid])
        .and_then(|()| unistd::setresgid(user.gid, user.gid, user.gid))
        .and_then(|()| unistd::setresuid(user.uid, user.uid, user.uid))
        .map_err(|error| refused("become the user of --user", &error))
}

fn confine(storage: Option<&Path>) -> Result<Confinement, RulesetError> {
    let read: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = read | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg | AccessFs::RemoveFile;
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::BindTcp)?
        .create()?;
    for (path, access) in [(Some(Path::new("/")), read), (storage, write)] {
        if let Some(descriptor) = path.and_then(|path| PathFd::new(path).ok()) {
            rules = rules.add_rule(PathBeneath::new(descriptor, access))?;
        }
    }
    Ok(match rules.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => Confinement::Full,
        RulesetStatus::PartiallyEnforced => Confinement::Partial,
        RulesetStatus::NotEnforced => Confinement::None,
    })
}

fn refused(operation: &'static str, error: &impl ToString) -> PrivilegeError {
    PrivilegeError::Refused { operation, error: error.to_string() }
}

#[cfg(test)]
#[allow(clippy::print_stdout, reason = "a test that is skipped says so")]
mod tests {
    use super::*;

    /// On threads of their own, for what is given up does not come back.
    fn apart<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
        std::thread::spawn(test).join().unwrap()
    }

    #[test]
    fn nothing_is_written_outside_the_storage_and_no_port_is_opened() {
        use std::{fs, io::ErrorKind::PermissionDenied, net::TcpListener};
        let (storage, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(elsewhere.path().join("readable"), "x").unwrap();
        apart(move || {
            let confinement = drop_all(None, Some(storage.path())).unwrap();
            if confinement == Confinement::None {
                println!("skipped: this kernel has no Landlock");
                return;
            }
            let kept = storage.path().join("state");
            fs::write(&kept, "1").unwrap();
            fs::write(&kept, "").unwrap();
            fs::rename(&kept, storage.path().join("other")).unwrap();
            fs::remove_file(storage.path().join("other")).unwrap();
            assert_eq!(fs::read(elsewhere.path().join("readable")).unwrap(), b"x");
            for name in ["new", "readable"] {
                let error = fs::write(elsewhere.path().join(name), "y").unwrap_err();
                assert_eq!(error.kind(), PermissionDenied, "{name}");
            }
            let ran = std::process::Command::new("true").status().map_err(|error| error.kind());
            assert_eq!(ran.unwrap_err(), PermissionDenied);
            if confinement == Confinement::Full {
                assert_eq!(TcpListener::bind("127.0.0.1:0").unwrap_err().kind(), PermissionDenied);
            }
        });
    }

    #[test]
    fn capabilities_are_gone_from_every_set() {
        apart(|| {
            raise();
            drop_all(None, None).unwrap();
            let sets = [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable, CapSet::Ambient];
            for set in sets {
                assert!(caps::read(None, set).unwrap().is_empty(), "{set:?}");
            }
            // Nothing comes back, and giving up what is gone is no error.
            raise();
            assert!(!caps::has_cap(None, CapSet::Effective, Capability::CAP_NET_RAW).unwrap());
            drop_all(None, None).unwrap();
        });
    }

    #[test]
    fn users_have_names_or_numbers() {
        let root: User = "root".parse().unwrap();
        assert_eq!(("0".parse::<User>().unwrap().uid, root.gid), (root.uid, Gid::from_raw(0)));
        let nobody: User = "4000000000".parse().unwrap();
        assert_eq!(nobody.gid, Gid::from_raw(4_000_000_000), "no such entry: the group has the same number");
        for text in ["", "no-such-user", "-1", "root\n"] {
            let error = text.parse::<User>().unwrap_err().to_string();
            assert!(error.starts_with("there is no user `"), "{error}");
        }
    }
}
