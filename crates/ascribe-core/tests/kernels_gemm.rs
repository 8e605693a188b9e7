//! Products with packed weights, against plain loops and against the golden GGUF blocks.

use ascribe_core::CoreError;
use ascribe_core::kernels::{BlockKind, Packed};
use ascribe_testkit::golden::open;
use half::f16;
use proptest::prelude::*;

const BLOCKS: [BlockKind; 3] = [BlockKind::Q4_0, BlockKind::Q4_1, BlockKind::Q8_0];

/// A stream of words (xorshift), so that large inputs need no table.
fn words(seed: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1), |word| {
        let word = word ^ (word << 13);
        let word = word ^ (word >> 7);
        Some(word ^ (word << 17))
    })
    .skip(8)
}

/// Numbers in -1..1.
fn floats(seed: u64, n: usize) -> Vec<f32> {
    words(seed).take(n).map(|word| (word >> 40) as f32 / (1 << 23) as f32 - 1.0).collect()
}

/// Blocks of random quants with scales between 1/16 and 1/4, of either sign.
fn blocks(kind: BlockKind, seed: u64, n: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = words(seed).take(n * kind.bytes()).map(|word| (word >> 32) as u8).collect();
    for block in bytes.chunks_exact_mut(kind.bytes()) {
        block[1] = block[1] & 0x80 | 0x2c | block[1] & 3;
        block[3] = if kind == BlockKind::Q4_1 { block[3] & 0x80 | 0x2c | block[3] & 3 } else { block[3] };
    }
    bytes
}

/// The formulas of GGUF, weight by weight.
fn dequantised(kind: BlockKind, bytes: &[u8]) -> Vec<f32> {
    let half = |bytes: &[u8]| f16::from_le_bytes([bytes[0], bytes[1]]).to_f32();
    let nibble = |quants: &[u8], at: usize| if at < 16 { quants[at] & 15 } else { quants[at - 16] >> 4 };
    let mut weights = Vec::new();
    for block in bytes.chunks_exact(kind.bytes()) {
        let scale = half(block);
        weights.extend((0..32).map(|at| match kind {
            BlockKind::Q4_0 => scale * (f32::from(nibble(&block[2..], at)) - 8.0),
            BlockKind::Q4_1 => scale * f32::from(nibble(&block[4..], at)) + half(&block[2..]),
            BlockKind::Q8_0 => scale * f32::from(block[2 + at] as i8),
        }));
    }
    weights
}

/// Every way to store a layer, with the weights that it stands for.
fn layers(seed: u64, outputs: usize, inputs: usize) -> Vec<(String, Packed, Vec<f32>)> {
    let weight = floats(seed, outputs * inputs);
    let rounded = weight.iter().map(|weight| f16::from_f32(*weight).to_f32()).collect();
    let mut layers = vec![
        ("f32".to_owned(), Packed::f32(&weight, outputs, inputs), weight.clone()),
        ("f16".to_owned(), Packed::f16(&weight, outputs, inputs), rounded),
    ];
    if inputs.is_multiple_of(32) {
        layers.extend(BLOCKS.map(|kind| {
            let bytes = blocks(kind, seed, outputs * inputs / 32);
            let packed = Packed::blocks(kind, &bytes, outputs, inputs).expect("the sizes fit");
            (format!("{kind:?}"), packed, dequantised(kind, &bytes))
        }));
    }
    layers
}

