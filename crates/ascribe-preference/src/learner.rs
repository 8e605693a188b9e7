//! An objective with a decoder: rows of tokens to gradients.
//!
//! Rows that stand alone are learned some at a time and their gradients added. An objective whose rows depend on each other
//! gets the whole optimizer window: where that does not go through the model at once, a first pass without gradients gives
//! all log-probabilities, the loss of the window gives the gradient of each, and a second pass brings these to the
//! weights, some rows at a time. So the split of a window changes nothing but time: a second forward pass.

use ascribe_core::tensor::{Mask, generalized_jsd, log_sum_sq_probs};
use ascribe_core::{CoreError, LogpBatch, Objective, RowKind};
use ascribe_lm::{Backward, Decoder, Row, TrainingPass};
use ascribe_train::{Learned, Learner, Tally, TrainError};
use burn::module::Module;
use burn::optim::GradientsAccumulator;
use burn::tensor::{Device, Tensor, TensorData};

use crate::objectives::DpoConfig;
use crate::{PreferenceError, Response, TrainRow};

/// Trains a [`Decoder`] by any [`Objective`] over log-probabilities.
pub struct LogpLearner<'a> {
    objective: &'a dyn Objective,
    reference: Option<&'a Decoder>,
}

/// What a pass through the model gives: `[responses, longest]` each.
struct Pass {
    logps: Tensor<2>,
    divergence: Option<Tensor<2>>,
    log_sum_sq_probs: Option<Tensor<2>>,
    /// `[rows, longest prompt - 1]`
    prompts: Option<Tensor<2>>,
    /// Log-ratio of the mismatched response of each row.
    mismatched: Option<Vec<f64>>,
    tokens: u64,
}

/// What is wanted of a pass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// All that the objective needs.
    All,
    /// What a gradient flows through.
    Differentiable,
}

impl<'a> LogpLearner<'a> {
    /// A learner by `objective`.
    pub fn new(objective: &'a dyn Objective) -> Self {
        Self { objective, reference: None }
    }

    /// The same with the reference itself, for objectives that need the divergence from it over the whole vocabulary.
    pub fn with_reference(mut self, reference: &'a Decoder) -> Self {
        self.reference = Some(reference);
        self
    }

    /// What the objective needs of the model, for rows that go through it at once, and the way back to gradients.
    fn pass(&self, model: &Decoder, rows: &[&TrainRow], wanted: Wanted) -> Result<(Pass, Backward), TrainError> {
        let needs = self.objective.needs();
        let mut given = asked(&responses(needs.kind, rows)?);
        let (n, seq) = (given.len(), longest(&given));
        if seq == 0 {
            return Err(CoreError::EmptyResponse.into());
        }
        if needs.prompt_logps {
            given.extend(prompts(rows));
        }
        let TrainingPass { predictors: at, backward } = model.training_pass(&given)?;
        let logps = model.logps(&at); // [n and prompts, longest]
        let prompts = || logps.clone().slice([n..given.len(), 0..longest(&given[n..]).max(1)]);
        let own = |x: Tensor<2>| x.slice([0..n, 0..seq]); // without the prompts
        let mut pass = Pass {
            logps: own(logps.clone()),
            divergence: None,
            log_sum_sq_probs: None,
            prompts: needs.prompt_logps.then(prompts),
            mismatched: None,
            tokens: size(&given),
        };
        if needs.divergence {
            let reference = self.reference.ok_or(CoreError::MissingInput("divergence"))?;
            let theirs = reference.predictors(&given)?.inner().states(); // [n, hidden]
            pass.divergence = Some(own(model.over_logits(&at, |ours, start| {
                let [m, _] = ours.dims();
                let theirs = reference.head(theirs.clone().slice(start..start + m)).inner(); // [m, vocab]
                let theirs = if ours.is_autodiff() { theirs.autodiff() } else { theirs };
                generalized_jsd(ours, theirs, 0.0) // [m], KL(reference || policy)
            })));
        }
        if needs.log_sum_sq_probs && wanted == Wanted::All {
            let values = model.valid().over_logits(&at.inner(), |logits, _| log_sum_sq_probs(logits));
            pass.log_sum_sq_probs = Some(own(values));
        }
        if needs.mismatched && wanted == Wanted::All {
            let (ratios, tokens) = mismatched(&model.valid(), rows)?;
            pass.mismatched = Some(ratios);
            pass.tokens += tokens;
        }
        Ok((pass, backward))
    }

