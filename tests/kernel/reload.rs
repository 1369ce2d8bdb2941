//! Another configuration while the exporter runs: SIGHUP, `POST /-/reload`, and files of targets that come, change and go.

use std::{fs, thread, time::Duration};

use traceflow_exporter::flow::Family;

use crate::{
    exporter::{ARGUMENTS, Running, get, ready, rounds, scrape, value, wait_for},
    lab::{self, Lab, Options, topology},
    monitor::read,
    traces::PROGRAM,
};

const RELOAD: &str = "http://127.0.0.1:10659/-/reload";
const SUCCESSFUL: &str = "traceflow_config_last_reload_successful";
const LAST_SUCCESS: &str = "traceflow_config_last_reload_success_timestamp_seconds";
const FAILING: &str = "traceflow_target_files_failing";

/// Status and body of a request to reload.
pub(crate) fn post(lab: &Lab, method: &str) -> (String, String) {
    let options = ["--silent", "--max-time", "20", "--request", method, "--write-out", "%{http_code}"];
    let output = lab.command("s", "curl").args(options).arg(RELOAD).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.split_at(text.len() - 3);
    (status.to_owned(), body.to_owned())
}

/// The names of the targets that have series.
fn targets(exposition: &str) -> Vec<&str> {
    let ups = exposition.lines().filter_map(|line| line.strip_prefix("traceflow_target_up{target=\""));
    ups.filter_map(|line| line.split('"').next()).collect()
}

/// The series with the labels of a target.
fn info<'a>(exposition: &'a str, target: &str) -> &'a str {
    let start = format!("traceflow_target_info{{target=\"{target}\",");
    exposition.lines().find(|line| line.starts_with(&start)).unwrap()
}

/// Waits until exactly these targets have series.
fn wait_for_targets(lab: &Lab, exporter: &Running, expected: &[&str]) -> String {
    wait_for(&format!("the targets {expected:?}"), exporter, || {
        scrape(lab).filter(|exposition| targets(exposition) == expected)
    })
}

/// Modules with rounds of two packets which take seconds where nobody answers.
const SLOW: &str = "  slow: { strategy: fixed, flows: 1, max_ttl: 2, timeout: 4s, attempts: 1 }\n  \
                      slow_tcp: { protocol: tcp, strategy: fixed, flows: 1, max_ttl: 2, timeout: 4s, attempts: 1 }\n";

/// Packets to this host go nowhere.
fn swallow(lab: &Lab, host: &str) {
    let route = ["route", "replace", host, "dev", "lo"];
    assert!(lab.command("s", "ip").args(route).status().unwrap().success());
}

