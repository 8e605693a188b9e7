//! A chain problem as a game: each move writes the result of the next step.

use ascribe_core::{CoreError, Seed, Transition, World};

use super::Problem;
use crate::WorldError;

/// The moves are the digits 0 to 9, one for each operation, and operands are copied rightly. The state is the results
/// written so far. The reward is 1 with the last result when it is the right answer, and 0 otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainWorld {
    /// The problem that is solved.
    pub problem: Problem,
}

impl ChainWorld {
    /// The probability of the right answer when every later step is computed rightly: 1 or 0.
    ///
    /// At the end, and beyond it, this says whether the last result is the answer.
    pub fn value_if_careful(&self, state: &[u8]) -> f64 {
        let left = state.last().copied().unwrap_or(self.problem.start());
        let ahead = self.problem.operations().iter().skip(state.len());
        let last = ahead.fold(left, |left, (operator, right)| operator.apply(left, *right));
        if last == self.problem.answer() { 1.0 } else { 0.0 }
    }

    fn ended(&self, state: &[u8]) -> bool {
        state.len() >= self.problem.operations().len()
    }
}

impl World for ChainWorld {
    type State = Vec<u8>;

    /// Nothing written. The seed changes nothing.
    fn reset(&self, _seed: Seed) -> Vec<u8> {
        Vec::new()
    }

    fn moves(&self, state: &Vec<u8>) -> Vec<u32> {
        if self.ended(state) { Vec::new() } else { (0..10).collect() }
    }

    fn step(&self, state: &Vec<u8>, mv: u32) -> Result<Transition<Vec<u8>>, CoreError> {
        if self.ended(state) || mv > 9 {
            let rule = "a digit 0 to 9 while an operation is left";
            return Err(WorldError::range("a move of a chain", rule, (mv, state)).into());
        }
        let state = [state.as_slice(), &[mv as u8]].concat();
        let done = self.ended(&state);
        let reward = if done { self.value_if_careful(&state) } else { 0.0 };
        Ok(Transition { state, reward, done })
    }

    /// 1 while a move is left, since the last result can be set right whatever was written before; 0 at the end, where no
    /// reward is left. [`ChainWorld::value_if_careful`] tells wrong steps from right ones.
    fn value(&self, state: &Vec<u8>) -> Option<f64> {
        Some(if self.ended(state) { 0.0 } else { 1.0 })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::problem::tests::any_problem, *};

    #[test]
    fn a_game_played_by_hand() {
        let world = ChainWorld { problem: Problem::parse("((3+5)*2-4)%10").unwrap() };
        let start = world.reset(Seed(0));
        let wrong = world.step(&start, 7).unwrap();
        assert_eq!(wrong, Transition { state: vec![7], reward: 0.0, done: false });
        // 7*2-4 = 10: a careful pupil ends at 0, one who sees the answer can still write 2.
        assert_eq!((world.value_if_careful(&start), world.value_if_careful(&[7])), (1.0, 0.0));
        assert_eq!(world.value(&wrong.state), Some(1.0));
        // 3*2 = 6 as well, so 3 in place of 8 does no harm.
        assert_eq!(world.value_if_careful(&[3]), 1.0);
        let end = world.step(&vec![7, 4], 2).unwrap();
        assert_eq!(end, Transition { state: vec![7, 4, 2], reward: 1.0, done: true });
        assert_eq!(world.step(&vec![7, 4], 0).unwrap().reward, 0.0);
        assert_eq!((world.value(&end.state), world.moves(&end.state).len()), (Some(0.0), 0));
        assert!(world.step(&end.state, 2).is_err() && world.step(&start, 10).is_err());
    }

    proptest! {
        #[test]
        fn the_value_is_the_best_over_moves(problem in any_problem(), digits in prop::collection::vec(0u8..10, 0..9)) {
            let world = ChainWorld { problem };
            let state = digits[..digits.len().min(world.problem.operations().len())].to_vec();
            let ahead = world.moves(&state).into_iter().map(|mv| {
                let next = world.step(&state, mv).unwrap();
                next.reward + world.value(&next.state).unwrap()
            });
            prop_assert_eq!(world.value(&state).unwrap(), ahead.fold(0.0, f64::max));
        }

        #[test]
        fn the_right_results_are_always_careful(problem in any_problem()) {
            let results = problem.results();
            let world = ChainWorld { problem };
            for at in 0..=results.len() {
                prop_assert_eq!(world.value_if_careful(&results[..at]), 1.0);
            }
        }
    }
}
