use std::collections::BTreeMap;

use super::*;
use crate::{render::sample, trace::Trace};

const HOSTILE: &str = "</title><script>alert(1)</script>\"' onload=x &\u{1b}\u{0}";

fn report<'a>(trace: &'a Trace, host: &'a str) -> Report<'a> {
    Report { host, started: sample::STARTED, trace }
}

/// The elements of a picture by name, each with its attributes.
fn elements(svg: &str) -> BTreeMap<String, Vec<BTreeMap<String, String>>> {
    let document = roxmltree::Document::parse(svg).unwrap_or_else(|error| panic!("{error}: {svg}"));
    let mut elements: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for node in document.descendants().filter(roxmltree::Node::is_element) {
        let attributes =
            node.attributes().map(|attribute| (attribute.name().to_owned(), attribute.value().to_owned()));
        elements.entry(node.tag_name().name().to_owned()).or_default().push(attributes.collect());
    }
    elements
}

#[test]
fn every_node_and_link_is_there() {
    let trace = sample::diamond();
    let svg = alone(&report(&trace, "www.example.net"));
    let elements = elements(&svg);
    let of_class = |name: &str, class: &str| {
        let has = |element: &&BTreeMap<String, String>| {
            element.get("class").is_some_and(|classes| classes.split(' ').any(|own| own == class))
        };
        elements.get(name).into_iter().flatten().filter(has).count()
    };
    // The source is a node too, and linked to the first hop.
    assert_eq!(of_class("g", "node"), trace.route.node_count() + 1);
    assert_eq!(of_class("path", "link"), trace.route.links.len() + 1);
    let nodes = elements["g"].iter().filter(|group| group.get("class").is_some_and(|class| class == "node"));
    for node in nodes {
        assert_eq!(node["tabindex"], "0");
        assert!(!node["aria-label"].is_empty());
    }
    for told in ["192.0.2.1, RTT 1.20 ms (1.10 ms to 1.90 ms), limits its answers", "*, never answered"] {
        assert!(svg.contains(&format!("aria-label=\"{told}\"")), "{told}");
    }
    assert!(svg.contains("<title>198.51.100.2 \u{2192} 198.51.100.20, 2 flows</title>"));
}

#[test]
fn names_and_systems_stand_at_their_nodes() {
    let trace = sample::annotated();
    let svg = alone(&report(&trace, "www.example.net"));
    for told in [
        ">r1.example.net</text>",
        ">AS64496</text>",
        "aria-label=\"192.0.2.1, r1.example.net, AS64496, RTT 1.20 ms",
        "aria-label=\"198.51.100.2, AS64500, RTT",
    ] {
        assert!(svg.contains(told), "{told}: {svg}");
    }
}

#[test]
fn nodes_and_links_of_a_page_can_be_told_apart() {
    let mut trace = sample::diamond();
    trace.route.hops[1].nodes[0].address = None;
    trace.route.hops[1].nodes[1].address = None;
    let svg = inline(&report(&trace, "h"), true);
    let elements = elements(&svg);
    let of =
        |name: &str| elements["g"].iter().filter_map(|group| group.get(name).cloned()).collect::<Vec<_>>();
    let [mut keys, nodes] = ["data-key", "data-node"].map(of);
    assert_eq!(keys[..2], ["0 192.0.2.100", "1 192.0.2.1"]);
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), trace.route.node_count() + 1, "{keys:?}");
    for link in elements["path"].iter().filter(|path| path["class"].starts_with("link")) {
        assert!(nodes.contains(&link["data-from"]) && nodes.contains(&link["data-to"]), "{link:?}");
    }
}

