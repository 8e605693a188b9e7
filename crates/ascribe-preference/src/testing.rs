//! What every objective must satisfy whatever its numbers are: checks for a loss of one's own, behind the feature `testing`.
//!
//! ```text
//! #[test]
//! fn my_loss_is_a_loss() {
//!     ascribe_preference::testing::check(&MyLoss, &Device::flex());
//! }
//! ```
//! [`check`] draws batches of what the objective needs and holds against each other: its gradient and central differences;
//! rows with padding on the right, on the left and without; rows alone and together, in either order (a coupled objective
//! keeps its sum); a pair and the same pair swapped; a policy that equals its reference and rewards of 0; margins of a
//! thousand and finite numbers; a batch without what is needed and an error. [`check_split`] holds the gradients of a
//! window that goes through a model at once against those of the same window split. The losses of this crate pass both, by
//! name, so a new row of the table is checked on arrival.

use ascribe_core::tensor::Mask;
use ascribe_core::{LogpBatch, Loss, Needs, Objective, RowKind, Seed};
use ascribe_data::batches_by_tokens;
use ascribe_lm::Decoder;
use ascribe_train::{Learned, Learner};
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::{LogpLearner, TrainRow};

/// One response, a number a token; and a number for the whole.
#[derive(Clone, Debug, Default)]
struct Response {
    logps: Vec<f64>,
    refs: Vec<f64>,
    credit: Vec<f64>,
    divergence: Vec<f64>,
    concentration: Vec<f64>,
    score: f64,
}

/// A training row with all that any objective may need of it.
#[derive(Clone, Debug, Default)]
struct Example {
    responses: Vec<Response>,
    prompt: Vec<f64>,
    label: bool,
    consistency: f64,
    weight: f64,
    mismatched: f64,
}

/// Where padding stands, and how much of it.
#[derive(Clone, Copy, Default)]
struct Padding {
    left: usize,
    right: usize,
}

/// A batch with what gradients are taken by.
struct Drawn {
    batch: LogpBatch,
    logps: Tensor<2>,
    divergence: Option<Tensor<2>>,
    prompts: Option<Tensor<2>>,
}

/// What an objective said of some examples.
struct Outcome {
    loss: Loss,
    rows: Vec<f64>,
    /// Gradient of the summed loss by all numbers of each example, in the order of [`Example::numbers`].
    gradients: Vec<Vec<f64>>,
}

/// Checks all invariants on drawn batches.
///
/// # Panics
/// With the name of the invariant that does not hold. `device` must have floats of 64 bits.
pub fn check(objective: &dyn Objective, device: &Device) {
    for round in 0..3 {
        let examples = draw(&objective.needs(), 4, Seed(round));
        gradients_are_central_differences(objective, &examples, device);
        padding_changes_nothing(objective, &examples, device);
        order_and_split_change_nothing(objective, &examples, device);
        swapping_a_pair_swaps_its_rewards(objective, &examples, device);
        the_reference_earns_nothing(objective, &examples, device);
        memory_is_whole(objective, &examples, device);
    }
    large_margins_are_finite(objective, device);
    what_is_needed_must_be_there(objective, device);
}

/// Checks that a window gives the same gradients however many of its rows, or of their tokens, go through `model` at once.
///
/// # Panics
/// When it does not.
pub fn check_split(learner: &LogpLearner, model: &Decoder, rows: &[TrainRow]) {
    let rows: Vec<&TrainRow> = rows.iter().collect();
    let memory = learner.memory();
    let whole = learner.learn_window(model, &rows, rows.len()).expect("the rows have what the objective needs");
    let gradients = flat(model, &whole.gradients);
    // Rounding goes with the largest slope.
    let largest = gradients.iter().fold(f64::MIN_POSITIVE, |largest, slope| largest.max(slope.abs()));
    let scaled = |slopes: Vec<f64>, by: f64| slopes.into_iter().map(|slope| slope / by).collect::<Vec<f64>>();
    let gradients = scaled(gradients, largest);
    let agrees = |Learned { gradients: split, tally }: Learned| {
        close("the loss of a split window", &[tally.loss], &[whole.tally.loss], 1e-4);
        close("the weight of a split window", &[tally.weight], &[whole.tally.weight], 1e-6);
        let split = scaled(flat(model, &split), largest);
        close("the gradient of a split window", &split, &gradients, 1e-4);
    };
    let count = |rows: &[&TrainRow]| learner.tokens(rows).expect("the learner counts tokens");
    for batch in 1..rows.len() {
        learner.remember(&memory).expect("its own memory");
        agrees(learner.learn_window(model, &rows, batch).expect("the same rows"));
        learner.remember(&memory).expect("its own memory");
        let batches = batches_by_tokens(&rows, count(&rows) / (batch + 1), count);
        agrees(learner.learn_batches(model, &batches, 0.0).expect("the same rows"));
    }
    learner.remember(&memory).expect("its own memory");
}

