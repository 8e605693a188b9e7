//! Ensembles of reward models under PPO: five two-layer heads on the same pairs, alone and together.
//!
//! Heads see which token stands where; that neighbours count as well they have to find out. They differ in their first weights
//! and in the order of the data, and are brought to one scale over all texts. BRME has five uncertain heads above one hidden
//! layer instead, which learn the scores of a reward model that was trained before, each on its own resample of the texts.

use anyhow::{Context, Result};
use ascribe::core::advantage::{Gae, Normalize, Variance};
use ascribe::core::{CoreError, Credit, Episode, Scorer, Seed, Stream, Tokens};
use ascribe::preference::TrainRow;
use ascribe::reward::losses::{BradleyTerryConfig, GaussianHeadsConfig, bootstrap_weights};
use ascribe::reward::{Aggregate, Ensemble, Heads};
use rand::RngExt;

use crate::heads::{Head, Sample, Training, Widths, mean, standardized, train};
use crate::judge::Judge;
use crate::rollouts::{Plan, Writer, ppo, prompts};
use crate::row::{Claim, Figures, Row};
use crate::tabular::{Table, place_and_last};
use crate::world::{Gold, PROMPTS, VOCABULARY, World, bradley_terry};

const LENGTH: usize = 5;
const PAIRS: usize = 400;
const TURNED: f64 = 0.25;
const MEMBERS: u64 = 5;
/// The weights of the variance that the paper has for best-of-n, and for PPO, whose variance divides by one less.
const HALF: Aggregate = Aggregate::MeanMinusVariance { lambda: 0.5, ddof: 0 };
const TENTH: Aggregate = Aggregate::MeanMinusVariance { lambda: 0.1, ddof: 1 };
/// What a nat of divergence costs an ensemble, and one reward model that is to be held as well.
const SMALL: f64 = 0.01;
const LARGE: f64 = 0.2;
/// Heads of BRME, and what the most certain one counts for beside the most cautious one.
const HEADS: usize = 5;
const TRUST: f64 = 0.5;
const HIDDEN: usize = 32;
const INPUTS: usize = VOCABULARY * (LENGTH + 1);

