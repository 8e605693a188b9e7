//! Small Markov decision processes with every number known.
//!
//! ```text
//! V(s) = sum_a pi(a|s) sum_s' tau(s'|s,a) (R(s,a,s') + g V(s')),  Q(s,a) the inner sum,  A = Q - V;  V = 0 at terminal states
//! ```

use crate::EvalError;
use crate::error::{finite, option, same_length, within};
use crate::stats::solve::solve;
use crate::stats::sum::sum;

/// Most states of a dense solution.
const STATES: usize = 512;

/// Most improvements of a policy.
const IMPROVEMENTS: usize = 1000;

/// States, actions and where they lead. Arrays are row-major: state, action, next state.
#[derive(Clone, Debug, PartialEq)]
pub struct Mdp {
    states: usize,
    actions: usize,
    transitions: Vec<f64>,
    terminal: Vec<bool>,
    discount: f64,
}

/// State values, action values and advantages of a policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Values {
    /// V of each state.
    pub state: Vec<f64>,
    /// Q of each state and action.
    pub action: Vec<f64>,
    /// A = Q - V of each state and action.
    pub advantage: Vec<f64>,
}

impl Mdp {
    /// A process with `transitions[s][a][s']`; rows of terminal states are not read. O(S^2 A).
    ///
    /// # Errors
    /// When a length does not fit, there are no or more than 512 states, a row of a state that is not terminal does not
    /// sum to 1 within 1e-9, or the discount is not in [0, 1] (1 needs terminal states).
    pub fn new(actions: usize, transitions: Vec<f64>, terminal: Vec<bool>, discount: f64) -> Result<Self, EvalError> {
        let states = terminal.len();
        option("states", "between 1 and 512", states as f64, (1..=STATES).contains(&states))?;
        option("actions", "at least 1", actions as f64, actions >= 1)?;
        let accepted = (0.0..1.0).contains(&discount) || (discount == 1.0 && terminal.contains(&true));
        option("discount", "at least 0 and below 1, or 1 with terminal states", discount, accepted)?;
        same_length("transitions", states * actions * states, transitions.len())?;
        within("transitions", &transitions, "between 0 and 1", |p| (0.0..=1.0).contains(&p))?;
        for (pair, row) in transitions.chunks(states).enumerate().filter(|(pair, _)| !terminal[pair / actions]) {
            let got = sum(row.iter().copied());
            if (got - 1.0).abs() > 1e-9 {
                let rule = "rows that sum to 1 within 1e-9";
                return Err(EvalError::OutOfRange { what: "transitions", rule, index: pair, got });
            }
        }
        Ok(Self { states, actions, transitions, terminal, discount })
    }

    /// Number of states.
    pub fn states(&self) -> usize {
        self.states
    }

    /// Number of actions.
    pub fn actions(&self) -> usize {
        self.actions
    }

    /// The discount.
    pub fn discount(&self) -> f64 {
        self.discount
    }

    /// Whether a state ends the episode.
    pub fn is_terminal(&self, state: usize) -> bool {
        self.terminal.get(state).copied().unwrap_or(false)
    }

    /// The uniform policy, `pi[s][a]`.
    pub fn uniform(&self) -> Vec<f64> {
        vec![1.0 / self.actions as f64; self.states * self.actions]
    }

    /// The chance of every transition, with those of terminal states.
    pub(crate) fn chances(&self) -> &[f64] {
        &self.transitions
    }

    /// The law of the next state.
    pub(crate) fn next(&self, state: usize, action: usize) -> &[f64] {
        let start = (state * self.actions + action) * self.states;
        &self.transitions[start..start + self.states]
    }

    /// A policy: rows that sum to 1 within 1e-9.
    pub(crate) fn checked_policy(&self, policy: &[f64]) -> Result<(), EvalError> {
        within("the policy", policy, "between 0 and 1", |p| (0.0..=1.0).contains(&p))?;
        same_length("the policy", self.states * self.actions, policy.len())?;
        for (index, row) in policy.chunks(self.actions).enumerate() {
            let got = sum(row.iter().copied());
            if (got - 1.0).abs() > 1e-9 {
                let rule = "rows that sum to 1 within 1e-9";
                return Err(EvalError::OutOfRange { what: "the policy", rule, index, got });
            }
        }
        Ok(())
    }

    /// Rewards `R[s][a][s']`.
    pub(crate) fn checked_rewards(&self, what: &'static str, rewards: &[f64]) -> Result<(), EvalError> {
        finite(what, rewards)?;
        same_length(what, self.states * self.actions * self.states, rewards.len())
    }

