//! The HTTP server as operators of Prometheus know it: the whole program, secured by a web configuration, asked by a stock
//! Prometheus, by curl and by an independent parser.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Output, Stdio},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    SanType,
};
use serde_json::Value;

use crate::{
    exporter::{ARGUMENTS, Running, get, ready, rounds, scrape, value, wait_for},
    lab::{self, Lab, Options, topology},
    traces::PROGRAM,
};

const CONFIG: &str = "targets: [{ name: here, host: 127.0.0.1 }]\n";
const URL: &str = "https://localhost:10659";

/// Certificates of one authority, in PEM.
struct Certificates {
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Certificates {
    fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { authority: CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap() }
    }

    /// Certificate and key for a name.
    fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> (String, String) {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        // OpenSSL takes a certificate with its issuer's name for one that signed itself.
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.subject_alt_names = vec![SanType::DnsName(name.try_into().unwrap())];
        parameters.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        (parameters.signed_by(&key, &self.authority).unwrap().pem(), key.serialize_pem())
    }

    fn server(&self) -> (String, String) {
        self.issue("localhost", ExtendedKeyUsagePurpose::ServerAuth)
    }
}

/// A secured exporter and a Prometheus' files, all in one directory.
fn start(lab: &Lab, certificates: &Certificates, tls: &str) -> Running {
    let (server, server_key) = certificates.server();
    let (client, client_key) = certificates.issue("prometheus", ExtendedKeyUsagePurpose::ClientAuth);
    let authority = certificates.authority.pem();
    let hash = bcrypt::hash("secret", 10).unwrap();
    let web = format!(
        "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n{tls}basic_auth_users:\n  prometheus: {hash}\n"
    );
    let files = [
        ("config.yaml", CONFIG),
        ("web.yaml", &web),
        ("server.crt", &server),
        ("server.key", &server_key),
        ("ca.crt", &authority),
        ("client.crt", &client),
        ("client.key", &client_key),
    ];
    let arguments = [&ARGUMENTS[..], &["--web.config.file=web.yaml"]].concat();
    Running::start(lab, PROGRAM, &arguments, &files)
}

/// What curl says to a path, in a directory with certificates.
fn curl(lab: &Lab, exporter: &Running, arguments: &[&str], path: &str) -> Output {
    let authority = exporter.file("ca.crt");
    lab.command("s", "curl")
        .args(["--silent", "--show-error", "--max-time", "10", "--resolve", "localhost:10659:127.0.0.1"])
        .arg("--cacert")
        .arg(authority)
        .args(arguments)
        .arg(format!("{URL}{path}"))
        .output()
        .unwrap()
}

/// Status, version of HTTP and error of curl.
fn status(lab: &Lab, exporter: &Running, arguments: &[&str], path: &str) -> (String, bool) {
    let arguments =
        [arguments, &["--output", "/dev/null", "--write-out", "%{http_code} %{http_version}"]].concat();
    let output = curl(lab, exporter, &arguments, path);
    (String::from_utf8(output.stdout).unwrap(), output.status.success())
}

