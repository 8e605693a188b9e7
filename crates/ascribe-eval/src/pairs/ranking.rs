//! Ranking accuracy of preference-tuned policies, arXiv:2405.19534, and the ideal it could reach.
//!
//! ```text
//! R  = mean 1[lw >= ll], on sums or on means per token
//! R* = mean 1[lw_ref - ll_ref + (1/beta) ln(alpha/(1-alpha)) > 0]        alpha: share of raters for y_w
//! c  = ln pi_ref(y_l)/pi_ref(y_w);  R = 1 iff the DPO loss is at most L*(c) = softplus(-beta c)
//! IPO: R = 1 if c <= 1/(2 tau) and the loss is at most (1/(2 tau) - c)^2
//! ```
//! The release forms the ratio from quotients of log-likelihoods and calls |ratio - 1| < 0.05 a tie; this is the
//! equation of
//! the paper. With length normalisation only the log-probabilities are divided, on both sides alike.

use crate::error::{option, same_length, shares, within};
use crate::stats::sum::{number, softplus};
use crate::{Bootstrap, Estimate, EvalError};

/// Log-probabilities of the preferred and the other response of every pair, and their token counts.
#[derive(Clone, Copy, Debug)]
pub struct PairLogps<'a> {
    /// ln pi(y_w|x), at most 0.
    pub chosen: &'a [f64],
    /// ln pi(y_l|x), at most 0.
    pub rejected: &'a [f64],
    /// Tokens of y_w, at least 1.
    pub chosen_tokens: &'a [u32],
    /// Tokens of y_l, at least 1.
    pub rejected_tokens: &'a [u32],
}

/// What a log-probability is divided by before comparing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PerToken {
    /// Nothing: sums are compared.
    #[default]
    Sum,
    /// The number of tokens.
    Mean,
}

/// Rounding may push a log-probability so far above 0.
const ABOVE_ZERO: f64 = 1e-6;

impl PairLogps<'_> {
    /// ln pi(y_w) - ln pi(y_l) of every pair, as compared.
    fn differences(&self, per_token: PerToken) -> Result<Vec<f64>, EvalError> {
        let n = self.chosen.len();
        for (what, logps) in [("chosen", self.chosen), ("rejected", self.rejected)] {
            within(what, logps, "a log-probability, at most 0", |logp| logp <= ABOVE_ZERO)?;
            same_length(what, n, logps.len())?;
        }
        for (what, tokens) in [("chosen_tokens", self.chosen_tokens), ("rejected_tokens", self.rejected_tokens)] {
            same_length(what, n, tokens.len())?;
            if let Some(index) = tokens.iter().position(|&tokens| tokens == 0) {
                return Err(EvalError::OutOfRange { what, rule: "at least 1", index, got: 0.0 });
            }
        }
        let by = |tokens: u32| if per_token == PerToken::Mean { f64::from(tokens) } else { 1.0 };
        let difference = |row: usize| {
            self.chosen[row] / by(self.chosen_tokens[row]) - self.rejected[row] / by(self.rejected_tokens[row])
        };
        Ok((0..n).map(difference).collect())
    }
}

/// Share of pairs whose preferred response is at least as likely; the interval resamples pairs. In [0, 1]; a tie is
/// right, by definition; O(B n).
///
/// # Errors
/// When the lengths differ, there is no pair, a log-probability is above 0, NaN or infinite, or a token count is 0.
pub fn ranking_accuracy(
    policy: PairLogps<'_>,
    per_token: PerToken,
    bootstrap: &Bootstrap,
) -> Result<Estimate, EvalError> {
    let right: Vec<f64> = policy.differences(per_token)?.into_iter().map(|d| number(d >= 0.0)).collect();
    bootstrap.mean(&right)
}

/// Ranking accuracy of the optimum of DPO and RLHF, over a grid of beta.
#[derive(Clone, Debug, PartialEq)]
pub struct IdealRanking {
    /// For each beta, R*.
    pub by_beta: Vec<(f64, f64)>,
    /// The smallest of them.
    pub min: f64,
    /// The median of them.
    pub median: f64,
    /// The largest of them.
    pub max: f64,
    /// Pairs whose `chosen` fewer than half of the raters preferred.
    pub minority_labels: usize,
}

/// The usual grid of beta.
pub const IDEAL_BETAS: [f64; 5] = [0.01, 0.1, 1.0, 5.0, 10.0];

