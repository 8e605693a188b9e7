//! CLR-Bench (answers with rationales) and CHAMP (problems under conditions).
//!
//! ```text
//! Q->A = mean answer,  Q->AR = mean joint score;  answer and rationale each 0, 1/2 or 1
//! joint: 1 if both are 1;  1/2 if one is 1 and the other 1/2;  else 0 (strict: 1 only if both are 1)
//! guess rate = share with a right answer and a rationale of 0
//! CHAMP: accuracy by condition, paired with 0-shot by McNemar, Holm over the conditions
//! ```
//! CLR-Bench, arXiv:2410.17558 (the joint table is our reading); CHAMP, arXiv:2401.06961.

use std::collections::BTreeMap;

use ascribe_core::Seed;
use rand::Rng;

use crate::error::{not_empty, option, same_length, within};
use crate::stats::sum::{mean, number};
use crate::stats::{Adjust, Paired, adjust_p, compare};
use crate::{Bootstrap, Estimate, EvalError};

/// How answer and rationale become one score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Joint {
    /// Half credit where one of the two is half right.
    #[default]
    Graded,
    /// Both right or nothing.
    Strict,
}

/// CLR-Bench's numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct ClrScores {
    /// Mean answer score.
    pub answer: Estimate,
    /// Mean joint score of answer and rationale.
    pub joint: Estimate,
    /// Share of items with a right answer and a worthless rationale.
    pub guess_rate: Estimate,
    /// Mean over question types of their mean joint scores.
    pub joint_by_type: f64,
}

/// Scores answers and rationales; `types` names the question type of each item. In [0, 1]; O(B n).
///
/// # Errors
/// When the lengths differ, there is no item, or a score is not 0, 1/2 or 1.
pub fn clr_bench(
    answers: &[f64],
    rationales: &[f64],
    types: &[&str],
    joint: Joint,
    bootstrap: &Bootstrap,
) -> Result<ClrScores, EvalError> {
    same_length("rationales", answers.len(), rationales.len())?;
    same_length("types", answers.len(), types.len())?;
    for (what, scores) in [("answers", answers), ("rationales", rationales)] {
        within(what, scores, "0, 0.5 or 1", |score| [0.0, 0.5, 1.0].contains(&score))?;
    }
    let of = |(&a, &r): (&f64, &f64)| match joint {
        _ if a == 1.0 && r == 1.0 => 1.0,
        Joint::Graded if a.max(r) == 1.0 && a.min(r) == 0.5 => 0.5,
        _ => 0.0,
    };
    let joints: Vec<f64> = answers.iter().zip(rationales).map(of).collect();
    let guesses: Vec<f64> = answers.iter().zip(rationales).map(|(&a, &r)| number(a == 1.0 && r == 0.0)).collect();
    let mut by_type: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (&kind, &score) in types.iter().zip(&joints) {
        by_type.entry(kind).or_default().push(score);
    }
    let means: Vec<f64> = by_type.values().map(|scores| mean(scores)).collect();
    Ok(ClrScores {
        answer: bootstrap.mean(answers)?,
        joint: bootstrap.mean(&joints)?,
        guess_rate: bootstrap.mean(&guesses)?,
        joint_by_type: mean(&means),
    })
}

/// The 18 conditions of CHAMP by name: four without, and seven ways to give concepts, each with and without hints.
pub const CHAMP_CONDITIONS: [&str; 18] = [
    "0-shot",
    "5-shot",
    "1/3 solution",
    "2/3 solution",
    "no C, no H",
    "no C, H",
    "direct C, no H",
    "direct C, H",
    "name C, no H",
    "name C, H",
    "example C, no H",
    "example C, H",
    "root C, no H",
    "root C, H",
    "problem C, no H",
    "problem C, H",
    "misleading C, no H",
    "misleading C, H",
];

