//! OREO: policy and value of texts that somebody wrote and somebody else marked, by the soft Bellman equation.
//!
//! ```text
//! V*(s) = beta log E_ref[exp(R / beta) | s]         by enumeration
//! ```
//! No text is written while it learns. The value is held against the exact one, and the policy against the two usual ways
//! with right and wrong texts: imitate the right ones, or pair them with wrong ones for DPO.

use anyhow::Result;
use ascribe::core::Seed;
use ascribe::core::advantage::Verdict;
use ascribe::preference::TrainRow;
use ascribe::preference::objectives::{DpoConfig, Sft};
use ascribe::preference::rl::{Oreo, OreoLevel, Rollout};
use ascribe::worlds::ExactValue;

use crate::judge::Judge;
use crate::rollouts::{Trained, Writer, prompts};
use crate::row::{Claim, Figures, Row};
use crate::tabular::{State, Table, Training, own, place_and_last};
use crate::world::{Gold, World};

const LENGTH: usize = 5;
const BETA: f64 = 0.3;
const SMALL_BETA: f64 = 0.1;
/// OREO's own beta and pull, arXiv:2412.16145.
const OWN: [f64; 2] = [0.03, 0.01];
const MANY: usize = 1024;
/// Texts a prompt for success: some, and few.
const SOME: usize = 128;
const FEW: usize = 32;

/// OREO's claims.
pub const ROW: Row = Row {
    name: "oreo",
    paper: "Offline Reinforcement Learning for LLM Multi-Step Reasoning, arXiv:2412.16145",
    setting: "4 prompts with 1024 texts each, of which about one in six is right; for the Bellman equation 1024 texts of the start \
              a prompt, a row of policy and value for each history, beta 0.3; for success 128 texts a prompt, or 32, beta 0.1 for \
              OREO and DPO, then the paper's 0.03 for both and its pull of 0.01 for OREO, rows shared by histories of one length \
              and last token; all make 300 steps",
    seeds: 60,
    claims: &[
        Claim {
            says: "training lowers the residual of the soft Bellman equation",
            more: "residual of the start",
            less: "residual of OREO",
        },
        Claim {
            says: "the value comes near to the exact one, beside the best constant",
            more: "error of a constant",
            less: "error of the value",
        },
        Claim {
            says: "OREO is right more often than imitation of right texts",
            more: "success of OREO",
            less: "success of imitation",
        },
        Claim { says: "it is right more often than DPO", more: "success of OREO", less: "success of DPO" },
        Claim {
            says: "from a quarter of the texts, too, OREO is right more often than imitation",
            more: "success of OREO, few texts",
            less: "success of imitation, few texts",
        },
        Claim {
            says: "and more often than DPO",
            more: "success of OREO, few texts",
            less: "success of DPO, few texts",
        },
        Claim {
            says: "at the paper's beta OREO is right more often than imitation",
            more: "success of OREO, beta 0.03",
            less: "success of imitation",
        },
        Claim { says: "and more often than DPO at 0.1", more: "success of OREO, beta 0.03", less: "success of DPO" },
        Claim { says: "and at 0.03", more: "success of OREO, beta 0.03", less: "success of DPO, beta 0.03" },
        Claim {
            says: "from a quarter of the texts, too, it is right more often there than imitation",
            more: "success of OREO, few texts, beta 0.03",
            less: "success of imitation, few texts",
        },
        Claim {
            says: "and than DPO at 0.03",
            more: "success of OREO, few texts, beta 0.03",
            less: "success of DPO, few texts, beta 0.03",
        },
    ],
    tried: "At beta 0.1 for both, OREO was right in 0.884 of its texts and DPO in 0.897 over 60 seeds, a difference of -0.013 \
            [-0.036, +0.011], and from 32 texts a prompt OREO and imitation were not told apart, +0.033 [-0.006, +0.072]. The \
            paper's beta and pull for OREO are others, so they stand beside these, with the same beta for DPO.",
    run,
};

fn run(seed: Seed) -> Result<Figures> {
    let gold = Gold::drawn(LENGTH, seed)?;
    let world = World::new(LENGTH, seed, |path| gold.above(1.0, path))?;
    let soft = world.tree.soft_optimum(&world.reference, BETA)?.value;
    let (_, whole) = learned(&world, [BETA, 0.0], own, MANY, seed)?;
    let [error, of_a_constant] = errors(&world, &whole.values, &soft)?;
    let [of_some, of_few] =
        [successes(&world, SOME, seed.child("some", 0))?, successes(&world, FEW, seed.child("few", 0))?];
    Ok(vec![
        ("residual of the start".into(), world.residual(&world.reference, BETA)?),
        ("residual of OREO".into(), world.residual(&whole.policy, BETA)?),
        ("error of a constant".into(), of_a_constant),
        ("error of the value".into(), error),
        ("success of the start".into(), world.gold(&world.reference)?),
        ("success of imitation".into(), of_some[0]),
        ("success of DPO".into(), of_some[1]),
        ("success of OREO".into(), of_some[2]),
        ("success of DPO, beta 0.03".into(), of_some[3]),
        ("success of OREO, beta 0.03".into(), of_some[4]),
        ("success of imitation, few texts".into(), of_few[0]),
        ("success of DPO, few texts".into(), of_few[1]),
        ("success of OREO, few texts".into(), of_few[2]),
        ("success of DPO, few texts, beta 0.03".into(), of_few[3]),
        ("success of OREO, few texts, beta 0.03".into(), of_few[4]),
    ])
}

