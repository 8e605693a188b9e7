//! A held-out part that shares no prompt with the rest.
//!
//! Prompts are put in an order that a hash of seed and prompt decides, and are held out one after the other until there
//! are rows enough. So which prompts are held out depends on the seed and on how often each prompt occurs, not on
//! the order of the rows. A prompt that gives more rows than are still wanted is cut: its later rows are dropped and
//! counted, for they may not return to the training side.

use std::collections::BTreeMap;

use ascribe_core::Seed;

use crate::{DataError, Record};

/// How many rows to hold out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HeldOut {
    /// A number of rows.
    Rows(usize),
    /// A share of the rows, at least 0 and below 1: rounded, and at least one row unless it is 0.
    Fraction(f64),
}

/// Rows on two sides, each in its former order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split<R> {
    /// The rows to learn from.
    pub train: Vec<R>,
    /// The rows held out, exactly as many as were asked for.
    pub held_out: Vec<R>,
    /// Number of rows on neither side: further rows of the last prompt that was held out.
    pub dropped: usize,
}

/// Holds out rows so that no prompt stands on both sides.
///
/// # Errors
/// [`DataError::HeldOut`] for a fraction outside its range, or if no row would be left to learn from.
pub fn split_by_prompt<R: Record>(rows: Vec<R>, held_out: HeldOut, seed: Seed) -> Result<Split<R>, DataError> {
    let keys: Vec<String> = rows.iter().map(Record::key).collect();
    let mut counts = BTreeMap::<&str, usize>::new();
    keys.iter().for_each(|key| *counts.entry(key).or_default() += 1);
    let refuse = |rule: &'static str, got: String| {
        Err(DataError::HeldOut { rule, got, rows: rows.len(), prompts: counts.len() })
    };

    let wanted = match held_out {
        HeldOut::Rows(count) => count,
        HeldOut::Fraction(0.0) => 0,
        HeldOut::Fraction(share) if 0.0 < share && share < 1.0 => ((share * rows.len() as f64).round() as usize).max(1),
        HeldOut::Fraction(share) => return refuse("a fraction of at least 0 and below 1", share.to_string()),
    };

    // Prompts that are held out, each with the number of its rows that there is room for.
    let mut order: Vec<_> = counts.iter().map(|(key, count)| (rank(key, seed), *key, *count)).collect();
    order.sort_unstable();
    let mut room = BTreeMap::<&str, usize>::new();
    let (mut found, mut left) = (0, rows.len());
    for (_, key, count) in order {
        if found == wanted {
            break;
        }
        let kept = count.min(wanted - found);
        room.insert(key, kept);
        found += kept;
        left -= count;
    }
    if found < wanted || (left == 0 && wanted > 0) {
        return refuse("small enough to leave a prompt to learn from", format!("{wanted} rows"));
    }

    let mut split = Split { train: Vec::new(), held_out: Vec::new(), dropped: 0 };
    for (row, key) in rows.into_iter().zip(&keys) {
        match room.get_mut(key.as_str()) {
            None => split.train.push(row),
            Some(0) => split.dropped += 1,
            Some(room) => {
                *room -= 1;
                split.held_out.push(row);
            }
        }
    }
    Ok(split)
}

/// True if a prompt is held out, of which about `share` are: decided by a hash of seed and prompt alone, so a stream is split
/// in one pass and no prompt stands on both sides. The share is of prompts; [`split_by_prompt`] counts rows exactly.
///
/// # Errors
/// [`DataError::HeldOut`] for a share outside [0, 1).
pub fn is_held_out<R: Record>(record: &R, share: f64, seed: Seed) -> Result<bool, DataError> {
    if !(0.0..1.0).contains(&share) {
        let rule = "a fraction of at least 0 and below 1";
        return Err(DataError::HeldOut { rule, got: share.to_string(), rows: 1, prompts: 1 });
    }
    // The upper 53 bits, which a float holds exactly, as a fraction of 1.
    let place = (rank(&record.key(), seed) >> 11) as f64 / (1u64 << 53) as f64;
    Ok(place < share)
}

