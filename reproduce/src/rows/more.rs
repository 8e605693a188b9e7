//! MORE: groups of annotators weighed by the gradients of a reward head, against all their pairs in one pool.
//!
//! What the groups like besides the shared taste sums to nothing over the groups, but one of them gives most of the pairs. So
//! the pool leans to its side. The head is linear: its features are the embedding.

use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use ascribe::core::{Loss, Seed};
use ascribe::eval::Bootstrap;
use ascribe::eval::calibrate::{Binning, ece};
use ascribe::reward::losses::{BradleyTerryConfig, PairLabel};
use ascribe::reward::weights::{More, source_gradients, source_labels};
use ascribe::reward::{RewardError, RewardLoss, ScoreBatch};
use ascribe::train::{Learned, Learner, Tally, TrainError};
use ascribe::worlds::{Annotator, Taste};
use burn::optim::GradientsParams;

use crate::heads::{Head, Pair, Training, Widths, features, fit, mean};
use crate::row::{Claim, Figures, Row};
use crate::world::{normal, sigmoid};

const FEATURES: usize = 16;
/// Pairs of each group in a bundle: one group gives four in six.
const SHARES: [usize; 3] = [4, 1, 1];
const BUNDLES: usize = 150;
/// The length of what a group likes besides, before the mean over groups is taken away; the shared taste has length 1.
const TILT: f64 = 1.0;
const NOISE: f64 = 0.5;
const TESTS: usize = 4000;

/// MORE's claims.
pub const ROW: Row = Row {
    name: "more",
    paper: "On Diversified Preferences of Large Language Model Alignment (MORE), arXiv:2312.07401",
    setting: "a shared gold reward of 16 features, three groups with likings of their own that sum to nothing, 600, 150 and 150 \
              noisy pairs, every step with pairs of all; linear heads, 150 steps; accuracy, and ECE of the decisions, on 4000 \
              new noisy pairs of the shared taste",
    seeds: 12,
    claims: &[
        Claim {
            says: "MORE is right more often about shared preferences than training on the pool",
            more: "accuracy of MORE",
            less: "accuracy of the pool",
        },
        Claim {
            says: "it is better calibrated, by 5 bins",
            more: "ECE of the pool, 5 bins",
            less: "ECE of MORE, 5 bins",
        },
        Claim { says: "by 10 bins", more: "ECE of the pool, 10 bins", less: "ECE of MORE, 10 bins" },
        Claim { says: "and by 20 bins", more: "ECE of the pool, 20 bins", less: "ECE of MORE, 20 bins" },
        Claim {
            says: "the group that fares worst fares better",
            more: "accuracy of MORE, worst group",
            less: "accuracy of the pool, worst group",
        },
    ],
    tried: "",
    run,
};

/// A pair, and the group that it comes from.
struct Sourced {
    pair: Pair,
    source: usize,
}

/// Trains a linear head on bundles with pairs of every group; without weights it learns from the pool.
struct SourceLearner {
    more: Option<Mutex<More>>,
}

impl SourceLearner {
    fn loss(&self, model: &Head, bundles: &[&Vec<Sourced>]) -> Result<Loss, RewardError> {
        let pairs: Vec<&Sourced> = bundles.iter().flat_map(|bundle| bundle.iter()).collect();
        let (chosen, rejected) = (pairs.iter().map(|one| &one.pair[0]), pairs.iter().map(|one| &one.pair[1]));
        let responses: Vec<&[f64]> = chosen.chain(rejected).map(Vec::as_slice).collect();
        let scores = model.forward(features(&responses, &model.device())); // [2 * pairs, 1]
        let labels = match &self.more {
            None => vec![PairLabel::PLAIN; pairs.len()],
            Some(more) => {
                let rewards: Vec<f64> = scores.clone().into_data().iter::<f64>().collect();
                let (first, second) = rewards.split_at(pairs.len());
                let margins: Vec<f64> = first.iter().zip(second).map(|(first, second)| first - second).collect();
                let source: Vec<usize> = pairs.iter().map(|one| one.source).collect();
                let differences: Vec<Vec<f64>> = pairs.iter().map(|one| difference(&one.pair)).collect();
                let gradients = source_gradients(&differences, &margins, &source, SHARES.len())?;
                let lambda = more.lock().unwrap_or_else(PoisonError::into_inner).weights(&gradients)?;
                source_labels(&source, &lambda)?
            }
        };
        let batch = ScoreBatch::new(2, scores)?.with_labels(PairLabel::columns(&labels))?;
        BradleyTerryConfig { labelled: true, ..BradleyTerryConfig::default() }.init()?.loss(&batch)
    }
}

/// The features of the chosen response less those of the rejected one.
fn difference([chosen, rejected]: &Pair) -> Vec<f64> {
    chosen.iter().zip(rejected).map(|(chosen, rejected)| chosen - rejected).collect()
}

