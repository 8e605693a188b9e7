//! Who wrote a text, by a network of neighbours. After Mycorrhiza, which assigns genotypes to populations by a network over their
//! distances.
//!
//! ```text
//! d(a, b) = 1 - cosine of their counts of n-grams
//! i and j are joined where one is among the k nearest of the other
//! p_i(s) = mean of p_j(s) over the j that i is joined with;   known texts have p = 1 for their source and 0 for others
//! ```
//! The equations have one solution where every part of the network holds a known text (the harmonic function of Zhu, Ghahramani
//! and Lafferty, ICML 2003). Departure: Mycorrhiza makes splits of the network the features of a forest; here the network itself
//! decides, and texts whose source is unknown help each other.

use std::collections::HashMap;

use crate::EvalError;
use crate::error::{finite, not_empty, option, same_length};

/// Sweeps over the network, and the change below which they end.
const SWEEPS: usize = 10_000;
const STILL: f64 = 1e-12;

/// Distances between texts by their n-grams of tokens, `[texts][texts]`, in [0, 1]; a text that is shorter than `n` has
/// distance 1 from all others. O(texts^2 length).
///
/// # Errors
/// When there is no text, or `n` is 0.
pub fn ngram_distances(texts: &[Vec<u32>], n: usize) -> Result<Vec<Vec<f64>>, EvalError> {
    not_empty("the texts", texts)?;
    option("n", "at least 1", n as f64, n >= 1)?;
    let mut counts: Vec<HashMap<&[u32], f64>> = Vec::with_capacity(texts.len());
    for text in texts {
        let mut of_text = HashMap::new();
        text.windows(n).for_each(|gram| *of_text.entry(gram).or_insert(0.0) += 1.0);
        counts.push(of_text);
    }
    // Counts are whole numbers, so sums do not depend on the order of a map.
    let norm = |of_text: &HashMap<&[u32], f64>| of_text.values().map(|count| count * count).sum::<f64>().sqrt();
    let norms: Vec<f64> = counts.iter().map(norm).collect();
    let distance = |a: usize, b: usize| {
        let shared: f64 =
            counts[a].iter().map(|(gram, count)| count * counts[b].get(gram).copied().unwrap_or(0.0)).sum();
        match (a == b, shared > 0.0) {
            (true, _) => 0.0,
            (false, true) => (1.0 - shared / (norms[a] * norms[b])).clamp(0.0, 1.0),
            (false, false) => 1.0,
        }
    };
    Ok((0..texts.len()).map(|a| (0..texts.len()).map(|b| distance(a, b)).collect()).collect())
}

/// The probability of each source for each text, `[texts][sources]`, where `sources` says which are known and there are `count`
/// of them. Of equally near texts the first are taken. A text whose part of the network holds no known one has them all alike.
/// O(texts^2 log texts) and a sweep over the network until nothing moves.
///
/// # Errors
/// When distances are not square or not finite, no source is known, one is not below `count`, or `neighbours` is 0.
pub fn attribute(
    distances: &[Vec<f64>],
    sources: &[Option<usize>],
    count: usize,
    neighbours: usize,
) -> Result<Vec<Vec<f64>>, EvalError> {
    not_empty("the distances", distances)?;
    same_length("the sources", distances.len(), sources.len())?;
    option("neighbours", "at least 1", neighbours as f64, neighbours >= 1)?;
    for row in distances {
        finite("the distances", row)?;
        same_length("the distances of a text", distances.len(), row.len())?;
    }
    if let Some(got) = sources.iter().flatten().find(|source| **source >= count) {
        return Err(EvalError::Range { name: "a source", rule: "below the number of sources", got: *got as f64 });
    }
    if sources.iter().all(Option::is_none) {
        let why = "no text has a known source; give the source of at least one";
        return Err(EvalError::Degenerate { what: "an attribution", why });
    }
    let joined = network(distances, neighbours);
    let known = |source: usize| -> Vec<f64> { (0..count).map(|one| if one == source { 1.0 } else { 0.0 }).collect() };
    let start = |source: &Option<usize>| source.map_or(vec![1.0 / count as f64; count], known);
    let mut odds: Vec<Vec<f64>> = sources.iter().map(start).collect();
    for _ in 0..SWEEPS {
        let mut moved: f64 = 0.0;
        for text in (0..sources.len()).filter(|text| sources[*text].is_none() && !joined[*text].is_empty()) {
            let share = 1.0 / joined[text].len() as f64;
            let mean = |source: usize| share * joined[text].iter().map(|other| odds[*other][source]).sum::<f64>();
            let next: Vec<f64> = (0..count).map(mean).collect();
            moved = next.iter().zip(&odds[text]).map(|(new, old)| (new - old).abs()).fold(moved, f64::max);
            odds[text] = next;
        }
        if moved < STILL {
            break;
        }
    }
    Ok(odds)
}

