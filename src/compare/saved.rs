//! A trace as `trace --format json` wrote it: as much of it as a comparison needs.

use std::net::IpAddr;

use serde::Deserialize;

use crate::render::percent;

/// The version of the shape that is understood.
const VERSION: u64 = 1;

/// Why a text is no saved trace.
#[derive(Debug, thiserror::Error)]
pub enum SavedError {
    /// It is not JSON, or not of the shape.
    #[error("no trace as `trace --format json` writes it: {0}")]
    Shape(#[from] serde_json::Error),
    /// It is of a later shape.
    #[error("a trace of version {0}; understood is version {VERSION}")]
    Version(u64),
}

#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

/// A saved trace. Fields that later programs add are no matter.
#[derive(Clone, Debug, Deserialize)]
pub struct Saved {
    /// The host as it was asked for.
    pub host: String,
    /// When the trace began, as it was written.
    pub started: String,
    pub(super) destination: IpAddr,
    pub(super) source: IpAddr,
    pub(super) protocol: String,
    pub(super) confidence: f64,
    pub(super) confidence_reached: Option<f64>,
    pub(super) reached: bool,
    pub(super) stop_reason: String,
    pub(super) paths: u64,
    pub(super) flow_paths: u32,
    pub(super) hops_min: Option<u8>,
    pub(super) hops_max: Option<u8>,
    pub(super) hops: Vec<Hop>,
    pub(super) links: Vec<Link>,
    pub(super) flows: Vec<Flow>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Hop {
    pub(super) ttl: u8,
    pub(super) nodes: Vec<Node>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Node {
    pub(super) address: Option<IpAddr>,
    pub(super) replies: u32,
    pub(super) rtt_seconds: Option<Rtt>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Rtt {
    pub(super) min: f64,
    pub(super) median: f64,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Link {
    pub(super) ttl: u8,
    pub(super) from: Option<IpAddr>,
    pub(super) to: Option<IpAddr>,
    pub(super) per_packet: bool,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Flow {
    pub(super) id: u16,
    pub(super) reached: Option<bool>,
    pub(super) as_path: Option<Vec<u32>>,
    pub(super) hops: Vec<FlowHop>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct FlowHop {
    pub(super) ttl: u8,
    pub(super) address: Option<IpAddr>,
}

impl Saved {
    /// Reads a saved trace.
    ///
    /// # Errors
    /// When the text is not JSON, not a trace, or of another version.
    pub fn parse(text: &str) -> Result<Self, SavedError> {
        let Versioned { version } = serde_json::from_str(text)?;
        if version != VERSION {
            return Err(SavedError::Version(version));
        }
        Ok(serde_json::from_str(text)?)
    }

    /// Why what the trace does not have may be there all the same; `None` where it is as sure as was asked for.
    pub(super) fn is_incomplete(&self) -> Option<String> {
        let reason = self.stop_reason.replace('_', " ");
        let sure = self.confidence_reached.unwrap_or(0.0);
        if self.stop_reason != "complete" {
            Some(format!("did not end its work ({reason})"))
        } else if sure < self.confidence {
            let (sure, asked) = (percent(sure), percent(self.confidence));
            Some(format!("is {sure} sure to be complete ({asked} asked for)"))
        } else {
            None
        }
    }
}
