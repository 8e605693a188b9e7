//! Learning to summarise: comparisons train a reward, PPO with a penalty follows it, and ROUGE is followed beside it.
//!
//! ```text
//! gold  = half a drawn reward + what the first three key words earn - 3 for each one more
//! proxy = sum_t w[t][y_t]       learned from comparisons; it sees words and places, and cannot count
//! ```
//! Posts are prompts, summaries five words. The reference summary of a post is one text of the start, as where supervised
//! learning imitates what authors wrote. Proxy and ROUGE have mean 0 and deviation 1 over all texts, so that a nat of divergence
//! costs the same under both.

use anyhow::Result;
use ascribe::core::advantage::{Gae, Normalize, Variance};
use ascribe::core::{Seed, Tokens};
use ascribe::eval::text::{RougeKind, Stem};
use ascribe::worlds::{TokenTree, TreePolicy};

use crate::heads::{mean, standardized};
use crate::judge::Judge;
use crate::reward_table::RewardTable;
use crate::rollouts::{Plan, Writer, ppo, prompts};
use crate::row::{Claim, Figures, Row};
use crate::tabular::{Table, Training, place_and_last};
use crate::world::{Gold, PROMPTS, VOCABULARY, World, better, bradley_terry};

const LENGTH: usize = 5;
const FEW: usize = 32;
const MANY: usize = 512;
const MEASURED: usize = 1000;
/// What a nat of divergence costs: in the comparison with ROUGE, and along the curve.
const PENALTY: f64 = 1.0;
const CURVE: [f64; 4] = [3.0, 0.5, 0.2, 0.0];
const WORDS: [&str; VOCABULARY] = ["key", "people", "place", "time"];

/// The claims of learning to summarise.
pub const ROW: Row = Row {
    name: "summaries",
    paper: "Learning to summarize from human feedback, arXiv:2009.01325",
    setting: "4 prompts with 1024 texts each stand for posts and summaries; 512 comparisons of a Bradley-Terry rater train a table \
              of rewards of words and places; PPO of 60 generations of 64 texts from the start, a divergence costs 1, or 3 to 0 along \
              the curve; ROUGE-L against one reference summary a post; gold and divergence are exact",
    seeds: 20,
    claims: &[
        Claim {
            says: "the policy that was trained on preferences earns more gold than the start",
            more: "gold by preferences",
            less: "gold of the start",
        },
        Claim { says: "and than the reference summaries", more: "gold by preferences", less: "gold of the references" },
        Claim { says: "and than one that was trained on ROUGE", more: "gold by preferences", less: "gold by ROUGE" },
        Claim {
            says: "without a penalty the learned reward is optimised further",
            more: "proxy at penalty 0",
            less: "proxy at penalty 1",
        },
        Claim { says: "and gold falls", more: "gold by preferences", less: "gold at penalty 0" },
        Claim {
            says: "a reward of more comparisons is right more often",
            more: "accuracy, 512 comparisons",
            less: "accuracy, 32 comparisons",
        },
    ],
    tried: "",
    run,
};

/// What a summary is worth beside the drawn reward.
fn of_key_words(words: &[u32]) -> f64 {
    let count = words.iter().filter(|word| **word == 0).count() as f64;
    count.min(3.0) - 3.0 * (count - 3.0).max(0.0)
}

/// Weights of a word hang on its place alone.
fn place(path: &[u32]) -> usize {
    path.len()
}

