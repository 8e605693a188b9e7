//! Ranking of items for a query.
//!
//! ```text
//! DCG = sum over ranks up to k of gain(rel)/log2(rank + 1),  NDCG = DCG over that of the best order
//! P@k = relevant among the first k, over k;  R@k over all relevant;  hit@k: any;  RR = 1/rank of the first relevant
//! AP = mean over relevant items of the precision at their rank
//! ```
//! K. Jarvelin and J. Kekalainen, ACM TOIS 20, 2002. Items of equal score stand in a uniformly random order, and the
//! value
//! is its expectation (F. McSherry and M. Najork, ECIR 2008), or they keep the order given.

use crate::error::{finite, option, same_length, within};
use crate::estimate::Averaged;
use crate::stats::sum::{number, sum};
use crate::{Bootstrap, EvalError};

/// What an item of relevance `rel` is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gain {
    /// `2^rel - 1`.
    #[default]
    Exponential,
    /// `rel`.
    Linear,
}

/// The order of equal scores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OrderTies {
    /// All orders alike: the expected value.
    #[default]
    Expected,
    /// The order given.
    Input,
}

/// Which items a query retrieves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retrieved {
    /// All.
    #[default]
    All,
    /// Those with a score above 0, as torchmetrics has it.
    PositiveOnly,
}

/// The items of one query.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// Relevance of each item, at least 0; above 0 is relevant.
    pub relevance: Vec<f64>,
    /// Score of each item; the highest is shown first.
    pub scores: Vec<f64>,
}

/// A measure of one ranking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retrieval {
    /// Normalized discounted cumulative gain of the first k.
    Ndcg {
        /// Ranks that count.
        k: usize,
        /// What an item is worth.
        gain: Gain,
    },
    /// Precision of the first k, divided by k.
    Precision {
        /// Ranks that count.
        k: usize,
    },
    /// Share of the relevant items among the first k.
    Recall {
        /// Ranks that count.
        k: usize,
    },
    /// Whether a relevant item is among the first k.
    Hit {
        /// Ranks that count.
        k: usize,
    },
    /// Reciprocal rank of the first relevant item.
    ReciprocalRank,
    /// Average precision.
    AveragePrecision,
}

impl Retrieval {
    /// The value of one query; `None` without a relevant item. In [0, 1]; `ties` orders equal scores; O(n log n).
    ///
    /// # Errors
    /// When the lengths differ, there is no item, a value is NaN or infinite, a relevance is negative or too large
    /// for its gain, or k is 0.
    pub fn of(self, query: &Query, ties: OrderTies, retrieved: Retrieved) -> Result<Option<f64>, EvalError> {
        finite("scores", &query.scores)?;
        same_length("relevance", query.scores.len(), query.relevance.len())?;
        within("relevance", &query.relevance, "at least 0", |relevance| relevance >= 0.0)?;
        if let Self::Ndcg { k, .. } | Self::Precision { k } | Self::Recall { k } | Self::Hit { k } = self {
            option("k", "at least 1", k as f64, k >= 1)?;
        }
        if let Self::Ndcg { gain: Gain::Exponential, .. } = self {
            let rule = "at most 1000, where a gain is 2^relevance; use linear gains";
            within("relevance", &query.relevance, rule, |relevance| relevance <= 1000.0)?;
        }
        let relevant = query.relevance.iter().filter(|&&relevance| relevance > 0.0).count() as f64;
        if relevant == 0.0 {
            return Ok(None);
        }
        let blocks = blocks(query, ties, retrieved);
        Ok(Some(match self {
            Self::Ndcg { k, gain } => {
                let of = |relevance: f64| if gain == Gain::Linear { relevance } else { relevance.exp2() - 1.0 };
                let mut ideal: Vec<f64> = query.relevance.iter().map(|&relevance| of(relevance)).collect();
                ideal.sort_by(|a, b| b.total_cmp(a));
                let best: Vec<(usize, f64)> = ideal.iter().map(|&gain| (1, gain)).collect();
                let gains =
                    blocks.iter().map(|block| (block.len(), block.iter().map(|&relevance| of(relevance)).sum::<f64>()));
                discounted(&gains.collect::<Vec<_>>(), k) / discounted(&best, k)
            }
            Self::Precision { k } => found(&blocks, k) / k as f64,
            Self::Recall { k } => found(&blocks, k) / relevant,
            Self::Hit { k } => {
                1.0 - sum(first_relevant(&blocks).iter().skip(k).map(|&(_, chance)| chance)) - never(&blocks)
            }
            Self::ReciprocalRank => sum(first_relevant(&blocks).iter().map(|&(rank, chance)| chance / rank as f64)),
            Self::AveragePrecision => average_precision(&blocks),
        }))
    }
}

