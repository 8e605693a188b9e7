//! Layouts with scores: HelpSteer2 (arXiv:2406.08673), UltraFeedback (arXiv:2310.01377) and its binarized form, RewardBench
//! 2, PKU-SafeRLHF, the model solutions of GSM8K (arXiv:2110.14168).

use serde_json::{Map, Value, json};

use super::{Found, any, columns, list, number, refuse, text};
use crate::read::{Place, name_of};
use crate::{DataError, Kind, Why};

/// The attributes of HelpSteer2.
const ATTRIBUTES: [&str; 5] = ["helpfulness", "correctness", "coherence", "complexity", "verbosity"];

/// Names of the two scores of a pair.
const SCORES: [(&str, &str); 3] =
    [("score_chosen", "score_rejected"), ("chosen_score", "rejected_score"), ("chosen-rating", "rejected-rating")];

/// Columns that say which of two numbered responses is better.
const CHOICES: [&str; 2] = ["better_response_id", "safer_response_id"];

/// Names of the two responses, and of how much the second is preferred.
const STRENGTHS: [[&str; 3]; 2] =
    [["response_1", "response_2", "preference_strength"], ["response1", "response2", "overall_preference"]];

/// The names of the scores that a pair has.
pub(super) fn scores(row: &Map<String, Value>) -> Option<(&'static str, &'static str)> {
    let both = |(chosen, rejected): &(&'static str, &'static str)| {
        [chosen, rejected].into_iter().all(|name| row.get(*name).is_some_and(Value::is_number))
    };
    SCORES.into_iter().find(both)
}

pub(super) fn scored_pair(place: Place<'_>, mut row: Map<String, Value>) -> Result<Map<String, Value>, DataError> {
    one_scale(place, &row)?;
    let (chosen, rejected) = scores(&row).unwrap_or(SCORES[0]);
    let margin = number(place, chosen, &mut row)? - number(place, rejected, &mut row)?;
    row.insert("margin".into(), json!(margin));
    Ok(row)
}

/// Refuses a row that has a margin of its own where margins are made of other columns: a file has one scale of strength.
fn one_scale(place: Place<'_>, row: &Map<String, Value>) -> Result<(), DataError> {
    let rule = "nothing in a file whose margins are made of scores or strengths, which are on another scale: bring all rows \
                to one scale, and drop the other columns";
    match row.get("margin").filter(|margin| !margin.is_null()) {
        Some(margin) => Err(refuse(place, "margin", rule, margin.to_string())),
        None => Ok(()),
    }
}

/// The columns that could say which response is better.
pub(super) fn choices(row: &Map<String, Value>) -> Vec<&'static str> {
    match row.contains_key("preferred") {
        true => vec!["preferred"],
        false => CHOICES.into_iter().filter(|name| row.contains_key(*name)).collect(),
    }
}

pub(super) fn numbered_pair(place: Place<'_>, mut row: Map<String, Value>) -> Result<Map<String, Value>, DataError> {
    let choices = choices(&row);
    let [choice] = choices.as_slice() else {
        let readings = choices.iter().map(|name| format!("--columns preferred={name}")).collect();
        return Err(DataError::Ambiguous { place: place.to_string(), readings });
    };
    let choice = *choice;
    let first_is_better = match any(place, choice, &mut row)?.as_u64() {
        Some(0) => true,
        Some(1) => false,
        other => return Err(refuse(place, choice, "0 or 1", format!("{other:?}"))),
    };
    let (first, second) = (text(place, "response_0", &mut row)?, text(place, "response_1", &mut row)?);
    let (chosen, rejected) = if first_is_better { (first, second) } else { (second, first) };
    row.insert("chosen".into(), chosen.into());
    row.insert("rejected".into(), rejected.into());
    Ok(row)
}

/// Every right reply with every wrong one.
pub(super) fn every_pair(place: Place<'_>, mut row: Map<String, Value>) -> Result<Vec<Found>, DataError> {
    let prompt = any(place, "prompt", &mut row)?;
    let (chosen, rejected) = (list(place, "chosen", &mut row)?, list(place, "rejected", &mut row)?);
    Ok(pairs(&prompt, &chosen, &rejected))
}

