//! Elo ratings (A. E. Elo, "The Rating of Chessplayers", 1978): online, so they depend on the order of games.
//!
//! ```text
//! r_a += k (o - 1/(1 + 10^((r_b - r_a)/400))),  r_b by the opposite
//! ```
//! A single order is noise, the last games count most: take the mean over random orders.

use ascribe_core::Seed;

use super::bradley_terry::{Anchor, Game, checked};
use crate::EvalError;
use crate::error::option;
use crate::stats::bootstrap::shuffle;

/// Online Elo ratings, the mean over `orders` random orders of the games; one order (1) is the one given. Unbounded; a
/// draw is half a win; O(games orders).
///
/// # Errors
/// When there is no game, a player or outcome is out of range, `k` is not above 0, or there is no order.
pub fn elo(games: &[Game], players: usize, k: f64, orders: usize, seed: Seed) -> Result<Vec<f64>, EvalError> {
    option("k", "finite and above 0, such as 4", k, 0.0 < k && k.is_finite())?;
    option("orders", "at least 1", orders as f64, orders >= 1)?;
    checked(games, players, Anchor::Mean)?;
    let mut totals = elo_in_order(games, players, k);
    for order in 1..orders {
        let mut shuffled = games.to_vec();
        shuffle(&mut seed.stream("elo", order as u64), &mut shuffled);
        let ratings = elo_in_order(&shuffled, players, k);
        totals.iter_mut().zip(ratings).for_each(|(total, rating)| *total += rating);
    }
    totals.iter_mut().for_each(|total| *total /= orders as f64);
    Ok(totals)
}

/// Ratings after `games` in the order given, from 1000 each.
fn elo_in_order(games: &[Game], players: usize, k: f64) -> Vec<f64> {
    let mut ratings = vec![1000.0; players];
    for game in games {
        let expected = 1.0 / (1.0 + 10_f64.powf((ratings[game.b] - ratings[game.a]) / 400.0));
        let change = k * game.weight * (game.outcome - expected);
        ratings[game.a] += change;
        ratings[game.b] -= change;
    }
    ratings
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Wins, a draw and a loss of the first player at K = 4.
    #[test]
    fn elo_of_four_games() {
        let games = [1.0, 1.0, 0.5, 0.0].map(|outcome| Game { a: 0, b: 1, outcome, weight: 1.0 });
        let ratings = elo(&games, 2, 4.0, 1, Seed(0)).unwrap();
        assert!((ratings[0] - 1_001.885_944_7).abs() < 1e-6 && (ratings[0] + ratings[1] - 2000.0).abs() < 1e-9);
        let many = elo(&games, 2, 4.0, 50, Seed(0)).unwrap();
        assert!((many[0] - 1002.0).abs() < 0.2, "{many:?}");
    }

    #[test]
    fn bad_input_is_refused() {
        let game = [Game { a: 0, b: 1, outcome: 1.0, weight: 1.0 }];
        assert!(matches!(elo(&game, 2, 0.0, 1, Seed(0)), Err(EvalError::Range { name: "k", .. })));
        assert!(matches!(elo(&game, 2, 4.0, 0, Seed(0)), Err(EvalError::Range { name: "orders", .. })));
        assert!(matches!(elo(&[], 2, 4.0, 1, Seed(0)), Err(EvalError::Empty { .. })));
    }
}
