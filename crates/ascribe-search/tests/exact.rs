//! Decoders against the enumerable token tree, where everything is known exactly.

use ascribe_core::{Budget, Capabilities, CoreError, Finish, Policy, Reduce, Reply, Request, Seed, Tokens, rule};
use ascribe_search::{
    Beam, BestOfN, EarlyStopping, Greedy, Likelihood, Majority, Search, SearchCtx, SearchError, Stopped,
};
use ascribe_worlds::{TokenTree, TreePolicy};

fn tree() -> TokenTree {
    TokenTree::drawn(3, 3, Seed(5)).expect("the tree is small")
}

fn prompts(n: usize) -> Vec<Tokens> {
    vec![Tokens::default(); n]
}

#[test]
fn greedy_follows_the_most_likely_token() {
    let tree = tree();
    let policy = TreePolicy::drawn(&tree, Seed(1), 1.0).expect("the temperature is sound");
    let mut path = Vec::new();
    for _ in 0..3 {
        let logps = policy.logps(&path).expect("the path is inside the tree");
        let best = (0..3).max_by(|a, b| logps[*a].total_cmp(&logps[*b])).expect("three tokens");
        path.push(best as u32);
    }
    let found = Greedy.search(&prompts(1), &mut SearchCtx::new(&policy, 3, Seed(0))).expect("greedy cannot fail here");
    assert_eq!(&*found[0].best().tokens, &path[..]);
}

#[test]
fn best_of_n_agrees_with_the_exact_distribution() {
    let tree = tree();
    let policy = TreePolicy::drawn(&tree, Seed(2), 1.0).expect("the temperature is sound");
    let trials = 4000;
    let mut ctx = SearchCtx::new(&policy, 3, Seed(9)).with_scorer(&tree, Reduce::Sum);
    let found = BestOfN { n: 4 }.search(&prompts(trials), &mut ctx).expect("sampling cannot fail here");
    let reward = |path: &[u32]| tree.reward(path).expect("a leaf");
    let got = found.iter().map(|one| reward(&one.best().tokens)).sum::<f64>() / trials as f64;
    let exact = tree.best_of_n(&policy, 4).expect("n is sound");
    let expected: f64 = exact.iter().zip(tree.leaves()).map(|(mass, (_, reward))| mass * reward).sum();
    // Rewards lie in [0, 1), so five standard errors of the mean are below 2.5 / sqrt(4000).
    assert!((got - expected).abs() < 0.04, "{got} beside {expected}");
}

#[test]
fn best_of_one_is_the_policy() {
    let tree = tree();
    let policy = TreePolicy::uniform(&tree);
    let mut ctx = SearchCtx::new(&policy, 3, Seed(3)).with_scorer(&tree, Reduce::Sum);
    let one = BestOfN { n: 1 }.search(&prompts(20), &mut ctx).expect("sampling cannot fail here");
    let many = BestOfN { n: 5 }.search(&prompts(20), &mut ctx).expect("sampling cannot fail here");
    for (one, many) in one.iter().zip(&many) {
        // Streams are named by candidate, so more samples leave the first one as it was.
        assert_eq!(one.best().tokens, many.candidates[0].tokens);
    }
}

#[test]
fn majority_takes_the_answer_that_most_give() {
    let tree = tree();
    let policy = TreePolicy::uniform(&tree);
    let last = |_: usize, one: &ascribe_core::Candidate| one.tokens.last().copied();
    let mut ctx = SearchCtx::new(&policy, 3, Seed(4));
    for found in (Majority { n: 9, answer: last }).search(&prompts(50), &mut ctx).expect("sampling cannot fail here") {
        let mut counts = [0; 3];
        found.candidates.iter().for_each(|one| counts[one.tokens[2] as usize] += 1);
        let chosen = counts[found.best().tokens[2] as usize];
        assert_eq!(chosen, counts.into_iter().max().expect("three answers"));
    }
}

/// The log-probability of a path, from the table.
fn logp(policy: &TreePolicy, path: &[u32]) -> f64 {
    let at = |depth: usize| policy.logps(&path[..depth]).expect("inside the tree")[path[depth] as usize];
    (0..path.len()).map(at).sum()
}

