//! The systemd unit: judged by systemd, and held against what the program really asks of the kernel.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _, process::Command};

use crate::{
    copies::copy_program,
    outcome, read,
    servers::{Running, get, unused, wait_for},
    skipped, succeed,
};

const UNIT: &str = "deploy/systemd/traceflow_exporter.service";
const PROGRAM: &str = env!("CARGO_BIN_EXE_traceflow_exporter");

/// The values of a key, in the order in which they stand.
fn values(key: &str) -> Vec<String> {
    let unit = read(UNIT);
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=').map(str::to_owned)).collect()
}

#[test]
fn systemd_understands_every_line() {
    let directory = tempfile::tempdir().unwrap();
    let unit = directory.path().join("traceflow_exporter.service");
    // The program is not installed here.
    fs::write(&unit, read(UNIT).replace("/usr/bin/traceflow_exporter", PROGRAM)).unwrap();
    let verify = |unit| outcome(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(unit));
    let (success, said) = verify(&unit);
    // What systemd does not know it ignores, with a warning.
    assert!(success && !said.contains("traceflow_exporter.service"), "{said}");
    fs::write(&unit, read(UNIT).replace("/usr/bin/traceflow_exporter", PROGRAM).replace("UMask=", "Umask="))
        .unwrap();
    let (_, said) = verify(&unit);
    assert!(said.contains("Umask"), "a wrong key is not seen: {said}");
}

#[test]
fn the_service_is_exposed_as_little_as_can_be() {
    let said =
        succeed(Command::new("systemd-analyze").args(["security", "--offline=true", "--threshold=20", UNIT]));
    let level = said.lines().find_map(|line| line.split_once("Overall exposure level for ")).unwrap().1;
    let level: f64 = level.split(' ').nth(1).unwrap().parse().unwrap();
    assert!(level <= 2.0, "{level}");
}

#[test]
fn it_has_one_capability_and_a_user_of_its_own_and_comes_back() {
    for (key, value) in [
        ("CapabilityBoundingSet", "CAP_NET_RAW"),
        ("AmbientCapabilities", "CAP_NET_RAW"),
        ("DynamicUser", "yes"),
        ("StateDirectory", "traceflow_exporter"),
        ("StateDirectoryMode", "0700"),
        ("UMask", "0077"),
        ("Type", "notify"),
        ("NotifyAccess", "main"),
        // It comes back by itself, also where it hangs.
        ("WatchdogSec", "30s"),
        ("Restart", "on-failure"),
        ("RestartSec", "5s"),
        // Without them a start of the machine finds no route and no name.
        ("After", "network-online.target nss-lookup.target"),
        ("Wants", "network-online.target nss-lookup.target"),
        ("WantedBy", "multi-user.target"),
        ("ExecReload", "/bin/kill -HUP $MAINPID"),
    ] {
        assert_eq!(values(key), [value], "{key}");
    }
    assert!(values("ExecStart")[0].contains("--storage.path=/var/lib/traceflow_exporter "));
}

/// The system calls that the unit's filter lets through, by systemd's own lists.
fn allowed_calls() -> BTreeSet<String> {
    let mut allowed = BTreeSet::new();
    for line in values("SystemCallFilter") {
        let (list, permit) = line.strip_prefix('~').map_or((line.as_str(), true), |list| (list, false));
        for call in list.split(' ').flat_map(calls) {
            if permit {
                allowed.insert(call);
            } else {
                allowed.remove(&call);
            }
        }
    }
    allowed
}

/// A set of calls, or the one call of this name.
fn calls(name: &str) -> Vec<String> {
    if !name.starts_with('@') {
        return vec![name.to_owned()];
    }
    let said = succeed(Command::new("systemd-analyze").args(["--no-pager", "syscall-filter", name]));
    let members = said.lines().filter_map(|line| line.strip_prefix("    ")).map(str::trim);
    members.filter(|member| !member.starts_with('#')).flat_map(calls).collect()
}

/// As the unit starts it: another user, one ambient capability, no new privileges, a directory for its state.
#[test]
fn the_filters_let_through_all_that_the_program_does() {
    if skipped() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    fs::create_dir(file("state")).unwrap();
    for path in [directory.path(), &file("state")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let config = "global: { interval: 1s, reverse_dns: true }\n\
                  targets: [{ name: v4, host: 127.0.0.1 }, { name: v6, host: '::1' }, { name: name, host: localhost }]\n";
    fs::write(file("config.yaml"), config).unwrap();
    let address = unused();
    let user = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let rights = ["--inh-caps=+net_raw", "--ambient-caps=+net_raw", "--no-new-privs"];
    let trace = file("trace");
    let program = file("traceflow_exporter");
    copy_program(PROGRAM, &program);
    let mut arguments: Vec<String> =
        ["-f", "-qq", "-o", trace.to_str().unwrap(), "setpriv"].map(str::to_owned).to_vec();
    arguments.extend(user.iter().chain(&rights).map(|&word| word.to_owned()));
    arguments.extend([
        program.display().to_string(),
        format!("--config.file={}", file("config.yaml").display()),
        format!("--storage.path={}", file("state").display()),
        format!("--web.listen-address={address}"),
    ]);
    let exporter = Running::start("strace", &arguments, file("log"));
    wait_for("the first rounds", &exporter, || get(&format!("http://{address}/-/ready")).is_some());
    succeed(Command::new("curl").args(["-sSf", "-X", "POST", &format!("http://{address}/-/reload")]));
    assert!(
        get(&format!("http://{address}/metrics")).unwrap().contains("traceflow_target_up{target=\"name\"} 1")
    );
    let traced = fs::read_to_string(&trace).unwrap();
    // The tracer is ended by SIGKILL, which its child outlives.
    let id = traced.split(' ').next().unwrap().to_owned();
    succeed(Command::new("kill").arg("-TERM").arg(&id));
    wait_for("its end", &exporter, || fs::metadata(format!("/proc/{id}")).is_err());

    let traced = fs::read_to_string(&trace).unwrap();
    // What stands before is setpriv's.
    let own = traced.split_once(&format!("execve(\"{}\"", program.display())).unwrap().1;
    let call = |line: &str| -> Option<String> {
        let (name, _) = line.split_once(' ')?.1.trim_start().split_once('(')?;
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_').then(|| name.to_owned())
    };
    let used: BTreeSet<_> = own.lines().skip(1).filter_map(call).collect();
    for expected in ["capset", "landlock_restrict_self", "sendmsg", "rename"] {
        assert!(used.iter().any(|name| name.starts_with(expected)), "{expected} was not seen in {used:?}");
    }
    let refused: Vec<_> = used.difference(&allowed_calls()).cloned().collect();
    assert_eq!(refused, Vec::<String>::new(), "the unit's filter refuses them");

    let families = values("RestrictAddressFamilies").join(" ");
    let families: BTreeSet<_> = families.split(' ').collect();
    let sockets = own.lines().filter_map(|line| line.split_once(" socket(")?.1.split(',').next());
    let asked: BTreeSet<_> = sockets.collect();
    assert!(asked.contains("AF_INET6"), "{asked:?}");
    assert!(asked.is_subset(&families), "{asked:?} is more than {families:?}");
}
