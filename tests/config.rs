//! The configuration as a file: what the operating system has to say about it, its encoding and its size.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers here are tests as well")]

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use tempfile::{NamedTempFile, TempDir};
use traceflow_exporter::config::{Config, ConfigError};

fn file(content: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    file
}

/// The error without the name of the file.
fn error(path: &Path) -> String {
    let line = Config::load(path).unwrap_err().to_string();
    line.strip_prefix(path.to_str().unwrap()).unwrap_or_else(|| panic!("{line}")).to_owned()
}

#[test]
fn the_example_loads() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.yaml");
    assert_eq!(Config::load(&path).unwrap().targets.len(), 1);
}

#[test]
fn a_missing_file_is_named() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("missing.yaml");
    assert_eq!(error(&path), ": cannot read: No such file or directory (os error 2)");
}

#[test]
fn a_directory_is_no_file() {
    let directory = TempDir::new().unwrap();
    assert_eq!(error(directory.path()), ": cannot read: Is a directory (os error 21)");
}

#[test]
fn a_file_without_permission_is_named() {
    use std::os::unix::fs::PermissionsExt as _;

    let file = file(b"targets: []");
    fs::set_permissions(file.path(), fs::Permissions::from_mode(0o000)).unwrap();
    // A privileged user reads it all the same.
    if fs::read(file.path()).is_err() {
        assert_eq!(error(file.path()), ": cannot read: Permission denied (os error 13)");
    } else {
        assert!(error(file.path()).starts_with(":1:10: targets: nothing to trace; "));
    }
}

#[test]
fn a_file_without_end_is_refused() {
    assert_eq!(error(Path::new("/dev/zero")), ": cannot read: the file is larger than 64 MiB");
}

#[test]
fn an_empty_file_says_so() {
    let allowed = "allowed is a mapping with the keys global, modules, targets, target_files, probe";
    assert_eq!(error(file(b"").path()), format!(":1:1: (root): the file is empty; {allowed}"));
    assert_eq!(error(Path::new("/dev/null")), format!(":1:1: (root): the file is empty; {allowed}"));
}

#[test]
fn bytes_that_are_not_utf_8_have_a_place() {
    for (content, expected) in [
        (&b"\xff"[..], ":1:1: (root): the byte 0xff is not UTF-8; allowed is text in UTF-8"),
        (
            b"global:\n  \xc3\xa9: \xe9\n",
            ":2:6: (root): the byte 0xe9 is not UTF-8; allowed is text in UTF-8",
        ),
        (b"targets: []\n\xc3", ":2:1: (root): the byte 0xc3 is not UTF-8; allowed is text in UTF-8"),
        // UTF-16 begins with a byte order mark that is no UTF-8.
        (b"\xff\xfeg\0", ":1:1: (root): the byte 0xff is not UTF-8; allowed is text in UTF-8"),
    ] {
        assert_eq!(error(file(content).path()), expected);
    }
}

#[test]
fn errors_of_the_content_begin_with_the_name_of_the_file() {
    let file = file(b"\xef\xbb\xbfglobal:\r\n  interval: 0s\r\n");
    assert_eq!(error(file.path()), ":2:13: global.interval: 0s is too short; allowed is 1s to 365d");
    assert!(matches!(Config::load(file.path()), Err(ConfigError::Invalid { line: 2, column: 13, .. })));
}

/// One list of targets with a name and labels each, as a generator would write it.
fn many(count: usize) -> String {
    let mut text = "targets:\n".to_owned();
    for index in 0..count {
        writeln!(
            text,
            "  - name: target-{index}\n    host: host-{index}.example.net\n    labels: {{ site: ams }}"
        )
        .unwrap();
    }
    text
}

/// Generous: what is meant to fail here is what grows with the square of the size.
fn within_seconds<T>(seconds: u64, work: impl FnOnce() -> T) -> T {
    #[allow(clippy::disallowed_methods, reason = "a test of the time that passes")]
    let now = Instant::now;
    let start = now();
    let result = work();
    let passed = now().duration_since(start);
    assert!(passed < Duration::from_secs(seconds), "it took {passed:?}");
    result
}

#[test]
fn a_hundred_thousand_targets_load_in_reasonable_time() {
    let file = file(many(100_000).as_bytes());
    let config = within_seconds(20, || Config::load(file.path())).unwrap();
    assert_eq!(config.targets.len(), 100_000);
}

#[test]
fn an_error_behind_a_hundred_thousand_targets_has_its_place() {
    let file = file(format!("{}  - name: target-7\n    host: h\n", many(100_000)).as_bytes());
    let line = within_seconds(30, || error(file.path()));
    assert_eq!(
        line,
        ":300002:11: targets[100000].name: `target-7` is the name of targets[7] already; allowed is each name once"
    );
}

#[test]
fn a_bomb_of_aliases_is_refused_at_once() {
    let mut bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (this, last) in ('b'..='z').zip('a'..) {
        let aliases = vec![format!("*{last}"); 9].join(", ");
        writeln!(bomb, "{this}: &{this} [{aliases}]").unwrap();
    }
    let line = within_seconds(5, || error(file(bomb.as_bytes()).path()));
    assert!(line.ends_with("aliases repeat too much; allowed is what is written out"), "{line}");
}
