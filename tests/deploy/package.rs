//! The Debian package: built by cargo-deb of the program under test, unpacked by dpkg, and run from there.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use crate::{path, read, skipped, succeed, tool};

const PROGRAM: &str = env!("CARGO_BIN_EXE_traceflow_exporter");
const CONFIGURATION: &str = "/etc/traceflow_exporter/traceflow_exporter.yaml";

/// What `make package` does before it calls cargo-deb.
fn generate() {
    fs::create_dir_all(path("target/generated")).unwrap();
    succeed(Command::new(PROGRAM).args(["generate", "target/generated"]));
}

#[test]
fn the_package_installs_all_that_the_program_comes_with() {
    if skipped() {
        return;
    }
    generate();
    let directory = tempfile::tempdir().unwrap();
    let package = directory.path().join("traceflow-exporter.deb");
    // The program is beside its profile's name in the directory of what was built.
    let built = Path::new(PROGRAM).parent().unwrap();
    let mut cargo_deb = tool("cargo-deb");
    cargo_deb
        .args(["--no-build", "--no-strip", "--fast", "--locked", "--offline", "--profile=dev", "--output"])
        .arg(&package)
        .env("CARGO_TARGET_DIR", built.parent().unwrap());
    succeed(&mut cargo_deb);

    let root = directory.path().join("root");
    for needed in ["var/lib/dpkg/info", "var/lib/dpkg/updates"] {
        fs::create_dir_all(root.join(needed)).unwrap();
    }
    fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
    // There is no shell in there: maintainer scripts are looked at below.
    let mut dpkg = Command::new("dpkg");
    dpkg.arg(format!("--root={}", root.display()))
        .args(["--force-depends", "--force-not-root", "--log=/dev/null", "--unpack"])
        .arg(&package);
    succeed(&mut dpkg);

    for file in [
        "usr/bin/traceflow_exporter",
        "usr/lib/systemd/system/traceflow_exporter.service",
        "usr/share/man/man1/traceflow_exporter.1.gz",
        "usr/share/man/man1/traceflow_exporter-trace.1.gz",
        "usr/share/bash-completion/completions/traceflow_exporter",
        "usr/share/zsh/vendor-completions/_traceflow_exporter",
        "usr/share/fish/vendor_completions.d/traceflow_exporter.fish",
        "usr/share/doc/traceflow-exporter/runbook.md",
        "usr/share/doc/traceflow-exporter/copyright",
        "usr/share/doc/traceflow-exporter/examples/traceflow.rules.yaml",
        "usr/share/doc/traceflow-exporter/examples/traceflow.json",
    ] {
        assert!(fs::metadata(root.join(file)).is_ok_and(|file| file.len() > 0), "{file}");
    }
    // dpkg writes files that are an administrator's under another name until the package is configured.
    let configuration = root.join(format!("{}.dpkg-new", &CONFIGURATION[1..]));
    assert_eq!(fs::read_to_string(&configuration).unwrap(), read("config.example.yaml"));
    let installed = root.join("usr/bin/traceflow_exporter");
    let said = succeed(Command::new(&installed).arg("--version"));
    assert!(
        said.starts_with(&format!("traceflow_exporter, version {} ", env!("CARGO_PKG_VERSION"))),
        "{said}"
    );
    succeed(Command::new(&installed).arg("--config.check").arg("--config.file").arg(&configuration));

    // What the unit starts is what was installed.
    let unit = fs::read_to_string(root.join("usr/lib/systemd/system/traceflow_exporter.service")).unwrap();
    let start = unit.lines().find(|line| line.starts_with("ExecStart=")).unwrap();
    assert!(start.starts_with("ExecStart=/usr/bin/traceflow_exporter "), "{start}");
    assert!(start.contains(&format!("--config.file={CONFIGURATION} ")), "{start}");
    for document in unit.lines().filter_map(|line| line.strip_prefix("Documentation=file:///")) {
        assert!(root.join(document).exists(), "{document}");
    }

    let info = |name: &str| {
        let file = root.join(format!("var/lib/dpkg/info/traceflow-exporter.{name}"));
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    };
    assert_eq!(info("conffiles").trim(), CONFIGURATION);
    for (script, does) in [
        ("postinst", "enable traceflow_exporter.service"),
        ("prerm", "stop traceflow_exporter.service"),
        ("postrm", "rm -rf /var/lib/private/traceflow_exporter"),
    ] {
        let text = info(script);
        assert!(text.contains(does) && !text.contains("#DEBHELPER#"), "{script}: {text}");
        let file = root.join(format!("var/lib/dpkg/info/traceflow-exporter.{script}"));
        succeed(Command::new("sh").arg("-n").arg(file));
    }
}

