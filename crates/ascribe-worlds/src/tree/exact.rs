//! Exact values of a token tree, by enumeration from the leaves up.
//!
//! ```text
//! of a policy      Q(s, a) = r(s, a) + V(s'),                     V(s) = sum_a pi(a|s) Q(s, a)
//! soft optimum     Q(s, a) = r(s, a) + beta log ref(a|s) + V(s'), V(s) = beta log sum_a exp(Q(s, a) / beta)
//!                  pi*(a|s) = exp((Q(s, a) - V(s)) / beta)
//! both             A(s, a) = Q(s, a) - V(s),                      V(leaf) = 0
//! ```
//! The soft form is arXiv:2404.12358 (From r to Q*), section 4: the reference belongs to Q, so `A = beta log pi*`.

use ascribe_core::{CoreError, Credit, Episode, Scorer};

use super::{Shape, TokenTree, TreePolicy, policy::log_sum_exp};
use crate::WorldError;

/// Q and V of every node.
///
/// As a [`Scorer`] it gives each response token its advantage (credit by token); the tokens of the episode are a path.
#[derive(Clone, Debug, PartialEq)]
pub struct ExactValue {
    shape: Shape,
    v: Vec<f64>, // [nodes], 0 at the leaves
    q: Vec<f64>, // [edges]
}

/// What is best under a divergence from a reference.
#[derive(Clone, Debug, PartialEq)]
pub struct SoftOptimum {
    /// Soft Q* and V*.
    pub value: ExactValue,
    /// The policy `pi*` that attains them: over whole paths, `ref(y) exp(reward(y) / beta)`, normalized.
    pub policy: TreePolicy,
}

impl ExactValue {
    /// V at the node `path`: what is still to be had, so 0 at a leaf.
    ///
    /// # Errors
    /// When `path` leaves the tree.
    pub fn value(&self, path: &[u32]) -> Result<f64, WorldError> {
        Ok(self.v[self.shape.node(path)?])
    }

    /// Q of each token after `path`.
    ///
    /// # Errors
    /// When `path` does not lead to a node with children.
    pub fn q(&self, path: &[u32]) -> Result<&[f64], WorldError> {
        Ok(&self.q[self.shape.edges(self.shape.inner_node(path)?)])
    }

    /// Q - V of each token after `path`.
    ///
    /// # Errors
    /// When `path` does not lead to a node with children.
    pub fn advantage(&self, path: &[u32]) -> Result<Vec<f64>, WorldError> {
        let value = self.value(path)?;
        Ok(self.q(path)?.iter().map(|q| q - value).collect())
    }

    /// Fills the tables from the leaves up: `q` adds to what an edge leads to, `v` reduces the Q of a node.
    fn fill(tree: &TokenTree, q: impl Fn(usize) -> f64, v: impl Fn(usize, &[f64]) -> f64) -> Self {
        let shape = tree.shape;
        let mut exact = Self { shape, v: vec![0.0; shape.nodes], q: vec![0.0; shape.nodes - 1] };
        for node in (0..shape.inner).rev() {
            for child in shape.children(node) {
                let reward = child.checked_sub(shape.inner).map_or(0.0, |leaf| tree.rewards[leaf]);
                exact.q[child - 1] = reward + q(child - 1) + exact.v[child];
            }
            exact.v[node] = v(node, &exact.q[shape.edges(node)]);
        }
        exact
    }
}

impl Scorer for ExactValue {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let credit = |episode: &Episode| {
            episode.response.check(episode.tokens.len())?;
            self.shape.node(&episode.tokens)?;
            let advantage = |at: usize| Ok(self.advantage(&episode.tokens[..at])?[episode.tokens[at] as usize] as f32);
            let advantages = episode.response.positions().map(advantage).collect::<Result<Vec<f32>, WorldError>>()?;
            Credit::over_response(episode, advantages)
        };
        episodes.iter().map(credit).collect()
    }
}