#[test]
fn a_reload_changes_what_differs_and_nothing_else() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("diamond4"), Options::routers());
    let host = lab.destination(Family::V4);
    let config = |global: &str, modules: &str, more: &str| {
        format!(
            "global: {{ {global} }}\nmodules:\n{modules}targets:\n  - {{ name: same, host: {host}, interval: 1s }}\n{more}"
        )
    };
    let before = config(
        "interval: 1s",
        "  web: { protocol: tcp, destination_port: 80 }\n",
        &format!(
            "  - {{ name: changed, host: {host}, labels: {{ site: ams }} }}\n\
             \x20 - {{ name: labelled, host: {host}, labels: {{ site: ams }} }}\n\
             \x20 - {{ name: gone, host: 127.0.0.1 }}\n"
        ),
    );
    let exporter = Running::exporter(&lab, &before);
    ready(&lab, &exporter);
    wait_for("three rounds", &exporter, || scrape(&lab).filter(|now| rounds(now, "changed") >= 3.0));
    let first = scrape(&lab).unwrap();
    assert_eq!(targets(&first), ["changed", "gone", "labelled", "same"]);
    assert_eq!(value(&first, SUCCESSFUL), Some(1.0));
    assert!(first.contains("traceflow_node_info{"));

    // With a port that the sockets did not let through before, fewer packets, no topology and a quote in a label.
    let after = config(
        "interval: 1s, max_pps: 4000, max_rounds_in_progress: 2, topology_metrics: false, series_per_target: 60",
        "  web: { protocol: tcp, destination_port: 4443, source_port: 20000 }\n",
        &format!(
            "  - {{ name: changed, host: {host}, module: web, labels: {{ site: \"a \\\"b\\\\c\\nd\" }} }}\n\
             \x20 - {{ name: labelled, host: {host}, labels: {{ rack: 7 }} }}\n\
             \x20 - {{ name: new, host: 127.0.0.1 }}\n\
             \x20 - {{ name: 'q\"\\', host: 127.0.0.1 }}\n"
        ),
    );
    exporter.write("config.yaml", &after);
    assert_eq!(post(&lab, "GET").0, "405");
    assert_eq!(post(&lab, "PUT").0, "405");
    assert_eq!(targets(&scrape(&lab).unwrap()), targets(&first));
    assert_eq!(post(&lab, "POST"), ("200".to_owned(), "reloaded\n".to_owned()));
    let now = scrape(&lab).unwrap();
    assert_eq!(targets(&now), ["changed", "labelled", "new", r"q\", "same"], "at once");
    assert!(now.contains("traceflow_target_up{target=\"q\\\"\\\\\"} "), "a quote and a backslash in a name");
    assert!(!now.contains("target=\"gone\"") && !now.contains("traceflow_node_info{"));
    assert!(info(&now, "labelled").ends_with(",rack=\"7\"} 1"), "{}", info(&now, "labelled"));
    assert!(value(&now, LAST_SUCCESS) > value(&first, LAST_SUCCESS));
    for target in ["same", "changed", "labelled"] {
        assert!(rounds(&now, target) >= rounds(&first, target), "{target}: a counter went back");
    }
    let now = wait_for("the first round with the new module", &exporter, || {
        scrape(&lab).filter(|now| {
            rounds(now, "changed") > rounds(&first, "changed")
                && read(now, "traceflow_target_up", "changed") == 1.0
        })
    });
    let told = info(&now, "changed");
    assert!(told.contains("protocol=\"tcp\"") && told.ends_with(r#",site="a \"b\\c\nd"} 1"#), "{told}");
    assert_eq!(read(&now, "traceflow_paths", "changed"), 4.0, "answers to the new ports are heard");
    for target in ["same", "changed", "labelled"] {
        for metric in ["traceflow_path_changes_total", "traceflow_address_changes_total"] {
            assert_eq!(read(&now, metric, target), 0.0, "{metric} of {target}:\n{}", exporter.log());
        }
    }
    assert!(
        get(&lab, "http://127.0.0.1:10659/-/ready").is_some(),
        "a target that comes is no reason to be unready"
    );
    let log = exporter.log();
    assert_eq!(log.matches("what was known of the route is given up").count(), 1, "{log}");
    assert_eq!(log.matches("the configuration was reloaded").count(), 1, "{log}");
    assert_eq!(exporter.terminate(), Some(0));
}

#[test]
fn a_bad_file_changes_nothing_and_is_told() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("line"), Options::routers());
    let good = "global: { interval: 1s }\ntargets: [{ name: a, host: 127.0.0.1 }]\n";
    let exporter = Running::exporter(&lab, good);
    ready(&lab, &exporter);
    let first = scrape(&lab).unwrap();
    exporter.write("config.yaml", "targets: [{ name: b, hots: 127.0.0.1 }]\n");
    let line =
        "config.yaml:1:22: targets[0].hots: unknown key; allowed are name, host, module, interval, labels";
    assert_eq!(post(&lab, "POST"), ("500".to_owned(), format!("{line}\n")));
    let now = scrape(&lab).unwrap();
    assert_eq!(targets(&now), ["a"]);
    assert_eq!(value(&now, SUCCESSFUL), Some(0.0));
    assert_eq!(value(&now, LAST_SUCCESS), value(&first, LAST_SUCCESS));
    assert!(rounds(&now, "a") >= rounds(&first, "a"));

    exporter.write("config.yaml", &good.replace("name: a", "name: c"));
    exporter.signal("HUP");
    let now = wait_for_targets(&lab, &exporter, &["c"]);
    assert_eq!(value(&now, SUCCESSFUL), Some(1.0));
    fs::remove_file(exporter.own_file("config.yaml")).unwrap();
    exporter.signal("HUP");
    wait_for("the failure", &exporter, || scrape(&lab).filter(|now| value(now, SUCCESSFUL) == Some(0.0)));
    assert_eq!(targets(&scrape(&lab).unwrap()), ["c"]);
    let log = exporter.log();
    let errors: Vec<_> = log.lines().filter(|line| line.contains("level=error")).collect();
    let [bad, missing] = errors[..] else { panic!("{log}") };
    assert!(bad.contains("targets[0].hots: unknown key"), "{bad}");
    assert!(missing.contains("config.yaml: cannot read: No such file or directory"), "{missing}");

    // Several at once are done one after the other, and each is answered.
    exporter.write("config.yaml", good);
    thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|_| scope.spawn(|| post(&lab, "POST").0)).collect();
        for answer in all {
            assert_eq!(answer.join().unwrap(), "200");
        }
    });
    assert_eq!(targets(&scrape(&lab).unwrap()), ["a"]);
    assert_eq!(exporter.log().matches("the configuration was reloaded").count(), 9);
}

