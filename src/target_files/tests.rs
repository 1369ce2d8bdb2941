use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

/// A configuration file with files of targets beside it.
struct Bed {
    directory: TempDir,
    config: Config,
    files: TargetFiles,
}

const CONFIG: &str = "{ target_files: ['t/*.yaml', 't/*.json', one.yml], targets: [{ name: own, host: h }] }";

impl Bed {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = TempDir::new().unwrap();
        fs::create_dir(directory.path().join("t")).unwrap();
        for (name, text) in files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let config = Config::parse("c", CONFIG).unwrap();
        let files = TargetFiles::read(&directory.path().join("c"), &config);
        Self { directory, config, files }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file under another name first, as careful writers do: its inode is another each time.
    fn put(&self, name: &str, text: &str) {
        let temporary = self.path("t/.new");
        fs::write(&temporary, text).unwrap();
        fs::rename(temporary, self.path(name)).unwrap();
    }

    /// The targets after two looks; whether anything was new at the first, and at the second.
    fn looks(&mut self) -> (Vec<String>, [bool; 2]) {
        let new = [(); 2].map(|()| self.files.poll(&self.config));
        (self.targets(), new)
    }

    fn targets(&self) -> Vec<String> {
        self.files.targets(&self.config).iter().map(|target| target.name.to_string()).collect()
    }

    /// What is wrong, without the directory.
    fn problems(&self) -> Vec<String> {
        let directory = format!("{}/", self.directory.path().display());
        self.files.problems().map(|problem| problem.to_string().replace(&directory, "")).collect()
    }
}

#[test]
fn files_are_found_by_their_patterns() {
    let bed = Bed::new(&[
        ("t/a.yaml", "- targets: [a]"),
        ("t/b.json", "[{\"targets\": [\"b\"]}]"),
        ("t/.c.yaml", "- targets: [c]"),
        ("t/d.yml", "- targets: [d]"),
        ("t/e.yaml~", "- targets: [e]"),
        ("a.yaml", "- targets: [f]"),
        ("one.yml", "- targets: [one]"),
    ]);
    assert_eq!(bed.targets(), ["own", "one", "a", "b"]);
    assert_eq!(bed.problems(), [""; 0]);
    assert_eq!(bed.files.unmatched(&bed.config).count(), 0);
    let empty = Bed::new(&[]);
    let unmatched: Vec<_> = empty.files.unmatched(&empty.config).map(FileGlob::as_str).collect();
    assert_eq!(unmatched, ["t/*.yaml", "t/*.json", "one.yml"]);
}

#[test]
fn a_change_is_taken_in_once_it_is_settled() {
    let mut bed = Bed::new(&[("t/a.yaml", "- targets: [a]")]);
    assert_eq!(bed.looks(), (vec!["own".to_owned(), "a".to_owned()], [false, false]));

    // Written piece by piece: each piece is well-formed, and none is taken for the whole.
    for text in ["- targets: [a", "- targets: [a, b]", "- targets: [a, b]\n- targets: [c]"] {
        fs::write(bed.path("t/a.yaml"), text).unwrap();
        assert!(!bed.files.poll(&bed.config), "{text}");
        assert_eq!(bed.targets(), ["own", "a"], "{text}");
    }
    assert!(bed.files.poll(&bed.config));
    assert_eq!(bed.targets(), ["own", "a", "b", "c"]);

    bed.put("t/a.yaml", "- targets: [x, y, z]\n- targets: [c]");
    assert_eq!(bed.looks(), (["own", "x", "y", "z", "c"].map(ToOwned::to_owned).to_vec(), [false, true]));
    bed.put("t/new.yaml", "- targets: [n]");
    assert_eq!(bed.looks().0, ["own", "x", "y", "z", "c", "n"]);

    // A file that is there again at the next look was not gone.
    fs::remove_file(bed.path("t/new.yaml")).unwrap();
    assert!(!bed.files.poll(&bed.config));
    bed.put("t/new.yaml", "- targets: [n]");
    assert!(!bed.files.poll(&bed.config));
    assert_eq!(bed.looks().0, ["own", "x", "y", "z", "c", "n"]);
    fs::remove_file(bed.path("t/new.yaml")).unwrap();
    assert_eq!(bed.looks(), (["own", "x", "y", "z", "c"].map(ToOwned::to_owned).to_vec(), [false, true]));
}

#[test]
fn a_link_that_is_swapped_is_another_file() {
    let mut bed = Bed::new(&[]);
    for (generation, text) in [("..1", "- targets: [a]"), ("..2", "- targets: [b]")] {
        fs::create_dir(bed.path(&format!("t/{generation}"))).unwrap();
        fs::write(bed.path(&format!("t/{generation}/t.yaml")), text).unwrap();
    }
    // As Kubernetes mounts a ConfigMap.
    symlink("..1", bed.path("t/..data")).unwrap();
    symlink("..data/t.yaml", bed.path("t/t.yaml")).unwrap();
    assert_eq!(bed.looks().0, ["own", "a"]);
    symlink("..2", bed.path("t/..tmp")).unwrap();
    fs::rename(bed.path("t/..tmp"), bed.path("t/..data")).unwrap();
    assert_eq!(bed.looks().0, ["own", "b"]);
    fs::remove_file(bed.path("t/..data")).unwrap();
    assert_eq!(bed.looks().0, ["own"], "a link to nothing is no file");
    assert_eq!(bed.problems(), [""; 0]);
}

