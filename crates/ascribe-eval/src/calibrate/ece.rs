//! Expected calibration error and its relatives.
//!
//! ```text
//! gap_b = |mean y - mean p| in bin b
//! ECE = sum n_b/n gap_b,  MCE = max gap_b,  mean gap over the bins that hold rows (MORE, arXiv:2312.07401, calls it ACE)
//! RMS = sqrt(sum n_b/n gap_b^2),  signed = mean p - mean y
//! ```
//! M. P. Naeini et al., AAAI 2015; C. Guo et al., arXiv:1706.04599. The value depends on the bins: state them. The
//! sweep takes the most equal-mass bins whose means of y do not fall (R. Roelofs et al., arXiv:2012.08668).
//!
//! All lie in [0, 1], the signed error in [-1, 1]; equal probabilities share a bin. A resample of rows is binned anew
//! in one pass, without sorting.

use std::iter::repeat_n;

use super::bins::{Assigned, Bin, Binning, Held, reliability};
use crate::error::{option, same_length, shares};
use crate::rank::ranks::Order;
use crate::stats::sum::{as_numbers, mean, sum};
use crate::{Bootstrap, Estimate, EvalError};

/// All the numbers that one set of bins gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CalibrationError {
    /// Mean gap, weighted by rows.
    pub ece: f64,
    /// Largest gap.
    pub mce: f64,
    /// Mean gap over the bins that hold rows, each alike.
    pub mean_gap: f64,
    /// Root of the mean square gap, weighted by rows.
    pub rms: f64,
    /// Mean probability less mean label: positive when over-confident.
    pub signed: f64,
}

/// The calibration errors of `p` for `y`. In [0, 1], signed in [-1, 1]; equal probabilities share a bin; O(n log M),
/// and O(n log n) for bins of equal mass.
///
/// # Errors
/// As [`reliability`].
pub fn calibration_error(p: &[f64], y: &[bool], binning: Binning) -> Result<CalibrationError, EvalError> {
    let bins = reliability(p, y, binning)?;
    let gaps: Vec<(f64, f64)> = bins.iter().filter_map(|bin| Some((bin.n as f64, bin.gap()?))).collect();
    Ok(of_gaps(&gaps, mean(p) - mean(&as_numbers(y))))
}

/// The numbers of the bins that hold rows: how many, and their gap.
fn of_gaps(gaps: &[(f64, f64)], signed: f64) -> CalibrationError {
    let n = sum(gaps.iter().map(|&(rows, _)| rows));
    CalibrationError {
        ece: sum(gaps.iter().map(|(rows, gap)| rows / n * gap)),
        mce: gaps.iter().map(|&(_, gap)| gap).fold(0.0, f64::max),
        mean_gap: sum(gaps.iter().map(|&(_, gap)| gap)) / gaps.len() as f64,
        rms: sum(gaps.iter().map(|(rows, gap)| rows / n * gap * gap)).sqrt(),
        signed,
    }
}

/// One calibration error as a function of how often each row counts.
pub(crate) fn counted_calibration(
    p: &[f64],
    y: Vec<bool>,
    binning: Binning,
    number: fn(&CalibrationError) -> f64,
) -> Result<impl Fn(&[u32]) -> Result<f64, EvalError> + Sync, EvalError> {
    shares("p", p)?;
    same_length("y", p.len(), y.len())?;
    let Assigned { edges, bin_of } = binning.assign(p)?;
    let order = binning.follows().then(|| Order::of(p));
    Ok(move |counts: &[u32]| {
        let bins = match &order {
            None => filled(edges.len() - 1, p, &y, counts, |row| bin_of[row]),
            Some(order) => {
                let drawn = order.rows().iter().flat_map(|&row| repeat_n(p[row], counts[row] as usize));
                let sorted: Vec<f64> = drawn.collect();
                if sorted.is_empty() {
                    return Err(nothing_counts());
                }
                let edges = binning.edges(&sorted)?;
                filled(edges.len() - 1, p, &y, counts, |row| binning.bin(&edges, p[row]))
            }
        };
        if bins.is_empty() {
            return Err(nothing_counts());
        }
        let gap = |bin: &Held| ((bin.hits as f64 - bin.p.value()) / bin.rows as f64).abs();
        let gaps: Vec<(f64, f64)> = bins.iter().map(|bin| (bin.rows as f64, gap(bin))).collect();
        let over = sum(bins.iter().map(|bin| bin.p.value() - bin.hits as f64));
        Ok(number(&of_gaps(&gaps, over / sum(gaps.iter().map(|&(rows, _)| rows)))))
    })
}

