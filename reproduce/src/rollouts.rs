//! Policies as tables that learn from what they write, by the estimators and policy losses of the library.
//!
//! The policy is the table of `tabular`, the critic a second table with one value for each of its rows. A generation is
//! written by the policy as it is and credited by whoever runs it; then the loss is taken over all of it, once or a few times.
//! Texts of a generation have one length, and Adam has one rate for both tables.

use std::path::Path;

use anyhow::{Context, Result};
use ascribe::core::tensor::Mask;
use ascribe::core::{
    Continuation, CoreError, LogpBatch, Loss, Mode, Objective, Policy, Request, RowKind, Sampling, Seed, TokenInput,
    Tokens, Until,
};
use ascribe::data::Cursor;
use ascribe::preference::rl::{Aggregation, PolicyLoss, RatioLevel, Rollout, Surrogate, ValueTerm};
use ascribe::train::{Fit, FitConfig, Learned, Learner, ScheduleKind, Source, Tally, TrainError, Window};
use ascribe::worlds::TreePolicy;
use burn::module::{Module, Param};
use burn::nn::Embedding;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData, activation::log_softmax};

use crate::tabular::{Table, Training, indices, states};
use crate::world::{PROMPTS, VOCABULARY};

/// What a generation is credited by: it fills advantages, and returns where there is a critic, and leaves out what is not
/// learned from.
pub type Credit<'c> = dyn FnMut(&mut Vec<Rollout>) -> Result<(), CoreError> + 'c;

/// What a policy writes in a generation.
pub type Write<'w> = dyn Fn(&TreePolicy, Seed) -> Result<Vec<Rollout>, CoreError> + 'w;

/// Policy and critic.
#[derive(Module, Debug)]
pub struct Actor {
    /// Changes of the reference's logits, `[states, vocabulary]`.
    policy: Embedding,
    /// Value before a token, `[states, 1]`.
    critic: Embedding,
}

/// A policy that is to learn from its own texts.
pub struct Writer<'a> {
    /// Where it begins, and what its histories share.
    pub table: &'a Table<'a>,
    /// What it answers.
    pub prompts: &'a [Tokens],
    /// Tokens of an answer.
    pub length: usize,
    /// What it learns by.
    pub loss: &'a dyn Objective,
}

/// How much it writes and learns.
#[derive(Clone, Copy)]
pub struct Plan {
    /// Generations.
    pub generations: usize,
    /// Answers to each prompt of a generation.
    pub samples: usize,
    /// Steps on each generation.
    pub passes: usize,
    /// The rate, the same throughout.
    pub rate: f64,
    /// Root of what is drawn.
    pub seed: Seed,
}

/// What came of a training.
pub struct Trained {
    /// The policy.
    pub policy: TreePolicy,
    /// The value of each row of the table.
    pub values: Vec<f64>,
}

/// All prompts of a world, as texts.
pub fn prompts() -> Vec<Tokens> {
    PROMPTS.iter().map(|prompt| vec![*prompt].into()).collect()
}

/// PPO's clipped surrogate with a critic.
pub fn ppo() -> PolicyLoss {
    let surrogate = Surrogate::Clip { low: 0.2, high: 0.2, cap: None, dual: None };
    let loss = PolicyLoss::new(surrogate, RatioLevel::Token, Aggregation::TokenMean);
    PolicyLoss { value: Some(ValueTerm { coef: 1.0, clip: None }), ..loss }
}

/// `-A log pi`, a mean over tokens.
pub fn plain() -> PolicyLoss {
    PolicyLoss::new(Surrogate::Plain, RatioLevel::Token, Aggregation::TokenMean)
}

