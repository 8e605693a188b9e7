//! Helping or herding: ensembles whose members were pretrained apart, and ensembles whose members share a pretrained start.
//!
//! A hidden layer is pretrained on comparisons by another taste, and gets a fresh output for fine-tuning. The members of one ensemble
//! differ in the weights and the order of pretraining as well, those of the other in the fresh output and the order of fine-tuning
//! alone. The annotator likes a feature for itself, which no member can know.

use anyhow::Result;
use ascribe::core::Seed;
use ascribe::eval::Bootstrap;
use ascribe::eval::rank::spearman;
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

/// How many responses two members are compared on, and how far each feature of theirs is moved away from what was learned from.
const COMPARED: usize = 2000;
const MOVED: f64 = 1.5;

/// The claims of ensembles by pretraining seed.
pub const ROW: Row = Row {
    name: "pretraining-seeds",
    paper: "Helping or Herding? Reward Model Ensembles Mitigate but do not Eliminate Reward Hacking, arXiv:2312.09244",
    setting: "a gold reward of 16 features with 8 products; two-layer heads, pretrained on 1500 pairs of another gold reward and \
              fine-tuned with a fresh output on 400 pairs, 25 % of them turned, by an annotator who likes one feature for itself; \
              five members by pretraining seed, or by the seed of the output and of the order of fine-tuning alone; best-of-256 on \
              100 prompts; two members are compared on 2000 responses, as they come and with every feature moved by 1.5",
    seeds: 40,
    claims: &[
        Claim {
            says: "members that were pretrained apart disagree more",
            more: "spread by pretraining seed",
            less: "spread by fine-tuning seed",
        },
        Claim {
            says: "and rank responses less alike (Spearman)",
            more: "rank correlation by fine-tuning seed",
            less: "rank correlation by pretraining seed",
        },
        Claim {
            says: "members agree on more of the pairs that are like those they learned from: by pretraining seed",
            more: "agreement by pretraining seed",
            less: "agreement on moved pairs by pretraining seed",
        },
        Claim {
            says: "and by fine-tuning seed",
            more: "agreement by fine-tuning seed",
            less: "agreement on moved pairs by fine-tuning seed",
        },
        Claim {
            says: "those that were pretrained apart choose better together",
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
    tried: "Eight seeds left one claim open, so there are 40. Before, fine-tuning went on from the output of pretraining, and its \
            seed was the order of pairs alone: members then disagreed by 0.069, ranked responses alike to 0.992, and were no \
            better together than one of them (-0.004 [-0.017, +0.008]). The paper's fine-tuning seeds begin with a fresh output \
            each.",
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

/// What a member gives the candidates, on one scale with the others, and the moved responses.
struct Member {
    rewards: Vec<f64>,
    on_moved: Vec<f64>,
}

/// The mean of a measure of two members over all two of them.
fn between(members: &[&[f64]], of: impl Fn(&[f64], &[f64]) -> Result<f64>) -> Result<f64> {
    let mut values = Vec::new();
    for (at, first) in members.iter().enumerate() {
        for second in &members[at + 1..] {
            values.push(of(first, second)?);
        }
    }
    Ok(mean(&values))
}

/// The share of pairs, a response and the next one, that two rewards order alike.
fn ordered_alike(first: &[f64], second: &[f64]) -> f64 {
    let pairs = first.chunks_exact(2).zip(second.chunks_exact(2));
    let alike = pairs.filter(|(a, b)| (a[0] > a[1]) == (b[0] > b[1])).count();
    alike as f64 / (first.len() / 2) as f64
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
    let moved: Vec<Vec<f64>> =
        candidates[..COMPARED].iter().map(|response| response.iter().map(|x| x + MOVED).collect()).collect();
    let rewards = |head: Head, seed: Seed| -> Result<Member> {
        let fresh = head.with_fresh_out(seed.child("fine-tuning", 0));
        let head = train(fresh, &loss, &late, Training { steps: 150, rate: 5e-3, seed })?;
        Ok(Member { rewards: standardized(head.rewards(&candidates))?, on_moved: head.rewards(&moved) })
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
            let of: Vec<f64> = members.iter().map(|member| member.rewards[at]).collect();
            means.push(Aggregate::Mean.of(&of)?);
            spreads.push(Standard::fit(&of)?.std);
        }
        let alone: Vec<f64> = members.iter().map(|member| chosen(&member.rewards, &worth)).collect();
        figures.push((format!("gold by {name}"), chosen(&means, &worth)));
        figures.push((format!("gold of one, {name}"), mean(&alone)));
        figures.push((format!("spread by {name}"), mean(&spreads)));
        figures.push((format!("liked feature by {name}"), chosen(&means, &liked)));
        let on_own: Vec<&[f64]> = members.iter().map(|member| &member.rewards[..COMPARED]).collect();
        let on_moved: Vec<&[f64]> = members.iter().map(|member| &member.on_moved[..]).collect();
        let correlation =
            |first: &[f64], second: &[f64]| -> Result<f64> { Ok(spearman(first, second, &Bootstrap::NONE)?.value) };
        let agreement = |first: &[f64], second: &[f64]| -> Result<f64> { Ok(ordered_alike(first, second)) };
        figures.push((format!("rank correlation by {name}"), between(&on_own, correlation)?));
        figures.push((format!("agreement by {name}"), between(&on_own, agreement)?));
        figures.push((format!("agreement on moved pairs by {name}"), between(&on_moved, agreement)?));
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_compared_two_by_two() {
        let members: [&[f64]; 3] = [&[1.0, 0.0, 1.0, 2.0], &[3.0, 2.0, 5.0, 4.0], &[0.0, 1.0, 2.0, 1.0]];
        // Of two pairs the first and the second member order one alike, the first and the third none, the others one.
        assert_eq!(ordered_alike(members[0], members[1]), 0.5);
        assert_eq!(ordered_alike(members[0], members[2]), 0.0);
        let agreement = |first: &[f64], second: &[f64]| -> Result<f64> { Ok(ordered_alike(first, second)) };
        assert!((between(&members, agreement).unwrap() - 1.0 / 3.0).abs() < 1e-12);
    }
}
