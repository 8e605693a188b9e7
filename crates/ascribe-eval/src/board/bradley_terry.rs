//! Bradley-Terry ratings by maximum likelihood (R. A. Bradley and M. E. Terry, Biometrika 39, 1952).
//!
//! ```text
//! maximize sum w [o ln sigmoid(th_a - th_b) + (1-o) ln sigmoid(th_b - th_a)] - lambda sum th^2,  draws o = 1/2
//! rating = 1000 + 400/ln 10 * th
//! ```
//! Without a ridge the maximum exists only when every player can be reached from every other along wins (a draw goes
//! both ways); otherwise this is an error that names a player who cannot, found in O(players + games). Newton's method
//! with step halving, to a gradient of 1e-10 per game: O(games + players^3) for each of a few steps. Strengths are
//! unbounded.

use std::f64::consts::LN_10;

use super::fit::Fit;
use crate::error::{not_empty, option};
use crate::stats::bootstrap::sorted_quantile;
use crate::stats::sum::sigmoid;
use crate::{Bootstrap, BootstrapMethod, EvalError, Interval};

/// Games between two players of which the first won a share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Game {
    /// The first player, by number.
    pub a: usize,
    /// The second player.
    pub b: usize,
    /// 1 when the first won, 0 when the second did, 1/2 for a draw.
    pub outcome: f64,
    /// How many such games, at least 0.
    pub weight: f64,
}

/// Where the zero of the ratings lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anchor {
    /// The mean of all players.
    #[default]
    Mean,
    /// This player.
    Player(usize),
}

/// Fitted strengths.
#[derive(Clone, Debug, PartialEq)]
pub struct BradleyTerry {
    /// Strength of each player, natural logarithm of odds.
    pub strengths: Vec<f64>,
    /// The log-likelihood, without the ridge.
    pub log_likelihood: f64,
}

/// The rating of one player on a board.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rating {
    /// On the scale of Elo, 1000 at the anchor.
    pub rating: f64,
    /// Percentile bootstrap interval; absent without resamples.
    pub interval: Option<Interval>,
    /// 1 plus the number of players whose lower limit is above this player's upper one (without intervals: whose rating
    /// is higher).
    pub rank: usize,
}

impl BradleyTerry {
    /// Ratings on the scale of Elo. O(players).
    pub fn ratings(&self) -> Vec<f64> {
        self.strengths.iter().map(|&strength| to_rating(strength)).collect()
    }

    /// The chance that `a` beats `b`, in (0, 1); `None` for a player that is not there. O(1).
    pub fn win_probability(&self, a: usize, b: usize) -> Option<f64> {
        Some(sigmoid(self.strengths.get(a)? - self.strengths.get(b)?))
    }
}

fn to_rating(strength: f64) -> f64 {
    1000.0 + 400.0 / LN_10 * strength
}

/// Fits the strengths of `players` players, with an optional ridge `lambda`. A draw is half a win of each; games of
/// weight 0 say nothing; O(games + players^3) for each step.
///
/// # Errors
/// When there is no game, a player or outcome is out of range, the ridge is not above 0, or without a ridge, the
/// players do not hang together.
pub fn bradley_terry(
    games: &[Game],
    players: usize,
    anchor: Anchor,
    ridge: Option<f64>,
) -> Result<BradleyTerry, EvalError> {
    checked(games, players, anchor)?;
    let ridge = match ridge {
        Some(lambda) => {
            option("ridge", "finite and above 0", lambda, 0.0 < lambda && lambda.is_finite())?;
            lambda
        }
        None => {
            connected(games, players)?;
            0.0
        }
    };
    Ok(Fit { games, style: &[], players }.fitted(anchor, ridge).0)
}

