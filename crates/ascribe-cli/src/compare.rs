//! `ascribe compare`: two systems on the same records, paired.
//!
//! Columns of 0 and 1 are tested by McNemar's exact test, others by sign flips of the differences, or by Wilcoxon's
//! signed ranks if asked; where signs were drawn the test is called sampled, and the number of draws is said. With
//! clusters whole clusters flip, and the smallest effect that could have been seen comes from the spread of their
//! totals.

use std::collections::HashMap;

use anyhow::{Context, bail};
use ascribe::core::Seed;
use ascribe::eval::stats::{Design, minimum_detectable_effect, wilcoxon};
use ascribe::eval::{Bootstrap, Estimate, McNemar, sign_flip};

use crate::args::{CompareArgs, TestName};
use crate::drawing::Drawing;
use crate::findings::{Finding, Findings};
use crate::records::Records;

pub fn run(args: &CompareArgs) -> anyhow::Result<()> {
    let (first, second) = (Records::read(&args.first)?, Records::read(&args.second)?);
    let partners = partners(&first, &second, args.key.as_deref())?;
    let ours = first.every(&args.on, Records::number)?;
    let all_theirs = second.every(&args.on, Records::number)?;
    let theirs: Vec<f64> = partners.iter().map(|&row| all_theirs[row]).collect();
    let clusters = match &args.cluster {
        Some(column) => Some(first.every(column, Records::label)?),
        None => None,
    };
    let bootstrap = args.measure.bootstrap(ours.len());
    let compared = Compared::new(args, &ours, &theirs, clusters.as_deref(), &bootstrap)?;
    let findings = compared.findings(args, &bootstrap, &first.name(), &second.name());
    let findings = if binary(&ours, &theirs) { findings.figure(both(&ours, &theirs)) } else { findings };
    findings.print(args.measure.json)
}

/// For each row of the first file, its partner in the second.
fn partners(first: &Records, second: &Records, key: Option<&str>) -> anyhow::Result<Vec<usize>> {
    let (n, m) = (first.rows.len(), second.rows.len());
    let Some(key) = key else {
        if n == m {
            return Ok((0..n).collect());
        }
        bail!("{} has {n} rows and {} {m}; name the column that pairs them with --key", first.name(), second.name());
    };
    let (ours, theirs) = (keyed(first, key)?, keyed(second, key)?);
    for (records, other, of, in_other) in [(first, second, &ours, &theirs), (second, first, &theirs, &ours)] {
        if let Some((name, row)) = of.in_order.iter().find(|(name, _)| !in_other.row.contains_key(name)) {
            let place = records.place(&records.rows[*row]);
            bail!("{place}: {key} `{name}` is not in {}; both files must hold the same records", other.name());
        }
    }
    Ok(ours.in_order.iter().map(|(name, _)| theirs.row[name]).collect())
}

/// The rows of a file by their key.
struct Keyed {
    in_order: Vec<(String, usize)>,
    row: HashMap<String, usize>,
}

fn keyed(records: &Records, key: &str) -> anyhow::Result<Keyed> {
    let mut keyed = Keyed { in_order: Vec::new(), row: HashMap::new() };
    for (at, row) in records.rows.iter().enumerate() {
        let name = records.label(row, key)?;
        if let Some(earlier) = keyed.row.insert(name.clone(), at) {
            let earlier = records.place(&records.rows[earlier]);
            bail!("{}: {key} `{name}` stands in {earlier} already; keep one row a record", records.place(row));
        }
        keyed.in_order.push((name, at));
    }
    Ok(keyed)
}

/// What two columns say.
struct Compared {
    means: [f64; 2],
    difference: Estimate,
    /// Records where the first is larger, the second is larger, and neither.
    counts: [usize; 3],
    test: Tested,
    /// Whether what was tested leans the same way as the mean.
    agree: bool,
    /// `None` where every difference is the same.
    detectable: Option<f64>,
}

