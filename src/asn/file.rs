//! The database file, read again when it is replaced.
//!
//! Whoever asks gets what was read last. Looking at the file and reading it is done beside, so that no round and no view waits for it.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use super::{Database, DatabaseError};
use crate::stamp::Stamp;

/// From one look at the file to the next.
const PAUSE: Duration = Duration::from_secs(3);

/// A database file. All clones are the same one.
#[derive(Clone, Debug)]
pub struct DatabaseFile {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    current: RwLock<Arc<Database>>,
    /// The file as it was when it was read last, also where reading it failed; `None` where it was not there.
    seen: Mutex<Option<Stamp>>,
}

impl PartialEq for DatabaseFile {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl DatabaseFile {
    /// Reads a file.
    ///
    /// # Errors
    /// As for [`Database::load`].
    pub fn open(path: PathBuf) -> Result<Self, DatabaseError> {
        // Before it is read: what is written meanwhile is read again.
        let seen = Mutex::new(Stamp::of(&path).ok());
        let current = RwLock::new(Arc::new(Database::load(&path)?));
        Ok(Self { inner: Arc::new(Inner { path, current, seen }) })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// What was read last.
    #[must_use]
    pub fn current(&self) -> Arc<Database> {
        Arc::clone(&self.inner.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks at the file now and then, for as long as anybody else has it.
    pub async fn follow(self) {
        let shared = Arc::downgrade(&self.inner);
        drop(self);
        loop {
            tokio::time::sleep(PAUSE).await;
            let Some(inner) = shared.upgrade() else { return };
            let file = Self { inner };
            // It ends early where the runtime does, or by a defect that the log has.
            let _ = tokio::task::spawn_blocking(move || file.look()).await;
        }
    }

    /// Reads the file again if it is another than before. What cannot be used is told once, and what was read before stays.
    fn look(&self) {
        let Inner { path, current, seen } = &*self.inner;
        let stamp = Stamp::of(path);
        let found = stamp.as_ref().ok().copied();
        let before = std::mem::replace(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner), found);
        if before == found {
            return;
        }
        let loaded = match stamp {
            Ok(_) => Database::load(path),
            Err(reason) => Err(DatabaseError::Read { path: path.clone(), reason }),
        };
        match loaded {
            Ok(database) => {
                *current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(database);
                tracing::info!(file = %path.display(), "the AS database is read again");
            }
            Err(error) => tracing::warn!(%error, "the AS database read before stays in use"),
        }
    }
}