/// A round that is in progress ends as it would have, unless its flows are to be asked another way.
#[test]
fn a_round_in_progress_is_cut_only_where_it_has_become_void() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("line"), Options::routers());
    let hosts = ["203.0.113.1", "203.0.113.2", "203.0.113.3"];
    for host in hosts {
        swallow(&lab, host);
    }
    let targets_of = |other: &str, interval: &str| {
        format!(
            "modules:\n{SLOW}targets:\n\
             - {{ name: same, host: {}, module: slow, interval: 1h }}\n\
             - {{ name: later, host: {}, module: slow, interval: {interval} }}\n\
             - {{ name: other, host: {other}, module: slow_tcp, interval: 1h }}\n",
            hosts[0], hosts[1]
        )
    };
    let exporter = Running::exporter(&lab, &targets_of(hosts[2], "1h"));
    let begun = |count: f64| {
        wait_for("rounds in progress", &exporter, || {
            scrape(&lab).filter(|now| value(now, "traceflow_rounds_in_progress") == Some(count))
        })
    };
    let udp = "traceflow_probes_sent_total{protocol=\"udp\",family=\"ipv4\"}";
    wait_for("their packets", &exporter, || scrape(&lab).filter(|now| value(now, udp) == Some(4.0)));
    let first = begun(3.0);
    assert_eq!(["same", "later", "other"].map(|target| rounds(&first, target)), [0.0; 3]);
    exporter.write("config.yaml", &targets_of("127.0.0.1", "2h"));
    assert_eq!(post(&lab, "POST").0, "200");
    // That of the other host is over while the first ones are still in progress.
    let now = wait_for("the round with another host", &exporter, || {
        scrape(&lab).filter(|now| rounds(now, "other") == 1.0)
    });
    assert_eq!(read(&now, "traceflow_target_up", "other"), 1.0);
    assert_eq!(["same", "later"].map(|target| rounds(&now, target)), [0.0; 2], "these go on");
    assert_eq!(value(&now, "traceflow_rounds_in_progress"), Some(2.0));
    let now = wait_for("their ends", &exporter, || {
        scrape(&lab).filter(|now| ["same", "later"].iter().all(|target| rounds(now, target) == 1.0))
    });
    for target in ["same", "later"] {
        let took = read(&now, "traceflow_round_duration_seconds", target);
        assert!(took >= 4.0, "{target}: {took} s is not the whole round");
        assert_eq!(read(&now, "traceflow_rounds_failed_total", target), 0.0, "{}", exporter.log());
    }
    assert_eq!(value(&now, udp), Some(4.0), "no round was begun anew");
    // One that is taken out ends at once.
    exporter.write("config.yaml", &targets_of(hosts[2], "2h"));
    assert_eq!(post(&lab, "POST").0, "200");
    begun(1.0);
    exporter.write("config.yaml", "targets: [{ name: a, host: 127.0.0.1, interval: 1h }]\n");
    assert_eq!(post(&lab, "POST").0, "200");
    assert_eq!(targets(&scrape(&lab).unwrap()), ["a"]);
    begun(0.0);
    thread::sleep(Duration::from_secs(1));
    assert_eq!(targets(&scrape(&lab).unwrap()), ["a"], "it does not come back");
}

