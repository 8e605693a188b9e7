//! Energy-based concept bottleneck as a reward head: arXiv:2401.14142, its code.
//!
//! ```text
//! loss = label * NLL_y(E_xy) + concepts * sum_k NLL_ck(E_xc) + joint * NLL_y(E_cy)
//! NLL(E, t) = E_t + log sum_j exp(-E_j)
//! ```
//! A head gives `2 + 2 K + 2` energies: of the label given the text (bad, good), of each of K concepts given the text
//! (absent, present), and of the label given the concepts. In training the concepts that the last two see are flipped with
//! probability 0.2: [`perturbed`](crate::perturbed). Inference: [`ConceptEnergies`](crate::ConceptEnergies). What gives the
//! energies is the trainer's: the code's are linear in `relu(z + z e)` with learned embeddings `e` of unit length; those of `ascribe
//! train reward` are linear in the hidden state that the head reads, and the ones of the label given the concepts a table
//! ([`joint_energies`](crate::joint_energies)).

use ascribe_core::Loss;
use serde::{Deserialize, Serialize};

use super::pair::{accuracies, nll};
use crate::error::{option, within};
use crate::{RewardError, RewardLoss, ScoreBatch, ScoreNeeds};

/// Options of [`ConceptEnergy`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConceptEnergyConfig {
    /// Concepts; at least 1.
    pub concepts: usize,
    /// Weight of the label given the text; finite and at least 0.
    pub label_weight: f64,
    /// Weight of each concept given the text; finite and at least 0.
    pub concept_weight: f64,
    /// Weight of the label given the concepts; finite and at least 0.
    pub joint_weight: f64,
}

impl Default for ConceptEnergyConfig {
    fn default() -> Self {
        Self { concepts: 3, label_weight: 3.0, concept_weight: 1.0, joint_weight: 1.0 }
    }
}

impl ConceptEnergyConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// Without a concept, or when a weight is not finite or below 0.
    pub fn init(&self) -> Result<ConceptEnergy, RewardError> {
        option("concepts", "at least 1", self.concepts as f64, self.concepts >= 1)?;
        let weights = [
            ("label_weight", self.label_weight),
            ("concept_weight", self.concept_weight),
            ("joint_weight", self.joint_weight),
        ];
        for (name, got) in weights {
            option(name, "finite and at least 0", got, 0.0 <= got && got.is_finite())?;
        }
        Ok(ConceptEnergy { config: *self })
    }
}

/// The energy loss; the labels of a row are its label and its concepts, 0 or 1 each.
#[derive(Clone, Copy, Debug)]
pub struct ConceptEnergy {
    config: ConceptEnergyConfig,
}

impl RewardLoss for ConceptEnergy {
    fn needs(&self) -> ScoreNeeds {
        let concepts = self.config.concepts;
        ScoreNeeds { responses: 1, width: 2 * concepts + 4, labels: concepts + 1, coupled: false }
    }

    fn loss(&self, batch: &ScoreBatch) -> Result<Loss, RewardError> {
        batch.check(&self.needs())?;
        within("a label or a concept", batch.labels(), "0 or 1", |t| t == 0.0 || t == 1.0)?;
        let (choices, rows) = (self.config.concepts + 2, batch.rows());
        let energies = batch.response(0)?.reshape([rows, choices, 2]); // [rows, choices, 2]
        let of = |state: usize| energies.clone().narrow(2, state, 1).squeeze_dim::<2>(2); // [rows, choices]
        // Log-odds of the second state, softmax of -E.
        let odds = of(0) - of(1); // [rows, choices]
        let (mut signs, mut weights) = (Vec::new(), Vec::new());
        for row in batch.labels().chunks(self.config.concepts + 1) {
            // The label is asked twice: given the text, and given the concepts.
            signs.extend(row.iter().chain(&row[..1]).map(|t| 2.0 * t - 1.0));
            weights.push(self.config.label_weight);
            weights.extend(row[1..].iter().map(|_| self.config.concept_weight));
            weights.push(self.config.joint_weight);
        }
        let right = odds * batch.constants(signs, choices); // [rows, choices]
        let losses = nll(right.clone()) * batch.constants(weights, choices); // [rows, choices]
        let loss = Loss::mean_of(losses.sum_dim(1).squeeze_dim::<1>(1)); // [rows]
        let label = accuracies(&right.clone().narrow(1, 0, 1).squeeze_dim::<1>(1)); // [rows]
        let concepts = right.narrow(1, 1, self.config.concepts).detach().sign(); // [rows, concepts]
        let concepts = concepts.add_scalar(1.0).div_scalar(2.0).mean_dim(1).squeeze_dim::<1>(1); // [rows]
        Ok(loss.stat("label/accuracies", label).stat("concepts/accuracies", concepts))
    }
}
