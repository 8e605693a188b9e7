//! What every policy loss keeps, whatever the numbers are: so a new row of the table is tested on arrival.

use ascribe_core::tensor::{KlEstimator, KlGradient, Mask};
use ascribe_core::{LogpBatch, Objective, RowKind, TokenInput};
use ascribe_preference::rl::{
    Aggregation, ESTIMATORS, EstimatorOptions, POLICY_LOSSES, PolicyOptions, ScaleRewards, ValueTerm,
};
use ascribe_testkit::device::{device, floats, values};
use ascribe_testkit::golden::close;
use burn::tensor::{DType, Tensor};
use proptest::prelude::*;

/// What is known of one token.
#[derive(Clone, Copy, Debug)]
struct Token {
    logp: f64,
    old: f64,
    reference: f64,
    entropy: f64,
    value: f64,
    old_value: f64,
    wanted: f64,
    weight: f64,
}

#[derive(Clone, Debug)]
struct Row {
    tokens: Vec<Token>,
    advantage: f64,
}

/// The losses of rows, their weights, and gradients with respect to log-probabilities, entropies and values.
struct Outcome {
    rows: Vec<f64>,
    weights: Vec<f64>,
    /// Of the summed loss, for each token of each row.
    gradients: [Vec<f64>; 3],
    ratios: Vec<f64>,
}

impl Outcome {
    fn mean(&self) -> f64 {
        self.rows.iter().sum::<f64>() / self.weights.iter().sum::<f64>()
    }
}

/// A batch of rows padded by `extra` more tokens, of numbers that must not matter, and what has a gradient in it.
fn batch(rows: &[Row], extra: usize) -> (LogpBatch, [Tensor<2>; 3]) {
    let device = device().autodiff();
    let longest = rows.iter().map(|row| row.tokens.len()).max().unwrap_or(0) + extra;
    let padded = |of: &dyn Fn(&Row, &Token) -> f64, padding: f64| {
        let flat: Vec<f64> = rows
            .iter()
            .flat_map(|row| {
                let own: Vec<f64> = row.tokens.iter().map(|token| of(row, token)).collect();
                own.into_iter().chain(std::iter::repeat(padding)).take(longest)
            })
            .collect();
        floats::<2>(&flat, [rows.len(), longest], &device, DType::F64)
    };
    let flags: Vec<Vec<bool>> = rows.iter().map(|row| (0..longest).map(|at| at < row.tokens.len()).collect()).collect();
    let tracked = [
        padded(&|_, token| token.logp, -50.0).require_grad(),
        padded(&|_, token| token.entropy, 9.0).require_grad(),
        padded(&|_, token| token.value, 7.0).require_grad(),
    ];
    let [logps, entropies, of_states] = &tracked;
    let batch = LogpBatch::new(RowKind::Single, logps.clone(), Mask::from_rows(&flags, &device))
        .and_then(|batch| batch.with_credit(padded(&|row, _| row.advantage, 3.0)))
        .and_then(|batch| batch.with_ref_logps(padded(&|_, token| token.reference, -20.0)))
        .and_then(|batch| batch.with_tokens(TokenInput::OldLogps, padded(&|_, token| token.old, -1.0)))
        .and_then(|batch| batch.with_tokens(TokenInput::DrawnLogps, padded(&|_, token| token.old, -1.0)))
        .and_then(|batch| batch.with_tokens(TokenInput::Weights, padded(&|_, token| token.weight, 5.0)))
        .and_then(|batch| batch.with_tokens(TokenInput::Pull, padded(&|_, token| token.weight, 6.0)))
        .and_then(|batch| batch.with_tokens(TokenInput::Entropy, entropies.clone()))
        .and_then(|batch| batch.with_tokens(TokenInput::Values, of_states.clone()))
        .and_then(|batch| batch.with_tokens(TokenInput::OldValues, padded(&|_, token| token.old_value, 1.0)))
        .and_then(|batch| batch.with_tokens(TokenInput::Returns, padded(&|_, token| token.wanted, 2.0)))
        .expect("the shapes agree");
    (batch, tracked)
}

