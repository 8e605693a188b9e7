//! A distribution over next tokens that is tilted by values, and the value of rollouts.
//!
//! ```text
//! pi(z|s) = p(z|s) exp(v(s, z) / alpha) / C(s)
//! KL(pi || p) <= (E_pi v - E_p v) / alpha <= (max v - min v) / alpha
//! v(s, z) - E_pi v <= alpha log(1 / p(z|s))     for every z
//! ```

use ascribe_core::Stream;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::error::check;
use crate::{Found, NodeState, Path, PromptCtx, SearchError, Stopped};

/// How a token is chosen from a distribution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choose {
    /// The most likely.
    #[default]
    Best,
    /// Drawn.
    Sample,
}

/// Log-probabilities of the tilted distribution, over the tokens that are given.
///
/// # Errors
/// Unless alpha is above 0 (infinite leaves the distribution as it is), and some token is possible.
pub fn tilted(logps: &[f32], values: &[f64], alpha: f64) -> Result<Vec<f64>, SearchError> {
    check("alpha", "above 0", alpha, alpha > 0.0)?;
    if values.len() != logps.len() {
        return Err(SearchError::Answers { what: "a tilt", asked: logps.len(), got: values.len() });
    }
    // An infinite value says nothing to a distribution that is left as it is.
    let tilt = |value: f64| if value.is_infinite() && alpha.is_infinite() { 0.0 } else { value / alpha };
    let logits: Vec<f64> = logps.iter().zip(values).map(|(logp, value)| f64::from(*logp) + tilt(*value)).collect();
    let total = log_sum_exp(&logits);
    check("a tilted distribution", "over tokens of finite value, some of them possible", total, total.is_finite())?;
    Ok(logits.iter().map(|logit| logit - total).collect())
}

/// What rollouts say of a token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RolloutValue {
    /// The estimate.
    pub value: f64,
    /// Its standard error; infinite for a single rollout.
    pub error: f64,
    /// Effective number of rollouts: `(sum omega)^2 / sum omega^2`.
    pub effective: f64,
}

/// The mean reward of rollouts, each with the weight `exp(tilt)`, normalized over them: `sum omega r / sum omega`.
///
/// Tilts of 0 give the mean. With rollouts of a baseline that was aligned to `r_bl` and tilts `(r - r_bl) / beta` it is the
/// indirect estimate of Transfer Q*: consistent, and exact under enumeration.
///
/// # Errors
/// When there is no rollout, the lengths differ, or all weights vanish.
pub fn rollout_value(rewards: &[f64], tilts: &[f64]) -> Result<RolloutValue, SearchError> {
    check("the number of rollouts", "at least 1", rewards.len() as f64, !rewards.is_empty())?;
    if tilts.len() != rewards.len() {
        return Err(SearchError::Answers { what: "a baseline reward", asked: rewards.len(), got: tilts.len() });
    }
    let total = log_sum_exp(tilts);
    check("the sum of the weights of rollouts", "above 0 and finite", total, total.is_finite())?;
    let weights: Vec<f64> = tilts.iter().map(|tilt| (tilt - total).exp()).collect();
    let value: f64 = weights.iter().zip(rewards).map(|(weight, reward)| weight * reward).sum();
    let effective = 1.0 / weights.iter().map(|weight| weight * weight).sum::<f64>();
    let spread: f64 = weights.iter().zip(rewards).map(|(weight, reward)| (weight * (reward - value)).powi(2)).sum();
    let n = rewards.len() as f64;
    let error = if n > 1.0 { (spread * n / (n - 1.0)).sqrt() } else { f64::INFINITY };
    Ok(RolloutValue { value, error, effective })
}

