//! Products with the weights of a linear layer, packed once: `y = x W^T`.
//!
//! Weights stand in panels of 32 outputs, so that one step along the inputs reads one or two cache lines:
//! ```text
//! f32   a step:            2 lines    outputs 0..16, outputs 16..32
//! f16   a step:            1 line     word i holds outputs i and 16 + i
//! Q4_0  a block of 32:     9 lines    scales as f16, then 8 steps in each word
//! Q4_1  a block of 32:    10 lines    scales, minima, then 8 steps in each word
//! Q8_0  a block of 32:    17 lines    scales, then 4 steps in each word
//! ```
//! An output is one chain of fused multiply-adds over the inputs in increasing order, started at zero. Where sums rest
//! between two stretches of inputs they rest as f32, so neither the tile of rows, nor the stretch, nor the thread shows
//! in the bits. Stored weights are widened to f32 exactly; for many rows this happens once for all of them.

use std::ops::Range;

use half::f16;
use pulp::{Arch, Scalar, Simd, WithSimd};
use rayon::prelude::*;

use crate::CoreError;

/// Outputs of a panel.
const PANEL: usize = 32;
/// Inputs that are read together; panels are padded to a multiple of it. Also the block of GGUF's formats.
const CHUNK: usize = 32;
/// Chunks that are widened at once for many rows: 16 KiB of f32, half of an L1 cache.
const STRETCH: usize = 4;
/// Rows for which weights are widened in registers; for more they are widened into a buffer first.
const DIRECT: usize = 4;
/// Panels that are written to `y` together: rows of `y` may lie pages apart.
const TOGETHER: usize = 4;
/// Multiply-adds below which a second thread costs more than it saves: about ten microseconds of work.
const ALONE: usize = 1 << 19;

/// GGUF block formats that [`Packed::blocks`] reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockKind {
    /// A scale and 32 nibbles: `w = d * (q - 8)`; 18 bytes.
    Q4_0,
    /// A scale, a minimum and 32 nibbles: `w = d * q + m`; 20 bytes.
    Q4_1,
    /// A scale and 32 signed bytes: `w = d * q`; 34 bytes.
    Q8_0,
}

impl BlockKind {
    /// Bytes of a block of 32 weights.
    pub fn bytes(self) -> usize {
        match self {
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q8_0 => 34,
        }
    }
}

/// Weights of a linear layer `[outputs, inputs]`, packed for products with rows of f32.
#[derive(Clone, Debug)]
pub struct Packed {
    outputs: usize,
    inputs: usize,
    storage: Storage,
    lines: Vec<Line>,
}

#[derive(Clone, Copy, Debug)]
enum Storage {
    F32,
    F16,
    Blocks(BlockKind),
}

/// A cache line: 16 words, or the bits of 16 f32.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([u32; 16]);

const ZERO: Line = Line([0; 16]);

impl Packed {
    /// Packs `weight` as it is.
    ///
    /// # Shapes
    /// - `weight`: `[outputs, inputs]`, row-major
    ///
    /// # Panics
    /// When `weight` does not have `outputs * inputs` entries.
    pub fn f32(weight: &[f32], outputs: usize, inputs: usize) -> Self {
        let packed = Self::empty(Storage::F32, weight, outputs, inputs);
        packed.filled::<F32>(|lines, output, input| {
            lines[2 * (input % CHUNK) + output / 16 % 2].0[output % 16] = weight[output * inputs + input].to_bits();
        })
    }

    /// Packs `weight` rounded to f16, to nearest even; sums stay f32. Weights that f16 does not hold (above 65504 in
    /// magnitude, or not finite) leave the whole matrix in f32.
    ///
    /// # Shapes
    /// - `weight`: `[outputs, inputs]`, row-major
    ///
    /// # Panics
    /// When `weight` does not have `outputs * inputs` entries.
    pub fn f16(weight: &[f32], outputs: usize, inputs: usize) -> Self {
        if !weight.iter().all(|weight| f16::from_f32(*weight).is_finite()) {
            return Self::f32(weight, outputs, inputs);
        }
        let packed = Self::empty(Storage::F16, weight, outputs, inputs);
        packed.filled::<F16>(|lines, output, input| {
            let bits = f16::from_f32(weight[output * inputs + input]).to_bits();
            put_half(&mut lines[input % CHUNK], output % PANEL, bits);
        })
    }

