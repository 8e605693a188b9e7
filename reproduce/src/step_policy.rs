//! A policy of steps as a table, and the process rewards that its log-ratios imply.
//!
//! ```text
//! pi(result | question) = softmax(log ref(. | question) + change[question])_result,      change = 0 at the start
//! r(y) = beta sum_t log pi(y_t | .) / ref(y_t | .)
//! ```
//! Trained by a loss on `r` alone, so on outcomes: cross-entropy of one response, or DPO, which is Bradley-Terry on the `r` of a pair.

use anyhow::Result;
use ascribe::core::{CoreError, Credit, Episode, Loss, Scorer, Seed};
use ascribe::process::ProcessError;
use ascribe::process::credit::{ImplicitForm, implicit_steps};
use ascribe::reward::{RewardError, RewardLoss};
use ascribe::train::{Learned, Learner, Tally, TrainError};
use ascribe::worlds::Operator;
use burn::nn::Embedding;
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData, activation::log_softmax};

use crate::chain::{Solver, asked};
use crate::step_table::{Marked, fitted, loss_of, number};
use crate::tabular::indices;

/// Questions: an operator and two operands.
const QUESTIONS: usize = 300;
/// Results of a question.
const RESULTS: usize = 10;
/// The log-probability of a result that the solver never writes.
const NEVER: f64 = -30.0;

/// The places in the table of the steps of a response.
pub fn places(prompt: &[u32], response: &[u32]) -> Vec<usize> {
    let place = |(at, result): (usize, &u32)| RESULTS * number(asked(prompt, &response[..at])) + *result as usize;
    response.iter().enumerate().map(place).collect()
}

/// Log-probabilities of every result of every question.
pub struct StepPolicy {
    logps: Vec<f64>,
}

impl StepPolicy {
    /// The policy of a solver.
    pub fn of(solver: &Solver) -> Self {
        let mut logps = vec![NEVER; QUESTIONS * RESULTS];
        for operator in Operator::ALL {
            for (left, right) in (0..100u8).map(|both| (both / 10, both % 10)) {
                let question = (operator, left, right);
                let (from, chance) = (RESULTS * number(question), solver.chance(question));
                logps[from + usize::from(operator.apply(left, right))] = (1.0 - chance).ln().max(NEVER);
                logps[from + usize::from(operator.slip(left, right))] = chance.ln().max(NEVER);
            }
        }
        Self { logps }
    }

    /// What a loss on implicit rewards makes of this policy. Rows hold [`places`].
    pub fn trained(
        &self,
        loss: &dyn RewardLoss,
        beta: f64,
        rows: &[Marked],
        passes: f64,
        seed: Seed,
    ) -> Result<StepPolicy> {
        let learner = OnRatios { reference: &self.logps, loss, beta };
        let changes = fitted(&learner, [QUESTIONS, RESULTS], rows, passes, seed)?;
        let mut logps: Vec<f64> = self.logps.iter().zip(changes).map(|(logp, change)| logp + change).collect();
        for question in logps.chunks_mut(RESULTS) {
            let total = question.iter().map(|logit| logit.exp()).sum::<f64>().ln();
            question.iter_mut().for_each(|logit| *logit -= total);
        }
        Ok(StepPolicy { logps })
    }

    /// Of each token of a response.
    fn tokens(&self, prompt: &[u32], response: &[u32]) -> Vec<f32> {
        places(prompt, response).into_iter().map(|place| self.logps[place] as f32).collect()
    }
}

/// Learns the changes of a policy.
struct OnRatios<'a> {
    reference: &'a [f64],
    loss: &'a dyn RewardLoss,
    beta: f64,
}

impl OnRatios<'_> {
    fn loss(&self, model: &Embedding, rows: &[&Marked]) -> Result<Loss, RewardError> {
        let changes = model.weight.val(); // [questions, results]
        let device = changes.device();
        let reference: Vec<f32> = self.reference.iter().map(|logp| *logp as f32).collect();
        let reference = Tensor::<2>::from_data(TensorData::new(reference, [QUESTIONS, RESULTS]), &device); // [questions, results]
        let ratios: Tensor<2> = log_softmax(changes + reference.clone(), 1) - reference; // [questions, results]
        let ratios: Tensor<2> = ratios.reshape([QUESTIONS * RESULTS, 1]); // [questions * results, 1]
        loss_of(self.loss, rows, &|places, shape| {
            let of_tokens = ratios.clone().select(0, indices(places, &device)).reshape(shape); // [responses, seq]
            of_tokens.sum_dim(1).mul_scalar(self.beta) // [responses, 1]
        })
    }
}

impl Learner for OnRatios<'_> {
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

/// The implicit process rewards of a trained policy; each token is a step.
pub struct ImplicitScorer<'a> {
    /// Trained on outcomes.
    pub policy: &'a StepPolicy,
    /// Where it began.
    pub reference: &'a StepPolicy,
    /// The factor of the log-ratio in training.
    pub beta: f64,
    /// What a step is given.
    pub form: ImplicitForm,
}

impl ImplicitScorer<'_> {
    /// The rewards of the steps of a response.
    pub fn rewards(&self, prompt: &[u32], response: &[u32]) -> Result<Vec<f64>, ProcessError> {
        let (logps, ref_logps) = (self.policy.tokens(prompt, response), self.reference.tokens(prompt, response));
        let steps: Vec<_> = (0..response.len()).map(|at| at..at + 1).collect();
        implicit_steps(&logps, &ref_logps, &steps, self.beta, self.form)
    }
}

impl Scorer for ImplicitScorer<'_> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let credit = |episode: &Episode| -> Result<Credit, CoreError> {
            let rewards = self.rewards(episode.prompt_tokens(), episode.response_tokens())?;
            Ok(Credit::steps(rewards.into_iter().map(|reward| reward as f32).collect()))
        };
        episodes.iter().map(credit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step_table::CrossEntropy;

    #[test]
    fn a_policy_that_learns_a_slip_is_wrong_charges_it_and_an_untrained_one_charges_nothing() {
        let solver = Solver { hard: 0.5, easy: 0.5, steps: 1 };
        let reference = StepPolicy::of(&solver);
        // 7+8 is 5; the solver writes 4 as often.
        let prompt = [7, 10, 8];
        let row = |result: u32, label: f64| Marked { responses: vec![places(&prompt, &[result])], labels: vec![label] };
        let rows = [row(5, 1.0), row(4, 0.0)];
        let policy = reference.trained(&CrossEntropy::new().unwrap(), 1.0, &rows, 30.0, Seed(0)).unwrap();
        let rewards = |policy: &StepPolicy, result: u32| {
            let scorer = ImplicitScorer { policy, reference: &reference, beta: 1.0, form: ImplicitForm::Single };
            scorer.rewards(&prompt, &[result]).unwrap()[0]
        };
        assert!(rewards(&policy, 5) > 0.3 && rewards(&policy, 4) < -0.5, "{}", rewards(&policy, 4));
        assert_eq!(rewards(&reference, 4), 0.0);
        // E_ref exp(r / beta) = 1, whatever was learned.
        assert!((0.5 * rewards(&policy, 5).exp() + 0.5 * rewards(&policy, 4).exp() - 1.0).abs() < 1e-3);
    }
}
