//! Where the nodes of a layered graph stand so that the graph is easy to read: pure geometry.
//!
//! Layers run from left to right and links join neighbouring ones. The order within a layer is chosen so that few links cross
//! (sweeps by barycentre and median, then exchanges of neighbours: Sugiyama, Tagawa, Toda 1981; Gansner et al. 1993). Heights
//! then make links as level as the distances between nodes allow: each layer in turn takes the heights that are best for the
//! links to its neighbours, an isotonic regression. Nothing is left to chance: the same graph always looks the same.

/// The nodes at one hop.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layer {
    /// How many there are.
    pub nodes: usize,
    /// How wide they are drawn.
    pub width: f64,
    /// Least distance between the centres of two of them.
    pub pitch: f64,
}

/// A link from a node of a layer to one of the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Index of the nearer layer.
    pub layer: usize,
    /// Index of the nearer node in its layer.
    pub from: usize,
    /// Index of the farther node in its layer.
    pub to: usize,
}

/// The centre of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Place {
    /// From left to right.
    pub x: f64,
    /// From top to bottom.
    pub y: f64,
}

/// A graph with a place for each node. The nearest corner of its frame is at 0, 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    /// Width of the frame.
    pub width: f64,
    /// Height of the frame: half a pitch beyond the outermost nodes.
    pub height: f64,
    /// The places of each layer's nodes.
    pub places: Vec<Vec<Place>>,
}

/// Sweeps through all layers in search of an order with few crossings.
const ORDER_SWEEPS: usize = 24;
/// Sweeps through all layers in search of the best heights.
const HEIGHT_SWEEPS: usize = 120;
/// How much more it matters that a link is level where neither end has another on that side: such chains should be straight.
const CHAIN_WEIGHT: f64 = 8.0;
/// Heights that differ by less are made the same.
const SNAP: f64 = 5.0;
/// Least gap between two layers, and the most that is added where links are steep.
const GAP: f64 = 34.0;
const MOST_EXTRA_GAP: f64 = 160.0;
/// How steep links may be before their layers are drawn farther apart.
const STEEPNESS: f64 = 4.0;

/// Finds a place for each node. Spans whose ends do not exist are left out of account.
#[must_use]
pub fn lay_out(layers: &[Layer], spans: &[Span]) -> Layout {
    let neighbours = Neighbours::of(layers, spans);
    let order = order(layers, &neighbours);
    let heights = heights(layers, &neighbours, &order);

    let all = || {
        heights
            .iter()
            .zip(layers)
            .flat_map(|(heights, layer)| heights.iter().map(move |y| (*y, layer.pitch / 2.0)))
    };
    let top = all().map(|(y, half)| y - half).fold(f64::INFINITY, f64::min);
    let bottom = all().map(|(y, half)| y + half).fold(f64::NEG_INFINITY, f64::max);
    let mut x = 0.0;
    let mut places = Vec::new();
    for (index, (layer, heights)) in layers.iter().zip(&heights).enumerate() {
        if index > 0 {
            x += GAP + extra_gap(&neighbours, &places, heights, index, top);
        }
        let place = |y: &f64| Place { x: x + layer.width / 2.0, y: y - top };
        places.push(heights.iter().map(place).collect::<Vec<_>>());
        x += layer.width;
    }
    Layout { width: x, height: (bottom - top).max(0.0), places }
}

/// How many pairs of links cross in an order of the nodes: `order[layer][place]` is the node there.
#[must_use]
pub fn crossings(layers: &[Layer], spans: &[Span], order: &[Vec<usize>]) -> usize {
    let neighbours = Neighbours::of(layers, spans);
    let positions: Vec<_> = order.iter().map(|order| inverse(order)).collect();
    (0..layers.len()).map(|layer| crossings_behind(layer, &neighbours, order, &positions)).sum()
}

/// Who is linked to whom.
struct Neighbours {
    /// For each layer and node the nodes of the layer before.
    before: Vec<Vec<Vec<usize>>>,
    /// For each layer and node the nodes of the next layer.
    behind: Vec<Vec<Vec<usize>>>,
}