    /// Packs the blocks of a GGUF tensor. Products are those of the weights de-quantised to f32.
    ///
    /// # Shapes
    /// - `bytes`: `[outputs, inputs / 32]` blocks, row-major
    ///
    /// # Errors
    /// [`CoreError::Shape`] when `inputs` is no multiple of 32, when `bytes` has another length, or when a scale is not
    /// finite.
    pub fn blocks(kind: BlockKind, bytes: &[u8], outputs: usize, inputs: usize) -> Result<Self, CoreError> {
        if !inputs.is_multiple_of(CHUNK) {
            return Err(CoreError::Shape {
                rule: "rows of quantised weights must be whole blocks of 32; load this tensor as f32",
                got: format!("rows of {inputs}"),
            });
        }
        let expected = (inputs / CHUNK).checked_mul(kind.bytes()).and_then(|row| row.checked_mul(outputs));
        if expected != Some(bytes.len()) {
            return Err(CoreError::Shape {
                rule: "quantised weights must have one block for 32 weights; check the shape and the block format",
                got: format!("{} bytes for [{outputs}, {inputs}] in {kind:?}", bytes.len()),
            });
        }
        let mut packed = Self { outputs, inputs, storage: Storage::Blocks(kind), lines: Vec::new() };
        packed.lines = vec![ZERO; packed.panels() * packed.panel_lines()];
        let (chunks, chunk_lines) = (packed.chunks(), packed.chunk_lines());
        for (at, block) in bytes.chunks_exact(kind.bytes()).enumerate() {
            let (output, chunk) = (at / chunks, at % chunks);
            let lines = &mut packed.lines[(output / PANEL * chunks + chunk) * chunk_lines..][..chunk_lines];
            put_block(kind, lines, output % PANEL, block)?;
        }
        Ok(packed)
    }

    /// Rows of the weight matrix.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Columns of the weight matrix.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Bytes held, padding included.
    pub fn bytes(&self) -> usize {
        size_of_val(self.lines.as_slice())
    }

    /// `y = x W^T`. A row of `y` depends on its row of `x` alone, to the bit.
    ///
    /// # Shapes
    /// - `x`: `[rows, inputs]`
    /// - `y`: `[rows, outputs]`, overwritten
    ///
    /// # Panics
    /// When the lengths of `x` and `y` do not give the same number of rows.
    pub fn matmul(&self, x: &[f32], y: &mut [f32]) {
        if self.inputs == 0 || self.outputs == 0 {
            y.fill(0.0);
            return;
        }
        let rows = x.len() / self.inputs;
        let agree = x.len() == rows * self.inputs && y.len() == rows * self.outputs;
        assert!(agree, "{} inputs and {} outputs are not rows of {self:?}", x.len(), y.len());
        if rows == 0 {
            return;
        }
        let width = self.chunks() * CHUNK;
        if width == self.inputs {
            self.share(x, y, rows);
        } else {
            let mut padded = vec![0.0; rows * width];
            for (from, to) in x.chunks_exact(self.inputs).zip(padded.chunks_exact_mut(width)) {
                to[..self.inputs].copy_from_slice(from);
            }
            self.share(&padded, y, rows);
        }
    }

    /// Row `output` of the weight matrix, as [`matmul`](Self::matmul) sees it: an embedding, where weights are tied.
    ///
    /// # Shapes
    /// - `into`: `[inputs]`, overwritten
    ///
    /// # Panics
    /// When `output` is not below [`outputs`](Self::outputs), or `into` is not `inputs` long.
    pub fn row(&self, output: usize, into: &mut [f32]) {
        assert!(output < self.outputs, "output {output} of {}", self.outputs);
        assert_eq!(into.len(), self.inputs, "a row has as many entries as the layer has inputs");
        match self.storage {
            Storage::F32 => self.unpack::<F32>(output, into),
            Storage::F16 => self.unpack::<F16>(output, into),
            Storage::Blocks(BlockKind::Q4_0) => self.unpack::<Q40>(output, into),
            Storage::Blocks(BlockKind::Q4_1) => self.unpack::<Q41>(output, into),
            Storage::Blocks(BlockKind::Q8_0) => self.unpack::<Q80>(output, into),
        }
    }

