//! Questions to the system's resolver, which holds a thread for as long as it likes.
//!
//! Knows how many threads it may hold and how long anybody waits. Knows nothing of what is asked.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Semaphore,
    task::{JoinError, spawn_blocking},
    time::timeout,
};

/// How long the resolver may take: longer than its own time-out for one server that does not answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(12);

/// Lookups with a bound on how many are made at once. All clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Lookups {
    pub(crate) room: Arc<Semaphore>,
}

/// Why a lookup has no outcome.
#[derive(Debug)]
pub(crate) enum NoOutcome {
    /// It takes longer than [`PATIENCE`].
    Slow,
    /// It came to grief.
    Broken(JoinError),
}

impl Lookups {
    /// At most so many at once. Each holds a thread until the resolver lets go of it, which can be long after nobody waits any more; the
    /// threads that make web pages come from the same pool of 512.
    pub(crate) fn new(most: usize) -> Self {
        Self { room: Arc::new(Semaphore::new(most)) }
    }

    /// Waits for room, then for the outcome.
    pub(crate) async fn make<T: Send + 'static>(
        &self,
        lookup: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NoOutcome> {
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&self.room).acquire_owned().await else {
            return Err(NoOutcome::Slow);
        };
        let lookup = spawn_blocking(move || {
            let outcome = lookup();
            // Given back when the thread is free, not when nobody waits any more.
            drop(permit);
            outcome
        });
        match timeout(PATIENCE, lookup).await {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(ended)) => Err(NoOutcome::Broken(ended)),
            Err(_) => Err(NoOutcome::Slow),
        }
    }
}
