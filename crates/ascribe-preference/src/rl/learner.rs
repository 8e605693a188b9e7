//! A policy loss with an actor: rollouts to gradients.

use ascribe_core::{CoreError, LogpBatch, Loss, Objective, RowKind, TokenInput};
use ascribe_lm::{Predictors, Row, TrainingPass};
use ascribe_train::{Learned, Learner, Tally, TrainError};
use burn::tensor::{Device, Tensor, TensorData};

use super::{Actor, Rollout};

/// Trains an [`Actor`] on rollouts by any [`Objective`] over single responses; their advantages are its credit.
pub struct RolloutLearner<'a> {
    /// The loss.
    pub objective: &'a dyn Objective,
    /// The temperature that the rollouts were drawn at: log-probabilities are those of that distribution.
    pub temperature: f64,
}

impl RolloutLearner<'_> {
    /// The loss of `rows`, whose tokens are predicted by the states `at`.
    fn loss(&self, model: &Actor, rows: &[&Rollout], at: &Predictors) -> Result<Loss, TrainError> {
        let needs = self.objective.needs();
        if needs.kind != RowKind::Single {
            let got = "an objective of pairs".to_owned();
            return Err(CoreError::Shape { rule: "rollouts need an objective of single responses", got }.into());
        }
        if needs.coupled {
            return Err(CoreError::Unsupported {
                what: "learn from rollouts by a loss whose rows depend on each other",
            }
            .into());
        }
        let logps = model.decoder.logps_at(at, self.temperature)?; // [rows, longest]
        let ([_, seq], device) = (logps.dims(), logps.device());
        let padded = |of: fn(&Rollout) -> Option<&Vec<f32>>, name| padded(rows, of, seq, &device, name);
        let mut batch = LogpBatch::new(RowKind::Single, logps.clone(), at.mask().clone())?;
        if needs.credit {
            batch = batch.with_credit(padded(|row| Some(&row.advantages), "advantages")?)?;
        }
        if needs.ref_logps {
            batch = batch.with_ref_logps(padded(|row| row.ref_logps.as_ref(), "ref_logps")?)?;
        }
        if needs.old_logps {
            // Of rollouts with one step alone the policy is the old one, so every ratio is 1 to the bit.
            let old = match rows.iter().all(|row| row.old_logps.is_none()) {
                true => logps.detach(),
                false => padded(|row| row.old_logps.as_ref(), "old_logps")?,
            };
            batch = batch.with_tokens(TokenInput::OldLogps, old)?;
        }
        if needs.drawn_logps {
            let drawn = padded(|row| row.drawn_logps.as_ref(), "drawn_logps")?;
            batch = batch.with_tokens(TokenInput::DrawnLogps, drawn)?;
        }
        if needs.weights {
            batch = batch.with_tokens(TokenInput::Weights, padded(|row| row.weights.as_ref(), "weights")?)?;
        }
        if needs.entropy {
            batch = batch.with_tokens(TokenInput::Entropy, model.decoder.entropy_at(at, self.temperature)?)?;
        }
        if needs.values {
            let values = model.values(at).ok_or(CoreError::MissingInput("values"))?;
            batch = batch
                .with_tokens(TokenInput::Values, values)?
                .with_tokens(TokenInput::OldValues, padded(|row| row.values.as_ref(), "old_values")?)?
                .with_tokens(TokenInput::Returns, padded(|row| row.returns.as_ref(), "returns")?)?;
        }
        Ok(self.objective.loss(&batch)?)
    }
}

fn asked<'a>(rows: &[&'a Rollout]) -> Vec<Row<'a>> {
    rows.iter().map(|row| Row { prompt: &row.prompt, response: &row.response }).collect()
}

/// One value a token, `[rows, seq]`, 0 past the end of a row.
fn padded(
    rows: &[&Rollout],
    of: fn(&Rollout) -> Option<&Vec<f32>>,
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
        flat.extend(values.iter().copied().chain(std::iter::repeat(0.0)).take(seq));
    }
    Ok(Tensor::from_data(TensorData::new(flat, [rows.len(), seq]), device))
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
        let loss = self.loss(model, rows, &predictors)?;
        let gradients = backward.gradients_of(&model.decoder, model, loss.rows.clone().sum());
        Ok(Learned { gradients, tally: tally(loss, rows) })
    }

    fn measure(&self, model: &Actor, rows: &[&Rollout]) -> Result<Tally, TrainError> {
        let predictors = model.decoder.predictors(&asked(rows))?;
        Ok(tally(self.loss(model, rows, &predictors)?, rows))
    }
}
