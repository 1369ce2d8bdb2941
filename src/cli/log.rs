//! Where log messages go and what they look like: standard error, logfmt or JSON.

use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use super::{LogArgs, LogFormat, LogLevel};

/// Starts to write log messages. A second call does nothing.
pub(super) fn start(arguments: LogArgs) {
    let level = match arguments.level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // What libraries do on every connection tells an operator nothing.
    let libraries = level.min(LevelFilter::WARN);
    let levels = Targets::new().with_default(libraries).with_target(env!("CARGO_CRATE_NAME"), level);
    let registry = tracing_subscriber::registry().with(levels);
    let started = match arguments.format {
        LogFormat::Logfmt => registry
            .with(tracing_logfmt::builder().with_target(false).layer().with_writer(std::io::stderr))
            .try_init(),
        LogFormat::Json => {
            let layer = tracing_subscriber::fmt::layer().json().flatten_event(true).with_target(false);
            registry.with(layer.with_writer(std::io::stderr)).try_init()
        }
    };
    // Only a test that runs the program twice in one process gets here with an error.
    drop(started);
}
