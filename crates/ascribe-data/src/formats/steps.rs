//! Layouts with labelled steps: PRM800K (arXiv:2305.20050), Math-Shepherd (arXiv:2312.08935), ProcessBench
//! (arXiv:2412.06559), PRMBench (arXiv:2501.03124).

use serde_json::{Map, Value, json};

use super::{Found, any, columns, list, refuse, text};
use crate::read::{Place, name_of};
use crate::{DataError, Neutral, Why};

/// Ends a step of Math-Shepherd's `input`; `+` or `-` stands in its place in `label`.
const TAG: &str = "ки";

pub(super) fn is_prm800k(row: &Map<String, Value>) -> bool {
    let inside = |column: &str, field: &str| row.get(column).is_some_and(|value| value.get(field).is_some());
    inside("question", "problem") && inside("label", "steps")
}

/// One row for each completion that ends its branch, and one for the branch that was chosen to its end.
///
/// A step is right if its rating is 1 (TRL's rule), or 0 where neutral steps are taken for right, and has no label without a
/// rating; a step written by the labeller is right.
pub(super) fn prm800k(
    place: Place<'_>,
    mut row: Map<String, Value>,
    neutral: Neutral,
) -> Result<Vec<Found>, DataError> {
    let wrong = |column: &'static str, rule: &'static str, value: &Value| {
        refuse(place, column, rule, name_of(value).to_owned())
    };
    let (question, label) = (any(place, "question", &mut row)?, any(place, "label", &mut row)?);
    let problem = question.get("problem").and_then(Value::as_str);
    let Some(problem) = problem else {
        return Err(wrong("question", "an object with the string `problem`", &question));
    };
    let steps = label.get("steps").and_then(Value::as_array);
    let Some(steps) = steps else { return Err(wrong("label", "an object with the list `steps`", &label)) };
    let branch = |steps: &[(String, Value)]| {
        let (texts, labels): (Vec<_>, Vec<_>) = steps.iter().cloned().unzip();
        columns([("prompt", problem.into()), ("completions", json!(texts)), ("labels", Value::Array(labels))])
    };
    let rated = |completion: &Value| {
        let text = completion.get("text").and_then(Value::as_str);
        let text = text.ok_or_else(|| wrong("label", "completions with the string `text`", completion))?;
        let right = match completion.get("rating") {
            None | Some(Value::Null) => Value::Null,
            Some(rating) => {
                let rating = rating.as_f64();
                Value::Bool(rating == Some(1.0) || (neutral == Neutral::Right && rating == Some(0.0)))
            }
        };
        Ok::<_, DataError>((text.to_owned(), right))
    };

    let (mut rows, mut taken) = (Vec::new(), Vec::new());
    for step in steps {
        let completions = step.get("completions").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let chosen = step.get("chosen_completion").and_then(Value::as_u64).map(|at| at as usize);
        for (at, completion) in completions.iter().enumerate() {
            if Some(at) != chosen {
                let mut ended = taken.clone();
                ended.push(rated(completion)?);
                rows.push(Ok(branch(&ended)));
            }
        }
        match (chosen, step.get("human_completion")) {
            (Some(at), _) => {
                let there = completions.get(at);
                let Some(completion) = there else {
                    return Err(refuse(place, "label", "a chosen_completion that is there", at.to_string()));
                };
                taken.push(rated(completion)?);
            }
            (None, Some(Value::Object(human))) => match human.get("text").and_then(Value::as_str) {
                Some(text) => taken.push((text.to_owned(), Value::Bool(true))),
                None => break,
            },
            (None, Some(Value::String(human))) => taken.push((human.clone(), Value::Bool(true))),
            // Nobody went on from here: the branches above have all that was taken, if there are any.
            (None, _) => {
                if !completions.is_empty() {
                    taken.clear();
                }
                break;
            }
        }
    }
    if !taken.is_empty() {
        rows.push(Ok(branch(&taken)));
    }
    if rows.is_empty() {
        rows.push(Err(Why::NoLabel));
    }
    Ok(rows)
}

pub(super) fn is_math_shepherd(row: &Map<String, Value>) -> bool {
    let text = |name: &str| row.get(name).and_then(Value::as_str);
    text("input").is_some_and(|input| input.contains(TAG)) && text("label").is_some()
}

/// The question stands before `Step 1:`; the steps keep their numbers.
pub(super) fn math_shepherd(place: Place<'_>, mut row: Map<String, Value>) -> Result<Found, DataError> {
    let (input, label) = (text(place, "input", &mut row)?, text(place, "label", &mut row)?);
    let Some(start) = input.find("Step 1:") else {
        return Err(refuse(place, "input", "a question and then `Step 1:`", input.chars().take(40).collect()));
    };
    let (mut rest, mut steps, mut labels) = (label.as_str(), Vec::new(), Vec::new());
    let mut pieces: Vec<&str> = input.split(TAG).collect();
    // What follows the last tag is no step.
    let tail = pieces.pop().unwrap_or_default();
    for (at, piece) in pieces.into_iter().enumerate() {
        let behind = rest.strip_prefix(piece).and_then(|rest| Some((rest.chars().next()?, rest)));
        let right = match behind {
            Some(('+', _)) => true,
            Some(('-', _)) => false,
            _ => return Ok(Err(Why::StepLabels)),
        };
        rest = behind.map_or("", |(_, rest)| &rest[1..]);
        let step = if at == 0 { piece.get(start..).unwrap_or_default() } else { piece };
        steps.push(step.trim().to_owned());
        labels.push(right);
    }
    if rest.trim() != tail.trim() {
        return Ok(Err(Why::StepLabels));
    }
    let prompt = input[..start].trim();
    Ok(Ok(columns([("prompt", prompt.into()), ("completions", json!(steps)), ("labels", json!(labels))])))
}

