//! Multi-part ICMP messages (RFC 4884) and the MPLS label stacks in them (RFC 4950).
//!
//! Knows where the quoted datagram ends and what follows it, nothing of the datagram. A broken extension costs its
//! labels, never the reply.

use super::{checksum::Sum, reader::Reader};
use crate::probe::MplsLabel;

/// How much of the datagram a router quotes before an extension (RFC 4884 section 3), and the one place to look for
/// extensions of routers older than the RFC, which leave the length field 0 (section 5).
const PADDED: usize = 128;

const VERSION: u8 = 2;
const MPLS_STACK: [u8; 2] = [1, 1];

/// More labels than any stack has; keeps a forged message from filling the memory of everyone downstream.
const DEEPEST_STACK: usize = 32;

/// Divides what follows the eight bytes of an ICMP error's header into the quoted datagram, padding included, and the
/// label stack of its extension.
///
/// `declared` is the length of the quote in bytes as the message's length field has it; 0 where it has none.
pub(super) fn divide(body: &[u8], declared: usize) -> (&[u8], Vec<MplsLabel>) {
    let end = if declared == 0 { PADDED } else { declared };
    // Some routers send garbage in what was an unused field before RFC 4884: only a sound structure proves a length.
    match body.split_at_checked(end) {
        Some((datagram, extension)) if is_sound(extension) => (datagram, labels(extension)),
        _ => (body, Vec::new()),
    }
}

/// Whether this is an extension structure: version 2, and the checksum right or not given.
fn is_sound(extension: &[u8]) -> bool {
    let mut reader = Reader::new(extension);
    let (Some([version, _]), Some(checksum)) = (reader.array(), reader.u16()) else {
        return false;
    };
    version >> 4 == VERSION && (checksum == 0 || Sum::default().bytes(extension).checksum() == 0)
}

/// The label stack objects of a sound extension, as far as their lengths can be followed. Other objects, such as
/// interface information (RFC 5837), are skipped.
fn labels(extension: &[u8]) -> Vec<MplsLabel> {
    let mut labels = Vec::new();
    let mut reader = Reader::new(extension);
    let _header: Option<[u8; 4]> = reader.array();
    while let Some((class, content)) = object(&mut reader) {
        if class == MPLS_STACK {
            let (entries, _) = content.as_chunks();
            labels.extend(entries.iter().map(|&entry| label(entry)));
        }
    }
    labels.truncate(DEEPEST_STACK);
    labels
}

/// The next object: its class number and sub-type, and its content.
fn object<'a>(reader: &mut Reader<'a>) -> Option<([u8; 2], &'a [u8])> {
    let length = usize::from(reader.u16()?);
    let class = reader.array()?;
    // The length includes the four bytes just read.
    Some((class, reader.slice(length.checked_sub(4)?)?))
}

/// An entry as on the wire (RFC 3032 section 2.1): label 20 bits, traffic class 3, bottom 1, TTL 8.
fn label(entry: [u8; 4]) -> MplsLabel {
    let [.., flags, ttl] = entry;
    MplsLabel {
        label: u32::from_be_bytes(entry) >> 12,
        traffic_class: flags >> 1 & 0b111,
        bottom: flags & 1 == 1,
        ttl,
    }
}

#[cfg(test)]
mod tests;
