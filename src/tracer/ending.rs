//! Why a trace is over, read from the evidence: the same for every strategy.

use std::net::IpAddr;

use super::Settings;
use crate::{
    flow::Family,
    probe::unreachable_meaning,
    route::{Evidence, FlowEnd},
    trace::StopReason,
};

/// Why a trace is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    pub(super) reason: StopReason,
    pub(super) detail: Option<String>,
}

impl Ending {
    /// The end of a trace that may not send any more.
    pub(super) fn spent(settings: &Settings) -> Self {
        let detail = format!("of max_probes {} none is left to look for more", settings.max_probes);
        Self { reason: StopReason::ProbeLimit, detail: Some(detail) }
    }

    /// The end of a trace that asked everything it wanted to know.
    pub(super) fn of(evidence: &Evidence, settings: &Settings) -> Self {
        let ends: Vec<_> = evidence.flows().map(|(flow, _)| (flow, evidence.end(flow))).collect();
        if ends.iter().any(|(_, end)| matches!(end, Some(FlowEnd::Reached(_)))) {
            return Self { reason: StopReason::Complete, detail: None };
        }
        let refusal = ends.iter().find_map(|&(flow, end)| match end {
            Some(FlowEnd::Refused(ttl)) => evidence.cell(flow, ttl)?.refusal(),
            _ => None,
        });
        if let Some(refusal) = refusal {
            return Self {
                reason: StopReason::DestinationUnreachable,
                detail: Some(refusal_detail(refusal)),
            };
        }
        let round = ends.iter().find_map(|&(flow, end)| match end {
            Some(FlowEnd::Loop(ttl)) => Some((flow, ttl)),
            _ => None,
        });
        if let Some((flow, ttl)) = round {
            let address = evidence.cell(flow, ttl).and_then(|cell| cell.address());
            let who = address.map_or_else(|| "a node".to_owned(), |address| address.to_string());
            let detail = format!("{who} answered flow {flow} for the third time at TTL {ttl}");
            return Self { reason: StopReason::Loop, detail: Some(detail) };
        }
        let farthest = evidence.flows().filter_map(|(flow, _)| evidence.last_answer(flow)).max();
        let max_ttl = settings.max_ttl;
        if farthest.is_some_and(|ttl| ttl.plus(settings.gap_limit) > max_ttl) {
            let detail = format!("the destination is beyond max_ttl {max_ttl}, or silent");
            return Self { reason: StopReason::Complete, detail: Some(detail) };
        }
        let detail = match farthest {
            Some(ttl) => format!("no answer from beyond TTL {ttl}"),
            None => "no answer from any hop".to_owned(),
        };
        Self { reason: StopReason::GapLimit, detail: Some(detail) }
    }
}

fn refusal_detail((from, code): (IpAddr, u8)) -> String {
    format!("{from} said {} (ICMP code {code})", unreachable_meaning(Family::of(from), code))
}
