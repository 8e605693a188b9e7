//! Cyclical curriculum learning: epochs with a part of the pairs that grows and shrinks, the easy ones more often.
//!
//! Easy is what a head that was trained without a curriculum has little loss on. All arms take the same number of steps from the
//! same first weights.

use anyhow::Result;
use ascribe::core::Seed;
use ascribe::data::{Curriculum, Cyclical, Ease};
use ascribe::reward::losses::BradleyTerryConfig;
use ascribe::worlds::{Annotator, Taste};

use crate::heads::{BATCH, Head, Pair, Sample, Training, Widths, train, train_by};
use crate::row::{Claim, Figures, Row};

const FEATURES: usize = 16;
const BENDS: usize = 4;
const PAIRS: usize = 600;
const FLIPS: f64 = 0.2;
const PASSES: f64 = 15.0;
const TESTS: usize = 4000;

/// The claims of the cyclical curriculum.
pub const ROW: Row = Row {
    name: "cyclical-curriculum",
    paper: "Cyclical Curriculum Learning, arXiv:2202.05531",
    setting: "a gold reward of 16 features with 4 products, 600 pairs of which 20 % are turned, two-layer heads, 15 passes in parts \
              of a quarter, a half and all; accuracy on 4000 pairs ordered by gold",
    seeds: 10,
    claims: &[
        Claim { says: "the cyclical curriculum is better than none", more: "cyclical", less: "no curriculum" },
        Claim {
            says: "easy pairs more often is better than hard ones more often",
            more: "cyclical",
            less: "cyclical, hard ones first",
        },
    ],
    run,
};

fn run(seed: Seed) -> Result<Figures> {
    let taste = Taste::draw(FEATURES, BENDS, seed)?;
    let annotator = Annotator { flips: FLIPS, ..Annotator::default() };
    let pairs = annotator.comparisons(&taste, PAIRS, &mut seed.stream("pairs", 0));
    let rows: Vec<Sample> = pairs.iter().map(|pair| Sample::pair(&pair.chosen, &pair.rejected)).collect();
    let tests = Annotator::default().comparisons(&taste, TESTS, &mut seed.stream("tests", 0));
    let tests: Vec<Pair> = tests.into_iter().map(|pair| [pair.chosen, pair.rejected]).collect();
    let loss = BradleyTerryConfig::default().init()?;
    let fresh = || Head::fresh(Widths { inputs: FEATURES, hidden: 32, outputs: 1 }, seed.child("head", 0));

    let fractions = Cyclical::default().fractions(PASSES)?;
    // Steps do not depend on what is easy.
    let steps = Curriculum::new(vec![0.0; PAIRS], fractions.clone(), 1, seed)?.batches(BATCH);
    let training = Training { steps, rate: 1e-2, seed };
    let plain = train(fresh(), &loss, &rows, training)?;

    let side = |at: usize| plain.rewards(&rows.iter().map(|row| row.responses[at].clone()).collect::<Vec<_>>());
    let (chosen, rejected) = (side(0), side(1));
    let losses: Vec<f64> =
        chosen.iter().zip(&rejected).map(|(chosen, rejected)| (rejected - chosen).exp().ln_1p()).collect();
    let cyclical = |anti: bool| -> Result<f64> {
        let curriculum = Curriculum::new(Ease::Loss.log_weights(&losses, anti)?, fractions.clone(), BATCH, seed)?;
        Ok(train_by(fresh(), &loss, &rows, curriculum, training)?.accuracy(&tests))
    };
    Ok(vec![
        ("no curriculum".into(), plain.accuracy(&tests)),
        ("cyclical".into(), cyclical(false)?),
        ("cyclical, hard ones first".into(), cyclical(true)?),
    ])
}
