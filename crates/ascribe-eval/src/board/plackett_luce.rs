//! Plackett-Luce strengths from rankings (R. L. Plackett, Appl. Statist. 24, 1975).
//!
//! ```text
//! log-likelihood = sum over rankings and places i of th_i - ln sum over the not yet placed of e^th
//! ```
//! Newton's method with step halving, centred to mean 0. A ranking may name a part of the items.
//! The maximum exists when every item can be reached from every other along "ranked before".

use super::bradley_terry::reached;
use super::fit::{climbed, hold_mean};
use crate::EvalError;
use crate::error::{not_empty, option};
use crate::stats::sum::{mean, sum};

/// Fitted strengths.
#[derive(Clone, Debug, PartialEq)]
pub struct PlackettLuce {
    /// Strength of each item, mean 0.
    pub strengths: Vec<f64>,
    /// The log-likelihood.
    pub log_likelihood: f64,
}

/// Fits `items` items to rankings, best first. Unbounded; rankings have no ties; O(sum of squared lengths + items^3) for each
/// of a few steps.
///
/// # Errors
/// When there is no ranking, one names an item twice or out of range or has fewer than two, or the items do not hang
/// together.
pub fn plackett_luce(rankings: &[Vec<usize>], items: usize) -> Result<PlackettLuce, EvalError> {
    not_empty("the rankings", rankings)?;
    option("items", "at least 2", items as f64, items >= 2)?;
    // The last ranking that named each item.
    let mut seen = vec![usize::MAX; items];
    for (index, ranking) in rankings.iter().enumerate() {
        let fresh = |&item: &usize| item < items && std::mem::replace(&mut seen[item], index) != index;
        if ranking.len() < 2 || !ranking.iter().all(fresh) {
            let rule = "of two or more different items below the number of items";
            return Err(EvalError::OutOfRange { what: "rankings", rule, index, got: ranking.len() as f64 });
        }
    }
    let (mut after, mut before) = (vec![Vec::new(); items], vec![Vec::new(); items]);
    for pair in rankings.iter().flat_map(|ranking| ranking.windows(2)) {
        after[pair[0]].push(pair[1]);
        before[pair[1]].push(pair[0]);
    }
    if [&after, &before].into_iter().any(|next| reached(next).contains(&false)) {
        let why = "some item is always ranked before, or always after, the rest; drop it or add rankings";
        return Err(EvalError::Degenerate { what: "the Plackett-Luce maximum", why });
    }
    let choices: usize = rankings.iter().map(|ranking| ranking.len() - 1).sum();
    let likelihood = |strengths: &[f64]| log_likelihood(rankings, strengths);
    let mut strengths =
        climbed(items, 1e-12 * (1.0 + choices as f64), likelihood, |strengths| slopes(rankings, strengths));
    let centre = mean(&strengths);
    strengths.iter_mut().for_each(|strength| *strength -= centre);
    Ok(PlackettLuce { log_likelihood: log_likelihood(rankings, &strengths), strengths })
}

/// At each place of a ranking the sum of e^th from there to the end: from the end on, as what is left after the strong ones would
/// drown in their rounding.
fn left(ranking: &[usize], strengths: &[f64]) -> Vec<f64> {
    let mut left: Vec<f64> = ranking.iter().map(|&item| strengths[item].exp()).collect();
    for place in (1..left.len()).rev() {
        left[place - 1] += left[place];
    }
    left
}

fn log_likelihood(rankings: &[Vec<usize>], strengths: &[f64]) -> f64 {
    let of = |ranking: &Vec<usize>| {
        let left = left(ranking, strengths);
        sum(ranking.iter().zip(&left).map(|(&item, left)| strengths[item] - left.ln()))
    };
    sum(rankings.iter().map(of))
}

