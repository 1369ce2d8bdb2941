//! What is seen of a trace while it is made: a line on a terminal, and how Ctrl-C ends it.

use std::{pin::pin, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    network::{Running, Stopped},
    trace::Trace,
    tracer::Progress,
};

/// How often the line changes.
const BEAT: Duration = Duration::from_millis(100);

/// Waits for a trace, showing on standard error how far it has come, where that is a terminal. After Ctrl-C the trace is what is
/// known by then. Returns with it whether that happened.
pub(super) async fn watch(mut running: Running) -> Result<(Trace, bool), Stopped> {
    let mut line = line();
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    let mut beat = tokio::time::interval(BEAT);
    // Most traces are over before there is anything to show.
    beat.reset();
    let (mut waits, mut interrupted) = (true, false);
    loop {
        tokio::select! {
            trace = running.result() => {
                line.finish_and_clear();
                return Ok((trace?, interrupted));
            }
            signal = &mut interrupt, if waits => {
                waits = false;
                // Where signals cannot be had, Ctrl-C ends the program as it always did.
                if signal.is_ok() {
                    interrupted = true;
                    running.end();
                }
            }
            _ = beat.tick(), if !line.is_hidden() => {
                if let Some(progress) = running.progress().await {
                    // The message alone draws nothing: once a beat is enough.
                    line = line.with_message(message(progress));
                    line.tick();
                }
            }
        }
    }
}

/// Waits for something else, saying so on that line. `None` where Ctrl-C came first.
pub(super) async fn wait<T>(what: &'static str, work: impl Future<Output = T>) -> Option<T> {
    let line = line().with_message(what);
    let mut work = pin!(work);
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    let mut beat = tokio::time::interval(BEAT);
    beat.reset();
    let mut waits = true;
    loop {
        tokio::select! {
            done = &mut work => {
                line.finish_and_clear();
                return Some(done);
            }
            signal = &mut interrupt, if waits => {
                waits = false;
                if signal.is_ok() {
                    line.finish_and_clear();
                    return None;
                }
            }
            _ = beat.tick(), if !line.is_hidden() => line.tick(),
        }
    }
}

/// A line that is never wider than the terminal; it is drawn when it is told to.
fn line() -> ProgressBar {
    let line = ProgressBar::new_spinner();
    match ProgressStyle::with_template("{spinner} {wide_msg}") {
        Ok(style) => line.with_style(style),
        Err(_) => line,
    }
}

fn message(progress: Progress) -> String {
    let Progress { probes_sent, replies_received, hops, nodes } = progress;
    format!("{probes_sent} probes sent, {replies_received} answered, {nodes} nodes found up to hop {hops}")
}