/// Ratings with bootstrap intervals and ranks, best first: player number and rating. Resamples that fall apart are left
/// out; above 5 % of them the intervals are absent. Games are drawn one by one, so weights must be whole numbers. Ranks
/// are from 1, shared by players whose limits overlap; B fits.
///
/// # Errors
/// As [`bradley_terry`], and when a weight is not whole or a setting of the bootstrap is out of range.
pub fn rating_board(
    games: &[Game],
    players: usize,
    anchor: Anchor,
    ridge: Option<f64>,
    bootstrap: &Bootstrap,
) -> Result<Vec<(usize, Rating)>, EvalError> {
    let point = bradley_terry(games, players, anchor, ridge)?.ratings();
    if let Some(index) = games.iter().position(|game| game.weight.fract() != 0.0) {
        let got = games[index].weight;
        return Err(EvalError::OutOfRange { what: "weights", rule: "whole numbers of games", index, got });
    }
    let units = bootstrap.resamples;
    option("resamples", "at least 100, or 0 for no interval", units as f64, units == 0 || units >= 100)?;
    crate::error::checked_level(bootstrap.level)?;
    let samples = resampled_ratings(games, players, anchor, ridge, bootstrap);
    let enough = units > 0 && samples.len() as f64 >= 0.95 * units as f64;
    let interval = |player: usize| {
        let mut ratings: Vec<f64> = samples.iter().map(|sample| sample[player]).collect();
        ratings.sort_by(f64::total_cmp);
        let (tail, level) = (0.5 * (1.0 - bootstrap.level), bootstrap.level);
        let (low, high) = (sorted_quantile(&ratings, tail), sorted_quantile(&ratings, 1.0 - tail));
        Interval { low, high, level, method: BootstrapMethod::Percentile.name() }
    };
    let intervals: Vec<Option<Interval>> = (0..players).map(|player| enough.then(|| interval(player))).collect();
    let limits =
        |player: usize| intervals[player].map_or((point[player], point[player]), |limits| (limits.low, limits.high));
    let rank = |player: usize| 1 + (0..players).filter(|&other| limits(other).0 > limits(player).1).count();
    let mut board: Vec<(usize, Rating)> = (0..players)
        .map(|player| (player, Rating { rating: point[player], interval: intervals[player], rank: rank(player) }))
        .collect();
    board.sort_by(|a, b| b.1.rating.total_cmp(&a.1.rating));
    Ok(board)
}

/// Ratings on resamples of the games, each with its own stream: counts of cells are multinomial.
fn resampled_ratings(
    games: &[Game],
    players: usize,
    anchor: Anchor,
    ridge: Option<f64>,
    bootstrap: &Bootstrap,
) -> Vec<Vec<f64>> {
    // Without a game there is nothing to draw, and beyond this number the draws would take the memory of the machine.
    let total: f64 = games.iter().map(|game| game.weight.floor()).sum();
    if !(1.0..1e8).contains(&total) {
        return Vec::new();
    }
    let single: Vec<usize> =
        games.iter().enumerate().flat_map(|(cell, game)| vec![cell; game.weight as usize]).collect();
    let mut drawn = vec![0; single.len()];
    let mut samples = Vec::new();
    for resample in 0..bootstrap.resamples {
        let mut stream = bootstrap.seed.stream("bootstrap", resample as u64);
        crate::stats::bootstrap::draw_below(&mut stream, single.len() as u32, &mut drawn);
        let mut resampled: Vec<Game> = games.iter().map(|game| Game { weight: 0.0, ..*game }).collect();
        drawn.iter().for_each(|&game| resampled[single[game]].weight += 1.0);
        samples.extend(bradley_terry(&resampled, players, anchor, ridge).ok().map(|fit| fit.ratings()));
    }
    samples
}

