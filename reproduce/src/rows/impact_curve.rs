//! How price answers order flow: in proportion to small imbalances, and less to large ones.
//!
//! The true answer is a hyperbolic tangent with noise. Which law holds where is asked of the fitted bend, and a law of small flows
//! is asked about large ones.

use anyhow::Result;
use ascribe::core::Seed;
use ascribe::eval::Bootstrap;
use ascribe::eval::curve::response;

use crate::heads::mean;
use crate::row::{Claim, Figures, Row};
use crate::world::normal;

const MARKETS: u64 = 10;
const FLOWS: usize = 1000;
/// The flow at which the answer begins to level off, and the largest that is called small, in deviations of flows.
const LEVELS: f64 = 2.0;
const SMALL: f64 = 0.5;
const LARGE: f64 = 1.5;
const NOISE: f64 = 0.3;

/// The claims of the study of market impact.
pub const ROW: Row = Row {
    name: "impact-curve",
    paper: "Empirical Study of Market Impact Conditional on Order-Flow Imbalance",
    setting: "domain-only: 10 synthetic markets of 1000 flows, normal, with an answer that levels off at two deviations; intervals \
              of the bend by 200 resamples; the law of flows below half a deviation, and how far it overshoots there and above \
              one and a half",
    seeds: 12,
    claims: &[
        Claim {
            says: "saturation is found over all flows, and not over small ones, which answer by a linear law",
            more: "saturated, all flows",
            less: "saturated, small flows",
        },
        Claim {
            says: "the linear law of small flows promises too much of large ones",
            more: "overshoot, large flows",
            less: "overshoot, small flows",
        },
    ],
    tried: "",
    run,
};

fn run(seed: Seed) -> Result<Figures> {
    let mut saturated: [Vec<f64>; 2] = Default::default();
    let mut overshoot: [Vec<f64>; 2] = Default::default();
    for market in 0..MARKETS {
        let mut stream = seed.stream("market", market);
        let flows: Vec<f64> = (0..FLOWS).map(|_| normal(&mut stream)).collect();
        let answers: Vec<f64> =
            flows.iter().map(|flow| LEVELS * (flow / LEVELS).tanh() + NOISE * normal(&mut stream)).collect();
        let bootstrap = Bootstrap { resamples: 200, seed: seed.child("resamples", market), ..Bootstrap::NONE };
        let (all, small) =
            (response(&flows, &answers, f64::INFINITY, &bootstrap)?, response(&flows, &answers, SMALL, &bootstrap)?);
        for (saturated, found) in saturated.iter_mut().zip([all, small]) {
            saturated.push(f64::from(u8::from(found.saturates())));
        }
        let slope = small.slope.value;
        let ranges: [fn(f64) -> bool; 2] = [|size| size >= LARGE, |size| size <= SMALL];
        for (overshoot, is_asked) in overshoot.iter_mut().zip(ranges) {
            let asked = flows.iter().zip(&answers).filter(|(flow, _)| is_asked(flow.abs()));
            let beyond = asked.map(|(flow, answer)| flow.signum() * (slope * flow - answer));
            overshoot.push(mean(&beyond.collect::<Vec<f64>>()));
        }
    }
    Ok(vec![
        ("saturated, all flows".to_owned(), mean(&saturated[0])),
        ("saturated, small flows".to_owned(), mean(&saturated[1])),
        ("overshoot, large flows".to_owned(), mean(&overshoot[0])),
        ("overshoot, small flows".to_owned(), mean(&overshoot[1])),
    ])
}
