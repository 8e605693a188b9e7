//! Reads the published HH-RLHF rows, where they are at hand: `ASCRIBE_SHARED_DATA` names the folder that holds
//! `hh-rlhf/harmless-base-test.jsonl.gz`.

use std::collections::BTreeSet;
use std::path::Path;

use ascribe_core::Seed;
use ascribe_data::{
    Check, ColumnMap, Doctor, HeldOut, Kind, Preference, Prompt, Record, Rows, Why, load, split_by_prompt, write_jsonl,
};
use serde_json::{Map, Value};

#[test]
fn hh_rlhf_is_read_whole() {
    let Some(folder) = std::env::var_os("ASCRIBE_SHARED_DATA") else {
        println!("left out: ASCRIBE_SHARED_DATA is not set");
        return;
    };
    let path = Path::new(&folder).join("hh-rlhf/harmless-base-test.jsonl.gz");
    assert_eq!(Kind::detect(&path, &ColumnMap::default()).unwrap(), Kind::Preference);
    let loaded = load::<Preference>(&path, &ColumnMap::default()).unwrap();
    println!("{} rows parsed; {}; {:?}", loaded.rows.len(), loaded.skipped, loaded.notes);
    // The counts come from a reading of the file by another program, with a regular expression for the turns.
    assert_eq!(loaded.rows.len() + loaded.skipped.count(), 2312);
    assert_eq!(loaded.skipped.lines(Why::EmptyCompletion).len(), 4);
    assert_eq!(loaded.skipped.count(), 4);

    // Prompt and chosen, in the format again, are the text of the file.
    let rows: Vec<_> = Rows::open(&path).unwrap().map(Result::unwrap).collect();
    let mut early = Vec::new();
    for row in &loaded.rows {
        let (line, original) = &rows[row.line - 1];
        assert_eq!(*line, row.line);
        for (column, reply) in [("chosen", &row.chosen), ("rejected", &row.rejected)] {
            assert_eq!(render(&row.prompt, reply), original[column].as_str().unwrap(), "line {line}");
        }
        let turn = |reply: &String| reply.contains("\n\nHuman:") || reply.contains("\n\nAssistant:");
        if turn(&row.chosen) || turn(&row.rejected) {
            early.push(row.line);
        }
    }
    // Here one of the two has a second assistant turn at the end, which stays in the reply.
    assert_eq!(early, [1255, 1689, 1951, 1953, 2037]);

    let rows = loaded.rows.len();
    let split = split_by_prompt(loaded.rows, HeldOut::Rows(300), Seed(0)).unwrap();
    let prompts = |rows: &[Preference]| rows.iter().map(Record::key).collect::<BTreeSet<_>>();
    assert!(prompts(&split.train).is_disjoint(&prompts(&split.held_out)));
    assert_eq!(split.held_out.len(), 300);
    assert_eq!(split.train.len() + 300 + split.dropped, rows);
    println!("{} rows to train on, 300 held out, {} dropped", split.train.len(), split.dropped);
}

#[test]
fn the_doctor_finds_what_is_there_and_invents_nothing() {
    let Some(folder) = std::env::var_os("ASCRIBE_SHARED_DATA") else {
        println!("left out: ASCRIBE_SHARED_DATA is not set");
        return;
    };
    let examine =
        |name: &str| Doctor::default().examine(Path::new(&folder).join(name), &ColumnMap::default(), None).unwrap();
    // Four empty replies; no row is there twice or with its sides exchanged, which another program counted.
    let hh = examine("hh-rlhf/harmless-base-test.jsonl.gz");
    assert_eq!(hh.findings.iter().map(|one| (one.check, one.rows)).collect::<Vec<_>>(), [(Check::Untaught, 4)]);
    println!("{:?}", hh.figures);
    let gsm8k = examine("gsm8k/test.jsonl.gz");
    assert_eq!((gsm8k.kind, gsm8k.rows, gsm8k.findings.len()), (Kind::PromptCompletion, 1319, 0));
    assert!(gsm8k.notes[0].contains("prompt is `question`, completion is `answer`"), "{:?}", gsm8k.notes);
}

#[test]
fn what_is_planted_in_published_data_is_found_and_nothing_else() {
    let Some(folder) = std::env::var_os("ASCRIBE_SHARED_DATA") else {
        println!("left out: ASCRIBE_SHARED_DATA is not set");
        return;
    };
    let scratch = tempfile::tempdir().unwrap();
    let planted = |name: &str, plant: &dyn Fn(&mut Vec<Map<String, Value>>)| {
        let mut rows: Vec<_> = Rows::open(Path::new(&folder).join(name)).unwrap().map(|row| row.unwrap().1).collect();
        plant(&mut rows);
        let path = scratch.path().join("planted.jsonl");
        write_jsonl(&path, &rows).unwrap();
        let findings = Doctor::default().examine(&path, &ColumnMap::default(), None).unwrap().findings;
        findings.into_iter().map(|one| (one.check, one.lines)).collect::<Vec<_>>()
    };
    // Four replies of the file are empty: lines 87, 517, 926 and 1104.
    let hh = planted("hh-rlhf/harmless-base-test.jsonl.gz", &|rows| {
        rows[100] = rows[99].clone();
        let dialogue = rows[200]["chosen"].as_str().unwrap();
        let reply = dialogue.rfind("\n\nAssistant:").unwrap() + "\n\nAssistant:".len();
        rows[200]["chosen"] = Value::from(&dialogue[..reply]);
        let (chosen, rejected) = (rows[299]["chosen"].clone(), rows[299]["rejected"].clone());
        (rows[300]["chosen"], rows[300]["rejected"]) = (rejected, chosen);
    });
    let expected = [
        (Check::Untaught, vec![87, 201, 517, 926, 1104]),
        (Check::Duplicate, vec![101]),
        (Check::Contradiction, vec![301]),
    ];
    assert_eq!(hh, expected);
    let gsm8k = planted("gsm8k/test.jsonl.gz", &|rows| {
        rows[50] = rows[49].clone();
        rows[100]["answer"] = "".into();
        rows[150]["question"] = " ".into();
    });
    assert_eq!(gsm8k, [(Check::Untaught, vec![101, 151]), (Check::Duplicate, vec![51])]);
}

fn render(prompt: &Prompt, reply: &str) -> String {
    let Prompt::Messages(messages) = prompt else { panic!("a dialogue has messages") };
    let speaker = |role: &str| if role == "user" { "Human" } else { "Assistant" };
    let turns = messages.iter().map(|message| format!("\n\n{}: {}", speaker(&message.role), message.content));
    turns.collect::<String>() + "\n\nAssistant: " + reply
}
