//! Regret for each of several overlapping groups: one online ridge regression, and one a group below sleeping experts.
//!
//! What is to be predicted depends on a row's features by weights that differ between the young and the old, and between two
//! places; every row belongs to one group of either kind and to the group of all. The regret of a group is against the best ridge
//! regression of that group in hindsight.

use anyhow::Result;
use ascribe::core::Seed;
use ascribe::eval::slices::{GroupMask, groupwise_ridge, linear_group_regret};
use rand::RngExt;

use crate::heads::mean;
use crate::row::{Claim, Figures, Row};
use crate::world::normal;

const ROWS: usize = 1500;
/// The rows of the short run.
const FIRST: usize = 200;
const WIDTH: usize = 3;
/// How often a row belongs to the smaller group of a kind.
const SMALLER: f64 = 0.3;
const RIDGE: f64 = 1.0;
const RANGE: [f64; 2] = [-3.0, 3.0];

/// The claims of groupwise regret.
pub const ROW: Row = Row {
    name: "groupwise-regret",
    paper: "Oracle Efficient Algorithms for Groupwise Regret",
    setting: "1500 rows of three features whose weights differ between five overlapping groups, one of them of all rows; squared \
              loss of outcomes in [-3, 3]; regret a row of the group that fares worst",
    seeds: 12,
    claims: &[
        Claim {
            says: "with an expert for each group the worst regret of a group is smaller than with one learner",
            more: "worst regret, one learner",
            less: "worst regret, experts",
        },
        Claim { says: "all rows together lose less as well", more: "loss, one learner", less: "loss, experts" },
        Claim {
            says: "and the regret a row falls with their number",
            more: "worst regret, experts, 200 rows",
            less: "worst regret, experts",
        },
    ],
    tried: "",
    run,
};

/// Rows with their outcomes and groups.
struct Data {
    y: Vec<f64>,
    features: Vec<Vec<f64>>,
    masks: Vec<GroupMask>,
}

impl Data {
    fn drawn(seed: Seed) -> Self {
        let mut stream = seed.stream("weights", 0);
        let mut weights = |size: f64| -> Vec<f64> { (0..WIDTH).map(|_| size * normal(&mut stream)).collect() };
        let (of_all, of_age, of_place) = (weights(0.5), [weights(0.6), weights(0.6)], [weights(0.6), weights(0.6)]);
        let mut stream = seed.stream("rows", 0);
        let (mut y, mut features, mut groups) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROWS {
            let is_smaller = [0, 1].map(|_: u8| stream.random::<f64>() < SMALLER);
            let [age, place] = is_smaller.map(usize::from);
            let x = vec![1.0, normal(&mut stream), normal(&mut stream)];
            let weight = |at: usize| of_all[at] + of_age[age][at] + of_place[place][at];
            let due: f64 = x.iter().enumerate().map(|(at, x)| weight(at) * x).sum();
            y.push((due + 0.3 * normal(&mut stream)).clamp(RANGE[0], RANGE[1]));
            features.push(x);
            groups.push(is_smaller);
        }
        let mask = |name: &str, of: &dyn Fn([bool; 2]) -> bool| GroupMask {
            name: name.to_owned(),
            members: groups.iter().map(|group| of(*group)).collect(),
        };
        let masks = vec![
            mask("all", &|_| true),
            mask("young", &|[is_young, _]| is_young),
            mask("old", &|[is_young, _]| !is_young),
            mask("far", &|[_, is_far]| is_far),
            mask("near", &|[_, is_far]| !is_far),
        ];
        Self { y, features, masks }
    }

    /// The first rows alone.
    fn first(&self, rows: usize) -> Self {
        let cut = |mask: &GroupMask| GroupMask { name: mask.name.clone(), members: mask.members[..rows].to_vec() };
        Self {
            y: self.y[..rows].to_vec(),
            features: self.features[..rows].to_vec(),
            masks: self.masks.iter().map(cut).collect(),
        }
    }

    /// The mean loss of a learner with experts for these groups, and the largest regret a row of any group.
    fn learned(&self, groups: &[GroupMask]) -> Result<[f64; 2]> {
        let predictions = groupwise_ridge(&self.y, &self.features, groups, RIDGE, RANGE)?;
        let regrets = linear_group_regret(&predictions, &self.y, &self.features, &self.masks, RIDGE)?;
        let worst = regrets.iter().flatten().map(|regret| regret.per_row()).fold(f64::NEG_INFINITY, f64::max);
        let losses: Vec<f64> = predictions.iter().zip(&self.y).map(|(one, y)| (one - y).powi(2)).collect();
        Ok([mean(&losses), worst])
    }
}

fn run(seed: Seed) -> Result<Figures> {
    let data = Data::drawn(seed);
    let [loss_of_one, worst_of_one] = data.learned(&data.masks[..1])?;
    let [loss, worst] = data.learned(&data.masks)?;
    let first = data.first(FIRST);
    let [_, worst_at_first] = first.learned(&first.masks)?;
    Ok(vec![
        ("loss, one learner".to_owned(), loss_of_one),
        ("loss, experts".to_owned(), loss),
        ("worst regret, one learner".to_owned(), worst_of_one),
        ("worst regret, experts".to_owned(), worst),
        ("worst regret, experts, 200 rows".to_owned(), worst_at_first),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_belongs_to_one_group_of_either_kind() {
        let data = Data::drawn(Seed(0));
        let is_in = |group: usize, row: usize| data.masks[group].members[row];
        for row in 0..ROWS {
            assert!(is_in(0, row) && is_in(1, row) != is_in(2, row) && is_in(3, row) != is_in(4, row));
        }
        assert!(data.y.iter().all(|y| (RANGE[0]..=RANGE[1]).contains(y)));
        let first = data.first(3);
        assert_eq!((first.y.len(), first.features.len(), first.masks[4].members.len()), (3, 3, 3));
    }
}
