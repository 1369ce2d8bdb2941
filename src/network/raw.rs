//! The raw sockets as the driver's medium.
//!
//! Reads in turns, so that no socket starves another, and does not let an error that stays take the whole processor.

use std::{
    io,
    net::IpAddr,
    task::{Context, Poll},
    time::Duration,
};

use super::{
    clock::Clock,
    exchange::{Datagram, Exchange, Transmit},
    filter::Wanted,
    medium::{Medium, Origins},
    socket::{Receiver, Sender, SocketError, Sockets},
};
use crate::{
    flow::{Family, Protocol},
    time::Time,
};

/// Batches read from one socket before anything else is done: more than arrive while the rest is done.
const READ_BATCHES: usize = 32;
/// How long to wait when a socket cannot be read, so that an error that stays does not take the whole processor.
const ERROR_PAUSE: Duration = Duration::from_millis(10);
/// How often to complain that a socket cannot be read.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(60);

/// All raw sockets, watched by the runtime.
pub(super) struct Raw {
    sender: Sender,
    receivers: Vec<Receiver>,
    /// Until when not to look at the sockets: one cannot be read.
    deaf_until: Option<Time>,
    complaint: Complaint,
}

/// Errors in reading since the last complaint.
#[derive(Debug, Default)]
struct Complaint {
    errors: u64,
    last: Option<Time>,
}

impl Raw {
    /// # Errors
    /// When the runtime cannot watch the sockets.
    pub(super) fn new(sockets: Sockets) -> Result<Self, SocketError> {
        let (sender, receivers) = sockets.split()?;
        Ok(Self { sender, receivers, deaf_until: None, complaint: Complaint::default() })
    }
}

impl Medium for Raw {
    fn send(&mut self, _now: Time, packet: &[u8], transmit: &Transmit) -> io::Result<()> {
        self.sender.send(packet, transmit.source, transmit.destination, transmit.interface)
    }

    fn receive(&mut self, clock: &mut Clock, exchange: &mut Exchange) -> Time {
        let mut heard = clock.now();
        if self.deaf_until.is_some_and(|until| heard < until) {
            return heard;
        }
        self.deaf_until = None;
        let mut dropped = 0;
        for receiver in &mut self.receivers {
            let (family, protocol) = (receiver.family, receiver.protocol);
            let mut last = None;
            let mut is_empty = false;
            for _ in 0..READ_BATCHES {
                let arrivals = clock.arrivals();
                let read = receiver.read(|message| {
                    let arrived = arrivals.at(message.stamp);
                    last = Some(arrived);
                    let datagram = match (family, message.from) {
                        (Family::V4, _) => Datagram::V4(message.bytes),
                        (Family::V6, Some(IpAddr::V6(from))) => {
                            Datagram::V6 { from, protocol, message: message.bytes }
                        }
                        (Family::V6, _) => return,
                    };
                    exchange.handle_datagram(arrivals.read_at(), arrived, datagram);
                });
                match read {
                    Ok(overflow) => dropped += u64::from(overflow),
                    Err(error) => {
                        is_empty = true;
                        if error.kind() != io::ErrorKind::WouldBlock {
                            self.deaf_until = Some(clock.now() + ERROR_PAUSE);
                            self.complaint.about(clock.now(), &error, family, protocol);
                        }
                        break;
                    }
                }
            }
            if !is_empty {
                heard = heard.min(last.unwrap_or(heard));
            }
        }
        exchange.handle_receive_drops(dropped);
        heard
    }

    fn next_arrival(&self) -> Option<Time> {
        self.deaf_until
    }

    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.deaf_until.is_some() {
            return Poll::Pending;
        }
        // All are asked, so that each wakes the task.
        let ready =
            self.receivers.iter().filter(|receiver| receiver.poll_readable(context).is_ready()).count();
        if ready > 0 { Poll::Ready(()) } else { Poll::Pending }
    }

    fn filter(&mut self, wanted: &Wanted) -> Result<(), SocketError> {
        self.receivers.iter().try_for_each(|receiver| receiver.filter(wanted))
    }

    fn origins(&self) -> Origins {
        Origins::System
    }
}

impl Complaint {
    /// Says that a socket cannot be read, but not too often.
    fn about(&mut self, now: Time, error: &io::Error, family: Family, protocol: Protocol) {
        self.errors += 1;
        if self.last.is_none_or(|last| now.since(last) >= COMPLAINT_PAUSE) {
            let (family, protocol, errors) = (family.label(), protocol.name(), self.errors);
            tracing::warn!(%error, family, protocol, errors, "cannot receive");
            *self = Self { errors: 0, last: Some(now) };
        }
    }
}
