//! Texts with one wrong token, for credit that is to find it.
//!
//! A text takes the best token at every place but one, under the exact values of the reference, and the worst there.

use anyhow::Result;
use ascribe::core::{Continuation, Episode, Scorer, Seed};
use ascribe::eval::Bootstrap;
use ascribe::eval::credit::{MarkedCredit, token_auroc_micro};
use ascribe::eval::rank::spearman;
use ascribe::preference::ImplicitReward;
use ascribe::worlds::TreePolicy;
use rand::RngExt;

use crate::world::{PROMPTS, World};

/// Texts of one measurement.
const TEXTS: u64 = 100;

/// Texts, and where they are wrong.
pub struct Planted {
    episodes: Vec<Episode>,
    marks: Vec<Vec<bool>>,
    worth: Vec<f64>,
}

impl Planted {
    /// Texts of a world, with the prompt and the place of the wrong token drawn.
    pub fn drawn(world: &World, seed: Seed) -> Result<Self> {
        let exact = world.tree.exact_value(&world.reference)?;
        let (mut episodes, mut marks, mut worth) = (Vec::new(), Vec::new(), Vec::new());
        let length = world.tree.depth() - 1;
        for number in 0..TEXTS {
            let mut stream = seed.stream("planted", number);
            let (prompt, wrong) = (PROMPTS[stream.random_range(0..PROMPTS.len())], stream.random_range(0..length));
            let mut path = vec![prompt];
            for at in 0..length {
                let values = exact.q(&path)?;
                let better = |one: f64, other: f64| if at == wrong { one < other } else { one > other };
                let token =
                    (1..values.len()).fold(0, |best, one| if better(values[one], values[best]) { one } else { best });
                worth.push(values[token] - exact.value(&path)?);
                path.push(token as u32);
            }
            episodes.push(Episode::new(&path[..1], &path[1..]));
            marks.push((0..length).map(|at| at == wrong).collect());
        }
        Ok(Self { episodes, marks, worth })
    }

    /// The texts behind their prompts.
    pub fn asked(&self) -> Vec<Continuation> {
        let asked = |episode: &Episode| Continuation {
            prefix: episode.prompt_tokens().into(),
            tokens: episode.response_tokens().into(),
        };
        self.episodes.iter().map(asked).collect()
    }

    /// How well low credit of response tokens finds the wrong ones.
    pub fn auroc(&self, credits: &[Vec<f32>]) -> Result<f64> {
        let marked: Vec<MarkedCredit> = credits
            .iter()
            .zip(&self.marks)
            .map(|(credit, error)| MarkedCredit {
                credit: credit.iter().map(|value| f64::from(*value)).collect(),
                error: error.clone(),
            })
            .collect();
        Ok(token_auroc_micro(&marked, &Bootstrap::NONE)?.value)
    }

    /// The same by the log-ratios of a policy to the reference.
    pub fn auroc_of_ratios(&self, world: &World, policy: &TreePolicy) -> Result<f64> {
        self.auroc(&self.ratios(world, policy)?)
    }

    /// The log-ratio of each response token, `log pi - log pi_ref`.
    pub fn ratios(&self, world: &World, policy: &TreePolicy) -> Result<Vec<Vec<f32>>> {
        let reward = ImplicitReward { policy, reference: &world.reference, beta: 1.0 };
        Ok(reward.score(&self.episodes)?.iter().map(|credit| credit.values()[1..].to_vec()).collect())
    }

    /// Spearman's correlation over all response tokens of credit and worth, the exact advantage under the reference.
    pub fn correlation(&self, credits: &[Vec<f32>]) -> Result<f64> {
        let credits: Vec<f64> = credits.iter().flatten().map(|credit| f64::from(*credit)).collect();
        Ok(spearman(&credits, &self.worth, &Bootstrap::NONE)?.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_is_held_against_exact_advantages() {
        // A token is worth its number and the reference is even, so the others' mean is 1.5: 3 is worth 1.5, and 0 is wrong.
        let world = World::new(2, Seed(0), |path| path[1..].iter().map(|token| f64::from(*token)).sum()).unwrap();
        let uniform = TreePolicy::uniform(&world.tree);
        let planted = Planted::drawn(&World { reference: uniform, ..world }, Seed(1)).unwrap();
        let numbers: Vec<Vec<f32>> =
            planted.asked().iter().map(|text| text.tokens.iter().map(|token| *token as f32).collect()).collect();
        assert!(numbers.iter().all(|tokens| tokens.iter().sum::<f32>() == 3.0), "one token is best and one is worst");
        let expected: Vec<f64> = numbers.iter().flatten().map(|token| f64::from(*token) - 1.5).collect();
        assert!(planted.worth.iter().zip(&expected).all(|(worth, expected)| (worth - expected).abs() < 1e-12));
        let turned: Vec<Vec<f32>> = numbers.iter().map(|tokens| tokens.iter().map(|token| -token).collect()).collect();
        assert!((planted.correlation(&numbers).unwrap() - 1.0).abs() < 1e-12);
        assert!((planted.correlation(&turned).unwrap() + 1.0).abs() < 1e-12);
        assert_eq!([&numbers, &turned].map(|credits| planted.auroc(credits).unwrap()), [1.0, 0.0]);
    }
}
