//! Pictures of a word's size: the course of a number over rounds, and the outline of a route.
//!
//! Knows numbers and graphs. Nothing in the pictures comes from outside as text.

use std::fmt::{self, Write};

use crate::route::{Hop, Link, Route};

/// Width and height of both, and the room at their edges.
const WIDTH: f64 = 120.0;
const HEIGHT: f64 = 24.0;
const EDGE: f64 = 3.0;
/// Rounds that the width has room for.
const ROUNDS: usize = 60;
/// Distance of nodes that stand one above the other, where there is room.
const PITCH: f64 = 6.0;
/// Links from which on they are drawn finer.
const DENSE: usize = 40;
/// Links between two hops that are drawn one by one; of more one sees but an area.
const LINKS: usize = 150;

/// How many paths the last rounds found, from left to right; rounds that could ask nothing leave a gap. Empty where there were none.
pub(super) fn history(history: &[Option<u64>]) -> String {
    let mut out = String::new();
    let shown = history.get(history.len().saturating_sub(ROUNDS)..).unwrap_or_default();
    let known = || shown.iter().flatten().copied();
    if let (Some(min), Some(max), Some(last)) = (known().min(), known().max(), shown.last()) {
        // Writing into a string cannot fail.
        let _ = write_history(&mut out, shown, (min, max), *last);
    }
    out
}

fn write_history(
    out: &mut String,
    shown: &[Option<u64>],
    (min, max): (u64, u64),
    last: Option<u64>,
) -> fmt::Result {
    let rounds = match shown.len() {
        1 => "the last round".to_owned(),
        rounds => format!("the last {rounds} rounds"),
    };
    let range = if min == max { format!("{min}") } else { format!("{min} to {max}") };
    write!(
        out,
        "<svg class=\"spark\" role=\"img\" aria-label=\"Paths in {rounds}: {range}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\"><title>Paths in {rounds}: {range}</title><path d=\""
    )?;
    let step = (WIDTH - 2.0 * EDGE) / ROUNDS as f64;
    let height = |value: u64| match max - min {
        0 => HEIGHT / 2.0,
        range => EDGE + (HEIGHT - 2.0 * EDGE) * ((max - value) as f64 / range as f64),
    };
    let mut x = EDGE;
    // Stretches of equal rounds are one line.
    let mut before = None;
    for stretch in shown.chunk_by(|one, other| one == other) {
        let end = x + step * stretch.len() as f64;
        if let Some(value) = stretch.first().copied().flatten() {
            match before {
                Some(_) => write!(out, "V{:.1}", height(value))?,
                None => write!(out, "M{x:.1} {:.1}", height(value))?,
            }
            write!(out, "H{end:.1}")?;
        }
        before = stretch.first().copied().flatten();
        x = end;
    }
    out.push_str("\"/>");
    if let Some(value) = last {
        write!(out, "<circle cx=\"{x:.1}\" cy=\"{:.1}\" r=\"2\"/>", height(value))?;
    }
    out.push_str("</svg>");
    Ok(())
}

/// The outline of a route, from the source at the left to its last hop at the right. What it shows is told by numbers elsewhere.
pub(super) fn shape(route: &Route) -> String {
    let mut out = String::new();
    if !route.hops.is_empty() {
        // Writing into a string cannot fail.
        let _ = write_shape(&mut out, route);
    }
    out
}

fn write_shape(out: &mut String, route: &Route) -> fmt::Result {
    write!(
        out,
        "<svg class=\"shape{}\" aria-hidden=\"true\" width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\"><path d=\"",
        if route.links.len() > DENSE { " dense" } else { "" }
    )?;
    let step = (WIDTH - 2.0 * EDGE) / route.hops.len() as f64;
    let (mut x, mut from) = (EDGE, vec![HEIGHT / 2.0]);
    for (place, hop) in route.hops.iter().enumerate() {
        let links: Vec<(usize, usize)> = match place.checked_sub(1).and_then(|before| route.hops.get(before))
        {
            Some(before) => links_behind(route, before).map(|link| (link.from, link.to)).collect(),
            None => (0..hop.nodes.len()).map(|to| (0, to)).collect(),
        };
        let to = heights(hop.nodes.len(), &from, &links);
        let ends = |&(one, other): &(usize, usize)| Some((from.get(one)?, to.get(other)?));
        if links.len() > LINKS {
            let [top, bottom] = [&from, &to].map(|heights| extremes(heights)).map(Some);
            if let (Some((a, b)), Some((c, d))) = (top, bottom) {
                write!(out, "M{x:.0} {a:.0}L{:.0} {c:.0}V{d:.0}L{x:.0} {b:.0}Z", x + step)?;
            }
        } else {
            for (a, b) in links.iter().filter_map(ends) {
                match (a - b).abs() < 0.5 {
                    true => write!(out, "M{x:.1} {a:.1}h{step:.1}")?,
                    false => write!(out, "M{x:.1} {a:.1}L{:.1} {b:.1}", x + step)?,
                }
            }
        }
        x += step;
        from = to;
    }
    out.push_str("\"/>");
    for y in route.hops.last().into_iter().flat_map(|hop| &hop.nodes).zip(&from) {
        if y.0.destination {
            write!(out, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.5\"/>", WIDTH - EDGE, y.1)?;
        }
    }
    out.push_str("</svg>");
    Ok(())
}

