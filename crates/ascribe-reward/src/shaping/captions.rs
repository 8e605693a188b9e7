//! A small model of captions: a linear function of hashed words and pairs of words, for labels and for comparisons.
//!
//! ```text
//! s(caption) = w x + b;   P(label 1) = sigmoid(s);   P(first preferred) = sigmoid(s_1 - s_2)
//! ```
//! It is retrained from nothing on all that is known, by gradient descent with a small weight decay, so the order in which
//! labels come does not show. Its intrinsic rewards generalise to captions that nobody labelled.

use crate::math::{dot, sigmoid};
use crate::text::word_punct;

/// Places of the hash.
const WIDTH: usize = 512;

/// Steps of training.
const STEPS: usize = 200;

/// The model.
#[derive(Clone, Debug, PartialEq)]
pub struct CaptionModel {
    weights: Vec<f64>,
}

impl Default for CaptionModel {
    fn default() -> Self {
        Self { weights: vec![0.0; WIDTH + 1] }
    }
}

impl CaptionModel {
    /// A model that was trained on captions with labels 0 and 1.
    pub fn on_labels<'t>(labels: impl IntoIterator<Item = (&'t str, bool)>) -> Self {
        let rows: Vec<(Vec<f64>, f64)> =
            labels.into_iter().map(|(caption, label)| (features(caption), f64::from(u8::from(label)))).collect();
        Self::fit(&rows)
    }

    /// A model that was trained on comparisons, with the probability that the first caption is preferred.
    pub fn on_comparisons<'t>(comparisons: impl IntoIterator<Item = (&'t str, &'t str, f64)>) -> Self {
        let difference = |first: &str, second: &str| -> Vec<f64> {
            features(first).iter().zip(features(second)).map(|(first, second)| first - second).collect()
        };
        let rows: Vec<(Vec<f64>, f64)> =
            comparisons.into_iter().map(|(first, second, p)| (difference(first, second), p)).collect();
        Self::fit(&rows)
    }

    /// The score of a caption.
    pub fn score(&self, caption: &str) -> f64 {
        dot(&self.weights, &features(caption))
    }

    /// The probability that the label of a caption is 1.
    pub fn probability(&self, caption: &str) -> f64 {
        sigmoid(self.score(caption))
    }

    fn fit(rows: &[(Vec<f64>, f64)]) -> Self {
        let mut model = Self::default();
        if rows.is_empty() {
            return model;
        }
        for _ in 0..STEPS {
            let mut slope: Vec<f64> = model.weights.iter().map(|weight| -1e-3 * weight).collect();
            for (x, p) in rows {
                let miss = (p - sigmoid(dot(&model.weights, x))) / rows.len() as f64;
                slope.iter_mut().zip(x).for_each(|(slope, x)| *slope += miss * x);
            }
            // Features have length 1 and the constant is 1, so a step of 2 is stable: the curvature is at most 1/2.
            model.weights.iter_mut().zip(&slope).for_each(|(weight, slope)| *weight += 2.0 * slope);
        }
        model
    }
}

/// Counts of words and pairs of words by hash, of length 1, and a constant.
fn features(caption: &str) -> Vec<f64> {
    let words: Vec<String> = word_punct(caption).into_iter().map(str::to_lowercase).collect();
    let mut x = vec![0.0; WIDTH + 1];
    for gram in words.windows(1).chain(words.windows(2)) {
        x[(hash(&gram.join(" ")) % WIDTH as u64) as usize] += 1.0;
    }
    let norm = dot(&x, &x).sqrt();
    if norm > 0.0 {
        x.iter_mut().for_each(|x| *x /= norm);
    }
    x[WIDTH] = 1.0;
    x
}

/// FNV-1a, 64 bits, folded, because its low bits alone are weak.
fn hash(text: &str) -> u64 {
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_generalise_to_new_captions() {
        let labels = [
            ("you find a golden key", true),
            ("you pick up the silver key", true),
            ("you hit a wall", false),
            ("the wall is cold", false),
        ];
        let model = CaptionModel::on_labels(labels);
        for (caption, label) in labels {
            assert_eq!(model.probability(caption) > 0.5, label, "{caption}");
        }
        assert!(model.probability("a rusty key lies here") > 0.5 && model.probability("another wall") < 0.5);
        assert_eq!(CaptionModel::on_labels([]).probability("anything"), 0.5);
    }

    #[test]
    fn comparisons_order_captions() {
        let model = CaptionModel::on_comparisons([
            ("a key", "a wall", 1.0),
            ("a wall", "a trap", 1.0),
            ("a key", "a trap", 1.0),
        ]);
        let [key, wall, trap] = ["a key", "a wall", "a trap"].map(|caption| model.score(caption));
        assert!(key > wall && wall > trap, "{key} {wall} {trap}");
        let tied = CaptionModel::on_comparisons([("a key", "a wall", 0.5)]);
        assert_eq!(tied.score("a key"), tied.score("a wall"));
    }
}
