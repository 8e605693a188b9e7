//! What the losses must satisfy whatever the numbers are: properties over the whole table, and each loss by hand.

use ascribe_core::Loss;
use ascribe_reward::losses::{
    ABSENT, BradleyTerryConfig, ConceptEnergyConfig, ConfidencePairs, Disagreement, Gate, GaussianHeadsConfig,
    GeneralPreference, GeneralPreferenceConfig, HeadForm, KWiseConfig, LOSSES, LossOptions, MachineTextConfig,
    PairLabel, PreferenceForm, RegressionConfig, SelfConsistencyConfig, SteerBatch, Swav, TiesConfig,
    TrajectoriesConfig, UNRATED, WeakToStrongConfig, attribute_logp, bootstrap_weights, differences, replay,
    sample_noise, sim_cse, sinkhorn, spread, steer, swav,
};
use ascribe_reward::weights::{Strength, Treatment, treat};
use ascribe_reward::{RewardError, RewardLoss, ScoreBatch};
use ascribe_testkit::device::{device, floats, values};
use ascribe_testkit::golden::close;
use burn::tensor::{DType, Tensor};
use proptest::prelude::*;

/// Every loss of the table under two sets of options that reach all its forms.
fn table() -> Vec<(String, Box<dyn RewardLoss>)> {
    let first = LossOptions {
        bradley_terry: BradleyTerryConfig { centre: 0.0, labelled: true, smoothing: 0.2 },
        k_wise: KWiseConfig { responses: 3, per_prompt: false },
        regression: RegressionConfig { attributes: 3, ..RegressionConfig::default() },
        general_preference: GeneralPreferenceConfig { dim: 4, tau: 0.5, ..GeneralPreferenceConfig::default() },
        machine_text: MachineTextConfig { mixed_weight: 0.35, l2: 0.0 },
        trajectories: TrajectoriesConfig { centre: 0.0 },
        weak_to_strong: WeakToStrongConfig { confidence: 0.0, ..WeakToStrongConfig::default() },
        self_consistency: SelfConsistencyConfig { models: 3, ..SelfConsistencyConfig::default() },
        concept_energy: ConceptEnergyConfig { concepts: 2, ..ConceptEnergyConfig::default() },
        gaussian_heads: GaussianHeadsConfig { heads: 2, form: HeadForm::Likelihood },
        ..LossOptions::default()
    };
    let second = LossOptions {
        bradley_terry: BradleyTerryConfig { centre: 0.1, labelled: false, smoothing: 0.3 },
        k_wise: KWiseConfig { responses: 4, per_prompt: true },
        confidence: ConfidencePairs { combined: true },
        general_preference: GeneralPreferenceConfig {
            gate: Some(Gate::Scaled { hidden: 9 }),
            form: PreferenceForm::Margin(0.2),
            ..first.general_preference
        },
        machine_text: MachineTextConfig::default(),
        trajectories: TrajectoriesConfig { centre: 0.5 },
        weak_to_strong: WeakToStrongConfig { alpha: 0.5, ..WeakToStrongConfig::default() },
        self_consistency: SelfConsistencyConfig { disagreement: Disagreement::Symmetric, ..first.self_consistency },
        gaussian_heads: GaussianHeadsConfig { heads: 2, form: HeadForm::Sample },
        ..first
    };
    let mut losses = Vec::new();
    for (set, options) in [("1", first), ("2", second)] {
        for (name, make) in LOSSES {
            losses.push((format!("{name} {set}"), make(&options).expect("sound options")));
        }
    }
    losses
}

/// Labels of `rows` rows that the loss accepts, from numbers in [0, 1).
fn labels(name: &str, loss: &dyn RewardLoss, rows: usize, u: &mut dyn FnMut() -> f64) -> Vec<f64> {
    let columns = loss.needs().labels;
    let mut label = |row: usize, column: usize| match name.split(' ').next().unwrap_or_default() {
        "bradley-terry" => [u(), 3.0 * u(), 2.0 * u()][column],
        "k-wise" if column + 1 == columns && row % 2 == 1 => ABSENT,
        "k-wise" => ((row + 2 * column) % 3) as f64 + f64::from(u8::from(column == 0)),
        "regression" if column > 0 && u() < 0.3 => UNRATED,
        "regression" => 4.0 * u(),
        "ties" | "concept-energy" => u().round(),
        "weak-to-strong" if column == 1 => u().round(),
        "weak-to-strong" => u(),
        "gaussian-heads" => [4.0 * u() - 2.0, 1.0, 2.0 * u(), 2.0 * u() - 1.0, 2.0 * u() - 1.0][column],
        _ => panic!("{name} has labels that no test knows"),
    };
    (0..rows * columns).map(|at| label(at / columns, at % columns)).collect()
}

struct Outcome {
    loss: Loss,
    rows: Vec<f64>,
    weights: Vec<f64>,
    mean: f64,
    /// Gradient of the mean for each score.
    gradient: Vec<f64>,
}

impl Outcome {
    fn stat(&self, name: &str) -> Vec<f64> {
        let found = self.loss.stats.iter().find(|(known, _)| *known == name);
        values(found.unwrap_or_else(|| panic!("no statistic {name}")).1.clone())
    }
}

/// Scores are the first responses of all rows, then the second, and so on.
fn run_at(loss: &dyn RewardLoss, scores: &[f64], labels: &[f64], progress: f64, dtype: DType) -> Outcome {
    let needs = loss.needs();
    let shape = [scores.len() / needs.width, needs.width];
    let tensor = floats(scores, shape, &device().autodiff(), dtype).require_grad();
    let mut batch = ScoreBatch::new(needs.responses, tensor.clone()).expect("whole rows");
    if !labels.is_empty() {
        batch = batch.with_labels(labels.to_vec()).expect("finite labels");
    }
    let batch = batch.with_progress(progress).expect("in [0, 1]");
    let loss = loss.loss(&batch).expect("the batch has what is needed");
    let grads = loss.mean().backward();
    Outcome {
        rows: values(loss.rows.clone()),
        weights: values(loss.weights.clone()),
        mean: values(loss.mean())[0],
        gradient: values(tensor.grad(&grads).expect("tracked")),
        loss,
    }
}

fn run(loss: &dyn RewardLoss, scores: &[f64], labels: &[f64]) -> Outcome {
    run_at(loss, scores, labels, 1.0, DType::F64)
}

/// The mean alone, without a backward pass.
fn mean(loss: &dyn RewardLoss, scores: &[f64], labels: &[f64]) -> f64 {
    let needs = loss.needs();
    let tensor = floats(scores, [scores.len() / needs.width, needs.width], &device(), DType::F64);
    let mut batch = ScoreBatch::new(needs.responses, tensor).expect("whole rows");
    if !labels.is_empty() {
        batch = batch.with_labels(labels.to_vec()).expect("finite labels");
    }
    values(loss.loss(&batch).expect("the batch has what is needed").mean())[0]
}

fn bradley_terry() -> Box<dyn RewardLoss> {
    Box::new(BradleyTerryConfig::default().init().expect("sound options"))
}

