//! Operations on rows of f32 that treat every row alike: norms, rotation, gates, the log of a sum of exponentials.
//!
//! The loops are plain; the compiler turns them into vector instructions of the processor that is found at run time.

use pulp::Arch;

use super::vector::{exp, largest, parallel, piece, sum, tanh};

/// Calls `each` on stretches of `rows` rows of `y`, `width` floats each, with the number of the first row.
fn by_rows(y: &mut [f32], width: usize, each: impl Fn(usize, &mut [f32]) + Sync) {
    let jobs = y.chunks_mut(piece(width)).enumerate();
    parallel(jobs.len() * piece(width), jobs, |(at, y)| {
        let first = at * (piece(width) / width.max(1));
        Arch::new().dispatch(|| each(first, y));
    });
}

/// How a row is normalised.
#[derive(Clone, Copy, Debug)]
pub enum RowNorm<'a> {
    /// `x / sqrt(mean(x^2) + epsilon) * weight` (arXiv:1910.07467).
    Rms {
        /// One factor a column; also gives the width of a row.
        weight: &'a [f32],
    },
    /// `(x - mean) / sqrt(variance + epsilon) * weight + bias` (arXiv:1607.06450).
    Layer {
        /// One factor a column; also gives the width of a row.
        weight: &'a [f32],
        /// Added to each column.
        bias: &'a [f32],
    },
}

/// Normalises each row of `x` into `y`.
///
/// # Panics
/// When `x` and `y` have different lengths, or the bias another length than the weight.
pub fn normalize(x: &[f32], norm: RowNorm, epsilon: f32, y: &mut [f32]) {
    assert_eq!(x.len(), y.len(), "a normalised row has the length of the row");
    let (RowNorm::Rms { weight } | RowNorm::Layer { weight, .. }) = norm;
    let width = weight.len();
    by_rows(
        y,
        width,
        #[inline(always)]
        |first, y| {
            let x = &x[first * width..][..y.len()];
            for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
                match norm {
                    RowNorm::Rms { weight } => {
                        let square = sum(x, |x| x * x) / width as f32;
                        let by = 1.0 / (square + epsilon).sqrt();
                        y.iter_mut().zip(x).zip(weight).for_each(|((y, x), weight)| *y = x * by * weight);
                    }
                    RowNorm::Layer { weight, bias } => {
                        let mean = sum(x, |x| x) / width as f32;
                        let variance = sum(x, |x| (x - mean) * (x - mean)) / width as f32;
                        let by = 1.0 / (variance + epsilon).sqrt();
                        for (((y, x), weight), bias) in y.iter_mut().zip(x).zip(weight).zip(bias) {
                            *y = (x - mean) * by * weight + bias;
                        }
                    }
                }
            }
        },
    );
}

/// Rotates `heads` heads at the beginning of each row of `x`, in the rotate-half layout (arXiv:2104.09864): the two
/// halves of a head are the two coordinates.
///
/// # Shapes
/// - x: rows of `width`; cos and sin: `[rows, half]`; a head is `2 * half` wide
///
/// # Panics
/// When the heads do not fit a row, or there are fewer angles than rows.
pub fn rotate(x: &mut [f32], width: usize, heads: usize, cos: &[f32], sin: &[f32], half: usize) {
    assert!(2 * half * heads <= width, "{heads} heads of {} in rows of {width}", 2 * half);
    by_rows(
        x,
        width,
        #[inline(always)]
        |first, x| {
            for (row, x) in x.chunks_exact_mut(width).enumerate() {
                let at = (first + row) * half;
                let (cos, sin) = (&cos[at..at + half], &sin[at..at + half]);
                for head in x[..2 * half * heads].chunks_exact_mut(2 * half) {
                    let (left, right) = head.split_at_mut(half);
                    for lane in 0..half {
                        let (a, b) = (left[lane], right[lane]);
                        left[lane] = a * cos[lane] - b * sin[lane];
                        right[lane] = b * cos[lane] + a * sin[lane];
                    }
                }
            }
        },
    );
}

/// What a feed-forward block does to its inner values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// `silu(x)`
    Silu,
    /// GELU by its tanh formula (arXiv:1606.08415): `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`.
    GeluTanh,
}

impl Gate {
    #[inline(always)]
    fn of(self, x: f32) -> f32 {
        match self {
            Self::Silu => x / (1.0 + exp(-x)),
            Self::GeluTanh => 0.5 * x * (1.0 + tanh(0.797_884_6 * (x + 0.044_715 * x * x * x))),
        }
    }
}

