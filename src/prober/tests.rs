//! Probes over simulated networks in real time: who may ask, who shares a trace, and when it ends.

use tokio::{runtime::Runtime, task::JoinHandle};

use super::*;
use crate::simulation::{self, Live};

/// The source is 192.0.2.1, the destination the last address.
const LINE: &str = "s -> r1 -> r2 -> d";
/// Nobody answers from the second router on.
const SILENT: &str = "s -> r1 -> r2 -> r3 -> d\nnode r2 silent\nnode r3 silent\nnode d silent";
const OPEN: &str = "probe: { enabled: true, allow: [192.0.2.0/24] }";
/// Two minutes, in steps of 10 ms.
const LOOKS_MAX: usize = 12_000;

struct Setup {
    prober: Prober,
    network: Network,
    config: watch::Sender<Arc<Config>>,
    destination: String,
    _driver: JoinHandle<()>,
}

impl Setup {
    fn new(topology: &str, config: &str) -> Self {
        let topology = topology.parse().unwrap();
        let simulated = simulation::Network::numbered(&topology, "192.0.2.1".parse().unwrap(), 1);
        let destination = simulated.destination().to_string();
        let (network, driver) = Network::over(Live::new(vec![simulated]), [7; 16], 5000);
        let config = watch::channel(parsed(config)).0;
        let whois = watch::channel(Whois::default()).1;
        let prober = Prober::new(network.clone(), config.subscribe(), whois);
        Self { prober, network, config, destination, _driver: driver }
    }

    /// Asks for the destination in a task of its own.
    fn ask(&self, module: Option<&'static str>, millis: u64) -> JoinHandle<Result<Probed, Refused>> {
        let (prober, destination) = (self.prober.clone(), self.destination.clone());
        tokio::spawn(async move { prober.probe(&destination, module, Duration::from_millis(millis)).await })
    }

    fn sent(&self) -> u64 {
        self.network.counters().probes_sent.values().sum()
    }

    fn count(&self) -> usize {
        self.prober.inner.underway().count
    }

