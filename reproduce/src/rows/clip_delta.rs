//! Clip and Delta: a process model that pays for every right step is farmed by restating one, unless its rewards are refined.
//!
//! A text solves four steps in order and ends. Beside the right next step a policy can write a wrong one, restate what stands, or
//! end; restating is right and leads nowhere. The process model scores right steps high, restated ones too. The reward is the
//! outcome, and the process model's scores at half weight: as they are, clipped, as differences, or both. The policy is a table,
//! trained on its own texts by REINFORCE; the baseline of a token is the mean return of its state in the batch.

use std::path::Path;

use anyhow::Result;
use ascribe::core::advantage::{Mean, Variance, gae, returns_to_go, whiten};
use ascribe::core::tensor::Mask;
use ascribe::core::{CoreError, Credit, Episode, LogpBatch, Loss, Objective, RowKind, Scorer, Seed, TokenInput, rule};
use ascribe::data::Cursor;
use ascribe::preference::rl::{Aggregation, PolicyLoss, RatioLevel, Surrogate};
use ascribe::reward::{ClipDelta, ClipDeltaConfig, TamedSteps};
use ascribe::train::{Fit, FitConfig, Learned, Learner, Source, Tally, TrainError, Window};
use burn::module::Param;
use burn::nn::Embedding;
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData, activation::log_softmax};
use rand::RngExt;

use crate::heads::mean;
use crate::row::{Claim, Figures, Row};
use crate::tabular::indices;
use crate::world::normal;

/// Right steps that a solution has.
const GOAL: usize = 4;
/// Most moves of a text.
const LIMIT: usize = 12;
/// The moves: the right next step, a wrong one, the last step again, the end.
const SOLVE: u32 = 0;
const SLIP: u32 = 1;
const RESTATE: u32 = 2;
const END: u32 = 3;
const MOVES: usize = 4;
/// How often the policy makes each move at the start.
const START: [f32; MOVES] = [0.5, 0.2, 0.15, 0.15];
/// Right steps so far, and whether there is a wrong one.
const STATES: usize = 2 * (GOAL + 1);
const TEXTS: usize = 64;
const STEPS: usize = 150;
const MEASURED: usize = 1000;
/// Weight of the process model.
const ALPHA: f64 = 0.5;
/// Where its scores are clipped: below most of those of right steps.
const ETA: f64 = 0.8;

/// The claims of Clip and Delta.
pub const ROW: Row = Row {
    name: "clip-delta",
    paper: "On Designing Effective RL Reward at Training Time for LLM Reasoning, arXiv:2410.15115",
    setting: "texts of at most 12 moves of which four right ones in order and the end are a solution; a process model that scores \
              right steps about 0.85, restated ones 0.9 and wrong ones 0.1, at weight 0.5 beside the outcome; clipped at 0.8; a \
              table as the policy, 150 steps of REINFORCE on 64 own texts each; accuracy and length on 1000 texts after training",
    seeds: 20,
    claims: &[
        Claim {
            says: "raw process rewards cost accuracy against the outcome alone",
            more: "accuracy, outcome alone",
            less: "accuracy, raw",
        },
        Claim { says: "because texts grow", more: "length, raw", less: "length, outcome alone" },
        Claim { says: "Clip keeps more accuracy than raw rewards", more: "accuracy, clip", less: "accuracy, raw" },
        Claim { says: "Delta keeps more accuracy than raw rewards", more: "accuracy, delta", less: "accuracy, raw" },
        Claim { says: "both together, too", more: "accuracy, both", less: "accuracy, raw" },
        Claim { says: "and texts stay shorter", more: "length, raw", less: "length, both" },
        Claim {
            says: "both together end above the outcome alone",
            more: "accuracy, both",
            less: "accuracy, outcome alone",
        },
    ],
    tried: "The outcome alone ends at 0.98 here, so there is little to gain. In a model of this row both together are not ahead after \
            25, 50 or 75 steps either, and where the start makes fewer right steps they are about level after 25 and behind \
            after 50. Outcomes are marked without error and are frequent enough to learn from, so what the process model adds \
            is its errors.",
    run,
};

