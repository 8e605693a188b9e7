//! Bradley-Terry ratings beside effects of style, as the boards of LMSYS control for length and form (2024): what is won
//! by being longer is no strength.
//!
//! ```text
//! maximize sum w [o ln sigmoid(m) + (1-o) ln sigmoid(-m)] - lambda (sum th^2 + sum psi^2),  m = th_a - th_b + psi . x
//! ```
//! `x` tells how the first side of a game differs from the second, such as the logarithm of the ratio of their lengths.
//! With two players that is the length-matched re-analysis of a preference: [`win_probability`] at `x = 0`.
//!
//! [`win_probability`]: BradleyTerry::win_probability

use super::bradley_terry::{Anchor, BradleyTerry, Game, checked};
use super::fit::Fit;
use crate::EvalError;
use crate::error::{finite, option, same_length};

/// Strengths at equal style, and what style is worth.
#[derive(Clone, Debug, PartialEq)]
pub struct StyledBradleyTerry {
    /// Strengths of the players where nothing but them differs.
    pub players: BradleyTerry,
    /// Log-odds that one unit of each column adds to the first side.
    pub effects: Vec<f64>,
}

/// Fits strengths and the effects of style together, with the ridge `ridge` on both; `style[game]` has one number a
/// column, all on one scale: divide them by their standard deviation first. A draw is half a win of each. Effects are
/// unbounded; O(games columns^2 + (players + columns)^3) for each step.
///
/// # Errors
/// When there is no game, a player, an outcome or a weight is out of range, games differ in their number of columns or
/// have none, a column is NaN or infinite, or the ridge is not above 0.
pub fn styled_bradley_terry(
    games: &[Game],
    style: &[Vec<f64>],
    players: usize,
    anchor: Anchor,
    ridge: f64,
) -> Result<StyledBradleyTerry, EvalError> {
    checked(games, players, anchor)?;
    same_length("the style of the games", games.len(), style.len())?;
    for row in style {
        same_length("the style of a game", style[0].len(), row.len())?;
        finite("the style of a game", row)?;
    }
    option("ridge", "finite and above 0", ridge, 0.0 < ridge && ridge.is_finite())?;
    let (players, effects) = Fit { games, style, players }.fitted(anchor, ridge);
    Ok(StyledBradleyTerry { players, effects })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::bradley_terry;

    fn game(a: usize, b: usize, outcome: f64, weight: f64) -> Game {
        Game { a, b, outcome, weight }
    }

    /// The first answer is longer in ten games, of which it wins 8, and shorter in ten others, of which it wins 4: the
    /// log-odds are d + e = ln 4 and d - e = ln (2/3), and the preference at equal length is the sigmoid of d.
    #[test]
    fn a_preference_at_equal_length() {
        let games = [game(0, 1, 1.0, 8.0), game(0, 1, 0.0, 2.0), game(0, 1, 1.0, 4.0), game(0, 1, 0.0, 6.0)];
        let style = [1.0, 1.0, -1.0, -1.0].map(|x| vec![x]);
        let fit = styled_bradley_terry(&games, &style, 2, Anchor::Mean, 1e-9).unwrap();
        let (long, short) = (4.0_f64.ln(), (2.0_f64 / 3.0).ln());
        let d = 0.5 * (long + short);
        assert!((fit.players.strengths[0] - fit.players.strengths[1] - d).abs() < 1e-6, "{fit:?}");
        assert!((fit.effects[0] - 0.5 * (long - short)).abs() < 1e-6, "{fit:?}");
        let p = fit.players.win_probability(0, 1).unwrap();
        assert!((p - 1.0 / (1.0 + (-d).exp())).abs() < 1e-6, "{p}");
    }

    /// Where the longer answer wins whoever wrote it, players are equal; a style that never differs has no effect and
    /// leaves the ratings as they are.
    #[test]
    fn what_style_wins_is_no_strength() {
        let games = [game(0, 1, 1.0, 5.0), game(1, 2, 1.0, 5.0), game(0, 2, 1.0, 5.0), game(2, 0, 0.0, 3.0)];
        let longer = [1.0, 1.0, 1.0, -1.0].map(|x| vec![x]);
        let strong = styled_bradley_terry(&games, &longer, 3, Anchor::Mean, 1.0).unwrap();
        let plain = bradley_terry(&games, 3, Anchor::Mean, Some(1.0)).unwrap();
        assert!(strong.effects[0] > 0.0 && strong.players.strengths[0] < plain.strengths[0], "{strong:?} {plain:?}");
        let same = vec![vec![0.0]; 4];
        let flat = styled_bradley_terry(&games, &same, 3, Anchor::Mean, 1.0).unwrap();
        assert_eq!(flat.effects, [0.0]);
        for (got, expected) in flat.players.strengths.iter().zip(&plain.strengths) {
            assert!((got - expected).abs() < 1e-12, "{flat:?} {plain:?}");
        }
    }

    #[test]
    fn bad_input_is_refused() {
        let games = [game(0, 1, 1.0, 1.0), game(1, 0, 1.0, 1.0)];
        let fit = |style: &[Vec<f64>], ridge: f64| styled_bradley_terry(&games, style, 2, Anchor::Mean, ridge);
        assert!(matches!(fit(&[vec![1.0]], 0.1), Err(EvalError::Length { .. })));
        assert!(matches!(fit(&[vec![1.0], vec![]], 0.1), Err(EvalError::Length { .. })));
        assert!(matches!(fit(&[vec![], vec![]], 0.1), Err(EvalError::Empty { .. })));
        assert!(matches!(fit(&[vec![1.0], vec![f64::NAN]], 0.1), Err(EvalError::NotFinite { .. })));
        assert!(matches!(fit(&[vec![1.0], vec![1.0]], 0.0), Err(EvalError::Range { .. })));
        assert!(matches!(styled_bradley_terry(&[], &[], 2, Anchor::Mean, 0.1), Err(EvalError::Empty { .. })));
    }
}
