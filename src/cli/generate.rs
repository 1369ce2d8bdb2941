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

/// Exit codes that the program and all its commands have, with what they mean.
const CODES: [(&str, &str); 3] = [
    ("0", "Done."),
    ("1", "It failed at run time; one line on standard error says what and what to do."),
    ("2", "Bad usage, or a bad configuration file."),
];
/// Those that a command has besides.
const FURTHER: [(&str, &str, &str); 2] = [
    ("compare", "3", "The routes differ."),
    ("trace", "130", "It was interrupted; what was known by then is printed."),
];

/// Writes a file a shell, and a page for the program and each of its commands.
pub(super) fn run(arguments: &GenerateArgs, command: &Command) -> Result<(), ExitError> {
    let directory = &arguments.directory;
    let complain = |error: std::io::Error| {
        ExitError::Failed(format!("cannot write to {}: {error}", directory.display()))
    };
    let mut command = shown(command);
    for shell in SHELLS {
        clap_complete::generate_to(shell, &mut command, PROGRAM, directory).map_err(complain)?;
    }
    command.build();
    for page in std::iter::once(&command).chain(command.get_subcommands()) {
        let name = page.get_display_name().unwrap_or(PROGRAM);
        let text = manual(page).map_err(complain)?;
        std::fs::write(directory.join(format!("{name}.1")), text).map_err(complain)?;
    }
    Ok(())
}

/// The command line as users are to know it: without hidden commands, `help`, which says what the pages say, and what `--version` says in
/// further lines.
fn shown(command: &Command) -> Command {
    let commands = command.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    let about = command.get_about().cloned().unwrap_or_default();
    Command::new(PROGRAM)
        .display_name(PROGRAM)
        .version(env!("CARGO_PKG_VERSION"))
        .about(about)
        .args(command.get_arguments().cloned())
        .subcommands(commands)
        .args_conflicts_with_subcommands(true)
        .disable_help_subcommand(true)
}

/// The manual page of a command.
fn manual(command: &Command) -> std::io::Result<Vec<u8>> {
    let source = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));
    let name = command.get_display_name().unwrap_or(PROGRAM).to_owned();
    let manual = clap_mangen::Man::new(command.clone()).title(name).source(source).manual("User Commands");
    let mut page = Vec::new();
    manual.render_title(&mut page)?;
    manual.render_name_section(&mut page)?;
    manual.render_synopsis_section(&mut page)?;
    manual.render_description_section(&mut page)?;
    manual.render_options_section(&mut page)?;
    if command.has_subcommands() {
        manual.render_subcommands_section(&mut page)?;
    }
    page.extend(b".SH \"EXIT STATUS\"\n");
    let further = FURTHER.into_iter().filter(|(name, ..)| *name == command.get_name());
    for (code, meaning) in CODES.into_iter().chain(further.map(|(_, code, meaning)| (code, meaning))) {
        page.extend(format!(".TP\n\\fB{code}\\fR\n{meaning}\n").bytes());
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn completions_and_pages_know_the_options() {
        let directory = tempfile::tempdir().unwrap();
        let arguments = GenerateArgs { directory: directory.path().to_owned() };
        run(&arguments, &super::super::Cli::command()).unwrap();
        let cases = [
            ("traceflow_exporter.bash", "--confidence"),
            ("_traceflow_exporter", "--confidence"),
            ("traceflow_exporter.fish", "mermaid"),
            ("traceflow_exporter.bash", "mda-lite"),
            ("_traceflow_exporter", "mda-lite"),
            ("traceflow_exporter.fish", "mda-lite"),
            ("traceflow_exporter.1", "config.file"),
            ("traceflow_exporter-trace.1", "mermaid"),
            ("traceflow_exporter-compare.1", "A.json"),
            ("traceflow_exporter-demo.1", "web.listen-address"),
        ];
        for (file, word) in cases {
            let text = std::fs::read_to_string(directory.path().join(file)).unwrap();
            assert!(text.replace('\\', "").contains(word), "{file} does not know {word}");
        }
        let files: Vec<_> =
            std::fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().path()).collect();
        assert_eq!(files.len(), 7, "pages of hidden commands: {files:?}");
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            let words = text.split(|letter: char| !letter.is_alphanumeric());
            assert_eq!(words.filter(|word| *word == "generate").count(), 0, "{}", file.display());
            if file.extension().is_some_and(|extension| extension == "1") {
                is_sound(&file, &text);
            }
        }
        let missing = GenerateArgs { directory: directory.path().join("missing") };
        let told = run(&missing, &super::super::Cli::command()).unwrap_err().to_string();
        assert!(told.starts_with("cannot write to ") && !told.contains('\n'), "{told}");
    }

    /// The head of a page is one line, and man has nothing to complain about.
    fn is_sound(file: &Path, text: &str) {
        let head = format!("\"traceflow_exporter {}\" \"User Commands\"", env!("CARGO_PKG_VERSION"));
        assert!(text.lines().any(|line| line.starts_with(".TH ") && line.ends_with(&head)), "{text}");
        assert!(text.contains("\n.SH \"EXIT STATUS\"\n") && !text.contains("rustc"), "{text}");
        // Where there is none, nobody reads the page either.
        let man = std::process::Command::new("man").args(["--warnings", "--local-file"]).arg(file).output();
        if let Ok(read) = man {
            let complaint = String::from_utf8_lossy(&read.stderr);
            assert!(read.status.success() && complaint.is_empty(), "{}: {complaint}", file.display());
        }
    }
}
