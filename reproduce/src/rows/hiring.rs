//! Hiring several agents for information: contracts by a linear program, and a principal who does not know the agents.
//!
//! Two annotators name a fair coin. Each is right with a small chance, or with a large one if it works, which costs something;
//! part of the time both err on the same items. The principal is told the truth afterwards, gains 1 where it names the coin and
//! pays for reports. Annotators give best replies.

use anyhow::Result;
use ascribe::core::Seed;
use ascribe::eval::incentive::{AcquisitionGame, Mechanism, explore_then_commit, regret_exponent};
use rand::RngExt;

use crate::row::{Claim, Figures, Row};

const PROFILES: [usize; 4] = [0, 1, 2, 3];
/// Most that is paid for a report where the game is known, and where it is not.
const MOST: [f64; 2] = [5.0, 1.0];
const ROUNDS: [usize; 4] = [10_000, 50_000, 250_000, 1_250_000];

/// The claims of hiring several agents.
pub const ROW: Row = Row {
    name: "hiring",
    paper: "Online Information Acquisition: Hiring Multiple Agents",
    setting: "two synthetic annotators of a fair coin with an idle and a working effort, whose signals hang together; the best \
              mechanism by a linear program, and one that explores for T^(2/3) of T rounds under generous wages; regret against \
              the best mechanism, in expectation, for T from 10000 to 1250000; one wage a right report, twice what is needed, is \
              the generous one",
    seeds: 12,
    claims: &[
        Claim {
            says: "the linear program is worth more than generous wages",
            more: "value, linear program",
            less: "value, generous wages",
        },
        Claim {
            says: "and leaves nothing to gain by idling or lying, where half the wage leaves something",
            more: "gain of a deviation, half the wage",
            less: "gain of a deviation, linear program",
        },
        Claim {
            says: "correlated efforts are worth more than any fixed efforts",
            more: "value, linear program",
            less: "value, best fixed efforts",
        },
        Claim {
            says: "the regret of a principal who learns grows more slowly than that of one who pays generously for ever",
            more: "power of T, generous wages",
            less: "power of T, explore then commit",
        },
        Claim {
            says: "and the regret a round falls",
            more: "regret a round, 10000 rounds",
            less: "regret a round, 1250000 rounds",
        },
    ],
    tried: "",
    run,
};

/// What annotators are like.
struct World {
    /// How often one is right who idles, and who works.
    accuracy: [f64; 2],
    cost: f64,
    /// How much of the time both err on the same items.
    common: f64,
}

impl World {
    fn drawn(seed: Seed) -> Self {
        let mut stream = seed.stream("world", 0);
        let accuracy = [stream.random_range(0.52..0.58), stream.random_range(0.8..0.9)];
        Self { accuracy, cost: stream.random_range(0.04..0.08), common: stream.random_range(0.5..0.9) }
    }

    fn game(&self) -> AcquisitionGame {
        let law = |profile: usize| -> Vec<Vec<f64>> {
            let [a, b] = [0, 1].map(|agent| self.accuracy[works(profile, agent)]);
            let both = self.common * a.min(b) + (1.0 - self.common) * a * b;
            // By which of the two are right, the first counting 1.
            let chances = [1.0 - a - b + both, a - both, b - both, both];
            let chance = |signals: usize, state: usize| {
                let [first, second] = [0, 1].map(|agent| usize::from(works(signals, agent) == state));
                chances[first + 2 * second]
            };
            [0, 1].map(|state| PROFILES.map(|signals| chance(signals, state)).to_vec()).to_vec()
        };
        AcquisitionGame {
            prior: vec![0.5, 0.5],
            costs: vec![vec![0.0, self.cost]; 2],
            signals: vec![2, 2],
            law: PROFILES.map(law).to_vec(),
            payoff: vec![vec![1.0, 0.0], vec![0.0, 1.0]],
        }
    }

    /// Wages for right reports, as a multiple of what makes work a best reply; who is to idle gets a quarter of that.
    fn wages(&self, times: f64) -> Mechanism {
        let needed = self.cost / (self.accuracy[1] - self.accuracy[0]);
        let pay = |agent: usize, profile: usize| -> Vec<Vec<f64>> {
            let wage = needed * [0.25, times][works(profile, agent)];
            let of = |reports: usize, state: usize| if works(reports, agent) == state { wage } else { 0.0 };
            PROFILES.map(|reports| vec![of(reports, 0), of(reports, 1)]).to_vec()
        };
        Mechanism {
            recommend: vec![0.25; 4],
            pay: [0, 1].map(|agent| PROFILES.map(|profile| pay(agent, profile)).to_vec()).to_vec(),
            // Whoever works is believed, the first before the second.
            act: PROFILES
                .map(|profile| PROFILES.map(|reports| works(reports, usize::from(profile == 2))).to_vec())
                .to_vec(),
        }
    }
}

/// The effort of an agent in a profile, and its signal in a joint signal: one binary digit each.
fn works(profile: usize, agent: usize) -> usize {
    (profile >> agent) & 1
}

fn run(seed: Seed) -> Result<Figures> {
    let world = World::drawn(seed);
    let game = world.game();
    let best = game.best_mechanism(MOST[0], 0.0, &PROFILES)?;
    let mut fixed = f64::NEG_INFINITY;
    for profile in PROFILES {
        fixed = fixed.max(game.principal_value(&game.best_mechanism(MOST[0], 0.0, &[profile])?)?);
    }
    let generous = world.wages(2.0);
    // The same efforts as the best fixed ones: one works.
    let one_works = Mechanism { recommend: vec![0.0, 1.0, 0.0, 0.0], ..generous.clone() };
    let mut figures = vec![
        ("value, linear program".to_owned(), game.principal_value(&best)?),
        ("value, best fixed efforts".to_owned(), fixed),
        ("value, generous wages".to_owned(), game.principal_value(&one_works)?),
        ("gain of a deviation, linear program".to_owned(), game.incentive_violation(&best)?),
        ("gain of a deviation, half the wage".to_owned(), game.incentive_violation(&world.wages(0.5))?),
    ];
    let (mut learned, mut paid) = (Vec::new(), Vec::new());
    for rounds in ROUNDS {
        let run = explore_then_commit(&game, &generous, rounds, MOST[1], seed.child("rounds", rounds as u64))?;
        learned.push(run.regret);
        paid.push(rounds as f64 * (run.best - game.principal_value(&generous)?));
        figures.push((format!("regret a round, {rounds} rounds"), run.regret / rounds as f64));
    }
    let rounds = ROUNDS.map(|rounds| rounds as f64);
    figures.push(("power of T, explore then commit".to_owned(), regret_exponent(&rounds, &learned)?));
    figures.push(("power of T, generous wages".to_owned(), regret_exponent(&rounds, &paid)?));
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_the_wage_is_enough_and_half_of_it_is_not() {
        let world = World { accuracy: [0.55, 0.85], cost: 0.06, common: 0.5 };
        let game = world.game();
        // Both right: 0.5 * 0.85 + 0.5 * 0.85^2 where both work.
        assert!((game.law[3][0][0] - (0.425 + 0.361_25)).abs() < 1e-12);
        assert_eq!(game.incentive_violation(&world.wages(2.0)).unwrap(), 0.0);
        // Half of 0.06/0.3: to idle saves 0.06 and costs 0.1 * 0.3, in half of the rounds.
        assert!((game.incentive_violation(&world.wages(0.5)).unwrap() - 0.015).abs() < 1e-12);
    }
}
