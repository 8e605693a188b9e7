//! The maximum of the likelihood of games, by Newton's method with step halving.

use super::bradley_terry::{Anchor, BradleyTerry, Game};
use crate::stats::solve::solve;
use crate::stats::sum::{mean, sigmoid, softplus, sum};

/// Games, and what tells their two sides apart beside the players: a list of numbers for each game, or none at all.
pub(super) struct Fit<'a> {
    pub games: &'a [Game],
    pub style: &'a [Vec<f64>],
    pub players: usize,
}

impl Fit<'_> {
    /// Strengths at the maximum, and the effect of each column of style.
    pub fn fitted(&self, anchor: Anchor, ridge: f64) -> (BradleyTerry, Vec<f64>) {
        let mut strengths = self.newton(ridge);
        let log_likelihood = self.log_likelihood(&strengths);
        let effects = strengths.split_off(self.players);
        let zero = match anchor {
            Anchor::Mean => mean(&strengths),
            Anchor::Player(player) => strengths[player],
        };
        strengths.iter_mut().for_each(|strength| *strength -= zero);
        (BradleyTerry { strengths, log_likelihood }, effects)
    }

    fn style_of(&self, game: usize) -> &[f64] {
        self.style.get(game).map_or(&[][..], Vec::as_slice)
    }

    /// The log-odds of the first side of a game; `parameters` are the strengths, then the effects.
    fn margin(&self, game: usize, parameters: &[f64]) -> f64 {
        let Game { a, b, .. } = self.games[game];
        let style = self.style_of(game).iter().zip(&parameters[self.players..]);
        parameters[a] - parameters[b] + style.map(|(x, effect)| x * effect).sum::<f64>()
    }

    fn log_likelihood(&self, parameters: &[f64]) -> f64 {
        sum(self.games.iter().enumerate().map(|(at, game)| {
            let d = self.margin(at, parameters);
            -game.weight * (game.outcome * softplus(-d) + (1.0 - game.outcome) * softplus(d))
        }))
    }

    fn newton(&self, ridge: f64) -> Vec<f64> {
        let Self { games, players, .. } = *self;
        let width = players + self.style_of(0).len();
        let objective =
            |parameters: &[f64]| self.log_likelihood(parameters) - ridge * sum(parameters.iter().map(|th| th * th));
        let slopes = |parameters: &[f64]| {
            let mut gradient: Vec<f64> = parameters.iter().map(|th| -2.0 * ridge * th).collect();
            let mut hessian = vec![0.0; width * width];
            let mut terms = Vec::with_capacity(2 + width - players);
            for (at, game) in games.iter().enumerate() {
                let p = sigmoid(self.margin(at, parameters));
                let pull = game.weight * (game.outcome - p);
                let curve = game.weight * p * (1.0 - p);
                terms.clear();
                terms.extend([(game.a, 1.0), (game.b, -1.0)]);
                terms.extend(self.style_of(at).iter().enumerate().map(|(column, x)| (players + column, *x)));
                for &(i, x) in &terms {
                    gradient[i] += pull * x;
                    terms.iter().for_each(|&(j, y)| hessian[i * width + j] += curve * x * y);
                }
            }
            (0..width).for_each(|i| hessian[i * width + i] += 2.0 * ridge);
            if ridge == 0.0 {
                hold_mean(&mut hessian, width);
            }
            (gradient, hessian)
        };
        let total = sum(games.iter().map(|game| game.weight));
        climbed(width, 1e-12 * (1.0 + total), objective, slopes)
    }
}

/// A likelihood of differences has no say on the mean: a weak pull to 0 makes its Hessian regular and moves no difference.
pub(super) fn hold_mean(hessian: &mut [f64], width: usize) {
    let pull = 1e-3 * (0..width).map(|i| hessian[i * width + i]).fold(0.0, f64::max);
    hessian.iter_mut().for_each(|entry| *entry += pull);
}

/// The maximum of a concave function, from 0 on. `slopes` are its gradient and the negative of its Hessian; the climb ends where no
/// slope is above `close`, or after 200 steps.
pub(super) fn climbed(
    width: usize,
    close: f64,
    objective: impl Fn(&[f64]) -> f64,
    slopes: impl Fn(&[f64]) -> (Vec<f64>, Vec<f64>),
) -> Vec<f64> {
    let mut parameters = vec![0.0; width];
    for _ in 0..200 {
        let (gradient, hessian) = slopes(&parameters);
        if gradient.iter().all(|slope| slope.abs() <= close) {
            break;
        }
        let step = solve(hessian, gradient);
        let before = objective(&parameters);
        let mut scale = 1.0;
        loop {
            let next: Vec<f64> = parameters.iter().zip(&step).map(|(th, step)| th + scale * step).collect();
            if objective(&next) >= before - 1e-12 * before.abs() || scale < 1e-6 {
                parameters = next;
                break;
            }
            scale *= 0.5;
        }
    }
    parameters
}
