//! Which autonomous system an address belongs to, as an mmdb file says.
//!
//! Understands the layouts of GeoLite2-ASN and DB-IP's ASN lite (`autonomous_system_number`: a number) and of IPinfo (`asn`: such as
//! "AS64496"). A database is read as a whole, so that a lookup asks nobody and a file may be replaced under it.

mod file;

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::{self, Read as _},
    net::IpAddr,
    path::{Path, PathBuf},
};

use maxminddb::{MaxMindDbError, Reader};
use serde::Deserialize;

pub use self::file::DatabaseFile;

/// Largest file that is read, in bytes.
const SIZE_MAX: u64 = 1 << 30;
/// Networks among which one with an autonomous system must be: a database of something else is told from one of these.
const NETWORKS_LOOKED_AT: usize = 1_000_000;

/// Knows the autonomous systems of addresses.
pub trait Systems: fmt::Debug + Send + Sync {
    /// The number of the autonomous system that an address belongs to; `None` where none is known.
    fn asn(&self, address: IpAddr) -> Option<u32>;
}

impl Systems for BTreeMap<IpAddr, u32> {
    fn asn(&self, address: IpAddr) -> Option<u32> {
        self.get(&address).copied()
    }
}

/// Why a database cannot be used. One line each.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The file cannot be read.
    #[error("{}: cannot read: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// The file is no mmdb file, or a damaged one.
    #[error("{}: no mmdb file that can be used: {reason}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: MaxMindDbError,
    },
    /// The file is an mmdb file about something else.
    #[error("{}: a database of type `{}`, which has no AS numbers", path.display(), kind.escape_debug())]
    NoSystems {
        /// The file.
        path: PathBuf,
        /// What it says it is.
        kind: String,
    },
}

/// An mmdb file, read into memory.
pub struct Database {
    reader: Reader<Vec<u8>>,
}

/// The part of a network's record that says its autonomous system.
#[derive(Deserialize)]
struct Record<'a> {
    autonomous_system_number: Option<u32>,
    #[serde(borrow)]
    asn: Option<Named<'a>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Named<'a> {
    Number(u32),
    Text(&'a str),
}

impl Record<'_> {
    fn number(&self) -> Option<u32> {
        let of_name = || match self.asn.as_ref()? {
            Named::Number(number) => Some(*number),
            Named::Text(text) => text.strip_prefix("AS").unwrap_or(text).parse().ok(),
        };
        // 0 is no autonomous system (RFC 7607).
        self.autonomous_system_number.or_else(of_name).filter(|&number| number != 0)
    }
}

impl Database {
    /// Reads a file. Takes as long as reading all of it takes.
    ///
    /// # Errors
    /// When it cannot be read, is damaged, or knows no autonomous systems.
    pub fn load(path: &Path) -> Result<Self, DatabaseError> {
        let bytes = read(path).map_err(|reason| DatabaseError::Read { path: path.into(), reason })?;
        Self::new(path, bytes)
    }

    fn new(path: &Path, bytes: Vec<u8>) -> Result<Self, DatabaseError> {
        let invalid = |reason| DatabaseError::Invalid { path: path.into(), reason };
        let reader = Reader::from_source(bytes).map_err(invalid)?;
        let mut has_systems = false;
        for network in reader.networks(Default::default()).map_err(invalid)?.take(NETWORKS_LOOKED_AT) {
            // What is damaged in one place may be so in others; what is of another shape is something else.
            let network = network.map_err(invalid)?;
            has_systems =
                matches!(network.decode::<Record<'_>>(), Ok(Some(record)) if record.number().is_some());
            if has_systems {
                break;
            }
        }
        if !has_systems {
            let kind = reader.metadata().database_type.clone();
            return Err(DatabaseError::NoSystems { path: path.into(), kind });
        }
        Ok(Self { reader })
    }
}

impl Systems for Database {
    /// A record that cannot be understood says nothing.
    fn asn(&self, address: IpAddr) -> Option<u32> {
        self.reader.lookup(address).ok()?.decode::<Record<'_>>().ok()??.number()
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Database").field(&self.reader.metadata().database_type).finish()
    }
}

/// The bytes of a regular file: a pipe that nobody writes to would be waited for.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    let mut bytes = Vec::new();
    let size = fs::File::open(path)?.take(SIZE_MAX + 1).read_to_end(&mut bytes)?;
    if u64::try_from(size).is_ok_and(|size| size <= SIZE_MAX) {
        Ok(bytes)
    } else {
        Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is larger than 1 GiB"))
    }
}
