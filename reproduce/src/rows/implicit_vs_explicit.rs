//! Limited generalisation of DPO's implicit reward: the same pairs and features, with and without a policy around them.
//!
//! ```text
//! explicit   r(y)   = sum_t w[state_t][y_t]
//! implicit   h(y|x) = sum_t w[state_t][y_t] - log sum_a pi_ref(a|x y_<t) exp w[state_t][a]
//! ```
//! Both have one table of weights over the response alone, so what separates them is the normaliser of the policy. It hangs
//! on what the reference would write, and new prompts have another reference; the gold reward does not hang on the prompt.

use anyhow::Result;
use ascribe::core::{Seed, Stream};
use ascribe::eval::stats::{Adjust, adjust_p};
use ascribe::eval::{Bootstrap, compare};
use ascribe::preference::objectives::DpoConfig;
use ascribe::preference::{Response, TrainRow};
use ascribe::worlds::TreePolicy;

use crate::reward_table::RewardTable;
use crate::row::{Claim, Figures, Row};
use crate::tabular::{Table, Training, last, transitions};
use crate::world::{Gold, VOCABULARY, World, better, bradley_terry};

const LENGTH: usize = 5;
const BETA: f64 = 1.0;
const TRAINED: usize = 1024;
const MEASURED: usize = 1000;
const SHIFTED: usize = 500;
/// What a p-value lies below, after Holm's correction over the shifted sets, where one reward is better.
const LEVEL: f64 = 0.05;
const SEEN: [u32; 2] = [0, 1];
const NEW: [u32; 2] = [2, 3];

/// The claims of the study of DPO's implicit reward.
pub const ROW: Row = Row {
    name: "implicit-vs-explicit",
    paper: "On the Limited Generalization Capability of the Implicit Reward Model Induced by Direct Preference Optimization, \
            arXiv:2409.03650",
    setting: "1024 pairs on two prompts, 1000 new pairs on these and 1000 on two others whose reference is another; \
              Bradley-Terry and DPO (beta 1) with the same table of weights over the response, as many steps; five shifted sets \
              of 500 pairs: either new prompt, another writer or a tuned one on the seen prompts, another writer on the new ones; \
              McNemar's test on each, with Holm's correction",
    seeds: 10,
    claims: &[
        Claim {
            says: "on new prompts the explicit reward is right more often",
            more: "explicit, new prompts",
            less: "implicit, new prompts",
        },
        Claim {
            says: "the implicit reward falls further from seen to new prompts",
            more: "fall of the implicit",
            less: "fall of the explicit",
        },
        Claim {
            says: "on the prompts of training, too, the explicit reward is right more often",
            more: "explicit, seen prompts",
            less: "implicit, seen prompts",
        },
        Claim {
            says: "over five shifts of prompts and writers the explicit reward is right more often",
            more: "explicit, five shifts",
            less: "implicit, five shifts",
        },
        Claim {
            says: "and is significantly better on more of the five than it is worse on",
            more: "shifts that the explicit wins",
            less: "shifts that the implicit wins",
        },
    ],
    tried: "",
    run,
};

/// Which weights score the token after a path: its place and the token before, without the prompt.
fn state(path: &[u32]) -> usize {
    if path.len() == 1 { 0 } else { 1 + (path.len() - 2) * VOCABULARY + last(path) }
}

