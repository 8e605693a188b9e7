//! SCIR: a model that rewards itself in two ways learns from those pairs alone that both decide alike.
//!
//! ```text
//! implicit   sigmoid(beta (h_1 - h_2)),   h = log pi(y|x) - log pi_0(y|x)
//! judge      sigmoid(j_1 - j_2),          j = sum_t w[state_t][y_t]
//! penalty    disagreement and doubt of both readings, on pairs without labels
//! ```
//! A few labelled pairs teach the policy, others the judge, so that each is wrong in its own way. In a round the policy writes two
//! texts a prompt; the penalty first brings the readings together, and then the pairs on which they agree are learned by DPO.

use anyhow::{Context, Result};
use ascribe::core::{CoreError, Episode, Loss, Seed};
use ascribe::preference::TrainRow;
use ascribe::preference::objectives::DpoConfig;
use ascribe::reward::losses::{SelfConsistency, SelfConsistencyConfig};
use ascribe::reward::{RewardLoss, ScoreBatch, implicit_preferences, self_rewards, unanimous};
use ascribe::train::{Learned, Learner, Tally, TrainError};
use ascribe::worlds::TreePolicy;
use burn::nn::Embedding;
use burn::optim::GradientsParams;
use burn::tensor::{Tensor, TensorData, activation::log_softmax};

use crate::heads::mean;
use crate::reward_table::RewardTable;
use crate::row::{Claim, Figures, Row};
use crate::tabular::{Table, Training, fitted, indices, place_and_last, responses, states, tally, transitions};
use crate::world::{Gold, PROMPTS, VOCABULARY, World, bradley_terry, sigmoid};

const LENGTH: usize = 5;
const BETA: f64 = 0.3;
/// Labelled pairs of the policy, and as many of the judge.
const LABELLED: usize = 64;
const PAIRS: usize = 128;
const ROUNDS: u64 = 4;
/// Steps of a round: five passes over its pairs.
const STEPS: usize = 10;

/// SCIR's claims.
pub const ROW: Row = Row {
    name: "internal-agreement",
    paper: "Self-Consistency of the Internal Reward Models Improves Self-Rewarding Language Models, arXiv:2502.08922",
    setting: "4 prompts with 1024 texts each; 64 labelled pairs for a policy by DPO, 64 others for a judge that is a table of \
              rewards; 4 rounds of 128 own pairs, 10 steps a round, beta 0.3, with 10 steps of the penalty before them; rows of \
              policy and judge are shared by histories of one length and last token",
    seeds: 40,
    claims: &[
        Claim {
            says: "labels on which both readings agree are right more often than the judge's on all pairs",
            more: "right labels, agreed",
            less: "right labels, judge",
        },
        Claim {
            says: "on pairs of the same texts: labels on which both agree are right more often than the judge's on all of them",
            more: "right labels, agreed without the penalty",
            less: "right labels, judge on the same pairs",
        },
        Claim {
            says: "and than the implicit reward's on all of them",
            more: "right labels, agreed without the penalty",
            less: "right labels, implicit reward on the same pairs",
        },
        Claim {
            says: "agreed pairs earn more gold than all pairs by the judge",
            more: "gold of SCIR",
            less: "gold by the judge",
        },
        Claim {
            says: "and than all pairs by the implicit reward",
            more: "gold of SCIR",
            less: "gold by the implicit reward",
        },
        Claim {
            says: "the penalty makes the readings agree more often",
            more: "agreement with the penalty",
            less: "agreement without it",
        },
    ],
    tried: "Labels of an arm against the judge's of another arm, which writes other texts, and against the judge's of all pairs of \
            the same texts, without the penalty. Labels on which both readings agree repeat in part what the policy holds already.",
    run,
};

/// What a round learns from.
#[derive(Clone, Copy, PartialEq)]
enum Labels {
    /// All pairs, by the judge.
    Judge,
    /// All pairs, by the policy's own log-ratios.
    Implicit,
    /// Pairs on which both agree.
    Agreed,
    /// The same behind the penalty: SCIR.
    Penalised,
}

/// What an arm came to.
struct Outcome {
    gold: f64,
    /// Share of right labels among those that it learned from, a mean over rounds.
    right: f64,
    /// The same of all its pairs: by the implicit reward, and by the judge.
    of_all: [f64; 2],
    /// Share of the pairs of the last round on which the readings agree.
    agreement: f64,
}

