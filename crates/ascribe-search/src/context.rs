//! What a decoder works with: a policy, scorers, limits and a random stream.

use std::sync::atomic::AtomicBool;

use ascribe_core::{Budget, CoreError, Episode, Mode, Policy, Reduce, Sampling, Scorer, Seed, Text, Tokens, Usage};

use crate::error::check;
use crate::join::side_by_side;
use crate::prompt::sound;
use crate::{Calls, Found, Limits, Path, PromptCtx, SearchError, Steps};

/// Prompts that are searched side by side.
const WIDTH: usize = 64;

/// The text of token ids, with the bytes of each.
pub type TextOf<'a> = &'a (dyn Fn(&[u32]) -> Text + Sync);

/// Where a text stops before its end token: how many of its tokens are kept, the stop included; `None` where it goes on.
pub type StopOf<'a> = &'a (dyn Fn(&[u32]) -> Option<usize> + Sync);

/// The answer of an episode; `None` where it has none.
pub type AnswerOf<'a> = &'a (dyn Fn(&Episode) -> Option<String> + Sync);

/// Whether two answers are the same.
pub type SameAnswer<'a> = &'a (dyn Fn(&str, &str) -> bool + Sync);

/// Everything that the caller decides.
pub(crate) struct Setup<'a> {
    pub(crate) policy: &'a dyn Policy,
    pub(crate) scorer: Option<(&'a dyn Scorer, Reduce)>,
    pub(crate) judge: Option<(&'a dyn Scorer, Reduce)>,
    pub(crate) mode: Mode,
    pub(crate) steps: Steps,
    pub(crate) max_new: usize,
    pub(crate) seed: Seed,
    pub(crate) first: u64,
    pub(crate) limits: Limits,
    pub(crate) cancel: Option<&'a AtomicBool>,
    pub(crate) clock: Option<&'a (dyn Fn() -> f64 + Sync)>,
    pub(crate) text: Option<TextOf<'a>>,
    pub(crate) answers: Option<(AnswerOf<'a>, SameAnswer<'a>)>,
    pub(crate) record: bool,
    pub(crate) cut: bool,
    pub(crate) stop: Option<StopOf<'a>>,
}

impl<'a> Setup<'a> {
    /// The scorer, then the judge, as far as they are there.
    fn scorers(&self) -> Vec<&'a dyn Scorer> {
        [self.scorer, self.judge].into_iter().flatten().map(|(scorer, _)| scorer).collect()
    }
}

/// The metered context of a search.
pub struct SearchCtx<'a> {
    setup: Setup<'a>,
    spent: Usage,
    calls: Calls,
}

impl<'a> SearchCtx<'a> {
    /// A context without scorer and limit; candidates have at most `max_new` tokens.
    ///
    /// Prompt `i` draws from `seed.child("search", i)`, so what is found for a prompt depends on its index alone.
    pub fn new(policy: &'a dyn Policy, max_new: usize, seed: Seed) -> Self {
        let setup = Setup {
            policy,
            scorer: None,
            judge: None,
            mode: Mode::Sample(Sampling::default()),
            steps: Steps::default(),
            max_new,
            seed,
            first: 0,
            limits: Limits::default(),
            cancel: None,
            clock: None,
            text: None,
            answers: None,
            record: false,
            cut: false,
            stop: None,
        };
        Self { setup, spent: Usage::default(), calls: Calls::default() }
    }

    /// The same with a scorer, whose credit is reduced to one number a text.
    pub fn with_scorer(mut self, scorer: &'a dyn Scorer, reduce: Reduce) -> Self {
        self.setup.scorer = Some((scorer, reduce));
        self
    }

    /// The same with a judge, who has the last word among whole texts that were found; without one the scorer has it. Decoders
    /// that go by a value of their own (`Beam`, `Deal`, `Controlled`, `TransferQ`, `Smc`) ask no judge.
    pub fn with_judge(mut self, judge: &'a dyn Scorer, reduce: Reduce) -> Self {
        self.setup.judge = Some((judge, reduce));
        self
    }

    /// The same with another way to sample.
    pub fn with_sampling(mut self, sampling: Sampling) -> Self {
        self.setup.mode = Mode::Sample(sampling);
        self
    }