/// Which texts each text is joined with.
fn network(distances: &[Vec<f64>], neighbours: usize) -> Vec<Vec<usize>> {
    let n = distances.len();
    let mut is_joined = vec![vec![false; n]; n];
    for (text, row) in distances.iter().enumerate() {
        let mut others: Vec<usize> = (0..n).filter(|other| *other != text).collect();
        others.sort_by(|a, b| row[*a].total_cmp(&row[*b]));
        for other in others.into_iter().take(neighbours) {
            is_joined[text][other] = true;
            is_joined[other][text] = true;
        }
    }
    is_joined.iter().map(|row| (0..n).filter(|other| row[*other]).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bigrams_by_hand() {
        // 1 2 1 has 12 and 21; 1 2 2 has 12 and 22: cosine 1 / (sqrt 2 sqrt 2).
        let texts = [vec![1, 2, 1], vec![1, 2, 2], vec![3, 4, 3], vec![1]];
        let distances = ngram_distances(&texts, 2).unwrap();
        let expected = [[0.0, 0.5, 1.0, 1.0], [0.5, 0.0, 1.0, 1.0], [1.0, 1.0, 0.0, 1.0], [1.0, 1.0, 1.0, 0.0]];
        for (row, expected) in distances.iter().zip(expected) {
            assert!(row.iter().zip(expected).all(|(got, wanted)| (got - wanted).abs() < 1e-12), "{distances:?}");
        }
        assert!(ngram_distances(&[], 2).is_err() && ngram_distances(&texts, 0).is_err());
    }

    /// Four texts in a line, each joined with the next, of which the ends are known: a walk from the second comes to the first
    /// end before the other with probability 2/3.
    #[test]
    fn texts_between_two_known_ones() {
        let line = |n: usize| -> Vec<Vec<f64>> {
            (0..n).map(|a| (0..n).map(|b| (a as f64 - b as f64).abs()).collect()).collect()
        };
        let odds = attribute(&line(4), &[Some(0), None, None, Some(1)], 2, 1).unwrap();
        let expected = [[1.0, 0.0], [2.0 / 3.0, 1.0 / 3.0], [1.0 / 3.0, 2.0 / 3.0], [0.0, 1.0]];
        for (row, expected) in odds.iter().zip(expected) {
            assert!(row.iter().zip(expected).all(|(got, wanted)| (got - wanted).abs() < 1e-9), "{odds:?}");
        }
    }

    #[test]
    fn a_part_without_a_known_text_says_nothing() {
        // Two pairs, far from each other; the second pair knows nobody.
        let far = vec![
            vec![0.0, 0.1, 1.0, 1.0],
            vec![0.1, 0.0, 1.0, 1.0],
            vec![1.0, 1.0, 0.0, 0.1],
            vec![1.0, 1.0, 0.1, 0.0],
        ];
        let odds = attribute(&far, &[Some(1), None, None, None], 2, 1).unwrap();
        assert_eq!(odds, [vec![0.0, 1.0], vec![0.0, 1.0], vec![0.5, 0.5], vec![0.5, 0.5]]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let two = vec![vec![0.0, 1.0], vec![1.0, 0.0]];
        let refused = |distances: &[Vec<f64>], sources: &[Option<usize>], neighbours: usize| {
            attribute(distances, sources, 2, neighbours).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert!(refused(&two, &[None, None], 1).contains("no text has a known source"));
        assert!(refused(&two, &[Some(2), None], 1).contains("a source must be below the number of sources, got 2"));
        assert!(refused(&two, &[Some(0), None], 0).contains("neighbours must be at least 1"));
        assert!(!refused(&two, &[Some(0)], 1).is_empty() && !refused(&[vec![0.0]], &[Some(0), None], 1).is_empty());
        assert!(!refused(&[vec![0.0, f64::NAN], vec![1.0, 0.0]], &[Some(0), None], 1).is_empty());
    }
}