/// How many steps of a solution are shown for a fraction: `floor((steps - 1) fraction)`, and one more with the chance
/// that is left over. At most `steps`; O(1).
///
/// # Errors
/// When there is no step or the fraction is not in [0, 1].
pub fn champ_partial_steps(steps: usize, fraction: f64, seed: Seed, problem: u64) -> Result<usize, EvalError> {
    option("steps", "at least 1", steps as f64, steps >= 1)?;
    option("fraction", "between 0 and 1", fraction, (0.0..=1.0).contains(&fraction))?;
    let shown = (steps - 1) as f64 * fraction;
    let draw = seed.stream("champ", problem).next_u64() as f64 / 2_f64.powi(64);
    Ok(shown.floor() as usize + usize::from(draw < shown.fract()))
}

/// Another concept of the same category for each concept of a problem, none of them its own; one without another stays.
/// `concepts` are (name, category) of all concepts. O(own all concepts).
///
/// # Errors
/// When a concept of the problem is not among `concepts`.
pub fn champ_misleading<'a>(
    own: &[&'a str],
    concepts: &[(&'a str, &'a str)],
    seed: Seed,
    problem: u64,
) -> Result<Vec<&'a str>, EvalError> {
    let mut stream = seed.stream("champ misleading", problem);
    let mut replaced = Vec::with_capacity(own.len());
    for name in own {
        let Some((_, category)) = concepts.iter().find(|(other, _)| other == name) else {
            let known = concepts.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            return Err(EvalError::Missing { what: "the concept", name: (*name).to_owned(), known });
        };
        let fits = |entry: &&(&'a str, &'a str)| entry.1 == *category && !own.contains(&entry.0);
        let others: Vec<&(&str, &str)> = concepts.iter().filter(fits).collect();
        let mut drawn = [0];
        if let Ok(count @ 1..) = u32::try_from(others.len()) {
            crate::stats::bootstrap::draw_below(&mut stream, count, &mut drawn);
        }
        replaced.push(others.get(drawn[0]).map_or(*name, |(other, _)| *other));
    }
    Ok(replaced)
}

/// A condition against 0-shot.
#[derive(Clone, Debug, PartialEq)]
pub struct ChampCondition {
    /// Its name.
    pub name: String,
    /// Accuracy less that of 0-shot, paired by problem.
    pub paired: Paired,
    /// McNemar's p-value by Holm over the conditions.
    pub adjusted: f64,
}

/// Compares conditions with 0-shot on the same problems. Differences lie in [-1, 1]; O(B n) for each condition.
///
/// # Errors
/// When a name is unknown, there is no condition or problem, or the lengths differ.
pub fn champ_conditions(
    zero_shot: &[bool],
    conditions: &[(&str, &[bool])],
    bootstrap: &Bootstrap,
) -> Result<Vec<ChampCondition>, EvalError> {
    not_empty("the conditions", conditions)?;
    let mut compared = Vec::with_capacity(conditions.len());
    for (name, correct) in conditions {
        if !CHAMP_CONDITIONS.contains(name) {
            let known = CHAMP_CONDITIONS.join(", ");
            return Err(EvalError::Missing { what: "the condition", name: (*name).to_owned(), known });
        }
        compared.push(compare(correct, zero_shot, bootstrap)?);
    }
    let adjusted = adjust_p(&compared.iter().map(|paired| paired.p).collect::<Vec<_>>(), Adjust::Holm)?;
    let rows = conditions.iter().zip(compared).zip(adjusted);
    let condition = |((&(name, _), paired), adjusted): ((&(&str, &[bool]), Paired), f64)| ChampCondition {
        name: name.to_owned(),
        paired,
        adjusted,
    };
    Ok(rows.map(condition).collect())
}

