//! Classifiers and detectors by scores and labels.

pub(crate) mod auroc;
