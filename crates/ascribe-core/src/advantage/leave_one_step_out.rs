//! Leave one step out: a step is worth what the score loses without it.
//!
//! ```text
//! A_t = R(y) - R(y without step k) + sum_{u >= t} r_u,   t in step k
//! ```
//! All tokens of a step share what it is worth; tokens of no step get the rewards alone. `r` are rewards of tokens, such as a
//! penalty for leaving the reference. The first-order form of the Shapley value of steps (arXiv:1705.07874 for features): exact
//! where steps do not interact. Scores without a step come from whoever scores.

use crate::CoreError;

use super::{Advantage, AdvantageEstimator, GradeNeeds, Graded, check_all, returns_to_go};

/// The estimator; [`Graded::without_step`] has a score for each of [`Graded::steps`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeaveOneStepOut;

impl AdvantageEstimator for LeaveOneStepOut {
    fn needs(&self) -> GradeNeeds {
        GradeNeeds { without_steps: true, ..GradeNeeds::default() }
    }

    fn estimate(&self, rollouts: &[Graded]) -> Result<Vec<Advantage>, CoreError> {
        check_all(rollouts, self.needs())?;
        let one = |rollout: &Graded| {
            let (expected, got) = (rollout.steps.len(), rollout.without_step.len());
            if got != expected {
                let got = format!("{got} scores beside {expected} steps");
                return Err(CoreError::Shape { rule: "leaving steps out needs a score without each of them", got });
            }
            let Some(score) = rollout.score else {
                return Ok(Advantage { tokens: vec![0.0; rollout.tokens()], returns: Vec::new() });
            };
            let mut tokens = returns_to_go(&rollout.rewards, 1.0);
            for (span, without) in rollout.steps.iter().zip(&rollout.without_step) {
                tokens[span.clone()].iter_mut().for_each(|token| *token += score - without);
            }
            Ok(Advantage { tokens, returns: Vec::new() })
        };
        rollouts.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_worth_what_is_lost_without_it() {
        // The score is a sum over steps, so each step gets its own part: 2 and -1.
        let mut row = Graded { steps: vec![0..2, 2..3], ..Graded::scored(0, 1.0, 4) };
        assert!(LeaveOneStepOut.estimate(std::slice::from_ref(&row)).is_err());
        row.without_step = vec![-1.0, 2.0];
        assert_eq!(LeaveOneStepOut.estimate(std::slice::from_ref(&row)).unwrap()[0].tokens, [2.0, 2.0, -1.0, 0.0]);
        // A penalty on the third token is paid by all that leads to it.
        row.rewards[2] = -0.5;
        assert_eq!(LeaveOneStepOut.estimate(&[row]).unwrap()[0].tokens, [1.5, 1.5, -1.5, 0.0]);
    }
}
