//! Policies as tables over a small world, trained by the library's losses through its own loop.
//!
//! ```text
//! pi(a|s) = softmax(log pi_ref(.|s) + change[state(s)])_a,      change = 0 at the start
//! ```
//! `state` says which histories share a row of the table: none, or those that end alike, as the parameters of a model are
//! shared. Prompts keep their odds.

use anyhow::{Context, Result};
use ascribe::burn::module::Param;
use ascribe::burn::nn::Embedding;
use ascribe::burn::optim::GradientsParams;
use ascribe::burn::tensor::{Device, Int, Tensor, TensorData, activation::log_softmax};
use ascribe::core::tensor::Mask;
use ascribe::core::{CoreError, LogpBatch, Loss, Objective, RowKind, Seed};
use ascribe::preference::{LogpCache, Response, TrainRow, reference_logps};
use ascribe::train::{Fit, FitConfig, Learned, Learner, Tally, TrainError};
use ascribe::worlds::{TreePolicy, WorldError};

use crate::world::{VOCABULARY, World};

/// Which row of the table the token after a path takes; the path holds the prompt at least.
pub type State = fn(&[u32]) -> usize;

/// Every history has a row of its own.
pub fn own(path: &[u32]) -> usize {
    path.iter().fold(0, |node, token| node * VOCABULARY + 1 + *token as usize)
}

/// Histories that end with the same token share a row.
pub fn last(path: &[u32]) -> usize {
    path.last().map_or(0, |token| *token as usize)
}

/// Histories of one length that end with the same token share a row.
pub fn place_and_last(path: &[u32]) -> usize {
    path.len() * VOCABULARY + last(path)
}

/// How a table is trained: so many steps of 64 rows, the rate falling to 0 in a straight line.
#[derive(Clone, Copy)]
pub struct Training {
    /// Optimizer steps.
    pub steps: usize,
    /// The first rate.
    pub rate: f64,
    /// Root of the order of the rows.
    pub seed: Seed,
}

/// A policy that is to be trained.
pub struct Table<'a> {
    /// Where it lives.
    pub world: &'a World,
    /// Where it begins, and what it is held against.
    pub reference: &'a TreePolicy,
    /// What its histories share.
    pub state: State,
}

impl Table<'_> {
    /// The policy that an objective makes of the reference.
    pub fn trained(&self, objective: &dyn Objective, rows: &[TrainRow], training: Training) -> Result<TreePolicy> {
        let mut stages = self.stages(objective, rows, training, &[training.steps])?;
        stages.pop().context("a training has a step at least")
    }

    /// The same after each of the steps in `at`.
    pub fn stages(
        &self,
        objective: &dyn Objective,
        rows: &[TrainRow],
        training: Training,
        at: &[usize],
    ) -> Result<Vec<TreePolicy>> {
        let tables = self.tables(objective, rows, training, at)?;
        Ok(tables.iter().map(|changes| self.policy(changes)).collect::<Result<_, WorldError>>()?)
    }

    /// The parameters themselves, row by row: what an objective adds to the logits of the reference.
    pub fn changes(&self, objective: &dyn Objective, rows: &[TrainRow], training: Training) -> Result<Vec<f64>> {
        let mut tables = self.tables(objective, rows, training, &[training.steps])?;
        tables.pop().context("a training has a step at least")
    }

    fn tables(
        &self,
        objective: &dyn Objective,
        rows: &[TrainRow],
        training: Training,
        at: &[usize],
    ) -> Result<Vec<Vec<f64>>> {
        let mut rows = rows.to_vec();
        reference_logps(&mut rows, self.reference, "reference", &mut LogpCache::in_memory(), &mut |_, _| ())?;
        let learner = TableLearner { table: self, objective };
        fitted(&learner, states(self.world, self.state), &rows, training, at)
    }

    /// Log-probabilities of responses of one length under the reference and these changes, `[responses, seq]`.
    pub fn logps(&self, changes: &Tensor<2>, given: &[(&TrainRow, &Response)]) -> Result<Tensor<2>, CoreError> {
        let (mut logps, mut states, mut tokens) = (Vec::<f32>::new(), Vec::new(), Vec::new());
        for (row, response) in given {
            for (path, token) in transitions(row, response) {
                logps.extend(self.reference.logps(&path)?.iter().map(|logp| *logp as f32));
                states.push((self.state)(&path) as i64);
                tokens.push(i64::from(token));
            }
        }
        let (n, device) = (tokens.len(), changes.device());
        let reference = Tensor::<2>::from_data(TensorData::new(logps, [n, VOCABULARY]), &device); // [n, vocabulary]
        let logits = changes.clone().select(0, indices(states, &device)) + reference; // [n, vocabulary]
        let tokens = indices(tokens, &device).reshape([n, 1]); // [n, 1]
        let picked = log_softmax(logits, 1).gather(1, tokens); // [n, 1]
        Ok(picked.reshape([given.len(), n / given.len().max(1)])) // [responses, seq]
    }

    /// The policy that the rows of a table make of the reference.
    pub fn policy(&self, changes: &[f64]) -> Result<TreePolicy, WorldError> {
        TreePolicy::new(&self.world.tree, |path| {
            let logps = self.reference.logps(path).unwrap_or_default();
            if path.is_empty() {
                return logps.to_vec();
            }
            let row = (self.state)(path) * VOCABULARY;
            logps.iter().zip(&changes[row..row + VOCABULARY]).map(|(logp, change)| logp + change).collect()
        })
    }
}

