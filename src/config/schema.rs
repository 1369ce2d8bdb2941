//! docs/config.schema.json, made of the types in `raw`: what editors complete from and check against.
//!
//! Knows what a JSON Schema can say of a value. What it cannot, such as how long a duration is or whether a module exists, is left to
//! `--config.check`; nothing that the program accepts is refused.

use std::{env, fs, path::Path, time::Duration};

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema};
use serde_json::{Value, json};

use super::{
    FamilyChoice, Global, Module, ProbePolicy,
    allow::Allow,
    duration::format_duration,
    field::{Likelihood, NameKey, Span, Switch, Text, Within},
    name::{
        FileGlob, FilePath, Host, InterfaceName, LabelName, LabelValue, ModuleName, SourceAddress, TargetName,
    },
    raw::RawConfig,
};
use crate::{flow::Protocol, render::sample::schema::refused, strategy::Strategy};

const FILE: &str = "docs/config.schema.json";

/// Set, this writes the file in place of comparing it.
const WRITE: &str = "WRITE_SCHEMA";

/// What the text of a value may be.
trait Shape {
    fn shape() -> Schema;
}

/// Text for which YAML needs no quotes where it looks like a number or a truth value.
fn plain(pattern: &str) -> Schema {
    json_schema!({ "type": ["string", "number", "boolean"], "pattern": pattern })
}

fn text(pattern: &str) -> Schema {
    json_schema!({ "type": "string", "pattern": pattern })
}

fn one_of<'a>(names: impl IntoIterator<Item = &'a str>) -> Schema {
    json_schema!({ "type": "string", "enum": names.into_iter().collect::<Vec<_>>() })
}

macro_rules! shapes {
    ($($type:ty => $shape:expr),* $(,)?) => {$(
        impl Shape for $type {
            fn shape() -> Schema {
                $shape
            }
        }
    )*};
}

shapes! {
    Protocol => one_of(Protocol::ALL.map(Protocol::name)),
    Strategy => one_of(Strategy::ALL.map(Strategy::name)),
    FamilyChoice => one_of([FamilyChoice::Any, FamilyChoice::V4, FamilyChoice::V6].map(FamilyChoice::name)),
    // 255 bytes are at most as many characters.
    TargetName => plain(r"^(?=.{1,255}$)(?!\.{1,2}$)(?!\s)[^\u0000-\u001f\u007f]+(?<!\s)$"),
    ModuleName => plain("^[A-Za-z0-9_.-]{1,64}$"),
    Host => text(r"^[A-Za-z0-9_:.-]+$"),
    Allow => text(r"^[A-Za-z0-9_:./*-]+$"),
    SourceAddress => text("^[0-9A-Fa-f:.]+$"),
    InterfaceName => plain(r"^(?!\.{1,2}$)[^\s/:]{1,15}$"),
    FileGlob => text(r"^([^*]*/)?[^/]+\.(yaml|yml|json)$"),
    FilePath => text("[^/]$"),
    LabelValue => plain(""),
    LabelName => text(
        "^(?!__)(?!(target|host|address|protocol|strategy|job|instance|module|interval)$)[A-Za-z_][A-Za-z0-9_]*$",
    ),
}

/// The schema of a leaf stands where the leaf does.
macro_rules! inline {
    ([$($generics:tt)*] $type:ty => $shape:expr) => {
        impl<$($generics)*> JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                std::any::type_name::<Self>().into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $shape
            }
        }
    };
}

