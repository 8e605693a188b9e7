//! Losses beside the one on pairs of scores: the language itself, and a contrast of responses under two dropout masks.
//!
//! ```text
//! loss = L_rm + c NLL(chosen) + beta L_cl
//! NLL = -mean over the tokens of the chosen response of log p(token | before),   p by the head of the next token, as it was
//! L_cl = SimCSE or SwAV on the states of all responses, or on the differences of both sides of each pair
//! ```
//! NLL: the code of MOSS-RLHF and of the general preference model (arXiv:2410.02197), where c is 0.01. A reward model keeps no
//! head of the next token, so that of the model that it began with stands beside it and is not trained. L_cl: Secrets of RLHF
//! II, arXiv:2401.06080. With it L_rm is the mean over the states as they are and under both masks. The decoder has no dropout
//! of its own, so a mask falls on what the head reads; the masks of a window hang on the seed and the number of the window.
//! Prototypes of SwAV are drawn at first, take a step of plain gradient descent a window, and have length 1; they are no part
//! of the model.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ascribe_core::{Loss, Seed};
use ascribe_lm::{Decoder, FeaturePass, NextTokenHead};
use ascribe_train::{Learned, Learner, Tally, TrainError};
use burn::tensor::Tensor;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::learner::size;
use super::{RewardLearner, RewardRow};
use crate::error::option;
use crate::losses::{Swav, differences, sim_cse, swav};
use crate::math::{dot, host, tensor, widened};
use crate::{RewardError, RewardLoss};

/// What is told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContrastItems {
    /// Every response: the best of the paper's four variants, with SimCSE.
    #[default]
    Responses,
    /// The difference of chosen and rejected response of each pair, and its negative.
    Differences,
}

/// Options of a contrast.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContrastConfig {
    /// What is told apart.
    pub items: ContrastItems,
    /// Weight beside the reward loss; finite and at least 0.
    pub weight: f64,
    /// Temperature; finite and above 0.
    pub tau: f64,
    /// Share of a state that each mask takes away, in [0, 1); at 0 both sides of an item are the same, which is trivial.
    pub dropout: f64,
    /// Prototypes of SwAV; 0 for SimCSE.
    pub prototypes: usize,
    /// Rate of their gradient descent; finite and at least 0.
    pub prototype_rate: f64,
}

impl Default for ContrastConfig {
    fn default() -> Self {
        Self {
            items: ContrastItems::Responses,
            weight: 1.0,
            tau: 0.05,
            dropout: 0.1,
            prototypes: 0,
            prototype_rate: 0.1,
        }
    }
}

impl ContrastConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// When one is out of its range.
    pub fn check(&self) -> Result<(), RewardError> {
        let finite = |x: f64| 0.0 <= x && x.is_finite();
        option("the weight of the contrast", "finite and at least 0", self.weight, finite(self.weight))?;
        let tau = 0.0 < self.tau && self.tau.is_finite();
        option("the temperature of the contrast", "finite and above 0, such as 0.05", self.tau, tau)?;
        let dropout = (0.0..1.0).contains(&self.dropout);
        option("the dropout of the contrast", "in [0, 1), such as 0.1", self.dropout, dropout)?;
        option("prototypes", "0 for SimCSE, or at least 2", self.prototypes as f64, self.prototypes != 1)?;
        option("the rate of prototypes", "finite and at least 0", self.prototype_rate, finite(self.prototype_rate))
    }
}

/// A contrast with what it remembers.
struct Contrast {
    config: ContrastConfig,
    seed: Seed,
    state: Mutex<State>,
}

/// What a contrast remembers.
#[derive(Clone, Debug, Default)]
struct State {
    /// Windows that were learned from.
    windows: u64,
    /// Prototypes, one after another; none before the first window, or with SimCSE.
    prototypes: Vec<f64>,
}

/// Rows brought to length 1.
fn unit(rows: &mut [f64], width: usize) {
    for row in rows.chunks_mut(width.max(1)) {
        let length = dot(row, row).sqrt();
        if length > 0.0 {
            row.iter_mut().for_each(|x| *x /= length);
        }
    }
}

impl Contrast {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether so many numbers can be its prototypes.
    fn fits(&self, numbers: usize) -> bool {
        numbers == 0 || (self.config.prototypes > 0 && numbers.is_multiple_of(self.config.prototypes))
    }