fn run(seed: Seed) -> Result<Figures> {
    let gold = Gold::drawn(LENGTH, seed)?;
    let worth = |path: &[u32]| gold.of(&[&[0][..], &path[1..]].concat());
    let world = World::new(LENGTH, seed, worth)?;
    let rater = |difference: f64, stream: &mut Stream| bradley_terry(2.0 * difference, stream);
    let pairs = world.pairs(&SEEN, TRAINED, seed.child("trained", 0), rater)?;
    let seen = world.pairs(&SEEN, MEASURED, seed.child("seen", 0), better)?;
    let new = world.pairs(&NEW, MEASURED, seed.child("new", 0), better)?;
    let training = Training { steps: 300, rate: 0.05, seed };
    let dpo = DpoConfig { beta: BETA, ..DpoConfig::default() }.init()?;
    let policy = Table { world: &world, reference: &world.reference, state }.trained(&dpo, &pairs, training)?;
    let reward = RewardTable::trained(&world, state, &pairs, training)?;
    let explicit = |row: &TrainRow, response: &Response| -> Result<f64> {
        Ok(reward.of(row.prompt.len(), &row.prompt.followed_by(&response.tokens)))
    };
    let implicit = |row: &TrainRow, response: &Response| log_ratio(&world, &policy, row, response);
    let [explicit_seen, explicit_new] = [accuracy(&seen, &explicit)?, accuracy(&new, &explicit)?];
    let [implicit_seen, implicit_new] = [accuracy(&seen, &implicit)?, accuracy(&new, &implicit)?];
    let other = World::new(LENGTH, seed.child("other writer", 0), worth)?;
    let tuned = World { reference: world.optimum(BETA)?, ..World::new(LENGTH, seed, worth)? };
    let [one_new, other_new] = NEW.map(|prompt| [prompt]);
    let shifts: [(&World, &[u32]); 5] =
        [(&world, &one_new), (&world, &other_new), (&other, &SEEN), (&tuned, &SEEN), (&other, &NEW)];
    let (mut shares, mut differences, mut p) = ([0.0; 2], Vec::new(), Vec::new());
    for (number, (writer, prompts)) in shifts.into_iter().enumerate() {
        let pairs = writer.pairs(prompts, SHIFTED, seed.child("shift", number as u64), better)?;
        let flags = [right(&pairs, &explicit)?, right(&pairs, &implicit)?];
        for (sum, flags) in shares.iter_mut().zip(&flags) {
            *sum += share(flags) / 5.0;
        }
        let compared = compare(&flags[0], &flags[1], &Bootstrap::NONE)?;
        differences.push(compared.difference.value);
        p.push(compared.p);
    }
    let adjusted = adjust_p(&p, Adjust::Holm)?;
    let won = |sign: f64| -> f64 {
        let clear =
            differences.iter().zip(&adjusted).filter(|(difference, p)| sign * **difference > 0.0 && **p < LEVEL);
        clear.count() as f64
    };
    Ok(vec![
        ("explicit, five shifts".into(), shares[0]),
        ("implicit, five shifts".into(), shares[1]),
        ("shifts that the explicit wins".into(), won(1.0)),
        ("shifts that the implicit wins".into(), won(-1.0)),
        ("explicit, seen prompts".into(), explicit_seen),
        ("explicit, new prompts".into(), explicit_new),
        ("implicit, seen prompts".into(), implicit_seen),
        ("implicit, new prompts".into(), implicit_new),
        ("fall of the explicit".into(), explicit_seen - explicit_new),
        ("fall of the implicit".into(), implicit_seen - implicit_new),
    ])
}

/// `log pi(y|x) - log pi_ref(y|x)`.
fn log_ratio(world: &World, policy: &TreePolicy, row: &TrainRow, response: &Response) -> Result<f64> {
    let mut sum = 0.0;
    for (path, token) in transitions(row, response) {
        sum += policy.logps(&path)?[token as usize] - world.reference.logps(&path)?[token as usize];
    }
    Ok(sum)
}

/// Whether a reward scores the better response of each pair higher.
fn right(pairs: &[TrainRow], reward: &dyn Fn(&TrainRow, &Response) -> Result<f64>) -> Result<Vec<bool>> {
    let one =
        |row: &TrainRow| -> Result<bool> { Ok(reward(row, &row.responses[0])? > reward(row, &row.responses[1])?) };
    pairs.iter().map(one).collect()
}

/// How often that is so.
fn accuracy(pairs: &[TrainRow], reward: &dyn Fn(&TrainRow, &Response) -> Result<f64>) -> Result<f64> {
    Ok(share(&right(pairs, reward)?))
}

fn share(flags: &[bool]) -> f64 {
    flags.iter().filter(|flag| **flag).count() as f64 / flags.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reward_is_right_where_the_better_response_earns_more() {
        let pair = |chosen: u32, rejected: u32| TrainRow::pair(vec![0], vec![chosen], vec![rejected]);
        // A tie is wrong.
        let pairs = [pair(3, 1), pair(1, 3), pair(2, 2), pair(2, 0)];
        let token = |_: &TrainRow, response: &Response| -> Result<f64> { Ok(f64::from(response.tokens[0])) };
        assert_eq!(right(&pairs, &token).unwrap(), [true, false, false, true]);
        assert_eq!(accuracy(&pairs, &token).unwrap(), 0.5);
    }
}