/// All gradients in the order of the parameters.
fn flat(model: &Decoder, gradients: &GradientsParams) -> Vec<f64> {
    struct Gather<'a> {
        gradients: &'a GradientsParams,
        values: Vec<f64>,
    }
    impl ModuleVisitor for Gather<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = self.gradients.get::<D>(param.id) {
                self.values.extend(gradient.into_data().iter::<f64>());
            }
        }
    }
    let mut gather = Gather { gradients, values: Vec::new() };
    model.visit(&mut gather);
    gather.values
}

fn gradients_are_central_differences(objective: &dyn Objective, examples: &[Example], device: &Device) {
    const STEP: f64 = 1e-4;
    let needs = objective.needs();
    let got = run(objective, examples, Padding::default(), DType::F64, device);
    // What has no gradient stands still while the policy moves.
    let still = batch(&needs, examples, Padding::default(), DType::F64, device).batch;
    let total = |examples: &[Example]| {
        let moved = batch(&needs, examples, Padding::default(), DType::F64, device).batch.with_frozen(still.clone());
        host(objective.loss(&moved).expect("it has what is needed").rows).iter().sum::<f64>()
    };
    for at in 0..examples.len() {
        for number in 0..examples[at].clone().numbers(&needs).len() {
            let mut moved = [examples.to_vec(), examples.to_vec()];
            for (examples, step) in moved.iter_mut().zip([STEP, -STEP]) {
                *examples[at].numbers(&needs)[number] += step;
            }
            let slope = (total(&moved[0]) - total(&moved[1])) / (2.0 * STEP);
            close("the gradient against a central difference", &[got.gradients[at][number]], &[slope], 2e-6);
        }
    }
}

fn padding_changes_nothing(objective: &dyn Objective, examples: &[Example], device: &Device) {
    let whole = run(objective, examples, Padding::default(), DType::F64, device);
    for padding in [Padding { left: 0, right: 3 }, Padding { left: 3, right: 0 }, Padding { left: 2, right: 1 }] {
        let padded = run(objective, examples, padding, DType::F64, device);
        close("a padded row", &padded.rows, &whole.rows, 1e-10);
        close("the gradient of a padded row", &padded.gradients.concat(), &whole.gradients.concat(), 1e-10);
    }
}

fn order_and_split_change_nothing(objective: &dyn Objective, examples: &[Example], device: &Device) {
    let run = |examples: &[Example]| run(objective, examples, Padding::default(), DType::F64, device);
    let (needs, whole) = (objective.needs(), run(examples));
    if !needs.weighted {
        close("the weight of a row", &host(whole.loss.weights.clone()), &vec![1.0; whole.rows.len()], 0.0);
    }
    let turned: Vec<Example> = examples.iter().rev().cloned().collect();
    let mut turned = run(&turned);
    let sum = |rows: &[f64]| rows.iter().sum::<f64>();
    close("the sum of turned rows", &[sum(&turned.rows)], &[sum(&whole.rows)], 1e-9);
    turned.gradients.reverse();
    close("the gradient of turned rows", &turned.gradients.concat(), &whole.gradients.concat(), 1e-9);
    if needs.coupled {
        return;
    }
    let mut start = 0;
    for (at, example) in examples.iter().enumerate() {
        let alone = run(std::slice::from_ref(example));
        let n = alone.rows.len();
        close("a row alone", &alone.rows, &whole.rows[start..start + n], 1e-10);
        close("the gradient of a row alone", &alone.gradients[0], &whole.gradients[at], 1e-10);
        start += n;
    }
}

