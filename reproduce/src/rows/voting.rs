//! Secrets of RLHF II: a vote of reward models tells which labels are wrong, and what to do with them.
//!
//! Ten two-layer heads vote on the pairs that they learned from, each on its own scale. A fresh head then learns from the pairs
//! after each treatment, and from the tenth that the vote is most against.

use anyhow::Result;
use ascribe::core::Seed;
use ascribe::reward::losses::{BradleyTerryConfig, PairLabel};
use ascribe::reward::weights::{Treated, Treatment, lowest, strengths, treat};
use ascribe::worlds::{Annotator, Taste};

use crate::heads::{Head, Pair, Sample, Training, Widths, mean, standardized, train};
use crate::row::{Claim, Figures, Row};

const FEATURES: usize = 16;
const BENDS: usize = 4;
const PAIRS: usize = 600;
const TESTS: usize = 2000;
const FLIPS: f64 = 0.3;
const MEMBERS: u64 = 10;
const STEPS: usize = 200;

/// The claims of voting.
pub const ROW: Row = Row {
    name: "voting",
    paper: "Secrets of RLHF in Large Language Models Part II: Reward Modeling, arXiv:2401.06080",
    setting: "a gold reward of 16 features with 4 products, 600 pairs of which 30 % are flipped, ten voters; accuracy, and the \
              mean of -log sigmoid of the margin, on 2000 pairs ordered by gold",
    seeds: 20,
    claims: &[
        Claim { says: "flipping what the vote is against helps", more: "flipped", less: "untreated" },
        Claim { says: "the vote as a margin helps", more: "margin", less: "untreated" },
        Claim {
            says: "the vote as a margin, and doubts smoothed, help",
            more: "smoothed and margin",
            less: "untreated",
        },
        Claim { says: "smoothing every label helps", more: "smoothed", less: "untreated" },
        Claim {
            says: "smoothing every label makes what the head says of pairs less wrong (log loss)",
            more: "log loss, untreated",
            less: "log loss, smoothed",
        },
        Claim { says: "the lowest tenth teaches the opposite", more: "50 %", less: "lowest tenth" },
        Claim { says: "the lowest tenth teaches once it is flipped", more: "lowest tenth flipped", less: "50 %" },
    ],
    tried: "Smoothing is held against the order of pairs and against the log loss. The paper smooths to keep a large model from \
            being too sure, for PPO's sake; it treats right and wrong labels alike, and does not mend the order.",
    run,
};

fn run(seed: Seed) -> Result<Figures> {
    let taste = Taste::draw(FEATURES, BENDS, seed)?;
    let annotator = Annotator { flips: FLIPS, ..Annotator::default() };
    let pairs = annotator.comparisons(&taste, PAIRS, &mut seed.stream("pairs", 0));
    let loss = BradleyTerryConfig { labelled: true, ..BradleyTerryConfig::default() }.init()?;
    let learn = |rows: &[Sample], name: &str, number: u64| {
        let own = seed.child(name, number);
        let head = Head::fresh(Widths { inputs: FEATURES, hidden: 32, outputs: 1 }, own);
        train(head, &loss, rows, Training { steps: STEPS, rate: 1e-2, seed: own })
    };
    let row = |at: usize, treated: &Treated| {
        let (chosen, rejected) = (&pairs[at].chosen, &pairs[at].rejected);
        let sides = if treated.flipped { (rejected, chosen) } else { (chosen, rejected) };
        Sample { labels: PairLabel::columns(&[treated.label]), ..Sample::pair(sides.0, sides.1) }
    };
    let untreated = vec![Treated { flipped: false, label: PairLabel::PLAIN }; PAIRS];
    let rows_of =
        |treated: &[Treated]| -> Vec<Sample> { treated.iter().enumerate().map(|(at, it)| row(at, it)).collect() };
    let plain = rows_of(&untreated);
    let responses: Vec<Vec<f64>> =
        pairs.iter().map(|pair| pair.chosen.clone()).chain(pairs.iter().map(|pair| pair.rejected.clone())).collect();
    let (mut chosen, mut rejected) = (Vec::new(), Vec::new());
    for member in 0..MEMBERS {
        let rewards = standardized(learn(&plain, "voter", member)?.rewards(&responses))?;
        chosen.push(rewards[..PAIRS].to_vec());
        rejected.push(rewards[PAIRS..].to_vec());
    }
    let votes = strengths(&chosen, &rejected, 0)?;
    let tests = Annotator::default().comparisons(&taste, TESTS, &mut seed.stream("tests", 0));
    let tests: Vec<Pair> = tests.into_iter().map(|pair| [pair.chosen, pair.rejected]).collect();
    let mut figures = vec![("50 %".to_owned(), 0.5)];
    let mut tell = |name: &str, rows: &[Sample]| -> Result<()> {
        let student = learn(rows, "student", 0)?;
        figures.push((name.to_owned(), student.accuracy(&tests)));
        figures.push((format!("log loss, {name}"), log_loss(&student, &tests)));
        Ok(())
    };
    tell("untreated", &plain)?;
    for (name, treatment) in [
        ("flipped", Treatment::Flip),
        ("smoothed", Treatment::Smooth(0.1)),
        ("margin", Treatment::Margin { floor: 0.0, cap: 3.0 }),
        ("smoothed and margin", Treatment::SmoothAndMargin { a: 0.1, floor: 0.0, cap: 3.0 }),
    ] {
        tell(name, &rows_of(&treat(&votes, treatment)?))?;
    }
    let least = lowest(&votes, 0.1)?;
    for (name, flipped) in [("lowest tenth", false), ("lowest tenth flipped", true)] {
        let treated = Treated { flipped, label: PairLabel::PLAIN };
        let rows: Vec<Sample> = least.iter().map(|at| row(*at, &treated)).collect();
        tell(name, &rows)?;
    }
    Ok(figures)
}

/// The mean over pairs of `-log sigmoid` of what the first response is ahead by.
fn log_loss(head: &Head, pairs: &[Pair]) -> f64 {
    let side = |at: usize| head.rewards(&pairs.iter().map(|pair| pair[at].clone()).collect::<Vec<_>>());
    let term = |(first, second): (f64, f64)| {
        let ahead = first - second;
        (-ahead).max(0.0) + (-ahead.abs()).exp().ln_1p()
    };
    mean(&side(0).into_iter().zip(side(1)).map(term).collect::<Vec<f64>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_loss_of_a_margin_and_of_its_opposite_differ_by_the_margin() {
        // ln(1 + e^-d) and ln(1 + e^d) differ by d, and are ln 2 for two alike.
        let head = Head::fresh(Widths { inputs: 2, hidden: 0, outputs: 1 }, Seed(1));
        let (one, other) = (vec![1.0, 0.5], vec![-2.0, 1.0]);
        let rewards = head.rewards(&[one.clone(), other.clone()]);
        let ahead = rewards[0] - rewards[1];
        let [straight, turned, alike] =
            [[&one, &other], [&other, &one], [&one, &one]].map(|pair| log_loss(&head, &[pair.map(Vec::clone)]));
        assert!((turned - straight - ahead).abs() < 1e-6 && (alike - 2f64.ln()).abs() < 1e-12);
    }
}
