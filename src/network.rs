//! The driver: the only code that owns sockets or a network in their place, and reads the clock.
//!
//! One task serves all traces: it reads what has arrived, sends what the exchange wants sent, and sleeps until the next
//! deadline. Nothing is called silent before everything that had arrived was read. Everyone else holds a [`Network`], which
//! is a handle to it.

mod agenda;
pub mod clock;
mod demux;
pub mod exchange;
mod filter;
mod medium;
mod raw;
mod running;
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
    sync::{
        mpsc::{self, error::TryRecvError},
        oneshot,
    },
    task::JoinHandle,
};

use self::{
    clock::Clock,
    exchange::{Exchange, RoundId},
    raw::Raw,
};
pub use self::{
    demux::echo_id,
    filter::Wanted,
    medium::{Medium, Origins},
    running::Running,
    socket::{NoWay, SocketError, Sockets, interface_index},
};
use crate::{
    counters::Counters,
    probe::Template,
    time::Time,
    trace::Trace,
    tracer::{Progress, SendFailure, Settings},
};

/// Packets sent before what has arrived is looked at again, so that a long queue does not let replies pile up.
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
    origins: Origins,
}

#[derive(Debug)]
enum Command {
    Start { ticket: u64, request: Box<Request>, result: oneshot::Sender<Trace> },
    Stop { ticket: u64 },
    Ping { answer: oneshot::Sender<()> },
    Configure { max_pps: u32, wanted: Wanted, result: oneshot::Sender<Result<(), SocketError>> },
    End { ticket: u64 },
    Look { ticket: u64, answer: oneshot::Sender<Progress> },
    Show { ticket: u64, answer: oneshot::Sender<Trace> },
}

/// Why the driver does not go on as it was told.
#[derive(Debug, thiserror::Error)]
pub enum ConfigureError {
    /// The system refused a filter.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// There is no driver.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl Network {
    /// Starts the driver over raw sockets on the current runtime. `secret` are random bytes of this process; `max_pps` bounds
    /// all traces together. The driver ends when the last handle is gone.
    ///
    /// # Errors
    /// When the runtime cannot watch the sockets.
    pub fn start(
        sockets: Sockets,
        secret: [u8; 16],
        max_pps: u32,
    ) -> Result<(Self, JoinHandle<()>), SocketError> {
        Ok(Self::over(Raw::new(sockets)?, secret, max_pps))
    }

    /// Starts the driver over anything that carries packets, as [`Self::start`] does over sockets.
    #[must_use]
    pub fn over(medium: impl Medium, secret: [u8; 16], max_pps: u32) -> (Self, JoinHandle<()>) {
        let (commands, inbox) = mpsc::unbounded_channel();
        let counters = Arc::new(Mutex::new(Counters::default()));
        let clock = Clock::start();
        let origins = medium.origins();
        let driver = Driver {
            exchange: Exchange::new(secret, max_pps, clock.now()),
            clock,
            medium,
            inbox,
            counters: Arc::clone(&counters),
            waiting: BTreeMap::new(),
            tickets: BTreeMap::new(),
            busy_until: Time::ZERO,
        };
        let network = Self { commands, counters, next_ticket: Arc::new(AtomicU64::new(0)), origins };
        (network, tokio::spawn(driver.run()))
    }

    /// Makes a trace. Dropping the future ends it.
    ///
    /// # Errors
    /// When the driver has ended.
    pub async fn trace(&self, request: Request) -> Result<Trace, Stopped> {
        self.begin(request)?.result().await
    }

    /// Begins a trace that can be looked at and ended early.
    ///
    /// # Errors
    /// When the driver has ended.
    pub fn begin(&self, request: Request) -> Result<Running, Stopped> {
        let ticket = self.next_ticket.fetch_add(1, Ordering::Relaxed);
        let (result, answer) = oneshot::channel();
        let start = Command::Start { ticket, request: Box::new(request), result };
        self.commands.send(start).map_err(|_| Stopped)?;
        Ok(Running { ticket, commands: self.commands.clone(), answer })
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

    /// From where packets are sent.
    #[must_use]
    pub const fn origins(&self) -> &Origins {
        &self.origins
    }

    /// Bounds all traces together anew, and lets through what answers them from now on. Traces in progress go on; `wanted` has to
    /// hold what they want, too.
    ///
    /// # Errors
    /// When the system refuses a filter, or the driver has ended.
    pub async fn configure(&self, max_pps: u32, wanted: Wanted) -> Result<(), ConfigureError> {
        let (result, answer) = oneshot::channel();
        self.commands.send(Command::Configure { max_pps, wanted, result }).map_err(|_| Stopped)?;
        Ok(answer.await.map_err(|_| Stopped)??)
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

struct Driver<M> {
    exchange: Exchange,
    clock: Clock,
    medium: M,
    inbox: mpsc::UnboundedReceiver<Command>,
    counters: Arc<Mutex<Counters>>,
    waiting: BTreeMap<RoundId, (u64, oneshot::Sender<Trace>)>,
    tickets: BTreeMap<u64, RoundId>,
    busy_until: Time,
}

impl<M: Medium> Driver<M> {
    async fn run(mut self) {
        loop {
            let heard = self.medium.receive(&mut self.clock, &mut self.exchange);
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
            tokio::select! {
                command = self.inbox.recv() => match command {
                    Some(command) => self.obey(command),
                    None => return,
                },
                () = readable(&self.medium) => {}
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
            Command::Configure { max_pps, wanted, result } => {
                let filtered = self.medium.filter(&wanted);
                if filtered.is_ok() {
                    self.exchange.set_max_pps(max_pps);
                }
                // Whoever asked may be gone.
                let _ = result.send(filtered);
            }
            Command::End { ticket } => {
                if let Some(id) = self.tickets.get(&ticket) {
                    self.exchange.stop(*id);
                }
            }
            Command::Look { ticket, answer } => {
                let id = self.tickets.get(&ticket);
                if let Some(progress) = id.and_then(|id| self.exchange.progress(*id)) {
                    // Whoever asked may be gone.
                    let _ = answer.send(progress);
                }
            }
            Command::Show { ticket, answer } => {
                let id = self.tickets.get(&ticket);
                if let Some(trace) = id.and_then(|id| self.exchange.so_far(*id)) {
                    // Whoever asked may be gone.
                    let _ = answer.send(trace);
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
            let Err(error) = self.medium.send(now, self.exchange.packet(), &transmit) else { continue };
            let failure = match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM | Errno::EINTR) => {
                    self.busy_until = now + BUSY_PAUSE;
                    SendFailure::Busy
                }
                _ => {
                    let advice = match error.kind() {
                        io::ErrorKind::PermissionDenied => "; look at the packet filter of this machine",
                        _ => "",
                    };
                    SendFailure::Refused(format!("cannot send to {}: {error}{advice}", transmit.destination))
                }
            };
            self.exchange.handle_send_failure(transmit, failure);
        }
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
        let due = self.exchange.poll_timeout().map(|due| due.max(self.busy_until));
        due.into_iter().chain(self.medium.next_arrival()).min().unwrap_or_else(|| self.clock.now() + IDLE)
    }
}

/// Waits until the medium has something.
async fn readable(medium: &impl Medium) {
    std::future::poll_fn(|context| medium.poll_readable(context)).await;
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