#[test]
fn a_beam_as_wide_as_the_tree_is_exact() {
    for seed in 0..20 {
        let policy = TreePolicy::drawn(&tree(), Seed(seed), 1.0).expect("the temperature is sound");
        let mut leaves: Vec<(f64, Vec<u32>)> = tree().leaves().map(|(path, _)| (logp(&policy, &path), path)).collect();
        leaves.sort_by(|left, right| right.0.total_cmp(&left.0));
        for early_stopping in [EarlyStopping::WhenAhead, EarlyStopping::WhenFull, EarlyStopping::Never] {
            // All leaves have the same length, so the penalty leaves their order as it is.
            let beam = Beam { beams: 27, length_penalty: 2.0, early_stopping, returned: 27 };
            let found = beam.search(&prompts(1), &mut SearchCtx::new(&policy, 3, Seed(0))).expect("it fits");
            let scores = found[0].scores.as_ref().expect("a beam scores");
            assert_eq!(scores.len(), 27);
            for ((candidate, score), (logp, path)) in found[0].candidates.iter().zip(scores).zip(&leaves) {
                assert_eq!((&candidate.tokens[..], candidate.finish), (&path[..], Finish::End));
                assert!((f64::from(*score) - logp / 9.0).abs() < 1e-6, "{score} beside {logp} / 9");
            }
        }
    }
}

#[test]
fn a_beam_of_one_is_greedy() {
    for seed in 0..20 {
        let policy = TreePolicy::drawn(&tree(), Seed(seed), 1.0).expect("the temperature is sound");
        let starts: Vec<Tokens> = [vec![], vec![2u32], vec![1, 0]].into_iter().map(Tokens::from).collect();
        for max_new in [1, 2, 9] {
            let mut ctx = SearchCtx::new(&policy, max_new, Seed(0));
            let greedy = Greedy.search(&starts, &mut ctx).expect("greedy cannot fail here");
            let beam = Beam { beams: 1, ..Beam::default() }.search(&starts, &mut ctx).expect("it fits");
            for (beam, greedy) in beam.iter().zip(&greedy) {
                assert_eq!(beam.candidates, greedy.candidates);
            }
        }
    }
}

#[test]
fn a_beam_sums_the_log_probabilities_of_what_it_wrote() {
    let policy = TreePolicy::drawn(&tree(), Seed(7), 1.0).expect("the temperature is sound");
    let beam = Beam { beams: 3, length_penalty: 0.0, returned: 3, ..Beam::default() };
    let mut ctx = SearchCtx::new(&policy, 2, Seed(0));
    let found = beam.search(&prompts(2), &mut ctx).expect("it fits");
    assert_eq!(found[0], found[1]);
    let scores = found[0].scores.as_ref().expect("a beam scores");
    assert!(scores.is_sorted_by(|left, right| left >= right), "{scores:?}");
    for (candidate, score) in found[0].candidates.iter().zip(scores) {
        assert_eq!((candidate.tokens.len(), candidate.finish), (2, Finish::Length));
        assert!((f64::from(*score) - logp(&policy, &candidate.tokens)).abs() < 1e-5);
    }
    // One prefix at the root and three behind it, for each of the two prompts.
    assert_eq!((found[0].usage.generated, ctx.spent().generated), (4, 8));
}

#[test]
fn a_beam_keeps_to_the_budget_and_to_its_options() {
    let policy = TreePolicy::uniform(&tree());
    let search = |beam: Beam, budget| {
        let mut ctx = SearchCtx::new(&policy, 3, Seed(0)).with_budget(Budget(Some(budget)));
        beam.search(&prompts(2), &mut ctx).map(|found| (ctx.spent().generated, found[1].stopped))
    };
    let beam = Beam { beams: 4, ..Beam::default() };
    // 1 + 3 + 4 prefixes for each prompt: the root has three children.
    assert_eq!(search(beam, 8).expect("they fit"), (16, None));
    assert_eq!(search(beam, 7).expect("the last token is left out"), (8, Some(Stopped::Budget)));
    assert_eq!(search(beam, 0).expect("nothing is written"), (0, Some(Stopped::Budget)));
    for (beams, returned) in [(0, 0), (0, 1), (2, 3), (2, 0)] {
        assert!(matches!(search(Beam { beams, returned, ..beam }, 99), Err(SearchError::Beams { .. })));
    }
    assert!(search(Beam { length_penalty: f64::NAN, ..beam }, 99).is_err());
    let nothing = beam.search(&prompts(1), &mut SearchCtx::new(&policy, 0, Seed(0))).expect("nothing to write");
    assert!(nothing[0].best().tokens.is_empty());
}

