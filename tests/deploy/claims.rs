//! That nothing under `deploy/` and `grafana/` is decoration: each file is named by the check that would fail if it were broken.

use std::{collections::BTreeMap, path::Path, process::Command};

use crate::{read, succeed};

/// Each file with the source file of its check, and a test in there.
const CLAIMS: &[(&str, &str, &str)] = &[
    ("deploy/container/Containerfile", "tests/deploy/container.rs", "hadolint_finds_nothing"),
    ("deploy/container/compose.yaml", "tests/deploy/container.rs", "compose_has_the_shape_that_it_must_have"),
    (
        "deploy/container/traceflow_exporter.yaml",
        "tests/deploy/container.rs",
        "the_image_starts_the_program_as_a_user_by_number",
    ),
    (
        "deploy/debian/postrm",
        "tests/deploy/package.rs",
        "the_package_installs_all_that_the_program_comes_with",
    ),
    (
        "deploy/kubernetes/base/configmap.yaml",
        "tests/deploy/kubernetes.rs",
        "the_exporter_takes_its_configuration_and_arguments",
    ),
    (
        "deploy/kubernetes/base/daemonset.yaml",
        "tests/deploy/kubernetes.rs",
        "only_those_combinations_start_that_are_said_to",
    ),
    (
        "deploy/kubernetes/base/kustomization.yaml",
        "tests/deploy/kubernetes.rs",
        "kustomization_names_every_manifest_and_no_other",
    ),
    (
        "deploy/kubernetes/base/namespace.yaml",
        "tests/deploy/kubernetes.rs",
        "manifests_have_the_shape_of_their_kinds",
    ),
    ("deploy/kubernetes/base/networkpolicy.yaml", "tests/deploy/kubernetes.rs", "manifests_find_each_other"),
    ("deploy/kubernetes/base/probe.yaml", "tests/deploy/kubernetes.rs", "manifests_find_each_other"),
    (
        "deploy/kubernetes/base/prometheusrule.yaml",
        "tests/deploy/kubernetes.rs",
        "the_manifest_of_rules_is_made_of_the_rules",
    ),
    ("deploy/kubernetes/base/service.yaml", "tests/deploy/kubernetes.rs", "manifests_find_each_other"),
    ("deploy/kubernetes/base/serviceaccount.yaml", "tests/deploy/kubernetes.rs", "manifests_find_each_other"),
    ("deploy/kubernetes/base/servicemonitor.yaml", "tests/deploy/kubernetes.rs", "manifests_find_each_other"),
    (
        "deploy/kubernetes/host-network/kustomization.yaml",
        "tests/deploy/kubernetes.rs",
        "the_overlay_finds_what_it_patches",
    ),
    (
        "deploy/prometheus/alertmanager.yaml",
        "tests/kernel/alert.rs",
        "a_next_hop_that_is_withdrawn_reaches_whoever_is_on_call",
    ),
    ("deploy/prometheus/federation.yaml", "tests/deploy/scrape.rs", "what_goes_further_has_names_that_exist"),
    ("deploy/prometheus/probe.yaml", "tests/deploy/scrape.rs", "shards_are_disjoint_and_complete"),
    ("deploy/prometheus/prometheus.yaml", "tests/deploy/scrape.rs", "vantage_points_are_told_apart"),
    (
        "deploy/prometheus/remote-write.yaml",
        "tests/deploy/scrape.rs",
        "what_goes_further_has_names_that_exist",
    ),
    (
        "deploy/prometheus/targets/example.yaml",
        "tests/deploy/scrape.rs",
        "each_target_is_asked_for_by_name_and_module",
    ),
    (
        "deploy/prometheus/traceflow.rules.test.yaml",
        "tests/deploy/rules.rs",
        "scenarios_notice_what_breaks_a_rule",
    ),
    (
        "deploy/prometheus/traceflow.rules.yaml",
        "tests/deploy/rules.rs",
        "alerts_fire_when_they_should_and_no_other_does",
    ),
    (
        "deploy/systemd/traceflow_exporter.service",
        "tests/deploy/systemd.rs",
        "the_filters_let_through_all_that_the_program_does",
    ),
    (
        "grafana/dashboards/traceflow.json",
        "tests/grafana/main.rs",
        "every_query_finds_data_and_the_route_is_a_graph",
    ),
    (
        "grafana/dashboards/traceflow_exporter.json",
        "tests/grafana/main.rs",
        "every_query_finds_data_and_the_route_is_a_graph",
    ),
    (
        "grafana/provisioning/dashboards/traceflow.yaml",
        "tests/grafana/main.rs",
        "grafana_is_told_where_dashboards_and_data_are",
    ),
    (
        "grafana/provisioning/datasources/prometheus.yaml",
        "tests/grafana/main.rs",
        "grafana_is_told_where_dashboards_and_data_are",
    ),
];

#[test]
fn every_file_has_a_check() {
    let mut list = Command::new("git");
    list.args(["ls-files", "--cached", "--others", "--exclude-standard", "deploy", "grafana"]);
    let there = succeed(&mut list);
    let mut claims: BTreeMap<_, _> =
        CLAIMS.iter().map(|(file, source, test)| (*file, (*source, *test))).collect();
    for file in there.lines() {
        let (source, test) = claims.remove(file).unwrap_or_else(|| panic!("{file} has no check"));
        let text = read(source);
        assert!(text.contains(&format!("fn {test}()")), "{source} has no {test}");
        // Its name, or the last part of it where names are put together.
        let stem = Path::new(file).file_stem().unwrap().to_str().unwrap();
        let scripts = if source.starts_with("tests/grafana") {
            ["dashboards", "provisioning.test"]
                .map(|script| read(&format!("tests/grafana/{script}.mjs")))
                .concat()
        } else {
            String::new()
        };
        assert!(text.contains(stem) || scripts.contains(stem), "{source} does not name {file}");
    }
    assert!(claims.is_empty(), "there is no {:?}", claims.keys());
}
