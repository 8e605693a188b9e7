//! Individual fairness with a panel of auditors: similar rows deserve similar treatment.
//!
//! ```text
//! auditor j reports (x, x') when pi(x) - pi(x') > d_j(x, x') + a;  a pair is violated when a share >= gamma of them report it
//! ```
//! S. Gillen et al., arXiv:1802.06936; with a panel, arXiv:2206.04475. All ordered pairs of a round are tried.

use crate::EvalError;
use crate::error::{not_empty, option, shares};

/// Violations over rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FairnessViolations {
    /// Rounds with a violated pair.
    pub rounds: usize,
    /// Violated ordered pairs over all ordered pairs.
    pub pair_rate: f64,
    /// The largest excess of a difference over what a reporting auditor allows, over violated pairs; 0 without any.
    pub largest_excess: f64,
}

/// Counts violations. `rounds[t][i]` is the treatment of row i in round t, in [0, 1]; `distances[j](t, i, k)` is
/// auditor j's. The rate lies in [0, 1]; an excess of exactly `a` is none; O(rounds rows^2 auditors).
///
/// # Errors
/// When there is no round or auditor, no pair, a treatment is not in [0, 1], `a` is negative, `gamma` not in (0, 1], or a
/// distance is NaN.
pub fn fairness_violations(
    rounds: &[Vec<f64>],
    distances: &[&dyn Fn(usize, usize, usize) -> f64],
    a: f64,
    gamma: f64,
) -> Result<FairnessViolations, EvalError> {
    not_empty("the rounds", rounds)?;
    not_empty("the auditors", distances)?;
    option("a", "finite and at least 0", a, (0.0..f64::INFINITY).contains(&a))?;
    option("gamma", "above 0 and at most 1", gamma, 0.0 < gamma && gamma <= 1.0)?;
    let (mut bad_rounds, mut bad, mut pairs, mut largest) = (0, 0_usize, 0_usize, 0.0_f64);
    for (round, treatments) in rounds.iter().enumerate() {
        shares("treatments", treatments)?;
        let before = bad;
        for (i, one) in treatments.iter().enumerate() {
            for (k, other) in treatments.iter().enumerate().filter(|&(k, _)| k != i) {
                pairs += 1;
                if let Some(excess) = violated(one - other, distances, [round, i, k], a, gamma)? {
                    bad += 1;
                    largest = largest.max(excess);
                }
            }
        }
        bad_rounds += usize::from(bad > before);
    }
    option("rows of a round", "at least 2 in some round", 1.0, pairs > 0)?;
    Ok(FairnessViolations { rounds: bad_rounds, pair_rate: bad as f64 / pairs as f64, largest_excess: largest })
}

