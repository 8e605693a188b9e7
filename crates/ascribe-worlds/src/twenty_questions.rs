//! Twenty questions: one thing out of a few is hidden, each question has a yes or a no for an answer, and guessing it ends the game.
//!
//! ```text
//! reward of a move = 0 for the right guess, else -1
//! V(C, n) = max(  max_q -1 + sum over answers |C_a| / |C| V(C_a, n - 1),
//!                 max_c (1 - 1 / |C|) (-1 + V(C without c, n - 1))  ),   V(C, 0) = 0
//! ```
//! `C` are the things that fit all answers, each as likely as another, and `n` the moves that are left. A game in the manner of
//! ArCHer's (arXiv:2402.19446), small enough that the best return is known: what an agent can earn that has seen the answers and
//! not the thing.

use std::collections::HashMap;

use ascribe_core::{CoreError, Seed, Transition, World};
use rand::RngExt;

use crate::WorldError;

/// Most things, so that every set of them can be looked at.
const MOST: usize = 16;

/// Things and questions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TwentyQuestions {
    /// For each question the things, as bits, that it is true of.
    questions: Vec<u32>,
    things: usize,
    turns: usize,
}

/// What can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TwentyMove {
    /// Ask a question.
    Ask(usize),
    /// Guess a thing.
    Guess(usize),
}

/// What has been said, and what is hidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TwentyState {
    hidden: usize,
    said: Vec<(Option<TwentyMove>, bool)>,
    /// The things that fit all answers, as bits.
    candidates: u32,
    found: bool,
}

impl TwentyMove {
    /// The move that a text begins with: `ask 2`, or `guess 0`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let (verb, number) = (words.next()?, words.next()?.parse::<u8>().ok()?);
        let number = usize::from(number);
        match verb {
            "ask" => Some(Self::Ask(number)),
            "guess" => Some(Self::Guess(number)),
            _ => None,
        }
    }
}

impl std::fmt::Display for TwentyMove {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Self::Ask(number) => write!(f, "ask {number}"),
            Self::Guess(number) => write!(f, "guess {number}"),
        }
    }
}

impl TwentyQuestions {
    /// A game about `things` things, with a question for each entry of `questions`: the things, as bits, that it is true of.
    ///
    /// # Errors
    /// When there is no thing, more than 16 are, a question is about others, or no move is allowed.
    pub fn new(things: usize, questions: Vec<u32>, turns: usize) -> Result<Self, WorldError> {
        if !(1..=MOST).contains(&things) {
            return Err(WorldError::range("the number of things", "at least 1 and at most 16", things));
        }
        if questions.iter().any(|question| *question >> things != 0) {
            return Err(WorldError::range("a question", "about the things that there are", &questions));
        }
        if turns == 0 {
            return Err(WorldError::range("the number of moves", "at least 1", turns));
        }
        Ok(Self { questions, things, turns })
    }

