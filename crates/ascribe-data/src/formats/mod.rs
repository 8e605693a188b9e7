//! Published layouts of columns, and how each becomes rows with the columns of TRL.
//!
//! A layout is told by the first row. Columns that already have TRL's names are read as they are; else exactly one of the
//! layouts below must fit, and what it does is said in a note. Where two readings fit, both are named and none is taken.

mod chat;
mod ratings;
mod steps;

use serde_json::{Map, Value};

use crate::columns::{missing_column, similar};
use crate::read::{Place, name_of};
use crate::record::flag;
use crate::{DataError, Kind, Neutral, Why};

/// A layout of columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// The columns of TRL, and pairs of HH-RLHF.
    Trl,
    /// A question and its answer, as GSM8K has them.
    QuestionAnswer {
        /// The column of the prompt.
        question: &'static str,
        /// The column of the completion.
        answer: &'static str,
    },
    /// `instruction`, `input`, `output`; also with `system`, `history`, `kto_tag`, or with `chosen` and `rejected`.
    Alpaca,
    /// `conversations` of `from` and `value`; also with `kto_tag`, or with `chosen` and `rejected`.
    ShareGpt,
    /// TRL's pairs with a score of each reply, as in binarized UltraFeedback: their difference is the margin.
    ScoredPair,
    /// `response_0`, `response_1` and the number of the better one, as in PKU-SafeRLHF.
    NumberedPair,
    /// Lists of right and wrong replies, as in RewardBench 2.
    RewardBench2,
    /// `question` beside solutions with their verdicts, as in the model solutions of GSM8K.
    JudgedSolutions,
    /// `prompt`, `response` and ratings by attribute, as in HelpSteer2.
    HelpSteer,
    /// Two responses and by how much the second is preferred, as in HelpSteer2-Preference and HelpSteer3.
    HelpSteerPair,
    /// `completions` with `annotations`, as in UltraFeedback.
    UltraFeedback,
    /// `generations` (or `responses`) and a list of `ratings`.
    RatingList,
    /// `label.steps` with rated completions, as in PRM800K.
    Prm800k,
    /// Steps that end with a tag, as in Math-Shepherd.
    MathShepherd,
    /// `steps` and the number of the first wrong one, as in ProcessBench.
    ProcessBench,
    /// `modified_process` and `error_steps`, as in PRMBench.
    PrmBench,
}

/// All layouts with columns of their own names, but for questions and answers.
const NAMED: [Format; 12] = [
    Format::Alpaca,
    Format::ShareGpt,
    Format::NumberedPair,
    Format::JudgedSolutions,
    Format::HelpSteer,
    Format::HelpSteerPair,
    Format::UltraFeedback,
    Format::RatingList,
    Format::Prm800k,
    Format::MathShepherd,
    Format::ProcessBench,
    Format::PrmBench,
];

const QUESTIONS: [&str; 3] = ["question", "query", "problem"];
const ANSWERS: [&str; 4] = ["answer", "response", "output", "solution"];
/// Columns that belong to a question; to leave them out would teach another task.
const BESIDES: [&str; 5] = ["context", "input", "choices", "options", "history"];

impl Format {
    /// The layout of a row, and its kind: the one that is wanted, else the first that the layout gives.
    ///
    /// # Errors
    /// [`DataError::Ambiguous`] where two readings fit, [`DataError::MissingColumn`] where none does. Where a kind is wanted,
    /// a row without a layout is taken for TRL's, so that the error names the column that is missing.
    pub(crate) fn detect(
        place: Place<'_>,
        row: &Map<String, Value>,
        wanted: Option<Kind>,
    ) -> Result<(Self, Kind), DataError> {
        let gives = |format: Self| {
            let kinds = format.kinds(row);
            match wanted {
                Some(kind) => kinds.contains(&kind).then_some((format, kind)),
                None => kinds.first().map(|kind| (format, *kind)),
            }
        };
        if let Some(found) = gives(Self::ScoredPair).or_else(|| gives(Self::RewardBench2)) {
            return Ok(found);
        }
        if let Some(found) = gives(Self::Trl) {
            return Ok(found);
        }
        let named: Vec<_> = NAMED.into_iter().filter_map(gives).collect();
        match named.as_slice() {
            [] => {}
            [one] => return Ok(*one),
            several => return Err(ambiguous(place, several.iter().map(|(format, _)| format.words()).collect())),
        }
        let questions = questions(row);
        let answered: Vec<_> = questions.into_iter().filter_map(gives).collect();
        match (answered.as_slice(), wanted) {
            ([one], _) => Ok(*one),
            ([], Some(kind)) => Ok((Self::Trl, kind)),
            ([], None) => prompt_only(place, row),
            (several, _) => {
                let words = |format: Self| match format {
                    Self::QuestionAnswer { question, answer } => {
                        format!("prompt={question} with completion={answer}")
                    }
                    other => other.words(),
                };
                Err(ambiguous(place, several.iter().map(|(format, _)| words(*format)).collect()))
            }
        }
    }

