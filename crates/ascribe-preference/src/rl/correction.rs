//! Corrections for tokens that were drawn from another distribution than the one that is trained.
//!
//! ```text
//! w_t = exp(log pi_old - log q),   q: what was drawn from (another engine, a cut of the distribution)
//!
//! truncate   clip(w_t, least, most)                                        TIS
//! mask       w_t where least <= w_t <= most, else 0                        IcePop
//! sequence   w_t where least <= exp(mean_t log w_t) <= most, else 0        masked by response, weighed by token
//! ```
//! As OpenRLHF has them. Weights are constants: they are made once, when the responses are written, on the host in f64.

use ascribe_core::CoreError;

/// What is done with the weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CorrectionKind {
    /// Weights are cut to the range.
    Truncate,
    /// Tokens whose weight is out of the range are left out.
    MaskTokens,
    /// Responses whose mean weight is out of the range are left out.
    MaskSequences,
}

/// A correction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Correction {
    /// What is done.
    pub kind: CorrectionKind,
    /// Least weight.
    pub least: f64,
    /// Largest weight.
    pub most: f64,
}

impl Correction {
    /// Checks the range.
    ///
    /// # Errors
    /// Unless `0 <= least < most`, both finite.
    pub fn check(&self) -> Result<(), CoreError> {
        match 0.0 <= self.least && self.least < self.most && self.most.is_finite() {
            true => Ok(()),
            false => Err(CoreError::Range {
                name: "the largest correction",
                rule: "finite and above the least, which is at least 0",
                got: self.most,
            }),
        }
    }

    /// The weight of each token of one response.
    pub fn weights(&self, old_logps: &[f64], drawn_logps: &[f64]) -> Vec<f64> {
        let logs: Vec<f64> = old_logps.iter().zip(drawn_logps).map(|(old, drawn)| old - drawn).collect();
        let inside = |weight: f64| (self.least..=self.most).contains(&weight);
        let mean = (logs.iter().sum::<f64>() / logs.len().max(1) as f64).exp();
        logs.iter()
            .map(|log| log.exp())
            .map(|weight| match self.kind {
                CorrectionKind::Truncate => weight.clamp(self.least, self.most),
                CorrectionKind::MaskTokens => {
                    if inside(weight) {
                        weight
                    } else {
                        0.0
                    }
                }
                CorrectionKind::MaskSequences => {
                    if inside(mean) {
                        weight
                    } else {
                        0.0
                    }
                }
            })
            .collect()
    }
}

/// Which tokens a loss over the most uncertain ones keeps: those whose entropy is at least the `1 - share` quantile of all.
/// "Beyond the 80/20 rule", arXiv:2506.01939; quantiles are interpolated, as torch does.
///
/// ```
/// use ascribe_preference::rl::most_uncertain;
/// let entropies = [vec![0.1, 2.0], vec![1.0, 0.2, 3.0]];
/// assert_eq!(most_uncertain(&entropies, 0.4), [vec![0.0, 1.0], vec![0.0, 0.0, 1.0]]);
/// ```
pub fn most_uncertain(entropies: &[Vec<f64>], share: f64) -> Vec<Vec<f64>> {
    let mut all: Vec<f64> = entropies.iter().flatten().copied().collect();
    all.sort_by(f64::total_cmp);
    let Some(last) = all.len().checked_sub(1) else { return entropies.to_vec() };
    let place = (1.0 - share).clamp(0.0, 1.0) * last as f64;
    let (below, above) = (all[place.floor() as usize], all[place.ceil() as usize]);
    let least = below + (above - below) * place.fract();
    let keep = |row: &Vec<f64>| row.iter().map(|entropy| if *entropy >= least { 1.0 } else { 0.0 }).collect();
    entropies.iter().map(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corrections_by_hand() {
        // Ratios 2, 1/2; their geometric mean is 1.
        let (old, drawn) = ([2f64.ln(), 0.0], [0.0, 2f64.ln()]);
        let weights = |kind, least, most| Correction { kind, least, most }.weights(&old, &drawn);
        let close = |got: Vec<f64>, expected: [f64; 2]| got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(close(weights(CorrectionKind::Truncate, 0.8, 1.5), [1.5, 0.8]));
        assert!(close(weights(CorrectionKind::MaskTokens, 0.4, 1.5), [0.0, 0.5]));
        assert!(close(weights(CorrectionKind::MaskSequences, 0.9, 1.1), [2.0, 0.5]));
        assert!(close(weights(CorrectionKind::MaskSequences, 1.1, 1.2), [0.0, 0.0]));
        let range = |least, most| Correction { kind: CorrectionKind::Truncate, least, most }.check().is_ok();
        assert!(range(0.0, 2.0) && !range(1.0, 1.0) && !range(f64::NAN, 2.0) && !range(0.0, f64::INFINITY));
    }
}
