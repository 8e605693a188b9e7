//! Each fault that the doctor knows is planted and found at its line, and sound data has no findings.

use std::path::Path;

use ascribe_core::Seed;
use ascribe_data::{Check, ColumnMap, Diagnosis, Doctor, Kind, ModelText, NearDuplicates};
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
    let doctor = Doctor { text: Some(text), test_set: Some(index), ..Doctor::default() };

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
    let doctor = Doctor { text: Some(text), ..Doctor::default() };
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
fn pairs_that_part_before_their_last_reply_are_sound_unless_the_user_parts_them() {
    let says = |role: &str, content: &str| json!({"role": role, "content": content});
    let talk = |first: &str, asked: &str, last: &str| {
        json!([says("user", "what is it?"), says("assistant", first), says("user", asked), says("assistant", last)])
    };
    let row = |chosen: Value, rejected: Value| json!({"chosen": chosen, "rejected": rejected});
    let rows = [
        row(talk("one", "sure?", "yes"), talk("two", "sure?", "yes")),
        row(talk("one", "sure?", "yes"), talk("one", "why?", "yes")),
        // What the first row said, turned round.
        row(talk("two", "sure?", "yes"), talk("one", "sure?", "yes")),
    ];
    let diagnosis = examined(&rows, &Doctor::default());
    assert_eq!(found(&diagnosis), [(Check::Untaught, vec![2]), (Check::Contradiction, vec![3])]);
    assert_eq!((diagnosis.kind, diagnosis.rows), (Kind::Preference, 2));
    // As a test set they are known by what both sides share.
    let test = file(&rows[..1]);
    let index = NearDuplicates::of_prompts(test.path(), &ColumnMap::default(), 0.8, Seed(0)).unwrap();
    assert!(index.closest("what is it?").is_some() && index.closest("sure?").is_none());
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
    // Steps of which nobody knows whether they are right say the same turned round: twice is a duplicate alone.
    let steps = |labels: [f64; 2]| json!({"prompt": "q", "completions": ["a", "b"], "labels": labels});
    let checks = |rows: [Value; 2]| found(&examined(&rows, &Doctor::default()));
    assert_eq!(checks([steps([0.5, 0.5]), steps([0.5, 0.5])]), [(Check::Duplicate, vec![2])]);
    assert_eq!(checks([steps([1.0, 0.0]), steps([0.0, 1.0])]), [(Check::Contradiction, vec![2])]);
}

#[test]
fn rows_that_are_nearly_the_same_are_found_where_they_are_asked_for() {
    // 60 words and a last one: with the word of the prompt 58 runs of five, of which two texts share all but the last one.
    let text = |last: &str| (0..60).map(|at| format!("w{at} ")).chain([last.to_owned()]).collect::<String>();
    let row = |completion: &str| json!({"prompt": "what?", "completion": completion});
    let rows = [row(&text("end")), row("an answer of its own"), row(&text("stop")), row(&text("end"))];
    let near = examined(&rows, &Doctor { near_duplicates: Some(0.8), ..Doctor::default() });
    assert_eq!(found(&near), [(Check::Duplicate, vec![4]), (Check::NearDuplicate, vec![3])]);
    assert_eq!(near.findings[1].detail, "the first is like row 1");
    assert_eq!(found(&examined(&rows, &Doctor::default())), [(Check::Duplicate, vec![4])]);
    // What contradicts is said to do so, and nothing else.
    let pairs = [pair("what?", &text("end"), "no idea."), pair("what?", "no idea.", &text("end"))];
    let near = examined(&pairs, &Doctor { near_duplicates: Some(0.8), ..Doctor::default() });
    assert_eq!(found(&near), [(Check::Contradiction, vec![2])]);
}

#[test]
fn faults_of_a_template_are_found() {
    let tokenizer = tokenizer();
    let turn = |role: &str, content: &str| json!({"role": role, "content": content});
    let checks = |source: &str, rows: &[Value]| {
        let template = ChatTemplate::new(source, &tokenizer).unwrap();
        let text = ModelText { tokenizer: &tokenizer, template: Some(&template), max_length: 80 };
        found(&examined(rows, &Doctor { text: Some(text), ..Doctor::default() }))
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

/// One token a character, but for `qu`, a full stop with its line break, and these with a `z` behind them; upper case
/// becomes lower case.
fn merging() -> Tokenizer {
    let specials = ["<s>", "</s>"];
    let letters = "abcdefghijklmnopqrstuvwxyz0123456789 .?:,\n".chars().map(String::from);
    let tokens = specials.map(String::from).into_iter().chain(letters).chain(["qu", ".\n", ".\nz"].map(String::from));
    let vocabulary: serde_json::Map<String, Value> = tokens.zip((0u32..).map(Value::from)).collect();
    let added = |id: u32, token: &str| {
        json!({
            "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            "special": true,
        })
    };
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [added(0, specials[0]), added(1, specials[1])],
        "normalizer": {"type": "Lowercase"}, "pre_tokenizer": null, "post_processor": null, "decoder": {"type": "Fuse"},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocabulary,
            "merges": [["q", "u"], [".", "\n"], [".\n", "z"]],
        },
    });
    let config = json!({"bos_token": specials[0], "eos_token": specials[1], "pad_token": specials[1]});
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).expect("a file");
    std::fs::write(folder.path().join("tokenizer_config.json"), config.to_string()).expect("a file");
    Tokenizer::from_folder(folder.path()).expect("it is sound")
}

