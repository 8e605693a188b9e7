//! Responses to other prompts, from which KTO estimates the divergence from the reference: arXiv:2402.01306, section 4.2.
//!
//! Each row gets the response of the nearest row before it, in a circle, that has another prompt. TRL turns the responses of
//! each batch by one, whatever their prompts are; two rows of one prompt, such as the sides of a former pair, would then not
//! be mismatched at all. The rows are those of the data in its order, so the reference is asked once and a resumed run has
//! the same.

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