fn swapping_a_pair_swaps_its_rewards(objective: &dyn Objective, examples: &[Example], device: &Device) {
    if !matches!(objective.needs().kind, RowKind::Pairs | RowKind::Triples) {
        return;
    }
    let mut swapped = examples.to_vec();
    swapped.iter_mut().for_each(|example| example.responses.swap(0, 1));
    let run = |examples: &[Example]| run(objective, examples, Padding::default(), DType::F64, device);
    let (whole, swapped) = (run(examples), run(&swapped));
    for (name, other, sign) in
        [("rewards/chosen", "rewards/rejected", 1.0), ("rewards/margins", "rewards/margins", -1.0)]
    {
        if let (Some(whole), Some(swapped)) = (whole.stat(name), swapped.stat(other)) {
            let swapped: Vec<f64> = swapped.iter().map(|value| sign * value).collect();
            close("a reward of a swapped pair", &swapped, &whole, 1e-10);
        }
    }
}

fn the_reference_earns_nothing(objective: &dyn Objective, examples: &[Example], device: &Device) {
    if !objective.needs().ref_logps {
        return;
    }
    let mut moved = examples.to_vec();
    for response in moved.iter_mut().flat_map(|example| &mut example.responses) {
        response.logps.iter_mut().for_each(|logp| *logp -= 0.25);
    }
    let run = |examples: &[Example]| run(objective, &at_reference(examples), Padding::default(), DType::F64, device);
    let (outcome, moved) = (run(examples), run(&moved));
    for name in ["rewards/chosen", "rewards/rejected", "rewards/margins"] {
        // Where policy and reference move together and the reward moves too, it is no log-ratio: the reference weighs less.
        if let Some(rewards) = outcome.stat(name).filter(|rewards| moved.stat(name).as_ref() == Some(rewards)) {
            close("a reward of the reference", &rewards, &vec![0.0; rewards.len()], 1e-12);
        }
    }
}

fn memory_is_whole(objective: &dyn Objective, examples: &[Example], device: &Device) {
    let window = batch(&objective.needs(), examples, Padding::default(), DType::F64, device).batch;
    let loss = || host(objective.loss(&window).expect("it has what is needed").rows);
    let (before, memory) = (loss(), objective.memory());
    assert!(memory.is_empty() || objective.needs().coupled, "what remembers windows must be given them whole");
    objective.observe(&window).expect("it has what is needed");
    objective.remember(&memory).expect("its own memory");
    close("a loss after its memory was taken back", &loss(), &before, 0.0);
    assert!(objective.remember(&vec![0.0; memory.len() + 1]).is_err(), "the memory of another objective is taken back");
}

fn large_margins_are_finite(objective: &dyn Objective, device: &Device) {
    let response = |logp: f64, score: f64| Response {
        logps: vec![logp],
        refs: vec![-1.0],
        credit: vec![0.5],
        divergence: vec![1.0],
        concentration: vec![-1.0],
        score,
    };
    for size in [0.0, 100.0, 1e3, 1e4] {
        for turned in [false, true] {
            let example = Example {
                responses: (0..responses(objective.needs().kind))
                    .map(|side| response(if (side == 0) == turned { -size } else { -1e-3 }, -(side as f64)))
                    .collect(),
                prompt: vec![-1.0],
                label: turned,
                consistency: 0.5,
                weight: 0.5,
                mismatched: size,
            };
            let examples = [example.clone(), Example { label: !turned, ..example }];
            for dtype in [DType::F32, DType::F64] {
                let outcome = run(objective, &examples, Padding::default(), dtype, device);
                let mut all = outcome.rows.iter().chain(outcome.gradients.iter().flatten());
                assert!(all.all(|x| x.is_finite()), "margins of {size} are not finite in {dtype:?}");
            }
        }
    }
}

fn what_is_needed_must_be_there(objective: &dyn Objective, device: &Device) {
    let needs = objective.needs();
    let examples = draw(&needs, 2, Seed(0));
    let given = |needs: &Needs| batch(needs, &examples, Padding::default(), DType::F64, device).batch;
    let more = needs.ref_logps
        || needs.credit
        || needs.divergence
        || needs.log_sum_sq_probs
        || needs.prompt_logps
        || needs.mismatched
        || needs.scores
        || needs.consistency
        || needs.label_weights;
    assert_eq!(objective.loss(&given(&Needs::of(needs.kind))).is_err(), more, "a batch without what is needed");
    if !matches!(needs.kind, RowKind::Single) {
        let mut alone = needs;
        alone.kind = RowKind::Single;
        assert!(objective.loss(&given(&alone)).is_err(), "a batch of another kind is taken");
    }
}

