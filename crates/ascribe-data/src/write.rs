//! Rows to a file, all or nothing: written beside it under another name, flushed to the disk, then renamed.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::DataError;

/// Writes one JSON object a line. On failure nothing new stands there and what stood there before is unchanged.
///
/// # Errors
/// [`DataError::Write`].
pub fn write_jsonl<R: Serialize>(path: impl AsRef<Path>, rows: impl IntoIterator<Item = R>) -> Result<(), DataError> {
    let path = path.as_ref();
    let write = || {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
        let mut beside = std::ffi::OsString::from(".");
        beside.push(name);
        beside.push(".partial");
        let beside = Partial(path.with_file_name(beside));
        let mut out = BufWriter::new(File::create(&beside.0)?);
        for row in rows {
            serde_json::to_writer(&mut out, &row)?;
            out.write_all(b"\n")?;
        }
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&beside.0, path)
    };
    write().map_err(|source| DataError::Write { path: path.to_owned(), source })
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
    use crate::{ColumnMap, Message, Preference, Prompt, load};

    #[test]
    fn records_come_back_as_they_were() {
        let row =
            |prompt, margin, line| Preference { prompt, chosen: "a\n\"é".into(), rejected: "b".into(), margin, line };
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
