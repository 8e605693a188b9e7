//! Decoders that go token by token: likelihood, lookahead with a heuristic, values of an aligned model, controlled decoding.

use ascribe_core::{
    Candidate, Capabilities, CoreError, Finish, Policy, Reduce, Reply, Request, Scorer, Seed, Tokens, Usage, rule,
};
use ascribe_search::{
    Beam, BestOfN, Choose, Controlled, Deal, Found, Greedy, Search, SearchCtx, StepBeam, Steps, TransferOptions,
    TransferQ, tilted,
};
use ascribe_worlds::{TokenTree, TreePolicy};

use crate::support::{Exact, Oracle, Toy, drawn, leaf, logp, prompts, total_variation, tree};

const BETA: f64 = 0.3;

#[test]
fn likelihood_search_on_the_soft_optimum_is_search_by_reward_and_value() {
    for seed in 0..10 {
        let tree = tree(seed);
        let reference = drawn(&tree, seed + 50);
        let worth = |path: &[u32], reward: f64, beta: f64| reward + beta * logp(&reference, path);
        for beta in [0.1, 0.3, 1.0] {
            let soft = tree.soft_optimum(&reference, beta).expect("beta is sound");
            let start = soft.value.value(&[]).expect("the root");
            for (path, reward) in tree.leaves() {
                // r + beta log ref = V*(start) + beta log pi*, summed over the path.
                let through = start + beta * logp(&soft.policy, &path);
                assert!((worth(&path, reward, beta) - through).abs() < 1e-9);
            }
            let mut leaves: Vec<(Vec<u32>, f64)> = tree.leaves().collect();
            leaves.sort_by(|a, b| worth(&b.0, b.1, beta).total_cmp(&worth(&a.0, a.1, beta)));
            let mut ctx = SearchCtx::new(&soft.policy, 3, Seed(0));
            let found = Beam::likelihood(27).search(&prompts(1), &mut ctx).expect("it fits").remove(0);
            let got: Vec<Vec<u32>> = found.candidates.iter().map(|one| one.tokens.to_vec()).collect();
            assert_eq!(got, leaves.into_iter().map(|(path, _)| path).collect::<Vec<_>>());
        }
        // A reward that is the same everywhere, and one that only moves credit about, leave the policy as it is.
        let shifted = TokenTree::new(3, 3, |path| tree.reward(path).expect("a leaf") + 5.0).expect("finite");
        let (plain, shifted) = (tree.soft_optimum(&reference, BETA), shifted.soft_optimum(&reference, BETA));
        let (plain, shifted) = (plain.expect("beta is sound").policy, shifted.expect("beta is sound").policy);
        assert!(tree.leaves().all(|(path, _)| (logp(&plain, &path) - logp(&shifted, &path)).abs() < 1e-9));
    }
}

#[test]
fn a_reward_that_is_moved_along_the_text_leaves_likelihood_search_as_it_is() {
    let reference = drawn(&tree(3), 53);
    // Each beginning has a number, so a reward of its last token and a potential of its own.
    let number = |path: &[u32]| path.iter().fold(1u32, |number, token| 3 * number + token);
    let reward = |path: &[u32]| f64::from(number(path) * 37 % 11) / 11.0;
    let potential = |path: &[u32]| f64::from(number(path) * 53 % 13) / 5.0;
    // The sum of r + Phi(s') - Phi(s) over the tokens; `end` scales the potential of a whole text.
    let shaped = |moved: f64, end: f64| {
        let phi = |path: &[u32]| moved * potential(path) * if path.len() == 3 { end } else { 1.0 };
        let token = |path: &[u32], at: usize| reward(&path[..=at]) + phi(&path[..=at]) - phi(&path[..at]);
        let tree = TokenTree::new(3, 3, |path| (0..3).map(|at| token(path, at)).sum()).expect("finite");
        tree.soft_optimum(&reference, BETA).expect("beta is sound").policy
    };
    let found = |policy: &TreePolicy, width: usize| {
        let mut ctx = SearchCtx::new(policy, 3, Seed(0));
        Beam::likelihood(width).search(&prompts(1), &mut ctx).expect("it fits").remove(0).candidates
    };
    let (plain, moved, changed) = (shaped(0.0, 0.0), shaped(1.0, 0.0), shaped(1.0, 1.0));
    for width in [1, 2, 27] {
        let (plain, moved) = (found(&plain, width), found(&moved, width));
        assert_eq!(plain.len(), moved.len());
        for (plain, moved) in plain.iter().zip(&moved) {
            assert_eq!(plain.tokens, moved.tokens, "{width}");
            assert!(plain.logps.iter().zip(&moved.logps).all(|(left, right)| (left - right).abs() < 1e-5), "{width}");
        }
    }
    // A potential that a whole text keeps is another reward.
    let order = |policy: &TreePolicy| found(policy, 27).into_iter().map(|one| one.tokens).collect::<Vec<_>>();
    assert_ne!(order(&plain), order(&changed));
}

