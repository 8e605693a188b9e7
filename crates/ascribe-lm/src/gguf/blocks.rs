//! How GGUF stores weights: bytes of whole blocks to f32.
//!
//! Source: `ggml-quants.c` and `ggml-common.h` of ggml-org/ggml. `d` and `m` are halves unless said otherwise, and the
//! fields stand in the order of the bytes.
//! ```text
//! Q4_0   32: d, 16 nibbles x2              w = d * (q - 8)        low nibbles are weights 0..16, high ones 16..32
//! Q4_1   32: d, m, nibbles                 w = d * q + m
//! Q5_0   32: d, 32 fifth bits, nibbles     w = d * (q - 16)
//! Q5_1   32: d, m, 32 fifth bits, nibbles  w = d * q + m
//! Q8_0   32: d, 32 signed                  w = d * q
//! Q2_K  256: 16 (scale, minimum) nibbles, 2 bits x256, d, m        w = d * scale * q - m * minimum
//! Q3_K  256: 256 third bits, 2 bits x256, 16 scales of 6 bits, d   w = d * (scale - 32) * (q - 4)
//! Q4_K  256: d, m, 8 scales and minima of 6 bits, nibbles          w = d * scale * q - m * minimum
//! Q5_K  256: d, m, 8 scales and minima, fifth bits, nibbles        w = d * scale * q - m * minimum
//! Q6_K  256: nibbles, 2 upper bits x256, 16 signed scales, d       w = d * scale * (q - 32)
//! ```

use half::{bf16, f16};

/// How the weights of a tensor are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorKind {
    /// 32-bit floats.
    F32,
    /// 16-bit floats, IEEE.
    F16,
    /// 16-bit floats with the exponent of f32.
    Bf16,
    /// 4 bits and a scale.
    Q4_0,
    /// 4 bits, a scale and a minimum.
    Q4_1,
    /// 5 bits and a scale.
    Q5_0,
    /// 5 bits, a scale and a minimum.
    Q5_1,
    /// 8 bits and a scale.
    Q8_0,
    /// 2 bits; 16 scales and minima of 4 bits for 256 weights.
    Q2K,
    /// 3 bits; 16 scales of 6 bits for 256 weights.
    Q3K,
    /// 4 bits; 8 scales and minima of 6 bits for 256 weights.
    Q4K,
    /// 5 bits; 8 scales and minima of 6 bits for 256 weights.
    Q5K,
    /// 6 bits; 16 scales of 8 bits for 256 weights.
    Q6K,
    /// A kind that is not read here, by its number in the file.
    Other(u32),
}

/// Kind, number in the file, the name that llama.cpp gives it, weights and bytes of one block.
const KINDS: [(TensorKind, u32, &str, usize, usize); 13] = [
    (TensorKind::F32, 0, "F32", 1, 4),
    (TensorKind::F16, 1, "F16", 1, 2),
    (TensorKind::Q4_0, 2, "Q4_0", 32, 18),
    (TensorKind::Q4_1, 3, "Q4_1", 32, 20),
    (TensorKind::Q5_0, 6, "Q5_0", 32, 22),
    (TensorKind::Q5_1, 7, "Q5_1", 32, 24),
    (TensorKind::Q8_0, 8, "Q8_0", 32, 34),
    (TensorKind::Q2K, 10, "Q2_K", 256, 84),
    (TensorKind::Q3K, 11, "Q3_K", 256, 110),
    (TensorKind::Q4K, 12, "Q4_K", 256, 144),
    (TensorKind::Q5K, 13, "Q5_K", 256, 176),
    (TensorKind::Q6K, 14, "Q6_K", 256, 210),
    (TensorKind::Bf16, 30, "BF16", 1, 2),
];

impl TensorKind {
    pub(super) fn from_code(code: u32) -> Self {
        KINDS.iter().find(|kind| kind.1 == code).map_or(Self::Other(code), |kind| kind.0)
    }

