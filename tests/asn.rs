//! AS databases as an independent program writes them, and what the program says of those that it cannot use.
#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers here are tests as well")]

#[path = "kernel/mmdb.rs"]
mod mmdb;

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use tempfile::TempDir;
use traceflow_exporter::asn::{Database, Systems as _};

fn networks() -> BTreeMap<String, u32> {
    [("192.0.2.0/24", 64_496), ("198.51.100.7/32", 4_200_000_000), ("2001:db8:1::/48", 64_500)]
        .map(|(network, asn)| (network.to_owned(), asn))
        .into()
}

#[test]
fn the_layouts_of_all_vendors_are_understood() {
    let directory = TempDir::new().unwrap();
    for layout in ["GeoLite2", "DB-IP", "IPinfo"] {
        let path = directory.path().join("asn.mmdb");
        mmdb::write(&path, layout, &networks());
        let database = Database::load(&path).unwrap();
        let cases = [
            ("192.0.2.0", Some(64_496)),
            ("192.0.2.255", Some(64_496)),
            ("192.0.3.0", None),
            ("198.51.100.7", Some(4_200_000_000)),
            ("198.51.100.8", None),
            ("10.0.0.1", None),
            ("2001:db8:1::9", Some(64_500)),
            ("2001:db8:2::9", None),
            ("::1", None),
        ];
        for (address, expected) in cases {
            assert_eq!(database.asn(address.parse().unwrap()), expected, "{layout}: {address}");
        }
    }
}

/// What a configuration with this database makes the program say, and its exit code.
fn said(directory: &Path, options: &[&str]) -> (Option<i32>, String) {
    let config = directory.join("config.yaml");
    let text = "global: { asn_database: data/asn.mmdb }\ntargets: [{ name: a, host: 127.0.0.1 }]\n";
    fs::write(&config, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_traceflow_exporter"))
        .arg(format!("--config.file={}", config.display()))
        .args(options)
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_database_that_cannot_be_used_is_told_in_one_line() {
    let directory = TempDir::new().unwrap();
    fs::create_dir(directory.path().join("data")).unwrap();
    let path = directory.path().join("data/asn.mmdb");
    let data = directory.path().display();
    let place =
        format!("traceflow_exporter: {data}/config.yaml:1:25: global.asn_database: {data}/data/asn.mmdb: ");
    let allowed = "; allowed is an mmdb file with AS numbers, such as GeoLite2-ASN\n";
    let check = |what: &str| {
        for options in [&["--config.check"][..], &[]] {
            let (code, said) = said(directory.path(), options);
            assert_eq!(code, Some(2), "{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
            assert!(said.starts_with(&place) && said.contains(what) && said.ends_with(allowed), "{said}");
        }
    };
    check("No such file");
    fs::create_dir(&path).unwrap();
    check("no regular file");
    fs::remove_dir(&path).unwrap();
    fs::write(&path, "no database").unwrap();
    check("no mmdb file that can be used");
    mmdb::write(&path, "GeoLite2", &networks());
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    check("no mmdb file that can be used");
    mmdb::write(&path, "cities", &networks());
    check("a database of type `GeoLite2-City`, which has no AS numbers");

    fs::write(&path, whole).unwrap();
    assert_eq!(said(directory.path(), &["--config.check"]), (Some(0), String::new()));
}
