//! Rollouts as the rows of training: written by the policy as it is, judged, and used for a few steps.
//!
//! ```text
//! generation: prompts -> responses -> scores -> advantages;   then num_iterations x steps_per_generation steps on them
//! ```
//! What is random comes from streams named by generation and prompt. A generation that is under way is part of a checkpoint,
//! with the log-probabilities and the transform that it was drawn with, so a run that is killed goes on with the same
//! responses. The engine that writes takes the weights once a generation and is dropped afterwards: it holds nothing stale, and
//! no memory while the policy is trained.

use std::collections::HashMap;
use std::path::Path;

use ascribe_core::advantage::AdvantageEstimator;
use ascribe_core::{CoreError, Needs, Scorer, Tokens};
use ascribe_data::{Batch, Cursor, Epochs};
use ascribe_lm::{Decoder, Row, Tokenizer};
use ascribe_train::{Source, TrainError, Window};
use burn::module::Module;
use serde::{Deserialize, Serialize};

use super::constrained::Constrained;
use super::writing::cuts;
use super::{Actor, CriticTokens, Rollout, RolloutConfig, Segmentation, WeightedRewards, kept, most_uncertain};
use crate::TrainRow;

/// The file of pending rollouts in a checkpoint.
const FILE: &str = "rollouts.json";

/// Responses that are written, and not yet used up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Pending {
    rollouts: Vec<Rollout>,
    metrics: Vec<(String, f64)>,
    /// Where the prompts of the next generation begin.
    next: Cursor,
    /// Strength of the penalty in the next generation.
    next_coef: f64,
    /// The numbers of the constraints in the next generation.
    #[serde(default)]
    next_kept: Vec<u64>,
    /// What is known of scores in the next generation.
    #[serde(default)]
    next_moments: Option<[u64; 3]>,
}

/// Where the source stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct State {
    pub(super) generation: u64,
    /// Steps made on the pending responses.
    used: usize,
    pub(super) coef: f64,
    /// The numbers of the constraints, as bits, so that nothing is rounded.
    #[serde(default)]
    pub(super) kept: Vec<u64>,
    /// Mean, variance and count of all scores so far, as bits; nothing before the first, or where scores stay as they are.
    #[serde(default)]
    pub(super) moments: Option<[u64; 3]>,
    /// What the scorer, those under constraints and the metric remember, in the same way.
    #[serde(default)]
    scorers: Vec<Vec<u64>>,
    pending: Option<Pending>,
}

/// What the next generation begins with.
pub(super) struct Next {
    /// Strength of the penalty.
    pub(super) coef: f64,
    /// The numbers of the constraints.
    pub(super) kept: Vec<u64>,
    /// What is known of scores.
    pub(super) moments: Option<[u64; 3]>,
}

/// The policy as a source of rows: it writes responses to prompts, which a scorer judges and an estimator credits.
pub struct OnPolicy<'a> {
    pub(super) prompts: &'a [Tokens],
    pub(super) scorer: &'a dyn Scorer,
    /// The scorer once more, where its parts are told of.
    pub(super) rewards: Option<&'a WeightedRewards>,
    pub(super) estimator: &'a dyn AdvantageEstimator,
    pub(super) needs: Needs,
    pub(super) reference: Option<Decoder>,
    /// What the reference reads, by what the policy reads, where it is something else.
    reference_prompts: Option<HashMap<Tokens, Tokens>>,
    pub(super) constrained: Option<Constrained<'a>>,
    pub(super) tokenizer: Option<&'a Tokenizer>,
    texts: &'a [TrainRow],
    pub(super) config: RolloutConfig,
    order: Epochs,
    cursor: Cursor,
    pub(super) state: State,
}

