//! Constrained RLHF: rewards that are good up to a point, held there by Lagrange multipliers, against fixed weights.
//!
//! ```text
//! gold = sum_i min(r_i, peak_i) - 2 max(0, r_i - peak_i)        two rewards with a shared part
//! ```
//! A run with fixed weights says where the outside metric peaks: these are the thresholds, as in the paper. Each reward and the
//! divergence have an advantage of their own; the multipliers mix them and make a step behind each step of the policy.

use anyhow::Result;
use ascribe::core::advantage::{Advantage, AdvantageEstimator, Baseline, Outcome};
use ascribe::core::{CoreError, Episode, Scorer, Seed, rule};
use ascribe::eval::curve::{proxy_points, violation};
use ascribe::preference::rl::{PolicyLoss, Rollout};
use ascribe::reward::constrain::{Constraint, LagrangeConfig};
use ascribe::worlds::TreePolicy;

use crate::heads::mean;
use crate::judge::{Judge, fill};
use crate::rollouts::{Plan, Writer, ppo, prompts};
use crate::row::{Claim, Figures, Row};
use crate::tabular::{Table, place_and_last};
use crate::world::{Gold, World};

const LENGTH: usize = 5;
const GENERATIONS: usize = 120;
const PEAKS: [f64; 2] = [1.0, 0.6];
/// Share of the first reward in the second.
const SHARED: f64 = 0.5;

/// The claims of constrained RLHF.
pub const ROW: Row = Row {
    name: "constrained",
    paper: "Confronting Reward Model Overoptimization with Constrained RLHF, arXiv:2310.04373",
    setting: "4 prompts with 1024 texts each, two correlated rewards, of which gold wants the first up to 1 and the second up to 0.6 \
              and falls twice as fast beyond; 120 generations of 64 texts without a critic; thresholds are where gold peaks in the \
              run with fixed weights; over the last quarter of training",
    seeds: 12,
    claims: &[
        Claim {
            says: "held at the thresholds (equalities), the policy earns more gold than by fixed weights",
            more: "gold by equalities",
            less: "gold by fixed weights",
        },
        Claim {
            says: "held above the thresholds (inequalities), it earns more gold than by fixed weights",
            more: "gold by inequalities",
            less: "gold by fixed weights",
        },
        Claim {
            says: "fixed weights pass the thresholds by more than equalities",
            more: "excess by fixed weights",
            less: "excess by equalities",
        },
        Claim {
            says: "fixed weights lose gold from their best generation to their last",
            more: "gold by fixed weights, best",
            less: "gold by fixed weights",
        },
    ],
    tried: "",
    run,
};

/// The world, and its two rewards.
struct Task {
    world: World,
    rewards: [Gold; 2],
}

/// The expected gold and rewards after each generation.
struct Curves {
    gold: Vec<f64>,
    rewards: [Vec<f64>; 2],
}

impl Task {
    fn drawn(seed: Seed) -> Result<Self> {
        let rewards = [Gold::drawn(LENGTH, seed)?, Gold::drawn(LENGTH, seed.child("second", 0))?];
        let world = World::new(LENGTH, seed, |path| {
            let worth = |(reward, peak): (f64, f64)| reward.min(peak) - 2.0 * (reward - peak).max(0.0);
            both(&rewards, path).into_iter().zip(PEAKS).map(worth).sum()
        })?;
        Ok(Self { world, rewards })
    }

    /// The rewards of a text.
    fn of(&self, path: &[u32]) -> [f64; 2] {
        both(&self.rewards, path)
    }

    fn curves(&self, policies: &[TreePolicy]) -> Result<Curves> {
        let texts: Vec<[f64; 2]> = self.world.tree.leaves().map(|(path, _)| self.of(&path)).collect();
        let gold = policies.iter().map(|policy| self.world.gold(policy)).collect::<Result<Vec<f64>>>()?;
        let expected = |at: usize| {
            let of = |policy: &TreePolicy| {
                policy.leaf_probabilities().iter().zip(&texts).map(|(odds, rewards)| odds * rewards[at]).sum::<f64>()
            };
            policies.iter().map(of).collect::<Vec<f64>>()
        };
        Ok(Curves { gold, rewards: [expected(0), expected(1)] })
    }

    /// Learns by a credit, and says how that went.
    fn learned(
        &self,
        seed: Seed,
        credit: &mut dyn FnMut(&mut Vec<Rollout>) -> Result<(), CoreError>,
    ) -> Result<Curves> {
        let table = Table { world: &self.world, reference: &self.world.reference, state: place_and_last };
        let (prompts, loss) = (prompts(), PolicyLoss { value: None, ..ppo() });
        let writer = Writer { table: &table, prompts: &prompts, length: LENGTH, loss: &loss };
        let plan = Plan { generations: GENERATIONS, samples: 16, passes: 2, rate: 0.03, seed };
        self.curves(&writer.generations(plan, credit)?)
    }

