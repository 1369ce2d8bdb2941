//! What outlasts the exporter: it is killed, restarted, finds its files damaged and its disk full.

use std::{collections::BTreeMap, fs, path::Path, thread, time::Duration};

use nix::{sys::stat::Mode, unistd::mkfifo};
use serde_json::Value;

use crate::{
    exporter::{ARGUMENTS, Running, ready, rounds, scrape, wait_for},
    lab::{self, Lab, Options, topology},
    monitor::{TARGETS, after_rounds, assert_changes, config, read},
    traces::PROGRAM,
    variables::variable,
};

/// The highest values seen of the counters of targets, buckets of histograms included.
#[derive(Default)]
struct Highest(BTreeMap<String, f64>);

impl Highest {
    /// Takes in a scrape. A counter that is lower than before is a lie.
    fn see(&mut self, exposition: &str, exporter: &Running) {
        let series = exposition.lines().filter(|line| line.contains("{target=\""));
        for (name, value) in series.filter_map(|line| line.rsplit_once(' ')) {
            let metric = name.split('{').next().unwrap();
            if !["_total", "_bucket", "_sum", "_count"].iter().any(|suffix| metric.ends_with(suffix)) {
                continue;
            }
            let value: f64 = value.parse().unwrap();
            let highest = self.0.entry(name.to_owned()).or_insert(value);
            assert!(value >= *highest, "{name} was {highest} and is {value}:\n{}", exporter.log());
            *highest = value;
        }
    }
}

/// The files of a storage, without the lock.
fn files(storage: &Path) -> Vec<String> {
    let entries = fs::read_dir(storage).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name != "lock").collect();
    names.sort();
    names
}

/// `RESTART_KILLS=100` kills it more often, `RESTART_SEED` at other moments.
#[test]
fn kills_take_nothing_back_and_are_no_changes() {
    if lab::skipped() {
        return;
    }
    let mut chance = fastrand::Rng::with_seed(variable("RESTART_SEED", 1));
    let lab = Lab::build(&topology("diamond4"), Options::routers());
    let storage = tempfile::tempdir().unwrap();
    let mut highest = Highest::default();
    for kill in 1..=variable("RESTART_KILLS", 10) {
        let exporter = Running::exporter_keeping(&lab, &config(&lab), storage.path());
        let exposition = wait_for("a scrape", &exporter, || scrape(&lab));
        // Counters of targets are there at once, those of hops with the first round.
        for target in TARGETS {
            let bound = highest.0.get(&format!("traceflow_rounds_total{{target=\"{target}\"}}"));
            assert!(rounds(&exposition, target) >= *bound.unwrap_or(&0.0), "{target}, before kill {kill}");
        }
        highest.see(&exposition, &exporter);
        for _ in 0..chance.u32(..40) {
            highest.see(&scrape(&lab).unwrap(), &exporter);
            thread::sleep(Duration::from_millis(chance.u64(..100)));
        }
        assert_changes(&scrape(&lab).unwrap(), 0.0, &exporter);
        assert!(!exporter.log().contains("put aside"), "{}", exporter.log());
        // Dropping it kills it.
    }
    let exporter = Running::exporter_keeping(&lab, &config(&lab), storage.path());
    let exposition = after_rounds(&lab, &exporter, 2.0);
    highest.see(&exposition, &exporter);
    assert_changes(&exposition, 0.0, &exporter);
    for target in TARGETS {
        assert_eq!(read(&exposition, "traceflow_flow_moves_total", target), 0.0, "{}", exporter.log());
        assert_eq!(read(&exposition, "traceflow_paths", target), 4.0, "{target}");
    }
    assert_eq!(exporter.terminate(), Some(0));
    assert_eq!(files(storage.path()), ["v4.state", "v6.state"]);
}

#[test]
fn changes_while_it_is_down_are_told_when_it_is_back() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("diamond4"), Options::routers());
    let storage = tempfile::tempdir().unwrap();
    let start = || Running::exporter_keeping(&lab, &config(&lab), storage.path());
    let exporter = start();
    assert_changes(&after_rounds(&lab, &exporter, 4.0), 0.0, &exporter);
    drop(exporter);
    lab.replace_next_hops("r1", &["a1", "b1", "c1"]);

    let exporter = start();
    ready(&lab, &exporter);
    assert_changes(&scrape(&lab).unwrap(), 1.0, &exporter);
    assert_changes(&after_rounds(&lab, &exporter, 3.0), 1.0, &exporter);
    assert_eq!(exporter.terminate(), Some(0));
    lab.replace_next_hops("r1", &["a1", "b1", "c1", "e1"]);

    let exporter = start();
    ready(&lab, &exporter);
    assert_changes(&scrape(&lab).unwrap(), 2.0, &exporter);
    let exposition = after_rounds(&lab, &exporter, 3.0);
    assert_changes(&exposition, 2.0, &exporter);
    for target in TARGETS {
        assert_eq!(read(&exposition, "traceflow_paths", target), 4.0, "{target}");
    }
}

