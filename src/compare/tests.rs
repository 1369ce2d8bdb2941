use std::time::Duration;

use super::*;
use crate::{
    flow::Protocol,
    render::{self, Report, sample},
    trace::{StopReason, Trace},
};

fn saved(trace: &Trace) -> Saved {
    Saved::parse(&render::json(&Report { host: "www.example.net", started: sample::STARTED, trace })).unwrap()
}

fn drawn(picture: &str) -> Trace {
    sample::trace(&sample::evidence(picture))
}

fn difference(before: &str, after: &str) -> Difference {
    compare(&saved(&drawn(before)), &saved(&drawn(after)))
}

fn told(before: &str, after: &str) -> String {
    let (before, after) = (saved(&drawn(before)), saved(&drawn(after)));
    text(&before, &after, &compare(&before, &after))
}

const BEFORE: &str = "1 192.0.2.1@1000 192.0.2.2@2000 192.0.2.4@3000 192.0.2.9@4000!
                      2 192.0.2.1@1000 192.0.2.3@2000 192.0.2.4@3000 192.0.2.9@4000!
                      3 192.0.2.1@1000 192.0.2.3@2000 192.0.2.4@3000 192.0.2.9@4000!";
/// The second branch has another router.
const REPLACED: &str = "1 192.0.2.1@1000 192.0.2.2@2000 192.0.2.4@3000 192.0.2.9@4000!
                        2 192.0.2.1@1000 192.0.2.5@2000 192.0.2.4@3000 192.0.2.9@4000!
                        3 192.0.2.1@1000 192.0.2.2@2000 192.0.2.4@3000 192.0.2.9@4000!";

#[test]
fn a_trace_is_the_same_as_itself() {
    let others = told("1 192.0.2.1@1000 192.0.2.9@4000!", "2 192.0.2.1@1000 192.0.2.9@4000!");
    assert!(others.contains("\nsame route\n"), "no flow is in both: {others}");
    for trace in [sample::diamond(), drawn("1 * *"), drawn(BEFORE)] {
        let one = saved(&trace);
        let difference = compare(&one, &one);
        assert!(difference.same && difference.flows_moved.is_empty() && difference.rtt_changed.is_empty());
    }
}

#[test]
fn what_went_what_came_and_which_flows_moved() {
    let expected = "\
before  2026-01-02T03:04:05.678Z  www.example.net, 2 paths, 4 hops
after   2026-01-02T03:04:05.678Z  www.example.net, 2 paths, 4 hops
different: 1 node went, 1 node came, 2 links went, 2 links came; 2 of 3 flows moved
caution: the first trace is 0 % sure to be complete (95 % asked for): what seems to have come may have been there
caution: the second trace is 0 % sure to be complete (95 % asked for): what seems to have gone may still be there

node went     hop 2, 192.0.2.3
node came     hop 2, 192.0.2.5
link went     hop 1, 192.0.2.1 -> 192.0.2.3
link went     hop 2, 192.0.2.3 -> 192.0.2.4
link came     hop 1, 192.0.2.1 -> 192.0.2.5
link came     hop 2, 192.0.2.5 -> 192.0.2.4
flow          2: hop 2, 192.0.2.3 before, 192.0.2.5 after
flow          3: hop 2, 192.0.2.3 before, 192.0.2.2 after
";
    assert_eq!(told(BEFORE, REPLACED), expected);
}

#[test]
fn moved_flows_alone_make_no_other_route() {
    let swapped = "1 192.0.2.1@1000 192.0.2.3@2000 192.0.2.4@3000 192.0.2.9@4000!
                   2 192.0.2.1@1000 192.0.2.2@2000 192.0.2.4@3000 192.0.2.9@4000!";
    let difference = difference(BEFORE, swapped);
    assert!(difference.same);
    assert_eq!((difference.flows_compared, difference.flows_moved.len()), (2, 2));
}

