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
use crate::error::{check, unused};

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
        if w == 0.0 && length_penalty != Self::default().length_penalty {
            return Err(unused("length_penalty", "with an rrhf_weight of 0", "raise rrhf_weight, or leave it out"));
        }
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
        Needs::of(RowKind::Groups).with_scores()
    }

    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError> {
        let side = batch.all();
        let rewards: Vec<f64> = side.scores()?.into_data().iter::<f64>().collect();
        let lengths = side.lengths().clamp_min(1.0).powf_scalar(self.config.length_penalty); // [rows]
        let (p, nll) = (side.sum() / lengths, side.mean().neg()); // [rows]
        let (mut rankings, mut nlls) = (Vec::new(), Vec::new());
        let mut start = 0;
        for size in batch.groups()? {
            let rows = start..start + size;
            start = rows.end;
            let Some((best, below)) = order(&rewards[rows.clone()])? else { continue };
            let p = p.clone().slice(rows.clone()); // [size]
            let below = Tensor::<2>::from_data(TensorData::new(below, [*size, *size]), (&p.device(), p.dtype()));
            let ahead = p.clone().unsqueeze_dim::<2>(1) - p.unsqueeze_dim::<2>(0); // [size, size]
            rankings.push((relu(ahead) * below).sum()); // [1]
            let best = rows.start + best;
            nlls.push(nll.clone().slice(best..best + 1)); // [1]
        }
        if rankings.is_empty() {
            let rule = "a batch of groups needs a prompt with a response";
            return Err(CoreError::Shape { rule, got: "none".to_owned() });
        }
        let (ranking, nll) = (Tensor::cat(rankings, 0), Tensor::cat(nlls, 0)); // [prompts]
        let rows = ranking.clone().mul_scalar(self.config.rrhf_weight) + nll.clone(); // [prompts]
        Ok(Loss::mean_of(rows).stat("rrhf/ranking", ranking).stat("rrhf/nll", nll))
    }
}

/// The place of the best response of a prompt, and for each two of its responses whether the first belongs below the
/// second, row-major; nothing for a prompt without responses.
fn order(rewards: &[f64]) -> Result<Option<(usize, Vec<f32>)>, CoreError> {
    let Some(first) = rewards.first() else { return Ok(None) };
    if rewards.len() > 1 && rewards.iter().all(|reward| reward == first) {
        let rule = "the responses of a prompt need rewards that differ";
        return Err(CoreError::Shape { rule, got: format!("{} of {first}", rewards.len()) });
    }
    let best = (0..rewards.len()).fold(0, |best, at| if rewards[at] > rewards[best] { at } else { best });
    let is_below = |one: &f64, other: &f64| if one < other { 1.0 } else { 0.0 };
    let below = rewards.iter().flat_map(|one| rewards.iter().map(move |other| is_below(one, other)));
    Ok(Some((best, below.collect())))
}
