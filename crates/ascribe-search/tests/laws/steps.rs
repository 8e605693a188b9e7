//! Beam search over steps, diverse trees, lookahead, votes.

use ascribe_core::{
    Capabilities, CoreError, Credit, Finish, Mode, Policy, Reduce, Reply, Request, Sampling, Scorer, Seed, Tokens,
    Until, rule,
};
use ascribe_eval::curve::best_of_n_law;
use ascribe_search::mcts::Outcome;
use ascribe_search::mcts::tree::TreeOptions;
use ascribe_search::{
    Beam, BestOfN, Controlled, Deal, DiverseTrees, Found, Greedy, Majority, Mcts, NodeState, Pick, Revise,
    ReviseOptions, STRATEGIES, Schedule, Search, SearchCtx, SearchError, SearchTree, Smc, SmcOptions, StepBeam, Steps,
    Stopped, Target, Vote, VoteWeights, WhenFinished,
};
use ascribe_worlds::TreePolicy;

use crate::support::{Oracle, Toy, drawn, leaf, prompts, total_variation, tree};

/// A search over steps of one token.
fn by_token<'a>(policy: &'a dyn Policy, seed: u64) -> SearchCtx<'a> {
    SearchCtx::new(policy, 3, Seed(seed)).with_steps(Steps::blocks(1))
}

fn best_tokens(found: &[Found]) -> Vec<Vec<u32>> {
    found.iter().map(|one| one.best().tokens.to_vec()).collect()
}

#[test]
fn every_search_without_choice_is_greedy() {
    let constant = rule(|_| 0.25);
    for seed in 0..10 {
        let policy = drawn(&tree(5), seed);
        let ctx = || by_token(&policy, 0).with_scorer(&constant, Reduce::Sum).with_greedy();
        let greedy = Greedy.search(&prompts(2), &mut ctx()).expect("it fits");
        let searches: [&dyn Search; 6] = [
            &StepBeam { n: 1, expand: 1, ..StepBeam::default() },
            &Beam::likelihood(1),
            &Deal { lambda: 0.0, ..Deal::default() },
            &Deal { lambda: 7.0, lookahead: 1, ..Deal::default() },
            &Deal { k: 1, lambda: 3.0, ..Deal::default() },
            &Controlled { weight: 0.0, ..Controlled::default() },
        ];
        for (number, search) in searches.into_iter().enumerate() {
            let found = search.search(&prompts(2), &mut ctx()).expect("it fits");
            for (found, greedy) in found.iter().zip(&greedy) {
                assert_eq!(found.candidates, greedy.candidates, "search {number}");
                assert_eq!(found.stopped, None);
            }
        }
    }
}

/// Greedy samples are all the same, so one is written and paid for, and that it is one is not for want of a budget.
#[test]
fn many_greedy_samples_are_one() {
    let constant = rule(|_| 0.25);
    let policy = drawn(&tree(5), 1);
    let ctx = || by_token(&policy, 0).with_scorer(&constant, Reduce::Sum).with_greedy();
    let greedy = Greedy.search(&prompts(1), &mut ctx()).expect("it fits").remove(0);
    let searches: [&dyn Search; 2] = [&BestOfN { n: 4 }, &StepBeam { n: 4, expand: 4, ..StepBeam::default() }];
    for search in searches {
        let found = search.search(&prompts(1), &mut ctx()).expect("it fits").remove(0);
        assert_eq!((&found.candidates, found.stopped), (&greedy.candidates, None));
        assert_eq!(found.usage.generated, greedy.usage.generated);
    }
    // Two attempts of a chain, of which there is one where the policy cannot vary: n 4 in chains of 2.
    let revise = Revise { options: ReviseOptions { n: 4, chain: 2, ..ReviseOptions::default() }, prompt: None };
    let toy = Toy { context: 40, weights: |_: &[u32]| vec![0.2, 0.3, 0.5] };
    let mut ctx = SearchCtx::new(&toy, 3, Seed(0)).with_scorer(&constant, Reduce::Sum).with_greedy();
    let found = revise.search(&[Tokens::from(&[0][..])], &mut ctx).expect("it fits").remove(0);
    assert_eq!(found.candidates.len(), 2);
}

