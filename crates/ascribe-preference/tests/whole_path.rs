//! From a file to what is taught: golden conversations as rows of JSONL, golden ids and masks out (see `golden/README.md`).

use ascribe_data::{Boundary, ColumnMap, LanguageModelling, Message, Preference, Prompt, PromptOnly, Record, load};
use ascribe_lm::{ChatTemplate, Ending, Render, SpecialTokens, Tokenizer};
use ascribe_preference::Encoder;
use ascribe_testkit::golden::{Case, open, root};
use serde_json::{Value, json};

/// The one record of a file that holds this row.
fn read<R: Record>(row: &Value) -> R {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), format!("{row}\n")).expect("a temporary file takes a row");
    let loaded = load::<R>(file.path(), &ColumnMap::default()).expect("the row is sound");
    loaded.rows.into_iter().next().unwrap_or_else(|| panic!("{row}: {}", loaded.skipped))
}

fn tokenizer(name: &str) -> Tokenizer {
    Tokenizer::from_folder(root().join(format!("lm/tokenizer_{name}"))).expect("the golden tokenizers can be read")
}

fn ids(case: &Case) -> Vec<u32> {
    case.integers().into_iter().map(|id| id as u32).collect()
}

fn messages(content: &Prompt) -> &[Message] {
    match content {
        Prompt::Messages(messages) => messages,
        Prompt::Text(text) => panic!("a conversation became the text `{text}`"),
    }
}

#[test]
fn golden_conversations_give_their_text_and_ids_out_of_a_file() {
    let file = open("lm/chat_templates.json");
    for case in file.get("cases").items() {
        let tokenizer = tokenizer(&case.get("tokenizer").text());
        let source = file.get("templates").get(&case.get("template").text()).text();
        let template = ChatTemplate::new(source, &tokenizer).expect("a golden template");
        let conversation = file.get("conversations").get(&case.get("conversation").text());
        // A prompt that is to be answered, or a conversation that is learned as a whole.
        let asked = case.get("add_generation_prompt").json().as_bool().expect("a flag");
        let content = match asked {
            true => read::<PromptOnly>(&json!({"prompt": conversation.json()})).prompt,
            false => read::<LanguageModelling>(&json!({"messages": conversation.json()})).content,
        };
        let variables = case.get("extra_variables").json().as_object().expect("an object").clone();
        let plain = variables.is_empty();
        let ending = if asked { Ending::GenerationPrompt } else { Ending::LastMessage };
        let text = template.render(messages(&content), &Render { ending, variables, date: None }).expect("it renders");
        assert_eq!(text, case.get("text").text(), "{case}");
        assert_eq!(tokenizer.encode(&text).expect("it can be encoded"), ids(&case.get("ids")), "{case}");
        if asked && plain {
            let encoder = Encoder::from_parts(&tokenizer, Some(&template), 4096).expect("room enough");
            let prompt = encoder.prompt(&content).expect("it can be encoded");
            assert_eq!(prompt[..], ids(&case.get("ids")), "{case}");
        }
    }
}

#[test]
fn golden_generation_masks_come_out_of_a_file() {
    let file: Value = serde_json::from_str(include_str!("../../ascribe-lm/tests/generation_masks.json")).expect("JSON");
    for case in file["cases"].as_array().expect("a list") {
        let text = |key: &str| case[key].as_str().expect("a string");
        let tokenizer = tokenizer(text("tokenizer"));
        let source = file["templates"][text("template")].as_str().expect("a template");
        let template = ChatTemplate::new(source, &tokenizer).expect("a golden template");
        let conversation = &file["conversations"][case["conversation"].as_u64().expect("an index") as usize];
        let content = read::<LanguageModelling>(&json!({"messages": conversation})).content;
        let got = template.encode_masked(messages(&content), &Render::default(), &tokenizer).expect("tags say it all");
        let expected: Vec<u32> = serde_json::from_value(case["ids"].clone()).expect("ids");
        assert_eq!(got.ids[..], expected, "{case}");
        let mask: Vec<u8> = got.response.iter().map(|counts| u8::from(*counts)).collect();
        assert_eq!(json!(mask), case["mask"], "{case}");
    }
}

#[test]
fn golden_conversations_are_taught_by_their_last_answer() {
    let file = open("lm/chat_templates.json");
    let conversation = file.get("conversations").get("finished");
    let all = conversation.json().as_array().expect("messages");
    let (last, history) = all.split_last().expect("messages");
    let row = json!({"prompt": history, "chosen": [last], "rejected": [{"role": "assistant", "content": "no"}]});
    let mut seen = 0;
    for case in file.get("cases").items() {
        let asked = case.get("add_generation_prompt").json().as_bool().expect("a flag");
        if asked || case.get("conversation").text() != "finished" {
            continue;
        }
        seen += 1;
        let tokenizer = tokenizer(&case.get("tokenizer").text());
        let name = case.get("template").text();
        let template = ChatTemplate::new(file.get("templates").get(&name).text(), &tokenizer).expect("a template");
        // Without what the template writes behind the last end token.
        let mut whole = ids(&case.get("ids"));
        let end = whole.iter().rposition(|id| tokenizer.eos().contains(id)).expect("every answer ends");
        whole.truncate(end + 1);
        for boundary in [Boundary::Apart, Boundary::SharedPrefix] {
            let encoder = Encoder::from_parts(&tokenizer, Some(&template), 4096).expect("room").with_boundary(boundary);
            let encoded = encoder.pairs(vec![read::<Preference>(&row)]).expect("it can be encoded");
            let (taught, _) = &encoded.rows[0];
            let chosen = &taught.responses[0].tokens;
            assert_eq!([&taught.prompt[..], &chosen[..]].concat(), whole, "{case} {boundary}");
            let text = tokenizer.decode(chosen, SpecialTokens::Keep).expect("it can be decoded");
            let end = tokenizer.token_text(tokenizer.eos()[0]).expect("it has a text");
            // Mistral's template writes a space before an answer.
            let space = if name == "mistral" { " " } else { "" };
            assert_eq!(text, format!("{space}done{end}"), "{case} {boundary}");
        }
    }
    assert_eq!(seen, 5);
}