    /// The states under the two masks of a window, `[n, hidden]` each.
    fn masked(&self, features: &Tensor<2>, window: u64) -> [Tensor<2>; 2] {
        let ([n, width], kept) = (features.dims(), 1.0 - self.config.dropout);
        let mut stream = self.seed.stream("dropout", window);
        [(); 2].map(|()| {
            let mut draw = || if stream.random::<f64>() < kept { 1.0 / kept } else { 0.0 };
            let mask: Vec<f64> = (0..n * width).map(|_| draw()).collect();
            features.clone() * tensor(mask, [n, width], features) // [n, hidden]
        })
    }

    /// The loss of each item, `[2 * pairs]`, from the states of chosen responses and then of rejected ones under each mask; a
    /// step of the prototypes, where there are any.
    fn loss(&self, [first, second]: [Tensor<2>; 2]) -> Result<Tensor<1>, RewardError> {
        let items = |states: Tensor<2>| match self.config.items {
            ContrastItems::Responses => Ok(states),
            ContrastItems::Differences => {
                let pairs = states.dims()[0] / 2;
                differences(states.clone().narrow(0, 0, pairs), states.narrow(0, pairs, pairs)) // [2 pairs, hidden]
            }
        };
        let (first, second) = (items(first)?, items(second)?); // [2 pairs, hidden]
        let ContrastConfig { tau, prototypes: k, prototype_rate: rate, .. } = self.config;
        if k == 0 {
            return sim_cse(first, second, tau);
        }
        let width = first.dims()[1];
        let mut state = self.state();
        if state.prototypes.is_empty() {
            let mut stream = self.seed.stream("prototypes", 0);
            state.prototypes = (0..k * width).map(|_| 2.0 * stream.random::<f64>() - 1.0).collect();
            unit(&mut state.prototypes, width);
        }
        let options = Swav { tau, ..Swav::default() };
        let fixed: Tensor<2> = tensor(state.prototypes.clone(), [k, width], &first); // [k, hidden]
        let losses = swav(first.clone(), second.clone(), fixed.clone(), options)?; // [2 pairs]
        if rate > 0.0 {
            let moving = fixed.autodiff().require_grad(); // [k, hidden]
            let gradients = swav(first.detach(), second.detach(), moving.clone(), options)?.mean().backward();
            if let Some(slope) = moving.grad(&gradients) {
                let slopes = host(slope);
                state.prototypes.iter_mut().zip(slopes).for_each(|(x, slope)| *x -= rate * slope);
                unit(&mut state.prototypes, width);
            }
        }
        Ok(losses)
    }
}

/// Trains a [`Decoder`] with a head of sequences by a loss on pairs and by auxiliary losses beside it. Rows are measured by the
/// loss on pairs alone.
pub struct AuxiliaryLearner<'a> {
    learner: RewardLearner<'a>,
    language: Option<(NextTokenHead, f64)>,
    contrast: Option<Contrast>,
}

impl<'a> AuxiliaryLearner<'a> {
    /// A learner of `loss` with nothing beside it yet.
    ///
    /// # Errors
    /// Unless a row of the loss is a pair.
    pub fn new(loss: &'a dyn RewardLoss) -> Result<Self, RewardError> {
        let responses = loss.needs().responses;
        let rule = "2 beside auxiliary losses, the chosen one and the rejected one";
        option("the responses of a row", rule, responses as f64, responses == 2)?;
        Ok(Self { learner: RewardLearner { loss }, language: None, contrast: None })
    }

    /// The same with the negative log-likelihood of the chosen response by `head`, of this weight.
    ///
    /// # Errors
    /// Unless the weight is finite and at least 0.
    pub fn with_language(self, head: NextTokenHead, weight: f64) -> Result<Self, RewardError> {
        let accepted = 0.0 <= weight && weight.is_finite();
        option("the weight of the language loss", "finite and at least 0, such as 0.01", weight, accepted)?;
        Ok(Self { language: Some((head, weight)), ..self })
    }

    /// The same with a contrast of responses. A window goes through the model at once then, because every response sees all
    /// others.
    ///
    /// # Errors
    /// As [`ContrastConfig::check`].
    pub fn with_contrast(self, config: ContrastConfig, seed: Seed) -> Result<Self, RewardError> {
        config.check()?;
        Ok(Self { contrast: Some(Contrast { config, seed, state: Mutex::default() }), ..self })
    }

