//! Tree search over steps.

use ascribe_core::{Finish, Reduce, Seed, rule};
use ascribe_search::mcts::rule::{Rule, Widening};
use ascribe_search::mcts::tree::{Backup, TreeOptions, Unvisited};
use ascribe_search::mcts::{Outcome, Worth};
use ascribe_search::{Found, Mcts, Pick, Search, SearchCtx, Steps, Stopped};
use ascribe_worlds::TreePolicy;

use crate::support::{Oracle, drawn, prompts, tree};

fn options(simulations: usize) -> TreeOptions {
    // 40 draws of 3 tokens miss one with probability 3e-7.
    TreeOptions { simulations, expand: 40, ..TreeOptions::default() }
}

fn search(mcts: Mcts, policy: &TreePolicy, scorer: &dyn ascribe_core::Scorer, seed: u64) -> Vec<Found> {
    let mut ctx = SearchCtx::new(policy, 3, Seed(seed)).with_steps(Steps::blocks(1));
    ctx = ctx.with_scorer(scorer, Reduce::Sum).with_tree();
    mcts.search(&prompts(2), &mut ctx).expect("it fits")
}

#[test]
fn every_kind_of_search_finds_the_best_text_with_an_oracle() {
    for seed in 0..6 {
        let tree = tree(seed);
        let policy = TreePolicy::uniform(&tree);
        let oracle = Oracle(&tree);
        let best = tree.leaves().map(|(_, reward)| reward).fold(0.0, f64::max);
        let plain = options(60);
        for tree_options in [
            plain,
            TreeOptions { rule: Rule::Uct { w: 0.5 }, ..plain },
            TreeOptions { batch: 4, ..plain },
            TreeOptions { unvisited: Unvisited::Own, ..plain },
            TreeOptions { backup: Backup::Max, ..plain },
            TreeOptions { backup: Backup::Half, tau: None, ..plain },
            TreeOptions { simulations: 400, widening: Some(Widening { k: 2.0, a: 0.5 }), ..plain },
        ] {
            // What has most visits need not be the best where values are near; what was seen is.
            let mcts = Mcts { tree: tree_options, outcome: Outcome::Best(Pick::Best), ..Mcts::default() };
            let mcts =
                Mcts { tree: TreeOptions { simulations: 10 * tree_options.simulations, ..tree_options }, ..mcts };
            for found in search(mcts, &policy, &oracle, seed) {
                assert_eq!(tree.reward(&found.best().tokens).expect("a leaf"), best, "{tree_options:?}");
            }
        }
    }
}

#[test]
fn commitment_goes_move_by_move_to_an_end() {
    let tree = tree(3);
    let policy = TreePolicy::uniform(&tree);
    let oracle = Oracle(&tree);
    // The best value seen below a child is exact from its first visit on, so visits gather at the best child.
    let tree_options = TreeOptions { rule: Rule::Uct { w: 0.02 }, backup: Backup::Max, ..options(60) };
    let mcts = Mcts { tree: tree_options, ..Mcts::default() };
    let best = tree.leaves().map(|(_, reward)| reward).fold(0.0, f64::max);
    for found in search(mcts, &policy, &oracle, 1) {
        assert_eq!(found.stopped, None);
        assert_eq!(tree.reward(&found.best().tokens).expect("a leaf"), best);
        let recorded = found.tree.expect("it is recorded");
        // The first move has its simulations, and later moves pass by the prompt no more.
        assert_eq!(recorded.nodes[0].visits, 60);
        assert!(recorded.nodes.iter().all(|node| node.value.is_none_or(|value| (0.0..=1.0).contains(&value))));
    }
}

#[test]
fn rollouts_need_no_scorer_of_halves() {
    // The tree scores leaves alone.
    let tree = tree(3);
    let policy = drawn(&tree, 4);
    for worth in [Worth::Rollouts(1), Worth::Rollouts(4)] {
        let mcts = Mcts { tree: options(200), worth, outcome: Outcome::Best(Pick::Best), ..Mcts::default() };
        for found in search(mcts, &policy, &tree, 1) {
            let scores = found.scores.expect("scored");
            let best = scores.iter().copied().fold(f32::MIN, f32::max);
            assert_eq!(scores[found.chosen], best);
            for (candidate, score) in found.candidates.iter().zip(&scores) {
                assert_eq!(tree.reward(&candidate.tokens).expect("a leaf") as f32, *score);
            }
        }
    }
    let mixed = Mcts {
        tree: options(20),
        worth: Worth::Mixed { lambda: 0.5, rollouts: 2 },
        outcome: Outcome::Commit,
        levels: 3,
    };
    let oracle = Oracle(&tree);
    assert!(search(mixed, &policy, &oracle, 1).iter().all(|found| found.best().tokens.len() == 3));
}

