//! Majority vote, also called self-consistency: arXiv:2203.11171.

use ascribe_core::{Candidate, Tokens};

use crate::{Found, Search, SearchCtx, SearchError};

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
    let votes = |answer: &A| answers.iter().flatten().filter(|other| *other == answer).count();
    let mut best: Option<(usize, usize)> = None;
    for (at, answer) in answers.iter().enumerate() {
        let Some(answer) = answer else { continue };
        let count = votes(answer);
        if best.is_none_or(|(_, most)| count > most) {
            best = Some((at, count));
        }
    }
    best.map_or(0, |(at, _)| at)
}

impl<A: PartialEq, F: Fn(usize, &Candidate) -> Option<A> + Send + Sync> Search for Majority<F> {
    fn search(&self, prompts: &[Tokens], ctx: &mut SearchCtx) -> Result<Vec<Found>, SearchError> {
        let replies = ctx.propose(prompts, self.n, false)?;
        let found = |(prompt, reply): (usize, ascribe_core::Reply)| {
            let answers: Vec<Option<A>> = reply.candidates.iter().map(|one| (self.answer)(prompt, one)).collect();
            Found { chosen: vote(&answers), candidates: reply.candidates, scores: None, usage: reply.usage }
        };
        Ok(replies.into_iter().enumerate().map(found).collect())
    }
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
