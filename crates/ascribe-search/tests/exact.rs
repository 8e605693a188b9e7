//! Decoders against the enumerable token tree, where everything is known exactly.

use ascribe_core::{Budget, Reduce, Seed, Tokens, rule};
use ascribe_search::{BestOfN, Greedy, Majority, Search, SearchCtx, SearchError};
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

#[test]
fn the_budget_is_kept_and_counted() {
    let tree = tree();
    let policy = TreePolicy::uniform(&tree);
    let judge = rule(|_| 0.0);
    let mut ctx = SearchCtx::new(&policy, 3, Seed(0)).with_scorer(&judge, Reduce::Sum).with_budget(Budget(Some(40)));
    BestOfN { n: 4 }.search(&prompts(3), &mut ctx).expect("36 tokens fit");
    assert_eq!(ctx.spent().generated, 36);
    let error = BestOfN { n: 4 }.search(&prompts(1), &mut ctx).expect_err("12 more do not fit");
    assert!(error.to_string().contains("budget of 40"), "{error}");
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