fn pairs(prompt: &Value, chosen: &[Value], rejected: &[Value]) -> Vec<Found> {
    let pair = |right: &Value, wrong: &Value| {
        columns([("prompt", prompt.clone()), ("chosen", right.clone()), ("rejected", wrong.clone())])
    };
    let of = |right| rejected.iter().map(move |wrong| Ok(pair(right, wrong)));
    chosen.iter().flat_map(of).collect()
}

/// The text and the verdict of a solution.
fn verdict(solution: &Value) -> Option<(&str, bool)> {
    Some((solution.get("solution")?.as_str()?, solution.get("is_correct")?.as_bool()?))
}

/// True if there is a question, and a solution with its verdict.
pub(super) fn has_verdicts(row: &Map<String, Value>) -> bool {
    row.get("question").is_some_and(Value::is_string) && row.values().any(|value| verdict(value).is_some())
}

/// One row a solution, or every right one with every wrong one; no row where all are right or all wrong.
pub(super) fn judged(place: Place<'_>, mut row: Map<String, Value>, kind: Kind) -> Result<Vec<Found>, DataError> {
    let prompt = Value::from(text(place, "question", &mut row)? + "\n");
    let solutions = row.values().filter_map(verdict);
    if kind == Kind::Preference {
        let (right, wrong): (Vec<_>, Vec<_>) = solutions.partition(|(_, is_correct)| *is_correct);
        let texts = |of: Vec<(&str, bool)>| of.into_iter().map(|(text, _)| text.into()).collect::<Vec<Value>>();
        return Ok(pairs(&prompt, &texts(right), &texts(wrong)));
    }
    let labelled = |(text, is_correct): (&str, bool)| {
        let label = match kind {
            Kind::Rated => ("ratings", json!({"correct": f64::from(is_correct)})),
            _ => ("label", is_correct.into()),
        };
        Ok(columns([("prompt", prompt.clone()), ("completion", text.into()), label]))
    };
    Ok(solutions.map(labelled).collect())
}

pub(super) fn has_attribute(row: &Map<String, Value>) -> bool {
    ATTRIBUTES.iter().any(|name| row.get(*name).is_some_and(Value::is_number))
}

pub(super) fn help_steer(place: Place<'_>, mut row: Map<String, Value>) -> Result<Map<String, Value>, DataError> {
    let completion = text(place, "response", &mut row)?;
    let mut ratings = Map::new();
    for name in ATTRIBUTES {
        if row.contains_key(name) {
            ratings.insert(name.to_owned(), json!(number(place, name, &mut row)?));
        }
    }
    row.insert("completion".into(), completion.into());
    row.insert("ratings".into(), Value::Object(ratings));
    Ok(row)
}

/// The names of responses and strength that a row has, with a prompt or a context.
pub(super) fn strength(row: &Map<String, Value>) -> Option<[&'static str; 3]> {
    let asked = row.contains_key("prompt") || row.contains_key("context");
    STRENGTHS.into_iter().find(|names| asked && names.iter().all(|name| row.contains_key(*name)))
}

/// Above 0 the second response is better; 0 is a tie, from which a pair cannot learn.
pub(super) fn help_steer_pair(place: Place<'_>, mut row: Map<String, Value>) -> Result<Found, DataError> {
    one_scale(place, &row)?;
    let [first, second, strength] = strength(&row).unwrap_or(STRENGTHS[0]);
    let strength = number(place, strength, &mut row)?;
    let (first, second) = (text(place, first, &mut row)?, text(place, second, &mut row)?);
    if let Some(context) = row.shift_remove("context") {
        row.insert("prompt".into(), context);
    }
    if strength == 0.0 {
        return Ok(Err(Why::Tied));
    }
    let (chosen, rejected) = if strength < 0.0 { (first, second) } else { (second, first) };
    row.insert("chosen".into(), chosen.into());
    row.insert("rejected".into(), rejected.into());
    row.insert("margin".into(), json!(strength.abs()));
    Ok(Ok(row))
}

/// True if there are completions, and the first of them is annotated.
pub(super) fn is_annotated(row: &Map<String, Value>) -> bool {
    let first = row.get("completions").and_then(Value::as_array).and_then(|items| items.first());
    first.is_some_and(|first| first.get("response").is_some() && first.get("annotations").is_some())
}

