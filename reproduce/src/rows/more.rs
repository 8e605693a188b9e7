//! MORE: sources of preferences weighed by the gradients of a reward head, against all their pairs in one pool.
//!
//! Beside the taste that all share, one camp likes what the other dislikes, and each source has some likings of its own. Three of
//! the four sources are of one camp, so the pool leans to its side. The head is linear: its features are the embedding.

use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use ascribe::core::{Loss, Seed, Stream};
use ascribe::eval::Bootstrap;
use ascribe::eval::calibrate::{Binning, ece};
use ascribe::reward::losses::{BradleyTerryConfig, PairLabel};
use ascribe::reward::weights::{More, source_gradients, source_labels};
use ascribe::reward::{RewardError, RewardLoss, ScoreBatch};
use ascribe::train::{Learned, Learner, Tally, TrainError};
use ascribe::worlds::{Annotator, Taste};
use burn::optim::GradientsParams;

use crate::heads::{Head, Pair, Training, Widths, features, fit};
use crate::row::{Claim, Figures, Row};
use crate::world::{normal, sigmoid};

const FEATURES: usize = 16;
/// The camp of each source.
const CAMPS: [f64; 4] = [1.0, 1.0, 1.0, -1.0];
/// Pairs of each source in a bundle.
const EACH: usize = 4;
const BUNDLES: usize = 64;
/// The length of what a camp likes, and of what a source likes besides; the shared taste has length 1.
const LIKING: f64 = 1.0;
const OWN: f64 = 0.3;
const NOISE: f64 = 0.5;
const TESTS: usize = 2000;

/// MORE's claims.
pub const ROW: Row = Row {
    name: "more",
    paper: "On Diversified Preferences of Large Language Model Alignment (MORE), arXiv:2312.07401",
    setting: "a shared gold reward of 16 features; four sources of 256 noisy pairs each, of which three like what the fourth \
              dislikes, every step with pairs of all; linear heads, 150 steps; accuracy on 2000 new noisy pairs of the shared \
              taste and on 2000 of each source; ECE of the decisions on as many new pairs of either camp",
    seeds: 12,
    claims: &[
        Claim {
            says: "MORE is right more often about the shared preferences than training on the pool",
            more: "accuracy of MORE",
            less: "accuracy of the pool",
        },
        Claim {
            says: "it is better calibrated over both camps, by 5 bins",
            more: "ECE of the pool, 5 bins",
            less: "ECE of MORE, 5 bins",
        },
        Claim { says: "by 10 bins", more: "ECE of the pool, 10 bins", less: "ECE of MORE, 10 bins" },
        Claim { says: "and by 20 bins", more: "ECE of the pool, 20 bins", less: "ECE of MORE, 20 bins" },
        Claim {
            says: "the source that fares worst fares better",
            more: "accuracy of MORE, worst source",
            less: "accuracy of the pool, worst source",
        },
    ],
    tried: "",
    run,
};

/// A pair, and where it comes from.
struct Sourced {
    pair: Pair,
    source: usize,
}

/// Trains a linear head on bundles with pairs of every source; without weights it learns from the pool.
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
                let gradients = source_gradients(&differences, &margins, &source, CAMPS.len())?;
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
        // Unweighted, and nothing is remembered of it.
        Ok(Tally::of(Self { more: None }.loss(model, rows)?, 0))
    }
}