#[test]
fn without_pruning_it_is_samples_drawn_step_by_step() {
    let tree = tree(5);
    let policy = drawn(&tree, 1);
    let search = StepBeam { n: 4, expand: 1, merge: false, ..StepBeam::default() };
    let oracle = Oracle(&tree);
    let mut ctx = by_token(&policy, 9).with_scorer(&oracle, Reduce::Sum);
    let found = search.search(&prompts(1), &mut ctx).expect("it fits").remove(0);
    // The same texts by hand: the first tokens are four samples of the root, then each text draws from its own place.
    let root = Seed(9).child("search", 0);
    let ask = |prefix: &[u32], n: usize, seed: Seed| {
        let mode = Mode::Sample(Sampling::default());
        let until = Until::Step(Vec::new());
        let request = Request { prefix: prefix.into(), n, until, mode, max_new: 1, seed };
        policy.propose(&[request]).expect("it fits").remove(0).candidates
    };
    let mut texts: Vec<(Vec<u32>, Seed)> = Vec::new();
    for (index, first) in ask(&[], 4, root).into_iter().enumerate() {
        texts.push((first.tokens.to_vec(), root.child("node", index as u64)));
    }
    for _ in 0..2 {
        for (text, seed) in &mut texts {
            text.extend_from_slice(&ask(text, 1, *seed)[0].tokens);
            *seed = seed.child("node", 0);
        }
    }
    // A beam orders its texts by their scores.
    let mut got: Vec<Vec<u32>> = found.candidates.iter().map(|one| one.tokens.to_vec()).collect();
    let mut expected: Vec<Vec<u32>> = texts.into_iter().map(|(text, _)| text).collect();
    got.sort();
    expected.sort();
    assert_eq!(got, expected);
    assert_eq!((found.usage.generated, found.calls.policy, found.calls.scorer), (12, 12, 12));
}

#[test]
fn one_level_is_best_of_n() {
    let tree = tree(5);
    let policy = drawn(&tree, 1);
    let blocks = StepBeam { n: 6, expand: 6, levels: 1, merge: false, ..StepBeam::default() };
    let ctx = || SearchCtx::new(&policy, 3, Seed(4)).with_scorer(&tree, Reduce::Sum);
    let beam = blocks.search(&prompts(5), &mut ctx()).expect("it fits");
    let best = BestOfN { n: 6 }.search(&prompts(5), &mut ctx()).expect("it fits");
    for (beam, best) in beam.iter().zip(&best) {
        assert_eq!((&beam.candidates, &beam.scores, beam.chosen), (&best.candidates, &best.scores, best.chosen));
    }
}

#[test]
fn best_of_n_has_its_law_and_its_divergence() {
    let tree = tree(4);
    let policy = drawn(&tree, 9);
    let base = policy.leaf_probabilities();
    let rewards: Vec<f64> = tree.leaves().map(|(_, reward)| reward).collect();
    for (n, bound) in [(1, 0.0), (2, 0.193147), (4, 0.636294), (8, 1.204442), (16, 1.835089), (64, 3.174508)] {
        let law = best_of_n_law(&base, &rewards, n).expect("a distribution");
        assert!((law.bound - bound).abs() < 1e-6 && law.kl <= law.bound + 1e-9);
        assert!(
            tree.best_of_n(&policy, n).expect("n is sound").iter().zip(&law.law).all(|(a, b)| (a - b).abs() < 1e-9)
        );
        if n > 8 {
            continue;
        }
        let prompts = prompts(2000);
        let mut ctx = SearchCtx::new(&policy, 3, Seed(n.into())).with_scorer(&tree, Reduce::Sum);
        let found = BestOfN { n: n as usize }.search(&prompts, &mut ctx).expect("it fits");
        let mut counts = vec![0.0; 27];
        best_tokens(&found).iter().for_each(|path| counts[leaf(path, 3)] += 1.0);
        // The mean distance is below half the sum of standard deviations; it varies by less than 1 / sqrt(2000).
        let expected: f64 = law.law.iter().map(|p| (p * (1.0 - p) / 2000.0).sqrt()).sum::<f64>() / 2.0;
        assert!(total_variation(&counts, &law.law) < expected + 3.0 / 2000f64.sqrt(), "{n}");
    }
}

#[test]
fn an_oracle_leads_any_beam_to_the_best_leaf() {
    for seed in 0..10 {
        let tree = tree(seed);
        let policy = TreePolicy::uniform(&tree);
        let best = tree.leaves().map(|(_, reward)| reward).fold(0.0, f64::max);
        let oracle = Oracle(&tree);
        // 40 draws of 3 tokens miss one with probability 3e-7.
        for (n, expand) in [(40, 40), (80, 40)] {
            let search = StepBeam { n, expand, ..StepBeam::default() };
            let mut ctx = by_token(&policy, seed).with_scorer(&oracle, Reduce::Sum).with_tree();
            let found = search.search(&prompts(1), &mut ctx).expect("it fits").remove(0);
            assert_eq!(tree.reward(&found.best().tokens).expect("a leaf"), best);
            // Whatever was kept continues something that was kept.
            let nodes = found.tree.expect("it is recorded").nodes;
            for node in &nodes[1..] {
                let parent = &nodes[node.parent.expect("not the prompt")];
                assert!(parent.id == 0 || parent.state == NodeState::Kept || node.state == NodeState::Open);
                // What was merged is not scored.
                assert!(node.value.is_some() || node.state == NodeState::Open);
            }
            assert_eq!(nodes.iter().filter(|node| node.state == NodeState::Chosen).count(), 1);
        }
    }
}

