//! The program: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    match traceflow_exporter::cli::run(std::env::args_os()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}
