//! An objective with a decoder: rows of tokens to gradients.

use ascribe_core::{CoreError, LogpBatch, Loss, Objective, RowKind};
use ascribe_lm::{Decoder, Row};
use ascribe_train::{Learned, Learner, Tally, TrainError};
use burn::module::Module;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};

use crate::objectives::DpoConfig;
use crate::{PreferenceError, Response, TrainRow};

/// Trains a [`Decoder`] by any [`Objective`] over log-probabilities.
pub struct LogpLearner<'a> {
    /// The loss.
    pub objective: &'a dyn Objective,
}

impl LogpLearner<'_> {
    fn loss(&self, model: &Decoder, rows: &[&TrainRow]) -> Result<(Loss, u64), TrainError> {
        let needs = self.objective.needs();
        let sides = if needs.kind == RowKind::Pairs { 2 } else { 1 };
        // All chosen rows, then all rejected ones.
        let mut flat: Vec<(&TrainRow, &Response)> = Vec::with_capacity(sides * rows.len());
        for side in 0..sides {
            for row in rows {
                // A row left out would put every later pair together wrongly.
                let rule = "a row needs a response, and a row of a pair two";
                let got = || format!("{} responses in line {}", row.responses.len(), row.line);
                flat.push((*row, row.responses.get(side).ok_or_else(|| CoreError::Shape { rule, got: got() })?));
            }
        }
        let given: Vec<Row> =
            flat.iter().map(|(row, response)| Row { prompt: &row.prompt, response: &response.tokens }).collect();
        let tokens = given.iter().map(|row| (row.prompt.len() + row.response.len()) as u64).sum();
        let (logps, mask) = model.response_logps(&given)?; // [rows, seq]
        let [_, seq] = logps.dims();
        let device = logps.device();
        let mut batch = LogpBatch::new(needs.kind, logps, mask)?;
        if needs.ref_logps {
            batch = batch.with_ref_logps(padded(&flat, |one| &one.ref_logps, seq, &device, "ref_logps")?)?;
        }
        if needs.credit {
            batch = batch.with_credit(padded(&flat, |one| &one.credit, seq, &device, "credit")?)?;
        }
        Ok((self.objective.loss(&batch)?, tokens))
    }
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

fn tally(loss: Loss, tokens: u64) -> Tally {
    let stats = loss.stats.into_iter().map(|(name, values)| (name, host(values))).collect();
    Tally { loss: host(loss.rows).iter().sum(), weight: host(loss.weights).iter().sum(), tokens, stats }
}

impl Learner for LogpLearner<'_> {
    type Model = Decoder;
    type Row = TrainRow;

    fn learn(&self, model: &Decoder, rows: &[&TrainRow]) -> Result<Learned, TrainError> {
        let (loss, tokens) = self.loss(model, rows)?;
        let gradients = GradientsParams::from_grads(loss.rows.clone().sum().backward(), model);
        Ok(Learned { gradients, tally: tally(loss, tokens) })
    }

    fn measure(&self, model: &Decoder, rows: &[&TrainRow]) -> Result<Tally, TrainError> {
        let (loss, tokens) = self.loss(model, rows)?;
        Ok(tally(loss, tokens))
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
        ratios.chunks_exact(2).map(|pair| (1.0 + (-beta * (pair[0] - pair[1])).exp()).ln()).collect();
    let loss = losses.iter().sum::<f64>() / losses.len().max(1) as f64;
    // Batches of another shape sum in another order; 1e-3 a token is far above that and far below a wrong model.
    // `f64::max` passes a NaN over; the loss does not.
    if !(difference <= 1e-3 && loss.is_finite()) {
        return Err(PreferenceError::SelfTest { difference, loss });
    }
    Ok(SelfTest { difference, loss })
}
