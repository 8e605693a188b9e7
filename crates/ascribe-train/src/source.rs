//! Where the rows of a step come from: a data set in shuffled epochs, or whoever makes them as the model is trained.

use std::path::Path;

use ascribe_data::{Batch, Cursor, Epochs};

use crate::TrainError;

/// Rows of one optimizer step, with what is worth logging of how they came about.
pub struct Window<'s, R> {
    /// The rows.
    pub rows: Vec<&'s R>,
    /// Named values for the log.
    pub metrics: Vec<(String, f64)>,
}

/// Where the rows of a step come from. A step that fails is not counted: the same window is asked for again.
pub trait Source<M, R> {
    /// The rows of the next step, given the model as it is.
    ///
    /// # Errors
    /// When they cannot be read or made.
    fn window(&mut self, model: &M) -> Result<Window<'_, R>, TrainError>;

    /// The means of the statistics of the step on the last window, just before [`Source::advance`].
    fn told(&mut self, _stats: &[(String, f64)]) {}

    /// The step on the last window was made.
    fn advance(&mut self);

    /// Passes over the data so far.
    fn epoch(&self) -> f64;

    /// Which row of the data comes next.
    fn cursor(&self) -> Cursor;

    /// Writes what is more than the cursor into the folder of a checkpoint.
    ///
    /// # Errors
    /// When it cannot be written.
    fn save(&self, _folder: &Path) -> Result<(), TrainError> {
        Ok(())
    }

    /// Goes on from a checkpoint: its cursor, and what [`Source::save`] wrote into its folder.
    ///
    /// # Errors
    /// When it cannot be read.
    fn resume(&mut self, folder: &Path, cursor: Cursor) -> Result<(), TrainError>;
}

/// A data set in shuffled epochs.
pub(crate) struct Dataset<'a, R> {
    rows: &'a [R],
    order: Epochs,
    window: usize,
    cursor: Cursor,
    next: Cursor,
}

impl<'a, R> Dataset<'a, R> {
    /// Windows of `window` rows.
    pub(crate) fn new(rows: &'a [R], order: Epochs, window: usize) -> Self {
        Self { rows, order, window, cursor: Cursor::default(), next: Cursor::default() }
    }
}

impl<M, R> Source<M, R> for Dataset<'_, R> {
    fn window(&mut self, _model: &M) -> Result<Window<'_, R>, TrainError> {
        let Batch { rows, next } = self.order.batch(self.cursor, self.window)?;
        self.next = next;
        Ok(Window { rows: rows.iter().map(|row| &self.rows[*row]).collect(), metrics: Vec::new() })
    }

    fn advance(&mut self) {
        self.cursor = self.next;
    }

    fn epoch(&self) -> f64 {
        self.cursor.epoch as f64 + self.cursor.position as f64 / self.rows.len() as f64
    }

    fn cursor(&self) -> Cursor {
        self.cursor
    }

    fn resume(&mut self, _folder: &Path, cursor: Cursor) -> Result<(), TrainError> {
        self.cursor = cursor;
        Ok(())
    }
}
