//! Proper scoring rules: rewards under which the honest report is best.
//!
//! ```text
//! quadratic 2 q_w - sum q^2,  logarithmic ln q_w,  spherical q_w/|q|,  ranked -sum_k (F_k - 1[w <= k])^2
//! properness gap = max over p, q of E_p S(q) - E_p S(p): at most 0 for a proper rule
//! ```
//! T. Gneiting and A. E. Raftery, JASA 102, 2007. The ranked rule is a loss, given here as its negative.

use crate::EvalError;
use crate::error::{option, within};
use crate::stats::sum::sum;

/// A scoring rule: larger is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScoringRule {
    /// Brier's, as a reward.
    Quadratic,
    /// The log-probability.
    Logarithmic,
    /// Spherical.
    Spherical,
    /// Negative ranked probability score, for outcomes in order.
    Ranked,
}

impl ScoringRule {
    /// The score of report `q` when `outcome` happens. At most 1, unbounded below for the log rule; O(k).
    ///
    /// # Errors
    /// When the report is no distribution, the outcome is not one of its own, or it is logarithmic and gave the outcome
    /// 0.
    pub fn score(self, report: &[f64], outcome: usize) -> Result<f64, EvalError> {
        within("the report", report, "at least 0", |q| q >= 0.0)?;
        let total = sum(report.iter().copied());
        option("the sum of the report", "1 within 1e-9", total, (total - 1.0).abs() <= 1e-9)?;
        option("outcome", "below the number of outcomes", outcome as f64, outcome < report.len())?;
        if self == Self::Logarithmic && report[outcome] == 0.0 {
            let why = "the report gave 0 to what happened";
            return Err(EvalError::Degenerate { what: "the logarithmic score", why });
        }
        Ok(self.raw(report, outcome))
    }

    fn raw(self, q: &[f64], outcome: usize) -> f64 {
        let squares = || q.iter().map(|q| q * q).sum::<f64>();
        match self {
            Self::Quadratic => 2.0 * q[outcome] - squares(),
            Self::Logarithmic => q[outcome].ln(),
            Self::Spherical => q[outcome] / squares().sqrt(),
            Self::Ranked => {
                let mut below = 0.0;
                let terms = q.iter().enumerate().map(|(k, q)| {
                    below += q;
                    let happened = f64::from(u8::from(outcome <= k));
                    (below - happened) * (below - happened)
                });
                -terms.sum::<f64>()
            }
        }
    }
}

/// The properness gap of a rule over the grid of `k`-outcome distributions with steps of `1/grid`; reports on which the
/// rule is not finite are left out. At least 0, and 0 for a proper rule but for rounding; O(grid^(2(k - 1))).
///
/// # Errors
/// Unless `k` is 2 to 4 and `grid` 1 to 100.
pub fn properness_gap(rule: impl Fn(&[f64], usize) -> f64, k: usize, grid: usize) -> Result<f64, EvalError> {
    option("k", "between 2 and 4", k as f64, (2..=4).contains(&k))?;
    option("grid", "between 1 and 100", grid as f64, (1..=100).contains(&grid))?;
    let mut laws = vec![Vec::new()];
    for place in 0..k {
        let extended = laws.into_iter().flat_map(|law: Vec<usize>| {
            let left = grid - law.iter().sum::<usize>();
            let first = if place + 1 == k { left } else { 0 };
            (first..=left).map(move |count| [&law[..], &[count]].concat())
        });
        laws = extended.collect();
    }
    let shares = |law: Vec<usize>| law.into_iter().map(|count| count as f64 / grid as f64).collect::<Vec<f64>>();
    let laws: Vec<Vec<f64>> = laws.into_iter().map(shares).collect();
    let scores: Vec<Vec<f64>> =
        laws.iter().map(|report| (0..k).map(|outcome| rule(report, outcome)).collect()).collect();
    let expected = |law: &[f64], scores: &[f64]| {
        law.iter().zip(scores).filter(|&(&p, _)| p > 0.0).map(|(p, score)| p * score).sum::<f64>()
    };
    let mut gap = f64::NEG_INFINITY;
    for (law, honest) in laws.iter().zip(&scores) {
        let honest = expected(law, honest);
        for report in &scores {
            let gain = expected(law, report) - honest;
            if gain.is_finite() {
                gap = gap.max(gain);
            }
        }
    }
    Ok(gap)
}

/// [`properness_gap`] of one of our rules. O(grid^(2(k - 1))).
///
/// # Errors
/// As [`properness_gap`].
pub fn rule_gap(rule: ScoringRule, k: usize, grid: usize) -> Result<f64, EvalError> {
    properness_gap(|report, outcome| rule.raw(report, outcome), k, grid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: [ScoringRule; 4] =
        [ScoringRule::Quadratic, ScoringRule::Logarithmic, ScoringRule::Spherical, ScoringRule::Ranked];

    /// 2 * 0.5 - 0.38; ln 0.5; 0.5/sqrt 0.38; -(0.04 + 0.09 + 0).
    #[test]
    fn one_report() {
        let expected = [0.62, -std::f64::consts::LN_2, 0.811_107_105_7, -0.13];
        for (rule, expected) in RULES.into_iter().zip(expected) {
            assert!((rule.score(&[0.2, 0.5, 0.3], 1).unwrap() - expected).abs() < 1e-9, "{rule:?}");
        }
    }

    #[test]
    fn proper_rules_have_no_gap_and_a_linear_one_has() {
        for rule in RULES {
            assert!(rule_gap(rule, 2, 20).unwrap() <= 1e-12 && rule_gap(rule, 3, 8).unwrap() <= 1e-12, "{rule:?}");
        }
        // Paying q itself: at p = (0.6, 0.4) the report (1, 0) gains 0.6 - 0.52.
        let linear = properness_gap(|report, outcome| report[outcome], 2, 5).unwrap();
        assert!(linear > 0.07, "{linear}");
        let mixture = |report: &[f64], outcome: usize| {
            3.0 * ScoringRule::Quadratic.raw(report, outcome)
                + ScoringRule::Spherical.raw(report, outcome)
                + outcome as f64
        };
        assert!(properness_gap(mixture, 3, 8).unwrap() <= 1e-12);
    }

    #[test]
    fn bad_input_is_refused() {
        let log = ScoringRule::Logarithmic;
        assert!(matches!(log.score(&[1.0, 0.0], 1), Err(EvalError::Degenerate { .. })));
        assert!(log.score(&[0.5, 0.4], 0).is_err() && log.score(&[1.0], 1).is_err() && log.score(&[], 0).is_err());
        assert!(rule_gap(log, 5, 10).is_err() && rule_gap(log, 2, 0).is_err());
    }
}
