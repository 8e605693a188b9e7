//! What a reward model learns from: a prompt, its responses, and what is known of them.

use ascribe_core::Tokens;

use crate::error::{finite, same_length};
use crate::{RewardError, ScoreNeeds};

/// A prompt with responses and labels, as a loss asks for them ([`ScoreNeeds`]).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RewardRow {
    /// Token ids of the prompt.
    pub prompt: Tokens,
    /// Token ids of each response; of a pair the chosen one, then the rejected one.
    pub responses: Vec<Tokens>,
    /// What is known of the row beforehand.
    pub labels: Vec<f64>,
    /// Line of the row in its file, for messages; 0 when it has none.
    pub line: usize,
}

impl RewardRow {
    /// Checks that the row is one for a loss with these needs.
    ///
    /// # Errors
    /// When it has other responses or labels, a response without a token, a label that is NaN or infinite, or two equal
    /// responses where a pair is compared.
    pub fn check(&self, needs: &ScoreNeeds) -> Result<(), RewardError> {
        let of_line = |got: String| format!("{got} in line {}", self.line);
        same_length("the responses of a row", needs.responses, self.responses.len())?;
        same_length("the labels of a row", needs.labels, self.labels.len())?;
        if !self.labels.is_empty() {
            finite("the labels of a row", &self.labels)?;
        }
        if self.responses.iter().any(|response| response.is_empty()) {
            let rule = "a response needs at least one token";
            return Err(RewardError::Shape { rule, got: of_line("an empty one".to_owned()) });
        }
        match self.responses.as_slice() {
            [chosen, rejected] if chosen == rejected => {
                let rule = "the responses of a pair must differ; drop such pairs, and count them";
                Err(RewardError::Shape { rule, got: of_line("the same tokens twice".to_owned()) })
            }
            _ => Ok(()),
        }
    }
}

/// A hash of rows, in hexadecimal: which tokens and labels they teach, in which order.
pub fn rows_hash(rows: &[RewardRow]) -> String {
    let mut hash = blake3::Hasher::new();
    for row in rows {
        for ids in std::iter::once(&row.prompt).chain(&row.responses) {
            hash.update(&(ids.len() as u64).to_le_bytes());
            ids.iter().for_each(|id| {
                hash.update(&id.to_le_bytes());
            });
        }
        hash.update(&(row.labels.len() as u64).to_le_bytes());
        row.labels.iter().for_each(|label| {
            hash.update(&label.to_le_bytes());
        });
    }
    hash.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(responses: &[&[u32]], labels: &[f64]) -> RewardRow {
        let responses = responses.iter().map(|ids| Tokens::from(*ids)).collect();
        RewardRow { prompt: vec![1].into(), responses, labels: labels.to_vec(), line: 7 }
    }

    #[test]
    fn rows_are_held_to_what_the_loss_needs() {
        let needs = ScoreNeeds { labels: 1, ..ScoreNeeds::PAIR };
        assert!(row(&[&[2], &[3]], &[1.0]).check(&needs).is_ok());
        for (wrong, said) in [
            (row(&[&[2]], &[1.0]), "the responses of a row"),
            (row(&[&[2], &[3]], &[]), "the labels of a row"),
            (row(&[&[2], &[3]], &[f64::NAN]), "must be finite"),
            (row(&[&[2], &[]], &[1.0]), "an empty one in line 7"),
            (row(&[&[2], &[2]], &[1.0]), "the same tokens twice in line 7"),
        ] {
            let error = wrong.check(&needs).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_hash_knows_tokens_labels_and_order() {
        let (a, b) = (row(&[&[2], &[3]], &[1.0]), row(&[&[2, 3]], &[1.0]));
        let relabelled = RewardRow { labels: vec![2.0], ..a.clone() };
        let all = [vec![a.clone(), b.clone()], vec![b, a.clone()], vec![a], vec![relabelled]];
        let hashes: std::collections::HashSet<String> = all.iter().map(|rows| rows_hash(rows)).collect();
        assert_eq!(hashes.len(), 4);
    }
}
