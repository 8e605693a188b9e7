//! Domain knowledge in reward models: named features of a summary of opinions, beside its raw words.
//!
//! Reviews say of six aspects of a product what they are like. A summary gives some of these opinions, makes some up, and is
//! padded with words. Preferences go by how many aspects are covered, how much is made up and how short it is; one in ten is
//! turned. What is made up is one of four words that no review has, or an aspect that other reviews speak of: then no word gives
//! it away, but the lack of it in the reviews.

use anyhow::Result;
use ascribe::core::{Seed, Stream};
use ascribe::reward::losses::BradleyTerryConfig;
use ascribe::reward::{
    Direction, Extract, Feature, FeatureRange, FeatureReward, NetworkConfig, aspect_coverage, conciseness,
    supported_words,
};
use rand::RngExt;

use crate::heads::{Head, Pair, Sample, Training, Widths, train};
use crate::row::{Claim, Figures, Row};

const ASPECTS: [&str; 12] = [
    "battery", "screen", "camera", "speaker", "keyboard", "price", "weight", "design", "software", "support",
    "charger", "storage",
];
const OPINIONS: [&str; 8] = ["great", "awful", "decent", "fragile", "bright", "noisy", "cheap", "solid"];
const MADE_UP: [&str; 4] = ["waterproof", "wireless", "foldable", "recycled"];
const PADDING: [&str; 4] = ["so", "oh", "ah", "um"];
/// Aspects that the reviews of a product speak of.
const SPOKEN_OF: usize = 6;
const LONGEST: usize = 40;
const FEW: usize = 100;
const MANY: usize = 940;
const TESTS: usize = 2000;
const TURNED: f64 = 0.1;
const BUCKETS: usize = 256;

/// The claims of domain features.
pub const ROW: Row = Row {
    name: "domain-features",
    paper: "Leveraging Domain Knowledge for Efficient Reward Modelling in RLHF, arXiv:2402.15473",
    setting: "templated reviews of 6 aspects of a product, summaries that cover, make up and pad; 100 or 940 pairs, 10 % of them \
              turned; a logistic reward of three named features, a network of 32 hidden units on them, and a two-layer head on the \
              hashed words of reviews and summary; made up is one of four words that no review has, or, where it is said, an \
              aspect that the reviews at hand do not speak of; accuracy on 2000 pairs",
    seeds: 8,
    claims: &[
        Claim {
            says: "with 940 pairs named features order more pairs than raw words",
            more: "features, 940 pairs",
            less: "words, 940 pairs",
        },
        Claim { says: "and with 100 pairs", more: "features, 100 pairs", less: "words, 100 pairs" },
        Claim {
            says: "named features with 100 pairs are ahead of raw words with 940",
            more: "features, 100 pairs",
            less: "words, 940 pairs",
        },
        Claim {
            says: "with 940 pairs a network on the features, as in the paper, orders more pairs than raw words",
            more: "network, 940 pairs",
            less: "words, 940 pairs",
        },
        Claim { says: "and with 100 pairs", more: "network, 100 pairs", less: "words, 100 pairs" },
        Claim {
            says: "made up of other aspects: with 940 pairs named features order more pairs than raw words",
            more: "features, 940 pairs, other aspects",
            less: "words, 940 pairs, other aspects",
        },
        Claim {
            says: "a network on the features, too",
            more: "network, 940 pairs, other aspects",
            less: "words, 940 pairs, other aspects",
        },
        Claim {
            says: "named features with 100 pairs are ahead of raw words with 940 there",
            more: "features, 100 pairs, other aspects",
            less: "words, 940 pairs, other aspects",
        },
    ],
    tried: "A logistic reward, and a network as in the paper; made-up words that give themselves away, and such as only the \
            reviews can tell. Where they give themselves away, 940 pairs suffice to learn the few words one by one.",
    run,
};

