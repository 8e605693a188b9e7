//! From r to Q*: a policy trained by DPO knows what each token is worth.
//!
//! ```text
//! beta (log pi(a|s) - log pi_ref(a|s)) = r(s, a) + V*(s') - V*(s)       V* soft, by enumeration
//! ```
//! Any policy solves this equation for some reward, so the reward here is the one that the raters had: the residual falls as
//! the preferences determine it.

use anyhow::Result;
use ascribe::core::{Policy, Seed, Tokens};
use ascribe::preference::objectives::DpoConfig;
use ascribe::search::{Beam, Greedy, Search, SearchCtx};
use ascribe::worlds::TreePolicy;

use crate::planted::Planted;
use crate::row::{Claim, Figures, Row};
use crate::tabular::{Table, Training, own};
use crate::world::{Gold, PROMPTS, World, bradley_terry, normal};

const LENGTH: usize = 5;
const BETA: f64 = 1.0;
const FEW: usize = 250;
const MANY: usize = 2000;

/// The claims of From r to Q*.
pub const ROW: Row = Row {
    name: "r-to-q",
    paper: "From r to Q*: Your Language Model is Secretly a Q-Function, arXiv:2404.12358",
    setting: "4 prompts with 1024 texts each, a policy with a row of logits for each history, DPO at beta 1 on 250 and 2000 \
              pairs labelled by a Bradley-Terry rater; the residual is over tokens of the reference; beam search has 4 beams",
    seeds: 60,
    claims: &[
        Claim {
            says: "training on preferences lowers the residual of the soft Bellman equation",
            more: "residual of the start",
            less: "residual of DPO",
        },
        Claim {
            says: "more preferences lower it further",
            more: "residual of DPO on few pairs",
            less: "residual of DPO",
        },
        Claim {
            says: "noise on the trained logits raises it",
            more: "residual of DPO with noise",
            less: "residual of DPO",
        },
        Claim {
            says: "likelihood search under the DPO policy earns more gold than greedy decoding",
            more: "gold of beam search",
            less: "gold of greedy decoding",
        },
        Claim {
            says: "the credit of a planted wrong token is low (AUROC)",
            more: "AUROC of the log-ratio",
            less: "AUROC of chance",
        },
        Claim {
            says: "it says more than the likelihood under the start",
            more: "AUROC of the log-ratio",
            less: "AUROC of the likelihood",
        },
    ],
    tried: "Twenty seeds left the search open, so there are 60. In a model of this row 80 seeds put its gain at 0.09 of gold, give or \
            take 0.12: texts of five tokens out of four leave greedy decoding little to miss.",
    run,
};

fn run(seed: Seed) -> Result<Figures> {
    let gold = Gold::drawn(LENGTH, seed)?;
    // Twice the standard deviation: raters who are mostly right.
    let world = World::new(LENGTH, seed, |path| 2.0 * gold.of(path))?;
    let pairs = world.pairs(&PROMPTS, MANY, seed, bradley_terry)?;
    let objective = DpoConfig { beta: BETA, ..DpoConfig::default() }.init()?;
    let training = Training { steps: 300, rate: 0.05, seed };
    let table = Table { world: &world, reference: &world.reference, state: own };
    let few = table.trained(&objective, &pairs[..FEW], training)?;
    let policy = table.trained(&objective, &pairs, training)?;
    let noisy = TreePolicy::new(&world.tree, |path| {
        let mut stream = seed.stream("noise", own(path) as u64);
        let logps = policy.logps(path).unwrap_or_default();
        logps.iter().map(|logp| logp + 0.5 * normal(&mut stream)).collect()
    })?;
    let beam = Beam { beams: 4, length_penalty: 0.0, ..Beam::default() };
    let planted = Planted::drawn(&world, seed)?;
    let (likelihoods, _) = world.reference.score(&planted.asked())?;
    Ok(vec![
        ("residual of the start".into(), world.residual(&world.reference, BETA)?),
        ("residual of DPO on few pairs".into(), world.residual(&few, BETA)?),
        ("residual of DPO".into(), world.residual(&policy, BETA)?),
        ("residual of DPO with noise".into(), world.residual(&noisy, BETA)?),
        ("gold of greedy decoding".into(), decoded(&world, &policy, &Greedy, seed)?),
        ("gold of beam search".into(), decoded(&world, &policy, &beam, seed)?),
        ("AUROC of the log-ratio".into(), planted.auroc_of_ratios(&world, &policy)?),
        ("AUROC of the likelihood".into(), planted.auroc(&likelihoods)?),
        ("AUROC of chance".into(), 0.5),
    ])
}

/// The mean gold reward of what a search finds.
fn decoded(world: &World, policy: &TreePolicy, search: &dyn Search, seed: Seed) -> Result<f64> {
    let prompts: Vec<Tokens> = PROMPTS.iter().map(|prompt| vec![*prompt].into()).collect();
    let found = search.search(&prompts, &mut SearchCtx::new(policy, LENGTH, seed))?;
    let mut sum = 0.0;
    for (prompt, found) in PROMPTS.iter().zip(found) {
        sum += world.reward(*prompt, &found.best().tokens)?;
    }
    Ok(sum / PROMPTS.len() as f64)
}
