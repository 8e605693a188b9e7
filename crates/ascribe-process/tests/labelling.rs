//! What must hold of every labeller: counts, caps, seeds, and bad policies.

mod support;

use ascribe_core::{Candidate, Capabilities, CoreError, Finish, Policy, Reply, Request, Seed, Tokens, Usage};
use ascribe_process::label::{
    AfterError, Asked, BackUp, Completer, Ended, EvolveConfig, Imitate, LabelRow, Limits, MctsConfig, MonteCarlo,
    OmegaConfig, PathLabels, Question, Refinement, Softness, Solution, StepLabels, Trace, after_first_error, balanced,
    consensus, first_error, global_refinements, imitated, local_refinements, miss_probability, paired, path_labels,
    propagated, targets, traces, uct, uses_results,
};
use ascribe_process::{ProcessError, Verdict};
use proptest::prelude::*;
use support::{Leaf, Planted, every_token, no_mistake, world};

fn monte_carlo(path: &[u32], rollouts: usize, completer: &mut Completer) -> Result<StepLabels, ProcessError> {
    let ends: Vec<usize> = (1..=path.len()).collect();
    let solution = Solution { problem: 3, prompt: &[], response: path, ends: &ends, segmentation: "tokens" };
    MonteCarlo::new(rollouts)?.label(&solution, completer)
}

fn close(got: &[f64], expected: &[f64]) {
    assert_eq!(got.len(), expected.len());
    assert!(got.iter().zip(expected).all(|(got, expected)| (got - expected).abs() < 1e-6), "{got:?}");
}

#[test]
fn figures_worked_by_hand() {
    let miss = [0.1, 0.3, 0.5].map(|p| miss_probability(p, 8).unwrap());
    close(&miss, &[0.430_467_21, 0.057_648_01, 0.003_906_25]);
    assert!(miss_probability(f64::NAN, 8).is_err());
    let omega = OmegaConfig::default().init().unwrap();
    close(
        &[omega.quality(0.9, 200), omega.quality(0.5, 500), omega.quality(0.125, 100)],
        &[0.894_528, 0.636_396, 0.533_884],
    );
    // .125 sqrt(9) / 3.
    close(&[omega.novelty(2, 9), omega.novelty(0, 0)], &[0.125, 0.125]);
    // 3 of 4, and sqrt(ln 20 / 4).
    close(&[uct(0.75, 4, 20, 1.0)], &[1.615_409]);
    let trace = |first_right, second_right| Trace {
        problem: 0,
        first: Tokens::default(),
        second: Tokens::default(),
        first_right,
        second_right,
    };
    let all =
        [(false, false), (false, true), (true, false), (true, true)].map(|(one, two)| trace(one, two).rewards(10.0));
    close(&all.map(|[first, second]| first + second), &[0.0, 11.0, -9.0, 2.0]);
    close(&all.map(|[_, second]| second), &[0.0, 11.0, -10.0, 1.0]);
    // Without a bonus both turns earn their own outcome.
    assert_eq!(trace(true, false).rewards(0.0), [1.0, 0.0]);
    assert_eq!(propagated(&[false, true, false, false]), [true, true, false, false]);
}

#[test]
fn options_out_of_range_are_refused() {
    assert!(MonteCarlo::new(0).is_err());
    for wrong in [f64::NAN, 0.0, 1.1] {
        assert!(OmegaConfig { alpha: wrong, ..OmegaConfig::default() }.init().is_err(), "{wrong}");
        assert!(OmegaConfig { beta: wrong, ..OmegaConfig::default() }.init().is_err(), "{wrong}");
    }
    assert!(OmegaConfig { rollouts: 0, ..OmegaConfig::default() }.init().is_err());
    assert!(OmegaConfig { length: 0.0, ..OmegaConfig::default() }.init().is_err());
    assert!(OmegaConfig { c_puct: -1.0, ..OmegaConfig::default() }.init().is_err());
    assert!(MctsConfig { threshold: f64::NAN, ..MctsConfig::default() }.init().is_err());
    assert!(MctsConfig { min_visits: 0, ..MctsConfig::default() }.init().is_err());
    assert!(EvolveConfig { children: 0, ..EvolveConfig::default() }.init().is_err());
}