/// What reviews say, and a better and a worse summary.
struct Compared {
    reviews: String,
    chosen: String,
    rejected: String,
}

/// What is made up: words that no review has, or aspects that the reviews at hand do not speak of.
#[derive(Clone, Copy, PartialEq)]
enum MadeUp {
    Words,
    OtherAspects,
}

/// A summary and what it is worth; what is made up is drawn from `others`.
fn summary(said: &[(&str, &str)], others: &[&str], stream: &mut Stream) -> (String, f64) {
    let (covered, made_up, padding): (usize, usize, usize) =
        (stream.random_range(1..=SPOKEN_OF), stream.random_range(0..4), stream.random_range(0..20));
    let mut words = Vec::new();
    for (aspect, opinion) in &said[..covered] {
        words.extend([*aspect, *opinion]);
    }
    words.extend((0..made_up).map(|_| others[stream.random_range(0..others.len())]));
    words.extend((0..padding).map(|_| PADDING[stream.random_range(0..PADDING.len())]));
    let worth = covered as f64 - 1.2 * made_up as f64 - 0.15 * padding as f64;
    (words.join(" "), worth)
}

fn compared(turned: f64, made_up: MadeUp, stream: &mut Stream) -> Compared {
    let mut left = ASPECTS.to_vec();
    let mut said = Vec::with_capacity(SPOKEN_OF);
    for _ in 0..SPOKEN_OF {
        let aspect = left.swap_remove(stream.random_range(0..left.len()));
        said.push((aspect, OPINIONS[stream.random_range(0..OPINIONS.len())]));
    }
    let reviews = said.iter().map(|(aspect, opinion)| format!("the {aspect} is {opinion}.")).collect::<Vec<_>>();
    let others: &[&str] = if made_up == MadeUp::Words { &MADE_UP } else { &left };
    let ((one, worth), (other, least)) = (summary(&said, others, stream), summary(&said, others, stream));
    let (chosen, rejected) =
        if (worth > least) != (stream.random::<f64>() < turned) { (one, other) } else { (other, one) };
    Compared { reviews: reviews.join(" "), chosen, rejected }
}

/// A share of which more is better.
fn feature(name: &'static str, extract: Box<Extract>) -> Feature {
    Feature { name, range: FeatureRange { low: 0.0, high: 1.0 }, direction: Direction::Higher, extract }
}

/// The share of the aspects that reviews speak of.
fn coverage(reviews: &str, summary: &str) -> f64 {
    let terms: Vec<&str> = ASPECTS.into_iter().filter(|aspect| reviews.contains(*aspect)).collect();
    // Where no aspect is spoken of there is nothing to cover.
    aspect_coverage(&terms, summary).unwrap_or(0.0)
}

/// The three named features.
fn features() -> Vec<Feature> {
    vec![
        feature("coverage", Box::new(coverage)),
        feature("support", Box::new(supported_words)),
        feature("conciseness", Box::new(|_: &str, summary: &str| conciseness(summary, LONGEST).unwrap_or(0.0))),
    ]
}

/// How often each word stands in the reviews and in the summary, by the bucket of its hash.
fn words(reviews: &str, summary: &str) -> Vec<f64> {
    let mut counts = vec![0.0; 2 * BUCKETS];
    for (side, text) in [reviews, summary].into_iter().enumerate() {
        for word in text.split_whitespace() {
            // FNV-1a.
            let hash = word
                .bytes()
                .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
            counts[side * BUCKETS + (hash % BUCKETS as u64) as usize] += 1.0;
        }
    }
    counts
}

fn run(seed: Seed) -> Result<Figures> {
    let mut figures = compare(MadeUp::Words, "", seed)?;
    figures.extend(compare(MadeUp::OtherAspects, ", other aspects", seed.child("other aspects", 0))?);
    Ok(figures)
}

