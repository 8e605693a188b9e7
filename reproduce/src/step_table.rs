//! Step scorers as tables of weights, trained by the losses of `ascribe-reward` in the loop of `ascribe-train`.
//!
//! ```text
//! logit of a prefix = sum over what it holds of w:  each step (operator, operands, result), each operation ahead (operator,
//!                     operand), the next question (operator, operands), and a constant
//! ```
//! No feature says whether a result is right: that is learned, step by step, from labels.

use anyhow::Result;
use ascribe::core::{CoreError, Credit, Episode, Loss, Scorer, Seed};
use ascribe::reward::losses::{BradleyTerry, BradleyTerryConfig, PairLabel};
use ascribe::reward::{RewardError, RewardLoss, ScoreBatch, ScoreNeeds};
use ascribe::train::{Fit, FitConfig, Learned, Learner, Tally, TrainError};
use ascribe::worlds::Operator;
use burn::module::Param;
use burn::nn::Embedding;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor};

use crate::chain::asked;
use crate::tabular::indices;
use crate::world::sigmoid;

/// First of the operations ahead; the steps come before.
const AHEAD: usize = 3000;
/// First of the next questions.
const NEXT: usize = AHEAD + 30;
/// Of every prefix.
const CONSTANT: usize = NEXT + 300;
/// Of a whole response, in place of a next question.
const WHOLE: usize = CONSTANT + 1;
/// All weights.
const WEIGHTS: usize = WHOLE + 1;

/// Rows of one optimizer step.
const BATCH: usize = 64;

/// The number of a question among all 300.
pub fn number((operator, left, right): (Operator, u8, u8)) -> usize {
    operator as usize * 100 + usize::from(left) * 10 + usize::from(right)
}

/// The weights that a prefix takes; equally many for all prefixes of problems of one length.
pub fn features(prompt: &[u32], written: &[u32]) -> Vec<usize> {
    let steps = (prompt.len() - 1) / 2;
    let mut features = Vec::with_capacity(steps + 2);
    for (at, result) in written.iter().enumerate() {
        features.push(10 * number(asked(prompt, &written[..at])) + *result as usize);
    }
    for operation in prompt[1..].chunks(2).skip(written.len()) {
        features.push(AHEAD + (operation[0] as usize - 10) * 10 + operation[1] as usize);
    }
    features.push(CONSTANT);
    features.push(if written.len() < steps { NEXT + number(asked(prompt, written)) } else { WHOLE });
    features
}

/// A row to learn from: the weights that each response takes, and what is known of them.
pub struct Marked {
    /// Equally many for each response of all rows.
    pub responses: Vec<Vec<usize>>,
    /// What the loss asks for.
    pub labels: Vec<f64>,
}

/// The cross-entropy of a score with a probability, `-p log sigmoid(s) - (1 - p) log sigmoid(-s)`: a labelled pair whose second
/// response is worth 0.
pub struct CrossEntropy(BradleyTerry);

impl CrossEntropy {
    /// The loss.
    pub fn new() -> Result<Self> {
        Ok(Self(BradleyTerryConfig { labelled: true, ..BradleyTerryConfig::default() }.init()?))
    }
}

impl RewardLoss for CrossEntropy {
    fn needs(&self) -> ScoreNeeds {
        ScoreNeeds { responses: 1, labels: 1, ..ScoreNeeds::PAIR }
    }

    fn loss(&self, batch: &ScoreBatch) -> Result<Loss, RewardError> {
        batch.check(&self.needs())?;
        let scores = batch.response(0)?; // [rows, 1]
        let nothing = scores.zeros_like(); // [rows, 1]
        let label = |probability: f64| PairLabel { probability, ..PairLabel::PLAIN };
        let labels: Vec<PairLabel> = batch.label(0).into_iter().map(label).collect();
        let pairs = ScoreBatch::new(2, Tensor::cat(vec![scores, nothing], 0))?;
        self.0.loss(&pairs.with_labels(PairLabel::columns(&labels))?)
    }
}

/// Trains a table of weights of `[rows, width]`, from zeros, in so many passes over the rows; the rate falls to 0.
pub fn fitted<L: Learner<Model = Embedding>>(
    learner: &L,
    shape: [usize; 2],
    rows: &[L::Row],
    passes: f64,
    seed: Seed,
) -> Result<Vec<f64>> {
    let zeros = Tensor::<2>::zeros(shape, &Device::flex().autodiff()); // [rows, width]
    let config = FitConfig {
        learning_rate: 0.1,
        warmup_ratio: 0.0,
        num_train_epochs: passes,
        per_device_train_batch_size: BATCH,
        max_grad_norm: 0.0,
        seed,
        ..FitConfig::default()
    };
    let mut fit = Fit::new(learner, Embedding { weight: Param::from_tensor(zeros) }, rows, config)?;
    for report in &mut fit {
        report?;
    }
    Ok(fit.into_model().weight.val().into_data().iter::<f64>().collect())
}