impl Writer<'_> {
    /// The policy after each generation.
    pub fn generations(&self, plan: Plan, credit: &mut Credit) -> Result<Vec<TreePolicy>> {
        self.generations_of(plan, &|policy, seed| self.texts(policy, plan.samples, seed), credit)
    }

    /// The same where a generation is more than an answer to each prompt.
    pub fn generations_of(&self, plan: Plan, write: &Write, credit: &mut Credit) -> Result<Vec<TreePolicy>> {
        let learner = ActorLearner { table: self.table, loss: self.loss };
        let actor = Actor::fresh(states(self.table.world, self.table.state));
        let config = FitConfig {
            learning_rate: plan.rate,
            lr_scheduler_type: ScheduleKind::Constant,
            warmup_ratio: 0.0,
            per_device_train_batch_size: plan.samples * self.prompts.len(),
            max_grad_norm: 0.0,
            seed: plan.seed,
            ..FitConfig::default()
        };
        let source = Generations { table: self.table, plan, write, credit, pending: Vec::new(), number: 0, used: 0 };
        let steps = plan.generations * plan.passes;
        let mut fit = Fit::from_source(&learner, actor, Box::new(source), steps, config)?;
        let mut policies = Vec::with_capacity(plan.generations);
        while let Some(report) = fit.next() {
            if report?.step.is_multiple_of(plan.passes) {
                policies.push(self.table.policy(&numbers(&fit.model().policy))?);
            }
        }
        Ok(policies)
    }

    /// The policy after the last generation.
    pub fn last(&self, plan: Plan, credit: &mut Credit) -> Result<TreePolicy> {
        self.generations(plan, credit)?.pop().context("a training has a generation at least")
    }

    /// What is learned from texts that are there already; a step takes 64, and the rate falls to 0.
    pub fn learned_from(&self, texts: &[Rollout], training: Training) -> Result<Trained> {
        let learner = ActorLearner { table: self.table, loss: self.loss };
        let actor = Actor::fresh(states(self.table.world, self.table.state));
        let config = FitConfig {
            learning_rate: training.rate,
            warmup_ratio: 0.0,
            max_steps: training.steps,
            per_device_train_batch_size: 64,
            max_grad_norm: 0.0,
            seed: training.seed,
            ..FitConfig::default()
        };
        let mut fit = Fit::new(&learner, actor, texts, config)?;
        for report in &mut fit {
            report?;
        }
        let actor = fit.into_model();
        Ok(Trained { policy: self.table.policy(&numbers(&actor.policy))?, values: numbers(&actor.critic) })
    }

    /// `samples` answers of a policy to each prompt, of which nothing is said yet.
    pub fn texts(&self, policy: &TreePolicy, samples: usize, seed: Seed) -> Result<Vec<Rollout>, CoreError> {
        written(self.table.reference, policy, self.prompts, [samples, self.length], seed)
    }
}

/// `[samples, length]`: so many answers of so many tokens to each prompt, a group a prompt.
pub fn written(
    reference: &TreePolicy,
    policy: &TreePolicy,
    prompts: &[Tokens],
    [samples, length]: [usize; 2],
    seed: Seed,
) -> Result<Vec<Rollout>, CoreError> {
    let request = |(at, prompt): (usize, &Tokens)| Request {
        prefix: prompt.clone(),
        n: samples,
        until: Until::End,
        mode: Mode::Sample(Sampling::default()),
        max_new: length,
        seed: seed.child("prompt", at as u64),
    };
    let requests: Vec<Request> = prompts.iter().enumerate().map(request).collect();
    let mut rollouts = Vec::with_capacity(samples * prompts.len());
    for (group, (prompt, reply)) in prompts.iter().zip(policy.propose(&requests)?).enumerate() {
        for candidate in reply.candidates {
            rollouts.push(Rollout {
                prompt: prompt.clone(),
                response: candidate.tokens,
                group,
                complete: true,
                old_logps: Some(candidate.logps.clone()),
                logps: candidate.logps,
                ..Rollout::default()
            });
        }
    }
    let asked: Vec<Continuation> = rollouts
        .iter()
        .map(|rollout| Continuation { prefix: rollout.prompt.clone(), tokens: rollout.response.clone() })
        .collect();
    let (logps, _) = reference.score(&asked)?;
    rollouts.iter_mut().zip(logps).for_each(|(rollout, logps)| rollout.ref_logps = Some(logps));
    Ok(rollouts)
}

impl Actor {
    /// Tables of zeros.
    fn fresh(states: usize) -> Self {
        let zeros = |width: usize| {
            let zeros = Tensor::<2>::zeros([states, width], &Device::flex().autodiff()); // [states, width]
            Embedding { weight: Param::from_tensor(zeros) }
        };
        Self { policy: zeros(VOCABULARY), critic: zeros(1) }
    }
}

/// The numbers of a table, row by row.
fn numbers(table: &Embedding) -> Vec<f64> {
    table.weight.val().into_data().iter::<f64>().collect()
}

/// The policy as the source of what it learns from.
struct Generations<'s, 'w, 'c> {
    table: &'s Table<'s>,
    plan: Plan,
    write: &'s Write<'w>,
    credit: &'s mut Credit<'c>,
    pending: Vec<Rollout>,
    number: u64,
    used: usize,
}

