//! Targets against the enumerable tree, where their limits are known exactly.

mod support;

use ascribe_core::{Candidate, Capabilities, CoreError, Finish, Policy, Reply, Request, Seed, Tokens, Usage, World};
use ascribe_process::Verdict;
use ascribe_process::credit::{ImplicitForm, TokenTrie, implicit_steps, progress};
use ascribe_process::label::{Completer, MonteCarlo, OmegaConfig, Question, Solution, miss_probability, sorm_labels};
use ascribe_worlds::{TokenTree, TreePolicy};
use support::{Leaf, Planted, every_token, no_mistake, world};

/// A value without the rounding that takes a sum of probabilities past 1.
fn unit(value: f64) -> f64 {
    value.clamp(0.0, 1.0)
}

/// Labels of every step of `path`, with so many rollouts.
fn labelled(
    tree: &TokenTree,
    policy: &TreePolicy,
    path: &[u32],
    rollouts: usize,
    seed: u64,
) -> Vec<ascribe_process::LabelRow> {
    let outcome = Leaf(tree);
    let mut completer = Completer::new(policy, &outcome, "tree", 99, Seed(seed));
    let ends: Vec<usize> = (1..=path.len()).collect();
    let solution = Solution { problem: 0, prompt: &[], response: path, ends: &ends, segmentation: "tokens" };
    MonteCarlo::new(rollouts).expect("some").label(&solution, &mut completer).expect("the tree answers").rows
}

#[test]
fn monte_carlo_labels_tend_to_the_value() {
    for seed in 0..5 {
        let (tree, policy) = world(3, 4, seed);
        let exact = tree.exact_value(&policy).unwrap();
        let path = [0, 1, 2, (seed % 3) as u32];
        let n = 4000;
        let rows = labelled(&tree, &policy, &path, n, seed);
        for row in &rows[..3] {
            let value = unit(exact.value(&row.prefix).unwrap());
            // 4.5 standard errors, as a binomial share has them.
            let bound = 4.5 * (value * (1.0 - value) / n as f64).sqrt() + 1.0 / n as f64;
            assert!((row.soft() - value).abs() < bound, "{}: {} beside {value}", row.step.end, row.soft());
        }
        assert_eq!((rows[3].soft(), rows[3].exact, rows[3].stderr()), (tree.reward(&path).unwrap(), true, 0.0));
    }
}

#[test]
fn the_error_of_a_label_falls_with_one_over_the_rollouts() {
    let (tree, policy) = world(3, 3, 1);
    let exact = tree.exact_value(&policy).unwrap();
    // The first token whose value is neither 0 nor 1.
    let first = (0..3).find(|token| (0.1..0.9).contains(&exact.value(&[*token]).unwrap())).expect("an open state");
    let value = exact.value(&[first]).unwrap();
    let seeds = 400;
    for rollouts in [10usize, 40, 160] {
        let square = |seed| (labelled(&tree, &policy, &[first, 0, 0], rollouts, seed)[0].soft() - value).powi(2);
        let mean = (0..seeds).map(square).sum::<f64>() / seeds as f64;
        // The mean square is V (1 - V) / N; a mean of 400 squares is off by 7 % at one standard deviation.
        let ratio = mean * rollouts as f64 / (value * (1.0 - value));
        assert!((0.65..1.35).contains(&ratio), "{rollouts} rollouts: {ratio}");
    }
}

#[test]
fn hard_labels_miss_as_often_as_the_formula_says() {
    let (tree, policy) = world(3, 3, 1);
    let exact = tree.exact_value(&policy).unwrap();
    let first = (0..3).find(|token| (0.1..0.9).contains(&exact.value(&[*token]).unwrap())).expect("an open state");
    let (rollouts, seeds) = (3, 2000);
    let missed = (0..seeds).filter(|seed| !labelled(&tree, &policy, &[first, 0, 0], rollouts, *seed)[0].hard()).count();
    let expected = miss_probability(exact.value(&[first]).unwrap(), rollouts as u32).unwrap();
    // 4.5 standard deviations.
    let bound = 4.5 * (expected * (1.0 - expected) / seeds as f64).sqrt() + 1e-3;
    assert!((missed as f64 / seeds as f64 - expected).abs() < bound, "{missed} beside {expected}");
}

