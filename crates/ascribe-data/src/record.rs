//! What one row teaches from, by kind, and how a row becomes it.
//!
//! A prompt is a text or a list of messages; a reply is a text. Where a file gives replies as lists of messages, what
//! precedes the last message joins the prompt, so that an explicit prompt, an implicit one (the messages that chosen
//! and rejected share) and a prompt repeated inside the lists all read the same.

use ascribe_lm::Message;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Map, Value};

use crate::columns::{found, missing_column};
use crate::read::{Place, name_of};
use crate::teach::Untaught;
use crate::{DataError, Kind, Why, hh};

/// What stands behind a role and behind a turn in a key. They occur in no ordinary text, so two conversations never run
/// together.
const ROLE_END: char = '\u{1f}';
const TURN_END: char = '\u{1e}';

/// What a reply follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Prompt {
    /// Plain text, used as it is.
    Text(String),
    /// A conversation, to be rendered by a chat template.
    Messages(Vec<Message>),
}

impl Prompt {
    /// The words of the prompt. Prompts with the same key are the same prompt to [`crate::split_by_prompt`].
    pub fn key(&self) -> String {
        match self {
            Self::Text(text) => text.trim().to_owned(),
            Self::Messages(messages) => messages
                .iter()
                .map(|message| format!("{}{ROLE_END}{}{TURN_END}", message.role, message.content.trim()))
                .collect(),
        }
    }

    pub(crate) fn is_blank(&self) -> bool {
        match self {
            Self::Text(text) => text.trim().is_empty(),
            Self::Messages(messages) => messages.iter().all(|message| message.content.trim().is_empty()),
        }
    }
}

/// Two replies to one prompt, of which the first is preferred.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Preference {
    /// What both replies follow.
    pub prompt: Prompt,
    /// The preferred reply.
    pub chosen: String,
    /// The other reply.
    pub rejected: String,
    /// By how much the first is preferred, if the file says so. Finite.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub margin: Option<f32>,
    /// A third reply that is known to be good, if the file has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// How far the order can be relied upon, if the file says so: from 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consistency: Option<f32>,
    /// What the label counts for, if the file says so: finite and at least 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f32>,
    /// Number of the row: its line in JSONL, its element in a JSON array, its row in Parquet, from 1.
    #[serde(skip)]
    pub line: usize,
}

/// Two continuations of one conversation, of which the first is preferred; each may have several turns.
#[derive(Clone, Debug, PartialEq)]
pub struct Dialogues {
    /// What both share is the prompt, and the replies are the last ones.
    pub pair: Preference,
    /// What stands between the prompt and the last reply, of the preferred side and of the other one: nothing, or turns of which
    /// the first is the assistant's.
    pub between: [Vec<Message>; 2],
}

/// A prompt and the reply to learn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PromptCompletion {
    /// What the completion follows.
    pub prompt: Prompt,
    /// The reply to learn.
    pub completion: String,
    /// Number of the row: its line in JSONL, its element in a JSON array, its row in Parquet, from 1.
    #[serde(skip)]
    pub line: usize,
}

/// A text or a conversation to learn as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LanguageModelling {
    /// The text, from column `text`, or the conversation, from column `messages`, which comes first if both are there.
    pub content: Prompt,
    /// Number of the row: its line in JSONL, its element in a JSON array, its row in Parquet, from 1.
    pub line: usize,
}

impl Serialize for LanguageModelling {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let column = match self.content {
            Prompt::Text(_) => "text",
            Prompt::Messages(_) => "messages",
        };
        let mut row = out.serialize_map(Some(1))?;
        row.serialize_entry(column, &self.content)?;
        row.end()
    }
}

/// A kind of row that can be read from columns.
pub trait Record: Sized {
    /// Which columns it has.
    const KIND: Kind;

    /// Reads a row whose columns already have our names. The inner result tells rows that cannot teach.
    ///
    /// # Errors
    /// [`DataError::MissingColumn`], [`DataError::Column`] and, for a pair, [`DataError::NoPrompt`].
    fn from_row(place: Place<'_>, row: Map<String, Value>) -> Result<Result<Self, Untaught>, DataError>;

    /// Rows with the same key never stand on two sides of a split.
    fn key(&self) -> String;

    /// The words of the key, without who says them: by these a prompt is found again, as a text or as a conversation.
    fn words(&self) -> String {
        let key = self.key();
        let said = key.split(TURN_END).map(|turn| turn.split_once(ROLE_END).map_or(turn, |(_, words)| words));
        said.collect::<Vec<_>>().join(" ")
    }
}

impl Record for Preference {
    const KIND: Kind = Kind::Preference;

