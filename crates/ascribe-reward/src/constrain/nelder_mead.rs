//! The simplex search that adapts thresholds within one run: J. A. Nelder and R. Mead, The Computer Journal 7, 1965; with
//! the settings of arXiv:2310.04373's code: reflection 1, expansion 2, contraction 1/2, shrinking 1/2.
//!
//! The value of a point is an outside metric of a policy that is trained for a while under these thresholds, so points are
//! asked for one at a time: [`NelderMead::wanted`] names the point, [`NelderMead::tell`] takes its value. The largest is sought.

use crate::RewardError;
use crate::error::{finite, option};

/// Points with their values.
#[derive(Clone, Debug, PartialEq)]
pub struct Simplex {
    /// Points, best first.
    pub points: Vec<Vec<f64>>,
    /// Their values, falling.
    pub values: Vec<f64>,
}

/// What the value that comes next is for.
#[derive(Clone, Debug, PartialEq)]
enum Stage {
    /// A corner of the first simplex.
    Corner,
    /// The worst corner mirrored at the middle of the others.
    Reflected,
    /// Twice as far, given the reflected point and its value.
    Expanded(Vec<f64>, f64),
    /// Half way to the middle.
    Contracted,
    /// A corner drawn towards the best.
    Shrunk(usize),
}

/// A search for the point of the largest value.
#[derive(Clone, Debug, PartialEq)]
pub struct NelderMead {
    simplex: Simplex,
    open: Vec<Vec<f64>>,
    stage: Stage,
    tolerance: f64,
    iterations: usize,
}

impl NelderMead {
    /// A search that starts with the simplex of `start` and one more corner a coordinate, `step` away. It ends when the
    /// values of the corners differ by less than `tolerance`, or after `iterations` (0.01 and 10 in the code).
    ///
    /// # Errors
    /// When there is no coordinate, one is NaN or infinite, or `step` or `tolerance` is not finite and above 0.
    pub fn new(start: &[f64], step: f64, tolerance: f64, iterations: usize) -> Result<Self, RewardError> {
        finite("the start", start)?;
        option("step", "finite and above 0", step, 0.0 < step && step.is_finite())?;
        option("tolerance", "finite and above 0", tolerance, 0.0 < tolerance && tolerance.is_finite())?;
        let mut open = vec![start.to_vec()];
        for at in 0..start.len() {
            let mut corner = start.to_vec();
            corner[at] += step;
            open.push(corner);
        }
        // Taken from the end.
        open.reverse();
        let simplex = Simplex { points: Vec::new(), values: Vec::new() };
        Ok(Self { simplex, open, stage: Stage::Corner, tolerance, iterations })
    }

    /// The point whose value is wanted; `None` when the search is over.
    pub fn wanted(&self) -> Option<&[f64]> {
        self.open.last().map(Vec::as_slice)
    }

    /// The corners so far, best first.
    pub fn simplex(&self) -> &Simplex {
        &self.simplex
    }

    /// Takes the value of the point that was asked for.
    ///
    /// # Errors
    /// When no point was asked for, or the value is NaN or infinite.
    pub fn tell(&mut self, value: f64) -> Result<(), RewardError> {
        option("the value of a point", "finite", value, value.is_finite())?;
        let Some(point) = self.open.pop() else {
            let rule = "a value belongs to a point that was asked for; ask `wanted` first";
            return Err(RewardError::Shape { rule, got: "one after the end of the search".to_owned() });
        };
        let last = self.simplex.values.len().saturating_sub(1);
        match std::mem::replace(&mut self.stage, Stage::Corner) {
            Stage::Corner => {
                self.insert(point, value);
                if self.open.is_empty() {
                    self.reflect();
                }
            }
            Stage::Reflected if value > self.simplex.values[0] => {
                let middle = self.middle();
                self.open.push(along(&middle, &point, 2.0));
                self.stage = Stage::Expanded(point, value);
            }
            Stage::Reflected if value > self.simplex.values[last.saturating_sub(1)] => self.replace(point, value),
            Stage::Reflected => {
                let middle = self.middle();
                self.open.push(along(&middle, &self.simplex.points[last], 0.5));
                self.stage = Stage::Contracted;
            }
            Stage::Expanded(_, reflected) if value > reflected => self.replace(point, value),
            Stage::Expanded(point, value) => self.replace(point, value),
            Stage::Contracted if value > self.simplex.values[last] => self.replace(point, value),
            Stage::Contracted => {
                let best = self.simplex.points[0].clone();
                self.open = self.simplex.points[1..].iter().map(|corner| along(&best, corner, 0.5)).collect();
                self.simplex.points.truncate(1);
                self.simplex.values.truncate(1);
                self.stage = Stage::Shrunk(self.open.len());
            }
            Stage::Shrunk(left) => {
                self.insert(point, value);
                self.stage = Stage::Shrunk(left - 1);
                if left == 1 {
                    self.reflect();
                }
            }
        }
        Ok(())
    }

