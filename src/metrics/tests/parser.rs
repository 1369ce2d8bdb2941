//! A reader of the text format, strict where Prometheus is.

use std::collections::BTreeSet;

/// One line of an exposition.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) name: String,
    pub(super) labels: Vec<(String, String)>,
    pub(super) value: f64,
}

impl Sample {
    pub(super) fn label(&self, name: &str) -> Option<&str> {
        let found = self.labels.iter().find(|(label, _)| label == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// All samples. Panics at a line that is none, at a series or a label that comes twice, and at a family that does not stand in
/// one piece behind its HELP and TYPE.
pub(super) fn parse(text: &str) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut series = BTreeSet::new();
    let mut families = BTreeSet::new();
    let mut family = "";
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, _) = help.split_once(' ').expect("a text");
            assert!(families.insert(name), "{name} comes twice");
            family = name;
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, _) = kind.split_once(' ').expect("a type");
            assert_eq!(name, family, "TYPE follows its HELP");
        } else {
            let sample = sample(line);
            assert!(sample.name.starts_with(family), "{line} is not of {family}");
            let mut labels = sample.labels.clone();
            labels.sort();
            let names: BTreeSet<_> = labels.iter().map(|(name, _)| name).collect();
            assert_eq!(names.len(), labels.len(), "a label twice: {line}");
            assert!(series.insert((sample.name.clone(), labels)), "a series twice: {line}");
            samples.push(sample);
        }
    }
    samples
}

fn sample(line: &str) -> Sample {
    let end = line.find(['{', ' ']).expect("the end of the name");
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest),
        None => (Vec::new(), rest),
    };
    Sample { name: name.to_owned(), labels, value: rest.trim_start().parse().expect("a number") }
}

/// The labels up to the closing brace, and what follows it.
fn labels(mut rest: &str) -> (Vec<(String, String)>, &str) {
    let mut labels = Vec::new();
    loop {
        if let Some(rest) = rest.strip_prefix('}') {
            return (labels, rest);
        }
        let (name, behind) = rest.split_once("=\"").expect("a value");
        let is_word =
            |text: &str| !text.is_empty() && text.chars().all(|c| c == '_' || c.is_ascii_alphanumeric());
        assert!(is_word(name), "{name:?} is no label's name");
        let mut value = String::new();
        let mut chars = behind.char_indices();
        let end = loop {
            match chars.next().expect("the end of the value") {
                (at, '"') => break at,
                (_, '\\') => value.push(match chars.next().expect("an escaped character").1 {
                    'n' => '\n',
                    escaped @ ('\\' | '"') => escaped,
                    other => panic!("\\{other} is no escape"),
                }),
                (_, other) => value.push(other),
            }
        };
        labels.push((name.to_owned(), value));
        rest = &behind[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
}
