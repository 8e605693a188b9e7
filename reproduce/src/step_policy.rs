//! A policy of steps as a table, and the process rewards that its log-ratios imply.
//!
//! ```text
//! pi(result | question) = softmax(log ref(. | question) + change[question])_result,      change = 0 at the start
//! r(y) = beta sum_t log pi(y_t | .) / ref(y_t | .)
//! ```
//! Trained by a loss on `r` alone, so on outcomes: cross-entropy of one response, or DPO, which is Bradley-Terry on the `r` of a pair.
//! Or it is trained as any policy is, by an objective on the log-probabilities of what it wrote.

use anyhow::Result;
use ascribe::core::tensor::Mask;
use ascribe::core::{
    Candidate, Capabilities, CoreError, Credit, Episode, Finish, LogpBatch, Loss, Mode, Objective, Policy, Reply,
    Request, Scorer, Seed, TokenInput, Tokens, Usage,
};
use ascribe::preference::rl::Rollout;
use ascribe::process::ProcessError;
use ascribe::process::credit::{ImplicitForm, implicit_steps};
use ascribe::reward::{RewardError, RewardLoss};
use ascribe::train::{Learned, Learner, Tally, TrainError};
use ascribe::worlds::Operator;
use burn::nn::Embedding;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData, activation::log_softmax};
use rand::RngExt;

use crate::chain::{Solver, asked, split};
use crate::heads::best;
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

/// Log-probabilities of every result of every question. It draws at temperature 1 whatever it is asked, or takes the likeliest.
#[derive(Clone)]
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

    /// Log-probabilities of the ten results of a question.
    pub fn of_question(&self, question: usize) -> &[f64] {
        &self.logps[RESULTS * question..][..RESULTS]
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
        Ok(self.changed(&fitted(&learner, [QUESTIONS, RESULTS], rows, passes, seed)?))
    }

    /// What an objective on log-probabilities makes of this policy. Responses have one length.
    pub fn learned(&self, objective: &dyn Objective, rows: &[Rollout], passes: f64, seed: Seed) -> Result<StepPolicy> {
        let learner = OnTokens { reference: &self.logps, objective };
        Ok(self.changed(&fitted(&learner, [QUESTIONS, RESULTS], rows, passes, seed)?))
    }

    /// `samples` responses to each problem, a group a problem.
    pub fn texts(&self, prompts: &[Tokens], samples: usize, seed: Seed) -> Vec<Rollout> {
        let mut texts = Vec::with_capacity(samples * prompts.len());
        for (group, prompt) in prompts.iter().enumerate() {
            let seed = seed.child("problem", group as u64);
            for index in 0..samples {
                let (response, logps) = self.written(prompt, prompt.len() / 2, None, seed, index);
                texts.push(Rollout {
                    prompt: prompt.clone(),
                    response: response.into(),
                    group,
                    complete: true,
                    old_logps: Some(logps.clone()),
                    logps,
                    ..Rollout::default()
                });
            }
        }
        texts
    }

    /// The policy behind these changes of its logits.
    fn changed(&self, changes: &[f64]) -> StepPolicy {
        let mut logps: Vec<f64> = self.logps.iter().zip(changes).map(|(logp, change)| logp + change).collect();
        for question in logps.chunks_mut(RESULTS) {
            let total = question.iter().map(|logit| logit.exp()).sum::<f64>().ln();
            question.iter_mut().for_each(|logit| *logit -= total);
        }
        StepPolicy { logps }
    }

    /// What follows a prefix, with the log-probability of each result.
    fn written(
        &self,
        prefix: &[u32],
        most: usize,
        mode: Option<Mode>,
        seed: Seed,
        index: usize,
    ) -> (Vec<u32>, Vec<f32>) {
        let mut stream = seed.stream("sample", index as u64);
        let (prompt, before) = split(prefix);
        let (mut results, mut logps) = (before.to_vec(), Vec::new());
        while results.len() < prompt.len() / 2 && logps.len() < most {
            let of_question = self.of_question(number(asked(prompt, &results)));
            let mut point: f64 = stream.random();
            let passed = |logp: &f64| {
                point -= logp.exp();
                point < 0.0
            };
            // Rounding can leave a little; the likeliest result takes it.
            let likeliest = best(of_question);
            let drawn = of_question.iter().position(passed).unwrap_or(likeliest);
            let result = if mode == Some(Mode::Greedy) { likeliest } else { drawn };
            results.push(result as u32);
            logps.push(of_question[result] as f32);
        }
        (results.split_off(before.len()), logps)
    }

    /// Of each token of a response.
    fn tokens(&self, prompt: &[u32], response: &[u32]) -> Vec<f32> {
        places(prompt, response).into_iter().map(|place| self.logps[place] as f32).collect()
    }
}

