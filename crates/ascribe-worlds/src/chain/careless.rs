//! A careless solver, whose wrong steps are planted and therefore known.
//!
//! A step `a op b` slips with one probability when it is hard and another when it is easy. It is hard when a difference
//! borrows (`a < b`) or a product carries (`a * b >= 10`). A slip is a fixed misconception, a function of the step alone:
//!
//! | step | written instead |
//! |---|---|
//! | `a+b` | `a+b-1` |
//! | `a-b` | `b-a` |
//! | `a*b` | `a+b` |
//!
//! modulo 10, and one more than the right result where that value happens to be right. Later steps go on from it.

use ascribe_core::Stream;
use rand::RngExt;

use super::{Operator, Problem};
use crate::WorldError;

/// How often steps go wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slips {
    hard: f64,
    easy: f64,
}

impl Default for Slips {
    /// 0.8 of hard steps, 0.05 of easy ones.
    fn default() -> Self {
        Self { hard: 0.8, easy: 0.05 }
    }
}

impl Slips {
    /// Probabilities of a slip at a hard and at an easy step, each in [0, 1].
    ///
    /// # Errors
    /// When one is no probability.
    pub fn new(hard: f64, easy: f64) -> Result<Self, WorldError> {
        match [hard, easy].into_iter().find(|probability| !(0.0..=1.0).contains(probability)) {
            Some(got) => Err(WorldError::range("the probability of a slip", "in [0, 1]", got)),
            None => Ok(Self { hard, easy }),
        }
    }

    fn draw(&self, stream: &mut Stream, operator: Operator, left: u8, right: u8) -> bool {
        let probability = if operator.is_hard(left, right) { self.hard } else { self.easy };
        stream.random::<f64>() < probability
    }
}

impl Operator {
    /// Whether the step borrows (a difference below 0) or carries (a product of 10 or more).
    pub fn is_hard(self, left: u8, right: u8) -> bool {
        match self {
            Self::Add => false,
            Self::Subtract => left < right,
            Self::Multiply => u32::from(left) * u32::from(right) >= 10,
        }
    }

    /// The wrong result that a slip writes, in 0..=9; never the right one.
    pub fn slip(self, left: u8, right: u8) -> u8 {
        let slipped = match self {
            Self::Add => Self::Subtract.apply(Self::Add.apply(left, right), 1),
            Self::Subtract => Self::Subtract.apply(right, left),
            Self::Multiply => Self::Add.apply(left, right),
        };
        let result = self.apply(left, right);
        if slipped == result { (result + 1) % 10 } else { slipped }
    }
}

impl Problem {
    /// A solution with slips; it may have none.
    pub fn careless_solution(&self, stream: &mut Stream, slips: &Slips) -> String {
        self.write(|operator, left, right| {
            if slips.draw(stream, operator, left, right) {
                operator.slip(left, right)
            } else {
                operator.apply(left, right)
            }
        })
    }

    /// A careless solution with at least one wrong step. Its answer is usually wrong, but slips can cancel.
    ///
    /// Drawn until there is a slip, at most 64 times; after that one step, drawn uniformly, slips and the others are right.
    pub fn flawed_solution(&self, stream: &mut Stream, slips: &Slips) -> String {
        let right = self.solution();
        for _ in 0..64 {
            let text = self.careless_solution(stream, slips);
            // The first slip changes the text, and nothing before it does.
            if text != right {
                return text;
            }
        }
        let mut until = stream.random_range(0..self.operations().len()) as isize;
        self.write(|operator, left, right| {
            until -= 1;
            if until == -1 { operator.slip(left, right) } else { operator.apply(left, right) }
        })
    }
}

#[cfg(test)]
mod tests {
    use ascribe_core::Seed;
    use proptest::prelude::*;

    use super::{super::problem::tests::any_problem, *};
    use crate::Verdict;

