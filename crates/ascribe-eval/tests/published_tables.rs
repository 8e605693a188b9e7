//! Published tables: RewardMATH with RewardBench's math subset, GSM8K's example solutions, and HH-RLHF, against
//! their figures.
//!
//! `ASCRIBE_SHARED_DATA` names the folder that holds `rewardmath`, `gsm8k` and `hh-rlhf`; without that variable the
//! tables are
//! left out, and the test says so.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::PathBuf;

use ascribe_eval::bench::{OneToMany, StepReduction, Unparsed, one_to_many, pairwise_one_to_many};
use ascribe_eval::pairs::{Ties, length_baseline, pair_accuracy};
use ascribe_eval::rank::{Chance, fleiss_kappa};
use ascribe_eval::{Attempts, Bootstrap, compare, mean_pass_at_k};
use flate2::read::GzDecoder;
use serde_json::Value;

/// The text of a file below the folder, or nothing where no folder is named.
#[allow(clippy::print_stdout)]
fn text(name: &str) -> Option<String> {
    let Some(folder) = std::env::var_os("ASCRIBE_SHARED_DATA") else {
        println!("left out: ASCRIBE_SHARED_DATA is not set");
        return None;
    };
    let path = PathBuf::from(folder).join(name);
    let file = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut text = String::new();
    GzDecoder::new(BufReader::new(file)).read_to_string(&mut text).expect("gzip of UTF-8 text");
    Some(text)
}

fn table(name: &str) -> Option<Vec<Value>> {
    Some(serde_json::from_str(&text(&format!("rewardmath/{name}.json.gz"))?).expect("JSON"))
}

fn lines(name: &str) -> Option<Vec<Value>> {
    Some(text(name)?.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect())
}

fn list<'a>(row: &'a Value, key: &str) -> &'a [Value] {
    row[key].as_array().unwrap_or_else(|| panic!("no list `{key}`"))
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("a list").iter().map(|number| number.as_f64().expect("a number")).collect()
}

/// The correct solution is the one that a human wrote and GPT-4 rewrote; all others are wrong.
fn problems(rows: &[Value], score: impl Fn(&Value) -> f64) -> Vec<OneToMany> {
    let problem = |row: &Value| {
        let mut problem = OneToMany { correct: Vec::new(), wrong: Vec::new() };
        for (source, value) in list(row, "solution_reference").iter().zip(list(row, "score")) {
            let side = if source == "human_to_GPT-4" { &mut problem.correct } else { &mut problem.wrong };
            side.push(score(value));
        }
        assert_eq!((problem.correct.len(), problem.wrong.len()), (1, 9));
        problem
    };
    rows.iter().map(problem).collect()
}

#[track_caller]
fn check(got: f64, expected: f64) {
    assert!((got - expected).abs() < 1e-6, "{got} {expected}");
}

#[test]
fn reward_models_on_rewardmath() {
    for (name, right, mrr, pairs) in
        [("internlm2_reward", 180.0, 0.551_713, 0.759_834), ("Eurus-RM_reward", 82.0, 0.383_027, 0.631_930)]
    {
        let Some(rows) = table(name) else { return };
        let scores = one_to_many(&problems(&rows, |score| score.as_f64().unwrap()), &Bootstrap::default()).unwrap();
        check(scores.accuracy.value, right / 483.0);
        check(scores.mrr.value, mrr);
        check(scores.pair_accuracy, pairs);
        assert!(scores.accuracy.n == 483 && !scores.accuracy.excludes(right / 483.0));
    }
}

#[test]
fn math_shepherd_on_rewardmath_by_step_reduction() {
    let Some(rows) = table("Math_Shepherd_reward") else { return };
    for (reduction, right, mrr) in [
        (StepReduction::Last, 88.0, 0.388_345),
        (StepReduction::Min, 74.0, 0.346_686),
        (StepReduction::Product, 83.0, 0.346_792),
        (StepReduction::Max, 19.0, 0.218_233),
        (StepReduction::GeometricMean, 76.0, 0.336_121),
        (StepReduction::Mean, 73.0, 0.327_777),
        (StepReduction::MeanLogit, 71.0, 0.319_227),
        (StepReduction::MeanOdds, 45.0, 0.263_561),
    ] {
        let problems = problems(&rows, |steps| reduction.of(&numbers(steps)).unwrap());
        let scores = one_to_many(&problems, &Bootstrap::NONE).unwrap();
        check(scores.accuracy.value, right / 483.0);
        check(scores.mrr.value, mrr);
        let with_ties = if reduction == StepReduction::Max { 32.0 } else { right };
        check(scores.accuracy_with_ties.value, with_ties / 483.0);
    }
}

