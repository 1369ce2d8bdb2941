//! The command line: what the program is told, and with which exit code it ends.
//!
//! Knows options and their ranges. `serve`, `trace` and `demo` are the places where the parts are put together.

mod compare;
mod demo;
mod generate;
mod log;
mod progress;
mod reload;
mod serve;
mod systemd;
mod trace;

use std::{ffi::OsString, fmt, io::Write as _, path::PathBuf, process::ExitCode};

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::{config::ConfigError, privilege::User, web::ExternalUrl};

/// What `--version` says behind the name, in the manner of the Prometheus family.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (revision: ",
    env!("TRACEFLOW_REVISION"),
    ")\n  rustc version:    ",
    env!("TRACEFLOW_RUSTC"),
    "\n  platform:         ",
    env!("TRACEFLOW_TARGET"),
);

/// Traces every path that load balancers spread a target's traffic over, and exports what it finds to Prometheus.
#[derive(Debug, Parser)]
#[command(
    name = "traceflow_exporter",
    display_name = "traceflow_exporter, version",
    version = VERSION,
    args_conflicts_with_subcommands = true,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Traces one host now and prints what was found.
    Trace(Box<trace::TraceArgs>),
    /// Runs the exporter over a built-in simulated network: no privilege, no network.
    Demo(demo::DemoArgs),
    /// Compares two saved traces: exit code 0 where the routes are the same, 3 where they differ.
    Compare(compare::CompareArgs),
    /// Writes the completions of shells and the manual pages.
    #[command(hide = true)]
    Generate(generate::GenerateArgs),
}

/// Options of the exporter.
#[derive(Debug, Args)]
struct ServeArgs {
    /// The configuration file.
    #[arg(long = "config.file", value_name = "FILE", default_value = "traceflow_exporter.yaml")]
    config_file: PathBuf,
    /// Checks the configuration file, says what is wrong with it, and ends.
    #[arg(long = "config.check")]
    config_check: bool,
    /// Address to listen on; can be given several times.
    #[arg(long = "web.listen-address", value_name = "ADDRESS", default_value = ":10659")]
    listen_address: Vec<String>,
    /// File with TLS, passwords and headers of the HTTP server, in the format of Prometheus' exporters.
    #[arg(long = "web.config.file", value_name = "FILE")]
    web_config_file: Option<PathBuf>,
    /// URL of the pages as seen from outside, behind a reverse proxy perhaps; its path is the prefix of all paths.
    #[arg(long = "web.external-url", value_name = "URL", default_value = "/", hide_default_value = true)]
    external_url: ExternalUrl,
    /// Path of the metrics.
    #[arg(long = "web.telemetry-path", value_name = "PATH", default_value = "/metrics")]
    telemetry_path: String,
    /// Directory in which the state of the targets outlasts a restart; without it, it is kept in memory alone.
    #[arg(long = "storage.path", value_name = "DIR")]
    storage_path: Option<PathBuf>,
    /// User to go on as once the sockets are open, where it is started as root: a name or a number.
    #[arg(long = "user", value_name = "NAME")]
    user: Option<User>,
    #[command(flatten)]
    log: LogArgs,
}

/// Options of the log.
#[derive(Clone, Copy, Debug, Args)]
struct LogArgs {
    /// The least severe messages that are written.
    #[arg(long = "log.level", value_name = "LEVEL", default_value = "info")]
    level: LogLevel,
    /// How messages are written.
    #[arg(long = "log.format", value_name = "FORMAT", default_value = "logfmt")]
    format: LogFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Logfmt,
    Json,
}

/// Why the program ends early.
#[derive(Debug, thiserror::Error)]
pub enum ExitError {
    /// The arguments are wrong, or ask for help or the version.
    #[error("{}", one_line(.0))]
    Arguments(#[from] clap::Error),
    /// The arguments contradict each other or the machine.
    #[error("{0}")]
    Usage(String),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It failed at run time.
    #[error("{0}")]
    Failed(String),
    /// It did what it was told, and the exit code says what came of it.
    #[error("exit code {0}")]
    Outcome(u8),
}

impl ExitError {
    /// A failure at run time.
    fn failed(error: impl fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }

    /// Says on standard error what is wrong, in one line, and yields the exit code: 1 for a failure at run time, 2 for bad
    /// usage or a bad configuration, 0 for help and version. An outcome has its own code and says nothing.
    #[must_use]
    pub fn report(&self) -> ExitCode {
        match self {
            // Help and version go to standard output. There is nobody to tell where printing fails.
            Self::Arguments(error) if !error.use_stderr() => {
                let _ = error.print();
                ExitCode::SUCCESS
            }
            Self::Arguments(_) | Self::Usage(_) | Self::Config(_) => {
                complain(self);
                ExitCode::from(2)
            }
            Self::Failed(_) => {
                complain(self);
                ExitCode::FAILURE
            }
            Self::Outcome(code) => ExitCode::from(*code),
        }
    }
}

/// What is wrong with the arguments: what clap says over several lines, without the usage.
fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let paragraphs = text.split("\n\n").map(|paragraph| {
        let words: Vec<_> = paragraph.split_whitespace().collect();
        words.join(" ")
    });
    let told: Vec<_> = paragraphs
        .filter(|paragraph| {
            let is_hint = paragraph.starts_with("Usage:") || paragraph.starts_with("For more information");
            !is_hint && !paragraph.is_empty()
        })
        .collect();
    told.join("; ")
}

fn complain(error: &ExitError) {
    let _ = writeln!(std::io::stderr(), "traceflow_exporter: {error}");
}