    /// A game about 2 to the power of `bits` things, with a question about each bit of their number.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of_bits(bits: usize, turns: usize) -> Result<Self, WorldError> {
        if bits > MOST.ilog2() as usize {
            return Err(WorldError::range("the bits of a thing", "at most 4", bits));
        }
        let things = 1 << bits;
        let question =
            |bit: usize| (0..things).filter(|thing| thing >> bit & 1 == 1).fold(0, |set, thing| set | 1 << thing);
        Self::new(things, (0..bits).map(question).collect(), turns)
    }

    /// Number of things.
    pub fn things(&self) -> usize {
        self.things
    }

    /// The move of a token id; `None` when the game has no such move.
    pub fn read(&self, mv: u32) -> Option<TwentyMove> {
        let (at, asked) = (mv as usize, self.questions.len());
        match at.checked_sub(asked) {
            None => Some(TwentyMove::Ask(at)),
            Some(thing) => (thing < self.things).then_some(TwentyMove::Guess(thing)),
        }
    }

    /// The token id of a move.
    pub fn id(&self, mv: TwentyMove) -> u32 {
        (match mv {
            TwentyMove::Ask(question) => question,
            TwentyMove::Guess(thing) => self.questions.len() + thing,
        }) as u32
    }

    /// What an agent sees: how many things and questions there are, what it said, and what the answers were.
    pub fn observation(&self, state: &TwentyState) -> String {
        let mut text = format!("{} things, {} questions.", self.things, self.questions.len());
        for (mv, yes) in &state.said {
            match mv {
                Some(mv) => text.push_str(&format!(" {mv}? {}.", if *yes { "yes" } else { "no" })),
                None => text.push_str(" what?"),
            }
        }
        text
    }

    /// A game about this thing, from the beginning.
    ///
    /// # Errors
    /// When there is no such thing.
    pub fn about(&self, hidden: usize) -> Result<TwentyState, WorldError> {
        if hidden >= self.things {
            return Err(WorldError::range("the hidden thing", "one that there is", hidden));
        }
        let candidates = ((1u64 << self.things) - 1) as u32;
        Ok(TwentyState { hidden, said: Vec::new(), candidates, found: false })
    }

    /// What is said is no move: nothing is learned, and a move is lost.
    ///
    /// # Errors
    /// When the game is over.
    pub fn waste(&self, state: &TwentyState) -> Result<Transition<TwentyState>, CoreError> {
        self.open(state)?;
        Ok(self.after(state, None))
    }

    fn open(&self, state: &TwentyState) -> Result<(), CoreError> {
        match self.is_over(state) {
            true => Err(WorldError::range("a move in twenty questions", "made before the game is over", state).into()),
            false => Ok(()),
        }
    }

    fn is_over(&self, state: &TwentyState) -> bool {
        state.found || state.said.len() >= self.turns
    }

    fn after(&self, state: &TwentyState, mv: Option<TwentyMove>) -> Transition<TwentyState> {
        let mut next = state.clone();
        let yes = match mv {
            Some(TwentyMove::Ask(question)) => {
                let of = self.questions[question];
                let yes = of >> state.hidden & 1 == 1;
                next.candidates &= if yes { of } else { !of };
                yes
            }
            Some(TwentyMove::Guess(thing)) => {
                next.found = thing == state.hidden;
                next.candidates &= if next.found { 1 << thing } else { !(1 << thing) };
                next.found
            }
            None => false,
        };
        next.said.push((mv, yes));
        let (reward, done) = (if next.found { 0.0 } else { -1.0 }, self.is_over(&next));
        Transition { state: next, reward, done }
    }

    /// The best expected return with these candidates and so many moves left.
    fn best(&self, candidates: u32, left: usize, known: &mut HashMap<(u32, usize), f64>) -> f64 {
        if left == 0 {
            return 0.0;
        }
        if let Some(value) = known.get(&(candidates, left)) {
            return *value;
        }
        let n = f64::from(candidates.count_ones());
        let mut best = f64::NEG_INFINITY;
        for of in &self.questions {
            let parts = [candidates & of, candidates & !of];
            // What is known already is never better asked than the thing guessed that would take longest.
            if parts.contains(&0) {
                continue;
            }
            let mut value = -1.0;
            for part in parts {
                value += f64::from(part.count_ones()) / n * self.best(part, left - 1, known);
            }
            best = best.max(value);
        }
        for thing in (0..self.things).filter(|thing| candidates >> thing & 1 == 1) {
            let rest = candidates & !(1 << thing);
            let missed = if rest == 0 { 0.0 } else { -1.0 + self.best(rest, left - 1, known) };
            best = best.max((1.0 - 1.0 / n) * missed);
        }
        known.insert((candidates, left), best);
        best
    }
}

impl World for TwentyQuestions {
    type State = TwentyState;

    /// A game about a thing that is drawn.
    fn reset(&self, seed: Seed) -> TwentyState {
        let hidden = seed.stream("twenty questions", 0).random_range(0..self.things);
        TwentyState { hidden, said: Vec::new(), candidates: ((1u64 << self.things) - 1) as u32, found: false }
    }

    fn moves(&self, state: &TwentyState) -> Vec<u32> {
        match self.is_over(state) {
            true => Vec::new(),
            false => (0..(self.questions.len() + self.things) as u32).collect(),
        }
    }

    fn step(&self, state: &TwentyState, mv: u32) -> Result<Transition<TwentyState>, CoreError> {
        self.open(state)?;
        match self.read(mv) {
            Some(mv) => Ok(self.after(state, Some(mv))),
            None => Err(WorldError::range("a move in twenty questions", "a question or a thing", mv).into()),
        }
    }

