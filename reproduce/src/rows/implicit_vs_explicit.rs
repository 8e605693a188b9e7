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
use ascribe::eval::Bootstrap;
use ascribe::eval::pairs::{Ties, pair_accuracy};
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
const SEEN: [u32; 2] = [0, 1];
const NEW: [u32; 2] = [2, 3];

/// The claims of the study of DPO's implicit reward.
pub const ROW: Row = Row {
    name: "implicit-vs-explicit",
    paper: "On the Limited Generalization Capability of the Implicit Reward Model Induced by Direct Preference Optimization, \
            arXiv:2409.03650",
    setting: "1024 pairs on two prompts, 1000 new pairs on these and 1000 on two others whose reference is another; \
              Bradley-Terry and DPO (beta 1) with the same table of weights over the response, as many steps",
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
    let world = World::new(LENGTH, seed, |path| gold.of(&[&[0][..], &path[1..]].concat()))?;
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
    Ok(vec![
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

/// How often a reward scores the better response higher.
fn accuracy(pairs: &[TrainRow], reward: &dyn Fn(&TrainRow, &Response) -> Result<f64>) -> Result<f64> {
    let side = |at: usize| pairs.iter().map(|row| reward(row, &row.responses[at])).collect::<Result<Vec<f64>>>();
    Ok(pair_accuracy(&side(0)?, &side(1)?, Ties::Strict, &Bootstrap::NONE)?.accuracy.value)
}
