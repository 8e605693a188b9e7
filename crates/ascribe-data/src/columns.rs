//! Column names: those of TRL's dataset formats are read as they are, others through a map that the user gives.

use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::formats::Format;
use crate::read::Place;
use crate::{DataError, Rows};

/// The kinds of data, told apart by their columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `messages` or `text`.
    LanguageModelling,
    /// `prompt` alone.
    PromptOnly,
    /// `prompt` and `completion`.
    PromptCompletion,
    /// `prompt`, `chosen`, `rejected` and, if present, `margin`, `reference` and `consistency`.
    Preference,
    /// `prompt`, `completion` and `label`.
    Unpaired,
    /// `prompt`, `completions` and `labels`.
    Stepwise,
    /// `prompt`, `completion` and `ratings`.
    Rated,
    /// `prompt`, `chosen` and `rejected`, of which the last two are lists.
    Choices,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::LanguageModelling,
        Self::PromptOnly,
        Self::PromptCompletion,
        Self::Preference,
        Self::Unpaired,
        Self::Stepwise,
        Self::Rated,
        Self::Choices,
    ];

    /// The name, for the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::LanguageModelling => "language-modelling",
            Self::PromptOnly => "prompt-only",
            Self::PromptCompletion => "prompt-completion",
            Self::Preference => "preference",
            Self::Unpaired => "unpaired",
            Self::Stepwise => "stepwise",
            Self::Rated => "rated",
            Self::Choices => "choices",
        }
    }

    /// The kind of the first row of `path`, after the map: that of TRL's columns, or of a published layout.
    ///
    /// # Errors
    /// Those of [`Rows`], [`DataError::Empty`], [`DataError::Ambiguous`] for a row that can be read in two ways and
    /// [`DataError::MissingColumn`] for one that cannot be read.
    pub fn detect(path: impl AsRef<Path>, map: &ColumnMap) -> Result<Self, DataError> {
        let mut rows = Rows::open(&path)?;
        let Some(first) = rows.next() else {
            return Err(DataError::Empty { path: path.as_ref().to_owned() });
        };
        let (number, row) = first?;
        let row = map.apply(rows.place(number), row)?;
        Ok(Format::detect(rows.place(number), &row, None)?.1)
    }

    /// The columns of this kind, as a sentence part.
    pub fn columns(self) -> &'static str {
        match self {
            Self::LanguageModelling => "messages or text",
            Self::PromptOnly => "prompt",
            Self::PromptCompletion => "prompt, completion",
            Self::Preference => "prompt, chosen, rejected [, margin, reference, consistency, weight]",
            Self::Unpaired => "prompt, completion, label",
            Self::Stepwise => "prompt, completions, labels",
            Self::Rated => "prompt, completion, ratings",
            Self::Choices => "prompt, chosen, rejected [, subset]",
        }
    }
}

/// What the steps of PRM800K that are neither right nor wrong, with the rating 0, are taken for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Neutral {
    /// Wrong, as TRL takes them.
    #[default]
    Wrong,
    /// Right, as its authors take them to score solutions (arXiv:2305.20050, appendix F).
    Right,
}

/// Which column of the file each of our columns is read from, and what neutral steps are taken for. The default changes
/// nothing.
///
/// Displays what it does to columns: ``prompt is read from `question` ``.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnMap {
    pairs: Vec<(&'static str, String)>,
    neutral: Option<Neutral>,
}

impl ColumnMap {
    /// Reads pairs such as `prompt=question`: our name first, the file's name second. Pairs may swap two columns.
    ///
    /// # Errors
    /// [`DataError::ColumnMap`] for a pair without `=`, an unknown name, or a name that occurs twice.
    pub fn parse<S: AsRef<str>>(pairs: &[S]) -> Result<Self, DataError> {
        let mut map = Self::default();
        for pair in pairs.iter().map(AsRef::as_ref) {
            let refuse = |reason: String| DataError::ColumnMap { got: pair.to_owned(), reason };
            let (name, source) = pair.split_once('=').ok_or_else(|| refuse("there is no `=`".into()))?;
            let (name, source) = (name.trim(), source.trim());
            if source.is_empty() {
                return Err(refuse("the name of the file's column is empty".into()));
            }
            let Some((known, _)) = ALIASES.iter().find(|(known, _)| *known == name) else {
                let names = ALIASES.map(|(known, _)| known);
                let close = closest(name, names).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
                return Err(refuse(format!("`{name}` is none of {}{close}", names.join(", "))));
            };
            if map.pairs.iter().any(|(taken, _)| taken == known) {
                return Err(refuse(format!("`{name}` is given twice")));
            }
            if map.pairs.iter().any(|(_, taken)| taken == source) {
                return Err(refuse(format!("column `{source}` is used twice")));
            }
            map.pairs.push((known, source.to_owned()));
        }
        Ok(map)
    }

