//! `trace HOST`: one trace now, printed.

use std::{
    fs::File,
    io::{self, Write as _},
    net::IpAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use clap::{
    Args, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};

use super::{ExitError, print, progress};
use crate::{
    config::{FamilyChoice, Host, Module, ModuleFault, parse_duration},
    flow::Protocol,
    names::Names,
    network::{Network, Origins, Sockets, clock, echo_id, random_secret},
    privilege,
    probe::Ttl,
    render::{self, Report, TableOptions},
    request::{request, wanted},
    resolve::Resolver,
    strategy::{Confidence, Strategy},
    trace::{StopReason, Trace},
};

/// How long the names of the nodes are waited for: about as long as a trace takes that meets much silence.
const NAMES_PATIENCE: Duration = Duration::from_secs(5);

/// The exit code after an interrupt, as shells have it: 128 and the number of the signal.
const INTERRUPTED: u8 = 130;

/// Options of `trace`.
#[derive(Debug, Args)]
pub(super) struct TraceArgs {
    /// The name or address to trace.
    #[arg(value_name = "HOST")]
    host: Host,
    /// Protocol of the probes.
    #[arg(long, value_parser = one_of::<Protocol>(Protocol::ALL.map(Protocol::name)), default_value_t = Module::default().protocol)]
    protocol: Protocol,
    /// IPv4 only.
    #[arg(short = '4', conflicts_with = "v6")]
    v4: bool,
    /// IPv6 only.
    #[arg(short = '6')]
    v6: bool,
    /// How probes are chosen: `mda-lite` unless this or `--paths` is given.
    #[arg(long, value_parser = one_of::<Strategy>(Strategy::ALL.map(Strategy::name)))]
    strategy: Option<Strategy>,
    /// Confidence that the whole route is found, between 0 and 1.
    #[arg(long, value_parser = confidence, default_value = "0.95")]
    confidence: Confidence,
    /// Flows of strategy `fixed`, which is then the strategy; 16 where that alone is given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    paths: Option<u16>,
    /// Nearest hop asked.
    #[arg(long, value_name = "TTL", default_value = "1", value_parser = ttl)]
    first_ttl: Ttl,
    /// Farthest hop asked.
    #[arg(long, alias = "ttl", value_name = "TTL", default_value = "30", value_parser = ttl)]
    max_ttl: Ttl,
    /// Our address.
    #[arg(long, value_name = "ADDRESS")]
    source: Option<IpAddr>,
    /// Lowest source port of the flows.
    #[arg(long, alias = "srcport", value_name = "PORT", default_value_t = Module::default().source_port, value_parser = clap::value_parser!(u16).range(1..))]
    source_port: u16,
    /// Destination port.
    #[arg(long, alias = "dstport", value_name = "PORT", default_value_t = Module::default().destination_port, value_parser = clap::value_parser!(u16).range(1..))]
    destination_port: u16,
    /// How long a reply is accepted.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    wait: Duration,
    /// Most packets a second.
    #[arg(long, value_name = "N", default_value_t = Module::default().pps, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pps: u32,
    /// Number from which the flows are drawn: the same number asks the same flows again. Random if not given.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How the result is printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// One row for flows of `fixed` that took the same path; those of `mda` and `mda-lite` always share one.
    #[arg(long)]
    dedup: bool,
    /// Names of the nodes, as the system's resolver knows them.
    #[arg(long)]
    resolve: bool,
    /// File to write the result to, in place of standard output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A row a path.
    Table,
    /// A column a path.
    Wide,
    /// Everything, for programs.
    Json,
    /// A graph for Graphviz.
    Dot,
    /// A flow chart for Mermaid.
    Mermaid,
    /// A picture.
    Svg,
    /// A page with picture and tables.
    Html,
    /// Nodes and edges for vis-network.
    Vis,
}

/// Traces and prints.
pub(super) fn run(arguments: &TraceArgs) -> Result<(), ExitError> {
    let module = module(arguments)?;
    let secret = random_secret().map_err(ExitError::failed)?;
    privilege::raise();
    let sockets = Sockets::open(&wanted([&module], echo_id(secret))).map_err(ExitError::failed)?;
    let output = arguments.output.as_deref().map(Output::open).transpose()?;
    privilege::drop_all(None, None).map_err(ExitError::failed)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ExitError::failed)?;
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
    let traced = runtime.block_on(async {
        let resolved = Resolver::default().resolve(&arguments.host, module.traced_family(), None).await;
        let address = resolved.map_err(ExitError::failed)?.address;
        let request = request(&Origins::System, &module, address, seed, None).map_err(ExitError::failed)?;
        let (network, _driver) = Network::start(sockets, secret, module.pps).map_err(ExitError::failed)?;
        let started = clock::timestamp();
        let running = network.begin(request).map_err(ExitError::failed)?;
        let (mut trace, mut interrupted) = progress::watch(running).await.map_err(ExitError::failed)?;
        if arguments.resolve && !interrupted {
            let (names, addresses) = (Names::default(), trace.addresses());
            let found = names.resolve(&addresses, NAMES_PATIENCE);
            trace.annotations.names = match progress::wait("looking up names", found).await {
                Some(found) => found,
                None => {
                    interrupted = true;
                    // What is known by now.
                    names.known(&addresses).0
                }
            };
        }
        Ok::<_, ExitError>((started, trace, interrupted))
    });
    // A lookup that the system's resolver does not let go of is no reason to stay.
    runtime.shutdown_background();
    let (started, trace, interrupted) = traced?;

    let host = arguments.host.to_string();
    let report = Report { host: &host, started, trace: &trace };
    let text = match arguments.format {
        Format::Table => render::table(&report, table_options(arguments)),
        Format::Wide => render::wide(&report, table_options(arguments)),
        Format::Json => render::json(&report),
        Format::Dot => render::dot(&report),
        Format::Mermaid => render::mermaid(&report),
        Format::Svg => render::svg(&report),
        Format::Html => render::html(&report),
        Format::Vis => render::vis(&report),
    };
    match output {
        Some(output) => output.write(&text),
        None => print(&text),
    }?;
    verdict(&trace)?;
    if interrupted { Err(ExitError::Outcome(INTERRUPTED)) } else { Ok(()) }
}