    async fn until(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        for _ in 0..LOOKS_MAX {
            if is_so(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("waited in vain until {what}");
    }
}

fn parsed(text: &str) -> Arc<Config> {
    Arc::new(Config::parse("test", text).unwrap())
}

fn run(test: impl Future<Output = ()>) {
    Runtime::new().unwrap().block_on(test);
}

fn trace_of(probed: &Probed) -> &Trace {
    probed.snapshot.trace().unwrap()
}

#[test]
fn a_host_is_traced_once() {
    run(async {
        let setup = Setup::new(LINE, OPEN);
        let probed = setup.ask(None, 60_000).await.unwrap().unwrap();
        assert_eq!(&*probed.snapshot.name, setup.destination);
        assert!(probed.snapshot.is_up());
        assert_eq!((trace_of(&probed).route.paths.count, probed.snapshot.counters.rounds), (1, 1));
        assert_eq!(setup.sent(), u64::from(trace_of(&probed).probes_sent));
        setup.until("it is over", |setup| setup.count() == 0).await;
        assert!(setup.prober.inner.underway().probes.is_empty());
    });
}

#[test]
fn what_is_not_allowed_is_refused_before_a_packet_is_sent() {
    run(async {
        let open = "{ modules: { web: { protocol: tcp } }, probe: { enabled: true, allow: [192.0.2.0/24, '*', 127.0.0.9] } }";
        let setup = Setup::new(LINE, open);
        let ask = |target: &'static str, module: Option<&'static str>| {
            let prober = setup.prober.clone();
            async move { prober.probe(target, module, PATIENCE_MAX).await.map_err(|refused| refused.to_string()) }
        };
        for (target, module, expected) in [
            ("192.0.2.1/24", None, "target: `192.0.2.1/24` "),
            ("127.1", None, "target: `127.1` "),
            ("a b", None, "target: `a b` "),
            ("192.0.2.4", Some("no such"), "module: `no such` "),
            ("192.0.2.4", Some("tcp"), "module: there is no module `tcp`; allowed are default, web"),
            (
                "198.51.100.1",
                None,
                "target: 198.51.100.1 may not be asked for; allowed is what probe.allow lists",
            ),
            ("127.0.0.1", None, "target: 127.0.0.1 may not be asked for; "),
            ("localhost", None, "target: localhost is "),
        ] {
            let told = ask(target, module).await.unwrap_err();
            assert!(told.starts_with(expected), "{target} {module:?}: {told}");
            assert!(!told.contains('\n'), "{told}");
        }
        setup.config.send_replace(parsed("probe: { enabled: true, allow: ['*.example.net'] }"));
        assert_eq!(
            ask("localhost", None).await.unwrap_err(),
            "target: localhost may not be asked for; allowed is what probe.allow lists"
        );
        setup.config.send_replace(parsed("{ targets: [{ name: a, host: b }], probe: { allow: ['*'] } }"));
        assert!(ask("localhost", None).await.unwrap_err().starts_with("/probe is off; "));
        assert_eq!(setup.sent(), 0);
    });
}

#[test]
fn what_has_no_address_or_no_way_is_a_result() {
    run(async {
        let setup = Setup::new(
            LINE,
            "{ modules: { six: { family: v6 } }, probe: { enabled: true, allow: ['*', 198.51.100.0/24, 192.0.2.0/24] } }",
        );
        for (target, module, expected) in [
            ("no-such-host.invalid", None, "cannot resolve no-such-host.invalid: "),
            ("198.51.100.1", None, "no way to 198.51.100.1: "),
            ("192.0.2.4", Some("six"), "192.0.2.4 has no IPv6 address"),
        ] {
            let probed = setup.prober.probe(target, module, PATIENCE_MAX).await.unwrap();
            let round = probed.snapshot.last_round.as_ref().unwrap();
            let why = round.outcome.as_ref().unwrap_err();
            assert!(why.starts_with(expected) && !probed.snapshot.is_up(), "{target}: {why}");
        }
        assert_eq!(setup.sent(), 0);
    });
}

#[test]
fn who_asks_the_same_at_the_same_time_shares_a_trace() {
    run(async {
        let setup =
            Setup::new(SILENT, &format!("{{ modules: {{ other: {{ destination_port: 80 }} }}, {OPEN} }}"));
        let all = [None, Some("default"), None, Some("other")].map(|module| setup.ask(module, 60_000));
        let mut found = Vec::new();
        for asked in all {
            found.push(asked.await.unwrap().unwrap());
        }
        let [a, b, c, other] = &found[..] else { panic!("{found:?}") };
        assert!([b, c].iter().all(|probed| Arc::ptr_eq(&probed.snapshot, &a.snapshot)));
        assert!(!Arc::ptr_eq(&a.snapshot, &other.snapshot));
        let sent = [a, other].map(|probed| u64::from(trace_of(probed).probes_sent));
        assert_eq!(setup.sent(), sent.iter().sum::<u64>());
        // A later one is a trace of its own.
        let later = setup.ask(None, 60_000).await.unwrap().unwrap();
        assert_eq!(setup.sent(), sent.iter().sum::<u64>() + u64::from(trace_of(&later).probes_sent));
    });
}

#[test]
fn who_runs_out_of_patience_gets_what_is_known_and_the_others_go_on_waiting() {
    run(async {
        let setup = Setup::new(SILENT, OPEN);
        let patient = setup.ask(None, 60_000);
        setup.until("it is under way", |setup| setup.sent() > 0).await;
        let hasty = setup.ask(None, 100).await.unwrap().unwrap();
        assert_eq!((setup.count(), patient.is_finished()), (1, false), "one trace, which goes on");
        let trace = trace_of(&hasty);
        assert_eq!(
            (trace.stop_reason, trace.detail.as_deref()),
            (StopReason::TimeLimit, Some("no time left"))
        );
        assert!(!hasty.snapshot.is_up());
        let patient = patient.await.unwrap().unwrap();
        assert_eq!(trace_of(&patient).stop_reason, StopReason::GapLimit);
        assert!(trace_of(&patient).probes_sent > trace.probes_sent);
    });
}

#[test]
fn a_trace_that_nobody_waits_for_ends() {
    run(async {
        let setup = Setup::new(SILENT, OPEN);
        let [gone, other] = [setup.ask(None, 60_000), setup.ask(None, 60_000)];
        setup.until("it is under way", |setup| setup.sent() > 0).await;
        gone.abort();
        assert!(gone.await.unwrap_err().is_cancelled());
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(setup.count(), 1, "one waits");
        other.abort();
        setup.until("it is over", |setup| setup.count() == 0).await;
        setup.network.ping().await.unwrap();
        let sent = setup.sent();
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(setup.sent(), sent, "no retry goes out any more");
        // Who runs out of patience last ends it as well.
        setup.ask(None, 50).await.unwrap().unwrap();
        setup.until("it is over", |setup| setup.count() == 0).await;
    });
}

#[test]
fn there_are_as_many_probes_as_may_be() {
    run(async {
        let config = |most: u32| {
            format!(
                "{{ global: {{ max_rounds_in_progress: {most} }}, modules: {{ a: {{}}, b: {{ tos: 4 }} }}, {OPEN} }}"
            )
        };
        let setup = Setup::new(SILENT, &config(1));
        let first = setup.ask(None, 60_000);
        setup.until("it is under way", |setup| setup.count() == 1).await;
        let same = setup.ask(None, 60_000);
        assert_eq!(setup.ask(Some("b"), 60_000).await.unwrap(), Err(Refused::Busy(1)));
        setup.config.send_replace(parsed(&config(2)));
        setup.ask(Some("b"), 60_000).await.unwrap().unwrap();
        first.await.unwrap().unwrap();
        same.await.unwrap().unwrap();
    });
}

#[test]
fn a_reload_counts_at_once() {
    run(async {
        let setup = Setup::new(SILENT, OPEN);
        let first = setup.ask(None, 60_000);
        setup.until("it is under way", |setup| setup.count() == 1).await;
        // The module is the same by name alone.
        setup
            .config
            .send_replace(parsed(&format!("{{ modules: {{ default: {{ protocol: icmp }} }}, {OPEN} }}")));
        let second = setup.ask(None, 60_000);
        setup.until("there are two", |setup| setup.count() == 2).await;
        setup.config.send_replace(parsed("probe: { enabled: true, allow: [198.51.100.1] }"));
        let forbidden = |asked: Result<Probed, Refused>| {
            matches!(asked, Err(Refused::Forbidden(_) | Refused::Smuggled { .. }))
        };
        assert!(forbidden(setup.ask(None, 60_000).await.unwrap()));
        assert!(
            forbidden(first.await.unwrap()) && forbidden(second.await.unwrap()),
            "what is found is not told any more"
        );
    });
}