#[test]
fn beams_beat_samples_and_nothing_beats_the_best() {
    let (mut sampled, mut searched, mut best) = (0.0, 0.0, 0.0);
    for seed in 0..20 {
        let tree = tree(seed);
        let policy = drawn(&tree, seed + 100);
        let oracle = Oracle(&tree);
        let ctx = || by_token(&policy, seed).with_scorer(&oracle, Reduce::Sum);
        let reward = |found: Vec<Found>| -> f64 {
            let rewards = best_tokens(&found).into_iter().map(|tokens| tree.reward(&tokens).expect("a leaf"));
            rewards.sum::<f64>() / found.len() as f64
        };
        sampled += reward(BestOfN { n: 4 }.search(&prompts(30), &mut ctx()).expect("it fits"));
        let search = StepBeam { n: 4, expand: 2, ..StepBeam::default() };
        searched += reward(search.search(&prompts(30), &mut ctx()).expect("it fits"));
        best += tree.leaves().map(|(_, reward)| reward).fold(0.0, f64::max);
    }
    assert!(sampled < searched && searched <= best, "{sampled} {searched} {best}");
}

#[test]
fn equal_scores_rank_by_likelihood_then_by_age() {
    let policy = drawn(&tree(5), 3);
    let constant = rule(|_| 1.0);
    let search = StepBeam { n: 6, expand: 2, ..StepBeam::default() };
    let mut ctx = by_token(&policy, 1).with_scorer(&constant, Reduce::Sum);
    for found in search.search(&prompts(10), &mut ctx).expect("it fits") {
        let sum = |at: usize| found.candidates[at].logps.iter().map(|logp| f64::from(*logp)).sum::<f64>();
        let best = (0..found.candidates.len()).fold(0, |best, at| if sum(at) > sum(best) { at } else { best });
        assert_eq!(found.chosen, best);
        let mut texts: Vec<&[u32]> = found.candidates.iter().map(|one| &one.tokens[..]).collect();
        texts.sort_unstable();
        assert!(texts.windows(2).all(|pair| pair[0] != pair[1]), "merged texts are distinct");
    }
}

#[test]
fn lookahead_has_whole_texts_scored_and_leaves_the_draws_alone() {
    let tree = tree(5);
    let policy = drawn(&tree, 3);
    let constant = rule(|_| 1.0);
    let search = |lookahead| StepBeam { n: 4, expand: 2, lookahead, ..StepBeam::default() };
    let found = |lookahead: usize| {
        let mut ctx = by_token(&policy, 1).with_scorer(&constant, Reduce::Sum);
        search(lookahead).search(&prompts(3), &mut ctx).expect("it fits")
    };
    let (without, with) = (found(0), found(2));
    for (without, with) in without.iter().zip(&with) {
        assert_eq!((&without.candidates, without.chosen), (&with.candidates, with.chosen));
        assert!(with.usage.generated > without.usage.generated);
    }
    // The tree scores leaves alone. Two steps ahead of the first token there are leaves only.
    let mut ctx = by_token(&policy, 1).with_scorer(&tree, Reduce::Sum);
    assert!(search(2).search(&prompts(3), &mut ctx).is_ok());
    assert!(search(1).search(&prompts(3), &mut ctx).is_err());
}