/// The bins that hold rows, of rows that count several times.
fn filled(bins: usize, p: &[f64], y: &[bool], counts: &[u32], bin_of: impl Fn(usize) -> usize) -> Vec<Held> {
    let mut held = vec![Held::default(); bins];
    for (row, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        held[bin_of(row)].add(p[row], y[row], count);
    }
    held.retain(|bin| bin.rows > 0);
    held
}

fn nothing_counts() -> EvalError {
    EvalError::Degenerate { what: "a calibration error", why: "every row has the weight 0" }
}

/// Expected calibration error; the interval resamples rows and bins them anew. In [0, 1]; equal probabilities share a
/// bin; O(n log n + B n log M).
///
/// # Errors
/// As [`reliability`].
pub fn ece(p: &[f64], y: &[bool], binning: Binning, bootstrap: &Bootstrap) -> Result<Estimate, EvalError> {
    bootstrap.weighted_metric(p.len(), counted_calibration(p, y.to_vec(), binning, |error| error.ece)?)
}

/// Maximum calibration error; the interval resamples rows and bins them anew. In [0, 1]; equal probabilities share a
/// bin; O(n log n + B n log M).
///
/// # Errors
/// As [`reliability`].
pub fn mce(p: &[f64], y: &[bool], binning: Binning, bootstrap: &Bootstrap) -> Result<Estimate, EvalError> {
    bootstrap.weighted_metric(p.len(), counted_calibration(p, y.to_vec(), binning, |error| error.mce)?)
}

/// Nixon's adaptive calibration error of `n` rows of `k` class probabilities: the mean gap over classes and equal-mass
/// bins that hold rows (J. Nixon et al., arXiv:1904.01685). In [0, 1]; equal probabilities share a bin; O(k n log n).
///
/// # Errors
/// As [`reliability`], when `k` is 0, and when the classes do not fit.
pub fn classwise_error(probabilities: &[f64], k: usize, classes: &[u32], binning: Binning) -> Result<f64, EvalError> {
    option("k", "at least 1", k as f64, k >= 1)?;
    shares("probabilities", probabilities)?;
    same_length("probabilities", classes.len() * k, probabilities.len())?;
    let mut gaps = Vec::new();
    for class in 0..k {
        let p: Vec<f64> = probabilities.iter().skip(class).step_by(k).copied().collect();
        let y: Vec<bool> = classes.iter().map(|&other| other as usize == class).collect();
        gaps.extend(reliability(&p, &y, binning)?.iter().filter_map(Bin::gap));
    }
    Ok(sum(gaps.iter().copied()) / gaps.len() as f64)
}

