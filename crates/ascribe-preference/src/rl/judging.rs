//! Scores of responses, and what each token earned: from a scorer's credit to advantages.

use std::collections::HashSet;

use ascribe_core::advantage::{Graded, Mean, Variance, dead_groups, whiten};
use ascribe_core::tensor::KlEstimator;
use ascribe_core::{CoreError, Credit, Episode, Granularity, Place, Reduce, ResponseMask, StepSpans, Tokens};
use ascribe_reward::{Moments, Standard};
use ascribe_train::TrainError;

use super::reward::credits;
use super::segments::Sample;
use super::source::{Metrics, Next, OnPolicy, narrowed, share, widened};
use super::{DeadGroups, KlPlace, Rollout, text_of};

impl OnPolicy<'_> {
    /// An episode of a response, cut into steps where that is asked for.
    fn episode(&self, rollout: &Rollout, number: usize) -> Result<Episode, CoreError> {
        let prompt = rollout.asked.as_ref().unwrap_or(&rollout.prompt);
        let mut episode = Episode::new(prompt, &rollout.response);
        episode.complete = rollout.complete;
        if let Some(tokenizer) = self.tokenizer {
            episode = episode.with_text(text_of(tokenizer, prompt, &rollout.response)?)?;
        }
        if let Some(segmentation) = &self.config.segmentation {
            let spans = segmentation.spans(&Sample {
                tokens: rollout.response.len(),
                text: episode.text.as_ref(),
                ref_logps: rollout.ref_logps.as_deref(),
                number: self.state.generation.wrapping_mul(1 << 20).wrapping_add(number as u64),
            })?;
            let begin = prompt.len();
            let spans = spans.into_iter().map(|span| begin + span.start..begin + span.end).collect();
            episode.steps = StepSpans::new(spans, episode.tokens.len())?;
        }
        Ok(episode)
    }

    /// Scores and advantages; gives what the next generation begins with.
    pub(super) fn judge(
        &self,
        rollouts: &mut Vec<Rollout>,
        greedy: Vec<Rollout>,
        metrics: &mut Metrics,
    ) -> Result<Next, TrainError> {
        let config = &self.config;
        let numbered = rollouts.iter().enumerate();
        let episodes = numbered.map(|(at, rollout)| self.episode(rollout, at)).collect::<Result<Vec<_>, _>>()?;
        let judged = match self.rewards {
            Some(rewards) => rewards.scored_and_told(&episodes, metrics)?,
            None => credits(self.scorer, &episodes)?,
        };
        let (standard, moments) = self.normalized(&episodes, &judged, metrics)?;
        let mut graded = Vec::with_capacity(rollouts.len());
        for ((rollout, episode), credit) in rollouts.iter_mut().zip(&episodes).zip(&judged) {
            graded.push(self.grade(rollout, episode, credit, &standard)?);
        }
        if self.estimator.needs().greedy {
            let numbered = greedy.iter().enumerate();
            let episodes = numbered.map(|(at, rollout)| self.episode(rollout, at)).collect::<Result<Vec<_>, _>>()?;
            let judged = credits(self.scorer, &episodes)?;
            let scores = episodes.iter().zip(&judged).map(|(episode, credit)| self.score(episode, credit, &standard));
            let scores: Vec<Option<f64>> = scores.collect::<Result<_, _>>()?;
            for one in &mut graded {
                match scores.get(one.group).copied().flatten() {
                    Some(score) => one.greedy = Some(score),
                    // Where nobody can judge what it is compared with, nothing is learned.
                    None => (one.score, one.greedy) = (None, Some(0.0)),
                }
            }
        }
        if self.estimator.needs().without_steps {
            self.leave_steps_out(&episodes, &mut graded, &standard)?;
        }
        metrics.of_scores(rollouts, &graded);
        if let Some(second) = &config.second {
            second.pay(rollouts, &mut graded, metrics);
        }
        let dead = dead_groups(&graded);
        metrics.push("frac_reward_zero_std", share(&dead));
        let coef = self.penalise(rollouts, &mut graded, metrics);
        if config.whiten_rewards {
            whiten_rewards(&mut graded)?;
        }
        let (mut advantages, mut next_kept) = (self.estimator.estimate(&graded)?, Vec::new());
        if let Some(constrained) = &self.constrained {
            (advantages, next_kept) = self.constrain(constrained, rollouts, &episodes, advantages, metrics)?;
        }
        let (mut unused, mut told) = (Vec::with_capacity(rollouts.len()), Vec::with_capacity(rollouts.len()));
        for ((rollout, advantage), graded) in rollouts.iter_mut().zip(advantages).zip(&graded) {
            let n = rollout.response.len();
            unused.push(advantage.tokens.is_empty());
            told.push(!(rollout.borrowed || (advantage.tokens.is_empty() && advantage.returns.is_empty())));
            rollout.advantages = filled(&advantage.tokens, n);
            rollout.returns = self.needs.values.then(|| filled(&advantage.returns, n));
            rollout.starts = self.needs.starts.then(|| {
                let mut starts = vec![0.0; n];
                graded.steps.iter().for_each(|step| starts[step.start] = 1.0);
                starts
            });
        }
        if self.estimator.needs().placed {
            metrics.of_values(rollouts);
        }
        let left_out = |at: usize, rollout: &Rollout| {
            let cut = config.mask_truncated && !rollout.complete;
            unused[at] || rollout.borrowed || cut || (config.dead_groups == DeadGroups::Mask && dead[at])
        };
        let kept: Vec<bool> = rollouts.iter().enumerate().map(|(at, rollout)| !left_out(at, rollout)).collect();
        metrics.push("rollouts/kept", share(&kept));
        metrics.of_kept(rollouts, &kept);
        let kept = if kept.contains(&true) { kept } else { self.spared(rollouts, told)? };
        let mut kept = kept.into_iter();
        rollouts.retain(|_| kept.next().unwrap_or(true));
        Ok(Next { coef, kept: next_kept, moments })
    }

    /// The shift and scale of the scores of this generation, by all so far, and what is known of them for the next one. A score
    /// that is none counts nothing.
    fn normalized(
        &self,
        episodes: &[Episode],
        judged: &[Credit],
        metrics: &mut Metrics,
    ) -> Result<(Standard, Option<[u64; 3]>), CoreError> {
        if !self.config.normalize_rewards {
            return Ok((Standard::NONE, None));
        }
        let mut moments = self.state.moments.map_or(Moments::default(), |bits| {
            let [mean, variance, count] = bits.map(f64::from_bits);
            Moments { mean, variance, count }
        });
        let mut scores = Vec::with_capacity(judged.len());
        for (episode, credit) in episodes.iter().zip(judged) {
            scores.push(f64::from(credit.to_sequence(episode, Reduce::Sum)?));
        }
        scores.retain(|score| !score.is_nan());
        if !scores.is_empty() {
            moments.add(&scores)?;
        }
        let standard = moments.standard();
        metrics.push("reward/running_mean", standard.mean);
        metrics.push("reward/running_std", standard.std);
        Ok((standard, Some([moments.mean, moments.variance, moments.count].map(f64::to_bits))))
    }

    /// What stays where nothing is kept, as a step without rows is no step: all of which something is `told`, or all. Of
    /// responses that the length limit cut nothing is learned then.
    fn spared(&self, rollouts: &mut [Rollout], told: Vec<bool>) -> Result<Vec<bool>, CoreError> {
        let nothing = !told.contains(&true);
        if nothing && (self.needs.values || self.needs.scores) {
            let rule = "a critic, or a loss on scores, needs a response that the reward can judge";
            return Err(CoreError::Shape { rule, got: "a generation without one".to_owned() });
        }
        // A loss without ratios is told a verdict, of which 0 would be another one.
        if self.config.mask_truncated && self.needs.old_logps {
            for rollout in rollouts.iter_mut().filter(|rollout| !rollout.complete) {
                rollout.advantages.fill(0.0);
                if self.estimator.needs().placed {
                    // A value that is its own target.
                    rollout.returns.clone_from(&rollout.values);
                }
            }
        }
        Ok(if nothing { vec![true; rollouts.len()] } else { told })
    }

    /// The score of a response, normalised where that is asked for, after penalties, gain, bias and cuts; a NaN is none.
    fn score(&self, episode: &Episode, credit: &Credit, standard: &Standard) -> Result<Option<f64>, CoreError> {
        let score = f64::from(credit.to_sequence(episode, Reduce::Sum)?);
        Ok((!score.is_nan()).then(|| self.shaped(standard.apply(score), episode)))
    }

    fn shaped(&self, score: f64, episode: &Episode) -> f64 {
        let config = &self.config;
        let tokens = episode.response_tokens().len();
        let score = config.length.of(score, tokens, config.max_completion_length, !episode.complete);
        let (gain, bias) = config.reward_scale;
        let score = gain * score + bias;
        config.reward_clip.map_or(score, |(least, most)| score.clamp(least, most))
    }

    /// A response before anything judges it.
    pub(super) fn ungraded(&self, rollout: &Rollout, episode: &Episode) -> Graded {
        let begin = episode.prompt_len();
        let relative = |spans: &StepSpans| -> Vec<std::ops::Range<usize>> {
            spans.iter().map(|span| span.start - begin..span.end - begin).collect()
        };
        Graded {
            group: rollout.group,
            rewards: vec![0.0; rollout.response.len()],
            values: widened(rollout.values.as_deref().unwrap_or_default()),
            steps: relative(&episode.steps),
            turns: relative(&episode.turns),
            ..Graded::default()
        }
    }

    fn grade(
        &self,
        rollout: &mut Rollout,
        episode: &Episode,
        credit: &Credit,
        standard: &Standard,
    ) -> Result<Graded, CoreError> {
        let begin = episode.prompt_len();
        let mut graded = self.ungraded(rollout, episode);
        if credit.granularity() == Granularity::Sequence || !self.estimator.needs().placed {
            graded.score = self.score(episode, credit, standard)?;
        } else {
            if self.config.normalize_rewards {
                let (rule, got) = ("normalize_rewards is for scores of whole responses", "rewards of parts of one");
                return Err(CoreError::Shape { rule, got: got.to_owned() });
            }
            if self.config.reward_clip.is_some() {
                let (rule, got) = ("reward_clip_range cuts scores of whole responses", "rewards of parts of one");
                return Err(CoreError::Shape { rule, got: got.to_owned() });
            }
            // Process rewards stay where they were earned; penalties for length are the outcome's.
            let tokens = credit.to_tokens(episode, Place::LastToken)?;
            if !tokens.iter().any(|reward| reward.is_nan()) {
                let gain = self.config.reward_scale.0;
                graded.rewards = widened(&tokens[begin..]).into_iter().map(|reward| gain * reward).collect();
                graded.score = Some(self.shaped(0.0, episode));
            }
        }
        rollout.score = graded.total();
        Ok(graded)
    }

    /// Scores of the responses without each of their steps, with the same cuts and penalties. What is left of a response of
    /// one step is nothing: 0. A step whose absence nobody can judge changes nothing.
    fn leave_steps_out(
        &self,
        episodes: &[Episode],
        graded: &mut [Graded],
        standard: &Standard,
    ) -> Result<(), CoreError> {
        let mut shorter = Vec::new();
        let mut places = Vec::new();
        for (at, episode) in episodes.iter().enumerate() {
            graded[at].without_step = vec![0.0; episode.steps.len()];
            for (step, span) in episode.steps.iter().enumerate() {
                if span.len() < episode.response_tokens().len() {
                    shorter.push(self.without(episode, span)?);
                    places.push((at, step));
                }
            }
        }
        for ((at, step), (episode, credit)) in
            places.into_iter().zip(shorter.iter().zip(credits(self.scorer, &shorter)?))
        {
            let left = self.score(episode, &credit, standard)?.or(graded[at].score);
            graded[at].without_step[step] = left.unwrap_or(0.0);
        }
        Ok(())
    }

    fn without(&self, episode: &Episode, span: std::ops::Range<usize>) -> Result<Episode, CoreError> {
        let begin = episode.prompt_len();
        let response = [&episode.tokens[begin..span.start], &episode.tokens[span.end..]].concat();
        let tokens = episode.tokens[..begin].to_vec();
        let mut shorter = Episode {
            response: ResponseMask::from_start(begin, begin + response.len()),
            tokens: Tokens::from(tokens).followed_by(&response),
            complete: episode.complete,
            ..Episode::default()
        };
        if let Some(tokenizer) = self.tokenizer {
            shorter.text = Some(text_of(tokenizer, &episode.tokens[..begin], &response)?);
        }
        Ok(shorter)
    }

    /// Takes off what leaving the reference costs; gives the strength for the next generation.
    fn penalise(&self, rollouts: &[Rollout], graded: &mut [Graded], metrics: &mut Metrics) -> f64 {
        let (mut divergences, mut bounded, mut surprises) = (Vec::new(), 0.0, Vec::new());
        for (rollout, graded) in rollouts.iter().zip(graded).filter(|(rollout, _)| !rollout.borrowed) {
            // The engine's own are of temperature 1, and as good there where no others are kept.
            let old = rollout.old_logps.as_ref().or((self.config.temperature() == 1.0).then_some(&rollout.logps));
            surprises.extend(old.map(|old| -old.iter().map(|logp| f64::from(*logp)).sum::<f64>()));
            let (Some(old), Some(reference)) = (old, &rollout.ref_logps) else { continue };
            let pairs = || old.iter().zip(reference).map(|(old, reference)| (f64::from(*old), f64::from(*reference)));
            divergences.push(pairs().map(|(old, reference)| old - reference).sum::<f64>());
            bounded += pairs().map(|(old, reference)| KlEstimator::K3.of_token(old, reference)).sum::<f64>();
            let Some(kl) = &self.config.kl_reward else { continue };
            let costs = pairs().map(|(old, reference)| self.state.coef * kl.estimator.of_token(old, reference));
            match kl.place {
                KlPlace::Tokens => graded.rewards.iter_mut().zip(costs).for_each(|(reward, cost)| *reward -= cost),
                KlPlace::Score => {
                    let cost: f64 = costs.sum();
                    graded.score = graded.score.map(|score| score - cost);
                }
            }
        }
        if !surprises.is_empty() {
            metrics.push("sampling/entropy", surprises.iter().sum::<f64>() / surprises.len() as f64);
        }
        if divergences.is_empty() {
            return self.state.coef;
        }
        let mean = divergences.iter().sum::<f64>() / divergences.len() as f64;
        metrics.push("kl_to_reference", mean);
        // Of the same responses by k3, which is never negative and varies less.
        metrics.push("kl_to_reference_k3", bounded / divergences.len() as f64);
        let Some(kl) = &self.config.kl_reward else { return self.state.coef };
        metrics.push("kl_coef", self.state.coef);
        kl.adaptive.map_or(self.state.coef, |control| control.next(self.state.coef, mean, divergences.len()))
    }
}

