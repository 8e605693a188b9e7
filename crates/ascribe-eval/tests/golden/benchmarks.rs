//! Published benchmarks against their repositories.

use std::collections::BTreeMap;

use ascribe_eval::bench::{
    MissingSubsets, PickTies, REWARDBENCH_SECTIONS, StepReduction, StyledPair, majority, process_f1, rewardbench,
    rm_bench, style_matrix, weighted_majority,
};
use ascribe_eval::{Bootstrap, pass_at_k};
use ascribe_testkit::golden::{self, Case, close, require_pending};

use crate::{TOLERANCE, sections, size};

const NAME: &str = "metrics/benchmark_scores.json";

#[test]
fn golden_benchmarks() {
    for (section, cases) in sections(&golden::open(NAME)) {
        match section.as_str() {
            "rewardbench" => check_rewardbench(&cases),
            "rm_bench" => check_rm_bench(&cases),
            "processbench" => cases.items().iter().for_each(check_process),
            "votes" => cases.items().iter().for_each(check_votes),
            "pass_at_k" => {
                for case in cases.items() {
                    let [n, c, k] = ["n", "c", "k"].map(|key| size(&case.get(key)));
                    let got = pass_at_k(n, c, k).expect("a chance");
                    close(&case.name(), &[got], &[case.get("pass_at_k").number()], TOLERANCE);
                }
            }
            other => require_pending(NAME, other),
        }
    }
}

fn check_rewardbench(case: &Case) {
    let counts = case.get("example_counts");
    let mapping = case.get("subset_mapping");
    for (section, subsets) in REWARDBENCH_SECTIONS {
        let names: Vec<String> = mapping.get(section).items().iter().map(Case::text).collect();
        assert_eq!(subsets.iter().map(|(name, _)| *name).collect::<Vec<_>>(), names, "{section}");
        assert!(subsets.iter().all(|&(name, n)| counts.get(name).number() == f64::from(n)), "{section}");
    }
    let given = case.get("subset_accuracy");
    let accuracies: BTreeMap<String, f64> =
        given.keys().into_iter().map(|name| (name.clone(), given.get(&name).number())).collect();
    let scores = rewardbench(&accuracies, MissingSubsets::Refuse).expect("scores");
    for (section, score) in scores.sections {
        let expected = case.get("section_scores").get(section).number();
        close(section, &[score.expect("a score")], &[expected], TOLERANCE);
    }
}

fn check_rm_bench(case: &Case) {
    let three = |case: Case| <[f64; 3]>::try_from(case.numbers()).expect("three styles");
    let pairs: Vec<StyledPair> = case
        .get("results")
        .items()
        .iter()
        .map(|row| StyledPair {
            domain: row.get("domain").text(),
            chosen: three(row.get("score_chosen")),
            rejected: three(row.get("score_rejected")),
        })
        .collect();
    let (bench, expected) = (rm_bench(&pairs).expect("scores"), case.get("total"));
    for key in expected.keys() {
        let got = match key.as_str() {
            "hard_acc" => bench.hard,
            "normal_acc" => bench.normal,
            "easy_acc" => bench.easy,
            "total_avg_acc" => bench.total,
            domain => bench.domains[domain].mean,
        };
        close(&expected.get(&key).name(), &[got], &[expected.get(&key).number()], TOLERANCE);
    }
    let (matrix, expected) = (style_matrix(&pairs).expect("a matrix"), case.get("without_domain"));
    let numbers = ["hard_acc", "normal_acc", "easy_acc"].map(|key| expected.get(key).number());
    close(&expected.name(), &[matrix.hard, matrix.normal, matrix.easy], &numbers, TOLERANCE);
}

/// The file is in percent.
fn check_process(case: &Case) {
    let predictions: Vec<Option<i64>> =
        case.get("predictions").items().iter().map(|prediction| prediction.json().as_i64()).collect();
    let scores = process_f1(&predictions, &case.get("labels").integers(), &Bootstrap::NONE).expect("scores");
    let got = [scores.accuracy_error, scores.accuracy_correct, scores.f1].map(|estimate| 100.0 * estimate.value);
    let expected = ["error_accuracy", "correct_accuracy", "f1"].map(|key| case.get(key).number());
    close(&case.name(), &got, &expected, TOLERANCE);
}

fn check_votes(case: &Case) {
    let answers: Vec<String> = case.get("answers").items().iter().map(Case::text).collect();
    let answers: Vec<Option<&str>> = answers.iter().map(|answer| Some(answer.as_str())).collect();
    let steps: Vec<Vec<f64>> = case.get("step_scores").items().iter().map(Case::numbers).collect();
    for key in case.keys() {
        let reduction = match key.as_str() {
            "answers" | "step_scores" => continue,
            "majority_vote" => {
                let winner = majority(&answers, answers.len()).expect("a vote");
                assert_eq!(winner, Some(case.get(&key).text().as_str()), "{case}");
                continue;
            }
            "min" => StepReduction::Min,
            "prod" => StepReduction::Product,
            "last" => StepReduction::Last,
            other => {
                require_pending(NAME, &format!("votes: {other}"));
                continue;
            }
        };
        let scores: Vec<f64> = steps.iter().map(|steps| reduction.of(steps).expect("a score")).collect();
        let expected = case.get(&key);
        close(&expected.name(), &scores, &expected.get("scores").numbers(), TOLERANCE);
        let vote = weighted_majority(&answers, &scores).expect("a vote");
        assert_eq!(vote, Some(expected.get("weighted_vote").text().as_str()), "{expected}");
        // The best of all by score is the answer whose own pick has outcome 1.
        let boxed = expected.get("best_of_n").text();
        let is_it: Vec<f64> = answers
            .iter()
            .map(|answer| f64::from(u8::from(boxed == format!("\\boxed{{{}}}", answer.unwrap_or_default()))))
            .collect();
        let best = ascribe_eval::bench::best_of_k(&scores, &is_it, scores.len(), PickTies::First).expect("a best");
        close(&expected.name(), &[best], &[1.0], TOLERANCE);
    }
}
