//! The landing page: the targets in a table. Plain HTML, no scripts; everything that comes from outside is escaped.

use std::{
    fmt::{self, Write},
    sync::Arc,
};

use crate::{
    render::{Text, milliseconds},
    route::RttSummary,
    store::{Snapshot, Store},
};

/// The style sheet of all pages.
pub(super) const STYLE: &str = include_str!("style.css");

/// Links are relative, so that the page works behind a proxy that adds a prefix.
pub(super) fn index(store: &Store, telemetry_path: &str) -> String {
    let mut page = String::new();
    // Writing into a string cannot fail.
    let _ = write_index(&mut page, &store.targets(), telemetry_path);
    page
}

fn write_index(out: &mut String, targets: &[Arc<Snapshot>], telemetry_path: &str) -> fmt::Result {
    let up = targets.iter().filter(|snapshot| snapshot.is_up()).count();
    let metrics = Text(telemetry_path.trim_start_matches('/'));
    write!(
        out,
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Traceflow exporter</title>
<link rel="stylesheet" href="style.css">
</head>
<body>
<header>
<h1>Traceflow exporter</h1>
<p>Version {version}</p>
<nav>
<a href="./{metrics}">Metrics</a>
<a href="api/v1/targets">Targets as JSON</a>
<a href="-/healthy">Health</a>
<a href="-/ready">Readiness</a>
</nav>
</header>
<main>
<h2>Targets</h2>
"#,
        version = env!("CARGO_PKG_VERSION"),
    )?;
    if targets.is_empty() {
        out.push_str("<p>No targets are configured.</p>\n");
    } else {
        writeln!(out, "<p>{up} of {} up, as of the last round of each.</p>", targets.len())?;
        write_table(out, targets)?;
    }
    out.push_str("</main>\n</body>\n</html>\n");
    Ok(())
}

fn write_table(out: &mut String, targets: &[Arc<Snapshot>]) -> fmt::Result {
    out.push_str(
        r#"<div class="scroll">
<table>
<thead>
<tr><th scope="col">Target</th><th scope="col">Host</th><th scope="col">Address</th><th scope="col">State</th><th scope="col" class="number">Paths</th><th scope="col" class="number">Hops</th><th scope="col" class="number">RTT</th><th scope="col" class="number">Path changes</th><th scope="col">Last path change (UTC)</th><th scope="col">Last round (UTC)</th></tr>
</thead>
<tbody>
"#,
    );
    for snapshot in targets {
        write_row(out, snapshot)?;
    }
    out.push_str("</tbody>\n</table>\n</div>\n");
    Ok(())
}

fn write_row(out: &mut String, snapshot: &Snapshot) -> fmt::Result {
    let route = snapshot.trace().map(|trace| &trace.route);
    let known = route.filter(|route| route.paths.count > 0);
    let paths = known.map(|route| route.paths.count.to_string());
    let hops = known.map(|route| match (route.paths.hops_min, route.paths.hops_max) {
        (min, max) if min == max => min.to_string(),
        (min, max) => format!("{min}\u{2013}{max}"),
    });
    let rtt = route.and_then(|route| RttSummary::of(route.arrivals.rtts.clone()));
    let rtt = rtt.map(|rtt| milliseconds(rtt.median));
    let address = snapshot.address.map(|address| address.to_string());
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "\u{2013}".to_owned());

    let name = Text(&snapshot.name);
    writeln!(
        out,
        r#"<tr><th scope="row"><a href="api/v1/targets/{}">{name}</a></th><td>{}</td><td>{}</td>{}<td class="number">{}</td><td class="number">{}</td><td class="number">{}</td><td class="number">{}</td><td>{}</td><td>{}</td></tr>"#,
        Href(&snapshot.name),
        Text(&snapshot.host),
        or_dash(address),
        State(snapshot),
        or_dash(paths),
        or_dash(hops),
        or_dash(rtt),
        snapshot.counters.path_changes,
        or_dash(snapshot.counters.last_path_change.map(time)),
        or_dash(snapshot.last_round.as_ref().map(|round| time(round.started))),
    )
}

/// A time in UTC, to the second.
fn time(at: jiff::Timestamp) -> String {
    format!(r#"<time datetime="{at:.0}">{}</time>"#, at.strftime("%F %T"))
}

/// The cell that says whether a target is up, and if it could not be asked, why.
struct State<'a>(&'a Snapshot);

impl fmt::Display for State<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(round) = &self.0.last_round else {
            return f.write_str("<td>not tried yet</td>");
        };
        match &round.outcome {
            Err(why) => write!(f, r#"<td class="down">failed: {}</td>"#, Text(why)),
            Ok(_) if self.0.is_up() => f.write_str(r#"<td class="up">up</td>"#),
            Ok(_) => f.write_str(r#"<td class="down">not reached</td>"#),
        }
    }
}

/// One segment of a link: everything but unreserved characters (RFC 3986, section 2.3) is percent-encoded.
struct Href<'a>(&'a str);

impl fmt::Display for Href<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    f.write_char(char::from(byte))?;
                }
                other => write!(f, "%{other:02X}")?,
            }
        }
        Ok(())
    }
}
