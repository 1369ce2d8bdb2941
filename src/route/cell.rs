//! What is known of one flow at one TTL: what was asked and answered now, and what earlier rounds met there.

use std::{net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::probe::{MplsLabel, ReplyKind};

/// Packets to its end that a pinned flow has to leave unanswered, at least, before the destination counts as out of reach for it.
pub const OUT_OF_REACH: u32 = 12;

/// One answer to one probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Who answered.
    pub from: IpAddr,
    /// What was answered.
    pub kind: ReplyKind,
    /// Round-trip time.
    pub rtt: Duration,
    /// Whether a NAT rewrote the probe on its way.
    pub nat: bool,
    /// The label stack reported.
    pub mpls: Vec<MplsLabel>,
}

/// Whom a flow met at a TTL, without what one answer says of that moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Met {
    /// Nobody who answers.
    Silence,
    /// A router.
    Router(IpAddr),
    /// A router that refused to carry the probe further, with the ICMP code.
    Refuser(IpAddr, u8),
    /// The destination.
    Destination(IpAddr),
}

impl Met {
    /// Who it was.
    #[must_use]
    pub const fn address(self) -> Option<IpAddr> {
        match self {
            Self::Silence => None,
            Self::Router(address) | Self::Refuser(address, _) | Self::Destination(address) => Some(address),
        }
    }
}

impl From<&Answer> for Met {
    fn from(answer: &Answer) -> Self {
        match answer.kind {
            kind if kind.is_destination() => Self::Destination(answer.from),
            ReplyKind::Unreachable { code } => Self::Refuser(answer.from, code),
            _ => Self::Router(answer.from),
        }
    }
}

/// What earlier rounds know of a flow at a TTL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// Whom the flow met: one, or several where a balancer before deals out packet by packet. Empty where nothing is known.
    pub met: Vec<Met>,
    /// The round that asked last.
    pub round: u64,
    /// Whether it still holds.
    pub standing: Standing,
}

impl Past {
    /// Whether anyone who answers was met.
    #[must_use]
    pub fn has_address(&self) -> bool {
        self.met.iter().any(|met| met.address().is_some())
    }

    /// Whether the destination was met.
    #[must_use]
    pub fn has_destination(&self) -> bool {
        self.met.iter().any(|met| matches!(met, Met::Destination(_)))
    }

    /// Whether several were met in turn: the flow has no place here, the hop a set of members.
    #[must_use]
    pub const fn is_zone(&self) -> bool {
        self.met.len() > 1
    }
}

/// Whether what earlier rounds know still holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// Nothing speaks against it.
    #[default]
    #[serde(rename = "b")]
    Believed,
    /// The flow was seen to go elsewhere.
    #[serde(rename = "m")]
    Moved,
    /// The flow does not come so far any more.
    #[serde(rename = "o")]
    OutOfReach,
}

/// All that is known of one flow at one TTL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// Packets sent.
    pub sent: u32,
    /// Answers, in the order of their arrival.
    pub answers: Vec<Answer>,
    /// Whether every attempt was made and its wait is over without an answer.
    pub silent: bool,
    /// What was known before the first packet.
    pub past: Past,
}

impl Cell {
    /// Whom the flow meets here, as far as that is believed: those who answered, else those of earlier rounds; all of them where
    /// the flow met several in turn. An address that stays silent is still believed.
    pub fn met(&self) -> impl Iterator<Item = Met> {
        let counts = self.answers.is_empty() || self.past.is_zone();
        let holds = counts && self.past.standing == Standing::Believed;
        let past = if holds { self.past.met.as_slice() } else { &[] };
        past.iter().copied().chain(self.current().iter().map(Met::from))
    }

    /// Whom the flow met before, believed or not, and whom it meets now.
    pub(super) fn ever_met(&self) -> impl Iterator<Item = Met> {
        self.past.met.iter().copied().chain(self.met())
    }

    /// The address met first.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.met().find_map(Met::address)
    }

    /// Whether the destination is here.
    #[must_use]
    pub fn reached(&self) -> bool {
        self.met().any(|met| matches!(met, Met::Destination(_)))
    }

    /// Whether nobody answers here, all attempts made, now or in earlier rounds.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        self.address().is_none()
            && (self.silent
                || self.past.standing == Standing::OutOfReach
                || self.met().any(|met| met == Met::Silence))
    }

    /// Whether earlier rounds found that nobody answers here.
    #[must_use]
    pub fn was_silent(&self) -> bool {
        self.past.met.as_slice() == [Met::Silence]
    }

    /// Whether the first packet stayed without an answer for longer than answers take, and so far all others too.
    #[must_use]
    pub const fn is_late(&self) -> bool {
        self.answers.is_empty() && self.sent > 1
    }

    /// Who refused to carry the probe further, with the ICMP code, if anyone did.
    #[must_use]
    pub fn refusal(&self) -> Option<(IpAddr, u8)> {
        self.met().find_map(|met| match met {
            Met::Refuser(address, code) => Some((address, code)),
            _ => None,
        })
    }

    /// Whether an answer is not what earlier rounds met, silence aside: who was silent may have been anyone.
    #[must_use]
    pub fn contradicts(&self, met: Met) -> bool {
        self.past.has_address() && !self.past.met.contains(&met)
    }

    /// Whether the flow met several here in turn: what comes before deals out packet by packet. A flow that was seen where it was
    /// and then elsewhere has moved meanwhile.
    #[must_use]
    pub fn varies(&self) -> bool {
        let mut current = self.since_move().iter().map(Met::from);
        let first = current.next();
        self.past.is_zone() || current.any(|met| Some(met) != first)
    }

    /// The answers without those from where the flow was before it moved, if it moved while it was being asked.
    fn current(&self) -> &[Answer] {
        if self.answers.len() > 1 && !self.varies() { self.since_move() } else { &self.answers }
    }

    /// The answers from the first on that is not what the past has; all, where the past has them all.
    fn since_move(&self) -> &[Answer] {
        let before =
            self.answers.iter().take_while(|&answer| self.past.met.as_slice() == [Met::from(answer)]);
        self.answers.get(before.count()..).filter(|moved| !moved.is_empty()).unwrap_or(&self.answers)
    }
}
