//! The pages as text: what they say, and that nothing in them is more than text.

use super::*;
use crate::{
    change::{Change, Part},
    network::clock::Clock,
};

const EVIL: &str = "<script>alert(\"1\")</script>&'";
const HARMLESS: &str = "&#60;script&#62;alert(&#34;1&#34;)&#60;/script&#62;&#38;&#39;";

/// What is read between tags, in one line.
fn visible(html: &str) -> String {
    let mut tag = false;
    let letters = html.chars().filter(|&letter| {
        tag = (tag || letter == '<') && letter != '>';
        !tag && letter != '>'
    });
    letters.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_landing_page_lists_the_targets() {
    let store = targets();
    store.publish(sample::fresh("new", "new.example.net"));
    store.publish(sample::changed(sample::traced("moved", sample::diamond())));
    let swallowed = "1 192.0.2.1@500 192.0.2.2@900 203.0.113.9@1000!\n2 192.0.2.1@500 192.0.2.3@900 *";
    store.publish(sample::traced("partly", sample::trace(&sample::evidence(swallowed))));
    let page = Server::start(&store).ask("GET", "/").body;
    let (_, body) = page.split_once("<tbody>").expect("a table");
    let rows = body.split("<tr ").skip(1).map(|row| {
        let row = row.split("</tbody>").next().unwrap_or_default();
        let cells = row.split("</td>").flat_map(|cell| cell.split("</th>"));
        let cells = cells.map(|cell| visible(cell.split_once('>').map_or("", |(_, cell)| cell)));
        cells.collect::<Vec<_>>().join("|")
    });
    let rows: Vec<_> = rows.collect();
    let history = "Paths in the last 4 rounds: 1 to 2";
    let times = "2026-01-02 03:01:05|2026-01-02 03:04:05";
    assert_eq!(
        rows,
        [
            "gone|nowhere.example.net|–|failed no such host||–|–|–|0||–|2026-01-02 03:04:05|".to_owned(),
            format!("lost|www.example.net|203.0.113.9|not reached||1|1|–|0|{history}|–|2026-01-02 03:04:05|"),
            format!("moved|www.example.net|203.0.113.9|up||2|4|9.00 ms|11|{history}|{times}|"),
            "new|new.example.net|–|not tried yet||–|–|–|0||–|–|".to_owned(),
            format!(
                "partly|www.example.net|203.0.113.9|1 of 2 flows||1|3|1.00 ms|0|{history}|–|2026-01-02 03:04:05|"
            ),
            format!("shop|www.example.net|203.0.113.9|up||2|4|9.00 ms|0|{history}|–|2026-01-02 03:04:05|"),
        ]
    );
    assert!(page.contains("3 of 6 up"));
    let nothing = Server::start(&Store::default()).ask("GET", "/").body;
    assert!(nothing.contains("No targets are configured"));
}

#[test]
fn a_target_has_its_route_its_hops_and_its_changes() {
    let shop = sample::changed(sample::traced("shop", sample::annotated()));
    let server = Server::start(&sample::store([shop, sample::failed("gone", "no such host")]));
    let page = server.ask("GET", "/targets/shop").body;
    let read = visible(&page);
    for told in [
        "shop up 2 paths, 4 hops, 0 % sure to be complete",
        "Flows that arrive3 of 3",
        "Path changes11",
        "1 3 of 3 192.0.2.1 r1.example.net AS64496 3 1.10 ms 1.20 ms 1.90 ms",
        "16004/24001",
        "Path 1 node and 1 link went, 1 node and 1 link came; 2 flows moved",
        "\u{2212} hop 2: 2001:db8::7 \u{2212} hop 1: 192.0.2.1 \u{2192} 2001:db8::7 + hop 2: 198.51.100.1",
        "Flows 1 flow moved to another way that was known",
        "Reachability the destination is reached again",
        "Length 4 hops before, 4 to 5 now",
    ] {
        assert!(read.contains(told), "{told}: {read}");
    }
    assert_eq!(page.matches("<svg class=\"route difference\"").count(), 2, "of the two path changes");
    // What one round found stands together, the newest first.
    let times: Vec<_> = page.split("<h3><time datetime=\"").skip(1).map(|rest| &rest[14..16]).collect();
    assert_eq!(times, ["03", "02", "01", "00", "59"]);

    let gone = visible(&server.ask("GET", "/targets/gone").body);
    assert!(gone.contains("gone failed no such host") && gone.contains("None was seen yet"), "{gone}");
    assert!(!gone.contains("Hops 1"), "{gone}");
}

#[test]
fn what_comes_from_outside_is_text() {
    let mut failed = sample::failed(EVIL, EVIL);
    failed.host = EVIL.into();
    let mut traced = sample::changed(sample::traced("shop", sample::annotated()));
    traced.host = EVIL.into();
    traced.labels.insert(EVIL.to_owned(), EVIL.to_owned());
    let round = traced.last_round.as_mut().and_then(|round| round.outcome.as_mut().ok());
    let trace = Arc::make_mut(round.expect("a trace"));
    trace.detail = Some(EVIL.to_owned());
    trace.annotations.names.values_mut().for_each(|name| *name = EVIL.into());
    for change in &mut traced.changes {
        Arc::make_mut(change).detail = EVIL.to_owned();
    }
    let server = Server::start(&sample::store([failed, traced]));
    let path = "%3Cscript%3Ealert%28%221%22%29%3C%2Fscript%3E%26%27";
    for (page, texts) in [
        ("/".to_owned(), 5),
        ("/targets/shop".to_owned(), 8),
        (format!("/targets/{path}"), 5),
        (format!("/targets/no{path}"), 1),
    ] {
        let body = server.ask("GET", &page).body;
        let scripts = body.matches("<script").count();
        assert_eq!((scripts, body.matches("script.js\" defer></script>").count()), (1, 1), "{page}: {body}");
        assert!(body.matches(HARMLESS).count() >= texts, "{page}: {body}");
        assert!(!body.contains(" style=") && !body.contains(" onload="), "{page}");
    }
    assert!(server.ask("GET", "/").body.contains(&format!("href=\"targets/{path}\"")));
}

#[test]
fn pages_take_everything_from_here() {
    let server = Server::start(&targets());
    for page in ["/", "/targets/shop", "/targets/nobody"] {
        let response = server.ask("GET", page);
        let policy = &response.headers["content-security-policy"];
        for rule in ["default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"] {
            assert!(policy.contains(rule), "{policy}");
        }
        assert!(!response.body.contains("://"), "{page}: {}", response.body);
        // Relative, so that it holds below any prefix.
        for kind in ["href=\"/", "src=\"/"] {
            assert!(!response.body.contains(kind), "{page}: {kind}");
        }
    }
    for path in ["/style.css", "/script.js"] {
        let body = server.ask("GET", path).body;
        for word in ["://", "@import", "url("] {
            assert!(!body.contains(word), "{path}: {word}");
        }
    }
}

/// A thousand targets with a route each; not a measure of speed, but of what a page of them weighs.
#[test]
fn the_page_of_a_thousand_targets_is_light() {
    let store = Store::default();
    for number in 0..1000 {
        let mut snapshot = sample::changed(sample::traced(&format!("target-{number}"), sample::diamond()));
        snapshot.history = (0..60).map(|round| Some(2 + u64::from(round % 15 == 0))).collect();
        store.publish(snapshot);
    }
    let clock = Clock::start();
    let began = clock.now();
    let page = super::super::pages::index(&store, "/metrics");
    println!("{} bytes in {:?}", page.len(), clock.now().since(began));
    assert_eq!(page.matches("<tr data-key").count(), 1000);
    assert!(page.len() < 2_500_000, "{}", page.len());
}

#[test]
fn a_change_of_which_nothing_around_is_known_is_drawn_all_the_same() {
    let node = Part::Node { ttl: crate::probe::Ttl::MIN, address: sample::address("192.0.2.1") };
    let mut shop = sample::traced("shop", sample::diamond());
    shop.changes = vec![Arc::new(Change { went: vec![node], ..Change::at(sample::STARTED) })];
    let page = Server::start(&sample::store([shop])).ask("GET", "/targets/shop").body;
    assert!(page.contains("<circle class=\"dot went\""), "{page}");
}
