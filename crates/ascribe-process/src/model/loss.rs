//! Losses on the logits of places.
//!
//! ```text
//! cross-entropy:  -[y log p + (1 - y) log(1 - p)],  p = sigmoid(z)        squares:  (p - y)^2
//! differences:    (p_t - sg p_{t+1})^2 for the places of a response, and (p_T - y)^2 at its last
//! ranking:        for each right step i of a response:  -log(e^{z_i} / (1 + sum_{right q <= i} e^{z_q} + sum_{wrong w} e^{z_w + zeta}))
//!                 and, where a step is wrong:           -log(1 / (1 + sum_w e^{z_w + zeta}))
//! pairs:          -log sigmoid(z_better - z_worse),  of two steps behind one state
//! ```
//! Cross-entropy, squares and differences are summed over all labelled places and divided once by their number; the minimum of the
//! first two is the mean of the labels.
//!
//! Squares with the outcome of a response at each of its tokens, and temporal differences on the way to it, are the two ways in
//! which the prefix scorers of controlled decoding learn (arXiv:2310.17022: CD-FUDGE and CD-Q). Departure: CD-Q regresses on
//! the mean of the scores over the policy's next tokens, a difference on the score at the next token that there is. On samples of
//! the policy the gradients are the same in expectation; samples of another one teach the values of that one.
//!
//! The ranking loss of PQM (arXiv:2410.11287, its code) wants the scores of right steps to rise along
//! the response and every wrong one below the start, `1 = e^0`, by the margin zeta; it is the mean over the terms of a
//! response, then over responses, and goes by log-sum-exp, so scores of 100 do not overflow. The loss of pairs is that of
//! Bradley-Terry on sibling steps, by which step-level reward models learn preferences from tree search (arXiv:2412.15904).

use ascribe_core::Loss;
use ascribe_core::tensor::cross_entropy;
use burn::tensor::activation::{log_sigmoid, sigmoid};
use burn::tensor::{Bool, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::ProcessError;

/// What is asked of the logits of the places of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessLoss {
    /// Cross-entropy with a label in [0, 1]: hard or soft.
    #[default]
    CrossEntropy,
    /// The squared distance of the probability from a label in [0, 1].
    Squared,
    /// The squared distance of the probability from that at the next place, through which no gradient flows; at the last place of
    /// a row from its label in [0, 1]. Other labels are not looked at. For places at every token.
    TemporalDifference,
    /// The order of the steps of a response, whose labels are 0 or 1.
    Ranking {
        /// The margin of wrong steps; finite. 4 is usual.
        zeta: f64,
    },
    /// Which of two steps behind one state is better: [`ProcessRow::of_pair`](super::ProcessRow::of_pair), whose labels are
    /// 1 and 0.
    Pairwise,
}

impl ProcessLoss {
    /// Checks the options.
    ///
    /// # Errors
    /// Unless the margin is finite.
    pub fn check(self) -> Result<(), ProcessError> {
        match self {
            Self::Ranking { zeta } if !zeta.is_finite() => Err(ProcessError::range("zeta", "finite, such as 4", zeta)),
            _ => Ok(()),
        }
    }

