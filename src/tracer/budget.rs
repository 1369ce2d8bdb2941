//! How much certainty a node needs: the part of the promise that falls to it, and the flows that buy it.
//!
//! `confidence` is about the whole route. What may go wrong, epsilon = 1 − confidence, is split evenly over the branch
//! points found so far and one more that may still hide behind a node with a single known successor.

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use crate::route::stopping_points;

/// Tables are computed for this many successors at first, then for twice as many, and so on.
const TABLE: usize = 16;
/// Tables that are kept. There is one for each number of branch points that traces come by, and each confidence.
const TABLES_MAX: usize = 4096;

type Table = Arc<Vec<u32>>;

/// Stopping points by the bits of their epsilon. Computing them takes up to some milliseconds, and all traces want the same.
static TABLES: LazyLock<Mutex<BTreeMap<u64, Table>>> = LazyLock::new(Mutex::default);

/// The certainty that a route with a number of branch points asks of its nodes.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    epsilon: f64,
    share: f64,
    branches: usize,
    table: Table,
}

impl Budget {
    pub(super) fn new(confidence: f64) -> Self {
        let epsilon = 1.0 - confidence;
        Self { epsilon, share: epsilon, branches: 0, table: table(epsilon, TABLE) }
    }

    /// Splits over this many branch points, and one more. Returns whether that changes anything.
    pub(super) fn split(&mut self, branches: usize) -> bool {
        if branches == self.branches {
            return false;
        }
        self.branches = branches;
        self.share = self.epsilon / (f64::from(u32::try_from(branches).unwrap_or(u32::MAX)) + 1.0);
        self.table = table(self.share, TABLE);
        true
    }

    /// What may go wrong on the whole route.
    pub(super) const fn whole(&self) -> f64 {
        self.epsilon
    }

    /// What may go wrong at one node.
    pub(super) const fn share(&self) -> f64 {
        self.share
    }

    /// Flows through a node with `found` successors after which a further one is ruled out.
    pub(super) fn flows(&mut self, found: usize) -> usize {
        let found = found.max(1);
        if found > self.table.len() {
            self.table = table(self.share, found.next_power_of_two());
        }
        let flows = self.table.get(found - 1).copied().unwrap_or(u32::MAX);
        usize::try_from(flows).unwrap_or(usize::MAX)
    }
}

fn table(epsilon: f64, length: usize) -> Table {
    let mut tables = TABLES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = tables.get(&epsilon.to_bits()).filter(|known| known.len() >= length) {
        return Arc::clone(known);
    }
    let made = Arc::new(stopping_points(length, epsilon));
    if tables.len() >= TABLES_MAX {
        tables.clear();
    }
    tables.insert(epsilon.to_bits(), Arc::clone(&made));
    made
}

/// Chance that flows through a balancer with two equal successors all take the same.
pub(super) fn hidden_second(flows: usize) -> f64 {
    0.5_f64.powi(i32::try_from(flows).unwrap_or(i32::MAX).saturating_sub(1))
}

/// Flows after which a successor with half the smallest share seen would have shown, where the counts of the successors
/// found contradict equal shares; `None` where they do not.
pub(super) fn flows_for_unequal(counts: &[u32], epsilon: f64) -> Option<usize> {
    let total: u32 = counts.iter().sum();
    let kinds = u32::try_from(counts.len()).ok().filter(|&kinds| kinds >= 2)?;
    let expected = f64::from(total) / f64::from(kinds);
    let statistic: f64 = counts.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum();
    if statistic <= chi_square_bound(f64::from(kinds - 1)) {
        return None;
    }
    let smallest = f64::from(counts.iter().copied().min()?) / f64::from(total);
    // The bound is far above any sensible trace.
    Some(count_of(epsilon.ln() / (1.0 - smallest / 2.0).ln(), 1_000_000).max(1))
}

/// The least whole number that is not below a value, from 0 to `most`.
pub(super) fn count_of(value: f64, most: u32) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to a range that fits"
    )]
    let count = value.ceil().clamp(0.0, f64::from(most)) as usize;
    count
}

/// Above this a chi-square statistic rejects equal shares at one in a thousand (Wilson and Hilferty's approximation, 1931).
fn chi_square_bound(degrees: f64) -> f64 {
    const NORMAL_999: f64 = 3.0902;
    let spread = 2.0 / (9.0 * degrees);
    degrees * (1.0 - spread + NORMAL_999 * spread.sqrt()).powi(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_split_is_over_branch_points_and_one_more() {
        let mut budget = Budget::new(0.95);
        assert_eq!([1, 2, 4].map(|found| budget.flows(found)), [6, 11, 21]);
        assert!(budget.split(2) && !budget.split(2));
        assert!((budget.share() - 0.05 / 3.0).abs() < 1e-12);
        assert_eq!(budget.flows(1), 7);
        assert!(budget.flows(70) > budget.flows(69));
    }

    #[test]
    fn unequal_shares_are_noticed_and_cost_more() {
        assert_eq!(flows_for_unequal(&[10, 12, 9, 11], 0.05), None);
        assert_eq!(flows_for_unequal(&[30], 0.05), None);
        // The smallest share seen is 4 of 60: 88 flows make sure of one half as large.
        assert_eq!(flows_for_unequal(&[32, 16, 8, 4], 0.05), Some(89));
    }

    #[test]
    fn chi_square_bounds_are_those_of_the_tables() {
        for (degrees, bound) in [(1.0, 10.83), (3.0, 16.27), (15.0, 37.70)] {
            assert!(
                (chi_square_bound(degrees) - bound).abs() < 0.35,
                "{degrees}: {}",
                chi_square_bound(degrees)
            );
        }
    }
}
