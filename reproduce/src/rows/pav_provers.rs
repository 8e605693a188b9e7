//! Provers of a process advantage verifier: too weak, of use, and too strong.
//!
//! ```text
//! pi_{t+1}(a|s) ~ pi_t(a|s) exp(gamma (Q^{pi_t}(s, a) + alpha A^mu(s, a)))        natural policy gradient, every value exact
//! ```
//! The prover is the policy that training begins with, best of K of it, or the weaker policy that it was made from. All arms take
//! as many steps of one size. A prover that is the policy itself adds no more than a larger step; one that succeeds from almost
//! everywhere tells steps apart no longer.

use anyhow::Result;
use ascribe::core::{Mode, Policy, Request, Sampling, Seed, Until};
use ascribe::process::credit::{StateAdvantages, best_of, progress, prover_quality};
use ascribe::worlds::{ExactValue, TokenTree, TreePolicy};

use crate::row::{Claim, Figures, Row};

const VOCABULARY: usize = 3;
const DEPTH: usize = 6;
/// Trees of a seed.
const TREES: u64 = 20;
/// A text is right when its draw from [0, 1) is above this.
const RIGHT_ABOVE: f64 = 0.85;
/// How far the policy is ahead of the weaker one: the soft optimum at this strength.
const BETA: f64 = 1.0;
const ALPHA: f64 = 1.0;
const GAMMA: f64 = 1.0;
const STEPS: usize = 2;
/// Texts whose states the provers are ranked on.
const HELD_OUT: usize = 100;
const GOOD: u32 = 4;
const STRONG: u32 = 64;

/// What makes a good prover.
pub const ROW: Row = Row {
    name: "pav-provers",
    paper: "Rewarding Progress: Scaling Automated Process Verifiers for LLM Reasoning, arXiv:2410.08146",
    setting: "20 trees of 729 texts a seed, of which 15 % are right; a drawn policy, and the policy that training begins with, its \
              soft optimum at beta 1; two steps of the exact natural policy gradient with weight 1 on progress stand in for \
              reinforcement learning; distinguishability and alignment are estimated on the states of 100 texts",
    seeds: 8,
    claims: &[
        Claim {
            says: "progress under best of 4 earns more than outcomes alone",
            more: "reward, best of 4",
            less: "reward, outcomes",
        },
        Claim {
            says: "progress under a weaker policy, too, earns more than outcomes alone",
            more: "reward, weaker policy",
            less: "reward, outcomes",
        },
        Claim {
            says: "best of 4 earns more than the policy itself as the prover",
            more: "reward, best of 4",
            less: "reward, the policy itself",
        },
        Claim {
            says: "best of 4 earns more than best of 64, which is too strong",
            more: "reward, best of 4",
            less: "reward, best of 64",
        },
        Claim {
            says: "distinguishability and alignment rank best of 4 above the policy itself",
            more: "quality, best of 4",
            less: "quality, the policy itself",
        },
        Claim { says: "and above best of 64", more: "quality, best of 4", less: "quality, best of 64" },
    ],
    tried: "",
    run,
};

/// Whose progress is rewarded: best of so many samples of a policy with these values.
#[derive(Clone, Copy)]
struct Prover<'a> {
    values: &'a ExactValue,
    k: u32,
}

impl Prover<'_> {
    /// What each token behind a path adds to the prover's value.
    fn advantages(&self, path: &[u32]) -> Result<Vec<f64>> {
        // Sums of probabilities can pass 1 by rounding.
        let best = |value: f64| best_of(value.clamp(0.0, 1.0), self.k);
        let start = best(self.values.value(path)?)?;
        let mut advantages = Vec::with_capacity(VOCABULARY);
        for q in self.values.q(path)? {
            advantages.extend(progress(start, &[best(*q)?])?);
        }
        Ok(advantages)
    }
}

fn run(seed: Seed) -> Result<Figures> {
    let mut sums: Figures = Vec::new();
    for number in 0..TREES {
        for (at, (name, figure)) in one_tree(seed.child("tree", number))?.into_iter().enumerate() {
            match sums.get_mut(at) {
                Some(sum) => sum.1 += figure,
                None => sums.push((name, figure)),
            }
        }
    }
    Ok(sums.into_iter().map(|(name, sum)| (name, sum / TREES as f64)).collect())
}