#[test]
fn a_longer_way_shifts_nodes_and_is_not_told_twice() {
    let longer = "1 192.0.2.1@1000 192.0.2.2@2000 192.0.2.7@2500 192.0.2.4@3000 192.0.2.9@4000!";
    let shorter = "1 192.0.2.1@1000 192.0.2.2@2000 192.0.2.4@3000 192.0.2.9@4000!";
    let difference = difference(shorter, longer);
    let shift = |address: &str, before: u8, after: u8| Shift {
        address: sample::address(address),
        before: [before].into(),
        after: [after].into(),
    };
    assert!(!difference.same);
    assert_eq!(difference.nodes_shifted, [shift("192.0.2.4", 3, 4), shift("192.0.2.9", 4, 5)]);
    assert_eq!(difference.nodes_came, [Place { ttl: 3, address: sample::address("192.0.2.7") }]);
    assert!(difference.nodes_went.is_empty());
    assert_eq!((difference.links_went.len(), difference.links_came.len()), (1, 2));
    assert_eq!((difference.hops_max.before, difference.hops_max.after), (Some(4), Some(5)));
}

#[test]
fn silence_is_no_evidence_of_another_way_but_of_another_node() {
    let silent = "1 192.0.2.1@1000 192.0.2.2@2000 192.0.2.4@3000 192.0.2.9@4000!
                  2 192.0.2.1@1000 *              192.0.2.4@3000 192.0.2.9@4000!
                  3 192.0.2.1@1000 *              192.0.2.4@3000 192.0.2.9@4000!";
    let difference = difference(BEFORE, silent);
    assert!(!difference.same && difference.flows_moved.is_empty());
    assert_eq!(difference.silent, [Silent { ttl: 2, before: 0, after: 1 }]);
    let said = told(BEFORE, silent);
    assert!(said.contains(", 1 hop differs in silent nodes, "), "{said}");
    let ends = difference.links_came.iter().map(|link| (link.ttl, link.from.is_none(), link.to.is_none()));
    assert_eq!(ends.collect::<Vec<_>>(), [(1, false, true), (2, true, false)]);
}

#[test]
fn a_destination_that_is_not_reached_any_more_is_told() {
    let (reached, lost) = ("1 192.0.2.1@1000 192.0.2.9@4000!", "1 192.0.2.1@1000 * *");
    let told = told(reached, lost);
    assert!(told.contains("the destination is not reached any more; 1 of 1 flow moved"), "{told}");
    assert!(told.contains("\nflow          1; not reached any more\n"), "{told}");
    assert!(!difference(reached, lost).same);
    // Followed no farther is not the same as lost.
    assert!(difference(reached, "1 192.0.2.1@1000").flows_moved.is_empty());
}

#[test]
fn what_depends_on_the_packet_is_no_difference() {
    let zone = |trace: Trace| {
        let mut trace = trace;
        trace.route.links.iter_mut().for_each(|link| link.per_packet = true);
        saved(&trace)
    };
    let crossed = "1 192.0.2.1@1000 192.0.2.2@2000 192.0.2.5@3000 192.0.2.9@4000!
                   2 192.0.2.1@1000 192.0.2.3@2000 192.0.2.4@3000 192.0.2.9@4000!";
    let straight = "1 192.0.2.1@1000 192.0.2.2@2000 192.0.2.4@3000 192.0.2.9@4000!
                    2 192.0.2.1@1000 192.0.2.3@2000 192.0.2.5@3000 192.0.2.9@4000!";
    assert!(!difference(crossed, straight).same);
    assert!(compare(&zone(drawn(crossed)), &zone(drawn(straight))).same);
}

