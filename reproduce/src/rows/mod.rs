//! The experiments, a file each.

mod concepts;
mod ensembles;
mod gpm_cycles;
mod logical_and;
mod machine_text;
mod rating_and_preference;
mod reward_math;
mod tools;
mod voting;

use crate::row::Row;

/// All rows, in the order of the table.
pub const ROWS: &[&Row] = &[
    &reward_math::ROW,
    &gpm_cycles::ROW,
    &ensembles::ROW,
    &rating_and_preference::ROW,
    &voting::ROW,
    &logical_and::ROW,
    &tools::ROW,
    &concepts::ROW,
    &machine_text::ROW,
];
