//! A file of one kind: its records one at a time, or whole.

use std::collections::VecDeque;
use std::path::Path;

use crate::formats::Format;
use crate::{ColumnMap, DataError, Kind, Record, Rows, Skipped, Untaught};

/// The records of a file, one at a time, in constant memory. An inner error is a row that cannot teach.
///
/// The first row decides how all are read; [`notes`](Self::notes) say how. Ends after the first outer error.
pub struct Records<R> {
    rows: Rows,
    map: ColumnMap,
    format: Format,
    first: Option<Row>,
    pending: VecDeque<Result<R, Untaught>>,
    implicit: usize,
    ended: bool,
}

type Row = (usize, serde_json::Map<String, serde_json::Value>);

impl<R: Record> Records<R> {
    /// Opens `path` and looks at its first row.
    ///
    /// # Errors
    /// Those of [`Rows`], [`DataError::Empty`] for a file without rows, [`DataError::MissingColumn`] for a column that the
    /// map names, [`DataError::Ambiguous`] where two readings fit, [`DataError::NoNeutral`] where the map says what neutral
    /// steps are and the layout has none.
    pub fn open(path: impl AsRef<Path>, map: &ColumnMap) -> Result<Self, DataError> {
        let mut rows = Rows::open(&path)?;
        let Some(first) = rows.next() else {
            return Err(DataError::Empty { path: path.as_ref().to_owned() });
        };
        let (number, row) = first?;
        let row = map.apply(rows.place(number), row)?;
        let (format, _) = Format::detect(rows.place(number), &row, Some(R::KIND))?;
        if map.neutral().is_some() && format != Format::Prm800k {
            return Err(DataError::NoNeutral { path: path.as_ref().to_owned() });
        }
        Ok(Self {
            rows,
            map: map.clone(),
            format,
            first: Some((number, row)),
            pending: VecDeque::new(),
            implicit: 0,
            ended: false,
        })
    }

    /// How columns are read where it is not by their own names, one sentence each, for the user to see.
    pub fn notes(&self) -> Vec<String> {
        let map = (!self.map.is_empty()).then(|| self.map.to_string());
        let implicit = (self.implicit > 0).then(|| {
            format!("no `prompt` column in {} rows: the prompt is what chosen and rejected share", self.implicit)
        });
        [map, self.format.note(self.map.neutral().unwrap_or_default()), implicit].into_iter().flatten().collect()
    }

    /// What the numbers of the rows count, see [`Rows::unit`].
    pub fn unit(&self) -> &'static str {
        self.rows.unit()
    }

    /// Reads one more row of the file; false at its end.
    fn advance(&mut self) -> Result<bool, DataError> {
        let (number, row) = match self.first.take() {
            Some(first) => first,
            None => match self.rows.next() {
                None => return Ok(false),
                Some(next) => {
                    let (number, row) = next?;
                    (number, self.map.apply(self.rows.place(number), row)?)
                }
            },
        };
        let place = self.rows.place(number);
        for row in self.format.rows(place, row, R::KIND, self.map.neutral().unwrap_or_default())? {
            self.pending.push_back(match row {
                Err(why) => Err(Untaught { line: number, why }),
                Ok(row) => {
                    self.implicit += usize::from(R::KIND == Kind::Preference && !row.contains_key("prompt"));
                    R::from_row(place, row)?
                }
            });
        }
        Ok(true)
    }
}

impl<R: Record> Iterator for Records<R> {
    type Item = Result<Result<R, Untaught>, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(record) = self.pending.pop_front() {
                return Some(Ok(record));
            }
            if self.ended {
                return None;
            }
            match self.advance() {
                Ok(true) => {}
                Ok(false) => self.ended = true,
                Err(error) => {
                    self.ended = true;
                    self.pending.clear();
                    return Some(Err(error));
                }
            }
        }
    }
}

/// The rows of a file that can teach, and what there is to say about the others.
#[derive(Clone, Debug)]
pub struct Loaded<R> {
    /// The rows, in the order of the file. May be empty: the caller refuses with [`Skipped::refuse`].
    pub rows: Vec<R>,
    /// The rows that were left out.
    pub skipped: Skipped,
    /// How columns were read where it is not by their own names; one sentence each, for the user to see.
    pub notes: Vec<String>,
}

/// Reads all rows of `path` as records of kind `R`.
///
/// # Errors
/// Those of [`Records::open`] and [`Record::from_row`].
pub fn load<R: Record>(path: impl AsRef<Path>, map: &ColumnMap) -> Result<Loaded<R>, DataError> {
    let mut records = Records::<R>::open(path, map)?;
    let mut loaded = Loaded { rows: Vec::new(), skipped: Skipped::by(records.unit()), notes: Vec::new() };
    for record in records.by_ref() {
        match record? {
            Ok(record) => loaded.rows.push(record),
            Err(untaught) => loaded.skipped.push(untaught),
        }
    }
    loaded.notes = records.notes();
    Ok(loaded)
}