#[test]
fn a_stock_prometheus_scrapes_what_is_secured() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("line"), Options::routers());
    let certificates = Certificates::new();
    let tls =
        "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  min_version: TLS13\n";
    let exporter = start(&lab, &certificates, tls);
    let files = |name: &str| exporter.file(name).display().to_string();
    let (certificate, key) = (files("client.crt"), files("client.key"));
    let identity = ["--cert", &*certificate, "--key", &*key];
    let right = [&identity[..], &["--user", "prometheus:secret"]].concat();
    wait_for("the first round", &exporter, || {
        Some(()).filter(|()| status(&lab, &exporter, &right, "/-/ready").0.starts_with("200"))
    });

    let ok = |text: &str| (text.to_owned(), true);
    assert_eq!(status(&lab, &exporter, &right, "/metrics"), ok("200 2"));
    let old = [&right[..], &["--http1.1"]].concat();
    assert_eq!(status(&lab, &exporter, &old, "/metrics"), ok("200 1.1"));
    let packed = [&right[..], &["--compressed", "--head"]].concat();
    assert_eq!(status(&lab, &exporter, &packed, "/metrics"), ok("200 2"));
    let wrong = [&identity[..], &["--user", "prometheus:wrong"]].concat();
    assert_eq!(status(&lab, &exporter, &wrong, "/metrics"), ok("401 2"));
    assert_eq!(status(&lab, &exporter, &identity, "/metrics"), ok("401 2"));
    let unknown = ["--user", "prometheus:secret"];
    assert_eq!(status(&lab, &exporter, &unknown, "/metrics"), ("000 0".to_owned(), false), "no certificate");
    let too_old = [&right[..], &["--tls-max", "1.2"]].concat();
    assert_eq!(status(&lab, &exporter, &too_old, "/metrics"), ("000 0".to_owned(), false), "TLS 1.2");

    let scrape = |name: &str, password: &str| {
        format!(
            "- job_name: {name}\n  scheme: https\n  \
             tls_config: {{ ca_file: '{ca}', cert_file: '{certificate}', key_file: '{key}', server_name: localhost }}\n  \
             basic_auth: {{ username: prometheus, password: {password} }}\n  \
             static_configs: [{{ targets: ['127.0.0.1:10659'] }}]\n",
            ca = files("ca.crt")
        )
    };
    let scrapes = format!(
        "global: {{ scrape_interval: 1s }}\nscrape_configs:\n{}{}",
        scrape("right", "secret"),
        scrape("wrong", "guess")
    );
    let arguments =
        ["--config.file=prometheus.yml", "--storage.tsdb.path=data", "--web.listen-address=127.0.0.1:9090"];
    let prometheus = Running::start(&lab, "prometheus", &arguments, &[("prometheus.yml", &scrapes)]);
    let up = |job: &str, sign: &str| {
        let query = format!("http://127.0.0.1:9090/api/v1/query?query=up%7Bjob%3D%22{job}%22%7D{sign}");
        let answer: Value = serde_json::from_str(&get(&lab, &query)?).unwrap();
        Some(()).filter(|()| answer["data"]["result"].as_array().is_some_and(|found| !found.is_empty()))
    };
    wait_for("a scrape", &prometheus, || up("right", "%3D%3D1"));
    wait_for("a refused scrape", &prometheus, || up("wrong", "%3D%3D0"));
    assert_eq!(up("right", "%3D%3D0"), None);

    // A new certificate while it runs, as a tool that renews them does it.
    let (server, server_key) = certificates.server();
    let shown = || {
        let print = [&right[..], &["--output", "/dev/null", "--write-out", "%{certs}"]].concat();
        String::from_utf8(curl(&lab, &exporter, &print, "/-/healthy").stdout).unwrap()
    };
    let before = shown();
    assert!(before.contains("BEGIN CERTIFICATE"), "{before}");
    for (name, text) in [("server.crt", server), ("server.key", server_key)] {
        fs::write(exporter.file("new"), text).unwrap();
        fs::rename(exporter.file("new"), exporter.file(name)).unwrap();
    }
    assert_eq!(status(&lab, &exporter, &right, "/metrics"), ok("200 2"));
    let after = shown();
    assert!(after.contains("BEGIN CERTIFICATE") && after != before, "the new one is shown");
    assert!(exporter.log().contains("the web configuration was read again"), "{}", exporter.log());
    wait_for("another scrape", &prometheus, || up("right", "%3D%3D1"));
    assert_eq!(exporter.terminate(), Some(0));
}

#[test]
fn what_the_user_that_is_left_cannot_read_again_is_told_at_start() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("line"), Options::routers());
    let (certificate, key) = Certificates::new().server();
    let web = "tls_server_config: { cert_file: server.crt, key_file: server.key }\n";
    let files =
        [("config.yaml", CONFIG), ("web.yaml", web), ("server.crt", &certificate), ("server.key", &key)];
    let told = |script: &str| {
        let script = format!("chmod 755 . && {script} && exec \"$0\" \"$@\"");
        let options = ["--web.config.file=web.yaml", "--user=65534"];
        let arguments = [&["-ec", &script, PROGRAM], &ARGUMENTS[..], &options].concat();
        let exporter = Running::start(&lab, "sh", &arguments, &files);
        wait_for("the start", &exporter, || exporter.log().contains("message=listening").then_some(()));
        let log = exporter.log();
        let lines = log.lines().filter(|line| line.contains("cannot read files of the web configuration"));
        lines.map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(told("chmod 644 *"), Vec::<String>::new());
    for (script, named) in [
        ("chmod 600 server.key", "files=server.key "),
        ("chmod 600 web.yaml server.key", "files=\"web.yaml, server.key\""),
    ] {
        let lines = told(script);
        let [line] = &lines[..] else { panic!("{script}: {lines:?}") };
        assert!(line.contains(named) && line.contains("Permission denied"), "{script}: {line}");
    }
}