    /// Loss, weight and statistics of each row, whose labels are those of its places.
    ///
    /// The statistics are means over the places of a row: `steps/accuracy`, whether logit and label lie on one side (a
    /// tie counts one half); `steps/score`, the probability; `steps/error`, how far it is from the label. Of pairs they are
    /// `rewards/accuracies`, whether the better step has the higher logit (a tie counts one half), and `rewards/margins`.
    ///
    /// # Shapes
    /// - logits: `[places of all rows]`, row after row.
    ///
    /// # Errors
    /// When there is no row, a row has no label, a label is not in [0, 1] (with the ranking loss: not 0 or 1), the labels of
    /// a pair are not 1 and 0, or the logits are not one a label.
    pub fn of(self, logits: Tensor<1>, labels: &[&[f64]]) -> Result<Loss, ProcessError> {
        self.check()?;
        if labels.is_empty() {
            return Err(ProcessError::Empty { what: "a batch of rows", remedy: "give at least one" });
        }
        labels.iter().try_for_each(|row| self.check_labels(row))?;
        let counts: Vec<usize> = labels.iter().map(|row| row.len()).collect();
        let (expected, [got]) = (counts.iter().sum::<usize>(), logits.dims());
        if expected != got {
            return Err(ProcessError::Length { what: "the logits", each: "a label", expected, got });
        }
        let places: Vec<f64> = counts.iter().map(|count| *count as f64).collect();
        let places = floats(places, &logits); // [rows]
        let targets = floats(labels.concat(), &logits); // [places]
        let (rows, weights) = match self {
            Self::CrossEntropy => (by_row(bce(logits.clone(), targets.clone()), &counts), places.clone()),
            Self::Squared => {
                let errors = sigmoid(logits.clone()) - targets.clone(); // [places]
                (by_row(errors.square(), &counts), places.clone())
            }
            Self::TemporalDifference => {
                let said = sigmoid(logits.clone()); // [places]
                let errors = said.clone() - following(said.detach(), targets.clone(), &counts); // [places]
                (by_row(errors.square(), &counts), places.clone())
            }
            Self::Ranking { zeta } => {
                let (mut start, mut rows) = (0, Vec::with_capacity(labels.len()));
                for labels in labels {
                    rows.push(ranking(logits.clone().narrow(0, start, labels.len()), labels, zeta));
                    start += labels.len();
                }
                (Tensor::cat(rows, 0), places.ones_like())
            }
            Self::Pairwise => return Ok(pairwise(logits)),
        };
        let logits = logits.detach();
        let agreed = logits.clone().sign() * targets.clone().sub_scalar(0.5).sign(); // [places]
        let scores = sigmoid(logits); // [places]
        let mean = |values: Tensor<1>| by_row(values, &counts) / places.clone(); // [rows]
        Ok(Loss { rows, weights, stats: Vec::new() }
            .stat("steps/accuracy", mean(agreed.add_scalar(1.0).div_scalar(2.0)))
            .stat("steps/score", mean(scores.clone()))
            .stat("steps/error", mean((scores - targets).abs())))
    }

    /// The labels of one row.
    fn check_labels(self, labels: &[f64]) -> Result<(), ProcessError> {
        if labels.is_empty() {
            return Err(ProcessError::Empty { what: "the labels of a row", remedy: "drop rows without any label" });
        }
        if let Some(label) = labels.iter().find(|label| !(0.0..=1.0).contains(*label)) {
            return Err(ProcessError::range("a label", "in [0, 1]", label));
        }
        match self {
            Self::Ranking { .. } => match labels.iter().find(|label| **label != 0.0 && **label != 1.0) {
                Some(label) => Err(ProcessError::range("a label of the ranking loss", "0 or 1", label)),
                None => Ok(()),
            },
            Self::Pairwise if labels != [1.0, 0.0] => {
                Err(ProcessError::range("the labels of a pair", "1 and 0, the better step first", labels))
            }
            Self::Pairwise => Ok(()),
            Self::CrossEntropy | Self::Squared | Self::TemporalDifference => Ok(()),
        }
    }
}

/// The loss of pairs, whose logits stand one behind the other, the better one first.
fn pairwise(logits: Tensor<1>) -> Loss {
    let [places] = logits.dims();
    let sides: Tensor<2> = logits.reshape([places / 2, 2]);
    let side = |at: usize| sides.clone().narrow(1, at, 1).squeeze_dim::<1>(1); // [pairs]
    let margins = side(0) - side(1); // [pairs]
    let rows = log_sigmoid(margins.clone()).neg(); // [pairs]
    let margins = margins.detach();
    let accuracies = margins.clone().sign().add_scalar(1.0).div_scalar(2.0);
    Loss::mean_of(rows).stat("rewards/accuracies", accuracies).stat("rewards/margins", margins)
}

