//! The order of rows over epochs, and a cursor from which it goes on exactly.
//!
//! The order of an epoch is a permutation that seed and epoch decide alone, so a run that resumes needs no more than
//! the cursor. A batch never spans two epochs: the last batch of an epoch is smaller if the rows do not divide.

use ascribe_core::Seed;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::DataError;

/// Rows in a new order each epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epochs {
    rows: usize,
    seed: Seed,
}

/// Where a run stands: at the start of row `position` of the order of `epoch`. Both from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Epochs finished.
    pub epoch: u64,
    /// Rows of this epoch that were used.
    pub position: usize,
}

/// Rows to use together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Indices of the rows, from 0.
    pub rows: Vec<usize>,
    /// Where the next batch starts.
    pub next: Cursor,
}

impl Epochs {
    /// An order over `rows` rows, at least one.
    ///
    /// # Errors
    /// [`DataError::Sampler`] without rows.
    pub fn new(rows: usize, seed: Seed) -> Result<Self, DataError> {
        match rows {
            0 => Err(refuse("the number of rows", "at least 1".into(), 0, "; no row is left to learn from")),
            _ => Ok(Self { rows, seed }),
        }
    }

    /// Number of rows in an epoch.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Batches of `size` rows in an epoch, the last and smaller one included. `size` is at least 1.
    pub fn batches(&self, size: usize) -> usize {
        self.rows.div_ceil(size.max(1))
    }

    /// The order of one epoch: every index below [`Self::rows`] once.
    pub fn order(&self, epoch: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.rows).collect();
        order.shuffle(&mut self.seed.stream("shuffle", epoch));
        order
    }

    /// The batch at `cursor`, of `size` rows or of those that are left of the epoch.
    ///
    /// The order is made anew at each call, in time linear in the rows, so that nothing but the cursor is state.
    ///
    /// # Errors
    /// [`DataError::Sampler`] for a size of 0 or a cursor behind the last row, as one of other data may be.
    pub fn batch(&self, cursor: Cursor, size: usize) -> Result<Batch, DataError> {
        let Cursor { epoch, position } = cursor;
        if size == 0 {
            return Err(refuse("the batch size", "at least 1".into(), size, ""));
        }
        if position >= self.rows {
            let rule = format!("below the {} rows of the data", self.rows);
            return Err(refuse("the position to resume at", rule, position, "; resume with the data of that run"));
        }
        let end = position.saturating_add(size).min(self.rows);
        let rows = self.order(epoch)[position..end].to_vec();
        let next = match end == self.rows {
            true => Cursor { epoch: epoch + 1, position: 0 },
            false => Cursor { epoch, position: end },
        };
        Ok(Batch { rows, next })
    }
}

/// The same rows with those of both labels spread evenly, each label's in the order that they had: the i-th of n stands where
/// `(2 i + 1) / 2 n` of the epoch is over. With n rows of one label and m of the other, m no more than n, every `n / m + 2` rows one
/// after another, and at least 3, have both. `labels` are those of all rows.
pub fn spread_labels(order: &[usize], labels: &[bool]) -> Vec<usize> {
    let of = |label: bool| order.iter().copied().filter(|row| labels.get(*row) == Some(&label)).collect::<Vec<usize>>();
    let (wanted, others) = (of(true), of(false));
    let mut spread = Vec::with_capacity(wanted.len() + others.len());
    let (mut a, mut b) = (0, 0);
    while a < wanted.len() || b < others.len() {
        // The fractions times both numbers, so that nothing is rounded.
        let first = b == others.len() || (a < wanted.len() && (2 * a + 1) * others.len() <= (2 * b + 1) * wanted.len());
        if first {
            spread.push(wanted[a]);
            a += 1;
        } else {
            spread.push(others[b]);
            b += 1;
        }
    }
    spread
}