#[test]
fn what_was_looked_ahead_can_be_a_child() {
    let tree = tree(5);
    let (policy, oracle) = (drawn(&tree, 3), Oracle(&tree));
    let search = StepBeam { n: 4, expand: 2, lookahead: 1, merge: false, ..StepBeam::default() };
    let found = |search: StepBeam| {
        let mut ctx = by_token(&policy, 1).with_scorer(&oracle, Reduce::Sum).with_tree();
        search.search(&prompts(10), &mut ctx).expect("it fits")
    };
    let reused = found(StepBeam { reuse: true, ..search });
    for (drawn, reused) in found(search).iter().zip(&reused) {
        // Level by level: 4 tokens and 4 ahead, 4 and 4, and 4 that end; reused, each of two kept texts draws one fewer.
        assert_eq!((drawn.usage.generated, reused.usage.generated), (20, 16));
        assert_eq!(drawn.calls.scorer, reused.calls.scorer);
        // The likeliest token after a text that was kept is among the candidates after it.
        let nodes = &reused.tree.as_ref().expect("it is recorded").nodes;
        for kept in nodes[1..].iter().filter(|node| node.state == NodeState::Kept) {
            let (mut path, mut at) = (kept.tokens.clone(), kept);
            while let Some(parent) = at.parent {
                at = &nodes[parent];
                path = [&at.tokens[..], &path[..]].concat();
            }
            let logps = policy.logps(&path).expect("inside the tree");
            let likeliest = (1..3).fold(0, |best, token| if logps[token] > logps[best] { token } else { best }) as u32;
            let candidate =
                |node: &ascribe_search::TreeNode| node.state != NodeState::Open && node.tokens == [likeliest];
            assert!(nodes.iter().any(|node| node.parent == Some(kept.id) && candidate(node)));
        }
    }
    for (lookahead, expand) in [(0, 2), (1, 1)] {
        let wrong = StepBeam { n: 4, expand, lookahead, reuse: true, ..StepBeam::default() };
        let mut ctx = by_token(&policy, 1).with_scorer(&oracle, Reduce::Sum);
        let error = wrong.search(&prompts(1), &mut ctx).expect_err("nothing to reuse").to_string();
        assert!(error.contains("`reuse` makes a child of what was looked ahead"), "{error}");
    }
}

#[test]
fn no_score_by_the_least_or_the_product_grows_along_a_path() {
    /// Probabilities of steps, by token and place.
    struct Chances;
    impl Scorer for Chances {
        fn score(&self, episodes: &[ascribe_core::Episode]) -> Result<Vec<Credit>, CoreError> {
            let steps = |episode: &ascribe_core::Episode| {
                let chance = |(at, token): (usize, &u32)| [0.9, 0.5, 0.7][(*token as usize + at) % 3];
                Credit::steps(episode.response_tokens().iter().enumerate().map(chance).collect())
            };
            Ok(episodes.iter().map(steps).collect())
        }
    }
    let policy = drawn(&tree(5), 3);
    for reduce in [Reduce::Min, Reduce::Prod] {
        let mut ctx = by_token(&policy, 1).with_scorer(&Chances, reduce).with_tree();
        let search = StepBeam { n: 6, expand: 2, ..StepBeam::default() };
        for found in search.search(&prompts(10), &mut ctx).expect("it fits") {
            let nodes = found.tree.expect("it is recorded").nodes;
            for node in &nodes[1..] {
                let before = nodes[node.parent.expect("not the prompt")].value;
                assert!(before.zip(node.value).is_none_or(|(before, now)| now <= before), "{reduce:?}");
            }
        }
    }
}

#[test]
fn a_single_diverse_tree_is_a_beam_of_one_that_competes() {
    let tree = tree(5);
    let oracle = Oracle(&tree);
    for seed in 0..10 {
        let policy = drawn(&tree, seed);
        let ctx = || by_token(&policy, seed).with_scorer(&oracle, Reduce::Sum);
        let one = StepBeam { n: 3, expand: 3, when_finished: WhenFinished::Compete, ..StepBeam::default() };
        let beam = one.search(&prompts(3), &mut ctx()).expect("it fits");
        let diverse = DiverseTrees { n: 3, expand: 3, ..DiverseTrees::default() };
        let diverse = diverse.search(&prompts(3), &mut ctx()).expect("it fits");
        assert_eq!(best_tokens(&beam), best_tokens(&diverse));
        assert!(diverse.iter().all(|found| found.candidates.len() == 3));
    }
}

#[test]
fn diverse_trees_do_not_depend_on_one_another() {
    let tree = tree(5);
    let (policy, oracle) = (drawn(&tree, 4), Oracle(&tree));
    let found = |n| {
        let mut ctx = by_token(&policy, 7).with_scorer(&oracle, Reduce::Sum);
        DiverseTrees { n, expand: 2, ..DiverseTrees::default() }.search(&prompts(4), &mut ctx).expect("it fits")
    };
    for (four, six) in found(4).iter().zip(found(6)) {
        assert_eq!(four.candidates, six.candidates[..4]);
        assert_eq!((&four.subtrees, &six.subtrees), (&Some(vec![0, 0, 1, 1]), &Some(vec![0, 0, 1, 1, 2, 2])));
    }
    // One candidate a tree: as many samples, each of its own.
    let mut ctx = by_token(&policy, 7).with_scorer(&oracle, Reduce::Sum);
    let samples = DiverseTrees { n: 5, expand: 1, ..DiverseTrees::default() };
    let samples = samples.search(&prompts(2), &mut ctx).expect("it fits");
    assert!(samples.iter().all(|found| found.candidates.len() == 5 && found.usage.generated == 15));
}