/// One token of three, with probabilities 0.5, 0.3, 0.2.
fn one_token() -> (TokenTree, TreePolicy) {
    let tree = TokenTree::new(3, 1, |path| [0.2, 0.6, 0.0][path[0] as usize]).expect("finite");
    let policy = TreePolicy::new(&tree, |_| [0.5, 0.3, 0.2].map(f64::ln).to_vec()).expect("a distribution");
    (tree, policy)
}

#[test]
fn deal_worked_by_hand() {
    let (tree, policy) = one_token();
    let found = |deal: Deal| {
        let mut ctx = SearchCtx::new(&policy, 1, Seed(0)).with_scorer(&tree, Reduce::Sum);
        let found = deal.search(&prompts(1), &mut ctx).expect("it fits").remove(0);
        (found.best().tokens[0], found.scores.expect("scored")[found.chosen])
    };
    let close = |(token, c): (u32, f32), expected: (u32, f32)| {
        assert!(token == expected.0 && (c - expected.1).abs() < 1e-6, "{token} {c} beside {expected:?}");
    };
    // ln 0.5 + 2 * 0.2 against ln 0.3 + 2 * 0.6.
    close(found(Deal { k: 1, lambda: 2.0, ..Deal::default() }), (0, -0.293147));
    close(found(Deal { k: 2, lambda: 2.0, ..Deal::default() }), (1, -0.003973));
    close(found(Deal { lambda: 0.0, ..Deal::default() }), (0, -std::f32::consts::LN_2));
    close(found(Deal { lambda: f64::INFINITY, ..Deal::default() }), (1, 0.6));
    // Of equal heuristics the likelier.
    let even = rule(|episode| if episode.tokens[0] == 0 { 0.0 } else { 1.0 });
    let mut ctx = SearchCtx::new(&policy, 1, Seed(0)).with_scorer(&even, Reduce::Sum);
    let deal = Deal { lambda: f64::INFINITY, ..Deal::default() };
    assert_eq!(deal.search(&prompts(1), &mut ctx).expect("it fits")[0].best().tokens[0], 1);
    // A weight of 0 is greedy even where the heuristic forbids everything.
    let forbidden = rule(|_| f32::NEG_INFINITY);
    let mut ctx = SearchCtx::new(&policy, 1, Seed(0)).with_scorer(&forbidden, Reduce::Sum);
    let greedy = Deal { lambda: 0.0, ..Deal::default() }.search(&prompts(1), &mut ctx).expect("it fits").remove(0);
    close((greedy.best().tokens[0], greedy.scores.expect("scored")[greedy.chosen]), (0, -std::f32::consts::LN_2));
}

#[test]
fn of_texts_that_end_apart_deal_takes_the_likelier_one() {
    // 1 ends: at once with probability 0.1, or after a 0 with 0.9 * 0.9. The heuristic likes both alike.
    let weights = |text: &[u32]| if text.is_empty() { vec![0.9, 0.1] } else { vec![0.1, 0.9] };
    let (policy, even) = (Toy { context: 9, weights }, rule(|_| 1.0));
    let mut ctx = SearchCtx::new(&policy, 4, Seed(0)).with_scorer(&even, Reduce::Sum);
    let deal = Deal { lambda: f64::INFINITY, lookahead: 0, beams: 2, ..Deal::default() };
    let found = deal.search(&prompts(1), &mut ctx).expect("it fits").remove(0);
    assert_eq!((found.candidates.len(), found.best().tokens.to_vec()), (2, vec![0, 1]));
}

