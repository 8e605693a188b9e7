//! How far a judge's marks are from the teacher's.
//!
//! ```text
//! MAE = mean |j - t|,  MSE = mean (j - t)^2,  RMSE = sqrt MSE,  bias = mean (j - t),  on the raw scale
//! ```
//! Divide by the largest mark for a fraction. Unparsable marks are no part of any number: count them beside these.

use super::kappa::{KappaWeights, cohen_kappa};
use crate::error::{finite, option, same_length, within};
use crate::stats::sum::{mean, sum};
use crate::{Bootstrap, Estimate, EvalError};

/// Errors of marks, on the raw scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GradingError {
    /// Mean absolute error.
    pub mae: Estimate,
    /// Mean squared error.
    pub mse: Estimate,
    /// Its root.
    pub rmse: f64,
    /// Mean of judge less teacher: positive for a lenient judge.
    pub bias: Estimate,
    /// Share of equal marks.
    pub exact: Estimate,
    /// Share of marks at most 1 apart.
    pub within_one: Estimate,
    /// The largest mark.
    pub max_mark: f64,
}

/// Compares marks in `0..=max_mark`; intervals resample items. Errors are at most `max_mark`, the bias either way;
/// shares lie in [0, 1]; O(B n).
///
/// # Errors
/// When the lengths differ, there is no mark, one lies outside the scale, or `max_mark` is not above 0.
pub fn grading_error(
    judge: &[f64],
    teacher: &[f64],
    max_mark: f64,
    bootstrap: &Bootstrap,
) -> Result<GradingError, EvalError> {
    option("max_mark", "finite and above 0", max_mark, 0.0 < max_mark && max_mark.is_finite())?;
    same_length("teacher", judge.len(), teacher.len())?;
    for (what, marks) in [("judge", judge), ("teacher", teacher)] {
        within(what, marks, "a mark of the scale", |mark| (0.0..=max_mark).contains(&mark))?;
    }
    let mean = |of: &dyn Fn(f64) -> f64| {
        bootstrap.mean(&judge.iter().zip(teacher).map(|(judge, teacher)| of(judge - teacher)).collect::<Vec<_>>())
    };
    let mse = mean(&|error| error * error)?;
    Ok(GradingError {
        mae: mean(&f64::abs)?,
        mse,
        rmse: mse.value.sqrt(),
        bias: mean(&|error| error)?,
        exact: mean(&|error| f64::from(u8::from(error == 0.0)))?,
        within_one: mean(&|error| f64::from(u8::from(error.abs() <= 1.0)))?,
        max_mark,
    })
}

/// The least quadratic kappa of two teachers at which a judge is held against them. Our threshold.
pub const TEACHERS_AGREE: f64 = 0.4;

/// A judge's agreement with two teachers, where these agree with each other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GatedAgreement {
    /// The teachers' quadratic kappa.
    pub teachers: Estimate,
    /// The judge's quadratic kappa with each teacher; `None` where the teachers do not agree: marks that two teachers read
    /// otherwise say nothing about a third reader.
    pub judge: Option<[Estimate; 2]>,
}

/// Holds a judge's grades, each below `k`, against those of two teachers, if the quadratic kappa of the teachers is at
/// least `threshold` ([`TEACHERS_AGREE`]). Kappas are at most 1; intervals resample items; O(B (n + k^2)).
///
/// # Errors
/// As [`cohen_kappa`], and when the threshold is not in [-1, 1].
pub fn gated_agreement(
    judge: &[u32],
    teachers: [&[u32]; 2],
    k: u32,
    threshold: f64,
    bootstrap: &Bootstrap,
) -> Result<GatedAgreement, EvalError> {
    option("the threshold", "between -1 and 1", threshold, (-1.0..=1.0).contains(&threshold))?;
    let [one, other] = teachers;
    same_length("the grades of the judge", one.len(), judge.len())?;
    let kappa = |a: &[u32], b: &[u32]| cohen_kappa(a, b, k, KappaWeights::Quadratic, bootstrap);
    let teachers = kappa(one, other)?;
    let judge = match teachers.value >= threshold {
        true => Some([kappa(judge, one)?, kappa(judge, other)?]),
        false => None,
    };
    Ok(GatedAgreement { teachers, judge })
}

