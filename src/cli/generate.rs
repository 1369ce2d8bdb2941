//! `generate DIR`: completions of shells and manual pages, made of what the command line knows of itself.

use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;

use super::ExitError;

/// Shells that packages have a place for.
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

/// The name of the program, without what `--version` says behind it.
const PROGRAM: &str = env!("CARGO_PKG_NAME");

/// Options of `generate`.
#[derive(Debug, Args)]
pub(super) struct GenerateArgs {
    /// The directory to write to.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Writes a file a shell, and a page for the program and each of its commands.
pub(super) fn run(arguments: &GenerateArgs, command: Command) -> Result<(), ExitError> {
    let directory = &arguments.directory;
    let complain = |error: std::io::Error| {
        ExitError::Failed(format!("cannot write to {}: {error}", directory.display()))
    };
    // `help` says what the pages say.
    let mut command = command.name(PROGRAM).display_name(PROGRAM).disable_help_subcommand(true);
    for shell in SHELLS {
        clap_complete::generate_to(shell, &mut command, PROGRAM, directory).map_err(complain)?;
    }
    clap_mangen::generate_to(command, directory).map_err(complain)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn completions_and_pages_know_the_options() {
        let directory = tempfile::tempdir().unwrap();
        let arguments = GenerateArgs { directory: directory.path().to_owned() };
        run(&arguments, super::super::Cli::command()).unwrap();
        let cases = [
            ("traceflow_exporter.bash", "--confidence"),
            ("_traceflow_exporter", "--confidence"),
            ("traceflow_exporter.fish", "mermaid"),
            ("traceflow_exporter.1", "config.file"),
            ("traceflow_exporter-trace.1", "mermaid"),
            ("traceflow_exporter-compare.1", "A.json"),
            ("traceflow_exporter-demo.1", "web.listen-address"),
        ];
        for (file, word) in cases {
            let text = std::fs::read_to_string(directory.path().join(file)).unwrap();
            assert!(text.replace('\\', "").contains(word), "{file} does not know {word}");
        }
        let files = std::fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(files, cases.len(), "pages of hidden commands");
        let missing = GenerateArgs { directory: directory.path().join("missing") };
        let told = run(&missing, super::super::Cli::command()).unwrap_err().to_string();
        assert!(told.starts_with("cannot write to ") && !told.contains('\n'), "{told}");
    }
}
