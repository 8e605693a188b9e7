//! Products of small row-major matrices that are cheap to read and not worth packing: tiles of attention.

use pulp::Simd;

/// `y[r][o] += sum_i x[r][i] * w[i][o]` for `rows` rows of `x` and `y`.
///
/// An output is one chain of fused multiply-adds over the inputs in increasing order, so a row of `y` depends on its row
/// of `x` alone, to the bit. Call it inside a [`WithSimd`](pulp::WithSimd) body.
///
/// # Shapes
/// - x: rows of `inner`, `x_width` apart; w: `inner` rows of `outputs`, `w_width` apart; y: rows of `outputs`, `y_width` apart
/// - `outputs` is a multiple of 16
#[expect(clippy::too_many_arguments, reason = "three matrices with a stride each")]
#[inline(always)]
pub(crate) fn add_product<S: Simd>(
    simd: S,
    x: &[f32],
    x_width: usize,
    rows: usize,
    inner: usize,
    w: &[f32],
    w_width: usize,
    outputs: usize,
    y: &mut [f32],
    y_width: usize,
) {
    let tall = if S::REGISTER_COUNT >= 32 { 12 } else { 6 };
    let pair = 2 * S::F32_LANES;
    let tiles = rows.div_ceil(tall);
    for tile in 0..tiles {
        let (from, to) = (rows * tile / tiles, rows * (tile + 1) / tiles);
        let x = &x[from * x_width..];
        let mut at = 0;
        while at < outputs {
            let (w, y) = (&w[at..], &mut y[from * y_width + at..]);
            if at + pair <= outputs {
                columns::<S, 2>(simd, x, x_width, to - from, inner, w, w_width, y, y_width);
                at += pair;
            } else {
                columns::<S, 1>(simd, x, x_width, to - from, inner, w, w_width, y, y_width);
                at += S::F32_LANES;
            }
        }
    }
}

/// All rows of a tile against `VECTORS` vectors of outputs.
#[expect(clippy::too_many_arguments, reason = "three matrices with a stride each")]
#[inline(always)]
fn columns<S: Simd, const VECTORS: usize>(
    simd: S,
    x: &[f32],
    x_width: usize,
    rows: usize,
    inner: usize,
    w: &[f32],
    w_width: usize,
    y: &mut [f32],
    y_width: usize,
) {
    match rows {
        1 => registers::<S, VECTORS, 1>(simd, x, x_width, inner, w, w_width, y, y_width),
        2 => registers::<S, VECTORS, 2>(simd, x, x_width, inner, w, w_width, y, y_width),
        3 => registers::<S, VECTORS, 3>(simd, x, x_width, inner, w, w_width, y, y_width),
        4 => registers::<S, VECTORS, 4>(simd, x, x_width, inner, w, w_width, y, y_width),
        5 => registers::<S, VECTORS, 5>(simd, x, x_width, inner, w, w_width, y, y_width),
        6 => registers::<S, VECTORS, 6>(simd, x, x_width, inner, w, w_width, y, y_width),
        7 => registers::<S, VECTORS, 7>(simd, x, x_width, inner, w, w_width, y, y_width),
        8 => registers::<S, VECTORS, 8>(simd, x, x_width, inner, w, w_width, y, y_width),
        9 => registers::<S, VECTORS, 9>(simd, x, x_width, inner, w, w_width, y, y_width),
        10 => registers::<S, VECTORS, 10>(simd, x, x_width, inner, w, w_width, y, y_width),
        11 => registers::<S, VECTORS, 11>(simd, x, x_width, inner, w, w_width, y, y_width),
        _ => registers::<S, VECTORS, 12>(simd, x, x_width, inner, w, w_width, y, y_width),
    }
}

#[expect(clippy::too_many_arguments, reason = "three matrices with a stride each")]
#[inline(always)]
fn registers<S: Simd, const VECTORS: usize, const ROWS: usize>(
    simd: S,
    x: &[f32],
    x_width: usize,
    inner: usize,
    w: &[f32],
    w_width: usize,
    y: &mut [f32],
    y_width: usize,
) {
    let wide = VECTORS * S::F32_LANES;
    let mut lines: [&[f32]; ROWS] = [&[]; ROWS];
    let mut sums = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
    for row in 0..ROWS {
        lines[row] = &x[row * x_width..][..inner];
        let (whole, _) = S::as_simd_f32s(&y[row * y_width..][..wide]);
        sums[row].copy_from_slice(&whole[..VECTORS]);
    }
    for step in 0..inner {
        let (weights, _) = S::as_simd_f32s(&w[step * w_width..][..wide]);
        for row in 0..ROWS {
            let x = simd.splat_f32s(lines[row][step]);
            for vector in 0..VECTORS {
                sums[row][vector] = simd.mul_add_f32s(x, weights[vector], sums[row][vector]);
            }
        }
    }
    for row in 0..ROWS {
        let (whole, _) = S::as_mut_simd_f32s(&mut y[row * y_width..][..wide]);
        whole[..VECTORS].copy_from_slice(&sums[row]);
    }
}

#[cfg(test)]
mod tests {
    use pulp::{Arch, WithSimd};

    use super::*;

    struct Product<'a> {
        x: &'a [f32],
        rows: usize,
        w: &'a [f32],
        outputs: usize,
        y: &'a mut [f32],
    }

    impl WithSimd for Product<'_> {
        type Output = ();

        fn with_simd<S: Simd>(self, simd: S) {
            let inner = self.w.len() / self.outputs;
            let (x, w, y) = (self.x, self.w, self.y);
            add_product(simd, x, inner, self.rows, inner, w, self.outputs, self.outputs, y, self.outputs);
        }
    }

    #[test]
    fn a_product_is_the_sum_over_inputs_and_a_row_does_not_see_the_others() {
        // Whole numbers of up to 7 * 7 * 5 are exact in f32, whatever the order.
        let number = |at: usize| ((at * 5 + at / 7) % 15) as f32 - 7.0;
        for (rows, inner, outputs) in [(1, 1, 16), (3, 5, 32), (12, 3, 48), (13, 4, 64), (29, 7, 16)] {
            let x: Vec<f32> = (0..rows * inner).map(number).collect();
            let w: Vec<f32> = (0..inner * outputs).map(|at| number(at + 3)).collect();
            let mut y = vec![1.0; rows * outputs];
            Arch::new().dispatch(Product { x: &x, rows, w: &w, outputs, y: &mut y });
            for row in 0..rows {
                for output in 0..outputs {
                    let sum: f32 = (0..inner).map(|i| x[row * inner + i] * w[i * outputs + output]).sum();
                    assert_eq!(
                        y[row * outputs + output],
                        1.0 + sum,
                        "row {row}, output {output} of {rows} x {outputs}"
                    );
                }
                let mut alone = vec![1.0; outputs];
                let x = &x[row * inner..][..inner];
                Arch::new().dispatch(Product { x, rows: 1, w: &w, outputs, y: &mut alone });
                assert_eq!(alone, y[row * outputs..][..outputs]);
            }
        }
    }
}
