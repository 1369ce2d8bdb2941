//! Connections: accepting them within a bound, and ending them.

use std::{future::Future, io, net::SocketAddr, pin::pin, sync::Arc, task::Poll, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{AcquireError, OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time,
};

use super::{State, connection};
use crate::{network::clock::Clock, time::Time};

/// Pause after a connection could not be accepted: the reason, such as too many open files, does not go away at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often it is told that connections cannot be accepted, where that comes and goes.
const TELL_PAUSE: Duration = Duration::from_secs(60);

/// Serves HTTP on all `listeners` until `shutdown` is ready. Then no more connections are accepted, requests in progress may
/// end within [`super::Bounds::grace`], and what is left is cut off.
pub async fn serve(listeners: Vec<TcpListener>, state: Arc<State>, shutdown: impl Future<Output = ()>) {
    let bounds = state.bounds;
    let room = Arc::new(Semaphore::new(bounds.connections));
    let (stop, stopped) = watch::channel(());
    let (crowd, crowded) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut turn = 0;
    // Accepted, so that it is known that somebody waits.
    let mut waiting = None;
    let mut refusals = Refusals::default();
    let clock = Clock::start();

    let mut shutdown = pin!(shutdown);
    loop {
        let placed = async {
            if waiting.is_none() {
                waiting = Some(accept(&listeners, &mut turn).await?);
            }
            Ok(place(&room, &crowd).await)
        };
        tokio::select! {
            () = &mut shutdown => break,
            // Finished connections are taken out, so that the set does not grow.
            Some(_) = connections.join_next() => {}
            placed = placed => match placed {
                Ok(Ok(permit)) => {
                    let Some((stream, _)) = waiting.take() else { continue };
                    refusals.end();
                    let state = Arc::clone(&state);
                    connections.spawn(connection::serve(stream, state, stopped.clone(), crowded.clone(), permit));
                }
                // The semaphore is never closed.
                Ok(Err(_)) => break,
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    refusals.note(clock.now(), &error);
                    time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }

    drop(listeners);
    drop(stop);
    let ended = async { while connections.join_next().await.is_some() {} };
    if time::timeout(bounds.grace, ended).await.is_err() {
        tracing::warn!(connections = connections.len(), "cutting off requests that did not end");
    }
}

/// What could not be accepted: told once when it begins, and once when it is over.
#[derive(Debug, Default)]
struct Refusals {
    count: u64,
    told: Option<Time>,
    is_told: bool,
}

impl Refusals {
    fn note(&mut self, now: Time, error: &io::Error) {
        self.count += 1;
        if self.is_told || self.told.is_some_and(|told| now.since(told) < TELL_PAUSE) {
            return;
        }
        tracing::warn!(%error, "cannot accept connections");
        (self.told, self.is_told) = (Some(now), true);
    }

    /// A connection was accepted.
    fn end(&mut self) {
        if std::mem::take(&mut self.is_told) {
            let attempts = std::mem::take(&mut self.count);
            tracing::info!(attempts, "no longer: cannot accept connections");
        }
    }
}

/// A place for a connection that waits for it. While there is none, the others know that it is crowded.
async fn place(
    room: &Arc<Semaphore>,
    crowd: &watch::Sender<bool>,
) -> Result<OwnedSemaphorePermit, AcquireError> {
    let tell = |is_crowded| {
        crowd.send_if_modified(|told| std::mem::replace(told, is_crowded) != is_crowded);
    };
    if room.available_permits() == 0 {
        tell(true);
    }
    let permit = Arc::clone(room).acquire_owned().await;
    tell(false);
    permit
}

/// The next connection on any of the listeners, each of which has its turn.
async fn accept(listeners: &[TcpListener], turn: &mut usize) -> io::Result<(TcpStream, SocketAddr)> {
    std::future::poll_fn(|context| {
        for step in 0..listeners.len() {
            let index = turn.wrapping_add(step) % listeners.len();
            let Some(listener) = listeners.get(index) else {
                continue;
            };
            if let Poll::Ready(accepted) = listener.poll_accept(context) {
                *turn = index.wrapping_add(1);
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    })
    .await
}

/// Whether only the connection that was to be accepted is gone, and nothing is wrong with the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
