//! Controlled decoding and ARGS: token decoding by what a scorer says of each next token.
//!
//! ```text
//! pi(z|s) ~ p(z|s) exp(weight v(s z))     over the k likeliest z
//! ARGS    v = r, the reward of the text so far        arXiv:2402.01694
//! CD      v = V, its expected final reward            arXiv:2310.17022, the token-wise form
//! ```
//! The scorer of the context is v, so which of the two it is depends on the scorer. A process model of `ascribe-process` that
//! learned outcomes or values of tokens is a V: squares of outcomes at every token are CD-FUDGE, temporal differences CD-Q. With `V = log E_p[exp(r) | s]`, weight 1
//! and [`Choose::Sample`] the texts have exactly the distribution `p(y) exp(r(y)) / Z`. The blockwise form of CD is
//! [`StepBeam`](crate::StepBeam) with one kept text over [`Steps::blocks`](crate::Steps::blocks).

use ascribe_core::Tokens;
use serde::{Deserialize, Serialize};

use crate::error::check;
use crate::tilt::{Choose, decode};
use crate::{Found, Needs, Search, SearchCtx, SearchError};

/// Token decoding by a scorer of prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Controlled {
    /// Tokens that are weighed at each place; at least 1.
    pub k: usize,
    /// Weight of the scorer; 0 is the policy itself.
    pub weight: f64,
    /// How a token is chosen.
    pub choose: Choose,
}

impl Default for Controlled {
    fn default() -> Self {
        Self { k: 10, weight: 1.0, choose: Choose::Best }
    }
}

impl Search for Controlled {
    fn search(&self, prompts: &[Tokens], ctx: &mut SearchCtx) -> Result<Vec<Found>, SearchError> {
        check("k", "at least 1", self.k as f64, self.k > 0)?;
        check("weight", "finite and at least 0", self.weight, self.weight >= 0.0 && self.weight.is_finite())?;
        // A weight of 0 is an infinite alpha.
        let alpha = 1.0 / self.weight;
        ctx.each(prompts, |ctx| {
            decode(ctx, self.k, alpha, self.choose, |ctx, paths| {
                let scores = ctx.score(paths)?;
                Ok(scores.map(|scores| scores.into_iter().map(f64::from).collect()))
            })
        })
    }

    fn needs(&self) -> Needs {
        Needs { scorer: true, top: true, answers: false }
    }
}
