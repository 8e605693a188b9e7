//! IBCL: reward heads for any preference over two objectives, out of posteriors that are kept, without training.

use anyhow::Result;
use ascribe::core::Seed;
use ascribe::eval::curve::hypervolume;
use ascribe::reward::Merge;
use ascribe::reward::soup::{KnowledgeBase, Posterior};
use ascribe::worlds::{Annotator, Taste};

use crate::heads::{Pair, mean};
use crate::row::{Claim, Figures, Row};

const FEATURES: usize = 12;
const PAIRS: usize = 300;
/// Posteriors of an objective, each of its own part of the pairs.
const PARTS: usize = 3;
const TESTS: usize = 2000;
/// Preferences from one objective alone to the other alone.
const PREFERENCES: usize = 11;
const RIDGE: f64 = 1.0;

/// IBCL's claims.
pub const ROW: Row = Row {
    name: "trade-offs",
    paper: "IBCL: Zero-shot Model Generation for Task Trade-offs in Continual Learning, arXiv:2305.14782",
    setting: "two gold rewards of 12 features at a right angle, 300 noisy pairs each; three logistic heads of each are kept; 11 \
              preferences; accuracy on 2000 pairs of each objective, weighed by the preference; volume of the front above (1/2, 1/2)",
    seeds: 12,
    claims: &[
        Claim {
            says: "heads made for a preference are better than one head of all pairs",
            more: "zero-shot",
            less: "one head of all pairs",
        },
        Claim {
            says: "they are at most a point behind heads that are trained for each preference",
            more: "zero-shot and a point",
            less: "trained for each preference",
        },
        Claim {
            says: "their front holds more than that of the heads of either objective",
            more: "volume, zero-shot",
            less: "volume, either objective",
        },
    ],
    tried: "",
    run,
};

fn head(pairs: &[Pair]) -> Result<Merge> {
    Ok(Merge::fit(pairs, RIDGE, &[false; FEATURES])?)
}

/// Share of pairs whose first response scores higher.
fn accuracy(head: &Merge, pairs: &[Pair]) -> Result<f64> {
    let mut right = 0;
    for [chosen, rejected] in pairs {
        right += usize::from(head.apply(chosen)? > head.apply(rejected)?);
    }
    Ok(right as f64 / pairs.len() as f64)
}

fn run(seed: Seed) -> Result<Figures> {
    let first = Taste::draw(FEATURES, 0, seed.child("objective", 0))?;
    let second = Taste::draw(FEATURES, 0, seed.child("objective", 1))?.turned_to(&first, 0.0)?;
    let tastes = [first, second];
    let drawn = |annotator: &Annotator, count: usize, name: &str| {
        [0, 1].map(|at: usize| -> Vec<Pair> {
            let pairs = annotator.comparisons(&tastes[at], count, &mut seed.stream(name, at as u64));
            pairs.into_iter().map(|pair| [pair.chosen, pair.rejected]).collect()
        })
    };
    let noisy = Annotator { noise: 0.5, ..Annotator::default() };
    let (training, tests) = (drawn(&noisy, PAIRS, "pairs"), drawn(&Annotator::default(), TESTS, "tests"));
    let mut base = KnowledgeBase::new(0.01)?;
    for pairs in &training {
        let posterior = |part: &[Pair]| -> Result<Posterior> { Ok(Posterior::point(&head(part)?.weights)) };
        base.add(pairs.chunks(PAIRS / PARTS).map(posterior).collect::<Result<Vec<_>>>()?)?;
    }
    let points = |head: &Merge| -> Result<[f64; 2]> { Ok([accuracy(head, &tests[0])?, accuracy(head, &tests[1])?]) };
    let pooled = points(&head(&training.concat())?)?;
    let (mut zero_shot, mut trained, mut of_pooled) = (Vec::new(), Vec::new(), Vec::new());
    let (mut front, mut ends) = (Vec::new(), Vec::new());
    for number in 0..PREFERENCES {
        let weight = number as f64 / (PREFERENCES - 1) as f64;
        let weighed = |points: [f64; 2]| weight * points[0] + (1.0 - weight) * points[1];
        let made = points(&Merge::new(&base.combine(&[weight, 1.0 - weight])?.mean)?)?;
        zero_shot.push(weighed(made));
        of_pooled.push(weighed(pooled));
        let of_first = (weight * PAIRS as f64).round() as usize;
        let mixed = [&training[0][..of_first], &training[1][of_first..]].concat();
        let own = points(&head(&mixed)?)?;
        trained.push(weighed(own));
        front.push(made.to_vec());
        if number == 0 || number + 1 == PREFERENCES {
            ends.push(own.to_vec());
        }
    }
    let chance = [0.5, 0.5];
    Ok(vec![
        ("zero-shot".into(), mean(&zero_shot)),
        ("zero-shot and a point".into(), mean(&zero_shot) + 0.01),
        ("trained for each preference".into(), mean(&trained)),
        ("one head of all pairs".into(), mean(&of_pooled)),
        ("volume, zero-shot".into(), hypervolume(&front, &chance)?),
        ("volume, either objective".into(), hypervolume(&ends, &chance)?),
    ])
}