    #[test]
    fn slips_worked_by_hand() {
        use Operator::{Add, Multiply, Subtract};
        // (operator, left, right) -> hard, what is written.
        for (operator, left, right, hard, written) in [
            (Add, 3, 5, false, 7),
            (Add, 0, 0, false, 9),
            (Subtract, 7, 4, false, 7), // 4 - 7 = -3
            (Subtract, 4, 7, true, 3),  // 7 - 4
            (Subtract, 7, 2, false, 6), // 2 - 7 = 5 is right, so 6
            (Subtract, 4, 4, false, 1), // 0 is right, so 1
            (Multiply, 7, 8, true, 5),  // 7 + 8 = 15
            (Multiply, 2, 2, false, 5), // 2 + 2 = 4 is right, so 5
            (Multiply, 3, 3, false, 6),
            (Multiply, 2, 5, true, 7),
        ] {
            assert_eq!(
                (operator.is_hard(left, right), operator.slip(left, right)),
                (hard, written),
                "{left}{operator:?}{right}"
            );
        }
    }

    #[test]
    fn a_slip_is_never_right() {
        for (operator, left, right) in Operator::ALL.iter().flat_map(|o| (0..100).map(move |n| (o, n / 10, n % 10))) {
            assert_ne!(operator.slip(left, right), operator.apply(left, right), "{left}{operator:?}{right}");
        }
    }

    #[test]
    fn slips_come_as_often_as_asked() {
        // 2-5 is hard and 5-2 easy; 4000 draws, so 0.8 has a standard deviation of 0.0063 and 0.05 of 0.0034.
        for (text, probability, bound) in [("(2-5)%10", 0.8, 0.03), ("(5-2)%10", 0.05, 0.016)] {
            let problem = Problem::parse(text).unwrap();
            let careless = |index| problem.careless_solution(&mut Seed(3).stream("slips", index), &Slips::default());
            let wrong = (0..4000).filter(|index| !problem.check(&careless(*index)).correct).count();
            assert!((wrong as f64 / 4000.0 - probability).abs() < bound, "{text}: {wrong} of 4000");
        }
    }

    #[test]
    fn what_is_no_probability_is_refused() {
        assert!(Slips::new(f64::NAN, 0.0).is_err());
        assert!(Slips::new(0.5, 1.5).is_err());
        assert!(Slips::new(-0.1, 0.5).is_err());
        assert!(Slips::new(1.0, 0.0).is_ok());
    }

    proptest! {
        #[test]
        fn a_flawed_solution_has_a_first_wrong_step(
            problem in any_problem(), seed in any::<u64>(), hard in 0.0..=1.0f64, never in any::<bool>(),
        ) {
            let slips = if never { Slips::new(0.0, 0.0) } else { Slips::new(hard, 0.05) }.unwrap();
            let text = problem.flawed_solution(&mut Seed(seed).stream("flawed", 0), &slips);
            let check = problem.check(&text);
            prop_assert!(check.first_wrong.is_some(), "{text}");
            prop_assert_eq!(check.steps.len(), problem.operations().len());
            // A forced slip is the only wrong step.
            let wrong = check.steps.iter().filter(|step| step.verdict != Verdict::Right).count();
            prop_assert!(!never || wrong == 1);
        }

        #[test]
        fn careless_slips_are_a_function_of_the_step(problem in any_problem(), seed in any::<u64>()) {
            let slips = Slips::new(0.5, 0.5).unwrap();
            let mut seen = std::collections::BTreeMap::new();
            for index in 0..16 {
                let text = problem.careless_solution(&mut Seed(seed).stream("slips", index), &slips);
                for step in problem.check(&text).steps {
                    prop_assert!(matches!(step.verdict, Verdict::Right | Verdict::WrongResult));
                    let (question, result) = text[step.span.clone()].split_once('=').unwrap();
                    if step.verdict == Verdict::WrongResult {
                        let before = seen.entry(question.to_owned()).or_insert_with(|| result.to_owned());
                        prop_assert_eq!(before.as_str(), result, "{}", question);
                    }
                }
            }
        }
    }
}