#[test]
fn counts_are_exact_and_add_up() {
    let (tree, policy) = world(3, 4, 1);
    let outcome = Leaf(&tree);
    let mut completer = Completer::new(&policy, &outcome, "tree", 99, Seed(0));
    let labels = monte_carlo(&[0, 1, 2, 0], 5, &mut completer).unwrap();
    let spent = completer.spent();
    // Three prefixes of 1, 2 and 3 tokens with five rollouts each, of 3, 2 and 1 tokens; the last prefix is judged alone.
    assert_eq!((spent.policy_calls, spent.rollouts, spent.verifier_calls), (15, 15, 16));
    // What is judged is whole: 16 responses of 4 tokens.
    assert_eq!(spent.verifier_tokens, 64);
    assert_eq!((spent.tokens.generated, spent.truncated), (5 * (3 + 2 + 1), 0));
    // What was read and what was taken from a cache are the prompts.
    assert_eq!(spent.tokens.scored + spent.tokens.reused, 1 + 2 + 3);
    assert_eq!(spent.flops(10.0), 2.0 * 10.0 * 36.0);
    assert_eq!(labels.rows.iter().map(|row| row.rollouts).collect::<Vec<_>>(), [5, 5, 5, 1]);
    assert_eq!(labels.rows[2].step, 2..3);
    assert_eq!((labels.rows[0].completer.as_str(), labels.rows[0].seed, labels.rows[0].problem), ("tree", 0, 3));
}

#[test]
fn labels_depend_on_the_seed_and_the_prefix_alone() {
    let (tree, policy) = world(3, 4, 2);
    let outcome = Leaf(&tree);
    let labelled = |seed| {
        let mut completer = Completer::new(&policy, &outcome, "tree", 99, Seed(seed));
        monte_carlo(&[0, 1, 2, 0], 6, &mut completer).unwrap()
    };
    assert_eq!(labelled(1), labelled(1));
    // One by one is what all together is, and more rollouts keep the first ones.
    let mut completer = Completer::new(&policy, &outcome, "tree", 99, Seed(1));
    let ask = |n| Asked { problem: 3, prompt: &[], prefix: &[0, 1], n, again: 0 };
    let alone = completer.estimate(&[ask(6)]).unwrap().unwrap().remove(0);
    assert_eq!(alone.correct, labelled(1).rows[1].correct);
    let more = completer.estimate(&[ask(9)]).unwrap().unwrap().remove(0);
    assert!(more.right.starts_with(&alone.right) && more.wrong.starts_with(&alone.wrong));
    let again = completer.estimate(&[Asked { again: 1, ..ask(40) }]).unwrap().unwrap().remove(0);
    assert_ne!(again, completer.estimate(&[ask(40)]).unwrap().unwrap().remove(0));
}

#[test]
fn caps_are_kept_and_what_was_done_is_returned() {
    let (tree, policy) = world(3, 4, 1);
    let outcome = Leaf(&tree);
    let limited = |policy_calls, new_tokens| {
        Completer::new(&policy, &outcome, "tree", 4, Seed(0)).with_limits(Limits { policy_calls, new_tokens })
    };
    for cap in 0..16 {
        let mut completer = limited(Some(cap), None);
        let labels = monte_carlo(&[0, 1, 2, 0], 5, &mut completer).unwrap();
        assert!(completer.spent().policy_calls <= cap);
        assert_eq!(labels.rows.len() as u64, if cap < 15 { cap / 5 } else { 4 });
        assert_eq!(labels.exhausted, cap < 15);
    }
    // A cap of 0 makes no call; a batch of 5 is counted as 20 tokens before it is drawn.
    let mut completer = limited(None, Some(19));
    assert!(monte_carlo(&[0, 1, 2, 0], 5, &mut completer).unwrap().rows.is_empty());
    assert_eq!(completer.spent().policy_calls, 0);
    let question = Question { problem: 0, prompt: &[], cut: &every_token, segmentation: "tokens" };
    for cap in [0, 8, 20, 60] {
        let mut completer = limited(Some(cap), None);
        let searched = OmegaConfig::default().init().unwrap().search(question, &mut completer).unwrap();
        assert!(completer.spent().policy_calls <= cap);
        assert!(cap > 0 || searched.ended == Ended::Exhausted && searched.nodes.is_empty());
    }
}

