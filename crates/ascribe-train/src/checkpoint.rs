//! Checkpoints: whole folders, written beside and renamed, of which the best and the last are kept.
//!
//! A checkpoint `checkpoint-<step>` is a model folder that every command reads, with `optimizer.bpk` and
//! `trainer_state.json` beside the weights. Weights are f32 and parameter ids depend on names alone, so a resumed run gives
//! the same numbers as one that was not interrupted.

use std::path::{Path, PathBuf};

use ascribe_data::Cursor;
use serde::{Deserialize, Serialize};

use crate::{Fit, Learner, TrainError};

const STATE: &str = "trainer_state.json";
const OPTIMIZER: &str = "optimizer";

/// Where a run stands; what a checkpoint says about itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Optimizer steps done.
    pub step: usize,
    /// Which row comes next.
    pub cursor: Cursor,
    /// What must be the same for a resumed run: name and value (method, model hash, data hash, options).
    pub run: Vec<(String, String)>,
    /// The value that is compared for the best checkpoint, larger is better.
    pub score: Option<f64>,
    /// Step of the best checkpoint so far, and its score.
    pub best: Option<(usize, f64)>,
    /// What the learner remembers from window to window.
    #[serde(default)]
    pub memory: Vec<u64>,
}

/// The checkpoints of one output folder.
pub struct Checkpoints {
    folder: PathBuf,
    keep: usize,
}

impl Checkpoints {
    /// Checkpoints in `folder`, of which at most `keep` stay (at least the best and the last; 0 keeps all).
    pub fn new(folder: &Path, keep: usize) -> Self {
        Self { folder: folder.to_owned(), keep }
    }

    /// All checkpoints, by step.
    pub fn list(&self) -> Vec<(usize, PathBuf)> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut found: Vec<(usize, PathBuf)> = entries
            .filter_map(|entry| {
                let name = entry.file_name();
                let step = name.to_str()?.strip_prefix("checkpoint-")?.parse().ok()?;
                Some((step, entry.path()))
            })
            .collect();
        found.sort();
        found
    }

    /// Writes a checkpoint of `fit`; `model` writes the weights into the folder that it is given.
    ///
    /// Everything goes into a folder beside the final one, which is renamed when it is whole; on an error it is removed
    /// and the earlier checkpoints stay as they were.
    ///
    /// # Errors
    /// When something cannot be written.
    pub fn save<L: Learner>(
        &self,
        fit: &Fit<L>,
        progress: &Progress,
        model: impl FnOnce(&Path) -> Result<(), TrainError>,
    ) -> Result<PathBuf, TrainError> {
        let path = self.folder.join(format!("checkpoint-{}", progress.step));
        let part = self.folder.join(format!("part-{}", progress.step));
        let write = || {
            // What a killed run left behind must not get into this one.
            if part.exists() {
                std::fs::remove_dir_all(&part).map_err(TrainError::io(&part))?;
            }
            std::fs::create_dir_all(&part).map_err(TrainError::io(&part))?;
            model(&part)?;
            let state =
                |error: &dyn std::fmt::Display| TrainError::Checkpoint { path: part.clone(), why: error.to_string() };
            let optimizer = part.join(OPTIMIZER);
            let failed =
                |error: &dyn std::fmt::Display| TrainError::io(&optimizer)(std::io::Error::other(error.to_string()));
            fit.optimizer.save(&optimizer).map_err(|error| failed(&error))?;
            fit.source.save(&part)?;
            let text = serde_json::to_string_pretty(progress).map_err(|error| state(&error))?;
            std::fs::write(part.join(STATE), text).map_err(TrainError::io(&part))?;
            if path.exists() {
                std::fs::remove_dir_all(&path).map_err(TrainError::io(&path))?;
            }
            std::fs::rename(&part, &path).map_err(TrainError::io(&path))
        };
        if let Err(error) = write() {
            // The first error is the one that matters.
            let _ = std::fs::remove_dir_all(&part);
            return Err(error);
        }
        self.prune(progress)?;
        Ok(path)
    }

    fn prune(&self, progress: &Progress) -> Result<(), TrainError> {
        if self.keep == 0 {
            return Ok(());
        }
        let best = progress.best.map(|(step, _)| step);
        let mut spare: Vec<PathBuf> = Vec::new();
        let mut others = 0;
        for (step, path) in self.list().into_iter().rev() {
            if Some(step) == best || step == progress.step {
                continue;
            }
            others += 1;
            let kept = 1 + usize::from(best.is_some_and(|best| best != progress.step));
            if kept + others > self.keep {
                spare.push(path);
            }
        }
        spare.iter().try_for_each(|path| std::fs::remove_dir_all(path).map_err(TrainError::io(path)))
    }

    /// The last checkpoint, if there is one.
    ///
    /// # Errors
    /// When its state cannot be read.
    pub fn last(&self) -> Result<Option<(PathBuf, Progress)>, TrainError> {
        self.list().pop().map(|(_, path)| Ok((path.clone(), read(&path)?))).transpose()
    }
}

/// Reads what a checkpoint says about itself.
fn read(path: &Path) -> Result<Progress, TrainError> {
    let file = path.join(STATE);
    let text = std::fs::read_to_string(&file).map_err(TrainError::io(&file))?;
    let why = |error: serde_json::Error| TrainError::Checkpoint { path: path.to_owned(), why: error.to_string() };
    serde_json::from_str(&text).map_err(why)
}

impl Progress {
    /// Checks that the checkpoint at `path` belongs to a run with these properties.
    ///
    /// # Errors
    /// [`TrainError::OtherRun`] names the first difference.
    pub fn check_run(&self, path: &Path, run: &[(&'static str, String)]) -> Result<(), TrainError> {
        for (what, ours) in run {
            let theirs = self.run.iter().find(|(name, _)| name == what).map_or("none", |(_, value)| value.as_str());
            if theirs != ours {
                let (path, theirs) = (path.to_owned(), theirs.to_owned());
                return Err(TrainError::OtherRun { path, what, theirs, ours: ours.clone() });
            }
        }
        Ok(())
    }
}

impl<L: Learner> Fit<'_, L> {
    /// Continues where the checkpoint at `path` stopped; the model was loaded from there by the caller.
    ///
    /// # Errors
    /// When the optimizer state cannot be read, or the learner refuses its memory.
    pub fn resume(&mut self, path: &Path, progress: &Progress) -> Result<(), TrainError> {
        let optimizer = self.config().optimizer().load(path.join(OPTIMIZER));
        let why =
            |error: &dyn std::fmt::Display| TrainError::Checkpoint { path: path.to_owned(), why: error.to_string() };
        self.optimizer = optimizer.map_err(|error| why(&error))?;
        self.source.resume(path, progress.cursor)?;
        self.learner().remember(&progress.memory)?;
        self.step = progress.step;
        Ok(())
    }

    /// What a checkpoint written now says about itself.
    pub fn progress(&self) -> Progress {
        let memory = self.learner().memory();
        Progress { step: self.step, cursor: self.source.cursor(), memory, ..Progress::default() }
    }
}
