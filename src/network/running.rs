//! A trace in progress, to whoever waits for it.

use tokio::sync::{mpsc, oneshot};

use super::{Command, Stopped};
use crate::{trace::Trace, tracer::Progress};

/// A trace in progress. Dropping it ends the trace.
#[derive(Debug)]
pub struct Running {
    pub(super) ticket: u64,
    pub(super) commands: mpsc::UnboundedSender<Command>,
    pub(super) answer: oneshot::Receiver<Trace>,
}

impl Running {
    /// Waits for the trace to be over. May be called again where the wait was broken off.
    ///
    /// # Errors
    /// When the driver has ended.
    pub async fn result(&mut self) -> Result<Trace, Stopped> {
        (&mut self.answer).await.map_err(|_| Stopped)
    }

    /// How far the trace has come; `None` when it is over.
    pub async fn progress(&self) -> Option<Progress> {
        let (answer, progress) = oneshot::channel();
        self.commands.send(Command::Look { ticket: self.ticket, answer }).ok()?;
        progress.await.ok()
    }

    /// What is known so far, as if it ended now; it goes on. `None` when it is over.
    pub async fn so_far(&self) -> Option<Trace> {
        let (answer, trace) = oneshot::channel();
        self.commands.send(Command::Show { ticket: self.ticket, answer }).ok()?;
        trace.await.ok()
    }

    /// Ends the trace now. What is known so far is its result.
    pub fn end(&self) {
        // Where the driver has ended, waiting for the result says so.
        let _ = self.commands.send(Command::End { ticket: self.ticket });
    }
}

impl Drop for Running {
    /// Tells the driver that nobody waits any more. For a trace that is over this does nothing.
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Stop { ticket: self.ticket });
    }
}
