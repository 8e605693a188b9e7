//! SCoRe: a second attempt that corrects, where plain two-turn RL would get the first one right and leave it at that.
//!
//! An attempt is two tokens, and right where the second is one more than the first. What is learned of first attempts belongs to
//! the prompt; what is learned of second attempts belongs to the tokens of the first, so it holds on new prompts too. At
//! first a second attempt nearly always repeats. As soon as first attempts are right there is nothing left to learn a
//! correction from, which is what stage I is for.

use anyhow::{Context, Result};
use ascribe::core::advantage::{AdvantageEstimator, Baseline, Outcome};
use ascribe::core::{CoreError, Episode, Seed, Tokens, rule};
use ascribe::preference::rl::{PolicyLoss, Rollout, SecondAttempt, Stage};
use ascribe::worlds::{TokenTree, TreePolicy};

use crate::judge::{Judge, fill};
use crate::rollouts::{Plan, Writer, plain, written};
use crate::row::{Claim, Figures, Row};
use crate::tabular::Table;
use crate::world::{VOCABULARY, World, normal};

const LENGTH: usize = 2;
const PRACTISED: [u32; 2] = [0, 1];
const NEW: [u32; 2] = [2, 3];
const GENERATIONS: usize = 40;
const SAMPLES: usize = 32;
/// Odds that a token of the first attempt is repeated, at first.
const REPEATED: f64 = 0.97;
const PROGRESS: f64 = 10.0;

/// SCoRe's claims.
pub const ROW: Row = Row {
    name: "score-turn-two",
    paper: "Training Language Models to Self-Correct via Reinforcement Learning, arXiv:2409.12917",
    setting: "2 prompts to practise and 2 new ones, attempts of two tokens, second attempts that repeat a token at 97 % at first; \
              SCoRe makes 40 generations of each stage, of 64 first and 64 second attempts, with a bonus of 10 and pulls of 0.1 \
              and 0.01; plain RL on both turns makes 80; nothing stands between the attempts; all figures are exact, on the \
              new prompts",
    seeds: 20,
    claims: &[
        Claim {
            says: "second attempts of SCoRe are right more often than first ones",
            more: "second attempts of SCoRe",
            less: "first attempts of SCoRe",
        },
        Claim {
            says: "SCoRe gains more by the second attempt than plain two-turn RL",
            more: "gain of SCoRe",
            less: "gain of plain RL",
        },
        Claim {
            says: "it gains more than without its first stage",
            more: "gain of SCoRe",
            less: "gain without stage I",
        },
        Claim { says: "it gains more than without the bonus", more: "gain of SCoRe", less: "gain without the bonus" },
    ],
    tried: "",
    run,
};

/// First attempts by the prompt and the place; second ones by the tokens of the first.
fn state(path: &[u32]) -> usize {
    let pair = |one: u32, other: u32| one as usize * VOCABULARY + other as usize;
    match path {
        [_, first, second] => 2 * VOCABULARY + pair(*first, *second),
        [_, _, second, again] => (2 + VOCABULARY) * VOCABULARY + pair(*second, *again),
        [prompt, ..] => (path.len() - 1) * VOCABULARY + *prompt as usize,
        [] => 0,
    }
}

/// Whether an attempt, the last two tokens, is right.
fn right(path: &[u32]) -> f64 {
    match path {
        [.., first, second] => f64::from(u8::from((first + 1) % VOCABULARY as u32 == *second)),
        _ => 0.0,
    }
}

/// A drawn policy that repeats itself.
fn world(seed: Seed) -> Result<World> {
    let tree = TokenTree::new(VOCABULARY, 1 + 2 * LENGTH, right)?;
    let repeated = |token: u32| -> Vec<f64> {
        let others = ((1.0 - REPEATED) / (VOCABULARY - 1) as f64).ln();
        (0..VOCABULARY as u32).map(|other| if other == token { REPEATED.ln() } else { others }).collect()
    };
    let reference = TreePolicy::new(&tree, |path| match path {
        [] => vec![0.0; VOCABULARY],
        [_, first, _] => repeated(*first),
        [_, _, second, _] => repeated(*second),
        _ => {
            let mut stream = seed.stream("first attempts", state(path) as u64);
            (0..VOCABULARY).map(|_| 0.5 * normal(&mut stream)).collect()
        }
    })?;
    Ok(World { tree, reference })
}

/// What is practised on.
fn practised() -> Vec<Tokens> {
    PRACTISED.iter().map(|prompt| vec![*prompt].into()).collect()
}

/// First attempts, then a second one behind each.
fn attempts(world: &World, policy: &TreePolicy, seed: Seed) -> Result<Vec<Rollout>, CoreError> {
    let prompts = practised();
    let mut all = written(&world.reference, policy, &prompts, [SAMPLES, LENGTH], seed.child("first", 0))?;
    let again: Vec<Tokens> = all.iter().map(|first| first.prompt.followed_by(&first.response)).collect();
    let mut second = written(&world.reference, policy, &again, [1, LENGTH], seed.child("second", 0))?;
    // Second attempts at a prompt are compared with each other.
    second.iter_mut().zip(&all).for_each(|(second, first)| second.group = prompts.len() + first.group);
    all.append(&mut second);
    Ok(all)
}