    fn from_row(place: Place<'_>, mut row: Map<String, Value>) -> Result<Result<Self, Untaught>, DataError> {
        require(place, Self::KIND, &["chosen", "rejected"], &row)?;
        let columns = found(&row);
        let (chosen, rejected) = (take(place, "chosen", &mut row)?, take(place, "rejected", &mut row)?);
        let prompt = match row.contains_key("prompt") {
            true => Some(take(place, "prompt", &mut row)?),
            false => None,
        };
        let Told { margin, reference, consistency, weight } = Told::take(place, &mut row)?;
        let line = place.number;
        let pair = match (prompt, chosen, rejected) {
            (None, Prompt::Text(chosen), Prompt::Text(rejected)) => {
                if !hh::is_dialogue(&chosen) && !hh::is_dialogue(&rejected) {
                    return Err(DataError::NoPrompt { place: place.to_string(), found: columns });
                }
                let split = |pair: hh::Pair| (Prompt::Messages(pair.prompt), pair.chosen, pair.rejected);
                hh::split_pair(&chosen, &rejected).map(split)
            }
            (Some(prompt), Prompt::Text(chosen), Prompt::Text(rejected)) => Ok((prompt, chosen, rejected)),
            (prompt, Prompt::Messages(chosen), Prompt::Messages(rejected)) => {
                let chosen = answered(place, prompt.clone(), chosen)?;
                let rejected = answered(place, prompt, rejected)?;
                match (chosen, rejected) {
                    (Some((prompt, chosen)), Some((other, rejected))) if prompt == other => {
                        Ok((prompt, chosen, rejected))
                    }
                    (Some((Prompt::Messages(first), _)), Some((Prompt::Messages(second), _)))
                        if parting(&first, &second).is_some() =>
                    {
                        Err(Why::Parted)
                    }
                    (Some(_), Some(_)) => Err(Why::DifferentPrompts),
                    _ => Err(Why::NoReply),
                }
            }
            (_, Prompt::Messages(_), Prompt::Text(_)) => return Err(unlike(place, "a string")),
            (_, Prompt::Text(_), Prompt::Messages(_)) => return Err(unlike(place, "a list")),
        };
        let taught = pair.and_then(|(prompt, chosen, rejected)| {
            if chosen.trim().is_empty() || rejected.trim().is_empty() {
                Err(Why::EmptyCompletion)
            } else if chosen == rejected {
                Err(Why::EqualPair)
            } else if prompt.is_blank() {
                Err(Why::EmptyPrompt)
            } else {
                Ok(Self { prompt, chosen, rejected, margin, reference, consistency, weight, line })
            }
        });
        Ok(taught.map_err(|why| Untaught { line, why }))
    }

    fn key(&self) -> String {
        self.prompt.key()
    }
}

impl Record for Dialogues {
    const KIND: Kind = Kind::Preference;

    fn from_row(place: Place<'_>, row: Map<String, Value>) -> Result<Result<Self, Untaught>, DataError> {
        match Preference::from_row(place, row.clone())? {
            Ok(pair) => Ok(Ok(Self { pair, between: [Vec::new(), Vec::new()] })),
            Err(Untaught { why: Why::Parted, .. }) => Self::parted(place, row),
            Err(untaught) => Ok(Err(untaught)),
        }
    }

