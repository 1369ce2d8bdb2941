use std::{collections::BTreeSet, os::unix::fs::PermissionsExt as _};

use super::*;

fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn states_are_kept_and_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("made/on the way");
    let storage = Storage::open(&path).unwrap();
    assert_eq!(storage.load::<u64>("a/b").unwrap(), None);
    for state in [1_u64, 2] {
        storage.save("a/b", &state).unwrap();
        storage.save("a", &(state + 10)).unwrap();
        assert_eq!(storage.load("a/b").unwrap(), Some(state));
    }
    drop(storage);
    let storage = Storage::open(&path).unwrap();
    assert_eq!(["a/b", "a", "b"].map(|target| storage.load(target).unwrap()), [Some(2_u64), Some(12), None]);
    assert_eq!(names(&path), ["a%2Fb.state", "a.state", "lock"].map(str::to_owned).into());
}

#[test]
fn what_cannot_be_used_is_put_aside_and_stays() {
    let directory = tempfile::tempdir().unwrap();
    let storage = Storage::open(directory.path()).unwrap();
    let file = directory.path().join("a.state");
    storage.save("b", &5_u64).unwrap();
    let foreign = fs::read_to_string(directory.path().join("b.state")).unwrap();
    let contents = [foreign.replace('5', "6"), foreign.replace("state 1", "state 9"), foreign, String::new()];
    for content in &contents {
        fs::write(&file, content).unwrap();
        assert_eq!(storage.load::<u64>("a").unwrap(), None, "{content}");
        assert!(!file.exists(), "{content}");
        storage.save("a", &7_u64).unwrap();
    }
    for (content, number) in contents.iter().zip(1..) {
        let kept = directory.path().join(format!("a.state.damaged-{number}"));
        assert_eq!(fs::read_to_string(kept).unwrap(), *content);
    }
    assert_eq!(storage.load("a").unwrap(), Some(7_u64));
}

#[test]
fn what_was_being_written_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    Storage::open(directory.path()).unwrap().save("a", &1_u64).unwrap();
    fs::write(directory.path().join("a.state.tmp"), "traceflow").unwrap();
    fs::write(directory.path().join("notes.tmp"), "the operator's own").unwrap();
    let storage = Storage::open(directory.path()).unwrap();
    assert_eq!(storage.load("a").unwrap(), Some(1_u64));
    assert_eq!(names(directory.path()), ["a.state", "lock", "notes.tmp"].map(str::to_owned).into());
}

#[test]
fn a_directory_serves_one_exporter() {
    let directory = tempfile::tempdir().unwrap();
    let first = Storage::open(directory.path()).unwrap();
    let text = Storage::open(directory.path()).unwrap_err().to_string();
    assert!(text.contains("belongs to another traceflow_exporter") && !text.contains('\n'), "{text}");
    drop(first);
    Storage::open(directory.path()).unwrap();
}

#[test]
fn a_directory_that_is_none_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let cases = [
        (file.clone(), "cannot use", "not a directory"),
        (file.join("below"), "cannot create", "Not a directory"),
        (PathBuf::from("/proc/traceflow"), "cannot create", "No such file"),
    ];
    for (path, doing, reason) in cases {
        let text = Storage::open(&path).unwrap_err().to_string();
        let begin = format!("--storage.path: {doing} {}: {reason}", path.display());
        assert!(text.starts_with(&begin) && text.contains("; name a directory"), "{text}");
        assert!(!text.contains('\n'), "{text}");
    }
}

#[test]
fn a_directory_that_lets_nobody_write_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(Storage::open(directory.path()).unwrap());
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o555)).unwrap();
    // Root may write where nobody may.
    if File::create(directory.path().join("root")).is_err() {
        let text = Storage::open(directory.path()).unwrap_err().to_string();
        assert!(text.contains("cannot write to"), "{text}");
    }
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_write_that_fails_leaves_what_was_kept() {
    let directory = tempfile::tempdir().unwrap();
    let storage = Storage::open(directory.path()).unwrap();
    storage.save("a", &1_u64).unwrap();
    // Nothing can be written to what is a directory.
    fs::create_dir(directory.path().join("a.state.tmp")).unwrap();
    let text = storage.save("a", &2_u64).unwrap_err().to_string();
    assert!(text.starts_with("cannot write ") && text.contains("a.state: "), "{text}");
    assert_eq!(storage.load("a").unwrap(), Some(1_u64));
    fs::remove_dir(directory.path().join("a.state.tmp")).unwrap();
    storage.save("a", &2_u64).unwrap();
    assert_eq!(storage.load("a").unwrap(), Some(2_u64));
}
