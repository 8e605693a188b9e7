//! Near-duplicates by MinHash: A. Broder, "On the resemblance and containment of documents", 1997.
//!
//! ```text
//! J(a, b) = |A and B| / |A or B|,   A = the runs of 5 words of a, in lower case, without punctuation
//! estimate = share of 128 hash functions whose smallest value over A equals that over B
//! ```
//! The estimate has no bias and a standard deviation of `sqrt(J (1 - J) / 128)`, at most 0.044. Texts are compared if one
//! of 32 bands of 4 values agrees, which texts of similarity `J` do with probability `1 - (1 - J^4)^32`: 0.87 at 0.5, 0.99 at
//! 0.6, above 0.9999 at 0.75. A text of fewer words is one run.
//!
//! Memory is about 0.8 kB a text. To look for contamination, put the test set in, and ask for each row of the training set,
//! which may be a stream.

use std::collections::HashMap;
use std::path::Path;

use ascribe_core::Seed;
use rand::Rng;

use crate::{
    Choices, ColumnMap, DataError, Dialogues, Kind, LanguageModelling, PromptCompletion, PromptOnly, Rated, Record,
    Records, Stepwise, Unpaired,
};

const HASHES: usize = 128;
const BANDS: usize = 32;
/// Words of a run.
const WORDS: usize = 5;

/// Texts, by their signatures.
pub struct NearDuplicates {
    threshold: f64,
    /// Odd factors and offsets of the hash functions.
    functions: Vec<(u64, u64)>,
    signatures: Vec<(usize, Vec<u32>)>,
    /// For each band, the places of the signatures with given values.
    bands: Vec<HashMap<u64, Vec<u32>>>,
}

/// A text that is like another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Match {
    /// What the text was put in as.
    pub id: usize,
    /// Estimated similarity, 1 for the same runs of words.
    pub similarity: f64,
}

impl NearDuplicates {
    /// No texts yet. Texts of an estimated similarity of at least `threshold` are near-duplicates; 0.8 is a usual choice.
    ///
    /// # Errors
    /// [`DataError::Threshold`] for a threshold outside [0.5, 1], below which the bands miss too many.
    pub fn new(threshold: f64, seed: Seed) -> Result<Self, DataError> {
        if !(0.5..=1.0).contains(&threshold) {
            return Err(DataError::Threshold { got: threshold });
        }
        let mut draws = seed.stream("minhash", 0);
        let functions = (0..HASHES).map(|_| (draws.next_u64() | 1, draws.next_u64())).collect();
        Ok(Self { threshold, functions, signatures: Vec::new(), bands: vec![HashMap::new(); BANDS] })
    }

    /// The prompts of a file of any kind, each under the number of its row; see [`new`](Self::new).
    ///
    /// # Errors
    /// As [`new`](Self::new), and those of [`Records`].
    pub fn of_prompts(path: &Path, map: &ColumnMap, threshold: f64, seed: Seed) -> Result<Self, DataError> {
        let mut index = Self::new(threshold, seed)?;
        match Kind::detect(path, map)? {
            Kind::LanguageModelling => index.insert_all::<LanguageModelling>(path, map)?,
            Kind::PromptOnly => index.insert_all::<PromptOnly>(path, map)?,
            Kind::PromptCompletion => index.insert_all::<PromptCompletion>(path, map)?,
            Kind::Preference => index.insert_all::<Dialogues>(path, map)?,
            Kind::Unpaired => index.insert_all::<Unpaired>(path, map)?,
            Kind::Stepwise => index.insert_all::<Stepwise>(path, map)?,
            Kind::Rated => index.insert_all::<Rated>(path, map)?,
            Kind::Choices => index.insert_all::<Choices>(path, map)?,
        }
        Ok(index)
    }

    /// Rows that cannot teach test nothing either, and are passed over.
    fn insert_all<R: Record>(&mut self, path: &Path, map: &ColumnMap) -> Result<(), DataError> {
        for (at, record) in Records::<R>::open(path, map)?.enumerate() {
            if let Ok(record) = record? {
                self.insert(at + 1, &record.words());
            }
        }
        Ok(())
    }

    /// Puts a text in. A text without words is like no other, and is left out; so is one with the signature of a text that was
    /// put in before, which would never be named.
    pub fn insert(&mut self, id: usize, text: &str) {
        let Some(signature) = self.signature(text) else { return };
        let alike = keys(&signature).next().and_then(|(band, key)| self.bands[band].get(&key));
        if alike.into_iter().flatten().any(|place| self.signatures[*place as usize].1 == signature) {
            return;
        }
        let place = self.signatures.len() as u32;
        for (band, key) in keys(&signature) {
            self.bands[band].entry(key).or_default().push(place);
        }
        self.signatures.push((id, signature));
    }