impl TokenTree {
    /// V, Q and A when `policy` chooses every token.
    ///
    /// # Errors
    /// When the policy is over a tree of another shape.
    pub fn exact_value(&self, policy: &TreePolicy) -> Result<ExactValue, WorldError> {
        self.fits(policy)?;
        let mean = |node, q: &[f64]| {
            let logps = &policy.logps[self.shape.edges(node)];
            logps.iter().zip(q).map(|(logp, q)| logp.exp() * q).sum()
        };
        Ok(ExactValue::fill(self, |_| 0.0, mean))
    }

    /// The soft optimum: the largest expected reward less `beta` times the divergence from `reference`.
    ///
    /// # Errors
    /// When the reference is over a tree of another shape, or `beta` is not finite and above 0 (or so large or small that
    /// the values overflow).
    pub fn soft_optimum(&self, reference: &TreePolicy, beta: f64) -> Result<SoftOptimum, WorldError> {
        self.fits(reference)?;
        let soft = |_, q: &[f64]| beta * log_sum_exp(&q.iter().map(|q| q / beta).collect::<Vec<_>>());
        let value = ExactValue::fill(self, |edge| beta * reference.logps[edge], soft);
        if !(beta > 0.0 && beta.is_finite() && value.v.iter().all(|v| v.is_finite())) {
            return Err(WorldError::range("beta", "finite, above 0 and of the order of the rewards", beta));
        }
        let logp = |(edge, q): (usize, &f64)| (q - value.v[edge / self.shape.vocabulary]) / beta;
        let policy = TreePolicy { shape: self.shape, logps: value.q.iter().enumerate().map(logp).collect() };
        Ok(SoftOptimum { value, policy })
    }

    /// The probability of each whole path, in the order of the paths, when the best rewarded of `n` independent samples is
    /// taken and the first sample wins a tie.
    ///
    /// ```text
    /// P(y) = pi(y) / P(r = r(y)) * (P(r <= r(y))^n - P(r < r(y))^n)
    /// ```
    ///
    /// # Errors
    /// When the policy is over a tree of another shape, or `n` is 0.
    pub fn best_of_n(&self, policy: &TreePolicy, n: u32) -> Result<Vec<f64>, WorldError> {
        self.fits(policy)?;
        if n == 0 {
            return Err(WorldError::range("n", "at least 1", n));
        }
        let probabilities = policy.leaf_probabilities();
        let mut order: Vec<usize> = (0..probabilities.len()).collect();
        order.sort_by(|left, right| self.rewards[*left].total_cmp(&self.rewards[*right]));
        let (mut best, mut below) = (vec![0.0; order.len()], 0.0);
        for tied in order.chunk_by(|left, right| self.rewards[*left] == self.rewards[*right]) {
            let here: f64 = tied.iter().map(|leaf| probabilities[*leaf]).sum();
            if here > 0.0 {
                let wins = powers(below + here, n) - powers(below, n);
                tied.iter().for_each(|leaf| best[*leaf] = probabilities[*leaf] / here * wins);
            }
            below += here;
        }
        Ok(best)
    }

    fn fits(&self, policy: &TreePolicy) -> Result<(), WorldError> {
        if policy.shape == self.shape {
            return Ok(());
        }
        let got = format!("{} tokens and depth {}", policy.shape.vocabulary, policy.shape.depth);
        Err(WorldError::Shape { vocabulary: self.shape.vocabulary, depth: self.shape.depth, got })
    }
}

/// `mass^n`, with rounding kept from passing 1.
fn powers(mass: f64, n: u32) -> f64 {
    mass.min(1.0).powf(f64::from(n))
}

#[cfg(test)]
mod tests {
    use ascribe_core::{Mode, Policy, Request, Sampling, Seed, Until};
    use proptest::prelude::*;

    use super::*;

    fn close(left: &[f64], right: &[f64], tolerance: f64) {
        assert_eq!(left.len(), right.len());
        assert!(left.iter().zip(right).all(|(l, r)| (l - r).abs() <= tolerance), "{left:?} against {right:?}");
    }

