//! Bins of probabilities, and the reliability diagram.
//!
//! ```text
//! equal width   edges i/M; (lo, hi] with 0 in the first (MORE, scikit-learn) | [lo, hi) with 1 in the last (netcal)
//!               | [lo, hi) with 1 in a bin of its own (torchmetrics)
//! equal mass    edges at the i/M quantiles of p, (lo, hi]: equal p stay together, bins may be uneven or empty
//! adaptive      sorted p cut after rank ceil(i n/M), each cut moved right to the end of its run of equal p
//! ```
//! Edges of equal width are found once; the others cost a sort of p, O(n log n), and are found anew in a resample from
//! p sorted once, O(n). Assigning n rows to M bins costs O(n log M).

use crate::EvalError;
use crate::error::{option, same_length, shares};
use crate::stats::bootstrap::sorted_quantile;
use crate::stats::sum::Total;
use crate::stats::wilson;
use crate::{Estimate, Interval};

/// Where the edges of bins lie, and which side a probability on an edge falls to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binning {
    /// `M` bins of equal width, closed on the right; 0 joins the first.
    Width(usize),
    /// `M` bins of equal width, closed on the left; 1 joins the last.
    WidthLeftClosed(usize),
    /// `M` bins of equal width, closed on the left; 1 is a bin of its own.
    WidthLeftClosedTop(usize),
    /// Edges at `M` quantiles of the probabilities, closed on the right.
    Mass(usize),
    /// `M` chunks of the sorted probabilities; equal ones stay together.
    Adaptive(usize),
}

/// The default of the literature: ten bins of equal width.
impl Default for Binning {
    fn default() -> Self {
        Self::Width(10)
    }
}

/// One bin of a reliability diagram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bin {
    /// Lower edge.
    pub low: f64,
    /// Upper edge.
    pub high: f64,
    /// Number of rows.
    pub n: usize,
    /// Mean probability; `None` in an empty bin.
    pub confidence: Option<f64>,
    /// Share of true labels with its Wilson interval; `None` in an empty bin.
    pub accuracy: Option<Estimate>,
}

impl Bin {
    /// How far the share of true labels is from the mean probability; `None` in an empty bin. In [0, 1]; O(1).
    pub fn gap(&self) -> Option<f64> {
        Some((self.accuracy?.value - self.confidence?).abs())
    }

    /// The interval of the share of true labels; `None` in an empty bin. O(1).
    pub fn interval(&self) -> Option<Interval> {
        self.accuracy?.interval
    }
}

/// The edges of the bins and the bin of every row.
pub(super) struct Assigned {
    pub(super) edges: Vec<f64>,
    pub(super) bin_of: Vec<usize>,
}

impl Binning {
    /// Number of bins asked for.
    fn bins(self) -> usize {
        let (Self::Width(bins)
        | Self::WidthLeftClosed(bins)
        | Self::WidthLeftClosedTop(bins)
        | Self::Mass(bins)
        | Self::Adaptive(bins)) = self;
        bins
    }

    /// Whether the edges depend on the probabilities.
    pub(super) fn follows(self) -> bool {
        matches!(self, Self::Mass(_) | Self::Adaptive(_))
    }

    /// Bins checked probabilities.
    pub(super) fn assign(self, p: &[f64]) -> Result<Assigned, EvalError> {
        let edges = self.edges(&if self.follows() { sorted(p) } else { Vec::new() })?;
        let bin_of = p.iter().map(|&p| self.bin(&edges, p)).collect();
        Ok(Assigned { edges, bin_of })
    }

    /// The edges; `sorted` holds the probabilities in increasing order where they play a part.
    pub(super) fn edges(self, sorted: &[f64]) -> Result<Vec<f64>, EvalError> {
        let bins = self.bins();
        option("bins", "at least 1 and at most 1,000,000", bins as f64, (1..=1_000_000).contains(&bins))?;
        let mut edges: Vec<f64> = match self {
            Self::Width(_) | Self::WidthLeftClosed(_) | Self::WidthLeftClosedTop(_) => {
                (0..=bins).map(|i| i as f64 / bins as f64).collect()
            }
            Self::Mass(_) => (0..=bins).map(|i| sorted_quantile(sorted, i as f64 / bins as f64)).collect(),
            Self::Adaptive(_) => {
                let last = sorted[sorted.len() - 1];
                let mut edges = vec![sorted[0]];
                for i in 1..bins {
                    let edge = sorted[(i * sorted.len()).div_ceil(bins) - 1];
                    // Coinciding cuts merge; a cut after the last row is none.
                    if edge < last && (edges.len() == 1 || edge > edges[edges.len() - 1]) {
                        edges.push(edge);
                    }
                }
                edges.push(last);
                edges
            }
        };
        if let Self::WidthLeftClosedTop(_) = self {
            edges.push(1.0);
        }
        Ok(edges)
    }

