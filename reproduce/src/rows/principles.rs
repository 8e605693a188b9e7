//! Psycho-counselling by principles: replies are rated by each of seven, the ratings make pairs, these a reward and a policy.
//!
//! ```text
//! worth by principle k   a drawn reward g_k, mean 0 and deviation 1; or (g + g_k) / sqrt 2, where principles share half
//! rating by principle k  round(3 + g_k + noise) in 1 to 5
//! chosen                 the reply whose mean rating is higher, by a quarter at least
//! gold                   mean_k g_k
//! ```
//! Offline, DPO learns from these pairs. Online, it learns in rounds from the best and the worst of its own replies, as the reward
//! that the pairs trained has it.

use std::f64::consts::FRAC_1_SQRT_2;
use std::rc::Rc;

use anyhow::Result;
use ascribe::core::{Seed, Tokens};
use ascribe::preference::TrainRow;
use ascribe::preference::objectives::DpoConfig;
use ascribe::reward::Merge;
use ascribe::worlds::{TokenTree, TreePolicy};

use crate::heads::best;
use crate::reward_table::RewardTable;
use crate::row::{Claim, Figures, Row};
use crate::tabular::{Table, Training, place_and_last};
use crate::world::{Gold, PROMPTS, VOCABULARY, World, better, normal};

const LENGTH: usize = 5;
const BETA: f64 = 0.3;
const PRINCIPLES: usize = 7;
const PAIRS: usize = 256;
const MEASURED: usize = 1000;
/// Deviation of a rater's noise.
const NOISE: f64 = 1.0;
/// By how much the mean ratings of a pair differ at least.
const MARGIN: f64 = 0.25;
const ROUNDS: u64 = 4;
const GROUPS: usize = 128;
const REPLIES: usize = 4;
const STEPS: usize = 200;

/// The claims of counselling by principles.
pub const ROW: Row = Row {
    name: "principles",
    paper: "Preference Learning Unlocks LLMs' Psycho-Counseling Skills, arXiv:2502.19731",
    setting: "4 prompts with 1024 replies each, seven drawn rewards stand for principles and noisy ratings from 1 to 5 for raters; \
              256 pairs by the mean of seven ratings, or by one; DPO at beta 0.3 for 200 steps on the pairs, or for 4 rounds of 50 \
              steps on the best and worst of 4 own replies by a reward that the pairs trained; wins against the start are exact; \
              principles have nothing in common, or half of their variance where it is said",
    seeds: 20,
    claims: &[
        Claim {
            says: "a reward of ratings by all principles is right more often than of ratings by one",
            more: "accuracy, seven principles",
            less: "accuracy, one principle",
        },
        Claim {
            says: "the policy that was trained on pairs wins more than half against the start",
            more: "wins of offline DPO",
            less: "wins of the start",
        },
        Claim {
            says: "online rounds win more often than the pairs alone",
            more: "wins of online DPO",
            less: "wins of offline DPO",
        },
        Claim {
            says: "pairs by all principles win more often than pairs by one",
            more: "wins of offline DPO",
            less: "wins of offline DPO, one principle",
        },
        Claim {
            says: "the principle that gains least gains too",
            more: "least gain of a principle, online DPO",
            less: "gain of the start",
        },
        Claim {
            says: "it does where principles share half of what they value",
            more: "least gain of a principle that shares, online DPO",
            less: "gain of the start",
        },
    ],
    tried: "Principles that have nothing in common, so that what one gains may cost another, and principles that share half of \
            what they value.",
    run,
};

/// What a rater says of a reply that a principle finds worth so much.
fn rating(worth: f64, noise: f64) -> f64 {
    (3.0 + worth + NOISE * noise).round().clamp(1.0, 5.0)
}

/// What a principle finds a reply worth.
type Worth = Box<dyn Fn(&[u32]) -> f64>;

/// Seven principles, with nothing in common or with half of their variance.
fn drawn(shares: bool, seed: Seed) -> Result<Vec<Worth>> {
    let shared = Rc::new(Gold::drawn(LENGTH, seed.child("shared", 0))?);
    let one = |k: u64| -> Result<Worth> {
        let own = Gold::drawn(LENGTH, seed.child("principle", k))?;
        let shared = Rc::clone(&shared);
        let worth: Worth = if shares {
            Box::new(move |path: &[u32]| (own.of(path) + shared.of(path)) * FRAC_1_SQRT_2)
        } else {
            Box::new(move |path: &[u32]| own.of(path))
        };
        Ok(worth)
    };
    (0..PRINCIPLES as u64).map(one).collect()
}

