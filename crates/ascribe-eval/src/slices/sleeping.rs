//! A learner without regret for any of several overlapping groups: an online ridge regression for each group, and sleeping
//! experts above them.
//!
//! ```text
//! a group is awake on its rows;  p_g ~ w(R_g, C_g) over the groups awake;  prediction = sum p_g prediction_g
//! w(R, C) = (Phi(R + 1, C + 1) - Phi(R - 1, C + 1))/2,  Phi(R, C) = exp(max(R, 0)^2/(3 C))
//! r_g = sum p loss - loss_g where g is awake;  R_g += r_g,  C_g += |r_g|
//! ```
//! The reduction: K. Acharya et al., Oracle Efficient Algorithms for Groupwise Regret, 2023; the weights: H. Luo and R. Schapire,
//! AdaNormalHedge, arXiv:1502.05934. Squared losses are divided by the square of the range, so that they lie in [0, 1].

use super::GroupMask;
use crate::EvalError;
use crate::error::{finite, option, same_length, within};
use crate::stats::solve::solve;
use crate::stats::sum::sum;

/// An expert: the ridge regression of a group, and how it fared.
struct Expert {
    matrix: Vec<f64>, // [width, width]
    right: Vec<f64>,  // [width]
    regret: f64,
    size: f64,
}

impl Expert {
    fn new(width: usize, ridge: f64) -> Self {
        let mut matrix = vec![0.0; width * width];
        (0..width).for_each(|i| matrix[i * width + i] = ridge);
        Self { matrix, right: vec![0.0; width], regret: 0.0, size: 0.0 }
    }

    fn predict(&self, x: &[f64]) -> f64 {
        let weights = solve(self.matrix.clone(), self.right.clone());
        sum(x.iter().zip(&weights).map(|(x, w)| x * w))
    }

    fn learn(&mut self, x: &[f64], y: f64) {
        let width = x.len();
        for (i, a) in x.iter().enumerate() {
            self.right[i] += a * y;
            x.iter().enumerate().for_each(|(j, b)| self.matrix[i * width + j] += a * b);
        }
    }

    /// The logarithm of twice its weight; negative infinity where it has none.
    fn log_weight(&self) -> f64 {
        let power = |regret: f64| regret.max(0.0).powi(2) / (3.0 * (self.size + 1.0));
        let (above, below) = (power(self.regret + 1.0), power(self.regret - 1.0));
        if above > below { above + (-(below - above).exp()).ln_1p() } else { f64::NEG_INFINITY }
    }
}

/// Shares of logarithms of weights; all alike where none has any.
fn shares_of(logs: &[f64]) -> Vec<f64> {
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if most == f64::NEG_INFINITY {
        return vec![1.0 / logs.len() as f64; logs.len()];
    }
    let weights: Vec<f64> = logs.iter().map(|log| (log - most).exp()).collect();
    let all = sum(weights.iter().copied());
    weights.iter().map(|weight| weight / all).collect()
}

