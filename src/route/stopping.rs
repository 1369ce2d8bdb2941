//! How many flows it takes to believe that a node has no further successor.
//!
//! The exact rule, from the Markov chain of the number of successors found (Veitch, Augustin, Friedman, Teixeira:
//! Failure Control in Multipath Route Tracing, INFOCOM 2009), not a copied table: the published ones break their own
//! bound at k = 7 and 8. It assumes that a balancer gives its successors equal shares and hashes independently.

/// The least number of flows through a node with `found` successors after which a further one is ruled out: the chance
/// of stopping too early at a balancer with `found + 1` equal successors is at most `epsilon`.
///
/// For 0.05 and `found` from 1: 6, 11, 16, 21, 27, 33, …; for `found` 0 it is 1. `epsilon` is held between 1e-15 and 1.
#[must_use]
pub fn probes_to_rule_out(found: usize, epsilon: f64) -> u32 {
    stopping_points(found, epsilon).pop().unwrap_or(1)
}

/// The stopping points for 1, 2, … `most` successors found, as [`probes_to_rule_out`] has them.
#[must_use]
pub(crate) fn stopping_points(most: usize, epsilon: f64) -> Vec<u32> {
    let epsilon = epsilon.clamp(1e-15, 1.0);
    let mut points: Vec<u32> = Vec::with_capacity(most);
    for found in 1..=most {
        let mut chain = Chain::new(found + 1);
        let mut failed = 0.0;
        // Tracing a balancer of found + 1 also passes the earlier stopping points, where it may end too early.
        for (earlier, &point) in (1..).zip(&points) {
            chain.advance_to(point);
            failed += chain.absorb(earlier);
        }
        chain.advance();
        while failed + chain.share(found) > epsilon {
            chain.advance();
        }
        points.push(chain.flows);
    }
    points
}

/// The chance that `flows` flows through a balancer of `found + 1` equal successors meet exactly `found` of them:
/// how likely what was seen is if one more was missed.
#[must_use]
pub fn miss_probability(found: usize, flows: u32) -> f64 {
    if found == 0 {
        return if flows == 0 { 1.0 } else { 0.0 };
    }
    if usize::try_from(flows).is_ok_and(|flows| flows < found) {
        return 1.0;
    }
    // (k+1)(k/(k+1))^n bounds the chance from above and is as good as exact where it is tiny.
    let k = small(found);
    let bound = (k + 1.0) * (k / (k + 1.0)).powf(f64::from(flows));
    if bound < 1e-9 {
        return bound;
    }
    let mut chain = Chain::new(found + 1);
    chain.advance_to(flows);
    chain.share(found)
}

/// The distribution of the number of successors found after a number of flows.
struct Chain {
    /// `shares[j]`: chance that j of them are found and no stopping point has ended the trace.
    shares: Vec<f64>,
    flows: u32,
}

impl Chain {
    fn new(successors: usize) -> Self {
        let mut shares = vec![0.0; successors + 1];
        if let Some(none) = shares.first_mut() {
            *none = 1.0;
        }
        Self { shares, flows: 0 }
    }

    /// One more flow: it meets a known successor with chance j/K, a new one with (K−j)/K.
    fn advance(&mut self) {
        let successors = small(self.shares.len() - 1);
        let mut arriving = 0.0;
        for (found, share) in self.shares.iter_mut().enumerate() {
            let known = small(found) / successors;
            let stays = *share * known;
            let leaves = *share * (1.0 - known);
            *share = stays + arriving;
            arriving = leaves;
        }
        self.flows += 1;
    }

    fn advance_to(&mut self, flows: u32) {
        while self.flows < flows {
            self.advance();
        }
    }

    fn share(&self, found: usize) -> f64 {
        self.shares.get(found).copied().unwrap_or(0.0)
    }

    fn absorb(&mut self, found: usize) -> f64 {
        self.shares.get_mut(found).map(std::mem::take).unwrap_or(0.0)
    }
}

/// Counts of successors are small: they go into a float without loss.
fn small(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stopping_points_are_the_exact_ones() {
        let cases = [
            (0.05, vec![6, 11, 16, 21, 27, 33, 39, 45, 51, 57, 63, 70, 76, 83, 90, 96]),
            (0.01, vec![8, 15, 21, 28, 36, 43, 51, 58, 66, 74, 82, 90, 98, 106, 115, 123]),
        ];
        for (epsilon, expected) in cases {
            assert_eq!(stopping_points(16, epsilon), expected, "epsilon {epsilon}");
        }
    }

    #[test]
    fn the_two_way_diamond_is_missed_once_in_32() {
        assert!((miss_probability(1, 6) - 0.031_25).abs() < 1e-12);
        assert_eq!(probes_to_rule_out(1, 0.031_25), 6);
        assert_eq!(probes_to_rule_out(1, 0.031_24), 7);
    }

    #[test]
    fn miss_probability_at_its_edges() {
        assert!((miss_probability(0, 0) - 1.0).abs() < f64::EPSILON, "nothing asked, nothing known");
        assert!(miss_probability(0, 1).abs() < f64::EPSILON);
        assert!((miss_probability(3, 2) - 1.0).abs() < f64::EPSILON, "fewer flows than successors");
        let (exact, bound) = (miss_probability(4, 60), 5.0 * 0.8_f64.powi(60));
        assert!(exact <= bound && exact > bound * 0.99, "{exact} against {bound}");
    }
}
