//! Best-of-n: sample n, keep the one that the scorer likes best; a tie goes to the first.

use ascribe_core::Tokens;

use crate::{Found, Search, SearchCtx, SearchError};

/// The best of `n` samples under the context's scorer.
#[derive(Clone, Copy, Debug)]
pub struct BestOfN {
    /// Samples of each prompt; at least 1.
    pub n: usize,
}

impl Search for BestOfN {
    fn search(&self, prompts: &[Tokens], ctx: &mut SearchCtx) -> Result<Vec<Found>, SearchError> {
        let replies = ctx.propose(prompts, self.n, false)?;
        let scores = ctx.score(prompts, &replies)?;
        let found = |(reply, scores): (ascribe_core::Reply, Vec<f32>)| {
            // Strictly greater: the first of equals stays.
            let chosen = (0..scores.len()).fold(0, |best, at| if scores[at] > scores[best] { at } else { best });
            Found { candidates: reply.candidates, scores: Some(scores), chosen, usage: reply.usage }
        };
        Ok(replies.into_iter().zip(scores).map(found).collect())
    }
}