    #[cfg(test)]
    pub(super) fn code(self) -> u32 {
        match self {
            Self::Other(code) => code,
            known => KINDS.iter().find(|kind| kind.0 == known).map_or(u32::MAX, |kind| kind.1),
        }
    }

    /// The name that llama.cpp gives it.
    pub fn name(self) -> String {
        let other = |code| match code {
            9 => "Q8_1".to_owned(),
            15 => "Q8_K".to_owned(),
            16..=23 | 29 => format!("IQ (number {code})"),
            24..=27 => format!("integers (number {code})"),
            28 => "F64".to_owned(),
            _ => format!("number {code}"),
        };
        match self {
            Self::Other(code) => other(code),
            known => KINDS.iter().find(|kind| kind.0 == known).map_or_else(String::new, |kind| kind.2.to_owned()),
        }
    }

    /// Weights and bytes of one block: whole rows are whole blocks. `None` for a kind that is not read here.
    pub fn block(self) -> Option<(usize, usize)> {
        KINDS.iter().find(|kind| kind.0 == self).map(|kind| (kind.3, kind.4))
    }

    /// The kinds that are read here, for messages.
    pub(super) fn supported() -> String {
        KINDS.map(|kind| kind.2).join(", ")
    }
}

/// The weights of whole blocks; nothing for a kind that is not read here.
pub(super) fn dequantize(kind: TensorKind, bytes: &[u8]) -> Vec<f32> {
    let Some((weights, block)) = kind.block() else { return Vec::new() };
    let mut out = vec![0.0; bytes.len() / block * weights];
    let mut each = |weights_of: fn(&[u8], &mut [f32])| {
        bytes.chunks_exact(block).zip(out.chunks_exact_mut(weights)).for_each(|(block, out)| weights_of(block, out));
    };
    match kind {
        TensorKind::F32 => each(|b, out| out[0] = f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
        TensorKind::F16 => each(|b, out| out[0] = half(b)),
        TensorKind::Bf16 => each(|b, out| out[0] = bf16::from_le_bytes([b[0], b[1]]).to_f32()),
        TensorKind::Q4_0 => each(|b, out| nibbles(half(b), -8, 0.0, 0, &b[2..], out)),
        TensorKind::Q4_1 => each(|b, out| nibbles(half(b), 0, half(&b[2..]), 0, &b[4..], out)),
        TensorKind::Q5_0 => each(|b, out| nibbles(half(b), -16, 0.0, bits(&b[2..]), &b[6..], out)),
        TensorKind::Q5_1 => each(|b, out| nibbles(half(b), 0, half(&b[2..]), bits(&b[4..]), &b[8..], out)),
        TensorKind::Q8_0 => each(|b, out| {
            let scale = half(b);
            out.iter_mut().zip(&b[2..]).for_each(|(out, byte)| *out = f32::from(*byte as i8) * scale);
        }),
        TensorKind::Q2K => each(q2_k),
        TensorKind::Q3K => each(q3_k),
        TensorKind::Q4K => each(|b, out| q4_k(half(b), half(&b[2..]), &b[4..16], &[0; 32], &b[16..], out)),
        TensorKind::Q5K => each(|b, out| q4_k(half(b), half(&b[2..]), &b[4..16], &b[16..48], &b[48..], out)),
        TensorKind::Q6K => each(q6_k),
        TensorKind::Other(_) => {}
    }
    out
}

fn half(bytes: &[u8]) -> f32 {
    f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

fn bits(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// `scale * (q + shift) + minimum` for 32 weights; bit `at` of `fifth` is the fifth bit of weight `at`.
fn nibbles(scale: f32, shift: i32, minimum: f32, fifth: u32, bytes: &[u8], out: &mut [f32]) {
    for at in 0..16 {
        let low = i32::from(bytes[at] & 15) | ((fifth >> at & 1) << 4) as i32;
        let high = i32::from(bytes[at] >> 4) | ((fifth >> (at + 16) & 1) << 4) as i32;
        out[at] = (low + shift) as f32 * scale + minimum;
        out[at + 16] = (high + shift) as f32 * scale + minimum;
    }
}

/// Weight 128 h + 32 j + l is in the bits 2 j of byte 32 h + l; each 16 weights share a scale.
fn q2_k(block: &[u8], out: &mut [f32]) {
    let (scales, quants) = (&block[..16], &block[16..80]);
    let (d, m) = (half(&block[80..]), half(&block[82..]));
    for (at, out) in out.iter_mut().enumerate() {
        let scale = scales[at / 16];
        let quant = quants[at / 128 * 32 + at % 32] >> (at % 128 / 32 * 2) & 3;
        *out = d * f32::from(scale & 15) * f32::from(quant) - m * f32::from(scale >> 4);
    }
}

/// The two low bits lie as in Q2_K; the third bit of weight 32 j + l is bit j of byte l.
fn q3_k(block: &[u8], out: &mut [f32]) {
    let (thirds, quants, packed) = (&block[..32], &block[32..96], &block[96..108]);
    let d = half(&block[108..]);
    for (at, out) in out.iter_mut().enumerate() {
        let group = at / 16;
        // The four low bits of scales 0..8 are low nibbles, those of 8..16 high nibbles; the upper two follow.
        let low = packed[group % 8] >> (group / 8 * 4) & 15;
        let high = packed[8 + group % 4] >> (group / 4 * 2) & 3;
        let scale = i32::from(low | high << 4) - 32;
        let low = quants[at / 128 * 32 + at % 32] >> (at % 128 / 32 * 2) & 3;
        let third = thirds[at % 32] >> (at / 32) & 1;
        *out = d * scale as f32 * (i32::from(low | third << 2) - 4) as f32;
    }
}

/// Q4_K, and with fifth bits Q5_K. Weight 64 j + l is in the low nibble of byte 32 j + l, weight 64 j + 32 + l in the high
/// one; the fifth bit of weight 32 i + l is bit i of byte l.
fn q4_k(d: f32, m: f32, packed: &[u8], fifths: &[u8], quants: &[u8], out: &mut [f32]) {
    for (group, out) in out.chunks_exact_mut(32).enumerate() {
        // Scales and minima 0..4 are the low six bits of bytes 0..8; those of 4..8 are nibbles of bytes 8..12, and their
        // upper two bits fill bytes 0..8.
        let (scale, minimum) = match group {
            0..4 => (packed[group] & 63, packed[group + 4] & 63),
            _ => {
                let nibbles = packed[group + 4];
                (nibbles & 15 | packed[group - 4] >> 6 << 4, nibbles >> 4 | packed[group] >> 6 << 4)
            }
        };
        let (scale, minimum) = (d * f32::from(scale), m * f32::from(minimum));
        for (at, out) in out.iter_mut().enumerate() {
            let low = quants[group / 2 * 32 + at] >> (group % 2 * 4) & 15;
            let fifth = fifths[at] >> group & 1;
            *out = scale * f32::from(low | fifth << 4) - minimum;
        }
    }
}

/// Weight 128 h + 32 j + l: low bits in byte 64 h + 32 (j mod 2) + l, its high nibble for j of 2 and 3; upper bits 2 j of
/// byte 32 h + l.
fn q6_k(block: &[u8], out: &mut [f32]) {
    let (lows, highs, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let d = half(&block[208..]);
    for (at, out) in out.iter_mut().enumerate() {
        let (h, j, l) = (at / 128, at % 128 / 32, at % 32);
        let low = lows[64 * h + 32 * (j % 2) + l] >> (j / 2 * 4) & 15;
        let high = highs[32 * h + l] >> (2 * j) & 3;
        let scale = f32::from(scales[at / 16] as i8);
        *out = d * scale * (i32::from(low | high << 4) - 32) as f32;
    }
}
