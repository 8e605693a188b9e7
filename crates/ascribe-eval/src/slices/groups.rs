//! Metrics and regret by group, and what one-sided feedback hides.
//!
//! ```text
//! Reg_g = sum_{t in g} loss(prediction_t, y_t) - min over f of sum_{t in g} loss(f(x_t), y_t)
//! ```
//! Groups may overlap; the best function in hindsight is found for each. A. Blum and T. Lykouris, arXiv:1909.08375.

use crate::error::{finite, option, same_length, within};
use crate::stats::bootstrap::clusters;
use crate::stats::solve::solve;
use crate::stats::sum::{mean, sum};
use crate::{Bootstrap, Estimate, EvalError};

/// Most tags that are told apart; each has a mask of all rows.
const MOST_TAGS: usize = 1000;

/// A group of rows by name.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupMask {
    /// Its name.
    pub name: String,
    /// Whether each row belongs to it.
    pub members: Vec<bool>,
}

impl GroupMask {
    /// A group for each tag, in the order of their first rows. So a row counts for one tag alone. O(rows tags).
    ///
    /// ```
    /// use ascribe_eval::slices::GroupMask;
    /// let groups = GroupMask::of_tags(&["values".to_owned(), "instructions".to_owned(), "values".to_owned()])?;
    /// assert_eq!((groups[0].name.as_str(), &groups[0].members[..]), ("values", &[true, false, true][..]));
    /// assert_eq!(groups[1].members, [false, true, false]);
    /// # Ok::<(), ascribe_eval::EvalError>(())
    /// ```
    ///
    /// # Errors
    /// When there are more than 1000 different tags: a column of numbers or of texts is none of tags.
    pub fn of_tags(tags: &[String]) -> Result<Vec<Self>, EvalError> {
        let (tag_of, n) = clusters(tags);
        option("the number of different tags", "at most 1000", n as f64, n <= MOST_TAGS)?;
        let mut groups: Vec<Self> = Vec::with_capacity(n);
        for (row, (&at, tag)) in tag_of.iter().zip(tags).enumerate() {
            if at == groups.len() {
                groups.push(Self { name: tag.clone(), members: vec![false; tags.len()] });
            }
            groups[at].members[row] = true;
        }
        Ok(groups)
    }
}

/// A metric by group.
#[derive(Debug)]
pub struct ByGroup {
    /// Each group with its rows and result; an undefined metric is the error of that group alone.
    pub groups: Vec<(String, usize, Result<Estimate, EvalError>)>,
    /// The smallest value among groups of enough rows.
    pub lowest: Option<(String, f64)>,
    /// The largest value among groups of enough rows.
    pub highest: Option<(String, f64)>,
}

/// Groups below so many rows are shown and take no part in the extremes.
pub const MIN_GROUP: usize = 30;

/// Any metric of rows by group; `metric` gets the rows of a group. In the range of the metric; O(rows) for each group
/// beside it.
///
/// # Errors
/// When there is no group or a mask has not `rows` entries.
pub fn by_group(
    rows: usize,
    masks: &[GroupMask],
    min_rows: usize,
    metric: impl Fn(&[usize]) -> Result<Estimate, EvalError>,
) -> Result<ByGroup, EvalError> {
    option("groups", "at least 1", masks.len() as f64, !masks.is_empty())?;
    let mut groups = Vec::with_capacity(masks.len());
    for mask in masks {
        same_length("a mask", rows, mask.members.len())?;
        let members: Vec<usize> = (0..rows).filter(|&row| mask.members[row]).collect();
        groups.push((mask.name.clone(), members.len(), metric(&members)));
    }
    let counted = || {
        let large = groups.iter().filter(move |(_, n, _)| *n >= min_rows);
        large.filter_map(|(name, _, result)| Some((name.clone(), result.as_ref().ok()?.value)))
    };
    let lowest = counted().min_by(|a, b| a.1.total_cmp(&b.1));
    let highest = counted().max_by(|a, b| a.1.total_cmp(&b.1));
    Ok(ByGroup { groups, lowest, highest })
}

/// The regret of one group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GroupRegret {
    /// Regret over the rows of the group.
    pub regret: f64,
    /// Rows of the group.
    pub n: usize,
}

impl GroupRegret {
    /// Regret a row. O(1).
    pub fn per_row(&self) -> f64 {
        self.regret / self.n as f64
    }

    /// Regret over the root of the rows: bounded for learners with no regret. O(1).
    pub fn per_root(&self) -> f64 {
        self.regret / (self.n as f64).sqrt()
    }
}