    /// What is read from where, for the user to see; `None` where every column has its own name.
    pub(crate) fn note(self, neutral: Neutral) -> Option<String> {
        let words = match (self, neutral) {
            (Self::Prm800k, Neutral::Right) => format!("{} or 0", self.words()),
            _ => self.words(),
        };
        (self != Self::Trl).then(|| format!("read as {words}"))
    }

    fn words(self) -> String {
        match self {
            Self::Trl => "columns of TRL",
            Self::QuestionAnswer { question, answer } => {
                return format!("questions and answers: prompt is `{question}`, completion is `{answer}`");
            }
            Self::Alpaca => "Alpaca: prompt is `instruction` with `input` on the next line, completion is `output`",
            Self::ShareGpt => "ShareGPT: messages are `conversations`, human is user and gpt is assistant",
            Self::ScoredPair => "scored pairs: margin is the score of chosen minus that of rejected",
            Self::NumberedPair => "numbered pairs: chosen is the response that the number of the better one names",
            Self::RewardBench2 => "RewardBench 2: `chosen` and `rejected` are lists of replies",
            Self::JudgedSolutions => {
                "judged solutions: prompt is `question` and a line break, one row a `solution`, its label is `is_correct`"
            }
            Self::HelpSteer => "HelpSteer2: completion is `response`, each attribute is a rating",
            Self::HelpSteerPair => {
                "HelpSteer preference: above 0 the second response is chosen, and the size is the margin"
            }
            Self::UltraFeedback => "UltraFeedback: one row a completion, rated by its annotations",
            Self::RatingList => "lists of ratings: one row a generation",
            Self::Prm800k => "PRM800K: one row a rated branch, a step is right if its rating is 1",
            Self::MathShepherd => "Math-Shepherd: a step ends at its tag, which is + in `label` if it is right",
            Self::ProcessBench => "ProcessBench: `label` is the first wrong step from 0, later steps have no label",
            Self::PrmBench => "PRMBench: `error_steps` are the wrong steps of `modified_process`, from 1",
        }
        .to_owned()
    }

