//! Majority vote, also called self-consistency (arXiv:2203.11171), and the weighted vote.
//!
//! The candidate that is returned is the best-scored one of the winning group, its first where there are no scores. Where no
//! sample has an answer it is the best-scored sample, or the first. A sample that was cut off votes where none ended, or where
//! the context allows it ([`SearchCtx::with_cut`]).

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
            let among = ctx.choosable(paths);
            let votes: Vec<Option<A>> = among.iter().map(|at| answer(&paths[*at])).collect();
            Ok(among[vote(&votes)])
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
                let among = ctx.choosable(paths);
                let answers = only(ctx.answers(paths)?, &among);
                let groups = groups(&answers, |left, right| ctx.same_answer(left, right));
                Ok(winner(&groups).map_or(among[0], |group| group.members[0]))
            }),
            Some(weights) => ctx.sampled(prompts, self.n, ctx.mode(), Scored::Yes, |ctx, paths, scores| {
                voted(ctx, paths, scores, weights, &ctx.choosable(paths))
            }),
        }
    }

    fn needs(&self) -> Needs {
        Needs { scorer: self.weights.is_some(), answers: true, top: false }
    }
}

/// The answers of the candidates `among` alone.
fn only(answers: Vec<Option<String>>, among: &[usize]) -> Vec<Option<String>> {
    answers.into_iter().enumerate().map(|(at, answer)| answer.filter(|_| among.contains(&at))).collect()
}

/// The best-scored path of the group with the heaviest scores; the best-scored path where nobody votes. Only those `among`
/// vote, or are chosen.
pub(crate) fn voted(
    ctx: &PromptCtx,
    paths: &[Path],
    scores: &[f32],
    weights: VoteWeights,
    among: &[usize],
) -> Result<usize, SearchError> {
    let answers = only(ctx.answers(paths)?, among);
    let groups = weighted_groups(&answers, &weights.of(scores)?, |left, right| ctx.same_answer(left, right))?;
    let order = ranked(scores, paths);
    let elected = |at: &&usize| among.contains(*at) && winner(&groups).is_none_or(|group| group.members.contains(*at));
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
