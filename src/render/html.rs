//! One page that needs nothing else, to be sent to somebody: the picture, the verdict and the tables.

use std::fmt::{self, Write};

use super::{
    Report, Text,
    label::{self, Losses, milliseconds},
    rows::Rows,
    svg, timestamp,
    verdict::verdict,
};
use crate::{
    probe::Ttl,
    route::{Diamond, Hop, Node, Route},
    trace::Trace,
    words::plural,
};

const STYLE: &str = include_str!("base.css");
/// What stands where there is nothing to say.
const NONE: &str = "\u{2013}";

pub(super) fn text(report: &Report<'_>) -> String {
    let mut out = String::new();
    // Writing into a string cannot fail.
    let _ = write_page(&mut out, report);
    out
}

fn write_page(out: &mut String, report: &Report<'_>) -> fmt::Result {
    let trace = report.trace;
    let host = Text(report.host);
    // Nothing is fetched and nothing is run, whatever names of routers try.
    writeln!(
        out,
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Route to {host}</title>
<style>
{STYLE}
{}</style>
</head>
<body>
<h1>Route to {host}</h1>
<p>{}</p>
<p class="muted">{} from {} with {}, strategy {}, {}</p>"#,
        svg::svg_style(),
        Text(&verdict(trace)),
        trace.destination,
        trace.source,
        trace.protocol,
        trace.strategy,
        timestamp(report.started),
    )?;
    writeln!(out, "<div class=\"scroll\">\n{}</div>", svg::inline(report, false))?;
    write_hops(out, trace)?;
    write_paths(out, &trace.route)?;
    write_diamonds(out, &trace.route.diamonds)?;
    out.push_str("</body>\n</html>\n");
    Ok(())
}

/// A table with its heading. Columns whose name begins with `#` hold numbers.
fn write_head(out: &mut String, title: &str, columns: &[&str]) -> fmt::Result {
    write!(out, "<h2>{title}</h2>\n<div class=\"scroll\">\n<table>\n<thead>\n<tr>")?;
    for column in columns {
        match column.strip_prefix('#') {
            Some(name) => write!(out, "<th scope=\"col\" class=\"number\">{name}</th>")?,
            None => write!(out, "<th scope=\"col\">{column}</th>")?,
        }
    }
    out.push_str("</tr>\n</thead>\n<tbody>\n");
    Ok(())
}

const END: &str = "</tbody>\n</table>\n</div>\n";

fn write_hops(out: &mut String, trace: &Trace) -> fmt::Result {
    let Trace { route, annotations, .. } = trace;
    if route.hops.is_empty() {
        return Ok(());
    }
    let (has_names, has_systems) = (annotations.has_names(), annotations.has_systems());
    let columns = [
        (true, "#Hop"),
        (true, "#Sent"),
        (true, "#Answered"),
        (true, "Address"),
        (has_names, "Name"),
        (has_systems, "AS"),
        (true, "#Flows"),
        (true, "#Fastest"),
        (true, "#Median"),
        (true, "#Slowest"),
        (true, "Remarks"),
    ];
    let columns: Vec<_> =
        columns.into_iter().filter_map(|(is_there, name)| is_there.then_some(name)).collect();
    write_head(out, "Hops", &columns)?;
    let losses = Losses::of(trace);
    for hop in &route.hops {
        for (index, node) in hop.nodes.iter().enumerate() {
            out.push_str("<tr>");
            if index == 0 {
                write_hop(out, hop)?;
            }
            write!(out, "<td>{}</td>", Text(&label::address(node)))?;
            let (name, asn) = annotations.of(node);
            if has_names {
                write!(out, "<td class=\"words\">{}</td>", Text(name.unwrap_or_default()))?;
            }
            if has_systems {
                write!(out, "<td>{}</td>", asn.map(label::asn).unwrap_or_default())?;
            }
            let loss = losses.get(&hop.ttl).and_then(|losses| losses.node(node));
            write_node(out, node, loss)?;
            out.push_str("</tr>\n");
        }
    }
    out.push_str(END);
    Ok(())
}

