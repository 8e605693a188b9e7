//! Losses on rollouts that are no surrogate times an advantage: OREO and BRAIn, by hand and by what they become in the limit.

use ascribe_core::tensor::Mask;
use ascribe_core::{CoreError, LogpBatch, Loss, Objective, RowKind, TokenInput};
use ascribe_preference::objectives::DpoConfig;
use ascribe_preference::rl::{Brain, Goodness, Oreo, OreoLevel};
use ascribe_reward::losses::{SteerBatch, steer};
use ascribe_testkit::device::{device, floats, values};
use ascribe_testkit::golden::close;
use burn::tensor::{DType, Tensor, TensorData};

/// Rows padded by `extra` more tokens of a number that must not matter.
fn padded(rows: &[Vec<f64>], extra: usize, padding: f64) -> Tensor<2> {
    let longest = rows.iter().map(Vec::len).max().unwrap_or(0) + extra;
    let row = |row: &Vec<f64>| row.iter().copied().chain(std::iter::repeat(padding)).take(longest).collect::<Vec<_>>();
    let flat: Vec<f64> = rows.iter().flat_map(row).collect();
    floats::<2>(&flat, [rows.len(), longest], &device().autodiff(), DType::F64)
}

fn mask(rows: &[Vec<f64>], extra: usize) -> Mask {
    let longest = rows.iter().map(Vec::len).max().unwrap_or(0) + extra;
    let flags: Vec<Vec<bool>> = rows.iter().map(|row| (0..longest).map(|at| at < row.len()).collect()).collect();
    Mask::from_rows(&flags, &device().autodiff())
}

/// The real tokens of each row, one after another.
fn real(tensor: Option<Tensor<2>>, rows: &[Vec<f64>], extra: usize) -> Vec<f64> {
    let longest = rows.iter().map(Vec::len).max().unwrap_or(0) + extra;
    let Some(tensor) = tensor else { return vec![0.0; rows.iter().map(Vec::len).sum()] };
    let mut kept = Vec::new();
    for (row, own) in rows.iter().zip(values(tensor).chunks(longest)) {
        assert!(own[row.len()..].iter().all(|slope| *slope == 0.0), "padding has a gradient");
        kept.extend_from_slice(&own[..row.len()]);
    }
    kept
}

fn found(loss: &Loss, name: &str) -> Vec<f64> {
    values(loss.stats.iter().find(|(known, _)| *known == name).expect("it is logged").1.clone())
}

/// What OREO is given of responses: log-ratios to the reference, values, scores, where steps begin, divergences.
#[derive(Clone)]
struct Judged {
    ratios: Vec<Vec<f64>>,
    values: Vec<Vec<f64>>,
    scores: Vec<f64>,
    starts: Vec<Vec<f64>>,
    kl: Vec<Vec<f64>>,
}

impl Judged {
    /// The fixture of three tokens.
    fn three() -> Self {
        Self {
            ratios: vec![vec![1.0, -0.5, 0.2]],
            values: vec![vec![0.5, 0.6, 0.9]],
            scores: vec![1.0],
            starts: vec![vec![1.0, 0.0, 1.0]],
            kl: vec![vec![0.3, 0.6, 0.0]],
        }
    }

    /// Two responses of different lengths.
    fn two() -> Self {
        Self {
            ratios: vec![vec![0.4, -0.3, 0.1], vec![-0.7]],
            values: vec![vec![0.2, 0.7, 0.1], vec![0.4]],
            scores: vec![1.0, 0.0],
            starts: vec![vec![1.0, 1.0, 0.0], vec![1.0]],
            kl: vec![vec![0.1, 0.2, 0.6], vec![0.5]],
        }
    }

