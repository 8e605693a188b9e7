//! How much sooner a method reaches a target.
//!
//! ```text
//! steps to a target = first x with y >= target (or inside the bracket, on its line);  ratio = baseline's steps/method's
//! compute multiplier at accuracy a = x_base(a)/x_method(a), on upper staircases, over the common range of accuracy
//! ```
//! A target that is never reached is censored at the last x: a censored baseline gives a lower bound, a censored
//! method no
//! ratio.

use crate::error::{finite, not_empty, option, same_length, within};
use crate::stats::sum::sum;
use crate::{Bootstrap, Estimate, EvalError};

/// When a target was reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reached {
    /// At this x.
    At(f64),
    /// Not up to this x.
    Censored(f64),
}

/// How x is read at the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reading {
    /// The first point at or above it.
    #[default]
    Point,
    /// On the line from the point before.
    Interpolated,
}

fn checked(x: &[f64], y: &[f64]) -> Result<(), EvalError> {
    within("x", x, "above 0", |x| x > 0.0)?;
    same_length("y", x.len(), y.len())?;
    finite("y", y)?;
    match x.windows(2).position(|pair| pair[0] >= pair[1]) {
        Some(index) => {
            Err(EvalError::OutOfRange { what: "x", rule: "above the x before it", index: index + 1, got: x[index + 1] })
        }
        None => Ok(()),
    }
}

/// The first x at which `y` reaches `target` and stays there for `sustained` further points. Above 0; exactly `target`
/// counts as reached; O(n sustained).
///
/// # Errors
/// When the lengths differ, there is no point, a value is NaN or infinite, or `x` does not rise from above 0.
pub fn steps_to(x: &[f64], y: &[f64], target: f64, sustained: usize, reading: Reading) -> Result<Reached, EvalError> {
    option("target", "finite", target, target.is_finite())?;
    checked(x, y)?;
    let holds = |point: usize| {
        let end = point.saturating_add(sustained);
        end < y.len() && y[point..=end].iter().all(|&y| y >= target)
    };
    Ok(match (0..y.len()).find(|&point| holds(point)) {
        None => Reached::Censored(x[x.len() - 1]),
        Some(point) if point > 0 && reading == Reading::Interpolated && y[point - 1] < target => {
            let share = (target - y[point - 1]) / (y[point] - y[point - 1]);
            Reached::At(x[point - 1] + share * (x[point] - x[point - 1]))
        }
        Some(point) => Reached::At(x[point]),
    })
}

/// How many times sooner a method reaches a target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ratio {
    /// This many times.
    Exact(f64),
    /// At least this many times: the baseline never does.
    AtLeast(f64),
    /// The method never does.
    None,
}

/// The ratio of two readings. Above 0; O(1).
pub fn efficiency_ratio(baseline: Reached, method: Reached) -> Ratio {
    match (baseline, method) {
        (_, Reached::Censored(_)) => Ratio::None,
        (Reached::At(baseline), Reached::At(method)) => Ratio::Exact(baseline / method),
        (Reached::Censored(baseline), Reached::At(method)) => Ratio::AtLeast(baseline / method),
    }
}

/// The median over seeds of when a target was reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MedianSteps {
    /// The median; censored itself when half of the seeds or more are.
    pub median: Reached,
    /// Percentile limits over resampled seeds, either of which may be censored; `None` for one seed or without resamples.
    pub limits: Option<[Reached; 2]>,
    /// The level of the limits.
    pub level: f64,
    /// Number of seeds.
    pub n: usize,
    /// Seeds that never reached the target.
    pub censored: usize,
}

