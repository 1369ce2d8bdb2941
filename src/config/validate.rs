//! From what is written to what is meant: defaults filled in, and what two keys say about each other checked.
//!
//! Knows the keys by their paths, nothing of where in the text they stand.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use super::{
    Config, Global, Module, ModuleFault, ProbePolicy, Target,
    field::{FromText, Likelihood, NameKey, Span, Switch, Text, Within},
    name::{FilePath, Host, InterfaceName, LabelName, LabelValue, ModuleName, SourceAddress, TargetName},
    raw::{RawConfig, RawGlobal, RawModule, RawProbe, RawTarget},
    yaml::{
        Step::{self, Index},
        key,
    },
};
use crate::flow::Family;

/// What is wrong with the value at the end of a path.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) path: Vec<Step>,
    pub(super) wrong: String,
    pub(super) allowed: String,
}

impl Failure {
    pub(super) fn new(
        path: impl Into<Vec<Step>>,
        wrong: impl Into<String>,
        allowed: impl Into<String>,
    ) -> Self {
        Self { path: path.into(), wrong: wrong.into(), allowed: allowed.into() }
    }
}

/// The configuration that the file means.
pub(super) fn config(raw: RawConfig) -> Result<Config, Failure> {
    let global = global(raw.global.unwrap_or_default());
    let modules = modules(raw.modules.unwrap_or_default())?;
    let targets = targets(raw.targets.unwrap_or_default(), &global, &modules)?;
    let target_files = list(raw.target_files, |index| vec![key("target_files"), Index(index)])?;
    let probe = probe(raw.probe.unwrap_or_default())?;
    if targets.is_empty() && target_files.is_empty() && !probe.enabled {
        return Err(Failure::new(
            [key("targets")],
            "nothing to trace",
            "at least one target, or target_files, or probe with enabled: true",
        ));
    }
    Ok(Config { global, modules, targets, target_files, probe })
}

fn global(raw: RawGlobal) -> Global {
    let default = Global::default();
    Global {
        interval: raw.interval.map_or(default.interval, |Span(value)| value),
        rediscover_interval: raw.rediscover_interval.map_or(default.rediscover_interval, |Span(value)| value),
        max_pps: raw.max_pps.map_or(default.max_pps, |Within(value)| value),
        max_rounds_in_progress: raw
            .max_rounds_in_progress
            .map_or(default.max_rounds_in_progress, |Within(value)| value),
        reverse_dns: raw.reverse_dns.map_or(default.reverse_dns, |Switch(value)| value),
        asn_database: raw.asn_database.map(|Text(FilePath(path))| path),
        series_per_target: raw.series_per_target.map_or(default.series_per_target, |Within(value)| value),
        topology_metrics: raw.topology_metrics.map_or(default.topology_metrics, |Switch(value)| value),
    }
}

fn modules(
    raw: BTreeMap<NameKey<ModuleName>, Option<RawModule>>,
) -> Result<BTreeMap<ModuleName, Arc<Module>>, Failure> {
    let mut modules = BTreeMap::from([(ModuleName::default_module(), Arc::default())]);
    for (NameKey(name), raw) in raw {
        let raw = raw.unwrap_or_default();
        let has = Given { flows: raw.flows.is_some() };
        let module = module(raw);
        check_module(&name, &module, &has)?;
        modules.insert(name, Arc::new(module));
    }
    Ok(modules)
}

fn module(raw: RawModule) -> Module {
    let default = Module::default();
    Module {
        protocol: raw.protocol.map_or(default.protocol, |Text(value)| value),
        family: raw.family.map_or(default.family, |Text(value)| value),
        strategy: raw.strategy.map_or(default.strategy, |Text(value)| value),
        confidence: raw.confidence.map_or(default.confidence, |Likelihood(value)| value),
        first_ttl: raw.first_ttl.map_or(default.first_ttl, |Within(value)| value),
        max_ttl: raw.max_ttl.map_or(default.max_ttl, |Within(value)| value),
        timeout: raw.timeout.map_or(default.timeout, |Span(value)| value),
        attempts: raw.attempts.map_or(default.attempts, |Within(value)| value),
        gap_limit: raw.gap_limit.map_or(default.gap_limit, |Within(value)| value),
        max_probes: raw.max_probes.map_or(default.max_probes, |Within(value)| value),
        flows: raw.flows.map_or(default.flows, |Within(value)| value),
        source: raw.source.map(|Text(SourceAddress(address))| address),
        interface: raw.interface.map(|Text(InterfaceName(name))| name),
        source_port: raw.source_port.map_or(default.source_port, |Within(value)| value),
        destination_port: raw.destination_port.map_or(default.destination_port, |Within(value)| value),
        tos: raw.tos.map_or(default.tos, |Within(value)| value),
        payload: raw.payload.map_or(default.payload, |Within(value)| value),
        dont_fragment: raw.dont_fragment.map_or(default.dont_fragment, |Switch(value)| value),
        pps: raw.pps.map_or(default.pps, |Within(value)| value),
        burst: raw.burst.map_or(default.burst, |Within(value)| value),
    }
}

