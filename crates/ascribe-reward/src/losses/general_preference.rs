//! General preference model: arXiv:2410.02197, its code. Responses are vectors, so preferences may be cyclic.
//!
//! ```text
//! s(i > j) = sum_l lambda_l (v_i[2l] v_j[2l+1] - v_i[2l+1] v_j[2l]) = v_i R v_j,   R skew-symmetric, 2 x 2 blocks
//! p(i > j) = sigmoid(s / tau);   loss = -log sigmoid(s / tau)
//! lambda = 1, or k softmax(g / sqrt(D)) (training code), or softmax(g) (example of inference) with gate logits g of the prompt
//! ```
//! A head gives `2k` numbers a response, and with a gate `k` more, the gate's logits, which belong to the prompt: those of
//! the first response are used. `v` is normalised by default. Variants of the code: a margin, `-log sigmoid((s - m)/tau)`,
//! and a regression, `(s/tau - 10)^2 / 2`. With `v = (r, 1)`, not normalised, and
//! tau 1 this is Bradley-Terry. Responses of different prompts must not be compared: rows hold responses of one prompt.
//!
//! ```text
//! learned:  tau = softplus(t), 0.01 at least;   t <- t - rate d loss / d tau sigmoid(t)   once a window
//! ```
//! Departure: `t` is learned by plain gradient descent at a rate of its own, and stays where tau is 0.01, where the code cuts tau
//! off and hands back no gradient.

use std::sync::atomic::{AtomicU64, Ordering};

use ascribe_core::Loss;
use burn::tensor::{Tensor, activation::softmax};
use serde::{Deserialize, Serialize};

use super::pair::{accuracies, nll};
use crate::error::option;
use crate::math::{host, mean, sigmoid};
use crate::{RewardError, RewardLoss, ScoreBatch, ScoreNeeds};

/// How gate logits become the scale of each block.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// `k softmax(g / sqrt(hidden))`, with mean 1.
    Scaled {
        /// Width of the states that the gate reads.
        hidden: usize,
    },
    /// `softmax(g)`.
    Plain,
}

/// What is minimised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PreferenceForm {
    /// `-log sigmoid(s / tau)`.
    #[default]
    Logistic,
    /// `-log sigmoid((s - margin) / tau)`.
    Margin(f64),
    /// `(s / tau - 10)^2 / 2`.
    Regression,
}

/// Options of [`GeneralPreference`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GeneralPreferenceConfig {
    /// Numbers of a response, `2k`; even and at least 2.
    pub dim: usize,
    /// Temperature, in the beginning where it is learned; finite and above 0.
    pub tau: f64,
    /// Rate at which the temperature is learned; finite and at least 0, where it stays as it is.
    pub tau_rate: f64,
    /// Whether vectors are brought to length 1.
    pub normalize: bool,
    /// The scale of the blocks; `None` is 1.
    pub gate: Option<Gate>,
    /// What is minimised.
    pub form: PreferenceForm,
}

impl Default for GeneralPreferenceConfig {
    fn default() -> Self {
        Self { dim: 6, tau: 0.1, tau_rate: 0.0, normalize: true, gate: None, form: PreferenceForm::default() }
    }
}

impl GeneralPreferenceConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// When the dimension is odd or 0, or tau, the margin or the width of the gate is out of range.
    pub fn init(&self) -> Result<GeneralPreference, RewardError> {
        let even = self.dim >= 2 && self.dim.is_multiple_of(2);
        option("dim", "even and at least 2", self.dim as f64, even)?;
        option("tau", "finite and above 0, such as 0.1", self.tau, 0.0 < self.tau && self.tau.is_finite())?;
        let rate = self.tau_rate;
        option("tau_rate", "finite and at least 0, such as 0.01", rate, 0.0 <= rate && rate.is_finite())?;
        option("tau", "at least 0.01 where it is learned", self.tau, rate == 0.0 || self.tau >= FLOOR)?;
        if let PreferenceForm::Margin(margin) = self.form {
            option("margin", "finite and at least 0", margin, 0.0 <= margin && margin.is_finite())?;
        }
        if let Some(Gate::Scaled { hidden }) = self.gate {
            option("hidden", "at least 1", hidden as f64, hidden >= 1)?;
        }
        Ok(GeneralPreference { config: *self, raw: AtomicU64::new(raw(self.tau).to_bits()) })
    }
}

