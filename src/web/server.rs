//! Connections: accepting them within a bound, serving them, ending them.

use std::{
    convert::Infallible, future::Future, io, net::SocketAddr, pin::pin, sync::Arc, task::Poll, time::Duration,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time,
};

use super::{State, respond};

/// How long sent data may go unacknowledged, or wait for a client that does not read, before the connection is given up.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after a connection could not be accepted: the reason, such as too many open files, does not go away at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Largest header of a request in bytes.
const HEADER_SIZE: usize = 16 * 1024;

/// Serves HTTP on all `listeners` until `shutdown` is ready. Then no more connections are accepted, requests in progress may
/// end within [`super::Bounds::grace`], and what is left is cut off.
pub async fn serve(listeners: Vec<TcpListener>, state: Arc<State>, shutdown: impl Future<Output = ()>) {
    let bounds = state.bounds;
    let room = Arc::new(Semaphore::new(bounds.connections));
    let (stop, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut turn = 0;

    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = async {
            let permit = Arc::clone(&room).acquire_owned().await;
            (accept(&listeners, &mut turn).await, permit)
        };
        tokio::select! {
            () = &mut shutdown => break,
            // Finished connections are taken out, so that the set does not grow.
            Some(_) = connections.join_next() => {}
            (accepted, permit) = accepted => match (accepted, permit) {
                (Ok((stream, _)), Ok(permit)) => {
                    connections.spawn(connection(stream, Arc::clone(&state), stopped.clone(), permit));
                }
                (Err(error), _) if is_of_one_connection(&error) => {}
                (Err(error), _) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    time::sleep(ACCEPT_PAUSE).await;
                }
                // The semaphore is never closed.
                (_, Err(_)) => break,
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

async fn connection(
    stream: TcpStream,
    state: Arc<State>,
    mut stopped: watch::Receiver<()>,
    _permit: OwnedSemaphorePermit,
) {
    // Without it a client that does not read would hold its place for ever. Not all kernels have it; that is no reason not to serve.
    let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(SEND_TIMEOUT));
    let _ = stream.set_nodelay(true);
    let header_timeout = state.bounds.header_timeout;
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let state = Arc::clone(&state);
        async move {
            Ok::<_, Infallible>(respond::to(request.method().clone(), request.uri().clone(), state).await)
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_header_size(HEADER_SIZE)
        .serve_connection(TokioIo::new(stream), service);
    let mut serving = pin!(serving);
    let result = tokio::select! {
        result = &mut serving => result,
        // The sender is dropped when the server is to stop.
        _ = stopped.changed() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}