inline!([T: Shape] Text<T> => T::shape());
inline!([T: Shape] NameKey<T> => {
    let mut key = T::shape();
    key.insert("type".to_owned(), json!("string"));
    key
});
inline!([T, const LOW: u64, const HIGH: u64] Within<T, LOW, HIGH> => {
    json_schema!({ "type": "integer", "minimum": LOW, "maximum": HIGH })
});
inline!([const LOW: u64, const HIGH: u64] Span<LOW, HIGH> => {
    text("^(?=.)([0-9]+y)?([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$")
});
inline!([] Likelihood => json_schema!({ "type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1 }));
inline!([] Switch => json_schema!({ "type": "boolean" }));

/// The schema of a whole file.
fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<RawConfig>().to_value();
    schema["title"] = json!("Configuration of traceflow_exporter");
    schema["description"] = json!("What --config.file names. A key without a value is as good as no key.");
    let properties = &mut schema["properties"];
    set_defaults(&mut properties["global"]["properties"], &global());
    let modules = &mut properties["modules"];
    let module = modules["patternProperties"].as_object_mut().unwrap().values_mut().next().unwrap();
    set_defaults(&mut module["properties"], &self::module());
    let ProbePolicy { enabled, allow } = ProbePolicy::default();
    assert_eq!(allow, [], "the default is written as an empty list");
    set_defaults(&mut properties["probe"]["properties"], &json!({ "enabled": enabled, "allow": [] }));
    schema
}

/// Adds its default to each of the keys; each has one.
fn set_defaults(properties: &mut Value, defaults: &Value) {
    let (properties, defaults) = (properties.as_object_mut().unwrap(), defaults.as_object().unwrap());
    assert!(properties.keys().eq(defaults.keys()), "{properties:?} {defaults:?}");
    for (key, default) in defaults {
        properties[key]["default"] = default.clone();
    }
}

fn span(duration: Duration) -> String {
    format_duration(duration)
}

/// The defaults of `global` as they are written.
fn global() -> Value {
    let Global {
        interval,
        rediscover_interval,
        max_pps,
        max_rounds_in_progress,
        reverse_dns,
        asn_database,
        series_per_target,
        topology_metrics,
    } = Global::default();
    json!({
        "interval": span(interval),
        "rediscover_interval": span(rediscover_interval),
        "max_pps": max_pps,
        "max_rounds_in_progress": max_rounds_in_progress,
        "reverse_dns": reverse_dns,
        "asn_database": asn_database,
        "series_per_target": series_per_target,
        "topology_metrics": topology_metrics,
    })
}

/// The defaults of a module as they are written.
fn module() -> Value {
    let default = Module::default();
    json!({
        "protocol": default.protocol.name(),
        "family": default.family.name(),
        "strategy": default.strategy.name(),
        "confidence": default.confidence.get(),
        "first_ttl": default.first_ttl.get(),
        "max_ttl": default.max_ttl.get(),
        "timeout": span(default.timeout),
        "attempts": default.attempts,
        "gap_limit": default.gap_limit,
        "max_probes": default.max_probes,
        "flows": default.flows,
        "source": default.source,
        "interface": default.interface,
        "source_port": default.source_port,
        "destination_port": default.destination_port,
        "tos": default.tos,
        "payload": default.payload,
        "dont_fragment": default.dont_fragment,
        "pps": default.pps,
        "burst": default.burst,
    })
}

#[test]
fn the_file_is_what_the_types_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    let made = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    if env::var_os(WRITE).is_some() {
        fs::write(&path, &made).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == made, "{FILE} is not what src/config/raw.rs says; make it anew with: make schema");
}

/// What the program accepts, an independent validator accepts.
#[test]
fn what_the_program_accepts_fits_the_schema() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap();
    // Indented text of a manual is text as it is; so are its other examples, of which only the YAML is a configuration.
    let manual = read("README.md");
    let block = manual.split("\n\n").find(|block| block.starts_with("    global:")).unwrap();
    let mut texts = vec![read("config.example.yaml"), block.replace("\n    ", "\n").trim_start().to_owned()];
    for entry in fs::read_dir(root.join("fuzz/corpus/config")).unwrap() {
        let text = fs::read(entry.unwrap().path()).unwrap();
        texts.extend(String::from_utf8(text));
    }
    texts.extend(ACCEPTED.map(ToOwned::to_owned));
    let accepted = texts.iter().filter(|text| super::Config::parse("f", text).is_ok());
    // As this parser understands it: dialects of YAML are another matter.
    let documents: Vec<String> = accepted
        .map(|text| {
            let value: serde_yaml::Value = serde_yaml::from_str(text.trim_start_matches('\u{feff}')).unwrap();
            serde_json::to_string(&value).unwrap()
        })
        .collect();
    assert!(documents.len() >= texts[..2].len() + ACCEPTED.len(), "{} of {}", documents.len(), texts.len());
    for text in ACCEPTED {
        super::Config::parse("f", text).unwrap();
    }
    let told = refused(FILE, &documents, "json");
    assert!(told.is_empty(), "{} does not fit", documents[told[0]]);
    // And as others do, where people write it.
    assert_eq!(refused(FILE, &texts[..2], "yaml"), [0_usize; 0]);
}