#[test]
fn a_page_without_inline_styles_can_hold_it() {
    let trace = sample::diamond();
    let report = report(&trace, "www.example.net");
    let part = inline(&report, true);
    assert!(!part.contains("xmlns") && !part.contains("<?xml"));
    let elements = elements(&part);
    let known = ["svg", "rect", "text", "g", "path", "title", "circle"];
    assert!(elements.keys().all(|name| known.contains(&name.as_str())), "{:?}", elements.keys());
    let attributes = [
        "class",
        "role",
        "aria-label",
        "width",
        "height",
        "viewBox",
        "x",
        "y",
        "rx",
        "stroke-width",
        "d",
        "tabindex",
        "data-node",
        "data-key",
        "data-from",
        "data-to",
        "cx",
        "cy",
        "r",
    ];
    for attribute in elements.values().flatten().flat_map(BTreeMap::keys) {
        assert!(attributes.contains(&attribute.as_str()), "{attribute}");
    }
    // Nothing is fetched, neither by the picture nor by its style sheet.
    let alone = alone(&report);
    assert_eq!(alone.matches("://").count(), 1, "the name of the language alone: {alone}");
    for word in ["url(", "@import", "href"] {
        assert!(!alone.contains(word), "{word}");
    }
}

#[test]
fn every_class_has_a_rule() {
    let mut trace = sample::diamond();
    trace.route.links[0].per_packet = true;
    trace.route.hops[0].nodes[0].balancing = Balancing::PerPacket;
    let classes: std::collections::BTreeSet<String> = elements(&inline(&report(&trace, "h"), true))
        .into_values()
        .flatten()
        .filter_map(|attributes| attributes.get("class").cloned())
        .flat_map(|classes| classes.split(' ').map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert!(classes.contains("packet") && classes.contains("silent") && classes.contains("limited"));
    for class in classes {
        assert!(svg_style().contains(&format!(".{class}")), "{class}");
    }
}

#[test]
fn hostile_names_are_text() {
    let trace = sample::diamond();
    let svg = alone(&report(&trace, HOSTILE));
    let elements = elements(&svg);
    assert!(!elements.contains_key("script") && !svg.contains("<script"));
    assert!(
        elements["svg"][0]["aria-label"]
            .starts_with("Route to </title><script>alert(1)</script>\"' onload=x &")
    );
    let page = super::super::html(&report(&trace, HOSTILE));
    assert!(!page.contains("<script"), "{page}");
    // Names of nodes go the same way.
    let mut trace = trace;
    trace.annotations.names.insert(sample::address("192.0.2.1"), HOSTILE.into());
    let report = report(&trace, "h");
    for picture in [alone(&report), inline(&report, true), super::super::html(&report)] {
        assert!(picture.contains("&lt;script&gt;") && !picture.contains("<script"), "{picture}");
    }
    roxmltree::Document::parse(&alone(&report)).unwrap();
}

#[test]
fn pictures_of_nothing_and_of_the_widest_are_sound() {
    let nothing = sample::trace(&sample::evidence("1 * *"));
    let elements_of_nothing = elements(&alone(&report(&nothing, "h")));
    assert_eq!(elements_of_nothing["g"].len(), 1, "the source alone");
    let line = |id: u16| format!("{id} 192.0.2.1@1 10.0.0.{id}@2 192.0.2.9@4!\n");
    let picture: String = (1..=70).map(line).collect();
    let wide = sample::trace(&sample::evidence(&picture));
    let svg = alone(&report(&wide, "h"));
    let hidden = elements(&svg)["text"].iter().filter(|text| text["class"] == "name more").count();
    assert_eq!(hidden, 70, "shown under the pointer only");
}

#[test]
fn colours_follow_the_round_trip_time() {
    let rtt = |micros| {
        let rtt = std::time::Duration::from_micros(micros);
        step(RttSummary { min: rtt, median: rtt, max: rtt })
    };
    let cases = [
        (0, 0),
        (999, 0),
        (1000, 1),
        (4999, 1),
        (5000, 2),
        (59_999, 3),
        (60_000, 4),
        (150_000, 5),
        (9_000_000, 5),
    ];
    for (micros, colour) in cases {
        assert_eq!(rtt(micros), colour, "{micros} us");
    }
}
