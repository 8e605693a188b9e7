//! Hiring agents whose signals are not known: explore with generous pay, then commit to the best contract for what was seen
//! (F. Cacciamani, M. Castiglioni and N. Gatti, Online Information Acquisition: Hiring Multiple Agents, 2023).
//!
//! ```text
//! T rounds, of which T^(2/3) explore: profiles as the generous mechanism recommends them; state, profile and reports are counted
//! then the best mechanism of the game as counted, with margin 2 most_pay T^(-1/3) against other efforts
//! regret = explored (v* - v_generous) + (T - explored)(v* - v),  v* the best mechanism of the game itself
//! ```
//! Both parts grow with the power 2/3 of T. The margin is what makes efforts stay best replies although the game was only
//! counted; the constants are ours, and simpler than the paper's confidence bounds.

use ascribe_core::Seed;
use rand::RngExt;

use super::acquisition::{AcquisitionGame, Mechanism};
use crate::EvalError;
use crate::error::{option, same_length, within};
use crate::stats::sum::{mean, sum};

/// How an online principal fared.
#[derive(Clone, Debug, PartialEq)]
pub struct OnlineHiring {
    /// Rounds under the generous mechanism.
    pub explored: usize,
    /// What the other rounds were played with; the generous one where nothing better was found.
    pub mechanism: Mechanism,
    /// Its largest gain from other efforts or reports in the game itself.
    pub violation: f64,
    /// What it is worth a round when every agent gives a best reply.
    pub value: f64,
    /// What the best mechanism of the game itself is worth a round.
    pub best: f64,
    /// Expected regret over all rounds.
    pub regret: f64,
}

/// Plays `rounds` rounds of a game of which the principal knows costs and payoffs, not the prior nor the law of signals.
/// `generous` must make effort and truth best replies in every profile, and recommend each profile now and then: it says
/// what is paid while the game is not known. Regret is in expectation, the exploration is drawn; O(explored) beside two linear
/// programs.
///
/// # Errors
/// When there is no round, a table does not fit, the generous mechanism is not incentive compatible or never recommends some
/// profile, and as [`AcquisitionGame::best_mechanism`].
pub fn explore_then_commit(
    game: &AcquisitionGame,
    generous: &Mechanism,
    rounds: usize,
    most_pay: f64,
    seed: Seed,
) -> Result<OnlineHiring, EvalError> {
    option("rounds", "at least 1", rounds as f64, rounds >= 1)?;
    let violation = game.incentive_violation(generous)?;
    option("the violation of the generous mechanism", "0", violation, violation == 0.0)?;
    within("the recommendations of the generous mechanism", &generous.recommend, "above 0", |chance| chance > 0.0)?;
    let all: Vec<usize> = (0..game.profiles()).collect();
    let best = game.principal_value(&game.best_mechanism(most_pay, 0.0, &all)?)?;
    let explored = ((rounds as f64).powf(2.0 / 3.0).ceil() as usize).min(rounds);
    let counted = counted(game, generous, explored, seed);
    let margin = 2.0 * most_pay * (rounds as f64).powf(-1.0 / 3.0);
    let mechanism = match counted.best_mechanism(most_pay, margin, &all) {
        Err(EvalError::Degenerate { .. }) => generous.clone(),
        found => found?,
    };
    let (violation, value) = (game.incentive_violation(&mechanism)?, game.replied_value(&mechanism)?);
    let exploring = best - game.principal_value(generous)?;
    let regret = explored as f64 * exploring + (rounds - explored) as f64 * (best - value);
    Ok(OnlineHiring { explored, mechanism, violation, value, best, regret })
}

