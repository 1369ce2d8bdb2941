use super::*;
use crate::{
    monitor::{dead_ends::DeadEnds, judge::judge},
    render::sample::{evidence, observe},
};

/// The third number of an address is its system; 0 is none.
#[derive(Debug)]
struct ThirdNumber;

impl Systems for ThirdNumber {
    fn asn(&self, address: std::net::IpAddr) -> Option<u32> {
        let std::net::IpAddr::V4(v4) = address else { return None };
        Some(v4.octets()[2].into()).filter(|&asn| asn != 0)
    }
}

/// A word a hop for each flow: `A.B` stands for 10.0.A.B, in system A. `*` is asked in vain, `.` not asked.
fn picture(text: &str) -> String {
    let word = |word: &str| match word.split_once('.') {
        Some((asn, number)) if !asn.is_empty() => match number.strip_suffix('!') {
            Some(number) => format!("10.0.{asn}.{number}@1000!"),
            None => format!("10.0.{asn}.{number}@1000"),
        },
        _ => word.to_owned(),
    };
    let flow = |(number, flow): (usize, &str)| {
        let words: Vec<_> = flow.split_whitespace().map(word).collect();
        format!("{} {}\n", 40_000 + number, words.join(" "))
    };
    text.split('|').enumerate().map(flow).collect()
}

/// What is said of a route that was this and is that now; the path change has to be one.
fn told(before: &str, now: &str) -> Option<String> {
    let before = evidence(&picture(before)).remember(1);
    let mut after = before.clone();
    observe(&mut after, &picture(now));
    let samples = BTreeMap::new();
    let verdict = judge(&before, &after, &samples, &DeadEnds::default());
    assert!(verdict.is_path_change(), "{verdict:?}");
    let told = changes(&before, &after, &verdict, &samples, &ThirdNumber);
    assert_eq!(changes(&before, &after, &verdict, &samples, &BTreeMap::new()), None, "nobody knows a system");
    told
}

#[test]
fn only_other_systems_are_told() {
    // What it is, the flows before, the flows now, what is told.
    let cases = [
        ("another router of the same system", "1.1 2.1 9.9!", "1.1 2.2 9.9!", None),
        ("two routers in place of one", "1.1 2.1 9.9!", "1.1 2.2 2.3 9.9!", None),
        (
            "another provider",
            "1.1 2.1 9.9!",
            "1.1 3.1 9.9!",
            Some("AS3,AS1>AS3,AS3>AS9 came; AS2,AS1>AS2,AS2>AS9 went"),
        ),
        (
            "another provider behind an exchange",
            "1.1 0.1 2.1 9.9!",
            "1.1 0.2 3.1 9.9!",
            Some("AS3,AS1>AS3,AS3>AS9 came; AS2,AS1>AS2,AS2>AS9 went"),
        ),
        ("the same provider at another exchange", "1.1 0.1 2.1 9.9!", "1.1 0.2 2.1 9.9!", None),
        (
            "one of two providers goes",
            "1.1 2.1 9.9! | 1.1 3.1 9.9!",
            "1.1 3.1 9.9! | 1.1 3.1 9.9!",
            Some("AS2,AS1>AS2,AS2>AS9 went"),
        ),
        ("one of two routers goes", "1.1 2.1 9.9! | 1.1 2.2 9.9!", "1.1 2.2 9.9! | 1.1 2.2 9.9!", None),
        (
            "the same systems in another row",
            "1.1 2.1 3.1 9.9! | 1.1 3.2 2.2 9.9!",
            "1.1 2.1 3.1 9.9! | 1.1 2.3 3.3 9.9!",
            Some("AS1>AS3,AS2>AS9,AS3>AS2 went"),
        ),
    ];
    for (name, before, now, expected) in cases {
        assert_eq!(told(before, now).as_deref(), expected, "{name}");
    }
}

#[test]
fn silence_proves_nothing() {
    let cases = [
        ("the new router's neighbour is silent", "1.1 2.1 3.1 9.9!", "1.1 2.2 * 9.9!"),
        ("a provider falls silent", "1.1 2.1 3.1 9.9!", "1.2 * 3.1 9.9!"),
        ("the first hop falls silent", "1.1 2.1 3.1 9.9!", "* 2.2 3.1 9.9!"),
        ("who was silent answers", "1.1 * 3.1 9.9!", "1.2 2.1 3.1 9.9!"),
        ("the end falls silent", "1.1 2.1 3.1 9.9!", "1.1 2.2 * *"),
        ("what was not asked is not new", "1.1 . 3.1 9.9!", "1.2 2.1 3.1 9.9!"),
    ];
    for (name, before, now) in cases {
        assert_eq!(told(before, now), None, "{name}");
    }
    // Where a hop was silent already, the others still tell.
    let expected = Some("AS3,AS3>AS9 came; AS2,AS2>AS9 went");
    assert_eq!(told("1.1 * 2.1 9.9!", "1.1 * 3.1 9.9!").as_deref(), expected);
    let expected = Some("AS3 came; AS2 went");
    assert_eq!(told("1.1 * 2.1 * 9.9!", "1.1 * 3.1 * 9.9!").as_deref(), expected);
}

#[test]
fn what_new_flows_find_is_late() {
    let before = "1.1 2.1 9.9!";
    assert_eq!(told(before, "1.1 2.2 9.9! | 1.1 4.1 9.9!"), None, "a change of routers, and a find");
    let expected = Some("AS3,AS1>AS3,AS3>AS9 came; AS2,AS1>AS2,AS2>AS9 went");
    assert_eq!(told(before, "1.1 3.1 9.9! | 1.1 4.1 9.9!").as_deref(), expected, "a change, and a find");
}

#[test]
fn systems_that_the_graph_allows_are_not_new() {
    // No flow was asked on both sides of the exchange, but both links to it are known.
    let before = "1.1 0.1 . 9.9! | . 0.1 2.1 9.9! | 1.1 0.2 3.1 9.9!";
    assert_eq!(
        told(before, "1.1 0.1 . 9.9! | . 0.1 2.1 9.9! | 1.1 0.1 2.1 9.9!").as_deref(),
        Some("AS3,AS1>AS3,AS3>AS9 went")
    );
}

#[test]
fn members_of_a_per_packet_zone_tell_by_their_presence() {
    let round = |members: &[(u32, usize)]| -> String {
        let once = |&(asn, times): &(u32, usize)| picture(&format!("1.1 {asn}.1 9.9!")).repeat(times);
        members.iter().map(once).collect()
    };
    let before = evidence(&round(&[(2, 2), (3, 2)])).remember(1);
    let samples = BTreeMap::new();
    let mut after = before.clone();
    // The members take turns, and one of them has none any more.
    observe(&mut after, &round(&[(2, 60)]));
    let verdict = judge(&before, &after, &samples, &DeadEnds::default());
    assert!(verdict.is_path_change(), "{verdict:?}");
    let told = changes(&before, &after, &verdict, &samples, &ThirdNumber);
    assert_eq!(told.as_deref(), Some("AS3 went"));
}
