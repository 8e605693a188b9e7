//! OREAL: right texts are imitated, wrong ones are made less likely with a weight of their own, and a token reward says where.
//!
//! What imitation is good for can be told exactly: with marks of right and wrong the optimum under a small divergence is the
//! start's own law of right texts, and that is the law of what best-of-n picks.

use anyhow::Result;
use ascribe::core::Seed;
use ascribe::core::advantage::{AdvantageEstimator, Baseline, Keep, Oreal, Outcome};
use ascribe::core::tensor::KlEstimator;
use ascribe::eval::curve::total_variation;
use ascribe::preference::rl::PolicyLoss;

use crate::judge::Judge;
use crate::rollouts::{Plan, Writer, plain, prompts};
use crate::row::{Claim, Figures, Row};
use crate::tabular::{Table, Training, own, place_and_last};
use crate::world::{Gold, World};

const LENGTH: usize = 5;
const GENERATIONS: usize = 120;
const SAMPLES: usize = 16;

/// OREAL's claims.
pub const ROW: Row = Row {
    name: "oreal",
    paper: "Exploring the Limit of Outcome Reward for Learning Mathematical Reasoning, arXiv:2502.06781",
    setting: "4 prompts with 1024 texts each, of which about one in six is right; cloning: the best of each 16 of 32768 texts, a row \
              of the policy for each history, against the exact optimum at beta 0.1; learning: 120 generations of 4 times 16 \
              texts a prompt, one step on each, kl 0.01, rows shared by histories of one length and last token; the token \
              reward is a table too",
    seeds: 12,
    claims: &[
        Claim {
            says: "cloning the best of n brings the policy near the optimum under a divergence (total variation)",
            more: "distance of the start",
            less: "distance of the clone",
        },
        Claim {
            says: "learning from wrong texts as well makes it right more often",
            more: "success of OREAL without token rewards",
            less: "success without wrong texts",
        },
        Claim {
            says: "so it is right more often than by the policy gradient",
            more: "success of OREAL without token rewards",
            less: "success of the policy gradient",
        },
        Claim {
            says: "token rewards make it right more often",
            more: "success of OREAL",
            less: "success of OREAL without token rewards",
        },
    ],
    tried: "In models of this row token rewards are behind after 10, 20, 40 and 80 generations as well, with four times their rate, with \
            the policy held still for ten generations first, with weights scaled to a mean of 1, and where a single token decides. \
            The weight of a token is the verdict on all that is written so far, and 0 on one side of a half, so that of five \
            tokens much of the teaching goes missing; texts of thousands of tokens, where most do not matter, are out of reach \
            here.",
    run,
};

fn run(seed: Seed) -> Result<Figures> {
    let gold = Gold::drawn(LENGTH, seed)?;
    let world = World::new(LENGTH, seed, |path| gold.above(1.0, path))?;
    let [of_the_start, of_the_clone] = distances(&world, seed)?;
    let pull = PolicyLoss { beta: 0.01, kl: KlEstimator::K3, ..plain() };
    let with_token_rewards = PolicyLoss { outcome: Some(1.0), ..pull };
    let success = |loss: &PolicyLoss, estimator: &dyn AdvantageEstimator| success(&world, loss, estimator, seed);
    let oreal = Oreal::default();
    Ok(vec![
        ("distance of the start".into(), of_the_start),
        ("distance of the clone".into(), of_the_clone),
        ("success of the start".into(), world.gold(&world.reference)?),
        ("success of OREAL".into(), success(&with_token_rewards, &Oreal { token_rewards: true, ..oreal })?),
        ("success of OREAL without token rewards".into(), success(&pull, &oreal)?),
        ("success without wrong texts".into(), success(&pull, &Oreal { negative: 0.0, ..oreal })?),
        ("success of the policy gradient".into(), success(&pull, &Outcome::new(Baseline::LeaveOneOut))?),
    ])
}

/// How far start and clone are from the optimum.
fn distances(world: &World, seed: Seed) -> Result<[f64; 2]> {
    let table = Table { world, reference: &world.reference, state: own };
    let (prompts, loss) = (vec![prompts(); 512].concat(), plain());
    let writer = Writer { table: &table, prompts: &prompts, length: LENGTH, loss: &loss };
    let mut texts = writer.texts(&world.reference, SAMPLES, seed.child("texts", 0))?;
    Judge::new(&world.tree, &Keep::Best).credit(&mut texts)?;
    let clone = writer.learned_from(&texts, Training { steps: 400, rate: 0.05, seed })?.policy;
    let optimum = world.optimum(0.1)?.leaf_probabilities();
    let start = total_variation(&world.reference.leaf_probabilities(), &optimum)?;
    Ok([start, total_variation(&clone.leaf_probabilities(), &optimum)?])
}

/// How often a policy is right after all generations.
fn success(world: &World, loss: &PolicyLoss, estimator: &dyn AdvantageEstimator, seed: Seed) -> Result<f64> {
    let table = Table { world, reference: &world.reference, state: place_and_last };
    let prompts = vec![prompts(); 4].concat();
    let writer = Writer { table: &table, prompts: &prompts, length: LENGTH, loss };
    let plan = Plan { generations: GENERATIONS, samples: SAMPLES, passes: 1, rate: 0.05, seed };
    let mut judge = Judge::new(&world.tree, estimator);
    world.gold(&writer.last(plan, &mut |rollouts| judge.credit(rollouts))?)
}