/// `make package` on a clean clone, as far as it can be had without compiling: what it runs is there by then.
#[test]
fn a_clean_clone_gets_what_makes_the_package() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    fs::create_dir(file("bin")).unwrap();
    fs::create_dir(file("scripts")).unwrap();
    fs::copy(path("Makefile"), file("Makefile")).unwrap();
    fs::copy(path("scripts/install-test-tools"), file("scripts/install-test-tools")).unwrap();
    let planned = || {
        let mut make = Command::new("make");
        make.args(["--dry-run", "--no-print-directory", "-C"]).arg(directory.path()).arg("package");
        succeed(&mut make)
    };
    let said = planned();
    let installs = said.find("scripts/install-test-tools cargo-deb\n").unwrap();
    assert!(installs < said.find(".test-tools/bin/cargo-deb --no-build").unwrap(), "{said}");

    // Without compiling it, and without whatever else the tests need.
    let cargo =
        "#!/bin/sh\nwhile [ $# -gt 1 ]; do shift; done\nmkdir -p $1/bin && cp /bin/true $1/bin/cargo-deb\n";
    for (name, script) in
        [("cargo", cargo), ("npm", "#!/bin/sh\nexit 1\n"), ("python3", "#!/bin/sh\nexit 1\n")]
    {
        fs::write(file("bin").join(name), script).unwrap();
        fs::set_permissions(file("bin").join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut install = Command::new(file("scripts/install-test-tools"));
    install.arg("cargo-deb").env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", file("bin").display()));
    succeed(&mut install);
    assert!(!planned().contains("install-test-tools"), "it is installed again");
}

/// With `rm` only told: nothing of this machine is taken.
#[test]
fn only_a_purge_takes_what_was_kept() {
    let directory = tempfile::tempdir().unwrap();
    let remove = directory.path().join("rm");
    fs::write(&remove, "#!/bin/sh\necho \"rm $*\"\n").unwrap();
    fs::set_permissions(&remove, fs::Permissions::from_mode(0o755)).unwrap();
    let state = "rm -rf /var/lib/private/traceflow_exporter /var/lib/traceflow_exporter\n";
    for (what, expected) in [("purge", state), ("remove", ""), ("upgrade", ""), ("abort-install", "")] {
        let mut script = Command::new("/bin/sh");
        script.args(["deploy/debian/postrm", what]).env("PATH", directory.path());
        assert_eq!(succeed(&mut script), expected, "{what}");
    }
    // Where the unit keeps it.
    assert!(
        read("deploy/systemd/traceflow_exporter.service")
            .contains("--storage.path=/var/lib/traceflow_exporter ")
    );
}

/// Shell scripts of the whole project, those of the package too.
#[test]
fn shellcheck_finds_nothing() {
    let listed =
        succeed(Command::new("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]));
    let scripts: Vec<_> = listed
        .lines()
        .filter(|file| {
            let start = fs::read(path(file)).unwrap_or_default();
            [&b"#!/bin/sh"[..], b"#!/usr/bin/env bash"].iter().any(|line| start.starts_with(line))
        })
        .collect();
    for expected in
        ["scripts/install-test-tools", "scripts/make-prometheusrule", "deploy/debian/postrm", ".ci/run"]
    {
        assert!(scripts.contains(&expected), "{expected} is not among {scripts:?}");
    }
    // --severity=warning: what is style is left to whoever writes.
    succeed(tool("shellcheck").arg("--severity=warning").args(scripts));
}
