//! Losses by hand, and what they are of each other. What all of them keep is checked in `src/testing.rs`, what libraries say of
//! them in `golden_losses.rs`.

use std::f64::consts::LN_2;

use ascribe_core::tensor::Mask;
use ascribe_core::{
    Capabilities, Continuation, CoreError, LogpBatch, Loss, Objective, Policy, Reply, Request, RowKind, Usage,
};
use ascribe_preference::objectives::{KtoConfig, Mixture, ObjectiveOptions, Sft, find, mean_scores};
use ascribe_preference::{LogpCache, Response, TrainRow, implicit_token_rewards};
use ascribe_testkit::device::{device, floats, values};
use ascribe_testkit::golden::close;
use burn::tensor::{DType, Tensor};
use proptest::prelude::*;
use serde_json::Value;

/// Token log-probabilities of a response under the policy and the reference.
#[derive(Clone, Debug)]
struct Side {
    logps: Vec<f64>,
    refs: Vec<f64>,
}

/// A response of one token with this log-ratio.
fn ratio(h: f64) -> Side {
    Side { logps: vec![h - 10.0], refs: vec![-10.0] }
}

/// A response whose tokens all have this log-probability, under both.
fn tokens(logps: &[f64]) -> Side {
    Side { logps: logps.to_vec(), refs: logps.to_vec() }
}

/// What is given beside log-probabilities, for each response or example.
#[derive(Clone, Default)]
struct Given {
    scores: Vec<f64>,
    consistency: Vec<f64>,
    weights: Vec<f64>,
    divergence: Vec<f64>,
    concentration: Vec<f64>,
    mismatched: Vec<f64>,
    labels: Vec<bool>,
    groups: Vec<usize>,
    credit: Vec<f64>,
}

struct Outcome {
    loss: Loss,
    rows: Vec<f64>,
    /// Gradient of the summed loss by each token of each response, in the order in which they were given.
    gradients: Vec<Vec<f64>>,
}

impl Outcome {
    fn stat(&self, name: &str) -> Vec<f64> {
        let found = self.loss.stats.iter().find(|(known, _)| *known == name);
        values(found.unwrap_or_else(|| panic!("no statistic {name}")).1.clone())
    }

    fn slopes(&self) -> Vec<f64> {
        self.gradients.concat()
    }
}

/// The loss of `sides` in the order of a batch: all chosen ones first.
fn run(objective: &dyn Objective, sides: &[Side], given: &Given) -> Outcome {
    let device = device().autodiff();
    let width = sides.iter().map(|side| side.logps.len()).max().unwrap_or(0);
    let matrix = |of: &dyn Fn(usize) -> Vec<f64>| -> Tensor<2> {
        let row = |at: usize| of(at).into_iter().chain(std::iter::repeat(-50.0)).take(width).collect::<Vec<f64>>();
        let flat: Vec<f64> = (0..sides.len()).flat_map(row).collect();
        floats(&flat, [sides.len(), width], &device, DType::F64)
    };
    let column = |values: &[f64]| -> Tensor<1> { floats(values, [values.len()], &device, DType::F64) };
    let flags: Vec<Vec<bool>> = sides.iter().map(|side| (0..width).map(|at| at < side.logps.len()).collect()).collect();
    let policy = matrix(&|at| sides[at].logps.clone()).require_grad();
    let needs = objective.needs();
    let mask = Mask::from_rows(&flags, &device);
    let mut batch = LogpBatch::new(needs.kind, policy.clone(), mask).expect("as many rows as the kind needs");
    let sound = "one for each row";
    if needs.ref_logps {
        batch = batch.with_ref_logps(matrix(&|at| sides[at].refs.clone())).expect(sound);
    }
    if needs.credit {
        batch = batch.with_credit(matrix(&|at| vec![given.credit[at]; sides[at].logps.len()])).expect(sound);
    }
    if needs.divergence {
        // All of it at the first token.
        let at_first = |at: usize| -> Vec<f64> {
            let rest = vec![0.0; sides[at].logps.len() - 1];
            [vec![given.divergence[at]], rest].concat()
        };
        batch = batch.with_divergence(matrix(&at_first)).expect(sound);
    }
    if needs.log_sum_sq_probs {
        let same = |at: usize| vec![given.concentration[at]; sides[at].logps.len()];
        batch = batch.with_log_sum_sq_probs(matrix(&same)).expect(sound);
    }
    if needs.mismatched {
        batch = batch.with_mismatched(column(&given.mismatched)).expect(sound);
    }
    if needs.scores {
        batch = batch.with_scores(column(&given.scores)).expect(sound);
    }
    if needs.consistency {
        batch = batch.with_consistency(column(&given.consistency)).expect(sound);
    }
    if needs.label_weights {
        batch = batch.with_label_weights(column(&given.weights)).expect(sound);
    }
    if needs.kind == RowKind::Labelled {
        batch = batch.with_labels(given.labels.clone()).expect(sound);
    }
    if needs.kind == RowKind::Groups {
        batch = batch.with_groups(given.groups.clone()).expect(sound);
    }
    let loss = objective.loss(&batch).expect("the batch has what is needed");
    let grads = loss.rows.clone().sum().backward();
    let slopes = match policy.grad(&grads) {
        Some(slopes) => values(slopes),
        None => vec![0.0; sides.len() * width],
    };
    let own = |(row, side): (&[f64], &Side)| row[..side.logps.len()].to_vec();
    let gradients = slopes.chunks(width).zip(sides).map(own).collect();
    Outcome { rows: values(loss.rows.clone()), loss, gradients }
}

fn alone(objective: &dyn Objective, sides: &[Side]) -> Outcome {
    run(objective, sides, &Given::default())
}

/// The objective of this name with options as JSON.
fn made(name: &str, options: &str) -> Box<dyn Objective> {
    tried(name, options).unwrap_or_else(|error| panic!("{name} {options}: {error}"))
}

fn tried(name: &str, options: &str) -> Result<Box<dyn Objective>, String> {
    let given = serde_json::from_str(options).expect("JSON");
    let row = find(name).unwrap_or_else(|| panic!("{name} is not in the table"));
    row.make(&ObjectiveOptions::new(given)).map(|made| made.objective).map_err(|error| error.to_string())
}

/// Two pairs of one token each, with margins 8 and -3: chosen log-ratios 5 and -1, rejected -3 and 2.
fn two_pairs() -> Vec<Side> {
    [5.0, -1.0, -3.0, 2.0].map(ratio).to_vec()
}

