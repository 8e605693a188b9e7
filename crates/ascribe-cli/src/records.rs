//! Rows of a file that is measured: JSONL, a JSON array, or CSV with a header; plain or gzip.
//!
//! The format is told by content: JSON begins with a brace or a bracket, anything else is CSV. A cell of CSV is text, and
//! becomes a number where one is asked for. `a.b` names the column `b` inside the column `a`, unless a column is called
//! so.

use std::io::BufRead;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use ascribe::data::{Rows, decompressed};
use serde_json::{Map, Value};

use crate::config::closest;

/// One row with its place in the file.
pub struct Record {
    number: usize,
    cells: Map<String, Value>,
}

impl Record {
    /// All that stands in the row.
    pub fn cells(&self) -> &Map<String, Value> {
        &self.cells
    }
}

/// The rows of one file.
pub struct Records {
    path: PathBuf,
    unit: &'static str,
    /// The rows, one at least.
    pub rows: Vec<Record>,
}

impl Records {
    /// Reads the whole file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        // It is opened twice, and what a pipe gave once is gone.
        if path.exists() && !path.is_file() {
            bail!("{} is no regular file; write the rows to a file first", path.display());
        }
        let mut bytes = decompressed(path)?;
        let json = loop {
            let seen = bytes.fill_buf().with_context(|| format!("cannot read {}", path.display()))?;
            match (seen.iter().copied().find(|byte| !byte.is_ascii_whitespace()), seen.len()) {
                (Some(first), _) => break matches!(first, b'{' | b'['),
                (None, 0) => bail!("{} holds no rows; give JSONL, a JSON array, or CSV with a header", path.display()),
                (None, blank) => bytes.consume(blank),
            }
        };
        let records = if json { Self::of_json(path)? } else { Self::of_csv(path, bytes)? };
        if records.rows.is_empty() {
            bail!("{} holds no rows; give JSONL, a JSON array, or CSV with a header", path.display());
        }
        Ok(records)
    }

    fn of_json(path: &Path) -> anyhow::Result<Self> {
        let rows = Rows::open(path)?;
        let unit = rows.unit();
        let rows = rows.map(|row| row.map(|(number, cells)| Record { number, cells }));
        Ok(Self { path: path.to_owned(), unit, rows: rows.collect::<Result<_, _>>()? })
    }

    fn of_csv(path: &Path, mut bytes: impl BufRead) -> anyhow::Result<Self> {
        let unreadable = |error: csv::Error| anyhow!("{}: not CSV ({error}); fix or delete the row", path.display());
        let mut text = String::new();
        bytes.read_to_string(&mut text).with_context(|| format!("cannot read {}", path.display()))?;
        let text = text.replace("\r\n", "\n");
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
        let names = reader.headers().map_err(unreadable)?.clone();
        if let Some((at, name)) =
            names.iter().enumerate().find(|(at, name)| names.iter().take(*at).any(|it| it == *name))
        {
            bail!(
                "{}: the columns {} and {} are both called `{name}`; rename one",
                path.display(),
                names.iter().position(|it| it == name).map_or(0, |first| first + 1),
                at + 1
            );
        }
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(unreadable)?;
            // A place is where the reader stood before it skipped empty lines.
            let number = record.position().map_or(0, |place| {
                let rest = text.as_bytes().get(place.byte() as usize..).unwrap_or_default();
                place.line() as usize + rest.iter().take_while(|byte| **byte == b'\n').count()
            });
            let cell = |text: &str| if text.is_empty() { Value::Null } else { Value::String(text.to_owned()) };
            let cells = names.iter().zip(&record).map(|(name, text)| (name.to_owned(), cell(text))).collect();
            rows.push(Record { number, cells });
        }
        Ok(Self { path: path.to_owned(), unit: "line", rows })
    }

    /// A file that holds one object of columns, as some releases write it, as rows. Columns of another length than
    /// `column` hold for the whole file and are left out. Other files stay as they are.
    pub fn transposed(mut self, column: &str) -> Self {
        let [Record { cells, .. }] = &self.rows[..] else { return self };
        let Some(length) = cells.get(column).and_then(Value::as_array).map(Vec::len) else { return self };
        let lists: Vec<(&String, &Vec<Value>)> = cells
            .iter()
            .filter_map(|(name, list)| Some((name, list.as_array()?)))
            .filter(|(_, list)| list.len() == length)
            .collect();
        let row = |at: usize| -> Map<String, Value> {
            lists.iter().map(|(name, list)| ((*name).clone(), list[at].clone())).collect()
        };
        let rows = (0..length).map(|at| Record { number: at + 1, cells: row(at) }).collect();
        (self.unit, self.rows) = ("element", rows);
        self
    }

    /// `rows.jsonl, line 3`.
    pub fn place(&self, row: &Record) -> String {
        format!("{}, {} {}", self.path.display(), self.unit, row.number)
    }

    /// The name of the file, for words and tables.
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Whether any row has the column; a row that lacks it is then an error that names its place.
    pub fn has(&self, column: &str) -> bool {
        self.rows.iter().any(|row| find(&row.cells, column).is_some())
    }

    /// The first column, unless the file has only the second: what `ascribe score` writes under a name of its own.
    pub fn either<'a>(&self, first: &'a str, second: &'a str) -> &'a str {
        if self.has(second) && !self.has(first) { second } else { first }
    }

    /// What stands in a column.
    pub fn value<'a>(&self, row: &'a Record, column: &str) -> anyhow::Result<&'a Value> {
        find(&row.cells, column).ok_or_else(|| {
            let names: Vec<&str> = row.cells.keys().map(String::as_str).collect();
            let close = closest(column, names.iter().copied());
            anyhow!("{}: column `{column}` is missing; found {}{close}", self.place(row), names.join(", "))
        })
    }

    /// A number; true and false are 1 and 0.
    pub fn number(&self, row: &Record, column: &str) -> anyhow::Result<f64> {
        let value = self.value(row, column)?;
        number(value).ok_or_else(|| self.wrong(row, column, "a finite number", value))
    }

    /// A whole number.
    pub fn integer(&self, row: &Record, column: &str) -> anyhow::Result<i64> {
        let value = self.value(row, column)?;
        let whole = number(value).filter(|number| number.fract() == 0.0 && number.abs() < 1e15);
        whole.map(|number| number as i64).ok_or_else(|| self.wrong(row, column, "a whole number", value))
    }

    /// 0 or 1, false or true.
    pub fn flag(&self, row: &Record, column: &str) -> anyhow::Result<bool> {
        let value = self.value(row, column)?;
        flag(value).ok_or_else(|| self.wrong(row, column, "0 or 1, false or true", value))
    }

    /// A text.
    pub fn text<'a>(&self, row: &'a Record, column: &str) -> anyhow::Result<&'a str> {
        let value = self.value(row, column)?;
        value.as_str().ok_or_else(|| self.wrong(row, column, "a string", value))
    }

    /// A list.
    pub fn list<'a>(&self, row: &'a Record, column: &str) -> anyhow::Result<&'a [Value]> {
        let value = self.value(row, column)?;
        value.as_array().map(Vec::as_slice).ok_or_else(|| self.wrong(row, column, "a list", value))
    }

    /// A list of numbers.
    pub fn numbers(&self, row: &Record, column: &str) -> anyhow::Result<Vec<f64>> {
        let value = self.value(row, column)?;
        let numbers = value.as_array().and_then(|list| list.iter().map(number).collect::<Option<Vec<f64>>>());
        numbers.ok_or_else(|| self.wrong(row, column, "a list of finite numbers", value))
    }

    /// What stands in a column as text: an id, or the name of a cluster or subset.
    pub fn label(&self, row: &Record, column: &str) -> anyhow::Result<String> {
        match self.value(row, column)? {
            Value::String(text) => Ok(text.clone()),
            value @ (Value::Number(_) | Value::Bool(_)) => Ok(value.to_string()),
            other => Err(self.wrong(row, column, "a string or a number", other)),
        }
    }

    /// Every row's entry, read by one of the functions above.
    pub fn every<T>(
        &self,
        column: &str,
        read: impl Fn(&Self, &Record, &str) -> anyhow::Result<T>,
    ) -> anyhow::Result<Vec<T>> {
        self.rows.iter().map(|row| read(self, row, column)).collect()
    }

    /// An entry of another kind than the protocol needs.
    pub fn wrong(&self, row: &Record, column: &str, wanted: &str, value: &Value) -> anyhow::Error {
        let got = match value {
            Value::Null => "none".to_owned(),
            Value::String(text) => format!("\"{}\"", text.chars().take(40).collect::<String>()),
            Value::Array(_) => "a list".to_owned(),
            Value::Object(_) => "an object".to_owned(),
            other => other.to_string(),
        };
        anyhow!("{}: `{column}` must be {wanted}, got {got}; fix or delete the row", self.place(row))
    }
}

