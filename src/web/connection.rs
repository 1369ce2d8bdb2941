//! One connection: encrypted where that is wanted, served, and given up when it is of no use.

use std::{
    convert::Infallible,
    error::Error,
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use hyper::{
    Request, Response,
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::graceful::GracefulConnection,
};
use rustls::ServerConfig;
use socket2::SockRef;
use tokio::{
    io::{self, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, watch},
    time,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    State,
    activity::{Activity, Body, Busy},
    gate,
};

/// How long sent data may go unacknowledged, or wait for a client that does not read, before the connection is given up.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection that is given up may take to end well.
const LINGER: Duration = Duration::from_secs(1);
/// Largest header of a request in bytes.
const HEADER_SIZE: usize = 16 * 1024;
/// Most requests at a time on one connection (HTTP/2).
const STREAMS: u32 = 8;
/// The first byte of a TLS connection: a handshake record (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 22;
/// What a client is told that does not know that it has to encrypt.
const NOT_TLS: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n\
    this port speaks HTTPS\n";

/// Serves a connection until its end. `stopped` changes when the server is to stop, `crowded` is whether connections wait.
pub(super) async fn serve(
    stream: TcpStream,
    state: Arc<State>,
    stopped: watch::Receiver<()>,
    crowded: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
) {
    // Without it a client that does not read would hold its place for long. Not all kernels have it; that is no reason not to serve.
    let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(SEND_TIMEOUT));
    let _ = stream.set_nodelay(true);
    let activity = Activity::new(crowded);
    let mut given_up = pin!(activity.end(state.bounds));
    let Some(tls) = state.security.now().await.tls.clone() else {
        return plain(stream, state, &activity, stopped, given_up).await;
    };
    let mut stop = stopped.clone();
    let encrypted = tokio::select! {
        encrypted = encrypt(stream, tls) => encrypted,
        _ = stop.changed() => return,
        () = &mut given_up => return,
    };
    match encrypted {
        Ok(stream) if stream.get_ref().1.alpn_protocol() == Some(b"h2") => {
            multiplexed(stream, state, &activity, stopped, given_up).await;
        }
        Ok(stream) => plain(stream, state, &activity, stopped, given_up).await,
        Err(error) => tracing::debug!(%error, "a connection could not be encrypted"),
    }
}

async fn encrypt(mut stream: TcpStream, tls: Arc<ServerConfig>) -> io::Result<TlsStream<TcpStream>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first != [HANDSHAKE] {
        stream.write_all(NOT_TLS).await?;
        stream.shutdown().await?;
        // What is closed unread is reset, and the client would not see the answer.
        let unread = u64::try_from(HEADER_SIZE).unwrap_or(u64::MAX);
        io::copy(&mut stream.take(unread), &mut io::sink()).await?;
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the client does not speak TLS"));
    }
    TlsAcceptor::from(tls).accept(stream).await
}

/// Serves HTTP/1.
async fn plain(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    state: Arc<State>,
    activity: &Activity,
    stopped: watch::Receiver<()>,
    given_up: Pin<&mut impl Future<Output = ()>>,
) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(state.bounds.header_timeout);
    builder.max_header_size(HEADER_SIZE).max_headers(gate::HEADERS);
    let begun = activity.clone();
    let service = service_fn(move |request| answer(request, Arc::clone(&state), begun.begin()));
    drive(builder.serve_connection(TokioIo::new(stream), service), activity, stopped, given_up).await;
}

/// Serves HTTP/2.
async fn multiplexed(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    state: Arc<State>,
    activity: &Activity,
    stopped: watch::Receiver<()>,
    given_up: Pin<&mut impl Future<Output = ()>>,
) {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).max_concurrent_streams(STREAMS);
    builder.max_header_list_size(u32::try_from(HEADER_SIZE).unwrap_or(u32::MAX));
    let begun = activity.clone();
    let service = service_fn(move |request| answer(request, Arc::clone(&state), begun.begin()));
    drive(builder.serve_connection(TokioIo::new(stream), service), activity, stopped, given_up).await;
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<State>,
    busy: Busy,
) -> Result<Response<Body>, Infallible> {
    Ok(gate::answer(request, state, busy).await)
}

async fn drive<C>(
    serving: C,
    activity: &Activity,
    mut stopped: watch::Receiver<()>,
    mut given_up: Pin<&mut impl Future<Output = ()>>,
) where
    C: GracefulConnection,
    C::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let mut serving = pin!(serving);
    let mut retired = pin!(activity.retired());
    let mut is_retired = false;
    let result = loop {
        tokio::select! {
            result = &mut serving => break result,
            // The sender is dropped when the server is to stop.
            _ = stopped.changed() => {
                serving.as_mut().graceful_shutdown();
                break serving.await;
            }
            () = &mut retired, if !is_retired => {
                is_retired = true;
                serving.as_mut().graceful_shutdown();
            }
            () = &mut given_up => {
                serving.as_mut().graceful_shutdown();
                match time::timeout(LINGER, serving).await {
                    Ok(result) => break result,
                    Err(_) => return tracing::debug!("a connection was given up"),
                }
            }
        }
    };
    if let Err(error) = result {
        let error = error.into();
        tracing::debug!(%error, "a connection ended early");
    }
}
