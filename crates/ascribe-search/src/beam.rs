//! Beam search, as in transformers' `num_beams`.
//!
//! ```text
//! candidates   each live beam with each of its 2 beams most likely next tokens, ranked by sum log p
//! finished     of the best `beams` candidates those that end; score = sum log p / length ^ length_penalty
//! live         the best `beams` candidates that do not end
//! ```
//! The length counts the tokens that were written, the end token among them. The best `beams` finished texts are kept, and
//! what still lives at `max_new` is finished. Ties go to the better beam, then to the smaller id. Departures: a single beam
//! is searched like any other number (it is greedy decoding, but with [`EarlyStopping::Never`] it may go on past an end);
//! with more kinds of end token than beams, fewer beams may live on. Where the limits do not cover another token, what lives
//! is returned if nothing is finished.
//!
//! [`Beam::likelihood`] is the search of arXiv:2404.12358 (From r to Q*) on a policy that was aligned with beta:
//!
//! ```text
//! beta log pi*(a|s) / pi_ref(a|s) = r(s, a) + V*(s') - V*(s)
//! so   sum (r + beta log pi_ref) + V*(end) = V*(start) + beta sum log pi*
//! ```
//! The most likely text of the policy is the best by reward and value, whatever beta is. Lengths are not weighed: that would
//! break the equality. [`Likelihood`] is this search under a name of its own; it refuses a policy that ends no text, whose sums
//! compare beginnings.

use ascribe_core::{Candidate, CoreError, Finish, Tokens};
use serde::{Deserialize, Serialize};

use crate::{Found, Needs, NodeState, Path, PromptCtx, Search, SearchCtx, SearchError, Stopped};

/// When a search ends, besides `max_new`: `early_stopping` of transformers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EarlyStopping {
    /// `False`: when all finished texts are at least as good as the best live beam, measured at its present length.
    #[default]
    WhenAhead,
    /// `True`: as soon as `beams` texts are finished.
    WhenFull,
    /// `"never"`: when no continuation can be better than what is finished; where long texts score higher, the live beam is
    /// measured at the greatest length.
    Never,
}

/// The texts of greatest likelihood that a beam of some width finds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Beam {
    /// Texts that are followed at once; at least 1.
    pub beams: usize,
    /// Exponent of the length; above 0 favours long texts, 0 compares sums of log-probabilities.
    pub length_penalty: f64,
    /// When a search ends.
    pub early_stopping: EarlyStopping,
    /// Candidates that are returned, best first, with their scores; at most `beams`.
    pub returned: usize,
}

impl Default for Beam {
    fn default() -> Self {
        Self { beams: 4, length_penalty: 1.0, early_stopping: EarlyStopping::default(), returned: 1 }
    }
}

/// The search from one prompt.
struct State {
    live: Vec<Path>,
    /// Best first, with their scores.
    finished: Vec<(f64, Path)>,
    open: bool,
}

impl Beam {
    /// The most likely texts, by the sum of their log-probabilities: all `beams` of them are returned.
    pub fn likelihood(beams: usize) -> Self {
        Self { beams, length_penalty: 0.0, early_stopping: EarlyStopping::WhenAhead, returned: beams }
    }

    fn check(&self) -> Result<(), SearchError> {
        if !(1..=self.beams).contains(&self.returned) {
            return Err(SearchError::Beams { beams: self.beams, returned: self.returned });
        }
        if !self.length_penalty.is_finite() {
            let (name, rule) = ("length_penalty", "finite (start from 1)");
            return Err(CoreError::Range { name, rule, got: self.length_penalty }.into());
        }
        Ok(())
    }

    fn score(&self, sum: f64, length: usize) -> f64 {
        sum / (length.max(1) as f64).powf(self.length_penalty)
    }

