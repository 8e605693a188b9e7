//! Linear programs of some hundred unknowns: the simplex method on a dense table.

use crate::EvalError;

/// Most steps from corner to corner.
const STEPS: usize = 20_000;

/// What counts as 0 beside entries near 1.
const CLOSE: f64 = 1e-9;

/// Limits are moved apart by about this much while corners are chosen, so that none is visited twice; the point itself is
/// read from the limits as they are.
const APART: f64 = 1e-6;

/// The `x >= 0` that makes `objective x` largest under `rows x <= limits`. No limit is below 0, so `x = 0` is a start.
/// O(steps rows (rows + unknowns)).
///
/// # Errors
/// When the objective grows without bound, or no best corner is found in 20,000 steps.
pub(crate) fn maximise(objective: &[f64], rows: &[Vec<f64>], limits: &[f64]) -> Result<Vec<f64>, EvalError> {
    let (n, m) = (objective.len(), rows.len());
    let width = n + m;
    let line = |(at, (row, &limit)): (usize, (&Vec<f64>, &f64))| {
        let mut line = row.clone();
        line.extend((0..m).map(|slack| f64::from(u8::from(slack == at))));
        // The golden ratio's multiples fall apart evenly.
        let apart = APART * (1.0 + (0.618_033_988_749_894_9 * (at + 1) as f64).fract());
        line.extend([limit + apart, limit]);
        line
    };
    let mut table: Vec<Vec<f64>> = rows.iter().zip(limits).enumerate().map(line).collect(); // [m, width + 2]
    let mut losses: Vec<f64> = objective.iter().map(|gain| -gain).collect();
    losses.resize(width + 2, 0.0);
    let mut basis: Vec<usize> = (n..width).collect();
    let degenerate = |why| EvalError::Degenerate { what: "the linear program", why };
    for _ in 0..STEPS {
        let enter = (0..width).fold(0, |least, at| if losses[at] < losses[least] { at } else { least });
        if losses[enter] >= -CLOSE {
            let mut x = vec![0.0; width];
            table.iter().zip(&basis).for_each(|(line, &at)| x[at] = line[width + 1].max(0.0));
            x.truncate(n);
            return Ok(x);
        }
        let reaches = |line: &Vec<f64>| (line[enter] > CLOSE).then(|| line[width] / line[enter]);
        let reached = table.iter().enumerate().filter_map(|(at, line)| Some((at, reaches(line)?)));
        let Some((leave, _)) = reached.min_by(|one, other| one.1.total_cmp(&other.1)) else {
            return Err(degenerate("it grows without bound"));
        };
        let pivot = table[leave][enter];
        table[leave].iter_mut().for_each(|entry| *entry /= pivot);
        let line = table[leave].clone();
        for (at, other) in table.iter_mut().enumerate() {
            if at != leave {
                eliminate(other, &line, enter);
            }
        }
        eliminate(&mut losses, &line, enter);
        basis[leave] = enter;
    }
    Err(degenerate("no best corner was found in 20000 steps; make the tables smaller"))
}

/// Takes from `row` so much of `line` that its entry in `column` is 0.
fn eliminate(row: &mut [f64], line: &[f64], column: usize) {
    let factor = row[column];
    if factor != 0.0 {
        row.iter_mut().zip(line).for_each(|(entry, other)| *entry -= factor * other);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 3x + 5y under x <= 4, 2y <= 12, 3x + 2y <= 18: at (2, 6).
    #[test]
    fn a_corner_by_hand() {
        let x = maximise(&[3.0, 5.0], &[vec![1.0, 0.0], vec![0.0, 2.0], vec![3.0, 2.0]], &[4.0, 12.0, 18.0]).unwrap();
        assert!((x[0] - 2.0).abs() < 1e-9 && (x[1] - 6.0).abs() < 1e-9, "{x:?}");
    }

    /// The example of E. M. L. Beale, on which the simplex method goes round in circles without care: 1/20.
    #[test]
    fn limits_of_zero_end() {
        let objective = [0.75, -150.0, 0.02, -6.0];
        let rows = [vec![0.25, -60.0, -0.04, 9.0], vec![0.5, -90.0, -0.02, 3.0], vec![0.0, 0.0, 1.0, 0.0]];
        let x = maximise(&objective, &rows, &[0.0, 0.0, 1.0]).unwrap();
        let value: f64 = x.iter().zip(objective).map(|(x, gain)| x * gain).sum();
        assert!((value - 0.05).abs() < 1e-9, "{x:?}");
    }

    #[test]
    fn what_has_no_bound_is_refused() {
        let error = maximise(&[1.0], &[vec![-1.0]], &[1.0]).unwrap_err();
        assert!(error.to_string().contains("without bound"), "{error}");
        // Nothing is gained by anything.
        assert_eq!(maximise(&[-1.0], &[vec![-1.0]], &[1.0]).unwrap(), [0.0]);
    }

    proptest! {
        /// Two unknowns: no crossing of two limits that keeps the others is better.
        #[test]
        fn no_corner_of_two_unknowns_is_better(
            objective in prop::array::uniform2(-2.0..2.0_f64),
            rows in prop::collection::vec((0.1..2.0_f64, 0.1..2.0_f64, 0.5..3.0_f64), 2..5),
        ) {
            let sides: Vec<Vec<f64>> = rows.iter().map(|row| vec![row.0, row.1]).collect();
            let limits: Vec<f64> = rows.iter().map(|row| row.2).collect();
            let value = |x: &[f64]| objective[0] * x[0] + objective[1] * x[1];
            let keeps = |x: &[f64]| {
                let inside = sides.iter().zip(&limits).all(|(row, limit)| row[0] * x[0] + row[1] * x[1] <= limit + 1e-7);
                inside && x[0] >= -1e-7 && x[1] >= -1e-7
            };
            let got = maximise(&objective, &sides, &limits).unwrap();
            prop_assert!(keeps(&got), "{got:?}");
            // Both axes are limits too.
            let mut lines: Vec<[f64; 3]> = rows.iter().map(|row| [row.0, row.1, row.2]).collect();
            lines.extend([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]);
            for a in &lines {
                for b in &lines {
                    let minor = |one: usize, other: usize| a[one] * b[other] - a[other] * b[one];
                    if minor(0, 1).abs() > 1e-6 {
                        let corner = [minor(2, 1) / minor(0, 1), minor(0, 2) / minor(0, 1)];
                        prop_assert!(!keeps(&corner) || value(&corner) <= value(&got) + 1e-5, "{corner:?} {got:?}");
                    }
                }
            }
        }
    }
}