/// Writes a text token by token, each of the `k` likeliest tilted by what `values` says of the text that it makes.
pub(crate) fn decode(
    ctx: &mut PromptCtx,
    k: usize,
    alpha: f64,
    choose: Choose,
    values: impl Fn(&mut PromptCtx, &[Path]) -> Result<Option<Vec<f64>>, SearchError>,
) -> Result<Found, SearchError> {
    let mut path = ctx.root();
    while ctx.is_open(&path) {
        let Some(next) = ctx.top(std::slice::from_ref(&path), k)? else { break };
        let next = next.concat();
        if next.is_empty() {
            ctx.stop(Stopped::Nothing);
            break;
        }
        let mut children = Vec::with_capacity(next.len());
        for (index, token) in next.iter().enumerate() {
            children.push(ctx.child(&path, index, token));
        }
        let Some(values) = values(ctx, &children)? else { break };
        let logps: Vec<f32> = next.iter().map(|token| token.logps.iter().sum()).collect();
        let tilted = tilted(&logps, &values, alpha)?;
        let chosen = match choose {
            Choose::Best => largest(&tilted),
            Choose::Sample => draw(&tilted, &mut path.seed().stream("choose", 0)),
        };
        for (child, value) in children.iter().zip(&values) {
            ctx.value(child, *value);
        }
        path = children.swap_remove(chosen);
        ctx.mark([&path], NodeState::Kept);
    }
    Ok(if path.tokens().is_empty() { ctx.unfinished() } else { ctx.found(&[path], None, 0) })
}

/// Index of the largest value, the first of equals.
pub(crate) fn largest(values: &[f64]) -> usize {
    (1..values.len()).fold(0, |best, at| if values[at] > values[best] { at } else { best })
}

/// An index drawn from normalized log-probabilities.
pub(crate) fn draw(logps: &[f64], stream: &mut Stream) -> usize {
    let (point, mut mass) = (stream.random::<f64>(), 0.0);
    let drawn = logps.iter().position(|logp| {
        mass += logp.exp();
        point < mass
    });
    // Rounding can leave the mass a little below 1.
    drawn.unwrap_or_else(|| logps.iter().rposition(|logp| *logp > f64::NEG_INFINITY).unwrap_or(0))
}

/// `log sum exp`, without overflow; negative infinity where there is nothing.
pub(crate) fn log_sum_exp(values: &[f64]) -> f64 {
    let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if largest == f64::NEG_INFINITY {
        return largest;
    }
    largest + values.iter().map(|value| (value - largest).exp()).sum::<f64>().ln()
}

