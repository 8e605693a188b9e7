//! Axes: the range that is shown, and round tick positions on it.

use super::text::{number, scientific, signed};

/// How an axis is spaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spacing {
    /// Equal distances are equal differences.
    #[default]
    Linear,
    /// Equal distances are equal ratios; only values above 0 have a place.
    Log10,
}

/// A range with labelled ticks.
pub(super) struct Axis {
    spacing: Spacing,
    low: f64,
    high: f64,
    pub(super) ticks: Vec<(f64, String)>,
}

impl Axis {
    /// An axis over all finite `values`, widened by `margin` of its length at both ends, with about `intervals` ticks;
    /// `None` when no value can be shown.
    pub(super) fn over(
        values: impl Iterator<Item = f64>,
        spacing: Spacing,
        margin: f64,
        intervals: usize,
    ) -> Option<Self> {
        let scaled = values.filter(|value| placed(spacing, *value)).map(|value| scale(spacing, value));
        let (low, high) =
            scaled.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        let (low, high) = if low <= high { widened(low, high) } else { return None };
        let (low, high) = (low - margin * (high - low), high + margin * (high - low));
        let ticks = match spacing {
            Spacing::Linear => linear_ticks(low, high, intervals),
            Spacing::Log10 => log_ticks(low, high, intervals),
        };
        Some(Self { spacing, low, high, ticks })
    }

    /// Length of the range, in decades on a logarithmic axis.
    pub(super) fn length(&self) -> f64 {
        self.high - self.low
    }

    /// Place of `value` on the axis: 0 is its start, 1 its end.
    pub(super) fn at(&self, value: f64) -> f64 {
        (scale(self.spacing, value) - self.low) / (self.high - self.low)
    }
}

/// Whether `value` has a place on an axis: it is finite (and small enough that a range is finite too), and above 0 on a
/// logarithmic one.
pub(super) fn placed(spacing: Spacing, value: f64) -> bool {
    value.abs() < 1e300 && (spacing == Spacing::Linear || value > 0.0)
}

fn scale(spacing: Spacing, value: f64) -> f64 {
    match spacing {
        Spacing::Linear => value,
        Spacing::Log10 => value.log10(),
    }
}

/// The range itself, or one around it where it is too short to be divided.
fn widened(low: f64, high: f64) -> (f64, f64) {
    let size = low.abs().max(high.abs());
    if high - low > 1e-9 * size && high - low > 1e-290 {
        return (low, high);
    }
    let around = if size > 1e-290 { 0.1 * size } else { 1.0 };
    (low - around, high + around)
}

/// Multiples of a round step (1, 2 or 5 times a power of ten) inside the range, at most `intervals + 1` of them.
fn linear_ticks(low: f64, high: f64, intervals: usize) -> Vec<(f64, String)> {
    let wanted = (high - low) / intervals.max(1) as f64;
    let mut exponent = wanted.log10().floor() as i32;
    let ladder = [1.0, 2.0, 5.0];
    // The slack keeps 0.2 from becoming 0.5 because the division gave 0.2000...01.
    let mantissa = ladder.into_iter().find(|mantissa| times_ten(*mantissa, exponent) >= wanted * (1.0 - 1e-9));
    let mantissa = mantissa.unwrap_or_else(|| {
        exponent += 1;
        1.0
    });
    let step = times_ten(mantissa, exponent);
    let slack = 1e-9 * (high - low) / step;
    let (first, last) = ((low / step - slack).ceil(), (high / step + slack).floor());
    let inside = (0..=2 * intervals).map(|at| first + at as f64).take_while(|multiple| *multiple <= last);
    let values: Vec<f64> = inside.map(|multiple| times_ten(multiple * mantissa, exponent)).collect();
    let largest = values.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    values.into_iter().map(|value| (value, tick_label(value, largest, exponent))).collect()
}

/// Powers of ten between `10^low` and `10^high`, with 2 and 5 times them where there is room, and linear ticks where the
/// range is too short for those.
fn log_ticks(low: f64, high: f64, intervals: usize) -> Vec<(f64, String)> {
    let (first, last) = (low.floor() as i32, high.ceil() as i32);
    let among = |mantissas: &[f64], stride: usize| -> Vec<(f64, String)> {
        (first..=last)
            .step_by(stride)
            .flat_map(|exponent| mantissas.iter().map(move |mantissa| times_ten(*mantissa, exponent)))
            .filter(|value| (low..=high).contains(&value.log10()))
            .map(|value| (value, compact(value)))
            .collect()
    };
    let fine = among(&[1.0, 2.0, 5.0], 1);
    if fine.len() < 3 {
        return linear_ticks(10f64.powf(low), 10f64.powf(high), intervals);
    }
    let decades = among(&[1.0], 1);
    if fine.len() <= intervals + 1 || decades.len() < 2 {
        return fine;
    }
    among(&[1.0], decades.len().div_ceil(intervals + 1).max(1))
}

/// `value * 10^exponent`, dividing for negative exponents, so that 6 at -1 is the number closest to 0.6.
fn times_ten(value: f64, exponent: i32) -> f64 {
    if exponent < 0 { value / 10f64.powi(-exponent) } else { value * 10f64.powi(exponent) }
}