impl Metrics {
    /// The reward of what is learned from, where something is left out.
    fn of_kept(&mut self, rollouts: &[Rollout], kept: &[bool]) {
        let scores = rollouts.iter().zip(kept).filter(|(_, kept)| **kept).filter_map(|(rollout, _)| rollout.score);
        let scores: Vec<f64> = scores.collect();
        if kept.contains(&false) && !scores.is_empty() {
            self.push("reward/kept", scores.iter().sum::<f64>() / scores.len() as f64);
        }
    }

    /// How much of the spread of what values should have been they know: `1 - var(R - V) / var(R)` over all tokens.
    fn of_values(&mut self, rollouts: &[Rollout]) {
        let (mut returns, mut errors) = (Vec::new(), Vec::new());
        for rollout in rollouts.iter().filter(|rollout| rollout.score.is_some()) {
            let (Some(values), Some(told)) = (&rollout.values, &rollout.returns) else { continue };
            returns.extend(widened(told));
            errors.extend(told.iter().zip(values).map(|(told, value)| f64::from(told - value)));
        }
        let spread = Variance::Biased.of(&returns);
        if spread > 0.0 {
            self.push("explained_variance", 1.0 - Variance::Biased.of(&errors) / spread);
        }
    }

    /// Mean length in tokens, and the shares of responses that the limit cut and that ended by themselves.
    pub(super) fn of_lengths(&mut self, rollouts: &[Rollout]) {
        let tokens = rollouts.iter().map(|rollout| rollout.response.len()).sum::<usize>();
        self.push("completions/mean_length", tokens as f64 / rollouts.len().max(1) as f64);
        let (cut, complete): (Vec<bool>, Vec<bool>) =
            rollouts.iter().map(|rollout| (!rollout.complete, rollout.complete)).unzip();
        self.push("completions/clipped_ratio", share(&cut));
        self.push("completions/complete_ratio", share(&complete));
    }