/// One row a completion: `Rating` of each annotation, where it is a number (it may be `N/A`), and the overall score.
pub(super) fn ultra_feedback(place: Place<'_>, mut row: Map<String, Value>) -> Result<Vec<Found>, DataError> {
    let prompt = text(place, "instruction", &mut row)?;
    let rule = "objects with the string `response` and the object `annotations`";
    let rated = |item: Value| {
        let (Some(response), Some(Value::Object(annotations))) =
            (item.get("response").and_then(Value::as_str), item.get("annotations"))
        else {
            return Err(refuse(place, "completions", rule, name_of(&item).to_owned()));
        };
        let mut ratings = Map::new();
        for (aspect, annotation) in annotations {
            let rating = annotation.get("Rating").and_then(|rating| match rating {
                Value::String(text) => text.trim().parse::<f64>().ok(),
                other => other.as_f64(),
            });
            if let Some(rating) = rating {
                ratings.insert(aspect.clone(), json!(rating));
            }
        }
        if let Some(overall) = item.get("overall_score").and_then(Value::as_f64) {
            ratings.insert("overall_score".to_owned(), json!(overall));
        }
        if ratings.is_empty() {
            return Ok(Err(Why::NoLabel));
        }
        Ok(Ok(columns([
            ("prompt", Value::from(prompt.as_str())),
            ("completion", response.into()),
            ("ratings", Value::Object(ratings)),
        ])))
    };
    list(place, "completions", &mut row)?.into_iter().map(rated).collect()
}

/// The names of prompt and replies beside a list of ratings, if each has one name.
pub(super) fn lists(row: &Map<String, Value>) -> Option<(&'static str, &'static str)> {
    let one = |names: [&'static str; 2]| {
        let mut there = names.into_iter().filter(|name| row.contains_key(*name));
        match (there.next(), there.next()) {
            (Some(name), None) => Some(name),
            _ => None,
        }
    };
    let numbers =
        row.get("ratings").and_then(Value::as_array)?.iter().all(|rating| rating.is_number() || rating.is_null());
    let names = (one(["prompt", "instruction"])?, one(["generations", "responses"])?);
    numbers.then_some(names)
}