/// Answers every request in the same way.
struct Fixed {
    candidates: usize,
    finish: Finish,
}

impl Policy for Fixed {
    fn propose(&self, requests: &[Request]) -> Result<Vec<Reply>, CoreError> {
        let candidate = Candidate { tokens: vec![0].into(), logps: vec![0.0], finish: self.finish };
        let reply = Reply { candidates: vec![candidate; self.candidates], usage: Usage::default() };
        Ok(vec![reply; requests.len()])
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { score: false, top: false, context: 8 }
    }
}

#[test]
fn a_policy_that_gives_nothing_or_too_much_is_refused() {
    for candidates in [0, 4] {
        let policy = Fixed { candidates, finish: Finish::End };
        let mut completer = Completer::new(&policy, &no_mistake, "fixed", 9, Seed(0));
        let refused = monte_carlo(&[0, 0], 3, &mut completer);
        assert!(matches!(refused, Err(ProcessError::Reply { expected: 3, .. })), "{candidates}");
    }
    let policy = Fixed { candidates: 3, finish: Finish::End };
    let mut completer = Completer::new(&policy, &no_mistake, "fixed", 9, Seed(0));
    let refused = monte_carlo(&[0; 9], 3, &mut completer);
    assert!(matches!(refused, Err(ProcessError::Core(CoreError::Context { context: 8, got: 8 }))));
}

#[test]
fn a_rollout_that_was_cut_is_wrong_and_counted() {
    let policy = Fixed { candidates: 3, finish: Finish::Length };
    let mut completer = Completer::new(&policy, &no_mistake, "fixed", 9, Seed(0));
    let labels = monte_carlo(&[0, 0], 3, &mut completer).unwrap();
    assert_eq!((labels.rows[0].correct, labels.rows[0].truncated, labels.rows[0].rollouts), (0, 3, 3));
    let spent = completer.spent();
    // The response itself, of two tokens, is judged; rollouts that were cut are not.
    assert_eq!((spent.truncated, spent.verifier_calls, spent.verifier_tokens), (3, 1, 2));
}

#[test]
fn an_outcome_that_is_not_known_is_wrong_and_counted() {
    let policy = Fixed { candidates: 3, finish: Finish::End };
    let unknown = |_: u64, _: &[u32]| -> Result<Verdict, CoreError> { Ok(Verdict::Undecided) };
    let mut completer = Completer::new(&policy, &unknown, "fixed", 9, Seed(0));
    let labels = monte_carlo(&[0, 0], 3, &mut completer).unwrap();
    assert_eq!(labels.rows.iter().map(|row| (row.correct, row.undecided)).collect::<Vec<_>>(), [(0, 3), (0, 1)]);
}

#[test]
fn steps_that_do_not_cover_the_response_are_refused() {
    let policy = Fixed { candidates: 1, finish: Finish::End };
    let mut completer = Completer::new(&policy, &no_mistake, "fixed", 9, Seed(0));
    for ends in [&[][..], &[1], &[0, 2], &[2, 1], &[1, 1, 2], &[1, 3]] {
        let solution = Solution { problem: 0, prompt: &[], response: &[0, 0], ends, segmentation: "tokens" };
        assert!(MonteCarlo::new(1).unwrap().label(&solution, &mut completer).is_err(), "{ends:?}");
    }
}

