//! Worlds that are small enough to enumerate: a prompt of one token, a response of a few, and the gold reward of each text.
//!
//! ```text
//! gold(x y) = (sum_t place[t][y_t] + pair[t][y_{t-1}][y_t] - mean) / sd      normal draws; mean and sd over all texts
//! ```
//! The reference policy is drawn, with other odds behind each history, and prompts are uniform. So gold rewards, expected
//! rewards and divergences are exact.

use anyhow::Result;
use ascribe::core::{Mode, Policy, Request, Sampling, Seed, Stream, Tokens, Until};
use ascribe::eval::curve::{best_of_n_law, kl_exact};
use ascribe::preference::TrainRow;
use ascribe::worlds::{TokenTree, TreePolicy};
use rand::{Rng, RngExt};

/// Tokens of every world.
pub const VOCABULARY: usize = 4;
/// Every prompt.
pub const PROMPTS: [u32; VOCABULARY] = [0, 1, 2, 3];

/// What a text is worth: mean 0 and standard deviation 1 over all texts.
pub struct Gold {
    places: Vec<f64>,
    neighbours: Vec<f64>,
    centre: f64,
    spread: f64,
}

/// Texts with their gold rewards, and who writes them at first.
pub struct World {
    /// Prompts and responses, with the gold reward at the leaves.
    pub tree: TokenTree,
    /// The policy that all begin with.
    pub reference: TreePolicy,
}

impl Gold {
    /// 1 where the reward is above `bar`, else 0: a text is right or wrong.
    pub fn above(&self, bar: f64, path: &[u32]) -> f64 {
        f64::from(u8::from(self.of(path) > bar))
    }

    /// A drawn reward of responses of `length` tokens.
    pub fn drawn(length: usize, seed: Seed) -> Result<Self> {
        let mut stream = seed.stream("gold", 0);
        let mut normals = |n: usize| (0..n).map(|_| normal(&mut stream)).collect::<Vec<f64>>();
        let (places, neighbours) = (normals(length * VOCABULARY), normals(length * VOCABULARY * VOCABULARY));
        let raw = Self { places, neighbours, centre: 0.0, spread: 1.0 };
        let tree = TokenTree::new(VOCABULARY, length + 1, |path| raw.of(path))?;
        let n = tree.leaves().len() as f64;
        let centre = tree.leaves().map(|(_, reward)| reward).sum::<f64>() / n;
        let spread = (tree.leaves().map(|(_, reward)| (reward - centre).powi(2)).sum::<f64>() / n).sqrt();
        Ok(Self { centre, spread, ..raw })
    }

    /// The reward of a prompt and its response.
    pub fn of(&self, path: &[u32]) -> f64 {
        let of = |(at, two): (usize, &[u32])| {
            let (before, token) = (two[0] as usize, two[1] as usize);
            self.places[at * VOCABULARY + token] + self.neighbours[(at * VOCABULARY + before) * VOCABULARY + token]
        };
        (path.windows(2).enumerate().map(of).sum::<f64>() - self.centre) / self.spread
    }
}

impl World {
    /// Responses of `length` tokens, and a drawn reference.
    pub fn new(length: usize, seed: Seed, gold: impl Fn(&[u32]) -> f64) -> Result<Self> {
        let tree = TokenTree::new(VOCABULARY, length + 1, gold)?;
        let drawn = TreePolicy::drawn(&tree, seed.child("reference", 0), 1.0)?;
        let reference = uniform_over_prompts(&tree, &drawn)?;
        Ok(Self { tree, reference })
    }

    /// The policy with the largest expected reward less `beta` times its divergence from the reference; prompts keep their
    /// odds.
    pub fn optimum(&self, beta: f64) -> Result<TreePolicy> {
        uniform_over_prompts(&self.tree, &self.tree.soft_optimum(&self.reference, beta)?.policy)
    }

    /// The gold reward of a response.
    pub fn reward(&self, prompt: u32, response: &[u32]) -> Result<f64> {
        Ok(self.tree.reward(&[&[prompt][..], response].concat())?)
    }

    /// The expected gold reward of a policy, exactly.
    pub fn gold(&self, policy: &TreePolicy) -> Result<f64> {
        Ok(self.tree.exact_value(policy)?.value(&[])?)
    }

    /// The divergence of a policy from the reference, exactly.
    pub fn divergence(&self, policy: &TreePolicy) -> Result<f64> {
        Ok(kl_exact(&policy.leaf_probabilities(), &self.reference.leaf_probabilities())?)
    }

    /// The root of the mean square residual of the soft Bellman equation, over the tokens that the reference writes.
    pub fn residual(&self, policy: &TreePolicy, beta: f64) -> Result<f64> {
        let soft = self.tree.soft_optimum(&self.reference, beta)?.value;
        let mut squares = 0.0;
        for ((path, _), chance) in self.tree.leaves().zip(self.reference.leaf_probabilities()) {
            for at in 1..path.len() {
                let (state, token) = (&path[..at], path[at] as usize);
                let reference = self.reference.logps(state)?[token];
                let paid = beta * (policy.logps(state)?[token] - reference);
                // The tree's soft Q holds the reference's part, beta log pi_ref.
                let due = soft.q(state)?[token] - beta * reference - soft.value(state)?;
                squares += chance * (paid - due).powi(2);
            }
        }
        Ok((squares / (self.tree.depth() - 1) as f64).sqrt())
    }

