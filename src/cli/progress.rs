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
    let line = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        line.set_style(style);
    }
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
                    line.set_message(message(progress));
                    line.tick();
                }
            }
        }
    }
}

fn message(progress: Progress) -> String {
    let Progress { probes_sent, replies_received, hops, nodes } = progress;
    format!("{probes_sent} probes sent, {replies_received} answered, {nodes} nodes found up to hop {hops}")
}
