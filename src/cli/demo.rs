//! `demo`: the exporter over simulated networks, for those who want to see it before they let it send packets.
//!
//! Needs no privilege and touches no network besides the address it listens on. Scheduler, monitor, metrics and pages are those of
//! the exporter.

use std::{net::IpAddr, path::Path};

use clap::Args;

use super::{
    ExitError, LogArgs, log,
    serve::{self, Parts},
};
use crate::{
    config::Config,
    network::{Network, random_secret},
    privilege,
    simulation::{self, Live, Topology},
    target_files::TargetFiles,
    web,
    whois::Whois,
};

/// Options of `demo`.
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Address to listen on; can be given several times.
    #[arg(long = "web.listen-address", value_name = "ADDRESS", default_value = ":10659")]
    listen_address: Vec<String>,
    #[command(flatten)]
    log: LogArgs,
}

/// A target and the network that leads to it.
struct Scene {
    name: &'static str,
    topology: &'static str,
    /// The address of the network's first node, in a range that is for documentation (RFC 5737, RFC 3849).
    first: &'static str,
}

const SCENES: [Scene; 5] = [
    Scene { name: "line", topology: include_str!("demo/line.topo"), first: "192.0.2.1" },
    Scene { name: "diamond", topology: include_str!("demo/diamond.topo"), first: "198.51.100.1" },
    Scene { name: "mesh", topology: include_str!("demo/mesh.topo"), first: "203.0.113.1" },
    Scene { name: "lossy", topology: include_str!("demo/lossy.topo"), first: "2001:db8::1" },
    Scene { name: "changing", topology: include_str!("demo/changing.topo"), first: "192.0.2.129" },
];

/// Between two rounds of a target: short, so that there is something to see soon.
const INTERVAL: &str = "15s";

/// What balancers draw from: the same networks in every run.
const SEED: u64 = 1;

/// Runs the exporter over the simulated networks.
pub(super) fn run(arguments: &DemoArgs) -> Result<(), ExitError> {
    serve::check_addresses(&arguments.listen_address)?;
    log::start(arguments.log);
    let networks = networks()?;
    let config = config(&networks)?;
    let secret = random_secret().map_err(ExitError::failed)?;
    let listeners = web::bind(&arguments.listen_address).map_err(ExitError::failed)?;
    privilege::drop_all(None, None).map_err(ExitError::failed)?;
    let parts = Parts {
        files: TargetFiles::none(Path::new("")),
        config_file: None,
        secret,
        storage: None,
        whois: Whois::default(),
        listeners,
        telemetry_path: "/metrics".to_owned(),
        external_url: web::ExternalUrl::default(),
        security: web::Security::default(),
        config,
    };
    tracing::info!("the targets are simulated: no packet leaves this machine");
    let max_pps = parts.config.global.max_pps;
    serve::operate(parts, || Ok(Network::over(Live::new(networks), secret, max_pps)))
}

/// The networks in the order of [`SCENES`].
fn networks() -> Result<Vec<simulation::Network>, ExitError> {
    let networks = SCENES.iter().map(|scene| {
        let wrong =
            |error: &dyn std::fmt::Display| ExitError::Failed(format!("demo {}: {error}", scene.name));
        let topology: Topology = scene.topology.parse().map_err(|error| wrong(&error))?;
        let first: IpAddr = scene.first.parse().map_err(|error| wrong(&error))?;
        Ok(simulation::Network::numbered(&topology, first, SEED))
    });
    networks.collect()
}

fn config(networks: &[simulation::Network]) -> Result<Config, ExitError> {
    let targets = SCENES.iter().zip(networks).map(|(scene, network)| {
        format!("  - {{ name: {}, host: \"{}\" }}\n", scene.name, network.destination())
    });
    // What may be probed is what there is.
    let destinations = networks.iter().map(|network| format!("\"{}\"", network.destination()));
    let allow = destinations.collect::<Vec<_>>().join(", ");
    let text = format!(
        "global: {{ interval: {INTERVAL} }}\nprobe: {{ enabled: true, allow: [{allow}] }}\ntargets:\n{}",
        targets.collect::<String>()
    );
    Ok(Config::parse("demo", &text)?)
}

#[cfg(test)]
mod tests;
