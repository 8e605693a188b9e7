//! The curve of best-of-k from a pool of scored responses, without sampling error.
//!
//! ```text
//! B(k) = sum_j w_j(k) y_(j),  responses by falling score,  w_j = C(K-j, k-1)/C(K, k):  w_1 = k/K,
//! w_{j+1} = w_j (K-j-k+1)/(K-j);  the weights of a tie are shared by its responses
//! oracle O(k) = expected maximum of y over k of K
//! ```
//! PPE (arXiv:2410.14872) names the end B(K), the largest B(k) and the mean loss O - B; these formulas are ours.

use crate::EvalError;
use crate::error::{finite, option, same_length};
use crate::stats::sum::{mean, sum};

/// What happens to equal scores when the best of k is picked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PickTies {
    /// Any of them with the same chance.
    #[default]
    Split,
    /// The one that stands first.
    First,
}

/// The curve and its summary.
#[derive(Clone, Debug, PartialEq)]
pub struct BestOfK {
    /// B(k) for k = 1..=K.
    pub curve: Vec<f64>,
    /// The expected outcome of a scorer that knows `y`.
    pub oracle: Vec<f64>,
    /// B(K).
    pub end: f64,
    /// The largest B(k).
    pub max: f64,
    /// Mean over k of oracle less curve.
    pub loss: f64,
}

/// The curve of picking by `scores`, with outcomes `y` (correctness in [0, 1], or a gold reward). Values lie between
/// the smallest and the largest `y`; `ties` says who is picked among equal scores; O(K^2) for K responses.
///
/// # Errors
/// When the lengths differ, there is no response, or a value is NaN or infinite.
pub fn best_of_k_curve(scores: &[f64], y: &[f64], ties: PickTies) -> Result<BestOfK, EvalError> {
    finite("scores", scores)?;
    same_length("y", scores.len(), y.len())?;
    finite("y", y)?;
    let (curve, oracle) = (curve(scores, y, ties), curve(y, y, PickTies::Split));
    let regrets: Vec<f64> = oracle.iter().zip(&curve).map(|(oracle, curve)| oracle - curve).collect();
    let (end, max) = (curve[curve.len() - 1], curve.iter().copied().fold(f64::NEG_INFINITY, f64::max));
    Ok(BestOfK { end, max, loss: mean(&regrets), curve, oracle })
}

/// The expected outcome of picking the best of `k` drawn without replacement. Between the smallest and the largest `y`;
/// `ties` says who is picked among equal scores; O(K log K).
///
/// # Errors
/// As [`best_of_k_curve`], and unless `1 <= k <= K`.
pub fn best_of_k(scores: &[f64], y: &[f64], k: usize, ties: PickTies) -> Result<f64, EvalError> {
    finite("scores", scores)?;
    same_length("y", scores.len(), y.len())?;
    finite("y", y)?;
    option("k", "at least 1 and at most the responses", k as f64, (1..=scores.len()).contains(&k))?;
    let blocks = blocks(scores, y, ties);
    Ok(picked(&blocks, scores.len(), k))
}

fn curve(scores: &[f64], y: &[f64], ties: PickTies) -> Vec<f64> {
    let blocks = blocks(scores, y, ties);
    (1..=scores.len()).map(|k| picked(&blocks, scores.len(), k)).collect()
}

/// Responses of equal score, best first: their number and mean outcome.
fn blocks(scores: &[f64], y: &[f64], ties: PickTies) -> Vec<(usize, f64)> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
    let equal = |a: &usize, b: &usize| ties == PickTies::Split && scores[*a] == scores[*b];
    let blocks = order.chunk_by(equal);
    blocks.map(|block| (block.len(), sum(block.iter().map(|&row| y[row])) / block.len() as f64)).collect()
}