/// The place of a prompt in the order: FNV-1a, 64 bits, of its key, mixed with the seed by the seed's own streams.
fn rank(key: &str, seed: Seed) -> u64 {
    let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    seed.child("split", key.bytes().fold(0xcbf2_9ce4_8422_2325, hash)).0
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::{Prompt, PromptCompletion};

    fn rows(prompts: &[u8]) -> Vec<PromptCompletion> {
        let row = |(index, prompt): (usize, &u8)| PromptCompletion {
            prompt: Prompt::Text(format!("prompt {prompt}")),
            completion: index.to_string(),
            line: index + 1,
        };
        prompts.iter().enumerate().map(row).collect()
    }

    fn prompts(rows: &[PromptCompletion]) -> BTreeSet<String> {
        rows.iter().map(Record::key).collect()
    }

    fn lines(rows: &[PromptCompletion]) -> Vec<usize> {
        rows.iter().map(|row| row.line).collect()
    }

    #[test]
    fn a_prompt_is_cut_where_the_count_is_reached() {
        // Two prompts of three rows each: one of them is held out, its third row is dropped.
        let split = split_by_prompt(rows(&[0, 1, 0, 1, 0, 1]), HeldOut::Rows(2), Seed(0)).unwrap();
        let (first, second) = ([1, 3, 5], [2, 4, 6]);
        let (train, held) = (lines(&split.train), lines(&split.held_out));
        assert!((train == first && held == second[..2]) || (train == second && held == first[..2]));
        assert_eq!(split.dropped, 1);
    }

    #[test]
    fn a_fraction_is_rounded_and_at_least_a_row() {
        let held = |share: f64| {
            split_by_prompt(rows(&[0, 1, 2, 3, 4]), HeldOut::Fraction(share), Seed(0)).map(|split| split.held_out.len())
        };
        assert_eq!(held(0.0).unwrap(), 0);
        assert_eq!(held(0.01).unwrap(), 1);
        assert_eq!(held(0.5).unwrap(), 3);
        assert_eq!(held(0.4).unwrap(), 2);
        for share in [1.0, -0.1, f64::NAN] {
            let message = held(share).unwrap_err().to_string();
            assert!(message.contains("a fraction of at least 0 and below 1"), "{message}");
        }
    }

    #[test]
    fn a_split_that_leaves_nothing_to_learn_is_refused() {
        let refused = |prompts: &[u8], count| split_by_prompt(rows(prompts), HeldOut::Rows(count), Seed(0)).is_err();
        assert!(refused(&[0, 1], 2));
        assert!(refused(&[0, 1], 3));
        assert!(refused(&[0, 0, 0], 1));
        assert!(!refused(&[0, 1], 1));
        assert!(!refused(&[], 0));
    }

    #[test]
    fn the_seed_decides() {
        let held = |seed| {
            let split = split_by_prompt(rows(&(0..100).collect::<Vec<_>>()), HeldOut::Rows(10), Seed(seed)).unwrap();
            prompts(&split.held_out)
        };
        assert_eq!(held(1), held(1));
        assert_ne!(held(1), held(2));
    }

    #[test]
    fn a_stream_is_split_by_the_hash_of_its_prompts() {
        let held = |share: f64| {
            let rows: Vec<_> = (0..2000).map(|at| row_of(&format!("prompt {at}"))).collect();
            rows.iter().filter(|row| is_held_out(*row, share, Seed(3)).unwrap()).count()
        };
        assert_eq!(held(0.0), 0);
        // 400 on average with a deviation of 18 (binomial); five of these on either side.
        let fifth = held(0.2);
        assert!((310..490).contains(&fifth), "{fifth}");
        assert!(held(0.5) > fifth);
        assert!(is_held_out(&row_of("q"), f64::NAN, Seed(0)).is_err());
        assert!(is_held_out(&row_of("q"), 1.0, Seed(0)).is_err());
        // The reply plays no part.
        let other = PromptCompletion { completion: "else".into(), ..row_of("q") };
        for seed in 0..20 {
            let side = |row: &PromptCompletion| is_held_out(row, 0.5, Seed(seed)).unwrap();
            assert_eq!(side(&row_of("q")), side(&other));
        }
    }

    fn row_of(prompt: &str) -> PromptCompletion {
        PromptCompletion { prompt: Prompt::Text(prompt.to_owned()), completion: "a".into(), line: 1 }
    }

    proptest! {
        #[test]
        fn no_prompt_stands_on_both_sides(ids in vec(0u8..12, 1..60), wanted in 0usize..60, seed: u64) {
            let Ok(split) = split_by_prompt(rows(&ids), HeldOut::Rows(wanted), Seed(seed)) else { return Ok(()) };
            prop_assert!(prompts(&split.train).is_disjoint(&prompts(&split.held_out)));
            prop_assert_eq!(split.held_out.len(), wanted);
            prop_assert_eq!(split.train.len() + wanted + split.dropped, ids.len());
            prop_assert!(!split.train.is_empty());
            prop_assert!(lines(&split.train).is_sorted() && lines(&split.held_out).is_sorted());
        }

        #[test]
        fn the_prompts_held_out_do_not_depend_on_the_order_of_rows(
            (ids, shuffled) in vec(0u8..12, 1..60).prop_flat_map(|ids| (Just(ids.clone()), Just(ids).prop_shuffle())),
            wanted in 0usize..60,
            seed: u64,
        ) {
            let split = |ids: &[u8]| split_by_prompt(rows(ids), HeldOut::Rows(wanted), Seed(seed)).ok();
            let sides = |split: Split<PromptCompletion>| (prompts(&split.train), prompts(&split.held_out), split.dropped);
            prop_assert_eq!(split(&ids).map(sides), split(&shuffled).map(sides));
        }
    }
}