impl Example {
    /// All numbers that a gradient flows to.
    fn numbers(&mut self, needs: &Needs) -> Vec<&mut f64> {
        let mut numbers = Vec::new();
        for response in &mut self.responses {
            numbers.extend(&mut response.logps);
            if needs.divergence {
                numbers.extend(&mut response.divergence);
            }
        }
        if needs.prompt_logps {
            numbers.extend(&mut self.prompt);
        }
        numbers
    }
}

impl Outcome {
    fn stat(&self, name: &str) -> Option<Vec<f64>> {
        let found = self.loss.stats.iter().find(|(known, _)| *known == name);
        found.map(|(_, values)| host(values.clone()))
    }
}

/// Responses of an example, at least.
fn responses(kind: RowKind) -> usize {
    match kind {
        RowKind::Groups => 3,
        kind => kind.sides(),
    }
}

/// Examples with numbers of the size that they have in training.
fn draw(needs: &Needs, examples: usize, seed: Seed) -> Vec<Example> {
    let mut drawn = 0;
    let mut next = |low: f64, high: f64| {
        drawn += 1;
        let bits = seed.child("objective check", drawn).0 >> 11;
        low + (high - low) * bits as f64 / (1u64 << 53) as f64
    };
    let mut all = Vec::with_capacity(examples);
    for at in 0..examples {
        let mut example = Example {
            prompt: (0..1 + at % 3).map(|_| next(-4.0, -0.1)).collect(),
            label: at % 2 == 0,
            consistency: next(0.0, 1.0),
            weight: 0.25 * (1 + at) as f64,
            mismatched: next(-0.5, 2.0),
            ..Example::default()
        };
        for side in 0..responses(needs.kind) {
            let n = 1 + (at + 2 * side) % 4;
            let mut numbers = |low: f64, high: f64| -> Vec<f64> { (0..n).map(|_| next(low, high)).collect() };
            let (logps, refs) = (numbers(-4.0, -0.1), numbers(-4.0, -0.1));
            let (credit, divergence, concentration) = (numbers(-0.5, 0.5), numbers(0.0, 1.0), numbers(-3.0, 0.0));
            let score = next(-1.0, 1.0);
            example.responses.push(Response { logps, refs, credit, divergence, concentration, score });
        }
        all.push(example);
    }
    all
}

/// The same examples under a policy that is its reference, with nothing that earns or costs.
fn at_reference(examples: &[Example]) -> Vec<Example> {
    let mut examples = examples.to_vec();
    for example in &mut examples {
        example.mismatched = 0.0;
        for response in &mut example.responses {
            response.refs = response.logps.clone();
            response.credit.fill(0.0);
            response.divergence.fill(0.0);
            response.score = 0.0;
        }
    }
    examples
}

/// The responses in the order of a batch, with the number of their example.
fn in_order(kind: RowKind, examples: &[Example]) -> Vec<(usize, &Response)> {
    let mut flat = Vec::new();
    if kind == RowKind::Groups {
        for (at, example) in examples.iter().enumerate() {
            flat.extend(example.responses.iter().map(|response| (at, response)));
        }
        return flat;
    }
    for side in 0..kind.sides() {
        flat.extend(examples.iter().enumerate().map(|(at, example)| (at, &example.responses[side])));
    }
    flat
}