#[test]
fn a_pairwise_judge_on_rewardmath() {
    let Some(rows) = table("gpt4_pairwise_reward") else { return };
    let verdict = |(score, chosen): (&Value, &Value)| score.as_str().map(|_| score == chosen);
    let verdicts: Vec<Vec<Option<bool>>> = rows
        .iter()
        .map(|row| list(row, "score").iter().zip(list(row, "chosen_position")).map(verdict).collect())
        .collect();
    let (scores, unparsed) = pairwise_one_to_many(&verdicts, Unparsed::Loss, &Bootstrap::NONE).unwrap();
    check(scores.accuracy.value, 144.0 / 483.0);
    check(scores.mrr.value, 0.519_168);
    check(scores.pair_accuracy, 3367.0 / 4347.0);
    assert_eq!(unparsed, 35);
    assert!(pairwise_one_to_many(&verdicts, Unparsed::Refuse, &Bootstrap::NONE).is_err());
}

/// The same model looks far better against a single wrong solution: 422 of 447 by product, 83 of 483 against nine.
#[test]
fn math_shepherd_one_to_one() {
    let Some(rows) = table("rewardbench_Math_Shepherd") else { return };
    for (reduction, right) in [
        (StepReduction::Min, 371.0),
        (StepReduction::Max, 307.0),
        (StepReduction::Product, 422.0),
        (StepReduction::GeometricMean, 364.0),
        (StepReduction::Mean, 363.0),
        (StepReduction::MeanLogit, 361.0),
        (StepReduction::MeanOdds, 351.0),
        (StepReduction::Last, 294.0),
    ] {
        let mut pairs: BTreeMap<String, [Option<f64>; 2]> = BTreeMap::new();
        for row in &rows {
            let score = reduction.of(&numbers(&row["output"]["step_scores"])).unwrap();
            let side = usize::from(row["solution_type"] == "rejected");
            pairs.entry(row["problem_id"].to_string()).or_default()[side] = Some(score);
        }
        let side = |side: usize| pairs.values().map(|pair| pair[side].unwrap()).collect::<Vec<f64>>();
        let accuracy = pair_accuracy(&side(0), &side(1), Ties::Strict, &Bootstrap::NONE).unwrap();
        check(accuracy.accuracy.value, right / 447.0);
        assert_eq!((accuracy.accuracy.n, accuracy.ties), (447, 0));
    }
}

/// Lengths in Unicode scalar values; bytes would give 1023 and 10.
#[test]
fn length_on_harmless_pairs() {
    let Some(rows) = lines("hh-rlhf/harmless-base-test.jsonl.gz") else { return };
    let side = |key: &str| rows.iter().map(|row| row[key].as_str().unwrap()).collect::<Vec<_>>();
    let (baseline, identical) = length_baseline(&side("chosen"), &side("rejected"), &Bootstrap::NONE).unwrap();
    check(baseline.accuracy.value, 1025.0 / 2312.0);
    assert_eq!((baseline.accuracy.n, baseline.ties, identical), (2312, 11, 0));
    let letters = |key: &str| side(key).iter().map(|text| text.chars().count() as f64).collect::<Vec<_>>();
    for (ties, expected) in [(Ties::Half, 0.445_718), (Ties::Loose, 0.448_097)] {
        let accuracy = pair_accuracy(&letters("chosen"), &letters("rejected"), ties, &Bootstrap::NONE).unwrap();
        assert!((accuracy.accuracy.value - expected).abs() < 5e-7, "{ties:?}: {}", accuracy.accuracy.value);
    }
}

#[test]
fn four_systems_on_gsm8k() {
    let Some(rows) = lines("gsm8k/example_model_solutions.jsonl.gz") else { return };
    let systems = ["6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"];
    let correct =
        systems.map(|system| rows.iter().map(|row| row[system]["is_correct"].as_bool().unwrap()).collect::<Vec<_>>());
    let right = correct.each_ref().map(|answers| answers.iter().filter(|&&right| right).count());
    assert_eq!((right, rows.len()), ([286, 515, 458, 742], 1319));
    let solved: Vec<usize> = (0..rows.len()).map(|row| correct.iter().filter(|answers| answers[row]).count()).collect();
    let problems: Vec<Attempts> = solved.iter().map(|&correct| Attempts { samples: 4, correct }).collect();
    for (k, expected) in [(1, 0.379_264_594_4), (2, 0.532_726_813_2), (3, 0.617_513_267_6), (4, 0.672_479_150_9)] {
        check(mean_pass_at_k(&problems, k, &Bootstrap::NONE).unwrap().value, expected);
    }
    let counts: Vec<Vec<u32>> = solved.iter().map(|&right| vec![right as u32, 4 - right as u32]).collect();
    check(fleiss_kappa(&counts, Chance::Shares, &Bootstrap::NONE).unwrap().value, 0.348_142_519_1);
    let paired = compare(&correct[1], &correct[2], &Bootstrap::NONE).unwrap();
    assert_eq!((paired.wins, paired.losses), (209, 152));
    assert!((paired.p - 0.003_150_656_9).abs() < 1e-9);
}
