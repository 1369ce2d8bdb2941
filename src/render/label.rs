//! Words that several formats have in common, and text made safe for where it goes.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    net::IpAddr,
    time::Duration,
};

use crate::{
    probe::{MplsLabel, Ttl},
    route::{Balancing, Hop, Node},
    trace::Trace,
};

/// What stands for a silent node.
pub(super) const SILENT: &str = "*";

/// The address of a node, or a star.
pub(crate) fn address(node: &Node) -> String {
    node.address.map_or_else(|| SILENT.to_owned(), |address| address.to_string())
}

/// An autonomous system.
pub(crate) fn asn(number: u32) -> String {
    format!("AS{number}")
}

/// A label stack, outermost first; empty where there is none.
pub(crate) fn stack(labels: &[MplsLabel]) -> String {
    labels.iter().map(|entry| entry.label.to_string()).collect::<Vec<_>>().join("/")
}

/// The same with what it is.
pub(super) fn mpls(labels: &[MplsLabel]) -> Option<String> {
    (!labels.is_empty()).then(|| format!("MPLS {}", stack(labels)))
}

/// What is peculiar about a node, in a few words each.
pub(super) fn peculiarities(node: &Node) -> impl Iterator<Item = &'static str> {
    let balancing = (node.balancing == Balancing::PerPacket).then_some("balances per packet");
    balancing.into_iter().chain(oddities(node))
}

/// The same besides how it balances.
pub(crate) fn oddities(node: &Node) -> impl Iterator<Item = &'static str> {
    applying([(node.rate_limited, "limits its answers"), (node.nat, "behind a NAT")])
}

/// What a node is in its route, where that is not just a router on the way.
pub(crate) fn standing(node: &Node) -> impl Iterator<Item = &'static str> {
    applying([(node.address.is_none(), "never answered"), (node.destination, "destination")])
}

