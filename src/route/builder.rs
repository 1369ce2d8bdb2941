//! From observations to a graph, one TTL after the other.
//!
//! Decides what a missing answer stands for: a silent node where the flow was seen farther on, nothing where a rate
//! limit hides the answer, the end of the route where nothing came from beyond.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    Answer, Arrival, Arrivals, Balancing, Cell, Evidence, FlowEnd, FlowHop, FlowPath, Hop, Link, Met, Node,
    Paths, Route, RttSummary, SILENT_SHARE, diamond, miss_probability, probes_to_rule_out, zone,
};
use crate::{
    flow::FlowId,
    probe::{MplsLabel, Ttl},
};

/// Chance of a missed second successor at which a node is said not to balance.
const NO_BALANCING_EPSILON: f64 = 0.05;

/// What tells the nodes of a hop apart. The order is the order of the nodes in the hop.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Address(IpAddr),
    /// Silent, behind this node of the hop before; `None` is the source itself.
    Silent(Option<usize>),
}

/// Where a flow is at one TTL.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Position {
    /// At this node; at one of several where one flow met more than one.
    Nodes(Vec<usize>),
    /// Somewhere at this hop.
    Unknown,
}

impl Position {
    const fn is_single(&self) -> bool {
        !matches!(self, Self::Nodes(nodes) if nodes.len() > 1)
    }
}

/// One flow on its way through the hops.
struct Walk<'a> {
    id: FlowId,
    cells: &'a BTreeMap<Ttl, Cell>,
    end: Option<FlowEnd>,
    /// The last TTL at which the flow shows a node.
    last: Option<Ttl>,
    /// The destination, where it answered only farther on than where it must be.
    landed: Option<IpAddr>,
    trail: Vec<Position>,
}

pub(super) fn build(evidence: &Evidence) -> Route {
    let mut walks: Vec<_> = evidence.flows().map(|(id, cells)| Walk::new(id, cells, evidence)).collect();
    let known = evidence.flows().filter_map(|(flow, _)| evidence.arrival(flow)).collect();
    for walk in &mut walks {
        walk.land(evidence, &known);
    }
    let nearest = walks.iter().filter(|walk| walk.reached()).filter_map(|walk| walk.last).min();
    let (Some(first), Some(last)) = (evidence.first_ttl(), walks.iter().filter_map(|walk| walk.last).max())
    else {
        return Route { flows: walks.iter().map(|walk| walk.path(nearest)).collect(), ..Route::default() };
    };

    let mut route = Route::default();
    for ttl in first.to(last) {
        let keys = advance(&mut walks, ttl, evidence);
        route.hops.push(hop(&walks, ttl, &keys, evidence));
        if ttl > first {
            route.links.extend(links(&walks, ttl));
        }
    }
    route.arrivals = arrivals(&walks, nearest);
    judge_balancing(&mut route, &walks);
    zone::mark(&mut route);
    route.flows = walks.iter().map(|walk| walk.path(nearest)).collect();
    route.paths = Paths::of(&route);
    route.diamonds = diamond::find(&route);
    route.flow_paths = distinct_paths(&walks, last);
    // Where answers are missing the links may not connect what flows were seen to connect.
    route.paths.count = route.paths.count.max(route.flow_paths.into());
    route.confidence = confidence(&route, &walks);
    route
}

impl<'a> Walk<'a> {
    fn new(id: FlowId, cells: &'a BTreeMap<Ttl, Cell>, evidence: &Evidence) -> Self {
        let (end, last) = (evidence.end(id), evidence.last_node(id));
        Self { id, cells, end, last, landed: None, trail: Vec::new() }
    }

    fn land(&mut self, evidence: &Evidence, arrivals: &BTreeSet<Arrival>) {
        let Some(landing) = evidence.landing(self.id, arrivals) else { return };
        self.landed = self.last.and_then(|reached| self.cells.get(&reached)).and_then(Cell::address);
        self.last = Some(landing);
    }

    fn passes(&self, ttl: Ttl) -> bool {
        self.last.is_some_and(|last| ttl <= last)
    }

    /// Whether what was asked at a TTL says anything of the route: not where the flow has ended before.
    fn counts(&self, ttl: Ttl) -> bool {
        self.end.is_none() || self.passes(ttl)
    }

    fn reached(&self) -> bool {
        matches!(self.end, Some(FlowEnd::Reached(_)))
    }

