//! Ensembles of reward models under PPO: five rewards of few and partly wrong labels, alone and together.
//!
//! A linear reward has one optimum, so what sets members apart is the pairs: each has a resample of them. Members are brought
//! to one scale on texts of the start.

use anyhow::{Context, Result};
use ascribe::core::advantage::{Gae, Normalize, Variance};
use ascribe::core::{Episode, Reduce, Scorer, Seed, Stream};
use ascribe::preference::TrainRow;
use ascribe::reward::{Aggregate, Ensemble, Standard};
use rand::RngExt;

use crate::heads::mean;
use crate::judge::Judge;
use crate::reward_table::RewardTable;
use crate::rollouts::{Plan, Writer, ppo, prompts};
use crate::row::{Claim, Figures, Row};
use crate::tabular::{Table, Training, place_and_last};
use crate::world::{Gold, PROMPTS, World, bradley_terry};

const LENGTH: usize = 5;
const PAIRS: usize = 128;
const TURNED: f64 = 0.25;
const MEMBERS: u64 = 5;
const LAMBDA: f64 = 0.5;

/// The claims of the ensembles under PPO.
pub const ROW: Row = Row {
    name: "ensembles-in-rl",
    paper: "Reward Model Ensembles Help Mitigate Overoptimization, arXiv:2310.02743, under PPO",
    setting: "4 prompts with 1024 texts each, 128 pairs of which 25 % are turned, five reward tables on resamples of them (for \
              networks that differ by their seed), standardised; PPO of 60 generations of 64 texts without a penalty; gold at the \
              end, and at the largest divergence that all arms come to; one reward model is each of the five in turn",
    seeds: 16,
    claims: &[
        Claim { says: "the mean of five is better than one", more: "gold of mean", less: "gold of one" },
        Claim { says: "the worst case of five is better than one", more: "gold of WCO", less: "gold of one" },
        Claim { says: "the mean less half the variance is better than one", more: "gold of UWO", less: "gold of one" },
        Claim {
            says: "at the same divergence the worst case is better than one",
            more: "gold of WCO at the same divergence",
            less: "gold of one at the same divergence",
        },
        Claim {
            says: "at the same divergence the mean less half the variance is better than one",
            more: "gold of UWO at the same divergence",
            less: "gold of one at the same divergence",
        },
    ],
    run,
};

/// Divergence and gold after each generation, from the start on.
type Curve = Vec<(f64, f64)>;

fn run(seed: Seed) -> Result<Figures> {
    let gold = Gold::drawn(LENGTH, seed)?;
    let world = World::new(LENGTH, seed, |path| gold.of(path))?;
    let pairs = world.pairs(&PROMPTS, PAIRS, seed, |difference, stream: &mut Stream| {
        bradley_terry(2.0 * difference, stream) != (stream.random::<f64>() < TURNED)
    })?;
    let episodes: Vec<Episode> = world.tree.leaves().map(|(path, _)| Episode::new(&path[..1], &path[1..])).collect();
    let (mut members, mut standards) = (Vec::new(), Vec::new());
    for member in 0..MEMBERS {
        let own = seed.child("member", member);
        let mut stream = own.stream("resample", 0);
        let again: Vec<TrainRow> =
            (0..pairs.len()).map(|_| pairs[stream.random_range(0..pairs.len())].clone()).collect();
        let training = Training { steps: 200, rate: 0.05, seed: own };
        let reward = RewardTable::trained(&world, place_and_last, &again, training)?;
        let mut rewards = Vec::with_capacity(episodes.len());
        for (credit, episode) in reward.score(&episodes)?.iter().zip(&episodes) {
            rewards.push(f64::from(credit.to_sequence(episode, Reduce::Sum)?));
        }
        standards.push(Standard::fit(&rewards)?);
        members.push(reward);
    }
    let alone = members
        .iter()
        .zip(&standards)
        .map(|(member, standard)| {
            let one = Ensemble::new(vec![member as &dyn Scorer], Aggregate::Mean)?.standardized(vec![*standard])?;
            curve(&world, &one, seed)
        })
        .collect::<Result<Vec<Curve>>>()?;
    let together = |aggregate: Aggregate| -> Result<Curve> {
        let members = members.iter().map(|member| member as &dyn Scorer).collect();
        curve(&world, &Ensemble::new(members, aggregate)?.standardized(standards.clone())?, seed)
    };
    let arms = [together(Aggregate::Mean)?, together(Aggregate::Min)?, together(Aggregate::uwo(LAMBDA))?];
    let furthest = |curve: &Curve| curve.iter().map(|point| point.0).fold(0.0, f64::max);
    let common = arms.iter().chain(&alone).map(furthest).fold(f64::INFINITY, f64::min);
    let end = |curve: &Curve| curve.last().map(|point| point.1).context("a curve has points");
    let mut figures = Figures::new();
    for (name, curve) in ["mean", "WCO", "UWO"].into_iter().zip(&arms) {
        figures.push((format!("gold of {name}"), end(curve)?));
        figures.push((format!("gold of {name} at the same divergence"), at(curve, common)));
    }
    let ends = alone.iter().map(end).collect::<Result<Vec<f64>>>()?;
    figures.push(("gold of one".into(), mean(&ends)));
    let there: Vec<f64> = alone.iter().map(|curve| at(curve, common)).collect();
    figures.push(("gold of one at the same divergence".into(), mean(&there)));
    Ok(figures)
}

/// PPO on a reward.
fn curve(world: &World, reward: &dyn Scorer, seed: Seed) -> Result<Curve> {
    let table = Table { world, reference: &world.reference, state: place_and_last };
    let normalize = Normalize::Whiten { variance: Variance::Unbiased, epsilon: 1e-8 };
    let gae = Gae { gamma: 1.0, lambda: 0.95, normalize };
    let (prompts, loss) = (prompts(), ppo());
    let writer = Writer { table: &table, prompts: &prompts, length: LENGTH, loss: &loss };
    let mut judge = Judge::new(reward, &gae);
    let plan = Plan { generations: 60, samples: 16, passes: 2, rate: 0.05, seed };
    let mut curve = vec![(0.0, world.gold(&world.reference)?)];
    for policy in writer.generations(plan, &mut |rollouts| judge.credit(rollouts))? {
        curve.push((world.divergence(&policy)?, world.gold(&policy)?));
    }
    Ok(curve)
}

/// Gold where a curve first comes to a divergence, on the line between two points.
fn at(curve: &[(f64, f64)], divergence: f64) -> f64 {
    let crossing = curve.windows(2).find(|two| two[0].0 < divergence && divergence <= two[1].0);
    crossing.map_or(curve[0].1, |two| {
        let share = (divergence - two[0].0) / (two[1].0 - two[0].0);
        two[0].1 + share * (two[1].1 - two[0].1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_read_on_its_lines() {
        let curve = [(0.0, 1.0), (2.0, 3.0), (1.0, 9.0), (4.0, 5.0)];
        assert_eq!([0.0, 0.5, 2.0].map(|divergence| at(&curve, divergence)), [1.0, 1.5, 3.0]);
        // From 9 down by two thirds of 4.
        assert!((at(&curve, 3.0) - 19.0 / 3.0).abs() < 1e-12);
    }
}