fn picked(blocks: &[(usize, f64)], pool: usize, k: usize) -> f64 {
    let (mut weight, mut rank) = (k as f64 / pool as f64, 1);
    let mut terms = Vec::with_capacity(blocks.len());
    for &(size, outcome) in blocks {
        let mut share = 0.0;
        for _ in 0..size {
            share += weight;
            weight *= if pool - rank >= k { (pool - rank - k + 1) as f64 / (pool - rank) as f64 } else { 0.0 };
            rank += 1;
        }
        terms.push(share * outcome);
    }
    sum(terms)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A small over-optimisation: the best by score are wrong.
    #[test]
    fn five_responses() {
        let (scores, y) = ([0.9, 0.7, 0.7, 0.3, 0.1], [0.0, 1.0, 0.0, 1.0, 1.0]);
        let best = best_of_k_curve(&scores, &y, PickTies::Split).unwrap();
        for (got, expected) in best.curve.iter().zip([0.6, 0.35, 0.2, 0.1, 0.0]) {
            assert!((got - expected).abs() < 1e-12, "{best:?}");
        }
        // 1 - C(2, k)/C(5, k): 3/5, 9/10, 1, 1, 1.
        assert!((best.oracle[1] - 0.9).abs() < 1e-12 && (best.end, best.max) == (0.0, best.curve[0]));
        assert!((best.loss - (0.0 + 0.55 + 0.8 + 0.9 + 1.0) / 5.0).abs() < 1e-12);
        assert!((best_of_k(&scores, &y, 2, PickTies::Split).unwrap() - 0.35).abs() < 1e-12);
        assert_eq!(best_of_k(&[1.0, 1.0], &[0.0, 1.0], 2, PickTies::First).unwrap(), 0.0);
        assert_eq!(best_of_k(&[1.0, 1.0], &[0.0, 1.0], 2, PickTies::Split).unwrap(), 0.5);
    }

    #[test]
    fn bad_input_is_refused() {
        assert!(matches!(best_of_k_curve(&[], &[], PickTies::Split), Err(EvalError::Empty { .. })));
        assert!(matches!(best_of_k(&[1.0], &[1.0], 2, PickTies::Split), Err(EvalError::Range { name: "k", .. })));
        assert!(matches!(best_of_k(&[f64::NAN], &[1.0], 1, PickTies::Split), Err(EvalError::NotFinite { .. })));
    }

    proptest! {
        #[test]
        fn the_curve_rises_where_the_score_tells_the_outcome(
            scores in prop::collection::vec(-3_i32..3, 1..12), bar in -3_i32..3,
        ) {
            let y: Vec<f64> = scores.iter().map(|&score| f64::from(u8::from(score >= bar))).collect();
            let scores: Vec<f64> = scores.into_iter().map(f64::from).collect();
            let best = best_of_k_curve(&scores, &y, PickTies::Split).unwrap();
            prop_assert!(best.curve.windows(2).all(|pair| pair[1] >= pair[0] - 1e-12));
            // Such a score is an oracle.
            prop_assert!(best.loss.abs() < 1e-12);
        }

        /// Every subset of size k picks one of its best.
        #[test]
        fn the_curve_is_the_mean_over_subsets(rows in prop::collection::vec((-2_i32..2, 0_u8..2), 1..8)) {
            let (scores, y): (Vec<f64>, Vec<f64>) =
                rows.iter().map(|&(score, y)| (f64::from(score), f64::from(y))).unzip();
            let best = best_of_k_curve(&scores, &y, PickTies::Split).unwrap();
            for k in 1..=rows.len() {
                let (mut total, mut subsets) = (0.0, 0.0);
                for mask in (1_usize..1 << rows.len()).filter(|mask| mask.count_ones() as usize == k) {
                    let chosen: Vec<usize> = (0..rows.len()).filter(|row| (mask >> row) & 1 == 1).collect();
                    let max = chosen.iter().map(|&row| scores[row]).fold(f64::NEG_INFINITY, f64::max);
                    let top: Vec<f64> = chosen.iter().filter(|&&row| scores[row] == max).map(|&row| y[row]).collect();
                    total += top.iter().sum::<f64>() / top.len() as f64;
                    subsets += 1.0;
                }
                prop_assert!((best.curve[k - 1] - total / subsets).abs() < 1e-12);
                prop_assert!(best.oracle[k - 1] >= best.curve[k - 1] - 1e-12);
            }
        }
    }
}
