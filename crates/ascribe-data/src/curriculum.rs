//! Curricula: how much of the data each epoch has, and which rows. Cyclical curriculum learning, arXiv:2202.05531, and its
//! public code.
//!
//! ```text
//! fraction of the next epoch:  n / alpha, at most `end`, while the cycle rises;   n alpha, at least `start`, while it falls
//! up: it rises and stays at `end`;   down: it falls from `end` and stays at `start`;   sharp: `start` and `end` in turn
//! rows of an epoch:  floor(rows * fraction) without replacement, each with a probability in proportion to its weight
//! ```
//! What is drawn first with a probability in proportion to weights is what has the largest `log weight + Gumbel noise`, so an
//! epoch is one sort, and seed and epoch decide it alone. The rows of an epoch are then mixed. The three other ways are our reading
//! of their names.

use ascribe_core::Seed;
use rand::RngExt;
use rand::seq::SliceRandom;

use crate::{Batch, Cursor, DataError};

/// How fractions follow one another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pacing {
    /// They rise and fall.
    #[default]
    Cyclical,
    /// They rise.
    Up,
    /// They fall.
    Down,
    /// The least and the largest in turn.
    Sharp,
}

/// Fractions of the data that rise and fall.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cyclical {
    /// The least fraction, and the first; above 0.
    pub start: f64,
    /// The largest fraction; at least `start` and at most 1.
    pub end: f64,
    /// What a fraction is divided by while they rise; between 0 and 1.
    pub alpha: f64,
}

impl Default for Cyclical {
    fn default() -> Self {
        Self { start: 0.25, end: 1.0, alpha: 0.5 }
    }
}

impl Cyclical {
    /// The fraction of each epoch, until together they come to `passes` passes over the data.
    ///
    /// # Errors
    /// When an option is out of its range.
    ///
    /// ```
    /// use ascribe_data::Cyclical;
    /// let fractions = Cyclical::default().fractions(5.0)?;
    /// assert_eq!(fractions, [0.25, 0.5, 1.0, 0.5, 0.25, 0.5, 1.0, 0.5, 0.25, 0.5]);
    /// # Ok::<(), ascribe_data::DataError>(())
    /// ```
    pub fn fractions(&self, passes: f64) -> Result<Vec<f64>, DataError> {
        self.paced(Pacing::Cyclical, passes)
    }

    /// The same in another way.
    ///
    /// # Errors
    /// As [`Cyclical::fractions`].
    pub fn paced(&self, pacing: Pacing, passes: f64) -> Result<Vec<f64>, DataError> {
        let Self { start, end, alpha } = *self;
        let range = |name, rule, got, accepted: bool| match accepted {
            true => Ok(()),
            false => Err(DataError::Curriculum { name, rule, got }),
        };
        range("the least fraction", "above 0 and at most 1", start, start > 0.0 && start <= 1.0)?;
        range("the largest fraction", "at least the least and at most 1", end, (start..=1.0).contains(&end))?;
        range("alpha", "between 0 and 1", alpha, alpha > 0.0 && alpha < 1.0)?;
        range("the number of passes", "finite and above 0", passes, passes > 0.0 && passes.is_finite())?;
        let first = if pacing == Pacing::Down { end } else { start };
        let (mut fractions, mut sum) = (vec![first], first);
        while sum < passes {
            let here = fractions[fractions.len() - 1];
            let rises = fractions.len() > 1 && fractions[fractions.len() - 2] < here;
            let rises = match pacing {
                Pacing::Cyclical => here == start || (rises && here != end),
                Pacing::Up => true,
                Pacing::Down => false,
                Pacing::Sharp => here == start,
            };
            let next = match (pacing, rises) {
                (Pacing::Sharp, true) => end,
                (Pacing::Sharp, false) => start,
                (_, true) => (here / alpha).min(end),
                (_, false) => (here * alpha).max(start),
            };
            fractions.push(next);
            sum += next;
        }
        Ok(fractions)
    }
}

