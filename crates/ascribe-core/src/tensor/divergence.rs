//! Distance of a student's next-token distribution from a teacher's: the generalized Jensen-Shannon divergence of
//! distillation, arXiv:2306.13649, section 2.
//!
//! ```text
//! jsd_b = b KL(teacher || m) + (1 - b) KL(student || m),   m = b teacher + (1 - b) student
//! jsd_0 = KL(teacher || student),   jsd_1 = KL(student || teacher)
//! ```
//! The two ends are not the limits of the middle, which are 0: there the divergences themselves are meant.

use burn::tensor::{Tensor, activation::log_softmax};

/// Generalized Jensen-Shannon divergence of each row; the gradient flows to the student alone.
///
/// At a temperature `t` both want their logits divided by `t`.
///
/// # Shapes
/// - student, teacher: `[n, vocab]` logits over the same vocabulary, all finite; result: `[n]`, in nats.
/// - beta: in `[0, 1]`.
pub fn generalized_jsd(student: Tensor<2>, teacher: Tensor<2>, beta: f64) -> Tensor<1> {
    let student = log_softmax(student, 1); // [n, vocab]
    let teacher = log_softmax(teacher.detach(), 1); // [n, vocab]
    if beta == 0.0 {
        return kl(teacher, student);
    }
    if beta == 1.0 {
        return kl(student, teacher);
    }
    let (ours, theirs) = (student.clone().add_scalar((1.0 - beta).ln()), teacher.clone().add_scalar(beta.ln()));
    // The larger of the two only keeps `exp` in range: it cancels, so no gradient flows through it.
    let largest = ours.clone().detach().max_pair(theirs.clone()); // [n, vocab]
    let sum = (ours - largest.clone()).exp() + (theirs - largest.clone()).exp(); // [n, vocab]
    let mixture = sum.log() + largest; // [n, vocab]
    kl(teacher, mixture.clone()).mul_scalar(beta) + kl(student, mixture).mul_scalar(1.0 - beta)
}

/// `KL(p || q)` of log-probabilities `[n, vocab]`; result: `[n]`.
fn kl(p: Tensor<2>, q: Tensor<2>) -> Tensor<1> {
    (p.clone().exp() * (p - q)).sum_dim(1).squeeze_dim::<1>(1)
}