fn run(seed: Seed) -> Result<Figures> {
    let gold = Gold::drawn(LENGTH, seed)?;
    let world = World::new(LENGTH, seed, |path| gold.of(path))?;
    let of_policy = world.pairs(&PROMPTS, LABELLED, seed.child("pairs of the policy", 0), bradley_terry)?;
    let of_judge = world.pairs(&PROMPTS, LABELLED, seed.child("pairs of the judge", 0), bradley_terry)?;
    let training = Training { steps: 100, rate: 0.05, seed };
    let dpo = DpoConfig { beta: BETA, ..DpoConfig::default() }.init()?;
    let table = Table { world: &world, reference: &world.reference, state: place_and_last };
    let start = table.trained(&dpo, &of_policy, training)?;
    let judge = RewardTable::trained(&world, place_and_last, &of_judge, training)?;
    let arm = |labels| rounds(&world, &start, &judge, labels, seed);
    let (by_judge, by_implicit) = (arm(Labels::Judge)?, arm(Labels::Implicit)?);
    let (agreed, penalised) = (arm(Labels::Agreed)?, arm(Labels::Penalised)?);
    Ok(vec![
        ("gold of the start".into(), world.gold(&start)?),
        ("gold by the judge".into(), by_judge.gold),
        ("gold by the implicit reward".into(), by_implicit.gold),
        ("gold of agreed pairs without the penalty".into(), agreed.gold),
        ("gold of SCIR".into(), penalised.gold),
        ("right labels, judge".into(), by_judge.right),
        ("right labels, implicit reward".into(), by_implicit.right),
        ("right labels, agreed".into(), penalised.right),
        ("right labels, agreed without the penalty".into(), agreed.right),
        ("right labels, implicit reward on the same pairs".into(), agreed.of_all[0]),
        ("right labels, judge on the same pairs".into(), agreed.of_all[1]),
        ("agreement without it".into(), agreed.agreement),
        ("agreement with the penalty".into(), penalised.agreement),
    ])
}

fn rounds(world: &World, start: &TreePolicy, judge: &RewardTable, labels: Labels, seed: Seed) -> Result<Outcome> {
    let dpo = DpoConfig { beta: BETA, ..DpoConfig::default() }.init()?;
    let (mut current, mut judge) = (start.clone(), judge.clone());
    let (mut shares, mut of_all, mut agreement) = (Vec::new(), [Vec::new(), Vec::new()], 0.0);
    for round in 0..ROUNDS {
        let seed = seed.child("round", round);
        let training = Training { steps: STEPS, rate: 0.05, seed };
        let pairs = own_pairs(world, &current, seed)?;
        if labels == Labels::Penalised {
            (current, judge) = penalised(world, &current, &judge, &pairs, training)?;
        }
        let probabilities = readings(world, &current, &judge, &pairs)?;
        let agreed = unanimous(&probabilities)?;
        agreement = mean(&agreed.iter().map(|alike| f64::from(u8::from(*alike))).collect::<Vec<f64>>());
        for (shares, said) in of_all.iter_mut().zip(&probabilities) {
            shares.push(right_labels(world, &pairs, said)?);
        }
        let [implicit, judged] = &probabilities;
        let (mut rows, mut right) = (Vec::new(), Vec::new());
        for (at, pair) in pairs.iter().enumerate() {
            let (first_wins, learned) = match labels {
                Labels::Judge => (judged[at] > 0.5, true),
                Labels::Implicit => (implicit[at] > 0.5, true),
                Labels::Agreed | Labels::Penalised => (judged[at] > 0.5, agreed[at]),
            };
            if !learned {
                continue;
            }
            let (first, second) = (&pair.responses[0].tokens, &pair.responses[1].tokens);
            let (chosen, rejected) = if first_wins { (first, second) } else { (second, first) };
            let earned = |text: &[u32]| world.reward(pair.prompt[0], text);
            right.push(f64::from(u8::from(earned(chosen)? > earned(rejected)?)));
            rows.push(TrainRow::pair(pair.prompt.clone(), chosen.clone(), rejected.clone()));
        }
        if rows.is_empty() {
            continue;
        }
        shares.push(mean(&right));
        let table = Table { world, reference: &current, state: place_and_last };
        current = table.trained(&dpo, &rows, training)?;
    }
    Ok(Outcome {
        gold: world.gold(&current)?,
        right: mean(&shares),
        of_all: of_all.map(|shares| mean(&shares)),
        agreement,
    })
}

