//! Rows beyond pairs and completions: prompts alone, replies with a label or with ratings, steps with labels, and lists of
//! right and wrong replies.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Map, Value};

use crate::read::{Place, name_of};
use crate::record::{answered, flag, refuse, require, take};
use crate::teach::Untaught;
use crate::{DataError, Kind, Prompt, Record, Why};

/// A prompt, with what else the row has: an answer to check against, say.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PromptOnly {
    /// What is asked.
    pub prompt: Prompt,
    /// All other columns, under their own names.
    #[serde(flatten)]
    pub others: Map<String, Value>,
    /// Number of the row: its line in JSONL, its element in a JSON array, its row in Parquet, from 1.
    #[serde(skip)]
    pub line: usize,
}

/// A reply that was found good or bad.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unpaired {
    /// What the reply follows.
    pub prompt: Prompt,
    /// The reply.
    pub completion: String,
    /// True if it is wanted.
    pub label: bool,
    /// Number of the row, from 1.
    #[serde(skip)]
    pub line: usize,
}

/// A reply in steps.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stepwise {
    /// What the steps follow.
    pub prompt: Prompt,
    /// The steps, in order; none is blank.
    pub completions: Vec<String>,
    /// For each step the probability that it is right: 0 or 1 where it was judged, between them where it was estimated,
    /// absent where nobody says. In a file -1 stands for wrong as well, and a neutral 0 counts as wrong.
    pub labels: Vec<Option<f32>>,
    /// Number of the row, from 1.
    #[serde(skip)]
    pub line: usize,
}

/// A reply with ratings by attribute.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Rated {
    /// What the reply follows.
    pub prompt: Prompt,
    /// The reply.
    pub completion: String,
    /// Ratings by attribute, finite, in the order of the file.
    #[serde(serialize_with = "by_attribute")]
    pub ratings: Vec<(String, f64)>,
    /// Number of the row, from 1.
    #[serde(skip)]
    pub line: usize,
}

/// Right and wrong replies to one prompt, as benchmarks of reward models have them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Choices {
    /// What the replies follow.
    pub prompt: Prompt,
    /// The right replies; at least one.
    pub chosen: Vec<String>,
    /// The wrong replies; at least one.
    pub rejected: Vec<String>,
    /// The part of the benchmark that the row belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subset: Option<String>,
    /// Number of the row, from 1.
    #[serde(skip)]
    pub line: usize,
}

impl Record for PromptOnly {
    const KIND: Kind = Kind::PromptOnly;

    fn from_row(place: Place<'_>, mut row: Map<String, Value>) -> Result<Result<Self, Untaught>, DataError> {
        require(place, Self::KIND, &["prompt"], &row)?;
        let prompt = take(place, "prompt", &mut row)?;
        let line = place.number;
        Ok(match prompt.is_blank() {
            true => Err(Untaught { line, why: Why::EmptyPrompt }),
            false => Ok(Self { prompt, others: row, line }),
        })
    }

    fn key(&self) -> String {
        self.prompt.key()
    }
}

impl Record for Unpaired {
    const KIND: Kind = Kind::Unpaired;

    fn from_row(place: Place<'_>, mut row: Map<String, Value>) -> Result<Result<Self, Untaught>, DataError> {
        require(place, Self::KIND, &["prompt", "completion", "label"], &row)?;
        let label = row.shift_remove("label").unwrap_or_default();
        let rule = "true, false, 1 or 0";
        let label = flag(&label).ok_or_else(|| refuse(place, "label", rule, label.to_string()))?;
        let line = place.number;
        let reply = reply(place, &mut row)?;
        let taught = reply.map(|(prompt, completion)| Self { prompt, completion, label, line });
        Ok(taught.map_err(|why| Untaught { line, why }))
    }

    fn key(&self) -> String {
        self.prompt.key()
    }
}

impl Record for Stepwise {
    const KIND: Kind = Kind::Stepwise;

    fn from_row(place: Place<'_>, mut row: Map<String, Value>) -> Result<Result<Self, Untaught>, DataError> {
        require(place, Self::KIND, &["prompt", "completions", "labels"], &row)?;
        let prompt = take(place, "prompt", &mut row)?;
        let completions = texts(place, "completions", row.shift_remove("completions").unwrap_or_default())?;
        let labels = match row.shift_remove("labels").unwrap_or_default() {
            Value::Array(labels) => {
                labels.iter().map(|label| step_label(place, label)).collect::<Result<Vec<_>, _>>()?
            }
            other => return Err(refuse(place, "labels", STEP_LABELS, name_of(&other).to_owned())),
        };
        let line = place.number;
        let taught = if prompt.is_blank() {
            Err(Why::EmptyPrompt)
        } else if completions.is_empty() || completions.iter().any(|step| step.trim().is_empty()) {
            Err(Why::EmptyCompletion)
        } else if completions.len() != labels.len() {
            Err(Why::StepLabels)
        } else if labels.iter().all(Option::is_none) {
            Err(Why::NoLabel)
        } else {
            Ok(Self { prompt, completions, labels, line })
        };
        Ok(taught.map_err(|why| Untaught { line, why }))
    }