    fn empty(storage: Storage, weight: &[f32], outputs: usize, inputs: usize) -> Self {
        assert_eq!(Some(weight.len()), outputs.checked_mul(inputs), "weights of [{outputs}, {inputs}]");
        Self { outputs, inputs, storage, lines: Vec::new() }
    }

    /// Fills the lines of each chunk by `put(lines, output, input)`.
    fn filled<W: Weights>(mut self, mut put: impl FnMut(&mut [Line], usize, usize)) -> Self {
        self.lines = vec![ZERO; self.panels() * self.panel_lines()];
        for (at, lines) in self.lines.chunks_exact_mut(W::LINES).enumerate() {
            let (panel, chunk) = (at / self.inputs.div_ceil(CHUNK), at % self.inputs.div_ceil(CHUNK));
            for output in panel * PANEL..self.outputs.min((panel + 1) * PANEL) {
                for input in chunk * CHUNK..self.inputs.min((chunk + 1) * CHUNK) {
                    put(lines, output, input);
                }
            }
        }
        self
    }

    fn panels(&self) -> usize {
        self.outputs.div_ceil(PANEL)
    }

    fn chunks(&self) -> usize {
        self.inputs.div_ceil(CHUNK)
    }

    fn chunk_lines(&self) -> usize {
        match self.storage {
            Storage::F32 => F32::LINES,
            Storage::F16 => F16::LINES,
            Storage::Blocks(BlockKind::Q4_0) => Q40::LINES,
            Storage::Blocks(BlockKind::Q4_1) => Q41::LINES,
            Storage::Blocks(BlockKind::Q8_0) => Q80::LINES,
        }
    }

    fn panel_lines(&self) -> usize {
        self.chunks() * self.chunk_lines()
    }

    /// Cuts the product into parts and gives them to the threads of the current pool.
    fn share(&self, x: &[f32], y: &mut [f32], rows: usize) {
        // reading the weights takes the time of about three rows
        let work = (rows + 3).saturating_mul(self.inputs).saturating_mul(self.outputs);
        let threads = if work < ALONE { 1 } else { rayon::current_num_threads() };
        // Several parts a thread even out a core that is busy elsewhere, when they are long enough to pay for it.
        let wanted = if threads > 1 && work > 32 * ALONE { 4 * threads } else { threads };
        let across = wanted.min(self.panels());
        let down = wanted.div_ceil(across).min(rows.div_ceil(2 * DIRECT));
        let mut parts = Vec::with_capacity(across * down);
        let mut rest = y;
        for at in 0..down {
            let taken = rows * at / down..rows * (at + 1) / down;
            let (here, after) = rest.split_at_mut(taken.len() * self.outputs);
            rest = after;
            let width = self.chunks() * CHUNK;
            let x = &x[taken.start * width..taken.end * width];
            let first = parts.len();
            parts.extend((0..across).map(|part| Part {
                packed: self,
                x,
                panels: self.panels() * part / across..self.panels() * (part + 1) / across,
                y: Vec::with_capacity(taken.len()),
            }));
            for mut row in here.chunks_exact_mut(self.outputs) {
                for part in &mut parts[first..] {
                    let (columns, after) = row.split_at_mut(row.len().min(part.panels.len() * PANEL));
                    part.y.push(columns);
                    row = after;
                }
            }
        }
        if threads == 1 {
            parts.into_iter().for_each(Part::run);
        } else {
            parts.into_par_iter().with_max_len(1).for_each(Part::run);
        }
    }

    fn unpack<W: Weights>(&self, output: usize, into: &mut [f32]) {
        let (panel, within) = (output / PANEL, output % PANEL);
        let lines = &self.lines[panel * self.panel_lines()..][..self.panel_lines()];
        for (lines, into) in lines.chunks_exact(W::LINES).zip(into.chunks_mut(CHUNK)) {
            W::widen(Scalar, lines, within % 16, |step, both: [f32; 2]| {
                if let Some(weight) = into.get_mut(step) {
                    *weight = both[within / 16];
                }
            });
        }
    }
}