fn run(seed: Seed) -> Result<Figures> {
    let gold = Gold::drawn(LENGTH, seed)?;
    let world = World::new(LENGTH, seed, |path| 0.5 * gold.of(path) + of_key_words(&path[1..]))?;
    let comparisons = world.pairs(&PROMPTS, MANY, seed.child("comparisons", 0), bradley_terry)?;
    let measured = world.pairs(&PROMPTS, MEASURED, seed.child("measured", 0), better)?;
    let training = Training { steps: 200, rate: 0.05, seed };
    let reward = RewardTable::trained(&world, place, &comparisons, training)?;
    let few = RewardTable::trained(&world, place, &comparisons[..FEW], training)?;
    let proxy = on_one_scale(&world, &|path| Ok(reward.of(1, path)))?;

    let (mut references, mut worth) = (Vec::new(), Vec::new());
    for prompt in PROMPTS {
        for text in world.samples(&world.reference, prompt, 1, seed.child("reference summary", prompt.into()))? {
            worth.push(world.reward(prompt, &text)?);
            references.push(text);
        }
    }
    let rouge = on_one_scale(&world, &|path| rouge(&references[path[0] as usize], &path[1..]))?;

    let by_preferences = optimised(&world, &proxy, PENALTY, seed)?;
    let by_rouge = optimised(&world, &rouge, PENALTY, seed)?;
    let mut figures: Figures = vec![
        ("accuracy, 512 comparisons".into(), reward.accuracy(&measured)),
        ("accuracy, 32 comparisons".into(), few.accuracy(&measured)),
        ("gold of the start".into(), world.gold(&world.reference)?),
        ("gold of the references".into(), mean(&worth)),
        ("gold by preferences".into(), world.gold(&by_preferences)?),
        ("gold by ROUGE".into(), world.gold(&by_rouge)?),
        ("ROUGE by ROUGE".into(), expected(&rouge, &by_rouge)?),
        ("ROUGE by preferences".into(), expected(&rouge, &by_preferences)?),
        ("proxy at penalty 1".into(), expected(&proxy, &by_preferences)?),
        ("divergence at penalty 1".into(), world.divergence(&by_preferences)?),
    ];
    for penalty in CURVE {
        let policy = optimised(&world, &proxy, penalty, seed)?;
        figures.push((format!("divergence at penalty {penalty}"), world.divergence(&policy)?));
        figures.push((format!("gold at penalty {penalty}"), world.gold(&policy)?));
        figures.push((format!("proxy at penalty {penalty}"), expected(&proxy, &policy)?));
    }
    Ok(figures)
}

/// A reward of every text, with mean 0 and deviation 1.
fn on_one_scale(world: &World, reward: &dyn Fn(&[u32]) -> Result<f64>) -> Result<TokenTree> {
    let rewards = world.tree.leaves().map(|(path, _)| reward(&path)).collect::<Result<Vec<f64>>>()?;
    let rewards = standardized(rewards)?;
    let leaf = |path: &[u32]| path.iter().fold(0, |leaf, token| leaf * VOCABULARY + *token as usize);
    Ok(TokenTree::new(VOCABULARY, LENGTH + 1, |path| rewards[leaf(path)])?)
}

/// The expected reward of a policy, exactly.
fn expected(reward: &TokenTree, policy: &TreePolicy) -> Result<f64> {
    Ok(reward.exact_value(policy)?.value(&[])?)
}

/// ROUGE-L of a summary against another, as words.
fn rouge(reference: &Tokens, summary: &[u32]) -> Result<f64> {
    let text = |tokens: &[u32]| tokens.iter().map(|token| WORDS[*token as usize]).collect::<Vec<_>>().join(" ");
    Ok(RougeKind::L.score(&text(reference), &text(summary), Stem::Plain)?.f)
}

/// PPO on a reward.
fn optimised(world: &World, reward: &TokenTree, penalty: f64, seed: Seed) -> Result<TreePolicy> {
    let table = Table { world, reference: &world.reference, state: place_and_last };
    let normalize = Normalize::Whiten { variance: Variance::Unbiased, epsilon: 1e-8 };
    let gae = Gae { gamma: 1.0, lambda: 0.95, normalize };
    let (prompts, loss) = (prompts(), ppo());
    let writer = Writer { table: &table, prompts: &prompts, length: LENGTH, loss: &loss };
    let mut judge = Judge { kl: penalty, ..Judge::new(reward, &gae) };
    let plan = Plan { generations: 60, samples: 16, passes: 2, rate: 0.05, seed };
    writer.last(plan, &mut |rollouts| judge.credit(rollouts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_words_are_wanted_three_times() {
        assert_eq!([0, 1, 3, 4, 5].map(|n| of_key_words(&vec![0; n])), [0.0, 1.0, 3.0, 0.0, -3.0]);
        assert_eq!(of_key_words(&[1, 0, 2, 3, 0]), 2.0);
    }

    #[test]
    fn a_summary_against_another_by_hand() {
        // "key people" of "key place people": two of two words, two of three: F = 2 * 1 * 2/3 / (5/3) = 0.8.
        assert!((rouge(&vec![0, 2, 1].into(), &[0, 1]).unwrap() - 0.8).abs() < 1e-12);
    }
}