/// A policy that says of itself that it never ends.
struct Endless<'a>(&'a TreePolicy);

impl Policy for Endless<'_> {
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
fn a_text_that_has_to_end_ends_with_the_last_token_that_there_is_room_for() {
    // 2 ends, and is the least likely of three; one token is tried at each place.
    let policy = Toy { context: 9, weights: |_: &[u32]| vec![0.6, 0.39, 0.01] };
    let even = rule(|_| 1.0);
    let found = |deal: Deal| {
        let mut ctx = SearchCtx::new(&policy, 3, Seed(0)).with_scorer(&even, Reduce::Sum);
        deal.search(&prompts(1), &mut ctx).expect("it fits").remove(0)
    };
    let deal = Deal { k: 1, lookahead: 0, ..Deal::default() };
    let (free, forced) = (found(deal), found(Deal { force_end: true, ..deal }));
    assert_eq!((free.best().tokens.to_vec(), free.best().finish), (vec![0, 0, 0], Finish::Length));
    assert_eq!((forced.best().tokens.to_vec(), forced.best().finish), (vec![0, 0, 2], Finish::End));
    // Three readings either way.
    assert_eq!((free.usage.generated, forced.usage.generated), (3, 3));
    // Two beams, with room for one token: both would be the end.
    let mut ctx = SearchCtx::new(&policy, 1, Seed(0)).with_scorer(&even, Reduce::Sum);
    let wide = Deal { k: 2, beams: 2, force_end: true, ..deal };
    assert_eq!(wide.search(&prompts(1), &mut ctx).expect("it fits")[0].candidates.len(), 1);
    let (_, table) = one_token();
    let endless = Endless(&table);
    let mut ctx = SearchCtx::new(&endless, 1, Seed(0)).with_scorer(&even, Reduce::Sum);
    let error = Deal { force_end: true, ..deal }.search(&prompts(1), &mut ctx).expect_err("no end").to_string();
    assert!(error.contains("`force_end` needs a policy that ends its texts"), "{error}");
}

#[test]
fn deal_looks_ahead_before_it_commits() {
    // The reward is at the end, and the likeliest first token leads away from it.
    let tree = TokenTree::new(2, 2, |path| if path == [1, 0] { 1.0 } else { 0.0 }).expect("finite");
    let policy = TreePolicy::new(&tree, |_| vec![0.6f64.ln(), 0.4f64.ln()]).expect("a distribution");
    let found = |deal: Deal| {
        let mut ctx = SearchCtx::new(&policy, 2, Seed(0)).with_scorer(&tree, Reduce::Sum);
        deal.search(&prompts(1), &mut ctx)
    };
    let ahead = found(Deal { lambda: 5.0, lookahead: 1, ..Deal::default() }).expect("it fits").remove(0);
    assert_eq!(ahead.best().tokens[..], [1, 0]);
    // Two readings, and one token ahead of each of the two first tokens.
    assert_eq!(ahead.usage.generated, 4);
    // Without lookahead the tree would have to score half a text, which it cannot.
    assert!(found(Deal { lambda: 5.0, lookahead: 0, ..Deal::default() }).is_err());
    // Wide enough, no lookahead is needed: the text itself is scored once it is whole.
    let partial = rule(|episode| if episode.tokens[..] == [1, 0] { 1.0 } else { 0.0 });
    let mut ctx = SearchCtx::new(&policy, 2, Seed(0)).with_scorer(&partial, Reduce::Sum);
    let wide = Deal { lambda: 5.0, lookahead: 0, beams: 2, ..Deal::default() };
    let wide = wide.search(&prompts(1), &mut ctx).expect("it fits").remove(0);
    assert_eq!((wide.best().tokens.to_vec(), wide.candidates.len()), (vec![1, 0], 2));
    for wrong in [
        Deal { k: 0, ..Deal::default() },
        Deal { beams: 0, ..Deal::default() },
        Deal { lambda: f64::NAN, ..Deal::default() },
        Deal { lambda: -1.0, ..Deal::default() },
    ] {
        assert!(found(wrong).is_err(), "{wrong:?}");
    }
}

