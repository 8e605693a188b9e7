//! Over-optimisation: gold reward against the distance from the reference policy.
//!
//! ```text
//! d = sqrt(KL), gains over the reference.   best of n: R(d) = d (alpha - beta d)    peak d* = alpha/(2 beta), alpha^2/(4 beta)
//! RL and direct alignment:                  R(d) = d (alpha - beta ln d)            peak d* = exp(alpha/beta - 1), beta d*
//! ```
//! L. Gao et al., arXiv:2210.10760; R. Rafailov et al., arXiv:2406.02900. Least squares without intercept; points at
//! d = 0
//! are dropped and counted. The RL form has infinite slope at 0: do not read it there.

use crate::EvalError;
use crate::error::{finite, option, same_length, within};
use crate::stats::sum::sum;

/// The form of a curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverOptimization {
    /// `d (alpha - beta d)`.
    BestOfN,
    /// `d (alpha - beta ln d)`.
    Rl,
    /// `alpha d^2 - beta d^4`: a quadratic in KL, the rival form.
    QuadraticInKl,
}

/// How many distinct distances a fit needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Saturated {
    /// Three: two give a perfect fit that says nothing.
    #[default]
    Refuse,
    /// Two are enough.
    Allow,
}

/// A fitted curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OverOptimizationFit {
    /// Its form.
    pub form: OverOptimization,
    /// The slope at first.
    pub alpha: f64,
    /// How fast it bends.
    pub beta: f64,
    /// Standard errors of both; `None` for a perfect fit.
    pub errors: Option<(f64, f64)>,
    /// Root of the weighted mean square residual.
    pub rmse: f64,
    /// `n ln(RSS/n) + 4`; `None` for a perfect fit.
    pub aic: Option<f64>,
    /// Points that were fitted.
    pub n: usize,
    /// Points at d = 0 that were dropped.
    pub dropped: usize,
}

impl OverOptimization {
    fn columns(self, d: f64) -> (f64, f64) {
        match self {
            Self::BestOfN => (d, -d * d),
            Self::Rl => (d, -d * d.ln()),
            Self::QuadraticInKl => (d * d, -d.powi(4)),
        }
    }
}

impl OverOptimizationFit {
    /// The gain at distance `d`, 0 at 0. Unbounded; O(1).
    pub fn at(&self, d: f64) -> f64 {
        if d == 0.0 {
            return 0.0;
        }
        let (a, b) = self.form.columns(d);
        self.alpha * a + self.beta * b
    }

    /// Where the curve is highest, and how high; `None` when it does not bend down. O(1).
    pub fn peak(&self) -> Option<(f64, f64)> {
        let Self { alpha, beta, .. } = *self;
        let d = match self.form {
            OverOptimization::BestOfN if beta > 0.0 && alpha > 0.0 => alpha / (2.0 * beta),
            OverOptimization::Rl if beta > 0.0 => (alpha / beta - 1.0).exp(),
            OverOptimization::QuadraticInKl if beta > 0.0 && alpha > 0.0 => (alpha / (2.0 * beta)).sqrt(),
            _ => return None,
        };
        Some((d, self.at(d)))
    }
}