    /// The reference finds each token as likely as a coin.
    fn batch(&self, extra: usize) -> (LogpBatch, [Tensor<2>; 3]) {
        let reference = |rows: &[Vec<f64>]| -> Vec<Vec<f64>> { rows.iter().map(|row| vec![-0.7; row.len()]).collect() };
        let logps: Vec<Vec<f64>> =
            self.ratios.iter().map(|row| row.iter().map(|ratio| ratio - 0.7).collect()).collect();
        let told: Vec<Vec<f64>> =
            self.ratios.iter().zip(&self.scores).map(|(row, score)| vec![*score; row.len()]).collect();
        let tracked = [padded(&logps, extra, -9.0), padded(&self.values, extra, 4.0), padded(&self.kl, extra, 3.0)]
            .map(|x| x.require_grad());
        let [logps, values, kl] = &tracked;
        let batch = LogpBatch::new(RowKind::Single, logps.clone(), mask(&self.ratios, extra))
            .and_then(|batch| batch.with_ref_logps(padded(&reference(&self.ratios), extra, -2.0)))
            .and_then(|batch| batch.with_credit(padded(&told, extra, 7.0)))
            .and_then(|batch| batch.with_tokens(TokenInput::Values, values.clone()))
            .and_then(|batch| batch.with_tokens(TokenInput::Starts, padded(&self.starts, extra, 1.0)))
            .and_then(|batch| batch.with_tokens(TokenInput::OldLogps, padded(&reference(&self.ratios), extra, 8.0)))
            .and_then(|batch| batch.with_tokens(TokenInput::Kl, kl.clone()))
            .expect("the shapes agree");
        (batch, tracked)
    }

    /// Losses of rows, and gradients by log-probabilities, values and divergences. What has no gradient is that of `still`.
    fn run(&self, oreo: &Oreo, still: &Self, extra: usize) -> (Vec<f64>, [Vec<f64>; 3], Loss) {
        let (batch, tracked) = self.batch(extra);
        let loss = oreo.loss(&batch.with_frozen(still.batch(extra).0)).expect("the batch has what is needed");
        let slopes = loss.rows.clone().sum().backward();
        let gradients = tracked.each_ref().map(|leaf| real(leaf.grad(&slopes), &self.ratios, extra));
        (values(loss.rows.clone()), gradients, loss)
    }
}

fn oreo(level: OreoLevel) -> Oreo {
    Oreo { kl: 0.0, level, ..Oreo::default() }
}

#[test]
fn oreo_by_hand() {
    let three = Judged::three();
    // T = (0.7, -0.3, 0.2), so V + 0.03 T - 1 = (-0.479, -0.409, -0.094), and the mean of squares is 0.135186.
    let (rows, [logps, of_values, _], loss) = three.run(&oreo(OreoLevel::Token), &three, 2);
    close("value", &found(&loss, "value_loss"), &[0.135186], 1e-9);
    close("policy", &found(&loss, "policy_loss"), &[0.135186], 1e-9);
    close("both", &rows, &[0.270372], 1e-9);
    // 2 * 0.03 / 3 and 2 / 3 of them: nothing reaches a token through the tail of another.
    close("gradient", &logps, &[-0.00958, -0.00818, -0.00188], 1e-9);
    close("gradient", &of_values, &[-0.958 / 3.0, -0.818 / 3.0, -0.188 / 3.0], 1e-9);
    // Steps of two tokens and of one: (0.229441 + 0.008836) / 2.
    let (_, [logps, of_values, _], loss) = three.run(&oreo(OreoLevel::Step), &three, 2);
    close("steps", &found(&loss, "value_loss"), &[0.1191385], 1e-9);
    close("steps", &found(&loss, "policy_loss"), &[0.1191385], 1e-9);
    close("steps", &logps, &[-0.01437, -0.01437, -0.00282], 1e-9);
    close("steps", &of_values, &[-0.479, 0.0, -0.094], 1e-9);
    // The beginning alone.
    let (_, [logps, of_values, _], loss) = three.run(&oreo(OreoLevel::Response), &three, 2);
    close("response", &found(&loss, "policy_loss"), &[0.229441], 1e-9);
    close("response", &logps, &[2.0 * 0.03 * -0.479; 3], 1e-9);
    close("response", &of_values, &[2.0 * -0.479, 0.0, 0.0], 1e-9);
    // Against the value of the next token: 0.5 - 0.6 + 0.03, 0.6 - 0.9 - 0.015, and at the end 0.9 - 1 + 0.006.
    let one_step = [-0.07f64, -0.315, -0.094];
    let mean = one_step.iter().map(|error| error * error).sum::<f64>() / 3.0;
    let (_, [logps, of_values, _], loss) = three.run(&oreo(OreoLevel::OneStep), &three, 2);
    close("one step", &found(&loss, "value_loss"), &[mean], 1e-9);
    close("one step", &found(&loss, "policy_loss"), &[mean], 1e-9);
    close("one step", &logps, &one_step.map(|error| 2.0 * 0.03 / 3.0 * error), 1e-9);
    close("one step", &of_values, &one_step.map(|error| 2.0 / 3.0 * error), 1e-9);
    // The response was written by the reference, so its ratio is exp(0.7), and at most what is allowed.
    for (most, weight) in [(10.0, 0.7f64.exp()), (1.5, 1.5)] {
        let weighed = Oreo { largest_weight: Some(most), ..oreo(OreoLevel::Token) };
        close("weighed", &three.run(&weighed, &three, 2).0, &[0.270372 * weight], 1e-9);
    }
    // The divergence is a mean over tokens.
    let pulled = Oreo { kl: 2.0, value_coef: 0.0, ..oreo(OreoLevel::Token) };
    let (rows, [.., kl], _) = three.run(&pulled, &three, 2);
    close("kl", &rows, &[0.135186 + 2.0 * 0.3], 1e-9);
    close("kl", &kl, &[2.0 / 3.0; 3], 1e-9);
}

