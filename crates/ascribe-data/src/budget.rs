//! Batches of rows within a budget of tokens, for models that take them one after another without padding.

/// Cuts `rows` in their order into batches of at most `budget` tokens, each as long as it can be. `tokens` counts those of rows
/// that go together, such as a prompt that they share once; a row of more than the budget is a batch of its own.
///
/// ```
/// use ascribe_data::batches_by_tokens;
/// let lengths = [5, 3, 2, 9, 4];
/// let batches = batches_by_tokens(&lengths, 7, |rows: &[usize]| rows.iter().sum());
/// assert_eq!(batches, [&lengths[..1], &lengths[1..3], &lengths[3..4], &lengths[4..]]);
/// ```
pub fn batches_by_tokens<R>(rows: &[R], budget: usize, tokens: impl Fn(&[R]) -> usize) -> Vec<&[R]> {
    let (mut batches, mut start) = (Vec::new(), 0);
    for next in 1..rows.len() {
        if tokens(&rows[start..=next]) > budget {
            batches.push(&rows[start..next]);
            start = next;
        }
    }
    if start < rows.len() {
        batches.push(&rows[start..]);
    }
    batches
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Tokens of rows of a prompt, by its number, and a response: every prompt has 10 tokens, and counts once.
    fn shared(rows: &[(u8, usize)]) -> usize {
        let mut prompts: Vec<u8> = rows.iter().map(|(prompt, _)| *prompt).collect();
        prompts.sort_unstable();
        prompts.dedup();
        10 * prompts.len() + rows.iter().map(|(_, response)| response).sum::<usize>()
    }

    #[test]
    fn what_rows_share_counts_once() {
        // 10 + 4 + 4 = 18, then 2 * 10 + 1 + 1 = 22.
        let rows = [(0, 4), (0, 4), (1, 1), (2, 1)];
        assert_eq!(batches_by_tokens(&rows, 18, shared), [&rows[..2], &rows[2..3], &rows[3..]]);
        assert_eq!(batches_by_tokens(&rows, 22, shared), [&rows[..2], &rows[2..]]);
        assert!(batches_by_tokens(&[], 22, shared).is_empty());
    }

    proptest! {
        #[test]
        fn every_row_once_and_in_order_and_no_batch_beyond_the_budget(
            rows in vec((0u8..4, 0usize..40), 0..40), budget in 1usize..120,
        ) {
            let batches = batches_by_tokens(&rows, budget, shared);
            prop_assert_eq!(batches.concat(), rows.clone());
            for (at, batch) in batches.iter().enumerate() {
                prop_assert!(!batch.is_empty());
                prop_assert!(batch.len() == 1 || shared(batch) <= budget);
                // The first row of the next one had no room.
                if let Some(next) = batches.get(at + 1) {
                    prop_assert!(shared(&[*batch, &next[..1]].concat()) > budget);
                }
            }
        }
    }
}
