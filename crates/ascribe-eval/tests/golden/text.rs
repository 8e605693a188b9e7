//! ROUGE against rouge-score, rankings of items against scikit-learn and torchmetrics.

use ascribe_eval::text::{Gain, OrderTies, Query, Retrieval, Retrieved, RougeKind, Stem};
use ascribe_testkit::golden::{self, Case, close, require_pending};

use crate::{TOLERANCE, sections, size};

/// torchmetrics computes in f32.
const SINGLE: f64 = 1e-6;

#[test]
fn golden_rouge() {
    let name = "metrics/rouge.json";
    for (section, cases) in sections(&golden::open(name)) {
        if section != "cases" {
            require_pending(name, &section);
            continue;
        }
        for case in cases.items() {
            let (target, prediction) = (case.get("target").text(), case.get("prediction").text());
            for (key, stem) in [("plain", Stem::Plain), ("stemmed", Stem::Porter)] {
                for measure in case.get(key).keys() {
                    let kind = match measure.as_str() {
                        "rouge1" => RougeKind::N(1),
                        "rouge2" => RougeKind::N(2),
                        "rougeL" => RougeKind::L,
                        "rougeLsum" => RougeKind::Lsum,
                        other => {
                            require_pending(name, &format!("cases: {other}"));
                            continue;
                        }
                    };
                    let got = kind.score(&target, &prediction, stem).expect("a score");
                    let expected = case.get(key).get(&measure);
                    let numbers = ["precision", "recall", "f"].map(|key| expected.get(key).number());
                    close(&expected.name(), &[got.precision, got.recall, got.f], &numbers, TOLERANCE);
                }
            }
        }
    }
}

#[test]
fn golden_ranking() {
    let name = "metrics/ranking.json";
    for (section, cases) in sections(&golden::open(name)) {
        match section.as_str() {
            "cases" => cases.items().iter().for_each(|case| check_ranking(name, case)),
            "ties" => check_ties(&cases),
            other => require_pending(name, other),
        }
    }
}

fn value(measure: Retrieval, query: &Query, retrieved: Retrieved) -> f64 {
    measure.of(query, OrderTies::Expected, retrieved).expect("a value").expect("a relevant item")
}

fn check_ranking(file: &str, case: &Case) {
    let scores = case.get("scores").numbers();
    let graded = Query { relevance: case.get("relevance").numbers(), scores: scores.clone() };
    let binary = Query { relevance: case.get("binary_relevance").numbers(), scores };
    let all = graded.scores.len();
    let torch = |measure| value(measure, &binary, Retrieved::PositiveOnly);
    let ndcg = |k, gain| value(Retrieval::Ndcg { k, gain }, &graded, Retrieved::All);
    for key in case.keys() {
        let (got, tolerance) = match key.as_str() {
            "relevance" | "scores" | "binary_relevance" => continue,
            // The DCG itself is the NDCG times that of the best order.
            "dcg_linear_gain" => {
                let mut best = graded.relevance.clone();
                best.sort_by(|a, b| b.total_cmp(a));
                let discounted = best.iter().enumerate().map(|(rank, gain)| gain / (rank as f64 + 2.0).log2());
                (ndcg(all, Gain::Linear) * discounted.sum::<f64>(), TOLERANCE)
            }
            "ndcg_linear_gain" => (ndcg(all, Gain::Linear), TOLERANCE),
            "ndcg_exponential_gain" => (ndcg(all, Gain::Exponential), TOLERANCE),
            "ndcg_torchmetrics" => (ndcg(all, Gain::Linear), SINGLE),
            "mrr" => (torch(Retrieval::ReciprocalRank), SINGLE),
            "map" => (torch(Retrieval::AveragePrecision), SINGLE),
            "at_k" => {
                for row in case.get("at_k").items() {
                    let k = size(&row.get("k"));
                    close(&row.name(), &[ndcg(k, Gain::Linear)], &[row.get("ndcg").number()], TOLERANCE);
                    let reciprocal = torch(Retrieval::ReciprocalRank);
                    let got = [
                        torch(Retrieval::Precision { k }),
                        torch(Retrieval::Recall { k }),
                        torch(Retrieval::Hit { k }),
                        if reciprocal * k as f64 >= 1.0 - 1e-9 { reciprocal } else { 0.0 },
                    ];
                    let expected = ["precision", "recall", "hit", "rr"].map(|key| row.get(key).number());
                    close(&row.name(), &got, &expected, SINGLE);
                }
                continue;
            }
            other => {
                require_pending(file, &format!("cases: {other}"));
                continue;
            }
        };
        close(&case.get(&key).name(), &[got], &[case.get(&key).number()], tolerance);
    }
}

fn check_ties(case: &Case) {
    let (mut relevance, mut scores) = (case.get("relevance").numbers(), case.get("scores").numbers());
    let measure = Retrieval::Ndcg { k: scores.len(), gain: Gain::Linear };
    let query = Query { relevance: relevance.clone(), scores: scores.clone() };
    let averaged = case.get("ndcg_ties_averaged").number();
    close(&case.name(), &[value(measure, &query, Retrieved::All)], &[averaged], TOLERANCE);
    // Where the library ignores ties, it takes the last of equal items first.
    relevance.reverse();
    scores.reverse();
    let reversed = Query { relevance, scores };
    let got = measure.of(&reversed, OrderTies::Input, Retrieved::All).expect("a value").expect("a relevant item");
    close(&case.name(), &[got], &[case.get("ndcg_ignore_ties").number()], TOLERANCE);
}
