//! The experiments, a file each.

mod reward_math;

use crate::row::Row;

/// All rows, in the order of the table.
pub const ROWS: &[&Row] = &[&reward_math::ROW];
