//! The score itself on every token: for losses that make of it what they want, such as OREO's and BRAIn's.
//!
//! ```text
//! A_t = R_t = score
//! ```

use crate::CoreError;

use super::{Advantage, AdvantageEstimator, GradeNeeds, Graded, check_all};

/// The estimator. A response without a score is left out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// Scores that are accepted, both ends included.
    pub range: (f64, f64),
    /// Whether there is a critic, which is told the score before each token.
    pub critic: bool,
}

impl AdvantageEstimator for Verdict {
    fn needs(&self) -> GradeNeeds {
        GradeNeeds { values: self.critic, ..GradeNeeds::default() }
    }

    fn estimate(&self, rollouts: &[Graded]) -> Result<Vec<Advantage>, CoreError> {
        check_all(rollouts, self.needs())?;
        let (least, most) = self.range;
        let one = |rollout: &Graded| match rollout.total() {
            None => Ok(Advantage::default()),
            Some(score) if (least..=most).contains(&score) => {
                let told = vec![score; rollout.tokens()];
                Ok(Advantage { returns: if self.critic { told.clone() } else { Vec::new() }, tokens: told })
            }
            Some(got) => Err(CoreError::Range { name: "a score", rule: "in the range that was declared", got }),
        };
        rollouts.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_told_the_score_and_others_are_refused() {
        let row = |score| Graded { score, values: vec![0.3; 2], ..Graded::scored(0, 0.0, 2) };
        let critic = Verdict { range: (0.0, 1.0), critic: true };
        let got = critic.estimate(&[row(Some(1.0)), row(None)]).unwrap();
        assert_eq!(got[0], Advantage { tokens: vec![1.0; 2], returns: vec![1.0; 2] });
        assert_eq!(got[1], Advantage::default());
        assert!(critic.estimate(&[row(Some(1.5))]).is_err());
        assert!(critic.estimate(&[Graded::scored(0, 1.0, 2)]).is_err());
        let alone = Verdict { range: (-1.0, 2.0), critic: false };
        let got = alone.estimate(&[Graded::scored(0, 1.5, 1)]).unwrap();
        assert_eq!(got[0], Advantage { tokens: vec![1.5], returns: Vec::new() });
    }
}
