//! What a model is asked in the conditions of CHAMP (Y. Mao, Y. Kim and Y. Zhou, arXiv:2401.06961): a problem alone, after solved
//! examples, with the beginning of its solution, or with concepts in one of six forms and with hints or without.
//!
//! The names of the conditions are [`CHAMP_CONDITIONS`](crate::bench::CHAMP_CONDITIONS). What each form of a concept says is our
//! reading, and so are the words around them.

use ascribe_core::Seed;

use super::light::Example;
use crate::EvalError;
use crate::bench::{CHAMP_CONDITIONS, champ_misleading, champ_partial_steps};
use crate::error::{not_empty, same_length};

/// A mathematical concept in the forms in which it may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChampConcept<'a> {
    /// Its name, by which it is known.
    pub name: &'a str,
    /// What it belongs to, such as `inequality`.
    pub category: &'a str,
    /// What it says: `direct C`.
    pub statement: &'a str,
    /// It at work on something else: `example C`, below the statement.
    pub example: &'a str,
    /// What it is a case of: `root C`.
    pub root: &'a str,
    /// What it says of this problem: `problem C`.
    pub applied: &'a str,
}

/// A problem with what may be told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChampProblem<'a> {
    /// A number of its own, for what is drawn.
    pub number: u64,
    /// What is asked.
    pub question: &'a str,
    /// The concepts that solve it.
    pub concepts: &'a [ChampConcept<'a>],
    /// Its hints.
    pub hints: &'a [&'a str],
    /// The steps of its solution.
    pub steps: &'a [&'a str],
}

