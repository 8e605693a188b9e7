//! R^3: relevance that is not bought by repetition, and length that is not paid off the topic.
//!
//! A topic has thirty words, three of which stand in the query. Responses are answers with a share of words of the topic, the
//! words of the query said again and again, and long texts on something else. What a reader has of one is how much of the topic
//! it names, less how much of it was said before.

use std::collections::HashSet;

use anyhow::Result;
use ascribe::core::{Episode, Scorer, Seed, Stream, Text};
use ascribe::reward::{Bm25, QueryKind, RelevanceOptions, RelevanceReward, Switch};
use rand::RngExt;

use crate::heads::{best, mean};
use crate::row::{Claim, Figures, Row};

const TOPICS: usize = 6;
const WORDS: usize = 30;
/// Words that belong to no topic.
const OTHERS: usize = 200;
const QUERIES: u64 = 60;
const N: usize = 64;
const PAIRS: u64 = 200;

/// R^3's claims.
pub const ROW: Row = Row {
    name: "regularised-relevance",
    paper: "Preference-free Alignment Learning with Regularized Relevance Reward, arXiv:2402.03469",
    setting: "60 queries of three words of a topic; BM25 as relevance; best-of-64 among answers, repeated query words and long \
              texts off the topic, in place of reinforcement learning; gold is the share of the topic's words that are named, \
              less the share of words that were said before; 200 pairs of a short text on the topic and a long one off it",
    seeds: 8,
    claims: &[
        Claim { says: "R^3 chooses better than relevance alone", more: "gold of R^3", less: "gold of relevance alone" },
        Claim { says: "and better than length alone", more: "gold of R^3", less: "gold of length alone" },
        Claim {
            says: "and better than without the penalty of repetition",
            more: "gold of R^3",
            less: "gold of R^3 without repetition",
        },
        Claim {
            says: "it orders short texts on the topic above long ones off it, where length alone does not",
            more: "pairs of R^3",
            less: "pairs of length alone",
        },
    ],
    tried: "",
    run,
};

/// A word of a topic.
fn word(topic: usize, number: usize) -> String {
    format!("t{topic}w{number}")
}

/// A text of so many words, of which a share is of the topic, none of these twice while there are any left.
fn answer(topic: usize, share: f64, length: usize, stream: &mut Stream) -> String {
    let mut left: Vec<usize> = (0..WORDS).collect();
    let mut words = Vec::with_capacity(length);
    for _ in 0..length {
        if stream.random::<f64>() < share && !left.is_empty() {
            words.push(word(topic, left.swap_remove(stream.random_range(0..left.len()))));
        } else {
            words.push(format!("o{}", stream.random_range(0..OTHERS)));
        }
    }
    words.join(" ")
}

/// What a reader has of a text.
fn gold(topic: usize, text: &str) -> f64 {
    let words: Vec<&str> = text.split_whitespace().collect();
    let distinct: HashSet<&str> = words.iter().copied().collect();
    let of_topic = (0..WORDS).filter(|number| distinct.contains(word(topic, *number).as_str())).count();
    of_topic as f64 / WORDS as f64 - (1.0 - distinct.len() as f64 / words.len() as f64)
}

/// A response to a query, with the text behind its bytes.
fn episode(query: &str, response: &str) -> Result<Episode> {
    let bytes = |text: &str| text.bytes().map(u32::from).collect::<Vec<u32>>();
    let text = format!("{query}{response}");
    let spans = (0..text.len()).map(|at| at..at + 1).collect();
    Ok(Episode::new(&bytes(query), &bytes(response)).with_text(Text { text, spans })?)
}

/// A query on a topic, and its three words.
fn query(topic: usize, stream: &mut Stream) -> (String, String) {
    let first = stream.random_range(0..WORDS - 2);
    let words = [0, 1, 2].map(|more| word(topic, first + more)).join(" ");
    (format!("explain {words}: "), words)
}

fn response(topic: usize, asked: &str, stream: &mut Stream) -> String {
    match stream.random_range(0..4) {
        0 => vec![asked; stream.random_range(2..26)].join(" "),
        1 => answer(topic, 0.0, stream.random_range(40..90), stream),
        _ => {
            let share = stream.random::<f64>();
            answer(topic, share, stream.random_range(5..60), stream)
        }
    }
}

fn rewards(scorer: &dyn Scorer, episodes: &[Episode]) -> Result<Vec<f64>> {
    Ok(scorer.score(episodes)?.iter().map(|credit| f64::from(credit.values()[0])).collect())
}

fn run(seed: Seed) -> Result<Figures> {
    let mut stream = seed.stream("documents", 0);
    let documents: Vec<String> = (0..20 * TOPICS).map(|at| answer(at % TOPICS, 0.5, 40, &mut stream)).collect();
    let bm25 = Bm25::fit(&documents.iter().map(String::as_str).collect::<Vec<_>>())?;
    let whole = RelevanceOptions::default();
    let alone = RelevanceOptions { length_incentive: Switch::Off, repetition_penalty: Switch::Off, ..whole.clone() };
    let length = RelevanceOptions { relevance: Switch::Off, repetition_penalty: Switch::Off, ..whole.clone() };
    let repeating = RelevanceOptions { repetition_penalty: Switch::Off, ..whole.clone() };
    let arms =
        [("R^3", whole), ("relevance alone", alone), ("length alone", length), ("R^3 without repetition", repeating)];
    let mut figures = Figures::new();
    for (name, options) in arms {
        let scorer = RelevanceReward::new(&bm25, |_: &Episode| QueryKind::Open, options)?;
        let mut earned = Vec::new();
        for number in 0..QUERIES {
            let mut stream = seed.stream("query", number);
            let topic = stream.random_range(0..TOPICS);
            let (asked, words) = query(topic, &mut stream);
            let texts: Vec<String> = (0..N).map(|_| response(topic, &words, &mut stream)).collect();
            let episodes = texts.iter().map(|text| episode(&asked, text)).collect::<Result<Vec<_>>>()?;
            earned.push(gold(topic, &texts[best(&rewards(&scorer, &episodes)?)]));
        }
        let mut right = 0;
        for number in 0..PAIRS {
            let mut stream = seed.stream("pair", number);
            let topic = stream.random_range(0..TOPICS);
            let (asked, _) = query(topic, &mut stream);
            let short = answer(topic, 0.9, stream.random_range(25..35), &mut stream);
            let long = answer(topic, 0.0, stream.random_range(60..90), &mut stream);
            let scores = rewards(&scorer, &[episode(&asked, &short)?, episode(&asked, &long)?])?;
            right += usize::from(scores[0] > scores[1]);
        }
        figures.push((format!("gold of {name}"), mean(&earned)));
        figures.push((format!("pairs of {name}"), right as f64 / PAIRS as f64));
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gold_by_hand() {
        // Three words of thirty, each said twice; and one of the topic beside one of another.
        assert!((gold(1, "t1w0 t1w1 t1w2 t1w0 t1w1 t1w2") - (0.1 - 0.5)).abs() < 1e-12);
        assert!((gold(1, "t1w0 t2w0") - 1.0 / 30.0).abs() < 1e-12);
    }
}