/// The largest excess of a difference of treatments over what an auditor allows, where a share `gamma` of them report the
/// pair, which is a round and two rows.
pub(super) fn violated(
    difference: f64,
    distances: &[&dyn Fn(usize, usize, usize) -> f64],
    [round, i, k]: [usize; 3],
    a: f64,
    gamma: f64,
) -> Result<Option<f64>, EvalError> {
    let (mut reports, mut largest) = (0_usize, 0.0_f64);
    for distance in distances {
        let allowed = distance(round, i, k);
        option("the distance of an auditor", "a number", allowed, !allowed.is_nan())?;
        let excess = difference - allowed - a;
        reports += usize::from(excess > 0.0);
        largest = largest.max(excess);
    }
    // A product with gamma could round above the reports: 0.07 * 100 > 7.
    Ok((reports as f64 / distances.len() as f64 >= gamma).then_some(largest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 0.9 against 0.1 and 0.5: an auditor who allows 0.5 reports one of six ordered pairs, one who allows 1 none.
    #[test]
    fn a_panel_of_two() {
        let strict = |_: usize, _: usize, _: usize| 0.5;
        let mild = |_: usize, _: usize, _: usize| 1.0;
        let rounds = [vec![0.9, 0.1, 0.5], vec![0.5; 3]];
        let count = |gamma, a| fairness_violations(&rounds, &[&strict, &mild], a, gamma).unwrap();
        let some = count(0.5, 0.0);
        assert_eq!((some.rounds, some.pair_rate), (1, 1.0 / 12.0));
        assert!((some.largest_excess - 0.3).abs() < 1e-12);
        assert_eq!((count(1.0, 0.0).rounds, count(0.5, 0.4).rounds), (0, 0));
    }

    /// 7 of 100 auditors are a share of 0.07, although 0.07 * 100 is above 7 in f64.
    #[test]
    fn a_share_that_is_just_reached_counts() {
        let strict = |_: usize, _: usize, _: usize| 0.0;
        let mild = |_: usize, _: usize, _: usize| 1.0;
        let panel = |reports: usize| -> Vec<&dyn Fn(usize, usize, usize) -> f64> {
            (0..100)
                .map(|at| if at < reports { &strict as &dyn Fn(usize, usize, usize) -> f64 } else { &mild })
                .collect()
        };
        let rounds = [vec![0.9, 0.1]];
        for (reports, due) in [(6, 0), (7, 1)] {
            assert_eq!(fairness_violations(&rounds, &panel(reports), 0.0, 0.07).unwrap().rounds, due, "{reports}");
        }
    }

    #[test]
    fn bad_input_is_refused() {
        let any = |_: usize, _: usize, _: usize| 0.0;
        let count = |rounds: &[Vec<f64>], a, gamma| fairness_violations(rounds, &[&any], a, gamma);
        assert!(matches!(count(&[], 0.0, 0.5), Err(EvalError::Empty { .. })));
        assert!(matches!(count(&[vec![1.5, 0.0]], 0.0, 0.5), Err(EvalError::OutOfRange { .. })));
        assert!(count(&[vec![0.5]], 0.0, 0.5).is_err() && count(&[vec![0.5; 2]], -1.0, 0.5).is_err());
        assert!(count(&[vec![0.5; 2]], 0.0, 0.0).is_err() && count(&[vec![0.5; 2]], f64::NAN, 0.5).is_err());
        assert!(fairness_violations(&[vec![0.5; 2]], &[], 0.0, 0.5).is_err());
        let unknown = |_: usize, _: usize, _: usize| f64::NAN;
        let said = fairness_violations(&[vec![0.5; 2]], &[&unknown], 0.0, 0.5).unwrap_err().to_string();
        assert_eq!(said, "the distance of an auditor must be a number, got NaN");
    }

    proptest! {
        #[test]
        fn a_wider_allowance_or_a_larger_quorum_never_adds_violations(
            treatments in prop::collection::vec(0.0..=1.0_f64, 2..6), allowed in prop::collection::vec(0.0..1.0_f64, 1..5),
            a in prop::array::uniform2(0.0..0.5_f64), gamma in prop::array::uniform2(0.05..1.0_f64),
        ) {
            let auditors: Vec<_> =
                allowed.iter().map(|&allowed| move |_: usize, _: usize, _: usize| allowed).collect();
            let panel: Vec<&dyn Fn(usize, usize, usize) -> f64> =
                auditors.iter().map(|auditor| auditor as &dyn Fn(usize, usize, usize) -> f64).collect();
            let rounds = [treatments.clone(), vec![0.5; 3]];
            let count = |a: f64, gamma: f64| fairness_violations(&rounds, &panel, a, gamma).unwrap();
            let (low, high) = ((a[0].min(a[1]), gamma[0].min(gamma[1])), (a[0].max(a[1]), gamma[0].max(gamma[1])));
            let most = count(low.0, low.1);
            for fewer in [count(high.0, low.1), count(low.0, high.1)] {
                prop_assert!(fewer.rounds <= most.rounds && fewer.pair_rate <= most.pair_rate);
            }
            // Who treats all alike wrongs nobody.
            let alike = [vec![treatments[0]; 4]];
            prop_assert_eq!(fairness_violations(&alike, &panel, low.0, low.1).unwrap().rounds, 0);
        }
    }
}