    /// The map that takes neutral steps for this; `None` is the default, and is right with files of every layout.
    pub fn with_neutral(self, neutral: Option<Neutral>) -> Self {
        Self { neutral, ..self }
    }

    /// What neutral steps are taken for, where it was said.
    pub fn neutral(&self) -> Option<Neutral> {
        self.neutral
    }

    /// True if no column is read from another one.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Renames the columns of a row. All columns are taken out before any is put back.
    ///
    /// # Errors
    /// [`DataError::MissingColumn`] if the row lacks a column that the map names.
    pub fn apply(&self, place: Place<'_>, mut row: Map<String, Value>) -> Result<Map<String, Value>, DataError> {
        if let Some((_, source)) = self.pairs.iter().find(|(_, source)| !row.contains_key(source)) {
            return Err(missing_column(place, source, "what --columns names", &row));
        }
        let taken: Vec<_> = self.pairs.iter().map(|(name, source)| (*name, row.shift_remove(source))).collect();
        row.extend(taken.into_iter().map(|(name, value)| (name.to_owned(), value.unwrap_or_default())));
        Ok(row)
    }
}

impl fmt::Display for ColumnMap {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, source)) in self.pairs.iter().enumerate() {
            write!(out, "{}{name} is read from `{source}`", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// The error for a column that is not there, with a suggestion if another column could be meant.
pub(crate) fn missing_column(
    place: Place<'_>,
    missing: &str,
    wanted: &'static str,
    row: &Map<String, Value>,
) -> DataError {
    let close = similar(missing, row);
    let known = ALIASES.iter().any(|(known, _)| *known == missing);
    let hint = match close {
        Some(close) if known => format!("; did you mean `{close}`? then give --columns {missing}={close}"),
        Some(close) => format!("; did you mean `{close}`?"),
        None if known => format!("; name the column that holds it with --columns {missing}=NAME"),
        None => "; correct --columns".to_owned(),
    };
    DataError::MissingColumn { place: place.to_string(), missing: missing.to_owned(), wanted, found: found(row), hint }
}

/// The columns of a row, for messages.
pub(crate) fn found(row: &Map<String, Value>) -> String {
    match row.is_empty() {
        true => "none".to_owned(),
        false => row.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
    }
}

/// Our columns, each with names under which other collections keep the same thing. These are suggested, never assumed.
const ALIASES: [(&str, &[&str]); 15] = [
    ("prompt", &["question", "instruction", "query", "input", "problem"]),
    ("chosen", &["chosen_response", "response_chosen", "response_0"]),
    ("rejected", &["rejected_response", "dispreferred", "response_rejected", "response_1"]),
    ("margin", &["score_margin"]),
    ("completion", &["response", "answer", "output", "solution"]),
    ("text", &["content", "document"]),
    ("messages", &["conversation", "conversations", "dialogue"]),
    ("label", &["kto_tag"]),
    ("completions", &["steps"]),
    ("labels", &["step_labels"]),
    ("ratings", &["scores"]),
    ("preferred", &["better_response_id", "safer_response_id"]),
    ("reference", &["reference_answer", "gold"]),
    ("consistency", &["agreement"]),
    ("weight", &["confidence", "label_weight"]),
];

/// The column of a row that could be meant by `name`: one of its aliases, or one that is spelled much like it.
pub(crate) fn similar<'a>(name: &str, row: &'a Map<String, Value>) -> Option<&'a str> {
    let others = || row.keys().map(String::as_str).filter(|other| ALIASES.iter().all(|(known, _)| known != other));
    let aliases = ALIASES.iter().find(|(known, _)| *known == name).map_or(&[][..], |(_, aliases)| aliases);
    others().find(|other| aliases.contains(other)).or_else(|| closest(name, others()))
}