/// The mark of the stored answer that is nearest to another one by embedding: what any judge must beat. The distance is
/// Canberra's, `sum |a - b|/(|a| + |b|)` with 0/0 = 0; answers that are equally near give the mean of their marks. In the
/// range of the marks; O(answers width).
///
/// # Errors
/// When there is no answer, a length does not fit, or a number is NaN or infinite.
pub fn nearest_mark(answers: &[Vec<f64>], marks: &[f64], asked: &[f64]) -> Result<f64, EvalError> {
    finite("marks", marks)?;
    same_length("answers", marks.len(), answers.len())?;
    finite("asked", asked)?;
    let mut distances = Vec::with_capacity(answers.len());
    for answer in answers {
        same_length("an answer", asked.len(), answer.len())?;
        finite("an answer", answer)?;
        let share = |(a, b): (&f64, &f64)| if a == b { 0.0 } else { (a - b).abs() / (a.abs() + b.abs()) };
        distances.push(sum(answer.iter().zip(asked).map(share)));
    }
    let least = distances.iter().copied().fold(f64::INFINITY, f64::min);
    let nearest = marks.iter().zip(&distances).filter(|(_, distance)| **distance == least);
    Ok(mean(&nearest.map(|(mark, _)| *mark).collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The teachers are the example of quadratic kappa, 0.8333333333. Against the third reader, kappa is that of the same
    /// example with itself: 1.
    #[test]
    fn a_judge_is_scored_where_teachers_agree() {
        let (one, other) = ([0, 1, 2, 2, 1, 0, 3, 3], [0, 2, 2, 1, 1, 0, 3, 2]);
        let gated = |judge: &[u32], other: &[u32], threshold| {
            gated_agreement(judge, [&one, other], 4, threshold, &Bootstrap::NONE)
        };
        let scored = gated(&one, &other, TEACHERS_AGREE).unwrap();
        assert!((scored.teachers.value - 0.833_333_333_3).abs() < 1e-9);
        let [with_one, with_other] = scored.judge.unwrap();
        assert_eq!((with_one.value, with_other.value), (1.0, scored.teachers.value));
        // Turned around, 3 - grade: sum w O = 9 + 1 + 1 + 1 + 1 + 9 + 9 + 9 = 40 against sum w E = 20, as both margins are
        // alike and have the sum of squared distances from their mean 10: kappa 1 - 40/20.
        let turned = one.map(|grade| 3 - grade);
        let unscored = gated(&one, &turned, TEACHERS_AGREE).unwrap();
        assert!((unscored.teachers.value + 1.0).abs() < 1e-12 && unscored.judge.is_none());
        assert!(gated(&one, &turned, -1.0 + 1e-9).unwrap().judge.is_none());
        assert!(gated(&one, &other, f64::NAN).is_err() && gated(&one[1..], &other, 0.4).is_err());
        assert!(gated(&one, &other[1..], 0.4).is_err());
    }

    /// Errors 0, 1, -2: MAE 1, MSE 5/3, bias -1/3.
    #[test]
    fn three_marks() {
        let error = grading_error(&[5.0, 4.0, 1.0], &[5.0, 3.0, 3.0], 5.0, &Bootstrap::NONE).unwrap();
        assert_eq!((error.mae.value, error.mse.value), (1.0, 5.0 / 3.0));
        assert!((error.bias.value + 1.0 / 3.0).abs() < 1e-15);
        assert_eq!((error.exact.value, error.within_one.value), (1.0 / 3.0, 2.0 / 3.0));
    }

    /// From (1, 0): (2, 0) is 1/3 away, (0, 0) and (1, 5) are 1 away.
    #[test]
    fn the_nearest_answer_by_hand() {
        let answers = [vec![0.0, 0.0], vec![2.0, 0.0], vec![1.0, 5.0]];
        assert_eq!(nearest_mark(&answers, &[1.0, 4.0, 2.0], &[1.0, 0.0]).unwrap(), 4.0);
        let tied = [answers[0].clone(), answers[2].clone()];
        assert_eq!(nearest_mark(&tied, &[1.0, 2.0], &[1.0, 0.0]).unwrap(), 1.5);
        assert!(matches!(nearest_mark(&[], &[], &[1.0]), Err(EvalError::Empty { .. })));
        assert!(matches!(nearest_mark(&answers, &[1.0; 3], &[1.0]), Err(EvalError::Length { .. })));
        assert!(matches!(nearest_mark(&tied, &[1.0, f64::NAN], &[1.0, 0.0]), Err(EvalError::NotFinite { .. })));
    }

    #[test]
    fn bad_input_is_refused() {
        let error = |judge: &[f64], teacher: &[f64], max| grading_error(judge, teacher, max, &Bootstrap::NONE);
        assert!(matches!(error(&[6.0], &[1.0], 5.0), Err(EvalError::OutOfRange { what: "judge", .. })));
        assert!(matches!(error(&[], &[], 5.0), Err(EvalError::Empty { .. })));
        assert!(matches!(error(&[1.0], &[1.0], f64::NAN), Err(EvalError::Range { .. })));
    }

    proptest! {
        #[test]
        fn mae_is_at_most_rmse_and_squared_bias_at_most_mse(marks in prop::collection::vec((0.0..9.0_f64, 0.0..9.0_f64), 1..30)) {
            let (judge, teacher): (Vec<_>, Vec<_>) = marks.into_iter().unzip();
            let error = grading_error(&judge, &teacher, 9.0, &Bootstrap::NONE).unwrap();
            prop_assert!(error.mae.value <= error.rmse + 1e-12);
            prop_assert!(error.bias.value.powi(2) <= error.mse.value + 1e-12);
        }
    }
}