/// How a text stands.
#[derive(Clone, Copy, Default)]
struct Standing {
    done: usize,
    wrong: bool,
}

impl Standing {
    fn state(self) -> usize {
        2 * self.done + usize::from(self.wrong)
    }

    /// A step beyond the last is wrong as well.
    fn after(self, mv: u32) -> Self {
        match mv {
            SOLVE if self.done < GOAL => Self { done: self.done + 1, ..self },
            SOLVE | SLIP => Self { wrong: true, ..self },
            _ => self,
        }
    }
}

/// How a text stands before each of its moves.
fn standings(text: &[u32]) -> Vec<Standing> {
    let mut standing = Standing::default();
    let mut before = Vec::with_capacity(text.len());
    for mv in text {
        before.push(standing);
        standing = standing.after(*mv);
    }
    before
}

/// Whether a text has ended with all its right steps and no wrong one.
fn is_solution(text: &[u32]) -> bool {
    let ended = text.last() == Some(&END);
    ended && standings(text).last().is_some_and(|standing| standing.done == GOAL && !standing.wrong)
}

/// Scores every move, with an error of its own for each state.
struct StepModel {
    errors: Vec<f64>,
}

impl StepModel {
    fn drawn(seed: Seed) -> Self {
        let mut stream = seed.stream("errors", 0);
        Self { errors: (0..STATES * MOVES).map(|_| 0.03 * normal(&mut stream)).collect() }
    }

    fn score_of(&self, standing: Standing, mv: u32) -> f64 {
        let solved = standing.done == GOAL;
        let score = match mv {
            _ if standing.wrong => 0.2,
            SOLVE if !solved => 0.85,
            RESTATE => 0.9,
            END if solved => 0.9,
            END => 0.2,
            _ => 0.1,
        };
        (score + self.errors[standing.state() * MOVES + mv as usize]).clamp(0.0, 1.0)
    }
}

impl Scorer for StepModel {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let credit = |episode: &Episode| {
            let moves = episode.tokens.iter().zip(standings(&episode.tokens));
            Credit::steps(moves.map(|(mv, standing)| self.score_of(standing, *mv) as f32).collect())
        };
        Ok(episodes.iter().map(credit).collect())
    }
}

/// A text with the advantage of each of its moves.
struct Played {
    text: Vec<u32>,
    advantages: Vec<f64>,
    logps: Vec<f32>,
}

/// Texts of the policy as it is, rewarded.
struct OwnTexts<'a> {
    rewards: TamedSteps<'a>,
    seed: Seed,
    step: u64,
    rows: Vec<Played>,
}

impl OwnTexts<'_> {
    fn played(&self, logps: &[f32]) -> Result<Vec<Played>, CoreError> {
        let seed = self.seed.child("step", self.step);
        let texts: Vec<Vec<u32>> = (0..TEXTS).map(|number| text(logps, seed, number)).collect();
        let mut episodes = Vec::with_capacity(TEXTS);
        for text in &texts {
            episodes.push(Episode::new(&[], text).with_steps((0..text.len()).map(|at| at..at + 1).collect())?);
        }
        let credits = self.rewards.score(&episodes)?;
        let rewards: Vec<Vec<f64>> =
            credits.iter().map(|credit| credit.values().iter().map(|value| f64::from(*value)).collect()).collect();
        // The critic: the mean return behind each state.
        let mut returns = vec![Vec::new(); STATES];
        for (text, rewards) in texts.iter().zip(&rewards) {
            for (standing, ahead) in standings(text).iter().zip(returns_to_go(rewards, 1.0)) {
                returns[standing.state()].push(ahead);
            }
        }
        let values: Vec<f64> =
            returns.iter().map(|returns| if returns.is_empty() { 0.0 } else { mean(returns) }).collect();
        let mut all = Vec::new();
        for (text, rewards) in texts.iter().zip(&rewards) {
            let values: Vec<f64> = standings(text).iter().map(|standing| values[standing.state()]).collect();
            all.extend(gae(rewards, &values, 1.0, 1.0));
        }
        whiten(&mut all, Mean::Remove, Variance::Unbiased, 1e-8)?;
        let mut rest = all.into_iter();
        let row = |text: Vec<u32>| {
            let advantages: Vec<f64> = rest.by_ref().take(text.len()).collect();
            let states = standings(&text);
            let logps =
                states.iter().zip(&text).map(|(standing, mv)| logps[standing.state() * MOVES + *mv as usize]).collect();
            Played { text, advantages, logps }
        };
        Ok(texts.into_iter().map(row).collect())
    }
}