/// A policy that draws after each text from one seed, whatever it is asked to draw from.
struct OneSeed<'a>(&'a TreePolicy);

impl Policy for OneSeed<'_> {
    fn propose(&self, requests: &[Request]) -> Result<Vec<Reply>, CoreError> {
        let requests: Vec<Request> =
            requests.iter().map(|request| Request { seed: Seed(3), ..request.clone() }).collect();
        self.0.propose(&requests)
    }

    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
}

#[test]
fn diverse_trees_of_equal_seeds_are_equal() {
    let tree = tree(5);
    let oracle = Oracle(&tree);
    let policy = drawn(&tree, 4);
    let equal = |policy: &dyn Policy| {
        let mut ctx = by_token(policy, 7).with_scorer(&oracle, Reduce::Sum);
        let search = DiverseTrees { n: 6, expand: 2, ..DiverseTrees::default() };
        let found = search.search(&prompts(20), &mut ctx).expect("it fits");
        assert!(found.iter().all(|found| found.candidates.len() == 6));
        let same = |found: &Found| found.candidates.chunks(2).all(|one| *one == found.candidates[..2]);
        found.iter().filter(|found| same(found)).count()
    };
    assert_eq!(equal(&OneSeed(&policy)), 20);
    assert!(equal(&policy) < 20);
}

#[test]
fn diverse_trees_begin_in_more_ways_than_a_beam() {
    let tree = tree(5);
    let (policy, oracle) = (TreePolicy::uniform(&tree), Oracle(&tree));
    let begun = |search: &dyn Search| -> f64 {
        let mut ctx = by_token(&policy, 7).with_scorer(&oracle, Reduce::Sum);
        let found = search.search(&prompts(1000), &mut ctx).expect("it fits");
        let ways = |one: &Found| {
            let mut first: Vec<u32> = one.candidates.iter().map(|one| one.tokens[0]).collect();
            first.sort_unstable();
            first.dedup();
            first.len()
        };
        found.iter().map(ways).sum::<usize>() as f64 / 1000.0
    };
    // The best of two and of two draws out of three differ with probability 1 - (25 + 9 + 1) / 81, and the two best of four
    // with 0.44: the best one is among four draws twice or more with 0.56.
    let diverse = begun(&DiverseTrees { n: 4, expand: 2, ..DiverseTrees::default() });
    let beam = begun(&StepBeam { n: 4, expand: 2, merge: false, ..StepBeam::default() });
    // Five standard errors of a mean of 1000 are below 0.08.
    assert!((diverse - (2.0 - 35.0 / 81.0)).abs() < 0.08, "{diverse}");
    assert!(beam < diverse, "{beam} beside {diverse}");
}

/// Tokens 0 and 1, and 2 that ends; a text ends with probability 0.4 after each token.
fn language() -> Toy<impl Fn(&[u32]) -> Vec<f64> + Send + Sync> {
    Toy { context: 8, weights: |text: &[u32]| if text.len() < 7 { vec![0.35, 0.25, 0.4] } else { vec![0.0, 0.0, 1.0] } }
}

#[test]
fn finished_texts_are_set_aside_or_shrink_the_beam_or_compete() {
    let language = language();
    let judge = rule(|episode| episode.response_tokens().iter().filter(|token| **token == 1).count() as f32);
    let found = |when_finished| {
        let mut ctx = SearchCtx::new(&language, 8, Seed(3)).with_steps(Steps::blocks(1));
        ctx = ctx.with_scorer(&judge, Reduce::Sum);
        let search = StepBeam { n: 6, expand: 2, when_finished, ..StepBeam::default() };
        search.search(&prompts(40), &mut ctx).expect("it fits")
    };
    for found in found(WhenFinished::SetAside) {
        assert!(found.candidates.iter().all(|one| one.tokens.last() == Some(&2)));
    }
    // Three places: three finished texts at most, and the beam is empty after them.
    let shrunk = found(WhenFinished::Shrink);
    assert!(shrunk.iter().all(|found| (1..=3).contains(&found.candidates.len())));
    assert!(shrunk.iter().any(|found| found.candidates.len() == 3));
    for found in found(WhenFinished::Compete) {
        assert!((1..=3).contains(&found.candidates.len()));
        let best = found.scores.as_ref().expect("scored").iter().copied().fold(0.0, f32::max);
        assert_eq!(found.scores.as_ref().expect("scored")[found.chosen], best);
    }
}

