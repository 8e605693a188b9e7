//! Best-of-n: sample n, keep the one that the judge (the scorer, where there is none) likes best.
//!
//! A tie goes to the likelier sample, then to the first. Where the limits cover fewer than n samples, those are taken. A sample
//! that was cut off is chosen where none ended, or where the context allows it ([`SearchCtx::with_cut`]).

use ascribe_core::Tokens;
use serde::{Deserialize, Serialize};

use crate::context::Scored;
use crate::{Found, Needs, Search, SearchCtx, SearchError};

/// The best of `n` samples under the context's judge, or its scorer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BestOfN {
    /// Samples of each prompt; at least 1.
    pub n: usize,
}

impl Default for BestOfN {
    fn default() -> Self {
        Self { n: 4 }
    }
}

impl Search for BestOfN {
    fn search(&self, prompts: &[Tokens], ctx: &mut SearchCtx) -> Result<Vec<Found>, SearchError> {
        ctx.sampled(prompts, self.n, ctx.mode(), Scored::Yes, |ctx, paths, scores| Ok(ctx.best(scores, paths)))
    }

    fn needs(&self) -> Needs {
        Needs { scorer: true, ..Needs::default() }
    }
}