impl Neighbours {
    fn of(layers: &[Layer], spans: &[Span]) -> Self {
        let empty: Vec<_> = layers.iter().map(|layer| vec![Vec::new(); layer.nodes]).collect();
        let mut neighbours = Self { before: empty.clone(), behind: empty };
        for span in spans {
            let behind = neighbours.behind.get_mut(span.layer).and_then(|layer| layer.get_mut(span.from));
            let before = neighbours.before.get_mut(span.layer + 1).and_then(|layer| layer.get_mut(span.to));
            if let (Some(behind), Some(before)) = (behind, before) {
                behind.push(span.to);
                before.push(span.from);
            }
        }
        neighbours
    }

    fn before(&self, layer: usize, node: usize) -> &[usize] {
        list(&self.before, layer, node)
    }

    fn behind(&self, layer: usize, node: usize) -> &[usize] {
        list(&self.behind, layer, node)
    }
}

fn list(lists: &[Vec<Vec<usize>>], layer: usize, node: usize) -> &[usize] {
    lists.get(layer).and_then(|lists| lists.get(node)).map_or(&[], Vec::as_slice)
}

/// Where each node stands in an order.
fn inverse(order: &[usize]) -> Vec<usize> {
    let mut positions = vec![0; order.len()];
    for (place, &node) in order.iter().enumerate() {
        if let Some(position) = positions.get_mut(node) {
            *position = place;
        }
    }
    positions
}

/// Crossings between a layer and the next.
fn crossings_behind(
    layer: usize,
    neighbours: &Neighbours,
    order: &[Vec<usize>],
    positions: &[Vec<usize>],
) -> usize {
    let (Some(order), Some(next)) = (order.get(layer), positions.get(layer + 1)) else {
        return 0;
    };
    // Ends of the links so far, counted by place: a binary indexed tree would be faster, and is not needed for 70 nodes.
    let mut ends = vec![0_usize; next.len()];
    let mut count = 0;
    for &node in order {
        let places: Vec<_> =
            neighbours.behind(layer, node).iter().filter_map(|&to| next.get(to).copied()).collect();
        count += places.iter().map(|&place| ends.iter().skip(place + 1).sum::<usize>()).sum::<usize>();
        for place in places {
            if let Some(end) = ends.get_mut(place) {
                *end += 1;
            }
        }
    }
    count
}

/// The order of each layer's nodes with the fewest crossings that was met.
fn order(layers: &[Layer], neighbours: &Neighbours) -> Vec<Vec<usize>> {
    let mut order: Vec<Vec<usize>> = layers.iter().map(|layer| (0..layer.nodes).collect()).collect();
    let mut positions: Vec<_> = order.iter().map(|order| inverse(order)).collect();
    let count = |order: &[Vec<usize>], positions: &[Vec<usize>]| -> usize {
        (0..layers.len()).map(|layer| crossings_behind(layer, neighbours, order, positions)).sum()
    };
    let mut best = (count(&order, &positions), order.clone());
    for sweep in 0..ORDER_SWEEPS {
        if best.0 == 0 {
            break;
        }
        let forwards = sweep % 2 == 0;
        let mean = sweep % 4 < 2;
        let turns: Vec<_> = if forwards {
            (1..layers.len()).collect()
        } else {
            (0..layers.len().saturating_sub(1)).rev().collect()
        };
        for layer in turns {
            sort(layer, forwards, mean, neighbours, &mut order, &mut positions);
        }
        exchange(neighbours, &mut order, &mut positions);
        let crossings = count(&order, &positions);
        if crossings < best.0 {
            best = (crossings, order.clone());
        }
    }
    best.1
}

