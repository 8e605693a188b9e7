//! Problems of chain arithmetic, as values and as text.
//!
//! ```text
//! x_0 = start,   x_i = (x_{i-1} op_i d_i) mod 10,   answer = x_k        start, d_i in 0..=9, op in + - *
//! ```
//! Residues are Euclidean: 2 - 5 = 7. In the text a sum or difference that is multiplied stands in brackets, and so does
//! the whole before `%10`; there are no other brackets. A solution writes `x_{i-1} op_i d_i = x_i ;` for each operation.

use std::{fmt, ops::RangeInclusive};

use ascribe_core::Stream;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use crate::WorldError;

/// Every character of problems and solutions, in a fixed order.
pub fn alphabet() -> &'static str {
    "0123456789+-*()%=;"
}

/// An operation of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operator {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
}

impl Operator {
    /// All operators.
    pub const ALL: [Self; 3] = [Self::Add, Self::Subtract, Self::Multiply];

    /// The character that stands for it.
    pub fn symbol(self) -> char {
        match self {
            Self::Add => '+',
            Self::Subtract => '-',
            Self::Multiply => '*',
        }
    }

    /// The result modulo 10, in 0..=9.
    pub fn apply(self, left: u8, right: u8) -> u8 {
        let (left, right) = (i32::from(left), i32::from(right));
        let result = match self {
            Self::Add => left + right,
            Self::Subtract => left - right,
            Self::Multiply => left * right,
        };
        result.rem_euclid(10) as u8
    }

    pub(super) fn read(symbol: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|operator| operator.symbol() == char::from(symbol))
    }
}

/// A chain problem: a start digit and at least one operation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Problem {
    start: u8,
    operations: Vec<(Operator, u8)>,
}

impl Problem {
    /// A problem from its digits, each in 0..=9.
    ///
    /// # Errors
    /// When a number is no digit, or there is no operation.
    pub fn new(start: u8, operations: Vec<(Operator, u8)>) -> Result<Self, WorldError> {
        let mut digits = operations.iter().map(|(_, digit)| *digit).chain([start]);
        if let Some(got) = digits.find(|digit| *digit > 9) {
            return Err(WorldError::range("a number of a chain", "a digit 0 to 9", got));
        }
        if operations.is_empty() {
            return Err(WorldError::range("the number of operations", "at least 1", 0));
        }
        Ok(Self { start, operations })
    }

    /// A random problem: the number of operations uniform in `steps`, then every digit and operator uniform.
    ///
    /// # Errors
    /// When `steps` is empty or holds 0.
    pub fn draw(stream: &mut Stream, steps: RangeInclusive<usize>) -> Result<Self, WorldError> {
        if !(1 <= *steps.start() && steps.start() <= steps.end()) {
            return Err(WorldError::range("the range of steps", "non-empty and from 1 up", steps));
        }
        let (steps, start) = (stream.random_range(steps), stream.random_range(0..=9));
        let operation = |_| (Operator::ALL[stream.random_range(0..Operator::ALL.len())], stream.random_range(0..=9));
        Ok(Self { start, operations: (0..steps).map(operation).collect() })
    }

    /// The start digit.
    pub fn start(&self) -> u8 {
        self.start
    }

    /// The operations with their right operands, in order; at least one.
    pub fn operations(&self) -> &[(Operator, u8)] {
        &self.operations
    }

    /// The problem as text, such as `((3+5)*2-4)%10`.
    pub fn text(&self) -> String {
        let (mut body, mut brackets, mut sum) = (self.start.to_string(), 1, false);
        for (operator, digit) in &self.operations {
            // The chain nests to the left, so every bracket opens at the front.
            if sum && *operator == Operator::Multiply {
                body.push(')');
                brackets += 1;
            }
            body.extend([operator.symbol(), char::from(b'0' + digit)]);
            sum = *operator != Operator::Multiply;
        }
        "(".repeat(brackets) + &body + END
    }