/// The world whose gold is the mean of the principles.
fn world_of(principles: &[Worth], seed: Seed) -> Result<World> {
    World::new(LENGTH, seed, |path| principles.iter().map(|principle| principle(path)).sum::<f64>() / PRINCIPLES as f64)
}

/// What the principle gains that gains least.
fn least_gain(world: &World, principles: &[Worth], policy: &TreePolicy) -> Result<f64> {
    let mut least = f64::INFINITY;
    for principle in principles {
        let tree = TokenTree::new(VOCABULARY, LENGTH + 1, principle)?;
        let worth = |policy: &TreePolicy| -> Result<f64> { Ok(tree.exact_value(policy)?.value(&[])?) };
        least = least.min(worth(policy)? - worth(&world.reference)?);
    }
    Ok(least)
}

fn run(seed: Seed) -> Result<Figures> {
    let principles = drawn(false, seed)?;
    let world = world_of(&principles, seed)?;
    let mut one = [0.0; PRINCIPLES];
    one[0] = 1.0;
    let (all, one) = (Merge::new(&[1.0 / PRINCIPLES as f64; PRINCIPLES])?, Merge::new(&one)?);
    let by_all = rated(&world, &principles, &all, seed)?;
    let by_one = rated(&world, &principles, &one, seed)?;
    let measured = world.pairs(&PROMPTS, MEASURED, seed.child("measured", 0), better)?;

    let training = Training { steps: STEPS, rate: 0.05, seed };
    let reward = RewardTable::trained(&world, place_and_last, &by_all, training)?;
    let of_one = RewardTable::trained(&world, place_and_last, &by_one, training)?;
    let offline = learned(&world, &world.reference, &by_all, training)?;
    let offline_one = learned(&world, &world.reference, &by_one, training)?;
    let policy = online(&world, &reward, seed)?;
    let wins = |policy: &TreePolicy| world.wins(policy, &world.reference);

    let sharing = drawn(true, seed)?;
    let shared_world = world_of(&sharing, seed)?;
    let by_sharing = rated(&shared_world, &sharing, &all, seed)?;
    let of_sharing = RewardTable::trained(&shared_world, place_and_last, &by_sharing, training)?;
    let policy_of_sharing = online(&shared_world, &of_sharing, seed)?;
    Ok(vec![
        ("accuracy, seven principles".into(), reward.accuracy(&measured)),
        ("accuracy, one principle".into(), of_one.accuracy(&measured)),
        ("wins of the start".into(), wins(&world.reference)),
        ("wins of offline DPO".into(), wins(&offline)),
        ("wins of offline DPO, one principle".into(), wins(&offline_one)),
        ("wins of online DPO".into(), wins(&policy)),
        ("least gain of a principle, online DPO".into(), least_gain(&world, &principles, &policy)?),
        (
            "least gain of a principle that shares, online DPO".into(),
            least_gain(&shared_world, &sharing, &policy_of_sharing)?,
        ),
        ("gain of the start".into(), 0.0),
    ])
}

/// Pairs of replies of the start, by ratings that are merged into one; the same replies and ratings whatever counts.
fn rated(world: &World, principles: &[Worth], merge: &Merge, seed: Seed) -> Result<Vec<TrainRow>> {
    let mut rows = Vec::with_capacity(PAIRS);
    let mut attempt = 0;
    while rows.len() < PAIRS {
        let prompt = PROMPTS[attempt as usize % PROMPTS.len()];
        let two = world.samples(&world.reference, prompt, 2, seed.child("replies", attempt))?;
        let mut stream = seed.stream("ratings", attempt);
        attempt += 1;
        let [first, second] = &two[..] else { continue };
        let mut merged = |reply: &Tokens| -> Result<f64> {
            let path = [&[prompt][..], &reply[..]].concat();
            let ratings: Vec<f64> =
                principles.iter().map(|principle| rating(principle(&path), normal(&mut stream))).collect();
            Ok(merge.apply(&ratings)?)
        };
        let difference = merged(first)? - merged(second)?;
        if first == second || difference.abs() < MARGIN {
            continue;
        }
        let (chosen, rejected) = if difference > 0.0 { (first, second) } else { (second, first) };
        rows.push(TrainRow::pair(vec![prompt], chosen.clone(), rejected.clone()));
    }
    Ok(rows)
}