/// How often each leaf was found.
fn counts(found: &[Found], tree: &TokenTree) -> Vec<f64> {
    let mut counts = vec![0.0; tree.leaves().len()];
    found.iter().for_each(|one| counts[leaf(&one.best().tokens, tree.vocabulary())] += 1.0);
    counts
}

#[test]
fn controlled_decoding_by_the_soft_value_samples_the_tilted_distribution() {
    let tree = tree(6);
    let reference = drawn(&tree, 7);
    let soft = tree.soft_optimum(&reference, BETA).expect("beta is sound");
    // `SoftOptimum` counts the reference into its Q; its V is `beta log E_ref exp(r / beta)`.
    let value = Exact { tree: &tree, value: &soft.value, scale: BETA };
    let mut ctx = SearchCtx::new(&reference, 3, Seed(1)).with_scorer(&value, Reduce::Sum);
    let n = 4000;
    let search = Controlled { weight: 1.0, choose: Choose::Sample, ..Controlled::default() };
    let found = search.search(&prompts(n), &mut ctx).expect("it fits");
    let exact = soft.policy.leaf_probabilities();
    let distance = total_variation(&counts(&found, &tree), &exact);
    // The mean is below half the sum of standard deviations; it varies by less than 1 / sqrt(n).
    let expected: f64 = exact.iter().map(|p| (p * (1.0 - p) / n as f64).sqrt()).sum::<f64>() / 2.0;
    assert!(distance < expected + 3.0 / (n as f64).sqrt(), "{distance}, expected {expected}");
    let base = total_variation(&counts(&found, &tree), &reference.leaf_probabilities());
    assert!(base > 3.0 * distance, "{base} beside {distance}");
}

#[test]
fn without_a_weight_controlled_decoding_samples_the_policy() {
    let tree = tree(6);
    let (policy, oracle) = (drawn(&tree, 7), Oracle(&tree));
    let mut ctx = SearchCtx::new(&policy, 3, Seed(1)).with_scorer(&oracle, Reduce::Sum);
    let n = 3000;
    let search = Controlled { weight: 0.0, choose: Choose::Sample, ..Controlled::default() };
    let found = search.search(&prompts(n), &mut ctx).expect("it fits");
    let exact = policy.leaf_probabilities();
    let distance = total_variation(&counts(&found, &tree), &exact);
    // As above.
    let expected: f64 = exact.iter().map(|p| (p * (1.0 - p) / n as f64).sqrt()).sum::<f64>() / 2.0;
    assert!(distance < expected + 3.0 / (n as f64).sqrt(), "{distance}, expected {expected}");
}

#[test]
fn the_tilted_next_token_is_that_of_the_soft_optimum() {
    let tree = tree(6);
    let reference = drawn(&tree, 7);
    let soft = tree.soft_optimum(&reference, BETA).expect("beta is sound");
    for path in [vec![], vec![1], vec![2, 0]] {
        let logps: Vec<f32> = reference.logps(&path).expect("inside").iter().map(|logp| *logp as f32).collect();
        let ahead = |token: u32| {
            let next = [&path[..], &[token]].concat();
            if next.len() == 3 { tree.reward(&next).expect("a leaf") } else { soft.value.value(&next).expect("inside") }
        };
        let values: Vec<f64> = (0..3).map(ahead).collect();
        let got = tilted(&logps, &values, BETA).expect("sound");
        for (got, expected) in got.iter().zip(soft.policy.logps(&path).expect("inside")) {
            assert!((got - expected).abs() < 1e-5, "{path:?}: {got} beside {expected}");
        }
    }
}

