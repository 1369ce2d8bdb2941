//! A packet-level network in process: routers, links and faults in virtual time, carrying real bytes.
//!
//! Knows IP, UDP, TCP and ICMP from their RFCs and what routers do with them. Must not know how probes are
//! made or read (`wire`): that it is written apart from it makes it an independent witness.

mod answer;
mod bench;
mod fabric;
mod fault;
mod live;
mod network;
mod packet;
mod seen;
#[cfg(test)]
pub(crate) mod tests;
pub mod topology;
mod truth;

pub use bench::Bench;
pub use live::Live;
pub use network::{Counters, Delivery, Network};
pub use seen::Seen;
pub use topology::Topology;
pub use truth::Truth;