/// What the learner predicts for each row before it is told `y`, inside `range`. The groups of `masks` may overlap; with one
/// group of all rows it is online ridge regression with the penalty `ridge |w|^2`. [`linear_group_regret`] measures it.
/// O(T groups width^3), linear in the groups.
///
/// [`linear_group_regret`]: super::linear_group_regret
///
/// # Errors
/// When there is no row or group, a length does not fit, a number is NaN or infinite, `ridge` is not above 0, the range is
/// not increasing, a `y` lies outside it, or a row belongs to no group.
pub fn groupwise_ridge(
    y: &[f64],
    features: &[Vec<f64>],
    masks: &[GroupMask],
    ridge: f64,
    range: [f64; 2],
) -> Result<Vec<f64>, EvalError> {
    let [low, high] = range;
    option("ridge", "finite and above 0", ridge, 0.0 < ridge && ridge.is_finite())?;
    option("the upper end of the range", "finite and above the lower", high, low < high && (high - low).is_finite())?;
    option("groups", "at least 1", masks.len() as f64, !masks.is_empty())?;
    within("y", y, "inside the range", |y| (low..=high).contains(&y))?;
    same_length("features", y.len(), features.len())?;
    for mask in masks {
        same_length("a mask", y.len(), mask.members.len())?;
    }
    let width = features[0].len();
    let mut experts: Vec<Expert> = masks.iter().map(|_| Expert::new(width, ridge)).collect();
    let mut predictions = Vec::with_capacity(y.len());
    for (row, (x, &y)) in features.iter().zip(y).enumerate() {
        same_length("a row of features", width, x.len())?;
        finite("a row of features", x)?;
        let awake: Vec<usize> = (0..masks.len()).filter(|&group| masks[group].members[row]).collect();
        if awake.is_empty() {
            let why = "every row must belong to a group; add one of all rows";
            return Err(EvalError::Degenerate { what: "a prediction by groups", why });
        }
        let each: Vec<f64> = awake.iter().map(|&group| experts[group].predict(x).clamp(low, high)).collect();
        let shares = shares_of(&awake.iter().map(|&group| experts[group].log_weight()).collect::<Vec<_>>());
        predictions.push(sum(shares.iter().zip(&each).map(|(share, one)| share * one)).clamp(low, high));
        let losses: Vec<f64> = each.iter().map(|one| ((one - y) / (high - low)).powi(2)).collect();
        let expected = sum(shares.iter().zip(&losses).map(|(share, loss)| share * loss));
        for (&group, loss) in awake.iter().zip(&losses) {
            let expert = &mut experts[group];
            expert.regret += expected - loss;
            expert.size += (expected - loss).abs();
            expert.learn(x, y);
        }
    }
    Ok(predictions)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: [f64; 2] = [-10.0, 10.0];

    fn mask(members: Vec<bool>) -> GroupMask {
        GroupMask { name: "a group".to_owned(), members }
    }

    /// By hand with the penalty 1: nothing is known, then w = 2/2 and 10/6.
    #[test]
    fn one_group_is_online_ridge_regression() {
        let (y, features) = ([2.0, 4.0, 3.0], [vec![1.0], vec![2.0], vec![3.0]]);
        let predictions = groupwise_ridge(&y, &features, &[mask(vec![true; 3])], 1.0, RANGE).unwrap();
        assert!(predictions.iter().zip([0.0, 2.0, 5.0]).all(|(got, due)| (got - due).abs() < 1e-12), "{predictions:?}");
        let narrow = groupwise_ridge(&y, &features, &[mask(vec![true; 3])], 1.0, [0.0, 4.0]).unwrap();
        assert_eq!(narrow[2], 4.0);
    }

    /// (Phi(1, 1) - Phi(-1, 1))/2 = (e^(1/3) - 1)/2, and nothing for who has a regret of -1.
    #[test]
    fn weights_by_hand() {
        let expert = |regret: f64, size: f64| Expert { regret, size, ..Expert::new(1, 1.0) };
        assert!((expert(0.0, 0.0).log_weight() - ((1.0_f64 / 3.0).exp() - 1.0).ln()).abs() < 1e-12);
        // Phi(3, 3) = e, Phi(1, 3) = e^(1/9).
        assert!((expert(2.0, 2.0).log_weight() - (1.0_f64.exp() - (1.0_f64 / 9.0).exp()).ln()).abs() < 1e-12);
        assert_eq!(expert(-1.0, 1.0).log_weight(), f64::NEG_INFINITY);
        assert_eq!(shares_of(&[f64::NEG_INFINITY; 2]), [0.5, 0.5]);
        assert_eq!(shares_of(&[f64::NEG_INFINITY, 3.0]), [0.0, 1.0]);
    }

    #[test]
    fn groups_that_do_not_overlap_learn_apart_and_a_group_of_its_own_helps() {
        // y = x on even rows and -x on odd ones.
        let x = |row: u32| f64::from(row % 7 + 1);
        let features: Vec<Vec<f64>> = (0..200).map(|row| vec![x(row)]).collect();
        let y: Vec<f64> = (0..200).map(|row| if row % 2 == 0 { x(row) } else { -x(row) }).collect();
        let even: Vec<bool> = (0..200).map(|row| row % 2 == 0).collect();
        let odd: Vec<bool> = even.iter().map(|even| !even).collect();
        let run = |masks: &[GroupMask]| groupwise_ridge(&y, &features, masks, 1.0, RANGE).unwrap();
        let apart = run(&[mask(even.clone()), mask(odd.clone())]);
        let half = |from: usize| -> (Vec<f64>, Vec<Vec<f64>>) {
            let rows = (from..200).step_by(2);
            (rows.clone().map(|row| y[row]).collect(), rows.map(|row| features[row].clone()).collect())
        };
        let (even_y, even_x) = half(0);
        let alone = groupwise_ridge(&even_y, &even_x, &[mask(vec![true; 100])], 1.0, RANGE).unwrap();
        assert!(apart.iter().step_by(2).zip(&alone).all(|(one, other)| one == other));
        let loss = |of: &[f64]| of.iter().zip(&y).map(|(one, y)| (one - y).powi(2)).sum::<f64>();
        let (all, with_odd) = (run(&[mask(vec![true; 200])]), run(&[mask(vec![true; 200]), mask(odd)]));
        assert!(loss(&apart) < loss(&with_odd) && loss(&with_odd) < loss(&all));
    }

    #[test]
    fn bad_input_is_refused() {
        let run = |y: &[f64], masks: &[GroupMask], ridge: f64, range: [f64; 2]| {
            groupwise_ridge(y, &vec![vec![1.0]; y.len()], masks, ridge, range)
        };
        let all = [mask(vec![true; 2])];
        assert!(matches!(run(&[1.0, 11.0], &all, 1.0, RANGE), Err(EvalError::OutOfRange { .. })));
        assert!(matches!(run(&[1.0; 2], &[mask(vec![true, false])], 1.0, RANGE), Err(EvalError::Degenerate { .. })));
        assert!(run(&[1.0; 2], &all, 0.0, RANGE).is_err() && run(&[1.0; 2], &all, 1.0, [1.0, 1.0]).is_err());
        assert!(run(&[1.0; 3], &all, 1.0, RANGE).is_err() && run(&[1.0; 2], &[], 1.0, RANGE).is_err());
        assert!(groupwise_ridge(&[], &[], &all, 1.0, RANGE).is_err());
    }
}
