//! What the program needs, what it keeps, and what it tells the service manager.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixDatagram},
    path::Path,
    process::{Output, Stdio},
    thread,
    time::Duration,
};

use crate::{
    copies::copy_program,
    exporter::{ARGUMENTS, Running, get, ready, scrape, value},
    lab::{self, Lab, Options, topology},
    monitor::{config, read},
    traces::PROGRAM,
};

/// A user that owns nothing.
const NOBODY: &str = "65534";
const AS_NOBODY: [&str; 3] = ["--reuid=65534", "--regid=65534", "--clear-groups"];

/// What the kernel says of every thread of the program: the values of one line of its status.
fn of_all_threads(exporter: &Running, key: &str) -> Vec<String> {
    let threads = fs::read_dir(format!("/proc/{}/task", exporter.id())).unwrap();
    let mut values: Vec<_> = threads
        .map(|thread| {
            let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(":\t"));
            line.unwrap_or_else(|| panic!("no {key} in {status}")).to_owned()
        })
        .collect();
    assert!(values.len() > 1, "only one thread");
    values.sort();
    values.dedup();
    values
}

/// That nothing is left of the capabilities in these sets.
fn assert_powerless(exporter: &Running, sets: &[&str]) {
    for set in sets {
        assert_eq!(of_all_threads(exporter, set), ["0000000000000000"], "{set}");
    }
    assert_eq!(of_all_threads(exporter, "NoNewPrivs"), ["1"]);
}

/// That it traces: both targets are reached, and it can look into its own /proc.
fn assert_traces(lab: &Lab, exporter: &Running) {
    ready(lab, exporter);
    let exposition = scrape(lab).unwrap();
    for target in ["v4", "v6"] {
        assert_eq!(read(&exposition, "traceflow_target_up", target), 1.0, "{}", exporter.log());
    }
    assert!(value(&exposition, "process_open_fds").unwrap() > 5.0);
}

#[test]
fn root_becomes_a_user_without_any_capability() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("line"), Options::routers());
    let parent = tempfile::tempdir().unwrap();
    fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let storage = parent.path().join("storage");
    let user = format!("--user={NOBODY}");
    let kept = format!("--storage.path={}", storage.display());
    let script = "chmod 600 config.yaml && exec \"$0\" \"$@\"";
    let options = [user.as_str(), &kept, "--log.level=debug"];
    let arguments = [&["-ec", script, PROGRAM], &ARGUMENTS[..], &options].concat();
    let exporter = Running::start(&lab, "sh", &arguments, &[("config.yaml", &config(&lab))]);
    assert_traces(&lab, &exporter);
    assert_powerless(&exporter, &["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]);
    for identity in ["Uid", "Gid"] {
        assert_eq!(of_all_threads(&exporter, identity), [[NOBODY; 4].join("\t")], "{identity}");
    }
    assert_eq!(of_all_threads(&exporter, "Groups"), [format!("{NOBODY} ")]);
    assert!(storage.join("v4.state").is_file(), "{}", exporter.log());
    let warning = "cannot read the configuration: it cannot be reloaded";
    assert!(exporter.log().contains(warning), "{}", exporter.log());
    assert!(exporter.log().contains("landlock="), "{}", exporter.log());
    assert_eq!(exporter.terminate(), Some(0));
}

#[test]
fn root_that_stays_root_keeps_no_capability() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("line"), Options::routers());
    let exporter = Running::exporter(&lab, &config(&lab));
    assert_traces(&lab, &exporter);
    assert_powerless(&exporter, &["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]);
    assert!(!exporter.log().contains("cannot be reloaded"), "{}", exporter.log());
}

/// As a package's file capability `+p` gives it, and as systemd's AmbientCapabilities.
#[test]
fn one_capability_is_enough_and_is_given_up() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("line"), Options::routers());
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = directory.path().join("traceflow_exporter");
    copy_program(PROGRAM, &program);
    fs::write(directory.path().join("config.yaml"), config(&lab)).unwrap();
    let file = format!("--config.file={}", directory.path().join("config.yaml").display());
    let program = program.to_str().unwrap();
    let run = |how: &[&str]| {
        let arguments = [&AS_NOBODY[..], how, &[program, &file, ARGUMENTS[1]]].concat();
        Running::start(&lab, "setpriv", &arguments, &[])
    };

    let without = |arguments: &[&str]| {
        let output =
            lab.command("s", "setpriv").args(AS_NOBODY).arg(program).args(arguments).output().unwrap();
        let said = String::from_utf8(output.stderr.clone()).unwrap();
        (output.status.code(), said, output)
    };
    let host = lab.address("d", traceflow_exporter::flow::Family::V4).to_string();
    for arguments in [&[file.as_str(), ARGUMENTS[1]][..], &["trace", &host]] {
        let (code, said, Output { .. }) = without(arguments);
        assert_eq!((code, said.lines().count()), (Some(1), 1), "{said}");
        let fixes = [
            "`setcap cap_net_raw+p ",
            "AmbientCapabilities=CAP_NET_RAW",
            "for a container add the capability NET_RAW",
        ];
        assert!(fixes.iter().all(|fix| said.contains(fix)), "{said}");
    }
    let (code, said, _) = without(&[&file, "--config.check"]);
    assert_eq!((code, said.as_str()), (Some(0), ""), "checking needs no privilege");
    let (code, said, _) = without(&[&file, "--user=0", ARGUMENTS[1]]);
    assert_eq!(code, Some(1), "{said}");
    let (code, said, _) = without(&["--user=no-such-user"]);
    let words =
        "invalid value 'no-such-user' for '--user <NAME>': there is no user `no-such-user`; allowed is ";
    assert!(code == Some(2) && said.starts_with(&format!("traceflow_exporter: {words}")), "{said}");
    // What is not theirs to read, the configuration itself or what it names.
    let secret = directory.path().join("secret.yaml");
    fs::write(&secret, "- targets: [127.0.0.1]\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let naming = directory.path().join("naming.yaml");
    fs::write(&naming, "target_files: [secret.yaml]\n").unwrap();
    let refused =
        format!("traceflow_exporter: {}: cannot read: Permission denied (os error 13)\n", secret.display());
    for config in [&secret, &naming] {
        let (code, said, _) = without(&[&format!("--config.file={}", config.display()), "--config.check"]);
        assert_eq!((code, &said), (Some(2), &refused));
    }

    let exporter = run(&["--inh-caps=+net_raw", "--ambient-caps=+net_raw"]);
    assert_traces(&lab, &exporter);
    assert_powerless(&exporter, &["CapInh", "CapPrm", "CapEff", "CapAmb"]);
    drop(exporter);

    let status = lab.command("s", "setcap").args(["cap_net_raw+p", program]).status().unwrap();
    assert!(status.success());
    let exporter = run(&[]);
    assert_traces(&lab, &exporter);
    assert_powerless(&exporter, &["CapInh", "CapPrm", "CapEff", "CapAmb"]);
    assert_eq!(of_all_threads(&exporter, "Uid"), [[NOBODY; 4].join("\t")]);
    drop(exporter);
    let output =
        lab.command("s", "setpriv").args(AS_NOBODY).args([program, "trace", &host]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// One trace keeps as little, and writes the file that it opened before; what that held is lost only to a result.
#[test]
fn one_trace_keeps_no_capability_either() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("blackhole"), Options::routers());
    let host = lab.destination(traceflow_exporter::flow::Family::V4).to_string();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("trace.json");
    fs::write(&file, "before ".repeat(10_000)).unwrap();
    let output = format!("--output={}", file.display());
    let run = |host: &str| {
        let mut command = lab.command("s", PROGRAM);
        command.args(["trace", "--format=json", &output, host]).stderr(Stdio::null());
        command
    };
    assert_eq!(run("0.0.0.0").status().unwrap().code(), Some(1));
    assert!(fs::read_to_string(&file).unwrap().starts_with("before "));

    let mut trace = run(&host).spawn().unwrap();
    let mut powerless = false;
    let code = loop {
        let status = fs::read_to_string(format!("/proc/{}/status", trace.id())).unwrap_or_default();
        let says = |line: &str| status.lines().any(|own| own == line);
        powerless |= says("CapPrm:\t0000000000000000")
            && says("CapEff:\t0000000000000000")
            && says("CapBnd:\t0000000000000000")
            && says("NoNewPrivs:\t1");
        if let Some(ended) = trace.try_wait().unwrap() {
            break ended.code();
        }
        thread::sleep(Duration::from_millis(20));
    };
    assert_eq!((code, powerless), (Some(0), true));
    let text = fs::read_to_string(&file).unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
    let nowhere = format!("--output={}/no/file", directory.path().display());
    let failed = lab.command("s", PROGRAM).args(["trace", &nowhere, &host]).output().unwrap();
    let said = String::from_utf8(failed.stderr).unwrap();
    assert!(
        said.contains("/no/file: No such file or directory (os error 2); name a file with --output "),
        "{said}"
    );
}

