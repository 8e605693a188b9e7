//! A published direction, as an experiment of seconds.

use anyhow::{Context, Result};
use ascribe::core::Seed;
use ascribe::eval::{Estimate, stats::student_mean};

use crate::heads::mean;

/// What one seed showed: a figure a name, the same names for every seed.
pub type Figures = Vec<(String, f64)>;

/// What follows the name of an arm in the names of the figures of its cost.
const SAMPLED: &str = ": sampled";
const SCORED: &str = ": scored";

/// The mean over seeds of one figure; `None` without a seed, or where one lacks it.
pub fn mean_figure(seeds: &[Figures], name: &str) -> Option<f64> {
    let values = column(seeds, name).ok()?;
    (!values.is_empty()).then(|| mean(&values))
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

/// What a decoder came to and what it cost, over the seeds of a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Arm {
    /// Its name among the figures.
    pub name: String,
    /// What it came to: the mean, with Student's interval over seeds.
    pub value: Estimate,
    /// Tokens that were sampled for a problem.
    pub sampled: f64,
    /// Tokens that scorers read for a problem.
    pub scored: f64,
}

/// The figures of an arm of one seed: what it came to, and the tokens that were sampled and that scorers read for a problem.
/// Claims name the first by `name`, and [`arms`] finds all three.
pub fn arm(name: &str, value: f64, sampled: f64, scored: f64) -> Figures {
    vec![(name.to_owned(), value), (format!("{name}{SAMPLED}"), sampled), (format!("{name}{SCORED}"), scored)]
}

/// The arms among the figures, in their order; none where no cost was counted.
pub fn arms(seeds: &[Figures]) -> Result<Vec<Arm>> {
    let names = seeds.first().into_iter().flatten().filter_map(|(name, _)| name.strip_suffix(SCORED));
    let arm = |name: &str| -> Result<Arm> {
        let cost = |what: &str| anyhow::Ok(mean(&column(seeds, &format!("{name}{what}"))?));
        let value = student_mean(&column(seeds, name)?, 0.95)?;
        Ok(Arm { name: name.to_owned(), value, sampled: cost(SAMPLED)?, scored: cost(SCORED)? })
    };
    names.map(arm).collect()
}

/// The values of a figure, one a seed.
fn column(seeds: &[Figures], name: &str) -> Result<Vec<f64>> {
    let of = |figures: &Figures| figures.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
    seeds.iter().map(|figures| of(figures).with_context(|| format!("no figure is called `{name}`"))).collect()
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
        Ok((column(seeds, self.more)?, column(seeds, self.less)?))
    }

    /// Compares the two figures, seed by seed.
    pub fn against(&self, seeds: &[Figures]) -> Result<Finding> {
        let (more, less) = self.columns(seeds)?;
        let difference: Vec<f64> = more.iter().zip(&less).map(|(more, less)| more - less).collect();
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
    fn arms_are_the_figures_whose_cost_is_known() {
        let seed = |value: f64, sampled: f64| {
            let plain = ("of no arm".to_owned(), 9.0);
            [vec![plain], arm("beam", value, sampled, 2.0 * sampled), arm("greedy", 0.5, 10.0, 0.0)].concat()
        };
        let seeds = [seed(0.4, 70.0), seed(0.8, 80.0)];
        let found = arms(&seeds).unwrap();
        assert_eq!(found.iter().map(|arm| arm.name.as_str()).collect::<Vec<_>>(), ["beam", "greedy"]);
        assert_eq!((found[0].sampled, found[0].scored, found[1].scored), (75.0, 150.0, 0.0));
        // With two values, t is 12.706 and the standard error half of their distance: 0.6 +- 12.706 * 0.2.
        let limits = found[0].value.interval.unwrap();
        assert!((found[0].value.value - 0.6).abs() < 1e-12 && (limits.high - 3.1412).abs() < 1e-3, "{limits:?}");
        assert!(arms(&figures(&[(1.0, 2.0)])).unwrap().is_empty() && arms(&[]).unwrap().is_empty());
        let torn = arms(&[seeds[0].clone(), Vec::new()]).err().unwrap().to_string();
        assert!(torn.contains("`beam`"), "{torn}");
    }

    #[test]
    fn a_figure_that_is_missing_is_named() {
        let claim = Claim { says: "a above c", more: "a", less: "c" };
        assert!(claim.against(&figures(&[(2.0, 1.0)])).err().unwrap().to_string().contains("`c`"));
    }
}
