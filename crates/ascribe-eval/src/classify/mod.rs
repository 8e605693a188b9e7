//! Classifiers and detectors by scores and labels, and sources of texts by a network.

pub(crate) mod auroc;
pub(crate) mod confusion;
pub(crate) mod curves;
mod multiclass;
mod network;
pub(crate) mod scored;

pub use auroc::{auroc, auroc_estimate, clustered_auroc, mean_auroc, weighted_auroc};
pub(crate) use confusion::counted_decisions;
pub use confusion::{Confusion, Decision, ZeroDivision, auroc_under_noise, decision_at, order_by_f1_then_g_mean};
pub use curves::{Between, Curve, Threshold, average_precision, tpr_at_fpr, triples_in_order};
pub use multiclass::{
    Against, ConfusionMatrix, Mean, auroc_multiclass, brier_multiclass, log_loss_multiclass, top_k_accuracy, top_label,
};
pub use network::{attribute, ngram_distances};