    fn key(&self) -> String {
        self.pair.key()
    }
}

impl Dialogues {
    /// Two conversations that part at a message of the assistant before the last one.
    fn parted(place: Place<'_>, mut row: Map<String, Value>) -> Result<Result<Self, Untaught>, DataError> {
        let line = place.number;
        let untaught = |why: Why| Ok(Err(Untaught { line, why }));
        let (chosen, rejected) = (take(place, "chosen", &mut row)?, take(place, "rejected", &mut row)?);
        let prompt = match row.contains_key("prompt") {
            true => Some(take(place, "prompt", &mut row)?),
            false => None,
        };
        let (Prompt::Messages(chosen), Prompt::Messages(rejected)) = (chosen, rejected) else {
            return untaught(Why::DifferentPrompts);
        };
        let (Some(chosen), Some(rejected)) =
            (answered(place, prompt.clone(), chosen)?, answered(place, prompt, rejected)?)
        else {
            return untaught(Why::NoReply);
        };
        let ((Prompt::Messages(mut first), chosen), (Prompt::Messages(mut second), rejected)) = (chosen, rejected)
        else {
            return untaught(Why::DifferentPrompts);
        };
        let Some(shared) = parting(&first, &second) else { return untaught(Why::DifferentPrompts) };
        let between = [first.split_off(shared), second.split_off(shared)];
        let prompt = Prompt::Messages(first);
        if prompt.is_blank() {
            return untaught(Why::EmptyPrompt);
        }
        if chosen.trim().is_empty() || rejected.trim().is_empty() {
            return untaught(Why::EmptyCompletion);
        }
        let Told { margin, reference, consistency, weight } = Told::take(place, &mut row)?;
        let pair = Preference { prompt, chosen, rejected, margin, reference, consistency, weight, line };
        Ok(Ok(Self { pair, between }))
    }
}

/// How many messages two conversations before their last replies share, if the assistant is the next to speak in both.
fn parting(first: &[Message], second: &[Message]) -> Option<usize> {
    let shared = first.iter().zip(second).take_while(|(one, other)| one == other).count();
    // Where nothing is left, the last reply itself comes next.
    let replies = |side: &[Message]| side.get(shared).is_none_or(|turn| turn.role == "assistant");
    (replies(first) && replies(second)).then_some(shared)
}

impl Record for PromptCompletion {
    const KIND: Kind = Kind::PromptCompletion;

    fn from_row(place: Place<'_>, mut row: Map<String, Value>) -> Result<Result<Self, Untaught>, DataError> {
        require(place, Self::KIND, &["prompt", "completion"], &row)?;
        let prompt = take(place, "prompt", &mut row)?;
        let answer = match take(place, "completion", &mut row)? {
            Prompt::Text(completion) => Some((prompt, completion)),
            Prompt::Messages(completion) => answered(place, Some(prompt), completion)?,
        };
        let line = place.number;
        let taught = match answer {
            None => Err(Why::NoReply),
            Some((_, completion)) if completion.trim().is_empty() => Err(Why::EmptyCompletion),
            Some((prompt, _)) if prompt.is_blank() => Err(Why::EmptyPrompt),
            Some((prompt, completion)) => Ok(Self { prompt, completion, line }),
        };
        Ok(taught.map_err(|why| Untaught { line, why }))
    }

    fn key(&self) -> String {
        self.prompt.key()
    }
}

impl Record for LanguageModelling {
    const KIND: Kind = Kind::LanguageModelling;

    fn from_row(place: Place<'_>, mut row: Map<String, Value>) -> Result<Result<Self, Untaught>, DataError> {
        let column = if row.contains_key("messages") { "messages" } else { "text" };
        require(place, Self::KIND, &[column], &row)?;
        let content = take(place, column, &mut row)?;
        let line = place.number;
        match (column, &content) {
            ("text", Prompt::Messages(_)) => Err(refuse(place, column, "a string", "a list".into())),
            ("messages", Prompt::Text(_)) => Err(refuse(place, column, MESSAGES, "a string".into())),
            _ if content.is_blank() => Ok(Err(Untaught { line, why: Why::EmptyCompletion })),
            _ => Ok(Ok(Self { content, line })),
        }
    }

