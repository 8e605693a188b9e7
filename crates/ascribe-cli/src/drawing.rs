//! Figures that a measurement brings along. Their numbers are no measures, so JSON holds them apart, and a report is drawn
//! from there.

use ascribe::eval::calibrate::{Bin, Binning, reliability};
use ascribe::eval::report::{CountMatrix, Reliability, Report};
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
        })
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
