//! `compare A.json B.json`: what differs between two saved traces.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::{ExitError, print};
use crate::compare::{self, Saved};

/// The exit code where the routes differ.
const DIFFERENT: u8 = 3;

/// Options of `compare`.
#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    /// The trace before, as `trace --format json` wrote it; `-` is standard input.
    #[arg(value_name = "A.json")]
    before: PathBuf,
    /// The trace after; `-` is standard input.
    #[arg(value_name = "B.json")]
    after: PathBuf,
    /// How the difference is printed.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

/// Reads both, compares them and prints the difference.
pub(super) fn run(arguments: &CompareArgs) -> Result<(), ExitError> {
    if [&arguments.before, &arguments.after].into_iter().all(|path| is_input(path)) {
        return Err(ExitError::Usage("only one of the two can be standard input".to_owned()));
    }
    let (before, after) = (read(&arguments.before)?, read(&arguments.after)?);
    let difference = compare::compare(&before, &after);
    print(&match arguments.format {
        Format::Text => compare::text(&before, &after, &difference),
        Format::Json => {
            // Serialising plain structs into a string cannot fail.
            let mut text = serde_json::to_string_pretty(&difference).unwrap_or_default();
            text.push('\n');
            text
        }
    })?;
    if difference.same { Ok(()) } else { Err(ExitError::Outcome(DIFFERENT)) }
}

fn is_input(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn read(path: &Path) -> Result<Saved, ExitError> {
    let complain = |error: &dyn std::fmt::Display| ExitError::Failed(format!("{}: {error}", path.display()));
    let text = if is_input(path) {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(path)
    };
    let text =
        text.map_err(|error| complain(&format!("{error}; name a file that `trace --format json` wrote")))?;
    Saved::parse(&text).map_err(|error| complain(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::{self, Report, sample};

    #[test]
    fn the_exit_code_tells_what_came_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let save = |name: &str, text: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let json = |picture: &str| {
            let trace = sample::trace(&sample::evidence(picture));
            render::json(&Report { host: "h", started: sample::STARTED, trace: &trace })
        };
        let one = save("one.json", &json("1 192.0.2.1@1000 192.0.2.9@2000!"));
        let other = save("other.json", &json("1 192.0.2.2@1000 192.0.2.9@2000!"));
        let broken = save("broken.json", "{}");
        let missing = directory.path().join("missing.json");
        for format in [Format::Text, Format::Json] {
            let run = |before: &PathBuf, after: &PathBuf| {
                run(&CompareArgs { before: before.clone(), after: after.clone(), format })
            };
            assert!(run(&one, &one).is_ok());
            assert!(matches!(run(&"-".into(), &"-".into()), Err(ExitError::Usage(_))));
            assert!(matches!(run(&one, &other), Err(ExitError::Outcome(3))));
            for bad in [&broken, &missing] {
                let told = run(&one, bad).unwrap_err();
                assert!(matches!(told, ExitError::Failed(_)), "{told}");
                assert!(told.to_string().starts_with(&bad.display().to_string()), "{told}");
            }
        }
    }
}
