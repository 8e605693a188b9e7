//! An advantage estimator of one's own, on the command line: the rank of a response within its group.
//!
//! ```text
//! A = (number of worse ones - number of better ones) / (responses to the prompt - 1)
//! ```
//! One response that is far better than all others moves the policy no further than one that is a little better.
//! `cargo run -p ascribe-examples --bin own_estimator -- train grpo --advantage-estimator rank --reward arithmetic ..` has all
//! that the built-in estimators have: every policy loss, checkpoints, resume.

use std::process::ExitCode;

use ascribe::core::CoreError;
use ascribe::core::advantage::{Advantage, AdvantageEstimator, GradeNeeds, Graded};
use ascribe_cli::Catalog;

/// Advantages by rank.
struct Rank;

impl AdvantageEstimator for Rank {
    fn needs(&self) -> GradeNeeds {
        GradeNeeds::of_group()
    }

    fn estimate(&self, rollouts: &[Graded]) -> Result<Vec<Advantage>, CoreError> {
        let rank = |own: &Graded| {
            let group = rollouts.iter().filter(|other| other.group == own.group);
            let others: Vec<f64> = group.filter_map(|other| Some(other.score? - own.score?)).collect();
            let (better, worse) =
                (others.iter().filter(|lead| **lead > 0.0).count(), others.iter().filter(|lead| **lead < 0.0).count());
            let advantage = (worse as f64 - better as f64) / others.len().saturating_sub(1).max(1) as f64;
            Advantage { tokens: vec![advantage; own.tokens()], returns: Vec::new() }
        };
        Ok(rollouts.iter().map(rank).collect())
    }
}

fn main() -> ExitCode {
    ascribe_cli::run(Catalog::builtin().estimator("rank", |_| Ok(Box::new(Rank))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_worked_by_hand() {
        // Of three: one worse and one better, two better, two worse; another group of two equal ones.
        let rows =
            [(0, 1.0), (0, -7.0), (0, 90.0), (1, 2.0), (1, 2.0)].map(|(group, score)| Graded::scored(group, score, 2));
        let got = Rank.estimate(&rows).unwrap();
        let first: Vec<f64> = got.iter().map(|advantage| advantage.tokens[1]).collect();
        assert_eq!(first, [0.0, -1.0, 1.0, 0.0, 0.0]);
    }
}
