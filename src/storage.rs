//! A directory in which states of targets outlast the process: one file a target, replaced in one step.
//!
//! Knows files: their names, their format, what becomes of damaged ones. Knows nothing of what a state means.

mod format;
mod name;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::fcntl::{Flock, FlockArg};
use serde::{Serialize, de::DeserializeOwned};

/// The largest state that is read, in bytes: far above that of the widest route.
const SIZE_MAX: u64 = 256 << 20;
/// The file that the exporter holds locked as long as it lives.
const LOCK: &str = "lock";

/// Why states cannot be kept, or a kept one not be had.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The directory cannot be made or used.
    #[error("--storage.path: cannot {doing} {}: {reason}; name a directory in which the exporter may create files", .path.display())]
    Directory {
        /// What was tried.
        doing: &'static str,
        /// The directory.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
    /// Another process has it.
    #[error("--storage.path: {} belongs to another traceflow_exporter that is running; give each a directory of its own, or stop the other", .path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// A file cannot be read, written or renamed.
    #[error("cannot {doing} {}: {reason}", .path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
}

/// A directory of states. Cheap to clone: all clones are the same, and the directory is free again when the last one is dropped.
#[derive(Clone, Debug)]
pub struct Storage {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// The directory itself: a file that was renamed outlasts a power cut only when this is synchronised.
    directory: File,
    _lock: Flock<File>,
}

impl Storage {
    /// Makes the directory where it is missing. Returns whether it was.
    ///
    /// # Errors
    /// When it cannot be made, or is no directory.
    pub fn make(path: &Path) -> Result<bool, StorageError> {
        let failed = |doing, reason| StorageError::Directory { doing, path: path.to_owned(), reason };
        let was_there = path.is_dir();
        match fs::create_dir_all(path) {
            Ok(()) => Ok(!was_there),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(failed("use", io::ErrorKind::NotADirectory.into()))
            }
            Err(error) => Err(failed("create", error)),
        }
    }

    /// Takes a directory into use, which is made where it is missing. Removes what an end in the middle of writing left behind.
    ///
    /// # Errors
    /// When another process uses it, or no files can be created in it.
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        let failed = |doing| move |reason| StorageError::Directory { doing, path: path.to_owned(), reason };
        Self::make(path)?;
        let directory = File::open(path).map_err(failed("open"))?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path.join(LOCK));
        let lock = lock.map_err(failed("write to"))?;
        let lock =
            Flock::lock(lock, FlockArg::LockExclusiveNonblock).map_err(|(_, reason)| match reason {
                nix::errno::Errno::EWOULDBLOCK => StorageError::InUse { path: path.to_owned() },
                _ => failed("lock")(reason.into()),
            })?;
        // That the lock could be opened says nothing where it was there before.
        let trial = path.join(name::TEMPORARY);
        File::create(&trial).map_err(failed("write to"))?;
        remove_temporary(path).map_err(failed("clear"))?;
        Ok(Self { inner: Arc::new(Inner { path: path.to_owned(), directory, _lock: lock }) })
    }

    /// The state kept of a target; `None` where there is none. A file that holds none is put aside under another name, which is told
    /// in the log.
    ///
    /// # Errors
    /// When the file cannot be read, or not be put aside.
    pub fn load<T: DeserializeOwned>(&self, target: &str) -> Result<Option<T>, StorageError> {
        let path = self.file(target, name::SUFFIX);
        let failed = |reason| StorageError::File { doing: "read", path: path.clone(), reason };
        let mut content = Vec::new();
        match File::open(&path) {
            Ok(file) => file.take(SIZE_MAX).read_to_end(&mut content).map_err(failed)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        match format::decode(target, &content) {
            Ok(state) => Ok(Some(state)),
            Err(damage) => {
                let kept = put_aside(&path)?;
                tracing::warn!(
                    target,
                    file = %path.display(),
                    reason = %damage,
                    kept_as = %kept.display(),
                    "the state cannot be used and is put aside: the target begins anew"
                );
                Ok(None)
            }
        }
    }

    /// Keeps the state of a target. When this returns it outlasts the process and a power cut; when it fails, what was kept before
    /// does. Blocks until the disk has it; not to be called twice at once for one target.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save<T: Serialize>(&self, target: &str, state: &T) -> Result<(), StorageError> {
        let (path, temporary) = (self.file(target, name::SUFFIX), self.file(target, name::TEMPORARY));
        let written = format::encode(target, state)
            .map_err(Into::into)
            .and_then(|content| write(&temporary, &content))
            .and_then(|()| fs::rename(&temporary, &path))
            .and_then(|()| self.inner.directory.sync_all());
        written.map_err(|reason| {
            // A disk that is full needs the room. Where there is nothing to remove, that is as well.
            let _ = fs::remove_file(&temporary);
            StorageError::File { doing: "write", path, reason }
        })
    }

    fn file(&self, target: &str, suffix: &str) -> PathBuf {
        self.inner.path.join(name::stem(target) + suffix)
    }
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Renames a file to the first name for damaged ones that is free.
fn put_aside(path: &Path) -> Result<PathBuf, StorageError> {
    let failed = |reason| StorageError::File { doing: "put aside", path: path.to_owned(), reason };
    for number in 1..=u32::MAX {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".damaged-{number}"));
        let name = PathBuf::from(name);
        // The lock keeps others like us away, so that what is free stays free.
        match fs::symlink_metadata(&name) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return fs::rename(path, &name).map(|()| name).map_err(failed);
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Err(failed(io::ErrorKind::AlreadyExists.into()))
}

fn remove_temporary(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.ends_with(name::TEMPORARY)) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
