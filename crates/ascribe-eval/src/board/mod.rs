//! Boards of models: win rates, ratings and strengths.

mod bradley_terry;
mod elo;
mod fit;
mod length_control;
mod plackett_luce;
mod style;
mod win_rate;

pub use bradley_terry::{Anchor, BradleyTerry, Game, Rating, bradley_terry, rating_board};
pub use elo::elo;
pub use length_control::{LengthControlled, LengthRow, length_controlled_win_rate};
pub use plackett_luce::{PlackettLuce, plackett_luce};
pub use style::{StyledBradleyTerry, styled_bradley_terry};
pub use win_rate::{WinRate, alpaca_outcome, win_rate};
