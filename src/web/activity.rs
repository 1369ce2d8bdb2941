//! Whether a connection is of use: what it is busy with, and when it is to be given up.

use std::{
    convert::Infallible,
    future::pending,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hyper::body::{Bytes, Frame, SizeHint};
use tokio::{sync::watch, time};

use super::Bounds;
use crate::{network::clock::Clock, time::Time};

/// A response is handed over in pieces of at most so many bytes, so that it shows whether the client takes them.
const PIECE: usize = 64 * 1024;

/// Requests in progress on one connection: asked, and the response not yet taken.
#[derive(Clone, Debug)]
pub(super) struct Activity {
    load: Arc<watch::Sender<Load>>,
    /// Whether connections wait for a place.
    crowded: watch::Receiver<bool>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Load {
    requests: usize,
    /// How many of them wait for something that has a bound of its own.
    waiting: usize,
    /// Whether it is to end with the requests in progress.
    is_last: bool,
}

/// What a connection is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Busy,
    Waiting,
}

impl Load {
    const fn phase(self) -> Phase {
        match self {
            Self { waiting: 1.., .. } => Phase::Waiting,
            Self { requests: 1.., .. } => Phase::Busy,
            _ => Phase::Idle,
        }
    }
}

/// One request in progress, until it is dropped.
#[derive(Debug)]
pub(super) struct Busy(Activity);

/// Part of a request that takes its time, until it is dropped.
#[derive(Debug)]
pub(super) struct Waiting(Activity);

impl Activity {
    /// Of a connection that nobody has asked anything on. `crowded` is whether others wait for a place.
    pub(super) fn new(crowded: watch::Receiver<bool>) -> Self {
        Self { load: Arc::new(watch::Sender::default()), crowded }
    }

    /// Whether others wait for a place.
    pub(super) fn is_crowded(&self) -> bool {
        *self.crowded.borrow()
    }

    /// Has the connection end with the requests in progress.
    pub(super) fn retire(&self) {
        self.load.send_modify(|load| load.is_last = true);
    }

    /// Waits until the connection is to end with the requests in progress.
    pub(super) async fn retired(&self) {
        // The sender is ours.
        let _ = self.load.subscribe().wait_for(|load| load.is_last).await;
    }

    /// Notes that a request has come.
    pub(super) fn begin(&self) -> Busy {
        self.load.send_modify(|load| load.requests += 1);
        Busy(self.clone())
    }

    /// Notes that a request waits for something that has a bound of its own: until it comes nobody is to blame.
    pub(super) fn wait(&self) -> Waiting {
        self.load.send_modify(|load| load.waiting += 1);
        Waiting(self.clone())
    }

    /// Waits until the connection is to be given up: its client has not asked anything for too long, or does not take the
    /// responses. Where connections wait for a place, one without a request has to go soon.
    pub(super) async fn end(&self, bounds: Bounds) {
        let mut crowded = self.crowded.clone();
        let clock = Clock::start();
        let mut load = self.load.subscribe();
        let mut before = Phase::Idle;
        let mut since: Time = clock.now();
        loop {
            let phase = load.borrow_and_update().phase();
            if phase != before {
                (before, since) = (phase, clock.now());
            }
            let is_crowded = *crowded.borrow_and_update();
            let patience = match (phase, is_crowded) {
                (Phase::Waiting, _) => Duration::MAX,
                (Phase::Busy, _) => bounds.response_timeout,
                (Phase::Idle, true) => bounds.crowded_timeout.min(bounds.header_timeout),
                (Phase::Idle, false) => bounds.header_timeout,
            };
            let over = async {
                match patience {
                    Duration::MAX => pending().await,
                    _ => time::sleep_until(clock.instant(since + patience)).await,
                }
            };
            // An idle time that is over when it gets crowded ends at once.
            tokio::select! {
                Ok(()) = load.changed() => {}
                Ok(()) = crowded.changed() => {}
                () = over => return,
            }
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.load.send_modify(|load| load.requests = load.requests.saturating_sub(1));
    }
}

impl Busy {
    /// The connection that it is on.
    pub(super) const fn activity(&self) -> &Activity {
        &self.0
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.load.send_modify(|load| load.waiting = load.waiting.saturating_sub(1));
    }
}

/// The body of a response. While it is not taken, its request is in progress.
#[derive(Debug)]
pub(super) struct Body {
    rest: Bytes,
    _busy: Busy,
}

impl Body {
    pub(super) const fn new(bytes: Bytes, busy: Busy) -> Self {
        Self { rest: bytes, _busy: busy }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let size = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(size)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.rest.len()).unwrap_or(u64::MAX))
    }
}
