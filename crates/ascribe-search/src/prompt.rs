//! The context of a search from one prompt: it asks, counts, and stops at the limits.

use std::sync::atomic::Ordering;

use ascribe_core::{
    Candidate, CoreError, Credit, Episode, Finish, Mode, Policy, Reduce, Reply, Request, Scorer, Seed, Tokens, Until,
    Usage,
};

use crate::context::{Scored, Setup};
use crate::error::check;
use crate::{Calls, Estimate, Found, NodeState, Path, SearchError, SearchTree, Stopped, TreeNode, ranked};

/// How far a policy writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// So many tokens, or to the end.
    Tokens(usize),
    /// To the end of the step.
    Step,
    /// To the end.
    End,
}

/// What a decoder works with for one prompt.
///
/// Whatever asks a policy or a scorer gives back `None` when the limits do not cover it, the time is up or the search is
/// cancelled. A decoder then returns what it has; [`found`](Self::found) and [`unfinished`](Self::unfinished) say why.
pub struct PromptCtx<'c> {
    setup: &'c Setup<'c>,
    policy: &'c dyn Policy,
    scorers: &'c [&'c dyn Scorer],
    number: usize,
    prompt: &'c Tokens,
    room: usize,
    usage: Usage,
    calls: Calls,
    stopped: Option<Stopped>,
    doubtful: u64,
    nodes: usize,
    tree: Option<SearchTree>,
}

