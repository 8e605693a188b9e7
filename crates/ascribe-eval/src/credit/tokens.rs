//! Credit against known errors and known advantages, response by response.
//!
//! ```text
//! token AUROC: of -u against error marks, pooled (micro) or the mean over responses with both kinds (macro)
//! step agreement: tau-b, Spearman and sign agreement of credit with advantage, weighted by trajectory
//! conservation: max over trajectories of |sum u - R|;  padding gain: change of the total when neutral steps are added
//! ```
//! Constant credit or one kind of token only says nothing: such responses are skipped and counted, never taken as 0.

use crate::classify::{auroc, clustered_auroc};
use crate::error::{finite, not_empty, option, same_length, within};
use crate::estimate::Averaged;
use crate::rank::Correlation;
use crate::stats::sum::{number, sum};
use crate::{Bootstrap, Estimate, EvalError};

/// The credit and the error marks of one response.
#[derive(Clone, Debug, PartialEq)]
pub struct MarkedCredit {
    /// Credit of each token; low where the response goes wrong.
    pub credit: Vec<f64>,
    /// Whether each token is part of an error.
    pub error: Vec<bool>,
}

/// Marks also the `tolerance` tokens on either side of an error. O(tokens tolerance).
pub fn widened(error: &[bool], tolerance: usize) -> Vec<bool> {
    let near = |token: usize| {
        let end = token.saturating_add(tolerance).saturating_add(1).min(error.len());
        error[token.saturating_sub(tolerance)..end].contains(&true)
    };
    (0..error.len()).map(near).collect()
}

fn checked(responses: &[MarkedCredit]) -> Result<(), EvalError> {
    not_empty("the responses", responses)?;
    for response in responses {
        finite("credit", &response.credit)?;
        same_length("error", response.credit.len(), response.error.len())?;
    }
    Ok(())
}

fn suspicion(response: &MarkedCredit) -> Vec<f64> {
    response.credit.iter().map(|credit| -credit).collect()
}

/// AUROC of low credit for errors over all tokens; the interval resamples responses. In [0, 1]; ties count half;
/// O(n log n + B n) for n tokens.
///
/// # Errors
/// When there is no response, one is empty, lengths differ, credit is NaN or infinite, or all tokens are of one kind.
pub fn token_auroc_micro(responses: &[MarkedCredit], bootstrap: &Bootstrap) -> Result<Estimate, EvalError> {
    checked(responses)?;
    let scores: Vec<f64> = responses.iter().flat_map(suspicion).collect();
    let labels: Vec<bool> = responses.iter().flat_map(|response| response.error.iter().copied()).collect();
    let keys: Vec<usize> =
        responses.iter().enumerate().flat_map(|(index, response)| vec![index; response.error.len()]).collect();
    clustered_auroc(&scores, &labels, &keys, bootstrap)
}

/// The mean over responses of their AUROC of low credit for errors; the interval resamples responses. In [0, 1]; ties
/// count half; O(n log n + B responses).
///
/// # Errors
/// As [`token_auroc_micro`], and when no response has both kinds of token.
pub fn token_auroc_macro(responses: &[MarkedCredit], bootstrap: &Bootstrap) -> Result<Averaged, EvalError> {
    checked(responses)?;
    let values: Vec<Option<f64>> =
        responses.iter().map(|response| auroc(&suspicion(response), &response.error).ok()).collect();
    Averaged::new(&values, bootstrap, "the mean token AUROC", "no response has tokens of both kinds")
}

/// Credit and exact advantage of the steps of one trajectory.
#[derive(Clone, Debug, PartialEq)]
pub struct StepCredit {
    /// The chance of the trajectory, or any weight of at least 0.
    pub weight: f64,
    /// Credit of each step.
    pub credit: Vec<f64>,
    /// Exact advantage of each step.
    pub advantage: Vec<f64>,
}

/// Agreement of credit with advantage.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepAgreement {
    /// Weighted mean over trajectories of tau-b.
    pub tau_b: f64,
    /// Weighted mean of Spearman's rho.
    pub spearman: f64,
    /// Weighted mean share of steps whose signs agree (0 agrees with 0 alone), over all trajectories.
    pub sign: f64,
    /// Tau-b over the steps of all trajectories; `None` where credit or advantage is constant.
    pub pooled_tau_b: Option<f64>,
    /// Trajectories that counted for the correlations.
    pub n: usize,
    /// Trajectories with constant credit or advantage, which did not.
    pub skipped: usize,
}