    fn key(&self) -> String {
        self.content.key()
    }
}

const MESSAGES: &str = "a list of messages with the strings `role` and `content`";
const TEXT_OR_MESSAGES: &str = "a string, or a list of messages with the strings `role` and `content`";

pub(crate) fn require(place: Place<'_>, kind: Kind, names: &[&str], row: &Map<String, Value>) -> Result<(), DataError> {
    match names.iter().find(|name| !row.contains_key(**name)) {
        Some(missing) => Err(missing_column(place, missing, kind.columns(), row)),
        None => Ok(()),
    }
}

pub(crate) fn refuse(place: Place<'_>, column: &'static str, rule: &'static str, got: String) -> DataError {
    DataError::Column { place: place.to_string(), column, rule, got }
}

fn unlike(place: Place<'_>, got: &str) -> DataError {
    refuse(place, "rejected", "the same as `chosen`, a string or a list of messages", got.to_owned())
}

/// Takes a column that holds a text or messages.
pub(crate) fn take(place: Place<'_>, column: &'static str, row: &mut Map<String, Value>) -> Result<Prompt, DataError> {
    match row.shift_remove(column).unwrap_or_default() {
        Value::String(text) => Ok(Prompt::Text(text)),
        Value::Array(items) => {
            let messages = items.into_iter().enumerate().map(|(index, item)| {
                message(item)
                    .map_err(|got| refuse(place, column, TEXT_OR_MESSAGES, format!("{got} in message {}", index + 1)))
            });
            messages.collect::<Result<_, _>>().map(Prompt::Messages)
        }
        other => Err(refuse(place, column, TEXT_OR_MESSAGES, name_of(&other).to_owned())),
    }
}

/// A message, or what is wrong with it.
fn message(item: Value) -> Result<Message, String> {
    let Value::Object(mut fields) = item else { return Err(name_of(&item).to_owned()) };
    // A tool call is content that a text cannot hold; to drop it would be to teach something else.
    if fields.get("tool_calls").is_some_and(|calls| !calls.is_null() && calls != &Value::Array(Vec::new())) {
        return Err("`tool_calls`, which are not supported,".to_owned());
    }
    let mut field = |name: &str| match fields.shift_remove(name) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(format!("{} as `{name}`", name_of(&other))),
        None => Err(format!("no `{name}`")),
    };
    Ok(Message { role: field("role")?, content: field("content")? })
}

/// What else the row of a pair may say.
struct Told {
    margin: Option<f32>,
    reference: Option<String>,
    consistency: Option<f32>,
    weight: Option<f32>,
}

impl Told {
    fn take(place: Place<'_>, row: &mut Map<String, Value>) -> Result<Self, DataError> {
        Ok(Self {
            margin: margin(place, row.shift_remove("margin"))?,
            reference: row.shift_remove("reference").and_then(last_reply),
            consistency: consistency(place, row.shift_remove("consistency"))?,
            weight: weight(place, row.shift_remove("weight"))?,
        })
    }
}

fn margin(place: Place<'_>, value: Option<Value>) -> Result<Option<f32>, DataError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        // A cell of CSV.
        Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
        Some(value) => match number(&value).map(|margin| margin as f32) {
            Some(margin) if margin.is_finite() => Ok(Some(margin)),
            _ => Err(refuse(place, "margin", "a finite number of 32 bits", value.to_string())),
        },
    }
}

/// A reply that a file may have under a name that others use for something else: what is no reply is none.
fn last_reply(value: Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text,
        Value::Array(mut messages) => messages.pop()?.get("content")?.as_str()?.to_owned(),
        _ => return None,
    };
    (!text.trim().is_empty()).then_some(text)
}

fn consistency(place: Place<'_>, value: Option<Value>) -> Result<Option<f32>, DataError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        // A cell of CSV.
        Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
        Some(value) => match number(&value) {
            Some(share) if (0.0..=1.0).contains(&share) => Ok(Some(share as f32)),
            _ => Err(refuse(place, "consistency", "a number from 0 to 1", value.to_string())),
        },
    }
}

fn weight(place: Place<'_>, value: Option<Value>) -> Result<Option<f32>, DataError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        // A cell of CSV.
        Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
        Some(value) => match number(&value).map(|weight| weight as f32) {
            Some(weight) if weight >= 0.0 && weight.is_finite() => Ok(Some(weight)),
            _ => Err(refuse(place, "weight", "a finite number of 32 bits, 0 or above", value.to_string())),
        },
    }
}

/// A number, or a text that spells one, as in CSV.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// A flag: true, false, 1 or 0, or a text that spells one, as in CSV.
pub(crate) fn flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) if text.trim().eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.trim().eq_ignore_ascii_case("false") => Some(false),
        other => match number(other)? {
            1.0 => Some(true),
            0.0 => Some(false),
            _ => None,
        },
    }
}

