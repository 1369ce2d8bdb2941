//! What GitHub does for this project: workflows and updates by their schemas, their scripts by shellcheck, and that all is pinned. And what
//! `cargo deny` says of licences and sources.

use std::{fs, process::Command};

use serde_json::Value;

use crate::{path, read, succeed, tool, yaml};

const WORKFLOWS: [&str; 2] = [".github/workflows/ci.yaml", ".github/workflows/release.yaml"];

/// All steps of a workflow.
fn steps(workflow: &str) -> Vec<Value> {
    let jobs = yaml(&read(workflow))["jobs"].clone();
    jobs.as_object().unwrap().values().flat_map(|job| job["steps"].as_array().unwrap().clone()).collect()
}

#[test]
fn workflows_have_the_shape_that_they_must_have() {
    let there = fs::read_dir(path(".github/workflows")).unwrap().count();
    assert_eq!(there, WORKFLOWS.len(), "all of them are checked");
    succeed(tool("check-jsonschema").args(["--builtin-schema", "vendor.github-workflows"]).args(WORKFLOWS));
    succeed(tool("check-jsonschema").args([
        "--builtin-schema",
        "vendor.dependabot",
        ".github/dependabot.yml",
    ]));
}

/// A tag can be moved to other code, a commit cannot.
#[test]
fn every_action_is_pinned_to_a_commit() {
    for workflow in WORKFLOWS {
        let text = read(workflow);
        let uses: Vec<_> =
            text.lines().filter_map(|line| line.split_once("uses: ")).map(|(_, action)| action).collect();
        assert!(!uses.is_empty(), "{workflow}");
        for action in uses {
            let (name, version) =
                action.split_once(" # v").unwrap_or_else(|| panic!("{action} has no version beside it"));
            let commit = name.split_once('@').unwrap().1;
            assert!(commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()), "{action}");
            assert!(version.split('.').count() == 3, "{action}");
        }
    }
}

#[test]
fn scripts_of_workflows_are_sound() {
    let directory = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for step in WORKFLOWS.iter().flat_map(|workflow| steps(workflow)) {
        let Some(script) = step.get("run").and_then(Value::as_str) else { continue };
        // GitHub calls `bash -e`. What comes from outside would be taken for a part of the script.
        assert!(!script.contains("${{"), "{script}");
        let file = directory.path().join(format!("{}.sh", files.len()));
        fs::write(&file, format!("#!/usr/bin/env bash\nset -e\n{script}\n")).unwrap();
        files.push(file);
    }
    assert!(files.len() > 5);
    succeed(tool("shellcheck").arg("--severity=warning").args(files));
}

/// What they name is there, at the versions that the tests have.
#[test]
fn workflows_run_what_the_project_has() {
    let texts = WORKFLOWS.map(read).concat();
    for named in [
        "deploy/container/Containerfile",
        "tests/requirements.txt",
        "config.example.yaml",
        "CHANGELOG.md",
        "LICENSE",
    ] {
        assert!(texts.contains(named) && path(named).exists(), "{named}");
    }
    assert!(texts.contains("make test") && read("Makefile").contains("\ntest: "));
    let version =
        |text: &str| text.split_once("cargo-deb --version ").unwrap().1.split(' ').next().unwrap().to_owned();
    assert_eq!(version(&read(WORKFLOWS[1])), version(&read("scripts/install-test-tools")));
}

/// Every file that names versions of something else is looked at, and no other.
#[test]
fn updates_are_offered_of_all_that_is_pinned() {
    let listed =
        succeed(Command::new("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]));
    let mut pinned: Vec<_> = listed
        .lines()
        .filter_map(|file| {
            let (directory, name) = file.rsplit_once('/').unwrap_or(("", file));
            let ecosystem = match name {
                "Cargo.toml" => "cargo",
                "package.json" => "npm",
                "requirements.txt" => "pip",
                "Containerfile" => "docker",
                "compose.yaml" => "docker-compose",
                "ci.yaml" => return Some(("github-actions".to_owned(), "/".to_owned())),
                _ => return None,
            };
            Some((ecosystem.to_owned(), format!("/{directory}")))
        })
        .collect();
    let updates = yaml(&read(".github/dependabot.yml"))["updates"].clone();
    let text = |update: &Value, key: &str| update[key].as_str().unwrap().to_owned();
    let mut offered: Vec<_> = updates
        .as_array()
        .unwrap()
        .iter()
        .map(|update| (text(update, "package-ecosystem"), text(update, "directory")))
        .collect();
    pinned.sort();
    offered.sort();
    assert_eq!(offered, pinned);
}

/// Advisories change by the day, and are fetched: they are the weekly workflow's.
#[test]
fn licences_and_sources_are_allowed() {
    let said = succeed(tool("cargo-deny").args(["--locked", "check", "licenses", "bans", "sources"]));
    assert!(said.contains("bans ok, licenses ok, sources ok"), "{said}");
    let directory = tempfile::tempdir().unwrap();
    let strict = directory.path().join("deny.toml");
    fs::write(&strict, read("deny.toml").replace("\"ISC\", ", "")).unwrap();
    let mut deny = Command::new(path(".test-tools/bin/cargo-deny"));
    let (success, _) =
        crate::outcome(deny.args(["--locked", "check", "--config"]).arg(&strict).arg("licenses"));
    assert!(!success, "a licence that is not allowed is not seen");
}