    fn key(&self) -> String {
        self.prompt.key()
    }
}

/// The name of a rating that has none.
const RATING: &str = "rating";

impl Record for Rated {
    const KIND: Kind = Kind::Rated;

    fn from_row(place: Place<'_>, mut row: Map<String, Value>) -> Result<Result<Self, Untaught>, DataError> {
        require(place, Self::KIND, &["prompt", "completion", "ratings"], &row)?;
        let rule = "numbers by attribute, or one number";
        let ratings = match row.shift_remove("ratings").unwrap_or_default() {
            Value::Object(ratings) => ratings,
            number @ Value::Number(_) => Map::from_iter([(RATING.to_owned(), number)]),
            other => return Err(refuse(place, "ratings", rule, name_of(&other).to_owned())),
        };
        let rating = |(attribute, value): (String, Value)| match value.as_f64() {
            Some(rating) => Ok((attribute, rating)),
            None => Err(refuse(place, "ratings", rule, format!("{} as `{attribute}`", name_of(&value)))),
        };
        let ratings = ratings.into_iter().map(rating).collect::<Result<Vec<_>, _>>()?;
        let line = place.number;
        let taught = match reply(place, &mut row)? {
            Err(why) => Err(why),
            Ok(_) if ratings.is_empty() => Err(Why::NoLabel),
            Ok((prompt, completion)) => Ok(Self { prompt, completion, ratings, line }),
        };
        Ok(taught.map_err(|why| Untaught { line, why }))
    }

    fn key(&self) -> String {
        self.prompt.key()
    }
}

impl Record for Choices {
    const KIND: Kind = Kind::Choices;

    fn from_row(place: Place<'_>, mut row: Map<String, Value>) -> Result<Result<Self, Untaught>, DataError> {
        require(place, Self::KIND, &["prompt", "chosen", "rejected"], &row)?;
        let prompt = take(place, "prompt", &mut row)?;
        let mut side = |column: &'static str| match row.shift_remove(column).unwrap_or_default() {
            Value::String(reply) => Ok(vec![reply]),
            replies => texts(place, column, replies),
        };
        let (chosen, rejected) = (side("chosen")?, side("rejected")?);
        let subset = match row.shift_remove("subset") {
            None | Some(Value::Null) => None,
            Some(Value::String(subset)) => Some(subset),
            Some(other) => return Err(refuse(place, "subset", "a string", name_of(&other).to_owned())),
        };
        let line = place.number;
        let blank = |replies: &[String]| replies.is_empty() || replies.iter().any(|reply| reply.trim().is_empty());
        let taught = if prompt.is_blank() {
            Err(Why::EmptyPrompt)
        } else if blank(&chosen) || blank(&rejected) {
            Err(Why::EmptyCompletion)
        } else if chosen.iter().any(|reply| rejected.contains(reply)) {
            Err(Why::EqualPair)
        } else {
            Ok(Self { prompt, chosen, rejected, subset, line })
        };
        Ok(taught.map_err(|why| Untaught { line, why }))
    }

    fn key(&self) -> String {
        self.prompt.key()
    }
}

fn by_attribute<S: Serializer>(ratings: &[(String, f64)], out: S) -> Result<S::Ok, S::Error> {
    let mut map = out.serialize_map(Some(ratings.len()))?;
    for (attribute, rating) in ratings {
        map.serialize_entry(attribute, rating)?;
    }
    map.end()
}

const STEP_LABELS: &str = "a list of true, false, null, -1, or numbers of 0 to 1";

fn step_label(place: Place<'_>, label: &Value) -> Result<Option<f32>, DataError> {
    match (label, label.as_f64()) {
        (Value::Null, _) => Ok(None),
        (Value::Bool(right), _) => Ok(Some(f32::from(u8::from(*right)))),
        (_, Some(-1.0)) => Ok(Some(0.0)),
        (_, Some(share)) if (0.0..=1.0).contains(&share) => Ok(Some(share as f32)),
        _ => Err(refuse(place, "labels", STEP_LABELS, label.to_string())),
    }
}

/// The strings of a list.
fn texts(place: Place<'_>, column: &'static str, value: Value) -> Result<Vec<String>, DataError> {
    let rule = "a list of strings";
    let Value::Array(items) = value else { return Err(refuse(place, column, rule, name_of(&value).to_owned())) };
    let text = |item: Value| match item {
        Value::String(text) => Ok(text),
        other => Err(refuse(place, column, rule, format!("{} in it", name_of(&other)))),
    };
    items.into_iter().map(text).collect()
}

