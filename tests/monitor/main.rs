//! What a monitor makes of days of rounds over simulated networks: no alarm where nothing changed, and one for each change.
//!
//! The short versions run with all tests; `make accuracy` runs the long ones and prints the tables of docs/accuracy.md.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test says what is wrong by panicking, its helpers too"
)]

mod alarm;
mod outage;
mod quiet;
mod restart;
mod scenarios;
mod systems;
#[path = "../support/variables.rs"]
mod variables;
mod watched;
