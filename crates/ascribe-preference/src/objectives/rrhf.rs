//! Rank responses to align with human feedback (RRHF): arXiv:2304.05302, section 3.
//!
//! ```text
//! loss = w sum_{R_i < R_j} max(0, p_i - p_j) + NLL(y_best),   p_i = log pi(y_i) / n_i^length_penalty
//! ```
//! Over the responses of one prompt, with rewards R; a mean over prompts. The likelihood is that of the first response with
//! the highest reward, a mean over its tokens. Equal rewards give no term; a prompt whose responses all have the same reward
//! is refused, unless there is only one, which is supervised fine-tuning. `w` is 100 in the authors' code, where their text has 1.

use ascribe_core::{CoreError, LogpBatch, Loss, Needs, Objective, RowKind};
use burn::tensor::activation::relu;
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::PreferenceError;
use crate::error::check;

/// Options of [`Rrhf`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RrhfConfig {
    /// Weight of the ranking; finite and at least 0.
    pub rrhf_weight: f64,
    /// Power of the number of tokens that log-probabilities are divided by; finite.
    pub length_penalty: f64,
}

impl Default for RrhfConfig {
    fn default() -> Self {
        Self { rrhf_weight: 100.0, length_penalty: 1.0 }
    }
}

impl RrhfConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// [`PreferenceError::Option`] for the first that is out of its range.
    pub fn init(&self) -> Result<Rrhf, PreferenceError> {
        let RrhfConfig { rrhf_weight: w, length_penalty } = *self;
        check(0.0 <= w && w.is_finite(), "rrhf_weight", "finite and at least 0", w, "start from 100")?;
        let remedy = "1 is a mean over tokens, 0 a sum";
        check(length_penalty.is_finite(), "length_penalty", "finite", length_penalty, remedy)?;
        Ok(Rrhf { config: *self })
    }
}

/// The RRHF loss.
#[derive(Clone, Copy, Debug)]
pub struct Rrhf {
    config: RrhfConfig,
}

impl Objective for Rrhf {
    fn needs(&self) -> Needs {
        Needs::of(RowKind::Groups).with_scores().weighted()
    }

    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError> {
        let side = batch.all();
        let rewards: Vec<f64> = side.scores()?.into_data().iter::<f64>().collect();
        let (below, best) = orders(&rewards, batch.groups()?)?;
        let n = rewards.len();
        let options = (&side.logps.device(), side.logps.dtype());
        let below = Tensor::<2>::from_data(TensorData::new(below, [n, n]), options); // [rows, rows]
        let best = Tensor::<1>::from_data(TensorData::new(best, [n]), options); // [rows]
        let lengths = side.lengths().clamp_min(1.0).powf_scalar(self.config.length_penalty); // [rows]
        let p = side.sum() / lengths; // [rows]
        let ahead = p.clone().unsqueeze_dim::<2>(1) - p.unsqueeze_dim::<2>(0); // [rows, rows]
        let ranking = (relu(ahead) * below).sum_dim(1).squeeze_dim::<1>(1); // [rows]
        let nll = side.mean().neg() * best.clone(); // [rows]
        let rows = ranking.clone().mul_scalar(self.config.rrhf_weight) + nll.clone(); // [rows]
        // One row of each prompt counts, so the division is by the number of prompts.
        let loss = Loss { rows, weights: best, stats: Vec::new() };
        Ok(loss.stat("rrhf/ranking", ranking).stat("rrhf/nll", nll))
    }
}

/// For each two rows whether the first belongs below the second, row-major; and 1 for the best row of each group.
fn orders(rewards: &[f64], groups: &[usize]) -> Result<(Vec<f32>, Vec<f32>), CoreError> {
    let n = rewards.len();
    let (mut below, mut best) = (vec![0.0; n * n], vec![0.0; n]);
    let mut start = 0;
    for size in groups {
        let rows = start..start + size;
        let Some(first) = rows.clone().next() else { continue };
        let top = rows.clone().fold(first, |top, row| if rewards[row] > rewards[top] { row } else { top });
        if *size > 1 && rows.clone().all(|row| rewards[row] == rewards[first]) {
            let rule = "the responses of a prompt need rewards that differ";
            return Err(CoreError::Shape { rule, got: format!("{size} of {}", rewards[first]) });
        }
        best[top] = 1.0;
        for i in rows.clone() {
            for j in rows.clone() {
                below[i * n + j] = if rewards[i] < rewards[j] { 1.0 } else { 0.0 };
            }
        }
        start += size;
    }
    Ok((below, best))
}
