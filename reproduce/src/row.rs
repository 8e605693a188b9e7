//! A published direction, as an experiment of seconds.

use anyhow::{Context, Result};
use ascribe::core::Seed;
use ascribe::eval::{Estimate, stats::student_mean};

/// What one seed showed: a figure a name, the same names for every seed.
pub type Figures = Vec<(String, f64)>;

/// The mean over seeds of one figure; `None` without a seed, or where one lacks it.
pub fn mean_figure(seeds: &[Figures], name: &str) -> Option<f64> {
    let of = |figures: &Figures| figures.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
    let values = seeds.iter().map(of).collect::<Option<Vec<f64>>>()?;
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// One experiment: every arm on the same draws of a seed.
pub struct Row {
    /// Its name on the command line.
    pub name: &'static str,
    /// The published system.
    pub paper: &'static str,
    /// What is run, and what stands in for what the paper had.
    pub setting: &'static str,
    /// How many seeds, from 0 up; five at least.
    pub seeds: u64,
    /// What the paper leads one to expect.
    pub claims: &'static [Claim],
    /// What was tried where a claim does not hold, and why it likely does not; empty where nothing had to be.
    pub tried: &'static str,
    /// All arms of one seed.
    pub run: fn(Seed) -> Result<Figures>,
}

/// The expectation that one figure lies above another.
pub struct Claim {
    /// In words.
    pub says: &'static str,
    /// The name of the figure that is expected to be larger.
    pub more: &'static str,
    /// The name of the other.
    pub less: &'static str,
}

/// What the seeds say of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The whole interval of the difference lies above zero.
    Holds,
    /// The interval includes zero.
    Undecided,
    /// The whole interval lies below zero.
    Contradicted,
}

/// A claim held against the seeds.
pub struct Finding {
    /// The mean of the larger figure.
    pub more: f64,
    /// The mean of the other.
    pub less: f64,
    /// The mean paired difference, with Student's interval over seeds.
    pub difference: Estimate,
}

impl Verdict {
    /// One word for the table.
    pub fn word(self) -> &'static str {
        match self {
            Self::Holds => "holds",
            Self::Undecided => "undecided",
            Self::Contradicted => "contradicted",
        }
    }
}

impl Claim {
    /// The two figures, seed by seed.
    pub fn columns(&self, seeds: &[Figures]) -> Result<(Vec<f64>, Vec<f64>)> {
        let column = |name: &str| -> Result<Vec<f64>> {
            let of = |figures: &Figures| figures.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
            seeds.iter().map(|figures| of(figures).with_context(|| format!("no figure is called `{name}`"))).collect()
        };
        Ok((column(self.more)?, column(self.less)?))
    }

    /// Compares the two figures, seed by seed.
    pub fn against(&self, seeds: &[Figures]) -> Result<Finding> {
        let (more, less) = self.columns(seeds)?;
        let difference: Vec<f64> = more.iter().zip(&less).map(|(more, less)| more - less).collect();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        Ok(Finding { more: mean(&more), less: mean(&less), difference: student_mean(&difference, 0.95)? })
    }
}

impl Finding {
    /// Which side of zero the interval lies on.
    pub fn verdict(&self) -> Verdict {
        match self.difference.interval {
            Some(interval) if interval.low > 0.0 => Verdict::Holds,
            Some(interval) if interval.high < 0.0 => Verdict::Contradicted,
            _ => Verdict::Undecided,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(pairs: &[(f64, f64)]) -> Vec<Figures> {
        pairs.iter().map(|&(a, b)| vec![("a".into(), a), ("b".into(), b)]).collect()
    }

    const CLAIM: Claim = Claim { says: "a above b", more: "a", less: "b" };

    #[test]
    fn verdicts_follow_the_interval() {
        let finding = CLAIM.against(&figures(&[(2.0, 1.0), (2.1, 1.0), (1.9, 1.0)])).unwrap();
        assert_eq!((finding.verdict(), finding.less), (Verdict::Holds, 1.0));
        assert_eq!(CLAIM.against(&figures(&[(0.0, 1.0), (0.1, 1.0)])).unwrap().verdict(), Verdict::Contradicted);
        assert_eq!(CLAIM.against(&figures(&[(2.0, 1.0), (0.0, 1.0)])).unwrap().verdict(), Verdict::Undecided);
        assert_eq!(CLAIM.against(&figures(&[(2.0, 1.0)])).unwrap().verdict(), Verdict::Undecided);
    }

    #[test]
    fn a_figure_is_averaged_where_every_seed_has_it() {
        let seeds = figures(&[(2.0, 1.0), (4.0, 1.0)]);
        assert_eq!(
            (mean_figure(&seeds, "a"), mean_figure(&seeds, "c"), mean_figure(&[], "a")),
            (Some(3.0), None, None)
        );
        let lacking = [seeds[0].clone(), Vec::new()];
        assert_eq!(mean_figure(&lacking, "a"), None);
    }

    #[test]
    fn a_figure_that_is_missing_is_named() {
        let claim = Claim { says: "a above c", more: "a", less: "c" };
        assert!(claim.against(&figures(&[(2.0, 1.0)])).err().unwrap().to_string().contains("`c`"));
    }
}
