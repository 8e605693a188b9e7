//! Games in turns that a policy plays in tokens.

use ascribe_core::{CoreError, Seed, Tokens};

/// Where a game stands after some utterances.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Turn {
    /// What the policy sees, as the prompt of its next utterance. At the end it is what the game came to.
    pub observation: Tokens,
    /// What the last utterance earned; 0 before the first.
    pub reward: f64,
    /// Whether the game is over.
    pub done: bool,
}

/// A game: what has been said decides where it stands, so a game that is under way is a list of utterances.
pub trait Game {
    /// Where the game of this seed stands after `said`. All that is random in it comes from the seed.
    ///
    /// # Errors
    /// When something was said behind the end, or an observation cannot be put into tokens.
    fn turn(&self, game: Seed, said: &[Tokens]) -> Result<Turn, CoreError>;
}