/// Runs the program to its end.
///
/// # Errors
/// [`ExitError`] when it could not do what it was told.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<(), ExitError> {
    let cli = Cli::try_parse_from(arguments)?;
    match cli.command {
        Some(Command::Trace(arguments)) => trace::run(&arguments),
        Some(Command::Demo(arguments)) => demo::run(&arguments),
        Some(Command::Compare(arguments)) => compare::run(&arguments),
        Some(Command::Generate(arguments)) => generate::run(&arguments, &Cli::command()),
        None => serve::run(&cli.serve),
    }
}

/// Prints to standard output. A reader that has gone away is no failure of ours.
fn print(text: &str) -> Result<(), ExitError> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(ExitError::Failed(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_options_of_the_contract_are_understood() {
        let cases = [
            "traceflow_exporter",
            "traceflow_exporter --config.file=a.yaml --config.check --log.level=debug --log.format=json",
            "traceflow_exporter --web.listen-address=:10659 --web.listen-address=[::1]:1 --web.telemetry-path=/m",
            "traceflow_exporter --storage.path=/var/lib/traceflow_exporter --user=root",
            "traceflow_exporter --web.config.file=web.yaml --web.external-url=https://example.net/tf",
            "traceflow_exporter trace --protocol udp -4 --strategy fixed --confidence 0.95 --paths 32 192.0.2.1",
            "traceflow_exporter trace -6 --first-ttl 2 --max-ttl 20 --source ::1 --source-port 40000 2001:db8::1",
            "traceflow_exporter trace --destination-port 53 --wait 1s --pps 100 --format json --output x.json h",
            "traceflow_exporter demo --web.listen-address=127.0.0.1:1 --log.level=warn",
            "traceflow_exporter trace --ttl 5 --srcport 40000 --dstport 53 --dedup h",
            "traceflow_exporter compare a.json b.json",
            "traceflow_exporter compare --format json a.json b.json",
        ];
        for line in cases {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
        for format in ["table", "wide", "json", "dot", "mermaid", "svg", "html", "vis"] {
            let line = ["traceflow_exporter", "trace", "--format", format, "h"];
            assert!(Cli::try_parse_from(line).is_ok(), "{format}");
        }
    }

    #[test]
    fn bad_usage_is_refused() {
        let cases = [
            "traceflow_exporter --config.fil=a",
            "traceflow_exporter --storage.path=",
            "traceflow_exporter --user=no-such-user",
            "traceflow_exporter trace",
            "traceflow_exporter trace --first-ttl 0 h",
            "traceflow_exporter trace --max-ttl 256 h",
            "traceflow_exporter trace -4 -6 h",
            "traceflow_exporter trace --confidence 1.0 h",
            "traceflow_exporter trace --format pdf h",
            "traceflow_exporter compare a.json",
        ];
        for line in cases {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }

    #[test]
    fn bad_usage_is_told_in_one_line_before_anything_is_opened() {
        let cases = [
            ("--config.fil=a", "unexpected argument '--config.fil' found; tip: "),
            ("trace", "the following required arguments were not provided: <HOST>"),
            ("trace --max-ttl 256 h", "invalid value '256' for '--max-ttl <TTL>': allowed is 1 to 255"),
            (
                "trace --protocol sctp h",
                "invalid value 'sctp' for '--protocol <PROTOCOL>' [possible values: ",
            ),
            ("trace --format pdf h", "invalid value 'pdf' for '--format <FORMAT>' [possible values: "),
            ("demo --web.listen-address=foo", "`foo` is no address to listen on; write HOST:PORT"),
            ("demo --config.file=a", "unexpected argument '--config.file' found"),
            ("trace -4 -6 h", "the argument '-4' cannot be used with '-6'"),
            ("--web.listen-address=foo", "`foo` is no address to listen on; write HOST:PORT"),
            ("--web.telemetry-path=metrics", "--web.telemetry-path: `metrics` is no path; allowed is"),
            (
                "--web.external-url=ftp://h",
                "invalid value 'ftp://h' for '--web.external-url <URL>': `ftp://h` is no URL",
            ),
            ("--web.telemetry-path=/a?b", "--web.telemetry-path: `/a?b` is no path; allowed is"),
            ("trace --first-ttl 9 --max-ttl 5 h", "--first-ttl: 9 is above max_ttl, which is 5; allowed is"),
            ("trace --source 192.0.2.1 -6 h", "--source: 192.0.2.1 does not fit family v6; allowed is"),
            ("trace --strategy mda --paths 32 h", "--paths: only for --strategy fixed"),
            ("trace --source-port 65530 --paths 100 h", "--paths: 100 flows do not fit in the 6 ports from"),
            ("trace --source-port 65530 h", "--source-port: the 6 ports from 65530 on do not hold 16 flows"),
        ];
        for (arguments, expected) in cases {
            let line = format!("traceflow_exporter --config.file=/nonexistent {arguments}");
            let line = if arguments.starts_with(['t', 'd']) {
                format!("traceflow_exporter {arguments}")
            } else {
                line
            };
            let error = run(line.split(' ').map(OsString::from)).unwrap_err();
            let text = error.to_string();
            assert!(text.starts_with(expected) && !text.contains('\n'), "{arguments}: {text}");
            assert_eq!(error.report(), ExitCode::from(2), "{arguments}");
        }
        let version = Cli::command().render_version();
        let lines: Vec<_> = version.lines().collect();
        assert!(
            lines[0].starts_with("traceflow_exporter, version 0.") && lines[0].contains(" (revision: "),
            "{version}"
        );
        assert!(lines[1].starts_with("  rustc version:    1.") && lines.len() == 3, "{version}");
        let help = run(["traceflow_exporter", "--help"].map(OsString::from)).unwrap_err();
        assert_eq!(help.report(), ExitCode::SUCCESS);
    }
}
