//! Tests on real kernels' routing: network namespaces joined by veth pairs, with ECMP, made and removed by the
//! tests themselves. They need root and the Debian packages iproute2, nftables and tcpdump; without root they
//! print `skipped: needs root` and pass.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test says what is wrong by panicking, its helpers too"
)]

mod alert;
mod asn;
mod cardinality;
#[path = "../support/copies.rs"]
mod copies;
mod exporter;
mod formats;
mod lab;
mod lab_tests;
mod mmdb;
mod monitor;
mod names;
mod network_tests;
mod outage;
mod privilege;
mod probe;
mod prober;
mod protocols;
mod reload;
mod restart;
mod traces;
#[path = "../support/variables.rs"]
mod variables;
mod web;
