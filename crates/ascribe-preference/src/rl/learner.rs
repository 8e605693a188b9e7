//! A policy loss with an actor: rollouts to gradients.
//!
//! A loss whose rows depend on each other, as over all responses to a prompt, gets the whole optimizer window: where that does
//! not go through the model at once, a first pass without gradients gives all log-probabilities, the loss of the window the
//! slope of each, and a second pass brings these to the weights, some rows at a time.

use ascribe_core::tensor::{Mask, generalized_jsd};
use ascribe_core::{CoreError, LogpBatch, Loss, Objective, RowKind, TokenInput};
use ascribe_lm::{Decoder, Predictors, Row, TrainingPass};
use ascribe_train::{Learned, Learner, Tally, TrainError};
use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, Tensor, TensorData};

use super::{Actor, CriticTokens, Rollout};

/// Trains an [`Actor`] on rollouts by any [`Objective`] over responses that stand alone or in groups; their advantages are its
/// credit.
pub struct RolloutLearner<'a> {
    objective: &'a dyn Objective,
    temperature: f64,
    reference: Option<&'a Decoder>,
}

impl<'a> RolloutLearner<'a> {
    /// A learner by `objective`, for rollouts that were drawn at a temperature: log-probabilities are those of that
    /// distribution.
    pub fn new(objective: &'a dyn Objective, temperature: f64) -> Self {
        Self { objective, temperature, reference: None }
    }

    /// The same with the reference itself, for objectives that need the divergence from it over the whole vocabulary.
    #[must_use]
    pub fn with_reference(mut self, reference: &'a Decoder) -> Self {
        self.reference = Some(reference);
        self
    }

    /// What the objective needs of the model beside log-probabilities: `[rows, longest]` each.
    fn of_model(
        &self,
        model: &Actor,
        rows: &[&Rollout],
        at: &Predictors,
    ) -> Result<Vec<(TokenInput, Tensor<2>)>, TrainError> {
        let needs = self.objective.needs();
        let mut inputs = Vec::new();
        if needs.entropy {
            inputs.push((TokenInput::Entropy, model.decoder.entropy_at(at, self.temperature)?));
        }
        if needs.values {
            let mut values = model.all_values(at).into_iter();
            inputs.push((TokenInput::Values, values.next().ok_or(CoreError::MissingInput("values"))?));
            for critic in 0..needs.critics {
                let values = values.next().ok_or(CoreError::MissingInput("values of a critic beside the first"))?;
                inputs.push((TokenInput::CriticValues(critic), values));
            }
        }
        if needs.kl {
            let reference = self.reference.ok_or(CoreError::MissingInput("kl"))?;
            let theirs = reference.predictors(&asked(rows))?.inner().states(); // [n, hidden]
            let by = 1.0 / self.temperature;
            let kl = model.decoder.over_logits(at, |ours, start| {
                let [m, _] = ours.dims();
                let theirs = reference.head(theirs.clone().slice(start..start + m)).inner(); // [m, vocab]
                let theirs = if ours.is_autodiff() { theirs.autodiff() } else { theirs };
                generalized_jsd(ours.mul_scalar(by), theirs.mul_scalar(by), 1.0) // [m], KL(policy || reference)
            });
            inputs.push((TokenInput::Kl, kl));
        }
        Ok(inputs)
    }