/// Fits a form to gains at distances `d`, with weights (1/standard error squared) or all alike. Unbounded; points at
/// distance 0 leave the fit and are counted; O(n).
///
/// # Errors
/// When the lengths differ, there is no point, a value is NaN or infinite, a distance is negative, a weight is not
/// above 0, or too few distances differ.
pub fn fit_over_optimization(
    d: &[f64],
    gains: &[f64],
    weights: Option<&[f64]>,
    form: OverOptimization,
    saturated: Saturated,
) -> Result<OverOptimizationFit, EvalError> {
    within("d", d, "at least 0", |d| d >= 0.0)?;
    same_length("gains", d.len(), gains.len())?;
    finite("gains", gains)?;
    if let Some(weights) = weights {
        same_length("weights", d.len(), weights.len())?;
        within("weights", weights, "above 0", |weight| weight > 0.0)?;
    }
    let kept: Vec<usize> = (0..d.len()).filter(|&point| d[point] > 0.0).collect();
    let mut distances: Vec<f64> = kept.iter().map(|&point| d[point]).collect();
    distances.sort_by(f64::total_cmp);
    distances.dedup();
    let (needed, rule) = match saturated {
        Saturated::Allow => (2, "at least 2"),
        Saturated::Refuse => (3, "at least 3; measure more, or allow a saturated fit of 2"),
    };
    option("distinct distances above 0", rule, distances.len() as f64, distances.len() >= needed)?;
    let weight = |point: usize| weights.map_or(1.0, |weights| weights[point]);
    // Gram-Schmidt on the two weighted columns.
    let root = |point: usize| weight(point).sqrt();
    let first: Vec<f64> = kept.iter().map(|&point| root(point) * form.columns(d[point]).0).collect();
    let second: Vec<f64> = kept.iter().map(|&point| root(point) * form.columns(d[point]).1).collect();
    let target: Vec<f64> = kept.iter().map(|&point| root(point) * gains[point]).collect();
    let dot = |a: &[f64], b: &[f64]| sum(a.iter().zip(b).map(|(a, b)| a * b));
    let length = dot(&first, &first);
    let share = dot(&first, &second) / length;
    let rest: Vec<f64> = second.iter().zip(&first).map(|(b, a)| b - share * a).collect();
    let rest_length = dot(&rest, &rest);
    let beta = dot(&rest, &target) / rest_length;
    let alpha = dot(&first, &target) / length - share * beta;
    let n = kept.len();
    let squares = sum(kept.iter().map(|&point| {
        let (a, b) = form.columns(d[point]);
        weight(point) * (gains[point] - alpha * a - beta * b).powi(2)
    }));
    let imperfect = n > 2 && squares > 0.0;
    let variance = squares / (n as f64 - 2.0);
    let errors = imperfect
        .then(|| ((variance * (1.0 / length + share * share / rest_length)).sqrt(), (variance / rest_length).sqrt()));
    let rmse = (squares / sum(kept.iter().map(|&point| weight(point)))).sqrt();
    let aic = imperfect.then(|| n as f64 * (squares / n as f64).ln() + 4.0);
    Ok(OverOptimizationFit { form, alpha, beta, errors, rmse, aic, n, dropped: d.len() - n })
}

/// What a curve shows without a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Onset {
    /// The distance of the largest gold reward, the smallest of them on ties.
    pub onset: f64,
    /// Largest less last gold reward.
    pub regret: f64,
    /// Over the last third of the points (two at least): proxy less gold, on z-scored axes, rises and gold falls.
    pub hacked: bool,
}

/// Reads a curve of gold and proxy rewards over rising distance. The first of equal peaks counts; O(n).
///
/// # Errors
/// When the lengths differ, there are fewer than two points, a value is NaN or infinite, distances do not rise, or a
/// reward is constant.
pub fn onset(d: &[f64], gold: &[f64], proxy: &[f64]) -> Result<Onset, EvalError> {
    option("points", "at least 2", d.len() as f64, d.len() >= 2)?;
    for (what, values) in [("d", d), ("gold", gold), ("proxy", proxy)] {
        same_length(what, d.len(), values.len())?;
        finite(what, values)?;
    }
    if let Some(index) = d.windows(2).position(|pair| pair[0] >= pair[1]) {
        let rule = "above the distance before it";
        return Err(EvalError::OutOfRange { what: "d", rule, index: index + 1, got: d[index + 1] });
    }
    let scored = |values: &[f64]| {
        let (centre, sd) = (crate::stats::sum::mean(values), crate::stats::sum::variance(values).sqrt());
        if sd > 0.0 {
            return Ok(values.iter().map(|value| (value - centre) / sd).collect::<Vec<f64>>());
        }
        Err(EvalError::Degenerate { what: "a z-scored reward", why: "it is constant over the curve" })
    };
    let (gold_scored, proxy_scored) = (scored(gold)?, scored(proxy)?);
    let best = (0..d.len()).fold(0, |best, point| if gold[point] > gold[best] { point } else { best });
    let last = d.len() - 1;
    let first = d.len() - d.len().div_ceil(3).max(2);
    let gap = |point: usize| proxy_scored[point] - gold_scored[point];
    let hacked = gap(last) > gap(first) && gold[last] < gold[first];
    Ok(Onset { onset: d[best], regret: gold[best] - gold[last], hacked })
}