/// The regret of each group from the learner's losses and `alternatives[f][t]`, the losses of the functions it competes
/// with; `None` for an empty group. Unbounded; O(T groups functions).
///
/// # Errors
/// When there is no row or function, a length does not fit, or a loss is NaN or infinite.
pub fn group_regret(
    losses: &[f64],
    alternatives: &[Vec<f64>],
    masks: &[GroupMask],
) -> Result<Vec<Option<GroupRegret>>, EvalError> {
    finite("losses", losses)?;
    option("alternatives", "at least 1", alternatives.len() as f64, !alternatives.is_empty())?;
    for alternative in alternatives {
        same_length("an alternative", losses.len(), alternative.len())?;
        finite("an alternative", alternative)?;
    }
    let mut regrets = Vec::with_capacity(masks.len());
    for mask in masks {
        same_length("a mask", losses.len(), mask.members.len())?;
        let of = |values: &[f64]| {
            sum(values.iter().zip(&mask.members).filter(|(_, member)| **member).map(|(loss, _)| *loss))
        };
        let best = alternatives.iter().map(|values| of(values)).fold(f64::INFINITY, f64::min);
        let n = mask.members.iter().filter(|&&member| member).count();
        regrets.push((n > 0).then(|| GroupRegret { regret: of(losses) - best, n }));
    }
    Ok(regrets)
}

/// The regret of each group in squared loss against the best ridge regression of that group: `features` are rows of
/// equal length, the penalty is `ridge |w|^2`, which the comparison adds to neither side. Unbounded;
/// O(groups (T width^2 + width^3)).
///
/// # Errors
/// As [`group_regret`], and when `ridge` is not above 0.
pub fn linear_group_regret(
    predictions: &[f64],
    y: &[f64],
    features: &[Vec<f64>],
    masks: &[GroupMask],
    ridge: f64,
) -> Result<Vec<Option<GroupRegret>>, EvalError> {
    option("ridge", "finite and above 0", ridge, 0.0 < ridge && ridge.is_finite())?;
    finite("predictions", predictions)?;
    same_length("y", predictions.len(), y.len())?;
    finite("y", y)?;
    same_length("features", predictions.len(), features.len())?;
    let width = features[0].len();
    for row in features {
        same_length("a row of features", width, row.len())?;
        finite("a row of features", row)?;
    }
    let mut regrets = Vec::with_capacity(masks.len());
    for mask in masks {
        same_length("a mask", y.len(), mask.members.len())?;
        let rows: Vec<usize> = (0..y.len()).filter(|&row| mask.members[row]).collect();
        let (mut matrix, mut right) = (vec![0.0; width * width], vec![0.0; width]);
        for i in 0..width {
            matrix[i * width + i] = ridge;
        }
        for &row in &rows {
            for (i, a) in features[row].iter().enumerate() {
                right[i] += a * y[row];
                features[row].iter().enumerate().for_each(|(j, b)| matrix[i * width + j] += a * b);
            }
        }
        let weights = solve(matrix, right);
        let fitted = |row: usize| sum(features[row].iter().zip(&weights).map(|(x, w)| x * w));
        let loss = |of: &dyn Fn(usize) -> f64| sum(rows.iter().map(|&row| (of(row) - y[row]).powi(2)));
        let regret = loss(&|row| predictions[row]) - loss(&fitted);
        regrets.push((!rows.is_empty()).then_some(GroupRegret { regret, n: rows.len() }));
    }
    Ok(regrets)
}

/// What one-sided feedback hides: labels are seen only where the decision was positive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OneSided {
    /// Accuracy over all rows, which only a simulation knows.
    pub all: f64,
    /// Accuracy over the rows that were seen.
    pub observed: f64,
    /// Observed less all.
    pub hidden_bias: f64,
    /// Accuracy over the seen rows, each weighted by 1 over its chance of being seen; the interval resamples rows.
    pub reweighted: Estimate,
}

