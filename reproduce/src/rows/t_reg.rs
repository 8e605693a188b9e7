//! T-REG: token rewards that tell two prompts apart steer a preference loss, as DPO-REG and SimPO-REG.
//!
//! ```text
//! r_t = sigmoid(log pi_better(y_t) - log pi_worse(y_t)) - 1/2
//! ```
//! In the paper one language model answers two prompts, one that asks for better and one that asks for worse. Here the model
//! that is asked is one table whose first token is that wish; behind it stand a policy that was trained for a short time on
//! right preferences, and one that was trained on the same turned around.

use anyhow::Result;
use ascribe::core::{Objective, Policy, Seed};
use ascribe::preference::objectives::{DpoConfig, RegWeight, SimPoRegConfig, TRegConfig, TokenCredit};
use ascribe::preference::{
    LogpCache, RevisedPrompts, TrainRow, implicit_token_rewards, reference_logps, token_rewards,
};
use ascribe::worlds::{TokenTree, TreePolicy};

use crate::planted::Planted;
use crate::row::{Claim, Figures, Row};
use crate::tabular::{Table, Training, place_and_last};
use crate::world::{Gold, PROMPTS, VOCABULARY, World, better, bradley_terry};

const LENGTH: usize = 5;
const BETA: f64 = 0.3;
const ALPHA: f64 = 0.5;
const PAIRS: usize = 256;
const KNOWN: usize = 48;
/// What a prompt begins with: the wish.
const WISHES: [u32; 2] = [0, 1];

/// T-REG's claims.
pub const ROW: Row = Row {
    name: "t-reg",
    paper: "T-REG: Preference Optimization with Token-Level Reward Regularization, arXiv:2412.02685",
    setting: "4 prompts with 1024 texts each, 256 pairs labelled by a Bradley-Terry rater, beta 0.3 (SimPO 2), alpha 0.5, 200 \
              steps; for one model under two prompts stand two tables, trained for 40 steps on 48 right pairs and on the \
              same turned around, so the token rewards know what the rater's labels do not, as a language model does; rows \
              of a policy are shared by histories of one length and last token; gold and win rates, against the start, are \
              exact; credit is a policy's log-ratio to the start, or its log-probability for SimPO, which has no reference; \
              ranks are compared over the tokens of 100 texts with one wrong token, with what a token is worth by the exact \
              values of the start",
    seeds: 60,
    claims: &[
        Claim { says: "DPO-REG earns more gold than DPO", more: "gold of DPO-REG", less: "gold of DPO" },
        Claim {
            says: "DPO-REG wins more often against the start",
            more: "win rate of DPO-REG",
            less: "win rate of DPO",
        },
        Claim { says: "SimPO-REG earns more gold than SimPO", more: "gold of SimPO-REG", less: "gold of SimPO" },
        Claim {
            says: "the credit of DPO-REG finds planted wrong tokens better (AUROC)",
            more: "AUROC of DPO-REG",
            less: "AUROC of DPO",
        },
        Claim {
            says: "SimPO-REG wins more often against the start than SimPO",
            more: "win rate of SimPO-REG",
            less: "win rate of SimPO",
        },
        Claim {
            says: "and its credit finds planted wrong tokens better (AUROC)",
            more: "AUROC of SimPO-REG",
            less: "AUROC of SimPO",
        },
        Claim {
            says: "rewards of the two prompts rank tokens as their worth does (Spearman above 0)",
            more: "rank correlation of the two prompts",
            less: "rank correlation of chance",
        },
        Claim {
            says: "so do the rewards of a DPO policy",
            more: "rank correlation of DPO",
            less: "rank correlation of chance",
        },
        Claim {
            says: "rewards of the two prompts do so more closely",
            more: "rank correlation of the two prompts",
            less: "rank correlation of DPO",
        },
        Claim {
            says: "the weight of the pair is better than a weight of 1",
            more: "gold of DPO-REG",
            less: "gold of DPO-REG, weight 1",
        },
        Claim {
            says: "rewards of the two prompts are better than those of a DPO policy",
            more: "gold of DPO-REG",
            less: "gold of DPO-REG, rewards of DPO",
        },
        Claim {
            says: "they are better than likelihood on the chosen response",
            more: "gold of DPO-REG",
            less: "gold of DPO-REG, likelihood",
        },
    ],
    tried: "In a model of this row a weight of 1 is ahead at half the alpha too, which is as strong at the start; at twice the \
            alpha the weight of the pair draws level. The token rewards come from pairs that are labelled rightly, so that it \
            pays to heed them longer than the pair's weight lets one.",
    run,
};

