//! What is wrong with a configuration, where it stands and what is allowed instead: always one line.
//!
//! Knows how the YAML library words its errors, nothing of what the keys mean.

use std::{fmt::Write as _, io, path::Path};

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{file}: cannot read: {reason}")]
    Read {
        /// The file as it was named.
        file: String,
        /// What the operating system says.
        reason: io::Error,
    },
    /// The file says something that is not allowed.
    #[error("{file}:{line}:{column}: {path}: {wrong}; {allowed}")]
    Invalid {
        /// The file as it was named.
        file: String,
        /// The line, counted from 1.
        line: usize,
        /// The column in characters, counted from 1.
        column: usize,
        /// The key that the error is about, such as `targets[1].name`; `(root)` where it is the file as a whole.
        path: String,
        /// What is wrong.
        wrong: String,
        /// What is allowed, with its verb.
        allowed: String,
    },
}

impl ConfigError {
    /// The error of reading a file.
    pub(crate) fn read(file: &Path, reason: io::Error) -> Self {
        Self::Read { file: one_line(&file.display().to_string(), usize::MAX), reason }
    }

    /// An error at a place.
    pub(super) fn invalid(file: &str, place: Place, Fault { path, wrong, allowed }: Fault) -> Self {
        let verb = if allowed.starts_with("are ") { "allowed" } else { "allowed is" };
        Self::Invalid {
            file: one_line(file, usize::MAX),
            line: place.line,
            column: place.column,
            path: if path.is_empty() { ROOT.to_owned() } else { one_line(&path, 200) },
            wrong: one_line(&wrong, 400),
            allowed: one_line(&format!("{verb} {allowed}"), 800),
        }
    }
}

/// The path of the file as a whole.
const ROOT: &str = "(root)";

/// A place in the text: line and column, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Place {
    pub(super) const START: Self = Self { line: 1, column: 1 };

    /// The place behind all of `text`.
    pub(super) fn behind(text: &str) -> Self {
        let last = text.rsplit('\n').next().unwrap_or(text);
        Self { line: text.matches('\n').count() + 1, column: last.chars().count() + 1 }
    }

    /// The place as the YAML library writes it.
    fn in_words(self) -> String {
        format!("line {} column {}", self.line, self.column)
    }

    /// Where the library says that the error is; `None` for errors about the text as a whole.
    pub(super) fn of(error: &serde_yaml::Error) -> Option<Self> {
        error.location().map(|location| Self { line: location.line(), column: location.column() })
    }
}

/// What is wrong with one key. `allowed` completes "allowed is …"; where it begins with "are ", "allowed …".
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) path: String,
    pub(super) wrong: String,
    pub(super) allowed: String,
}

impl Fault {
    /// A fault of the file as a whole.
    pub(super) fn root(wrong: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self { path: String::new(), wrong: wrong.into(), allowed: allowed.into() }
    }

    /// Rewords an error of the YAML library. It shows path, message and place only as one text,
    /// `PATH: MESSAGE at line L column C`; what `raw`, `field` and `yaml` raise is worded as serde's own messages are.
    pub(super) fn of_yaml(error: &serde_yaml::Error) -> Self {
        let text = error.to_string();
        let text = Place::of(error)
            .and_then(|place| text.strip_suffix(&format!(" at {}", place.in_words())))
            .unwrap_or(&text);
        // The first beginning counts: what follows it may quote anything.
        let first = REWORDINGS
            .iter()
            .filter_map(|(start, reword)| Some((start_of_message(text, start)?, start, reword)))
            .min_by_key(|(at, ..)| *at);
        if let Some((at, start, reword)) = first {
            let (path, message) = text.split_at(at);
            let path = path.strip_suffix(": ").unwrap_or(path);
            // Where the file is a list, the library writes a dot for the file.
            let path = if path.starts_with(".[") { path.trim_start_matches('.') } else { path };
            if let Some(fault) = message.strip_prefix(start).and_then(|message| reword(path, message)) {
                return fault;
            }
        }
        match text {
            "repetition limit exceeded" => Self::root("aliases repeat too much", "what is written out"),
            "recursion limit exceeded" => Self::root("nested too deeply", "at most 128 levels"),
            "unknown anchor" => Self::root("the alias names no anchor", "an alias of an anchor above it"),
            _ => {
                // Our line begins with the place already.
                let text = Place::of(error).map_or_else(
                    || text.to_owned(),
                    |place| text.replace(&format!(" at {}", place.in_words()), ""),
                );
                let allowed = "well-formed YAML (text with special characters goes into quotes)";
                Self::root(format!("not YAML: {text}"), allowed)
            }
        }
    }
}

