//! Clip and Delta on chain arithmetic, where the process model is a learned one and is farmed all the same.
//!
//! A text is the results of a chain in their order, and between them steps that restate what stands and lead nowhere. The process
//! model learned from Monte-Carlo labels of solutions without such steps: it reads the results alone, so a step that restates is
//! scored as what stands. The reward is the outcome, and its scores at half weight: as they are, clipped, as differences, or both.
//! The policy is a table of moves over questions, trained on its own texts by REINFORCE; the baseline of a token is the mean return
//! behind its question in the generation.

use anyhow::{Context, Result};
use ascribe::core::advantage::{Mean, Variance, returns_to_go, whiten};
use ascribe::core::tensor::Mask;
use ascribe::core::{CoreError, Credit, Episode, LogpBatch, Loss, Objective, RowKind, Scorer, Seed, TokenInput, rule};
use ascribe::preference::rl::{Aggregation, PolicyLoss, RatioLevel, Surrogate};
use ascribe::reward::{ClipDelta, ClipDeltaConfig, TamedSteps};
use ascribe::train::{Learned, Learner, Tally, TrainError};
use ascribe::worlds::Operator;
use burn::nn::Embedding;
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData, activation::log_softmax};
use rand::RngExt;

use crate::chain::{Chains, asked, solution};
use crate::row::{Claim, Figures, Row};
use crate::rows::implicit_prm_data::{SOLVER, STEPS, labelled};
use crate::step_table::{CrossEntropy, StepScorer, fitted, number};
use crate::tabular::indices;

/// Most moves of a text.
const LIMIT: usize = 2 * STEPS;
const QUESTIONS: usize = 300;
/// The moves at a question: its right result, the slip, what stands once more.
const MOVES: usize = 3;
/// The token of a step that restates; results and operators are smaller.
const AGAIN: u32 = 13;
/// How often the policy restates at the start.
const RESTATES: f64 = 0.1;
/// Solutions that the process model learns from, and passes over their labels.
const TRAINED: usize = 1200;
const PASSES: f64 = 10.0;
/// The share of scores of right steps that is below where scores are clipped, as published.
const QUANTILE: f64 = 0.3;
const ALPHA: f64 = 0.5;
const GENERATIONS: u64 = 20;
/// Problems of a generation, and texts of each.
const PROBLEMS: usize = 64;
const TEXTS: usize = 8;
const TESTS: usize = 1000;

/// The claims of Clip and Delta, once more.
pub const ROW: Row = Row {
    name: "clip-delta-chains",
    paper: "On Designing Effective RL Reward at Training Time for LLM Reasoning, arXiv:2410.15115",
    setting: "chains of 8 operations, a policy whose hard steps go wrong with probability 0.35, easy ones with 0.02, and which restates \
              what stands at one step in ten; at most 16 steps a text; a table of weights over results as the process model, \
              learned from 1200 solutions without restating and 8 rollouts a prefix, at weight 0.5 beside the outcome; clipped at \
              the 0.3 quantile of its scores of right solutions; 20 generations of REINFORCE on 8 texts to each of 64 problems; \
              accuracy and steps of one text to each of 1000 other problems",
    seeds: 10,
    claims: &[
        Claim {
            says: "raw process rewards cost accuracy against the outcome alone",
            more: "accuracy, outcome alone",
            less: "accuracy, raw",
        },
        Claim { says: "because texts grow", more: "length, raw", less: "length, outcome alone" },
        Claim { says: "and their steps restate", more: "restated, raw", less: "restated, outcome alone" },
        Claim { says: "Clip keeps more accuracy than raw rewards", more: "accuracy, clip", less: "accuracy, raw" },
        Claim { says: "Delta keeps more accuracy than raw rewards", more: "accuracy, delta", less: "accuracy, raw" },
        Claim { says: "both together, too", more: "accuracy, both", less: "accuracy, raw" },
        Claim { says: "and texts stay shorter", more: "length, raw", less: "length, both" },
        Claim {
            says: "both together end above the policy at the start",
            more: "accuracy, both",
            less: "accuracy, start",
        },
        Claim {
            says: "both together end above the outcome alone",
            more: "accuracy, both",
            less: "accuracy, outcome alone",
        },
        Claim { says: "so does Clip alone", more: "accuracy, clip", less: "accuracy, outcome alone" },
    ],
    tried: "With differences alone a step is worth the score of what stands behind it, so one that restates is worth hardly less than \
            one that goes on, and nothing but the outcome ends a text; a clipped score charges each step on a text that is likely \
            lost, steps that restate included, so Clip shortens texts where Delta does not.",
    run,
};