#[test]
fn a_great_weight_on_the_exact_value_finds_the_best_text() {
    for seed in 0..10 {
        let tree = tree(seed);
        let policy = drawn(&tree, seed + 20);
        let best = tree.leaves().map(|(_, reward)| reward).fold(0.0, f64::max);
        let oracle = Oracle(&tree);
        let mut ctx = SearchCtx::new(&policy, 3, Seed(0)).with_scorer(&oracle, Reduce::Sum);
        let search = Controlled { weight: 1e6, ..Controlled::default() };
        let found = search.search(&prompts(1), &mut ctx).expect("it fits").remove(0);
        assert_eq!(tree.reward(&found.best().tokens).expect("a leaf"), best);
    }
}

fn transfer(options: TransferOptions) -> TransferQ<'static> {
    TransferQ { options, ..TransferQ::default() }
}

#[test]
fn transfer_with_the_baseline_that_is_aligned_follows_its_value() {
    let (alpha, mut followed) = (0.2, 0);
    for seed in 0..20 {
        let tree = tree(seed);
        let sft = drawn(&tree, seed + 1);
        let aligned = tree.soft_optimum(&sft, BETA).expect("beta is sound").policy;
        let exact = tree.exact_value(&aligned).expect("the same tree");
        // What the exact value of the aligned model would choose at each place, and how clearly.
        let (mut path, mut margin) = (Vec::new(), f64::INFINITY);
        while path.len() < 3 {
            let worth = |token: u32| {
                let next = [&path[..], &[token]].concat();
                let value = if next.len() == 3 { tree.reward(&next) } else { exact.value(&next) };
                sft.logps(&path).expect("inside")[token as usize] + value.expect("inside") / alpha
            };
            let mut order = [0, 1, 2];
            order.sort_by(|a, b| worth(*b).total_cmp(&worth(*a)));
            margin = margin.min(worth(order[0]) - worth(order[1]));
            path.push(order[0]);
        }
        // Values of 2000 rollouts are off by at most 0.011 for one standard error, so worths by 0.06.
        if margin < 0.4 {
            continue;
        }
        followed += 1;
        let options = TransferOptions { rollouts: 2000, greedy: false, alpha, ..TransferOptions::default() };
        let mut ctx = SearchCtx::new(&sft, 3, Seed(4)).with_scorer(&tree, Reduce::Sum);
        let search = TransferQ { baseline: Some(&aligned), ..transfer(options) };
        let found = search.search(&prompts(1), &mut ctx).expect("it fits").remove(0);
        assert_eq!(found.best().tokens[..], path[..]);
        // 3 readings of one token, and rollouts of 2 and of 1 token after 3 first and 3 second tokens.
        assert_eq!(found.usage.generated, 3 + 3 * 2000 * 2 + 3 * 2000);
    }
    assert!(followed > 0);
}

/// The chances of the two tokens after a path, in quarters.
fn quarters(path: &[u32]) -> [u32; 2] {
    let first = 1 + (path.len() as u32 + 2 * path.iter().sum::<u32>()) % 3;
    [first, 4 - first]
}

/// Of 16 texts of three tokens it writes each as often as its probability says, so that nothing is left to chance.
struct Enumerated;

impl Policy for Enumerated {
    fn propose(&self, requests: &[Request]) -> Result<Vec<Reply>, CoreError> {
        let reply = |request: &Request| {
            let mut texts = vec![(request.prefix.to_vec(), request.n as u32)];
            while texts[0].0.len() < 3 {
                let mut longer = Vec::new();
                for (text, copies) in &texts {
                    for (token, part) in (0..2u32).zip(quarters(text)) {
                        longer.push(([&text[..], &[token]].concat(), copies * part / 4));
                    }
                }
                texts = longer;
            }
            let mut candidates = Vec::new();
            for (text, copies) in texts {
                let tokens = text[request.prefix.len()..].to_vec();
                let logps = vec![0.0; tokens.len()];
                let one = Candidate { tokens: tokens.into(), logps, finish: Finish::End };
                candidates.extend(vec![one; copies as usize]);
            }
            Reply { candidates, usage: Usage::default() }
        };
        Ok(requests.iter().map(reply).collect())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { score: false, top: false, context: 3 }
    }
}

