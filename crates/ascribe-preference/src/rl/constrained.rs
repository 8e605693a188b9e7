//! Rewards under constraints in the loop: arXiv:2310.04373.
//!
//! ```text
//! A = free weight * A_free + sum_i w_i A_i,   each A by the estimator with a critic of its own
//! the weights of the next generation follow the mean of each component reward over this one
//! ```
//! The free reward is what the source is judged by and the penalty for leaving the reference, the paper's `A_KL`, to which a
//! reward may be added. Component rewards are neither cut nor made less for length: a bound is on the reward itself. How
//! advantages are weighed is the [`Constraints`]' own, and so is how bounds follow an outside metric.

use ascribe_core::advantage::{Advantage, Constraints, Graded};
use ascribe_core::{CoreError, Credit, Episode, Granularity, Place, Reduce, Scorer};
use ascribe_train::TrainError;

use super::judging::filled;
use super::reward::credits;
use super::source::{Metrics, OnPolicy, widened};
use super::{DeadGroups, Rollout};

/// Component rewards, and what weighs them.
pub(super) struct Constrained<'a> {
    scorers: Vec<&'a dyn Scorer>,
    constraints: &'a dyn Constraints,
    /// What bounds that adapt follow.
    metric: Option<&'a dyn Scorer>,
}

impl<'a> Constrained<'a> {
    /// The component rewards, and the metric.
    pub(super) fn scorers(&self) -> impl Iterator<Item = &'a dyn Scorer> {
        self.scorers.iter().copied().chain(self.metric)
    }
}

impl<'a> OnPolicy<'a> {
    /// The same with component rewards that `constraints` hold to their bounds, beside the reward of the source. A loss with
    /// values needs a critic more for each.
    ///
    /// # Errors
    /// When numbers differ, or the estimator or an option does not go with several rewards.
    pub fn with_constraints(
        mut self,
        scorers: Vec<&'a dyn Scorer>,
        constraints: &'a dyn Constraints,
    ) -> Result<Self, TrainError> {
        let (n, needs) = (scorers.len(), self.estimator.needs());
        let critics = if needs.values { n } else { 0 };
        if constraints.components() != n || self.needs.critics != critics {
            let rule = "constraints need a scorer each, and a critic each where the estimator has one";
            let (bounds, critics) = (constraints.components(), self.needs.critics);
            return Err(
                CoreError::Shape { rule, got: format!("{bounds} bounds, {n} scorers, {critics} critics") }.into()
            );
        }
        let masked = self.config.dead_groups == DeadGroups::Mask;
        if needs.greedy || needs.without_steps || masked || self.config.second.is_some() {
            let rule = "constraints go with estimators without greedy responses and left-out steps, one attempt, and dead groups kept";
            return Err(CoreError::Shape { rule, got: "another setting".to_owned() }.into());
        }
        self.state.kept = constraints.start().into_iter().map(f64::to_bits).collect();
        self.constrained = Some(Constrained { scorers, constraints, metric: None });
        Ok(self)
    }

    /// The same with the outside metric that the bounds of the constraints follow.
    ///
    /// # Errors
    /// When there are no constraints whose bounds follow one.
    pub fn with_metric(mut self, metric: &'a dyn Scorer) -> Result<Self, TrainError> {
        match self.constrained.as_mut().filter(|constrained| constrained.constraints.adapts()) {
            Some(constrained) => constrained.metric = Some(metric),
            None => {
                let (rule, got) = ("a metric is for constraints whose bounds follow it", "others, or none".to_owned());
                return Err(CoreError::Shape { rule, got }.into());
            }
        }
        Ok(self)
    }

