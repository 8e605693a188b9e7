//! Each fault that the doctor knows is planted and found at its line, and sound data has no findings.

use std::path::Path;

use ascribe_core::Seed;
use ascribe_data::{Check, ColumnMap, Diagnosis, Doctor, ModelText, NearDuplicates};
use ascribe_lm::{ChatTemplate, Roles, Tokenizer};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

/// One token a character, and two special ones.
fn tokenizer() -> Tokenizer {
    let roles = Roles { bos: Some("<s>"), eos: Some("</s>"), pad: Some("</s>") };
    Tokenizer::characters("abcdefghijklmnopqrstuvwxyz .?:\n", &["<s>", "</s>"], roles).expect("it is sound")
}

fn file(rows: &[Value]) -> NamedTempFile {
    let file = NamedTempFile::new().expect("it is sound");
    std::fs::write(file.path(), rows.iter().map(|row| format!("{row}\n")).collect::<String>()).expect("it is sound");
    file
}

fn examined(rows: &[Value], doctor: &Doctor<'_>) -> Diagnosis {
    doctor.examine(file(rows).path(), &ColumnMap::default(), None).expect("it is sound")
}

fn found(diagnosis: &Diagnosis) -> Vec<(Check, Vec<usize>)> {
    diagnosis.findings.iter().map(|finding| (finding.check, finding.lines.clone())).collect()
}

fn pair(prompt: &str, chosen: &str, rejected: &str) -> Value {
    json!({"prompt": prompt, "chosen": chosen, "rejected": rejected})
}

#[test]
fn each_planted_fault_of_pairs_is_found_at_its_line() {
    let tokenizer = tokenizer();
    let text = ModelText { tokenizer: &tokenizer, template: None, max_length: 80 };
    let eggs = "how many eggs does janet sell each day at the market?";
    let test = file(&[json!({"prompt": eggs})]);
    let index = NearDuplicates::of_prompts(test.path(), &ColumnMap::default(), 0.8, Seed(0)).unwrap();
    let doctor = Doctor { text: Some(text), test_set: Some(index) };

    let long = "a b ".repeat(30);
    let mut tied = pair("is one or two more?", "it is one.", "it is two.");
    tied["margin"] = json!(0);
    let rows = [
        pair("what is one?", "it is one.", "it is two."),
        pair("what is one?", "it is one.", "it is two."),
        pair("what is one?", "it is two.", "it is one."),
        pair("what is two?", "it is two.", "it is two."),
        pair("what is two?", "it is two.", " "),
        tied,
        pair("<s><s>what is it?", "it is one.", "it is two."),
        pair("and then?", "yes</s>no", "no way"),
        pair(&long, "it is one.", "it is two."),
        pair("tell me all.", &long, "it is two."),
        pair(eggs, "it is one.", "it is two."),
        pair("who is ä?", "it is one.", "it is two."),
    ];
    let diagnosis = examined(&rows, &doctor);
    let expected = [
        (Check::Untaught, vec![4, 5]),
        (Check::Duplicate, vec![2]),
        (Check::Contradiction, vec![3]),
        (Check::Tied, vec![6]),
        (Check::Contaminated, vec![11]),
        (Check::Template, vec![12]),
        (Check::DoubleBos, vec![7]),
        (Check::EndInside, vec![8]),
        // A reply that fills the limit leaves its prompt one token.
        (Check::PromptCut, vec![9, 10]),
        (Check::ReplyCut, vec![10]),
    ];
    assert_eq!(found(&diagnosis), expected);
    assert_eq!(diagnosis.rows, 10);
}

#[test]
fn sound_pairs_have_no_findings() {
    let tokenizer = tokenizer();
    let text = ModelText { tokenizer: &tokenizer, template: None, max_length: 80 };
    let doctor = Doctor { text: Some(text), test_set: None };
    let rows: Vec<Value> = ["one", "two", "three", "four"]
        .into_iter()
        .flat_map(|word| [pair(word, "longer it is", "short"), pair(&format!("more {word}"), "short", "longer it is")])
        .collect();
    let diagnosis = examined(&rows, &doctor);
    assert_eq!(found(&diagnosis), []);
    let longer = &diagnosis.figures[0];
    assert_eq!((longer.name, longer.estimate.value, longer.estimate.n), ("chosen is longer", 0.5, 8));
    assert_eq!(diagnosis.figures[1].estimate.value, 0.0);
}