#[test]
fn enumerated_rollouts_give_the_value_of_the_aligned_model() {
    let (alpha, beta) = (0.2, 0.5);
    let flat = TokenTree::new(2, 3, |_| 0.0).expect("the tree is small");
    let logits = |path: &[u32]| quarters(path).map(|part| f64::from(part).ln()).to_vec();
    let baseline = TreePolicy::new(&flat, logits).expect("a distribution");
    for seed in 0..10 {
        let sft = drawn(&flat, seed);
        // The reward whose soft optimum is the baseline, and one that it knows nothing of.
        let own = |path: &[u32]| beta * (logp(&baseline, path) - logp(&sft, path));
        let own = TokenTree::new(2, 3, own).expect("finite");
        let other = TokenTree::drawn(2, 3, Seed(seed + 100)).expect("the tree is small");
        for (reward, indirect) in [(&own, false), (&other, true)] {
            let aligned = reward.soft_optimum(&sft, beta).expect("beta is sound").policy;
            let exact = reward.exact_value(&aligned).expect("the same tree");
            let options =
                TransferOptions { k: 2, rollouts: 16, greedy: false, alpha, beta, ..TransferOptions::default() };
            let known: (&dyn Scorer, Reduce) = (&own, Reduce::Sum);
            let baseline_reward = indirect.then_some(known);
            let search = TransferQ { baseline: Some(&Enumerated), baseline_reward, ..transfer(options) };
            let mut ctx = SearchCtx::new(&sft, 3, Seed(4)).with_scorer(reward, Reduce::Sum).with_tree();
            let found = search.search(&prompts(1), &mut ctx).expect("it fits").remove(0);
            let nodes = &found.tree.as_ref().expect("it is recorded").nodes;
            let mut at = 0;
            for depth in 0..3 {
                let path = &found.best().tokens[..depth];
                // Tokens that were weighed have an estimate; rollouts have none.
                let weighed = |node: &&ascribe_search::TreeNode| node.parent == Some(at) && node.estimate.is_some();
                let (mut worth, mut next) = ([f64::NAN; 2], at);
                for node in nodes.iter().filter(weighed) {
                    let text = [path, &node.tokens[..]].concat();
                    let value = if depth == 2 { reward.reward(&text) } else { exact.value(&text) };
                    let (value, got) = (value.expect("inside"), node.value.expect("valued"));
                    assert!((got - value).abs() < 1e-5, "{text:?}: {got} beside {value}");
                    let token = node.tokens[0] as usize;
                    worth[token] = sft.logps(path).expect("inside")[token] + value / alpha;
                    if node.tokens[0] == found.best().tokens[depth] {
                        next = node.id;
                    }
                }
                let chosen = found.best().tokens[depth] as usize;
                // Both tokens were weighed, and the better one was taken.
                assert!(next != at && worth[chosen] > worth[1 - chosen] - 1e-4, "{worth:?}");
                at = next;
            }
        }
    }
}

#[test]
fn one_token_from_the_end_transfer_is_the_aligned_distribution() {
    let tree = tree(2);
    let sft = drawn(&tree, 3);
    let soft = tree.soft_optimum(&sft, BETA).expect("beta is sound");
    let options = TransferOptions { alpha: BETA, choose: Choose::Sample, ..TransferOptions::default() };
    let mut ctx = SearchCtx::new(&sft, 3, Seed(4)).with_scorer(&tree, Reduce::Sum);
    let start = Tokens::from(vec![1u32, 2]);
    let n = 3000;
    let found = transfer(options).search(&vec![start.clone(); n], &mut ctx).expect("it fits");
    let mut counts = [0.0; 3];
    found.iter().for_each(|one| counts[one.best().tokens[0] as usize] += 1.0);
    let exact: Vec<f64> = soft.policy.logps(&start).expect("inside").iter().map(|logp| logp.exp()).collect();
    // Five standard deviations of a share are below 2.5 / sqrt(n).
    assert!(total_variation(&counts, &exact) < 2.5 / (n as f64).sqrt());
}