/// The gradient of the log-likelihood, and the negative of its Hessian.
fn slopes(rankings: &[Vec<usize>], strengths: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let items = strengths.len();
    let (mut gradient, mut hessian) = (vec![0.0; items], vec![0.0; items * items]);
    for ranking in rankings {
        // Over the choices up to a place: sums of 1/left and of its square.
        let (mut first, mut second) = (0.0, 0.0);
        let left = left(ranking, strengths);
        for (place, &item) in ranking.iter().enumerate() {
            if place + 1 < ranking.len() {
                gradient[item] += 1.0;
                first += 1.0 / left[place];
                second += 1.0 / left[place].powi(2);
            }
            let own = strengths[item].exp();
            gradient[item] -= own * first;
            hessian[item * items + item] += own * first - own * own * second;
            for &other in &ranking[place + 1..] {
                let both = own * strengths[other].exp() * second;
                hessian[item * items + other] -= both;
                hessian[other * items + item] -= both;
            }
        }
    }
    hold_mean(&mut hessian, items);
    (gradient, hessian)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two items, the first ahead in three of four: strengths differ by ln 3.
    #[test]
    fn two_items() {
        let rankings = [vec![0, 1], vec![0, 1], vec![1, 0], vec![0, 1]];
        let fit = plackett_luce(&rankings, 2).unwrap();
        assert!((fit.strengths[0] - fit.strengths[1] - 3_f64.ln()).abs() < 1e-10);
        assert!((fit.log_likelihood - (3.0 * 0.75_f64.ln() + 0.25_f64.ln())).abs() < 1e-10);
    }

    /// Neighbours meet 1001 times, and the stronger wins all but one: ln 1000 from item to item; one ranking of all is about one win
    /// more for each, and ln(1001/1000) is below 0.002. At the maximum each item is chosen as often as it is expected to be.
    #[test]
    fn items_of_very_different_strength() {
        let n = 8;
        let neighbours = (0..n - 1).flat_map(|item| [vec![vec![item, item + 1]; 1000], vec![vec![item + 1, item]]]);
        let mut rankings: Vec<Vec<usize>> = neighbours.flatten().collect();
        rankings.push((0..n).collect());
        let fit = plackett_luce(&rankings, n).unwrap();
        for pair in fit.strengths.windows(2) {
            assert!((pair[0] - pair[1] - 1000_f64.ln()).abs() < 2e-3, "{fit:?}");
        }
        let mut more = vec![0.0; n];
        for ranking in &rankings {
            for place in 0..ranking.len() - 1 {
                more[ranking[place]] += 1.0;
                let all: f64 = ranking[place..].iter().map(|&item| fit.strengths[item].exp()).sum();
                ranking[place..].iter().for_each(|&item| more[item] -= fit.strengths[item].exp() / all);
            }
        }
        assert!(more.iter().all(|more| more.abs() < 1e-8), "{more:?}");
    }

    /// Three items in one order and its two turns: each is chosen first once and second once, so they are equal, and each ranking
    /// has 1/3 times 1/2.
    #[test]
    fn three_items_in_turn() {
        let fit = plackett_luce(&[vec![0, 1, 2], vec![1, 2, 0], vec![2, 0, 1]], 3).unwrap();
        assert!(fit.strengths.iter().all(|strength| strength.abs() < 1e-12), "{fit:?}");
        assert!((fit.log_likelihood - 3.0 * (1.0_f64 / 6.0).ln()).abs() < 1e-12);
    }

    #[test]
    fn bad_input_is_refused() {
        assert!(matches!(plackett_luce(&[], 2), Err(EvalError::Empty { .. })));
        assert!(matches!(plackett_luce(&[vec![0, 0]], 2), Err(EvalError::OutOfRange { .. })));
        assert!(matches!(plackett_luce(&[vec![0, 2]], 2), Err(EvalError::OutOfRange { .. })));
        assert!(matches!(plackett_luce(&[vec![0, 1]], 2), Err(EvalError::Degenerate { .. })));
    }
}