#[test]
fn a_bias_or_a_lone_class_is_a_fault_of_the_file() {
    let rows: Vec<Value> = (0..60).map(|at| pair(&format!("q{at}"), "a long reply", "short")).collect();
    let diagnosis = examined(&rows, &Doctor::default());
    assert_eq!(found(&diagnosis), [(Check::LengthBias, vec![])]);
    // Wilson, by hand: 60 of 60 with z = 1.96 gives 60 / (60 + 3.84) = 0.940 to 1.
    assert_eq!(diagnosis.findings[0].detail, "chosen is longer in 1.000 [0.940, 1.000] (n = 60)");
    let row = |at: usize| json!({"prompt": format!("q{at}"), "completion": "a", "label": true});
    let diagnosis = examined(&(0..200).map(row).collect::<Vec<_>>(), &Doctor::default());
    assert_eq!(found(&diagnosis), [(Check::LabelBalance, vec![])]);
    let both = [true, false].map(|label| json!({"prompt": "q", "completion": "a", "label": label}));
    assert_eq!(found(&examined(&both, &Doctor::default())), [(Check::Contradiction, vec![2])]);
}

#[test]
fn faults_of_a_template_are_found() {
    let tokenizer = tokenizer();
    let turn = |role: &str, content: &str| json!({"role": role, "content": content});
    let checks = |source: &str, rows: &[Value]| {
        let template = ChatTemplate::new(source, &tokenizer).unwrap();
        let text = ModelText { tokenizer: &tokenizer, template: Some(&template), max_length: 80 };
        found(&examined(rows, &Doctor { text: Some(text), test_set: None }))
    };
    let sound = "{% for m in messages %}{{ m.role ~ ': ' ~ m.content ~ eos_token }}{% endfor %}\
                 {% if add_generation_prompt %}assistant: {% endif %}";
    let talk = |role: &str| json!({"prompt": [turn(role, "what?")], "completion": [turn("assistant", "that.")]});
    assert_eq!(checks(sound, &[talk("user")]), []);
    assert_eq!(checks(&sound.replace(" ~ eos_token", ""), &[talk("user")]), [(Check::NoEnd, vec![1])]);
    assert_eq!(checks(&sound.replace("assistant: ", "model: "), &[talk("user")]), [(Check::Template, vec![1])]);
    let strict =
        format!("{{% if messages[0].role == 'system' %}}{{{{ raise_exception('no system') }}}}{{% endif %}}{sound}");
    assert_eq!(checks(&strict, &[talk("user"), talk("system")]), [(Check::Template, vec![2])]);
    assert_eq!(
        checks(&format!("{{{{ bos_token ~ bos_token }}}}{sound}"), &[talk("user")]),
        [(Check::DoubleBos, vec![1])]
    );
    // Nobody answers, so there is nothing to learn.
    let whole =
        [json!({"messages": [turn("user", "a"), turn("assistant", "b")]}), json!({"messages": [turn("user", "a")]})];
    assert_eq!(checks(sound, &whole), [(Check::EmptyMask, vec![2])]);
}

#[test]
fn faults_of_steps_are_counted_with_their_reasons() {
    let row = |labels: Value| json!({"prompt": format!("q {labels}"), "completions": ["a", "b"], "labels": labels});
    let rows = [row(json!([true, false])), row(json!([true])), row(json!([null, null]))];
    let diagnosis = examined(&rows, &Doctor::default());
    assert_eq!(found(&diagnosis), [(Check::Untaught, vec![2, 3])]);
    let reasons = "2 rows left out: 1 no label (line 3), 1 steps and labels that do not match (line 2)";
    assert_eq!(diagnosis.findings[0].detail, reasons);
    let (name, estimate) = (diagnosis.figures[0].name, diagnosis.figures[0].estimate);
    assert_eq!((name, estimate.value, estimate.n), ("label is right", 0.5, 2));
}

#[test]
fn a_file_that_is_missing_is_an_error() {
    let nowhere = Path::new("no/such/file.jsonl");
    assert!(Doctor::default().examine(nowhere, &ColumnMap::default(), None).is_err());
}
