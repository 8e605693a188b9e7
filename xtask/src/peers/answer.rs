//! What one process answers, and whether two answers mean the same work.

use std::fmt;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// One line of one process (`xtask/peers/README.md`).
#[derive(Debug)]
pub struct Answer {
    /// Of each timed repeat.
    pub seconds: Vec<f64>,
    /// Work of one repeat, in `unit`.
    pub units: f64,
    pub unit: String,
    pub peak_rss_bytes: f64,
    /// How the weights are held in memory, where it was said.
    pub weights: Option<String>,
    /// What one repeat took, where the job asks for it.
    pub costs: Option<Costs>,
    checks: Value,
}

/// What samples take besides seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Costs {
    /// Tokens that went through the layers.
    pub evaluated: f64,
    /// Bytes of keys and values at the end.
    pub kv_bytes: f64,
}

/// Tokens at the start of a greedy sequence that must be equal; later ones may differ where two tokens are as likely.
const GREEDY: usize = 16;

impl Answer {
    /// Reads the last line of `output`.
    pub fn parse(job: &str, output: &str) -> Result<Self> {
        let line = output.lines().rev().find(|line| !line.trim().is_empty()).context("nothing was printed")?;
        let said: Value = serde_json::from_str(line).context("the last line is no JSON")?;
        ensure!(said["job"] == job, "the answer is for job {}, not \"{job}\"", said["job"]);
        let positive = |field: &str| {
            let number = said[field].as_f64().filter(|number| *number > 0.0 && number.is_finite());
            number.with_context(|| format!("`{field}` is {}, not a number above 0", said[field]))
        };
        let seconds = numbers(&said["seconds"]).filter(|seconds| !seconds.is_empty());
        let seconds = seconds.with_context(|| format!("`seconds` is {}, not a list of numbers", said["seconds"]))?;
        ensure!(seconds.iter().all(|seconds| *seconds > 0.0), "`seconds` holds {seconds:?}; each must be above 0");
        Ok(Self {
            seconds,
            units: positive("units")?,
            unit: said["unit"].as_str().context("`unit` is no text")?.into(),
            peak_rss_bytes: positive("peak_rss_bytes")?,
            weights: said["weights"].as_str().map(str::to_owned),
            costs: Costs::of(&said["costs"]),
            checks: said["checks"].clone(),
        })
    }

    pub fn median_seconds(&self) -> f64 {
        Spread::of(self.seconds.iter().copied()).median
    }

    /// An error that names the first check on which the two differ.
    pub fn agrees_with(&self, peer: &Self) -> Result<()> {
        ensure!(
            (self.units, &self.unit) == (peer.units, &peer.unit),
            "ours did {} {}, theirs {} {}",
            self.units,
            self.unit,
            peer.units,
            peer.unit
        );
        let checks = peer.checks.as_object().filter(|checks| !checks.is_empty());
        for (name, theirs) in checks.context("the peer's answer has no `checks`")? {
            let ours = &self.checks[name];
            let agree = match name.as_str() {
                "losses" => close(ours, theirs, 1e-2),
                "logps" => close(ours, theirs, 1e-3),
                "mean_logp" => matches!((ours.as_f64(), theirs.as_f64()), (Some(a), Some(b)) if (a - b).abs() <= 0.5),
                "tokens" => ours == theirs,
                "values" => close(ours, theirs, 1e-9),
                "limits" => same_limits(ours, theirs),
                "ids" => start(ours).is_some() && start(ours) == start(theirs),
                _ => bail!("no rule compares the check `{name}`"),
            };
            ensure!(agree, "`{name}` differs: ours {}, theirs {}", short(ours), short(theirs));
        }
        Ok(())
    }
}

impl Costs {
    fn of(said: &Value) -> Option<Self> {
        let number = |field: &str| said[field].as_f64().filter(|number| *number > 0.0);
        Some(Self { evaluated: number("evaluated")?, kv_bytes: number("kv_bytes")? })
    }
}

/// Equal lengths, and |a - b| <= tolerance * (1 + |b|) throughout.
fn close(ours: &Value, theirs: &Value, tolerance: f64) -> bool {
    let (Some(ours), Some(theirs)) = (numbers(ours), numbers(theirs)) else { return false };
    let near = |(a, b): (&f64, &f64)| (a - b).abs() <= tolerance * (1.0 + b.abs());
    ours.len() == theirs.len() && ours.iter().zip(&theirs).all(near)
}

/// Limits of a thousand resamples each: they differ by about 3 % of the width of the interval, five times that is a
/// fault.
fn same_limits(ours: &Value, theirs: &Value) -> bool {
    let (Some(ours), Some(theirs)) = (numbers(ours), numbers(theirs)) else { return false };
    let (&[low, high], &[their_low, their_high]) = (&ours[..], &theirs[..]) else { return false };
    let far = 0.15 * (their_high - their_low);
    (low - their_low).abs() <= far && (high - their_high).abs() <= far
}

fn start(ids: &Value) -> Option<&[Value]> {
    ids.as_array()?.get(..GREEDY)
}

