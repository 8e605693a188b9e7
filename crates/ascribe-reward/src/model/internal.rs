//! Trains a policy to agree with itself: the internal rewards of SCIR, arXiv:2502.08922, on pairs without labels.
//!
//! ```text
//! x_1 = beta (h_1 - h_2),   h = log pi(y|x) - log pi_ref(y|x)          implicit DPO, as log-odds that the first is better
//! x_2 = log p - log (1 - p),   p = (P("1" | first, second) + P("2" | second, first)) / 2      the same model as a judge
//! loss = consistency * sum_k KL(mean p || p_k) + confidence * sum_k H(p_k)
//!        + preference * [both decide alike] * -log sigmoid(|x_1|)
//! ```
//! The probabilities of the judge's two verdicts are brought to a sum of 1. The last term is DPO on the pairs that both decide
//! alike, with the label that they agree on. The loss does not change when the two responses of a pair are swapped, so the order
//! of a file teaches nothing; the statistics `rewards/accuracies` and `judge/accuracies` take the first response for the better
//! one. The form of the first two terms is our derivation: [`SelfConsistency`].

use ascribe_core::{Loss, Tokens};
use ascribe_lm::{Decoder, Row, TrainingPass};
use ascribe_train::{Learned, Learner, Tally, TrainError};
use burn::tensor::Tensor;
use burn::tensor::activation::{log_sigmoid, sigmoid};
use serde::{Deserialize, Serialize};

use super::RewardRow;
use super::learner::size;
use crate::error::{finite, option};
use crate::losses::{Disagreement, SelfConsistency, SelfConsistencyConfig};
use crate::math::tensor;
use crate::{RewardError, RewardLoss, ScoreBatch, ScoreNeeds};

/// The judge's probability is held this far from 0 and 1, where its log-odds have no end.
const CERTAIN: f64 = 1e-6;

/// Options of [`InternalLearner`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InternalConfig {
    /// What the log-ratio to the reference is multiplied by; finite and above 0.
    pub beta: f64,
    /// Weight of the disagreement of both; finite and at least 0.
    pub consistency: f64,
    /// Weight of their entropies; finite and at least 0.
    pub confidence: f64,
    /// How disagreement is measured.
    pub disagreement: Disagreement,
    /// Weight of DPO on the pairs that both decide alike; finite and at least 0.
    pub preference: f64,
}

impl Default for InternalConfig {
    fn default() -> Self {
        let SelfConsistencyConfig { consistency, confidence, disagreement, .. } = SelfConsistencyConfig::default();
        Self { beta: 0.1, consistency, confidence, disagreement, preference: 1.0 }
    }
}

/// A pair, and what a judge is asked about it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InternalRow {
    /// Prompt and two responses, without labels.
    pub pair: RewardRow,
    /// Log-probability of each response under the reference.
    pub ref_logps: [f64; 2],
    /// What stands before the verdict: where the first response is shown first, and where it is shown second.
    pub questions: [Tokens; 2],
}

/// Trains a policy by the agreement of its two internal rewards.
pub struct InternalLearner {
    config: InternalConfig,
    agreement: SelfConsistency,
    verdicts: [Tokens; 2],
}

impl InternalLearner {
    /// A learner whose judge says `verdicts`: that the response shown first is better, and that the one shown second is.
    ///
    /// # Errors
    /// When an option is out of its range, all weights are 0, or the verdicts are empty or the same.
    pub fn new(config: InternalConfig, verdicts: [Tokens; 2]) -> Result<Self, RewardError> {
        option("beta", "finite and above 0", config.beta, 0.0 < config.beta && config.beta.is_finite())?;
        let weight = config.preference;
        option("preference", "finite and at least 0", weight, 0.0 <= weight && weight.is_finite())?;
        let InternalConfig { consistency, confidence, disagreement, .. } = config;
        let agreement = SelfConsistencyConfig { models: 2, consistency, confidence, disagreement }.init()?;
        let all = consistency + confidence + weight;
        option("consistency + confidence + preference", "above 0, or nothing is learned", all, all > 0.0)?;
        if verdicts[0] == verdicts[1] || verdicts.iter().any(|verdict| verdict.is_empty()) {
            let rule = "the two verdicts of a judge must differ, and have a token each";
            return Err(RewardError::Shape { rule, got: format!("{:?} and {:?}", &*verdicts[0], &*verdicts[1]) });
        }
        Ok(Self { config, agreement, verdicts })
    }