    /// The batch that a pass gives, with what is known of its rows.
    fn batch(&self, rows: &[&TrainRow], pass: &Pass) -> Result<LogpBatch, TrainError> {
        let needs = self.objective.needs();
        let flat = responses(needs.kind, rows)?;
        let ([_, seq], device) = (pass.logps.dims(), pass.logps.device());
        let mut flags = Vec::with_capacity(flat.len());
        for (_, response) in &flat {
            let (expected, counts) = (response.tokens.len(), response.counts.clone());
            let counts = counts.unwrap_or_else(|| vec![true; expected]);
            if counts.len() != expected {
                let what = "the flags of what counts";
                return Err(CoreError::Length { what, expected, got: counts.len() }.into());
            }
            flags.push(counts);
        }
        let mut batch = LogpBatch::new(needs.kind, pass.logps.clone(), Mask::from_rows(&flags, &device))?;
        if needs.ref_logps {
            batch = batch.with_ref_logps(padded(&flat, |one| &one.ref_logps, seq, &device, "ref_logps")?)?;
        }
        if needs.credit {
            batch = batch.with_credit(padded(&flat, |one| &one.credit, seq, &device, "credit")?)?;
        }
        if let Some(divergence) = &pass.divergence {
            batch = batch.with_divergence(divergence.clone())?;
        }
        if let Some(values) = &pass.log_sum_sq_probs {
            batch = batch.with_log_sum_sq_probs(values.clone())?;
        }
        if let Some(prompts) = &pass.prompts {
            let [_, seq] = prompts.dims();
            let counts = |row: &&TrainRow| (0..seq).map(|at| at + 1 < row.prompt.len()).collect::<Vec<bool>>();
            let flags: Vec<Vec<bool>> = rows.iter().map(counts).collect();
            batch = batch.with_prompt_logps(prompts.clone(), Mask::from_rows(&flags, &device))?;
        }
        if let Some(ratios) = &pass.mismatched {
            batch = batch.with_mismatched(column(ratios.iter().map(|ratio| *ratio as f32), &device))?;
        }
        if needs.scores {
            let scores: Option<Vec<f32>> = flat.iter().map(|(_, response)| response.score).collect();
            batch = batch.with_scores(column(scores.ok_or(CoreError::MissingInput("scores"))?, &device))?;
        }
        if needs.consistency {
            let shares: Option<Vec<f32>> = rows.iter().map(|row| row.consistency).collect();
            batch = batch.with_consistency(column(shares.ok_or(CoreError::MissingInput("consistency"))?, &device))?;
        }
        if needs.label_weights {
            let weights: Option<Vec<f32>> = rows.iter().map(|row| row.weight).collect();
            batch =
                batch.with_label_weights(column(weights.ok_or(CoreError::MissingInput("label_weights"))?, &device))?;
        }
        if needs.kind == RowKind::Labelled {
            let labels: Option<Vec<bool>> = rows.iter().map(|row| row.label).collect();
            batch = batch.with_labels(labels.ok_or(CoreError::MissingInput("labels"))?)?;
        }
        if needs.kind == RowKind::Groups {
            batch = batch.with_groups(rows.iter().map(|row| row.responses.len()).collect())?;
        }
        Ok(batch)
    }

    /// All that the objective needs for rows that go through the model in `batches`, without a way back.
    fn passes(&self, model: &Decoder, batches: &[&[&TrainRow]]) -> Result<Pass, TrainError> {
        let mut passes = Vec::new();
        for rows in batches {
            let (pass, _) = self.pass(model, rows, Wanted::All)?;
            passes.push(pass);
        }
        Ok(joined(passes, self.objective.needs().kind.sides()))
    }