    /// Leaves 00: 1, 01: 0, 10: 2, 11: 4; the root takes 0 with 0.75, node [0] takes 0 with 0.5, node [1] with 0.25.
    fn by_hand() -> (TokenTree, TreePolicy) {
        let tree = TokenTree::new(2, 2, |path| match path {
            [0, 0] => 1.0,
            [0, 1] => 0.0,
            [1, 0] => 2.0,
            _ => 4.0,
        });
        let tree = tree.unwrap();
        let zero = |path: &[u32]| match path {
            [] => 0.75,
            [0] => 0.5,
            _ => 0.25,
        };
        let policy = TreePolicy::new(&tree, |path| vec![f64::ln(zero(path)), f64::ln(1.0 - zero(path))]).unwrap();
        (tree, policy)
    }

    #[test]
    fn values_worked_by_hand() {
        let (tree, policy) = by_hand();
        let exact = tree.exact_value(&policy).unwrap();
        // V[0] = 0.5, V[1] = 0.25 * 2 + 0.75 * 4 = 3.5, V[] = 0.75 * 0.5 + 0.25 * 3.5 = 1.25.
        let values = [&[][..], &[0], &[1], &[1, 1]].map(|path| exact.value(path).unwrap());
        close(&values, &[1.25, 0.5, 3.5, 0.0], 1e-12);
        close(exact.q(&[]).unwrap(), &[0.5, 3.5], 1e-12);
        close(exact.q(&[1]).unwrap(), &[2.0, 4.0], 1e-12);
        close(&exact.advantage(&[]).unwrap(), &[-0.75, 2.25], 1e-12);
        close(&exact.advantage(&[1]).unwrap(), &[-1.5, 0.5], 1e-12);
        // As credit: the prompt [1] gets none, the response token 0 its advantage.
        let credit = exact.score(&[Episode::new(&[], &[1, 1]), Episode::new(&[1], &[0])]).unwrap();
        close(&credit[0].values().iter().map(|v| f64::from(*v)).collect::<Vec<_>>(), &[2.25, 0.5], 1e-6);
        close(&credit[1].values().iter().map(|v| f64::from(*v)).collect::<Vec<_>>(), &[0.0, -1.5], 1e-6);
    }

    #[test]
    fn the_soft_optimum_worked_by_hand() {
        // One token deep, reference 1/4 and 3/4, beta 1/2, rewards 0 and ln 3 / 2: weights 1/4 * 1 and 3/4 * 3, sum 5/2.
        let tree = TokenTree::new(2, 1, |path| if path == [1] { 3f64.ln() / 2.0 } else { 0.0 }).unwrap();
        let reference = TreePolicy::new(&tree, |_| vec![0.25f64.ln(), 0.75f64.ln()]).unwrap();
        let soft = tree.soft_optimum(&reference, 0.5).unwrap();
        close(&[soft.value.value(&[]).unwrap()], &[0.5 * 2.5f64.ln()], 1e-12);
        close(&soft.policy.leaf_probabilities(), &[0.1, 0.9], 1e-12);
        close(soft.value.q(&[]).unwrap(), &[0.5 * 0.25f64.ln(), 0.5 * 2.25f64.ln()], 1e-12);
    }

    #[test]
    fn best_of_two_worked_by_hand() {
        // Rewards 0, 1, 1, 2 with probabilities 0.4, 0.2, 0.1, 0.3. Mass up to each reward: 0.4, 0.7, 1.
        // Squared: 0.16, 0.49, 1. The tie of 0.33 is shared 2 : 1.
        let tree = TokenTree::new(4, 1, |path| [0.0, 1.0, 1.0, 2.0][path[0] as usize]).unwrap();
        let policy = TreePolicy::new(&tree, |_| [0.4, 0.2, 0.1, 0.3].map(f64::ln).to_vec()).unwrap();
        close(&tree.best_of_n(&policy, 2).unwrap(), &[0.16, 0.22, 0.11, 0.51], 1e-12);
        close(&tree.best_of_n(&policy, 1).unwrap(), &[0.4, 0.2, 0.1, 0.3], 1e-12);
        assert!(tree.best_of_n(&policy, 0).is_err());
    }

