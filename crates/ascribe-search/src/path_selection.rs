//! Potential assessment of paths, stopped early: PARM of arXiv:2501.13926, for steps of any kind; and PARM++, which reflects on
//! what was chosen.
//!
//! ```text
//! clarity     is asked of a path after each step until it is first said yes: the text can be assessed
//! potential   is asked once, at that step; no: the path stops, and P(no) is kept
//! choice      among paths with potential: the best by the judge (or the scorer). None has any: the least P(no), written to the
//!             end. None was ever clear: the judge over all. None of these ended: the likeliest of them
//! reflection  while the judge says no more than `enough` of the choice, at most `reflections` times: what is wrong with it is
//!             put into words, and it is written again with these before it; the best by the judge stays
//! ```
//! The potential of a text is the context's scorer, in [0, 1], and yes is above `threshold`; clarity is a step number, or a
//! scorer of its own with the threshold 1/2. The words of a reflection are those of [`Reflection`]; without one the text is
//! written again after itself, as in [`Revise`](crate::Revise). Departures: the authors write stopped paths to the end all the
//! same; and where no path is ever clear their rule returns the first.

use ascribe_core::{Policy, Reduce, Scorer, Tokens};
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
    /// Most times that the choice is reflected on and written again; 0 is PARM.
    pub reflections: usize,
    /// A choice of which the judge says more than this is not reflected on.
    pub enough: f32,
}

impl Default for PathOptions {
    fn default() -> Self {
        Self { n: 4, levels: 40, clear_from: 1, threshold: 0.5, reflections: 0, enough: 0.5 }
    }
}

/// Says in words what is wrong with a text, for its revision.
#[derive(Clone, Copy)]
pub struct Reflection<'a> {
    /// Who says it; `None` is the policy of the context.
    pub policy: Option<&'a dyn Policy>,
    /// What is asked: from the prompt and the text.
    pub question: &'a (dyn Fn(&Tokens, &[u32]) -> Tokens + Send + Sync),
    /// What the revision is written after: from the prompt, the text, and what was said of it, its end token included.
    pub revision: &'a (dyn Fn(&Tokens, &[u32], &[u32]) -> Tokens + Send + Sync),
}

/// Paths that are stopped when they have no potential.
#[derive(Clone, Copy, Default)]
pub struct PathSelection<'a> {
    /// The numbers.
    pub options: PathOptions,
    /// Says in [0, 1] whether a text is clear.
    pub clarity: Option<&'a dyn Scorer>,
    /// Says what is wrong with what was chosen; `None` says nothing, and the text alone is what its revision sees.
    pub reflection: Option<Reflection<'a>>,
}

/// Texts that were found, with their scores and the index of the choice.
type Choice = (Vec<Path>, Option<Vec<f32>>, usize);

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
        let Some((paths, scores, chosen)) = self.chosen(ctx, walks)? else { return Ok(ctx.unfinished()) };
        if self.options.reflections == 0 {
            return Ok(ctx.found(&paths, scores, chosen));
        }
        self.reflected(ctx, paths, scores, chosen)
    }

    /// Reflects on the choice, and writes it again, until it is good enough.
    fn reflected(
        &self,
        ctx: &mut PromptCtx,
        mut paths: Vec<Path>,
        scores: Option<Vec<f32>>,
        mut chosen: usize,
    ) -> Result<Found, SearchError> {
        let judged = if scores.is_some() { scores } else { ctx.judge(&paths)? };
        let Some(mut scores) = judged else { return Ok(ctx.found(&paths, None, chosen)) };
        let root = ctx.root();
        for round in 0..self.options.reflections {
            if scores[chosen] > self.options.enough {
                break;
            }
            let text = paths[chosen].tokens().to_vec();
            let prefix = match self.reflection {
                None => ctx.prompt().followed_by(&text).followed_by(ctx.prompt()),
                Some(reflection) => {
                    let policy = reflection.policy.unwrap_or(ctx.policy());
                    let from = root.redrawn("reflection", round as u64);
                    let question = (reflection.question)(ctx.prompt(), &text);
                    let Some(request) = ctx.request_after(policy, question, &from) else { break };
                    let Some(replies) = ctx.ask(policy, &[request])? else { break };
                    let said = replies.first().and_then(|reply| reply.candidates.first());
                    let said = said.map_or_else(Tokens::default, |said| said.tokens.clone());
                    (reflection.revision)(ctx.prompt(), &text, &said)
                }
            };
            let from = root.redrawn("regeneration", round as u64);
            let Some(request) = ctx.request_after(ctx.policy(), prefix, &from) else { break };
            let Some(replies) = ctx.ask(ctx.policy(), &[request])? else { break };
            let new: Vec<Path> = replies.iter().flat_map(|reply| ctx.children(&from, 1, reply)).collect();
            if new.is_empty() {
                ctx.stop(Stopped::Nothing);
                break;
            }
            let Some(more) = ctx.judge(&new)? else { break };
            paths.extend(new);
            scores.extend(more);
            // Strictly better: what was there first stays.
            let rank = |at: usize| (ctx.competes(&paths[at]), scores[at]);
            chosen = (0..paths.len()).fold(chosen, |best, at| if rank(at) > rank(best) { at } else { best });
        }
        Ok(ctx.found(&paths, Some(scores), chosen))
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

    /// What PARM chooses; `None` where there is nothing.
    fn chosen(&self, ctx: &mut PromptCtx, walks: Vec<Walk>) -> Result<Option<Choice>, SearchError> {
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
            return Ok(Some((vec![path], None, 0)));
        }
        let verdict = if hopeful { Verdict::Potential } else { Verdict::Unclear };
        let left = walks.into_iter().filter(|walk| walk.verdict == verdict).map(|walk| walk.path);
        let (ended, open): (Vec<Path>, Vec<Path>) = left.partition(|path| ctx.competes(path));
        if !ended.is_empty() {
            // Where the limits do not cover the judge, likelihood decides.
            let scores = ctx.judge(&ended)?;
            let best = ranked(scores.as_deref().unwrap_or(&vec![0.0f32; ended.len()]), &ended)[0];
            return Ok(Some((ended, scores, best)));
        }
        let likeliest = ranked(&vec![0.0; open.len()], &open).first().copied();
        Ok(likeliest.map(|likeliest| (vec![open[likeliest].clone()], None, 0)))
    }
}

impl Search for PathSelection<'_> {
    fn search(&self, prompts: &[Tokens], ctx: &mut SearchCtx) -> Result<Vec<Found>, SearchError> {
        let PathOptions { n, levels, threshold, enough, .. } = self.options;
        if n == 0 {
            return Err(SearchError::NoSamples);
        }
        check("levels", "at least 1", levels as f64, levels > 0)?;
        check("threshold", "in [0, 1]", threshold.into(), (0.0..=1.0).contains(&threshold))?;
        check("enough", "a number", enough.into(), !enough.is_nan())?;
        ctx.each(prompts, |ctx| self.one(ctx))
    }

    fn needs(&self) -> Needs {
        Needs { scorer: true, ..Needs::default() }
    }
}