    /// The kinds that a row can be read as in this layout, the natural one first; none if the layout does not fit.
    fn kinds(self, row: &Map<String, Value>) -> &'static [Kind] {
        let has = |name: &str| row.contains_key(name);
        let text = |name: &str| matches!(row.get(name), Some(Value::String(_)));
        let texts = |name: &str| {
            let items = row.get(name).and_then(Value::as_array);
            items.is_some_and(|items| !items.is_empty() && items.iter().all(Value::is_string))
        };
        let list = |name: &str| matches!(row.get(name), Some(Value::Array(_)));
        let fits = |fits: bool, kinds: &'static [Kind]| if fits { kinds } else { &[] };
        match self {
            Self::Trl => trl_kinds(row),
            Self::QuestionAnswer { question, answer } => {
                fits(text(question) && text(answer), &[Kind::PromptCompletion, Kind::PromptOnly])
            }
            Self::Alpaca if text("instruction") && has("chosen") && has("rejected") => &[Kind::Preference],
            Self::Alpaca if text("instruction") && text("output") && has("kto_tag") => &[Kind::Unpaired],
            Self::Alpaca => fits(text("instruction") && text("output"), &[Kind::PromptCompletion, Kind::PromptOnly]),
            Self::ShareGpt if !chat::is_conversation(row.get("conversations")) => &[],
            Self::ShareGpt if has("chosen") && has("rejected") => &[Kind::Preference],
            Self::ShareGpt if has("kto_tag") => &[Kind::Unpaired],
            Self::ShareGpt => &[Kind::LanguageModelling, Kind::PromptCompletion],
            Self::ScoredPair => {
                let scored = has("chosen") && has("rejected") && !has("margin");
                fits(scored && ratings::scores(row).is_some(), &[Kind::Preference])
            }
            Self::NumberedPair => {
                let pair = has("prompt") && text("response_0") && text("response_1");
                fits(pair && !ratings::choices(row).is_empty(), &[Kind::Preference])
            }
            Self::RewardBench2 => {
                fits(has("prompt") && texts("chosen") && texts("rejected"), &[Kind::Choices, Kind::Preference])
            }
            Self::JudgedSolutions => fits(ratings::has_verdicts(row), &[Kind::Unpaired, Kind::Preference, Kind::Rated]),
            Self::HelpSteer => fits(
                has("prompt") && text("response") && ratings::has_attribute(row),
                &[Kind::Rated, Kind::PromptCompletion],
            ),
            Self::HelpSteerPair => fits(ratings::strength(row).is_some(), &[Kind::Preference]),
            Self::UltraFeedback => fits(text("instruction") && ratings::is_annotated(row), &[Kind::Rated]),
            Self::RatingList => fits(ratings::lists(row).is_some(), &[Kind::Rated]),
            Self::Prm800k => fits(steps::is_prm800k(row), &[Kind::Stepwise]),
            Self::MathShepherd => fits(steps::is_math_shepherd(row), &[Kind::Stepwise]),
            Self::ProcessBench => fits(text("problem") && list("steps") && has("label"), &[Kind::Stepwise]),
            Self::PrmBench => fits(list("modified_process") && list("error_steps"), &[Kind::Stepwise]),
        }
    }

    /// The rows, with TRL's columns, that a row of this layout holds for a kind. The inner results tell what cannot teach.
    ///
    /// # Errors
    /// [`DataError::Column`], [`DataError::MissingColumn`], [`DataError::Ambiguous`].
    pub(crate) fn rows(
        self,
        place: Place<'_>,
        row: Map<String, Value>,
        kind: Kind,
        neutral: Neutral,
    ) -> Result<Vec<Found>, DataError> {
        match self {
            Self::Trl => Ok(vec![Ok(row)]),
            Self::QuestionAnswer { question, answer } => {
                let mut row = row;
                let prompt = Value::String(text(place, question, &mut row)?);
                let completion = text(place, answer, &mut row)?;
                row.insert("prompt".into(), prompt);
                // Asked for prompts alone, the answer stays under its own name for whoever checks it.
                let name = if kind == Kind::PromptOnly { answer } else { "completion" };
                row.insert(name.to_owned(), Value::String(completion));
                Ok(vec![Ok(row)])
            }
            Self::Alpaca => chat::alpaca(place, row, kind).map(|row| vec![Ok(row)]),
            Self::ShareGpt => chat::share_gpt(place, row, kind).map(|row| vec![row]),
            Self::ScoredPair => ratings::scored_pair(place, row).map(|row| vec![Ok(row)]),
            Self::NumberedPair => ratings::numbered_pair(place, row).map(|row| vec![Ok(row)]),
            Self::RewardBench2 if kind == Kind::Preference => ratings::every_pair(place, row),
            Self::RewardBench2 => Ok(vec![Ok(row)]),
            Self::JudgedSolutions => ratings::judged(place, row, kind),
            Self::HelpSteer => ratings::help_steer(place, row).map(|row| vec![Ok(row)]),
            Self::HelpSteerPair => ratings::help_steer_pair(place, row).map(|row| vec![row]),
            Self::UltraFeedback => ratings::ultra_feedback(place, row),
            Self::RatingList => ratings::rating_list(place, row),
            Self::Prm800k => steps::prm800k(place, row, neutral),
            Self::MathShepherd => steps::math_shepherd(place, row).map(|row| vec![row]),
            Self::ProcessBench => steps::process_bench(place, row).map(|row| vec![Ok(row)]),
            Self::PrmBench => steps::prm_bench(place, row).map(|row| vec![Ok(row)]),
        }
    }
}

/// A row with the columns of TRL, or why it cannot teach.
type Found = Result<Map<String, Value>, Why>;

