//! What every scalar metric returns, and the seam through which a metric is called.

use std::fmt::{Display, Formatter, Result as FmtResult};

use serde::Serialize;

use crate::{Bootstrap, EvalError};

/// A measured value with its count and, where one is known, its confidence interval.
///
/// Printed as `0.734 [0.694, 0.771] (n = 500)`; a precision (`{:.2}`) and a sign (`{:+}`) apply to all three numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The value, as a fraction or in natural units, never in percent.
    pub value: f64,
    /// The confidence interval; absent when the records cannot give one.
    pub interval: Option<Interval>,
    /// Number of records that formed the value.
    pub n: usize,
}

/// A mean over subsets (prompts, responses, problems) of which some do not define the quantity.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Averaged {
    /// The mean over the subsets that define it; `n` counts those.
    pub mean: Estimate,
    /// Subsets that do not, and that are no part of the mean.
    pub skipped: usize,
}

/// A two-sided confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// Lower limit.
    pub low: f64,
    /// Upper limit.
    pub high: f64,
    /// Confidence level, such as 0.95.
    pub level: f64,
    /// How the limits were found, such as `Wilson`.
    pub method: &'static str,
}

impl Estimate {
    /// Whether there is an interval and `value` lies outside it. A limit itself is not excluded. O(1).
    pub fn excludes(&self, value: f64) -> bool {
        self.interval.is_some_and(|interval| !(interval.low <= value && value <= interval.high))
    }
}

impl Averaged {
    /// The mean of the values that are there; the interval resamples subsets.
    pub(crate) fn new(
        values: &[Option<f64>],
        bootstrap: &Bootstrap,
        what: &'static str,
        why: &'static str,
    ) -> Result<Self, EvalError> {
        let there: Vec<f64> = values.iter().copied().flatten().collect();
        if there.is_empty() && !values.is_empty() {
            return Err(EvalError::Degenerate { what, why });
        }
        Ok(Self { mean: bootstrap.mean(&there)?, skipped: values.len() - there.len() })
    }
}

impl Display for Estimate {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> FmtResult {
        let digits = formatter.precision().unwrap_or(3);
        let plus = formatter.sign_plus();
        let show = |value: f64| if plus { format!("{value:+.digits$}") } else { format!("{value:.digits$}") };
        formatter.write_str(&show(self.value))?;
        if let Some(Interval { low, high, .. }) = self.interval {
            write!(formatter, " [{}, {}]", show(low), show(high))?;
        }
        write!(formatter, " (n = {})", self.n)
    }
}

/// A scalar metric over records of any kind. A closure is one:
///
/// ```
/// use ascribe_eval::{EvalError, Estimate, Metric, accuracy};
/// let metric = |correct: &[bool]| accuracy(correct, 0.95);
/// assert_eq!(metric.measure(&[true, false])?.value, 0.5);
/// # Ok::<(), EvalError>(())
/// ```
pub trait Metric<R>: Send + Sync {
    /// Measures `records`.
    ///
    /// # Errors
    /// When the metric is not defined for these records.
    fn measure(&self, records: &[R]) -> Result<Estimate, EvalError>;
}

impl<R, F: Fn(&[R]) -> Result<Estimate, EvalError> + Send + Sync> Metric<R> for F {
    fn measure(&self, records: &[R]) -> Result<Estimate, EvalError> {
        self(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_estimate_prints_value_interval_and_count() {
        let interval = Some(Interval { low: 0.694, high: 0.771, level: 0.95, method: "Wilson" });
        let estimate = Estimate { value: 0.734, interval, n: 500 };
        assert_eq!(estimate.to_string(), "0.734 [0.694, 0.771] (n = 500)");
        assert_eq!(format!("{estimate:+.2}"), "+0.73 [+0.69, +0.77] (n = 500)");
        assert_eq!(Estimate { interval: None, ..estimate }.to_string(), "0.734 (n = 500)");
        assert!(estimate.excludes(0.0) && !estimate.excludes(0.7));
    }
}