#[test]
fn a_batch_of_leaves_is_one_question() {
    let tree = tree(3);
    let policy = drawn(&tree, 4);
    let oracle = Oracle(&tree);
    let calls = |batch| {
        let mcts =
            Mcts { tree: TreeOptions { batch, ..options(30) }, outcome: Outcome::Best(Pick::Best), ..Mcts::default() };
        let found = search(mcts, &policy, &oracle, 1).remove(0);
        assert_eq!(found.tree.expect("it is recorded").nodes[0].visits, 30);
        found.calls.scorer
    };
    // The same number of simulations, whatever is valued together.
    assert!(calls(1) > 0 && calls(8) > 0);
}

#[test]
fn values_outside_the_range_and_wrong_numbers_are_refused() {
    let policy = TreePolicy::uniform(&tree(3));
    let beyond = rule(|_| 2.0);
    let refused = |mcts: Mcts| {
        let mut ctx =
            SearchCtx::new(&policy, 3, Seed(0)).with_steps(Steps::blocks(1)).with_scorer(&beyond, Reduce::Sum);
        mcts.search(&prompts(1), &mut ctx).err().map(|error| error.to_string())
    };
    assert!(refused(Mcts::default()).is_some_and(|error| error.contains("`range`")));
    let wide = TreeOptions { range: (0.0, 2.0), ..TreeOptions::default() };
    assert!(refused(Mcts { tree: wide, ..Mcts::default() }).is_none());
    for wrong in [
        Mcts { levels: 0, tree: wide, ..Mcts::default() },
        Mcts { worth: Worth::Rollouts(0), tree: wide, ..Mcts::default() },
        Mcts { worth: Worth::Mixed { lambda: f64::NAN, rollouts: 1 }, tree: wide, ..Mcts::default() },
        Mcts { tree: TreeOptions { simulations: 0, ..wide }, ..Mcts::default() },
    ] {
        assert!(refused(wrong).is_some(), "{wrong:?}");
    }
}

/// By rollouts alone no scorer of beginnings is needed: a text that was cut off is worth what the judge says of it.
#[test]
fn a_judge_is_enough_for_rollouts_of_texts_that_are_cut_off() {
    let tree = tree(3);
    let policy = drawn(&tree, 4);
    // Texts end with their third token, and there is room for two.
    let judge = rule(|episode| episode.response_tokens().iter().sum::<u32>() as f32 / 4.0);
    let mcts = Mcts { worth: Worth::Rollouts(2), tree: options(60), ..Mcts::default() };
    let mut ctx = SearchCtx::new(&policy, 2, Seed(5)).with_steps(Steps::blocks(1)).with_tree();
    ctx = ctx.with_judge(&judge, Reduce::Sum);
    let found = mcts.search(&prompts(1), &mut ctx).expect("a judge is enough").remove(0);
    assert_eq!((found.best().tokens.len(), found.best().finish), (2, Finish::Length));
    let nodes = found.tree.expect("it is recorded").nodes;
    let mut cut = 0;
    for node in nodes.iter().filter(|node| node.visits > 0) {
        let Some(before) = node.parent.filter(|parent| *parent > 0) else { continue };
        // Every visit brought the same value.
        let sum = nodes[before].tokens[0] + node.tokens[0];
        assert_eq!(node.value, Some(f64::from(sum) / 4.0));
        cut += 1;
    }
    assert!(cut > 1, "{cut}");
}

#[test]
fn a_tree_that_is_cut_short_returns_the_best_that_it_saw() {
    let tree = tree(3);
    let policy = drawn(&tree, 4);
    let oracle = Oracle(&tree);
    let mcts = Mcts { tree: TreeOptions { expand: 12, ..options(100) }, ..Mcts::default() };
    for (budget, ended) in [(13, false), (60, true)] {
        let mut ctx = SearchCtx::new(&policy, 3, Seed(1)).with_steps(Steps::blocks(1));
        ctx = ctx.with_scorer(&oracle, Reduce::Sum).with_budget(ascribe_core::Budget(Some(budget)));
        let found = mcts.search(&prompts(1), &mut ctx).expect("a budget is no error").remove(0);
        assert_eq!(found.stopped, Some(Stopped::Budget));
        assert!(found.usage.generated <= budget && !found.best().tokens.is_empty());
        assert_eq!(found.best().tokens.len() == 3, ended, "{budget}");
    }
}