/// Compares credit with exact advantages. Correlations lie in [-1, 1], the sign share in [0, 1]; ties leave the scale
/// of tau and share mean ranks; O(n log n).
///
/// # Errors
/// When there is no trajectory, one is empty, lengths differ, a number is NaN or infinite, a weight is negative or all
/// are 0, or no trajectory has credit and advantage that vary.
pub fn step_agreement(trajectories: &[StepCredit]) -> Result<StepAgreement, EvalError> {
    not_empty("the trajectories", trajectories)?;
    let weights: Vec<f64> = trajectories.iter().map(|trajectory| trajectory.weight).collect();
    within("weights", &weights, "at least 0", |weight| weight >= 0.0)?;
    let (mut tau, mut rho, mut sign) = (Vec::new(), Vec::new(), Vec::new());
    let (mut defined, mut n) = (0.0_f64, 0);
    for StepCredit { weight, credit, advantage } in trajectories {
        finite("credit", credit)?;
        same_length("advantage", credit.len(), advantage.len())?;
        finite("advantage", advantage)?;
        let signum = |value: f64| if value == 0.0 { 0.0 } else { value.signum() };
        let agree = credit.iter().zip(advantage).filter(|&(&u, &a)| signum(u) == signum(a)).count();
        sign.push(weight * agree as f64 / credit.len() as f64);
        if let Ok(value) = Correlation::Kendall.of(credit, advantage) {
            tau.push(weight * value);
            rho.push(weight * Correlation::Spearman.of(credit, advantage)?);
            defined += weight;
            n += 1;
        }
    }
    let accepted = defined > 0.0;
    if !accepted {
        let why = "no trajectory of some weight has credit and advantage that vary";
        return Err(EvalError::Degenerate { what: "step agreement", why });
    }
    let pool =
        |of: fn(&StepCredit) -> &[f64]| trajectories.iter().flat_map(|one| of(one).iter().copied()).collect::<Vec<_>>();
    let pooled_tau_b =
        Correlation::Kendall.of(&pool(|one| one.credit.as_slice()), &pool(|one| one.advantage.as_slice())).ok();
    Ok(StepAgreement {
        tau_b: sum(tau) / defined,
        spearman: sum(rho) / defined,
        sign: sum(sign) / sum(weights),
        pooled_tau_b,
        n,
        skipped: trajectories.len() - n,
    })
}

/// The largest `|sum of credit - reward|` over trajectories: 0 for methods that conserve the sequence reward. At least
/// 0; O(tokens).
///
/// # Errors
/// When there is no trajectory, the lengths differ, or a number is NaN or infinite.
pub fn conservation_error(credit: &[Vec<f64>], rewards: &[f64]) -> Result<f64, EvalError> {
    finite("rewards", rewards)?;
    same_length("credit", rewards.len(), credit.len())?;
    let mut largest = 0.0_f64;
    for (credit, reward) in credit.iter().zip(rewards) {
        finite("credit", credit)?;
        largest = largest.max((sum(credit.iter().copied()) - reward).abs());
    }
    Ok(largest)
}

/// How the rewards of steps are paid out, after "Designing Effective RL Reward", arXiv:2410.15115.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StepPay {
    /// As they are.
    Raw,
    /// `min(r - eta, 0)`: no step term is above 0.
    Clip {
        /// What a step must exceed to cost nothing.
        eta: f64,
    },
    /// `r_k - r_{k+1}`, the last term kept: the sum is the first score.
    Delta,
    /// The same with the last term dropped.
    DeltaWithoutLast,
}

impl StepPay {
    /// The total paid for step rewards. Unbounded; O(steps).
    ///
    /// # Errors
    /// When there is no step or a reward is NaN or infinite.
    pub fn total(self, rewards: &[f64]) -> Result<f64, EvalError> {
        finite("the step rewards", rewards)?;
        let last = rewards[rewards.len() - 1];
        let telescoped = sum(rewards.windows(2).map(|pair| pair[0] - pair[1]));
        Ok(match self {
            Self::Raw => sum(rewards.iter().copied()),
            Self::Clip { eta } => {
                option("eta", "finite", eta, eta.is_finite())?;
                sum(rewards.iter().map(|reward| (reward - eta).min(0.0)))
            }
            Self::Delta => telescoped + last,
            Self::DeltaWithoutLast => telescoped,
        })
    }

    /// What `padding` brings when its steps are appended: above 0 means that a policy gains by talking on. Unbounded;
    /// O(steps).
    ///
    /// # Errors
    /// As [`total`](Self::total), for the rewards without the padding.
    pub fn padding_gain(self, rewards: &[f64], padding: &[f64]) -> Result<f64, EvalError> {
        Ok(self.total(&[rewards, padding].concat())? - self.total(rewards)?)
    }
}

