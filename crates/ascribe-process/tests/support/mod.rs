//! Worlds with outcomes, and a policy whose one mistake is planted.

use ascribe_core::{Candidate, Capabilities, CoreError, Finish, Policy, Reply, Request, Seed, Tokens, Usage};
use ascribe_process::label::Outcome;
use ascribe_process::{ProcessError, Verdict};
use ascribe_worlds::{TokenTree, TreePolicy};

/// A tree whose leaves are right (1) or wrong (0), by seed, and a policy over it.
pub fn world(vocabulary: usize, depth: usize, seed: u64) -> (TokenTree, TreePolicy) {
    let drawn = TokenTree::drawn(vocabulary, depth, Seed(seed)).expect("a small tree");
    let right = |path: &[u32]| if drawn.reward(path).expect("a leaf") > 0.6 { 1.0 } else { 0.0 };
    let tree = TokenTree::new(vocabulary, depth, right).expect("a small tree");
    let policy = TreePolicy::drawn(&tree, Seed(seed), 1.0).expect("a sound temperature");
    (tree, policy)
}

/// The outcome of a whole path of a tree.
pub struct Leaf<'a>(pub &'a TokenTree);

impl Outcome for Leaf<'_> {
    fn verdict(&self, _problem: u64, response: &[u32]) -> Result<Verdict, CoreError> {
        Ok(if self.0.reward(response)? > 0.5 { Verdict::Correct } else { Verdict::Wrong })
    }
}

/// Every token is a step.
pub fn every_token(response: &[u32]) -> Result<Vec<usize>, ProcessError> {
    Ok((1..=response.len()).collect())
}

/// Writes `steps` tokens 0. From nothing, every second candidate writes one 1 at `error`, which is the mistake; behind a
/// mistake nothing helps.
pub struct Planted {
    pub steps: usize,
    pub error: usize,
}

impl Policy for Planted {
    fn propose(&self, requests: &[Request]) -> Result<Vec<Reply>, CoreError> {
        let reply = |request: &Request| {
            let start = request.prefix.len();
            let candidate = |index: usize| {
                let mistaken = start == 0 && index % 2 == 1;
                let tokens: Tokens = (start..self.steps).map(|at| u32::from(mistaken && at == self.error)).collect();
                Candidate { logps: vec![0.0; tokens.len()], tokens, finish: Finish::End }
            };
            let candidates: Vec<Candidate> = (0..request.n).map(candidate).collect();
            let generated = candidates.iter().map(|one| one.tokens.len() as u64).sum();
            Reply { candidates, usage: Usage { generated, scored: start as u64, reused: 0 } }
        };
        Ok(requests.iter().map(reply).collect())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { score: false, top: false, context: 1000 }
    }
}

/// Right is what holds no mistake.
pub fn no_mistake(_problem: u64, response: &[u32]) -> Result<Verdict, CoreError> {
    Ok(if response.contains(&1) { Verdict::Wrong } else { Verdict::Correct })
}