#[test]
fn what_is_cut_wins_only_where_it_may() {
    // A language that never ends before its context is full.
    let endless = Toy { context: 9, weights: |_: &[u32]| vec![0.5, 0.5, 0.0] };
    let constant = rule(|_| 1.0);
    for allowed in [false, true] {
        let mut ctx = SearchCtx::new(&endless, 4, Seed(0)).with_steps(Steps::blocks(2));
        ctx = ctx.with_scorer(&constant, Reduce::Sum);
        ctx = if allowed { ctx.with_cut() } else { ctx };
        let search = StepBeam { n: 4, expand: 2, ..StepBeam::default() };
        let found = search.search(&prompts(1), &mut ctx).expect("it fits").remove(0);
        assert_eq!(found.best().tokens.len(), 4);
        assert_eq!(found.candidates.len() > 1, allowed);
    }
}

#[test]
fn samples_that_were_cut_off_are_chosen_only_where_they_may() {
    // A text of 0s is cut off after three tokens, or ends with a 1; the scorer and the vote like what was cut off.
    let language = Toy { context: 9, weights: |_: &[u32]| vec![0.7, 0.3] };
    let longer = rule(|episode| episode.response_tokens().iter().filter(|token| **token == 0).count() as f32);
    let (answer, same) = (
        |episode: &ascribe_core::Episode| Some(if episode.complete { "ended" } else { "cut" }.to_owned()),
        |left: &str, right: &str| left == right,
    );
    let by_end = |_: usize, one: &ascribe_core::Candidate| Some(one.finish);
    let attempts = ReviseOptions { n: 8, chain: 1, ..ReviseOptions::default() };
    let searches: [(&str, &dyn Search); 7] = [
        ("best of n", &BestOfN { n: 8 }),
        ("vote", &Vote { n: 8, weights: None }),
        ("weighted vote", &Vote { n: 8, weights: Some(VoteWeights::Identity) }),
        ("majority", &Majority { n: 8, answer: by_end }),
        ("revision", &Revise { options: attempts, ..Revise::default() }),
        ("diverse trees", &DiverseTrees { n: 8, expand: 8, ..DiverseTrees::default() }),
        (
            "tree search",
            &Mcts {
                tree: TreeOptions { range: (0.0, 3.0), expand: 8, ..TreeOptions::default() },
                outcome: Outcome::Best(Pick::Best),
                ..Mcts::default()
            },
        ),
    ];
    for (name, search) in searches {
        let found = |allowed: bool| {
            let mut ctx = SearchCtx::new(&language, 3, Seed(5)).with_scorer(&longer, Reduce::Sum);
            ctx = ctx.with_answers(&answer, &same);
            ctx = if allowed { ctx.with_cut() } else { ctx };
            search.search(&prompts(60), &mut ctx).expect("it fits")
        };
        let cut = |one: &Found| one.best().finish == Finish::Length;
        let (strict, allowed) = (found(false), found(true));
        // Eight samples are all cut off with probability 0.343^8, and none is with 0.657^8: 0.0002 and 0.035.
        for one in &strict {
            let some_ended = one.candidates.iter().any(|one| one.finish == Finish::End);
            assert!(!some_ended || !cut(one), "{name}");
        }
        assert!(strict.iter().filter(|one| cut(one)).count() < allowed.iter().filter(|one| cut(one)).count(), "{name}");
    }
}