    /// A window that goes through the model in `batches`, and whose rows depend on each other.
    fn learn_coupled(
        &self,
        model: &Decoder,
        rows: &[&TrainRow],
        batches: &[&[&TrainRow]],
    ) -> Result<Learned, TrainError> {
        let (still, sides) = (model.valid(), self.objective.needs().kind.sides());
        let mut whole = self.passes(&still, batches)?;
        whole.logps = leaf(whole.logps);
        whole.divergence = whole.divergence.map(leaf);
        whole.prompts = whole.prompts.map(leaf);
        let window = self.batch(rows, &whole)?;
        self.objective.observe(&window)?;
        let loss = self.objective.loss(&window)?;
        let slopes = loss.rows.clone().sum().backward();
        let mut sums = GradientsAccumulator::new();
        let (mut response, mut row) = (0, 0);
        for rows in batches {
            let (pass, backward) = self.pass(model, rows, Wanted::Differentiable)?;
            let n = pass.logps.dims()[0] / sides;
            // A sum whose gradient by the weights is that of the window's loss.
            let mut parts = vec![weighed(pass.logps, whole.logps.grad(&slopes), sides, response)];
            if let (Some(ours), Some(all)) = (pass.divergence, &whole.divergence) {
                parts.push(weighed(ours, all.grad(&slopes), sides, response));
            }
            if let (Some(ours), Some(all)) = (pass.prompts, &whole.prompts) {
                parts.push(weighed(ours, all.grad(&slopes), 1, row));
            }
            let sum = Tensor::cat(parts.into_iter().flatten().collect(), 0).sum();
            sums.accumulate(model, backward.gradients(model, sum));
            (response, row) = (response + n, row + rows.len());
        }
        Ok(Learned { gradients: sums.grads(), tally: Tally::of(loss, whole.tokens) })
    }
}

/// The responses of rows in the order of a batch: all chosen ones first, say.
fn responses<'r>(kind: RowKind, rows: &[&'r TrainRow]) -> Result<Vec<(&'r TrainRow, &'r Response)>, TrainError> {
    if kind == RowKind::Groups {
        let of = |row: &&'r TrainRow| {
            let row: &'r TrainRow = row;
            row.responses.iter().map(move |one| (row, one))
        };
        return Ok(rows.iter().flat_map(of).collect());
    }
    let mut flat = Vec::with_capacity(kind.sides() * rows.len());
    for side in 0..kind.sides() {
        for row in rows {
            // A row left out would put every later pair together wrongly.
            let rule = "a row needs one response, of a pair two, and of a triple three";
            let got = || format!("{} responses in line {}", row.responses.len(), row.line);
            flat.push((*row, row.responses.get(side).ok_or_else(|| CoreError::Shape { rule, got: got() })?));
        }
    }
    Ok(flat)
}

/// The prompts, which go through the layers beside the responses: what follows the first token is predicted.
fn prompts<'r>(rows: &[&'r TrainRow]) -> impl Iterator<Item = Row<'r>> {
    rows.iter().copied().map(|row| {
        let (prompt, response) = row.prompt.split_at(row.prompt.len().min(1));
        Row { prompt, response }
    })
}

/// What the decoder is asked for.
fn asked<'a>(flat: &[(&'a TrainRow, &'a Response)]) -> Vec<Row<'a>> {
    flat.iter().map(|(row, response)| Row { prompt: &row.prompt, response: &response.tokens }).collect()
}

/// Tokens of the longest response.
fn longest(rows: &[Row]) -> usize {
    rows.iter().map(|row| row.response.len()).max().unwrap_or(0)
}

/// Tokens of prompts and responses.
fn size(rows: &[Row]) -> u64 {
    rows.iter().map(|row| (row.prompt.len() + row.response.len()) as u64).sum()
}

/// Log-ratio of the mismatched response of each row, and the tokens that were read for it.
fn mismatched(model: &Decoder, rows: &[&TrainRow]) -> Result<(Vec<f64>, u64), TrainError> {
    let missing = || CoreError::MissingInput("mismatched");
    let others: Vec<&Response> =
        rows.iter().map(|row| row.mismatched.as_ref().ok_or_else(missing)).collect::<Result<_, _>>()?;
    let given: Vec<Row> =
        rows.iter().zip(&others).map(|(row, other)| Row { prompt: &row.prompt, response: &other.tokens }).collect();
    let (logps, mask) = model.response_logps(&given)?; // [rows, longest]
    let mut ratios = host(mask.sum(logps));
    for (ratio, other) in ratios.iter_mut().zip(others) {
        let reference = other.ref_logps.as_ref().ok_or(CoreError::MissingInput("ref_logps"))?;
        *ratio -= reference.iter().map(|logp| f64::from(*logp)).sum::<f64>();
    }
    Ok((ratios, size(&given)))
}

/// One pass for all rows of several.
fn joined(passes: Vec<Pass>, sides: usize) -> Pass {
    let tokens = passes.iter().map(|pass| pass.tokens).sum();
    let all = |of: fn(&Pass) -> Option<Tensor<2>>, sides: usize| {
        let parts: Option<Vec<Tensor<2>>> = passes.iter().map(of).collect();
        parts.map(|parts| stacked(parts, sides))
    };
    let mismatched: Option<Vec<Vec<f64>>> = passes.iter().map(|pass| pass.mismatched.clone()).collect();
    Pass {
        logps: stacked(passes.iter().map(|pass| pass.logps.clone()).collect(), sides),
        divergence: all(|pass| pass.divergence.clone(), sides),
        log_sum_sq_probs: all(|pass| pass.log_sum_sq_probs.clone(), sides),
        prompts: all(|pass| pass.prompts.clone(), 1),
        mismatched: mismatched.map(|ratios| ratios.concat()),
        tokens,
    }
}

