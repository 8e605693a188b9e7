//! Refinement of drafts, where and when they need it: GLoRe, arXiv:2402.10963.
//!
//! ```text
//! draft      one sample; refined only if its outcome score is below `gate`
//! global     a new solution, given the prompt and the draft
//! local      the draft up to its first wrong step, and a continuation from there; no such step: no local refinement
//!            (either kind can be left out)
//! choice     the best outcome score of draft, global and local; from it the next round goes on
//! stop       after `rounds`, above `enough`, or when the choice has the answer that the draft had
//! ```
//! Outcomes are what the judge says (the scorer, where there is none); wrong is a step that the scorer values below `wrong`,
//! when it gives credit by step or token. A refiner writes what the policy, or another one, says to a prompt that
//! [`Refiner::prompt`] makes; without refiners the policy simply tries again, from the prompt and from the last right step. What
//! was found before is kept, so the outcome score never falls from round to round.

use ascribe_core::{CoreError, Granularity, Policy, Reduce, Tokens};
use serde::{Deserialize, Serialize};

use crate::error::check;
use crate::{Found, Needs, Path, PromptCtx, Reach, Search, SearchCtx, SearchError, Stopped};

/// Which refinements a round writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refinements {
    /// A global one, and a local one where a step is wrong.
    #[default]
    Both,
    /// A new solution alone; no step is looked at.
    Global,
    /// What follows the steps that are right, alone; a draft without a wrong step stays as it is.
    Local,
}

/// Numbers of [`Refine`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RefineOptions {
    /// Most rounds; 0 returns the draft.
    pub rounds: usize,
    /// A draft is refined only if its outcome score is below this; `None` refines always.
    pub gate: Option<f32>,
    /// No round follows an outcome score above this.
    pub enough: Option<f32>,
    /// What a round writes.
    pub refinements: Refinements,
    /// A step is wrong below this.
    pub wrong: f32,
    /// Go on to the last round even when a round left the answer as it was.
    pub stubborn: bool,
}

impl Default for RefineOptions {
    fn default() -> Self {
        Self { rounds: 1, gate: None, enough: None, refinements: Refinements::Both, wrong: 0.5, stubborn: false }
    }
}

/// What a refiner is asked: from the prompt, the draft, and (for a local refiner) how many tokens of the draft are kept.
pub type RefinerPrompt<'a> = &'a (dyn Fn(&Tokens, &[u32], Option<usize>) -> Tokens + Send + Sync);

/// Something that writes a better solution.
#[derive(Clone, Copy)]
pub struct Refiner<'a> {
    /// Who writes; `None` is the policy of the context.
    pub policy: Option<&'a dyn Policy>,
    /// What it is asked.
    pub prompt: RefinerPrompt<'a>,
}

/// Draft, refine, choose.
#[derive(Clone, Copy, Default)]
pub struct Refine<'a> {
    /// The numbers.
    pub options: RefineOptions,
    /// Writes a new solution; `None` samples the prompt again.
    pub global: Option<Refiner<'a>>,
    /// Writes what follows the steps that are kept; `None` samples on from them.
    pub local: Option<Refiner<'a>>,
}