/// What makes a row easy: easy rows are drawn more often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ease {
    /// A small loss under a model that was trained without a curriculum: weight `1 / (loss + 1e-6)`.
    Loss,
    /// A large margin of a pair: weight `exp(margin)`.
    Margin,
    /// Few tokens: weight `1 / length`.
    Length,
}

impl Ease {
    /// The logarithm of the weight of each row. `anti` turns it round: hard rows are drawn more often.
    ///
    /// # Errors
    /// When a loss is below 0, a length is not above 0, or a value is NaN or infinite.
    pub fn log_weights(self, values: &[f64], anti: bool) -> Result<Vec<f64>, DataError> {
        let one = |value: &f64| {
            let value = *value;
            let (name, rule, accepted) = match self {
                Self::Loss => ("a loss", "finite and at least 0", value >= 0.0),
                Self::Margin => ("a margin", "finite", true),
                Self::Length => ("a length", "finite and above 0", value > 0.0),
            };
            if !(accepted && value.is_finite()) {
                return Err(DataError::Curriculum { name, rule, got: value });
            }
            let weight = match self {
                Self::Loss => -(value + 1e-6).ln(),
                Self::Margin => value,
                Self::Length => -value.ln(),
            };
            Ok(if anti { -weight } else { weight })
        };
        values.iter().map(one).collect()
    }
}

/// Rows by a curriculum: an epoch has a part of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Curriculum {
    log_weights: Vec<f64>,
    fractions: Vec<f64>,
    seed: Seed,
}

impl Curriculum {
    /// Epochs of these fractions over rows of these weights, for batches of `batch` rows.
    ///
    /// # Errors
    /// When there is no row or no epoch, a number is out of its range, or an epoch would have fewer rows than a batch.
    pub fn new(log_weights: Vec<f64>, fractions: Vec<f64>, batch: usize, seed: Seed) -> Result<Self, DataError> {
        if let Some(got) = log_weights.iter().find(|weight| !weight.is_finite()) {
            return Err(DataError::Curriculum { name: "the logarithm of a weight", rule: "finite", got: *got });
        }
        if let Some(got) = fractions.iter().find(|fraction| !(**fraction > 0.0 && **fraction <= 1.0)) {
            return Err(DataError::Curriculum { name: "a fraction", rule: "above 0 and at most 1", got: *got });
        }
        let this = Self { log_weights, fractions, seed };
        let fewest = (0..this.epochs()).map(|epoch| this.rows(epoch)).min().unwrap_or(0);
        if fewest < batch.max(1) {
            let (name, rule) = ("the number of rows of an epoch", format!("at least the {} of a batch", batch.max(1)));
            let remedy = "; raise the least fraction, or use smaller batches";
            return Err(DataError::Sampler { name, rule, got: fewest, remedy });
        }
        Ok(this)
    }

    /// Number of epochs.
    pub fn epochs(&self) -> usize {
        self.fractions.len()
    }

    /// Number of rows of an epoch; 0 behind the last.
    pub fn rows(&self, epoch: usize) -> usize {
        let fraction = self.fractions.get(epoch).copied().unwrap_or(0.0);
        (self.log_weights.len() as f64 * fraction).floor() as usize
    }

    /// Batches of `size` rows in all epochs, the smaller ones at their ends included. `size` is at least 1.
    pub fn batches(&self, size: usize) -> usize {
        (0..self.epochs()).map(|epoch| self.rows(epoch).div_ceil(size.max(1))).sum()
    }

    /// The rows of an epoch, in the order of training.
    pub fn order(&self, epoch: usize) -> Vec<usize> {
        let mut stream = self.seed.stream("curriculum", epoch as u64);
        let mut keys: Vec<(f64, usize)> = Vec::with_capacity(self.log_weights.len());
        for (row, weight) in self.log_weights.iter().enumerate() {
            // Never 0 nor 1, so both logarithms are finite.
            let uniform = (stream.random::<f64>() + f64::EPSILON / 4.0).min(1.0 - f64::EPSILON / 2.0);
            keys.push((weight - (-uniform.ln()).ln(), row));
        }
        keys.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut order: Vec<usize> = keys.into_iter().take(self.rows(epoch)).map(|(_, row)| row).collect();
        order.shuffle(&mut stream);
        order
    }

