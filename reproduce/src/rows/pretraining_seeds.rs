//! Helping or herding: ensembles whose members were pretrained apart, and ensembles whose members share a pretrained start.
//!
//! A head is pretrained on comparisons by another taste. The members of one ensemble differ in fresh weights and in the order of
//! pretraining and of fine-tuning, those of the other in the order of fine-tuning alone. The annotator likes a feature for itself,
//! which no member can know.

use anyhow::Result;
use ascribe::core::Seed;
use ascribe::reward::losses::{BradleyTerry, BradleyTerryConfig};
use ascribe::reward::{Aggregate, Standard};
use ascribe::worlds::{Annotator, Comparison, Taste};

use crate::heads::{Head, Sample, Training, Widths, best, mean, standardized, train};
use crate::row::{Claim, Figures, Row};

const FEATURES: usize = 16;
const BENDS: usize = 8;
const MEMBERS: u64 = 5;
const PRETRAINED: usize = 1500;
const PAIRS: usize = 400;
const PROMPTS: usize = 100;
const N: usize = 256;
/// The feature that the annotator likes for itself, and how much.
const LIKED: (usize, f64) = (0, 1.0);

/// The claims of ensembles by pretraining seed.
pub const ROW: Row = Row {
    name: "pretraining-seeds",
    paper: "Helping or Herding? Reward Model Ensembles Mitigate but do not Eliminate Reward Hacking, arXiv:2312.09244",
    setting: "a gold reward of 16 features with 8 products; two-layer heads, pretrained on 1500 pairs of another gold reward and \
              fine-tuned on 400 pairs, 25 % of them turned, by an annotator who likes one feature for itself; five members by \
              pretraining or by fine-tuning seed; best-of-256 on 100 prompts",
    seeds: 40,
    claims: &[
        Claim {
            says: "members that were pretrained apart disagree more",
            more: "spread by pretraining seed",
            less: "spread by fine-tuning seed",
        },
        Claim {
            says: "and together choose better",
            more: "gold by pretraining seed",
            less: "gold by fine-tuning seed",
        },
        Claim {
            says: "either ensemble is better than one of its members: by pretraining seed",
            more: "gold by pretraining seed",
            less: "gold of one, pretraining seed",
        },
        Claim {
            says: "and by fine-tuning seed",
            more: "gold by fine-tuning seed",
            less: "gold of one, fine-tuning seed",
        },
        Claim {
            says: "what all members have wrong stays: more of the liked feature than the best by gold has",
            more: "liked feature by pretraining seed",
            less: "liked feature of the best by gold",
        },
    ],
    tried: "Eight seeds left one claim open, so there are 40; no other setting was tried.",
    run,
};

fn samples(pairs: &[Comparison]) -> Vec<Sample> {
    pairs.iter().map(|pair| Sample::pair(&pair.chosen, &pair.rejected)).collect()
}

/// A head after pretraining.
fn pretrained(loss: &BradleyTerry, rows: &[Sample], seed: Seed) -> Result<Head> {
    let head = Head::fresh(Widths { inputs: FEATURES, hidden: 32, outputs: 1 }, seed);
    train(head, loss, rows, Training { steps: 300, rate: 1e-2, seed })
}

fn run(seed: Seed) -> Result<Figures> {
    let taste = Taste::draw(FEATURES, BENDS, seed)?;
    let before = Taste::draw(FEATURES, BENDS, seed.child("pretraining", 0))?;
    let annotator = Annotator { flips: 0.25, length_bias: Some(LIKED), ..Annotator::default() };
    let early = Annotator::default().comparisons(&before, PRETRAINED, &mut seed.stream("pretraining", 0));
    let (early, late) = (samples(&early), samples(&annotator.comparisons(&taste, PAIRS, &mut seed.stream("pairs", 0))));
    let mut stream = seed.stream("candidates", 0);
    let candidates: Vec<Vec<f64>> = (0..PROMPTS * N).map(|_| taste.response(&mut stream)).collect();
    let gold: Vec<f64> = candidates.iter().map(|response| taste.gold(response)).collect();
    let loss = BradleyTerryConfig { centre: 1e-3, ..BradleyTerryConfig::default() }.init()?;
    let rewards = |head: Head, seed: Seed| -> Result<Vec<f64>> {
        let head = train(head, &loss, &late, Training { steps: 150, rate: 5e-3, seed })?;
        standardized(head.rewards(&candidates))
    };
    let shared = pretrained(&loss, &early, seed.child("shared", 0))?;
    let (mut apart, mut together) = (Vec::new(), Vec::new());
    for member in 0..MEMBERS {
        let own = seed.child("member", member);
        apart.push(rewards(pretrained(&loss, &early, own)?, own)?);
        together.push(rewards(shared.clone(), own)?);
    }
    // The mean over prompts of what `of` gives the chosen candidates.
    let chosen = |rewards: &[f64], of: &dyn Fn(usize) -> f64| -> f64 {
        let of_prompt = |prompt: usize| of(prompt * N + best(&rewards[prompt * N..(prompt + 1) * N]));
        mean(&(0..PROMPTS).map(of_prompt).collect::<Vec<_>>())
    };
    let (worth, liked) = (|at: usize| gold[at], |at: usize| candidates[at][LIKED.0]);
    let mut figures = vec![("liked feature of the best by gold".into(), chosen(&gold, &liked))];
    for (name, members) in [("pretraining seed", &apart), ("fine-tuning seed", &together)] {
        let (mut means, mut spreads) = (Vec::with_capacity(gold.len()), Vec::with_capacity(gold.len()));
        for at in 0..gold.len() {
            let of: Vec<f64> = members.iter().map(|rewards| rewards[at]).collect();
            means.push(Aggregate::Mean.of(&of)?);
            spreads.push(Standard::fit(&of)?.std);
        }
        let alone: Vec<f64> = members.iter().map(|rewards| chosen(rewards, &worth)).collect();
        figures.push((format!("gold by {name}"), chosen(&means, &worth)));
        figures.push((format!("gold of one, {name}"), mean(&alone)));
        figures.push((format!("spread by {name}"), mean(&spreads)));
        figures.push((format!("liked feature by {name}"), chosen(&means, &liked)));
    }
    Ok(figures)
}
