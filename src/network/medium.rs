//! What lies below the driver: something that carries packets away and brings others back.
//!
//! Raw sockets are one such thing (`raw`), networks in process another (`simulation::Live`). The driver is the same over both.

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    sync::Arc,
    task::{Context, Poll},
};

use super::{
    clock::Clock,
    exchange::{Exchange, Transmit},
    filter::Wanted,
    socket::{self, NoWay, SocketError},
};
use crate::time::Time;

/// Carries packets.
pub trait Medium: Send + Sync + 'static {
    /// Sends a whole IP packet.
    ///
    /// # Errors
    /// As the kernel says it: no route, not permitted, no room.
    fn send(&mut self, now: Time, packet: &[u8], transmit: &Transmit) -> io::Result<()>;

    /// Hands over what has arrived. Returns up to when everything that arrived was handed over: now, or where there is more than
    /// is read at once, the arrival of the last message.
    fn receive(&mut self, clock: &mut Clock, exchange: &mut Exchange) -> Time;

    /// When to call [`Self::receive`] even if nothing wakes the driver before; `None` where only a wake-up tells.
    fn next_arrival(&self) -> Option<Time>;

    /// Whether something has arrived; wakes the task when it does.
    fn poll_readable(&self, context: &mut Context<'_>) -> Poll<()>;

    /// Lets through something else from now on. What has arrived stays.
    ///
    /// # Errors
    /// When the system has no room for the filter.
    fn filter(&mut self, wanted: &Wanted) -> Result<(), SocketError>;

    /// Where packets come from.
    fn origins(&self) -> Origins;
}

/// From which address of ours packets to a destination are sent.
#[derive(Clone, Debug)]
pub enum Origins {
    /// From the one that the kernel's routes say.
    System,
    /// From these, by destination: there are no others.
    Known(Arc<BTreeMap<IpAddr, IpAddr>>),
}

impl Origins {
    /// The address that packets to `destination` come from, with the source and the interface that are wanted, if any.
    ///
    /// # Errors
    /// When there is no way.
    pub fn towards(
        &self,
        destination: IpAddr,
        source: Option<IpAddr>,
        interface: Option<&str>,
    ) -> Result<IpAddr, NoWay> {
        match self {
            Self::System => socket::source_towards(destination, source, interface),
            Self::Known(origins) => origins.get(&destination).copied().ok_or(NoWay::Nobody),
        }
    }
}
