//! A policy over a token tree, as a table of log-probabilities.
//!
//! Sampling divides by the temperature, keeps the `top_k` most likely, keeps the shortest prefix of them that reaches
//! `top_p`, and renormalizes, in this order; equal probabilities rank by the smaller id. Other ways to sample are refused.

use ascribe_core::{
    Candidate, Capabilities, Continuation, CoreError, Finish, Mode, Policy, Reply, Request, Sampling, Seed, Until,
    Usage,
};
use rand::{Rng, RngExt};

use super::{Shape, TokenTree};
use crate::WorldError;

/// Log-probabilities of every token at every node that has children.
///
/// As a [`Policy`] it takes a prefix for a path from the root; a candidate ends ([`Finish::End`]) when its path reaches the
/// depth of the tree, and the context is the depth.
#[derive(Clone, Debug, PartialEq)]
pub struct TreePolicy {
    pub(super) shape: Shape,
    pub(super) logps: Vec<f64>, // [edges], natural; negative infinity where a token is never written
}

impl TreePolicy {
    /// The policy whose logits at the node `path` are `logits(path)`, one a token. Negative infinity forbids a token.
    ///
    /// # Errors
    /// When there is not one logit a token, or when they give no distribution (NaN, infinity, all tokens forbidden).
    pub fn new(tree: &TokenTree, logits: impl Fn(&[u32]) -> Vec<f64>) -> Result<Self, WorldError> {
        let shape = tree.shape;
        let mut logps = Vec::with_capacity(shape.nodes - 1);
        for node in 0..shape.inner {
            let logits = logits(&shape.path(node));
            let total = log_sum_exp(&logits);
            if logits.len() != shape.vocabulary || !total.is_finite() {
                let rule = "one a token, below infinity, and not all negative infinity";
                return Err(WorldError::range("the logits of a node", rule, logits));
            }
            logps.extend(logits.iter().map(|logit| logit - total));
        }
        Ok(Self { shape, logps })
    }

    /// The policy that gives every token the same probability.
    pub fn uniform(tree: &TokenTree) -> Self {
        let logp = -(tree.shape.vocabulary as f64).ln();
        Self { shape: tree.shape, logps: vec![logp; tree.shape.nodes - 1] }
    }

    /// A random policy: `softmax(ln(e) / temperature)` with `e` exponential, one a token. At temperature 1 the probabilities
    /// of a node are uniform over the simplex; lower is more decided.
    ///
    /// # Errors
    /// When `temperature` is not finite and above 0.
    pub fn drawn(tree: &TokenTree, seed: Seed, temperature: f64) -> Result<Self, WorldError> {
        if !(temperature > 0.0 && temperature.is_finite()) {
            return Err(WorldError::range("temperature", "finite and above 0", temperature));
        }
        let shape = tree.shape;
        let mut stream = seed.stream("tree policy", 0);
        // 1 - u is above 0, and the floor keeps ln(e) finite where u is 0.
        let mut draw = || (-(1.0 - stream.random::<f64>()).ln()).max(f64::MIN_POSITIVE).ln();
        let logps = (0..shape.inner).flat_map(|_| {
            let logits: Vec<f64> = (0..shape.vocabulary).map(|_| draw()).collect();
            cooled(&logits, temperature)
        });
        Ok(Self { shape, logps: logps.collect() })
    }

    /// Natural log-probability of each token after `path`.
    ///
    /// # Errors
    /// When `path` does not lead to a node with children.
    pub fn logps(&self, path: &[u32]) -> Result<&[f64], WorldError> {
        Ok(&self.logps[self.shape.edges(self.shape.inner_node(path)?)])
    }

    /// The probability of each whole path, in the order of the paths.
    pub fn leaf_probabilities(&self) -> Vec<f64> {
        let mut totals = vec![0.0; self.shape.nodes];
        for child in 1..self.shape.nodes {
            totals[child] = totals[(child - 1) / self.shape.vocabulary] + self.logps[child - 1];
        }
        totals[self.shape.inner..].iter().map(|total| total.exp()).collect()
    }

    fn candidate(&self, request: &Request, index: usize) -> Result<Candidate, CoreError> {
        let mut stream = request.seed.stream("sample", index as u64);
        let mut path = request.prefix.to_vec();
        let (mut logps, mut finish) = (Vec::new(), Finish::Length);
        while logps.len() < request.max_new {
            let here = self.logps(&path)?;
            let token = match &request.mode {
                Mode::Greedy | Mode::Top => {
                    (1..here.len()).fold(0, |best, token| if here[token] > here[best] { token } else { best })
                }
                Mode::Sample(sampling) => sample(here, sampling, &mut stream),
            };
            path.push(token as u32);
            logps.push(here[token] as f32);
            let stops = match &request.until {
                Until::Token => true,
                Until::Step(separators) => separators.contains(&(token as u32)),
                Until::End => false,
            };
            if path.len() == self.shape.depth || stops {
                finish = if path.len() == self.shape.depth { Finish::End } else { Finish::Step };
                break;
            }
        }
        Ok(Candidate { tokens: path.split_off(request.prefix.len()).into(), logps, finish })
    }

