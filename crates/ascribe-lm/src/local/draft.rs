//! A candidate while it is being written.

use ascribe_core::{Candidate, Finish, Mode, Request, Stream, Until};

use super::sample::{choose, top};

/// A candidate that is being written.
pub(super) struct Draft {
    pub(super) request: usize,
    pub(super) candidate: usize,
    pub(super) stream: Stream,
    /// Most tokens that it may have: what was asked for, or what the context leaves.
    pub(super) room: usize,
    /// What was written; for [`Mode::Top`] the most likely next tokens, of which each is a candidate.
    pub(super) tokens: Vec<u32>,
    pub(super) logps: Vec<f32>,
    pub(super) finish: Option<Finish>,
}

impl Draft {
    /// Nothing yet; finished at once where there is no room.
    pub(super) fn new(number: usize, request: &Request, candidate: usize, context: usize) -> Self {
        let room = request.max_new.min(context - request.prefix.len());
        Self {
            request: number,
            candidate,
            stream: request.seed.stream("sample", candidate as u64),
            room,
            tokens: Vec::new(),
            logps: Vec::new(),
            finish: (room == 0).then_some(Finish::Length),
        }
    }

    /// Writes the next token, given the logits after what stands there.
    pub(super) fn take(&mut self, logits: &[f32], request: &Request, ends: &[u32]) {
        if request.mode == Mode::Top {
            (self.tokens, self.logps) = top(logits, request.n).into_iter().unzip();
            self.finish = Some(Finish::Step);
            return;
        }
        let seen = [&request.prefix[..], &self.tokens[..]];
        let (token, logp) = choose(logits, request.mode, seen, &mut self.stream);
        self.tokens.push(token);
        self.logps.push(logp);
        let step = match &request.until {
            Until::Token => true,
            Until::Step(separators) => separators.contains(&token),
            Until::End => false,
        };
        self.finish = if ends.contains(&token) {
            Some(Finish::End)
        } else if step {
            Some(Finish::Step)
        } else if self.tokens.len() >= self.room {
            Some(Finish::Length)
        } else {
            None
        };
    }

    /// What was written: one candidate, or each of the most likely next tokens.
    pub(super) fn candidates(self, mode: Mode, ends: &[u32]) -> Vec<Candidate> {
        let Self { tokens, logps, finish, .. } = self;
        if mode != Mode::Top {
            return vec![Candidate { tokens: tokens.into(), logps, finish: finish.unwrap_or(Finish::Length) }];
        }
        let finish = |token: &u32| if ends.contains(token) { Finish::End } else { Finish::Step };
        let one = |(token, logp): (u32, f32)| Candidate {
            finish: finish(&token),
            tokens: vec![token].into(),
            logps: vec![logp],
        };
        tokens.into_iter().zip(logps).map(one).collect()
    }
}