type Reword = fn(&str, &str) -> Option<Fault>;

/// The beginnings of serde's messages, and how to say the rest in our words.
const REWORDINGS: [(&str, Reword); 5] = [
    ("invalid value: ", |path, message| {
        // What is wrong may quote the file, what is expected is always our own text: so split from the right.
        let (wrong, allowed) = message.rsplit_once(", expected ")?;
        Some(Fault { path: path.to_owned(), wrong: wrong.to_owned(), allowed: allowed.to_owned() })
    }),
    ("invalid type: ", |path, message| {
        let (found, allowed) = message.rsplit_once(", expected ")?;
        let found = match found {
            "sequence" => "a list",
            "map" => "a mapping",
            "unit value" => "nothing",
            "enum" => "a tag",
            _ => found.trim_end_matches(" as u128").trim_end_matches(" as i128"),
        };
        let allowed = match allowed {
            "a sequence" => "a list",
            "a map" => "a mapping of names to values",
            _ => allowed,
        };
        Some(Fault { path: path.to_owned(), wrong: format!("found {found}"), allowed: allowed.to_owned() })
    }),
    ("unknown field `", |path, message| {
        let (key, allowed) = message.rsplit_once("`, expected ")?;
        let allowed = allowed.trim_start_matches("one of ").replace("` or `", ", ").replace('`', "");
        Some(Fault {
            path: join(path, key),
            wrong: "unknown key".to_owned(),
            allowed: format!("are {allowed}"),
        })
    }),
    ("invalid key `", |path, message| {
        let (message, allowed) = message.rsplit_once(", expected ")?;
        let (key, wrong) = message.split_once("`: ")?;
        Some(Fault { path: join(path, key), wrong: wrong.to_owned(), allowed: allowed.to_owned() })
    }),
    ("duplicate field `", |path, message| {
        let key = message.strip_suffix('`')?;
        Some(Fault {
            path: join(path, key),
            wrong: "the key is there twice".to_owned(),
            allowed: "each key once".to_owned(),
        })
    }),
];

/// Where `start` begins the message: at the beginning of the text or behind the path.
fn start_of_message(text: &str, start: &str) -> Option<usize> {
    if text.starts_with(start) {
        return Some(0);
    }
    text.find(&format!(": {start}")).map(|at| at + 2)
}

/// The path of a key below a path.
fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Text on one line: control characters and what else breaks or turns a line are escaped, and it is cut behind
/// `max` characters.
pub(super) fn one_line(text: &str, max: usize) -> String {
    let mut line = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == max {
            line.push('…');
            break;
        }
        if c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            // Writing to a String does not fail.
            let _ = write!(line, "{}", c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters() {
        for (text, line, column) in [("", 1, 1), ("a", 1, 2), ("a\n", 2, 1), ("a\nné", 2, 3), ("\n\n", 3, 1)]
        {
            assert_eq!(Place::behind(text), Place { line, column }, "{text:?}");
        }
    }

    #[test]
    fn lines_stay_lines() {
        for (text, max, line) in [
            ("plain é", 80, "plain é"),
            ("a\nb\u{1b}[2J", 80, "a\\nb\\u{1b}[2J"),
            ("\u{2028}\u{202e}", 80, "\\u{2028}\\u{202e}"),
            ("abcdef", 6, "abcdef"),
            ("abcdef", 5, "abcde…"),
        ] {
            assert_eq!(one_line(text, max), line);
        }
    }
}
