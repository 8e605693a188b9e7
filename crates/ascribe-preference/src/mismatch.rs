//! Responses to other prompts, from which KTO estimates the divergence from the reference: arXiv:2402.01306, section 4.2.
//!
//! ```text
//! y'_i = y_j,   j the nearest row before i, in a circle over all rows of the data in its order, with another prompt
//! ```
//! The authors' code and TRL turn the responses of a batch by one, `j = i - 1` in a circle: the former those of each batch of
//! training, the latter those of each batch of the data in its order, before training. Where all prompts differ and the batch
//! is the data, this is that. It departs from both for three reasons.
//!
//! - Two rows of one prompt, such as the sides of a former pair, stand beside each other and are not mismatched at all.
//! - A response that is chosen before training has its log-probability under the reference in the cache, and a run that goes on
//!   has the same. One out of a shuffled batch is another in every epoch, and the reference would be asked at every step.
//! - What a row is compared with does not depend on the size of a batch, and a batch of one row is allowed.
//!
//! The mean over a window is an estimate of the same divergence either way, as long as the order of the data says nothing: rows
//! that are sorted by topic get responses about their own topic.

use ascribe_core::Tokens;

use crate::{PreferenceError, Response, TrainRow};

/// Gives each row a response to another prompt, cut so that a row has at most `max_length` tokens.
///
/// # Errors
/// When there are not two rows with different prompts.
pub fn mismatch(rows: &mut [TrainRow], max_length: usize) -> Result<(), PreferenceError> {
    let n = rows.len();
    let before = |at: usize| (at + n - 1) % n;
    let Some(first) = (0..n).find(|at| rows[before(*at)].prompt != rows[*at].prompt) else {
        return Err(PreferenceError::Rows {
            rule: "a divergence is estimated from responses to other prompts, so at least two prompts are needed",
            got: format!("{n} rows"),
            remedy: "add rows, or set no_kl",
        });
    };
    // Once around the circle: a row with the prompt of the one before it has the other row of that one.
    let mut found = vec![0; n];
    for at in (first..n).chain(0..first) {
        let last = before(at);
        found[at] = if rows[last].prompt == rows[at].prompt { found[last] } else { last };
    }
    let tokens: Vec<Option<Tokens>> = found
        .iter()
        .zip(rows.iter())
        .map(|(other, row)| {
            let room = max_length.saturating_sub(row.prompt.len()).max(1);
            rows[*other].responses.first().map(|response| response.tokens[..response.tokens.len().min(room)].into())
        })
        .collect();
    for (row, tokens) in rows.iter_mut().zip(tokens) {
        row.mismatched = tokens.map(Response::new);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(prompts: &[u32]) -> Vec<TrainRow> {
        prompts
            .iter()
            .zip(10u32..)
            .map(|(prompt, id)| TrainRow::labelled(vec![*prompt], vec![id, id, id], true))
            .collect()
    }

    fn first_ids(rows: &[TrainRow]) -> Vec<u32> {
        rows.iter().map(|row| row.mismatched.as_ref().unwrap().tokens[0]).collect()
    }

    #[test]
    fn every_row_gets_a_response_to_another_prompt() {
        let mut different = rows(&[1, 2, 3]);
        mismatch(&mut different, 64).unwrap();
        assert_eq!(first_ids(&different), [12, 10, 11]);
        // The second of two rows with one prompt takes the response before both.
        let mut shared = rows(&[1, 2, 2, 3]);
        mismatch(&mut shared, 64).unwrap();
        assert_eq!(first_ids(&shared), [13, 10, 10, 12]);
        // The circle may begin in the middle of such rows.
        let mut around = rows(&[2, 1, 2]);
        mismatch(&mut around, 64).unwrap();
        assert_eq!(first_ids(&around), [11, 10, 11]);
    }

    #[test]
    fn with_different_prompts_it_is_the_turn_by_one_of_a_batch() {
        let n = 7usize;
        let prompts: Vec<u32> = (1..=n as u32).collect();
        let mut turned = rows(&prompts);
        mismatch(&mut turned, 64).unwrap();
        // Row j - 1 in a circle; the response of row k begins with 10 + k.
        let expected: Vec<u32> = (0..n).map(|at| 10 + ((at + n - 1) % n) as u32).collect();
        assert_eq!(first_ids(&turned), expected);
    }

    #[test]
    fn two_sides_of_a_pair_are_never_mismatched_with_each_other() {
        // Three pairs: a turn by one would give every second row the other side of its own pair.
        let mut sides = rows(&[1, 1, 2, 2, 3, 3]);
        mismatch(&mut sides, 64).unwrap();
        assert_eq!(first_ids(&sides), [15, 15, 11, 11, 13, 13]);
    }

    #[test]
    fn one_prompt_is_refused() {
        for prompts in [&[][..], &[1], &[1, 1, 1]] {
            let error = mismatch(&mut rows(prompts), 64).unwrap_err().to_string();
            assert!(error.contains("at least two prompts") && error.contains("no_kl"), "{error}");
        }
    }

    #[test]
    fn what_does_not_fit_is_cut() {
        let mut cut = rows(&[1, 2]);
        mismatch(&mut cut, 3).unwrap();
        assert!(cut.iter().all(|row| row.mismatched.as_ref().unwrap().tokens.len() == 2));
    }
}
