//! What is refused, and in which words.

use super::error;

/// The cases of a table: `LEFT => RIGHT`, with names in braces for what would come again and again.
fn cases(table: &'static str) -> impl Iterator<Item = (&'static str, String)> {
    table.lines().filter(|line| !line.trim().is_empty()).map(|line| {
        let (left, right) = line.split_once("=>").unwrap();
        let right =
            ALLOWED.iter().fold(right.trim().to_owned(), |right, (name, text)| right.replace(name, text));
        (left.trim(), right)
    })
}

const ALLOWED: &[(&str, &str)] = &[
    ("{FILE}", "allowed is a mapping with the keys global, modules, targets, target_files, probe"),
    ("{TARGET}", "allowed is a mapping with the keys name, host, module, interval, labels"),
    ("{YAML}", "allowed is well-formed YAML (text with special characters goes into quotes)"),
    ("{INTERVAL}", "allowed is 1s to 365d"),
    ("{CONFIDENCE}", "allowed is a number between 0 and 1, both excluded, such as 0.95"),
    ("{SOURCE}", "allowed is an IPv4 or IPv6 address of this machine, without zone"),
    ("{INTERFACE}", "allowed is 1 to 15 bytes without space, / and :"),
    ("{MODULE}", "allowed is 1 to 64 of the characters a-z A-Z 0-9 _ - ."),
    ("{NAME}", "allowed is text of 1 to 255 bytes without control characters and without space around it"),
    ("{HOST}", "allowed is a host name or an address, without scheme, port, path, brackets or zone"),
    (
        "{LABEL}",
        "allowed is letters, digits and _, not a digit first, not __ first, and not target, host, address, protocol, strategy, \
         job, instance, module or interval",
    ),
    ("{FILES}", "allowed is a path that ends in .yaml, .yml or .json, with * only behind the last /"),
    ("{ALLOW}", "allowed is a network such as 192.0.2.0/24, an address, a host name, *.example.net or *"),
];

