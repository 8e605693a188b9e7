//! What a source or an actor keeps in a checkpoint beside the weights: one JSON file. The folder is renamed as a whole.

use std::path::Path;

use ascribe_train::TrainError;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Writes `kept` into the folder of a checkpoint.
pub(super) fn save(folder: &Path, file: &str, kept: &impl Serialize) -> Result<(), TrainError> {
    let path = folder.join(file);
    let text = serde_json::to_string(kept).map_err(|error| torn(folder, &error))?;
    std::fs::write(&path, text).map_err(|source| TrainError::Io { path, source })
}

/// Reads it back.
pub(super) fn read<T: DeserializeOwned>(folder: &Path, file: &str) -> Result<T, TrainError> {
    let path = folder.join(file);
    let text = std::fs::read_to_string(&path).map_err(|source| TrainError::Io { path, source })?;
    serde_json::from_str(&text).map_err(|error| torn(folder, &error))
}

fn torn(folder: &Path, error: &serde_json::Error) -> TrainError {
    TrainError::Checkpoint { path: folder.to_owned(), why: error.to_string() }
}