pub(super) fn checked(games: &[Game], players: usize, anchor: Anchor) -> Result<(), EvalError> {
    option("players", "at least 2", players as f64, players >= 2)?;
    not_empty("the games", games)?;
    for (index, game) in games.iter().enumerate() {
        let last = game.a.max(game.b);
        if last >= players || game.a == game.b {
            let rule = "two different numbers below the number of players";
            return Err(EvalError::OutOfRange { what: "the players of a game", rule, index, got: last as f64 });
        }
        if !(0.0..=1.0).contains(&game.outcome) {
            let got = game.outcome;
            return Err(EvalError::OutOfRange { what: "outcomes", rule: "between 0 and 1", index, got });
        }
        if !(0.0..f64::INFINITY).contains(&game.weight) {
            return Err(EvalError::OutOfRange {
                what: "weights",
                rule: "finite and at least 0",
                index,
                got: game.weight,
            });
        }
    }
    match anchor {
        Anchor::Player(player) => option("the anchor", "below the number of players", player as f64, player < players),
        Anchor::Mean => Ok(()),
    }
}

/// Every player must beat, and be beaten by, every other along a chain of games.
fn connected(games: &[Game], players: usize) -> Result<(), EvalError> {
    // Whom each player beat, and by whom each was beaten.
    let (mut beat, mut beaten_by) = (vec![Vec::new(); players], vec![Vec::new(); players]);
    for game in games.iter().filter(|game| game.weight > 0.0) {
        for (winner, loser, share) in [(game.a, game.b, game.outcome), (game.b, game.a, 1.0 - game.outcome)] {
            if share > 0.0 {
                beat[winner].push(loser);
                beaten_by[loser].push(winner);
            }
        }
    }
    for next in [&beat, &beaten_by] {
        if let Some(player) = reached(next).iter().position(|reached| !reached) {
            let name = player.to_string();
            let known =
                "players that beat, and are beaten by, player 0 along a chain; add games, or use a ridge".to_owned();
            return Err(EvalError::Missing { what: "the chain of games between player 0 and player", name, known });
        }
    }
    Ok(())
}