/// The game as it looks after some rounds under the generous mechanism, with half a state and a part of a joint signal added so
/// that nothing is impossible.
fn counted(game: &AcquisitionGame, generous: &Mechanism, rounds: usize, seed: Seed) -> AcquisitionGame {
    let (states, joint) = (game.prior.len(), game.joint_signals());
    let mut prior = vec![1.0 / states as f64; states];
    let mut law = vec![vec![vec![1.0 / joint as f64; joint]; states]; game.profiles()];
    let mut stream = seed.stream("hiring", 0);
    for _ in 0..rounds {
        let (of_profile, of_state, of_signals): (f64, f64, f64) = (stream.random(), stream.random(), stream.random());
        let (profile, state) = (drawn(&generous.recommend, of_profile), drawn(&game.prior, of_state));
        let signals = drawn(&game.law[profile][state], of_signals);
        prior[state] += 1.0;
        law[profile][state][signals] += 1.0;
    }
    let divide = |counts: &mut Vec<f64>| {
        let all = sum(counts.iter().copied());
        counts.iter_mut().for_each(|count| *count /= all);
    };
    divide(&mut prior);
    law.iter_mut().flatten().for_each(divide);
    AcquisitionGame { prior, law, ..game.clone() }
}

/// The entry of a law in which a share in [0, 1) falls.
fn drawn(law: &[f64], share: f64) -> usize {
    let mut below = 0.0;
    let found = law.iter().position(|p| {
        below += p;
        share < below
    });
    // Rounding may leave the sum a hair below 1.
    found.unwrap_or_else(|| law.iter().rposition(|p| *p > 0.0).unwrap_or_default())
}

/// The power of the number of rounds with which regret against the best mechanism grows: the slope of `ln regret` on
/// `ln rounds` by least squares. Below 1 a learner has no regret in the long run; 2/3 is what learning such a mechanism
/// may cost at most. Unbounded; O(n).
///
/// # Errors
/// When the lengths differ, a number is not above 0, or fewer than two numbers of rounds differ.
pub fn regret_exponent(rounds: &[f64], regret: &[f64]) -> Result<f64, EvalError> {
    same_length("regret", rounds.len(), regret.len())?;
    for (what, values) in [("rounds", rounds), ("regret", regret)] {
        within(what, values, "above 0", |value| value > 0.0)?;
    }
    let logs = |values: &[f64]| {
        let logs: Vec<f64> = values.iter().map(|value| value.ln()).collect();
        let centre = mean(&logs);
        logs.into_iter().map(|log| log - centre).collect::<Vec<f64>>()
    };
    let (x, y) = (logs(rounds), logs(regret));
    if rounds.iter().all(|round| *round == rounds[0]) {
        return Err(EvalError::Degenerate {
            what: "the growth of regret",
            why: "all points have one number of rounds",
        });
    }
    Ok(sum(x.iter().zip(&y).map(|(x, y)| x * y)) / sum(x.iter().map(|x| x * x)))
}

#[cfg(test)]
mod tests {
    use super::super::acquisition::tests::two_agents;
    use super::*;

    /// Pays 0.4 for a right report where effort is recommended, which is worth 0.4 * 0.3 = 0.12 > 0.06, and 0.05 elsewhere,
    /// for which nobody works.
    fn generous() -> Mechanism {
        let pay = |agent: usize, profile: usize| -> Vec<Vec<f64>> {
            let wage = if (profile >> agent) & 1 == 1 { 0.4 } else { 0.05 };
            let of = |reports: usize, state: usize| if (reports >> agent) & 1 == state { wage } else { 0.0 };
            (0..4).map(|reports| vec![of(reports, 0), of(reports, 1)]).collect()
        };
        Mechanism {
            recommend: vec![0.25; 4],
            pay: (0..2).map(|agent| (0..4).map(|profile| pay(agent, profile)).collect()).collect(),
            act: vec![vec![0, 0, 1, 1]; 4],
        }
    }