    /// The best expected return of an agent that has heard the answers, by looking at every set of things that can be left.
    fn value(&self, state: &TwentyState) -> Option<f64> {
        if self.is_over(state) {
            return Some(0.0);
        }
        Some(self.best(state.candidates, self.turns - state.said.len(), &mut HashMap::new()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_game_played_by_hand() {
        let game = TwentyQuestions::of_bits(2, 5).unwrap();
        let mut state = game.about(2).unwrap();
        assert_eq!(game.observation(&state), "4 things, 2 questions.");
        // The right of two is found by the first guess half of the time.
        for (mv, value) in [(TwentyMove::Ask(0), -0.5), (TwentyMove::Guess(0), 0.0)] {
            let next = game.step(&state, game.id(mv)).unwrap();
            assert_eq!((next.reward, next.done, game.value(&next.state)), (-1.0, false, Some(value)), "{mv}");
            state = next.state;
        }
        let next = game.waste(&state).unwrap();
        assert_eq!((next.reward, game.value(&next.state)), (-1.0, Some(0.0)));
        assert_eq!(game.observation(&next.state), "4 things, 2 questions. ask 0? no. guess 0? no. what?");
        let end = game.step(&next.state, game.id(TwentyMove::Guess(2))).unwrap();
        assert_eq!((end.reward, end.done, game.value(&end.state)), (0.0, true, Some(0.0)));
        assert!(game.moves(&end.state).is_empty());
        assert!(game.step(&end.state, 0).is_err() && game.waste(&end.state).is_err() && game.step(&state, 6).is_err());
    }

    #[test]
    fn the_best_return_by_hand() {
        // Two are told apart by a guess: (0 - 1) / 2. Of three one guesses as well: 2/3 (-1 - 1/2) = -1. Of four a question
        // leaves two: -1 - 1/2, and so does guessing: 3/4 (-1 - 1).
        let at_once = |bits, turns| {
            let game = TwentyQuestions::of_bits(bits, turns).unwrap();
            game.value(&game.about(0).unwrap()).unwrap()
        };
        assert_eq!([at_once(0, 3), at_once(1, 3), at_once(2, 5)], [0.0, -0.5, -1.5]);
        // However many moves there are, none is wasted.
        assert_eq!(at_once(2, 1_000_000), -1.5);
        // With one move there is only the guess; with two, 3/4 (-1 - 2/3).
        assert!((at_once(2, 1) + 0.75).abs() < 1e-12 && (at_once(2, 2) + 1.25).abs() < 1e-12);
    }

    #[test]
    fn moves_are_read_and_what_cannot_be_is_refused() {
        let game = TwentyQuestions::of_bits(2, 5).unwrap();
        for mv in [TwentyMove::Ask(1), TwentyMove::Guess(3)] {
            assert_eq!((game.read(game.id(mv)), TwentyMove::parse(&mv.to_string())), (Some(mv), Some(mv)));
        }
        assert_eq!(TwentyMove::parse(" guess 12, please"), Some(TwentyMove::Guess(12)));
        for text in ["", "ask", "ask x", "tell 1", "1 ask", "guess 18446744073709551615"] {
            assert_eq!(TwentyMove::parse(text), None, "{text}");
        }
        assert!(TwentyQuestions::new(0, vec![], 1).is_err() && TwentyQuestions::new(17, vec![], 1).is_err());
        assert!(TwentyQuestions::new(2, vec![4], 1).is_err() && TwentyQuestions::new(2, vec![1], 0).is_err());
        assert!(TwentyQuestions::of_bits(5, 1).is_err() && game.about(4).is_err());
    }

    proptest! {
        /// The value is the best over moves of the mean over the things that may be hidden.
        #[test]
        fn the_value_is_the_best_mean_over_what_may_be_hidden(
            questions in prop::collection::vec(0..32u32, 1..4), turns in 1usize..5, moves in prop::collection::vec(any::<u32>(), 0..4),
        ) {
            let game = TwentyQuestions::new(5, questions, turns).unwrap();
            let mut state = game.about(1).unwrap();
            for mv in moves {
                let legal = game.moves(&state);
                if legal.is_empty() {
                    break;
                }
                let hidden = (0..5).filter(|thing| state.candidates >> thing & 1 == 1).collect::<Vec<usize>>();
                let mean = |mv: u32| {
                    let worth = hidden.iter().map(|hidden| {
                        let next = game.step(&TwentyState { hidden: *hidden, ..state.clone() }, mv).unwrap();
                        next.reward + game.value(&next.state).unwrap()
                    });
                    worth.sum::<f64>() / hidden.len() as f64
                };
                let best = legal.iter().map(|mv| mean(*mv)).fold(f64::NEG_INFINITY, f64::max);
                prop_assert!((game.value(&state).unwrap() - best).abs() < 1e-12);
                state = game.step(&state, legal[mv as usize % legal.len()]).unwrap().state;
            }
        }
    }
}