fn numbers(value: &Value) -> Option<Vec<f64>> {
    value.as_array()?.iter().map(Value::as_f64).collect()
}

/// The first hundred characters.
fn short(value: &Value) -> String {
    value.to_string().chars().take(100).collect()
}

/// Median and range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    low: f64,
    high: f64,
}

impl Spread {
    /// Of at least one finite value; of an even number, the median is the mean of the middle two.
    pub fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let n = values.len();
        let median = 0.5 * (values[(n - 1) / 2] + values[n / 2]);
        Self { median, low: values[0], high: values[n - 1] }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ({:.2}..{:.2})", self.median, self.low, self.high)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(units: u32, checks: &str) -> Answer {
        let line = format!(
            r#"{{"job":"a","seconds":[2,1,9],"units":{units},"unit":"pairs","peak_rss_bytes":5,"checks":{checks}}}"#
        );
        Answer::parse("a", &format!("{{'loss': 1}}\n{line}\n\n")).unwrap()
    }

    #[test]
    fn the_last_line_is_read_and_faults_are_named() {
        assert_eq!(answer(4, "{}").median_seconds(), 2.0);
        let error = |text: &str| format!("{:#}", Answer::parse("a", text).unwrap_err());
        assert!(error("").contains("nothing"));
        assert!(error("x").contains("no JSON"));
        assert!(error(r#"{"job":"b"}"#).contains("\"b\", not \"a\""));
        assert!(error(r#"{"job":"a","seconds":[]}"#).contains("`seconds`"));
        assert!(error(r#"{"job":"a","seconds":[0]}"#).contains("above 0"));
        assert!(error(r#"{"job":"a","seconds":[1],"units":0}"#).contains("`units`"));
    }

    #[test]
    fn costs_are_there_where_they_are_told() {
        let costs = |told: &str| Costs::of(&serde_json::from_str(told).unwrap());
        assert_eq!(costs(r#"{"evaluated":7,"kv_bytes":9}"#), Some(Costs { evaluated: 7.0, kv_bytes: 9.0 }));
        assert!(["null", "{}", r#"{"evaluated":7,"kv_bytes":0}"#].iter().all(|told| costs(told).is_none()));
        assert!(answer(4, "{}").costs.is_none());
    }

    #[test]
    fn only_the_same_work_agrees() {
        let agree = |ours: &str, theirs: &str| answer(4, ours).agrees_with(&answer(4, theirs)).is_ok();
        assert!(agree(r#"{"losses":[0.6931, 0.5], "more": 1}"#, r#"{"losses":[0.6932, 0.51]}"#));
        assert!(!agree(r#"{"losses":[0.6931, 0.5]}"#, r#"{"losses":[0.6932, 0.52]}"#));
        assert!(!agree(r#"{"losses":[0.6931]}"#, r#"{"losses":[0.6932, 0.5]}"#));
        assert!(!agree(r#"{"logps":[null]}"#, r#"{"logps":[-1]}"#));
        assert!(agree(r#"{"tokens":4,"mean_logp":-5.2}"#, r#"{"tokens":4,"mean_logp":-5.6}"#));
        assert!(!agree(r#"{"tokens":3,"mean_logp":-5.2}"#, r#"{"tokens":4,"mean_logp":-5.2}"#));
        assert!(agree(r#"{"values":[0.8333333333]}"#, r#"{"values":[0.83333333335]}"#));
        assert!(!agree(r#"{"values":[0.83333333]}"#, r#"{"values":[0.83333334]}"#));
        assert!(agree(r#"{"limits":[1.1,2.9]}"#, r#"{"limits":[1,3]}"#));
        assert!(!agree(r#"{"limits":[1.4,3]}"#, r#"{"limits":[1,3]}"#));
        assert!(!agree(r#"{"limits":[1]}"#, r#"{"limits":[1,3]}"#));
        assert!(!agree("{}", r#"{"tokens":4}"#));
        assert!(!agree("{}", "{}"));
        assert!(answer(4, r#"{"tokens":4}"#).agrees_with(&answer(5, r#"{"tokens":4}"#)).is_err());
    }

    #[test]
    fn greedy_sequences_agree_for_sixteen_tokens() {
        let ids = |last: u32, sixteenth: u32| format!(r#"{{"ids":[{} {sixteenth}, {last}]}}"#, "7, ".repeat(15));
        let agree = |ours: &str, theirs: &str| answer(4, ours).agrees_with(&answer(4, theirs)).is_ok();
        assert!(agree(&ids(1, 7), &ids(2, 7)));
        assert!(!agree(&ids(1, 7), &ids(1, 8)));
        assert!(!agree(r#"{"ids":[7]}"#, r#"{"ids":[7]}"#));
    }

    #[test]
    fn a_spread_is_median_and_range() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0].into_iter()).to_string(), "2.00 (1.00..3.00)");
        assert_eq!(Spread::of([4.0, 1.0].into_iter()).median, 2.5);
    }
}
