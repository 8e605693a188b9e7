//! What the losses must satisfy whatever the numbers are. Expected values are worked by hand or on the host in f64.

use ascribe_core::tensor::{Mask, token_logps};
use ascribe_core::{
    Continuation, CreditAssigner, Episode, Evidence, LogpBatch, Loss, Objective, Policy, RowKind, Seed,
};
use ascribe_lm::{Decoder, DecoderConfig, LocalPolicy, RandomWeights, Row};
use ascribe_preference::objectives::{
    Apo, ApoConfig, Dpo, DpoConfig, Ipo, IpoConfig, KtoConfig, RegTokens, RegWeight, Scoring, Sft, TReg, TRegConfig,
    TokenCredit,
};
use ascribe_preference::{
    ContrastReward, LogpCache, LogpLearner, PreferenceError, Response, RevisedPrompts, TrainRow, reference_logps,
    self_test, token_rewards,
};
use ascribe_testkit::device::{device, floats, integers, values};
use ascribe_testkit::golden::close;
use ascribe_train::{Learner, Tally, evaluate};
use burn::module::Module;
use burn::tensor::{DType, Tensor};
use proptest::prelude::*;

/// One response: log-probabilities under the policy and the reference, and a credit, for each token.
#[derive(Clone, Debug, Default)]
struct Side {
    logps: Vec<f64>,
    refs: Vec<f64>,
    credit: Vec<f64>,
}

impl Side {
    fn h(&self) -> f64 {
        self.logps.iter().sum::<f64>() - self.refs.iter().sum::<f64>()
    }
}

#[derive(Clone, Debug)]
struct Pair {
    chosen: Side,
    rejected: Side,
}

