//! Each format of `trace --format`, made from fixed routes and held against committed files: `goldens/ROUTE.FORMAT`.
//!
//! `make pictures` writes the files anew in place of comparing them; `git diff` then shows what became of them.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test says what is wrong by panicking, its helpers too"
)]

mod routes;

use std::{
    env, fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
};

use traceflow_exporter::render::{self, Report, TableOptions};

use crate::routes::{ROUTES, Route};

/// 2026-01-02T03:04:05.678Z
const STARTED: jiff::Timestamp = jiff::Timestamp::constant(1_767_323_045, 678_000_000);

/// A format by the ending of its files. Terminals of 80 and 200 columns have their own.
fn shown(format: &str, report: &Report<'_>) -> String {
    let plain = TableOptions { dedup: true, ..TableOptions::default() };
    match format {
        "table.txt" => render::table(report, plain),
        "table80.txt" => render::table(report, TableOptions { width: Some(80), ..plain }),
        "colour.txt" => render::table(report, TableOptions { width: Some(200), colour: true, ..plain }),
        "wide.txt" => render::wide(report, plain),
        "wide80.txt" => render::wide(report, TableOptions { width: Some(80), ..plain }),
        "json" => render::json(report),
        "dot" => render::dot(report),
        "mmd" => render::mermaid(report),
        "vis.json" => render::vis(report),
        "svg" => render::svg(report),
        "html" => render::html(report),
        other => panic!("unknown format {other}"),
    }
}

#[test]
fn formats_look_as_they_did() {
    let update = env::var_os("UPDATE_GOLDENS").is_some();
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pictures/goldens");
    let mut wrong = Vec::new();
    for Route { name, formats, .. } in &ROUTES {
        let trace = routes::trace(name);
        let report = Report { host: "www.example.net", started: STARTED, trace: &trace };
        for format in *formats {
            let path = directory.join(format!("{name}.{format}"));
            let found = shown(format, &report);
            if update {
                fs::write(&path, &found).unwrap();
            } else if fs::read_to_string(&path).ok().as_deref() != Some(&found) {
                let now = env::temp_dir().join(format!("{name}.{format}"));
                fs::write(&now, &found).unwrap();
                wrong.push(format!("diff {} {}", path.display(), now.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "these differ; see `make pictures`\n{}", wrong.join("\n"));
}

/// The example with which the README begins is what comes of such a network, but for how long it took.
#[test]
fn the_example_of_the_readme_is_true() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, example) =
        readme.split_once("    $ traceflow_exporter trace --paths 32 --dedup 10.0.0.8\n").unwrap();
    let lines = example.lines().take_while(|line| !line.starts_with("    $ "));
    let told: Vec<_> = lines.map(timeless).collect();
    let trace = routes::trace("detour");
    let shown = shown("table.txt", &Report { host: "10.0.0.8", started: STARTED, trace: &trace });
    let shown: Vec<_> = shown.lines().map(timeless).collect();
    assert_eq!(told.join("\n").trim_end(), shown.join("\n"));
}

/// The words of a line, without times.
fn timeless(line: &str) -> String {
    let words: Vec<_> = line.split_whitespace().collect();
    let is_time = |place: usize| words.get(place + 1).is_some_and(|next| ["ms", "s"].contains(next));
    let words = words.iter().enumerate().map(|(place, word)| if is_time(place) { "0" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

/// Graphviz draws every node and every edge.
#[test]
fn graphviz_draws_the_graphs() {
    for Route { name, formats, .. } in ROUTES.iter().filter(|route| route.formats.contains(&"dot")) {
        let trace = routes::trace(name);
        let text = shown("dot", &Report { host: "a\"b\\", started: STARTED, trace: &trace });
        let mut dot = Command::new("dot")
            .arg("-Tsvg")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("dot, which scripts/install-test-tools installs");
        dot.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let drawn = dot.wait_with_output().unwrap();
        let complaint = String::from_utf8_lossy(&drawn.stderr);
        assert!(drawn.status.success() && complaint.is_empty(), "{name}: {complaint} {formats:?}");
        let drawn = String::from_utf8_lossy(&drawn.stdout);
        let count = |class: &str| drawn.matches(&format!("class=\"{class}\"")).count();
        // The source is a node too, and linked to the nodes of the first hop.
        assert_eq!(count("node"), trace.route.node_count() + 1, "{name}");
        assert_eq!(count("edge"), trace.route.links.len() + trace.route.hops[0].nodes.len(), "{name}");
    }
}