#[test]
fn every_text_ends_where_it_stops() {
    // Tokens 0 and 1, and 2 that ends; a text stops with its first 1.
    let language = Toy { context: 9, weights: |_: &[u32]| vec![0.5, 0.3, 0.2] };
    let stop = |tokens: &[u32]| tokens.iter().position(|token| *token == 1).map(|at| at + 1);
    let longer = rule(|episode| episode.tokens.len() as f32 / 9.0);
    let (answer, same) = (
        |episode: &ascribe_core::Episode| Some(episode.tokens.len().to_string()),
        |left: &str, right: &str| left == right,
    );
    for (name, make) in STRATEGIES {
        let options = match name {
            "smc" => serde_json::json!({"grain": {"tokens": 3}, "target": "twisted"}),
            _ => serde_json::json!({}),
        };
        let search = make(&options).expect("options of the strategy");
        // Blocks of two, so that some stop within.
        let mut ctx = SearchCtx::new(&language, 6, Seed(5)).with_steps(Steps::blocks(2)).with_stop(&stop);
        ctx = ctx.with_scorer(&longer, Reduce::Sum).with_answers(&answer, &same).with_tree();
        let mut stopped = 0;
        for found in search.search(&prompts(20), &mut ctx).expect("it fits") {
            for one in &found.candidates {
                assert_eq!(one.logps.len(), one.tokens.len(), "{name}");
                match stop(&one.tokens) {
                    None => assert!(one.finish == Finish::Length || one.tokens.last() == Some(&2), "{name}"),
                    Some(kept) => {
                        stopped += 1;
                        assert_eq!((one.tokens.len(), one.finish), (kept, Finish::End), "{name}");
                    }
                }
            }
            // Nothing follows a text that stopped.
            let nodes = found.tree.expect("it is recorded").nodes;
            assert!(
                nodes.iter().all(|node| node.parent.is_none_or(|parent| !nodes[parent].tokens.contains(&1))),
                "{name}"
            );
        }
        let draws = ["best-of-n", "majority", "step-beam", "dvts", "mcts", "paths", "revise", "smc", "likelihood"];
        assert!(stopped > 0 || !draws.contains(&name), "{name}");
    }
}

#[test]
fn a_judge_has_the_last_word() {
    let tree = tree(5);
    let (policy, oracle) = (TreePolicy::uniform(&tree), Oracle(&tree));
    let worst = rule(|episode| -(episode.tokens[2] as f32));
    let searches: [&dyn Search; 2] = [&StepBeam { n: 12, expand: 4, ..StepBeam::default() }, &BestOfN { n: 12 }];
    for search in searches {
        let mut ctx = by_token(&policy, 1).with_scorer(&oracle, Reduce::Sum).with_judge(&worst, Reduce::Sum);
        for found in search.search(&prompts(5), &mut ctx).expect("it fits") {
            let least = found.candidates.iter().map(|one| one.tokens[2]).min().expect("there are some");
            assert_eq!(found.best().tokens[2], least);
        }
    }
    // A judge alone will do, as it does where chains of one attempt are judged.
    let mut ctx = by_token(&policy, 1).with_judge(&worst, Reduce::Sum);
    assert!(BestOfN { n: 2 }.search(&prompts(1), &mut ctx).is_ok());
}

#[test]
fn votes_follow_their_weights() {
    let tree = tree(5);
    let policy = TreePolicy::uniform(&tree);
    let judge = rule(|episode| episode.tokens[0] as f32 + 0.5);
    let (answer, same) = (
        |episode: &ascribe_core::Episode| episode.tokens.last().filter(|last| **last > 0).map(u32::to_string),
        |left: &str, right: &str| left == right,
    );
    let ctx = || SearchCtx::new(&policy, 3, Seed(2)).with_answers(&answer, &same);
    let weighted = Vote { n: 9, weights: Some(VoteWeights::Identity) };
    let mut scored = ctx().with_scorer(&judge, Reduce::Sum);
    for found in weighted.search(&prompts(20), &mut scored).expect("it fits") {
        let weight = |answer: u32| {
            let votes = found.candidates.iter().filter(|one| one.tokens[2] == answer);
            votes.map(|one| one.tokens[0] as f32 + 0.5).sum::<f32>()
        };
        let chosen = found.best();
        assert!(weight(chosen.tokens[2]) >= weight(3 - chosen.tokens[2]));
        let group = found.candidates.iter().filter(|one| one.tokens[2] == chosen.tokens[2]);
        assert_eq!(Some(chosen.tokens[0]), group.map(|one| one.tokens[0]).max());
    }
    let plain = Vote { n: 9, weights: None };
    for found in plain.search(&prompts(20), &mut ctx()).expect("it fits") {
        let count = |answer: u32| found.candidates.iter().filter(|one| one.tokens[2] == answer).count();
        assert!(count(found.best().tokens[2]) >= count(3 - found.best().tokens[2]));
    }
    // A vote at the end of a beam search, and one that nobody can read.
    let last = StepBeam { n: 4, expand: 2, pick: Pick::Vote(VoteWeights::Softmax), ..StepBeam::default() };
    let mut steps = ctx().with_scorer(&judge, Reduce::Sum).with_steps(Steps::blocks(1));
    assert!(last.search(&prompts(2), &mut steps).is_ok());
    let mut mute = SearchCtx::new(&policy, 3, Seed(2));
    assert!(matches!(plain.search(&prompts(1), &mut mute), Err(SearchError::NoAnswers)));
}

