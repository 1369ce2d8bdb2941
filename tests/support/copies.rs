//! Copies of the program that a test runs from elsewhere.

use std::{path::Path, process::Command};

/// Copies a program. Not by ourselves: a child that another test forks meanwhile would hold the copy open for writing, and the kernel
/// would refuse to run it.
pub(crate) fn copy_program(from: &str, to: &Path) {
    let status = Command::new("cp").arg(from).arg(to).status();
    assert!(status.unwrap().success(), "cp {from} {}", to.display());
}