/// The median over seeds, censored ones counting as later than any. Above 0; the limits resample seeds and are percentiles
/// whatever the method of the bootstrap is, since nothing can be reflected at a time that is not known. O(B n log n).
///
/// # Errors
/// When there is no seed, or a setting of the bootstrap is out of range.
pub fn median_steps(seeds: &[Reached], bootstrap: &Bootstrap) -> Result<MedianSteps, EvalError> {
    not_empty("the seeds", seeds)?;
    let times: Vec<f64> = seeds.iter().map(|seed| if let Reached::At(x) = *seed { x } else { f64::INFINITY }).collect();
    let median = |drawn: &[usize]| {
        let mut times: Vec<f64> = drawn.iter().map(|&seed| times[seed]).collect();
        times.sort_by(f64::total_cmp);
        0.5 * (times[(times.len() - 1) / 2] + times[times.len() / 2])
    };
    let last = seeds.iter().map(|seed| match *seed {
        Reached::At(x) | Reached::Censored(x) => x,
    });
    let last = last.fold(0.0, f64::max);
    // Between two times that are not known a quantile is NaN.
    let reached = |time: f64| if time.is_finite() { Reached::At(time) } else { Reached::Censored(last) };
    let limits = bootstrap.limits(seeds.len(), median)?;
    Ok(MedianSteps {
        median: reached(median(&(0..seeds.len()).collect::<Vec<_>>())),
        limits: limits.map(|limits| limits.map(reached)),
        level: bootstrap.level,
        n: seeds.len(),
        censored: times.iter().filter(|time| time.is_infinite()).count(),
    })
}

/// The area under a curve by trapezoids on ln x, over the width: a mean y. Between the smallest and the largest y;
/// O(n).
///
/// # Errors
/// As [`steps_to`], and for fewer than two points.
pub fn log_area(x: &[f64], y: &[f64]) -> Result<f64, EvalError> {
    checked(x, y)?;
    option("points", "at least 2", x.len() as f64, x.len() >= 2)?;
    let parts = x.windows(2).zip(y.windows(2)).map(|(x, y)| 0.5 * (y[0] + y[1]) * (x[1] / x[0]).ln());
    Ok(sum(parts) / (x[x.len() - 1] / x[0]).ln())
}

/// The mean over seeds of the last y of each curve; the interval resamples seeds. In the range of y; O(B seeds).
///
/// # Errors
/// When there is no curve, one is empty, or a value is NaN or infinite.
pub fn final_performance(curves: &[Vec<f64>], bootstrap: &Bootstrap) -> Result<Estimate, EvalError> {
    let mut last = Vec::with_capacity(curves.len());
    for curve in curves {
        finite("a curve", curve)?;
        last.push(curve[curve.len() - 1]);
    }
    bootstrap.mean(&last)
}

/// The smallest and the largest compute multiplier of a method over the accuracies that both reach, and at which.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Multiplier {
    /// Smallest `x_base/x_method`.
    pub min: f64,
    /// Largest.
    pub max: f64,
    /// The accuracies compared, lowest and highest.
    pub range: (f64, f64),
}