fn write_hop(out: &mut String, hop: &Hop) -> fmt::Result {
    let rows = hop.nodes.len();
    let bad = if label::loss(hop).is_some() { " bad" } else { "" };
    write!(
        out,
        "<th scope=\"rowgroup\" rowspan=\"{rows}\" class=\"number\">{}</th><td rowspan=\"{rows}\" class=\"number\">{}</td><td rowspan=\"{rows}\" class=\"number{bad}\">{}</td>",
        hop.ttl, hop.probes_sent, hop.replies_received
    )
}

fn write_node(out: &mut String, node: &Node, loss: Option<&str>) -> fmt::Result {
    let times = match node.rtt {
        Some(rtt) => [rtt.min, rtt.median, rtt.max].map(milliseconds),
        None => [NONE; 3].map(str::to_owned),
    };
    let remarks: Vec<_> = loss.map(str::to_owned).into_iter().chain(label::remarks(node)).collect();
    write!(out, "<td class=\"number\">{}</td>", node.flows)?;
    for time in times {
        write!(out, "<td class=\"number\">{time}</td>")?;
    }
    write!(out, "<td class=\"words\">{}</td>", Text(&remarks.join(", ")))
}

fn write_paths(out: &mut String, route: &Route) -> fmt::Result {
    let rows = Rows::of(route, true);
    if rows.rows.is_empty() {
        return Ok(());
    }
    let ttls: Vec<_> = rows.ttls.iter().map(Ttl::to_string).collect();
    let columns: Vec<_> =
        std::iter::once("#Flows").chain(ttls.iter().map(String::as_str)).chain([""]).collect();
    write_head(out, "Paths", &columns)?;
    for row in &rows.rows {
        write!(out, "<tr><th scope=\"row\" class=\"number\">{}</th>", row.flows.len())?;
        for &ttl in &rows.ttls {
            match row.at(ttl) {
                None => out.push_str("<td></td>"),
                Some(None) => write!(out, "<td>{}</td>", label::SILENT)?,
                Some(Some(address)) => write!(out, "<td>{address}</td>")?,
            }
        }
        let end = if row.reached == Some(false) { "not reached" } else { "" };
        writeln!(out, "<td class=\"bad\">{end}</td></tr>")?;
    }
    out.push_str(END);
    if rows.hidden > 0 {
        writeln!(out, "<p class=\"muted\">{} not shown.</p>", plural(rows.hidden as u128, "more path"))?;
    }
    if rows.undecided > 0 {
        let flows = plural(rows.undecided as u128, "more flow");
        writeln!(out, "<p class=\"muted\">{flows} asked at too few hops to tell the path.</p>")?;
    }
    Ok(())
}

fn write_diamonds(out: &mut String, diamonds: &[Diamond]) -> fmt::Result {
    if diamonds.is_empty() {
        return Ok(());
    }
    write_head(out, "Diamonds", &["Divides at", "Joins at", "#Width", "#Length"])?;
    for diamond in diamonds {
        let Diamond { divergence_ttl, divergence, convergence_ttl, convergence, width, .. } = *diamond;
        let node = |ttl: u8, address: Option<std::net::IpAddr>| match address {
            Some(address) => format!("hop {ttl}, {address}"),
            None if ttl == 0 => "the source".to_owned(),
            None => format!("hop {ttl}, {}", label::SILENT),
        };
        let joins = convergence_ttl.map_or_else(|| NONE.to_owned(), |ttl| node(ttl, convergence));
        let length = diamond.length().map_or_else(|| NONE.to_owned(), |length| length.to_string());
        writeln!(
            out,
            "<tr><td>{}</td><td>{joins}</td><td class=\"number\">{width}</td><td class=\"number\">{length}</td></tr>",
            node(divergence_ttl, divergence)
        )?;
    }
    out.push_str(END);
    Ok(())
}
