//! What a decoder works with: a policy, a scorer, a budget and a random stream.

use ascribe_core::{
    Budget, Episode, Meter, Mode, Policy, Reduce, Reply, Request, Sampling, Scorer, Seed, Tokens, Until, Usage,
};

use crate::SearchError;

/// The metered context of a search.
pub struct SearchCtx<'a> {
    policy: &'a dyn Policy,
    scorer: Option<(&'a dyn Scorer, Reduce)>,
    sampling: Sampling,
    max_new: usize,
    seed: Seed,
    meter: Meter,
}

impl<'a> SearchCtx<'a> {
    /// A context without scorer and limit; candidates have at most `max_new` tokens.
    ///
    /// Prompt `i` draws from `seed.child("search", i)`, so what is found for a prompt depends on its index alone.
    pub fn new(policy: &'a dyn Policy, max_new: usize, seed: Seed) -> Self {
        Self { policy, scorer: None, sampling: Sampling::default(), max_new, seed, meter: Meter::default() }
    }

    /// The same with a scorer, whose credit is reduced to one number a candidate.
    pub fn with_scorer(mut self, scorer: &'a dyn Scorer, reduce: Reduce) -> Self {
        self.scorer = Some((scorer, reduce));
        self
    }

    /// The same with another way to sample.
    pub fn with_sampling(mut self, sampling: Sampling) -> Self {
        self.sampling = sampling;
        self
    }

    /// The same with a limit on sampled tokens, over all prompts.
    pub fn with_budget(mut self, budget: Budget) -> Self {
        self.meter = Meter::new(budget);
        self
    }

    /// What was spent so far.
    pub fn spent(&self) -> Usage {
        self.meter.spent()
    }

    /// `n` whole continuations of each prompt, greedy or sampled.
    ///
    /// # Errors
    /// When the budget does not cover the longest possible continuations, or the policy fails.
    pub fn propose(&mut self, prompts: &[Tokens], n: usize, greedy: bool) -> Result<Vec<Reply>, SearchError> {
        if n == 0 {
            return Err(SearchError::NoSamples);
        }
        self.allow(prompts.len() * n)?;
        let mode = if greedy { Mode::Greedy } else { Mode::Sample(self.sampling) };
        let request = |(index, prefix): (usize, &Tokens)| Request {
            prefix: prefix.clone(),
            n,
            until: Until::End,
            mode,
            max_new: self.max_new,
            seed: self.seed.child("search", index as u64),
        };
        let requests: Vec<Request> = prompts.iter().enumerate().map(request).collect();
        let replies = self.policy.propose(&requests)?;
        replies.iter().for_each(|reply| self.meter.charge(reply.usage));
        Ok(replies)
    }

    /// The `n` most likely next tokens of each prefix, as candidates of one token each, most likely first. A prefix counts as
    /// one token generated.
    ///
    /// # Errors
    /// When the budget does not cover them, or the policy fails.
    pub fn top(&mut self, prefixes: &[Tokens], n: usize) -> Result<Vec<Reply>, SearchError> {
        self.meter.allow(prefixes.len() as u64)?;
        let request = |prefix: &Tokens| Request {
            prefix: prefix.clone(),
            n,
            until: Until::Token,
            mode: Mode::Top,
            max_new: 1,
            seed: self.seed,
        };
        let requests: Vec<Request> = prefixes.iter().map(request).collect();
        let replies = self.policy.propose(&requests)?;
        replies.iter().for_each(|reply| self.meter.charge(reply.usage));
        Ok(replies)
    }

    /// Checks that the budget covers `texts` more of the greatest length.
    pub(crate) fn allow(&self, texts: usize) -> Result<(), SearchError> {
        Ok(self.meter.allow(texts.saturating_mul(self.max_new) as u64)?)
    }

    /// Most tokens that can be written after `prompt`: at least 1, so that the policy refuses a prompt that fills its context.
    pub(crate) fn room(&self, prompt: &Tokens) -> usize {
        self.max_new.min(self.policy.capabilities().context.saturating_sub(prompt.len()).max(1))
    }

    /// One score for each candidate of each reply; all of them are asked at once.
    ///
    /// # Errors
    /// When there is no scorer, it fails, or a score is NaN.
    pub fn score(&self, prompts: &[Tokens], replies: &[Reply]) -> Result<Vec<Vec<f32>>, SearchError> {
        let (scorer, reduce) = self.scorer.ok_or(SearchError::NoScorer)?;
        let episodes: Vec<Episode> = prompts
            .iter()
            .zip(replies)
            .flat_map(|(prompt, reply)| reply.candidates.iter().map(|one| Episode::new(prompt, &one.tokens)))
            .collect();
        let credits = scorer.score(&episodes)?;
        let mut scores = credits.iter().zip(&episodes).map(|(credit, episode)| credit.to_sequence(episode, reduce));
        let mut table = Vec::with_capacity(replies.len());
        for (prompt, reply) in replies.iter().enumerate() {
            let row = scores.by_ref().take(reply.candidates.len()).collect::<Result<Vec<f32>, _>>()?;
            if let Some(candidate) = row.iter().position(|score| score.is_nan()) {
                return Err(SearchError::NotANumber { prompt, candidate, got: row[candidate] });
            }
            table.push(row);
        }
        Ok(table)
    }
}
