//! Fronts of several objectives, all maximised.
//!
//! ```text
//! a dominates b: a >= b everywhere and > somewhere;  the front keeps duplicates
//! hypervolume: the volume between a reference point and the front
//! additive epsilon of A against B: max over b of min over a of max over k of (b_k - a_k)
//! spacing: sd of each point's L1 distance to its nearest other
//! ```
//! E. Zitzler and L. Thiele, IEEE TEC 3, 1999; E. Zitzler et al., IEEE TEC 7, 2003. Points that are not better than the
//! reference in every objective add no volume. Exact up to five objectives, by slicing.

use crate::EvalError;
use crate::error::{finite, not_empty, option, same_length};
use crate::stats::sum::variance;

/// Most objectives of an exact hypervolume.
const OBJECTIVES: usize = 5;

fn checked(points: &[Vec<f64>]) -> Result<usize, EvalError> {
    not_empty("the points", points)?;
    let objectives = points[0].len();
    for point in points {
        same_length("a point", objectives, point.len())?;
        finite("a point", point)?;
    }
    Ok(objectives)
}

fn dominates(a: &[f64], b: &[f64]) -> bool {
    a.iter().zip(b).all(|(a, b)| a >= b) && a.iter().zip(b).any(|(a, b)| a > b)
}

/// Indices of the points that no other dominates, in their order. Two objectives cost n log n, more n^2. Equal points
/// do not dominate each other, so all of them stay.
///
/// # Errors
/// When there is no point, their lengths differ, or a value is NaN or infinite.
pub fn pareto_front(points: &[Vec<f64>]) -> Result<Vec<usize>, EvalError> {
    if checked(points)? != 2 {
        let kept = |&point: &usize| !points.iter().any(|other| dominates(other, &points[point]));
        return Ok((0..points.len()).filter(kept).collect());
    }
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by(|&a, &b| points[b][0].total_cmp(&points[a][0]).then(points[b][1].total_cmp(&points[a][1])));
    let (mut front, mut best) = (Vec::new(), f64::NEG_INFINITY);
    for equal in order.chunk_by(|&a, &b| points[a][0] == points[b][0]) {
        let top = equal.iter().map(|&point| points[point][1]).fold(f64::NEG_INFINITY, f64::max);
        if top > best {
            front.extend(equal.iter().copied().filter(|&point| points[point][1] == top));
            best = top;
        }
    }
    front.sort_unstable();
    Ok(front)
}

/// The hypervolume of `points` above `reference`. At least 0; points that are not above the reference in every
/// objective, and copies, add nothing; O(n log n) for two objectives, times n for each further one.
///
/// # Errors
/// As [`pareto_front`], when the reference has another length, and beyond five objectives.
pub fn hypervolume(points: &[Vec<f64>], reference: &[f64]) -> Result<f64, EvalError> {
    let objectives = checked(points)?;
    option("objectives", "between 1 and 5", objectives as f64, (1..=OBJECTIVES).contains(&objectives))?;
    same_length("reference", objectives, reference.len())?;
    finite("reference", reference)?;
    let above: Vec<Vec<f64>> = points
        .iter()
        .map(|point| point.iter().zip(reference).map(|(value, zero)| value - zero).collect::<Vec<f64>>())
        .filter(|point| point.iter().all(|&value| value > 0.0))
        .collect();
    Ok(volume(above))
}

/// The volume of boxes from the origin: slices along the last objective, from the top.
fn volume(mut points: Vec<Vec<f64>>) -> f64 {
    let Some(last) = points.first().map(|point| point.len() - 1) else { return 0.0 };
    points.sort_by(|a, b| b[last].total_cmp(&a[last]));
    if last == 0 {
        return points[0][0];
    }
    if last == 1 {
        let (mut total, mut widest) = (0.0, 0.0_f64);
        for (index, point) in points.iter().enumerate() {
            widest = widest.max(point[0]);
            let below = points.get(index + 1).map_or(0.0, |next| next[1]);
            total += widest * (point[1] - below);
        }
        return total;
    }
    let mut total = 0.0;
    for index in 0..points.len() {
        let below = points.get(index + 1).map_or(0.0, |next| next[last]);
        let thickness = points[index][last] - below;
        if thickness > 0.0 {
            total += thickness * volume(points[..=index].iter().map(|point| point[..last].to_vec()).collect());
        }
    }
    total
}