/// A template that knows users and assistants.
const TALK: &str = "{% for m in messages %}{% if m.role not in ['user', 'assistant'] %}\
                    {{ raise_exception('nobody is called ' ~ m.role) }}{% endif %}\
                    {{ m.role ~ ': ' ~ m.content ~ eos_token }}{% endfor %}\
                    {% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}";

const EGGS: &str = "how many eggs does janet sell each day at the market?";

fn says(role: &str, content: &str) -> Value {
    json!([{"role": role, "content": content}])
}

/// What a doctor with this tokenizer, the template and a test set of one prompt finds.
fn looked_into(rows: &[Value], tokenizer: &Tokenizer) -> Diagnosis {
    let template = ChatTemplate::new(TALK, tokenizer).expect("it is sound");
    let text = ModelText { tokenizer, template: Some(&template), max_length: 80 };
    let test = file(&[json!({"prompt": EGGS})]);
    let index = NearDuplicates::of_prompts(test.path(), &ColumnMap::default(), 0.8, Seed(0)).expect("it is sound");
    examined(rows, &Doctor { text: Some(text), test_set: Some(index), ..Doctor::default() })
}

/// Sound pairs, every second one a conversation; the chosen reply is the longer one in half of them.
fn sound(count: usize) -> Vec<Value> {
    let row = |at: usize| {
        let prompt = format!("what is {at} and one?");
        let (chosen, rejected) = match at % 4 < 2 {
            true => (format!("it is {}, of course.", at + 1), "no idea."),
            false => (format!("it is {}.", at + 1), "i do not know that one."),
        };
        match at.is_multiple_of(2) {
            true => pair(&prompt, &chosen, rejected),
            false => json!({
                "prompt": says("user", &prompt), "chosen": says("assistant", &chosen),
                "rejected": says("assistant", rejected),
            }),
        }
    };
    (0..count).map(row).collect()
}

#[test]
fn a_file_made_bad_in_twelve_ways_has_twelve_findings_and_a_sound_one_none() {
    let tokenizer = merging();
    let mut rows = sound(40);
    assert_eq!(found(&looked_into(&rows, &tokenizer)), []);

    let long = "a b ".repeat(30);
    let swapped = |row: &Value| {
        let mut swapped = row.clone();
        (swapped["chosen"], swapped["rejected"]) = (row["rejected"].clone(), row["chosen"].clone());
        swapped
    };
    let (first, second) = (rows[10].clone(), swapped(&rows[13]));
    // Line numbers count from 1.
    let mut plant = |line: usize, row: Value| rows[line - 1] = row;
    plant(3, pair("what is two?", " ", "no idea."));
    plant(12, first);
    plant(15, second);
    plant(18, json!({"prompt": "is it one?", "chosen": "yes.", "rejected": "no.", "margin": 0}));
    plant(21, pair(EGGS, "it is nine.", "no idea."));
    plant(
        24,
        json!({"prompt": says("tool", "what?"), "chosen": says("assistant", "a"), "rejected": says("assistant", "b")}),
    );
    plant(27, pair("what is three?", "It is three.", "no idea."));
    plant(30, pair("<s><s>what is four?", "it is four.", "no idea."));
    plant(33, pair("what is five?", "it is</s> five.", "no idea."));
    plant(36, pair("say it: q", "u and i.", "no idea."));
    plant(39, pair(&long, "it is six.", "no idea."));
    plant(40, pair("tell me all.", &long, "no idea."));
    let expected = [
        (Check::Untaught, vec![3]),
        (Check::Duplicate, vec![12]),
        (Check::Contradiction, vec![15]),
        (Check::Tied, vec![18]),
        (Check::Contaminated, vec![21]),
        (Check::Template, vec![24]),
        (Check::RoundTrip, vec![27]),
        (Check::DoubleBos, vec![30]),
        (Check::EndInside, vec![33]),
        (Check::BoundaryMerge, vec![36]),
        // A reply that fills the limit leaves its prompt one token.
        (Check::PromptCut, vec![39, 40]),
        (Check::ReplyCut, vec![40]),
    ];
    assert_eq!(found(&looked_into(&rows, &tokenizer)), expected);
}

