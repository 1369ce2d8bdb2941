//! What stands under `deploy/container`: linted, held against its schema, and against what the build needs and what is mounted.

use std::{
    collections::BTreeSet,
    env, fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::{path, read, skipped, succeed, tool, yaml};

const PROGRAM: &str = env!("CARGO_BIN_EXE_traceflow_exporter");
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

/// The instructions of a kind in the Containerfile, without line ends in them.
fn instructions(kind: &str) -> Vec<String> {
    let text = read(CONTAINERFILE).replace("\\\n", " ");
    text.lines().filter_map(|line| line.strip_prefix(kind)?.strip_prefix(' ').map(str::to_owned)).collect()
}

/// Does what the build would do, in a directory of its own, where `cargo build` takes the program under test if this package has
/// such a one. What the last stage takes of it starts.
#[test]
fn the_build_makes_what_the_image_starts() {
    if skipped() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    fs::create_dir(file("bin")).unwrap();
    let cargo = format!(
        "#!/bin/sh\n\
         test \"$*\" = 'build --release --locked --bin {}' || {{ echo \"no such build: $*\" >&2; exit 1; }}\n\
         echo \"$TRACEFLOW_REVISION\" >revision\n\
         mkdir -p target/release && cp {PROGRAM} target/release/\n",
        Path::new(PROGRAM).file_name().unwrap().display()
    );
    for (name, script) in [("cargo", cargo.as_str()), ("apk", "#!/bin/sh\ntest \"$1\" = add\n")] {
        fs::write(file("bin").join(name), script).unwrap();
        fs::set_permissions(file("bin").join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let image = file("image");
    for line in instructions("RUN") {
        let line = line.replace(" /image/", &format!(" {}/", image.display()));
        let mut shell = Command::new("sh");
        shell
            .args(["-euc", "cd \"$0\" && eval \"$1\""])
            .arg(directory.path())
            .arg(line)
            .env("REVISION", "0123")
            .env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", file("bin").display()));
        succeed(&mut shell);
    }
    assert_eq!(fs::read_to_string(file("revision")).unwrap(), "0123\n");
    assert_eq!(instructions("ARG"), ["REVISION=unknown"]);

    let copied: Vec<_> = instructions("COPY").into_iter().filter(|copy| copy.starts_with("--from")).collect();
    assert_eq!(copied, ["--from=build /image/ /"]);
    let entry: Vec<String> = serde_json::from_str(&instructions("ENTRYPOINT")[0]).unwrap();
    let program = image.join(&entry[0][1..]);
    assert!(succeed(Command::new(&program).arg("--version")).starts_with("traceflow_exporter, version "));
    let capabilities = succeed(Command::new("getcap").arg(&program));
    assert!(capabilities.trim_end().ends_with(" cap_net_raw=p"), "{capabilities}");
    let [volume] = serde_json::from_str::<[String; 1]>(&instructions("VOLUME")[0]).unwrap();
    let state = fs::metadata(image.join(&volume[1..])).unwrap();
    let (user, group) = (state.uid(), state.gid());
    assert_eq!(instructions("USER"), [format!("{user}:{group}")]);
    assert_eq!(state.mode() & 0o777, 0o700);
    assert!(instructions("CMD")[0].contains(&format!("\"--storage.path={volume}\"")));
}

#[test]
fn compose_has_the_shape_that_it_must_have() {
    succeed(tool("check-jsonschema").args(["--builtin-schema", "vendor.compose-spec", COMPOSE]));
}

/// Without any of these the exporter does not start, sees the routes of a bridge, or begins anew with each start.
#[test]
fn compose_gives_the_exporter_what_it_needs_and_no_more() {
    let compose = yaml(&read(COMPOSE));
    let exporter = &compose["services"]["exporter"];
    for (key, value) in [
        ("network_mode", json!("host")),
        ("cap_drop", json!(["ALL"])),
        ("cap_add", json!(["NET_RAW"])),
        ("read_only", json!(true)),
        ("user", Value::Null),
        ("security_opt", Value::Null),
        ("privileged", Value::Null),
    ] {
        assert_eq!(exporter[key], value, "{key}");
    }
    for (name, service) in compose["services"].as_object().unwrap() {
        assert_eq!(service["restart"], "unless-stopped", "{name}");
        // Nobody but this machine: only the exporter is in its network.
        let ports = service["ports"].as_array().cloned().unwrap_or_default();
        assert!(ports.iter().all(|port| port.as_str().unwrap().starts_with("127.0.0.1:")), "{name}");
        assert_eq!(ports.is_empty(), name == "exporter", "{name}");
    }
    let [volume] = serde_json::from_str::<[String; 1]>(&instructions("VOLUME")[0]).unwrap();
    assert!(mounts(exporter).contains(&("traceflow".to_owned(), volume)), "the state is kept");
}

/// The tests of the dashboards ask Grafana's own code. What it says holds for the Grafana that is started here.
#[test]
fn grafana_is_the_one_that_the_dashboards_are_tested_with() {
    let compose = yaml(&read(COMPOSE));
    let image = compose["services"]["grafana"]["image"].as_str().unwrap();
    let tested: Value = serde_json::from_str(&read("tests/grafana/package.json")).unwrap();
    let major = |version: &str| version.split('.').next().unwrap().parse::<u32>().unwrap();
    for package in ["@grafana/data", "@grafana/schema"] {
        let version = tested["dependencies"][package].as_str().unwrap();
        assert_eq!(major(image.rsplit_once(':').unwrap().1), major(version), "{image}, {package} {version}");
    }
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
    // Where Grafana looks unless it is told otherwise.
    let provisioning = ("../../grafana/provisioning".to_owned(), "/etc/grafana/provisioning".to_owned());
    assert!(mounts(&services["grafana"]).contains(&provisioning));
    let provider = yaml(&read("grafana/provisioning/dashboards/traceflow.yaml"));
    let boards = provider["providers"][0]["options"]["path"].as_str().unwrap();
    assert!(
        mounts(&services["grafana"])
            .iter()
            .any(|(source, target)| target == boards && source.ends_with("grafana/dashboards"))
    );
}
