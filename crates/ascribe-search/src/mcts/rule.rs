//! Which child a tree search goes to, and how many children a node may have.
//!
//! ```text
//! puct     Q + c(s) P sqrt(N_s) / (1 + N_a),   c(s) = ln((N_s + c_base + 1) / c_base) + c_init
//! uct      Q + w sqrt(ln N_s / N_a),           unvisited children first
//! armap    Q + c P sqrt(ln N_s) / (1 + N_a),   P = 1 or the prior, c or ln((N_s + base + 1) / base) + c
//! widening a node may have max(1, ceil(k N^a)) children
//! ```
//! Silver et al., 2018 (puct, with openr's constants); Kocsis and Szepesvári, 2006 (uct); ARMAP, arXiv:2502.12130.

use serde::{Deserialize, Serialize};

use crate::SearchError;
use crate::error::check;

/// A rule of selection.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Prior times a bonus that falls with the visits.
    Puct {
        /// Visits at which the bonus begins to grow.
        c_base: f64,
        /// The bonus before.
        c_init: f64,
    },
    /// An upper confidence bound.
    Uct {
        /// Weight of the bound.
        w: f64,
    },
    /// That of ARMAP.
    Armap {
        /// Weight of the bonus.
        c: f64,
        /// The bonus is multiplied by the prior (`p_uct`); else every prior is 1 (`uct`).
        prior: bool,
        /// The weight grows with the visits, from so many on (`var_p_uct`).
        base: Option<f64>,
    },
}

impl Default for Rule {
    fn default() -> Self {
        Self::Puct { c_base: 19652.0, c_init: 1.25 }
    }
}

impl Rule {
    /// ARMAP's rule with its constant.
    pub const ARMAP: Self = Self::Armap { c: 6.363_961, prior: false, base: None };

    /// How good a child looks that has the value `q` and the prior `prior` and was visited `child` times, under a parent that
    /// was visited `parent` times.
    pub fn of(self, q: f64, prior: f64, parent: f64, child: f64) -> f64 {
        // A parent was visited before its children are looked at; below 1 the logarithm would be negative.
        let log = parent.max(1.0).ln();
        match self {
            Self::Puct { c_base, c_init } => {
                let c = ((parent + c_base + 1.0) / c_base).ln() + c_init;
                q + c * prior * parent.sqrt() / (1.0 + child)
            }
            Self::Uct { .. } if child == 0.0 => f64::INFINITY,
            Self::Uct { w } => q + w * (log / child).sqrt(),
            Self::Armap { c, prior: weighs, base } => {
                let c = base.map_or(c, |base| ((parent + base + 1.0) / base).ln() + c);
                let prior = if weighs { prior } else { 1.0 };
                q + c * prior * log.sqrt() / (1.0 + child)
            }
        }
    }

    pub(super) fn check(self) -> Result<(), SearchError> {
        let positive = |name, value: f64| check(name, "finite and above 0", value, value > 0.0 && value.is_finite());
        let weight = |name, value: f64| check(name, "finite and at least 0", value, value >= 0.0 && value.is_finite());
        match self {
            Self::Puct { c_base, c_init } => positive("c_base", c_base).and(weight("c_init", c_init)),
            Self::Uct { w } => weight("w", w),
            Self::Armap { c, base, .. } => positive("base", base.unwrap_or(1.0)).and(weight("c", c)),
        }
    }
}

/// Progressive widening: children come one by one as visits grow.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Widening {
    /// Factor; above 0.
    pub k: f64,
    /// Exponent; in [0, 1].
    pub a: f64,
}

impl Default for Widening {
    fn default() -> Self {
        Self { k: 1.0, a: 0.5 }
    }
}

impl Widening {
    /// Children that a node may have after so many visits.
    pub fn allowed(self, visits: u64) -> usize {
        // A root that should be whole may lie a little above.
        ((self.k * (visits as f64).powf(self.a) - 1e-9).ceil() as usize).max(1)
    }

    pub(super) fn check(self) -> Result<(), SearchError> {
        check("the factor of widening", "finite and above 0", self.k, self.k > 0.0 && self.k.is_finite())?;
        check("the exponent of widening", "in [0, 1]", self.a, (0.0..=1.0).contains(&self.a))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_worked_by_hand() {
        let close = |got: f64, expected: f64| assert!((got - expected).abs() < 1e-6, "{got} beside {expected}");
        close(Rule::default().of(0.0, 0.25, 16.0, 3.0), 0.312716);
        close(Rule::default().of(0.6, 0.25, 16.0, 3.0), 0.912716);
        close(Rule::Uct { w: 1.0 }.of(0.75, 0.0, 20.0, 4.0), 1.615409);
        assert_eq!(Rule::Uct { w: 1.0 }.of(0.0, 0.0, 20.0, 0.0), f64::INFINITY);
        let Rule::Armap { c, .. } = Rule::ARMAP else { panic!("the rule of ARMAP") };
        let with_prior = Rule::Armap { c, prior: true, base: None };
        close(with_prior.of(0.0, 0.3, 10.0, 2.0), 0.965685);
        close(Rule::ARMAP.of(0.0, 0.3, 10.0, 2.0), 0.965685 / 0.3);
        // c becomes ln((10 + 51) / 50) + c.
        let varied = Rule::Armap { c, prior: true, base: Some(50.0) };
        close(varied.of(0.0, 0.3, 10.0, 2.0), 0.965685 * (1.0 + (61.0f64 / 50.0).ln() / c));
    }

    #[test]
    fn widening_worked_by_hand() {
        let widening = Widening::default();
        let allowed = [0, 1, 2, 4, 5, 9, 10].map(|visits| widening.allowed(visits));
        assert_eq!(allowed, [1, 1, 2, 2, 3, 3, 4]);
        assert!(Widening { k: f64::NAN, a: 0.5 }.check().is_err() && Widening { k: 1.0, a: 2.0 }.check().is_err());
        assert!(Rule::Uct { w: f64::NAN }.check().is_err() && Rule::Puct { c_base: 0.0, c_init: 1.0 }.check().is_err());
    }
}