    fn insert(&mut self, point: Vec<f64>, value: f64) {
        let at = self.simplex.values.iter().position(|other| value > *other).unwrap_or(self.simplex.values.len());
        self.simplex.points.insert(at, point);
        self.simplex.values.insert(at, value);
    }

    fn replace(&mut self, point: Vec<f64>, value: f64) {
        self.simplex.points.pop();
        self.simplex.values.pop();
        self.insert(point, value);
        self.reflect();
    }

    /// Begins the next round, or ends the search.
    fn reflect(&mut self) {
        let last = self.simplex.values.len() - 1;
        if self.iterations == 0 || self.simplex.values[0] - self.simplex.values[last] < self.tolerance {
            return;
        }
        self.iterations -= 1;
        let middle = self.middle();
        self.open.push(along(&middle, &self.simplex.points[last], -1.0));
        self.stage = Stage::Reflected;
    }

    /// The mean of all corners but the worst.
    fn middle(&self) -> Vec<f64> {
        let others = &self.simplex.points[..self.simplex.points.len() - 1];
        let width = self.simplex.points[0].len();
        (0..width).map(|at| others.iter().map(|point| point[at]).sum::<f64>() / others.len() as f64).collect()
    }
}

/// `from + share (to - from)`.
fn along(from: &[f64], to: &[f64], share: f64) -> Vec<f64> {
    from.iter().zip(to).map(|(from, to)| from + share * (to - from)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(start: &[f64], iterations: usize, value: impl Fn(&[f64]) -> f64) -> Simplex {
        let mut search = NelderMead::new(start, 0.5, 1e-9, iterations).unwrap();
        while let Some(point) = search.wanted() {
            let value = value(point);
            search.tell(value).unwrap();
        }
        search.simplex().clone()
    }

    #[test]
    fn the_peak_of_a_hill_is_found() {
        let hill = |x: &[f64]| -(x[0] - 1.0).powi(2) - 2.0 * (x[1] + 0.5).powi(2);
        let simplex = run(&[0.0, 0.0], 200, hill);
        assert!((simplex.points[0][0] - 1.0).abs() < 1e-3 && (simplex.points[0][1] + 0.5).abs() < 1e-3, "{simplex:?}");
        assert!(simplex.values.windows(2).all(|pair| pair[0] >= pair[1]));
    }

    /// On a line with f(x) = -|x - 2| from 0 and 0.5: reflecting 0 at 0.5 gives 1, expanding gives 1.5, which is better.
    #[test]
    fn one_round_by_hand() {
        let simplex = run(&[0.0], 1, |x| -(x[0] - 2.0).abs());
        assert_eq!(simplex.points, [[1.5], [0.5]]);
    }

    #[test]
    fn a_flat_metric_ends_the_search() {
        assert_eq!(run(&[0.0, 0.0], 10, |_| 1.0).values, [1.0; 3]);
        let mut over = NelderMead::new(&[0.0], 0.5, 0.1, 0).unwrap();
        over.tell(1.0).unwrap();
        over.tell(2.0).unwrap();
        assert!(over.wanted().is_none() && over.tell(1.0).is_err());
        assert!(NelderMead::new(&[], 0.5, 0.1, 1).is_err() && NelderMead::new(&[0.0], f64::NAN, 0.1, 1).is_err());
        assert!(NelderMead::new(&[0.0], 0.5, 0.1, 1).unwrap().tell(f64::NAN).is_err());
    }
}