/// The results among the steps of a response.
fn results(response: &[u32]) -> Vec<u32> {
    response.iter().copied().filter(|token| *token != AGAIN).collect()
}

/// Whether a response has all results, the last of them right.
fn is_solution(prompt: &[u32], response: &[u32]) -> bool {
    let (results, solution) = (results(response), solution(prompt));
    results.len() == solution.len() && results.last() == solution.last()
}

/// The process model on texts with steps that restate.
struct Results<'a>(&'a StepScorer);

impl Scorer for Results<'_> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let credit = |episode: &Episode| {
            let (prompt, response) = (episode.prompt_tokens(), episode.response_tokens());
            let score = |end: usize| self.0.value(prompt, &results(&response[..end])) as f32;
            Credit::steps((1..=response.len()).map(score).collect())
        };
        Ok(episodes.iter().map(credit).collect())
    }
}

/// A response with the place of each of its moves in the table.
struct Text {
    tokens: Vec<u32>,
    places: Vec<usize>,
    logps: Vec<f32>,
    advantages: Vec<f64>,
}

/// Log-probabilities of the moves at each question.
struct Moves(Vec<f64>);

impl Moves {
    /// The solver, who restates now and then.
    fn start() -> Self {
        let mut logps = vec![0.0; QUESTIONS * MOVES];
        for operator in Operator::ALL {
            for (left, right) in (0..100u8).map(|both| (both / 10, both % 10)) {
                let question = (operator, left, right);
                let slips = SOLVER.chance(question);
                let moves = [(1.0 - RESTATES) * (1.0 - slips), (1.0 - RESTATES) * slips, RESTATES];
                logps[MOVES * number(question)..][..MOVES].copy_from_slice(&moves.map(f64::ln));
            }
        }
        Self(logps)
    }

    /// A response to a problem.
    fn text(&self, prompt: &[u32], seed: Seed, index: usize) -> Text {
        let mut stream = seed.stream("text", index as u64);
        let mut text = Text { tokens: Vec::new(), places: Vec::new(), logps: Vec::new(), advantages: Vec::new() };
        let mut results: Vec<u32> = Vec::with_capacity(STEPS);
        while results.len() < STEPS && text.tokens.len() < LIMIT {
            let question = asked(prompt, &results);
            let (operator, left, right) = question;
            let from = MOVES * number(question);
            let mut draw: f64 = stream.random();
            let passed = |logp: &f64| {
                draw -= logp.exp();
                draw < 0.0
            };
            // Rounding can leave a little; the last move takes it.
            let mv = self.0[from..][..MOVES].iter().position(passed).unwrap_or(MOVES - 1);
            let result = match mv {
                0 => Some(operator.apply(left, right)),
                1 => Some(operator.slip(left, right)),
                _ => None,
            };
            results.extend(result.map(u32::from));
            text.tokens.push(result.map_or(AGAIN, u32::from));
            text.places.push(from + mv);
            text.logps.push(self.0[from + mv] as f32);
        }
        text
    }

