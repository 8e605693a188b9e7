//! What users of other toolkits complain about, in data. A test is named after its theme in `docs/peers-complaints.md`.

use ascribe_core::Seed;
use ascribe_data::{
    ColumnMap, Message, Preference, Prompt, Records, Shuffled, Stepwise, Why, WindowCursor, is_held_out, load,
    write_jsonl,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

fn file(rows: &[Value]) -> NamedTempFile {
    let file = NamedTempFile::new().expect("a temporary file");
    write_jsonl(file.path(), rows).expect("rows");
    file
}

fn says(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

/// A conversation as HH-RLHF writes it.
fn dialogue(turns: &[(&str, &str)]) -> String {
    turns.iter().map(|(speaker, content)| format!("\n\n{speaker}: {content}")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The rejected reply begins like the chosen one, or the other way round: extraction by characters is off by one there.
    #[test]
    fn theme_06_prompt_and_reply_are_the_original_though_one_reply_begins_the_other(
        question in "[a-z ?]{1,12}", reply in "[a-z .]{1,12}", more in "[a-z .]{1,12}", swapped: bool,
    ) {
        prop_assume!(!question.trim().is_empty() && !reply.trim().is_empty());
        let longer = format!("{reply}{more}");
        let (chosen, rejected) = if swapped { (longer, reply) } else { (reply, longer) };
        let asked = [("Human", "hi"), ("Assistant", "hello"), ("Human", question.as_str())];
        let whole = |reply: &str| dialogue(&[&asked[..], &[("Assistant", reply)]].concat());
        let turns = [says("user", "hi"), says("assistant", "hello"), says("user", &question)];
        let talk = |reply: &str| Value::from([&turns[..], &[says("assistant", reply)]].concat());
        let expected = Prompt::Messages(vec![
            Message::new("user", "hi"), Message::new("assistant", "hello"), Message::new("user", question.as_str()),
        ]);
        for row in [
            json!({"chosen": whole(&chosen), "rejected": whole(&rejected)}),
            json!({"chosen": talk(&chosen), "rejected": talk(&rejected)}),
        ] {
            let loaded = load::<Preference>(file(&[row]).path(), &ColumnMap::default()).expect("it can be read");
            let pair = &loaded.rows[0];
            prop_assert_eq!(&pair.prompt, &expected);
            prop_assert_eq!((&pair.chosen, &pair.rejected), (&chosen, &rejected));
            // That the prompt was not given is said.
            prop_assert!(loaded.notes[0].starts_with("no `prompt` column in 1 rows"));
        }
    }
}

#[test]
fn theme_06_plain_pairs_without_a_prompt_are_asked_for_one() {
    let rows = [json!({"chosen": "the sum is 4", "rejected": "the sum is 5"})];
    let error = load::<Preference>(file(&rows).path(), &ColumnMap::default()).unwrap_err().to_string();
    assert!(error.contains("add a `prompt` column"), "{error}");
}

#[test]
fn theme_22_a_tie_is_counted_and_a_number_that_is_none_is_refused() {
    let row =
        |strength: Value| json!({"prompt": "q", "response_1": "a", "response_2": "b", "preference_strength": strength});
    let loaded =
        load::<Preference>(file(&[row(json!(2)), row(json!(0)), row(json!(-1))]).path(), &ColumnMap::default());
    let loaded = loaded.expect("it can be read");
    assert_eq!(loaded.skipped.lines(Why::Tied), [2]);
    let chosen: Vec<&str> = loaded.rows.iter().map(|row| row.chosen.as_str()).collect();
    assert_eq!(chosen, ["b", "a"]);
    // JSON has no NaN, so it is written as null or as a text, and neither is a margin.
    let pair = |margin: Value| json!({"prompt": "q", "chosen": "a", "rejected": "b", "margin": margin});
    for wrong in [json!("nan"), json!(1e300)] {
        let error = load::<Preference>(file(&[pair(wrong)]).path(), &ColumnMap::default()).unwrap_err().to_string();
        assert!(error.contains("`margin` must hold a finite number"), "{error}");
    }
}

#[test]
fn theme_27_the_label_of_ignored_tokens_never_becomes_a_right_step() {
    let row = |labels: Value| json!({"prompt": "q", "completions": ["a", "b"], "labels": labels});
    // -100 marks what a loss passes over; read as a flag it would be true.
    let error = load::<Stepwise>(file(&[row(json!([1, -100]))]).path(), &ColumnMap::default()).unwrap_err().to_string();
    assert!(
        error.contains("`labels` must hold a list of true, false, null, -1, or numbers of 0 to 1, got -100"),
        "{error}"
    );
    // A step that nobody judged has no label, which is neither right nor wrong; -1 is wrong.
    let loaded = load::<Stepwise>(file(&[row(json!([null, -1])), row(json!([true]))]).path(), &ColumnMap::default());
    let loaded = loaded.expect("it can be read");
    assert_eq!(loaded.rows[0].labels, [None, Some(0.0)]);
    // Steps and labels that disagree in number are left out, not trimmed.
    assert_eq!(loaded.skipped.lines(Why::StepLabels), [2]);
}

#[test]
fn theme_33_a_stream_goes_on_with_the_row_that_comes_next() {
    let rows: Vec<Value> =
        (0..60).map(|at| json!({"prompt": format!("q{at}"), "chosen": "a", "rejected": "b"})).collect();
    let file = file(&rows);
    let stream = |cursor: WindowCursor| {
        let records = Records::<Preference>::open(file.path(), &ColumnMap::default()).expect("sound rows");
        let records = records.map(|record| record.expect("it can be read").expect("it can teach"));
        // Held-out prompts never come up, whatever the order.
        let records = records.filter(|pair| !is_held_out(pair, 0.2, Seed(1)).expect("a share"));
        Shuffled::new(records, 16, Seed(2), cursor).expect("a sound cursor")
    };
    let lines = |stream: &mut dyn Iterator<Item = Preference>| stream.map(|pair| pair.line).collect::<Vec<_>>();
    let whole = lines(&mut stream(WindowCursor::default()));
    assert!((30..60).contains(&whole.len()), "{}", whole.len());
    for stop in [1, 10, 29] {
        let mut first = stream(WindowCursor::default());
        let before = lines(&mut first.by_ref().take(stop));
        let saved = serde_json::to_string(&first.cursor()).expect("three numbers");
        let after = lines(&mut stream(serde_json::from_str(&saved).expect("three numbers")));
        assert_eq!([before, after].concat(), whole, "stopped after {stop}");
    }
}
