//! What stands under `deploy/container`: linted, held against its schema, and against what the build needs and what is mounted.

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{path, read, succeed, tool, yaml};

const CONTAINERFILE: &str = "deploy/container/Containerfile";
const COMPOSE: &str = "deploy/container/compose.yaml";

#[test]
fn hadolint_finds_nothing() {
    assert_eq!(succeed(tool("hadolint").args(["--no-color", CONTAINERFILE])), "");
}

/// What .dockerignore lets into the build. It names whole files and directories, after all was excluded.
fn allowed() -> Vec<String> {
    let text = read(".dockerignore");
    let mut lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    assert_eq!(lines.next(), Some("*"), "an allow list begins with nothing");
    lines.map(|line| line.strip_prefix('!').unwrap_or_else(|| panic!("{line}")).to_owned()).collect()
}

/// What the compiler read for the library, of which the program is made, by its own account of its newest build: a `.d` beside
/// the `.rlib`. (Cargo's own summary beside the program is there after `cargo build` only.)
fn compiled() -> BTreeSet<PathBuf> {
    let builds = fs::read_dir(env::current_exe().unwrap().parent().unwrap()).unwrap();
    let builds = builds.map(|entry| entry.unwrap().path()).filter(|build| {
        let name = build.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with("libtraceflow_exporter-") && name.ends_with(".rlib")
    });
    let newest = builds.max_by_key(|build| build.metadata().unwrap().modified().unwrap()).unwrap();
    let account = newest.to_str().unwrap().replace("/libtraceflow_exporter-", "/traceflow_exporter-");
    let account = read(Path::new(&account).with_extension("d").to_str().unwrap());
    let (_, files) = account.lines().next().unwrap().split_once(": ").unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = files.split_whitespace().map(Path::new);
    files.map(|file| file.strip_prefix(root).unwrap_or(file).to_owned()).collect()
}

#[test]
fn the_build_sees_all_that_it_needs_and_nothing_else() {
    assert!(read(CONTAINERFILE).contains("\nCOPY . .\n"));
    let allowed = allowed();
    let compiled = compiled();
    assert!(compiled.len() > 100, "{compiled:?}");
    for file in &compiled {
        assert!(
            allowed.iter().any(|entry| file.starts_with(entry)),
            "{} is not in .dockerignore",
            file.display()
        );
    }
    // What cargo reads besides: the manifest, and the files that it names.
    let directory = tempfile::tempdir().unwrap();
    for entry in allowed.iter().filter(|entry| path(entry).exists()) {
        succeed(Command::new("cp").args(["-r", entry]).arg(directory.path()));
    }
    succeed(
        Command::new(env!("CARGO"))
            .args(["metadata", "--no-deps", "--locked", "--offline", "--format-version=1", "--manifest-path"])
            .arg(directory.path().join("Cargo.toml")),
    );
}

#[test]
fn the_image_starts_the_program_as_a_user_by_number() {
    let text = read(CONTAINERFILE);
    for line in ["FROM scratch", "USER 65532:65532", "EXPOSE 10659"] {
        assert!(text.lines().any(|own| own == line), "{line}");
    }
    assert!(text.contains("setcap cap_net_raw+p /image/usr/bin/traceflow_exporter"));
    // The arguments are the program's.
    let command =
        text.lines().find_map(|line| serde_json::from_str::<Vec<String>>(line.strip_prefix("CMD ")?).ok());
    let configuration = path("deploy/container/traceflow_exporter.yaml").display().to_string();
    let command = command
        .unwrap()
        .into_iter()
        .map(|argument| argument.replace("/etc/traceflow_exporter/traceflow_exporter.yaml", &configuration));
    let mut program = Command::new(env!("CARGO_BIN_EXE_traceflow_exporter"));
    let said = succeed(program.args(command).arg("--config.check"));
    assert!(said.ends_with(": ok, 1 target\n"), "{said}");
}

#[test]
fn compose_has_the_shape_that_it_must_have() {
    succeed(tool("check-jsonschema").args(["--builtin-schema", "vendor.compose-spec", COMPOSE]));
}

/// Pairs of what is mounted where in a service.
fn mounts(service: &Value) -> Vec<(String, String)> {
    let volumes = service["volumes"].as_array().unwrap().iter();
    let parts =
        volumes.map(|volume| volume.as_str().unwrap().split(':').map(str::to_owned).collect::<Vec<_>>());
    parts.map(|parts| (parts[0].clone(), parts[1].clone())).collect()
}

#[test]
fn what_compose_mounts_exists_and_is_where_it_is_looked_for() {
    let compose = yaml(&read(COMPOSE));
    let named = compose["volumes"].as_object().unwrap();
    let services = compose["services"].as_object().unwrap();
    for (name, service) in services {
        for (source, _) in mounts(service) {
            let exists = if source.starts_with('.') {
                path("deploy/container").join(&source).exists()
            } else {
                named.contains_key(&source)
            };
            assert!(exists, "{name}: {source}");
        }
        // What is told on the command line to be read is mounted.
        let command = service.get("command").and_then(Value::as_array).cloned().unwrap_or_default();
        for argument in command.iter().map(|argument| argument.as_str().unwrap()) {
            let Some((option, value)) = argument.split_once("=/") else { continue };
            let value = format!("/{value}");
            assert!(mounts(service).iter().any(|(_, target)| *target == value), "{name}: {option} {value}");
        }
    }
    let build = &services["exporter"]["build"];
    let context = path("deploy/container").join(build["context"].as_str().unwrap()).canonicalize().unwrap();
    assert_eq!(context, path("").canonicalize().unwrap());
    assert!(context.join(build["dockerfile"].as_str().unwrap()).exists());
    assert!(
        mounts(&services["exporter"])
            .iter()
            .any(|(_, target)| read(CONTAINERFILE).contains(&format!("--config.file={target}\"")))
    );

    // Each finds the next by its name.
    let prometheus = read("deploy/prometheus/prometheus.yaml");
    assert!(services.contains_key("alertmanager") && prometheus.contains("\"alertmanager:9093\""));
    let hosts = services["prometheus"]["extra_hosts"][0].as_str().unwrap();
    assert!(prometheus.contains(&format!("\"{}:10659\"", hosts.split(':').next().unwrap())));
    let rules = mounts(&services["prometheus"])
        .into_iter()
        .find(|(source, _)| source.ends_with("traceflow.rules.yaml"));
    assert_eq!(rules.unwrap().1, "/etc/prometheus/traceflow.rules.yaml");
    assert!(prometheus.contains("rule_files: [traceflow.rules.yaml]"));
    let source = yaml(&read("grafana/provisioning/datasources/prometheus.yaml"));
    let url = source["datasources"][0]["url"].as_str().unwrap();
    assert!(services.contains_key("prometheus") && url == "http://prometheus:9090");
    let provider = yaml(&read("grafana/provisioning/dashboards/traceflow.yaml"));
    let boards = provider["providers"][0]["options"]["path"].as_str().unwrap();
    assert!(
        mounts(&services["grafana"])
            .iter()
            .any(|(source, target)| target == boards && source.ends_with("grafana/dashboards"))
    );
}