/// By how much `a` must be raised to be at least as good as every point of `b`; at most 0 when it already is. O(n m)
/// for n and m points.
///
/// # Errors
/// As [`pareto_front`], and when the numbers of objectives differ.
pub fn additive_epsilon(a: &[Vec<f64>], b: &[Vec<f64>]) -> Result<f64, EvalError> {
    same_length("the objectives of b", checked(a)?, checked(b)?)?;
    let short = |a: &Vec<f64>, b: &Vec<f64>| b.iter().zip(a).map(|(b, a)| b - a).fold(f64::NEG_INFINITY, f64::max);
    let nearest = |b: &Vec<f64>| a.iter().map(|a| short(a, b)).fold(f64::INFINITY, f64::min);
    Ok(b.iter().map(nearest).fold(f64::NEG_INFINITY, f64::max))
}

/// The standard deviation (n - 1) of each point's L1 distance to its nearest other: 0 for even spacing. At least 0;
/// copies have distance 0; O(n^2).
///
/// # Errors
/// As [`pareto_front`], and for fewer than two points.
pub fn spacing(points: &[Vec<f64>]) -> Result<f64, EvalError> {
    checked(points)?;
    option("points", "at least 2", points.len() as f64, points.len() >= 2)?;
    let distance = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f64>();
    let nearest = |point: usize| {
        let others = (0..points.len()).filter(move |&other| other != point);
        others.map(|other| distance(&points[point], &points[other])).fold(f64::INFINITY, f64::min)
    };
    Ok(variance(&(0..points.len()).map(nearest).collect::<Vec<_>>()).sqrt())
}

/// Continual learning of preferences (IBCL, arXiv:2305.14782) from `accuracy[t][i]`: accuracy on task i after task t.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Continual {
    /// Mean accuracy over tasks after the last.
    pub average: f64,
    /// Mean over tasks of the best accuracy at any time.
    pub peak: f64,
    /// Mean change on earlier tasks since they were learned: negative is forgetting; `None` for one task.
    pub backward_transfer: Option<f64>,
}

