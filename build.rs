//! Tells the program what it was made of, for `--version` and `traceflow_build_info`.

use std::{env, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=TRACEFLOW_REVISION");
    let of_environment = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let compiler = of_environment("RUSTC").unwrap_or_else(|| "rustc".to_owned());
    let version = Command::new(compiler).arg("--version").output().ok();
    let version = version.and_then(|output| String::from_utf8(output.stdout).ok());
    let version = version.as_deref().map(|version| version.trim().trim_start_matches("rustc ").to_owned());
    let facts = [
        ("TRACEFLOW_REVISION", of_environment("TRACEFLOW_REVISION")),
        ("TRACEFLOW_RUSTC", version),
        ("TRACEFLOW_TARGET", of_environment("TARGET")),
    ];
    for (name, value) in facts {
        println!("cargo::rustc-env={name}={}", value.as_deref().unwrap_or("unknown"));
    }
}
