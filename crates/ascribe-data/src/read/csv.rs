//! CSV (RFC 4180) with a header: commas between cells, quotes around a cell that holds commas, quotes or line breaks.
//!
//! A cell is text with its white space, and stays text: a flag (`label`) and a number (`margin`) are read from it where
//! they are wanted. Rows are counted from 1 behind the header, as blank lines and line breaks in cells move lines.

use std::io::BufRead;
use std::path::Path;

use csv::{ErrorKind, ReaderBuilder, StringRecordsIntoIter};
use serde_json::Value;

use super::{Row, unreadable};
use crate::DataError;

/// The rows behind the header.
pub(super) struct Cells {
    names: Vec<String>,
    records: StringRecordsIntoIter<Box<dyn BufRead + Send>>,
    number: usize,
}

impl Cells {
    /// Reads the header.
    pub(super) fn open(path: &Path, text: Box<dyn BufRead + Send>) -> Result<Self, DataError> {
        let mut reader = ReaderBuilder::new().from_reader(text);
        let header = reader.headers().map_err(|error| refusal(path, error))?;
        let names: Vec<String> = header.iter().map(|name| name.trim().to_owned()).collect();
        let twice = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name));
        if let Some((_, name)) = twice {
            let words = format!("two columns are called `{name}`");
            return Err(DataError::Csv { path: path.to_owned(), words });
        }
        Ok(Self { names, records: reader.into_records(), number: 0 })
    }

    pub(super) fn advance(&mut self, path: &Path) -> Result<Option<Row>, DataError> {
        let Some(record) = self.records.next() else { return Ok(None) };
        let record = record.map_err(|error| refusal(path, error))?;
        self.number += 1;
        let cells = self.names.iter().zip(&record);
        let cells = cells.map(|(name, cell)| (name.clone(), Value::String(cell.to_owned())));
        Ok(Some((self.number, cells.collect())))
    }
}

fn refusal(path: &Path, error: csv::Error) -> DataError {
    let words = error.to_string();
    match error.into_kind() {
        ErrorKind::Io(error) => unreadable(path, error),
        _ => DataError::Csv { path: path.to_owned(), words },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tempfile::NamedTempFile;

    use crate::{ColumnMap, Preference, Prompt, Rows, Unpaired, load};

    fn file(text: &str) -> NamedTempFile {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    fn refused(text: &str) -> String {
        match Rows::open(file(text).path()) {
            Err(error) => error.to_string(),
            Ok(mut rows) => rows.find_map(Result::err).unwrap().to_string(),
        }
    }

    #[test]
    fn cells_keep_their_white_space_quotes_and_line_breaks() {
        let file = file("\u{feff}\na, b \n1,\" x, \"\"y\"\"\"\n\n2,\"two\r\nlines\"\r\n3, z ");
        let mut rows = Rows::open(file.path()).unwrap();
        assert_eq!(rows.unit(), "row");
        let rows: Vec<_> = rows.by_ref().map(|row| row.unwrap()).map(|(number, row)| (number, json!(row))).collect();
        let expected = [
            (1, json!({"a": "1", "b": " x, \"y\""})),
            (2, json!({"a": "2", "b": "two\r\nlines"})),
            (3, json!({"a": "3", "b": " z "})),
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn flags_and_numbers_are_read_from_text() {
        let pairs = file("question,chosen,rejected,margin\nq, yes,no,0.5\nr,yes,no,\n");
        let map = ColumnMap::parse(&["prompt=question"]).unwrap();
        let rows = load::<Preference>(pairs.path(), &map).unwrap().rows;
        assert_eq!((&rows[0].prompt, rows[0].chosen.as_str()), (&Prompt::Text("q".into()), " yes"));
        assert_eq!([rows[0].margin, rows[1].margin], [Some(0.5), None]);
        let labelled = file("prompt,completion,label\nq,a,True\nq,b,false\nq,c,1\nq,,0\n");
        let loaded = load::<Unpaired>(labelled.path(), &ColumnMap::default()).unwrap();
        assert_eq!(loaded.rows.iter().map(|row| row.label).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(loaded.skipped.to_string(), "1 row left out: 1 empty completion (row 4)");
        let wrong = file("prompt,completion,label\nq,a,true\nq,a,maybe\n");
        let message = load::<Unpaired>(wrong.path(), &ColumnMap::default()).unwrap_err().to_string();
        assert!(message.ends_with("row 2: column `label` must hold true, false, 1 or 0, got \"maybe\""), "{message}");
    }

    #[test]
    fn what_is_no_table_is_named() {
        let message = refused("a,b\n1,2\n3\n");
        assert!(message.contains("as CSV") && message.contains("line: 3"), "{message}");
        assert!(refused("a,b,a\n1,2,3\n").contains("two columns are called `a`"));
        // Words that are neither JSON nor a table are a header without rows.
        let words = file("hello\n");
        let message = load::<Preference>(words.path(), &ColumnMap::default()).unwrap_err().to_string();
        assert!(
            message.contains("holds no rows; give JSONL, a JSON array, CSV with a header, or Parquet"),
            "{message}"
        );
    }
}