    /// The batch of `rows`, whose log-probabilities are `logps` `[rows, longest]`.
    fn batch(
        &self,
        rows: &[&Rollout],
        logps: Tensor<2>,
        of_model: Vec<(TokenInput, Tensor<2>)>,
    ) -> Result<LogpBatch, CoreError> {
        let needs = self.objective.needs();
        if !matches!(needs.kind, RowKind::Single | RowKind::Groups) {
            let got = "an objective of pairs, triples or labels".to_owned();
            return Err(CoreError::Shape { rule: "rollouts need an objective of single responses or groups", got });
        }
        let ([_, seq], device) = (logps.dims(), logps.device());
        let flags: Vec<Vec<bool>> = rows.iter().map(|row| vec![true; row.response.len()]).collect();
        let padded = |of: &dyn Fn(&Rollout) -> Option<Vec<f32>>, name| padded(rows, of, seq, &device, name);
        let mut batch = LogpBatch::new(needs.kind, logps.clone(), Mask::from_rows(&flags, &device))?;
        for (input, values) in of_model {
            batch = batch.with_tokens(input, values)?;
        }
        if needs.credit {
            batch = batch.with_credit(padded(&|row| Some(row.advantages.clone()), "advantages")?)?;
        }
        if needs.ref_logps {
            batch = batch.with_ref_logps(padded(&|row| row.ref_logps.clone(), "ref_logps")?)?;
        }
        if needs.old_logps {
            // Of rollouts with one step alone the policy is the old one, so every ratio is 1 to the bit.
            let old = match rows.iter().all(|row| row.old_logps.is_none()) {
                true => logps.detach(),
                false => padded(&|row| row.old_logps.clone(), "old_logps")?,
            };
            batch = batch.with_tokens(TokenInput::OldLogps, old)?;
        }
        if needs.drawn_logps {
            let drawn = padded(&|row| row.drawn_logps.clone(), "drawn_logps")?;
            batch = batch.with_tokens(TokenInput::DrawnLogps, drawn)?;
        }
        if needs.weights {
            batch = batch.with_tokens(TokenInput::Weights, padded(&|row| row.weights.clone(), "weights")?)?;
        }
        if needs.values {
            batch = batch
                .with_tokens(TokenInput::OldValues, padded(&|row| row.values.clone(), "old_values")?)?
                .with_tokens(TokenInput::Returns, padded(&|row| row.returns.clone(), "returns")?)?;
        }
        for critic in 0..needs.critics {
            let of = |pick: fn(&CriticTokens) -> &Vec<f32>| {
                padded(&move |row: &Rollout| row.critics.get(critic).map(|told| pick(told).clone()), "critics")
            };
            batch = batch
                .with_tokens(TokenInput::OldCriticValues(critic), of(|told| &told.values)?)?
                .with_tokens(TokenInput::CriticReturns(critic), of(|told| &told.returns)?)?;
        }
        if needs.pull {
            let pull = padded(&|row| Some(vec![row.pull.unwrap_or(1.0); row.response.len()]), "pull")?;
            batch = batch.with_tokens(TokenInput::Pull, pull)?;
        }
        if needs.starts {
            batch = batch.with_tokens(TokenInput::Starts, padded(&|row| row.starts.clone(), "starts")?)?;
        }
        if needs.scores {
            let scores: Option<Vec<f32>> = rows.iter().map(|row| row.score.map(|score| score as f32)).collect();
            let scores = scores.ok_or(CoreError::MissingInput("scores"))?;
            batch = batch.with_scores(Tensor::from_data(TensorData::new(scores, [rows.len()]), &device))?;
        }
        if needs.kind == RowKind::Groups {
            batch = batch.with_groups(sizes(rows))?;
        }
        Ok(batch)
    }

    /// The batch of `rows`, whose tokens are predicted by the states `at`.
    fn seen(&self, model: &Actor, rows: &[&Rollout], at: &Predictors) -> Result<LogpBatch, TrainError> {
        let logps = model.decoder.logps_at(at, self.temperature)?; // [rows, longest]
        Ok(self.batch(rows, logps, self.of_model(model, rows, at)?)?)
    }

    /// Log-probabilities of rows that go through the model in `batches`, without gradients: `[rows, longest of all]`.
    fn logps(&self, model: &Actor, batches: &[&[&Rollout]]) -> Result<Tensor<2>, TrainError> {
        let needs = self.objective.needs();
        if needs.entropy || needs.values || needs.kl {
            let rule = "a loss whose rollouts depend on each other sees neither entropies nor values nor kl";
            return Err(CoreError::Shape { rule, got: "one that needs them".to_owned() }.into());
        }
        let longest = batches.iter().copied().flatten().map(|row| row.response.len()).max().unwrap_or(0);
        let mut parts = Vec::new();
        for rows in batches {
            let logps = model.decoder.logps_at(&model.decoder.predictors(&asked(rows))?, self.temperature)?;
            let [n, own] = logps.dims();
            parts.push(match longest - own {
                0 => logps,
                missing => {
                    let rest = Tensor::zeros([n, missing], (&logps.device(), logps.dtype()));
                    Tensor::cat(vec![logps, rest], 1)
                }
            });
        }
        Ok(Tensor::cat(parts, 0))
    }

    /// A window that goes through the model in `batches`, and whose rows depend on each other.
    fn learn_coupled(&self, model: &Actor, rows: &[&Rollout], batches: &[&[&Rollout]]) -> Result<Learned, TrainError> {
        let logps = self.logps(&model.valid(), batches)?.autodiff().require_grad();
        let window = self.batch(rows, logps.clone(), Vec::new())?;
        self.objective.observe(&window)?;
        let loss = self.objective.loss(&window)?;
        let slopes = loss.rows.clone().sum().backward();
        let slopes = logps.grad(&slopes).ok_or(CoreError::MissingInput("gradients"))?; // [rows, longest]
        let (mut sums, mut start) = (GradientsAccumulator::new(), 0);
        for part in batches {
            let TrainingPass { predictors, backward } = model.decoder.training_pass(&asked(part))?;
            let ours = model.decoder.logps_at(&predictors, self.temperature)?; // [n, seq]
            let [n, seq] = ours.dims();
            let own = slopes.clone().slice([start..start + n, 0..seq]); // [n, seq]
            sums.accumulate(model, backward.gradients_of(&model.decoder, model, (ours * own).sum()));
            start += n;
        }
        Ok(Learned { gradients: sums.grads(), tally: tally(loss, rows) })
    }
}