/// Steps before the first wrong one are right, it is wrong, and later ones have no label; -1 says that all are right.
pub(super) fn process_bench(place: Place<'_>, mut row: Map<String, Value>) -> Result<Map<String, Value>, DataError> {
    let (problem, steps) = (text(place, "problem", &mut row)?, list(place, "steps", &mut row)?);
    let label = any(place, "label", &mut row)?;
    let first = match label.as_i64() {
        Some(-1) => None,
        Some(at) if (0..steps.len() as i64).contains(&at) => Some(at as usize),
        _ => {
            let got = format!("{label} with {} steps", steps.len());
            return Err(refuse(place, "label", "-1 or the number of a step, from 0", got));
        }
    };
    let of = |at: usize| match first {
        Some(first) if at == first => Value::Bool(false),
        Some(first) if at > first => Value::Null,
        _ => Value::Bool(true),
    };
    let labels = (0..steps.len()).map(of).collect();
    Ok(columns([("prompt", problem.into()), ("completions", Value::Array(steps)), ("labels", Value::Array(labels))]))
}

pub(super) fn prm_bench(place: Place<'_>, mut row: Map<String, Value>) -> Result<Map<String, Value>, DataError> {
    let questions = ["modified_question", "original_question", "question"];
    let asked = questions.into_iter().find(|name| row.get(*name).is_some_and(Value::is_string));
    let prompt = text(place, asked.unwrap_or("question"), &mut row)?;
    let steps = list(place, "modified_process", &mut row)?;
    let mut labels = vec![true; steps.len()];
    for error in list(place, "error_steps", &mut row)? {
        let at = error.as_u64().and_then(|number| usize::try_from(number).ok()?.checked_sub(1));
        match at.and_then(|at| labels.get_mut(at)) {
            Some(label) => *label = false,
            None => {
                let got = format!("{error} with {} steps", steps.len());
                return Err(refuse(place, "error_steps", "numbers of steps, from 1", got));
            }
        }
    }
    Ok(columns([("prompt", prompt.into()), ("completions", Value::Array(steps)), ("labels", json!(labels))]))
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::*;

    #[test]
    fn prm800k_gives_each_branch_with_the_steps_before_it() {
        let rated = |text: &str, rating: i64| json!({"text": text, "rating": rating, "flagged": false});
        let row = json!({
            "question": {"problem": "q"},
            "label": {"steps": [
                {"completions": [rated("a", 1), rated("b", -1)], "human_completion": null, "chosen_completion": 0},
                {"completions": [rated("c", 0)], "human_completion": null, "chosen_completion": 0},
            ]},
        });
        let branch =
            |steps: [&str; 2], labels: [bool; 2]| Ok(json!({"prompt": "q", "completions": steps, "labels": labels}));
        // `b` was not chosen and ends its branch; `a`, `c` is the branch that was chosen, and neutral is not right.
        let first = Ok(json!({"prompt": "q", "completions": ["b"], "labels": [false]}));
        assert_eq!(read(row.clone(), None), [first.clone(), branch(["a", "c"], [true, false])]);
        // Neutral steps may count as right; what is rated -1 is wrong either way.
        let Value::Object(row) = row else { panic!("the test gave no object") };
        let place = Place { path: std::path::Path::new("rows.jsonl"), unit: "line", number: 1 };
        let rows = prm800k(place, row, Neutral::Right).unwrap();
        let rows: Vec<_> = rows.into_iter().map(|row| row.map(Value::Object)).collect();
        assert_eq!(rows, [first, branch(["a", "c"], [true, true])]);
    }

    #[test]
    fn math_shepherd_is_split_at_its_tags() {
        let row = json!({
            "input": "How many? Step 1: One. ки\nStep 2: Two. ки", "label": "How many? Step 1: One. +\nStep 2: Two. -",
        });
        let steps = ["Step 1: One.", "Step 2: Two."];
        let expected = json!({"prompt": "How many?", "completions": steps, "labels": [true, false]});
        assert_eq!(read(row, None), [Ok(expected)]);
        let row = json!({"input": "How? Step 1: One. ки", "label": "How? Step 1: Another. +"});
        assert_eq!(read(row, None), [Err(Why::StepLabels)]);
    }

    #[test]
    fn process_bench_labels_no_step_behind_the_first_wrong_one() {
        let row = |label: i64| json!({"problem": "q", "steps": ["a", "b", "c"], "label": label});
        let read_labels = |label: i64| read(row(label), None)[0].clone().unwrap()["labels"].clone();
        assert_eq!(read_labels(1), json!([true, false, null]));
        assert_eq!(read_labels(-1), json!([true, true, true]));
    }

    #[test]
    fn prm_bench_counts_its_wrong_steps_from_one() {
        let row = json!({"original_question": "q", "modified_process": ["a", "b"], "error_steps": [2]});
        assert_eq!(read(row, None), [Ok(json!({"prompt": "q", "completions": ["a", "b"], "labels": [true, false]}))]);
    }
}