/// The loss of responses whose scores are made of a table.
pub fn loss_of(
    loss: &dyn RewardLoss,
    rows: &[&Marked],
    score: &dyn Fn(Vec<i64>, [usize; 2]) -> Tensor<2>,
) -> Result<Loss, RewardError> {
    let needs = loss.needs();
    let mut places: Vec<i64> = Vec::new();
    for at in 0..needs.responses {
        for row in rows {
            places.extend(row.responses[at].iter().map(|place| *place as i64));
        }
    }
    let responses = needs.responses * rows.len();
    let each = places.len() / responses;
    let mut batch = ScoreBatch::new(needs.responses, score(places, [responses, each]))?;
    if needs.labels > 0 {
        batch = batch.with_labels(rows.iter().flat_map(|row| row.labels.iter().copied()).collect())?;
    }
    loss.loss(&batch)
}

/// Learns the weights of steps.
struct OnSteps<'a> {
    loss: &'a dyn RewardLoss,
}

impl OnSteps<'_> {
    fn loss(&self, model: &Embedding, rows: &[&Marked]) -> Result<Loss, RewardError> {
        let weights = model.weight.val(); // [weights, 1]
        loss_of(self.loss, rows, &|places, shape| {
            let places = indices(places, &weights.device());
            weights.clone().select(0, places).reshape(shape).sum_dim(1) // [responses, 1]
        })
    }
}

impl Learner for OnSteps<'_> {
    type Model = Embedding;
    type Row = Marked;

    fn learn(&self, model: &Embedding, rows: &[&Marked]) -> Result<Learned, TrainError> {
        let loss = self.loss(model, rows)?;
        let gradients = GradientsParams::from_grads(loss.rows.clone().sum().backward(), model);
        Ok(Learned { gradients, tally: Tally::of(loss, 0) })
    }

    fn measure(&self, model: &Embedding, rows: &[&Marked]) -> Result<Tally, TrainError> {
        Ok(Tally::of(self.loss(model, rows)?, 0))
    }
}

/// The weights that responses take, as a loss has them.
pub fn weights(loss: &dyn RewardLoss, all: usize, rows: &[Marked], passes: f64, seed: Seed) -> Result<Vec<f64>> {
    fitted(&OnSteps { loss }, [all, 1], rows, passes, seed)
}

/// A trained scorer: the chance that a prefix ends right, as the labels had it. Each token is a step.
pub struct StepScorer {
    weights: Vec<f64>,
}

impl StepScorer {
    /// Learns from rows of [`features`].
    pub fn learned(loss: &dyn RewardLoss, rows: &[Marked], passes: f64, seed: Seed) -> Result<Self> {
        Ok(Self { weights: weights(loss, WEIGHTS, rows, passes, seed)? })
    }

    /// Of one prefix.
    pub fn value(&self, prompt: &[u32], written: &[u32]) -> f64 {
        sigmoid(self.logit(prompt, written))
    }

    /// The same as log-odds: the raw score of a reward model.
    pub fn logit(&self, prompt: &[u32], written: &[u32]) -> f64 {
        features(prompt, written).into_iter().map(|place| self.weights[place]).sum()
    }

    /// Behind each step.
    pub fn values(&self, prompt: &[u32], response: &[u32]) -> Vec<f64> {
        (1..=response.len()).map(|end| self.value(prompt, &response[..end])).collect()
    }
}

impl Scorer for StepScorer {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let credit = |episode: &Episode| {
            let values = self.values(episode.prompt_tokens(), episode.response_tokens());
            Credit::steps(values.into_iter().map(|value| value as f32).collect())
        };
        Ok(episodes.iter().map(credit).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::{Chains, Solver, first_slip};

    #[test]
    fn the_weights_of_a_prefix_by_hand() {
        // (2 + 5) - 4, of which 7 is written: 2+5=7, then -4 ahead and 7-4 next.
        let prompt = [2, 10, 5, 11, 4];
        assert_eq!(features(&prompt, &[7]), [257, AHEAD + 14, CONSTANT, NEXT + 174]);
        // 7-4=3 closes it.
        assert_eq!(features(&prompt, &[7, 3]), [257, 1743, CONSTANT, WHOLE]);
    }

    #[test]
    fn a_table_learns_which_responses_are_right() {
        let chains = Chains::draw(60, 2, Seed(0)).unwrap();
        let solver = Solver { hard: 0.5, easy: 0.5, steps: 2 };
        let (mut rows, mut seen) = (Vec::new(), Vec::new());
        for (number, prompt) in chains.prompts.iter().enumerate() {
            for response in solver.solutions(prompt, 4, Seed(1).child("solutions", number as u64)) {
                let label = if first_slip(prompt, &response).is_none() { 1.0 } else { 0.0 };
                rows.push(Marked { responses: vec![features(prompt, &response)], labels: vec![label] });
                seen.push((number, response, label));
            }
        }
        let scorer = StepScorer::learned(&CrossEntropy::new().unwrap(), &rows, 40.0, Seed(2)).unwrap();
        let agrees = |(number, response, label): &&(usize, ascribe::core::Tokens, f64)| {
            (scorer.value(&chains.prompts[*number], response) > 0.5) == (*label > 0.5)
        };
        let right = seen.iter().filter(agrees).count();
        assert!(right * 10 > seen.len() * 9, "{right} of {}", seen.len());
    }
}