/// `gate(left) * right` of rows whose halves are `left` and `right` (arXiv:2002.05202).
///
/// # Shapes
/// - x: `[rows, 2 * width]`; y: `[rows, width]`, overwritten
pub fn gated(gate: Gate, x: &[f32], y: &mut [f32], width: usize) {
    by_rows(
        y,
        width,
        #[inline(always)]
        |first, y| {
            let x = &x[2 * first * width..][..2 * y.len()];
            for (x, y) in x.chunks_exact(2 * width).zip(y.chunks_exact_mut(width)) {
                let (left, right) = x.split_at(width);
                match gate {
                    Gate::Silu => y.iter_mut().zip(left).zip(right).for_each(|((y, a), b)| *y = Gate::Silu.of(*a) * b),
                    Gate::GeluTanh => {
                        y.iter_mut().zip(left).zip(right).for_each(|((y, a), b)| *y = Gate::GeluTanh.of(*a) * b)
                    }
                }
            }
        },
    );
}

/// `gate(x)` of every value, in place.
pub fn activate(gate: Gate, x: &mut [f32], width: usize) {
    by_rows(
        x,
        width,
        #[inline(always)]
        |_, x| match gate {
            Gate::Silu => x.iter_mut().for_each(|x| *x = Gate::Silu.of(*x)),
            Gate::GeluTanh => x.iter_mut().for_each(|x| *x = Gate::GeluTanh.of(*x)),
        },
    );
}

/// `cap * tanh(x / cap)` of every value, in place.
pub fn soft_cap(cap: f32, x: &mut [f32], width: usize) {
    by_rows(
        x,
        width,
        #[inline(always)]
        |_, x| x.iter_mut().for_each(|x| *x = cap * tanh(*x / cap)),
    );
}

/// `log sum_v exp(logits[v])`, in nats.
pub fn log_sum_exp(logits: &[f32]) -> f32 {
    Arch::new().dispatch(
        #[inline(always)]
        || {
            let most = largest(logits);
            most + sum(logits, |logit| exp(logit - most)).ln()
        },
    )
}

/// `exp((logits[v] - largest) / temperature)`: what a token is drawn by.
pub fn boltzmann(logits: &[f32], temperature: f32) -> Vec<f32> {
    let mut weights = logits.to_vec();
    Arch::new().dispatch(
        #[inline(always)]
        || {
            let most = largest(logits);
            for weight in &mut weights {
                // The smallest power is no chance for a token that has none.
                *weight = if *weight > f32::NEG_INFINITY { exp((*weight - most) / temperature) } else { 0.0 };
            }
        },
    );
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(got: f32, expected: f64, tolerance: f64) {
        let off = (f64::from(got) - expected).abs();
        assert!(off <= tolerance * expected.abs().max(1e-30), "{got} and not {expected}");
    }

    #[test]
    fn log_sum_exp_of_equal_logits_is_their_value_and_the_log_of_their_number() {
        for n in [1usize, 3, 16, 33, 1000] {
            check(log_sum_exp(&vec![2.5; n]), 2.5 + (n as f64).ln(), 1e-6);
        }
        check(log_sum_exp(&[1000.0, -1000.0]), 1000.0, 1e-7);
    }

    #[test]
    fn norms_are_worked_by_hand() {
        // Rows [3, 4] and [0, 0]: mean square 12.5 and 0; epsilon 3.5 makes the root 4, and that of 0.25 is 0.5.
        let mut y = [0.0; 2];
        normalize(&[3.0, 4.0], RowNorm::Rms { weight: &[1.0, 2.0] }, 3.5, &mut y);
        assert_eq!(y, [0.75, 2.0]);
        normalize(&[0.0, 0.0], RowNorm::Rms { weight: &[1.0, 2.0] }, 0.25, &mut y);
        assert_eq!(y, [0.0, 0.0]);
        // Mean 5, variance 9; epsilon 16 makes the root 5.
        normalize(&[2.0, 8.0], RowNorm::Layer { weight: &[5.0, 10.0], bias: &[1.0, -1.0] }, 16.0, &mut y);
        assert_eq!(y, [-2.0, 5.0]);
    }

    #[test]
    fn a_quarter_turn_swaps_the_halves() {
        let mut x = [1.0, 2.0, 3.0, 4.0, 9.0];
        rotate(&mut x, 5, 1, &[0.0, 0.0], &[1.0, 1.0], 2);
        assert_eq!(x, [-3.0, -4.0, 1.0, 2.0, 9.0]);
    }

    #[test]
    fn gates_at_known_points() {
        let mut y = [0.0; 2];
        gated(Gate::Silu, &[0.0, 3.0f32.ln(), 5.0, 4.0], &mut y, 2);
        check(y[1], 4.0 * 3.0f64.ln() * 0.75, 1e-6); // sigmoid(ln 3) = 3/4
        assert_eq!(y[0], 0.0);
        let mut x = [0.0, 1.0, -1.0];
        activate(Gate::GeluTanh, &mut x, 3);
        // 1/2 (1 + tanh(0.7978845608 * 1.044715))
        check(x[1], 0.841_191_990_6, 1e-6);
        check(x[2], -0.158_808_009_4, 1e-6);
    }
}
