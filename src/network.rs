//! The driver: the only code that owns sockets and reads the clock.
//!
//! One task serves all traces: it reads what the kernel has, sends what the exchange wants sent, and sleeps until the next
//! deadline. Nothing is called silent before everything that had arrived was read. Everyone else holds a [`Network`], which is a handle to it.

mod agenda;
pub mod clock;
mod demux;
pub mod exchange;
mod filter;
mod socket;

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use nix::errno::Errno;
use tokio::{
    sync::{
        mpsc::{self, error::TryRecvError},
        oneshot,
    },
    task::JoinHandle,
};

use self::{
    clock::Clock,
    exchange::{Datagram, Exchange, RoundId},
    socket::{Receiver, Sender},
};
pub use self::{
    demux::echo_id,
    filter::Wanted,
    socket::{SocketError, Sockets, interface_index, source_towards},
};
use crate::{
    counters::Counters,
    flow::{Family, Protocol},
    probe::Template,
    time::Time,
    trace::Trace,
    tracer::{SendFailure, Settings},
};

/// Packets sent before the sockets are looked at again, so that a long queue does not let replies pile up.
const SEND_BATCH: usize = 32;
/// Batches read from one socket before anything else is done: more than arrive while the rest is done.
const READ_BATCHES: usize = 32;
/// How long to wait when a socket cannot be read, so that an error that stays does not take the whole processor.
const ERROR_PAUSE: Duration = Duration::from_millis(10);
/// How often to complain that a socket cannot be read.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(60);
/// How long to wait when the kernel has no room for another packet.
const BUSY_PAUSE: Duration = Duration::from_millis(1);
/// Sleep when nothing is due: commands and replies wake the driver anyway.
const IDLE: Duration = Duration::from_secs(3600);

/// A trace to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The packets.
    pub template: Template,
    /// The interface (its index) they have to leave through; `None` for the one the routes say.
    pub interface: Option<u32>,
    /// What to ask.
    pub settings: Settings,
}

/// The driver has ended; no trace is possible any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the network driver has stopped")]
pub struct Stopped;

/// A handle to the driver.
#[derive(Clone, Debug)]
pub struct Network {
    commands: mpsc::UnboundedSender<Command>,
    counters: Arc<Mutex<Counters>>,
    next_ticket: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Command {
    Start { ticket: u64, request: Box<Request>, result: oneshot::Sender<Trace> },
    Stop { ticket: u64 },
    Ping { answer: oneshot::Sender<()> },
}

impl Network {
    /// Starts the driver on the current runtime. `secret` are random bytes of this process; `max_pps` bounds all traces
    /// together. The driver ends when the last handle is gone.
    ///
    /// # Errors
    /// When the runtime cannot watch the sockets.
    pub fn start(
        sockets: Sockets,
        secret: [u8; 16],
        max_pps: u32,
    ) -> Result<(Self, JoinHandle<()>), SocketError> {
        let (sender, receivers) = sockets.split()?;
        let (commands, inbox) = mpsc::unbounded_channel();
        let counters = Arc::new(Mutex::new(Counters::default()));
        let clock = Clock::start();
        let driver = Driver {
            exchange: Exchange::new(secret, max_pps, clock.now()),
            clock,
            sender,
            receivers,
            inbox,
            counters: Arc::clone(&counters),
            waiting: BTreeMap::new(),
            tickets: BTreeMap::new(),
            busy_until: Time::ZERO,
            deaf_until: Time::ZERO,
            complaint: Complaint::default(),
        };
        let network = Self { commands, counters, next_ticket: Arc::new(AtomicU64::new(0)) };
        Ok((network, tokio::spawn(driver.run())))
    }

    /// Makes a trace. Dropping the future ends it.
    ///
    /// # Errors
    /// When the driver has ended.
    pub async fn trace(&self, request: Request) -> Result<Trace, Stopped> {
        let ticket = self.next_ticket.fetch_add(1, Ordering::Relaxed);
        let (result, answer) = oneshot::channel();
        let start = Command::Start { ticket, request: Box::new(request), result };
        self.commands.send(start).map_err(|_| Stopped)?;
        let _guard = StopOnDrop { ticket, commands: &self.commands };
        answer.await.map_err(|_| Stopped)
    }

    /// Waits until the driver has looked at what it is told.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn ping(&self) -> Result<(), Stopped> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(Command::Ping { answer }).map_err(|_| Stopped)?;
        answered.await.map_err(|_| Stopped)
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Tells the driver that nobody waits for a trace any more. For one that is over this does nothing.
struct StopOnDrop<'a> {
    ticket: u64,
    commands: &'a mpsc::UnboundedSender<Command>,
}

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        let _ = self.commands.send(Command::Stop { ticket: self.ticket });
    }
}

