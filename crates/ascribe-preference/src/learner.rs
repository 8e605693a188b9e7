//! An objective with a decoder: rows of tokens to gradients.

use ascribe_core::tensor::Mask;
use ascribe_core::{CoreError, LogpBatch, Loss, Objective, RowKind};
use ascribe_lm::{Decoder, Row, TrainingPass};
use ascribe_train::{Learned, Learner, Tally, TrainError};
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};

use crate::objectives::DpoConfig;
use crate::{PreferenceError, Response, TrainRow};

/// Trains a [`Decoder`] by any [`Objective`] over log-probabilities.
pub struct LogpLearner<'a> {
    /// The loss.
    pub objective: &'a dyn Objective,
}

impl LogpLearner<'_> {
    /// Each row with a response of it: all chosen ones, then all rejected ones.
    fn flat<'a>(&self, rows: &[&'a TrainRow]) -> Result<Vec<(&'a TrainRow, &'a Response)>, TrainError> {
        let sides = if self.objective.needs().kind == RowKind::Pairs { 2 } else { 1 };
        let mut flat = Vec::with_capacity(sides * rows.len());
        for side in 0..sides {
            for &row in rows {
                // A row left out would put every later pair together wrongly.
                let rule = "a row needs a response, and a row of a pair two";
                let got = || format!("{} responses in line {}", row.responses.len(), row.line);
                flat.push((row, row.responses.get(side).ok_or_else(|| CoreError::Shape { rule, got: got() })?));
            }
        }
        Ok(flat)
    }

    /// The loss of log-probabilities `[rows, seq]`.
    fn loss(&self, flat: &[(&TrainRow, &Response)], logps: Tensor<2>, mask: Mask) -> Result<Loss, TrainError> {
        let needs = self.objective.needs();
        let [_, seq] = logps.dims();
        let device = logps.device();
        let mut batch = LogpBatch::new(needs.kind, logps, mask)?;
        if needs.ref_logps {
            batch = batch.with_ref_logps(padded(flat, |one| &one.ref_logps, seq, &device, "ref_logps")?)?;
        }
        if needs.credit {
            batch = batch.with_credit(padded(flat, |one| &one.credit, seq, &device, "credit")?)?;
        }
        Ok(self.objective.loss(&batch)?)
    }
}

/// What the decoder is asked for.
fn asked<'a>(flat: &[(&'a TrainRow, &'a Response)]) -> Vec<Row<'a>> {
    flat.iter().map(|(row, response)| Row { prompt: &row.prompt, response: &response.tokens }).collect()
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

fn tally(loss: Loss, rows: &[Row]) -> Tally {
    let tokens = rows.iter().map(|row| (row.prompt.len() + row.response.len()) as u64).sum();
    let stats = loss.stats.into_iter().map(|(name, values)| (name, host(values))).collect();
    Tally { loss: host(loss.rows).iter().sum(), weight: host(loss.weights).iter().sum(), tokens, stats }
}

impl Learner for LogpLearner<'_> {
    type Model = Decoder;
    type Row = TrainRow;

    fn learn(&self, model: &Decoder, rows: &[&TrainRow]) -> Result<Learned, TrainError> {
        let flat = self.flat(rows)?;
        let rows = asked(&flat);
        let TrainingPass { logps, mask, backward } = model.training_pass(&rows)?;
        let loss = self.loss(&flat, logps, mask)?;
        let gradients = backward.gradients(model, loss.rows.clone().sum());
        Ok(Learned { gradients, tally: tally(loss, &rows) })
    }

    fn measure(&self, model: &Decoder, rows: &[&TrainRow]) -> Result<Tally, TrainError> {
        let flat = self.flat(rows)?;
        let rows = asked(&flat);
        let (logps, mask) = model.response_logps(&rows)?; // [rows, seq]
        Ok(tally(self.loss(&flat, logps, mask)?, &rows))
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
