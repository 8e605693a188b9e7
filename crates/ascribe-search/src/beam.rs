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
//! with more kinds of end token than beams, fewer beams may live on.

use ascribe_core::{Candidate, CoreError, Finish, Reply, Tokens, Usage};

use crate::{Found, Search, SearchCtx, SearchError};

/// When a search ends, besides `max_new`: `early_stopping` of transformers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, PartialEq)]
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

/// A text that is followed.
struct Live {
    tokens: Vec<u32>,
    logps: Vec<f32>,
    sum: f64,
}

/// The search from one prompt.
struct State {
    /// Most tokens to write.
    room: usize,
    live: Vec<Live>,
    /// Best first.
    finished: Vec<(f64, Candidate)>,
    usage: Usage,
    open: bool,
}

impl Beam {
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

    /// One more token for every live beam; `replies` are those to the beams, in their order.
    fn step(&self, state: &mut State, replies: &[Reply]) {
        let length = state.live.first().map_or(0, |beam| beam.tokens.len()) + 1;
        let mut candidates: Vec<(f64, &Live, &Candidate)> = Vec::new();
        for (beam, reply) in state.live.iter().zip(replies) {
            state.usage += reply.usage;
            candidates.extend(reply.candidates.iter().map(|next| (beam.sum + sum(&next.logps), beam, next)));
        }
        // A stable sort: of equals the better beam and the smaller id stay first.
        candidates.sort_by(|left, right| right.0.total_cmp(&left.0));
        let (mut live, mut ended) = (Vec::new(), Vec::new());
        for (rank, (sum, beam, next)) in candidates.into_iter().enumerate() {
            let ends = next.finish == Finish::End;
            let tokens = [&beam.tokens[..], &next.tokens[..]].concat();
            let logps = [&beam.logps[..], &next.logps[..]].concat();
            if rank < self.beams && (ends || length == state.room) {
                let finish = if ends { Finish::End } else { Finish::Length };
                let candidate = Candidate { tokens: tokens.into(), logps, finish };
                ended.push((self.score(sum, length), candidate));
            } else if !ends && live.len() < self.beams {
                live.push(Live { tokens, logps, sum });
            }
        }
        state.finished.extend(ended);
        state.finished.sort_by(|left, right| right.0.total_cmp(&left.0));
        state.finished.truncate(self.beams);
        if live.is_empty() && state.finished.is_empty() {
            // The policy named no token: what there is stays.
            state.open = false;
            return;
        }
        state.live = live;
        state.open = length < state.room && !state.live.is_empty() && !self.is_over(state, length);
    }

    /// Whether what is finished is all that is wanted.
    fn is_over(&self, state: &State, length: usize) -> bool {
        if state.finished.len() < self.beams {
            return false;
        }
        let (Some((worst, _)), Some(best)) = (state.finished.last(), state.live.first()) else { return true };
        match self.early_stopping {
            EarlyStopping::WhenFull => true,
            EarlyStopping::Never if self.length_penalty > 0.0 => self.score(best.sum, state.room) <= *worst,
            EarlyStopping::WhenAhead | EarlyStopping::Never => self.score(best.sum, length) <= *worst,
        }
    }

    fn found(&self, mut state: State) -> Found {
        if state.finished.is_empty() {
            let unfinished = state.live.into_iter().map(|beam| {
                let score = self.score(beam.sum, beam.tokens.len());
                (score, Candidate { tokens: beam.tokens.into(), logps: beam.logps, finish: Finish::Length })
            });
            state.finished.extend(unfinished);
        }
        state.finished.truncate(self.returned);
        let (scores, candidates): (Vec<f32>, Vec<Candidate>) =
            state.finished.into_iter().map(|(score, candidate)| (score as f32, candidate)).unzip();
        Found { candidates, scores: Some(scores), chosen: 0, usage: state.usage }
    }
}

impl State {
    fn new(room: usize) -> Self {
        let start = Live { tokens: Vec::new(), logps: Vec::new(), sum: 0.0 };
        Self { room, live: vec![start], finished: Vec::new(), usage: Usage::default(), open: room > 0 }
    }
}

impl Search for Beam {
    fn search(&self, prompts: &[Tokens], ctx: &mut SearchCtx) -> Result<Vec<Found>, SearchError> {
        self.check()?;
        ctx.allow(prompts.len() * self.beams)?;
        let mut states: Vec<State> = prompts.iter().map(|prompt| State::new(ctx.room(prompt))).collect();
        loop {
            let open: Vec<usize> = (0..states.len()).filter(|at| states[*at].open).collect();
            if open.is_empty() {
                break;
            }
            let mut prefixes = Vec::new();
            for at in &open {
                prefixes.extend(states[*at].live.iter().map(|beam| prompts[*at].followed_by(&beam.tokens)));
            }
            let mut replies = ctx.top(&prefixes, self.beams.saturating_mul(2))?.into_iter();
            for at in open {
                let state = &mut states[at];
                let replies: Vec<Reply> = replies.by_ref().take(state.live.len()).collect();
                self.step(state, &replies);
            }
        }
        Ok(states.into_iter().map(|state| self.found(state)).collect())
    }
}

fn sum(logps: &[f32]) -> f64 {
    logps.iter().map(|logp| f64::from(*logp)).sum()
}