    /// A weight of 1 for each of both rewards, and for the divergence.
    fn by_fixed_weights(&self, seed: Seed) -> Result<Curves> {
        self.learned(seed, &mut |rollouts| {
            let channels = self.channels(rollouts)?;
            let count: usize = rollouts.iter().map(|rollout| rollout.response.len()).sum();
            let mut mixed = vec![0.0; count];
            for channel in &channels {
                mixed.iter_mut().zip(standard(channel)).for_each(|(mixed, advantage)| *mixed += advantage);
            }
            give(rollouts, &mixed);
            Ok(())
        })
    }

    fn by_multipliers(&self, constraint: Constraint, thresholds: &[f64], seed: Seed) -> Result<Curves> {
        let config = LagrangeConfig { thresholds: thresholds.to_vec(), constraint, ..LagrangeConfig::default() };
        let mut multipliers = config.init(&mut seed.stream("multipliers", 0))?;
        self.learned(seed, &mut |rollouts| {
            let [divergence, rewards @ ..] = self.channels(rollouts)?;
            let mixed = multipliers.mix(&divergence, &rewards)?;
            let means = [0, 1].map(|at| {
                let of = |rollout: &Rollout| self.of(&rollout.prompt.followed_by(&rollout.response))[at];
                mean(&rollouts.iter().map(of).collect::<Vec<f64>>())
            });
            multipliers.update(&means)?;
            give(rollouts, &mixed);
            Ok(())
        })
    }

    /// The advantages of all tokens, one text after another: of the divergence, and of each reward.
    fn channels(&self, rollouts: &mut [Rollout]) -> Result<[Vec<f64>; 3], CoreError> {
        let [first, second] = [0, 1].map(|at| rule(move |episode: &Episode| self.of(&episode.tokens)[at] as f32));
        let nothing = rule(|_| 0.0);
        let flat = |scorer: &dyn Scorer, kl: f64, baseline: Baseline, rollouts: &mut [Rollout]| {
            let estimator = Outcome::new(baseline);
            let graded = Judge { kl, ..Judge::new(scorer, &estimator) }.graded(rollouts)?;
            let advantages = estimator.estimate(&graded)?;
            Ok::<_, CoreError>(advantages.into_iter().flat_map(|advantage| advantage.tokens).collect::<Vec<f64>>())
        };
        let divergence = flat(&nothing, 1.0, Baseline::None, rollouts)?;
        let first = flat(&first, 0.0, Baseline::GroupMean, rollouts)?;
        Ok([divergence, first, flat(&second, 0.0, Baseline::GroupMean, rollouts)?])
    }
}

/// Both rewards of a text: the second has a share of the first, and the same deviation.
fn both(rewards: &[Gold; 2], path: &[u32]) -> [f64; 2] {
    let [first, own] = rewards.each_ref().map(|reward| reward.of(path));
    [first, SHARED * first + (1.0 - SHARED * SHARED).sqrt() * own]
}

/// Mean 0 and deviation 1.
fn standard(values: &[f64]) -> Vec<f64> {
    let centre = mean(values);
    let deviation = mean(&values.iter().map(|value| (value - centre).powi(2)).collect::<Vec<f64>>()).sqrt();
    values.iter().map(|value| (value - centre) / (deviation + 1e-8)).collect()
}

/// Gives each text its part of the advantages.
fn give(rollouts: &mut Vec<Rollout>, mixed: &[f64]) {
    let mut start = 0;
    let mut advantages = Vec::with_capacity(rollouts.len());
    for rollout in rollouts.iter() {
        let end = start + rollout.response.len();
        advantages.push(Advantage { tokens: mixed[start..end].to_vec(), returns: Vec::new() });
        start = end;
    }
    fill(rollouts, advantages);
}

fn run(seed: Seed) -> Result<Figures> {
    let task = Task::drawn(seed)?;
    let fixed = task.by_fixed_weights(seed)?;
    let [first, second] = &fixed.rewards;
    let thresholds = proxy_points(&fixed.gold, &[first.as_slice(), second.as_slice()])?;
    let equal = task.by_multipliers(Constraint::Equality, &thresholds, seed)?;
    let above = task.by_multipliers(Constraint::Inequality, &thresholds, seed)?;
    let late = 3 * GENERATIONS / 4;
    let excess = |curves: &Curves| -> Result<f64> {
        let mut sum = 0.0;
        for (rewards, threshold) in curves.rewards.iter().zip(&thresholds) {
            sum += violation(&rewards[late..], *threshold, 1.0)?.mean;
        }
        Ok(sum)
    };
    Ok(vec![
        ("gold by fixed weights".into(), mean(&fixed.gold[late..])),
        ("gold by fixed weights, best".into(), fixed.gold.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
        ("gold by equalities".into(), mean(&equal.gold[late..])),
        ("gold by inequalities".into(), mean(&above.gold[late..])),
        ("excess by fixed weights".into(), excess(&fixed)?),
        ("excess by equalities".into(), excess(&equal)?),
        ("excess by inequalities".into(), excess(&above)?),
    ])
}
