//! Potential assessment of paths, stopped early: PARM of arXiv:2501.13926, for steps of any kind.
//!
//! ```text
//! clarity     is asked of a path after each step until it is first said yes: the text can be assessed
//! potential   is asked once, at that step; no: the path stops, and P(no) is kept
//! choice      among paths with potential: the best by the judge (or the scorer). None has any: the least P(no), written to the
//!             end. None was ever clear: the judge over all. None of these ended: the likeliest of them
//! ```
//! The potential of a text is the context's scorer, in [0, 1], and yes is above `threshold`; clarity is a step number, or a
//! scorer of its own with the threshold 1/2. Departures: the authors write stopped paths to the end all the same; and where no
//! path is ever clear their rule returns the first.

use ascribe_core::{Reduce, Scorer, Tokens};
use serde::{Deserialize, Serialize};

use crate::error::check;
use crate::{Found, Needs, NodeState, Path, PromptCtx, Reach, Search, SearchCtx, SearchError, Stopped, ranked};

/// Numbers of [`PathSelection`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PathOptions {
    /// Paths; at least 1.
    pub n: usize,
    /// Most steps; at least 1.
    pub levels: usize,
    /// Without a scorer of clarity a text is clear from this step on; 1 is the first.
    pub clear_from: usize,
    /// A text has potential when the scorer says more than this.
    pub threshold: f32,
}

impl Default for PathOptions {
    fn default() -> Self {
        Self { n: 4, levels: 40, clear_from: 1, threshold: 0.5 }
    }
}

/// Paths that are stopped when they have no potential.
#[derive(Clone, Copy, Default)]
pub struct PathSelection<'a> {
    /// The numbers.
    pub options: PathOptions,
    /// Says in [0, 1] whether a text is clear.
    pub clarity: Option<&'a dyn Scorer>,
}

/// A path with what was said of it.
struct Walk {
    path: Path,
    verdict: Verdict,
}

#[derive(Clone, Copy, PartialEq)]
enum Verdict {
    Unclear,
    Potential,
    /// It was stopped, with this P(no).
    Stopped(f32),
}