struct Driver {
    exchange: Exchange,
    clock: Clock,
    sender: Sender,
    receivers: Vec<Receiver>,
    inbox: mpsc::UnboundedReceiver<Command>,
    counters: Arc<Mutex<Counters>>,
    waiting: BTreeMap<RoundId, (u64, oneshot::Sender<Trace>)>,
    tickets: BTreeMap<u64, RoundId>,
    busy_until: Time,
    /// Until when not to look at the sockets: one cannot be read.
    deaf_until: Time,
    complaint: Complaint,
}

/// Errors in reading since the last complaint.
#[derive(Debug, Default)]
struct Complaint {
    errors: u64,
    last: Option<Time>,
}

impl Driver {
    async fn run(mut self) {
        loop {
            let heard = self.receive();
            self.exchange.handle_timeout(heard);
            loop {
                match self.inbox.try_recv() {
                    Ok(command) => self.obey(command),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            self.send();
            self.deliver();
            let wake = self.clock.instant(self.deadline());
            let deaf = self.clock.now() < self.deaf_until;
            tokio::select! {
                command = self.inbox.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                () = readable(&self.receivers), if !deaf => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    fn obey(&mut self, command: Command) {
        let now = self.clock.now();
        match command {
            Command::Start { ticket, request, result } => {
                let Request { template, interface, settings } = *request;
                let id = self.exchange.start(now, template, interface, settings);
                self.waiting.insert(id, (ticket, result));
                self.tickets.insert(ticket, id);
            }
            // Whoever asked may be gone.
            Command::Ping { answer } => drop(answer.send(())),
            Command::Stop { ticket } => {
                if let Some(id) = self.tickets.remove(&ticket) {
                    self.waiting.remove(&id);
                    self.exchange.stop(id);
                }
            }
        }
    }

    fn send(&mut self) {
        for _ in 0..SEND_BATCH {
            let now = self.clock.now();
            if now < self.busy_until {
                return;
            }
            let Some(transmit) = self.exchange.poll_transmit(now) else {
                return;
            };
            let sent = self.sender.send(
                self.exchange.packet(),
                transmit.source,
                transmit.destination,
                transmit.interface,
            );
            let Err(error) = sent else { continue };
            let failure = match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM | Errno::EINTR) => {
                    self.busy_until = now + BUSY_PAUSE;
                    SendFailure::Busy
                }
                _ => SendFailure::Refused(format!("cannot send to {}: {error}", transmit.destination)),
            };
            self.exchange.handle_send_failure(transmit, failure);
        }
    }

    /// Takes in what the sockets have. Returns up to when everything that arrived was taken in: now, or where a socket holds
    /// more than is read at once, the arrival of the last message read from it.
    fn receive(&mut self) -> Time {
        let mut heard = self.clock.now();
        if heard < self.deaf_until {
            return heard;
        }
        let mut dropped = 0;
        for receiver in &mut self.receivers {
            let (family, protocol) = (receiver.family, receiver.protocol);
            let (exchange, clock) = (&mut self.exchange, &mut self.clock);
            let mut last = None;
            let mut is_empty = false;
            for _ in 0..READ_BATCHES {
                let arrivals = clock.arrivals();
                let read = receiver.read(|message| {
                    let arrived = arrivals.at(message.stamp);
                    last = Some(arrived);
                    let datagram = match (family, message.from) {
                        (Family::V4, _) => Datagram::V4(message.bytes),
                        (Family::V6, Some(std::net::IpAddr::V6(from))) => {
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
                            self.deaf_until = clock.now() + ERROR_PAUSE;
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
        self.exchange.handle_receive_drops(dropped);
        heard
    }

    /// Hands finished traces to those who wait for them, and publishes the counters.
    fn deliver(&mut self) {
        while let Some((id, trace)) = self.exchange.poll_finished() {
            if let Some((ticket, result)) = self.waiting.remove(&id) {
                self.tickets.remove(&ticket);
                // Whoever asked may be gone.
                let _ = result.send(trace);
            }
        }
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        if *counters != *self.exchange.counters() {
            counters.clone_from(self.exchange.counters());
        }
    }

    fn deadline(&self) -> Time {
        let now = self.clock.now();
        let due = self.exchange.poll_timeout().unwrap_or(now + IDLE);
        let due = if now < self.deaf_until { due.min(self.deaf_until) } else { due };
        due.max(self.busy_until)
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

/// Waits until one of the sockets has something.
async fn readable(receivers: &[Receiver]) {
    std::future::poll_fn(|context| {
        // All are asked, so that each wakes the task.
        let ready = receivers.iter().filter(|receiver| receiver.poll_readable(context).is_ready()).count();
        if ready > 0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Random bytes that tell this process's packets from those of all others.
///
/// # Errors
/// When the system has no randomness to give.
pub fn random_secret() -> io::Result<[u8; 16]> {
    let mut secret = [0; 16];
    getrandom::fill(&mut secret).map_err(io::Error::from)?;
    Ok(secret)
}