    /// The batch at `cursor`, of `size` rows or of those that are left of the epoch.
    ///
    /// # Errors
    /// [`DataError::Sampler`] for a size of 0 or a cursor behind the last row of its epoch.
    pub fn batch(&self, cursor: Cursor, size: usize) -> Result<Batch, DataError> {
        let Cursor { epoch, position } = cursor;
        let rows = usize::try_from(epoch).map_or(0, |epoch| self.rows(epoch));
        if size == 0 {
            let (name, rule) = ("the batch size", "at least 1".to_owned());
            return Err(DataError::Sampler { name, rule, got: size, remedy: "" });
        }
        if position >= rows {
            let (name, rule) = ("the position to resume at", format!("below the {rows} rows of epoch {epoch}"));
            let remedy = "; resume with the data and the curriculum of that run";
            return Err(DataError::Sampler { name, rule, got: position, remedy });
        }
        let end = position.saturating_add(size).min(rows);
        let rows_of_batch = self.order(epoch as usize)[position..end].to_vec();
        let next = match end == rows {
            true => Cursor { epoch: epoch + 1, position: 0 },
            false => Cursor { epoch, position: end },
        };
        Ok(Batch { rows: rows_of_batch, next })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_cycle_from_all_to_all_is_none() {
        let plain = Cyclical { start: 1.0, end: 1.0, alpha: 0.5 };
        assert_eq!(plain.fractions(3.0).unwrap(), [1.0; 3]);
        for wrong in [
            Cyclical { alpha: 1.0, ..Cyclical::default() },
            Cyclical { alpha: 0.0, ..Cyclical::default() },
            Cyclical { alpha: f64::NAN, ..Cyclical::default() },
            Cyclical { start: 0.0, ..Cyclical::default() },
            Cyclical { start: 0.5, end: 0.4, ..Cyclical::default() },
            Cyclical { end: 1.1, ..Cyclical::default() },
        ] {
            assert!(wrong.fractions(2.0).is_err(), "{wrong:?}");
        }
        assert!(Cyclical::default().fractions(0.0).is_err() && Cyclical::default().fractions(f64::INFINITY).is_err());
    }

    #[test]
    fn other_ways_by_hand() {
        let paced = |pacing| Cyclical::default().paced(pacing, 3.0).unwrap();
        assert_eq!(paced(Pacing::Up), [0.25, 0.5, 1.0, 1.0, 1.0]);
        assert_eq!(paced(Pacing::Down), [1.0, 0.5, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25]);
        assert_eq!(paced(Pacing::Sharp), [0.25, 1.0, 0.25, 1.0, 0.25, 1.0]);
        assert_eq!(paced(Pacing::Cyclical), Cyclical::default().fractions(3.0).unwrap());
        let whole = Cyclical { start: 1.0, end: 1.0, alpha: 0.5 };
        for pacing in [Pacing::Up, Pacing::Down, Pacing::Sharp] {
            assert_eq!(whole.paced(pacing, 2.0).unwrap(), [1.0, 1.0]);
        }
    }

    #[test]
    fn what_is_easy_weighs_more_by_hand() {
        let close = |got: Vec<f64>, expected: &[f64]| {
            assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{got:?} beside {expected:?}");
        };
        close(Ease::Loss.log_weights(&[1.0, 0.5], false).unwrap(), &[0.0, 2.0f64.ln()]);
        close(Ease::Loss.log_weights(&[1.0, 0.5], true).unwrap(), &[0.0, -(2.0f64.ln())]);
        close(Ease::Margin.log_weights(&[-1.0, 3.0], false).unwrap(), &[-1.0, 3.0]);
        close(Ease::Length.log_weights(&[4.0], false).unwrap(), &[-(4.0f64.ln())]);
        assert!(Ease::Loss.log_weights(&[0.0], false).is_ok());
        assert!(Ease::Loss.log_weights(&[-0.1], false).is_err());
        assert!(Ease::Length.log_weights(&[0.0], false).is_err());
        assert!(Ease::Margin.log_weights(&[f64::NAN], false).is_err());
    }

    #[test]
    fn the_first_row_is_drawn_in_proportion_to_its_weight() {
        // Weights 1, 2 and 5 of 8, one row of three: in 4000 epochs with a standard error of at most 0.008.
        let weights = [1.0f64, 2.0, 5.0];
        let logs = weights.iter().map(|weight| weight.ln()).collect();
        let one = Curriculum::new(logs, vec![0.34; 4000], 1, Seed(3)).unwrap();
        let mut counts = [0usize; 3];
        (0..4000).for_each(|epoch| counts[one.order(epoch)[0]] += 1);
        for (count, weight) in counts.iter().zip(weights) {
            assert!((*count as f64 / 4000.0 - weight / 8.0).abs() < 0.04, "{counts:?}");
        }
    }

    #[test]
    fn epochs_with_less_than_a_batch_are_refused() {
        let new = |rows: usize, batch| Curriculum::new(vec![0.0; rows], vec![0.25, 1.0], batch, Seed(0));
        assert!(new(16, 4).is_ok());
        let message = new(15, 4).unwrap_err().to_string();
        assert!(
            message.contains("the number of rows of an epoch must be at least the 4 of a batch, got 3"),
            "{message}"
        );
        assert!(new(0, 1).is_err());
        assert!(Curriculum::new(vec![0.0; 4], Vec::new(), 1, Seed(0)).is_err());
        assert!(Curriculum::new(vec![f64::NAN], vec![1.0], 1, Seed(0)).is_err());
        assert!(Curriculum::new(vec![0.0], vec![1.5], 1, Seed(0)).is_err());
        let sound = new(16, 4).unwrap();
        assert_eq!((sound.rows(0), sound.rows(1), sound.rows(2), sound.batches(5)), (4, 16, 0, 1 + 4));
        assert!(sound.batch(Cursor { epoch: 0, position: 4 }, 1).is_err());
        assert!(sound.batch(Cursor { epoch: 2, position: 0 }, 1).is_err());
        assert!(sound.batch(Cursor::default(), 0).is_err());
    }

    proptest! {
        #[test]
        fn fractions_stay_in_their_range(start in 0.05..1.0f64, more in 0.0..1.0f64, alpha in 0.1..0.9f64, passes in 0.5..9.0f64) {
            let cycle = Cyclical { start, end: start + more * (1.0 - start), alpha };
            for pacing in [Pacing::Cyclical, Pacing::Up, Pacing::Down, Pacing::Sharp] {
                let fractions = cycle.paced(pacing, passes).unwrap();
                prop_assert!(fractions.iter().all(|fraction| (cycle.start..=cycle.end).contains(fraction)));
                prop_assert!(fractions.iter().sum::<f64>() >= passes - 1e-9);
                prop_assert!(fractions[..fractions.len() - 1].iter().sum::<f64>() < passes);
            }
        }

        #[test]
        fn an_epoch_has_no_row_twice_and_a_whole_one_has_all(
            weights in prop::collection::vec(-30.0..30.0f64, 4..40), seed: u64, size in 1usize..9,
        ) {
            let n = weights.len();
            let curriculum = Curriculum::new(weights, vec![0.5, 1.0], 1, Seed(seed)).unwrap();
            let mut cursor = Cursor::default();
            let mut seen: Vec<Vec<usize>> = vec![Vec::new(); 2];
            let mut batches = 0;
            while cursor.epoch < 2 {
                let batch = curriculum.batch(cursor, size).unwrap();
                seen[cursor.epoch as usize].extend(&batch.rows);
                cursor = batch.next;
                batches += 1;
            }
            prop_assert_eq!(batches, curriculum.batches(size));
            prop_assert_eq!(seen[0].len(), n / 2);
            for rows in &mut seen {
                let drawn = rows.len();
                rows.sort_unstable();
                rows.dedup();
                prop_assert_eq!(rows.len(), drawn);
            }
            prop_assert_eq!(&seen[1], &(0..n).collect::<Vec<_>>());
            prop_assert_eq!(curriculum.order(1), curriculum.order(1));
        }
    }
}
