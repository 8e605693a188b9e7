//! A file of any layout to JSONL with the columns of TRL.

use std::path::Path;

use serde::Serialize;

use crate::{
    Choices, ColumnMap, DataError, Kind, LanguageModelling, Preference, PromptCompletion, PromptOnly, Rated, Record,
    Records, Skipped, Stepwise, Unpaired, try_write_jsonl,
};

/// What a conversion did.
#[derive(Clone, Debug)]
pub struct Converted {
    /// The kind of the rows.
    pub kind: Kind,
    /// Rows that were written.
    pub written: usize,
    /// Rows that were left out.
    pub skipped: Skipped,
    /// How columns were read where it is not by their own names.
    pub notes: Vec<String>,
}

/// Reads the rows of `from`, as `kind` or as what they are, and writes them to `to`, one at a time and all or nothing.
///
/// # Errors
/// Those of [`Records`], and [`DataError::Write`].
pub fn convert(
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    map: &ColumnMap,
    kind: Option<Kind>,
) -> Result<Converted, DataError> {
    let (from, to) = (from.as_ref(), to.as_ref());
    let kind = match kind {
        Some(kind) => kind,
        None => Kind::detect(from, map)?,
    };
    match kind {
        Kind::LanguageModelling => rows::<LanguageModelling>(from, to, map),
        Kind::PromptOnly => rows::<PromptOnly>(from, to, map),
        Kind::PromptCompletion => rows::<PromptCompletion>(from, to, map),
        Kind::Preference => rows::<Preference>(from, to, map),
        Kind::Unpaired => rows::<Unpaired>(from, to, map),
        Kind::Stepwise => rows::<Stepwise>(from, to, map),
        Kind::Rated => rows::<Rated>(from, to, map),
        Kind::Choices => rows::<Choices>(from, to, map),
    }
}

fn rows<R: Record + Serialize>(from: &Path, to: &Path, map: &ColumnMap) -> Result<Converted, DataError> {
    let mut records = Records::<R>::open(from, map)?;
    let mut skipped = Skipped::by(records.unit());
    let mut written = 0;
    if from.canonicalize().is_ok_and(|from| to.canonicalize().is_ok_and(|to| from == to)) {
        return Err(DataError::Write {
            path: to.to_owned(),
            source: std::io::Error::other("it is the file that is read"),
        });
    }
    let mut taught = records.by_ref().filter_map(|record| match record {
        Err(error) => Some(Err(error)),
        Ok(Err(untaught)) => {
            skipped.push(untaught);
            None
        }
        Ok(Ok(record)) => {
            written += 1;
            Some(Ok(record))
        }
    });
    // Without a row nothing is written, so that what stands there is kept.
    if let Some(first) = taught.next() {
        try_write_jsonl(to, std::iter::once(first).chain(taught))?;
    }
    Ok(Converted { kind: R::KIND, written, skipped, notes: records.notes() })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tempfile::tempdir;

    use super::*;
    use crate::{Rows, Why};

    fn converted(rows: &[Value], kind: Option<Kind>) -> (Converted, Vec<Value>) {
        let folder = tempdir().unwrap();
        let (from, to) = (folder.path().join("from.jsonl"), folder.path().join("to.jsonl"));
        std::fs::write(&from, rows.iter().map(|row| format!("{row}\n")).collect::<String>()).unwrap();
        let done = convert(&from, &to, &ColumnMap::default(), kind).unwrap();
        let written = Rows::open(&to).unwrap().map(|row| Value::Object(row.unwrap().1)).collect();
        (done, written)
    }

    #[test]
    fn steps_are_written_in_the_columns_of_trl() {
        let rows = [
            json!({"problem": "q", "steps": ["a", "b"], "label": 0}),
            json!({"problem": "q", "steps": [], "label": -1}),
        ];
        let (done, written) = converted(&rows, None);
        assert_eq!(written, [json!({"prompt": "q", "completions": ["a", "b"], "labels": [0.0, null]})]);
        assert_eq!((done.kind, done.written), (Kind::Stepwise, 1));
        assert_eq!(done.skipped.lines(Why::EmptyCompletion), [2]);
        assert!(done.notes[0].starts_with("read as ProcessBench"), "{:?}", done.notes);
    }

    #[test]
    fn a_kind_that_is_asked_for_is_written() {
        let rows = [json!({"question": "1+1", "answer": "2"})];
        assert_eq!(converted(&rows, None).1, [json!({"prompt": "1+1", "completion": "2"})]);
        assert_eq!(converted(&rows, Some(Kind::PromptOnly)).1, [json!({"prompt": "1+1", "answer": "2"})]);
    }

    #[test]
    fn what_was_written_is_read_as_the_same_kind_and_written_the_same() {
        let turn = |role: &str, content: &str| json!({"role": role, "content": content});
        for row in [
            json!({"messages": [turn("user", "q"), turn("assistant", "a")]}),
            json!({"text": "t"}),
            json!({"prompt": "q", "ground_truth": 4}),
            json!({"prompt": "q", "completion": "a"}),
            json!({"prompt": [turn("user", "q")], "chosen": "a", "rejected": "b", "margin": 0.5}),
            json!({"prompt": "q", "completion": "a", "label": false}),
            json!({"prompt": "q", "completions": ["a"], "labels": [0.5]}),
            json!({"prompt": "q", "completion": "a", "ratings": {"helpfulness": 4.0}}),
            json!({"prompt": "q", "chosen": ["a"], "rejected": ["b", "c"], "subset": "Math"}),
        ] {
            assert_eq!(converted(std::slice::from_ref(&row), None).1, [row]);
        }
    }
}