/// The smallest temperature that is learned.
const FLOOR: f64 = 0.01;

/// The `t` of a temperature: `ln(exp(tau) - 1)`.
fn raw(tau: f64) -> f64 {
    // Without overflow: tau + ln(1 - exp(-tau)).
    tau + (-(-tau).exp_m1()).ln()
}

/// The loss of the general preference model.
#[derive(Debug)]
pub struct GeneralPreference {
    config: GeneralPreferenceConfig,
    /// The bits of `t`, where the temperature is learned.
    raw: AtomicU64,
}

impl GeneralPreference {
    /// The temperature of a loss with this [memory](RewardLoss::memory): `softplus(t)`.
    pub fn temperature(t: f64) -> f64 {
        t.max(0.0) + (-t.abs()).exp().ln_1p()
    }

    /// The temperature as it is now.
    pub fn tau(&self) -> f64 {
        if self.is_learned() { Self::temperature(self.t()) } else { self.config.tau }
    }

    fn is_learned(&self) -> bool {
        self.config.tau_rate > 0.0
    }

    fn t(&self) -> f64 {
        f64::from_bits(self.raw.load(Ordering::Relaxed))
    }

    /// Scores `s(i > j)` of all pairs of responses to one prompt: row `i`, column `j`.
    ///
    /// # Shapes
    /// - vectors: `[n, width]`, what the head gives; result: `[n, n]`, skew-symmetric.
    ///
    /// # Errors
    /// When the width is not that of the head.
    pub fn table(&self, vectors: Tensor<2>) -> Result<Tensor<2>, RewardError> {
        let [_, got] = vectors.dims();
        crate::error::same_length("a preference vector", self.needs().width, got)?;
        let (v, gate) = self.parts(vectors);
        let (even, odd) = halves(v); // [n, k]
        // One prompt has one gate: that of its first response.
        let scaled = |x: Tensor<2>| match &gate {
            Some(gate) => x * gate.clone().narrow(0, 0, 1),
            None => x,
        };
        let upper = scaled(even.clone()).matmul(odd.clone().transpose()); // [n, n]
        let lower = scaled(odd).matmul(even.transpose()); // [n, n]
        Ok(upper - lower)
    }

    /// Scores `s(i > j)` of the rows of two sides, `[rows]`.
    fn score(&self, first: Tensor<2>, second: Tensor<2>) -> Tensor<1> {
        let ((first, gate), (second, _)) = (self.parts(first), self.parts(second));
        let ((a0, a1), (b0, b1)) = (halves(first), halves(second)); // [rows, k]
        let blocks = a0 * b1 - a1 * b0; // [rows, k]
        let blocks = match gate {
            Some(gate) => blocks * gate,
            None => blocks,
        };
        blocks.sum_dim(1).squeeze_dim::<1>(1) // [rows]
    }

    /// Vectors, normalised where asked for, and the scale of their blocks, `[rows, k]`.
    fn parts(&self, head: Tensor<2>) -> (Tensor<2>, Option<Tensor<2>>) {
        let (dim, k) = (self.config.dim, self.config.dim / 2);
        let v = head.clone().narrow(1, 0, dim); // [rows, 2k]
        let v = if self.config.normalize {
            let norm = v.clone().square().sum_dim(1).clamp_min(SMALLEST).sqrt(); // [rows, 1]
            v / norm
        } else {
            v
        };
        let gate = self.config.gate.map(|gate| {
            let logits = head.narrow(1, dim, k); // [rows, k]
            match gate {
                Gate::Plain => softmax(logits, 1),
                Gate::Scaled { hidden } => softmax(logits.div_scalar((hidden as f64).sqrt()), 1).mul_scalar(k as f64),
            }
        });
        (v, gate)
    }
}

