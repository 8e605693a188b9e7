//! BRAIn: the posterior of good texts is distilled from weighted samples; the exact one is known here.
//!
//! ```text
//! p(y | x, good) = p(y | x) exp(r / gamma) / Z       the optimum of the reward under a divergence of strength gamma
//! ```
//! DPO has the same optimum where labels are drawn as Bradley and Terry have it. A reward model labels without a doubt, and so
//! it does here; the other labels are given for comparison.

use anyhow::Result;
use ascribe::core::advantage::{Keep, Verdict};
use ascribe::core::{Objective, Seed, Stream};
use ascribe::eval::curve::kl_exact;
use ascribe::preference::TrainRow;
use ascribe::preference::objectives::{DpoConfig, HingeConfig};
use ascribe::preference::rl::{Brain, Goodness};
use ascribe::worlds::TreePolicy;

use crate::judge::Judge;
use crate::rollouts::{Plan, Writer, plain, prompts};
use crate::row::{Claim, Figures, Row};
use crate::tabular::{Table, Training, own};
use crate::world::{Gold, PROMPTS, World, better, bradley_terry};

const LENGTH: usize = 4;
const GAMMA: f64 = 0.5;
const GENERATIONS: usize = 50;
const GROUPS: usize = 16;
const SAMPLES: usize = 8;
const STEPS: usize = 200;
/// As many texts as BRAIn sees.
const PAIRS: usize = GENERATIONS * GROUPS * PROMPTS.len() * SAMPLES / 2;

/// BRAIn's claims.
pub const ROW: Row = Row {
    name: "brain",
    paper: "BRAIn: Bayesian Reward-conditioned Amortized Inference for natural language generation from feedback, \
            arXiv:2402.02479",
    setting: "4 prompts with 256 texts each, gamma 0.5, 50 times 16 groups of 8 texts a prompt, the writer renewed each time, four \
              steps on each; DPO and SLiC (beta 1, 200 steps) on pairs of as many texts of the start, which the reward labels; a \
              row of the policy for each history; the divergence from the exact posterior",
    seeds: 10,
    claims: &[
        Claim {
            says: "BRAIn comes nearer to the posterior than it began",
            more: "divergence of the start",
            less: "divergence of BRAIn",
        },
        Claim { says: "nearer than DPO", more: "divergence of DPO", less: "divergence of BRAIn" },
        Claim { says: "nearer than SLiC", more: "divergence of SLiC", less: "divergence of BRAIn" },
        Claim {
            says: "nearer than imitation of the best of each group",
            more: "divergence of imitation",
            less: "divergence of BRAIn",
        },
    ],
    tried: "",
    run,
};

fn run(seed: Seed) -> Result<Figures> {
    let gold = Gold::drawn(LENGTH, seed)?;
    let world = World::new(LENGTH, seed, |path| gold.of(path))?;
    let posterior = world.optimum(GAMMA)?.leaf_probabilities();
    let divergence = |policy: &TreePolicy| kl_exact(&policy.leaf_probabilities(), &posterior);
    let table = Table { world: &world, reference: &world.reference, state: own };
    let prompts = vec![prompts(); GROUPS].concat();
    let plan = Plan { generations: GENERATIONS, samples: SAMPLES, passes: 4, rate: 0.03, seed };
    let (brain, plain) = (Brain { goodness: Goodness::Exponential { gamma: GAMMA }, ..Brain::default() }, plain());
    let told = Verdict { range: (f64::MIN, f64::MAX), critic: false };
    let writer = Writer { table: &table, prompts: &prompts, length: LENGTH, loss: &brain };
    let mut judge = Judge::new(&world.tree, &told);
    let by_brain = writer.last(plan, &mut |rollouts| judge.credit(rollouts))?;
    let mut judge = Judge::new(&world.tree, &Keep::Best);
    let imitated = Writer { loss: &plain, ..writer }.last(plan, &mut |rollouts| judge.credit(rollouts))?;
    let certain = world.pairs(&PROMPTS, PAIRS, seed, better)?;
    // The odds that the reward has at gamma.
    let doubtful = world
        .pairs(&PROMPTS, PAIRS, seed, |difference, stream: &mut Stream| bradley_terry(difference / GAMMA, stream))?;
    let dpo = DpoConfig { beta: 1.0, ..DpoConfig::default() }.init()?;
    let slic = HingeConfig { beta: 1.0, ..HingeConfig::default() }.init()?;
    let training = Training { steps: STEPS, rate: 0.05, seed };
    let paired = |objective: &dyn Objective, rows: &[TrainRow]| table.trained(objective, rows, training);
    Ok(vec![
        ("divergence of the start".into(), divergence(&world.reference)?),
        ("divergence of BRAIn".into(), divergence(&by_brain)?),
        ("divergence of imitation".into(), divergence(&imitated)?),
        ("divergence of DPO".into(), divergence(&paired(&dpo, &certain)?)?),
        ("divergence of DPO on drawn labels".into(), divergence(&paired(&dpo, &doubtful)?)?),
        ("divergence of SLiC".into(), divergence(&paired(&slic, &certain)?)?),
    ])
}