#[test]
fn times_differ_where_chance_does_not_explain_it() {
    let rtt = |min: f64, median: f64| Rtt { min: min / 1000.0, median: median / 1000.0 };
    // Before, after, and whether that is told.
    let cases = [
        (rtt(10.0, 11.0), rtt(15.0, 16.0), true),
        (rtt(15.0, 16.0), rtt(10.0, 11.0), true),
        // One answer of the slower was as fast as half of the faster.
        (rtt(10.0, 11.0), rtt(10.9, 16.0), false),
        (rtt(0.1, 0.2), rtt(0.8, 0.9), false),
        (rtt(100.0, 100.5), rtt(104.0, 104.5), false),
        (rtt(10.0, 10.0), rtt(10.0, 10.0), false),
    ];
    for (before, after, expected) in cases {
        assert_eq!(is_beyond_chance(before, after), expected, "{before:?} {after:?}");
    }
    let slow = |micros: u64, flows: u16| {
        let line = |id| format!("{id} 192.0.2.1@{micros} 192.0.2.9@20000!\n");
        (1..=flows).map(line).collect::<String>()
    };
    let told = |flows| difference(&slow(1000, flows), &slow(5000, flows));
    assert_eq!(told(4).rtt_changed, [], "too few answers");
    let changed = told(5);
    assert!(changed.same, "times are no route");
    assert_eq!(changed.rtt_changed.len(), 1);
    let Both { before, after } = changed.rtt_changed[0].median_seconds;
    assert_eq!(
        (Duration::from_secs_f64(before), Duration::from_secs_f64(after)),
        (Duration::from_millis(1), Duration::from_millis(5))
    );
}

#[test]
fn what_makes_a_comparison_doubtful_is_told() {
    let whole =
        || drawn(&(1..=8).map(|id| format!("{id} 192.0.2.1@1000 192.0.2.9@4000!\n")).collect::<String>());
    let cautions = |before: &Trace, after: &Trace| compare(&saved(before), &saved(after)).cautions;
    assert_eq!(cautions(&whole(), &whole()), Vec::<String>::new());
    let cut = Trace { stop_reason: StopReason::ProbeLimit, ..whole() };
    assert_eq!(
        cautions(&whole(), &cut),
        ["the second trace did not end its work (probe limit): what seems to have gone may still be there"]
    );
    assert!(cautions(&cut, &whole())[0].starts_with("the first trace did not end"));
    let other = Trace { protocol: Protocol::Tcp, source: sample::address("192.0.2.7"), ..whole() };
    assert_eq!(
        cautions(&whole(), &other),
        [
            "the traces differ in source: 192.0.2.100 before, 192.0.2.7 after",
            "the traces differ in protocol: udp before, tcp after",
            "no flow was asked by both traces; `trace --seed` asks the same ones again",
        ]
    );
}

#[test]
fn as_paths_are_compared_where_both_know_them() {
    let with = |paths: &[&[u32]]| {
        let mut saved = saved(&drawn(BEFORE));
        for (flow, path) in saved.flows.iter_mut().zip(paths) {
            flow.as_path = Some(path.to_vec());
        }
        saved
    };
    let (one, other) = (with(&[&[64496, 64500]]), with(&[&[64496, 64501]]));
    assert_eq!(compare(&one, &with(&[])).as_paths, None);
    let told = text(&one, &other, &compare(&one, &other));
    assert!(told.contains("\nas path went  64496 64500\nas path came  64496 64501\n"), "{told}");
}

#[test]
fn what_is_no_saved_trace_is_refused_in_one_line() {
    let whole = render::json(&Report { host: "h", started: sample::STARTED, trace: &sample::diamond() });
    let cases = [
        ("".to_owned(), "no trace as `trace --format json` writes it: EOF"),
        ("[1]".to_owned(), "no trace as"),
        ("{\"version\": 1}".to_owned(), "no trace as `trace --format json` writes it: missing field `host`"),
        (
            whole.replacen("\"version\": 1", "\"version\": 2", 1),
            "a trace of version 2; understood is version 1",
        ),
        (
            whole.replacen("\"version\": 1,", "", 1),
            "no trace as `trace --format json` writes it: missing field `version`",
        ),
        (whole.replacen("192.0.2.1", "192.0.2.300", 1), "no trace as"),
    ];
    for (text, expected) in cases {
        let told = Saved::parse(&text).unwrap_err().to_string();
        assert!(told.starts_with(expected) && !told.contains('\n'), "{told}");
    }
    let extended = whole.replacen("\"version\": 1,", "\"version\": 1, \"weather\": \"fine\",", 1);
    assert!(Saved::parse(&extended).is_ok(), "a new field does not change the version");
}
