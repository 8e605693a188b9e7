//! Batches of rows within a budget of tokens, for models that take them one after another without padding.

use std::collections::BTreeSet;

use ascribe_core::Seed;
use rand::seq::SliceRandom;

use crate::DataError;

/// Puts rows of `lengths` tokens into batches of at most `budget` tokens; gives the numbers of their rows.
///
/// The longest rows are placed first, each into the batch with the least room that still holds it (best fit decreasing), so
/// batches are full and of like size: any two of them hold more than `budget` together. The order of the batches is drawn from
/// `seed`, for the longest rows should not all come first. Of a stream, give a window of lengths at a time.
///
/// ```
/// use ascribe_core::Seed;
/// use ascribe_data::batches_by_tokens;
/// let mut batches = batches_by_tokens(&[5, 3, 2, 4], 7, Seed(0))?;
/// batches.sort();
/// assert_eq!(batches, [[0, 2], [3, 1]]);
/// # Ok::<(), ascribe_data::DataError>(())
/// ```
///
/// # Errors
/// [`DataError::Sampler`] for a row that is longer than the budget.
pub fn batches_by_tokens(lengths: &[usize], budget: usize, seed: Seed) -> Result<Vec<Vec<usize>>, DataError> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|row| (std::cmp::Reverse(lengths[*row]), *row));
    let mut batches: Vec<Vec<usize>> = Vec::new();
    // Room and number of each batch.
    let mut open: BTreeSet<(usize, usize)> = BTreeSet::new();
    for row in order {
        let length = lengths[row];
        if length > budget {
            let rule = format!("at least the {length} tokens of row {row}");
            let (name, remedy) = ("the budget of tokens of a batch", "; raise it, or truncate the rows");
            return Err(DataError::Sampler { name, rule, got: budget, remedy });
        }
        let fitting = open.range((length, 0)..).next().copied();
        let (room, batch) = fitting.unwrap_or((budget, batches.len()));
        match fitting {
            Some(entry) => {
                open.remove(&entry);
                batches[batch].push(row);
            }
            None => batches.push(vec![row]),
        }
        open.insert((room - length, batch));
    }
    batches.shuffle(&mut seed.stream("token batches", 0));
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_row_beyond_the_budget_is_named() {
        let message = batches_by_tokens(&[3, 9], 8, Seed(0)).unwrap_err().to_string();
        let expected = "the budget of tokens of a batch must be at least the 9 tokens of row 1, got 8; raise it, or truncate the rows";
        assert_eq!(message, expected);
        assert!(batches_by_tokens(&[], 8, Seed(0)).unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn every_row_once_and_no_batch_beyond_the_budget(lengths in vec(0usize..40, 0..60), more in 0usize..60, seed: u64) {
            let budget = 40 + more;
            let batches = batches_by_tokens(&lengths, budget, Seed(seed)).unwrap();
            let sums: Vec<usize> = batches.iter().map(|batch| batch.iter().map(|row| lengths[*row]).sum()).collect();
            prop_assert!(sums.iter().all(|sum| *sum <= budget));
            for (at, one) in sums.iter().enumerate() {
                prop_assert!(sums[at + 1..].iter().all(|other| one + other > budget));
            }
            let mut rows = batches.concat();
            rows.sort_unstable();
            prop_assert_eq!(rows, (0..lengths.len()).collect::<Vec<_>>());
        }
    }
}
