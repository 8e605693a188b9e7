//! Alpaca and ShareGPT, as LLaMA-Factory reads them.
//!
//! Alpaca's prompt is `instruction`, and `input` on the next line where there is one. With a `system` or a `history` (pairs
//! of question and answer) the prompt is a conversation.

use serde_json::{Map, Value, json};

use super::{Found, any, columns, list, optional, refuse, text};
use crate::read::{Place, name_of};
use crate::{DataError, Kind, Why};

/// True for a list whose first element is a message, in either spelling.
pub(super) fn is_conversation(value: Option<&Value>) -> bool {
    let first = value.and_then(Value::as_array).and_then(|items| items.first());
    first.is_some_and(|first| {
        let has = |name: &str| first.get(name).is_some();
        (has("from") && has("value")) || (has("role") && has("content"))
    })
}

pub(super) fn alpaca(
    place: Place<'_>,
    mut row: Map<String, Value>,
    kind: Kind,
) -> Result<Map<String, Value>, DataError> {
    let (instruction, input) = (text(place, "instruction", &mut row)?, optional(place, "input", &mut row)?);
    let asked = if input.is_empty() { instruction } else { format!("{instruction}\n{input}") };
    let system = optional(place, "system", &mut row)?;
    let history = match row.shift_remove("history") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(turns)) => turns,
        Some(other) => return Err(refuse(place, "history", "a list", name_of(&other).to_owned())),
    };
    let prompt = match system.is_empty() && history.is_empty() {
        true => Value::String(asked),
        false => {
            let mut messages = Vec::new();
            if !system.is_empty() {
                messages.push(json!({"role": "system", "content": system}));
            }
            for turn in history {
                let (Some(Value::String(question)), Some(Value::String(answer))) = (turn.get(0), turn.get(1)) else {
                    return Err(refuse(place, "history", "pairs of strings", name_of(&turn).to_owned()));
                };
                messages.push(json!({"role": "user", "content": question}));
                messages.push(json!({"role": "assistant", "content": answer}));
            }
            messages.push(json!({"role": "user", "content": asked}));
            Value::Array(messages)
        }
    };
    row.insert("prompt".into(), prompt);
    match kind {
        Kind::PromptCompletion => {
            let completion = text(place, "output", &mut row)?;
            row.insert("completion".into(), completion.into());
        }
        Kind::Unpaired => {
            let completion = text(place, "output", &mut row)?;
            let label = any(place, "kto_tag", &mut row)?;
            row.insert("completion".into(), completion.into());
            row.insert("label".into(), label);
        }
        // Pairs have their columns already, and prompts alone need none.
        _ => {}
    }
    Ok(row)
}

pub(super) fn share_gpt(place: Place<'_>, mut row: Map<String, Value>, kind: Kind) -> Result<Found, DataError> {
    let mut messages = Vec::new();
    let system = optional(place, "system", &mut row)?;
    if !system.is_empty() {
        messages.push(json!({"role": "system", "content": system}));
    }
    for item in list(place, "conversations", &mut row)? {
        messages.push(message(place, "conversations", &item)?);
    }
    Ok(match kind {
        Kind::Preference => {
            let chosen = message(place, "chosen", &any(place, "chosen", &mut row)?)?;
            let rejected = message(place, "rejected", &any(place, "rejected", &mut row)?)?;
            row.insert("prompt".into(), Value::Array(messages));
            row.insert("chosen".into(), Value::Array(vec![chosen]));
            row.insert("rejected".into(), Value::Array(vec![rejected]));
            Ok(row)
        }
        Kind::LanguageModelling => Ok(columns([("messages", Value::Array(messages))])),
        // Prompt and completion, with or without a label.
        _ => match messages.pop() {
            None => Err(Why::NoReply),
            Some(last) => {
                row.insert("prompt".into(), Value::Array(messages));
                row.insert("completion".into(), Value::Array(vec![last]));
                if kind == Kind::Unpaired {
                    let label = any(place, "kto_tag", &mut row)?;
                    row.insert("label".into(), label);
                }
                Ok(row)
            }
        },
    })
}

/// A message in the spelling of TRL. Roles other than these four are tools, which are not supported.
fn message(place: Place<'_>, column: &'static str, item: &Value) -> Result<Value, DataError> {
    let rule = "messages of `from` (human, gpt or system) and `value`";
    let field = |name: &str, other: &str| item.get(name).or_else(|| item.get(other)).and_then(Value::as_str);
    let (Some(from), Some(content)) = (field("from", "role"), field("value", "content")) else {
        return Err(refuse(place, column, rule, item.to_string().chars().take(60).collect()));
    };
    let role = match from {
        "human" | "user" => "user",
        "gpt" | "assistant" | "chatgpt" | "model" => "assistant",
        "system" => "system",
        other => return Err(refuse(place, column, rule, format!("`{other}`"))),
    };
    Ok(json!({"role": role, "content": content}))
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::*;

    #[test]
    fn alpaca_joins_instruction_and_input() {
        let row = json!({"instruction": "Add.", "input": "1, 2", "output": "3"});
        assert_eq!(read(row, None), [Ok(json!({"prompt": "Add.\n1, 2", "completion": "3"}))]);
        let row = json!({"instruction": "Hi", "input": "", "output": "Hello", "kto_tag": false});
        assert_eq!(read(row, None), [Ok(json!({"prompt": "Hi", "completion": "Hello", "label": false}))]);
    }

    #[test]
    fn alpaca_with_a_system_or_a_history_is_a_conversation() {
        let row = json!({"instruction": "c", "output": "d", "system": "s", "history": [["a", "b"]]});
        let turn = |role: &str, content: &str| json!({"role": role, "content": content});
        let prompt = [turn("system", "s"), turn("user", "a"), turn("assistant", "b"), turn("user", "c")];
        assert_eq!(read(row, None), [Ok(json!({"prompt": prompt, "completion": "d"}))]);
    }

    #[test]
    fn share_gpt_is_read_as_conversation_pair_or_labelled_reply() {
        let says = |from: &str, value: &str| json!({"from": from, "value": value});
        let turn = |role: &str, content: &str| json!({"role": role, "content": content});
        let talk = json!([says("human", "q"), says("gpt", "a")]);
        let messages = json!([turn("user", "q"), turn("assistant", "a")]);
        assert_eq!(read(json!({"conversations": talk}), None), [Ok(json!({"messages": messages}))]);
        let row = json!({"conversations": talk, "kto_tag": true});
        let expected = json!({"prompt": [turn("user", "q")], "completion": [turn("assistant", "a")], "label": true});
        assert_eq!(read(row, None), [Ok(expected)]);
        let row =
            json!({"conversations": [says("human", "q")], "chosen": says("gpt", "a"), "rejected": says("gpt", "b")});
        let expected = json!({
            "prompt": [turn("user", "q")], "chosen": [turn("assistant", "a")], "rejected": [turn("assistant", "b")],
        });
        assert_eq!(read(row, None), [Ok(expected)]);
    }
}