/// Takes a prompt and its completion.
fn reply(place: Place<'_>, row: &mut Map<String, Value>) -> Result<Result<(Prompt, String), Why>, DataError> {
    let prompt = take(place, "prompt", row)?;
    let answer = match take(place, "completion", row)? {
        Prompt::Text(completion) => Some((prompt, completion)),
        Prompt::Messages(completion) => answered(place, Some(prompt), completion)?,
    };
    Ok(match answer {
        None => Err(Why::NoReply),
        Some((_, completion)) if completion.trim().is_empty() => Err(Why::EmptyCompletion),
        Some((prompt, _)) if prompt.is_blank() => Err(Why::EmptyPrompt),
        Some(both) => Ok(both),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    fn read<R: Record>(row: Value) -> Result<Result<R, Why>, String> {
        let place = Place { path: Path::new("rows.jsonl"), unit: "line", number: 3 };
        let read = R::from_row(place, row.as_object().cloned().unwrap()).map_err(|error| error.to_string())?;
        Ok(read.map_err(|untaught| untaught.why))
    }

    #[test]
    fn prompts_keep_their_other_columns() {
        let row: PromptOnly = read(json!({"prompt": "q", "answer": "4"})).unwrap().unwrap();
        assert_eq!((row.prompt.key().as_str(), &row.others["answer"]), ("q", &json!("4")));
        assert_eq!(read::<PromptOnly>(json!({"prompt": " "})).unwrap(), Err(Why::EmptyPrompt));
        assert_eq!(serde_json::to_value(&row).unwrap(), json!({"prompt": "q", "answer": "4"}));
    }

    #[test]
    fn a_label_is_a_flag_or_zero_or_one() {
        let row = |label: Value| json!({"prompt": "q", "completion": "a", "label": label});
        let label = |value: Value| read::<Unpaired>(row(value)).map(|row| row.unwrap().label);
        assert_eq!(label(json!(true)), Ok(true));
        assert_eq!(label(json!(0)), Ok(false));
        assert!(label(json!(2)).unwrap_err().contains("`label` must hold true, false, 1 or 0, got 2"));
        let row = json!({"prompt": "q", "completion": [{"role": "user", "content": "a"}], "label": true});
        assert_eq!(read::<Unpaired>(row).unwrap(), Err(Why::NoReply));
    }

    #[test]
    fn step_labels_have_one_meaning_in_every_spelling() {
        let row = |labels: Value| json!({"prompt": "q", "completions": ["a", "b", "c"], "labels": labels});
        let labels = |labels: Value| read::<Stepwise>(row(labels)).map(|row| row.map(|row| row.labels));
        assert_eq!(labels(json!([true, false, null])), Ok(Ok(vec![Some(1.0), Some(0.0), None])));
        assert_eq!(labels(json!([1, 0, -1])), Ok(Ok(vec![Some(1.0), Some(0.0), Some(0.0)])));
        assert_eq!(labels(json!([0.75, 0.5, 0])), Ok(Ok(vec![Some(0.75), Some(0.5), Some(0.0)])));
        assert_eq!(labels(json!([true, true])), Ok(Err(Why::StepLabels)));
        assert_eq!(labels(json!([null, null, null])), Ok(Err(Why::NoLabel)));
        assert!(labels(json!([1, 2, 1])).unwrap_err().contains("`labels` must hold a list of true, false, null"));
    }

    #[test]
    fn ratings_keep_their_names_and_order() {
        let row = json!({"prompt": "q", "completion": "a", "ratings": {"b": 4, "a": 0.5}});
        let row: Rated = read(row).unwrap().unwrap();
        assert_eq!(row.ratings, [("b".to_owned(), 4.0), ("a".to_owned(), 0.5)]);
        let written = json!({"prompt": "q", "completion": "a", "ratings": {"b": 4.0, "a": 0.5}});
        assert_eq!(serde_json::to_value(&row).unwrap(), written);
        // A number alone, such as a reward that was scored before.
        let row: Rated = read(json!({"prompt": "q", "completion": "a", "ratings": -1.5})).unwrap().unwrap();
        assert_eq!(row.ratings, [("rating".to_owned(), -1.5)]);
        let message = read::<Rated>(json!({"prompt": "q", "completion": "a", "ratings": {"b": "x"}})).unwrap_err();
        assert!(message.contains("got a string as `b`"), "{message}");
    }

    #[test]
    fn one_reply_a_side_is_a_choice_too() {
        let row = json!({"prompt": "q", "chosen": "a", "rejected": "b", "subset": "math-prm"});
        let row: Choices = read(row).unwrap().unwrap();
        assert_eq!(
            (row.chosen, row.rejected, row.subset.as_deref()),
            (vec!["a".into()], vec!["b".into()], Some("math-prm"))
        );
        let row = json!({"prompt": "q", "chosen": ["a", "b"], "rejected": ["b"]});
        assert_eq!(read::<Choices>(row).unwrap(), Err(Why::EqualPair));
        assert_eq!(
            read::<Choices>(json!({"prompt": "q", "chosen": [], "rejected": ["b"]})).unwrap(),
            Err(Why::EmptyCompletion)
        );
    }
}
