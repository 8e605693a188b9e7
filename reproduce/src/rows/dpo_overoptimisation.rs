//! Over-optimisation without a reward model: gold reward against divergence, for three losses over seven betas.
//!
//! ```text
//! gain(d) = d (a - b ln d),   d = sqrt KL(pi || pi_ref)
//! gold    = half a drawn reward + what the first two tokens 0 earn - 2 for each one more
//! ```
//! The policy shares what it learns among histories that end alike, so it cannot count: preferences of texts with few tokens
//! 0 teach it to write them, and it goes on where it is no longer wanted. That is the part length has in the paper.

use anyhow::Result;
use ascribe::core::{Objective, Seed};
use ascribe::eval::curve::{OverOptimization, Saturated, fit_over_optimization};
use ascribe::preference::objectives::{DpoConfig, HingeConfig, IpoConfig};

use crate::row::{Claim, Figures, Row};
use crate::tabular::{Table, Training, last};
use crate::world::{Gold, PROMPTS, World, bradley_terry};

const LENGTH: usize = 5;
const PAIRS: usize = 512;
const STEPS: usize = 200;
const BETAS: [f64; 7] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0];

/// The claims of the scaling laws of direct alignment.
pub const ROW: Row = Row {
    name: "dpo-overoptimisation",
    paper: "Scaling Laws for Reward Model Overoptimization in Direct Alignment Algorithms, arXiv:2406.02900",
    setting: "4 prompts with 1024 texts each, 512 pairs labelled by a Bradley-Terry rater, 200 steps at each of seven betas; \
              gold reward and divergence are exact; errors of fits are means over the three losses, over two coefficients each",
    seeds: 30,
    claims: &[
        Claim {
            says: "DPO earns more gold at its best beta than at the smallest",
            more: "gold of DPO at its best",
            less: "gold of DPO at the smallest beta",
        },
        Claim { says: "so does IPO", more: "gold of IPO at its best", less: "gold of IPO at the smallest beta" },
        Claim { says: "so does SLiC", more: "gold of SLiC at its best", less: "gold of SLiC at the smallest beta" },
        Claim {
            says: "at the smallest beta DPO has more gold after a fifth of training than at its end",
            more: "gold of DPO at the smallest beta, early",
            less: "gold of DPO at the smallest beta",
        },
        Claim {
            says: "the law misses gold by less than a straight line does",
            more: "error of a line",
            less: "error of the law",
        },
        Claim {
            says: "the law misses gold by less than a quadratic in the divergence does",
            more: "error of a quadratic",
            less: "error of the law",
        },
    ],
    tried: "Eight seeds left two claims open, so there are 30. Law and quadratic have two coefficients each and both bend down; seven \
            points a loss hardly tell them apart.",
    run,
};

fn run(seed: Seed) -> Result<Figures> {
    let gold = Gold::drawn(LENGTH, seed)?;
    let world = World::new(LENGTH, seed, |path| {
        let count = path[1..].iter().filter(|token| **token == 0).count() as f64;
        0.5 * gold.of(path) + count.min(2.0) - 2.0 * (count - 2.0).max(0.0)
    })?;
    let pairs = world.pairs(&PROMPTS, PAIRS, seed, bradley_terry)?;
    let start = world.gold(&world.reference)?;
    let table = Table { world: &world, reference: &world.reference, state: last };
    let training = Training { steps: STEPS, rate: 0.1, seed };
    let mut figures = Figures::new();
    let (mut law, mut line, mut quadratic) = (0.0, 0.0, 0.0);
    for name in ["DPO", "IPO", "SLiC"] {
        let (mut distances, mut gains) = (Vec::new(), Vec::new());
        for beta in BETAS {
            let objective = objective(name, beta)?;
            let stages = table.stages(objective.as_ref(), &pairs, training, &[STEPS / 5, STEPS])?;
            if beta == BETAS[0] {
                figures.push((format!("gold of {name} at the smallest beta, early"), world.gold(&stages[0])? - start));
            }
            distances.push(world.divergence(&stages[1])?.sqrt());
            gains.push(world.gold(&stages[1])? - start);
        }
        let best = gains.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        figures.push((format!("gold of {name} at its best"), best));
        figures.push((format!("gold of {name} at the smallest beta"), gains[0]));
        let error = |form| -> Result<f64> {
            Ok(fit_over_optimization(&distances, &gains, None, form, Saturated::Refuse)?.rmse / 3.0)
        };
        law += error(OverOptimization::Rl)?;
        quadratic += error(OverOptimization::QuadraticInKl)?;
        line += error_of_a_line(&distances, &gains) / 3.0;
    }
    figures.push(("error of the law".into(), law));
    figures.push(("error of a quadratic".into(), quadratic));
    figures.push(("error of a line".into(), line));
    Ok(figures)
}

fn objective(name: &str, beta: f64) -> Result<Box<dyn Objective>> {
    let objective: Box<dyn Objective> = match name {
        "DPO" => Box::new(DpoConfig { beta, ..DpoConfig::default() }.init()?),
        "IPO" => Box::new(IpoConfig { beta, length_normalized: false, ..IpoConfig::default() }.init()?),
        // The paper's SLiC is the hinge on the margin against the reference.
        _ => Box::new(HingeConfig { beta, ..HingeConfig::default() }.init()?),
    };
    Ok(objective)
}

/// The root mean square residual of the least-squares line, with an intercept.
fn error_of_a_line(x: &[f64], y: &[f64]) -> f64 {
    let n = x.len() as f64;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / n;
    let (centre, height) = (mean(x), mean(y));
    let both: f64 = x.iter().zip(y).map(|(x, y)| (x - centre) * (y - height)).sum();
    let slope = both / x.iter().map(|x| (x - centre).powi(2)).sum::<f64>();
    (x.iter().zip(y).map(|(x, y)| (y - height - slope * (x - centre)).powi(2)).sum::<f64>() / n).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_misses_by_hand() {
        // The best line through (0, 0), (1, 1), (2, 0) is 1/3: squares 1/9, 4/9, 1/9, mean 2/9.
        assert!((error_of_a_line(&[0.0, 1.0, 2.0], &[0.0, 1.0, 0.0]) - (2.0f64 / 9.0).sqrt()).abs() < 1e-12);
        assert!(error_of_a_line(&[0.0, 1.0, 3.0], &[1.0, 3.0, 7.0]) < 1e-12);
    }
}