/// The share of pairs of which these probabilities that the first text is better name the text that earns more.
fn right_labels(world: &World, pairs: &[TrainRow], first_is_better: &[f64]) -> Result<f64> {
    let mut right = 0;
    for (pair, said) in pairs.iter().zip(first_is_better) {
        let [first, second] = [0, 1].map(|at| world.reward(pair.prompt[0], &pair.responses[at].tokens));
        right += usize::from((*said > 0.5) == (first? > second?));
    }
    Ok(right as f64 / pairs.len() as f64)
}

/// Pairs of different texts of a policy, of which nothing is said.
fn own_pairs(world: &World, policy: &TreePolicy, seed: Seed) -> Result<Vec<TrainRow>> {
    let mut pairs = Vec::with_capacity(PAIRS);
    for number in 0..PAIRS {
        let prompt = PROMPTS[number % PROMPTS.len()];
        let two = world.samples(policy, prompt, 2, seed.child("pair", number as u64))?;
        if let [first, second] = &two[..]
            && first != second
        {
            pairs.push(TrainRow::pair(vec![prompt], first.clone(), second.clone()));
        }
    }
    Ok(pairs)
}

/// The probability that the first text of each pair is better: by the implicit reward, and by the judge.
fn readings(world: &World, policy: &TreePolicy, judge: &RewardTable, pairs: &[TrainRow]) -> Result<[Vec<f64>; 2]> {
    let side = |at: usize| -> Vec<Episode> {
        pairs.iter().map(|pair| Episode::new(&pair.prompt, &pair.responses[at].tokens)).collect()
    };
    let (first, second) = (side(0), side(1));
    let ratios = |texts: &[Episode]| self_rewards(policy, Some(&world.reference), texts);
    let implicit = implicit_preferences(&ratios(&first)?, &ratios(&second)?, BETA)?;
    let judged = |text: &Episode| judge.of(text.prompt_len(), &text.tokens);
    let judged = first.iter().zip(&second).map(|(first, second)| sigmoid(judged(first) - judged(second))).collect();
    Ok([implicit, judged])
}

/// Policy and judge after the penalty on these pairs.
fn penalised(
    world: &World,
    policy: &TreePolicy,
    judge: &RewardTable,
    pairs: &[TrainRow],
    training: Training,
) -> Result<(TreePolicy, RewardTable)> {
    let (rows, loss) = (states(world, place_and_last), SelfConsistencyConfig::default().init()?);
    let learner = Readings { world, policy, judge, states: rows, loss };
    let mut tables = fitted(&learner, 2 * rows, pairs, training, &[training.steps])?;
    let changes = tables.pop().context("a training has a step at least")?;
    let (of_policy, of_judge) = changes.split_at(rows * VOCABULARY);
    let table = Table { world, reference: policy, state: place_and_last };
    Ok((table.policy(of_policy)?, judge.changed(of_judge)))
}

/// Trains the changes of a policy, and below them those of a judge.
struct Readings<'a> {
    world: &'a World,
    policy: &'a TreePolicy,
    judge: &'a RewardTable,
    /// Rows of either table.
    states: usize,
    loss: SelfConsistency,
}