#[test]
fn what_cannot_be_used_leaves_the_former_targets() {
    let mut bed = Bed::new(&[("t/a.yaml", "- targets: [a]"), ("t/b.yaml", "- targets: [b]")]);
    for (text, problem) in [
        (&b"- targets: [a, c"[..], "t/a.yaml:2:1: (root): not YAML: did not find expected ',' or ']', "),
        (b"", "t/a.yaml:1:1: (root): the file is empty; "),
        (b"- targets: [\xff]", "t/a.yaml:1:13: (root): the byte 0xff is not UTF-8; "),
        (
            b"- targets: [c, b]",
            "t/a.yaml:1:16: [0].targets[1]: `b` is the name of [0].targets[0] in t/b.yaml already; ",
        ),
        (
            b"- targets: [own]",
            "t/a.yaml:1:13: [0].targets[0]: `own` is the name of targets[0] in c already; ",
        ),
    ] {
        fs::write(bed.path("t/a.yaml"), text).unwrap();
        assert_eq!(bed.looks(), (["own", "a", "b"].map(ToOwned::to_owned).to_vec(), [false, true]));
        let problems = bed.problems();
        assert!(matches!(&problems[..], [line] if line.starts_with(problem)), "{problems:?}");
        assert_eq!(bed.looks().1, [false, false], "it is told once");
    }
    fs::remove_file(bed.path("t/a.yaml")).unwrap();
    fs::create_dir(bed.path("t/a.yaml")).unwrap();
    assert_eq!(bed.looks().0, ["own", "a", "b"]);
    assert_eq!(bed.problems(), ["t/a.yaml: cannot read: this is no file"]);
    fs::remove_dir(bed.path("t/a.yaml")).unwrap();
    bed.put("t/a.yaml", "- targets: [d]");
    assert_eq!(bed.looks().0, ["own", "d", "b"]);
    assert_eq!(bed.problems(), [""; 0]);
}

#[test]
fn a_target_moves_from_file_to_file_in_any_order() {
    // before, after -> targets in the end, all written at once and one after the other, in either order
    for reverse in [false, true] {
        let mut bed = Bed::new(&[("t/a.yaml", "- targets: [a, x]"), ("t/b.yaml", "- targets: [b]")]);
        let mut steps = [("t/a.yaml", "- targets: [a]"), ("t/b.yaml", "- targets: [b, x]")];
        if reverse {
            steps.reverse();
        }
        for (name, text) in steps {
            bed.put(name, text);
            bed.looks();
        }
        assert_eq!(bed.targets(), ["own", "a", "b", "x"], "{reverse}");
        assert_eq!(bed.problems(), [""; 0], "{reverse}");

        for (name, text) in [("t/a.yaml", "- targets: [a, x]"), ("t/b.yaml", "- targets: [b]")] {
            bed.put(name, text);
        }
        assert_eq!(bed.looks().0, ["own", "a", "x", "b"]);
    }
    // A file that falls back has its names, also before one that came first.
    let mut bed = Bed::new(&[("t/a.yaml", "- targets: [a]"), ("t/b.yaml", "- targets: [x]")]);
    bed.put("t/a.yaml", "- targets: [a, x]");
    bed.put("t/b.yaml", "- targets: [y, own]");
    assert_eq!(bed.looks().0, ["own", "a", "x"]);
    assert_eq!(bed.problems().len(), 2, "{:?}", bed.problems());
}

#[test]
fn another_configuration_keeps_what_makes_sense_with_it() {
    let labelled = |module: &str| format!("- targets: [a]\n  labels: {{ module: {module} }}\n");
    let mut bed = Bed::new(&[("t/b.yaml", "- targets: [b]")]);
    bed.config = Config::parse("c", &CONFIG.replacen('{', "{ modules: { m: {}, n: {} },", 1)).unwrap();
    bed.put("t/a.yaml", &labelled("m"));
    assert_eq!(bed.looks().0, ["own", "a", "b"]);

    // The content is bad, and its former targets need a module that goes.
    let with = |modules: &str| {
        Config::parse("c", &CONFIG.replacen('{', &format!("{{ modules: {{ {modules} }},"), 1)).unwrap()
    };
    bed.put("t/a.yaml", &labelled("o"));
    bed.looks();
    let error = bed.files.reread(&with("n: {}")).unwrap_err().to_string();
    assert!(
        error.ends_with("t/a.yaml:2:21: [0].labels.module: there is no module `o`; allowed are default, n"),
        "{error}"
    );
    // Kept where it stays, with what it means now.
    let config = with("m: { flows: 3 }");
    let files = bed.files.reread(&config).unwrap();
    let targets = files.targets(&config);
    assert_eq!(targets.iter().map(|target| target.module.flows).collect::<Vec<_>>(), [16, 3, 16]);
    assert_eq!(files.problems().count(), 1);
    // Well again where the module comes.
    let config = with("o: { flows: 4 }");
    let files = bed.files.reread(&config).unwrap();
    assert_eq!(
        files.targets(&config).iter().map(|target| target.module.flows).collect::<Vec<_>>(),
        [16, 4, 16]
    );
    assert_eq!(files.problems().count(), 0);
    // A name that the configuration itself has now.
    let config =
        Config::parse("c", &CONFIG.replace("own", "b").replacen('{', "{ modules: { m: {} },", 1)).unwrap();
    let error = bed.files.reread(&config).unwrap_err().to_string();
    assert!(
        error.contains("`b` is the name of targets[0] in ") && error.contains("t/b.yaml:1:13: "),
        "{error}"
    );
    // Patterns that go take their files with them.
    let config = Config::parse("c", "targets: [{ name: a, host: h }]").unwrap();
    assert_eq!(bed.files.reread(&config).unwrap().targets(&config).len(), 1);
}