#[test]
fn stepwise_outcome_labels_say_whether_anything_can_still_end_right() {
    for seed in 0..6 {
        let (tree, _) = world(3, 4, seed);
        // A policy of full support: a right leaf below has a chance of 1/27 at least, so 400 rollouts miss it with 3e-7.
        let policy = TreePolicy::uniform(&tree);
        for path in [[0, 1, 2, 0], [2, 2, 1, 1]] {
            let labels = sorm_labels(&labelled(&tree, &policy, &path, 400, seed));
            for (at, label) in labels[..3].iter().enumerate() {
                let best = tree.value(&path[..=at].to_vec()).unwrap();
                assert_eq!(*label, best > 0.0, "{:?}", &path[..=at]);
            }
        }
    }
}

#[test]
fn stepwise_outcome_labels_miss_with_the_power_of_the_rollouts() {
    let (tree, _) = world(3, 3, 1);
    let policy = TreePolicy::uniform(&tree);
    let exact = tree.exact_value(&policy).unwrap();
    let (first, _) = open_token(&tree);
    let mut leaves = tree.leaves();
    let (path, _) = leaves.find(|(path, reward)| path[0] == first && *reward == 0.0).expect("a wrong leaf");
    // The first step is called hopeless where no rollout from it is right and none from the second step, whose label would go up:
    // ((1 - V_1) (1 - V_2))^K with K rollouts from each.
    let missed_by_one = (1.0 - exact.value(&path[..1]).unwrap()) * (1.0 - exact.value(&path[..2]).unwrap());
    let seeds = 2000;
    for rollouts in [1usize, 2, 4] {
        let missed =
            (0..seeds).filter(|seed| !sorm_labels(&labelled(&tree, &policy, &path, rollouts, *seed))[0]).count() as f64;
        let expected = missed_by_one.powi(rollouts as i32);
        // 4.5 standard deviations.
        let bound = 4.5 * (expected * (1.0 - expected) / seeds as f64).sqrt() + 1e-3;
        assert!((missed / seeds as f64 - expected).abs() < bound, "{rollouts} rollouts: {missed} beside {expected}");
    }
}

#[test]
fn token_targets_expect_the_value_exactly() {
    // All pairs and triples of samples, each with its probability.
    let (tree, policy) = world(2, 3, 4);
    let exact = tree.exact_value(&policy).unwrap();
    let leaves: Vec<(Vec<u32>, f64)> = tree.leaves().collect();
    let chances = policy.leaf_probabilities();
    for samples in [2u32, 3] {
        for prefix in [&[][..], &[0], &[1], &[0, 1], &[1, 1]] {
            let (mut visited, mut mean) = (0.0, 0.0);
            for tuple in 0..leaves.len().pow(samples) {
                let chosen: Vec<usize> = (0..samples).map(|at| tuple / leaves.len().pow(at) % leaves.len()).collect();
                let chance: f64 = chosen.iter().map(|leaf| chances[*leaf]).product();
                let drawn: Vec<(Tokens, bool)> =
                    chosen.iter().map(|leaf| (Tokens::from(&leaves[*leaf].0[..]), leaves[*leaf].1 > 0.5)).collect();
                if let Some(target) = TokenTrie::new(&drawn, 1).unwrap().value(prefix) {
                    visited += chance;
                    mean += chance * target;
                }
            }
            let value = exact.value(prefix).unwrap();
            assert!(
                (mean / visited - value).abs() < 1e-9,
                "{samples} samples, {prefix:?}: {} beside {value}",
                mean / visited
            );
        }
    }
}

