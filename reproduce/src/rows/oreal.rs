//! OREAL: right texts are imitated, wrong ones are made less likely with a weight of their own, and a token reward says where.
//!
//! What imitation is good for can be told exactly: with marks of right and wrong the optimum under a small divergence is the
//! start's own law of right texts, and that is the law of what best-of-n picks.

use anyhow::Result;
use ascribe::core::Seed;
use ascribe::core::advantage::{AdvantageEstimator, Baseline, Keep, Oreal, Outcome, TokenWeighting};
use ascribe::core::tensor::KlEstimator;
use ascribe::eval::curve::total_variation;
use ascribe::preference::rl::{PolicyLoss, Rollout};

use crate::judge::Judge;
use crate::rollouts::{Plan, Writer, plain, prompts};
use crate::row::{Claim, Figures, Row};
use crate::tabular::{Table, Training, own, place_and_last};
use crate::world::{Gold, World};

const LENGTH: usize = 5;
const GENERATIONS: usize = 120;
const SAMPLES: usize = 16;
/// Generations in which token rewards learn alone, as in the paper.
const STILL: usize = 10;

/// OREAL's claims.
pub const ROW: Row = Row {
    name: "oreal",
    paper: "Exploring the Limit of Outcome Reward for Learning Mathematical Reasoning, arXiv:2502.06781",
    setting: "4 prompts with 1024 texts each, of which about one in six is right; cloning: the best of each 16 of 32768 texts, a \
              row of the policy for each history, against the exact optimum at beta 0.1; learning: 120 generations of 4 times 16 \
              texts a prompt, one step on each, kl 0.01, rows shared by histories of one length and last token; the token reward \
              is a table too; in an arm, as in the paper, it learns alone for 10 generations before these, in which the policy \
              stays, and in another, as in the public code, the quarter of the tokens with the largest chances counts, scaled from \
              0 to 1",
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
        Claim {
            says: "so they do where they learn before the policy",
            more: "success of OREAL, token rewards first",
            less: "success of OREAL without token rewards",
        },
        Claim {
            says: "and where the largest quarter of the tokens counts",
            more: "success of OREAL, largest quarter",
            less: "success of OREAL without token rewards",
        },
    ],
    tried: "Token rewards that learn beside the policy from the first generation on cost 0.054 [0.035, 0.072] of success over 12 \
            seeds. The paper lets them learn before the policy, and its public code has a second way to weigh tokens; both are \
            arms now. The weight of a token is the verdict on all that is written so far, and 0 on one side of a half, so that of \
            five tokens much of the teaching goes missing; texts of thousands of tokens, where most do not matter, are out of \
            reach here.",
    run,
};

fn run(seed: Seed) -> Result<Figures> {
    let gold = Gold::drawn(LENGTH, seed)?;
    let world = World::new(LENGTH, seed, |path| gold.above(1.0, path))?;
    let [of_the_start, of_the_clone] = distances(&world, seed)?;
    let pull = PolicyLoss { beta: 0.01, kl: KlEstimator::K3, pull: true, ..plain() };
    let with_token_rewards = PolicyLoss { outcome: Some(1.0), ..pull };
    let success = |loss: &PolicyLoss, estimator: &dyn AdvantageEstimator| success(&world, loss, estimator, 0, seed);
    let oreal = Oreal::default();
    let by_tokens = Oreal { token_rewards: true, ..oreal };
    let largest = Oreal { weighting: TokenWeighting::Top(0.25), ..by_tokens };
    let first = self::success(&world, &with_token_rewards, &by_tokens, STILL, seed)?;
    Ok(vec![
        ("distance of the start".into(), of_the_start),
        ("distance of the clone".into(), of_the_clone),
        ("success of the start".into(), world.gold(&world.reference)?),
        ("success of OREAL".into(), success(&with_token_rewards, &by_tokens)?),
        ("success of OREAL, token rewards first".into(), first),
        ("success of OREAL, largest quarter".into(), success(&with_token_rewards, &largest)?),
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

/// How often a policy is right after all generations, and `still` before them in which it stays as it is.
fn success(
    world: &World,
    loss: &PolicyLoss,
    estimator: &dyn AdvantageEstimator,
    still: usize,
    seed: Seed,
) -> Result<f64> {
    let table = Table { world, reference: &world.reference, state: place_and_last };
    let prompts = vec![prompts(); 4].concat();
    let writer = Writer { table: &table, prompts: &prompts, length: LENGTH, loss };
    let plan = Plan { generations: still + GENERATIONS, samples: SAMPLES, passes: 1, rate: 0.05, seed };
    let mut judge = Judge::new(&world.tree, estimator);
    let mut generation = 0;
    let policy = writer.last(plan, &mut |rollouts| {
        judge.credit(rollouts)?;
        if generation < still {
            rollouts.iter_mut().for_each(stay);
        }
        generation += 1;
        Ok(())
    })?;
    world.gold(&policy)
}

/// Takes from a text what teaches the policy; what it teaches of token rewards stays.
fn stay(text: &mut Rollout) {
    text.advantages.fill(0.0);
    text.pull = Some(0.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_stays_is_the_start() {
        let gold = Gold::drawn(2, Seed(1)).unwrap();
        let world = World::new(2, Seed(1), |path| gold.above(0.5, path)).unwrap();
        let table = Table { world: &world, reference: &world.reference, state: place_and_last };
        let loss = PolicyLoss { beta: 0.01, kl: KlEstimator::K3, pull: true, outcome: Some(1.0), ..plain() };
        let prompts = prompts();
        let writer = Writer { table: &table, prompts: &prompts, length: 2, loss: &loss };
        let plan = Plan { generations: 3, samples: SAMPLES, passes: 1, rate: 0.05, seed: Seed(1) };
        let oreal = Oreal { token_rewards: true, ..Oreal::default() };
        let moved = |still: bool| {
            let mut judge = Judge::new(&world.tree, &oreal);
            let policy = writer.last(plan, &mut |rollouts| {
                judge.credit(rollouts)?;
                rollouts.iter_mut().filter(|_| still).for_each(stay);
                Ok(())
            });
            world.divergence(&policy.unwrap()).unwrap()
        };
        assert!(moved(true) < 1e-12 && moved(false) > 1e-6, "{} and {}", moved(true), moved(false));
    }
}
