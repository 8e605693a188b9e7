//! A weighted sum of losses, as TRL's `loss_type` and `loss_weights`.
//!
//! ```text
//! loss = sum_k w_k mean_k,    mean_k = what the k-th loss is over the whole optimizer window
//! ```
//! Losses that average by weights of their own (`sft`, by tokens) are each divided by their own weight, so the sum is taken
//! over the whole window when there is one among them. All parts learn from the same rows: pairs, of which `sft` takes the
//! chosen side, or labelled responses. Statistics that several parts have are those of the first.

use ascribe_core::{CoreError, LogpBatch, Loss, Needs, Objective, RowKind};

use crate::PreferenceError;
use crate::error::check;

/// A weighted sum of losses.
pub struct Mixture {
    parts: Vec<(f64, Box<dyn Objective>)>,
    needs: Needs,
}

impl Mixture {
    /// The sum of `parts`, each with its weight.
    ///
    /// # Errors
    /// When there is none, a weight is below 0 or not finite, or the parts learn from different kinds of rows.
    pub fn new(parts: Vec<(f64, Box<dyn Objective>)>) -> Result<Self, PreferenceError> {
        for (weight, _) in &parts {
            let accepted = 0.0 <= *weight && weight.is_finite();
            check(accepted, "loss_weights", "finite and at least 0", *weight, "1 counts a loss as it is")?;
        }
        let mut all = parts.iter().map(|(_, part)| part.needs());
        let Some(mut needs) = all.next() else {
            let what = "a sum of losses needs a loss".to_owned();
            return Err(PreferenceError::Conflict { what, remedy: "name one, such as dpo" });
        };
        for more in all {
            needs.kind = joint(needs.kind, more.kind)?;
            needs.ref_logps |= more.ref_logps;
            needs.credit |= more.credit;
            needs.divergence |= more.divergence;
            needs.log_sum_sq_probs |= more.log_sum_sq_probs;
            needs.prompt_logps |= more.prompt_logps;
            needs.mismatched |= more.mismatched;
            needs.scores |= more.scores;
            needs.consistency |= more.consistency;
            needs.label_weights |= more.label_weights;
            needs.coupled |= more.coupled || needs.weighted || more.weighted;
        }
        Ok(Self { parts, needs })
    }
}

/// The kind of rows that two losses can both learn from.
fn joint(one: RowKind, other: RowKind) -> Result<RowKind, PreferenceError> {
    match (one, other) {
        _ if one == other => Ok(one),
        (RowKind::Single, kind @ (RowKind::Pairs | RowKind::Triples))
        | (kind @ (RowKind::Pairs | RowKind::Triples), RowKind::Single) => Ok(kind),
        (RowKind::Pairs, RowKind::Triples) | (RowKind::Triples, RowKind::Pairs) => Ok(RowKind::Triples),
        _ => {
            let what = "the losses of a sum learn from different kinds of rows".to_owned();
            Err(PreferenceError::Conflict { what, remedy: "add losses on pairs to losses on pairs or to sft" })
        }
    }
}

impl Objective for Mixture {
    fn needs(&self) -> Needs {
        self.needs
    }

    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError> {
        let mut parts = self.parts.iter();
        let Some((weight, first)) = parts.next() else { return Err(CoreError::MissingInput("losses")) };
        let mut sum = first.loss(batch)?;
        sum.rows = sum.rows.mul_scalar(*weight);
        for (weight, part) in parts {
            let loss = part.loss(batch)?;
            let rows = match first.needs().weighted || part.needs().weighted {
                false => loss.rows,
                // Divided by its own weight and multiplied by that of the sum, by which the loop divides.
                true => loss.rows * sum.weights.clone().sum() / loss.weights.sum(),
            }; // [rows]
            sum.rows = sum.rows + rows.mul_scalar(*weight);
            for (name, values) in loss.stats {
                if sum.stats.iter().all(|(known, _)| *known != name) {
                    sum.stats.push((name, values));
                }
            }
        }
        Ok(sum)
    }

    fn observe(&self, window: &LogpBatch) -> Result<(), CoreError> {
        self.parts.iter().try_for_each(|(_, part)| part.observe(window))
    }

    fn memory(&self) -> Vec<f64> {
        self.parts.iter().flat_map(|(_, part)| part.memory()).collect()
    }

    fn remember(&self, memory: &[f64]) -> Result<(), CoreError> {
        let mut rest = memory;
        for (number, (_, part)) in self.parts.iter().enumerate() {
            // The memory of an objective has always the same length; what is too much goes to the last, which refuses it.
            let own = if number + 1 == self.parts.len() { rest.len() } else { part.memory().len().min(rest.len()) };
            let (mine, others) = rest.split_at(own);
            part.remember(mine)?;
            rest = others;
        }
        Ok(())
    }
}