#[cfg(test)]
mod tests {
    use tempfile::NamedTempFile;

    use super::*;
    use crate::{Neutral, Preference, Prompt, Stepwise, Why};

    fn file(text: &str) -> NamedTempFile {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn rows_are_mapped_read_and_counted() {
        let file = file(
            "{\"q\": \"1+1\", \"chosen\": \"2\", \"rejected\": \"3\"}\n\n\
             {\"q\": \"1+1\", \"chosen\": \"2\", \"rejected\": \"2\"}\n",
        );
        let map = ColumnMap::parse(&["prompt=q"]).unwrap();
        let loaded = load::<Preference>(file.path(), &map).unwrap();
        assert_eq!(loaded.rows.len(), 1);
        assert_eq!(loaded.rows[0].prompt, Prompt::Text("1+1".into()));
        assert_eq!(loaded.skipped.lines(Why::EqualPair), [3]);
        assert_eq!(loaded.notes, ["prompt is read from `q`"]);
    }

    #[test]
    fn an_array_is_counted_by_element_and_an_implicit_prompt_is_said() {
        let reply = |text: &str| format!("\"\\n\\nHuman: q\\n\\nAssistant: {text}\"");
        let row = |a: &str, b: &str| format!("{{\"chosen\": {}, \"rejected\": {}}}", reply(a), reply(b));
        let file = file(&format!("[{}, {}]", row("a", "b"), row("", "b")));
        let loaded = load::<Preference>(file.path(), &ColumnMap::default()).unwrap();
        assert_eq!(loaded.skipped.to_string(), "1 row left out: 1 empty completion (element 2)");
        assert_eq!(loaded.notes, ["no `prompt` column in 2 rows: the prompt is what chosen and rejected share"]);
    }

    #[test]
    fn neutral_steps_are_what_they_are_taken_for_and_only_where_there_are_some() {
        let step = r#"{"completions": [{"text": "a", "rating": 0}], "chosen_completion": 0}"#;
        let rated = file(&format!(r#"{{"question": {{"problem": "q"}}, "label": {{"steps": [{step}]}}}}"#));
        for (neutral, label, note) in [
            (None, 0.0, "a step is right if its rating is 1"),
            (Some(Neutral::Wrong), 0.0, "a step is right if its rating is 1"),
            (Some(Neutral::Right), 1.0, "a step is right if its rating is 1 or 0"),
        ] {
            let map = ColumnMap::default().with_neutral(neutral);
            let loaded = load::<Stepwise>(rated.path(), &map).unwrap();
            assert_eq!(loaded.rows[0].labels, [Some(label)]);
            assert!(loaded.notes[0].ends_with(note), "{:?}", loaded.notes);
        }
        let plain = file(r#"{"prompt": "q", "completions": ["a"], "labels": [1]}"#);
        let map = ColumnMap::default().with_neutral(Some(Neutral::Wrong));
        let error = load::<Stepwise>(plain.path(), &map).unwrap_err().to_string();
        assert!(error.contains("has another layout; drop neutral_steps"), "{error}");
    }

    #[test]
    fn margins_of_two_scales_are_refused() {
        let scored = r#"{"prompt": "q", "chosen": "a", "rejected": "b", "score_chosen": 8, "score_rejected": 5}"#;
        let strong = r#"{"prompt": "q", "response_1": "a", "response_2": "b", "preference_strength": 2}"#;
        for (first, number) in [(scored, 3.0), (strong, 2.0)] {
            let with = |margin: &str| first.replace('}', &format!(", \"margin\": {margin}}}"));
            let loaded =
                load::<Preference>(file(&format!("{first}\n{}\n", with("null"))).path(), &ColumnMap::default())
                    .unwrap();
            assert!(loaded.rows.iter().all(|row| row.margin == Some(number)) && loaded.rows.len() == 2);
            let mixed = file(&format!("{first}\n{}\n", with("0.5")));
            let error = load::<Preference>(mixed.path(), &ColumnMap::default()).unwrap_err().to_string();
            assert!(error.contains("line 2: column `margin` must hold nothing in a file whose margins"), "{error}");
            assert!(error.contains("bring all rows to one scale") && error.ends_with("got 0.5"), "{error}");
        }
    }

    #[test]
    fn a_file_without_rows_is_refused() {
        let error = load::<Preference>(file("\n").path(), &ColumnMap::default()).unwrap_err();
        assert!(error.to_string().contains("holds no rows"), "{error}");
    }
}
