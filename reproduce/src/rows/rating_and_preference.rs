//! HelpSteer2-Preference: ratings, preferences, and preferences on top of ratings, on the same responses.
//!
//! One annotator rates every response from 0 to 4 and, independently, compares the two of a pair and says how clear it was. All
//! arms take the same number of steps on the same two-layer head; the combination takes the first part of them by regression and
//! goes on by the scaled loss from there.

use anyhow::Result;
use ascribe::core::Seed;
use ascribe::reward::RewardLoss;
use ascribe::reward::losses::{BradleyTerryConfig, PairLabel, RegressionConfig};
use ascribe::worlds::{Annotator, Taste};

use crate::heads::{Head, Pair, Sample, Training, Widths, train};
use crate::row::{Claim, Figures, Row};

const FEATURES: usize = 16;
const BENDS: usize = 4;
const PAIRS: usize = 1000;
const TESTS: usize = 4000;
const STEPS: [usize; 2] = [150, 100];

/// HelpSteer2-Preference's claims.
pub const ROW: Row = Row {
    name: "rating-and-preference",
    paper: "HelpSteer2-Preference: Complementing Ratings with Preferences, arXiv:2410.01257",
    setting: "a gold reward of 16 features with 4 products, 1000 pairs that one noisy annotator rates and compares, two-layer heads, \
              250 steps an arm; accuracy on 4000 pairs ordered by gold",
    seeds: 30,
    claims: &[
        Claim { says: "strengths as weights are better than the order alone", more: "scaled", less: "Bradley-Terry" },
        Claim { says: "strengths as margins are better than the order alone", more: "margin", less: "Bradley-Terry" },
        Claim {
            says: "regression, then scaled, is better than the order alone",
            more: "combined",
            less: "Bradley-Terry",
        },
        Claim { says: "regression, then scaled, is better than regression", more: "combined", less: "regression" },
        Claim { says: "regression, then scaled, is better than scaled", more: "combined", less: "scaled" },
    ],
    tried: "",
    run,
};

fn run(seed: Seed) -> Result<Figures> {
    let taste = Taste::draw(FEATURES, BENDS, seed)?;
    let annotator = Annotator { noise: 0.7, ..Annotator::default() };
    let mut stream = seed.stream("pairs", 0);
    let pairs = annotator.comparisons(&taste, PAIRS, &mut stream);
    let mut rated = Vec::with_capacity(2 * PAIRS);
    for response in pairs.iter().flat_map(|pair| [&pair.chosen, &pair.rejected]) {
        // Around the middle of the scale, where a fresh head begins.
        let labels = vec![annotator.rating(&taste, response, &mut stream) - 2.0];
        rated.push(Sample { responses: vec![response.clone()], labels });
    }
    let labelled = |label: fn(f64) -> PairLabel| -> Vec<Sample> {
        let one = |pair: &ascribe::worlds::Comparison| {
            let labels = PairLabel::columns(&[label(pair.strength)]);
            Sample { labels, ..Sample::pair(&pair.chosen, &pair.rejected) }
        };
        pairs.iter().map(one).collect()
    };
    let (plain, margin, scaled) =
        (labelled(|_| PairLabel::PLAIN), labelled(PairLabel::margin), labelled(PairLabel::scaled));
    let preference = BradleyTerryConfig { labelled: true, ..BradleyTerryConfig::default() }.init()?;
    let regression = RegressionConfig { attributes: 1, scale: [-2.0, 2.0] }.init()?;
    let fresh = || Head::fresh(Widths { inputs: FEATURES, hidden: 32, outputs: 1 }, seed.child("head", 0));
    let learn = |head: Head, loss: &dyn RewardLoss, rows: &[Sample], steps: usize, rate: f64| {
        train(head, loss, rows, Training { steps, rate, seed })
    };
    let all = STEPS[0] + STEPS[1];
    let rated_first = learn(fresh(), &regression, &rated, STEPS[0], 1e-2)?;
    let heads = [
        ("regression", learn(fresh(), &regression, &rated, all, 1e-2)?),
        ("Bradley-Terry", learn(fresh(), &preference, &plain, all, 1e-2)?),
        ("margin", learn(fresh(), &preference, &margin, all, 1e-2)?),
        ("scaled", learn(fresh(), &preference, &scaled, all, 1e-2)?),
        ("combined", learn(rated_first, &preference, &scaled, STEPS[1], 5e-3)?),
    ];
    let mut stream = seed.stream("tests", 0);
    let tests = Annotator::default().comparisons(&taste, TESTS, &mut stream);
    let tests: Vec<Pair> = tests.into_iter().map(|pair| [pair.chosen, pair.rejected]).collect();
    Ok(heads.into_iter().map(|(name, head)| (name.to_owned(), head.accuracy(&tests))).collect())
}
