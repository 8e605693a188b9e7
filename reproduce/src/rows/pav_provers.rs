//! Provers of a process advantage verifier: too weak, of use, and too strong.
//!
//! ```text
//! pi_{t+1}(a|s) ~ pi_t(a|s) exp(gamma (Q^{pi_t}(s, a) + alpha A^mu(s, a)))        natural policy gradient, every value exact
//! ```
//! The prover is the policy that training begins with, best of K of it, or the weaker policy that it was made from. All arms take
//! as many steps of one size. A prover that is the policy itself adds no more than a larger step; one that succeeds from almost
//! everywhere tells steps apart no longer.
//!
//! The same on chain arithmetic, whose steps are right or slips: provers there are also solvers that slip more, as much, and less
//! than the policy. A slip mostly stays, so a prover that hardly errs fails behind one and is not too strong.

use anyhow::Result;
use ascribe::core::{Mode, Policy, Request, Sampling, Seed, Until};
use ascribe::process::credit::{StateAdvantages, best_of, progress, prover_quality};
use ascribe::worlds::{ExactValue, Operator, Problem, TokenTree, TreePolicy};

use crate::chain::{Chains, Solver};
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

/// Operations of a chain, and chains of a seed.
const OPERATIONS: usize = 8;
const CHAINS: usize = 300;
/// The policy that training on chains begins with, and provers that slip more and less.
const BASE: Solver = Solver { hard: 0.35, easy: 0.02, steps: OPERATIONS };
const WEAKER: Solver = Solver { hard: 0.6, easy: 0.2, steps: OPERATIONS };
const STRONGER: Solver = Solver { hard: 0.05, easy: 0.0, steps: OPERATIONS };

/// What makes a good prover.
pub const ROW: Row = Row {
    name: "pav-provers",
    paper: "Rewarding Progress: Scaling Automated Process Verifiers for LLM Reasoning, arXiv:2410.08146",
    setting: "20 trees of 729 texts a seed, of which 15 % are right; a drawn policy, and the policy that training begins with, its \
              soft optimum at beta 1; two steps of the exact natural policy gradient with weight 1 on progress stand in for \
              reinforcement learning; distinguishability and alignment are estimated on the states of 100 texts; beside the \
              trees 300 chains of 8 operations and as many steps of a policy that slips at hard steps with probability 0.35 and at \
              easy ones with 0.02, under weak provers (0.6 and 0.2), equal and strong ones (0.05 and 0), and best of K of the \
              policy; quality on the states of one text a chain",
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
        Claim {
            says: "on chains progress under a weaker solver earns more than outcomes alone",
            more: "chains, weak prover",
            less: "chains, outcomes",
        },
        Claim { says: "progress under an equal one, too", more: "chains, equal prover", less: "chains, outcomes" },
        Claim {
            says: "best of 4 earns more there than the equal prover",
            more: "chains, best of 4",
            less: "chains, equal prover",
        },
        Claim { says: "and more than best of 64", more: "chains, best of 4", less: "chains, best of 64" },
        Claim {
            says: "a strong solver, which fails behind a slip, earns more than the equal one",
            more: "chains, strong prover",
            less: "chains, equal prover",
        },
        Claim { says: "and than best of 4", more: "chains, strong prover", less: "chains, best of 4" },
        Claim {
            says: "distinguishability and alignment rank the equal prover above the weak one",
            more: "quality on chains, equal prover",
            less: "quality on chains, weak prover",
        },
        Claim {
            says: "best of 4 above the equal one",
            more: "quality on chains, best of 4",
            less: "quality on chains, equal prover",
        },
        Claim {
            says: "and above best of 64",
            more: "quality on chains, best of 4",
            less: "quality on chains, best of 64",
        },
        Claim {
            says: "and the strong solver above best of 4",
            more: "quality on chains, strong prover",
            less: "quality on chains, best of 4",
        },
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
    let mut figures: Figures = sums.into_iter().map(|(name, sum)| (name, sum / TREES as f64)).collect();
    figures.extend(on_chains(seed.child("chains", 0))?);
    Ok(figures)
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

/// A number for each of the ten operands that a step can begin with.
type Operands = [f64; 10];

/// One chain, where a step is right or a slip.
#[derive(Clone, Copy)]
struct Chain<'a>(&'a Problem);

/// Whose progress is rewarded on a chain: best of so many samples of a policy with these values before each step and at the end.
#[derive(Clone, Copy)]
struct ChainProver<'a> {
    values: &'a [Operands],
    k: u32,
}

impl ChainProver<'_> {
    /// What results of a step add to the prover's value.
    fn advantages(self, step: usize, left: usize, results: [usize; 2]) -> Result<Vec<f64>> {
        // Sums of probabilities can pass 1 by rounding.
        let best = |step: usize, operand: usize| best_of(self.values[step][operand].clamp(0.0, 1.0), self.k);
        let start = best(step, left)?;
        let mut advantages = Vec::with_capacity(2);
        for result in results {
            advantages.extend(progress(start, &[best(step + 1, result)?])?);
        }
        Ok(advantages)
    }
}