/// The text of each case has its line ends and other characters written as escapes of Rust.
#[test]
fn refuses_the_form() {
    for (text, expected) in cases(
        r#"
                                      => f:1:1: (root): the file is empty; {FILE}
        # nothing\n                   => f:1:1: (root): the file is empty; {FILE}
        ---\n...\n                    => f:1:1: (root): the file is empty; {FILE}
        []                            => f:1:1: (root): found a list; {FILE}
        hello                         => f:1:1: (root): found string "hello"; {FILE}
        {}                            => f:1:1: targets: nothing to trace; allowed is at least one target, or target_files, or probe with enabled: true
        global: {}\ntargets: []       => f:2:10: targets: nothing to trace; allowed is at least one target, or target_files, or probe with enabled: true
        probe: { enabled: false }     => f:1:1: targets: nothing to trace; allowed is at least one target, or target_files, or probe with enabled: true
        targets: [\n                  => f:2:1: (root): not YAML: did not find expected node content, while parsing a flow node; {YAML}
        a: b: c                       => f:1:5: (root): not YAML: mapping values are not allowed in this context; {YAML}
        a:\n  - b: 1\n   c: 1         => f:3:4: (root): not YAML: did not find expected '-' indicator, while parsing a block collection at line 2 column 3; {YAML}
        probe: {}\n---\nprobe: {}\n   => f:3:1: (root): a second document begins; allowed is one document a file
        a: é\u{7}                     => f:1:5: (root): the character U+0007 is not printable; allowed is printable text (in double quotes, escapes such as \u0007)
        targets: *x                   => f:1:10: (root): the alias names no anchor; allowed is an alias of an anchor above it
        targets: &x [*x]              => f:1:10: (root): nested too deeply; allowed is at most 128 levels
        ? [a]\n: 1                    => f:1:3: (root): found a list; allowed is text as a key
        global: !x {}                 => f:1:9: global: found a tag; allowed is a value without a tag
        globl: {}                     => f:1:1: globl: unknown key; allowed are global, modules, targets, target_files, probe
        \u{feff}globl: {}             => f:1:1: globl: unknown key; allowed are global, modules, targets, target_files, probe
        targets: []\r\nglöbl: {}\r\n  => f:2:1: glöbl: unknown key; allowed are global, modules, targets, target_files, probe
        <<: {}                        => f:1:1: <<: unknown key; allowed are global, modules, targets, target_files, probe
        targets: []\ntargets: []      => f:2:1: targets: the key is there twice; allowed is each key once
        targets: {}                   => f:1:10: targets: found a mapping; allowed is a list
        modules: [a]                  => f:1:10: modules: found a list; allowed is a mapping of names to values
        global: 5                     => f:1:9: global: found integer `5`; allowed is a mapping of settings
        "#,
    ) {
        let escapes = [("\\n", "\n"), ("\\r", "\r"), ("\\u{7}", "\u{7}"), ("\\u{feff}", "\u{feff}")];
        let text = escapes.iter().fold(text.to_owned(), |text, (escape, meant)| text.replace(escape, meant));
        assert_eq!(error(&text), expected, "{text:?}");
    }
}

/// The place is the value's.
#[test]
fn refuses_global_settings() {
    for (key, expected) in cases(
        r#"
        interval: 0s                  => interval: 0s is too short; {INTERVAL}
        interval: 999ms               => interval: 999ms is too short; {INTERVAL}
        interval: 366d                => interval: 366d is too long; {INTERVAL}
        interval: 60                  => interval: `60` has no unit; {INTERVAL}
        interval: soon                => interval: `soon` is no duration such as 500ms, 60s or 1m30s; {INTERVAL}
        interval: [1s]                => interval: found a list; {INTERVAL}
        rediscover_interval: 0s       => rediscover_interval: 0s is too short; {INTERVAL}
        max_pps: 0                    => max_pps: 0 is too small; allowed is a whole number from 1 to 1000000
        max_pps: -1                   => max_pps: found integer `-1`; allowed is a whole number from 1 to 1000000
        max_pps: 1.5                  => max_pps: found floating point `1.5`; allowed is a whole number from 1 to 1000000
        max_pps: "5"                  => max_pps: found string "5"; allowed is a whole number from 1 to 1000000
        max_pps: 99999999999999999999 => max_pps: found integer `99999999999999999999`; allowed is a whole number from 1 to 1000000
        max_rounds_in_progress: 0     => max_rounds_in_progress: 0 is too small; allowed is a whole number from 1 to 100000
        reverse_dns: yes              => reverse_dns: found string "yes"; allowed is true or false
        asn_database: ""              => asn_database: `` names no file; allowed is the path of a file
        asn_database: asn/            => asn_database: `asn/` names no file; allowed is the path of a file
        series_per_target: 0          => series_per_target: 0 is too small; allowed is a whole number from 1 to 1000000
        topology_metrics: 1           => topology_metrics: found integer `1`; allowed is true or false
        "#,
    ) {
        let column = 3 + key.find(": ").unwrap() + 2;
        assert_eq!(error(&format!("global:\n  {key}\n")), format!("f:2:{column}: global.{expected}"));
    }
}

/// The place is that of the value of the key which the error names.
#[test]
fn refuses_modules() {
    for (keys, expected) in cases(
        r#"
        protocol: udpp                => protocol: unknown value `udpp`; allowed are udp, icmp, tcp
        protocol: UDP                 => protocol: unknown value `UDP`; allowed are udp, icmp, tcp
        family: ipv4                  => family: unknown value `ipv4`; allowed are any, v4, v6
        strategy: lite                => strategy: unknown value `lite`; allowed are fixed, mda, mda-lite
        confidence: 0                 => confidence: 0 is no confidence; {CONFIDENCE}
        confidence: 1                 => confidence: 1 is no confidence; {CONFIDENCE}
        confidence: .nan              => confidence: NaN is no confidence; {CONFIDENCE}
        confidence: 95%               => confidence: found string "95%"; {CONFIDENCE}
        first_ttl: 0                  => first_ttl: 0 is too small; allowed is a whole number from 1 to 255
        max_ttl: 256                  => max_ttl: 256 is too large; allowed is a whole number from 1 to 255
        first_ttl: 31                 => first_ttl: 31 is above max_ttl, which is 30; allowed is 1 to 30
        first_ttl: 9, max_ttl: 8      => first_ttl: 9 is above max_ttl, which is 8; allowed is 1 to 8
        timeout: 0s                   => timeout: 0s is too short; allowed is 1ms to 1m
        timeout: 61s                  => timeout: 61s is too long; allowed is 1ms to 1m
        attempts: 0                   => attempts: 0 is too small; allowed is a whole number from 1 to 10
        gap_limit: 0                  => gap_limit: 0 is too small; allowed is a whole number from 1 to 255
        max_probes: 0                 => max_probes: 0 is too small; allowed is a whole number from 1 to 10000000
        flows: 0                      => flows: 0 is too small; allowed is a whole number from 1 to 65535
        flows: 32084                  => flows: 32084 flows do not fit in the 32083 ports from source_port 33453 on; allowed is 1 to 32083
        source_port: 65530            => source_port: the 6 ports from 65530 on do not hold 16 flows; allowed is 1 to 65520
        flows: 7, source_port: 65530  => flows: 7 flows do not fit in the 6 ports from source_port 65530 on; allowed is 1 to 6
        flows: 7, source_port: 65530, protocol: icmp => flows: 7 flows do not fit in the 6 ports from source_port 65530 on; allowed is 1 to 6
        source: here                  => source: `here` is no address; {SOURCE}
        source: 224.0.0.1             => source: no packet comes from 224.0.0.1; {SOURCE}
        source: 0.0.0.0               => source: no packet comes from 0.0.0.0; {SOURCE}
        source: fe80::1%eth0          => source: `fe80::1%eth0` is no address; {SOURCE}
        source: "::1", family: v4     => source: ::1 does not fit family v4; allowed is an address of that family, or family: v6
        source: 192.0.2.1, family: v6 => source: 192.0.2.1 does not fit family v6; allowed is an address of that family, or family: v4
        interface: abcdefghijklmnop   => interface: `abcdefghijklmnop` cannot name an interface; {INTERFACE}
        interface: eth0/1             => interface: `eth0/1` cannot name an interface; {INTERFACE}
        interface: ""                 => interface: `` cannot name an interface; {INTERFACE}
        interface: ..                 => interface: `..` cannot name an interface; {INTERFACE}
        source_port: 0                => source_port: 0 is too small; allowed is a whole number from 1 to 65535
        destination_port: 65536       => destination_port: 65536 is too large; allowed is a whole number from 1 to 65535
        tos: 256                      => tos: 256 is too large; allowed is a whole number from 0 to 255
        payload: 1401                 => payload: 1401 is too large; allowed is a whole number from 0 to 1400
        dont_fragment: no             => dont_fragment: found string "no"; allowed is true or false
        pps: 0                        => pps: 0 is too small; allowed is a whole number from 1 to 1000000
        burst: 0                      => burst: 0 is too small; allowed is a whole number from 1 to 100000
        "#,
    ) {
        let (key, _) = expected.split_once(": ").unwrap();
        let column = 12 + keys.find(&format!("{key}: ")).unwrap() + key.len() + 2;
        let text = format!("modules:\n  web.1: {{ {keys} }}\n");
        assert_eq!(error(&text), format!("f:2:{column}: modules.web.1.{expected}"));
    }
    for (text, expected) in cases(
        r#"
        modules: { a: { b: 1 } }         => f:1:17: modules.a.b: unknown key; allowed are protocol, family, strategy, confidence, first_ttl, max_ttl, timeout, attempts, gap_limit, max_probes, flows, source, interface, source_port, destination_port, tos, payload, dont_fragment, pps, burst
        modules: { a: 1 }                => f:1:15: modules.a: found integer `1`; allowed is a mapping of settings
        modules: { a b: {} }             => f:1:12: modules.a b: `a b` cannot name a module; {MODULE}
        modules: { a: {}, a: {} }        => f:1:19: modules.a: the key is there twice; allowed is each key once
        modules: { a: { tos: 1, tos: 1 } } => f:1:25: modules.a.tos: the key is there twice; allowed is each key once
        "#,
    ) {
        assert_eq!(error(text), expected, "{text}");
    }
}

/// Before `=>` the column and the second target, behind it the error from the index on.
#[test]
fn refuses_targets() {
    for (target, expected) in cases(
        r#"
         5 a                                              => [1]: found string "a"; {TARGET}
         5 ~                                              => [1]: found nothing; {TARGET}
         7 { nme: b }                                     => [1].nme: unknown key; allowed are name, host, module, interval, labels
         7 { "n\nm: e": b }                               => [1].n\nm: e: unknown key; allowed are name, host, module, interval, labels
         5 { host: h }                                    => [1].name: the value is missing; {NAME}
        13 { name: ~, host: h }                           => [1].name: the value is missing; {NAME}
         5 { name: b }                                    => [1].host: the value is missing; {HOST}
        13 { name: "", host: h }                          => [1].name: `` cannot name a target; {NAME}
        13 { name: " b", host: h }                        => [1].name: ` b` cannot name a target; {NAME}
        13 { name: .., host: h }                          => [1].name: `..` cannot name a target; {NAME}
        13 { name: "b\nb", host: h }                      => [1].name: `b\nb` cannot name a target; {NAME}
        13 { name: [b], host: h }                         => [1].name: found a list; {NAME}
        13 { name: a, host: h }                           => [1].name: `a` is the name of targets[0] already; allowed is each name once
        16 { name: b, name: c, host: h }                  => [1].name: the key is there twice; allowed is each key once
        22 { name: b, host: "" }                          => [1].host: `` is no host; {HOST}
        22 { name: b, host: "http://h/" }                 => [1].host: `http://h/` is no host; {HOST}
        22 { name: b, host: "h:80" }                      => [1].host: `h:80` is no host; {HOST}
        22 { name: b, host: "[::1]" }                     => [1].host: `[::1]` is no host; {HOST}
        22 { name: b, host: fe80::1%eth0 }                => [1].host: `fe80::1%eth0` is no host; {HOST}
        22 { name: b, host: a..b }                        => [1].host: `a..b` is no host; {HOST}
        22 { name: b, host: -a.b }                        => [1].host: `-a.b` is no host; {HOST}
        22 { name: b, host: 192.0.2.256 }                 => [1].host: `192.0.2.256` ends in a number, yet is no IPv4 address; {HOST}
        22 { name: b, host: 0x7f.1 }                      => [1].host: `0x7f.1` ends in a number, yet is no IPv4 address; {HOST}
        22 { name: b, host: 127.0x1 }                     => [1].host: `127.0x1` ends in a number, yet is no IPv4 address; {HOST}
        22 { name: b, host: é.example }                   => [1].host: `é.example` is not ASCII (international names begin with xn-- here); {HOST}
        33 { name: b, host: h, module: wbe }              => [1].module: there is no module `wbe`; allowed are default, four, near
        33 { name: b, host: h, module: a b }              => [1].module: `a b` cannot name a module; {MODULE}
        22 { name: b, host: "2001:db8::1", module: four } => [1].host: 2001:db8::1 does not fit family v4 of module `four`; allowed is an address of that family, a name, or another module
        22 { name: b, host: "2001:db8::1", module: near } => [1].host: 2001:db8::1 cannot be reached from source 192.0.2.9 of module `near`; allowed is an address of the family of the source, a name, or another module
        35 { name: b, host: h, interval: 0s }             => [1].interval: 0s is too short; {INTERVAL}
        33 { name: b, host: h, labels: [a] }              => [1].labels: found a list; allowed is a mapping of names to values
        38 { name: b, host: h, labels: { x: } }           => [1].labels.x: the value is missing; allowed is text
        38 { name: b, host: h, labels: { x: {} } }        => [1].labels.x: found a mapping; allowed is text
        41 { name: b, host: h, labels: { x: 1, x: 2 } }   => [1].labels.x: the key is there twice; allowed is each key once
        35 { name: b, host: h, labels: { 9x: a } }        => [1].labels.9x: this is no label name; {LABEL}
        35 { name: b, host: h, labels: { a-b: a } }       => [1].labels.a-b: this is no label name; {LABEL}
        35 { name: b, host: h, labels: { é: a } }         => [1].labels.é: this is no label name; {LABEL}
        35 { name: b, host: h, labels: { "": a } }        => [1].labels.: this is no label name; {LABEL}
        35 { name: b, host: h, labels: { "x: invalid value: y, expected z": a } } => [1].labels.x: invalid value: y, expected z: this is no label name; {LABEL}
        35 { name: b, host: h, labels: { module: near } } => [1].labels.module: this key belongs beside `labels`; {LABEL}
        35 { name: b, host: h, labels: { target: x } }    => [1].labels.target: the label name is reserved; {LABEL}
        35 { name: b, host: h, labels: { host: x } }      => [1].labels.host: the label name is reserved; {LABEL}
        35 { name: b, host: h, labels: { address: x } }   => [1].labels.address: the label name is reserved; {LABEL}
        35 { name: b, host: h, labels: { protocol: x } }  => [1].labels.protocol: the label name is reserved; {LABEL}
        35 { name: b, host: h, labels: { strategy: x } }  => [1].labels.strategy: the label name is reserved; {LABEL}
        35 { name: b, host: h, labels: { job: x } }       => [1].labels.job: the label name is reserved; {LABEL}
        35 { name: b, host: h, labels: { instance: x } }  => [1].labels.instance: the label name is reserved; {LABEL}
        35 { name: b, host: h, labels: { __x: x } }       => [1].labels.__x: the label name is reserved; {LABEL}
        "#,
    ) {
        let (column, target) = target.split_once(' ').unwrap();
        let text = format!(
            "modules: {{ four: {{ family: v4 }}, near: {{ source: 192.0.2.9 }} }}\n\
             targets:\n  - {{ name: a, host: h }}\n  - {target}\n"
        );
        assert_eq!(error(&text), format!("f:4:{column}: targets{expected}"), "{target}");
    }
}

#[test]
fn refuses_target_files_and_probe() {
    for (text, expected) in cases(
        r#"
        target_files: a.yaml             => f:1:15: target_files: found string "a.yaml"; allowed is a list
        target_files: [a.txt]            => f:1:16: target_files[0]: `a.txt` names no files of targets; {FILES}
        target_files: [a.yml, .yaml]     => f:1:23: target_files[1]: `.yaml` names no files of targets; {FILES}
        target_files: ["*/a.yml"]        => f:1:16: target_files[0]: `*/a.yml` names no files of targets; {FILES}
        target_files: [~]                => f:1:16: target_files[0]: the value is missing; {FILES}
        probe: true                      => f:1:8: probe: found boolean `true`; allowed is a mapping with the keys enabled, allow
        probe: { alow: 1 }               => f:1:10: probe.alow: unknown key; allowed are enabled, allow
        probe: { enabled: maybe }        => f:1:19: probe.enabled: found string "maybe"; allowed is true or false
        probe: { allow: [192.0.2.1/24] } => f:1:18: probe.allow[0]: `192.0.2.1/24` has bits set behind its prefix (the network is 192.0.2.0/24); {ALLOW}
        probe: { allow: [h, a*b] }       => f:1:21: probe.allow[1]: `a*b` is no host; {ALLOW}
        probe: { allow: [~] }            => f:1:18: probe.allow[0]: the value is missing; {ALLOW}
        "#,
    ) {
        assert_eq!(error(text), expected, "{text}");
    }
}