/// Compares two curves of accuracy over compute (tokens, or FLOPs) by their upper staircases. Above 0; an accuracy is
/// reached where y is at least as high; O(n^2).
///
/// # Errors
/// As [`steps_to`], and when no accuracy is reached by both.
pub fn compute_multiplier(baseline: (&[f64], &[f64]), method: (&[f64], &[f64])) -> Result<Multiplier, EvalError> {
    checked(baseline.0, baseline.1)?;
    checked(method.0, method.1)?;
    let top = |y: &[f64]| y.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let low = baseline.1[0].max(method.1[0]);
    let high = top(baseline.1).min(top(method.1));
    let first = |(x, y): (&[f64], &[f64]), level: f64| y.iter().position(|&y| y >= level).map(|point| x[point]);
    let levels = baseline.1.iter().chain(method.1).copied().filter(|level| (low..=high).contains(level));
    let ratios: Vec<f64> = levels.filter_map(|level| Some(first(baseline, level)? / first(method, level)?)).collect();
    if ratios.is_empty() {
        return Err(EvalError::Degenerate {
            what: "a compute multiplier",
            why: "no accuracy is reached by both curves",
        });
    }
    let (min, max) = (ratios.iter().copied().fold(f64::INFINITY, f64::min), ratios.iter().copied().fold(0.0, f64::max));
    Ok(Multiplier { min, max, range: (low, high) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: [f64; 4] = [1.0, 2.0, 4.0, 8.0];

    #[test]
    fn targets_are_reached_held_or_censored() {
        let y = [0.1, 0.6, 0.4, 0.8];
        let steps = |target, sustained, reading| steps_to(&X, &y, target, sustained, reading).unwrap();
        assert_eq!(steps(0.5, 0, Reading::Point), Reached::At(2.0));
        assert_eq!(steps(0.35, 0, Reading::Interpolated), Reached::At(1.5));
        assert_eq!(steps(0.5, 1, Reading::Point), Reached::Censored(8.0));
        assert_eq!(steps(0.4, 2, Reading::Point), Reached::At(2.0));
        assert_eq!(steps(0.9, 0, Reading::Point), Reached::Censored(8.0));
    }

    #[test]
    fn ratios_know_what_is_censored() {
        let (at, never) = (Reached::At, Reached::Censored);
        assert_eq!(efficiency_ratio(at(8.0), at(2.0)), Ratio::Exact(4.0));
        assert_eq!(efficiency_ratio(never(8.0), at(2.0)), Ratio::AtLeast(4.0));
        assert_eq!(efficiency_ratio(at(8.0), never(2.0)), Ratio::None);
        assert!((log_area(&X, &[1.0, 1.0, 1.0, 1.0]).unwrap() - 1.0).abs() < 1e-12);
        assert_eq!(final_performance(&[vec![0.0, 1.0], vec![0.5]], &Bootstrap::NONE).unwrap().value, 0.75);
    }

    #[test]
    fn medians_over_seeds_have_limits_that_may_be_censored() {
        let (at, never) = (Reached::At, Reached::Censored);
        let median = |seeds: &[Reached]| median_steps(seeds, &Bootstrap::default()).unwrap();
        let three = median(&[at(1.0), never(9.0), at(3.0)]);
        assert_eq!((three.median, three.n, three.censored), (at(3.0), 3, 1));
        // A median of three draws is the smallest time with chance 7/27, and the censored one with the same.
        assert_eq!(three.limits, Some([at(1.0), never(9.0)]));
        assert_eq!(median(&[at(1.0), never(9.0)]).median, never(9.0));
        // All draws of two are equal with chance 1/4 each: the limits are the two times.
        let two = median(&[at(2.0), at(4.0)]);
        assert_eq!((two.median, two.limits, two.level), (at(3.0), Some([at(2.0), at(4.0)]), 0.95));
        assert_eq!(median(&[never(9.0), never(7.0)]).limits, Some([never(9.0); 2]));
        assert_eq!(median(&[at(1.0)]).limits, None);
        assert_eq!(median_steps(&[at(1.0), at(2.0)], &Bootstrap::NONE).unwrap().limits, None);
    }

    /// The same curve gives 1; with its x doubled, 2.
    #[test]
    fn multipliers_follow_the_scale_of_compute() {
        let y = [0.1, 0.6, 0.4, 0.8];
        let same = compute_multiplier((&X, &y), (&X, &y)).unwrap();
        assert_eq!((same.min, same.max), (1.0, 1.0));
        let slow = X.map(|x| 2.0 * x);
        let twice = compute_multiplier((&slow, &y), (&X, &y)).unwrap();
        assert_eq!((twice.min, twice.max, twice.range), (2.0, 2.0, (0.1, 0.8)));
        let apart = compute_multiplier((&X, &[0.1; 4]), (&X, &[0.9; 4]));
        assert!(matches!(apart, Err(EvalError::Degenerate { .. })));
    }

    #[test]
    fn bad_input_is_refused() {
        let steps = |x: &[f64], y: &[f64]| steps_to(x, y, 0.5, 0, Reading::Point);
        assert!(matches!(steps(&[], &[]), Err(EvalError::Empty { .. })));
        assert!(matches!(steps(&[2.0, 1.0], &[0.0, 1.0]), Err(EvalError::OutOfRange { index: 1, .. })));
        assert!(matches!(steps(&[0.0], &[0.0]), Err(EvalError::OutOfRange { .. })));
        assert!(matches!(steps(&[1.0], &[f64::NAN]), Err(EvalError::NotFinite { .. })));
        assert!(median_steps(&[], &Bootstrap::NONE).is_err() && log_area(&[1.0], &[1.0]).is_err());
    }
}