/// The mean of a measure over queries; those without a relevant item are skipped and counted. The interval resamples
/// queries. In [0, 1]; `ties` orders equal scores; O(n log n + B queries).
///
/// # Errors
/// As [`Retrieval::of`], when there is no query, and when none has a relevant item.
pub fn retrieval(
    measure: Retrieval,
    queries: &[Query],
    ties: OrderTies,
    retrieved: Retrieved,
    bootstrap: &Bootstrap,
) -> Result<Averaged, EvalError> {
    crate::error::not_empty("the queries", queries)?;
    let values: Result<Vec<Option<f64>>, EvalError> =
        queries.iter().map(|query| measure.of(query, ties, retrieved)).collect();
    Averaged::new(&values?, bootstrap, "a mean over queries", "no query has a relevant item")
}

/// Relevances of items of equal score, best first.
fn blocks(query: &Query, ties: OrderTies, retrieved: Retrieved) -> Vec<Vec<f64>> {
    let scores = &query.scores;
    let mut order: Vec<usize> =
        (0..scores.len()).filter(|&item| retrieved == Retrieved::All || scores[item] > 0.0).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let equal = |a: &usize, b: &usize| ties == OrderTies::Expected && scores[*a] == scores[*b];
    order.chunk_by(equal).map(|block| block.iter().map(|&item| query.relevance[item]).collect()).collect()
}

/// Gains of blocks, each spread evenly over its ranks, with discounts up to rank k.
fn discounted(blocks: &[(usize, f64)], k: usize) -> f64 {
    let mut rank = 0;
    let mut total = Vec::with_capacity(blocks.len());
    for &(size, gain) in blocks {
        let discounts = (rank + 1..=(rank + size).min(k)).map(|rank| 1.0 / (rank as f64 + 1.0).log2());
        total.push(gain / size as f64 * sum(discounts));
        rank += size;
    }
    sum(total)
}

/// Expected number of relevant items among the first k.
fn found(blocks: &[Vec<f64>], k: usize) -> f64 {
    let mut rank = 0;
    let mut total = 0.0;
    for block in blocks {
        let relevant = block.iter().filter(|&&relevance| relevance > 0.0).count() as f64;
        let counted = block.len().min(k.saturating_sub(rank)) as f64;
        total += relevant * counted / block.len() as f64;
        rank += block.len();
    }
    total
}

/// The chance that the first relevant item stands at each rank, from rank 1 on.
fn first_relevant(blocks: &[Vec<f64>]) -> Vec<(usize, f64)> {
    let mut chances = Vec::new();
    let mut none_yet = 1.0;
    for block in blocks {
        let mut relevant = block.iter().filter(|&&relevance| relevance > 0.0).count() as f64;
        let mut left = block.len() as f64;
        for _ in block {
            let chance = if none_yet > 0.0 { relevant / left } else { 0.0 };
            chances.push((chances.len() + 1, none_yet * chance));
            none_yet *= 1.0 - chance;
            left -= 1.0;
            // Given that none was relevant so far, all the relevant ones are left.
            relevant = relevant.min(left);
        }
    }
    chances
}

/// The chance that no relevant item is retrieved: 0 or 1.
fn never(blocks: &[Vec<f64>]) -> f64 {
    number(blocks.iter().flatten().all(|&relevance| relevance <= 0.0))
}

