//! Servers that a test starts and asks over HTTP, on loopback. Knows processes and ports; knows nothing of what they serve.

use std::{
    fs, iter,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::Duration,
};

/// How often to look for something that has to happen, [`PAUSE`] apart, before the test fails: two minutes.
const LOOKS: usize = 600;
const PAUSE: Duration = Duration::from_millis(200);

/// A process that is ended when it is dropped, and what it said until then.
pub(crate) struct Running {
    process: Child,
    log: PathBuf,
}

impl Running {
    pub(crate) fn start(program: &str, arguments: &[String], log: PathBuf) -> Self {
        let process = Command::new(program)
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        Self { process, log }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An address on loopback where nobody listened a moment ago. Its port is below those that the kernel gives to connections and to whoever asks
/// for any, and is handed out once: so nobody else takes it meanwhile.
pub(crate) fn unused() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    let ports = iter::repeat_with(|| NEXT.fetch_add(1, Ordering::Relaxed)).take(10_000);
    let mut free = ports.filter_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok());
    free.next().unwrap().local_addr().unwrap()
}

/// The body at a URL; `None` while nobody answers or the status is an error.
pub(crate) fn get(url: &str) -> Option<String> {
    let output = Command::new("curl").args(["--silent", "--fail", "--max-time", "10", url]).output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

/// Waits until `look` says yes.
///
/// # Panics
/// With what the process said, when it does not in time.
pub(crate) fn wait_for(what: &str, process: &Running, mut look: impl FnMut() -> bool) {
    for _ in 0..LOOKS {
        if look() {
            return;
        }
        thread::sleep(PAUSE);
    }
    panic!("waited in vain for {what}; the log says:\n{}", fs::read_to_string(&process.log).unwrap());
}
