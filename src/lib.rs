//! Traces every path that load balancers spread a target's traffic over, round after round, and tells
//! Prometheus what it found.
#![forbid(unsafe_code)]

pub mod cli;
pub mod config;
pub mod flow;
pub mod metrics;
pub mod monitor;
pub mod network;
pub mod probe;
pub mod render;
pub mod request;
pub mod resolve;
pub mod route;
pub mod scheduler;
pub mod simulation;
pub mod store;
pub mod strategy;
pub mod time;
pub mod trace;
pub mod tracer;
pub mod web;
pub mod wire;