/// So many samples of the policy with their outcomes.
fn drawn(tree: &TokenTree, policy: &TreePolicy, n: usize, seed: u64) -> Vec<(Tokens, bool)> {
    let outcome = Leaf(tree);
    let mut completer = Completer::new(policy, &outcome, "tree", 99, Seed(seed));
    let asked = ascribe_process::label::Asked { problem: 0, prompt: &[], prefix: &[], n, again: 0 };
    let estimates = completer.estimate(&[asked]).expect("the tree answers").expect("no cap");
    let [estimate] = &estimates[..] else { panic!("one estimate") };
    let right = estimate.right.iter().map(|path| (path.clone(), true));
    right.chain(estimate.wrong.iter().map(|path| (path.clone(), false))).collect()
}

/// A token of three behind which some leaves are right and some wrong, and its value under the policy that draws tokens evenly.
fn open_token(tree: &TokenTree) -> (u32, f64) {
    let exact = tree.exact_value(&TreePolicy::uniform(tree)).expect("one shape");
    let values = (0..3).map(|token| (token, exact.value(&[token]).expect("a state")));
    let nearest = values.min_by(|one, other| (one.1 - 0.5).abs().total_cmp(&(other.1 - 0.5).abs()));
    let (token, value) = nearest.expect("three tokens");
    assert!((0.1..0.9).contains(&value), "{value}");
    (token, value)
}

#[test]
fn the_error_of_a_token_target_falls_with_one_over_its_samples() {
    let (tree, _) = world(3, 3, 1);
    let policy = TreePolicy::uniform(&tree);
    let (first, value) = open_token(&tree);
    let seeds = 400;
    for n in [40usize, 160] {
        let (mut by_visits, mut by_samples) = (0.0, 0.0);
        for seed in 0..seeds {
            let samples = drawn(&tree, &policy, n, seed);
            let visits = samples.iter().filter(|(path, _)| path[0] == first).count() as f64;
            let target = TokenTrie::new(&samples, 1).unwrap().value(&[first]).expect("a visit");
            by_visits += visits * (target - value).powi(2) / seeds as f64;
            by_samples += n as f64 * (target - value).powi(2) / seeds as f64;
        }
        // A target of so many visits is a binomial share, with a mean square of V (1 - V) / visits; a third of the samples
        // visits the token, so it is 3 V (1 - V) / samples, and 5 % more where they are 40. A mean of 400 squares is off by
        // about 8 % at one standard deviation.
        let variance = value * (1.0 - value);
        for ratio in [by_visits / variance, by_samples / (3.0 * variance)] {
            assert!((0.65..1.4).contains(&ratio), "{n} samples: {ratio}");
        }
    }
}

#[test]
fn token_targets_of_many_samples_tend_to_the_value() {
    let (tree, policy) = world(3, 3, 2);
    let exact = tree.exact_value(&policy).unwrap();
    let samples = drawn(&tree, &policy, 20_000, 1);
    let trie = TokenTrie::new(&samples, 1).unwrap();
    for prefix in [&[][..], &[0], &[1], &[2]] {
        let value = unit(exact.value(prefix).unwrap());
        let visits = samples.iter().filter(|(path, _)| path.starts_with(prefix)).count() as f64;
        let bound = 4.5 * (value * (1.0 - value) / visits.max(1.0)).sqrt() + 1.0 / visits.max(1.0);
        if let Some(target) = trie.value(prefix) {
            assert!((target - value).abs() < bound, "{prefix:?}: {target} beside {value}");
        }
    }
}

/// All states of a tree with children.
fn states(tree: &TokenTree) -> Vec<Vec<u32>> {
    let mut states = vec![Vec::new()];
    for at in 0.. {
        let Some(state) = states.get(at).cloned() else { break };
        if state.len() + 1 < tree.depth() {
            states.extend((0..tree.vocabulary() as u32).map(|token| [&state[..], &[token]].concat()));
        }
    }
    states
}

