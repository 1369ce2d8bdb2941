//! How many series of a target there are, whatever its route: the bound, and what it leaves out.

use traceflow_exporter::flow::Family;

use crate::{
    exporter::{Running, ready, scrape},
    lab::{self, Lab, Options, topology},
    monitor::read,
    reload::post,
};

/// Families of which there are all series or none.
const TOPOLOGY: [&str; 2] = ["traceflow_node_info{", "traceflow_link_flows{"];

/// How many lines begin like this.
fn count(exposition: &str, beginning: &str) -> usize {
    exposition.lines().filter(|line| line.starts_with(beginning)).count()
}

/// How many series the only target has.
fn series(exposition: &str) -> usize {
    exposition.lines().filter(|line| line.contains("{target=\"d\"")).count()
}

#[test]
fn a_target_has_no_more_series_than_it_may() {
    if lab::skipped() {
        return;
    }
    let lab = Lab::build(&topology("diamond4"), Options::routers());
    let host = lab.destination(Family::V4);
    let config = |limit: usize| {
        format!(
            "global: {{ interval: 1h, series_per_target: {limit} }}\ntargets: [{{ name: d, host: {host} }}]\n"
        )
    };
    let exporter = Running::exporter(&lab, &config(1));
    ready(&lab, &exporter);
    let shown = |limit: usize| {
        exporter.write("config.yaml", &config(limit));
        assert_eq!(post(&lab, "POST").0, "200");
        let exposition = scrape(&lab).unwrap();
        let dropped = read(&exposition, "traceflow_series_dropped", "d");
        (exposition, dropped)
    };
    let (least, all_but) = shown(1);
    let (whole, none) = shown(1_000_000);
    let (own, all) = (series(&least), series(&whole));
    assert_eq!((own, none), (46, 0.0), "those of the target as a whole, without a path change");
    assert_eq!(all_but, (all - own) as f64);
    let topology = TOPOLOGY.map(|family| count(&whole, family));
    assert!(topology.iter().all(|count| *count > 0), "{whole}");
    assert_eq!(count(&least, "traceflow_hop_"), 0, "{least}");

    let without_topology = all - topology.iter().sum::<usize>();
    for limit in [own, own + 1, own + 7, without_topology, all - 1, all] {
        let (exposition, dropped) = shown(limit);
        let (found, of_topology) = (series(&exposition), TOPOLOGY.map(|family| count(&exposition, family)));
        assert!(found <= limit, "{found} of {limit}");
        assert_eq!(found as f64 + dropped, all as f64, "with {limit}");
        let expected = if limit == all { topology } else { [0; 2] };
        assert_eq!(of_topology, expected, "with {limit}: whole or not at all");
        // Whatever is left out, a target's own series are not.
        let is_own = |line: &&str| line.contains("{target=\"d\"}") || line.contains("_bucket{target=\"d\"");
        assert!(exposition.lines().filter(is_own).count() + 1 >= own, "{exposition}");
    }
    assert_eq!(exporter.terminate(), Some(0));
}