/// Rows with these counts of four.
fn rows(correct: &[u32]) -> Vec<LabelRow> {
    let row = |(at, correct): (usize, &u32)| LabelRow {
        problem: 0,
        segmentation: "tokens".into(),
        completer: "tree".into(),
        prefix: vec![0; at + 1].into(),
        step: at..at + 1,
        correct: *correct,
        rollouts: 4,
        truncated: 0,
        undecided: 0,
        exact: false,
        seed: 0,
    };
    correct.iter().enumerate().map(row).collect()
}

#[test]
fn targets_behind_an_error_follow_the_rule() {
    let rows = rows(&[4, 1, 0, 2]);
    let of = |softness, after| targets(&rows, "tokens", softness, after).unwrap();
    assert_eq!(of(Softness::Soft, AfterError::Mask), [Some(1.0), Some(0.25), Some(0.0), None]);
    assert_eq!(of(Softness::Hard, AfterError::Zero), [Some(1.0), Some(1.0), Some(0.0), Some(0.0)]);
    assert_eq!(of(Softness::Soft, AfterError::Keep), [Some(1.0), Some(0.25), Some(0.0), Some(0.5)]);
    assert!(matches!(
        targets(&rows, "lines", Softness::Soft, AfterError::Mask),
        Err(ProcessError::Segmentation { .. })
    ));
    // Labels that somebody else gave, some steps without.
    let given = [Some(1.0), None, Some(0.0), None, Some(1.0)];
    let behind = |after| after_first_error(&given, after);
    assert_eq!(behind(AfterError::Mask), [Some(1.0), None, Some(0.0), None, None]);
    assert_eq!(behind(AfterError::Zero), [Some(1.0), None, Some(0.0), Some(0.0), Some(0.0)]);
    assert_eq!(behind(AfterError::Keep), given);
    assert_eq!(after_first_error(&[Some(0.5), None], AfterError::Zero), [Some(0.5), None]);
    assert_eq!(first_error(&rows), Some(2));
    assert!(consensus(&rows, Some(2)) && !consensus(&rows, None));
    // sqrt(.25 * .75 / 4).
    close(&[rows[1].stderr()], &[0.216_506]);
}

#[test]
fn omega_keeps_its_counts_and_its_tree() {
    for seed in 0..6 {
        let (tree, policy) = world(3, 5, seed);
        let outcome = Leaf(&tree);
        for confirm in [false, true] {
            let mut completer = Completer::new(&policy, &outcome, "tree", 99, Seed(seed));
            let config = OmegaConfig { searches: 12, confirm, ..OmegaConfig::default() };
            let question = Question { problem: 0, prompt: &[], cut: &every_token, segmentation: "tokens" };
            let searched = config.init().unwrap().search(question, &mut completer).unwrap();
            if matches!(searched.ended, Ended::TooEasy | Ended::TooHard) {
                assert_eq!((searched.nodes.len(), searched.found.len()), (1, 0));
                continue;
            }
            assert_eq!(searched.nodes.iter().map(|node| node.selected).sum::<u64>(), searched.found.len() as u64);
            for node in searched.nodes.iter().filter(|node| node.selected > 0) {
                assert!(0.0 < node.estimate.value() && node.estimate.value() < 1.0);
            }
            let spent: u32 = searched.nodes.iter().map(|node| node.estimate.rollouts).sum();
            assert_eq!(u64::from(spent), completer.spent().rollouts, "every rollout belongs to a node");
            for found in &searched.found {
                assert_eq!(tree.reward(&found.response).unwrap(), 0.0);
                let of = |end: usize| searched.nodes.iter().find(|node| node.prefix[..] == found.response[..end]);
                assert_eq!(of(found.end).expect("the first error is a node").estimate.correct, 0);
            }
            let rows = searched.rows(&question, &completer);
            assert_eq!(rows.len(), searched.nodes.len() - 1);
            assert!(rows.iter().all(|row| row.step.start < row.step.end && row.step.end == row.prefix.len()));
            for pair in searched.pairs(0) {
                assert!(pair.values[0] > pair.values[1] && pair.chosen != pair.rejected);
            }
        }
    }
}