/// Accuracy with all text, less accuracy with one kind of it blanked: natural language, or formulas. In [-1, 1];
/// O(B n).
///
/// # Errors
/// When the lengths differ or there is no item.
pub fn ablation_drop(whole: &[bool], blanked: &[bool], bootstrap: &Bootstrap) -> Result<Estimate, EvalError> {
    same_length("blanked", whole.len(), blanked.len())?;
    bootstrap.mean(&whole.iter().zip(blanked).map(|(&a, &b)| number(a) - number(b)).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn marked(credit: &[f64], error: &[bool]) -> MarkedCredit {
        MarkedCredit { credit: credit.to_vec(), error: error.to_vec() }
    }

    /// Response one ranks its error lowest, response two highest, three has none.
    #[test]
    fn micro_and_macro_differ() {
        let responses = [
            marked(&[1.0, -1.0], &[false, true]),
            marked(&[3.0, 2.0], &[true, false]),
            marked(&[0.0, 0.0], &[false, false]),
        ];
        // Errors at -1 and 3; clean at 1, 2, 0, 0. Low credit first: -1 is below all four, 3 below none.
        let micro = token_auroc_micro(&responses, &Bootstrap::NONE).unwrap();
        assert_eq!((micro.value, micro.n), (0.5, 6));
        let mean = token_auroc_macro(&responses, &Bootstrap::NONE).unwrap();
        assert_eq!((mean.mean.value, mean.skipped), (0.5, 1));
        assert!(matches!(token_auroc_macro(&responses[2..], &Bootstrap::NONE), Err(EvalError::Degenerate { .. })));
        assert!(matches!(token_auroc_micro(&[], &Bootstrap::NONE), Err(EvalError::Empty { .. })));
        assert_eq!(widened(&[false, false, true, false, false], 1), [false, true, true, true, false]);
    }

    #[test]
    fn credit_that_is_the_advantage_agrees() {
        let step = |credit: &[f64], advantage: &[f64], weight| StepCredit {
            weight,
            credit: credit.to_vec(),
            advantage: advantage.to_vec(),
        };
        let a = [0.5, -0.5, 0.0];
        let agreement = step_agreement(&[step(&a, &a, 0.5), step(&[1.0; 3], &a, 0.5)]).unwrap();
        assert_eq!((agreement.tau_b, agreement.n, agreement.skipped), (1.0, 1, 1));
        // Signs: 3/3 and 1/3.
        assert!((agreement.sign - 2.0 / 3.0).abs() < 1e-12);
        let against = step_agreement(&[step(&a.map(|a| -a), &a, 1.0)]).unwrap();
        assert!((against.tau_b + 1.0).abs() < 1e-12);
        assert!(matches!(step_agreement(&[step(&[1.0; 3], &a, 1.0)]), Err(EvalError::Degenerate { .. })));
        assert!(matches!(step_agreement(&[step(&a, &a, 0.0)]), Err(EvalError::Degenerate { .. })));
    }

    /// In every order once: as many pairs stand with the advantage as against it.
    #[test]
    fn credit_in_any_order_agrees_with_nothing() {
        let orders =
            [[1.0, 2.0, 3.0], [1.0, 3.0, 2.0], [2.0, 1.0, 3.0], [2.0, 3.0, 1.0], [3.0, 1.0, 2.0], [3.0, 2.0, 1.0]];
        let advantage = vec![0.5, -0.5, 0.0];
        let all =
            orders.map(|credit| StepCredit { weight: 1.0, credit: credit.to_vec(), advantage: advantage.clone() });
        let agreement = step_agreement(&all).unwrap();
        assert!(agreement.tau_b.abs() < 1e-12 && agreement.spearman.abs() < 1e-12, "{agreement:?}");
    }

    /// Two steps of 0.9 appended to 0.8: raw pays 1.8 more, clip at 1 pays less, delta pays nothing.
    #[test]
    fn padding_pays_only_when_rewards_are_summed() {
        let gain = |pay: StepPay| pay.padding_gain(&[0.5, 0.8], &[0.9, 0.9]).unwrap();
        assert!((gain(StepPay::Raw) - 1.8).abs() < 1e-12);
        assert!((gain(StepPay::Clip { eta: 1.0 }) + 0.2).abs() < 1e-12);
        assert!(gain(StepPay::Delta).abs() < 1e-12);
        assert!((gain(StepPay::DeltaWithoutLast) + 0.1).abs() < 1e-12);
        assert!(StepPay::Raw.total(&[]).is_err());
        assert!((conservation_error(&[vec![0.5, 0.25]], &[1.0]).unwrap() - 0.25).abs() < 1e-12);
        assert_eq!(ablation_drop(&[true, true], &[true, false], &Bootstrap::NONE).unwrap().value, 0.5);
    }

    proptest! {
        #[test]
        fn macro_keeps_under_increasing_maps_of_each_response(
            rows in prop::collection::vec((prop::collection::vec(-3_i32..3, 2..6), 0.1..5.0_f64), 1..6),
        ) {
            let marks = |n: usize| (0..n).map(|token| token % 2 == 0).collect::<Vec<_>>();
            let responses: Vec<MarkedCredit> = rows
                .iter()
                .map(|(credit, _)| marked(&credit.iter().map(|&u| f64::from(u)).collect::<Vec<_>>(), &marks(credit.len())))
                .collect();
            let mapped: Vec<MarkedCredit> = responses
                .iter()
                .zip(&rows)
                .map(|(response, (_, scale))| MarkedCredit {
                    credit: response.credit.iter().map(|u| scale * u.exp()).collect(),
                    error: response.error.clone(),
                })
                .collect();
            let of = |responses: &[MarkedCredit]| token_auroc_macro(responses, &Bootstrap::NONE).unwrap().mean.value;
            prop_assert!((of(&responses) - of(&mapped)).abs() < 1e-12);
        }
    }
}
