//! Strategies as plain values: which one chooses the probes, and how sure it is asked to be.
//!
//! Knows their names and ranges, nothing of how they work.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// How the probes of a round are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// A fixed number of flows, each through every TTL.
    Fixed,
    /// The multipath detection algorithm: node by node, probes until the stopping rule is satisfied (Veitch,
    /// Augustin, Teixeira, Friedman: Failure Control in Multipath Route Tracing, INFOCOM 2009).
    Mda,
    /// MDA-Lite: hop by hop with reused flows, `Mda` where a diamond is meshed or uneven (Vermeulen et al.:
    /// Multilevel MDA-Lite Paris Traceroute, IMC 2018).
    #[default]
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

/// The probability with which a discovery must find the whole route: above 0 and below 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Confidence(f64);

impl Confidence {
    /// 95 %, as in the literature.
    pub const DEFAULT: Self = Self(0.95);
    /// 99.9 %: what a route that is watched grows to, and what it takes to call a node gone.
    pub const PROVEN: Self = Self(0.999);

    /// The greater of the two.
    #[must_use]
    pub const fn max(self, other: Self) -> Self {
        Self(self.0.max(other.0))
    }

    /// The confidence of this value; `None` unless it lies between 0 and 1, both excluded.
    #[must_use]
    pub fn new(value: f64) -> Option<Self> {
        (value > 0.0 && value < 1.0).then_some(Self(value))
    }

    /// The value, above 0 and below 1.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl Default for Confidence {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl TryFrom<f64> for Confidence {
    type Error = &'static str;

    fn try_from(value: f64) -> Result<Self, Self::Error> {
        Self::new(value).ok_or("a confidence lies between 0 and 1, both excluded")
    }
}

impl From<Confidence> for f64 {
    fn from(confidence: Confidence) -> Self {
        confidence.0
    }
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_in_text_and_in_serde() {
        for strategy in Strategy::ALL {
            assert_eq!(strategy.name().parse(), Ok(strategy));
            assert_eq!(serde_json::to_string(&strategy).unwrap(), format!("\"{strategy}\""));
        }
        assert_eq!(
            "MDA".parse::<Strategy>().unwrap_err(),
            "`MDA` is no strategy; allowed are fixed, mda, mda-lite"
        );
    }

    #[test]
    fn a_confidence_is_neither_0_nor_1() {
        for (value, allowed) in [
            (0.95, true),
            (f64::MIN_POSITIVE, true),
            (1.0 - f64::EPSILON, true),
            (0.0, false),
            (-0.0, false),
            (1.0, false),
            (-0.5, false),
            (95.0, false),
            (f64::NAN, false),
            (f64::INFINITY, false),
        ] {
            assert_eq!(Confidence::new(value).is_some(), allowed, "{value}");
        }
    }
}