fn labelled(pairs: &[(f64, PairLabel)]) -> Vec<f64> {
    let loss = BradleyTerryConfig { labelled: true, ..BradleyTerryConfig::default() }.init().expect("sound options");
    let scores: Vec<f64> = pairs.iter().map(|pair| pair.0).chain(pairs.iter().map(|_| 0.0)).collect();
    let labels: Vec<PairLabel> = pairs.iter().map(|pair| pair.1).collect();
    run(&loss, &scores, &PairLabel::columns(&labels)).rows
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `-ln sigmoid(x)`.
fn nll(x: f64) -> f64 {
    (-x).max(0.0) + (-x.abs()).exp().ln_1p()
}

/// A source of numbers in [0, 1) out of a proptest seed.
fn uniform(seed: u64) -> impl FnMut() -> f64 {
    let mut state = seed | 1;
    move || {
        // Knuth's MMIX generator; the top bits are good enough for test data.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Scores and labels of `rows` rows, scores within `scale`.
fn data(name: &str, loss: &dyn RewardLoss, rows: usize, scale: f64, seed: u64) -> (Vec<f64>, Vec<f64>) {
    let (needs, mut u) = (loss.needs(), uniform(seed));
    let scores = (0..rows * needs.responses * needs.width).map(|_| scale * (2.0 * u() - 1.0)).collect();
    let labels = if needs.labels == 0 { Vec::new() } else { labels(name, loss, rows, &mut u) };
    (scores, labels)
}

/// Losses of one score a response that compare responses; those with a centring or length term are of the second set.
fn compares(name: &str, loss: &dyn RewardLoss) -> bool {
    let centred = ["bradley-terry 2", "machine-text 2", "trajectories 2"];
    loss.needs().responses > 1 && loss.needs().width == 1 && !centred.contains(&name)
}

/// Losses whose gradient is not that of their value: a mean that is cut from the gradient is part of it.
const SURROGATES: [&str; 1] = ["self-consistency 1"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn comparisons_depend_on_differences_alone(rows in 1usize..5, seed in any::<u64>(), constant in -9.0..9.0f64) {
        for (name, loss) in table() {
            if !compares(&name, loss.as_ref()) {
                continue;
            }
            let (scores, labels) = data(&name, loss.as_ref(), rows, 3.0, seed);
            // A constant of its own for every row, which all its responses share.
            let moved: Vec<f64> =
                scores.iter().enumerate().map(|(at, score)| score + constant * (1 + at % rows) as f64).collect();
            let (got, moved) = (run(loss.as_ref(), &scores, &labels), run(loss.as_ref(), &moved, &labels));
            close(&name, &moved.rows, &got.rows, 1e-9);
            close(&name, &moved.gradient, &got.gradient, 1e-9);
        }
    }

    #[test]
    fn f32_agrees_with_f64(rows in 1usize..5, seed in any::<u64>()) {
        for (name, loss) in table() {
            let scale = if compares(&name, loss.as_ref()) { 25.0 } else { 2.0 };
            let (scores, labels) = data(&name, loss.as_ref(), rows, scale, seed);
            // The same numbers in both precisions.
            let scores: Vec<f64> = scores.iter().map(|score| f64::from(*score as f32)).collect();
            let labels: Vec<f64> = labels.iter().map(|label| f64::from(*label as f32)).collect();
            let wide = run(loss.as_ref(), &scores, &labels);
            let narrow = run_at(loss.as_ref(), &scores, &labels, 1.0, DType::F32);
            close(&name, &narrow.rows, &wide.rows, 1e-5);
        }
    }

    #[test]
    fn gradients_are_those_of_finite_differences(rows in 1usize..4, seed in any::<u64>()) {
        let step = 1e-6;
        for (name, loss) in table() {
            if SURROGATES.contains(&name.as_str()) {
                continue;
            }
            let (scores, labels) = data(&name, loss.as_ref(), rows, 2.0, seed);
            let got = run(loss.as_ref(), &scores, &labels).gradient;
            let at = |place: usize, by: f64| {
                let mut scores = scores.clone();
                scores[place] += by;
                mean(loss.as_ref(), &scores, &labels)
            };
            let expected: Vec<f64> =
                (0..scores.len()).map(|place| (at(place, step) - at(place, -step)) / (2.0 * step)).collect();
            close(&name, &got, &expected, 1e-6);
        }
    }

    #[test]
    fn order_and_split_of_rows_change_nothing(rows in 2usize..5, seed in any::<u64>()) {
        for (name, loss) in table() {
            let needs = loss.needs();
            let (scores, labels) = data(&name, loss.as_ref(), rows, 2.0, seed);
            let whole = run(loss.as_ref(), &scores, &labels);
            // Row `at` of every response, and its labels.
            let pick = |order: &[usize]| {
                let responses = (0..needs.responses).flat_map(|response| order.iter().map(move |at| response * rows + at));
                let scores: Vec<f64> =
                    responses.flat_map(|at| scores[at * needs.width..(at + 1) * needs.width].to_vec()).collect();
                let labels: Vec<f64> =
                    order.iter().flat_map(|at| labels[at * needs.labels..(at + 1) * needs.labels].to_vec()).collect();
                run(loss.as_ref(), &scores, &labels)
            };
            let order: Vec<usize> = (0..rows).rev().collect();
            let mut turned = pick(&order).rows;
            turned.reverse();
            close(&name, &turned, &whole.rows, 1e-9);
            // A loss that sees the whole batch says so.
            if !needs.coupled {
                for at in 0..rows {
                    let alone = pick(&[at]);
                    close(&name, &alone.rows, &whole.rows[at..=at], 1e-9);
                    close(&name, &alone.weights, &whole.weights[at..=at], 1e-9);
                }
            }
        }
    }

    #[test]
    fn swapping_a_pair_negates_its_margin(d in -9.0..9.0f64) {
        let (there, back) = (run(bradley_terry().as_ref(), &[d, 0.0], &[]), run(bradley_terry().as_ref(), &[0.0, d], &[]));
        prop_assert_eq!(there.stat("rewards/margins")[0], -back.stat("rewards/margins")[0]);
        close("loss", &[there.rows[0], back.rows[0]], &[nll(d), nll(-d)], 1e-12);
        close("gradient", &there.gradient, &[sigmoid(d) - 1.0, 1.0 - sigmoid(d)], 1e-12);
    }

    #[test]
    fn smoothing_and_ties_are_symmetric(d in -9.0..9.0f64) {
        let both = labelled(&[(d, PairLabel::TIE), (-d, PairLabel::TIE), (0.0, PairLabel::TIE)]);
        prop_assert!((both[0] - both[1]).abs() < 1e-12 && both[2] <= both[0] + 1e-12);
        close("smoothing 0", &labelled(&[(d, PairLabel::smoothed(0.0))]), &[nll(d)], 1e-12);
    }

    #[test]
    fn the_scaled_form_is_linear_in_the_strength(d in -9.0..9.0f64, m in 0.0..3.0f64) {
        close("scaled", &labelled(&[(d, PairLabel::scaled(m))]), &[m * nll(d)], 1e-12);
        let margin = labelled(&[(d, PairLabel::margin(m))]);
        close("margin", &margin, &[nll(d - m)], 1e-12);
        prop_assert!(m < 1e-6 || margin[0] > nll(d));
    }

    #[test]
    fn preferences_are_skew_and_turn_with_their_vectors(seed in any::<u64>(), angle in 0.0..6.0f64) {
        let mut u = uniform(seed);
        let vectors: Vec<f64> = (0..12).map(|_| 2.0 * u() - 1.0).collect();
        let config = GeneralPreferenceConfig { dim: 4, tau: 1.0, ..GeneralPreferenceConfig::default() };
        let model = config.init().expect("sound options");
        let table = |vectors: &[f64]| {
            values(model.table(floats(vectors, [3, 4], &device(), DType::F64)).expect("the width fits"))
        };
        let scores = table(&vectors);
        for i in 0..3 {
            for j in 0..3 {
                prop_assert!((scores[3 * i + j] + scores[3 * j + i]).abs() < 1e-12);
                prop_assert!((sigmoid(scores[3 * i + j]) + sigmoid(scores[3 * j + i]) - 1.0).abs() < 1e-12);
            }
        }
        // Every block by the same angle: the area of two vectors stays.
        let (sin, cos) = angle.sin_cos();
        let turned: Vec<f64> =
            vectors.chunks(2).flat_map(|v| [cos * v[0] - sin * v[1], sin * v[0] + cos * v[1]]).collect();
        close("turned", &table(&turned), &scores, 1e-9);
    }

    #[test]
    fn a_spread_lies_between_its_bounds(scores in prop::collection::vec(-9.0..9.0f64, 2..6)) {
        let k = scores.len() as f64;
        let j = values(spread(floats(&scores, [1, scores.len()], &device(), DType::F64)).expect("two at least"))[0];
        prop_assert!((k - 1.0) / (2.0 * k) - 1e-12 <= j && j < (k - 1.0) / k);
    }

    #[test]
    fn codes_sum_to_1_and_prototypes_share_the_items(n in 2usize..7, k in 1usize..4, seed in any::<u64>()) {
        let mut u = uniform(seed);
        let logits: Vec<f64> = (0..n * k).map(|_| 2.0 * u() - 1.0).collect();
        for iterations in [1, 3, 200] {
            let codes = sinkhorn(logits.clone(), k, iterations);
            for row in codes.chunks(k) {
                prop_assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            }
            for prototype in 0..k {
                let mass: f64 = codes.iter().skip(prototype).step_by(k).sum();
                prop_assert!(iterations < 200 || (mass * k as f64 / n as f64 - 1.0).abs() < 0.01);
            }
        }
    }
}

#[test]
fn huge_differences_give_no_nan() {
    for (name, loss) in table() {
        if !compares(&name, loss.as_ref()) {
            continue;
        }
        for d in [-1e4, 1e4] {
            for dtype in [DType::F32, DType::F64] {
                let n = loss.needs().responses;
                let scores: Vec<f64> = (0..n).map(|at| if at % 2 == 0 { 0.5 * d } else { -0.5 * d }).collect();
                let labels = data(&name, loss.as_ref(), 1, 1.0, 7).1;
                let got = run_at(loss.as_ref(), &scores, &labels, 1.0, dtype);
                assert!(got.rows.iter().chain(&got.gradient).all(|x| x.is_finite()), "{name} {d} {dtype:?}");
            }
        }
    }
}

#[test]
fn a_batch_must_fit_its_loss() {
    let device = device();
    let scores = |rows: usize, width: usize| floats(&vec![0.5; rows * width], [rows, width], &device, DType::F32);
    assert!(ScoreBatch::new(2, scores(3, 1)).is_err() && ScoreBatch::new(0, scores(2, 1)).is_err());
    assert!(ScoreBatch::new(1, floats(&[], [0, 1], &device, DType::F32)).is_err(), "no row");
    let batch = |responses: usize, width: usize| ScoreBatch::new(responses, scores(2 * responses, width)).unwrap();
    assert!(batch(2, 1).with_labels(vec![1.0, f64::NAN]).is_err() && batch(2, 1).with_labels(vec![1.0; 3]).is_err());
    assert!(batch(2, 1).with_progress(1.5).is_err() && batch(2, 1).response(2).is_err());
    for (name, loss) in table() {
        let needs = loss.needs();
        let refused = |batch: ScoreBatch| matches!(loss.loss(&batch), Err(RewardError::Shape { .. }));
        assert!(refused(batch(needs.responses + 1, needs.width)), "{name}: responses");
        assert!(refused(batch(needs.responses, needs.width + 1)), "{name}: scores");
        let labels = vec![0.0; 2 * (needs.labels + 1)];
        assert!(refused(batch(needs.responses, needs.width).with_labels(labels).unwrap()), "{name}: labels");
    }
}

#[test]
fn options_out_of_range_are_refused() {
    for wrong in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(BradleyTerryConfig { centre: wrong, ..BradleyTerryConfig::default() }.init().is_err());
        assert!(BradleyTerryConfig { smoothing: wrong, ..BradleyTerryConfig::default() }.init().is_err());
        assert!(TiesConfig { tie_weight: wrong, ..TiesConfig::default() }.init().is_err());
        assert!(TiesConfig { centre: wrong, ..TiesConfig::default() }.init().is_err());
        assert!(TrajectoriesConfig { centre: wrong }.init().is_err());
        assert!(MachineTextConfig { l2: wrong, ..MachineTextConfig::default() }.init().is_err());
        assert!(MachineTextConfig { mixed_weight: wrong, ..MachineTextConfig::default() }.init().is_err());
        assert!(GeneralPreferenceConfig { tau: wrong, ..GeneralPreferenceConfig::default() }.init().is_err());
        let form = PreferenceForm::Margin(wrong);
        assert!(GeneralPreferenceConfig { form, ..GeneralPreferenceConfig::default() }.init().is_err());
        assert!(WeakToStrongConfig { confidence: wrong, ..WeakToStrongConfig::default() }.init().is_err());
        assert!(WeakToStrongConfig { warm_up: wrong, ..WeakToStrongConfig::default() }.init().is_err());
        assert!(WeakToStrongConfig { alpha: wrong, ..WeakToStrongConfig::default() }.init().is_err());
        assert!(SelfConsistencyConfig { consistency: wrong, ..SelfConsistencyConfig::default() }.init().is_err());
        assert!(ConceptEnergyConfig { joint_weight: wrong, ..ConceptEnergyConfig::default() }.init().is_err());
    }
    assert!(KWiseConfig { responses: 1, per_prompt: false }.init().is_err());
    assert!(RegressionConfig { attributes: 0, ..RegressionConfig::default() }.init().is_err());
    assert!(RegressionConfig { scale: [4.0, 0.0], ..RegressionConfig::default() }.init().is_err());
    for dim in [0, 3] {
        assert!(GeneralPreferenceConfig { dim, ..GeneralPreferenceConfig::default() }.init().is_err());
    }
    let gate = Some(Gate::Scaled { hidden: 0 });
    assert!(GeneralPreferenceConfig { gate, ..GeneralPreferenceConfig::default() }.init().is_err());
    assert!(GaussianHeadsConfig { heads: 0, form: HeadForm::Likelihood }.init().is_err());
    assert!(SelfConsistencyConfig { models: 0, ..SelfConsistencyConfig::default() }.init().is_err());
    assert!(ConceptEnergyConfig { concepts: 0, ..ConceptEnergyConfig::default() }.init().is_err());
}

#[test]
fn labels_out_of_range_are_refused() {
    let device = device();
    let refused = |loss: &dyn RewardLoss, labels: &[f64]| {
        let needs = loss.needs();
        let scores =
            floats(&vec![0.5; needs.responses * needs.width], [needs.responses, needs.width], &device, DType::F32);
        let batch = ScoreBatch::new(needs.responses, scores).unwrap().with_labels(labels.to_vec()).unwrap();
        loss.loss(&batch).is_err()
    };
    let pairs = BradleyTerryConfig { labelled: true, ..BradleyTerryConfig::default() }.init().unwrap();
    for wrong in [[1.5, 0.0, 1.0], [-0.1, 0.0, 1.0], [1.0, -1.0, 1.0], [1.0, 0.0, -1.0]] {
        assert!(refused(&pairs, &wrong), "{wrong:?}");
    }
    let ranks = KWiseConfig { responses: 2, per_prompt: false }.init().unwrap();
    assert!(refused(&ranks, &[1.0, -0.5]), "neither a quality nor absent");
    let rated = RegressionConfig { attributes: 2, ..RegressionConfig::default() }.init().unwrap();
    assert!(refused(&rated, &[UNRATED, UNRATED]) && refused(&rated, &[4.5, 1.0]) && refused(&rated, &[-1.0, 1.0]));
    assert!(refused(&TiesConfig::default().init().unwrap(), &[0.5]));
    let weak = WeakToStrongConfig { alpha: 0.5, ..WeakToStrongConfig::default() }.init().unwrap();
    assert!(refused(&weak, &[1.5, 1.0]) && refused(&weak, &[0.5, 0.5]));
    let concepts = ConceptEnergyConfig { concepts: 1, ..ConceptEnergyConfig::default() }.init().unwrap();
    assert!(refused(&concepts, &[0.5, 1.0]));
    let heads = GaussianHeadsConfig { heads: 2, form: HeadForm::Likelihood }.init().unwrap();
    assert!(refused(&heads, &[0.0, -1.0, 1.0]));
}

#[test]
fn pair_losses_by_hand() {
    let d = 1.5;
    for (label, expected) in [
        (PairLabel::PLAIN, 0.201413),
        (PairLabel::margin(2.0), 0.974077),
        (PairLabel::scaled(2.0), 0.402827),
        (PairLabel::smoothed(0.1), 0.351413),
    ] {
        close("loss", &labelled(&[(d, label)]), &[expected], 5e-7);
    }
    let equal = run(bradley_terry().as_ref(), &[0.3, 0.3], &[]);
    close("equal scores", &equal.rows, &[2f64.ln()], 1e-12);
    close("a tie counts one half", &equal.stat("rewards/accuracies"), &[0.5], 0.0);
    close("ties", &equal.stat("rewards/ties"), &[1.0], 0.0);
    // The mean is over pairs: weights of 2 and 0 are not renormalised.
    let loss = BradleyTerryConfig { labelled: true, ..BradleyTerryConfig::default() }.init().unwrap();
    let labels = PairLabel::columns(&[PairLabel::scaled(2.0), PairLabel::scaled(0.0)]);
    close("mean", &[run(&loss, &[d, d, 0.0, 0.0], &labels).mean], &[nll(d)], 1e-12);
    // Centring: 0.1 * (1.5 + 0.5)^2.
    let centred = BradleyTerryConfig { centre: 0.1, ..BradleyTerryConfig::default() }.init().unwrap();
    close("centred", &run(&centred, &[1.5, 0.5], &[]).rows, &[nll(1.0) + 0.4], 1e-12);
    // The same smoothing of every pair, with a label beside it and without one.
    let smooth = |labelled: bool| BradleyTerryConfig { labelled, smoothing: 0.1, ..BradleyTerryConfig::default() };
    close("smoothed", &run(&smooth(false).init().unwrap(), &[d, 0.0], &[]).rows, &[0.351413], 5e-7);
    let plain = PairLabel::columns(&[PairLabel::PLAIN]);
    close("smoothed", &run(&smooth(true).init().unwrap(), &[d, 0.0], &plain).rows, &[0.351413], 5e-7);
    let tie = PairLabel::columns(&[PairLabel::TIE]);
    let expected = 0.5 * (nll(d) + nll(-d));
    close("a tie stays one", &run(&smooth(true).init().unwrap(), &[d, 0.0], &tie).rows, &[expected], 1e-12);
    // A vote against the label flips the pair; the label that is left is a plain one.
    let votes = [Strength { mean: -1.0, std: 0.1 }, Strength { mean: 1.0, std: 0.1 }];
    let treated = treat(&votes, Treatment::Flip).unwrap();
    assert_eq!((treated[0].flipped, treated[1].flipped, treated[0].label), (true, false, PairLabel::PLAIN));
}

#[test]
fn k_wise_by_hand() {
    let k_wise = |per_prompt: bool, responses: usize| KWiseConfig { responses, per_prompt }.init().unwrap();
    // Two responses are a pair, whichever comes first.
    close("pair", &run(&k_wise(false, 2), &[1.5, 0.0], &[2.0, 1.0]).rows, &[nll(1.5)], 1e-12);
    close("pair", &run(&k_wise(true, 2), &[0.0, 1.5], &[0.0, 1.0]).rows, &[nll(1.5)], 1e-12);
    // Scores 2, 1, 0 in the right order, and a second prompt with two responses: d = 1, 2, 1 and 3.
    let (scores, labels) = ([2.0, 0.0, 1.0, 3.0, 0.0, 9.0], [3.0, 2.0, 1.0, 0.0, 1.0, ABSENT]);
    let (one, two, three) = (nll(1.0), nll(2.0), nll(3.0));
    let whole = run(&k_wise(false, 3), &scores, &labels);
    close("rows", &whole.rows, &[2.0 * one + two, three], 1e-12);
    close("mean over pairs", &[whole.mean], &[(2.0 * one + two + three) / 4.0], 1e-12);
    let each = run(&k_wise(true, 3), &scores, &labels);
    close("mean over prompts", &[each.mean], &[0.5 * ((2.0 * one + two) / 3.0 + three)], 1e-12);
    close("accuracy", &each.stat("rewards/accuracies"), &[1.0, 1.0], 1e-12);
    // A prompt whose responses are all alike counts nothing.
    let alike = run(&k_wise(true, 2), &[1.5, 0.0, 0.0, 5.0], &[1.0, 0.0, 1.0, 1.0]);
    close("mean", &[alike.mean], &[nll(1.5)], 1e-12);
    close("accuracy", &alike.stat("rewards/accuracies"), &[1.0, 0.5], 1e-12);
    // Nor does it where it is the only one of its batch.
    for labels in [[1.0, 1.0], [1.0, ABSENT]] {
        let nothing = run(&k_wise(false, 2), &[1.5, 0.0], &labels);
        assert_eq!((nothing.rows, nothing.weights), (vec![0.0], vec![0.0]));
    }
    // The absent response has no gradient, and its score of 9 is in no mean: (2 + 1 + 0) / 3 and (0 + 3) / 2.
    assert_eq!(whole.gradient[5], 0.0);
    close("mean reward", &whole.stat("rewards/mean"), &[1.0, 1.5], 1e-12);
}

#[test]
fn regression_by_hand() {
    let rated = |attributes: usize| RegressionConfig { attributes, ..RegressionConfig::default() }.init().unwrap();
    // Errors 1 and 2, and -1 beside an absent rating: 6 over three ratings.
    let got = run(&rated(2), &[2.0, 3.0, 0.0, 9.0], &[1.0, 1.0, 1.0, UNRATED]);
    close("rows", &got.rows, &[5.0, 1.0], 1e-12);
    close("mean", &[got.mean], &[2.0], 1e-12);
    close("gradient", &got.gradient, &[2.0 / 3.0, 4.0 / 3.0, -2.0 / 3.0, 0.0], 1e-12);
    // One attribute is the plain mean squared error.
    close("one", &[run(&rated(1), &[1.0, 4.0], &[0.0, 2.0]).mean], &[2.5], 1e-12);
}

#[test]
fn ties_by_hand() {
    let loss = TiesConfig { tie_weight: 0.5, ..TiesConfig::default() }.init().unwrap();
    // Differences 1 and 2 of pairs, 3 of a tie: the mean over pairs, and half the mean over ties.
    let (scores, labels) = ([1.0, 3.0, 2.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0]);
    let got = run(&loss, &scores, &labels);
    close("mean", &[got.mean], &[0.5 * (nll(1.0) + nll(2.0)) + 0.5 * 9.0], 1e-12);
    // Without a tie it is Bradley-Terry; of ties alone it has no such term.
    close("pairs", &run(&loss, &[1.5, 0.0], &[0.0]).rows, &[nll(1.5)], 1e-12);
    close("ties", &[run(&loss, &[3.0, 0.0], &[1.0]).mean], &[4.5], 1e-12);
    assert!(loss.needs().coupled);
    // Sums 1, 5 and 2 are centred, over all three.
    let centred = TiesConfig { tie_weight: 0.0, centre: 0.1 }.init().unwrap();
    let got = run(&centred, &[1.0, 4.0, 2.0, 0.0, 1.0, 0.0], &labels);
    close("centred", &[got.mean], &[0.5 * (nll(1.0) + nll(2.0)) + 0.1 * (1.0 + 25.0 + 4.0) / 3.0], 1e-12);
}

#[test]
fn confidence_pairs_by_hand() {
    let plain = ConfidencePairs { combined: false };
    // chosen high 2, chosen low 1, rejected high 0, rejected low 3.
    close("loss", &run(&plain, &[2.0, 1.0, 0.0, 3.0], &[]).rows, &[nll(1.0) + nll(3.0)], 1e-12);
    // With the same text for high and low the pair is left, and two times ln 2.
    let combined = ConfidencePairs { combined: true };
    let got = run(&combined, &[2.0, 2.0, 1.0, 1.0, 1.5, 0.0], &[]);
    close("loss", &got.rows, &[nll(1.5) + 2.0 * 2f64.ln()], 1e-12);
    close("gradient", &got.gradient[4..], &[sigmoid(1.5) - 1.0, 1.0 - sigmoid(1.5)], 1e-12);
    close("accuracy", &got.stat("confidence/chosen"), &[0.5], 0.0);
}

#[test]
fn general_preferences_by_hand() {
    let model = |config: GeneralPreferenceConfig| config.init().unwrap();
    let raw = GeneralPreferenceConfig { dim: 2, tau: 1.0, normalize: false, ..GeneralPreferenceConfig::default() };
    // v = (1, 2), u = (3, -1): 1 * -1 - 2 * 3.
    let got = run(&model(raw), &[1.0, 2.0, 3.0, -1.0], &[]);
    close("score", &got.stat("rewards/margins"), &[-7.0], 1e-12);
    close("loss", &got.rows, &[nll(-7.0)], 1e-12);
    // With v = (r, 1) it is Bradley-Terry.
    close("special case", &run(&model(raw), &[1.5, 1.0, 0.0, 1.0], &[]).rows, &[nll(1.5)], 1e-12);
    // A cycle: vectors at 0, 120 and 240 degrees beat each other by sin 120.
    let cycle: Vec<f64> = (0..3)
        .flat_map(|at| [f64::from(at * 120).to_radians().cos(), f64::from(at * 120).to_radians().sin()])
        .collect();
    let unit = GeneralPreferenceConfig { normalize: true, ..raw };
    let table = values(model(unit).table(floats(&cycle, [3, 2], &device(), DType::F64)).unwrap());
    close("cycle", &[table[1], table[5], table[6]], &[0.866025; 3], 5e-7);
    close("itself", &[table[0], table[4], table[8]], &[0.0; 3], 1e-12);
    // Bradley-Terry on the cycle is best with equal scores, at ln 2, where every pair is a tie.
    let pairs = |r: [f64; 3]| run(bradley_terry().as_ref(), &[r[0], r[1], r[2], r[1], r[2], r[0]], &[]);
    close("equal", &[pairs([0.0; 3]).mean], &[2f64.ln()], 1e-12);
    close(
        "flat",
        &pairs([0.0; 3]).gradient,
        &[-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0, 1.0 / 6.0, 1.0 / 6.0, 1.0 / 6.0],
        1e-12,
    );
    for order in [[0.5, 0.0, -0.5], [0.0, 2.0, 1.0]] {
        let got = pairs(order);
        assert!(got.mean > 2f64.ln() && got.stat("rewards/accuracies").iter().sum::<f64>() <= 2.0);
    }
    // Blocks of scores 1 and 2; equal gate logits scale by 1, others by k softmax(g / sqrt(hidden)).
    let gated = GeneralPreferenceConfig { dim: 4, gate: Some(Gate::Scaled { hidden: 4 }), ..raw };
    let rows = |gate: [f64; 2]| [1.0, 0.0, 2.0, 0.0, gate[0], gate[1], 0.0, 1.0, 0.0, 1.0, 9.0, 9.0];
    let score = |config, gate| run(&model(config), &rows(gate), &[]).stat("rewards/margins")[0];
    close("even gate", &[score(gated, [5.0, 5.0])], &[3.0], 1e-12);
    // Logits 2 ln 3 and 0 over a root of 2: weights 3/4 and 1/4, twice.
    let three = 3f64.ln();
    close("gate", &[score(gated, [2.0 * three, 0.0])], &[2.0 * (0.75 + 0.25 * 2.0)], 1e-12);
    let plain = GeneralPreferenceConfig { gate: Some(Gate::Plain), ..gated };
    close("plain gate", &[score(plain, [three, 0.0])], &[0.75 + 0.25 * 2.0], 1e-12);
    // The variants.
    let margin = GeneralPreferenceConfig { tau: 2.0, form: PreferenceForm::Margin(1.0), ..raw };
    close("margin", &run(&model(margin), &[1.5, 1.0, 0.0, 1.0], &[]).rows, &[nll(0.25)], 1e-12);
    let squares = GeneralPreferenceConfig { tau: 0.5, form: PreferenceForm::Regression, ..raw };
    close("regression", &run(&model(squares), &[1.5, 1.0, 0.0, 1.0], &[]).rows, &[0.5 * 49.0], 1e-12);
    // Vectors of the released models have length 1, so a score is at most the sum of the scales; a zero vector stays zero.
    let bounded = run(&model(unit), &[100.0, 0.0, 0.0, 0.001], &[]);
    close("bounded", &bounded.stat("rewards/margins"), &[1.0], 1e-12);
    assert!(run(&model(unit), &[0.0; 4], &[]).gradient.iter().all(|x| x.is_finite()));
    assert!(model(unit).table(floats(&[0.0; 3], [1, 3], &device(), DType::F64)).is_err(), "another width");
}

#[test]
fn a_temperature_goes_down_the_slope_of_the_loss() {
    let base = GeneralPreferenceConfig { dim: 2, tau: 1.0, normalize: false, ..GeneralPreferenceConfig::default() };
    // Scores 1.5 and -0.5, with v = (r, 1).
    let scores = [1.5, 1.0, 0.0, 1.0, 0.0, 1.0, 0.5, 1.0];
    let batch = || ScoreBatch::new(2, floats(&scores, [4, 2], &device(), DType::F64)).unwrap();
    for form in [PreferenceForm::Logistic, PreferenceForm::Margin(0.25), PreferenceForm::Regression] {
        let learned = GeneralPreferenceConfig { tau_rate: 0.01, form, ..base }.init().unwrap();
        assert!(learned.needs().coupled && (learned.tau() - 1.0).abs() < 1e-12);
        let loss = |tau: f64| run(&GeneralPreferenceConfig { tau, form, ..base }.init().unwrap(), &scores, &[]).mean;
        close("loss", &[run(&learned, &scores, &[]).mean], &[loss(1.0)], 1e-12);
        let slope = (loss(1.0 + 1e-5) - loss(1.0 - 1e-5)) / 2e-5;
        learned.observe(&batch()).unwrap();
        // t = ln(e - 1), where softplus has the slope (e - 1)/e.
        let e = std::f64::consts::E;
        let t = (e - 1.0).ln() - 0.01 * slope * (e - 1.0) / e;
        close("moved", &[learned.tau()], &[t.exp().ln_1p()], 1e-8);
        close("memory", &learned.memory(), &[t], 1e-8);
        close("told", &run(&learned, &scores, &[]).stat("rewards/tau"), &[learned.tau(); 2], 1e-12);
        let other = GeneralPreferenceConfig { tau_rate: 0.01, form, ..base }.init().unwrap();
        other.remember(&learned.memory()).unwrap();
        assert_eq!(other.tau(), learned.tau());
        assert_eq!(GeneralPreference::temperature(learned.memory()[0]), learned.tau());
    }
    // It never falls below 0.01, and one that is not learned stays.
    let steep = GeneralPreferenceConfig { tau_rate: 1e6, ..base }.init().unwrap();
    steep.observe(&ScoreBatch::new(2, floats(&scores[..4], [2, 2], &device(), DType::F64)).unwrap()).unwrap();
    close("floor", &[steep.tau()], &[0.01], 1e-12);
    let fixed = base.init().unwrap();
    fixed.observe(&batch()).unwrap();
    assert!(fixed.tau() == 1.0 && fixed.memory().is_empty() && !fixed.needs().coupled && fixed.remember(&[]).is_ok());
    assert!(fixed.remember(&[1.0]).is_err() && steep.remember(&[]).is_err() && steep.remember(&[f64::NAN]).is_err());
    for (tau, tau_rate) in [(1.0, -0.1), (1.0, f64::NAN), (0.001, 0.1)] {
        assert!(GeneralPreferenceConfig { tau, tau_rate, ..base }.init().is_err(), "{tau} {tau_rate}");
    }
    assert!(bradley_terry().remember(&[1.0]).is_err() && bradley_terry().memory().is_empty());
}

#[test]
fn machine_text_by_hand() {
    let loss = |mixed_weight: f64, l2: f64| MachineTextConfig { mixed_weight, l2 }.init().unwrap();
    // Machine 2, mixed 1, human 0, without mixed text: Bradley-Terry and squares, over the three comparisons.
    let got = run(&loss(0.0, 0.01), &[2.0, 1.0, 0.0], &[]);
    close("two", &got.rows, &[(nll(2.0) + 0.005 * 4.0) / 3.0], 1e-12);
    let three = (0.35 * nll(1.0) + nll(2.0) + 0.35 * nll(1.0)) / 3.0;
    close("three", &run(&loss(0.35, 0.0), &[2.0, 1.0, 0.0], &[]).rows, &[three], 1e-12);
    // Replay: 0.01 * (1 - 3)^2 for each text.
    let scores = |r: f64| floats(&[r, 3.0], [2], &device(), DType::F64);
    close("replay", &values(replay(scores(1.0), &[3.0, 3.0], 0.01).unwrap()), &[0.04, 0.0], 1e-12);
    assert!(replay(scores(1.0), &[3.0], 0.01).is_err() && replay(scores(1.0), &[3.0, f64::NAN], 0.01).is_err());
    assert!(replay(scores(1.0), &[3.0, 3.0], -1.0).is_err());
    // Descent on the loss and a heavy replay leaves a score where it was: its own slope is at most 1 in all.
    let weight = 1e4;
    let mut r = [0.5, -0.5, 0.25];
    for _ in 0..200 {
        let slope = run(&loss(0.35, 0.01), &r, &[]).gradient;
        let start = [0.5, -0.5, 0.25];
        (0..3).for_each(|at| r[at] -= 2e-5 * (slope[at] + 2.0 * weight * (r[at] - start[at])));
    }
    close("frozen", &r, &[0.5, -0.5, 0.25], 1e-4);
}

#[test]
fn trajectories_by_hand() {
    let loss = |centre: f64| TrajectoriesConfig { centre }.init().unwrap();
    // Means of r+ + r-: (3 - 5) / 2 = -1, so 0.5 of it is added to the mean.
    let (scores, plain) = ([2.0, -2.0, 1.0, -3.0], 0.5 * (nll(1.0) + nll(1.0)));
    close("centred", &[run(&loss(0.5), &scores, &[]).mean], &[plain + 0.5], 1e-12);
    close("plain", &[run(&loss(0.0), &scores, &[]).mean], &[plain], 1e-12);
    // Without centring a constant on every score changes nothing; with it the mean of r+ + r- goes from -1 to 1.
    let shifted = scores.map(|score| score + 1.0);
    close("shifted", &[run(&loss(0.0), &shifted, &[]).mean], &[plain], 1e-12);
    close("shifted, centred", &[run(&loss(0.5), &shifted, &[]).mean], &[plain + 0.5], 1e-12);
    assert!(loss(0.5).needs().coupled);
}

#[test]
fn weak_to_strong_by_hand() {
    let loss = |confidence: f64, alpha: f64| WeakToStrongConfig { confidence, alpha, warm_up: 0.2 }.init().unwrap();
    let ce = |d: f64, q: f64| q * nll(d) + (1.0 - q) * nll(-d);
    // Imitation: the teacher's probabilities as they are.
    let scores = [1.0, -1.0, 0.0, 0.0];
    let got = run(&loss(0.0, 0.0), &scores, &[0.7, 0.3]);
    close("plain", &got.rows, &[ce(1.0, 0.7), ce(-1.0, 0.3)], 1e-12);
    // Half of the pairs are positives for the teacher, so the higher of two is a hard positive: targets 0.85 and 0.15.
    let got = run(&loss(0.5, 0.0), &scores, &[0.7, 0.3]);
    close("targets", &got.stat("weak/target"), &[0.85, 0.15], 1e-12);
    close("confident", &got.rows, &[ce(1.0, 0.85), ce(-1.0, 0.15)], 1e-12);
    // The ramp: nothing at the start, half of it after a tenth of training.
    let targets =
        |progress: f64| run_at(&loss(0.5, 0.0), &scores, &[0.7, 0.3], progress, DType::F64).stat("weak/target");
    close("start", &targets(0.0), &[0.7, 0.3], 1e-12);
    close("half way", &targets(0.1), &[0.775, 0.225], 1e-12);
    close("end", &targets(1.0), &[0.85, 0.15], 1e-12);
    // A conflict adds the flipped truth where the student is wrong: the second pair is truly better in its first response.
    let got = run(&loss(0.0, 0.5), &scores, &[0.7, 1.0, 0.3, 1.0]);
    close("conflict", &got.rows, &[ce(1.0, 0.7), ce(-1.0, 0.3) + 0.5 * ce(-1.0, 0.0)], 1e-12);
    // A teacher who knows is supervision.
    close("supervised", &run(&loss(0.0, 0.0), &scores, &[1.0, 0.0]).rows, &[nll(1.0), nll(1.0)], 1e-12);
    assert!(loss(0.5, 0.0).needs().coupled && !loss(0.0, 0.0).needs().coupled);
}

#[test]
fn self_consistency_by_hand() {
    let config = |disagreement| SelfConsistencyConfig { models: 2, consistency: 1.0, confidence: 0.0, disagreement };
    let three = 3f64.ln();
    let kl = |p: f64, q: f64| p * (p / q).ln() + (1.0 - p) * ((1.0 - p) / (1.0 - q)).ln();
    // Probabilities 3/4 and 1/2, mean 5/8.
    let got = run(&config(Disagreement::FromMean).init().unwrap(), &[three, 0.0], &[]);
    close("from the mean", &got.rows, &[kl(0.625, 0.75) + kl(0.625, 0.5)], 1e-12);
    // The mean is cut from the gradient: sigmoid(x) less the mean.
    close("gradient", &got.gradient, &[0.75 - 0.625, 0.5 - 0.625], 1e-12);
    let got = run(&config(Disagreement::Symmetric).init().unwrap(), &[three, 0.0], &[]);
    close("symmetric", &got.rows, &[(kl(0.75, 0.5) + kl(0.5, 0.75)) / 4.0], 1e-12);
    for disagreement in [Disagreement::FromMean, Disagreement::Symmetric] {
        let agreed = run(&config(disagreement).init().unwrap(), &[0.7, 0.7], &[]);
        close("agreement", &agreed.rows, &[0.0], 1e-12);
    }
    // Entropy alone: ln 2 at one half, less at certainty.
    let entropy =
        SelfConsistencyConfig { models: 1, consistency: 0.0, confidence: 1.0, ..config(Disagreement::FromMean) };
    let entropy = entropy.init().unwrap();
    close("coin", &run(&entropy, &[0.0], &[]).rows, &[2f64.ln()], 1e-12);
    close("certain", &run(&entropy, &[60.0, -60.0], &[]).rows, &[0.0, 0.0], 1e-12);
}

#[test]
fn concept_energies_by_hand() {
    let config = ConceptEnergyConfig { concepts: 1, label_weight: 3.0, concept_weight: 2.0, joint_weight: 1.0 };
    // Label good, concept absent. Energies (bad, good) 2, 0; (absent, present) 1, 0; (bad, good) 0, 1.
    let got = run(&config.init().unwrap(), &[2.0, 0.0, 1.0, 0.0, 0.0, 1.0], &[1.0, 0.0]);
    // -log softmax(-E): differences 2, -1 and -1 in favour of the truth.
    close("loss", &got.rows, &[3.0 * nll(2.0) + 2.0 * nll(-1.0) + nll(-1.0)], 1e-12);
    close("label", &got.stat("label/accuracies"), &[1.0], 0.0);
    close("concepts", &got.stat("concepts/accuracies"), &[0.0], 0.0);
}

#[test]
fn gaussian_heads_by_hand() {
    let heads = |form| GaussianHeadsConfig { heads: 2, form }.init().unwrap();
    // Deviation softplus(0) + 1e-4; targets 1; means 1 and 3; the second head sees the row twice.
    let s = 2f64.ln() + 1e-4;
    let got = run(&heads(HeadForm::Likelihood), &[1.0, 3.0, 0.0, 0.0], &[1.0, 1.0, 2.0]);
    let expected = s.ln() + 2.0 * (0.5 * (2.0 / s).powi(2) + s.ln());
    close("likelihood", &got.rows, &[expected], 1e-12);
    close("weights", &got.weights, &[3.0], 0.0);
    // A row that no head sees.
    let unseen = run(&heads(HeadForm::Likelihood), &[1.0, 3.0, 0.0, 0.0], &[1.0, 0.0, 0.0]);
    assert_eq!((unseen.rows, unseen.weights), (vec![0.0], vec![0.0]));
    // A sample with noise 1 and -1.
    let got = run(&heads(HeadForm::Sample), &[1.0, 3.0, 0.0, 0.0], &[1.0, 1.0, 1.0, 1.0, -1.0]);
    close("sample", &got.rows, &[s * s + (2.0 - s).powi(2)], 1e-12);
    // ln s is held in [-7, 4], so a huge z has no gradient.
    let held = run(&heads(HeadForm::Likelihood), &[1.0, 1.0, 1e4, -1e4], &[1.0, 1.0, 1.0]);
    close("held", &held.rows, &[4.0 - 7.0], 1e-9);
    close("held", &held.gradient[2..], &[0.0, 0.0], 1e-12);
    // Poisson(1): mean and variance 1.
    let mut stream = ascribe_core::Seed(5).stream("bootstrap", 0);
    let drawn = bootstrap_weights(20_000, &mut stream);
    let mean = drawn.iter().sum::<f64>() / drawn.len() as f64;
    let variance = drawn.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / drawn.len() as f64;
    assert!((mean - 1.0).abs() < 0.04 && (variance - 1.0).abs() < 0.08, "{mean} {variance}");
    // Standard normal: mean 0 and variance 1.
    let drawn = sample_noise(20_000, &mut stream);
    let mean = drawn.iter().sum::<f64>() / drawn.len() as f64;
    let variance = drawn.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / drawn.len() as f64;
    assert!(mean.abs() < 0.04 && (variance - 1.0).abs() < 0.06, "{mean} {variance}");
}

fn rows(values: &[[f64; 2]]) -> Tensor<2> {
    floats(&values.concat(), [values.len(), 2], &device(), DType::F64)
}

#[test]
fn contrastive_losses_by_hand() {
    // Equal views at right angles: cosines 1 and 0.
    let (tau, items) = (0.5, [[3.0, 0.0], [0.0, 2.0]]);
    let got = values(sim_cse(rows(&items), rows(&items), tau).unwrap());
    close("right angle", &got, &[(-1.0 / tau).exp().ln_1p(); 2], 1e-12);
    // In general log(1 + sum over the others of exp((cos - 1) / tau)).
    let items = [[1.0, 0.0], [1.0, 1.0], [-1.0, 1.0]];
    let half = 0.5f64.sqrt();
    let other = |cosines: [f64; 2]| cosines.iter().map(|cos| ((cos - 1.0) / tau).exp()).sum::<f64>().ln_1p();
    let expected = [other([half, -half]), other([half, 0.0]), other([-half, 0.0])];
    close("three", &values(sim_cse(rows(&items), rows(&items), tau).unwrap()), &expected, 1e-12);
    // A small temperature stays finite.
    assert!(values(sim_cse(rows(&items), rows(&items), 1e-3).unwrap()).iter().all(|x| x.is_finite()));
    let pairs = values(differences(rows(&[[1.0, 2.0]]), rows(&[[0.0, 3.0]])).unwrap());
    close("differences", &pairs, &[1.0, -1.0, -1.0, 1.0], 0.0);

    // SwAV: items on two prototypes at right angles have hard codes as epsilon falls, and p = softmax of (1, 0) / tau.
    let (items, prototypes) = ([[2.0, 0.0], [0.0, 3.0]], [[5.0, 0.0], [0.0, 1.0]]);
    let options = Swav { tau, epsilon: 0.01, iterations: 3 };
    let got = values(swav(rows(&items), rows(&items), rows(&prototypes), options).unwrap());
    close("swav", &got, &[2.0 * (-1.0 / tau).exp().ln_1p(); 2], 1e-9);

    for wrong in [0.0, -1.0, f64::NAN] {
        assert!(sim_cse(rows(&items), rows(&items), wrong).is_err(), "{wrong}");
        assert!(swav(rows(&items), rows(&items), rows(&prototypes), Swav { tau: wrong, ..options }).is_err());
    }
    assert!(sim_cse(rows(&items[..1]), rows(&items[..1]), tau).is_err(), "one item");
    assert!(sim_cse(rows(&items), rows(&[[0.0, 0.0], [1.0, 0.0]]), tau).is_err(), "no length");
    assert!(sim_cse(rows(&items), rows(&items[..1]), tau).is_err());
    assert!(sim_cse(rows(&items), rows(&[[f64::NAN, 0.0], [1.0, 0.0]]), tau).is_err());
    assert!(sinkhorn(Vec::new(), 0, 3).is_empty());
    let wide = floats(&[1.0; 3], [1, 3], &device(), DType::F64);
    assert!(swav(rows(&items), rows(&items), wide, options).is_err());
    assert!(swav(rows(&items), rows(&items), rows(&prototypes), Swav { iterations: 0, ..options }).is_err());
}

#[test]
fn a_spread_by_hand() {
    let scores = |values: &[f64]| floats(values, [1, values.len()], &device().autodiff(), DType::F64).require_grad();
    // 2/9 of sigmoid(ln 3) = 3/4, sigmoid(ln 3), and sigmoid(2 ln 3) = 9/10.
    let three = 3f64.ln();
    let j = values(spread(scores(&[0.0, three, 2.0 * three])).unwrap());
    close("spread", &j, &[2.0 / 9.0 * (0.75 + 0.75 + 0.9)], 1e-12);
    // Equal scores are at the lower bound, without a gradient.
    let equal = scores(&[0.5; 4]);
    let j = spread(equal.clone()).unwrap();
    close("bound", &values(j.clone()), &[3.0 / 8.0], 1e-12);
    close("gradient", &values(equal.grad(&j.sum().backward()).unwrap()), &[0.0; 4], 0.0);
    assert!(spread(scores(&[1.0])).is_err());
}

#[test]
fn steering_by_hand() {
    let device = device().autodiff();
    let row = |values: &[f64]| floats(values, [1, values.len()], &device, DType::F64);
    let batch = |attributes: &[f64], prior: &[f64], sampler: &[f64], policy: Tensor<2>| SteerBatch {
        attributes: row(attributes),
        prior: row(prior),
        sampler: row(sampler),
        policy,
    };
    let policy = row(&[-9.5, -12.5, -9.0]).require_grad();
    let given = ([-2.0, -1.5, -3.0], [-11.0, -11.0, -10.0], [-10.0, -12.0, -9.0]);
    let loss = steer(batch(&given.0, &given.1, &given.2, policy.clone()), None).unwrap();
    // The gradient is minus the difference of the two softmaxes.
    let (w, b) = ([0.073799, 0.899052, 0.027149], [0.506480, 0.186324, 0.307196]);
    let expected: Vec<f64> = w.iter().zip(&b).map(|(w, b)| b - w).collect();
    let gradient = values(policy.grad(&loss.rows.clone().sum().backward()).unwrap());
    close("gradient", &gradient, &expected, 1e-6);
    assert!(gradient.iter().sum::<f64>().abs() < 1e-12);
    let kl: f64 = w.iter().zip(&b).map(|(w, b)| w * (w / b).ln()).sum();
    close("kl", &values(loss.stats[0].1.clone()), &[kl], 1e-5);
    // Divided by the mean length.
    let lengths = Some(row(&[2.0, 4.0, 6.0]));
    let scaled = steer(batch(&given.0, &given.1, &given.2, policy.clone()), lengths).unwrap();
    close("lengths", &values(scaled.rows), &[values(loss.rows)[0] / 4.0], 1e-12);
    // One response, or a policy at the posterior, learns nothing; numbers of -1000 are no trouble.
    for (attributes, prior, sampler, own) in [
        (vec![-2.0], vec![-3.0], vec![-5.0], vec![-4.0]),
        (vec![-1.0; 2], vec![-1000.0, -1001.0], vec![-1000.0, -1001.0], vec![-1000.0, -1001.0]),
    ] {
        let own = row(&own).require_grad();
        let loss = steer(batch(&attributes, &prior, &sampler, own.clone()), None).unwrap();
        let gradient = values(own.grad(&loss.rows.sum().backward()).unwrap());
        assert!(gradient.iter().all(|x| x.abs() < 1e-12), "{gradient:?}");
    }
    assert!(steer(batch(&[1.0], &[1.0], &[1.0], row(&[1.0, 2.0])), None).is_err());
    // A density at its peak with variance 1 / (2 pi) is 1, and one deviation away e^(-1/2) of it.
    let variance = 0.5 / std::f64::consts::PI;
    let logp = attribute_logp(&[3.0, 2.0], &[3.0, 2.0 + variance.sqrt()], &[variance; 2]).unwrap();
    close("attributes", &[logp], &[-0.5], 1e-12);
    assert!(attribute_logp(&[1.0], &[1.0], &[0.0]).is_err() && attribute_logp(&[], &[], &[]).is_err());
}
