//! The ways of a trace in columns: a row a path (`table`), a column a path (`wide`), or one below the other where the terminal is
//! narrow.
//!
//! What is known of a node stands where it is named first. Where a path meets the same node as the path before it there is a ditto
//! mark, so that what differs stands out.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use anstyle::{AnsiColor, Style};

use super::{
    Report, TableOptions,
    grid::{self, Cell, Word},
    label::{self, Losses},
    rows::{Row, Rows},
    verdict::{is_good, verdict},
};
use crate::{annotations::Annotations, probe::Ttl, route::Route, strategy::Strategy, words::plural};

/// The same node as in the path before.
const DITTO: &str = "\"";

const HEADING: Style = Style::new().bold();
const MUTED: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const DOUBTFUL: Style = AnsiColor::Yellow.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default();
/// Colours that tell the nodes of a hop apart.
const NODES: [AnsiColor; 5] =
    [AnsiColor::Cyan, AnsiColor::Yellow, AnsiColor::Magenta, AnsiColor::Green, AnsiColor::Blue];

/// A row a path.
pub(super) fn table(report: &Report<'_>, options: TableOptions) -> String {
    show(report, options, |table, out| {
        let mut rows = table.matrix(&table.rows.rows);
        let columns = || transposed(&rows);
        match options.width {
            Some(width) if grid::width(&rows) > width => {
                let columns = columns();
                match grid::width(&columns) <= width {
                    true => grid::write(out, &columns, options.colour),
                    false => table.write_list(out, width),
                }
            }
            _ => {
                // Numbers end below each other.
                for word in rows.iter_mut().filter_map(|row| row.first_mut()?.first_mut()) {
                    word.text = format!("{:>5}", word.text);
                }
                grid::write(out, &rows, options.colour);
            }
        }
    })
}

/// A column a path. Where they do not fit next to each other they go on below.
pub(super) fn wide(report: &Report<'_>, options: TableOptions) -> String {
    show(report, options, |table, out| {
        let mut rest = table.rows.rows.as_slice();
        while !rest.is_empty() {
            let fits = |count: &usize| {
                let columns = transposed(&table.matrix(rest.get(..*count).unwrap_or_default()));
                options.width.is_none_or(|width| grid::width(&columns) <= width)
            };
            let count = (1..=rest.len()).take_while(fits).last().unwrap_or(1);
            let (block, others) = rest.split_at(count);
            grid::write(out, &transposed(&table.matrix(block)), options.colour);
            if !others.is_empty() {
                out.push('\n');
            }
            rest = others;
        }
    })
}

/// The verdict, the paths and what is not shown of them.
fn show(report: &Report<'_>, options: TableOptions, write: impl FnOnce(&Table<'_>, &mut String)) -> String {
    let trace = report.trace;
    let route = &trace.route;
    let mut out = String::new();
    let style = if is_good(trace) { GOOD } else { DOUBTFUL };
    Word::styled(verdict(trace), style).write(&mut out, options.colour);
    out.push('\n');
    if let Some(seen) = Some(u128::from(route.flow_paths)).filter(|seen| *seen < route.paths.count) {
        out.push_str(&format!("flows were seen to take {seen} of the paths that the links allow\n"));
    }
    // Who chose the number of flows wants to see them; those of a discovery are many, and most are not followed to their end.
    let dedup = options.dedup || trace.strategy != Strategy::Fixed;
    let table = Table {
        annotations: &trace.annotations,
        route,
        rows: Rows::of(route, dedup),
        losses: Losses::of(trace),
        dedup,
        colour: options.colour,
    };
    if !table.rows.rows.is_empty() {
        out.push('\n');
        write(&table, &mut out);
    }
    if table.rows.hidden > 0 {
        let noun = if dedup { "path" } else { "flow" };
        let more = plural(table.rows.hidden as u128, &format!("more {noun}"));
        out.push_str(&format!("\n{more} not shown; --format json has all flows\n"));
    }
    if table.rows.undecided > 0 {
        let flows = plural(table.rows.undecided as u128, "more flow");
        out.push_str(&format!("\n{flows} asked at too few hops to tell the path\n"));
    }
    out
}

/// Nodes of which was told what is known.
type Told = BTreeSet<(Ttl, IpAddr)>;

struct Table<'a> {
    annotations: &'a Annotations,
    route: &'a Route,
    rows: Rows,
    losses: BTreeMap<Ttl, Losses>,
    dedup: bool,
    colour: bool,
}

