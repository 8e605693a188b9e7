//! Plackett-Luce strengths from rankings (R. L. Plackett, Appl. Statist. 24, 1975).
//!
//! ```text
//! log-likelihood = sum over rankings and places i of th_i - ln sum over the not yet placed of e^th
//! ```
//! Minorize-maximize steps (D. R. Hunter, Ann. Statist. 32, 2004), centred to mean 0. A ranking may name a part of
//! the items.
//! The maximum exists when every item can be reached from every other along "ranked before".

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

/// Fits `items` items to rankings, best first. Unbounded; rankings have no ties; O(ranked items) for each step.
///
/// # Errors
/// When there is no ranking, one names an item twice or out of range or has fewer than two, or the items do not hang
/// together.
pub fn plackett_luce(rankings: &[Vec<usize>], items: usize) -> Result<PlackettLuce, EvalError> {
    not_empty("the rankings", rankings)?;
    option("items", "at least 2", items as f64, items >= 2)?;
    for (index, ranking) in rankings.iter().enumerate() {
        let mut seen = vec![false; items];
        let fresh = |&item: &usize| item < items && !std::mem::replace(&mut seen[item], true);
        if ranking.len() < 2 || !ranking.iter().all(fresh) {
            let rule = "of two or more different items below the number of items";
            return Err(EvalError::OutOfRange { what: "rankings", rule, index, got: ranking.len() as f64 });
        }
    }
    for forward in [true, false] {
        let mut reached = vec![false; items];
        reached[0] = true;
        // Reached items pull in whoever stands after (before) them, until nothing changes.
        while rankings.iter().any(|ranking| spread(ranking, forward, &mut reached)) {}
        if reached.contains(&false) {
            let why = "some item is always ranked before, or always after, the rest; drop it or add rankings";
            return Err(EvalError::Degenerate { what: "the Plackett-Luce maximum", why });
        }
    }
    let mut strengths = vec![0.0; items];
    for _ in 0..100_000 {
        let (mut wins, mut pressure) = (vec![0.0; items], vec![0.0; items]);
        for ranking in rankings {
            let mut left: f64 = ranking.iter().map(|&item| f64::exp(strengths[item])).sum();
            let mut so_far = 0.0;
            for (place, &item) in ranking.iter().enumerate() {
                if place + 1 < ranking.len() {
                    wins[item] += 1.0;
                    so_far += 1.0 / left;
                    left -= f64::exp(strengths[item]);
                }
                pressure[item] += so_far;
            }
        }
        let mut next: Vec<f64> =
            wins.iter().zip(&pressure).map(|(wins, pressure): (&f64, &f64)| (wins / pressure).ln()).collect();
        let centre = mean(&next);
        next.iter_mut().for_each(|strength| *strength -= centre);
        let moved = next.iter().zip(&strengths).map(|(a, b): (&f64, &f64)| (a - b).abs()).fold(0.0, f64::max);
        strengths = next;
        if moved < 1e-13 {
            break;
        }
    }
    let terms = rankings.iter().map(|ranking| {
        let place = |place: usize| {
            let rest: f64 = ranking[place..].iter().map(|&item| f64::exp(strengths[item])).sum();
            strengths[ranking[place]] - rest.ln()
        };
        (0..ranking.len()).map(place).sum::<f64>()
    });
    let log_likelihood = sum(terms);
    Ok(PlackettLuce { log_likelihood, strengths })
}

/// Marks the items after (before) the first (last) reached one; whether there were new ones.
fn spread(ranking: &[usize], forward: bool, reached: &mut [bool]) -> bool {
    let ordered: Vec<usize> = if forward { ranking.to_vec() } else { ranking.iter().rev().copied().collect() };
    let Some(first) = ordered.iter().position(|&item| reached[item]) else { return false };
    let mut grew = false;
    for &item in &ordered[first..] {
        grew |= !std::mem::replace(&mut reached[item], true);
    }
    grew
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

    #[test]
    fn bad_input_is_refused() {
        assert!(matches!(plackett_luce(&[], 2), Err(EvalError::Empty { .. })));
        assert!(matches!(plackett_luce(&[vec![0, 0]], 2), Err(EvalError::OutOfRange { .. })));
        assert!(matches!(plackett_luce(&[vec![0, 2]], 2), Err(EvalError::OutOfRange { .. })));
        assert!(matches!(plackett_luce(&[vec![0, 1]], 2), Err(EvalError::Degenerate { .. })));
    }
}