    /// The policy after a generation.
    fn learned(&self, texts: &[Text], seed: Seed) -> Result<Self> {
        let loss = PolicyLoss::new(Surrogate::Plain, RatioLevel::Token, Aggregation::TokenMean);
        let changes = fitted(&OnMoves { reference: &self.0, loss }, [QUESTIONS, MOVES], texts, 1.0, seed)?;
        let mut logps: Vec<f64> = self.0.iter().zip(changes).map(|(logp, change)| logp + change).collect();
        for question in logps.chunks_mut(MOVES) {
            let total = question.iter().map(|logit| logit.exp()).sum::<f64>().ln();
            question.iter_mut().for_each(|logit| *logit -= total);
        }
        Ok(Self(logps))
    }
}

/// REINFORCE on the changes of a table.
struct OnMoves<'a> {
    reference: &'a [f64],
    loss: PolicyLoss,
}

impl OnMoves<'_> {
    fn of(&self, model: &Embedding, rows: &[&Text]) -> Result<Loss, CoreError> {
        let changes = model.weight.val(); // [questions, moves]
        let device = changes.device();
        let reference: Vec<f32> = self.reference.iter().map(|logp| *logp as f32).collect();
        let reference = TensorData::new(reference, [QUESTIONS, MOVES]);
        let reference = Tensor::<2>::from_data(reference, &device); // [questions, moves]
        let logps: Tensor<2> = log_softmax(changes + reference, 1); // [questions, moves]
        let logps: Tensor<2> = logps.reshape([QUESTIONS * MOVES, 1]); // [questions * moves, 1]
        let shape = [rows.len(), LIMIT];
        let mut places: Vec<i64> = vec![0; rows.len() * LIMIT];
        let (mut credit, mut old) = (vec![0.0f32; rows.len() * LIMIT], vec![0.0f32; rows.len() * LIMIT]);
        let mut counted: Vec<Vec<bool>> = Vec::with_capacity(rows.len());
        for (row, text) in rows.iter().enumerate() {
            for (at, place) in text.places.iter().enumerate() {
                places[row * LIMIT + at] = *place as i64;
                credit[row * LIMIT + at] = text.advantages[at] as f32;
                old[row * LIMIT + at] = text.logps[at];
            }
            counted.push((0..LIMIT).map(|at| at < text.places.len()).collect());
        }
        let logps: Tensor<2> = logps.select(0, indices(places, &device)).reshape(shape); // [rows, seq]
        let on_device = |values: Vec<f32>| Tensor::<2>::from_data(TensorData::new(values, shape), &device); // [rows, seq]
        let batch = LogpBatch::new(RowKind::Single, logps, Mask::from_rows(&counted, &device))?;
        let batch = batch.with_credit(on_device(credit))?.with_tokens(TokenInput::OldLogps, on_device(old))?;
        self.loss.loss(&batch)
    }
}

impl Learner for OnMoves<'_> {
    type Model = Embedding;
    type Row = Text;

    fn learn(&self, model: &Embedding, rows: &[&Text]) -> Result<Learned, TrainError> {
        let loss = self.of(model, rows)?;
        let gradients = GradientsParams::from_grads(loss.rows.clone().sum().backward(), model);
        Ok(Learned { gradients, tally: Tally::of(loss, 0) })
    }

    fn measure(&self, model: &Embedding, rows: &[&Text]) -> Result<Tally, TrainError> {
        Ok(Tally::of(self.of(model, rows)?, 0))
    }
}

fn run(seed: Seed) -> Result<Figures> {
    let rows = labelled(TRAINED, seed.child("training", 0))?;
    let process = StepScorer::learned(&CrossEntropy::new()?, &rows, PASSES, seed)?;
    let eta = quantile(&process, seed.child("right solutions", 0))?;
    let plain = ClipDeltaConfig { alpha: ALPHA, delta: false, ..ClipDeltaConfig::default() };
    let mut figures = measured("start", &Moves::start(), seed)?;
    for (name, config) in [
        ("outcome alone", ClipDeltaConfig { alpha: 0.0, ..plain }),
        ("raw", plain),
        ("clip", ClipDeltaConfig { eta: Some(eta), ..plain }),
        ("delta", ClipDeltaConfig { delta: true, ..plain }),
        ("both", ClipDeltaConfig { eta: Some(eta), delta: true, ..plain }),
    ] {
        figures.extend(measured(name, &trained(&process, config.init()?, seed)?, seed)?);
    }
    Ok(figures)
}

