//! Alignment via optimal transport (AOT): arXiv:2406.05882.
//!
//! ```text
//! paired:    d_k = sort(log pi(y_w) - log pi(y_l))_k - sort(log pi_ref(y_w) - log pi_ref(y_l))_k
//! unpaired:  d_k = sort(h_chosen)_k - sort(h_rejected)_k
//! loss_k     = -(1 - e) log sigmoid(beta d_k) - e log sigmoid(-beta d_k)
//! ```
//! Not each pair but the distributions are put in order: the k-th smallest of one is held against the k-th smallest of the
//! other. So the loss of a pair depends on all pairs, it is taken over the whole optimizer window, and the losses stand in
//! the order of the ranks. Unpaired, the two sides need not answer the same prompts. A window of one pair is DPO.

use ascribe_core::{CoreError, LogpBatch, Loss, Needs, Objective};
use serde::{Deserialize, Serialize};

use super::dpo::DpoConfig;
use super::scoring::{Scorer, Scoring, smoothed};
use crate::PreferenceError;
use crate::error::check;

/// Options of [`Aot`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AotConfig {
    /// Strength of the pull to the reference; finite and above 0.
    pub beta: f64,
    /// Share of labels that are taken to be wrong, in [0, 0.5].
    pub label_smoothing: f64,
    /// Sort the two sides apart.
    pub unpaired: bool,
}

impl Default for AotConfig {
    fn default() -> Self {
        Self { beta: DpoConfig::default().beta, label_smoothing: 0.0, unpaired: false }
    }
}

impl AotConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// [`PreferenceError::Beta`] unless beta is finite and above 0; [`PreferenceError::Option`] for the label smoothing.
    pub fn init(&self) -> Result<Aot, PreferenceError> {
        let e = self.label_smoothing;
        check((0.0..=0.5).contains(&e), "label_smoothing", "in [0, 0.5]", e, "0 trusts all labels")?;
        let scorer = Scorer::new(self.beta, Scoring::default())?;
        Ok(Aot { scorer, label_smoothing: e, unpaired: self.unpaired })
    }
}

/// The AOT loss.
#[derive(Clone, Copy, Debug)]
pub struct Aot {
    scorer: Scorer,
    label_smoothing: f64,
    unpaired: bool,
}

impl Objective for Aot {
    fn needs(&self) -> Needs {
        self.scorer.needs().coupled()
    }

    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError> {
        let scored = self.scorer.score(batch)?;
        let (ours, theirs) = match self.unpaired {
            true => (scored.chosen.clone(), scored.rejected.clone()),
            false => {
                let (chosen, rejected) = (&scored.pairs.chosen, &scored.pairs.rejected);
                (chosen.sum() - rejected.sum(), chosen.ref_sum()? - rejected.ref_sum()?)
            }
        }; // [pairs]
        let margins = (ours.sort(0) - theirs.sort(0)).mul_scalar(self.scorer.beta()); // [pairs], by rank
        self.scorer.finish(&scored, smoothed(margins, self.label_smoothing))
    }
}
