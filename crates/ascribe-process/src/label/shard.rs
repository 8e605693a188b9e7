//! Shards of one run: which items each has, and how their results become one again.
//!
//! ```text
//! item i belongs to shard  i mod of + 1
//! ```
//! What is made for an item hangs on its number and the seed alone, so shards, in any order and on any machines, give what one
//! run gives.

use std::fmt;
use std::str::FromStr;

use crate::ProcessError;

/// Shard `index` of `of`, counted from 1: `2/8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: usize,
    of: usize,
}

impl Default for Shard {
    /// All items.
    fn default() -> Self {
        Self { index: 1, of: 1 }
    }
}

impl Shard {
    /// Shard `index` of `of`.
    ///
    /// # Errors
    /// Unless `1 <= index <= of`.
    pub fn new(index: usize, of: usize) -> Result<Self, ProcessError> {
        if (1..=of).contains(&index) {
            return Ok(Self { index, of });
        }
        Err(ProcessError::range("a shard", "i/n with i from 1 to n, such as 2/8", format!("{index}/{of}")))
    }

    /// Whether item number `item`, counted from 0, belongs to it.
    pub fn holds(self, item: usize) -> bool {
        item % self.of + 1 == self.index
    }
}

impl FromStr for Shard {
    type Err = ProcessError;
    fn from_str(text: &str) -> Result<Self, ProcessError> {
        let parts = text.split_once('/').map(|(index, of)| (index.trim().parse::<usize>(), of.trim().parse::<usize>()));
        match parts {
            Some((Ok(index), Ok(of))) => Self::new(index, of),
            _ => Err(ProcessError::range("a shard", "i/n with i from 1 to n, such as 2/8", text)),
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

/// The results of shards in the order of their items. A result names the item it belongs to, counted from 0.
///
/// # Errors
/// When an item has two results, or one before the last has none.
pub fn merged<T>(results: Vec<(usize, T)>) -> Result<Vec<T>, ProcessError> {
    let mut results = results;
    results.sort_by_key(|(item, _)| *item);
    for (expected, (item, _)) in results.iter().enumerate() {
        if *item != expected {
            let why = if *item < expected {
                format!("item {item} is there twice")
            } else {
                format!("item {expected} is missing")
            };
            return Err(ProcessError::Shards { why });
        }
    }
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_share_all_items_and_merge_to_the_whole() {
        for of in 1..6 {
            let shards: Vec<Shard> = (1..=of).map(|index| Shard::new(index, of).unwrap()).collect();
            let mut results = Vec::new();
            for shard in shards.iter().rev() {
                results.extend((0..20).filter(|item| shard.holds(*item)).map(|item| (item, item * item)));
            }
            assert_eq!(results.len(), 20);
            assert_eq!(merged(results).unwrap(), (0..20).map(|item| item * item).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_no_shard_is_refused() {
        assert_eq!("2/8".parse::<Shard>().unwrap().to_string(), "2/8");
        for text in ["0/2", "3/2", "1", "1/0", "a/b", "-1/2"] {
            assert!(text.parse::<Shard>().is_err(), "{text}");
        }
        assert!(merged(vec![(0, 'a'), (0, 'b')]).unwrap_err().to_string().contains("item 0 is there twice"));
        assert!(merged(vec![(0, 'a'), (2, 'b')]).unwrap_err().to_string().contains("item 1 is missing"));
    }
}
