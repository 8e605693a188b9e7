//! ROUGE (C.-Y. Lin, 2004), with the tokens of the `rouge-score` package.
//!
//! ```text
//! tokens   lower case, every run outside [a-z0-9] is a space; optional Porter stem of tokens longer than three
//! ROUGE-n  clipped n-gram overlap;  ROUGE-L: length of the longest common subsequence;  P = hits/prediction, R = hits/target
//! Lsum     by lines: for each target line the union of its common subsequences with every predicted line, each token
//!          counted at most as often as it occurs on either side
//! F = 2PR/(P + R), 0 by definition when either side has no token
//! ```
//! Text outside ASCII loses its letters under this rule: report such text by [`word_overlap`], which is the same by words of any
//! script, and not ROUGE.

use std::collections::HashMap;
use std::hash::Hash;

use crate::error::{not_empty, option};
use crate::stats::sum::mean;
use crate::{Bootstrap, Estimate, EvalError};

use super::porter::stem;

/// Precision, recall and their harmonic mean.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rouge {
    /// Share of the prediction that is in the target.
    pub precision: f64,
    /// Share of the target that is in the prediction.
    pub recall: f64,
    /// Their harmonic mean.
    pub f: f64,
}

/// Whether tokens are cut to their stem.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stem {
    /// As they are.
    #[default]
    Plain,
    /// M. F. Porter's stemmer.
    Porter,
}

/// Which ROUGE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RougeKind {
    /// Of n-grams, n from 1 to 9.
    N(usize),
    /// Of the longest common subsequence.
    L,
    /// Of common subsequences by line.
    Lsum,
}

impl RougeKind {
    /// ROUGE of one prediction against one target. In [0, 1]; an empty side scores 0, by definition; O(tokens) for
    /// n-grams, O(m n) for subsequences.
    ///
    /// # Errors
    /// Unless n is 1 to 9.
    pub fn score(self, target: &str, prediction: &str, stem: Stem) -> Result<Rouge, EvalError> {
        self.counted_by(target, prediction, |text| tokens(text, stem))
    }

    /// The same by other tokens.
    fn counted_by(
        self,
        target: &str,
        prediction: &str,
        tokens: impl Fn(&str) -> Vec<String>,
    ) -> Result<Rouge, EvalError> {
        if let Self::N(n) = self {
            option("n", "between 1 and 9", n as f64, (1..=9).contains(&n))?;
        }
        Ok(match self {
            Self::N(n) => rouge_n(&tokens(target), &tokens(prediction), n),
            Self::L => {
                let (target, prediction) = (tokens(target), tokens(prediction));
                let common = common_length(&target, &prediction);
                from_hits(common, prediction.len(), target.len())
            }
            Self::Lsum => {
                let lines = |text: &str| text.lines().map(&tokens).filter(|line| !line.is_empty()).collect::<Vec<_>>();
                rouge_lsum(&lines(target), &lines(prediction))
            }
        })
    }

    /// The best F of one prediction over several targets, by F. In [0, 1]; the first of equal targets counts; as many
    /// scores as targets.
    ///
    /// # Errors
    /// As [`score`](Self::score), and without a target.
    pub fn best(self, targets: &[&str], prediction: &str, stem: Stem) -> Result<Rouge, EvalError> {
        not_empty("the targets", targets)?;
        let mut best = Rouge { f: -1.0, ..Rouge::default() };
        for target in targets {
            let score = self.score(target, prediction, stem)?;
            if score.f > best.f {
                best = score;
            }
        }
        Ok(best)
    }
}

/// Mean F of predictions against targets; the interval resamples items. In [0, 1]; O(m n) for each item + O(B items).
///
/// # Errors
/// As [`RougeKind::score`], when the lengths differ or there is no item.
pub fn rouge(
    kind: RougeKind,
    targets: &[&str],
    predictions: &[&str],
    stem: Stem,
    bootstrap: &Bootstrap,
) -> Result<Estimate, EvalError> {
    not_empty("the targets", targets)?;
    crate::error::same_length("predictions", targets.len(), predictions.len())?;
    let scores: Result<Vec<f64>, EvalError> = targets
        .iter()
        .zip(predictions)
        .map(|(target, prediction)| Ok(kind.score(target, prediction, stem)?.f))
        .collect();
    bootstrap.mean(&scores?)
}

