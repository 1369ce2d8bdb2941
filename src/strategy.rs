//! The names of the strategies: how the probes of a trace are chosen.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// How the probes of a trace are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// A fixed number of flows, each through every TTL.
    #[default]
    Fixed,
    /// The multipath detection algorithm with node control.
    Mda,
    /// Hop-level discovery that turns to `mda` where the route is not uniform.
    MdaLite,
}

impl Strategy {
    /// All strategies, in the order in which they are shown.
    pub const ALL: [Self; 3] = [Self::Fixed, Self::Mda, Self::MdaLite];

    /// The name in configuration, JSON and metric labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Mda => "mda",
            Self::MdaLite => "mda-lite",
        }
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Strategy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|strategy| strategy.name() == text)
            .ok_or_else(|| format!("`{text}` is no strategy; allowed are fixed, mda, mda-lite"))
    }
}
