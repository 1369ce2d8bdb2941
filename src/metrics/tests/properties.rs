//! Whatever a route looks like, its exposition is one that Prometheus accepts.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    flow::FlowId,
    probe::ReplyKind,
    route::{Answer, Evidence},
};

/// What happens to one question: up to two answers from a handful of addresses, so that the same one answers at several hops,
/// flows run in circles and packets of one flow take different ways; silence; or it was not asked at all.
fn cell() -> impl Strategy<Value = Option<Vec<(u8, bool)>>> {
    prop_oneof![
        5 => vec((1..=6_u8, prop::bool::weighted(0.1)), 1..=2).prop_map(Some),
        4 => Just(Some(Vec::new())),
        1 => Just(None),
    ]
}

fn evidence() -> impl Strategy<Value = Evidence> {
    vec(vec(cell(), 1..12), 0..12).prop_map(|flows| {
        let mut evidence = Evidence::default();
        for (id, cells) in (33_453..).zip(flows) {
            for (cell, ttl) in cells.into_iter().zip(Ttl::MIN.to(Ttl::MAX)) {
                let Some(answers) = cell else { continue };
                evidence.sent(FlowId(id), ttl);
                if answers.is_empty() {
                    evidence.silent(FlowId(id), ttl);
                }
                for (from, destination) in answers {
                    let kind = if destination { ReplyKind::PortUnreachable } else { ReplyKind::TimeExceeded };
                    let answer = Answer {
                        from: IpAddr::from([192, 0, 2, from]),
                        kind,
                        rtt: Duration::from_micros(1000),
                        nat: false,
                        mpls: Vec::new(),
                    };
                    evidence.answered(FlowId(id), ttl, answer);
                }
            }
        }
        evidence
    })
}

proptest! {
    #[test]
    fn no_series_comes_twice_and_the_cap_holds(one in evidence(), other in evidence(), room in 0..200_usize) {
        let store = sample::store([
            sample::traced("one", sample::trace(&one)),
            sample::changed(sample::traced("other", sample::trace(&other))),
        ]);
        let limits = |series_per_target| Limits { series_per_target, topology: true };
        let whole = parser::parse(&show(&store, limits(usize::MAX)));
        for target in ["one", "other"] {
            let of_target = |samples: &[Sample]| -> Vec<Sample> {
                samples.iter().filter(|sample| sample.label("target") == Some(target)).cloned().collect()
            };
            let all = of_target(&whole);
            let detail = count(&all, &HOP_LEVEL) + count(&all, &TOPOLOGY);
            let limit = all.len() - detail + room;
            let capped = of_target(&parser::parse(&show(&store, limits(limit))));
            let dropped = value(&capped, "traceflow_series_dropped", target).expect("a number");
            prop_assert!(capped.len() <= limit);
            prop_assert_eq!((all.len() - capped.len()) as f64, dropped);
            let topology = count(&capped, &TOPOLOGY);
            prop_assert!(topology == 0 || topology == count(&all, &TOPOLOGY));

            let snapshot = store.target(target).expect("a target");
            let route = &snapshot.trace().expect("a trace").route;
            prop_assert_eq!(count(&all, &["traceflow_node_info"]), route.node_count());
            prop_assert_eq!(count(&all, &["traceflow_link_flows"]), route.links.len());
            // No number had to be added to a silent node's name to keep it apart.
            prop_assert!(all.iter().all(|sample| !sample.labels.iter().any(|(_, value)| value.contains('#'))));
            prop_assert!(ends_are_nodes(&all));
        }
    }
}

/// Whether both ends of each link are nodes.
fn ends_are_nodes(samples: &[Sample]) -> bool {
    let key = |sample: &Sample, label: &str, on: u32| {
        let ttl: u32 = sample.label("ttl").and_then(|ttl| ttl.parse().ok()).expect("a TTL");
        (ttl + on, sample.label(label).map(str::to_owned))
    };
    let of = |name: &'static str| samples.iter().filter(move |sample| sample.name == name);
    let nodes: BTreeSet<_> = of("traceflow_node_info").map(|sample| key(sample, "address", 0)).collect();
    of("traceflow_link_flows")
        .all(|link| nodes.contains(&key(link, "from", 0)) && nodes.contains(&key(link, "to", 1)))
}