/// Compares accuracies with `correct` for all rows, `seen` and `chance`, the known chance of being seen. In [0, 1], the
/// bias in [-1, 1]; O(B n).
///
/// # Errors
/// When the lengths differ, no row was seen, or a chance is not in (0, 1].
pub fn one_sided(
    correct: &[bool],
    seen: &[bool],
    chance: &[f64],
    bootstrap: &Bootstrap,
) -> Result<OneSided, EvalError> {
    within("chance", chance, "above 0 and at most 1", |p| 0.0 < p && p <= 1.0)?;
    same_length("correct", chance.len(), correct.len())?;
    same_length("seen", chance.len(), seen.len())?;
    let right = crate::stats::sum::as_numbers(correct);
    let weighted = |rows: &[usize]| {
        let seen: Vec<usize> = rows.iter().copied().filter(|&row| seen[row]).collect();
        let weights = sum(seen.iter().map(|&row| 1.0 / chance[row]));
        if weights > 0.0 {
            return Ok(sum(seen.iter().map(|&row| right[row] / chance[row])) / weights);
        }
        Err(EvalError::Degenerate { what: "an observed accuracy", why: "no row was seen" })
    };
    let reweighted = bootstrap.metric(chance.len(), weighted)?;
    let observed: Vec<f64> = (0..seen.len()).filter(|&row| seen[row]).map(|row| right[row]).collect();
    let (all, observed) = (mean(&right), mean(&observed));
    Ok(OneSided { all, observed, hidden_bias: observed - all, reweighted })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::accuracy;

    fn mask(name: &str, members: &[bool]) -> GroupMask {
        GroupMask { name: name.to_owned(), members: members.to_vec() }
    }

    #[test]
    fn every_row_counts_for_its_own_tag() {
        let tags = ["preferences", "values", "values", "instructions", "values"].map(str::to_owned);
        let groups = GroupMask::of_tags(&tags).unwrap();
        let found: Vec<(&str, Vec<usize>)> = groups
            .iter()
            .map(|group| (group.name.as_str(), (0..5).filter(|row| group.members[*row]).collect()))
            .collect();
        assert_eq!(found, [("preferences", vec![0]), ("values", vec![1, 2, 4]), ("instructions", vec![3])]);
        assert!(GroupMask::of_tags(&[]).unwrap().is_empty());
        // A column of numbers is none of tags.
        let numbers: Vec<String> = (0..1001).map(|number: u32| number.to_string()).collect();
        assert_eq!(GroupMask::of_tags(&numbers[..1000]).unwrap().len(), 1000);
        let said = GroupMask::of_tags(&numbers).unwrap_err().to_string();
        assert_eq!(said, "the number of different tags must be at most 1000, got 1001");
    }

    #[test]
    fn small_groups_are_shown_and_do_not_count() {
        let correct = [true, true, false, false];
        let masks = [
            mask("a", &[true, true, true, false]),
            mask("b", &[false, false, true, true]),
            mask("c", &[false, false, false, true]),
            mask("none", &[false; 4]),
        ];
        let metric = |rows: &[usize]| accuracy(&rows.iter().map(|&row| correct[row]).collect::<Vec<_>>(), 0.95);
        let groups = by_group(4, &masks, 2, metric).unwrap();
        assert_eq!((groups.lowest, groups.highest), (Some(("b".to_owned(), 0.0)), Some(("a".to_owned(), 2.0 / 3.0))));
        assert!(groups.groups[3].2.is_err() && groups.groups[2].1 == 1);
        assert!(by_group(3, &masks, 2, metric).is_err() && by_group(4, &[], 2, metric).is_err());
    }

    /// Losses 1, 0, 1 against constants: group one loses 2 against 0 of the first, all lose 2 against 1.
    #[test]
    fn regret_is_against_the_best_of_each_group() {
        let masks = [mask("ends", &[true, false, true]), mask("all", &[true; 3]), mask("none", &[false; 3])];
        let alternatives = [vec![0.0, 1.0, 0.0], vec![1.0, 0.0, 1.0]];
        let regrets = group_regret(&[1.0, 0.0, 1.0], &alternatives, &masks).unwrap();
        let ends = regrets[0].unwrap();
        assert_eq!((ends, ends.per_row()), (GroupRegret { regret: 2.0, n: 2 }, 1.0));
        assert!((ends.per_root() - std::f64::consts::SQRT_2).abs() < 1e-15);
        assert_eq!((regrets[1].unwrap().regret, regrets[2]), (1.0, None));
        // y = 2x is fitted but for the small penalty.
        let features = [vec![1.0], vec![2.0], vec![3.0]];
        let linear = linear_group_regret(&[0.0; 3], &[2.0, 4.0, 6.0], &features, &masks, 1e-9).unwrap();
        assert!((linear[1].unwrap().regret - 56.0).abs() < 1e-6 && linear[2].is_none());
    }

    /// Rows are seen where the decision was positive; the right ones are seen with 1, the wrong ones with 1/2.
    #[test]
    fn weights_undo_what_is_hidden() {
        let (correct, seen) = ([true, true, false, false], [true, true, true, false]);
        let shown = one_sided(&correct, &seen, &[1.0, 1.0, 0.5, 0.5], &Bootstrap::NONE).unwrap();
        assert_eq!((shown.all, shown.reweighted.value), (0.5, 0.5));
        assert!((shown.hidden_bias - (2.0 / 3.0 - 0.5)).abs() < 1e-12);
        assert!(one_sided(&correct, &[false; 4], &[1.0; 4], &Bootstrap::NONE).is_err());
        assert!(one_sided(&correct, &seen, &[0.0; 4], &Bootstrap::NONE).is_err());
    }

    proptest! {
        #[test]
        fn regrets_over_a_partition_sum_to_at_least_the_whole(
            rows in prop::collection::vec((0.0..1.0_f64, 0.0..1.0_f64, 0.0..1.0_f64, any::<bool>()), 2..30),
        ) {
            let column = |of: fn(&(f64, f64, f64, bool)) -> f64| rows.iter().map(of).collect::<Vec<f64>>();
            let (losses, alternatives) = (column(|row| row.0), [column(|row| row.1), column(|row| row.2)]);
            let members: Vec<bool> = rows.iter().map(|row| row.3).collect();
            let others: Vec<bool> = members.iter().map(|member| !member).collect();
            let masks = [mask("a", &members), mask("b", &others), mask("all", &vec![true; rows.len()])];
            let regrets = group_regret(&losses, &alternatives, &masks).unwrap();
            let of = |group: usize| regrets[group].map_or(0.0, |regret| regret.regret);
            prop_assert!(of(0) + of(1) >= of(2) - 1e-12);
        }
    }
}