/// The most equal-mass bins up to `most` such that, for every smaller number too, the mean label never falls from bin
/// to bin; and the ECE with them, in [0, 1]. Equal probabilities share a bin; O(n log n) for each number of bins tried.
///
/// # Errors
/// As [`reliability`], and when `most` is 0.
pub fn sweep_ece(p: &[f64], y: &[bool], most: usize) -> Result<(usize, f64), EvalError> {
    option("most", "at least 1", most as f64, most >= 1)?;
    let mut bins = 1;
    for next in 2..=most.min(p.len()) {
        let means: Vec<f64> =
            reliability(p, y, Binning::Mass(next))?.iter().filter_map(|bin| Some(bin.accuracy?.value)).collect();
        if means.windows(2).any(|pair| pair[0] > pair[1]) {
            break;
        }
        bins = next;
    }
    Ok((bins, calibration_error(p, y, Binning::Mass(bins))?.ece))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::sum::pick;

    const P: [f64; 8] = [0.1, 0.35, 0.4, 0.8, 0.65, 0.9, 0.55, 0.2];
    const Y: [bool; 8] = [false, false, true, true, true, true, false, false];

    /// The release of MORE gives these numbers.
    #[test]
    fn eight_rows() {
        let expected = [
            (Binning::Width(5), [0.21875, 0.55, 0.24]),
            (Binning::Width(10), [0.21875, 0.55, 0.232_142_857_1]),
            (Binning::Mass(4), [0.13125, 0.15, 0.13125]),
        ];
        for (binning, expected) in expected {
            let error = calibration_error(&P, &Y, binning).unwrap();
            for (got, expected) in [error.ece, error.mce, error.mean_gap].iter().zip(expected) {
                assert!((got - expected).abs() < 1e-9, "{binning:?} {error:?}");
            }
        }
        let estimate = ece(&P, &Y, Binning::Width(5), &Bootstrap { resamples: 200, ..Bootstrap::default() }).unwrap();
        assert!((estimate.value - 0.21875).abs() < 1e-12 && estimate.n == 8 && estimate.interval.is_some());
        assert!((mce(&P, &Y, Binning::Width(5), &Bootstrap::NONE).unwrap().value - 0.55).abs() < 1e-12);
    }

    /// The mean labels are 1/4, 3/4 in two bins; 0, 1/2, 1 in three; 0, 1/2, 1/2, 1 in four.
    #[test]
    fn the_sweep_goes_on_while_means_rise() {
        let (bins, error) = sweep_ece(&P, &Y, 4).unwrap();
        assert_eq!(bins, 4);
        assert!((error - 0.13125).abs() < 1e-12);
        let falling = sweep_ece(&[0.1, 0.2, 0.8, 0.9], &[true, true, false, false], 10).unwrap();
        assert_eq!(falling.0, 1);
    }

    /// Both classes of two rows: p = (0.8, 0.2) with gaps 0.2 each, one bin a row.
    #[test]
    fn classes_alike() {
        let error = classwise_error(&[0.8, 0.2, 0.2, 0.8], 2, &[0, 1], Binning::Width(2)).unwrap();
        assert!((error - 0.2).abs() < 1e-12);
        assert!(classwise_error(&[0.8, 0.2], 2, &[0, 1], Binning::Width(2)).is_err());
    }

    fn rows() -> impl Strategy<Value = (Vec<f64>, Vec<bool>)> {
        prop::collection::vec((0.0..=1.0_f64, any::<bool>()), 1..60).prop_map(|rows| rows.into_iter().unzip())
    }

    proptest! {
        #[test]
        fn signed_is_below_ece_and_ece_below_mce_and_absolute_error((p, y) in rows(), bins in 1_usize..20) {
            let error = calibration_error(&p, &y, Binning::Width(bins)).unwrap();
            let absolute = p.iter().zip(&y).map(|(p, &y)| (p - f64::from(u8::from(y))).abs()).sum::<f64>() / p.len() as f64;
            prop_assert!(error.signed.abs() <= error.ece + 1e-12 && error.ece <= error.mce + 1e-12);
            prop_assert!(error.ece <= absolute + 1e-12 && error.ece <= error.rms + 1e-12 && error.mce <= 1.0);
            let one = calibration_error(&p, &y, Binning::Width(1)).unwrap();
            prop_assert!((one.ece - one.signed.abs()).abs() < 1e-12);
        }

        #[test]
        fn counts_say_what_the_rows_drawn_say(
            (p, y) in rows(), draws in prop::collection::vec(0_usize..60, 1..80), bins in 1_usize..12,
        ) {
            let drawn: Vec<usize> = draws.into_iter().map(|draw| draw % p.len()).collect();
            let mut counts = vec![0_u32; p.len()];
            drawn.iter().for_each(|&row| counts[row] += 1);
            for binning in [
                Binning::Width(bins),
                Binning::WidthLeftClosed(bins),
                Binning::WidthLeftClosedTop(bins),
                Binning::Mass(bins),
                Binning::Adaptive(bins),
            ] {
                let slow = calibration_error(&pick(&p, &drawn), &pick(&y, &drawn), binning).unwrap();
                let numbers: [fn(&CalibrationError) -> f64; 5] =
                    [|of| of.ece, |of| of.mce, |of| of.mean_gap, |of| of.rms, |of| of.signed];
                for number in numbers {
                    let fast = counted_calibration(&p, y.clone(), binning, number).unwrap()(&counts).unwrap();
                    prop_assert!((fast - number(&slow)).abs() < 1e-12, "{binning:?} {fast} {slow:?}");
                }
            }
        }

        /// Forecasts of the other class turn the bins around, and with them the side that is closed.
        #[test]
        fn the_other_class_has_the_same_error(
            rows in prop::collection::vec((0_u8..=64, any::<bool>()), 1..60), power in 0_u32..4,
        ) {
            let (p, y): (Vec<f64>, Vec<bool>) = rows.into_iter().map(|(p, y)| (f64::from(p) / 64.0, y)).unzip();
            let (other_p, other_y): (Vec<f64>, Vec<bool>) = p.iter().zip(&y).map(|(p, y)| (1.0 - p, !y)).unzip();
            let bins = 1_usize << power;
            let one = calibration_error(&p, &y, Binning::Width(bins)).unwrap();
            let other = calibration_error(&other_p, &other_y, Binning::WidthLeftClosed(bins)).unwrap();
            prop_assert!((one.ece - other.ece).abs() < 1e-12 && (one.mce - other.mce).abs() < 1e-12);
            prop_assert!((one.signed + other.signed).abs() < 1e-12);
        }

        #[test]
        fn splitting_bins_never_lowers_ece((p, y) in rows(), bins in 1_usize..12, parts in 1_usize..5) {
            let coarse = calibration_error(&p, &y, Binning::Width(bins)).unwrap().ece;
            prop_assert!(calibration_error(&p, &y, Binning::Width(bins * parts)).unwrap().ece >= coarse - 1e-12);
        }
    }
}
