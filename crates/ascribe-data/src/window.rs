//! Shuffling of a stream: a window of rows, from which one is drawn at random and replaced by the next of the stream.
//!
//! A run that resumes needs three numbers. The draws are made again over the numbers of the rows alone, which says which
//! rows stood in the window; these are kept when the stream is read again, and all others are passed over. So resuming
//! takes the time of reading, the memory of a window, and gives the same rows in the same order.
//!
//! A row comes out at most `window - 1` places before its own, and about `window` places behind it: a file that is sorted
//! needs a window of its size, or [`Epochs`](crate::Epochs), to be mixed whole.

use std::collections::HashMap;

use ascribe_core::{Seed, Stream};
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::DataError;

/// Where a shuffled stream stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowCursor {
    /// Passes over the stream that were finished; each has its own order.
    pub epoch: u64,
    /// Rows that were given out in this pass.
    pub given: u64,
    /// Rows that were read in this pass.
    pub read: u64,
}

/// A stream in a random order, within a window.
pub struct Shuffled<I: Iterator> {
    source: I,
    draws: Stream,
    window: Vec<I::Item>,
    size: usize,
    cursor: WindowCursor,
}

impl<I: Iterator> Shuffled<I> {
    /// Shuffles `source`, which begins at its first row, and goes on at `cursor`.
    ///
    /// # Errors
    /// [`DataError::Sampler`] for a window of 0, or a cursor that another stream or window made.
    pub fn new(source: I, size: usize, seed: Seed, cursor: WindowCursor) -> Result<Self, DataError> {
        if size == 0 {
            let (name, rule) = ("the window", "at least 1".into());
            return Err(DataError::Sampler { name, rule, got: size, remedy: "; 1 keeps the order of the file" });
        }
        let draws = seed.stream("window", cursor.epoch);
        let start = WindowCursor { epoch: cursor.epoch, given: 0, read: 0 };
        let mut shuffled = Self { source, draws, window: Vec::new(), size, cursor: start };
        match (cursor.given, cursor.read) {
            (0, 0) => shuffled.fill(),
            _ => shuffled.resume(cursor)?,
        }
        Ok(shuffled)
    }

    /// Where the stream stands; a cursor of the next epoch once it has ended.
    pub fn cursor(&self) -> WindowCursor {
        match self.window.is_empty() {
            true => WindowCursor { epoch: self.cursor.epoch + 1, given: 0, read: 0 },
            false => self.cursor,
        }
    }

    fn fill(&mut self) {
        while self.window.len() < self.size {
            let Some(row) = self.source.next() else { break };
            self.window.push(row);
            self.cursor.read += 1;
        }
    }

    fn resume(&mut self, cursor: WindowCursor) -> Result<(), DataError> {
        let refuse = || DataError::Sampler {
            name: "the cursor of the window",
            rule: format!("one of this data and a window of {}", self.size),
            got: cursor.read as usize,
            remedy: " rows read; resume with the data and the window of that run",
        };
        let mut next = 0;
        let mut numbers: Vec<u64> = Vec::new();
        while numbers.len() < self.size && next < cursor.read {
            numbers.push(next);
            next += 1;
        }
        for _ in 0..cursor.given {
            if numbers.is_empty() {
                return Err(refuse());
            }
            let at = self.draws.random_range(0..numbers.len());
            if next < cursor.read {
                numbers[at] = next;
                next += 1;
            } else {
                numbers.swap_remove(at);
            }
        }
        if next < cursor.read {
            return Err(refuse());
        }
        let mut places: HashMap<u64, usize> =
            numbers.iter().enumerate().map(|(place, number)| (*number, place)).collect();
        let mut rows: Vec<Option<I::Item>> = numbers.iter().map(|_| None).collect();
        for number in 0..cursor.read {
            let Some(row) = self.source.next() else { return Err(refuse()) };
            if let Some(place) = places.remove(&number) {
                rows[place] = Some(row);
            }
        }
        self.window = rows.into_iter().flatten().collect();
        self.cursor = cursor;
        Ok(())
    }
}

impl<I: Iterator> Iterator for Shuffled<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        if self.window.is_empty() {
            return None;
        }
        let at = self.draws.random_range(0..self.window.len());
        self.cursor.given += 1;
        match self.source.next() {
            Some(row) => {
                self.cursor.read += 1;
                Some(std::mem::replace(&mut self.window[at], row))
            }
            None => Some(self.window.swap_remove(at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shuffled(rows: u64, size: usize, seed: u64, cursor: WindowCursor) -> Shuffled<std::ops::Range<u64>> {
        Shuffled::new(0..rows, size, Seed(seed), cursor).unwrap()
    }

    #[test]
    fn a_window_of_one_keeps_the_order() {
        assert!(shuffled(9, 1, 0, WindowCursor::default()).eq(0..9));
    }

    #[test]
    fn epochs_have_their_own_orders() {
        let first = shuffled(100, 50, 1, WindowCursor::default());
        let second = shuffled(100, 50, 1, WindowCursor { epoch: 1, given: 0, read: 0 });
        assert!(first.ne(second));
    }

    #[test]
    fn what_cannot_be_resumed_is_refused() {
        assert!(Shuffled::new(0..3u64, 0, Seed(0), WindowCursor::default()).is_err());
        let refused = |given, read| Shuffled::new(0..3u64, 2, Seed(0), WindowCursor { epoch: 0, given, read }).is_err();
        // More rows than there are; more given than read; read ahead of a window of 2.
        assert!(refused(3, 5));
        assert!(refused(3, 2));
        assert!(refused(0, 3));
        assert!(!refused(1, 3));
    }

    proptest! {
        #[test]
        fn every_row_comes_out_once_and_at_most_a_window_early(rows in 0u64..80, size in 1usize..30, seed: u64) {
            let out: Vec<u64> = shuffled(rows, size, seed, WindowCursor::default()).collect();
            for (place, row) in out.iter().enumerate() {
                prop_assert!(*row < place as u64 + size as u64);
            }
            let mut sorted = out;
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..rows).collect::<Vec<_>>());
        }

        #[test]
        fn resuming_gives_the_same_rows(rows in 1u64..80, size in 1usize..30, seed: u64, before in 0usize..80) {
            let mut whole = shuffled(rows, size, seed, WindowCursor::default());
            let _: Vec<u64> = whole.by_ref().take(before.min(rows as usize - 1)).collect();
            let saved = serde_json::to_string(&whole.cursor()).unwrap();
            let resumed = shuffled(rows, size, seed, serde_json::from_str(&saved).unwrap());
            prop_assert_eq!(resumed.collect::<Vec<_>>(), whole.collect::<Vec<_>>());
        }
    }
}