#[test]
fn oreo_in_the_limit() {
    let mut two = Judged::two();
    // Steps of one token each are tokens, and the beginning of a response of one token is its only state.
    two.starts = two.ratios.iter().map(|row| vec![1.0; row.len()]).collect();
    let (by_token, by_step) = (two.run(&oreo(OreoLevel::Token), &two, 0), two.run(&oreo(OreoLevel::Step), &two, 1));
    close("steps of one token", &by_step.0, &by_token.0, 1e-12);
    close("steps of one token", &by_step.1.concat(), &by_token.1.concat(), 1e-12);
    let dro = two.run(&oreo(OreoLevel::Response), &two, 0);
    close("a response of one token", &dro.0[1..], &[2.0 * (0.4f64 + 0.03 * -0.7).powi(2)], 1e-12);
    // Without a pull nothing moves the policy.
    let free = two.run(&Oreo { beta: 0.0, ..oreo(OreoLevel::Token) }, &two, 0);
    close("no pull", &free.1[0], &[0.0; 4], 0.0);
    // At the reference the values are regressed on the score.
    let at_reference = Judged { ratios: vec![vec![0.0; 3], vec![0.0]], ..two.clone() };
    let (_, _, loss) = at_reference.run(&oreo(OreoLevel::Token), &at_reference, 0);
    close("the reference", &found(&loss, "value_loss"), &[(0.64 + 0.09 + 0.81) / 3.0, 0.16], 1e-9);
    // Where every response has the same score, the reference with that score for a value stays as it is. And a constant on all
    // scores is one on all values.
    let settled = Judged { values: vec![vec![0.6; 3], vec![0.6]], scores: vec![0.6; 2], ..at_reference.clone() };
    let more =
        |rows: &[Vec<f64>]| -> Vec<Vec<f64>> { rows.iter().map(|row| row.iter().map(|x| x + 2.0).collect()).collect() };
    let shifted = Judged { values: more(&two.values), scores: vec![3.0, 2.0], ..two.clone() };
    for level in [OreoLevel::Token, OreoLevel::Step, OreoLevel::Response, OreoLevel::OneStep] {
        let (rows, gradients, _) = settled.run(&oreo(level), &settled, 0);
        close("a fixed point", &rows, &[0.0; 2], 1e-15);
        close("a fixed point", &gradients.concat(), &[0.0; 12], 1e-15);
        let (plain, moved) = (two.run(&oreo(level), &two, 0), shifted.run(&oreo(level), &shifted, 0));
        close("a constant", &moved.0, &plain.0, 1e-12);
        close("a constant", &moved.1.concat(), &plain.1.concat(), 1e-12);
    }
    // Values that are what is left of the score behind the pull: V_t = R - beta T_t.
    let tails = [vec![0.2, -0.2, 0.1], vec![-0.7]];
    let values = tails.iter().zip(&two.scores).map(|(row, score)| row.iter().map(|tail| score - 0.03 * tail).collect());
    let optimum = Judged { values: values.collect(), ..two };
    for level in [OreoLevel::Token, OreoLevel::Step, OreoLevel::Response, OreoLevel::OneStep] {
        close("the soft optimum", &optimum.run(&oreo(level), &optimum, 0).0, &[0.0; 2], 1e-15);
    }
}

