//! Files: read whole, written beside and renamed.

use std::path::{Path, PathBuf};

use crate::LmError;

pub(crate) fn read_to_string(path: &Path) -> Result<String, LmError> {
    std::fs::read_to_string(path).map_err(LmError::io(path))
}

/// Lets `write` fill a file beside `path`, then renames it: what stood at `path` is replaced whole or not at all.
pub(crate) fn write_beside(path: &Path, write: impl FnOnce(&Path) -> Result<(), LmError>) -> Result<(), LmError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part: PathBuf = path.with_file_name(name);
    let written = write(&part).and_then(|()| std::fs::rename(&part, path).map_err(LmError::io(path)));
    if written.is_err() {
        // The first error is the one that matters.
        let _ = std::fs::remove_file(&part);
    }
    written
}

impl LmError {
    /// For `map_err`: an error about the config at `path`.
    pub(crate) fn config<E: std::fmt::Display>(path: &Path) -> impl FnOnce(E) -> Self {
        move |why| Self::Config { path: path.to_owned(), why: why.to_string() }
    }

    pub(crate) fn unsupported(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into(), remedy: remedy.into() }
    }
}
