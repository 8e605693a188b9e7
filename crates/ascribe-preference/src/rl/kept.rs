//! What a source or an actor keeps in a checkpoint beside the weights: one JSON file, in which is what scorers remember, too. The
//! folder is renamed as a whole.

use std::path::Path;

use ascribe_core::{CoreError, Scorer};
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

/// What each scorer remembers, as bits, so that nothing is rounded.
pub(super) fn memories(scorers: &[&dyn Scorer]) -> Vec<Vec<u64>> {
    scorers.iter().map(|scorer| scorer.memory().into_iter().map(f64::to_bits).collect()).collect()
}

/// Gives it back to them; nothing where none had been asked yet.
pub(super) fn remember(scorers: &[&dyn Scorer], memories: &[Vec<u64>]) -> Result<(), CoreError> {
    let (expected, got) = (scorers.len(), memories.len());
    if got > 0 && got != expected {
        return Err(CoreError::Length { what: "the memories of rewards in a checkpoint", expected, got });
    }
    for (scorer, bits) in scorers.iter().zip(memories) {
        let memory: Vec<f64> = bits.iter().map(|bits| f64::from_bits(*bits)).collect();
        scorer.remember(&memory)?;
    }
    Ok(())
}

fn torn(folder: &Path, error: &serde_json::Error) -> TrainError {
    TrainError::Checkpoint { path: folder.to_owned(), why: error.to_string() }
}