/// The next message to the service manager.
fn told(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 1024];
    let length = socket.recv(&mut buffer).expect("a message in time");
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

/// Also a user without privileges, confined, reaches the service manager, as it is with `Type=notify`.
#[test]
fn the_service_manager_is_told() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("line"), Options::routers());
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    for path in [directory.path(), Path::new(&socket)] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let address = format!("NOTIFY_SOCKET={}", socket.display());
    let user = format!("--user={NOBODY}");
    let arguments = [&[&address, "WATCHDOG_USEC=300000", PROGRAM, &user][..], &ARGUMENTS].concat();
    let exporter = Running::start(&lab, "env", &arguments, &[("config.yaml", &config(&lab))]);
    assert_eq!(told(&manager), "READY=1\nSTATUS=tracing 2 targets\n");
    assert!(get(&lab, "http://127.0.0.1:10659/-/healthy").is_some(), "ready is ready");
    for _ in 0..5 {
        assert_eq!(told(&manager), "WATCHDOG=1\n");
    }
    assert_eq!(exporter.terminate(), Some(0));
    let last = loop {
        let message = told(&manager);
        if message != "WATCHDOG=1\n" {
            break message;
        }
    };
    assert_eq!(last, "STOPPING=1\n");
}

/// What is written at each level, in both formats.
#[test]
fn the_log_tells_as_much_as_it_is_asked() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("line"), Options::routers());
    for (level, format, expected, absent) in [
        ("info", "logfmt", &["level=info message=listening"][..], &["message=round", "message=probe"][..]),
        ("debug", "json", &["\"message\":\"round\"", "\"target\":\"v4\""], &["\"message\":\"probe\""]),
        ("trace", "logfmt", &["message=probe", "message=reply", "message=round"], &[]),
    ] {
        let options = [format!("--log.level={level}"), format!("--log.format={format}")];
        let arguments = [&ARGUMENTS[..], &[&options[0], &options[1]]].concat();
        let exporter = Running::start(&lab, PROGRAM, &arguments, &[("config.yaml", &config(&lab))]);
        ready(&lab, &exporter);
        let log = exporter.log();
        for text in expected {
            assert!(log.contains(text), "{level}: {text}: {log}");
        }
        for text in absent {
            assert!(!log.contains(text), "{level}: {text}: {log}");
        }
        if format == "json" {
            assert!(log.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{log}");
        }
    }
}
