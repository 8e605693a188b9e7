//! Preference trade-offs: policies for any weights of two objectives as convex combinations of two policies' parameters.
//!
//! ```text
//! theta_w = theta_0 + w (theta_1 - theta_0) + (1 - w) (theta_2 - theta_0)      two trainings, and none for a weight
//! gold_w  = w r_1 + (1 - w) r_2
//! ```
//! The two begin alike and learn from pairs of raters of one reward each. Against them stand policies that are trained for each
//! weight, by raters of the weighed reward over the same responses. A table is log-linear in its parameters, so here a combination
//! is the geometric mean of the two policies as well.

use anyhow::Result;
use ascribe::core::{Seed, Stream};
use ascribe::eval::curve::hypervolume;
use ascribe::preference::objectives::DpoConfig;
use ascribe::reward::soup::{KnowledgeBase, Posterior};
use ascribe::worlds::TreePolicy;

use crate::heads::mean;
use crate::row::{Claim, Figures, Row};
use crate::tabular::{Table, Training, place_and_last};
use crate::world::{Gold, PROMPTS, World, bradley_terry};

const LENGTH: usize = 5;
const BETA: f64 = 0.3;
const PAIRS: usize = 512;
/// Weights are the multiples of one over this.
const WEIGHTS: usize = 6;
/// Correlation of the two rewards.
const CONFLICT: f64 = -0.5;

/// The claims of IBCL.
pub const ROW: Row = Row {
    name: "preference-trade-offs",
    paper: "IBCL: Zero-shot Model Generation for Task Trade-offs in Continual Learning, arXiv:2305.14782; Rewarded soups, \
            arXiv:2306.04488",
    setting: "4 prompts with 1024 texts each, two rewards with the correlation -0.5, 512 pairs a reward of Bradley-Terry raters, \
              DPO at beta 0.3 for 200 steps from one start; the weights 0, 1/6 to 1; parameters combined (points, no deviation) \
              against a training for each weight; gold is the weighed reward, in the mean over the five weights between; volumes \
              stand above the worst of all policies in each reward; of two policies played in turn, each as often as its weight, \
              the gold is the weighed mean of theirs",
    seeds: 40,
    claims: &[
        Claim {
            says: "combinations earn more than the better of the two policies that they are made of",
            more: "gold of combinations",
            less: "gold of the better of two",
        },
        Claim {
            says: "they earn more than the two policies played in turn, each as often as its weight",
            more: "gold of combinations",
            less: "gold of the two in turn",
        },
        Claim {
            says: "without training they keep nine tenths of what a training for each weight gains",
            more: "gold of combinations",
            less: "gold of nine tenths of the gain",
        },
        Claim {
            says: "their front has nine tenths of the volume of trainings for each weight",
            more: "volume of combinations",
            less: "nine tenths of the volume of trainings",
        },
    ],
    tried: "Over 10 seeds combinations earned 0.895 and the better of the two policies 0.966, a difference of -0.071 [-0.123, \
            -0.019], and the other two claims were open; so there are 40. Parameters that pull apart cancel in part, so a \
            combination stays nearer to the start than either policy, which costs gold; and the better of two is chosen with \
            hindsight, weight by weight. Rewarded soups are expected to lie above the straight line between the two, which has a \
            claim of its own now.",
    run,
};

/// Both rewards of a text.
fn both(rewards: &[Gold; 2], path: &[u32]) -> [f64; 2] {
    let [first, own] = rewards.each_ref().map(|reward| reward.of(path));
    [first, CONFLICT * first + (1.0 - CONFLICT * CONFLICT).sqrt() * own]
}

/// The weighed sum.
fn weighed(weight: f64, [first, second]: [f64; 2]) -> f64 {
    weight * first + (1.0 - weight) * second
}

fn run(seed: Seed) -> Result<Figures> {
    let rewards = [Gold::drawn(LENGTH, seed)?, Gold::drawn(LENGTH, seed.child("second", 0))?];
    let dpo = DpoConfig { beta: BETA, ..DpoConfig::default() }.init()?;
    let training = Training { steps: 200, rate: 0.05, seed };
    let weights: Vec<f64> = (0..=WEIGHTS).map(|at| at as f64 / WEIGHTS as f64).collect();
    // One seed: the same start and the same responses, whatever the weight.
    let mut worlds = Vec::with_capacity(weights.len());
    for weight in &weights {
        worlds.push(World::new(LENGTH, seed, |path| weighed(*weight, both(&rewards, path)))?);
    }
    let table = Table { world: &worlds[0], reference: &worlds[0].reference, state: place_and_last };
    let mut trained = Vec::with_capacity(weights.len());
    for world in &worlds {
        let rater = |difference: f64, stream: &mut Stream| bradley_terry(2.0 * difference, stream);
        let pairs = world.pairs(&PROMPTS, PAIRS, seed, rater)?;
        trained.push(table.changes(&dpo, &pairs, training)?);
    }
    let mut base = KnowledgeBase::new(0.0)?;
    for parameters in [&trained[WEIGHTS], &trained[0]] {
        base.add(vec![Posterior::point(parameters)])?;
    }
    let texts: Vec<[f64; 2]> = worlds[0].tree.leaves().map(|(path, _)| both(&rewards, &path)).collect();
    let earned = |policy: &TreePolicy| -> [f64; 2] {
        let odds = policy.leaf_probabilities();
        [0, 1].map(|reward| odds.iter().zip(&texts).map(|(odds, text)| odds * text[reward]).sum())
    };
    let (mut by_training, mut by_combination) = (Vec::new(), Vec::new());
    for (weight, parameters) in weights.iter().zip(&trained) {
        by_training.push(earned(&table.policy(parameters)?));
        by_combination.push(earned(&table.policy(&base.combine(&[*weight, 1.0 - weight])?.mean)?));
    }
    let start = earned(&worlds[0].reference);
    let ends = [by_training[0], by_training[WEIGHTS]];

    let between = |of: &dyn Fn(usize) -> f64| mean(&(1..WEIGHTS).map(of).collect::<Vec<f64>>());
    let of_start = between(&|at| weighed(weights[at], start));
    let of_training = between(&|at| weighed(weights[at], by_training[at]));
    let [low, high] = ends.map(|end| move |weight: f64| weighed(weight, end));
    let points = |policies: &[[f64; 2]]| policies.iter().map(|policy| policy.to_vec()).collect::<Vec<Vec<f64>>>();
    let all = [points(&by_training), points(&by_combination)].concat();
    let worst = [0, 1].map(|reward| all.iter().map(|point| point[reward]).fold(f64::INFINITY, f64::min));
    let of_trainings = hypervolume(&points(&by_training), &worst)?;
    Ok(vec![
        ("gold of the start".into(), of_start),
        ("gold of combinations".into(), between(&|at| weighed(weights[at], by_combination[at]))),
        ("gold of the better of two".into(), between(&|at| low(weights[at]).max(high(weights[at])))),
        (
            "gold of the two in turn".into(),
            between(&|at| weights[at] * high(weights[at]) + (1.0 - weights[at]) * low(weights[at])),
        ),
        ("gold of a training for each weight".into(), of_training),
        ("gold of nine tenths of the gain".into(), of_start + 0.9 * (of_training - of_start)),
        ("volume of combinations".into(), hypervolume(&points(&by_combination), &worst)?),
        ("volume of trainings".into(), of_trainings),
        ("nine tenths of the volume of trainings".into(), 0.9 * of_trainings),
    ])
}