    /// Reads what [`text`](Self::text) writes, and nothing else.
    ///
    /// # Errors
    /// With the byte at which the text stops being a problem.
    pub fn parse(text: &str) -> Result<Self, WorldError> {
        let bytes = text.as_bytes();
        let refuse = |at: usize, expected| {
            let got = text.get(at..).and_then(|rest| rest.chars().next());
            let got = got.map_or("the end of the text".into(), |got| format!("{got:?}"));
            Err(WorldError::Problem { at, expected, got })
        };
        let digit = |at: usize| bytes.get(at).filter(|byte| byte.is_ascii_digit()).map(|byte| byte - b'0');

        let mut at = bytes.iter().take_while(|byte| **byte == b'(').count();
        let Some(start) = digit(at) else { return refuse(at, "a digit") };
        at += 1;
        let mut operations = Vec::new();
        while !bytes[at..].starts_with(END.as_bytes()) {
            let closes = bytes.get(at) == Some(&b')');
            let operator = bytes.get(at + usize::from(closes)).copied().and_then(Operator::read);
            let Some(operator) = operator else { return refuse(at, "an operator `+ - *` or `)%10`") };
            at += 1 + usize::from(closes);
            let Some(right) = digit(at) else { return refuse(at, "a digit") };
            operations.push((operator, right));
            at += 1;
        }
        if operations.is_empty() {
            return refuse(at, "an operation");
        }
        if at + END.len() != bytes.len() {
            return refuse(at + END.len(), "nothing");
        }
        let problem = Self { start, operations };
        let written = problem.text();
        if written != text {
            let same = written.bytes().zip(text.bytes()).take_while(|(ours, theirs)| ours == theirs).count();
            return refuse(
                same,
                "brackets round the whole and round a sum or difference that is multiplied, and no others",
            );
        }
        Ok(problem)
    }

    /// The right result of each operation, in order.
    pub fn results(&self) -> Vec<u8> {
        let step = |result: &mut u8, (operator, right): &(Operator, u8)| {
            *result = operator.apply(*result, *right);
            Some(*result)
        };
        self.operations.iter().scan(self.start, step).collect()
    }

    /// The right answer, in 0..=9.
    pub fn answer(&self) -> u8 {
        self.operations.iter().fold(self.start, |result, (operator, right)| operator.apply(result, *right))
    }

    /// The right solution, such as `3+5=8;8*2=6;6-4=2;`.
    pub fn solution(&self) -> String {
        self.write(Operator::apply)
    }