fn product(packed: &Packed, x: &[f32], rows: usize) -> Vec<f32> {
    let mut y = vec![f32::NAN; rows * packed.outputs()];
    packed.matmul(x, &mut y);
    y
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn agree_with_loops(rows: usize, outputs: usize, inputs: usize, seed: u64) {
    let x = floats(seed + 1, rows * inputs);
    for (name, packed, weight) in layers(seed, outputs, inputs) {
        assert_eq!((packed.outputs(), packed.inputs()), (outputs, inputs));
        let y = product(&packed, &x, rows);
        for (at, y) in y.iter().enumerate() {
            let (row, output) = (at / outputs, at % outputs);
            let x = &x[row * inputs..][..inputs];
            let weight = &weight[output * inputs..][..inputs];
            let terms = || x.iter().zip(weight).map(|(x, weight)| f64::from(*x) * f64::from(*weight));
            let exact: f64 = terms().sum();
            // each of the fused steps rounds a sum that is no larger than the sum of magnitudes
            let bound = terms().map(f64::abs).sum::<f64>() * inputs as f64 * f64::from(f32::EPSILON);
            assert!((f64::from(*y) - exact).abs() <= bound, "{name} [{row}, {output}]: {y} for {exact}");
            let chain = x.iter().zip(weight).fold(0.0, |sum: f32, (x, weight)| x.mul_add(*weight, sum));
            assert_eq!(*y, chain, "{name} [{row}, {output}] is no chain in the order of the inputs");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn products_agree_with_loops(rows in 0usize..30, outputs in 1usize..200, inputs in 1usize..200, seed in any::<u32>()) {
        agree_with_loops(rows, outputs, inputs, seed.into());
    }

    #[test]
    fn products_of_whole_blocks_agree_with_loops(rows in 0usize..30, outputs in 1usize..100, chunks in 1usize..12, seed in any::<u32>()) {
        agree_with_loops(rows, outputs, 32 * chunks, seed.into());
    }

    #[test]
    fn rows_come_back_as_they_multiply(outputs in 1usize..100, inputs in 1usize..100, seed in any::<u32>()) {
        for (name, packed, weight) in layers(seed.into(), outputs, inputs) {
            let mut row = vec![f32::NAN; inputs];
            for output in 0..outputs {
                packed.row(output, &mut row);
                prop_assert_eq!(&row, &weight[output * inputs..][..inputs], "{} {}", name, output);
            }
        }
    }
}

#[test]
fn a_row_has_the_same_bits_in_any_company() {
    let pools = [1, 2, 3].map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap());
    // the last ones are shared among threads: by panels, by panels and rows, with a part of a panel left over
    for (outputs, inputs) in [(5, 32), (64, 48), (33, 320), (300, 1024), (20, 4096), (1000, 544)] {
        for (name, packed, _) in layers(9, outputs, inputs) {
            let most = 103;
            let x = floats(4, most * inputs);
            let alone: Vec<Vec<u32>> = x.chunks_exact(inputs).map(|x| bits(&product(&packed, x, 1))).collect();
            for (pool, threads) in pools.iter().zip(1..) {
                for rows in (1..=28).chain([61, most]) {
                    let first = (most - rows) / 2;
                    let x = &x[first * inputs..][..rows * inputs];
                    let together = pool.install(|| product(&packed, x, rows));
                    for (row, y) in together.chunks_exact(outputs).enumerate() {
                        assert!(
                            bits(y) == alone[first + row],
                            "{name} [{outputs}, {inputs}]: row {row} of {rows} with {threads} threads"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn every_finite_half_survives() {
    let halves: Vec<f32> =
        (0..=u16::MAX).map(f16::from_bits).filter(|half| half.is_finite()).map(f16::to_f32).collect();
    assert_eq!(halves.len(), 2 * 0x7c00);
    let packed = Packed::f16(&halves, halves.len(), 1);
    assert_eq!(packed.bytes(), halves.len() * 32 * 2, "one input is padded to 32");
    for rows in [1, 5] {
        let y = product(&packed, &vec![1.0; rows], rows);
        assert!(y.chunks_exact(halves.len()).all(|y| y == halves), "{rows} rows");
    }
    let mut weight = [0.0];
    for (output, half) in halves.iter().enumerate() {
        packed.row(output, &mut weight);
        assert_eq!(weight[0].to_bits(), half.to_bits());
    }
}

#[test]
fn halves_round_to_nearest() {
    let weight: Vec<f32> =
        floats(3, 4096).iter().enumerate().map(|(at, x)| x * 2f32.powi(at as i32 % 48 - 32)).collect();
    let mut rounded = vec![0.0; weight.len()];
    Packed::f16(&weight, 1, weight.len()).row(0, &mut rounded);
    for (weight, rounded) in weight.iter().zip(&rounded) {
        // half a unit in the last of 11 bits, or half of the smallest half
        let bound = (weight.abs() * 2f32.powi(-11)).max(2f32.powi(-25));
        assert!((weight - rounded).abs() <= bound, "{weight} became {rounded}");
    }
}

#[test]
fn weights_beyond_half_stay_f32() {
    for large in [65520.0, -1e30, f32::INFINITY] {
        let weight = [large, 0.1, 0.2, 0.3];
        let packed = Packed::f16(&weight, 2, 2);
        let mut row = [0.0; 2];
        packed.row(0, &mut row);
        assert_eq!(row, weight[..2]);
        packed.row(1, &mut row);
        assert_eq!(row, weight[2..]);
    }
}

#[test]
fn golden_blocks_become_their_floats() {
    let mut read = 0;
    for case in open("smollm2/gguf_blocks.json").get("cases").items() {
        let name = case.get("type").text();
        // Other blocks are read by `ascribe-lm`, which tests every case; here is what stays packed.
        let Some(kind) = BLOCKS.into_iter().find(|kind| format!("{kind:?}") == name) else { continue };
        let expected = case.get("dequantized");
        let (outputs, inputs) = (expected.shape()[0], expected.shape()[1]);
        let expected: Vec<f32> = expected.numbers().iter().map(|number| *number as f32).collect();
        let hex: String = case.get("row_bytes_hex").items().iter().map(|row| row.text()).collect();
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        let packed = Packed::blocks(kind, &bytes, outputs, inputs).expect("the sizes fit");
        let mut row = vec![f32::NAN; inputs];
        for (output, expected) in expected.chunks_exact(inputs).enumerate() {
            packed.row(output, &mut row);
            assert_eq!(row, expected, "{name}, row {output}");
        }
        // unit rows pick the columns: few rows and many take different ways
        for rows in [2, inputs] {
            let mut x = vec![0.0; rows * inputs];
            (0..rows).for_each(|row| x[row * inputs + row] = 1.0);
            for (input, y) in product(&packed, &x, rows).chunks_exact(outputs).enumerate() {
                let column: Vec<f32> = expected.iter().skip(input).step_by(inputs).copied().collect();
                assert_eq!(y, column, "{name}, column {input} of {rows}");
            }
        }
        read += 1;
    }
    assert_eq!(read, BLOCKS.len());
}

#[test]
fn blocks_that_do_not_fit_are_refused() {
    for kind in BLOCKS {
        let good = blocks(kind, 1, 4);
        assert!(Packed::blocks(kind, &good, 2, 64).is_ok());
        for (bytes, outputs, inputs, says) in [
            (&good[..], 2, 48, "whole blocks of 32"),
            (&good[1..], 2, 64, "one block for 32 weights"),
            (&good[..], 3, 64, "one block for 32 weights"),
            (&good[..], usize::MAX, 64, "one block for 32 weights"),
            (&good[..], usize::MAX / 64, 1 << 40, "one block for 32 weights"),
        ] {
            let error = Packed::blocks(kind, bytes, outputs, inputs).unwrap_err();
            assert!(matches!(error, CoreError::Shape { .. }) && error.to_string().contains(says), "{error}");
        }
        let mut broken = good.clone();
        broken[kind.bytes()..][..2].copy_from_slice(&f16::NAN.to_le_bytes());
        let error = Packed::blocks(kind, &broken, 2, 64).unwrap_err().to_string();
        assert!(error.contains("must be finite") && error.contains("NaN"), "{error}");
    }
}

#[test]
fn empty_products_are_empty_or_zero() {
    for (rows, outputs, inputs) in [(0, 3, 5), (3, 0, 5), (3, 5, 0)] {
        for (name, packed, _) in layers(1, outputs, inputs) {
            let y = product(&packed, &vec![1.0; rows * inputs], rows);
            assert!(y.iter().all(|y| *y == 0.0), "{name} [{outputs}, {inputs}] with {rows} rows");
        }
    }
}

#[test]
fn storage_is_as_small_as_it_says() {
    let bits_a_weight = [("f32", 32.0), ("f16", 16.0), ("Q4_0", 4.5), ("Q4_1", 5.0), ("Q8_0", 8.5)];
    for ((name, packed, _), (expected, bits)) in layers(1, 96, 64).iter().zip(bits_a_weight) {
        assert_eq!((name.as_str(), packed.bytes() as f64), (expected, bits / 8.0 * 96.0 * 64.0));
    }
}
