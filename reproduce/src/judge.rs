//! What texts are credited by: a scorer, and an estimator of the library.

use ascribe::core::advantage::{Advantage, AdvantageEstimator, Graded};
use ascribe::core::tensor::KlEstimator;
use ascribe::core::{CoreError, Episode, Reduce, Scorer, Text};
use ascribe::preference::rl::{Rollout, Sample, Segmentation};

/// The usual credit: a score on the last token, the divergence from the reference off each, then an estimator.
pub struct Judge<'a> {
    /// What scores texts.
    pub scorer: &'a dyn Scorer,
    /// What makes advantages of scores.
    pub estimator: &'a dyn AdvantageEstimator,
    /// What a nat of divergence costs.
    pub kl: f64,
    /// Where texts are cut into macro actions.
    pub segmentation: Option<Segmentation>,
    /// How prompt and response are written, for cuts that go by the text.
    pub written: Option<fn(&[u32]) -> Text>,
    /// Texts judged so far.
    pub judged: u64,
}

impl<'a> Judge<'a> {
    /// Scores and an estimator alone.
    pub fn new(scorer: &'a dyn Scorer, estimator: &'a dyn AdvantageEstimator) -> Self {
        Self { scorer, estimator, kl: 0.0, segmentation: None, written: None, judged: 0 }
    }

    /// Credits a generation.
    pub fn credit(&mut self, rollouts: &mut Vec<Rollout>) -> Result<(), CoreError> {
        let graded = self.graded(rollouts)?;
        fill(rollouts, self.estimator.estimate(&graded)?);
        Ok(())
    }

    /// Scores, and what leaving the reference costs at each token.
    pub fn graded(&mut self, rollouts: &mut [Rollout]) -> Result<Vec<Graded>, CoreError> {
        let episodes: Vec<Episode> =
            rollouts.iter().map(|rollout| Episode::new(&rollout.prompt, &rollout.response)).collect();
        let credits = self.scorer.score(&episodes)?;
        let mut graded = Vec::with_capacity(rollouts.len());
        for ((rollout, episode), credit) in rollouts.iter_mut().zip(&episodes).zip(&credits) {
            let score = f64::from(credit.to_sequence(episode, Reduce::Sum)?);
            rollout.score = Some(score);
            let mut one = Graded::scored(rollout.group, score, rollout.response.len());
            one.values = rollout.values.iter().flatten().map(|value| f64::from(*value)).collect();
            if let Some(reference) = rollout.ref_logps.as_ref().filter(|_| self.kl > 0.0) {
                for ((reward, logp), reference) in one.rewards.iter_mut().zip(&rollout.logps).zip(reference) {
                    *reward -= self.kl * KlEstimator::K1.of_token(f64::from(*logp), f64::from(*reference));
                }
            }
            if let Some(segmentation) = &self.segmentation {
                let (tokens, ref_logps, number) = (rollout.response.len(), rollout.ref_logps.as_deref(), self.judged);
                let text = self.written.map(|written| written(&episode.tokens));
                one.steps = segmentation.spans(&Sample { tokens, text: text.as_ref(), ref_logps, number })?;
                self.judged += 1;
            }
            graded.push(one);
        }
        Ok(graded)
    }
}

/// Gives texts their advantages, and leaves out those without; where none has any, all stay, and nothing is learned.
pub fn fill(rollouts: &mut Vec<Rollout>, advantages: Vec<Advantage>) {
    let narrowed = |values: &[f64], n: usize| -> Vec<f32> {
        if values.is_empty() { vec![0.0; n] } else { values.iter().map(|value| *value as f32).collect() }
    };
    let any = advantages.iter().any(|advantage| !advantage.tokens.is_empty());
    for (rollout, advantage) in rollouts.iter_mut().zip(&advantages) {
        rollout.advantages = narrowed(&advantage.tokens, rollout.response.len());
        rollout.returns = Some(narrowed(&advantage.returns, rollout.response.len()));
    }
    let mut kept = advantages.iter().map(|advantage| !(any && advantage.tokens.is_empty()));
    rollouts.retain(|_| kept.next().unwrap_or(true));
}