#[test]
fn files_of_targets_are_followed_without_a_reload() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("line"), Options::routers());
    let config = "global: { interval: 1s }\nmodules: { web: { protocol: tcp } }\n\
                  target_files: [\"t/*.yaml\", \"t/*.json\"]\n";
    let exporter = Running::exporter(&lab, config);
    ready(&lab, &exporter);
    assert!(exporter.log().contains("there is no such file of targets yet"), "{}", exporter.log());
    let directory = exporter.own_file("t");
    fs::create_dir(&directory).unwrap();
    exporter.write("t/a.yaml", "- targets: [127.0.0.1]\n");
    exporter.write(
        "t/b.json",
        r#"[{"targets": ["localhost"], "labels": {"module": "web", "interval": "2s", "site": "a\"b"}}]"#,
    );
    let now = wait_for_targets(&lab, &exporter, &["127.0.0.1", "localhost"]);
    let told = info(&now, "localhost");
    assert!(told.contains("protocol=\"tcp\",") && told.ends_with(r#",site="a\"b"} 1"#), "{told}");
    let now = wait_for("rounds", &exporter, || {
        scrape(&lab).filter(|now| rounds(now, "127.0.0.1") >= 3.0 && rounds(now, "localhost") >= 1.0)
    });
    assert_eq!(read(&now, "traceflow_target_up", "127.0.0.1"), 1.0);
    let before = rounds(&now, "127.0.0.1");

    exporter.write("t/a.yaml", "- targets: [127.0.0.1, 127.0.0.2]\n");
    let now = wait_for_targets(&lab, &exporter, &["127.0.0.1", "127.0.0.2", "localhost"]);
    assert!(rounds(&now, "127.0.0.1") >= before, "what was there goes on");

    // Half written: nothing changes, and it is told once.
    exporter.write("t/a.yaml", "- targets: [127.0.0.1, 127.0.0.");
    wait_for("the failure", &exporter, || scrape(&lab).filter(|now| value(now, FAILING) == Some(1.0)));
    thread::sleep(Duration::from_secs(3));
    let now = scrape(&lab).unwrap();
    assert_eq!(targets(&now), ["127.0.0.1", "127.0.0.2", "localhost"]);
    assert_eq!(value(&now, SUCCESSFUL), Some(1.0), "that is for the configuration itself");
    let log = exporter.log();
    let errors: Vec<_> = log.lines().filter(|line| line.contains("level=error")).collect();
    assert!(matches!(errors[..], [line] if line.contains("t/a.yaml:2:1: (root): not YAML: ")), "{log}");

    // A name that another file has.
    exporter.write("t/a.yaml", "- targets: [127.0.0.3, localhost]\n");
    wait_for("the refusal", &exporter, || {
        let words =
            "t/a.yaml:1:24: [0].targets[1]: `localhost` is the name of [0].targets[0] in t/b.json already";
        exporter.log().contains(words).then_some(())
    });
    assert_eq!(targets(&scrape(&lab).unwrap()), ["127.0.0.1", "127.0.0.2", "localhost"]);

    // The configuration itself takes a name that a file has.
    exporter.write("config.yaml", &format!("{config}targets: [{{ name: localhost, host: 127.0.0.1 }}]\n"));
    let (status, body) = post(&lab, "POST");
    assert_eq!(status, "500", "{body}");
    let words = "t/b.json:1:15: [0].targets[0]: `localhost` is the name of targets[0] in config.yaml already; allowed is each name once\n";
    assert_eq!(body, words);
    fs::remove_file(directory.join("b.json")).unwrap();
    let now = wait_for_targets(&lab, &exporter, &["127.0.0.3", "localhost"]);
    let told = info(&now, "localhost");
    assert!(told.contains("protocol=\"udp\""), "the file that waited for the name has it: {told}");
    assert_eq!(value(&now, FAILING), Some(0.0));
    exporter.write("config.yaml", config);
    assert_eq!(post(&lab, "POST").0, "200");

    fs::remove_file(directory.join("a.yaml")).unwrap();
    let now = wait_for_targets(&lab, &exporter, &[]);
    assert_eq!(value(&now, "traceflow_rounds_in_progress"), Some(0.0));
    assert_eq!(exporter.terminate(), Some(0));
}

#[test]
fn a_target_that_comes_back_goes_on_from_what_was_kept() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("line"), Options::routers());
    let storage = tempfile::tempdir().unwrap();
    let both =
        "global: { interval: 1s }\ntargets: [{ name: a, host: 127.0.0.1 }, { name: b, host: 127.0.0.1 }]\n";
    let exporter = Running::exporter_keeping(&lab, both, storage.path());
    let now = wait_for("rounds", &exporter, || {
        scrape(&lab).filter(|now| ["a", "b"].iter().all(|t| rounds(now, t) >= 2.0))
    });
    exporter.write("config.yaml", "global: { interval: 1s }\ntargets: [{ name: a, host: 127.0.0.1 }]\n");
    assert_eq!(post(&lab, "POST").0, "200");
    assert_eq!(targets(&scrape(&lab).unwrap()), ["a"]);
    exporter.write("config.yaml", both);
    assert_eq!(post(&lab, "POST").0, "200");
    let after = scrape(&lab).unwrap();
    assert_eq!(targets(&after), ["a", "b"]);
    for target in ["a", "b"] {
        assert!(rounds(&after, target) >= rounds(&now, target), "{target}");
    }
    wait_for("more rounds", &exporter, || scrape(&lab).filter(|now| rounds(now, "b") > rounds(&after, "b")));
}

