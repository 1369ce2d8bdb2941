//! A comparison for people to read.

use std::fmt::{self, Write};

use super::{Both, Difference, Link, Move, Saved};
use crate::{render::printable, words::plural};

/// Most lines of one kind; what is beyond is counted.
const MOST_LINES: usize = 30;

/// The comparison in lines: what it comes to, then what went, came and moved.
#[must_use]
pub fn text(before: &Saved, after: &Saved, difference: &Difference) -> String {
    let mut out = String::new();
    // Writing into a string cannot fail.
    let _ = write_text(&mut out, before, after, difference);
    out
}

fn write_text(out: &mut String, before: &Saved, after: &Saved, difference: &Difference) -> fmt::Result {
    for (when, saved) in [("before", before), ("after", after)] {
        let paths = plural(saved.paths.into(), "path");
        let hops = match (saved.hops_min, saved.hops_max) {
            (Some(min), Some(max)) if min != max => format!("{min} to {max} hops"),
            (_, Some(max)) => count(max.into(), "hop"),
            _ => "nothing answered".to_owned(),
        };
        let reached = if saved.reached { "" } else { ", not reached" };
        writeln!(
            out,
            "{when:<6}  {}  {}, {paths}, {hops}{reached}",
            printable(&saved.started),
            printable(&saved.host)
        )?;
    }
    writeln!(out, "{}", verdict(difference))?;
    for caution in &difference.cautions {
        writeln!(out, "caution: {}", printable(caution))?;
    }
    out.push('\n');
    write_nodes(out, difference)?;
    write_links(out, "link went", &difference.links_went)?;
    write_links(out, "link came", &difference.links_came)?;
    lines(out, "flow", difference.flows_moved.iter().map(flow))?;
    lines(
        out,
        "rtt",
        difference.rtt_changed.iter().map(|change| {
            let Both { before, after } = change.median_seconds;
            let [before, after] = [before, after].map(|seconds| seconds * 1000.0);
            format!("hop {}, {}: {before:.2} ms before, {after:.2} ms after", change.ttl, change.address)
        }),
    )?;
    if let Some(paths) = difference.as_paths.as_ref().filter(|paths| paths.differs()) {
        let gone = paths.before.difference(&paths.after);
        lines(out, "as path went", gone.map(|path| as_path(path)))?;
        let new = paths.after.difference(&paths.before);
        lines(out, "as path came", new.map(|path| as_path(path)))?;
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    Ok(())
}

/// What it comes to, in one line.
fn verdict(difference: &Difference) -> String {
    let mut parts = Vec::new();
    let mut part = |number: usize, noun: &str, verb: &str| {
        if number > 0 {
            parts.push(format!("{} {verb}", count(number, noun)));
        }
    };
    part(difference.nodes_went.len(), "node", "went");
    part(difference.nodes_came.len(), "node", "came");
    part(difference.nodes_shifted.len(), "node", "shifted");
    let differs =
        if difference.silent.len() == 1 { "differs in silent nodes" } else { "differ in silent nodes" };
    part(difference.silent.len(), "hop", differs);
    part(difference.links_went.len(), "link", "went");
    part(difference.links_came.len(), "link", "came");
    match (difference.reached.before, difference.reached.after) {
        (true, false) => parts.push("the destination is not reached any more".to_owned()),
        (false, true) => parts.push("the destination is reached now".to_owned()),
        _ => {}
    }
    let route =
        if difference.same { "same route".to_owned() } else { format!("different: {}", parts.join(", ")) };
    match difference.flows_compared {
        // A caution says that no flow was asked in both.
        0 => route,
        compared => {
            format!("{route}; {} of {} moved", difference.flows_moved.len(), count(compared, "flow"))
        }
    }
}

fn write_nodes(out: &mut String, difference: &Difference) -> fmt::Result {
    let place = |place: &super::Place| format!("hop {}, {}", place.ttl, place.address);
    lines(out, "node went", difference.nodes_went.iter().map(place))?;
    lines(out, "node came", difference.nodes_came.iter().map(place))?;
    let hops = |hops: &std::collections::BTreeSet<u8>| {
        let hops: Vec<_> = hops.iter().map(u8::to_string).collect();
        hops.join(" and ")
    };
    lines(
        out,
        "node shifted",
        difference.nodes_shifted.iter().map(|shift| {
            format!("{}: hop {} before, hop {} after", shift.address, hops(&shift.before), hops(&shift.after))
        }),
    )?;
    lines(
        out,
        "silent nodes",
        difference
            .silent
            .iter()
            .map(|silent| format!("hop {}: {} before, {} after", silent.ttl, silent.before, silent.after)),
    )
}

fn write_links(out: &mut String, heading: &str, links: &[Link]) -> fmt::Result {
    let end = |address: Option<std::net::IpAddr>| {
        address.map_or_else(|| "*".to_owned(), |address| address.to_string())
    };
    lines(
        out,
        heading,
        links.iter().map(|link| format!("hop {}, {} -> {}", link.ttl, end(link.from), end(link.to))),
    )
}

fn flow(moved: &Move) -> String {
    let way = match (moved.ttl, moved.before, moved.after) {
        (Some(ttl), Some(before), Some(after)) => format!(": hop {ttl}, {before} before, {after} after"),
        _ => String::new(),
    };
    let end = match (moved.reached.before, moved.reached.after) {
        (Some(true), Some(false)) => "; not reached any more",
        (Some(false), Some(true)) => "; reached now",
        _ => "",
    };
    format!("{}{way}{end}", moved.id)
}

fn as_path(path: &[u32]) -> String {
    let path: Vec<_> = path.iter().map(u32::to_string).collect();
    path.join(" ")
}

/// Lines under one heading.
fn lines(out: &mut String, heading: &str, all: impl Iterator<Item = String>) -> fmt::Result {
    let all: Vec<String> = all.collect();
    for line in all.iter().take(MOST_LINES) {
        writeln!(out, "{heading:<13} {line}")?;
    }
    if let Some(more) = all.len().checked_sub(MOST_LINES).filter(|more| *more > 0) {
        writeln!(out, "{heading:<13} and {more} more; --format json has all")?;
    }
    Ok(())
}

/// A count with its noun.
fn count(number: usize, noun: &str) -> String {
    plural(number as u128, noun)
}
