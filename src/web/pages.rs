//! The pages: the table of targets and a page for each. Everything that comes from outside is escaped by the templates.
//!
//! Knows snapshots and how they are put in front of people. Knows nothing of requests. Links are relative, so that pages work behind a
//! proxy that adds a prefix; scripts only refresh what is there without them.

mod changes;
mod index;
mod spark;
mod target;

use std::fmt::{self, Write};

use askama::Template;

pub(super) use self::{index::index, target::target};
use crate::{render::milliseconds, route::RttSummary, store::Snapshot};

/// The style sheet of all pages: what they share with `trace --format html`, their own rules, and those of pictures.
pub(super) const STYLE: &str = concat!(
    include_str!("../render/base.css"),
    include_str!("style.css"),
    include_str!("../render/svg/route.css"),
    include_str!("../render/difference.css")
);
/// What refreshes the pages.
pub(super) const SCRIPT: &str = include_str!("script.js");
/// What browsers show beside the title.
pub(super) const ICON: &str = include_str!("icon.svg");

/// What stands where there is nothing to say.
const NONE: &str = "\u{2013}";

/// What surrounds each page.
struct Frame<'a> {
    /// The way to the landing page.
    root: &'static str,
    /// Where metrics are, from there.
    metrics: &'a str,
    version: &'static str,
}

impl<'a> Frame<'a> {
    fn new(root: &'static str, telemetry_path: &'a str) -> Self {
        let metrics = telemetry_path.trim_start_matches('/');
        Self { root, metrics, version: env!("CARGO_PKG_VERSION") }
    }
}

/// The page of a target that is not there.
#[derive(Template)]
#[template(path = "missing.html")]
struct Missing<'a> {
    frame: Frame<'a>,
    name: &'a str,
}

pub(super) fn missing(name: &str, telemetry_path: &str) -> String {
    page(&Missing { frame: Frame::new("../", telemetry_path), name })
}

fn page(template: &impl Template) -> String {
    // Writing into a string cannot fail.
    template.render().unwrap_or_default()
}

/// How a target is: what is said of it, and the class and the rank that it has among others, the worst first.
struct State<'a> {
    class: &'static str,
    rank: u8,
    word: String,
    /// Why nothing could be asked.
    why: Option<&'a str>,
}

impl<'a> State<'a> {
    fn of(snapshot: &'a Snapshot) -> Self {
        let state = |class, rank, word: &str| Self { class, rank, word: word.to_owned(), why: None };
        let Some(round) = &snapshot.last_round else { return state("idle", 3, "not tried yet") };
        let trace = match &round.outcome {
            Err(why) => return Self { why: Some(why), ..state("down", 0, "failed") },
            Ok(trace) => trace,
        };
        let (reached, flows) = (trace.route.flows_reached(), trace.route.flows_followed());
        match reached {
            0 => state("down", 1, "not reached"),
            _ if reached < flows => state("partly", 2, &format!("{reached} of {flows} flows")),
            _ => state("up", 4, "up"),
        }
    }
}

/// Counts of a target's route as they stand on both pages.
struct Figures {
    paths: Option<u128>,
    hops: Option<(u8, u8)>,
    rtt: Option<RttSummary>,
}

impl Figures {
    fn of(snapshot: &Snapshot) -> Self {
        let route = snapshot.trace().map(|trace| &trace.route);
        let known = route.map(|route| &route.paths).filter(|paths| paths.count > 0);
        Self {
            paths: known.map(|paths| paths.count),
            hops: known.map(|paths| (paths.hops_min, paths.hops_max)),
            rtt: route.and_then(|route| RttSummary::of(route.arrivals.rtts.clone())),
        }
    }

    fn paths(&self) -> String {
        or_none(self.paths.map(|paths| paths.to_string()))
    }

    fn hops(&self) -> String {
        or_none(self.hops.map(|(min, max)| match min == max {
            true => min.to_string(),
            false => format!("{min}\u{2013}{max}"),
        }))
    }

    fn rtt(&self) -> String {
        or_none(self.rtt.map(|rtt| milliseconds(rtt.median)))
    }
}

fn or_none(text: Option<String>) -> String {
    text.unwrap_or_else(|| NONE.to_owned())
}

/// A point in time, for people (UTC, to the second) and for scripts.
struct Moment(jiff::Timestamp);

impl Moment {
    fn machine(&self) -> String {
        format!("{:.0}", self.0)
    }

    fn seconds(&self) -> i64 {
        self.0.as_second()
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.strftime("%F %T"))
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