    /// Rewards and lengths, under the names of TRL.
    fn of_scores(&mut self, rollouts: &[Rollout], graded: &[Graded]) {
        let scores: Vec<f64> = graded.iter().filter_map(Graded::total).collect();
        if !scores.is_empty() {
            self.push("reward", scores.iter().sum::<f64>() / scores.len() as f64);
            self.push("reward_std", Variance::Unbiased.of(&scores).sqrt());
        }
        self.push("rollouts/unscored", (graded.len() - scores.len()) as f64);
        self.of_lengths(rollouts);
        for (name, n) in [("completions/distinct_1", 1), ("completions/distinct_2", 2)] {
            if let Some(share) = distinct(rollouts, n) {
                self.push(name, share);
            }
        }
    }
}

/// The share of distinct runs of `n` tokens among all in the responses, arXiv:1510.03055: 1 where none comes twice. None where
/// no response is as long.
fn distinct(rollouts: &[Rollout], n: usize) -> Option<f64> {
    let all = || rollouts.iter().flat_map(move |rollout| rollout.response.windows(n));
    let (kinds, count) = (all().collect::<HashSet<&[u32]>>().len(), all().count());
    (count > 0).then(|| kinds as f64 / count as f64)
}

/// The values, or 0 for each of `n` tokens where there are none.
pub(super) fn filled(values: &[f64], n: usize) -> Vec<f32> {
    if values.is_empty() { vec![0.0; n] } else { narrowed(values) }
}