impl<'a> OnPolicy<'a> {
    /// A source for an objective with these `needs`. Prompts come in a new order each epoch.
    ///
    /// # Errors
    /// When an option is out of its range, there is no prompt, or what estimator and objective need does not go together.
    pub fn new(
        prompts: &'a [Tokens],
        scorer: &'a dyn Scorer,
        estimator: &'a dyn AdvantageEstimator,
        needs: Needs,
        config: RolloutConfig,
    ) -> Result<Self, TrainError> {
        config.check()?;
        if prompts.is_empty() {
            return Err(TrainError::NoRows);
        }
        if estimator.needs().group && config.num_generations < 2 {
            let (name, rule) = ("num_generations", "at least 2 with an estimator that compares responses to a prompt");
            return Err(CoreError::Range { name, rule, got: config.num_generations as f64 }.into());
        }
        if estimator.needs().values != needs.values {
            let rule = "an estimator with a critic needs a loss with values, and one without needs one without";
            let got = format!("values in the estimator: {}, in the loss: {}", estimator.needs().values, needs.values);
            return Err(CoreError::Shape { rule, got }.into());
        }
        if config.critic_warmup > 0 && !needs.values {
            let rule = "critic_warmup needs an estimator with a critic, such as gae";
            return Err(CoreError::Shape { rule, got: "one without".to_owned() }.into());
        }
        if needs.coupled && (config.steps_per_generation != 1 || config.num_generations < 2) {
            let rule = "a loss over all responses to a prompt needs at least 2, and steps_per_generation 1";
            let got = format!("{} and {}", config.num_generations, config.steps_per_generation);
            return Err(CoreError::Shape { rule, got }.into());
        }
        if (config.correction.is_some() || config.top_entropy.is_some()) && !needs.weights {
            let rule = "a correction, or a choice among tokens, needs a loss with weights of tokens";
            return Err(CoreError::Shape { rule, got: "one without".to_owned() }.into());
        }
        if config.whiten_rewards && !estimator.needs().placed {
            let rule =
                "whiten_rewards moves scores into the rewards of tokens, and needs an estimator of those, such as gae";
            return Err(CoreError::Shape { rule, got: "one that compares scores".to_owned() }.into());
        }
        if needs.scores && (config.kl_reward.is_some() || config.second.is_some() || config.normalize_rewards) {
            let rule = "a loss on scores takes them as they are";
            let got = "a penalty for leaving the reference, second attempts, or normalized rewards".to_owned();
            return Err(CoreError::Shape { rule, got }.into());
        }
        if config.second.is_some() && estimator.needs().greedy {
            let (rule, got) = ("second attempts need a baseline that is not greedy", "a greedy one".to_owned());
            return Err(CoreError::Shape { rule, got }.into());
        }
        if estimator.needs().greedy && config.segmentation.as_ref().is_some_and(Segmentation::needs_reference) {
            let rule = "greedy responses are not read by the reference, so steps must be cut by something else";
            return Err(CoreError::Shape { rule, got: "perplexity".to_owned() }.into());
        }
        if needs.starts && config.segmentation.is_none() {
            let (rule, got) =
                ("a loss over steps needs responses that are cut into steps", "no segmentation".to_owned());
            return Err(CoreError::Shape { rule, got }.into());
        }
        let order = Epochs::new(prompts.len(), config.seed.child("prompts", 0))?;
        let coef = config.kl_reward.map_or(0.0, |kl| kl.coef);
        let state = State { coef, ..State::default() };
        let cursor = Cursor::default();
        Ok(Self {
            prompts,
            scorer,
            rewards: None,
            estimator,
            needs,
            reference: None,
            reference_prompts: None,
            constrained: None,
            tokenizer: None,
            texts: &[],
            config,
            order,
            cursor,
            state,
        })
    }

    /// The same with the reference of the pull and of the penalty.
    #[must_use]
    pub fn with_reference(self, reference: Decoder) -> Self {
        Self { reference: Some(reference.valid()), ..self }
    }

    /// The same where the reference reads other prompts than the policy, by the tokens that the policy reads: one that names
    /// what is wanted, say, which the reference is not told.
    #[must_use]
    pub fn with_reference_prompts(self, prompts: HashMap<Tokens, Tokens>) -> Self {
        Self { reference_prompts: Some(prompts), ..self }
    }

    /// The same with the tokenizer, so that scorers see text.
    #[must_use]
    pub fn with_tokenizer(self, tokenizer: &'a Tokenizer) -> Self {
        Self { tokenizer: Some(tokenizer), ..self }
    }

    /// The same with texts that nothing is learned from: their perplexity, of the responses given the prompts at temperature 1,
    /// is logged with each generation, as what imitation costs.
    #[must_use]
    pub fn with_texts(self, texts: &'a [TrainRow]) -> Self {
        Self { texts, ..self }
    }

    /// The same, whose scorer is this sum of rewards: the mean of each is logged under its name.
    #[must_use]
    pub fn with_rewards(self, rewards: &'a WeightedRewards) -> Self {
        Self { rewards: Some(rewards), ..self }
    }

