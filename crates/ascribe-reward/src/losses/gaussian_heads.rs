//! Reward heads that know their uncertainty: BRME of "Reward-Robust RLHF", arXiv:2409.15360.
//!
//! ```text
//! s_m = softplus(z_m) + 1e-4,  ln s in [-7, 4]
//! likelihood: loss_m = ((t - mu_m) / s_m)^2 / 2 + ln s_m
//! sample:     loss_m = (mu_m + s_m eps_m - t)^2
//! loss = sum over rows and heads of w_m loss_m, divided by the sum of w_m
//! ```
//! Each of M heads gives a mean and the `z` of its deviation: `mu_1 .. mu_M, z_1 .. z_M`. `t` is the score of a reward model
//! that was trained before; `w` are bootstrap weights, Poisson(1) drawn by [`bootstrap_weights`]; `eps` is standard normal
//! noise. The paper leaves the details open; the likelihood is our default because it is a proper scoring rule. What the
//! heads say of a response: [`Heads`](crate::Heads).

use ascribe_core::{Loss, Stream};
use burn::tensor::activation::softplus;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::error::{option, within};
use crate::math::normal;
use crate::{RewardError, RewardLoss, ScoreBatch, ScoreNeeds};

/// How a head learns its mean and deviation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadForm {
    /// The likelihood of a Gaussian.
    #[default]
    Likelihood,
    /// The squared error of a sample; rows carry the noise of each head as well.
    Sample,
}

/// Options of [`GaussianHeads`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GaussianHeadsConfig {
    /// Heads; at least 1.
    pub heads: usize,
    /// How they learn.
    pub form: HeadForm,
}

impl Default for GaussianHeadsConfig {
    fn default() -> Self {
        Self { heads: 5, form: HeadForm::default() }
    }
}

impl GaussianHeadsConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// Without a head.
    pub fn init(&self) -> Result<GaussianHeads, RewardError> {
        option("heads", "at least 1", self.heads as f64, self.heads >= 1)?;
        Ok(GaussianHeads { config: *self })
    }
}

/// The loss of several Gaussian heads; the labels of a row are its target, the bootstrap weight of each head, and with
/// [`HeadForm::Sample`] the noise of each head. A row that no head sees, one of 150 with five heads, counts nothing.
#[derive(Clone, Copy, Debug)]
pub struct GaussianHeads {
    config: GaussianHeadsConfig,
}

/// Smallest deviation, so that no division by 0 happens.
pub(crate) const FLOOR: f64 = 1e-4;

impl RewardLoss for GaussianHeads {
    fn needs(&self) -> ScoreNeeds {
        let heads = self.config.heads;
        let labels = if self.config.form == HeadForm::Sample { 1 + 2 * heads } else { 1 + heads };
        ScoreNeeds { responses: 1, width: 2 * heads, labels, coupled: false }
    }

    fn loss(&self, batch: &ScoreBatch) -> Result<Loss, RewardError> {
        batch.check(&self.needs())?;
        let (heads, labels) = (self.config.heads, self.needs().labels);
        let (mut targets, mut weights, mut noise) = (Vec::new(), Vec::new(), Vec::new());
        for row in batch.labels().chunks(labels) {
            targets.extend(std::iter::repeat_n(row[0], heads));
            weights.extend_from_slice(&row[1..=heads]);
            noise.extend_from_slice(&row[heads + 1..]);
        }
        within("a bootstrap weight", &weights, "at least 0", |weight| weight >= 0.0)?;
        let sums: Vec<f64> = weights.chunks(heads).map(|row| row.iter().sum::<f64>()).collect();
        let out = batch.response(0)?; // [rows, 2 heads]
        let mu = out.clone().narrow(1, 0, heads); // [rows, heads]
        let s = softplus(out.narrow(1, heads, heads), 1.0).add_scalar(FLOOR); // [rows, heads]
        let log_s = s.log().clamp(-7.0, 4.0); // [rows, heads]
        let error = mu - batch.constants(targets, heads); // [rows, heads]
        let losses = match self.config.form {
            HeadForm::Likelihood => (error / log_s.clone().exp()).square().mul_scalar(0.5) + log_s.clone(),
            HeadForm::Sample => (error + log_s.clone().exp() * batch.constants(noise, heads)).square(),
        }; // [rows, heads]
        let rows = (losses * batch.constants(weights, heads)).sum_dim(1).squeeze_dim::<1>(1); // [rows]
        let deviation = log_s.exp().mean_dim(1).squeeze_dim::<1>(1); // [rows]
        let loss = Loss { rows, weights: batch.constant(sums), stats: Vec::new() };
        Ok(loss.stat("heads/deviation", deviation))
    }
}

/// The noise of one row, one standard normal number a head, for [`HeadForm::Sample`].
pub fn sample_noise(heads: usize, stream: &mut Stream) -> Vec<f64> {
    (0..heads).map(|_| normal(stream)).collect()
}

/// Bootstrap weights of one row, one a head: Poisson(1), so that each head sees its own resample of the data.
pub fn bootstrap_weights(heads: usize, stream: &mut Stream) -> Vec<f64> {
    // Knuth: how many uniforms can be multiplied before their product falls below 1/e.
    let mut draw = || {
        let (mut count, mut product) = (0.0, stream.random::<f64>());
        while product > (-1f64).exp() {
            count += 1.0;
            product *= stream.random::<f64>();
        }
        count
    };
    (0..heads).map(|_| draw()).collect()
}
