//! What `trace` prints to people: formats, files, progress on a terminal, and what Ctrl-C leaves; and `compare`.

use std::{
    fs,
    io::{Read, Write},
    process::{Command, Output, Stdio},
};

use traceflow_exporter::flow::Family;

use crate::{
    lab::{self, Lab, Options, topology},
    names::{NameServer, SERVER},
    traces::PROGRAM,
};

fn run(lab: &Lab, arguments: &[&str]) -> Output {
    lab.command("s", PROGRAM).args(arguments).output().unwrap()
}

#[test]
fn every_format_is_printed_and_nothing_else() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("unequal"), Options::routers());
    let destination = lab.destination(Family::V4).to_string();
    let cases = [
        ("table", "2 paths, "),
        ("wide", "2 paths, "),
        ("json", "{\n  \"version\": 1,"),
        ("dot", "digraph route {"),
        ("mermaid", "flowchart LR\n"),
        ("svg", "<?xml "),
        ("html", "<!DOCTYPE html>"),
        ("vis", "{\n  \"nodes\": ["),
    ];
    for (format, beginning) in cases {
        let output = run(&lab, &["trace", "--seed", "1", "--format", format, &destination]);
        let (text, complaint) = (String::from_utf8(output.stdout).unwrap(), output.stderr);
        assert!(output.status.success() && complaint.is_empty(), "{format}: {complaint:?}");
        assert!(text.starts_with(beginning) && text.contains(&destination), "{format}: {text}");
        assert!(!text.contains('\u{1b}'), "{format}: no colours in a pipe");
    }
}

/// A discovery asks most flows at a few hops only; the table has a row a path nevertheless.
#[test]
fn the_default_table_has_a_row_a_path() {
    if lab::skipped() {
        return;
    }
    let detour = "s -> r1\nr1 -> a1 -> r2\nr1 -> b1 -> b2 -> r2\nr2 -> r3 -> d".parse().unwrap();
    for (topology, paths) in [(detour, 2), (topology("diamond4"), 4), (topology("unequal"), 2)] {
        let lab = Lab::build(&topology, Options::routers());
        let destination = lab.destination(Family::V4).to_string();
        for seed in ["1", "2"] {
            let output = run(&lab, &["trace", "--seed", seed, &destination]);
            let table = String::from_utf8(output.stdout).unwrap();
            assert!(table.starts_with(&format!("{paths} paths, ")), "{table}");
            // Below the heading a row begins with its number of flows, and none is without its first hop.
            let rows = table.lines().skip(3).filter(|line| {
                line.len() > 5 && line.get(..5).is_some_and(|flows| flows.trim().parse::<u32>().is_ok())
            });
            let rows: Vec<_> = rows.collect();
            assert_eq!(rows.len(), paths, "{table}");
            assert!(rows.iter().all(|row| row.get(7..8).is_some_and(|first| first != " ")), "{table}");
        }
    }
}

/// Types Ctrl-C into a terminal as soon as the line of progress tells of the third hop.
#[test]
fn progress_is_shown_on_a_terminal_and_an_interrupt_prints_what_is_known() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("blackhole"), Options::routers());
    let trace = format!("{PROGRAM} trace --strategy fixed --wait 60s {}", lab.destination(Family::V4));
    let mut command = lab.command("s", "script");
    command.args(["-qefc", &trace, "/dev/null"]);
    let (code, shown) = interrupt(command, "3 nodes found up to hop 3");
    assert_eq!(code, Some(130), "{shown}");
    assert!(shown.contains("destination not reached (interrupted)"), "{shown}");
    let last = lab.address("r3", Family::V4).to_string();
    let table = shown.rsplit("interrupted").next().unwrap();
    assert!(table.contains(&last), "the table has what was found: {shown}");
}

/// Types Ctrl-C into a terminal as soon as it shows these words; the exit code, and all that was shown.
fn interrupt(mut command: Command, words: &str) -> (Option<i32>, String) {
    let mut terminal =
        command.env("TERM", "xterm").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut shown = Vec::new();
    let mut screen = terminal.stdout.take().unwrap();
    let mut is_interrupted = false;
    loop {
        let mut chunk = [0; 4096];
        let count = screen.read(&mut chunk).unwrap();
        if count == 0 {
            break;
        }
        shown.extend_from_slice(&chunk[..count]);
        if !is_interrupted && String::from_utf8_lossy(&shown).contains(words) {
            terminal.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
            is_interrupted = true;
        }
    }
    let shown = String::from_utf8_lossy(&shown).into_owned();
    assert!(is_interrupted, "{shown}");
    (terminal.wait().unwrap().code(), shown)
}

/// Ctrl-C ends the looking up of names as it ends the trace.
#[test]
fn an_interrupt_does_not_wait_for_names() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&"s -> r1 -> d".parse().unwrap(), Options::routers());
    let _server = NameServer::start(&lab, None);
    let mut command = lab.command("s", "unshare");
    let resolver = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("resolv.conf");
    fs::write(&path, format!("nameserver {SERVER}\n")).unwrap();
    let trace = format!("{PROGRAM} trace --resolve {}", lab.destination(Family::V4));
    command.args(["--mount", "sh", "-c", resolver]).arg(&path).args(["script", "-qefc", &trace, "/dev/null"]);
    let (code, shown) = interrupt(command, "looking up names");
    assert_eq!(code, Some(130), "{shown}");
    assert!(shown.contains("1 path, 2 hops, "), "what is known is printed: {shown}");
}

#[test]
fn a_maintenance_is_seen_by_comparing() {
    if lab::skipped() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (before, again, after) = (path("before.json"), path("again.json"), path("after.json"));
    let save = |topology: &str, path: &str| {
        let lab = Lab::build(&topology.parse().unwrap(), Options::routers());
        let destination = lab.destination(Family::V4).to_string();
        let output = run(&lab, &["trace", "--seed", "1", "--format", "json", "--output", path, &destination]);
        assert!(output.status.success() && output.stdout.is_empty());
    };
    save("s -> r1\nr1 -> a b -> x\nx -> d", &before);
    save("s -> r1\nr1 -> a b -> x\nx -> d", &again);
    // The second branch is taken out of service.
    save("s -> r1\nr1 -> a -> x\nx -> d", &after);
    let compare = |one: &str, other: &str| {
        let output = Command::new(PROGRAM).args(["compare", one, other]).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, told, _) = compare(&before, &again);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("\nsame route; "), "{told}");
    let (code, told, complaint) = compare(&before, &after);
    assert_eq!((code, complaint.as_str()), (Some(3), ""), "{told}");
    assert!(told.contains("\ndifferent: 1 node went") && told.contains("\nlink went     hop 1, "), "{told}");
    fs::write(&again, "{}").unwrap();
    let (code, told, complaint) = compare(&before, &again);
    assert_eq!((code, told.as_str()), (Some(1), ""));
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
    assert_eq!(compare(&before, "--no-such").0, Some(2));
}