/// Some rows of `x` against some panels.
struct Part<'a> {
    packed: &'a Packed,
    /// Rows, padded to whole chunks.
    x: &'a [f32],
    panels: Range<usize>,
    /// For each row, the columns of these panels.
    y: Vec<&'a mut [f32]>,
}

impl Part<'_> {
    fn run(self) {
        Arch::new().dispatch(self);
    }

    #[inline(always)]
    fn multiply<S: Simd, W: Weights>(mut self, simd: S) {
        let rows = self.y.len();
        let width = self.packed.chunks() * CHUNK;
        let panel_lines = self.packed.panel_lines();
        let mut sums = vec![[ZERO; 2]; TOGETHER * rows];
        let mut wide = if W::WIDE || rows <= DIRECT { Vec::new() } else { vec![ZERO; STRETCH * F32::LINES] };
        let lines = &self.packed.lines[self.panels.start * panel_lines..self.panels.end * panel_lines];
        for (at, lines) in lines.chunks(TOGETHER * panel_lines).enumerate() {
            sums.fill([ZERO; 2]);
            for (lines, sums) in lines.chunks_exact(panel_lines).zip(sums.chunks_exact_mut(rows)) {
                if rows <= DIRECT {
                    tile::<S, W>(simd, lines, self.x, width, 0, sums);
                    continue;
                }
                for (stretch, lines) in lines.chunks(STRETCH * W::LINES).enumerate() {
                    let start = stretch * STRETCH * CHUNK;
                    if W::WIDE {
                        simd.vectorize(Tiles { lines, x: self.x, width, start, sums });
                    } else {
                        let wide = &mut wide[..lines.len() / W::LINES * F32::LINES];
                        for (lines, wide) in lines.chunks_exact(W::LINES).zip(wide.chunks_exact_mut(F32::LINES)) {
                            spread::<S, W>(simd, lines, wide);
                        }
                        simd.vectorize(Tiles { lines: wide, x: self.x, width, start, sums });
                    }
                }
            }
            for (row, y) in self.y.iter_mut().enumerate() {
                for (panel, y) in y[at * TOGETHER * PANEL..].chunks_mut(PANEL).take(TOGETHER).enumerate() {
                    for (y, sums) in y.chunks_mut(16).zip(&sums[panel * rows + row]) {
                        match y.as_chunks_mut::<16>() {
                            ([whole], _) => *whole = sums.0.map(f32::from_bits),
                            (_, y) => y.iter_mut().zip(sums.0).for_each(|(y, bits)| *y = f32::from_bits(bits)),
                        }
                    }
                }
            }
        }
    }
}

impl WithSimd for Part<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.packed.storage {
            Storage::F32 => self.multiply::<S, F32>(simd),
            Storage::F16 => self.multiply::<S, F16>(simd),
            Storage::Blocks(BlockKind::Q4_0) => self.multiply::<S, Q40>(simd),
            Storage::Blocks(BlockKind::Q4_1) => self.multiply::<S, Q41>(simd),
            Storage::Blocks(BlockKind::Q8_0) => self.multiply::<S, Q80>(simd),
        }
    }
}

/// A few rows, at most `DIRECT`, straight from storage.
#[inline(always)]
fn tile<S: Simd, W: Weights>(simd: S, lines: &[Line], x: &[f32], width: usize, start: usize, sums: &mut [[Line; 2]]) {
    match sums.len() {
        1 => add::<S, W, 1>(simd, lines, x, width, start, sums),
        2 => add::<S, W, 2>(simd, lines, x, width, start, sums),
        3 => add::<S, W, 3>(simd, lines, x, width, start, sums),
        _ => add::<S, W, 4>(simd, lines, x, width, start, sums),
    }
}

/// Any number of rows against a stretch of f32, in tiles of nearly equal height that fill the registers. Compiled once
/// for all kinds of storage, hence an operation of its own.
struct Tiles<'a> {
    lines: &'a [Line],
    x: &'a [f32],
    width: usize,
    start: usize,
    sums: &'a mut [[Line; 2]],
}