    /// The text most like this one, if it is a near-duplicate; of several, the one that was put in first.
    pub fn closest(&self, text: &str) -> Option<Match> {
        let signature = self.signature(text)?;
        let mut places: Vec<u32> =
            keys(&signature).filter_map(|(band, key)| self.bands[band].get(&key)).flatten().copied().collect();
        places.sort_unstable();
        places.dedup();
        let mut best: Option<Match> = None;
        for place in places {
            let (id, other) = &self.signatures[place as usize];
            let same = signature.iter().zip(other).filter(|(one, two)| one == two).count();
            let similarity = same as f64 / HASHES as f64;
            if similarity >= self.threshold && best.is_none_or(|best| similarity > best.similarity) {
                best = Some(Match { id: *id, similarity });
            }
        }
        best
    }

    fn signature(&self, text: &str) -> Option<Vec<u32>> {
        let mut smallest = vec![u32::MAX; HASHES];
        let shingles = shingles(text);
        for shingle in &shingles {
            for (value, (factor, offset)) in smallest.iter_mut().zip(&self.functions) {
                let hash = (shingle.wrapping_mul(*factor).wrapping_add(*offset) >> 32) as u32;
                *value = hash.min(*value);
            }
        }
        (!shingles.is_empty()).then_some(smallest)
    }
}

/// Hashes of the runs of words.
fn shingles(text: &str) -> Vec<u64> {
    let lower = text.to_lowercase();
    let words: Vec<&str> =
        lower.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
    let hash = |run: &[&str]| {
        let bytes = run.iter().flat_map(|word| word.bytes().chain([0]));
        let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        mixed(bytes.fold(0xcbf2_9ce4_8422_2325, hash))
    };
    match words.len() {
        0 => Vec::new(),
        count if count < WORDS => vec![hash(&words)],
        _ => words.windows(WORDS).map(hash).collect(),
    }
}

/// Spreads the bits of a hash (the last steps of SplitMix64).
fn mixed(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// The key of each band.
fn keys(signature: &[u32]) -> impl Iterator<Item = (usize, u64)> + '_ {
    let key = |rows: &[u32]| rows.iter().fold(0, |key, value| mixed(key ^ u64::from(*value)));
    signature.chunks(HASHES / BANDS).map(key).enumerate()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn text(words: impl Iterator<Item = usize>) -> String {
        words.map(|word| format!("w{word} ")).collect()
    }

    /// The similarity by its definition, over sets of strings.
    fn jaccard(one: &str, two: &str) -> f64 {
        let runs = |text: &str| -> HashSet<Vec<String>> {
            let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            words.windows(WORDS).map(<[String]>::to_vec).collect()
        };
        let (one, two) = (runs(one), runs(two));
        one.intersection(&two).count() as f64 / one.union(&two).count() as f64
    }

    #[test]
    fn estimates_are_within_five_deviations_of_the_similarity() {
        let base = text(0..400);
        for cut in [10, 40, 80, 120] {
            let other = text(cut..400 + cut);
            let exact = jaccard(&base, &other);
            let mut index = NearDuplicates::new(0.5, Seed(7)).unwrap();
            index.insert(3, &base);
            let estimate = index.closest(&other).map_or(0.5, |found| found.similarity);
            let deviation = (exact * (1.0 - exact) / HASHES as f64).sqrt();
            assert!((estimate - exact).abs() < 5.0 * deviation, "{exact} {estimate}");
        }
    }

    #[test]
    fn case_and_punctuation_play_no_part_and_other_texts_do_not_match() {
        let mut index = NearDuplicates::new(0.8, Seed(0)).unwrap();
        index.insert(1, "How many eggs does Janet sell at the market?");
        index.insert(2, "Two words");
        index.insert(3, " ... ");
        let found = index.closest("how many eggs, does janet sell at the market").unwrap();
        assert_eq!((found.id, found.similarity), (1, 1.0));
        assert_eq!(index.closest("two words!").map(|found| found.id), Some(2));
        assert_eq!(index.closest("A robe takes two bolts of blue fiber and half that much white"), None);
        assert_eq!(index.closest(" ... "), None);
    }

    #[test]
    fn the_first_of_equals_is_named() {
        let mut index = NearDuplicates::new(0.8, Seed(0)).unwrap();
        index.insert(9, "one two three four five six");
        index.insert(4, "one two three four five six");
        assert_eq!(index.closest("one two three four five six").map(|found| found.id), Some(9));
        assert_eq!(index.signatures.len(), 1);
        // With its last word changed one of two runs is shared.
        index.insert(2, "one two three four five seven");
        assert_eq!(index.closest("one two three four five seven").map(|found| found.id), Some(2));
        assert_eq!(index.signatures.len(), 2);
    }

    #[test]
    fn a_threshold_that_the_bands_miss_is_refused() {
        for threshold in [0.49, 1.01, f64::NAN] {
            assert!(NearDuplicates::new(threshold, Seed(0)).is_err());
        }
    }
}
