//! Simulated networks in real time: what lies below the driver in place of sockets.
//!
//! Everything above it, from the driver to the pages, does not know the difference. The time is the driver's clock.

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    sync::Arc,
    task::{Context, Poll},
};

use super::{Network, bench::datagram};
use crate::{
    network::{
        Medium, Origins, SocketError, Wanted,
        clock::Clock,
        exchange::{Exchange, Transmit},
    },
    time::Time,
};

/// Networks side by side, each with a source of its own.
pub struct Live {
    networks: Vec<Network>,
    /// From destinations to sources.
    origins: Arc<BTreeMap<IpAddr, IpAddr>>,
}

impl Live {
    /// Networks whose addresses do not overlap.
    #[must_use]
    pub fn new(networks: Vec<Network>) -> Self {
        let ends = |network: &Network| {
            let source = network.source();
            network.destinations().map(|destination| (destination, source)).collect::<Vec<_>>()
        };
        let origins = networks.iter().flat_map(ends).collect();
        Self { networks, origins: Arc::new(origins) }
    }
}

impl Medium for Live {
    fn send(&mut self, now: Time, packet: &[u8], transmit: &Transmit) -> io::Result<()> {
        let network = self.networks.iter_mut().find(|network| network.source() == transmit.source);
        let network = network.ok_or(io::ErrorKind::NetworkUnreachable)?;
        network.send(now, packet);
        Ok(())
    }

    fn receive(&mut self, clock: &mut Clock, exchange: &mut Exchange) -> Time {
        let now = clock.now();
        for network in &mut self.networks {
            while let Some(delivery) = network.poll_delivery(now) {
                if let Some(datagram) = datagram(&delivery.packet) {
                    exchange.handle_datagram(now, delivery.at, datagram);
                }
            }
        }
        now
    }

    fn next_arrival(&self) -> Option<Time> {
        self.networks.iter().filter_map(Network::next_delivery).min()
    }

    fn poll_readable(&self, _: &mut Context<'_>) -> Poll<()> {
        // All that comes is known ahead.
        Poll::Pending
    }

    fn filter(&mut self, _: &Wanted) -> Result<(), SocketError> {
        // Nobody else's packets are about.
        Ok(())
    }

    fn origins(&self) -> Origins {
        Origins::Known(Arc::clone(&self.origins))
    }
}