/// Expected average precision: over the relevant items that are retrieved; 0 without any.
fn average_precision(blocks: &[Vec<f64>]) -> f64 {
    let (mut rank, mut before, mut total) = (0, 0.0, 0.0);
    for block in blocks {
        let relevant = block.iter().filter(|&&relevance| relevance > 0.0).count() as f64;
        let size = block.len() as f64;
        for place in 0..block.len() {
            // An item here is relevant with r/n; the others of its block before it are relevant with (r-1)/(n-1).
            let others = if size > 1.0 { place as f64 * (relevant - 1.0) / (size - 1.0) } else { 0.0 };
            total += relevant / size * (before + others + 1.0) / (rank + place + 1) as f64;
        }
        before += relevant;
        rank += block.len();
    }
    if before > 0.0 { total / before } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(relevance: &[f64], scores: &[f64]) -> Query {
        Query { relevance: relevance.to_vec(), scores: scores.to_vec() }
    }

    fn of(measure: Retrieval, query: &Query, ties: OrderTies) -> f64 {
        measure.of(query, ties, Retrieved::All).unwrap().unwrap()
    }

    /// Relevant at ranks 2 and 3 of four: RR 1/2, AP (1/2 + 2/3)/2, DCG 1/log2 3 + 1/2 of 1 + 1/log2 3.
    #[test]
    fn one_query_by_hand() {
        let query = query(&[0.0, 1.0, 1.0, 0.0], &[0.9, 0.8, 0.7, 0.6]);
        let value = |measure| of(measure, &query, OrderTies::Expected);
        assert_eq!(value(Retrieval::ReciprocalRank), 0.5);
        assert!((value(Retrieval::AveragePrecision) - 7.0 / 12.0).abs() < 1e-12);
        assert_eq!((value(Retrieval::Precision { k: 2 }), value(Retrieval::Recall { k: 2 })), (0.5, 0.5));
        assert_eq!((value(Retrieval::Hit { k: 1 }), value(Retrieval::Hit { k: 2 })), (0.0, 1.0));
        let second = 1.0 / 3_f64.log2();
        let ndcg = value(Retrieval::Ndcg { k: 4, gain: Gain::Exponential });
        assert!((ndcg - (second + 0.5) / (1.0 + second)).abs() < 1e-12);
        assert!((ndcg - value(Retrieval::Ndcg { k: 4, gain: Gain::Linear })).abs() < 1e-12);
    }

    /// One relevant among two equal items: every measure is the mean over both orders.
    #[test]
    fn ties_are_means_over_orders() {
        let query = query(&[1.0, 0.0], &[0.5, 0.5]);
        let value = |measure| of(measure, &query, OrderTies::Expected);
        assert_eq!((value(Retrieval::ReciprocalRank), value(Retrieval::AveragePrecision)), (0.75, 0.75));
        assert_eq!((value(Retrieval::Hit { k: 1 }), value(Retrieval::Precision { k: 1 })), (0.5, 0.5));
        assert_eq!(of(Retrieval::Hit { k: 1 }, &query, OrderTies::Input), 1.0);
        let ndcg = value(Retrieval::Ndcg { k: 1, gain: Gain::Linear });
        assert!((ndcg - 0.5).abs() < 1e-12);
    }

    #[test]
    fn queries_without_a_relevant_item_are_skipped() {
        let queries = [query(&[1.0], &[0.5]), query(&[0.0], &[0.5])];
        let of = |queries: &[Query]| {
            retrieval(Retrieval::ReciprocalRank, queries, OrderTies::Expected, Retrieved::All, &Bootstrap::NONE)
        };
        let mean = of(&queries).unwrap();
        assert_eq!((mean.mean.value, mean.skipped), (1.0, 1));
        assert!(matches!(of(&queries[1..]), Err(EvalError::Degenerate { .. })));
        assert!(matches!(of(&[]), Err(EvalError::Empty { .. })));
        assert!(of(&[query(&[-1.0], &[0.5])]).is_err() && of(&[query(&[1.0], &[f64::NAN])]).is_err());
        let ndcg = |relevance: f64, gain| {
            Retrieval::Ndcg { k: 1, gain }.of(&query(&[relevance], &[0.5]), OrderTies::Expected, Retrieved::All)
        };
        // 2^1100 is beyond f64.
        assert!(ndcg(1100.0, Gain::Exponential).unwrap_err().to_string().contains("use linear gains"));
        assert_eq!(ndcg(1100.0, Gain::Linear).unwrap(), Some(1.0));
        let zero = Retrieval::Hit { k: 0 }.of(&queries[0], OrderTies::Expected, Retrieved::All);
        assert!(matches!(zero, Err(EvalError::Range { name: "k", .. })));
    }
}