#[test]
fn a_storage_in_use_is_refused_and_a_damaged_state_is_put_aside() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("line"), Options::routers());
    let storage = tempfile::tempdir().unwrap();
    let exporter = Running::exporter_keeping(&lab, &config(&lab), storage.path());
    after_rounds(&lab, &exporter, 1.0);
    let options = [
        format!("--config.file={}", exporter.own_file("config.yaml").display()),
        "--web.listen-address=127.0.0.1:10660".to_owned(),
        format!("--storage.path={}", storage.path().display()),
    ];
    let second = lab.command("s", PROGRAM).args(options).output().unwrap();
    let said = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains("belongs to another traceflow_exporter"), "{said}");
    // Besides the log, which warns of the way to this configuration.
    assert_eq!(said.lines().filter(|line| !line.starts_with("ts=")).count(), 1, "{said}");
    drop(exporter);

    let file = storage.path().join("v4.state");
    let content = fs::read(&file).unwrap();
    let damaged = &content[..content.len() / 2];
    fs::write(&file, damaged).unwrap();
    let exporter = Running::exporter_keeping(&lab, &config(&lab), storage.path());
    let exposition = after_rounds(&lab, &exporter, 1.0);
    assert!(rounds(&exposition, "v6") > rounds(&exposition, "v4"), "one begins anew, the other goes on");
    let log = exporter.log();
    let told: Vec<_> = log.lines().filter(|line| line.contains("put aside")).collect();
    assert!(matches!(*told, [line] if line.contains("v4.state") && line.contains("checksum")), "{log}");
    assert_eq!(fs::read(storage.path().join("v4.state.damaged-1")).unwrap(), damaged);
    drop(exporter);
    let exporter = Running::exporter_keeping(&lab, &config(&lab), storage.path());
    assert!(rounds(&wait_for("a scrape", &exporter, || scrape(&lab)), "v4") >= 1.0);
    // Besides the one that it may be writing.
    let files: Vec<_> = files(storage.path()).into_iter().filter(|name| !name.ends_with(".tmp")).collect();
    assert_eq!(files, ["v4.state", "v4.state.damaged-1", "v6.state"]);
}

/// How many rounds of a target a storage knows.
fn kept_rounds(storage: &Path, target: &str) -> f64 {
    let content = fs::read_to_string(storage.join(format!("{target}.state"))).unwrap();
    let body: Value = serde_json::from_str(content.split_once('\n').unwrap().1).unwrap();
    body["state"]["counters"]["rounds"].as_f64().unwrap()
}

#[test]
fn nothing_is_shown_that_is_not_kept_and_nobody_waits_for_the_disk_of_others() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("line"), Options::routers());
    let storage = tempfile::tempdir().unwrap();
    let config = config(&lab).replace("interval: 1s", "interval: 1s, max_rounds_in_progress: 1");
    let exporter = Running::exporter_keeping(&lab, &config, storage.path());
    after_rounds(&lab, &exporter, 2.0);
    // A pipe that nobody reads is a disk that hangs.
    let pipe = storage.path().join("v4.state.tmp");
    wait_for("a moment in which nothing is written", &exporter, || mkfifo(&pipe, Mode::S_IRWXU).ok());
    let after_others = |count: f64| {
        let before = rounds(&scrape(&lab).unwrap(), "v6");
        wait_for("rounds of the other target", &exporter, || {
            scrape(&lab).filter(|now| rounds(now, "v6") >= before + count)
        })
    };
    after_others(3.0);
    for _ in 0..3 {
        let exposition = after_others(1.0);
        assert_eq!(rounds(&exposition, "v4"), kept_rounds(storage.path(), "v4"), "{}", exporter.log());
    }
    let hanging = rounds(&scrape(&lab).unwrap(), "v4");
    assert_eq!(kept_rounds(storage.path(), "v4"), hanging);
    // What was not kept is shown all the same once that is known to have failed: a pipe cannot be synchronised.
    assert!(fs::read(&pipe).unwrap().starts_with(b"traceflow_exporter state "));
    let exposition = after_rounds(&lab, &exporter, 2.0);
    assert!(rounds(&exposition, "v4") > hanging);
    assert!(exporter.log().contains("no longer: the state is not kept"), "{}", exporter.log());
}

#[test]
fn a_full_disk_stops_no_round_and_is_told() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("line"), Options::routers());
    // In a mount namespace of its own, the small disk is this process's alone.
    let script = "mkdir state && mount -t tmpfs -o size=1m tmpfs state && exec \"$0\" \"$@\"";
    let options = [&ARGUMENTS[..], &["--storage.path=state"]].concat();
    let arguments = [&["--mount", "sh", "-e", "-c", script, PROGRAM][..], &options].concat();
    let exporter = Running::start(&lab, "unshare", &arguments, &[("config.yaml", &config(&lab))]);
    after_rounds(&lab, &exporter, 1.0);
    let told = |text: &str| exporter.log().matches(text).count();
    let (begins, ends) = ("message=\"the state is not kept", "message=\"no longer: the state is not kept");
    assert_eq!([begins, ends].map(told), [0, 0]);

    let filler = exporter.own_file("state/filler");
    assert_eq!(fs::write(&filler, vec![0; 2 << 20]).unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    after_rounds(&lab, &exporter, 3.0);
    assert_eq!([begins, ends].map(told), [TARGETS.len(), 0], "{}", exporter.log());
    assert!(exporter.log().contains("cannot write state/v4.state"), "{}", exporter.log());

    fs::remove_file(filler).unwrap();
    after_rounds(&lab, &exporter, 2.0);
    assert_eq!([begins, ends].map(told), [TARGETS.len(); 2], "{}", exporter.log());
    assert_eq!(exporter.terminate(), Some(0));
}