#[test]
fn the_value_of_oreo_is_a_beam_of_k_by_k() {
    let wanted = StepBeam { n: 9, expand: 3, levels: 20, ..StepBeam::default() };
    assert_eq!(StepBeam::value_guided(3), wanted);
    let policy = drawn(&tree(5), 3);
    let constant = rule(|_| 1.0);
    let mut ctx = by_token(&policy, 1).with_scorer(&constant, Reduce::Sum);
    // K = 1 is one sample.
    let found = StepBeam::value_guided(1).search(&prompts(3), &mut ctx).expect("it fits");
    assert!(found.iter().all(|found| found.candidates.len() == 1 && found.usage.generated == 3));
}

#[test]
fn what_a_prompt_finds_does_not_depend_on_others() {
    let tree = tree(5);
    let (policy, oracle) = (drawn(&tree, 4), Oracle(&tree));
    let starts: Vec<Tokens> = [vec![], vec![2u32], vec![1, 0], vec![0]].into_iter().map(Tokens::from).collect();
    let search = StepBeam { n: 4, expand: 2, ..StepBeam::default() };
    let ctx = || by_token(&policy, 7).with_scorer(&oracle, Reduce::Sum);
    let all = search.search(&starts, &mut ctx()).expect("it fits");
    for (number, start) in starts.iter().enumerate() {
        let mut ctx = ctx().with_first(number as u64);
        assert_eq!(search.search(std::slice::from_ref(start), &mut ctx).expect("it fits")[0], all[number]);
    }
    assert!(all.iter().all(|found| found.stopped != Some(Stopped::Budget)));
}

#[test]
fn a_recorded_search_can_be_replayed_and_read_back() {
    let tree = tree(5);
    let (policy, oracle) = (drawn(&tree, 4), Oracle(&tree));
    let particles = Smc { options: SmcOptions::default(), target: Target::Tilted(Schedule::constant(2.0)) };
    let searches: [&dyn Search; 4] = [
        &StepBeam { n: 4, expand: 2, lookahead: 1, ..StepBeam::default() },
        &DiverseTrees::default(),
        &Mcts::default(),
        &particles,
    ];
    for search in searches {
        let found = || {
            let mut ctx = by_token(&policy, 7).with_scorer(&oracle, Reduce::Sum).with_tree();
            search.search(&prompts(3), &mut ctx).expect("it fits")
        };
        let first = found();
        assert_eq!(first, found());
        for found in &first {
            let recorded = found.tree.as_ref().expect("it is recorded");
            let text = serde_json::to_string(recorded).expect("JSON");
            let read: SearchTree = serde_json::from_str(&text).expect("a tree");
            assert!(read.nodes.iter().zip(&recorded.nodes).all(|(one, other)| one.tokens == other.tokens));
            assert_eq!(read.nodes.len(), recorded.nodes.len());
            // The chosen text is the way to the chosen node.
            let chosen = recorded.nodes.iter().find(|node| node.state == NodeState::Chosen).expect("one is chosen");
            let (mut tokens, mut at): (Vec<u32>, _) = (Vec::new(), chosen);
            while let Some(parent) = at.parent {
                tokens = [&at.tokens[..], &tokens[..]].concat();
                at = &recorded.nodes[parent];
            }
            assert_eq!(found.best().tokens[..], tokens[..]);
            assert!(recorded.tokens() <= recorded.unshared_tokens());
        }
    }
}

#[test]
fn numbers_that_do_not_fit_are_refused() {
    let policy = TreePolicy::uniform(&tree(5));
    let constant = rule(|_| 1.0);
    let refused = |search: StepBeam| {
        search.search(&prompts(1), &mut by_token(&policy, 0).with_scorer(&constant, Reduce::Sum)).is_err()
    };
    let plain = StepBeam::default();
    assert!(refused(StepBeam { n: 5, expand: 2, ..plain }) && refused(StepBeam { expand: 0, ..plain }));
    assert!(refused(StepBeam { n: 0, ..plain }) && refused(StepBeam { levels: 0, ..plain }) && !refused(plain));
    let mut nothing = SearchCtx::new(&policy, 3, Seed(0)).with_steps(Steps::blocks(0));
    assert!(plain.search(&prompts(1), &mut nothing).is_err());
    let mut ctx = by_token(&policy, 0).with_scorer(&constant, Reduce::Sum);
    assert!(DiverseTrees { n: 3, expand: 2, ..DiverseTrees::default() }.search(&prompts(1), &mut ctx).is_err());
}
