//! Ensembles of reward models against over-optimisation by best-of-n, with a quarter of the labels turned around.
//!
//! Five two-layer heads learn from the same pairs and differ in their first weights and in the order of the data. The policy is
//! best-of-n; all arms choose among the same responses, so they have the same n and the same divergence
//! `ln n - (n - 1) / n` from the base policy. A single reward model is each of the five in turn.

use anyhow::Result;
use ascribe::core::Seed;
use ascribe::reward::Aggregate;
use ascribe::reward::losses::BradleyTerryConfig;
use ascribe::worlds::{Annotator, Taste};

use crate::heads::{Head, Sample, Training, Widths, best, mean, standardized, train};
use crate::row::{Claim, Figures, Row};

const FEATURES: usize = 16;
const BENDS: usize = 8;
const PAIRS: usize = 400;
const FLIPS: f64 = 0.25;
const MEMBERS: u64 = 5;
const PROMPTS: usize = 100;
const N: usize = 1024;
const LAMBDA: f64 = 0.5;

/// The claims of the ensembles.
pub const ROW: Row = Row {
    name: "ensembles",
    paper: "Reward Model Ensembles Help Mitigate Overoptimization, arXiv:2310.02743",
    setting: "a gold reward of 16 features with 8 products, 400 pairs of which 25 % are flipped, five two-layer heads on their own \
              scales, best-of-1024 on 100 prompts (KL 5.9 nats); the mean gold reward of what is chosen",
    seeds: 30,
    claims: &[
        Claim { says: "the mean of five is better than one", more: "gold of mean", less: "gold of one" },
        Claim { says: "the worst case of five is better than one", more: "gold of WCO", less: "gold of one" },
        Claim { says: "the mean less half the variance is better than one", more: "gold of UWO", less: "gold of one" },
        Claim { says: "heeding the variance is better than the plain mean", more: "gold of UWO", less: "gold of mean" },
    ],
    tried: "In a model of this row the weight of the variance makes no difference at 0.05 and 0.1, costs a little at 0.5 and more at 1 \
            and 2. The five learn from the same wrong labels, so that where they are wrong they are wrong together: their spread \
            says little of their error (a correlation of 0.09), and the mean has already taken away what they do not share.",
    run,
};

fn run(seed: Seed) -> Result<Figures> {
    let taste = Taste::draw(FEATURES, BENDS, seed)?;
    let annotator = Annotator { flips: FLIPS, ..Annotator::default() };
    let pairs = annotator.comparisons(&taste, PAIRS, &mut seed.stream("pairs", 0));
    let rows: Vec<Sample> = pairs.iter().map(|pair| Sample::pair(&pair.chosen, &pair.rejected)).collect();
    let mut stream = seed.stream("candidates", 0);
    let candidates: Vec<Vec<f64>> = (0..PROMPTS * N).map(|_| taste.response(&mut stream)).collect();
    let gold: Vec<f64> = candidates.iter().map(|response| taste.gold(response)).collect();
    // The square of the scores holds them near 0, as the paper's does.
    let loss = BradleyTerryConfig { centre: 1e-3, ..BradleyTerryConfig::default() }.init()?;
    let mut members = Vec::new();
    for member in 0..MEMBERS {
        let own = seed.child("member", member);
        let head = Head::fresh(Widths { inputs: FEATURES, hidden: 32, outputs: 1 }, own);
        let head = train(head, &loss, &rows, Training { steps: 300, rate: 1e-2, seed: own })?;
        members.push(standardized(head.rewards(&candidates))?);
    }
    let chosen = |rewards: &[f64]| -> f64 {
        let of_prompt = |at: usize| gold[at * N + best(&rewards[at * N..(at + 1) * N])];
        mean(&(0..PROMPTS).map(of_prompt).collect::<Vec<_>>())
    };
    let together = |aggregate: Aggregate| -> Result<f64> {
        let mut rewards = Vec::with_capacity(candidates.len());
        for at in 0..candidates.len() {
            let of: Vec<f64> = members.iter().map(|member| member[at]).collect();
            rewards.push(aggregate.of(&of)?);
        }
        Ok(chosen(&rewards))
    };
    let alone: Vec<f64> = members.iter().map(|member| chosen(member)).collect();
    Ok(vec![
        ("gold of one".into(), mean(&alone)),
        ("gold of mean".into(), together(Aggregate::Mean)?),
        ("gold of WCO".into(), together(Aggregate::Min)?),
        ("gold of UWO".into(), together(Aggregate::uwo(LAMBDA))?),
    ])
}