    /// Advantages by all rewards together, and the numbers that weigh them in the next generation.
    pub(super) fn constrain(
        &self,
        constrained: &Constrained,
        rollouts: &mut [Rollout],
        episodes: &[Episode],
        free: Vec<Advantage>,
        metrics: &mut Metrics,
    ) -> Result<(Vec<Advantage>, Vec<u64>), CoreError> {
        let kept: Vec<f64> = self.state.kept.iter().map(|bits| f64::from_bits(*bits)).collect();
        let (weights, bounds) = (constrained.constraints.weights(&kept)?, constrained.constraints.thresholds(&kept)?);
        let (mut components, mut means) = (Vec::new(), Vec::new());
        for (at, (scorer, weight)) in constrained.scorers.iter().zip(&weights).enumerate() {
            let credits = credits(*scorer, episodes)?;
            let mut graded = Vec::with_capacity(rollouts.len());
            for ((rollout, episode), credit) in rollouts.iter().zip(episodes).zip(&credits) {
                graded.push(self.grade_component(at, rollout, episode, credit)?);
            }
            let totals: Vec<f64> = graded.iter().filter_map(Graded::total).collect();
            if totals.is_empty() {
                let rule = "a constraint needs a reward that can judge one of the responses";
                return Err(CoreError::Shape { rule, got: format!("none by constraint {at}") });
            }
            let mean = totals.iter().sum::<f64>() / totals.len() as f64;
            metrics.push(&format!("constraint_{at}/reward"), mean);
            metrics.push(&format!("constraint_{at}/weight"), *weight);
            if let Some(bound) = bounds.get(at) {
                metrics.push(&format!("constraint_{at}/bound"), *bound);
            }
            means.push(mean);
            let advantages = self.estimator.estimate(&graded)?;
            for (rollout, advantage) in rollouts.iter_mut().zip(&advantages) {
                let n = rollout.response.len();
                if let Some(critic) = rollout.critics.get_mut(at) {
                    critic.returns = filled(&advantage.returns, n);
                }
            }
            components.push(in_a_row(&advantages, rollouts));
        }
        let mixed = constrained.constraints.mix(&kept, &in_a_row(&free, rollouts), &components)?;
        let (expected, got) = (rollouts.iter().map(|rollout| rollout.response.len()).sum::<usize>(), mixed.len());
        if got != expected {
            return Err(CoreError::Length { what: "the advantages under constraints", expected, got });
        }
        let mut rest = mixed.as_slice();
        let mut advantages = Vec::with_capacity(free.len());
        for (free, rollout) in free.into_iter().zip(rollouts.iter()) {
            let (own, behind) = rest.split_at(rollout.response.len());
            rest = behind;
            advantages.push(Advantage { tokens: own.to_vec(), returns: free.returns });
        }
        let next = match constrained.metric {
            Some(metric) => {
                let metric = mean(metric, episodes)?;
                metrics.push("constraint_metric", metric);
                constrained.constraints.next_by(&kept, &means, metric)?
            }
            None => constrained.constraints.next(&kept, &means)?,
        };
        Ok((advantages, next.into_iter().map(f64::to_bits).collect()))
    }

    /// What is known of a response by a component reward.
    fn grade_component(
        &self,
        at: usize,
        rollout: &Rollout,
        episode: &Episode,
        credit: &Credit,
    ) -> Result<Graded, CoreError> {
        let values = rollout.critics.get(at).map(|critic| widened(&critic.values)).unwrap_or_default();
        let mut graded = Graded { values, ..self.ungraded(rollout, episode) };
        if credit.granularity() == Granularity::Sequence || !self.estimator.needs().placed {
            let score = f64::from(credit.to_sequence(episode, Reduce::Sum)?);
            graded.score = (!score.is_nan()).then_some(score);
        } else {
            let tokens = credit.to_tokens(episode, Place::LastToken)?;
            if !tokens.iter().any(|reward| reward.is_nan()) {
                graded.rewards = widened(&tokens[episode.prompt_len()..]);
                graded.score = Some(0.0);
            }
        }
        Ok(graded)
    }
}

/// The mean of what a scorer says of episodes, of those that it can judge.
fn mean(scorer: &dyn Scorer, episodes: &[Episode]) -> Result<f64, CoreError> {
    let mut scores = Vec::with_capacity(episodes.len());
    for (credit, episode) in credits(scorer, episodes)?.iter().zip(episodes) {
        scores.push(f64::from(credit.to_sequence(episode, Reduce::Sum)?));
    }
    scores.retain(|score| !score.is_nan());
    if scores.is_empty() {
        let rule = "an outside metric needs to judge one of the responses";
        return Err(CoreError::Shape { rule, got: "none".to_owned() });
    }
    Ok(scores.iter().sum::<f64>() / scores.len() as f64)
}

/// The advantages of all tokens, response after response; 0 for those of a response without any.
fn in_a_row(advantages: &[Advantage], rollouts: &[Rollout]) -> Vec<f64> {
    let mut all = Vec::new();
    for (advantage, rollout) in advantages.iter().zip(rollouts) {
        match advantage.tokens.is_empty() {
            true => all.extend(std::iter::repeat_n(0.0, rollout.response.len())),
            false => all.extend(&advantage.tokens),
        }
    }
    all
}