    /// The keys of what the flow met at a TTL; `None` where that is not known.
    fn keys(&self, ttl: Ttl, evidence: &Evidence) -> Option<BTreeSet<Key>> {
        if let Some(destination) = self.landed.filter(|_| self.last == Some(ttl)) {
            return Some(BTreeSet::from([Key::Address(destination)]));
        }
        let cell = self.cells.get(&ttl)?;
        if cell.address().is_some() {
            return Some(cell.met().filter_map(Met::address).map(Key::Address).collect());
        }
        // A question that was given up half way says nothing, and a rate limit hides who is there.
        if !cell.is_silent() || evidence.has_limit(ttl) && !cell.was_silent() {
            return None;
        }
        match self.trail.last() {
            None => Some(BTreeSet::from([Key::Silent(None)])),
            Some(Position::Nodes(nodes)) => Some(nodes.iter().map(|&node| Key::Silent(Some(node))).collect()),
            Some(Position::Unknown) => None,
        }
    }

    /// Where the destination is due to answer the flow, if others met it no nearer than at `nearest`.
    fn due(&self, nearest: Option<Ttl>) -> Option<Ttl> {
        match (self.last, nearest) {
            (Some(last), _) if self.reached() => Some(last),
            (Some(last), Some(nearest)) => Some(last.next().max(nearest)),
            (Some(last), None) => Some(last.next()),
            (None, nearest) => nearest.or_else(|| self.cells.keys().next().copied()),
        }
    }

    /// Whether the flow reached the destination; `None` where it was not followed so far.
    fn outcome(&self, nearest: Option<Ttl>) -> Option<bool> {
        if self.end.is_some() {
            return Some(self.reached());
        }
        let mut beyond = self.cells.range(self.due(nearest)?..);
        beyond.any(|(_, cell)| cell.is_silent()).then_some(false)
    }

    fn path(&self, nearest: Option<Ttl>) -> FlowPath {
        let asked = self.cells.iter().filter(|&(&ttl, _)| self.counts(ttl));
        FlowPath {
            id: self.id,
            reached: self.outcome(nearest),
            hops: asked
                .map(|(&ttl, cell)| {
                    let landed = self.landed.filter(|_| self.last == Some(ttl));
                    FlowHop { ttl, address: cell.address().or(landed) }
                })
                .collect(),
        }
    }
}

