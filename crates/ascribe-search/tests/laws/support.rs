//! Small languages and scorers that know them.

use ascribe_core::{
    Candidate, Capabilities, CoreError, Credit, Episode, Finish, Mode, Policy, Reply, Request, Scorer, Seed, Tokens,
    Until, Usage, World,
};
use ascribe_worlds::{ExactValue, TokenTree, TreePolicy};
use rand::RngExt;

/// A tree of three tokens and depth 3, rewards in [0, 1).
pub fn tree(seed: u64) -> TokenTree {
    TokenTree::drawn(3, 3, Seed(seed)).expect("the tree is small")
}

pub fn drawn(tree: &TokenTree, seed: u64) -> TreePolicy {
    TreePolicy::drawn(tree, Seed(seed), 1.0).expect("the temperature is sound")
}

pub fn prompts(n: usize) -> Vec<Tokens> {
    vec![Tokens::default(); n]
}

/// The log-probability of a path, from the table.
pub fn logp(policy: &TreePolicy, path: &[u32]) -> f64 {
    let at = |depth: usize| policy.logps(&path[..depth]).expect("inside the tree")[path[depth] as usize];
    (0..path.len()).map(at).sum()
}

/// The best reward below a path; the reward, at a leaf.
pub struct Oracle<'a>(pub &'a TokenTree);

impl Scorer for Oracle<'_> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let value = |path: &Vec<u32>| match path.len() == self.0.depth() {
            true => self.0.reward(path).expect("a leaf"),
            false => self.0.value(path).expect("inside the tree"),
        };
        Ok(episodes.iter().map(|episode| Credit::sequence(value(&episode.tokens.to_vec()) as f32)).collect())
    }
}

/// A value of prefixes over a scale, and the reward over it at a leaf.
pub struct Exact<'a> {
    pub tree: &'a TokenTree,
    pub value: &'a ExactValue,
    pub scale: f64,
}

impl Scorer for Exact<'_> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let value = |path: &[u32]| match path.len() == self.tree.depth() {
            true => self.tree.reward(path).expect("a leaf"),
            false => self.value.value(path).expect("inside the tree"),
        };
        Ok(episodes.iter().map(|one| Credit::sequence((value(&one.tokens) / self.scale) as f32)).collect())
    }
}

/// A language whose last token ends a text; `weights` are those of the next token after a text, prompt included.
pub struct Toy<F> {
    pub context: usize,
    pub weights: F,
}

impl<F: Fn(&[u32]) -> Vec<f64> + Send + Sync> Toy<F> {
    pub fn logps(&self, text: &[u32]) -> Vec<f64> {
        let weights = (self.weights)(text);
        let total: f64 = weights.iter().sum();
        weights.iter().map(|weight| (weight / total).ln()).collect()
    }

    fn next(&self, text: &[u32], tokens: Vec<u32>, logps: Vec<f32>, cut: Finish) -> Candidate {
        let end = (self.weights)(text).len() as u32 - 1;
        let finish = if tokens.last() == Some(&end) { Finish::End } else { cut };
        Candidate { tokens: tokens.into(), logps, finish }
    }

    fn written(&self, request: &Request, index: usize) -> Candidate {
        let mut stream = request.seed.stream("sample", index as u64);
        let (mut tokens, mut logps) = (Vec::new(), Vec::new());
        while tokens.len() < request.max_new.min(self.context - request.prefix.len()) {
            let text = [&request.prefix[..], &tokens[..]].concat();
            let here = self.logps(&text);
            let token = if request.mode == Mode::Greedy {
                (1..here.len()).fold(0, |best, token| if here[token] > here[best] { token } else { best })
            } else {
                let (point, mut mass) = (stream.random::<f64>(), 0.0);
                let drawn = here.iter().position(|logp| {
                    mass += logp.exp();
                    point < mass
                });
                drawn.unwrap_or(here.len() - 1)
            };
            tokens.push(token as u32);
            logps.push(here[token] as f32);
            let end = token + 1 == here.len();
            let step = matches!(&request.until, Until::Step(separators) if separators.contains(&(token as u32)));
            if end || step {
                return self.next(&text, tokens, logps, Finish::Step);
            }
        }
        Candidate { tokens: tokens.into(), logps, finish: Finish::Length }
    }
}

impl<F: Fn(&[u32]) -> Vec<f64> + Send + Sync> Policy for Toy<F> {
    fn propose(&self, requests: &[Request]) -> Result<Vec<Reply>, CoreError> {
        let reply = |request: &Request| {
            request.check()?;
            let candidates: Vec<Candidate> = if request.mode == Mode::Top {
                let here = self.logps(&request.prefix);
                let mut order: Vec<usize> = (0..here.len()).filter(|token| here[*token] > f64::NEG_INFINITY).collect();
                order.sort_by(|left, right| here[*right].total_cmp(&here[*left]));
                order.truncate(request.n);
                let one = |token: usize| {
                    self.next(&request.prefix, vec![token as u32], vec![here[token] as f32], Finish::Step)
                };
                order.into_iter().map(one).collect()
            } else {
                (0..request.n).map(|index| self.written(request, index)).collect()
            };
            let sampled: u64 = candidates.iter().map(|one| one.tokens.len() as u64).sum();
            let generated = if request.mode == Mode::Top { 1 } else { sampled };
            Ok(Reply { candidates, usage: Usage { generated, scored: request.prefix.len() as u64, reused: 0 } })
        };
        requests.iter().map(reply).collect()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { score: false, top: true, context: self.context }
    }

    fn vocabulary(&self) -> Option<usize> {
        Some((self.weights)(&[]).len())
    }
}

/// Half of the frequencies' distance from the probabilities.
pub fn total_variation(counts: &[f64], probabilities: &[f64]) -> f64 {
    let total: f64 = counts.iter().sum();
    counts.iter().zip(probabilities).map(|(count, p)| (count / total - p).abs()).sum::<f64>() / 2.0
}

/// The number of a leaf in the order of the paths.
pub fn leaf(path: &[u32], vocabulary: usize) -> usize {
    path.iter().fold(0, |leaf, token| leaf * vocabulary + *token as usize)
}
