//! The configuration: a YAML file in, a validated value out, or one line that says what is wrong and where.
//!
//! Knows keys, defaults and ranges. Never resolves a name, opens a socket or reads a file other than the one it is
//! given: what stands here is what the operator wrote, known to make sense.

mod allow;
mod consistency;
mod duration;
mod error;
mod field;
mod name;
mod raw;
#[cfg(test)]
mod schema;
mod source;
mod target_list;
mod validate;
mod web;
mod yaml;

use std::{
    collections::BTreeMap,
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use self::raw::RawConfig;
pub(crate) use self::source::refuse_database;
pub use self::{
    allow::{Allow, NamePattern, Network},
    consistency::ModuleFault,
    duration::{format_duration, parse_duration},
    error::ConfigError,
    name::{FileGlob, Host, HostName, ModuleName, TargetName},
    target_list::{Taken, TargetList},
    web::{ClientAuth, Curve, PasswordHash, Pem, RateLimit, TlsSettings, TlsVersion, WebConfig},
};
use crate::{
    flow::{Family, Protocol},
    probe::Ttl,
    strategy::{Confidence, Strategy},
};

/// A configuration that makes sense.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Settings of the process.
    pub global: Global,
    /// The modules by name; `default` is always among them.
    pub modules: BTreeMap<ModuleName, Arc<Module>>,
    /// The targets of this file, in its order; no name comes twice. May be empty where `target_files` is not or `probe`
    /// is enabled.
    pub targets: Vec<Target>,
    /// Files that name more targets (Prometheus file-based service discovery); [`TargetList`] is what one of them says.
    pub target_files: Vec<FileGlob>,
    /// What `/probe` may be asked for.
    pub probe: ProbePolicy,
}

impl Config {
    /// Reads a file of at most 64 MiB.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Read`] where the file cannot be read or is too large, otherwise as [`Config::parse`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&path.to_string_lossy(), &source::read(path)?)
    }

    /// Parses and validates the text of a file; `file_name` is for the error only.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Invalid`] for the first thing found that is not allowed.
    pub fn parse(file_name: &str, text: &str) -> Result<Self, ConfigError> {
        let text = source::without_mark(text);
        let whole = "a mapping with the keys global, modules, targets, target_files, probe";
        let raw: RawConfig = source::parse(file_name, text, whole)?;
        validate::config(raw).map_err(|failure| source::failed(file_name, text, failure))
    }
}

/// Settings of the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Global {
    /// Between the starts of two rounds of a target: 1 s to 365 d.
    pub interval: Duration,
    /// A full discovery of a target at least this often: 1 s to 365 d.
    pub rediscover_interval: Duration,
    /// Packets per second of all targets together: 1 to 1,000,000.
    pub max_pps: u32,
    /// Rounds at the same time: 1 to 100,000.
    pub max_rounds_in_progress: u32,
    /// Whether the names of the nodes are looked up.
    pub reverse_dns: bool,
    /// An mmdb file that tells the AS of an address. A relative path counts from the directory of the configuration
    /// file.
    pub asn_database: Option<PathBuf>,
    /// Most series of one target, of which those of the target as a whole are always there: 1 to 1,000,000.
    pub series_per_target: u32,
    /// Whether nodes and links are exported.
    pub topology_metrics: bool,
}

impl Default for Global {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(60),
            rediscover_interval: Duration::from_secs(3600),
            max_pps: 5000,
            max_rounds_in_progress: 100,
            reverse_dns: false,
            asn_database: None,
            series_per_target: 500,
            topology_metrics: true,
        }
    }
}