/// Which keys stand in the file, where it decides which of two keys is to blame.
struct Given {
    flows: bool,
}

fn check_module(name: &ModuleName, module: &Module, given: &Given) -> Result<(), Failure> {
    let at = |field: &str| [key("modules"), key(name), key(field)];
    module
        .check(given.flows)
        .map_err(|ModuleFault { key, wrong, allowed }| Failure::new(at(key), wrong, allowed))
}

fn names(values: &[impl ToString]) -> String {
    let names: Vec<_> = values.iter().map(ToString::to_string).collect();
    if names.len() == 1 { names.concat() } else { format!("are {}", names.join(", ")) }
}

fn targets(
    raw: Vec<RawTarget>,
    global: &Global,
    modules: &BTreeMap<ModuleName, Arc<Module>>,
) -> Result<Vec<Target>, Failure> {
    let mut places = BTreeMap::new();
    let mut targets = Vec::with_capacity(raw.len());
    for (index, raw) in raw.into_iter().enumerate() {
        let target = target(index, raw, global, modules)?;
        match places.entry(target.name.clone()) {
            Entry::Vacant(entry) => entry.insert(index),
            Entry::Occupied(entry) => {
                let wrong = format!("`{}` is the name of targets[{}] already", target.name, entry.get());
                return Err(Failure::new(
                    [key("targets"), Index(index), key("name")],
                    wrong,
                    "each name once",
                ));
            }
        };
        targets.push(target);
    }
    Ok(targets)
}

fn target(
    index: usize,
    raw: RawTarget,
    global: &Global,
    modules: &BTreeMap<ModuleName, Arc<Module>>,
) -> Result<Target, Failure> {
    let at = |field: &str| vec![key("targets"), Index(index), key(field)];
    let name: TargetName = present(raw.name, || at("name"))?;
    let host: Host = present(raw.host, || at("host"))?;
    let module_name = raw.module.map_or_else(ModuleName::default_module, |Text(name)| name);
    let module = module_of(&module_name, modules, || at("module"))?;
    check_family(&host, &module_name, module)
        .map_err(|(wrong, allowed)| Failure::new(at("host"), wrong, allowed))?;
    Ok(Target {
        name,
        host,
        module: Arc::clone(module),
        module_name,
        interval: raw.interval.map_or(global.interval, |Span(value)| value),
        labels: labels(index, raw.labels.unwrap_or_default())?,
    })
}

/// The module of this name.
pub(super) fn module_of<'a>(
    name: &ModuleName,
    modules: &'a BTreeMap<ModuleName, Arc<Module>>,
    path: impl FnOnce() -> Vec<Step>,
) -> Result<&'a Arc<Module>, Failure> {
    modules.get(name).ok_or_else(|| {
        let known: Vec<_> = modules.keys().collect();
        Failure::new(path(), format!("there is no module `{name}`"), names(&known))
    })
}

/// Whether an address can be traced with the family and the source of its module.
pub(super) fn check_family(host: &Host, name: &ModuleName, module: &Module) -> Result<(), (String, String)> {
    let Some(family) = host.family() else {
        return Ok(());
    };
    if module.family.only().is_some_and(|only| only != family) {
        return Err((
            format!("{host} does not fit family {} of module `{name}`", module.family),
            "an address of that family, a name, or another module".to_owned(),
        ));
    }
    match module.source {
        Some(source) if Family::of(source) != family => Err((
            format!("{host} cannot be reached from source {source} of module `{name}`"),
            "an address of the family of the source, a name, or another module".to_owned(),
        )),
        _ => Ok(()),
    }
}

fn labels(
    index: usize,
    raw: BTreeMap<NameKey<LabelName>, Option<Text<LabelValue>>>,
) -> Result<BTreeMap<String, String>, Failure> {
    raw.into_iter()
        .map(|(NameKey(LabelName(name)), value)| {
            let LabelValue(value) =
                present(value, || vec![key("targets"), Index(index), key("labels"), key(&name)])?;
            Ok((name, value))
        })
        .collect()
}

fn probe(raw: RawProbe) -> Result<ProbePolicy, Failure> {
    Ok(ProbePolicy {
        enabled: raw.enabled.is_some_and(|Switch(value)| value),
        allow: list(raw.allow, |index| vec![key("probe"), key("allow"), Index(index)])?,
    })
}

pub(super) fn list<T: FromText>(
    raw: Option<Vec<Option<Text<T>>>>,
    path: impl Fn(usize) -> Vec<Step>,
) -> Result<Vec<T>, Failure> {
    raw.into_iter().flatten().enumerate().map(|(index, value)| present(value, || path(index))).collect()
}

/// A value that has no default.
pub(super) fn present<T: FromText>(
    value: Option<Text<T>>,
    path: impl FnOnce() -> Vec<Step>,
) -> Result<T, Failure> {
    value.map(|Text(value)| value).ok_or_else(|| Failure::new(path(), "the value is missing", T::ALLOWED))
}