/// Joins a prompt with messages that end in a reply, and takes the reply off. `None` if the assistant is not last.
pub(crate) fn answered(
    place: Place<'_>,
    prompt: Option<Prompt>,
    mut messages: Vec<Message>,
) -> Result<Option<(Prompt, String)>, DataError> {
    let Some(reply) = messages.pop_if(|message| message.role == "assistant") else { return Ok(None) };
    let history = match prompt {
        None => messages,
        // The list repeats the prompt.
        Some(Prompt::Messages(prompt)) if messages.starts_with(&prompt) => messages,
        Some(Prompt::Messages(prompt)) => [prompt, messages].concat(),
        Some(Prompt::Text(prompt)) => match messages.iter().rfind(|message| message.role == "user") {
            None => {
                messages.push(Message::new("user", prompt));
                messages
            }
            Some(last) if last.content == prompt => messages,
            Some(last) => {
                let rule = "the last user message of the lists, or a list of messages";
                let got = format!("another text than `{}`", last.content.chars().take(40).collect::<String>());
                return Err(refuse(place, "prompt", rule, got));
            }
        },
    };
    Ok(Some((Prompt::Messages(history), reply.content)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    fn read<R: Record>(row: Value) -> Result<Result<R, Why>, String> {
        let place = Place { path: Path::new("rows.jsonl"), unit: "line", number: 3 };
        let row = row.as_object().cloned().unwrap();
        let read = R::from_row(place, row).map_err(|error| error.to_string())?;
        Ok(read.map_err(|untaught| {
            assert_eq!(untaught.line, 3);
            untaught.why
        }))
    }

    fn pair(prompt: Prompt, margin: Option<f32>) -> Preference {
        Preference {
            prompt,
            chosen: "yes".into(),
            rejected: "no".into(),
            margin,
            reference: None,
            consistency: None,
            weight: None,
            line: 3,
        }
    }

    fn user(content: &str) -> Value {
        json!({"role": "user", "content": content})
    }

    fn says(content: &str) -> Value {
        json!({"role": "assistant", "content": content})
    }

    #[test]
    fn plain_pairs_are_read() {
        let row = json!({"prompt": "q", "chosen": "yes", "rejected": "no", "id": 1});
        assert_eq!(read(row).unwrap(), Ok(pair(Prompt::Text("q".into()), None)));
        let row = json!({"prompt": [user("q")], "chosen": "yes", "rejected": "no", "margin": 2});
        assert_eq!(read(row).unwrap(), Ok(pair(Prompt::Messages(vec![Message::new("user", "q")]), Some(2.0))));
    }

    #[test]
    fn conversations_may_part_before_their_last_reply() {
        let row = |chosen: &[Value], rejected: &[Value]| json!({"chosen": chosen, "rejected": rejected, "weight": 0.5});
        let opening = || vec![Message::new("user", "x")];
        let turns = |reply: &str| vec![Message::new("assistant", reply), Message::new("user", "y")];
        let got = read::<Dialogues>(row(
            &[user("x"), says("a"), user("y"), says("b")],
            &[user("x"), says("c"), user("y"), says("d")],
        ));
        let Dialogues { pair, between } = got.unwrap().unwrap();
        assert_eq!((pair.prompt, pair.weight), (Prompt::Messages(opening()), Some(0.5)));
        assert_eq!((pair.chosen.as_str(), pair.rejected.as_str()), ("b", "d"));
        assert_eq!(between, [turns("a"), turns("c")]);
        // One side may be shorter.
        let got = read::<Dialogues>(row(&[user("x"), says("a"), user("y"), says("b")], &[user("x"), says("d")]));
        let Dialogues { pair, between } = got.unwrap().unwrap();
        assert_eq!((pair.prompt, between), (Prompt::Messages(opening()), [turns("a"), Vec::new()]));
        // As a pair of replies to one prompt it cannot teach, and says why.
        let parted = row(&[user("x"), says("a"), user("y"), says("b")], &[user("x"), says("d")]);
        assert_eq!(read::<Preference>(parted).unwrap(), Err(Why::Parted));
        // What other pairs are, they stay.
        let plain = json!({"prompt": "q", "chosen": "yes", "rejected": "no"});
        let Dialogues { pair: got, between } = read::<Dialogues>(plain).unwrap().unwrap();
        assert_eq!((got, between), (pair_of_texts(), [Vec::new(), Vec::new()]));
        let why = |chosen: &[Value], rejected: &[Value]| read::<Dialogues>(row(chosen, rejected)).unwrap().unwrap_err();
        // They part at what the user says, or at the first message.
        let asked = |text: &str| [user("x"), says("a"), user(text), says("b")];
        assert_eq!(why(&asked("y"), &asked("z")), Why::DifferentPrompts);
        assert_eq!(why(&[says("a"), user("y"), says("b")], &[says("c"), user("y"), says("d")]), Why::EmptyPrompt);
        assert_eq!(why(&[user("x"), says("a"), user("y"), says(" ")], &[user("x"), says("d")]), Why::EmptyCompletion);
        assert_eq!(why(&[user("x"), says("a"), user("y")], &[user("x"), says("d")]), Why::NoReply);
    }

    /// What the plain row of the tests is.
    fn pair_of_texts() -> Preference {
        pair(Prompt::Text("q".into()), None)
    }

    #[test]
    fn a_label_may_have_a_weight() {
        let row = |weight: Value| json!({"prompt": "q", "chosen": "a", "rejected": "b", "weight": weight});
        let read = |weight: Value| read::<Preference>(row(weight)).map(|pair| pair.unwrap().weight);
        assert_eq!(read(json!(2.5)), Ok(Some(2.5)));
        assert_eq!(read(json!(0)), Ok(Some(0.0)));
        assert_eq!((read(json!(null)), read(json!(" ")), read(json!("0.5"))), (Ok(None), Ok(None), Ok(Some(0.5))));
        for wrong in [json!(-1), json!(1e300), json!("much"), json!([1])] {
            let said = read(wrong.clone()).unwrap_err();
            let rule = format!("`weight` must hold a finite number of 32 bits, 0 or above, got {wrong}");
            assert!(said.contains(&rule), "{said}");
        }
    }

    #[test]
    fn a_pair_may_have_a_third_reply_and_a_consistency() {
        let row = |reference: Value| {
            let row =
                json!({"prompt": "q", "chosen": "a", "rejected": "b", "reference": reference, "consistency": 0.5});
            let pair = read::<Preference>(row).unwrap().unwrap();
            assert_eq!(pair.consistency, Some(0.5));
            pair.reference
        };
        assert_eq!(row(json!("c")).as_deref(), Some("c"));
        assert_eq!(row(json!([user("q"), says("c")])).as_deref(), Some("c"));
        // A column of this name may mean something else.
        for other in [json!(null), json!(" "), json!(7), json!([]), json!(["c"])] {
            assert_eq!(row(other), None);
        }
    }

    #[test]
    fn every_way_to_write_a_conversation_reads_the_same() {
        let expected = pair(Prompt::Messages(vec![Message::new("user", "q")]), None);
        let check = |row: Value| assert_eq!(read(row).unwrap(), Ok(expected.clone()));
        // Explicit, implicit, repeated, and repeated beside a text.
        check(json!({"prompt": [user("q")], "chosen": [says("yes")], "rejected": [says("no")]}));
        check(json!({"chosen": [user("q"), says("yes")], "rejected": [user("q"), says("no")]}));
        check(json!({"prompt": [user("q")], "chosen": [user("q"), says("yes")], "rejected": [user("q"), says("no")]}));
        check(json!({"prompt": "q", "chosen": [user("q"), says("yes")], "rejected": [user("q"), says("no")]}));
        check(json!({"prompt": "q", "chosen": [says("yes")], "rejected": [says("no")]}));
        check(json!({"chosen": "\n\nHuman: q\n\nAssistant: yes", "rejected": "\n\nHuman: q\n\nAssistant: no"}));
    }

    #[test]
    fn rows_that_cannot_teach_are_told_apart() {
        let check = |row: Value, why: Why| assert_eq!(read::<Preference>(row).unwrap(), Err(why));
        check(json!({"prompt": "q", "chosen": "a", "rejected": "a"}), Why::EqualPair);
        check(json!({"prompt": "q", "chosen": "a", "rejected": " \n"}), Why::EmptyCompletion);
        check(json!({"prompt": "q", "chosen": "", "rejected": ""}), Why::EmptyCompletion);
        check(json!({"prompt": " ", "chosen": "a", "rejected": "b"}), Why::EmptyPrompt);
        check(json!({"chosen": [says("a")], "rejected": [says("b")]}), Why::EmptyPrompt);
        let (x, y) = ([user("x"), says("a")], [user("y"), says("b")]);
        check(json!({"chosen": x, "rejected": y}), Why::DifferentPrompts);
        check(json!({"chosen": x, "rejected": [user("x")]}), Why::NoReply);
        check(json!({"prompt": "q", "chosen": [], "rejected": [says("b")]}), Why::NoReply);
        assert_eq!(
            read::<PromptCompletion>(json!({"prompt": "q", "completion": ""})).unwrap(),
            Err(Why::EmptyCompletion)
        );
        assert_eq!(read::<PromptCompletion>(json!({"prompt": "", "completion": "a"})).unwrap(), Err(Why::EmptyPrompt));
        assert_eq!(read::<LanguageModelling>(json!({"messages": []})).unwrap(), Err(Why::EmptyCompletion));
        assert_eq!(read::<LanguageModelling>(json!({"text": "\n"})).unwrap(), Err(Why::EmptyCompletion));
    }

    #[test]
    fn the_words_of_a_conversation_are_those_of_a_text() {
        let row = |prompt: Value| read::<Preference>(json!({"prompt": prompt, "chosen": "a", "rejected": "b"}));
        let words = |prompt: Value| row(prompt).unwrap().unwrap().words();
        assert_eq!(words(json!("how many?")), "how many?");
        assert_eq!(words(json!([user("how many?")])).trim(), "how many?");
        assert_eq!(words(json!([user("a"), says("b"), user("c")])).trim(), "a b c");
    }

    #[test]
    fn bad_columns_are_named() {
        let check = |row: Value, part: &str| {
            let message = read::<Preference>(row).unwrap_err();
            assert!(message.starts_with("rows.jsonl, line 3: "), "{message}");
            assert!(message.contains(part), "{message}");
        };
        check(json!({"chosen": "a", "rejected": "b"}), "plain texts without a prompt; add a `prompt` column");
        check(
            json!({"chosen": "a"}),
            "`rejected` is missing; wanted prompt, chosen, rejected [, margin, reference, consistency, weight], found chosen;",
        );
        check(
            json!({"prompt": 1, "chosen": "a", "rejected": "b"}),
            "`prompt` must hold a string, or a list of messages",
        );
        check(json!({"prompt": null, "chosen": "a", "rejected": "b"}), "got null");
        check(json!({"prompt": "q", "chosen": "a", "rejected": [says("b")]}), "must hold the same as `chosen`");
        check(json!({"prompt": "q", "chosen": [{"role": "user"}], "rejected": []}), "got no `content` in message 1");
        check(json!({"prompt": "q", "chosen": [{"role": 1}], "rejected": []}), "got a number as `role` in message 1");
        check(json!({"prompt": "q", "chosen": "a", "rejected": "b", "margin": "x"}), "`margin` must hold a finite");
        check(json!({"prompt": "q", "chosen": "a", "rejected": "b", "margin": 1e300}), "`margin` must hold a finite");
        for share in [json!(-0.1), json!(1.5), json!("x")] {
            let row = json!({"prompt": "q", "chosen": "a", "rejected": "b", "consistency": share});
            check(row, "`consistency` must hold a number from 0 to 1");
        }
        let (x, y) = ([user("x"), says("a")], [user("x"), says("b")]);
        check(json!({"prompt": "z", "chosen": x, "rejected": y}), "another text than `x`");
        let call = json!({"role": "assistant", "content": "", "tool_calls": [{"name": "f"}]});
        check(
            json!({"prompt": "z", "chosen": [call], "rejected": y}),
            "`tool_calls`, which are not supported, in message 1",
        );
    }

    #[test]
    fn completions_and_texts_are_read() {
        let expected = PromptCompletion { prompt: Prompt::Text("q".into()), completion: "a".into(), line: 3 };
        assert_eq!(read(json!({"prompt": "q", "completion": "a"})).unwrap(), Ok(expected));
        let messages = Prompt::Messages(vec![Message::new("user", "q")]);
        let expected = PromptCompletion { prompt: messages.clone(), completion: "a".into(), line: 3 };
        assert_eq!(read(json!({"prompt": [user("q")], "completion": [says("a")]})).unwrap(), Ok(expected));
        let text = LanguageModelling { content: Prompt::Text("t".into()), line: 3 };
        assert_eq!(read(json!({"text": "t"})).unwrap(), Ok(text));
        let expected = LanguageModelling { content: messages, line: 3 };
        assert_eq!(read(json!({"text": "t", "messages": [user("q")]})).unwrap(), Ok(expected));
        let message = read::<LanguageModelling>(json!({"messages": "t"})).unwrap_err();
        assert!(message.contains("`messages` must hold a list of messages"), "{message}");
        let message = read::<LanguageModelling>(json!({"txt": "t"})).unwrap_err();
        assert!(message.contains("--columns text=txt"), "{message}");
    }
}
