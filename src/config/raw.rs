//! The file as it is written: every key optional, every value in range on its own.
//!
//! Knows the keys and the ranges, nothing of defaults. A key without a value is as good as no key. `schema` makes a JSON Schema of
//! these types, for editors: what is said here of a key is what they show.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    FamilyChoice,
    allow::Allow,
    field::{FromText, Likelihood, NameKey, Span, Switch, Text, Within, quote},
    name::{
        FileGlob, FileLabelName, FilePath, FileTarget, Host, InterfaceName, LabelName, LabelValue,
        ModuleName, SourceAddress, TargetName,
    },
};
use crate::{flow::Protocol, probe::Ttl, strategy::Strategy};

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const YEAR: u64 = 365 * 24 * 60 * MINUTE;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a mapping with the keys global, modules, targets, target_files, probe"
)]
pub(super) struct RawConfig {
    /// The process as a whole.
    pub(super) global: Option<RawGlobal>,
    /// Named probe settings. `default` is what targets without a module use; it exists without being written.
    pub(super) modules: Option<BTreeMap<NameKey<ModuleName>, Option<RawModule>>>,
    /// What is traced. May be empty where target_files or probe is used.
    pub(super) targets: Option<Vec<RawTarget>>,
    /// Files with more targets in the format of Prometheus' file-based service discovery, relative to this file.
    #[cfg_attr(test, schemars(with = "Option<Vec<Text<FileGlob>>>"))]
    pub(super) target_files: Option<Vec<Option<Text<FileGlob>>>>,
    /// What /probe may be asked for.
    pub(super) probe: Option<RawProbe>,
}

/// `global`.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default, expecting = "a mapping of settings")]
pub(super) struct RawGlobal {
    /// Time between the starts of two rounds of a target: 1s to 365d.
    pub(super) interval: Option<Interval>,
    /// A full discovery of a target at least this often: 1s to 365d.
    pub(super) rediscover_interval: Option<Interval>,
    /// Packets per second, all targets together.
    pub(super) max_pps: Option<Within<u32, 1, 1_000_000>>,
    /// Rounds at the same time; further ones wait.
    pub(super) max_rounds_in_progress: Option<Within<u32, 1, 100_000>>,
    /// Whether the names of nodes are looked up.
    pub(super) reverse_dns: Option<Switch>,
    /// An mmdb file that tells the AS of an address, relative to this file.
    pub(super) asn_database: Option<Text<FilePath>>,
    /// Most series of one target, though its own 47 always come; nodes and links appear whole or not at all.
    pub(super) series_per_target: Option<Within<u32, 1, 1_000_000>>,
    /// Whether nodes and links are exported at all.
    pub(super) topology_metrics: Option<Switch>,
}

/// How often something is done.
pub(super) type Interval = Span<SECOND, YEAR>;