#[test]
fn a_markov_prover_expects_no_progress_of_itself_and_progress_telescopes() {
    let (tree, prover) = world(3, 4, 7);
    let exact = tree.exact_value(&prover).unwrap();
    for state in states(&tree) {
        let (value, q) = (unit(exact.value(&state).unwrap()), exact.q(&state).unwrap());
        let advantage = |at: usize| progress(value, &[unit(q[at])]).unwrap()[0];
        let logps = prover.logps(&state).unwrap();
        let mean: f64 = (0..3).map(|at| logps[at].exp() * advantage(at)).sum();
        assert!(mean.abs() < 1e-12, "{state:?}: {mean}");
        assert!((0..3).all(|at| (advantage(at) - exact.advantage(&state).unwrap()[at]).abs() < 1e-12));
    }
    for (path, reward) in tree.leaves() {
        let values: Vec<f64> =
            (1..=4).map(|end| if end < 4 { unit(exact.value(&path[..end]).unwrap()) } else { reward }).collect();
        let sum: f64 = progress(unit(exact.value(&[]).unwrap()), &values).unwrap().iter().sum();
        assert!((sum - (reward - exact.value(&[]).unwrap())).abs() < 1e-12);
    }
}

#[test]
fn the_error_of_progress_falls_with_one_over_the_rollouts() {
    let (tree, _) = world(3, 3, 1);
    let policy = TreePolicy::uniform(&tree);
    let (first, before) = open_token(&tree);
    let after = unit(tree.exact_value(&policy).unwrap().value(&[first, 0]).unwrap());
    let seeds = 400;
    for rollouts in [40usize, 160] {
        let mut square = 0.0;
        for seed in 0..seeds {
            let rows = labelled(&tree, &policy, &[first, 0, 0], rollouts, seed);
            let got = progress(rows[0].soft(), &[rows[1].soft()]).unwrap()[0];
            square += (got - (after - before)).powi(2) / seeds as f64;
        }
        // The two values are estimated apart, so the mean square is the sum of their variances over the rollouts; a mean of 400
        // squares is off by 7 % at one standard deviation.
        let ratio = square * rollouts as f64 / (before * (1.0 - before) + after * (1.0 - after));
        assert!((0.65..1.35).contains(&ratio), "{rollouts} rollouts: {ratio}");
    }
}

/// The gradient of the expected credit with respect to the logits, where the credit of a step is `Q^pi + alpha A^mu`.
fn gradient(tree: &TokenTree, policy: &TreePolicy, prover: &TreePolicy, alpha: f64) -> Vec<f64> {
    let (own, other) = (
        tree.exact_value(policy).expect("the test is well made"),
        tree.exact_value(prover).expect("the test is well made"),
    );
    let mut gradient = Vec::new();
    for state in states(tree) {
        let chance: f64 = (0..state.len())
            .map(|at| policy.logps(&state[..at]).expect("the test is well made")[state[at] as usize])
            .sum::<f64>()
            .exp();
        let logps = policy.logps(&state).expect("the test is well made");
        let prover_value = unit(other.value(&state).expect("the test is well made"));
        let credit: Vec<f64> = (0..tree.vocabulary())
            .map(|at| {
                let advantage = progress(prover_value, &[unit(other.q(&state).expect("the test is well made")[at])])
                    .expect("the test is well made")[0];
                own.q(&state).expect("the test is well made")[at] + alpha * advantage
            })
            .collect();
        let mean: f64 = logps.iter().zip(&credit).map(|(logp, credit)| logp.exp() * credit).sum();
        gradient.extend(logps.iter().zip(&credit).map(|(logp, credit)| chance * logp.exp() * (credit - mean)));
    }
    gradient
}

#[test]
fn progress_under_oneself_scales_the_gradient_and_under_another_turns_it() {
    let (tree, policy) = world(2, 4, 3);
    let prover = TreePolicy::drawn(&tree, Seed(99), 0.5).unwrap();
    let alpha = 0.7;
    let plain = gradient(&tree, &policy, &policy, 0.0);
    let own = gradient(&tree, &policy, &policy, alpha);
    assert!(own.iter().zip(&plain).all(|(own, plain)| (own - (1.0 + alpha) * plain).abs() < 1e-12));
    let other = gradient(&tree, &policy, &prover, alpha);
    assert!(other.iter().zip(&plain).any(|(other, plain)| (other - (1.0 + alpha) * plain).abs() > 1e-3));
}

