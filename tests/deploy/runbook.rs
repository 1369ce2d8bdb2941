//! docs/runbook.md: that each alert has its section, and what is asked there.

use crate::{read, rules::alerts};

/// Where rules say that the runbook is; whoever uses them sets the host.
pub(crate) const URL: &str = "https://traceflow-exporter.example/docs/runbook.md";

const RUNBOOK: &str = "docs/runbook.md";

#[test]
fn each_alert_has_its_section_and_each_section_its_alert() {
    let text = read(RUNBOOK);
    let mut sections: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let mut alerts = alerts();
    sections.sort_unstable();
    alerts.sort_unstable();
    assert_eq!(sections, alerts);
    for section in text.split("\n### ").skip(1) {
        for part in ["**Means.** ", "**Look at.**", "**Do.** "] {
            assert!(section.contains(part), "{part} is missing in {section}");
        }
    }
}

#[test]
fn the_readme_names_every_alert() {
    let text = read("README.md");
    for alert in alerts() {
        assert!(text.contains(&format!("`{alert}`")), "{alert}");
    }
}

/// Every query: indented lines that are no commands.
pub(crate) fn queries() -> Vec<String> {
    let text = read(RUNBOOK);
    let lines = text.lines().filter_map(|line| line.strip_prefix("    "));
    let command = |line: &&str| {
        ["curl ", "ping ", "traceflow_exporter ", "systemctl ", "kubectl "]
            .iter()
            .any(|name| line.trim_start().starts_with(name))
    };
    lines.filter(|line| !command(line)).map(str::to_owned).collect()
}

/// What is made of a target's JSON.
pub(crate) fn filters() -> Vec<String> {
    let text = read(RUNBOOK);
    let filters = text.split("| jq '").skip(1).map(|rest| rest.split('\'').next().unwrap().to_owned());
    filters.collect()
}