/// The claims of the ensembles under PPO.
pub const ROW: Row = Row {
    name: "ensembles-in-rl",
    paper: "Reward Model Ensembles Help Mitigate Overoptimization, arXiv:2310.02743; Reward-Robust RLHF in LLMs, \
            arXiv:2409.15360; under PPO",
    setting: "4 prompts with 1024 texts each, 400 pairs of which 25 % are turned, five two-layer heads on tokens and their places, \
              standardised; PPO of 60 generations of 64 texts, without a penalty where none is named; gold at the end, and at the \
              largest divergence that all arms without a penalty come to; one reward model is each of the five in turn, and BRME \
              learns from each of them: half the most certain of five heads, half the most cautious",
    seeds: 30,
    claims: &[
        Claim { says: "the mean of five is better than one", more: "gold of mean", less: "gold of one" },
        Claim { says: "the worst case of five is better than one", more: "gold of WCO", less: "gold of one" },
        Claim { says: "the mean less half the variance is better than one", more: "gold of UWO", less: "gold of one" },
        Claim {
            says: "the mean less a tenth of the variance, as the paper has it for PPO, is better than one",
            more: "gold of UWO at 0.1",
            less: "gold of one",
        },
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
        Claim {
            says: "at the same divergence the mean less a tenth of the variance is better than one",
            more: "gold of UWO at 0.1 at the same divergence",
            less: "gold of one at the same divergence",
        },
        Claim {
            says: "the worst case loses less of its highest gold to the end than one does",
            more: "fall of one",
            less: "fall of WCO",
        },
        Claim { says: "so does the mean less half the variance", more: "fall of one", less: "fall of UWO" },
        Claim {
            says: "with a penalty of 0.01 a nat, too, the worst case loses less than one does",
            more: "fall of one, small penalty",
            less: "fall of WCO, small penalty",
        },
        Claim {
            says: "and ends with more gold than one that is held by a penalty of 0.2",
            more: "gold of WCO, small penalty",
            less: "gold of one, large penalty",
        },
        Claim {
            says: "the robust reward of uncertain heads (BRME) is better than the one that they learn from",
            more: "gold of BRME",
            less: "gold of one",
        },
        Claim {
            says: "it is so at the same divergence",
            more: "gold of BRME at the same divergence",
            less: "gold of one at the same divergence",
        },
    ],
    tried: "Twelve seeds left four claims open, so there are 30; both weights of the variance that the paper has. The five learn \
            from the same turned labels and are wrong together, so that there is little for an ensemble to take away. BRME's heads \
            learn one reward model's scores alone, and can tell where they are unsure of these, not where these are wrong.",
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
    let side = |row: &TrainRow, at: usize| row.prompt.followed_by(&row.responses[at].tokens);
    let pair = |row: &TrainRow| Sample::pair(&features(&side(row, 0)), &features(&side(row, 1)));
    let rows: Vec<Sample> = pairs.iter().map(pair).collect();
    let texts: Vec<Tokens> = pairs.iter().flat_map(|row| [side(row, 0), side(row, 1)]).collect();
    let all: Vec<Vec<f64>> = world.tree.leaves().map(|(path, _)| features(&path)).collect();
    // The square of the scores holds them near 0, as the paper's does.
    let loss = BradleyTerryConfig { centre: 1e-3, ..BradleyTerryConfig::default() }.init()?;
    let mut members = Vec::new();
    for member in 0..MEMBERS {
        let own = seed.child("member", member);
        let head = Head::fresh(Widths { inputs: INPUTS, hidden: HIDDEN, outputs: 1 }, own);
        let head = train(head, &loss, &rows, Training { steps: 300, rate: 1e-2, seed: own })?;
        members.push(Rewards { of: standardized(head.rewards(&all))? });
    }
    let one = |penalty: f64| -> Result<Vec<Curve>> {
        members.iter().map(|member| curve(&world, member, penalty, seed)).collect()
    };
    let under = |aggregate: Aggregate, penalty: f64| -> Result<Curve> {
        let members = members.iter().map(|member| member as &dyn Scorer).collect();
        curve(&world, &Ensemble::new(members, aggregate)?, penalty, seed)
    };
    let alone = one(0.0)?;
    let arms = [under(Aggregate::Mean, 0.0)?, under(Aggregate::Min, 0.0)?, under(HALF, 0.0)?, under(TENTH, 0.0)?];
    let mut robust = Vec::new();
    for (number, member) in (0..).zip(&members) {
        let reward = uncertain(member, &texts, &all, seed.child("uncertain", number))?;
        robust.push(curve(&world, &reward, 0.0, seed)?);
    }
    let furthest = |curve: &Curve| curve.iter().map(|point| point.0).fold(0.0, f64::max);
    let common = arms.iter().chain(&alone).chain(&robust).map(furthest).fold(f64::INFINITY, f64::min);
    let end = |curve: &Curve| curve.last().map(|point| point.1).context("a curve has points");
    let mut figures = Figures::new();
    for (name, curve) in ["mean", "WCO", "UWO", "UWO at 0.1"].into_iter().zip(&arms) {
        figures.push((format!("gold of {name}"), end(curve)?));
        figures.push((format!("gold of {name} at the same divergence"), at(curve, common)));
        figures.push((format!("fall of {name}"), fall(curve)));
    }
    let penalised = [
        ("WCO, small penalty", vec![under(Aggregate::Min, SMALL)?]),
        ("one, small penalty", one(SMALL)?),
        ("one, large penalty", one(LARGE)?),
    ];
    for (name, curves) in &penalised {
        let ends = curves.iter().map(end).collect::<Result<Vec<f64>>>()?;
        figures.push((format!("gold of {name}"), mean(&ends)));
        figures.push((format!("fall of {name}"), mean(&curves.iter().map(|curve| fall(curve)).collect::<Vec<f64>>())));
    }
    for (name, curves) in [("one", &alone), ("BRME", &robust)] {
        let ends = curves.iter().map(end).collect::<Result<Vec<f64>>>()?;
        figures.push((format!("gold of {name}"), mean(&ends)));
        let there: Vec<f64> = curves.iter().map(|curve| at(curve, common)).collect();
        figures.push((format!("gold of {name} at the same divergence"), mean(&there)));
        figures.push((format!("fall of {name}"), mean(&curves.iter().map(|curve| fall(curve)).collect::<Vec<f64>>())));
    }
    Ok(figures)
}