    #[test]
    fn regret_grows_more_slowly_than_the_rounds() {
        let game = two_agents(0.5);
        let (mut rounds, mut regret) = (Vec::new(), Vec::new());
        for count in [10_000, 100_000, 1_000_000] {
            let runs: Vec<OnlineHiring> =
                (0..6).map(|seed| explore_then_commit(&game, &generous(), count, 1.0, Seed(seed)).unwrap()).collect();
            assert!(runs.iter().all(|run| (run.best - 0.7).abs() < 1e-6));
            rounds.push(count as f64);
            regret.push(mean(&runs.iter().map(|run| run.regret).collect::<Vec<_>>()));
        }
        // 10,000^(2/3) = 464.2.
        assert_eq!(explore_then_commit(&game, &generous(), 10_000, 1.0, Seed(0)).unwrap().explored, 465);
        let power = regret_exponent(&rounds, &regret).unwrap();
        assert!(power < 0.85, "{power}: {regret:?}");
    }

    /// With few rounds no mechanism keeps the margin 2/2 = 1 under payments up to 1, so pay stays generous: that is the whole
    /// regret.
    #[test]
    fn few_rounds_stay_generous() {
        let game = two_agents(0.5);
        let run = explore_then_commit(&game, &generous(), 8, 1.0, Seed(3)).unwrap();
        assert_eq!((run.explored, &run.mechanism, run.violation), (4, &generous(), 0.0));
        let lost = run.best - game.principal_value(&generous()).unwrap();
        assert!((run.regret - 8.0 * lost).abs() < 1e-9);
    }

    #[test]
    fn draws_follow_the_law() {
        assert_eq!([0.0, 0.19, 0.2, 0.99].map(|share| drawn(&[0.2, 0.0, 0.8], share)), [0, 0, 2, 2]);
        assert_eq!(drawn(&[0.5, 0.5 - 1e-9, 0.0], 1.0 - 1e-12), 1);
        let game = two_agents(0.5);
        let seen = counted(&game, &generous(), 40_000, Seed(1));
        // 5000 draws of each profile and state: a share has a deviation of at most 0.5/sqrt(5000) = 0.007.
        for (seen, due) in seen.law.iter().flatten().flatten().zip(game.law.iter().flatten().flatten()) {
            assert!((seen - due).abs() < 0.03, "{seen} {due}");
        }
        assert!((seen.prior[0] - 0.5).abs() < 0.01);
    }

    #[test]
    fn the_power_of_a_law_is_read() {
        let rounds = [10.0, 100.0, 1000.0, 5000.0];
        let regret = rounds.map(|t: f64| 5.0 * t.powf(2.0 / 3.0));
        assert!((regret_exponent(&rounds, &regret).unwrap() - 2.0 / 3.0).abs() < 1e-12);
        assert!(matches!(regret_exponent(&rounds, &[1.0]), Err(EvalError::Length { .. })));
        assert!(matches!(regret_exponent(&[1.0, 2.0], &[0.0, 1.0]), Err(EvalError::OutOfRange { what: "regret", .. })));
        assert!(matches!(regret_exponent(&[2.0, 2.0], &[1.0, 3.0]), Err(EvalError::Degenerate { .. })));
        assert!(matches!(regret_exponent(&[], &[]), Err(EvalError::Empty { .. })));
    }

    #[test]
    fn bad_input_is_refused() {
        let game = two_agents(0.5);
        let run = |generous: &Mechanism, rounds| explore_then_commit(&game, generous, rounds, 1.0, Seed(0));
        assert!(matches!(run(&generous(), 0), Err(EvalError::Range { name: "rounds", .. })));
        let mean = Mechanism { pay: vec![vec![vec![vec![0.0; 2]; 4]; 4]; 2], ..generous() };
        assert!(matches!(run(&mean, 10), Err(EvalError::Range { .. })));
        let narrow = Mechanism { recommend: vec![0.5, 0.5, 0.0, 0.0], ..generous() };
        assert!(matches!(run(&narrow, 10), Err(EvalError::OutOfRange { .. })));
    }
}