#[test]
fn an_independent_parser_reads_what_is_exported() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("line"), Options::routers());
    let exporter = Running::exporter(&lab, CONFIG);
    wait_for("the first round", &exporter, || get(&lab, "http://127.0.0.1:10659/-/ready"));
    let text = get(&lab, "http://127.0.0.1:10659/metrics").unwrap();
    let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let script = "import sys\n\
                  from prometheus_client.parser import text_string_to_metric_families\n\
                  samples = [s for f in text_string_to_metric_families(sys.stdin.read()) for s in f.samples]\n\
                  assert all(s.timestamp is None for s in samples)\n\
                  print(len(samples), [s.value for s in samples if s.name == 'traceflow_target_up'])\n";
    let python = format!("{}/.test-tools/bin/python", env!("CARGO_MANIFEST_DIR"));
    let mut parser = Command::new(python)
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("scripts/install-test-tools installs it");
    parser.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = parser.wait_with_output().unwrap();
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.trim(), format!("{} [1]", samples.len()));
}

#[test]
fn a_wrong_web_configuration_is_told_before_anything_is_opened() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    file("config.yaml", CONFIG);
    let run = |check: &[&str]| {
        let output = Command::new(PROGRAM)
            .args(["--config.file=config.yaml", "--web.config.file=web.yaml"])
            .args(check)
            .current_dir(directory.path())
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let cases = [
        (
            "tls_server_config: { cert_file: no.crt, key_file: no.key }",
            "web.yaml:1:33: tls_server_config.cert_file: no.crt: cannot read: No such file or directory (os error 2); \
             allowed is a file that can be read",
        ),
        (
            "basic_auth_user: {}",
            "web.yaml:1:1: basic_auth_user: unknown key; allowed are tls_server_config, http_server_config, \
             basic_auth_users, rate_limit",
        ),
    ];
    for (text, expected) in cases {
        file("web.yaml", text);
        for check in [&[][..], &["--config.check"]] {
            assert_eq!(
                run(check),
                (Some(2), format!("traceflow_exporter: {expected}\n")),
                "{text} {check:?}"
            );
        }
    }
    file("web.yaml", "http_server_config: { http2: false }");
    assert_eq!(run(&["--config.check"]), (Some(0), String::new()));
}

