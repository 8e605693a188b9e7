//! A data set whose epochs have a part of it.

use std::path::Path;

use ascribe_data::{Batch, Curriculum, Cursor};

use crate::{Source, TrainError, Window};

/// Rows by a [`Curriculum`] as the source of a run: `Fit::from_source` with [`CurriculumRows::steps`] steps.
pub struct CurriculumRows<'a, R> {
    rows: &'a [R],
    curriculum: Curriculum,
    window: usize,
    cursor: Cursor,
    next: Cursor,
}

impl<'a, R> CurriculumRows<'a, R> {
    /// Windows of `window` of the rows that the curriculum was made for.
    pub fn new(rows: &'a [R], curriculum: Curriculum, window: usize) -> Self {
        Self { rows, curriculum, window, cursor: Cursor::default(), next: Cursor::default() }
    }

    /// Optimizer steps of all epochs.
    pub fn steps(&self) -> usize {
        self.curriculum.batches(self.window)
    }
}

impl<M, R> Source<M, R> for CurriculumRows<'_, R> {
    fn window(&mut self, _model: &M) -> Result<Window<'_, R>, TrainError> {
        let Batch { rows, next } = self.curriculum.batch(self.cursor, self.window)?;
        self.next = next;
        let fraction = self.curriculum.rows(self.cursor.epoch as usize) as f64 / self.rows.len() as f64;
        let picked: Option<Vec<&R>> = rows.iter().map(|row| self.rows.get(*row)).collect();
        let rows = picked.ok_or(TrainError::NoRows)?;
        Ok(Window { rows, metrics: vec![("data_fraction".to_owned(), fraction)] })
    }

    fn advance(&mut self) {
        self.cursor = self.next;
    }

    fn epoch(&self) -> f64 {
        let rows = self.curriculum.rows(self.cursor.epoch as usize).max(1);
        self.cursor.epoch as f64 + self.cursor.position as f64 / rows as f64
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
    fn every_step_gets_its_window_and_a_resumed_run_the_same() {
        let rows: Vec<usize> = (0..8).collect();
        let make = || {
            let curriculum = Curriculum::new(vec![0.0; 8], vec![0.5, 1.0], 2, Seed(1)).unwrap();
            CurriculumRows::new(&rows, curriculum, 3)
        };
        let mut source = make();
        // 4 rows make two windows, and 8 make three.
        assert_eq!(source.steps(), 5);
        let take = |source: &mut CurriculumRows<usize>| -> (Vec<usize>, f64) {
            let Window { rows, metrics } = Source::<(), usize>::window(source, &()).unwrap();
            let taken = (rows.into_iter().copied().collect(), metrics[0].1);
            Source::<(), usize>::advance(source);
            taken
        };
        let all: Vec<(Vec<usize>, f64)> = (0..5).map(|_| take(&mut source)).collect();
        assert_eq!(all.iter().map(|(rows, _)| rows.len()).collect::<Vec<_>>(), [3, 1, 3, 3, 2]);
        assert_eq!(all.iter().map(|(_, part)| *part).collect::<Vec<_>>(), [0.5, 0.5, 1.0, 1.0, 1.0]);
        let mut whole = all[2..].iter().flat_map(|(rows, _)| rows.clone()).collect::<Vec<_>>();
        whole.sort_unstable();
        assert_eq!(whole, rows);
        let mut first = make();
        (0..3).for_each(|_| drop(take(&mut first)));
        let mut second = make();
        let cursor = Source::<(), usize>::cursor(&first);
        Source::<(), usize>::resume(&mut second, Path::new("nowhere"), cursor).unwrap();
        assert_eq!([take(&mut second), take(&mut second)], [all[3].clone(), all[4].clone()]);
        // Behind the last epoch there is nothing.
        assert!(Source::<(), usize>::window(&mut second, &()).is_err());
    }
}