    /// The most likely next tokens.
    fn top(&self, request: &Request) -> Result<Vec<Candidate>, CoreError> {
        let here = self.logps(&request.prefix)?;
        let mut order: Vec<usize> = (0..here.len()).filter(|token| here[*token] > f64::NEG_INFINITY).collect();
        // A stable sort: the smaller id stays first.
        order.sort_by(|left, right| here[*right].total_cmp(&here[*left]));
        let finish = if request.prefix.len() + 1 == self.shape.depth { Finish::End } else { Finish::Step };
        let candidate =
            |token: usize| Candidate { tokens: vec![token as u32].into(), logps: vec![here[token] as f32], finish };
        Ok(order.into_iter().take(request.n).map(candidate).collect())
    }
}

impl Policy for TreePolicy {
    fn propose(&self, requests: &[Request]) -> Result<Vec<Reply>, CoreError> {
        let reply = |request: &Request| {
            request.check()?;
            if let Mode::Sample(sampling) = &request.mode {
                let Sampling { temperature, top_k, top_p, .. } = *sampling;
                if *sampling != (Sampling { temperature, top_k, top_p, ..Sampling::default() }) {
                    return Err(CoreError::Unsupported {
                        what: "sample otherwise than by temperature, top_k and top_p",
                    });
                }
            }
            if request.prefix.len() >= self.shape.depth {
                return Err(CoreError::Context { context: self.shape.depth, got: request.prefix.len() });
            }
            self.shape.inner_node(&request.prefix)?;
            let (candidates, generated) = match request.mode {
                Mode::Top => (self.top(request)?, 1),
                Mode::Greedy | Mode::Sample(_) => {
                    let candidates =
                        (0..request.n).map(|index| self.candidate(request, index)).collect::<Result<Vec<_>, _>>()?;
                    let generated: u64 = candidates.iter().map(|candidate| candidate.tokens.len() as u64).sum();
                    (candidates, generated)
                }
            };
            Ok(Reply { candidates, usage: Usage { generated, scored: request.prefix.len() as u64, reused: 0 } })
        };
        requests.iter().map(reply).collect()
    }

    fn score(&self, continuations: &[Continuation]) -> Result<(Vec<Vec<f32>>, Usage), CoreError> {
        let mut usage = Usage::default();
        let mut score = |continuation: &Continuation| {
            let path = continuation.prefix.followed_by(&continuation.tokens);
            self.shape.node(&path)?;
            usage.scored += path.len() as u64;
            let logp = |at| Ok(self.logps(&path[..at])?[path[at] as usize] as f32);
            (continuation.prefix.len()..path.len()).map(logp).collect()
        };
        let logps = continuations.iter().map(&mut score).collect::<Result<Vec<_>, CoreError>>()?;
        Ok((logps, usage))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { score: true, top: true, context: self.shape.depth }
    }

    fn vocabulary(&self) -> Option<usize> {
        Some(self.shape.vocabulary)
    }
}

/// `log sum exp`, without overflow; not finite when `values` are empty, all negative infinity, or hold NaN or infinity.
pub(super) fn log_sum_exp(values: &[f64]) -> f64 {
    let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    largest + values.iter().map(|value| (value - largest).exp()).sum::<f64>().ln()
}

/// `log softmax(logits / temperature)`; the largest is subtracted first, so that a small temperature does not overflow.
fn cooled(logits: &[f64], temperature: f64) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let scaled: Vec<f64> = logits.iter().map(|logit| (logit - largest) / temperature).collect();
    let total = log_sum_exp(&scaled);
    scaled.iter().map(|logit| logit - total).collect()
}