/// Sorts a layer by where the neighbours of its nodes stand in the layer before (or behind): their mean or their median.
fn sort(
    layer: usize,
    forwards: bool,
    mean: bool,
    neighbours: &Neighbours,
    order: &mut [Vec<usize>],
    positions: &mut [Vec<usize>],
) {
    let other = if forwards { layer.checked_sub(1) } else { Some(layer + 1) };
    let Some(fixed) = other.and_then(|other| positions.get(other)) else { return };
    let (Some(here), Some(own)) = (order.get(layer), positions.get(layer)) else { return };
    let key = |node: usize| {
        let linked = if forwards { neighbours.before(layer, node) } else { neighbours.behind(layer, node) };
        let mut places: Vec<_> = linked.iter().filter_map(|&other| fixed.get(other).copied()).collect();
        places.sort_unstable();
        let middle = places.get(places.len() / 2).copied();
        match middle {
            None => own.get(node).map_or(0.0, |place| *place as f64),
            Some(_) if mean => places.iter().sum::<usize>() as f64 / places.len() as f64,
            Some(middle) => middle as f64,
        }
    };
    let mut keyed: Vec<_> = here.iter().map(|&node| (key(node), node)).collect();
    // Stable: what is equal stays as it was.
    keyed.sort_by(|one, other| one.0.total_cmp(&other.0));
    let sorted: Vec<_> = keyed.into_iter().map(|(_, node)| node).collect();
    if let (Some(order), Some(positions)) = (order.get_mut(layer), positions.get_mut(layer)) {
        *positions = inverse(&sorted);
        *order = sorted;
    }
}

/// Exchanges neighbours in a layer as long as that saves crossings.
fn exchange(neighbours: &Neighbours, order: &mut [Vec<usize>], positions: &mut [Vec<usize>]) {
    for layer in 0..order.len() {
        let count = order.get(layer).map_or(0, Vec::len);
        // Every exchange saves a crossing, so this ends; the bound is for time.
        for _ in 0..count {
            let mut saved = false;
            for place in 1..count {
                let pair =
                    order.get(layer).and_then(|order| Some((*order.get(place - 1)?, *order.get(place)?)));
                let Some((upper, lower)) = pair else { continue };
                let as_is = crossings_of(layer, upper, lower, neighbours, positions);
                let exchanged = crossings_of(layer, lower, upper, neighbours, positions);
                if exchanged < as_is {
                    if let (Some(order), Some(positions)) = (order.get_mut(layer), positions.get_mut(layer)) {
                        order.swap(place - 1, place);
                        positions.swap(upper, lower);
                    }
                    saved = true;
                }
            }
            if !saved {
                break;
            }
        }
    }
}

/// Crossings of the links of two neighbours, one directly above the other.
fn crossings_of(
    layer: usize,
    upper: usize,
    lower: usize,
    neighbours: &Neighbours,
    positions: &[Vec<usize>],
) -> usize {
    let count = |upper: &[usize], lower: &[usize], positions: Option<&Vec<usize>>| {
        let place = |node: &usize| positions.and_then(|positions| positions.get(*node)).copied().unwrap_or(0);
        let crossed = |above: &usize| lower.iter().filter(|below| place(below) < place(above)).count();
        upper.iter().map(crossed).sum::<usize>()
    };
    let before = layer.checked_sub(1).and_then(|layer| positions.get(layer));
    count(neighbours.before(layer, upper), neighbours.before(layer, lower), before)
        + count(neighbours.behind(layer, upper), neighbours.behind(layer, lower), positions.get(layer + 1))
}

/// The height of each node.
fn heights(layers: &[Layer], neighbours: &Neighbours, order: &[Vec<usize>]) -> Vec<Vec<f64>> {
    let mut heights: Vec<Vec<f64>> = layers
        .iter()
        .zip(order)
        .map(|(layer, order)| {
            let middle = (order.len() as f64 - 1.0) / 2.0;
            inverse(order).into_iter().map(|place| (place as f64 - middle) * layer.pitch).collect()
        })
        .collect();
    for sweep in 0..HEIGHT_SWEEPS {
        let forwards = sweep % 2 == 0;
        for turn in 0..layers.len() {
            let layer = if forwards { turn } else { layers.len() - 1 - turn };
            level(layer, layers, neighbours, order, &mut heights);
        }
    }
    for layer in 1..layers.len() {
        snap(layer, layers, neighbours, &mut heights);
    }
    heights
}