impl Compared {
    fn new(
        args: &CompareArgs,
        ours: &[f64],
        theirs: &[f64],
        clusters: Option<&[String]>,
        bootstrap: &Bootstrap,
    ) -> anyhow::Result<Self> {
        let n = ours.len();
        let differences: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| a - b).collect();
        let difference = match clusters {
            None => bootstrap.mean(&differences)?,
            Some(keys) => bootstrap.clustered_mean(&differences, keys)?,
        };
        // A unit is a record or a cluster: its sum of differences, and its number of records.
        let units: Vec<(f64, f64)> = match clusters {
            None => differences.iter().map(|d| (*d, 1.0)).collect(),
            Some(keys) => totals(&differences, keys),
        };
        let test = Tested::new(args, ours, theirs, &units, clusters.is_some(), draws(bootstrap))?;
        let lean = if args.test == TestName::Wilcoxon { signed_ranks(&differences) } else { difference.value };
        let count = |of: fn(f64) -> bool| differences.iter().filter(|d| of(**d)).count();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / n as f64;
        Ok(Self {
            means: [mean(ours), mean(theirs)],
            agree: lean * difference.value > 0.0,
            detectable: detectable(args, &units, difference.value)?,
            difference,
            counts: [count(|d| d > 0.0), count(|d| d < 0.0), count(|d| d == 0.0)],
            test,
        })
    }

    fn findings(&self, args: &CompareArgs, bootstrap: &Bootstrap, first: &str, second: &str) -> Findings {
        let Tested { name: test, p } = self.test;
        let significant = p <= 1.0 - args.measure.level;
        let first_leads = (self.difference.value > 0.0) != args.lower_is_better;
        let (verdict, sentence) = match (significant, self.agree, first_leads) {
            (false, ..) => ("no difference shown", format!("No difference is shown between {first} and {second}")),
            (true, false, _) => (
                "they differ, and mean and ranks disagree",
                format!("{first} and {second} differ, but the mean leans one way and the ranks the other"),
            ),
            (true, true, true) => ("the first is better", format!("{first} is better than {second}")),
            (true, true, false) => ("the second is better", format!("{second} is better than {first}")),
        };
        let [larger, smaller, equal] = self.counts;
        let p_words = if p < 1e-4 { format!("{p:.1e}") } else { format!("{p:.4}") };
        let seen = match self.detectable {
            Some(effect) => format!(
                "A true difference of {effect:.4} would have been seen with a power of {:.0} %.",
                100.0 * args.power
            ),
            None => "Every difference is the same, so nothing is known of what could have been seen.".to_owned(),
        };
        let mut findings = Findings::new("compare")
            .fact("on", args.on.as_str())
            .fact("first", first)
            .fact("second", second)
            .fact("paired by", args.key.as_deref().unwrap_or("the order of the rows"))
            .drawn(bootstrap)
            .fact("verdict", verdict)
            .fact("test", test)
            .with(Finding::number("first", self.means[0]))
            .with(Finding::number("second", self.means[1]))
            .with(Finding::of("difference", &self.difference))
            .with(Finding::number("p", p));
        if test.starts_with("sampled") {
            findings = findings.fact("draws", draws(bootstrap));
        }
        if let Some(effect) = self.detectable {
            findings = findings.with(Finding::number("smallest detectable effect", effect));
        }
        findings
            .note(format!("{sentence}: {:+.4}, {test} p = {p_words}.", self.difference))
            .note(format!("The first is larger on {larger} records, smaller on {smaller}, equal on {equal}."))
            .note(seen)
    }
}

/// Whether both columns are of 0 and 1.
fn binary(ours: &[f64], theirs: &[f64]) -> bool {
    ours.iter().chain(theirs).all(|value| *value == 0.0 || *value == 1.0)
}

/// How often columns of 0 and 1 agree.
fn both(ours: &[f64], theirs: &[f64]) -> Drawing {
    let mut counts = vec![vec![0; 2]; 2];
    for (one, other) in ours.iter().zip(theirs) {
        counts[usize::from(*one == 0.0)][usize::from(*other == 0.0)] += 1;
    }
    let sides = ["1", "0"];
    Drawing::counts("Records by both systems.", ("first", &sides), ("second", &sides), counts)
}