/// Reads a square table of accuracies. Accuracies lie in [0, 1], the change in [-1, 1]; O(tasks^2).
///
/// # Errors
/// When there is no task, the table is not square, or a value is not in [0, 1].
pub fn continual(accuracy: &[Vec<f64>]) -> Result<Continual, EvalError> {
    not_empty("the tasks", accuracy)?;
    let tasks = accuracy.len();
    for row in accuracy {
        same_length("a row of accuracies", tasks, row.len())?;
        crate::error::shares("accuracy", row)?;
    }
    let last = &accuracy[tasks - 1];
    let peak = |task: usize| accuracy.iter().map(|row| row[task]).fold(0.0, f64::max);
    let change = |task: usize| last[task] - accuracy[task][task];
    let mean = |values: Vec<f64>| crate::stats::sum::mean(&values);
    Ok(Continual {
        average: mean(last.clone()),
        peak: mean((0..tasks).map(peak).collect()),
        backward_transfer: (tasks > 1).then(|| mean((0..tasks - 1).map(change).collect())),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn points(rows: &[[f64; 2]]) -> Vec<Vec<f64>> {
        rows.iter().map(|row| row.to_vec()).collect()
    }

    /// Three steps of a staircase: 3 + 2 + 1.
    #[test]
    fn a_staircase_of_six() {
        let points = points(&[[3.0, 1.0], [2.0, 2.0], [1.0, 3.0], [1.0, 1.0]]);
        assert_eq!(hypervolume(&points, &[0.0, 0.0]).unwrap(), 6.0);
        assert_eq!(pareto_front(&points).unwrap(), [0, 1, 2]);
        assert_eq!(hypervolume(&points, &[3.0, 3.0]).unwrap(), 0.0);
        // Each front point's nearest other is 2 away; the dominated one's, 2 too.
        assert_eq!(spacing(&points).unwrap(), 0.0);
        assert_eq!(additive_epsilon(&points[1..2], &points[..1]).unwrap(), 1.0);
        let cube = vec![vec![1.0, 1.0, 2.0], vec![2.0, 1.0, 1.0]];
        assert_eq!(hypervolume(&cube, &[0.0; 3]).unwrap(), 3.0);
        assert_eq!(hypervolume(&[vec![2.0; 5]], &[0.0; 5]).unwrap(), 32.0);
    }

    #[test]
    fn forgetting_is_backward_transfer() {
        let read = continual(&[vec![0.9, 0.1], vec![0.7, 0.8]]).unwrap();
        assert!((read.average - 0.75).abs() < 1e-12 && (read.peak - 0.85).abs() < 1e-12);
        assert!((read.backward_transfer.unwrap() + 0.2).abs() < 1e-12);
        assert_eq!(continual(&[vec![0.9]]).unwrap().backward_transfer, None);
    }

    #[test]
    fn bad_input_is_refused() {
        assert!(matches!(pareto_front(&[]), Err(EvalError::Empty { .. })));
        assert!(matches!(pareto_front(&[vec![1.0], vec![]]), Err(EvalError::Length { .. })));
        assert!(matches!(pareto_front(&[vec![f64::NAN]]), Err(EvalError::NotFinite { .. })));
        assert!(matches!(hypervolume(&[vec![1.0; 6]], &[0.0; 6]), Err(EvalError::Range { .. })));
        assert!(matches!(continual(&[vec![1.2]]), Err(EvalError::OutOfRange { .. })));
        assert!(spacing(&[vec![1.0]]).is_err());
    }

    proptest! {
        #[test]
        fn the_front_is_what_nothing_dominates_and_holds_all_the_volume(
            rows in prop::collection::vec((1_u8..6, 1_u8..6, 1_u8..6), 1..12),
        ) {
            for objectives in [2, 3] {
                let points: Vec<Vec<f64>> = rows
                    .iter()
                    .map(|&(a, b, c)| [a, b, c][..objectives].iter().map(|&value| f64::from(value)).collect())
                    .collect();
                let front = pareto_front(&points).unwrap();
                for point in 0..points.len() {
                    let free = !points.iter().any(|other| dominates(other, &points[point]));
                    prop_assert_eq!(front.contains(&point), free);
                }
                let zero = vec![0.0; objectives];
                let all = hypervolume(&points, &zero).unwrap();
                let kept: Vec<Vec<f64>> = front.iter().map(|&point| points[point].clone()).collect();
                prop_assert_eq!(all, hypervolume(&kept, &zero).unwrap());
                // Neither the order of the points nor the units matter.
                let doubled: Vec<Vec<f64>> =
                    points.iter().rev().map(|point| point.iter().map(|value| 2.0 * value).collect()).collect();
                prop_assert_eq!(hypervolume(&doubled, &zero).unwrap(), all * 2_f64.powi(objectives as i32));
                // Unit cells below some point, counted one by one.
                let inside = |cell: usize| {
                    let corner = [cell % 5 + 1, cell / 5 % 5 + 1, cell / 25 + 1];
                    points.iter().any(|point| point.iter().zip(corner).all(|(&value, corner)| value >= corner as f64))
                };
                let cells = (0..5_usize.pow(objectives as u32)).filter(|&cell| inside(cell)).count();
                prop_assert_eq!(all, cells as f64);
            }
        }
    }
}