#[test]
fn limits_of_transfer() {
    let tree = tree(2);
    let sft = drawn(&tree, 3);
    let aligned = tree.soft_optimum(&sft, BETA).expect("beta is sound").policy;
    let found = |search: TransferQ, scorer: &dyn Scorer| {
        let mut ctx = SearchCtx::new(&sft, 3, Seed(4)).with_scorer(scorer, Reduce::Sum);
        search.search(&prompts(3), &mut ctx).expect("it fits")
    };
    let greedy = Greedy.search(&prompts(3), &mut SearchCtx::new(&sft, 3, Seed(4))).expect("it fits");
    let options = TransferOptions { rollouts: 3, greedy: false, alpha: 0.1, ..TransferOptions::default() };
    let direct = TransferQ { baseline: Some(&aligned), ..transfer(options) };
    // An infinite alpha, and a reward that is the same everywhere, leave the policy.
    let flat = TransferQ { options: TransferOptions { alpha: f64::INFINITY, ..options }, ..direct };
    let constant = rule(|_| 0.3);
    for (one, greedy) in found(flat, &tree).iter().chain(&found(direct, &constant)).zip(greedy.iter().chain(&greedy)) {
        assert_eq!(one.best(), greedy.best());
    }
    // A baseline that was aligned to the same reward needs no weights.
    let indirect = TransferQ { baseline_reward: Some((&tree, Reduce::Sum)), ..direct };
    for (one, other) in found(direct, &tree).iter().zip(&found(indirect, &tree)) {
        assert_eq!(one.candidates, other.candidates);
        assert_eq!((one.doubtful, other.doubtful), (0, 0));
    }
    // Where the target reward has it by far, a value hangs on the best of its rollouts; a last token has none.
    let sharp = TransferOptions { rollouts: 50, beta: 1e-6, floor: 1.0, ..options };
    let one = |options| found(TransferQ { options, baseline_reward: Some((&constant, Reduce::Sum)), ..direct }, &tree);
    let sharply = one(sharp);
    assert!(sharply.iter().any(|one| one.doubtful > 0) && sharply.iter().all(|one| one.doubtful <= 3 + 3));
    assert!(one(TransferOptions { floor: 0.0, ..sharp }).iter().all(|one| one.doubtful == 0));
    // An alpha near 0 takes the token of the best value, however unlikely: here what the policy's likeliest rollout earns.
    let best = transfer(TransferOptions { alpha: 1e-6, ..TransferOptions::default() });
    let path = found(best, &tree)[0].best().tokens.to_vec();
    let earned = |text: &[u32]| -> f64 {
        let mut text = text.to_vec();
        while text.len() < 3 {
            let here = sft.logps(&text).expect("inside");
            text.push((1..3).fold(0, |best, token| if here[token] > here[best] { token } else { best }) as u32);
        }
        tree.reward(&text).expect("a leaf")
    };
    for depth in 0..3 {
        let value = |token: u32| earned(&[&path[..depth], &[token]].concat());
        assert!((0..3).all(|token| value(token) <= value(path[depth]) + 1e-4), "{path:?} at {depth}");
    }
    // A constant on the reward changes nothing.
    let more = TokenTree::new(3, 3, |path| tree.reward(path).expect("a leaf") + 4.0).expect("finite");
    for (one, other) in found(direct, &tree).iter().zip(&found(direct, &more)) {
        assert_eq!(one.candidates, other.candidates);
    }
    // Greedy rollouts are all the same: one is written. 3 readings, and 2 tokens, then 1, after each of 3 tokens.
    let greedy = TransferOptions { rollouts: 3, greedy: true, ..options };
    assert!(found(transfer(greedy), &tree).iter().all(|one| one.usage.generated == 3 + 3 * 2 + 3));
    for wrong in [
        TransferOptions { alpha: 0.0, ..options },
        TransferOptions { beta: f64::NAN, ..options },
        TransferOptions { k: 0, ..options },
        TransferOptions { rollouts: 0, ..options },
        TransferOptions { floor: f64::NAN, ..options },
    ] {
        let mut ctx = SearchCtx::new(&sft, 3, Seed(4)).with_scorer(&constant, Reduce::Sum);
        assert!(transfer(wrong).search(&prompts(1), &mut ctx).is_err(), "{wrong:?}");
    }
}

