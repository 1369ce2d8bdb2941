//! The file as a whole: what is accepted, the example, and that any text gets an answer.

mod refused;

use std::fmt::Debug;

use proptest::prelude::*;
use serde::{
    Deserialize, Deserializer,
    de::{Visitor, value::Error as ValueError},
    forward_to_deserialize_any,
};
use serde_yaml::Value;

use super::{
    raw::{RawConfig, RawGlobal, RawModule, RawProbe, RawTarget},
    *,
};

const EXAMPLE: &str = include_str!("../../config.example.yaml");

fn error(text: &str) -> String {
    match Config::parse("f", text) {
        Err(error) => error.to_string(),
        Ok(_) => format!("accepted: {text}"),
    }
}

fn config(text: &str) -> Config {
    Config::parse("f", text).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

/// A file of one target with these keys in its module `m`.
fn module(keys: &str) -> Module {
    let config =
        config(&format!("modules: {{ m: {{ {keys} }} }}\ntargets: [{{ name: a, host: h, module: m }}]"));
    config.targets[0].module.as_ref().clone()
}

#[test]
fn accepts_modules() {
    let default = Module::default;
    for (keys, expected) in [
        ("", default()),
        ("source: ~, family:", default()),
        ("protocol: icmp", Module { protocol: Protocol::Icmp, ..default() }),
        (
            "protocol: tcp, destination_port: 443",
            Module { protocol: Protocol::Tcp, destination_port: 443, ..default() },
        ),
        ("protocol: udp, strategy: mda-lite, family: v6", Module { family: FamilyChoice::V6, ..default() }),
        ("confidence: 1e-3", Module { confidence: Confidence::new(0.001).unwrap(), ..default() }),
        ("first_ttl: 255, max_ttl: 0xff", Module { first_ttl: Ttl::MAX, max_ttl: Ttl::MAX, ..default() }),
        ("timeout: 1m", Module { timeout: Duration::from_secs(60), ..default() }),
        ("timeout: 1ms", Module { timeout: Duration::from_millis(1), ..default() }),
        (
            "attempts: 10, gap_limit: 255, max_probes: 1",
            Module { attempts: 10, gap_limit: 255, max_probes: 1, ..default() },
        ),
        ("flows: 32083", Module { flows: 32_083, ..default() }),
        ("flows: 65535, source_port: 1", Module { flows: 65_535, source_port: 1, ..default() }),
        (
            "source: 192.0.2.1, family: v4",
            Module { source: "192.0.2.1".parse().ok(), family: FamilyChoice::V4, ..default() },
        ),
        ("source: \"::1\"", Module { source: "::1".parse().ok(), ..default() }),
        ("interface: abcdefghijklmno", Module { interface: Some("abcdefghijklmno".into()), ..default() }),
        (
            "destination_port: 443, tos: 255, payload: 1400",
            Module { destination_port: 443, tos: 255, payload: 1400, ..default() },
        ),
        (
            "dont_fragment: false, pps: 1, burst: 1",
            Module { dont_fragment: false, pps: 1, burst: 1, ..default() },
        ),
    ] {
        assert_eq!(module(keys), expected, "{keys}");
    }
}

#[test]
fn a_named_module_starts_from_the_built_in_defaults() {
    let config = config(
        "modules: { default: { flows: 4 }, wide: { tos: 8 }, plain: }\n\
         targets: [{ name: a, host: h }, { name: b, host: h, module: wide }]",
    );
    assert_eq!(*config.targets[0].module, Module { flows: 4, ..Module::default() });
    assert_eq!(*config.targets[1].module, Module { tos: 8, ..Module::default() });
    assert_eq!(config.targets[1].module_name.as_str(), "wide");
    assert_eq!(
        config.modules.keys().map(ModuleName::as_str).collect::<Vec<_>>(),
        ["default", "plain", "wide"]
    );
    assert_eq!(*config.modules[&"plain".parse::<ModuleName>().unwrap()], Module::default());
}

#[test]
fn accepts_hosts() {
    let name = |text: &str| Host::Name(text.parse().unwrap());
    let long = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
    for (host, expected) in [
        ("www.example.net", name("www.example.net")),
        ("WWW.Example.net.", name("WWW.Example.net.")),
        ("localhost", name("localhost")),
        ("_dns.x-1.example", name("_dns.x-1.example")),
        ("1and1.example", name("1and1.example")),
        ("4.example.0xg", name("4.example.0xg")),
        ("xn--mnchen-3ya.example", name("xn--mnchen-3ya.example")),
        (&long, name(&long)),
        ("127.0.0.1", Host::Address("127.0.0.1".parse().unwrap())),
        ("255.255.255.255", Host::Address("255.255.255.255".parse().unwrap())),
        ("2001:DB8::1", Host::Address("2001:db8::1".parse().unwrap())),
        ("\"::1\"", Host::Address("::1".parse().unwrap())),
    ] {
        let config = config(&format!("targets: [{{ name: a, host: {host} }}]"));
        assert_eq!(config.targets[0].host, expected);
    }
    let longer = format!("{long}c");
    assert_eq!(
        longer.parse::<HostName>(),
        Err(format!("`{}…` is longer than 253 bytes; allowed is a host name", &longer[..80]))
    );
}

#[test]
fn accepts_every_section() {
    let config = config(
        r#"
        global: { interval: 2m, asn_database: asn.mmdb }
        modules:
          default: { protocol: udp, family: any, confidence: 0.95, source: null, interface: null }
          web:     { protocol: tcp, destination_port: 443 }
        targets:
          - { name: telia, host: www.telia.se }
          - { name: shop, host: shop.example.net, module: web, interval: 30s, labels: { site: ams, rack: 1.10, _on: true } }
        target_files: [ "targets/*.yaml", "targets/*.json" ]
        probe: { enabled: false, allow: [ 192.0.2.0/24, "*.example.net" ] }
        "#,
    );
    assert_eq!(
        config.global,
        Global {
            interval: Duration::from_secs(120),
            asn_database: Some("asn.mmdb".into()),
            ..Global::default()
        }
    );
    let [telia, shop] = &config.targets[..] else { panic!("{:?}", config.targets) };
    assert_eq!((telia.name.as_str(), telia.interval), ("telia", Duration::from_secs(120)));
    assert!(telia.labels.is_empty());
    assert_eq!((shop.module.destination_port, shop.interval), (443, Duration::from_secs(30)));
    let labels: Vec<_> = shop.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(labels, ["_on=true", "rack=1.10", "site=ams"]);
    assert_eq!(
        config.target_files.iter().map(FileGlob::as_str).collect::<Vec<_>>(),
        ["targets/*.yaml", "targets/*.json"]
    );
    let [Allow::Network(network), Allow::Name(pattern)] = &config.probe.allow[..] else {
        panic!("{:?}", config.probe)
    };
    assert_eq!(
        (network.to_string(), pattern.to_string()),
        ("192.0.2.0/24".to_owned(), "*.example.net".to_owned())
    );
}

#[test]
fn accepts_no_targets_where_others_may_come() {
    for text in [
        "target_files: [t.json]",
        "probe: { enabled: true }",
        "global:\nmodules:\ntargets:\nprobe: { enabled: true, allow: [\"*\"] }",
    ] {
        assert!(config(text).targets.is_empty());
    }
}

#[test]
fn aliases_may_repeat_but_not_explode() {
    let config = config(
        "targets:\n  - { name: a, host: h, labels: &l { site: ams } }\n  - { name: b, host: h, labels: *l }\n",
    );
    assert_eq!(config.targets[0].labels, config.targets[1].labels);

    let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (this, last) in ('b'..='z').zip('a'..) {
        bomb += &format!(
            "{this}: &{this} [*{last}, *{last}, *{last}, *{last}, *{last}, *{last}, *{last}, *{last}, *{last}]\n"
        );
    }
    let line = error(&bomb);
    assert!(line.ends_with(": aliases repeat too much; allowed is what is written out"), "{line}");
    // A long scalar repeated is as much of a bomb as a long list.
    let line = error(&format!("a: &a {}\nb: [{}]", "x".repeat(100_000), "*a,".repeat(100_000)));
    assert_eq!(line, "f:1:4: b[39]: aliases repeat too much; allowed is what is written out");
}

#[test]
fn messages_stay_short_and_on_one_line() {
    for text in [
        format!("targets: [{{ name: a, host: {} }}]", "x".repeat(10_000)),
        format!("global: {{ interval: \"{}\" }}", "\\n".repeat(10_000)),
        format!("{}: 1", "x".repeat(1000)),
        format!("global: \"{}\"", "\\e[2J\\L".repeat(1000)),
        format!("global: {}", "9".repeat(10_000)),
    ] {
        let line = error(&text);
        assert!(line.len() < 2000 && line.starts_with("f:1:"), "{line}");
        assert!(!line.contains(char::is_control) && !line.contains('\u{2028}'), "{line}");
    }
}

#[test]
fn the_example_shows_the_defaults() {
    let example = config(EXAMPLE);
    assert_eq!(example.global, Global::default());
    assert_eq!(example.modules.keys().map(ModuleName::as_str).collect::<Vec<_>>(), ["default"]);
    assert_eq!(*example.modules[&ModuleName::default_module()], Module::default());
    assert_eq!((example.target_files, example.probe), (Vec::new(), ProbePolicy::default()));
    let [target] = &example.targets[..] else { panic!("{:?}", example.targets) };
    assert_eq!(target.host, Host::Address("127.0.0.1".parse().unwrap()), "`make run` asks nobody else");
    assert_eq!((target.name.as_str(), target.interval), ("localhost", Global::default().interval));
    assert_eq!(target.module_name, ModuleName::default_module());
}

#[test]
fn the_example_shows_every_key() {
    let example: Value = serde_yaml::from_str(EXAMPLE).unwrap();
    for (keys, shown) in [
        (keys_of::<RawConfig>(), &example),
        (keys_of::<RawGlobal>(), &example["global"]),
        (keys_of::<RawModule>(), &example["modules"]["default"]),
        (keys_of::<RawTarget>(), &example["targets"][0]),
        (keys_of::<RawProbe>(), &example["probe"]),
    ] {
        let shown: Vec<_> = shown.as_mapping().unwrap().keys().map(|key| key.as_str().unwrap()).collect();
        assert_eq!(shown, keys);
    }
}

/// The keys of a raw structure, asked from its `Deserialize`.
fn keys_of<'de, T: Deserialize<'de> + Debug>() -> &'static [&'static str] {
    struct Keys<'a>(&'a mut &'static [&'static str]);

    impl<'de> Deserializer<'de> for Keys<'_> {
        type Error = ValueError;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(serde::de::Error::custom("not a structure"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            visitor: V,
        ) -> Result<V::Value, Self::Error> {
            *self.0 = fields;
            self.deserialize_any(visitor)
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
            unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    let mut keys: &'static [&'static str] = &[];
    T::deserialize(Keys(&mut keys)).unwrap_err();
    keys
}