#[test]
fn implicit_rewards_are_soft_values_of_the_reference() {
    // q_t = beta log E_ref[exp(r(y) / beta) | y_{1:t}] for any policy, by enumeration on texts of four tokens out of three.
    let (tree, policy) = world(3, 4, 11);
    let reference = TreePolicy::drawn(&tree, Seed(5), 1.0).unwrap();
    let beta = 0.3;
    let logps = |policy: &TreePolicy, path: &[u32]| -> Vec<f32> {
        (0..path.len()).map(|at| policy.logps(&path[..at]).unwrap()[path[at] as usize] as f32).collect()
    };
    let steps = [0..1, 1..2, 2..3, 3..4];
    let rewards = |policy: &TreePolicy, path: &[u32]| {
        let form = ImplicitForm::Accumulative;
        implicit_steps(&logps(policy, path), &logps(&reference, path), &steps, beta, form).unwrap()
    };
    let leaves: Vec<(Vec<u32>, f64)> = tree.leaves().collect();
    let chances = reference.leaf_probabilities();
    for (path, _) in leaves.iter().step_by(7) {
        for (at, q) in rewards(&policy, path).into_iter().enumerate() {
            let below = leaves.iter().zip(&chances).filter(|((leaf, _), _)| leaf.starts_with(&path[..=at]));
            let (mut mass, mut mean) = (0.0, 0.0);
            for ((leaf, _), chance) in below {
                mass += chance;
                mean += chance * (rewards(&policy, leaf)[3] / beta).exp();
            }
            assert!((q - beta * (mean / mass).ln()).abs() < 1e-4, "{path:?} at {at}");
        }
    }
    // Trained to optimality on the outcome, q_t is the soft value there less that of the question.
    let soft = tree.soft_optimum(&reference, beta).unwrap();
    let start = soft.value.value(&[]).unwrap();
    for (path, reward) in leaves.iter().step_by(5) {
        let q = rewards(&soft.policy, path);
        for (at, q) in q.iter().take(3).enumerate() {
            assert!((q - (soft.value.value(&path[..=at]).unwrap() - start)).abs() < 1e-4);
        }
        assert!((q[3] - (reward - start)).abs() < 1e-4);
    }
}

/// The probes that halving needs for one planted error.
fn probes(steps: usize, error: usize) -> usize {
    let policy = Planted { steps, error };
    let mut completer = Completer::new(&policy, &no_mistake, "planted", 99, Seed(0));
    let omega = OmegaConfig { rollouts: 2, root_rollouts: 2, searches: 1, ..OmegaConfig::default() };
    let question = Question { problem: 0, prompt: &[], cut: &every_token, segmentation: "tokens" };
    let tree =
        omega.init().expect("the test is well made").search(question, &mut completer).expect("the test is well made");
    let [found] = &tree.found[..] else { panic!("one error") };
    assert_eq!((found.step, found.end, found.steps), (error + 1, error + 1, steps));
    // Two rollouts from the question, and two for each probe: a linear scan needs 2 (steps - 1).
    assert_eq!(completer.spent().rollouts, 2 + 2 * found.probes as u64);
    found.probes
}

#[test]
fn halving_finds_a_planted_error_in_as_many_probes_as_the_logarithm() {
    for steps in 1..=20_usize {
        let (least, most) = (steps.ilog2() as usize, steps.next_power_of_two().ilog2() as usize);
        for error in 0..steps {
            assert!((least..=most).contains(&probes(steps, error)), "{steps} steps, error {error}");
        }
    }
    let worst = |steps: usize| (0..steps).map(|error| probes(steps, error)).max();
    assert_eq!([1, 2, 3, 8, 9, 20].map(worst), [0, 1, 2, 3, 4, 5].map(Some));
}

