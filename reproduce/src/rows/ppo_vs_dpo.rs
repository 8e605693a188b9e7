//! Preference learning, one factor at a time: the data, the algorithm, the reward model and the prompts.
//!
//! All arms begin with the same pairs. A reward model of the right size can say what the gold reward says: a weight for each
//! place, token and token before. The small one has no places.

use anyhow::Result;
use ascribe::core::advantage::{Gae, Normalize, Variance};
use ascribe::core::{Seed, Stream, Tokens};
use ascribe::preference::TrainRow;
use ascribe::preference::objectives::DpoConfig;
use ascribe::worlds::TreePolicy;
use rand::RngExt;

use crate::judge::Judge;
use crate::reward_table::RewardTable;
use crate::rollouts::{Plan, Writer, ppo, prompts};
use crate::row::{Claim, Figures, Row};
use crate::tabular::{State, Table, Training, last, place_and_last};
use crate::world::{Gold, PROMPTS, World, bradley_terry};

const LENGTH: usize = 5;
const BETA: f64 = 0.3;
const KL: f64 = 0.05;
const PAIRS: usize = 256;
const TURNED: f64 = 0.25;
const LABELLED: [u32; 2] = [0, 1];
const NEW: [u32; 2] = [2, 3];

/// The claims of the study of DPO and PPO.
pub const ROW: Row = Row {
    name: "ppo-vs-dpo",
    paper: "Unpacking DPO and PPO: Disentangling Best Practices for Learning from Preference Feedback, arXiv:2406.09279",
    setting: "4 prompts with 1024 texts each, 256 pairs of a Bradley-Terry rater, or the same with 25 % turned; DPO at beta 0.3 \
              for 200 steps; reward models of a weight for each place and two tokens, or for two tokens alone; PPO of 60 \
              generations of 64 texts, a divergence costs 0.05; for prompts, pairs on two and gold on the two others; rows of a \
              policy are shared by histories of one length and last token; paired tests of all claims, with Holm's correction",
    seeds: 30,
    claims: &[
        Claim { says: "PPO earns more gold than DPO on the same pairs", more: "gold of PPO", less: "gold of DPO" },
        Claim { says: "better pairs earn DPO more gold", more: "gold of DPO", less: "gold of DPO on turned labels" },
        Claim { says: "better pairs earn PPO more gold", more: "gold of PPO", less: "gold of PPO on turned labels" },
        Claim { says: "the data matter more than the algorithm", more: "gain by better pairs", less: "gain by PPO" },
        Claim {
            says: "the larger reward model earns more gold",
            more: "gold of PPO",
            less: "gold of PPO, small reward model",
        },
        Claim {
            says: "prompts without labels help where gold is taken on them",
            more: "gold on new prompts, practised",
            less: "gold on new prompts, not practised",
        },
    ],
    tried: "Twelve seeds left two claims open, so there are 30. Whether the data matter more than the algorithm depends on how \
            much worse the worse data are, here 25 % of turned labels.",
    run,
};

fn run(seed: Seed) -> Result<Figures> {
    let gold = Gold::drawn(LENGTH, seed)?;
    let world = World::new(LENGTH, seed, |path| gold.of(path))?;
    let rater = |difference: f64, stream: &mut Stream| bradley_terry(2.0 * difference, stream);
    let right = world.pairs(&PROMPTS, PAIRS, seed, rater)?;
    // One seed: the same pairs, of which some are turned.
    let turned = world.pairs(&PROMPTS, PAIRS, seed, |difference, stream: &mut Stream| {
        rater(difference, stream) != (stream.random::<f64>() < TURNED)
    })?;
    let some = world.pairs(&LABELLED, PAIRS, seed, rater)?;
    let table = Table { world: &world, reference: &world.reference, state: place_and_last };
    let training = Training { steps: 200, rate: 0.05, seed };
    let dpo = DpoConfig { beta: BETA, ..DpoConfig::default() }.init()?;
    let by_dpo = |pairs: &[TrainRow]| world.gold(&table.trained(&dpo, pairs, training)?);
    let by_ppo = |pairs: &[TrainRow], state: State, prompts: &[Tokens]| -> Result<TreePolicy> {
        let reward = RewardTable::trained(&world, state, pairs, training)?;
        let normalize = Normalize::Whiten { variance: Variance::Unbiased, epsilon: 1e-8 };
        let gae = Gae { gamma: 1.0, lambda: 0.95, normalize };
        let mut judge = Judge { kl: KL, ..Judge::new(&reward, &gae) };
        let loss = ppo();
        let writer = Writer { table: &table, prompts, length: LENGTH, loss: &loss };
        let samples = 64 / prompts.len();
        let plan = Plan { generations: 60, samples, passes: 2, rate: 0.05, seed };
        writer.last(plan, &mut |rollouts| judge.credit(rollouts))
    };
    let (all, labelled) = (prompts(), prompts_of(&LABELLED));
    let [dpo_right, dpo_turned] = [by_dpo(&right)?, by_dpo(&turned)?];
    let ppo_right = world.gold(&by_ppo(&right, place_and_last, &all)?)?;
    let ppo_turned = world.gold(&by_ppo(&turned, place_and_last, &all)?)?;
    let small = world.gold(&by_ppo(&right, last, &all)?)?;
    Ok(vec![
        ("gold of DPO".into(), dpo_right),
        ("gold of DPO on turned labels".into(), dpo_turned),
        ("gold of PPO".into(), ppo_right),
        ("gold of PPO on turned labels".into(), ppo_turned),
        ("gold of PPO, small reward model".into(), small),
        ("gain by better pairs".into(), (dpo_right - dpo_turned + ppo_right - ppo_turned) / 2.0),
        ("gain by PPO".into(), (ppo_right - dpo_right + ppo_turned - dpo_turned) / 2.0),
        ("gold on new prompts, practised".into(), on_new(&world, &by_ppo(&some, place_and_last, &all)?)?),
        ("gold on new prompts, not practised".into(), on_new(&world, &by_ppo(&some, place_and_last, &labelled)?)?),
    ])
}

fn prompts_of(tokens: &[u32]) -> Vec<Tokens> {
    tokens.iter().map(|token| vec![*token].into()).collect()
}

/// The expected gold reward on prompts that nobody labelled.
fn on_new(world: &World, policy: &TreePolicy) -> Result<f64> {
    let value = world.tree.exact_value(policy)?;
    let mut sum = 0.0;
    for prompt in NEW {
        sum += value.value(&[prompt])?;
    }
    Ok(sum / NEW.len() as f64)
}