/// One of `modules`.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default, expecting = "a mapping of settings")]
pub(super) struct RawModule {
    /// What probes are: udp datagrams, icmp echo requests, or tcp SYN segments.
    pub(super) protocol: Option<Text<Protocol>>,
    /// Which addresses of a name are traced; any is the first in the order of RFC 6724.
    pub(super) family: Option<Text<FamilyChoice>>,
    /// How probes are chosen: as many flows as `confidence` wants (mda, mda-lite), or `flows` flows at every hop (fixed).
    pub(super) strategy: Option<Text<Strategy>>,
    /// How sure mda and mda-lite must be that they found the whole route.
    pub(super) confidence: Option<Likelihood>,
    /// The first hop that is asked; at most max_ttl.
    pub(super) first_ttl: Option<Within<Ttl, 1, 255>>,
    /// The last hop that is asked.
    pub(super) max_ttl: Option<Within<Ttl, 1, 255>>,
    /// How long a reply is accepted: 1ms to 1m.
    pub(super) timeout: Option<Span<1, MINUTE>>,
    /// Probes until a flow counts as unanswered at a hop.
    pub(super) attempts: Option<Within<u8, 1, 10>>,
    /// A trace ends behind this many silent hops in a row.
    pub(super) gap_limit: Option<Within<u8, 1, 255>>,
    /// Most packets of one round.
    pub(super) max_probes: Option<Within<u32, 1, 10_000_000>>,
    /// Flows of the strategy fixed: at most as many as there are ports from source_port up to 65535.
    pub(super) flows: Option<Within<u16, 1, 65_535>>,
    /// Our address; without it the routing table chooses.
    pub(super) source: Option<Text<SourceAddress>>,
    /// The interface to send by; without it the routing table chooses.
    pub(super) interface: Option<Text<InterfaceName>>,
    /// Source ports (icmp: checksums) are drawn from the range that begins here.
    pub(super) source_port: Option<Within<u16, 1, 65_535>>,
    /// The destination port; unused by icmp.
    pub(super) destination_port: Option<Within<u16, 1, 65_535>>,
    /// IPv4 type of service or IPv6 traffic class.
    pub(super) tos: Option<Within<u8, 0, 255>>,
    // With the largest headers of all protocols a probe still fits in the 1,500 bytes of an Ethernet frame.
    /// Bytes appended to each probe; none to tcp.
    pub(super) payload: Option<Within<u16, 0, 1400>>,
    /// Whether fragmentation of IPv4 probes is forbidden.
    pub(super) dont_fragment: Option<Switch>,
    /// Packets per second towards one target.
    pub(super) pps: Option<Within<u32, 1, 1_000_000>>,
    /// Packets that may go out at once.
    pub(super) burst: Option<Within<u32, 1, 100_000>>,
}

/// One of `targets`.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a mapping with the keys name, host, module, interval, labels"
)]
#[cfg_attr(test, schemars(extend("required" = ["name", "host"])))]
pub(super) struct RawTarget {
    /// The value of the label `target`; each name once.
    #[cfg_attr(test, schemars(with = "Text<TargetName>"))]
    pub(super) name: Option<Text<TargetName>>,
    /// A host name or an address.
    #[cfg_attr(test, schemars(with = "Text<Host>"))]
    pub(super) host: Option<Text<Host>>,
    /// One of `modules`; without it `default`.
    pub(super) module: Option<Text<ModuleName>>,
    /// Time between the starts of two rounds: 1s to 365d; without it global.interval.
    pub(super) interval: Option<Interval>,
    /// Further labels for traceflow_target_info.
    #[cfg_attr(test, schemars(with = "Option<BTreeMap<NameKey<LabelName>, Text<LabelValue>>>"))]
    pub(super) labels: Option<BTreeMap<NameKey<LabelName>, Option<Text<LabelValue>>>>,
}

/// One of the entries of a file of targets.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a mapping with the keys targets, labels")]
pub(super) struct RawGroup {
    pub(super) targets: Option<Vec<Option<Text<FileTarget>>>>,
    pub(super) labels: Option<BTreeMap<NameKey<FileLabelName>, Option<Text<LabelValue>>>>,
}

/// `probe`.
#[derive(Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default, expecting = "a mapping with the keys enabled, allow")]
pub(super) struct RawProbe {
    /// Whether there is a /probe at all.
    pub(super) enabled: Option<Switch>,
    /// Networks, addresses, host names, `*.` before a name for every name below it, or `*` for every name.
    #[cfg_attr(test, schemars(with = "Option<Vec<Text<Allow>>>"))]
    pub(super) allow: Option<Vec<Option<Text<Allow>>>>,
}

impl FromText for FamilyChoice {
    const ALLOWED: &'static str = "are any, v4, v6";

    fn from_text(text: &str) -> Result<Self, String> {
        [Self::Any, Self::V4, Self::V6]
            .into_iter()
            .find(|choice| choice.name() == text)
            .ok_or_else(|| format!("unknown value {}", quote(text)))
    }
}
