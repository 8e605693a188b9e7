//! MA-RLHF: PPO over stretches of tokens, so that fewer guesses of the critic stand between a token and the reward.
//!
//! Token PPO and both kinds of macro action have the same loss, critic, texts a generation and rate; they differ in where the
//! estimator takes its steps. The reward comes at the end alone.

use anyhow::Result;
use ascribe::core::Seed;
use ascribe::core::advantage::{AdvantageEstimator, Gae, MacroGae, MacroReward, MacroValue, Normalize, Variance};
use ascribe::eval::curve::{Reached, Reading, steps_to};
use ascribe::preference::rl::Segmentation;

use crate::judge::Judge;
use crate::rollouts::{Plan, Writer, ppo, prompts};
use crate::row::{Claim, Figures, Row};
use crate::tabular::{Table, place_and_last};
use crate::world::{Gold, World};

const LENGTH: usize = 6;
const GENERATIONS: usize = 80;
const LAMBDA: f64 = 0.5;
const KL: f64 = 0.05;

/// The claims of MA-RLHF.
pub const ROW: Row = Row {
    name: "ma-rlhf",
    paper: "MA-RLHF: Reinforcement Learning from Human Feedback with Macro Actions, arXiv:2410.02743",
    setting: "4 prompts with 4096 texts of 6 tokens each, the reward at the end, 80 generations of 64 texts, two steps on each, \
              a divergence costs 0.05; lambda 0.5, whose trace falls over 6 tokens as far as 0.95's over 80; n-grams of 3 tokens, \
              and drawn lengths; rows of policy and critic are shared by histories of one length and last token; parity is 95 % \
              of what token PPO gains",
    seeds: 20,
    claims: &[
        Claim {
            says: "n-grams reach parity with token PPO in fewer generations",
            more: "generations of token PPO",
            less: "generations of n-grams",
        },
        Claim {
            says: "so do macro actions of drawn lengths",
            more: "generations of token PPO",
            less: "generations of drawn lengths",
        },
        Claim { says: "n-grams earn more gold in the end", more: "gold of n-grams", less: "gold of token PPO" },
    ],
    tried: "",
    run,
};

fn run(seed: Seed) -> Result<Figures> {
    let gold = Gold::drawn(LENGTH, seed)?;
    let world = World::new(LENGTH, seed, |path| gold.of(path))?;
    let normalize = Normalize::Whiten { variance: Variance::Unbiased, epsilon: 1e-8 };
    let tokens = Gae { gamma: 1.0, lambda: LAMBDA, normalize };
    let (value, reward) = (MacroValue::Equal, MacroReward::Sum);
    let macros = MacroGae { gamma: 1.0, lambda: LAMBDA, value, reward, normalize };
    let drawn = Segmentation::Randomised { repeats: 1, seed: seed.child("lengths", 0) };
    let by_token = curve(&world, &tokens, None, seed)?;
    let by_n_gram = curve(&world, &macros, Some(Segmentation::Fixed(3)), seed)?;
    let by_length = curve(&world, &macros, Some(drawn), seed)?;
    let start = world.gold(&world.reference)?;
    let end = |curve: &[f64]| curve[GENERATIONS - 1];
    let parity = start + 0.95 * (end(&by_token) - start);
    let at: Vec<f64> = (1..=GENERATIONS).map(|generation| generation as f64).collect();
    let reached = |curve: &[f64]| -> Result<f64> {
        let (Reached::At(x) | Reached::Censored(x)) = steps_to(&at, curve, parity, 0, Reading::Interpolated)?;
        Ok(x)
    };
    Ok(vec![
        ("generations of token PPO".into(), reached(&by_token)?),
        ("generations of n-grams".into(), reached(&by_n_gram)?),
        ("generations of drawn lengths".into(), reached(&by_length)?),
        ("gold of token PPO".into(), end(&by_token)),
        ("gold of n-grams".into(), end(&by_n_gram)),
        ("gold of drawn lengths".into(), end(&by_length)),
    ])
}

/// The expected gold reward after each generation.
fn curve(
    world: &World,
    estimator: &dyn AdvantageEstimator,
    segmentation: Option<Segmentation>,
    seed: Seed,
) -> Result<Vec<f64>> {
    let table = Table { world, reference: &world.reference, state: place_and_last };
    let (prompts, loss) = (prompts(), ppo());
    let writer = Writer { table: &table, prompts: &prompts, length: LENGTH, loss: &loss };
    let plan = Plan { generations: GENERATIONS, samples: 16, passes: 2, rate: 0.03, seed };
    let mut judge = Judge { kl: KL, segmentation, ..Judge::new(&world.tree, estimator) };
    let policies = writer.generations(plan, &mut |rollouts| judge.credit(rollouts))?;
    policies.iter().map(|policy| world.gold(policy)).collect()
}