    /// One more token for every live beam; `next` are the likeliest tokens after each, in their order.
    fn step(&self, state: &mut State, next: &[Vec<Candidate>], ctx: &mut PromptCtx) {
        let length = state.live.first().map_or(0, |beam| beam.tokens().len()) + 1;
        let mut candidates: Vec<(f64, usize, usize)> = Vec::new();
        for (beam, tokens) in next.iter().enumerate() {
            let sum = |token: &Candidate| state.live[beam].logp() + f64::from(token.logps.iter().sum::<f32>());
            candidates.extend(tokens.iter().enumerate().map(|(rank, token)| (sum(token), beam, rank)));
        }
        // A stable sort: of equals the better beam and the smaller id stay first.
        candidates.sort_by(|left, right| right.0.total_cmp(&left.0));
        let (mut live, mut ended) = (Vec::new(), Vec::new());
        for (rank, (sum, beam, token)) in candidates.into_iter().enumerate() {
            let candidate = &next[beam][token];
            let ends = candidate.finish == Finish::End || ctx.stops(&state.live[beam], candidate).is_some();
            if rank < self.beams && (ends || length == ctx.room()) {
                ended.push((self.score(sum, length), ctx.child(&state.live[beam], token, candidate)));
            } else if !ends && live.len() < self.beams {
                live.push(ctx.child(&state.live[beam], token, candidate));
            }
        }
        ctx.mark(&live, NodeState::Kept);
        for (score, path) in &ended {
            ctx.value(path, *score);
        }
        state.finished.extend(ended);
        state.finished.sort_by(|left, right| right.0.total_cmp(&left.0));
        state.finished.truncate(self.beams);
        if live.is_empty() && state.finished.is_empty() {
            // The policy named no token: what there is stays.
            ctx.stop(Stopped::Nothing);
            state.open = false;
            return;
        }
        state.live = live;
        state.open = length < ctx.room() && !state.live.is_empty() && !self.is_over(state, length, ctx.room());
    }

    /// Whether what is finished is all that is wanted.
    fn is_over(&self, state: &State, length: usize, room: usize) -> bool {
        if state.finished.len() < self.beams {
            return false;
        }
        let (Some((worst, _)), Some(best)) = (state.finished.last(), state.live.first()) else { return true };
        match self.early_stopping {
            EarlyStopping::WhenFull => true,
            EarlyStopping::Never if self.length_penalty > 0.0 => self.score(best.logp(), room) <= *worst,
            EarlyStopping::WhenAhead | EarlyStopping::Never => self.score(best.logp(), length) <= *worst,
        }
    }

    fn one(&self, ctx: &mut PromptCtx) -> Result<Found, SearchError> {
        let mut state = State { live: vec![ctx.root()], finished: Vec::new(), open: ctx.room() > 0 };
        while state.open {
            let Some(next) = ctx.top(&state.live, self.beams.saturating_mul(2))? else { break };
            self.step(&mut state, &next, ctx);
        }
        if state.finished.is_empty() {
            let unfinished = state.live.into_iter().map(|beam| (self.score(beam.logp(), beam.tokens().len()), beam));
            state.finished.extend(unfinished);
        }
        state.finished.truncate(self.returned);
        let (scores, paths): (Vec<f32>, Vec<Path>) =
            state.finished.into_iter().map(|(score, path)| (score as f32, path)).unzip();
        Ok(ctx.found(&paths, Some(scores), 0))
    }
}

/// The most likely whole texts: [`Beam::likelihood`], for a policy that ends its texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Likelihood {
    /// Texts that are followed at once, and returned; at least 1. More than 5 made texts longer and worse in the paper.
    pub beams: usize,
}

impl Default for Likelihood {
    fn default() -> Self {
        Self { beams: 5 }
    }
}

impl Search for Likelihood {
    fn search(&self, prompts: &[Tokens], ctx: &mut SearchCtx) -> Result<Vec<Found>, SearchError> {
        if !ctx.policy().ends() {
            let rule =
                "the most likely whole text needs a policy that ends its texts; give it an end token, or take `beam`";
            return Err(CoreError::Shape { rule, got: "a policy without an end token".to_owned() }.into());
        }
        Beam::likelihood(self.beams).search(prompts, ctx)
    }

    fn needs(&self) -> Needs {
        Needs { top: true, ..Needs::default() }
    }
}

impl Search for Beam {
    fn search(&self, prompts: &[Tokens], ctx: &mut SearchCtx) -> Result<Vec<Found>, SearchError> {
        self.check()?;
        ctx.each(prompts, |ctx| self.one(ctx))
    }

    fn needs(&self) -> Needs {
        Needs { top: true, ..Needs::default() }
    }
}
