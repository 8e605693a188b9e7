//! Identity preference optimization: arXiv:2310.12036, eq. 17.
//!
//! ```text
//! loss = (h_chosen - h_rejected - 1 / (2 beta))^2,   h = (log pi(y|x) - log pi_ref(y|x)) / tokens of y
//! ```
//! Where DPO pushes a pair apart for ever, IPO has a margin that it wants: past `1 / (2 beta)` the gradient turns. The paper
//! calls beta tau and sums over tokens, as the original DPO code does; its authors' results, and TRL, use the mean over the
//! tokens of each side, which is the default here. `length_normalized = false` gives the sum. Rewards and statistics are
//! those of [`Dpo`](super::Dpo), over sums.

use ascribe_core::{CoreError, LogpBatch, Loss, Needs, Objective, Side};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::dpo::{Dpo, DpoConfig};
use crate::PreferenceError;

/// Options of [`Ipo`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IpoConfig {
    /// Half the inverse of the margin that is wanted; finite and above 0.
    pub beta: f64,
    /// Divide the log-ratio of each response by its number of tokens.
    pub length_normalized: bool,
    /// Leave the reference out.
    pub reference_free: bool,
}

impl Default for IpoConfig {
    fn default() -> Self {
        Self { beta: DpoConfig::default().beta, length_normalized: true, reference_free: false }
    }
}

impl IpoConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// [`PreferenceError::Beta`] unless beta is finite and above 0.
    pub fn init(&self) -> Result<Ipo, PreferenceError> {
        let dpo = DpoConfig { beta: self.beta, reference_free: self.reference_free }.init()?;
        Ok(Ipo { dpo, length_normalized: self.length_normalized })
    }
}

/// The IPO loss.
#[derive(Clone, Copy, Debug)]
pub struct Ipo {
    dpo: Dpo,
    length_normalized: bool,
}

impl Ipo {
    /// `h` of one side, `[pairs]`.
    fn ratio(&self, side: &Side) -> Result<Tensor<1>, CoreError> {
        let ratio = self.dpo.ratio(side)?;
        Ok(if self.length_normalized { ratio / side.lengths().clamp_min(1.0) } else { ratio })
    }
}

impl Objective for Ipo {
    fn needs(&self) -> Needs {
        self.dpo.needs()
    }

    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError> {
        let pairs = batch.pairs()?;
        let margins = self.ratio(&pairs.chosen)? - self.ratio(&pairs.rejected)?; // [pairs]
        let loss = Loss::mean_of(margins.sub_scalar(0.5 / self.dpo.beta()).square());
        self.dpo.with_stats(loss, &pairs, &self.dpo.rewards(&pairs)?)
    }
}