impl Readings<'_> {
    fn of(&self, model: &Embedding, rows: &[&TrainRow]) -> Result<Loss, CoreError> {
        let changes = model.weight.val(); // [2 * states, vocabulary]
        let given = responses(rows, 2)?;
        let (mut logps, mut start, mut judged) = (Vec::<f32>::new(), Vec::<f32>::new(), Vec::<f32>::new());
        let (mut of_state, mut tokens) = (Vec::new(), Vec::new());
        for (row, response) in &given {
            for (path, token) in transitions(row, response) {
                logps.extend(self.policy.logps(&path)?.iter().map(|logp| *logp as f32));
                start.push(self.world.reference.logps(&path)?[token as usize] as f32);
                of_state.push(place_and_last(&path) as i64);
                tokens.push(i64::from(token));
            }
            judged.push(self.judge.of(row.prompt.len(), &row.prompt.followed_by(&response.tokens)) as f32);
        }
        let (n, texts, device) = (tokens.len(), given.len(), changes.device());
        let shape = [texts, n / texts.max(1)];
        let tokens = indices(tokens, &device).reshape([n, 1]); // [n, 1]
        let below = of_state.iter().map(|state| state + self.states as i64).collect();
        let logps = Tensor::<2>::from_data(TensorData::new(logps, [n, VOCABULARY]), &device); // [n, vocabulary]
        let start = Tensor::<2>::from_data(TensorData::new(start, [n, 1]), &device); // [n, 1]
        let judged = Tensor::<2>::from_data(TensorData::new(judged, [texts, 1]), &device); // [texts, 1]
        let logits = changes.clone().select(0, indices(of_state, &device)) + logps; // [n, vocabulary]
        let ratios = log_softmax(logits, 1).gather(1, tokens.clone()) - start; // [n, 1]
        let ratios = ratios.reshape(shape).sum_dim(1); // [texts, 1]
        let weights = changes.select(0, indices(below, &device)).gather(1, tokens); // [n, 1]
        let judged = judged + weights.reshape(shape).sum_dim(1); // [texts, 1]
        let half = rows.len();
        let margin = |of: Tensor<2>| of.clone().narrow(0, 0, half) - of.narrow(0, half, half); // [rows, 1]
        let odds = Tensor::cat(vec![margin(ratios).mul_scalar(BETA), margin(judged)], 1); // [rows, 2]
        Ok(self.loss.loss(&ScoreBatch::new(1, odds)?)?)
    }
}

impl Learner for Readings<'_> {
    type Model = Embedding;
    type Row = TrainRow;

    fn learn(&self, model: &Embedding, rows: &[&TrainRow]) -> Result<Learned, TrainError> {
        let loss = self.of(model, rows)?;
        let gradients = GradientsParams::from_grads(loss.rows.clone().sum().backward(), model);
        Ok(Learned { gradients, tally: tally(&loss) })
    }

    fn measure(&self, model: &Embedding, rows: &[&TrainRow]) -> Result<Tally, TrainError> {
        Ok(tally(&self.of(model, rows)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_right_where_the_first_text_earns_more() {
        // A text is worth its last token.
        let world = World::new(2, Seed(0), |path| f64::from(path[2])).unwrap();
        let pairs =
            [[3, 1], [1, 3], [2, 0]].map(|[first, second]| TrainRow::pair(vec![1], vec![0, first], vec![0, second]));
        let right = right_labels(&world, &pairs, &[0.9, 0.9, 0.2]).unwrap();
        assert!((right - 1.0 / 3.0).abs() < 1e-12, "{right}");
    }

    #[test]
    fn the_penalty_brings_both_readings_to_one_side() {
        // The policy prefers the first text a little, the judge the second one much: the mean is on the judge's side.
        let world = World::new(2, Seed(0), |_| 0.0).unwrap();
        let pairs = [TrainRow::pair(vec![1], vec![3, 0], vec![0, 3])];
        let turned = [TrainRow::pair(vec![1], vec![0, 3], vec![3, 0])];
        let few = Training { steps: 5, rate: 0.05, seed: Seed(0) };
        let many = Training { steps: 40, rate: 0.1, seed: Seed(0) };
        let dpo = DpoConfig { beta: BETA, ..DpoConfig::default() }.init().unwrap();
        let table = Table { world: &world, reference: &world.reference, state: place_and_last };
        let policy = table.trained(&dpo, &pairs, few).unwrap();
        let judge = RewardTable::trained(&world, place_and_last, &turned, many).unwrap();
        let before = readings(&world, &policy, &judge, &pairs).unwrap();
        assert!(before[0][0] > 0.5 && before[1][0] < 0.2, "{before:?}");
        assert_eq!(unanimous(&before).unwrap(), [false]);
        let (policy, judge) = penalised(&world, &policy, &judge, &pairs, many).unwrap();
        let after = readings(&world, &policy, &judge, &pairs).unwrap();
        assert!((after[0][0] - after[1][0]).abs() < before[0][0] - before[1][0], "{after:?}");
        assert_eq!(unanimous(&after).unwrap(), [true], "{after:?}");
    }
}