    /// How often a text of a policy earns more than one of another to the same prompt, exactly; equal ones count half.
    pub fn wins(&self, policy: &TreePolicy, other: &TreePolicy) -> f64 {
        let (ours, theirs) = (policy.leaf_probabilities(), other.leaf_probabilities());
        let rewards: Vec<f64> = self.tree.leaves().map(|(_, reward)| reward).collect();
        let (each, mut wins) = (rewards.len() / PROMPTS.len(), 0.0);
        for first in (0..rewards.len()).step_by(each) {
            let mut order: Vec<usize> = (first..first + each).collect();
            order.sort_by(|one, other| rewards[*one].total_cmp(&rewards[*other]));
            let mass = |of: &[f64], leaves: &[usize]| leaves.iter().map(|leaf| of[*leaf]).sum::<f64>();
            let (all, mut below) = (mass(&theirs, &order), 0.0);
            for tied in order.chunk_by(|one, other| rewards[*one] == rewards[*other]) {
                let here = mass(&theirs, tied);
                wins += mass(&ours, tied) * (below + 0.5 * here) / all;
                below += here;
            }
        }
        wins
    }

    /// The probability of each text when the best of `n` to its prompt is taken, in the order of the leaves.
    pub fn best_of(&self, policy: &TreePolicy, n: u32) -> Result<Vec<f64>> {
        let rewards: Vec<f64> = self.tree.leaves().map(|(_, reward)| reward).collect();
        let each = rewards.len() / PROMPTS.len();
        let mut law = Vec::with_capacity(rewards.len());
        for (odds, rewards) in policy.leaf_probabilities().chunks(each).zip(rewards.chunks(each)) {
            let mass: f64 = odds.iter().sum();
            let odds: Vec<f64> = odds.iter().map(|odds| odds / mass).collect();
            law.extend(best_of_n_law(&odds, rewards, n)?.law.into_iter().map(|best| best * mass));
        }
        Ok(law)
    }

    /// The mean reward under the probabilities of leaves.
    pub fn mean_reward(&self, law: &[f64]) -> f64 {
        self.tree.leaves().zip(law).map(|((_, reward), odds)| reward * odds).sum()
    }

    /// `n` responses of a policy to one prompt.
    pub fn samples(&self, policy: &TreePolicy, prompt: u32, n: usize, seed: Seed) -> Result<Vec<Tokens>> {
        let mode = Mode::Sample(Sampling::default());
        let max_new = self.tree.depth();
        let request = Request { prefix: vec![prompt].into(), n, until: Until::End, mode, max_new, seed };
        let replies = policy.propose(&[request])?;
        Ok(replies.into_iter().flat_map(|reply| reply.candidates).map(|one| one.tokens).collect())
    }

    /// `n` pairs of different responses of the reference, the prompts in turn. `rater` says of the first one's gold reward
    /// less the second one's whether the first is chosen.
    pub fn pairs(
        &self,
        prompts: &[u32],
        n: usize,
        seed: Seed,
        rater: impl Fn(f64, &mut Stream) -> bool,
    ) -> Result<Vec<TrainRow>> {
        let mut rows = Vec::with_capacity(n);
        let mut attempt = 0;
        while rows.len() < n {
            let prompt = prompts[rows.len() % prompts.len()];
            let (own, mut stream) = (seed.child("pair", attempt), seed.stream("rater", attempt));
            attempt += 1;
            let two = self.samples(&self.reference, prompt, 2, own)?;
            let [first, second] = &two[..] else { continue };
            if first == second {
                continue;
            }
            let difference = self.reward(prompt, first)? - self.reward(prompt, second)?;
            let (chosen, rejected) = if rater(difference, &mut stream) { (first, second) } else { (second, first) };
            rows.push(TrainRow::pair(vec![prompt], chosen.clone(), rejected.clone()));
        }
        Ok(rows)
    }
}

/// A policy with each prompt as likely as the others.
fn uniform_over_prompts(tree: &TokenTree, policy: &TreePolicy) -> Result<TreePolicy> {
    let policy = TreePolicy::new(tree, |path| match path {
        [] => vec![0.0; VOCABULARY],
        _ => policy.logps(path).unwrap_or_default().to_vec(),
    });
    Ok(policy?)
}

/// A rater who chooses the better response.
pub fn better(difference: f64, _stream: &mut Stream) -> bool {
    difference > 0.0
}

/// A rater who chooses as Bradley and Terry have it.
pub fn bradley_terry(difference: f64, stream: &mut Stream) -> bool {
    stream.random::<f64>() < sigmoid(difference)
}

/// `1 / (1 + e^-x)`.
pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// A standard normal draw, by Box and Muller.
pub fn normal(stream: &mut impl Rng) -> f64 {
    let (u, v): (f64, f64) = (stream.random(), stream.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wins_and_the_best_by_hand() {
        // One token behind each prompt, worth its number; one policy writes 3 alone, the other all alike.
        let world = World::new(1, Seed(0), |path| f64::from(path[1])).unwrap();
        let always = |token: usize| {
            TreePolicy::new(&world.tree, |path| match path {
                [] => vec![0.0; VOCABULARY],
                _ => (0..VOCABULARY).map(|at| if at == token { 0.0 } else { f64::NEG_INFINITY }).collect(),
            })
        };
        let (last, uniform) = (always(3).unwrap(), TreePolicy::uniform(&world.tree));
        assert!((world.wins(&last, &uniform) - 0.875).abs() < 1e-12);
        assert!((world.wins(&uniform, &last) - 0.125).abs() < 1e-12);
        assert!((world.wins(&uniform, &uniform) - 0.5).abs() < 1e-12);
        // The larger of two uniform draws from 0 to 3: (0 + 3 + 2 * 5 + 3 * 7) / 16.
        let best = world.best_of(&uniform, 2).unwrap();
        assert!((world.mean_reward(&best) - 34.0 / 16.0).abs() < 1e-12);
    }
}
