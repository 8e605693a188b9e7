//! Statistics: intervals, tests and resampling.

pub(crate) mod bootstrap;
pub(crate) mod normal;
pub(crate) mod paired;
pub(crate) mod proportion;
