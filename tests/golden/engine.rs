//! The program's engine on its real sockets, for protocols that its command line does not take yet: the test binary starts
//! itself with the one ignored test of this file. What it sends is what the program sends.

use std::{env, time::Duration};

use traceflow_exporter::{
    config::Module,
    network::{Network, Sockets, echo_id, random_secret},
    probe::Ttl,
    request::{request, wanted},
};

/// The command line that traces `$TO` with `$PROTOCOL`, `$PATHS` flows and, where given, from hop `$FIRST` up to hop `$LAST`
/// and towards `$PORT`.
pub(crate) fn command() -> String {
    format!("{} --ignored --exact engine::trace", env::current_exe().unwrap().display())
}

#[test]
#[ignore = "traces what the environment names; run by make_captures"]
fn trace() {
    let Ok(to) = env::var("TO") else {
        return println!("nothing to trace");
    };
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u16>().unwrap());
    let ttl = |name: &str| number(name).and_then(|ttl| Ttl::new(ttl.try_into().unwrap()));
    let default = Module::default();
    let module = Module {
        protocol: env::var("PROTOCOL").unwrap().parse().unwrap(),
        flows: number("PATHS").unwrap_or(1),
        first_ttl: ttl("FIRST").unwrap_or(default.first_ttl),
        max_ttl: ttl("LAST").unwrap_or(default.max_ttl),
        destination_port: number("PORT").unwrap_or(default.destination_port),
        timeout: Duration::from_secs(5),
        ..default
    };
    let secret = random_secret().unwrap();
    let sockets = Sockets::open(&wanted([&module], echo_id(secret))).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let trace = runtime.block_on(async {
        let request = request(&module, to.parse().unwrap(), fastrand::u64(..), None).unwrap();
        let (network, _driver) = Network::start(sockets, secret, module.pps).unwrap();
        network.trace(request).await.unwrap()
    });
    println!("{trace:?}");
}