/// Accuracies of the three rewards, with this behind their names.
fn compare(made_up: MadeUp, behind: &str, seed: Seed) -> Result<Figures> {
    let mut stream = seed.stream("pairs", 0);
    let training: Vec<Compared> = (0..MANY).map(|_| compared(TURNED, made_up, &mut stream)).collect();
    let mut stream = seed.stream("tests", 0);
    let tests: Vec<Compared> = (0..TESTS).map(|_| compared(0.0, made_up, &mut stream)).collect();
    let pair = |one: &Compared| -> Pair { [words(&one.reviews, &one.chosen), words(&one.reviews, &one.rejected)] };
    let raw_tests: Vec<Pair> = tests.iter().map(pair).collect();
    let loss = BradleyTerryConfig::default().init()?;
    let accuracy = |reward: &FeatureReward| -> Result<f64> {
        let mut right = 0;
        for test in &tests {
            let better = reward.reward(&test.reviews, &test.chosen)? > reward.reward(&test.reviews, &test.rejected)?;
            right += usize::from(better);
        }
        Ok(right as f64 / TESTS as f64)
    };
    let mut figures = Figures::new();
    for pairs in [FEW, MANY] {
        let part = &training[..pairs];
        let texts: Vec<(&str, &str, &str)> =
            part.iter().map(|one| (one.reviews.as_str(), one.chosen.as_str(), one.rejected.as_str())).collect();
        let logistic = FeatureReward::fit(features(), &texts, 1.0, true)?;
        figures.push((format!("features, {pairs} pairs{behind}"), accuracy(&logistic)?));
        let config = NetworkConfig { seed: seed.child("network", 0), ..NetworkConfig::default() };
        let network = FeatureReward::fit_network(features(), &texts, &config)?;
        figures.push((format!("network, {pairs} pairs{behind}"), accuracy(&network)?));
        let rows: Vec<Sample> =
            part.iter().map(pair).map(|[chosen, rejected]| Sample::pair(&chosen, &rejected)).collect();
        let head = Head::fresh(Widths { inputs: 2 * BUCKETS, hidden: 16, outputs: 1 }, seed.child("head", 0));
        let head = train(head, &loss, &rows, Training { steps: 200, rate: 5e-3, seed })?;
        figures.push((format!("words, {pairs} pairs{behind}"), head.accuracy(&raw_tests)));
    }
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_are_worth_what_they_say() {
        let said = [
            ("battery", "great"),
            ("screen", "awful"),
            ("camera", "solid"),
            ("price", "cheap"),
            ("weight", "solid"),
            ("design", "bright"),
        ];
        let mut stream = Seed(0).stream("summary", 0);
        for _ in 0..50 {
            for others in [MADE_UP, ["speaker", "keyboard", "charger", "storage"]] {
                let (text, worth) = summary(&said, &others, &mut stream);
                let count = |of: &[&str]| text.split(' ').filter(|word| of.contains(word)).count() as f64;
                let covered = count(&said.map(|(aspect, _)| aspect));
                let due = covered - 1.2 * count(&others) - 0.15 * count(&PADDING);
                assert!((worth - due).abs() < 1e-12, "{text}");
            }
        }
    }

    #[test]
    fn other_aspects_are_those_that_the_reviews_lack() {
        let mut stream = Seed(1).stream("pairs", 0);
        for _ in 0..50 {
            let Compared { reviews, chosen, rejected } = compared(0.0, MadeUp::OtherAspects, &mut stream);
            let lacking: Vec<&str> = ASPECTS.into_iter().filter(|aspect| !reviews.contains(aspect)).collect();
            assert_eq!(lacking.len(), ASPECTS.len() - SPOKEN_OF);
            let odd = |text: &str| text.split(' ').filter(|word| lacking.contains(word)).count();
            assert!(odd(&chosen) <= 3 && odd(&rejected) <= 3, "{chosen}; {rejected}");
            assert!(MADE_UP.iter().all(|word| !chosen.contains(word) && !rejected.contains(word)));
        }
    }
}
