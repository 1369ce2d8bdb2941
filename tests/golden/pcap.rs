//! Captures in libpcap's classic format, read and written.
//!
//! Knows file, record and link headers (pcap-savefile(5), the list of link types at tcpdump.org); of IP only where a
//! packet ends. Files come from this repository or from tcpdump: whatever is wrong with one is a panic.

use std::{fs, path::Path};

/// Link types: Ethernet, bare IP, and tcpdump's `-i any` in its older form.
const EN10MB: u32 = 1;
const RAW: u32 = 101;
const LINUX_SLL: u32 = 113;

/// Magic numbers of time stamps in microseconds and in nanoseconds.
const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;

/// The frames of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pcap {
    link: u32,
    frames: Vec<Frame>,
}

/// A frame with its link header.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Frame {
    /// Seconds, and micro- or nanoseconds, of the capture's clock.
    at: [u32; 2],
    bytes: Vec<u8>,
}

impl Pcap {
    pub(crate) fn load(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self::read(&bytes).unwrap_or_else(|wrong| panic!("{}: {wrong}", path.display()))
    }

    fn read(bytes: &[u8]) -> Result<Self, String> {
        let magic = u32::from_le_bytes(bytes.first_chunk().copied().ok_or("no magic number")?);
        let number: fn([u8; 4]) -> u32 = match magic {
            MICROSECONDS | NANOSECONDS => u32::from_le_bytes,
            _ => u32::from_be_bytes,
        };
        if ![MICROSECONDS, NANOSECONDS].contains(&number(magic.to_le_bytes())) {
            return Err(format!("no capture in libpcap's classic format: magic number {magic:#x}"));
        }
        let word = |at: usize| -> Result<u32, String> {
            let bytes = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map(number).ok_or_else(|| format!("ends within the header at byte {at}"))
        };
        let link = word(20)?;
        if ![EN10MB, RAW, LINUX_SLL].contains(&link) {
            return Err(format!("link type {link}; allowed are EN10MB, RAW and LINUX_SLL"));
        }
        let mut frames = Vec::new();
        let mut at = 24;
        while at < bytes.len() {
            let [seconds, fraction, captured, length] =
                [word(at)?, word(at + 4)?, word(at + 8)?, word(at + 12)?];
            if captured != length {
                return Err(format!("the frame at byte {at} is cut to {captured} of {length} bytes"));
            }
            let end = at + 16 + usize::try_from(captured).unwrap();
            let frame =
                bytes.get(at + 16..end).ok_or_else(|| format!("ends within the frame at byte {at}"))?;
            frames.push(Frame { at: [seconds, fraction], bytes: frame.to_vec() });
            at = end;
        }
        Ok(Self { link, frames })
    }

    /// Writes the first `most` frames, on a clock that starts with the first.
    pub(crate) fn save(&self, path: &Path, most: usize) {
        let mut bytes: Vec<u8> = [MICROSECONDS, 2 | 4 << 16, 0, 0, 0x0004_0000, self.link]
            .into_iter()
            .flat_map(u32::to_le_bytes)
            .collect();
        let start = self.frames.first().map_or(0, |frame| frame.at[0]);
        for Frame { at: [seconds, fraction], bytes: frame } in self.frames.iter().take(most) {
            let length = u32::try_from(frame.len()).unwrap();
            bytes.extend([seconds - start, *fraction, length, length].into_iter().flat_map(u32::to_le_bytes));
            bytes.extend(frame);
        }
        fs::write(path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// The IP packet of every frame, without what a link appended; empty where a frame holds none.
    pub(crate) fn packets(&self) -> Vec<&[u8]> {
        self.frames.iter().map(|frame| ip_packet(self.link, &frame.bytes).unwrap_or_default()).collect()
    }
}

fn ip_packet(link: u32, frame: &[u8]) -> Option<&[u8]> {
    let (header, packet) = match link {
        EN10MB => frame.split_at_checked(14)?,
        LINUX_SLL => frame.split_at_checked(16)?,
        _ => frame.split_at_checked(0)?,
    };
    let is_ip = match header {
        [] => true,
        [.., high, low] => [[0x08, 0x00], [0x86, 0xdd]].contains(&[*high, *low]),
        [_] => false,
    };
    let word = |at: usize| Some(usize::from(u16::from_be_bytes(packet.get(at..at + 2)?.try_into().ok()?)));
    let length = match packet.first()? >> 4 {
        _ if !is_ip => return None,
        4 => word(2)?,
        6 => word(4)? + 40,
        _ => return None,
    };
    packet.get(..length)
}

#[test]
fn links_and_byte_orders() {
    let ip = [0x45, 0, 0, 20, 0, 1, 0, 0, 9, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
    let mut ip_v6 = [0; 41];
    ip_v6[0] = 0x60;
    ip_v6[5] = 1;
    let ethernet = |kind: [u8; 2]| [&[2; 12][..], &kind].concat();
    let cooked = |kind: [u8; 2]| [&[0, 4, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0][..], &kind].concat();
    let v4 = [0x08, 0x00];
    for (link, header, body, expected) in [
        (EN10MB, ethernet(v4), &ip[..], &ip[..]),
        (EN10MB, ethernet([0x86, 0xdd]), &ip_v6, &ip_v6),
        (EN10MB, ethernet([0x08, 0x06]), &ip, &[]),
        (EN10MB, ethernet(v4), &ip[..19], &[]),
        (LINUX_SLL, cooked(v4), &ip, &ip),
        (LINUX_SLL, cooked([0x86, 0xdd]), &ip_v6, &ip_v6),
        (LINUX_SLL, cooked([0x08, 0x06]), &ip, &[]),
        (RAW, Vec::new(), &ip, &ip),
        (RAW, Vec::new(), &ip_v6, &ip_v6),
        (RAW, Vec::new(), &ip[..3], &[]),
    ] {
        // As from an Ethernet, which pads short frames.
        let padding: &[u8] = if expected.is_empty() { &[] } else { &[0; 6] };
        let frame = [&header, body, padding].concat();
        for (magic, swap) in
            [(MICROSECONDS, false), (NANOSECONDS, false), (MICROSECONDS, true), (NANOSECONDS, true)]
        {
            let length = u32::try_from(frame.len()).unwrap();
            let words = [magic, 0x0004_0002, 0, 0, 65_535, link, 1, 2, length, length];
            let words =
                words.into_iter().flat_map(|word| if swap { word.to_be_bytes() } else { word.to_le_bytes() });
            let file: Vec<u8> = words.chain(frame.iter().copied()).collect();
            let pcap = Pcap::read(&file).unwrap();
            assert_eq!(pcap.packets(), [expected], "{link} {magic:x} {swap} {header:x?}");
            for cut in [3, 23, 30, file.len() - 1] {
                assert!(Pcap::read(&file[..cut]).is_err(), "{cut} bytes");
            }
        }
    }
    assert!(Pcap::read(&[0x0a, 0x0d, 0x0d, 0x0a]).is_err(), "pcapng");
}

#[test]
fn what_is_saved_is_read_again() {
    let frame = |seconds, byte| Frame { at: [seconds, 5], bytes: vec![byte; 30] };
    let pcap = Pcap { link: RAW, frames: vec![frame(100, 1), frame(101, 2), frame(103, 3)] };
    let file = tempfile::NamedTempFile::new().unwrap();
    pcap.save(file.path(), 2);
    assert_eq!(Pcap::load(file.path()), Pcap { link: RAW, frames: vec![frame(0, 1), frame(1, 2)] });
}
