//! Direct preference optimization: arXiv:2305.18290, eq. 7.
//!
//! ```text
//! loss = -log sigmoid(beta * (h_chosen - h_rejected)),   h = log pi(y|x) - log pi_ref(y|x)
//! ```
//! Log-probabilities are summed, not averaged, over response tokens. `reference_free` sets `log pi_ref` to 0.
//! Statistics are those of TRL, with three departures. A tie counts one half in `rewards/accuracies` (TRL: 0). With
//! `reference_free` the rewards, too, are without the reference (TRL still subtracts it). And
//! `logps/chosen_displacement` is added: the change of the chosen response's log-probability per token since the
//! reference. When it falls below about -1, the policy unlearns what it should learn; raise beta or stop earlier.

use ascribe_core::{CoreError, LogpBatch, Loss, Needs, Objective, Pairs, RowKind, Side};
use burn::tensor::{Tensor, activation::log_sigmoid};
use serde::{Deserialize, Serialize};

use crate::PreferenceError;

/// Options of [`Dpo`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DpoConfig {
    /// Strength of the pull to the reference; finite and above 0.
    pub beta: f64,
    /// Leave the reference out.
    pub reference_free: bool,
}

impl Default for DpoConfig {
    fn default() -> Self {
        Self { beta: 0.1, reference_free: false }
    }
}

impl DpoConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// [`PreferenceError::Beta`] unless beta is finite and above 0.
    pub fn init(&self) -> Result<Dpo, PreferenceError> {
        let accepted = 0.0 < self.beta && self.beta.is_finite();
        if !accepted {
            return Err(PreferenceError::Beta { got: self.beta });
        }
        Ok(Dpo { beta: self.beta, reference_free: self.reference_free })
    }
}

/// The DPO loss.
#[derive(Clone, Copy, Debug)]
pub struct Dpo {
    beta: f64,
    reference_free: bool,
}

/// Implicit rewards of the two sides, `[pairs]` each.
pub(super) struct Rewards {
    pub(super) chosen: Tensor<1>,
    pub(super) rejected: Tensor<1>,
}

impl Dpo {
    pub(super) fn beta(&self) -> f64 {
        self.beta
    }

    /// `h` of one side, `[pairs]`.
    pub(super) fn ratio(&self, side: &Side) -> Result<Tensor<1>, CoreError> {
        Ok(if self.reference_free { side.sum() } else { side.sum() - side.ref_sum()? })
    }

    /// `beta * h` of both sides.
    pub(super) fn rewards(&self, pairs: &Pairs) -> Result<Rewards, CoreError> {
        let reward = |side: &Side| self.ratio(side).map(|ratio| ratio.mul_scalar(self.beta)); // [pairs]
        Ok(Rewards { chosen: reward(&pairs.chosen)?, rejected: reward(&pairs.rejected)? })
    }

    /// Loss and statistics, given the rewards.
    pub(super) fn loss_of(&self, pairs: &Pairs, rewards: &Rewards) -> Result<Loss, CoreError> {
        let margins = rewards.chosen.clone() - rewards.rejected.clone(); // [pairs]
        self.with_stats(Loss::mean_of(log_sigmoid(margins).neg()), pairs, rewards)
    }

    /// `loss` with the statistics that all losses on pairs share.
    pub(super) fn with_stats(&self, loss: Loss, pairs: &Pairs, rewards: &Rewards) -> Result<Loss, CoreError> {
        let margins = rewards.chosen.clone() - rewards.rejected.clone(); // [pairs]
        // 1 for a win, 1/2 for a tie, 0 for a loss.
        let accuracies = margins.clone().detach().sign().add_scalar(1.0).div_scalar(2.0); // [pairs]
        let loss = loss
            .stat("rewards/chosen", rewards.chosen.clone())
            .stat("rewards/rejected", rewards.rejected.clone())
            .stat("rewards/margins", margins)
            .stat("rewards/accuracies", accuracies)
            .stat("logps/chosen", pairs.chosen.sum())
            .stat("logps/rejected", pairs.rejected.sum());
        if self.reference_free {
            return Ok(loss);
        }
        let moved = (pairs.chosen.sum() - pairs.chosen.ref_sum()?) / pairs.chosen.lengths().clamp_min(1.0); // [pairs]
        Ok(loss.stat("logps/chosen_displacement", moved))
    }
}

impl Objective for Dpo {
    fn needs(&self) -> Needs {
        let needs = Needs::of(RowKind::Pairs);
        if self.reference_free { needs } else { needs.with_ref_logps() }
    }

    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError> {
        let pairs = batch.pairs()?;
        let rewards = self.rewards(&pairs)?;
        self.loss_of(&pairs, &rewards)
    }
}
