//! Sequential revision beside parallel sampling: chains of attempts, each of which sees those before it.
//!
//! ```text
//! n attempts = n / chain chains of `chain` attempts; attempt j of a chain is written after the prompt and the last `memory`
//! attempts of its chain
//! ```
//! Chains of one attempt are independent samples ([`BestOfN`](crate::BestOfN), [`Vote`](crate::Vote)), and one chain is pure
//! revision. A round that the limits do not cover, its scores included, is not begun, so every attempt that is counted is whole
//! and scored. A chain ends early where its attempts fill the context. Source: arXiv:2408.03314, section 6.

use ascribe_core::{Request, Tokens};
use serde::{Deserialize, Serialize};

use crate::context::Scored;
use crate::error::check;
use crate::step_beam::pick_among;
use crate::{Found, Needs, Path, Pick, PromptCtx, Search, SearchCtx, SearchError};

/// Numbers of [`Revise`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReviseOptions {
    /// Attempts in all; at least `chain`.
    pub n: usize,
    /// Attempts of a chain; at least 1.
    pub chain: usize,
    /// Attempts that the next one sees.
    pub memory: usize,
    /// How the choice is made.
    pub pick: Pick,
    /// The best of each chain first, and then the choice among these.
    pub by_chain: bool,
}

impl Default for ReviseOptions {
    fn default() -> Self {
        Self { n: 4, chain: 2, memory: 4, pick: Pick::Best, by_chain: false }
    }
}

/// What a revision is written after: from the prompt and the attempts before, the oldest first.
pub type RevisionPrompt<'a> = &'a (dyn Fn(&Tokens, &[&[u32]]) -> Tokens + Send + Sync);

/// Chains of attempts.
#[derive(Clone, Copy, Default)]
pub struct Revise<'a> {
    /// The numbers.
    pub options: ReviseOptions,
    /// What a revision is written after; `None` is prompt and attempt in turn, and the prompt once more.
    pub prompt: Option<RevisionPrompt<'a>>,
}

impl Revise<'_> {
    fn prefix(&self, prompt: &Tokens, attempts: &[Path]) -> Tokens {
        let seen: Vec<&[u32]> =
            attempts[attempts.len().saturating_sub(self.options.memory)..].iter().map(Path::tokens).collect();
        match self.prompt {
            Some(make) => make(prompt, &seen),
            None => {
                let turns = |text: Tokens, attempt: &&[u32]| text.followed_by(prompt).followed_by(attempt);
                seen.iter().fold(Tokens::default(), turns).followed_by(prompt)
            }
        }
    }

    fn one(&self, ctx: &mut PromptCtx) -> Result<Found, SearchError> {
        let ReviseOptions { n, chain, pick, by_chain, .. } = self.options;
        let root = ctx.root();
        let Some(request) = ctx.samples(&root, n / chain, ctx.mode(), Scored::Yes) else { return Ok(ctx.unfinished()) };
        let Some(replies) = ctx.ask(ctx.policy(), std::slice::from_ref(&request))? else { return Ok(ctx.unfinished()) };
        let first = replies.first().map_or(Vec::new(), |reply| ctx.children(&root, request.n, reply));
        let mut chains: Vec<Vec<Path>> = first.into_iter().map(|path| vec![path]).collect();
        for round in 1..chain {
            let mut asked: Vec<(usize, Path, Request)> = Vec::new();
            for (number, attempts) in chains.iter().enumerate() {
                let from = root.redrawn("chain", number as u64).redrawn("revision", round as u64);
                let prefix = self.prefix(ctx.prompt(), attempts);
                if let Some(request) = ctx.request_after(ctx.policy(), prefix, &from) {
                    asked.push((number, from, request));
                }
            }
            // An attempt that cannot be judged is not written.
            let attempts = chains.iter().map(Vec::len).sum::<usize>() + asked.len();
            if asked.is_empty() || !ctx.covers_scores(attempts) {
                break;
            }
            let requests: Vec<Request> = asked.iter().map(|(_, _, request)| request.clone()).collect();
            let Some(replies) = ctx.ask(ctx.policy(), &requests)? else { break };
            for ((number, from, _), reply) in asked.iter().zip(&replies) {
                chains[*number].extend(ctx.children(from, 1, reply));
            }
        }
        let all = chains.concat();
        if all.is_empty() {
            return Ok(ctx.unfinished());
        }
        let Some(scores) = ctx.judge(&all)? else { return Ok(ctx.found(&all, None, 0)) };
        if !by_chain {
            return pick_among(ctx, all.into_iter().zip(scores).collect(), pick);
        }
        let mut rest = scores.as_slice();
        let mut best = Vec::new();
        for attempts in &chains {
            let (own, others) = rest.split_at(attempts.len());
            rest = others;
            if !attempts.is_empty() {
                let at = ctx.best(own, attempts);
                best.push((attempts[at].clone(), own[at]));
            }
        }
        pick_among(ctx, best, pick)
    }
}

impl Search for Revise<'_> {
    fn search(&self, prompts: &[Tokens], ctx: &mut SearchCtx) -> Result<Vec<Found>, SearchError> {
        let ReviseOptions { n, chain, .. } = self.options;
        check("chain", "at least 1", chain as f64, chain > 0)?;
        check("n", "at least `chain`", n as f64, n >= chain)?;
        ctx.each(prompts, |ctx| self.one(ctx))
    }

    fn needs(&self) -> Needs {
        Needs { scorer: true, answers: self.options.pick.needs_answers(), top: false }
    }
}