#[test]
fn omega_prefers_short_rollouts_of_good_states() {
    let of = |alpha, beta| OmegaConfig { alpha, beta, ..OmegaConfig::default() }.init().unwrap();
    let omega = of(0.5, 0.9);
    assert!(omega.quality(0.5, 10) > omega.quality(0.5, 20) && omega.quality(0.6, 10) > omega.quality(0.5, 10));
    assert_eq!(of(1.0, 1.0).quality(0.3, 77), 1.0);
}

#[test]
fn a_question_that_is_always_or_never_solved_is_left_out() {
    let question = Question { problem: 0, prompt: &[], cut: &every_token, segmentation: "tokens" };
    let policy = Planted { steps: 4, error: 1 };
    let ended = |outcome: &dyn ascribe_process::label::Outcome| {
        let mut completer = Completer::new(&policy, outcome, "planted", 9, Seed(0));
        OmegaConfig::default().init().unwrap().search(question, &mut completer).unwrap().ended
    };
    let always = |_: u64, _: &[u32]| -> Result<Verdict, CoreError> { Ok(Verdict::Correct) };
    let never = |_: u64, _: &[u32]| -> Result<Verdict, CoreError> { Ok(Verdict::NoAnswer) };
    assert_eq!((ended(&always), ended(&never)), (Ended::TooEasy, Ended::TooHard));
}

#[test]
fn tree_search_keeps_its_counts_and_pairs_siblings() {
    for seed in 0..5 {
        let (tree, policy) = world(3, 4, seed);
        let outcome = Leaf(&tree);
        let config =
            MctsConfig { simulations: 300, separators: vec![0, 1, 2], threshold: 0.3, ..MctsConfig::default() };
        let searched = |config: MctsConfig| {
            let mut completer = Completer::new(&policy, &outcome, "tree", 99, Seed(seed));
            config.init().unwrap().search(0, &[], &mut completer).unwrap()
        };
        let found = searched(config.clone());
        assert_eq!((found.states[0].visits, found.exhausted), (300, false));
        for (at, state) in found.states.iter().enumerate() {
            let below: u64 = found.states.iter().filter(|one| one.parent == Some(at)).map(|one| one.visits).sum();
            // A state is evaluated once itself before it has children; an end every time.
            let own = if state.outcome.is_some() { state.visits } else { u64::from(state.visits > 0) };
            assert_eq!(state.visits, own + below, "{state:?}");
            assert!((0.0..=1.0).contains(&state.value));
            assert!(state.outcome.is_none() || below == 0);
        }
        for pair in &found.pairs {
            let state = |step: &Tokens| {
                let prefix = pair.prefix.followed_by(step);
                found.states.iter().find(|one| one.prefix == prefix).expect("a state")
            };
            let (better, worse) = (state(&pair.chosen), state(&pair.rejected));
            assert_eq!(better.parent, worse.parent);
            assert!(better.visits >= 8 && worse.visits >= 8 && better.value - worse.value > 0.3);
        }
        assert!(searched(MctsConfig { threshold: 1.0, ..config }).pairs.is_empty());
    }
}

#[test]
fn without_exploration_the_search_follows_the_means() {
    assert_eq!((uct(0.3, 5, 100, 0.0), uct(0.3, 0, 100, 0.0)), (0.3, f64::INFINITY));
}

#[test]
fn evolved_paths_carry_values_and_only_right_ones_teach_the_policy() {
    for seed in 0..5 {
        let (tree, policy) = world(3, 4, seed);
        let outcome = Leaf(&tree);
        for back_up in [BackUp::Mean, BackUp::Half] {
            let config = EvolveConfig { separators: vec![0, 1, 2], back_up, ..EvolveConfig::default() };
            let mut completer = Completer::new(&policy, &outcome, "tree", 99, Seed(seed));
            let evolved = config.init().unwrap().search(0, &[], &mut completer).unwrap();
            assert!((0.0..=1.0).contains(&evolved.value) && !evolved.exhausted && evolved.nodes <= 60);
            assert!(!evolved.paths.is_empty());
            for path in &evolved.paths {
                let response: Vec<u32> = path.steps.iter().flat_map(|step| step.iter().copied()).collect();
                assert_eq!(path.right, tree.reward(&response).unwrap() == 1.0);
                assert_eq!(path.values.len(), path.steps.len());
                assert_eq!(path.values.last(), Some(&f64::from(u8::from(path.right))));
                assert!(path.values.iter().all(|value| (0.0..=1.0).contains(value)));
            }
        }
    }
}

