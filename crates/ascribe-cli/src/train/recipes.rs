//! Every method on rollouts: an estimator, a loss, and what they have for options unless others are given.

use ascribe::preference::rl::{Aggregation, KlPlace};

/// What a method on rollouts is made of, unless options say otherwise.
pub struct Recipe {
    /// The name of the method.
    pub name: &'static str,
    /// What it is, in one line.
    pub about: &'static str,
    pub estimator: &'static str,
    pub loss: &'static str,
    /// How tokens become one number, where it is not the way of the loss.
    pub aggregation: Option<Aggregation>,
    pub epsilon_high: Option<f64>,
    /// Strength of the pull to the reference in the loss.
    pub beta: f64,
    /// Strength and place of the penalty for leaving the reference in the reward.
    pub kl: (f64, KlPlace),
    /// Weight of the loss of values.
    pub vf_coef: f64,
    /// Where responses are cut.
    pub segment: Option<&'static str>,
    /// Whether each prompt is attempted twice.
    pub twice: bool,
}

const PLAIN: Recipe = Recipe {
    name: "grpo",
    about: "Group relative policy optimization: rewards against the mean of their group, a cut ratio of tokens.",
    estimator: "grpo",
    loss: "dapo",
    aggregation: None,
    epsilon_high: None,
    beta: 0.0,
    kl: (0.0, KlPlace::Tokens),
    vf_coef: 0.1,
    segment: None,
    twice: false,
};

/// Every method on rollouts.
pub static RECIPES: [Recipe; 17] = [
    PLAIN,
    Recipe {
        name: "dr_grpo",
        about: "GRPO without the spread of the group, and without the length of a response.",
        estimator: "dr_grpo",
        loss: "dr_grpo",
        ..PLAIN
    },
    Recipe {
        name: "dapo",
        about: "GRPO with more room of the ratio above 1 than below.",
        epsilon_high: Some(0.28),
        ..PLAIN
    },
    Recipe { name: "gspo", about: "GRPO with one ratio for each response.", loss: "gspo", ..PLAIN },
    Recipe {
        name: "cispo",
        about: "GRPO with cut weights of tokens, all of which are learned from.",
        loss: "cispo",
        ..PLAIN
    },
    Recipe {
        name: "rloo",
        about: "REINFORCE with the mean reward of the other responses as the baseline, leave-one-out.",
        estimator: "rloo",
        loss: "rloo",
        kl: (0.05, KlPlace::Score),
        ..PLAIN
    },
    Recipe {
        name: "reinforce",
        about: "The policy gradient of the reward, without a cut ratio.",
        estimator: "reinforce",
        loss: "reinforce",
        ..PLAIN
    },
    Recipe {
        name: "reinforce_plus_plus",
        about: "REINFORCE++: rewards that are whitened over the batch, a cut ratio, no critic.",
        estimator: "reinforce_plus_plus",
        loss: "ppo",
        ..PLAIN
    },
    Recipe {
        name: "remax",
        about: "ReMax: the reward of the greedy response is the baseline.",
        estimator: "remax",
        loss: "reinforce",
        ..PLAIN
    },
    Recipe {
        name: "ppo",
        about: "Proximal policy optimization: a critic of tokens (GAE) and a cut ratio.",
        estimator: "gae",
        loss: "ppo",
        kl: (0.05, KlPlace::Tokens),
        ..PLAIN
    },
    Recipe {
        name: "ma_ppo",
        about: "MA-PPO: PPO whose critic values macro actions of several tokens.",
        estimator: "macro_gae",
        loss: "ppo",
        kl: (0.05, KlPlace::Tokens),
        segment: Some("fixed:5"),
        ..PLAIN
    },
    Recipe {
        name: "raft",
        about: "Reward-ranked fine-tuning: imitates the best of its responses.",
        estimator: "raft",
        loss: "reinforce",
        ..PLAIN
    },
    Recipe {
        name: "oreal",
        about: "OREAL: imitates right responses, and learns from wrong ones against the mean reward.",
        estimator: "oreal",
        loss: "oreal",
        beta: 0.01,
        vf_coef: 1.0,
        ..PLAIN
    },
    Recipe {
        name: "oreo",
        about: "OREO: policy and values of one soft Bellman equation.",
        estimator: "oreo",
        loss: "oreo",
        beta: 0.03,
        vf_coef: 1.0,
        ..PLAIN
    },
    Recipe {
        name: "brain",
        about: "BRAIn: draws the policy to the reference, reweighed by how good responses are.",
        estimator: "brain",
        loss: "brain",
        ..PLAIN
    },
    // The same estimator; what is asked for stands in the prompt.
    Recipe {
        name: "steer-lm",
        about: "SteerLM 2.0: draws the policy to the attributes that are asked for.",
        estimator: "brain",
        loss: "brain",
        ..PLAIN
    },
    Recipe {
        name: "score",
        about: "SCoRe: two attempts at each prompt, of which the second is to correct the first.",
        estimator: "rloo",
        loss: "reinforce",
        aggregation: Some(Aggregation::SeqMeanTokenSum),
        beta: 0.01,
        twice: true,
        ..PLAIN
    },
];

/// The method `name`, if it is one on rollouts.
pub fn recipe(name: &str) -> Option<&'static Recipe> {
    RECIPES.iter().find(|recipe| recipe.name == name)
}

#[cfg(test)]
mod tests {
    use ascribe::preference::rl::{ESTIMATORS, OTHER_LOSSES, POLICY_LOSSES};

    use super::*;

    #[test]
    fn every_method_names_what_there_is() {
        let losses: Vec<&str> =
            POLICY_LOSSES.iter().map(|(name, ..)| *name).chain(OTHER_LOSSES.iter().map(|(name, ..)| *name)).collect();
        for recipe in &RECIPES {
            assert!(ESTIMATORS.iter().any(|(name, _)| *name == recipe.estimator), "{}", recipe.name);
            assert!(losses.contains(&recipe.loss), "{}", recipe.name);
        }
        for (loss, estimator, _) in OTHER_LOSSES {
            assert!(RECIPES.iter().any(|recipe| (recipe.loss, recipe.estimator) == (loss, estimator)), "{loss}");
        }
    }
}
