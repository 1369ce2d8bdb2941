//! From a module and an address to a trace that the network can make.
//!
//! The one place where the words of the configuration become the words of the engine.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use crate::{
    config::{Config, Module},
    flow::FlowSequence,
    network::{NoWay, Origins, Request, Wanted, interface_index},
    probe::Template,
    tracer::Settings,
};

/// Why there is no way to send to an address.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The interface of the module does not exist.
    #[error("no interface {name}: {reason}; allowed is one that `ip link` shows")]
    Interface {
        /// Its name.
        name: String,
        /// What the system said.
        reason: std::io::Error,
    },
    /// There is no source address towards the destination.
    #[error("no way to {destination}{from}: {reason}")]
    NoWay {
        /// The destination.
        destination: IpAddr,
        /// The source and interface of the module, if it names any.
        from: String,
        /// Why.
        reason: NoWay,
    },
}

/// The trace of an address as a module says, from where `origins` say. `seed` fixes the order in which flows are drawn.
///
/// # Errors
/// When there is no source address or no interface for it.
pub fn request(
    origins: &Origins,
    module: &Module,
    destination: IpAddr,
    seed: u64,
    time_limit: Option<Duration>,
) -> Result<Request, RequestError> {
    let interface = match &module.interface {
        Some(name) => Some(
            interface_index(name).map_err(|reason| RequestError::Interface { name: name.clone(), reason })?,
        ),
        None => None,
    };
    let source = origins
        .towards(destination, module.source, module.interface.as_deref())
        .map_err(|reason| RequestError::NoWay { destination, from: origin(module), reason })?;
    Ok(Request {
        template: template(module, source, destination),
        interface,
        settings: settings(module, seed, time_limit),
    })
}

/// What all packets of a trace have in common.
#[must_use]
pub const fn template(module: &Module, source: IpAddr, destination: IpAddr) -> Template {
    Template {
        source,
        destination,
        protocol: module.protocol,
        destination_port: module.destination_port,
        tos: module.tos,
        dont_fragment: module.dont_fragment,
        payload: module.payload,
    }
}

/// What the engine is to do.
#[must_use]
pub const fn settings(module: &Module, seed: u64, time_limit: Option<Duration>) -> Settings {
    Settings {
        strategy: module.strategy,
        confidence: module.confidence,
        first_ttl: module.first_ttl,
        max_ttl: module.max_ttl,
        timeout: module.timeout,
        attempts: module.attempts,
        gap_limit: module.gap_limit,
        max_probes: module.max_probes,
        flows: module.flows,
        pps: module.pps,
        burst: module.burst,
        time_limit,
        flow_sequence: FlowSequence::new(module.source_port, seed),
        baseline: None,
    }
}

/// What the sockets have to let through for these modules. `echo_id` is the process's own.
pub fn wanted<'a>(modules: impl IntoIterator<Item = &'a Module>, echo_id: u16) -> Wanted {
    let mut first_source_port = u16::MAX;
    let mut destination_ports = BTreeSet::new();
    for module in modules {
        first_source_port = first_source_port.min(module.source_port);
        destination_ports.insert(module.destination_port);
    }
    Wanted { first_source_port, destination_ports, echo_id }
}

/// What the sockets have to let through for a configuration.
#[must_use]
pub fn wanted_by(config: &Config, echo_id: u16) -> Wanted {
    wanted(config.modules.values().map(AsRef::as_ref), echo_id)
}

fn origin(module: &Module) -> String {
    let source = module.source.map(|source| format!(" from {source}")).unwrap_or_default();
    let interface = module.interface.as_ref().map(|name| format!(" through {name}")).unwrap_or_default();
    source + &interface
}