#[test]
fn gradients_of_oreo_are_central_differences_and_padding_changes_nothing() {
    const STEP: f64 = 1e-6;
    let two = Judged::two();
    for level in [OreoLevel::Token, OreoLevel::Step, OreoLevel::Response, OreoLevel::OneStep] {
        let objective = Oreo { kl: 0.4, value_coef: 0.7, beta: 0.3, level, largest_weight: Some(2.0) };
        let (rows, gradients, _) = two.run(&objective, &two, 0);
        let (wide, of_wide, _) = two.run(&objective, &two, 3);
        close("padding", &wide, &rows, 1e-12);
        close("padding", &of_wide.concat(), &gradients.concat(), 1e-12);
        for (input, gradient) in gradients.iter().enumerate() {
            let places = [(0, 0), (0, 1), (0, 2), (1, 0)];
            for ((row, token), slope) in places.into_iter().zip(gradient) {
                let moved = |by: f64| {
                    let mut one = two.clone();
                    let rows = match input {
                        0 => &mut one.ratios,
                        1 => &mut one.values,
                        _ => &mut one.kl,
                    };
                    rows[row][token] += by;
                    one.run(&objective, &two, 0).0.iter().sum::<f64>()
                };
                let expected = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
                close(&format!("{level:?}, input {input}, row {row}, token {token}"), &[*slope], &[expected], 1e-7);
            }
        }
    }
}

#[test]
fn oreo_without_a_state_or_with_options_out_of_range_is_refused() {
    let none = Judged { starts: vec![vec![0.0; 3]], ..Judged::three() };
    let batch = none.batch(0).0;
    assert!(matches!(oreo(OreoLevel::Step).loss(&batch), Err(CoreError::Shape { .. })));
    for wrong in [
        Oreo { beta: -0.1, ..Oreo::default() },
        Oreo { kl: f64::NAN, ..Oreo::default() },
        Oreo { value_coef: f64::INFINITY, ..Oreo::default() },
        Oreo { largest_weight: Some(0.0), ..Oreo::default() },
        Oreo { largest_weight: Some(f64::NAN), ..Oreo::default() },
    ] {
        assert!(wrong.check().is_err(), "{wrong:?}");
    }
    assert!(Oreo::default().check().is_ok());
}

/// What BRAIn is given of responses: log-probabilities of their tokens under the policy, the one that wrote them and the
/// reference, scores, and the number of responses of each prompt.
#[derive(Clone)]
struct Group {
    now: Vec<Vec<f64>>,
    writer: Vec<Vec<f64>>,
    reference: Vec<Vec<f64>>,
    scores: Vec<f64>,
    sizes: Vec<usize>,
}

impl Group {
    /// One prompt whose responses have one token each, written by the reference.
    fn of(now: &[f64], writer: &[f64], scores: &[f64]) -> Self {
        let column = |values: &[f64]| values.iter().map(|value| vec![*value]).collect::<Vec<_>>();
        let (now, writer, sizes) = (column(now), column(writer), vec![now.len()]);
        Self { now, reference: writer.clone(), writer, scores: scores.to_vec(), sizes }
    }