    #[test]
    fn sampled_best_of_three_agrees_with_the_exact_distribution() {
        // Rewards 0, 1, 2 by the number of ones, so that there are ties.
        let tree = TokenTree::new(2, 2, |path| f64::from(path[0] + path[1])).unwrap();
        let policy = TreePolicy::drawn(&tree, Seed(4), 1.0).unwrap();
        let exact = tree.best_of_n(&policy, 3).unwrap();
        let (groups, mode) = (10_000u32, Mode::Sample(Sampling::default()));
        let mut counts = [0.0; 4];
        for group in 0..groups {
            let seed = Seed(9).child("group", group.into());
            let request = Request { prefix: vec![].into(), n: 3, until: Until::End, mode, max_new: 2, seed };
            let reply = policy.propose(&[request]).unwrap().remove(0);
            let rewards: Vec<f64> = reply.candidates.iter().map(|c| tree.reward(&c.tokens).unwrap()).collect();
            let best = (1..3).fold(0, |best, at| if rewards[at] > rewards[best] { at } else { best });
            let path = &reply.candidates[best].tokens;
            counts[(2 * path[0] + path[1]) as usize] += 1.0 / f64::from(groups);
        }
        // 4.5 standard deviations of a frequency near 1/2.
        close(&counts, &exact, 4.5 * 0.5 / 100.0);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (tree, policy) = by_hand();
        let other = TreePolicy::uniform(&TokenTree::new(2, 3, |_| 0.0).unwrap());
        assert!(matches!(tree.exact_value(&other), Err(WorldError::Shape { .. })));
        for beta in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(tree.soft_optimum(&policy, beta).is_err(), "{beta}");
        }
        let exact = tree.exact_value(&policy).unwrap();
        assert!(exact.value(&[2]).is_err() && exact.q(&[0, 0]).is_err() && exact.advantage(&[0, 0]).is_err());
        assert!(exact.score(&[Episode::new(&[0, 0], &[0])]).is_err());
        assert!(exact.score(&[Episode { response: vec![true].into(), ..Episode::new(&[0], &[0]) }]).is_err());
    }

    prop_compose! {
        fn any_tree()(vocabulary in 1usize..4, depth in 1usize..5, seed in any::<u64>(), temperature in 0.2..3.0f64)
            -> (TokenTree, TreePolicy) {
            let tree = TokenTree::drawn(vocabulary, depth, Seed(seed)).unwrap();
            let policy = TreePolicy::drawn(&tree, Seed(seed), temperature).unwrap();
            (tree, policy)
        }
    }

    proptest! {
        #[test]
        fn value_is_the_mean_of_q_under_the_policy((tree, policy) in any_tree()) {
            let exact = tree.exact_value(&policy).unwrap();
            for node in 0..tree.shape.inner {
                let path = tree.shape.path(node);
                let mean: f64 = policy.logps(&path).unwrap().iter().zip(exact.q(&path).unwrap()).map(|(logp, q)| logp.exp() * q).sum();
                prop_assert!((exact.value(&path).unwrap() - mean).abs() < 1e-12);
            }
        }

        #[test]
        fn the_root_is_worth_the_expected_reward((tree, policy) in any_tree()) {
            let expected: f64 = tree.leaves().zip(policy.leaf_probabilities()).map(|((_, reward), p)| p * reward).sum();
            prop_assert!((tree.exact_value(&policy).unwrap().value(&[]).unwrap() - expected).abs() < 1e-12);
        }

        #[test]
        fn advantages_sum_to_leaf_reward_minus_root_value((tree, policy) in any_tree()) {
            let exact = tree.exact_value(&policy).unwrap();
            for (path, reward) in tree.leaves() {
                let sum: f64 = (0..path.len()).map(|at| exact.advantage(&path[..at]).unwrap()[path[at] as usize]).sum();
                prop_assert!((sum - (reward - exact.value(&[]).unwrap())).abs() < 1e-12);
            }
        }

        #[test]
        fn the_soft_optimum_is_the_reference_weighted_by_the_exponential_reward((tree, reference) in any_tree(), beta in 0.05..5.0f64) {
            let soft = tree.soft_optimum(&reference, beta).unwrap();
            let weights: Vec<f64> =
                tree.leaves().zip(reference.leaf_probabilities()).map(|((_, reward), p)| p * (reward / beta).exp()).collect();
            let total: f64 = weights.iter().sum();
            prop_assert!((soft.value.value(&[]).unwrap() - beta * total.ln()).abs() < 1e-9);
            for (p, weight) in soft.policy.leaf_probabilities().iter().zip(weights) {
                prop_assert!((p - weight / total).abs() < 1e-9);
            }
        }

        #[test]
        fn likelihood_under_the_soft_optimum_is_reward_to_come((tree, reference) in any_tree(), beta in 0.05..5.0f64) {
            let soft = tree.soft_optimum(&reference, beta).unwrap();
            let root = soft.value.value(&[]).unwrap();
            for (path, reward) in tree.leaves() {
                let (mut ours, mut theirs) = (0.0, 0.0); // sums of log pi* and of log ref along the path
                for at in 0..path.len() {
                    let (prefix, token) = (&path[..at], path[at] as usize);
                    let (star, log_ref) = (soft.policy.logps(prefix).unwrap()[token], reference.logps(prefix).unwrap()[token]);
                    // A = beta log pi*; beta log(pi* / ref) = r + V(s') - V(s).
                    prop_assert!((soft.value.advantage(prefix).unwrap()[token] - beta * star).abs() < 1e-9);
                    let earned = if at + 1 == path.len() { reward } else { 0.0 };
                    let (here, next) = (soft.value.value(prefix).unwrap(), soft.value.value(&path[..=at]).unwrap());
                    prop_assert!((beta * (star - log_ref) - (earned + next - here)).abs() < 1e-9);
                    // For every prefix: sum (r + beta log ref) + V(s') = V(root) + beta sum log pi*.
                    (ours, theirs) = (ours + star, theirs + log_ref);
                    prop_assert!((earned + beta * theirs + next - (root + beta * ours)).abs() < 1e-9);
                }
            }
        }

        #[test]
        fn the_soft_optimum_beats_any_policy((tree, reference) in any_tree(), beta in 0.05..5.0f64, seed in any::<u64>()) {
            let objective = |policy: &TreePolicy| -> f64 {
                let logs = policy.leaf_probabilities().into_iter().zip(reference.leaf_probabilities());
                tree.leaves().zip(logs).map(|((_, reward), (p, q))| if p > 0.0 { p * (reward - beta * (p / q).ln()) } else { 0.0 }).sum()
            };
            let soft = tree.soft_optimum(&reference, beta).unwrap();
            let best = objective(&soft.policy);
            prop_assert!((best - soft.value.value(&[]).unwrap()).abs() < 1e-8);
            prop_assert!(objective(&TreePolicy::drawn(&tree, Seed(seed), 1.0).unwrap()) <= best + 1e-8);
        }

        #[test]
        fn best_of_n_is_a_distribution_and_rises_with_n((tree, policy) in any_tree(), n in 1u32..20) {
            let expected = |n| -> f64 {
                let best = tree.best_of_n(&policy, n).unwrap();
                assert!((best.iter().sum::<f64>() - 1.0).abs() < 1e-9);
                tree.leaves().zip(best).map(|((_, reward), p)| reward * p).sum()
            };
            prop_assert!(expected(n) <= expected(n + 1) + 1e-9);
        }
    }
}