fn applying(words: [(bool, &'static str); 2]) -> impl Iterator<Item = &'static str> {
    words.into_iter().filter_map(|(is_so, word)| is_so.then_some(word))
}

/// What there is to say of a node besides its address and its times.
pub(super) fn remarks(node: &Node) -> impl Iterator<Item = String> {
    let words = standing(node).map(str::to_owned).chain(mpls(&node.mpls));
    words.chain(peculiarities(node).map(str::to_owned))
}

/// What was lost at a hop, in words: where it can be told, of which node.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    /// Of the hop as a whole: packets of flows of which nobody knows whom they met.
    pub(crate) hop: Option<String>,
    /// Of its answering nodes.
    nodes: BTreeMap<IpAddr, String>,
}

impl Losses {
    /// The losses at each hop of a trace. What goes to a node that never answers, and what one that limits its answers leaves
    /// unanswered, is not lost.
    pub(crate) fn of(trace: &Trace) -> BTreeMap<Ttl, Self> {
        trace.route.hops.iter().map(|hop| (hop.ttl, Self::at(trace, hop))).collect()
    }

    fn at(trace: &Trace, hop: &Hop) -> Self {
        if hop.nodes.iter().any(|node| node.rate_limited) {
            return Self::default();
        }
        // Who does not get through may have been lost before, or elsewhere.
        let mut lost = trace.route.flows.iter().filter(|flow| flow.reached == Some(false));
        let is_dead =
            lost.any(|flow| flow.hops.iter().any(|step| step.ttl == hop.ttl && step.address.is_none()));
        if let ([Node { address: Some(address), .. }], false) = (hop.nodes.as_slice(), is_dead) {
            return Self { hop: None, nodes: loss(hop).map(|loss| (*address, loss)).into_iter().collect() };
        }
        // Packets sent and answered by whom the flow met; only a trace that was just made knows.
        let mut counts: BTreeMap<Option<IpAddr>, (u32, u32)> = BTreeMap::new();
        for (flow, cell) in trace.evidence.at(hop.ttl) {
            let flows = &trace.route.flows;
            let path = flows.binary_search_by_key(&flow, |path| path.id).ok().and_then(|at| flows.get(at));
            if path.is_some_and(|path| path.hops.iter().any(|step| step.ttl == hop.ttl)) {
                let (sent, received) = counts.entry(cell.address()).or_default();
                *sent += cell.sent;
                *received += u32::try_from(cell.answers.len()).unwrap_or(u32::MAX);
            }
        }
        let is_all_told = !counts.is_empty() && !counts.contains_key(&None);
        let nodes = counts.into_iter().filter_map(|(address, (sent, received))| {
            Some((address?, share(sent.checked_sub(received)?, sent)?))
        });
        Self { hop: loss(hop).filter(|_| !is_all_told), nodes: nodes.collect() }
    }

    /// Of a node.
    pub(crate) fn node(&self, node: &Node) -> Option<&str> {
        self.nodes.get(&node.address?).map(String::as_str)
    }
}

/// The share of probes to a hop that was not answered, in whole percent; `None` where all were. Where a node limits its answers, or never
/// answers, what is missing is no loss.
pub(crate) fn loss(hop: &Hop) -> Option<String> {
    if hop.nodes.iter().any(|node| node.rate_limited || node.address.is_none()) {
        return None;
    }
    share(hop.probes_sent.checked_sub(hop.replies_received)?, hop.probes_sent)
}

fn share(lost: u32, sent: u32) -> Option<String> {
    let percent = f64::from(lost) * 100.0 / f64::from(sent);
    match lost {
        0 => None,
        _ if percent < 1.0 => Some("loss <1 %".to_owned()),
        _ => Some(format!("loss {percent:.0} %")),
    }
}

/// Three significant digits, but no decimals from 100 ms on.
pub(crate) fn milliseconds(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1000.0;
    let decimals = match millis {
        millis if millis < 1.0 => 3,
        millis if millis < 10.0 => 2,
        millis if millis < 100.0 => 1,
        _ => 0,
    };
    format!("{millis:.decimals$} ms")
}

/// Text in an element or in a quoted attribute of HTML or XML. XML has no place for control characters, so they are replaced.
pub(crate) struct Text<'a>(pub(crate) &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '\n' => f.write_char('\n')?,
                '\u{fffe}' | '\u{ffff}' => f.write_char(char::REPLACEMENT_CHARACTER)?,
                control if control.is_control() => f.write_char(char::REPLACEMENT_CHARACTER)?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}

/// Text for a terminal: what would move its cursor or change its colours is replaced.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|letter| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{flow::FlowId, render::sample};

    #[test]
    fn times_have_three_digits() {
        let cases = [(90, "0.090 ms"), (1200, "1.20 ms"), (45_600, "45.6 ms"), (2_000_000, "2000 ms")];
        for (micros, expected) in cases {
            assert_eq!(milliseconds(Duration::from_micros(micros)), expected);
        }
    }

    #[test]
    fn hostile_text_is_harmless() {
        let hostile = "</title><script>\"'&\u{1b}[31m\u{0}\u{ffff}";
        let escaped = Text(hostile).to_string();
        assert_eq!(escaped, "&lt;/title&gt;&lt;script&gt;&quot;&#39;&amp;\u{fffd}[31m\u{fffd}\u{fffd}");
        assert_eq!(printable("a\u{1b}[2Jb\r\n"), "a\u{fffd}[2Jb\u{fffd}\u{fffd}");
    }

    #[test]
    fn loss_is_told_where_probes_stayed_unanswered() {
        let hop = |sent, received, limited| {
            let trace = sample::diamond();
            let mut hop = trace.route.hops[1].clone();
            hop.nodes[0].rate_limited = limited;
            loss(&Hop { probes_sent: sent, replies_received: received, ..hop })
        };
        assert_eq!(hop(10, 10, false), None);
        assert_eq!(hop(10, 11, false), None, "a duplicate is no gain");
        assert_eq!(hop(8, 7, false).as_deref(), Some("loss 12 %"));
        assert_eq!(hop(1000, 999, false).as_deref(), Some("loss <1 %"));
        assert_eq!(hop(8, 7, true), None);
    }

    #[test]
    fn loss_is_told_of_the_node_that_left_probes_unanswered() {
        // The second flow was asked twice at the second hop; nobody answered the third at the third.
        let mut evidence = sample::evidence(
            "1 192.0.2.1@1 192.0.2.2@1 192.0.2.4@1 192.0.2.9@1!
             2 192.0.2.1@1 192.0.2.3@1 192.0.2.5@1 192.0.2.9@1!
             3 192.0.2.1@1 192.0.2.3@1 *           192.0.2.9@1!",
        );
        evidence.sent(FlowId(2), Ttl::MIN.next());
        let told = |trace: &Trace| {
            let losses = Losses::of(trace);
            let hops = trace.route.hops.iter().map(|hop| {
                let of = &losses[&hop.ttl];
                let nodes = hop.nodes.iter().map(|node| of.node(node).unwrap_or("").to_owned());
                (of.hop.clone().unwrap_or_default(), nodes.collect::<Vec<_>>().join("|"))
            });
            hops.skip(1).take(2).collect::<Vec<_>>()
        };
        let mut trace = sample::trace(&evidence);
        let unknown = [("loss 25 %".to_owned(), "|".to_owned()), (String::new(), "||".to_owned())];
        assert_eq!(told(&trace), unknown, "without the evidence");
        trace.evidence = evidence;
        // The third hop has a node that never answers: what it was asked is not lost.
        let known = [(String::new(), "|loss 33 %".to_owned()), (String::new(), "||".to_owned())];
        assert_eq!(told(&trace), known);
    }
}