/// The sum of the signed ranks of the differences, ties sharing their mean rank: what Wilcoxon's test leans on.
fn signed_ranks(differences: &[f64]) -> f64 {
    let mut sorted: Vec<f64> = differences.iter().copied().filter(|d| *d != 0.0).collect();
    sorted.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    let (mut sum, mut below) = (0.0, 0);
    for group in sorted.chunk_by(|a, b| a.abs() == b.abs()) {
        let rank = below as f64 + (group.len() + 1) as f64 / 2.0;
        sum += rank * group.iter().map(|d| d.signum()).sum::<f64>();
        below += group.len();
    }
    sum
}

/// The sums and sizes of clusters, by first appearance.
fn totals(differences: &[f64], keys: &[String]) -> Vec<(f64, f64)> {
    let mut number = HashMap::new();
    let mut totals = Vec::new();
    for (d, key) in differences.iter().zip(keys) {
        let at = *number.entry(key.as_str()).or_insert_with(|| {
            totals.push((0.0, 0.0));
            totals.len() - 1
        });
        let (sum, size) = &mut totals[at];
        *sum += d;
        *size += 1.0;
    }
    totals
}

/// A test that was done, and its two-sided p-value.
#[derive(Clone, Copy)]
struct Tested {
    name: &'static str,
    p: f64,
}

/// How many sign vectors a sampled test draws: as many as there are resamples, and enough for a p-value without any.
fn draws(bootstrap: &Bootstrap) -> usize {
    bootstrap.resamples.max(1000)
}

impl Tested {
    fn new(
        args: &CompareArgs,
        ours: &[f64],
        theirs: &[f64],
        units: &[(f64, f64)],
        clustered: bool,
        draws: usize,
    ) -> anyhow::Result<Self> {
        let binary = binary(ours, theirs);
        let test = match args.test {
            TestName::Auto if binary && !clustered => TestName::Mcnemar,
            TestName::Auto => TestName::SignFlip,
            test => test,
        };
        if clustered && test != TestName::SignFlip {
            bail!("this test needs independent records; leave out --cluster, or use --test sign-flip");
        }
        let seed = Seed(args.measure.seed);
        match test {
            TestName::Mcnemar if !binary => {
                bail!("McNemar's test needs a column of 0 and 1; use --test sign-flip or wilcoxon")
            }
            TestName::Mcnemar => {
                let right = |values: &[f64]| values.iter().map(|value| *value == 1.0).collect::<Vec<bool>>();
                let test = McNemar::new(&right(ours), &right(theirs))?;
                Ok(Self { name: "exact McNemar", p: test.exact() })
            }
            TestName::Wilcoxon => {
                let test = wilcoxon(ours, theirs, draws, seed).context("use --test sign-flip")?;
                Ok(Self { name: test.method, p: test.p })
            }
            TestName::Auto | TestName::SignFlip => {
                let sums: Vec<f64> = units.iter().map(|(sum, _)| *sum).collect();
                let test = sign_flip(&sums, &vec![0.0; sums.len()], draws, seed)?;
                Ok(Self { name: if test.exact { "exact sign-flip" } else { "sampled sign-flip" }, p: test.p })
            }
        }
    }
}

/// The smallest true difference that is found with the wanted power; `None` where no unit differs from the mean.
///
/// The standard error of a mean over clusters is that of a ratio: `sqrt(G/(G-1) sum (sum_g - mean n_g)^2)/n`.
fn detectable(args: &CompareArgs, units: &[(f64, f64)], mean: f64) -> anyhow::Result<Option<f64>> {
    let (count, n) = (units.len() as f64, units.iter().map(|(_, size)| size).sum::<f64>());
    let squares: f64 = units.iter().map(|(sum, size)| (sum - mean * size).powi(2)).sum();
    let error = (count / (count - 1.0) * squares).sqrt() / n;
    let sd = error * count.sqrt();
    if units.len() < 2 || !(sd > 1e-12 && sd.is_finite()) {
        return Ok(None);
    }
    let alpha = 1.0 - args.measure.level;
    Ok(Some(minimum_detectable_effect(sd, units.len(), alpha, args.power, Design::Paired)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_lean_where_most_differences_lie_and_not_where_the_largest_is() {
        // Five ones share the ranks 1 to 5, so 3 each; the one far away has rank 6.
        assert_eq!(signed_ranks(&[1.0, 1.0, 1.0, 1.0, 1.0, -100.0, 0.0]), 5.0 * 3.0 - 6.0);
    }
}