fn find<'a>(cells: &'a Map<String, Value>, column: &str) -> Option<&'a Value> {
    cells.get(column).or_else(|| {
        let (outer, inner) = column.split_once('.')?;
        find(cells.get(outer)?.as_object()?, inner)
    })
}

/// A finite number; true and false are 1 and 0.
pub fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::Bool(flag) => f64::from(u8::from(*flag)),
        Value::String(text) => match text.parse::<f64>() {
            Ok(number) => number,
            Err(_) => f64::from(u8::from(text.to_ascii_lowercase().parse::<bool>().ok()?)),
        },
        _ => return None,
    };
    number.is_finite().then_some(number)
}

/// 0 or 1, false or true.
pub fn flag(value: &Value) -> Option<bool> {
    match number(value)? {
        0.0 => Some(false),
        1.0 => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn records(text: &str) -> Records {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Records::read(file.path()).unwrap()
    }

    #[test]
    fn csv_and_json_say_the_same() {
        let csv = records("id, score ,ok\na,0.5,true\nb,1e1,0\n");
        let json = records("{\"id\":\"a\",\"score\":0.5,\"ok\":true}\n{\"id\":\"b\",\"score\":10,\"ok\":0}\n");
        for table in [csv, json] {
            assert_eq!(table.every("score", Records::number).unwrap(), [0.5, 10.0]);
            assert_eq!(table.every("ok", Records::flag).unwrap(), [true, false]);
            assert_eq!(table.every("id", Records::label).unwrap(), ["a", "b"]);
        }
    }

    #[test]
    fn faults_name_the_line() {
        let error = records("score\r\n1\r\n\r\nx\r\n").every("score", Records::number).unwrap_err().to_string();
        assert!(error.contains("line 4: `score` must be a finite number, got \"x\""), "{error}");
        let error = records("{\"scores\":1}").every("score", Records::number).unwrap_err().to_string();
        assert!(error.contains("line 1: column `score` is missing; found scores; did you mean `scores`?"), "{error}");
        for text in ["NaN", "inf", ""] {
            assert_eq!(number(&json!(text)), None, "{text}");
        }
    }

    #[test]
    fn columns_may_lie_inside_columns() {
        assert_eq!(records("{\"a\":{\"b\":[1,2]}}").every("a.b", Records::numbers).unwrap(), [[1.0, 2.0]]);
    }

    #[test]
    fn a_column_of_later_rows_is_a_column_and_the_rows_without_it_are_named() {
        let table = records("{\"score\":1}\n{\"score\":2,\"subset\":\"x\"}\n");
        assert!(table.has("subset") && !table.has("sub"));
        let error = table.every("subset", Records::label).unwrap_err().to_string();
        assert!(error.contains("line 1: column `subset` is missing"), "{error}");
    }

    #[test]
    fn an_object_of_columns_is_turned_into_rows() {
        let table = records("{\"model\":\"m\",\"subset\":[\"x\",\"y\"],\"score\":[1,2]}").transposed("subset");
        assert_eq!(table.every("score", Records::number).unwrap(), [1.0, 2.0]);
        assert!(!table.has("model"));
    }
}
