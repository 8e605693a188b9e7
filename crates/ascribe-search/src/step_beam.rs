//! Beam search over steps, with a verifier, and with lookahead.
//!
//! ```text
//! level 0     n first steps of the prompt                 level h     `expand` next steps of each of the n / expand kept texts
//! score       of each candidate text, by the context's scorer and reduction, all at once
//! lookahead   L > 0: the score is that of the text after L more steps, each the likeliest; only the candidate is kept, or with
//!             `reuse` the first of these steps is one of its children
//! keep        the best n / expand; ties by log-probability, then by age
//! ```
//! The last level writes to the end. The search ends when no text is left to go on from, or n are finished; the judge (or
//! the scorer) then chooses among what finished, or a vote does. Texts with equal tokens are one (`merge`), so their places
//! go to the next best.
//!
//! Sources: Rewarding Progress (arXiv:2410.08146), whose effective reward is a matter of the scorer, with the plain value as
//! judge; step search of arXiv:2408.03314, its lookahead included. With the value of an offline policy (OREO,
//! arXiv:2412.16145) it is value-guided beam search: [`StepBeam::value_guided`]. With steps that are blocks of tokens
//! ([`Steps::blocks`](crate::Steps::blocks)) it is blockwise controlled decoding.

use std::collections::HashMap;

use ascribe_core::{CoreError, Tokens};
use serde::{Deserialize, Serialize};

use crate::error::check;
use crate::majority::voted;
use crate::{
    Found, Needs, NodeState, Path, PromptCtx, Reach, Search, SearchCtx, SearchError, Stopped, VoteWeights, ranked,
};

/// What happens to a text that finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFinished {
    /// It is set aside, and its place goes to the next best.
    #[default]
    SetAside,
    /// It takes its place with it: the beam is one narrower, and empty after n / expand of them.
    Shrink,
    /// It stays in the beam until it is beaten.
    Compete,
}

/// How the last choice is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pick {
    /// The best score.
    #[default]
    Best,
    /// A vote on answers with the scores as weights; see [`SearchCtx::with_answers`].
    Vote(VoteWeights),
}

impl Pick {
    /// Whether it reads answers.
    pub(crate) fn needs_answers(self) -> bool {
        matches!(self, Self::Vote(_))
    }
}

/// Beam search over steps.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StepBeam {
    /// Candidates of a level; a multiple of `expand`.
    pub n: usize,
    /// Children of each kept text; at least 1.
    pub expand: usize,
    /// Most levels; at least 1.
    pub levels: usize,
    /// Steps that are looked ahead before a candidate is scored.
    pub lookahead: usize,
    /// The first step that was looked ahead of a kept text is one of its children, and one fewer is drawn; not on the last level,
    /// which writes to the end. For a lookahead of at least 1 and at least 2 children.
    pub reuse: bool,
    /// What happens to a text that finished.
    pub when_finished: WhenFinished,
    /// Texts of equal tokens are one.
    pub merge: bool,
    /// How the last choice is made.
    pub pick: Pick,
}

impl Default for StepBeam {
    fn default() -> Self {
        Self {
            n: 4,
            expand: 4,
            levels: 40,
            lookahead: 0,
            reuse: false,
            when_finished: WhenFinished::SetAside,
            merge: true,
            pick: Pick::Best,
        }
    }
}

/// A text with its score.
pub(crate) type Valued = (Path, f32);

/// The search from one prompt.
struct State {
    /// Places in the beam.
    keep: usize,
    active: Vec<Valued>,
    finished: Vec<Valued>,
    /// Cut off by the greatest length.
    cut: Vec<Valued>,
}

impl StepBeam {
    /// `k` texts are kept and each has `k` children, for 20 levels: the search of OREO with its value as scorer.
    pub fn value_guided(k: usize) -> Self {
        Self { n: k.saturating_mul(k), expand: k, levels: 20, ..Self::default() }
    }

