//! Options of rewards under constraints.

use ascribe::reward::constrain::{Constraint, Multiplier};
use clap::{Args, ValueEnum};

/// Options of `ascribe train ppo --constraint ..`.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Constraints")]
pub struct ConstraintArgs {
    /// A reward of the catalogue, or the folder of a reward model, and the bound that its mean is to reach, such as `exact=0.5`;
    /// several, if there are several. What `--reward` names, if anything, is maximised beside them.
    #[arg(long, num_args(1..), value_delimiter = ',', value_parser = bound, value_name = "REWARD=BOUND")]
    pub constraint: Vec<(String, f64)>,
    /// `inequality`, at least the bound (mu-PPO), or `equality`, at the bound (xi-PPO).
    #[arg(long, value_enum, default_value_t = ConstraintName::Inequality, requires = "constraint")]
    pub constraint_kind: ConstraintName,
    /// `squashed`, through a sigmoid or tanh and at the cost of the weight of all else, or `plain`.
    #[arg(long, value_enum, default_value_t = MultiplierName::Squashed, requires = "constraint")]
    pub constraint_multiplier: MultiplierName,
    /// Step size of the multipliers.
    #[arg(long, default_value_t = 0.1, requires = "constraint", allow_negative_numbers = true)]
    pub constraint_learning_rate: f64,
    /// Momentum of the multipliers.
    #[arg(long, default_value_t = 0.1, requires = "constraint", allow_negative_numbers = true)]
    pub constraint_momentum: f64,
    /// Rewards, added up, that say how good the policy is: the bounds follow them by a simplex search, from those that are given.
    #[arg(long, num_args(1..), value_delimiter = ',', requires = "constraint")]
    pub constraint_metric: Vec<String>,
    /// How far the search looks at first.
    #[arg(long, default_value_t = 0.1, requires = "constraint_metric", allow_negative_numbers = true)]
    pub constraint_step: f64,
    /// Generations by which bounds are judged.
    #[arg(long, default_value_t = 10, requires = "constraint_metric")]
    pub constraint_hold: usize,
    /// The search ends when its points differ by less.
    #[arg(long, default_value_t = 0.01, requires = "constraint_metric", allow_negative_numbers = true)]
    pub constraint_tolerance: f64,
    /// Most rounds of the search.
    #[arg(long, default_value_t = 10, requires = "constraint_metric")]
    pub constraint_iterations: usize,
}

/// The name of a reward and its bound.
fn bound(text: &str) -> Result<(String, f64), String> {
    let (name, bound) = text.split_once('=').ok_or("it must be a reward and its bound, such as exact=0.5")?;
    let number: f64 =
        bound.parse().map_err(|_| format!("the bound of {name} must be a number, and `{bound}` is none"))?;
    match number.is_finite() && !name.is_empty() {
        true => Ok((name.to_owned(), number)),
        false => Err("it must be the name of a reward and a finite number".to_owned()),
    }
}

/// What a bound says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ConstraintName {
    /// At least the bound.
    #[value(alias = "mu")]
    Inequality,
    /// At the bound.
    #[value(alias = "xi")]
    Equality,
}

impl From<ConstraintName> for Constraint {
    fn from(name: ConstraintName) -> Self {
        match name {
            ConstraintName::Inequality => Self::Inequality,
            ConstraintName::Equality => Self::Equality,
        }
    }
}

/// How a multiplier becomes a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MultiplierName {
    /// Through a sigmoid or tanh.
    Squashed,
    /// As it is.
    Plain,
}

impl From<MultiplierName> for Multiplier {
    fn from(name: MultiplierName) -> Self {
        match name {
            MultiplierName::Squashed => Self::Squashed,
            MultiplierName::Plain => Self::Plain,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_read() {
        assert_eq!(bound("exact=0.5"), Ok(("exact".to_owned(), 0.5)));
        assert_eq!(bound("mine=-2"), Ok(("mine".to_owned(), -2.0)));
        for wrong in ["exact", "exact=", "exact=x", "=1", "exact=nan", "exact=inf"] {
            assert!(bound(wrong).is_err(), "{wrong}");
        }
    }
}