    /// Optimizer steps of `epochs` passes over the prompts, where no generation ends early.
    pub fn steps(&self, epochs: f64) -> usize {
        let generations = (self.order.batches(self.config.prompts) as f64 * epochs).ceil() as usize;
        generations.saturating_mul(self.config.steps())
    }

    /// The rollouts that are pending.
    pub fn pending(&self) -> &[Rollout] {
        self.state.pending.as_ref().map_or(&[], |pending| &pending.rollouts)
    }

    /// All that judges responses.
    fn scorers(&self) -> Vec<&'a dyn Scorer> {
        let constrained = self.constrained.iter().flat_map(Constrained::scorers);
        std::iter::once(self.scorer).chain(constrained).collect()
    }

    /// Writes, judges and credits the responses of a generation.
    fn generate(&self, actor: &Actor) -> Result<Pending, TrainError> {
        let config = &self.config;
        let Batch { rows, next } = self.order.batch(self.cursor, config.prompts)?;
        let model = actor.valid();
        let (mut rollouts, greedy) = self.write(&model, &rows)?;
        let kept_old = config.steps() > 1
            || config.kl_reward.is_some()
            || config.correction.is_some()
            || self.needs.drawn_logps
            || !cuts(&config.sampling).is_empty();
        let needs_reference = self.needs.ref_logps
            || config.kl_reward.is_some()
            || config.segmentation.as_ref().is_some_and(Segmentation::needs_reference);
        let mut metrics = Metrics::default();
        metrics.push("generation", self.state.generation as f64);
        if kept_old || self.needs.values || config.top_entropy.is_some() {
            let known = self.know(&model, &rollouts)?;
            if config.sampling.temperature == 1.0 && config.temperature() == 1.0 {
                let own = rollouts.iter().zip(&known.logps).filter(|(rollout, _)| !rollout.borrowed);
                let gaps = own.map(|(rollout, logps)| largest_gap(&rollout.logps, logps));
                metrics.push("sampling/logp_difference", gaps.fold(0.0, f64::max));
            }
            self.draw_again(&model, &mut rollouts, &known, &mut metrics)?;
            let entropies: Vec<Vec<f64>> = known.entropies.iter().map(|row| widened(row)).collect();
            let uncertain = config.top_entropy.map(|share| most_uncertain(&entropies, share));
            for (at, rollout) in rollouts.iter_mut().enumerate() {
                rollout.old_logps = kept_old.then(|| known.logps[at].clone());
                rollout.values = known.values.get(at).cloned();
                let critic = |values: &Vec<Vec<f32>>| CriticTokens { values: values[at].clone(), returns: Vec::new() };
                rollout.critics = known.others.iter().map(critic).collect();
                rollout.weights = self.weights(rollout, uncertain.as_ref().map(|rows| rows[at].as_slice()));
            }
        }
        if needs_reference {
            let reference = self.reference.as_ref().ok_or(CoreError::MissingInput("ref_logps"))?;
            let reference = Actor::new(reference.clone());
            let known = match &self.reference_prompts {
                None => self.know(&reference, &rollouts)?,
                Some(prompts) => {
                    let read = |rollout: &Rollout| -> Result<Rollout, CoreError> {
                        let prompt = prompts.get(&rollout.prompt);
                        let prompt = prompt.ok_or(CoreError::MissingEvidence("the prompt of the reference"))?;
                        Ok(Rollout { prompt: prompt.clone(), ..rollout.clone() })
                    };
                    self.know(&reference, &rollouts.iter().map(read).collect::<Result<Vec<_>, _>>()?)?
                }
            };
            rollouts.iter_mut().zip(known.logps).for_each(|(rollout, logps)| rollout.ref_logps = Some(logps));
        }
        if !self.texts.is_empty() {
            metrics.push("perplexity", self.perplexity(&model)?);
        }
        let Next { coef, kept, moments } = self.judge(&mut rollouts, greedy, &mut metrics)?;
        let alone = self.state.generation < config.critic_warmup as u64;
        rollouts.iter_mut().for_each(|rollout| rollout.critic_alone = alone);
        let metrics = metrics.into_named();
        Ok(Pending { rollouts, metrics, next, next_coef: coef, next_kept: kept, next_moments: moments })
    }

    /// `exp` of the mean of `-log pi` over the tokens of all responses of the texts.
    fn perplexity(&self, actor: &Actor) -> Result<f64, TrainError> {
        let (mut sum, mut tokens) = (0.0, 0usize);
        for batch in self.texts.chunks(self.config.batch) {
            let responses = |row: &'a TrainRow| {
                row.responses.iter().map(move |one| Row { prompt: &row.prompt, response: &one.tokens })
            };
            let rows: Vec<Row> = batch.iter().flat_map(responses).collect();
            let (logps, mask) = actor.decoder.response_logps(&rows)?; // [rows, longest]
            sum += mask.sum(logps).into_data().iter::<f64>().sum::<f64>();
            tokens += rows.iter().map(|row| row.response.len()).sum::<usize>();
        }
        Ok((-sum / tokens.max(1) as f64).exp())
    }

    /// Places of the pending responses that the next step is made on.
    fn mini_batch(&self, rollouts: usize) -> Result<Vec<usize>, TrainError> {
        let parts = self.config.steps_per_generation;
        let (pass, part) = (self.state.used / parts, self.state.used % parts);
        let seed = self.config.seed.child("mini-batches", self.state.generation);
        // A single part stays in the order that it was written in: responses to one prompt read it together.
        let order = match parts {
            1 => (0..rollouts).collect(),
            _ => Epochs::new(rollouts, seed)?.order(pass as u64),
        };
        let picked: Vec<usize> =
            order.iter().enumerate().filter(|(at, _)| at * parts / rollouts == part).map(|(_, row)| *row).collect();
        // With fewer responses than steps, some steps take one that another has.
        Ok(if picked.is_empty() { vec![order[part % rollouts]] } else { picked })
    }
}