#[test]
fn a_check_reads_the_files_of_targets_too() {
    let directory = tempfile::tempdir().unwrap();
    let check = || {
        let config = directory.path().join("c.yaml");
        let output = std::process::Command::new(PROGRAM)
            .args(["--config.check", &format!("--config.file={}", config.display())])
            .output()
            .unwrap();
        let own = format!("{}/", directory.path().display());
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(&own, "");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let write = |name: &str, text: &[u8]| fs::write(directory.path().join(name), text).unwrap();
    write("c.yaml", b"target_files: [t.yaml, 't*.json']\n");
    let missing = "c.yaml: ok, 0 targets\n\
                   c.yaml: target_files: there is no file t.yaml yet\n\
                   c.yaml: target_files: there is no file t*.json yet\n";
    assert_eq!(check(), (Some(0), missing.to_owned(), String::new()));
    write("t.yaml", b"- targets: [a, b]\n");
    write("t1.json", b"[{\"targets\": [\"c\"]}]\n");
    assert_eq!(check(), (Some(0), "c.yaml: ok, 3 targets\n".to_owned(), String::new()));
    write("t2.json", b"[{\"targets\": [\"d\", \"a\"]}]\n");
    let (code, out, error) = check();
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert_eq!(
        error,
        "traceflow_exporter: t2.json:1:20: [0].targets[1]: `a` is the name of [0].targets[0] in t.yaml already; allowed is \
         each name once\n"
    );
    write("t2.json", b"[{\"targets\": [\"d\xff\"]}]\n");
    assert_eq!(
        check().2,
        "traceflow_exporter: t2.json:1:17: (root): the byte 0xff is not UTF-8; allowed is text in UTF-8\n"
    );
}

/// What `src/config/tests/refused.rs` has in detail, through the program: one line, exit code 2.
#[test]
fn bad_input_is_refused_in_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (this, last) in ('b'..='z').zip('a'..) {
        bomb += &format!("{this}: &{this} [{}]\n", vec![format!("*{last}"); 9].join(", "));
    }
    let target = |keys: &str| format!("targets: [{{ name: a, host: h, {keys} }}]");
    let module = |keys: &str| format!("modules: {{ m: {{ {keys} }} }}");
    let cases: [(Vec<u8>, &str); 20] = [
        ("globl: {}".into(), ":1:1: globl: unknown key; "),
        (target("modul: x").into(), ":1:31: targets[0].modul: unknown key; "),
        ("targets: {}".into(), ":1:10: targets: found a mapping; "),
        ("global: { max_pps: many }".into(), ":1:20: global.max_pps: found string \"many\"; "),
        ("targets: []".into(), ":1:10: targets: nothing to trace; "),
        ("target_files: []".into(), ":1:1: targets: nothing to trace; "),
        (
            "targets: [{ name: a, host: h }, { name: a, host: i }]".into(),
            ":1:41: targets[1].name: `a` is the name of targets[0] ",
        ),
        (target("interval: 0s").into(), ":1:41: targets[0].interval: 0s is too short; "),
        (
            "targets: [{ name: a, host: '::ffff:192.0.2.1' }]".into(),
            ":1:28: targets[0].host: `::ffff:192.0.2.1` is an IPv4 address in the form of an IPv6 one (write 192.0.2.1); ",
        ),
        (module("first_ttl: 0").into(), ":1:28: modules.m.first_ttl: 0 is too small; "),
        (module("max_ttl: 256").into(), ":1:26: modules.m.max_ttl: 256 is too large; "),
        (module("confidence: 1.0").into(), ":1:29: modules.m.confidence: 1 is no confidence; "),
        (target("labels: { host: x }").into(), ":1:41: targets[0].labels.host: the label name is reserved; "),
        (target("labels: { x: 1, x: 2 }").into(), ":1:47: targets[0].labels.x: the key is there twice; "),
        (
            "targets: [{ name: \"a\\nb\", host: h }]".into(),
            ":1:19: targets[0].name: `a\\nb` cannot name a target; ",
        ),
        ("target_files: ['[.yaml']".into(), ":1:16: target_files[0]: `[.yaml` names no files of targets; "),
        (b"targets: [\xff]".to_vec(), ":1:11: (root): the byte 0xff is not UTF-8; "),
        (b"targets: [\0]".to_vec(), ":1:11: (root): the character U+0000 is not printable; "),
        (bomb.clone().into(), ": aliases repeat too much; "),
        ("[".repeat(100_000).into(), ": nested too deeply; "),
    ];
    let check = |path: &std::path::Path| {
        let output = std::process::Command::new(PROGRAM)
            .args(["--config.check", &format!("--config.file={}", path.display())])
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let path = directory.path().join("c.yaml");
    for (text, expected) in cases {
        fs::write(&path, &text).unwrap();
        let (code, said) = check(&path);
        let line = said.strip_prefix(&format!("traceflow_exporter: {}", path.display()));
        let is_told = line.is_some_and(|line| line.contains(expected) && line.contains("; allowed "));
        let text = String::from_utf8_lossy(&text[..text.len().min(80)]).into_owned();
        assert!(is_told && code == Some(2) && said.lines().count() == 1, "{text}: {said}");
    }
    let (code, said) = check(directory.path());
    assert!(code == Some(2) && said.ends_with(": cannot read: Is a directory (os error 21)\n"), "{said}");
    // The same in a file of targets.
    fs::write(&path, "target_files: [t.yaml]").unwrap();
    for (text, expected) in [
        (bomb.as_str(), "aliases repeat too much"),
        ("- targets: [h", "not YAML"),
        ("{}", "found a mapping"),
        (
            "- { targets: [h], labels: { job: x } }",
            "t.yaml:1:29: [0].labels.job: the label name is reserved; allowed ",
        ),
        ("- targets: ['::ffff:192.0.2.1']", "(write 192.0.2.1); allowed is "),
    ] {
        fs::write(directory.path().join("t.yaml"), text).unwrap();
        let (code, said) = check(&path);
        assert!(code == Some(2) && said.contains(expected) && said.lines().count() == 1, "{said}");
    }
    fs::remove_file(directory.path().join("t.yaml")).unwrap();
    fs::create_dir(directory.path().join("t.yaml")).unwrap();
    let (code, said) = check(&path);
    assert!(code == Some(2) && said.ends_with("/t.yaml: cannot read: this is no file\n"), "{said}");
}

/// The program itself, with as many targets as anyone has: it loads, serves and reloads.
#[test]
fn a_hundred_thousand_targets_are_taken_in() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("line"), Options::routers());
    let config = "{ global: { interval: 1h, max_rounds_in_progress: 1 }, target_files: [many.yaml] }\n";
    let hosts: Vec<_> = (0..100_000).map(|number| format!("h{number}.invalid")).collect();
    let many = format!("- targets: [{}]\n", hosts.join(", "));
    let exporter =
        Running::start(&lab, PROGRAM, &ARGUMENTS, &[("config.yaml", config), ("many.yaml", &many)]);
    // All metrics of them together are hundreds of megabytes.
    let shown = |name: &str| get(&lab, &format!("http://127.0.0.1:10659/api/v1/targets/{name}"));
    wait_for("the last target", &exporter, || shown("h99999.invalid"));
    assert!(exporter.log().contains("targets=100000"), "{}", exporter.log());
    exporter.write("config.yaml", &config.replace("1h", "2h"));
    assert_eq!(post(&lab, "POST").0, "200");
    assert!(shown("h99999.invalid").is_some());
    exporter.write("many.yaml", "- targets: [127.0.0.1]\n");
    wait_for("the only target", &exporter, || shown("127.0.0.1"));
    assert_eq!(targets(&scrape(&lab).unwrap()), ["127.0.0.1"]);
    assert_eq!(exporter.terminate(), Some(0));
}