/// The quantile of the scores that steps of right solutions have.
fn quantile(process: &StepScorer, seed: Seed) -> Result<f64> {
    let chains = Chains::draw(TRAINED, STEPS, seed)?;
    let mut scores: Vec<f64> = Vec::new();
    for (number, prompt) in chains.prompts.iter().enumerate() {
        let solutions = SOLVER.solutions(prompt, 1, seed.child("solutions", number as u64));
        let right = solutions.iter().filter(|response| chains.is_right(number, response));
        scores.extend(right.flat_map(|response| process.values(prompt, response)));
    }
    scores.sort_by(f64::total_cmp);
    scores.get((QUANTILE * scores.len() as f64) as usize).copied().context("no solution is right")
}

/// The policy after all generations.
fn trained(process: &StepScorer, refined: ClipDelta, seed: Seed) -> Result<Moves> {
    let process = Results(process);
    let outcome = rule(
        |episode: &Episode| {
            if is_solution(episode.prompt_tokens(), episode.response_tokens()) { 1.0 } else { 0.0 }
        },
    );
    let rewards = TamedSteps { process: &process, success: Some(&outcome), rule: refined };
    let mut policy = Moves::start();
    for generation in 0..GENERATIONS {
        let seed = seed.child("generation", generation);
        policy = policy.learned(&credited(&policy, &rewards, seed)?, seed)?;
    }
    Ok(policy)
}

/// Texts of a policy with the advantage of each move: the return behind it less the mean of its question, whitened.
fn credited(policy: &Moves, rewards: &dyn Scorer, seed: Seed) -> Result<Vec<Text>> {
    let chains = Chains::draw(PROBLEMS, STEPS, seed.child("problems", 0))?;
    let (mut texts, mut episodes) = (Vec::with_capacity(PROBLEMS * TEXTS), Vec::with_capacity(PROBLEMS * TEXTS));
    for (problem, prompt) in chains.prompts.iter().enumerate() {
        for index in 0..TEXTS {
            let text = policy.text(prompt, seed.child("texts", problem as u64), index);
            let steps = (0..text.tokens.len()).map(|at| prompt.len() + at..prompt.len() + at + 1).collect();
            episodes.push(Episode::new(prompt, &text.tokens).with_steps(steps)?);
            texts.push(text);
        }
    }
    let mut returns: Vec<Vec<f64>> = Vec::with_capacity(texts.len());
    for credit in rewards.score(&episodes)? {
        let rewards: Vec<f64> = credit.values().iter().map(|reward| f64::from(*reward)).collect();
        returns.push(returns_to_go(&rewards, 1.0));
    }
    let mut of_questions = vec![(0.0f64, 0.0f64); QUESTIONS];
    for (text, returns) in texts.iter().zip(&returns) {
        for (place, ahead) in text.places.iter().zip(returns) {
            let (sum, count) = &mut of_questions[place / MOVES];
            (*sum, *count) = (*sum + ahead, *count + 1.0);
        }
    }
    let mut advantages: Vec<f64> = Vec::new();
    for (text, returns) in texts.iter().zip(&returns) {
        let mean = |place: &usize| {
            let (sum, count) = of_questions[place / MOVES];
            sum / count
        };
        advantages.extend(text.places.iter().zip(returns).map(|(place, ahead)| ahead - mean(place)));
    }
    whiten(&mut advantages, Mean::Remove, Variance::Unbiased, 1e-8)?;
    let mut rest = advantages.into_iter();
    for text in &mut texts {
        text.advantages = rest.by_ref().take(text.tokens.len()).collect();
    }
    Ok(texts)
}