impl Source<Actor, Rollout> for OnPolicy<'_> {
    fn window(&mut self, actor: &Actor) -> Result<Window<'_, Rollout>, TrainError> {
        if self.state.pending.is_none() {
            self.state.pending = Some(self.generate(actor)?);
            self.state.scorers = kept::memories(&self.scorers());
        }
        let picked = self.mini_batch(self.pending().len())?;
        let metrics = self.state.pending.as_ref().map(|pending| pending.metrics.clone()).unwrap_or_default();
        let rollouts = self.pending();
        Ok(Window { rows: picked.into_iter().map(|at| &rollouts[at]).collect(), metrics })
    }

    fn told(&mut self, stats: &[(String, f64)]) {
        if self.config.early_stop.says(stats) {
            self.state.used = self.config.steps() - 1;
        }
    }

    fn advance(&mut self) {
        self.state.used += 1;
        if self.state.used < self.config.steps() {
            return;
        }
        if let Some(pending) = self.state.pending.take() {
            self.cursor = pending.next;
            self.state.coef = pending.next_coef;
            self.state.kept = pending.next_kept;
            self.state.moments = pending.next_moments;
        }
        self.state.used = 0;
        self.state.generation += 1;
    }

    fn epoch(&self) -> f64 {
        self.cursor.epoch as f64 + self.cursor.position as f64 / self.prompts.len() as f64
    }

    fn cursor(&self) -> Cursor {
        self.cursor
    }

    fn save(&self, folder: &Path) -> Result<(), TrainError> {
        kept::save(folder, FILE, &self.state)
    }

    fn resume(&mut self, folder: &Path, cursor: Cursor) -> Result<(), TrainError> {
        self.state = kept::read(folder, FILE)?;
        self.cursor = cursor;
        Ok(kept::remember(&self.scorers(), &self.state.scorers)?)
    }
}

/// Named values for the log.
#[derive(Default)]
pub(super) struct Metrics(Vec<(String, f64)>);

impl Metrics {
    pub(super) fn push(&mut self, name: &str, value: f64) {
        self.0.push((name.to_owned(), value));
    }

    pub(super) fn into_named(self) -> Vec<(String, f64)> {
        self.0
    }

    #[cfg(test)]
    pub(super) fn get(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }
}

fn largest_gap(one: &[f32], other: &[f32]) -> f64 {
    one.iter().zip(other).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max)
}

pub(super) fn share(flags: &[bool]) -> f64 {
    flags.iter().filter(|flag| **flag).count() as f64 / flags.len().max(1) as f64
}

pub(super) fn widened(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

pub(super) fn narrowed(values: &[f64]) -> Vec<f32> {
    values.iter().map(|value| *value as f32).collect()
}