fn one_tree(seed: Seed) -> Result<Figures> {
    let drawn = TokenTree::drawn(VOCABULARY, DEPTH, seed)?;
    let right = |path: &[u32]| drawn.reward(path).is_ok_and(|reward| reward > RIGHT_ABOVE);
    let tree = TokenTree::new(VOCABULARY, DEPTH, |path| if right(path) { 1.0 } else { 0.0 })?;
    let weak = TreePolicy::drawn(&tree, seed, 1.0)?;
    let policy = tree.soft_optimum(&weak, BETA)?.policy;
    let (weak_values, values) = (tree.exact_value(&weak)?, tree.exact_value(&policy)?);
    let states = states(&policy, seed)?;
    let mut figures = vec![("reward, outcomes".to_owned(), trained(&tree, &policy, None)?)];
    for (name, values, k) in [
        ("weaker policy", &weak_values, 1),
        ("the policy itself", &values, 1),
        ("best of 4", &values, GOOD),
        ("best of 64", &values, STRONG),
    ] {
        let prover = Prover { values, k };
        figures.push((format!("reward, {name}"), trained(&tree, &policy, Some(prover))?));
    }
    let own = Prover { values: &values, k: 1 };
    for (name, k) in [("the policy itself", 1), ("best of 4", GOOD), ("best of 64", STRONG)] {
        figures.push((format!("quality, {name}"), quality(&policy, own, Prover { values: &values, k }, &states)?));
    }
    Ok(figures)
}

/// The states that texts of a policy pass through.
fn states(policy: &TreePolicy, seed: Seed) -> Result<Vec<Vec<u32>>> {
    let (mode, max_new) = (Mode::Sample(Sampling::default()), DEPTH);
    let request = Request { prefix: vec![].into(), n: HELD_OUT, until: Until::End, mode, max_new, seed };
    let mut states = Vec::with_capacity(HELD_OUT * DEPTH);
    for reply in policy.propose(&[request])? {
        for text in reply.candidates {
            states.extend((0..DEPTH).map(|end| text.tokens[..end].to_vec()));
        }
    }
    Ok(states)
}

/// Distinguishability and alignment together.
fn quality(policy: &TreePolicy, own: Prover, prover: Prover, states: &[Vec<u32>]) -> Result<f64> {
    let mut advantages = Vec::with_capacity(states.len());
    for path in states {
        let chances = policy.logps(path)?.iter().map(|logp| logp.exp()).collect();
        let (prover, own) = (prover.advantages(path)?, own.advantages(path)?);
        advantages.push(StateAdvantages { policy: chances, prover, own });
    }
    Ok(prover_quality(&advantages)?.iter().sum())
}

/// The expected reward after the steps of training.
fn trained(tree: &TokenTree, start: &TreePolicy, prover: Option<Prover>) -> Result<f64> {
    let mut policy = start.clone();
    for _ in 0..STEPS {
        let values = tree.exact_value(&policy)?;
        let next = TreePolicy::new(tree, |path| {
            let advantages = match prover {
                Some(prover) => prover.advantages(path).unwrap_or_default(),
                None => vec![0.0; VOCABULARY],
            };
            let (logps, qs) = (policy.logps(path).unwrap_or_default(), values.q(path).unwrap_or_default());
            let of_token = |((logp, q), advantage): ((&f64, &f64), &f64)| logp + GAMMA * (q + ALPHA * advantage);
            logps.iter().zip(qs).zip(&advantages).map(of_token).collect()
        })?;
        policy = next;
    }
    Ok(tree.exact_value(&policy)?.value(&[])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_under_best_of_two_by_hand() {
        let tree = TokenTree::new(VOCABULARY, 1, |path| if path == [1] { 1.0 } else { 0.0 }).unwrap();
        let policy = TreePolicy::uniform(&tree);
        let values = tree.exact_value(&policy).unwrap();
        // V = 1/3, so best of two has 1 - (2/3)^2 = 5/9.
        let advantages = Prover { values: &values, k: 2 }.advantages(&[]).unwrap();
        for (got, expected) in advantages.iter().zip([-5.0 / 9.0, 4.0 / 9.0, -5.0 / 9.0]) {
            assert!((got - expected).abs() < 1e-12, "{advantages:?}");
        }
        // Two steps of size 1 by the outcome alone: the weights are 1, e^2, 1.
        let (after, weight) = (trained(&tree, &policy, None).unwrap(), 2f64.exp());
        assert!((after - weight / (weight + 2.0)).abs() < 1e-12, "{after}");
    }
}