    pub(crate) fn check(&self) -> Result<(), SearchError> {
        check("expand", "at least 1", self.expand as f64, self.expand > 0)?;
        check("levels", "at least 1", self.levels as f64, self.levels > 0)?;
        if self.n == 0 {
            return Err(SearchError::NoSamples);
        }
        if !self.n.is_multiple_of(self.expand) {
            return Err(SearchError::Uneven { n: self.n, expand: self.expand });
        }
        if self.reuse && (self.lookahead == 0 || self.expand < 2) {
            let rule =
                "`reuse` makes a child of what was looked ahead, and needs `lookahead` of at least 1 and `expand` of 2";
            let got = format!("lookahead {} and expand {}", self.lookahead, self.expand);
            return Err(CoreError::Shape { rule, got }.into());
        }
        Ok(())
    }

    fn one(&self, ctx: &mut PromptCtx) -> Result<Found, SearchError> {
        let keep = self.n / self.expand;
        let mut state = State { keep, active: vec![(ctx.root(), 0.0)], finished: Vec::new(), cut: Vec::new() };
        // The first step that was looked ahead of each text, by its node.
        let mut ahead: HashMap<usize, Path> = HashMap::new();
        for level in 0..self.levels {
            let open: Vec<Path> =
                state.active.iter().map(|(path, _)| path.clone()).filter(|path| ctx.is_open(path)).collect();
            if open.is_empty() || state.finished.len() >= self.n {
                break;
            }
            let is_last = level + 1 == self.levels;
            let reused = self.reuse && level > 0 && !is_last;
            let each = if level == 0 { self.n } else { self.expand - usize::from(reused) };
            let reach = if is_last { Reach::End } else { Reach::Step };
            let Some(written) = ctx.write(&open, each, reach)? else { break };
            let mut children = Vec::new();
            for (path, written) in open.iter().zip(written) {
                children.extend(written);
                if reused {
                    children.extend(ahead.get(&path.node()).map(|step| step.redrawn("ahead", 0)));
                }
            }
            let children = if self.merge { merged(children) } else { children };
            if children.is_empty() {
                ctx.stop(Stopped::Nothing);
                break;
            }
            let Some(LookedAhead { scores, first }) = looked_ahead(ctx, &children, self.lookahead)? else { break };
            ahead = children.iter().zip(first).filter_map(|(path, step)| Some((path.node(), step?))).collect();
            self.keep_best(ctx, &mut state, children, &scores);
        }
        self.chosen(ctx, state)
    }

    /// Goes on from the level before to `children`.
    fn keep_best(&self, ctx: &mut PromptCtx, state: &mut State, children: Vec<Path>, scores: &[f32]) {
        let mut candidates: Vec<Valued> = children.into_iter().zip(scores.iter().copied()).collect();
        if self.when_finished == WhenFinished::Compete {
            candidates.extend(std::mem::take(&mut state.active).into_iter().filter(|(path, _)| path.ended()));
        }
        let order = {
            let (paths, scores): (Vec<Path>, Vec<f32>) = candidates.iter().cloned().unzip();
            ranked(&scores, &paths)
        };
        let (mut active, mut pruned) = (Vec::new(), Vec::new());
        let places = state.keep;
        for at in order {
            let (path, score) = candidates[at].clone();
            let taken = active.len() + places - state.keep;
            match self.when_finished {
                WhenFinished::SetAside if path.ended() => state.finished.push((path, score)),
                WhenFinished::Shrink if path.ended() && taken < places => {
                    state.finished.push((path, score));
                    state.keep -= 1;
                }
                _ if taken < places && (path.ended() || ctx.is_open(&path)) => active.push((path, score)),
                _ if !path.ended() && !ctx.is_open(&path) => state.cut.push((path, score)),
                _ => pruned.push(path),
            }
        }
        ctx.mark(&pruned, NodeState::Pruned);
        ctx.mark(active.iter().map(|(path, _)| path), NodeState::Kept);
        state.active = active;
    }

    /// The last choice: among what finished, or the best of what did not.
    fn chosen(&self, ctx: &mut PromptCtx, state: State) -> Result<Found, SearchError> {
        let (ended, open): (Vec<Valued>, Vec<Valued>) = state.active.into_iter().partition(|(path, _)| path.ended());
        let mut found = state.finished;
        found.extend(ended);
        found.extend(state.cut.iter().filter(|(path, _)| ctx.competes(path)).cloned());
        if !found.is_empty() {
            found.sort_by_key(|(path, _)| path.node());
            return last_choice(ctx, found, self.pick);
        }
        let (paths, scores): (Vec<Path>, Vec<f32>) = open.into_iter().chain(state.cut).unzip();
        best_unfinished(ctx, &paths, &scores)
    }
}

