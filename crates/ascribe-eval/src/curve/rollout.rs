//! How the error of a rollout grows with its horizon: what a model that reads its own output makes of small errors. After CREDIT,
//! a platform for weather models that are rolled out step by step.
//!
//! ```text
//! error(h)        = sqrt(mean over rollouts of (forecast_h - truth_h)^2),   h = 1, 2, ... steps ahead
//! useful horizon  = the last h before the first with error(h) >= bar
//! ```
//! The bar is usually the deviation of the truth, the error of a forecast that knows nothing. Of a vector, each part is measured
//! by itself; of a stream of tokens, a forecast is 1 where the token is that of the truth, and the truth is 1.

use crate::error::{finite, not_empty, option, same_length};
use crate::{Bootstrap, Estimate, EvalError};

/// The error at each step ahead; intervals resample rollouts. At least 0; O(B n) for each step.
///
/// # Errors
/// When there is no rollout, lengths differ, a rollout has no step, or a value is NaN or infinite.
pub fn errors_by_horizon(
    forecasts: &[Vec<f64>],
    truths: &[Vec<f64>],
    bootstrap: &Bootstrap,
) -> Result<Vec<Estimate>, EvalError> {
    not_empty("the forecasts", forecasts)?;
    same_length("the truths", forecasts.len(), truths.len())?;
    let steps = forecasts[0].len();
    for (forecast, truth) in forecasts.iter().zip(truths) {
        finite("a forecast", forecast)?;
        finite("a truth", truth)?;
        same_length("the steps of a forecast", steps, forecast.len())?;
        same_length("the steps of a truth", steps, truth.len())?;
    }
    let at = |step: usize| {
        let squares: Vec<f64> =
            forecasts.iter().zip(truths).map(|(forecast, truth)| (forecast[step] - truth[step]).powi(2)).collect();
        bootstrap.metric(squares.len(), |rows| {
            Ok((rows.iter().map(|&row| squares[row]).sum::<f64>() / rows.len() as f64).sqrt())
        })
    };
    (0..steps).map(at).collect()
}

/// How many steps ahead a forecast is of use: those before the first whose error reaches the bar. O(n).
///
/// # Errors
/// When the bar is not finite and above 0.
pub fn useful_horizon(errors: &[Estimate], bar: f64) -> Result<usize, EvalError> {
    option("the bar", "finite and above 0, such as the deviation of the truth", bar, 0.0 < bar && bar.is_finite())?;
    Ok(errors.iter().position(|error| error.value >= bar).unwrap_or(errors.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_rollouts_by_hand() {
        let forecasts = [vec![1.0, 2.0, 0.0], vec![0.0, 5.0, 1.0]];
        let truths = [vec![0.0, -1.0, 0.0], vec![1.0, 1.0, 1.0]];
        let errors = errors_by_horizon(&forecasts, &truths, &Bootstrap::NONE).unwrap();
        let values: Vec<f64> = errors.iter().map(|error| error.value).collect();
        // Off by 1 and -1, by 3 and 4, and by nothing.
        assert_eq!(values, [1.0, 12.5f64.sqrt(), 0.0]);
        assert_eq!(errors[0].n, 2);
        assert_eq!([0.5, 1.0, 1.5, 4.0].map(|bar| useful_horizon(&errors, bar).unwrap()), [0, 0, 1, 3]);
    }

    #[test]
    fn an_interval_is_that_of_rollouts() {
        let (forecasts, truths) = (vec![vec![1.0]; 40], vec![vec![0.0]; 40]);
        let bootstrap = Bootstrap { resamples: 200, ..Bootstrap::NONE };
        let interval = errors_by_horizon(&forecasts, &truths, &bootstrap).unwrap()[0].interval.unwrap();
        // Each rollout is off by 1, so every resample is.
        assert_eq!((interval.low, interval.high), (1.0, 1.0));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let run = |forecasts: &[Vec<f64>], truths: &[Vec<f64>]| errors_by_horizon(forecasts, truths, &Bootstrap::NONE);
        assert!(run(&[], &[]).is_err() && run(&[vec![]], &[vec![]]).is_err());
        assert!(run(&[vec![1.0]], &[vec![1.0], vec![1.0]]).is_err());
        assert!(run(&[vec![1.0], vec![1.0, 2.0]], &[vec![1.0], vec![1.0, 2.0]]).is_err());
        assert!(run(&[vec![1.0]], &[vec![1.0, 2.0]]).is_err() && run(&[vec![f64::NAN]], &[vec![1.0]]).is_err());
        for bar in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let said = useful_horizon(&[], bar).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(said.starts_with("the bar must be finite and above 0"), "{said}");
        }
    }
}