/// A policy that never ends a text.
struct Endless(TreePolicy);

impl Policy for Endless {
    fn propose(&self, requests: &[Request]) -> Result<Vec<Reply>, CoreError> {
        self.0.propose(requests)
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }

    fn ends(&self) -> bool {
        false
    }
}

#[test]
fn the_most_likely_whole_texts_are_those_of_a_beam_without_lengths_and_need_an_end() {
    let policy = TreePolicy::drawn(&tree(), Seed(3), 1.0).expect("the temperature is sound");
    let found = |search: &dyn Search| {
        search.search(&prompts(1), &mut SearchCtx::new(&policy, 3, Seed(0))).expect("it fits").remove(0)
    };
    assert_eq!(found(&Likelihood { beams: 4 }), found(&Beam::likelihood(4)));
    // As wide as the tree it is the order of all leaves.
    let mut leaves: Vec<(f64, Vec<u32>)> = tree().leaves().map(|(path, _)| (logp(&policy, &path), path)).collect();
    leaves.sort_by(|left, right| right.0.total_cmp(&left.0));
    let got: Vec<Vec<u32>> =
        found(&Likelihood { beams: 27 }).candidates.iter().map(|one| one.tokens.to_vec()).collect();
    assert_eq!(got, leaves.into_iter().map(|(_, path)| path).collect::<Vec<_>>());
    let endless = Endless(policy.clone());
    let mut ctx = SearchCtx::new(&endless, 3, Seed(0));
    let error = Likelihood::default().search(&prompts(1), &mut ctx).expect_err("no end token").to_string();
    assert!(error.contains("needs a policy that ends its texts"), "{error}");
    let mut ctx = SearchCtx::new(&policy, 3, Seed(0));
    assert!(matches!(Likelihood { beams: 0 }.search(&prompts(1), &mut ctx), Err(SearchError::Beams { .. })));
}

#[test]
fn the_budget_is_kept_and_counted() {
    let tree = tree();
    let policy = TreePolicy::uniform(&tree);
    let judge = rule(|_| 0.0);
    let sampled = |budget| {
        let budget = Budget(Some(budget));
        let mut ctx = SearchCtx::new(&policy, 3, Seed(0)).with_scorer(&judge, Reduce::Sum).with_budget(budget);
        let found = BestOfN { n: 4 }.search(&prompts(3), &mut ctx).expect("a budget is no error");
        assert_eq!(found.iter().map(|one| one.usage.generated).sum::<u64>(), ctx.spent().generated);
        (ctx.spent().generated, found[2].candidates.len(), found[2].stopped)
    };
    // 12 tokens a prompt, 9 of them in 3 samples; with fewer than 3 there is no sample.
    assert_eq!(sampled(12), (36, 4, None));
    assert_eq!(sampled(11), (27, 3, Some(Stopped::Budget)));
    assert_eq!(sampled(2), (0, 1, Some(Stopped::Budget)));
}

#[test]
fn bad_input_is_refused() {
    let tree = tree();
    let policy = TreePolicy::uniform(&tree);
    let broken = rule(|_| f32::NAN);
    let mut ctx = SearchCtx::new(&policy, 3, Seed(0)).with_scorer(&broken, Reduce::Sum);
    assert!(matches!(BestOfN { n: 2 }.search(&prompts(1), &mut ctx), Err(SearchError::NotANumber { .. })));
    assert!(matches!(BestOfN { n: 0 }.search(&prompts(1), &mut ctx), Err(SearchError::NoSamples)));
    let mut bare = SearchCtx::new(&policy, 3, Seed(0));
    assert!(matches!(BestOfN { n: 2 }.search(&prompts(1), &mut bare), Err(SearchError::NoScorer)));
}
