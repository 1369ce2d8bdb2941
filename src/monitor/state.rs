//! What of a monitor outlasts the process: everything but the last round and when all flows were asked last, so that the first round
//! after a restart asks them all.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::{CHANGES_MAX, HISTORY_MAX, Monitor, dead_ends::DeadEnds};
use crate::{
    change::Change,
    config::{Module, Target},
    probe::Ttl,
    route::{Evidence, pinned},
    store::TargetCounters,
    strategy::Strategy,
};

/// The memory of one target, as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    counters: TargetCounters,
    changes: Vec<Change>,
    /// Paths of the last rounds. A state of an earlier version has none.
    #[serde(default)]
    history: Vec<Option<u64>>,
    /// The settings with which the flows were asked.
    settings: String,
    known: Known,
}

/// What is known of the route, which only means something as long as flows are asked the same way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Known {
    address: Option<IpAddr>,
    ends: Option<(IpAddr, IpAddr)>,
    #[serde(with = "pinned")]
    pinned: Evidence,
    samples: BTreeMap<Ttl, u32>,
    age: u32,
    cut_short: u32,
    /// Dead ends. A state of an earlier version has none.
    #[serde(default)]
    told: DeadEnds,
}

impl Monitor {
    /// What is to be kept.
    #[must_use]
    pub fn state(&self) -> State {
        State {
            counters: self.counters.clone(),
            changes: self.changes.iter().map(|change| Change::clone(change)).collect(),
            history: self.history.iter().copied().collect(),
            settings: settings(&self.target),
            known: Known {
                address: self.address,
                ends: self.ends,
                pinned: self.pinned.clone(),
                samples: self.samples.clone(),
                age: self.age,
                cut_short: self.cut_short,
                told: self.told.clone(),
            },
        }
    }

    /// Goes on from what was kept. Counters and changes go on in any case, the known route only where its flows are still asked the
    /// same way.
    pub fn restore(&mut self, state: State) {
        let State { counters, changes, history, settings: before, known } = state;
        self.counters = counters;
        let surplus = changes.len().saturating_sub(CHANGES_MAX);
        self.changes = changes.into_iter().skip(surplus).map(Arc::new).collect();
        let surplus = history.len().saturating_sub(HISTORY_MAX);
        self.history = history.into_iter().skip(surplus).collect();
        let now = settings(&self.target);
        if before != now {
            tracing::info!(
                target = self.target.name.as_str(),
                before,
                now,
                "other settings than before: what was known of the route is given up"
            );
            return;
        }
        let Known { address, ends, pinned, samples, age, cut_short, told } = known;
        self.address = address;
        self.ends = ends;
        self.pinned = pinned;
        self.samples = samples;
        self.age = age;
        self.cut_short = cut_short;
        self.told = told;
    }
}

impl Monitor {
    /// Goes on with other settings of the same target; returns whether its flows go on. Where they are to be asked another way they do
    /// not: then counters and changes alone go on, as after a restart.
    pub fn follow(&mut self, target: Arc<Target>, rediscover_interval: Duration) -> bool {
        let goes_on = asks_alike(&self.target, &target);
        if goes_on {
            self.target = target;
            self.rediscover_interval = rediscover_interval;
        } else {
            let state = self.state();
            *self = Self::new(target, rediscover_interval);
            self.restore(state);
        }
        goes_on
    }
}

/// Whether two targets of the same name have their flows asked the same way, so that what is known of one is true of the other.
#[must_use]
pub fn asks_alike(a: &Target, b: &Target) -> bool {
    settings(a) == settings(b)
}

