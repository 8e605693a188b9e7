//! The acquisition game: agents choose effort, see signals and report; the mechanism pays and acts (Hiring Multiple
//! Agents for
//! information; here: paying annotators or judges so that effort and truth are best replies).
//!
//! ```text
//! prior(theta), P(s_i | theta, effort b_i) independent given theta, pay_i(reports, theta), action value u(reports, theta)
//! gain of a deviation = E[pay - cost | effort, report map] - E[pay - cost | recommended effort, truth], others honest
//! ```
//! Every effort and every map from signals to reports is tried: small games only.

use crate::EvalError;
use crate::error::{finite, option, same_length, within};
use crate::stats::sum::{mean, sum};

/// One agent.
#[derive(Clone, Debug, PartialEq)]
pub struct Agent {
    /// The cost of each effort.
    pub costs: Vec<f64>,
    /// `signals[effort][theta][signal]`: chance of each signal.
    pub signals: Vec<Vec<Vec<f64>>>,
    /// The effort that the mechanism recommends.
    pub recommended: usize,
}

/// A game of agents who report signals about a state.
pub struct AcquisitionGame<'a> {
    /// Chance of each state.
    pub prior: Vec<f64>,
    /// The agents.
    pub agents: Vec<Agent>,
    /// What agent `i` is paid for all reports, when the state turns out to be `theta`.
    pub pay: &'a dyn Fn(usize, &[usize], usize) -> f64,
    /// What the principal gains from acting on all reports in state `theta`.
    pub utility: &'a dyn Fn(&[usize], usize) -> f64,
}

/// Most report maps and joint signals that are enumerated.
const MOST: f64 = 1e6;

impl AcquisitionGame<'_> {
    /// The largest expected gain of any agent from any other effort and report map; the mechanism is incentive
    /// compatible when it is not above 0. At least 0; best replies that tie are no violation; as many sums over
    /// outcomes as an agent has deviations (`O(deviations outcomes)`).
    ///
    /// # Errors
    /// When a table does not fit or does not sum to 1, a payment is NaN or infinite, or the game is too large.
    pub fn incentive_violation(&self) -> Result<f64, EvalError> {
        self.checked()?;
        let mut worst = f64::NEG_INFINITY;
        for (index, agent) in self.agents.iter().enumerate() {
            let signals = agent.signals[0][0].len();
            let honest = self.profit(index, agent.recommended, &(0..signals).collect::<Vec<_>>())?;
            let maps = signals.pow(signals as u32);
            for effort in 0..agent.costs.len() {
                for code in 0..maps {
                    let map: Vec<usize> =
                        (0..signals).map(|signal| code / signals.pow(signal as u32) % signals).collect();
                    worst = worst.max(self.profit(index, effort, &map)? - honest);
                }
            }
        }
        Ok(worst)
    }

    /// Expected utility less payments when all follow the mechanism. Unbounded; O(outcomes).
    ///
    /// # Errors
    /// As [`incentive_violation`](Self::incentive_violation).
    pub fn principal_value(&self) -> Result<f64, EvalError> {
        self.checked()?;
        let efforts: Vec<usize> = self.agents.iter().map(|agent| agent.recommended).collect();
        let mut terms = Vec::new();
        self.outcomes(&efforts, |chance, signals, theta| {
            let paid: f64 = (0..self.agents.len()).map(|agent| (self.pay)(agent, signals, theta)).sum();
            terms.push(chance * ((self.utility)(signals, theta) - paid));
        });
        finite("the value", &terms)?;
        Ok(sum(terms))
    }

    /// Expected pay less cost of one agent who deviates alone.
    fn profit(&self, who: usize, effort: usize, map: &[usize]) -> Result<f64, EvalError> {
        let mut efforts: Vec<usize> = self.agents.iter().map(|agent| agent.recommended).collect();
        efforts[who] = effort;
        let mut terms = Vec::new();
        self.outcomes(&efforts, |chance, signals, theta| {
            let mut reports = signals.to_vec();
            reports[who] = map[reports[who]];
            terms.push(chance * (self.pay)(who, &reports, theta));
        });
        finite("the payments", &terms)?;
        Ok(sum(terms) - self.agents[who].costs[effort])
    }

    /// Calls `visit` with every joint signal and state that can happen.
    fn outcomes(&self, efforts: &[usize], mut visit: impl FnMut(f64, &[usize], usize)) {
        let sizes: Vec<usize> = self.agents.iter().map(|agent| agent.signals[0][0].len()).collect();
        let joint: usize = sizes.iter().product();
        for theta in 0..self.prior.len() {
            for code in 0..joint {
                let mut rest = code;
                let mut chance = self.prior[theta];
                let mut signals = Vec::with_capacity(sizes.len());
                for ((agent, &size), &effort) in self.agents.iter().zip(&sizes).zip(efforts) {
                    let signal = rest % size;
                    rest /= size;
                    chance *= agent.signals[effort][theta][signal];
                    signals.push(signal);
                }
                if chance > 0.0 {
                    visit(chance, &signals, theta);
                }
            }
        }
    }

    fn checked(&self) -> Result<(), EvalError> {
        law("prior", &self.prior)?;
        option("agents", "at least 1", self.agents.len() as f64, !self.agents.is_empty())?;
        let mut size = self.prior.len() as f64;
        let mut maps = 1.0_f64;
        for agent in &self.agents {
            finite("costs", &agent.costs)?;
            same_length("signals by effort", agent.costs.len(), agent.signals.len())?;
            let (effort, efforts) = (agent.recommended, agent.costs.len());
            option("the recommended effort", "one of the efforts", effort as f64, effort < efforts)?;
            let signals = agent.signals[0].first().map_or(0, Vec::len);
            for by_state in &agent.signals {
                same_length("signals by state", self.prior.len(), by_state.len())?;
                for row in by_state {
                    same_length("signals", signals, row.len())?;
                    law("signals", row)?;
                }
            }
            size *= signals as f64;
            maps = maps.max(efforts as f64 * (signals as f64).powi(signals as i32));
        }
        option("joint signals times deviations", "at most a million", size * maps, size * maps <= MOST)
    }
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