impl Source<Embedding, Played> for OwnTexts<'_> {
    fn window(&mut self, model: &Embedding) -> Result<Window<'_, Played>, TrainError> {
        self.rows = self.played(&table(model))?;
        Ok(Window { rows: self.rows.iter().collect(), metrics: Vec::new() })
    }

    fn advance(&mut self) {
        self.step += 1;
    }

    fn epoch(&self) -> f64 {
        self.step as f64
    }

    fn cursor(&self) -> Cursor {
        Cursor { epoch: self.step, position: 0 }
    }

    fn resume(&mut self, _folder: &Path, cursor: Cursor) -> Result<(), TrainError> {
        self.step = cursor.epoch;
        Ok(())
    }
}

/// The log-probabilities of a table of logits, row by row.
fn table(model: &Embedding) -> Vec<f32> {
    log_softmax(model.weight.val(), 1).into_data().iter::<f32>().collect()
}

/// A text of a policy.
fn text(logps: &[f32], seed: Seed, number: usize) -> Vec<u32> {
    let mut stream = seed.stream("text", number as u64);
    let (mut text, mut standing) = (Vec::new(), Standing::default());
    while text.len() < LIMIT && text.last() != Some(&END) {
        let mut draw: f64 = stream.random();
        let here = &logps[standing.state() * MOVES..][..MOVES];
        let passed = |logp: &f32| {
            draw -= f64::from(logp.exp());
            draw < 0.0
        };
        let mv = here.iter().position(passed).unwrap_or(MOVES - 1) as u32;
        text.push(mv);
        standing = standing.after(mv);
    }
    text
}

/// REINFORCE on a table.
struct Reinforce {
    loss: PolicyLoss,
}

impl Reinforce {
    fn of(&self, model: &Embedding, rows: &[&Played]) -> Result<Loss, CoreError> {
        let logits = model.weight.val(); // [states, moves]
        let device = logits.device();
        let (mut states, mut moves) = (vec![0; rows.len() * LIMIT], vec![0; rows.len() * LIMIT]);
        let (mut credit, mut old) = (vec![0.0f32; rows.len() * LIMIT], vec![0.0f32; rows.len() * LIMIT]);
        let mut counted = Vec::with_capacity(rows.len());
        for (number, row) in rows.iter().enumerate() {
            for (at, standing) in standings(&row.text).iter().enumerate() {
                let place = number * LIMIT + at;
                states[place] = standing.state() as i64;
                moves[place] = i64::from(row.text[at]);
                (credit[place], old[place]) = (row.advantages[at] as f32, row.logps[at]);
            }
            counted.push((0..LIMIT).map(|at| at < row.text.len()).collect::<Vec<bool>>());
        }
        let shape = [rows.len(), LIMIT];
        let on_device = |values: Vec<f32>| Tensor::<2>::from_data(TensorData::new(values, shape), &device); // [rows, seq]
        let moves = indices(moves, &device).reshape([rows.len() * LIMIT, 1]); // [rows * seq, 1]
        let here = log_softmax(logits, 1).select(0, indices(states, &device)); // [rows * seq, moves]
        let logps = here.gather(1, moves).reshape(shape); // [rows, seq]
        let batch = LogpBatch::new(RowKind::Single, logps, Mask::from_rows(&counted, &device))?;
        let batch = batch.with_credit(on_device(credit))?.with_tokens(TokenInput::OldLogps, on_device(old))?;
        self.loss.loss(&batch)
    }
}

impl Learner for Reinforce {
    type Model = Embedding;
    type Row = Played;