/// Share of the solutions with a right answer whose annotation names a wrong step. In [0, 1]; O(n).
///
/// # Errors
/// When the lengths differ or no answer is right.
pub fn right_by_wrong_steps(
    correct: &[bool],
    first_wrong: &[Option<usize>],
    level: f64,
) -> Result<Estimate, EvalError> {
    same_length("first_wrong", correct.len(), first_wrong.len())?;
    let right: Vec<bool> =
        correct.iter().zip(first_wrong).filter(|(correct, _)| **correct).map(|(_, step)| step.is_some()).collect();
    crate::accuracy(&right, level)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Joint 1, 1/2, 0, 0; strict 1, 0, 0, 0. Types: MC has (1 + 0.5)/2, TF 0.
    #[test]
    fn four_items() {
        let (a, r) = ([1.0, 1.0, 1.0, 0.5], [1.0, 0.5, 0.0, 0.5]);
        let types = ["MC", "MC", "TF", "TF"];
        let scores = clr_bench(&a, &r, &types, Joint::Graded, &Bootstrap::NONE).unwrap();
        assert_eq!((scores.answer.value, scores.joint.value), (0.875, 0.375));
        assert_eq!((scores.guess_rate.value, scores.joint_by_type), (0.25, 0.375));
        let strict = clr_bench(&a, &r, &types, Joint::Strict, &Bootstrap::NONE).unwrap();
        assert_eq!(strict.joint.value, 0.25);
        // Without a fault in the rationales the answers decide.
        let reasoned = clr_bench(&a, &[1.0; 4], &types, Joint::Graded, &Bootstrap::NONE).unwrap();
        assert_eq!((reasoned.joint.value, reasoned.guess_rate.value), (0.875, 0.0));
        assert!(clr_bench(&[0.3], &[1.0], &["MC"], Joint::Graded, &Bootstrap::NONE).is_err());
        assert!(matches!(clr_bench(&[], &[], &[], Joint::Graded, &Bootstrap::NONE), Err(EvalError::Empty { .. })));
    }

    /// (4 - 1)/3 = 1 step for sure; (3 - 1)/3 = 2/3 of a step: one with chance 2/3.
    #[test]
    fn a_fraction_of_a_solution() {
        assert_eq!(champ_partial_steps(4, 1.0 / 3.0, Seed(0), 0).unwrap(), 1);
        let shown: usize = (0..3000).map(|problem| champ_partial_steps(3, 1.0 / 3.0, Seed(0), problem).unwrap()).sum();
        // Standard deviation sqrt(3000 * 2/9) = 26.
        assert!(shown.abs_diff(2000) < 110, "{shown}");
        assert!(champ_partial_steps(0, 0.5, Seed(0), 0).is_err() && champ_partial_steps(1, 1.5, Seed(0), 0).is_err());
    }

    #[test]
    fn misleading_concepts_are_of_the_same_category() {
        let concepts = [("am-gm", "inequality"), ("cauchy", "inequality"), ("parity", "number theory")];
        let misled = champ_misleading(&["am-gm", "parity"], &concepts, Seed(0), 1).unwrap();
        assert_eq!(misled, ["cauchy", "parity"]);
        assert!(matches!(champ_misleading(&["x"], &concepts, Seed(0), 1), Err(EvalError::Missing { .. })));
    }

    #[test]
    fn conditions_are_compared_with_zero_shot() {
        let zero = [false, false, true];
        let all = champ_conditions(&zero, &[("5-shot", &[true, false, true]), ("name C, H", &zero)], &Bootstrap::NONE);
        let all = all.unwrap();
        assert!((all[0].paired.difference.value - 1.0 / 3.0).abs() < 1e-12 && all[1].adjusted == 1.0);
        assert!(matches!(
            champ_conditions(&zero, &[("6-shot", &zero)], &Bootstrap::NONE),
            Err(EvalError::Missing { .. })
        ));
        let lucky = right_by_wrong_steps(&[true, true, false], &[Some(1), None, Some(0)], 0.95).unwrap();
        assert_eq!((lucky.value, lucky.n), (0.5, 2));
    }
}