    /// What the policy is asked: both responses, and both verdicts behind both questions, each for all rows.
    fn asked<'r>(&'r self, rows: &[&'r InternalRow]) -> Result<Vec<Row<'r>>, RewardError> {
        for row in rows {
            row.pair.check(&ScoreNeeds::PAIR)?;
            finite("the log-probabilities under the reference", &row.ref_logps)?;
            if row.questions.iter().any(|question| question.is_empty()) {
                let rule = "a judge needs a question of one token at least";
                return Err(RewardError::Shape { rule, got: format!("none in line {}", row.pair.line) });
            }
        }
        let mut asked = Vec::with_capacity(6 * rows.len());
        for side in 0..2 {
            asked.extend(rows.iter().map(|row| Row { prompt: &row.pair.prompt, response: &row.pair.responses[side] }));
        }
        for order in 0..2 {
            for verdict in &self.verdicts {
                let response: &'r [u32] = verdict;
                asked.extend(rows.iter().map(move |row| Row { prompt: &row.questions[order], response }));
            }
        }
        Ok(asked)
    }

    /// The loss of the log-probabilities of what was asked, `[6 * rows]`.
    fn loss(&self, rows: &[&InternalRow], sums: Tensor<1>) -> Result<Loss, RewardError> {
        let n = rows.len();
        let of = |at: usize| sums.clone().narrow(0, at * n, n); // [rows]
        let reference = rows.iter().map(|row| row.ref_logps[0] - row.ref_logps[1]).collect();
        let reference: Tensor<1> = tensor(reference, [n], &sums); // [rows]
        let implicit = (of(0) - of(1) - reference).mul_scalar(self.config.beta); // [rows]
        // Verdict 1 where the first response is shown first, verdict 2 where it is shown second.
        let first = (sigmoid(of(2) - of(3)) + sigmoid(of(5) - of(4))).div_scalar(2.0); // [rows]
        let first = first.clamp(CERTAIN, 1.0 - CERTAIN); // [rows]
        let judged = first.clone().log() - first.neg().add_scalar(1.0).log(); // [rows]
        let odds: Tensor<2> = Tensor::stack(vec![implicit.clone(), judged.clone()], 1); // [rows, 2]
        let loss = self.agreement.loss(&ScoreBatch::new(1, odds)?)?;
        let sides = [implicit.clone(), judged].map(|odds| odds.detach().sign()); // [rows] each
        let [own, judge] = sides;
        let alike = (own.clone() * judge.clone()).clamp_min(0.0); // [rows]
        let decided = log_sigmoid(implicit.clone() * own.clone()).neg() * alike.clone(); // [rows]
        let right = |side: Tensor<1>| side.add_scalar(1.0).div_scalar(2.0); // [rows]
        Ok(Loss { rows: loss.rows + decided.mul_scalar(self.config.preference), ..loss }
            .stat("consistency/unanimous", alike)
            .stat("rewards/margins", implicit)
            .stat("rewards/accuracies", right(own))
            .stat("judge/accuracies", right(judge)))
    }
}

impl Learner for InternalLearner {
    type Model = Decoder;
    type Row = InternalRow;

    fn learn(&self, model: &Decoder, rows: &[&InternalRow]) -> Result<Learned, TrainError> {
        let asked = self.asked(rows)?;
        let TrainingPass { predictors, backward } = model.training_pass(&asked)?;
        let sums = predictors.mask().sum(model.logps(&predictors)); // [6 * rows]
        let loss = self.loss(rows, sums)?;
        let gradients = backward.gradients(model, loss.rows.clone().sum());
        Ok(Learned { gradients, tally: Tally::of(loss, size(&asked)) })
    }

    fn tokens(&self, rows: &[&InternalRow]) -> Option<usize> {
        Some(self.asked(rows).map_or(0, |asked| Row::packed_tokens(&asked)))
    }

    fn measure(&self, model: &Decoder, rows: &[&InternalRow]) -> Result<Tally, TrainError> {
        let asked = self.asked(rows)?;
        let (logps, mask) = model.response_logps(&asked)?; // [6 * rows, longest]
        Ok(Tally::of(self.loss(rows, mask.sum(logps))?, size(&asked)))
    }
}