    /// A solution whose results come from `result`, each step going on from what the step before it wrote.
    pub(super) fn write(&self, mut result: impl FnMut(Operator, u8, u8) -> u8) -> String {
        let (mut text, mut left) = (String::with_capacity(6 * self.operations.len()), self.start);
        for (operator, right) in &self.operations {
            let written = result(*operator, left, *right);
            text += &format!("{left}{}{right}={written};", operator.symbol());
            left = written;
        }
        text
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl TryFrom<String> for Problem {
    type Error = WorldError;
    fn try_from(text: String) -> Result<Self, WorldError> {
        Self::parse(&text)
    }
}

impl From<Problem> for String {
    fn from(problem: Problem) -> Self {
        problem.text()
    }
}

/// How a problem ends.
const END: &str = ")%10";

#[cfg(test)]
pub(super) mod tests {
    use ascribe_core::Seed;
    use proptest::prelude::*;

    use super::*;

    pub fn any_problem() -> impl Strategy<Value = Problem> {
        let operator = prop::sample::select(&Operator::ALL[..]);
        (0u8..10, prop::collection::vec((operator, 0u8..10), 1..9))
            .prop_map(|(start, operations)| Problem::new(start, operations).unwrap())
    }

    fn check(text: &str, answer: u8, solution: &str) {
        let problem = Problem::parse(text).unwrap();
        assert_eq!((problem.text().as_str(), problem.answer(), problem.solution().as_str()), (text, answer, solution));
        assert_eq!(problem.results().last(), Some(&answer));
    }

    #[test]
    fn problems_worked_by_hand() {
        check("((3+5)*2-4)%10", 2, "3+5=8;8*2=6;6-4=2;");
        check("(2-5)%10", 7, "2-5=7;");
        check("(7*8)%10", 6, "7*8=6;");
        check("(4*9*9-7+1)%10", 8, "4*9=6;6*9=4;4-7=7;7+1=8;");
        check("(((1+9)*4-3)*7)%10", 9, "1+9=0;0*4=0;0-3=7;7*7=9;");
    }

    #[test]
    fn a_bad_problem_is_refused_where_it_goes_wrong() {
        let refused = |text: &str, at, expected: &str, got: &str| {
            let error = Problem::parse(text).unwrap_err();
            let message = error.to_string();
            assert!(matches!(error, WorldError::Problem { at: place, .. } if place == at), "{text}: {message}");
            assert!(message.contains(expected) && message.contains(got), "{text}: {message}");
        };
        refused("", 0, "a digit", "the end");
        refused("(3+5", 4, "an operator", "the end");
        refused("(3+x)%10", 3, "a digit", "'x'");
        refused("(3é5)%10", 2, "an operator", "'é'");
        refused("(3)%10", 2, "an operation", "')'");
        refused("(3+5)%10 ", 8, "nothing", "' '");
        refused("(3+5*2)%10", 1, "brackets", "'3'");
        refused("((3*5)*2)%10", 1, "brackets", "'('");
        refused("3+5)%10", 0, "brackets", "'3'");
        refused("(3+5))%10", 4, "an operator", "')'");
    }

    #[test]
    fn what_is_no_problem_cannot_be_built() {
        assert!(Problem::new(10, vec![(Operator::Add, 1)]).is_err());
        assert!(Problem::new(1, vec![(Operator::Add, 10)]).is_err());
        assert!(Problem::new(1, vec![]).is_err());
        let draw = |steps| Problem::draw(&mut Seed(0).stream("problems", 0), steps);
        assert!(draw(0..=3).is_err());
        #[expect(clippy::reversed_empty_ranges)]
        let reversed = 3..=2;
        assert!(draw(reversed).is_err());
    }

    #[test]
    fn draws_cover_the_range_of_steps() {
        let mut seen = [0; 5];
        for index in 0..300 {
            seen[Problem::draw(&mut Seed(1).stream("problems", index), 2..=4).unwrap().operations().len()] += 1;
        }
        // 100 expected for each of 2, 3, 4; 60 is five standard deviations below.
        assert!(seen[..2] == [0, 0] && seen[2..].iter().all(|n| *n > 60), "{seen:?}");
    }

    proptest! {
        #[test]
        fn text_parses_back(problem in any_problem()) {
            let text = problem.text();
            prop_assert!(text.chars().chain(problem.solution().chars()).all(|letter| alphabet().contains(letter)));
            prop_assert_eq!(Problem::parse(&text), Ok(problem));
        }

        #[test]
        fn what_parses_is_what_text_writes(text in "\\({0,3}[0-9]([)]?[-+*][0-9]){0,4}\\){1,2}%10") {
            if let Ok(problem) = Problem::parse(&text) {
                prop_assert_eq!(problem.text(), text);
            }
        }

        #[test]
        fn parse_never_panics(text in "\\PC*", near in "[-0-9+*()%=;é]*") {
            let _ = Problem::parse(&text);
            let _ = Problem::parse(&near);
        }

        #[test]
        fn the_answer_is_the_value_of_the_whole_expression_modulo_ten(problem in any_problem()) {
            // Without intermediate remainders: |value| stays below 9 * 10^8.
            let whole = problem.operations().iter().fold(i64::from(problem.start()), |value, (operator, right)| {
                let right = i64::from(*right);
                match operator {
                    Operator::Add => value + right,
                    Operator::Subtract => value - right,
                    Operator::Multiply => value * right,
                }
            });
            prop_assert_eq!(i64::from(problem.answer()), whole.rem_euclid(10));
        }
    }
}