fn batch(needs: &Needs, examples: &[Example], padding: Padding, dtype: DType, device: &Device) -> Drawn {
    let device = device.clone().autodiff();
    let flat = in_order(needs.kind, examples);
    // Numbers in the padding must not matter, however large they are.
    let padded = |rows: Vec<&[f64]>, junk: f64| {
        let width = padding.left + padding.right + rows.iter().map(|row| row.len()).max().unwrap_or(0);
        let left = std::iter::repeat_n(junk, padding.left);
        let row = |row: &&[f64]| {
            let right = std::iter::repeat_n(junk, width - padding.left - row.len());
            left.clone().chain(row.iter().copied()).chain(right).collect::<Vec<f64>>()
        };
        let values: Vec<f64> = rows.iter().flat_map(row).collect();
        tensor(values, [rows.len(), width], dtype, &device)
    };
    let mask = |rows: Vec<&[f64]>| {
        let width = padding.left + padding.right + rows.iter().map(|row| row.len()).max().unwrap_or(0);
        let counts = |row: &&[f64]| -> Vec<bool> {
            (0..width).map(|at| (padding.left..padding.left + row.len()).contains(&at)).collect()
        };
        let flags: Vec<Vec<bool>> = rows.iter().map(counts).collect();
        Mask::from_rows(&flags, &device)
    };
    let of = |numbers: fn(&Response) -> &[f64]| flat.iter().map(|(_, response)| numbers(response)).collect::<Vec<_>>();
    let column = |values: Vec<f64>| {
        let n = values.len();
        Tensor::<1>::from_data(TensorData::new(values, [n]), (&device, dtype))
    };
    let sound = "the shapes agree";
    let logps = padded(of(|one| &one.logps), f64::NEG_INFINITY).require_grad();
    let mut batch = LogpBatch::new(needs.kind, logps.clone(), mask(of(|one| &one.logps))).expect(sound);
    if needs.ref_logps {
        batch = batch.with_ref_logps(padded(of(|one| &one.refs), f64::NEG_INFINITY)).expect(sound);
    }
    if needs.credit {
        batch = batch.with_credit(padded(of(|one| &one.credit), 0.4)).expect(sound);
    }
    if needs.log_sum_sq_probs {
        batch = batch.with_log_sum_sq_probs(padded(of(|one| &one.concentration), -55.0)).expect(sound);
    }
    let divergence = needs.divergence.then(|| padded(of(|one| &one.divergence), 66.0).require_grad());
    if let Some(divergence) = &divergence {
        batch = batch.with_divergence(divergence.clone()).expect(sound);
    }
    let texts = || examples.iter().map(|example| example.prompt.as_slice()).collect::<Vec<_>>();
    let prompts = needs.prompt_logps.then(|| padded(texts(), f64::NEG_INFINITY).require_grad());
    if let Some(prompts) = &prompts {
        batch = batch.with_prompt_logps(prompts.clone(), mask(texts())).expect(sound);
    }
    let example = |at: &usize| &examples[*at];
    if needs.mismatched {
        batch =
            batch.with_mismatched(column(flat.iter().map(|(at, _)| example(at).mismatched).collect())).expect(sound);
    }
    if needs.scores {
        batch = batch.with_scores(column(flat.iter().map(|(_, response)| response.score).collect())).expect(sound);
    }
    if needs.consistency {
        let shares = examples.iter().map(|example| example.consistency).collect();
        batch = batch.with_consistency(column(shares)).expect(sound);
    }
    if needs.label_weights {
        let weights = examples.iter().map(|example| example.weight).collect();
        batch = batch.with_label_weights(column(weights)).expect(sound);
    }
    if needs.kind == RowKind::Labelled {
        batch = batch.with_labels(flat.iter().map(|(at, _)| example(at).label).collect()).expect(sound);
    }
    if needs.kind == RowKind::Groups {
        batch = batch.with_groups(examples.iter().map(|example| example.responses.len()).collect()).expect(sound);
    }
    Drawn { batch, logps, divergence, prompts }
}

fn run(objective: &dyn Objective, examples: &[Example], padding: Padding, dtype: DType, device: &Device) -> Outcome {
    let needs = objective.needs();
    let drawn = batch(&needs, examples, padding, dtype, device);
    let loss = objective.loss(&drawn.batch).expect("the batch has what is needed");
    let slopes = loss.rows.clone().sum().backward();
    let of = |leaf: &Tensor<2>| {
        let [n, width] = leaf.dims();
        let values: Vec<f64> = match leaf.grad(&slopes) {
            Some(slopes) => slopes.into_data().iter::<f64>().collect(),
            None => vec![0.0; n * width],
        };
        (values, width)
    };
    let cut = |(values, width): &(Vec<f64>, usize), row: usize, n: usize| {
        let (before, own) = values[row * width..(row + 1) * width].split_at(padding.left);
        let mut outside = before.iter().chain(&own[n..]);
        assert!(outside.all(|slope| *slope == 0.0), "padding has a gradient");
        own[..n].to_vec()
    };
    let (logps, divergence) = (of(&drawn.logps), drawn.divergence.as_ref().map(of));
    // In the order of the numbers of an example: its responses one after the other, and its prompt.
    let mut gradients: Vec<Vec<f64>> = vec![Vec::new(); examples.len()];
    for (row, (at, response)) in in_order(needs.kind, examples).into_iter().enumerate() {
        gradients[at].extend(cut(&logps, row, response.logps.len()));
        if let Some(divergence) = &divergence {
            gradients[at].extend(cut(divergence, row, response.divergence.len()));
        }
    }
    if let Some(prompts) = drawn.prompts.as_ref().map(of) {
        for (at, example) in examples.iter().enumerate() {
            gradients[at].extend(cut(&prompts, at, example.prompt.len()));
        }
    }
    Outcome { rows: host(loss.rows.clone()), loss, gradients }
}