    /// The mean reward of each state and action, 0 at terminal states.
    pub(crate) fn mean_rewards(&self, rewards: &[f64]) -> Vec<f64> {
        let pairs = (0..self.states).flat_map(|s| (0..self.actions).map(move |a| (s, a)));
        let mean = |(state, action): (usize, usize)| {
            if self.terminal[state] {
                return 0.0;
            }
            let start = (state * self.actions + action) * self.states;
            sum(self.next(state, action).iter().zip(&rewards[start..]).map(|(p, reward)| p * reward))
        };
        pairs.map(mean).collect()
    }

    /// The values of a policy. Unbounded; O(S^3 + S^2 A).
    ///
    /// # Errors
    /// When a length does not fit, a number is NaN or infinite, a row of the policy does not sum to 1, or, with
    /// discount 1, the policy does not end from every state.
    pub fn values(&self, rewards: &[f64], policy: &[f64]) -> Result<Values, EvalError> {
        self.checked_rewards("rewards", rewards)?;
        self.checked_policy(policy)?;
        if self.discount == 1.0 && !self.ends(policy) {
            let why = "with discount 1 the policy must reach a terminal state from every state";
            return Err(EvalError::Degenerate { what: "the value of a policy", why });
        }
        let n = self.states;
        let means = self.mean_rewards(rewards);
        let (mut matrix, mut right) = (vec![0.0; n * n], vec![0.0; n]);
        for (state, right) in right.iter_mut().enumerate() {
            matrix[state * n + state] = 1.0;
            for action in (0..self.actions).filter(|_| !self.terminal[state]) {
                let share = policy[state * self.actions + action];
                *right += share * means[state * self.actions + action];
                for (next, p) in self.next(state, action).iter().enumerate().filter(|&(next, _)| !self.terminal[next]) {
                    matrix[state * n + next] -= self.discount * share * p;
                }
            }
        }
        let state = solve(matrix, right);
        let action = self.action_values(&means, &state);
        let advantage = action.iter().enumerate().map(|(pair, q)| q - state[pair / self.actions]).collect();
        Ok(Values { state, action, advantage })
    }

    /// A best policy, by improving the uniform one until no action is better; the first of actions that are equally good.
    /// O(S^3 + S^2 A) for each improvement, of which a few are enough.
    ///
    /// # Errors
    /// As [`values`](Self::values); with discount 1, when an improved policy does not end.
    pub fn best_policy(&self, rewards: &[f64]) -> Result<Vec<f64>, EvalError> {
        let mut policy = self.uniform();
        // A policy that is improved never comes back, but for rounding.
        for _ in 0..IMPROVEMENTS {
            let mut better = vec![0.0; policy.len()];
            for (state, q) in self.values(rewards, &policy)?.action.chunks(self.actions).enumerate() {
                let best = (0..self.actions).fold(0, |best, action| if q[action] > q[best] { action } else { best });
                better[state * self.actions + best] = 1.0;
            }
            if better == policy {
                break;
            }
            policy = better;
        }
        Ok(policy)
    }

    /// What is lost, by `rewards`, with the best policy for `proxy` instead of the best one: a share of the way from the worst
    /// policy to the best, both from the law `start` of first states. In [0, 1]; as [`best_policy`](Self::best_policy).
    ///
    /// # Errors
    /// As [`best_policy`](Self::best_policy), when `start` is no law of the states, and when all policies are equally good.
    pub fn regret(&self, rewards: &[f64], proxy: &[f64], start: &[f64]) -> Result<f64, EvalError> {
        crate::curve::entropy(start)?;
        same_length("start", self.states, start.len())?;
        let worth = |policy: &[f64]| {
            let values = self.values(rewards, policy)?.state;
            Ok::<f64, EvalError>(sum(start.iter().zip(&values).map(|(p, value)| p * value)))
        };
        let against: Vec<f64> = rewards.iter().map(|reward| -reward).collect();
        let (best, worst) = (worth(&self.best_policy(rewards)?)?, worth(&self.best_policy(&against)?)?);
        if best - worst <= 1e-12 * best.abs().max(worst.abs()) {
            return Err(EvalError::Degenerate { what: "the regret", why: "all policies are equally good" });
        }
        Ok(((best - worth(&self.best_policy(proxy)?)?) / (best - worst)).clamp(0.0, 1.0))
    }