fn run(objective: &dyn Objective, rows: &[Row], extra: usize) -> Outcome {
    run_beside(objective, rows, rows, extra)
}

/// The same where what has no gradient is that of the rows `still`.
fn run_beside(objective: &dyn Objective, rows: &[Row], still: &[Row], extra: usize) -> Outcome {
    let longest = rows.iter().map(|row| row.tokens.len()).max().unwrap_or(0) + extra;
    let (batch, tracked) = batch(rows, extra);
    let [logps, entropies, of_states] = &tracked;
    let batch = batch.with_frozen(self::batch(still, extra).0);
    let loss = objective.loss(&batch).expect("the batch has everything");
    let grads = loss.rows.clone().sum().backward();
    let gradient = |tensor: &Tensor<2>| -> Vec<f64> {
        let Some(gradient) = tensor.grad(&grads) else { return Vec::new() };
        let flat = values(gradient);
        let mut kept = Vec::new();
        for (row, own) in rows.iter().zip(flat.chunks(longest)) {
            let (real, padding) = own.split_at(row.tokens.len());
            assert!(padding.iter().all(|x| *x == 0.0), "padding has a gradient");
            kept.extend_from_slice(real);
        }
        kept
    };
    let ratios = loss.stats.iter().find(|(name, _)| *name == "ratio").expect("ratios are logged").1.clone();
    Outcome {
        rows: values(loss.rows.clone()),
        weights: values(loss.weights.clone()),
        gradients: [gradient(logps), gradient(entropies), gradient(of_states)],
        ratios: values(ratios),
    }
}

fn token() -> impl Strategy<Value = Token> {
    let near = -0.4..0.4f64;
    (-4.0..-0.1f64, near.clone(), near.clone(), 0.1..2.0f64, -1.0..1.0f64, near.clone(), -2.0..2.0f64, 0.2..1.5f64)
        .prop_map(|(logp, old, reference, entropy, value, old_value, wanted, weight)| Token {
            logp,
            old: logp + old,
            reference: logp + reference,
            entropy,
            value,
            old_value: value + old_value,
            wanted,
            weight,
        })
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let row = (prop::collection::vec(token(), 1..5), -2.0..2.0f64);
    prop::collection::vec(row.prop_map(|(tokens, advantage)| Row { tokens, advantage }), 1..4)
}

/// Every loss of the table by itself, and with everything that can be added to it.
fn losses() -> Vec<(String, Box<dyn Objective>)> {
    let plain = PolicyOptions { max_completion_length: 6, ..PolicyOptions::default() };
    let all = PolicyOptions {
        beta: 0.3,
        entropy_coef: 0.2,
        weighted: true,
        pull: true,
        value: Some(ValueTerm { coef: 0.7, clip: Some(0.2) }),
        dual_clip: Some(1.5),
        delta: Some(1.3),
        ..plain
    };
    let unbiased = PolicyOptions { beta: 0.2, kl: KlEstimator::K1, kl_gradient: KlGradient::Unbiased, ..plain };
    let squared = PolicyOptions { beta: 0.2, kl: KlEstimator::K2, ..plain };
    let variants = [("plain", plain), ("all", all), ("unbiased", unbiased), ("squared", squared)];
    let made = |(name, _, make): &(&str, Aggregation, ascribe_preference::rl::MakePolicyLoss)| {
        variants
            .iter()
            .map(|(variant, options)| (format!("{name}, {variant}"), make(options).expect("sound options")))
            .collect::<Vec<_>>()
    };
    POLICY_LOSSES.iter().flat_map(made).collect()
}