/// All that decides where flows go and which of them are asked where, in words for the log.
fn settings(target: &Target) -> String {
    let family = target.module.traced_family();
    let Module {
        protocol,
        family: _,
        strategy,
        confidence: _,
        first_ttl,
        max_ttl,
        timeout: _,
        attempts: _,
        gap_limit: _,
        max_probes: _,
        flows,
        source,
        interface,
        source_port,
        destination_port,
        tos,
        payload: _,
        dont_fragment: _,
        pps: _,
        burst: _,
    } = &*target.module;
    let or_any = |choice: Option<String>| choice.unwrap_or_else(|| "any".to_owned());
    let source = or_any(source.map(|source| source.to_string()));
    let interface = or_any(interface.clone());
    let flows = match strategy {
        Strategy::Fixed => format!(", {flows} flows"),
        Strategy::Mda | Strategy::MdaLite => String::new(),
    };
    format!(
        "host {host}, family {family}, {protocol}, {strategy}{flows}, TTL {first_ttl} to {max_ttl}, source {source}, \
         interface {interface}, ports {source_port} to {destination_port}, tos {tos}",
        host = target.host
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Config, render::sample, time::Time, trace::Trace};

    /// A monitor of a target with these settings.
    fn monitor(host: &str, module: &str) -> Monitor {
        let text = format!(
            "{{ targets: [{{ name: a, host: {host}, module: m }}], modules: {{ m: {{ {module} }} }} }}"
        );
        let target = Config::parse("test", &text).unwrap().targets.remove(0);
        Monitor::new(Arc::new(target), Duration::MAX)
    }

    /// One that has seen a round and noted more changes than are kept.
    fn experienced() -> Monitor {
        let mut monitor = monitor("www.example.net", "");
        let evidence = sample::evidence(
            "33460  192.0.2.1@1100  198.51.100.1@2000  *                   203.0.113.9@9000!
             33471  192.0.2.1@1200  198.51.100.2@2500  198.51.100.20@4000  203.0.113.9@9500!",
        );
        monitor.resolved(sample::address("203.0.113.9"));
        let trace = Trace { evidence: evidence.clone(), ..sample::trace(&evidence) };
        monitor.absorb(Time::ZERO, sample::STARTED, Duration::from_secs(1), Ok(trace));
        monitor.absorb(Time::ZERO, sample::STARTED, Duration::from_secs(1), Err("no route".to_owned()));
        for number in 0..=CHANGES_MAX {
            let detail = format!("change {number}");
            monitor.note(Change { detail, ..Change::at(sample::STARTED) });
        }
        monitor.samples.insert(Ttl::MIN, 17);
        monitor.cut_short = 2;
        let told =
            r#"[[[1, "192.0.2.1"], { "round": 3, "back": false }], [null, { "round": 4, "back": true }]]"#;
        monitor.told = serde_json::from_str(told).unwrap();
        monitor
    }

    fn restarted(state: &State, mut monitor: Monitor) -> Monitor {
        let text = serde_json::to_string(state).unwrap();
        monitor.restore(serde_json::from_str(&text).unwrap());
        monitor
    }

    #[test]
    fn a_restart_loses_nothing() {
        let before = experienced();
        let state = before.state();
        let after = restarted(&state, monitor("www.example.net", ""));
        assert_eq!(after.state(), state);
        assert!(after.pinned.has_past() && after.pinned == before.pinned);
        assert_eq!(after.told, before.told);
        let [shown, expected] = [&after, &before].map(Monitor::snapshot);
        assert_eq!(shown.counters, expected.counters);
        assert_eq!(shown.changes, expected.changes);
        assert_eq!((shown.history, expected.history), (vec![Some(2), None], vec![Some(2), None]));
        assert_eq!(shown.address, Some(sample::address("203.0.113.9")));
        assert_eq!(shown.last_round, None);
        assert_eq!(after.full, None, "the first round asks all flows");
    }

    #[test]
    fn flows_that_are_asked_another_way_are_given_up() {
        let state = experienced().state();
        // host and settings -> whether the flows go on
        let cases = [
            ("www.example.net", "pps: 10, timeout: 1s, confidence: 0.99, payload: 100, flows: 20", true),
            ("www.example.com", "", false),
            ("192.0.2.7", "", false),
            ("www.example.net", "protocol: tcp", false),
            ("www.example.net", "strategy: mda", false),
            ("www.example.net", "family: v6", false),
            ("www.example.net", "source_port: 40000", false),
            ("www.example.net", "destination_port: 53", false),
            ("www.example.net", "source: 192.0.2.3", false),
            ("www.example.net", "interface: eth7", false),
            ("www.example.net", "first_ttl: 2", false),
            ("www.example.net", "max_ttl: 12", false),
            ("www.example.net", "tos: 184", false),
        ];
        for (host, module, expected) in cases {
            let after = restarted(&state, monitor(host, module));
            assert_eq!(after.pinned.has_past(), expected, "{host}, {module}");
            assert_eq!(after.address.is_some() && after.ends.is_some(), expected, "{host}, {module}");
            assert_eq!(after.counters, state.counters, "{host}, {module}");
            assert_eq!(after.changes.len(), CHANGES_MAX, "{host}, {module}");
        }
        let fixed = monitor("h", "strategy: fixed, flows: 8").state();
        assert_ne!(fixed.settings, monitor("h", "strategy: fixed, flows: 9").state().settings);
    }

    #[test]
    fn other_settings_take_nothing_back() {
        let target = |host: &str, keys: &str, module: &str| {
            let text = format!(
                "{{ targets: [{{ name: a, host: {host}, module: m, {keys} }}], modules: {{ m: {{ {module} }} }} }}"
            );
            Arc::new(Config::parse("test", &text).unwrap().targets.remove(0))
        };
        // target -> whether its flows and what they found go on
        let cases = [
            (target("www.example.net", "", ""), true),
            (
                target("www.example.net", "interval: 1h, labels: { site: ams }", "pps: 10, confidence: 0.99"),
                true,
            ),
            (target("www.example.com", "", ""), false),
            (target("www.example.net", "", "protocol: tcp"), false),
        ];
        for (target, expected) in cases {
            let mut monitor = experienced();
            let before = monitor.snapshot();
            monitor.full = Some(Time::ZERO);
            assert_eq!(monitor.follow(Arc::clone(&target), Duration::from_secs(7)), expected, "{target:?}");
            let after = monitor.snapshot();
            assert_eq!(after.last_round, before.last_round.filter(|_| expected), "{target:?}");
            assert_eq!(after.address, before.address.filter(|_| expected), "{target:?}");
            assert_eq!((after.counters, after.changes), (before.counters, before.changes), "{target:?}");
            assert_eq!(
                (after.labels, after.host.as_ref()),
                (target.labels.clone(), &*target.host.to_string())
            );
            assert_eq!(monitor.pinned.has_past(), expected, "{target:?}");
            assert_eq!(monitor.full, Some(Time::ZERO).filter(|_| expected), "{target:?}");
            assert_eq!(monitor.rediscover_interval, Duration::from_secs(7));
            assert_eq!(monitor.target(), &target);
        }
    }

    #[test]
    fn a_state_of_an_earlier_version_is_understood() {
        let mut value = serde_json::to_value(experienced().state()).unwrap();
        let counters = value["counters"].as_object_mut().unwrap();
        assert!(counters.remove("flow_moves").is_some());
        assert!(value.as_object_mut().unwrap().remove("history").is_some());
        assert!(value["known"].as_object_mut().unwrap().remove("told").is_some());
        let state: State = serde_json::from_value(value).unwrap();
        let known = Known { told: DeadEnds::default(), ..experienced().state().known };
        assert_eq!(state, State { history: Vec::new(), known, ..experienced().state() });
    }
}
