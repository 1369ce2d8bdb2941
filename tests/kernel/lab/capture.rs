//! A running tcpdump in a namespace of the lab.
//!
//! Knows how tcpdump starts, ends and breaks its lines; knows nothing of what they mean.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

/// How often to look whether tcpdump has read all packets, [`PAUSE`] apart.
const LOOKS: usize = 200;
const PAUSE: Duration = Duration::from_millis(20);

/// Packets that a namespace sends and receives, from [`super::Lab::capture`] to [`Capture::stop`].
pub(crate) struct Capture {
    tcpdump: Child,
    packets: Receiver<String>,
    remarks: Receiver<String>,
    /// Packets that came before tcpdump had set its filter. It counts them as received and throws them away.
    before: u64,
}

impl Capture {
    /// Starts tcpdump and waits until it listens.
    pub(super) fn start(mut command: Command, interface: &str, filter: &str) -> Self {
        let mut tcpdump = command
            // In immediate mode each packet takes a slot of full length in the ring: with the default length
            // there are eight slots, and bursts get lost.
            .args(["-i", interface, "-n", "-tt", "-v", "-l", "--immediate-mode", "-s", "2048", "-B", "16384"])
            .arg(filter)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("cannot start tcpdump");
        let packets = lines(tcpdump.stdout.take().unwrap());
        let remarks = lines(tcpdump.stderr.take().unwrap());
        let mut capture = Self { tcpdump, packets, remarks, before: 0 };
        let mut said = String::new();
        while !said.contains("listening on") {
            match capture.remarks.recv_timeout(Duration::from_secs(10)) {
                Ok(line) => said.push_str(&line),
                Err(_) => panic!("tcpdump does not listen on {interface}: {said}"),
            }
        }
        let [captured, received, _] = capture.statistics();
        capture.before = received.saturating_sub(captured);
        capture
    }

    /// What passed until now: one line a packet in the order of arrival, Unix time in seconds with microseconds,
    /// then what `tcpdump -n -v` prints.
    ///
    /// # Panics
    /// When packets were lost, so that a test may rely on their number.
    pub(crate) fn stop(mut self) -> Vec<String> {
        for look in 1.. {
            let [captured, received, dropped] = self.statistics();
            assert_eq!(dropped, 0, "tcpdump lost packets");
            let received = received - self.before;
            if captured >= received {
                break;
            }
            assert!(look < LOOKS, "tcpdump has read {captured} of {received} packets and does not go on");
            thread::sleep(PAUSE);
        }
        self.signal("TERM");
        self.tcpdump.wait().expect("cannot wait for tcpdump");
        let mut packets: Vec<String> = Vec::new();
        // Interrupted, tcpdump ends with an empty line.
        for line in self.packets.iter().filter(|line| !line.is_empty()) {
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

    /// Packets that tcpdump has read, that its filter has let through, and that were lost between.
    fn statistics(&self) -> [u64; 3] {
        self.signal("USR1");
        loop {
            let remark =
                self.remarks.recv_timeout(Duration::from_secs(10)).expect("tcpdump gives no statistics");
            if remark.contains("received by filter") {
                let mut numbers = remark.split_whitespace().filter_map(|word| word.parse().ok());
                return std::array::from_fn(|_| {
                    numbers.next().expect("tcpdump's statistics are three numbers")
                });
            }
        }
    }

    fn signal(&self, signal: &str) {
        let (signal, process) = (format!("-{signal}"), self.tcpdump.id().to_string());
        let status = Command::new("kill").args([signal, process]).status().expect("cannot run kill");
        assert!(status.success(), "tcpdump has ended");
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.tcpdump.kill();
        let _ = self.tcpdump.wait();
    }
}

/// Reads lines on a thread of its own, so that tcpdump never blocks on us.
fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    thread::spawn(move || lines.try_for_each(|line| sender.send(line)));
    receiver
}