/// What is asked of a problem in a condition. `all` are the concepts of all problems, of which misleading ones are drawn;
/// `examples` are five solved problems. Only what the condition names is read. O(text).
///
/// # Errors
/// When the condition is unknown, a list that it names is empty, there are not five examples, or a concept of the problem is not
/// among `all`.
pub fn champ_prompt(
    problem: &ChampProblem<'_>,
    condition: &str,
    all: &[ChampConcept<'_>],
    examples: &[Example],
    seed: Seed,
) -> Result<String, EvalError> {
    if !CHAMP_CONDITIONS.contains(&condition) {
        let known = CHAMP_CONDITIONS.join(", ");
        return Err(EvalError::Missing { what: "the condition", name: condition.to_owned(), known });
    }
    let mut text =
        "Solve the problem step by step. The last line of your reply must be\nAnswer: <answer>\n\n".to_owned();
    if condition == "5-shot" {
        same_length("the examples", 5, examples.len())?;
        for Example { question, answer } in examples {
            text.push_str(&format!("## Problem\n{question}\n\n## Solution\n{answer}\n\n"));
        }
    }
    text.push_str(&format!("## Problem\n{}\n\n", problem.question));
    let (form, with_hints) = match condition.split_once(" C, ") {
        Some((form, hints)) => (form, hints == "H"),
        None => ("no", false),
    };
    let concepts = concepts(problem, form, all, seed)?;
    if !concepts.is_empty() {
        text.push_str(&list("Concepts that may help", &concepts));
    }
    if with_hints {
        not_empty("the hints", problem.hints)?;
        text.push_str(&list("Hints", problem.hints));
    }
    if let Some((part, _)) = condition.split_once(" solution") {
        let fraction = if part == "1/3" { 1.0 / 3.0 } else { 2.0 / 3.0 };
        let shown = champ_partial_steps(problem.steps.len(), fraction, seed, problem.number)?;
        text.push_str(&format!("## The solution begins\n{}\n\n", problem.steps[..shown].join("\n")));
    }
    text.push_str("## Solution\n");
    Ok(text)
}

/// The concepts of a problem in one form.
fn concepts(
    problem: &ChampProblem<'_>,
    form: &str,
    all: &[ChampConcept<'_>],
    seed: Seed,
) -> Result<Vec<String>, EvalError> {
    if form == "no" {
        return Ok(Vec::new());
    }
    not_empty("the concepts", problem.concepts)?;
    if form == "misleading" {
        let own: Vec<&str> = problem.concepts.iter().map(|concept| concept.name).collect();
        let known: Vec<(&str, &str)> = all.iter().map(|concept| (concept.name, concept.category)).collect();
        let drawn = champ_misleading(&own, &known, seed, problem.number)?;
        let statements = drawn.iter().filter_map(|name| all.iter().find(|concept| concept.name == *name));
        return Ok(statements.map(|concept| concept.statement.to_owned()).collect());
    }
    let said = |concept: &ChampConcept<'_>| match form {
        "name" => concept.name.to_owned(),
        "example" => format!("{} For example: {}", concept.statement, concept.example),
        "root" => concept.root.to_owned(),
        "problem" => concept.applied.to_owned(),
        _ => concept.statement.to_owned(),
    };
    Ok(problem.concepts.iter().map(said).collect())
}

/// A heading with a line for each entry.
fn list(heading: &str, entries: &[impl AsRef<str>]) -> String {
    let lines: Vec<String> = entries.iter().map(|entry| format!("- {}", entry.as_ref())).collect();
    format!("## {heading}\n{}\n\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEANS: ChampConcept<'_> = ChampConcept {
        name: "AM-GM",
        category: "inequality",
        statement: "The arithmetic mean is at least the geometric mean.",
        example: "(1 + 9)/2 >= 3.",
        root: "Squares are at least 0.",
        applied: "x + 1/x >= 2.",
    };
    const CAUCHY: ChampConcept<'_> =
        ChampConcept { name: "Cauchy", statement: "(sum ab)^2 <= sum a^2 sum b^2.", ..MEANS };
    const PROBLEM: ChampProblem<'_> = ChampProblem {
        number: 3,
        question: "How small is x + 1/x for x > 0?",
        concepts: &[MEANS],
        hints: &["Multiply both terms."],
        steps: &["x and 1/x are above 0.", "Their product is 1.", "So their mean is at least 1.", "It is 2 at x = 1."],
    };

    fn asked(condition: &str) -> Result<String, EvalError> {
        champ_prompt(&PROBLEM, condition, &[MEANS, CAUCHY], &[], Seed(0))
    }

    #[test]
    fn every_condition_says_what_it_names_and_nothing_else() {
        let said = [
            ("0-shot", ""),
            ("1/3 solution", "x and 1/x are above 0."),
            ("2/3 solution", "Their product is 1."),
            ("no C, no H", ""),
            ("name C, no H", "- AM-GM\n"),
            ("direct C, no H", "- The arithmetic mean is at least the geometric mean.\n"),
            ("example C, no H", "geometric mean. For example: (1 + 9)/2 >= 3.\n"),
            ("root C, no H", "- Squares are at least 0.\n"),
            ("problem C, no H", "- x + 1/x >= 2.\n"),
            ("misleading C, no H", "- (sum ab)^2 <= sum a^2 sum b^2.\n"),
        ];
        for (condition, due) in said {
            let text = asked(condition).unwrap();
            assert!(text.contains(due) && text.contains(PROBLEM.question), "{condition}: {text}");
            assert!(text.ends_with("## Solution\n") && !text.contains("Hints"), "{condition}: {text}");
            assert_eq!(
                text.contains("Concepts"),
                condition.contains(" C, ") && !condition.starts_with("no"),
                "{condition}"
            );
            // (4 - 1)/3 = 1 step, and (4 - 1) 2/3 = 2.
            assert_eq!(text.contains("Their product is 1."), condition.starts_with("2/3"), "{condition}");
            assert!(!text.contains("So their mean"), "{condition}");
        }
        for condition in CHAMP_CONDITIONS.iter().filter(|condition| condition.ends_with(", H")) {
            assert!(asked(condition).unwrap().contains("## Hints\n- Multiply both terms.\n"), "{condition}");
        }
    }

    #[test]
    fn five_examples_stand_before_the_problem() {
        let example = |n: usize| Example { question: format!("Q{n}?"), answer: format!("A{n}.") };
        let examples: Vec<Example> = (0..5).map(example).collect();
        let text = champ_prompt(&PROBLEM, "5-shot", &[], &examples, Seed(0)).unwrap();
        let places: Vec<usize> =
            ["Q0?", "A0.", "Q4?", "A4.", PROBLEM.question].iter().map(|part| text.find(part).unwrap()).collect();
        assert!(places.is_sorted(), "{places:?}");
        let four = champ_prompt(&PROBLEM, "5-shot", &[], &examples[1..], Seed(0));
        assert!(matches!(four, Err(EvalError::Length { what: "the examples", .. })));
    }

    #[test]
    fn bad_input_is_refused() {
        let error = asked("6-shot").unwrap_err();
        assert!(error.to_string().contains("`6-shot`") && error.to_string().contains("root C, H"), "{error}");
        let bare = ChampProblem { concepts: &[], hints: &[], steps: &[], ..PROBLEM };
        for condition in ["direct C, no H", "no C, H", "1/3 solution"] {
            assert!(champ_prompt(&bare, condition, &[], &[], Seed(0)).is_err(), "{condition}");
        }
        let unknown = champ_prompt(&PROBLEM, "misleading C, H", &[CAUCHY], &[], Seed(0));
        assert!(matches!(unknown, Err(EvalError::Missing { what: "the concept", .. })));
    }
}