/// From nothing, two right rollouts of four tokens 0 and two wrong ones with their mistake, 1 or 2, at the third; behind two
/// tokens 0, one right rollout and then wrong ones that begin with a 3. Other prefixes go on with tokens 0.
struct Listed;

impl Policy for Listed {
    fn propose(&self, requests: &[Request]) -> Result<Vec<Reply>, CoreError> {
        let reply = |request: &Request| {
            let tokens = |index: usize| match (&request.prefix[..], index) {
                ([], 0 | 1) => vec![0; 4],
                ([], 2) => vec![0, 0, 1, 0],
                ([], _) => vec![0, 0, 2, 0],
                ([0, 0], 1..) => vec![3, 0],
                (prefix, _) => vec![0; 4 - prefix.len()],
            };
            let candidate = |index: usize| {
                let tokens = Tokens::from(tokens(index));
                Candidate { logps: vec![0.0; tokens.len()], tokens, finish: Finish::End }
            };
            let candidates: Vec<Candidate> = (0..request.n).map(candidate).collect();
            let generated = candidates.iter().map(|one| one.tokens.len() as u64).sum();
            Reply { candidates, usage: Usage { generated, scored: 0, reused: 0 } }
        };
        Ok(requests.iter().map(reply).collect())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { score: false, top: false, context: 1000 }
    }
}

#[test]
fn ties_go_to_the_earliest_and_without_novelty_the_best_quality_is_taken() {
    let right = |_: u64, response: &[u32]| -> Result<Verdict, CoreError> {
        Ok(if response.iter().all(|token| *token == 0) { Verdict::Correct } else { Verdict::Wrong })
    };
    let responses = |c_puct: f64| -> Vec<Vec<u32>> {
        let mut completer = Completer::new(&Listed, &right, "listed", 99, Seed(0));
        let omega = OmegaConfig { rollouts: 4, root_rollouts: 4, searches: 2, c_puct, ..OmegaConfig::default() };
        let question = Question { problem: 0, prompt: &[], cut: &every_token, segmentation: "tokens" };
        let tree = omega.init().unwrap().search(question, &mut completer).unwrap();
        tree.found.iter().map(|found| found.response.to_vec()).collect()
    };
    // Both wrong rollouts of the question have Q = .5^.5 .9^(4/500) = .7065 and the same U, so the first is taken. Halving it
    // shows that of four rollouts behind 0 0 one is right, so three of Q = .5^.75 .9^(2/500) = .5944 join the pool.
    let [first, second]: [Vec<u32>; 2] = [vec![0, 0, 1, 0], vec![0, 0, 2, 0]];
    assert_eq!(responses(0.0), [first.clone(), second]);
    // With c_puct = 1 they have U = 1, and the question, which was selected once, 1/2: 1.594 beside 1.207.
    assert_eq!(responses(1.0), [first, vec![0, 0, 3, 0]]);
}

#[test]
fn a_noiseless_completer_labels_up_to_the_planted_error() {
    for error in 0..6 {
        let policy = Planted { steps: 6, error };
        let mut completer = Completer::new(&policy, &no_mistake, "planted", 99, Seed(0));
        let response: Vec<u32> = (0..6).map(|at| u32::from(at == error)).collect();
        let ends: Vec<usize> = (1..=6).collect();
        let solution = Solution { problem: 0, prompt: &[], response: &response, ends: &ends, segmentation: "tokens" };
        let labels = MonteCarlo::new(3).unwrap().label(&solution, &mut completer).unwrap();
        let hard: Vec<bool> = labels.rows.iter().map(ascribe_process::LabelRow::hard).collect();
        assert_eq!(hard, (0..6).map(|at| at < error).collect::<Vec<_>>());
        assert!(labels.rows.iter().all(|row| row.soft() == f64::from(u8::from(row.hard()))));
    }
}
