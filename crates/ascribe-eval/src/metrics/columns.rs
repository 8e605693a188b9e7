//! Columns of numbers or labels by name: what a metric of the table reads.

use std::collections::BTreeMap;

use crate::EvalError;

/// The column that joins rows which are not independent; intervals resample its values.
pub const CLUSTER: &str = "cluster";

/// The values of one column.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// Numbers; truth values are 0 and 1.
    Numbers(Vec<f64>),
    /// Labels or texts.
    Labels(Vec<String>),
}

impl Column {
    /// Number of rows.
    pub fn len(&self) -> usize {
        match self {
            Self::Numbers(numbers) => numbers.len(),
            Self::Labels(labels) => labels.len(),
        }
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn pick(&self, rows: &[usize]) -> Self {
        match self {
            Self::Numbers(numbers) => Self::Numbers(rows.iter().map(|&row| numbers[row]).collect()),
            Self::Labels(labels) => Self::Labels(rows.iter().map(|&row| labels[row].clone()).collect()),
        }
    }
}

/// Columns of the same length, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Columns {
    columns: BTreeMap<String, Column>,
}

impl Columns {
    /// No columns.
    pub fn new() -> Self {
        Self::default()
    }

    /// With a column of numbers.
    #[must_use]
    pub fn with_numbers(mut self, name: &str, numbers: Vec<f64>) -> Self {
        self.columns.insert(name.to_owned(), Column::Numbers(numbers));
        self
    }

    /// With a column of labels or texts.
    #[must_use]
    pub fn with_labels(mut self, name: &str, labels: Vec<String>) -> Self {
        self.columns.insert(name.to_owned(), Column::Labels(labels));
        self
    }

    /// The column `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn get(&self, name: &str) -> Result<&Column, EvalError> {
        self.columns.get(name).ok_or_else(|| {
            let known = self.columns.keys().cloned().collect::<Vec<_>>().join(", ");
            EvalError::Missing { what: "the column", name: name.to_owned(), known }
        })
    }

    /// Number of rows: that of the first column.
    pub fn rows(&self) -> usize {
        self.columns.values().next().map_or(0, Column::len)
    }

    /// The rows `rows` of every column, in that order.
    ///
    /// # Errors
    /// When a row is not there.
    pub fn pick(&self, rows: &[usize]) -> Result<Self, EvalError> {
        self.same_rows()?;
        if let Some(&row) = rows.iter().find(|&&row| row >= self.rows()) {
            return Err(EvalError::Range { name: "a row", rule: "below the number of rows", got: row as f64 });
        }
        let columns = self.columns.iter().map(|(name, column)| (name.clone(), column.pick(rows))).collect();
        Ok(Self { columns })
    }

    /// All columns must have the same number of rows.
    pub(super) fn same_rows(&self) -> Result<(), EvalError> {
        let expected = self.rows();
        match self.columns.values().find(|column| column.len() != expected) {
            Some(column) => Err(EvalError::Length { what: "every column", expected, got: column.len() }),
            None => Ok(()),
        }
    }

    /// The numbers of a column.
    pub(super) fn numbers(&self, name: &'static str) -> Result<&[f64], EvalError> {
        match self.get(name)? {
            Column::Numbers(numbers) => {
                crate::error::finite(name, numbers)?;
                Ok(numbers)
            }
            Column::Labels(_) => Err(EvalError::Degenerate { what: name, why: "it must be a column of numbers" }),
        }
    }

    /// The texts of a column.
    pub(super) fn texts(&self, name: &'static str) -> Result<&[String], EvalError> {
        match self.get(name)? {
            Column::Labels(texts) => Ok(texts),
            Column::Numbers(_) => Err(EvalError::Degenerate { what: name, why: "it must be a column of texts" }),
        }
    }

    /// The truth values of a column of 0 and 1.
    pub(super) fn flags(&self, name: &'static str) -> Result<Vec<bool>, EvalError> {
        let numbers = self.numbers(name)?;
        crate::error::within(name, numbers, "0 or 1", |value| value == 0.0 || value == 1.0)?;
        Ok(numbers.iter().map(|&value| value == 1.0).collect())
    }

    /// The whole numbers of a column, from `low` on.
    pub(super) fn integers(&self, name: &'static str, low: i64) -> Result<Vec<i64>, EvalError> {
        let numbers = self.numbers(name)?;
        let whole = |value: f64| value.fract() == 0.0 && value >= low as f64 && value < 1e9;
        crate::error::within(name, numbers, "a whole number of its range", whole)?;
        Ok(numbers.iter().map(|&value| value as i64).collect())
    }

    /// The number of each row's cluster, if there is such a column.
    pub(super) fn clusters(&self) -> Result<Option<Vec<String>>, EvalError> {
        Ok(match self.columns.get(CLUSTER) {
            None => None,
            Some(Column::Labels(labels)) => Some(labels.clone()),
            Some(Column::Numbers(numbers)) => {
                crate::error::finite(CLUSTER, numbers)?;
                Some(numbers.iter().map(f64::to_string).collect())
            }
        })
    }
}