fn run(seed: Seed) -> Result<Figures> {
    let taste = Taste::draw(FEATURES, 0, seed)?;
    let noisy = |tilt: Vec<f64>| Annotator { tilt, noise: NOISE, ..Annotator::default() };
    let liking = drawn(LIKING, &mut seed.stream("liking", 0));
    let sources: Vec<Annotator> = CAMPS
        .iter()
        .enumerate()
        .map(|(source, camp)| {
            let own = drawn(OWN, &mut seed.stream("own likings", source as u64));
            noisy(liking.iter().zip(own).map(|(liking, own)| camp * liking + own).collect())
        })
        .collect();
    let pairs = |annotator: &Annotator, count: usize, name: &str, number: usize| -> Vec<Pair> {
        let pairs = annotator.comparisons(&taste, count, &mut seed.stream(name, number as u64));
        pairs.into_iter().map(|pair| [pair.chosen, pair.rejected]).collect()
    };
    let mut bundles: Vec<Vec<Sourced>> = (0..BUNDLES).map(|_| Vec::new()).collect();
    for (source, annotator) in sources.iter().enumerate() {
        for (at, pair) in pairs(annotator, BUNDLES * EACH, "pairs", source).into_iter().enumerate() {
            bundles[at % BUNDLES].push(Sourced { pair, source });
        }
    }
    let shared = pairs(&noisy(Vec::new()), TESTS, "shared tests", 0);
    let of_sources: Vec<Vec<Pair>> =
        sources.iter().enumerate().map(|(source, annotator)| pairs(annotator, TESTS, "tests", source)).collect();
    let turned = liking.iter().map(|liking| -liking).collect();
    let of_camps = [pairs(&noisy(liking), TESTS, "camp", 0), pairs(&noisy(turned), TESTS, "camp", 1)].concat();

    let mut figures = Figures::new();
    for (name, more) in [("the pool", None), ("MORE", Some(Mutex::new(More::new(1.0)?)))] {
        let head = Head::fresh(Widths { inputs: FEATURES, hidden: 0, outputs: 1 }, seed);
        let head = fit(&SourceLearner { more }, head, &bundles, Training { steps: 150, rate: 2e-2, seed })?;
        figures.push((format!("accuracy of {name}"), head.accuracy(&shared)));
        for bins in [5, 10, 20] {
            figures.push((format!("ECE of {name}, {bins} bins"), calibration(&head, &of_camps, bins)?));
        }
        let worst = of_sources.iter().map(|tests| head.accuracy(tests)).fold(1.0, f64::min);
        figures.push((format!("accuracy of {name}, worst source"), worst));
    }
    Ok(figures)
}

/// A weight a feature, together of about this length.
fn drawn(length: f64, stream: &mut Stream) -> Vec<f64> {
    let scale = length / (FEATURES as f64).sqrt();
    (0..FEATURES).map(|_| scale * normal(stream)).collect()
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
    fn opposite_camps_weigh_alike_however_many_sources_they_have() {
        // Three sources whose chosen response has more of the feature, and one whose has less: gradients of one length, so half
        // of the weight goes to the one, and an even head stays where it is.
        let bundle: Vec<Sourced> =
            CAMPS.iter().enumerate().map(|(source, camp)| Sourced { pair: [vec![*camp], vec![0.0]], source }).collect();
        let even = Head::fresh(Widths { inputs: 1, hidden: 0, outputs: 1 }, Seed(0));
        let loss = |more: Option<Mutex<More>>| {
            let rows = SourceLearner { more }.loss(&even, &[&bundle]).unwrap().rows;
            rows.into_data().iter::<f64>().collect::<Vec<f64>>()
        };
        let (plain, weighed) = (loss(None), loss(Some(Mutex::new(More::new(1.0).unwrap()))));
        // Each pair's weight is its loss over the plain one: 4 times the weight of its source.
        let weights: Vec<f64> = weighed.iter().zip(&plain).map(|(weighed, plain)| weighed / plain).collect();
        assert!((weights[3] - 2.0).abs() < 1e-2, "{weights:?}");
        assert!((weights[..3].iter().sum::<f64>() - 2.0).abs() < 1e-2, "{weights:?}");
    }

    #[test]
    fn equal_rewards_are_half_sure_and_never_right() {
        let head = Head::fresh(Widths { inputs: 2, hidden: 0, outputs: 1 }, Seed(0));
        let pairs = vec![[vec![1.0, 2.0], vec![1.0, 2.0]]; 10];
        assert!((calibration(&head, &pairs, 5).unwrap() - 0.5).abs() < 1e-9);
    }
}