#[test]
fn an_item_without_a_right_path_teaches_the_policy_nothing() {
    let never = |_: u64, _: &[u32]| -> Result<Verdict, CoreError> { Ok(Verdict::Wrong) };
    for seed in 0..3 {
        let (_, policy) = world(3, 4, seed);
        let mut completer = Completer::new(&policy, &never, "tree", 99, Seed(seed));
        let config = EvolveConfig { separators: vec![0, 1, 2], ..EvolveConfig::default() };
        let evolved = config.init().unwrap().search(0, &[], &mut completer).unwrap();
        // A process model learns of it, and no path is one that a policy learns.
        assert!(!evolved.paths.is_empty() && evolved.value == 0.0);
        assert!(evolved.paths.iter().all(|path| !path.right && path.values.iter().all(|value| *value == 0.0)));
    }
}

#[test]
fn path_labels_by_hand() {
    let values = [0.2, 0.6, 0.5, 0.8];
    let of = |labels, look_back| path_labels(&values, labels, look_back).unwrap();
    assert_eq!(of(PathLabels::Soft, None), [0.2, 0.6, 0.5, 0.8]);
    assert_eq!(of(PathLabels::Hard { above: 0.5, rising: false }, None), [0.0, 1.0, 0.0, 1.0]);
    assert_eq!(of(PathLabels::Hard { above: 0.1, rising: true }, None), [0.0, 1.0, 0.0, 1.0]);
    // .5 - 1 (.6 - .5) = .4, and then .8 - 1 (.4 - .8) = 1.2, clamped.
    let looked = of(PathLabels::Soft, Some(1.0));
    assert!(looked.iter().zip([0.2, 0.6, 0.4, 1.0]).all(|(got, expected)| (got - expected).abs() < 1e-6), "{looked:?}");
    assert!(path_labels(&[1.2], PathLabels::Soft, None).is_err());
    assert!(path_labels(&[0.2], PathLabels::Soft, Some(f64::NAN)).is_err());
    assert!(path_labels(&[0.2], PathLabels::Hard { above: f64::NAN, rising: false }, None).is_err());
}

#[test]
fn refinements_keep_what_was_good() {
    let draft = Tokens::from(vec![1, 2, 3, 4]);
    let local = Refinement::local(0, draft.clone(), 2, vec![1, 2, 9].into()).unwrap();
    assert_eq!(local.marked(7)[..], [1, 2, 7, 3, 4]);
    assert!(Refinement::local(0, draft.clone(), 2, vec![1, 9].into()).is_err());
    assert!(Refinement::local(0, draft.clone(), 5, draft.clone()).is_err());
    let right = [Tokens::from(vec![5]), Tokens::from(vec![6])];
    let global = global_refinements(0, &[draft.clone(), draft.clone()], &right, Seed(0));
    assert!(global.len() == 2 && global.iter().all(|one| right.contains(&one.refined) && one.marked(7) == draft));
    assert!(global_refinements(0, &[draft], &[], Seed(0)).is_empty());
    // The draft 0 0 1 0 goes wrong at its third step, and the policy goes on rightly from the first two.
    let policy = Planted { steps: 4, error: 2 };
    let mut completer = Completer::new(&policy, &no_mistake, "planted", 9, Seed(0));
    let ends = [1, 2, 3, 4];
    let draft = Solution { problem: 0, prompt: &[], response: &[0, 0, 1, 0], ends: &ends, segmentation: "tokens" };
    let labels = MonteCarlo::new(2).unwrap().label(&draft, &mut completer).unwrap();
    let local = local_refinements(&draft, &labels).unwrap();
    assert_eq!(local.len(), 2);
    assert!(local.iter().all(|one| one.bad_from == Some(2) && one.refined[..] == [0; 4]));
}