/// Which token stands where, the prompt first.
fn features(path: &[u32]) -> Vec<f64> {
    let hot = |&token: &u32| (0..VOCABULARY as u32).map(move |at| f64::from(u8::from(at == token)));
    path.iter().flat_map(hot).collect()
}

/// The place of a text among the leaves.
fn leaf(path: &[u32]) -> usize {
    path.iter().fold(0, |leaf, token| leaf * VOCABULARY + *token as usize)
}

/// BRME's reward: Gaussian heads above one hidden layer learn what a reward model says of the texts.
fn uncertain(of: &Rewards, texts: &[Tokens], all: &[Vec<f64>], seed: Seed) -> Result<Rewards> {
    let loss = GaussianHeadsConfig { heads: HEADS, ..GaussianHeadsConfig::default() }.init()?;
    let mut stream = seed.stream("resamples", 0);
    let mut rows = Vec::with_capacity(texts.len());
    for text in texts {
        let mut labels = vec![of.of[leaf(text)]];
        labels.extend(bootstrap_weights(HEADS, &mut stream));
        rows.push(Sample { responses: vec![features(text)], labels });
    }
    let head = Head::fresh(Widths { inputs: INPUTS, hidden: HIDDEN, outputs: 2 * HEADS }, seed);
    let head = train(head, &loss, &rows, Training { steps: 300, rate: 1e-2, seed })?;
    let mut rewards = Vec::with_capacity(all.len());
    for output in head.outputs(all) {
        rewards.push(Heads::from_output(&output)?.reward(TRUST)?.reward);
    }
    Ok(Rewards { of: standardized(rewards)? })
}

/// The reward of every text, in the order of the leaves.
struct Rewards {
    of: Vec<f64>,
}

impl Scorer for Rewards {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        Ok(episodes.iter().map(|episode| Credit::sequence(self.of[leaf(&episode.tokens)] as f32)).collect())
    }
}

/// PPO on a reward, less a penalty for each nat of divergence.
fn curve(world: &World, reward: &dyn Scorer, penalty: f64, seed: Seed) -> Result<Curve> {
    let table = Table { world, reference: &world.reference, state: place_and_last };
    let normalize = Normalize::Whiten { variance: Variance::Unbiased, epsilon: 1e-8 };
    let gae = Gae { gamma: 1.0, lambda: 0.95, normalize };
    let (prompts, loss) = (prompts(), ppo());
    let writer = Writer { table: &table, prompts: &prompts, length: LENGTH, loss: &loss };
    let mut judge = Judge { kl: penalty, ..Judge::new(reward, &gae) };
    let plan = Plan { generations: 60, samples: 16, passes: 2, rate: 0.05, seed };
    let mut curve = vec![(0.0, world.gold(&world.reference)?)];
    for policy in writer.generations(plan, &mut |rollouts| judge.credit(rollouts))? {
        curve.push((world.divergence(&policy)?, world.gold(&policy)?));
    }
    Ok(curve)
}

/// What is lost from the highest gold of a curve to its end.
fn fall(curve: &[(f64, f64)]) -> f64 {
    let peak = curve.iter().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
    curve.last().map_or(0.0, |last| peak - last.1)
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
        // From 9 to 5, and from an end that is the peak.
        assert_eq!((fall(&curve), fall(&curve[..3])), (4.0, 0.0));
    }
}
