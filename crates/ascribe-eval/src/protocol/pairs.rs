//! Pairs of a chosen and a rejected response, scored by any `Scorer`; and the log-probability of a response as one.

use ascribe_core::{Continuation, CoreError, Credit, Episode, Policy, Reduce, Scorer};

use crate::EvalError;
use crate::error::{finite, not_empty};

/// The scores of each pair of (chosen, rejected); `reduce` makes one number of finer credit. In the range of the
/// scorer; equal scores are a tie for whoever compares them; one call of the scorer.
///
/// # Errors
/// When there is no pair, or the scorer fails, gives another number of credits, or one that is NaN or infinite.
pub fn scored_pairs(scorer: &dyn Scorer, pairs: &[[Episode; 2]], reduce: Reduce) -> Result<Vec<[f64; 2]>, EvalError> {
    not_empty("the pairs", pairs)?;
    let episodes: Vec<Episode> = pairs.iter().flatten().cloned().collect();
    let credits = scorer.score(&episodes)?;
    crate::error::same_length("the scores", episodes.len(), credits.len())?;
    let mut scores = Vec::with_capacity(episodes.len());
    for (credit, episode) in credits.iter().zip(&episodes) {
        scores.push(f64::from(credit.to_sequence(episode, reduce)?));
    }
    // A comparison with NaN would be a lost pair.
    finite("the scores of responses", &scores)?;
    Ok(scores.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect())
}

/// A scorer that gives every response token its log-probability: the baseline that needs no reference.
pub struct Likelihood<'a> {
    /// What scores.
    pub policy: &'a dyn Policy,
}

impl Scorer for Likelihood<'_> {
    fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
        let given: Vec<Continuation> = episodes
            .iter()
            .map(|episode| Continuation {
                prefix: episode.prompt_tokens().into(),
                tokens: episode.response_tokens().into(),
            })
            .collect();
        let (logps, _) = self.policy.score(&given)?;
        episodes.iter().zip(logps).map(|(episode, logps)| Credit::over_response(episode, logps)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::ask::tests::Plain;
    use super::*;

    /// Says what is no number.
    struct Lost;

    impl Scorer for Lost {
        fn score(&self, episodes: &[Episode]) -> Result<Vec<Credit>, CoreError> {
            Ok(episodes.iter().map(|_| Credit::sequence(f32::NAN)).collect())
        }
    }

    /// Tokens 1 and 2 against 3 and 6: sums -3 and -9, means -1.5 and -4.5.
    #[test]
    fn one_pair_by_hand() {
        let pairs = [[Episode::new(&[5], &[1, 2]), Episode::new(&[5], &[3, 6])]];
        let scorer = Likelihood { policy: &Plain };
        assert_eq!(scored_pairs(&scorer, &pairs, Reduce::Sum).unwrap(), [[-3.0, -9.0]]);
        assert_eq!(scored_pairs(&scorer, &pairs, Reduce::Mean).unwrap(), [[-1.5, -4.5]]);
        assert!(matches!(scored_pairs(&scorer, &[], Reduce::Sum), Err(EvalError::Empty { .. })));
        assert!(matches!(scored_pairs(&Lost, &pairs, Reduce::Sum), Err(EvalError::NotFinite { index: 0, .. })));
    }
}