/// Cross-entropy of `sigmoid(z)` with the probability `y`, `[places]`.
fn bce(z: Tensor<1>, y: Tensor<1>) -> Tensor<1> {
    let other = y.clone().neg().add_scalar(1.0);
    (y * log_sigmoid(z.clone()) + other * log_sigmoid(z.neg())).neg()
}

/// The mean term of the ranking loss of one response, `[1]`.
fn ranking(logits: Tensor<1>, labels: &[f64], zeta: f64) -> Tensor<1> {
    let at = |of: f64| -> Vec<i64> {
        labels.iter().enumerate().filter(|(_, label)| **label == of).map(|(at, _)| at as i64).collect()
    };
    let (right, wrong) = (at(1.0), at(0.0));
    let (rights, wrongs) = (right.len(), wrong.len());
    // Columns: the start, the right steps in their order, the wrong ones with their margin.
    let mut columns = vec![floats(vec![0.0], &logits)];
    if rights > 0 {
        columns.push(logits.clone().select(0, integers(right, &logits)));
    }
    if wrongs > 0 {
        columns.push(logits.clone().select(0, integers(wrong, &logits)).add_scalar(zeta));
    }
    let values = Tensor::cat(columns, 0); // [1 + rights + wrongs]
    // One term for each right step, which sees no later one; a last one for the start, where a step is wrong.
    let (terms, width) = (rights + usize::from(wrongs > 0), 1 + rights + wrongs);
    let mut hidden = Vec::with_capacity(terms * width);
    for term in 0..terms {
        let seen = if term < rights { term + 1 } else { 0 };
        hidden.extend((0..width).map(|column| (seen + 1..=rights).contains(&column)));
    }
    let hidden = Tensor::<2, Bool>::from_data(TensorData::new(hidden, [terms, width]), &logits.device());
    let table = values.unsqueeze_dim::<2>(0).repeat_dim(0, terms).mask_fill(hidden, f64::NEG_INFINITY); // [terms, width]
    let targets = (0..terms).map(|term| if term < rights { term as i64 + 1 } else { 0 }).collect();
    cross_entropy(table, integers(targets, &logits), 0.0).mean()
}

/// What is said at the next place of each row, and the target at its last one, `[places]`.
fn following(said: Tensor<1>, targets: Tensor<1>, counts: &[usize]) -> Tensor<1> {
    let (mut start, mut parts) = (0usize, Vec::with_capacity(2 * counts.len()));
    for count in counts {
        let last = start + *count - 1;
        if last > start {
            parts.push(said.clone().narrow(0, start + 1, last - start));
        }
        parts.push(targets.clone().narrow(0, last, 1));
        start = last + 1;
    }
    Tensor::cat(parts, 0)
}

/// Sums over the places of each row, `[rows]`.
fn by_row(terms: Tensor<1>, counts: &[usize]) -> Tensor<1> {
    let (mut start, mut rows) = (0, Vec::with_capacity(counts.len()));
    for count in counts {
        rows.push(terms.clone().narrow(0, start, *count).sum());
        start += count;
    }
    Tensor::cat(rows, 0)
}

/// Values on the device and in the precision of `like`.
fn floats(values: Vec<f64>, like: &Tensor<1>) -> Tensor<1> {
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n]), (&like.device(), like.dtype()))
}

fn integers(values: Vec<i64>, like: &Tensor<1>) -> Tensor<1, Int> {
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n]), &like.device())
}

#[cfg(test)]
mod tests {
    use ascribe_testkit::device::{device, values};
    use ascribe_testkit::golden::close;

    use super::*;

    fn tensor(logits: &[f64]) -> Tensor<1> {
        Tensor::from_data(TensorData::new(logits.to_vec(), [logits.len()]), &device().autodiff())
    }

    fn mean(loss: ProcessLoss, logits: &[f64], labels: &[&[f64]]) -> f64 {
        values(loss.of(tensor(logits), labels).unwrap().mean())[0]
    }

    fn gradient(loss: ProcessLoss, logits: &[f64], labels: &[&[f64]]) -> Vec<f64> {
        let logits = tensor(logits).require_grad();
        let gradients = loss.of(logits.clone(), labels).unwrap().mean().backward();
        values(logits.grad(&gradients).unwrap())
    }