    fn batch(&self) -> (LogpBatch, Tensor<2>) {
        let now = padded(&self.now, 1, -9.0).require_grad();
        let options = (&device().autodiff(), DType::F64);
        let scores = Tensor::<1>::from_data(TensorData::new(self.scores.clone(), [self.scores.len()]), options);
        let batch = LogpBatch::new(RowKind::Groups, now.clone(), mask(&self.now, 1))
            .and_then(|batch| batch.with_ref_logps(padded(&self.reference, 1, -3.0)))
            .and_then(|batch| batch.with_tokens(TokenInput::OldLogps, padded(&self.writer, 1, -4.0)))
            .and_then(|batch| batch.with_scores(scores))
            .and_then(|batch| batch.with_groups(self.sizes.clone()))
            .expect("the shapes agree");
        (batch, now)
    }

    fn run(&self, goodness: Goodness) -> (Loss, Vec<f64>) {
        let (batch, now) = self.batch();
        let loss = Brain { goodness, ..Brain::default() }.loss(&batch).expect("the batch has what is needed");
        let slopes = loss.rows.clone().sum().backward();
        (loss, real(now.grad(&slopes), &self.now, 1))
    }
}

const EXPONENTIAL: Goodness = Goodness::Exponential { gamma: 1.0 };

#[test]
fn brain_by_hand() {
    // exp(ln 3) and exp(0) give A = (3/4, 1/4); the policy is still the writer, so B = (1/2, 1/2).
    let two = Group::of(&[-1.0, -2.0], &[-1.0, -2.0], &[3.0f64.ln(), 0.0]);
    let (loss, gradient) = two.run(EXPONENTIAL);
    close("gradient", &gradient, &[-0.25, 0.25], 1e-12);
    close("loss", &values(loss.mean()), &[0.25 - 0.5], 1e-12);
    close("effective samples", &found(&loss, "brain/effective_samples"), &[1.6], 1e-12);
    // Two prompts: a mean over prompts, and each has its own softmax.
    let both = Group {
        now: vec![vec![-1.0], vec![-2.0], vec![-0.5, -0.5], vec![-3.0], vec![-1.0]],
        writer: vec![vec![-1.0], vec![-2.0], vec![-0.5, -0.5], vec![-3.0], vec![-1.0]],
        reference: vec![vec![-1.0], vec![-2.0], vec![-0.5, -0.5], vec![-3.0], vec![-1.0]],
        scores: vec![3.0f64.ln(), 0.0, 2.0, 2.0, 2.0],
        sizes: vec![2, 3],
    };
    let (loss, gradient) = both.run(EXPONENTIAL);
    close("gradient", &gradient, &[-0.25, 0.25, 0.0, 0.0, 0.0, 0.0], 1e-12);
    close("weights", &values(loss.weights.clone()), &[1.0; 2], 0.0);
    // What the writer favoured more than the reference does counts for less: log p - log q' = (-ln 3, 0).
    let mut shifted = two;
    shifted.reference[0][0] -= 3.0f64.ln();
    close("importance", &shifted.run(EXPONENTIAL).1, &[0.0, 0.0], 1e-12);
}

/// log P(a|x,y) as the score, log P(y|x) under the reference, log Q'(y|a,x) under the writer.
#[test]
fn brain_is_steer_lm_where_attributes_are_asked_for() {
    let (now, writer) = ([-9.5, -12.5, -9.0], [-10.0, -12.0, -9.0]);
    let (prior, attributes) = ([-11.0, -11.0, -10.0], [-2.0, -1.5, -3.0]);
    let column = |values: &[f64]| values.iter().map(|value| vec![*value]).collect::<Vec<_>>();
    let group = Group { reference: column(&prior), ..Group::of(&now, &writer, &attributes) };
    let (loss, gradient) = group.run(EXPONENTIAL);
    let row = |values: &[f64]| floats::<2>(values, [1, 3], &device().autodiff(), DType::F64);
    let policy = row(&now).require_grad();
    let batch =
        SteerBatch { attributes: row(&attributes), prior: row(&prior), sampler: row(&writer), policy: policy.clone() };
    let theirs = steer(batch, None).expect("the shapes agree");
    close("loss", &values(loss.mean()), &values(theirs.mean()), 1e-12);
    close("divergence", &found(&loss, "brain/kl"), &found(&theirs, "steer/kl"), 1e-12);
    let slopes = theirs.rows.clone().sum().backward();
    close("gradient", &gradient, &values(policy.grad(&slopes).expect("it is differentiable")), 1e-12);
    // Divided by the mean number of tokens: one, one and three make 5/3.
    let longer = Group {
        now: vec![vec![-9.5], vec![-12.5], vec![-3.0; 3]],
        writer: vec![vec![-10.0], vec![-12.0], vec![-3.0; 3]],
        reference: vec![vec![-11.0], vec![-11.0], vec![-4.0, -3.0, -3.0]],
        ..group.clone()
    };
    let scaled = Brain { token_scaled: true, ..Brain::default() }.loss(&longer.batch().0).expect("what is needed");
    close("scaled", &values(scaled.mean()), &[values(theirs.mean())[0] * 0.6], 1e-12);
    // softmax(-3, -0.5, -4) and softmax(0.5, -0.5, 0): the gradient is the second less the first.
    let expected = [0.506480 - 0.073799, 0.186324 - 0.899052, 0.307196 - 0.027149];
    close("by hand", &gradient, &expected, 1e-5);
}

