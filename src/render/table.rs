//! The table of a trace: a row a path, a column a hop.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write},
    net::IpAddr,
    time::Duration,
};

use super::Report;
use crate::{
    flow::FlowId,
    probe::Ttl,
    route::{FlowHop, Route},
    trace::{StopReason, Trace},
};

/// Blanks between columns.
const GAP: &str = "  ";

/// Flows that share a row.
struct Row<'a> {
    flows: Vec<FlowId>,
    reached: Option<bool>,
    hops: &'a [FlowHop],
}

/// An address over its name and its round-trip time.
#[derive(Clone, Default)]
struct Cell {
    address: String,
    name: String,
    rtt: String,
}

pub(super) fn text(report: &Report<'_>, dedup: bool) -> String {
    let trace = report.trace;
    let mut text = verdict(trace);
    text.push('\n');
    let rows = rows(&trace.route, dedup);
    if rows.iter().any(|row| !row.hops.is_empty()) {
        text.push('\n');
        // Writing into a string cannot fail.
        let _ = write_rows(&mut text, trace, &rows, dedup);
    }
    text
}

/// What was found and how sure it is, in one line that claims no more than the probes support.
fn verdict(trace: &Trace) -> String {
    let route = &trace.route;
    let mut parts = Vec::new();
    if route.paths.count == 0 {
        parts.push("nothing answered".to_owned());
    } else {
        parts.push(plural(route.paths.count, "path"));
        parts.push(match (route.paths.hops_min, route.paths.hops_max) {
            (min, max) if min == max => plural(u128::from(max), "hop"),
            (min, max) => format!("{min} to {max} hops"),
        });
    }
    parts.push(completeness(trace));
    let (reached, flows) = (route.flows_reached(), route.flows_followed());
    if reached > 0 && reached < flows {
        parts.push(format!("only {reached} of {} reached", plural(flows as u128, "flow")));
    }
    parts.push(plural(u128::from(trace.probes_sent), "probe"));
    parts.push(format!("{:.2} s", trace.duration.as_secs_f64()));
    parts.join(", ")
}

fn completeness(trace: &Trace) -> String {
    let why = || {
        let reason = trace.stop_reason.name().replace('_', " ");
        match &trace.detail {
            Some(detail) => format!("{reason}: {detail}"),
            None => reason,
        }
    };
    let route = &trace.route;
    match (route.reached(), trace.stop_reason) {
        (false, StopReason::Complete) => match &trace.detail {
            Some(detail) => format!("destination not reached ({detail})"),
            None => "destination not reached".to_owned(),
        },
        (false, _) => format!("destination not reached ({})", why()),
        (true, StopReason::Complete) => match route.confidence {
            Some(confidence) if confidence >= trace.confidence => {
                format!("complete at {}", percent(trace.confidence))
            }
            confidence => format!(
                "{} sure to be complete ({} asked for)",
                percent(confidence.unwrap_or(0.0)),
                percent(trace.confidence)
            ),
        },
        (true, _) => format!("incomplete ({})", why()),
    }
}

/// The flows in rows: the most travelled path first, those that did not arrive last. Flows that were not followed to their end
/// are shown where they met a node or link that no row above them has.
fn rows(route: &Route, dedup: bool) -> Vec<Row<'_>> {
    let mut groups: BTreeMap<_, Vec<FlowId>> = BTreeMap::new();
    for flow in &route.flows {
        let path: Vec<_> = flow.hops.iter().map(|hop| (hop.ttl, hop.address)).collect();
        let alone = if dedup { None } else { Some(flow.id) };
        groups.entry((path, alone)).or_default().push(flow.id);
    }
    let by_flow: BTreeMap<_, _> = route.flows.iter().map(|flow| (flow.id, flow)).collect();
    let mut rows: Vec<_> = groups
        .into_values()
        .filter_map(|flows| {
            let flow = by_flow.get(flows.first()?)?;
            Some(Row { flows, reached: flow.reached, hops: &flow.hops })
        })
        .collect();
    let order = |reached| match reached {
        Some(true) => 0,
        Some(false) => 2,
        None => 1,
    };
    rows.sort_by_key(|row| (order(row.reached), std::cmp::Reverse((row.hops.len(), row.flows.len()))));
    let mut shown = BTreeSet::new();
    rows.retain(|row| {
        let news = steps(row.hops).into_iter().filter(|&step| shown.insert(step)).count();
        news > 0 || row.reached.is_some() || !dedup
    });
    rows
}

/// The nodes and links that a flow shows.
fn steps(hops: &[FlowHop]) -> BTreeSet<(Ttl, Option<IpAddr>, Option<IpAddr>)> {
    let nodes = hops.iter().map(|hop| (hop.ttl, hop.address, None));
    let pairs = hops.iter().zip(hops.iter().skip(1)).filter(|(from, to)| from.ttl.next() == to.ttl);
    nodes.chain(pairs.map(|(from, to)| (from.ttl, from.address, to.address))).collect()
}