impl Policy for StepPolicy {
    fn propose(&self, requests: &[Request]) -> Result<Vec<Reply>, CoreError> {
        let reply = |request: &Request| {
            let (prompt, before) = split(&request.prefix);
            let candidate = |index: usize| {
                let (tokens, logps) =
                    self.written(&request.prefix, request.max_new, Some(request.mode), request.seed, index);
                let whole = before.len() + tokens.len() == prompt.len() / 2;
                let finish = if whole { Finish::End } else { Finish::Length };
                Candidate { tokens: tokens.into(), logps, finish }
            };
            let candidates: Vec<Candidate> = (0..request.n).map(candidate).collect();
            let generated = candidates.iter().map(|one| one.tokens.len() as u64).sum();
            Reply { candidates, usage: Usage { generated, scored: request.prefix.len() as u64, reused: 0 } }
        };
        Ok(requests.iter().map(reply).collect())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { score: false, top: false, context: usize::MAX }
    }
}

/// The numbers of a policy, `[questions, results]`.
fn table(logps: &[f64], device: &Device) -> Tensor<2> {
    let logps: Vec<f32> = logps.iter().map(|logp| *logp as f32).collect();
    Tensor::from_data(TensorData::new(logps, [QUESTIONS, RESULTS]), device)
}

/// Learns the changes of a policy by what it wrote.
struct OnTokens<'a> {
    reference: &'a [f64],
    objective: &'a dyn Objective,
}

impl OnTokens<'_> {
    fn loss(&self, model: &Embedding, rows: &[&Rollout]) -> Result<Loss, CoreError> {
        let changes = model.weight.val(); // [questions, results]
        let device = changes.device();
        let logps = log_softmax(changes + table(self.reference, &device), 1); // [questions, results]
        let logps: Tensor<2> = logps.reshape([QUESTIONS * RESULTS, 1]); // [questions * results, 1]
        let mut of_rows: Vec<i64> = Vec::new();
        for row in rows {
            of_rows.extend(places(&row.prompt, &row.response).into_iter().map(|place| place as i64));
        }
        let shape = [rows.len(), of_rows.len() / rows.len().max(1)];
        let logps = logps.select(0, indices(of_rows, &device)).reshape(shape); // [rows, seq]
        let told = |of: &dyn Fn(&Rollout) -> Option<&Vec<f32>>, name: &'static str| -> Result<Tensor<2>, CoreError> {
            let mut values: Vec<f32> = Vec::new();
            for &row in rows {
                values.extend(of(row).ok_or(CoreError::MissingInput(name))?);
            }
            Ok(Tensor::from_data(TensorData::new(values, shape), &device))
        };
        let needs = self.objective.needs();
        let mask = Mask::from_rows(&vec![vec![true; shape[1]]; shape[0]], &device);
        let mut batch = LogpBatch::new(needs.kind, logps, mask)?;
        if needs.credit {
            batch = batch.with_credit(told(&|row| Some(&row.advantages), "advantages")?)?;
        }
        if needs.old_logps {
            batch = batch.with_tokens(TokenInput::OldLogps, told(&|row| row.old_logps.as_ref(), "old_logps")?)?;
        }
        self.objective.loss(&batch)
    }
}

impl Learner for OnTokens<'_> {
    type Model = Embedding;
    type Row = Rollout;

    fn learn(&self, model: &Embedding, rows: &[&Rollout]) -> Result<Learned, TrainError> {
        let loss = self.loss(model, rows)?;
        let gradients = GradientsParams::from_grads(loss.rows.clone().sum().backward(), model);
        Ok(Learned { gradients, tally: Tally::of(loss, 0) })
    }

    fn measure(&self, model: &Embedding, rows: &[&Rollout]) -> Result<Tally, TrainError> {
        Ok(Tally::of(self.loss(model, rows)?, 0))
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
        let reference = table(self.reference, &device); // [questions, results]
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
    use ascribe::preference::objectives::Sft;

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

    #[test]
    fn a_policy_that_imitates_a_response_writes_it_and_draws_as_often_as_it_says() {
        let start = StepPolicy::of(&Solver { hard: 0.5, easy: 0.25, steps: 2 });
        // 7+8 is 5; then 5-9 is 6, borrows, and its slip writes 4.
        let prompt = Tokens::from(vec![7, 10, 8, 11, 9]);
        let texts = start.texts(std::slice::from_ref(&prompt), 2000, Seed(1));
        let share = |wanted: [u32; 2]| {
            texts.iter().filter(|text| text.response[..] == wanted).count() as f64 / texts.len() as f64
        };
        // 0.75 * 0.5 each, with a standard deviation of 0.011; and the slip of the first step, 4.
        assert!((share([5, 6]) - 0.375).abs() < 0.05 && (share([5, 4]) - 0.375).abs() < 0.05, "{}", share([5, 6]));
        let of_first: f32 = if texts[0].response[0] == 5 { 0.75 } else { 0.25 };
        assert!((texts[0].logps[0] - of_first.ln()).abs() < 1e-6);
        let taught: Vec<Rollout> =
            vec![Rollout { prompt: prompt.clone(), response: vec![5, 6].into(), ..Rollout::default() }; 64];
        let imitated = start.learned(&Sft, &taught, 60.0, Seed(2)).unwrap();
        let written = imitated.texts(&[prompt], 50, Seed(3));
        let right = written.iter().filter(|text| text.response[..] == [5, 6]).count();
        assert!(right >= 45, "{right} of 50");
    }
}
