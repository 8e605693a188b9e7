//! What particles are to be distributed as.
//!
//! ```text
//! power      gamma_t = p(x_1..t)^b_t                    tempering of whole texts, not of tokens
//! product    gamma_t = prod_k p_k(x_1..t)^w_k           weights (g, 1 - g) with g > 1 are guidance; 1 each a product of experts
//! tilted     gamma_t = p(x_1..t) exp(lambda_t phi(x_1..t))      phi the scorer, the reward once the text has ended
//! twisted    gamma_t = p(x_1..t) exp(scale psi(x_1..t)) scale psi = log of the expected exp(reward) ahead; used to propose too
//! ```

use ascribe_core::Policy;

use crate::SearchError;
use crate::error::check;

/// A number that changes with the steps: linearly from `from` at step 1 to `to` at step `steps`, and `to` from there on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// At the first step.
    pub from: f64,
    /// At step `steps` and later.
    pub to: f64,
    /// Steps until `to` is reached; 0 and 1 are `to` at once.
    pub steps: usize,
}

impl Schedule {
    /// Always the same.
    pub fn constant(value: f64) -> Self {
        Self { from: value, to: value, steps: 0 }
    }

    /// The number at `step`, from 1; `before` at step 0.
    pub(super) fn at(self, step: usize, before: f64) -> f64 {
        if step == 0 {
            return before;
        }
        if step >= self.steps {
            return self.to;
        }
        self.from + (self.to - self.from) * (step - 1) as f64 / (self.steps - 1) as f64
    }

    pub(super) fn check(self, name: &'static str) -> Result<(), SearchError> {
        check(name, "finite", self.from, self.from.is_finite())?;
        check(name, "finite", self.to, self.to.is_finite())
    }
}

/// The target of a particle search.
#[derive(Clone)]
pub enum Target<'a> {
    /// The policy to a power; 1 is the policy itself.
    Power(Schedule),
    /// The policy and others, each to a power.
    Product {
        /// Power of the policy.
        own: f64,
        /// The others, over the same vocabulary, with their powers.
        experts: Vec<(&'a dyn Policy, f64)>,
    },
    /// The policy, tilted by the scorer times this.
    Tilted(Schedule),
    /// The policy, tilted by the scorer times this, and proposed from with it. The scorer says the log of what is ahead, and
    /// what has come once a text has ended.
    Twisted(f64),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_worked_by_hand() {
        let rising = Schedule { from: 0.2, to: 1.0, steps: 5 };
        let got: Vec<f64> = (0..7).map(|step| rising.at(step, 0.0)).collect();
        for (got, expected) in got.iter().zip([0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.0]) {
            assert!((got - expected).abs() < 1e-12);
        }
        assert_eq!(Schedule::constant(2.0).at(1, 1.0), 2.0);
        assert_eq!(Schedule { from: 9.0, to: 2.0, steps: 1 }.at(1, 1.0), 2.0);
        assert!(Schedule::constant(f64::NAN).check("lambda").is_err());
    }
}