fn write_rows(out: &mut String, trace: &Trace, rows: &[Row<'_>], dedup: bool) -> fmt::Result {
    let ttls = columns(rows);
    let cells: Vec<Vec<Cell>> = rows.iter().map(|row| cells(row, &ttls, trace)).collect();
    let widths: Vec<_> = ttls
        .iter()
        .enumerate()
        .map(|(column, ttl)| {
            let cells = cells.iter().filter_map(|row| row.get(column));
            let widest = cells.map(|cell| cell.address.len().max(cell.name.len()).max(cell.rtt.len())).max();
            widest.unwrap_or(0).max(ttl.to_string().len())
        })
        .collect();

    let heading = if dedup { "flows" } else { "flow" };
    write_line(out, heading, ttls.iter().map(Ttl::to_string), &widths, "")?;
    for (row, cells) in rows.iter().zip(&cells) {
        let first = match row.flows.as_slice() {
            [flow] if !dedup => flow.to_string(),
            flows => flows.len().to_string(),
        };
        let end = if row.reached == Some(false) { "not reached" } else { "" };
        write_line(out, &first, cells.iter().map(|cell| cell.address.clone()), &widths, end)?;
        if cells.iter().any(|cell| !cell.name.is_empty()) {
            write_line(out, "", cells.iter().map(|cell| cell.name.clone()), &widths, "")?;
        }
        write_line(out, "", cells.iter().map(|cell| cell.rtt.clone()), &widths, "")?;
    }
    Ok(())
}

/// The hops at which any of the flows was asked, without a gap.
fn columns(rows: &[Row<'_>]) -> Vec<Ttl> {
    let asked = || rows.iter().flat_map(|row| row.hops).map(|hop| hop.ttl);
    match (asked().min(), asked().max()) {
        (Some(first), Some(last)) => first.to(last).collect(),
        _ => Vec::new(),
    }
}

fn cells(row: &Row<'_>, ttls: &[Ttl], trace: &Trace) -> Vec<Cell> {
    let by_ttl: BTreeMap<_, _> = row.hops.iter().map(|hop| (hop.ttl, hop.address)).collect();
    ttls.iter()
        .map(|ttl| match by_ttl.get(ttl) {
            None => Cell::default(),
            Some(None) => Cell { address: "*".to_owned(), ..Cell::default() },
            Some(Some(address)) => {
                let mut nodes = trace.route.hop(*ttl).into_iter().flat_map(|hop| &hop.nodes);
                let node = nodes.find(|node| node.address == Some(*address));
                let rtt = node.and_then(|node| node.rtt);
                Cell {
                    address: address.to_string(),
                    name: trace.annotations.hostname(*address).unwrap_or_default().to_owned(),
                    rtt: rtt.map(|rtt| milliseconds(rtt.median)).unwrap_or_default(),
                }
            }
        })
        .collect()
}

fn write_line(
    out: &mut String,
    first: &str,
    words: impl Iterator<Item = String>,
    widths: &[usize],
    end: &str,
) -> fmt::Result {
    let mut line = format!("{first:>5}");
    for (word, &width) in words.zip(widths) {
        write!(line, "{GAP}{word:width$}")?;
    }
    write!(line, "{GAP}{end}")?;
    writeln!(out, "{}", line.trim_end())
}

fn plural(count: u128, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Rounded down to a tenth, so that it never says more than is so.
fn percent(share: f64) -> String {
    // A share such as 0.29 is a little less in binary; that is no reason to show 28.9.
    let tenths = (share * 1000.0 + 1e-9).floor() / 10.0;
    format!("{tenths} %")
}

/// Three significant digits, but no decimals from 100 ms on.
pub(crate) fn milliseconds(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1000.0;
    let decimals = match millis {
        millis if millis < 1.0 => 3,
        millis if millis < 10.0 => 2,
        millis if millis < 100.0 => 1,
        _ => 0,
    };
    format!("{millis:.decimals$} ms")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;

    fn shown(trace: &Trace, dedup: bool) -> String {
        let report = Report { host: "www.example.net", started: sample::STARTED, trace };
        text(&report, dedup)
    }

    /// Flows enough for a verdict on the route.
    fn certain() -> String {
        let line = |id| format!("{id} 192.0.2.1@1000 203.0.113.9@9000!\n");
        (33_460..33_468).map(line).collect()
    }

    #[test]
    fn names_stand_below_their_addresses() {
        let expected = "\
flows  1               2             3              4
    2  192.0.2.1       198.51.100.2  198.51.100.20  203.0.113.9
       r1.example.net                               www.example.net
       1.20 ms         2.50 ms       4.00 ms        9.00 ms
    1  192.0.2.1       198.51.100.1  *              203.0.113.9
       r1.example.net                               www.example.net
       1.20 ms         2.00 ms                      9.00 ms
";
        let text = shown(&sample::annotated(), true);
        assert_eq!(text.split_once("\n\n").map(|(_, rows)| rows), Some(expected));
    }

    #[test]
    fn a_row_a_path() {
        let expected = "\
2 paths, 4 hops, 0 % sure to be complete (95 % asked for), 12 probes, 0.31 s

flows  1          2             3              4
    2  192.0.2.1  198.51.100.2  198.51.100.20  203.0.113.9
       1.20 ms    2.50 ms       4.00 ms        9.00 ms
    1  192.0.2.1  198.51.100.1  *              203.0.113.9
       1.20 ms    2.00 ms                      9.00 ms
";
        assert_eq!(shown(&sample::diamond(), true), expected);
    }

    #[test]
    fn a_row_a_flow() {
        let rows: Vec<_> = shown(&sample::diamond(), false)
            .lines()
            .skip(2)
            .step_by(2)
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        let expected = [
            "flow 1 2 3 4",
            "1.20 ms 2.00 ms 9.00 ms",
            "1.20 ms 2.50 ms 4.00 ms 9.00 ms",
            "1.20 ms 2.50 ms 4.00 ms 9.00 ms",
        ];
        assert_eq!(rows, expected);
        let flows: Vec<_> = shown(&sample::diamond(), false)
            .lines()
            .skip(3)
            .step_by(2)
            .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
            .collect();
        assert_eq!(flows, ["33460", "33471", "33482"]);
    }

    #[test]
    fn paths_of_unequal_length_keep_their_columns() {
        let trace = sample::trace(&sample::evidence(
            "1  .  2001:db8::1@90      2001:db8:9::9@2000000!
             2  .  2001:db8::1@100     2001:db8:1:2:3:4:5:6@45600   2001:db8:9::9@123456!
             3  .  2001:db8::1@110     *                            *",
        ));
        let expected = "\
flows  2            3                     4
    1  2001:db8::1  2001:db8:1:2:3:4:5:6  2001:db8:9::9
       0.100 ms     45.6 ms               123 ms
    1  2001:db8::1  2001:db8:9::9
       0.100 ms     2000 ms
    1  2001:db8::1  *                     *              not reached
       0.100 ms
";
        let shown = shown(&trace, true);
        let (verdict, rows) = shown.split_once("\n\n").expect("a verdict");
        assert_eq!(rows, expected);
        assert!(
            verdict.starts_with("2 paths, 3 to 4 hops, ")
                && verdict.contains(", only 2 of 3 flows reached, "),
            "{verdict}"
        );
    }

    #[test]
    fn the_verdict_claims_no_more_than_is_known() {
        let cases = [
            (certain(), StopReason::Complete, None, "1 path, 2 hops, complete at 95 %, 16 probes, 0.31 s"),
            (
                certain(),
                StopReason::ProbeLimit,
                Some("max_probes 16 were sent"),
                "1 path, 2 hops, incomplete (probe limit: max_probes 16 were sent), 16 probes, 0.31 s",
            ),
            (
                certain(),
                StopReason::TimeLimit,
                None,
                "1 path, 2 hops, incomplete (time limit), 16 probes, 0.31 s",
            ),
            (
                "1 192.0.2.1@1000 * *".to_owned(),
                StopReason::GapLimit,
                Some("silent behind hop 1"),
                "1 path, 1 hop, destination not reached (gap limit: silent behind hop 1), 3 probes, 0.31 s",
            ),
            (
                "1 192.0.2.1@1000".to_owned(),
                StopReason::Complete,
                None,
                "1 path, 1 hop, destination not reached, 1 probe, 0.31 s",
            ),
            (
                "1 * *".to_owned(),
                StopReason::GapLimit,
                None,
                "nothing answered, destination not reached (gap limit), 2 probes, 0.31 s",
            ),
            (
                String::new(),
                StopReason::SendFailed,
                Some("Network is unreachable"),
                "nothing answered, destination not reached (send failed: Network is unreachable), 0 probes, 0.31 s",
            ),
        ];
        for (picture, stop_reason, detail, expected) in cases {
            let trace = Trace {
                stop_reason,
                detail: detail.map(str::to_owned),
                ..sample::trace(&sample::evidence(&picture))
            };
            assert_eq!(verdict(&trace), expected);
        }
    }

    #[test]
    fn shares_are_never_rounded_up() {
        for (share, expected) in [
            (0.95, "95 %"),
            (0.949_99, "94.9 %"),
            (0.999, "99.9 %"),
            (0.999_9, "99.9 %"),
            (0.29, "29 %"),
            (1.0, "100 %"),
            (0.0, "0 %"),
        ] {
            assert_eq!(percent(share), expected);
        }
    }
}