pub(super) fn rating_list(place: Place<'_>, mut row: Map<String, Value>) -> Result<Vec<Found>, DataError> {
    let (prompt, generations) = lists(&row).unwrap_or(("prompt", "generations"));
    let prompt = any(place, prompt, &mut row)?;
    let (replies, ratings) = (list(place, generations, &mut row)?, list(place, "ratings", &mut row)?);
    if replies.len() != ratings.len() {
        let got = format!("{} ratings of {} replies", ratings.len(), replies.len());
        return Err(refuse(place, "ratings", "one number a reply", got));
    }
    let rated = |(reply, rating): (Value, Value)| match rating {
        Value::Null => Err(Why::NoLabel),
        rating => {
            Ok(columns([("prompt", prompt.clone()), ("completion", reply), ("ratings", json!({"rating": rating}))]))
        }
    };
    Ok(replies.into_iter().zip(ratings).map(rated).collect())
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::*;
    use crate::Kind;

    #[test]
    fn scores_of_a_pair_become_its_margin() {
        let row = json!({"prompt": "q", "chosen": "a", "rejected": "b", "score_chosen": 8.0, "score_rejected": 5.5});
        assert_eq!(read(row, None), [Ok(json!({"prompt": "q", "chosen": "a", "rejected": "b", "margin": 2.5}))]);
        // A margin that is there is not replaced.
        let row =
            json!({"prompt": "q", "chosen": "a", "rejected": "b", "score_chosen": 8, "score_rejected": 5, "margin": 1});
        assert_eq!(read(row.clone(), None), [Ok(row)]);
    }

    #[test]
    fn the_number_of_the_better_response_makes_a_pair() {
        let row =
            |better: u64| json!({"prompt": "q", "response_0": "a", "response_1": "b", "better_response_id": better});
        assert_eq!(read(row(0), None), [Ok(json!({"prompt": "q", "chosen": "a", "rejected": "b"}))]);
        assert_eq!(read(row(1), None), [Ok(json!({"prompt": "q", "chosen": "b", "rejected": "a"}))]);
    }

    #[test]
    fn right_and_wrong_replies_are_choices_or_all_their_pairs() {
        let row = json!({"prompt": "q", "chosen": ["a", "b"], "rejected": ["c"], "subset": "Ties"});
        assert_eq!(read(row.clone(), None), [Ok(row.clone())]);
        let pair = |chosen: &str| Ok(json!({"prompt": "q", "chosen": chosen, "rejected": "c"}));
        assert_eq!(read(row, Some(Kind::Preference)), [pair("a"), pair("b")]);
    }

    #[test]
    fn solutions_with_verdicts_are_labels_ratings_or_pairs() {
        let solution = |text: &str, is_correct: bool| json!({"solution": text, "is_correct": is_correct});
        let row = json!({
            "question": "q", "ground_truth": "g", "small": solution("a", false), "large": solution("b", true),
            "largest": solution("c", true),
        });
        let prompt = "q\n";
        let label = |text: &str, label: bool| Ok(json!({"prompt": prompt, "completion": text, "label": label}));
        assert_eq!(read(row.clone(), None), [label("a", false), label("b", true), label("c", true)]);
        let rated = |text: &str, correct: f64| {
            Ok(json!({"prompt": prompt, "completion": text, "ratings": {"correct": correct}}))
        };
        assert_eq!(read(row.clone(), Some(Kind::Rated)), [rated("a", 0.0), rated("b", 1.0), rated("c", 1.0)]);
        let pair = |chosen: &str| Ok(json!({"prompt": prompt, "chosen": chosen, "rejected": "a"}));
        assert_eq!(read(row, Some(Kind::Preference)), [pair("b"), pair("c")]);
        let agreed = json!({"question": "q", "small": solution("a", false), "large": solution("b", false)});
        assert_eq!(read(agreed, Some(Kind::Preference)), []);
    }

    #[test]
    fn help_steer_is_rated_by_attribute() {
        let row = json!({"prompt": "q", "response": "a", "helpfulness": 4, "verbosity": 1});
        let ratings = json!({"helpfulness": 4.0, "verbosity": 1.0});
        assert_eq!(read(row, None), [Ok(json!({"prompt": "q", "completion": "a", "ratings": ratings}))]);
    }

    #[test]
    fn the_sign_of_the_strength_chooses_and_zero_is_a_tie() {
        let row = |strength: i64| json!({"prompt": "q", "response_1": "a", "response_2": "b", "preference_strength": strength});
        let pair = |chosen: &str, rejected: &str, margin: f64| {
            Ok(json!({"prompt": "q", "chosen": chosen, "rejected": rejected, "margin": margin}))
        };
        assert_eq!(read(row(-2), None), [pair("a", "b", 2.0)]);
        assert_eq!(read(row(3), None), [pair("b", "a", 3.0)]);
        assert_eq!(read(row(0), None), [Err(Why::Tied)]);
        let row = json!({"context": [], "response1": "a", "response2": "b", "overall_preference": 1});
        let expected = json!({"prompt": [], "chosen": "b", "rejected": "a", "margin": 1.0});
        assert_eq!(read(row, None), [Ok(expected)]);
    }

    #[test]
    fn ultra_feedback_gives_a_row_a_completion() {
        let completion = |response: &str, rating: &str| json!({"response": response, "annotations": {"honesty": {"Rating": rating}}, "model": "m"});
        let row = json!({"instruction": "q", "completions": [completion("a", "4"), completion("b", "N/A")]});
        let expected = json!({"prompt": "q", "completion": "a", "ratings": {"honesty": 4.0}});
        assert_eq!(read(row, None), [Ok(expected), Err(Why::NoLabel)]);
    }

    #[test]
    fn a_list_of_ratings_gives_a_row_a_reply() {
        let row = json!({"instruction": "q", "generations": ["a", "b"], "ratings": [4, null]});
        let expected = json!({"prompt": "q", "completion": "a", "ratings": {"rating": 4}});
        assert_eq!(read(row, None), [Ok(expected), Err(Why::NoLabel)]);
    }
}
