//! Namespaces by name: made, filled by a script, emptied and removed.
//!
//! Knows the commands; knows nothing of topologies.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Names are PREFIX PID - NUMBER - NODE: whose a namespace is can be told from its name.
pub(crate) const PREFIX: &str = "tf-";

const DIRECTORY: &str = "/run/netns";

/// # Panics
/// When a tool is missing: for root that is a failure, not a reason to skip.
pub(crate) fn require_tools() {
    let path = std::env::var_os("PATH").unwrap_or_default();
    for (tool, package) in
        [("ip", "iproute2"), ("nft", "nftables"), ("tcpdump", "tcpdump"), ("nsenter", "util-linux")]
    {
        let found = std::env::split_paths(&path).any(|directory| directory.join(tool).is_file());
        assert!(found, "the kernel lab needs `{tool}`: install the Debian package {package}");
    }
}

/// Removes the labs of processes that no longer live.
pub(crate) fn sweep() {
    let dead = |name: &str| {
        let process = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        let process = process.and_then(|digits| digits.parse::<u32>().ok());
        process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists())
    };
    remove(&names().into_iter().filter(|name| dead(name)).collect::<Vec<_>>());
}

/// The namespaces there are.
pub(crate) fn names() -> Vec<String> {
    let Ok(entries) = fs::read_dir(DIRECTORY) else {
        return Vec::new();
    };
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect()
}

pub(crate) fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// Removes these namespaces and kills what runs in them. Never panics: it runs during panics.
pub(crate) fn remove(names: &[String]) {
    if names.is_empty() {
        return;
    }
    // Held open, or another lab's new namespace may take over a number.
    let held: Vec<File> = names.iter().filter_map(|name| File::open(path(name)).ok()).collect();
    let inodes: BTreeSet<u64> =
        held.iter().filter_map(|file| file.metadata().ok()).map(|file| file.ino()).collect();
    let batch: String = names.iter().map(|name| format!("netns delete {name}\n")).collect();
    let mut ip = Command::new("ip");
    // Another process may sweep the same names at the same time.
    ip.args(["-force", "-batch", "-"]);
    if let Err(error) = Script::start(ip, &batch).finish()
        && names.iter().any(|name| path(name).exists())
    {
        eprintln!("cannot remove network namespaces: {error}");
    }
    // Only now: without the names nobody enters any more.
    let inhabitants = inhabitants(names, &inodes);
    if !inhabitants.is_empty() {
        let _ = Command::new("kill").arg("-KILL").args(&inhabitants).stderr(Stdio::null()).status();
    }
}

/// The processes that run in these namespaces or are on their way there.
fn inhabitants(names: &[String], inodes: &BTreeSet<u64>) -> Vec<String> {
    // The command line first: what is not `ip netns exec` any more is inside.
    let entering = |process: &str| {
        fs::read_to_string(format!("/proc/{process}/cmdline"))
            .is_ok_and(|line| names.iter().any(|name| line.contains(&format!("netns\0exec\0{name}\0"))))
    };
    let inside = |process: &str| {
        fs::metadata(format!("/proc/{process}/ns/net")).is_ok_and(|file| inodes.contains(&file.ino()))
    };
    (fs::read_dir("/proc").into_iter().flatten())
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
        .filter(|process| entering(process) || inside(process))
        .collect()
}

/// A command that reads its work from standard input.
pub(crate) struct Script(std::io::Result<Child>);

impl Script {
    /// Starts `command` and feeds it `input`.
    pub(crate) fn start(mut command: Command, input: &str) -> Self {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        Self(child.map(|mut child| {
            if let Some(mut stdin) = child.stdin.take() {
                // One that ends before it has read everything says why itself.
                let _ = stdin.write_all(input.as_bytes());
            }
            child
        }))
    }

    /// `ip -batch`, outside of all namespaces.
    pub(crate) fn ip(batch: &str) -> Self {
        let mut ip = Command::new("ip");
        ip.args(["-batch", "-"]);
        Self::start(ip, batch)
    }

    /// `ip -batch` in a namespace.
    pub(crate) fn ip_in(namespace: &str, batch: &str) -> Self {
        let mut ip = Command::new("ip");
        ip.args(["-netns", namespace, "-batch", "-"]);
        Self::start(ip, batch)
    }

    /// A shell in a namespace.
    pub(crate) fn shell(namespace: &str, script: &str) -> Self {
        let mut nsenter = Command::new("nsenter");
        nsenter.arg(format!("--net={}", path(namespace).display())).args(["sh", "-e"]);
        Self::start(nsenter, script)
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// What the command said when it failed.
    pub(crate) fn finish(self) -> Result<(), String> {
        let output = self.0.and_then(Child::wait_with_output).map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
    }
}
