//! DeAL: decoding-time alignment, arXiv:2402.06147.
//!
//! ```text
//! c(y_t) = log P(y_1..t | prompt) + lambda h(y_1..t+l, prompt)      y_t of the k likeliest tokens, then l tokens greedily
//! ```
//! The best `beams` texts by `c` live on; only `y_t` is kept of what was written. `h` is the context's scorer, on the text with
//! its lookahead; see [`heuristics`](crate::heuristics) for scorers by rule, and a reward model is one as well. A token that
//! ends the text gets no lookahead. A text that ends among the best takes its place in the beam with it, and the best `c` of
//! those that ended is chosen. Ties go to the likelier text, then to the smaller id. With `force_end` nothing is cut off: the last
//! token that there is room for is one that ends the text.
//!
//! The published k, l and lambda are not known to us: k 10 and l 32 are ours, and lambda is to be tuned on held-out prompts.
//! Ranking blocks of tokens by reward alone is another algorithm: [`StepBeam`](crate::StepBeam) over
//! [`Steps::blocks`](crate::Steps::blocks).

use std::cmp::Ordering;

use ascribe_core::{Candidate, CoreError, Finish, Tokens};
use serde::{Deserialize, Serialize};

use crate::error::check;
use crate::tilt::times;
use crate::{Found, Needs, NodeState, Path, PromptCtx, Reach, Search, SearchCtx, SearchError, Stopped};

/// Token search with lookahead and a heuristic.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Deal {
    /// Tokens that are tried after each text; at least 1.
    pub k: usize,
    /// Tokens that are looked ahead; 0 has the text itself scored.
    pub lookahead: usize,
    /// Weight of the heuristic; infinite ranks by it alone, and by likelihood among equals.
    pub lambda: f64,
    /// Texts that are followed at once; at least 1.
    pub beams: usize,
    /// The last token that there is room for has to end the text, however unlikely that is. A policy that tells no number of
    /// its token ids can only be asked for the `k` likeliest; where none of these ends the text, it is cut off all the same.
    pub force_end: bool,
}

impl Default for Deal {
    fn default() -> Self {
        Self { k: 10, lookahead: 32, lambda: 1.0, beams: 1, force_end: false }
    }
}

/// A text with its `c`.
type Valued = (f64, Path);

/// The greater `c` first, and of equals the likelier text.
fn better_first((left, one): &Valued, (right, other): &Valued) -> Ordering {
    // Adding 0 makes one zero of both.
    let by_c = (right + 0.0).total_cmp(&(left + 0.0));
    by_c.then((other.logp() + 0.0).total_cmp(&(one.logp() + 0.0)))
}

impl Deal {
    /// `log P + lambda h`.
    fn value(&self, logp: f64, heuristic: f64) -> f64 {
        if self.lambda.is_infinite() { heuristic } else { logp + times(self.lambda, heuristic) }
    }

    fn one(&self, ctx: &mut PromptCtx) -> Result<Found, SearchError> {
        let mut live: Vec<Valued> = vec![(0.0, ctx.root())];
        let (mut finished, mut cut): (Vec<Valued>, Vec<Valued>) = (Vec::new(), Vec::new());
        while finished.len() < self.beams {
            let (open, full): (Vec<Valued>, Vec<Valued>) = live.into_iter().partition(|(_, path)| ctx.is_open(path));
            cut.extend(full);
            live = open;
            if live.is_empty() {
                break;
            }
            let paths: Vec<Path> = live.iter().map(|(_, path)| path.clone()).collect();
            // Live texts are equally long.
            let forced = self.force_end && paths[0].tokens().len() + 1 == ctx.room();
            let every = ctx.policy().vocabulary().unwrap_or(self.k);
            let Some(next) = ctx.top(&paths, if forced { every } else { self.k })? else { break };
            let mut children = Vec::new();
            for (path, next) in paths.iter().zip(&next) {
                let ends = |token: &Candidate| token.finish == Finish::End;
                let forced = forced && next.iter().any(ends);
                for (index, token) in next.iter().enumerate() {
                    let allowed = if forced { ends(token) } else { index < self.k };
                    if allowed {
                        children.push(ctx.child(path, index, token));
                    }
                }
            }
            if children.is_empty() {
                ctx.stop(Stopped::Nothing);
                break;
            }
            let Some(heuristics) = self.ahead(ctx, &children)? else { break };
            let value = |(path, h): (Path, f32)| (self.value(path.logp(), f64::from(h)), path);
            let mut ranked: Vec<Valued> = children.into_iter().zip(heuristics).map(value).collect();
            // A stable sort: of equals the smaller id stays first.
            ranked.sort_by(better_first);
            live = Vec::new();
            for (c, path) in ranked.into_iter().take(self.beams - finished.len()) {
                ctx.value(&path, c);
                ctx.mark([&path], NodeState::Kept);
                if path.ended() { finished.push((c, path)) } else { live.push((c, path)) }
            }
        }
        let mut found = if finished.is_empty() {
            [cut, live].concat()
        } else {
            cut.retain(|(_, path)| ctx.competes(path));
            [finished, cut].concat()
        };
        found.sort_by_key(|(_, path)| path.node());
        // The first of equals.
        let best = (0..found.len()).min_by(|left, right| better_first(&found[*left], &found[*right])).unwrap_or(0);
        if found.iter().all(|(_, path)| path.tokens().is_empty()) {
            return Ok(ctx.unfinished());
        }
        let (values, paths): (Vec<f32>, Vec<Path>) = found.into_iter().map(|(c, path)| (c as f32, path)).unzip();
        Ok(ctx.found(&paths, Some(values), best))
    }

    /// The heuristic of each path with its lookahead.
    fn ahead(&self, ctx: &mut PromptCtx, paths: &[Path]) -> Result<Option<Vec<f32>>, SearchError> {
        let mut ahead = paths.to_vec();
        let open: Vec<usize> = (0..paths.len()).filter(|at| ctx.is_open(&paths[*at])).collect();
        if self.lookahead > 0 && !open.is_empty() {
            let from: Vec<Path> = open.iter().map(|at| paths[*at].clone()).collect();
            let Some(written) = ctx.write_greedily(&from, Reach::Tokens(self.lookahead))? else { return Ok(None) };
            for (at, written) in open.into_iter().zip(written) {
                if let Some(written) = written.into_iter().next() {
                    ahead[at] = written;
                }
            }
        }
        ctx.score(&ahead)
    }
}

impl Search for Deal {
    fn search(&self, prompts: &[Tokens], ctx: &mut SearchCtx) -> Result<Vec<Found>, SearchError> {
        check("k", "at least 1", self.k as f64, self.k > 0)?;
        check("beams", "at least 1", self.beams as f64, self.beams > 0)?;
        check("lambda", "at least 0", self.lambda, self.lambda >= 0.0)?;
        if self.force_end && !ctx.policy().ends() {
            let rule = "`force_end` needs a policy that ends its texts; give it an end token, or leave `force_end` out";
            return Err(CoreError::Shape { rule, got: "a policy without an end token".to_owned() }.into());
        }
        ctx.each(prompts, |ctx| self.one(ctx))
    }

    fn needs(&self) -> Needs {
        Needs { scorer: true, top: true, answers: false }
    }
}