impl WithSimd for Tiles<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { lines, x, width, start, sums } = self;
        let tall = S::REGISTER_COUNT >= 32;
        let rows = sums.len();
        let tiles = rows.div_ceil(if tall { 12 } else { 6 });
        for tile in 0..tiles {
            let taken = rows * tile / tiles..rows * (tile + 1) / tiles;
            let (x, sums) = (&x[taken.start * width..], &mut sums[taken]);
            match sums.len() {
                1 => add::<S, F32, 1>(simd, lines, x, width, start, sums),
                2 => add::<S, F32, 2>(simd, lines, x, width, start, sums),
                3 => add::<S, F32, 3>(simd, lines, x, width, start, sums),
                4 => add::<S, F32, 4>(simd, lines, x, width, start, sums),
                5 => add::<S, F32, 5>(simd, lines, x, width, start, sums),
                height if height == 6 || !tall => add::<S, F32, 6>(simd, lines, x, width, start, sums),
                7 => add::<S, F32, 7>(simd, lines, x, width, start, sums),
                8 => add::<S, F32, 8>(simd, lines, x, width, start, sums),
                9 => add::<S, F32, 9>(simd, lines, x, width, start, sums),
                10 => add::<S, F32, 10>(simd, lines, x, width, start, sums),
                11 => add::<S, F32, 11>(simd, lines, x, width, start, sums),
                _ => add::<S, F32, 12>(simd, lines, x, width, start, sums),
            }
        }
    }
}

/// Adds to the `ROWS` rows of `sums` the products of `x` from input `start` on with one panel.
#[inline(always)]
fn add<S: Simd, W: Weights, const ROWS: usize>(
    simd: S,
    lines: &[Line],
    x: &[f32],
    width: usize,
    start: usize,
    sums: &mut [[Line; 2]],
) {
    let length = lines.len() / W::LINES * CHUNK;
    let mut whole: [&[[f32; CHUNK]]; ROWS] = [&[]; ROWS];
    for row in 0..ROWS {
        whole[row] = x[row * width + start..][..length].as_chunks().0;
    }
    for part in 0..16 / S::F32_LANES {
        let mut sum = [[simd.splat_f32s(0.0); 2]; ROWS];
        for row in 0..ROWS {
            sum[row] = load(simd, &sums[row], part);
        }
        for (at, lines) in lines.chunks_exact(W::LINES).enumerate() {
            let mut x = [&[0.0; CHUNK]; ROWS];
            for row in 0..ROWS {
                x[row] = &whole[row][at];
            }
            W::widen(
                simd,
                lines,
                part,
                #[inline(always)]
                |step, weights| {
                    for row in 0..ROWS {
                        let x = simd.splat_f32s(x[row][step]);
                        sum[row][0] = simd.mul_add_f32s(x, weights[0], sum[row][0]);
                        sum[row][1] = simd.mul_add_f32s(x, weights[1], sum[row][1]);
                    }
                },
            );
        }
        for row in 0..ROWS {
            store(simd, &mut sums[row], part, sum[row]);
        }
    }
}

/// One chunk of one panel, widened to f32.
#[inline(always)]
fn spread<S: Simd, W: Weights>(simd: S, lines: &[Line], wide: &mut [Line]) {
    let wide = wide.as_chunks_mut().0;
    for part in 0..16 / S::F32_LANES {
        W::widen(
            simd,
            lines,
            part,
            #[inline(always)]
            |step, weights| store(simd, &mut wide[step], part, weights),
        );
    }
}

#[inline(always)]
fn words<S: Simd>(line: &Line, part: usize) -> S::u32s {
    S::as_simd_u32s(&line.0).0[part]
}

#[inline(always)]
fn load<S: Simd>(simd: S, lines: &[Line; 2], part: usize) -> [S::f32s; 2] {
    [simd.transmute_f32s_u32s(words::<S>(&lines[0], part)), simd.transmute_f32s_u32s(words::<S>(&lines[1], part))]
}

#[inline(always)]
fn store<S: Simd>(simd: S, lines: &mut [Line; 2], part: usize, values: [S::f32s; 2]) {
    for half in 0..2 {
        S::as_mut_simd_u32s(&mut lines[half].0).0[part] = simd.transmute_u32s_f32s(values[half]);
    }
}