fn log_sigmoid(x: f64) -> f64 {
    x.min(0.0) - (-x.abs()).exp().ln_1p()
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[test]
fn noisy_labels_by_hand() {
    // beta 0.1, a tenth of the labels wrong.
    let cdpo = alone(made("cdpo", "{}").as_ref(), &two_pairs());
    close("cDPO", &cdpo.rows, &[0.451101, 0.824355], 5e-7);
    let rdpo = alone(made("robust", "{}").as_ref(), &two_pairs());
    close("rDPO", &rdpo.rows, &[0.271101, 0.891855], 5e-7);
    // rDPO has no lower bound: at a margin of 500, (0 - 0.1 * 50) / 0.8.
    let far = alone(made("robust", "{}").as_ref(), &[ratio(250.0), ratio(-250.0)]);
    close("far apart", &far.rows, &[-6.25], 1e-9);
}

#[test]
fn hinges_by_hand() {
    // max(0, 1 - 0.1 * 8) and max(0, 1 + 0.3).
    let hinge = alone(made("hinge", "{}").as_ref(), &two_pairs());
    close("hinge", &hinge.rows, &[0.2, 1.3], 1e-12);
    // Past the margin, and exactly on it, nothing pulls.
    for margin in [10.0, 12.0] {
        let there = alone(made("hinge", "{}").as_ref(), &[ratio(margin), ratio(0.0)]);
        close("slopes past the margin", &there.slopes(), &[0.0, 0.0], 0.0);
    }
    // SLiC: max(0, 1 - (-3 + 3.5)) + 0.1 * 3, without a reference.
    let sides = [tokens(&[-1.0, -2.0]), tokens(&[-3.5])];
    close("slic", &alone(made("slic", "{}").as_ref(), &sides).rows, &[0.8], 1e-12);
    let pure = alone(made("slic", r#"{"lambda": 0}"#).as_ref(), &sides);
    close("slic without the likelihood", &pure.rows, &[0.5], 1e-12);
    // With a mean instead of a sum, and of a third answer: 0.5 + 0.1 * 4.
    let third = [&sides[..], &[tokens(&[-4.0, -4.0])]].concat();
    let options = r#"{"nll_on": "reference", "nll_reduction": "response"}"#;
    close("slic on a third answer", &alone(made("slic", options).as_ref(), &third).rows, &[0.9], 1e-12);
}

#[test]
fn simpo_by_hand() {
    // beta 2, means -0.5 and -0.9, gamma 1: -log sigmoid(0.8 - 1).
    let sides = [tokens(&[-0.25, -0.75]), tokens(&[-0.9])];
    for options in [r#"{"gamma_beta_ratio": 0.5}"#, r#"{"simpo_gamma": 1.0}"#, "{}"] {
        close("simpo", &alone(made("simpo", options).as_ref(), &sides).rows, &[0.798139], 5e-7);
    }
    // A margin that cannot be reached: every pair pulls with its whole weight, beta / n a token.
    let far = alone(made("simpo", r#"{"simpo_gamma": 100}"#).as_ref(), &sides);
    close("slopes", &far.slopes(), &[-1.0, -1.0, 2.0], 1e-12);
    // CPO-SimPO adds the mean likelihood of the chosen response.
    let sum = alone(made("cpo-simpo", r#"{"simpo_gamma": 1.0, "cpo_alpha": 0.5}"#).as_ref(), &sides);
    close("cpo-simpo", &sum.rows, &[0.798139 + 0.25], 5e-7);
}

#[test]
fn odds_by_hand() {
    // m = -0.5 and -1: log odds ratio 0.974077, its term 0.320300.
    let sides = [tokens(&[-0.4, -0.6]), tokens(&[-1.0])];
    let got = alone(made("orpo", "{}").as_ref(), &sides);
    close("log odds", &got.stat("log_odds_chosen"), &[0.974077], 5e-7);
    close("term", &got.stat("log_odds_ratio"), &[-0.320300], 5e-7);
    close("orpo", &got.rows, &[0.5 + 0.1 * 0.320300], 1e-7);
    // Without its weight it is the likelihood; with equal means the term is ln 2.
    close("likelihood", &alone(made("orpo", r#"{"beta": 0}"#).as_ref(), &sides).rows, &[0.5], 1e-12);
    let equal = [tokens(&[-0.7, -0.3]), tokens(&[-0.5])];
    close("equal", &alone(made("orpo", "{}").as_ref(), &equal).rows, &[0.5 + 0.1 * LN_2], 1e-12);
    // A response that is nearly certain has large odds and a finite loss.
    let sure = alone(made("orpo", "{}").as_ref(), &[tokens(&[-1e-9]), tokens(&[-1.0])]);
    assert!(sure.rows[0].is_finite() && sure.slopes().iter().all(|slope| slope.is_finite()));
}

#[test]
fn cross_entropy_of_outcomes_by_hand() {
    // u = .8 of a right response and -.3 of a wrong one: ln(1 + e^-.8) and ln(1 + e^-.3), whose mean is 0.462728.
    let objective = made("outcome-ce", r#"{"beta": 1}"#);
    let given = Given { labels: vec![true, false], ..Given::default() };
    let got = run(objective.as_ref(), &[ratio(0.8), ratio(-0.3)], &given);
    close("cross-entropy", &[(got.rows[0] + got.rows[1]) / 2.0], &[0.462728], 1e-6);
    // The same two as a pair: -log sigmoid(1.1), and ln(1 + e^-.8) + ln(1 + e^.8) / 2 + ln(1 + e^-.3) / 2.
    let pair = |name: &str| alone(made(name, r#"{"beta": 1}"#).as_ref(), &[ratio(0.8), ratio(-0.3)]).rows;
    close("dpo", &pair("dpo"), &[0.287335], 1e-6);
    close("nca", &pair("nca"), &[1.233829], 1e-6);
    // No row needs another one, and nothing is remembered.
    assert!(!objective.needs().coupled && objective.memory().is_empty());
}

#[test]
fn kto_by_hand() {
    // Wanted with log-ratio 5, unwanted with -4, and a divergence of 1 between 3 and -1.
    let sides = [ratio(5.0), ratio(-4.0)];
    let mut given = Given { labels: vec![true, false], mismatched: vec![3.0, -1.0], ..Given::default() };
    let got = run(made("kto", "{}").as_ref(), &sides, &given);
    close("kto", &got.rows, &[0.401312, 0.377541], 5e-7);
    close("kl", &got.stat("kl"), &[1.0, 1.0], 1e-12);
    close("wanted", &got.stat("rewards/chosen"), &[0.5], 1e-12);
    close("unwanted", &got.stat("rewards/rejected"), &[-0.4], 1e-12);
    // At the divergence itself the loss is half of the weight.
    let weights = r#"{"desirable_weight": 1.5, "undesirable_weight": 0.5}"#;
    let even = run(made("kto", weights).as_ref(), &[ratio(1.0), ratio(1.0)], &given);
    close("halves", &even.rows, &[0.75, 0.25], 1e-12);
    // A negative estimate is none, and the divergence can be left out.
    given.mismatched = vec![-3.0, -1.0];
    let below = run(made("kto", "{}").as_ref(), &sides, &given);
    let without = run(made("apo-zero-unpaired", "{}").as_ref(), &sides, &given);
    close("below 0", &below.rows, &without.rows, 0.0);
    close("without", &without.rows, &[sigmoid(-0.5), sigmoid(-0.4)], 1e-12);
    // A window of one class trains on that side.
    given.labels = vec![true, true];
    let one = run(made("kto", "{}").as_ref(), &sides, &given);
    assert!(one.loss.stats.iter().all(|(name, _)| *name != "rewards/rejected"));
}

#[test]
fn weights_that_do_not_balance_the_labels_are_named() {
    let config = KtoConfig::default();
    assert_eq!(config.imbalance(4, 3), None);
    assert_eq!(config.imbalance(3, 3), None);
    assert_eq!(config.imbalance(0, 3), None);
    // 3 / 1, so that 1/3 to 4/9 would balance.
    let said = config.imbalance(3, 1).expect("out of balance");
    assert!(said.contains("between 0.33 and 0.44"), "{said}");
    assert!(config.imbalance(1, 1000).is_some());
    assert_eq!(KtoConfig { desirable_weight: 0.4, ..config }.imbalance(3, 1), None);
}

#[test]
fn bco_by_hand() {
    let objective = made("bco", r#"{"beta": 0.5}"#);
    let sides = [ratio(4.0), ratio(2.0)];
    let given = Given { labels: vec![true, false], ..Given::default() };
    let loss = |expected_delta: f64| {
        let got = run(objective.as_ref(), &sides, &given);
        close("delta", &got.stat("bco/delta"), &[expected_delta; 2], 1e-12);
        // Rewards 2 and 1.
        let expected = [-log_sigmoid(2.0 - expected_delta), -log_sigmoid(expected_delta - 1.0)];
        close("bco", &got.rows, &expected, 1e-12);
    };
    // Measuring moves nothing.
    loss(0.0);
    loss(0.0);
    // Rewards 2 and 1 are seen: their mean is 1.5. Then one of 6: (2 + 1 + 6) / 3.
    let window = |ratios: &[f64]| {
        let device = device().autodiff();
        let n = ratios.len();
        let mask = Mask::from_rows(&vec![[true]; n], &device);
        let logps = |of: &dyn Fn(f64) -> f64| {
            floats::<2>(&ratios.iter().map(|h| of(*h)).collect::<Vec<_>>(), [n, 1], &device, DType::F64)
        };
        let batch = LogpBatch::new(RowKind::Labelled, logps(&|h| h - 10.0), mask).expect("the shapes agree");
        let batch = batch.with_ref_logps(logps(&|_| -10.0)).expect("the shapes agree");
        batch.with_labels(vec![true; n]).expect("one a row")
    };
    objective.observe(&window(&[4.0, 2.0])).expect("it has what is needed");
    loss(1.5);
    objective.observe(&window(&[12.0])).expect("it has what is needed");
    loss(3.0);
    // A run that goes on has the same mean.
    let other = made("bco", r#"{"beta": 0.5}"#);
    other.remember(&objective.memory()).expect("a value and a count");
    assert_eq!(other.memory(), [3.0, 3.0]);
    assert!(other.remember(&[1.0]).is_err());
}

#[test]
fn each_side_by_itself_by_hand() {
    let three = 3.0f64.ln();
    // Rewards ln 3 and -ln 3, whose sigmoids are 3/4 and 1/4.
    let sides = [ratio(three), ratio(-three)];
    let (up, down) = ((4.0f64 / 3.0).ln(), 4.0f64.ln());
    let of = |name: &str| alone(made(name, r#"{"beta": 1}"#).as_ref(), &sides).rows;
    close("nca", &of("nca"), &[up + 0.5 * down + 0.5 * up], 1e-12);
    close("bco-pair", &of("bco-pair"), &[up + up], 1e-12);
    close("apo-zero", &of("apo-zero"), &[0.5], 1e-12);
    // The margin is ln 9, whose sigmoid is 9/10.
    close("apo-down", &of("apo-down"), &[0.75 + 0.1], 1e-12);
    close("exo", &of("exo"), &[0.9 * (0.9f64 / 0.999).ln() + 0.1 * (0.1f64 / 0.001).ln()], 1e-12);
    // Hard targets of 1/2 and -1/2.
    close("sppo", &of("sppo"), &[2.0 * (three - 0.5) * (three - 0.5)], 1e-12);
}

#[test]
fn discopop_by_hand() {
    // With tau 1 and a margin of ln 3: m = 3/4, and (1/4) ln(4/3) + (3/4) / 3.
    let sides = [ratio(3.0f64.ln()), ratio(0.0)];
    let got = alone(made("discopop", r#"{"beta": 1, "discopop_tau": 1}"#).as_ref(), &sides);
    close("discopop", &got.rows, &[0.25 * (4.0f64 / 3.0).ln() + 0.25], 1e-12);
}

#[test]
fn optimal_transport_by_hand() {
    // Margins of the policy 3 and -1, of the reference 2 and 0: by rank -1 - 0 and 3 - 2.
    let side = |logp: f64, reference: f64| Side { logps: vec![logp], refs: vec![reference] };
    let sides = [side(-1.0, -2.0), side(-4.0, -3.0), side(-4.0, -4.0), side(-3.0, -3.0)];
    let got = alone(made("aot", r#"{"beta": 1}"#).as_ref(), &sides);
    close("aot", &got.rows, &[-log_sigmoid(-1.0), -log_sigmoid(1.0)], 1e-12);
    // Log-ratios of the chosen 1 and -1, of the rejected 0 and 0: -1 - 0 and 1 - 0.
    let got = alone(made("aot-unpaired", r#"{"beta": 1}"#).as_ref(), &sides);
    close("aot-unpaired", &got.rows, &[-log_sigmoid(-1.0), -log_sigmoid(1.0)], 1e-12);
}

#[test]
fn rankings_by_hand() {
    let objective = made("rrhf", r#"{"rrhf_weight": 10}"#);
    // Means -1, -2 and -3 with rewards 1, 3 and 2: the first is ahead of both, the second of none.
    let sides = [tokens(&[-1.0]), tokens(&[-1.0, -3.0]), tokens(&[-3.0])];
    let mut given = Given { scores: vec![1.0, 3.0, 2.0], groups: vec![3], ..Given::default() };
    let got = run(objective.as_ref(), &sides, &given);
    // 10 ((-1 + 2) + (-1 + 3)), and the likelihood of the second, the best.
    close("loss", &got.rows, &[32.0], 1e-12);
    close("ranking", &got.stat("rrhf/ranking"), &[3.0], 1e-12);
    close("likelihood", &got.stat("rrhf/nll"), &[2.0], 1e-12);
    // Ties give no term; what is ordered already leaves the likelihood.
    given.scores = vec![2.0, 2.0, 1.0];
    close("ties", &run(objective.as_ref(), &sides, &given).rows, &[1.0], 1e-12);
    // One response is supervised fine-tuning, beside another prompt or not: a row a prompt.
    given.scores = vec![5.0, 2.0, 1.0];
    given.groups = vec![1, 2];
    close("two prompts", &run(objective.as_ref(), &sides, &given).rows, &[1.0, 2.0], 1e-12);
    // Equal rewards say nothing.
    let batch = |scores: [f64; 2]| {
        let device = device();
        let mask = Mask::from_rows(&[[true], [true]], &device);
        let logps = floats(&[-1.0, -2.0], [2, 1], &device, DType::F64);
        let batch = LogpBatch::new(RowKind::Groups, logps, mask).expect("the shapes agree");
        let batch = batch.with_scores(floats(&scores, [2], &device, DType::F64)).expect("one a row");
        batch.with_groups(vec![2]).expect("all rows")
    };
    let error = objective.loss(&batch([1.0, 1.0])).expect_err("equal rewards").to_string();
    assert!(error.contains("need rewards that differ"), "{error}");
}

#[test]
fn triples_by_hand() {
    // sigmoid: -log sigmoid(0.5 (-2 + 4)) and the likelihood of the third answer, 1.5 a token.
    let sides = [tokens(&[-1.0, -1.0]), tokens(&[-4.0]), tokens(&[-1.0, -2.0])];
    let got = alone(made("tpo", r#"{"beta": 0.5}"#).as_ref(), &sides);
    close("tpo", &got.rows, &[-log_sigmoid(1.0) + 1.5], 1e-12);
    // Means -1 and -4 and a margin of 0.5.
    let got = alone(made("tpo-l", r#"{"tpo_alpha": 0}"#).as_ref(), &sides[..2]);
    close("tpo-l", &got.rows, &[-log_sigmoid(6.0 - 0.5)], 1e-12);
}

#[test]
fn dynamic_betas_by_hand() {
    let given = |margin: f64| Given { scores: vec![margin, 0.0], ..Given::default() };
    let objective = made("mm-dpo", "{}");
    let sides = [ratio(5.0), ratio(-3.0)];
    let mut last = 0.0;
    for (margin, beta) in [(-2.0, 0.1), (0.0, 0.1), (1.0, 0.103935), (5.0, 0.109179), (1e6, 0.11)] {
        let got = run(objective.as_ref(), &sides, &given(margin));
        close("beta", &got.stat("mm_dpo/beta"), &[beta], 1e-6);
        close("loss", &got.rows, &[-log_sigmoid(8.0 * got.stat("mm_dpo/beta")[0])], 1e-12);
        assert!(got.stat("mm_dpo/beta")[0] >= last);
        last = got.stat("mm_dpo/beta")[0];
    }
    // A pair whose scores contradict its label can be left out, and the likelihood added.
    let drop = made("mm-dpo", r#"{"disagreement": "drop", "lambda": 0.25}"#);
    let left = run(drop.as_ref(), &sides, &given(-2.0));
    close("left out", &[left.rows[0], values(left.loss.weights)[0]], &[0.0, 0.0], 0.0);
    let kept = run(drop.as_ref(), &sides, &given(0.0));
    close("with likelihood", &kept.rows, &[0.371101 + 0.25 * 5.0], 5e-7);
}

#[test]
fn soft_labels_by_hand() {
    // C = 0.8 at a margin of 0.8.
    let given = Given { consistency: vec![0.8], ..Given::default() };
    let sides = [ratio(5.0), ratio(-3.0)];
    close("cream", &run(made("cream", "{}").as_ref(), &sides, &given).rows, &[0.531101], 5e-7);
    close("for all", &alone(made("cream", r#"{"consistency": 0.8}"#).as_ref(), &sides).rows, &[0.531101], 5e-7);
    // One half says nothing of the order: least where nothing has moved.
    let half = made("cream", r#"{"consistency": 0.5}"#);
    close("slopes", &alone(half.as_ref(), &[ratio(1.0), ratio(1.0)]).slopes(), &[0.0, 0.0], 1e-15);
    let apart = |h: f64| alone(half.as_ref(), &[ratio(h), ratio(0.0)]).rows[0];
    assert!(apart(0.0) < apart(1.0) && apart(0.0) < apart(-1.0));
}

#[test]
fn token_divergences_by_hand() {
    let sides = [ratio(5.0), ratio(-3.0)];
    let given = Given { divergence: vec![1.0, 4.0], ..Given::default() };
    // 0.1 (8 - (4 - 1)), and 0.1 (8 - 0.5 (4 - 1)).
    close("tdpo1", &run(made("tdpo1", "{}").as_ref(), &sides, &given).rows, &[-log_sigmoid(0.5)], 1e-12);
    let got = run(made("tdpo2", "{}").as_ref(), &sides, &given);
    close("tdpo2", &got.rows, &[-log_sigmoid(0.65)], 1e-12);
    close("rewards", &got.stat("rewards/margins"), &[0.1 * (8.0 - 3.0)], 1e-12);
}

#[test]
fn simpo_reg_by_hand() {
    // beta 2, gamma 1, means -0.5 and -0.9, credit 0.2 on the chosen and -0.4 on the rejected.
    let sides = [tokens(&[-0.25, -0.75]), tokens(&[-0.9])];
    let given = Given { credit: vec![0.2, -0.4], ..Given::default() };
    let got = run(made("simpo-reg", "{}").as_ref(), &sides, &given);
    // -(2 / 2) 0.2 (-1) and -(2 / 1) (-0.4) (-0.9).
    close("regulariser", &got.stat("t_reg/regulariser"), &[0.2 - 0.72], 1e-12);
    close("weight", &got.stat("t_reg/weight"), &[sigmoid(0.2)], 1e-12);
    close("least likely", &got.stat("logps/min_chosen_token"), &[-0.75], 1e-12);
    close("least likely", &got.stat("logps/min_rejected_token"), &[-0.9], 1e-12);
    close("loss", &got.rows, &[0.798139 + 0.25 * sigmoid(0.2) * -0.52], 5e-7);
    // SimPO with its token gradients reweighted by 1 + alpha r and 1 - alpha r.
    let simpo = alone(made("simpo", "{}").as_ref(), &sides).slopes();
    let expected = [simpo[0] * 1.05, simpo[1] * 1.05, simpo[2] * 1.1];
    close("slopes", &got.slopes(), &expected, 1e-12);
    // Without its weight it is SimPO.
    let off = run(made("simpo-reg", r#"{"alpha": 0}"#).as_ref(), &sides, &given);
    close("off", &off.rows, &alone(made("simpo", "{}").as_ref(), &sides).rows, 0.0);
}

#[test]
fn token_rewards_of_another_size_are_refused() {
    let (sides, objective) = ([ratio(5.0), ratio(-3.0)], made("t-reg", "{}"));
    let device = device();
    let column = |values: &[f64]| floats::<2>(values, [2, 1], &device, DType::F64);
    let mask = Mask::from_rows(&[[true], [true]], &device);
    let logps: Vec<f64> = sides.iter().map(|side| side.logps[0]).collect();
    let batch = LogpBatch::new(RowKind::Pairs, column(&logps), mask).expect("the shapes agree");
    let batch = batch.with_ref_logps(column(&[-10.0, -10.0])).expect("the shapes agree");
    let with = |credit: f64| batch.clone().with_credit(column(&[credit, 0.0])).expect("the shapes agree");
    assert!(objective.loss(&with(0.5)).is_ok());
    for credit in [0.6, -0.6, f64::NAN] {
        let error = objective.loss(&with(credit)).expect_err("out of range").to_string();
        assert!(error.contains("token reward must be at most 1/2"), "{error}");
    }
}

#[test]
fn dpo_rewards_become_token_rewards() {
    // The policy gives each token minus its id: the log-ratio is half of it.
    struct Known;
    impl Policy for Known {
        fn propose(&self, _: &[Request]) -> Result<Vec<Reply>, CoreError> {
            Err(CoreError::Unsupported { what: "propose" })
        }
        fn score(&self, given: &[Continuation]) -> Result<(Vec<Vec<f32>>, Usage), CoreError> {
            let of = |one: &Continuation| -> Vec<f32> { one.tokens.iter().map(|id| -(*id as f32)).collect() };
            Ok((given.iter().map(of).collect(), Usage::default()))
        }
        fn capabilities(&self) -> Capabilities {
            Capabilities { score: true, top: false, context: 100 }
        }
    }
    let response = |ids: Vec<u32>| {
        let ref_logps = Some(ids.iter().map(|id| -0.5 * *id as f32).collect());
        Response { ref_logps, ..Response::new(ids) }
    };
    let mut rows = vec![TrainRow {
        responses: vec![response(vec![1, 2]), response(vec![4])],
        ..TrainRow::single(vec![1], Vec::new())
    }];
    let mut cache = LogpCache::in_memory();
    let report =
        implicit_token_rewards(&mut rows, &Known, "known", 0.5, &mut cache, &mut |_, _| ()).expect("finite numbers");
    // sigmoid(0.5 (-1 + 0.5)) - 0.5, and so on.
    let expected = [[0.25f64, 0.5].map(|x| sigmoid(-x) - 0.5).to_vec(), vec![sigmoid(-1.0) - 0.5]];
    for (response, expected) in rows[0].responses.iter().zip(&expected) {
        let got: Vec<f64> = response.credit.as_ref().expect("filled").iter().map(|x| f64::from(*x)).collect();
        close("credit", &got, expected, 1e-6);
    }
    assert!(report.chosen_minus_rejected > 0.0);
    rows[0].responses[0].ref_logps = None;
    assert!(implicit_token_rewards(&mut rows, &Known, "known", 0.5, &mut cache, &mut |_, _| ()).is_err());
}

#[test]
fn tables_of_scores_by_hand() {
    // Rewards 1, 2 and 6: each less their mean.
    let rewards = [1.0, 2.0, 6.0];
    let table: Vec<Vec<f64>> = rewards.iter().map(|a| rewards.iter().map(|b| a - b).collect()).collect();
    close("Bradley-Terry", &mean_scores(&table).expect("skew-symmetric"), &[-2.0, -1.0, 3.0], 1e-12);
    // A circle of equal strengths says that all are equal.
    let circle = vec![vec![0.0, 2.0, -2.0], vec![-2.0, 0.0, 2.0], vec![2.0, -2.0, 0.0]];
    close("circle", &mean_scores(&circle).expect("skew-symmetric"), &[0.0; 3], 1e-12);
    for wrong in [vec![vec![0.0, 1.0], vec![1.0, 0.0]], vec![vec![0.0, f64::NAN], vec![0.0, 0.0]], vec![vec![0.0, 1.0]]]
    {
        assert!(mean_scores(&wrong).is_err(), "{wrong:?}");
    }
    // The loss regresses log-ratios on these, over beta; without scores it keeps them at 0.
    let given = Given { scores: vec![0.3, -0.3], ..Given::default() };
    let got = run(made("gpo", r#"{"beta": 0.1}"#).as_ref(), &[ratio(5.0), ratio(-3.0)], &given);
    close("gpo", &got.rows, &[4.0 + 0.0], 1e-12);
    let none = Given { scores: vec![0.0, 0.0], ..Given::default() };
    let got = run(made("gpo", "{}").as_ref(), &[ratio(0.0), ratio(0.0)], &none);
    close("stays", &got.slopes(), &[0.0, 0.0], 0.0);
    // A target is held within bounds.
    let got = run(made("gpo", r#"{"beta": 0.1, "target_clamp": 1}"#).as_ref(), &[ratio(1.0), ratio(-1.0)], &given);
    close("clamped", &got.rows, &[0.0], 1e-12);
}

#[test]
fn long_tails_and_unlikely_pairs_by_hand() {
    // Chosen log-ratios 1, 2, 4 and a rejected one of one token: two tokens of the chosen response count so much.
    let chosen = Side { logps: vec![-1.0, -1.0, -1.0], refs: vec![-2.0, -3.0, -5.0] };
    let sides = [chosen, ratio(0.5)];
    for (alpha, h) in [(1.0, 7.0), (0.5, 4.0), (0.0, 1.0)] {
        let got = alone(made("dpo", &format!(r#"{{"ld_alpha": {alpha}}}"#)).as_ref(), &sides);
        close("ld_alpha", &got.rows, &[-log_sigmoid(0.1 * (h - 0.5))], 1e-12);
        close("reward", &got.stat("rewards/chosen"), &[0.1 * h], 1e-12);
    }
    // WPO: exp(-1 + 0.5) exp(-9.5 + 9) times the loss, and nothing of that in the gradient.
    let given = Given { concentration: vec![-0.5, -9.0], ..Given::default() };
    let weighed = run(made("dpo", r#"{"use_weighting": true}"#).as_ref(), &sides, &given);
    let plain = alone(made("dpo", "{}").as_ref(), &sides);
    close("wpo", &weighed.rows, &[plain.rows[0] * (-1.0f64).exp()], 1e-12);
    let expected: Vec<f64> = plain.slopes().iter().map(|slope| slope * (-1.0f64).exp()).collect();
    close("slopes", &weighed.slopes(), &expected, 1e-12);
}

#[test]
fn a_policy_may_earn_rewards_and_rank_wrongly() {
    let side = |logps: &[f64], refs: &[f64]| Side { logps: logps.to_vec(), refs: refs.to_vec() };
    // Rewards say that the chosen one is ahead; its sum of -4 is behind -3, its mean of -2 ahead of -3. Then two equal ones.
    let sides =
        [side(&[-1.0, -3.0], &[-4.0, -4.0]), side(&[-2.0], &[-2.0]), side(&[-3.0], &[-1.0]), side(&[-2.0], &[-2.0])];
    for name in ["dpo", "ipo", "tdpo2", "apo-zero"] {
        let given = Given { divergence: vec![0.0; 4], ..Given::default() };
        let got = run(made(name, "{}").as_ref(), &sides, &given);
        close(name, &got.stat("rewards/accuracies"), &[1.0, 0.5], 0.0);
        close(name, &got.stat("rewards/ties"), &[0.0, 1.0], 0.0);
        close(name, &got.stat("rankings/accuracies"), &[0.0, 0.5], 0.0);
        close(name, &got.stat("rankings/accuracies_per_token"), &[1.0, 0.5], 0.0);
        close(name, &got.stat("logps/chosen"), &[-4.0, -2.0], 0.0);
        close(name, &got.stat("logps/chosen_per_token"), &[-2.0, -2.0], 0.0);
        close(name, &got.stat("logps/rejected_per_token"), &[-3.0, -2.0], 0.0);
        close(name, &got.stat("lengths/chosen"), &[2.0, 1.0], 0.0);
        close(name, &got.stat("lengths/rejected"), &[1.0, 1.0], 0.0);
    }
    let simpo = alone(made("simpo", "{}").as_ref(), &sides);
    close("simpo", &simpo.stat("rankings/accuracies"), &[0.0, 0.5], 0.0);
}

#[test]
fn labels_count_what_they_weigh() {
    // DPO at margins 8 and -3: 0.371101 and 0.854355, weighed 0.5 and 2.
    let given = |weights: [f64; 2]| Given { weights: weights.to_vec(), ..Given::default() };
    let (mean, weighted) = (r#"{"label_weights": "mean"}"#, r#"{"label_weights": "weighted_mean"}"#);
    let of = |options: &str, weights| run(made("dpo", options).as_ref(), &two_pairs(), &given(weights));
    let rows = [0.5 * 0.371101, 2.0 * 0.854355];
    for options in [mean, weighted] {
        let got = of(options, [0.5, 2.0]);
        close("rows", &got.rows, &rows, 2e-6);
        close("told", &got.stat("label_weight"), &[0.5, 2.0], 0.0);
    }
    // Divided by 2 pairs, or by the sum of the weights, which scaling does not change.
    let loss = |options: &str, weights| values(of(options, weights).loss.mean())[0];
    close("mean", &[loss(mean, [0.5, 2.0])], &[(rows[0] + rows[1]) / 2.0], 2e-6);
    close("weighted", &[loss(weighted, [0.5, 2.0])], &[(rows[0] + rows[1]) / 2.5], 2e-6);
    close("scaled", &[loss(weighted, [1.5, 6.0])], &[loss(weighted, [0.5, 2.0])], 1e-12);
    close("scaled", &[loss(mean, [1.5, 6.0])], &[3.0 * loss(mean, [0.5, 2.0])], 1e-12);
    // A weight of 0 leaves the pair out, and one of 1 is none, to the bit.
    close("left out", &[loss(weighted, [0.0, 2.0])], &[0.854355], 5e-7);
    let (plain, ones) = (alone(made("dpo", "{}").as_ref(), &two_pairs()), of(mean, [1.0, 1.0]));
    close("ones", &ones.rows, &plain.rows, 0.0);
    close("ones", &ones.slopes(), &plain.slopes(), 0.0);
    // In a sum with likelihoods each part keeps its own divisor: 0.854355, and 16 nats over 2 tokens.
    let parts = vec![(1.0, made("dpo", weighted)), (1.0, Box::new(Sft) as Box<dyn Objective>)];
    let objective = Mixture::new(parts).expect("they learn from pairs");
    assert!(objective.needs().label_weights && objective.needs().coupled);
    let got = run(&objective, &two_pairs(), &given([0.0, 2.0]));
    // The chosen tokens are 5 - 10 and -1 - 10.
    close("sum", &values(got.loss.mean()), &[0.854355 + (5.0 + 11.0) / 2.0], 5e-7);
    // Without weights there is nothing to weigh by.
    let device = device();
    let pair = floats::<2>(&[-1.0, -2.0], [2, 1], &device, DType::F64);
    let batch = LogpBatch::new(RowKind::Pairs, pair.clone(), Mask::from_rows(&[[true], [true]], &device));
    let batch = batch.and_then(|batch| batch.with_ref_logps(pair)).expect("the shapes agree");
    let missing = made("dpo", mean).loss(&batch);
    assert!(matches!(missing, Err(CoreError::MissingInput("label_weights"))));
    assert!(batch.with_label_weights(floats::<1>(&[1.0, 1.0], [2], &device, DType::F64)).is_err(), "two for one pair");
}

#[test]
fn sums_of_losses_by_hand() {
    let sum = |parts: Vec<(f64, Box<dyn Objective>)>| Mixture::new(parts);
    let sides = [tokens(&[-1.0, -2.0]), tokens(&[-3.0]), tokens(&[-0.5]), tokens(&[-1.0, -1.0])];
    // Both pairs are at the reference: DPO says ln 2, IPO 25, and the likelihood is 6 nats over 3 tokens.
    let parts = vec![(0.5, made("dpo", "{}")), (2.0, made("ipo", "{}")), (3.0, Box::new(Sft) as Box<dyn Objective>)];
    let objective = sum(parts).expect("they learn from pairs");
    assert!(objective.needs().coupled && objective.needs().ref_logps && objective.needs().kind == RowKind::Pairs);
    let got = alone(&objective, &sides);
    close("sum", &values(got.loss.mean()), &[0.5 * LN_2 + 2.0 * 25.0 + 3.0 * 2.0], 1e-12);
    // The mean over tokens does not depend on which pair they belong to: 3 (-1/3) a token, times two pairs in a sum.
    let likelihood =
        alone(&sum(vec![(0.0, made("dpo", "{}")), (3.0, Box::new(Sft) as Box<dyn Objective>)]).expect("sound"), &sides);
    close("slopes", &likelihood.gradients[..2].concat(), &[-2.0, -2.0, -2.0], 1e-12);
    let plain = sum(vec![(1.0, made("dpo", "{}")), (1.0, made("apo-zero", "{}"))]).expect("sound");
    assert!(!plain.needs().coupled, "means over pairs add row by row");
    assert!(sum(vec![]).is_err());
    for weight in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(sum(vec![(weight, made("dpo", "{}"))]).is_err());
    }
    let error = sum(vec![(1.0, made("dpo", "{}")), (1.0, made("kto", "{}"))]).err().expect("two kinds").to_string();
    assert!(error.contains("different kinds of rows"), "{error}");
}

#[test]
fn options_out_of_range_are_refused() {
    // A beta that is no number at all has no JSON; `--beta nan` is refused where it is typed.
    for row in &ascribe_preference::objectives::OBJECTIVES {
        if row.options().contains_key("beta") {
            for beta in [0.0, -0.1] {
                let got = row.make(&ObjectiveOptions::default().with("beta", beta));
                // ORPO's is a weight, and 0 leaves the odds out.
                assert_eq!(got.is_ok(), row.name == "orpo" && beta == 0.0, "{} with beta {beta}", row.name);
            }
            assert!(row.make(&ObjectiveOptions::default().with("beta", f64::NAN)).is_err(), "{}", row.name);
        }
        assert!(row.make(&ObjectiveOptions::default().with("no_such_option", 1)).is_err(), "{}", row.name);
    }
    for (name, options, said) in [
        ("dpo", r#"{"beta": 0}"#, "beta must be finite and above 0, got 0; start from 0.1"),
        ("dpo", r#"{"label_smoothing": 0.6}"#, "label_smoothing must be in [0, 0.5], got 0.6; 0 is plain DPO"),
        ("dpo", r#"{"ld_alpha": 1.5}"#, "ld_alpha must be in [0, 1], got 1.5"),
        ("dpo", r#"{"reference_weight": -1}"#, "reference_weight must be finite and at least 0"),
        ("dpo", r#"{"gamma": 1}"#, "`gamma` is no option of dpo, whose options are beta, label_smoothing"),
        ("dpo", r#"{"beta": "much"}"#, "an option of dpo cannot be read"),
        ("robust", r#"{"label_smoothing": 0.5}"#, "label_smoothing must be in [0, 0.5), got 0.5"),
        (
            "exo",
            r#"{"label_smoothing": 0}"#,
            "label_smoothing must be above 0 and at most 0.5, got 0; start from 0.001",
        ),
        ("dpo", r#"{"reference_weight": 0.5, "reference_free": true}"#, "does nothing with reference_free; give one"),
        ("dpo", r#"{"f_alpha_divergence_coef": 0.3}"#, "f_alpha_divergence_coef does nothing without the alpha"),
        ("hinge", r#"{"nll_reduction": "window"}"#, "nll_reduction does nothing with a lambda of 0"),
        ("cpo", r#"{"simpo_gamma": 1}"#, "simpo_gamma does nothing without the loss type simpo; set loss_type"),
        ("tpo", r#"{"tpo_l_gamma": 1}"#, "tpo_l_gamma does nothing without the loss type tpo-l"),
        ("tdpo1", r#"{"alpha": 1}"#, "alpha does nothing in TDPO1; use tdpo2"),
        ("nca", r#"{"f_divergence_type": "forward_kl"}"#, "f_divergence_type must be reverse_kl for nca"),
        ("apo-down", r#"{"f_divergence_type": "js_divergence"}"#, "f_divergence_type must be reverse_kl"),
        ("hinge", r#"{"delta": 0}"#, "delta must be finite and above 0"),
        ("slic", r#"{"lambda": -1}"#, "lambda must be finite and at least 0"),
        ("hinge", r#"{"nll_on": "reference"}"#, "nll_on does nothing with a lambda of 0"),
        ("discopop", r#"{"discopop_tau": 0}"#, "discopop_tau must be finite and above 0"),
        ("tdpo2", r#"{"alpha": -0.5}"#, "alpha must be finite and at least 0"),
        ("t-reg", r#"{"alpha": -0.5}"#, "alpha must be finite and at least 0, got -0.5; start from 0.25"),
        ("simpo-reg", r#"{"alpha": -0.5}"#, "alpha must be finite and at least 0"),
        ("t-reg", r#"{"alpha": 0, "reg_weight": "static"}"#, "reg_weight does nothing with an alpha of 0"),
        ("t-reg", r#"{"alpha": 0, "reg_tokens": "chosen"}"#, "reg_tokens does nothing with an alpha of 0"),
        ("simpo-reg", r#"{"alpha": 0, "credit": "dpo_reward"}"#, "credit does nothing with an alpha of 0"),
        (
            "t-reg",
            r#"{"reg_tokens": "rejected", "credit": "sft_on_chosen"}"#,
            "credit does nothing for rejected responses alone",
        ),
        (
            "dpo",
            r#"{"label_weights": "sum"}"#,
            "unknown variant `sum`, expected one of `none`, `mean`, `weighted_mean`",
        ),
        ("gpo", r#"{"target_clamp": 0}"#, "target_clamp must be above 0"),
        ("aot", r#"{"label_smoothing": 0.7}"#, "label_smoothing must be in [0, 0.5]"),
        ("mm-dpo", r#"{"margin_weight": -0.1}"#, "margin_weight must be finite and at least 0"),
        ("mm-dpo", r#"{"margin_rate": 0}"#, "margin_rate must be finite and above 0"),
        ("mm-dpo", r#"{"margin_weight": 0, "margin_rate": 2}"#, "margin_rate does nothing with a margin_weight of 0"),
        ("mm-dpo", r#"{"beta": 5e-4}"#, "beta must be at least 0.001, got 0.0005"),
        (
            "mm-dpo",
            r#"{"disagreement": "drop", "lambda": 1, "nll_reduction": "window"}"#,
            "average the likelihood by response",
        ),
        ("cream", r#"{"consistency": 1.2}"#, "consistency must be in [0, 1], got 1.2"),
        ("simpo", r#"{"simpo_gamma": -1}"#, "simpo_gamma must be finite and at least 0"),
        ("simpo", r#"{"simpo_gamma": 1, "gamma_beta_ratio": 1}"#, "both give the margin; give one of them"),
        ("cpo", r#"{"cpo_alpha": -1}"#, "cpo_alpha must be finite and at least 0"),
        ("cpo", r#"{"loss_type": "hinge", "label_smoothing": 0.1}"#, "label_smoothing does nothing"),
        ("cpo", r#"{"loss_type": "sigmod"}"#, "unknown variant `sigmod`"),
        ("orpo", r#"{"beta": -0.1}"#, "beta must be finite and at least 0"),
        ("rrhf", r#"{"rrhf_weight": -1}"#, "rrhf_weight must be finite and at least 0"),
        ("rrhf", r#"{"rrhf_weight": 0, "length_penalty": 0}"#, "length_penalty does nothing with an rrhf_weight of 0"),
        ("tpo", r#"{"tpo_alpha": -1}"#, "tpo_alpha must be finite and at least 0"),
        ("kto", r#"{"desirable_weight": 0}"#, "desirable_weight must be finite and above 0, got 0; start from 1"),
        ("kto", r#"{"undesirable_weight": -1}"#, "undesirable_weight must be finite and above 0"),
    ] {
        let error = tried(name, options).err().unwrap_or_else(|| panic!("{name} {options} is accepted"));
        assert!(error.contains(said), "{name} {options}: {error}");
    }
    let defaults = find("simpo").expect("a row").options();
    assert_eq!(defaults["beta"], Value::from(2.0));
}

fn any_side() -> impl Strategy<Value = Side> {
    prop::collection::vec((-6.0..-0.01f64, -6.0..-0.01f64), 1..6).prop_map(|tokens| Side {
        logps: tokens.iter().map(|t| t.0).collect(),
        refs: tokens.iter().map(|t| t.1).collect(),
    })
}

/// Chosen responses, then as many rejected ones.
fn any_pairs() -> impl Strategy<Value = Vec<Side>> {
    prop::collection::vec((any_side(), any_side()), 1..4).prop_map(|pairs| {
        pairs.iter().map(|pair| pair.0.clone()).chain(pairs.iter().map(|pair| pair.1.clone())).collect()
    })
}

fn same(got: &Outcome, expected: &Outcome) {
    close("loss", &got.rows, &expected.rows, 1e-12);
    close("slopes", &got.slopes(), &expected.slopes(), 1e-12);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn eight_losses_are_dpo_with_their_option_off(sides in any_pairs(), beta in 0.01..1.0f64) {
        let given = Given {
            scores: vec![0.7; sides.len()],
            consistency: vec![1.0; sides.len() / 2],
            divergence: vec![0.3; sides.len()],
            credit: vec![0.2; sides.len()],
            ..Given::default()
        };
        let dpo = alone(made("dpo", &format!(r#"{{"beta": {beta}}}"#)).as_ref(), &sides);
        for (name, off) in [
            ("t-reg", r#", "alpha": 0"#),
            ("tdpo2", r#", "alpha": 0"#),
            ("cdpo", r#", "label_smoothing": 0"#),
            ("robust", r#", "label_smoothing": 0"#),
            ("cream", ""),
            ("mm-dpo", r#", "margin_weight": 0"#),
            // Scores that are equal: no margin.
            ("mm-dpo", r#", "margin_weight": 0.5"#),
            ("dpo", r#", "reference_weight": 1"#),
            ("dpo", r#", "ld_alpha": 1"#),
            ("dpo", r#", "f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 1"#),
        ] {
            same(&run(made(name, &format!(r#"{{"beta": {beta}{off}}}"#)).as_ref(), &sides, &given), &dpo);
        }
    }

    #[test]
    fn a_reference_of_weight_0_is_none(sides in any_pairs()) {
        let none = alone(made("dpo", r#"{"reference_weight": 0}"#).as_ref(), &sides);
        same(&none, &alone(made("dpo", r#"{"reference_free": true}"#).as_ref(), &sides));
        // And CPO without its likelihood.
        same(&none, &alone(made("cpo", r#"{"cpo_alpha": 0}"#).as_ref(), &sides));
    }

    #[test]
    fn simpo_of_equal_lengths_is_dpo_without_a_reference(logps in prop::collection::vec((-6.0..0.0f64, -6.0..0.0f64), 1..6), beta in 0.1..4.0f64) {
        let n = logps.len() as f64;
        let sides = [tokens(&logps.iter().map(|t| t.0).collect::<Vec<_>>()), tokens(&logps.iter().map(|t| t.1).collect::<Vec<_>>())];
        let simpo = alone(made("simpo", &format!(r#"{{"beta": {beta}, "simpo_gamma": 0}}"#)).as_ref(), &sides);
        same(&simpo, &alone(made("dpo", &format!(r#"{{"beta": {}, "reference_free": true}}"#, beta / n)).as_ref(), &sides));
        same(&simpo, &alone(made("cpo", &format!(r#"{{"beta": {}, "cpo_alpha": 0}}"#, beta / n)).as_ref(), &sides));
    }

    #[test]
    fn tokens_that_come_twice_change_no_mean(sides in any_pairs()) {
        let twice: Vec<Side> = sides.iter().map(|side| Side { logps: side.logps.repeat(2), refs: side.refs.repeat(2) }).collect();
        for name in ["simpo", "cpo-simpo", "orpo", "ipo"] {
            let objective = made(name, "{}");
            close(name, &alone(objective.as_ref(), &twice).rows, &alone(objective.as_ref(), &sides).rows, 1e-10);
        }
    }

    #[test]
    fn cpo_is_dpo_with_likelihood_under_a_constant_reference(sides in any_pairs(), reference in -9.0..0.0f64) {
        // A reference that gives both responses of a pair the same log-probability, at their first token.
        let constant: Vec<Side> = sides.iter().map(|side| {
            let mut refs = vec![0.0; side.logps.len()];
            refs[0] = reference;
            Side { logps: side.logps.clone(), refs }
        }).collect();
        let cpo = alone(made("cpo", "{}").as_ref(), &constant);
        let dpo = alone(made("dpo", "{}").as_ref(), &constant);
        let mean = |side: &Side| -side.logps.iter().sum::<f64>() / side.logps.len() as f64;
        let expected: Vec<f64> = dpo.rows.iter().zip(&constant).map(|(row, side)| row + mean(side)).collect();
        close("sum", &cpo.rows, &expected, 1e-10);
    }

    #[test]
    fn a_soft_label_is_least_where_the_margin_says_it(e in 0.01..0.49f64, beta in 0.05..1.0f64) {
        // sigmoid(beta D) = 1 - e.
        let margin = ((1.0 - e) / e).ln() / beta;
        let got = alone(made("dpo", &format!(r#"{{"beta": {beta}, "label_smoothing": {e}}}"#)).as_ref(), &[ratio(margin), ratio(0.0)]);
        close("slopes", &got.slopes(), &[0.0, 0.0], 1e-9);
    }

    #[test]
    fn robust_dpo_is_right_on_average(sides in any_pairs(), e in 0.0..0.45f64) {
        let n = sides.len() / 2;
        let flipped: Vec<Side> = sides[n..].iter().chain(&sides[..n]).cloned().collect();
        let objective = made("robust", &format!(r#"{{"label_smoothing": {e}}}"#));
        let (right, wrong) = (alone(objective.as_ref(), &sides).rows, alone(objective.as_ref(), &flipped).rows);
        let average: Vec<f64> = right.iter().zip(&wrong).map(|(right, wrong)| (1.0 - e) * right + e * wrong).collect();
        close("average", &average, &alone(made("dpo", "{}").as_ref(), &sides).rows, 1e-9);
    }

    #[test]
    fn a_window_of_one_pair_is_dpo(chosen in any_side(), rejected in any_side()) {
        let sides = [chosen, rejected];
        let dpo = alone(made("dpo", "{}").as_ref(), &sides);
        same(&alone(made("aot", "{}").as_ref(), &sides), &dpo);
        same(&alone(made("aot-unpaired", "{}").as_ref(), &sides), &dpo);
    }

    #[test]
    fn unpaired_transport_does_not_know_the_pairs(sides in any_pairs()) {
        let (n, objective) = (sides.len() / 2, made("aot-unpaired", "{}"));
        let turned: Vec<Side> = sides[..n].iter().rev().chain(&sides[n..]).cloned().collect();
        let sum = |sides: &[Side]| alone(objective.as_ref(), sides).rows.iter().sum::<f64>();
        close("sum", &[sum(&turned)], &[sum(&sides)], 1e-10);
    }

    #[test]
    fn divergences_agree_near_the_reference(sides in any_pairs()) {
        let near: Vec<Side> = sides.iter().map(|side| Side { logps: side.refs.clone(), refs: side.refs.clone() }).collect();
        let slopes = |divergence: &str| alone(made("dpo", &format!(r#"{{"f_divergence_type": "{divergence}"}}"#)).as_ref(), &near).slopes();
        let reverse = slopes("reverse_kl");
        close("forward", &slopes("forward_kl"), &reverse, 1e-12);
        close("alpha", &slopes("alpha_divergence"), &reverse, 1e-12);
        let halves: Vec<f64> = reverse.iter().map(|slope| slope / 2.0).collect();
        close("Jensen-Shannon", &slopes("js_divergence"), &halves, 1e-12);
        // The alpha divergence of order 0 is the forward one.
        let order = alone(made("dpo", r#"{"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 0}"#).as_ref(), &sides);
        let forward = alone(made("dpo", r#"{"f_divergence_type": "forward_kl"}"#).as_ref(), &sides);
        close("order 0", &order.rows, &forward.rows, 1e-9);
    }

    #[test]
    fn general_preferences_with_scores_of_rewards_regress_on_them(rewards in prop::collection::vec(-2.0..2.0f64, 2..5), beta in 0.1..1.0f64) {
        let table: Vec<Vec<f64>> = rewards.iter().map(|a| rewards.iter().map(|b| a - b).collect()).collect();
        let scores = mean_scores(&table).expect("skew-symmetric");
        let mean = rewards.iter().sum::<f64>() / rewards.len() as f64;
        close("centred", &scores, &rewards.iter().map(|r| r - mean).collect::<Vec<_>>(), 1e-12);
        close("they sum to 0", &[scores.iter().sum()], &[0.0], 1e-12);
        // At the target there is no loss.
        let sides = [ratio(scores[0] / beta), ratio(scores[1] / beta)];
        let given = Given { scores: scores[..2].to_vec(), ..Given::default() };
        close("loss", &run(made("gpo", &format!(r#"{{"beta": {beta}}}"#)).as_ref(), &sides, &given).rows, &[0.0], 1e-10);
    }
}

#[test]
fn exact_preferences_over_a_tree_of_tokens_bring_dpo_to_its_soft_optimum() {
    // Two tokens deep and two wide: node 0 is the root, node 1 + a stands behind token a, and path 2 a + b is (a, b).
    let edges = |path: usize| -> [(usize, usize); 2] { [(0, path / 2), (1 + path / 2, path % 2)] };
    let normalized = |logits: [f64; 2]| -> [f64; 2] {
        let all = (logits[0].exp() + logits[1].exp()).ln();
        logits.map(|logit| logit - all)
    };
    let reference: [[f64; 2]; 3] = [[0.3f64, -0.3], [1.0, 0.0], [-0.5, 0.2]].map(normalized);
    let (beta, rewards) = (0.5f64, [0.0f64, 1.0, 0.4, -0.8]);
    let path_logps = |table: &[[f64; 2]; 3], path: usize| -> Vec<f64> {
        edges(path).iter().map(|(node, token)| table[*node][*token]).collect()
    };
    let dpo = made("dpo", r#"{"beta": 0.5}"#);
    // Every pair of paths in both orders, each as often as raters who follow the rewards prefer it so.
    let pairs: Vec<(usize, usize)> =
        (0..4).flat_map(|one| (0..4).map(move |other| (one, other))).filter(|(one, other)| one != other).collect();
    let mut logits = reference;
    for _ in 0..200 {
        let policy = logits.map(normalized);
        let side = |path: usize| Side { logps: path_logps(&policy, path), refs: path_logps(&reference, path) };
        let mut sides: Vec<Side> = pairs.iter().map(|(chosen, _)| side(*chosen)).collect();
        sides.extend(pairs.iter().map(|(_, rejected)| side(*rejected)));
        let got = alone(dpo.as_ref(), &sides);
        let mut slopes = [[0.0f64; 2]; 3];
        for (at, (chosen, rejected)) in pairs.iter().enumerate() {
            let chance = sigmoid(rewards[*chosen] - rewards[*rejected]);
            for (row, path) in [(at, *chosen), (pairs.len() + at, *rejected)] {
                for ((node, token), slope) in edges(path).into_iter().zip(&got.gradients[row]) {
                    // Of a log-softmax: one for the token itself, less the share of each.
                    slopes[node][token] += chance * slope;
                    let shares = policy[node].map(f64::exp);
                    slopes[node].iter_mut().zip(shares).for_each(|(sum, share)| *sum -= chance * slope * share);
                }
            }
        }
        let flat = logits.iter_mut().flatten().zip(slopes.iter().flatten());
        flat.for_each(|(logit, slope)| *logit -= slope);
    }
    // pi*(y) = ref(y) exp(r(y) / beta) / Z: arXiv:2305.18290, eq. 4.
    let policy = logits.map(normalized);
    let sum = |table: &[[f64; 2]; 3], path: usize| -> f64 { path_logps(table, path).iter().sum() };
    let weights: Vec<f64> = (0..4).map(|path| sum(&reference, path).exp() * (rewards[path] / beta).exp()).collect();
    let all: f64 = weights.iter().sum();
    let expected: Vec<f64> = weights.iter().map(|weight| weight / all).collect();
    let found: Vec<f64> = (0..4).map(|path| sum(&policy, path).exp()).collect();
    close("pi*", &found, &expected, 1e-9);
    // The soft Bellman equation of each token: beta log(pi / ref) = r + V(next) - V(here), arXiv:2404.12358, section 4.
    let last = |node: usize| -> f64 {
        let soft = |token: usize| (reference[node][token] + rewards[2 * (node - 1) + token] / beta).exp();
        beta * (soft(0) + soft(1)).ln()
    };
    let root = beta * all.ln();
    for (path, reward) in rewards.iter().enumerate() {
        let [(_, first), (node, second)] = edges(path);
        let credit =
            [beta * (policy[0][first] - reference[0][first]), beta * (policy[node][second] - reference[node][second])];
        close("tokens", &credit, &[last(node) - root, reward - last(node)], 1e-9);
    }
}
