//! How many rounds are made at once.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Turns that are taken for the time of a round. Cheap to clone: all clones are the same turns.
#[derive(Clone, Debug)]
pub(super) struct Turns {
    free: Arc<Semaphore>,
}

impl Turns {
    pub(super) fn new(count: u32) -> Self {
        Self { free: Arc::new(Semaphore::new(permits(count))) }
    }

    /// Waits for a turn, which ends when it is dropped. `None` never comes: the semaphore is not closed.
    pub(super) async fn take(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).acquire_owned().await.ok()
    }

    /// Makes so many turns of what were `before`. Rounds in progress keep theirs; where there are too many, nobody gets a
    /// turn until enough of them have ended.
    pub(super) fn resize(&self, before: u32, count: u32) {
        if let Some(more) = count.checked_sub(before) {
            self.free.add_permits(permits(more));
            return;
        }
        let surplus = permits(before - count);
        let left = u32::try_from(surplus - self.free.forget_permits(surplus)).unwrap_or(u32::MAX);
        if left > 0 {
            let free = Arc::clone(&self.free);
            // Permits go to whoever has waited longest, so that those that a later call adds are counted against these.
            tokio::spawn(async move {
                if let Ok(permits) = free.acquire_many(left).await {
                    permits.forget();
                }
            });
        }
    }
}

fn permits(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many turns can be had now.
    async fn free(turns: &Turns) -> usize {
        // What waits for permits gets them first.
        tokio::task::yield_now().await;
        let mut taken = Vec::new();
        while let Ok(turn) = Arc::clone(&turns.free).try_acquire_owned() {
            taken.push(turn);
        }
        taken.len()
    }

    #[tokio::test]
    async fn turns_become_more_and_fewer_while_they_are_taken() {
        let turns = Turns::new(3);
        let mut taken = vec![turns.take().await, turns.take().await];
        assert_eq!(free(&turns).await, 1);
        turns.resize(3, 1);
        assert_eq!(free(&turns).await, 0, "2 are taken, 1 is allowed");
        taken.pop();
        assert_eq!(free(&turns).await, 0, "1 is taken, 1 is allowed");
        taken.pop();
        assert_eq!(free(&turns).await, 1);

        turns.resize(1, 4);
        assert_eq!(free(&turns).await, 4);
        for _ in 0..4 {
            taken.push(turns.take().await);
        }
        turns.resize(4, 1);
        assert_eq!(free(&turns).await, 0);
        turns.resize(1, 3);
        assert_eq!(free(&turns).await, 0, "4 are taken, 3 are allowed");
        taken.clear();
        assert_eq!(free(&turns).await, 3);
    }
}
