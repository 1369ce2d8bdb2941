//! Holds JSON against the schemas in docs.

use std::{collections::BTreeSet, fs, panic::catch_unwind, path::Path, process::Command};

use serde_json::{Value, json};

/// The places of the documents that an independent validator refuses. `format` is `json` or `yaml`.
pub(crate) fn refused(schema: &str, documents: &[String], format: &str) -> Vec<usize> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = tempfile::tempdir().expect("a directory");
    let files = documents.iter().enumerate().map(|(place, document)| {
        let file = directory.path().join(format!("{place}.{format}"));
        fs::write(&file, document).expect("a file");
        file
    });
    let files: Vec<_> = files.collect();
    let output = Command::new(root.join(".test-tools/bin/check-jsonschema"))
        .args(["--output-format", "json", "--schemafile"])
        .arg(root.join(schema))
        .args(&files)
        .output()
        .expect("check-jsonschema; scripts/install-test-tools installs it");
    let text = String::from_utf8_lossy(&output.stdout);
    let verdict: Value = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    let unread = verdict["parse_errors"].as_array();
    assert!(unread.is_none_or(Vec::is_empty), "a document cannot be read: {text}");
    let told: BTreeSet<_> = list(&verdict["errors"])
        .iter()
        .filter_map(|error| error["filename"].as_str().map(ToOwned::to_owned))
        .collect();
    assert_eq!(output.status.success(), told.is_empty(), "{text}");
    (0..files.len()).filter(|&place| files[place].to_str().is_some_and(|file| told.contains(file))).collect()
}

/// As much of JSON Schema as the schemas use. Panics where the value does not fit, and at keywords that it does not know.
pub(crate) fn check(value: &Value, schema: &Value, root: &Value, place: &str) {
    for (keyword, rule) in schema.as_object().expect("a schema is an object") {
        match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "format" => {}
            "$ref" => {
                let target = rule.as_str().and_then(|target| target.strip_prefix('#'));
                let target = target.and_then(|target| root.pointer(target));
                check(value, target.expect("a definition"), root, place);
            }
            "anyOf" => {
                let fits = |rule: &Value| catch_unwind(|| check(value, rule, root, place)).is_ok();
                assert!(list(rule).iter().any(fits), "{place}: {value} is none of these");
            }
            "const" => assert_eq!(value, rule, "{place}"),
            "enum" => assert!(list(rule).contains(value), "{place}: {value}"),
            "type" => {
                let single = [rule.clone()];
                let types = rule.as_array().map_or(&single[..], Vec::as_slice);
                assert!(types.iter().any(|kind| is_of_type(value, kind)), "{place}: {value} is no {rule}");
            }
            "minimum" => assert!(value.is_null() || value.as_f64() >= rule.as_f64(), "{place}: {value}"),
            "maximum" => assert!(value.is_null() || value.as_f64() <= rule.as_f64(), "{place}: {value}"),
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(item, rule, root, &format!("{place}/{index}"));
                }
            }
            "properties" => {
                for (name, rule) in rule.as_object().expect("properties") {
                    if let Some(value) = value.get(name) {
                        check(value, rule, root, &format!("{place}/{name}"));
                    }
                }
            }
            "additionalProperties" => assert_eq!(rule, &json!(false), "{place}"),
            "required" => {
                let Some(object) = value.as_object() else { continue };
                let required: BTreeSet<_> = list(rule).iter().filter_map(Value::as_str).collect();
                let known: BTreeSet<_> = keys(&schema["properties"]);
                assert_eq!(required, known, "{place}: every property is required");
                assert_eq!(object.keys().map(String::as_str).collect::<BTreeSet<_>>(), known, "{place}");
                assert_eq!(schema["additionalProperties"], json!(false), "{place}");
            }
            other => panic!("{place}: unknown keyword {other}"),
        }
    }
}

fn list(rule: &Value) -> &[Value] {
    rule.as_array().expect("a list")
}

fn keys(object: &Value) -> BTreeSet<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

fn is_of_type(value: &Value, kind: &Value) -> bool {
    match kind.as_str().expect("a type") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        other => panic!("unknown type {other}"),
    }
}