/// Takes every flow one hop further and returns the keys of the nodes there.
fn advance(walks: &mut [Walk<'_>], ttl: Ttl, evidence: &Evidence) -> Vec<Key> {
    let met: Vec<_> =
        walks.iter().map(|walk| if walk.passes(ttl) { walk.keys(ttl, evidence) } else { None }).collect();
    let met = without_doubtful_silence(walks, &met);
    let keys: Vec<_> = met.iter().flatten().flatten().copied().collect::<BTreeSet<_>>().into_iter().collect();
    for (walk, met) in walks.iter_mut().zip(met) {
        walk.trail.push(match met {
            Some(met) => Position::Nodes(met.iter().filter_map(|key| keys.binary_search(key).ok()).collect()),
            None => Position::Unknown,
        });
    }
    keys
}

/// Flows through one node that are answered one hop further, from which on a single silent one among them is no witness of a silent
/// node: six flows would have shown a second successor to more than one of them in nearly all cases, and a burst of loss is likelier.
const WITNESSES: usize = 6;

/// What flows that come from one place meet at the next hop.
#[derive(Default)]
struct Crowd {
    answered: usize,
    silent: usize,
    kinds: BTreeSet<Key>,
}

impl Crowd {
    /// Whether so few are silent that their replies were just lost.
    fn lost_replies(&self) -> bool {
        self.silent == 1 && self.answered >= WITNESSES
            || self.silent * SILENT_SHARE * self.kinds.len() < self.answered
    }
}

fn without_doubtful_silence(walks: &[Walk<'_>], met: &[Option<BTreeSet<Key>>]) -> Vec<Option<BTreeSet<Key>>> {
    // Behind a lone node every flow comes from there, whether it was asked there or not.
    let known = walks.iter().filter_map(|walk| walk.trail.last()).filter(|at| **at != Position::Unknown);
    let is_lone = known.collect::<BTreeSet<_>>().len() <= 1;
    let places = || walks.iter().map(|walk| walk.trail.last().filter(|_| !is_lone));
    let mut crowds: BTreeMap<Option<&Position>, Crowd> = BTreeMap::new();
    for (place, met) in places().zip(met) {
        for key in met.iter().flatten() {
            let crowd = crowds.entry(place).or_default();
            crowd.kinds.insert(*key);
            *if matches!(key, Key::Silent(_)) { &mut crowd.silent } else { &mut crowd.answered } += 1;
        }
    }
    let is_silent = |met: &BTreeSet<Key>| met.iter().all(|key| matches!(key, Key::Silent(_)));
    let kept = places().zip(met).map(|(place, met)| {
        let is_doubtful = || crowds.get(&place).is_some_and(Crowd::lost_replies);
        met.clone().filter(|met| !(is_silent(met) && is_doubtful()))
    });
    kept.collect()
}

fn hop(walks: &[Walk<'_>], ttl: Ttl, keys: &[Key], evidence: &Evidence) -> Hop {
    let counted = || {
        let cells = walks.iter().filter(|walk| walk.counts(ttl));
        cells.filter_map(|walk| walk.cells.get(&ttl))
    };
    let nodes = keys.iter().enumerate().map(|(index, key)| {
        let flows = walks.iter().filter(
            |walk| matches!(walk.trail.last(), Some(Position::Nodes(nodes)) if nodes.contains(&index)),
        );
        let flows = u32::try_from(flows.count()).unwrap_or(u32::MAX);
        match *key {
            Key::Address(address) => answering_node(address, flows, ttl, counted(), evidence),
            Key::Silent(_) => silent_node(flows),
        }
    });
    Hop {
        ttl,
        probes_sent: counted().map(|cell| cell.sent).sum(),
        replies_received: counted().map(|cell| u32::try_from(cell.answers.len()).unwrap_or(u32::MAX)).sum(),
        nodes: nodes.collect(),
    }
}

fn answering_node<'a>(
    address: IpAddr,
    flows: u32,
    ttl: Ttl,
    cells: impl Iterator<Item = &'a Cell>,
    evidence: &Evidence,
) -> Node {
    let mut destination = false;
    let mut answers: Vec<&Answer> = Vec::new();
    for cell in cells {
        destination |= cell.met().any(|met| met == Met::Destination(address));
        answers.extend(cell.answers.iter().filter(|answer| answer.from == address));
    }
    let mpls: Option<&Vec<MplsLabel>> =
        answers.iter().rev().map(|answer| &answer.mpls).find(|mpls| !mpls.is_empty());
    Node {
        address: Some(address),
        destination,
        replies: u32::try_from(answers.len()).unwrap_or(u32::MAX),
        flows,
        rtt: RttSummary::of(answers.iter().map(|answer| answer.rtt).collect()),
        balancing: Balancing::Unknown,
        rate_limited: evidence.is_limited(ttl, address),
        nat: answers.iter().any(|answer| answer.nat),
        mpls: mpls.cloned().unwrap_or_default(),
    }
}

const fn silent_node(flows: u32) -> Node {
    Node {
        address: None,
        destination: false,
        replies: 0,
        flows,
        rtt: None,
        balancing: Balancing::Unknown,
        rate_limited: false,
        nat: false,
        mpls: Vec::new(),
    }
}

/// What was sent to the destination and came back. Where flows end without it, the next hop of the flow, or the hop at which
/// others met the destination, is where an answer was due.
fn arrivals(walks: &[Walk<'_>], nearest: Option<Ttl>) -> Arrivals {
    let mut arrivals = Arrivals::default();
    for walk in walks {
        let expected = walk.due(nearest);
        let answered = walk.end.map(FlowEnd::ttl).filter(|_| walk.reached());
        let Some(expected) = expected else { continue };
        for cell in walk.cells.range(expected..=answered.unwrap_or(expected)).map(|(_, cell)| cell) {
            arrivals.probes_sent += cell.sent;
            let answers = cell.answers.iter().filter(|answer| answer.kind.is_destination());
            arrivals.rtts.extend(answers.map(|answer| answer.rtt));
        }
    }
    arrivals
}

/// The links into the hop at `ttl`, to which all walks have just come.
fn links(walks: &[Walk<'_>], ttl: Ttl) -> Vec<Link> {
    let Some(before) = ttl.previous() else {
        return Vec::new();
    };
    let mut seen: BTreeMap<(usize, usize), u32> = BTreeMap::new();
    let mut zone: BTreeSet<(usize, usize)> = BTreeSet::new();
    for walk in walks {
        let [.., Position::Nodes(from), Position::Nodes(to)] = walk.trail.as_slice() else {
            continue;
        };
        if let ([from], [to]) = (from.as_slice(), to.as_slice()) {
            *seen.entry((*from, *to)).or_default() += 1;
        } else {
            zone.extend(from.iter().flat_map(|&from| to.iter().map(move |&to| (from, to))));
        }
    }
    let observed = seen.iter().map(|(&ends, &flows)| (ends, flows, false));
    let product = zone.iter().filter(|ends| !seen.contains_key(ends)).map(|&ends| (ends, 0, true));
    let mut links: Vec<_> = observed
        .chain(product)
        .map(|((from, to), flows, per_packet)| Link { ttl: before, from, to, flows, per_packet })
        .collect();
    links.sort_unstable();
    links
}

/// Successors of each node of each hop, and how many flows were seen to choose among them.
fn choices(route: &Route) -> impl Iterator<Item = (usize, usize, Vec<&Link>)> {
    let mut out: BTreeMap<(Ttl, usize), Vec<&Link>> = BTreeMap::new();
    for link in &route.links {
        out.entry((link.ttl, link.from)).or_default().push(link);
    }
    let first = route.hops.first().map_or(Ttl::MIN, |hop| hop.ttl);
    out.into_iter().map(move |((ttl, node), links)| (usize::from(ttl.get() - first.get()), node, links))
}

fn judge_balancing(route: &mut Route, walks: &[Walk<'_>]) {
    let enough = probes_to_rule_out(1, NO_BALANCING_EPSILON);
    let mut verdicts = Vec::new();
    for (hop, node, links) in choices(route) {
        let flows: u32 = links.iter().map(|link| link.flows).sum();
        // The flow sat at one node here and met several behind it: that node deals out packet by packet.
        let per_packet = walks.iter().any(|walk| {
            matches!(walk.trail.get(hop..hop + 2), Some([Position::Nodes(from), Position::Nodes(to)])
                if from.as_slice() == [node] && to.len() > 1)
        });
        verdicts.push((
            hop,
            node,
            match links.len() {
                _ if per_packet => Balancing::PerPacket,
                1 if flows >= enough => Balancing::None,
                0 | 1 => Balancing::Unknown,
                _ if links.iter().all(|link| !link.per_packet) => Balancing::PerFlow,
                _ => Balancing::Unknown,
            },
        ));
    }
    for (hop, node, balancing) in verdicts {
        if let Some(node) = route.hops.get_mut(hop).and_then(|hop| hop.nodes.get_mut(node)) {
            node.balancing = balancing;
        }
    }
}

/// Distinct trails of the flows that came all the way; where none reached the destination, of those that came farthest.
fn distinct_paths(walks: &[Walk<'_>], last: Ttl) -> u32 {
    let reached = walks.iter().any(Walk::reached);
    let whole = walks.iter().filter(|walk| if reached { walk.reached() } else { walk.last == Some(last) });
    // A flow that met several at a hop has no path of its own.
    let (single, several): (Vec<_>, Vec<_>) =
        whole.partition(|walk| walk.trail.iter().all(Position::is_single));
    let trails: BTreeSet<_> = single
        .into_iter()
        .map(|walk| {
            walk.trail.iter().take_while(|position| **position != Position::Unknown).collect::<Vec<_>>()
        })
        .collect();
    // A trail that breaks off is no path of its own where a whole one begins with it.
    let distinct = trails
        .iter()
        .filter(|trail| !trails.iter().any(|other| other.len() > trail.len() && other.starts_with(trail)));
    let least = usize::from(!several.is_empty());
    u32::try_from(distinct.count().max(least)).unwrap_or(u32::MAX)
}

/// One minus the sum of the chances that a node has one successor more than was seen (union bound over the nodes).
fn confidence(route: &Route, walks: &[Walk<'_>]) -> Option<f64> {
    let first_hop = route.hops.first()?;
    let known = walks.iter().filter(|walk| matches!(walk.trail.first(), Some(Position::Nodes(_)))).count();
    let at_source = miss_probability(first_hop.nodes.len(), u32::try_from(known).unwrap_or(u32::MAX));
    let behind: f64 = choices(route)
        .map(|(_, _, links)| miss_probability(links.len(), links.iter().map(|link| link.flows).sum()))
        .sum();
    Some((1.0 - at_source - behind).max(0.0))
}
