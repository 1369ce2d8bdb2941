//! Traces every path that load balancers spread a target's traffic over, round after round, and tells
//! Prometheus what it found.
//!
//! # How it is built
//!
//! [`config`] reads a file into a validated value, to which [`target_files`] adds targets. For each of them the [`scheduler`] runs a task that waits for the
//! target's place in the interval, asks [`resolve`] for an address, turns the module's settings into a [`request`], and has
//! the trace made. [`monitor`] takes in the outcome and yields a snapshot, which goes into the [`store`] once [`storage`] has
//! what is to outlast the process. [`asn`] and [`names`], as [`mod@whois`] holds them, tell whom addresses belong to; what they say goes into the trace as
//! [`annotations`]. The views read the store and nothing else: [`metrics`] as the Prometheus exposition,
//! [`web`] as pages and JSON (and what a [`prober`] finds for who asks `/probe`), [`render`] as what `trace HOST` prints, which [`mod@compare`] reads again. [`cli`] is where the parts are put together.
//!
//! A trace is the work of a [`tracer`]: an engine without sockets or clock that is told the time and what was answered, and
//! says what to send and when to come back. A policy in it, one for each [`strategy`], chooses which flow to ask at which
//! TTL; retries, pacing and patience are mechanism below it. What was seen is evidence, and [`route`] makes the graph of it:
//! nodes, links, paths, diamonds. The result is a [`mod@trace`].
//!
//! [`network`] makes many traces at once. Its exchange holds the tracers of all rounds and the demultiplexer, which finds
//! the probe that a reply answers by what routers quote of it. [`wire`] is the only translator between probes as values
//! ([`probe`], [`flow`]) and packets as bytes. A driver adds the raw sockets and the clock, and nothing else. [`counters`]
//! are what it has sent, received and dropped. [`privilege`] is given up once the sockets are open.
//!
//! [`simulation`] is a network in process that carries the same bytes on virtual time, with routers, faults and a ground
//! truth. The exchange runs on it as it does on sockets, so a day of rounds is tested in seconds, and the same seed gives
//! the same run. [`time`] is a point on whichever clock it is.
#![forbid(unsafe_code)]

pub mod annotations;
pub mod asn;
pub mod change;
pub mod cli;
pub mod compare;
pub mod config;
pub mod counters;
pub mod flow;
mod lookups;
pub mod metrics;
pub mod monitor;
pub mod names;
pub mod network;
pub mod privilege;
pub mod probe;
pub mod prober;
pub mod render;
pub mod request;
pub mod resolve;
pub mod route;
pub mod scheduler;
pub mod simulation;
mod stamp;
pub mod storage;
pub mod store;
pub mod strategy;
pub mod target_files;
pub mod time;
pub mod trace;
pub mod tracer;
pub mod web;
pub mod whois;
pub mod wire;
mod words;