/// Puts nodes that stand nearly as high as one they are linked to just as high: a link that is almost level looks like a mistake. Where
/// there is no room, the whole layer moves, unless one of its links is level already.
fn snap(layer: usize, layers: &[Layer], neighbours: &Neighbours, heights: &mut [Vec<f64>]) {
    let Some((before, [here, ..])) = heights.split_at_mut_checked(layer) else { return };
    let (Some(before), Some(&Layer { pitch, .. })) = (before.last(), layers.get(layer)) else { return };
    // How far a node is from the height of the nearest of those that it is linked to.
    let off = |here: &[f64], node: usize| {
        let own = here.get(node)?;
        let linked = neighbours.before(layer, node).iter().filter_map(|&other| before.get(other));
        linked.map(|y| y - own).min_by(|one, other| one.abs().total_cmp(&other.abs()))
    };
    for node in 0..here.len() {
        let Some(step) = off(here, node).filter(|step| step.abs() < SNAP) else { continue };
        let level = here.get(node).map_or(0.0, |own| own + step);
        let mut others = here.iter().enumerate().filter(|(other, _)| *other != node);
        if others.all(|(_, y)| (y - level).abs() >= pitch) {
            here.iter_mut().skip(node).take(1).for_each(|y| *y = level);
        } else if !(0..here.len()).any(|node| off(here, node).is_some_and(|step| step.abs() < 0.1)) {
            here.iter_mut().for_each(|y| *y += step);
        }
    }
}

/// Gives the nodes of a layer the heights that make the links to its neighbours as level as can be.
fn level(
    layer: usize,
    layers: &[Layer],
    neighbours: &Neighbours,
    order: &[Vec<usize>],
    heights: &mut [Vec<f64>],
) {
    let (Some(&Layer { pitch, .. }), Some(order)) = (layers.get(layer), order.get(layer)) else { return };
    let wanted = order.iter().enumerate().map(|(place, &node)| {
        let own = heights.get(layer).and_then(|heights| heights.get(node)).copied().unwrap_or(0.0);
        let (mut sum, mut weights) = (0.0, 0.0);
        let mut pull =
            |other: Option<usize>, linked: &[usize], back: fn(&Neighbours, usize, usize) -> &[usize]| {
                let Some(other) = other else { return };
                for &node in linked {
                    let Some(y) = heights.get(other).and_then(|heights| heights.get(node)) else { continue };
                    let is_chain = linked.len() == 1 && back(neighbours, other, node).len() == 1;
                    let weight = if is_chain { CHAIN_WEIGHT } else { 1.0 };
                    sum += weight * y;
                    weights += weight;
                }
            };
        pull(layer.checked_sub(1), neighbours.before(layer, node), |all, layer, node| {
            all.behind(layer, node)
        });
        pull(Some(layer + 1), neighbours.behind(layer, node), |all, layer, node| all.before(layer, node));
        let (target, weight) = if weights > 0.0 { (sum / weights, weights) } else { (own, 0.001) };
        // As if there were no distances to keep.
        (target - place as f64 * pitch, weight)
    });
    let fitted = isotonic(wanted);
    if let Some(heights) = heights.get_mut(layer) {
        for (place, (&node, fitted)) in order.iter().zip(fitted).enumerate() {
            if let Some(height) = heights.get_mut(node) {
                *height = fitted + place as f64 * pitch;
            }
        }
    }
}

/// The values in ascending order that are nearest to those wanted, by weighted squares (pool adjacent violators).
fn isotonic(wanted: impl Iterator<Item = (f64, f64)>) -> Vec<f64> {
    let mut pools: Vec<(f64, f64, usize)> = Vec::new();
    for (value, weight) in wanted {
        let mut pool = (value, weight, 1);
        while let Some(&(before, heavy, count)) = pools.last().filter(|pooled| pooled.0 > pool.0) {
            pools.pop();
            let both = heavy + pool.1;
            pool = ((before * heavy + pool.0 * pool.1) / both, both, count + pool.2);
        }
        pools.push(pool);
    }
    pools.into_iter().flat_map(|(value, _, count)| std::iter::repeat_n(value, count)).collect()
}

/// What is added to the gap before a layer because links to it are steep.
fn extra_gap(neighbours: &Neighbours, places: &[Vec<Place>], heights: &[f64], layer: usize, top: f64) -> f64 {
    let Some(before) = layer.checked_sub(1).and_then(|layer| places.get(layer)) else { return 0.0 };
    let rises = heights.iter().enumerate().flat_map(|(node, y)| {
        let linked = neighbours.before(layer, node).iter().filter_map(|&node| before.get(node));
        linked.map(move |place| (place.y - (y - top)).abs())
    });
    (rises.fold(0.0, f64::max) / STEEPNESS - GAP).clamp(0.0, MOST_EXTRA_GAP)
}

#[cfg(test)]
mod tests;