/// Accuracy of a policy, its steps a text, and how many of them restate.
fn measured(name: &str, policy: &Moves, seed: Seed) -> Result<Figures> {
    let seed = seed.child("tests", 0);
    let chains = Chains::draw(TESTS, STEPS, seed)?;
    let (mut right, mut steps, mut restated) = (0.0, 0.0, 0.0);
    for (problem, prompt) in chains.prompts.iter().enumerate() {
        let text = policy.text(prompt, seed, problem).tokens;
        right += f64::from(u8::from(is_solution(prompt, &text)));
        steps += text.len() as f64;
        restated += (text.len() - results(&text).len()) as f64;
    }
    let figures = [("accuracy", right), ("length", steps), ("restated", restated)];
    Ok(figures.map(|(figure, sum)| (format!("{figure}, {name}"), sum / TESTS as f64)).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (2 + 5) - 4: 7, then 3.
    const PROMPT: [u32; 5] = [2, 10, 5, 11, 4];

    #[test]
    fn solutions_by_hand() {
        assert!(is_solution(&PROMPT, &[7, 3]));
        assert!(is_solution(&PROMPT, &[AGAIN, 7, AGAIN, AGAIN, 3]));
        assert!(!is_solution(&PROMPT, &[7, AGAIN]), "a result is missing");
        assert!(!is_solution(&PROMPT, &[7, 5]), "the result is wrong");
    }

    #[test]
    fn a_step_that_restates_has_the_score_of_what_stands() {
        let rows = labelled(4, Seed(0)).unwrap();
        let model = StepScorer::learned(&CrossEntropy::new().unwrap(), &rows, 5.0, Seed(0)).unwrap();
        let credits = Results(&model).score(&[Episode::new(&PROMPT, &[7, AGAIN, 3])]).unwrap();
        let [first, again, last] = credits[0].values() else { panic!("three steps") };
        assert_eq!(first, again);
        let alone = [1usize, 2].map(|end| model.value(&PROMPT, &[7, 3][..end]) as f32);
        assert_eq!([*first, *last], alone);
    }

    #[test]
    fn the_start_restates_one_step_in_ten_and_ends_when_all_results_are_there() {
        let chains = Chains::draw(400, STEPS, Seed(1)).unwrap();
        let (start, mut steps, mut restated) = (Moves::start(), 0, 0);
        for (problem, prompt) in chains.prompts.iter().enumerate() {
            let text = start.text(prompt, Seed(2), problem);
            let written = results(&text.tokens).len();
            assert!(written == STEPS || text.tokens.len() == LIMIT);
            steps += text.tokens.len();
            restated += text.tokens.len() - written;
        }
        // The standard deviation of the share is about 0.005.
        assert!((restated as f64 / steps as f64 - RESTATES).abs() < 0.025, "{restated} of {steps}");
    }

    /// Pays for each step that restates.
    struct Restating;

    impl Scorer for Restating {
        fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
            let paid = |token: &u32| if *token == AGAIN { 1.0 } else { 0.0 };
            Ok(episodes.iter().map(|one| Credit::steps(one.response_tokens().iter().map(paid).collect())).collect())
        }
    }

    #[test]
    fn a_move_that_earns_more_becomes_likelier() {
        let restates = |policy: &Moves| policy.0.chunks(MOVES).map(|moves| moves[MOVES - 1].exp()).sum::<f64>();
        let mut policy = Moves::start();
        for generation in 0..3 {
            let seed = Seed(generation);
            policy = policy.learned(&credited(&policy, &Restating, seed).unwrap(), seed).unwrap();
        }
        assert!(restates(&policy) > 1.2 * restates(&Moves::start()), "{}", restates(&policy));
        for moves in policy.0.chunks(MOVES) {
            assert!((moves.iter().map(|logp| logp.exp()).sum::<f64>() - 1.0).abs() < 1e-9);
        }
    }
}