/// The policy after some generations of a stage, from a policy on.
fn learned(
    world: &World,
    start: &TreePolicy,
    attempt: &SecondAttempt,
    generations: usize,
    seed: Seed,
) -> Result<TreePolicy> {
    let table = Table { world, reference: start, state };
    let beta = if attempt.stage == Stage::First { 0.1 } else { 0.01 };
    let (prompts, loss) = (practised(), PolicyLoss { beta, pull: true, ..plain() });
    let writer = Writer { table: &table, prompts: &prompts, length: LENGTH, loss: &loss };
    let plan = Plan { generations, samples: 2 * SAMPLES, passes: 1, rate: 0.1, seed };
    let (scorer, estimator) =
        (rule(|episode: &Episode| right(&episode.tokens) as f32), Outcome::new(Baseline::LeaveOneOut));
    let mut judge = Judge::new(&scorer, &estimator);
    let write = |policy: &TreePolicy, seed: Seed| attempts(world, policy, seed);
    let mut policies = writer.generations_of(plan, &write, &mut |rollouts| {
        let mut graded = judge.graded(rollouts)?;
        let half = graded.len() / 2;
        let (first, second) = graded.split_at_mut(half);
        for (one, other) in first.iter_mut().zip(second) {
            if let (Some(before), Some(after)) = (one.score, other.score) {
                let (before, after) = attempt.paid(before, after);
                (one.score, other.score) = (Some(before), Some(after));
            }
        }
        if attempt.stage == Stage::First {
            let (first, second) = rollouts.split_at_mut(half);
            first.iter_mut().for_each(|rollout| rollout.pull = Some(1.0));
            second.iter_mut().for_each(|rollout| rollout.pull = Some(attempt.pull as f32));
        }
        fill(rollouts, estimator.estimate(&graded)?);
        Ok(())
    })?;
    policies.pop().context("a training has a generation at least")
}

/// How often the first and the second attempt at a new prompt are right.
fn accuracies(world: &World, policy: &TreePolicy) -> [f64; 2] {
    let mut sums = [0.0; 2];
    for ((path, _), odds) in world.tree.leaves().zip(policy.leaf_probabilities()) {
        if NEW.contains(&path[0]) {
            sums[0] += odds * right(&path[..1 + LENGTH]);
            sums[1] += odds * right(&path);
        }
    }
    sums.map(|sum| sum * VOCABULARY as f64 / NEW.len() as f64)
}

fn run(seed: Seed) -> Result<Figures> {
    let world = world(seed)?;
    let stage = |stage: Stage, progress: f64| SecondAttempt { progress, ..SecondAttempt::new(vec![0_u32], stage) };
    let [bonus, no_bonus] = [PROGRESS, 0.0].map(|progress| stage(Stage::Second, progress));
    let first = learned(&world, &world.reference, &stage(Stage::First, 0.0), GENERATIONS, seed.child("stage", 1))?;
    let behind_it = |attempt: &SecondAttempt| learned(&world, &first, attempt, GENERATIONS, seed.child("stage", 2));
    let alone = |attempt: &SecondAttempt| learned(&world, &world.reference, attempt, 2 * GENERATIONS, seed);
    let [score_first, score_second] = accuracies(&world, &behind_it(&bonus)?);
    let gain = |policy: TreePolicy| {
        let [first, second] = accuracies(&world, &policy);
        second - first
    };
    Ok(vec![
        ("first attempts of SCoRe".into(), score_first),
        ("second attempts of SCoRe".into(), score_second),
        ("gain of SCoRe".into(), score_second - score_first),
        ("gain of the start".into(), gain(world.reference.clone())),
        ("gain of plain RL".into(), gain(alone(&no_bonus)?)),
        ("gain without stage I".into(), gain(alone(&bonus)?)),
        ("gain without the bonus".into(), gain(behind_it(&no_bonus)?)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_right_by_its_last_two_tokens() {
        assert_eq!([&[0, 1, 2][..], &[0, 3, 0], &[0, 1, 1], &[0, 1, 1, 2, 3]].map(right), [1.0, 1.0, 0.0, 1.0]);
    }

    #[test]
    fn second_attempts_share_rows_among_prompts_and_first_ones_do_not() {
        assert_eq!([&[1][..], &[1, 3], &[1, 3, 2], &[1, 3, 2, 0]].map(state), [1, 5, 8 + 14, 24 + 8]);
        assert_eq!(state(&[2, 3, 2]), state(&[1, 3, 2]));
        assert_ne!(state(&[2, 3]), state(&[1, 3]));
    }
}
