//! The file as it is written: every key optional, every value in range on its own.
//!
//! Knows the keys and the ranges, nothing of defaults. A key without a value is as good as no key.

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
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a mapping with the keys global, modules, targets, target_files, probe"
)]
pub(super) struct RawConfig {
    pub(super) global: Option<RawGlobal>,
    pub(super) modules: Option<BTreeMap<NameKey<ModuleName>, Option<RawModule>>>,
    pub(super) targets: Option<Vec<RawTarget>>,
    pub(super) target_files: Option<Vec<Option<Text<FileGlob>>>>,
    pub(super) probe: Option<RawProbe>,
}

/// `global`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a mapping of settings")]
pub(super) struct RawGlobal {
    pub(super) interval: Option<Interval>,
    pub(super) rediscover_interval: Option<Interval>,
    pub(super) max_pps: Option<Within<u32, 1, 1_000_000>>,
    pub(super) max_rounds_in_progress: Option<Within<u32, 1, 100_000>>,
    pub(super) reverse_dns: Option<Switch>,
    pub(super) asn_database: Option<Text<FilePath>>,
    pub(super) series_per_target: Option<Within<u32, 1, 1_000_000>>,
    pub(super) topology_metrics: Option<Switch>,
}

/// How often something is done.
pub(super) type Interval = Span<SECOND, YEAR>;

/// One of `modules`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a mapping of settings")]
pub(super) struct RawModule {
    pub(super) protocol: Option<Text<Protocol>>,
    pub(super) family: Option<Text<FamilyChoice>>,
    pub(super) strategy: Option<Text<Strategy>>,
    pub(super) confidence: Option<Likelihood>,
    pub(super) first_ttl: Option<Within<Ttl, 1, 255>>,
    pub(super) max_ttl: Option<Within<Ttl, 1, 255>>,
    pub(super) timeout: Option<Span<1, MINUTE>>,
    pub(super) attempts: Option<Within<u8, 1, 10>>,
    pub(super) gap_limit: Option<Within<u8, 1, 255>>,
    pub(super) max_probes: Option<Within<u32, 1, 10_000_000>>,
    pub(super) flows: Option<Within<u16, 1, 65_535>>,
    pub(super) source: Option<Text<SourceAddress>>,
    pub(super) interface: Option<Text<InterfaceName>>,
    pub(super) source_port: Option<Within<u16, 1, 65_535>>,
    pub(super) destination_port: Option<Within<u16, 1, 65_535>>,
    pub(super) tos: Option<Within<u8, 0, 255>>,
    // With the largest headers of all protocols a probe still fits in the 1,500 bytes of an Ethernet frame.
    pub(super) payload: Option<Within<u16, 0, 1400>>,
    pub(super) dont_fragment: Option<Switch>,
    pub(super) pps: Option<Within<u32, 1, 1_000_000>>,
    pub(super) burst: Option<Within<u32, 1, 100_000>>,
}

/// One of `targets`.
#[derive(Debug, Default, Deserialize)]
#[serde(
    deny_unknown_fields,
    default,
    expecting = "a mapping with the keys name, host, module, interval, labels"
)]
pub(super) struct RawTarget {
    pub(super) name: Option<Text<TargetName>>,
    pub(super) host: Option<Text<Host>>,
    pub(super) module: Option<Text<ModuleName>>,
    pub(super) interval: Option<Interval>,
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
#[serde(deny_unknown_fields, default, expecting = "a mapping with the keys enabled, allow")]
pub(super) struct RawProbe {
    pub(super) enabled: Option<Switch>,
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
