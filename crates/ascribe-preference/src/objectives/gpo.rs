//! General preference optimization (GPO) and self-play preference optimization (SPPO).
//!
//! ```text
//! loss = (h_chosen - s_chosen / beta)^2 + (h_rejected - s_rejected / beta)^2
//! s_i  = mean_j s(y_i > y_j) / tau    over all responses of the prompt, itself included
//! ```
//! GPO is arXiv:2410.02197, section 5, with `s` the logit of a preference model ([`mean_scores`] takes the mean of a
//! table); the log-partition is dropped, because a skew-symmetric table sums to 0. The exact loss of its authors is not
//! public; this is the form of SPPO that their text describes. SPPO (arXiv:2405.00675, eq. 4.7) has the probability of
//! winning less one half instead, and *hard* takes that as 1/2 and -1/2. The reference is the policy that wrote the
//! responses. With a small beta the targets are hundreds of nats away: clip the norm of the gradients at 1.

use ascribe_core::{CoreError, LogpBatch, Loss, Needs, Objective, Side};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::scoring::{Scorer, Scoring};
use crate::PreferenceError;
use crate::error::check;

/// What each response should earn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Its score.
    #[default]
    Scores,
    /// One half for the chosen response, minus one half for the rejected one.
    Hard,
}

/// Options of [`Gpo`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GpoConfig {
    /// Strength of the pull to the reference; finite and above 0.
    pub beta: f64,
    /// What each response should earn.
    pub target: Target,
    /// Largest size of `s / beta`; above 0.
    pub target_clamp: f64,
    /// How responses are scored; by the reverse KL divergence.
    #[serde(flatten)]
    pub scoring: Scoring,
}

impl Default for GpoConfig {
    fn default() -> Self {
        Self { beta: 1e-3, target: Target::Scores, target_clamp: 1000.0, scoring: Scoring::default() }
    }
}

impl GpoConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// [`PreferenceError::Beta`] unless beta is finite and above 0; others for the other options.
    pub fn init(&self) -> Result<Gpo, PreferenceError> {
        let clamp = self.target_clamp;
        check(0.0 < clamp, "target_clamp", "above 0", clamp, "start from 1000")?;
        Ok(Gpo { scorer: Scorer::by_sides("gpo", self.beta, self.scoring)?, target: self.target, clamp })
    }
}

/// The GPO loss.
#[derive(Clone, Copy, Debug)]
pub struct Gpo {
    scorer: Scorer,
    target: Target,
    clamp: f64,
}

impl Gpo {
    /// What the log-ratio of each response should be, `[pairs]`.
    fn target(&self, side: &Side, hard: f64) -> Result<Tensor<1>, CoreError> {
        let scores = match self.target {
            Target::Scores => side.scores()?,
            Target::Hard => side.sum().detach().zeros_like().add_scalar(hard),
        };
        Ok(scores.div_scalar(self.scorer.beta()).clamp(-self.clamp, self.clamp))
    }
}

impl Objective for Gpo {
    fn needs(&self) -> Needs {
        let needs = self.scorer.needs();
        if self.target == Target::Scores { needs.with_scores() } else { needs }
    }

    fn loss(&self, batch: &LogpBatch) -> Result<Loss, CoreError> {
        let scored = self.scorer.score(batch)?;
        let won = scored.chosen.clone() - self.target(&scored.pairs.chosen, 0.5)?; // [pairs]
        let lost = scored.rejected.clone() - self.target(&scored.pairs.rejected, -0.5)?; // [pairs]
        self.scorer.finish(&scored, won.square() + lost.square())
    }
}

/// The mean score of each response over a table of `s(y_i > y_j)`, a row a response.
///
/// # Errors
/// When the table is not square and finite, or differs from its negated transpose by more than 1e-4.
pub fn mean_scores(table: &[Vec<f64>]) -> Result<Vec<f64>, PreferenceError> {
    let n = table.len();
    let refuse = |rule, got| {
        let remedy = "score each pair of responses in both orders, and take half of the difference";
        Err(PreferenceError::Rows { rule, got, remedy })
    };
    if let Some(row) = table.iter().find(|row| row.len() != n) {
        return refuse("a table of scores must be square", format!("{} columns beside {n} rows", row.len()));
    }
    for (i, row) in table.iter().enumerate() {
        for (j, score) in row.iter().enumerate() {
            let skew = (score + table[j][i]).abs() <= 1e-4;
            if !skew {
                return refuse("a table of scores must be skew-symmetric", format!("{score} and {}", table[j][i]));
            }
        }
    }
    Ok(table.iter().map(|row| row.iter().sum::<f64>() / n as f64).collect())
}