fn run(seed: Seed) -> Result<Figures> {
    let gold = Gold::drawn(LENGTH, seed)?;
    let world = World::new(LENGTH, seed, |path| gold.of(path))?;
    let pairs = world.pairs(&PROMPTS, PAIRS, seed, bradley_terry)?;
    let table = Table { world: &world, reference: &world.reference, state: place_and_last };
    let training = Training { steps: 200, rate: 0.05, seed };
    let dpo = DpoConfig { beta: BETA, ..DpoConfig::default() }.init()?;
    let by_dpo = table.trained(&dpo, &pairs, training)?;
    let evaluator = of_two_wishes(&world, &table, seed)?;
    let contrasted = with_rewards(&pairs, &evaluator)?;
    let mut implicit = pairs.clone();
    reference_logps(&mut implicit, &world.reference, "reference", &mut LogpCache::in_memory(), &mut |_, _| ())?;
    let cache = &mut LogpCache::in_memory();
    implicit_token_rewards(&mut implicit, &by_dpo, "dpo", BETA as f32, cache, &mut |_, _| ())?;
    let t_reg = TRegConfig { beta: BETA, alpha: ALPHA, ..TRegConfig::default() };
    let simpo = SimPoRegConfig { alpha: ALPHA, ..SimPoRegConfig::default() };
    let trained = |objective: &dyn Objective, rows: &[TrainRow]| table.trained(objective, rows, training);
    let by_t_reg = trained(&t_reg.init()?, &contrasted)?;
    let [by_simpo, by_simpo_reg] = [trained(&simpo.base().init()?, &pairs)?, trained(&simpo.init()?, &contrasted)?];
    let gold = |policy: TreePolicy| world.gold(&policy);
    let planted = Planted::drawn(&world, seed)?;
    let asked = planted.asked();
    let auroc_of_likelihoods = |policy: &TreePolicy| -> Result<f64> { planted.auroc(&policy.score(&asked)?.0) };
    let singles: Vec<TrainRow> =
        asked.iter().map(|text| TrainRow::single(text.prefix.clone(), text.tokens.clone())).collect();
    let told = with_rewards(&singles, &evaluator)?;
    let told: Vec<Vec<f32>> =
        told.iter().flat_map(|row| &row.responses).filter_map(|response| response.credit.clone()).collect();
    let fixed = TRegConfig { weight: RegWeight::Static, ..t_reg }.init()?;
    let of_dpo = TRegConfig { credit: TokenCredit::DpoReward, ..t_reg }.init()?;
    let likelihood = TRegConfig { credit: TokenCredit::SftOnChosen, ..t_reg }.init()?;
    Ok(vec![
        ("win rate of DPO".into(), world.wins(&by_dpo, &world.reference)),
        ("win rate of DPO-REG".into(), world.wins(&by_t_reg, &world.reference)),
        ("AUROC of DPO".into(), planted.auroc_of_ratios(&world, &by_dpo)?),
        ("AUROC of DPO-REG".into(), planted.auroc_of_ratios(&world, &by_t_reg)?),
        ("rank correlation of the two prompts".into(), planted.correlation(&told)?),
        ("rank correlation of DPO".into(), planted.correlation(&planted.ratios(&world, &by_dpo)?)?),
        ("rank correlation of chance".into(), 0.0),
        ("gold of DPO".into(), gold(by_dpo)?),
        ("gold of DPO-REG".into(), gold(by_t_reg)?),
        ("gold of DPO-REG, weight 1".into(), gold(trained(&fixed, &contrasted)?)?),
        ("gold of DPO-REG, rewards of DPO".into(), gold(trained(&of_dpo, &implicit)?)?),
        ("gold of DPO-REG, likelihood".into(), gold(trained(&likelihood, &pairs)?)?),
        ("win rate of SimPO".into(), world.wins(&by_simpo, &world.reference)),
        ("win rate of SimPO-REG".into(), world.wins(&by_simpo_reg, &world.reference)),
        ("AUROC of SimPO".into(), auroc_of_likelihoods(&by_simpo)?),
        ("AUROC of SimPO-REG".into(), auroc_of_likelihoods(&by_simpo_reg)?),
        ("gold of SimPO".into(), gold(by_simpo)?),
        ("gold of SimPO-REG".into(), gold(by_simpo_reg)?),
    ])
}

/// The table that is asked with a wish in front of the prompt.
fn of_two_wishes(world: &World, table: &Table, seed: Seed) -> Result<TreePolicy> {
    let known = world.pairs(&PROMPTS, KNOWN, seed.child("known", 0), better)?;
    let side = |row: &TrainRow, at: usize| row.responses[at].tokens.clone();
    let turned: Vec<TrainRow> =
        known.iter().map(|row| TrainRow::pair(row.prompt.clone(), side(row, 1), side(row, 0))).collect();
    let dpo = DpoConfig { beta: BETA, ..DpoConfig::default() }.init()?;
    let short = Training { steps: 40, rate: 0.05, seed: seed.child("short", 0) };
    let two = [table.trained(&dpo, &known, short)?, table.trained(&dpo, &turned, short)?];
    let asked = TokenTree::new(VOCABULARY, LENGTH + 2, |_| 0.0)?;
    Ok(TreePolicy::new(&asked, |path| match path {
        [] => vec![0.0; VOCABULARY],
        [wish, path @ ..] => two[usize::from(*wish != WISHES[0])].logps(path).unwrap_or_default().to_vec(),
    })?)
}

/// Rows with the token rewards of a table under its two wishes.
fn with_rewards(rows: &[TrainRow], evaluator: &TreePolicy) -> Result<Vec<TrainRow>> {
    let wished = |row: &TrainRow| {
        let [better, worse] = WISHES.map(|wish| [&[wish][..], &row.prompt[..]].concat().into());
        vec![RevisedPrompts { better, worse }; row.responses.len()]
    };
    let mut rows = rows.to_vec();
    let prompts = rows.iter().map(wished).collect();
    token_rewards(&mut rows, prompts, evaluator, "two wishes", &mut LogpCache::in_memory(), &mut |_, _| ())?;
    Ok(rows)
}