    /// The same, where the most likely token is taken wherever a decoder would draw one: temperature 0. Of several continuations of
    /// one text, which would all be the same, there is then one.
    pub fn with_greedy(mut self) -> Self {
        self.setup.mode = Mode::Greedy;
        self
    }

    /// The same with steps, for decoders that go step by step and for scorers of steps.
    pub fn with_steps(mut self, steps: Steps) -> Self {
        self.setup.steps = steps;
        self
    }

    /// The same with a limit on sampled tokens, for each prompt of a search.
    pub fn with_budget(mut self, budget: Budget) -> Self {
        self.setup.limits.generated = budget.0;
        self
    }

    /// The same with limits, for each prompt of a search.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.setup.limits = limits;
        self
    }

    /// The same with a clock for [`Limits::seconds`]: seconds since the caller began.
    pub fn with_clock(mut self, clock: &'a (dyn Fn() -> f64 + Sync)) -> Self {
        self.setup.clock = Some(clock);
        self
    }

    /// The same with a flag; when it is raised, searches end with what they have.
    pub fn with_cancel(mut self, cancel: &'a AtomicBool) -> Self {
        self.setup.cancel = Some(cancel);
        self
    }

    /// The same with a way to read tokens, so that scorers see the text of an episode.
    pub fn with_text(mut self, text: TextOf<'a>) -> Self {
        self.setup.text = Some(text);
        self
    }

    /// The same with a way to read answers, for decoders that vote.
    pub fn with_answers(mut self, answer: AnswerOf<'a>, same: SameAnswer<'a>) -> Self {
        self.setup.answers = Some((answer, same));
        self
    }

    /// The same, with a record of every text that is looked at: [`Found::tree`].
    pub fn with_tree(mut self) -> Self {
        self.setup.record = true;
        self
    }

    /// The same, where a text that was cut off by the greatest length may be chosen beside those that ended. Else it may only
    /// where none ended. `Beam` and `Smc` compare texts of at most that length whatever this says, and what writes a single
    /// text has no choice.
    pub fn with_cut(mut self) -> Self {
        self.setup.cut = true;
        self
    }

    /// The same, where a text ends as soon as `stop` says so of the tokens after the prompt: what was written beyond is dropped,
    /// and the text counts as ended. It is asked about every text that is written, so it should be quick.
    pub fn with_stop(mut self, stop: StopOf<'a>) -> Self {
        self.setup.stop = Some(stop);
        self
    }

    /// The same, where the first prompt of a search is number `first` of a longer list, and draws as that one.
    pub fn with_first(mut self, first: u64) -> Self {
        self.setup.first = first;
        self
    }

    /// Tokens spent so far, over all prompts.
    pub fn spent(&self) -> Usage {
        self.spent
    }

    /// Questions asked so far, over all prompts.
    pub fn calls(&self) -> Calls {
        self.calls
    }

    /// Searches from each prompt by `one`, side by side: what the searches ask at the same time is one batch. Gives back
    /// what they return, by prompt.
    ///
    /// # Errors
    /// When a step may have no token, or seconds are limited without a clock; else the first error by the order of the
    /// prompts. What was spent is counted all the same.
    pub fn each<T, F>(&mut self, prompts: &[Tokens], one: F) -> Result<Vec<T>, SearchError>
    where
        T: Send,
        F: Fn(&mut PromptCtx) -> Result<T, SearchError> + Sync,
    {
        self.check()?;
        let setup = &self.setup;
        let done = side_by_side(setup.policy, &setup.scorers(), prompts.len(), WIDTH, |number, policy, scorers| {
            let mut ctx = PromptCtx::new(setup, policy, scorers, number, &prompts[number]);
            let result = one(&mut ctx);
            (result, ctx.usage(), ctx.calls())
        });
        let mut results = Vec::with_capacity(done.len());
        for (result, usage, calls) in done {
            self.spent += usage;
            self.calls += calls;
            results.push(result);
        }
        results.into_iter().collect()
    }

    /// Whether what the caller decides fits together.
    fn check(&self) -> Result<(), SearchError> {
        let Setup { steps, limits, clock, .. } = &self.setup;
        check("the most tokens of a step", "at least 1", steps.most as f64, steps.most > 0)?;
        match limits.seconds {
            Some(seconds) if clock.is_none() => {
                let rule = "a limit of seconds needs a clock; give one with `SearchCtx::with_clock`";
                Err(CoreError::Shape { rule, got: format!("{seconds} s without one") }.into())
            }
            _ => Ok(()),
        }
    }

    /// The policy.
    pub fn policy(&self) -> &'a dyn Policy {
        self.setup.policy
    }

    /// How tokens are drawn.
    pub(crate) fn mode(&self) -> Mode {
        self.setup.mode
    }

    /// Writes `n` whole texts of each prompt, or as many as the limits cover, all in one batch, has the judge (the scorer,
    /// where there is none) score them if `scored`, and lets `choose` say which is best.
    pub(crate) fn sampled<F>(
        &mut self,
        prompts: &[Tokens],
        n: usize,
        mode: Mode,
        scored: Scored,
        choose: F,
    ) -> Result<Vec<Found>, SearchError>
    where
        F: Fn(&PromptCtx, &[Path], &[f32]) -> Result<usize, SearchError>,
    {
        if n == 0 {
            return Err(SearchError::NoSamples);
        }
        self.check()?;
        let setup = &self.setup;
        let last_word = setup.judge.or(setup.scorer);
        if scored == Scored::Yes && last_word.is_none() {
            return Err(SearchError::NoScorer);
        }
        let scorers = setup.scorers();
        let mut walks: Vec<PromptCtx> = prompts
            .iter()
            .enumerate()
            .map(|(number, prompt)| PromptCtx::new(setup, setup.policy, &scorers, number, prompt))
            .collect();
        let roots: Vec<Path> = walks.iter().map(PromptCtx::root).collect();
        let mut asked = Vec::new();
        let mut requests = Vec::new();
        for (at, walk) in walks.iter_mut().enumerate() {
            if let Some(request) = walk.samples(&roots[at], n, mode, scored) {
                asked.push(at);
                requests.push(request);
            }
        }
        let replies = if requests.is_empty() { Vec::new() } else { setup.policy.propose(&requests)? };
        if replies.len() != requests.len() {
            return Err(SearchError::Answers { what: "a policy", asked: requests.len(), got: replies.len() });
        }
        let mut paths: Vec<Vec<Path>> = roots.iter().map(|_| Vec::new()).collect();
        for ((at, request), reply) in asked.iter().zip(&requests).zip(replies) {
            walks[*at].charge(request, &reply);
            sound(request, &reply)?;
            paths[*at] = walks[*at].children(&roots[*at], request.n, &reply);
        }
        let mut scores: Vec<Vec<f32>> = paths.iter().map(|paths| vec![0.0; paths.len()]).collect();
        if scored == Scored::Yes {
            let mut episodes = Vec::new();
            for (walk, paths) in walks.iter_mut().zip(&paths) {
                episodes.extend(walk.episodes(paths)?);
            }
            let (scorer, reduce) = last_word.ok_or(SearchError::NoScorer)?;
            let credits = if episodes.is_empty() { Vec::new() } else { scorer.score(&episodes)? };
            if credits.len() != episodes.len() {
                return Err(SearchError::Answers { what: "a scorer", asked: episodes.len(), got: credits.len() });
            }
            let mut from = 0;
            for ((walk, paths), scores) in walks.iter_mut().zip(&paths).zip(&mut scores) {
                let part = from..from + paths.len();
                from = part.end;
                *scores = walk.reduced(paths, &credits[part.clone()], &episodes[part], reduce)?;
            }
        }
        let mut found = Vec::with_capacity(walks.len());
        for ((mut walk, paths), scores) in walks.into_iter().zip(paths).zip(scores) {
            self.spent += walk.usage();
            self.calls += walk.calls();
            found.push(match paths.is_empty() {
                true => walk.unfinished(),
                false => {
                    let chosen = choose(&walk, &paths, &scores)?;
                    walk.found(&paths, (scored == Scored::Yes).then_some(scores), chosen)
                }
            });
        }
        Ok(found)
    }
}

/// Whether samples are scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scored {
    Yes,
    No,
}
