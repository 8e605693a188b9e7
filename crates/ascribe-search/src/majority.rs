//! Majority vote, also called self-consistency (arXiv:2203.11171), and the weighted vote.
//!
//! The candidate that is returned is the best-scored one of the winning group, its first where there are no scores. Where no
//! sample has an answer it is the best-scored sample, or the first.

use ascribe_core::{Candidate, Tokens};
use serde::{Deserialize, Serialize};

use crate::context::Scored;
use crate::votes::{groups, weighted_groups, winner};
use crate::{Found, Needs, Path, PromptCtx, Search, SearchCtx, SearchError, VoteWeights, ranked};

/// A sample with the answer that most of `n` samples give.
pub struct Majority<F> {
    /// Samples of each prompt; at least 1.
    pub n: usize,
    /// The answer of a candidate; `None` when it has none, which is no vote.
    pub answer: F,
}

/// Index of the first candidate with the most frequent answer; a tie goes to the answer seen first. 0 when no candidate
/// has an answer.
pub fn vote<A: PartialEq>(answers: &[Option<A>]) -> usize {
    winner(&groups(answers, A::eq)).map_or(0, |group| group.members[0])
}

impl<A: PartialEq, F: Fn(usize, &Candidate) -> Option<A> + Send + Sync> Search for Majority<F> {
    fn search(&self, prompts: &[Tokens], ctx: &mut SearchCtx) -> Result<Vec<Found>, SearchError> {
        ctx.sampled(prompts, self.n, ctx.mode(), Scored::No, |ctx, paths, _| {
            let answer = |path: &Path| (self.answer)(ctx.number(), &path.candidate());
            Ok(vote(&paths.iter().map(answer).collect::<Vec<_>>()))
        })
    }
}

/// A vote of `n` samples on the answer, as the context reads it ([`SearchCtx::with_answers`]).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Vote {
    /// Samples of each prompt; at least 1.
    pub n: usize,
    /// What the scores are worth; `None` asks no scorer, and every sample has one vote.
    pub weights: Option<VoteWeights>,
}

impl Default for Vote {
    fn default() -> Self {
        Self { n: 4, weights: None }
    }
}

impl Search for Vote {
    fn search(&self, prompts: &[Tokens], ctx: &mut SearchCtx) -> Result<Vec<Found>, SearchError> {
        match self.weights {
            None => ctx.sampled(prompts, self.n, ctx.mode(), Scored::No, |ctx, paths, _| {
                let answers = ctx.answers(paths)?;
                let groups = groups(&answers, |left, right| ctx.same_answer(left, right));
                Ok(winner(&groups).map_or(0, |group| group.members[0]))
            }),
            Some(weights) => ctx.sampled(prompts, self.n, ctx.mode(), Scored::Yes, |ctx, paths, scores| {
                voted(ctx, paths, scores, weights)
            }),
        }
    }

    fn needs(&self) -> Needs {
        Needs { scorer: self.weights.is_some(), answers: true, top: false }
    }
}

/// The best-scored path of the group with the heaviest scores; the best-scored path where nobody votes.
pub(crate) fn voted(
    ctx: &PromptCtx,
    paths: &[Path],
    scores: &[f32],
    weights: VoteWeights,
) -> Result<usize, SearchError> {
    let answers = ctx.answers(paths)?;
    let groups = weighted_groups(&answers, &weights.of(scores)?, |left, right| ctx.same_answer(left, right))?;
    let order = ranked(scores, paths);
    let elected = |at: &&usize| winner(&groups).is_none_or(|group| group.members.contains(at));
    Ok(order.iter().find(elected).copied().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_most_frequent_answers_wins() {
        assert_eq!(vote(&[Some(1), Some(2), Some(2)]), 1);
        assert_eq!(vote(&[Some(2), Some(1), Some(1), Some(2)]), 0);
        assert_eq!(vote(&[None, Some(3), None]), 1);
        assert_eq!(vote::<u8>(&[None, None]), 0);
    }
}