    /// The bin of `p`: the number of interior edges below it, or at most it where bins are closed on the left.
    pub(super) fn bin(self, edges: &[f64], p: f64) -> usize {
        let interior = &edges[1..edges.len() - 1];
        match self {
            Self::WidthLeftClosed(_) | Self::WidthLeftClosedTop(_) => interior.partition_point(|&edge| edge <= p),
            _ => interior.partition_point(|&edge| edge < p),
        }
    }
}

/// What one bin holds.
#[derive(Clone, Copy, Default)]
pub(super) struct Held {
    /// Number of rows, as often as they count.
    pub(super) rows: u64,
    /// True labels among them.
    pub(super) hits: u64,
    /// Sum of their probabilities.
    pub(super) p: Total,
}

impl Held {
    /// `count` rows more.
    pub(super) fn add(&mut self, p: f64, y: bool, count: u32) {
        self.rows += u64::from(count);
        self.hits += u64::from(count) * u64::from(y);
        self.p.add(f64::from(count) * p);
    }
}

/// The rows of a reliability diagram, empty bins included, with 95 % intervals. Shares and probabilities lie in [0, 1];
/// equal probabilities share a bin; O(n log M), and O(n log n) for bins of equal mass.
///
/// # Errors
/// When the lengths differ, there is no row, a probability is not in [0, 1], or the number of bins is 0.
pub fn reliability(p: &[f64], y: &[bool], binning: Binning) -> Result<Vec<Bin>, EvalError> {
    shares("p", p)?;
    same_length("y", p.len(), y.len())?;
    let Assigned { edges, bin_of } = binning.assign(p)?;
    let mut held = vec![Held::default(); edges.len() - 1];
    for ((&bin, &p), &y) in bin_of.iter().zip(p).zip(y) {
        held[bin].add(p, y, 1);
    }
    let mut bins = Vec::with_capacity(held.len());
    for (bin, held) in held.iter().enumerate() {
        let n = held.rows as usize;
        let confidence = (n > 0).then(|| held.p.value() / n as f64);
        let accuracy = if n > 0 { Some(wilson(held.hits as usize, n, 0.95)?) } else { None };
        bins.push(Bin { low: edges[bin], high: edges[bin + 1], n, confidence, accuracy });
    }
    Ok(bins)
}

fn sorted(p: &[f64]) -> Vec<f64> {
    let mut sorted = p.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: [f64; 8] = [0.1, 0.35, 0.4, 0.8, 0.65, 0.9, 0.55, 0.2];
    const Y: [bool; 8] = [false, false, true, true, true, true, false, false];

    #[test]
    fn edges_fall_to_the_side_that_is_closed() {
        let of = |binning: Binning| binning.assign(&[0.0, 0.5, 1.0]).unwrap().bin_of;
        assert_eq!(of(Binning::Width(2)), [0, 0, 1]);
        assert_eq!(of(Binning::WidthLeftClosed(2)), [0, 1, 1]);
        assert_eq!(of(Binning::WidthLeftClosedTop(2)), [0, 1, 2]);
    }

    /// Quantiles of eight values at 0, 1.75, 3.5, 5.25 and 7.
    #[test]
    fn mass_edges_are_quantiles() {
        let edges = Binning::Mass(4).assign(&P).unwrap().edges;
        let expected = [0.1, 0.3125, 0.475, 0.6875, 0.9];
        assert!(edges.iter().zip(expected).all(|(edge, expected)| (edge - expected).abs() < 1e-12), "{edges:?}");
    }

    /// Four chunks of two; with equal values a cut moves to the end of its run, and cuts in one run merge.
    #[test]
    fn adaptive_chunks_keep_equal_values_together() {
        assert_eq!(Binning::Adaptive(4).assign(&P).unwrap().bin_of, [0, 1, 1, 3, 2, 3, 2, 0]);
        assert_eq!(Binning::Adaptive(3).assign(&[0.2, 0.2, 0.2, 0.2, 0.5, 0.7]).unwrap().bin_of, [0, 0, 0, 0, 1, 1]);
        assert_eq!(Binning::Adaptive(3).assign(&[0.2; 4]).unwrap().bin_of, [0; 4]);
    }

    #[test]
    fn empty_bins_are_listed() {
        let bins = reliability(&P, &Y, Binning::Width(10)).unwrap();
        assert_eq!((bins.len(), bins.iter().map(|bin| bin.n).sum::<usize>()), (10, 8));
        let empty = bins.iter().find(|bin| bin.n == 0).unwrap();
        assert_eq!((empty.confidence, empty.accuracy, empty.gap()), (None, None, None));
    }

    #[test]
    fn bad_input_is_refused() {
        assert!(matches!(reliability(&[1.2], &[true], Binning::Width(5)), Err(EvalError::OutOfRange { .. })));
        assert!(matches!(reliability(&[], &[], Binning::Width(5)), Err(EvalError::Empty { .. })));
        assert!(matches!(reliability(&[0.2], &[true], Binning::Width(0)), Err(EvalError::Range { .. })));
        assert!(matches!(reliability(&[0.2], &[], Binning::Width(5)), Err(EvalError::Length { .. })));
    }
}