/// Below this square a vector counts as this long: the zero vector then stays zero instead of becoming NaN.
const SMALLEST: f64 = 1e-24;

/// Even and odd coordinates, `[rows, k]` each.
fn halves(v: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
    let [rows, dim] = v.dims();
    let blocks = v.reshape([rows, dim / 2, 2]); // [rows, k, 2]
    let half = |at: usize| blocks.clone().narrow(2, at, 1).squeeze_dim::<2>(2); // [rows, k]
    (half(0), half(1))
}

impl RewardLoss for GeneralPreference {
    fn needs(&self) -> ScoreNeeds {
        let gate = if self.config.gate.is_some() { self.config.dim / 2 } else { 0 };
        ScoreNeeds { width: self.config.dim + gate, coupled: self.is_learned(), ..ScoreNeeds::PAIR }
    }

    fn loss(&self, batch: &ScoreBatch) -> Result<Loss, RewardError> {
        batch.check(&self.needs())?;
        let s = self.score(batch.response(0)?, batch.response(1)?); // [rows]
        let tau = self.tau();
        let rows = match self.config.form {
            PreferenceForm::Logistic => nll(s.clone().div_scalar(tau)),
            PreferenceForm::Margin(margin) => nll(s.clone().sub_scalar(margin).div_scalar(tau)),
            PreferenceForm::Regression => s.clone().div_scalar(tau).sub_scalar(10.0).square().mul_scalar(0.5),
        }; // [rows]
        let right = accuracies(&s);
        let loss = Loss::mean_of(rows).stat("rewards/margins", s).stat("rewards/accuracies", right);
        Ok(if self.is_learned() { loss.stat("rewards/tau", batch.constant(vec![tau; batch.rows()])) } else { loss })
    }

    fn observe(&self, window: &ScoreBatch) -> Result<(), RewardError> {
        if !self.is_learned() {
            return Ok(());
        }
        window.check(&self.needs())?;
        let s = host(self.score(window.response(0)?.detach(), window.response(1)?.detach()));
        let (t, tau) = (self.t(), self.tau());
        // The slope of the loss in tau: that in z = s / tau times -s / tau^2.
        let slope = |s: &f64| match self.config.form {
            PreferenceForm::Logistic => sigmoid(-s / tau) * s / (tau * tau),
            PreferenceForm::Margin(margin) => sigmoid((margin - s) / tau) * (s - margin) / (tau * tau),
            PreferenceForm::Regression => (s / tau - 10.0) * -s / (tau * tau),
        };
        let slope = mean(&s.iter().map(slope).collect::<Vec<f64>>());
        let moved = (t - self.config.tau_rate * slope * sigmoid(t)).max(raw(FLOOR));
        option("the temperature that is learned", "finite; lower tau_rate", moved, moved.is_finite())?;
        self.raw.store(moved.to_bits(), Ordering::Relaxed);
        Ok(())
    }

    fn memory(&self) -> Vec<f64> {
        if self.is_learned() { vec![self.t()] } else { Vec::new() }
    }

    fn remember(&self, memory: &[f64]) -> Result<(), RewardError> {
        match (self.is_learned(), memory) {
            (false, []) => Ok(()),
            (true, [t]) if t.is_finite() => {
                self.raw.store(t.to_bits(), Ordering::Relaxed);
                Ok(())
            }
            _ => {
                let rule = "the memory of a general preference model is its temperature, where that is learned";
                Err(RewardError::Shape { rule, got: format!("{memory:?}") })
            }
        }
    }
}