impl<'c> PromptCtx<'c> {
    pub(crate) fn new(
        setup: &'c Setup<'c>,
        policy: &'c dyn Policy,
        scorers: &'c [&'c dyn Scorer],
        number: usize,
        prompt: &'c Tokens,
    ) -> Self {
        // At least 1, so that the policy refuses a prompt that fills its context.
        let left = policy.capabilities().context.saturating_sub(prompt.len()).max(1);
        Self {
            setup,
            policy,
            scorers,
            number,
            prompt,
            room: setup.max_new.min(left),
            usage: Usage::default(),
            calls: Calls::default(),
            stopped: None,
            doubtful: 0,
            nodes: 1,
            tree: setup.record.then(|| SearchTree { nodes: vec![TreeNode::default()] }),
        }
    }

    /// The prompt.
    pub fn prompt(&self) -> &'c Tokens {
        self.prompt
    }

    /// Index of the prompt among those of the search.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Most tokens that can be written after the prompt.
    pub fn room(&self) -> usize {
        self.room
    }

    /// The empty text, from which every search begins.
    pub fn root(&self) -> Path {
        Path::root(self.setup.seed.child("search", self.setup.first + self.number as u64))
    }

    /// A seed for the decoder's own draws.
    pub fn seed(&self) -> Seed {
        self.root().seed()
    }

    /// Whether something can be written after `path`.
    pub fn is_open(&self, path: &Path) -> bool {
        !path.ended() && path.tokens().len() < self.room
    }

    /// Whether `path` may be chosen beside texts that ended: it ended itself, or it was cut off and the context allows that
    /// ([`SearchCtx::with_cut`](crate::SearchCtx::with_cut)).
    pub fn competes(&self, path: &Path) -> bool {
        path.ended() || (self.setup.cut && !self.is_open(path) && !path.tokens().is_empty())
    }

    /// Indices of the paths that may be chosen: those that [compete](Self::competes), or all where none does.
    pub fn choosable(&self, paths: &[Path]) -> Vec<usize> {
        let competing: Vec<usize> = (0..paths.len()).filter(|at| self.competes(&paths[*at])).collect();
        if competing.is_empty() { (0..paths.len()).collect() } else { competing }
    }

    /// Index of the best of the paths that may be chosen, by score, then by log-probability, then by age; 0 where there is none.
    pub(crate) fn best(&self, scores: &[f32], paths: &[Path]) -> usize {
        let among = self.choosable(paths);
        ranked(scores, paths).into_iter().find(|at| among.contains(at)).unwrap_or(0)
    }

    /// Tokens spent so far.
    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// Questions asked so far.
    pub fn calls(&self) -> Calls {
        self.calls
    }

    /// Why the search has to end, if it has to.
    pub fn stopped(&self) -> Option<Stopped> {
        self.stopped
    }

    /// Says why the search ends early; the first reason stays, unless the search is cancelled.
    pub fn stop(&mut self, why: Stopped) {
        self.stopped.get_or_insert(why);
    }

    /// Says that so many values are doubtful.
    pub fn doubt(&mut self, values: u64) {
        self.doubtful += values;
    }

    /// `n` continuations of each path, drawn as the context says; those of path `i` stand at `i`, without any that are empty.
    /// Where the context is greedy there is one.
    ///
    /// # Errors
    /// When the policy fails.
    pub fn write(&mut self, paths: &[Path], n: usize, reach: Reach) -> Result<Option<Vec<Vec<Path>>>, SearchError> {
        self.write_by(self.setup.mode, paths, n, reach)
    }

    /// The most likely continuation of each path.
    ///
    /// # Errors
    /// When the policy fails.
    pub fn write_greedily(&mut self, paths: &[Path], reach: Reach) -> Result<Option<Vec<Vec<Path>>>, SearchError> {
        self.write_by(Mode::Greedy, paths, 1, reach)
    }

    fn write_by(
        &mut self,
        mode: Mode,
        paths: &[Path],
        n: usize,
        reach: Reach,
    ) -> Result<Option<Vec<Vec<Path>>>, SearchError> {
        let n = if mode == Mode::Greedy { n.min(1) } else { n };
        let requests: Vec<Request> = paths.iter().map(|path| self.request(path, n, reach, mode)).collect();
        let Some(replies) = self.ask(self.policy, &requests)? else { return Ok(None) };
        let mut children = Vec::with_capacity(paths.len());
        for (path, reply) in paths.iter().zip(&replies) {
            children.push(self.children(path, n, reply));
        }
        Ok(Some(children))
    }

    /// The `k` most likely next tokens of each path, most likely first. A path counts as one token.
    ///
    /// # Errors
    /// When the policy fails.
    pub fn top(&mut self, paths: &[Path], k: usize) -> Result<Option<Vec<Vec<Candidate>>>, SearchError> {
        self.top_of(self.policy, paths, k)
    }

    /// The same of another policy.
    ///
    /// # Errors
    /// When the policy fails.
    pub fn top_of(
        &mut self,
        policy: &dyn Policy,
        paths: &[Path],
        k: usize,
    ) -> Result<Option<Vec<Vec<Candidate>>>, SearchError> {
        let request = |path: &Path| Request {
            prefix: self.prompt.followed_by(path.tokens()),
            n: k,
            until: Until::Token,
            mode: Mode::Top,
            max_new: 1,
            seed: path.seed(),
        };
        let requests: Vec<Request> = paths.iter().map(request).collect();
        let Some(replies) = self.ask(policy, &requests)? else { return Ok(None) };
        let first = |reply: Reply| {
            let written = reply.candidates.into_iter().filter(|token| !token.tokens.is_empty());
            written.take(k).collect::<Vec<Candidate>>()
        };
        Ok(Some(replies.into_iter().map(first).collect()))
    }

    /// A request for `n` continuations of `path`.
    pub fn request(&self, path: &Path, n: usize, reach: Reach, mode: Mode) -> Request {
        let left = self.room.saturating_sub(path.tokens().len());
        let (until, most) = match reach {
            Reach::Tokens(most) => (Until::End, most),
            Reach::Step => (Until::Step(self.setup.steps.separators.clone()), self.setup.steps.most),
            Reach::End => (Until::End, usize::MAX),
        };
        let prefix = self.prompt.followed_by(path.tokens());
        Request { prefix, n, until, mode, max_new: most.min(left), seed: path.seed() }
    }

    /// A request for a text that answers the prompt and is written after another prefix, by `policy`, with the draws of
    /// `from`; `None` where the prefix leaves no room.
    pub fn request_after(&self, policy: &dyn Policy, prefix: Tokens, from: &Path) -> Option<Request> {
        let left = policy.capabilities().context.saturating_sub(prefix.len());
        let request = self.request(from, 1, Reach::End, self.setup.mode);
        let max_new = request.max_new.min(left);
        (max_new > 0).then_some(Request { prefix, max_new, ..request })
    }

    /// The first `kept` tokens of a text, as a text of its own.
    pub fn beginning(&mut self, root: &Path, text: &Path, kept: usize) -> Path {
        let logps = text.logps().iter().take(kept).copied().collect();
        self.child(root, 0, &Candidate { tokens: Tokens::from(&text.tokens()[..kept]), logps, finish: Finish::Step })
    }

    /// How tokens are drawn.
    pub fn mode(&self) -> Mode {
        self.setup.mode
    }

    /// The policy.
    pub fn policy(&self) -> &'c dyn Policy {
        self.policy
    }

    /// Asks any policy, and counts what it costs; replies are those to the requests, in their order.
    ///
    /// # Errors
    /// When the policy fails, gives fewer candidates than were asked for, or a log-probability is missing or NaN.
    pub fn ask(&mut self, policy: &dyn Policy, requests: &[Request]) -> Result<Option<Vec<Reply>>, SearchError> {
        if requests.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let calls = requests.iter().map(continuations).fold(0u64, u64::saturating_add);
        let tokens = |request: &Request| continuations(request).saturating_mul(request.max_new as u64);
        let tokens = requests.iter().map(tokens).fold(0u64, u64::saturating_add);
        if !self.may_go_on() || !self.covers(tokens, calls) {
            return Ok(None);
        }
        let replies = policy.propose(requests)?;
        if replies.len() != requests.len() {
            return Err(SearchError::Answers { what: "a policy", asked: requests.len(), got: replies.len() });
        }
        for (request, reply) in requests.iter().zip(&replies) {
            self.charge(request, reply);
        }
        requests.iter().zip(&replies).try_for_each(|(request, reply)| sound(request, reply))?;
        Ok(Some(replies))
    }

    pub(crate) fn charge(&mut self, request: &Request, reply: &Reply) {
        self.usage += reply.usage;
        self.calls.policy += continuations(request);
    }

    /// What is kept of `candidate` after `parent`, where the text stops within it.
    pub(crate) fn stops(&self, parent: &Path, candidate: &Candidate) -> Option<Candidate> {
        let stop = self.setup.stop?;
        let before = parent.tokens().len();
        let kept = stop(&[parent.tokens(), &candidate.tokens[..]].concat())?.checked_sub(before)?;
        let (tokens, logps) = (candidate.tokens.get(..kept)?, candidate.logps.get(..kept)?);
        let kept = Candidate { tokens: Tokens::from(tokens), logps: logps.to_vec(), finish: Finish::End };
        (!kept.tokens.is_empty()).then_some(kept)
    }

    /// The text `candidate` after `parent`, as its child number `index`; as far as it is kept where the text stops in it.
    pub fn child(&mut self, parent: &Path, index: usize, candidate: &Candidate) -> Path {
        let kept = self.stops(parent, candidate);
        let candidate = kept.as_ref().unwrap_or(candidate);
        let path = parent.child(index, candidate, self.nodes);
        self.nodes += 1;
        if let Some(tree) = &mut self.tree {
            tree.nodes.push(TreeNode {
                id: path.node(),
                parent: Some(parent.node()),
                tokens: candidate.tokens.to_vec(),
                logp: path.logp() - parent.logp(),
                ..TreeNode::default()
            });
        }
        path
    }

    /// The candidates of `reply` after `parent`, `n` at most, without those that add nothing.
    pub(crate) fn children(&mut self, parent: &Path, n: usize, reply: &Reply) -> Vec<Path> {
        let mut children = Vec::new();
        for (index, candidate) in reply.candidates.iter().take(n).enumerate() {
            if !candidate.tokens.is_empty() {
                children.push(self.child(parent, index, candidate));
            }
        }
        children
    }

    /// The score of each path.
    ///
    /// # Errors
    /// When there is no scorer, it fails, or a score is NaN.
    pub fn score(&mut self, paths: &[Path]) -> Result<Option<Vec<f32>>, SearchError> {
        if paths.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let (_, reduce) = self.setup.scorer.ok_or(SearchError::NoScorer)?;
        let scorers = self.scorers;
        self.score_by(scorers[0], reduce, paths)
    }

    /// What the judge says of each path; the scorer, where there is no judge.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    pub fn judge(&mut self, paths: &[Path]) -> Result<Option<Vec<f32>>, SearchError> {
        let Some((_, reduce)) = self.setup.judge else { return self.score(paths) };
        if paths.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let scorers = self.scorers;
        self.score_by(scorers[usize::from(self.setup.scorer.is_some())], reduce, paths)
    }

    /// The scorer, if there is one.
    pub fn scorer(&self) -> Option<&'c dyn Scorer> {
        let scorers = self.scorers;
        self.setup.scorer.map(|_| scorers[0])
    }

    /// Whether there is a judge beside the scorer.
    pub fn has_judge(&self) -> bool {
        self.setup.judge.is_some()
    }

    /// What any scorer says of each path.
    ///
    /// # Errors
    /// When it fails, or a score is NaN.
    pub fn score_by(
        &mut self,
        scorer: &dyn Scorer,
        reduce: Reduce,
        paths: &[Path],
    ) -> Result<Option<Vec<f32>>, SearchError> {
        let Some((credits, episodes)) = self.credits(scorer, paths)? else { return Ok(None) };
        self.reduced(paths, &credits, &episodes, reduce).map(Some)
    }

    /// The credit that any scorer gives each path, with the episode that it was given for.
    ///
    /// # Errors
    /// When it fails.
    pub fn credits(
        &mut self,
        scorer: &dyn Scorer,
        paths: &[Path],
    ) -> Result<Option<(Vec<Credit>, Vec<Episode>)>, SearchError> {
        if paths.is_empty() {
            return Ok(Some((Vec::new(), Vec::new())));
        }
        if !self.may_go_on() || !self.covers_scores(paths.len()) {
            return Ok(None);
        }
        let episodes = self.episodes(paths)?;
        let credits = scorer.score(&episodes)?;
        if credits.len() != episodes.len() {
            return Err(SearchError::Answers { what: "a scorer", asked: episodes.len(), got: credits.len() });
        }
        Ok(Some((credits, episodes)))
    }

    /// The episodes of these paths, which are about to be scored: they are counted.
    pub(crate) fn episodes(&mut self, paths: &[Path]) -> Result<Vec<Episode>, SearchError> {
        let episodes = paths.iter().map(|path| self.episode(path)).collect::<Result<Vec<_>, _>>()?;
        self.calls.scorer += episodes.len() as u64;
        self.calls.scorer_tokens += episodes.iter().map(|episode| episode.tokens.len() as u64).sum::<u64>();
        Ok(episodes)
    }

    /// One number for each credit.
    pub(crate) fn reduced(
        &mut self,
        paths: &[Path],
        credits: &[Credit],
        episodes: &[Episode],
        reduce: Reduce,
    ) -> Result<Vec<f32>, SearchError> {
        let mut scores = Vec::with_capacity(paths.len());
        for (candidate, (credit, episode)) in credits.iter().zip(episodes).enumerate() {
            let got = credit.to_sequence(episode, reduce)?;
            if got.is_nan() {
                return Err(SearchError::NotANumber { prompt: self.number, candidate, got });
            }
            self.value(&paths[candidate], f64::from(got));
            scores.push(got);
        }
        Ok(scores)
    }

    /// The path as an episode: with steps, with text where the context can read it, complete if it ended.
    ///
    /// # Errors
    /// When the text does not fit the tokens.
    pub fn episode(&self, path: &Path) -> Result<Episode, SearchError> {
        let mut episode = Episode::new(self.prompt, path.tokens());
        episode.complete = path.ended();
        let episode = episode.with_steps(self.setup.steps.spans(path.tokens(), self.prompt.len()))?;
        Ok(match self.setup.text {
            Some(text) => {
                let text = text(&episode.tokens);
                episode.with_text(text)?
            }
            None => episode,
        })
    }

    /// The answer of each path, as the context reads it.
    ///
    /// # Errors
    /// When the context does not say how.
    pub fn answers(&self, paths: &[Path]) -> Result<Vec<Option<String>>, SearchError> {
        let (answer, _) = self.setup.answers.ok_or(SearchError::NoAnswers)?;
        paths.iter().map(|path| Ok(answer(&self.episode(path)?))).collect()
    }

    /// Whether two answers are the same to the context.
    pub fn same_answer(&self, left: &str, right: &str) -> bool {
        self.setup.answers.map_or(left == right, |(_, same)| same(left, right))
    }

    /// Whether the context can read answers.
    pub fn has_answers(&self) -> bool {
        self.setup.answers.is_some()
    }

    /// The request for the samples that a decoder may have, and why there are fewer than `n`. Greedy ones are all the same, so
    /// there is one.
    pub(crate) fn samples(&mut self, root: &Path, n: usize, mode: Mode, scored: Scored) -> Option<Request> {
        if self.room == 0 || !self.may_go_on() {
            return None;
        }
        let n = if mode == Mode::Greedy { n.min(1) } else { n };
        let Setup { limits, .. } = self.setup;
        let tokens = limits.generated.map(|most| most / self.room as u64);
        let scores = limits.scorer_calls.filter(|_| scored == Scored::Yes);
        let covered = [tokens, limits.policy_calls, scores].into_iter().flatten().min().unwrap_or(u64::MAX);
        let affordable = n.min(usize::try_from(covered).unwrap_or(usize::MAX));
        if affordable < n {
            self.stop(Stopped::Budget);
        }
        (affordable > 0).then(|| self.request(root, affordable, Reach::End, mode))
    }

    /// Notes the value of a text.
    pub fn value(&mut self, path: &Path, value: f64) {
        if let Some(node) = self.node(path) {
            node.value = Some(value);
        }
    }

    /// Notes what the value of a text was estimated from.
    pub fn estimate(&mut self, path: &Path, estimate: Estimate) {
        if let Some(node) = self.node(path) {
            node.estimate = Some(estimate);
        }
    }

    /// Notes how often the search came by a text.
    pub fn visits(&mut self, path: &Path, visits: u64) {
        if let Some(node) = self.node(path) {
            node.visits = visits;
        }
    }

    /// Notes what became of texts.
    pub fn mark<'p>(&mut self, paths: impl IntoIterator<Item = &'p Path>, state: NodeState) {
        for path in paths {
            if let Some(node) = self.node(path) {
                node.state = state;
            }
        }
    }

    fn node(&mut self, path: &Path) -> Option<&mut TreeNode> {
        self.tree.as_mut()?.nodes.get_mut(path.node())
    }

    /// What was found: the candidates `paths`, of which there is at least one, and the one that was chosen.
    pub fn found(&mut self, paths: &[Path], scores: Option<Vec<f32>>, chosen: usize) -> Found {
        self.mark(paths, NodeState::Found);
        self.mark(paths.get(chosen), NodeState::Chosen);
        Found {
            usage: self.usage,
            calls: self.calls,
            stopped: self.stopped,
            doubtful: self.doubtful,
            tree: self.tree.take(),
            ..Found::of(paths, scores, chosen)
        }
    }

    /// Nothing was found: the empty text.
    pub fn unfinished(&mut self) -> Found {
        if self.room > 0 {
            self.stop(Stopped::Nothing);
        }
        let root = self.root();
        self.found(&[root], None, 0)
    }

    /// Whether there is time, and nobody raised the flag.
    fn may_go_on(&mut self) -> bool {
        if self.setup.cancel.is_some_and(|cancel| cancel.load(Ordering::Relaxed)) {
            // Over a limit that was met before: with more time more would have been found within it.
            self.stopped = Some(Stopped::Cancelled);
            return false;
        }
        let in_time = match (self.setup.limits.seconds, self.setup.clock) {
            (Some(seconds), Some(clock)) => clock() < seconds,
            _ => true,
        };
        if !in_time {
            self.stop(Stopped::Time);
        }
        in_time
    }

    /// Whether the limits cover so many more tokens and continuations.
    fn covers(&mut self, tokens: u64, calls: u64) -> bool {
        let limits = self.setup.limits;
        let covered = within(limits.generated, self.usage.generated, tokens)
            && within(limits.policy_calls, self.calls.policy, calls);
        if !covered {
            self.stop(Stopped::Budget);
        }
        covered
    }

    /// Whether the limits cover so many more scores.
    pub(crate) fn covers_scores(&mut self, scores: usize) -> bool {
        let covered = within(self.setup.limits.scorer_calls, self.calls.scorer, scores as u64);
        if !covered {
            self.stop(Stopped::Budget);
        }
        covered
    }
}

fn within(limit: Option<u64>, spent: u64, more: u64) -> bool {
    limit.is_none_or(|limit| spent.saturating_add(more) <= limit)
}

/// Checks that a reply has the candidates that were asked for (of the most likely tokens there may be fewer), and a
/// log-probability for each of their tokens.
pub(crate) fn sound(request: &Request, reply: &Reply) -> Result<(), SearchError> {
    let (asked, got) = (request.n, reply.candidates.len());
    if got != asked && request.mode != Mode::Top {
        return Err(SearchError::Answers { what: "a policy that is asked for candidates", asked, got });
    }
    for candidate in &reply.candidates {
        let (expected, got) = (candidate.tokens.len(), candidate.logps.len());
        if got != expected {
            return Err(CoreError::Length { what: "the log-probabilities of a candidate", expected, got }.into());
        }
        if let Some(logp) = candidate.logps.iter().find(|logp| logp.is_nan()) {
            check("a log-probability of the policy", "a number", f64::from(*logp), false)?;
        }
    }
    Ok(())
}

/// Texts that a request asks for; the most likely next tokens are read off one.
fn continuations(request: &Request) -> u64 {
    if request.mode == Mode::Top { 1 } else { request.n as u64 }
}