impl Chain<'_> {
    /// The right result of a step and its slip.
    fn results(self, step: usize, left: usize) -> [usize; 2] {
        let (operator, right) = self.0.operations()[step];
        [operator.apply(left as u8, right), operator.slip(left as u8, right)].map(usize::from)
    }

    /// How often a solver slips at each step.
    fn slips(self, solver: &Solver) -> Vec<Operands> {
        let of_step = |(operator, right): &(Operator, u8)| -> Operands {
            std::array::from_fn(|left| solver.chance((*operator, left as u8, *right)))
        };
        self.0.operations().iter().map(of_step).collect()
    }

    /// The chance of the right answer before each step and at the end.
    fn values(self, slips: &[Operands]) -> Vec<Operands> {
        let mut values = vec![[0.0; 10]; slips.len() + 1];
        values[slips.len()][usize::from(self.0.answer())] = 1.0;
        for (step, of_step) in slips.iter().enumerate().rev() {
            for (left, chance) in of_step.iter().enumerate() {
                let [right, slip] = self.results(step, left);
                values[step][left] = (1.0 - chance) * values[step + 1][right] + chance * values[step + 1][slip];
            }
        }
        values
    }

    /// The chance of the right answer after the steps of training.
    fn trained(self, start: &[Operands], prover: Option<ChainProver>) -> Result<f64> {
        let mut slips = start.to_vec();
        for _ in 0..STEPS {
            let values = self.values(&slips);
            for (step, of_step) in slips.iter_mut().enumerate() {
                for (left, chance) in of_step.iter_mut().enumerate() {
                    let [right, slip] = self.results(step, left);
                    let advantages = match prover {
                        Some(prover) => prover.advantages(step, left, [right, slip])?,
                        None => vec![0.0; 2],
                    };
                    let gain = |result: usize, at: usize| GAMMA * (values[step + 1][result] + ALPHA * advantages[at]);
                    let (stays, slips) = ((1.0 - *chance) * gain(right, 0).exp(), *chance * gain(slip, 1).exp());
                    *chance = slips / (stays + slips);
                }
            }
        }
        Ok(self.values(&slips)[0][usize::from(self.0.start())])
    }
}

fn on_chains(seed: Seed) -> Result<Figures> {
    let chains = Chains::draw(CHAINS, OPERATIONS, seed)?;
    let provers = [
        ("weak prover", WEAKER, 1),
        ("equal prover", BASE, 1),
        ("strong prover", STRONGER, 1),
        ("best of 4", BASE, GOOD),
        ("best of 64", BASE, STRONG),
    ];
    let mut outcomes = 0.0;
    let mut of_provers: Vec<(f64, Vec<StateAdvantages>)> = provers.iter().map(|_| (0.0, Vec::new())).collect();
    for (number, prompt) in chains.prompts.iter().enumerate() {
        let chain = Chain(&chains.problems[number]);
        let slips = chain.slips(&BASE);
        let values = chain.values(&slips);
        let own = ChainProver { values: &values, k: 1 };
        outcomes += chain.trained(&slips, None)? / CHAINS as f64;
        let text = BASE.solutions(prompt, 1, seed.child("states", number as u64)).remove(0);
        for ((_, solver, k), (reward, states)) in provers.iter().zip(&mut of_provers) {
            let values = chain.values(&chain.slips(solver));
            let prover = ChainProver { values: &values, k: *k };
            *reward += chain.trained(&slips, Some(prover))? / CHAINS as f64;
            let mut left = usize::from(chain.0.start());
            for (step, result) in text.iter().enumerate() {
                let (results, chance) = (chain.results(step, left), slips[step][left]);
                states.push(StateAdvantages {
                    policy: vec![1.0 - chance, chance],
                    prover: prover.advantages(step, left, results)?,
                    own: own.advantages(step, left, results)?,
                });
                left = *result as usize;
            }
        }
    }
    let mut figures: Figures = vec![("chains, outcomes".to_owned(), outcomes)];
    for ((name, ..), (reward, states)) in provers.iter().zip(&of_provers) {
        figures.push((format!("chains, {name}"), *reward));
        figures.push((format!("quality on chains, {name}"), prover_quality(states)?.iter().sum()));
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_of_a_chain_by_hand() {
        // 7 + 8 is 5, and the slip is 4; the policy slips every second time.
        let problem = Problem::parse("(7+8)%10").unwrap();
        let chain = Chain(&problem);
        let slips = chain.slips(&Solver { hard: 0.5, easy: 0.5, steps: 1 });
        let values = chain.values(&slips);
        assert_eq!((values[0][7], values[1][5], values[1][4]), (0.5, 1.0, 0.0));
        // Best of two has 1 - (1/2)^2 = 3/4.
        let prover = ChainProver { values: &values, k: 2 };
        for (got, expected) in prover.advantages(0, 7, [5, 4]).unwrap().iter().zip([0.25, -0.75]) {
            assert!((got - expected).abs() < 1e-12, "{got}");
        }
        // Two steps by the outcome alone: the odds grow by e each. Progress adds a difference of 1 a step.
        let odds = |gain: f64| gain.exp() / (gain.exp() + 1.0);
        assert!((chain.trained(&slips, None).unwrap() - odds(2.0)).abs() < 1e-12);
        assert!((chain.trained(&slips, Some(prover)).unwrap() - odds(4.0)).abs() < 1e-12);
    }

    #[test]
    fn values_of_a_chain_are_those_of_its_solver() {
        let chains = Chains::draw(10, OPERATIONS, Seed(0)).unwrap();
        for (problem, prompt) in chains.problems.iter().zip(&chains.prompts) {
            let chain = Chain(problem);
            let values = chain.values(&chain.slips(&BASE));
            assert!((values[0][usize::from(problem.start())] - BASE.value(prompt, &[])).abs() < 1e-12);
            assert!((values[2][4] - BASE.value(prompt, &[0, 4])).abs() < 1e-12);
        }
    }

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
