//! Texts with one wrong token, for credit that is to find it.
//!
//! A text takes the best token at every place but one, under the exact values of the reference, and the worst there.

use anyhow::Result;
use ascribe::core::{Continuation, Episode, Scorer, Seed};
use ascribe::eval::Bootstrap;
use ascribe::eval::credit::{MarkedCredit, token_auroc_micro};
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
}

impl Planted {
    /// Texts of a world, with the prompt and the place of the wrong token drawn.
    pub fn drawn(world: &World, seed: Seed) -> Result<Self> {
        let exact = world.tree.exact_value(&world.reference)?;
        let (mut episodes, mut marks) = (Vec::new(), Vec::new());
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
                path.push(token as u32);
            }
            episodes.push(Episode::new(&path[..1], &path[1..]));
            marks.push((0..length).map(|at| at == wrong).collect());
        }
        Ok(Self { episodes, marks })
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
        let reward = ImplicitReward { policy, reference: &world.reference, beta: 1.0 };
        let credits: Vec<Vec<f32>> =
            reward.score(&self.episodes)?.iter().map(|credit| credit.values()[1..].to_vec()).collect();
        self.auroc(&credits)
    }
}
