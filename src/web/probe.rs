//! `/probe`: what is asked for, how long it may take, and what is said of it.
//!
//! Knows the parameters and headers that Prometheus and people send, as blackbox_exporter takes them. Knows nothing of how a probe is
//! made.

use std::{fmt::Write as _, time::Duration};

use hyper::{StatusCode, header::HeaderValue};

use super::{
    State,
    message::{Reply, Request, TEXT, reply, told},
};
use crate::{
    metrics,
    prober::{PATIENCE_MAX, Probed, Refused},
    render::{self, Report, TableOptions},
};

/// How long a probe may take for whoever does not say how long he waits.
const PATIENCE: Duration = Duration::from_secs(120);
/// What is left of a scrape's time for the response to arrive.
const MARGIN: Duration = Duration::from_millis(500);

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Question {
    target: String,
    /// `None` for `default`.
    module: Option<String>,
    /// Whether the trace is to be printed.
    debug: bool,
}

/// What was asked for and found.
#[derive(Debug)]
pub(super) struct Answer {
    probed: Probed,
    debug: bool,
}

/// Has a probe made; the error is the response that says why there is none.
pub(super) async fn ask(request: &Request, state: &State) -> Result<Answer, Reply> {
    let Some(prober) = state.prober.as_ref().filter(|prober| prober.is_enabled()) else {
        return Err(refuse(&Refused::Disabled));
    };
    let wrong = |why: String| told(StatusCode::BAD_REQUEST, why);
    let Question { target, module, debug } = Question::of(&request.query).map_err(wrong)?;
    let patience = patience(request.scrape_timeout.as_ref()).map_err(wrong)?;
    let Ok(_place) = state.probes.try_acquire() else {
        return Err(told(
            StatusCode::SERVICE_UNAVAILABLE,
            "too many requests wait for probes; ask again later",
        ));
    };
    let _waiting = request.activity.wait();
    let probed = prober.probe(&target, module.as_deref(), patience).await;
    probed.map(|probed| Answer { probed, debug }).map_err(|refused| refuse(&refused))
}

/// The metrics of a probe, and the trace before them where it is to be printed.
pub(super) fn show(answer: &Answer, state: &State) -> Reply {
    let Answer { probed: Probed { snapshot, module }, debug } = answer;
    let metrics = metrics::render_probed(snapshot, state.configured().limits);
    if !debug {
        return reply(StatusCode::OK, metrics::CONTENT_TYPE, metrics);
    }
    let mut text = format!(
        "Probe of {} with module {module} ({}, {})",
        snapshot.host, snapshot.protocol, snapshot.strategy
    );
    if let Some(trace) = snapshot.trace() {
        // Writing into a string cannot fail.
        let _ = write!(text, ", from {} to {}", trace.source, trace.destination);
    }
    text += ":\n\n";
    if let Some(round) = &snapshot.last_round {
        match &round.outcome {
            Ok(trace) => {
                let report = Report { host: &snapshot.host, started: round.started, trace };
                text += &render::table(&report, TableOptions::default());
            }
            Err(why) => {
                let _ = writeln!(text, "failed: {why}");
            }
        }
    }
    let _ = write!(text, "\nMetrics that would have been returned:\n\n{metrics}");
    reply(StatusCode::OK, TEXT, text)
}

fn refuse(refused: &Refused) -> Reply {
    let status = match refused {
        Refused::Disabled => StatusCode::NOT_FOUND,
        Refused::NoHost(_) | Refused::NoModule(_) => StatusCode::BAD_REQUEST,
        Refused::Forbidden(_) | Refused::Smuggled { .. } => StatusCode::FORBIDDEN,
        Refused::Busy(_) | Refused::Stopped => StatusCode::SERVICE_UNAVAILABLE,
    };
    told(status, refused)
}

impl Question {
    /// Reads a query. Parameters that are not known are none of ours.
    fn of(query: &str) -> Result<Self, String> {
        let mut known = [("target", None), ("module", None), ("debug", None)];
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            if let Some((key, known)) = known.iter_mut().find(|(name, _)| *name == key)
                && known.replace(value.into_owned()).is_some()
            {
                return Err(format!("{key}: it is there twice; allowed is one"));
            }
        }
        let [(_, target), (_, module), (_, debug)] =
            known.map(|(key, value)| (key, value.filter(|text| !text.is_empty())));
        let debug = match debug.as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err("debug: allowed is true or false".to_owned()),
        };
        let target = target.ok_or(
            "target: it is missing; allowed is a host name or an address, as in /probe?target=192.0.2.1",
        )?;
        Ok(Self { target, module, debug })
    }
}

/// How long a probe may take for whoever waits for so many seconds: a little less, but at least half of it.
fn patience(scrape_timeout: Option<&HeaderValue>) -> Result<Duration, String> {
    let Some(value) = scrape_timeout else { return Ok(PATIENCE) };
    let seconds =
        value.to_str().ok().and_then(|text| text.trim().parse::<f64>().ok()).filter(|seconds| *seconds > 0.0);
    let seconds =
        seconds.ok_or("X-Prometheus-Scrape-Timeout-Seconds: allowed is a number of seconds above 0")?;
    let timeout = Duration::try_from_secs_f64(seconds).unwrap_or(PATIENCE_MAX).min(PATIENCE_MAX);
    Ok(timeout.saturating_sub(MARGIN).max(timeout / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_asks_for_one_target() {
        let asked = |target: &str, module: Option<&str>, debug| {
            Ok(Question { target: target.to_owned(), module: module.map(ToOwned::to_owned), debug })
        };
        let missing =
            "target: it is missing; allowed is a host name or an address, as in /probe?target=192.0.2.1";
        let wrong = |text: &str| Err(text.to_owned());
        let cases = [
            ("target=192.0.2.1", asked("192.0.2.1", None, false)),
            ("target=www.example.net&module=web&debug=true", asked("www.example.net", Some("web"), true)),
            ("module=&debug=false&target=2001%3Adb8%3a%3A1", asked("2001:db8::1", None, false)),
            ("debug=&target=a+b", asked("a b", None, false)),
            ("hostname=x&hostname=y&target=a", asked("a", None, false)),
            ("", wrong(missing)),
            ("target", wrong(missing)),
            ("target=", wrong(missing)),
            ("Target=a", wrong(missing)),
            ("target=a&target=a", wrong("target: it is there twice; allowed is one")),
            ("target=a&module=b&module=c", wrong("module: it is there twice; allowed is one")),
            ("target=a&debug=yes", wrong("debug: allowed is true or false")),
        ];
        for (query, expected) in cases {
            assert_eq!(Question::of(query), expected, "{query}");
        }
    }

    #[test]
    fn a_probe_ends_a_little_before_the_scrape() {
        let cases = [
            (None, Some(120_000)),
            (Some("10"), Some(9_500)),
            (Some("2.5"), Some(2_000)),
            (Some("1"), Some(500)),
            (Some("0.4"), Some(200)),
            (Some("100000"), Some(599_500)),
            (Some("1e300"), Some(599_500)),
            (Some("inf"), Some(599_500)),
            (Some("0"), None),
            (Some("-1"), None),
            (Some("NaN"), None),
            (Some("10s"), None),
            (Some(""), None),
        ];
        for (text, millis) in cases {
            let value = text.map(HeaderValue::from_static);
            assert_eq!(patience(value.as_ref()).ok(), millis.map(Duration::from_millis), "{text:?}");
        }
    }
}