fn links_behind<'a>(route: &'a Route, hop: &'a Hop) -> impl Iterator<Item = &'a Link> {
    // Links are in the order of their TTL.
    let first = route.links.partition_point(|link| link.ttl < hop.ttl);
    route.links.iter().skip(first).take_while(|link| link.ttl == hop.ttl)
}

/// Where the nodes of a hop stand: in the order of those before them, around the middle.
fn heights(count: usize, from: &[f64], links: &[(usize, usize)]) -> Vec<f64> {
    let mut sums = vec![(0.0, 0.0); count];
    for &(one, other) in links {
        if let (Some(sum), Some(y)) = (sums.get_mut(other), from.get(one)) {
            *sum = (sum.0 + y, sum.1 + 1.0);
        }
    }
    let mut order: Vec<(f64, usize)> = sums
        .into_iter()
        .enumerate()
        .map(|(node, (sum, links))| (if links > 0.0 { sum / links } else { HEIGHT / 2.0 }, node))
        .collect();
    order.sort_by(|one, other| one.0.total_cmp(&other.0));
    let gaps = count.saturating_sub(1) as f64;
    let pitch = PITCH.min((HEIGHT - 2.0 * EDGE) / gaps.max(1.0));
    let mut heights = vec![HEIGHT / 2.0; count];
    for (place, (_, node)) in order.into_iter().enumerate() {
        if let Some(height) = heights.get_mut(node) {
            *height += (place as f64 - gaps / 2.0) * pitch;
        }
    }
    heights
}

fn extremes(heights: &[f64]) -> (f64, f64) {
    let [min, max] = [f64::min, f64::max];
    (heights.iter().copied().fold(HEIGHT, min), heights.iter().copied().fold(0.0, max))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;

    fn path(svg: &str) -> &str {
        svg.split_once(" d=\"").unwrap().1.split_once('"').unwrap().0
    }

    #[test]
    fn the_course_of_a_number_is_one_line_with_gaps() {
        assert_eq!(history(&[]), "");
        assert_eq!(history(&[None, None]), "");
        let cases: [(&[Option<u64>], &str, &str); 4] = [
            (&[Some(2)], "Paths in the last round: 2", "M3.0 12.0H4.9"),
            (&[Some(2), Some(2)], "Paths in the last 2 rounds: 2", "M3.0 12.0H6.8"),
            (&[Some(1), Some(3), Some(3)], "Paths in the last 3 rounds: 1 to 3", "M3.0 21.0H4.9V3.0H8.7"),
            (&[Some(1), None, Some(3)], "Paths in the last 3 rounds: 1 to 3", "M3.0 21.0H4.9M6.8 3.0H8.7"),
        ];
        for (numbers, told, line) in cases {
            let svg = history(numbers);
            assert!(svg.contains(&format!("aria-label=\"{told}\"")), "{svg}");
            assert_eq!(path(&svg), line, "{numbers:?}");
            roxmltree::Document::parse(&svg).unwrap();
        }
        let full: Vec<_> = (0..100).map(Some).collect();
        let svg = history(&full);
        assert!(path(&svg).starts_with("M3.0 ") && svg.contains("last 60 rounds: 40 to 99"), "{svg}");
    }

    #[test]
    fn a_route_has_an_outline() {
        assert_eq!(shape(&Route::default()), "");
        let svg = shape(&sample::diamond().route);
        roxmltree::Document::parse(&svg).unwrap();
        assert_eq!(path(&svg).matches('M').count(), 1 + 2 + 2 + 2, "every link: {svg}");
        assert!(path(&svg).starts_with("M3.0 12.0h28.5M31.5 12.0L60.0 9.0M31.5 12.0L60.0 15.0"), "{svg}");
        let line =
            |id: u16| format!("{id} 192.0.2.1@1 10.0.0.{}@2 10.0.1.{}@3 192.0.2.9@4!\n", id % 20, id / 20);
        let mesh: String = (0..400).map(line).collect();
        let svg = shape(&sample::trace(&sample::evidence(&mesh)).route);
        assert_eq!(path(&svg).matches('Z').count(), 1, "an area: {svg}");
        assert!(svg.len() < 2500, "{}", svg.len());
    }
}