/// How a target is probed. Keys that a module does not name have the built-in defaults, whatever the file says of the
/// module `default`: so a module means the same in every file.
#[derive(Clone, Debug, PartialEq)]
pub struct Module {
    /// The protocol of the probes.
    pub protocol: Protocol,
    /// Which addresses of a name are traced.
    pub family: FamilyChoice,
    /// How the probes are chosen.
    pub strategy: Strategy,
    /// How sure a discovery must be that it found the whole route.
    pub confidence: Confidence,
    /// The first hop that is asked; never above `max_ttl`.
    pub first_ttl: Ttl,
    /// The last hop that is asked.
    pub max_ttl: Ttl,
    /// How long a reply is accepted: 1 ms to 1 min.
    pub timeout: Duration,
    /// Probes sent until a flow counts as unanswered at a hop: 1 to 10.
    pub attempts: u8,
    /// Silent hops in a row after which a trace ends: 1 to 255.
    pub gap_limit: u8,
    /// Most packets of one round: 1 to 10,000,000.
    pub max_probes: u32,
    /// Flows of the strategy `fixed`: 1 up to as many as there are ports from `source_port` on.
    pub flows: u16,
    /// Our address; of the family of `family`, where that is one family. `None`: the routing table chooses.
    pub source: Option<IpAddr>,
    /// The interface that probes leave by: 1 to 15 bytes. `None`: the routing table chooses.
    pub interface: Option<String>,
    /// The lowest source port, 1 to 65535.
    pub source_port: u16,
    /// The destination port, 1 to 65535.
    pub destination_port: u16,
    /// IPv4 type of service or IPv6 traffic class.
    pub tos: u8,
    /// Bytes appended to each probe: 0 to 1400.
    pub payload: u16,
    /// Whether IPv4 probes forbid fragmentation.
    pub dont_fragment: bool,
    /// Packets per second towards one target: 1 to 1,000,000.
    pub pps: u32,
    /// Packets that may go out at once: 1 to 100,000.
    pub burst: u32,
}

impl Module {
    /// The family whose addresses are traced: that of `source` where there is one, since no packet leads from one family to
    /// the other.
    #[must_use]
    pub fn traced_family(&self) -> FamilyChoice {
        self.source.map_or(self.family, |source| Family::of(source).into())
    }
}

impl Default for Module {
    fn default() -> Self {
        Self {
            protocol: Protocol::Udp,
            family: FamilyChoice::Any,
            strategy: Strategy::MdaLite,
            confidence: Confidence::DEFAULT,
            first_ttl: Ttl::MIN,
            max_ttl: Ttl::MIN.plus(29),
            timeout: Duration::from_secs(2),
            attempts: 3,
            gap_limit: 5,
            max_probes: 50_000,
            flows: 16,
            source: None,
            interface: None,
            source_port: 33_453,
            destination_port: 33_452,
            tos: 0,
            payload: 0,
            dont_fragment: true,
            pps: 1000,
            burst: 64,
        }
    }
}

/// Which addresses of a name are traced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FamilyChoice {
    /// Whichever comes first in the order of RFC 6724.
    #[default]
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

impl FamilyChoice {
    /// The name in configuration: `any`, `v4` or `v6`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::V4 => "v4",
            Self::V6 => "v6",
        }
    }

    /// The one family that is left; `None` where both are allowed.
    #[must_use]
    pub const fn only(self) -> Option<Family> {
        match self {
            Self::Any => None,
            Self::V4 => Some(Family::V4),
            Self::V6 => Some(Family::V6),
        }
    }
}

impl From<Family> for FamilyChoice {
    fn from(family: Family) -> Self {
        match family {
            Family::V4 => Self::V4,
            Family::V6 => Self::V6,
        }
    }
}

impl fmt::Display for FamilyChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What is traced, round after round.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// Its name, unique among the targets.
    pub name: TargetName,
    /// The address or the name of the destination. An address fits the family and the source of the module.
    pub host: Host,
    /// How it is probed.
    pub module: Arc<Module>,
    /// The name of `module`.
    pub module_name: ModuleName,
    /// Between the starts of two rounds: 1 s to 365 d.
    pub interval: Duration,
    /// Labels that the operator adds to `traceflow_target_info`: valid label names, none of them reserved.
    pub labels: BTreeMap<String, String>,
}

/// What `/probe` may be asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbePolicy {
    /// Whether there is a `/probe` at all.
    pub enabled: bool,
    /// The hosts that it traces; empty allows none.
    pub allow: Vec<Allow>,
}

#[cfg(test)]
mod tests;