    fn action_values(&self, means: &[f64], values: &[f64]) -> Vec<f64> {
        let of = |(pair, mean): (usize, &f64)| {
            let (state, action) = (pair / self.actions, pair % self.actions);
            if self.terminal[state] {
                return 0.0;
            }
            let later = self.next(state, action).iter().zip(values).zip(&self.terminal);
            mean + self.discount * sum(later.filter(|(_, terminal)| !**terminal).map(|((p, value), _)| p * value))
        };
        means.iter().enumerate().map(of).collect()
    }

    /// Whether every state reaches a terminal one.
    fn ends(&self, policy: &[f64]) -> bool {
        let mut ends = self.terminal.clone();
        loop {
            let before = ends.iter().filter(|&&end| end).count();
            for state in 0..self.states {
                let leads = |action: usize| {
                    policy[state * self.actions + action] > 0.0
                        && self.next(state, action).iter().zip(&ends).any(|(&p, &end)| p > 0.0 && end)
                };
                let reached = ends[state] || (0..self.actions).any(leads);
                ends[state] = reached;
            }
            let after = ends.iter().filter(|&&end| end).count();
            if after == before {
                return after == self.states;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A coin: heads ends with reward 1, tails goes on without. V = 1 without discount; 0.5/(1 - 0.5 g) with.
    #[test]
    fn a_coin_until_heads() {
        let tau = vec![0.5, 0.5, 0.0, 0.0];
        let rewards = [0.0, 1.0, 0.0, 0.0];
        for (discount, expected) in [(1.0, 1.0), (0.8, 0.5 / 0.6)] {
            let mdp = Mdp::new(1, tau.clone(), vec![false, true], discount).unwrap();
            let values = mdp.values(&rewards, &mdp.uniform()).unwrap();
            assert!((values.state[0] - expected).abs() < 1e-12 && values.state[1] == 0.0, "{values:?}");
            assert!(values.advantage[0].abs() < 1e-12);
        }
    }

    /// The first action stays, the second goes to the other state; being in the second state pays 1 a step. Best from
    /// either state: 1/(1 - 0.9) = 10; worst 0. Who always goes gets every other reward: 1/(1 - 0.81) from the first state
    /// and 0.9 of that from the second.
    #[test]
    fn regret_by_hand() {
        let mdp = Mdp::new(2, vec![1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0], vec![false; 2], 0.9).unwrap();
        let arrive = [0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0];
        assert_eq!(mdp.best_policy(&arrive).unwrap(), [0.0, 1.0, 1.0, 0.0]);
        let leave = [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0];
        let lost = mdp.regret(&arrive, &leave, &[1.0, 0.0]).unwrap();
        assert!((lost - (1.0 - 0.1 / 0.19)).abs() < 1e-9, "{lost}");
        assert!(mdp.regret(&arrive, &arrive, &[0.5, 0.5]).unwrap() < 1e-12);
        assert!((mdp.regret(&arrive, &arrive.map(|reward| -reward), &[0.5, 0.5]).unwrap() - 1.0).abs() < 1e-9);
        assert!(matches!(mdp.regret(&[1.0; 8], &arrive, &[0.5, 0.5]), Err(EvalError::Degenerate { .. })));
        assert!(mdp.regret(&arrive, &arrive, &[1.0]).is_err() && mdp.regret(&arrive, &arrive, &[0.5, 0.6]).is_err());
    }

    #[test]
    fn bad_input_is_refused() {
        let stay = |discount| Mdp::new(1, vec![1.0, 0.0, 0.0, 0.0], vec![false, true], discount);
        assert!(matches!(stay(1.0).unwrap().values(&[0.0; 4], &[1.0; 2]), Err(EvalError::Degenerate { .. })));
        assert!(matches!(stay(1.5), Err(EvalError::Range { name: "discount", .. })));
        assert!(matches!(Mdp::new(1, vec![0.5], vec![false], 0.9), Err(EvalError::OutOfRange { .. })));
        assert!(matches!(Mdp::new(1, vec![1.0], vec![false], 1.0), Err(EvalError::Range { .. })));
        assert!(matches!(stay(0.9).unwrap().values(&[f64::NAN; 4], &[1.0; 2]), Err(EvalError::NotFinite { .. })));
        assert!(matches!(stay(0.9).unwrap().values(&[0.0; 4], &[0.5; 2]), Err(EvalError::OutOfRange { .. })));
    }
}
