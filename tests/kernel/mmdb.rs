//! AS databases, written by an independent program in the layouts of three vendors.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

/// Reads `{"layout": …, "networks": {NETWORK: NUMBER}}` and writes the file that the argument names.
const WRITER: &str = r#"
import json, sys
from mmdb_writer import MMDBWriter
from netaddr import IPSet
wanted = json.load(sys.stdin)
kind, record = {
    "GeoLite2": ("GeoLite2-ASN", lambda asn: {
        "autonomous_system_number": asn, "autonomous_system_organization": f"Org {asn}"}),
    "DB-IP": ("DBIP-ASN-Lite (compat=GeoLite2-ASN)", lambda asn: {
        "autonomous_system_number": asn, "autonomous_system_organization": f"Org {asn}"}),
    "IPinfo": ("ipinfo generic_asn_free.mmdb", lambda asn: {
        "asn": f"AS{asn}", "domain": "example.net", "name": f"Org {asn}"}),
    "cities": ("GeoLite2-City", lambda asn: {"city": {"names": {"en": "Amsterdam"}}}),
}[wanted["layout"]]
writer = MMDBWriter(6, kind, languages=["en"], description="test", ipv4_compatible=True, int_type="u32")
for network, asn in wanted["networks"].items():
    writer.insert_network(IPSet([network]), record(asn))
writer.to_db_file(sys.argv[1])
"#;

/// Writes a database of these networks. A file that is there is replaced in one step.
pub(crate) fn write(path: &Path, layout: &str, networks: &BTreeMap<String, u32>) {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".test-tools/bin/python");
    let written = path.with_extension("new");
    let mut writer = Command::new(&python)
        .args(["-c", WRITER])
        .arg(&written)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}; scripts/install-test-tools makes it", python.display()));
    let wanted = serde_json::json!({ "layout": layout, "networks": networks }).to_string();
    writer.stdin.take().unwrap().write_all(wanted.as_bytes()).unwrap();
    assert!(writer.wait().unwrap().success());
    std::fs::rename(written, path).unwrap();
}
