//! A data set of several strata, of which every window has some rows.

use std::path::Path;

use ascribe_core::Seed;
use ascribe_data::{Cursor, Epochs};

use crate::{Source, TrainError, Window};

/// Rows of several strata as the source of a run: `Fit::from_source` with [`StratifiedRows::steps`] steps.
///
/// ```text
/// an epoch has W = ceil(rows / window) windows; window w has rows floor(w n / W) .. floor((w + 1) n / W) of each stratum of n
/// ```
/// in an order that is drawn for each epoch, so that windows have the shares of the data. A stratum of fewer rows than there
/// are windows gives one row to each, and its rows come several times. Windows differ by at most a row for each stratum. The
/// position of the cursor counts windows.
pub struct StratifiedRows<'a, R> {
    rows: &'a [R],
    /// The rows of each stratum, and their order.
    strata: Vec<(Vec<usize>, Epochs)>,
    windows: usize,
    cursor: Cursor,
}

impl<'a, R> StratifiedRows<'a, R> {
    /// Windows of about `window` rows, of which `stratum_of` tells the stratum, from 0 without a gap.
    ///
    /// # Errors
    /// Without a row, when a stratum has no row, or when a window has not a row for each stratum.
    pub fn new(rows: &'a [R], stratum_of: impl Fn(&R) -> usize, window: usize, seed: Seed) -> Result<Self, TrainError> {
        let mut strata: Vec<Vec<usize>> = Vec::new();
        for (at, row) in rows.iter().enumerate() {
            let stratum = stratum_of(row);
            if strata.len() <= stratum {
                strata.resize(stratum + 1, Vec::new());
            }
            strata[stratum].push(at);
        }
        if strata.is_empty() || strata.iter().any(Vec::is_empty) {
            return Err(TrainError::NoRows);
        }
        if window < strata.len() {
            let rule = "at least the number of strata, of which every window has a row";
            return Err(TrainError::Option { name: "rows of a step", rule, got: window as f64 });
        }
        let ordered = |(at, rows): (usize, Vec<usize>)| -> Result<(Vec<usize>, Epochs), TrainError> {
            let order = Epochs::new(rows.len(), seed.child("stratum", at as u64))?;
            Ok((rows, order))
        };
        let strata = strata.into_iter().enumerate().map(ordered).collect::<Result<_, _>>()?;
        Ok(Self { rows, strata, windows: rows.len().div_ceil(window), cursor: Cursor::default() })
    }

    /// Optimizer steps of so many passes over the rows.
    pub fn steps(&self, epochs: f64) -> usize {
        (self.windows as f64 * epochs).ceil() as usize
    }
}

impl<M, R> Source<M, R> for StratifiedRows<'_, R> {
    fn window(&mut self, _model: &M) -> Result<Window<'_, R>, TrainError> {
        let Cursor { epoch, position } = self.cursor;
        let mut picked = Vec::new();
        for (rows, order) in &self.strata {
            let order = order.order(epoch);
            let [start, end] = [position, position + 1].map(|at| at * rows.len() / self.windows);
            // One row at least; `start` is never behind the last one.
            picked.extend(order[start..end.max(start + 1)].iter().map(|at| &self.rows[rows[*at]]));
        }
        Ok(Window { rows: picked, metrics: Vec::new() })
    }

    fn advance(&mut self) {
        let Cursor { epoch, position } = self.cursor;
        self.cursor = match position + 1 < self.windows {
            true => Cursor { epoch, position: position + 1 },
            false => Cursor { epoch: epoch + 1, position: 0 },
        };
    }

    fn epoch(&self) -> f64 {
        self.cursor.epoch as f64 + self.cursor.position as f64 / self.windows as f64
    }

    fn cursor(&self) -> Cursor {
        self.cursor
    }

    fn resume(&mut self, _folder: &Path, cursor: Cursor) -> Result<(), TrainError> {
        let rule = "below the windows of an epoch; resume with the data of that run";
        if cursor.position >= self.windows {
            return Err(TrainError::Option { name: "the place to resume at", rule, got: cursor.position as f64 });
        }
        self.cursor = cursor;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 9 rows of the first stratum, 6 of the second and 1 of the third, mixed.
    fn rows() -> Vec<(usize, usize)> {
        (0..16).map(|at| (at, if at == 7 { 2 } else { usize::from(at % 5 > 2) })).collect()
    }

    fn take(source: &mut StratifiedRows<(usize, usize)>, windows: usize) -> Vec<Vec<(usize, usize)>> {
        let mut taken = Vec::new();
        for _ in 0..windows {
            let Ok(Window { rows, .. }) = Source::<(), (usize, usize)>::window(source, &()) else { break };
            taken.push(rows.into_iter().copied().collect());
            Source::<(), (usize, usize)>::advance(source);
        }
        taken
    }

    #[test]
    fn every_window_has_every_stratum_and_an_epoch_every_row() {
        let rows = rows();
        let counts = |rows: &[(usize, usize)]| [0, 1, 2].map(|at| rows.iter().filter(|row| row.1 == at).count());
        assert_eq!(counts(&rows), [9, 6, 1]);
        let make = || StratifiedRows::new(&rows, |row| row.1, 6, Seed(1)).unwrap();
        let mut source = make();
        // ceil(16 / 6) = 3 windows an epoch, of 3, 2 and the one.
        assert_eq!((source.steps(1.0), source.steps(1.5)), (3, 5));
        let taken = take(&mut source, 6);
        assert!(taken.iter().all(|window| counts(window) == [3, 2, 1]), "{taken:?}");
        for epoch in taken.chunks(3) {
            let mut all = epoch.concat();
            all.sort_unstable();
            all.dedup();
            assert_eq!(all, rows);
        }
        assert!(taken[..3] != taken[3..], "each epoch has an order of its own");
        assert_eq!(Source::<(), _>::epoch(&source), 2.0);
        // From the middle, the same.
        let mut other = make();
        Source::<(), _>::resume(&mut other, Path::new("nowhere"), Cursor { epoch: 1, position: 1 }).unwrap();
        assert_eq!(take(&mut other, 2), taken[4..]);
        let behind = Cursor { epoch: 0, position: 3 };
        let said = Source::<(), _>::resume(&mut other, Path::new("nowhere"), behind).unwrap_err().to_string();
        assert!(said.contains("below the windows of an epoch"), "{said}");
    }

    #[test]
    fn a_stratum_of_few_rows_comes_again_and_none_is_left_out() {
        let rows: Vec<(usize, usize)> = (0..10).map(|at| (at, usize::from(at > 7))).collect();
        let mut source = StratifiedRows::new(&rows, |row| row.1, 2, Seed(3)).unwrap();
        // 8 and 2 rows in 5 windows: floors of 8 w / 5 are 0, 1, 3, 4, 6, 8, and those of 2 w / 5 are 0, 0, 0, 1, 1, 2.
        let taken = take(&mut source, 5);
        let firsts: Vec<usize> = taken.iter().map(|window| window.iter().filter(|row| row.1 == 0).count()).collect();
        assert_eq!(firsts, [1, 2, 1, 2, 2]);
        let seconds: Vec<usize> = taken.concat().into_iter().filter(|row| row.1 == 1).map(|row| row.0).collect();
        assert_eq!(seconds.len(), 5);
        assert!(seconds.contains(&8) && seconds.contains(&9), "{seconds:?}");
        for (window, stratum, said) in [(1, 1, "rows of a step"), (4, 3, "no row is left")] {
            let made = StratifiedRows::new(&rows, |row| if row.1 == 1 { stratum } else { 0 }, window, Seed(3));
            let error = made.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(said), "{error}");
        }
    }
}
