//! What stands under `deploy/`, executed: rules and scrape configurations by Prometheus, units by systemd, manifests by their schemas, the
//! package by dpkg. Knows the programs that judge; every file has a check that would fail if it were broken (`claims`).
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "the helpers here are tests as well"
)]

mod claims;
mod container;
#[path = "../support/copies.rs"]
mod copies;
#[path = "../support/events.rs"]
mod events;
mod kubernetes;
mod package;
mod rules;
mod runbook;
mod scrape;
#[path = "../support/servers.rs"]
mod servers;
mod systemd;
mod workflows;

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

/// A path of the project.
fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

fn read(relative: &str) -> String {
    fs::read_to_string(path(relative)).unwrap_or_else(|error| panic!("{relative}: {error}"))
}

fn yaml(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap_or_else(|error| panic!("{error} in\n{text}"))
}

/// What a program says, on both ways; it must succeed.
fn succeed(command: &mut Command) -> String {
    let (success, said) = outcome(command);
    assert!(success, "{command:?}:\n{said}");
    said
}

/// Whether a program succeeds, and what it says on both ways.
fn outcome(command: &mut Command) -> (bool, String) {
    let output = command.current_dir(path("")).output();
    let Output { status, stdout, stderr } =
        output.unwrap_or_else(|error| panic!("{command:?}: {error}; scripts/install-test-tools installs it"));
    (status.success(), [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat())
}

/// A program of .test-tools.
fn tool(name: &str) -> Command {
    Command::new(path(".test-tools/bin").join(name))
}

/// Whether raw sockets can be had here; if not, says that a test is skipped.
fn skipped() -> bool {
    let root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if !root {
        eprintln!("skipped: needs root");
    }
    !root
}