#[test]
fn theme_27_steps_that_share_a_token_are_found() {
    let tokenizer = merging();
    let row = |steps: [&str; 2]| json!({"prompt": "what is it?", "completions": steps, "labels": [true, false]});
    // The full stop, its line break and the `z` of the next step are one token; a full stop with its line break belongs
    // to the first step alone.
    let rows =
        [row(["it is one.", "it is two."]), row(["it is one.", "zero it is."]), row(["it is one", "zero it is."])];
    let diagnosis = looked_into(&rows, &tokenizer);
    assert_eq!((diagnosis.kind, diagnosis.rows), (Kind::Stepwise, 3));
    assert_eq!(found(&diagnosis), [(Check::StepInToken, vec![2])]);
    assert!(Check::StepInToken.advice().contains("end steps with a separator"));
}

#[test]
fn prompts_alone_are_looked_into() {
    let tokenizer = merging();
    let ask = |content: &str| json!({"prompt": says("user", content), "ground_truth": "2"});
    let clean = looked_into(&[ask("what is one?"), ask("what is two?")], &tokenizer);
    assert_eq!((clean.kind, found(&clean)), (Kind::PromptOnly, vec![]));
    let figure = |name: &str| clean.figures.iter().find(|one| one.name == name).map(|one| one.estimate.value);
    // `user: `, 12 letters, the end and `assistant: `: 6 + 12 + 1 + 11.
    assert_eq!(figure("tokens of the longest row"), Some(30.0));
    assert_eq!(figure("tokens lost to the length limit"), Some(0.0));

    // The limit is 80, of which one token is for the answer.
    let (fits, fills) = ("a".repeat(79), "b".repeat(80));
    let rows = [
        ask("what is one?"),
        ask("what is one?"),
        json!({"prompt": " "}),
        ask(EGGS),
        json!({"prompt": says("tool", "what?")}),
        ask("What is two?"),
        json!({"prompt": "<s><s>what is four?"}),
        json!({"prompt": fits}),
        json!({"prompt": fills}),
    ];
    let expected = [
        (Check::Untaught, vec![3]),
        (Check::Duplicate, vec![2]),
        (Check::Contaminated, vec![4]),
        (Check::Template, vec![5]),
        (Check::RoundTrip, vec![6]),
        (Check::DoubleBos, vec![7]),
        (Check::PromptCut, vec![9]),
    ];
    assert_eq!(found(&looked_into(&rows, &tokenizer)), expected);
}

#[test]
fn a_token_that_begins_every_turn_is_no_second_beginning() {
    let roles = Roles { bos: Some("<turn>"), eos: Some("</turn>"), pad: Some("</turn>") };
    let tokenizer =
        Tokenizer::characters("abcdefghijklmnopqrstuvwxyz .?:\n", &["<turn>", "</turn>"], roles).expect("it is sound");
    let source = "{% for m in messages %}{{ bos_token ~ m.role ~ ': ' ~ m.content ~ eos_token }}{% endfor %}\
                  {% if add_generation_prompt %}{{ bos_token ~ 'assistant: ' }}{% endif %}";
    let template = ChatTemplate::new(source, &tokenizer).expect("it is sound");
    let text = ModelText { tokenizer: &tokenizer, template: Some(&template), max_length: 80 };
    let doctor = Doctor { text: Some(text), ..Doctor::default() };
    let row =
        |question: &str, reply: &str| json!({"prompt": says("user", question), "completion": says("assistant", reply)});
    assert_eq!(found(&examined(&[row("what?", "that."), row("and?", "this.")], &doctor)), []);
    let rows = [row("what?", "that<turn>."), row("<turn>and?", "this."), row("<turn><turn>so?", "this.")];
    assert_eq!(found(&examined(&rows, &doctor)), [(Check::DoubleBos, vec![1, 3])]);
    let whole = |row: &Value| json!({"messages": [row["prompt"][0], row["completion"][0]]});
    assert_eq!(found(&examined(&rows.map(|row| whole(&row)), &doctor)), [(Check::DoubleBos, vec![1, 3])]);
}

#[test]
fn a_file_that_is_missing_is_an_error() {
    let nowhere = Path::new("no/such/file.jsonl");
    assert!(Doctor::default().examine(nowhere, &ColumnMap::default(), None).is_err());
}