/// The file for the result, opened while there is the right to. What it held stays until there is a result.
struct Output {
    path: PathBuf,
    file: File,
}

impl Output {
    fn open(path: &Path) -> Result<Self, ExitError> {
        match File::options().write(true).create(true).truncate(false).open(path) {
            Ok(file) => Ok(Self { path: path.to_owned(), file }),
            Err(error) => Err(cannot_write(path, &error)),
        }
    }

    fn write(mut self, text: &str) -> Result<(), ExitError> {
        // Pipes and devices have no length.
        let emptied = match self.file.metadata() {
            Ok(metadata) if metadata.is_file() => self.file.set_len(0),
            _ => Ok(()),
        };
        emptied
            .and_then(|()| self.file.write_all(text.as_bytes()))
            .map_err(|error| cannot_write(&self.path, &error))
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> ExitError {
    let path = path.display();
    ExitError::Failed(format!("cannot write {path}: {error}; name a file with --output that can be written"))
}

/// Tables are coloured and fitted in on a terminal only, unless NO_COLOR or CLICOLOR_FORCE say otherwise.
fn table_options(arguments: &TraceArgs) -> TableOptions {
    let stdout = io::stdout();
    let to_file = arguments.output.is_some();
    let width =
        terminal_size::terminal_size_of(&stdout).filter(|_| !to_file).map(|(width, _)| width.0.into());
    let colour = !to_file && anstream::AutoStream::choice(&stdout) != anstream::ColorChoice::Never;
    TableOptions { dedup: arguments.dedup, width, colour }
}

/// A trace that could not be made is a failure, also where there is something to print.
fn verdict(trace: &Trace) -> Result<(), ExitError> {
    match trace.stop_reason {
        StopReason::SendFailed => {
            Err(ExitError::failed(trace.detail.as_deref().unwrap_or("the kernel refused to send")))
        }
        _ => Ok(()),
    }
}

fn module(arguments: &TraceArgs) -> Result<Module, ExitError> {
    let strategy = match (arguments.strategy, arguments.paths) {
        (None, Some(_)) => Strategy::Fixed,
        (Some(Strategy::Mda | Strategy::MdaLite), Some(_)) => {
            return Err(ExitError::Usage("--paths: only for --strategy fixed".to_owned()));
        }
        (strategy, _) => strategy.unwrap_or_default(),
    };
    let module = Module {
        protocol: arguments.protocol,
        family: match (arguments.v4, arguments.v6) {
            (true, _) => FamilyChoice::V4,
            (_, true) => FamilyChoice::V6,
            _ => FamilyChoice::Any,
        },
        strategy,
        confidence: arguments.confidence,
        first_ttl: arguments.first_ttl,
        max_ttl: arguments.max_ttl,
        timeout: arguments.wait,
        flows: arguments.paths.unwrap_or(Module::default().flows),
        source: arguments.source,
        source_port: arguments.source_port,
        destination_port: arguments.destination_port,
        pps: arguments.pps,
        ..Module::default()
    };
    module.check(arguments.paths.is_some()).map_err(|ModuleFault { key, wrong, allowed }| {
        let option = if key == "flows" { "paths".to_owned() } else { key.replace('_', "-") };
        ExitError::Usage(format!("--{option}: {wrong}; allowed is {allowed}"))
    })?;
    Ok(module)
}

/// A value that is one of these words.
fn one_of<T>(words: impl IntoIterator<Item = &'static str>) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = String> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(words).try_map(|word| word.parse::<T>())
}

fn ttl(text: &str) -> Result<Ttl, String> {
    text.parse().ok().and_then(Ttl::new).ok_or_else(|| "allowed is 1 to 255".to_owned())
}

fn confidence(text: &str) -> Result<Confidence, String> {
    let value = text.parse().ok().and_then(Confidence::new);
    value.ok_or_else(|| "allowed is a number above 0 and below 1".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    let allowed = Duration::from_millis(1)..=Duration::from_secs(60);
    let duration = parse_duration(text).filter(|duration| allowed.contains(duration));
    duration.ok_or_else(|| "allowed is 1ms to 60s, written like 500ms or 2s".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::render::sample;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: TraceArgs,
    }

    fn module_of(options: &str) -> Result<Module, String> {
        let line = Line::try_parse_from(format!("trace {options} 192.0.2.1").split_whitespace()).unwrap();
        module(&line.arguments).map_err(|error| error.to_string())
    }

    #[test]
    fn every_protocol_and_strategy_can_be_asked_for() {
        for protocol in Protocol::ALL {
            for strategy in Strategy::ALL {
                let asked = module_of(&format!("--strategy {strategy} --protocol {protocol}"));
                assert_eq!(asked.map(|module| (module.protocol, module.strategy)), Ok((protocol, strategy)));
            }
        }
    }

    #[test]
    fn a_number_of_flows_means_the_strategy_that_has_one() {
        let cases = [
            ("", Ok((Strategy::MdaLite, 16))),
            ("--paths 32", Ok((Strategy::Fixed, 32))),
            ("--paths 16", Ok((Strategy::Fixed, 16))),
            ("--strategy fixed", Ok((Strategy::Fixed, 16))),
            ("--strategy fixed --paths 32", Ok((Strategy::Fixed, 32))),
            ("--strategy mda-lite --paths 32", Err("--paths: only for --strategy fixed".to_owned())),
        ];
        for (options, expected) in cases {
            assert_eq!(
                module_of(options).map(|module| (module.strategy, module.flows)),
                expected,
                "{options}"
            );
        }
    }

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        for (options, option) in
            [("--first-ttl 5 --max-ttl 4", "--first-ttl"), ("--paths 7 --source-port 65530", "--paths")]
        {
            let told = module_of(options).unwrap_err();
            assert!(told.starts_with(option) && told.contains("allowed"), "{options}: {told}");
        }
    }

    #[test]
    fn a_trace_that_could_not_be_sent_is_a_failure() {
        let cases = [
            (StopReason::SendFailed, Some("cannot send to 192.0.2.9"), Some("cannot send to 192.0.2.9")),
            (StopReason::SendFailed, None, Some("the kernel refused to send")),
            (StopReason::GapLimit, Some("five silent hops"), None),
            (StopReason::Complete, None, None),
        ];
        for (stop_reason, detail, expected) in cases {
            let trace = Trace { stop_reason, detail: detail.map(ToOwned::to_owned), ..sample::diamond() };
            let told = verdict(&trace).map_err(|error| error.to_string());
            assert_eq!(told.err().as_deref(), expected, "{stop_reason:?}");
        }
    }
}
