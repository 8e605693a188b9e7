//! Thoughts and expressions of a step: "What Are Step-Level Reward Models Rewarding?", arXiv:2412.15904.
//!
//! ```text
//! FC  all thoughts and expressions up to i      MO  all expressions up to i      SSMO  the expression of i alone
//! NT  all up to i, and the thought of i + 1
//! thoughts only, which the paper has not: all thoughts up to i
//! ```
//! Expressions are what stands in `$..$`, `\[..\]` or `<<..>>`, and lines without these that hold `=` between digits; thoughts are the rest. A step
//! without the part that is shown keeps a placeholder, so that steps still count alike.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// What stands for a part that is not there.
const NONE: &str = "(none)";

/// What a step-level model is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepView {
    /// Everything up to the step.
    FullContext,
    /// The expressions up to the step.
    MathOnly,
    /// The expression of the step.
    SingleStepMathOnly,
    /// Everything up to the step, and the thought of the next one.
    NextThought,
    /// The thoughts up to the step.
    ThoughtsOnly,
}

/// A step in its two parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepParts {
    /// Everything but the expressions, blanks joined.
    pub thought: String,
    /// The expressions, joined by blanks; empty without any.
    pub expression: String,
}

/// Splits a step.
pub fn parts(step: &str) -> StepParts {
    let (mut thought, mut expressions, mut at) = (String::new(), Vec::new(), 0);
    for range in expressions_of(step) {
        thought.push_str(&step[at..range.start]);
        thought.push(' ');
        expressions.push(step[range.clone()].trim());
        at = range.end;
    }
    thought.push_str(&step[at..]);
    StepParts { thought: thought.split_whitespace().collect::<Vec<_>>().join(" "), expression: expressions.join(" ") }
}

/// What a model is shown of step `at` of `steps`; `None` where there is no such step, or no next one.
pub fn view(steps: &[&str], at: usize, view: StepView) -> Option<String> {
    let seen = steps.get(..=at)?;
    let math = |step: &&str| or_none(parts(step).expression);
    Some(match view {
        StepView::FullContext => seen.concat(),
        StepView::MathOnly => seen.iter().map(math).collect::<Vec<_>>().join("\n"),
        StepView::SingleStepMathOnly => math(&steps[at]),
        StepView::NextThought => seen.concat() + &parts(steps.get(at + 1)?).thought,
        StepView::ThoughtsOnly => seen.iter().map(|step| or_none(parts(step).thought)).collect::<Vec<_>>().join("\n"),
    })
}

/// What a model is shown when it judges step `at`: its [`view`], but that of the step before it with [`StepView::NextThought`], so
/// that the step itself is shown as a thought alone. `None` where there is no such step.
pub fn judged(steps: &[&str], at: usize, shown: StepView) -> Option<String> {
    match (shown, at.checked_sub(1)) {
        (StepView::NextThought, Some(before)) => view(steps, before, shown),
        (StepView::NextThought, None) => Some(or_none(parts(steps.first()?).thought)),
        _ => view(steps, at, shown),
    }
}

fn or_none(part: String) -> String {
    if part.is_empty() { NONE.to_owned() } else { part }
}

fn expressions_of(step: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < step.len() {
        let rest = &step[at..];
        let enclosed =
            [("<<", ">>"), ("\\[", "\\]"), ("$$", "$$"), ("$", "$")].into_iter().find_map(|(open, close)| {
                let inside = rest.strip_prefix(open)?;
                let end = inside.find(close)?;
                Some(open.len() + end + close.len())
            });
        let line_starts = at == 0 || step[..at].ends_with('\n');
        let line = rest.split_inclusive('\n').next().unwrap_or_default();
        let length = enclosed.or_else(|| (line_starts && is_equation(line)).then_some(line.len()));
        match length {
            Some(length) => {
                found.push(at..at + length);
                at += length;
            }
            None => at += rest.chars().next().map_or(1, char::len_utf8),
        }
    }
    found
}

/// Whether a line without delimiters holds `=` with digits on both sides.
fn is_equation(line: &str) -> bool {
    if ["$", "<<", "\\["].iter().any(|open| line.contains(*open)) {
        return false;
    }
    let digit = |text: &str| text.bytes().any(|byte| byte.is_ascii_digit());
    line.split_once('=').is_some_and(|(left, right)| digit(left) && digit(right))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts_by_hand() {
        let step = parts("She eats $16-3$ eggs, so <<16-3=13>> are left.\n");
        assert_eq!(
            step,
            StepParts { thought: "She eats eggs, so are left.".into(), expression: "$16-3$ <<16-3=13>>".into() }
        );
        assert_eq!(parts("16 - 3 = 13\nThen stop.").expression, "16 - 3 = 13");
        assert_eq!(parts("No numbers here.").expression, "");
    }

    #[test]
    fn views_by_hand() {
        let steps = ["Add. $1+1$\n", "Nothing.\n", "Then $2+2$"];
        assert_eq!(view(&steps, 1, StepView::MathOnly).unwrap(), "$1+1$\n(none)");
        assert_eq!(view(&steps, 2, StepView::SingleStepMathOnly).unwrap(), "$2+2$");
        assert_eq!(view(&steps, 0, StepView::FullContext).unwrap(), "Add. $1+1$\n");
        assert_eq!(view(&steps, 1, StepView::NextThought).unwrap(), "Add. $1+1$\nNothing.\nThen");
        assert_eq!((view(&steps, 2, StepView::NextThought), view(&steps, 3, StepView::MathOnly)), (None, None));
        let steps = ["Add. $1+1$\n", "$3+3$\n", "Then $2+2$"];
        assert_eq!(view(&steps, 2, StepView::ThoughtsOnly).unwrap(), "Add.\n(none)\nThen");
    }

    #[test]
    fn a_step_is_judged_by_its_view_or_by_its_thought() {
        let steps = ["Add. $1+1$\n", "Nothing.\n", "Then $2+2$"];
        assert_eq!(judged(&steps, 2, StepView::MathOnly), view(&steps, 2, StepView::MathOnly));
        assert_eq!(judged(&steps, 2, StepView::NextThought).unwrap(), "Add. $1+1$\nNothing.\nThen");
        assert_eq!(judged(&steps, 0, StepView::NextThought).unwrap(), "Add.");
        assert_eq!(judged(&["$1+1$"], 0, StepView::NextThought).unwrap(), "(none)");
        assert_eq!((judged(&steps, 3, StepView::NextThought), judged(&[], 0, StepView::NextThought)), (None, None));
    }

    proptest! {
        #[test]
        fn mathematics_alone_sees_no_thought(thoughts in prop::collection::vec("[a-z ]{0,9}", 3), others in prop::collection::vec("[a-z ]{0,9}", 3)) {
            let of = |thoughts: &[String]| -> Vec<String> {
                thoughts.iter().enumerate().map(|(at, thought)| format!("{thought} ${at}+1$ {thought}\n")).collect()
            };
            let (one, other) = (of(&thoughts), of(&others));
            let (one, other): (Vec<&str>, Vec<&str>) =
                (one.iter().map(String::as_str).collect(), other.iter().map(String::as_str).collect());
            for at in 0..3 {
                prop_assert_eq!(view(&one, at, StepView::MathOnly), view(&other, at, StepView::MathOnly));
            }
            // The single step sees no edit of the steps before it.
            let edited = [other[0], other[1], one[2]];
            let single = StepView::SingleStepMathOnly;
            prop_assert_eq!(view(&one, 2, single), view(&edited, 2, single));
        }
    }
}