impl PathSelection<'_> {
    fn one(&self, ctx: &mut PromptCtx) -> Result<Found, SearchError> {
        let PathOptions { n, levels, .. } = self.options;
        let mut walks: Vec<Walk> = Vec::new();
        for level in 0..levels {
            let reach = if level + 1 == levels { Reach::End } else { Reach::Step };
            if level == 0 {
                let root = ctx.root();
                let Some(first) = ctx.write(&[root], n, reach)? else { break };
                walks.extend(first.concat().into_iter().map(|path| Walk { path, verdict: Verdict::Unclear }));
            } else if !self.advance(ctx, &mut walks, reach)? {
                break;
            }
            if !self.assess(ctx, &mut walks, level + 1)? {
                break;
            }
        }
        self.chosen(ctx, walks)
    }

    /// One more step for every path that may go on. False when none may, or the limits do not cover it.
    fn advance(&self, ctx: &mut PromptCtx, walks: &mut [Walk], reach: Reach) -> Result<bool, SearchError> {
        let goes_on = |walk: &Walk| !matches!(walk.verdict, Verdict::Stopped(_)) && ctx.is_open(&walk.path);
        let open: Vec<usize> = (0..walks.len()).filter(|at| goes_on(&walks[*at])).collect();
        if open.is_empty() {
            return Ok(false);
        }
        let from: Vec<Path> = open.iter().map(|at| walks[*at].path.clone()).collect();
        let Some(next) = ctx.write(&from, 1, reach)? else { return Ok(false) };
        let mut written = false;
        for (at, next) in open.into_iter().zip(next) {
            if let Some(path) = next.into_iter().next() {
                walks[at].path = path;
                written = true;
            }
        }
        if !written {
            ctx.stop(Stopped::Nothing);
        }
        Ok(written)
    }

    /// Asks for clarity and, where it is there for the first time, for potential. False when the limits do not cover it.
    fn assess(&self, ctx: &mut PromptCtx, walks: &mut [Walk], step: usize) -> Result<bool, SearchError> {
        let unclear: Vec<usize> = (0..walks.len()).filter(|at| walks[*at].verdict == Verdict::Unclear).collect();
        let paths = |at: &[usize], walks: &[Walk]| at.iter().map(|at| walks[*at].path.clone()).collect::<Vec<Path>>();
        let clear: Vec<usize> = match self.clarity {
            None if step < self.options.clear_from => Vec::new(),
            None => unclear,
            Some(clarity) => {
                let Some(said) = ctx.score_by(clarity, Reduce::Last, &paths(&unclear, walks))? else {
                    return Ok(false);
                };
                unclear.into_iter().zip(said).filter(|(_, yes)| *yes > 0.5).map(|(at, _)| at).collect()
            }
        };
        let Some(said) = ctx.score(&paths(&clear, walks))? else { return Ok(false) };
        for (at, yes) in clear.into_iter().zip(said) {
            check("the potential of a text", "in [0, 1]", yes.into(), (0.0..=1.0).contains(&yes))?;
            let goes_on = yes > self.options.threshold;
            walks[at].verdict = if goes_on { Verdict::Potential } else { Verdict::Stopped(1.0 - yes) };
            ctx.mark([&walks[at].path], if goes_on { NodeState::Kept } else { NodeState::Pruned });
        }
        Ok(true)
    }

    fn chosen(&self, ctx: &mut PromptCtx, walks: Vec<Walk>) -> Result<Found, SearchError> {
        let stopped = walks.iter().filter_map(|walk| match walk.verdict {
            Verdict::Stopped(no) => Some((&walk.path, no)),
            Verdict::Unclear | Verdict::Potential => None,
        });
        let least = stopped.reduce(|best, other| if other.1 < best.1 { other } else { best });
        let hopeful = walks.iter().any(|walk| walk.verdict == Verdict::Potential);
        if let Some((path, _)) = least.filter(|_| !hopeful) {
            let mut path = path.clone();
            if ctx.is_open(&path)
                && let Some(written) = ctx.write(std::slice::from_ref(&path), 1, Reach::End)?
                && let Some(whole) = written.concat().into_iter().next()
            {
                path = whole;
            }
            return Ok(ctx.found(&[path], None, 0));
        }
        let verdict = if hopeful { Verdict::Potential } else { Verdict::Unclear };
        let left = walks.into_iter().filter(|walk| walk.verdict == verdict).map(|walk| walk.path);
        let (ended, open): (Vec<Path>, Vec<Path>) = left.partition(|path| ctx.competes(path));
        if !ended.is_empty() {
            // Where the limits do not cover the judge, likelihood decides.
            let scores = ctx.judge(&ended)?;
            let best = ranked(scores.as_deref().unwrap_or(&vec![0.0f32; ended.len()]), &ended)[0];
            return Ok(ctx.found(&ended, scores, best));
        }
        Ok(match ranked(&vec![0.0; open.len()], &open).first() {
            Some(likeliest) => ctx.found(&[open[*likeliest].clone()], None, 0),
            None => ctx.unfinished(),
        })
    }
}

impl Search for PathSelection<'_> {
    fn search(&self, prompts: &[Tokens], ctx: &mut SearchCtx) -> Result<Vec<Found>, SearchError> {
        let PathOptions { n, levels, threshold, .. } = self.options;
        if n == 0 {
            return Err(SearchError::NoSamples);
        }
        check("levels", "at least 1", levels as f64, levels > 0)?;
        check("threshold", "in [0, 1]", threshold.into(), (0.0..=1.0).contains(&threshold))?;
        ctx.each(prompts, |ctx| self.one(ctx))
    }

    fn needs(&self) -> Needs {
        Needs { scorer: true, ..Needs::default() }
    }
}