    /// The loss of these states, `[2 * rows, hidden]`, with the contrast of them, if there is one.
    fn contrasted(
        &self,
        model: &Decoder,
        rows: &[&RewardRow],
        features: &Tensor<2>,
        progress: f64,
    ) -> Result<Loss, RewardError> {
        let loss_of = |states: Tensor<2>| self.learner.loss(rows, model.sequence_scores(states), progress);
        let mut loss = loss_of(features.clone())?;
        let Some(contrast) = &self.contrast else { return Ok(loss) };
        let window = {
            let mut state = contrast.state();
            state.windows += 1;
            state.windows - 1
        };
        let views = contrast.masked(features, window); // [2 * rows, hidden] each
        for view in &views {
            loss.rows = loss.rows + loss_of(view.clone())?.rows;
        }
        let pairs = contrast.loss(views.map(widened))?.reshape([2, rows.len()]).mean_dim(0).squeeze_dim::<1>(0); // [rows]
        loss.rows = loss.rows.div_scalar(3.0) + pairs.clone().mul_scalar(contrast.config.weight);
        Ok(loss.stat("contrast/loss", pairs))
    }

    fn learn_at(&self, model: &Decoder, rows: &[&RewardRow], progress: f64) -> Result<Learned, TrainError> {
        let asked = self.learner.asked(rows)?;
        // The chosen responses come first.
        let predicted = if self.language.is_some() { rows.len() } else { 0 };
        let FeaturePass { features, predictors, backward } = model.feature_pass(&asked, predicted)?;
        let mut loss = self.contrasted(model, rows, &features, progress)?;
        if let (Some((head, weight)), Some(at)) = (&self.language, &predictors) {
            let nll = at.mask().mean(widened(head.logps(at))).neg(); // [rows]
            loss.rows = loss.rows + nll.clone().mul_scalar(*weight);
            loss = loss.stat("language/nll", nll);
        }
        let gradients = backward.gradients(model, loss.rows.clone().sum());
        Ok(Learned { gradients, tally: Tally::of(loss, size(&asked)) })
    }
}

impl Learner for AuxiliaryLearner<'_> {
    type Model = Decoder;
    type Row = RewardRow;

    fn learn(&self, model: &Decoder, rows: &[&RewardRow]) -> Result<Learned, TrainError> {
        self.learn_at(model, rows, 1.0)
    }

    fn measure(&self, model: &Decoder, rows: &[&RewardRow]) -> Result<Tally, TrainError> {
        self.learner.measure(model, rows)
    }

    fn learn_window(&self, model: &Decoder, rows: &[&RewardRow], batch: usize) -> Result<Learned, TrainError> {
        self.learn_window_at(model, rows, batch, 1.0)
    }

    fn learn_window_at(
        &self,
        model: &Decoder,
        rows: &[&RewardRow],
        batch: usize,
        progress: f64,
    ) -> Result<Learned, TrainError> {
        let coupled = self.contrast.is_some() || self.learner.loss.needs().coupled;
        let batch = if coupled { rows.len() } else { batch };
        Learned::in_batches(model, rows, batch, |rows| self.learn_at(model, rows, progress))
    }

    fn tokens(&self, rows: &[&RewardRow]) -> Option<usize> {
        if self.contrast.is_some() { None } else { self.learner.tokens(rows) }
    }

    fn measure_window(&self, model: &Decoder, rows: &[&RewardRow], batch: usize) -> Result<Tally, TrainError> {
        self.learner.measure_window(model, rows, batch)
    }

    fn memory(&self) -> Vec<u64> {
        let Some(contrast) = &self.contrast else { return Vec::new() };
        let state = contrast.state();
        std::iter::once(state.windows).chain(state.prototypes.iter().map(|x| x.to_bits())).collect()
    }

    fn remember(&self, memory: &[u64]) -> Result<(), TrainError> {
        match (&self.contrast, memory) {
            (None, []) => Ok(()),
            (Some(contrast), [windows, prototypes @ ..]) if contrast.fits(prototypes.len()) => {
                let prototypes = prototypes.iter().map(|bits| f64::from_bits(*bits)).collect();
                *contrast.state() = State { windows: *windows, prototypes };
                Ok(())
            }
            (contrast, _) => {
                let rule = "the memory of a learner is taken back by one with the same auxiliary losses";
                let got = format!("{} numbers, contrast: {}", memory.len(), contrast.is_some());
                Err(RewardError::Shape { rule, got }.into())
            }
        }
    }
}