/// What is left of a distribution, most likely first.
fn filtered(logps: &[f64], sampling: &Sampling) -> Vec<(usize, f64)> {
    let cooled = cooled(logps, f64::from(sampling.temperature));
    let mut kept: Vec<(usize, f64)> = cooled.iter().map(|logp| logp.exp()).enumerate().collect();
    kept.sort_by(|(_, left), (_, right)| right.total_cmp(left));
    kept.truncate(sampling.top_k.unwrap_or(kept.len()));
    if sampling.top_p < 1.0 {
        let wanted = f64::from(sampling.top_p) * kept.iter().map(|(_, probability)| probability).sum::<f64>();
        let mut mass = 0.0;
        let crossing = kept.iter().position(|(_, probability)| {
            mass += probability;
            mass >= wanted
        });
        kept.truncate(crossing.map_or(kept.len(), |at| at + 1));
    }
    kept.retain(|(_, probability)| *probability > 0.0);
    let total: f64 = kept.iter().map(|(_, probability)| probability).sum();
    kept.into_iter().map(|(token, probability)| (token, probability / total)).collect()
}

fn sample(logps: &[f64], sampling: &Sampling, stream: &mut impl Rng) -> usize {
    let kept = filtered(logps, sampling);
    let (draw, mut mass) = (stream.random::<f64>(), 0.0);
    let drawn = kept.iter().find(|(_, probability)| {
        mass += probability;
        draw < mass
    });
    // Rounding can leave the mass a little below 1.
    drawn.or(kept.last()).expect("invariant: a distribution has a likely token").0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(prefix: &[u32], n: usize, mode: Mode) -> Request {
        Request { prefix: prefix.into(), n, until: Until::End, mode, max_new: 99, seed: Seed(5) }
    }

    /// Depth 2, two tokens: the root prefers 1 (0.6), node [0] prefers 0 (0.9), node [1] is even.
    fn small() -> TreePolicy {
        let tree = TokenTree::new(2, 2, |_| 0.0).unwrap();
        let table = |path: &[u32]| match path {
            [] => [0.4, 0.6],
            [0] => [0.9, 0.1],
            _ => [0.5, 0.5],
        };
        TreePolicy::new(&tree, |path| table(path).map(f64::ln).to_vec()).unwrap()
    }

    #[test]
    fn greedy_takes_the_likeliest_and_ties_go_to_the_smaller_id() {
        let reply = small().propose(&[request(&[], 2, Mode::Greedy), request(&[0], 1, Mode::Greedy)]).unwrap();
        let [first, second] = &reply[0].candidates[..] else { panic!("two candidates") };
        assert_eq!(first, second);
        assert_eq!((&first.tokens[..], first.finish), (&[1, 0][..], Finish::End));
        assert!((first.logps[0] - 0.6f32.ln()).abs() < 1e-6 && (first.logps[1] - 0.5f32.ln()).abs() < 1e-6);
        assert_eq!(reply[0].usage, Usage { generated: 4, scored: 0, reused: 0 });
        assert_eq!((&reply[1].candidates[0].tokens[..], reply[1].usage.scored), (&[0][..], 1));
    }

    #[test]
    fn the_most_likely_tokens_come_in_order() {
        let tree = TokenTree::new(4, 2, |_| 0.0).unwrap();
        // Weights 2, 4, 0, 4 of 10: the tie goes to 1, and 2 is never written.
        let logits = [2.0f64, 4.0, 0.0, 4.0].map(f64::ln);
        let policy = TreePolicy::new(&tree, |_| logits.to_vec()).unwrap();
        let top = |prefix: &[u32], n| {
            let request = Request { until: Until::Token, ..request(prefix, n, Mode::Top) };
            policy.propose(&[request]).unwrap().remove(0)
        };
        let tokens = |reply: &Reply| reply.candidates.iter().map(|one| one.tokens[0]).collect::<Vec<_>>();
        assert_eq!((tokens(&top(&[], 2)), tokens(&top(&[], 9))), (vec![1, 3], vec![1, 3, 0]));
        let last = top(&[1], 3);
        assert!((last.candidates[2].logps[0] - 0.2f32.ln()).abs() < 1e-6);
        assert!(last.candidates.iter().all(|one| one.tokens.len() == 1 && one.finish == Finish::End));
        assert!(top(&[], 3).candidates.iter().all(|one| one.finish == Finish::Step));
        assert_eq!(last.usage, Usage { generated: 1, scored: 1, reused: 0 });
    }

    #[test]
    fn candidates_end_where_they_are_told_to() {
        let tree = TokenTree::new(2, 4, |_| 0.0).unwrap();
        // Greedy writes 0 0 1 0: the third token is the separator 1.
        let policy =
            TreePolicy::new(&tree, |path| if path.len() == 2 { vec![0.0, 1.0] } else { vec![1.0, 0.0] }).unwrap();
        let ends = |until, max_new| {
            let request = Request { until, max_new, ..request(&[], 1, Mode::Greedy) };
            let candidate = policy.propose(&[request]).unwrap().remove(0).candidates.remove(0);
            (candidate.tokens.into_vec(), candidate.finish)
        };
        assert_eq!(ends(Until::Token, 9), (vec![0], Finish::Step));
        assert_eq!(ends(Until::Step(vec![1]), 9), (vec![0, 0, 1], Finish::Step));
        assert_eq!(ends(Until::Step(vec![5]), 9), (vec![0, 0, 1, 0], Finish::End));
        assert_eq!(ends(Until::End, 9), (vec![0, 0, 1, 0], Finish::End));
        assert_eq!(ends(Until::End, 4), (vec![0, 0, 1, 0], Finish::End));
        assert_eq!(ends(Until::Step(vec![1]), 2), (vec![0, 0], Finish::Length));
        assert_eq!(ends(Until::End, 0), (vec![], Finish::Length));
    }

    #[test]
    fn sampling_filters_worked_by_hand() {
        let logps = [0.15, 0.5, 0.1, 0.25].map(f64::ln);
        let check = |temperature, top_k, top_p, expected: &[(usize, f64)]| {
            let kept = filtered(&logps, &Sampling { temperature, top_k, top_p, ..Sampling::default() });
            assert_eq!(kept.len(), expected.len(), "{kept:?}");
            for ((token, probability), (wanted, p)) in kept.iter().zip(expected) {
                assert!(token == wanted && (probability - p).abs() < 1e-9, "{kept:?}");
            }
        };
        check(1.0, None, 1.0, &[(1, 0.5), (3, 0.25), (0, 0.15), (2, 0.1)]);
        check(1.0, Some(2), 1.0, &[(1, 2.0 / 3.0), (3, 1.0 / 3.0)]);
        // 0.5 + 0.25 < 0.8 <= 0.9.
        check(1.0, None, 0.8, &[(1, 5.0 / 9.0), (3, 2.5 / 9.0), (0, 1.5 / 9.0)]);
        // Of the two that top-k leaves, the first has 2/3, which reaches 0.6.
        check(1.0, Some(2), 0.6, &[(1, 1.0)]);
        // Temperature 0.5 squares: 0.25, 0.0625, 0.0225, 0.01 of 0.345.
        check(0.5, None, 1.0, &[(1, 0.25 / 0.345), (3, 0.0625 / 0.345), (0, 0.0225 / 0.345), (2, 0.01 / 0.345)]);
        let tied = filtered(&[0.25f64.ln(); 4], &Sampling { top_k: Some(2), ..Sampling::default() });
        assert_eq!(tied.iter().map(|(token, _)| *token).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn sampled_paths_agree_with_their_probabilities() {
        let tree = TokenTree::new(3, 3, |_| 0.0).unwrap();
        let policy = TreePolicy::drawn(&tree, Seed(11), 1.0).unwrap();
        let n = 20_000;
        let reply = policy.propose(&[request(&[], n, Mode::Sample(Sampling::default()))]).unwrap().remove(0);
        let mut counts = [0u32; 27];
        for candidate in &reply.candidates {
            assert_eq!(candidate.finish, Finish::End);
            counts[candidate.tokens.iter().fold(0, |leaf, token| leaf * 3 + *token as usize)] += 1;
        }
        for (leaf, (path, _)) in tree.leaves().enumerate() {
            // The probability from the table, not from `leaf_probabilities`.
            let p: f64 = (0..3).map(|at| policy.logps(&path[..at]).unwrap()[path[at] as usize]).sum::<f64>().exp();
            let bound = 4.5 * (p * (1.0 - p) / n as f64).sqrt() + 1.0 / n as f64;
            let frequency = f64::from(counts[leaf]) / n as f64;
            assert!((frequency - p).abs() < bound, "{path:?}: {frequency} against {p} +- {bound}");
            assert!((policy.leaf_probabilities()[leaf] - p).abs() < 1e-12);
        }
    }

    #[test]
    fn what_the_policy_cannot_do_is_refused() {
        let policy = small();
        assert!(matches!(
            policy.propose(&[request(&[0, 0], 1, Mode::Greedy)]),
            Err(CoreError::Context { context: 2, got: 2 })
        ));
        assert!(policy.propose(&[request(&[7], 1, Mode::Greedy)]).is_err());
        let cold = Mode::Sample(Sampling { temperature: 0.0, ..Sampling::default() });
        assert!(policy.propose(&[request(&[], 1, cold)]).is_err());
        let other = Mode::Sample(Sampling { min_p: Some(0.1), ..Sampling::default() });
        let refused = policy.propose(&[request(&[], 1, other)]);
        assert!(matches!(refused, Err(CoreError::Unsupported { .. })));
        assert!(matches!(policy.propose(&[request(&[], 1, Mode::Top)]), Err(CoreError::Shape { .. })));
        let score = |prefix: &[u32], tokens: &[u32]| {
            policy.score(&[Continuation { prefix: prefix.into(), tokens: tokens.into() }])
        };
        assert!(score(&[0], &[0, 0]).is_err() && score(&[], &[2]).is_err());
        let tree = TokenTree::new(2, 2, |_| 0.0).unwrap();
        assert!(
            TreePolicy::drawn(&tree, Seed(0), f64::NAN).is_err() && TreePolicy::drawn(&tree, Seed(0), 0.0).is_err()
        );
        for logits in [vec![0.0], vec![f64::NAN, 0.0], vec![f64::INFINITY, 0.0], vec![f64::NEG_INFINITY; 2]] {
            assert!(TreePolicy::new(&tree, |_| logits.clone()).is_err(), "{logits:?}");
        }
    }

    #[test]
    fn a_forbidden_token_is_never_written() {
        let tree = TokenTree::new(2, 2, |_| 0.0).unwrap();
        let policy = TreePolicy::new(&tree, |_| vec![f64::NEG_INFINITY, 0.0]).unwrap();
        let reply = policy.propose(&[request(&[], 50, Mode::Sample(Sampling::default()))]).unwrap().remove(0);
        assert!(reply.candidates.iter().all(|candidate| candidate.tokens[..] == [1, 1]));
        assert_eq!(policy.leaf_probabilities(), [0.0, 0.0, 0.0, 1.0]);
    }

    #[test]
    fn a_low_temperature_decides() {
        let tree = TokenTree::new(4, 2, |_| 0.0).unwrap();
        for temperature in [1e-3, 1e-300] {
            let policy = TreePolicy::drawn(&tree, Seed(2), temperature).unwrap();
            assert!(policy.logps(&[]).unwrap().iter().any(|logp| logp.exp() > 0.999));
        }
    }

    proptest! {
        #[test]
        fn probabilities_sum_to_one(vocabulary in 1usize..5, depth in 1usize..4, seed in any::<u64>(), temperature in 0.05..5.0f64) {
            let tree = TokenTree::new(vocabulary, depth, |_| 0.0).unwrap();
            let policy = TreePolicy::drawn(&tree, Seed(seed), temperature).unwrap();
            prop_assert!((policy.leaf_probabilities().iter().sum::<f64>() - 1.0).abs() < 1e-12);
            prop_assert!((TreePolicy::uniform(&tree).leaf_probabilities().iter().sum::<f64>() - 1.0).abs() < 1e-12);
        }

        #[test]
        fn a_score_is_what_was_reported_when_sampling(seed in any::<u64>(), start in 0usize..3) {
            let tree = TokenTree::new(3, 4, |_| 0.0).unwrap();
            let policy = TreePolicy::drawn(&tree, Seed(seed), 1.0).unwrap();
            let mode = Mode::Sample(Sampling { temperature: 0.7, top_k: Some(2), top_p: 0.9, ..Sampling::default() });
            let prefix = &[2, 0, 1][..start];
            let candidate = policy.propose(&[request(prefix, 1, mode)]).unwrap().remove(0).candidates.remove(0);
            let given = Continuation { prefix: prefix.into(), tokens: candidate.tokens.clone() };
            let (logps, usage) = policy.score(&[given]).unwrap();
            prop_assert_eq!(&logps[0], &candidate.logps);
            prop_assert_eq!(usage, Usage { scored: 4, ..Usage::default() });
            // And the sum is that of the table, node by node.
            let path = [prefix, &candidate.tokens].concat();
            let sum: f64 = (start..4).map(|at| policy.logps(&path[..at]).unwrap()[path[at] as usize]).sum();
            prop_assert!((f64::from(logps[0].iter().sum::<f32>()) - sum).abs() < 1e-5);
        }

        #[test]
        fn a_candidate_depends_on_its_own_stream_only(seed in any::<u64>(), n in 1usize..6) {
            let tree = TokenTree::new(3, 4, |_| 0.0).unwrap();
            let policy = TreePolicy::drawn(&tree, Seed(seed), 1.0).unwrap();
            let mode = Mode::Sample(Sampling::default());
            let many = policy.propose(&[request(&[1], 3, mode), request(&[], 6, mode)]).unwrap().remove(1);
            let few = policy.propose(&[request(&[], n, mode)]).unwrap().remove(0);
            prop_assert_eq!(&many.candidates[..n], &few.candidates[..]);
        }
    }
}