/// Whatever the text: a configuration or one line of the promised form, with a place inside the text.
fn check_answer(text: &str) -> Result<(), TestCaseError> {
    if let Err(error) = Config::parse("f", text) {
        let line = error.to_string();
        prop_assert!(!line.contains('\n') && line.contains("; allowed "), "{line}");
        let ConfigError::Invalid { line, column, ref path, .. } = error else { panic!("{error}") };
        let lines = text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count();
        prop_assert!((1..=lines + 1).contains(&line) && column >= 1 && !path.is_empty(), "{error}");
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_text_gets_an_answer(text in "\\PC*|(?s).{0,200}") {
        check_answer(&text)?;
    }

    #[test]
    fn any_yaml_like_text_gets_an_answer(
        tokens in prop::collection::vec(
            prop::sample::select(vec![
                "global", "modules", "targets", "name", "host", "labels", "a", "1", "''", "~", "&x ", "*x", ": ", ", ", "- ",
                "? ", "{", "}", "[", "]", "\n", "\n  ", "\n    ", "!t ", "!!int ", "| ", "> ", "\"", "'", "#", "---\n", "...\n", "%", "<<", "\t", "\r\n", "é",
            ]),
            0..40,
        ),
    ) {
        check_answer(&tokens.concat())?;
    }

    #[test]
    fn a_damaged_example_gets_an_answer(cut in any::<prop::sample::Index>(), length in 0..40_usize, new in "\\PC{0,3}|[\n\t {}\\[\\]:,&*!|>'\"%@`-]{0,3}") {
        let before: String = EXAMPLE.chars().take(cut.index(EXAMPLE.len())).collect();
        let after: String = EXAMPLE.chars().skip(before.chars().count() + length).collect();
        check_answer(&format!("{before}{new}{after}"))?;
    }
}
