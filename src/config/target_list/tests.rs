use std::time::Duration;

use super::*;

const CONFIG: &str = "
global: { interval: 2m }
modules: { web: { protocol: tcp }, four: { family: v4 } }
targets: [{ name: a, host: h }, { name: b.example, host: h }]
";

fn config() -> Config {
    Config::parse("config.yaml", CONFIG).unwrap()
}

/// The error of a file, without its name.
fn error(file_name: &str, text: &str) -> String {
    match TargetList::parse(file_name, text, &config()) {
        Err(error) => error.to_string().strip_prefix(file_name).unwrap().to_owned(),
        Ok(list) => format!("accepted: {list:?}"),
    }
}

#[test]
fn groups_have_hosts_and_labels() {
    let yaml = r#"
- targets: [www.example.net, 192.0.2.1, "2001:DB8::1"]
- targets: [c]
  labels: { module: web, interval: 30s, site: ams, rack: 1.10 }
- targets: []
- { targets: [d], labels: }
"#;
    let json = r#"[
	{ "targets": ["www.example.net", "192.0.2.1", "2001:DB8::1"] },
	{ "targets": ["c"], "labels": { "module": "web", "interval": "30s", "site": "ams", "rack": "1.10" } },
	{ "targets": [] },
	{ "targets": ["d"], "labels": {} }
]"#;
    for (file_name, text) in [("t.yaml", yaml), ("t.yml", json), ("t.json", json)] {
        let list = TargetList::parse(file_name, text, &config()).unwrap();
        let names: Vec<_> = list.targets().iter().map(|target| target.name.as_str()).collect();
        assert_eq!(names, ["www.example.net", "192.0.2.1", "2001:DB8::1", "c", "d"], "{file_name}");
        let hosts: Vec<_> = list.targets().iter().map(|target| target.host.to_string()).collect();
        assert_eq!(hosts, ["www.example.net", "192.0.2.1", "2001:db8::1", "c", "d"], "{file_name}");
        let [first, .., labelled, _] = list.targets() else { panic!("{list:?}") };
        assert_eq!((first.interval, first.module_name.as_str()), (Duration::from_secs(120), "default"));
        assert_eq!((labelled.interval, labelled.module_name.as_str()), (Duration::from_secs(30), "web"));
        assert_eq!(labelled.module, config().modules[&labelled.module_name]);
        let labels: Vec<_> = labelled.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(labels, ["rack=1.10", "site=ams"], "{file_name}");
    }
    assert!(TargetList::parse("t.json", "[]", &config()).unwrap().targets().is_empty());
}

#[test]
fn json_may_write_characters_as_escapes() {
    let text =
        r#"[{"targets": ["h"], "labels": {"x": "\\ud83d\ude00 \ud83d\ude00\/\u00e9\\ud83d\\\" \ud83dx"}}]"#;
    assert_eq!(
        join_surrogates(text),
        r#"[{"targets": ["h"], "labels": {"x": "\\ud83d\ude00 \U0001f600\/\u00e9\\ud83d\\\" \ud83dx"}}]"#
    );
    let text = r#"[{"targets": ["h"], "labels": {"x": "\ud83d\ude00\/\u00e9\n\"\\"}}]"#;
    let list = TargetList::parse("t.json", text, &config()).unwrap();
    assert_eq!(list.targets()[0].labels["x"], "😀/é\n\"\\");
}

