//! What a trace found and how sure it is, in one line that claims no more than the probes support.

use crate::{
    trace::{StopReason, Trace},
    words::plural,
};

/// The verdict on a trace, without a line feed.
pub(crate) fn verdict(trace: &Trace) -> String {
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

/// Whether the destination was reached and the route is as sure to be whole as was asked for.
pub(super) fn is_good(trace: &Trace) -> bool {
    let (route, reason) = (&trace.route, trace.stop_reason);
    let is_sure = route.confidence.is_some_and(|confidence| confidence >= trace.confidence);
    route.reached() && reason == StopReason::Complete && is_sure
}

fn completeness(trace: &Trace) -> String {
    let why = || {
        let reason = trace.stop_reason.name().replace('_', " ");
        match &trace.detail {
            // No limit was given; somebody ended it.
            Some(detail) if trace.stop_reason == StopReason::TimeLimit => detail.clone(),
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
        (true, StopReason::Complete) if is_good(trace) => {
            format!("complete at {}", percent(trace.confidence))
        }
        (true, StopReason::Complete) => format!(
            "{} sure to be complete ({} asked for)",
            percent(route.confidence.unwrap_or(0.0)),
            percent(trace.confidence)
        ),
        (true, _) => format!("incomplete ({})", why()),
    }
}

/// Rounded down to a tenth, so that it never says more than is so.
pub(crate) fn percent(share: f64) -> String {
    // A share such as 0.29 is a little less in binary; that is no reason to show 28.9.
    let tenths = (share * 1000.0 + 1e-9).floor() / 10.0;
    format!("{tenths} %")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;

    /// Flows enough for a verdict on the route.
    fn certain() -> String {
        let line = |id| format!("{id} 192.0.2.1@1000 203.0.113.9@9000!\n");
        (33_460..33_468).map(line).collect()
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
                certain(),
                StopReason::TimeLimit,
                Some("interrupted"),
                "1 path, 2 hops, incomplete (interrupted), 16 probes, 0.31 s",
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