/// Who can be reached from player 0, depth first.
pub(super) fn reached(next: &[Vec<usize>]) -> Vec<bool> {
    let mut reached = vec![false; next.len()];
    let mut open = vec![0];
    reached[0] = true;
    while let Some(player) = open.pop() {
        for &other in &next[player] {
            if !reached[other] {
                reached[other] = true;
                open.push(other);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn games(rows: &[(usize, usize, f64, f64)]) -> Vec<Game> {
        rows.iter().map(|&(a, b, outcome, weight)| Game { a, b, outcome, weight }).collect()
    }

    fn three() -> Vec<Game> {
        games(&[
            (0, 1, 1.0, 7.0),
            (1, 0, 1.0, 3.0),
            (0, 2, 1.0, 6.0),
            (2, 0, 1.0, 4.0),
            (1, 2, 1.0, 5.0),
            (2, 1, 1.0, 5.0),
        ])
    }

    /// With choix 0.4.1.
    #[test]
    fn three_players() {
        let fit = bradley_terry(&three(), 3, Anchor::Mean, None).unwrap();
        for (got, expected) in fit.strengths.iter().zip([0.413_166_476_1, -0.275_397_051_4, -0.137_769_424_7]) {
            assert!((got - expected).abs() < 1e-8, "{fit:?}");
        }
        for (got, expected) in fit.ratings().iter().zip([1071.7744, 952.1586, 976.0670]) {
            assert!((got - expected).abs() < 1e-3);
        }
        let anchored = bradley_terry(&three(), 3, Anchor::Player(1), None).unwrap();
        assert_eq!(anchored.ratings()[1], 1000.0);
        let board =
            rating_board(&three(), 3, Anchor::Mean, None, &Bootstrap { resamples: 200, ..Bootstrap::default() });
        let board = board.unwrap();
        assert_eq!(board.iter().map(|(player, _)| *player).collect::<Vec<_>>(), [0, 2, 1]);
        assert!(board.iter().all(|(_, rating)| rating.rank == 1 && rating.interval.is_some()), "{board:?}");
    }

    #[test]
    fn players_that_never_lose_need_a_ridge() {
        let never = games(&[(0, 1, 1.0, 3.0)]);
        assert!(matches!(bradley_terry(&never, 2, Anchor::Mean, None), Err(EvalError::Missing { .. })));
        let fit = bradley_terry(&never, 2, Anchor::Mean, Some(0.1)).unwrap();
        assert!(fit.strengths[0] > 0.0 && (fit.strengths[0] + fit.strengths[1]).abs() < 1e-9);
        let draw = games(&[(0, 1, 0.5, 3.0)]);
        assert_eq!(bradley_terry(&draw, 2, Anchor::Mean, None).unwrap().strengths, [0.0, 0.0]);
    }

    /// A ring of wins reaches everyone along one way only; without its last game nobody reaches player 0 again. Games
    /// of weight 0 are no games.
    #[test]
    fn a_long_ring_hangs_together_until_a_game_is_missing() {
        let n = 2000;
        let mut ring: Vec<Game> = (0..n).map(|a| Game { a, b: (a + 1) % n, outcome: 1.0, weight: 1.0 }).collect();
        assert!(connected(&ring, n).is_ok());
        ring[n - 1].weight = 0.0;
        let error = connected(&ring, n).unwrap_err().to_string();
        assert!(error.contains("between player 0 and player `1`"), "{error}");
        ring[n - 1] = Game { a: 0, b: n - 1, outcome: 0.5, weight: 1.0 };
        assert!(connected(&ring, n).is_ok());
    }

    #[test]
    fn bad_input_is_refused() {
        let fit = |rows| bradley_terry(&games(rows), 2, Anchor::Mean, None);
        assert!(matches!(fit(&[]), Err(EvalError::Empty { .. })));
        assert!(matches!(fit(&[(0, 2, 1.0, 1.0)]), Err(EvalError::OutOfRange { .. })));
        assert!(matches!(fit(&[(0, 1, f64::NAN, 1.0)]), Err(EvalError::OutOfRange { .. })));
        assert!(matches!(fit(&[(0, 1, 1.0, f64::NAN)]), Err(EvalError::OutOfRange { .. })));
        assert!(bradley_terry(&three(), 3, Anchor::Mean, Some(0.0)).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn expected_scores_are_observed_scores_at_the_maximum(
            wins in prop::collection::vec((1.0..9.0_f64, 1.0..9.0_f64), 3),
        ) {
            let pairs = [(0, 1), (1, 2), (0, 2)];
            let rows: Vec<_> = pairs.iter().zip(&wins).flat_map(|(&(a, b), &(won, lost))| {
                [(a, b, 1.0, won), (a, b, 0.0, lost)]
            }).collect();
            let games = games(&rows);
            let fit = bradley_terry(&games, 3, Anchor::Mean, None).unwrap();
            for player in 0..3 {
                let (mut observed, mut expected) = (0.0, 0.0);
                for game in &games {
                    let p = fit.win_probability(game.a, game.b).unwrap();
                    if game.a == player {
                        observed += game.weight * game.outcome;
                        expected += game.weight * p;
                    } else if game.b == player {
                        observed += game.weight * (1.0 - game.outcome);
                        expected += game.weight * (1.0 - p);
                    }
                }
                prop_assert!((observed - expected).abs() < 1e-7);
            }
            let strengths = |games: &[Game]| bradley_terry(games, 3, Anchor::Mean, None).unwrap().strengths;
            let other_names: Vec<Game> =
                games.iter().map(|game| Game { a: 2 - game.a, b: 2 - game.b, ..*game }).collect();
            let twice: Vec<Game> = games.iter().map(|game| Game { weight: 2.0 * game.weight, ..*game }).collect();
            let (other_names, twice) = (strengths(&other_names), strengths(&twice));
            for player in 0..3 {
                prop_assert!((fit.strengths[player] - other_names[2 - player]).abs() < 1e-7);
                prop_assert!((fit.strengths[player] - twice[player]).abs() < 1e-7);
            }
            let mut one_win_more = games;
            one_win_more.push(Game { a: 0, b: 1, outcome: 1.0, weight: 1.0 });
            prop_assert!(strengths(&one_win_more)[0] >= fit.strengths[0] - 1e-7);
        }
    }
}
