//! Feynman-Kac correctors on texts: particles whose weights make up for what each step of a local proposal gets wrong.
//!
//! ```text
//! tilted     p(y) exp(r(y) / beta)      potentials on the way: the expected reward behind what was written
//! power      p(y)^2                     beside the temperature 1/2, which squares and normalizes at each token
//! product    p(y) q(y)                  beside the product of both at each token
//! ```
//! The law of a search is the mean of its weights over many runs, and the rest is enumerated.

use anyhow::Result;
use ascribe::core::{CoreError, Credit, Episode, Policy, Reduce, Scorer, Seed, Tokens};
use ascribe::eval::curve::{best_of_n_law, total_variation};
use ascribe::search::{Grain, Schedule, SearchCtx, Smc, SmcOptions, Steps, Target};
use ascribe::worlds::{ExactValue, TokenTree, TreePolicy, WorldError};

use crate::row::{self, Claim, Figures, Row};
use crate::world::{Gold, PROMPTS, VOCABULARY, World};

const LENGTH: usize = 4;
const BETA: f64 = 0.5;
const POWER: f64 = 2.0;
const PARTICLES: usize = 16;
/// Searches of each prompt.
const RUNS: u64 = 1000;

/// What particles are claimed to do.
pub const ROW: Row = Row {
    name: "smc",
    paper: "Feynman-Kac Correctors in Diffusion, arXiv:2503.02819; Feynman-Kac steering, arXiv:2501.06848",
    setting: "4 prompts with 256 texts each, drawn policies; 16 particles that advance by one token, 4000 searches; the distance is \
              the total variation from the exact target; the potential of a beginning is its exact expected reward",
    seeds: 10,
    claims: &[
        Claim {
            says: "particles are nearer to the tilted policy than the best of as many samples",
            more: "distance of best-of-16, tilted",
            less: "distance of particles, tilted",
        },
        Claim {
            says: "and nearer than whole texts that are weighted by their reward at the end",
            more: "distance of weighted texts, tilted",
            less: "distance of particles, tilted",
        },
        Claim {
            says: "more particles are nearer still",
            more: "distance of 4 particles, tilted",
            less: "distance of particles, tilted",
        },
        Claim {
            says: "particles are nearer to the power of a policy than a temperature",
            more: "distance of temperature, power",
            less: "distance of particles, power",
        },
        Claim {
            says: "and nearer to a product of two than the product token by token",
            more: "distance of local product, product",
            less: "distance of particles, product",
        },
        Claim {
            says: "the best particle earns more than the best of as many samples, at the same number of tokens",
            more: "reward of the best particle",
            less: "reward of best-of-16",
        },
    ],
    tried: "",
    run,
};

/// The expected reward behind a text, and the reward of a whole one.
struct Potential<'a> {
    world: &'a World,
    value: &'a ExactValue,
}

impl Scorer for Potential<'_> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let one = |episode: &Episode| {
            let path = &episode.tokens[..];
            let whole = path.len() == self.world.tree.depth();
            let worth = if whole { self.world.tree.reward(path)? } else { self.value.value(path)? };
            Ok(Credit::sequence(worth as f32))
        };
        episodes.iter().map(one).collect()
    }
}

/// What many searches came to.
struct Searched {
    /// Probability of each text.
    law: Vec<f64>,
    /// Mean reward of the best particle.
    best: f64,
    /// Tokens sampled for a prompt, and tokens that the scorer read for it.
    tokens: f64,
    scored: f64,
}

fn run(seed: Seed) -> Result<Figures> {
    let gold = Gold::drawn(LENGTH, seed)?;
    let world = World::new(LENGTH, seed, |path| gold.of(path))?;
    let value = world.tree.exact_value(&world.reference)?;
    let expert = TreePolicy::drawn(&world.tree, seed.child("expert", 0), 1.0)?;
    let other: &dyn Policy = &expert;
    let reference = world.reference.leaf_probabilities();
    let rewards: Vec<f64> = world.tree.leaves().map(|(_, reward)| reward).collect();

    let tilted: Vec<f64> = reference.iter().zip(&rewards).map(|(p, r)| p * (r / BETA).exp()).collect();
    let power: Vec<f64> = reference.iter().map(|p| p.powf(POWER)).collect();
    let product: Vec<f64> = reference.iter().zip(behind_prompts(&world.tree, &expert)?).map(|(p, q)| p * q).collect();
    let [tilted, power, product] = [tilted, power, product].map(|weights| normalized(&weights));

    let potential = Potential { world: &world, value: &value };
    let search = |target: Target, options: SmcOptions| searched(&world, &potential, &Smc { options, target }, seed);
    let tilt = || Target::Tilted(Schedule::constant(1.0 / BETA));
    let steps = SmcOptions { n: PARTICLES, ..SmcOptions::default() };
    let by_tokens = SmcOptions { grain: Grain::Tokens(VOCABULARY), ..steps };
    let particles = search(tilt(), steps)?;
    let few = search(tilt(), SmcOptions { n: 4, ..steps })?;
    // Without resampling, potentials on the way cancel out.
    let weighted = search(tilt(), SmcOptions { kappa: 0.0, ..steps })?;
    let squared = search(Target::Power(Schedule::constant(POWER)), by_tokens)?;
    let both = search(Target::Product { own: 1.0, experts: vec![(other, 1.0)] }, by_tokens)?;

    let best = best_of(&reference, &rewards, PARTICLES as u32)?;
    let cold = local(&world, |path| world.reference.logps(path).map(|own| own.iter().map(|p| POWER * p).collect()))?;
    let local_product = local(&world, |path| {
        let (own, theirs) = (world.reference.logps(path)?, expert.logps(path)?);
        Ok(own.iter().zip(theirs).map(|(p, q)| p + q).collect())
    })?;
    let earned = |law: &[f64]| law.iter().zip(&rewards).map(|(p, reward)| p * reward).sum::<f64>();
    let mut figures: Figures = vec![
        ("distance of particles, tilted".into(), total_variation(&particles.law, &tilted)?),
        ("distance of 4 particles, tilted".into(), total_variation(&few.law, &tilted)?),
        ("distance of weighted texts, tilted".into(), total_variation(&weighted.law, &tilted)?),
        ("distance of best-of-16, tilted".into(), total_variation(&best, &tilted)?),
        ("distance of particles, power".into(), total_variation(&squared.law, &power)?),
        ("distance of temperature, power".into(), total_variation(&cold, &power)?),
        ("distance of particles, product".into(), total_variation(&both.law, &product)?),
        ("distance of local product, product".into(), total_variation(&local_product, &product)?),
        ("reward of the target".into(), earned(&tilted)),
        ("reward of particles".into(), earned(&particles.law)),
    ];
    figures.extend(row::arm("reward of the best particle", particles.best, particles.tokens, particles.scored));
    // Each whole text is read once, with its prompt.
    let [sampled, scored] = [LENGTH, 1 + LENGTH].map(|tokens| (PARTICLES * tokens) as f64);
    figures.extend(row::arm("reward of best-of-16", earned(&best), sampled, scored));
    Ok(figures)
}

