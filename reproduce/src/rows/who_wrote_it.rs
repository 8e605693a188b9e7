//! Mycorrhiza: which policy wrote a text, by a network of neighbours over distances, and by the nearest known text alone.

use anyhow::Result;
use ascribe::core::{Seed, Stream};
use ascribe::eval::classify::{attribute, ngram_distances};
use rand::RngExt;

use crate::heads::best;
use crate::row::{Claim, Figures, Row};

const POLICIES: usize = 4;
const VOCABULARY: usize = 8;
const LENGTH: usize = 80;
/// Texts of each policy whose source is known, and others.
const KNOWN: usize = 3;
const ASKED: usize = 25;
const NEIGHBOURS: usize = 5;

/// Mycorrhiza's claims.
pub const ROW: Row = Row {
    name: "who-wrote-it",
    paper: "Mycorrhiza: Genotype Assignment using Phylogenetic Networks",
    setting: "domain-only, population genetics: four synthetic policies over 8 tokens, whose next tokens hang on the last one and are \
              half alike; 28 texts of 80 tokens each, 3 with a known source; distances by pairs of tokens, a network of 5 \
              neighbours",
    seeds: 20,
    claims: &[
        Claim { says: "the network knows the source more often than chance", more: "network", less: "chance" },
        Claim { says: "and more often than the nearest known text", more: "network", less: "nearest known text" },
    ],
    tried: "",
    run,
};

fn run(seed: Seed) -> Result<Figures> {
    let mut stream = seed.stream("policies", 0);
    let shared = weights(&mut stream);
    let (mut texts, mut wrote, mut sources) = (Vec::new(), Vec::new(), Vec::new());
    for policy in 0..POLICIES {
        let odds: Vec<f64> = shared.iter().zip(weights(&mut stream)).map(|(shared, own)| shared + own).collect();
        for number in 0..KNOWN + ASKED {
            texts.push(text(&odds, &mut stream));
            wrote.push(policy);
            sources.push((number < KNOWN).then_some(policy));
        }
    }
    let distances = ngram_distances(&texts, 2)?;
    let by_network = attribute(&distances, &sources, POLICIES, NEIGHBOURS)?;
    let nearest = |text: usize| {
        let known = (0..texts.len()).filter(|other| sources[*other].is_some());
        let nearest = known.min_by(|a, b| distances[text][*a].total_cmp(&distances[text][*b]));
        nearest.and_then(|nearest| sources[nearest])
    };
    let share = |is_right: &dyn Fn(usize) -> bool| {
        let right = (0..texts.len()).filter(|text| sources[*text].is_none() && is_right(*text));
        right.count() as f64 / (POLICIES * ASKED) as f64
    };
    Ok(vec![
        ("network".to_owned(), share(&|text| best(&by_network[text]) == wrote[text])),
        ("nearest known text".to_owned(), share(&|text| nearest(text) == Some(wrote[text]))),
        ("chance".to_owned(), 1.0 / POLICIES as f64),
    ])
}

/// What each token weighs behind each other, exponential draws.
fn weights(stream: &mut Stream) -> Vec<f64> {
    (0..VOCABULARY * VOCABULARY).map(|_| -(1.0 - stream.random::<f64>()).ln()).collect()
}

/// A text whose every token hangs on the one before.
fn text(weights: &[f64], stream: &mut Stream) -> Vec<u32> {
    let mut last = stream.random_range(0..VOCABULARY);
    let mut text = vec![last as u32];
    while text.len() < LENGTH {
        let behind = &weights[last * VOCABULARY..][..VOCABULARY];
        let mut point = stream.random::<f64>() * behind.iter().sum::<f64>();
        let passed = |weight: &f64| {
            point -= weight;
            point < 0.0
        };
        // Rounding can leave a little; the last token takes it.
        last = behind.iter().position(passed).unwrap_or(VOCABULARY - 1);
        text.push(last as u32);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_follow_as_often_as_they_weigh() {
        // Behind every token, 3 weighs three times as much as 5, and nothing else weighs.
        let one = [0.0, 0.0, 0.0, 3.0, 0.0, 1.0, 0.0, 0.0];
        let weights: Vec<f64> = (0..VOCABULARY).flat_map(|_| one).collect();
        let mut stream = Seed(0).stream("texts", 0);
        let tokens: Vec<u32> = (0..50).flat_map(|_| text(&weights, &mut stream).split_off(1)).collect();
        let share = tokens.iter().filter(|token| **token == 3).count() as f64 / tokens.len() as f64;
        assert!(tokens.iter().all(|token| [3, 5].contains(token)));
        // 3950 tokens: a standard deviation of 0.007.
        assert!((share - 0.75).abs() < 0.03, "{share}");
    }
}