    const RANKING: ProcessLoss = ProcessLoss::Ranking { zeta: 4.0 };

    fn logit(p: f64) -> f64 {
        (p / (1.0 - p)).ln()
    }

    #[test]
    fn losses_worked_by_hand() {
        // -.75 ln .6 - .25 ln .4, and (.6 - .75)^2.
        close("soft", &[mean(ProcessLoss::CrossEntropy, &[logit(0.6)], &[&[0.75]])], &[0.612192], 1e-6);
        close("squares", &[mean(ProcessLoss::Squared, &[logit(0.6)], &[&[0.75]])], &[0.0225], 1e-6);
        // A logit of 1, such as the mean of the token rewards 2, 0, -1, 3, with a right outcome: ln(1 + e^-1).
        close("one logit", &[mean(ProcessLoss::CrossEntropy, &[1.0], &[&[1.0]])], &[0.313262], 1e-6);
        // Hard labels of two rows, divided once by three places: -(ln .9 + ln .8 + ln .3) / 3.
        let hard = mean(ProcessLoss::CrossEntropy, &[0.9, 0.2, 0.3].map(logit), &[&[1.0, 0.0], &[1.0]]);
        close("hard", &[hard], &[-(0.9f64.ln() + 0.8f64.ln() + 0.3f64.ln()) / 3.0], 1e-6);
        // The mean of the terms 2.623873 and 2.236816, and of 3.048587 for the start, which are worked below.
        close("ranking", &[mean(RANKING, &[0.5, 1.0, -1.0], &[&[1.0, 1.0, 0.0]])], &[2.636425], 1e-5);
        close("no wrong step", &[mean(RANKING, &[0.5, 1.0], &[&[1.0, 1.0]])], &[0.577173], 1e-5);
        // The terms apart. Of one right step alone: ln(1 + e^.5) - .5. With the wrong step and its margin, e^(-1 + 4) beside:
        // ln(1 + e^.5 + e^3) - .5 = 2.623873 and ln(1 + e^.5 + e^1 + e^3) - 1 = 2.236816, and ln(1 + e^3) = 3.048587.
        close("one right", &[mean(RANKING, &[0.5], &[&[1.0]])], &[0.474077], 1e-5);
        let start = 3.048587;
        close("the start", &[mean(RANKING, &[-1.0], &[&[0.0]])], &[start], 1e-5);
        let first = 2.0 * mean(RANKING, &[0.5, -1.0], &[&[1.0, 0.0]]) - start;
        close("the first right step", &[first], &[2.623873], 1e-5);
        let second = 3.0 * mean(RANKING, &[0.5, 1.0, -1.0], &[&[1.0, 1.0, 0.0]]) - start - first;
        close("the second right step", &[second], &[2.236816], 1e-5);
        // Two responses: the mean of their means.
        let both = mean(RANKING, &[0.5, 1.0, -1.0, 0.5, 1.0], &[&[1.0, 1.0, 0.0], &[1.0, 1.0]]);
        close("two responses", &[both], &[(2.636425 + 0.577173) / 2.0], 1e-5);
    }

    #[test]
    fn a_batch_is_divided_once_by_all_its_places() {
        // Every token of three and of one carries its outcome: -(ln .9 + ln .6 + ln .5 + ln .8) / 4, and the squares alike. The
        // mean of the means of the rows would be another number.
        let (at, labels) = ([0.9, 0.6, 0.5, 0.2].map(logit), [&[1.0; 3][..], &[0.0]]);
        let entropy = -(0.9f64.ln() + 0.6f64.ln() + 0.5f64.ln() + 0.8f64.ln()) / 4.0;
        close("cross-entropy", &[mean(ProcessLoss::CrossEntropy, &at, &labels)], &[entropy], 1e-6);
        let squares = (0.01 + 0.16 + 0.25 + 0.04) / 4.0;
        close("squares", &[mean(ProcessLoss::Squared, &at, &labels)], &[squares], 1e-6);
        let apart = (0.9f64.ln() + 0.6f64.ln() + 0.5f64.ln()) / -3.0 - 0.8f64.ln();
        assert!((entropy - apart / 2.0).abs() > 1e-2);
    }

