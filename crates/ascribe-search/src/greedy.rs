//! Greedy decoding: the most likely token, always.

use ascribe_core::{Mode, Tokens};

use crate::context::Scored;
use crate::{Found, Search, SearchCtx, SearchError};

/// The most likely token at every step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Greedy;

impl Search for Greedy {
    fn search(&self, prompts: &[Tokens], ctx: &mut SearchCtx) -> Result<Vec<Found>, SearchError> {
        ctx.sampled(prompts, 1, Mode::Greedy, Scored::No, |_, _, _| Ok(0))
    }
}
