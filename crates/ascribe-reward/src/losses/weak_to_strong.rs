//! Learning from a weak teacher: weak-to-strong generalisation, arXiv:2312.09390, its code; conflicts after
//! "Super(ficial)-alignment", arXiv:2406.11431.
//!
//! ```text
//! loss = cross-entropy of sigmoid(d) with (1 - c) q + c 1[p >= t],   p = sigmoid(d),  c = confidence * ramp(progress)
//! t = the (1 - mean q) quantile of p in the batch, so as many are hard positives as the teacher has positives
//! ramp = progress / warm_up, at most 1
//! explicit conflict: + alpha * cross-entropy with the flipped truth on pairs that d already gets wrong
//! ```
//! q is the teacher's probability that the first response is better; the gradient passes through d alone. The two-class
//! form of the code is the same with d the difference of the logits. Its ramp follows the steps up to a tenth and then jumps
//! to 1; here it is linear. The quantile couples rows. The deception score: `ascribe_eval::bench::deception`.

use ascribe_core::Loss;
use serde::{Deserialize, Serialize};

use super::pair::{cross_entropy, with_stats};
use crate::error::{option, within};
use crate::math::{host, mean, quantile, sigmoid};
use crate::{RewardError, RewardLoss, ScoreBatch, ScoreNeeds};

/// Options of [`WeakToStrong`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WeakToStrongConfig {
    /// Weight of the student's own hard labels at the end of the ramp; in [0, 1]. 0 is plain imitation.
    pub confidence: f64,
    /// Share of training over which that weight rises from 0; in (0, 1].
    pub warm_up: f64,
    /// Weight of the explicit conflict, finite and at least 0; above 0 rows carry the truth as a second label.
    pub alpha: f64,
}

impl Default for WeakToStrongConfig {
    fn default() -> Self {
        Self { confidence: 0.5, warm_up: 0.2, alpha: 0.0 }
    }
}

impl WeakToStrongConfig {
    /// Checks the options.
    ///
    /// # Errors
    /// When one is outside its range.
    pub fn init(&self) -> Result<WeakToStrong, RewardError> {
        option("confidence", "in [0, 1]", self.confidence, (0.0..=1.0).contains(&self.confidence))?;
        option("warm_up", "above 0 and at most 1", self.warm_up, 0.0 < self.warm_up && self.warm_up <= 1.0)?;
        option("alpha", "finite and at least 0", self.alpha, 0.0 <= self.alpha && self.alpha.is_finite())?;
        Ok(WeakToStrong { config: *self })
    }
}

/// The loss of a student; the first label of a pair is the teacher's probability, the second, in a conflict, 1 where the
/// first response is truly better and 0 where not.
#[derive(Clone, Copy, Debug)]
pub struct WeakToStrong {
    config: WeakToStrongConfig,
}

impl WeakToStrong {
    /// What is taught: the teacher's probabilities, moved towards the student's hard labels.
    fn targets(&self, weak: &[f64], student: &[f64], progress: f64) -> Vec<f64> {
        let c = self.config.confidence * (progress / self.config.warm_up).min(1.0);
        let threshold = quantile(student, 1.0 - mean(weak));
        let hard = |p: f64| f64::from(u8::from(p >= threshold));
        weak.iter().zip(student).map(|(q, p)| (1.0 - c) * q + c * hard(*p)).collect()
    }
}

impl RewardLoss for WeakToStrong {
    fn needs(&self) -> ScoreNeeds {
        let labels = if self.config.alpha > 0.0 { 2 } else { 1 };
        ScoreNeeds { labels, coupled: self.config.confidence > 0.0, ..ScoreNeeds::PAIR }
    }

    fn loss(&self, batch: &ScoreBatch) -> Result<Loss, RewardError> {
        batch.check(&self.needs())?;
        let weak = batch.label(0);
        within("the teacher's probability", &weak, "in [0, 1]", |q| (0.0..=1.0).contains(&q))?;
        let (first, second) = (batch.score(0)?, batch.score(1)?); // [rows]
        let d = first.clone() - second.clone(); // [rows]
        let margins = host(d.clone().detach());
        let student: Vec<f64> = margins.iter().map(|d| sigmoid(*d)).collect();
        let targets = batch.constant(self.targets(&weak, &student, batch.progress())); // [rows]
        let mut rows = cross_entropy(d.clone(), targets.clone()); // [rows]
        if self.config.alpha > 0.0 {
            let truth = batch.label(1);
            within("the truth of a pair", &truth, "0 or 1", |truth| truth == 0.0 || truth == 1.0)?;
            let wrong = |(d, truth): (&f64, &f64)| if (*d > 0.0) == (*truth == 1.0) { 0.0 } else { self.config.alpha };
            let wrong = batch.constant(margins.iter().zip(&truth).map(wrong).collect()); // [rows]
            let flipped = batch.constant(truth.iter().map(|truth| 1.0 - truth).collect()); // [rows]
            rows = rows + cross_entropy(d, flipped) * wrong;
        }
        Ok(with_stats(Loss::mean_of(rows).stat("weak/target", targets), first, second))
    }
}
