//! Where the rows of a step come from: a data set in shuffled epochs, or whoever makes them as the model is trained.

use std::path::Path;

use ascribe_data::{Batch, Cursor, Epochs, spread_labels};

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

/// A data set of labelled rows in shuffled epochs, over which both labels are spread evenly: [`spread_labels`]. A window without
/// one of them would teach the other side alone.
pub struct LabelledRows<'a, R> {
    rows: &'a [R],
    labels: Vec<bool>,
    order: Epochs,
    window: usize,
    cursor: Cursor,
    next: Cursor,
}

impl<'a, R> LabelledRows<'a, R> {
    /// Windows of `window` rows, each with its label.
    ///
    /// # Errors
    /// When the rows are none, or have another number than their labels.
    pub fn new(rows: &'a [R], labels: Vec<bool>, order: Epochs, window: usize) -> Result<Self, TrainError> {
        let n = rows.len();
        if n == 0 {
            return Err(TrainError::NoRows);
        }
        for (name, got) in [("the number of labels", labels.len()), ("the number of rows in the order", order.rows())] {
            if got != n {
                return Err(TrainError::Option { name, rule: "that of the rows", got: got as f64 });
            }
        }
        Ok(Self { rows, labels, order, window, cursor: Cursor::default(), next: Cursor::default() })
    }
}

impl<M, R> Source<M, R> for LabelledRows<'_, R> {
    fn window(&mut self, _model: &M) -> Result<Window<'_, R>, TrainError> {
        let Cursor { epoch, position } = self.cursor;
        let Batch { rows, next } = self.order.batch(self.cursor, self.window)?;
        self.next = next;
        let spread = spread_labels(&self.order.order(epoch), &self.labels);
        let rows = spread[position..position + rows.len()].iter().map(|row| &self.rows[*row]).collect();
        Ok(Window { rows, metrics: Vec::new() })
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

#[cfg(test)]
mod tests {
    use ascribe_core::Seed;

    use super::*;

    #[test]
    fn windows_of_labelled_rows_have_both_labels_and_go_on() {
        // Three of twelve are wanted: one in each window of four.
        let rows: Vec<usize> = (0..12).collect();
        let labels: Vec<bool> = rows.iter().map(|row| row % 4 == 0).collect();
        let order = Epochs::new(12, Seed(7)).unwrap();
        let make = || LabelledRows::new(&rows, labels.clone(), order, 4).unwrap();
        let take = |source: &mut LabelledRows<usize>| -> Vec<usize> {
            let taken = Source::<(), usize>::window(source, &()).unwrap().rows.into_iter().copied().collect();
            Source::<(), usize>::advance(source);
            taken
        };
        let mut source = make();
        let all: Vec<Vec<usize>> = (0..6).map(|_| take(&mut source)).collect();
        for window in &all {
            assert_eq!(window.iter().filter(|row| *row % 4 == 0).count(), 1, "{window:?}");
        }
        for epoch in all.chunks(3) {
            let mut seen = epoch.concat();
            seen.sort_unstable();
            assert_eq!(seen, rows);
        }
        assert_ne!(all[..3], all[3..]);
        assert_eq!(Source::<(), usize>::epoch(&source), 2.0);
        let mut again = make();
        let cursor = Cursor { epoch: 1, position: 4 };
        Source::<(), usize>::resume(&mut again, Path::new("nowhere"), cursor).unwrap();
        assert_eq!([take(&mut again), take(&mut again)], [all[4].clone(), all[5].clone()]);
        let said = |rows: &[usize], labels: usize, order: Epochs| {
            let made = LabelledRows::new(rows, vec![true; labels], order, 4);
            made.err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(said(&rows, 11, order), "the number of labels must be that of the rows, got 11");
        assert_eq!(said(&rows[..11], 11, order), "the number of rows in the order must be that of the rows, got 12");
        assert!(said(&[], 0, order).starts_with("no row is left to train on"));
    }
}