/// R^2 of the regression of `ln(pi/pi_ref)` on response length: how much of the implicit reward is length. In [0, 1];
/// O(n).
///
/// # Errors
/// As [`Correlation::of`](crate::rank::Correlation::of).
pub fn length_extrapolation(log_ratios: &[f64], lengths: &[f64]) -> Result<f64, EvalError> {
    Ok(crate::rank::Correlation::Pearson.of(log_ratios, lengths)?.powi(2))
}

/// For each component of a composite reward, its value where gold peaks: the point past which more of it is no gain
/// (Constrained RLHF, arXiv:2310.04373). In the range of each component; the first of equal peaks counts;
/// O(n components).
///
/// # Errors
/// When the lengths differ, there is no point, or a value is NaN or infinite.
pub fn proxy_points(gold: &[f64], components: &[&[f64]]) -> Result<Vec<f64>, EvalError> {
    finite("gold", gold)?;
    let best = (0..gold.len()).fold(0, |best, point| if gold[point] > gold[best] { point } else { best });
    let mut points = Vec::with_capacity(components.len());
    for component in components {
        same_length("a component", gold.len(), component.len())?;
        finite("a component", component)?;
        points.push(component[best]);
    }
    Ok(points)
}

/// How far runs went over the thresholds of their constraints.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Violation {
    /// Mean of `max(0, sign (reward - threshold))`.
    pub mean: f64,
    /// The largest.
    pub max: f64,
}