impl Learner for SourceLearner {
    type Model = Head;
    type Row = Vec<Sourced>;

    fn learn(&self, model: &Head, rows: &[&Vec<Sourced>]) -> Result<Learned, TrainError> {
        let loss = self.loss(model, rows)?;
        let gradients = GradientsParams::from_grads(loss.rows.clone().sum().backward(), model);
        Ok(Learned { gradients, tally: Tally::of(loss, 0) })
    }

    fn measure(&self, model: &Head, rows: &[&Vec<Sourced>]) -> Result<Tally, TrainError> {
        Ok(Tally::of(self.loss(model, rows)?, 0))
    }
}

fn run(seed: Seed) -> Result<Figures> {
    let taste = Taste::draw(FEATURES, 0, seed)?;
    let groups: Vec<Annotator> =
        tilts(seed).into_iter().map(|tilt| Annotator { tilt, noise: NOISE, ..Annotator::default() }).collect();
    let pairs = |annotator: &Annotator, count: usize, name: &str, number: usize| -> Vec<Pair> {
        let pairs = annotator.comparisons(&taste, count, &mut seed.stream(name, number as u64));
        pairs.into_iter().map(|pair| [pair.chosen, pair.rejected]).collect()
    };
    let mut bundles: Vec<Vec<Sourced>> = (0..BUNDLES).map(|_| Vec::new()).collect();
    for (source, (annotator, share)) in groups.iter().zip(SHARES).enumerate() {
        for (at, pair) in pairs(annotator, BUNDLES * share, "pairs", source).into_iter().enumerate() {
            bundles[at % BUNDLES].push(Sourced { pair, source });
        }
    }
    let shared = pairs(&Annotator { noise: NOISE, ..Annotator::default() }, TESTS, "shared tests", 0);
    let of_groups: Vec<Vec<Pair>> =
        groups.iter().enumerate().map(|(source, annotator)| pairs(annotator, TESTS, "tests", source)).collect();

    let mut figures = Figures::new();
    for (name, more) in [("the pool", None), ("MORE", Some(Mutex::new(More::new(1.0)?)))] {
        let head = Head::fresh(Widths { inputs: FEATURES, hidden: 0, outputs: 1 }, seed);
        let head = fit(&SourceLearner { more }, head, &bundles, Training { steps: 150, rate: 2e-2, seed })?;
        figures.push((format!("accuracy of {name}"), head.accuracy(&shared)));
        for bins in [5, 10, 20] {
            figures.push((format!("ECE of {name}, {bins} bins"), calibration(&head, &shared, bins)?));
        }
        let worst = of_groups.iter().map(|tests| head.accuracy(tests)).fold(1.0, f64::min);
        figures.push((format!("accuracy of {name}, worst group"), worst));
    }
    Ok(figures)
}

/// What each group likes besides: drawn, less the mean over groups.
fn tilts(seed: Seed) -> Vec<Vec<f64>> {
    let mut stream = seed.stream("tilts", 0);
    let scale = TILT / (FEATURES as f64).sqrt();
    let mut tilts: Vec<Vec<f64>> =
        SHARES.iter().map(|_| (0..FEATURES).map(|_| scale * normal(&mut stream)).collect()).collect();
    for feature in 0..FEATURES {
        let centre = mean(&tilts.iter().map(|tilt| tilt[feature]).collect::<Vec<_>>());
        tilts.iter_mut().for_each(|tilt| tilt[feature] -= centre);
    }
    tilts
}

/// The calibration error of the decisions of a head: how sure it is of the response that it takes to be better.
fn calibration(head: &Head, pairs: &[Pair], bins: usize) -> Result<f64> {
    let side = |at: usize| head.rewards(&pairs.iter().map(|pair| pair[at].clone()).collect::<Vec<_>>());
    let margins: Vec<f64> = side(0).iter().zip(side(1)).map(|(chosen, rejected)| chosen - rejected).collect();
    let sure: Vec<f64> = margins.iter().map(|margin| sigmoid(margin.abs())).collect();
    let right: Vec<bool> = margins.iter().map(|margin| *margin > 0.0).collect();
    Ok(ece(&sure, &right, Binning::Width(bins), &Bootstrap::NONE)?.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likings_sum_to_nothing() {
        let tilts = tilts(Seed(3));
        assert!((0..FEATURES).all(|feature| tilts.iter().map(|tilt| tilt[feature]).sum::<f64>().abs() < 1e-12));
        assert!(tilts.iter().all(|tilt| tilt.iter().any(|x| x.abs() > 0.01)));
    }

    #[test]
    fn equal_rewards_are_half_sure_and_never_right() {
        let head = Head::fresh(Widths { inputs: 2, hidden: 0, outputs: 1 }, Seed(0));
        let pairs = vec![[vec![1.0, 2.0], vec![1.0, 2.0]]; 10];
        assert!((calibration(&head, &pairs, 5).unwrap() - 0.5).abs() < 1e-9);
    }
}