/// Rows of the table of a world.
pub fn states(world: &World, state: State) -> usize {
    let mut rows = 0;
    for (path, _) in world.tree.leaves() {
        for end in 1..path.len() {
            rows = rows.max(state(&path[..end]) + 1);
        }
    }
    rows
}

/// The table after each of the steps in `at`, row by row; it begins with zeros.
pub fn fitted<L: Learner<Model = Embedding, Row = TrainRow>>(
    learner: &L,
    states: usize,
    rows: &[TrainRow],
    training: Training,
    at: &[usize],
) -> Result<Vec<Vec<f64>>> {
    let zeros = Tensor::<2>::zeros([states, VOCABULARY], &Device::flex().autodiff()); // [states, vocabulary]
    let model = Embedding { weight: Param::from_tensor(zeros) };
    let config = FitConfig {
        learning_rate: training.rate,
        warmup_ratio: 0.0,
        max_steps: training.steps,
        per_device_train_batch_size: 64,
        max_grad_norm: 0.0,
        seed: training.seed,
        ..FitConfig::default()
    };
    let mut fit = Fit::new(learner, model, rows, config)?;
    let mut tables = Vec::with_capacity(at.len());
    while let Some(report) = fit.next() {
        if at.contains(&report?.step) {
            tables.push(fit.model().weight.val().into_data().iter::<f64>().collect());
        }
    }
    Ok(tables)
}

/// Every token of a response with the path before it.
pub fn transitions(row: &TrainRow, response: &Response) -> Vec<(Vec<u32>, u32)> {
    let path = row.prompt.followed_by(&response.tokens);
    (row.prompt.len()..path.len()).map(|at| (path[..at].to_vec(), path[at])).collect()
}

/// Numbers of a table or a vocabulary as a tensor, `[n]`.
pub fn indices(values: Vec<i64>, device: &Device) -> Tensor<1, Int> {
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n]), device)
}

/// The responses of rows in the order of a batch: first all chosen ones, say.
pub fn responses<'r>(rows: &[&'r TrainRow], sides: usize) -> Result<Vec<(&'r TrainRow, &'r Response)>, CoreError> {
    let mut given = Vec::with_capacity(sides * rows.len());
    for side in 0..sides {
        for row in rows {
            let row: &'r TrainRow = row;
            given.push((row, row.responses.get(side).ok_or(CoreError::EmptyResponse)?));
        }
    }
    Ok(given)
}

/// The sums of a loss.
pub fn tally(loss: &Loss) -> Tally {
    let sum = |values: &Tensor<1>| values.clone().into_data().iter::<f64>().sum::<f64>();
    Tally { loss: sum(&loss.rows), weight: sum(&loss.weights), ..Tally::default() }
}

/// Trains the changes of a table.
struct TableLearner<'a> {
    table: &'a Table<'a>,
    objective: &'a dyn Objective,
}