    #[test]
    fn differences_go_from_place_to_place_and_hold_still_at_the_values() {
        const DIFFERENCES: ProcessLoss = ProcessLoss::TemporalDifference;
        // Rows of two places and of one: ((.6 - .75)^2 + (.75 - 1)^2 + (.5 - .25)^2) / 3. The first label is nobody's.
        let (at, labels) = ([0.6, 0.75, 0.5].map(logit), [&[0.2, 1.0][..], &[0.25]]);
        close("loss", &[mean(DIFFERENCES, &at, &labels)], &[(0.0225 + 0.0625 + 0.0625) / 3.0], 1e-6);
        // dp/dz = p (1 - p), and what is aimed at has no gradient: 2 (-.15) .24, 2 (-.25) .1875 and 2 (.25) .25, over 3.
        close("slopes", &gradient(DIFFERENCES, &at, &labels), &[-0.024, -0.03125, 0.125 / 3.0], 1e-6);
        // One place is a square.
        let one = mean(ProcessLoss::Squared, &[logit(0.6)], &[&[0.75]]);
        close("one", &[mean(DIFFERENCES, &[logit(0.6)], &[&[0.75]])], &[one], 1e-7);
        // Four responses begin alike; two go to a state of which half are right, two to one of which three quarters are. At
        // these values and at their mean, 5/8, no state is moved.
        let exact: Vec<f64> = [0.5, 0.5, 0.75, 0.75].into_iter().flat_map(|next| [logit(0.625), logit(next)]).collect();
        let ends: [&[f64]; 4] = [&[0.0, 1.0], &[0.0, 0.0], &[0.0, 0.75], &[0.0, 0.75]];
        let slopes = gradient(DIFFERENCES, &exact, &ends);
        let moved = |places: &[usize]| places.iter().map(|place| slopes[*place]).sum::<f64>();
        close("states", &[moved(&[0, 2, 4, 6]), moved(&[1, 3]), moved(&[5, 7])], &[0.0; 3], 1e-6);
        assert!(slopes[0].abs() > 1e-3);
    }

    #[test]
    fn the_best_constant_is_the_mean_of_the_labels() {
        let labels: &[&[f64]] = &[&[1.0, 0.25, 0.4], &[0.95]];
        for loss in [ProcessLoss::CrossEntropy, ProcessLoss::Squared] {
            let slope: f64 = gradient(loss, &[logit(0.65); 4], labels).iter().sum();
            assert!(slope.abs() < 1e-6, "{loss:?}: {slope}");
        }
    }

    #[test]
    fn the_ranking_loss_keeps_its_rules() {
        let wrong: &[&[f64]] = &[&[1.0, 0.0, 1.0]];
        // Finite where e^100 is not, and a wrong step that rises costs more.
        assert!(mean(RANKING, &[100.0, -100.0, 100.0], wrong).is_finite());
        assert!(mean(RANKING, &[0.0, 1.0, 0.5], wrong) > mean(RANKING, &[0.0, -1.0, 0.5], wrong));
        // Without a wrong step the margin is nothing; with none right, the start alone is left: ln(1 + e^{z + zeta}).
        let other = ProcessLoss::Ranking { zeta: -3.0 };
        let right: &[&[f64]] = &[&[1.0, 1.0]];
        assert_eq!(mean(RANKING, &[0.5, 1.0], right), mean(other, &[0.5, 1.0], right));
        close("all wrong", &[mean(RANKING, &[-1.0], &[&[0.0]])], &[(3f64.exp() + 1.0).ln()], 1e-6);
        // A margin of minus infinity removes what is wrong; its own term is 0 and still counts.
        let far = ProcessLoss::Ranking { zeta: -1e4 };
        close("far", &[mean(far, &[0.5, 1.0, -1.0], &[&[1.0, 1.0, 0.0]])], &[2.0 * 0.577173 / 3.0], 1e-5);
        // A later right step has no part in an earlier one's term, so the gradient is right by differences.
        let at = [0.3, -0.6, 0.8];
        let slopes = gradient(RANKING, &at, wrong);
        for (place, slope) in slopes.iter().enumerate() {
            let moved = |by: f64| {
                let mut at = at;
                at[place] += by;
                mean(RANKING, &at, wrong)
            };
            close("slope", &[*slope], &[(moved(1e-2) - moved(-1e-2)) / 2e-2], 1e-3);
        }
    }