impl Table<'_> {
    /// A heading with the hops, then a row of cells a path.
    fn matrix(&self, rows: &[Row]) -> Vec<Vec<Cell>> {
        let first = vec![Word::styled(if self.dedup { "flows" } else { "flow" }, HEADING)];
        let hops = self.rows.ttls.iter().map(|&ttl| self.heading(ttl));
        let mut matrix = vec![std::iter::once(first).chain(hops).collect()];
        let mut above = None;
        let mut told = BTreeSet::new();
        for row in rows {
            let first = vec![Word::plain(self.flows(row))];
            let hops = self.rows.ttls.iter().map(|&ttl| self.cell(row, above, ttl, &mut told));
            let end = (row.reached == Some(false)).then(|| vec![Word::styled("not reached", BAD)]);
            matrix.push(std::iter::once(first).chain(hops).chain(end).collect());
            above = Some(row);
        }
        matrix
    }

    fn flows(&self, row: &Row) -> String {
        match row.flows.as_slice() {
            [flow] if !self.dedup => flow.to_string(),
            flows => flows.len().to_string(),
        }
    }

    fn heading(&self, ttl: Ttl) -> Cell {
        let number = Word::styled(ttl.to_string(), HEADING);
        std::iter::once(number).chain(self.loss(ttl)).collect()
    }

    /// What was lost at a hop and cannot be told of a node.
    fn loss(&self, ttl: Ttl) -> Option<Word> {
        let loss = self.losses.get(&ttl)?.hop.as_ref()?;
        Some(Word::styled(loss, BAD))
    }

    fn cell(&self, row: &Row, above: Option<&Row>, ttl: Ttl, told: &mut Told) -> Cell {
        let Some(address) = row.at(ttl) else {
            return Vec::new();
        };
        match address {
            // Two silent hops are not known to be the same.
            Some(_) if above.is_some_and(|above| above.at(ttl) == Some(address)) => {
                vec![Word::styled(DITTO, MUTED)]
            }
            _ => self.node(address, ttl, told),
        }
    }

    /// A node, with all that is known of it unless that was told.
    fn node(&self, address: Option<IpAddr>, ttl: Ttl, told: &mut Told) -> Cell {
        let Some(known) = address else {
            return vec![Word::styled(label::SILENT, MUTED)];
        };
        let addresses = self.rows.addresses(ttl);
        let place = addresses.iter().position(|other| *other == address).unwrap_or(0);
        let style = match NODES.get(place % NODES.len()) {
            Some(colour) if addresses.len() > 1 => colour.on_default(),
            _ => Style::new(),
        };
        let mut cell = vec![Word::styled(known.to_string(), style)];
        let mut nodes = self.route.hop(ttl).into_iter().flat_map(|hop| &hop.nodes);
        if let Some(node) = nodes.find(|node| node.address == address && told.insert((ttl, known))) {
            let name = self.annotations.hostname(known).map(label::printable);
            cell.extend(name.map(|name| Word::styled(name, MUTED)));
            cell.extend(node.rtt.map(|rtt| Word::styled(label::milliseconds(rtt.median), MUTED)));
            let loss = self.losses.get(&ttl).and_then(|losses| losses.node(node));
            cell.extend(loss.map(|loss| Word::styled(loss, BAD)));
            let notes = label::mpls(&node.mpls).into_iter();
            let notes = notes.chain(label::peculiarities(node).map(str::to_owned));
            cell.extend(notes.map(|note| Word::styled(note, MUTED)));
        }
        cell
    }

    /// One path below the other, a line a hop; hops that are as in the path above are summed up.
    fn write_list(&self, out: &mut String, width: usize) {
        let mut above = None;
        let mut told = Told::new();
        for (number, row) in self.rows.rows.iter().enumerate() {
            let flows = match self.dedup {
                true => plural(row.flows.len() as u128, "flow"),
                false => format!("flow {}", self.flows(row)),
            };
            let end = if row.reached == Some(false) { ", not reached" } else { "" };
            let heading = format!("path {}, {flows}{end}", number + 1);
            Word::styled(heading, HEADING).write(out, self.colour);
            out.push('\n');
            self.write_path(out, row, above, width, &mut told);
            above = Some(row);
        }
    }

    fn write_path(&self, out: &mut String, row: &Row, above: Option<&Row>, width: usize, told: &mut Told) {
        let mut same: Option<(Ttl, Ttl)> = None;
        let flush = |out: &mut String, same: &mut Option<(Ttl, Ttl)>| {
            let Some((first, last)) = same.take() else { return };
            let hops = if first == last { first.to_string() } else { format!("{first}-{last}") };
            Word::styled(format!("{hops:>5}  as above"), MUTED).write(out, self.colour);
            out.push('\n');
        };
        for hop in &row.hops {
            let is_same =
                hop.address.is_some() && above.is_some_and(|above| above.at(hop.ttl) == Some(hop.address));
            if is_same {
                same = Some((same.map_or(hop.ttl, |(first, _)| first), hop.ttl));
                continue;
            }
            flush(out, &mut same);
            let mut words = self.node(hop.address, hop.ttl, told);
            let mut notes = words.split_off(1);
            notes.extend(self.loss(hop.ttl));
            out.push_str(&format!("{:>5}  ", hop.ttl.get()));
            let mut used = 7;
            for word in words {
                word.write(out, self.colour);
                used += word.width();
            }
            for note in notes {
                // What does not fit behind the address stands below it.
                let (before, left) =
                    if used + 2 + note.width() > width { ("\n       ", 7) } else { ("  ", used + 2) };
                out.push_str(before);
                note.write(out, self.colour);
                used = left + note.width();
            }
            out.push('\n');
        }
        flush(out, &mut same);
    }
}

/// Columns as rows.
fn transposed(rows: &[Vec<Cell>]) -> Vec<Vec<Cell>> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let column = |column| rows.iter().map(|row| row.get(column).cloned().unwrap_or_default()).collect();
    (0..count).map(column).collect()
}

#[cfg(test)]
mod tests;