fn tensor(values: Vec<f64>, shape: [usize; 2], dtype: DType, device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values, shape), (device, dtype))
}

fn host(values: Tensor<1>) -> Vec<f64> {
    values.into_data().iter::<f64>().collect()
}

#[track_caller]
fn close(what: &str, got: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{what}: {} numbers beside {}", got.len(), expected.len());
    for (at, (got, expected)) in got.iter().zip(expected).enumerate() {
        let near = (got - expected).abs() <= tolerance * (1.0 + expected.abs());
        assert!(near, "{what}: number {at} is {got:e}, and {expected:e} was expected within {tolerance:e}");
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::LN_2;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use ascribe_lm::{DecoderConfig, LocalPolicy, RandomWeights};
    use ascribe_testkit::device::device;

    use super::*;
    use crate::objectives::{COUPLED, Mixture, OBJECTIVES, ObjectiveOptions, ObjectiveRow, find};
    use crate::{LogpCache, mismatch, reference_logps};

    /// Options that make another loss of a row.
    const VARIANTS: [(&str, &str); 34] = [
        ("dpo", r#"{"label_smoothing": 0.2}"#),
        ("dpo", r#"{"reference_free": true}"#),
        ("dpo", r#"{"reference_weight": 0.5}"#),
        ("dpo", r#"{"f_divergence_type": "forward_kl"}"#),
        ("dpo", r#"{"f_divergence_type": "js_divergence"}"#),
        ("dpo", r#"{"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 0.5}"#),
        ("dpo", r#"{"ld_alpha": 0.3}"#),
        ("dpo", r#"{"use_weighting": true}"#),
        ("dpo", r#"{"label_weights": "mean"}"#),
        ("dpo", r#"{"label_weights": "weighted_mean", "use_weighting": true}"#),
        ("hinge", r#"{"label_weights": "weighted_mean", "lambda": 0.5, "nll_reduction": "window"}"#),
        ("ipo", r#"{"length_normalized": false}"#),
        ("ipo", r#"{"ld_alpha": 0.0, "use_weighting": true}"#),
        ("hinge", r#"{"lambda": 0.5, "nll_on": "reference"}"#),
        ("slic", r#"{"nll_reduction": "window"}"#),
        ("nca", r#"{"use_weighting": true}"#),
        ("bco-pair", r#"{"reward_shift": true}"#),
        ("aot", r#"{"label_smoothing": 0.1}"#),
        ("t-reg", r#"{"reg_weight": "static"}"#),
        ("t-reg", r#"{"reg_tokens": "chosen"}"#),
        ("t-reg", r#"{"credit": "sft_on_chosen"}"#),
        ("simpo-reg", r#"{"reg_tokens": "rejected", "simpo_gamma": 0.3}"#),
        ("mm-dpo", r#"{"disagreement": "drop", "lambda": 0.25}"#),
        ("cream", r#"{"consistency": 0.7}"#),
        ("simpo", r#"{"label_smoothing": 0.1}"#),
        ("cpo", r#"{"loss_type": "hinge"}"#),
        ("cpo", r#"{"loss_type": "ipo", "nll_reduction": "window"}"#),
        ("cpo", r#"{"alpha": 0.25, "cpo_alpha": 0.0}"#),
        ("orpo", r#"{"nll_on_prompt": true}"#),
        ("orpo", r#"{"nll_on_prompt": true, "nll_reduction": "window"}"#),
        ("rrhf", r#"{"rrhf_weight": 1.0, "length_penalty": 0.5}"#),
        ("tpo", r#"{"tpo_alpha": 0.0, "loss_type": "hinge"}"#),
        ("tpo", r#"{"loss_type": "ipo", "nll_reduction": "window"}"#),
        ("kto", r#"{"desirable_weight": 1.5, "undesirable_weight": 0.5}"#),
    ];

    fn made(row: &ObjectiveRow, options: &str) -> Box<dyn Objective> {
        let given = serde_json::from_str(options).expect("JSON");
        row.make(&ObjectiveOptions::new(given))
            .unwrap_or_else(|error| panic!("{} {options}: {error}", row.name))
            .objective
    }

    /// Every row of the table, every variant and two sums, by name.
    fn all() -> Vec<(String, Box<dyn Objective>)> {
        let plain = OBJECTIVES.iter().map(|row| (row.name.to_owned(), made(row, "{}")));
        let other = VARIANTS.iter().map(|(name, options)| {
            let row = find(name).expect("a row of the table");
            (format!("{name} {options}"), made(row, options))
        });
        let sum = |parts: [(f64, &str); 2]| {
            let parts = parts.map(|(weight, name)| (weight, made(find(name).expect("a row"), "{}")));
            Box::new(Mixture::new(parts.into()).expect("they learn from pairs")) as Box<dyn Objective>
        };
        let sums = [
            ("dpo + sft".to_owned(), sum([(0.8, "dpo"), (1.0, "sft")])),
            ("ipo + apo-zero".to_owned(), sum([(0.25, "ipo"), (1.5, "apo-zero")])),
        ];
        plain.chain(other).chain(sums).collect()
    }

    #[test]
    fn every_objective_of_the_table_keeps_every_invariant() {
        for (name, objective) in all() {
            passes(&name, || check(objective.as_ref(), &device()));
        }
    }

    #[test]
    fn the_list_of_coupled_objectives_is_what_they_say() {
        for row in &OBJECTIVES {
            assert_eq!(COUPLED.contains(&row.name), made(row, "{}").needs().coupled, "{}", row.name);
        }
        assert!(COUPLED.iter().all(|name| find(name).is_some()));
    }

    #[test]
    fn names_are_unique_and_presets_are_options() {
        let mut names: Vec<&str> =
            OBJECTIVES.iter().flat_map(|row| row.aliases.iter().chain([&row.name])).copied().collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
        // Names are found in the spelling of TRL as well.
        for name in
            ["sigmoid", "sigmoid_norm", "exo_pair", "nca_pair", "bco_pair", "sppo_hard", "aot_unpaired", "apo_zero"]
        {
            assert!(find(name).is_some(), "{name}");
        }
        for row in &OBJECTIVES {
            let options = row.options();
            // A preset that is no option of the config would have been refused by `make`.
            assert!(row.make(&ObjectiveOptions::new(options)).is_ok(), "{}", row.name);
        }
    }

    #[test]
    fn at_step_0_the_loss_is_what_it_is_without_a_margin() {
        // With beta 0.1 (0.001 for SPPO and GPO), a label smoothing of 0.001 for EXO, and scores of 0.
        let expected = |name: &str| match name {
            "dpo" | "cdpo" | "dpo-norm" | "robust" | "aot" | "aot-unpaired" | "tdpo1" | "tdpo2" | "t-reg"
            | "mm-dpo" | "cream" | "bco" | "outcome-ce" => LN_2,
            "nca" | "bco-pair" => 2.0 * LN_2,
            "ipo" => 25.0,
            "hinge" | "apo-zero" | "apo-down" => 1.0,
            "exo" => 0.5 * (0.5f64 / 0.999).ln() + 0.5 * (0.5f64 / 0.001).ln(),
            "sppo" => 2.0 * 500.0 * 500.0,
            "gpo" => 0.0,
            "discopop" => 0.5 * LN_2 + 0.5,
            "kto" | "apo-zero-unpaired" => 0.5,
            other => panic!("{other} has no loss at step 0"),
        };
        for row in &OBJECTIVES {
            let objective = made(row, "{}");
            if objective.needs().ref_logps {
                let examples = at_reference(&draw(&objective.needs(), 3, Seed(1)));
                let outcome = run(objective.as_ref(), &examples, Padding::default(), DType::F64, &device());
                close(row.name, &outcome.rows, &vec![expected(row.name); outcome.rows.len()], 1e-9);
                // A tie is one half.
                if let Some(accuracies) = outcome.stat("rewards/accuracies") {
                    close(row.name, &accuracies, &vec![0.5; accuracies.len()], 0.0);
                }
            }
        }
    }

    #[test]
    fn a_loss_that_is_none_is_found_out() {
        /// Divides by the number of rows, so the split of a window changes it.
        struct Averaged;
        impl Objective for Averaged {
            fn needs(&self) -> Needs {
                Needs::of(RowKind::Single)
            }
            fn loss(&self, batch: &LogpBatch) -> Result<Loss, ascribe_core::CoreError> {
                let sums = batch.all().sum();
                let [n] = sums.dims();
                Ok(Loss::mean_of(sums.div_scalar(n as f64)))
            }
        }
        /// Reads its weight from the policy with a gradient that it does not own up to.
        struct Cut;
        impl Objective for Cut {
            fn needs(&self) -> Needs {
                Needs::of(RowKind::Single)
            }
            fn loss(&self, batch: &LogpBatch) -> Result<Loss, ascribe_core::CoreError> {
                let sums = batch.all().sum();
                Ok(Loss::mean_of(sums.clone() * sums.detach()))
            }
        }
        for objective in [&Averaged as &dyn Objective, &Cut] {
            assert!(catch_unwind(AssertUnwindSafe(|| check(objective, &device()))).is_err());
        }
    }

    /// Names the objective whose check fails.
    fn passes(name: &str, check: impl FnOnce()) {
        assert!(catch_unwind(AssertUnwindSafe(check)).is_ok(), "{name}");
    }

    fn decoder(seed: u64) -> Decoder {
        let config = DecoderConfig { kv_heads: 1, ..DecoderConfig::tiny(23, 16, 2, 2, 64) };
        let mut weights = RandomWeights { seed: Seed(seed), layers: 2 };
        Decoder::load(&config, &mut weights, &device().autodiff()).expect("fresh weights fit")
    }

    /// Rows with all that any objective needs, of which the reference is another model than the policy.
    fn rows(kind: RowKind, reference: &Decoder) -> Vec<TrainRow> {
        let ids = |from: u32, n: u32| -> Vec<u32> { (0..n).map(|at| (from * 7 + at * 5 + at * at) % 22 + 1).collect() };
        let mut rows: Vec<TrainRow> = (0..5)
            .map(|n: u32| {
                let mut row = TrainRow { prompt: ids(n, 2 + n % 3).into(), line: 1, ..TrainRow::default() };
                for side in 0..responses(kind) as u32 {
                    let mut response = crate::Response::new(ids(n + 30 * side + 30, 1 + (n * 3 + side) % 5));
                    response.credit = Some(vec![0.3 - 0.2 * side as f32; response.tokens.len()]);
                    response.score = Some(1.0 - 0.4 * side as f32 - 0.1 * n as f32);
                    row.responses.push(response);
                }
                (row.label, row.consistency) = (Some(n.is_multiple_of(2)), Some(0.2 * n as f32));
                row.weight = Some(0.5 + n as f32);
                row
            })
            .collect();
        mismatch(&mut rows, 64).expect("different prompts");
        let policy = LocalPolicy::new(reference, &[], 64).expect("finite weights");
        reference_logps(&mut rows, &policy, "reference", &mut LogpCache::in_memory(), &mut |_, _| ()).expect("finite");
        rows
    }

    #[test]
    fn the_split_of_a_window_changes_no_gradient() {
        let (model, reference) = (decoder(1), decoder(2));
        for (name, objective) in all() {
            let rows = rows(objective.needs().kind, &reference);
            let learner = LogpLearner::new(objective.as_ref()).with_reference(&reference);
            passes(&name, || check_split(&learner, &model, &rows));
        }
    }

    #[test]
    fn gradients_are_the_same_layer_by_layer() {
        let (model, reference) = (decoder(1), decoder(2));
        let by_layer = model.clone().with_gradient_checkpointing(true);
        for (name, objective) in all() {
            let rows = rows(objective.needs().kind, &reference);
            let rows: Vec<&TrainRow> = rows.iter().collect();
            let learner = LogpLearner::new(objective.as_ref()).with_reference(&reference);
            let memory = learner.memory();
            // At once, and split, which a loss whose rows depend on each other takes in two passes.
            for batch in [rows.len(), 2] {
                let [expected, got] = [&model, &by_layer].map(|model| {
                    learner.remember(&memory).expect("its own memory");
                    let learned = learner.learn_window(model, &rows, batch).expect("the rows have what it needs");
                    flat(model, &learned.gradients)
                });
                // Rounding goes with the largest slope.
                let largest = expected.iter().fold(f64::MIN_POSITIVE, |largest, slope| largest.max(slope.abs()));
                let scaled = |slopes: &[f64]| slopes.iter().map(|slope| slope / largest).collect::<Vec<f64>>();
                close(&format!("{name}, {batch} rows at once"), &scaled(&got), &scaled(&expected), 1e-5);
            }
        }
    }
}