    #[test]
    fn a_pair_is_a_comparison_of_its_two_steps() {
        let pairs: &[&[f64]] = &[&[1.0, 0.0], &[1.0, 0.0], &[1.0, 0.0]];
        let at = [1.5, 0.5, -1.0, 1.0, 0.25, 0.25];
        // Margins 1, -2 and 0: ln(1 + e^-1), ln(1 + e^2) and ln 2.
        let expected = ((-1f64).exp().ln_1p() + 2f64.exp().ln_1p() + 2f64.ln()) / 3.0;
        close("pairs", &[mean(ProcessLoss::Pairwise, &at, pairs)], &[expected], 1e-6);
        let loss = ProcessLoss::Pairwise.of(tensor(&at), pairs).unwrap();
        let stats: Vec<(&str, Vec<f64>)> = loss.stats.into_iter().map(|(name, found)| (name, values(found))).collect();
        assert_eq!(stats[0], ("rewards/accuracies", vec![1.0, 0.0, 0.5]));
        assert_eq!(stats[1], ("rewards/margins", vec![1.0, -2.0, 0.0]));
        // Only the difference counts: d/dz of -log sigmoid(z) is -sigmoid(-z), for the sides with opposite signs.
        let slopes = gradient(ProcessLoss::Pairwise, &at[..2], &pairs[..1]);
        let slope = -1.0 / (1.0 + 1f64.exp());
        close("slopes", &slopes, &[slope, -slope], 1e-6);
    }

    #[test]
    fn statistics_are_means_over_the_places_of_a_row() {
        let loss =
            ProcessLoss::CrossEntropy.of(tensor(&[logit(0.9), logit(0.6), 0.0]), &[&[1.0, 0.0], &[1.0]]).unwrap();
        let stat = |name: &str| {
            let (_, found) = loss.stats.iter().find(|(known, _)| *known == name).unwrap();
            values(found.clone())
        };
        assert_eq!(stat("steps/accuracy"), [0.5, 0.5]);
        close("score", &stat("steps/score"), &[0.75, 0.5], 1e-6);
        close("error", &stat("steps/error"), &[0.35, 0.5], 1e-6);
        assert_eq!(values(loss.weights), [2.0, 1.0]);
    }

    #[test]
    fn what_is_no_label_is_refused() {
        let refused = |loss: ProcessLoss, logits: &[f64], labels: &[&[f64]], said: &str| {
            let error = loss.of(tensor(logits), labels).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(said) && !error.contains('\n'), "{error}");
        };
        let bce = ProcessLoss::CrossEntropy;
        refused(bce, &[0.0], &[&[f64::NAN]], "a label must be in [0, 1], got NaN");
        refused(bce, &[0.0], &[&[1.5]], "a label must be in [0, 1], got 1.5");
        refused(RANKING, &[0.0], &[&[0.5]], "0 or 1, got 0.5");
        refused(ProcessLoss::Pairwise, &[0.0, 1.0], &[&[0.0, 1.0]], "the labels of a pair must be 1 and 0");
        refused(ProcessLoss::Pairwise, &[0.0], &[&[1.0]], "the better step first, got [1.0]");
        refused(bce, &[0.0, 1.0], &[&[1.0]], "expected 1, got 2");
        refused(bce, &[0.0], &[&[1.0], &[]], "drop rows without any label");
        refused(bce, &[0.0], &[], "a batch of rows must not be empty");
        refused(ProcessLoss::Ranking { zeta: f64::NAN }, &[0.0], &[&[1.0]], "zeta must be finite");
    }
}
