//! How a quantity answers a push of either sign: in proportion while the push is small, and less when it is large.
//!
//! ```text
//! y = slope x + bend x |x|  over rows with |x| <= limit, by least squares without a constant
//! ```
//! Price impact against order flow is such a curve, and so is reward against pressure. Where the interval of the bend includes
//! 0, the rows do not contradict a linear law.

use crate::error::{finite, option, same_length};
use crate::stats::sum::sum;
use crate::{Bootstrap, Estimate, EvalError};

/// A fitted response.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Response {
    /// What a unit of a small push brings; `n` counts the rows inside the limit.
    pub slope: Estimate,
    /// What `x |x|` adds: of the other sign than the slope where the response saturates.
    pub bend: Estimate,
}

impl Response {
    /// Whether the whole interval of the bend has the other sign than the slope; false without an interval. O(1).
    pub fn saturates(&self) -> bool {
        let is_opposed = |limit: f64| limit * self.slope.value < 0.0;
        self.bend.interval.is_some_and(|interval| is_opposed(interval.low) && is_opposed(interval.high))
    }
}

/// Fits the response of `y` to `x` over the rows with `|x| <= limit` (infinity for all); intervals resample rows. Unbounded;
/// O(B n).
///
/// # Errors
/// When the lengths differ, a value is NaN or infinite, `limit` is not above 0, or fewer than two sizes of `x` other than 0
/// lie inside it.
pub fn response(x: &[f64], y: &[f64], limit: f64, bootstrap: &Bootstrap) -> Result<Response, EvalError> {
    finite("x", x)?;
    same_length("y", x.len(), y.len())?;
    finite("y", y)?;
    option("limit", "above 0", limit, limit > 0.0)?;
    let inside: Vec<(f64, f64)> = x.iter().copied().zip(y.iter().copied()).filter(|(x, _)| x.abs() <= limit).collect();
    let of =
        |part: usize| bootstrap.metric(inside.len(), |rows| Ok(fitted(rows.iter().map(|&row| inside[row]))?[part]));
    Ok(Response { slope: of(0)?, bend: of(1)? })
}

/// Slope and bend of some rows, by the normal equations.
fn fitted(rows: impl Iterator<Item = (f64, f64)> + Clone) -> Result<[f64; 2], EvalError> {
    let total = |of: fn(f64, f64) -> f64| sum(rows.clone().map(|(x, y)| of(x, y)));
    let (squares, cubes, fourths) = (total(|x, _| x * x), total(|x, _| x.abs().powi(3)), total(|x, _| x.powi(4)));
    let (by_x, by_bend) = (total(|x, y| x * y), total(|x, y| x * x.abs() * y));
    let determinant = squares * fourths - cubes * cubes;
    // It is 0 where all sizes are equal, but for rounding.
    if determinant <= 1e-12 * squares * fourths {
        let why = "it needs two sizes of x other than 0 inside the limit; raise the limit or collect more rows";
        return Err(EvalError::Degenerate { what: "a response", why });
    }
    let slope = (by_x * fourths - by_bend * cubes) / determinant;
    let bend = (by_bend * squares - by_x * cubes) / determinant;
    Ok([slope, bend])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// y = 3 x - x |x|, exactly.
    #[test]
    fn a_bent_line_is_found_again() {
        let x = [-2.0, -1.0, 0.0, 0.5, 1.0, 2.0];
        let y = x.map(|x: f64| 3.0 * x - x * x.abs());
        for limit in [1.0, f64::INFINITY] {
            let found = response(&x, &y, limit, &Bootstrap::NONE).unwrap();
            assert!((found.slope.value - 3.0).abs() < 1e-9 && (found.bend.value + 1.0).abs() < 1e-9, "{found:?}");
        }
        let inside = response(&x, &y, 1.0, &Bootstrap::NONE).unwrap();
        assert!(inside.slope.n == 4 && !inside.saturates());
    }

    #[test]
    fn a_bend_against_the_slope_is_a_saturation() {
        let saturates = |factor: f64, bend: f64| {
            // Deviations that belong to neither part.
            let x: Vec<f64> = (0..200).map(|row| f64::from(row % 20) / 10.0 - 0.95).collect();
            let off = |row: usize| if (row / 20).is_multiple_of(2) { 0.01 } else { -0.01 };
            let y: Vec<f64> =
                x.iter().enumerate().map(|(row, x)| factor * (x + bend * x * x.abs()) + off(row)).collect();
            response(&x, &y, f64::INFINITY, &Bootstrap { resamples: 500, ..Bootstrap::NONE }).unwrap().saturates()
        };
        assert!(saturates(1.0, -0.3) && saturates(-1.0, -0.3));
        assert!(!saturates(1.0, 0.3) && !saturates(-1.0, 0.3));
    }

    #[test]
    fn bad_input_is_refused() {
        let run = |x: &[f64], y: &[f64], limit: f64| response(x, y, limit, &Bootstrap::NONE);
        assert!(matches!(run(&[1.0, -1.0, 0.0], &[1.0; 3], 9.0), Err(EvalError::Degenerate { .. })));
        assert!(matches!(run(&[1.0, 2.0], &[1.0; 2], 1.5), Err(EvalError::Degenerate { .. })));
        assert!(run(&[1.0], &[1.0; 2], 1.0).is_err() && run(&[], &[], 1.0).is_err());
        assert!(run(&[1.0, 2.0], &[1.0; 2], 0.0).is_err() && run(&[f64::NAN, 2.0], &[1.0; 2], 9.0).is_err());
    }
}
