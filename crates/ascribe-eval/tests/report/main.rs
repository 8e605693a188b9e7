//! The report: what holds for every figure, the drawings as they were accepted, and a browser's view of it.

mod chromium;
mod form;
mod samples;
mod snapshots;
