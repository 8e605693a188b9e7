//! Long histories folded by a key, so that what happened seldom is not crowded out by what happened last. After LBSF, which folds
//! the payments of years by merchant.
//!
//! ```text
//! (k_1, x_1), ..., (k_T, x_T)   ->   for each key k: its last `each` values, and how many there were
//! ```
//! At most `keys * each` values are left, whatever the length of the history.

use std::collections::HashMap;
use std::hash::Hash;

use crate::DataError;

/// What is left of the events of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folded<K, V> {
    /// The key.
    pub key: K,
    /// Its last values, in the order of the history.
    pub latest: Vec<V>,
    /// How many values it had.
    pub count: usize,
}

/// The history by key, the key of the last event first; keys beyond `keys` are left out. In O(T + keys log keys).
///
/// ```
/// use ascribe_data::fold_by_key;
/// let history = [("rent", 9), ("food", 1), ("food", 2), ("food", 3)];
/// let folded = fold_by_key(&history, 2, 2)?;
/// assert_eq!((folded[0].key, &folded[0].latest[..], folded[0].count), ("food", &[2, 3][..], 3));
/// assert_eq!((folded[1].key, &folded[1].latest[..], folded[1].count), ("rent", &[9][..], 1));
/// # Ok::<(), ascribe_data::DataError>(())
/// ```
///
/// # Errors
/// When `keys` or `each` is 0.
pub fn fold_by_key<K: Clone + Eq + Hash, V: Clone>(
    history: &[(K, V)],
    keys: usize,
    each: usize,
) -> Result<Vec<Folded<K, V>>, DataError> {
    for (name, got) in [("the keys that are kept", keys), ("the values of a key", each)] {
        if got == 0 {
            let remedy = "; leave the column out where nothing of it is to be kept";
            return Err(DataError::Sampler { name, rule: "at least 1".to_owned(), got, remedy });
        }
    }
    let mut places: HashMap<&K, Vec<usize>> = HashMap::new();
    for (place, (key, _)) in history.iter().enumerate() {
        places.entry(key).or_default().push(place);
    }
    let mut by_key: Vec<(&K, Vec<usize>)> = places.into_iter().collect();
    by_key.sort_by_key(|(_, places)| std::cmp::Reverse(places.last().copied()));
    let folded = |(key, places): (&K, Vec<usize>)| {
        let latest =
            places[places.len().saturating_sub(each)..].iter().map(|place| history[*place].1.clone()).collect();
        Folded { key: key.clone(), latest, count: places.len() }
    };
    Ok(by_key.into_iter().take(keys).map(folded).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn six_events_by_hand() {
        let history = [('a', 1), ('b', 2), ('a', 3), ('c', 4), ('a', 5), ('b', 6)];
        let folded = |key: char, latest: &[i32], count: usize| Folded { key, latest: latest.to_vec(), count };
        assert_eq!(fold_by_key(&history, 2, 2).unwrap(), [folded('b', &[2, 6], 2), folded('a', &[3, 5], 3)]);
        assert_eq!(
            fold_by_key(&history, 9, 1).unwrap(),
            [folded('b', &[6], 2), folded('a', &[5], 3), folded('c', &[4], 1)]
        );
        assert!(fold_by_key::<char, i32>(&[], 1, 1).unwrap().is_empty());
    }

    #[test]
    fn nothing_to_keep_is_refused() {
        for (keys, each, name) in [(0, 1, "the keys that are kept"), (1, 0, "the values of a key")] {
            let said = fold_by_key(&[('a', 1)], keys, each).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(said.contains(&format!("{name} must be at least 1, got 0")), "{said}");
        }
    }

    proptest! {
        #[test]
        fn with_room_for_all_no_event_is_lost(history in prop::collection::vec((0..5u8, 0..100u32), 0..40)) {
            let folded = fold_by_key(&history, 5, 40).unwrap();
            prop_assert_eq!(folded.iter().map(|one| one.count).sum::<usize>(), history.len());
            for one in &folded {
                let of_key: Vec<u32> = history.iter().filter(|(key, _)| *key == one.key).map(|(_, x)| *x).collect();
                prop_assert_eq!(&one.latest, &of_key);
            }
        }
    }
}
