//! Traces every path that load balancers spread a target's traffic over, round after round, and tells
//! Prometheus what it found.
#![forbid(unsafe_code)]

pub mod config;
pub mod flow;
pub mod probe;
pub mod strategy;
pub mod time;