#[test]
fn further_rollouts_go_to_the_two_best_until_they_can_be_told_apart() {
    let extra = 6;
    let options = TransferOptions { rollouts: 2, greedy: false, extra, alpha: 0.5, ..TransferOptions::default() };
    // Either first token is worth 1 or 0, as the second says; then the first says it.
    for (even, tree) in [
        (true, TokenTree::new(2, 2, |path| f64::from(path[1])).expect("finite")),
        (false, TokenTree::new(2, 2, |path| f64::from(path[0])).expect("finite")),
    ] {
        let policy = TreePolicy::uniform(&tree);
        let mut ctx = SearchCtx::new(&policy, 2, Seed(4)).with_scorer(&tree, Reduce::Sum).with_tree();
        let found = transfer(options).search(&prompts(20), &mut ctx).expect("it fits");
        let mut drawn = 0;
        for one in &found {
            let nodes = &one.tree.as_ref().expect("it is recorded").nodes;
            let first: Vec<_> = nodes.iter().filter(|node| node.parent == Some(0)).collect();
            let estimates: Vec<_> = first.iter().map(|node| node.estimate.expect("estimated")).collect();
            let [left, right] = estimates[..] else { panic!("two tokens") };
            assert_eq!(left.rollouts, right.rollouts);
            assert!((2..=2 + extra as u64).contains(&left.rollouts));
            // Both tokens are equally likely, so what is better is a matter of the values.
            let gap = (first[0].value.expect("valued") - first[1].value.expect("valued")).abs();
            let error = left.error.expect("two or more").hypot(right.error.expect("two or more"));
            assert!(left.rollouts == 2 + extra as u64 || error <= gap + 1e-9, "{left:?} {right:?}");
            // Plain means: all rollouts are in effect, and a node for each hangs below its token.
            assert!((left.effective - left.rollouts as f64).abs() < 1e-9);
            let below = nodes.iter().filter(|node| node.parent == Some(first[0].id)).count() as u64;
            let chosen = one.best().tokens[0] as usize;
            assert_eq!(below, left.rollouts + if first[chosen].id == first[0].id { 2 } else { 0 });
            // Two readings, and a token for each rollout; a second token has ended.
            assert_eq!(one.usage.generated, 2 + left.rollouts + right.rollouts);
            drawn += left.rollouts - 2;
        }
        assert_eq!(drawn > 0, even);
    }
    let wrong = TransferOptions { greedy: true, ..options };
    let policy = drawn(&tree(2), 3);
    let constant = rule(|_| 0.3);
    let mut ctx = SearchCtx::new(&policy, 3, Seed(4)).with_scorer(&constant, Reduce::Sum);
    let error = transfer(wrong).search(&prompts(1), &mut ctx).expect_err("greedy").to_string();
    assert!(error.contains("`extra` rollouts have to be drawn") && error.contains("extra 6"), "{error}");
}

#[test]
fn blocks_as_long_as_the_text_are_best_of_k() {
    let tree = tree(2);
    let policy = drawn(&tree, 3);
    let blocks = StepBeam { n: 5, expand: 5, merge: false, ..StepBeam::default() };
    let ctx = || SearchCtx::new(&policy, 3, Seed(4)).with_scorer(&tree, Reduce::Sum).with_steps(Steps::blocks(3));
    let beam = blocks.search(&prompts(4), &mut ctx()).expect("it fits");
    let best = BestOfN { n: 5 }.search(&prompts(4), &mut ctx()).expect("it fits");
    assert!(beam.iter().zip(&best).all(|(beam, best)| beam.best() == best.best()));
}
