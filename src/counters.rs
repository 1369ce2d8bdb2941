//! What the prober has sent, received and dropped, as plain numbers.
//!
//! The network counts, the views show; neither needs to know the other for it.

use std::collections::BTreeMap;

use crate::flow::{Family, Protocol};

/// What happened so far, in numbers that only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets sent.
    pub probes_sent: BTreeMap<(Protocol, Family), u64>,
    /// Replies credited to a trace.
    pub replies_received: BTreeMap<(Protocol, Family), u64>,
    /// Messages dropped.
    pub discarded: BTreeMap<Discard, u64>,
    /// Packets that the kernel refused.
    pub send_errors: u64,
    /// Messages that the kernel dropped because our queue was full.
    pub receive_drops: u64,
}

/// Why a message was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Discard {
    /// It answers nothing that we sent.
    Unmatched,
    /// It fits a packet of ours but for the marks that only ours carry.
    Spoofed,
    /// Its trace is over, or it took longer than the time-out.
    Late,
    /// It cannot be decoded.
    Malformed,
    /// That packet had been answered.
    Duplicate,
}

impl Discard {
    /// All reasons, in the order in which they are shown.
    pub const ALL: [Self; 5] = [Self::Unmatched, Self::Spoofed, Self::Late, Self::Malformed, Self::Duplicate];

    /// The name in metric labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unmatched => "unmatched",
            Self::Spoofed => "spoofed",
            Self::Late => "late",
            Self::Malformed => "malformed",
            Self::Duplicate => "duplicate",
        }
    }
}