fn refuse(name: &'static str, rule: String, got: usize, remedy: &'static str) -> DataError {
    DataError::Sampler { name, rule, got, remedy }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_last_batch_of_an_epoch_is_smaller() {
        let epochs = Epochs::new(5, Seed(1)).unwrap();
        let mut cursor = Cursor::default();
        let mut sizes = Vec::new();
        while cursor.epoch < 2 {
            let batch = epochs.batch(cursor, 2).unwrap();
            sizes.push(batch.rows.len());
            cursor = batch.next;
        }
        assert_eq!(sizes, [2, 2, 1, 2, 2, 1]);
        assert_eq!(epochs.batches(2), 3);
        assert_eq!(epochs.batches(5), 1);
    }

    #[test]
    fn epochs_and_seeds_have_their_own_orders() {
        let order = |seed, epoch| Epochs::new(100, Seed(seed)).unwrap().order(epoch);
        assert_ne!(order(1, 0), order(1, 1));
        assert_ne!(order(1, 0), order(2, 0));
        assert_ne!(order(1, 0), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn what_cannot_be_sampled_is_refused() {
        assert!(Epochs::new(0, Seed(0)).is_err());
        let epochs = Epochs::new(3, Seed(0)).unwrap();
        assert!(epochs.batch(Cursor::default(), 0).is_err());
        let message = epochs.batch(Cursor { epoch: 0, position: 3 }, 1).unwrap_err().to_string();
        assert_eq!(
            message,
            "the position to resume at must be below the 3 rows of the data, got 3; resume with the data of that run"
        );
    }

    #[test]
    fn labels_are_spread_evenly() {
        // Two of six: at 1/4 and 3/4, between four at 1/8, 3/8, 5/8 and 7/8.
        let labels = [true, false, false, true, false, false];
        assert_eq!(spread_labels(&[5, 3, 4, 0, 2, 1], &labels), [5, 3, 4, 2, 0, 1]);
        // Half of each: by turns, the wanted ones first.
        assert_eq!(spread_labels(&[0, 1, 2, 3], &[true, true, false, false]), [0, 2, 1, 3]);
        assert_eq!(spread_labels(&[1, 0], &[false, false]), [1, 0]);
        assert!(spread_labels(&[], &[]).is_empty());
    }

    proptest! {
        #[test]
        fn windows_have_both_labels(labels in prop::collection::vec(any::<bool>(), 2..60), seed: u64) {
            let order = Epochs::new(labels.len(), Seed(seed)).unwrap().order(0);
            let spread = spread_labels(&order, &labels);
            let mut sorted = spread.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..labels.len()).collect::<Vec<_>>());
            // Within a label nothing has moved.
            for label in [true, false] {
                let of = |rows: &[usize]| rows.iter().copied().filter(|row| labels[*row] == label).collect::<Vec<_>>();
                prop_assert_eq!(of(&spread), of(&order));
            }
            let wanted = labels.iter().filter(|label| **label).count();
            let (least, most) = (wanted.min(labels.len() - wanted), wanted.max(labels.len() - wanted));
            prop_assume!(least > 0);
            for window in spread.windows((most / least + 2).max(3)) {
                prop_assert!([true, false].iter().all(|label| window.iter().any(|row| labels[*row] == *label)));
            }
        }

        #[test]
        fn every_row_once_an_epoch(rows in 1usize..50, size in 1usize..60, seed: u64) {
            let epochs = Epochs::new(rows, Seed(seed)).unwrap();
            let mut cursor = Cursor::default();
            for epoch in 0..3 {
                let mut seen = Vec::new();
                while cursor.epoch == epoch {
                    let batch = epochs.batch(cursor, size).unwrap();
                    seen.extend(batch.rows);
                    cursor = batch.next;
                }
                seen.sort_unstable();
                prop_assert_eq!(seen, (0..rows).collect::<Vec<_>>());
            }
        }

        #[test]
        fn resuming_gives_the_same_batches(rows in 1usize..50, size in 1usize..60, before in 0usize..20, seed: u64) {
            let run = |mut cursor: Cursor, steps: usize| {
                let epochs = Epochs::new(rows, Seed(seed)).unwrap();
                let mut batches = Vec::new();
                for _ in 0..steps {
                    let batch = epochs.batch(cursor, size).unwrap();
                    cursor = batch.next;
                    batches.push(batch.rows);
                }
                (batches, cursor)
            };
            let (whole, _) = run(Cursor::default(), before + 10);
            let (mut parts, stopped) = run(Cursor::default(), before);
            let saved = serde_json::to_string(&stopped).unwrap();
            parts.extend(run(serde_json::from_str(&saved).unwrap(), 10).0);
            prop_assert_eq!(parts, whole);
        }
    }
}