/// The idealised ranking accuracy from the reference policy and `alpha`, the share of raters for each `chosen`, moved
/// to `[eps, 1 - eps]`. In [0, 1]; a tie is wrong; O(n betas).
///
/// # Errors
/// As [`ranking_accuracy`]; when a share is not in [0, 1], a beta is not above 0, or `eps` is not inside (0, 0.5).
pub fn idealised_ranking(
    reference: PairLogps<'_>,
    alpha: &[f64],
    per_token: PerToken,
    betas: &[f64],
    eps: f64,
) -> Result<IdealRanking, EvalError> {
    option("eps", "above 0 and below 0.5, such as 0.001", eps, 0.0 < eps && eps < 0.5)?;
    within("betas", betas, "above 0", |beta| beta > 0.0)?;
    let differences = reference.differences(per_token)?;
    same_length("alpha", differences.len(), alpha.len())?;
    shares("alpha", alpha)?;
    let logits: Vec<f64> =
        alpha.iter().map(|alpha| alpha.clamp(eps, 1.0 - eps)).map(|alpha| alpha.ln() - (-alpha).ln_1p()).collect();
    let of = |beta: f64| {
        let right = differences.iter().zip(&logits).filter(|&(d, logit)| d + logit / beta > 0.0).count();
        right as f64 / differences.len() as f64
    };
    let by_beta: Vec<(f64, f64)> = betas.iter().map(|&beta| (beta, of(beta))).collect();
    let mut values: Vec<f64> = by_beta.iter().map(|&(_, value)| value).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let median = if values.len() % 2 == 1 { values[middle] } else { 0.5 * (values[middle - 1] + values[middle]) };
    let minority_labels = alpha.iter().filter(|&&alpha| alpha < 0.5).count();
    Ok(IdealRanking { by_beta, min: values[0], median, max: values[values.len() - 1], minority_labels })
}

/// How hard a pair is to flip: `c` and the DPO loss below which it ranks rightly. `c` is unbounded, the loss above 0;
/// O(1).
///
/// # Errors
/// Unless both log-probabilities are at most 0 and `beta` is above 0.
pub fn difficulty(reference_chosen: f64, reference_rejected: f64, beta: f64) -> Result<(f64, f64), EvalError> {
    option("beta", "finite and above 0", beta, 0.0 < beta && beta.is_finite())?;
    let c = log_odds_against(reference_chosen, reference_rejected)?;
    Ok((c, softplus(-beta * c)))
}

/// How hard a pair is to flip by IPO, whose loss is `(lw - ll + c - 1/(2 tau))^2`: `c`, and the loss `(1/(2 tau) - c)^2` up
/// to which the pair ranks rightly for sure, though it may beyond; `None` where `c > 1/(2 tau)`, so that even a loss of 0
/// ranks it wrongly. `c` is unbounded, the loss at least 0; O(1).
///
/// # Errors
/// Unless both log-probabilities are at most 0 and `tau` is above 0.
pub fn ipo_difficulty(
    reference_chosen: f64,
    reference_rejected: f64,
    tau: f64,
) -> Result<(f64, Option<f64>), EvalError> {
    option("tau", "finite and above 0", tau, 0.0 < tau && tau.is_finite())?;
    let c = log_odds_against(reference_chosen, reference_rejected)?;
    let room = 0.5 / tau - c;
    Ok((c, (room >= 0.0).then_some(room * room)))
}

/// ln pi_ref(y_l)/pi_ref(y_w).
fn log_odds_against(reference_chosen: f64, reference_rejected: f64) -> Result<f64, EvalError> {
    let logps = [reference_chosen, reference_rejected];
    within("the log-probabilities", &logps, "at most 0", |logp| logp <= ABOVE_ZERO)?;
    Ok(reference_rejected - reference_chosen)
}

/// Where tuning moved pairs to; `None` where the reference has no such pair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flips {
    /// Of the pairs that the reference ranks wrongly, the share now right.
    pub mended: Option<f64>,
    /// Of the pairs that the reference ranks rightly, the share now wrong.
    pub broken: Option<f64>,
    /// Pairs that the reference ranks wrongly.
    pub wrong_before: usize,
    /// Pairs that the reference ranks rightly.
    pub right_before: usize,
}

