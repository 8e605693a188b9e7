//! Greedy decoding: the most likely token, always.

use ascribe_core::Tokens;

use crate::{Found, Search, SearchCtx, SearchError};

/// The most likely token at every step.
#[derive(Clone, Copy, Debug, Default)]
pub struct Greedy;

impl Search for Greedy {
    fn search(&self, prompts: &[Tokens], ctx: &mut SearchCtx) -> Result<Vec<Found>, SearchError> {
        let replies = ctx.propose(prompts, 1, true)?;
        let found = |reply: ascribe_core::Reply| Found {
            candidates: reply.candidates,
            scores: None,
            chosen: 0,
            usage: reply.usage,
        };
        Ok(replies.into_iter().map(found).collect())
    }
}