const UNITS: [(i32, &str); 3] = [(9, "G"), (6, "M"), (3, "k")];

/// A tick with as many decimals as the step needs; all ticks of an axis share the unit of the largest.
fn tick_label(value: f64, largest: f64, step_exponent: i32) -> String {
    let size = value.abs();
    if size == 0.0 {
        return "0".into();
    }
    let digits = if largest >= 1e12 || step_exponent < -4 {
        let decimals = (size.log10().floor() as i32 - step_exponent).clamp(0, 12) as usize;
        scientific(size, decimals)
    } else {
        let unit = UNITS.into_iter().find(|(exponent, _)| largest >= 1e4 && largest >= 10f64.powi(*exponent));
        let (exponent, suffix) = unit.unwrap_or((0, ""));
        let decimals = (exponent - step_exponent).max(0) as usize;
        format!("{:.decimals$}{suffix}", size / 10f64.powi(exponent))
    };
    signed(value, digits)
}

/// One number by itself in short form: `200`, `1k`, `2.5M`, `0.01`.
fn compact(value: f64) -> String {
    let unit = UNITS.into_iter().find(|(exponent, _)| (10f64.powi(*exponent)..1e12).contains(&value));
    match unit {
        Some((exponent, suffix)) => format!("{}{suffix}", number(value / 10f64.powi(exponent))),
        None => number(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: Vec<(f64, String)>) -> Vec<String> {
        ticks.into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn linear_ticks_are_round() {
        // 1 / 5 = 0.2 stands on the ladder; 10 / 5 = 2 too; 0.07 / 4 = 0.0175 goes up to 0.02.
        let values = |low, high, n| linear_ticks(low, high, n).into_iter().map(|(value, _)| value).collect::<Vec<_>>();
        assert_eq!(values(0.0, 1.0, 5), [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        assert_eq!(values(-3.0, 7.0, 5), [-2.0, 0.0, 2.0, 4.0, 6.0]);
        assert_eq!(values(0.41, 0.48, 4), [0.42, 0.44, 0.46, 0.48]);
    }

    #[test]
    fn tick_labels_share_unit_and_decimals() {
        assert_eq!(labels(linear_ticks(0.0, 1.0, 2)), ["0", "0.5", "1.0"]);
        assert_eq!(labels(linear_ticks(-1.0, 1.0, 2)), ["\u{2212}1", "0", "1"]);
        assert_eq!(labels(linear_ticks(0.0, 2000.0, 4)), ["0", "500", "1000", "1500", "2000"]);
        assert_eq!(labels(linear_ticks(0.0, 60_000.0, 3)), ["0", "20k", "40k", "60k"]);
        assert_eq!(labels(linear_ticks(0.0, 2e6, 4)), ["0", "0.5M", "1.0M", "1.5M", "2.0M"]);
        assert_eq!(labels(linear_ticks(0.0, 2e-5, 2)), ["0", "1e\u{2212}5", "2e\u{2212}5"]);
    }

    #[test]
    fn log_ticks_are_decades_or_one_two_five() {
        assert_eq!(labels(log_ticks(2.0, 4.0, 8)), ["100", "200", "500", "1k", "2k", "5k", "10k"]);
        assert_eq!(labels(log_ticks(2.0, 6.0, 6)), ["100", "1k", "10k", "100k", "1M"]);
        assert_eq!(labels(log_ticks(0.0, 8.0, 4)), ["1", "100", "10k", "1M", "100M"]);
        // 10^3 to 10^3.08 is 1000 to 1202: no two of 1, 2, 5 lie there.
        assert_eq!(labels(log_ticks(3.0, 3.08, 4)), ["1000", "1100", "1200"]);
    }

    #[test]
    fn places_run_from_zero_to_one() {
        let axis = Axis::over([2.0, f64::NAN, 6.0].into_iter(), Spacing::Linear, 0.0, 4).unwrap();
        assert_eq!([axis.at(2.0), axis.at(3.0), axis.at(6.0)], [0.0, 0.25, 1.0]);
        let axis = Axis::over([1.0, 0.0, -5.0, 100.0].into_iter(), Spacing::Log10, 0.0, 4).unwrap();
        assert_eq!([axis.at(1.0), axis.at(10.0), axis.at(100.0)], [0.0, 0.5, 1.0]);
        assert!(Axis::over([f64::NAN, f64::INFINITY].into_iter(), Spacing::Linear, 0.0, 4).is_none());
        assert!(Axis::over([0.0].into_iter(), Spacing::Log10, 0.0, 4).is_none());
    }

    #[test]
    fn a_constant_stands_in_the_middle() {
        for value in [0.0, 3.0, -7.0, 1e15, 1e-300] {
            let axis = Axis::over([value, value].into_iter(), Spacing::Linear, 0.05, 4).unwrap();
            assert!((axis.at(value) - 0.5).abs() < 1e-6, "{value}");
            assert!(axis.ticks.len() > 1, "{value}");
        }
    }
}
