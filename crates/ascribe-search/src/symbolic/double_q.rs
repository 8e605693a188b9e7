//! Double Q-learning over the symbols of an expression.
//!
//! ```text
//! with probability 1/2   Qa[s, m] += rate (r + gamma max_m' Qb[s', m'] - Qa[s, m]),   else the same with Qa and Qb exchanged
//! ```
//! H. van Hasselt, 2010, in the form of RSRM's repository; the textbook form reads Qb at the move that is best under Qa.

use std::collections::HashMap;

use ascribe_core::Stream;
use rand::RngExt;

use crate::tilt::{draw, log_sum_exp};

/// Two tables of values of moves after what was written.
#[derive(Clone, Debug)]
pub(super) struct DoubleQ {
    tables: [HashMap<(Vec<u32>, u32), f64>; 2],
    rate: f64,
    gamma: f64,
}

impl DoubleQ {
    pub(super) fn new(rate: f64, gamma: f64) -> Self {
        Self { tables: [HashMap::new(), HashMap::new()], rate, gamma }
    }

    fn of(&self, table: usize, state: &[u32], mv: u32) -> f64 {
        self.tables[table].get(&(state.to_vec(), mv)).copied().unwrap_or(0.0)
    }

    /// The sum of both tables.
    pub(super) fn sum(&self, state: &[u32], mv: u32) -> f64 {
        self.of(0, state, mv) + self.of(1, state, mv)
    }

    /// Learns that `mv` after `state` earned `reward`, and that `ahead` are the moves after it.
    pub(super) fn learn(&mut self, state: &[u32], mv: u32, reward: f64, ahead: &[u32], stream: &mut Stream) {
        let table = usize::from(stream.random::<bool>());
        let next = [state, &[mv]].concat();
        let best = ahead.iter().map(|mv| self.of(1 - table, &next, *mv)).reduce(f64::max).unwrap_or(0.0);
        let (rate, target) = (self.rate, reward + self.gamma * best);
        let value = self.tables[table].entry((state.to_vec(), mv)).or_insert(0.0);
        *value += rate * (target - *value);
    }

    /// A legal move: with the probability `trust` from the softmax of the sums, else any.
    pub(super) fn draw(&self, state: &[u32], legal: &[u32], trust: f64, stream: &mut Stream) -> u32 {
        if stream.random::<f64>() >= trust {
            return legal[stream.random_range(0..legal.len())];
        }
        let sums: Vec<f64> = legal.iter().map(|mv| self.sum(state, *mv)).collect();
        let total = log_sum_exp(&sums);
        let logps: Vec<f64> = sums.iter().map(|sum| sum - total).collect();
        legal[draw(&logps, stream)]
    }
}

#[cfg(test)]
mod tests {
    use ascribe_core::Seed;

    use super::*;

    #[test]
    fn without_a_future_it_learns_what_a_move_earns() {
        let mut q = DoubleQ::new(0.2, 0.0);
        let mut stream = Seed(1).stream("q", 0);
        for _ in 0..200 {
            q.learn(&[], 0, 1.0, &[0, 1], &mut stream);
            q.learn(&[], 1, -0.5, &[0], &mut stream);
        }
        for (mv, earned) in [(0, 1.0), (1, -0.5)] {
            assert!((q.of(0, &[], mv) - earned).abs() < 1e-3 && (q.of(1, &[], mv) - earned).abs() < 1e-3);
        }
        // e^(2 - -1) to 1 in favour of move 0.
        let zeros = (0..4000).filter(|_| q.draw(&[], &[0, 1], 1.0, &mut stream) == 0).count();
        let expected = 1.0 / (1.0 + (-3.0f64).exp());
        assert!((zeros as f64 / 4000.0 - expected).abs() < 0.02);
        let even = (0..4000).filter(|_| q.draw(&[], &[0, 1], 0.0, &mut stream) == 0).count();
        assert!((even as f64 / 4000.0 - 0.5).abs() < 0.04);
    }

    #[test]
    fn the_tables_are_alike_on_average_and_values_come_back_from_ahead() {
        let mut q = DoubleQ::new(0.1, 0.5);
        let mut stream = Seed(2).stream("q", 0);
        for _ in 0..2000 {
            q.learn(&[], 7, 0.0, &[8], &mut stream);
            q.learn(&[7], 8, 1.0, &[], &mut stream);
        }
        // 1 at the end, half of it a step before.
        for table in [0, 1] {
            assert!((q.of(table, &[7], 8) - 1.0).abs() < 1e-3 && (q.of(table, &[], 7) - 0.5).abs() < 1e-3);
        }
    }
}