#[test]
fn what_is_wrong_has_its_place() {
    const HOST: &str = "allowed is a host name or an address, without scheme, port, path, brackets or zone";
    const LABEL: &str = "allowed is module, interval, or letters, digits and _, not a digit first, not __ first, and not target, \
                         host, address, protocol, strategy, job or instance";
    const LIST: &str = "allowed is a list of mappings with the keys targets, labels";
    let labels = |labels: &str| format!("- targets: [h]\n  labels: {{ {labels} }}\n");
    let deep = "[".repeat(200);
    let balanced = deep.clone() + &"]".repeat(200);
    let cases = [
        (String::new(), format!(":1:1: (root): the file is empty; {LIST}")),
        ("# to come\n".into(), format!(":1:1: (root): the file is empty; {LIST}")),
        ("~".into(), format!(":1:1: (root): the file is empty; {LIST}")),
        ("targets: [h]".into(), ":1:1: (root): found a mapping; allowed is a list".into()),
        ("- h".into(), ":1:3: [0]: found string \"h\"; allowed is a mapping with the keys targets, labels".into()),
        ("- { target: [h] }".into(), ":1:5: [0].target: unknown key; allowed are targets, labels".into()),
        ("- labels: {}".into(), ":1:3: [0].targets: the value is missing; allowed is a list of hosts".into()),
        ("- targets: h".into(), ":1:12: [0].targets: found string \"h\"; allowed is a list".into()),
        ("- targets: [h, ~]".into(), format!(":1:16: [0].targets[1]: the value is missing; {HOST}")),
        ("- targets: [h, [i]]".into(), format!(":1:16: [0].targets[1]: found a list; {HOST}")),
        ("- targets: ['h:80']".into(), format!(":1:13: [0].targets[0]: `h:80` is no host; {HOST}")),
        ("- targets: [\"h\\ni\"]".into(), format!(":1:13: [0].targets[0]: `h\\ni` is no host; {HOST}")),
        (
            "- targets: [h]\n- targets: [i, h]".into(),
            ":2:16: [1].targets[1]: `h` is the name of [0].targets[0] already; allowed is each name once".into(),
        ),
        ("- targets: [h\n".into(), ":2:1: (root): not YAML: did not find expected ',' or ']', while parsing a flow sequence at line 1 column 12; allowed is well-formed YAML (text with special characters goes into quotes)".into()),
        ("- targets: *h".into(), ":1:12: (root): the alias names no anchor; allowed is an alias of an anchor above it".into()),
        (deep, ":1:129: (root): nested too deeply; allowed is at most 128 levels".into()),
        (labels("module: wbe"), ":2:21: [0].labels.module: there is no module `wbe`; allowed are default, four, web".into()),
        (labels("module: a b"), ":2:21: [0].labels.module: `a b` cannot name a module; allowed is 1 to 64 of the characters a-z A-Z 0-9 _ - .".into()),
        (labels("module: ~"), ":2:21: [0].labels.module: the value is missing; allowed is text".into()),
        (labels("interval: 0s"), ":2:23: [0].labels.interval: 0s is too short; allowed is 1s to 365d".into()),
        (labels("interval: 30"), ":2:23: [0].labels.interval: `30` has no unit; allowed is 1s to 365d".into()),
        (labels("x: {}"), ":2:16: [0].labels.x: found a mapping; allowed is text".into()),
        (labels("x: 1, x: 2"), ":2:19: [0].labels.x: the key is there twice; allowed is each key once".into()),
        (labels("a-b: 1"), format!(":2:13: [0].labels.a-b: this is no label name; {LABEL}")),
        (labels("__address__: h"), format!(":2:13: [0].labels.__address__: the label name is reserved; {LABEL}")),
        (labels("target: x"), format!(":2:13: [0].labels.target: the label name is reserved; {LABEL}")),
        (labels("job: x"), format!(":2:13: [0].labels.job: the label name is reserved; {LABEL}")),
        (
            "- targets: ['2001:db8::1']\n  labels: { module: four }".into(),
            ":1:13: [0].targets[0]: 2001:db8::1 does not fit family v4 of module `four`; allowed is an address of that family, a \
             name, or another module"
                .into(),
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(error("t.yaml", &text), expected, "{text}");
    }
    for (text, expected) in [
        ("", format!(":1:1: (root): the file is empty; {LIST}")),
        (" \n", format!(":1:1: (root): the file is empty; {LIST}")),
        ("null", format!(":1:1: (root): the file is empty; {LIST}")),
        ("- targets: [h]", ":1:2: (root): not JSON: invalid number; allowed is well-formed JSON".into()),
        (
            "[\n {\"targets\": [\"h\"",
            ":2:17: (root): not JSON: EOF while parsing a list; allowed is well-formed JSON".into(),
        ),
        ("[\"é\", x]", ":1:7: (root): not JSON: expected value; allowed is well-formed JSON".into()),
        (&balanced, ":1:129: (root): nested too deeply; allowed is at most 128 levels".into()),
        (
            "[{\"targets\": [\"h\"], \"labels\": {\"job\": \"x\"}}]",
            format!(":1:32: [0].labels.job: the label name is reserved; {LABEL}"),
        ),
        (
            "[{\"targets\": [1.5]}]",
            format!(":1:15: [0].targets[0]: `1.5` ends in a number, yet is no IPv4 address; {HOST}"),
        ),
    ] {
        assert_eq!(error("t.json", text), expected, "{text}");
    }
}

#[test]
fn a_name_that_is_taken_has_both_places() {
    let mut taken = Taken::by_config("config.yaml", &config());
    let list = |file_name: &str, text: &str| TargetList::parse(file_name, text, &config()).unwrap();
    taken.claim(&list("one.yaml", "- targets: [c]\n- targets: [d, e]\n")).unwrap();
    for (file_name, text, expected) in [
        (
            "two.yaml",
            "- targets: [f, b.example]",
            "two.yaml:1:16: [0].targets[1]: `b.example` is the name of targets[1] in config.yaml already; allowed is each name once",
        ),
        (
            "two.yaml",
            "- targets: [f]\n- targets: [g, e]",
            "two.yaml:2:16: [1].targets[1]: `e` is the name of [1].targets[1] in one.yaml already; allowed is each name once",
        ),
    ] {
        assert_eq!(taken.claim(&list(file_name, text)).unwrap_err().to_string(), expected);
    }
    taken.claim(&list("three.yaml", "- targets: [f, g]")).expect("a file that was refused has no names");
}