/// The kinds that TRL's names give: the most telling one first.
fn trl_kinds(row: &Map<String, Value>) -> &'static [Kind] {
    let has = |name: &str| row.contains_key(name);
    let label = row.get("label").and_then(flag).is_some();
    let rated = matches!(row.get("ratings"), Some(Value::Object(_)));
    if has("chosen") && has("rejected") && has("prompt") {
        &[Kind::Preference, Kind::Choices, Kind::PromptOnly]
    } else if has("chosen") && has("rejected") && !has("instruction") && !has("conversations") {
        &[Kind::Preference]
    } else if has("prompt") && has("completions") && has("labels") {
        &[Kind::Stepwise, Kind::PromptOnly]
    } else if has("prompt") && has("completion") && rated {
        &[Kind::Rated, Kind::PromptCompletion, Kind::PromptOnly]
    } else if has("prompt") && has("completion") && label {
        &[Kind::Unpaired, Kind::PromptCompletion, Kind::PromptOnly]
    } else if has("prompt") && has("completion") {
        &[Kind::PromptCompletion, Kind::Unpaired, Kind::PromptOnly]
    } else if has("messages") || has("text") {
        &[Kind::LanguageModelling]
    } else {
        &[]
    }
}

/// Every question with every answer that the row has.
fn questions(row: &Map<String, Value>) -> Vec<Format> {
    if BESIDES.iter().any(|name| row.contains_key(*name)) || row.contains_key("prompt") {
        return Vec::new();
    }
    let there = |names: &[&'static str]| -> Vec<&'static str> {
        names.iter().copied().filter(|name| row.contains_key(*name)).collect()
    };
    let (questions, answers) = (there(&QUESTIONS), there(&ANSWERS));
    let with = |question: &'static str| {
        answers.clone().into_iter().map(move |answer| Format::QuestionAnswer { question, answer })
    };
    questions.into_iter().flat_map(with).collect()
}

/// A row of no layout: prompts alone, unless a column could be more than that.
fn prompt_only(place: Place<'_>, row: &Map<String, Value>) -> Result<(Format, Kind), DataError> {
    let has = |name: &str| row.contains_key(name);
    if has("prompt") && !["chosen", "rejected", "completions", "labels"].into_iter().any(has) {
        return match similar("completion", row) {
            None => Ok((Format::Trl, Kind::PromptOnly)),
            Some(other) => {
                let more = format!("a prompt with its completion in `{other}` (--columns completion={other})");
                Err(ambiguous(place, vec!["a prompt alone".to_owned(), more]))
            }
        };
    }
    let missing = match (has("chosen"), has("rejected"), has("completions"), has("labels"), has("completion")) {
        (true, ..) => "rejected",
        (_, true, ..) => "chosen",
        (.., true, true, _) => "prompt",
        (.., true, false, _) => "labels",
        (.., true, _) => "completions",
        (.., true) => "prompt",
        // None of ours: the one that goes by another name here.
        _ => ["prompt", "chosen", "text"].into_iter().find(|name| similar(name, row).is_some()).unwrap_or("messages"),
    };
    let wanted = "prompt, chosen, rejected; or prompt, completion [, label]; or prompt, completions, labels; or messages; \
                  or text; or a published layout";
    Err(missing_column(place, missing, wanted, row))
}

fn ambiguous(place: Place<'_>, readings: Vec<String>) -> DataError {
    DataError::Ambiguous { place: place.to_string(), readings }
}

fn refuse(place: Place<'_>, column: &'static str, rule: &'static str, got: String) -> DataError {
    DataError::Column { place: place.to_string(), column, rule, got }
}

/// Takes a column that holds a string.
fn text(place: Place<'_>, column: &'static str, row: &mut Map<String, Value>) -> Result<String, DataError> {
    match row.shift_remove(column) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(refuse(place, column, "a string", name_of(&other).to_owned())),
        None => Err(missing_column(place, column, "every row like the first", row)),
    }
}

/// Takes a column that may be absent, null or a string.
fn optional(place: Place<'_>, column: &'static str, row: &mut Map<String, Value>) -> Result<String, DataError> {
    match row.shift_remove(column) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(refuse(place, column, "a string", name_of(&other).to_owned())),
    }
}

