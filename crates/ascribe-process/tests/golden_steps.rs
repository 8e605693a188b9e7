//! Where TRL's process reward trainer places its labels.

use ascribe_process::steps::{Labelled, TrlPlacement};
use ascribe_testkit::golden::{self, Case};

const FILE: &str = "reward/prm_trl024.json";

/// Ids are the codes of the characters.
fn ids(text: &str) -> Vec<u32> {
    text.chars().map(u32::from).collect()
}

fn limit(case: &Case, name: &str) -> Option<usize> {
    case.opt(name).map(|value| value.number() as usize)
}

#[test]
fn labels_stand_where_trl_places_them() {
    let file = golden::open(FILE);
    for section in file.keys() {
        match section.as_str() {
            "_meta" | "tokenize_row" => {}
            // What is trained with: `golden_model.rs`.
            "token_classification_loss" => {}
            other => golden::require_pending(FILE, other),
        }
    }
    let cases = file.get("tokenize_row").items();
    assert!(!cases.is_empty());
    for case in cases {
        let last = case.get("train_on_last_step_only").json() == true;
        let placement = TrlPlacement {
            separator: ids(&case.get("step_separator").text()),
            bos: Some(case.get("bos_token_id").number() as u32),
            max_length: limit(&case, "max_length"),
            max_prompt_length: limit(&case, "max_prompt_length"),
            max_completion_length: limit(&case, "max_completion_length"),
            labelled: if last { Labelled::Last } else { Labelled::Every },
        };
        let row = case.get("row");
        let steps: Vec<Vec<u32>> = row.get("completions").items().iter().map(|step| ids(&step.text())).collect();
        let labels: Vec<Option<f32>> =
            row.get("labels").bools().into_iter().map(|right| Some(if right { 1.0 } else { 0.0 })).collect();
        let placed = placement.place(&ids(&row.get("prompt").text()), &steps, &labels).expect("one label a step");
        let expected: Vec<u32> = case.get("input_ids").integers().into_iter().map(|id| id as u32).collect();
        assert_eq!(placed.ids, expected, "{}", case.name());
        let label = |id: i64| (id != -100).then_some(id as f32);
        let expected: Vec<Option<f32>> = case.get("labels").integers().into_iter().map(label).collect();
        assert_eq!(placed.labels, expected, "{}", case.name());
    }
}