#[test]
fn a_continuation_that_ignores_the_results_does_not_count() {
    assert!(uses_results("<<16-3=13>>13 left. ", "13 - 4 = 9"));
    assert!(!uses_results("<<16-3=13>>13 left. ", "So 9."));
    assert!(uses_results("No result yet. ", "So 9."));
    assert!(uses_results("x = y and 2 + 2 = $4.", "4 of them"));
    let policy = Planted { steps: 4, error: 2 };
    let refuse = |_: u64, prefix: &[u32], _: &[u32]| prefix.len() != 2;
    let mut completer = Completer::new(&policy, &no_mistake, "planted", 9, Seed(0)).accepting(&refuse);
    let labels = monte_carlo(&[0, 0, 0, 0], 3, &mut completer).unwrap();
    assert_eq!(labels.rows.iter().map(|row| row.correct).collect::<Vec<_>>(), [3, 0, 3, 1]);
}

#[test]
fn two_turns_are_traced() {
    let policy = Planted { steps: 4, error: 2 };
    let mut completer = Completer::new(&policy, &no_mistake, "planted", 9, Seed(0));
    // The second turn begins with a prompt of two tokens, and then the policy makes no mistake.
    let revise = |_: &[u32]| -> Result<Tokens, ProcessError> { Ok(vec![0, 0].into()) };
    let all = traces(0, &[], 4, &revise, &mut completer).unwrap().unwrap();
    assert_eq!(
        all.iter().map(|one| (one.first_right, one.second_right)).collect::<Vec<_>>(),
        [(true, true), (true, true), (false, true), (false, true)]
    );
    assert_eq!((imitated(&all, Imitate::Mended).len(), imitated(&all, Imitate::EndsRight).len()), (2, 4));
    assert!(traces(0, &[], 0, &revise, &mut completer).is_err());
    // The wrong attempts, which hold a 1, leave no room for another one.
    let long = |first: &[u32]| -> Result<Tokens, ProcessError> {
        Ok(vec![0; if first.contains(&1) { 1000 } else { 2 }].into())
    };
    let short = traces(0, &[], 4, &long, &mut completer).unwrap().unwrap();
    assert!(short.len() == 2 && short.iter().all(|one| one.first_right));
    let (wrong, right) = ([Tokens::from(vec![1])], [Tokens::from(vec![2]), Tokens::from(vec![3])]);
    let pairs = paired(0, &wrong, &right);
    assert!(pairs.len() == 2 && pairs.iter().all(|pair| !pair.first_right && pair.second_right));
}

proptest! {
    #[test]
    fn a_hard_label_is_a_soft_one_rounded_up(counts in prop::collection::vec(0u32..5, 1..9)) {
        for row in rows(&counts) {
            prop_assert_eq!(f64::from(u8::from(row.hard())), row.soft().ceil());
        }
    }

    #[test]
    fn propagated_labels_never_rise(labels in prop::collection::vec(any::<bool>(), 0..9)) {
        let after = propagated(&labels);
        prop_assert!(after.windows(2).all(|pair| pair[0] >= pair[1]));
        prop_assert!(labels.iter().zip(&after).all(|(before, after)| after >= before));
    }

    #[test]
    fn balanced_labels_are_as_often_right_as_wrong(labels in prop::collection::vec((1usize..4, any::<bool>()), 0..40), seed in any::<u64>()) {
        let kept = balanced(&labels, Seed(seed));
        prop_assert!(kept.windows(2).all(|pair| pair[0] < pair[1]));
        for length in 1..4 {
            let count = |wanted| kept.iter().filter(|at| labels[**at] == (length, wanted)).count();
            let all = |wanted| labels.iter().filter(|label| **label == (length, wanted)).count();
            prop_assert_eq!((count(true), count(false)), (all(true).min(all(false)), all(true).min(all(false))));
        }
    }
}