/// Weights as a law in which prompts are equally likely.
fn normalized(weights: &[f64]) -> Vec<f64> {
    let own = |weights: &[f64]| -> Vec<f64> {
        let total = weights.iter().sum::<f64>() * PROMPTS.len() as f64;
        weights.iter().map(|weight| weight / total).collect()
    };
    weights.chunks(weights.len() / PROMPTS.len()).flat_map(own).collect()
}

/// The probability of each text when the prompt is given.
fn behind_prompts(tree: &TokenTree, policy: &TreePolicy) -> Result<Vec<f64>> {
    let uniform = TreePolicy::new(tree, |path| match path {
        [] => vec![0.0; VOCABULARY],
        _ => policy.logps(path).unwrap_or_default().to_vec(),
    })?;
    Ok(uniform.leaf_probabilities().into_iter().map(|p| p * PROMPTS.len() as f64).collect())
}

/// The law of the best of n samples of each prompt.
fn best_of(reference: &[f64], rewards: &[f64], n: u32) -> Result<Vec<f64>> {
    let (texts, prompts) = (reference.len() / PROMPTS.len(), PROMPTS.len() as f64);
    let mut law = Vec::with_capacity(reference.len());
    for (own, rewards) in reference.chunks(texts).zip(rewards.chunks(texts)) {
        let own: Vec<f64> = own.iter().map(|p| p * prompts).collect();
        law.extend(best_of_n_law(&own, rewards, n)?.law.into_iter().map(|p| p / prompts));
    }
    Ok(law)
}

/// The law of texts whose tokens are drawn from these logits, one after the other.
fn local(world: &World, logits: impl Fn(&[u32]) -> Result<Vec<f64>, WorldError>) -> Result<Vec<f64>> {
    let policy = TreePolicy::new(&world.tree, |path| match path {
        [] => vec![0.0; VOCABULARY],
        _ => logits(path).unwrap_or_default(),
    })?;
    Ok(policy.leaf_probabilities())
}

fn searched(world: &World, potential: &Potential, smc: &Smc, seed: Seed) -> Result<Searched> {
    let mut law = vec![0.0; world.tree.leaves().len()];
    let (mut best, mut tokens, mut scored) = (0.0, 0.0, 0.0);
    let searches = (RUNS * PROMPTS.len() as u64) as f64;
    for prompt in PROMPTS {
        for run in 0..RUNS {
            let ctx = SearchCtx::new(&world.reference, LENGTH, seed.child("particles", prompt.into()));
            let ctx = ctx.with_scorer(potential, Reduce::Sum).with_steps(Steps::blocks(1));
            let mut ctx = ctx.with_first(run);
            for found in smc.particles(&[Tokens::from(vec![prompt])], &mut ctx)? {
                let mut most = f64::NEG_INFINITY;
                for (path, log_weight) in found.paths.iter().zip(&found.log_weights) {
                    // Leaves stand in the order of their paths.
                    let place = |leaf: usize, token: &u32| leaf * VOCABULARY + *token as usize;
                    law[path.tokens().iter().fold(prompt as usize, place)] += log_weight.exp() / searches;
                    most = most.max(world.reward(prompt, path.tokens())?);
                }
                best += most / searches;
            }
            tokens += ctx.spent().generated as f64 / searches;
            scored += ctx.calls().scorer_tokens as f64 / searches;
        }
    }
    Ok(Searched { law, best, tokens, scored })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laws_worked_by_hand() {
        // Four prompts with two texts each.
        let weights = [1.0, 3.0, 2.0, 2.0, 0.0, 5.0, 1.0, 1.0];
        assert_eq!(normalized(&weights), [0.0625, 0.1875, 0.125, 0.125, 0.0, 0.25, 0.125, 0.125]);
        // The better text, of a half, is missed by both samples with 1/4; a quarter is missed with 9/16.
        let reference = [0.125, 0.125, 0.0625, 0.1875, 0.25, 0.0, 0.125, 0.125];
        let rewards = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0];
        let law = best_of(&reference, &rewards, 2).unwrap();
        let expected = [0.1875, 0.0625, 0.109375, 0.140625, 0.25, 0.0, 0.0625, 0.1875];
        assert!(law.iter().zip(&expected).all(|(got, expected)| (got - expected).abs() < 1e-12), "{law:?}");
    }
}