#[test]
fn the_default_aggregations_stand_in_the_table() {
    let options = PolicyOptions { max_completion_length: 4, ..PolicyOptions::default() };
    let token = Token {
        logp: -1.0,
        old: -1.0,
        reference: -1.0,
        entropy: 1.0,
        value: 0.0,
        old_value: 0.0,
        wanted: 0.0,
        weight: 1.0,
    };
    // At a ratio of 1 a clipped loss of three tokens with an advantage of 2 sums up to -6.
    let rows = [Row { tokens: vec![token; 3], advantage: 2.0 }];
    for (name, mode, make) in POLICY_LOSSES {
        if matches!(name, "reinforce" | "gpg" | "cispo" | "vespo" | "oreal") {
            // Of log-probabilities of -1: the same with the other sign.
            assert_eq!(mode, Aggregation::TokenMean, "{name}");
            continue;
        }
        let got = run(make(&options).expect("sound options").as_ref(), &rows, 0);
        let expected = match mode {
            Aggregation::TokenMean => (-6.0, 3.0),
            Aggregation::SeqMeanTokenMean => (-2.0, 1.0),
            Aggregation::SeqMeanTokenSum => (-6.0, 1.0),
            Aggregation::SeqMeanTokenSumNorm => (-1.5, 1.0),
        };
        // Soft gates: 4 sigmoid(0) / 1 = 2 in place of 1.
        let scale = if name == "sapo" { 2.0 } else { 1.0 };
        close(name, &got.rows, &[expected.0 * scale], 1e-12);
        close(name, &got.weights, &[expected.1], 0.0);
    }
}