/// Rows of several batches, each of `sides` parts, as one such batch, as wide as the widest.
fn stacked(parts: Vec<Tensor<2>>, sides: usize) -> Tensor<2> {
    let width = parts.iter().map(|part| part.dims()[1]).max().unwrap_or(0);
    let widened: Vec<Tensor<2>> = parts
        .into_iter()
        .map(|part| {
            let [n, own] = part.dims();
            if own == width {
                return part;
            }
            let rest = Tensor::zeros([n, width - own], (&part.device(), part.dtype()));
            Tensor::cat(vec![part, rest], 1)
        })
        .collect();
    let mut pieces = Vec::with_capacity(sides * widened.len());
    for side in 0..sides {
        for part in &widened {
            let n = part.dims()[0] / sides;
            pieces.push(part.clone().slice(side * n..(side + 1) * n));
        }
    }
    Tensor::cat(pieces, 0)
}

/// `sum(values * slopes)` for the rows of a batch that begin at `start` of each part of the window. `[1]`; nothing when the
/// loss does not depend on them.
fn weighed(values: Tensor<2>, slopes: Option<Tensor<2>>, sides: usize, start: usize) -> Option<Tensor<1>> {
    let slopes = slopes?;
    let ([n, width], [all, _]) = (values.dims(), slopes.dims());
    let (n, all) = (n / sides, all / sides);
    let own = |side: usize| slopes.clone().slice([side * all + start..side * all + start + n, 0..width]);
    let own = Tensor::cat((0..sides).map(own).collect(), 0); // as values
    Some((values * own).sum())
}

/// One value a row, `[rows]`.
fn column(values: impl IntoIterator<Item = f32>, device: &Device) -> Tensor<1> {
    let values: Vec<f32> = values.into_iter().collect();
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n]), device)
}

/// One value a token, `[rows, seq]`, 0 past the end of a row.
fn padded(
    rows: &[(&TrainRow, &Response)],
    of: impl Fn(&Response) -> &Option<Vec<f32>>,
    seq: usize,
    device: &Device,
    name: &'static str,
) -> Result<Tensor<2>, TrainError> {
    let mut flat = Vec::with_capacity(rows.len() * seq);
    for (_, response) in rows {
        let values = of(response).as_ref().ok_or(CoreError::MissingInput(name))?;
        let (expected, got) = (response.tokens.len(), values.len());
        if got != expected {
            return Err(CoreError::Length { what: name, expected, got }.into());
        }
        flat.extend(values.iter().copied().chain(std::iter::repeat(0.0)).take(seq));
    }
    Ok(Tensor::from_data(TensorData::new(flat, [rows.len(), seq]), device))
}