/// DPO against the policy that it begins from.
fn learned(world: &World, from: &TreePolicy, rows: &[TrainRow], training: Training) -> Result<TreePolicy> {
    let dpo = DpoConfig { beta: BETA, ..DpoConfig::default() }.init()?;
    Table { world, reference: from, state: place_and_last }.trained(&dpo, rows, training)
}

/// DPO in rounds, on the best and the worst of its own replies by a reward; as many steps as offline.
fn online(world: &World, reward: &RewardTable, seed: Seed) -> Result<TreePolicy> {
    let mut current = world.reference.clone();
    for round in 0..ROUNDS {
        let seed = seed.child("round", round);
        let mut rows = Vec::with_capacity(GROUPS);
        for group in 0..GROUPS {
            let prompt = PROMPTS[group % PROMPTS.len()];
            let replies = world.samples(&current, prompt, REPLIES, seed.child("group", group as u64))?;
            let worth = |reply: &Tokens| reward.of(1, &[&[prompt][..], &reply[..]].concat());
            let values: Vec<f64> = replies.iter().map(worth).collect();
            let turned: Vec<f64> = values.iter().map(|value| -value).collect();
            let (first, last) = (best(&values), best(&turned));
            // Replies that are all alike say nothing.
            if values[first] > values[last] {
                rows.push(TrainRow::pair(vec![prompt], replies[first].clone(), replies[last].clone()));
            }
        }
        if rows.is_empty() {
            break;
        }
        let training = Training { steps: STEPS / ROUNDS as usize, rate: 0.05, seed };
        current = learned(world, &current, &rows, training)?;
    }
    Ok(current)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratings_by_hand() {
        assert_eq!([0.0, 0.6, -0.6, 9.0, -9.0].map(|worth| rating(worth, 0.0)), [3.0, 4.0, 2.0, 5.0, 1.0]);
        assert_eq!(rating(0.0, 1.0), 3.0 + NOISE);
    }

    #[test]
    fn principles_share_half_or_nothing() {
        // (g + g_1) / sqrt 2 less (g + g_0) / sqrt 2: what is shared cancels.
        let (apart, sharing) = (drawn(false, Seed(3)).unwrap(), drawn(true, Seed(3)).unwrap());
        assert_eq!((apart.len(), sharing.len()), (PRINCIPLES, PRINCIPLES));
        for path in [[0, 0, 1, 2, 3, 0], [3, 1, 1, 0, 2, 2]] {
            let own = apart[1](&path) - apart[0](&path);
            assert!((2f64.sqrt() * (sharing[1](&path) - sharing[0](&path)) - own).abs() < 1e-9);
            // The same reward is shared by all: the second differs from its own by as much as the first does.
            let shared = [0, 1].map(|k| 2f64.sqrt() * sharing[k](&path) - apart[k](&path));
            assert!((shared[0] - shared[1]).abs() < 1e-9 && shared[0].abs() > 1e-9, "{shared:?}");
        }
    }

    #[test]
    fn pairs_follow_the_ratings_that_count() {
        let seed = Seed(3);
        let world = World::new(LENGTH, seed, |_| 0.0).unwrap();
        let principles = drawn(false, seed).unwrap();
        let rows = rated(&world, &principles[..2], &Merge::new(&[1.0, 0.0]).unwrap(), seed).unwrap();
        let worth = |row: &TrainRow, principle: usize, at: usize| {
            principles[principle](&row.prompt.followed_by(&row.responses[at].tokens))
        };
        let right = |principle: usize| {
            let chosen = rows.iter().filter(|row| worth(row, principle, 0) > worth(row, principle, 1));
            chosen.count() as f64 / rows.len() as f64
        };
        assert!(rows.len() == PAIRS && right(0) > 0.65 && right(0) > right(1), "{} {}", right(0), right(1));
    }
}
