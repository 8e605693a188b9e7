//! Pairs of several sources, weighed by the gradients of the head: MORE, arXiv:2312.07401.
//!
//! ```text
//! gradient = m sum_i lambda_i (gradient of the summed Bradley-Terry loss of source i),  divided by the number of all pairs
//! ```
//! The lambda come from the gradients of the head alone, each a mean over the pairs of its source ([`More`]), and weigh those of
//! the whole network. Each source goes through the model by itself, so a step costs what it costs without them. Without
//! resampling m counts the sources that a step has.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ascribe_lm::Decoder;
use ascribe_train::{Learned, Learner, Tally, TrainError, scaled};
use burn::optim::GradientsAccumulator;

use super::{RewardLearner, RewardRow};
use crate::RewardError;
use crate::error::option;
use crate::losses::{BradleyTerry, BradleyTerryConfig};
use crate::weights::More;

/// A pair, and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct SourcedPair {
    /// The chosen response and the rejected one, without labels.
    pub pair: RewardRow,
    /// The number of its source, from 0.
    pub source: usize,
}

/// Trains a [`Decoder`] with a head of one score on pairs of several sources, of which none is to lose.
pub struct SourceLearner {
    loss: BradleyTerry,
    sources: usize,
    resampled: bool,
    more: Mutex<More>,
}

impl SourceLearner {
    /// A learner for so many sources; in the memory of their gradients each new one has the share `share` (1 remembers nothing).
    ///
    /// # Errors
    /// Without a source, or unless the share is in (0, 1].
    pub fn new(sources: usize, share: f64) -> Result<Self, RewardError> {
        option("sources", "at least 1", sources as f64, sources >= 1)?;
        let loss = BradleyTerryConfig::default().init()?;
        Ok(Self { loss, sources, resampled: true, more: Mutex::new(More::new(share)?) })
    }

    /// The same where an optimizer step may lack sources: the others are weighed, and what is remembered of those that it lacks
    /// stays.
    #[must_use]
    pub fn without_resampling(self) -> Self {
        Self { resampled: false, ..self }
    }

    fn learner(&self) -> RewardLearner<'_> {
        RewardLearner { loss: &self.loss }
    }

    fn more(&self) -> MutexGuard<'_, More> {
        self.more.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pairs of each source.
    fn by_source<'r>(&self, rows: &[&'r SourcedPair]) -> Result<Vec<Vec<&'r RewardRow>>, RewardError> {
        let mut all: Vec<Vec<&'r RewardRow>> = vec![Vec::new(); self.sources];
        for row in rows {
            let row: &'r SourcedPair = row;
            let accepted = row.source < self.sources;
            option("a source", "below the number of sources", row.source as f64, accepted)?;
            all[row.source].push(&row.pair);
        }
        if let Some(absent) = all.iter().position(Vec::is_empty).filter(|_| self.resampled) {
            let rule =
                "an optimizer step needs pairs of every source; take larger windows, sample by source, or allow it";
            return Err(RewardError::Shape { rule, got: format!("none of source {absent}") });
        }
        Ok(all)
    }
}

fn pairs<'r>(rows: &[&'r SourcedPair]) -> Vec<&'r RewardRow> {
    rows.iter().map(|row| &row.pair).collect()
}

impl Learner for SourceLearner {
    type Model = Decoder;
    type Row = SourcedPair;

    fn learn(&self, model: &Decoder, rows: &[&SourcedPair]) -> Result<Learned, TrainError> {
        self.learn_window(model, rows, rows.len())
    }

    fn measure(&self, model: &Decoder, rows: &[&SourcedPair]) -> Result<Tally, TrainError> {
        self.learner().measure(model, &pairs(rows))
    }

    fn learn_window(&self, model: &Decoder, rows: &[&SourcedPair], batch: usize) -> Result<Learned, TrainError> {
        let (mut learned, mut slopes) = (Vec::with_capacity(self.sources), Vec::with_capacity(self.sources));
        for pairs in self.by_source(rows)? {
            if pairs.is_empty() {
                slopes.push(None);
                continue;
            }
            let one = self.learner().learn_window(model, &pairs, batch)?;
            let n = pairs.len() as f64;
            slopes.push(Some(model.head_gradient(&one.gradients).into_iter().map(|x| x / n).collect::<Vec<f64>>()));
            learned.push(one);
        }
        let slopes: Vec<Option<&[f64]>> = slopes.iter().map(Option::as_deref).collect();
        let weights = self.more().weights_of_present(&slopes)?;
        let present = weights.into_iter().zip(&slopes).filter(|(_, slope)| slope.is_some());
        let lambda: Vec<f64> = present.map(|(weight, _)| weight).collect();
        let (mut sums, mut tally) = (GradientsAccumulator::new(), Tally::default());
        let sources = lambda.len() as f64;
        for (one, lambda) in learned.into_iter().zip(&lambda) {
            let factor = sources * lambda;
            sums.accumulate(model, scaled(model, one.gradients, factor));
            tally.add(Tally { loss: factor * one.tally.loss, ..one.tally });
        }
        tally.stats.push(("sources/weight_max", vec![lambda.iter().copied().fold(0.0, f64::max)]));
        tally.stats.push(("sources/weight_min", vec![lambda.iter().copied().fold(1.0, f64::min)]));
        Ok(Learned { gradients: sums.grads(), tally })
    }

    fn measure_window(&self, model: &Decoder, rows: &[&SourcedPair], batch: usize) -> Result<Tally, TrainError> {
        self.learner().measure_window(model, &pairs(rows), batch)
    }

    fn memory(&self) -> Vec<u64> {
        self.more().memory()
    }

    fn remember(&self, memory: &[u64]) -> Result<(), TrainError> {
        Ok(self.more().remember(memory)?)
    }
}
