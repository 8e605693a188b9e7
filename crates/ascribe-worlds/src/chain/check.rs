//! The verdict on every step of a written solution.
//!
//! A step is `<a><op><b>=<r>;`, and `a` must be the result that the step before it wrote. So a slip is charged to one step
//! only: later steps that go on from the wrong value without a slip are right.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{Operator, Problem};

/// What is said of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It follows from the problem and the step before it.
    Right,
    /// Its operator or an operand does not follow from the problem and the result written before it, whatever its own
    /// result; or the problem has no operation left for it.
    WrongCopy,
    /// It asks the right question and gives the wrong result.
    WrongResult,
    /// It is not of the form `<a><op><b>=<r>;`, or was cut short.
    Unreadable,
}

/// One step of a solution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepCheck {
    /// Bytes of the solution, with the `;` that closes the step. The steps cover the whole text.
    pub span: Range<usize>,
    /// The verdict.
    pub verdict: Verdict,
}

/// What is said of a solution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The steps that were written, in order. There may be fewer or more than the problem has operations.
    pub steps: Vec<StepCheck>,
    /// The result of the last step that was written; `None` when that step is unreadable or there is no step.
    pub answer: Option<u8>,
    /// The answer is right, and the text is one readable step for each operation and nothing else. Its steps may still be
    /// wrong: two slips can cancel, and an answer can be guessed.
    pub correct: bool,
    /// The first step that is not right. `None` also for a text that stops short without a wrong step.
    pub first_wrong: Option<usize>,
}

impl Problem {
    /// Judges any text as a solution of this problem.
    ///
    /// After an unreadable step the left operand is taken as written, since there is nothing to hold it against.
    pub fn check(&self, text: &str) -> Check {
        let (mut left, mut answer, mut end) = (Some(self.start()), None, 0);
        let mut operations = self.operations().iter();
        let mut judge = |piece: &str| {
            let span = end..end + piece.len();
            end = span.end;
            let step = read(piece);
            answer = step.map(|(.., result)| result);
            let verdict = match (step, operations.next()) {
                (None, _) => Verdict::Unreadable,
                (Some((a, operator, b, result)), Some(operation))
                    if (operator, b) == *operation && left.is_none_or(|left| left == a) =>
                {
                    if operator.apply(a, b) == result { Verdict::Right } else { Verdict::WrongResult }
                }
                _ => Verdict::WrongCopy,
            };
            left = answer;
            StepCheck { span, verdict }
        };
        let steps: Vec<StepCheck> = text.split_inclusive(';').map(&mut judge).collect();
        let whole =
            steps.len() == self.operations().len() && steps.iter().all(|step| step.verdict != Verdict::Unreadable);
        let first_wrong = steps.iter().position(|step| step.verdict != Verdict::Right);
        Check { steps, answer, correct: whole && answer == Some(self.answer()), first_wrong }
    }
}

/// Operands, operator and result of a piece of the form `<a><op><b>=<r>;`.
fn read(piece: &str) -> Option<(u8, Operator, u8, u8)> {
    let [a, operator, b, b'=', result, b';'] = piece.as_bytes() else { return None };
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| byte - b'0');
    Some((digit(a)?, Operator::read(*operator)?, digit(b)?, digit(result)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::problem::tests::any_problem, *};

    fn check(text: &str, verdicts: &[Verdict], answer: Option<u8>, correct: bool, first_wrong: Option<usize>) {
        let check = Problem::parse("((3+5)*2-4)%10").unwrap().check(text);
        assert_eq!(check.steps.iter().map(|step| step.verdict).collect::<Vec<_>>(), verdicts, "{text}");
        assert_eq!((check.answer, check.correct, check.first_wrong), (answer, correct, first_wrong), "{text}");
    }

    #[test]
    fn verdicts_worked_by_hand() {
        use Verdict::{Right, Unreadable, WrongCopy, WrongResult};
        check("3+5=8;8*2=6;6-4=2;", &[Right, Right, Right], Some(2), true, None);
        // 8*2=0 is wrong; 0-4=6 follows from the 0.
        check("3+5=8;8*2=0;0-4=6;", &[Right, WrongResult, Right], Some(6), false, Some(1));
        // The second step copies the right value instead of the written one.
        check("3+5=7;8*2=6;6-4=2;", &[WrongResult, WrongCopy, Right], Some(2), true, Some(0));
        check("3+5=8;8+2=0;0-4=6;", &[Right, WrongCopy, Right], Some(6), false, Some(1));
        check("3+5=8;8*3=4;4-4=0;", &[Right, WrongCopy, Right], Some(0), false, Some(1));
        // Two slips that cancel: the answer is right and the steps are not.
        check("3+5=9;9*2=6;6-4=2;", &[WrongResult, WrongResult, Right], Some(2), true, Some(0));
        // Cut short, run on, unreadable.
        check("", &[], None, false, None);
        check("3+5=8;8*2=6;", &[Right, Right], Some(6), false, None);
        check("3+5=8;8*2=6;6-4=2", &[Right, Right, Unreadable], None, false, Some(2));
        check("3+5=8;8*2=6;6-4=2;2+0=2;", &[Right, Right, Right, WrongCopy], Some(2), false, Some(3));
        check("3+5=8;8*2=6;6-4=2; ", &[Right, Right, Right, Unreadable], None, false, Some(3));
        check("3+5=8;é;6-4=2;", &[Right, Unreadable, Right], Some(2), false, Some(1));
        check("3+5=8;8*2=16;6-4=2;", &[Right, Unreadable, Right], Some(2), false, Some(1));
    }

    proptest! {
        #[test]
        fn a_right_solution_has_no_wrong_step(problem in any_problem()) {
            let check = problem.check(&problem.solution());
            prop_assert_eq!((check.first_wrong, check.correct, check.answer), (None, true, Some(problem.answer())));
        }

        #[test]
        fn the_steps_cover_any_text(problem in any_problem(), text in "([-0-9+*=;é]{0,7};?){0,5}") {
            let check = problem.check(&text);
            let joined: String = check.steps.iter().map(|step| &text[step.span.clone()]).collect();
            prop_assert_eq!(joined, text);
        }

        #[test]
        fn one_changed_result_is_one_wrong_step(problem in any_problem(), at in any::<prop::sample::Index>(), more in 1u8..10) {
            let (at, mut step) = (at.index(problem.operations().len()), 0);
            let text = problem.write(|operator, a, b| {
                step += 1;
                (operator.apply(a, b) + if step == at + 1 { more } else { 0 }) % 10
            });
            let check = problem.check(&text);
            prop_assert_eq!(check.first_wrong, Some(at));
            prop_assert_eq!(check.steps.iter().filter(|step| step.verdict != Verdict::Right).count(), 1);
        }
    }
}