impl Pair {
    fn delta(&self) -> f64 {
        self.chosen.h() - self.rejected.h()
    }
    fn sides(&self) -> [&Side; 2] {
        [&self.chosen, &self.rejected]
    }
    fn swapped(&self) -> Self {
        Self { chosen: self.rejected.clone(), rejected: self.chosen.clone() }
    }
    fn with_credit(&self, chosen: f64, rejected: f64) -> Self {
        let mut pair = self.clone();
        pair.chosen.credit.fill(chosen);
        pair.rejected.credit.fill(rejected);
        pair
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `-log sigmoid(x)` without overflow.
fn softplus_neg(x: f64) -> f64 {
    (-x).max(0.0) + (-x.abs()).exp().ln_1p()
}

struct Outcome {
    loss: Loss,
    rows: Vec<f64>,
    /// Gradient of the summed loss for each token of each side of each pair.
    gradients: Vec<[Vec<f64>; 2]>,
}

impl Outcome {
    fn stat(&self, name: &str) -> Vec<f64> {
        let found = self.loss.stats.iter().find(|(known, _)| *known == name);
        values(found.unwrap_or_else(|| panic!("no statistic {name}")).1.clone())
    }
}

/// Rows are padded to `width` (at least the longest) with numbers that must not matter.
fn run_at(objective: &dyn Objective, pairs: &[Pair], dtype: DType, extra: usize) -> Outcome {
    let device = device().autodiff();
    let sides: Vec<&Side> = (0..2).flat_map(|side| pairs.iter().map(move |pair| pair.sides()[side])).collect();
    let longest = sides.iter().map(|side| side.logps.len()).max().unwrap_or(0) + extra;
    let padded = |of: fn(&Side) -> &Vec<f64>, padding: f64| {
        let flat: Vec<f64> = sides
            .iter()
            .flat_map(|side| of(side).iter().copied().chain(std::iter::repeat(padding)).take(longest))
            .collect();
        floats(&flat, [sides.len(), longest], &device, dtype)
    };
    let flags: Vec<Vec<bool>> =
        sides.iter().map(|side| (0..longest).map(|at| at < side.logps.len()).collect()).collect();
    let policy = padded(|side| &side.logps, -77.0).require_grad();
    let mut batch =
        LogpBatch::new(RowKind::Pairs, policy.clone(), Mask::from_rows(&flags, &device)).expect("even rows");
    let needs = objective.needs();
    if needs.ref_logps {
        batch = batch.with_ref_logps(padded(|side| &side.refs, -33.0)).expect("same shape");
    }
    if needs.credit {
        batch = batch.with_credit(padded(|side| &side.credit, 0.4)).expect("same shape");
    }
    let loss = objective.loss(&batch).expect("the batch has what is needed");
    let grads = loss.rows.clone().sum().backward();
    let flat = values(policy.grad(&grads).expect("tracked"));
    let of = |row: usize| flat[row * longest..(row + 1) * longest].to_vec();
    let cut = |pair: usize| {
        [0, 1].map(|side| {
            let (row, n) = (of(side * pairs.len() + pair), pairs[pair].sides()[side].logps.len());
            assert!(row[n..].iter().all(|x| *x == 0.0), "padding has a gradient");
            row[..n].to_vec()
        })
    };
    let gradients = (0..pairs.len()).map(cut).collect();
    Outcome { rows: values(loss.rows.clone()), loss, gradients }
}

fn run(objective: &dyn Objective, pairs: &[Pair]) -> Outcome {
    run_at(objective, pairs, DType::F64, 0)
}

fn dpo(beta: f64) -> Dpo {
    DpoConfig { beta, ..DpoConfig::default() }.init().expect("sound options")
}

fn ipo(beta: f64, length_normalized: bool) -> Ipo {
    IpoConfig { beta, length_normalized, ..IpoConfig::default() }.init().expect("sound options")
}

fn apo_zero(beta: f64) -> Apo {
    ApoConfig { beta, ..ApoConfig::default() }.init().expect("sound options")
}

fn reference_free(beta: f64) -> Dpo {
    let scoring = Scoring { reference_free: true, ..Scoring::default() };
    DpoConfig { beta, scoring, ..DpoConfig::default() }.init().expect("sound options")
}

fn t_reg(config: TRegConfig) -> TReg {
    config.init().expect("sound options")
}

fn flat(gradients: &[[Vec<f64>; 2]]) -> Vec<f64> {
    gradients.iter().flatten().flatten().copied().collect()
}

fn bits(values: &[f64]) -> Vec<u64> {
    // +0 and -0 are the same gradient.
    values.iter().map(|x| (x + 0.0).to_bits()).collect()
}

fn side() -> impl Strategy<Value = Side> {
    prop::collection::vec((-6.0..0.0f64, -6.0..0.0f64, -0.5..0.5f64), 1..6).prop_map(|tokens| Side {
        logps: tokens.iter().map(|token| token.0).collect(),
        refs: tokens.iter().map(|token| token.1).collect(),
        credit: tokens.iter().map(|token| token.2).collect(),
    })
}

fn pair() -> impl Strategy<Value = Pair> {
    (side(), side()).prop_map(|(chosen, rejected)| Pair { chosen, rejected })
}

fn pairs() -> impl Strategy<Value = Vec<Pair>> {
    prop::collection::vec(pair(), 1..5)
}

fn one(logp: f64, reference: f64) -> Side {
    Side { logps: vec![logp], refs: vec![reference], credit: vec![0.0] }
}

#[test]
fn dpo_by_hand() {
    // beta 0.1: margins 8 and -3.
    let pairs = [
        Pair { chosen: one(-1.0, -7.0), rejected: one(-5.0, -3.0) },
        Pair { chosen: one(-5.0, -4.0), rejected: one(-2.0, -4.0) },
    ];
    let got = run(&dpo(0.1), &pairs);
    close("loss", &got.rows, &[0.371101, 0.854355], 5e-7);
    close("margins", &got.stat("rewards/margins"), &[0.8, -0.3], 1e-12);
    close("accuracy", &got.stat("rewards/accuracies"), &[1.0, 0.0], 0.0);
    close("displacement", &got.stat("logps/chosen_displacement"), &[6.0, -1.0], 1e-12);
}

#[test]
fn ipo_by_hand() {
    let pairs = [
        Pair { chosen: one(-1.0, -7.0), rejected: one(-5.0, -3.0) },
        Pair { chosen: one(-5.0, -4.0), rejected: one(-2.0, -4.0) },
    ];
    // The margin that is wanted is 5: (8 - 5)^2 and (-3 - 5)^2; with one token each the two forms are the same.
    for length_normalized in [false, true] {
        let got = run(&ipo(0.1, length_normalized), &pairs);
        close("loss", &got.rows, &[9.0, 64.0], 1e-12);
        // Past the margin the chosen response is held back.
        close("gradient", &flat(&got.gradients), &[6.0, -6.0, -16.0, 16.0], 1e-12);
        close("rewards", &got.stat("rewards/chosen"), &[0.6, -0.1], 1e-12);
    }
    // Log-ratios 6 over two tokens and 1 over one, and a wanted margin of 1: (3 - 1 - 1)^2, or (6 - 1 - 1)^2 over sums.
    let chosen = Side { logps: vec![-1.0, -2.0], refs: vec![-5.0, -4.0], credit: vec![0.0; 2] };
    let pair = [Pair { chosen, rejected: one(-1.0, -2.0) }];
    let got = run(&ipo(0.5, true), &pair);
    close("mean", &got.rows, &[1.0], 1e-12);
    close("mean", &flat(&got.gradients), &[1.0, 1.0, -2.0], 1e-12);
    close("sum", &run(&ipo(0.5, false), &pair).rows, &[16.0], 1e-12);
}

#[test]
fn apo_zero_by_hand() {
    // Rewards ln 3 and -ln 3: 1 - 3/4 + 1/4. Rewards 0: 1 - 1/2 + 1/2.
    let three = 3.0f64.ln();
    let pairs = [
        Pair { chosen: one(-1.0, -1.0 - 2.0 * three), rejected: one(-1.0 - 2.0 * three, -1.0) },
        Pair { chosen: one(-2.0, -2.0), rejected: one(-3.0, -3.0) },
    ];
    let got = run(&apo_zero(0.5), &pairs);
    close("loss", &got.rows, &[0.5, 1.0], 1e-12);
    // beta s (1 - s) on each side by itself: 3/16 and 1/4, halved.
    close("gradient", &flat(&got.gradients), &[-3.0 / 32.0, 3.0 / 32.0, -0.125, 0.125], 1e-12);
    close("margins", &got.stat("rewards/margins"), &[2.0 * three, 0.0], 1e-12);
}

#[test]
fn t_reg_by_hand() {
    // The credit of each token is sigmoid(log-ratio of the evaluator) - 1/2.
    let credit = |ratios: [f64; 2]| ratios.map(|ratio| sigmoid(ratio) - 0.5).to_vec();
    let pair = Pair {
        chosen: Side { logps: vec![-1.0, -2.0], refs: vec![-1.2, -1.8], credit: credit([1.0, -0.4]) },
        rejected: Side { logps: vec![-0.5, -3.0], refs: vec![-0.7, -2.0], credit: credit([-2.0, 0.3]) },
    };
    close("credit", &pair.chosen.credit, &[0.231059, -0.098688], 5e-7);
    close("credit", &pair.rejected.credit, &[-0.380797, 0.074443], 5e-7);
    let config = TRegConfig { beta: 0.1, alpha: 0.25, ..TRegConfig::default() };
    let got = run(&t_reg(config), std::slice::from_ref(&pair));
    close("weight", &got.stat("t_reg/weight"), &[0.480011], 5e-7);
    close("DPO", &run(&dpo(0.1), std::slice::from_ref(&pair)).rows, &[0.653947], 5e-7);
    close("regulariser", &got.stat("t_reg/regulariser"), &[0.00336833 + 0.00329290], 1e-8);
    close("loss", &got.rows, &[0.654746], 5e-7);
    close("lowest", &got.stat("logps/min_chosen_token"), &[-2.0], 0.0);

    // The switches, from the same numbers.
    let reg = |config: TRegConfig| run(&t_reg(config), std::slice::from_ref(&pair)).stat("t_reg/regulariser")[0];
    close("chosen", &[reg(TRegConfig { tokens: RegTokens::Chosen, ..config })], &[0.00336833], 1e-8);
    close("rejected", &[reg(TRegConfig { tokens: RegTokens::Rejected, ..config })], &[0.00329290], 1e-8);
    // Credit 1/2 on the chosen response: -0.1 * 0.5 * (-1 - 2).
    close("sft", &[reg(TRegConfig { credit: TokenCredit::SftOnChosen, ..config })], &[0.15], 1e-12);
    let fixed = run(&t_reg(TRegConfig { weight: RegWeight::Static, ..config }), std::slice::from_ref(&pair));
    close("static weight", &fixed.stat("t_reg/weight"), &[1.0], 0.0);
    close("static loss", &fixed.rows, &[0.653947 + 0.25 * 0.00666123], 5e-7);
}

#[test]
fn sft_by_hand() {
    let device = device().autodiff();
    let logps = floats(&[-1.0, -2.0, -9.0, -4.0, -9.0, -9.0], [2, 3], &device, DType::F64).require_grad();
    let mask = Mask::from_rows(&[vec![true, true, false], vec![true, false, false]], &device);
    let batch = LogpBatch::new(RowKind::Single, logps.clone(), mask).expect("the shapes agree");
    let loss = Sft.loss(&batch).expect("nothing more is needed");
    close("rows", &values(loss.rows.clone()), &[3.0, 4.0], 0.0);
    close("weights", &values(loss.weights.clone()), &[2.0, 1.0], 0.0);
    // A mean over all three tokens, not a mean of two means.
    close("mean", &values(loss.mean()), &[7.0 / 3.0], 1e-12);
    let grads = loss.mean().backward();
    let third = -1.0 / 3.0;
    let gradient = values(logps.grad(&grads).expect("tracked"));
    close("gradient", &gradient, &[third, third, 0.0, third, 0.0, 0.0], 1e-12);
}

#[test]
fn what_an_objective_needs_must_be_there() {
    let device = device();
    let logps = || floats(&[-1.0, -2.0], [2, 1], &device, DType::F32);
    let mask = || Mask::from_rows(&[vec![true], vec![true]], &device);
    let batch = LogpBatch::new(RowKind::Pairs, logps(), mask()).expect("even rows");
    assert!(dpo(0.1).loss(&batch).is_err(), "no reference");
    assert!(reference_free(0.1).loss(&batch).is_ok());
    let batch = batch.with_ref_logps(logps()).expect("same shape");
    assert!(dpo(0.1).loss(&batch).is_ok());
    assert!(t_reg(TRegConfig::default()).loss(&batch).is_err(), "no credit");
    assert!(t_reg(TRegConfig { credit: TokenCredit::SftOnChosen, ..TRegConfig::default() }).loss(&batch).is_ok());
    let single = LogpBatch::new(RowKind::Single, logps(), mask()).expect("the shapes agree");
    assert!(dpo(0.1).loss(&single).is_err(), "no pairs");
    assert!(ipo(0.1, true).loss(&single).is_err() && apo_zero(0.1).loss(&single).is_err(), "no pairs");
    let odd = floats(&[-1.0, -2.0, -3.0], [3, 1], &device, DType::F32);
    let flags = Mask::from_rows(&[[true], [true], [true]], &device);
    assert!(LogpBatch::new(RowKind::Pairs, odd, flags).is_err(), "odd rows");
}

#[test]
fn huge_margins_give_no_nan() {
    for beta_delta in [-1e3, -500.0, -100.0, 0.0, 100.0, 500.0, 1e3] {
        for dtype in [DType::F32, DType::F64] {
            let pair = Pair { chosen: one(0.0, 0.0), rejected: one(-beta_delta * 10.0, 0.0) }.with_credit(0.5, -0.5);
            let config = TRegConfig { beta: 0.1, alpha: 0.5, ..TRegConfig::default() };
            for objective in [&dpo(0.1) as &dyn Objective, &ipo(0.1, true), &apo_zero(0.1), &t_reg(config)] {
                let got = run_at(objective, std::slice::from_ref(&pair), dtype, 0);
                assert!(got.rows.iter().chain(&flat(&got.gradients)).all(|x| x.is_finite()), "{beta_delta} {dtype:?}");
            }
            let got = run_at(&dpo(0.1), std::slice::from_ref(&pair), dtype, 0);
            close("loss", &got.rows, &[softplus_neg(beta_delta)], 1e-6);
            close("gradient", &got.gradients[0][0], &[-0.1 * sigmoid(-beta_delta)], 1e-6);
        }
    }
}

#[test]
fn a_masked_infinity_changes_nothing() {
    // A log-probability of -inf outside the response meets neither loss nor gradient.
    let device = device().autodiff();
    let inf = f64::NEG_INFINITY;
    let row = |values: &[f64]| floats(values, [2, 2], &device, DType::F32);
    let logps = row(&[-1.0, inf, -2.0, inf]).require_grad();
    let mask = Mask::from_rows(&[[true, false], [true, false]], &device);
    let batch = LogpBatch::new(RowKind::Pairs, logps.clone(), mask).expect("even rows");
    let batch = batch.with_ref_logps(row(&[-1.0, inf, -2.0, inf])).expect("same shape");
    let batch = batch.with_credit(row(&[0.3, 0.0, -0.3, 0.0])).expect("same shape");
    let loss = t_reg(TRegConfig::default()).loss(&batch).expect("all is there");
    let grads = loss.rows.clone().sum().backward();
    let gradient = values(logps.grad(&grads).expect("tracked"));
    assert!(gradient.iter().chain(&values(loss.rows)).all(|x| x.is_finite()), "{gradient:?}");
    assert!(loss.stats.iter().all(|(_, stat)| values(stat.clone()).iter().all(|x| x.is_finite())));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn dpo_is_the_closed_form(pairs in pairs(), beta in 0.01..2.0f64) {
        let got = run(&dpo(beta), &pairs);
        let expected: Vec<f64> = pairs.iter().map(|pair| softplus_neg(beta * pair.delta())).collect();
        close("loss", &got.rows, &expected, 1e-12);
        for (pair, gradients) in pairs.iter().zip(&got.gradients) {
            let slope = beta * sigmoid(-beta * pair.delta());
            close("chosen", &gradients[0], &vec![-slope; pair.chosen.logps.len()], 1e-12);
            close("rejected", &gradients[1], &vec![slope; pair.rejected.logps.len()], 1e-12);
        }
    }

    #[test]
    fn alpha_zero_is_dpo_bit_for_bit(pairs in pairs(), beta in 0.01..2.0f64) {
        for dtype in [DType::F32, DType::F64] {
            let objective = t_reg(TRegConfig { beta, alpha: 0.0, ..TRegConfig::default() });
            let (got, expected) = (run_at(&objective, &pairs, dtype, 1), run_at(&dpo(beta), &pairs, dtype, 1));
            prop_assert_eq!(bits(&got.rows), bits(&expected.rows));
            prop_assert_eq!(bits(&flat(&got.gradients)), bits(&flat(&expected.gradients)));
        }
    }

    #[test]
    fn zero_credit_is_dpo(pairs in pairs(), beta in 0.01..2.0f64, alpha in 0.0..1.0f64) {
        let pairs: Vec<Pair> = pairs.iter().map(|pair| pair.with_credit(0.0, 0.0)).collect();
        let (got, expected) = (run(&t_reg(TRegConfig { beta, alpha, ..TRegConfig::default() }), &pairs), run(&dpo(beta), &pairs));
        prop_assert_eq!(bits(&got.rows), bits(&expected.rows));
        prop_assert_eq!(bits(&flat(&got.gradients)), bits(&flat(&expected.gradients)));
    }

    #[test]
    fn the_gradient_is_dpo_with_reweighted_tokens(pairs in pairs(), beta in 0.01..2.0f64, alpha in 0.0..1.0f64) {
        let got = run(&t_reg(TRegConfig { beta, alpha, ..TRegConfig::default() }), &pairs);
        for (pair, gradients) in pairs.iter().zip(&got.gradients) {
            let slope = beta * sigmoid(-beta * pair.delta());
            let chosen: Vec<f64> = pair.chosen.credit.iter().map(|r| -slope * (1.0 + alpha * r)).collect();
            let rejected: Vec<f64> = pair.rejected.credit.iter().map(|r| slope * (1.0 - alpha * r)).collect();
            close("chosen", &gradients[0], &chosen, 1e-12);
            close("rejected", &gradients[1], &rejected, 1e-12);
        }
    }

    #[test]
    fn opposite_credit_scales_the_dpo_gradient(pairs in pairs(), beta in 0.01..2.0f64, alpha in 0.0..1.0f64, c in -0.5..0.5f64) {
        let pairs: Vec<Pair> = pairs.iter().map(|pair| pair.with_credit(c, -c)).collect();
        let got = run(&t_reg(TRegConfig { beta, alpha, ..TRegConfig::default() }), &pairs);
        let plain = flat(&run(&dpo(beta), &pairs).gradients);
        let expected: Vec<f64> = plain.iter().map(|x| (1.0 + alpha * c) * x).collect();
        close("gradient", &flat(&got.gradients), &expected, 1e-12);
    }

    #[test]
    fn the_regulariser_vanishes_with_the_dpo_gradient(pair in pair(), alpha in 0.0..1.0f64) {
        let mut apart = pair.clone();
        apart.chosen.refs[0] -= 500.0;
        let config = TRegConfig { beta: 0.1, alpha, ..TRegConfig::default() };
        let adaptive = flat(&run(&t_reg(config), std::slice::from_ref(&apart)).gradients);
        prop_assert!(adaptive.iter().all(|x| x.abs() < 1e-15));
        // With a weight of 1 it stays: beta * alpha * credit.
        let fixed = run(&t_reg(TRegConfig { weight: RegWeight::Static, ..config }), std::slice::from_ref(&apart));
        let expected: Vec<f64> = apart.sides().iter().flat_map(|side| &side.credit).map(|r| -0.1 * alpha * r).collect();
        close("gradient", &flat(&fixed.gradients), &expected, 1e-12);
    }

    #[test]
    fn token_switches_leave_the_other_side_to_dpo(pairs in pairs(), alpha in 0.1..1.0f64) {
        let config = TRegConfig { alpha, ..TRegConfig::default() };
        let of = |config: TRegConfig| run(&t_reg(config), &pairs);
        let (plain, both) = (run(&dpo(config.beta), &pairs), of(config));
        let (chosen, rejected) = (of(TRegConfig { tokens: RegTokens::Chosen, ..config }), of(TRegConfig { tokens: RegTokens::Rejected, ..config }));
        for at in 0..pairs.len() {
            close("chosen", &chosen.gradients[at][0], &both.gradients[at][0], 1e-12);
            close("chosen alone", &chosen.gradients[at][1], &plain.gradients[at][1], 1e-12);
            close("rejected", &rejected.gradients[at][1], &both.gradients[at][1], 1e-12);
            close("rejected alone", &rejected.gradients[at][0], &plain.gradients[at][0], 1e-12);
        }
        let sft = of(TRegConfig { credit: TokenCredit::SftOnChosen, ..config });
        let same: Vec<Pair> = pairs.iter().map(|pair| pair.with_credit(0.5, 0.0)).collect();
        let by_hand = run(&t_reg(config), &same);
        close("sft on chosen", &flat(&sft.gradients), &flat(&by_hand.gradients), 1e-12);
        close("sft on chosen", &sft.rows, &by_hand.rows, 1e-12);
    }

    #[test]
    fn loss_at_equality_is_ln_2(pairs in pairs(), beta in 0.01..2.0f64) {
        let mut pairs = pairs;
        for pair in &mut pairs {
            pair.chosen.refs = pair.chosen.logps.clone();
            pair.rejected.refs = pair.rejected.logps.clone();
        }
        let got = run(&dpo(beta), &pairs);
        close("loss", &got.rows, &vec![2.0f64.ln(); pairs.len()], 1e-12);
        close("rewards", &got.stat("rewards/chosen"), &vec![0.0; pairs.len()], 0.0);
        close("accuracy", &got.stat("rewards/accuracies"), &vec![0.5; pairs.len()], 0.0);
        close("ties", &got.stat("rewards/ties"), &vec![1.0; pairs.len()], 0.0);
    }

    #[test]
    fn swapping_labels_negates_the_margin(pairs in pairs(), beta in 0.01..2.0f64) {
        let swapped: Vec<Pair> = pairs.iter().map(Pair::swapped).collect();
        let (got, swapped) = (run(&dpo(beta), &pairs), run(&dpo(beta), &swapped));
        let negated: Vec<f64> = swapped.stat("rewards/margins").iter().map(|x| -x).collect();
        prop_assert_eq!(bits(&got.stat("rewards/margins")), bits(&negated));
        // -log s(x) - (-log s(-x)) = -x
        for ((got, swapped), margin) in got.rows.iter().zip(&swapped.rows).zip(got.stat("rewards/margins")) {
            close("difference", &[got - swapped], &[-margin], 1e-12);
        }
    }

    #[test]
    fn a_per_prompt_constant_changes_nothing(pairs in pairs(), constant in -20.0..20.0f64) {
        let mut moved = pairs.clone();
        for pair in &mut moved {
            pair.chosen.logps[0] += constant;
            pair.rejected.logps[0] += constant;
        }
        let (got, moved) = (run(&dpo(0.3), &pairs), run(&dpo(0.3), &moved));
        close("loss", &moved.rows, &got.rows, 1e-10);
        close("gradient", &flat(&moved.gradients), &flat(&got.gradients), 1e-10);
    }

    #[test]
    fn a_small_beta_gives_half_of_the_difference(pairs in pairs()) {
        let beta = 1e-7;
        let got = run(&dpo(beta), &pairs);
        for gradients in &got.gradients {
            for (side, sign) in gradients.iter().zip([-0.5, 0.5]) {
                let scaled: Vec<f64> = side.iter().map(|x| x / beta).collect();
                close("gradient / beta", &scaled, &vec![sign; side.len()], 1e-5);
            }
        }
    }

    #[test]
    fn without_a_reference_the_margin_is_the_policy_s(pairs in pairs(), beta in 0.01..2.0f64) {
        let mut zero = pairs.clone();
        for pair in &mut zero {
            pair.chosen.refs.fill(0.0);
            pair.rejected.refs.fill(0.0);
        }
        let (got, expected) = (run(&reference_free(beta), &pairs), run(&dpo(beta), &zero));
        close("loss", &got.rows, &expected.rows, 1e-12);
        close("gradient", &flat(&got.gradients), &flat(&expected.gradients), 1e-12);
    }

    #[test]
    fn ipo_is_the_closed_form(pairs in pairs(), beta in 0.01..2.0f64) {
        for length_normalized in [false, true] {
            let got = run(&ipo(beta, length_normalized), &pairs);
            for ((pair, gradients), loss) in pairs.iter().zip(&got.gradients).zip(&got.rows) {
                let tokens = pair.sides().map(|side| if length_normalized { side.logps.len() as f64 } else { 1.0 });
                let off = pair.chosen.h() / tokens[0] - pair.rejected.h() / tokens[1] - 0.5 / beta;
                close("loss", &[*loss], &[off * off], 1e-10);
                for (side, sign) in [(0, 2.0), (1, -2.0)] {
                    let slope = sign * off / tokens[side];
                    close("gradient", &gradients[side], &vec![slope; gradients[side].len()], 1e-10);
                }
            }
        }
    }

    #[test]
    fn apo_zero_holds_each_side_against_the_reference(pairs in pairs(), beta in 0.01..2.0f64) {
        let got = run(&apo_zero(beta), &pairs);
        for ((pair, gradients), loss) in pairs.iter().zip(&got.gradients).zip(&got.rows) {
            let [chosen, rejected] = pair.sides().map(|side| sigmoid(beta * side.h()));
            close("loss", &[*loss], &[1.0 - chosen + rejected], 1e-12);
            for (side, slope) in [-beta * chosen * (1.0 - chosen), beta * rejected * (1.0 - rejected)].iter().enumerate() {
                close("gradient", &gradients[side], &vec![*slope; gradients[side].len()], 1e-12);
            }
        }
    }

    #[test]
    fn padding_order_and_split_never_change_a_row(pairs in pairs(), extra in 0usize..4) {
        for objective in [&dpo(0.2) as &dyn Objective, &ipo(0.2, true), &apo_zero(0.2), &t_reg(TRegConfig::default())] {
            let whole = run(objective, &pairs);
            let padded = run_at(objective, &pairs, DType::F64, extra);
            close("padded", &padded.rows, &whole.rows, 1e-12);
            close("padded", &flat(&padded.gradients), &flat(&whole.gradients), 1e-12);
            let mut turned = pairs.clone();
            turned.reverse();
            let turned = run(objective, &turned);
            for at in 0..pairs.len() {
                let alone = run(objective, &pairs[at..=at]);
                close("alone", &alone.rows, &whole.rows[at..=at], 1e-12);
                close("alone", &flat(&alone.gradients), &flat(&whole.gradients[at..=at]), 1e-12);
                close("turned", &[turned.rows[pairs.len() - 1 - at]], &[whole.rows[at]], 1e-12);
            }
        }
    }

    #[test]
    fn swapping_the_revision_prompts_negates_the_credit(tokens in prop::collection::vec((-30.0..0.0f32, -30.0..0.0f32), 1..8)) {
        let (better, worse): (Vec<f32>, Vec<f32>) = tokens.into_iter().unzip();
        let (got, swapped) = (credit(&better, &worse), credit(&worse, &better));
        let negated: Vec<f64> = swapped.iter().map(|x| -x).collect();
        close("credit", &got, &negated, 1e-7);
        let expected: Vec<f64> =
            better.iter().zip(&worse).map(|(better, worse)| sigmoid(f64::from(better - worse)) - 0.5).collect();
        close("credit", &got, &expected, 1e-6);
    }

    #[test]
    fn equal_prompts_give_no_credit(logps in prop::collection::vec(-50.0..0.0f32, 1..8)) {
        prop_assert!(credit(&logps, &logps).iter().all(|x| *x == 0.0));
    }

    #[test]
    fn credit_stays_within_one_half(tokens in prop::collection::vec((-1e4..0.0f32, -1e4..0.0f32), 1..8)) {
        let (better, worse): (Vec<f32>, Vec<f32>) = tokens.into_iter().unzip();
        prop_assert!(credit(&better, &worse).iter().all(|x| x.abs() <= 0.5));
    }
}

/// Credit of the response tokens; the prompt's is checked to be 0.
fn credit(better: &[f32], worse: &[f32]) -> Vec<f64> {
    let episode = Episode::new(&[1, 2], &vec![3; better.len()]);
    let mut evidence = Evidence::default();
    (evidence.better_logps, evidence.worse_logps) = (Some(better.to_vec()), Some(worse.to_vec()));
    let credit = ContrastReward.assign(&episode, &evidence).expect("one value a token");
    assert!(credit.values()[..2].iter().all(|x| *x == 0.0));
    credit.values()[2..].iter().map(|x| f64::from(*x)).collect()
}

#[test]
fn contrast_needs_one_value_a_token() {
    let episode = Episode::new(&[1], &[2, 3]);
    let assign = |better: Option<Vec<f32>>, worse: Option<Vec<f32>>| {
        let mut evidence = Evidence::default();
        (evidence.better_logps, evidence.worse_logps) = (better, worse);
        ContrastReward.assign(&episode, &evidence)
    };
    assert!(assign(Some(vec![-1.0; 2]), Some(vec![-1.0; 2])).is_ok());
    assert!(assign(None, Some(vec![-1.0; 2])).is_err());
    assert!(assign(Some(vec![-1.0; 2]), None).is_err());
    assert!(assign(Some(vec![-1.0; 2]), Some(vec![-1.0; 3])).is_err());
    assert!(assign(Some(vec![-1.0; 3]), Some(vec![-1.0; 3])).is_err());
}

/// A small model with few tokens.
fn decoder(seed: u64) -> Decoder {
    let config = DecoderConfig { kv_heads: 1, ..DecoderConfig::tiny(23, 16, 2, 2, 64) };
    let mut weights = RandomWeights { seed: Seed(seed), layers: 2 };
    Decoder::load(&config, &mut weights, &device().autodiff()).expect("fresh weights fit")
}

fn ids(seed: u32, n: u32) -> Vec<u32> {
    (0..n).map(|at| (seed * 7 + at * 5 + at * at) % 22 + 1).collect()
}

fn train_rows() -> Vec<TrainRow> {
    let pair = |n: u32| TrainRow::pair(ids(n, 2 + n % 4), ids(n + 30, 1 + n % 5), ids(n + 60, 1 + (n * 3) % 6));
    (0..6).map(pair).collect()
}

/// The rows with reference log-probabilities and token rewards from `reference`.
fn prepared(reference: &Decoder) -> Vec<TrainRow> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut cache = LogpCache::open(&folder.path().join("logps.bin")).expect("a new file");
    let policy = LocalPolicy::new(reference, &[], 64).expect("finite weights");
    let mut rows = train_rows();
    reference_logps(&mut rows, &policy, "model", &mut cache, &mut |_, _| ()).expect("finite");
    let prompts: Vec<Vec<RevisedPrompts>> = rows
        .iter()
        .map(|row| vec![RevisedPrompts { better: ids(1, 4).into(), worse: ids(2, 5).into() }; row.responses.len()])
        .collect();
    let report =
        token_rewards(&mut rows, prompts.clone(), &policy, "model", &mut cache, &mut |_, _| ()).expect("finite");
    assert_eq!(report.left_out, 0);
    // Read from the cache, the rewards are the same.
    let mut again = train_rows();
    reference_logps(&mut again, &policy, "model", &mut cache, &mut |_, _| ()).expect("finite");
    let from_cache = token_rewards(&mut again, prompts, &policy, "model", &mut cache, &mut |_, _| ()).expect("finite");
    assert_eq!((&again, from_cache), (&rows, report));
    let all: Vec<f32> =
        rows.iter().flat_map(|row| &row.responses).flat_map(|one| one.credit.clone().expect("filled")).collect();
    let size = all.iter().map(|x| f64::from(x.abs())).sum::<f64>() / all.len() as f64;
    close("mean size", &[report.mean_size], &[size], 1e-6);
    rows
}

#[test]
fn a_response_without_revision_prompts_is_refused() {
    let (model, mut rows) = (decoder(1), train_rows());
    let policy = LocalPolicy::new(&model, &[], 64).expect("finite weights");
    let one = || vec![RevisedPrompts { better: ids(1, 4).into(), worse: ids(2, 5).into() }];
    let mut refused = |prompts: Vec<Vec<RevisedPrompts>>| {
        let cache = &mut LogpCache::in_memory();
        token_rewards(&mut rows, prompts, &policy, "model", cache, &mut |_, _| ()).expect_err("too few").to_string()
    };
    // Pairs have two responses.
    let said = refused(train_rows().iter().map(|_| one()).collect());
    assert!(said.contains("every response needs its revision prompts, got 1 for 2"), "{said}");
    let said = refused(vec![[one(), one()].concat()]);
    assert!(said.contains("every row needs its revision prompts, got 1 for 6"), "{said}");
    assert_eq!(rows, train_rows());
}

#[test]
fn rows_whose_revision_prompts_do_not_fit_the_context_are_left_out_and_counted() {
    let (model, mut rows) = (decoder(1), train_rows());
    let policy = LocalPolicy::new(&model, &[], 12).expect("finite weights");
    // Responses have at most 5 tokens, and those of the first row 1 token each: 11 + 1 is as many as there may be, and
    // 12 with anything behind it is one too many.
    let asked = |row: usize| match row {
        0 => 11,
        2 => 12,
        _ => 5,
    };
    let revised = |row: usize| RevisedPrompts { better: ids(1, 4).into(), worse: ids(2, asked(row)).into() };
    let prompts: Vec<Vec<RevisedPrompts>> = (0..6).map(|row| vec![revised(row); 2]).collect();
    let cache = &mut LogpCache::in_memory();
    let report = token_rewards(&mut rows, prompts, &policy, "model", cache, &mut |_, _| ()).expect("finite");
    assert_eq!(report.left_out, 1);
    let mut kept = train_rows();
    kept.remove(2);
    assert_eq!(rows.len(), kept.len());
    for (row, before) in rows.iter().zip(&kept) {
        assert_eq!(row.prompt, before.prompt);
        for (response, before) in row.responses.iter().zip(&before.responses) {
            assert_eq!(response.tokens, before.tokens);
            assert_eq!(response.credit.as_ref().map(Vec::len), Some(response.tokens.len()));
        }
    }
}

#[test]
fn token_ids_outside_the_vocabulary_are_refused() {
    let (model, learner) = (decoder(1), LogpLearner::new(&Sft));
    let refused = |row: &TrainRow| learner.learn(&model, &[row]).err().map(|error| error.to_string());
    // The ids of this model end at 22.
    for row in [TrainRow::single(vec![1, 23], vec![2]), TrainRow::single(vec![1], vec![2, 23])] {
        let said = refused(&row).expect("an id too large");
        assert!(said.contains("a token id must be below the vocabulary size, got 23"), "{said}");
    }
    assert_eq!(refused(&TrainRow::single(vec![1, 22], vec![2, 22])), None);
}

#[test]
fn a_row_s_loss_does_not_depend_on_its_batch() {
    let (model, rows) = (decoder(1).valid(), prepared(&decoder(2)));
    let objective = t_reg(TRegConfig::default());
    let learner = LogpLearner::new(&objective);
    let whole = evaluate(&learner, &model, &rows, rows.len()).expect("sound rows");
    for batch in [1, 2, 4] {
        let tally = evaluate(&learner, &model, &rows, batch).expect("sound rows");
        close("loss", &[tally.loss], &[whole.loss], 1e-5);
        assert_eq!((tally.weight, tally.tokens), (whole.weight, whole.tokens));
        for (name, values) in &whole.stats {
            close(name, tally.values(name), values, 1e-5);
        }
    }
    let mut turned: Vec<&TrainRow> = rows.iter().collect();
    turned.reverse();
    let tally: Tally = learner.measure(&model, &turned).expect("sound rows");
    let mut margins = tally.values("rewards/margins").to_vec();
    margins.reverse();
    close("margins", &margins, whole.values("rewards/margins"), 1e-5);
}

#[test]
fn a_learner_says_what_is_missing() {
    let (model, objective) = (decoder(1), t_reg(TRegConfig::default()));
    let learner = LogpLearner::new(&objective);
    let mut rows = train_rows();
    let error =
        |rows: &[TrainRow]| learner.learn(&model, &rows.iter().collect::<Vec<_>>()).err().map(|e| e.to_string());
    assert!(error(&rows).expect("no reference").contains("ref_logps"));
    let fill = |one: &mut Response| one.ref_logps = Some(vec![-1.0; one.tokens.len()]);
    rows.iter_mut().flat_map(|row| &mut row.responses).for_each(fill);
    assert!(error(&rows).expect("no credit").contains("credit"));
    let fill = |one: &mut Response| one.credit = Some(vec![0.1; one.tokens.len()]);
    rows.iter_mut().flat_map(|row| &mut row.responses).for_each(fill);
    assert!(error(&rows).is_none());
    // One value too few, or a row without its second response, is no row of zeros.
    let mut short = rows.clone();
    short[1].responses[1].ref_logps.as_mut().expect("filled").pop();
    assert!(error(&short).expect("a value is missing").contains("ref_logps"));
    let mut alone = rows.clone();
    alone[0].responses.pop();
    alone[1].responses.pop();
    assert!(error(&alone).expect("two responses are missing").contains("1 responses"));
}

#[test]
fn the_policy_that_is_the_reference_starts_at_ln_2() {
    let model = decoder(1);
    let rows = prepared(&model);
    let found = self_test(&model, &rows, 0.1).expect("they are equal");
    assert!(found.difference < 1e-5);
    close("loss", &[found.loss], &[2.0f64.ln()], 1e-6);
    assert!(matches!(self_test(&decoder(2), &rows, 0.1), Err(PreferenceError::SelfTest { .. })));
    assert!(matches!(self_test(&model, &rows, f64::NAN), Err(PreferenceError::Beta { .. })));
    let mut spoilt = rows.clone();
    spoilt[0].responses[0].ref_logps.as_mut().expect("filled")[0] = f32::NAN;
    assert!(matches!(self_test(&model, &spoilt, 0.1), Err(PreferenceError::SelfTest { .. })), "NaN is not equal");

    let objective = dpo(0.1);
    let learner = LogpLearner::new(&objective);
    let tally = evaluate(&learner, &model.valid(), &rows, 4).expect("sound rows");
    close("loss", &[tally.loss / tally.weight], &[2.0f64.ln()], 1e-6);
    let means = tally.means("eval/");
    assert!(means.iter().any(|(name, _)| name == "eval/loss"));
    close("rewards", tally.values("rewards/chosen"), &[0.0; 6], 1e-5);
}

#[test]
fn prompt_tokens_have_zero_gradient() {
    // Four tokens, of which two are prompt: position 0 predicts a prompt token, 1 and 2 predict the response, 3 nothing.
    let (rows, seq, vocab) = (2, 4, 5);
    let device = device().autodiff();
    let numbers: Vec<f64> = (0..rows * seq * vocab).map(|at| f64::from((at * 37 % 41) as u32) / 10.0).collect();
    let logits: Tensor<3> = floats(&numbers, [rows, seq, vocab], &device, DType::F64).require_grad();
    let targets = integers(&[1, 2, 3, 1, 4, 0], [rows * (seq - 1)], &device);
    let predicting = logits.clone().slice([0..rows, 0..seq - 1, 0..vocab]).reshape([rows * (seq - 1), vocab]);
    let logps = token_logps(predicting, targets).reshape([rows, seq - 1]);
    let mask = Mask::from_rows(&[[false, true, true], [false, true, true]], &device);
    let batch = LogpBatch::new(RowKind::Pairs, logps.clone(), mask).expect("even rows");
    let batch = batch.with_ref_logps(logps.clone().detach()).expect("same shape");
    let batch = batch.with_credit(logps.detach().mul_scalar(0.05)).expect("same shape");
    let loss = t_reg(TRegConfig::default()).loss(&batch).expect("all is there");
    let grads = loss.rows.sum().backward();
    let gradient = values(logits.grad(&grads).expect("tracked"));
    for (at, position) in gradient.chunks(vocab).enumerate() {
        let trained = [1, 2].contains(&(at % seq));
        assert_eq!(position.iter().any(|x| *x != 0.0), trained, "position {at}");
    }
}

#[test]
fn one_forward_equals_two_and_the_scores_of_the_policy() {
    let model = decoder(1);
    let (prompt, responses) = (vec![3, 4, 5], [vec![6, 7], vec![8, 9, 10]]);
    let sums = |responses: &[Vec<u32>]| -> Vec<f64> {
        let rows: Vec<Row> = responses.iter().map(|response| Row { prompt: &prompt, response }).collect();
        let (logps, mask) = model.response_logps(&rows).expect("prompts are there");
        values(mask.sum(logps))
    };
    let both = sums(&responses);
    let given = responses.clone().map(|tokens| Continuation { prefix: prompt.clone().into(), tokens: tokens.into() });
    let (scores, _) = LocalPolicy::new(&model, &[], 64).expect("finite weights").score(&given).expect("they fit");
    for at in 0..2 {
        close("two forwards", &sums(&responses[at..=at]), &both[at..=at], 1e-5);
        close("scores", &[scores[at].iter().map(|x| f64::from(*x)).sum()], &both[at..=at], 1e-5);
    }
}

#[test]
fn tokens_of_rows_are_those_of_their_passes() {
    let rows = [
        TrainRow::pair(vec![1u32, 2, 3], vec![4u32, 5], vec![6u32, 7, 8, 9]),
        TrainRow::pair(vec![1u32, 2, 3], vec![5u32], vec![6u32]),
        TrainRow::pair(vec![2u32, 3], vec![5u32], vec![6u32]),
    ];
    let dpo = DpoConfig::default().init().expect("sound");
    let learner = LogpLearner::new(&dpo);
    // A prompt once: 3 + 2 + 4; the same prompt again adds 1 + 1; another one 2 + 1 + 1.
    for (n, expected) in [(0, 0), (1, 9), (2, 11), (3, 15)] {
        assert_eq!(learner.tokens(&rows[..n].iter().collect::<Vec<_>>()), Some(expected), "{n} rows");
    }
    // One response alone is learned: 3 + 2 and 1, then 2 + 1.
    assert_eq!(LogpLearner::new(&Sft).tokens(&rows.iter().collect::<Vec<_>>()), Some(9));
    // Mismatched responses have a pass of their own, and the larger one counts: 3 + 5 against 3 + 2.
    let kto = KtoConfig::default().init().expect("sound");
    let mismatched = Some(Response::new(vec![4u32, 5, 6, 7, 8]));
    let row = TrainRow { mismatched, ..TrainRow::labelled(vec![1u32, 2, 3], vec![4u32, 5], true) };
    assert_eq!(LogpLearner::new(&kto).tokens(&[&row]), Some(8));
    // What is refused is told by the pass.
    let short = TrainRow::single(vec![1u32], vec![2u32]);
    assert_eq!(learner.tokens(&[&short]), Some(0));
}