#[test]
fn what_is_asked_wrongly_is_refused_and_who_is_slow_holds_up_nobody() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("line"), Options::routers());
    let targets: Vec<_> = (0..50).map(|number| format!("{{ name: t{number}, host: 127.0.0.1 }}")).collect();
    let config = format!("global: {{ interval: 1s }}\ntargets: [{}]\n", targets.join(", "));
    let exporter = Running::exporter(&lab, &config);
    ready(&lab, &exporter);
    let ask = |options: &[&str], path: &str| {
        let output = lab
            .command("s", "curl")
            .args(["--silent", "--max-time", "20", "--output", "/dev/null", "--write-out", "%{http_code}"])
            .args(options)
            .arg(format!("http://127.0.0.1:10659{path}"))
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let long = format!("X-Long: {}", "x".repeat(20_000));
    let cases: [(&[&str], &str, &str); 9] = [
        (&[], "/metrics", "200"),
        (&["--head"], "/metrics", "200"),
        (&[], "/nothing", "404"),
        (&[], "/targets/nobody", "404"),
        (&["--request", "POST"], "/metrics", "405"),
        (&["--request", "DELETE"], "/", "405"),
        (&["--header", &long], "/metrics", "431"),
        (&[], &format!("/{}", "x".repeat(9000)), "414"),
        (&["--header", "Host:"], "/metrics", "400"),
    ];
    for (options, path, expected) in cases {
        assert_eq!(ask(options, path), expected, "{:.20} {:.20}", options.concat(), path);
    }

    let mut clients = lab
        .command("s", "python3")
        .args(["-c", include_str!("clients.py")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(clients.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut input = clients.stdin.take().unwrap();
    assert_eq!(said.next().as_deref(), Some("slow"));
    let before = scrape(&lab).unwrap();
    wait_for("rounds beside a slow client", &exporter, || {
        scrape(&lab).filter(|now| {
            (0..50).all(|t| rounds(now, &format!("t{t}")) >= rounds(&before, &format!("t{t}")) + 2.0)
        })
    });
    input.write_all(b"\n").unwrap();
    assert_eq!(said.next().as_deref(), Some("crowd"));
    // Who says nothing makes room for those who ask.
    assert_eq!(ask(&[], "/-/healthy"), "200");
    let descriptors = value(&scrape(&lab).unwrap(), "process_open_fds").unwrap();
    assert!(descriptors < 200.0, "{descriptors} descriptors for 300 clients and ours");
    drop(input);
    assert!(clients.wait().unwrap().success());
    assert_eq!(exporter.terminate(), Some(0));
}

#[test]
fn users_come_and_go_while_it_runs() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&"s -> d".parse().unwrap(), Options::routers());
    let hash = bcrypt::hash("secret", 4).unwrap();
    let web = |user: &str| format!("basic_auth_users: {{ {user}: {hash} }}\n");
    let arguments = [&ARGUMENTS[..], &["--web.config.file=web.yaml"]].concat();
    let exporter =
        Running::start(&lab, PROGRAM, &arguments, &[("config.yaml", CONFIG), ("web.yaml", &web("alice"))]);
    let is_let_in = |user: &str| {
        let credentials = format!("{user}:secret@127.0.0.1:10659");
        get(&lab, &format!("http://{credentials}/-/healthy")).is_some()
    };
    wait_for("the server", &exporter, || is_let_in("alice").then_some(()));
    assert!(!is_let_in("bob"));
    exporter.write("web.yaml", &web("bob"));
    assert!(is_let_in("bob") && !is_let_in("alice"), "from the next request on:\n{}", exporter.log());
    exporter.write("web.yaml", "basic_auth_users: [carol]\n");
    assert!(is_let_in("bob") && !is_let_in("carol"), "what is wrong changes nothing");
    let log = exporter.log();
    let told: Vec<_> = log.lines().filter(|line| line.contains("level=error")).collect();
    assert!(matches!(told[..], [line] if line.contains("web.yaml:1:19: basic_auth_users: ")), "{log}");
    assert_eq!(exporter.terminate(), Some(0));
}

/// Also what becomes of connections while there are no file descriptors: one line when that begins, one when it is over.
#[test]
fn what_cannot_be_listened_on_or_accepted_is_told_once() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&"s -> d".parse().unwrap(), Options::routers());
    let exporter = Running::exporter(&lab, CONFIG);
    ready(&lab, &exporter);
    let file = format!("--config.file={}", exporter.file("config.yaml").display());
    let other = |address: &str| {
        let address = format!("--web.listen-address={address}");
        let output = lab.command("s", PROGRAM).args([&file, &address]).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for (address, expected) in [
        (
            "127.0.0.1:10659",
            "Address already in use (os error 98); stop what listens there, or name another address with ",
        ),
        (
            "192.0.2.77:10659",
            "Cannot assign requested address (os error 99); name an address of this machine with ",
        ),
    ] {
        let line =
            format!("traceflow_exporter: cannot listen on {address}: {expected}--web.listen-address\n");
        assert_eq!(other(address), (Some(1), line));
    }

    let limit = |descriptors: &str| {
        let arguments = [format!("--pid={}", exporter.id()), format!("--nofile={descriptors}:")];
        assert!(Command::new("prlimit").args(arguments).status().unwrap().success());
    };
    // The limit is one on their numbers.
    let is_free =
        |number: &u32| fs::symlink_metadata(format!("/proc/{}/fd/{number}", exporter.id())).is_err();
    limit(&(0..).find(is_free).unwrap().to_string());
    let asked = ["--silent", "--max-time", "2", "http://127.0.0.1:10659/-/healthy"];
    assert!(
        !lab.command("s", "curl").args(asked).status().unwrap().success(),
        "there is no descriptor for it"
    );
    limit("1024");
    wait_for("the server", &exporter, || get(&lab, "http://127.0.0.1:10659/-/healthy"));
    let log = exporter.log();
    let told: Vec<_> = log.lines().filter(|line| line.contains("cannot accept connections")).collect();
    let [begun, over] = told[..] else { panic!("{log}") };
    assert!(begun.contains("level=warn") && begun.contains("Too many open files"), "{begun}");
    assert!(over.contains("no longer: ") && over.contains(" attempts="), "{over}");
    assert_eq!(exporter.terminate(), Some(0));
}

/// What `--version` says is what the metrics say.
#[test]
fn the_version_names_revision_and_compiler() {
    let output = Command::new(PROGRAM).arg("--version").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let [first, compiler, platform] = lines[..] else { panic!("{text}") };
    let version = env!("CARGO_PKG_VERSION");
    let revision = first.strip_prefix(&format!("traceflow_exporter, version {version} (revision: "));
    let revision = revision.and_then(|rest| rest.strip_suffix(')'));
    assert!(revision.is_some_and(|revision| !revision.is_empty()), "{text}");
    assert!(
        compiler.starts_with("  rustc version:    1.") && platform.starts_with("  platform:         "),
        "{text}"
    );
    assert!(output.status.success() && output.stderr.is_empty());
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&"s -> d".parse().unwrap(), Options::routers());
    let exporter = Running::exporter(&lab, CONFIG);
    ready(&lab, &exporter);
    let labels = format!("version=\"{version}\",revision=\"{}\"", revision.unwrap());
    let shown = value(&scrape(&lab).unwrap(), &format!("traceflow_build_info{{{labels}}}"));
    assert_eq!(shown, Some(1.0), "{labels}");
    assert_eq!(exporter.terminate(), Some(0));
}