impl Search for StepBeam {
    fn search(&self, prompts: &[Tokens], ctx: &mut SearchCtx) -> Result<Vec<Found>, SearchError> {
        self.check()?;
        ctx.each(prompts, |ctx| self.one(ctx))
    }

    fn needs(&self) -> Needs {
        Needs { scorer: true, answers: self.pick.needs_answers(), top: false }
    }
}

/// Without texts whose tokens stood there before.
fn merged(paths: Vec<Path>) -> Vec<Path> {
    let mut seen = std::collections::HashSet::new();
    paths.into_iter().filter(|path| seen.insert(path.tokens().to_vec())).collect()
}

/// What looking ahead said of some paths.
pub(crate) struct LookedAhead {
    /// The score of each.
    pub(crate) scores: Vec<f32>,
    /// The first step ahead of each, where there is one.
    pub(crate) first: Vec<Option<Path>>,
}

/// The score of each path after `steps` more steps, each the likeliest; `None` when the limits do not cover it.
pub(crate) fn looked_ahead(
    ctx: &mut PromptCtx,
    paths: &[Path],
    steps: usize,
) -> Result<Option<LookedAhead>, SearchError> {
    let (mut ahead, mut first) = (paths.to_vec(), vec![None; paths.len()]);
    for _ in 0..steps {
        let open: Vec<usize> = (0..ahead.len()).filter(|at| ctx.is_open(&ahead[*at])).collect();
        if open.is_empty() {
            break;
        }
        let from: Vec<Path> = open.iter().map(|at| ahead[*at].clone()).collect();
        let Some(next) = ctx.write_greedily(&from, Reach::Step)? else { return Ok(None) };
        for (at, next) in open.into_iter().zip(next) {
            // A policy that has nothing to add leaves the text as it is.
            if let Some(next) = next.into_iter().next() {
                first[at].get_or_insert_with(|| next.clone());
                ahead[at] = next;
            }
        }
    }
    let Some(scores) = ctx.score(&ahead)? else { return Ok(None) };
    for (path, score) in paths.iter().zip(&scores) {
        ctx.value(path, f64::from(*score));
    }
    Ok(Some(LookedAhead { scores, first }))
}

/// Lets the judge, if there is one, and then `pick` choose among texts that were found.
pub(crate) fn last_choice(ctx: &mut PromptCtx, found: Vec<Valued>, pick: Pick) -> Result<Found, SearchError> {
    let (paths, scores): (Vec<Path>, Vec<f32>) = found.into_iter().unzip();
    let judged = if ctx.has_judge() { ctx.judge(&paths)? } else { None };
    let scores = judged.unwrap_or(scores);
    pick_among(ctx, paths.into_iter().zip(scores).collect(), pick)
}

/// Lets `pick` choose among texts that were found, by the scores that they have.
pub(crate) fn pick_among(ctx: &mut PromptCtx, found: Vec<Valued>, pick: Pick) -> Result<Found, SearchError> {
    let (paths, scores): (Vec<Path>, Vec<f32>) = found.into_iter().unzip();
    let chosen = match pick {
        Pick::Best => ctx.best(&scores, &paths),
        Pick::Vote(weights) => voted(ctx, &paths, &scores, weights, &ctx.choosable(&paths))?,
    };
    Ok(ctx.found(&paths, Some(scores), chosen))
}

/// The best of texts that did not end, alone; the empty text where there is none.
pub(crate) fn best_unfinished(ctx: &mut PromptCtx, paths: &[Path], scores: &[f32]) -> Result<Found, SearchError> {
    match ranked(scores, paths).first() {
        Some(best) if !paths[*best].tokens().is_empty() => {
            Ok(ctx.found(&[paths[*best].clone()], Some(vec![scores[*best]]), 0))
        }
        _ => Ok(ctx.unfinished()),
    }
}