/// Violations of a constraint over training; `sign` 1 means that more than `threshold` is too much, -1 that less is too
/// little. At least 0; exactly `threshold` is none; O(n).
///
/// # Errors
/// When there is no reward, a value is NaN or infinite, or `sign` is neither 1 nor -1.
pub fn violation(rewards: &[f64], threshold: f64, sign: f64) -> Result<Violation, EvalError> {
    option("threshold", "finite", threshold, threshold.is_finite())?;
    option("sign", "1 or -1", sign, sign.abs() == 1.0)?;
    finite("rewards", rewards)?;
    let excess: Vec<f64> = rewards.iter().map(|reward| (sign * (reward - threshold)).max(0.0)).collect();
    Ok(Violation { mean: crate::stats::sum::mean(&excess), max: excess.iter().copied().fold(0.0, f64::max) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn curve(form: OverOptimization, alpha: f64, beta: f64, d: &[f64]) -> Vec<f64> {
        let fit = OverOptimizationFit { form, alpha, beta, errors: None, rmse: 0.0, aic: None, n: 0, dropped: 0 };
        d.iter().map(|&d| fit.at(d)).collect()
    }

    fn fit(form: OverOptimization, d: &[f64], gains: &[f64]) -> OverOptimizationFit {
        fit_over_optimization(d, gains, None, form, Saturated::Refuse).unwrap()
    }

    #[test]
    fn peaks_by_hand() {
        let d = [0.0, 0.5, 1.0, 2.0, 4.0];
        let best = fit(OverOptimization::BestOfN, &d, &curve(OverOptimization::BestOfN, 1.5, 0.3, &d));
        let (at, height) = best.peak().unwrap();
        assert!((at - 2.5).abs() < 1e-9 && (height - 1.875).abs() < 1e-9 && best.dropped == 1);
        let rl = fit(OverOptimization::Rl, &d, &curve(OverOptimization::Rl, 1.0, 0.5, &d));
        let (at, height) = rl.peak().unwrap();
        assert!((at - std::f64::consts::E).abs() < 1e-8 && (height - 1.359_140_914).abs() < 1e-8);
        // exp(1.5 / 0.4 - 1), and 0.4 of it.
        let rl = fit(OverOptimization::Rl, &d, &curve(OverOptimization::Rl, 1.5, 0.4, &d));
        let (at, height) = rl.peak().unwrap();
        assert!((at - 15.642_632).abs() < 1e-6 && (height - 6.257_053).abs() < 1e-6);
        let rising = fit(OverOptimization::BestOfN, &d, &curve(OverOptimization::BestOfN, 1.0, -0.1, &d));
        assert_eq!(rising.peak(), None);
    }

    /// (1, 2), (2, 3), (3, 2) by a d - b d^2: the normal equations are 14 a - 36 b = 14 and 36 a - 98 b = 32.
    #[test]
    fn least_squares_by_hand() {
        let fit = fit(OverOptimization::BestOfN, &[1.0, 2.0, 3.0], &[2.0, 3.0, 2.0]);
        let determinant = 14.0 * 98.0 - 36.0 * 36.0;
        let (alpha, beta) = ((14.0 * 98.0 - 36.0 * 32.0) / determinant, (14.0 * 36.0 - 14.0 * 32.0) / determinant);
        assert!((fit.alpha - alpha).abs() < 1e-12 && (fit.beta - beta).abs() < 1e-12, "{fit:?}");
        let rss: f64 =
            [(1.0, 2.0), (2.0, 3.0), (3.0, 2.0_f64)].iter().map(|(d, y)| (y - alpha * d + beta * d * d).powi(2)).sum();
        assert!((fit.errors.unwrap().0 - (rss * 98.0 / determinant).sqrt()).abs() < 1e-12);
        assert!((fit.rmse - (rss / 3.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn gold_that_falls_while_proxy_rises_is_hacked() {
        let shown = onset(&[0.0, 1.0, 2.0, 3.0], &[0.0, 2.0, 1.5, 0.5], &[0.0, 1.0, 2.0, 3.0]).unwrap();
        assert_eq!(shown, Onset { onset: 1.0, regret: 1.5, hacked: true });
        let good = onset(&[0.0, 1.0], &[0.0, 1.0], &[0.0, 1.0]).unwrap();
        assert!(!good.hacked && good.regret == 0.0);
        assert_eq!(proxy_points(&[0.0, 2.0, 1.0], &[&[5.0, 6.0, 7.0]]).unwrap(), [6.0]);
        assert_eq!(violation(&[1.0, 3.0], 2.0, 1.0).unwrap(), Violation { mean: 0.5, max: 1.0 });
        assert!((length_extrapolation(&[1.0, 2.0, 3.0], &[2.0, 4.0, 6.0]).unwrap() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn bad_input_is_refused() {
        let fit = |d: &[f64], y: &[f64], w: Option<&[f64]>, s| fit_over_optimization(d, y, w, OverOptimization::Rl, s);
        assert!(matches!(fit(&[0.0, 1.0, 2.0], &[0.0; 3], None, Saturated::Refuse), Err(EvalError::Range { .. })));
        let one = fit(&[0.0, 1.0], &[0.0, 1.0], None, Saturated::Allow).unwrap_err().to_string();
        assert_eq!(one, "distinct distances above 0 must be at least 2, got 1");
        let two = fit(&[0.0, 1.0, 2.0], &[0.0, 1.0, 1.5], None, Saturated::Allow).unwrap();
        assert!(two.errors.is_none() && two.aic.is_none() && two.rmse < 1e-12);
        assert!(matches!(fit(&[-1.0], &[0.0], None, Saturated::Allow), Err(EvalError::OutOfRange { .. })));
        assert!(fit(&[1.0, 2.0, 3.0], &[0.0; 3], Some(&[1.0, 0.0, 1.0]), Saturated::Refuse).is_err());
        assert!(matches!(onset(&[1.0, 0.0], &[0.0, 1.0], &[0.0, 1.0]), Err(EvalError::OutOfRange { .. })));
        assert!(matches!(onset(&[0.0, 1.0], &[1.0, 1.0], &[0.0, 1.0]), Err(EvalError::Degenerate { .. })));
        assert!(violation(&[1.0], 0.0, 0.5).is_err() && proxy_points(&[], &[]).is_err());
    }

    proptest! {
        #[test]
        fn a_law_is_recovered_and_follows_its_scale(
            alpha in 0.1..3.0_f64, beta in 0.05..1.0_f64, scale in 0.5..2.0_f64,
        ) {
            let d = [0.2, 0.7, 1.3, 2.1, 3.4];
            for form in [OverOptimization::BestOfN, OverOptimization::Rl] {
                let gains = curve(form, alpha, beta, &d);
                let one = fit(form, &d, &gains);
                prop_assert!((one.alpha - alpha).abs() < 1e-9 && (one.beta - beta).abs() < 1e-9);
                let stretched = fit(form, &d.map(|d| scale * d), &gains);
                let (a, b) = match form {
                    OverOptimization::BestOfN => (alpha / scale, beta / (scale * scale)),
                    _ => ((alpha + beta * scale.ln()) / scale, beta / scale),
                };
                prop_assert!((stretched.alpha - a).abs() < 1e-9 && (stretched.beta - b).abs() < 1e-9);
            }
        }
    }
}