#[test]
fn options_out_of_range_are_refused() {
    let plain = PolicyOptions::default();
    for options in [
        PolicyOptions { epsilon: 0.0, ..plain },
        PolicyOptions { epsilon: f64::NAN, ..plain },
        PolicyOptions { epsilon_high: Some(-0.1), ..plain },
        PolicyOptions { beta: -0.1, ..plain },
        PolicyOptions { beta: f64::INFINITY, ..plain },
        PolicyOptions { entropy_coef: f64::NAN, ..plain },
        PolicyOptions { dual_clip: Some(1.0), ..plain },
        PolicyOptions { delta: Some(0.0), ..plain },
        PolicyOptions { max_completion_length: 0, ..plain },
        PolicyOptions { value: Some(ValueTerm { coef: -1.0, clip: None }), ..plain },
    ] {
        let (_, _, make) = POLICY_LOSSES[0];
        assert!(make(&options).is_err(), "{options:?}");
    }
    let estimators = EstimatorOptions::default();
    for options in [
        EstimatorOptions { gamma: 1.1, ..estimators },
        EstimatorOptions { lambda: f64::NAN, ..estimators },
        EstimatorOptions { epsilon: -1.0, ..estimators },
        EstimatorOptions { whiten_epsilon: f64::NAN, ..estimators },
    ] {
        for (name, make) in ESTIMATORS {
            let without_options = ["own_step", "leave_one_step_out", "raft", "oreal", "oreo", "brain"].contains(&name);
            assert_eq!(make(&options).is_err(), !without_options, "{name}: {options:?}");
        }
    }
    for wrong in [-0.5, f64::NAN] {
        for options in [
            EstimatorOptions { oreal_positive: wrong, ..estimators },
            EstimatorOptions { oreal_negative: wrong, ..estimators },
        ] {
            for (name, make) in ESTIMATORS {
                assert_eq!(make(&options).is_err(), name == "oreal", "{name}: {options:?}");
            }
        }
    }
    for (name, make) in ESTIMATORS {
        assert!(make(&EstimatorOptions { scale_rewards: ScaleRewards::None, ..estimators }).is_ok(), "{name}");
    }
    assert!("token_mean".parse::<Aggregation>().is_err());
    for mode in Aggregation::ALL {
        assert_eq!(mode.to_string().parse::<Aggregation>().expect("its own name"), mode);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn gradients_are_central_differences(rows in rows()) {
        const STEP: f64 = 1e-6;
        for (name, objective) in losses() {
            let got = run(objective.as_ref(), &rows, 0);
            let sum = |moved: &[Row]| run_beside(objective.as_ref(), moved, &rows, 0).rows.iter().sum::<f64>();
            let mut at = 0;
            for (row, own) in rows.iter().enumerate() {
                for token in 0..own.tokens.len() {
                    for (input, gradients) in got.gradients.iter().enumerate() {
                        let Some(gradient) = gradients.get(at) else { continue };
                        let moved = |by: f64| {
                            let mut rows = rows.clone();
                            let token = &mut rows[row].tokens[token];
                            match input {
                                0 => token.logp += by,
                                1 => token.entropy += by,
                                _ => token.value += by,
                            }
                            sum(&rows)
                        };
                        let (above, below, here) = (moved(STEP), moved(-STEP), sum(&rows));
                        // At a kink the two sides differ, and either is right.
                        let (right, left) = ((above - here) / STEP, (here - below) / STEP);
                        let (low, high) = (right.min(left) - 1e-4, right.max(left) + 1e-4);
                        prop_assert!(
                            (low..=high).contains(gradient),
                            "{}: input {} of token {} of row {}: {} outside {}..{}", name, input, token, row, gradient, low, high
                        );
                    }
                    at += 1;
                }
            }
        }
    }

    #[test]
    fn padding_never_changes_a_loss(rows in rows(), extra in 1usize..4) {
        for (name, objective) in losses() {
            let (plain, padded) = (run(objective.as_ref(), &rows, 0), run(objective.as_ref(), &rows, extra));
            close(&name, &padded.rows, &plain.rows, 1e-12);
            close(&name, &padded.weights, &plain.weights, 0.0);
            for (padded, plain) in padded.gradients.iter().zip(&plain.gradients) {
                close(&name, padded, plain, 1e-12);
            }
        }
    }

    #[test]
    fn rows_stand_alone_so_the_split_of_a_window_changes_nothing(rows in rows()) {
        for (name, objective) in losses() {
            let whole = run(objective.as_ref(), &rows, 0);
            let apart: Vec<Outcome> = rows.iter().map(|row| run(objective.as_ref(), std::slice::from_ref(row), 0)).collect();
            close(&name, &apart.iter().flat_map(|one| one.rows.clone()).collect::<Vec<_>>(), &whole.rows, 1e-12);
            close(&name, &apart.iter().flat_map(|one| one.weights.clone()).collect::<Vec<_>>(), &whole.weights, 0.0);
            for input in 0..3 {
                let got: Vec<f64> = apart.iter().flat_map(|one| one.gradients[input].clone()).collect();
                close(&name, &got, &whole.gradients[input], 1e-12);
            }
        }
    }

    #[test]
    fn at_step_zero_every_ratio_is_one_and_a_clipped_loss_is_reinforce(mut rows in rows()) {
        for token in rows.iter_mut().flat_map(|row| &mut row.tokens) {
            token.old = token.logp;
        }
        let options = PolicyOptions { max_completion_length: 6, loss_agg_mode: Some(Aggregation::TokenMean), ..PolicyOptions::default() };
        for (name, _, make) in POLICY_LOSSES {
            let got = run(make(&options).expect("sound options").as_ref(), &rows, 0);
            close(name, &got.ratios, &vec![1.0; rows.len()], 0.0);
            if matches!(name, "ppo" | "grpo" | "bnpo" | "dapo" | "dr_grpo" | "gspo" | "luspo" | "cispo" | "reinforce" | "gpg" | "oreal") {
                let expected: Vec<f64> = rows.iter().flat_map(|row| vec![-row.advantage; row.tokens.len()]).collect();
                close(name, &got.gradients[0], &expected, 1e-9);
            }
        }
    }

    #[test]
    fn inside_the_band_clipping_does_nothing(rows in rows()) {
        let loose = PolicyOptions { epsilon: 1.0, epsilon_high: Some(1e3), ..PolicyOptions::default() };
        let looser = PolicyOptions { epsilon: 1.0, epsilon_high: Some(1e5), ..PolicyOptions::default() };
        for (name, _, make) in POLICY_LOSSES.into_iter().filter(|(name, ..)| !matches!(*name, "gmpo")) {
            let one = run(make(&loose).expect("sound options").as_ref(), &rows, 0).mean();
            let other = run(make(&looser).expect("sound options").as_ref(), &rows, 0).mean();
            close(name, &[one], &[other], 1e-12);
        }
    }
}

#[test]
fn a_strong_pull_pins_first_attempts_to_the_reference() {
    // SCoRe's stage I over one table of three responses of a token, from which both attempts are drawn. All of them stand
    // in the window and count by their chances: first attempts earn nothing and are pulled, second ones earn r and are not.
    // What is least is -E r + b KL(pi || ref), at ref exp(r / b) / Z; with b to infinity that is the reference.
    let (reference, rewards) = ([0.5f64, 0.3, 0.2], [0.0f64, 1.0, 0.25]);
    let chances = |logits: &[f64; 3]| -> [f64; 3] {
        let all: f64 = logits.iter().map(|logit| logit.exp()).sum();
        logits.map(|logit| logit.exp() / all)
    };
    let mut apart = Vec::new();
    for strength in [1.0f64, 10.0, 1000.0] {
        let options = PolicyOptions { beta: strength, kl: KlEstimator::K2, pull: true, ..PolicyOptions::default() };
        let (_, _, make) = POLICY_LOSSES.iter().find(|(name, ..)| *name == "reinforce").expect("it is in the table");
        let objective = make(&options).expect("sound options");
        let mut logits = [0.0f64; 3];
        for _ in 0..200 {
            let now = chances(&logits);
            let row = |at: usize, pull: f64, advantage: f64| -> Row {
                let token = Token {
                    logp: now[at].ln(),
                    old: now[at].ln(),
                    reference: reference[at].ln(),
                    entropy: 0.0,
                    value: 0.0,
                    old_value: 0.0,
                    wanted: 0.0,
                    weight: pull,
                };
                Row { tokens: vec![token], advantage }
            };
            let mut rows: Vec<Row> = (0..3).map(|at| row(at, 1.0, 0.0)).collect();
            rows.extend((0..3).map(|at| row(at, 0.0, rewards[at])));
            let [slopes, ..] = run(objective.as_ref(), &rows, 0).gradients;
            assert_eq!(slopes.len(), 6);
            for (at, slope) in slopes.iter().enumerate() {
                // Of a log-softmax, times the chance of the response.
                let step = 2.0 / strength * now[at % 3] * slope;
                logits[at % 3] -= step;
                logits.iter_mut().zip(now).for_each(|(logit, share)| *logit += step * share);
            }
        }
        let weights: Vec<f64> =
            reference.iter().zip(rewards).map(|(chance, r)| chance * (r / strength).exp()).collect();
        let all: f64 = weights.iter().sum();
        let expected: Vec<f64> = weights.iter().map(|weight| weight / all).collect();
        close("the policy", &chances(&logits), &expected, 1e-9);
        let moved = chances(&logits).iter().zip(reference).map(|(one, other)| (one - other).abs()).fold(0.0, f64::max);
        apart.push(moved);
    }
    assert!(apart[0] > 0.2 && apart[1] < 0.02 && apart[2] < 2e-4, "{apart:?}");
}

#[test]
fn exponents_that_are_cut_are_counted() {
    let token = |logp: f64, reference: f64| Token {
        logp,
        old: logp,
        reference,
        entropy: 1.0,
        value: 0.0,
        old_value: 0.0,
        wanted: 0.0,
        weight: 1.0,
    };
    // Log-ratios of -29, 19 and 21 in the first row: two beyond 20. What pads the second one counts nothing.
    let rows = [
        Row { tokens: vec![token(-30.0, -1.0), token(-1.0, -20.0), token(-1.0, -22.0)], advantage: 1.0 },
        Row { tokens: vec![token(-1.0, -1.5)], advantage: -1.0 },
    ];
    for (kl, expected) in [(KlEstimator::K3, Some(vec![2.0, 0.0])), (KlEstimator::K1, None), (KlEstimator::K2, None)] {
        let options = PolicyOptions { beta: 0.1, kl, ..PolicyOptions::default() };
        for (name, _, make) in POLICY_LOSSES.iter().filter(|(name, ..)| matches!(*name, "grpo" | "oreal")) {
            let objective = make(&options).expect("sound options");
            let given = batch(&rows, 1).0.with_frozen(batch(&rows, 1).0);
            let loss = objective.loss(&given).expect("the batch has everything");
            let counted =
                loss.stats.iter().find(|(known, _)| *known == "kl/cut").map(|(_, count)| values(count.clone()));
            assert_eq!(counted, expected, "{name} by {kl:?}");
        }
    }
}
