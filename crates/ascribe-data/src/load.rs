//! A file of one kind, read whole.

use std::path::Path;

use crate::{ColumnMap, DataError, Kind, Record, Rows, Skipped};

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
/// Those of [`Rows`] and [`Record::from_row`], and [`DataError::Empty`] for a file without rows.
pub fn load<R: Record>(path: impl AsRef<Path>, map: &ColumnMap) -> Result<Loaded<R>, DataError> {
    let mut source = Rows::open(&path)?;
    let mut loaded = Loaded { rows: Vec::new(), skipped: Skipped::by(source.unit()), notes: Vec::new() };
    let mut implicit = 0;
    while let Some(row) = source.next() {
        let (number, row) = row?;
        let place = source.place(number);
        let row = map.apply(place, row)?;
        implicit += usize::from(R::KIND == Kind::Preference && !row.contains_key("prompt"));
        match R::from_row(place, row)? {
            Ok(record) => loaded.rows.push(record),
            Err(untaught) => loaded.skipped.push(untaught),
        }
    }
    if loaded.rows.is_empty() && loaded.skipped.is_empty() {
        return Err(DataError::Empty { path: path.as_ref().to_owned() });
    }
    if !map.is_empty() {
        loaded.notes.push(map.to_string());
    }
    if implicit > 0 {
        loaded
            .notes
            .push(format!("no `prompt` column in {implicit} rows: the prompt is what chosen and rejected share"));
    }
    Ok(loaded)
}

#[cfg(test)]
mod tests {
    use tempfile::NamedTempFile;

    use super::*;
    use crate::{Preference, Prompt, Why};

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
    fn a_file_without_rows_is_refused() {
        let error = load::<Preference>(file("\n").path(), &ColumnMap::default()).unwrap_err();
        assert!(error.to_string().contains("holds no rows"), "{error}");
    }
}