fn host(tensor: Tensor<1>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

impl Learner for LogpLearner<'_> {
    type Model = Decoder;
    type Row = TrainRow;

    fn learn(&self, model: &Decoder, rows: &[&TrainRow]) -> Result<Learned, TrainError> {
        let (pass, backward) = self.pass(model, rows, Wanted::All)?;
        let batch = self.batch(rows, &pass)?;
        if self.objective.needs().coupled {
            self.objective.observe(&batch)?;
        }
        let loss = self.objective.loss(&batch)?;
        let gradients = backward.gradients(model, loss.rows.clone().sum());
        Ok(Learned { gradients, tally: Tally::of(loss, pass.tokens) })
    }

    fn measure(&self, model: &Decoder, rows: &[&TrainRow]) -> Result<Tally, TrainError> {
        let (pass, _) = self.pass(model, rows, Wanted::All)?;
        Ok(Tally::of(self.objective.loss(&self.batch(rows, &pass)?)?, pass.tokens))
    }

    fn learn_window(&self, model: &Decoder, rows: &[&TrainRow], batch: usize) -> Result<Learned, TrainError> {
        let batch = batch.max(1);
        if self.objective.needs().coupled && rows.len() > batch {
            return self.learn_coupled(model, rows, &rows.chunks(batch).collect::<Vec<_>>());
        }
        Learned::in_batches(model, rows, batch, |rows| self.learn(model, rows))
    }

    fn tokens(&self, rows: &[&TrainRow]) -> Option<usize> {
        let needs = self.objective.needs();
        let Ok(flat) = responses(needs.kind, rows) else { return Some(0) };
        let mut given = asked(&flat);
        if needs.prompt_logps {
            given.extend(prompts(rows));
        }
        let others = rows.iter().filter_map(|row| {
            let other = row.mismatched.as_ref().filter(|_| needs.mismatched)?;
            Some(Row { prompt: &row.prompt, response: &other.tokens })
        });
        // Mismatched responses go through the model by themselves.
        Some(Row::packed_tokens(&given).max(Row::packed_tokens(&others.collect::<Vec<_>>())))
    }

    fn learn_batches(&self, model: &Decoder, batches: &[&[&TrainRow]], _progress: f64) -> Result<Learned, TrainError> {
        if self.objective.needs().coupled && batches.len() > 1 {
            return self.learn_coupled(model, &batches.concat(), batches);
        }
        Learned::over(model, batches, |rows| self.learn(model, rows))
    }

    fn measure_window(&self, model: &Decoder, rows: &[&TrainRow], batch: usize) -> Result<Tally, TrainError> {
        let batch = batch.max(1);
        if self.objective.needs().coupled {
            let whole = self.passes(model, &rows.chunks(batch).collect::<Vec<_>>())?;
            return Ok(Tally::of(self.objective.loss(&self.batch(rows, &whole)?)?, whole.tokens));
        }
        let mut tally = Tally::default();
        for rows in rows.chunks(batch) {
            tally.add(self.measure(model, rows)?);
        }
        Ok(tally)
    }

    fn memory(&self) -> Vec<u64> {
        self.objective.memory().into_iter().map(f64::to_bits).collect()
    }

    fn remember(&self, memory: &[u64]) -> Result<(), TrainError> {
        let numbers: Vec<f64> = memory.iter().map(|bits| f64::from_bits(*bits)).collect();
        Ok(self.objective.remember(&numbers)?)
    }
}

/// What the check before the first step found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SelfTest {
    /// Largest difference between policy and reference, in nats a token.
    pub difference: f64,
    /// DPO loss, which is ln 2 when they are equal.
    pub loss: f64,
}

/// Checks that the policy starts at the reference: log-probabilities agree and the DPO loss is ln 2.
///
/// # Errors
/// [`PreferenceError::SelfTest`] when they differ by more than 1e-3 nats a token.
pub fn self_test(model: &Decoder, rows: &[TrainRow], beta: f64) -> Result<SelfTest, PreferenceError> {
    let responses = || rows.iter().flat_map(|row| row.responses.iter().map(move |response| (row, response)));
    let given: Vec<Row> =
        responses().map(|(row, response)| Row { prompt: &row.prompt, response: &response.tokens }).collect();
    // The very function that is trained, and not the policy that the reference was asked through.
    let (logps, _) = model.clone().valid().response_logps(&given)?; // [responses, longest]
    let [_, longest] = logps.dims();
    let logps: Vec<f32> = logps.into_data().iter::<f32>().collect();
    let mut ratios = Vec::with_capacity(given.len());
    let mut difference = 0.0f64;
    for (logps, (_, response)) in logps.chunks(longest.max(1)).zip(responses()) {
        let reference = response.ref_logps.as_deref().ok_or(CoreError::MissingInput("ref_logps"))?;
        let gaps = logps.iter().zip(reference).map(|(ours, theirs)| f64::from(ours - theirs));
        difference = gaps.clone().fold(difference, |worst, gap| worst.max(gap.abs()));
        ratios.push(gaps.sum::<f64>());
    }
    let beta = DpoConfig { beta, ..DpoConfig::default() }.init().map(|_| beta)?;
    let losses: Vec<f64> =
        ratios.chunks(2).map(|pair| (1.0 + (-beta * (pair[0] - pair.get(1).unwrap_or(&0.0))).exp()).ln()).collect();
    let loss = losses.iter().sum::<f64>() / losses.len().max(1) as f64;
    // Batches of another shape sum in another order; 1e-3 a token is far above that and far below a wrong model.
    // `f64::max` passes a NaN over; the loss does not.
    if !(difference <= 1e-3 && loss.is_finite()) {
        return Err(PreferenceError::SelfTest { difference, loss });
    }
    Ok(SelfTest { difference, loss })
}

/// A tensor that gradients are asked of.
fn leaf(x: Tensor<2>) -> Tensor<2> {
    x.autodiff().require_grad()
}