    fn learn(&self, model: &Embedding, rows: &[&Played]) -> Result<Learned, TrainError> {
        let loss = self.of(model, rows)?;
        let gradients = GradientsParams::from_grads(loss.rows.clone().sum().backward(), model);
        Ok(Learned { gradients, tally: Tally::of(loss, 0) })
    }

    fn measure(&self, model: &Embedding, rows: &[&Played]) -> Result<Tally, TrainError> {
        Ok(Tally::of(self.of(model, rows)?, 0))
    }
}

fn run(seed: Seed) -> Result<Figures> {
    let plain = ClipDeltaConfig { alpha: ALPHA, delta: false, ..ClipDeltaConfig::default() };
    let mut figures = Vec::new();
    for (name, config) in [
        ("outcome alone", ClipDeltaConfig { alpha: 0.0, ..plain }),
        ("raw", plain),
        ("clip", ClipDeltaConfig { eta: Some(ETA), ..plain }),
        ("delta", ClipDeltaConfig { delta: true, ..plain }),
        ("both", ClipDeltaConfig { eta: Some(ETA), delta: true, ..plain }),
    ] {
        let [accuracy, length] = trained(config.init()?, seed)?;
        figures.extend([(format!("accuracy, {name}"), accuracy), (format!("length, {name}"), length)]);
    }
    Ok(figures)
}

/// Accuracy and mean length after training by these rewards.
fn trained(refined: ClipDelta, seed: Seed) -> Result<[f64; 2]> {
    let process = StepModel::drawn(seed);
    let outcome = rule(|episode: &Episode| if is_solution(&episode.tokens) { 1.0 } else { 0.0 });
    let rewards = TamedSteps { process: &process, success: Some(&outcome), rule: refined };
    let source = OwnTexts { rewards, seed, step: 0, rows: Vec::new() };
    let logits: Vec<f32> = START.map(f32::ln).repeat(STATES);
    let logits = TensorData::new(logits, [STATES, MOVES]);
    let model = Embedding { weight: Param::from_tensor(Tensor::<2>::from_data(logits, &Device::flex().autodiff())) };
    let config = FitConfig {
        learning_rate: 0.05,
        warmup_ratio: 0.0,
        per_device_train_batch_size: TEXTS,
        max_grad_norm: 0.0,
        seed,
        ..FitConfig::default()
    };
    let learner = Reinforce { loss: PolicyLoss::new(Surrogate::Plain, RatioLevel::Token, Aggregation::TokenMean) };
    let mut fit = Fit::from_source(&learner, model, Box::new(source), STEPS, config)?;
    for report in &mut fit {
        report?;
    }
    let logps = table(&fit.into_model());
    let texts: Vec<Vec<u32>> = (0..MEASURED).map(|number| text(&logps, seed.child("measured", 0), number)).collect();
    let right = texts.iter().filter(|text| is_solution(text)).count();
    let tokens: usize = texts.iter().map(Vec::len).sum();
    Ok([right, tokens].map(|count| count as f64 / MEASURED as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solutions_by_hand() {
        assert!(is_solution(&[SOLVE, SOLVE, RESTATE, SOLVE, SOLVE, END]));
        assert!(!is_solution(&[SOLVE, SOLVE, SOLVE, SOLVE]), "it does not end");
        assert!(!is_solution(&[SOLVE, SOLVE, SOLVE, END]), "a step is missing");
        assert!(!is_solution(&[SOLVE, SLIP, SOLVE, SOLVE, SOLVE, END]), "a step is wrong");
        assert!(!is_solution(&[SOLVE, SOLVE, SOLVE, SOLVE, SOLVE, END]), "a step too many is wrong");
    }

    #[test]
    fn a_certain_policy_writes_one_text() {
        // The right next step while one is left, then the end.
        let mut logps = vec![f32::NEG_INFINITY; STATES * MOVES];
        for done in 0..=GOAL {
            let mv = if done < GOAL { SOLVE } else { END };
            logps[Standing { done, wrong: false }.state() * MOVES + mv as usize] = 0.0;
        }
        assert_eq!(text(&logps, Seed(0), 0), [SOLVE, SOLVE, SOLVE, SOLVE, END]);
    }
}
