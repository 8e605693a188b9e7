//! Cyclical curriculum learning: parts of the data that grow and shrink, easy pairs first among them, for a reward model.
//!
//! A two-layer head learns by Bradley and Terry from pairs of which a quarter is turned, or none, as in the paper. How easy a pair
//! is, the model of the usual training says by its loss. All arms see as many rows in as many steps, and begin with the same
//! weights.

use anyhow::Result;
use ascribe::core::Seed;
use ascribe::data::{Curriculum, Cyclical, Ease};
use ascribe::reward::losses::BradleyTerryConfig;
use ascribe::worlds::{Annotator, Taste};

use crate::heads::{BATCH, Head, Pair, Sample, Widths, train_by};
use crate::row::{Claim, Figures, Row};

const FEATURES: usize = 16;
const BENDS: usize = 8;
const PAIRS: usize = 512;
const FLIPS: f64 = 0.25;
const TESTS: usize = 2000;
/// Passes over the data; eight cycles of 1/4, 1/2, all and 1/2 of it.
const PASSES: usize = 18;
const RATE: f64 = 1e-2;

/// The claims of cyclical curricula.
pub const ROW: Row = Row {
    name: "cyclical-curriculum",
    paper: "Cyclical Curriculum Learning, arXiv:2202.05531",
    setting: "a gold reward of 16 features with 8 products, 512 pairs of which 25 % are turned, or none, two-layer heads, 18 \
              passes over the data in 288 steps; cyclical: a quarter, half, all and half of the rows, eight times; monotone: a \
              quarter for 8 epochs, half for 8, all for 12; rows are drawn by one over their loss after the usual training; \
              accuracy on 2000 new pairs without faults",
    seeds: 60,
    claims: &[
        Claim {
            says: "the cyclical curriculum is right more often than the usual training",
            more: "accuracy of cyclical",
            less: "accuracy of usual",
        },
        Claim {
            says: "it is right more often than a monotone one",
            more: "accuracy of cyclical",
            less: "accuracy of monotone",
        },
        Claim {
            says: "it is right more often than cycles of rows that are drawn evenly",
            more: "accuracy of cyclical",
            less: "accuracy of cycles, drawn evenly",
        },
        Claim {
            says: "where no pair is turned, it is right more often than the usual training",
            more: "accuracy of cyclical, none turned",
            less: "accuracy of usual, none turned",
        },
        Claim {
            says: "and than a monotone one",
            more: "accuracy of cyclical, none turned",
            less: "accuracy of monotone, none turned",
        },
        Claim {
            says: "and than cycles of rows that are drawn evenly",
            more: "accuracy of cyclical, none turned",
            less: "accuracy of cycles, drawn evenly, none turned",
        },
    ],
    tried: "With 12 seeds and a quarter of the pairs turned, cyclical and usual training came to 0.672 and 0.674, a difference of \
            -0.002 [-0.011, +0.007], and a monotone curriculum to 0.668; so there are 60 seeds, and arms without turned pairs, \
            which the paper's data do not have by design.",
    run,
};

fn run(seed: Seed) -> Result<Figures> {
    let taste = Taste::draw(FEATURES, BENDS, seed)?;
    let tests = Annotator::default().comparisons(&taste, TESTS, &mut seed.stream("tests", 0));
    let tests: Vec<Pair> = tests.into_iter().map(|pair| [pair.chosen, pair.rejected]).collect();
    let mut figures = Figures::new();
    for (name, flips) in [("", FLIPS), (", none turned", 0.0)] {
        let annotator = Annotator { flips, ..Annotator::default() };
        let pairs = annotator.comparisons(&taste, PAIRS, &mut seed.stream("pairs", 0));
        let rows: Vec<Sample> = pairs.iter().map(|pair| Sample::pair(&pair.chosen, &pair.rejected)).collect();
        let arms = accuracies(&rows, &tests, seed)?;
        figures.extend(arms.map(|(arm, accuracy)| (format!("accuracy of {arm}{name}"), accuracy)));
    }
    Ok(figures)
}

/// How often the head of each arm is right about new pairs.
fn accuracies(rows: &[Sample], tests: &[Pair], seed: Seed) -> Result<[(&'static str, f64); 4]> {
    let loss = BradleyTerryConfig::default().init()?;
    let trained = |log_weights: &[f64], fractions: Vec<f64>| -> Result<Head> {
        let curriculum = Curriculum::new(log_weights.to_vec(), fractions, BATCH, seed)?;
        let head = Head::fresh(Widths { inputs: FEATURES, hidden: 32, outputs: 1 }, seed);
        train_by(curriculum, head, &loss, rows, RATE)
    };
    let evenly = vec![0.0; PAIRS];
    let usual = trained(&evenly, vec![1.0; PASSES])?;
    let easy_first = Ease::Loss.log_weights(&losses(&usual, rows), false)?;
    let cycles = Cyclical::default().fractions(PASSES as f64)?;
    let monotone = [vec![0.25; 8], vec![0.5; 8], vec![1.0; 12]].concat();
    Ok([
        ("usual", usual.accuracy(tests)),
        ("cyclical", trained(&easy_first, cycles.clone())?.accuracy(tests)),
        ("monotone", trained(&easy_first, monotone)?.accuracy(tests)),
        ("cycles, drawn evenly", trained(&evenly, cycles)?.accuracy(tests)),
    ])
}

/// The loss of each pair, `-log sigmoid(r_chosen - r_rejected)`.
fn losses(head: &Head, rows: &[Sample]) -> Vec<f64> {
    let side = |at: usize| head.rewards(&rows.iter().map(|row| row.responses[at].clone()).collect::<Vec<_>>());
    side(0).into_iter().zip(side(1)).map(|(chosen, rejected)| (rejected - chosen).exp().ln_1p()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_arms_see_as_many_rows() {
        let cycles = Cyclical::default().fractions(PASSES as f64).unwrap();
        assert_eq!((cycles.len(), cycles.iter().sum::<f64>()), (32, PASSES as f64));
        let curriculum = |fractions: Vec<f64>| Curriculum::new(vec![0.0; PAIRS], fractions, BATCH, Seed(0)).unwrap();
        assert_eq!([curriculum(cycles), curriculum(vec![1.0; PASSES])].map(|arm| arm.batches(BATCH)), [288; 2]);
    }

    #[test]
    fn a_pair_that_is_even_costs_the_logarithm_of_two() {
        let head = Head::fresh(Widths { inputs: 2, hidden: 0, outputs: 1 }, Seed(0));
        let rows = [Sample::pair(&[1.0, 2.0], &[1.0, 2.0]), Sample::pair(&[3.0, 0.0], &[0.0, 3.0])];
        let [even, one] = losses(&head, &rows)[..] else { panic!("a loss a pair") };
        let turned = losses(&head, &[Sample::pair(&[0.0, 3.0], &[3.0, 0.0])])[0];
        assert!((even - 2f64.ln()).abs() < 1e-12);
        // The odds of one way and of the other sum to 1.
        assert!(((-one).exp() + (-turned).exp() - 1.0).abs() < 1e-6);
    }
}
