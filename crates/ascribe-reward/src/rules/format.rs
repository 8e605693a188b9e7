//! Rules on the form of a response, as TRL has them. Golden values: `reward/reward_functions_trl.json`.
//!
//! ```text
//! overlong: 0 up to L - c tokens, then (L - c - n) / c, and -1 beyond L     (DAPO, arXiv:2503.14476, eq. 13)
//! repetition: -penalty * (1 - distinct n-grams / n-grams), 0 without an n-gram     (arXiv:2502.03373)
//! think: 1 for `<think>` at the start, once, with a `</think>` behind it, else 0
//! ```

use std::collections::HashSet;

use crate::RewardError;
use crate::error::option;

/// The punishment of `tokens` tokens where `longest` are allowed and the last `soft` of them are punished softly.
///
/// # Errors
/// Unless `soft` is at least 1 and at most `longest`.
pub fn soft_overlong_punishment(tokens: usize, longest: usize, soft: usize) -> Result<f32, RewardError> {
    option("soft", "at least 1 and at most the longest length", soft as f64, (1..=longest).contains(&soft))?;
    Ok(match tokens {
        tokens if tokens <= longest - soft => 0.0,
        tokens if tokens <= longest => -((tokens - (longest - soft)) as f32) / soft as f32,
        _ => -1.0,
    })
}

/// The penalty on repeated runs of `n` tokens; `penalty` is the largest, at least 0.
///
/// # Errors
/// When `n` is 0, or the penalty is not finite or below 0.
pub fn repetition_penalty<T: Eq + std::hash::Hash>(tokens: &[T], n: usize, penalty: f32) -> Result<f32, RewardError> {
    option("n", "at least 1", n as f64, n >= 1)?;
    option("penalty", "finite and at least 0", penalty.into(), 0.0 <= penalty && penalty.is_finite())?;
    let runs = tokens.windows(n);
    let all = runs.len();
    let distinct = runs.collect::<HashSet<_>>().len();
    Ok(if all == 0 { 0.0 } else { -penalty * (1.0 - distinct as f32 / all as f32) })
}

/// 1 when the response thinks between `<think>` and `</think>` before it answers, else 0.
pub fn think_format(response: &str) -> f32 {
    let thinks = |rest: &str| !rest.contains("<think>") && rest.contains("</think>");
    if response.strip_prefix("<think>").is_some_and(thinks) { 1.0 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_by_hand() {
        // 30 are free, then a twentieth each.
        let punished = [30, 31, 40, 50, 51].map(|tokens| soft_overlong_punishment(tokens, 50, 20).unwrap());
        assert_eq!(punished, [0.0, -0.05, -0.5, -1.0, -1.0]);
        // 1 2, 2 1, 1 2: two of three are distinct.
        assert!((repetition_penalty(&[1, 2, 1, 2], 2, 1.0).unwrap() + 1.0 / 3.0).abs() < 1e-6);
        assert_eq!(repetition_penalty(&[1], 2, 1.0).unwrap(), 0.0);
        assert_eq!(think_format("<think>a</think>b"), 1.0);
        assert_eq!(think_format("<think>a<think>b</think>"), 0.0);
    }

    #[test]
    fn options_out_of_range_are_refused() {
        assert!(soft_overlong_punishment(1, 10, 0).is_err() && soft_overlong_punishment(1, 10, 11).is_err());
        assert!(repetition_penalty(&[1], 0, 1.0).is_err() && repetition_penalty(&[1], 1, f32::NAN).is_err());
    }
}
