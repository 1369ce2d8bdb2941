//! The driver: the only code that owns sockets and reads the clock.
//!
//! One task serves all traces: it sends what the exchange wants sent, reads what the kernel has, and sleeps until the
//! next deadline. Everyone else holds a [`Network`], which is a handle to it.

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
    time::Duration,
};

use nix::errno::Errno;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use self::{
    clock::Clock,
    exchange::{Datagram, Exchange, RoundId},
    socket::{Receiver, Sender},
};
pub use self::{
    demux::{Discard, echo_id},
    exchange::Counters,
    filter::Wanted,
    socket::{SocketError, Sockets, interface_index, source_towards},
};
use crate::{
    flow::Family,
    probe::Template,
    time::Time,
    trace::Trace,
    tracer::{SendFailure, Settings},
};

/// Packets sent before the sockets are looked at again, so that a long queue does not let replies pile up.
const SEND_BATCH: usize = 32;
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
    SetMaxPps(u32),
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
            busy_until: Time::ZERO,
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

    /// Changes the bound on all traces together.
    pub fn set_max_pps(&self, max_pps: u32) {
        // A driver that has ended sends nothing anyway.
        let _ = self.commands.send(Command::SetMaxPps(max_pps));
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
    busy_until: Time,
}

impl Driver {
    async fn run(mut self) {
        loop {
            self.send();
            self.deliver();
            let deadline = self.deadline();
            tokio::select! {
                command = self.inbox.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                () = readable(&self.receivers) => self.receive(),
                () = tokio::time::sleep_until(self.clock.instant(deadline)) => {}
            }
            self.exchange.handle_timeout(self.clock.now());
        }
    }

    fn obey(&mut self, command: Command) {
        let now = self.clock.now();
        match command {
            Command::Start { ticket, request, result } => {
                let Request { template, interface, settings } = *request;
                let id = self.exchange.start(now, template, interface, settings);
                self.waiting.insert(id, (ticket, result));
            }
            Command::Stop { ticket } => {
                let id = self.waiting.iter().find(|(_, (held, _))| *held == ticket).map(|(&id, _)| id);
                if let Some(id) = id {
                    self.waiting.remove(&id);
                    self.exchange.stop(id);
                }
            }
            Command::SetMaxPps(max_pps) => self.exchange.set_max_pps(max_pps, now),
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
            let sent = self.sender.send(self.exchange.packet(), transmit.destination, transmit.interface);
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

    /// Reads a batch from each socket, so that none waits until another is empty: the destination's answers may come by
    /// another one than the routers'.
    fn receive(&mut self) {
        for receiver in &mut self.receivers {
            let (family, protocol) = (receiver.family, receiver.protocol);
            let arrivals = self.clock.arrivals();
            let exchange = &mut self.exchange;
            let read = receiver.read(|message| {
                let datagram = match (family, message.from) {
                    (Family::V4, _) => Datagram::V4(message.bytes),
                    (Family::V6, Some(std::net::IpAddr::V6(from))) => {
                        Datagram::V6 { from, protocol, message: message.bytes }
                    }
                    (Family::V6, _) => return,
                };
                exchange.handle_datagram(arrivals.read_at(), arrivals.at(message.stamp), datagram);
            });
            match read {
                Ok((_, dropped)) => self.exchange.handle_receive_drops(dropped.into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    tracing::warn!(%error, family = family.label(), protocol = protocol.name(), "cannot receive");
                }
            }
        }
    }

    /// Hands finished traces to those who wait for them, and publishes the counters.
    fn deliver(&mut self) {
        while let Some((id, trace)) = self.exchange.poll_finished() {
            if let Some((_, result)) = self.waiting.remove(&id) {
                // Whoever asked may be gone.
                let _ = result.send(trace);
            }
        }
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        if *counters != *self.exchange.counters() {
            counters.clone_from(self.exchange.counters());
        }
    }

    fn deadline(&mut self) -> Time {
        let now = self.clock.now();
        let due = self.exchange.poll_timeout().unwrap_or(now + IDLE);
        due.max(self.busy_until)
    }
}

/// Waits until one of the sockets has something.
async fn readable(receivers: &[Receiver]) {
    std::future::poll_fn(|context| {
        let mut ready = std::task::Poll::Pending;
        for receiver in receivers {
            if receiver.poll_readable(context).is_ready() {
                ready = std::task::Poll::Ready(());
            }
        }
        ready
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
