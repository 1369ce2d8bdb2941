//! A running tcpdump in a namespace of the lab.
//!
//! Knows how tcpdump starts, ends and breaks its lines; knows nothing of what they mean.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

/// Packets that a namespace sends and receives, from [`super::Lab::capture`] to [`Capture::stop`].
pub(crate) struct Capture {
    tcpdump: Child,
    lines: Receiver<String>,
}

impl Capture {
    /// Starts tcpdump and waits until it listens.
    pub(super) fn start(mut command: Command, interface: &str, filter: &str) -> Self {
        let mut tcpdump = command
            .args([
                "-i",
                interface,
                "-n",
                "-tt",
                "-v",
                "-l",
                "--immediate-mode",
                filter,
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("cannot start tcpdump");
        let mut errors = BufReader::new(tcpdump.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("listening on") {
            let read = errors
                .read_line(&mut said)
                .expect("cannot read what tcpdump says");
            assert!(read > 0, "tcpdump does not listen on {interface}: {said}");
        }
        let output = BufReader::new(tcpdump.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            output
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        // Its parting words have to go somewhere, or it may block on them.
        thread::spawn(move || errors.lines().map_while(Result::ok).for_each(drop));
        Self { tcpdump, lines }
    }

    /// Waits until no packet has come for 100 ms and returns one line a packet, in the order of arrival:
    /// Unix time in seconds with microseconds, then what `tcpdump -n -v` prints.
    pub(crate) fn stop(self) -> Vec<String> {
        let mut packets: Vec<String> = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(Duration::from_millis(100)) {
            match packets.last_mut() {
                // A packet's second and further lines are indented.
                Some(packet) if line.starts_with(char::is_whitespace) => {
                    packet.push(' ');
                    packet.push_str(line.trim_start());
                }
                _ => packets.push(line),
            }
        }
        packets
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        // Nothing is lost by a kill: what tcpdump read it has printed, line by line.
        let _ = self.tcpdump.kill();
        let _ = self.tcpdump.wait();
    }
}
