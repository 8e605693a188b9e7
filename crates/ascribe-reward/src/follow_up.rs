//! The likelihood of follow-ups as a reward: "Aligning Language Models Using Follow-up Likelihood as Reward Signal",
//! arXiv:2409.13948.
//!
//! ```text
//! r = mean over categories of [ mean over positive follow-ups of lp(f|x,y) - mean over negative ones of lp(f|x,y) ]
//! lp = mean log-probability of the tokens of f as the user's next turn
//! ```
//! A user who got a good answer says other things next than one who did not. Only the tokens of the follow-up count: role
//! markers belong to the prefix, and the end token is left out. The averaging over categories is our reading; lengths are
//! averaged, so that long follow-ups do not dominate, or summed by option.

use ascribe_core::{Continuation, CoreError, Credit, Episode, Policy, Scorer, Tokens};

use crate::RewardError;
use crate::error::{not_empty, same_length};

/// What users say next, in one category such as relevance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FollowUps {
    /// After a good answer.
    pub positive: Vec<Tokens>,
    /// After a bad one.
    pub negative: Vec<Tokens>,
}

/// How the tokens of a follow-up become one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OverTokens {
    /// Their mean.
    #[default]
    Mean,
    /// Their sum.
    Sum,
}

/// The reward; `prefix` renders the conversation of an episode up to where the user's next turn begins.
pub struct FollowUpLikelihood<'a, F> {
    policy: &'a dyn Policy,
    prefix: F,
    categories: Vec<FollowUps>,
    over: OverTokens,
}

impl<'a, F: Fn(&Episode) -> Result<Tokens, CoreError> + Send + Sync> FollowUpLikelihood<'a, F> {
    /// The reward by what `policy` expects users to say.
    ///
    /// # Errors
    /// When there is no category, one has no positive or no negative follow-up, or a follow-up has no token.
    pub fn new(
        policy: &'a dyn Policy,
        prefix: F,
        categories: Vec<FollowUps>,
        over: OverTokens,
    ) -> Result<Self, RewardError> {
        not_empty("the categories of follow-ups", &categories)?;
        for FollowUps { positive, negative } in &categories {
            not_empty("the positive follow-ups", positive)?;
            not_empty("the negative follow-ups", negative)?;
            for follow_up in positive.iter().chain(negative) {
                not_empty("the tokens of a follow-up", follow_up)?;
            }
        }
        Ok(Self { policy, prefix, categories, over })
    }
}

impl<F: Fn(&Episode) -> Result<Tokens, CoreError> + Send + Sync> Scorer for FollowUpLikelihood<'_, F> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let mut given = Vec::new();
        for episode in episodes {
            let prefix = (self.prefix)(episode)?;
            for FollowUps { positive, negative } in &self.categories {
                let both = positive.iter().chain(negative);
                given.extend(both.map(|tokens| Continuation { prefix: prefix.clone(), tokens: tokens.clone() }));
            }
        }
        let (logps, _) = self.policy.score(&given)?;
        same_length("the scores of the follow-ups", given.len(), logps.len())?;
        let one = |logps: Vec<f32>| {
            let sum: f64 = logps.iter().map(|logp| f64::from(*logp)).sum();
            if self.over == OverTokens::Mean { sum / logps.len() as f64 } else { sum }
        };
        let mut values = logps.into_iter().map(one);
        let mut mean_of = |n: usize| values.by_ref().take(n).sum::<f64>() / n as f64;
        let mut credits = Vec::with_capacity(episodes.len());
        for _ in episodes {
            let mut reward = 0.0;
            for FollowUps { positive, negative } in &self.categories {
                reward += mean_of(positive.len());
                reward -= mean_of(negative.len());
            }
            credits.push(Credit::sequence((reward / self.categories.len() as f64) as f32));
        }
        Ok(credits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::parts;
    use crate::text::tests::{Scripted, encode, episode};

    /// A user who says "thanks" after a response with an "x", and "wrong" else.
    fn logp(before: &str, follow_up: &str) -> f32 {
        let good = before.contains('x');
        match follow_up {
            "thanks" if good => -6.0,
            "wrong" if !good => -5.0,
            _ => -30.0,
        }
    }

    fn tokens(text: &str) -> Tokens {
        encode(text).unwrap()
    }

    fn reward(positive: &[&str], negative: &[&str], over: OverTokens, response: &str) -> f64 {
        let policy = Scripted { answer: |_: &str| String::new(), logp };
        let side = |texts: &[&str]| texts.iter().map(|text| tokens(text)).collect::<Vec<_>>();
        let categories = vec![FollowUps { positive: side(positive), negative: side(negative) }];
        let prefix = |episode: &Episode| -> Result<Tokens, CoreError> {
            let (prompt, response) = parts(episode)?;
            encode(&format!("user: {prompt} assistant: {response} user: "))
        };
        let scorer = FollowUpLikelihood::new(&policy, prefix, categories, over).unwrap();
        f64::from(scorer.score(&[episode("q", response)]).unwrap()[0].values()[0])
    }

    #[test]
    fn follow_ups_by_hand() {
        let mean = |response: &str| reward(&["thanks"], &["wrong"], OverTokens::Mean, response);
        // -6/6 + 30/5 and -30/6 + 5/5.
        assert!((mean("x") - 5.0).abs() < 1e-6 && (mean("y") + 4.0).abs() < 1e-6);
        // Sums: -6 + 30.
        assert!((reward(&["thanks"], &["wrong"], OverTokens::Sum, "x") - 24.0).abs() < 1e-5);
    }

    #[test]
    fn swapping_the_lists_negates_the_reward() {
        for response in ["x", "y"] {
            let there = reward(&["thanks", "ok"], &["wrong"], OverTokens::Mean, response);
            let back = reward(&["wrong"], &["thanks", "ok"], OverTokens::Mean, response);
            assert!((there + back).abs() < 1e-6);
            // The same follow-up on both sides cancels.
            assert!(reward(&["ok"], &["ok"], OverTokens::Mean, response).abs() < 1e-6);
        }
    }

    #[test]
    fn other_follow_ups_do_not_change_a_follow_up() {
        // Whatever stands beside it in the call, a category gives its own value; the mean over two is their middle.
        let policy = Scripted { answer: |_: &str| String::new(), logp };
        let prefix = |_: &Episode| encode("x");
        let category = |positive: &str| FollowUps { positive: vec![tokens(positive)], negative: vec![tokens("wrong")] };
        let score = |categories: Vec<FollowUps>| {
            let scorer = FollowUpLikelihood::new(&policy, prefix, categories, OverTokens::Mean).unwrap();
            scorer.score(&[episode("q", "a")]).unwrap()[0].values()[0]
        };
        let (first, second) = (score(vec![category("thanks")]), score(vec![category("a much longer follow-up")]));
        let both = score(vec![category("thanks"), category("a much longer follow-up")]);
        assert!((both - 0.5 * (first + second)).abs() < 1e-5);
    }

    #[test]
    fn empty_lists_are_refused() {
        let policy = Scripted { answer: |_: &str| String::new(), logp };
        let refused = |categories: Vec<FollowUps>| {
            FollowUpLikelihood::new(&policy, |_: &Episode| encode("x"), categories, OverTokens::Mean).is_err()
        };
        let one = || vec![tokens("a")];
        assert!(refused(vec![]));
        assert!(refused(vec![FollowUps { positive: vec![], negative: one() }]));
        assert!(refused(vec![FollowUps { positive: one(), negative: vec![] }]));
        assert!(refused(vec![FollowUps { positive: one(), negative: vec![tokens("")] }]));
    }
}
