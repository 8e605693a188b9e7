//! Supervised fine-tuning on the response.
//!
//! ```text
//! loss = -sum_t log pi(y_t | x, y_<t) / number of response tokens
//! ```
//! The division is over all response tokens of the optimizer window, so a row weighs as much as it has tokens and the
//! result does not depend on how the window is split. Prompt tokens are not trained. Of pairs, the chosen responses are
//! learned: as a part of a sum of losses.

use ascribe_core::{CoreError, LogpBatch, Loss, Needs, Objective, RowKind};
use serde::{Deserialize, Serialize};

use crate::PreferenceError;

/// Options of [`Sft`]: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SftConfig {}

impl SftConfig {
    /// The loss.
    ///
    /// # Errors
    /// None.
    pub fn init(&self) -> Result<Sft, PreferenceError> {
        Ok(Sft)
    }
}

/// Negative log-likelihood of the response, a mean over tokens.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sft;

impl Objective for Sft {
    fn needs(&self) -> Needs {
        Needs::of(RowKind::Single).weighted()
    }

    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError> {
        let side = batch.preferred();
        let (sum, lengths) = (side.sum(), side.lengths()); // [rows]
        let mean = sum.clone() / lengths.clone().clamp_min(1.0); // [rows]
        Ok(Loss { rows: sum.neg(), weights: lengths, stats: Vec::new() }.stat("logps/mean", mean))
    }
}
