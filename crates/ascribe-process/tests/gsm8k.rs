//! The answer checker against the stored verdicts on 5,276 solutions that four systems wrote for GSM8K.
//!
//! `ASCRIBE_SHARED_DATA` names the folder that holds `gsm8k`; without that variable the solutions are left out, and the test
//! says so.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use ascribe_process::{Checker, Extraction, Verdict};
use flate2::read::GzDecoder;
use serde_json::Value;

const SYSTEMS: [&str; 4] = ["6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"];

#[allow(clippy::print_stdout)]
fn rows() -> Option<Vec<Value>> {
    let Some(folder) = std::env::var_os("ASCRIBE_SHARED_DATA") else {
        println!("left out: ASCRIBE_SHARED_DATA is not set");
        return None;
    };
    let path = PathBuf::from(folder).join("gsm8k/example_model_solutions.jsonl.gz");
    let file = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines = BufReader::new(GzDecoder::new(file)).lines();
    Some(lines.map(|line| serde_json::from_str(&line.expect("UTF-8")).expect("JSON")).collect())
}

#[test]
fn every_stored_verdict_is_agreed_with() {
    let Some(rows) = rows() else { return };
    for extraction in [Extraction::Strict, Extraction::Flexible] {
        let checker = Checker { extraction, ..Checker::default() };
        let (mut correct, mut unmarked, mut undecided) = (0, 0, 0);
        for (number, row) in rows.iter().enumerate() {
            let gold = checker.gold(row["ground_truth"].as_str().expect("a text")).expect("a gold answer");
            for system in SYSTEMS {
                let solution = row[system]["solution"].as_str().expect("a text");
                let checked = checker.check(solution, &gold);
                let stored = row[system]["is_correct"].as_bool().expect("a flag");
                assert_eq!(checked.verdict == Verdict::Correct, stored, "row {number}, {system}: {checked:?}");
                correct += usize::from(checked.verdict == Verdict::Correct);
                unmarked += usize::from(checked.verdict == Verdict::NoAnswer);
                undecided += usize::from(checked.verdict == Verdict::Undecided);
            }
        }
        assert_eq!((rows.len(), correct), (1319, 286 + 515 + 458 + 742));
        // Eleven solutions were cut off before their answer; four of these end in a number of hundreds of digits.
        let expected = if extraction == Extraction::Strict { (11, 0) } else { (0, 4) };
        assert_eq!((unmarked, undecided), expected, "{extraction:?}");
    }
}