/// Compares the rankings of a tuned policy with those of its reference; pairs that the reference ties are in neither.
/// In [0, 1]; a pair that the policy ties is right; O(n).
///
/// # Errors
/// As [`ranking_accuracy`], and when the numbers of pairs differ.
pub fn flips(policy: PairLogps<'_>, reference: PairLogps<'_>, per_token: PerToken) -> Result<Flips, EvalError> {
    let (now, before) = (policy.differences(per_token)?, reference.differences(per_token)?);
    same_length("the reference", now.len(), before.len())?;
    let count =
        |of: &dyn Fn(f64, f64) -> bool| now.iter().zip(&before).filter(|&(&now, &before)| of(now, before)).count();
    let (wrong_before, right_before) = (count(&|_, before| before < 0.0), count(&|_, before| before > 0.0));
    let share = |part: usize, whole: usize| (whole > 0).then(|| part as f64 / whole as f64);
    Ok(Flips {
        mended: share(count(&|now, before| before < 0.0 && now >= 0.0), wrong_before),
        broken: share(count(&|now, before| before > 0.0 && now < 0.0), right_before),
        wrong_before,
        right_before,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn logps<'a>(chosen: &'a [f64], rejected: &'a [f64], ones: &'a [u32]) -> PairLogps<'a> {
        PairLogps { chosen, rejected, chosen_tokens: ones, rejected_tokens: ones }
    }

    /// (1/0.1) ln 3 = 10.98612289; softplus(-0.5) = 0.47407698.
    #[test]
    fn closed_forms() {
        let (c, loss) = difficulty(-6.0, -1.0, 0.1).unwrap();
        assert!(c == 5.0 && (loss - 0.474_076_98).abs() < 1e-8);
        let (c, loss) = difficulty(-31.0, -1.0, 0.1).unwrap();
        assert!(c == 30.0 && (loss - 0.048_587).abs() < 1e-6);
        assert!((difficulty(-1.0, -1.0, 3.0).unwrap().1 - 2_f64.ln()).abs() < 1e-15);
        let pair = |rejected| {
            idealised_ranking(logps(&[-20.0], &[rejected], &[1]), &[0.75], PerToken::Sum, &[0.1], 0.001).unwrap().median
        };
        assert_eq!((pair(-20.0 + 10.986_122_8), pair(-20.0 + 10.986_123)), (1.0, 0.0));
        // Odds of 3 are worth a factor of 3^10.
        let turns = 59_049_f64.ln() - 20.0;
        assert_eq!((pair(turns - 1e-9), pair(turns + 1e-9)), (1.0, 0.0));
    }

    /// tau = 1/4 asks for a margin of 2 over the reference. With c = 0.5 a loss of 1.5^2 leaves at worst a tie, which is right;
    /// with c = 2 only a loss of 0 will do; with c = 3 the target itself lies one below a tie.
    #[test]
    fn the_target_of_ipo_can_rank_wrongly() {
        assert_eq!(ipo_difficulty(-1.5, -1.0, 0.25).unwrap(), (0.5, Some(2.25)));
        assert_eq!(ipo_difficulty(-3.0, -1.0, 0.25).unwrap(), (2.0, Some(0.0)));
        assert_eq!(ipo_difficulty(-4.0, -1.0, 0.25).unwrap(), (3.0, None));
        for (c, most) in [(0.5, 2.25), (-1.0, 9.0)] {
            for quarter in -40..=40 {
                let margin = f64::from(quarter) / 4.0;
                let loss = (margin + c - 2.0_f64).powi(2);
                assert!(loss > most || margin >= 0.0, "c {c}, margin {margin}");
            }
        }
        for tau in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let error = ipo_difficulty(-1.0, -1.0, tau).unwrap_err().to_string();
            assert!(error.contains("tau must be finite and above 0"), "{error}");
        }
        assert!(matches!(ipo_difficulty(0.5, -1.0, 1.0), Err(EvalError::OutOfRange { index: 0, .. })));
    }

    /// Sums -4 against -3 lose; per token -1 against -3 wins. An exact tie counts as right.
    #[test]
    fn length_normalisation_can_turn_a_pair() {
        let pair = PairLogps { chosen: &[-4.0], rejected: &[-3.0], chosen_tokens: &[4], rejected_tokens: &[1] };
        assert_eq!(ranking_accuracy(pair, PerToken::Sum, &Bootstrap::NONE).unwrap().value, 0.0);
        assert_eq!(ranking_accuracy(pair, PerToken::Mean, &Bootstrap::NONE).unwrap().value, 1.0);
        let tie = logps(&[-1.0], &[-1.0], &[1]);
        assert_eq!(ranking_accuracy(tie, PerToken::Sum, &Bootstrap::NONE).unwrap().value, 1.0);
    }

    #[test]
    fn flips_count_both_ways() {
        let before = logps(&[-2.0, -1.0, -2.0], &[-1.0, -2.0, -1.0], &[1, 1, 1]);
        let now = logps(&[-1.0, -3.0, -2.0], &[-2.0, -2.0, -1.0], &[1, 1, 1]);
        let flips = flips(now, before, PerToken::Sum).unwrap();
        assert_eq!((flips.mended, flips.broken), (Some(0.5), Some(1.0)));
    }

    #[test]
    fn bad_input_is_refused() {
        let accuracy = |pair| ranking_accuracy(pair, PerToken::Sum, &Bootstrap::NONE);
        assert!(matches!(accuracy(logps(&[0.1], &[-1.0], &[1])), Err(EvalError::OutOfRange { .. })));
        assert!(matches!(accuracy(logps(&[-0.1], &[-1.0], &[0])), Err(EvalError::OutOfRange { .. })));
        assert!(matches!(accuracy(logps(&[], &[], &[])), Err(EvalError::Empty { .. })));
        let ideal = |alpha: &[f64], beta: &[f64], eps| {
            idealised_ranking(logps(&[-1.0], &[-1.0], &[1]), alpha, PerToken::Sum, beta, eps)
        };
        assert!(ideal(&[1.1], &[1.0], 0.1).is_err() && ideal(&[0.9], &[0.0], 0.1).is_err());
        assert!(ideal(&[0.9], &[], 0.1).is_err() && ideal(&[0.9], &[1.0], 0.5).is_err());
    }

    proptest! {
        #[test]
        fn the_ideal_falls_with_beta_when_most_raters_agree(
            rows in prop::collection::vec((-9.0..0.0_f64, -9.0..0.0_f64, 0.51..1.0_f64), 1..30),
        ) {
            let chosen: Vec<f64> = rows.iter().map(|row| row.0).collect();
            let rejected: Vec<f64> = rows.iter().map(|row| row.1).collect();
            let alpha: Vec<f64> = rows.iter().map(|row| row.2).collect();
            let ones = vec![1; rows.len()];
            let pair = logps(&chosen, &rejected, &ones);
            let ideal = idealised_ranking(pair, &alpha, PerToken::Sum, &[1e-4, 0.1, 1.0, 10.0], 0.001).unwrap();
            prop_assert_eq!(ideal.by_beta[0].1, 1.0);
            prop_assert!(ideal.by_beta.windows(2).all(|pair| pair[0].1 >= pair[1].1));
        }

        #[test]
        fn a_pair_is_ranked_rightly_where_its_loss_is_small_enough(
            policy in prop::array::uniform2(-9.0..0.0_f64), reference in prop::array::uniform2(-9.0..0.0_f64),
            beta in 0.05..3.0_f64,
        ) {
            prop_assume!((policy[0] - policy[1]).abs() > 1e-6);
            let margin = (policy[0] - reference[0]) - (policy[1] - reference[1]);
            let loss = (-beta * margin).exp().ln_1p();
            let pair = logps(&policy[..1], &policy[1..], &[1]);
            let right = ranking_accuracy(pair, PerToken::Sum, &Bootstrap::NONE).unwrap().value == 1.0;
            let (_, most) = difficulty(reference[0], reference[1], beta).unwrap();
            prop_assert_eq!(right, loss <= most);
        }

        #[test]
        fn raters_of_two_minds_and_a_strong_pull_leave_the_ranking_of_the_reference(
            rows in prop::collection::vec((-9.0..0.0_f64, -9.0..0.0_f64, 0.0..1.0_f64), 1..30),
        ) {
            prop_assume!(rows.iter().all(|row| (row.0 - row.1).abs() > 1e-6));
            let chosen: Vec<f64> = rows.iter().map(|row| row.0).collect();
            let rejected: Vec<f64> = rows.iter().map(|row| row.1).collect();
            let alpha: Vec<f64> = rows.iter().map(|row| row.2).collect();
            let ones = vec![1; rows.len()];
            let pair = logps(&chosen, &rejected, &ones);
            let reference = ranking_accuracy(pair, PerToken::Sum, &Bootstrap::NONE).unwrap().value;
            let even = idealised_ranking(pair, &vec![0.5; rows.len()], PerToken::Sum, &IDEAL_BETAS, 0.001).unwrap();
            prop_assert!(even.by_beta.iter().all(|(_, ideal)| (ideal - reference).abs() < 1e-12));
            let pulled = idealised_ranking(pair, &alpha, PerToken::Sum, &[1e9], 0.001).unwrap();
            prop_assert!((pulled.by_beta[0].1 - reference).abs() < 1e-12);
        }
    }
}