/// `factor * value`, and 0 for a factor of 0: what has no weight says nothing, not even with an infinite value.
pub(crate) fn times(factor: f64, value: f64) -> f64 {
    if factor == 0.0 { 0.0 } else { factor * value }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(got: &[f64], expected: &[f64], tolerance: f64) {
        assert_eq!(got.len(), expected.len());
        assert!(got.iter().zip(expected).all(|(g, e)| (g - e).abs() <= tolerance), "{got:?} beside {expected:?}");
    }

    fn probabilities(p: &[f64], values: &[f64], alpha: f64) -> Vec<f64> {
        let logps: Vec<f32> = p.iter().map(|p| p.ln() as f32).collect();
        tilted(&logps, values, alpha).unwrap().iter().map(|logp| logp.exp()).collect()
    }

    fn divergence(q: &[f64], p: &[f64]) -> f64 {
        q.iter().zip(p).map(|(q, p)| if *q > 0.0 { q * (q / p).ln() } else { 0.0 }).sum()
    }

    #[test]
    fn transfer_worked_by_hand() {
        let (p, v) = ([0.5, 0.3, 0.2], [0.2, 0.9, 0.4]);
        let pi = probabilities(&p, &v, 0.5);
        close(&pi, &[0.248148, 0.603774, 0.148077], 1e-6);
        let mean = |p: &[f64]| p.iter().zip(v).map(|(p, v)| p * v).sum::<f64>();
        let (gain, regret) = (mean(&pi) - mean(&p), 0.9 - mean(&pi));
        close(&[divergence(&pi, &p), gain / 0.5], &[0.203933, 0.404515], 1e-6);
        close(&[regret, 0.5 * (1.0 / 0.3f64).ln()], &[0.247742, 0.601986], 1e-6);
        close(&probabilities(&p, &v, 10.0), &[0.487428, 0.313662, 0.198910], 1e-6);
        close(&probabilities(&p, &v, f64::INFINITY), &p, 1e-6);
        close(&probabilities(&p, &[f64::NEG_INFINITY, 0.0, f64::INFINITY], f64::INFINITY), &p, 1e-6);
        close(&probabilities(&p, &v, 1e-3), &[0.0, 1.0, 0.0], 1e-6);
        close(&probabilities(&p, &[0.7; 3], 0.1), &p, 1e-6);
    }

    #[test]
    fn indirect_transfer_worked_by_hand() {
        // beta 0.5: omega = (e, 1/e, 1).
        let (r, baseline) = ([1.0, 0.0, 0.5], [0.5, 0.5, 0.5]);
        let tilts: Vec<f64> = r.iter().zip(baseline).map(|(r, baseline)| (r - baseline) / 0.5).collect();
        close(
            &[tilts[0].exp(), tilts[1].exp(), tilts[2].exp()],
            &[std::f64::consts::E, 1.0 / std::f64::consts::E, 1.0],
            1e-12,
        );
        close(&[rollout_value(&r, &tilts).unwrap().value], &[0.787605], 1e-6);
        let plain = rollout_value(&r, &[0.0; 3]).unwrap();
        // Mean 0.5, effective 3, standard error sqrt(0.25 / 3).
        close(&[plain.value, plain.effective, plain.error], &[0.5, 3.0, (0.25f64 / 3.0).sqrt()], 1e-12);
        assert!(rollout_value(&[1.0], &[0.0]).unwrap().error.is_infinite());
    }

    #[test]
    fn what_is_no_tilt_is_refused() {
        for alpha in [0.0, -1.0, f64::NAN] {
            assert!(tilted(&[0.0], &[0.0], alpha).is_err());
        }
        assert!(tilted(&[0.0], &[f64::NAN], f64::INFINITY).is_err());
        assert!(tilted(&[0.0], &[f64::NAN], 1.0).is_err() && tilted(&[0.0], &[f64::INFINITY], 1.0).is_err());
        assert!(tilted(&[], &[], 1.0).is_err() && tilted(&[0.0], &[], 1.0).is_err());
        assert!(rollout_value(&[], &[]).is_err() && rollout_value(&[1.0], &[f64::NEG_INFINITY]).is_err());
    }

    proptest! {
        #[test]
        fn the_two_bounds_hold(
            rows in prop::collection::vec((0.01..1.0f64, -2.0..2.0f64), 1..8),
            alpha in 0.05..5.0f64,
            more in -3.0..3.0f64,
        ) {
            let total: f64 = rows.iter().map(|(p, _)| p).sum();
            let p: Vec<f64> = rows.iter().map(|(p, _)| p / total).collect();
            let v: Vec<f64> = rows.iter().map(|(_, v)| *v).collect();
            let pi = probabilities(&p, &v, alpha);
            let mean = |p: &[f64]| p.iter().zip(&v).map(|(p, v)| p * v).sum::<f64>();
            let range = v.iter().copied().fold(f64::MIN, f64::max) - v.iter().copied().fold(f64::MAX, f64::min);
            let (divergence, gain) = (divergence(&pi, &p), mean(&pi) - mean(&p));
            prop_assert!(divergence <= gain / alpha + 1e-5 && gain <= range + 1e-5);
            for (p, v) in p.iter().zip(&v) {
                prop_assert!(v - mean(&pi) <= alpha * (1.0 / p).ln() + 1e-5);
            }
            // A constant changes nothing.
            let shifted: Vec<f64> = v.iter().map(|v| v + more).collect();
            let same = probabilities(&p, &shifted, alpha);
            prop_assert!(pi.iter().zip(&same).all(|(a, b)| (a - b).abs() < 1e-6));
        }
    }
}