/// What [`RougeKind::score`] counts, over words of any script: lower case, cut at what is neither letter nor digit. It is not
/// ROUGE, whose tokens are ASCII, and agrees with it on ASCII text without stems. In [0, 1]; an empty side scores 0; cost as
/// [`RougeKind::score`].
///
/// # Errors
/// Unless n is 1 to 9.
pub fn word_overlap(kind: RougeKind, target: &str, prediction: &str) -> Result<Rouge, EvalError> {
    let words = |text: &str| -> Vec<String> {
        let lower = text.to_lowercase();
        lower
            .split(|letter: char| !letter.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    };
    kind.counted_by(target, prediction, words)
}

fn tokens(text: &str, stemming: Stem) -> Vec<String> {
    let lower = text.to_lowercase();
    let words = lower.split(|letter: char| !letter.is_ascii_lowercase() && !letter.is_ascii_digit());
    let cut = |word: &str| if stemming == Stem::Porter && word.len() > 3 { stem(word) } else { word.to_owned() };
    words.filter(|word| !word.is_empty()).map(cut).collect()
}

fn from_hits(hits: usize, predicted: usize, wanted: usize) -> Rouge {
    let (precision, recall) = (hits as f64 / predicted.max(1) as f64, hits as f64 / wanted.max(1) as f64);
    let f = if hits == 0 { 0.0 } else { 2.0 * precision * recall / (precision + recall) };
    Rouge { precision, recall, f }
}

pub(super) fn counted<T: Hash + Eq>(entries: impl IntoIterator<Item = T>) -> HashMap<T, usize> {
    let mut counts = HashMap::new();
    entries.into_iter().for_each(|entry| *counts.entry(entry).or_insert(0) += 1);
    counts
}

fn rouge_n(target: &[String], prediction: &[String], n: usize) -> Rouge {
    let (wanted, predicted) = (counted(target.windows(n)), counted(prediction.windows(n)));
    let hits = wanted.iter().map(|(gram, &count)| count.min(predicted.get(gram).copied().unwrap_or(0))).sum();
    from_hits(hits, (prediction.len() + 1).saturating_sub(n), (target.len() + 1).saturating_sub(n))
}

/// The length of the longest common subsequence, in the memory of one row.
fn common_length(a: &[String], b: &[String]) -> usize {
    let (long, short) = if a.len() >= b.len() { (a, b) } else { (b, a) };
    let mut row = vec![0; short.len() + 1];
    for one in long {
        let mut diagonal = 0;
        for (column, other) in short.iter().enumerate() {
            let above = row[column + 1];
            row[column + 1] = if one == other { diagonal + 1 } else { above.max(row[column]) };
            diagonal = above;
        }
    }
    row[short.len()]
}

/// Places in `target` of one longest common subsequence with `prediction`, traced back from the end; on equal
/// lengths the
/// trace steps back in the target.
fn common_places(target: &[String], prediction: &[String]) -> Vec<usize> {
    let columns = prediction.len() + 1;
    let mut table = vec![0; (target.len() + 1) * columns];
    for (row, one) in target.iter().enumerate() {
        for (column, other) in prediction.iter().enumerate() {
            table[(row + 1) * columns + column + 1] = if one == other {
                table[row * columns + column] + 1
            } else {
                table[row * columns + column + 1].max(table[(row + 1) * columns + column])
            };
        }
    }
    let (mut row, mut column, mut places) = (target.len(), prediction.len(), Vec::new());
    while row > 0 && column > 0 {
        if target[row - 1] == prediction[column - 1] {
            row -= 1;
            column -= 1;
            places.push(row);
        } else if table[row * columns + column - 1] > table[(row - 1) * columns + column] {
            column -= 1;
        } else {
            row -= 1;
        }
    }
    places
}

fn rouge_lsum(target: &[Vec<String>], prediction: &[Vec<String>]) -> Rouge {
    let sizes = |lines: &[Vec<String>]| lines.iter().map(Vec::len).sum::<usize>();
    let mut wanted = counted(target.iter().flatten());
    let mut predicted = counted(prediction.iter().flatten());
    let mut hits = 0;
    for line in target {
        let mut union = vec![false; line.len()];
        for other in prediction {
            common_places(line, other).into_iter().for_each(|place| union[place] = true);
        }
        for token in line.iter().zip(union).filter(|&(_, hit)| hit).map(|(token, _)| token) {
            let left = |counts: &HashMap<&String, usize>| counts.get(token).copied().unwrap_or(0);
            if left(&wanted) > 0 && left(&predicted) > 0 {
                for counts in [&mut wanted, &mut predicted] {
                    if let Some(count) = counts.get_mut(token) {
                        *count -= 1;
                    }
                }
                hits += 1;
            }
        }
    }
    from_hits(hits, sizes(prediction), sizes(target))
}

/// `prod_{n = 2..4}` of distinct n-grams over all n-grams: 1 when nothing repeats. In [0, 1]; O(tokens).
///
/// # Errors
/// When a text has fewer than four words.
pub fn diversity(text: &str) -> Result<f64, EvalError> {
    let words: Vec<&str> = text.split_whitespace().collect();
    option("words", "at least 4", words.len() as f64, words.len() >= 4)?;
    Ok((2..=4).map(|n| counted(words.windows(n)).len() as f64 / (words.len() + 1 - n) as f64).product())
}

/// `exp(-mean ln p)` over tokens. At least 1; O(tokens).
///
/// # Errors
/// When there is no token, or a log-probability is above 0, NaN or infinite.
pub fn perplexity(logps: &[f64]) -> Result<f64, EvalError> {
    crate::error::within("the log-probabilities", logps, "at most 0", |logp| logp <= 0.0)?;
    Ok((-mean(logps)).exp())
}

/// Cosine of two embeddings: coherence of a prompt and its response. In [-1, 1]; O(n).
///
/// # Errors
/// When the lengths differ, a value is NaN or infinite, or an embedding is zero.
pub fn cosine(a: &[f64], b: &[f64]) -> Result<f64, EvalError> {
    crate::error::finite("the first embedding", a)?;
    crate::error::same_length("the second embedding", a.len(), b.len())?;
    crate::error::finite("the second embedding", b)?;
    let dot = |a: &[f64], b: &[f64]| crate::stats::sum::sum(a.iter().zip(b).map(|(a, b)| a * b));
    let scale = dot(a, a).sqrt() * dot(b, b).sqrt();
    if scale > 0.0 {
        return Ok((dot(a, b) / scale).clamp(-1.0, 1.0));
    }
    Err(EvalError::Degenerate { what: "the cosine", why: "an embedding is zero" })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn f(kind: RougeKind, target: &str, prediction: &str) -> Rouge {
        kind.score(target, prediction, Stem::Plain).unwrap()
    }

    #[test]
    fn words_of_any_script_overlap_where_rouge_sees_none() {
        // One of two words, whatever its case.
        let (target, prediction) = ("Ёлка стоит.", "ёлка лежит");
        let overlap = word_overlap(RougeKind::N(1), target, prediction).unwrap();
        assert_eq!((overlap.precision, overlap.recall, overlap.f), (0.5, 0.5, 0.5));
        assert_eq!(f(RougeKind::N(1), target, prediction), Rouge::default());
        let (target, prediction) = ("The cat sat, on 2 mats\nand slept", "a cat on 2 mats\nslept");
        for kind in [RougeKind::N(1), RougeKind::N(2), RougeKind::L, RougeKind::Lsum] {
            assert_eq!(word_overlap(kind, target, prediction).unwrap(), f(kind, target, prediction), "{kind:?}");
        }
        assert!(word_overlap(RougeKind::N(10), target, prediction).is_err());
    }

    #[test]
    fn a_cat_on_a_mat() {
        let (target, prediction) = ("the cat sat on the mat", "the cat lay on a mat today");
        let one = f(RougeKind::N(1), target, prediction);
        assert_eq!((one.precision, one.recall), (4.0 / 7.0, 4.0 / 6.0));
        assert!((one.f - 0.615_384_615_4).abs() < 1e-9);
        let two = f(RougeKind::N(2), target, prediction);
        assert_eq!((two.precision, two.recall), (1.0 / 6.0, 1.0 / 5.0));
        assert_eq!(f(RougeKind::L, target, prediction), one);
        assert_eq!(RougeKind::L.best(&["x", target], prediction, Stem::Plain).unwrap(), one);
        let mean = rouge(RougeKind::N(1), &[target, "a"], &[prediction, "b"], Stem::Plain, &Bootstrap::NONE).unwrap();
        assert!((mean.value - 0.5 * one.f).abs() < 1e-12 && mean.n == 2);
    }

    #[test]
    fn edges() {
        assert_eq!(f(RougeKind::L, "", "a"), Rouge::default());
        assert!(RougeKind::N(0).score("a", "a", Stem::Plain).is_err());
        assert!(matches!(RougeKind::L.best(&[], "a", Stem::Plain), Err(EvalError::Empty { .. })));
        assert_eq!(diversity("a b c d").unwrap(), 1.0);
        // a a a a: 1/3 of bigrams, 1/2 of trigrams, the one 4-gram.
        assert!((diversity("a a a a").unwrap() - 1.0 / 6.0).abs() < 1e-15);
        assert!(diversity("a b c").is_err());
        assert!((perplexity(&[0.5_f64.ln(), 0.125_f64.ln()]).unwrap() - 4.0).abs() < 1e-12);
        assert!(perplexity(&[0.1]).is_err() && perplexity(&[]).is_err());
        assert_eq!(cosine(&[1.0, 0.0], &[0.0, 2.0]).unwrap(), 0.0);
        assert!(matches!(cosine(&[0.0], &[1.0]), Err(EvalError::Degenerate { .. })));
    }

    proptest! {
        #[test]
        fn f_is_symmetric_and_unigrams_are_at_least_subsequences(
            a in prop::collection::vec(0_u8..4, 0..12), b in prop::collection::vec(0_u8..4, 0..12),
        ) {
            let text = |words: &[u8]| words.iter().map(|word| format!("w{word}")).collect::<Vec<_>>().join(" ");
            let (a, b) = (text(&a), text(&b));
            for kind in [RougeKind::N(1), RougeKind::N(2), RougeKind::L] {
                let (one, other) = (f(kind, &a, &b), f(kind, &b, &a));
                prop_assert!((one.f - other.f).abs() < 1e-12 && (0.0..=1.0).contains(&one.f));
            }
            let (one, long) = (f(RougeKind::N(1), &a, &b), f(RougeKind::L, &a, &b));
            prop_assert!(one.precision >= long.precision && one.recall >= long.recall);
        }
    }
}
