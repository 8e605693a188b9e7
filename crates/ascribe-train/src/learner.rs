//! The seam of training: rows to gradients, weight and statistics.

use ascribe_core::Loss;
use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::Tensor;

use crate::TrainError;

/// What some rows gave; pooled by adding, so that a mean over a window weighs every row once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Sum of the losses.
    pub loss: f64,
    /// What the sum is divided by.
    pub weight: f64,
    /// Tokens that went through the model.
    pub tokens: u64,
    /// Named values, one a row, so that an interval can be given as well as a mean.
    pub stats: Vec<(&'static str, Vec<f64>)>,
}

impl Tally {
    /// The sums of a loss of rows whose `tokens` went through the model.
    pub fn of(loss: Loss, tokens: u64) -> Self {
        let host = |tensor: Tensor<1>| tensor.into_data().iter::<f64>().collect::<Vec<f64>>();
        let stats = loss.stats.into_iter().map(|(name, values)| (name, host(values))).collect();
        Self { loss: host(loss.rows).iter().sum(), weight: host(loss.weights).iter().sum(), tokens, stats }
    }

    /// Adds more rows.
    pub fn add(&mut self, more: Tally) {
        self.loss += more.loss;
        self.weight += more.weight;
        self.tokens += more.tokens;
        for (name, values) in more.stats {
            match self.stats.iter_mut().find(|(known, _)| *known == name) {
                Some((_, all)) => all.extend(values),
                None => self.stats.push((name, values)),
            }
        }
    }

    /// The values of one statistic, a row each.
    pub fn values(&self, name: &str) -> &[f64] {
        self.stats.iter().find(|(known, _)| *known == name).map_or(&[], |(_, values)| values)
    }

    /// The loss divided by the weight, then each statistic as a mean over rows; names get `prefix`.
    pub fn means(&self, prefix: &str) -> Vec<(String, f64)> {
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let stats = self.stats.iter().map(|(name, values)| (format!("{prefix}{name}"), mean(values)));
        std::iter::once((format!("{prefix}loss"), self.loss / self.weight)).chain(stats).collect()
    }
}

/// Gradients of the *summed* loss of some rows, with the sums.
pub struct Learned {
    /// Gradients of the sum of the losses.
    pub gradients: GradientsParams,
    /// The sums themselves.
    pub tally: Tally,
}

impl Learned {
    /// The sums over `rows`, of which `learn` is given at most `batch` at once.
    ///
    /// # Errors
    /// As `learn`.
    pub fn in_batches<M: Module, R>(
        model: &M,
        rows: &[&R],
        batch: usize,
        learn: impl Fn(&[&R]) -> Result<Self, TrainError>,
    ) -> Result<Self, TrainError> {
        if rows.len() <= batch {
            return learn(rows);
        }
        let batches: Vec<&[&R]> = rows.chunks(batch.max(1)).collect();
        Self::over(model, &batches, learn)
    }

    /// The sums over `batches`, of which `learn` is given one after the other.
    ///
    /// # Errors
    /// As `learn`.
    pub fn over<M: Module, R>(
        model: &M,
        batches: &[&[&R]],
        learn: impl Fn(&[&R]) -> Result<Self, TrainError>,
    ) -> Result<Self, TrainError> {
        if let [rows] = *batches {
            return learn(rows);
        }
        let (mut sums, mut tally) = (GradientsAccumulator::new(), Tally::default());
        for rows in batches.iter().copied() {
            let learned = learn(rows)?;
            sums.accumulate(model, learned.gradients);
            tally.add(learned.tally);
        }
        Ok(Self { gradients: sums.grads(), tally })
    }
}

/// A way to learn from rows.
pub trait Learner {
    /// What is trained.
    type Model: Module;
    /// What it is trained on.
    type Row;

    /// Gradients of the summed loss of `rows`.
    fn learn(&self, model: &Self::Model, rows: &[&Self::Row]) -> Result<Learned, TrainError>;

    /// The sums alone, without gradients, for a model that is not trained.
    fn measure(&self, model: &Self::Model, rows: &[&Self::Row]) -> Result<Tally, TrainError>;

    /// Gradients of the summed loss of a whole optimizer window, of which at most `batch` rows go through the model at
    /// once. A learner whose rows depend on each other overrides it.
    ///
    /// # Errors
    /// As [`Learner::learn`].
    fn learn_window(&self, model: &Self::Model, rows: &[&Self::Row], batch: usize) -> Result<Learned, TrainError> {
        Learned::in_batches(model, rows, batch, |rows| self.learn(model, rows))
    }

    /// The same when the share `progress` of training is done, from 0 before the first step to below 1 before the last. A learner
    /// whose loss changes on the way overrides it.
    ///
    /// # Errors
    /// As [`Learner::learn`].
    fn learn_window_at(
        &self,
        model: &Self::Model,
        rows: &[&Self::Row],
        batch: usize,
        _progress: f64,
    ) -> Result<Learned, TrainError> {
        self.learn_window(model, rows, batch)
    }

    /// Tokens that go through the model for `rows` at once, where what they share counts once. `None`, which does not depend on the
    /// rows, says that a window is not cut by tokens: its rows have to go through the model together, or others with them.
    /// Rows that [`Learner::learn`] refuses count nothing.
    fn tokens(&self, _rows: &[&Self::Row]) -> Option<usize> {
        None
    }

    /// The same as [`Learner::learn_window_at`] of a window that goes through the model in `batches`. A learner whose rows depend
    /// on each other overrides it, or does not count [tokens](Learner::tokens).
    ///
    /// # Errors
    /// As [`Learner::learn`].
    fn learn_batches(
        &self,
        model: &Self::Model,
        batches: &[&[&Self::Row]],
        progress: f64,
    ) -> Result<Learned, TrainError> {
        Learned::over(model, batches, |rows| self.learn_window_at(model, rows, rows.len(), progress))
    }

    /// The sums alone over rows that are measured together, of which at most `batch` go through the model at once.
    ///
    /// # Errors
    /// As [`Learner::measure`].
    fn measure_window(&self, model: &Self::Model, rows: &[&Self::Row], batch: usize) -> Result<Tally, TrainError> {
        let mut tally = Tally::default();
        for rows in rows.chunks(batch.max(1)) {
            tally.add(self.measure(model, rows)?);
        }
        Ok(tally)
    }

    /// What is remembered from window to window, for a checkpoint; as bits where it is a number, so that nothing is rounded.
    fn memory(&self) -> Vec<u64> {
        Vec::new()
    }

    /// Takes back what [`Learner::memory`] gave.
    ///
    /// # Errors
    /// When it is the memory of another learner.
    fn remember(&self, _memory: &[u64]) -> Result<(), TrainError> {
        Ok(())
    }
}