fn asked<'a>(rows: &[&'a Rollout]) -> Vec<Row<'a>> {
    rows.iter().map(|row| Row { prompt: &row.prompt, response: &row.response }).collect()
}

/// Numbers of rows with the same prompt that stand one after another.
fn sizes(rows: &[&Rollout]) -> Vec<usize> {
    rows.chunk_by(|one, next| one.group == next.group).map(<[_]>::len).collect()
}

/// One value a token, `[rows, seq]`, 0 past the end of a row.
fn padded(
    rows: &[&Rollout],
    of: &dyn Fn(&Rollout) -> Option<Vec<f32>>,
    seq: usize,
    device: &Device,
    name: &'static str,
) -> Result<Tensor<2>, CoreError> {
    let mut flat = Vec::with_capacity(rows.len() * seq);
    for row in rows {
        let values = of(row).ok_or(CoreError::MissingInput(name))?;
        let (expected, got) = (row.response.len(), values.len());
        if got != expected {
            return Err(CoreError::Length { what: name, expected, got });
        }
        flat.extend(values.into_iter().chain(std::iter::repeat(0.0)).take(seq));
    }
    Ok(Tensor::from_data(TensorData::new(flat, [rows.len(), seq]), device))
}

/// The gradients of the value head alone.
fn of_values(model: &Actor, mut gradients: GradientsParams) -> GradientsParams {
    let mut kept = GradientsParams::new();
    let Some(head) = &model.value else { return kept };
    if let Some(gradient) = gradients.remove::<2>(head.weight.id) {
        kept.register(head.weight.id, gradient);
    }
    if let Some(bias) = &head.bias
        && let Some(gradient) = gradients.remove::<1>(bias.id)
    {
        kept.register(bias.id, gradient);
    }
    kept
}

fn tally(loss: Loss, rows: &[&Rollout]) -> Tally {
    let tokens = rows.iter().map(|row| (row.prompt.len() + row.response.len()) as u64).sum();
    Tally::of(loss, tokens)
}

impl Learner for RolloutLearner<'_> {
    type Model = Actor;
    type Row = Rollout;

    fn learn(&self, model: &Actor, rows: &[&Rollout]) -> Result<Learned, TrainError> {
        let TrainingPass { predictors, backward } = model.decoder.training_pass(&asked(rows))?;
        let batch = self.seen(model, rows, &predictors)?;
        if self.objective.needs().coupled {
            self.objective.observe(&batch)?;
        }
        let loss = self.objective.loss(&batch)?;
        let mut gradients = backward.gradients_of(&model.decoder, model, loss.rows.clone().sum());
        if rows.iter().all(|row| row.critic_alone) {
            gradients = of_values(model, gradients);
        }
        Ok(Learned { gradients, tally: tally(loss, rows) })
    }

    fn measure(&self, model: &Actor, rows: &[&Rollout]) -> Result<Tally, TrainError> {
        let predictors = model.decoder.predictors(&asked(rows))?;
        Ok(tally(self.objective.loss(&self.seen(model, rows, &predictors)?)?, rows))
    }

    fn learn_window(&self, model: &Actor, rows: &[&Rollout], batch: usize) -> Result<Learned, TrainError> {
        let batch = batch.max(1);
        if self.objective.needs().coupled && rows.len() > batch {
            return self.learn_coupled(model, rows, &rows.chunks(batch).collect::<Vec<_>>());
        }
        Learned::in_batches(model, rows, batch, |rows| self.learn(model, rows))
    }

    fn tokens(&self, rows: &[&Rollout]) -> Option<usize> {
        Some(Row::packed_tokens(&asked(rows)))
    }

    fn learn_batches(&self, model: &Actor, batches: &[&[&Rollout]], _progress: f64) -> Result<Learned, TrainError> {
        if self.objective.needs().coupled && batches.len() > 1 {
            return self.learn_coupled(model, &batches.concat(), batches);
        }
        Learned::over(model, batches, |rows| self.learn(model, rows))
    }

    fn measure_window(&self, model: &Actor, rows: &[&Rollout], batch: usize) -> Result<Tally, TrainError> {
        let batch = batch.max(1);
        if self.objective.needs().coupled && rows.len() > batch {
            let logps = self.logps(model, &rows.chunks(batch).collect::<Vec<_>>())?;
            return Ok(tally(self.objective.loss(&self.batch(rows, logps, Vec::new())?)?, rows));
        }
        let mut sums = Tally::default();
        for rows in rows.chunks(batch) {
            sums.add(self.measure(model, rows)?);
        }
        Ok(sums)
    }

    fn memory(&self) -> Vec<u64> {
        self.objective.memory().into_iter().map(f64::to_bits).collect()
    }

    fn remember(&self, memory: &[u64]) -> Result<(), TrainError> {
        let numbers: Vec<f64> = memory.iter().map(|bits| f64::from_bits(*bits)).collect();
        Ok(self.objective.remember(&numbers)?)
    }
}