/// How often imitation, DPO and OREO are right that learn from so many texts a prompt, and DPO and OREO at the paper's beta.
fn successes(world: &World, samples: usize, seed: Seed) -> Result<[f64; 5]> {
    let (texts, by_oreo) = learned(world, [SMALL_BETA, 0.0], place_and_last, samples, seed)?;
    let (_, by_own) = learned(world, OWN, place_and_last, samples, seed)?;
    let table = Table { world, reference: &world.reference, state: place_and_last };
    let training = Training { steps: 300, rate: 0.05, seed };
    let imitated = table.trained(&Sft, &right(&texts), training)?;
    let pairs = pairs(&texts);
    let of_pairs = |beta: f64| -> Result<f64> {
        let dpo = DpoConfig { beta, ..DpoConfig::default() }.init()?;
        world.gold(&table.trained(&dpo, &pairs, training)?)
    };
    let [of_oreo, of_own] = [world.gold(&by_oreo.policy)?, world.gold(&by_own.policy)?];
    Ok([world.gold(&imitated)?, of_pairs(SMALL_BETA)?, of_oreo, of_pairs(OWN[0])?, of_own])
}

/// Texts of the start with their marks, and what OREO makes of them with these strengths of the soft equation and of the pull.
fn learned(
    world: &World,
    [beta, kl]: [f64; 2],
    state: State,
    samples: usize,
    seed: Seed,
) -> Result<(Vec<Rollout>, Trained)> {
    let table = Table { world, reference: &world.reference, state };
    let loss = Oreo { beta, kl, value_coef: 1.0, level: OreoLevel::Token, largest_weight: None };
    let prompts = prompts();
    let writer = Writer { table: &table, prompts: &prompts, length: LENGTH, loss: &loss };
    let mut texts = writer.texts(&world.reference, samples, seed.child("texts", 0))?;
    Judge::new(&world.tree, &Verdict { range: (0.0, 1.0), critic: false }).credit(&mut texts)?;
    let trained = writer.learned_from(&texts, Training { steps: 300, rate: 0.05, seed })?;
    Ok((texts, trained))
}

/// Whether a text is right.
fn is_right(text: &Rollout) -> bool {
    text.score == Some(1.0)
}

/// The right texts.
fn right(texts: &[Rollout]) -> Vec<TrainRow> {
    let right = texts.iter().filter(|text| is_right(text));
    right.map(|text| TrainRow::single(text.prompt.clone(), text.response.clone())).collect()
}

/// Each right text with a wrong one to the same prompt, as far as there are both.
fn pairs(texts: &[Rollout]) -> Vec<TrainRow> {
    let of_prompt = |texts: &[Rollout]| {
        let (right, wrong): (Vec<&Rollout>, Vec<&Rollout>) = texts.iter().partition(|text| is_right(text));
        let pair = |(right, wrong): (&Rollout, &Rollout)| {
            TrainRow::pair(right.prompt.clone(), right.response.clone(), wrong.response.clone())
        };
        right.into_iter().zip(wrong).map(pair).collect::<Vec<TrainRow>>()
    };
    texts.chunk_by(|one, next| one.group == next.group).flat_map(of_prompt).collect()
}

/// The root mean square error of values over the states that the start comes to, and that of their exact mean.
fn errors(world: &World, values: &[f64], soft: &ExactValue) -> Result<[f64; 2]> {
    let (mut odds, mut exact, mut given) = (Vec::new(), Vec::new(), Vec::new());
    for ((path, _), chance) in world.tree.leaves().zip(world.reference.leaf_probabilities()) {
        for at in 1..path.len() {
            odds.push(chance / LENGTH as f64);
            exact.push(soft.value(&path[..at])?);
            given.push(values[own(&path[..at])]);
        }
    }
    let over = |of: &dyn Fn(usize) -> f64| (0..odds.len()).map(|at| odds[at] * of(at)).sum::<f64>();
    let constant = over(&|at| exact[at]);
    let error = over(&|at| (given[at] - exact[at]).powi(2)).sqrt();
    Ok([error, over(&|at| (constant - exact[at]).powi(2)).sqrt()])
}