/// A way to store a chunk of a panel.
trait Weights {
    /// Lines of a chunk.
    const LINES: usize;
    /// Whether the lines are those of f32 already.
    const WIDE: bool = false;

    /// Calls `each(step, weights)` for the inputs of a chunk in order. The weights are those of the outputs
    /// `part * lanes ..` and `16 + part * lanes ..`.
    fn widen<S: Simd>(simd: S, lines: &[Line], part: usize, each: impl FnMut(usize, [S::f32s; 2]));
}

struct F32;
struct F16;
struct Q40;
struct Q41;
struct Q80;

impl Weights for F32 {
    const LINES: usize = 2 * CHUNK;
    const WIDE: bool = true;

    #[inline(always)]
    fn widen<S: Simd>(simd: S, lines: &[Line], part: usize, mut each: impl FnMut(usize, [S::f32s; 2])) {
        for (step, lines) in lines[..Self::LINES].as_chunks::<2>().0.iter().enumerate() {
            each(step, load(simd, lines, part));
        }
    }
}

impl Weights for F16 {
    const LINES: usize = CHUNK;

    #[inline(always)]
    fn widen<S: Simd>(simd: S, lines: &[Line], part: usize, mut each: impl FnMut(usize, [S::f32s; 2])) {
        for (step, line) in lines[..Self::LINES].iter().enumerate() {
            each(step, halves(simd, words::<S>(line, part)));
        }
    }
}

/// Calls `$each` for the `$bits`-bit fields of two lines of words, lowest first. Shifts must be constants, hence a macro.
macro_rules! fields {
    ($simd:ident, $bits:literal: $($at:literal)*, $lines:ident, $part:ident, $weight:ident($slope:ident, $offset:ident), $each:ident) => {
        for (pair, lines) in $lines.as_chunks::<2>().0.iter().enumerate() {
            let low = words::<S>(&lines[0], $part);
            let high = words::<S>(&lines[1], $part);
            $($each(
                pair * (32 / $bits) + $at,
                [
                    $weight($simd, field::<S, { $at * $bits }, $bits>($simd, low), $slope[0], $offset[0]),
                    $weight($simd, field::<S, { $at * $bits }, $bits>($simd, high), $slope[1], $offset[1]),
                ],
            );)*
        }
    };
}

impl Weights for Q40 {
    const LINES: usize = 1 + 8;

    #[inline(always)]
    fn widen<S: Simd>(simd: S, lines: &[Line], part: usize, mut each: impl FnMut(usize, [S::f32s; 2])) {
        let scale = halves(simd, words::<S>(&lines[0], part));
        // d * (q - 8) = 16d * (1 + q/16) - 24d, every term exact
        let slope = times(simd, scale, 16.0);
        let offset = times(simd, scale, -24.0);
        let quants = &lines[1..Self::LINES];
        fields!(simd, 4: 0 1 2 3 4 5 6 7, quants, part, line(slope, offset), each);
    }
}

impl Weights for Q41 {
    const LINES: usize = 2 + 8;

    #[inline(always)]
    fn widen<S: Simd>(simd: S, lines: &[Line], part: usize, mut each: impl FnMut(usize, [S::f32s; 2])) {
        let slope = times(simd, halves(simd, words::<S>(&lines[0], part)), 16.0);
        let minimum = halves(simd, words::<S>(&lines[1], part));
        let quants = &lines[2..Self::LINES];
        fields!(simd, 4: 0 1 2 3 4 5 6 7, quants, part, line_from_one(slope, minimum), each);
    }
}

impl Weights for Q80 {
    const LINES: usize = 1 + 16;

    #[inline(always)]
    fn widen<S: Simd>(simd: S, lines: &[Line], part: usize, mut each: impl FnMut(usize, [S::f32s; 2])) {
        let scale = halves(simd, words::<S>(&lines[0], part));
        // bytes are stored plus 128: d * (q - 128) = 256d * (1 + q/256) - 384d, every term exact
        let slope = times(simd, scale, 256.0);
        let offset = times(simd, scale, -384.0);
        let quants = &lines[1..Self::LINES];
        fields!(simd, 8: 0 1 2 3, quants, part, line(slope, offset), each);
    }
}