impl Refine<'_> {
    fn one(&self, ctx: &mut PromptCtx) -> Result<Found, SearchError> {
        let RefineOptions { rounds, gate, enough, .. } = self.options;
        let root = ctx.root();
        let draft = if ctx.is_open(&root) { ctx.write(std::slice::from_ref(&root), 1, Reach::End)? } else { None };
        let Some(draft) = draft.and_then(|written| written.concat().into_iter().next()) else {
            return Ok(ctx.unfinished());
        };
        let mut all = vec![draft];
        let Some(mut scores) = ctx.judge(&all)? else { return Ok(ctx.found(&all, None, 0)) };
        let mut best = 0;
        for round in 0..rounds {
            let done =
                gate.is_some_and(|gate| scores[best] >= gate) || enough.is_some_and(|enough| scores[best] > enough);
            if done {
                break;
            }
            let Some(new) = self.refined(ctx, &root, &all[best], round)? else { break };
            if new.is_empty() {
                // No step is wrong, or the policy wrote nothing.
                if self.options.refinements != Refinements::Local {
                    ctx.stop(Stopped::Nothing);
                }
                break;
            }
            let Some(more) = ctx.judge(&new)? else { break };
            all.extend(new);
            scores.extend(more);
            let before = best;
            // Strictly better: what was there first stays.
            let rank = |at: usize| (ctx.competes(&all[at]), scores[at]);
            best = (0..all.len()).fold(best, |best, at| if rank(at) > rank(best) { at } else { best });
            if !self.options.stubborn && self.same(ctx, &all[before], &all[best])? {
                break;
            }
        }
        Ok(ctx.found(&all, Some(scores), best))
    }

    /// The refinements of one draft; `None` when the limits do not cover them.
    fn refined(
        &self,
        ctx: &mut PromptCtx,
        root: &Path,
        draft: &Path,
        round: usize,
    ) -> Result<Option<Vec<Path>>, SearchError> {
        let refinements = self.options.refinements;
        let mut new = Vec::new();
        if refinements != Refinements::Local {
            let from = root.redrawn("global", round as u64);
            let Some(global) = rewritten(ctx, self.global, &from, draft, None)? else { return Ok(None) };
            new.extend(global);
        }
        if refinements == Refinements::Global {
            return Ok(Some(new));
        }
        let Some(first_wrong) = self.first_wrong(ctx, draft)? else { return Ok(None) };
        if let Some(kept) = first_wrong {
            let prefix = ctx.beginning(root, draft, kept).redrawn("local", round as u64);
            let Some(local) = rewritten(ctx, self.local, &prefix, draft, Some(kept))? else { return Ok(None) };
            new.extend(local);
        }
        Ok(Some(new))
    }

    /// Tokens before the first step that is wrong; the inner `None` where no step is, or the scorer speaks of none.
    fn first_wrong(&self, ctx: &mut PromptCtx, draft: &Path) -> Result<Option<Option<usize>>, SearchError> {
        let alone = self.options.refinements == Refinements::Local;
        let Some(scorer) = ctx.scorer() else {
            return if alone { Err(SearchError::NoScorer) } else { Ok(Some(None)) };
        };
        let Some((credits, episodes)) = ctx.credits(scorer, std::slice::from_ref(draft))? else { return Ok(None) };
        let (Some(credit), Some(episode)) = (credits.first(), episodes.first()) else { return Ok(Some(None)) };
        if matches!(credit.granularity(), Granularity::Sequence | Granularity::Turn) {
            if alone {
                let rule = "local refinements alone need a scorer of steps or tokens; take one, or `refinements` both";
                return Err(CoreError::Shape { rule, got: format!("{:?}", credit.granularity()) }.into());
            }
            return Ok(Some(None));
        }
        let steps = credit.to_steps(episode, Reduce::Last)?;
        if let Some(got) = steps.iter().copied().find(|score| score.is_nan()) {
            return Err(SearchError::NotANumber { prompt: ctx.number(), candidate: 0, got });
        }
        let wrong = steps.iter().position(|score| *score < self.options.wrong);
        let start = wrong.and_then(|step| episode.steps.iter().nth(step)).map(|span| span.start - ctx.prompt().len());
        Ok(Some(start))
    }

    /// Whether two solutions have the same answer, as the context reads it; else whether they are the same text.
    fn same(&self, ctx: &PromptCtx, left: &Path, right: &Path) -> Result<bool, SearchError> {
        if left.node() == right.node() {
            return Ok(true);
        }
        if !ctx.has_answers() {
            return Ok(left.tokens() == right.tokens());
        }
        let answers = ctx.answers(&[left.clone(), right.clone()])?;
        Ok(match (&answers[0], &answers[1]) {
            (Some(left), Some(right)) => ctx.same_answer(left, right),
            (None, None) => true,
            _ => false,
        })
    }
}

/// What a refiner, or the policy itself, writes after `from`.
fn rewritten(
    ctx: &mut PromptCtx,
    refiner: Option<Refiner>,
    from: &Path,
    draft: &Path,
    kept: Option<usize>,
) -> Result<Option<Vec<Path>>, SearchError> {
    if !ctx.is_open(from) {
        return Ok(Some(Vec::new()));
    }
    let Some(refiner) = refiner else {
        return Ok(ctx.write(std::slice::from_ref(from), 1, Reach::End)?.map(|written| written.concat()));
    };
    let policy = refiner.policy.unwrap_or(ctx.policy());
    let prefix = (refiner.prompt)(ctx.prompt(), draft.tokens(), kept);
    let Some(request) = ctx.request_after(policy, prefix, from) else { return Ok(Some(Vec::new())) };
    let Some(replies) = ctx.ask(policy, &[request])? else { return Ok(None) };
    Ok(Some(replies.iter().flat_map(|reply| ctx.children(from, 1, reply)).collect()))
}

impl Search for Refine<'_> {
    fn search(&self, prompts: &[Tokens], ctx: &mut SearchCtx) -> Result<Vec<Found>, SearchError> {
        let RefineOptions { gate, enough, wrong, .. } = self.options;
        for (name, threshold) in [("gate", gate), ("enough", enough), ("wrong", Some(wrong))] {
            let threshold = threshold.unwrap_or(0.0);
            check(name, "a number", threshold.into(), !threshold.is_nan())?;
        }
        ctx.each(prompts, |ctx| self.one(ctx))
    }

    fn needs(&self) -> Needs {
        Needs { scorer: true, ..Needs::default() }
    }
}