/// What is written in ways of which the corpus of the fuzzer has few.
const ACCEPTED: [&str; 6] = [
    "{ modules: { low: { protocol: udp, family: any, strategy: fixed, confidence: 0.001, first_ttl: 1, max_ttl: 1, timeout: 1ms, \
     attempts: 1, gap_limit: 1, max_probes: 1, flows: 1, source: 192.0.2.1, interface: e, source_port: 1, destination_port: 1, tos: 0, \
     payload: 0, dont_fragment: false, pps: 1, burst: 1 } }, targets: [{ name: a, host: h, module: low }] }",
    "{ modules: { high: { protocol: tcp, family: v6, strategy: mda, confidence: 0.999, first_ttl: 255, max_ttl: 255, timeout: 1m, \
     attempts: 10, gap_limit: 255, max_probes: 10000000, flows: 100, source: 2001:db8::9, interface: eth0.1234567890, \
     source_port: 65000, destination_port: 65535, tos: 255, payload: 1400, dont_fragment: true, pps: 1000000, burst: 100000 } }, \
     targets: [{ name: a, host: 2001:db8::1, module: high }], global: { max_pps: 1000000, max_rounds_in_progress: 100000, \
     series_per_target: 1000000, topology_metrics: false, reverse_dns: true, rediscover_interval: 1w } }",
    "{ global: ~, modules: { a: ~, b.1: { source: ~, flows: 3 } }, targets: [{ name: 7, host: h, labels: { rack: 12, on: true } }] }",
    "{ targets: [{ name: \"a b é\", host: 2001:db8::1, interval: 1m30s, module: default, labels: ~ }], probe: ~ }",
    "{ target_files: [a.yaml, \"b/*.json\"], global: { asn_database: /x/y.mmdb, interval: 365d } }",
    "{ probe: { enabled: true, allow: [192.0.2.0/24, \"*.example.net\", \"*\", 2001:db8::/32, h.example.] } }",
];

/// What is wrong in a way that a schema can tell, is told.
#[test]
fn what_is_wrong_does_not_fit_the_schema() {
    let target = "targets: [{ name: a, host: h }]";
    let global = |keys: &str| format!("{{ global: {{ {keys} }}, {target} }}");
    let module = |keys: &str| format!("{{ modules: {{ m: {{ {keys} }} }}, {target} }}");
    let of_target = |keys: &str| format!("targets: [{{ {keys} }}]");
    let mut texts: Vec<String> = [
        "[]",
        "globl: {}",
        "global: 5",
        "targets: {}",
        "targets: [a]",
        "targets: [~]",
        "modules: { a b: {} }",
    ]
    .map(ToOwned::to_owned)
    .into();
    texts.extend(
        [
            "intervl: 60s",
            "interval: 60",
            "interval: soon",
            "interval: 1s1m",
            "interval: \"\"",
            "max_pps: 0",
            "max_pps: 1000001",
            "max_pps: 1.5",
            "max_pps: \"5\"",
            "max_rounds_in_progress: 100001",
            "reverse_dns: \"yes\"",
            "topology_metrics: 1",
            "series_per_target: 0",
            "asn_database: \"\"",
            "asn_database: asn/",
        ]
        .map(global),
    );
    texts.extend(
        [
            "b: 1",
            "protocol: UDP",
            "family: ipv4",
            "strategy: lite",
            "confidence: 0",
            "confidence: 1",
            "confidence: 95%",
            "first_ttl: 0",
            "max_ttl: 256",
            "timeout: 2",
            "attempts: 11",
            "gap_limit: 0",
            "max_probes: 10000001",
            "flows: 0",
            "source: here",
            "interface: abcdefghijklmnop",
            "interface: eth0/1",
            "source_port: 0",
            "destination_port: 65536",
            "tos: 256",
            "payload: 1401",
            "dont_fragment: 0",
            "pps: 0",
            "burst: 100001",
        ]
        .map(module),
    );
    texts.extend(
        [
            "name: a",
            "host: h",
            "name: ~, host: h",
            "name: \"\", host: h",
            "name: \" a\", host: h",
            "name: .., host: h",
            "name: a, host: ~",
            "name: a, host: \"http://h/\"",
            "name: a, host: h, nme: b",
            "name: a, host: h, interval: 1",
            "name: a, host: h, module: a b",
            "name: a, host: h, labels: [a]",
            "name: a, host: h, labels: { 9x: a }",
            "name: a, host: h, labels: { x: ~ }",
            "name: a, host: h, labels: { target: x }",
            "name: a, host: h, labels: { __x: x }",
        ]
        .map(of_target),
    );
    texts.extend(
        [
            "target_files: a.yaml",
            "target_files: [a.txt]",
            "target_files: [\"*/a.yml\"]",
            "target_files: [~]",
            "probe: true",
            "probe: { alow: 1 }",
            "probe: { enabled: maybe }",
            "probe: { allow: [~] }",
        ]
        .map(ToOwned::to_owned),
    );
    for text in &texts {
        assert!(super::Config::parse("f", text).is_err(), "the program accepts {text}");
    }
    let told = refused(FILE, &texts, "yaml");
    let missed: Vec<_> =
        (0..texts.len()).filter(|place| !told.contains(place)).map(|place| &texts[place]).collect();
    assert!(missed.is_empty(), "{missed:#?}");
}
