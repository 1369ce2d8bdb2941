//! Whether a connection is of use: what it is busy with, and when it is to be given up.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
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
    count: Arc<watch::Sender<usize>>,
}

/// One request in progress, until it is dropped.
#[derive(Debug)]
pub(super) struct Busy(Activity);

impl Activity {
    pub(super) fn new() -> Self {
        Self { count: Arc::new(watch::Sender::new(0)) }
    }

    /// Notes that a request has come.
    pub(super) fn begin(&self) -> Busy {
        self.count.send_modify(|count| *count += 1);
        Busy(self.clone())
    }

    /// Waits until the connection is to be given up: its client has not asked anything for too long, or does not take the
    /// responses. Where connections wait for a place, `crowded`, one without a request has to go soon.
    pub(super) async fn end(&self, bounds: Bounds, mut crowded: watch::Receiver<bool>) {
        let clock = Clock::start();
        let mut count = self.count.subscribe();
        let mut was_busy = false;
        let mut since: Time = clock.now();
        loop {
            let is_busy = *count.borrow_and_update() > 0;
            if is_busy != was_busy {
                (was_busy, since) = (is_busy, clock.now());
            }
            let is_crowded = *crowded.borrow_and_update();
            let patience = match (is_busy, is_crowded) {
                (true, _) => bounds.response_timeout,
                (false, true) => bounds.crowded_timeout.min(bounds.header_timeout),
                (false, false) => bounds.header_timeout,
            };
            // An idle time that is over when it gets crowded ends at once.
            tokio::select! {
                Ok(()) = count.changed() => {}
                Ok(()) = crowded.changed() => {}
                () = time::sleep_until(clock.instant(since + patience)) => return,
            }
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.count.send_modify(|count| *count = count.saturating_sub(1));
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