/// Rewards and score of all tokens, whitened together with their mean kept.
fn whiten_rewards(graded: &mut [Graded]) -> Result<(), CoreError> {
    let mut scored: Vec<&mut Graded> = graded.iter_mut().filter(|one| one.score.is_some()).collect();
    for one in &mut scored {
        let score = one.score.replace(0.0).unwrap_or(0.0);
        if let Some(last) = one.rewards.last_mut() {
            *last += score;
        }
    }
    let mut all: Vec<f64> = scored.iter().flat_map(|one| one.rewards.iter().copied()).collect();
    whiten(&mut all, Mean::Keep, Variance::Unbiased, 1e-8)?;
    let mut all = all.into_iter();
    for one in scored {
        one.rewards.iter_mut().zip(&mut all).for_each(|(reward, white)| *reward = white);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinct_runs_by_hand() {
        let rollouts = |responses: &[&[u32]]| -> Vec<Rollout> {
            responses.iter().map(|ids| Rollout { response: (*ids).into(), ..Rollout::default() }).collect()
        };
        // 1, 2 and 3 among six tokens; 12 and 21 among three pairs of neighbours, none of them across responses.
        let three = rollouts(&[&[1, 2, 1], &[1, 2], &[3]]);
        assert_eq!((distinct(&three, 1), distinct(&three, 2)), (Some(0.5), Some(2.0 / 3.0)));
        assert_eq!(distinct(&three, 4), None);
        let same = rollouts(&[&[4, 4, 4, 4]]);
        assert_eq!((distinct(&same, 1), distinct(&same, 2)), (Some(0.25), Some(1.0 / 3.0)));
    }

    #[test]
    fn lengths_by_hand() {
        let one = |ids: &[u32], complete| Rollout { response: ids.into(), complete, ..Rollout::default() };
        let mut metrics = Metrics::default();
        metrics.of_lengths(&[one(&[1, 2, 3], true), one(&[1], true), one(&[1, 2, 3, 4], false), one(&[2, 2], true)]);
        // 10 tokens in 4 responses, one of them cut.
        let told = ["mean_length", "clipped_ratio", "complete_ratio"];
        assert_eq!(told.map(|name| metrics.get(&format!("completions/{name}"))), [2.5, 0.25, 0.75].map(Some));
    }

    #[test]
    fn explained_variance_by_hand() {
        let told = |values: &[f32], returns: &[f32], score: Option<f64>| {
            let (values, returns) = (Some(values.to_vec()), Some(returns.to_vec()));
            let mut metrics = Metrics::default();
            metrics.of_values(&[Rollout { values, returns, score, ..Rollout::default() }]);
            metrics.get("explained_variance")
        };
        // The spread of 1 and 2 is 1/4; errors of 1/2 and 1/2 have none, and -1 and 1 have one of 1.
        assert_eq!(told(&[0.5, 1.5], &[1.0, 2.0], Some(1.0)), Some(1.0));
        assert_eq!(told(&[0.0, 0.0], &[1.0, 2.0], Some(1.0)), Some(0.0));
        assert_eq!(told(&[2.0, 1.0], &[1.0, 2.0], Some(1.0)), Some(-3.0));
        // Of equal returns, and of what has no score, nothing is said.
        assert_eq!(told(&[0.0, 1.0], &[2.0, 2.0], Some(1.0)), None);
        assert_eq!(told(&[0.5, 1.5], &[0.5, 1.5], None), None);
    }
}