#[test]
fn brain_of_two_with_a_certain_target_is_dpo() {
    let (now, writer) = ([-1.3, -0.4], [-0.9, -1.1]);
    let (_, gradient) = Group::of(&now, &writer, &[1.0, 0.0]).run(Goodness::Exponential { gamma: 1e-3 });
    let rows = |values: &[f64]| values.iter().map(|value| vec![*value]).collect::<Vec<_>>();
    let logps = padded(&rows(&now), 0, 0.0).require_grad();
    let batch = LogpBatch::new(RowKind::Pairs, logps.clone(), mask(&rows(&now), 0)).expect("a pair");
    let batch = batch.with_ref_logps(padded(&rows(&writer), 0, 0.0)).expect("the same shape");
    let dpo = DpoConfig { beta: 1.0, ..DpoConfig::default() }.init().expect("sound options");
    let loss = dpo.loss(&batch).expect("the batch has what is needed");
    let slopes = loss.rows.sum().backward();
    close("DPO", &gradient, &values(logps.grad(&slopes).expect("it is differentiable")), 1e-12);
}

#[test]
fn brain_has_nothing_to_say_where_nothing_differs() {
    let (now, writer, scores) = ([-1.3, -0.4, -2.0], [-0.9, -1.1, -1.0], [0.3, -1.0, 2.0]);
    let sigmoid = |reference: f64| Goodness::Sigmoid { reference };
    let group = Group::of(&now, &writer, &scores);
    for goodness in [EXPONENTIAL, sigmoid(0.0)] {
        // The slopes of a prompt sum up to 0, and alone there is none.
        close("sum", &[group.run(goodness).1.iter().sum()], &[0.0], 1e-12);
        close("one", &Group::of(&[-1.0], &[-2.0], &[5.0]).run(goodness).1, &[0.0], 0.0);
        close("equal", &Group::of(&writer, &writer, &[2.0; 3]).run(goodness).1, &[0.0; 3], 1e-12);
    }
    let more = Group::of(&now, &writer, &scores.map(|score| score + 7.0));
    close("a constant", &more.run(EXPONENTIAL).1, &group.run(EXPONENTIAL).1, 1e-12);
    close("a constant", &more.run(sigmoid(7.0)).1, &group.run(sigmoid(0.0)).1, 1e-12);
    // A policy that is the target learns nothing: log q = log q' + r.
    let there: Vec<f64> = writer.iter().zip(&scores).map(|(logp, score)| logp + score).collect();
    close("the target", &Group::of(&there, &writer, &scores).run(EXPONENTIAL).1, &[0.0; 3], 1e-12);
    // Who wrote the responses must be known.
    let batch = LogpBatch::new(RowKind::Groups, padded(&group.now, 0, 0.0), mask(&group.now, 0)).expect("same shape");
    let batch = batch.with_groups(vec![3]).expect("three rows");
    assert!(matches!(Brain::default().loss(&batch), Err(CoreError::MissingInput("old_logps"))));
}