impl Generations<'_, '_, '_> {
    fn written(&mut self, actor: &Actor) -> Result<Vec<Rollout>, CoreError> {
        let table = self.table;
        let policy = table.policy(&numbers(&actor.policy))?;
        let seed = self.plan.seed.child("generation", self.number);
        let mut rollouts = (self.write)(&policy, seed)?;
        let values = numbers(&actor.critic);
        for rollout in &mut rollouts {
            let path = rollout.prompt.followed_by(&rollout.response);
            let value = |at: usize| values[(table.state)(&path[..at])] as f32;
            rollout.values = Some((rollout.prompt.len()..path.len()).map(value).collect());
        }
        (self.credit)(&mut rollouts)?;
        Ok(rollouts)
    }
}

impl Source<Actor, Rollout> for Generations<'_, '_, '_> {
    fn window(&mut self, actor: &Actor) -> Result<Window<'_, Rollout>, TrainError> {
        if self.used == 0 {
            self.pending = self.written(actor)?;
        }
        Ok(Window { rows: self.pending.iter().collect(), metrics: Vec::new() })
    }

    fn advance(&mut self) {
        self.used += 1;
        if self.used == self.plan.passes {
            self.used = 0;
            self.number += 1;
        }
    }

    fn epoch(&self) -> f64 {
        self.number as f64
    }

    fn cursor(&self) -> Cursor {
        Cursor { epoch: self.number, position: 0 }
    }

    fn resume(&mut self, _folder: &Path, _cursor: Cursor) -> Result<(), TrainError> {
        Err(CoreError::Unsupported { what: "go on from a checkpoint" }.into())
    }
}

/// Trains both tables.
struct ActorLearner<'a> {
    table: &'a Table<'a>,
    loss: &'a dyn Objective,
}

impl ActorLearner<'_> {
    fn batch(&self, actor: &Actor, rows: &[&Rollout]) -> Result<LogpBatch, CoreError> {
        let (mut reference, mut states, mut tokens) = (Vec::<f32>::new(), Vec::new(), Vec::new());
        for row in rows {
            let path = row.prompt.followed_by(&row.response);
            for at in row.prompt.len()..path.len() {
                let logps = self.table.reference.logps(&path[..at])?;
                reference.extend(logps.iter().map(|logp| *logp as f32));
                states.push((self.table.state)(&path[..at]) as i64);
                tokens.push(i64::from(path[at]));
            }
        }
        let (needs, changes) = (self.loss.needs(), actor.policy.weight.val());
        let (n, device) = (tokens.len(), changes.device());
        let shape = [rows.len(), n / rows.len().max(1)];
        let reference = Tensor::<2>::from_data(TensorData::new(reference, [n, VOCABULARY]), &device);
        let states = indices(states, &device); // [n]
        let logps = log_softmax(changes.select(0, states.clone()) + reference.clone(), 1); // [n, vocabulary]
        let picked = logps.clone().gather(1, indices(tokens, &device).reshape([n, 1])); // [n, 1]
        let mask = Mask::from_rows(&vec![vec![true; shape[1]]; shape[0]], &device);
        let told = |of: &dyn Fn(&Rollout) -> Option<&Vec<f32>>, name: &'static str| -> Result<Tensor<2>, CoreError> {
            let mut values: Vec<f32> = Vec::with_capacity(n);
            for &row in rows {
                values.extend(of(row).ok_or(CoreError::MissingInput(name))?);
            }
            Ok(Tensor::from_data(TensorData::new(values, shape), &device))
        };
        let mut batch = LogpBatch::new(needs.kind, picked.reshape(shape), mask)?;
        if needs.credit {
            batch = batch.with_credit(told(&|row| Some(&row.advantages), "advantages")?)?;
        }
        if needs.ref_logps {
            batch = batch.with_ref_logps(told(&|row| row.ref_logps.as_ref(), "ref_logps")?)?;
        }
        if needs.old_logps {
            batch = batch.with_tokens(TokenInput::OldLogps, told(&|row| row.old_logps.as_ref(), "old_logps")?)?;
        }
        if needs.values {
            let values = actor.critic.weight.val().select(0, states).reshape(shape); // [rows, seq]
            batch = batch.with_tokens(TokenInput::Values, values)?;
            if rows.iter().all(|row| row.values.is_some() && row.returns.is_some()) {
                batch = batch
                    .with_tokens(TokenInput::OldValues, told(&|row| row.values.as_ref(), "values")?)?
                    .with_tokens(TokenInput::Returns, told(&|row| row.returns.as_ref(), "returns")?)?;
            }
        }
        if needs.kl {
            let kl = (logps.clone().exp() * (logps - reference)).sum_dim(1); // [n, 1]
            batch = batch.with_tokens(TokenInput::Kl, kl.reshape(shape))?;
        }
        if needs.pull {
            let pulls: Vec<f32> = rows.iter().flat_map(|row| vec![row.pull.unwrap_or(1.0); shape[1]]).collect();
            batch = batch.with_tokens(TokenInput::Pull, Tensor::from_data(TensorData::new(pulls, shape), &device))?;
        }
        if needs.scores {
            let scores: Option<Vec<f32>> = rows.iter().map(|row| row.score.map(|score| score as f32)).collect();
            let scores = TensorData::new(scores.ok_or(CoreError::MissingInput("scores"))?, [rows.len()]);
            batch = batch.with_scores(Tensor::from_data(scores, &device))?;
        }
        if needs.kind == RowKind::Groups {
            let sizes = rows.chunk_by(|one, next| one.group == next.group).map(<[_]>::len).collect();
            batch = batch.with_groups(sizes)?;
        }
        Ok(batch)
    }

    fn loss(&self, actor: &Actor, rows: &[&Rollout]) -> Result<Loss, CoreError> {
        self.loss.loss(&self.batch(actor, rows)?)
    }
}

