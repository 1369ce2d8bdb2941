//! Replays what the fuzzers found worth keeping, without a fuzzer: every file of `fuzz/corpus` goes through the check of its
//! target.
#![allow(clippy::unwrap_used, reason = "the helpers here are tests as well")]

#[path = "../fuzz/checks.rs"]
#[allow(
    unreachable_pub,
    clippy::panic,
    reason = "a library to the fuzz targets; says what is wrong by panicking"
)]
mod checks;

use std::{
    collections::BTreeSet,
    fs,
    panic::catch_unwind,
    path::{Path, PathBuf},
};

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_input_passes_its_check() {
    let mut failed = Vec::new();
    for (name, check) in checks::ALL {
        let files = files(&corpora().join(name));
        assert!(files.len() > 10, "the corpus of {name} is gone");
        for file in files {
            let input = fs::read(&file).unwrap();
            if catch_unwind(|| check(&input)).is_err() {
                failed.push(file);
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// What coverage does not ask a fuzzer for: damage to each single byte of a quote, in each family and protocol.
#[test]
fn quotes_with_one_byte_damaged() {
    for kind in 0..6 {
        for place in 0..64 {
            let mut input = vec![kind, 0x12, 0x34, 0x9c, 0x40, 0xde, 0xad, 0xbe, 0xef, u8::MAX, 5];
            input.resize(input.len() + 64, 0);
            if let Some(byte) = input.get_mut(11 + place) {
                *byte = 1;
            }
            checks::quote(&input);
        }
    }
}

/// A target without a corpus, or a corpus without a target, would never be replayed.
#[test]
fn corpora_are_those_of_the_targets() {
    let name = |path: PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    let names = |directory: &Path| files(directory).into_iter().map(name).collect::<BTreeSet<_>>();
    let checks: BTreeSet<_> = checks::ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&corpora()), checks);
    assert_eq!(names(&corpora().join("../fuzz_targets")), checks);
}