/// At least 0, summing to 1 within 1e-9.
fn law(what: &'static str, law: &[f64]) -> Result<(), EvalError> {
    within(what, law, "at least 0", |p| p >= 0.0)?;
    let total = sum(law.iter().copied());
    option(what, "a table that sums to 1 within 1e-9", total, (total - 1.0).abs() <= 1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fair coin; effort 1 (cost 0.1) sees it, effort 0 sees noise. Pay w for a right report: effort pays when w/2
    /// > 0.1.
    fn game(pay: &dyn Fn(usize, &[usize], usize) -> f64) -> AcquisitionGame<'_> {
        let noise = vec![vec![0.5, 0.5], vec![0.5, 0.5]];
        let sight = vec![vec![1.0, 0.0], vec![0.0, 1.0]];
        AcquisitionGame {
            prior: vec![0.5, 0.5],
            agents: vec![Agent { costs: vec![0.0, 0.1], signals: vec![noise, sight], recommended: 1 }],
            pay,
            utility: &|reports, theta| f64::from(u8::from(reports[0] == theta)),
        }
    }

    #[test]
    fn enough_pay_makes_effort_a_best_reply() {
        let right =
            |wage: f64| move |_: usize, reports: &[usize], theta: usize| if reports[0] == theta { wage } else { 0.0 };
        let (good, poor) = (right(0.3), right(0.1));
        // Honest: 0.3 - 0.1. Best other: no effort for 0.15, so the largest gain is 0, of honesty itself.
        assert!(game(&good).incentive_violation().unwrap().abs() < 1e-12);
        assert!((game(&good).principal_value().unwrap() - 0.7).abs() < 1e-12);
        // Honest: 0; no effort: 0.05.
        assert!((game(&poor).incentive_violation().unwrap() - 0.05).abs() < 1e-12);
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
        let nothing = |_: usize, _: &[usize], _: usize| 0.0;
        let mut broken = game(&nothing);
        broken.prior = vec![0.5, 0.4];
        assert!(matches!(broken.principal_value(), Err(EvalError::Range { .. })));
        let infinite = |_: usize, _: &[usize], _: usize| f64::NAN;
        assert!(matches!(game(&infinite).incentive_violation(), Err(EvalError::NotFinite { .. })));
    }
}