impl Learner for ActorLearner<'_> {
    type Model = Actor;
    type Row = Rollout;

    fn learn(&self, actor: &Actor, rows: &[&Rollout]) -> Result<Learned, TrainError> {
        let loss = self.loss(actor, rows)?;
        let gradients = GradientsParams::from_grads(loss.rows.clone().sum().backward(), actor);
        Ok(Learned { gradients, tally: Tally::of(loss, 0) })
    }

    fn measure(&self, actor: &Actor, rows: &[&Rollout]) -> Result<Tally, TrainError> {
        Ok(Tally::of(self.loss(actor, rows)?, 0))
    }
}

#[cfg(test)]
mod tests {
    use ascribe::core::advantage::{Advantage, AdvantageEstimator, Baseline, Gae, Keep, Normalize, Outcome};

    use super::*;
    use crate::judge::{Judge, fill};
    use crate::tabular::own;
    use crate::world::World;

    fn plan() -> Plan {
        Plan { generations: 30, samples: 16, passes: 2, rate: 0.1, seed: Seed(5) }
    }

    #[test]
    fn what_is_paid_is_written_more_often_by_every_estimator() {
        let world = World::new(2, Seed(3), |path| f64::from(u8::from(path[1] == 2))).unwrap();
        let table = Table { world: &world, reference: &world.reference, state: own };
        let (prompts, ppo, plain) = (prompts(), ppo(), plain());
        let start = world.gold(&world.reference).unwrap();
        let gae = Gae { gamma: 1.0, lambda: 0.95, normalize: Normalize::No };
        let (leave_one_out, best) = (Outcome::new(Baseline::LeaveOneOut), Keep::Best);
        let arms: [(&dyn Objective, &dyn AdvantageEstimator); 3] =
            [(&ppo, &gae), (&plain, &leave_one_out), (&plain, &best)];
        for (loss, estimator) in arms {
            let writer = Writer { table: &table, prompts: &prompts, length: 2, loss };
            let mut judge = Judge::new(&world.tree, estimator);
            let policy = writer.last(plan(), &mut |rollouts| judge.credit(rollouts)).unwrap();
            assert!(world.gold(&policy).unwrap() > start + 0.2, "{} from {start}", world.gold(&policy).unwrap());
        }
    }

    /// Without a reward the divergence alone is paid for, so a policy that stays earns most and a drawn one comes back.
    #[test]
    fn texts_know_what_they_cost() {
        let world = World::new(2, Seed(1), |_| 0.0).unwrap();
        let table = Table { world: &world, reference: &world.reference, state: own };
        let (prompts, loss, estimator) = (prompts(), plain(), Outcome::new(Baseline::None));
        let writer = Writer { table: &table, prompts: &prompts, length: 2, loss: &loss };
        let mut texts = writer.texts(&world.reference, 3, Seed(2)).unwrap();
        assert_eq!((texts.len(), texts[0].response.len(), texts[11].group), (12, 2, 3));
        let mut judge = Judge { kl: 1.0, ..Judge::new(&world.tree, &estimator) };
        judge.credit(&mut texts).unwrap();
        // The reference does not leave itself.
        assert!(texts.iter().all(|text| text.advantages.iter().all(|advantage| advantage.abs() < 1e-6)));
        let mut none = texts.clone();
        fill(&mut none, vec![Advantage::default(); 12]);
        assert_eq!(none.len(), 12, "where none is kept, all stay");
        let kept = Advantage { tokens: vec![1.0, 1.0], returns: Vec::new() };
        fill(&mut texts, [vec![kept], vec![Advantage::default(); 11]].concat());
        assert_eq!((texts.len(), texts[0].advantages.clone()), (1, vec![1.0, 1.0]));
    }
}