impl TableLearner<'_> {
    fn loss(&self, model: &Embedding, rows: &[&TrainRow]) -> Result<Loss, CoreError> {
        let (needs, changes) = (self.objective.needs(), model.weight.val());
        let given = responses(rows, needs.kind.sides())?;
        let logps = self.table.logps(&changes, &given)?; // [responses, seq]
        let ([n, seq], device) = (logps.dims(), logps.device());
        let mask = Mask::from_rows(&vec![vec![true; seq]; n], &device);
        let mut batch = LogpBatch::new(needs.kind, logps, mask)?;
        if needs.ref_logps {
            batch = batch.with_ref_logps(known(&given, seq, &device)?)?;
        }
        if needs.credit {
            let credit = told(&given, seq, &device, "credit", |response| response.credit.as_ref())?;
            batch = batch.with_credit(credit)?;
        }
        if needs.scores {
            let scores: Option<Vec<f32>> = given.iter().map(|(_, response)| response.score).collect();
            let scores = TensorData::new(scores.ok_or(CoreError::MissingInput("scores"))?, [given.len()]);
            batch = batch.with_scores(Tensor::from_data(scores, &device))?;
        }
        if needs.mismatched {
            let others: Option<Vec<(&TrainRow, &Response)>> =
                rows.iter().map(|row| row.mismatched.as_ref().map(|other| (*row, other))).collect();
            let others = others.ok_or(CoreError::MissingInput("mismatched"))?;
            let ratios = self.table.logps(&changes, &others)? - known(&others, seq, &device)?; // [rows, seq]
            batch = batch.with_mismatched(ratios.sum_dim(1).squeeze_dim::<1>(1))?;
        }
        if needs.kind == RowKind::Labelled {
            let labels: Option<Vec<bool>> = rows.iter().map(|row| row.label).collect();
            batch = batch.with_labels(labels.ok_or(CoreError::MissingInput("labels"))?)?;
        }
        self.objective.loss(&batch)
    }
}

/// Log-probabilities under the reference, `[responses, seq]`.
pub fn known(given: &[(&TrainRow, &Response)], seq: usize, device: &Device) -> Result<Tensor<2>, CoreError> {
    told(given, seq, device, "ref_logps", |response| response.ref_logps.as_ref())
}

/// One value a token, known beforehand, `[responses, seq]`.
fn told(
    given: &[(&TrainRow, &Response)],
    seq: usize,
    device: &Device,
    name: &'static str,
    of: impl Fn(&Response) -> Option<&Vec<f32>>,
) -> Result<Tensor<2>, CoreError> {
    let mut values: Vec<f32> = Vec::with_capacity(given.len() * seq);
    for (_, response) in given {
        values.extend(of(response).ok_or(CoreError::MissingInput(name))?);
    }
    Ok(Tensor::from_data(TensorData::new(values, [given.len(), seq]), device))
}

impl Learner for TableLearner<'_> {
    type Model = Embedding;
    type Row = TrainRow;

    fn learn(&self, model: &Embedding, rows: &[&TrainRow]) -> Result<Learned, TrainError> {
        let loss = self.loss(model, rows)?;
        let gradients = GradientsParams::from_grads(loss.rows.clone().sum().backward(), model);
        Ok(Learned { gradients, tally: tally(&loss) })
    }

    fn measure(&self, model: &Embedding, rows: &[&TrainRow]) -> Result<Tally, TrainError> {
        Ok(tally(&self.loss(model, rows)?))
    }
}

#[cfg(test)]
mod tests {
    use ascribe::preference::objectives::DpoConfig;

    use super::*;

    #[test]
    fn what_is_always_chosen_becomes_likelier_and_prompts_keep_their_odds() {
        let world = World::new(2, Seed(3), |path| f64::from(path[1])).unwrap();
        let rows = [TrainRow::pair(vec![1], vec![3, 0], vec![0, 3])];
        let objective = DpoConfig::default().init().unwrap();
        let training = Training { steps: 20, rate: 0.1, seed: Seed(0) };
        let table = Table { world: &world, reference: &world.reference, state: own };
        let policy = table.trained(&objective, &rows, training).unwrap();
        let parameters = table.changes(&objective, &rows, training).unwrap();
        assert_eq!(table.policy(&parameters).unwrap().logps(&[1]).unwrap(), policy.logps(&[1]).unwrap());
        let change = |path: &[u32], token: usize| {
            policy.logps(path).unwrap()[token] - world.reference.logps(path).unwrap()[token]
        };
        assert!(change(&[1], 3) > 0.1 && change(&[1, 3], 0) > 0.1, "the chosen response");
        assert!(change(&[1], 0) < -0.1 && change(&[1, 0], 3) < -0.1, "the rejected one");
        // Nothing is shared, so what was not trained on stays.
        assert!((0..VOCABULARY).all(|token| change(&[], token).abs() < 1e-12 && change(&[2], token).abs() < 1e-12));
        assert!(world.gold(&policy).unwrap() > world.gold(&world.reference).unwrap());
    }

    #[test]
    fn tables_are_as_large_as_what_they_tell_apart() {
        let world = World::new(2, Seed(0), |_| 0.0).unwrap();
        // Nodes 1 to 20 behind the root; four tokens; lengths 1 and 2, counted from length 0.
        assert_eq!([own, last, place_and_last].map(|state| states(&world, state)), [21, 4, 12]);
    }
}
