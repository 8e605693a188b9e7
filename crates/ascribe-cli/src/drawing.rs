//! Figures that a measurement brings along. Their numbers are no measures, so JSON holds them apart, and a report is drawn
//! from there.

use anyhow::Context;
use ascribe::eval::calibrate::{Bin, Binning, reliability};
use ascribe::eval::curve::{OverOptimization, Saturated, fit_over_optimization};
use ascribe::eval::report::{
    Alternative, CountMatrix, HeatMap, HeatRow, Pareto, Reliability, Report, RewardCurve, RewardCurves,
};
use ascribe::eval::wilson;
use serde::{Deserialize, Serialize};

/// A figure in numbers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Drawing {
    /// How often it is right, against how often it is said to be.
    Reliability { caption: String, said: String, bins: Vec<Binned> },
    /// Counts of one thing against another.
    Counts {
        caption: String,
        row: String,
        column: String,
        rows: Vec<String>,
        columns: Vec<String>,
        counts: Vec<Vec<u64>>,
    },
    /// Rewards against the distance from the reference, each with its fit where a form is named.
    OverOptimization { caption: String, x: String, y: String, form: Option<Form>, curves: Vec<Rewards> },
    /// Alternatives under two goals, larger being better in both.
    Pareto { caption: String, x: String, y: String, points: Vec<Named>, reference: Option<(f64, f64)> },
    /// Credit by token, over the text.
    Credit { caption: String, rows: Vec<Credited> },
}

/// The form of a curve of rewards.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    BestOfN,
    Rl,
    QuadraticInKl,
}

/// One reward: (distance, reward over the reference).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rewards {
    name: String,
    points: Vec<(f64, f64)>,
}

/// One alternative.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Named {
    name: String,
    x: f64,
    y: f64,
}

/// One text: (token, credit), and the tokens from `planted.0` up to `planted.1` of a planted wrong step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Credited {
    label: String,
    tokens: Vec<(String, f32)>,
    planted: Option<(usize, usize)>,
    #[serde(default)]
    note: String,
}

/// One bin of a reliability diagram; its mean probability is absent where it is empty.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Binned {
    low: f64,
    high: f64,
    n: usize,
    right: usize,
    confidence: Option<f64>,
}

/// What the rows or the columns of counts are, and their names.
pub type Side<'a> = (&'a str, &'a [&'a str]);

impl Drawing {
    /// The reliability diagram of probabilities; `said` names them.
    pub fn reliability(said: &str, p: &[f64], right: &[bool], binning: Binning) -> anyhow::Result<Self> {
        let binned = |bin: Bin| Binned {
            low: bin.low,
            high: bin.high,
            n: bin.n,
            right: bin.accuracy.map_or(0, |accuracy| (accuracy.value * bin.n as f64).round() as usize),
            confidence: bin.confidence,
        };
        let kind = if let Binning::Mass(_) = binning { "equal mass" } else { "equal width" };
        let caption = format!("Reliability over bins of {kind}, with 95 % intervals.");
        let bins = reliability(p, right, binning)?.into_iter().map(binned).collect();
        Ok(Self::Reliability { caption, said: said.to_owned(), bins })
    }

    /// Counts, row by row.
    pub fn counts(caption: &str, (row, rows): Side<'_>, (column, columns): Side<'_>, counts: Vec<Vec<u64>>) -> Self {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>();
        Self::Counts {
            caption: caption.to_owned(),
            row: row.to_owned(),
            column: column.to_owned(),
            rows: owned(rows),
            columns: owned(columns),
            counts,
        }
    }

    /// Adds the figure to a report.
    pub fn onto(&self, report: Report) -> anyhow::Result<Report> {
        Ok(match self {
            Self::Reliability { caption, said, bins } => {
                let bins = bins.iter().map(Binned::bin).collect::<anyhow::Result<Vec<Bin>>>()?;
                let y_label = "share right (95 % interval)".to_owned();
                report.figure(caption, Reliability { x_label: said.clone(), y_label, bins })
            }
            Self::Counts { caption, row, column, rows, columns, counts } => {
                let matrix = CountMatrix {
                    row_label: row.clone(),
                    column_label: column.clone(),
                    rows: rows.clone(),
                    columns: columns.clone(),
                    counts: counts.clone(),
                };
                report.figure(caption, matrix)
            }
            Self::OverOptimization { caption, x, y, form, curves } => {
                let curves = curves.iter().map(|one| one.curve(*form)).collect::<anyhow::Result<Vec<RewardCurve>>>()?;
                report.figure(caption, RewardCurves { x_label: x.clone(), y_label: y.clone(), curves })
            }
            Self::Pareto { caption, x, y, points, reference } => {
                let point = |one: &Named| Alternative { name: one.name.clone(), x: one.x, y: one.y };
                let points = points.iter().map(point).collect();
                report.figure(caption, Pareto { x_label: x.clone(), y_label: y.clone(), points, reference: *reference })
            }
            Self::Credit { caption, rows } => {
                let row = |one: &Credited| HeatRow {
                    label: one.label.clone(),
                    tokens: one.tokens.clone(),
                    planted: one.planted.map(|(first, end)| first..end),
                    note: one.note.clone(),
                };
                report.figure(caption, HeatMap { rows: rows.iter().map(row).collect() })
            }
        })
    }
}

impl Rewards {
    fn curve(&self, form: Option<Form>) -> anyhow::Result<RewardCurve> {
        let Self { name, points } = self;
        let form = form.map(|form| match form {
            Form::BestOfN => OverOptimization::BestOfN,
            Form::Rl => OverOptimization::Rl,
            Form::QuadraticInKl => OverOptimization::QuadraticInKl,
        });
        let (distances, gains): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
        let fitted = |form| fit_over_optimization(&distances, &gains, None, form, Saturated::Refuse);
        let fit = form.map(fitted).transpose().with_context(|| format!("the curve `{name}`; leave out `form`"))?;
        Ok(RewardCurve { name: name.clone(), points: points.clone(), fit })
    }
}

impl Binned {
    fn bin(&self) -> anyhow::Result<Bin> {
        let Self { low, high, n, right, confidence } = *self;
        let accuracy = if n > 0 { Some(wilson(right, n, 0.95)?) } else { None };
        Ok(Bin { low, high, n, confidence, accuracy })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_as_json_is_drawn_the_same() {
        let p = [0.1, 0.35, 0.4, 0.8, 0.65, 0.9, 0.55, 0.2];
        let right = [false, false, true, true, true, true, false, false];
        let counts =
            Drawing::counts("c", ("truth", &["a", "b"]), ("verdict", &["x", "y"]), vec![vec![1, 2], vec![0, 4]]);
        let drawn = |drawing: &Drawing| drawing.onto(Report::new("r")).unwrap().to_html();
        for drawing in [Drawing::reliability("p", &p, &right, Binning::Width(5)).unwrap(), counts] {
            let read: Drawing = serde_json::from_str(&serde_json::to_string(&drawing).unwrap()).unwrap();
            assert_eq!(drawn(&read), drawn(&drawing));
        }
    }
}