/// Takes a column that holds any value.
fn any(place: Place<'_>, column: &'static str, row: &mut Map<String, Value>) -> Result<Value, DataError> {
    row.shift_remove(column).ok_or_else(|| missing_column(place, column, "every row like the first", row))
}

/// Takes a column that holds a list.
fn list(place: Place<'_>, column: &'static str, row: &mut Map<String, Value>) -> Result<Vec<Value>, DataError> {
    match any(place, column, row)? {
        Value::Array(items) => Ok(items),
        other => Err(refuse(place, column, "a list", name_of(&other).to_owned())),
    }
}

/// Takes a column that holds a finite number.
fn number(place: Place<'_>, column: &'static str, row: &mut Map<String, Value>) -> Result<f64, DataError> {
    let value = any(place, column, row)?;
    value.as_f64().ok_or_else(|| refuse(place, column, "a number", value.to_string()))
}

/// A row of these columns.
fn columns<const N: usize>(columns: [(&str, Value); N]) -> Map<String, Value> {
    columns.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;

    fn place() -> Place<'static> {
        Place { path: Path::new("rows.jsonl"), unit: "line", number: 1 }
    }

    fn detected(row: &Value, wanted: Option<Kind>) -> Result<(Format, Kind), String> {
        Format::detect(place(), row.as_object().unwrap(), wanted).map_err(|error| error.to_string())
    }

    /// The rows of a layout that the columns tell, with TRL's columns.
    pub(super) fn read(row: Value, wanted: Option<Kind>) -> Vec<Result<Value, Why>> {
        let (format, kind) = detected(&row, wanted).unwrap();
        let Value::Object(row) = row else { panic!("the test gave no object") };
        let rows = format.rows(place(), row, kind, Neutral::default()).unwrap();
        rows.into_iter().map(|row| row.map(Value::Object)).collect()
    }

    #[test]
    fn two_readings_are_refused_and_both_are_named() {
        let check = |row: Value, parts: [&str; 2]| {
            let message = detected(&row, None).unwrap_err();
            assert!(message.starts_with("rows.jsonl, line 1: two readings fit: "), "{message}");
            parts.iter().for_each(|part| assert!(message.contains(part), "{part} is not in {message}"));
        };
        check(json!({"prompt": "", "answer": ""}), ["a prompt alone", "--columns completion=answer"]);
        check(
            json!({"problem": "", "solution": "", "answer": ""}),
            ["prompt=problem with completion=solution", "prompt=problem with completion=answer"],
        );
        let talk = json!([{"from": "human", "value": "q"}]);
        check(json!({"instruction": "", "output": "", "conversations": talk}), ["Alpaca", "ShareGPT"]);
        let row = json!({
            "prompt": "q", "response_0": "a", "response_1": "b", "better_response_id": 0, "safer_response_id": 1,
        });
        let (format, kind) = detected(&row, None).unwrap();
        let message =
            format.rows(place(), row.as_object().cloned().unwrap(), kind, Neutral::default()).unwrap_err().to_string();
        assert!(message.contains("--columns preferred=better_response_id, or"), "{message}");
        assert!(message.contains("--columns preferred=safer_response_id"), "{message}");
    }

    #[test]
    fn what_is_wanted_decides_between_readings() {
        let row = json!({"prompt": "", "answer": ""});
        assert_eq!(detected(&row, Some(Kind::PromptOnly)), Ok((Format::Trl, Kind::PromptOnly)));
        let row = json!({"prompt": "q", "completion": "a", "label": true});
        assert_eq!(detected(&row, None), Ok((Format::Trl, Kind::Unpaired)));
        assert_eq!(detected(&row, Some(Kind::PromptCompletion)), Ok((Format::Trl, Kind::PromptCompletion)));
    }

    #[test]
    fn questions_and_answers_are_read_unless_something_stands_beside_them() {
        let row = json!({"question": "1+1", "answer": "2", "id": 7});
        assert_eq!(read(row.clone(), None), [Ok(json!({"id": 7, "prompt": "1+1", "completion": "2"}))]);
        assert_eq!(read(row, Some(Kind::PromptOnly)), [Ok(json!({"id": 7, "prompt": "1+1", "answer": "2"}))]);
        let message = detected(&json!({"question": "", "answer": "", "context": ""}), None).unwrap_err();
        assert!(message.contains("--columns prompt=question"), "{message}");
    }
}