#[inline(always)]
fn times<S: Simd>(simd: S, values: [S::f32s; 2], factor: f32) -> [S::f32s; 2] {
    let factor = simd.splat_f32s(factor);
    [simd.mul_f32s(values[0], factor), simd.mul_f32s(values[1], factor)]
}

#[inline(always)]
fn line<S: Simd>(simd: S, field: S::f32s, slope: S::f32s, offset: S::f32s) -> S::f32s {
    simd.mul_add_f32s(field, slope, offset)
}

/// `d * q + m`: the product is exact, so it rounds once, as it does in f32.
#[inline(always)]
fn line_from_one<S: Simd>(simd: S, field: S::f32s, slope: S::f32s, offset: S::f32s) -> S::f32s {
    simd.mul_add_f32s(simd.sub_f32s(field, simd.splat_f32s(1.0)), slope, offset)
}

/// The two finite f16 of each word, low and high, as f32: exact, subnormal ones included.
#[inline(always)]
fn halves<S: Simd>(simd: S, words: S::u32s) -> [S::f32s; 2] {
    [high_half(simd, simd.wrapping_dyn_shl_u32s(words, simd.splat_u32s(16))), high_half(simd, words)]
}

#[inline(always)]
fn high_half<S: Simd>(simd: S, words: S::u32s) -> S::f32s {
    let sign = simd.and_u32s(words, simd.splat_u32s(1 << 31));
    let rest = simd.and_u32s(simd.wrapping_dyn_shr_u32s(words, simd.splat_u32s(3)), simd.splat_u32s(0x0fff_e000));
    // 2^112 moves the exponent from the bias of f16 to that of f32
    simd.mul_f32s(simd.transmute_f32s_u32s(simd.or_u32s(sign, rest)), simd.splat_f32s(2f32.powi(112)))
}

/// `1 + q / 2^BITS`, where `q` is the unsigned field of each word at bit `AT`: it becomes the top of a mantissa.
#[inline(always)]
fn field<S: Simd, const AT: u32, const BITS: u32>(simd: S, words: S::u32s) -> S::f32s {
    let to = 23 - BITS;
    let moved = if AT <= to {
        simd.wrapping_dyn_shl_u32s(words, simd.splat_u32s(to - AT))
    } else {
        simd.wrapping_dyn_shr_u32s(words, simd.splat_u32s(AT - to))
    };
    let mantissa = simd.and_u32s(moved, simd.splat_u32s(((1 << BITS) - 1) << to));
    simd.transmute_f32s_u32s(simd.or_u32s(mantissa, simd.splat_u32s(1f32.to_bits())))
}

/// Puts the f16 of output `within` into its place in a line.
fn put_half(line: &mut Line, within: usize, bits: u16) {
    line.0[within % 16] |= u32::from(bits) << (16 * (within / 16));
}

/// Puts a block of output `within` into its places in the lines of a chunk.
fn put_block(kind: BlockKind, lines: &mut [Line], within: usize, block: &[u8]) -> Result<(), CoreError> {
    let (heads, quants) = match kind {
        BlockKind::Q4_1 => block.split_at(4),
        BlockKind::Q4_0 | BlockKind::Q8_0 => block.split_at(2),
    };
    let (heads, _) = heads.as_chunks();
    for (head, line) in heads.iter().zip(&mut *lines) {
        let head = f16::from_le_bytes(*head);
        if !head.is_finite() {
            return Err(CoreError::Shape {
                rule: "scales of quantised weights must be finite; download or export the file again",
                got: head.to_string(),
            });
        }
        put_half(line, within, head.to_bits());
    }
    let lines = &mut lines[heads.len()..];
    let mut put = |step: usize, quant: u8, bits: usize| {
        let steps = 32 / bits;
        lines[2 * (step / steps) + within / 16].0[within % 16] |= u32::from(quant) << (bits * (step % steps));
    };
    for (step, byte) in quants.iter().enumerate() {
        match kind {
            BlockKind::Q4_0 | BlockKind::Q4_1 => {
                put(step, byte & 15, 4);
                put(step + 16, byte >> 4, 4);
            }
            BlockKind::Q8_0 => put(step, byte ^ 128, 8),
        }
    }
    Ok(())
}