/// The most similar of `names`, if it is similar at all (Jaro-Winkler above 0.8, as spelling mistakes are).
fn closest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let scored = names.into_iter().map(|other| (strsim::jaro_winkler(name, &other.to_lowercase()), other));
    scored.filter(|(score, _)| *score > 0.8).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, other)| other)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tempfile::NamedTempFile;

    use super::*;

    fn apply(pairs: &[&str], row: Value) -> Result<Value, String> {
        let place = Place { path: Path::new("rows.jsonl"), unit: "line", number: 4 };
        let map = ColumnMap::parse(pairs).map_err(|error| error.to_string())?;
        let Value::Object(row) = row else { return Err("the test gave no object".into()) };
        map.apply(place, row).map(Value::Object).map_err(|error| error.to_string())
    }

    #[test]
    fn columns_are_renamed_and_swapped() {
        let row = json!({"question": "q", "chosen": "a", "rejected": "b", "id": 7});
        let mapped = apply(&["prompt=question", "chosen = rejected", "rejected=chosen"], row);
        assert_eq!(mapped.unwrap(), json!({"id": 7, "prompt": "q", "chosen": "b", "rejected": "a"}));
        let map = ColumnMap::parse(&["prompt=question", "chosen=best"]).unwrap();
        assert_eq!(map.to_string(), "prompt is read from `question`, chosen is read from `best`");
        assert!(ColumnMap::default().is_empty());
    }

    #[test]
    fn a_map_that_makes_no_sense_is_refused() {
        let check = |pairs: &[&str], part: &str| {
            let message = apply(pairs, json!({})).unwrap_err();
            assert!(message.contains(part), "{message}");
        };
        check(&["prompt"], "got `prompt`: there is no `=`");
        check(&["prompt="], "is empty");
        check(&["promt=q"], "`promt` is none of prompt, chosen, rejected, margin, completion, text, messages, label,");
        check(&["promt=q"], "did you mean `prompt`?");
        check(&["prompt=a", "prompt=b"], "`prompt` is given twice");
        check(&["chosen=a", "rejected=a"], "column `a` is used twice");
    }

    #[test]
    fn a_mapped_column_that_is_absent_is_named_with_the_one_that_is_close() {
        assert_eq!(
            apply(&["prompt=question"], json!({"questoin": "q", "chosen": "a"})).unwrap_err(),
            "rows.jsonl, line 4: column `question` is missing; wanted what --columns names, found questoin, chosen; \
             did you mean `questoin`?"
        );
        assert!(apply(&["prompt=question"], json!({"x": 1})).unwrap_err().ends_with("found x; correct --columns"));
    }

    #[test]
    fn a_missing_column_comes_with_a_close_match() {
        let check = |missing: &str, row: Value, end: &str| {
            let place = Place { path: Path::new("rows.jsonl"), unit: "line", number: 1 };
            let message = missing_column(place, missing, "w", row.as_object().unwrap()).to_string();
            assert!(message.ends_with(end), "{message}");
        };
        check("rejected", json!({"chosen": "", "rejectd": ""}), "`rejectd`? then give --columns rejected=rejectd");
        check("prompt", json!({"chosen": "", "question": ""}), "`question`? then give --columns prompt=question");
        check(
            "rejected",
            json!({"chosen": "", "zzz": ""}),
            "name the column that holds it with --columns rejected=NAME",
        );
        check("prompt", json!({}), "found none; name the column that holds it with --columns prompt=NAME");
    }

    #[test]
    fn the_kind_is_told_by_the_columns() {
        let check = |row: Value, kind: Result<Kind, &str>| {
            let file = NamedTempFile::new().unwrap();
            std::fs::write(file.path(), row.to_string()).unwrap();
            match (Kind::detect(file.path(), &ColumnMap::default()), kind) {
                (Ok(got), Ok(kind)) => assert_eq!(got, kind),
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
                (got, kind) => panic!("{got:?} instead of {kind:?}"),
            }
        };
        check(json!({"prompt": "", "chosen": "", "rejected": "", "messages": []}), Ok(Kind::Preference));
        check(json!({"prompt": "", "completion": "", "messages": []}), Ok(Kind::PromptCompletion));
        check(json!({"text": ""}), Ok(Kind::LanguageModelling));
        check(json!({"prompt": "", "ground_truth": ""}), Ok(Kind::PromptOnly));
        check(json!({"prompt": "", "completion": "", "label": true}), Ok(Kind::Unpaired));
        check(json!({"prompt": "", "completion": "", "label": "maths"}), Ok(Kind::PromptCompletion));
        check(json!({"prompt": "", "completions": [], "labels": []}), Ok(Kind::Stepwise));
        check(json!({"prompt": "", "completion": "", "ratings": {}}), Ok(Kind::Rated));
        check(json!({"prompt": "", "chosen": ["a"], "rejected": ["b"]}), Ok(Kind::Choices));
        check(json!({"question": "", "answer": ""}), Ok(Kind::PromptCompletion));
        check(json!({"prompt": "", "answer": ""}), Err("--columns completion=answer"));
        check(json!({"prompt": "", "completions": []}), Err("`labels` is missing"));
        check(json!({"chosen": "", "reject": ""}), Err("--columns rejected=reject"));
        check(json!({"a": ""}), Err("`messages` is missing"));
        check(json!({"conversations": []}), Err("--columns messages=conversations"));
    }
}
