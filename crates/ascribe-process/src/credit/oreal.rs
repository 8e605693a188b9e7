//! Token weights from an outcome alone: OREAL, arXiv:2502.06781.
//!
//! ```text
//! m_t = mean of w_1 .. w_t,  p_t = sigmoid(m_t);   the sequence logit is m_T
//! right samples  omega = clamp((p_t - tau) / (1 - tau), 0, 1)          wrong samples  the same of 1 - p_t
//! RLOO   A_i = R_i - mean of the other rewards of the group
//! ```

use crate::ProcessError;

/// How right the response looks up to each token, as logits: running means of the token logits.
///
/// # Errors
/// When there is no token or a logit is not finite.
pub fn running_logits(logits: &[f64]) -> Result<Vec<f64>, ProcessError> {
    if logits.is_empty() {
        return Err(ProcessError::Empty { what: "the token logits", remedy: "drop the response" });
    }
    if let Some(wrong) = logits.iter().find(|logit| !logit.is_finite()) {
        return Err(ProcessError::range("a token logit", "finite", wrong));
    }
    let mut sum = 0.0;
    let mean = |(at, logit): (usize, &f64)| {
        sum += logit;
        sum / (at + 1) as f64
    };
    Ok(logits.iter().enumerate().map(mean).collect())
}

/// Weights of the tokens in the loss.
///
/// # Errors
/// As [`running_logits`], and when `tau` is not in [0, 1).
pub fn token_weights(logits: &[f64], right: bool, tau: f64) -> Result<Vec<f64>, ProcessError> {
    if !(0.0..1.0).contains(&tau) {
        return Err(ProcessError::range("tau", "in [0, 1), such as 0.5", tau));
    }
    let weight = |logit: f64| {
        let p = 1.0 / (1.0 + (-logit).exp());
        let sure = if right { p } else { 1.0 - p };
        ((sure - tau) / (1.0 - tau)).clamp(0.0, 1.0)
    };
    Ok(running_logits(logits)?.into_iter().map(weight).collect())
}

/// Leave-one-out advantages of a group of samples of one prompt.
///
/// # Errors
/// When there are fewer than two, or a reward is not finite.
pub fn leave_one_out(rewards: &[f64]) -> Result<Vec<f64>, ProcessError> {
    if rewards.len() < 2 {
        return Err(ProcessError::range("the samples of a group", "at least 2", rewards.len()));
    }
    if let Some(wrong) = rewards.iter().find(|reward| !reward.is_finite()) {
        return Err(ProcessError::range("a reward", "finite", wrong));
    }
    let (sum, others) = (rewards.iter().sum::<f64>(), (rewards.len() - 1) as f64);
    Ok(rewards.iter().map(|reward| reward - (sum - reward) / others).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(got: &[f64], expected: &[f64]) {
        assert!(got.iter().zip(expected).all(|(got, expected)| (got - expected).abs() < 1e-6), "{got:?}");
    }

    #[test]
    fn weights_worked_by_hand() {
        let logits = [2.0, 0.0, -1.0, 3.0];
        close(&running_logits(&logits).unwrap(), &[2.0, 1.0, 1.0 / 3.0, 1.0]);
        close(&token_weights(&logits, true, 0.5).unwrap(), &[0.761_594, 0.462_117, 0.165_140, 0.462_117]);
        // sigmoid(m) is above 1/2 throughout, so a wrong sample weighs nothing.
        assert_eq!(token_weights(&logits, false, 0.5).unwrap(), [0.0; 4]);
        // One token: its running logit is its own. BCE of the sequence logit 1 with outcome 1 is ln(1 + e^-1).
        assert_eq!(running_logits(&[0.7]).unwrap(), [0.7]);
        let sequence = running_logits(&logits).unwrap()[3];
        assert!(((-sequence).exp().ln_1p() - 0.313_262).abs() < 1e-6);
    }

    #[test]
    fn what_is_no_sample_is_refused() {
        assert!(running_logits(&[]).is_err() && running_logits(&[f64::NAN]).is_err());
        assert!(token_weights(&[1.0], true, 1.0).is_err());
        assert!(leave_one_out(&[1.0]).is_err() && leave_one_out(&[1.0, f64::NAN]).is_err());
    }

    proptest! {
        #[test]
        fn weights_are_shares(logits in prop::collection::vec(-5.0..5.0f64, 1..9), right in any::<bool>(), tau in 0.0..0.99f64) {
            for (weight, logit) in token_weights(&logits, right, tau).unwrap().iter().zip(running_logits(&logits).unwrap()) {
                let p = 1.0 / (1.0 + (-logit).exp());
                let sure = if right { p } else { 1.0 - p };
                prop_assert!((0.0..=1.0).contains(weight) && (sure > tau || *weight == 0.0));
            }
        }

        #[test]
        fn advantages_of_a_group_sum_to_zero(rewards in prop::collection::vec(0u8..2, 2..17), same in 0.0..1.0f64) {
            let rewards: Vec<f64> = rewards.into_iter().map(f64::from).collect();
            prop_assert!(leave_one_out(&rewards).unwrap().iter().sum::<f64>().abs() < 1e-9);
            let equal = vec![same; rewards.len()];
            prop_assert!(leave_one_out(&equal).unwrap().iter().all(|advantage| advantage.abs() < 1e-12));
        }
    }
}
