//! BM25 as a relevance: S. Robertson and H. Zaragoza, "The Probabilistic Relevance Framework", 2009.
//!
//! ```text
//! rel(q, y) = sum over the distinct words w of q of idf(w) f (k1 + 1) / (f + k1 (1 - b + b |y| / average)),  f = count of w in y
//! idf(w) = ln(1 + (N - n_w + 1/2) / (n_w + 1/2)),  n_w of N documents hold w
//! ```
//! The collection is given once and stays, so a relevance does not depend on what was scored before. Words are lowered; k1
//! and b have their usual values, 1.2 and 0.75.

use std::collections::{HashMap, HashSet};

use ascribe_core::CoreError;

use super::Relevance;
use crate::RewardError;
use crate::error::{not_empty, option};
use crate::text::word_punct;

/// Word statistics of a collection.
#[derive(Clone, Debug, PartialEq)]
pub struct Bm25 {
    documents: f64,
    holding: HashMap<String, f64>,
    average: f64,
}

/// Where more of a word stops to count.
const K1: f64 = 1.2;

/// How much length counts.
const B: f64 = 0.75;

impl Bm25 {
    /// Statistics of these documents.
    ///
    /// # Errors
    /// When there is no document, or none has a word.
    pub fn fit(documents: &[&str]) -> Result<Self, RewardError> {
        not_empty("the documents", documents)?;
        let (mut holding, mut words) = (HashMap::new(), 0);
        for document in documents {
            let document = lowered(document);
            words += document.len();
            for word in document.into_iter().collect::<HashSet<_>>() {
                *holding.entry(word).or_insert(0.0) += 1.0;
            }
        }
        option("the words of the documents", "at least 1", words as f64, words >= 1)?;
        let documents = documents.len() as f64;
        Ok(Self { documents, holding, average: words as f64 / documents })
    }

    fn of(&self, query: &str, text: &str) -> f64 {
        let text = lowered(text);
        let mut seen = HashSet::new();
        let words = lowered(query).into_iter().filter(|word| seen.insert(word.clone()));
        let term = |word: String| {
            let count = text.iter().filter(|other| **other == word).count() as f64;
            let holding = self.holding.get(&word).copied().unwrap_or(0.0);
            let idf = ((self.documents - holding + 0.5) / (holding + 0.5)).ln_1p();
            idf * count * (K1 + 1.0) / (count + K1 * (1.0 - B + B * text.len() as f64 / self.average))
        };
        words.map(term).sum()
    }
}

impl Relevance for Bm25 {
    fn relevance(&self, pairs: &[(&str, &str)]) -> Result<Vec<f64>, CoreError> {
        Ok(pairs.iter().map(|(query, text)| self.of(query, text)).collect())
    }
}

fn lowered(text: &str) -> Vec<String> {
    word_punct(text).into_iter().map(str::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two documents of two words; "cat" stands in one: idf ln 2. In a text of average length a count of 1 weighs 1.
    #[test]
    fn one_word_by_hand() {
        let bm25 = Bm25::fit(&["the cat", "the dog"]).unwrap();
        let of = |query: &str, text: &str| bm25.relevance(&[(query, text)]).unwrap()[0];
        assert!((of("Cat", "a cat") - 2f64.ln()).abs() < 1e-12);
        // Twice in a text of average length: 2 * 2.2 / (2 + 1.2); said twice in the query changes nothing.
        assert!((of("cat cat", "cat cat") - 2f64.ln() * 4.4 / 3.2).abs() < 1e-12);
        // In every document: ln(1 + 1/5).
        assert!((of("the", "the cat") - 1.2f64.ln()).abs() < 1e-12);
        assert_eq!(of("cat", "a dog"), 0.0);
        assert!(Bm25::fit(&[]).is_err() && Bm25::fit(&[" "]).is_err());
    }
}
