//! Rows to a file, all or nothing: written beside it under another name, flushed to the disk, then renamed.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use crate::DataError;

/// Writes one JSON object a line, packed by gzip if the name ends in `.gz`. On failure nothing new stands there and what
/// stood there before is unchanged.
///
/// # Errors
/// [`DataError::Write`].
pub fn write_jsonl<R: Serialize>(path: impl AsRef<Path>, rows: impl IntoIterator<Item = R>) -> Result<(), DataError> {
    try_write_jsonl(path, rows.into_iter().map(Ok))
}

/// As [`write_jsonl`], of rows that may fail to come; the first failure ends it, and nothing new stands there.
///
/// # Errors
/// [`DataError::Write`], and that of a row.
pub fn try_write_jsonl<R: Serialize>(
    path: impl AsRef<Path>,
    rows: impl IntoIterator<Item = Result<R, DataError>>,
) -> Result<(), DataError> {
    let path = path.as_ref();
    let failed = |source: io::Error| DataError::Write { path: path.to_owned(), source };
    let open = || {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
        let mut beside = std::ffi::OsString::from(".");
        beside.push(name);
        beside.push(".partial");
        let beside = Partial(path.with_file_name(beside));
        let file = BufWriter::new(File::create(&beside.0)?);
        Ok((beside, file))
    };
    let (beside, file) = open().map_err(failed)?;
    let mut out = match path.extension().is_some_and(|extension| extension == "gz") {
        true => Out::Gzip(GzEncoder::new(file, Compression::default())),
        false => Out::Plain(file),
    };
    for row in rows {
        let row = row?;
        let line = serde_json::to_vec(&row).map_err(|error| failed(error.into()))?;
        out.write_all(&line).and_then(|()| out.write_all(b"\n")).map_err(failed)?;
    }
    let close = || {
        let file = match out {
            Out::Plain(file) => file,
            Out::Gzip(encoder) => encoder.finish()?,
        };
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&beside.0, path)
    };
    close().map_err(failed)
}

enum Out {
    Plain(BufWriter<File>),
    Gzip(GzEncoder<BufWriter<File>>),
}

impl Out {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.write_all(bytes),
            Self::Gzip(out) => out.write_all(bytes),
        }
    }
}

/// A file that goes away unless it was renamed.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        // After the rename there is nothing to remove, and a failed removal must not hide the first error.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use serde::Serializer;
    use serde::ser::Error;
    use tempfile::tempdir;

    use super::*;
    use crate::{ColumnMap, Message, Preference, Prompt, PromptCompletion, load};

    #[test]
    fn records_come_back_as_they_were() {
        let row = |prompt, margin: Option<f32>, line| Preference {
            prompt,
            chosen: "a\n\"é".into(),
            rejected: "b".into(),
            margin,
            reference: margin.map(|_| "c".to_owned()),
            consistency: margin,
            weight: margin,
            line,
        };
        let rows = [
            row(Prompt::Text("q".into()), None, 1),
            row(Prompt::Messages(vec![Message::new("user", "q")]), Some(0.1), 2),
        ];
        let folder = tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        write_jsonl(&path, &rows).unwrap();
        assert_eq!(load::<Preference>(&path, &ColumnMap::default()).unwrap().rows, rows);
    }

    #[test]
    fn a_name_that_ends_in_gz_is_packed_and_a_row_that_fails_ends_it() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("rows.jsonl.gz");
        let row = PromptCompletion { prompt: Prompt::Text("q".into()), completion: "a".into(), line: 1 };
        write_jsonl(&path, [&row]).unwrap();
        assert_eq!(fs::read(&path).unwrap()[..2], [0x1f, 0x8b]);
        assert_eq!(load::<PromptCompletion>(&path, &ColumnMap::default()).unwrap().rows, std::slice::from_ref(&row));
        let failing = [Ok(&row), Err(DataError::Threshold { got: 0.0 })];
        assert!(matches!(try_write_jsonl(&path, failing), Err(DataError::Threshold { .. })));
        assert_eq!(load::<PromptCompletion>(&path, &ColumnMap::default()).unwrap().rows, [row]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failure_leaves_the_former_file_and_nothing_else() {
        struct Row(bool);
        impl Serialize for Row {
            fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                if self.0 { out.serialize_str("row") } else { Err(S::Error::custom("no such row")) }
            }
        }
        let folder = tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        write_jsonl(&path, [Row(true)]).unwrap();
        let error = write_jsonl(&path, [Row(true), Row(true), Row(false)]).unwrap_err();
        assert!(error.to_string().contains("no such row"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "\"row\"\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(write_jsonl(folder.path().join("none").join("rows.jsonl"), [Row(true)]).is_err());
        assert!(write_jsonl("..", [Row(true)]).is_err());
    }
}
